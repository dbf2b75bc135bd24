"""NDIS between transport and driver: one ordinary OID at a time, direct OIDs at once, some answered by itself.

An ordinary request that arrives while another is pending is held back until that one completes (N-OID-4). Direct
requests are not serialised (N-OID-5). OID_TCP_OFFLOAD_CURRENT_CONFIG, OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES and the
query of OID_OFFLOAD_ENCAPSULATION never reach the driver: NDIS answers from what the driver has reported.

Implements `nicsim.boundary.Binding` on top of `nicsim.boundary.Miniport`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from nicsim.boundary import (
    Miniport,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    SendResult,
    StatusIndication,
)
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.layout import size_through
from offload_oids.ndis_offload import (
    FamilyEncapsulation,
    NdisObjectHeader,
    NdisObjectType,
    NdisOffloadEncapsulation,
    NdisOffloadSet,
)

DIRECT_OIDS = frozenset(
    {
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX,
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
    }
)


class Ndis:
    """One adapter as a protocol driver sees it through NDIS."""

    def __init__(self, miniport: Miniport, abi: Abi) -> None:
        self.abi = abi
        self._miniport = miniport
        attributes = miniport.initialize()
        self._answers: dict[int, bytes] = {}
        if attributes.current_configuration:
            self._answers[Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG] = attributes.current_configuration
            self._answers[Oid.OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES] = attributes.hardware_capabilities
            self._answers[Oid.OID_OFFLOAD_ENCAPSULATION] = nothing_enabled(abi)
        self._outstanding: OidRequest | None = None
        self._held: deque[OidRequest] = deque()
        self._events: list[OidCompletion | StatusIndication] = []

    def request(self, request: OidRequest) -> OidResult:
        """An OID request of the transport: answered here, passed down, or held back."""
        if request.kind is RequestKind.QUERY and request.oid in self._answers:
            return self._answered(request)
        if request.oid in DIRECT_OIDS:
            return self._collect(request, self._miniport.direct_request(request))
        if self._outstanding is not None:
            self._held.append(request)
            return OidResult(NdisStatus.PENDING, request.buffer)
        return self._pass_down(request)

    def send(self, frame: bytes, ipsec: bytes) -> SendResult:
        """Send a frame; NDIS adds nothing."""
        return self._miniport.send(frame, ipsec)

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
            self._outstanding = request
        return self._collect(request, result)

    def _collect(self, request: OidRequest, result: OidResult) -> OidResult:
        """Remember what a request changed of NDIS's own answers, and take up what the driver indicated."""
        if (
            result.status == NdisStatus.SUCCESS
            and request.kind is RequestKind.SET
            and request.oid == Oid.OID_OFFLOAD_ENCAPSULATION
        ):
            self._answers[request.oid] = request.buffer
        self._drain()
        return result

    def _drain(self) -> None:
        for event in self._miniport.poll():
            self._events.append(event)
            if isinstance(event, StatusIndication):
                if event.status == NdisStatus.TASK_OFFLOAD_CURRENT_CONFIG:
                    self._answers[Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG] = event.buffer
            elif self._outstanding is not None and event.request_id == self._outstanding.request_id:
                self._finish(self._outstanding, event.result)

    def _finish(self, request: OidRequest, result: OidResult) -> None:
        """An ordinary request is complete: let the next one through, until one pends again."""
        self._outstanding = None
        self._collect(request, result)
        while self._held and self._outstanding is None:
            following = self._held.popleft()
            answer = self._pass_down(following)
            if answer.status != NdisStatus.PENDING:
                self._events.append(OidCompletion(following.request_id, answer))


def nothing_enabled(abi: Abi) -> bytes:
    """What NDIS answers to a query of OID_OFFLOAD_ENCAPSULATION before the first set: off for both families."""
    size = size_through(NdisOffloadEncapsulation, "ipv6.header_size", abi)
    header = NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, size)
    off = FamilyEncapsulation(NdisOffloadSet.NDIS_OFFLOAD_SET_OFF)
    return NdisOffloadEncapsulation(header, off, off).pack(abi)
