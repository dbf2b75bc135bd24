"""Putting IPv4 and IPv6 fragments back together, with bounded memory and patience.

The card leaves fragments alone (N-RX-9); the host behind it reassembles them, and so does the replay before
it looks at IKE. Sources: RFC 791, RFC 8200 section 4.5, RFC 5722 (overlaps), RFC 6946 (atomic fragments).

A fragment that contradicts the others makes its whole datagram worthless: `add` raises Malformed once, and the
rest of that datagram is dropped in silence until its time is up (RFC 5722 section 4). Overlaps are refused in
IPv4 as well: nobody sends them in good faith. Exact duplicates are tolerated, as networks do make those.
"""

import struct
from bisect import bisect_left
from dataclasses import dataclass, field

from nicsim.errors import Malformed
from nicsim.wire.headers import rewrite_ipv4
from nicsim.wire.packet import FRAGMENT_HEADER_LENGTH, IPV6_HEADER_LENGTH, Packet

_LENGTH_MAX = 0xFFFF
_U16 = struct.Struct(">H")

# What keeping a datagram or a fragment costs beside its bytes, roughly. Charging for it stops a flood of
# 8-byte fragments from holding many times `max_bytes`.
_OVERHEAD = 128

# Source, destination, identification; and the protocol, which IPv6 does not count (RFC 8200 section 4.5).
_Key = tuple[bytes, bytes, int, int | None]


@dataclass(slots=True)
class _Datagram:
    """The fragments of one datagram so far. Offsets are bytes into the data that was split."""

    # Seconds of capture time when the first of its fragments came.
    since: float
    # Ascending, in step with `pieces`.
    starts: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    # Bytes of data in `pieces`.
    received: int = 0
    # Length of the data, known once the last fragment is here.
    total: int | None = None
    # The headers in front of the data, from the fragment at offset 0.
    header: bytes = b""
    # What it counts against `max_bytes`.
    charge: int = _OVERHEAD
    # A fragment was refused; the others are dropped as they come.
    refused: bool = False


