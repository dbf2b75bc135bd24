"""The SA files: which security associations a capture was made with, and their keys.

Three formats are read, told apart by their content: nicsim's own, a JSON list of objects that says everything about
an SA; Wireshark's `esp_sa` preference file, which says neither the mode nor whether there is UDP around the ESP; and
the `add` statements of setkey(8). What a file leaves open is None, and the replay learns it from the traffic.

A file is untrusted. Whatever is wrong with it becomes one InputError of one line: where, what was needed, what came.
Never a key: a value is quoted only when it cannot be one.

Called by the player and the command line. Uses ipsec/transforms.py, whose SaKeys checks the lengths of the keys.
"""

import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from nicsim.errors import InputError
from nicsim.host.setkey import looks_like_setkey, read_setkey
from nicsim.host.wireshark import ESP_SA_ENCRYPTION, ESP_SA_INTEGRITY, esp_sa_line
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys

_Choice = TypeVar("_Choice", bound=Enum)

SIZE_LIMIT = 16 * 1024 * 1024  # some twenty thousand SAs


class Marker(Enum):
    """What stands between the UDP header and the ESP header."""

    NONE = "none"  # nothing: RFC 3948, port 4500
    NON_IKE = "non-ike"  # eight zero bytes: the older drafts, port 500


@dataclass(frozen=True)
class FileSa:
    """One security association as a file gave it; None is what the file left open."""

    where: str  # for messages: "sas.json, entry 3" or "esp_sa, line 4"
    spi: int
    src: bytes  # 4 or 16 bytes, the outer addresses; b"" is any
    dst: bytes
    keys: SaKeys = field(repr=False)
    mode: Mode | None = None
    udp_encap: bool | None = None
    marker: Marker | None = None
    src_port: int | None = None
    dst_port: int | None = None
    esn: bool = False
    sequence_high: int = 0  # the upper half of the first sequence number, with esn
    inner_src: tuple[str, ...] = ()
    inner_dst: tuple[str, ...] = ()

    @property
    def icv_octets(self) -> int:
        """The length of the integrity check value, which the algorithms decide."""
        return self.keys.icv_length


def read_sa_file(path: str | Path) -> list[FileSa]:
    """Read the SAs of a file in any of the formats."""
    name = Path(path).name
    if not name.isprintable():
        name = ascii(name)[1:-1]
    text = _text_of(path, name)
    start = text.lstrip()[:1]
    if not start:
        raise InputError(f"{name}: the file is empty, it needs at least one SA")
    if start in "[{":
        associations = _read_json(text, name)
    elif looks_like_setkey(text):
        associations = _read_setkey(text, name)
    elif start in '"#':
        associations = _read_esp_sa(text, name)
    else:
        raise InputError(f"{name}: this is no JSON list of SAs, no Wireshark esp_sa file and no setkey text")
    _refuse_duplicates(associations)
    return associations


