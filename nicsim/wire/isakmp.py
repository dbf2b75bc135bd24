"""ISAKMP messages: the header, the chain of payloads, and the numbers of both (RFC 2408 section 3, RFC 2407).

A message parses into its header and payloads and builds again to the same bytes. The chain is read strictly: what
contradicts itself raises `IsakmpMalformed`, which says which notification tells the sender so (RFC 2408 section 5).
Inside encrypted messages the padding behind the last payload is kept apart. Bodies are bytes here; isakmp_payloads.py
reads the ones with fields. Lengths are bytes, integers big-endian, cookies 8 bytes.

Called by host/ike for each datagram, by reports and captures for display.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag

from nicsim.errors import IsakmpMalformed

COOKIE_LENGTH = 8
HEADER_LENGTH = 28
GENERIC_HEADER_LENGTH = 4
VERSION_1_0 = 0x10
# No exchange needs as many; a certificate chain and twenty vendor ids still fit.
MAX_PAYLOADS = 64

_HEADER = struct.Struct(">8s8sBBBBII")
_GENERIC = struct.Struct(">BBH")


class PayloadType(IntEnum):
    """What a payload is (digest ikev1.md section 3)."""

    NONE = 0
    SECURITY_ASSOCIATION = 1
    PROPOSAL = 2
    TRANSFORM = 3
    KEY_EXCHANGE = 4
    IDENTIFICATION = 5
    CERTIFICATE = 6
    CERTIFICATE_REQUEST = 7
    HASH = 8
    SIGNATURE = 9
    NONCE = 10
    NOTIFICATION = 11
    DELETE = 12
    VENDOR_ID = 13
    ATTRIBUTES = 14
    NAT_DISCOVERY = 20
    NAT_ORIGINAL_ADDRESS = 21
    NAT_DISCOVERY_DRAFT = 130
    NAT_ORIGINAL_ADDRESS_DRAFT = 131
    FRAGMENT = 132


# The names that RFC 2408 and RFC 3947 use in their figures.
_SHORT_NAMES: dict[int, str] = {
    PayloadType.SECURITY_ASSOCIATION: "SA",
    PayloadType.PROPOSAL: "P",
    PayloadType.TRANSFORM: "T",
    PayloadType.KEY_EXCHANGE: "KE",
    PayloadType.IDENTIFICATION: "ID",
    PayloadType.CERTIFICATE: "CERT",
    PayloadType.CERTIFICATE_REQUEST: "CR",
    PayloadType.HASH: "HASH",
    PayloadType.SIGNATURE: "SIG",
    PayloadType.NONCE: "NONCE",
    PayloadType.NOTIFICATION: "N",
    PayloadType.DELETE: "D",
    PayloadType.VENDOR_ID: "VID",
    PayloadType.ATTRIBUTES: "ATTR",
    PayloadType.NAT_DISCOVERY: "NAT-D",
    PayloadType.NAT_ORIGINAL_ADDRESS: "NAT-OA",
    PayloadType.NAT_DISCOVERY_DRAFT: "NAT-D",
    PayloadType.NAT_ORIGINAL_ADDRESS_DRAFT: "NAT-OA",
    PayloadType.FRAGMENT: "FRAGMENT",
}
# Inside the SA payload only.
_NOT_IN_A_CHAIN = (PayloadType.NONE, PayloadType.PROPOSAL, PayloadType.TRANSFORM)


class ExchangeType(IntEnum):
    """Which exchange a message belongs to."""

    MAIN = 2
    AGGRESSIVE = 4
    INFORMATIONAL = 5
    TRANSACTION = 6
    QUICK = 32


class Flags(IntFlag):
    """The flags of the header."""

    NONE = 0
    ENCRYPTION = 0x01
    COMMIT = 0x02
    AUTHENTICATION_ONLY = 0x04


_ALL_FLAGS = 0x07


class NotifyType(IntEnum):
    """What a notification says (digest ikev1.md section 9); errors are below 16384."""

    INVALID_PAYLOAD_TYPE = 1
    DOI_NOT_SUPPORTED = 2
    SITUATION_NOT_SUPPORTED = 3
    INVALID_COOKIE = 4
    INVALID_MAJOR_VERSION = 5
    INVALID_MINOR_VERSION = 6
    INVALID_EXCHANGE_TYPE = 7
    INVALID_FLAGS = 8
    INVALID_MESSAGE_ID = 9
    INVALID_PROTOCOL_ID = 10
    INVALID_SPI = 11
    INVALID_TRANSFORM_ID = 12
    ATTRIBUTES_NOT_SUPPORTED = 13
    NO_PROPOSAL_CHOSEN = 14
    BAD_PROPOSAL_SYNTAX = 15
    PAYLOAD_MALFORMED = 16
    INVALID_KEY_INFORMATION = 17
    INVALID_ID_INFORMATION = 18
    INVALID_CERT_ENCODING = 19
    INVALID_CERTIFICATE = 20
    CERT_TYPE_UNSUPPORTED = 21
    INVALID_CERT_AUTHORITY = 22
    INVALID_HASH_INFORMATION = 23
    AUTHENTICATION_FAILED = 24
    INVALID_SIGNATURE = 25
    ADDRESS_NOTIFICATION = 26
    NOTIFY_SA_LIFETIME = 27
    CERTIFICATE_UNAVAILABLE = 28
    UNSUPPORTED_EXCHANGE_TYPE = 29
    UNEQUAL_PAYLOAD_LENGTHS = 30
    CONNECTED = 16384
    RESPONDER_LIFETIME = 24576
    REPLAY_STATUS = 24577
    INITIAL_CONTACT = 24578
    R_U_THERE = 36136
    R_U_THERE_ACK = 36137


FIRST_STATUS = 16384


@dataclass(frozen=True, slots=True)
class Header:
    """The 28 bytes before the payloads; `length` is the whole message's, as the sender states it."""

    initiator_cookie: bytes
    responder_cookie: bytes
    next_payload: int
    exchange: int
    flags: int
    message_id: int
    length: int = HEADER_LENGTH
    version: int = VERSION_1_0

    def build(self) -> bytes:
        """The 28 bytes."""
        return _HEADER.pack(
            self.initiator_cookie,
            self.responder_cookie,
            self.next_payload,
            self.version,
            self.exchange,
            self.flags,
            self.message_id,
            self.length,
        )

    @property
    def encrypted(self) -> bool:
        """Whether what follows the header is ciphertext."""
        return bool(self.flags & Flags.ENCRYPTION)


