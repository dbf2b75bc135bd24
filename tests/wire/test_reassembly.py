"""wire/reassembly.py: whole packets out of fragments in any order, and nothing out of hostile ones."""

import struct
import time
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import Malformed
from nicsim.wire.headers import MORE_FRAGMENTS, build_ipv4, build_ipv6, build_udp
from nicsim.wire.packet import LinkType, parse_frame
from nicsim.wire.reassembly import Reassembler
from tests.wire.samples import A4, A6, B4, B6, ethernet

pytestmark = pytest.mark.filterwarnings("ignore")

UDP = build_udp(4500, 4500, bytes(index % 251 for index in range(3000)))
WHOLE = {
    4: build_ipv4(A4, B4, 17, UDP, identification=7, flags=0, options=bytes.fromhex("94040000")),
    6: build_ipv6(A6, B6, 17, UDP),
}


def fragment(version: int, start: int, data: bytes, more: bool, identification: int = 7, protocol: int = 17) -> bytes:
    """A frame with one fragment of a packet like WHOLE."""
    if version == 4:
        flags = MORE_FRAGMENTS if more else 0
        options = bytes.fromhex("94040000")
        return ethernet(
            build_ipv4(
                A4, B4, protocol, data,
                flags=flags, fragment_offset=start, identification=identification, options=options,
            )
        )  # fmt: skip
    header = struct.pack(">BxHI", protocol, start | more, identification)
    return ethernet(build_ipv6(A6, B6, 44, header + data))


def split(version: int, size: int, data: bytes = UDP, identification: int = 7) -> list[bytes]:
    return [
        fragment(version, start, data[start : start + size], start + size < len(data), identification)
        for start in range(0, len(data), size)
    ]


def add(reassembler: Reassembler, frame: bytes, now: float = 0.0) -> bytes | None:
    return reassembler.add(frame, parse_frame(frame), now)


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_in_any_order_make_the_packet_that_was_split(version: int) -> None:
    for frames in permutations(split(version, 800)):
        reassembler = Reassembler()
        *early, last = [add(reassembler, frame) for frame in frames]
        assert early == [None] * 3
        assert last == WHOLE[version]
        assert (len(reassembler), reassembler.held_bytes) == (0, 0)


@pytest.mark.parametrize("version", [4, 6])
def test_the_whole_packet_is_no_fragment_and_parses(version: int) -> None:
    reassembler = Reassembler()
    *_, whole = [add(reassembler, frame) for frame in split(version, 1400)]
    assert whole is not None
    packet = parse_frame(whole, LinkType.RAW)
    assert (packet.is_fragment, packet.fragment_header, packet.src_port) == (False, -1, 4500)
    assert whole[packet.payload : packet.udp_end] == UDP


def test_ipv6_headers_in_front_of_the_fragment_header_stay_and_are_linked_past_it() -> None:
    hop_by_hop = bytes.fromhex("2c00050200000104")
    reassembler = Reassembler()
    results = []
    for start, more in (0, 1), (1600, 0):
        header = struct.pack(">BxHI", 17, start | more, 9)
        results.append(
            add(
                reassembler,
                ethernet(build_ipv6(A6, B6, 0, hop_by_hop + header + UDP[start : start + 1600 if more else None])),
            )
        )
    assert results == [None, build_ipv6(A6, B6, 0, b"\x11" + hop_by_hop[1:] + UDP)]


def test_datagrams_are_kept_apart_by_identification_and_in_ipv4_by_protocol() -> None:
    reassembler = Reassembler()
    for identification, protocol in (1, 17), (2, 17), (1, 50):
        assert add(reassembler, fragment(4, 0, UDP[:1600], True, identification, protocol)) is None
    assert len(reassembler) == 3
    for identification, protocol in (1, 17), (2, 17), (1, 50):
        whole = add(reassembler, fragment(4, 1600, UDP[1600:], False, identification, protocol))
        assert whole is not None
        assert (whole[24:], whole[9]) == (UDP, protocol)


def test_the_first_ipv6_fragment_says_what_the_data_is() -> None:
    """RFC 8200 section 4.5: the next header of other fragments does not count, nor does it keep them apart."""
    reassembler = Reassembler()
    assert add(reassembler, fragment(6, 1600, UDP[1600:], False, protocol=60)) is None
    assert add(reassembler, fragment(6, 0, UDP[:1600], True)) == WHOLE[6]


def test_a_packet_that_is_no_fragment_comes_back_without_its_padding() -> None:
    for version in 4, 6:
        assert add(Reassembler(), ethernet(WHOLE[version]) + bytes(6)) == WHOLE[version]


def test_an_atomic_fragment_comes_back_at_once_whatever_waits_under_its_identification() -> None:
    reassembler = Reassembler()
    assert add(reassembler, fragment(6, 0, UDP[:1600], True)) is None
    assert add(reassembler, fragment(6, 0, UDP, False)) == WHOLE[6]
    assert len(reassembler) == 1


