"""The monitor's book of receive addresses, in cards whose inbound rows share them: who names which row.

An address row has no handle. Its owners are the inbound rows that name it: without one it should not be there, and
while there is one it should not go.

Used by monitor.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator

from nicsim.boundary import Row, SaRow, Table


class SharedRows:
    """The address rows of one card, and how many inbound rows name each."""

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._named_by: dict[int, int] = {}
        """By the slot of an inbound row: the slot of the address row that it names."""
        self._users: Counter[int] = Counter()

    def done(self, table: Table, slot: int, row: Row | None, marked: Container[tuple[Table, int]]) -> str:
        """The card wrote a row, or cleared it (None); the answer says what is wrong with that, if anything.

        Inbound rows that are `marked` for deletion need nothing any more.
        """
        if table is Table.ADDRESS:
            if row is not None:
                self._rows.add(slot)
                return ""
            self._rows.discard(slot)
            named_by = (inbound for inbound, address in self._named_by.items() if address == slot)
            user = next((inbound for inbound in named_by if (Table.INBOUND, inbound) not in marked), None)
            return "" if user is None else f"address row {slot} was cleared, and inbound row {user} needs it"
        if table is Table.INBOUND:
            if (before := self._named_by.pop(slot, None)) is not None:
                self._users[before] -= 1
            if isinstance(row, SaRow) and row.address_slot:
                self._named_by[slot] = row.address_slot - 1
                self._users[row.address_slot - 1] += 1
        return ""

    def without_owner(self) -> Iterator[int]:
        """The slots of address rows that no inbound row names."""
        return (slot for slot in sorted(self._rows) if self._users[slot] <= 0)
