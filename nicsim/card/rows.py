"""The card's tables: fixed numbers of slots, rows written into them, and the ways to find a row again.

A row is plain data (boundary/card.py). What the card needs beside it to run fast - cipher contexts, the look-up by SPI,
the look-up by port - is made when the row is written and is nobody else's business.

Called by card/device.py; read by receive.py and send.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from nicsim.boundary import (
    AddressRow,
    CardControl,
    EspAuthenticator,
    EspCipher,
    ParserRow,
    Row,
    RowStatus,
    SaRow,
    Table,
)
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys, Transform
from nicsim.wire.esp import PROTOCOL_ESP
from nicsim.wire.packet import Packet

Key = TypeVar("Key")
Value = TypeVar("Value")

CIPHERS = {
    EspCipher.NULL: Encryption.NULL,
    EspCipher.DES_CBC: Encryption.DES_CBC,
    EspCipher.TRIPLE_DES_CBC: Encryption.TRIPLE_DES_CBC,
    EspCipher.AES_CBC: Encryption.AES_CBC,
}
GCM_BY_ICV_LENGTH = {8: Encryption.AES_GCM_8, 12: Encryption.AES_GCM_12, 16: Encryption.AES_GCM_16}
AUTHENTICATORS = {
    EspAuthenticator.NONE: Integrity.NONE,
    EspAuthenticator.HMAC_MD5: Integrity.HMAC_MD5_96,
    EspAuthenticator.HMAC_SHA1: Integrity.HMAC_SHA1_96,
    EspAuthenticator.HMAC_SHA2_256: Integrity.HMAC_SHA2_256_128,
}


ROW_OF: dict[Table, type[Row]] = {
    Table.INBOUND: SaRow,
    Table.OUTBOUND: SaRow,
    Table.PARSER: ParserRow,
    Table.ADDRESS: AddressRow,
}


def transform_of(row: SaRow) -> Transform:
    """The cipher and authenticator that a row describes, with their contexts made ready."""
    cipher = EspCipher(row.cipher)
    encryption = GCM_BY_ICV_LENGTH[row.icv_length] if cipher is EspCipher.AES_GCM else CIPHERS[cipher]
    return Transform(
        SaKeys(
            encryption=encryption,
            encryption_key=row.cipher_key[: row.cipher_key_length],
            integrity=AUTHENTICATORS[EspAuthenticator(row.authenticator)],
            integrity_key=row.authenticator_key[: row.authenticator_key_length],
            salt=row.salt if encryption.is_aead else b"",
        )
    )


@dataclass(slots=True)
class SharedAddress:
    """A slot of the address table as inbound rows see it: what it holds now, as an integer; None: nothing."""

    family: int = 0
    address: int | None = None


@dataclass(slots=True)
class LoadedSa:
    """One association row in its slot, with the contexts that make it fast. Addresses and masks are integers."""

    slot: int
    row: SaRow
    transform: Transform
    iv_length: int
    icv_length: int
    sequence_high: int | None
    is_lone_esp: bool
    """ESP that neither has nor needs AH in front: most packets, so it is asked once."""
    source: int
    source_mask: int
    destination: int
    destination_mask: int
    shared: SharedAddress | None
    """Holds the destination in place of the two above, in cards whose rows share their addresses."""

    def matches(self, packet: Packet) -> bool:
        """Whether the packet passes the row's filter: a zero mask or port lets everything pass (N-SA-2, N-SA-3)."""
        row, destination = self.row, int.from_bytes(packet.dst, "big")
        if self.shared is not None:
            if destination != self.shared.address or self.shared.family != row.family:
                return False
        elif destination & self.destination_mask != self.destination:
            return False
        return (
            packet.version == row.family
            and int.from_bytes(packet.src, "big") & self.source_mask == self.source
            and row.source_port in (0, packet.src_port)
            and row.destination_port in (0, packet.dst_port)
        )


def _load(slot: int, row: SaRow, shared: SharedAddress | None = None) -> LoadedSa:
    transform = transform_of(row)
    length = 4 if row.family == 4 else 16
    source_mask = int.from_bytes(row.source_mask[:length], "big")
    destination_mask = int.from_bytes(row.destination_mask[:length], "big")
    return LoadedSa(
        slot=slot,
        row=row,
        transform=transform,
        iv_length=transform.keys.encryption.iv_length,
        icv_length=transform.keys.icv_length,
        sequence_high=row.sequence_high if row.extended else None,
        is_lone_esp=row.protocol == PROTOCOL_ESP and not row.linked,
        source=int.from_bytes(row.source_address[:length], "big") & source_mask,
        source_mask=source_mask,
        destination=int.from_bytes(row.destination_address[:length], "big") & destination_mask,
        destination_mask=destination_mask,
        shared=shared,
    )


