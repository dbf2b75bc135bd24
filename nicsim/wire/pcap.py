"""Capture files: reading pcap and pcapng as a stream, and writing both.

`open_capture` reads in chunks, so the file may be larger than memory, and believes no length before it has
seen the bytes. A file that is no capture raises CaptureError. A capture that is cut off or damaged further on
is read up to that place: the iteration ends and `Capture.truncated` says why in one sentence.

Sources: draft-ietf-opsawg-pcap (pcap) and draft-ietf-opsawg-pcapng (pcapng). Both formats have the byte order
of the machine that wrote them. Lengths and positions are bytes, times are seconds since 1970 as a float, which
today resolves about 0.2 microseconds.

Called by the replay, which refuses link types it does not read; the reader only reports them.
"""

import os
import stat
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from nicsim.errors import CaptureError

_CHUNK = 1 << 20
# What the usual tools take at most for one frame, whatever the file's snapshot length says.
FRAME_LENGTH_MAX = 262144
# And for one pcapng block that has to be held in memory.
_BLOCK_LENGTH_MAX = 16 << 20
_INTERFACES_MAX = 65536

_PCAP_MICROSECONDS = 0xA1B2C3D4
_PCAP_NANOSECONDS = 0xA1B23C4D
# Kuznetzov's variant, whose records have other fields.
_PCAP_MODIFIED = 0xA1B2CD34
_PCAP_VERSION = (2, 4)
_PCAP_HEADER_LENGTH = 24
_PCAP_RECORD_LENGTH = 16
# The upper half of the link type field says whether frames end in an FCS; IP lengths make that immaterial.
_LINK_TYPE_MASK = 0xFFFF

_SECTION_HEADER = 0x0A0D0D0A  # reads the same in both byte orders
_INTERFACE_DESCRIPTION = 1
_PACKET = 2  # obsolete
_SIMPLE_PACKET = 3
_ENHANCED_PACKET = 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
# Least total length, with type and both length fields, of the blocks we read.
_BLOCK_LENGTH_MIN = {
    _SECTION_HEADER: 28,
    _INTERFACE_DESCRIPTION: 20,
    _PACKET: 32,
    _SIMPLE_PACKET: 16,
    _ENHANCED_PACKET: 32,
}
_BLOCK_HEAD_LENGTH = 8  # type and total length
_BLOCK_TRAILER_LENGTH = 4  # the total length again
# By byte order, ready to call.
_BLOCK_HEAD = {order: struct.Struct(f"{order}II").unpack_from for order in "<>"}
_BLOCK_LENGTH = {order: struct.Struct(f"{order}I").unpack_from for order in "<>"}
# Behind type and total length: interface, time (high, low), captured and original length. The obsolete block has
# a drop counter in half of the interface's place.
_PACKET_FIELDS = {
    (order, kind): struct.Struct(order + fields).unpack_from
    for order in "<>"
    for kind, fields in ((_ENHANCED_PACKET, "IIIII"), (_PACKET, "H2xIIII"))
}
_OPTION_END = 0
_OPTION_COMMENT = 1
_OPTION_INTERFACE_NAME = 2
_OPTION_TSRESOL = 9
_OPTION_TSOFFSET = 14

_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}


class Frame(NamedTuple):
    """One captured frame. A named tuple is made in less time than an object with slots."""

    # Counts from 1, as other tools do.
    number: int
    # Seconds since 1970; 0.0 in a pcapng simple packet block, which has no time.
    time: float
    # What was captured, maybe less than what was on the wire.
    data: bytes
    # The number of the capture formats' registry; packet.py has those we parse.
    link_type: int
    # Length on the wire.
    original_length: int


class _Interface(NamedTuple):
    link_type: int
    # Bytes; 0 is no limit.
    snapshot_length: int
    # Ticks per second.
    resolution: int
    # Seconds to add to every time.
    offset: int


