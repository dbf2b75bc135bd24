"""The bodies of ISAKMP payloads that have fields: proposals, identities, certificates, notifications and the rest.

`parse_...` reads a body strictly and `build` gives the same bytes again (RFC 2408 section 3, RFC 2407 section 4.6,
RFC 3947 section 5.2). What contradicts itself raises `IsakmpMalformed` with the notification that says so; what the
values mean is for host/ike. Lengths are bytes, integers big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from nicsim.errors import IsakmpMalformed
from nicsim.wire.isakmp import GENERIC_HEADER_LENGTH, NotifyType, PayloadType

IPSEC_DOI = 1
ISAKMP_DOI = 0
IDENTITY_ONLY = 1
# A list of proposals that no peer needs; 64 KiB of the smallest transforms would be eight thousand.
MAX_TRANSFORMS = 256
MAX_ATTRIBUTES = 32

_BASIC = 0x8000
_U32 = struct.Struct(">I")
_CHAIN = struct.Struct(">BBH")
_ATTRIBUTE = struct.Struct(">HH")
_IDENTIFICATION = struct.Struct(">BBH")
_NOTIFICATION = struct.Struct(">IBBH")
_FRAGMENT = struct.Struct(">HBB")


class Protocol(IntEnum):
    """What a proposal, a notification or a delete is about (RFC 2407 section 4.4.1)."""

    ISAKMP = 1
    AH = 2
    ESP = 3


class IdentificationType(IntEnum):
    """How an identity is written (RFC 2407 section 4.6.2.1)."""

    IPV4_ADDRESS = 1
    FQDN = 2
    USER_FQDN = 3
    IPV4_SUBNET = 4
    IPV6_ADDRESS = 5
    IPV6_SUBNET = 6
    IPV4_RANGE = 7
    IPV6_RANGE = 8
    DER_DN = 9
    DER_GENERAL_NAME = 10
    KEY_ID = 11


class CertificateEncoding(IntEnum):
    """What a certificate payload holds; the others of RFC 2408 section 3.9 are plain numbers here."""

    X509_SIGNATURE = 4


# --- SA, proposal, transform, attribute ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attribute:
    """A data attribute: its class, its value, and whether it is encoded as basic, in two bytes (RFC 2408 3.3)."""

    type: int
    value: bytes
    basic: bool = True

    @classmethod
    def of(cls, type_: int, number: int) -> Attribute:
        """A number, basic if it fits in two bytes and in four bytes else."""
        if number < 0x10000:
            return cls(type_, number.to_bytes(2, "big"))
        return cls(type_, _U32.pack(number), basic=False)

    @property
    def number(self) -> int:
        """The value as a number, whichever way it was encoded."""
        return int.from_bytes(self.value, "big")

    def build(self) -> bytes:
        """4 bytes if basic, else 4 and the value."""
        if self.basic:
            return struct.pack(">H", _BASIC | self.type) + self.value
        return _ATTRIBUTE.pack(self.type, len(self.value)) + self.value


@dataclass(frozen=True, slots=True)
class Transform:
    """One way to do what its proposal is about."""

    number: int
    id: int
    attributes: tuple[Attribute, ...]

    def build(self) -> bytes:
        """Without the generic header."""
        return bytes((self.number, self.id, 0, 0)) + b"".join(attribute.build() for attribute in self.attributes)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A protocol with its transforms, in order of preference. Those with one number belong together."""

    number: int
    protocol: int
    spi: bytes
    transforms: tuple[Transform, ...]

    def build(self) -> bytes:
        """Without the generic header."""
        head = bytes((self.number, self.protocol, len(self.spi), len(self.transforms)))
        bodies = [transform.build() for transform in self.transforms]
        return head + self.spi + _build_links(bodies, PayloadType.TRANSFORM)


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """The body of an SA payload."""

    proposals: tuple[Proposal, ...]
    doi: int = IPSEC_DOI
    situation: int = IDENTITY_ONLY

    def build(self) -> bytes:
        """Without the generic header."""
        bodies = [proposal.build() for proposal in self.proposals]
        return struct.pack(">II", self.doi, self.situation) + _build_links(bodies, PayloadType.PROPOSAL)


