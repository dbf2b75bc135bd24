"""The send path: the host has framed and padded the packet; the card writes IV, ciphertext and ICV.

The division of labour is N-TX-9: the length of the frame does not change, every header is the host's, the UDP
checksum is nobody's. No offsets are passed; the card finds where encryption starts from the row (N-TX-6). From the
inside out: a transport portion before the tunnel portion around it, and in each ESP before the AH that covers it.

Called by card/device.py. Uses rows.py, wire/packet.py, ipsec/ah.py and ipsec/transforms.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nicsim.boundary import UdpType
from nicsim.card.rows import LoadedSa, Rows
from nicsim.errors import EspSyntaxError, Malformed
from nicsim.ipsec import ah
from nicsim.reasons import Reason
from nicsim.wire.esp import (
    ESP_HEADER_LENGTH,
    NON_IKE_MARKER,
    PROTOCOL_AH,
    PROTOCOL_ESP,
    PROTOCOL_UDP,
    spi_and_sequence,
)
from nicsim.wire.packet import LinkType, Packet, parse_frame

IvSource = Callable[[int], bytes]
"""Gives as many fresh bytes as it is asked for: random in use, counted in tests, the captured ones in a replay."""
AH_SPI_OFFSET = 4


def send(
    rows: Rows, frame: bytes, link_type: int, slot: int, iv_source: IvSource, tunnel_slot: int | None = None
) -> tuple[bytes, Reason]:
    """Seal one framed packet with the association in `slot`: the frame for the wire, or the old one and a reason.

    With a tunnel portion around it, `tunnel_slot` has that one's association (N-TX-1, N-V2-14).
    """
    association = rows.outbound.get(slot)
    if association is None:
        return frame, Reason.UNKNOWN_SEND_HANDLE
    if tunnel_slot is None:
        return seal_portion(rows, frame, link_type, association, iv_source)
    tunnel = rows.outbound.get(tunnel_slot)
    if tunnel is None:
        return frame, Reason.UNKNOWN_SEND_HANDLE
    return seal_both(rows, frame, link_type, association, tunnel, iv_source)


def seal_both(
    rows: Rows, frame: bytes, link_type: int, association: LoadedSa, tunnel: LoadedSa, iv_source: IvSource
) -> tuple[bytes, Reason]:
    """Seal the transport portion, which is the tunnel portion's payload, then the tunnel portion."""
    place = locate(rows, frame, link_type, tunnel)
    if isinstance(place, Reason):
        return frame, place
    inside, reason = seal_portion(rows, frame[place.body : place.body_end], LinkType.RAW, association, iv_source)
    if reason is not Reason.SEALED:
        return frame, reason
    return seal_portion(rows, frame[: place.body] + inside + frame[place.body_end :], link_type, tunnel, iv_source)


def seal_portion(
    rows: Rows, frame: bytes, link_type: int, association: LoadedSa, iv_source: IvSource
) -> tuple[bytes, Reason]:
    """Seal one portion: ESP, then AH around it, or one of them (N-SA-9)."""
    place = locate(rows, frame, link_type, association)
    if isinstance(place, Reason):
        return frame, place
    if place.esp is not None:
        head = frame[place.body - ESP_HEADER_LENGTH - place.esp.iv_length : place.body - place.esp.iv_length]
        iv = iv_source(place.esp.iv_length)
        body = frame[place.body : place.body_end]
        sealed = place.esp.transform.seal(head, body, iv, place.esp.sequence_high)
        frame = frame[: place.body - len(iv) - ESP_HEADER_LENGTH] + sealed + frame[place.end :]
    if place.ah is not None:
        start, high = place.packet.payload, place.ah.sequence_high
        icv = ah.seal(place.ah.transform, frame, place.packet.network, start, place.end, high)
        icv_at = start + ah.AH_FIXED_LENGTH
        frame = frame[:icv_at] + icv + frame[icv_at + len(icv) :]
    return frame, Reason.SEALED


# --- where things are -----------------------------------------------------------------------------------------


@dataclass(slots=True)  # made for every frame: not frozen, because freezing triples the cost of making one
class Place:
    """Where a portion is in a frame, and the rows for its layers."""

    packet: Packet
    esp: LoadedSa | None
    ah: LoadedSa | None
    body: int
    """Where the payload of the innermost layer begins: behind the IV, or behind AH."""
    body_end: int
    end: int
    """Where the ICV of ESP ends, and with it the packet."""


def locate(rows: Rows, frame: bytes, link_type: int, association: LoadedSa) -> Place | Reason:
    """The portion that an association's rows describe, or why the frame does not have it (N-TX-4, N-TX-6)."""
    try:
        packet = parse_frame(frame, link_type)
        if packet.is_fragment:
            return Reason.SEND_FRAGMENT
        row = association.row
        if row.protocol == PROTOCOL_AH:
            body = behind_ah(frame, packet, association)
            return Place(packet, None, association, body, packet.end, packet.end)
        covering = rows.outbound.get(row.then_slot - 1)
        if covering is None:
            esp, end = locate_esp(packet, association, frame)
        else:
            esp, end = behind_ah(frame, packet, covering), packet.end
            if frame[packet.payload] != PROTOCOL_ESP:
                return Reason.BAD_SEND_FRAME
    except (Malformed, EspSyntaxError):
        return Reason.BAD_SEND_FRAME
    body, body_end = esp + ESP_HEADER_LENGTH + association.iv_length, end - association.icv_length
    if not is_framed(frame, esp, body_end - body, association):
        return Reason.BAD_SEND_FRAME
    return Place(packet, association, covering, body, body_end, end)


def behind_ah(frame: bytes, packet: Packet, association: LoadedSa) -> int:
    """Where AH ends that the host framed for this row. Raises Malformed or EspSyntaxError where it did not."""
    if packet.protocol != PROTOCOL_AH:
        raise Malformed(f"the association needs AH, protocol {packet.protocol} came")
    length = ah.header_length(association.transform, frame, packet.payload, packet.end)
    if spi_and_sequence(frame, packet.payload + AH_SPI_OFFSET)[0] != association.row.spi:
        raise Malformed("AH has the SPI of another association")
    return packet.payload + length


def locate_esp(packet: Packet, association: LoadedSa, frame: bytes) -> tuple[int, int]:
    """Where the ESP packet that the row describes begins and ends; (0, 0) where there is none."""
    if association.row.udp_type == UdpType.NATIVE:
        return (packet.payload, packet.end) if packet.protocol == PROTOCOL_ESP else (0, 0)
    if packet.protocol != PROTOCOL_UDP:
        return 0, 0
    if association.row.udp_type == UdpType.OTHER:
        return packet.udp_payload, packet.udp_end
    marked = frame.startswith(NON_IKE_MARKER, packet.udp_payload)
    return (packet.udp_payload + len(NON_IKE_MARKER), packet.udp_end) if marked else (0, 0)


def is_framed(frame: bytes, esp: int, body_length: int, association: LoadedSa) -> bool:
    """Whether SPI and padding are as the row demands, and there is room for IV and ICV (N-TX-4)."""
    block = association.transform.keys.encryption.block
    if esp == 0 or body_length <= 0 or body_length % block:
        return False
    return spi_and_sequence(frame, esp)[0] == association.row.spi
