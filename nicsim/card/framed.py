"""What the host framed: where the layers of a portion are in a frame to send, by the rows of its association.

No offsets are passed; the card finds where encryption starts from the row (N-TX-6). `locate` answers for a packet that
is framed whole, `find_headers` for one whose ESP trailer is still to come (segmentation.py).

Called by send.py, segmentation.py and checksums.py. Uses rows.py, wire/packet.py and ipsec/ah.py.
"""

from __future__ import annotations

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
from nicsim.wire.packet import Packet, parse_frame

AH_SPI_OFFSET = 4


@dataclass(slots=True)  # made for every frame: not frozen, because freezing triples the cost of making one
class Headers:
    """The layers of a portion: their rows, and where their headers end. Offsets count from the start of the frame."""

    packet: Packet
    esp: LoadedSa | None
    ah: LoadedSa | None
    body: int
    """Where the payload of the innermost layer begins: behind the IV, or behind AH."""
    end: int
    """Where the portion ends: behind the ICV of ESP where one is framed."""

    @property
    def esp_header(self) -> int:
        """Where the SPI of ESP is; there must be ESP."""
        assert self.esp is not None
        return self.body - self.esp.iv_length - ESP_HEADER_LENGTH


@dataclass(slots=True)  # see Headers
class Place(Headers):
    """A portion that is framed whole, and the halves of its sequence numbers that are not on the wire."""

    body_end: int
    esp_sequence_high: int | None = None
    ah_sequence_high: int | None = None


def locate(rows: Rows, frame: bytes, link_type: int, association: LoadedSa) -> Place | Reason:
    """The portion that an association's rows describe, or why the frame does not have it (N-TX-4, N-TX-6)."""
    try:
        packet = parse_frame(frame, link_type)
        if packet.is_fragment:
            return Reason.SEND_FRAGMENT
        found = find_headers(rows, frame, packet, association)
    except (Malformed, EspSyntaxError):
        return Reason.BAD_SEND_FRAME
    esp, covering = found.esp, found.ah
    if esp is None:
        high = covering.sequence_high if covering else None
        return Place(packet, None, covering, found.body, found.end, found.end, None, high)
    body_end = found.end - esp.icv_length
    if body_end <= found.body or (body_end - found.body) % esp.transform.keys.encryption.block:
        return Reason.BAD_SEND_FRAME
    high = covering.sequence_high if covering else None
    return Place(packet, esp, covering, found.body, found.end, body_end, esp.sequence_high, high)


def find_headers(rows: Rows, frame: bytes, packet: Packet, association: LoadedSa) -> Headers:
    """The headers that the host framed for an association's rows, with their SPIs.

    Raises Malformed or EspSyntaxError where the frame does not have them.
    """
    row = association.row
    if row.protocol == PROTOCOL_AH:
        return Headers(packet, None, association, behind_ah(frame, packet, association), packet.end)
    covering = rows.outbound.get(row.then_slot - 1)
    if covering is None:
        esp, end = locate_esp(packet, association, frame)
    else:
        esp, end = behind_ah(frame, packet, covering), packet.end
        if frame[packet.payload] != PROTOCOL_ESP:
            raise Malformed(f"the association needs ESP behind AH, protocol {frame[packet.payload]} came")
    body = esp + ESP_HEADER_LENGTH + association.iv_length
    if body > end:
        raise Malformed(f"ESP needs {body - esp} bytes for header and IV, {end - esp} came")
    if spi_and_sequence(frame, esp)[0] != row.spi:
        raise Malformed("ESP has the SPI of another association")
    return Headers(packet, association, covering, body, end)


def behind_ah(frame: bytes, packet: Packet, association: LoadedSa) -> int:
    """Where AH ends that the host framed for this row. Raises Malformed or EspSyntaxError where it did not."""
    if packet.protocol != PROTOCOL_AH:
        raise Malformed(f"the association needs AH, protocol {packet.protocol} came")
    length = ah.header_length(association.transform, frame, packet.payload, packet.end)
    if spi_and_sequence(frame, packet.payload + AH_SPI_OFFSET)[0] != association.row.spi:
        raise Malformed("AH has the SPI of another association")
    return packet.payload + length


def locate_esp(packet: Packet, association: LoadedSa, frame: bytes) -> tuple[int, int]:
    """Where the ESP packet that the row describes begins and ends. Raises Malformed where there is none."""
    udp_type = association.row.udp_type
    expected = PROTOCOL_ESP if udp_type == UdpType.NATIVE else PROTOCOL_UDP
    if packet.protocol != expected:
        raise Malformed(f"the association needs protocol {expected}, {packet.protocol} came")
    if udp_type == UdpType.NATIVE:
        return packet.payload, packet.end
    if udp_type == UdpType.OTHER:
        return packet.udp_payload, packet.udp_end
    if not frame.startswith(NON_IKE_MARKER, packet.udp_payload, packet.udp_end):
        raise Malformed("the association needs the 8 zero bytes of the non-IKE marker, they are not there")
    return packet.udp_payload + len(NON_IKE_MARKER), packet.udp_end
