"""network/router.py: TTL, routes, MTU, the errors about them, and a NAT inside, over a simulated network."""

from collections.abc import Callable

import pytest

from nicsim.network.clock import Clock
from nicsim.network.events import Crossing, Dropped, Event, Noted
from nicsim.network.link import Conditions
from nicsim.network.nat import Napt, NaptBehaviour, Translator
from nicsim.network.network import Network
from nicsim.network.plain_host import PlainHost
from nicsim.network.router import ErrorLimit, Router, Routes
from nicsim.wire.headers import build_ipv6, build_udp, parse_address
from nicsim.wire.icmp import IcmpError, IcmpErrorKind
from nicsim.wire.packet import LinkType, parse_frame


class Line:
    """client - router (or NAT) - server, with a narrower link behind the router if so wished."""

    def __init__(self, translator: Translator | None = None, mtu: int = 1500, limit: ErrorLimit | None = None) -> None:
        self.network = Network("1")
        self.events: list[Event] = []
        self.network.observers.append(self.events.append)
        self.client, self.server = self.network.plain_host("client"), self.network.plain_host("server")
        self.router = Router("router", self.network.clock, self.network.observers, translator, limit)
        self.network.add(self.router)
        _, inside = self.network.connect(self.client, "10.0.0.2", self.router, "10.0.0.1")
        outside, _ = self.network.connect(self.router, "203.0.113.1", self.server, "203.0.113.2", Conditions(mtu=mtu))
        self.router.routes.add("10.0.0.0/24", inside)
        self.router.routes.add("0.0.0.0/0", outside)
        if translator is not None:
            self.router.outside = outside
        self.errors: list[tuple[IcmpError, bytes]] = []
        self.client.on_error.append(lambda error, sender, ttl: self.errors.append((error, sender)))
        self.got: list[tuple[bytes, int, bytes]] = []
        self.server.bind(9, lambda src, port, data: self.got.append((src, port, data)))

    def send(self, length: int = 10, **how: int) -> None:
        self.client.send_udp(self.server.address, 1111, 9, bytes(length), **how)
        self.network.clock.run()

    @property
    def drops(self) -> list[str]:
        return [event.why for event in self.events if isinstance(event, Dropped)]


def test_a_packet_goes_on_with_its_ttl_lowered() -> None:
    line = Line()
    line.send()
    crossings = [event for event in line.events if isinstance(event, Crossing)]
    assert [(one.source, one.target, parse_frame(one.packet, LinkType.RAW).ttl) for one in crossings] == [
        ("client", "router", 64),
        ("router", "server", 63),
    ]
    assert line.got == [(parse_address("10.0.0.2"), 1111, bytes(10))]


def test_a_ttl_that_runs_out_is_told_to_the_sender() -> None:
    line = Line()
    line.send(ttl=1)
    assert line.got == []
    ((error, sender),) = line.errors
    assert (error.kind, sender) == (IcmpErrorKind.TIME_EXCEEDED, parse_address("10.0.0.1"))
    assert error.quoted.dst_port == 9
    line.send(ttl=2)
    assert len(line.got) == 1


def test_no_route_is_told_to_the_sender() -> None:
    line = Line()
    line.router.routes = Routes()
    line.router.routes.add("10.0.0.0/24", line.router.interfaces[0])
    line.send()
    assert line.errors[0][0].kind is IcmpErrorKind.NO_ROUTE


@pytest.mark.parametrize("mtu", [1499, 1300, 576, 68])
def test_what_may_be_fragmented_is_and_comes_together(mtu: int) -> None:
    line = Line(mtu=mtu)
    line.send(1472)
    assert line.got == [(parse_address("10.0.0.2"), 1111, bytes(1472))]
    pieces = [event for event in line.events if isinstance(event, Crossing) and event.target == "server"]
    assert len(pieces) > 1
    assert max(len(piece.packet) for piece in pieces) <= mtu


def test_what_must_not_be_fragmented_is_dropped_and_the_next_mtu_told() -> None:
    line = Line(mtu=1300)
    line.client.send_probe(line.server.address, 1111, 9, 1301, 64)
    line.network.clock.run()
    ((error, sender),) = line.errors
    assert (error.kind, error.mtu, sender) == (IcmpErrorKind.PACKET_TOO_BIG, 1300, parse_address("10.0.0.1"))
    assert line.client.path_mtu(line.server.address) == 1300
    line.client.send_probe(line.server.address, 1111, 9, 1300, 64)
    line.network.clock.run()
    assert [len(data) for _, _, data in line.got] == [1272]


def test_errors_are_limited_and_come_again_with_time() -> None:
    line = Line(limit=ErrorLimit(rate=1.0, most=3.0))
    for _ in range(10):
        line.client.send_udp(line.server.address, 1, 9, b"", ttl=1)
    line.network.clock.run(until=0.5)
    assert len(line.errors) == 3
    assert sum(isinstance(event, Noted) and "kept back" in event.what for event in line.events) == 7
    line.network.clock.run(until=2.0)
    line.send(ttl=1)
    assert len(line.errors) == 4


def test_a_damaged_header_goes_no_further() -> None:
    line = Line()
    line.client.interface.send(bytes.fromhex("4500001c000000004011ffff0a000002cb007102 0457000900080000"))
    line.client.interface.send(b"\x45\0\0")
    line.network.clock.run()
    assert line.got == []
    assert line.drops[0] == "the IPv4 header checksum is wrong"
    assert "IPv4 header" in line.drops[1]


