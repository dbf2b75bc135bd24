"""Shared destination addresses: cards whose inbound rows name a row of a smaller table of receive addresses.

The driver shares: one row for an address, with the number of inbound associations that need it, written with the first
and cleared with the last. The host knows nothing of it; to the host a full address table is one more way in which a
card can be full. Where a card has no such table (`address_rows` 0), each row holds its own address and none of this
happens.

Used by placement.py; the counts are part of `DriverState`.
"""

from __future__ import annotations

from dataclasses import replace

from nicsim.boundary import AddressRow, SaRow, Table
from nicsim.driver.handles import DriverState, SharedAddress
from nicsim.driver.operations import RowOperation
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus

WHOLE = {4: b"\xff" * 4 + bytes(12), 6: b"\xff" * 16}


def needs_address_row(state: DriverState, table: Table) -> bool:
    """Inbound associations of a card with such a table; outbound ones are found by handle."""
    return table is Table.INBOUND and state.capabilities.address_rows > 0


def require_address(state: DriverState, row: SaRow) -> None:
    """The card compares whole addresses; and there must be a row with this one, or a free row (A-1)."""
    if row.destination_mask != WHOLE[row.family]:
        raise RequestRefused(
            NdisStatus.NOT_SUPPORTED,
            Reason.ADDRESS_NOT_WHOLE,
            "the destination must be one address, without a mask: this card cannot receive for any other",
        )
    if address_of(row) not in state.addresses and not state.slots[Table.ADDRESS].free():
        raise RequestRefused(
            NdisStatus.RESOURCES,
            Reason.ADDRESS_TABLE_FULL,
            f"all {state.slots[Table.ADDRESS].capacity} address rows are taken by other addresses",
        )


def address_of(row: SaRow) -> AddressRow:
    """The address that an inbound row is for."""
    return AddressRow(row.family, row.destination_address)


def share(state: DriverState, rows: tuple[SaRow, ...]) -> tuple[SaRow, ...]:
    """The rows of one association with the row of their address named in them, which has one user more."""
    address = address_of(rows[0])
    shared = state.addresses.get(address) or SharedAddress(state.slots[Table.ADDRESS].take(), 0)
    state.addresses[address] = replace(shared, users=shared.users + 1)
    return tuple(replace(row, address_slot=shared.slot + 1) for row in rows)


def unwritten(state: DriverState, row: SaRow) -> RowOperation | None:
    """The write of the address row that a placed row names, where no association before it had that done."""
    if not row.address_slot or state.addresses[address_of(row)].written:
        return None
    return RowOperation(Table.ADDRESS, row.address_slot - 1, address_of(row))


def is_written(state: DriverState, row: SaRow) -> None:
    """The card has that row now."""
    address = address_of(row)
    state.addresses[address] = replace(state.addresses[address], written=True)


def let_go(state: DriverState, row: SaRow) -> list[tuple[Table, int]]:
    """The association of a placed row is gone: one user less, and the address row to clear where that was the last."""
    if not row.address_slot:
        return []
    address = address_of(row)
    shared = state.addresses.pop(address)
    if shared.users > 1:
        state.addresses[address] = replace(shared, users=shared.users - 1)
        return []
    if not shared.written:
        state.slots[Table.ADDRESS].give_back(shared.slot)
        return []
    return [(Table.ADDRESS, shared.slot)]
