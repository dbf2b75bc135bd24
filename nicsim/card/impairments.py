"""Ways in which a card misbehaves, each a thin card over a working one.

A test of a driver, of the host or of this project's own checks needs cards that fail: rows that are refused, lost or
late, keys that were loaded wrongly, frames that are passed without a check. Each class here stands between a driver
and a card, implements `nicsim.boundary.Card`, and spoils one thing on its way. What it does not spoil passes unseen.
They can be stacked; where none is, nothing is in the way. A card below may itself be impaired.

`number` is the N of the catalogue (`nicsim.impairments`), which says what it counts and puts names to these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nicsim.boundary import (
    Card,
    CardControl,
    Descriptor,
    EspAuthenticator,
    EspCipher,
    ParserRow,
    Row,
    RowCompletion,
    RowStatus,
    SaRow,
    Table,
    UdpType,
)
from nicsim.card.rows import transform_of
from nicsim.card.send import IvSource
from nicsim.errors import EspSyntaxError, Malformed
from nicsim.ipsec.transforms import Integrity, Transform
from nicsim.reasons import Reason
from nicsim.wire.esp import ESP_HEADER_LENGTH, NON_IKE_MARKER, PROTOCOL_ESP, PROTOCOL_UDP
from nicsim.wire.headers import rewrite_ipv4
from nicsim.wire.packet import UDP_HEADER_LENGTH, Packet, parse_frame
from offload_oids import CryptoStatus

OTHER_PORT = 4501
ALL_ENCAPSULATIONS = 0xFF
EVERYTHING_ON = CardControl(ALL_ENCAPSULATIONS, ALL_ENCAPSULATIONS)
MORE_PADDING = 16
"""A whole number of blocks of every cipher."""


class PassingCard:
    """A card that hands everything on to the one below; the classes that follow each spoil something."""

    def __init__(self, below: Card, number: int, link_type: int) -> None:
        self._below = below
        self._number = number
        self._link_type = link_type
        self._turn = 0

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Program one row."""
        return self._below.write_row(table, slot, row)

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        """Clear one row."""
        return self._below.clear_row(table, slot)

    def enable(self, control: CardControl) -> None:
        """Write the control register."""
        self._below.enable(control)

    def reset(self) -> None:
        """Clear all tables."""
        self._below.reset()

    def receive(self, frame: bytes) -> tuple[bytes, Descriptor]:
        """Process a frame off the wire."""
        return self._below.receive(frame)

    def send(self, frame: bytes, slot: int, tunnel_slot: int | None = None) -> tuple[bytes, Reason]:
        """Process a frame on its way out."""
        return self._below.send(frame, slot, tunnel_slot)

    def poll(self) -> Sequence[RowCompletion]:
        """Row operations that are finished now."""
        return self._below.poll()

    def _is_nth(self) -> bool:
        """Count one turn: is it the N-th?"""
        self._turn += 1
        return self._turn == self._number

    def _is_every_nth(self) -> bool:
        """Count one turn: is it one of every N?"""
        self._turn += 1
        return self._turn % self._number == 0


# --- rows: refused, lost, late -------------------------------------------------------------------------------------


class WriteFails(PassingCard):
    """The N-th row write fails."""

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Refuse it, and leave the slot as it was."""
        return RowStatus.FAILED if self._is_nth() else self._below.write_row(table, slot, row)


class WriteLost(PassingCard):
    """The N-th row write is called done, and nothing is written."""

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Say DONE."""
        return RowStatus.DONE if self._is_nth() else self._below.write_row(table, slot, row)


class ParserRowLost(PassingCard):
    """No parser row is ever written, though each is called done."""

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Say DONE."""
        return RowStatus.DONE if table is Table.PARSER else self._below.write_row(table, slot, row)


class WriteSlow(PassingCard):
    """Every row write is pending, and done at the N-th poll after it."""

    def __init__(self, below: Card, number: int, link_type: int) -> None:
        super().__init__(below, number, link_type)
        self._waiting: list[tuple[int, Table, int, Row]] = []
        self._polls = 0

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Say PENDING."""
        self._waiting.append((self._polls + self._number, table, slot, row))
        return RowStatus.PENDING

    def reset(self) -> None:
        """What was pending is never heard of again."""
        self._waiting.clear()
        self._below.reset()

    def poll(self) -> Sequence[RowCompletion]:
        """Write what is due."""
        self._polls += 1
        due = [one for one in self._waiting if one[0] <= self._polls]
        self._waiting = [one for one in self._waiting if one[0] > self._polls]
        written = [RowCompletion(table, slot, self._below.write_row(table, slot, row)) for _, table, slot, row in due]
        return [*self._below.poll(), *written]