def parse_security_association(body: bytes) -> SecurityAssociation:
    """Raises IsakmpMalformed, for another DOI or situation too: what follows those would have another form."""
    if len(body) < 8:
        raise _syntax(f"an SA payload needs DOI and situation, 8 bytes, {len(body)} came")
    doi, situation = struct.unpack_from(">II", body)
    if doi != IPSEC_DOI:
        raise IsakmpMalformed(NotifyType.DOI_NOT_SUPPORTED, f"DOI {IPSEC_DOI} is needed, {doi} came")
    if situation != IDENTITY_ONLY:
        raise IsakmpMalformed(
            NotifyType.SITUATION_NOT_SUPPORTED, f"situation {IDENTITY_ONLY} is needed, {situation} came"
        )
    links = list(_links(body[8:], PayloadType.PROPOSAL))
    if not links:
        raise _syntax("an SA payload has no proposal")
    proposals = tuple(_parse_proposal(link) for link in links)
    if sum(len(proposal.transforms) for proposal in proposals) > MAX_TRANSFORMS:
        raise _syntax(f"an SA payload has at most {MAX_TRANSFORMS} transforms")
    return SecurityAssociation(proposals, doi, situation)


def _parse_proposal(body: bytes) -> Proposal:
    if len(body) < 4:
        raise _syntax(f"a proposal needs 4 bytes, {len(body)} came")
    number, protocol, spi_size, count = body[:4]
    if len(body) < 4 + spi_size:
        raise _syntax(f"a proposal says {spi_size} bytes of SPI, {len(body) - 4} left")
    transforms = tuple(_parse_transform(link) for link in _links(body[4 + spi_size :], PayloadType.TRANSFORM))
    if len(transforms) != count or not transforms:
        raise _syntax(f"a proposal says {count} transforms and has {len(transforms)}")
    return Proposal(number, protocol, body[4 : 4 + spi_size], transforms)


def _parse_transform(body: bytes) -> Transform:
    if len(body) < 4:
        raise _syntax(f"a transform needs 4 bytes, {len(body)} came")
    if body[2:4] != b"\0\0":
        raise _syntax(f"a transform has {body[2:4].hex()} in its reserved bytes")
    return Transform(body[0], body[1], parse_attributes(body[4:]))


def parse_attributes(data: bytes) -> tuple[Attribute, ...]:
    """The data attributes that fill `data`. Raises IsakmpMalformed; at most 32 are read."""
    attributes: list[Attribute] = []
    offset = 0
    while offset < len(data):
        if len(attributes) == MAX_ATTRIBUTES:
            raise _syntax(f"a transform has at most {MAX_ATTRIBUTES} attributes")
        if len(data) - offset < 4:
            raise _syntax(f"an attribute needs 4 bytes, {len(data) - offset} left")
        type_, length = _ATTRIBUTE.unpack_from(data, offset)
        if type_ & _BASIC:
            attributes.append(Attribute(type_ & ~_BASIC, data[offset + 2 : offset + 4]))
            offset += 4
            continue
        if length > len(data) - offset - 4:
            raise _syntax(f"attribute {type_} says {length} bytes, {len(data) - offset - 4} left")
        attributes.append(Attribute(type_, data[offset + 4 : offset + 4 + length], basic=False))
        offset += 4 + length
    return tuple(attributes)


def _links(data: bytes, kind: PayloadType) -> Iterator[bytes]:
    """The bodies of a chain of proposals or transforms, whose next payload is their own type, and 0 in the last."""
    offset, more = 0, bool(data)
    while more:
        left = len(data) - offset
        if left < GENERIC_HEADER_LENGTH:
            raise _syntax(f"a {kind.name.lower()} needs 4 bytes, {left} left")
        following, reserved, length = _CHAIN.unpack_from(data, offset)
        if following not in (kind, PayloadType.NONE):
            raise _syntax(f"a {kind.name.lower()} is followed by {kind.value} or 0, not by {following}")
        if reserved or not GENERIC_HEADER_LENGTH <= length <= left:
            raise _syntax(f"a {kind.name.lower()} says {length} bytes and {reserved} reserved, {left} left")
        yield data[offset + GENERIC_HEADER_LENGTH : offset + length]
        offset += length
        more = following == kind
    if offset != len(data):
        raise _syntax(f"{len(data) - offset} bytes follow the last {kind.name.lower()}")


def _build_links(bodies: list[bytes], kind: PayloadType) -> bytes:
    built = []
    for number, body in enumerate(bodies, 1):
        following = kind if number < len(bodies) else PayloadType.NONE
        built.append(_CHAIN.pack(following, 0, GENERIC_HEADER_LENGTH + len(body)) + body)
    return b"".join(built)


def _syntax(detail: str) -> IsakmpMalformed:
    return IsakmpMalformed(NotifyType.BAD_PROPOSAL_SYNTAX, detail)


