"""network/nic_host.py and path_mtus.py: two hosts with NICs and a LAN behind each, associations made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from nicsim.events import EspReceived, PacketDropped, SaPlaced
from nicsim.host.host import HostConfig
from nicsim.host.ike.config import IkeConfig
from nicsim.host.policy import PolicyDatabase
from nicsim.host.setkey import read_setkey
from nicsim.impairments import Impaired, impairment
from nicsim.network.events import Crossing, Dropped, Event, Judged, Noted, Told
from nicsim.network.link import Conditions, Interface
from nicsim.network.network import Network
from nicsim.network.nic_host import NicHost
from nicsim.network.plain_host import PlainHost
from nicsim.network.tracepath import Tracepath
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from nicsim.wire.headers import build_ipv4, build_udp, parse_address
from nicsim.wire.icmp import IcmpErrorKind, build_icmp_error
from nicsim.wire.packet import LinkType, parse_frame

WEST, EAST = "203.0.113.1", "203.0.113.2"
LAN_WEST, LAN_EAST = parse_address("192.168.1.2"), parse_address("192.168.50.2")
INNER_WEST = parse_address("192.168.1.9")
KEYS = f"-E 3des-cbc 0x{'0123456789abcdef' * 3} -A hmac-md5 0x{'00' * 16}"
SAS = f"""
add {WEST}[4500] {EAST}[4500] esp-udp 0x1001 -m tunnel {KEYS};
add {EAST}[4500] {WEST}[4500] esp-udp 0x1002 -m tunnel {KEYS};
"""
TO_EAST = f"spdadd 192.168.1.0/24 192.168.50.0/24 any -P %s ipsec esp/tunnel/{WEST}-{EAST}/require;"
TO_WEST = f"spdadd 192.168.50.0/24 192.168.1.0/24 any -P %s ipsec esp/tunnel/{EAST}-{WEST}/require;"
WEST_TEXT = SAS + TO_EAST % "out" + TO_WEST % "in"
EAST_TEXT = SAS + TO_WEST % "out" + TO_EAST % "in"


@dataclass
class Site:
    """lan_west - west == link == east - lan_east."""

    network: Network = field(default_factory=lambda: Network("1"))
    events: list[Event] = field(default_factory=list)
    got: list[tuple[str, bytes]] = field(default_factory=list)

    def build(
        self,
        conditions: Conditions = Conditions(),  # noqa: B008
        texts: tuple[str, str] = (WEST_TEXT, EAST_TEXT),
        impairments: tuple[Impaired, ...] = (),
        inner: tuple[bytes, ...] = (),
        lan: bool = True,
    ) -> Site:
        self.network.observers.append(self.events.append)
        self.west = self.add("west", texts[0], (), inner)
        self.east = self.add("east", texts[1], impairments, ())
        self.link = self.network.connect(self.west, WEST, self.east, EAST, conditions)
        self.lan_west, self.lan_east = self.network.plain_host("lan-west"), self.network.plain_host("lan-east")
        if lan:
            self.network.connect(self.west, "192.168.1.1", self.lan_west, "192.168.1.2")
            self.network.connect(self.east, "192.168.50.1", self.lan_east, "192.168.50.2")
        for host in (self.lan_west, self.lan_east):
            host.bind(9, self.taker(host.name))
        for one, text in ((self.west, texts[0]), (self.east, texts[1])):
            for statement in read_setkey(text).associations:
                one.host.install_manual(statement)
            one.work()
        return self

    def add(self, name: str, text: str, impairments: tuple[Impaired, ...], inner: tuple[bytes, ...]) -> NicHost:
        chance = self.network.chance.child(name)
        nic = Nic(load_profile("reference"), iv_source=chance.octets, monitor=not impairments, impairments=impairments)
        config = HostConfig(IkeConfig(address=b""), inner_addresses=inner)
        policies = PolicyDatabase(list(read_setkey(text).policies))
        network = self.network
        return network.add(NicHost(name, network.clock, network.observers, nic, config, chance.octets, policies))

    def taker(self, name: str) -> Callable[[bytes, int, bytes], None]:
        return lambda src, port, data: self.got.append((name, data))

    def send(self, data: bytes, host: PlainHost | None = None, dst: bytes = LAN_EAST) -> None:
        (host or self.lan_west).send_udp(dst, 1111, 9, data)
        self.network.clock.run(until=self.network.clock.now + 1.0)

    def of(self, kind: type[Any], node: str = "") -> list[Any]:
        """The events of one kind; of what hosts tell, what they tell."""
        found: list[Any] = []
        for event in self.events:
            told = event.event if isinstance(event, Told) else event
            if isinstance(told, kind) and node in ("", getattr(event, "node", "")):
                found.append(told)
        return found


def crossings(site: Site, source: str) -> list[bytes]:
    return [event.packet for event in site.of(Crossing) if event.source == source and event.target in ("west", "east")]


def test_lans_talk_through_the_tunnel_and_nobody_else_sees_it() -> None:
    site = Site().build()
    site.send(b"over there")
    site.send(b"and back", site.lan_east, LAN_WEST)
    assert site.got == [("lan-east", b"over there"), ("lan-west", b"and back")]
    assert [one.reason for one in site.of(Judged)] == [Reason.OPENED, Reason.OPENED]
    assert [(one.spi, one.verdict, one.opened_by) for one in site.of(EspReceived)] == [
        (0x1001, "accepted", "nic"),
        (0x1002, "accepted", "nic"),
    ]
    outer = [event.packet for event in site.of(Crossing) if {event.source, event.target} == {"west", "east"}]
    assert len(outer) == 2
    assert not any(b"over there" in packet or b"and back" in packet for packet in outer)
    # Two routers on the way: the TTL is lowered at either end of the tunnel.
    arrived = [event.packet for event in site.of(Crossing) if event.target == "lan-east"]
    assert parse_frame(arrived[0], LinkType.RAW).ttl == 62
    assert len(site.of(SaPlaced)) == 4


def test_a_long_packet_that_may_be_cut_is_cut_after_it_was_protected() -> None:
    site = Site().build()
    site.send(bytes(1450))
    assert site.got == [("lan-east", bytes(1450))]
    outer = crossings(site, "west")
    assert [parse_frame(packet, LinkType.RAW).is_fragment for packet in outer] == [True, True]
    assert max(len(packet) for packet in outer) <= 1500
    # No NIC works on fragments (N-RX-9); the host puts them together and opens them itself.
    assert [one.reason for one in site.of(Judged, "east")] == [Reason.FRAGMENT, Reason.FRAGMENT]
    assert [one.opened_by for one in site.of(EspReceived)] == ["host"]


def traced(site: Site, host: PlainHost) -> Tracepath:
    trace = Tracepath(host, LAN_EAST)
    trace.start()
    site.network.clock.run(until=site.network.clock.now + 100.0)
    return trace


@pytest.mark.parametrize(("mtu", "path_mtu"), [(1500, 1438), (1300, 1238), (1000, 942), (576, 518)])
def test_a_lan_host_finds_the_path_mtu_of_the_formula(mtu: int, path_mtu: int) -> None:
    site = Site().build(Conditions(mtu=mtu))
    trace = traced(site, site.lan_west)
    assert (trace.path_mtus, trace.reached) == ([1500, path_mtu], True)
    assert max(len(packet) for packet in crossings(site, "west")) <= mtu
    # And it is no byte too careful: one more would have been a block more.
    assert any(len(packet) > mtu - 8 for packet in crossings(site, "west"))


def test_a_road_warrior_is_told_by_itself() -> None:
    site = Site().build(inner=(INNER_WEST,), texts=(WEST_TEXT, EAST_TEXT))
    trace = traced(site, site.west.stack)
    assert (trace.path_mtus, trace.reached) == ([1500, 1438], True)
    assert "192.168.1.9" in trace.lines[1]


def too_big(about: bytes, mtu: int) -> bytes:
    return build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, parse_address("198.51.100.1"), about, mtu=mtu)


def esp(src: str = WEST, dst: str = EAST, protocol: int = 17) -> bytes:
    data = build_udp(4500, 4500, bytes(40)) if protocol == 17 else bytes(40)
    return build_ipv4(parse_address(src), parse_address(dst), protocol, data)


@pytest.mark.parametrize(
    ("about", "mtu", "learned"),
    [
        (esp(), 1000, True),
        (esp(protocol=50), 1000, True),
        (esp(), 67, False),
        (esp(), 0, False),
        (esp(src="203.0.113.7"), 1000, False),
        (esp(dst="203.0.113.7"), 1000, False),
        (esp(protocol=6), 1000, False),
    ],
)
def test_only_an_error_about_packets_to_a_peer_is_learned_from(about: bytes, mtu: int, learned: bool) -> None:
    site = Site().build()
    site.west.receive(site.link[0], _readdressed(too_big(about, mtu)))
    assert any(isinstance(event, Noted) and "takes" in event.what for event in site.events) is learned
    assert site.west.path_mtus.of_path(1.0, parse_address(EAST), 1500) == (mtu if learned else 1500)


def _readdressed(error: bytes) -> bytes:
    """The error, sent to the west whoever sent what it is about."""
    found = parse_frame(error, LinkType.RAW)
    return build_ipv4(found.src, parse_address(WEST), 1, error[found.payload :])


def test_a_path_mtu_is_forgotten_in_time_and_never_raised_by_an_error() -> None:
    site = Site().build()
    peer = parse_address(EAST)
    for mtu in (1000, 1200):
        site.west.receive(site.link[0], too_big(esp(), mtu))
    assert site.west.path_mtus.of_path(599.0, peer, 1500) == 1000
    assert site.west.path_mtus.of_path(600.0, peer, 1500) == 1500


def test_damage_on_the_way_is_told_and_not_delivered() -> None:
    site = Site().build()
    whole: list[bytes] = []
    site.link[0].taps.append(lambda time, frame: whole.append(frame[14:]))
    site.send(b"first")
    site.east.receive(site.link[1], whole[0][:-1] + bytes([whole[0][-1] ^ 1]))
    site.east.receive(site.link[1], whole[0])
    assert [one.verdict for one in site.of(EspReceived)] == ["accepted", "icv-bad", "duplicate"]
    assert [one.reason for one in site.of(Judged, "east")] == [Reason.OPENED, Reason.ICV_WRONG, Reason.OPENED]
    assert len(site.got) == 1


def test_what_policies_want_protected_does_not_come_in_the_clear() -> None:
    site = Site().build()
    forged = build_ipv4(LAN_WEST, LAN_EAST, 17, build_udp(1, 9, b"let me in"))
    site.link[0].send(forged)
    site.network.clock.run()
    assert [one.reason for one in site.of(PacketDropped, "east")] == [Reason.NOT_PROTECTED]
    assert site.got == []


def test_a_driver_that_misbehaves_costs_packets_and_nothing_else() -> None:
    site = Site().build(impairments=(impairment("drops-frames", 2),))
    for _ in range(4):
        site.send(b"x")
    assert len(site.got) == 2
    site = Site().build(impairments=(impairment("word-too-short", 2),))
    for _ in range(4):
        site.send(b"x")
    assert len(site.got) == 2
    assert len([one for one in site.of(Dropped, "east") if "word" in one.why]) == 2


def test_a_host_without_a_lan_says_that_nobody_is_there() -> None:
    site = Site().build(lan=False, inner=(LAN_WEST,))
    site.west.stack.send_udp(LAN_EAST, 1, 9, b"anyone?")
    site.network.clock.run(until=1.0)
    assert [one.why for one in site.of(Dropped, "east")] == ["nobody behind this host is 192.168.50.2"]


def test_transport_mode_between_two_stacks() -> None:
    text = SAS.replace("tunnel", "transport")
    west = text + f"spdadd {WEST} {EAST} any -P out ipsec esp/transport//require;"
    east = text + f"spdadd {EAST} {WEST} any -P out ipsec esp/transport//require;"
    site = Site().build(texts=(west, east), lan=False)
    site.east.stack.bind(9, site.taker("east"))
    site.west.stack.send_udp(parse_address(EAST), 1111, 9, b"host to host")
    site.network.clock.run(until=1.0)
    assert site.got == [("east", b"host to host")]
    assert [one.opened_by for one in site.of(EspReceived)] == ["nic"]
    trace = Tracepath(site.west.stack, parse_address(EAST))
    trace.start()
    site.network.clock.run(until=100.0)
    # 1500 - 20 - 8 - 8 - 8 - 12 = 1444, down to 1440, less 2, and the header again (esp-ah.md 8.1).
    assert trace.path_mtus == [1500, 1458]


def test_an_interface_knows_no_more_than_its_link() -> None:
    site = Site().build()
    assert isinstance(site.link[0], Interface)
    assert site.link[0].mtu_for(bytes(2000)) == 1500