@pytest.mark.parametrize("version", [4, 6])
def test_an_exact_duplicate_is_tolerated(version: int) -> None:
    reassembler = Reassembler()
    first, second, third = split(version, 1200)
    for frame in first, first, third, third, first:
        assert add(reassembler, frame) is None
    assert add(reassembler, second) == WHOLE[version]


# Fragments so far, the one that is refused, and what the message says. Each as start, end, more.
CONTRADICTIONS = [
    pytest.param([(0, 800, True)], (792, 1600, True), "overlaps", id="one that begins inside another"),
    pytest.param([(800, 1600, True)], (0, 808, True), "overlaps", id="one that ends inside another"),
    pytest.param([(800, 1600, True)], (0, 2400, True), "overlaps", id="one around another"),
    pytest.param([(0, 2400, True)], (800, 1600, True), "overlaps", id="one inside another"),
    pytest.param([(0, 800, True)], (0, 808, True), "overlaps", id="a longer one in the same place"),
    pytest.param([(800, 1600, False)], (1600, 2400, True), "contradicts", id="one behind the last"),
    pytest.param([(1600, 2400, True)], (800, 1600, False), "is the last", id="a last one before another"),
    pytest.param([(800, 1600, False)], (1600, 2400, False), "contradicts", id="a second last one"),
    pytest.param([(800, 1600, False)], (800, 1600, True), "overlaps", id="the last one again as a middle one"),
    pytest.param([(800, 1600, True)], (800, 1600, False), "overlaps", id="a middle one again as the last one"),
    pytest.param([], (0, 804, True), "positive multiple of 8", id="a middle one of odd length"),
    pytest.param([(0, 800, True)], (800, 800, True), "positive multiple of 8", id="an empty middle one"),
]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("before", "refused", "message"), CONTRADICTIONS)
def test_a_fragment_that_contradicts_the_others_spoils_the_datagram(
    version: int, before: list[tuple[int, int, bool]], refused: tuple[int, int, bool], message: str
) -> None:
    reassembler = Reassembler()
    for start, end, more in before:
        assert add(reassembler, fragment(version, start, UDP[start:end], more)) is None
    start, end, more = refused
    with pytest.raises(Malformed, match=message):
        add(reassembler, fragment(version, start, UDP[start:end], more))
    # The rest is dropped, even a full set of good fragments, until the time is up.
    assert [add(reassembler, frame) for frame in split(version, 800)] == [None] * 4
    *_, whole = [add(reassembler, frame, now=31.0) for frame in split(version, 800)]
    assert whole == WHOLE[version]


@pytest.mark.parametrize("version", [4, 6])
def test_a_duplicate_with_other_data_is_an_overlap(version: int) -> None:
    reassembler = Reassembler()
    add(reassembler, fragment(version, 800, UDP[800:1600], True))
    with pytest.raises(Malformed, match="overlaps"):
        add(reassembler, fragment(version, 800, bytes(800), True))


def test_an_empty_last_fragment_is_tolerated() -> None:
    reassembler = Reassembler()
    assert add(reassembler, fragment(4, 0, UDP[:3000], True)) is None
    assert add(reassembler, fragment(4, 3000, b"", False)) == build_ipv4(
        A4, B4, 17, UDP[:3000], identification=7, flags=0, options=bytes.fromhex("94040000")
    )


def test_more_than_a_packet_can_hold_is_refused_at_once() -> None:
    with pytest.raises(Malformed, match="beyond 65535"):
        add(Reassembler(), fragment(4, 65528, bytes(8), False))


@pytest.mark.parametrize(("version", "data"), [(4, 65535 - 24), (6, 65535)])
def test_a_packet_may_be_as_long_as_its_length_field_allows_and_no_longer(version: int, data: int) -> None:
    for excess in 0, 1:
        reassembler = Reassembler()
        assert add(reassembler, fragment(version, 0, UDP[:8] + bytes(32760), True)) is None
        last = fragment(version, 32768, bytes(data - 32768 + excess), False)
        if excess:
            with pytest.raises(Malformed, match="65535"):
                add(reassembler, last)
        else:
            whole = add(reassembler, last)
            assert whole is not None
            assert len(whole) == (65535 if version == 4 else 65575)


def test_an_unfinished_datagram_is_given_up_after_its_time() -> None:
    reassembler = Reassembler(timeout=30)
    first, second = split(4, 1600)
    assert add(reassembler, first, now=100.0) is None
    assert add(reassembler, second, now=130.1) is None
    assert len(reassembler) == 1
    assert add(reassembler, first, now=160.1) == WHOLE[4]