@dataclass(frozen=True, slots=True)
class Payload:
    """One payload without its generic header; `type` is a plain number, because unknown ones travel too."""

    type: int
    body: bytes

    @property
    def raw(self) -> bytes:
        """With its generic header, as the last of a chain."""
        return build_chain((self,))


@dataclass(frozen=True, slots=True)
class Message:
    """A message in clear: its header and its payloads, and what an encrypted one has behind them."""

    header: Header
    payloads: tuple[Payload, ...]
    padding: bytes = b""

    def build(self) -> bytes:
        """The whole message in clear, with next payload and length as they are."""
        chain = build_chain(self.payloads) + self.padding
        first = self.payloads[0].type if self.payloads else PayloadType.NONE
        return replace(self.header, next_payload=first, length=HEADER_LENGTH + len(chain)).build() + chain


def parse_header(datagram: bytes) -> Header:
    """The header of a whole message, without a marker, whose length must be exactly what the header says.

    Raises IsakmpMalformed. The order of the checks is that of RFC 2408 section 5.2; cookies, message id and whether
    the exchange is known are for the exchange to check.
    """
    header = peek_header(datagram)
    if header is None:
        raise IsakmpMalformed(
            NotifyType.UNEQUAL_PAYLOAD_LENGTHS, f"an ISAKMP header needs {HEADER_LENGTH} bytes, {len(datagram)} came"
        )
    version, length, flags = header.version, header.length, header.flags
    if version >> 4 != VERSION_1_0 >> 4:
        raise IsakmpMalformed(NotifyType.INVALID_MAJOR_VERSION, f"major version 1 is needed, {version >> 4} came")
    if version & 0x0F:
        raise IsakmpMalformed(NotifyType.INVALID_MINOR_VERSION, f"minor version 0 is needed, {version & 0x0F} came")
    if length != len(datagram):
        raise IsakmpMalformed(
            NotifyType.UNEQUAL_PAYLOAD_LENGTHS, f"the ISAKMP length is {length}, {len(datagram)} bytes came"
        )
    if header.initiator_cookie == bytes(COOKIE_LENGTH):
        raise IsakmpMalformed(NotifyType.INVALID_COOKIE, "the initiator cookie is zero")
    if flags & ~_ALL_FLAGS:
        raise IsakmpMalformed(NotifyType.INVALID_FLAGS, f"flags 0x{flags:02x} have bits that mean nothing")
    return header