class Rows:
    """All tables of one card, and its control register."""

    def __init__(self, inbound: int, outbound: int, parser: int, address: int = 0) -> None:
        self.capacity = {
            Table.INBOUND: inbound, Table.OUTBOUND: outbound, Table.PARSER: parser, Table.ADDRESS: address
        }  # fmt: skip
        self.inbound: dict[int, LoadedSa] = {}
        self.outbound: dict[int, LoadedSa] = {}
        self.parser: dict[int, ParserRow] = {}
        self.address: dict[int, AddressRow] = {}
        self.control = CardControl()
        self._inbound_by_spi: dict[tuple[int, int], list[LoadedSa]] = {}
        self._parser_by_port: dict[int, list[tuple[int, ParserRow]]] = {}
        self._shared: dict[int, SharedAddress] = {}

    def write(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Program one row. A slot beyond the table, or a row of the wrong table, fails."""
        if not 0 <= slot < self.capacity[table] or not isinstance(row, ROW_OF[table]):
            return RowStatus.FAILED
        if isinstance(row, SaRow) and row.address_slot > self.capacity[Table.ADDRESS]:
            return RowStatus.FAILED
        self.clear(table, slot)
        if isinstance(row, AddressRow):
            self.address[slot] = row
            address, length = self._shared_address(slot), 4 if row.family == 4 else 16
            address.family, address.address = row.family, int.from_bytes(row.address[:length], "big")
        elif isinstance(row, ParserRow):
            self.parser[slot] = row
            self._parser_by_port.setdefault(row.port, []).append((slot, row))
        elif table is Table.OUTBOUND:
            self.outbound[slot] = _load(slot, row)
        else:
            shared = self._shared_address(row.address_slot - 1) if row.address_slot else None
            loaded = self.inbound[slot] = _load(slot, row, shared)
            self._inbound_by_spi.setdefault((row.spi, row.protocol), []).append(loaded)
        return RowStatus.DONE

    def clear(self, table: Table, slot: int) -> RowStatus:
        """Clear one row; clearing an empty slot is no fault."""
        if table is Table.ADDRESS:
            if self.address.pop(slot, None) is not None:
                self._shared[slot].address = None
        elif table is Table.PARSER:
            if (row := self.parser.pop(slot, None)) is not None:
                _drop(self._parser_by_port, row.port, (slot, row))
        elif table is Table.OUTBOUND:
            self.outbound.pop(slot, None)
        elif (loaded := self.inbound.pop(slot, None)) is not None:
            _drop(self._inbound_by_spi, (loaded.row.spi, loaded.row.protocol), loaded)
        return RowStatus.DONE

    def reset(self) -> None:
        """Clear every table and the control register."""
        indexes = self._inbound_by_spi, self._parser_by_port, self._shared
        for table in (self.inbound, self.outbound, self.parser, self.address, *indexes):
            table.clear()
        self.control = CardControl()

    def _shared_address(self, slot: int) -> SharedAddress:
        """The slot of the address table that rows hold on to, filled or not."""
        return self._shared.setdefault(slot, SharedAddress())

    def written(self) -> Iterator[tuple[Table, int, Row]]:
        """Every row with its place."""
        for table, loaded_rows in ((Table.INBOUND, self.inbound), (Table.OUTBOUND, self.outbound)):
            for slot, loaded in loaded_rows.items():
                yield table, slot, loaded.row
        for slot, parser in self.parser.items():
            yield Table.PARSER, slot, parser
        for slot, address in self.address.items():
            yield Table.ADDRESS, slot, address

    def parsers_of(self, port: int) -> list[tuple[int, ParserRow]] | None:
        """The parser rows that name a UDP destination port, the oldest first, each with its slot."""
        return self._parser_by_port.get(port)

    def inbound_of(self, spi: int, protocol: int) -> list[LoadedSa] | None:
        """The inbound rows with this SPI and protocol."""
        return self._inbound_by_spi.get((spi, protocol))


def _drop(index: dict[Key, list[Value]], key: Key, value: Value) -> None:
    rows = index[key]
    rows.remove(value)
    if not rows:
        del index[key]