class Reassembler:
    """Fragments in, whole IP packets out.

    At most `max_datagrams` wait, with at most `max_bytes` in all; the oldest makes room. After `timeout` seconds
    a datagram is given up (RFC 8200 says 60, RFC 791 at least 15).
    """

    def __init__(self, max_datagrams: int = 64, max_bytes: int = 1 << 20, timeout: float = 30.0) -> None:
        self._max_datagrams = max_datagrams
        self._max_bytes = max_bytes
        self._timeout = timeout
        # Oldest first.
        self._waiting: dict[_Key, _Datagram] = {}
        # What the waiting datagrams cost now: their bytes and an allowance for each fragment.
        self.held_bytes = 0

    def __len__(self) -> int:
        """How many datagrams wait for fragments, refused ones included."""
        return len(self._waiting)

    def add(self, frame: bytes, packet: Packet, now: float) -> bytes | None:
        """Take one fragment; return the whole packet, from its IP header, if this fragment completes it.

        `packet` is what `parse_frame` said of `frame`, and `now` is in seconds; it may run backwards. A packet
        that is no fragment comes back at once, an atomic one without its fragment header. Raises Malformed for
        the fragment that spoils its datagram.
        """
        if not packet.is_fragment:
            if packet.fragment_header < 0:
                return frame[packet.network : packet.end]
            return _whole(_header(frame, packet), frame[_data_start(packet) : packet.end])
        key = (packet.src, packet.dst, packet.identification, packet.protocol if packet.version == 4 else None)
        datagram = self._datagram(key, now)
        if datagram.refused:
            return None
        try:
            self._place(datagram, frame, packet)
            if datagram.received == datagram.total:  # none overlap and none lies beyond, so all are here
                whole = _whole(datagram.header, b"".join(datagram.pieces))
                self._forget(key)
                return whole
        except Malformed:
            self._refuse(datagram)
            raise
        finally:
            self._make_room()
        return None

    def _datagram(self, key: _Key, now: float) -> _Datagram:
        """The datagram that waits under `key`, or a new one, once those that waited too long are gone."""
        while self._waiting:
            oldest = next(iter(self._waiting))
            if not self._is_over(self._waiting[oldest], now):
                break
            self._forget(oldest)
        datagram = self._waiting.get(key)
        # The clock may have run backwards, so one that is over can stand behind one that is not.
        if datagram is not None and self._is_over(datagram, now):
            self._forget(key)
            datagram = None
        if datagram is None:
            datagram = self._waiting[key] = _Datagram(now)
            self.held_bytes += datagram.charge
        return datagram

    def _is_over(self, datagram: _Datagram, now: float) -> bool:
        """A clock that jumped back as far means another part of a merged capture, so that is over too."""
        return abs(now - datagram.since) > self._timeout

    def _forget(self, key: _Key) -> None:
        self.held_bytes -= self._waiting.pop(key).charge

    def _place(self, datagram: _Datagram, frame: bytes, packet: Packet) -> None:
        """Put the fragment's data in order among the others, or raise Malformed."""
        begin, start, more = _data_start(packet), packet.fragment_offset, packet.more_fragments
        data = frame[begin : packet.end]
        end = start + len(data)
        what = f"fragment {start}-{end} of datagram 0x{packet.identification:x}"
        if more and (not data or len(data) % 8):
            raise Malformed(f"{what} has more to come, but its length is not a positive multiple of 8")
        if end > _LENGTH_MAX:
            raise Malformed(f"{what} goes beyond {_LENGTH_MAX} bytes")
        starts, pieces = datagram.starts, datagram.pieces
        index = bisect_left(starts, start)
        follows = index < len(starts)
        if follows and starts[index] == start and pieces[index] == data and (datagram.total == end) is not more:
            return  # an exact duplicate
        if (index and starts[index - 1] + len(pieces[index - 1]) > start) or (follows and starts[index] < end):
            raise Malformed(f"{what} overlaps another")
        if datagram.total is not None and (end > datagram.total or not more):
            raise Malformed(f"{what} contradicts the last fragment, which ended at {datagram.total}")
        if not more:
            if follows:
                raise Malformed(f"{what} is the last, but there is one at {starts[-1]}")
            datagram.total = end
        if start == 0:
            datagram.header = _header(frame, packet)
        starts.insert(index, start)
        pieces.insert(index, data)
        datagram.received += len(data)
        datagram.charge += len(data) + _OVERHEAD
        self.held_bytes += len(data) + _OVERHEAD

    def _refuse(self, datagram: _Datagram) -> None:
        """Keep the datagram as a mark without its data, so that its other fragments are known for what they are."""
        self.held_bytes -= datagram.charge - _OVERHEAD
        datagram.charge = _OVERHEAD
        datagram.refused = True
        datagram.starts.clear()
        datagram.pieces.clear()

    def _make_room(self) -> None:
        while len(self._waiting) > self._max_datagrams or self.held_bytes > self._max_bytes:
            self._forget(next(iter(self._waiting)))


def _data_start(packet: Packet) -> int:
    """Offset of the data that was split: behind the IPv4 header or the IPv6 fragment header."""
    return packet.payload if packet.version == 4 else packet.fragment_header + FRAGMENT_HEADER_LENGTH


def _header(frame: bytes, packet: Packet) -> bytes:
    """The headers in front of the split data; in IPv6 without the fragment header, and linked past it."""
    if packet.version == 4:
        return frame[packet.network : packet.payload]
    header = bytearray(frame[packet.network : packet.fragment_header])
    header[packet.fragment_link - packet.network] = frame[packet.fragment_header]
    return bytes(header)


def _whole(header: bytes, data: bytes) -> bytes:
    """The IP packet of `header` and `data`, its lengths right and no fragment any more."""
    if header[0] >> 4 == 4:
        length = len(header) + len(data)
    else:
        length = len(header) - IPV6_HEADER_LENGTH + len(data)
    if length > _LENGTH_MAX:
        raise Malformed(f"the fragments make a packet of length {length}, more than {_LENGTH_MAX}")
    if header[0] >> 4 == 4:
        return rewrite_ipv4(header, protocol=header[9], total_length=length, flags_offset=0) + data
    return header[:4] + _U16.pack(length) + header[6:] + data
