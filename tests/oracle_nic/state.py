"""What a NIC should know: handles and what they stand for, what is enabled, and the rows its card should have.

Where the documentation leaves room, more than one state may be right. What a card has failed to clear (ghosts) must
not be used, and may keep everything else waiting (N-DEL-4); what it did not take back after a reset (lost) goes up
unprocessed; and whether a delete that a reset ended was done (doubtful), only what follows shows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.oracle_nic import claims, requests
from tests.oracle_nic.packets import AH, OTHER, Sa
from tests.oracle_nic.requests import Add

Row = tuple[object, ...]


@dataclass
class Request:
    """A set request that the driver has, as the oracle hears of it."""

    oid: int
    buffer: bytes
    failed: bool = False
    """The card refused a row operation while the driver had it."""


@dataclass
class State:
    """What one NIC should know."""

    profile: dict[str, Any]
    width: int
    """Of the host's pointers, in bytes."""
    raw: bool = False
    """The link has no header: frames begin with IP."""
    sas: dict[int, Sa] = field(default_factory=dict)
    entries: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Parser entries by handle: type and port."""
    own_row: bool = False
    """Version 2 has its row for port 4500 (A-34)."""
    enabled: tuple[int, int] = (0, 0)
    """Encapsulation bits for IPv4 and IPv6."""
    task: set[str] | None = None
    """What the last enabling set of NDIS 5.1 asked for; None after a disabling one."""
    settings: tuple[int, int] = (4, 4)
    """What OID_TCP_OFFLOAD_PARAMETERS left of version 1 and 2."""
    low_power: bool = False
    resetting: bool = False
    removed: bool = False
    waiting: list[Request] = field(default_factory=list)
    ghosts: Counter[Row] = field(default_factory=Counter)
    """Rows that may be left over because the card would not clear them."""
    uncleared: bool = False
    """There may be slots that wait to be cleared, with a row in them or without."""
    lost: Counter[Row] = field(default_factory=Counter)
    """Rows that may be missing because the card did not take them back."""
    unrestored: bool = False
    """The card refused rows that a reset, or the way back to full power, gave it: any may be missing."""
    doubtful: set[int] = field(default_factory=set)
    """Handles named by deletes that a reset ended: deleted or not, who knows (N-DEL-4, N-RST-4)."""

    def __post_init__(self) -> None:
        self.ndis51 = self.profile["ndis"] == "5.1"
        self.claims1 = claims.words_of(self.profile.get("version1"))
        self.claims2 = claims.words_of(self.profile.get("version2"))
        self.shares_addresses = self.profile["tables"].get("address", 0) > 0
        self.tasks_claimed = claims.tasks_of(self.profile)
        self.links = sum(claims.LINKS[name] for name in self.profile["encapsulations"])

    @property
    def words1(self) -> set[str]:
        """What of version 1 is in force."""
        return claims.left_of(self.task if self.ndis51 and self.task is not None else self.claims1, self.settings[0])

    @property
    def words2(self) -> set[str]:
        return claims.left_of(self.claims2, self.settings[1])

    def offers(self, oid: int) -> bool:
        """Whether a driver of such a card has the OID (N-OID-1)."""
        if oid in requests.VERSION_1:
            return bool(self.claims1)
        if oid in requests.VERSION_2:
            return bool(self.claims2)
        return not (self.ndis51 and oid in (requests.ENCAPSULATION, requests.PARAMETERS))

    def alive(self, handle: int, version: int) -> bool:
        return handle in self.sas and self.sas[handle].version == version

    def kind_of(self, add: Add) -> int | None:
        """How packets of an add ride in UDP: as the entry says that it names (A-5), or as the add itself does."""
        if add.entry and add.flags == 1 and add.entry_handle in self.entries:
            return self.entries[add.entry_handle][0]
        return add.entry[0] if add.entry else None

    def resolve(self, alive: set[int]) -> None:
        """Which of the handles in doubt the driver still knows."""
        for handle in self.doubtful - alive:
            self.sas.pop(handle, None)
            self.entries.pop(handle, None)
        self.doubtful.clear()

    def was_reset(self) -> None:
        """The card has forgotten everything, and was given back what is known."""
        self.ghosts.clear()
        self.lost.clear()
        self.uncleared = False

    def was_removed(self) -> None:
        """N-RST-6."""
        self.removed = True
        self.resetting = False
        for everything in (self.sas, self.entries, self.ghosts, self.lost):
            everything.clear()
        self.own_row, self.enabled = False, (0, 0)

    def sa_rows(self, sa: Sa) -> list[Row]:
        """The rows of one association, with the shared one of its address, where a card has such."""
        own: list[Row] = [("inbound" if sa.inbound else "outbound", sa.family, *layer.row) for layer in sa.layers]
        return own + ([("address", sa.dst)] if sa.inbound and self.shares_addresses else [])

    def rows_of(self, handle: int) -> Counter[Row]:
        if handle in self.entries:
            return Counter([("parser", *self.entries[handle])])
        return Counter(self.sa_rows(self.sas[handle])) if handle in self.sas else Counter()

    def tables(self) -> Counter[Row]:
        """Every row that the card should have: not those of what is off, but the addresses, which are shared."""
        rows: Counter[Row] = Counter([("parser", OTHER, 4500)] if self.own_row else [])
        for handle in (*self.sas, *self.entries):
            rows += self.rows_of(handle) if handle in self.entries or self.is_on(self.sas[handle]) else Counter()
        shared = {("address", sa.dst) for sa in self.sas.values() if sa.inbound and self.shares_addresses}
        return Counter({row: count for row, count in rows.items() if row[0] != "address"}) + Counter(shared)

    def compare(self, card: Counter[Row], *, clean: bool) -> None:
        """At rest: what the card has beyond its rows are ghosts, fewer than before; what it lacks was lost before.

        `clean`: a request came and went since, without a refusal, so that every ghost must be gone (N-DEL-4).
        """
        expected = self.tables()
        ghosts, lost = card - expected, expected - card
        assert not ghosts - self.ghosts, f"the card has rows that nobody owns: {ghosts - self.ghosts}"
        assert self.unrestored or not lost - self.lost, f"the card lacks {lost - self.lost}"
        self.ghosts, self.lost, self.unrestored = ghosts, lost, False
        assert not (clean and ghosts), f"rows were not cleared again: {ghosts}"
        self.uncleared &= not clean

    def is_on(self, sa: Sa) -> bool:
        """Whether OID_TCP_OFFLOAD_PARAMETERS leaves on what an association is made of (N-CP6-7)."""
        setting = self.settings[sa.version - 1]
        return all(setting in ((2, 4) if layer.protocol == AH else (3, 4)) for layer in sa.layers)
