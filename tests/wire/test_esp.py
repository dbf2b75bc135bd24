"""wire/esp.py: ESP, IKE, keepalive or runt, on port 4500 and on port 500."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.wire.esp import (
    ESP_HEADER_LENGTH,
    IKE_PORT,
    KEEPALIVE,
    NAT_TRAVERSAL_PORT,
    NON_ESP_MARKER,
    NON_IKE_MARKER,
    Datagram,
    classify_port_500,
    classify_port_4500,
    spi_and_sequence,
)
from nicsim.wire.packet import parse_frame
from nicsim.wire.pcap import open_capture

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("*/*-side.pcap"))

ESP = bytes.fromhex("c0ffee01 00000001") + bytes(32)
IKE = bytes.fromhex("0123456789abcdef") + bytes(20)
# A genuine cookie whose first half is zero.
LATE_COOKIE = bytes.fromhex("0000000089abcdef") + bytes(20)

PORT_4500 = [
    (KEEPALIVE, Datagram.KEEPALIVE, 0),
    (b"", Datagram.RUNT, 0),
    (b"\xfe", Datagram.RUNT, 0),
    (b"\0", Datagram.RUNT, 0),
    (b"\xff\xff", Datagram.RUNT, 0),
    (bytes(3), Datagram.RUNT, 0),
    (NON_ESP_MARKER, Datagram.IKE, 4),
    (NON_ESP_MARKER + IKE, Datagram.IKE, 4),
    (b"\0\0\0\1", Datagram.RUNT, 0),
    (ESP[:7], Datagram.RUNT, 0),
    (ESP[:8], Datagram.ESP, 0),
    (ESP, Datagram.ESP, 0),
    (b"\xff" * 4 + ESP[4:], Datagram.ESP, 0),
    (b"\0\0\0\1" + ESP[4:], Datagram.ESP, 0),
]
PORT_500 = [
    (KEEPALIVE, Datagram.KEEPALIVE, 0),
    (b"", Datagram.RUNT, 0),
    (b"\xfe", Datagram.IKE, 0),
    (b"\xff\xff", Datagram.IKE, 0),
    (IKE, Datagram.IKE, 0),
    (LATE_COOKIE, Datagram.IKE, 0),
    (NON_IKE_MARKER, Datagram.IKE, 0),
    (NON_IKE_MARKER + ESP[:8], Datagram.IKE, 0),
    (NON_IKE_MARKER + ESP[:9], Datagram.ESP, 8),
    (NON_IKE_MARKER + ESP, Datagram.ESP, 8),
]


@pytest.mark.rule("N-NAT-4", "N-NAT-5", "N-RX-1")
@pytest.mark.parametrize(("payload", "datagram", "offset"), PORT_4500)
def test_port_4500_carries_what_rfc_3948_says(payload: bytes, datagram: Datagram, offset: int) -> None:
    assert classify_port_4500(payload, 0, len(payload)) == (datagram, offset)


@pytest.mark.rule("N-NAT-5", "N-NAT-6")
@pytest.mark.parametrize(("payload", "datagram", "offset"), PORT_500)
def test_port_500_carries_what_the_older_drafts_say(payload: bytes, datagram: Datagram, offset: int) -> None:
    assert classify_port_500(payload, 0, len(payload)) == (datagram, offset)


@pytest.mark.parametrize(("payload", "datagram", "offset"), PORT_4500)
def test_only_the_payload_counts_on_port_4500_wherever_it_is(payload: bytes, datagram: Datagram, offset: int) -> None:
    for around in b"\0" * 8, b"\xff" * 8:
        assert classify_port_4500(around + payload + around, 8, 8 + len(payload)) == (datagram, 8 + offset)


@pytest.mark.parametrize(("payload", "datagram", "offset"), PORT_500)
def test_only_the_payload_counts_on_port_500_wherever_it_is(payload: bytes, datagram: Datagram, offset: int) -> None:
    for around in b"\0" * 8, b"\xff" * 8:
        assert classify_port_500(around + payload + around, 8, 8 + len(payload)) == (datagram, 8 + offset)


def test_spi_and_sequence_are_the_first_two_words() -> None:
    assert spi_and_sequence(b"xx" + ESP, 2) == (0xC0FFEE01, 1)


@given(st.binary(max_size=64) | st.binary(max_size=32).map(lambda tail: bytes(8) + tail), st.data())
def test_any_payload_is_classified_and_its_offset_lies_within(buffer: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(buffer)))
    end = data.draw(st.integers(start, len(buffer)))
    for classify in classify_port_4500, classify_port_500:
        datagram, offset = classify(buffer, start, end)
        assert start <= offset <= end
        if datagram is Datagram.ESP:
            spi, _ = spi_and_sequence(buffer, offset)
            assert end - offset >= ESP_HEADER_LENGTH
            assert spi or classify is classify_port_500


@pytest.mark.rule("N-NAT-4", "N-RX-1")
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_real_capture_has_the_esp_ike_and_keepalives_that_other_tools_count(path: Path) -> None:
    expected = json.loads((path.parent / "expect.json").read_text())["captures"][path.name]
    frames, spis, counts = 0, Counter[str](), Counter[tuple[int, Datagram]]()
    with open_capture(path) as capture:
        for frame in capture:
            frames += 1
            if frame.data[12:14] != b"\x08\x00":
                continue
            packet = parse_frame(frame.data, frame.link_type)
            for port, classify in (NAT_TRAVERSAL_PORT, classify_port_4500), (IKE_PORT, classify_port_500):
                if port in (packet.src_port, packet.dst_port):
                    datagram, offset = classify(frame.data, packet.udp_payload, packet.udp_end)
                    counts[port, datagram] += 1
                    if datagram is Datagram.ESP:
                        spis[f"0x{spi_and_sequence(frame.data, offset)[0]:08x}"] += 1
    assert capture.truncated is None
    assert frames == expected["frames"]
    assert counts[NAT_TRAVERSAL_PORT, Datagram.IKE] == expected["ike_port_4500"]
    assert counts[NAT_TRAVERSAL_PORT, Datagram.KEEPALIVE] == expected["nat_keepalives"]
    assert counts[IKE_PORT, Datagram.IKE] == expected["ike_port_500"]
    assert spis == expected["udp_esp_per_spi"]
    assert counts.total() == sum(
        expected[kind] for kind in ("ike_port_4500", "nat_keepalives", "ike_port_500", "udp_esp")
    )
