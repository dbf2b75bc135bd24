"""Completions and indications of status that are too many or missing, and capacities that are not there."""

from __future__ import annotations

from collections.abc import Sequence

from nicsim.boundary import (
    Miniport,
    MiniportEvent,
    OffloadAttributes,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    StatusIndication,
)
from nicsim.driver.impairments.passing import Ask, PassingMiniport
from offload_oids import Abi, NdisStatus
from offload_oids.layout import offset_of, size_of
from offload_oids.ndis_offload import NdisOffloadRevision2


class CompletesTwice(PassingMiniport):
    """Every request is completed once more than it should be (N-OID-6)."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._again: list[OidCompletion] = []

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        if result.status != NdisStatus.PENDING:
            self._again.append(OidCompletion(request.request_id, result))
        return result

    def poll(self) -> Sequence[MiniportEvent]:
        """Everything, and every completion a second time."""
        again, self._again = self._again, []
        events = self._below.poll()
        return [*again, *events, *(event for event in events if isinstance(event, OidCompletion))]


class NeverCompletes(PassingMiniport):
    """The N-th set is pending, and is never completed (N-OID-6)."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._swallowed: set[int] = set()

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        if request.kind is RequestKind.QUERY or not self._is_nth():
            return result
        self._swallowed.add(request.request_id)
        return OidResult(NdisStatus.PENDING, request.buffer)

    def poll(self) -> Sequence[MiniportEvent]:
        """Everything but that completion."""
        return [event for event in self._below.poll() if not self._is_swallowed(event)]

    def _is_swallowed(self, event: MiniportEvent) -> bool:
        return isinstance(event, OidCompletion) and event.request_id in self._swallowed


class StatusNotIndicated(PassingMiniport):
    """No status is ever indicated (N-CP6-5)."""

    def poll(self) -> Sequence[MiniportEvent]:
        """Completions only."""
        return [event for event in self._below.poll() if not isinstance(event, StatusIndication)]


class CapacityOverstated(PassingMiniport):
    """Version 2 is reported with room for N more associations than there is (N-V2-4)."""

    def initialize(self) -> OffloadAttributes:
        """Start the driver, and improve on its report."""
        attributes = self._below.initialize()
        report, hardware = attributes.current_configuration, attributes.hardware_capabilities
        return OffloadAttributes(self._improved(report), self._improved(hardware))

    def _improved(self, report: bytes) -> bytes:
        """With a larger SaOffloadCapacity, where there is one; it has the same place in both ABIs (N-CP6-2)."""
        if len(report) < size_of(NdisOffloadRevision2, Abi.X64):
            return report
        at = offset_of(NdisOffloadRevision2, "ipsec_v2.sa_offload_capacity", Abi.X64)
        capacity = int.from_bytes(report[at : at + 4], "little") + self._number
        return report[:at] + capacity.to_bytes(4, "little") + report[at + 4 :]
