"""What a scenario says of IKE, turned into what a host's IKE daemon is told."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from ipaddress import ip_network

from nicsim.errors import InputError
from nicsim.events import Selector
from nicsim.host.ike import natt
from nicsim.host.ike.authentication import PreSharedKey, RsaCredentials
from nicsim.host.ike.config import (
    Connection,
    IkeConfig,
    NattPolicy,
    Phase1Exchange,
    Phase1Policy,
    Phase2Policy,
    phase1_proposals,
    phase2_proposal,
)
from nicsim.host.ike.identity import Identity
from nicsim.ipsec.association import Mode
from nicsim.scenario.model import HostNode, IkeConnection

CERTIFICATES = resources.files("nicsim") / "scenarios" / "certificates"
NATT_VERSIONS = natt.VERSIONS


def ike_config(node: HostNode, address_of: Callable[[str], bytes]) -> IkeConfig:
    """The daemon of a host. `address_of` knows nodes and addresses. Raises InputError."""
    return IkeConfig(
        address=b"",  # the host's link says
        connections=tuple(_connection(one, address_of) for one in node.connections),
        ike_port=node.ike_port,
        keepalive_interval=node.keepalive_interval,
        overlap=node.overlap,
        keep_ike_keys=True,
    )


def _connection(one: IkeConnection, address_of: Callable[[str], bytes]) -> Connection:
    phase1 = Phase1Policy(
        authentication=_authentication(one),
        proposals=tuple(both for name in one.phase1 for both in phase1_proposals(name, tuple(one.groups))),
        exchange=Phase1Exchange(one.exchange),
        local_identity=_identity(one.identity),
        remote_identity=_identity(one.peer_identity),
        natt=NattPolicy(one.natt),
        natt_versions=natt.DEFAULT_VERSIONS if one.natt_versions is None else _versions(one.natt_versions),
        lifetime=one.ike_lifetime,
        dead_peer_interval=one.dead_peer_interval,
    )
    phase2 = Phase2Policy(
        proposals=tuple(phase2_proposal(name) for name in one.phase2),
        mode=Mode(one.mode),
        local_selector=_selector(one.local),
        remote_selector=_selector(one.remote),
        pfs_group=one.pfs_group,
        lifetime=one.lifetime,
        assigned=tuple((Identity.parse(peer), Selector(ip_network(address))) for peer, address in one.assigned.items()),
    )
    return Connection(one.name, phase1, phase2, None if one.peer is None else address_of(one.peer))


def _authentication(one: IkeConnection) -> PreSharedKey | RsaCredentials:
    if one.psk is not None:
        return PreSharedKey(one.psk.encode())
    certificate, key, authority = (
        (CERTIFICATES / name).read_bytes()
        for name in (f"{one.certificate}.pem", f"{one.certificate}.key.pem", "ca.pem")
    )
    return RsaCredentials.from_pem(certificate, key, authority)


def _identity(text: str | None) -> Identity | None:
    return None if text is None else Identity.parse(text)


def _versions(names: list[str]) -> tuple[natt.NattVersion, ...]:
    for name in names:
        if name not in NATT_VERSIONS:
            raise InputError(f"there is no version {name!r} of NAT traversal here, only {', '.join(NATT_VERSIONS)}")
    return tuple(NATT_VERSIONS[name] for name in names)


def _selector(prefix: str | None) -> Selector | None:
    if prefix is None:
        return None
    try:
        return Selector(ip_network(prefix))
    except ValueError:
        raise InputError(f"{prefix!r} needs to be a prefix like 10.0.0.0/8, without bits behind it") from None
