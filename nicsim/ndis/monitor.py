"""The rule monitor: watches the stream between NDIS and the driver and between the driver and its card.

It keeps its own books of what the host was promised (handles) and of what the card was told (rows) and holds each
against the other when a request completes. A broken rule raises `RuleBroken` when the driver's call returns to NDIS,
never inside a call of the driver to its card: a driver may be in another language. What is allowed but unwise becomes
a note. Frames are not watched: `indicate`, `send` and the card's two paths are the originals, so they cost nothing.

Called by watched.py, which stands in the stream. Uses ledger.py, which reads what a request asks for.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from nicsim.boundary import (
    OidCompletion,
    OidRequest,
    OidResult,
    ParserRow,
    Row,
    RowCompletion,
    RowStatus,
    SaRow,
    Table,
)
from nicsim.capabilities import Losses, Readings
from nicsim.errors import RuleBroken
from nicsim.ndis.ledger import Asked, Wanted, allowed_statuses, explains, layer_of, parse_asked, same_association
from nicsim.ndis.shared_rows import SharedRows
from offload_oids import NdisStatus, Oid

Place = tuple[Table, int]
NO_LOSSES = Losses()
VERSION_2_ADDS = frozenset[int]({Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX})


DIGEST_READINGS = Readings()


class Check(Enum):
    """What the monitor checks: the name of the check and the rule behind it."""

    # fmt: off
    STATUS_NOT_ALLOWED = ("status-not-allowed", "A-1")
    BEYOND_BUFFER      = ("beyond-buffer", "A-10")
    COMPLETED_TWICE    = ("completed-twice", "N-OID-6")
    NEVER_PENDING      = ("never-pending", "N-OID-6")
    NEVER_COMPLETED    = ("never-completed", "N-OID-6")
    HANDLE_ZERO        = ("handle-zero", "N-SA-17")
    HANDLE_REUSED      = ("handle-reused", "N-SA-17")
    ROW_WITHOUT_OWNER  = ("row-without-owner", "N-SA-18")
    OWNER_WITHOUT_ROW  = ("owner-without-row", "N-SA-18")
    CLEARED_UNASKED    = ("cleared-unasked", "N-DEL-2")
    HANDLE_FORGOTTEN   = ("handle-forgotten", "N-SA-17")
    ROW_OF_FAILED_ADD  = ("row-of-failed-add", "N-ADD-6")
    KEYS_LEFT          = ("keys-left", "N-SA-21")
    OUTBOUND_PARSER    = ("outbound-parser", "A-37")
    TWO_PARSER_TYPES   = ("two-parser-types", "A-33")
    # fmt: on

    def __init__(self, label: str, rule: str) -> None:
        self.label = label
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is allowed, and that a person should know of."""

    rule: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Owner:
    """An association that the host holds a handle for: its rows, and the parser entry it came in through."""

    places: tuple[Place, ...]
    entry: int
    is_version_2: bool


