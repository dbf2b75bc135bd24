"""Several protocol drivers over one adapter: each has its own requests and completions, all hear what it indicates.

NDIS 5.1 lets one protocol at a time enable the adapter's task offload: while one has, an enabling or disabling set of
another fails and never reaches the driver. NDIS 6.0 has no such limit, and the newest set counts (N-CAP-14).

Over any `nicsim.boundary.Binding`; each `ProtocolBinding` implements it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from nicsim.boundary import (
    NO_TASKS,
    Binding,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    SendResult,
    StatusIndication,
    TaskWords,
)
from nicsim.capabilities import NdisVersion
from nicsim.reasons import Reason
from offload_oids import NdisStatus, Oid, StructureError
from offload_oids.task_offload import NdisTaskOffloadHeader


class Protocols:
    """An adapter that several protocol drivers are bound to."""

    def __init__(self, adapter: Binding, ndis: NdisVersion) -> None:
        self._adapter = adapter
        self._one_enables = ndis is NdisVersion.NDIS_5_1
        self._bound: list[ProtocolBinding] = []
        self._enabled_by: ProtocolBinding | None = None
        self._ids = count(1)
        self._asked: dict[int, tuple[ProtocolBinding, OidRequest]] = {}

    def bind(self) -> ProtocolBinding:
        """Another protocol driver."""
        self._bound.append(ProtocolBinding(self))
        return self._bound[-1]

    @property
    def adapter(self) -> Binding:
        """What all of them are bound to."""
        return self._adapter

    def request(self, protocol: ProtocolBinding, request: OidRequest) -> OidResult:
        """A request of one protocol, under a number that no other one has."""
        enabling = self._one_enables and request.kind is RequestKind.SET and request.oid == Oid.OID_TCP_TASK_OFFLOAD
        if enabling and self._enabled_by not in (None, protocol):
            detail = "another protocol has enabled the task offload of this adapter"
            return OidResult(NdisStatus.FAILURE, request.buffer, reason=Reason.ALREADY_ENABLED, detail=detail)
        own_id = next(self._ids)
        result = self._adapter.request(replace(request, request_id=own_id))
        if result.status == NdisStatus.PENDING:
            self._asked[own_id] = protocol, request
        else:
            self._done(protocol, request, result)
        return result

    def collect(self) -> None:
        """Hand out what has happened: completions to who asked, indications to all."""
        for event in self._adapter.poll():
            if isinstance(event, StatusIndication):
                for protocol in self._bound:
                    protocol.events.append(event)
            elif event.request_id in self._asked:
                protocol, request = self._asked.pop(event.request_id)
                self._done(protocol, request, event.result)
                protocol.events.append(OidCompletion(request.request_id, event.result))

    def _done(self, protocol: ProtocolBinding, request: OidRequest, result: OidResult) -> None:
        """Remember who has enabled task offload, and until when."""
        if (request.kind, request.oid) != (RequestKind.SET, Oid.OID_TCP_TASK_OFFLOAD):
            return
        if result.status == NdisStatus.SUCCESS:
            self._enabled_by = protocol if enables(request) else None


class ProtocolBinding:
    """One protocol driver's way to the adapter. Implements `nicsim.boundary.Binding`."""

    def __init__(self, protocols: Protocols) -> None:
        self.abi = protocols.adapter.abi
        self.events: list[OidCompletion | StatusIndication] = []
        self._protocols = protocols

    def request(self, request: OidRequest) -> OidResult:
        """An OID request of this protocol."""
        return self._protocols.request(self, request)

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """A frame of this protocol."""
        return self._protocols.adapter.send(frame, ipsec, tunnel, tasks)

    def poll(self) -> Sequence[OidCompletion | StatusIndication]:
        """What has happened for this protocol since its last call, oldest first."""
        self._protocols.collect()
        events, self.events = self.events, []
        return events


def enables(request: OidRequest) -> bool:
    """Whether a set of OID_TCP_TASK_OFFLOAD has a task chain (N-CAP-12)."""
    try:
        return bool(NdisTaskOffloadHeader.unpack(request.buffer, request.abi).offset_first_task)
    except StructureError:
        return False
