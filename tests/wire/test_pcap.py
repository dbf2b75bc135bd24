"""wire/pcap.py: both formats as their drafts have them, cut, damaged and hostile, with scapy and tshark as peers."""

import gzip
import io
import json
import os
import struct
import subprocess
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import CaptureError
from nicsim.wire.pcap import FRAME_LENGTH_MAX, Capture, Frame, PcapngWriter, PcapWriter, open_capture
from tests.wire.samples import udp4

pytestmark = pytest.mark.filterwarnings("ignore")

ORDERS = ["<", ">"]
# Time in seconds that a float holds exactly, data, length on the wire.
RECORDS = [(1.5, b"first", 5), (1700000000.25, b"", 0), (1700000000.125, b"x" * 61, 1500)]
FRAMES = [Frame(number, time, data, 1, length) for number, (time, data, length) in enumerate(RECORDS, 1)]


def read(raw: bytes) -> tuple[list[Frame], str | None]:
    with open_capture(io.BytesIO(raw)) as capture:
        return list(capture), capture.truncated


def pcap_header(order: str = "<", magic: int = 0xA1B2C3D4, major: int = 2, link_type: int = 1) -> bytes:
    return struct.pack(f"{order}IHHiIII", magic, major, 4, 0, 0, 65535, link_type)


def record(order: str, seconds: int, fraction: int, data: bytes, original: int) -> bytes:
    return struct.pack(f"{order}IIII", seconds, fraction, len(data), original) + data


def block(order: str, kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack(f"{order}II", kind, length) + body + struct.pack(f"{order}I", length)


def section(order: str, major: int = 1) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, major, 0, -1))


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(order: str, link_type: int = 1, snapshot: int = 0, options: bytes = b"") -> bytes:
    return block(order, 1, struct.pack(f"{order}HHI", link_type, 0, snapshot) + options)


def enhanced(order: str, ticks: int, data: bytes, original: int, index: int = 0, options: bytes = b"") -> bytes:
    head = struct.pack(f"{order}IIIII", index, ticks >> 32, ticks & 0xFFFFFFFF, len(data), original)
    return block(order, 6, head + data + bytes(-len(data) % 4) + options)


def pcap(order: str = "<", nanoseconds: bool = False, link_type: int = 1) -> bytes:
    units = 10**9 if nanoseconds else 10**6
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    return pcap_header(order, magic, link_type=link_type) + b"".join(
        record(order, int(time), int(time % 1 * units), data, length) for time, data, length in RECORDS
    )


