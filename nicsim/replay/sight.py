"""What a frame is, seen by somebody beside the wire: its direction, its kind, and the ESP packet in it.

Unlike the card, which goes by its parser entries, an observer judges by either UDP port, since a NAT moves one.
"""

from __future__ import annotations

from collections.abc import Callable

from nicsim.boundary import UdpType
from nicsim.replay.book import EspPacket
from nicsim.replay.results import Direction, Kind
from nicsim.wire.esp import (
    ESP_HEADER_LENGTH,
    IKE_PORT,
    NAT_TRAVERSAL_PORT,
    NON_IKE_MARKER,
    PROTOCOL_AH,
    PROTOCOL_ESP,
    PROTOCOL_UDP,
    Datagram,
    classify_port_500,
    classify_port_4500,
    spi_and_sequence,
)
from nicsim.wire.packet import LinkType, Packet
from nicsim.wire.pcap import FRAME_LENGTH_MAX, Frame

KINDS = {
    Datagram.ESP: Kind.UDP_ESP,
    Datagram.IKE: Kind.IKE,
    Datagram.KEEPALIVE: Kind.KEEPALIVE,
    Datagram.RUNT: Kind.OTHER,
}
IPV4_ADDRESSES_AT = 12
IPV4_ADDRESSES_END = 20
LINK_HEADERS = {LinkType.ETHERNET: 14}


class Observer:
    """Tells frames apart for one host and one SA file."""

    def __init__(self, local: bytes, ports: frozenset[int], knows: Callable[[int], bool]) -> None:
        self._local = local
        self._ports = ports | {IKE_PORT, NAT_TRAVERSAL_PORT}
        self._knows = knows

    def direction(self, packet: Packet) -> Direction:
        """Whether a packet comes to the host, leaves it, or neither."""
        if packet.dst == self._local:
            return Direction.RX
        return Direction.TX if packet.src == self._local else Direction.OTHER

    def direction_of_malformed(self, frame: bytes, link_type: int) -> Direction:
        """The same for a frame that cannot be parsed, from where its IPv4 addresses would be."""
        at = LINK_HEADERS.get(LinkType(link_type), 0)
        if at and frame[12:14] != b"\x08\x00":
            return Direction.OTHER
        addresses = frame[at + IPV4_ADDRESSES_AT : at + IPV4_ADDRESSES_END]
        if addresses[4:] == self._local:
            return Direction.RX
        return Direction.TX if addresses[:4] == self._local else Direction.OTHER

    def look(self, buffer: bytes, packet: Packet, *, inbound: bool) -> tuple[Kind, EspPacket | None]:
        """The kind of a packet, and its ESP packet if it has one."""
        if packet.is_fragment:
            return Kind.FRAGMENT, None
        if packet.protocol == PROTOCOL_UDP:
            return self._look_into_udp(buffer, packet, inbound)
        if packet.protocol == PROTOCOL_ESP:
            if packet.end - packet.payload < ESP_HEADER_LENGTH:
                return Kind.ESP, None
            return Kind.ESP, esp_packet(buffer, packet, packet.payload, UdpType.NATIVE, inbound)
        return (Kind.AH if packet.protocol == PROTOCOL_AH else Kind.OTHER), None

    def _look_into_udp(self, buffer: bytes, packet: Packet, inbound: bool) -> tuple[Kind, EspPacket | None]:
        ports = (packet.src_port, packet.dst_port)
        if self._ports.isdisjoint(ports):
            return Kind.OTHER, None
        start, end = packet.udp_payload, packet.udp_end
        if IKE_PORT in ports and NAT_TRAVERSAL_PORT not in ports:
            datagram, esp = classify_port_500(buffer, start, end)
            udp_type = UdpType.IKE
        else:
            datagram, esp = classify_port_4500(buffer, start, end)
            udp_type = UdpType.OTHER
            if datagram is Datagram.IKE and self._is_behind_non_ike_marker(buffer, start, end):
                datagram, esp, udp_type = Datagram.ESP, start + len(NON_IKE_MARKER), UdpType.IKE
        if datagram is not Datagram.ESP:
            return KINDS[datagram], None
        return Kind.UDP_ESP, esp_packet(buffer, packet, esp, udp_type, inbound)

    def _is_behind_non_ike_marker(self, buffer: bytes, start: int, end: int) -> bool:
        """Eight zero bytes and then an SPI we know are ESP of type IKE, whatever the port (N-NAT-6)."""
        esp = start + len(NON_IKE_MARKER)
        return (
            end - esp >= ESP_HEADER_LENGTH
            and buffer[start:esp] == NON_IKE_MARKER
            and self._knows(spi_and_sequence(buffer, esp)[0])
        )


def esp_packet(buffer: bytes, packet: Packet, start: int, udp_type: UdpType, inbound: bool) -> EspPacket:
    """The ESP packet that begins at `start`."""
    native = udp_type is UdpType.NATIVE
    return EspPacket(
        buffer,
        start,
        packet.end if native else packet.udp_end,
        udp_type,
        packet.src,
        packet.dst,
        0 if native else packet.src_port,
        0 if native else packet.dst_port,
        inbound,
    )


def padded_frame(frame: Frame) -> bytes:
    """A frame that was captured only in part, with zeros for what is missing; no longer than a frame can be."""
    return frame.data.ljust(min(frame.original_length, FRAME_LENGTH_MAX), b"\0")