def _text_of(path: str | Path, name: str) -> str:
    try:
        with open(path, "rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL inside the path
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise InputError(f"{name}: the SA file cannot be read: {reason}") from None
    if len(raw) > SIZE_LIMIT:
        raise InputError(f"{name}: an SA file may have {SIZE_LIMIT // 1024 // 1024} MiB, this one is larger")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Without `from None` the traceback would carry the whole file, keys and all.
        raise InputError(f"{name}: not UTF-8 text at byte {error.start}") from None


def _refuse_duplicates(associations: list[FileSa]) -> None:
    first: dict[tuple[int, bytes, bytes], FileSa] = {}
    for sa in associations:
        earlier = first.setdefault((sa.spi, sa.src, sa.dst), sa)
        if earlier is not sa:
            place = earlier.where.rpartition(", ")[2]
            raise InputError(f"{sa.where}: the same SPI {sa.spi:#010x}, src and dst as {place}")


def _shown(value: object) -> str:
    """A value for a message: one line, short, and never something that could be key material."""
    if not isinstance(value, str):
        kinds = {bool: "a boolean", int: "a number", float: "a fraction", list: "a list", dict: "an object"}
        return "null" if value is None else kinds.get(type(value), "something else")
    if re.search(r"[0-9A-Fa-f]{9}", value):
        return f"'({len(value)} characters)'"
    return ascii(value if len(value) <= 60 else value[:57] + "...")


# nicsim's own format


def _read_json(text: str, name: str) -> list[FileSa]:
    try:
        entries = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:  # NaN and the infinities, and integers with more digits than Python converts
        raise InputError(f"{name}: not valid JSON: a number that no SA can have") from None
    except RecursionError:
        raise InputError(f"{name}: not a list of SAs: lists or objects are nested too deeply") from None
    if not isinstance(entries, list):
        raise InputError(f"{name}: needs a JSON list of SAs at the top, got {_shown(entries)}")
    if not entries:
        raise InputError(f"{name}: the list is empty, it needs at least one SA")
    return [_file_sa(entry, f"{name}, entry {number}") for number, entry in enumerate(entries, 1)]


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


def _file_sa(entry: object, where: str) -> FileSa:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: needs an object with the members of an SA, got {_shown(entry)}")
    try:
        return _Entry.model_validate(entry).file_sa(where)
    except ValidationError as error:
        raise InputError(f"{where}: {_first_fault(error)}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _first_fault(error: ValidationError) -> str:
    """Pydantic's first finding in our words; its own would print the value."""
    fault = error.errors(include_url=False, include_input=False)[0]
    member = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"{member} is missing"
    return f"{member} {fault['ctx']['error']}".lstrip()


def _number(value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"needs a number, got {_shown(value)}")
    if not low <= value <= high:
        raise ValueError(f"needs a number from {low} to {high}, got one that is {'less' if value < low else 'more'}")
    return value


def _spi(value: object) -> int:
    if isinstance(value, str):
        if not re.fullmatch(r"0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10}", value):
            raise ValueError(f"needs 0x and up to 8 hex digits, or a number, got {_shown(value)}")
        value = int(value, 16 if value[:2] in ("0x", "0X") else 10)
    return _number(value, 1, 2**32 - 1)


def _address(value: object) -> bytes:
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return ipaddress.ip_address(value).packed
    except ValueError:
        raise ValueError(f"needs an IPv4 or IPv6 address, got {_shown(value)}") from None


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"needs true or false, got {_shown(value)}")
    return value


def _one_of(choices: type[_Choice], value: object) -> _Choice:
    for choice in choices:
        if choice.value == value:
            return choice
    raise ValueError(f"needs one of {', '.join(choice.value for choice in choices)}, got {_shown(value)}")


def _marker(value: object) -> Marker | None:
    return None if value is None else _one_of(Marker, value)


def _integrity(value: object) -> Integrity:
    return Integrity.NONE if value in (None, "") else _one_of(Integrity, value)


def _hex(value: object) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise ValueError(f"needs hex digits in quotes, got {_shown(value)}")
    digits = value.removeprefix("0x")
    if not re.fullmatch(r"[0-9A-Fa-f]*", digits):
        raise ValueError("needs hex digits, got something else among them")
    if len(digits) % 2:
        raise ValueError(f"needs an even number of hex digits, got {len(digits)}")
    return bytes.fromhex(digits)


def _prefixes(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    prefixes = []
    for prefix in values:
        try:
            if not isinstance(prefix, str) or "%" in prefix:
                raise ValueError
            prefixes.append(str(ipaddress.ip_network(prefix, strict=False)))
        except ValueError:
            raise ValueError(f"needs prefixes like 10.0.0.0/8, got {_shown(prefix)}") from None
    return tuple(prefixes)


_Port = Annotated[int | None, BeforeValidator(lambda value: None if value is None else _number(value, 1, 65535))]
_Octets = Annotated[int | None, BeforeValidator(lambda value: None if value is None else _number(value, 0, 255))]
_Address = Annotated[bytes, BeforeValidator(_address)]
_Boolean = Annotated[bool, BeforeValidator(_boolean)]
_Hex = Annotated[bytes, BeforeValidator(_hex)]
_Prefixes = Annotated[tuple[str, ...], BeforeValidator(_prefixes)]


class _Entry(BaseModel):
    """One object of the list; members that are not here are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    spi: Annotated[int, BeforeValidator(_spi)]
    src: _Address
    dst: _Address
    mode: Annotated[Mode, BeforeValidator(lambda value: _one_of(Mode, value))]
    udp_encap: _Boolean
    encryption: Annotated[Encryption, BeforeValidator(lambda value: _one_of(Encryption, value))]
    integrity: Annotated[Integrity, BeforeValidator(_integrity)]
    encryption_key: _Hex = b""
    integrity_key: _Hex = b""
    salt: _Hex = b""
    src_port: _Port = None
    dst_port: _Port = None
    icv_octets: _Octets = None
    esn: _Boolean = False
    inner_src: _Prefixes = ()
    inner_dst: _Prefixes = ()
    marker: Annotated[Marker | None, BeforeValidator(_marker)] = None

    @model_validator(mode="after")
    def _members_agree(self) -> Self:
        if len(self.src) != len(self.dst):
            raise ValueError("src and dst need the same address family, got IPv4 and IPv6")
        if self.encryption.is_aead and not self.salt:
            needed = f"{self.encryption.value} needs {self.encryption.salt_length} bytes"
            raise ValueError(f"salt is missing: {needed}, apart from the key")
        # SaKeys checks these again; here the member of the file has a name.
        _need_length("encryption_key", self.encryption_key, self.encryption.value, self.encryption.key_lengths)
        _need_length("salt", self.salt, self.encryption.value, (self.encryption.salt_length,))
        _need_length("integrity_key", self.integrity_key, self.integrity.value, (self.integrity.key_length,))
        icv_maker = self.encryption if self.encryption.is_aead else self.integrity
        if self.icv_octets not in (None, icv_maker.icv_length):
            raise ValueError(f"icv_octets needs {icv_maker.icv_length} for {icv_maker.value}, got {self.icv_octets}")
        if self.marker is Marker.NON_IKE and not self.udp_encap:
            raise ValueError("marker non-ike needs udp_encap true, got false")
        return self

    def file_sa(self, where: str) -> FileSa:
        return FileSa(
            where=where,
            spi=self.spi,
            src=self.src,
            dst=self.dst,
            keys=SaKeys(self.encryption, self.encryption_key, self.integrity, self.integrity_key, self.salt),
            mode=self.mode,
            udp_encap=self.udp_encap,
            marker=self.marker,
            src_port=self.src_port,
            dst_port=self.dst_port,
            esn=self.esn,
            inner_src=self.inner_src,
            inner_dst=self.inner_dst,
        )


def _need_length(member: str, value: bytes, algorithm: str, lengths: tuple[int, ...]) -> None:
    if len(value) not in lengths:
        *others, last = map(str, lengths)
        needed = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"{member} needs {needed} bytes for {algorithm}, got {len(value)}")


# setkey(8)


def _read_setkey(text: str, name: str) -> list[FileSa]:
    try:
        statements = read_setkey(text).associations
    except InputError as error:
        raise InputError(f"{name}, {error}") from None
    if not statements:
        raise InputError(f"{name}: it adds no SA, it needs at least one")
    return [
        FileSa(
            where=f"{name}, line {one.line}",
            spi=one.spi,
            src=one.src,
            dst=one.dst,
            keys=one.keys,
            mode=one.mode,
            udp_encap=one.udp,
            src_port=one.src_port,
            dst_port=one.dst_port,
        )
        for one in statements
    ]


# Wireshark's esp_sa


# One field in its quotes, up to the comma or the end of the line; a backslash escapes the character after it. The
# quantifiers do not backtrack, so a line of any length takes time in proportion.
_FIELD = re.compile(r'[ \t]*"((?:[^"\\]++|\\.)*+)"[ \t]*(,|$)')
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))")
_SEQUENCE_LENGTHS = {"32-bit": False, "64-bit": True}
_PROTOCOLS = {"IPV4": (4,), "IPV6": (16,), "ANY": (4, 16)}  # and the lengths of their addresses

# Wireshark's older name leaves the length of the ICV to the integrity column, as strongSwan's key log writes it.
_GCM_WITHOUT_LENGTH = "AES-GCM [RFC4106]"
_GCM_BY_INTEGRITY = {
    "NULL": Encryption.AES_GCM_16,
    "ANY 64 bit authentication [no checking]": Encryption.AES_GCM_8,
    "ANY 96 bit authentication [no checking]": Encryption.AES_GCM_12,
    "ANY 128 bit authentication [no checking]": Encryption.AES_GCM_16,
}


def _read_esp_sa(text: str, name: str) -> list[FileSa]:
    associations = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = f"{name}, line {number}"
        try:
            associations.append(_esp_sa_line(line, where))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if not associations:
        raise InputError(f"{name}: there are only comments, it needs at least one SA")
    return associations


def _esp_sa_line(line: str, where: str) -> FileSa:
    fields = _fields(line)
    if len(fields) not in (8, 9, 10):
        raise InputError(
            "needs 8 fields in quotes (protocol, src, dst, SPI, encryption, its key, authentication, its key) and at "
            f"most 2 more (length of the sequence number, its upper half), got {len(fields)}"
        )
    protocol, src_text, dst_text, spi_text, encryption_text, key_text, integrity_text, integrity_key_text = fields[:8]
    if protocol.upper() not in _PROTOCOLS:
        raise InputError(f"protocol needs IPv4, IPv6 or ANY, got {_shown(protocol)}")
    src, dst = _pattern("src", src_text, protocol), _pattern("dst", dst_text, protocol)
    if src and dst and len(src) != len(dst):
        raise InputError("src and dst need the same address family, got IPv4 and IPv6")
    encryption, integrity = _algorithms(encryption_text, integrity_text)
    key, salt = _esp_sa_key("encryption key", key_text), b""
    if encryption.is_aead:  # the key column ends in the salt
        key, salt = key[: -encryption.salt_length], key[-encryption.salt_length :]
    esn, sequence_high = _sequence(fields[8:])
    return FileSa(
        where=where,
        spi=_esp_sa_spi(spi_text),
        src=src,
        dst=dst,
        keys=SaKeys(encryption, key, integrity, _esp_sa_key("authentication key", integrity_key_text), salt),
        esn=esn,
        sequence_high=sequence_high,
    )


def _fields(line: str) -> list[str]:
    fields, position = [], 0
    while match := _FIELD.match(line, position):
        fields.append(_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else escape[2], match[1]))
        position = match.end()
        if not match[2]:
            return fields
    raise InputError(f"field {len(fields) + 1} needs double quotes around it and a comma before the next")


def _pattern(what: str, text: str, protocol: str) -> bytes:
    """An address, or b"" for Wireshark's wildcard."""
    if text in ("", "*"):
        return b""
    try:
        address = _address(text)
    except ValueError:
        raise InputError(f"{what} needs one whole address, or * for any, got {_shown(text)}") from None
    if len(address) not in _PROTOCOLS[protocol.upper()]:
        raise InputError(f"{what} needs an {protocol} address, got {_shown(text)}")
    return address


def _esp_sa_spi(text: str) -> int:
    try:
        return _spi(text)
    except ValueError as error:
        raise InputError(f"the SPI {error}") from None


def _esp_sa_key(what: str, text: str) -> bytes:
    """0x and hex digits, or the characters themselves."""
    if text[:2] not in ("0x", "0X"):
        return text.encode()
    digits = text[2:]
    if not re.fullmatch(r"[0-9A-Fa-f]*", digits):
        raise InputError(f"the {what} needs hex digits after 0x, got something else among them")
    # Wireshark's own reading: of an odd number the first had a zero before it.
    return bytes.fromhex("0" * (len(digits) % 2) + digits)


def _algorithms(encryption_text: str, integrity_text: str) -> tuple[Encryption, Integrity]:
    """The two algorithm columns. Case is ignored: strongSwan's key log writes TripleDes."""
    encryption_name, integrity_name = encryption_text.lower(), integrity_text.lower()
    gcm_by_integrity = {name.lower(): encryption for name, encryption in _GCM_BY_INTEGRITY.items()}
    if encryption_name == _GCM_WITHOUT_LENGTH.lower():
        if integrity_name not in gcm_by_integrity:
            supported = ", ".join(_GCM_BY_INTEGRITY)
            raise InputError(f"beside {_GCM_WITHOUT_LENGTH} stands one of {supported}; got {_shown(integrity_text)}")
        return gcm_by_integrity[integrity_name], Integrity.NONE
    encryption = {name.lower(): algorithm for algorithm, name in ESP_SA_ENCRYPTION.items()}.get(encryption_name)
    if encryption is None:
        supported = ", ".join([*ESP_SA_ENCRYPTION.values(), _GCM_WITHOUT_LENGTH])
        raise InputError(f"encryption needs one of {supported}; got {_shown(encryption_text)}")
    if encryption is gcm_by_integrity.get(integrity_name):
        return encryption, Integrity.NONE
    integrity = {name.lower(): algorithm for algorithm, name in ESP_SA_INTEGRITY.items()}.get(integrity_name)
    if integrity is None:
        supported = ", ".join(ESP_SA_INTEGRITY.values())
        raise InputError(f"authentication needs one of {supported}; got {_shown(integrity_text)}")
    return encryption, integrity


def _sequence(fields: list[str]) -> tuple[bool, int]:
    """The two columns of newer versions: is the sequence number extended, and its upper half."""
    length, high = [*fields, *["32-bit", ""][len(fields) :]]
    if length not in _SEQUENCE_LENGTHS:
        raise InputError(f"the sequence number length needs {' or '.join(_SEQUENCE_LENGTHS)}, got {_shown(length)}")
    if not re.fullmatch(r"(0[xX])?[0-9A-Fa-f]{0,8}", high):
        raise InputError(f"the upper half of the sequence number needs up to 8 hex digits, got {_shown(high)}")
    return _SEQUENCE_LENGTHS[length], int(high.removeprefix("0x").removeprefix("0X") or "0", 16)


def export_esp_sa(associations: Iterable[FileSa]) -> str:
    """The SAs as lines of Wireshark's esp_sa file, with their keys; the names are those of Wireshark 4.0."""
    return "".join(
        esp_sa_line(sa.src, sa.dst, sa.spi, sa.keys, sa.sequence_high if sa.esn else None) + "\n" for sa in associations
    )
