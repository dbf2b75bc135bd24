"""The C types that a declaration names: what an annotation can say to the layout engine.

`HANDLE` is `Annotated[int, Integer(None)]`: the type checker sees an `int`, layout.py sees four or eight bytes.
Nothing here knows how bytes are read; see codecs.py for that, and layout.py for how members find their places.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from typing import Annotated


class Abi(Enum):
    """The pointer width of the host that laid a structure out."""

    X86 = "x86"
    X64 = "x64"

    @property
    def pointer_size(self) -> int:
        return 4 if self is Abi.X86 else 8


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer of `size` bytes; None is as wide as a pointer. Aligned to its size."""

    size: int | None
    signed: bool = False
    wire_order: bool = False


@dataclass(frozen=True, slots=True)
class ByteArray:
    """A fixed number of raw bytes."""

    size: int
    align: int = 1


@dataclass(frozen=True, slots=True)
class Bits:
    """A bit-field of `width` bits in a storage unit of `unit` bytes (4 is ULONG, 2 is USHORT).

    Neighbours with the same unit share it, from the least significant bit up, until one does not fit.
    """

    width: int
    unit: int = 4


@dataclass(frozen=True, slots=True)
class Count:
    """How many elements a `tuple[X, ...]` member has. A shorter tuple is packed with zeros behind it."""

    count: int


@dataclass(frozen=True, slots=True)
class Tail:
    """Bytes that run on past the nominal end: C declares one, the member named here counts them."""

    length_member: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class CName:
    """The C name of a member, where it is not the Python name respelled."""

    name: str


@dataclass(frozen=True, slots=True)
class Known:
    """The constants this member takes, for people who read a dump. `member` points into a nested structure."""

    constants: type[IntEnum] | type[IntFlag]
    member: str = ""


class Anonymous(Enum):
    """Marks a member that has no name in C: its own members are reached without it."""

    ANONYMOUS = "anonymous"


ANONYMOUS = Anonymous.ANONYMOUS

UCHAR = Annotated[int, Integer(1)]
BOOLEAN = Annotated[int, Integer(1)]
USHORT = Annotated[int, Integer(2)]
SHORT = Annotated[int, Integer(2, signed=True)]
ULONG = Annotated[int, Integer(4)]
LONG = Annotated[int, Integer(4, signed=True)]
ULONG64 = Annotated[int, Integer(8)]
HANDLE = Annotated[int, Integer(None)]
PVOID = Annotated[int, Integer(None)]

SPI = Annotated[int, Integer(4, wire_order=True)]
PORT = Annotated[int, Integer(2, wire_order=True)]
IPV4_ADDRESS = Annotated[bytes, ByteArray(4, align=4)]
IPV6_ADDRESS = Annotated[bytes, ByteArray(16)]
