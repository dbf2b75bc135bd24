"""What a buffer says, member by member, for people: used by dumps, never by the paths that act on a buffer."""

from dataclasses import dataclass
from enum import IntFlag

from offload_oids.layout import Abi, Entry, Structure, walk


@dataclass(frozen=True, slots=True)
class Part:
    """One member of a buffer that holds no others, or one bit-field of a storage unit."""

    name: str
    offset: int
    raw: bytes
    """The bytes it was read from; of a bit-field, those of its storage unit."""
    value: int | bytes
    meaning: str
    """The constants that make up the value, or nothing where none are known."""
    secret: bool
    """Key bytes: to be shown only where someone asked for them."""


def dissect(cls: type[Structure], buffer: bytes, abi: Abi) -> tuple[Part, ...]:
    """Every member of the structure at the start of `buffer`, which is refused as `unpack` refuses it."""
    used = memoryview(buffer)[: _length(cls, buffer, abi)]
    return tuple(_part(entry, used) for entry in walk(cls, abi) if not entry.holds_others)


def _length(cls: type[Structure], buffer: bytes, abi: Abi) -> int:
    return len(cls.unpack(buffer, abi).pack(abi))


def _part(entry: Entry, used: memoryview) -> Part:
    value: int | bytes = entry.codec.read(used, entry.offset)
    size = len(value) if isinstance(value, bytes) else entry.codec.size
    raw = bytes(used[entry.offset : entry.offset + size])
    return Part(entry.name, entry.offset, raw, value, _meaning(entry, value), entry.secret)


def _meaning(entry: Entry, value: int | bytes) -> str:
    if entry.known is None or isinstance(value, bytes):
        return ""
    if issubclass(entry.known, IntFlag) and value:
        held = [flag for flag in entry.known if flag & value]
        return "|".join(str(flag.name) for flag in held)
    return next((str(member.name) for member in entry.known.__members__.values() if member == value), "")
