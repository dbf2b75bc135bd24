"""What the user asked of a session, checked and turned into what the host is told.

Everything that can be wrong with files and options is said here, before the first datagram.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from nicsim.capabilities import Capabilities
from nicsim.errors import InputError
from nicsim.events import Selector
from nicsim.host.host import HostConfig
from nicsim.host.ike.authentication import PreSharedKey, RsaCredentials
from nicsim.host.ike.config import (
    Connection,
    IkeConfig,
    NattPolicy,
    Patience,
    Phase1Exchange,
    Phase1Policy,
    Phase2Policy,
    phase1_proposals,
    phase2_proposal,
)
from nicsim.host.ike.identity import Identity
from nicsim.host.policy import Action, Direction, Policy, PolicyDatabase, Template, TrafficSelector
from nicsim.ipsec.association import Mode
from nicsim.wire.headers import format_address, parse_address

DEFAULT_PROPOSAL = "aes256-sha256"
GROUPS = (14, 2)
LARGEST_FILE = 1 << 20
"""Bytes of a key or certificate file."""
# A user waits in front of a terminal.
PATIENCE = Patience(first=1.0, factor=1.8, retries=5)
OVERLAP = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options of `nicsim connect` and `nicsim listen` say; None where nothing was said."""

    # The peer's address; None listens for any.
    remote: str | None = None
    psk_file: str | None = None
    cert: str | None = None
    key: str | None = None
    ca: str | None = None
    aggressive: bool = False
    proposal: str = DEFAULT_PROPOSAL
    natt: str = "auto"
    identity: str | None = None
    remote_identity: str | None = None
    local_ts: str | None = None
    remote_ts: str | None = None
    transport: bool = False
    lifetime: int = 3600
    ike_port: int = 500
    natt_port: int = 4500
    remote_ike_port: int = 500
    remote_natt_port: int = 4500
    ping: str | None = None
    keep_ike_keys: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session is to be about."""

    host: HostConfig
    policies: PolicyDatabase
    # The connections to try, the next one where the peer takes none of the proposals; empty to listen.
    attempts: tuple[Connection, ...]
    local: bytes
    remote: bytes | None
    inner: bytes
    """Our own address inside the tunnel."""
    ping: bytes | None


def plan(settings: Settings, capabilities: Capabilities, local: bytes, now: datetime) -> Plan:
    """Check everything. Raises InputError.

    `local` is this host's own address, 4 or 16 bytes; certificates must be valid at `now`.
    """
    remote = parse_address(settings.remote) if settings.remote is not None else None
    if remote is not None and len(remote) != len(local):
        raise InputError(f"--local {format_address(local)} and the peer {settings.remote} need the same address family")
    ping = parse_address(settings.ping) if settings.ping is not None else None
    if ping is not None and len(ping) != 4:
        raise InputError(f"--ping needs an IPv4 address, got {settings.ping}")
    mode = Mode.TRANSPORT if settings.transport else Mode.TUNNEL
    local_ts, remote_ts = traffic_selectors(settings, local, remote, ping)
    phase2 = Phase2Policy(
        (phase2_proposal(settings.proposal),),
        mode=mode,
        local_selector=None if settings.transport else local_ts,
        remote_selector=None if settings.transport else remote_ts,
        lifetime=settings.lifetime,
    )
    connections = tuple(
        Connection(
            "connect" if remote else "listen",
            phase1,
            phase2,
            remote=remote,
            remote_ike_port=settings.remote_ike_port,
            remote_natt_port=settings.remote_natt_port,
        )
        for phase1 in phase1_policies(settings)
    )
    ike = IkeConfig(
        address=local,
        connections=connections,
        ike_port=settings.ike_port,
        natt_port=settings.natt_port,
        patience=PATIENCE,
        overlap=OVERLAP,
        certificates_valid_at=now,
        keep_ike_keys=settings.keep_ike_keys,
    )
    inner = local if settings.transport else inner_address(local_ts, local)
    host = HostConfig(
        ike,
        ndis=capabilities.ndis,
        readings=capabilities.readings,
        generate_policies=remote is None,
        inner_addresses=(inner,),
    )
    policies = PolicyDatabase()
    if remote is not None:
        for policy in own_policies(TrafficSelector(local_ts, remote_ts), mode, local, remote):
            policies.add(policy)
    return Plan(host, policies, connections if remote else (), local, remote, inner, ping)


def own_policies(traffic: TrafficSelector, mode: Mode, local: bytes, remote: bytes) -> list[Policy]:
    """What the tunnel is for goes through it, both ways."""
    ends = (local, remote) if mode is Mode.TUNNEL else (b"", b"")
    return [
        Policy(Direction.OUT, traffic, Action.PROTECT, Template(mode, *ends)),
        Policy(Direction.IN, traffic.reversed(), Action.PROTECT, Template(mode, *ends[::-1])),
    ]


# --- phase 1 -------------------------------------------------------------------------------------------------------


def phase1_policies(settings: Settings) -> list[Phase1Policy]:
    """Phase 1 as asked for. Aggressive mode can offer one group only, so there it is one policy for each group."""
    authentication = credentials(settings)
    identity = Identity.parse(settings.identity) if settings.identity is not None else None
    remote_identity = Identity.parse(settings.remote_identity) if settings.remote_identity is not None else None
    exchange = Phase1Exchange.AGGRESSIVE if settings.aggressive else Phase1Exchange.MAIN
    offers = [(group,) for group in GROUPS] if settings.aggressive else [GROUPS]
    return [
        Phase1Policy(
            authentication,
            phase1_proposals(settings.proposal, groups),
            exchange=exchange,
            local_identity=identity,
            remote_identity=remote_identity,
            natt=NattPolicy(settings.natt),
        )
        for groups in offers
    ]


def credentials(settings: Settings) -> PreSharedKey | RsaCredentials:
    """The pre-shared key, or certificate, key and authority. Raises InputError."""
    certificate_files = {"--cert": settings.cert, "--key": settings.key, "--ca": settings.ca}
    missing = [option for option, path in certificate_files.items() if path is None]
    if settings.psk_file is not None:
        if len(missing) < len(certificate_files):
            raise InputError("--psk-file goes without --cert, --key and --ca")
        key = read_file("--psk-file", settings.psk_file)
        # One line end is an editor's, not the key's.
        return PreSharedKey(key.removesuffix(b"\n").removesuffix(b"\r") if key.endswith(b"\n") else key)
    if missing:
        raise InputError(f"the peer needs --psk-file, or --cert, --key and --ca; missing is {', '.join(missing)}")
    return RsaCredentials.from_pem(*(read_file(option, path) for option, path in certificate_files.items() if path))


def read_file(option: str, path: str) -> bytes:
    """The contents of a small file. Raises InputError."""
    name = path if path.isprintable() else ascii(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise InputError(f"{option} {name} cannot be read: {reason}") from None
    if len(content) > LARGEST_FILE:
        raise InputError(f"{option} {name} has more than {LARGEST_FILE} bytes")
    return content


# --- traffic -------------------------------------------------------------------------------------------------------


def traffic_selectors(
    settings: Settings, local: bytes, remote: bytes | None, ping: bytes | None
) -> tuple[Selector, Selector]:
    """Our end and the peer's. Without a word: this host; and whom we ping, else the peer, or anybody when listening."""
    our = parse_selector("--local-ts", settings.local_ts) if settings.local_ts else Selector(ip_network(local))
    anywhere = ip_network("0.0.0.0/0" if our.network.version == 4 else "::/0")
    if settings.remote_ts:
        other = parse_selector("--remote-ts", settings.remote_ts)
    elif remote is None:
        other = Selector(anywhere)
    else:
        other = Selector(ip_network(ping if ping is not None and not settings.transport else remote))
    if our.network.version != other.network.version:
        raise InputError(f"--local-ts {our.network} and --remote-ts {other.network} need the same address family")
    if ping is not None and ip_address(ping) not in other.network:
        raise InputError(f"--ping {ip_address(ping)} is not inside --remote-ts {other.network}")
    return our, other


_SELECTOR = re.compile(
    r"(?P<network>[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?)(?:\[(?P<protocol>[0-9]{1,3})/(?P<port>[0-9]{1,5})\])?"
)


def parse_selector(option: str, text: str) -> Selector:
    """`192.168.50.0/24`, or `192.168.50.0/24[17/53]` with a protocol and a port. Raises InputError."""
    match = _SELECTOR.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        protocol, port = int(match["protocol"] or 0), int(match["port"] or 0)
        if protocol > 255 or port > 65535:
            raise ValueError
        network: IPv4Network | IPv6Network = ip_network(match["network"], strict=False)
    except ValueError:
        raise InputError(f"{option} needs a prefix like 192.168.50.0/24, got {text!r}") from None
    return Selector(network, protocol, port)


def inner_address(ours: Selector, local: bytes) -> bytes:
    """Which of our traffic selector's addresses is ours: this host's own if it is one of them, else the first host."""
    own, network = ip_address(local), ours.network
    if own.version == network.version and own in network:
        return local
    hosts: Callable[[int], IPv4Address | IPv6Address] = network.__getitem__
    return hosts(0 if network.num_addresses <= 2 else 1).packed
