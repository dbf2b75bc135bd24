"""Distinguished names: from text as IPsec tools write it, to and from DER, and what two of them have to compare.

    C=SE, ST=skane, O=lund university, OU=eit, CN=pluto

Text keeps the order of the encoding (RFC 4514 would turn it round). Two names are the same when their parts say the
same (RFC 5280 section 7.1): case and the kind of string do not count, nor does white space at the ends or in a row.
Only as much of DER is read as a name needs; whatever else stands there raises Malformed.
"""

from __future__ import annotations

from collections.abc import Iterator

from nicsim.errors import InputError, Malformed

# X.690: tags, with the constructed bit where they have it.
_SEQUENCE, _SET, _OID = 0x30, 0x31, 0x06
_UTF8, _PRINTABLE, _T61, _IA5, _UNIVERSAL, _BMP = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E
_ENCODINGS = {
    _UTF8: "utf-8",
    _PRINTABLE: "ascii",
    _T61: "latin-1",
    _IA5: "ascii",
    _UNIVERSAL: "utf-32-be",
    _BMP: "utf-16-be",
}

# Names by the contents of their object identifiers (X.520, RFC 4519, PKCS #9).
_TYPES = {
    "CN": "550403",
    "SN": "550404",
    "serialNumber": "550405",
    "C": "550406",
    "L": "550407",
    "ST": "550408",
    "STREET": "550409",
    "O": "55040a",
    "OU": "55040b",
    "T": "55040c",
    "G": "55042a",
    "E": "2a864886f70d010901",
    "DC": "0992268993f22c640119",
    "UID": "0992268993f22c640101",
}
_SYNONYMS = {"EMAIL": "E", "EMAILADDRESS": "E", "S": "ST"}
_IA5_TYPES = ("E", "DC")
_BY_OID = {bytes.fromhex(oid): name for name, oid in _TYPES.items()}
_BY_NAME = {name.upper(): (name, bytes.fromhex(oid)) for name, oid in _TYPES.items()}
_PRINTABLE_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")

Part = tuple[bytes, int, bytes]
"""The contents of an object identifier, the tag of the value, and its contents."""


def encode_name(text: str) -> bytes:
    """The DER of a name written as `C=SE, O=lund university, CN=pluto`. Raises InputError.

    A comma inside a value is written `\\,`.
    """
    parts = []
    for piece in _split(text):
        name, equals, value = piece.partition("=")
        name, value = name.strip().upper(), value.strip()
        known = _BY_NAME.get(_SYNONYMS.get(name, name))
        if not equals or not value or known is None:
            raise InputError(f"{piece.strip()!r} is no part of a name: it needs TYPE=value, with {', '.join(_TYPES)}")
        label, oid = known
        if label in _IA5_TYPES and value.isascii():
            tag = _IA5
        else:
            tag = _PRINTABLE if _PRINTABLE_CHARACTERS.issuperset(value) else _UTF8
        attribute = _tlv(_OID, oid) + _tlv(tag, value.encode(_ENCODINGS[tag]))
        parts.append(_tlv(_SET, _tlv(_SEQUENCE, attribute)))
    return _tlv(_SEQUENCE, b"".join(parts))


def _split(text: str) -> list[str]:
    """At the commas that no backslash takes away."""
    pieces, escaped = [""], False
    for character in text:
        if character == "," and not escaped:
            pieces.append("")
        elif character == "\\" and not escaped:
            escaped = True
            continue
        else:
            pieces[-1] += character
        escaped = False
    return pieces


def _tlv(tag: int, value: bytes) -> bytes:
    if len(value) < 0x80:
        return bytes((tag, len(value))) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value


def show_name(der: bytes) -> str:
    """The text of a name; a type without a short name is shown by its number. Raises Malformed."""
    shown = []
    for relative in _read(der):
        parts = []
        for oid, tag, value in relative:
            text = _text(tag, value).replace("\\", "\\\\").replace(",", "\\,")
            parts.append(f"{_BY_OID.get(oid, oid.hex())}={text}")
        shown.append("+".join(parts))
    return ", ".join(shown)


def comparable_name(der: bytes) -> tuple[frozenset[tuple[bytes, str]], ...]:
    """What has to be equal for two names to be the same. Raises Malformed."""
    return tuple(
        frozenset((oid, " ".join(_text(tag, value).split()).casefold()) for oid, tag, value in relative)
        for relative in _read(der)
    )


def _text(tag: int, value: bytes) -> str:
    try:
        # Printable strings with wider characters are common enough.
        return value.decode(_ENCODINGS[tag])
    except (KeyError, UnicodeDecodeError):
        return f"#{value.hex()}"


def _read(der: bytes) -> list[list[Part]]:
    """The relative names in order, each a list of its parts."""
    outer = list(_elements(der))
    if len(outer) != 1 or outer[0][0] != _SEQUENCE:
        raise Malformed("a distinguished name is one DER sequence")
    return [_relative(tag, contents) for tag, contents in _elements(outer[0][1])]


def _relative(tag: int, contents: bytes) -> list[Part]:
    parts: list[Part] = []
    for inner_tag, inner in _elements(contents):
        attribute = list(_elements(inner))
        if (tag, inner_tag) != (_SET, _SEQUENCE) or len(attribute) != 2 or attribute[0][0] != _OID:
            raise Malformed("a relative distinguished name is a set of sequences of a type and a value")
        parts.append((attribute[0][1], *attribute[1]))
    if not parts:
        raise Malformed("a relative distinguished name is empty")
    return parts


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and contents of each element in turn; definite lengths of up to two bytes, as a message can hold."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < 2:
            raise Malformed("a DER element needs a tag and a length")
        tag, length = data[offset], data[offset + 1]
        offset += 2
        if length & 0x80:
            size = length & 0x7F
            if size not in (1, 2) or len(data) - offset < size:
                raise Malformed(f"a DER length of {size} bytes is not one that fits a message")
            length = int.from_bytes(data[offset : offset + size], "big")
            offset += size
        if length > len(data) - offset:
            raise Malformed(f"a DER element says {length} bytes, {len(data) - offset} left")
        yield tag, data[offset : offset + length]
        offset += length
