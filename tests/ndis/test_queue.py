"""NDIS: one ordinary OID at a time, direct ones at once, and the answers that it gives itself."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from nicsim.boundary import (
    Descriptor,
    Indication,
    MiniportEvent,
    OffloadAttributes,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    ResetCompletion,
    ResetResult,
    SendResult,
    StatusIndication,
)
from nicsim.ndis.queue import Ndis
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddSa
from offload_oids.ndis_offload import NdisOffloadRevision2
from tests.driver.builders import native_frame, sa

PENDING, SUCCESS = NdisStatus.PENDING, NdisStatus.SUCCESS
ORDINARY = Oid.OID_TCP_TASK_IPSEC_ADD_SA
DELETE = Oid.OID_TCP_TASK_IPSEC_DELETE_SA
DIRECT = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA
CONFIG, HARDWARE = Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG, Oid.OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES
ENCAPSULATION = Oid.OID_OFFLOAD_ENCAPSULATION


@dataclass
class Miniport:
    """A driver under test that answers as the test says and remembers what reached it."""

    attributes: OffloadAttributes = field(default_factory=OffloadAttributes)
    answers: list[NdisStatus] = field(default_factory=list)
    seen: list[tuple[str, int]] = field(default_factory=list)
    events: list[MiniportEvent] = field(default_factory=list)
    buffers: list[bytes] = field(default_factory=list)
    resets: list[ResetResult] = field(default_factory=list)
    removed: bool = False

    def initialize(self) -> OffloadAttributes:
        return self.attributes

    def request(self, request: OidRequest) -> OidResult:
        self.seen.append(("ordinary", request.request_id))
        self.buffers.append(request.buffer)
        return OidResult(self.answers.pop(0) if self.answers else SUCCESS, request.buffer)

    def direct_request(self, request: OidRequest) -> OidResult:
        self.seen.append(("direct", request.request_id))
        return OidResult(self.answers.pop(0) if self.answers else SUCCESS, request.buffer)

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        return Indication(frame, b"")

    def send(self, frame: bytes, ipsec: bytes) -> SendResult:
        return SendResult(SUCCESS, frame, Reason.NO_SEND_WORK)

    def reset(self) -> ResetResult:
        return self.resets.pop(0)

    def remove(self) -> None:
        self.removed = True

    def poll(self) -> Sequence[MiniportEvent]:
        events, self.events = self.events, []
        return events

    def complete(self, number: int, status: NdisStatus = SUCCESS) -> None:
        self.events.append(OidCompletion(number, OidResult(status)))


def asked(ndis: Ndis, number: int, oid: int = ORDINARY, kind: RequestKind = RequestKind.SET) -> NdisStatus:
    return ndis.request(OidRequest(kind, oid, bytes(8), Abi.X64, request_id=number)).status


@pytest.mark.rule("N-OID-4")
def test_ordinary_requests_behind_a_pending_one_are_held_back_and_passed_down_in_order() -> None:
    driver = Miniport(answers=[PENDING, SUCCESS, PENDING, SUCCESS])
    ndis = Ndis(driver, Abi.X64)
    assert [asked(ndis, number) for number in (1, 2, 3, 4)] == [PENDING] * 4
    assert driver.seen == [("ordinary", 1)]
    assert ndis.poll() == []
    driver.complete(1)
    assert [event.request_id for event in ndis.poll()] == [1, 2]
    # The third pends in its turn, so the fourth is still held back.
    assert driver.seen == [("ordinary", 1), ("ordinary", 2), ("ordinary", 3)]
    driver.complete(3, NdisStatus.FAILURE)
    done = ndis.poll()
    assert [(event.request_id, event.result.status) for event in done] == [(3, NdisStatus.FAILURE), (4, SUCCESS)]
    assert asked(ndis, 5) == SUCCESS


@pytest.mark.rule("N-OID-5")
def test_direct_requests_pass_a_pending_ordinary_one_and_each_other() -> None:
    driver = Miniport(answers=[PENDING, PENDING, SUCCESS, SUCCESS])
    ndis = Ndis(driver, Abi.X64)
    assert asked(ndis, 1) == PENDING
    assert asked(ndis, 2, DIRECT) == PENDING
    assert asked(ndis, 3, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA) == SUCCESS
    assert driver.seen == [("ordinary", 1), ("direct", 2), ("direct", 3)]
    # A pending direct request holds nothing back, and its completion lets nothing through.
    assert asked(ndis, 4) == PENDING
    driver.complete(2)
    assert [event.request_id for event in ndis.poll()] == [2]
    assert ("ordinary", 4) not in driver.seen
    driver.complete(1)
    assert [event.request_id for event in ndis.poll()] == [1, 4]


@pytest.mark.rule("N-CP6-1", "N-OID-4")
def test_ndis_answers_the_two_configuration_queries_itself_even_while_a_request_pends() -> None:
    driver = Miniport(OffloadAttributes(b"now" * 10, b"can" * 12), answers=[PENDING])
    ndis = Ndis(driver, Abi.X64)
    asked(ndis, 1)
    for oid, answer in ((CONFIG, b"now" * 10), (HARDWARE, b"can" * 12)):
        result = ndis.request(OidRequest(RequestKind.QUERY, oid, b"\xee" * 40, Abi.X64))
        assert (result.status, result.bytes_written) == (SUCCESS, len(answer))
        assert result.buffer == answer + b"\xee" * (40 - len(answer))
        for length in range(len(answer)):
            short = ndis.request(OidRequest(RequestKind.QUERY, oid, bytes(length), Abi.X64))
            assert (short.status, short.bytes_needed) == (NdisStatus.BUFFER_TOO_SHORT, len(answer))
            assert (short.bytes_written, short.buffer) == (0, bytes(length))
    assert driver.seen == [("ordinary", 1)]


@pytest.mark.rule("N-CP6-1", "N-CP6-5")
def test_an_indicated_configuration_changes_the_current_answer_and_never_the_hardware_one() -> None:
    driver = Miniport(OffloadAttributes(b"old", b"can"))
    ndis = Ndis(driver, Abi.X64)
    driver.events.append(StatusIndication(NdisStatus.TASK_OFFLOAD_CURRENT_CONFIG, b"new"))
    driver.events.append(StatusIndication(NdisStatus.MEDIA_CONNECT, b"no configuration"))
    assert len(ndis.poll()) == 2
    assert ndis.request(OidRequest(RequestKind.QUERY, CONFIG, bytes(3), Abi.X64)).buffer == b"new"
    assert ndis.request(OidRequest(RequestKind.QUERY, HARDWARE, bytes(3), Abi.X64)).buffer == b"can"


def test_a_miniport_that_reported_nothing_is_asked_itself() -> None:
    driver = Miniport(answers=[NdisStatus.NOT_SUPPORTED])
    assert asked(Ndis(driver, Abi.X64), 1, CONFIG, RequestKind.QUERY) == NdisStatus.NOT_SUPPORTED
    assert driver.seen == [("ordinary", 1)]


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.rule("N-CP6-5")
def test_the_query_of_the_encapsulation_gives_back_the_last_set_that_succeeded(pending: bool) -> None:
    driver = Miniport(OffloadAttributes(b"x", b"x"), answers=[PENDING] if pending else [])
    ndis = Ndis(driver, Abi.X64)
    setting = bytes(range(28))
    ndis.request(OidRequest(RequestKind.SET, ENCAPSULATION, setting, Abi.X64, request_id=1))
    if pending:
        driver.complete(1)
        ndis.poll()
    driver.answers = [NdisStatus.INVALID_PARAMETER]
    ndis.request(OidRequest(RequestKind.SET, ENCAPSULATION, bytes(28), Abi.X64, request_id=2))
    answer = ndis.request(OidRequest(RequestKind.QUERY, ENCAPSULATION, bytes(28), Abi.X64))
    assert (answer.status, answer.buffer, answer.bytes_written) == (SUCCESS, setting, 28)


@pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
@pytest.mark.rule("N-CP6-1", "N-CP6-5", "N-CP6-6")
def test_with_the_reference_driver_the_answers_follow_on_and_off(abi: Abi) -> None:
    nic = Nic(load_profile("reference"), iv_source=bytes, abi=abi)

    def current() -> int:
        answer = nic.request(OidRequest(RequestKind.QUERY, CONFIG, bytes(144), abi))
        assert answer.status == SUCCESS
        return NdisOffloadRevision2.unpack(answer.buffer, abi).ipsec_v1.supported.encapsulation

    def hardware() -> bytes:
        return nic.request(OidRequest(RequestKind.QUERY, HARDWARE, bytes(144), abi)).buffer

    def encapsulate(enabled: int, kind: int, size: int) -> None:
        setting = bytes([0xA8, 1, 28, 0]) + struct.pack("<6I", enabled, kind, size, enabled, kind, size)
        assert nic.request(OidRequest(RequestKind.SET, ENCAPSULATION, setting, abi)).status == SUCCESS

    can, frame = hardware(), native_frame()
    assert nic.request(OidRequest(RequestKind.SET, ORDINARY, sa().pack(abi), abi)).status == SUCCESS
    seen = [(current(), nic.receive(frame)[0].ipsec[0])]
    for enabled, kind, size in ((1, 2, 14), (2, 0, 0), (1, 6, 14)):
        encapsulate(enabled, kind, size)
        seen.append((current(), nic.receive(frame)[0].ipsec[0]))
    # The configuration, and CRYPTO_DONE of a frame whose association is offloaded all the time.
    assert seen == [(7, 0), (2, 2), (0, 0), (6, 2)]
    assert hardware() == can
    statuses = [event.status for event in nic.poll() if isinstance(event, StatusIndication)]
    assert statuses == [0x40020006] * 3


# --- reset and removal ------------------------------------------------------------------------------------------------

FILTER, GROUPS = Oid.OID_GEN_CURRENT_PACKET_FILTER, Oid.OID_802_3_MULTICAST_LIST


@pytest.mark.rule("N-RST-4", "N-RST-3")
def test_a_pended_reset_is_told_from_its_start_to_its_end_and_what_was_held_waits_for_the_end() -> None:
    driver = Miniport(answers=[PENDING])
    ndis = Ndis(driver, Abi.X64)
    assert [asked(ndis, 1), asked(ndis, 2)] == [PENDING, PENDING]
    driver.resets = [ResetResult(PENDING)]
    driver.complete(1, NdisStatus.REQUEST_ABORTED)
    assert ndis.reset() == PENDING
    start, aborted = ndis.poll()
    assert start == StatusIndication(NdisStatus.RESET_START, b"")
    assert (aborted.request_id, aborted.result.status) == (1, NdisStatus.REQUEST_ABORTED)
    assert driver.seen == [("ordinary", 1)]
    driver.events.append(ResetCompletion(ResetResult(SUCCESS)))
    second, end = ndis.poll()
    assert second.request_id == 2
    assert end == StatusIndication(NdisStatus.RESET_END, b"")
    assert driver.seen == [("ordinary", 1), ("ordinary", 2)]


@pytest.mark.parametrize("status", [SUCCESS, NdisStatus.SOFT_ERRORS, NdisStatus.HARD_ERRORS])
@pytest.mark.rule("N-RST-3", "N-RST-4")
def test_a_reset_that_is_done_at_once_is_not_told_of(status: NdisStatus) -> None:
    driver = Miniport(resets=[ResetResult(status)])
    ndis = Ndis(driver, Abi.X64)
    assert ndis.reset() == status
    assert ndis.poll() == []


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("addressing_reset", [False, True])
@pytest.mark.rule("N-RST-2")
def test_only_after_an_addressing_reset_the_last_settings_are_sent_again(pending: bool, addressing_reset: bool) -> None:
    driver = Miniport(OffloadAttributes(b"x", b"x"))
    ndis = Ndis(driver, Abi.X64)
    for number, (oid, buffer) in enumerate(
        [(ENCAPSULATION, b"old"), (GROUPS, b"groups"), (FILTER, b"filter"), (ENCAPSULATION, b"new"), (ORDINARY, b"sa")]
    ):
        ndis.request(OidRequest(RequestKind.SET, oid, buffer, Abi.X64, request_id=number))
    driver.answers = [NdisStatus.FAILURE]
    ndis.request(OidRequest(RequestKind.SET, FILTER, b"refused", Abi.X64, request_id=9))
    ndis.request(OidRequest(RequestKind.QUERY, FILTER, b"query", Abi.X64, request_id=10))
    driver.buffers.clear()
    done = ResetResult(SUCCESS, addressing_reset)
    driver.resets = [ResetResult(PENDING) if pending else done]
    driver.answers = [PENDING]
    ndis.reset()
    if pending:
        driver.events.append(ResetCompletion(done))
        ndis.poll()
    if not addressing_reset:
        assert driver.buffers == []
        return
    # The first pends, so the others wait for it, and so does a request of the transport.
    assert driver.buffers == [b"filter"]
    assert asked(ndis, 11) == PENDING
    driver.complete(driver.seen[-1][1])
    assert [event.request_id for event in ndis.poll() if isinstance(event, OidCompletion)] == [11]
    assert driver.buffers == [b"filter", b"groups", b"new", bytes(8)]


@pytest.mark.rule("N-RST-3")
def test_a_reset_during_a_reset_changes_nothing() -> None:
    driver = Miniport(resets=[ResetResult(PENDING), ResetResult(NdisStatus.RESET_IN_PROGRESS)])
    ndis = Ndis(driver, Abi.X64)
    assert [ndis.reset(), ndis.reset()] == [PENDING, NdisStatus.RESET_IN_PROGRESS]
    assert [event.status for event in ndis.poll()] == [NdisStatus.RESET_START]
    driver.events.append(ResetCompletion(ResetResult(SUCCESS)))
    assert [event.status for event in ndis.poll()] == [NdisStatus.RESET_END]


@pytest.mark.rule("N-RST-6")
def test_removal_reaches_the_driver_and_what_was_held_with_it() -> None:
    driver = Miniport(answers=[PENDING, NdisStatus.NOT_ACCEPTED])
    ndis = Ndis(driver, Abi.X64)
    asked(ndis, 1)
    asked(ndis, 2)
    driver.complete(1, NdisStatus.REQUEST_ABORTED)
    ndis.remove()
    assert driver.removed
    done = [(event.request_id, event.result.status) for event in ndis.poll()]
    assert done == [(1, NdisStatus.REQUEST_ABORTED), (2, NdisStatus.NOT_ACCEPTED)]


@pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
@pytest.mark.rule("N-RST-1", "N-RST-6", "A-26")
def test_the_whole_nic_is_reset_and_removed_under_the_eyes_of_the_monitor(abi: Abi) -> None:
    nic = Nic(load_profile("reference"), iv_source=bytes, abi=abi)
    setting = bytes([0xA8, 1, 28, 0]) + struct.pack("<6I", 1, 2, 14, 1, 2, 14)
    assert nic.request(OidRequest(RequestKind.SET, ENCAPSULATION, setting, abi)).status == SUCCESS
    added = nic.request(OidRequest(RequestKind.SET, ORDINARY, sa().pack(abi), abi))
    assert nic.reset() == SUCCESS
    assert nic.receive(native_frame())[0].ipsec[0] == 2
    handle = OffloadIpsecAddSa.unpack(added.buffer, abi).offload_handle.to_bytes(abi.pointer_size, "little")
    assert nic.request(OidRequest(RequestKind.SET, DELETE, handle, abi)).status == SUCCESS
    nic.remove()
    assert nic.receive(native_frame())[0].ipsec[0] == 0
    assert nic.request(OidRequest(RequestKind.SET, ORDINARY, sa().pack(abi), abi)).status == NdisStatus.NOT_ACCEPTED


# --- without the queue ------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-DEL-5", "N-OID-4")
def test_a_harness_may_take_the_queue_away() -> None:
    driver = Miniport(OffloadAttributes(b"x", b"x"), answers=[PENDING, PENDING, PENDING])
    ndis = Ndis(driver, Abi.X64, serialise=False)
    setting = bytes(range(28))
    ndis.request(OidRequest(RequestKind.SET, ENCAPSULATION, setting, Abi.X64, request_id=1))
    assert [asked(ndis, 2), asked(ndis, 3)] == [PENDING, PENDING]
    assert driver.seen == [("ordinary", 1), ("ordinary", 2), ("ordinary", 3)]
    for number in (3, 1, 2):
        driver.complete(number)
    assert [event.request_id for event in ndis.poll()] == [3, 1, 2]
    # What a pended set changed is remembered all the same.
    assert ndis.request(OidRequest(RequestKind.QUERY, ENCAPSULATION, bytes(28), Abi.X64)).buffer == setting