def pcapng(order: str = "<") -> bytes:
    return (
        section(order)
        + interface(order)
        + b"".join(enhanced(order, int(time * 10**6), data, length) for time, data, length in RECORDS)
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_pcap_is_read_in_both_byte_orders_and_resolutions(order: str, nanoseconds: bool) -> None:
    assert read(pcap(order, nanoseconds)) == (FRAMES, None)


@pytest.mark.parametrize("order", ORDERS)
def test_pcapng_is_read_in_both_byte_orders(order: str) -> None:
    assert read(pcapng(order)) == (FRAMES, None)


@pytest.mark.parametrize("writer", [PcapWriter, PcapngWriter])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_what_is_written_is_read_back(writer: type[PcapWriter | PcapngWriter], nanoseconds: bool) -> None:
    stream = io.BytesIO()
    out = writer(stream, 1, nanoseconds)
    for time, data, length in RECORDS:
        out.write(time, data, length)
    assert read(stream.getvalue()) == (FRAMES, None)


def test_the_writers_make_the_bytes_of_the_drafts() -> None:
    for writer, expected in (PcapWriter, pcap()), (PcapngWriter, pcapng()):
        stream = io.BytesIO()
        out = writer(stream, 1)
        for time, data, length in RECORDS:
            out.write(time, data, length)
        if writer is PcapWriter:
            expected = expected.replace(struct.pack("<II", 65535, 1), struct.pack("<II", FRAME_LENGTH_MAX, 1))
        else:
            resolution = option("<", 9, b"\6") + option("<", 0, b"")
            expected = expected.replace(interface("<"), interface("<", 1, FRAME_LENGTH_MAX, resolution))
        assert stream.getvalue() == expected


def test_a_comment_is_an_option_behind_the_data() -> None:
    stream = io.BytesIO()
    PcapngWriter(stream, 1).write(2.0, b"abc", comment="größer")
    options = option("<", 1, "größer".encode()) + option("<", 0, b"")
    assert stream.getvalue().endswith(enhanced("<", 2 * 10**6, b"abc", 3, options=options))
    assert read(stream.getvalue()) == ([Frame(1, 2.0, b"abc", 1, 3)], None)


def test_a_sections_interfaces_byte_order_and_times_are_its_own() -> None:
    raw = (
        section("<")
        + interface("<", 113)
        + interface("<", 101, options=option("<", 9, b"\x8a") + option("<", 14, struct.pack("<q", 1000)))
        + enhanced("<", 5 * 10**6, b"a", 1, index=0)
        + enhanced("<", 5 * 1024 + 512, b"b", 2, index=1)
        + section(">")
        + interface(">", 1, options=option(">", 2, b"eth0") + option(">", 9, b"\x09") + option(">", 0, b""))
        + enhanced(">", 3 * 10**9 + 1, b"c", 3)
        + section(">")
        + enhanced(">", 0, b"d", 4)
    )
    frames, truncated = read(raw)
    assert frames == [
        Frame(1, 5.0, b"a", 113, 1),
        Frame(2, 1005.5, b"b", 101, 2),
        Frame(3, (3 * 10**9 + 1) / 10**9, b"c", 1, 3),
    ]
    assert truncated == f"frame 4 at byte {len(raw) - 36} is of interface 0, which no block describes"


@pytest.mark.parametrize("order", ORDERS)
def test_simple_and_obsolete_packet_blocks_are_read(order: str) -> None:
    raw = (
        section(order)
        + interface(order, 1, snapshot=4)
        + block(order, 3, struct.pack(f"{order}I", 6) + b"simp")
        + block(order, 3, struct.pack(f"{order}I", 2) + b"si\0\0")
        + block(order, 2, struct.pack(f"{order}HHIIII", 0, 0xFFFF, 0, 10**6, 3, 9) + b"old\0")
    )
    assert read(raw) == ([Frame(1, 0.0, b"simp", 1, 6), Frame(2, 0.0, b"si", 1, 2), Frame(3, 1.0, b"old", 1, 9)], None)
    unlimited = section(order) + interface(order) + block(order, 3, struct.pack(f"{order}I", 4) + b"full")
    assert read(unlimited) == ([Frame(1, 0.0, b"full", 1, 4)], None)


def test_unknown_blocks_are_skipped_whatever_their_size() -> None:
    odd = block("<", 0x0BAD, b"") + block("<", 0x80000001, bytes(3 << 20)) + block("<", 5, bytes(8))
    raw = section("<") + odd + interface("<") + odd + enhanced("<", 0, b"x", 1) + odd
    assert read(raw) == ([Frame(1, 0.0, b"x", 1, 1)], None)


def test_the_link_type_is_reported_whatever_it_is_without_its_fcs_bits() -> None:
    frames, _ = read(pcap(link_type=113))
    assert {frame.link_type for frame in frames} == {113}
    frames, _ = read(pcap(link_type=0x44000001))
    assert {frame.link_type for frame in frames} == {1}


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, like a slow pipe."""

    def __init__(self, raw: bytes, step: int) -> None:
        self._source = io.BytesIO(raw)
        self._step = step

    def read(self, length: int = -1) -> bytes:
        return self._source.read(min(length, self._step) if length >= 0 else self._step)

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("raw", [pcap(), pcapng(), section("<") + block("<", 99, bytes(40)) + pcapng(">")])
@pytest.mark.parametrize("step", [1, 7, 64])
def test_frames_are_the_same_however_the_bytes_arrive(raw: bytes, step: int) -> None:
    capture = open_capture(Trickle(raw, step))  # type: ignore[arg-type]
    assert (list(capture), capture.truncated, capture.size) == (FRAMES, None, None)
    assert capture.bytes_read == len(raw)


def test_a_file_of_many_chunks_is_read_whole_and_its_progress_seen(tmp_path: Path) -> None:
    path = tmp_path / "big.pcap"
    with path.open("wb") as stream:
        writer = PcapWriter(stream, 1)
        for number in range(3000):
            writer.write(float(number), number.to_bytes(4, "big") * 300)
    with open_capture(path) as capture:
        assert capture.size == path.stat().st_size
        assert 0 < capture.bytes_read < capture.size
        for expected, frame in enumerate(capture):
            assert frame == (expected + 1, float(expected), expected.to_bytes(4, "big") * 300, 1, 1200)
        assert capture.bytes_read == capture.size
        assert expected == 2999


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.pcapng"
    with path.open("wb") as stream:
        writer = PcapngWriter(stream, 1)
        for _ in range(400):
            writer.write(0.0, bytes(65536))
    tracemalloc.start()
    try:
        with open_capture(path) as capture:
            assert sum(1 for _ in capture) == 400
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_an_iteration_goes_on_where_the_last_one_stopped() -> None:
    capture = open_capture(io.BytesIO(pcap()))
    assert next(iter(capture)) == FRAMES[0]
    assert list(capture) == FRAMES[1:]
    assert list(capture) == []


def test_a_stream_stays_open_and_a_file_does_not(tmp_path: Path) -> None:
    stream = io.BytesIO(pcap())
    with open_capture(stream):
        pass
    assert not stream.closed
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap())
    with open_capture(str(path)) as capture:
        pass
    with pytest.raises(ValueError, match="closed"):
        capture._stream.read(1)


def test_a_pipe_is_read_and_has_no_size() -> None:
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb") as stream:
            stream.write(pcap())

    thread = threading.Thread(target=feed)
    thread.start()
    with open(reading, "rb") as stream, open_capture(stream) as capture:
        assert capture.size is None
        assert list(capture) == FRAMES
    thread.join()


NO_CAPTURE = [
    pytest.param(b"", "the input is not a capture file: it is empty", id="empty"),
    pytest.param(b"Hello, world", "the input is not a capture file: it starts with 'Hello, w'", id="text"),
    pytest.param(
        b"\x7fELF\2\1\1\0\0",
        "the input is not a capture file: it starts with bytes 7f 45 4c 46 02 01 01 00",
        id="binary",
    ),
    pytest.param(b"\n", "the input is not a capture file: it starts with bytes 0a", id="a byte"),
    pytest.param(
        gzip.compress(pcap()), "the input is compressed with gzip; decompress it first", id="gzip"
    ),
    pytest.param(b"PK\3\4....", "the input is compressed with zip; decompress it first", id="zip"),
    pytest.param(
        pcap_header("<", 0xA1B2CD34),
        "the input: the modified pcap format (magic a1b2cd34) is not read; convert it to pcapng",
        id="modified pcap",
    ),
    pytest.param(
        pcap_header(">", 0xA1B2CD34),
        "the input: the modified pcap format (magic a1b2cd34) is not read; convert it to pcapng",
        id="modified pcap, big-endian",
    ),
    pytest.param(pcap()[:23], "the input: the pcap file header needs 24 bytes, 23 left", id="cut pcap header"),
    pytest.param(pcap_header(major=3), "the input: pcap version 3.4 is not read, only 2.x", id="pcap 3"),
    pytest.param(section("<")[:27], "the input: the section header at byte 0 needs 28 bytes, 27 left", id="cut pcapng"),
    pytest.param(section("<", 2), "the input: pcapng version 2.0 is not read, only 1.x", id="pcapng 2"),
    pytest.param(
        section("<")[:8] + bytes(20), "the input: the section header at byte 0 has no byte-order magic", id="no magic"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "message"), NO_CAPTURE)
def test_a_file_that_is_no_capture_is_refused_in_one_line(raw: bytes, message: str) -> None:
    with pytest.raises(CaptureError) as raised:
        open_capture(io.BytesIO(raw))
    assert str(raised.value) == message


def test_the_refusal_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("some notes")
    with pytest.raises(CaptureError) as raised:
        open_capture(path)
    assert str(raised.value) == f"{path} is not a capture file: it starts with 'some not'"
    with pytest.raises(CaptureError, match="cannot be opened: No such file"):
        open_capture(tmp_path / "missing.pcap")
    with pytest.raises(CaptureError, match="cannot be opened"):
        open_capture(tmp_path)
    with pytest.raises(CaptureError, match="cannot be opened"):
        open_capture("a\0b")


HEAD = section("<") + interface("<")
STOPS = [
    pytest.param(
        pcap()[:-1], 2, f"frame 3 at byte {len(pcap()) - 61} needs 61 bytes, 60 left", id="pcap cut in a frame"
    ),
    pytest.param(
        pcap()[: 24 + 21 + 15], 1, "the header of frame 2 at byte 45 needs 16 bytes, 15 left", id="pcap cut in a header"
    ),
    pytest.param(
        pcap_header() + struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(100),
        0,
        "frame 1 at byte 24 claims 4294967295 bytes, more than the 262144 a frame can have",
        id="pcap frame of 4 GiB",
    ),
    pytest.param(
        pcap_header() + record("<", 0, 0, bytes(262144), 262144) + record("<", 0, 0, bytes(262145), 262145),
        1,
        "frame 2 at byte 262184 claims 262145 bytes, more than the 262144 a frame can have",
        id="pcap frame one byte too long",
    ),
    pytest.param(
        pcapng()[:-1],
        2,
        f"the block of type 6 at byte {len(pcapng()) - 96} needs 96 bytes, 95 left",
        id="pcapng cut in a frame",
    ),
    pytest.param(HEAD + b"\6\0\0\0\x20\0\0", 0, "a block at byte 48 needs 8 bytes, 7 left", id="cut in a block head"),
    pytest.param(
        HEAD + struct.pack("<II", 6, 0xFFFFFFFC),
        0,
        "the block of type 6 at byte 48 claims 4294967292 bytes, more than 16777216",
        id="pcapng block of 4 GiB",
    ),
    pytest.param(
        HEAD + struct.pack("<II", 99, 0xFFFFFFFC) + bytes(8),
        0,
        "a block that goes on to byte 4294967336 lacks 4294967272 bytes",
        id="unknown block of 4 GiB",
    ),
    pytest.param(
        HEAD + block("<", 99, bytes(8))[:-1],
        0,
        "the length that ends a block at byte 64 needs 4 bytes, 3 left",
        id="cut in a trailer",
    ),
    pytest.param(
        HEAD + struct.pack("<II", 6, 28) + bytes(24),
        0,
        "the block of type 6 at byte 48 has an impossible length, 28",
        id="block shorter than its fields",
    ),
    pytest.param(
        HEAD + struct.pack("<II", 99, 8),
        0,
        "the block of type 99 at byte 48 has an impossible length, 8",
        id="block shorter than any",
    ),
    pytest.param(
        HEAD + struct.pack("<II", 99, 14) + bytes(10),
        0,
        "the block of type 99 at byte 48 has an impossible length, 14",
        id="block of odd length",
    ),
    pytest.param(
        HEAD + enhanced("<", 0, b"data", 4)[:-4] + b"\x28\0\0\0" + enhanced("<", 0, b"data", 4),
        0,
        "the block of type 6 that ends at byte 84 begins with length 36 and ends with 40",
        id="trailer that differs",
    ),
    pytest.param(
        HEAD + block("<", 99, b"")[:-4] + b"\x28\0\0\0",
        0,
        "the block of type 99 that ends at byte 60 begins with length 12 and ends with 40",
        id="trailer of a skipped block that differs",
    ),
    pytest.param(
        HEAD + enhanced("<", 0, b"data", 4, index=1),
        0,
        "frame 1 at byte 48 is of interface 1, which no block describes",
        id="no such interface",
    ),
    pytest.param(
        section("<") + block("<", 3, struct.pack("<I", 4) + b"data"),
        0,
        "frame 1 at byte 28 is of interface 0, which no block describes",
        id="simple packet without interface",
    ),
    pytest.param(
        HEAD + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 5, 5) + b"data"),
        0,
        "frame 1 at byte 48 claims 5 bytes, at most 4 are possible",
        id="frame longer than its block",
    ),
    pytest.param(
        HEAD + block("<", 3, struct.pack("<I", 5) + b"data"),
        0,
        "frame 1 at byte 48 claims 5 bytes, at most 4 are possible",
        id="simple packet longer than its block",
    ),
    pytest.param(
        HEAD + enhanced("<", 0, bytes(262145), 262145),
        0,
        "frame 1 at byte 48 claims 262145 bytes, at most 262144 are possible",
        id="pcapng frame too long",
    ),
    pytest.param(
        section("<") + interface("<", options=struct.pack("<HH", 2, 9) + b"eth0"),
        0,
        "option 2 of the interface at byte 28 needs 9 bytes, 4 left",
        id="option past its block",
    ),
    pytest.param(
        HEAD + enhanced("<", 0, b"", 0) + section("<", 2),
        1,
        "pcapng version 2.0 is not read, only 1.x",
        id="later section of another version",
    ),
    pytest.param(
        HEAD + section("<")[:20],
        0,
        "the section header at byte 48 needs 28 bytes, 20 left",
        id="cut in a later section header",
    ),
    pytest.param(
        section("<") + interface("<") * 65537,
        0,
        "a section has more than 65536 interfaces",
        id="interfaces without end",
    ),
]


@pytest.mark.parametrize(("raw", "count", "message"), STOPS)
def test_reading_stops_with_a_sentence_where_the_capture_is_cut_or_damaged(
    raw: bytes, count: int, message: str
) -> None:
    frames, truncated = read(raw)
    assert (len(frames), truncated) == (count, message)


@pytest.mark.parametrize(
    "raw",
    [
        pcap_header() + struct.pack("<IIII", 0, 0, 262144, 262144),
        HEAD + struct.pack("<II", 6, 16 << 20),
        HEAD + struct.pack("<II", 99, 0xFFFFFFFC),
    ],
)
def test_a_claimed_length_costs_no_memory(raw: bytes) -> None:
    tracemalloc.start()
    try:
        assert read(raw)[0] == []
        # One chunk that a read may be given room for, and little else.
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


class Broken(io.BytesIO):
    """A disk that fails after the first read."""

    def read(self, length: int | None = -1) -> bytes:
        if self.tell():
            raise OSError(5, "Input/output error")
        return super().read(60)


def test_a_disk_that_fails_ends_the_iteration() -> None:
    capture = open_capture(Broken(pcap()))
    assert list(capture) == FRAMES[:1]
    assert capture.truncated == "reading failed at byte 60: Input/output error"


@pytest.mark.parametrize("raw", [pcap(">"), pcapng(">"), pcapng() + pcapng(">")])
def test_every_truncation_is_read_up_to_the_cut(raw: bytes) -> None:
    whole, _ = read(raw)
    counts = []
    for length in range(len(raw)):
        try:
            frames, truncated = read(raw[:length])
        except CaptureError:
            assert length < 28  # in the file header
            continue
        assert frames == whole[: len(frames)]
        counts.append(len(frames))
        if truncated is None:  # between two records or blocks: a byte more shows it
            assert read(raw[: length + 1])[1] is not None
    assert counts == sorted(counts)
    assert counts[-1] == len(whole) - 1


SEEDS = [
    pcap(),
    pcap(">", True),
    pcapng(),
    pcapng(">") + section("<") + interface("<", 1, 4, option("<", 9, b"\x09")) + block("<", 3, b"\4\0\0\0data"),
    HEAD + block("<", 99, bytes(16)) + block("<", 2, struct.pack("<HHIIII", 0, 0, 0, 1, 3, 3) + b"old\0"),
]


@st.composite
def mutated_captures(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 5))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(
            st.sampled_from([0, 1, 4, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
        )
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw) + draw(st.binary(max_size=20))


@given(mutated_captures() | st.binary(max_size=100) | st.binary(max_size=100).map(lambda tail: HEAD + tail))
def test_any_bytes_are_frames_or_a_refusal(raw: bytes) -> None:
    try:
        frames, truncated = read(raw)
    except CaptureError:
        return
    assert [frame.number for frame in frames] == list(range(1, len(frames) + 1))
    assert sum(len(frame.data) for frame in frames) <= len(raw)
    assert truncated is None or "\n" not in truncated


def scapy_file(name: str, path: Path, **options: object) -> list[tuple[float, bytes]]:
    """Three UDP frames in a file that scapy wrote."""
    from scapy import utils
    from scapy.layers.l2 import Ether

    packets = []
    for index, payload in enumerate((b"\xff", bytes(100), b"x" * 1400)):
        packet = Ether(udp4(payload))
        packet.time = 1700000000 + index + 0.25
        packets.append(packet)
    with getattr(utils, name)(str(path), **options) as writer:
        writer.write(packets)
    return [(float(packet.time), bytes(packet)) for packet in packets]


@pytest.mark.peer("scapy")
@pytest.mark.parametrize(
    ("writer", "options"),
    [("PcapWriter", {}), ("PcapWriter", {"endianness": ">"}), ("PcapWriter", {"nano": True}), ("PcapNgWriter", {})],
)
def test_files_that_scapy_wrote_are_read(tmp_path: Path, writer: str, options: dict[str, object]) -> None:
    path = tmp_path / "scapy.capture"
    expected = scapy_file(writer, path, **options)
    with open_capture(path) as capture:
        assert [(frame.time, frame.data) for frame in capture] == expected
        assert capture.truncated is None


@pytest.mark.peer("scapy")
@pytest.mark.parametrize("writer", [PcapWriter, PcapngWriter])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_scapy_reads_what_we_wrote(
    tmp_path: Path, writer: Callable[[BinaryIO, int, bool], PcapWriter | PcapngWriter], nanoseconds: bool
) -> None:
    from scapy.utils import rdpcap

    path = tmp_path / "ours.capture"
    with path.open("wb") as stream:
        out = writer(stream, 1, nanoseconds)
        for number in range(3):
            out.write(1700000000.5 + number, udp4(bytes(number)))
    packets = rdpcap(str(path))
    assert [(float(packet.time), bytes(packet)) for packet in packets] == [
        (1700000000.5 + number, udp4(bytes(number))) for number in range(3)
    ]


@pytest.mark.peer("tshark")
@pytest.mark.parametrize("writer", [PcapWriter, PcapngWriter])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_tshark_reads_what_we_wrote(tmp_path: Path, writer: type[PcapWriter | PcapngWriter], nanoseconds: bool) -> None:
    path = tmp_path / "ours.capture"
    with path.open("wb") as stream:
        out = writer(stream, 1, nanoseconds)
        out.write(1700000000.5, udp4(b"\xff"))
        out.write(1700000001.25, udp4(bytes(100)), original_length=2000)
        if isinstance(out, PcapngWriter):
            out.write(1700000002.75, udp4(b"hello"), comment="größer als gedacht")
        else:
            out.write(1700000002.75, udp4(b"hello"))
    fields = ["frame.time_epoch", "frame.cap_len", "frame.len", "udp.length", "ip.checksum.status", "frame.comment"]
    shown = subprocess.run(
        ["tshark", "-r", path, "-o", "ip.check_checksum:TRUE", "-T", "fields"]
        + [part for field in fields for part in ("-e", field)],
        capture_output=True,
        check=True,
        encoding="utf-8",
    ).stdout
    rows = [line.split("\t") for line in shown.splitlines()]
    assert [float(row[0]) for row in rows] == [1700000000.5, 1700000001.25, 1700000002.75]
    comment = "größer als gedacht" if writer is PcapngWriter else ""
    assert [row[1:] for row in rows] == [
        ["43", "43", "9", "1", ""],
        ["142", "2000", "108", "1", ""],
        ["47", "47", "13", "1", comment],
    ]


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "captures").glob("*/expect.json")), ids=lambda path: path.parent.name
)
def test_real_captures_have_the_frames_that_other_tools_count(path: Path) -> None:
    for name, expected in json.loads(path.read_text())["captures"].items():
        with open_capture(path.parent / name) as capture:
            assert isinstance(capture, Capture)
            assert sum(1 for _ in capture) == expected["frames"]
            assert (capture.truncated, capture.bytes_read) == (None, capture.size)
