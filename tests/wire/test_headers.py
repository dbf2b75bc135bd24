"""wire/headers.py and wire/packet.py, one table in both directions, and scapy as the independent opinion."""

import struct

import pytest

from nicsim.errors import InputError, Malformed
from nicsim.wire.checksum import internet_checksum
from nicsim.wire.headers import (
    DONT_FRAGMENT,
    MORE_FRAGMENTS,
    build_ethernet,
    build_ipv4,
    build_ipv6,
    build_udp,
    format_address,
    parse_address,
    rewrite_ipv4,
)
from nicsim.wire.packet import LinkType, parse_frame
from tests.wire.samples import A4, A6, B4, B6, MAC_A, MAC_B, udp4, udp6

# scapy warns about what it does not find on the machine.
pytestmark = pytest.mark.filterwarnings("ignore")

# What to build, and the bytes on the wire: written by hand from the RFCs, checksums by scapy.
SAMPLES = [
    pytest.param(build_ethernet(MAC_B, MAC_A, 0x0806, b"arp"), "020000000002 020000000001 0806 617270", id="ethernet"),
    pytest.param(
        build_ipv4(A4, B4, 17, b"data"),
        "45000018 00004000 40114e9e c0000201 c6336402 64617461",
        id="ipv4",
    ),
    pytest.param(
        build_ipv4(A4, B4, 50, b"", ttl=1, identification=0xBEEF, flags=MORE_FRAGMENTS, fragment_offset=1480, tos=0xB8),
        "45b80014 beef20b9 0132 ed20 c0000201 c6336402",
        id="ipv4 fragment",
    ),
    pytest.param(
        build_ipv4(A4, B4, 1, b"", options=bytes.fromhex("94040000")),
        "46000018 00004000 4001b9a9 c0000201 c6336402 94040000",
        id="ipv4 options",
    ),
    pytest.param(
        build_ipv6(A6, B6, 50, b"data", hop_limit=7, traffic_class=0xB8, flow_label=0x12345),
        "6b812345 0004 32 07 20010db8000000000000000000000001 20010db8ffff00000000000000000002 64617461",
        id="ipv6",
    ),
    pytest.param(build_udp(4500, 500, b"\xff"), "1194 01f4 0009 0000 ff", id="keepalive without checksum"),
    pytest.param(build_udp(1, 2, b"", checksum=0xABCD), "0001 0002 0008 abcd", id="udp with a given checksum"),
    pytest.param(
        build_udp(4500, 4500, b"abc", checksum=None, src=A4, dst=B4), "1194 1194 000b 2c16 616263", id="udp over ipv4"
    ),
    pytest.param(
        build_udp(4500, 4500, b"abc", checksum=None, src=A6, dst=B6), "1194 1194 000b bcd8 616263", id="udp over ipv6"
    ),
]


@pytest.mark.parametrize(("built", "wire"), SAMPLES)
def test_headers_have_the_bytes_of_the_rfcs(built: bytes, wire: str) -> None:
    assert built.hex() == bytes.fromhex(wire).hex()


def test_what_was_built_is_parsed_back() -> None:
    packet = parse_frame(
        build_ipv4(
            A4, B4, 50, b"data", ttl=9, identification=77, flags=MORE_FRAGMENTS, fragment_offset=64, options=bytes(8)
        ),
        LinkType.RAW,
    )
    assert (packet.version, packet.src, packet.dst, packet.ttl, packet.protocol) == (4, A4, B4, 9, 50)
    assert (packet.payload, packet.end, packet.options, packet.identification) == (28, 32, True, 77)
    assert (packet.fragment_offset, packet.more_fragments, packet.is_fragment) == (64, True, True)
    packet = parse_frame(build_ipv6(A6, B6, 51, b"data", hop_limit=9), LinkType.RAW)
    assert (packet.version, packet.src, packet.dst, packet.ttl, packet.protocol) == (6, A6, B6, 9, 51)
    assert (packet.payload, packet.end, packet.options, packet.is_fragment) == (40, 44, False, False)


