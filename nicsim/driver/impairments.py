"""Ways in which a driver misbehaves, each a thin miniport over a working one.

Each class stands between NDIS and a driver, implements `nicsim.boundary.Miniport`, and spoils one thing: a handle, a
status, a completion, an out-of-band word. None has any logic of a driver, so any driver can be spoiled like that. They
can be stacked. Answers are spoiled where the driver gives them at once; those that pend pass as they are.

`number` is the N of the catalogue (`nicsim.impairments`), which says what it counts and puts names to these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from nicsim.boundary import (
    Descriptor,
    Indication,
    Miniport,
    MiniportEvent,
    OffloadAttributes,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    ResetResult,
    SendResult,
    StatusIndication,
)
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import (
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
)
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa, IpsecOffloadV2AddSaEx, IpsecOffloadV2DeleteSa
from offload_oids.layout import Structure, offset_of, size_of
from offload_oids.ndis_offload import NdisOffloadRevision2

ADD_UDPESP, DELETE_UDPESP = Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA
ADD_V2 = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA
ADDS: dict[int, type[Structure]] = {
    Oid.OID_TCP_TASK_IPSEC_ADD_SA: OffloadIpsecAddSa,
    ADD_UDPESP: OffloadIpsecAddUdpespSa,
    ADD_V2: IpsecOffloadV2AddSa,
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: IpsecOffloadV2AddSaEx,
}
DELETES: dict[int, type[Structure]] = {
    Oid.OID_TCP_TASK_IPSEC_DELETE_SA: OffloadIpsecDeleteSa,
    DELETE_UDPESP: OffloadIpsecDeleteUdpespSa,
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: IpsecOffloadV2DeleteSa,
}
UDPESP: dict[int, type[Structure]] = {
    ADD_UDPESP: OffloadIpsecAddUdpespSa,
    DELETE_UDPESP: OffloadIpsecDeleteUdpespSa,
}
SA_HANDLE, ENTRY_HANDLE = "offload_handle", "encap_type_entry_offld_handle"
NOT_A_HANDLE = 0x0BAD0000
SA_DELETE_REQUEST = 1
LENGTH_FAULTS = (NdisStatus.INVALID_LENGTH, NdisStatus.BUFFER_TOO_SHORT)
CONTENT_FAULTS = (NdisStatus.INVALID_DATA, *LENGTH_FAULTS)

Ask = Callable[[OidRequest], OidResult]


def read_handle(structure: type[Structure], member: str, buffer: bytes, abi: Abi, base: int = 0) -> int:
    """A handle in a buffer whose structure begins at `base`."""
    at = base + offset_of(structure, member, abi)
    return int.from_bytes(buffer[at : at + size_of(OffloadIpsecDeleteSa, abi)], "little")


def with_handle(structure: type[Structure], member: str, buffer: bytes, abi: Abi, handle: int, base: int = 0) -> bytes:
    """The buffer with another handle in that place; one that is too short for it stays so."""
    at, size = base + offset_of(structure, member, abi), size_of(OffloadIpsecDeleteSa, abi)
    if len(buffer) < at + size:
        return buffer
    return buffer[:at] + handle.to_bytes(size, "little") + buffer[at + size :]


class PassingMiniport:
    """A miniport that hands everything on to the one below; the classes that follow each spoil something."""

    def __init__(self, below: Miniport, number: int) -> None:
        self._below = below
        self._number = number
        self._turn = 0

    def initialize(self) -> OffloadAttributes:
        """Start the driver."""
        return self._below.initialize()

    def request(self, request: OidRequest) -> OidResult:
        """An ordinary OID request."""
        return self._answer(request, self._below.request)

    def direct_request(self, request: OidRequest) -> OidResult:
        """A direct OID request."""
        return self._answer(request, self._below.direct_request)

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up."""
        return self._below.indicate(frame, descriptor)

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"") -> SendResult:
        """A frame on its way out."""
        return self._below.send(frame, ipsec, tunnel)

    def reset(self) -> ResetResult:
        """Reset the NIC."""
        return self._below.reset()

    def remove(self) -> None:
        """The NIC is removed."""
        self._below.remove()

    def poll(self) -> Sequence[MiniportEvent]:
        """What has happened since the last call."""
        return self._below.poll()

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        """Both kinds of request; `ask` hands one on."""
        return ask(request)

    def _is_nth(self) -> bool:
        """Count one turn: is it the N-th?"""
        self._turn += 1
        return self._turn == self._number

    def _is_every_nth(self) -> bool:
        """Count one turn: is it one of every N?"""
        self._turn += 1
        return self._turn % self._number == 0


