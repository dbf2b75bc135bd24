"""OID requests: the dispatch table, the order of requests, and the one place where a refusal becomes a status.

A handler is a generator in four stanzas: UNPACK, CHECK, ACT, ANSWER. In ACT it yields the operations it wants of the
card and is sent back whether each one succeeded, so that a card which answers PENDING merely suspends it. Nothing
changes before CHECK is done.

Called by device.py. The handlers are in associations.py, associations_v2.py, associations_v2_ex.py,
sequence_numbers.py, enabling.py, configuration.py and power.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nicsim.boundary import (
    Card,
    CardControl,
    MiniportEvent,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    ResetCompletion,
    ResetResult,
    RowStatus,
    StatusIndication,
    Table,
)
from nicsim.capabilities import Capabilities, NdisVersion
from nicsim.driver import (
    associations,
    associations_v2,
    associations_v2_ex,
    configuration,
    enabling,
    power,
    sequence_numbers,
)
from nicsim.driver.handles import DevicePower, DriverState
from nicsim.driver.operations import Accepted, CardReset, Operation, RowOperation, Steps
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus, Oid, StructureError, TooShort

Handler = Callable[[DriverState, OidRequest], Steps]

# fmt: off
ORDINARY: dict[tuple[RequestKind, int], Handler] = {
    (RequestKind.QUERY, Oid.OID_TCP_TASK_OFFLOAD):                 enabling.query_task_offload,
    (RequestKind.SET,   Oid.OID_TCP_TASK_OFFLOAD):                 enabling.set_task_offload,
    (RequestKind.SET,   Oid.OID_OFFLOAD_ENCAPSULATION):            enabling.set_encapsulation,
    (RequestKind.SET,   Oid.OID_TCP_OFFLOAD_PARAMETERS):           configuration.set_offload_parameters,
    (RequestKind.SET,   Oid.OID_GEN_CURRENT_PACKET_FILTER):        configuration.set_packet_filter,
    (RequestKind.SET,   Oid.OID_802_3_MULTICAST_LIST):             configuration.set_multicast_list,
    (RequestKind.SET,   Oid.OID_PNP_SET_POWER):                    power.set_power,
    (RequestKind.SET,   Oid.OID_TCP_TASK_IPSEC_ADD_SA):            associations.add_sa,
    (RequestKind.SET,   Oid.OID_TCP_TASK_IPSEC_DELETE_SA):         associations.delete_sa,
    (RequestKind.SET,   Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA):     associations.add_udpesp_sa,
    (RequestKind.SET,   Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA):  associations.delete_udpesp_sa,
}
DIRECT: dict[tuple[RequestKind, int], Handler] = {
    (RequestKind.SET,   Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA):    associations_v2.add_sa,
    (RequestKind.SET,   Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX): associations_v2_ex.add_sa_ex,
    (RequestKind.SET,   Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA): associations_v2.delete_sa,
    (RequestKind.SET,   Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA): sequence_numbers.update_sa,
}
# fmt: on
KNOWN_OIDS = frozenset[int](Oid)
VERSION_1_OIDS = frozenset[int](
    {
        Oid.OID_TCP_TASK_IPSEC_ADD_SA,
        Oid.OID_TCP_TASK_IPSEC_DELETE_SA,
        Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA,
        Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA,
    }
)
NDIS_6_OIDS = frozenset[int]({Oid.OID_OFFLOAD_ENCAPSULATION, Oid.OID_TCP_OFFLOAD_PARAMETERS})


@dataclass(slots=True)
class _Work:
    """A request that waits or has begun: its handler, and the row operation it waits for."""

    oid: int
    """0 for a reset, which is no OID."""
    buffer: bytes
    steps: Steps
    completion: Callable[[OidResult], MiniportEvent]
    """How its end is told once it was PENDING."""
    waits_for: tuple[Table, int] | None = None
    accepted: bytes | None = None
    """The buffer as the host sees it while the request is PENDING, once it is accepted."""


class Control:
    """Runs requests one after another; a request behind a pending one waits for it (N-DEL-5, A-6)."""

    def __init__(self, state: DriverState, card: Card) -> None:
        self._state = state
        self._card = card
        self._pending: _Work | None = None
        self._behind: deque[_Work] = deque()
        self._retrying: set[tuple[Table, int]] = set()
        self._events: list[MiniportEvent] = []

    def handle(self, table: dict[tuple[RequestKind, int], Handler], request: OidRequest) -> OidResult:
        """Run a request as far as it goes: its result, or NDIS_STATUS_PENDING."""
        handler = table.get((request.kind, request.oid))
        if handler is None or not _offered(self._state.capabilities, request):
            status = NdisStatus.NOT_SUPPORTED if request.oid in KNOWN_OIDS else NdisStatus.INVALID_OID
            detail = f"this card's driver has no {request.kind.value} of OID 0x{request.oid:08X}"
            return OidResult(status, request.buffer, reason=Reason.NOT_OFFERED, detail=detail)
        if refusal := power.refused_at_the_door(self._state, request.oid):
            return _refused(request.buffer, refusal.status, refusal.reason, refusal)
        work = _Work(
            request.oid,
            request.buffer,
            handler(self._state, request),
            lambda result: OidCompletion(request.request_id, result),
        )
        if self._pending is not None:
            self._behind.append(work)
            return OidResult(NdisStatus.PENDING, request.buffer)
        result = self._begin(work)
        if result is None:
            buffer = request.buffer if work.accepted is None else work.accepted
            return OidResult(NdisStatus.PENDING, buffer)
        return result

    def reset(self) -> ResetResult:
        """Reset the card and restore it; requests that were pending are over (N-RST-3).

        The driver restores filter, multicast list and enabling itself, so AddressingReset is FALSE (N-RST-2).
        """
        if self._state.removed:
            return ResetResult(NdisStatus.HARD_ERRORS)
        if self._state.resetting:
            return ResetResult(NdisStatus.RESET_IN_PROGRESS)
        self._abort()
        work = _Work(0, b"", power.reset(self._state), _reset_completion)
        result = self._advance(work, None)
        return ResetResult(NdisStatus.PENDING if result is None else result.status)

    def remove(self) -> None:
        """The NIC is removed: requests are over, and all associations are deleted (N-RST-6)."""
        self._abort()
        self._state.forget_everything()
        self._state.removed = True
        self._operate(CardReset())

    def poll(self) -> Sequence[MiniportEvent]:
        """Take up what the card has finished; completions and indications since the last call, oldest first."""
        for done in self._card.poll():
            work = self._pending
            if work is None or work.waits_for != (done.table, done.slot):
                self._retried((done.table, done.slot), done.status)
                continue
            self._pending = None
            self._complete(work, self._advance(work, done.status is RowStatus.DONE))
            while self._behind and self._pending is None:
                following = self._behind.popleft()
                self._complete(following, self._begin(following))
        events, self._events = self._events, []
        return events

    def _complete(self, work: _Work, result: OidResult | None) -> None:
        if result is not None:
            self._events.append(work.completion(result))

    def _abort(self) -> None:
        """End every request that is not done; the card is about to forget what it has done of them."""
        unfinished = [*([self._pending] if self._pending else []), *self._behind]
        self._pending = None
        self._behind.clear()
        for work in unfinished:
            work.steps.close()
            refusal = RequestRefused(NdisStatus.REQUEST_ABORTED, Reason.ABORTED_BY_RESET, "the NIC was reset")
            self._complete(work, _refused(work.buffer, refusal.status, refusal.reason, refusal))

    def _begin(self, work: _Work) -> OidResult | None:
        """A request's turn has come."""
        if refusal := power.refused_when_its_turn_comes(self._state, work.oid):
            return _refused(work.buffer, refusal.status, refusal.reason, refusal)
        self._retry_marked()
        return self._advance(work, None)

    def _advance(self, work: _Work, outcome: bool | None) -> OidResult | None:
        """Drive a handler until it answers, or until the card says PENDING (None)."""
        result = self._run(work, outcome)
        if result is None or not result.bytes_needed or self._state.capabilities.readings.bytes_needed_is_total:
            return result
        return replace(result, bytes_needed=result.bytes_needed - len(work.buffer))

    def _run(self, work: _Work, outcome: bool | None) -> OidResult | None:
        try:
            operation: Operation = work.steps.send(outcome)
            while True:
                if isinstance(operation, Accepted):
                    if self._state.capabilities.readings.handles_published_when_accepted:
                        work.accepted = operation.buffer
                    operation = work.steps.send(True)
                    continue
                status = self._operate(operation)
                if status is RowStatus.PENDING and isinstance(operation, RowOperation):
                    work.waits_for = (operation.table, operation.slot)
                    self._pending = work
                    return None
                operation = work.steps.send(status is RowStatus.DONE)
        except StopIteration as stop:
            answer: OidResult = stop.value
            return answer
        except TooShort as error:  # a length fault and a content fault have different statuses
            return _refused(work.buffer, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH, error, error.needed)
        except StructureError as error:
            return _refused(work.buffer, NdisStatus.INVALID_DATA, Reason.BUFFER_CONTENTS, error)
        except RequestRefused as refusal:
            return _refused(work.buffer, refusal.status, refusal.reason, refusal)

    def _operate(self, operation: RowOperation | CardControl | CardReset | StatusIndication) -> RowStatus:
        if isinstance(operation, StatusIndication):
            self._events.append(operation)
            return RowStatus.DONE
        if isinstance(operation, CardControl):
            self._enable(operation)
            return RowStatus.DONE
        if isinstance(operation, CardReset):
            self._card.reset()
            self._retrying.clear()
            return RowStatus.DONE
        if operation.row is None:
            return self._card.clear_row(operation.table, operation.slot)
        return self._card.write_row(operation.table, operation.slot, operation.row)

    def _enable(self, control: CardControl) -> None:
        """Write the control register; while a row is marked, or power is low, the card is off."""
        off = self._state.marked or self._state.power is not DevicePower.D0
        self._card.enable(CardControl() if off else control)

    def _retry_marked(self) -> None:
        """Try again to clear what the card failed to clear (N-DEL-4)."""
        for place in list(self._state.marked):
            if place not in self._retrying:
                self._retrying.add(place)
                self._retried(place, self._card.clear_row(*place))

    def _retried(self, place: tuple[Table, int], status: RowStatus) -> None:
        """What came of such a try; a slot is free again once its row is clear."""
        if place not in self._retrying or status is RowStatus.PENDING:
            return
        self._retrying.remove(place)
        if status is RowStatus.DONE:
            self._state.marked.remove(place)
            if not self._state.is_withdrawn(place):
                self._state.slots[place[0]].give_back(place[1])
            if not self._state.marked:
                self._enable(self._state.control)


def _offered(capabilities: Capabilities, request: OidRequest) -> bool:
    """Whether a driver for such a card has the OID: what a card never claims, its driver does not offer (N-OID-1)."""
    if request.oid in VERSION_1_OIDS:
        return capabilities.version1 is not None
    if (request.kind, request.oid) in DIRECT:
        return capabilities.version2 is not None
    if request.oid in NDIS_6_OIDS:
        claims = capabilities.version1 or capabilities.version2
        return claims is not None and capabilities.ndis is not NdisVersion.NDIS_5_1
    return True


def _reset_completion(result: OidResult) -> ResetCompletion:
    # A reset that removal overtook has failed.
    aborted = result.status == NdisStatus.REQUEST_ABORTED
    return ResetCompletion(ResetResult(NdisStatus.HARD_ERRORS if aborted else result.status))


def _refused(buffer: bytes, status: NdisStatus, reason: Reason, error: Exception, needed: int = 0) -> OidResult:
    return OidResult(status, buffer, bytes_needed=needed, reason=reason, detail=str(error))
