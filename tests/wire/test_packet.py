"""wire/packet.py: what is found in a frame, what is refused, and that nothing else ever happens."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nicsim.errors import Malformed, NotIp
from nicsim.wire.headers import MORE_FRAGMENTS, build_ethernet, build_ipv4, build_ipv6, build_udp
from nicsim.wire.packet import Encapsulation, LinkType, Packet, link_type_name, parse_frame
from tests.wire.samples import A4, A6, B4, B6, MAC_A, MAC_B, ethernet, udp4, udp6

pytestmark = pytest.mark.filterwarnings("ignore")

IPV4 = build_ipv4(A4, B4, 17, build_udp(4500, 500, b"payload"))
IPV6 = build_ipv6(A6, B6, 17, build_udp(4500, 500, b"payload"))
SNAP = bytes.fromhex("aaaa03000000")


def tagged(*tags: str, ethertype: int = 0x0800, packet: bytes = IPV4) -> bytes:
    """A frame with 802.1Q tags, each as its type and VLAN in hex."""
    return MAC_B + MAC_A + bytes.fromhex("".join(tags)) + struct.pack(">H", ethertype) + packet


def snap(packet: bytes, ethertype: int, header: bytes = SNAP) -> bytes:
    return struct.pack(">H", len(header) + 2 + len(packet)) + header + struct.pack(">H", ethertype) + packet


def fragment6(offset: int, more: bool, data: bytes, next_header: int = 17, identification: int = 0xCAFE0001) -> bytes:
    """An IPv6 packet that is a fragment; `offset` in bytes."""
    return build_ipv6(A6, B6, 44, struct.pack(">BxHI", next_header, offset | more, identification) + data)


def patched(frame: bytes, offset: int, value: str) -> bytes:
    raw = bytes.fromhex(value)
    return frame[:offset] + raw + frame[offset + len(raw) :]


@pytest.mark.parametrize(
    ("frame", "link_type", "encapsulation", "network"),
    [
        (ethernet(IPV4), 1, Encapsulation.IEEE_802_3, 14),
        (ethernet(IPV6), 1, Encapsulation.IEEE_802_3, 14),
        (tagged("81000005"), 1, Encapsulation.IEEE_802_3_P_AND_Q, 18),
        (tagged("88a80005", "8100e006"), 1, Encapsulation.IEEE_802_3_P_AND_Q, 22),
        (tagged("91000005", ethertype=0x86DD, packet=IPV6), 1, Encapsulation.IEEE_802_3_P_AND_Q, 18),
        (MAC_B + MAC_A + snap(IPV4, 0x0800), 1, Encapsulation.LLC_SNAP, 22),
        (MAC_B + MAC_A + snap(IPV6, 0x86DD) + bytes(9), 1, Encapsulation.LLC_SNAP, 22),
        (
            MAC_B + MAC_A + bytes.fromhex("81000005") + snap(IPV4, 0x0800),
            1,
            Encapsulation.LLC_SNAP | Encapsulation.IEEE_802_3_P_AND_Q,
            26,
        ),
        (IPV4, LinkType.RAW, Encapsulation.NULL, 0),
        (IPV6, LinkType.RAW, Encapsulation.NULL, 0),
        (IPV4, LinkType.RAW_BSD, Encapsulation.NULL, 0),
        (IPV6, LinkType.RAW_OPENBSD, Encapsulation.NULL, 0),
        (IPV4, LinkType.IPV4, Encapsulation.NULL, 0),
        (IPV6, LinkType.IPV6, Encapsulation.NULL, 0),
    ],
)
def test_ip_is_found_behind_every_link_header(
    frame: bytes, link_type: int, encapsulation: Encapsulation, network: int
) -> None:
    packet = parse_frame(frame, link_type)
    assert (packet.encapsulation, packet.network) == (encapsulation, network)
    assert (packet.src, packet.dst) == ((A4, B4) if packet.version == 4 else (A6, B6))
    assert packet.payload == network + (20 if packet.version == 4 else 40)
    assert (packet.src_port, packet.dst_port) == (4500, 500)
    assert frame[packet.udp_payload : packet.udp_end] == b"payload"


@pytest.mark.parametrize("frame", [udp4(b"payload"), udp6(b"payload")])
def test_link_padding_is_not_part_of_the_packet(frame: bytes) -> None:
    assert parse_frame(frame + bytes(18)) == parse_frame(frame)
    assert parse_frame(frame).end == len(frame)


@pytest.mark.parametrize(
    ("ip", "start"),
    [
        (lambda udp: build_ipv4(A4, B4, 17, udp), 42),
        (lambda udp: build_ipv6(A6, B6, 17, udp), 62),
    ],
)
def test_data_ends_by_the_udp_length_where_ip_goes_on(ip: object, start: int) -> None:
    assert callable(ip)
    packet = parse_frame(ethernet(ip(build_udp(1, 2, b"1234") + b"slack")))
    assert (packet.udp_payload, packet.udp_end, packet.end) == (start, start + 4, start + 9)


def test_ipv4_options_are_stepped_over_and_noted() -> None:
    frame = ethernet(build_ipv4(A4, B4, 17, build_udp(1, 2, b"x"), options=bytes.fromhex("94040000") * 10))
    packet = parse_frame(frame)
    assert (packet.options, packet.payload, packet.src_port) == (True, 14 + 60, 1)
    assert not parse_frame(udp4(b"x")).options


@pytest.mark.parametrize("protocol", [1, 6, 50, 51, 58, 59, 132])
def test_other_protocols_have_no_ports(protocol: int) -> None:
    for ip in build_ipv4(A4, B4, protocol, b"x"), build_ipv6(A6, B6, protocol, b"x"):
        packet = parse_frame(ethernet(ip))
        assert (packet.protocol, packet.end - packet.payload) == (protocol, 1)
        assert (packet.src_port, packet.dst_port, packet.udp_payload, packet.udp_end) == (-1, -1, -1, -1)


@pytest.mark.rule("N-RX-9")
def test_ipv4_fragments_are_recognised() -> None:
    udp = build_udp(4500, 4500, bytes(100))
    first = parse_frame(ethernet(build_ipv4(A4, B4, 17, udp[:64], flags=MORE_FRAGMENTS, identification=7)))
    assert (first.is_fragment, first.more_fragments, first.fragment_offset) == (True, True, 0)
    assert (first.src_port, first.udp_end, first.end) == (4500, 14 + 20 + 64, 14 + 20 + 64)
    later = parse_frame(ethernet(build_ipv4(A4, B4, 17, udp[64:], flags=0, fragment_offset=64, identification=7)))
    assert (later.is_fragment, later.more_fragments, later.fragment_offset) == (True, False, 64)
    assert (later.src_port, later.udp_payload, later.identification) == (-1, -1, 7)
    whole = parse_frame(udp4(b""))
    assert (whole.is_fragment, whole.fragment_header, whole.fragment_link) == (False, -1, -1)


@pytest.mark.rule("N-RX-9")
def test_ipv6_fragments_are_recognised_with_what_reassembly_needs() -> None:
    udp = build_udp(4500, 4500, bytes(100))
    first = parse_frame(ethernet(fragment6(0, True, udp[:64])))
    assert (first.is_fragment, first.more_fragments, first.fragment_offset) == (True, True, 0)
    assert (first.identification, first.fragment_header, first.fragment_link) == (0xCAFE0001, 54, 20)
    assert (first.options, first.src_port, first.udp_end) == (False, 4500, 14 + 48 + 64)
    later = parse_frame(ethernet(fragment6(64, False, udp[64:])))
    assert (later.is_fragment, later.more_fragments, later.fragment_offset) == (True, False, 64)
    assert (later.protocol, later.payload, later.src_port) == (17, 14 + 48, -1)


def test_an_atomic_fragment_needs_no_reassembly() -> None:
    packet = parse_frame(ethernet(fragment6(0, False, build_udp(1, 2, b"x"))))
    assert (packet.is_fragment, packet.fragment_header, packet.src_port) == (False, 54, 1)


def test_extension_headers_are_walked_up_to_esp() -> None:
    hop_by_hop = bytes.fromhex("2b00050200000104")
    routing = bytes.fromhex("3c02020100000000") + bytes(16)
    destination = bytes.fromhex("2c00010400000000")
    fragment = struct.pack(">BxHI", 60, 1, 5)
    inner_destination = bytes.fromhex("3200010400000000")
    chain = hop_by_hop + routing + destination + fragment + inner_destination
    packet = parse_frame(ethernet(build_ipv6(A6, B6, 0, chain + b"esp.....")))
    assert (packet.protocol, packet.payload, packet.options) == (50, 54 + len(chain), True)
    assert (packet.fragment_header, packet.fragment_link) == (54 + 40, 54 + 32)


@pytest.mark.parametrize("protocol", [50, 51])
def test_esp_and_ah_end_the_walk(protocol: int) -> None:
    for version_packet in (
        build_ipv6(A6, B6, protocol, bytes(24)),
        build_ipv6(A6, B6, 60, bytes((protocol, 0, 1, 4, 0, 0, 0, 0)) + bytes(24)),
    ):
        packet = parse_frame(ethernet(version_packet))
        assert (packet.protocol, packet.end - packet.payload) == (protocol, 24)


def test_a_length_of_zero_from_segmentation_offload_means_the_rest_of_the_frame() -> None:
    packet = parse_frame(patched(udp4(b"payload"), 16, "0000"))
    assert packet.end == 14 + 20 + 8 + 7


REFUSED = [
    (b"", "Ethernet header at offset 0 needs 14 bytes, 0 left"),
    (udp4(b"x")[:33], "IPv4 header at offset 14 needs 20 bytes, 19 left"),
    (udp6(b"x")[:53], "IPv6 header at offset 14 needs 40 bytes, 39 left"),
    (patched(udp4(bytes(58)), 16, "05dc"), "IPv4 total length 1500 at offset 16 needs 1500 bytes, 86 left"),
    (patched(udp4(b"x"), 16, "0013"), "IPv4 total length 19 is shorter than its header of 20"),
    (patched(udp4(b"x"), 14, "44"), "IPv4 header length 16 at offset 14 is less than 20"),
    (patched(udp4(b"x"), 14, "4f"), "IPv4 header at offset 14 needs 60 bytes, 29 left"),
    (patched(udp4(b"x"), 14, "65"), "IPv4 header at offset 14 has version 6"),
    (patched(udp6(b"x"), 14, "45"), "IPv6 header at offset 14 has version 4"),
    (patched(udp6(b"x"), 18, "ffff"), "IPv6 payload length 65535 at offset 18 needs 65535 bytes, 9 left"),
    (patched(udp4(b"x"), 38, "0007"), "UDP length 7 at offset 38 is shorter than its own header"),
    (patched(udp4(b"x"), 38, "000a"), "UDP length 10 at offset 38 needs 10 bytes, 9 left"),
    (ethernet(build_ipv4(A4, B4, 17, bytes(7))), "UDP header at offset 34 needs 8 bytes, 7 left"),
    (ethernet(build_ipv6(A6, B6, 17, bytes(7))), "UDP header at offset 54 needs 8 bytes, 7 left"),
    (ethernet(build_ipv6(A6, B6, 0, b"")), "IPv6 payload length 0 at offset 18 with hop-by-hop options: a jumbogram"),
    (ethernet(build_ipv6(A6, B6, 44, bytes(7))), "IPv6 extension header 44 at offset 54 needs 8 bytes, 7 left"),
    (ethernet(build_ipv6(A6, B6, 43, b"\x11\x01" + bytes(13))), "43 at offset 54 needs 16 bytes, 15 left"),
    (ethernet(build_ipv6(A6, B6, 60, bytes.fromhex("3c00010400000000") * 17)), "more than 16 IPv6 extension headers"),
    (ethernet(fragment6(0, True, struct.pack(">BxHI", 17, 1, 5), 44)), "a second IPv6 fragment header at offset 62"),
    (tagged("81000005")[:17], "type after an 802.1Q tag at offset 16 needs 2 bytes, 1 left"),
    (MAC_B + MAC_A + b"\0\x09" + SNAP + b"\x08", "802.3 length 9 at offset 12 needs 9 bytes, 7 left"),
    (MAC_B + MAC_A + b"\0\x07" + SNAP + b"\x08\0", "SNAP type at offset 20 needs 2 bytes, 1 left"),
]


@pytest.mark.parametrize(("frame", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_frame_that_contradicts_itself_is_malformed_and_says_where(frame: bytes, message: str) -> None:
    with pytest.raises(Malformed) as raised:
        parse_frame(frame)
    assert raised.type is Malformed
    assert str(raised.value).endswith(message)


NO_IP = [
    (build_ethernet(MAC_B, MAC_A, 0x0806, bytes(28)), 1, "ethertype 0x0806 (ARP) is not IP"),
    (build_ethernet(MAC_B, MAC_A, 0x88CC, bytes(28)), 1, "ethertype 0x88cc (LLDP) is not IP"),
    (build_ethernet(MAC_B, MAC_A, 0x1234, b""), 1, "ethertype 0x1234 is not IP"),
    (tagged("81000001", "81000002", "81000003"), 1, "more than 2 802.1Q tags"),
    (MAC_B + MAC_A + b"\0\x03\x42\x42\x03" + bytes(38), 1, "an 802.3 frame whose LLC header is 424203"),
    (MAC_B + MAC_A + b"\0\0", 1, "an 802.3 frame whose LLC header is missing"),
    (b"\x50", 101, "a raw frame with version 5, neither IPv4 nor IPv6"),
    (udp4(b"x"), 113, "frames of link type 113 (LINUX_SLL) are not parsed"),
]


@pytest.mark.parametrize(("frame", "link_type", "message"), NO_IP, ids=[message for *_, message in NO_IP])
def test_a_frame_without_ip_says_what_it_is_instead(frame: bytes, link_type: int, message: str) -> None:
    with pytest.raises(NotIp) as raised:
        parse_frame(frame, link_type)
    assert str(raised.value) == message


@pytest.mark.parametrize(("link_type", "frame"), [(LinkType.IPV4, IPV6), (LinkType.IPV6, IPV4), (LinkType.RAW, b"")])
def test_a_raw_frame_of_the_other_version_is_malformed(link_type: int, frame: bytes) -> None:
    with pytest.raises(Malformed):
        parse_frame(frame, link_type)


def test_link_types_have_names() -> None:
    numbers = (0, 1, 9, 113, 127, 228, 9999)
    assert [link_type_name(number) for number in numbers] == [
        "0 (NULL)", "1 (ETHERNET)", "9 (PPP)", "113 (LINUX_SLL)", "127 (IEEE802_11_RADIOTAP)", "228 (IPV4)", "9999",
    ]  # fmt: skip


WHOLE_FRAMES = [
    udp4(b"payload"),
    udp6(b"payload"),
    tagged("88a80005", "8100e006"),
    MAC_B + MAC_A + snap(IPV4, 0x0800),
    ethernet(build_ipv4(A4, B4, 50, bytes(40), options=bytes(8))),
    ethernet(build_ipv4(A4, B4, 17, build_udp(1, 2, bytes(40))[:24], flags=MORE_FRAGMENTS)),
    ethernet(fragment6(0, True, build_udp(1, 2, bytes(40))[:24])),
    ethernet(build_ipv6(A6, B6, 0, bytes.fromhex("3c00050200000104 1101010c" + "00" * 12) + build_udp(1, 2, b""))),
]


def assert_consistent(frame: bytes, packet: Packet) -> None:
    """What every user of a Packet relies on: the offsets are in order and within the frame."""
    assert packet.version in (4, 6)
    assert len(packet.src) == len(packet.dst) == (4 if packet.version == 4 else 16)
    assert 0 <= packet.network < packet.payload <= packet.end <= len(frame)
    assert packet.fragment_offset % 8 == 0
    assert packet.is_fragment == (packet.more_fragments or packet.fragment_offset > 0)
    if packet.protocol == 17 and not packet.fragment_offset:
        assert packet.payload + 8 == packet.udp_payload <= packet.udp_end <= packet.end
        assert packet.src_port >= 0
        assert packet.dst_port >= 0
    else:
        assert packet.src_port == packet.dst_port == packet.udp_payload == packet.udp_end == -1
    if packet.fragment_header >= 0:
        assert packet.network + 6 <= packet.fragment_link < packet.fragment_header <= packet.payload - 8
        assert frame[packet.fragment_link] == 44


@pytest.mark.parametrize("frame", WHOLE_FRAMES)
def test_every_truncation_of_a_frame_is_refused(frame: bytes) -> None:
    assert_consistent(frame, parse_frame(frame))
    for length in range(len(frame)):
        with pytest.raises(Malformed):
            parse_frame(frame[:length])


LINK_TYPES = st.sampled_from([int(link_type) for link_type in LinkType])


@st.composite
def mutated_frames(draw: st.DrawFn) -> bytes:
    frame = bytearray(draw(st.sampled_from(WHOLE_FRAMES)))
    for _ in range(draw(st.integers(1, 6))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))] if draw(st.booleans()) else frame)


@given(st.binary(max_size=120) | mutated_frames(), LINK_TYPES)
@example(b"", 101)
def test_any_bytes_give_a_consistent_packet_or_a_refusal(frame: bytes, link_type: int) -> None:
    try:
        packet = parse_frame(frame, link_type)
    except Malformed:
        return
    assert_consistent(frame, packet)


@given(mutated_frames())
def test_the_offset_of_the_ip_header_does_not_matter(frame: bytes) -> None:
    """What a raw frame says is what the same packet says in Ethernet, moved by the header."""
    raw = frame[14:]
    version = raw[0] >> 4 if raw else 0
    if version not in (4, 6):
        return
    try:
        packet = parse_frame(raw, LinkType.RAW)
    except Malformed:
        with pytest.raises(Malformed):
            parse_frame(ethernet(raw))
        return
    moved = parse_frame(ethernet(raw))
    assert (moved.src, moved.dst, moved.protocol, moved.src_port, moved.options, moved.is_fragment) == (
        (packet.src, packet.dst, packet.protocol, packet.src_port, packet.options, packet.is_fragment)
    )
    assert (moved.payload, moved.end) == (packet.payload + 14, packet.end + 14)


@pytest.mark.peer("scapy")
def test_scapy_finds_the_same_things() -> None:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
    from scapy.layers.l2 import LLC, SNAP, Dot1AD, Dot1Q, Ether
    from scapy.packet import Raw

    ends = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
    four = IP(src="192.0.2.1", dst="198.51.100.2", ttl=33, id=4660) / UDP(sport=1024, dport=4500) / Raw(b"hello")
    six = IPv6(src="2001:db8::1", dst="2001:db8:ffff::2", hlim=33)
    chain = IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=["2001:db8::9"])
    tail = IPv6ExtHdrFragment(id=4660) / UDP(sport=1024, dport=4500) / Raw(b"hello")
    for built in (
        Ether(**ends) / four,
        Ether(**ends) / Dot1Q(vlan=5) / four,
        Ether(**ends) / Dot1AD(vlan=5) / Dot1Q(vlan=6) / six / chain / tail,
        Ether(**ends) / six / tail,
    ):
        frame = bytes(built)
        theirs = Ether(frame)
        ours = parse_frame(frame)
        assert (ours.src_port, ours.dst_port) == (theirs[UDP].sport, theirs[UDP].dport)
        assert frame[ours.payload : ours.end] == bytes(theirs[UDP])
        assert frame[ours.udp_payload : ours.udp_end] == b"hello"
        assert (ours.ttl, ours.identification) == (33, 4660)
    frame = MAC_B + MAC_A + struct.pack(">H", 8 + len(four)) + bytes(LLC() / SNAP(code=0x0800) / four)
    assert parse_frame(frame).encapsulation == Encapsulation.LLC_SNAP