class WriteNeverDone(PassingCard):
    """The N-th row write is pending for ever."""

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Say PENDING, and forget it."""
        return RowStatus.PENDING if self._is_nth() else self._below.write_row(table, slot, row)


class ClearFails(PassingCard):
    """The N-th clear fails."""

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        """Refuse it, and leave the row."""
        return RowStatus.FAILED if self._is_nth() else self._below.clear_row(table, slot)


class ClearLost(PassingCard):
    """The N-th clear is called done, and the row stays."""

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        """Say DONE."""
        return RowStatus.DONE if self._is_nth() else self._below.clear_row(table, slot)


class StaleRow(PassingCard):
    """A cleared row goes on working for N more received frames."""

    def __init__(self, below: Card, number: int, link_type: int) -> None:
        super().__init__(below, number, link_type)
        self._stale: dict[tuple[Table, int], int] = {}

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        """Say DONE, and clear it later."""
        self._stale[table, slot] = self._number
        return RowStatus.DONE

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """A new row ends the old one."""
        self._stale.pop((table, slot), None)
        return self._below.write_row(table, slot, row)

    def receive(self, frame: bytes) -> tuple[bytes, Descriptor]:
        """Clear what has had its N frames."""
        for place, left in list(self._stale.items()):
            if left == 0:
                del self._stale[place]
                self._below.clear_row(*place)
            else:
                self._stale[place] = left - 1
        return self._below.receive(frame)


# --- rows: written with something else in them ---------------------------------------------------------------------


class ChangedRows(PassingCard):
    """Every row is written as `change` makes it."""

    def __init__(self, change: Callable[[Row], Row], below: Card, number: int, link_type: int) -> None:
        super().__init__(below, number, link_type)
        self._change = change

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Program the changed row."""
        return self._below.write_row(table, slot, self._change(row))


def swapped(number: int, octets: int) -> int:
    """A number with its bytes in the other order."""
    return int.from_bytes(number.to_bytes(octets, "big"), "little")


def wrong_port(row: Row) -> Row:
    """A parser row for another port."""
    return replace(row, port=OTHER_PORT) if isinstance(row, ParserRow) else row


def wrong_type(row: Row) -> Row:
    """A parser row of the other type."""
    if not isinstance(row, ParserRow):
        return row
    return replace(row, udp_type=UdpType.IKE if row.udp_type == UdpType.OTHER else UdpType.OTHER)


def port_bytes_swapped(row: Row) -> Row:
    """A parser row whose port has its bytes in the other order (A-28)."""
    return replace(row, port=swapped(row.port, 2)) if isinstance(row, ParserRow) else row


def marker_not_skipped(row: Row) -> Row:
    """ESP behind the eight zero bytes is looked for where they are."""
    return replace(row, udp_type=UdpType.OTHER) if row.udp_type == UdpType.IKE else row


def spi_bytes_swapped(row: Row) -> Row:
    """An association row whose SPI has its bytes in the other order (A-28)."""
    return replace(row, spi=swapped(row.spi, 4)) if isinstance(row, SaRow) else row


def keys_swapped(row: Row) -> Row:
    """The cipher gets the authenticator's key bytes and the other way round (A-2)."""
    if not isinstance(row, SaRow):
        return row
    return replace(row, cipher_key=row.authenticator_key, authenticator_key=row.cipher_key)


def key_truncated(row: Row) -> Row:
    """The last byte of the authenticator's key is lost, or of the cipher's where there is no authenticator."""
    if not isinstance(row, SaRow):
        return row
    if row.authenticator == EspAuthenticator.NONE:
        return replace(row, cipher_key=last_byte_zero(row.cipher_key, row.cipher_key_length))
    return replace(row, authenticator_key=last_byte_zero(row.authenticator_key, row.authenticator_key_length))


def last_byte_zero(key: bytes, length: int) -> bytes:
    """A key field whose key of this length ends with a zero byte."""
    return (key[: length - 1] + bytes(1) + key[length:])[: len(key)]


def any_destination(row: Row) -> Row:
    """An association row that takes packets to whatever address."""
    if not isinstance(row, SaRow):
        return row
    return replace(row, destination_address=bytes(16), destination_mask=bytes(16))