def test_every_ipv4_header_has_a_right_checksum() -> None:
    for length in 0, 4, 40:
        packet = build_ipv4(A4, B4, 17, b"payload", options=bytes(range(length)))
        assert internet_checksum(packet[: 20 + length]) == 0


def test_rewriting_changes_protocol_length_and_checksum_and_nothing_else() -> None:
    for options in b"", bytes.fromhex("94040000"):
        before = build_ipv4(A4, B4, 6, b"x" * 10, ttl=3, identification=9, tos=4, options=options)
        after = build_ipv4(A4, B4, 50, b"y" * 30, ttl=3, identification=9, tos=4, options=options)
        length = 20 + len(options)
        assert rewrite_ipv4(before[:length], protocol=50, total_length=len(after)) == after[:length]
        assert rewrite_ipv4(after[:length], protocol=6, total_length=len(before)) == before[:length]


def test_rewriting_can_take_the_fragmentation_out() -> None:
    header = build_ipv4(A4, B4, 17, b"", flags=MORE_FRAGMENTS, fragment_offset=8)
    assert rewrite_ipv4(header, protocol=17, total_length=20, flags_offset=0) == build_ipv4(A4, B4, 17, b"", flags=0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_ipv4(A4, B4, 17, bytes(65516)),
        lambda: build_ipv4(A4, B4, 17, b"", options=bytes(3)),
        lambda: build_ipv4(A4, B4, 17, b"", options=bytes(44)),
        lambda: build_ipv4(A4, B4, 17, b"", fragment_offset=4),
        lambda: build_ipv6(A6, B6, 17, bytes(65536)),
        lambda: build_udp(1, 2, bytes(65528)),
        lambda: build_udp(1, 2, b"", checksum=None),
        lambda: rewrite_ipv4(bytes(20), protocol=1, total_length=65536),
    ],
)
def test_what_no_header_can_say_is_a_mistake_of_the_caller(build: object) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=r"\d|src and dst"):
        build()


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("192.0.2.1", "c0000201"),
        ("2001:db8::1", "20010db8000000000000000000000001"),
        ("::", "00" * 16),
        ("255.255.255.255", "ffffffff"),
    ],
)
def test_addresses_go_to_bytes_and_back(text: str, raw: str) -> None:
    assert parse_address(text).hex() == raw
    assert format_address(bytes.fromhex(raw)) == text


@pytest.mark.parametrize("text", ["", "192.0.2", "192.0.2.256", "2001:db8::1::2", "fe80::1%eth0", "example.com", "1"])
def test_text_that_is_no_address_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError):
        parse_address(text)


@pytest.mark.parametrize("length", [0, 3, 6, 15, 17])
def test_bytes_that_are_no_address_are_malformed(length: int) -> None:
    with pytest.raises(Malformed):
        format_address(bytes(length))


@pytest.mark.peer("scapy")
def test_scapy_builds_the_same_frames() -> None:
    from scapy.layers.inet import IP, UDP, IPOption_Router_Alert
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    for length in 0, 1, 100, 1399:
        payload = bytes(index * 7 % 256 for index in range(length))
        udp = UDP(sport=4500, dport=4500) / Raw(payload)
        four = ether / IP(src="192.0.2.1", dst="198.51.100.2", flags="DF", id=0) / udp
        six = ether / IPv6(src="2001:db8::1", dst="2001:db8:ffff::2") / udp
        four[UDP].chksum = 0
        assert bytes(four) == udp4(payload)
        assert bytes(six) == udp6(payload)
        with_options = IP(src="192.0.2.1", dst="198.51.100.2", ttl=5, id=99, options=[IPOption_Router_Alert()]) / udp
        ours = build_udp(4500, 4500, payload, checksum=None, src=A4, dst=B4)
        assert bytes(with_options) == build_ipv4(
            A4, B4, 17, ours, ttl=5, identification=99, flags=0, options=struct.pack(">BBH", 148, 4, 0)
        )


def test_packets_are_sent_unfragmentable_unless_told() -> None:
    assert build_ipv4(A4, B4, 17, b"")[6:8] == DONT_FRAGMENT.to_bytes(2, "big")
