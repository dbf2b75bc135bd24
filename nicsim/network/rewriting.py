"""Changing what a packet says of its ends without parsing it again: addresses, ports, TTL, and the checksums over them.

Checksums are mended incrementally (RFC 1624), as a NAT does it: one that was wrong stays wrong, a UDP checksum of zero
stays zero. For routers and NATs.
"""

from __future__ import annotations

from nicsim.events import Endpoint
from nicsim.wire.checksum import adjusted_checksum, internet_checksum
from nicsim.wire.esp import PROTOCOL_UDP
from nicsim.wire.icmp import ICMP_HEADER_LENGTH, PROTOCOL_ICMP, Quoted
from nicsim.wire.packet import Packet

PROTOCOL_TCP = 6
CHECKSUM_AT = {PROTOCOL_TCP: 16, PROTOCOL_UDP: 6}
"""Where the checksum is in the headers that have ports; it covers the addresses too."""
_TTL_AT, _IPV4_CHECKSUM_AT, _HOP_LIMIT_AT = 8, 10, 7
_SRC_AT, _DST_AT = 12, 16
_ICMP_CHECKSUM_AT, _ICMP_IDENTIFIER_AT = 2, 4


def one_hop_on(packet: bytes) -> bytes:
    """The packet with its TTL or hop limit lowered by one, and the IPv4 header checksum with it."""
    changed = bytearray(packet)
    if packet[0] >> 4 == 4:
        changed[_TTL_AT] -= 1
        _mend(changed, _IPV4_CHECKSUM_AT, packet[_TTL_AT : _TTL_AT + 2], bytes(changed[_TTL_AT : _TTL_AT + 2]))
    else:
        changed[_HOP_LIMIT_AT] -= 1
    return bytes(changed)


def with_ends(data: bytes, packet: Packet, src: Endpoint | None = None, dst: Endpoint | None = None) -> bytes:
    """The IPv4 packet `data`, described by `packet`, with another source or destination or both.

    Ports change where the packet has some: in UDP, TCP and ICMP echo, and not in a later fragment.
    """
    changed = bytearray(data)
    later = bool(packet.fragment_offset)
    for end, at, port_at in ((src, _SRC_AT, 0), (dst, _DST_AT, 2)):
        if end is not None:
            _rewrite(changed, 0, packet.payload, len(data), None if later else packet.protocol, end, at, port_at)
    return bytes(changed)


def _rewrite(
    changed: bytearray, start: int, payload: int, limit: int, protocol: int | None, end: Endpoint, at: int, port_at: int
) -> None:
    """Put `end` into the IP packet at `start`, whose address of that end is at `at` and whose port at `port_at`.

    Only what lies before `limit` is there; `protocol` is None where there are no ports to change.
    """
    address_at = start + at
    old, new = bytes(changed[address_at : address_at + 4]), end.address
    changed[address_at : address_at + 4] = new
    _mend(changed, start + _IPV4_CHECKSUM_AT, old, new)
    if protocol in CHECKSUM_AT and payload + 4 <= limit:
        port = slice(payload + port_at, payload + port_at + 2)
        old, new = old + bytes(changed[port]), new + end.port.to_bytes(2, "big")
        changed[port] = end.port.to_bytes(2, "big")
        checksum_at = payload + CHECKSUM_AT[protocol]
        if checksum_at + 2 <= limit:
            _mend(changed, checksum_at, old, new, zero_is_none=protocol == PROTOCOL_UDP)
    elif protocol == PROTOCOL_ICMP and payload + ICMP_HEADER_LENGTH <= limit:
        identifier = slice(payload + _ICMP_IDENTIFIER_AT, payload + _ICMP_IDENTIFIER_AT + 2)
        old, new = bytes(changed[identifier]), end.port.to_bytes(2, "big")
        changed[identifier] = new
        _mend(changed, payload + _ICMP_CHECKSUM_AT, old, new)


def with_quoted_end(data: bytes, packet: Packet, quoted: Quoted, end: Endpoint, *, is_source: bool) -> bytes:
    """The ICMP error `data` with another end in the packet it quotes; its own addresses are not touched."""
    changed = bytearray(data)
    protocol = quoted.protocol if quoted.src_port >= 0 or quoted.protocol == PROTOCOL_ICMP else None
    at, port_at = (_SRC_AT, 0) if is_source else (_DST_AT, 2)
    _rewrite(changed, quoted.start, quoted.payload, packet.end, protocol, end, at, port_at)
    checksum = slice(packet.payload + _ICMP_CHECKSUM_AT, packet.payload + _ICMP_CHECKSUM_AT + 2)
    changed[checksum] = b"\0\0"
    changed[checksum] = internet_checksum(bytes(changed[packet.payload : packet.end])).to_bytes(2, "big")
    return bytes(changed)


def _mend(changed: bytearray, at: int, old: bytes, new: bytes, *, zero_is_none: bool = False) -> None:
    checksum = int.from_bytes(changed[at : at + 2], "big")
    if zero_is_none and not checksum:
        return
    adjusted = adjusted_checksum(checksum, old, new)
    changed[at : at + 2] = (adjusted or (0xFFFF if zero_is_none else 0)).to_bytes(2, "big")
