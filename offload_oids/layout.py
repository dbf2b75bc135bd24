"""C structures, declared once: size, alignment, offsets, packing and unpacking follow from the annotations.

A structure is a dataclass derived from `Structure`. Each annotation names a C type (`HANDLE`, `USHORT`, another
structure, a counted tuple, a bit-field, a tail), and the layout rules are those of a Windows compiler with default
packing, for 32-bit and for 64-bit pointers. Integers are little-endian except for the members that carry bytes of the
packet as they are: `SPI`, `PORT` and the addresses (A-28).

    @dataclass(frozen=True, slots=True)
    class OffloadIpsecDeleteSa(Structure):
        offload_handle: HANDLE

    OffloadIpsecDeleteSa(0x11).pack(Abi.X86)          # four bytes: 11 00 00 00
    offset_of(OffloadIpsecAddSa, "key_mat", Abi.X64)  # 180

A plan, which is a declaration with offsets for one pointer width, is worked out on first use and kept. What an
annotation can say is in c_types.py, how one member's bytes read in codecs.py. The rest of the package declares.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import IntEnum, IntFlag
from typing import Annotated, Any, Literal, Self, TypeVar, cast, get_args, get_origin, get_type_hints

from offload_oids.c_types import (
    ANONYMOUS,
    BOOLEAN,
    HANDLE,
    IPV4_ADDRESS,
    IPV6_ADDRESS,
    LONG,
    PORT,
    PVOID,
    SHORT,
    SPI,
    UCHAR,
    ULONG,
    ULONG64,
    USHORT,
    Abi,
    Bits,
    ByteArray,
    CName,
    Count,
    Integer,
    Known,
    Tail,
)
from offload_oids.codecs import (
    ArrayCodec,
    BitField,
    BitsCodec,
    BytesCodec,
    Codec,
    IntegerCodec,
    StructureError,
    TailCodec,
    TooShort,
)

__all__ = [
    "ANONYMOUS",
    "BOOLEAN",
    "HANDLE",
    "IPV4_ADDRESS",
    "IPV6_ADDRESS",
    "LONG",
    "PORT",
    "PVOID",
    "SHORT",
    "SPI",
    "UCHAR",
    "ULONG",
    "ULONG64",
    "USHORT",
    "Abi",
    "BitField",
    "Bits",
    "ByteArray",
    "CName",
    "Count",
    "Entry",
    "Integer",
    "Known",
    "Member",
    "Structure",
    "StructureError",
    "Tail",
    "TooShort",
    "Union",
    "align_of",
    "c_name",
    "offset_of",
    "offset_table",
    "size_of",
    "size_through",
    "walk",
]


# --- what a declaration can do ----------------------------------------------------------------------------------


class Structure:
    """A C structure. Derive a `@dataclass(frozen=True, slots=True)` from it and annotate the members."""

    __slots__ = ()

    def pack(self, abi: Abi) -> bytes:
        """Lay the values out for this pointer width; a tail makes it exactly offsetof(tail) plus its length."""
        return _plan(type(self), abi).pack(self)

    @classmethod
    def unpack(cls, buffer: bytes | bytearray | memoryview, abi: Abi) -> Self:
        """Read the structure at the start of the buffer; what follows it is left alone."""
        return cast(Self, _plan(cls, abi).unpack(memoryview(buffer)))


class Union(Structure):
    """A C union: every member is an arm at offset 0, declared `X | None = None`.

    Unpacking reads all arms, since nothing in the bytes says which one was meant. Packing writes the arms that are
    not None; arms that need different values in the same bytes are refused.
    """

    __slots__ = ()


# --- what a declaration says of itself --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """One line of an offset table. `name` is the dotted C name; a tail is listed as the one byte C declares."""

    name: str
    offset: int
    size: int
    bits: tuple[BitField, ...] = ()


def size_of(cls: type[Structure], abi: Abi) -> int:
    """The C sizeof, tail padding included."""
    return _plan(cls, abi).size


def align_of(cls: type[Structure], abi: Abi) -> int:
    """The C alignment."""
    return _plan(cls, abi).align


def offset_of(cls: type[Structure], member: str, abi: Abi) -> int:
    """The C offsetof; `member` is a Python name, or several joined by dots."""
    return _find(cls, member, abi)[0]


def size_through(cls: type[Structure], member: str, abi: Abi) -> int:
    """The bytes up to the end of `member`: what NDIS_SIZEOF_..._REVISION_n and Header.Size count (N-V2-6)."""
    offset, size = _find(cls, member, abi)
    return offset + size


def _find(cls: type[Structure], path: str, abi: Abi) -> tuple[int, int]:
    codec: Codec = _plan(cls, abi)
    offset = 0
    for name in path.split("."):
        members = codec.members if isinstance(codec, _Plan) else ()
        placed = next((placed for placed in members if placed.name == name), None)
        if placed is None:
            raise KeyError(f"{c_name(cls)} has no member {path!r}")
        offset, codec = offset + placed.offset, placed.codec
    return offset, codec.size


def c_name(cls: type[Structure]) -> str:
    """`OffloadAlgoInfo` is OFFLOAD_ALGO_INFO, `NdisOffloadRevision1` is NDIS_OFFLOAD_REVISION_1."""
    return re.sub(r"(?<!^)(?=[A-Z])|(?<=[a-z])(?=[0-9])", "_", cls.__name__).upper()


def offset_table(cls: type[Structure], abi: Abi) -> tuple[Member, ...]:
    """Every member with its place: nested ones, array elements and the storage units of bit-fields included.

    A storage unit is called `bits` within its structure. A nested structure that is nothing but one unit lists the
    bit-fields too.
    """
    table: list[Member] = []
    for entry in walk(cls, abi):
        if entry.bits is None:
            table.append(Member(entry.name, entry.offset, entry.codec.size, _only_unit(entry.codec)))
        elif table and (table[-1].name, table[-1].offset) == (entry.unit_name, entry.offset):
            table[-1] = replace(table[-1], bits=(*table[-1].bits, entry.bits))
        else:
            table.append(Member(entry.unit_name, entry.offset, entry.codec.size, (entry.bits,)))
    return tuple(table)


def _only_unit(codec: Codec) -> tuple[BitField, ...]:
    members = codec.members if isinstance(codec, _Plan) else ()
    bits = tuple(placed.codec.named(placed.c_name) for placed in members if isinstance(placed.codec, BitsCodec))
    alone = len(bits) == len(members) and all(placed.offset == 0 for placed in members)
    return bits if alone else ()


# --- laying out -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Placed:
    """A member at its place within its structure."""

    name: str
    c_name: str
    where: str
    offset: int
    codec: Codec
    known: Known | None
    secret: bool
    anonymous: bool


@dataclass(frozen=True, slots=True)
class _TailPlan:
    """The last member of a structure that runs on past its nominal end, and the member that counts its bytes."""

    tail: _Placed
    length: _Placed

    def end_in(self, view: memoryview) -> int:
        """Where the tail of these bytes ends, by its own account."""
        if len(view) < self.tail.offset:
            return self.tail.offset
        length = cast(int, self.length.codec.read(view, self.length.offset))
        if length < 0:
            raise StructureError(f"{self.length.where} needs 0 or more, got {length}")
        return self.tail.offset + length

    def end_of(self, value: Structure) -> int:
        """Where the tail of this value ends; its length member must say the same."""
        length, held = getattr(value, self.length.name), len(getattr(value, self.tail.name))
        if length != held:
            raise StructureError(f"{self.length.where} needs {held}, the length of {self.tail.c_name}, got {length}")
        return self.tail.offset + held


@dataclass(frozen=True, slots=True)
class _Plan:
    """A declaration laid out for one pointer width. It is the codec of a nested structure too."""

    structure: type[Structure]
    c_name: str
    size: int
    align: int
    members: tuple[_Placed, ...]
    tail: _TailPlan | None

    def pack(self, value: Structure) -> bytes:
        buffer = bytearray(self.tail.end_of(value) if self.tail else self.size)
        self.write(buffer, 0, value, self.c_name)
        return bytes(buffer)

    def unpack(self, view: memoryview) -> Structure:
        end = self.tail.end_in(view) if self.tail else self.size
        if len(view) < end:
            raise TooShort(self.c_name, end, len(view))
        return self.read(view[:end], 0)

    def read(self, view: memoryview, offset: int) -> Structure:
        values = {placed.name: placed.codec.read(view, offset + placed.offset) for placed in self.members}
        return self.structure(**values)

    def write(self, out: bytearray, offset: int, value: Structure, where: str) -> None:
        if issubclass(self.structure, Union):
            self._write_arms(out, offset, value, where)
            return
        for placed in self.members:
            placed.codec.write(out, offset + placed.offset, getattr(value, placed.name), placed.where)

    def _write_arms(self, out: bytearray, offset: int, value: Structure, where: str) -> None:
        arms = [(placed, getattr(value, placed.name)) for placed in self.members]
        given = [(placed, arm) for placed, arm in arms if arm is not None]
        for placed, arm in given:
            alone = bytearray(placed.codec.size)
            placed.codec.write(alone, 0, arm, placed.where)
            # What an arm leaves zero, its padding and spare bits, may be in use by another arm.
            for index, byte in enumerate(alone, offset):
                out[index] |= byte
        for placed, arm in given:
            if len(given) > 1 and placed.codec.read(memoryview(out), offset) != arm:
                raise StructureError(f"{where} needs arms that agree, got other bytes under {placed.c_name}")


_PLANS: dict[tuple[type[Structure], Abi], _Plan] = {}


def _plan(cls: type[Structure], abi: Abi) -> _Plan:
    plan = _PLANS.get((cls, abi))
    if plan is None:
        plan = _PLANS[cls, abi] = _lay_out(cls, abi)
    return plan


def _lay_out(cls: type[Structure], abi: Abi) -> _Plan:
    hints = get_type_hints(cls, include_extras=True)
    placing = _Placing(overlap=issubclass(cls, Union))
    members: list[_Placed] = []
    for field in fields(cast(Any, cls)):
        base, notes = _split(hints[field.name])
        offset, codec = placing.next(_codec(base, notes, abi))
        named, tail = _note(notes, CName), _note(notes, Tail)
        name = named.name if named else _member_name(field.name)
        where = f"{c_name(cls)}.{name}"
        secret, anonymous = bool(tail and tail.secret), ANONYMOUS in notes
        members.append(_Placed(field.name, name, where, offset, codec, _note(notes, Known), secret, anonymous))
    return _Plan(cls, c_name(cls), placing.size, placing.align, tuple(members), _tail_plan(members))


def _tail_plan(members: list[_Placed]) -> _TailPlan | None:
    if not members or not isinstance(members[-1].codec, TailCodec):
        return None
    counted_by = members[-1].codec.length_member
    return _TailPlan(members[-1], next(placed for placed in members if placed.name == counted_by))


def _split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The bare type of an annotation, and what `Annotated` says of it. An arm's `| None` is dropped."""
    if get_origin(hint) is Annotated:
        inner, *outer_notes = get_args(hint)
        base, notes = _split(inner)
        return base, (*notes, *outer_notes)
    if type(None) in get_args(hint):
        return _split(next(arm for arm in get_args(hint) if arm is not type(None)))
    return hint, ()


