"""Rows that are refused, lost, late or written with something else in them, and a control register that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from nicsim.boundary import (
    AddressRow,
    Card,
    CardControl,
    Descriptor,
    EspAuthenticator,
    ParserRow,
    Row,
    RowCompletion,
    RowStatus,
    SaRow,
    Table,
    UdpType,
)
from nicsim.card.impairments.passing import PassingCard

OTHER_PORT = 4501
ALL_ENCAPSULATIONS = 0xFF
EVERYTHING_ON = CardControl(ALL_ENCAPSULATIONS, ALL_ENCAPSULATIONS)


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


class TablesLost(PassingCard):
    """What the driver writes back after a reset, or after low power, is called done, and lost."""

    def __init__(self, below: Card, number: int, link_type: int) -> None:
        super().__init__(below, number, link_type)
        self._there: set[tuple[Table, int]] = set()
        self._to_lose: set[tuple[Table, int]] = set()

    def learn(self, table: Table, slot: int, row: Row) -> None:
        """One more that can be lost."""
        self._there.add((table, slot))

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Say DONE of what was there before the reset."""
        if (table, slot) in self._to_lose:
            self._to_lose.remove((table, slot))
            return RowStatus.DONE
        self._there.add((table, slot))
        return self._below.write_row(table, slot, row)

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        """One less."""
        self._there.discard((table, slot))
        self._to_lose.discard((table, slot))
        return self._below.clear_row(table, slot)

    def reset(self) -> None:
        """All of them are lost now."""
        self._there, self._to_lose = set(), self._there
        self._below.reset()


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
    if isinstance(row, AddressRow) or row.udp_type != UdpType.IKE:
        return row
    return replace(row, udp_type=UdpType.OTHER)


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


def esn_high_missing(row: Row) -> Row:
    """An association row without the upper half of its 64-bit sequence numbers: the ICV is made without it."""
    return replace(row, extended=0) if isinstance(row, SaRow) else row


def address_wrong(row: Row) -> Row:
    """A row of the shared address table whose last bit is the other one."""
    if not isinstance(row, AddressRow):
        return row
    length = 4 if row.family == 4 else 16
    return replace(row, address=row.address[: length - 1] + bytes([row.address[length - 1] ^ 1]) + row.address[length:])


def any_destination(row: Row) -> Row:
    """An association row that takes packets to whatever address."""
    if not isinstance(row, SaRow):
        return row
    return replace(row, destination_address=bytes(16), destination_mask=bytes(16), address_slot=0)


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
