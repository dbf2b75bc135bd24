"""Where the rows of an association go: room in the tables, slots, links between rows, and the writes that follow.

Both versions of the offload place their rows in the same way.

Used by associations.py, association_checks.py and associations_v2.py.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TypeVar

from nicsim.boundary import SaRow, Table
from nicsim.driver.handles import DriverState, OffloadedSa
from nicsim.driver.operations import Operation, RowOperation, clear, program
from nicsim.driver.shared_addresses import is_written, let_go, needs_address_row, require_address, share, unwritten
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus
from offload_oids.byte_order import byte_swapped
from offload_oids.layout import Structure


def require_room(state: DriverState, table: Table, rows: tuple[SaRow, ...], *, parser: bool) -> None:
    """Free slots in every table that the rows need, and one in the parser table for a new entry (A-1, N-SA-23)."""
    free, full = state.slots[table].free(), state.slots[table].capacity
    if free < len(rows):
        raise RequestRefused(
            NdisStatus.RESOURCES,
            Reason.SA_TABLE_FULL,
            f"all {full} {table.value} rows are taken" if not free else f"{len(rows)} rows are needed, {free} are free",
        )
    if parser and not state.slots[Table.PARSER].free():
        full = state.slots[Table.PARSER].capacity
        raise RequestRefused(NdisStatus.RESOURCES, Reason.PARSER_TABLE_FULL, f"all {full} parser rows are taken")
    if needs_address_row(state, table):
        require_address(state, rows[0])


def place(state: DriverState, table: Table, rows: tuple[SaRow, ...]) -> tuple[tuple[int, SaRow], ...]:
    """A slot for each row of one association, each row linked to the next one in the order of processing.

    What becomes of them is for `write_all`.
    """
    if needs_address_row(state, table):
        rows = share(state, rows)
    placed: list[tuple[int, SaRow]] = []
    then = 0
    for row in reversed(rows):
        slot = state.slots[table].take()
        placed.insert(0, (slot, replace(row, then_slot=then, linked=int(row is not rows[0]))))
        then = slot + 1
    return tuple(placed)


def write_all(
    state: DriverState, table: Table, placed: tuple[tuple[int, SaRow], ...], before: tuple[RowOperation, ...] = ()
) -> Generator[Operation, bool | None, None]:
    """Write the rows of one association, all or nothing; a row that another one names is there before it (N-ADD-6)."""
    first = placed[0][1]
    writes = [*before, *(RowOperation(table, slot, row) for slot, row in reversed(placed))]
    address = unwritten(state, first)
    if address is not None and not (yield address):
        for write in writes:
            state.slots[write.table].give_back(write.slot)
    else:
        if address is not None:
            is_written(state, first)
        if (yield from program(state, writes)):
            return
    yield from clear(state, let_go(state, first))
    slots = " and ".join(str(slot) for slot, _ in placed)
    raise RequestRefused(
        NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED, f"the card refused a row of {table.value} association {slots}"
    )


def given_up(state: DriverState, association: OffloadedSa) -> list[tuple[Table, int]]:
    """The rows to clear when an association goes: its own, then the shared one that nobody else needs."""
    own = [(association.table, slot) for slot, _ in association.rows]
    return own + let_go(state, association.rows[0][1])


Ordered = TypeVar("Ordered", bound=Structure)


def wire_ordered(state: DriverState, value: Ordered, abi: Abi) -> Ordered:
    """What the host wrote, with SPIs, ports and IPv4 addresses as a packet has them (A-28)."""
    return value if state.capabilities.readings.wire_byte_order else byte_swapped(value, abi)


def exact_mask(address: bytes) -> bytes:
    """The mask that compares a whole address, or nothing where the address is zero (N-SA-3)."""
    return b"\xff" * len(address) if any(address) else bytes(len(address))