Note = TypeVar("Note")


def _note(notes: tuple[Any, ...], kind: type[Note]) -> Note | None:
    return next((note for note in notes if isinstance(note, kind)), None)


def _member_name(name: str) -> str:
    """`src_tunnel_addr` is SrcTunnelAddr; three words are always written the way their inventors write them."""
    own_way = {"ipv4": "IPv4", "ipv6": "IPv6", "ipsec": "IPsec"}
    return "".join(own_way.get(word, word[:1].upper() + word[1:]) for word in name.split("_"))


def _codec(base: Any, notes: tuple[Any, ...], abi: Abi) -> Codec:
    if isinstance(base, type) and issubclass(base, Structure):
        nested = _plan(base, abi)
        if nested.tail:
            raise TypeError(f"{nested.c_name} has a tail and cannot be a member")
        return nested
    if count := _note(notes, Count):
        return ArrayCodec(_codec(*_split(get_args(base)[0]), abi), count.count)
    if tail := _note(notes, Tail):
        return TailCodec(tail.length_member)
    if bits := _note(notes, Bits):
        return BitsCodec(IntegerCodec(bits.unit, False, "little"), bits.width)
    if array := _note(notes, ByteArray):
        return BytesCodec(array.size, array.align)
    if integer := _note(notes, Integer):
        order: Literal["little", "big"] = "big" if integer.wire_order else "little"
        return IntegerCodec(integer.size or abi.pointer_size, integer.signed, order)
    raise TypeError(f"{base!r} is no C type")


