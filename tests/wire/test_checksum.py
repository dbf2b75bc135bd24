"""wire/checksum.py against RFC 1071's own example, the plainest implementation, published values and scapy."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.wire.checksum import adjusted_checksum, internet_checksum, pseudo_header, udp_checksum
from nicsim.wire.headers import parse_address

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "checksum_fixup.json").read_text())["vectors"]
UDP_VECTORS = [vector for vector in VECTORS if vector["protocol"] == 17 and vector["checksum_as_sent"] != "0000"]


def plain_checksum(data: bytes) -> int:
    """RFC 1071 section 4.1, word by word."""
    total = 0
    for index in range(0, len(data), 2):
        total += int.from_bytes(data[index : index + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_the_example_of_rfc_1071_section_3_has_its_sum() -> None:
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF


@pytest.mark.parametrize("data", [b"", b"\0", bytes(40), b"\xff\xff", b"\xff\xff" * 3, b"\xff", b"\0\1\xff\xfe"])
def test_both_zeros_of_ones_complement_come_out_right(data: bytes) -> None:
    assert internet_checksum(data) == plain_checksum(data)


@given(st.binary(max_size=200))
def test_the_checksum_agrees_with_the_plainest_one(data: bytes) -> None:
    assert internet_checksum(data) == plain_checksum(data)


@given(st.binary(max_size=100).filter(lambda data: len(data) % 2 == 0))
def test_data_with_its_checksum_sums_to_zero(data: bytes) -> None:
    assert internet_checksum(data + internet_checksum(data).to_bytes(2, "big")) == 0


def test_the_pseudo_headers_have_the_layout_of_the_rfcs() -> None:
    assert pseudo_header(b"\1\2\3\4", b"\5\6\7\x08", 17, 0x123).hex() == "010203040506070800110123"
    assert (
        pseudo_header(bytes(16), b"\xff" * 16, 6, 0x12345).hex() == "00" * 16 + "ff" * 16 + "00012345" + "000000" + "06"
    )


@pytest.mark.parametrize("vector", UDP_VECTORS, ids=lambda vector: str(vector["id"]))
def test_udp_checksums_match_the_published_segments(vector: dict[str, str]) -> None:
    src, dst = parse_address(vector["original_source"]), parse_address(vector["original_destination"])
    assert udp_checksum(src, dst, bytes.fromhex(vector["segment_as_sent"])) == int(vector["checksum_as_sent"], 16)


def test_a_udp_checksum_that_comes_out_zero_is_sent_as_ffff() -> None:
    src, dst = bytes(4), bytes(4)
    # Choose the data so that everything covered sums to 0xFFFF: protocol 17 and the length twice.
    udp = bytes.fromhex("00000000000a0000") + (0xFFFF - 17 - 10 - 10).to_bytes(2, "big")
    assert udp_checksum(src, dst, udp) == 0xFFFF


def test_what_stands_in_the_checksum_field_does_not_count() -> None:
    udp = bytes.fromhex("1194119400100000") + b"payload!"
    assert udp_checksum(b"\1" * 4, b"\2" * 4, udp) == udp_checksum(
        b"\1" * 4, b"\2" * 4, udp[:6] + b"\xab\xcd" + udp[8:]
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_changed_addresses_adjust_a_checksum_as_published(vector: dict[str, str]) -> None:
    old = parse_address(vector["original_source"]) + parse_address(vector["original_destination"])
    new = parse_address(vector["received_source"]) + parse_address(vector["received_destination"])
    adjusted = adjusted_checksum(int(vector["checksum_as_sent"], 16), old, new)
    assert adjusted == int(vector["checksum_fixed"], 16)


@given(st.binary(min_size=2, max_size=40), st.data())
def test_an_adjusted_checksum_is_the_computed_one(data: bytes, draw: st.DataObject) -> None:
    data = data[: len(data) & ~1]
    at = draw.draw(st.integers(0, len(data) // 2 - 1)) * 2
    length = draw.draw(st.integers(1, (len(data) - at) // 2)) * 2
    new = draw.draw(st.binary(min_size=length, max_size=length))
    changed = data[:at] + new + data[at + length :]
    adjusted = adjusted_checksum(plain_checksum(data), data[at : at + length], new)
    # Data of zeros alone has the other zero, which no header and no pseudo-header can be.
    assert adjusted == plain_checksum(changed) or not any(changed)
    assert plain_checksum(changed + adjusted.to_bytes(2, "big")) in (0, 0xFFFF)