class Monitor:
    """The books, and the checks. One monitor watches one driver over one card."""

    def __init__(self, readings: Readings = DIGEST_READINGS, losses: Losses = NO_LOSSES) -> None:
        self.notes: list[Note] = []
        self._readings = readings
        self._may_lose = losses != NO_LOSSES
        self._broken: deque[RuleBroken] = deque()
        # Requests: those the driver is working on, and the ids of those that pended and completed.
        self._running: list[Asked] = []
        self._pending: dict[int, deque[Asked]] = {}
        self._completed: set[int] = set()
        # The card, as it was told: rows, operations it has not finished, rows it failed to clear (N-DEL-4).
        self._rows: dict[Table, dict[int, Row]] = {table: {} for table in Table}
        self._waiting: dict[Place, deque[Row | None]] = {}
        self._marked: set[Place] = set()
        self._shared = SharedRows()
        # Who owns what: rows that nobody has claimed yet, rows claimed, and the handles that claimed them.
        self._unowned: dict[Place, Row] = {}
        # What nobody had claimed when the card was reset; a request that is told to be done only now may claim it.
        self._swept: dict[Place, Row] = {}
        self._owned: dict[Place, Row] = {}
        self._cleared: set[Place] = set()
        self._before_reset: dict[Place, Row] = {}
        """Where a reset may lose what was offloaded: rows whose owners have it back if the driver writes them again."""
        self._owners: dict[int, Owner] = {}
        self.at_will = False
        """During a reset or a removal the driver may clear what it likes."""
        self._entries: dict[int, Place] = {}
        self._users: Counter[int] = Counter()
        # Handles named by deletes that a reset ended, and rows cleared while a delete of their owner was in progress:
        # who knows whether they are gone (N-DEL-4, N-RST-3). A row that comes back unasked for was not.
        self._doubtful: set[int] = set()
        self._in_doubt: set[Place] = set()
        # Rows that a request in progress explains, and that may be another's: an enabling request succeeded with them
        # there, or they came where an owner in doubt had its own.
        self._may_be_owned: set[Place] = set()

    def finish(self) -> None:
        """The end of a run: nothing may be pending any more."""
        for asked in self._in_progress():
            self._fault(Check.NEVER_COMPLETED, f"request {asked.request.request_id} is still pending")
        self.raise_broken()

    def raise_broken(self) -> None:
        """Raise for the oldest rule broken that nobody was told of yet."""
        if self._broken:
            raise self._broken.popleft()

    # --- requests ------------------------------------------------------------------------------------------------

    def began(self, request: OidRequest) -> Asked:
        """A request reaches the driver."""
        asked = parse_asked(request, self._readings.wire_byte_order)
        self._running.append(asked)
        return asked

    def answered(self, asked: Asked, result: OidResult) -> None:
        """The driver's call returned: the request is done, or pending."""
        self._running.remove(asked)
        if result.status == NdisStatus.PENDING:
            self._completed.discard(asked.request.request_id)
            self._pending.setdefault(asked.request.request_id, deque()).append(asked)
        else:
            self._finished(asked, result)

    def completed(self, completion: OidCompletion) -> None:
        """The driver says that a pending request is done."""
        waiting = self._pending.get(completion.request_id)
        if waiting is None:
            twice = completion.request_id in self._completed
            check = Check.COMPLETED_TWICE if twice else Check.NEVER_PENDING
            self._fault(check, f"completion of request {completion.request_id}, which is not pending")
            return
        asked = waiting.popleft()
        if not waiting:
            del self._pending[completion.request_id]
        self._completed.add(completion.request_id)
        if completion.result.status == NdisStatus.PENDING:
            self._fault(Check.STATUS_NOT_ALLOWED, f"request {completion.request_id} completed with PENDING")
        self._finished(asked, completion.result)

    def _in_progress(self) -> Iterator[Asked]:
        yield from self._running
        for waiting in self._pending.values():
            yield from waiting

    def _finished(self, asked: Asked, result: OidResult) -> None:
        request = asked.request
        if result.status not in allowed_statuses(request):
            self._fault(
                Check.STATUS_NOT_ALLOWED, f"{request.kind.value} of OID 0x{request.oid:08X} answered {result.status!r}"
            )
        if max(result.bytes_written, result.bytes_read, len(result.buffer)) > len(request.buffer):
            self._fault(
                Check.BEYOND_BUFFER,
                f"the buffer has {len(request.buffer)} bytes; {result.bytes_read} were read, {result.bytes_written} "
                f"written and {len(result.buffer)} handed back",
            )
        if result.status == NdisStatus.SUCCESS:
            self._hand_out(asked, result)
        self._delete(asked, result.status)
        self._settle(asked, result.status)
        self._miss(asked)
        if not any(self._in_progress()):
            for slot in self._shared.without_owner():
                if (Table.ADDRESS, slot) not in self._marked and not self._is_owed(slot):
                    self._fault(Check.ROW_WITHOUT_OWNER, f"address row {slot} stays, and no inbound row names it")

    # --- what an add promised ------------------------------------------------------------------------------------

    def _hand_out(self, asked: Asked, result: OidResult) -> None:
        """An add succeeded: its handles are new, and each stands for rows (N-SA-17, N-SA-18)."""
        if not asked.wanted:
            return
        handed_back = replace(asked.request, buffer=result.buffer)
        answers = parse_asked(handed_back, self._readings.wire_byte_order).wanted
        if len(answers) != len(asked.wanted) or not any(answer.handle for answer in answers):
            self._fault(Check.HANDLE_ZERO, "the add succeeded and no handle came back")
            return
        for wanted, answer in zip(asked.wanted, answers, strict=True):
            if answer.handle:  # zero in a list: this one was not taken on (N-V2-11)
                entry = self._entry(wanted, answer) if wanted.parser else 0
                self._own(wanted, answer.handle, entry, asked.request.oid)

    def _entry(self, wanted: Wanted, answer: Wanted) -> int:
        """The parser entry of an inbound add: one of the list, or a new one with its row (N-ADD-2, N-ADD-3)."""
        handle = answer.entry_handle
        if not handle:
            self._fault(Check.HANDLE_ZERO, "the add succeeded and no parser entry handle came back")
        elif handle in self._owners:
            self._fault(Check.HANDLE_REUSED, f"handle 0x{handle:x} of a parser entry is that of an association")
        elif handle not in self._entries:
            places = (place for place, row in self._unclaimed() if row == wanted.parser_row(row))
            place = min(places, key=self._may_be_owned.__contains__, default=None)  # rather not another's
            if place is None:
                self._fault(Check.OWNER_WITHOUT_ROW, f"parser entry 0x{handle:x} has no row")
                return handle
            self._claim(place)
            self._entries[handle] = place
        return handle

    def _own(self, wanted: Wanted, handle: int, entry: int, oid: int) -> None:
        if handle in self._owners or handle in self._entries:
            self._fault(Check.HANDLE_REUSED, f"handle 0x{handle:x} was handed out while it is alive")
            return
        places = []
        for layer in wanted.layers:
            rows = ((place, row) for place, row in self._unclaimed() if place[0] is wanted.table)
            fitting = (place for place, row in rows if layer_of(row) == layer)
            place = min(fitting, key=self._may_be_owned.__contains__, default=None)
            if place is None:
                self._fault(Check.OWNER_WITHOUT_ROW, f"association 0x{handle:x} has no row for SPI 0x{layer[1]:x}")
                continue
            self._claim(place)
            places.append(place)
        self._owners[handle] = Owner(tuple(places), entry, oid in VERSION_2_ADDS)
        self._users[entry] += 1

    def _unclaimed(self) -> Iterator[tuple[Place, Row]]:
        """Rows that have no owner, those that a reset swept away last."""
        yield from self._unowned.items()
        yield from self._swept.items()

    def _claim(self, place: Place) -> None:
        row, swept = self._unowned.pop(place, None), self._swept.pop(place, None)
        if (claimed := row or swept) is not None:
            self._owned[place] = claimed

    # --- what a delete leaves --------------------------------------------------------------------------------------

    def _delete(self, asked: Asked, status: NdisStatus) -> None:
        """A delete is over: no row of it is left, unless the card would not clear it (N-SA-21, N-DEL-4)."""
        if status == NdisStatus.INVALID_DATA and self._names_only_what_is_alive(asked):
            self._fault(Check.HANDLE_FORGOTTEN, "a delete that names handles which are alive was refused as invalid")
        if status == NdisStatus.REQUEST_ABORTED:
            self._doubtful.update((*asked.deletes, asked.deletes_entry))
            self._in_doubt.update(self._places_of(asked))
        if status not in (NdisStatus.SUCCESS, NdisStatus.FAILURE):
            return
        for handle in asked.deletes:
            owner = self._owners.pop(handle, None)
            if owner is not None:
                self._users[owner.entry] -= 1
                for place in owner.places:
                    self._released(asked, place, status)
        entry_place = self._entries.pop(asked.deletes_entry, None)
        if entry_place is not None:
            self._released(asked, entry_place, status)
            if self._users.pop(asked.deletes_entry, 0) > 0:
                sentence = f"parser entry 0x{asked.deletes_entry:x} was deleted while associations need it"
                self.notes.append(Note("A-7", sentence))

    def _names_only_what_is_alive(self, asked: Asked) -> bool:
        """Whether a delete is one that the driver must know: every handle was handed out by it, for this version."""
        if not self._doubtful.isdisjoint((*asked.deletes, asked.deletes_entry)):
            return False
        owners = [self._owners.get(handle) for handle in asked.deletes]
        known = all(owner is not None and owner.is_version_2 == asked.is_version_2 for owner in owners)
        entry_known = not asked.deletes_entry or asked.deletes_entry in self._entries
        if any(owner and not self._before_reset.keys().isdisjoint(owner.places) for owner in owners):
            return False
        lost = any(place in self._before_reset for owner in owners if owner for place in owner.places)
        sound = asked.well_formed and len(set(asked.deletes)) == len(owners)
        return bool(owners) and known and entry_known and sound and not lost

    def _released(self, asked: Asked, place: Place, status: NdisStatus) -> None:
        row = self._owned.pop(place, None)
        self._in_doubt.discard(place)
        if row is None or place[1] not in self._rows[place[0]]:
            return
        may_stay = status == NdisStatus.FAILURE or (place in self._marked and asked.is_version_2)
        if not may_stay:
            self._fault(Check.KEYS_LEFT, f"the delete succeeded and {place[0].value} row {place[1]} is still there")
        self._marked.add(place)

    def _settle(self, asked: Asked, status: NdisStatus) -> None:
        """A request is over: no row that only it explains is left without an owner (N-ADD-6)."""
        if self._swept and next(self._in_progress(), None) is None:
            self._swept.clear()
        for place, row in list(self._unowned.items()):
            if not explains(asked, place[0], row):
                continue
            if asked.enables and status == NdisStatus.SUCCESS:
                self._may_be_owned.add(place)
            if self._explained(place[0], row):
                continue  # whose it is will be seen when the other request ends
            del self._unowned[place]
            if place in self._marked:
                self.notes.append(Note("N-ADD-6", f"{place[0].value} row {place[1]} of a failed add is marked"))
            elif asked.enables or place in self._may_be_owned:
                self._owned[place] = row  # by enabling, which no handle names, or by an owner that is back
                self._may_be_owned.discard(place)
            else:
                succeeded = status == NdisStatus.SUCCESS
                check = Check.ROW_WITHOUT_OWNER if succeeded else Check.ROW_OF_FAILED_ADD
                self._fault(check, f"{place[0].value} row {place[1]} stays, and no handle stands for it")

    def _miss(self, asked: Asked) -> None:
        """A request is over: what it cleared is of no owner (N-DEL-2, A-37), unless it changes what is on at all."""
        if self.at_will or asked.enables or asked.request.oid == Oid.OID_PNP_SET_POWER:
            self._cleared.clear()  # whatever else is in progress: nobody can tell who cleared what
        if any(self._in_progress()):
            return
        for table, slot in (self._cleared & self._owned.keys()) - self._in_doubt:
            outbound = table is Table.PARSER and asked.is_outbound_udpesp
            check = Check.OUTBOUND_PARSER if outbound else Check.CLEARED_UNASKED
            self._fault(check, f"{table.value} row {slot} was cleared, and its owner was not deleted")
        self._cleared.clear()

    def _is_owed(self, address_slot: int) -> bool:
        """Whether an association that is out of the card for a while will need this address row again."""
        rows = (row for row in (*self._owned.values(), *self._before_reset.values()) if isinstance(row, SaRow))
        return any(row.address_slot - 1 == address_slot for row in rows)

    # --- rows ------------------------------------------------------------------------------------------------------

    def writes(self, table: Table, slot: int, row: Row) -> None:
        """The driver is about to write a row: does any request explain it?"""
        if table is Table.ADDRESS:
            return  # no handle stands for it; at the end of the request a row must need it
        before = self._owned.get((table, slot)) or self._before_reset.get((table, slot))
        if before is not None and same_association(before, row):
            return  # its owner's again, as after a reset
        if not self._explained(table, row):
            touches = isinstance(row, ParserRow) and self._outbound_only()
            check = Check.OUTBOUND_PARSER if touches else Check.ROW_WITHOUT_OWNER
            self._fault(check, f"no request in progress explains the write of {table.value} row {slot}")

    def reset(self) -> None:
        """The card forgets its tables; the driver may write them again, each row for the owner it had (A-26)."""
        if self._may_lose:
            self._before_reset.update(self._owned)
            self._owned.clear()
        self._rows = {table: {} for table in Table}
        for place in self._may_be_owned & self._unowned.keys():
            self._owned[place] = self._unowned.pop(place)
        self._swept.update(self._unowned)
        for books in (self._waiting, self._marked, self._unowned, self._cleared, self._may_be_owned):
            books.clear()
        self._shared = SharedRows()

    def operated(self, place: Place, row: Row | None, status: RowStatus) -> None:
        """What the card said to a write, or to a clear (row None)."""
        if status is RowStatus.PENDING:
            self._waiting.setdefault(place, deque()).append(row)
        elif status is RowStatus.DONE:
            self._done(place, row)
        elif row is None:
            self._marked.add(place)

    def row_completed(self, completion: RowCompletion) -> None:
        """The card has finished an operation that it had answered with PENDING."""
        place = completion.table, completion.slot
        waiting = self._waiting.get(place)
        if waiting:
            self.operated(place, waiting.popleft(), completion.status)
            if not waiting:
                del self._waiting[place]

    def _done(self, place: Place, row: Row | None) -> None:
        table, slot = place
        was_marked = place in self._marked
        self._marked.discard(place)
        if wrong := self._shared.done(table, slot, row, self._marked):
            self._fault(Check.OWNER_WITHOUT_ROW, wrong)
        if table is Table.ADDRESS:
            return
        was = self._before_reset.pop(place, None)
        if row is None:
            self._rows[table].pop(slot, None)
            self._unowned.pop(place, None)
            if not was_marked:  # or somebody asked for it when the card refused
                self._cleared.add(place)
            self._may_be_owned.discard(place)
            if any(place in self._places_of(asked) for asked in self._in_progress()):
                self._in_doubt.add(place)
            return
        self._rows[table][slot] = row
        self._cleared.discard(place)
        if place in self._in_doubt:
            self._in_doubt.discard(place)
            if self._explained(table, row) and self._owned.pop(place, None) is not None:
                self._may_be_owned.add(place)
        before = self._owned.get(place)
        if was is not None and same_association(was, row) and not self._explained(table, row):
            self._owned[place] = row
            was = None
        elif before is None or not same_association(before, row):
            self._unowned[place] = row
        if was is not None:
            self._lost(place)
        if isinstance(row, ParserRow) and self._readings.one_parser_type_per_port:
            self._check_types(slot, row)

    def _lost(self, place: Place) -> None:
        """Somebody else has the place of a row that was lost, and so its owner is gone."""
        self._owners = {handle: owner for handle, owner in self._owners.items() if place not in owner.places}
        self._entries = {handle: at for handle, at in self._entries.items() if at != place}

    def _check_types(self, slot: int, row: ParserRow) -> None:
        for other_slot, other in self._rows[Table.PARSER].items():
            if not isinstance(other, ParserRow) or (Table.PARSER, other_slot) in self._marked:
                continue
            if other.port == row.port and other.udp_type != row.udp_type:
                self._fault(
                    Check.TWO_PARSER_TYPES, f"parser rows {other_slot} and {slot} parse port {row.port} in two ways"
                )

    def _explained(self, table: Table, row: Row) -> bool:
        return any(explains(asked, table, row) for asked in self._in_progress())

    def _outbound_only(self) -> bool:
        """Whether what is in progress are outbound UDP-ESP adds, and nothing else."""
        in_progress = list(self._in_progress())
        return bool(in_progress) and all(asked.is_outbound_udpesp for asked in in_progress)

    def _places_of(self, asked: Asked) -> Iterator[Place]:
        """The rows of all that a delete names."""
        for handle in asked.deletes:
            yield from self._owners[handle].places if handle in self._owners else ()
        if asked.deletes_entry in self._entries:
            yield self._entries[asked.deletes_entry]

    def _fault(self, check: Check, sentence: str) -> None:
        self._broken.append(RuleBroken(check.label, check.rule, sentence))