class _Placing:
    """Hands out offsets in the order of declaration."""

    def __init__(self, overlap: bool) -> None:
        self._overlap = overlap
        self._end = 0
        self._open_unit: tuple[int, BitsCodec] | None = None
        self.align = 1

    @property
    def size(self) -> int:
        return _round_up(self._end, self.align)

    def next(self, codec: Codec) -> tuple[int, Codec]:
        self.align = max(self.align, codec.align)
        if isinstance(codec, BitsCodec) and self._open_unit:
            offset, before = self._open_unit
            if before.unit == codec.unit and before.end + codec.width <= codec.size * 8:
                return self._opened(offset, replace(codec, shift=before.end))
        offset = 0 if self._overlap else _round_up(self._end, codec.align)
        self._end = max(self._end, offset + codec.size)
        return self._opened(offset, codec)

    def _opened(self, offset: int, codec: Codec) -> tuple[int, Codec]:
        bits = isinstance(codec, BitsCodec) and not self._overlap
        self._open_unit = (offset, cast(BitsCodec, codec)) if bits else None
        return offset, codec


def _round_up(value: int, align: int) -> int:
    return -(-value // align) * align


# --- walking a layout -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One member met on a walk, outer ones before inner ones: where it is and how its bytes read."""

    prefix: str
    c_name: str
    offset: int
    codec: Codec
    known: type[IntEnum] | type[IntFlag] | None
    secret: bool

    @property
    def name(self) -> str:
        return self.prefix + self.c_name

    @property
    def unit_name(self) -> str:
        return f"{self.prefix}bits"

    @property
    def bits(self) -> BitField | None:
        return self.codec.named(self.c_name) if isinstance(self.codec, BitsCodec) else None

    @property
    def holds_others(self) -> bool:
        return isinstance(self.codec, _Plan | ArrayCodec)


def walk(cls: type[Structure], abi: Abi) -> Iterator[Entry]:
    """Every member of a structure in the order of declaration."""
    return _walk_plan(_plan(cls, abi), 0, "", None)


def _walk_plan(plan: _Plan, base: int, prefix: str, inherited: Known | None) -> Iterator[Entry]:
    for placed in plan.members:
        offset = base + placed.offset
        if isinstance(placed.codec, _Plan) and placed.anonymous:
            yield from _walk_plan(placed.codec, offset, prefix, None)
            continue
        known = inherited if inherited and inherited.member == placed.name else placed.known
        constants = known.constants if known else None
        entry = Entry(prefix, placed.c_name, offset, placed.codec, constants, placed.secret)
        yield entry
        yield from _walk_inside(entry, placed.known)


def _walk_inside(entry: Entry, known: Known | None) -> Iterator[Entry]:
    if isinstance(entry.codec, _Plan):
        yield from _walk_plan(entry.codec, entry.offset, f"{entry.name}.", known)
    elif isinstance(entry.codec, ArrayCodec):
        element = entry.codec.element
        for index in range(entry.codec.count):
            name, offset = f"{entry.c_name}[{index}]", entry.offset + index * element.size
            inner = Entry(entry.prefix, name, offset, element, entry.known, entry.secret)
            yield inner
            yield from _walk_inside(inner, known)
