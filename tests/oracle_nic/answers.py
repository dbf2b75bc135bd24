"""What a request may be answered with, and what the answer changes.

`possible` gives the statuses (the order of checks is nobody's promise); `settle` takes the real answer and changes the
state. A faultless request on a card that refuses nothing can only succeed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

from tests.oracle_nic import claims, requests
from tests.oracle_nic.packets import AH, ESP, IKE, OTHER, Sa
from tests.oracle_nic.requests import (
    FAILURE,
    INVALID_DATA,
    INVALID_LENGTH,
    INVALID_PARAMETER,
    NOT_ACCEPTED,
    NOT_SUPPORTED,
    REQUEST_ABORTED,
    RESET_IN_PROGRESS,
    RESOURCES,
    SUCCESS,
    Add,
    Short,
    Wrong,
)
from tests.oracle_nic.state import Request, State


class Answers(State):
    """The state of a NIC, and what requests do to it."""

    def possible(self, request: Request) -> set[int]:
        """The statuses with which it may end in this state, a reset in between aside."""
        if not self.offers(request.oid):
            return {NOT_SUPPORTED}
        if self.removed:
            return {NOT_ACCEPTED}
        if self.resetting:
            special = request.oid in (requests.V2_DELETE_SA, requests.SET_POWER)
            return {NOT_ACCEPTED if special else RESET_IN_PROGRESS}
        if self.low_power and request.oid != requests.SET_POWER:
            return {NOT_ACCEPTED}
        try:
            faults = self.faults(request.oid, request.buffer)
        except Short as short:
            return short.statuses
        except Wrong:
            return {INVALID_DATA}
        tight = {RESOURCES} if self.uncleared and self.takes_room(request.oid) else set()
        if faults:
            return faults | tight
        broken = {NOT_ACCEPTED if request.oid == requests.V2_UPDATE_SA else FAILURE} if request.failed else set()
        if (request.failed or tight) and request.oid == requests.V2_ADD_SA:  # any of its elements may give the status
            broken |= self.taken(requests.read_v2_adds(request.buffer, self.width))[1]
        if self.uncleared and request.oid in requests.DELETES:
            broken.add(FAILURE)  # what it names waits to be cleared already
        return {SUCCESS} | tight | broken

    def takes_room(self, oid: int) -> bool:
        adds = requests.ADD_SA, requests.ADD_UDPESP_SA, requests.V2_ADD_SA, requests.V2_ADD_SA_EX
        return oid in (*adds, requests.ENCAPSULATION, requests.PARAMETERS)

    def faults(self, oid: int, buffer: bytes) -> set[int]:
        """What is wrong with a request; nothing if it can only succeed."""
        if oid in (requests.ADD_SA, requests.ADD_UDPESP_SA):
            return self.v1_add_faults(requests.read_v1_add(buffer, self.width, oid == requests.ADD_UDPESP_SA))
        if oid == requests.V2_ADD_SA_EX:
            return self.v2_add_faults(requests.read_v2_add_ex(buffer, self.width))
        if oid == requests.V2_ADD_SA:
            taken, faults = self.taken(requests.read_v2_adds(buffer, self.width))
            return set() if any(taken) else faults
        if oid == requests.DELETE_SA:
            (handle,) = requests.read_handles(buffer, self.width, 1)
            return set() if self.alive(handle, 1) else {INVALID_DATA}
        if oid == requests.DELETE_UDPESP_SA:
            handle, entry = requests.read_handles(buffer, self.width, 2)
            return set() if self.alive(handle, 1) and (not entry or entry in self.entries) else {INVALID_DATA}
        if oid == requests.V2_DELETE_SA:
            handles = requests.read_v2_deletes(buffer, self.width)
            good = all(self.alive(handle, 2) for handle in handles) and len(set(handles)) == len(handles)
            return set() if good else {INVALID_DATA}
        if oid == requests.V2_UPDATE_SA:
            handle, operation, spi, _ = requests.read_v2_update(buffer, self.width)
            layer = self.alive(handle, 2) and self.sas[handle].layer({1: AH, 2: ESP}.get(operation, 0))
            return set() if layer and layer.spi == spi and layer.high is not None else {INVALID_PARAMETER}
        if oid == requests.SET_POWER:
            (state,) = requests.read(buffer, 0, "I")
            return set() if 1 <= state <= 4 else {INVALID_DATA}
        return self.switching_faults(oid, buffer)

    def room(self, inbound: bool, rows: int, address: bytes, already: Sequence[Add] = ()) -> set[int]:
        """Whether so many more rows fit, for one more address perhaps, `already` being taken on."""
        tables = self.profile["tables"]
        used = sum(len(sa.layers) for sa in self.sas.values() if sa.inbound == inbound)
        used += sum(len(claims.counted(add)) for add in already if bool(add.flags & 1) == inbound)
        faults = {RESOURCES} if used + rows > tables["inbound" if inbound else "outbound"] else set()
        if inbound and self.shares_addresses:
            addresses = {address, *(sa.dst for sa in self.sas.values() if sa.inbound)}
            addresses |= {add.dst for add in already if add.flags & 1}
            faults |= {NOT_SUPPORTED} if not any(address) else set()
            faults |= {RESOURCES} if len(addresses) > tables["address"] else set()
        return faults

    def v1_add_faults(self, add: Add) -> set[int]:
        kind, faults, inbound = self.kind_of(add), set(), add.flags == 1
        if add.entry:
            faults |= set() if kind in (IKE, OTHER) else {INVALID_DATA}
            if inbound and add.entry_handle:
                faults |= set() if add.entry_handle in self.entries else {INVALID_DATA}
            elif inbound and add.entry not in self.entries.values():
                faults |= self.entry_faults(add, *add.entry)
        faults |= claims.add_faults(self.words1, add, kind)
        return faults | self.room(inbound, len(claims.counted(add)), add.dst)

    def entry_faults(self, add: Add, kind: int, port: int) -> set[int]:
        """Whether a parser entry can be made: A-5, A-33, A-34, and room for it."""
        faults = set()
        tunnel = any(add.tunnel[0] + add.tunnel[1])
        if port == 0 or kind not in (IKE, OTHER):
            faults.add(INVALID_DATA)
        if (kind, port) != (OTHER, 4500) and not self.words1 & claims.SUBTYPES[tunnel, IKE]:
            faults.add(INVALID_DATA)
        if any(other != kind and taken == port for other, taken in self.entries.values()):
            faults.add(INVALID_DATA)
        if self.claims2 & set(claims.V2_SUBTYPES.values()) and (kind, port) == (IKE, 4500):
            faults.add(INVALID_DATA)
        return faults | self.parser_room()

    def parser_room(self) -> set[int]:
        return {RESOURCES} if len(self.entries) + self.own_row >= self.profile["tables"]["parser"] else set()

    def v2_add_faults(self, add: Add, already: Sequence[Add] = ()) -> set[int]:
        inbound, rows = bool(add.flags & 1), len(claims.counted(add))
        return claims.add_faults(self.words2, add, add.udp or None) | self.room(inbound, rows, add.dst, already)

    def taken(self, adds: list[Add]) -> tuple[list[bool], set[int]]:
        """Which elements of a list are taken on, and all that is wrong with the others."""
        taken: list[bool] = []
        faults: set[int] = set()
        for add in adds:
            wrong = self.v2_add_faults(add, [one for one, good in zip(adds, taken, strict=False) if good])
            faults |= wrong
            taken.append(not wrong)
        return taken, faults

    def switching_faults(self, oid: int, buffer: bytes) -> set[int]:
        if oid == requests.TASK_OFFLOAD:
            good, link, tasks, _ = requests.read_chain(buffer)
            faults = set() if good else {INVALID_DATA}
            if tasks:
                faults |= {FAILURE} if self.task is not None else set()
                faults |= claims.task_faults(self.claims1, self.links, link, tasks)
            return faults
        if oid == requests.ENCAPSULATION:
            head, *families = requests.read(buffer, 0, "I6I")
            faults = set() if head == 0x001C01A8 else {INVALID_DATA}
            for enabled, link in (families[:2], families[3:5]):
                if enabled > 2:
                    faults.add(INVALID_DATA)
                elif enabled == 1 and not link & self.links:
                    faults.add(INVALID_PARAMETER)
            if faults:
                return faults
            return self.own_row_faults(self.encapsulations(buffer), self.words2)
        faults, settings = self.parameters(buffer)
        return faults or self.own_row_faults(self.enabled, claims.left_of(self.claims2, settings[1]))

    def own_row_faults(self, enabled: tuple[int, int], words2: set[str]) -> set[int]:
        return self.parser_room() if self.needs_own_row(enabled, words2) else set()

    def needs_own_row(self, enabled: tuple[int, int], words2: set[str]) -> bool:
        return any(enabled) and bool(words2 & set(claims.V2_SUBTYPES.values())) and not self.own_row

    def encapsulations(self, buffer: bytes) -> tuple[int, int]:
        _, *families = struct.unpack_from("<7I", buffer)
        new = [
            {0: before, 1: link & self.links, 2: 0}[enabled]
            for before, (enabled, link) in zip(self.enabled, (families[:2], families[3:5]), strict=True)
        ]
        return new[0], new[1]

    def parameters(self, buffer: bytes) -> tuple[set[int], tuple[int, int]]:
        """NDIS_OFFLOAD_PARAMETERS: its faults, and the two settings it leaves (N-CP6-7)."""
        kind, revision, size = requests.read(buffer, 0, "BBH")
        if kind != 0x80 or size != {1: 20, 2: 22, 3: 26}.get(revision):
            raise Wrong
        if len(buffer) < size:
            raise Short(size)
        members = buffer[4:size]
        most = bytes([4, 4, 4, 4, 4, 2, 4, 2, 2, 2, 2]) + b"\xff" * 5 + bytes([4, 4, 2, 2, 2, 255])
        version1, version2, version2_ipv4 = members[6], *(members[16:18] if revision > 1 else b"\0\0")
        mine, other = (version2, version2_ipv4) if "IPv6" in self.claims2 else (version2_ipv4, version2)
        wrong = any(member > limit for member, limit in zip(members, most, strict=False))
        # Taking away what is not there changes nothing; giving it is a fault.
        wrong |= any(members[at] > 1 for at in range(9) if at not in self.tasks_claimed)
        wrong |= (version1 > 1 and not self.claims1) or (mine > 1 and not self.claims2) or other > 1
        return {INVALID_DATA} if wrong else set(), (version1 or self.settings[0], mine or self.settings[1])

    def settle(self, request: Request, status: int, answer: bytes, counts: tuple[int, int, int]) -> None:
        """Hold the real answer against this state, and change what a success changes."""
        oid, buffer = request.oid, request.buffer
        where = f"{status:#x} to {oid:#x}"
        read, written, needed = counts
        if status == REQUEST_ABORTED:
            assert answer == buffer, where
            self.abandon(request)
            return
        possible = self.possible(request)
        assert status in possible, f"{where}; the oracle says {[hex(one) for one in sorted(possible)]}"
        assert written == 0, where
        if status != SUCCESS:
            # A card that refused was asked, so the buffer may count as read.
            assert answer == buffer, where
            assert read == 0 or (status == FAILURE and read <= len(buffer)), where
            assert needed >= self.needed(request) if status == INVALID_LENGTH else needed == 0, where
            # The status of a list may be that of another element than the one whose row was refused.
            one_of_a_list = oid == requests.V2_ADD_SA and status not in (NOT_ACCEPTED, RESET_IN_PROGRESS)
            deleted = status == FAILURE and oid in requests.DELETES
            if deleted or (request.failed and (status == FAILURE or one_of_a_list)):
                self.haunt(request)
            return
        used = self.used(oid, buffer)
        assert used[0] <= read <= used[1], f"{where}: {read} bytes read, {used} were used"
        assert needed == 0, where
        if request.failed:
            self.haunt(request)
        self.change(request, answer)

    def needed(self, request: Request) -> int:
        """The least BytesNeeded of a request that is too short."""
        try:
            self.faults(request.oid, request.buffer)
        except Short as short:
            return short.needed
        raise AssertionError("the buffer is long enough")

    def used(self, oid: int, buffer: bytes) -> tuple[int, int]:
        """How much of a good buffer was used: lists and chains, and what follows them, may count as a whole."""
        if oid in (requests.ADD_SA, requests.ADD_UDPESP_SA):
            return (requests.read_v1_add(buffer, self.width, oid == requests.ADD_UDPESP_SA).end,) * 2
        if oid == requests.V2_ADD_SA_EX:
            return (requests.read_v2_add_ex(buffer, self.width).end,) * 2
        if oid == requests.V2_ADD_SA:
            return max(add.end for add in requests.read_v2_adds(buffer, self.width)), len(buffer)
        if oid == requests.V2_DELETE_SA:
            return 3 * self.width, len(buffer)
        exact = {
            requests.DELETE_SA: self.width, requests.DELETE_UDPESP_SA: 2 * self.width, requests.SET_POWER: 4,
            requests.V2_UPDATE_SA: 20 if self.width == 4 else 28, requests.ENCAPSULATION: 28,
            requests.PARAMETERS: {1: 20, 2: 22, 3: 26}.get(buffer[1], 0),
        }.get(oid)  # fmt: skip
        exact = requests.read_chain(buffer)[3] if exact is None else exact
        return exact, exact

    def change(self, request: Request, answer: bytes) -> None:
        oid, buffer = request.oid, request.buffer
        if oid in (requests.ADD_SA, requests.ADD_UDPESP_SA):
            self.take_v1(requests.read_v1_add(answer, self.width, oid == requests.ADD_UDPESP_SA))
        elif oid == requests.V2_ADD_SA_EX:
            add = requests.read_v2_add_ex(answer, self.width)
            self.take(add.handle, claims.sa_of(add, None))
        elif oid == requests.V2_ADD_SA:
            self.take_list(request, requests.read_v2_adds(answer, self.width))
        elif oid in requests.DELETES:
            for handle in self.named(request):
                self.sas.pop(handle, None)
                self.entries.pop(handle, None)
        elif oid == requests.V2_UPDATE_SA:
            handle, sa = self.updated(buffer)
            self.sas[handle] = sa
        elif oid == requests.SET_POWER:
            was_low, self.low_power = self.low_power, struct.unpack_from("<I", buffer)[0] != 1
            if was_low and not self.low_power:
                self.was_reset()
        elif oid == requests.TASK_OFFLOAD:
            _, link, tasks, _ = requests.read_chain(buffer)
            self.task = claims.enabled_words(tasks[-1][1]) if tasks else None
            on = self.task is not None and "receive" in self.task
            self.enabled = (claims.TASK_LINKS[link] & self.links if on else 0, 0)
        elif oid in (requests.ENCAPSULATION, requests.PARAMETERS):
            if oid == requests.ENCAPSULATION:
                self.enabled = self.encapsulations(buffer)
            else:
                self.settings = self.parameters(buffer)[1]
            self.own_row |= self.needs_own_row(self.enabled, self.words2)

    def take(self, handle: int, sa: Sa) -> None:
        assert handle, "an add succeeded without a handle"
        assert handle not in self.sas, "a handle was handed out while it is alive"
        assert handle not in self.entries, "a handle was handed out while it is alive"
        self.sas[handle] = sa

    def take_v1(self, add: Add) -> None:
        kind, handle = self.kind_of(add), add.entry_handle
        if add.entry and add.flags == 1 and handle not in self.entries:
            assert add.entry not in self.entries.values(), "a second entry of the same type and port (N-ADD-3)"
            assert handle, "an entry without a handle"
            assert handle not in self.sas, "a handle was handed out while it is alive"
            self.entries[handle] = add.entry
        elif add.entry and add.flags == 1:
            assert add.entry_handle in self.entries
        self.take(add.handle, claims.sa_of(add, kind))

    def take_list(self, request: Request, answers: list[Add]) -> None:
        """The elements that were taken on have a handle (N-V2-11)."""
        asked = requests.read_v2_adds(request.buffer, self.width)
        got = [add.handle != 0 for add in answers]
        if request.failed or self.uncleared:  # a row was refused, and left its slot to the next, or not
            assert any(got)
            before: list[Add] = []
            for add, handed in zip(asked, got, strict=True):
                assert not (handed and self.v2_add_faults(add, before)), "an element with a fault was taken on"
                before += [add] if handed else []
        else:
            assert got == self.taken(asked)[0], f"handles came back for {got}"
        for add in answers:
            if add.handle:
                self.take(add.handle, claims.sa_of(add, None))

    def named(self, request: Request) -> list[int]:
        """The handles that a delete names, of associations and entries."""
        if request.oid == requests.V2_DELETE_SA:
            return requests.read_v2_deletes(request.buffer, self.width)
        return list(requests.read_handles(request.buffer, self.width, 1 + (request.oid == requests.DELETE_UDPESP_SA)))

    def updated(self, buffer: bytes) -> tuple[int, Sa]:
        handle, operation, _, high = requests.read_v2_update(buffer, self.width)
        sa, protocol = self.sas[handle], {1: AH, 2: ESP}[operation]
        layers = tuple(replace(one, high=high) if one.protocol == protocol else one for one in sa.layers)
        return handle, replace(sa, layers=layers)

    def haunt(self, request: Request) -> None:
        """A refusal while the driver had this request: its rows may stay for a while (N-ADD-6, N-DEL-4)."""
        self.uncleared = True
        if request.oid in requests.DELETES:
            for handle in self.named(request):
                self.ghosts += self.rows_of(handle)
                self.sas.pop(handle, None)
                self.entries.pop(handle, None)
            return
        if request.oid == requests.PARAMETERS:  # some rows were to go, others to come
            self.unrestored = True
            for sa in self.sas.values():
                self.ghosts.update(self.sa_rows(sa) if not self.is_on(sa) else [])
        for add in self.adds_of(request):
            self.ghosts.update(self.sa_rows(claims.sa_of(add, self.kind_of(add))))
            if add.entry:
                self.ghosts[("parser", *add.entry)] += 1

    def adds_of(self, request: Request) -> list[Add]:
        """The adds of a request that could be taken on."""
        try:
            if request.oid in (requests.ADD_SA, requests.ADD_UDPESP_SA):
                adds = [requests.read_v1_add(request.buffer, self.width, request.oid == requests.ADD_UDPESP_SA)]
            elif request.oid == requests.V2_ADD_SA:
                adds = requests.read_v2_adds(request.buffer, self.width)
            elif request.oid == requests.V2_ADD_SA_EX:
                adds = [requests.read_v2_add_ex(request.buffer, self.width)]
            else:
                return []
        except (Short, Wrong):
            return []
        return [
            add
            for add in adds
            if not claims.add_faults(self.words1 if add.version == 1 else self.words2, add, self.kind_of(add))
        ]

    def abandon(self, request: Request) -> None:
        """A reset or a removal ended it: an add was not done, a delete perhaps was."""
        if request.oid in requests.DELETES:
            try:
                if not self.faults(request.oid, request.buffer):
                    self.doubtful.update(self.named(request))
            except (Short, Wrong):
                pass

    def touched(self, request: Request) -> list[int]:
        """The handles of what a pending request takes away or changes."""
        try:
            if self.faults(request.oid, request.buffer):
                return []
        except (Short, Wrong):
            return []
        if request.oid == requests.V2_UPDATE_SA:
            return [requests.read_v2_update(request.buffer, self.width)[0]]
        return self.named(request) if request.oid in requests.DELETES else []