# --- the control register ------------------------------------------------------------------------------------------


class OnBeforeEnabling(PassingCard):
    """The card works from the start, without having been enabled."""

    def __init__(self, below: Card, number: int, link_type: int) -> None:
        super().__init__(below, number, link_type)
        below.enable(EVERYTHING_ON)

    def reset(self) -> None:
        """On again at once."""
        self._below.reset()
        self._below.enable(EVERYTHING_ON)


class OnAfterDisabling(PassingCard):
    """Once enabled, the card takes no notice of being disabled."""

    def enable(self, control: CardControl) -> None:
        """Pass on what enables something."""
        if control.ipv4_encapsulations or control.ipv6_encapsulations:
            self._below.enable(control)


class OptionsAlways(PassingCard):
    """The card works on packets with IP options, whatever it claimed."""

    def enable(self, control: CardControl) -> None:
        """Pass the register on with those bits set."""
        self._below.enable(replace(control, ipv4_options=1, ipv6_extension_headers=1))


# --- received frames -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """A received frame, what the card below made of it, and its descriptor."""

    before: bytes
    after: bytes
    descriptor: Descriptor
    link_type: int

    @property
    def is_opened(self) -> bool:
        """Whether the card below opened it."""
        return self.descriptor.reason == Reason.OPENED.number

    def instead(self, frame: bytes, **changes: int) -> tuple[bytes, Descriptor]:
        """Another frame, and the descriptor with changes."""
        return frame, replace(self.descriptor, **changes)


Outcome = tuple[bytes, Descriptor]


class SpoiledReceive(PassingCard):
    """Every N-th of the frames that `spoil` is about goes up as it makes them; None is: not about this one."""

    def __init__(self, spoil: Callable[[Seen], Outcome | None], below: Card, number: int, link_type: int) -> None:
        super().__init__(below, number, link_type)
        self._spoil = spoil

    def receive(self, frame: bytes) -> Outcome:
        """Process a frame, and spoil what came of it."""
        after, descriptor = self._below.receive(frame)
        spoiled = self._spoil(Seen(frame, after, descriptor, self._link_type))
        return spoiled if spoiled is not None and self._is_every_nth() else (after, descriptor)


def success_without_check(seen: Seen) -> Outcome | None:
    """Whatever belongs to an association goes up untouched, and is called good."""
    if not seen.descriptor.slot:
        return None
    return seen.instead(seen.before, reason=Reason.OPENED.number, crypto_done=1, crypto_status=0)


def success_on_bad_icv(seen: Seen) -> Outcome | None:
    """A packet with a wrong ICV goes up untouched, and is called good."""
    if seen.descriptor.reason != Reason.ICV_WRONG.number:
        return None
    return seen.instead(seen.before, reason=Reason.OPENED.number, crypto_status=0)


def error_on_good(seen: Seen) -> Outcome | None:
    """A good packet goes up untouched, as one with a wrong ICV."""
    if not seen.is_opened:
        return None
    failed = CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED
    changes = {"crypto_status": failed, "next_crypto_done": 0, "payload_offset": 0, "payload_end": 0}
    return seen.instead(seen.before, reason=Reason.ICV_WRONG.number, **changes)


EXCHANGED = {2: 4, 4: 2, 3: 5, 5: 3}
"""The failure codes of the transport portion for those of the tunnel portion."""


def portions_exchanged(seen: Seen) -> Outcome | None:
    """A failure of the one portion is told as one of the other."""
    status = EXCHANGED.get(seen.descriptor.crypto_status)
    return None if status is None else seen.instead(seen.after, crypto_status=status)


def generic_error(seen: Seen) -> Outcome | None:
    """Every failure is a generic one."""
    if not seen.descriptor.crypto_status:
        return None
    return seen.instead(seen.after, crypto_status=CryptoStatus.CRYPTO_GENERIC_ERROR)


def next_without_done(seen: Seen) -> Outcome | None:
    """The flag of the second portion is set in place of that of the first."""
    return seen.instead(seen.after, crypto_done=0, next_crypto_done=1) if seen.descriptor.crypto_done else None


def never_done(seen: Seen) -> Outcome | None:
    """Frames are decrypted, and nothing says so."""
    return seen.instead(seen.after, crypto_done=0) if seen.descriptor.crypto_done else None


