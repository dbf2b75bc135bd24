"""Real sockets on the loopback: what comes is an IP packet for the NIC, and what the NIC sends is a datagram."""

from __future__ import annotations

import socket

import pytest

from nicsim.connect.sockets import Sockets, Unreachable, resolve, route_source
from nicsim.errors import InputError
from nicsim.wire.headers import build_ipv4, build_ipv6, build_udp, parse_address
from nicsim.wire.packet import LinkType, parse_frame

LOOPBACK, LOOPBACK6 = parse_address("127.0.0.1"), parse_address("::1")


def free_ports(count: int, family: socket.AddressFamily = socket.AF_INET) -> list[int]:
    """Ports that nobody has just now."""
    held = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def received(sockets: Sockets) -> list[bytes]:
    packets: list[bytes] = []
    for _ in range(50):
        packets += sockets.receive(0.1)
        if packets:
            return packets
    return packets


@pytest.mark.parametrize("local", [LOOPBACK, LOOPBACK6], ids=["IPv4", "IPv6"])
def test_datagrams_become_packets_and_packets_datagrams(local: bytes) -> None:
    family = socket.AF_INET if len(local) == 4 else socket.AF_INET6
    first, second = free_ports(2, family)
    build = build_ipv4 if len(local) == 4 else build_ipv6
    with Sockets(local, (first,)) as ours, Sockets(local, (second,)) as theirs:
        datagram = build_udp(first, second, b"hello", checksum=None, src=local, dst=local)
        ours.send(build(local, local, 17, datagram))
        [packet] = received(theirs)
        parsed = parse_frame(packet, LinkType.RAW)
        assert (parsed.src, parsed.dst, parsed.src_port, parsed.dst_port) == (local, local, first, second)
        assert packet[parsed.udp_payload : parsed.udp_end] == b"hello"
        theirs.send(build(local, local, 17, build_udp(second, first, b"\xff", checksum=None, src=local, dst=local)))
        [packet] = received(ours)
        assert packet[-1:] == b"\xff"
        assert list(ours.receive(0.0)) == []


def test_a_port_that_is_taken_is_one_sentence() -> None:
    [port] = free_ports(1)
    taken = pytest.raises(InputError, match=rf"127\.0\.0\.1 port {port} cannot be bound: another program has it")
    with Sockets(LOOPBACK, (port,)), taken:
        Sockets(LOOPBACK, (port,))
    with Sockets(LOOPBACK, (port,)):
        pass  # given back


def test_nothing_is_bound_where_one_port_is_taken() -> None:
    first, second = free_ports(2)
    with Sockets(LOOPBACK, (second,)):
        with pytest.raises(InputError):
            Sockets(LOOPBACK, (first, second))
        with Sockets(LOOPBACK, (first,)):
            pass


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(
        InputError, match=r"203\.0\.113\.77 port \d+ cannot be bound: that is no address of this machine"
    ):
        Sockets(parse_address("203.0.113.77"), (free_ports(1)[0],))


def test_what_would_go_in_the_clear_is_not_sent() -> None:
    [port] = free_ports(1)
    with Sockets(LOOPBACK, (port,)) as ours:
        with pytest.raises(Unreachable, match="a packet of protocol 1 to"):
            ours.send(build_ipv4(LOOPBACK, LOOPBACK, 1, bytes(8)))
        with pytest.raises(Unreachable, match="protocol 17"):
            ours.send(build_ipv4(LOOPBACK, LOOPBACK, 17, build_udp(port + 1, 9, b"")))
        with pytest.raises(Unreachable, match="cannot be reached"):
            ours.send(build_ipv4(LOOPBACK, b"\xff" * 4, 17, build_udp(port, 9, b"")))


def test_esp_without_udp_needs_a_raw_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    native = build_ipv4(LOOPBACK, LOOPBACK, 50, bytes(range(40)))
    with Sockets(LOOPBACK, (port,)) as ours:
        if ours.can_send_native_esp:
            ours.send(native)
            [packet] = received(ours)
            assert parse_frame(packet, LinkType.RAW).protocol == 50
            assert packet[20:] == native[20:]
    real = socket.socket

    def without_rights(family: int, kind: int, *protocol: int) -> socket.socket:
        if kind == socket.SOCK_RAW:
            raise PermissionError
        return real(family, kind, *protocol)

    monkeypatch.setattr(socket, "socket", without_rights)
    with Sockets(LOOPBACK, (port,)) as ours:
        assert not ours.can_send_native_esp
        with pytest.raises(Unreachable, match="ESP without UDP needs the right to open raw sockets"):
            ours.send(native)


def test_names_and_routes() -> None:
    assert resolve("203.0.113.2") == parse_address("203.0.113.2")
    assert resolve("localhost") in (LOOPBACK, LOOPBACK6)
    with pytest.raises(InputError, match="is no address, and no name that can be resolved"):
        resolve("nowhere.invalid")
    with pytest.raises(InputError, match="is no address"):
        resolve("a" * 70 + ".example")
    assert route_source(LOOPBACK, 500) == LOOPBACK
    with pytest.raises(InputError, match=r"there is no route to 255.255.255.255: \w+"):
        route_source(b"\xff" * 4, 500)