class Capture:
    """An open capture. Iterate it, once, for its frames; as a context manager it closes the file it opened."""

    def __init__(self, stream: BinaryIO, name: str, *, owned: bool) -> None:
        self._stream = stream
        self._owned = owned
        self._buffer = b""
        # Position in the file of the first byte of the buffer.
        self._position = 0
        # Bytes taken from the file so far, a chunk at a time.
        self.bytes_read = 0
        # Length of the file, None for a pipe.
        self.size = _size(stream)
        # Why the reading ended before the file did: needed, left, and where. None while all is well.
        self.truncated: str | None = None
        self._frames = self._open(name)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, unless it came in as a stream."""
        if self._owned:
            self._stream.close()

    def _open(self, name: str) -> Iterator[Frame]:
        """Look at the file header; the iterator it returns has read nothing more yet."""
        buffer = self._refill(0, _BLOCK_LENGTH_MIN[_SECTION_HEADER])
        magic = buffer[:4]
        if not magic:
            raise CaptureError(f"{name} is not a capture file: it is empty")
        try:
            for order in "<", ">":
                (number,) = struct.unpack(f"{order}I", magic.ljust(4, b"\0"))
                if number in (_PCAP_MICROSECONDS, _PCAP_NANOSECONDS):
                    units = 10**6 if number == _PCAP_MICROSECONDS else 10**9
                    return self._pcap_frames(order, units, _pcap_link_type(buffer, order))
                if number == _PCAP_MODIFIED:
                    raise CaptureError("the modified pcap format (magic a1b2cd34) is not read; convert it to pcapng")
                if number == _SECTION_HEADER:
                    _section_order(buffer, 0, 0)
                    return self._pcapng_frames()
        except CaptureError as error:
            raise CaptureError(f"{name}: {error}") from None
        for signature, compression in _COMPRESSIONS.items():
            if buffer.startswith(signature):
                raise CaptureError(f"{name} is compressed with {compression}; decompress it first")
        start = buffer[:8]
        shown = f"{start.decode()!r}" if start.isascii() and start.decode().isprintable() else f"bytes {start.hex(' ')}"
        raise CaptureError(f"{name} is not a capture file: it starts with {shown}")

    def _refill(self, at: int, needed: int) -> bytes:
        """The buffer from offset `at` on, with `needed` bytes or what there is up to the end of the file."""
        self._position += at
        parts = [self._buffer[at:]]
        have = len(parts[0])
        while have < needed:
            chunk = self._read(_CHUNK)
            if not chunk:
                break
            parts.append(chunk)
            have += len(chunk)
        self._buffer = b"".join(parts)
        return self._buffer

    def _read(self, length: int) -> bytes:
        try:
            chunk = self._stream.read(length)
        except OSError as error:
            raise CaptureError(f"reading failed at byte {self.bytes_read}: {error.strerror or error}") from error
        self.bytes_read += len(chunk)
        return chunk

    def _pcap_frames(self, order: str, units: int, link_type: int) -> Iterator[Frame]:
        # Everything a frame touches is a local variable: this loop runs a million times a second.
        unpack_record = struct.Struct(f"{order}IIII").unpack_from
        make = tuple.__new__
        buffer, at, number = self._buffer, _PCAP_HEADER_LENGTH, 0
        limit = len(buffer)
        try:
            while True:
                start = at + _PCAP_RECORD_LENGTH
                if start > limit:
                    buffer = self._refill(at, _PCAP_RECORD_LENGTH)
                    at, start, limit = 0, _PCAP_RECORD_LENGTH, len(buffer)
                    if not limit:
                        return
                    if start > limit:
                        raise self._cut(f"the header of frame {number + 1}", at, start)
                seconds, fraction, captured, original = unpack_record(buffer, at)
                if captured > FRAME_LENGTH_MAX:
                    raise CaptureError(
                        f"frame {number + 1} at byte {self._position + at} claims {captured} bytes, "
                        f"more than the {FRAME_LENGTH_MAX} a frame can have"
                    )
                at = start + captured
                if at > limit:
                    buffer = self._refill(start, captured)
                    start, at, limit = 0, captured, len(buffer)
                    if at > limit:
                        raise self._cut(f"frame {number + 1}", start, at)
                number += 1
                yield make(Frame, (number, seconds + fraction / units, buffer[start:at], link_type, original))
        except CaptureError as error:
            self.truncated = str(error)

    def _cut(self, what: str, at: int, end: int) -> CaptureError:
        return CaptureError(
            f"{what} at byte {self._position + at} needs {end - at} bytes, {len(self._buffer) - at} left"
        )

    def _pcapng_frames(self) -> Iterator[Frame]:
        number = 0
        interfaces: list[_Interface] = []
        try:
            for kind, order, at, length in self._blocks():
                buffer = self._buffer
                if kind in (_ENHANCED_PACKET, _PACKET):
                    index, high, low, captured, original = _PACKET_FIELDS[order, kind](buffer, at + 8)
                    if index >= len(interfaces):
                        raise self._no_interface(number + 1, at, index)
                    link_type, _, resolution, offset = interfaces[index]
                    time = offset + (high << 32 | low) / resolution
                    start, room = at + 28, length - 32
                elif kind == _SIMPLE_PACKET:
                    if not interfaces:
                        raise self._no_interface(number + 1, at, 0)
                    link_type, snapshot_length, _, _ = interfaces[0]
                    (original,) = struct.unpack_from(f"{order}I", buffer, at + 8)
                    captured = min(original, snapshot_length) if snapshot_length else original
                    time = 0.0
                    start, room = at + 12, length - 16
                elif kind == _INTERFACE_DESCRIPTION:
                    if len(interfaces) == _INTERFACES_MAX:
                        raise CaptureError(f"a section has more than {_INTERFACES_MAX} interfaces")
                    interfaces.append(_interface(buffer[at + 8 : at + length - 4], order, self._position + at))
                    continue
                else:  # a section header: interfaces are counted anew
                    interfaces = []
                    continue
                number += 1
                if captured > room or captured > FRAME_LENGTH_MAX:
                    raise CaptureError(
                        f"frame {number} at byte {self._position + at} claims {captured} bytes, "
                        f"at most {min(room, FRAME_LENGTH_MAX)} are possible"
                    )
                yield Frame(number, time, buffer[start : start + captured], link_type, original)
        except CaptureError as error:
            self.truncated = str(error)

    def _blocks(self) -> Iterator[tuple[int, str, int, int]]:
        """Each block of a type we read: its type, byte order, offset in the buffer (all of it) and total length."""
        buffer, at, order = self._buffer, 0, "<"
        limit = len(buffer)
        unpack_head, unpack_length = _BLOCK_HEAD[order], _BLOCK_LENGTH[order]
        while True:
            if limit - at < _BLOCK_HEAD_LENGTH:
                buffer = self._refill(at, _BLOCK_HEAD_LENGTH)
                at, limit = 0, len(buffer)
                if not limit:
                    return
                if limit < _BLOCK_HEAD_LENGTH:
                    raise self._cut("a block", at, at + _BLOCK_HEAD_LENGTH)
            kind, length = unpack_head(buffer, at)
            if kind == _SECTION_HEADER:
                if limit - at < _BLOCK_LENGTH_MIN[kind]:
                    buffer = self._refill(at, _BLOCK_LENGTH_MIN[kind])
                    at, limit = 0, len(buffer)
                order = _section_order(buffer, at, self._position)
                unpack_head, unpack_length = _BLOCK_HEAD[order], _BLOCK_LENGTH[order]
                _, length = unpack_head(buffer, at)
            least = _BLOCK_LENGTH_MIN.get(kind)
            if length & 3 or length < (least or _BLOCK_HEAD_LENGTH + _BLOCK_TRAILER_LENGTH):
                raise CaptureError(
                    f"the block of type {kind} at byte {self._position + at} has an impossible length, {length}"
                )
            if least is None:
                at += length - _BLOCK_TRAILER_LENGTH
                if at + _BLOCK_TRAILER_LENGTH > limit:
                    buffer = self._skip(at, _BLOCK_TRAILER_LENGTH)
                    at, limit = 0, len(buffer)
                    if limit < _BLOCK_TRAILER_LENGTH:
                        raise self._cut("the length that ends a block", at, at + _BLOCK_TRAILER_LENGTH)
            else:
                if length > _BLOCK_LENGTH_MAX:
                    raise CaptureError(
                        f"the block of type {kind} at byte {self._position + at} claims {length} bytes, "
                        f"more than {_BLOCK_LENGTH_MAX}"
                    )
                if at + length > limit:
                    buffer = self._refill(at, length)
                    at, limit = 0, len(buffer)
                    if length > limit:
                        raise self._cut(f"the block of type {kind}", at, at + length)
                at += length - _BLOCK_TRAILER_LENGTH
            (trailer,) = unpack_length(buffer, at)
            at += _BLOCK_TRAILER_LENGTH
            if trailer != length:
                raise CaptureError(
                    f"the block of type {kind} that ends at byte {self._position + at} begins with length {length} "
                    f"and ends with {trailer}"
                )
            if least is not None:
                yield kind, order, at - length, length

    def _skip(self, at: int, needed: int) -> bytes:
        """Like `_refill`, where `at` may be far behind the buffer; what lies between is not kept."""
        beyond = at - len(self._buffer)
        if beyond <= 0:
            return self._refill(at, needed)
        self._position += at
        self._buffer = b""
        while beyond:
            chunk = self._read(min(beyond, _CHUNK))
            if not chunk:
                raise CaptureError(f"a block that goes on to byte {self._position} lacks {beyond} bytes")
            beyond -= len(chunk)
        return self._refill(0, needed)

    def _no_interface(self, number: int, at: int, index: int) -> CaptureError:
        return CaptureError(
            f"frame {number} at byte {self._position + at} is of interface {index}, which no block describes"
        )


def open_capture(source: str | os.PathLike[str] | BinaryIO) -> Capture:
    """Open a capture by its path, or read one from a binary stream, which stays open afterwards.

    Raises CaptureError, with one line to show, for anything that is not a pcap or pcapng file.
    """
    if not isinstance(source, str | os.PathLike):
        given = getattr(source, "name", None)  # a number, for a pipe
        return Capture(source, given if isinstance(given, str) else "the input", owned=False)
    name = os.fspath(source)
    try:
        stream = open(name, "rb", buffering=0)  # noqa: SIM115 (the Capture closes it)
    except (OSError, ValueError) as error:
        raise CaptureError(f"{name} cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    try:
        return Capture(stream, name, owned=True)
    except BaseException:
        stream.close()
        raise


def _size(stream: BinaryIO) -> int | None:
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # a stream without a file, such as io.BytesIO
        if not stream.seekable():
            return None
        here = stream.tell()
        end = stream.seek(0, os.SEEK_END)
        stream.seek(here)
        return end - here
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _pcap_link_type(buffer: bytes, order: str) -> int:
    """Check the pcap file header and return its link type."""
    if len(buffer) < _PCAP_HEADER_LENGTH:
        raise CaptureError(f"the pcap file header needs {_PCAP_HEADER_LENGTH} bytes, {len(buffer)} left")
    # (magic), version, (time zone, accuracy), (snapshot length), link type
    major, minor, link_type = struct.unpack_from(f"{order}4xHH12xI", buffer)
    if major != _PCAP_VERSION[0]:
        raise CaptureError(f"pcap version {major}.{minor} is not read, only 2.x")
    return int(link_type) & _LINK_TYPE_MASK


def _section_order(buffer: bytes, at: int, position: int) -> str:
    """The byte order, as `struct` writes it, of the section whose header is at `at` of a buffer at `position`."""
    least = _BLOCK_LENGTH_MIN[_SECTION_HEADER]
    if len(buffer) - at < least:
        raise CaptureError(f"the section header at byte {position + at} needs {least} bytes, {len(buffer) - at} left")
    for order in "<", ">":
        # (type, length), byte-order magic, version
        magic, major, minor = struct.unpack_from(f"{order}8xIHH", buffer, at)
        if magic == _BYTE_ORDER_MAGIC:
            if major != 1:
                raise CaptureError(f"pcapng version {major}.{minor} is not read, only 1.x")
            return order
    raise CaptureError(f"the section header at byte {position + at} has no byte-order magic")


def _interface(body: bytes, order: str, position: int) -> _Interface:
    """An interface description block at `position`, without its frame of type and lengths."""
    link_type, snapshot_length = struct.unpack_from(f"{order}H2xI", body)
    resolution, offset = 10**6, 0
    at = 8
    while at + 4 <= len(body):
        option, length = struct.unpack_from(f"{order}HH", body, at)
        at += 4
        if option == _OPTION_END:
            break
        value = body[at : at + length]
        if len(value) < length:
            raise CaptureError(
                f"option {option} of the interface at byte {position} needs {length} bytes, {len(value)} left"
            )
        if option == _OPTION_TSRESOL and length == 1:
            # A negative power of 10, or of 2 when the top bit is set.
            resolution = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif option == _OPTION_TSOFFSET and length == 8:
            (offset,) = struct.unpack(f"{order}q", value)
        at += length + -length % 4
    return _Interface(link_type, snapshot_length, resolution, offset)


class PcapWriter:
    """Writes a pcap file (version 2.4, little-endian) to a binary stream, which stays the caller's to close."""

    def __init__(self, stream: BinaryIO, link_type: int, nanoseconds: bool = False) -> None:
        self._stream = stream
        self._units = 10**9 if nanoseconds else 10**6
        magic = _PCAP_NANOSECONDS if nanoseconds else _PCAP_MICROSECONDS
        stream.write(struct.pack("<IHHIIII", magic, *_PCAP_VERSION, 0, 0, FRAME_LENGTH_MAX, link_type))

    def write(self, time: float, data: bytes, original_length: int | None = None) -> None:
        """Add one frame; `original_length` if the frame was longer on the wire."""
        seconds, fraction = divmod(_ticks(time, self._units), self._units)
        original = len(data) if original_length is None else original_length
        self._stream.write(struct.pack("<IIII", seconds, fraction, len(data), original) + data)


