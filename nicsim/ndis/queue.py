"""NDIS between transport and driver: one ordinary OID at a time, direct OIDs at once, some answered by itself.

An ordinary request that arrives while another is pending is held back until that one completes (N-OID-4). Direct
requests are not serialised (N-OID-5). OID_TCP_OFFLOAD_CURRENT_CONFIG, OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES and the
query of OID_OFFLOAD_ENCAPSULATION never reach the driver: NDIS answers from what the driver has reported. Around a
reset NDIS tells the transport when it begins and ends, and sends again what the driver did not keep (N-RST-2, 4).

Implements `nicsim.boundary.Binding` on top of `nicsim.boundary.Miniport`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from nicsim.boundary import (
    NO_TASKS,
    Miniport,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    ResetCompletion,
    ResetResult,
    SendResult,
    StatusIndication,
    TaskWords,
)
from nicsim.errors import OffloadProtocolError
from offload_oids import Abi, NdisStatus, Oid, StructureError
from offload_oids.layout import size_through
from offload_oids.ndis_offload import (
    FamilyEncapsulation,
    NdisObjectHeader,
    NdisObjectType,
    NdisOffloadEncapsulation,
    NdisOffloadSet,
)
from offload_oids.ndis_requests import read_status_indication

DIRECT_OIDS = frozenset(
    {
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX,
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
    }
)
# What NDIS sends again after a reset that lost it, in this order (N-RST-2).
SENT_AGAIN = (Oid.OID_GEN_CURRENT_PACKET_FILTER, Oid.OID_802_3_MULTICAST_LIST, Oid.OID_OFFLOAD_ENCAPSULATION)


class Ndis:
    """One adapter as a protocol driver sees it through NDIS.

    With `serialise=False` a harness takes the queue away, to reach a driver's own order of requests (N-DEL-5).
    """

    def __init__(self, miniport: Miniport, abi: Abi, *, serialise: bool = True) -> None:
        self.abi = abi
        self._miniport = miniport
        self._serialise = serialise
        attributes = miniport.initialize()
        self._answers: dict[int, bytes] = {}
        if attributes.current_configuration:
            self._answers[Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG] = attributes.current_configuration
            self._answers[Oid.OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES] = attributes.hardware_capabilities
            self._answers[Oid.OID_OFFLOAD_ENCAPSULATION] = nothing_enabled(abi)
        self._pending: dict[int, OidRequest] = {}
        """Ordinary requests that the driver has not completed: one at most, unless a harness took the queue away."""
        self._held: deque[OidRequest] = deque()
        self._resetting = False
        self._kept: dict[int, OidRequest] = {}
        """The last set that succeeded of each OID that may have to be sent again."""
        self._own_ids = count(-1, -1)
        self._events: list[OidCompletion | StatusIndication] = []

    def request(self, request: OidRequest) -> OidResult:
        """An OID request of the transport: answered here, passed down, or held back."""
        if request.kind is RequestKind.QUERY and request.oid in self._answers:
            return self._answered(request)
        if request.oid in DIRECT_OIDS:
            return self._collect(request, self._miniport.direct_request(request))
        if self._serialise and self._pending:
            self._held.append(request)
            return OidResult(NdisStatus.PENDING, request.buffer)
        return self._pass_down(request)

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """Send a frame; NDIS adds nothing."""
        # A driver need not know of words that its version does not have, or that nobody gives it.
        if tasks != NO_TASKS:
            return self._miniport.send(frame, ipsec, tunnel, tasks)
        return self._miniport.send(frame, ipsec, tunnel) if tunnel else self._miniport.send(frame, ipsec)

    def reset(self) -> NdisStatus:
        """Reset the adapter. One that pends is told of when it begins and ends (N-RST-4)."""
        result = self._miniport.reset()
        if result.status == NdisStatus.PENDING:
            self._resetting = True
            self._events.append(StatusIndication(NdisStatus.RESET_START, b""))
        elif result.status != NdisStatus.RESET_IN_PROGRESS:
            self._restore(result)
        self._drain()
        return result.status

    def remove(self) -> None:
        """The adapter is removed; the driver deletes what it has (N-RST-6)."""
        self._miniport.remove()
        self._drain()

    def poll(self) -> Sequence[OidCompletion | StatusIndication]:
        """Completions and indications since the last call, oldest first."""
        self._drain()
        events, self._events = self._events, []
        return events

    def _answered(self, request: OidRequest) -> OidResult:
        answer = self._answers[request.oid]
        if len(request.buffer) < len(answer):
            return OidResult(NdisStatus.BUFFER_TOO_SHORT, request.buffer, bytes_needed=len(answer))
        return OidResult(NdisStatus.SUCCESS, answer + request.buffer[len(answer) :], bytes_written=len(answer))

    def _pass_down(self, request: OidRequest) -> OidResult:
        result = self._miniport.request(request)
        if result.status == NdisStatus.PENDING:
            self._pending[request.request_id] = request
        return self._collect(request, result)

    def _collect(self, request: OidRequest, result: OidResult) -> OidResult:
        """Remember what a request changed, and take up what the driver indicated."""
        if result.status == NdisStatus.SUCCESS and request.kind is RequestKind.SET and request.oid in SENT_AGAIN:
            self._kept[request.oid] = request
            if request.oid == Oid.OID_OFFLOAD_ENCAPSULATION:
                self._answers[request.oid] = request.buffer
        self._drain()
        return result

    def _drain(self) -> None:
        for event in self._miniport.poll():
            if isinstance(event, ResetCompletion):
                self._reset_done(event.result)
                continue
            if isinstance(event, StatusIndication):
                event = read_indication(event, self.abi)
                self._events.append(event)
                if event.status == NdisStatus.TASK_OFFLOAD_CURRENT_CONFIG:
                    self._answers[Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG] = event.buffer
                continue
            self._tell(event)
            if request := self._pending.pop(event.request_id, None):
                self._collect(request, event.result)
                self._release()

    def _tell(self, completion: OidCompletion) -> None:
        if completion.request_id >= 0:  # those below are NDIS's own requests
            self._events.append(completion)

    def _release(self) -> None:
        """Let held requests through, until one pends again; during a reset none (N-RST-4)."""
        while self._held and not self._resetting and not (self._serialise and self._pending):
            following = self._held.popleft()
            answer = self._pass_down(following)
            if answer.status != NdisStatus.PENDING:
                self._tell(OidCompletion(following.request_id, answer))

    def _reset_done(self, result: ResetResult) -> None:
        self._resetting = False
        self._restore(result)
        self._events.append(StatusIndication(NdisStatus.RESET_END, b""))

    def _restore(self, result: ResetResult) -> None:
        """After AddressingReset, send again what the driver lost, before anything that was held (N-RST-2)."""
        if result.addressing_reset:
            again = [self._kept[oid] for oid in SENT_AGAIN if oid in self._kept]
            self._held.extendleft(replace(request, request_id=next(self._own_ids)) for request in reversed(again))
        self._release()


def read_indication(indication: StatusIndication, abi: Abi) -> StatusIndication:
    """An indication as its bytes say it. Raises OffloadProtocolError where a driver packed it wrong."""
    if not indication.packed:  # 5.1
        return indication
    try:
        said = read_status_indication(indication.packed, abi, indication.base)
    except StructureError as error:
        raise OffloadProtocolError(
            f"the driver indicated an NDIS_STATUS_INDICATION that cannot be read: {error}"
        ) from None
    if said != (indication.status, indication.buffer):
        raise OffloadProtocolError(
            f"the driver's NDIS_STATUS_INDICATION says status 0x{said[0]:08x} with {len(said[1])} bytes, "
            f"its call 0x{indication.status:08x} with {len(indication.buffer)}"
        )
    return indication


def nothing_enabled(abi: Abi) -> bytes:
    """What NDIS answers to a query of OID_OFFLOAD_ENCAPSULATION before the first set: off for both families."""
    size = size_through(NdisOffloadEncapsulation, "ipv6.header_size", abi)
    header = NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, size)
    off = FamilyEncapsulation(NdisOffloadSet.NDIS_OFFLOAD_SET_OFF)
    return NdisOffloadEncapsulation(header, off, off).pack(abi)
