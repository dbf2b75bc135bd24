"""How one member's bytes read and write: one codec per kind of member, bound to a pointer width.

A codec knows its size and alignment and nothing about where it stands. layout.py makes them from annotations and
puts them in their places; a nested structure's plan is a codec as well.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol


class StructureError(ValueError):
    """Bytes that are not the structure they should be, or values that no bytes of the structure can hold."""


class TooShort(StructureError):
    """A buffer that ends before its structure does; `needed` is the right total length (A-10)."""

    def __init__(self, what: str, needed: int, got: int) -> None:
        super().__init__(f"{what} needs {needed} bytes, got {got}")
        self.needed = needed
        self.got = got


class BitField(NamedTuple):
    """One bit-field of a storage unit; `shift` counts from the least significant bit."""

    name: str
    shift: int
    width: int


class Codec(Protocol):
    """What every kind of member can do. `where` names the member in a refusal."""

    @property
    def size(self) -> int: ...

    @property
    def align(self) -> int: ...

    def read(self, view: memoryview, offset: int) -> Any: ...

    def write(self, out: bytearray, offset: int, value: Any, where: str) -> None: ...


@dataclass(frozen=True, slots=True)
class IntegerCodec:
    """An integer in one of the two byte orders."""

    size: int
    signed: bool
    order: Literal["little", "big"]

    @property
    def align(self) -> int:
        return self.size

    def read(self, view: memoryview, offset: int) -> int:
        return int.from_bytes(view[offset : offset + self.size], self.order, signed=self.signed)

    def write(self, out: bytearray, offset: int, value: int, where: str) -> None:
        try:
            out[offset : offset + self.size] = value.to_bytes(self.size, self.order, signed=self.signed)
        except OverflowError:
            kind = "signed" if self.signed else "unsigned"
            raise StructureError(f"{where} needs {kind} {self.size * 8} bits, got {value}") from None


@dataclass(frozen=True, slots=True)
class BytesCodec:
    """A fixed number of bytes, as they are."""

    size: int
    align: int

    def read(self, view: memoryview, offset: int) -> bytes:
        return bytes(view[offset : offset + self.size])

    def write(self, out: bytearray, offset: int, value: bytes, where: str) -> None:
        if len(value) != self.size:
            raise StructureError(f"{where} needs {self.size} bytes, got {len(value)}")
        out[offset : offset + self.size] = value


@dataclass(frozen=True, slots=True)
class BitsCodec:
    """Some bits of a storage unit; layout.py moves it up to its shift."""

    unit: IntegerCodec
    width: int
    shift: int = 0

    @property
    def size(self) -> int:
        return self.unit.size

    @property
    def align(self) -> int:
        return self.unit.align

    @property
    def end(self) -> int:
        return self.shift + self.width

    def named(self, name: str) -> BitField:
        return BitField(name, self.shift, self.width)

    def read(self, view: memoryview, offset: int) -> int:
        return self.unit.read(view, offset) >> self.shift & (1 << self.width) - 1

    def write(self, out: bytearray, offset: int, value: int, where: str) -> None:
        if not 0 <= value < 1 << self.width:
            raise StructureError(f"{where} needs unsigned {self.width} bits, got {value}")
        others = self.unit.read(memoryview(out), offset)
        self.unit.write(out, offset, others | value << self.shift, where)


@dataclass(frozen=True, slots=True)
class ArrayCodec:
    """So many of one kind, without gaps: a size is a multiple of its alignment."""

    element: Codec
    count: int

    @property
    def size(self) -> int:
        return self.element.size * self.count

    @property
    def align(self) -> int:
        return self.element.align

    def read(self, view: memoryview, offset: int) -> tuple[Any, ...]:
        step = self.element.size
        return tuple(self.element.read(view, offset + index * step) for index in range(self.count))

    def write(self, out: bytearray, offset: int, value: tuple[Any, ...], where: str) -> None:
        if len(value) > self.count:
            raise StructureError(f"{where} needs {self.count} elements, got {len(value)}")
        for index, item in enumerate(value):
            self.element.write(out, offset + index * self.element.size, item, where)


@dataclass(frozen=True, slots=True)
class TailCodec:
    """The one byte that C declares; the plan reads and writes the rest, for it knows the length."""

    length_member: str
    size: int = 1
    align: int = 1

    def read(self, view: memoryview, offset: int) -> bytes:
        return bytes(view[offset:])

    def write(self, out: bytearray, offset: int, value: bytes, where: str) -> None:
        if len(value) != len(out) - offset:
            raise StructureError(f"{where} needs {len(out) - offset} bytes, got {len(value)}")
        out[offset:] = value