def _ticks(time: float, units: int) -> int:
    """`time` in ticks of 1/`units` seconds, rounded once: as one product, nanoseconds would not fit a float."""
    seconds = int(time)
    return seconds * units + round((time - seconds) * units)


class PcapngWriter:
    """Writes a pcapng file (one section, one interface, little-endian) to a binary stream of the caller's."""

    def __init__(self, stream: BinaryIO, link_type: int, nanoseconds: bool = False, name: str = "") -> None:
        """`name` is what the interface is called, if anything."""
        self._stream = stream
        self._units = 10**9 if nanoseconds else 10**6
        # version 1.0; -1: the section's length is not told
        self._write_block(_SECTION_HEADER, struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1))
        options = _option(_OPTION_INTERFACE_NAME, name.encode()) if name else b""
        options += _option(_OPTION_TSRESOL, bytes((9 if nanoseconds else 6,))) + _option(_OPTION_END, b"")
        self._write_block(_INTERFACE_DESCRIPTION, struct.pack("<HHI", link_type, 0, FRAME_LENGTH_MAX) + options)

    def write(self, time: float, data: bytes, original_length: int | None = None, comment: str = "") -> None:
        """Add one frame, with a comment if there is one to show; up to 65535 bytes of UTF-8."""
        high, low = divmod(_ticks(time, self._units), 1 << 32)
        original = len(data) if original_length is None else original_length
        options = _option(_OPTION_COMMENT, comment.encode()) + _option(_OPTION_END, b"") if comment else b""
        head = struct.pack("<IIIII", 0, high, low, len(data), original)
        self._write_block(_ENHANCED_PACKET, head + _padded(data) + options)

    def _write_block(self, kind: int, body: bytes) -> None:
        length = struct.pack("<I", len(body) + _BLOCK_HEAD_LENGTH + _BLOCK_TRAILER_LENGTH)
        self._stream.write(struct.pack("<I", kind) + length + body + length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