def stripped(seen: Seen) -> Outcome | None:
    """ESP header, IV, trailer and ICV are cut off, and the lengths of the headers are left as they were (A-3)."""
    if not seen.is_opened:
        return None
    begin, end = seen.descriptor.payload_offset, seen.descriptor.payload_end
    packet = parse_frame(seen.before, seen.link_type)
    head = packet.udp_payload if packet.protocol == PROTOCOL_UDP else packet.payload
    payload = seen.after[begin : end - 2 - seen.after[end - 2]]
    return seen.instead(
        seen.after[:head] + payload + seen.after[packet.end :], payload_offset=head, payload_end=head + len(payload)
    )


def last_block_left(seen: Seen) -> Outcome | None:
    """The last eight bytes of the ciphertext stay what they were."""
    if not seen.is_opened:
        return None
    end = seen.descriptor.payload_end
    return seen.instead(seen.after[: end - 8] + seen.before[end - 8 : end] + seen.after[end:])


def payload_corrupted(seen: Seen) -> Outcome | None:
    """One bit of the decrypted payload is wrong."""
    if not seen.is_opened:
        return None
    begin = seen.descriptor.payload_offset
    return seen.instead(flipped(seen.after, begin))


def hop_limit_lowered(seen: Seen) -> Outcome | None:
    """A frame that was opened has a lower TTL, as if routed."""
    if not seen.is_opened:
        return None
    packet = parse_frame(seen.before, seen.link_type)
    at = packet.network + (8 if packet.version == 4 else 7)
    return seen.instead(seen.after[:at] + bytes([max(0, seen.after[at] - 1)]) + seen.after[at + 1 :])


def ike_taken_for_esp(seen: Seen) -> Outcome | None:
    """IKE is reported as ESP that is too short."""
    if seen.descriptor.reason != Reason.IKE.number:
        return None
    syntax = CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX
    return seen.instead(seen.after, reason=Reason.SYNTAX_INVALID.number, crypto_done=1, crypto_status=syntax)


def udp_checksum_decides(seen: Seen) -> Outcome | None:
    """A packet in UDP whose checksum is not zero is left alone (N-NAT-5)."""
    if not seen.is_opened:
        return None
    packet = parse_frame(seen.before, seen.link_type)
    checksum = seen.before[packet.payload + 6 : packet.payload + 8]
    if packet.protocol != PROTOCOL_UDP or not any(checksum):
        return None
    return seen.before, Descriptor(Reason.MALFORMED.number)


def flipped(data: bytes, at: int) -> bytes:
    """The same bytes with one bit of one of them changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


class FragmentsAsWhole(PassingCard):
    """The first fragment of an IPv4 packet is processed as if it were whole."""

    def receive(self, frame: bytes) -> Outcome:
        """Hide from the card below that it is a fragment."""
        try:
            packet = parse_frame(frame, self._link_type)
        except Malformed:
            return self._below.receive(frame)
        if packet.version != 4 or not packet.is_fragment or frame[packet.network + 7] or frame[packet.network + 6] & 31:
            return self._below.receive(frame)
        begin = packet.payload
        header = rewrite_ipv4(
            frame[packet.network : begin], protocol=packet.protocol, total_length=packet.end - packet.network,
            flags_offset=0,
        )  # fmt: skip
        shown = bytearray(frame[: packet.network] + header + frame[begin:])
        if packet.protocol == PROTOCOL_UDP and packet.end - begin >= UDP_HEADER_LENGTH:
            shown[begin + 4 : begin + 6] = (packet.end - begin).to_bytes(2, "big")
        after, descriptor = self._below.receive(bytes(shown))
        kept = begin + UDP_HEADER_LENGTH
        return frame[:kept] + after[kept:], descriptor


# --- frames whose ESP is found through the row ---------------------------------------------------------------------


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

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Program one row."""
        if table is self.table and isinstance(row, SaRow):
            self._rows[slot] = row
        return self._below.write_row(table, slot, row)


class IcvUnchecked(RowsKnown):
    """A packet with a wrong ICV is decrypted all the same, and called good. AES-GCM cannot be spoiled like that."""

    table = Table.INBOUND

    def receive(self, frame: bytes) -> Outcome:
        """Decrypt without the check."""
        after, descriptor = self._below.receive(frame)
        if descriptor.reason != Reason.ICV_WRONG.number:
            return after, descriptor
        row = self._rows[descriptor.slot - 1]
        place = place_of(row, frame, self._link_type)
        if place is None or row.linked or row.cipher in (EspCipher.NULL, EspCipher.AES_GCM):
            return after, descriptor
        keys = replace(transform_of(row).keys, integrity=Integrity.NONE, integrity_key=b"")
        try:
            plaintext = Transform(keys).open(frame, place.esp, place.body_end)
        except EspSyntaxError:
            return after, descriptor
        changes = {"crypto_status": 0, "payload_offset": place.body, "payload_end": place.body_end}
        opened = frame[: place.body] + plaintext + frame[place.body_end :]
        return opened, replace(descriptor, reason=Reason.OPENED.number, **changes)


