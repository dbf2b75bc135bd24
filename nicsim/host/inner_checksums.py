"""Checksums of TCP and UDP inside transport mode, once a NAT has changed the addresses that they cover.

The sender computed them over its own addresses; the receiver sees what the NAT made of these. RFC 3948 section 3.1.2
lets a host choose: repair with the original addresses, which the peer told in NAT-OA payloads; compute anew; or, in
UDP, say that there is none. All three are safe behind ESP's own integrity check only. The first draft has one way: the
sender says "none" in UDP, the receiver verifies neither UDP nor TCP.

Called by host/host.py after decryption.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nicsim.wire.checksum import adjusted_checksum, internet_checksum, pseudo_header
from nicsim.wire.esp import PROTOCOL_UDP
from nicsim.wire.packet import LinkType, parse_frame

PROTOCOL_TCP = 6
CHECKSUM_OFFSETS = {PROTOCOL_TCP: 16, PROTOCOL_UDP: 6}
"""Where the checksum is in the header, two bytes."""


class ChecksumRepair(Enum):
    """Which of the RFC's three ways a host takes."""

    # Subtract the original addresses, add those seen; anew where the peer did not tell its addresses.
    INCREMENTAL = "incremental"
    RECOMPUTE = "recompute"
    # Zero in UDP over IPv4; anew in TCP and over IPv6, where no packet goes without.
    NONE_IN_UDP = "none-in-udp"


@dataclass(frozen=True, slots=True)
class AddressPair:
    """Source and destination of a packet, 4 or 16 bytes each."""

    source: bytes
    destination: bytes


def repaired(
    segment: bytes, protocol: int, seen: AddressPair, original: AddressPair | None, how: ChecksumRepair
) -> bytes:
    """A TCP or UDP segment whose checksum is right for the addresses `seen`; anything else comes back as it was.

    A UDP checksum of zero, "none", stays; a computed zero is sent as FFFF (RFC 768). A segment too short for its
    checksum comes back as it was too: whoever reads it next will say so.
    """
    at = CHECKSUM_OFFSETS.get(protocol)
    if at is None or len(segment) < at + 2:
        return segment
    stored = int.from_bytes(segment[at : at + 2], "big")
    if protocol == PROTOCOL_UDP and not stored:
        return segment
    if protocol == PROTOCOL_UDP and how is ChecksumRepair.NONE_IN_UDP and len(seen.source) == 4:
        checksum = 0
    elif original is not None and how is ChecksumRepair.INCREMENTAL:
        old, new = original.source + original.destination, seen.source + seen.destination
        checksum = adjusted_checksum(stored, old, new) or _computed_zero(protocol)
    else:
        blank = segment[:at] + b"\0\0" + segment[at + 2 :]
        covered = pseudo_header(seen.source, seen.destination, protocol, len(segment)) + blank
        checksum = internet_checksum(covered) or _computed_zero(protocol)
    return segment[:at] + checksum.to_bytes(2, "big") + segment[at + 2 :]


def without_udp_checksum(ip_packet: bytes) -> bytes:
    """A UDP packet over IPv4 with the checksum that says "none"; any other packet as it is (HUT-01, digest section 9).

    Raises Malformed for what is no IP packet.
    """
    packet = parse_frame(ip_packet, LinkType.RAW)
    at = packet.payload + CHECKSUM_OFFSETS[PROTOCOL_UDP]
    if (packet.version, packet.protocol) != (4, PROTOCOL_UDP) or packet.is_fragment or at + 2 > packet.end:
        return ip_packet
    return ip_packet[:at] + b"\0\0" + ip_packet[at + 2 :]


def _computed_zero(protocol: int) -> int:
    return 0xFFFF if protocol == PROTOCOL_UDP else 0
