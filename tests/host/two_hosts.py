"""Two whole hosts with NICs and a wire between them, and IKE daemons that say what a test tells them to say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

from nicsim.capabilities import Capabilities
from nicsim.events import (
    AssociationsDeleted,
    AssociationsReady,
    By,
    Endpoint,
    OriginalAddresses,
    OutboundUsable,
    PacketDelivered,
    PacketDropped,
    PeerMoved,
    Role,
    Selector,
)
from nicsim.host.host import Host, HostConfig
from nicsim.host.ike.config import Connection, IkeConfig
from nicsim.host.policy import PolicyDatabase
from nicsim.host.setkey import read_setkey
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.transforms import SaKeys
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from nicsim.wire.headers import build_ipv4, parse_address
from tests.builders import TRIPLE_DES, CountedIvs

CLIENT, GATEWAY = parse_address("203.0.113.1"), parse_address("203.0.113.2")
CLIENT6, GATEWAY6 = parse_address("2001:db8::1"), parse_address("2001:db8::2")
INNER_CLIENT, INNER_HOST = parse_address("10.0.0.2"), parse_address("192.168.50.1")


class Scripted:
    """Stands in for the IKE daemon: remembers what it is told, and tells what the test has put into `items`."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.told: list[tuple[Any, ...]] = []
        self.deadline: float | None = None

    def poll(self) -> list[Any]:
        items, self.items = self.items, []
        return items

    def next_deadline(self) -> float | None:
        return self.deadline

    def __getattr__(self, name: str) -> Any:
        def told(now: float, *arguments: Any) -> None:
            self.told.append((name, *arguments))

        return told


@dataclass
class Station:
    """One host with its NIC, and everything that came of it."""

    host: Host
    nic: Nic
    peer: Scripted
    events: list[Any] = field(default_factory=list)
    wire: list[bytes] = field(default_factory=list)

    def poll(self) -> list[Any]:
        events = list(self.host.poll())
        self.events += events
        self.wire += [event.frame for event in events if type(event).__name__ == "FrameSent"]
        return events

    def tell(self, *items: Any, now: float = 0.0) -> list[Any]:
        """The daemon tells something; what came of it."""
        self.peer.items += items
        self.host.tick(now)
        return self.poll()

    def send(self, ip_packet: bytes, now: float = 0.0) -> list[bytes]:
        """An IP packet from above: the frames that left."""
        before = len(self.wire)
        self.host.send_packet(now, ip_packet)
        self.poll()
        return self.wire[before:]

    def receive(self, frame: bytes, now: float = 0.0) -> list[Any]:
        """A frame off the wire: what came of it."""
        indication, _ = self.nic.receive(frame)
        self.host.receive(now, indication)
        return self.poll()

    def lines(self) -> list[tuple[int, str]]:
        """SPI and place of every association."""
        return [(line.spi, line.oid or str(line.reason)) for line in self.host.holdings().associations]


def delivered(events: list[Any]) -> list[bytes]:
    return [event.packet for event in events if isinstance(event, PacketDelivered)]


def dropped(events: list[Any]) -> list[Reason]:
    return [event.reason for event in events if isinstance(event, PacketDropped)]


def station(
    address: bytes,
    policies: str = "",
    *,
    profile: str | Capabilities = "reference",
    connections: tuple[Connection, ...] = (),
    **config: Any,
) -> Station:
    capabilities = load_profile(profile) if isinstance(profile, str) else profile
    nic = Nic(capabilities, iv_source=CountedIvs())
    database = PolicyDatabase(list(read_setkey(policies).policies))
    ike = IkeConfig(address=address, connections=connections)
    whole = HostConfig(ike, ndis=capabilities.ndis, readings=capabilities.readings, **config)
    host = Host(nic, whole, CountedIvs(), database)
    peer = Scripted()
    host.peer = peer  # type: ignore[assignment]
    return Station(host, nic, peer)


def ready(
    number: int = 1,
    *,
    client: bool = True,
    keys: SaKeys = TRIPLE_DES,
    mode: Mode = Mode.TUNNEL,
    encapsulation: Encapsulation = Encapsulation.UDP,
    ends: tuple[bytes, bytes] = (CLIENT, GATEWAY),
    ports: tuple[int, int] = (4500, 4500),
    inner: tuple[str, str] = ("10.0.0.2/32", "192.168.50.0/24"),
    protocol: int = 0,
    told: OriginalAddresses | None = None,
    **changes: Any,
) -> AssociationsReady:
    """What either daemon says of pair `number`; the client is the initiator. SPIs are 0x1000 * number plus 1 and 2."""
    there = Association(0x1000 * number + 1, mode, encapsulation, keys, *ends, *ports)
    back = Association(0x1000 * number + 2, mode, encapsulation, keys, *ends[::-1], *ports[::-1])
    local, remote = (Selector(ip_network(network), protocol) for network in (inner if client else inner[::-1]))
    event = AssociationsReady(
        pair=number,
        ike=1,
        connection="road",
        role=Role.INITIATOR if client else Role.RESPONDER,
        inbound=back if client else there,
        outbound=there if client else back,
        local_selector=local,
        remote_selector=remote,
        lifetime=3600,
        remote_original=told,
    )
    return replace(event, **changes)


def tunnel_policies(client: bool = True) -> str:
    """What both ends have in their databases for the tunnel of `ready`."""
    here, there = ("10.0.0.2/32", "192.168.50.0/24") if client else ("192.168.50.0/24", "10.0.0.2/32")
    ends = ("203.0.113.1-203.0.113.2", "203.0.113.2-203.0.113.1")
    out, back = ends if client else ends[::-1]
    return (
        f"spdadd {here} {there} any -P out ipsec esp/tunnel/{out}/require;"
        f"spdadd {there} {here} any -P in ipsec esp/tunnel/{back}/require;"
    )


def joined(**parameters: Any) -> tuple[Station, Station]:
    """A client and a gateway with a pair between them, ready to use."""
    profile = parameters.pop("profile", "reference")
    client = station(CLIENT, tunnel_policies(), profile=profile)
    gateway = station(GATEWAY, tunnel_policies(client=False))
    client.tell(ready(**parameters), OutboundUsable(1))
    gateway.tell(ready(client=False, **parameters), OutboundUsable(1))
    return client, gateway


def echo(payload: bytes = b"ping", src: bytes = INNER_CLIENT, dst: bytes = INNER_HOST) -> bytes:
    return build_ipv4(src, dst, 1, b"\x08\0\0\0\0\1\0\1" + payload)


def gone(number: int) -> AssociationsDeleted:
    return AssociationsDeleted(number, "road", 0x1000 * number + 2, 0x1000 * number + 1, Reason.IKE_DELETED, By.REMOTE)


def moved(*pairs: int, to: Endpoint) -> PeerMoved:
    return PeerMoved(1, Endpoint(CLIENT, 4500), to, pairs)
