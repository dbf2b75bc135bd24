"""wire/fragmentation.py: what it cuts, reassembly and scapy put together again; and the fields of RFC 791 by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import Malformed
from nicsim.wire.checksum import internet_checksum
from nicsim.wire.fragmentation import fragment_ipv4, may_be_fragmented
from nicsim.wire.headers import DONT_FRAGMENT, MORE_FRAGMENTS, build_ipv4, build_ipv6
from nicsim.wire.packet import LinkType, parse_frame
from nicsim.wire.reassembly import Reassembler

SRC, DST = bytes((10, 0, 0, 2)), bytes((203, 0, 113, 2))


def ip(length: int, *, flags: int = 0, offset: int = 0, options: bytes = b"") -> bytes:
    data = bytes(index * 7 & 0xFF for index in range(length))
    return build_ipv4(
        SRC, DST, 17 if offset else 253, data, identification=77, flags=flags, fragment_offset=offset, options=options
    )


def reassembled(pieces: list[bytes]) -> bytes | None:
    reassembler, whole = Reassembler(max_bytes=1 << 22), None
    for piece in pieces:
        whole = reassembler.add(piece, parse_frame(piece, LinkType.RAW), 0.0) or whole
    return whole


@given(st.integers(0, 4000), st.integers(28, 1500))
def test_fragments_fit_and_make_the_packet_again(length: int, mtu: int) -> None:
    packet = ip(length)
    pieces = fragment_ipv4(packet, mtu)
    assert all(len(piece) <= mtu and not internet_checksum(piece[:20]) for piece in pieces)
    assert reassembled(pieces) == packet
    # As few as possible: all but the last are as long as 8-byte steps allow.
    assert all(len(piece) > mtu - 8 for piece in pieces[:-1])


@given(st.integers(600, 3000), st.integers(300, 1500), st.integers(28, 300))
def test_fragments_of_fragments_make_the_packet_again(length: int, first: int, second: int) -> None:
    packet = ip(length)
    pieces = [finer for piece in fragment_ipv4(packet, first) for finer in fragment_ipv4(piece, second)]
    assert reassembled(pieces) == packet


def test_a_middle_piece_keeps_its_flag_and_counts_from_its_own_offset() -> None:
    pieces = fragment_ipv4(ip(64, flags=MORE_FRAGMENTS, offset=800), 60)
    found = [parse_frame(piece, LinkType.RAW) for piece in pieces]
    assert [(one.fragment_offset, one.more_fragments) for one in found] == [(800, True), (840, True)]


def test_only_copied_options_go_into_later_fragments() -> None:
    record_route, router_alert = bytes.fromhex("07070400000000"), bytes.fromhex("94040000")
    options = b"\x01" + record_route + router_alert
    pieces = fragment_ipv4(ip(100, options=options), 72)
    assert pieces[0][20:32] == options
    assert all(piece[0] == 0x46 and piece[20:24] == router_alert for piece in pieces[1:])
    assert reassembled(pieces) == ip(100, options=options)


def test_a_packet_that_fits_stays_as_it_is_and_loses_what_is_behind_it() -> None:
    assert fragment_ipv4(ip(80) + b"padding", 100) == [ip(80)]


@pytest.mark.parametrize(("mtu", "options"), [(27, b""), (20, b""), (100, bytes.fromhex("94090000"))])
def test_what_cannot_be_cut_is_malformed(mtu: int, options: bytes) -> None:
    with pytest.raises(Malformed):
        fragment_ipv4(ip(200, options=options), mtu)


def test_who_may_be_fragmented() -> None:
    assert may_be_fragmented(ip(100))
    assert not may_be_fragmented(ip(100, flags=DONT_FRAGMENT))
    assert not may_be_fragmented(build_ipv6(bytes(16), bytes(16), 17, bytes(8)))


@pytest.mark.peer("scapy")
@pytest.mark.parametrize(("length", "size"), [(1500, 576), (4000, 1480), (100, 48)])
def test_scapy_cuts_the_same_pieces(length: int, size: int) -> None:
    from scapy.layers.inet import IP
    from scapy.layers.inet import fragment as scapy_fragment

    packet = ip(length)
    theirs = [bytes(piece) for piece in scapy_fragment(IP(packet), fragsize=size & ~7)]
    assert fragment_ipv4(packet, (size & ~7) + 20) == theirs