# --- the others ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identification:
    """The body of an ID payload; `type` is a plain number, because unknown ones come too."""

    type: int
    data: bytes
    protocol: int = 0
    port: int = 0

    def build(self) -> bytes:
        """4 bytes and the data."""
        return _IDENTIFICATION.pack(self.type, self.protocol, self.port) + self.data


def parse_identification(body: bytes) -> Identification:
    """Raises IsakmpMalformed."""
    _need("an ID payload", 5, body)
    type_, protocol, port = _IDENTIFICATION.unpack_from(body)
    return Identification(type_, body[4:], protocol, port)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The body of a CERT payload, or of a CR payload, whose data is the authority's name or empty."""

    encoding: int
    data: bytes

    def build(self) -> bytes:
        """1 byte and the data."""
        return bytes((self.encoding,)) + self.data


def parse_certificate(body: bytes) -> Certificate:
    """Raises IsakmpMalformed."""
    _need("a certificate payload", 1, body)
    return Certificate(body[0], body[1:])


@dataclass(frozen=True, slots=True)
class Notification:
    """The body of an N payload; `type` is a plain number, because unknown ones come too."""

    type: int
    protocol: int = Protocol.ISAKMP
    spi: bytes = b""
    data: bytes = b""
    doi: int = IPSEC_DOI

    def build(self) -> bytes:
        """8 bytes, the SPI and the data."""
        return _NOTIFICATION.pack(self.doi, self.protocol, len(self.spi), self.type) + self.spi + self.data


def parse_notification(body: bytes) -> Notification:
    """Raises IsakmpMalformed."""
    _need("a notification", 8, body)
    doi, protocol, spi_size, type_ = _NOTIFICATION.unpack_from(body)
    _need("a notification with its SPI", 8 + spi_size, body)
    return Notification(type_, protocol, body[8 : 8 + spi_size], body[8 + spi_size :], doi)


@dataclass(frozen=True, slots=True)
class Delete:
    """The body of a D payload: SPIs of one protocol, all of one size."""

    protocol: int
    spis: tuple[bytes, ...]
    doi: int = IPSEC_DOI

    def build(self) -> bytes:
        """8 bytes and the SPIs."""
        size = len(self.spis[0]) if self.spis else 0
        return _NOTIFICATION.pack(self.doi, self.protocol, size, len(self.spis)) + b"".join(self.spis)


def parse_delete(body: bytes) -> Delete:
    """Raises IsakmpMalformed."""
    _need("a delete", 8, body)
    doi, protocol, size, count = _NOTIFICATION.unpack_from(body)
    if not size or not count or len(body) != 8 + size * count:
        raise _malformed(f"a delete says {count} SPIs of {size} bytes and has {len(body) - 8}")
    return Delete(protocol, tuple(body[at : at + size] for at in range(8, len(body), size)), doi)


@dataclass(frozen=True, slots=True)
class OriginalAddress:
    """The body of a NAT-OA payload: an address of 4 or 16 bytes (RFC 3947 section 5.2)."""

    address: bytes

    def build(self) -> bytes:
        """The type, three zero bytes and the address."""
        type_ = IdentificationType.IPV4_ADDRESS if len(self.address) == 4 else IdentificationType.IPV6_ADDRESS
        return bytes((type_, 0, 0, 0)) + self.address


def parse_original_address(body: bytes) -> OriginalAddress:
    """Raises IsakmpMalformed."""
    _need("a NAT-OA payload", 8, body)
    original = OriginalAddress(body[4:])
    if len(body) not in (8, 20) or original.build() != body:
        raise _malformed(f"a NAT-OA payload needs type 1 or 5 with its address, {body[:4].hex()} and more came")
    return original


@dataclass(frozen=True, slots=True)
class Fragment:
    """The body of an IKE fragment: a part of one message, numbered from 1 (digest ikev1.md section 12)."""

    id: int
    number: int
    last: bool
    data: bytes

    def build(self) -> bytes:
        """4 bytes and the data."""
        return _FRAGMENT.pack(self.id, self.number, self.last) + self.data


def parse_fragment(body: bytes) -> Fragment:
    """Raises IsakmpMalformed."""
    _need("a fragment", 5, body)
    id_, number, flags = _FRAGMENT.unpack_from(body)
    if not number or flags > 1:
        raise _malformed(f"a fragment needs a number from 1 and flags 0 or 1, {number} and {flags} came")
    return Fragment(id_, number, bool(flags), body[4:])


def _need(what: str, length: int, body: bytes) -> None:
    if len(body) < length:
        raise _malformed(f"{what} needs {length} bytes, {len(body)} came")


def _malformed(detail: str) -> IsakmpMalformed:
    return IsakmpMalformed(NotifyType.PAYLOAD_MALFORMED, detail)
