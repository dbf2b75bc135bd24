"""ICMP as far as packets on their way need it: errors, with the packet they quote, and echo.

For routers and hosts. Sources: RFC 792 and RFC 1191 (fragmentation needed), RFC 1812 section 4.3.2 (what a router may
complain about, and how much it quotes), RFC 4443 (IPv6). Lengths are bytes.
"""

import struct
from dataclasses import dataclass
from enum import Enum

from nicsim.wire.checksum import internet_checksum, pseudo_header
from nicsim.wire.headers import build_ipv4, build_ipv6
from nicsim.wire.packet import IPV4_HEADER_LENGTH, IPV6_HEADER_LENGTH, Packet

PROTOCOL_ICMP = 1
PROTOCOL_ICMPV6 = 58
_TCP_AND_UDP = frozenset({6, 17})

ICMP_HEADER_LENGTH = 8
# RFC 1812 section 4.3.2.3: an error is at most 576 bytes; RFC 4443 section 2.4 (c): at most the least IPv6 MTU.
_LONGEST_ERROR = {4: 576, 6: 1280}
# Precedence "internetwork control", as RFC 1812 section 4.3.2.5 wants it.
_TOS = 0xC0
_HEADER = struct.Struct(">BBHI")  # type, code, checksum, and 4 bytes that depend on the type
_PORTS = struct.Struct(">HH").unpack_from

ECHO_REPLY, ECHO_REQUEST = 0, 8
_ERROR_TYPES = {4: frozenset({3, 4, 5, 11, 12}), 6: frozenset(range(128))}


class IcmpErrorKind(Enum):
    """What an ICMP error complains about; the value is type and code in ICMP and in ICMPv6."""

    NO_ROUTE = ((3, 0), (1, 0))
    PORT_UNREACHABLE = ((3, 3), (1, 4))
    PACKET_TOO_BIG = ((3, 4), (2, 0))
    TIME_EXCEEDED = ((11, 0), (3, 0))


_KINDS = {
    (version, numbers): kind for kind in IcmpErrorKind for version, numbers in zip((4, 6), kind.value, strict=True)
}


@dataclass(frozen=True, slots=True)
class Quoted:
    """The beginning of the packet that an error is about; its end may be missing."""

    src: bytes
    dst: bytes
    protocol: int
    # Of UDP and TCP, -1 where they were not quoted.
    src_port: int
    dst_port: int
    # As it was when the packet was dropped.
    ttl: int
    identification: int
    # Where its IP header and its payload begin, in the packet that carries the error.
    start: int
    payload: int


@dataclass(frozen=True, slots=True)
class IcmpError:
    """An ICMP error as it was received."""

    kind: IcmpErrorKind
    # The next hop's, in bytes; 0 in what is no PACKET_TOO_BIG, or where an old router does not say.
    mtu: int
    quoted: Quoted


def build_icmp_error(kind: IcmpErrorKind, src: bytes, about: bytes, *, mtu: int = 0, ttl: int = 64) -> bytes:
    """An IP packet from `src` to the sender of the IP packet `about`, which `may_complain_about` has let through."""
    version = about[0] >> 4
    numbers = kind.value[0] if version == 4 else kind.value[1]
    dst = about[12:16] if version == 4 else about[8:24]
    room = _LONGEST_ERROR[version] - ICMP_HEADER_LENGTH - (20 if version == 4 else IPV6_HEADER_LENGTH)
    message = _with_checksum(_HEADER.pack(*numbers, 0, mtu) + about[:room], src, dst)
    if version == 4:
        return build_ipv4(src, dst, PROTOCOL_ICMP, message, ttl=ttl, flags=0, tos=_TOS)
    return build_ipv6(src, dst, PROTOCOL_ICMPV6, message, hop_limit=ttl)


def _with_checksum(message: bytes, src: bytes, dst: bytes) -> bytes:
    """The message, whose checksum field is zero, with its checksum; in IPv6 it covers the addresses."""
    front = pseudo_header(src, dst, PROTOCOL_ICMPV6, len(message)) if len(src) == 16 else b""
    return message[:2] + internet_checksum(front + message).to_bytes(2, "big") + message[4:]


