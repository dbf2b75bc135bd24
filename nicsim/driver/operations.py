"""What a handler asks of the card, and the two ways handlers ask for rows: all or nothing, and one by one."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from nicsim.boundary import CardControl, OidResult, Row, StatusIndication, Table
from nicsim.driver.handles import DriverState


@dataclass(frozen=True, slots=True)
class RowOperation:
    """Write a row, or clear it where `row` is None."""

    table: Table
    slot: int
    row: Row | None = None


@dataclass(frozen=True, slots=True)
class CardReset:
    """Have the card forget all rows and switch off."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The checks are passed: what the host's buffer holds from now on, handles included, done or not (A-6)."""

    buffer: bytes


Operation = RowOperation | CardControl | CardReset | StatusIndication | Accepted
Steps = Generator[Operation, bool | None, OidResult]
"""A handler at work: yields operations, is sent whether each succeeded, returns its answer."""


def program(state: DriverState, writes: list[RowOperation]) -> Generator[Operation, bool | None, bool]:
    """Write rows into slots taken for them; when one fails, undo the others, free all slots, and say so (N-ADD-6)."""
    for number, write in enumerate(writes):
        if not (yield write):
            for unwritten in writes[number:]:
                state.slots[unwritten.table].give_back(unwritten.slot)
            yield from clear(state, [(written.table, written.slot) for written in reversed(writes[:number])])
            return False
    return True


def clear(state: DriverState, rows: list[tuple[Table, int]]) -> Generator[Operation, bool | None, bool]:
    """Clear rows and free their slots; a row that fails is marked for deletion and tried again.

    A marked row must not be used for incoming packets (N-DEL-4), and a card that does not forget a row would use it:
    so the card is off until the row is gone, and every packet goes up unprocessed.
    """
    all_done = True
    for table, slot in rows:
        if table is Table.INBOUND:
            state.last_used.pop(slot, None)
        if (table, slot) in state.marked:  # it was to go before, and the card would not: that is tried again already
            all_done = False
        elif (yield RowOperation(table, slot)):
            state.slots[table].give_back(slot)
        else:
            state.marked.append((table, slot))
            all_done = False
            yield CardControl()
    return all_done
