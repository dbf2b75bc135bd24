"""Checksums inside transport mode under NAT: the published vectors, the three ways, and what must stay as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.host.inner_checksums import AddressPair, ChecksumRepair, repaired
from nicsim.wire.headers import parse_address

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "checksum_fixup.json").read_text())["vectors"]
ADDRESSES = st.binary(min_size=4, max_size=4)


def pair(vector: dict[str, Any], which: str) -> AddressPair:
    return AddressPair(parse_address(vector[f"{which}_source"]), parse_address(vector[f"{which}_destination"]))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
@pytest.mark.parametrize("how", [ChecksumRepair.INCREMENTAL, ChecksumRepair.RECOMPUTE])
def test_the_vectors_are_repaired_in_both_ways(vector: dict[str, Any], how: ChecksumRepair) -> None:
    sent = bytes.fromhex(vector["segment_as_sent"])
    seen, original = pair(vector, "received"), pair(vector, "original")
    assert repaired(sent, vector["protocol"], seen, original, how).hex() == vector["segment_fixed"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_without_the_original_addresses_it_is_computed_anew(vector: dict[str, Any]) -> None:
    sent, seen = bytes.fromhex(vector["segment_as_sent"]), pair(vector, "received")
    assert repaired(sent, vector["protocol"], seen, None, ChecksumRepair.INCREMENTAL).hex() == vector["segment_fixed"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_none_in_udp_leaves_tcp_its_checksum(vector: dict[str, Any]) -> None:
    sent, seen = bytes.fromhex(vector["segment_as_sent"]), pair(vector, "received")
    result = repaired(sent, vector["protocol"], seen, pair(vector, "original"), ChecksumRepair.NONE_IN_UDP)
    if vector["protocol"] == 17:
        assert result == sent[:6] + b"\0\0" + sent[8:]
    else:
        assert result.hex() == vector["segment_fixed"]


@pytest.mark.parametrize("how", ChecksumRepair)
def test_what_has_no_checksum_comes_back_as_it_was(how: ChecksumRepair) -> None:
    seen, original = AddressPair(b"\1" * 4, b"\2" * 4), AddressPair(b"\3" * 4, b"\4" * 4)
    no_checksum = bytes.fromhex("0005000600096cce7f")[:6] + b"\0\0\x7f"
    assert repaired(no_checksum, 17, seen, original, how) == no_checksum
    echo = bytes.fromhex("0800f7ff00000000")
    assert repaired(echo, 1, seen, original, how) == echo
    for protocol, length in ((17, 7), (6, 17), (6, 0)):
        assert repaired(b"\5" * length, protocol, seen, original, how) == b"\5" * length


@pytest.mark.parametrize("how", [ChecksumRepair.INCREMENTAL, ChecksumRepair.RECOMPUTE])
@pytest.mark.parametrize(("protocol", "zero"), [(6, 0), (17, 0xFFFF)])
def test_a_computed_zero_is_sent_as_udp_has_it(protocol: int, zero: int, how: ChecksumRepair) -> None:
    seen, original = AddressPair(b"\1" * 4, b"\2" * 4), AddressPair(b"\3" * 4, b"\4" * 4)
    at = 6 if protocol == 17 else 16
    blank = bytes(range(4)) + bytes(18)
    first = repaired(blank[:at] + b"\1\1" + blank[at + 2 :], protocol, seen, None, ChecksumRepair.RECOMPUTE)
    # With its own checksum among the data, the sum has all bits set.
    filled = first[:at] + b"\1\1" + first[at + 2 : -2] + first[at : at + 2]
    sent = repaired(filled, protocol, original, None, ChecksumRepair.RECOMPUTE)
    fixed = repaired(sent, protocol, seen, original, how)
    assert int.from_bytes(fixed[at : at + 2], "big") == zero


def test_over_ipv6_no_udp_goes_without() -> None:
    seen = AddressPair(b"\1" * 16, b"\2" * 16)
    segment = bytes.fromhex("0005000600096cce7f")
    anew = repaired(segment, 17, seen, None, ChecksumRepair.RECOMPUTE)
    assert repaired(segment, 17, seen, None, ChecksumRepair.NONE_IN_UDP) == anew
    assert anew[6:8] != b"\0\0"


@given(ADDRESSES, ADDRESSES, ADDRESSES, ADDRESSES, st.binary(min_size=20, max_size=41), st.sampled_from([6, 17]))
def test_both_ways_agree_on_any_segment_and_addresses(
    a: bytes, b: bytes, c: bytes, d: bytes, segment: bytes, protocol: int
) -> None:
    original, seen = AddressPair(a, b), AddressPair(c, d)
    # A segment whose checksum is right where it was sent; the source port makes it one that is not all zero.
    segment = b"\1\2" + segment[2:6] + b"\1\1" + segment[8:]
    sent = repaired(segment, protocol, original, None, ChecksumRepair.RECOMPUTE)
    fixed = repaired(sent, protocol, seen, original, ChecksumRepair.INCREMENTAL)
    assert fixed == repaired(sent, protocol, seen, original, ChecksumRepair.RECOMPUTE)
    # And back: what was repaired there is right here again.
    assert repaired(fixed, protocol, original, seen, ChecksumRepair.INCREMENTAL) == sent
