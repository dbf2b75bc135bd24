"""wire/icmp.py against scapy, which takes the errors apart and computes the checksums anew, and RFC 1812's rules."""

import pytest

from nicsim.wire.headers import MORE_FRAGMENTS, build_ipv4, build_ipv6, build_udp
from nicsim.wire.icmp import (
    IcmpErrorKind,
    build_echo_request,
    build_icmp_error,
    echo_reply,
    may_complain_about,
    parse_icmp_error,
    parse_quoted,
)
from nicsim.wire.packet import LinkType, parse_frame

CLIENT, ROUTER, SERVER = bytes((10, 0, 0, 2)), bytes((10, 0, 0, 1)), bytes((203, 0, 113, 2))
CLIENT6, ROUTER6, SERVER6 = (bytes((0x20, 1, 13, 0xB8)) + bytes(11) + bytes((last,)) for last in (2, 1, 9))


def datagram(length: int = 40, **header: int) -> bytes:
    return build_ipv4(CLIENT, SERVER, 17, build_udp(1111, 4500, bytes(length)), identification=0x77, **header)


def datagram6(length: int = 40) -> bytes:
    return build_ipv6(
        CLIENT6, SERVER6, 17, build_udp(1111, 4500, bytes(length), checksum=None, src=CLIENT6, dst=SERVER6)
    )


def parsed_error(packet: bytes) -> object:
    return parse_icmp_error(packet, parse_frame(packet, LinkType.RAW))


@pytest.mark.peer("scapy")
@pytest.mark.parametrize("kind", list(IcmpErrorKind))
def test_scapy_reads_what_we_build(kind: IcmpErrorKind) -> None:
    from scapy.layers.inet import ICMP, IP, UDPerror

    error = build_icmp_error(kind, ROUTER, datagram(1400), mtu=1300 if kind is IcmpErrorKind.PACKET_TOO_BIG else 0)
    read = IP(error)
    assert (read.src, read.dst, len(error)) == ("10.0.0.1", "10.0.0.2", 576)
    assert (read[ICMP].type, read[ICMP].code) == kind.value[0]
    assert read[UDPerror].sport == 1111
    if kind is IcmpErrorKind.PACKET_TOO_BIG:
        assert read[ICMP].nexthopmtu == 1300
    again = IP(error)
    del again.chksum
    del again[ICMP].chksum
    assert bytes(again) == error


@pytest.mark.peer("scapy")
def test_scapy_reads_packet_too_big_over_ipv6() -> None:
    from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6

    error = build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, ROUTER6, datagram6(1400), mtu=1280)
    read = IPv6(error)
    assert read[ICMPv6PacketTooBig].mtu == 1280
    assert len(error) == 1280
    del read[ICMPv6PacketTooBig].cksum
    assert bytes(read) == error


@pytest.mark.parametrize("kind", list(IcmpErrorKind))
@pytest.mark.parametrize("about", [datagram(), datagram6(), datagram(1400)], ids=["v4", "v6", "cut"])
def test_what_is_built_is_read_again(kind: IcmpErrorKind, about: bytes) -> None:
    router = ROUTER if about[0] >> 4 == 4 else ROUTER6
    error = build_icmp_error(kind, router, about, mtu=1000)
    read = parse_icmp_error(error, parse_frame(error, LinkType.RAW))
    assert read is not None
    assert read.kind is kind
    assert read.mtu == (1000 if kind is IcmpErrorKind.PACKET_TOO_BIG else 0)
    original = parse_frame(about, LinkType.RAW)
    quoted = read.quoted
    assert (quoted.src, quoted.dst, quoted.protocol) == (original.src, original.dst, 17)
    assert (quoted.src_port, quoted.dst_port, quoted.ttl) == (1111, 4500, 64)
    assert quoted.identification == original.identification


@pytest.mark.parametrize("at", range(20, 64))
def test_a_damaged_error_is_none(at: int) -> None:
    error = bytearray(build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, ROUTER, datagram(), mtu=1000))
    error[at] ^= 0x10
    assert parsed_error(bytes(error)) is None


@pytest.mark.parametrize("length", range(29))
def test_a_quotation_cut_anywhere_is_read_as_far_as_it_goes(length: int) -> None:
    quoted = parse_quoted(datagram()[:length], 0, length)
    if length < 20:
        assert quoted is None
    else:
        assert quoted is not None
        assert (quoted.src_port, quoted.dst_port) == ((1111, 4500) if length >= 24 else (-1, -1))


@pytest.mark.parametrize(
    ("packet", "may"),
    [
        (datagram(), True),
        (datagram6(), True),
        (datagram(flags=MORE_FRAGMENTS), True),
        (build_ipv4(CLIENT, SERVER, 17, bytes(40), flags=0, fragment_offset=800), False),
        (build_icmp_error(IcmpErrorKind.TIME_EXCEEDED, CLIENT, build_ipv4(SERVER, CLIENT, 17, bytes(8))), False),
        (build_icmp_error(IcmpErrorKind.TIME_EXCEEDED, CLIENT6, datagram6()), False),
        (build_echo_request(CLIENT, SERVER, 1, 1, b"ping"), True),
        (build_ipv4(CLIENT, bytes((224, 0, 0, 1)), 17, build_udp(1, 2, b"")), False),
        (build_ipv4(bytes(4), SERVER, 17, build_udp(1, 2, b"")), False),
        (build_ipv4(bytes((255,) * 4), SERVER, 17, build_udp(1, 2, b"")), False),
        (build_ipv4(CLIENT, SERVER, 1, b""), False),
    ],
)
def test_what_may_be_complained_about(packet: bytes, may: bool) -> None:
    assert may_complain_about(packet, parse_frame(packet, LinkType.RAW)) is may


@pytest.mark.peer("scapy")
def test_an_echo_request_is_answered() -> None:
    from scapy.layers.inet import ICMP, IP

    request = build_echo_request(CLIENT, SERVER, 7, 3, b"payload")
    reply = echo_reply(request, parse_frame(request, LinkType.RAW))
    assert reply is not None
    expected = IP(src="203.0.113.2", dst="10.0.0.2", id=0) / ICMP(type=0, id=7, seq=3) / b"payload"
    assert reply == bytes(expected)
    assert echo_reply(reply, parse_frame(reply, LinkType.RAW)) is None
