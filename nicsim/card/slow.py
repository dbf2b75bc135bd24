"""A card that takes its time: every row operation answers PENDING and is done some ticks of a virtual clock later.

Nothing sleeps: a test or a harness says how much time passes with `advance`. Frames and the control register take
no time, as on the card inside. Implements `nicsim.boundary.Card` around any other card.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nicsim.boundary import Card, CardControl, Row, RowCompletion, RowStatus, Table


@dataclass(frozen=True, slots=True)
class _Work:
    """A row operation that is not done: what it does, and when."""

    due: int
    table: Table
    slot: int
    act: Callable[[], RowStatus]


class SlowCard:
    """Another card, `ticks` slower; operations are done in the order in which they came."""

    def __init__(self, card: Card, ticks: int = 1) -> None:
        self.card = card
        self.receive = card.receive
        self.send = card.send
        self.send_large = card.send_large
        self.ticks = ticks
        self.now = 0
        self._waiting: deque[_Work] = deque()
        self._done: list[RowCompletion] = []

    def advance(self, ticks: int = 1) -> None:
        """Let time pass, and do what is due."""
        self.now += ticks
        while self._waiting and self._waiting[0].due <= self.now:
            work = self._waiting.popleft()
            status = work.act()
            if status is not RowStatus.PENDING:  # a card that pends itself completes by itself
                self._done.append(RowCompletion(work.table, work.slot, status))

    def waiting(self) -> int:
        """How many row operations are not done."""
        return len(self._waiting)

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Program one row, later."""
        return self._later(table, slot, lambda: self.card.write_row(table, slot, row))

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        """Clear one row, later."""
        return self._later(table, slot, lambda: self.card.clear_row(table, slot))

    def _later(self, table: Table, slot: int, act: Callable[[], RowStatus]) -> RowStatus:
        self._waiting.append(_Work(self.now + self.ticks, table, slot, act))
        return RowStatus.PENDING

    def enable(self, control: CardControl) -> None:
        """Write the control register."""
        self.card.enable(control)

    def reset(self) -> None:
        """Forget all rows, and every operation that is not done."""
        self._waiting.clear()
        self._done.clear()
        self.card.reset()

    def poll(self) -> Sequence[RowCompletion]:
        """Row operations finished since the last call, oldest first."""
        done, self._done = self._done, []
        return [*done, *self.card.poll()]