def may_complain_about(data: bytes, packet: Packet) -> bool:
    """No error answers an error, a later fragment, or what one address alone did not send (RFC 1812 4.3.2.7)."""
    if packet.fragment_offset or not any(packet.src) or packet.src[0] >= (0xE0 if packet.version == 4 else 0xFF):
        return False
    if packet.dst[0] >= (0xE0 if packet.version == 4 else 0xFF):
        return False
    if packet.protocol == (PROTOCOL_ICMP if packet.version == 4 else PROTOCOL_ICMPV6):
        return packet.payload < packet.end and data[packet.payload] not in _ERROR_TYPES[packet.version]
    return True


def parse_icmp_error(data: bytes, packet: Packet) -> IcmpError | None:
    """The error in the IP packet `data`, which `packet` describes; None where there is none that can be used.

    Damage shows in the checksum; a quotation without a whole IP header is of no use to anybody.
    """
    start = packet.payload + ICMP_HEADER_LENGTH
    icmp = PROTOCOL_ICMP if packet.version == 4 else PROTOCOL_ICMPV6
    if packet.protocol != icmp or packet.is_fragment or packet.end < start:
        return None
    message = data[packet.payload : packet.end]
    front = pseudo_header(packet.src, packet.dst, icmp, len(message)) if packet.version == 6 else b""
    kind = _KINDS.get((packet.version, (message[0], message[1])))
    quoted = parse_quoted(data, start, packet.end)
    if kind is None or quoted is None or internet_checksum(front + message):
        return None
    mtu = _HEADER.unpack_from(message)[3] if kind is IcmpErrorKind.PACKET_TOO_BIG else 0
    return IcmpError(kind, mtu & 0xFFFF if packet.version == 4 else mtu, quoted)


def parse_quoted(data: bytes, start: int, end: int) -> Quoted | None:
    """What an error between `start` and `end` quotes; None where not even the IP header is whole."""
    left = end - start
    if left >= IPV4_HEADER_LENGTH and data[start] >> 4 == 4:
        payload = start + (data[start] & 0xF) * 4
        if not start + IPV4_HEADER_LENGTH <= payload <= end:
            return None
        identification, flags_offset = _PORTS(data, start + 4)
        src, dst, protocol, ttl = (
            data[start + 12 : start + 16],
            data[start + 16 : start + 20],
            data[start + 9],
            start + 8,
        )
        has_ports = not flags_offset & 0x1FFF
    elif left >= IPV6_HEADER_LENGTH and data[start] >> 4 == 6:
        payload, identification, has_ports = start + IPV6_HEADER_LENGTH, 0, True
        src, dst, protocol, ttl = (
            data[start + 8 : start + 24],
            data[start + 24 : start + 40],
            data[start + 6],
            start + 7,
        )
    else:
        return None
    ports = -1, -1
    if has_ports and protocol in _TCP_AND_UDP and payload + 4 <= end:
        ports = _PORTS(data, payload)
    return Quoted(src, dst, protocol, *ports, data[ttl], identification, start, payload)


def echo_reply(data: bytes, packet: Packet) -> bytes | None:
    """The IPv4 packet that answers an echo request; None where `data` is none."""
    message = data[packet.payload : packet.end]
    if packet.protocol != PROTOCOL_ICMP or packet.is_fragment or len(message) < ICMP_HEADER_LENGTH:
        return None
    if message[0] != ECHO_REQUEST or internet_checksum(message):
        return None
    reply = _with_checksum(bytes((ECHO_REPLY, 0, 0, 0)) + message[4:], packet.dst, packet.src)
    return build_ipv4(packet.dst, packet.src, PROTOCOL_ICMP, reply, flags=0)


def build_echo_request(src: bytes, dst: bytes, identifier: int, sequence: int, data: bytes, *, flags: int = 0) -> bytes:
    """An IPv4 packet with an echo request."""
    message = _with_checksum(struct.pack(">BBHHH", ECHO_REQUEST, 0, 0, identifier, sequence) + data, src, dst)
    return build_ipv4(src, dst, PROTOCOL_ICMP, message, flags=flags)
