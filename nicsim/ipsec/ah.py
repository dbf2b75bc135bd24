"""AH over IP packets (RFC 4302, and RFC 2402 before it), both directions: what the ICV covers, check and seal.

AH signs the whole packet around it, so everything that a router may change on the way counts as zero. Read
`covered` next to RFC 4302 section 3.3.3.1: IPv4 header and options, IPv6 header and extension headers. AH has no mode
of its own here: transport or tunnel, the signed packet is the one whose IP header lies directly in front.

Called by the card with the offsets of its own parse; keys and hashes are those of a `Transform` with null encryption.
All offsets are bytes into the caller's buffer, all integers on the wire are big-endian.
"""

from __future__ import annotations

import hmac

from nicsim.errors import EspSyntaxError, IntegrityError
from nicsim.ipsec.transforms import Transform

AH_FIXED_LENGTH = 12
"""Next header, payload length, reserved, SPI and sequence number; the ICV follows."""

_IPV4_HEADER, _IPV6_HEADER = 20, 40
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS = 0, 43, 44, 60
_EXTENSION_HEADER_MIN = 8
_ADDRESS = 16

_END_OF_LIST, _NO_OPERATION = 0, 1
_LOOSE_SOURCE_ROUTE, _STRICT_SOURCE_ROUTE = 131, 137
# RFC 4302 appendix A1, by option number: the low five bits of the type. All others count as zero.
_COVERED_OPTIONS = frozenset({0, 1, 2, 5, 6, 20, 21})
_OPTION_NUMBER = 0x1F
# An IPv6 option with this bit in its type may change on the way (RFC 8200 section 4.2).
_MAY_CHANGE = 0x20
_PAD1 = 0


def header_length(transform: Transform, buffer: bytes, ah: int, end: int) -> int:
    """The length of the AH header at `ah` by its own length field: room for the ICV, and inside the packet.

    More than the ICV needs is padding, which the ICV covers. Raises EspSyntaxError.
    """
    needed = AH_FIXED_LENGTH + transform.keys.icv_length
    if end - ah < needed:
        raise EspSyntaxError(f"AH needs {needed} bytes, {end - ah} came")
    length = (buffer[ah + 1] + 2) * 4
    if not needed <= length <= end - ah:
        raise EspSyntaxError(f"AH of {length} bytes by its length field needs {needed} to {end - ah}")
    return length


def check(
    transform: Transform, buffer: bytes, network: int, ah: int, end: int, sequence_high: int | None = None
) -> None:
    """Check the ICV of the packet whose IP header is at `network`, whose AH at `ah`, and which ends at `end`.

    `sequence_high` is the high half of an extended sequence number, None for 32-bit numbers. Raises EspSyntaxError
    when lengths cannot be right and IntegrityError when the ICV is wrong.
    """
    icv_at = ah + AH_FIXED_LENGTH
    expected = seal(transform, buffer, network, ah, end, sequence_high)
    if not hmac.compare_digest(expected, buffer[icv_at : icv_at + len(expected)]):
        raise IntegrityError(f"AH {transform.keys.integrity.value}: the ICV does not match the packet")


def seal(
    transform: Transform, buffer: bytes, network: int, ah: int, end: int, sequence_high: int | None = None
) -> bytes:
    """The ICV of a packet that is framed already, arguments as for `check`; what lies in its place does not matter."""
    header_length(transform, buffer, ah, end)
    packet = covered(buffer, network, ah, end)
    icv_at = ah - network + AH_FIXED_LENGTH
    packet[icv_at : icv_at + transform.keys.icv_length] = bytes(transform.keys.icv_length)
    return transform.sign(packet, sequence_high)


def covered(buffer: bytes, network: int, ah: int, end: int) -> bytearray:
    """The packet as the ICV covers it, but for the ICV itself: as it arrives, with what may change set to zero."""
    packet = bytearray(buffer[network:end])
    if packet[0] >> 4 == 4:
        _cover_ipv4(packet)
    else:
        _cover_ipv6(packet, ah - network)
    return packet


def _cover_ipv4(packet: bytearray) -> None:
    """RFC 4302 section 3.3.3.1.1: TOS, flags, fragment offset, TTL and checksum count as zero."""
    packet[1] = 0
    packet[6:9] = bytes(3)
    packet[10:12] = bytes(2)
    at, end = _IPV4_HEADER, (packet[0] & 0xF) * 4
    while at < end:
        kind = packet[at]
        if kind == _END_OF_LIST:
            return  # what follows is padding, covered as it is
        if kind == _NO_OPERATION:
            at += 1
            continue
        length = packet[at + 1] if at + 1 < end else 0
        if not 2 <= length <= end - at:
            raise EspSyntaxError(f"IPv4 option {kind} has length {length}, {end - at} left")
        if kind in (_LOOSE_SOURCE_ROUTE, _STRICT_SOURCE_ROUTE):
            _to_final_destination(packet, at, length)
        if kind & _OPTION_NUMBER not in _COVERED_OPTIONS:
            packet[at : at + length] = bytes(length)
        at += length


def _to_final_destination(packet: bytearray, at: int, length: int) -> None:
    """A source route that is not at its end: the destination counts as the last address of the route."""
    if length >= 7 and packet[at + 2] <= length:
        packet[16:20] = packet[at + length - 4 : at + length]


def _cover_ipv6(packet: bytearray, ah: int) -> None:
    """RFC 4302 section 3.3.3.1.2: traffic class, flow label and hop limit count as zero; then what stands before AH."""
    packet[0:4] = b"\x60\0\0\0"
    packet[7] = 0
    number, at = packet[6], _IPV6_HEADER
    while at < ah:
        length = _EXTENSION_HEADER_MIN if number == _FRAGMENT else (packet[at + 1] + 1) * 8
        if length > ah - at:
            raise EspSyntaxError(f"IPv6 extension header {number} has {length} bytes, {ah - at} left before AH")
        if number in (_HOP_BY_HOP, _DESTINATION_OPTIONS):
            _cover_options(packet, at + 2, at + length)
        elif number == _ROUTING:
            _arrive(packet, at, length)
        number, at = packet[at], at + length


def _cover_options(packet: bytearray, at: int, end: int) -> None:
    """The data of an option that may change counts as zero; its type and its length stay."""
    while at < end:
        kind = packet[at]
        if kind == _PAD1:
            at += 1
            continue
        length = packet[at + 1] if at + 1 < end else end
        if length > end - at - 2:
            raise EspSyntaxError(f"IPv6 option {kind} has length {length}, {max(end - at - 2, 0)} left")
        if kind & _MAY_CHANGE:
            packet[at + 2 : at + 2 + length] = bytes(length)
        at += 2 + length


def _arrive(packet: bytearray, at: int, length: int) -> None:
    """A routing header of type 0: addresses and segments left as they are at the final destination."""
    if packet[at + 2] != 0:
        return
    count, left = (length - 8) // _ADDRESS, packet[at + 3]
    if left > count:
        raise EspSyntaxError(f"routing header of {count} addresses has {left} segments left")
    for visited in range(count - left, count):
        place = slice(at + 8 + visited * _ADDRESS, at + 8 + (visited + 1) * _ADDRESS)
        packet[24:40], packet[place] = packet[place], packet[24:40]
    packet[at + 3] = 0
