"""`nicsim connect` and `nicsim listen`: the host above the simulated NIC, against a real peer."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nicsim.cli.options import AbiName

if TYPE_CHECKING:
    from nicsim.connect.results import Outcome
    from nicsim.connect.session import Wishes
    from nicsim.connect.settings import Settings

NOT_AS_WISHED = 1
INTERRUPTED = 130
LOOPBACK = "127.0.0.1"


class Natt(StrEnum):
    """What to do about NATs."""

    AUTO = "auto"
    FORCE = "force"
    OFF = "off"


# fmt: off
PskFile = Annotated[str | None, typer.Option(metavar="FILE", help="The pre-shared key, less one line end.")]
Cert = Annotated[str | None, typer.Option(metavar="FILE", help="Our certificate (PEM), for RSA signatures instead.")]
Key = Annotated[str | None, typer.Option(metavar="FILE", help="Its private key (PEM, not encrypted).")]
Ca = Annotated[str | None, typer.Option(metavar="FILE", help="The authorities whose certificates we believe (PEM).")]
Aggressive = Annotated[bool, typer.Option("--aggressive", help="Aggressive mode instead of main mode.")]
Proposal = Annotated[str, typer.Option(metavar="CIPHER-HASH", help="For both phases: 3des-md5, aes128-sha1, ...")]
NattOption = Annotated[Natt, typer.Option(help="Look for NATs, claim that there is one, or do not speak of it.")]
Identity = Annotated[str | None, typer.Option("--id", metavar="ID", help="Who we are: address, name, user@name, DN.")]
RemoteIdentity = Annotated[str | None, typer.Option("--remote-id", metavar="ID", help="Who the peer must be.")]
LocalTs = Annotated[str | None, typer.Option(metavar="PREFIX", help="Our end of the tunnel's traffic; else this host.")]
RemoteTs = Annotated[str | None, typer.Option(metavar="PREFIX", help="The peer's end of it.")]
Transport = Annotated[bool, typer.Option("--transport", help="Transport mode instead of tunnel mode.")]
Lifetime = Annotated[int, typer.Option(metavar="S", min=1, help="How long an association lives.")]
Ping = Annotated[str | None, typer.Option(metavar="ADDR", help="Send echo requests there, through the tunnel.")]
Count = Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="How many.")]
Interval = Annotated[float, typer.Option(metavar="S", min=0.0, help="Seconds from one to the next.")]
Write = Annotated[str | None, typer.Option(metavar="OUT.pcapng", help="Write a capture, and Wireshark's key files.")]
Inner = Annotated[bool, typer.Option("--inner", help="And a capture of the packets inside the tunnel.")]
IkeDecrypted = Annotated[bool, typer.Option("--ike-decrypted", help="And one with IKE in the clear.")]
Json = Annotated[str | None, typer.Option(metavar="OUT", help="Write one JSON object; - is standard output.")]
Profile = Annotated[str, typer.Option(metavar="NAME|FILE", help="The kind of card: a preset, or a TOML file.")]
AbiOption = Annotated[AbiName, typer.Option(help="The pointer width of the host.")]
Impair = Annotated[list[str] | None, typer.Option(metavar="NAME[=N]", help="Have card or driver misbehave.")]
IkePort = Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Our UDP port for IKE.")]
NattPort = Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Our UDP port for NAT traversal.")]
# fmt: on


def connect(
    remote: Annotated[str, typer.Argument(metavar="REMOTE", help="The peer: an address, or a name.")],
    psk_file: PskFile = None,
    cert: Cert = None,
    key: Key = None,
    ca: Ca = None,
    aggressive: Aggressive = False,
    proposal: Proposal = "aes256-sha256",
    natt: NattOption = Natt.AUTO,
    identity: Identity = None,
    remote_identity: RemoteIdentity = None,
    local_ts: LocalTs = None,
    remote_ts: RemoteTs = None,
    transport: Transport = False,
    lifetime: Lifetime = 3600,
    local: Annotated[
        str | None, typer.Option(metavar="ADDR", help="Our address; else that of the route to the peer.")
    ] = None,
    ping: Ping = None,
    count: Count = 4,
    interval: Interval = 0.2,
    timeout: Annotated[float, typer.Option(metavar="S", min=0.0, help="Until there must be a tunnel.")] = 30.0,
    stay: Annotated[bool, typer.Option("--stay", help="Stay until Ctrl-C, or until the peer ends it.")] = False,
    write: Write = None,
    inner: Inner = False,
    ike_decrypted: IkeDecrypted = False,
    json: Json = None,
    profile: Profile = "reference",
    abi: AbiOption = AbiName.X64,
    impair: Impair = None,
    ike_port: IkePort = 500,
    natt_port: NattPort = 4500,
    remote_ike_port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="The peer's.")] = 500,
    remote_natt_port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="The peer's.")] = 4500,
) -> int:
    """Negotiate with a peer, offload the associations into the simulated NIC, and send pings through it.

    \b
    nicsim connect 203.0.113.2 --psk-file key --remote-ts 192.168.50.0/24 --ping 192.168.50.1 --write tunnel.pcapng

    Exit status: 0 there was a tunnel and every ping was answered, 1 not so, 2 bad input, 130 interrupted.
    """
    from nicsim.connect.settings import Settings
    from nicsim.connect.sockets import resolve, route_source
    from nicsim.wire.headers import format_address, parse_address

    address = resolve(remote)
    own = parse_address(local) if local is not None else route_source(address, remote_ike_port)
    settings = Settings(
        format_address(address), psk_file, cert, key, ca, aggressive, proposal, natt.value, identity, remote_identity,
        local_ts, remote_ts, transport, lifetime, ike_port, natt_port, remote_ike_port, remote_natt_port, ping,
    )  # fmt: skip
    wishes = wishes_of(abi, impair, timeout=timeout, count=count, interval=interval, stay=stay)
    return Run(settings, own, wishes, profile, write, inner, ike_decrypted, json).go()


def listen(
    psk_file: PskFile = None,
    cert: Cert = None,
    key: Key = None,
    ca: Ca = None,
    aggressive: Aggressive = False,
    proposal: Proposal = "aes256-sha256",
    natt: NattOption = Natt.AUTO,
    identity: Identity = None,
    remote_identity: RemoteIdentity = None,
    local_ts: LocalTs = None,
    remote_ts: RemoteTs = None,
    transport: Transport = False,
    lifetime: Lifetime = 3600,
    local: Annotated[str, typer.Option(metavar="ADDR", help="Our address.")] = LOOPBACK,
    ping: Ping = None,
    count: Count = 4,
    interval: Interval = 0.2,
    once: Annotated[bool, typer.Option("--once", help="End when the first peer has gone, not on Ctrl-C only.")] = False,
    at_most: Annotated[
        float | None, typer.Option("--for", metavar="S", min=0.0, help="End after so many seconds in any case.")
    ] = None,
    write: Write = None,
    inner: Inner = False,
    ike_decrypted: IkeDecrypted = False,
    json: Json = None,
    profile: Profile = "reference",
    abi: AbiOption = AbiName.X64,
    impair: Impair = None,
    ike_port: IkePort = 500,
    natt_port: NattPort = 4500,
) -> int:
    """Wait for peers, and answer them: the responder to `nicsim connect`, or to any other IKEv1 daemon.

    \b
    nicsim listen --psk-file key --local 192.0.2.1 --local-ts 192.168.50.0/24

    Exit status: 0 there was a tunnel and every ping was answered, 1 not so, 2 bad input, 130 interrupted.
    """
    from nicsim.connect.settings import Settings
    from nicsim.wire.headers import parse_address

    settings = Settings(
        None, psk_file, cert, key, ca, aggressive, proposal, natt.value, identity, remote_identity,
        local_ts, remote_ts, transport, lifetime, ike_port, natt_port, ping=ping,
    )  # fmt: skip
    wishes = wishes_of(abi, impair, timeout=None, count=count, interval=interval, stay=True, once=once, at_most=at_most)
    return Run(settings, parse_address(local), wishes, profile, write, inner, ike_decrypted, json).go()


def wishes_of(abi: AbiName, impair: list[str] | None, **wishes: object) -> Wishes:
    """How long, how much, and on what."""
    from nicsim.connect.session import Wishes
    from nicsim.impairments import parse_impairment
    from offload_oids import Abi

    impairments = tuple(parse_impairment(text) for text in impair or ())
    return Wishes(abi=Abi(abi.value), impairments=impairments, **wishes)  # type: ignore[arg-type]


class Run:
    """One session from its options to its exit status."""

    def __init__(
        self,
        settings: Settings,
        local: bytes,
        wishes: Wishes,
        profile: str,
        write: str | None,
        inner: bool,
        ike_decrypted: bool,
        json: str | None,
    ) -> None:
        from nicsim.errors import InputError

        if write is None and (inner or ike_decrypted):
            raise InputError("--inner and --ike-decrypted need --write, beside which they write")
        for out in (write, json):
            if out is not None and out != "-" and not Path(out).parent.is_dir():
                raise InputError(f"{out} cannot be written: there is no directory {Path(out).parent}")
        self._settings = replace(settings, keep_ike_keys=write is not None)
        self._local = local
        self._wishes = wishes
        self._profile = profile
        self._write, self._inner, self._ike_decrypted, self._json = write, inner, ike_decrypted, json

    def go(self) -> int:
        """Open the sockets, run, report."""
        from nicsim.connect.recording import Recording
        from nicsim.connect.session import Session
        from nicsim.connect.settings import plan
        from nicsim.connect.sockets import Sockets
        from nicsim.profile import load_profile
        from nicsim.report.connect import show_heads, show_line, show_outcome
        from nicsim.report.terminal import console_for
        from nicsim.wire.headers import format_address

        settings, capabilities = self._settings, load_profile(self._profile)
        console = console_for(sys.stderr if self._json == "-" else sys.stdout)
        plan(settings, capabilities, self._local, datetime.now(UTC))  # what is wrong is said before ports are bound
        with Sockets(self._local, (settings.ike_port, settings.natt_port)) as sockets:
            if settings.natt == Natt.AUTO and not sockets.can_send_native_esp:
                console.print("note: without the right to open raw sockets ESP must ride in UDP: --natt force")
                settings = replace(settings, natt=Natt.FORCE.value)
            one = plan(settings, capabilities, self._local, datetime.now(UTC))
            recording = Recording(one.host.link, settings.ike_port, settings.natt_port) if self._write else None
            session = Session(
                one,
                capabilities,
                self._wishes,
                sockets,
                clock=time.monotonic,
                random=os.urandom,
                on_line=lambda line: show_line(console, line),
                recording=recording,
                wall_clock=time.time(),
            )
            show_heads(console, format_address(self._local), settings.remote or "peers")
            outcome = session.run()
        show_outcome(console, outcome)
        if recording is not None and self._write is not None:
            keys = session.host.peer.ike_decryption()
            for file in recording.write(self._write, keys, inner=self._inner, ike_decrypted=self._ike_decrypted):
                console.print(f"written: {file}", markup=False)
        self._write_json(outcome)
        if outcome.interrupted:
            return INTERRUPTED
        return 0 if outcome.good else NOT_AS_WISHED

    def _write_json(self, outcome: Outcome) -> None:
        from nicsim.files import whole_text_file
        from nicsim.report.connect import outcome_as_json

        text = dumps(outcome_as_json(outcome)) + "\n"
        if self._json == "-":
            sys.stdout.write(text)
        elif self._json is not None:
            with whole_text_file(self._json) as out:
                out.write(text)
