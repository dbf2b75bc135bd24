"""Where the ESP packet of an association row is in a frame, for what spoils its octets."""

from __future__ import annotations

from dataclasses import dataclass

from nicsim.boundary import Card, Row, RowStatus, SaRow, Table, UdpType
from nicsim.card.impairments.passing import PassingCard
from nicsim.card.rows import transform_of
from nicsim.errors import Malformed
from nicsim.wire.esp import ESP_HEADER_LENGTH, NON_IKE_MARKER, PROTOCOL_ESP, PROTOCOL_UDP
from nicsim.wire.packet import Packet, parse_frame


@dataclass(frozen=True, slots=True)
class Place:
    """Where the ESP packet of a row is in a frame: its SPI, what is encrypted, and the end behind its ICV."""

    packet: Packet
    esp: int
    body: int
    body_end: int
    end: int


def place_of(row: SaRow, frame: bytes, link_type: int) -> Place | None:
    """The place of the row's packet; None where there is none, or another protocol's."""
    try:
        packet = parse_frame(frame, link_type)
    except Malformed:
        return None
    if row.protocol != PROTOCOL_ESP or packet.protocol != (PROTOCOL_UDP if row.udp_type else PROTOCOL_ESP):
        return None
    esp, end = (packet.udp_payload, packet.udp_end) if row.udp_type else (packet.payload, packet.end)
    if row.udp_type == UdpType.IKE:
        esp += len(NON_IKE_MARKER)
    body = esp + ESP_HEADER_LENGTH + transform_of(row).keys.encryption.iv_length
    return Place(packet, esp, body, end - row.icv_length, end)


class RowsKnown(PassingCard):
    """Remembers the rows of one table, as they are written."""

    table: Table

    def __init__(self, below: Card, number: int, link_type: int) -> None:
        super().__init__(below, number, link_type)
        self._rows: dict[int, SaRow] = {}

    def learn(self, table: Table, slot: int, row: Row) -> None:
        """Remember it."""
        if table is self.table and isinstance(row, SaRow):
            self._rows[slot] = row

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Program one row."""
        self.learn(table, slot, row)
        return self._below.write_row(table, slot, row)


def flipped(data: bytes, at: int) -> bytes:
    """The same bytes with one bit of one of them changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
