"""What a request's buffer says: `struct` at the offsets that a C compiler gives these structures.

A buffer that is too short raises `Short` with the bytes it needs, as far as they are known; contents that cannot be
followed raise `Wrong`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

# OIDs (digest section 1) and statuses (section 2) by value.
TASK_OFFLOAD, ADD_SA, DELETE_SA = 0xFC010201, 0xFC010202, 0xFC010203
ADD_UDPESP_SA, DELETE_UDPESP_SA = 0xFC010205, 0xFC010206
PARAMETERS, ENCAPSULATION, SET_POWER = 0xFC01020C, 0x0101010A, 0xFD010101
V2_ADD_SA, V2_DELETE_SA, V2_UPDATE_SA, V2_ADD_SA_EX = 0xFC030202, 0xFC030203, 0xFC030204, 0xFC030205
VERSION_1 = ADD_SA, DELETE_SA, ADD_UDPESP_SA, DELETE_UDPESP_SA
VERSION_2 = V2_ADD_SA, V2_DELETE_SA, V2_UPDATE_SA, V2_ADD_SA_EX
DELETES = DELETE_SA, DELETE_UDPESP_SA, V2_DELETE_SA
SUCCESS, PENDING, NOT_ACCEPTED, FAILURE = 0, 0x103, 0x10003, 0xC0000001
INVALID_PARAMETER, RESOURCES, NOT_SUPPORTED = 0xC000000D, 0xC000009A, 0xC00000BB
REQUEST_ABORTED, RESET_IN_PROGRESS = 0xC001000C, 0xC001000D
INVALID_LENGTH, INVALID_DATA, HARD_ERRORS, LOW_POWER_STATE = 0xC0010014, 0xC0010015, 0x80010004, 0xC023002F

AH_OPERATION, ESP_OPERATION = 1, 2
BASE = 0x1000
"""Where the host's pointers say a buffer begins (A-38)."""


class Short(Exception):
    """The buffer has fewer bytes than it needs; `needed` is the least it can be. `also`: what else is wrong with it."""

    def __init__(self, needed: int, also: int | None = None) -> None:
        self.needed = needed
        self.statuses = {INVALID_LENGTH} | ({also} if also else set())


class Wrong(Exception):
    """The contents cannot be followed."""


@dataclass(frozen=True)
class Algorithm:
    """An algorithm of an element: its identifier, where its key is, and what else was said."""

    identifier: int
    length: int
    at: int
    rest: int


@dataclass(frozen=True)
class Element:
    """One SecAssoc: AH or ESP."""

    operation: int
    spi: int
    mac: Algorithm
    cipher: Algorithm
    esn: bool = False
    high: int = 0


@dataclass(frozen=True)
class Add:
    """Any of the add structures. Version 1 has masks, ports, tunnel ends and a parser entry; version 2 has not."""

    version: int
    flags: int
    count: int
    elements: tuple[Element, ...]
    src: bytes
    dst: bytes
    keys: bytes
    handle: int
    end: int
    """Behind the last byte that belongs to the request."""
    udp: int = 0
    """UdpEspEncapsulation, version 2."""
    masks: tuple[bytes, bytes] = (bytes(4), bytes(4))
    protocol: int = 0
    ports: tuple[int, int] = (0, 0)
    tunnel: tuple[bytes, bytes] = (bytes(4), bytes(4))
    entry: tuple[int, int] | None = None
    """Type and port, in the UDP-ESP form only."""
    entry_handle: int = 0


def read(buffer: bytes, at: int, form: str) -> tuple[Any, ...]:
    """Little-endian members at an offset."""
    size = struct.calcsize("<" + form)
    if len(buffer) < at + size:
        raise Short(at + size)
    return struct.unpack_from("<" + form, buffer, at)