def test_the_longest_prefix_decides() -> None:
    network = Network("1")
    hub = network.router("hub")
    ends = [
        network.connect(hub, "10.0.0.1", network.plain_host(f"e{number}"), f"10.0.{number}.2")[0] for number in range(3)
    ]
    hub.routes.add("0.0.0.0/0", ends[0])
    hub.routes.add("10.0.0.0/8", ends[1])
    hub.routes.add_host(parse_address("10.9.9.9"), ends[2])
    towards: Callable[[str], object] = lambda text: hub.routes.towards(parse_address(text))  # noqa: E731
    assert [towards(text) for text in ("192.0.2.1", "10.9.9.8", "10.9.9.9")] == ends
    assert towards("2001:db8::1") is None


def test_ipv6_is_routed_and_packet_too_big_is_told() -> None:
    network, events = Network("1"), []
    network.observers.append(events.append)
    hub = network.router("hub")
    client, server = Listener("client"), Listener("server")
    inside, _ = network.connect(hub, "2001:db8:1::1", client, "2001:db8:1::2")
    outside, _ = network.connect(hub, "2001:db8:2::1", server, "2001:db8:2::2", Conditions(mtu=1280))
    hub.routes.add("2001:db8:1::/64", inside)
    hub.routes.add("2001:db8:2::/64", outside)
    src, dst = inside.peer.address, outside.peer.address
    for length in (1232, 1233):
        data = build_udp(1, 9, bytes(length), checksum=None, src=src, dst=dst)
        inside.peer.send(build_ipv6(src, dst, 17, data))
    network.clock.run()
    assert [len(packet) for packet in server.packets] == [1280]
    assert server.packets[0][7] == 63
    (error,) = client.packets
    assert error[40:48].hex() == f"0200{error[42:44].hex()}00000500"


class Listener:
    """A node that keeps what it gets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.packets: list[bytes] = []

    def attach(self, interface: object) -> None:
        """One of us."""

    def receive(self, interface: object, packet: bytes) -> None:
        self.packets.append(packet)


# --- with a NAT in it ----------------------------------------------------------------------------------------------


def nat(**behaviour: object) -> Napt:
    return Napt(parse_address("203.0.113.1"), NaptBehaviour(port_preserving=False, **behaviour))  # type: ignore[arg-type]


def test_a_nat_hides_the_inside_both_ways_and_its_own_errors_too() -> None:
    line = Line(nat())
    answers = []
    line.client.bind(1111, lambda src, port, data: answers.append((src, port, data)))
    line.server.bind(9, lambda src, port, data: line.server.send_udp(src, 9, port, b"to " + bytes(src)))
    line.send()
    assert answers == [(line.server.address, 9, b"to \xcb\0\x71\x01")]
    line.send(ttl=1)
    assert line.errors[0][1] == parse_address("10.0.0.1")
    assert line.errors[0][0].quoted.src == line.client.address


def test_path_mtu_discovery_works_through_a_nat() -> None:
    """The router behind the NAT complains about the translated packet; the client must recognise its own."""
    network = Network("1")
    client, server = network.plain_host("client"), network.plain_host("server")
    box, hub = network.router("nat", nat()), network.router("hub")
    _, inside = network.connect(client, "10.0.0.2", box, "10.0.0.1")
    outside, upstream = network.connect(box, "203.0.113.1", hub, "203.0.113.254")
    narrow, _ = network.connect(hub, "192.0.2.1", server, "192.0.2.2", Conditions(mtu=1000))
    box.routes.add("10.0.0.0/24", inside)
    box.routes.add("0.0.0.0/0", outside)
    box.outside = outside
    hub.routes.add("203.0.113.0/24", upstream)
    hub.routes.add("192.0.2.0/24", narrow)
    client.send_probe(server.address, 1111, 9, 1400, 64)
    network.clock.run()
    assert client.path_mtu(server.address) == 1000


@pytest.mark.parametrize("fragments", ["reassemble", "track"])
def test_a_fragmented_message_gets_through_a_nat(fragments: str) -> None:
    from nicsim.network.nat import Fragments

    line = Line(nat(fragments=Fragments(fragments)), mtu=1300)
    line.send(4000)
    assert line.got == [(parse_address("203.0.113.1"), 1024, bytes(4000))]


def test_a_restart_of_the_nat_changes_the_port_in_mid_flow() -> None:
    line = Line(nat())
    line.send()
    line.router.restart()
    line.send()
    assert [port for _, port, _ in line.got] == [1024, 1025]
    assert any(isinstance(event, Noted) and "starts again" in event.what for event in line.events)


# --- hosts ---------------------------------------------------------------------------------------------------------


def test_a_host_without_a_listener_says_so_and_answers_echo() -> None:
    line = Line()
    line.client.send_udp(line.server.address, 1111, 77, b"anyone?")
    line.network.clock.run()
    assert line.errors[0][0].kind is IcmpErrorKind.PORT_UNREACHABLE
    assert line.errors[0][1] == line.server.address


def test_a_host_takes_only_what_is_for_it_and_whole() -> None:
    host = PlainHost("host", Clock())
    network = Network("1")
    network.add(host)
    other = network.plain_host("other")
    network.connect(host, "10.0.0.2", other, "10.0.0.3")
    events: list[Event] = []
    host._observers = [events.append]  # type: ignore[assignment]
    other.send_udp(parse_address("10.0.0.9"), 1, 2, b"")
    other.send_udp(host.address, 1, 2, b"x", checksum=0x1234)
    network.clock.run()
    whys = [event.why for event in events if isinstance(event, Dropped)]
    assert whys == ["it is for 10.0.0.9, not for this host", "the UDP checksum is wrong"]
