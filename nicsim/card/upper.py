"""What a packet carries behind all tunnel and IPsec headers: TCP, UDP or something else.

On its way up a packet is found through the card's own descriptor: what was opened lies in the clear where it lay
encrypted (N-RX-8). Where nothing was opened, whatever ESP there is hides the rest.

Used by checksums.py and splitting.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from nicsim.boundary import Descriptor
from nicsim.wire.esp import PROTOCOL_AH, PROTOCOL_UDP
from nicsim.wire.packet import LinkType, Packet, parse_frame

PROTOCOL_TCP = 6
TUNNELLED = {4: LinkType.IPV4, 41: LinkType.IPV6}
TRAILER_LENGTH = 2
TCP_HEADER_LENGTH, UDP_HEADER_LENGTH = 20, 8
TCP_DATA_OFFSET = 12


@dataclass(frozen=True, slots=True)
class Upper:
    """The upper protocol and its place; offsets count from the start of the frame."""

    protocol: int
    begin: int
    end: int
    has_options: bool
    """An IP header on the way there has options or extension headers."""

    def header_length(self, frame: bytes) -> int:
        """Of TCP or UDP, with TCP's options; 0 for any other protocol, and for a header that does not fit."""
        length = 0
        if self.protocol == PROTOCOL_UDP:
            length = UDP_HEADER_LENGTH
        elif self.protocol == PROTOCOL_TCP and self.end - self.begin >= TCP_HEADER_LENGTH:
            length = max(TCP_HEADER_LENGTH, (frame[self.begin + TCP_DATA_OFFSET] >> 4) * 4)
        return length if length <= self.end - self.begin else 0


def extent(packet: Packet) -> tuple[int, int]:
    """Where the upper protocol's packet begins and ends: UDP by its own length."""
    return packet.payload, packet.udp_end if packet.protocol == PROTOCOL_UDP else packet.end


def received_upper(frame: bytes, packet: Packet, descriptor: Descriptor) -> tuple[Upper, Packet | None]:
    """What a received frame carries; and the IP packet inside a tunnel, where that is what carries it.

    Raises Malformed for a tunnel of nonsense.
    """
    begin, end = descriptor.payload_offset, descriptor.payload_end
    protocol = packet.protocol
    if begin:
        protocol, end = frame[end - 1], end - TRAILER_LENGTH - frame[end - 2]
    elif protocol == PROTOCOL_AH and descriptor.crypto_done and not descriptor.crypto_status:
        protocol = frame[packet.payload]
        begin, end = packet.payload + (frame[packet.payload + 1] + 2) * 4, packet.end
    else:
        begin, end = extent(packet)
    if protocol not in TUNNELLED:
        return Upper(protocol, begin, end, packet.options), None
    inner = parse_frame(frame[begin:end], TUNNELLED[protocol])
    inner_begin, inner_end = extent(inner)
    upper = Upper(inner.protocol, begin + inner_begin, begin + inner_end, packet.options or inner.options)
    return upper, inner