def big(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def pointer(width: int) -> str:
    return "I" if width == 4 else "Q"


def read_v1_add(buffer: bytes, width: int, in_udp: bool) -> Add:
    """OFFLOAD_IPSEC_ADD_SA, or OFFLOAD_IPSEC_ADD_UDPESP_SA."""
    key_len_at = {(4, False): 172, (8, False): 176, (4, True): 184, (8, True): 192}[width, in_udp]
    (key_len,) = read(buffer, key_len_at, "I")
    end = key_len_at + 4 + key_len
    if len(buffer) < end:
        raise Short(end)
    src, src_mask, dst, dst_mask, protocol, src_port, dst_port, *tunnel, flags, count = read(
        buffer, 0, "4s4s4s4sI2s2s4s4sHh"
    )
    elements, key_at = [], 0
    for number in range(3):
        operation, spi, mac, mac_len, _, cipher, cipher_len, rounds, *_ = read(buffer, 36 + 44 * number, "I4s9I")
        # The confidentiality key, then the integrity key, element by element.
        mac_at = key_at + cipher_len
        elements.append(
            Element(
                operation,
                big(spi),
                Algorithm(mac, mac_len, mac_at, 0),
                Algorithm(cipher, cipher_len, key_at, rounds),
            )
        )
        key_at = mac_at + mac_len
    entry, entry_handle = None, 0
    if in_udp:
        kind, port = read(buffer, 168 + width, "I2s")
        entry, entry_handle = (kind, big(port)), read(buffer, 176 + width, pointer(width))[0]
    return Add(
        1, flags, count, tuple(elements), src, dst, buffer[key_len_at + 4 : end],
        read(buffer, 168, pointer(width))[0], end,
        masks=(src_mask, dst_mask), protocol=protocol, ports=(big(src_port), big(dst_port)),
        tunnel=(tunnel[0], tunnel[1]), entry=entry, entry_handle=entry_handle,
    )  # fmt: skip


def read_v2_add(buffer: bytes, width: int, at: int = 0) -> tuple[Add, int]:
    """One IPSEC_OFFLOAD_V2_ADD_SA of a list, and its Next."""
    key_len_at = at + (152 if width == 4 else 164)
    (key_len,) = read(buffer, key_len_at, "I")
    end = key_len_at + 4 + key_len
    wrong = not is_header(buffer, at, key_len_at + 5 - at)
    if len(buffer) < end:
        raise Short(end, INVALID_DATA if wrong else None)
    if wrong:
        raise Wrong
    count_at = at + 2 * width
    ends = (count_at + 8, count_at + 40, count_at + 40 + width, count_at + 44 + width)
    add = _v2_body(buffer, width, count_at, ends, buffer[key_len_at + 4 : end], end)
    return add, read(buffer, at + width, pointer(width))[0]


def read_v2_add_ex(buffer: bytes, width: int) -> Add:
    """IPSEC_OFFLOAD_V2_ADD_SA_EX, its keys at KeyOffset."""
    size, whole = (162, 164) if width == 4 else (170, 176)
    if len(buffer) < whole:
        raise Short(whole)
    handle_at = 44 if width == 4 else 48
    ends = (12, handle_at, handle_at + width, handle_at + width + 4)
    key_len, key_at = read(buffer, ends[3] + 96, "II")
    wrong = not is_header(buffer, 0, size) or (key_len and key_at < size)
    if len(buffer) < key_at + key_len:
        raise Short(key_at + key_len, INVALID_DATA if wrong else None)
    if wrong:
        raise Wrong
    keys = buffer[key_at : key_at + key_len]
    return _v2_body(buffer, width, 4, ends, keys, max(whole, key_at + key_len))


def _v2_body(buffer: bytes, width: int, count_at: int, at: tuple[int, ...], keys: bytes, end: int) -> Add:
    """The members from NumExtHdrs on; `at` has end points, handle, UdpEspEncapsulation and SecAssoc."""
    endpoints, handle_at, udp_at, elements_at = at
    count, flags = read(buffer, count_at, "II")
    size = 16 if flags & 0x10 else 4
    elements = []
    for number in range(2):
        esn, operation, spi, *numbers, high = read(buffer, elements_at + 48 * number, "II4s8II")
        mac, cipher = (Algorithm(i, length, at, rest) for i, length, at, rest in (numbers[:4], numbers[4:]))
        elements.append(Element(operation, big(spi), mac, cipher, bool(esn & 1), high))
    return Add(
        2, flags, count, tuple(elements), buffer[endpoints : endpoints + size],
        buffer[endpoints + size : endpoints + 2 * size], keys, read(buffer, handle_at, pointer(width))[0], end,
        udp=read(buffer, udp_at, "I")[0],
    )  # fmt: skip


def is_header(buffer: bytes, at: int, least: int) -> bool:
    """NDIS_OBJECT_HEADER of the version 2 structures (N-V2-6)."""
    kind, revision, size = read(buffer, at, "BBH")
    return (kind, revision) == (0x80, 1) and bool(size >= least)


def read_v2_adds(buffer: bytes, width: int) -> list[Add]:
    """The list of a version 2 add."""
    adds, at, taken = [], 0, set()
    while True:
        add, following = read_v2_add(buffer, width, at)
        adds.append(add)
        at = follow(buffer, width, at, add.end, following, taken)
        if not following:
            return adds


def read_v2_deletes(buffer: bytes, width: int) -> list[int]:
    """The handles of a version 2 delete."""
    handles, at, taken = [], 0, set()
    while True:
        following, handle = read(buffer, at + width, "2" + pointer(width))
        if not is_header(buffer, at, 3 * width):
            raise Wrong
        handles.append(handle)
        at = follow(buffer, width, at, at + 3 * width, following, taken)
        if not following:
            return handles


def follow(buffer: bytes, width: int, begin: int, end: int, following: int, taken: set[int]) -> int:
    """The offset of the next element; no two elements may share a byte (A-38)."""
    if taken & set(range(begin, end)):
        raise Wrong
    taken.update(range(begin, end))
    at = following - BASE
    if following and (not 0 <= at < len(buffer) or at % width):
        raise Wrong
    return at


def read_v2_update(buffer: bytes, width: int) -> tuple[int, int, int, int]:
    """IPSEC_OFFLOAD_V2_UPDATE_SA: handle, operation, SPI, high half."""
    size = 20 if width == 4 else 28  # Header.Size does not count the padding behind the last member
    if len(buffer) < size:
        raise Short(size)
    if not is_header(buffer, 0, size):
        raise Wrong
    (handle,) = read(buffer, width, pointer(width))
    operation, spi, high = read(buffer, 2 * width, "I4sI")
    return handle, operation, big(spi), high


def read_handles(buffer: bytes, width: int, count: int) -> tuple[int, ...]:
    """The delete structures of version 1."""
    return read(buffer, 0, f"{count}{pointer(width)}")


def read_chain(buffer: bytes) -> tuple[bool, int, list[tuple[int, bytes]], int]:
    """OID_TCP_TASK_OFFLOAD: whether the header is right, the link, each task with its buffer, and where all ends."""
    version, size, _, step, link, _, _ = read(buffer, 0, "7I")
    tasks: list[tuple[int, bytes]] = []
    at, least, end = 0, 28, 28
    while step:
        if step < least or step % 4:
            raise Wrong
        at += step
        _, _, task, step, length = read(buffer, at, "5I")
        least = 20 + length
        end = max(end, at + least)
        if len(buffer) < at + least:
            raise Short(at + least)
        tasks.append((task, buffer[at + 20 : at + least]))
    return (version, size) == (1, 28), link, tasks, end
