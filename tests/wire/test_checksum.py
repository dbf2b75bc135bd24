"""wire/checksum.py against RFC 1071's own example, the plainest implementation, published values and scapy."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.wire.checksum import internet_checksum, pseudo_header, udp_checksum
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
