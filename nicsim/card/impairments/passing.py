"""A card that hands everything on: what every impaired card is, but for one thing."""

from __future__ import annotations

from collections.abc import Sequence

from nicsim.boundary import Card, CardControl, Descriptor, LargeSend, LargeSent, Row, RowCompletion, RowStatus, Table
from nicsim.reasons import Reason


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

    def send(
        self, frame: bytes, slot: int | None, tunnel_slot: int | None = None, checksums: int = 0
    ) -> tuple[bytes, Reason]:
        """Process a frame on its way out."""
        return self._below.send(frame, slot, tunnel_slot, checksums)

    def send_large(self, frame: bytes, slot: int | None, large: LargeSend) -> LargeSent:
        """Process a large packet on its way out."""
        return self._below.send_large(frame, slot, large)

    def poll(self) -> Sequence[RowCompletion]:
        """Row operations that are finished now."""
        return self._below.poll()

    def learn(self, table: Table, slot: int, row: Row) -> None:
        """A row that was there when this one was put in place; most need not know."""

    def _is_nth(self) -> bool:
        """Count one turn: is it the N-th?"""
        self._turn += 1
        return self._turn == self._number

    def _is_every_nth(self) -> bool:
        """Count one turn: is it one of every N?"""
        self._turn += 1
        return self._turn % self._number == 0


class CardSocket(PassingCard):
    """Where the driver meets its card: what is below can be exchanged while the driver runs."""

    def plug(self, below: Card) -> None:
        """From now on this card is below."""
        self._below = below
