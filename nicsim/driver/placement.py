"""Where the rows of an association go: room in the tables, slots, links between rows, and the writes that follow.

Both versions of the offload place their rows in the same way.

Used by associations.py, association_checks.py and associations_v2.py.
"""

from __future__ import annotations

from dataclasses import replace

from nicsim.boundary import SaRow, Table
from nicsim.driver.handles import DriverState
from nicsim.driver.operations import RowOperation
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus


def require_room(state: DriverState, table: Table, rows: int, *, parser: bool) -> None:
    """Free slots in the table, and one in the parser table if an entry is to be created (A-1, N-SA-23)."""
    free, full = state.slots[table].free(), state.slots[table].capacity
    if free < rows:
        raise RequestRefused(
            NdisStatus.RESOURCES,
            Reason.SA_TABLE_FULL,
            f"all {full} {table.value} rows are taken" if not free else f"{rows} rows are needed, {free} are free",
        )
    if parser and not state.slots[Table.PARSER].free():
        full = state.slots[Table.PARSER].capacity
        raise RequestRefused(NdisStatus.RESOURCES, Reason.PARSER_TABLE_FULL, f"all {full} parser rows are taken")


def place(state: DriverState, table: Table, rows: tuple[SaRow, ...]) -> tuple[tuple[int, SaRow], ...]:
    """A slot for each row of one association, each row linked to the next one in the order of processing."""
    placed: list[tuple[int, SaRow]] = []
    then = 0
    for row in reversed(rows):
        slot = state.slots[table].take()
        placed.insert(0, (slot, replace(row, then_slot=then, linked=int(row is not rows[0]))))
        then = slot + 1
    return tuple(placed)


def writes_of(table: Table, placed: tuple[tuple[int, SaRow], ...]) -> list[RowOperation]:
    """The writes of one association: a row that another one names is there before it."""
    return [RowOperation(table, slot, row) for slot, row in reversed(placed)]


def row_refused(table: Table, placed: tuple[tuple[int, SaRow], ...]) -> RequestRefused:
    """The card did not take a row (N-ADD-6)."""
    slots = " and ".join(str(slot) for slot, _ in placed)
    return RequestRefused(
        NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED, f"the card refused a row of {table.value} association {slots}"
    )


def exact_mask(address: bytes) -> bytes:
    """The mask that compares a whole address, or nothing where the address is zero (N-SA-3)."""
    return b"\xff" * len(address) if any(address) else bytes(len(address))