def test_a_clock_that_runs_backwards_a_little_does_not_matter_and_a_long_jump_begins_anew() -> None:
    first, second = split(4, 1600)
    reassembler = Reassembler(timeout=30)
    assert add(reassembler, first, now=100.0) is None
    assert add(reassembler, second, now=99.0) == WHOLE[4]
    assert add(reassembler, first, now=100.0) is None
    assert add(reassembler, second, now=10.0) is None
    assert len(reassembler) == 1


def test_a_datagram_that_is_over_never_takes_another_fragment_wherever_it_stands_in_line() -> None:
    first, second = split(4, 1600)
    other, _ = split(4, 1600, identification=8)
    reassembler = Reassembler(timeout=30)
    add(reassembler, other, now=100.0)
    add(reassembler, first, now=80.0)
    assert add(reassembler, second, now=120.0) is None


def test_the_oldest_datagram_makes_room() -> None:
    reassembler = Reassembler(max_datagrams=3)
    for identification in range(5):
        add(reassembler, split(4, 1600, identification=identification)[0])
    assert len(reassembler) == 3
    seconds = [add(reassembler, split(4, 1600, identification=identification)[1]) for identification in (4, 3, 2)]
    assert all(seconds)


@pytest.mark.parametrize("version", [4, 6])
def test_a_flood_of_small_fragments_holds_no_more_than_its_allowance(version: int) -> None:
    reassembler = Reassembler(max_bytes=1 << 16)
    for identification in range(40):
        for start in range(16, 1600, 16):
            add(reassembler, fragment(version, start, bytes(8), True, identification))
            assert reassembler.held_bytes <= 1 << 16
    assert reassembler.held_bytes >= 1 << 15


def test_thousands_of_fragments_in_the_worst_order_take_no_quadratic_time() -> None:
    data = UDP[:8] + bytes(65000 - 8)
    frames = [(frame, parse_frame(frame)) for frame in reversed(split(4, 8, data))]
    reassembler = Reassembler(max_bytes=1 << 22)
    begin = time.perf_counter()
    *_, whole = [reassembler.add(frame, packet, 0.0) for frame, packet in frames]
    assert whole is not None
    # 8125 fragments: a fraction of a second; joining all of them each time would take minutes.
    assert time.perf_counter() - begin < 5


@given(
    st.integers(4, 6).filter(lambda version: version != 5),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 40), st.booleans(), st.floats(-50, 50)), max_size=30),
    st.integers(1, 4),
    st.integers(200, 2000),
)
def test_any_fragments_give_a_packet_or_nothing_or_a_refusal_within_the_bounds(
    version: int, pieces: list[tuple[int, int, bool, float]], max_datagrams: int, max_bytes: int
) -> None:
    reassembler = Reassembler(max_datagrams, max_bytes)
    data = build_udp(1, 2, bytes(200))
    for start, length, more, now in pieces:
        frame = fragment(version, start * 8, data[start * 8 : start * 8 + length], more)
        try:
            whole = reassembler.add(frame, parse_frame(frame), now)
        except Malformed:
            whole = None
        if whole is not None:
            try:
                packet = parse_frame(whole, LinkType.RAW)
            except Malformed:  # a last fragment may come early, and the UDP length inside is then a lie
                assert len(whole) < len(data)
            else:
                assert not packet.is_fragment
                assert data.startswith(whole[packet.payload : packet.end])
        assert len(reassembler) <= max_datagrams
        assert 0 <= reassembler.held_bytes <= max_bytes
        assert (reassembler.held_bytes == 0) == (len(reassembler) == 0)


@given(st.integers(4, 6).filter(lambda version: version != 5), st.integers(1, 50), st.randoms(use_true_random=False))
def test_any_split_in_any_order_with_duplicates_comes_together(version: int, words: int, shuffler: Random) -> None:
    frames = split(version, words * 8)
    # A packet in one piece is no fragment (IPv4) or an atomic one (IPv6).
    order = frames + frames[:-1]
    shuffler.shuffle(order)
    reassembler = Reassembler(max_bytes=1 << 22)
    assert WHOLE[version] in [add(reassembler, frame) for frame in order]


@pytest.mark.peer("scapy")
def test_fragments_that_scapy_made_come_together_as_scapy_says() -> None:
    from scapy.layers.inet import IP
    from scapy.layers.inet import fragment as fragment4
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
    from scapy.packet import Raw

    four = IP(src="192.0.2.1", dst="198.51.100.2", id=7, proto=17) / Raw(UDP)
    reassembler = Reassembler()
    results = [add(reassembler, ethernet(bytes(piece))) for piece in fragment4(four, 800)]
    assert results[-1] == bytes(four)
    six = IPv6(src="2001:db8::1", dst="2001:db8:ffff::2") / IPv6ExtHdrFragment(nh=17, id=7) / Raw(UDP)
    results = [add(reassembler, ethernet(bytes(piece))) for piece in fragment6(six, 1280)]
    assert results[-1] == WHOLE[6]