def peek_header(datagram: bytes) -> Header | None:
    """The header of anything that is long enough to have one, however wrong it is."""
    if len(datagram) < HEADER_LENGTH:
        return None
    initiator, responder, following, version, exchange, flags, message_id, length = _HEADER.unpack_from(datagram)
    return Header(initiator, responder, following, exchange, flags, message_id, length, version)


def parse_message(datagram: bytes) -> Message:
    """A message in clear, without a marker. Raises IsakmpMalformed; nothing may follow the last payload."""
    header = parse_header(datagram)
    if header.encrypted:
        raise IsakmpMalformed(NotifyType.INVALID_FLAGS, "the message is encrypted")
    payloads, rest = parse_chain(header.next_payload, datagram[HEADER_LENGTH:])
    if rest:
        raise IsakmpMalformed(
            NotifyType.UNEQUAL_PAYLOAD_LENGTHS, f"{len(rest)} bytes follow the last payload of a message in clear"
        )
    return Message(header, payloads)


def parse_chain(first: int, data: bytes) -> tuple[tuple[Payload, ...], bytes]:
    """The payloads of a chain whose first has the type `first`, and what follows the last. Raises IsakmpMalformed.

    Each payload consumes at least its own header, so a chain cannot loop; at most 64 are read.
    """
    payloads: list[Payload] = []
    offset, following = 0, first
    while following != PayloadType.NONE:
        if len(payloads) == MAX_PAYLOADS:
            raise IsakmpMalformed(NotifyType.PAYLOAD_MALFORMED, f"a message has at most {MAX_PAYLOADS} payloads")
        if following in _NOT_IN_A_CHAIN or following not in _SHORT_NAMES:
            raise IsakmpMalformed(NotifyType.INVALID_PAYLOAD_TYPE, f"no payload of type {following} may stand here")
        left = len(data) - offset
        if left < GENERIC_HEADER_LENGTH:
            raise IsakmpMalformed(
                NotifyType.PAYLOAD_MALFORMED, f"{payload_name(following)} payload needs 4 bytes, {left} left"
            )
        type_, (following, reserved, length) = following, _GENERIC.unpack_from(data, offset)
        if reserved:
            raise IsakmpMalformed(
                NotifyType.PAYLOAD_MALFORMED, f"{payload_name(type_)} payload has {reserved} in its reserved byte"
            )
        if not GENERIC_HEADER_LENGTH <= length <= left:
            raise IsakmpMalformed(
                NotifyType.PAYLOAD_MALFORMED, f"{payload_name(type_)} payload says {length} bytes, {left} left"
            )
        payloads.append(Payload(type_, data[offset + GENERIC_HEADER_LENGTH : offset + length]))
        offset += length
    return tuple(payloads), data[offset:]


def build_chain(payloads: tuple[Payload, ...]) -> bytes:
    """The payloads behind their generic headers, each naming the next."""
    types = [*(payload.type for payload in payloads[1:]), PayloadType.NONE]
    return b"".join(
        _GENERIC.pack(following, 0, GENERIC_HEADER_LENGTH + len(payload.body)) + payload.body
        for payload, following in zip(payloads, types, strict=False)
    )


def payload_name(type_: int) -> str:
    """`KE`, `NAT-D`; the number of a type we do not know."""
    return _SHORT_NAMES.get(type_, str(type_))
