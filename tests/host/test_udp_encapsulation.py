"""The classic way of ESP in UDP: a marked socket tells ESP from IKE by content, and the header comes off."""

import pytest

from nicsim.boundary import UdpType
from nicsim.host.udp_encapsulation import UDP_ENCAP, UdpEncapType, UdpSocket, UdpSockets, stripped
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.esp import protect, unprotect
from nicsim.ipsec.transforms import Transform
from nicsim.wire.esp import Datagram
from nicsim.wire.headers import build_ipv4, build_ipv6, build_udp, parse_address
from nicsim.wire.packet import LinkType, parse_frame
from tests.builders import AES, LOCAL, LOCAL6, PEER, PEER6

OTHER, NON_IKE = UdpEncapType.UDP_ENCAP_ESPINUDP, UdpEncapType.UDP_ENCAP_ESPINUDP_NON_IKE
ESP = bytes.fromhex("0000ac0100000001") + bytes(range(40))
IKE = bytes(range(1, 29))


def classified(socket: UdpSocket, payload: bytes) -> tuple[Datagram, bytes]:
    """What the socket says of a datagram, and what it passes on."""
    frame = build_ipv4(PEER, LOCAL, 17, build_udp(1024, socket.port, payload))
    packet = parse_frame(frame, LinkType.RAW)
    kind, at = socket.classify(frame, packet)
    return kind, frame[at : packet.udp_end]


def test_the_socket_option_has_the_numbers_of_the_systems() -> None:
    # <netinet/udp.h> of NetBSD and of Linux.
    assert (UDP_ENCAP, int(NON_IKE), int(OTHER)) == (100, 1, 2)
    assert (NON_IKE.udp_type, OTHER.udp_type) == (UdpType.IKE, UdpType.OTHER)


@pytest.mark.rule("N-NAT-4", "N-NAT-5", "N-NAT-6")
@pytest.mark.parametrize(
    ("encapsulation", "payload", "kind", "passed_on"),
    [
        (OTHER, ESP, Datagram.ESP, ESP),
        (OTHER, bytes(4) + IKE, Datagram.IKE, IKE),
        (OTHER, b"\xff", Datagram.KEEPALIVE, b"\xff"),
        (OTHER, b"\0\0\1", Datagram.RUNT, b"\0\0\1"),
        (NON_IKE, bytes(8) + ESP, Datagram.ESP, ESP),
        (NON_IKE, IKE, Datagram.IKE, IKE),
        # A cookie may begin with four zero bytes, and even with seven.
        (NON_IKE, bytes(4) + IKE, Datagram.IKE, bytes(4) + IKE),
        (NON_IKE, bytes(7) + IKE, Datagram.IKE, bytes(7) + IKE),
        (NON_IKE, b"\xff", Datagram.KEEPALIVE, b"\xff"),
        (None, ESP, Datagram.IKE, ESP),
        (None, bytes(8) + ESP, Datagram.IKE, bytes(8) + ESP),
    ],
)
def test_content_decides_and_the_mark_says_how(
    encapsulation: UdpEncapType | None, payload: bytes, kind: Datagram, passed_on: bytes
) -> None:
    assert classified(UdpSocket(4500, encapsulation), payload) == (kind, passed_on)


def test_a_socket_is_looked_into_once_it_is_marked() -> None:
    sockets = UdpSockets.of([UdpSocket(500), UdpSocket(4500, OTHER)])
    frame = build_ipv4(PEER, LOCAL, 17, build_udp(1024, 500, bytes(8) + ESP))
    packet = parse_frame(frame, LinkType.RAW)
    socket = sockets.find(packet)
    assert socket is not None
    assert socket.classify(frame, packet)[0] is Datagram.IKE
    sockets.mark(500, NON_IKE)
    socket = sockets.find(packet)
    assert socket is not None
    assert socket.classify(frame, packet)[0] is Datagram.ESP
    elsewhere = build_ipv4(PEER, LOCAL, 17, build_udp(500, 1024, b""))
    assert sockets.find(parse_frame(elsewhere, LinkType.RAW)) is None


@pytest.mark.parametrize("encapsulation", [Encapsulation.UDP, Encapsulation.UDP_NON_IKE])
@pytest.mark.parametrize("version", [4, 6])
def test_what_is_left_is_the_same_packet_without_udp(encapsulation: Encapsulation, version: int) -> None:
    src, dst = (PEER, LOCAL) if version == 4 else (PEER6, LOCAL6)
    in_udp = Association(0xAC01, Mode.TUNNEL, encapsulation, AES, src, dst)
    native = Association(0xAC01, Mode.TUNNEL, Encapsulation.NONE, AES, src, dst)
    transform, inner = Transform(AES), build_ipv4(parse_address("10.0.0.2"), parse_address("10.0.1.2"), 1, bytes(40))
    sent = protect(in_udp, transform, inner, sequence=1, iv=bytes(16))
    packet = parse_frame(sent, LinkType.RAW)
    esp = packet.udp_payload + (8 if encapsulation is Encapsulation.UDP_NON_IKE else 0)
    assert stripped(sent, packet, esp) == protect(native, transform, inner, sequence=1, iv=bytes(16))


def test_options_and_extension_headers_stay() -> None:
    options = bytes.fromhex("94040000")
    transform = Transform(AES)
    native = Association(0xAC01, Mode.TUNNEL, Encapsulation.NONE, AES, PEER, LOCAL)
    in_udp = Association(0xAC01, Mode.TUNNEL, Encapsulation.UDP, AES, PEER, LOCAL)
    inner = build_ipv4(PEER, LOCAL, 1, bytes(40))
    outer = build_ipv4(PEER, LOCAL, 0, b"", options=options)
    sent = protect(in_udp, transform, inner, sequence=1, iv=bytes(16), outer_header=outer)
    packet = parse_frame(sent, LinkType.RAW)
    left = stripped(sent, packet, packet.udp_payload)
    assert left[20:24] == options
    assert unprotect(native, transform, left) == inner
    # A hop-by-hop header and a destination header in front of UDP.
    datagram = build_udp(4500, 4500, ESP, checksum=None, src=PEER6, dst=LOCAL6)
    extensions = bytes.fromhex("3c00010400000000") + bytes.fromhex("1101010c") + bytes(12)
    whole = build_ipv6(PEER6, LOCAL6, 0, extensions + datagram)
    packet = parse_frame(whole, LinkType.RAW)
    assert packet.dst_port == 4500
    left = stripped(whole, packet, packet.udp_payload)
    native_packet = parse_frame(left, LinkType.RAW)
    assert (native_packet.protocol, left[native_packet.payload : native_packet.end]) == (50, ESP)
    assert left[6] == 0


@pytest.mark.parametrize(
    "frame",
    [
        build_ipv4(PEER, LOCAL, 17, build_udp(4500, 4500, ESP)) + b"padding",
        build_ipv4(PEER, LOCAL, 17, build_udp(4500, 4500, ESP) + b"more than UDP says"),
    ],
)
def test_what_is_behind_the_datagram_is_left_out(frame: bytes) -> None:
    packet = parse_frame(frame, LinkType.RAW)
    assert stripped(frame, packet, packet.udp_payload)[20:] == ESP