class SpoiledSend(RowsKnown):
    """Every N-th frame that is sealed is handed down, and goes out, as two functions make it."""

    table = Table.OUTBOUND

    def __init__(
        self,
        handed: Callable[[bytes, Place], bytes],
        sent: Callable[[bytes, bytes, Place], bytes],
        below: Card,
        number: int,
        link_type: int,
    ) -> None:
        super().__init__(below, number, link_type)
        self._handed = handed
        self._sent = sent

    def send(self, frame: bytes, slot: int, tunnel_slot: int | None = None) -> tuple[bytes, Reason]:
        """Seal a frame, with something wrong before or after; one of two portions passes as it is."""
        row = self._rows.get(slot)
        place = place_of(row, frame, self._link_type) if row and tunnel_slot is None else None
        if place is None or not self._is_every_nth():
            return self._below.send(frame, slot, tunnel_slot)
        sealed, reason = self._below.send(self._handed(frame, place), slot)
        return (self._sent(frame, sealed, place) if reason is Reason.SEALED else sealed), reason


def as_handed(frame: bytes, place: Place) -> bytes:
    """Nothing is wrong before."""
    return frame


def as_sealed(frame: bytes, sealed: bytes, place: Place) -> bytes:
    """Nothing is wrong after."""
    return sealed


def padded_again(frame: bytes, place: Place) -> bytes:
    """More padding behind that of the host, with every length raised accordingly."""
    packet, at = place.packet, place.body_end - 2
    length = frame[at]
    more = bytes((length + number) & 0xFF for number in range(1, MORE_PADDING + 1))
    longer = frame[:at] + more + bytes([(length + MORE_PADDING) & 0xFF]) + frame[at + 1 :]
    fields = bytearray(longer)
    if packet.version == 4:
        total = packet.end - packet.network + MORE_PADDING
        header = bytes(fields[packet.network : packet.payload])
        fields[packet.network : packet.payload] = rewrite_ipv4(header, protocol=packet.protocol, total_length=total)
    else:
        raise_length(fields, packet.network + 4)
    if packet.protocol == PROTOCOL_UDP:
        raise_length(fields, packet.payload + 4)
    return bytes(fields)


def raise_length(fields: bytearray, at: int) -> None:
    """Add the padding to a 16-bit length."""
    length = int.from_bytes(fields[at : at + 2], "big") + MORE_PADDING
    fields[at : at + 2] = length.to_bytes(2, "big")


def padding_corrupted(frame: bytes, place: Place) -> bytes:
    """The last byte of the padding, if there is any, has another value (RFC 4303 section 2.4)."""
    at = place.body_end - 2
    return flipped(frame, at - 1) if frame[at] else frame


def icv_not_written(frame: bytes, sealed: bytes, place: Place) -> bytes:
    """The space for the ICV goes out as it was handed down."""
    return sealed[: place.body_end] + frame[place.body_end : place.end] + sealed[place.end :]


def spi_wrong(frame: bytes, sealed: bytes, place: Place) -> bytes:
    """The frame goes out with another SPI."""
    return flipped(sealed, place.esp + 3)


def plaintext_sent(frame: bytes, sealed: bytes, place: Place) -> bytes:
    """The frame goes out as it was handed down."""
    return frame


# --- the source of IVs ---------------------------------------------------------------------------------------------


def ivs_all_zero(source: IvSource, number: int) -> IvSource:
    """Every N-th IV is all zero."""
    asked = 0

    def give(length: int) -> bytes:
        nonlocal asked
        asked += 1
        iv = source(length)
        return bytes(length) if asked % number == 0 else iv

    return give


def ivs_repeated(source: IvSource, number: int) -> IvSource:
    """Every IV serves for N more packets."""
    given: dict[int, tuple[bytes, int]] = {}

    def give(length: int) -> bytes:
        iv, left = given.get(length, (b"", 0))
        if not left:
            iv, left = source(length), number + 1
        given[length] = iv, left - 1
        return iv

    return give