# --- adding --------------------------------------------------------------------------------------------------------


class TableFullEarly(PassingMiniport):
    """After N associations the tables are said to be full."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        if request.oid not in ADDS:
            return ask(request)
        if self._turn == self._number:
            return OidResult(NdisStatus.RESOURCES, request.buffer, reason=Reason.SA_TABLE_FULL)
        result = ask(request)
        self._turn += result.status == NdisStatus.SUCCESS
        return result


class GoodBufferRefused(PassingMiniport):
    """The N-th add is called invalid, whatever it is."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        if request.oid in ADDS and self._is_nth():
            return OidResult(NdisStatus.INVALID_DATA, request.buffer, reason=Reason.BUFFER_CONTENTS)
        return ask(request)


class BadBufferAccepted(PassingMiniport):
    """A buffer that is too short or invalid is answered with success."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        return OidResult(NdisStatus.SUCCESS, request.buffer) if result.status in CONTENT_FAULTS else result


class BytesNeededWrong(PassingMiniport):
    """BytesNeeded is what is missing, not the total (A-10)."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        if result.status not in LENGTH_FAULTS:
            return result
        return replace(result, bytes_needed=max(0, result.bytes_needed - len(request.buffer)))


class SpoiledHandle(PassingMiniport):
    """The handle that every N-th add answers is one that `spoil` makes of it and of the first handle answered."""

    def __init__(self, spoil: Callable[[int, int], int], below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._spoil = spoil
        self._first = 0

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        structure = ADDS.get(request.oid)
        if structure is None or result.status != NdisStatus.SUCCESS:
            return result
        handle = read_handle(structure, SA_HANDLE, result.buffer, request.abi)
        self._first = self._first or handle
        if not self._is_every_nth():
            return result
        spoiled = self._spoil(handle, self._first)
        return replace(result, buffer=with_handle(structure, SA_HANDLE, result.buffer, request.abi, spoiled))


def no_handle(handle: int, first: int) -> int:
    """NULL."""
    return 0


def wrong_handle(handle: int, first: int) -> int:
    """One that the driver does not know."""
    return handle | NOT_A_HANDLE


def first_handle(handle: int, first: int) -> int:
    """That of the first association."""
    return first


# --- lists (version 2) ---------------------------------------------------------------------------------------------


def places_in_list(request: OidRequest, buffer: bytes) -> Iterator[int]:
    """Where each structure of a list of adds begins; a list that a driver should have refused ends somewhere (A-38)."""
    at, visited = 0, set[int]()
    while 0 <= at < len(buffer) and at not in visited:
        visited.add(at)
        yield at
        following = read_handle(IpsecOffloadV2AddSa, "next", buffer, request.abi, at)
        at = following - request.base if following else len(buffer)


class SpoiledList(PassingMiniport):
    """A list of which some were added, and some not, is answered as `spoil` says."""

    def __init__(self, spoil: Callable[[OidRequest, OidResult], OidResult], below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._spoil = spoil

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        if request.oid != ADD_V2 or result.status != NdisStatus.SUCCESS:
            return result
        places = places_in_list(request, result.buffer)
        handles = [read_handle(IpsecOffloadV2AddSa, SA_HANDLE, result.buffer, request.abi, at) for at in places]
        return result if all(handles) else self._spoil(request, result)


def all_failed(request: OidRequest, result: OidResult) -> OidResult:
    """The whole list is said to have failed (N-V2-11)."""
    return OidResult(NdisStatus.FAILURE, request.buffer, reason=Reason.SA_TABLE_FULL)


def null_handle_forgotten(request: OidRequest, result: OidResult) -> OidResult:
    """Those that were not added have a handle all the same (N-V2-11)."""
    buffer = result.buffer
    for at in places_in_list(request, buffer):
        if not read_handle(IpsecOffloadV2AddSa, SA_HANDLE, buffer, request.abi, at):
            buffer = with_handle(IpsecOffloadV2AddSa, SA_HANDLE, buffer, request.abi, NOT_A_HANDLE, at)
    return replace(result, buffer=buffer)


# --- deleting ------------------------------------------------------------------------------------------------------


class DeleteIgnored(PassingMiniport):
    """Every N-th delete is answered with success, and nothing is deleted."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        if request.oid in DELETES and self._is_every_nth():
            return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=len(request.buffer))
        return ask(request)


class DeleteTakesNeighbour(PassingMiniport):
    """A delete takes the association that was added before or after the one it names."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._live: list[int] = []

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        structure = DELETES.get(request.oid)
        if structure is None:
            result = ask(request)
            if request.oid in ADDS and result.status == NdisStatus.SUCCESS:
                self._live.append(read_handle(ADDS[request.oid], SA_HANDLE, result.buffer, request.abi))
            return result
        named = read_handle(structure, SA_HANDLE, request.buffer, request.abi)
        victim = next((handle for handle in reversed(self._live) if handle != named), named)
        result = ask(replace(request, buffer=with_handle(structure, SA_HANDLE, request.buffer, request.abi, victim)))
        if result.status == NdisStatus.SUCCESS:
            self._live = [handle for handle in self._live if handle != victim]
        return replace(result, buffer=request.buffer)


# --- parser entries ------------------------------------------------------------------------------------------------


class EntryDeletedEarly(PassingMiniport):
    """A parser entry goes with the first association that is deleted (N-DEL-2)."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._entry_of: dict[int, int] = {}

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        if request.oid == DELETE_UDPESP:
            sa = read_handle(OffloadIpsecDeleteUdpespSa, SA_HANDLE, request.buffer, request.abi)
            entry = self._entry_of.get(sa, 0)
            self._entry_of = {one: its for one, its in self._entry_of.items() if its != entry}
            return ask(naming_entry(request, entry))  # zero where it went with another one before
        result = ask(request)
        if request.oid == ADD_UDPESP and result.status == NdisStatus.SUCCESS:
            sa = read_handle(OffloadIpsecAddUdpespSa, SA_HANDLE, result.buffer, request.abi)
            entry = read_handle(OffloadIpsecAddUdpespSa, ENTRY_HANDLE, result.buffer, request.abi)
            self._entry_of[sa] = entry
        return result


class EntryNeverDeleted(PassingMiniport):
    """A parser entry stays, though a delete names it (N-DEL-3)."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        return ask(naming_entry(request, 0) if request.oid == DELETE_UDPESP else request)


def naming_entry(request: OidRequest, entry: int) -> OidRequest:
    """The delete, naming another parser entry."""
    buffer = with_handle(OffloadIpsecDeleteUdpespSa, ENTRY_HANDLE, request.buffer, request.abi, entry)
    return replace(request, buffer=buffer)


class SecondEntry(PassingMiniport):
    """An add that finds its parser entry in the list answers a handle of its own for it (N-ADD-3)."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._known: set[int] = set()
        self._real: dict[int, int] = {}

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        structure = UDPESP.get(request.oid)
        if structure is None:
            return ask(request)
        named = read_handle(structure, ENTRY_HANDLE, request.buffer, request.abi)
        real = self._real.get(named, named)
        passed = with_handle(structure, ENTRY_HANDLE, request.buffer, request.abi, real)
        result = ask(replace(request, buffer=passed))
        if request.oid == DELETE_UDPESP or result.status != NdisStatus.SUCCESS:
            return result
        entry = read_handle(structure, ENTRY_HANDLE, result.buffer, request.abi)
        if named == 0 and entry in self._known:
            alias = NOT_A_HANDLE + len(self._real)
            self._real[alias] = entry
            return replace(result, buffer=with_handle(structure, ENTRY_HANDLE, result.buffer, request.abi, alias))
        self._known.add(entry)
        return result


# --- completions and indications of status -------------------------------------------------------------------------


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


# --- received frames -----------------------------------------------------------------------------------------------


class DropsFrames(PassingMiniport):
    """Every N-th of the frames that `wanted` is about is never indicated: an empty frame stands for none."""

    def __init__(self, wanted: Callable[[bytes, Descriptor], bool], below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._wanted = wanted

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, or not."""
        indication = self._below.indicate(frame, descriptor)
        if self._wanted(frame, descriptor) and self._is_every_nth():
            return Indication(b"", bytes(len(indication.ipsec)), bytes(len(indication.header)))
        return indication


def any_frame(frame: bytes, descriptor: Descriptor) -> bool:
    """All of them."""
    return True


def is_failed(frame: bytes, descriptor: Descriptor) -> bool:
    """Its check failed."""
    return descriptor.crypto_status != 0


def is_keepalive(frame: bytes, descriptor: Descriptor) -> bool:
    """It is a NAT keepalive."""
    return descriptor.reason == Reason.KEEPALIVE.number


def is_ike(frame: bytes, descriptor: Descriptor) -> bool:
    """It is IKE on a port with a parser entry."""
    return descriptor.reason == Reason.IKE.number


class DropsShort(PassingMiniport):
    """Frames of fewer than N bytes are never indicated: an empty frame stands for none."""

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, or not."""
        indication = self._below.indicate(frame, descriptor)
        return indication if len(frame) >= self._number else replace(indication, frame=b"")


class DeleteRequested(PassingMiniport):
    """Every N-th frame that was processed asks for its association to be deleted (N-SA-22)."""

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, with that bit."""
        indication = self._below.indicate(frame, descriptor)
        if not descriptor.crypto_done or not self._is_every_nth():
            return indication
        return replace(indication, ipsec=bytes([indication.ipsec[0] | SA_DELETE_REQUEST]) + indication.ipsec[1:])


class WordTooShort(PassingMiniport):
    """The out-of-band word of every N-th frame is cut to one byte."""

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, with the stump of a word."""
        indication = self._below.indicate(frame, descriptor)
        return replace(indication, ipsec=indication.ipsec[:1]) if self._is_every_nth() else indication


class WordOfFrameBefore(PassingMiniport):
    """Every frame goes up with the out-of-band word of the one before it."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._word = b""

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, with another one's word."""
        indication = self._below.indicate(frame, descriptor)
        word = self._word or bytes(len(indication.ipsec))
        self._word = indication.ipsec
        return replace(indication, ipsec=word)


# --- frames to send ------------------------------------------------------------------------------------------------


class UnknownHandleSent(PassingMiniport):
    """A frame whose handle nobody knows is sent as it is, and called sent (N-TX-10)."""

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"") -> SendResult:
        """Send a frame, protected or not."""
        result = self._below.send(frame, ipsec, tunnel)
        if result.reason is Reason.UNKNOWN_SEND_HANDLE:
            return SendResult(NdisStatus.SUCCESS, frame, Reason.NO_SEND_WORK)
        return result


class HandleIgnored(PassingMiniport):
    """Every N-th frame is sent as if its handle were zero (N-TX-1)."""

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"") -> SendResult:
        """Send a frame, protected or not."""
        return self._below.send(frame, bytes(len(ipsec)) if self._is_every_nth() else ipsec, tunnel)
