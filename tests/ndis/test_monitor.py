"""The rule monitor: a driver or card that breaks one rule is caught by that rule's check, the reference never."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from nicsim.boundary import (
    AddressRow,
    Card,
    CardControl,
    Descriptor,
    Indication,
    OffloadAttributes,
    OidCompletion,
    OidRequest,
    OidResult,
    ParserRow,
    RequestKind,
    Row,
    RowCompletion,
    RowStatus,
    SaRow,
    SendResult,
    StatusIndication,
    Table,
)
from nicsim.capabilities import Readings
from nicsim.card.device import SimulatedCard
from nicsim.driver.device import ReferenceDriver
from nicsim.errors import RuleBroken
from nicsim.ndis.ledger import ALLOWED, GENERIC
from nicsim.ndis.monitor import Check, Monitor, Note
from nicsim.ndis.watched import WatchedCard, WatchedMiniport
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddSa, OffloadIpsecAddUdpespSa
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa
from offload_oids.layout import size_of
from tests.driver.builders import HERE, FlakyCard, SlowCard, capabilities, chained, esp_element, sa, udpesp, v2

INBOUND, OUTBOUND, PARSER, ADDRESS = Table
PENDING, SUCCESS, FAILURE = NdisStatus.PENDING, NdisStatus.SUCCESS, NdisStatus.FAILURE
ADD, DELETE = Oid.OID_TCP_TASK_IPSEC_ADD_SA, Oid.OID_TCP_TASK_IPSEC_DELETE_SA
ADD_UDPESP, DELETE_UDPESP = Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA
ADD_V2, DELETE_V2 = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA
ENCAPSULATION = Oid.OID_OFFLOAD_ENCAPSULATION
PARSE_4500 = ParserRow(4500, 2, 1)
Act = Callable[["Misbehaving", OidRequest], OidResult]


@dataclass
class Misbehaving:
    """A driver that does with each request what the test says."""

    card: Card
    acts: list[Act] = field(default_factory=list)
    events: list[OidCompletion | StatusIndication] = field(default_factory=list)

    def initialize(self) -> OffloadAttributes:
        return OffloadAttributes()

    def request(self, request: OidRequest) -> OidResult:
        return self.acts.pop(0)(self, request)

    def direct_request(self, request: OidRequest) -> OidResult:
        return self.acts.pop(0)(self, request)

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        return Indication(frame, b"")

    def send(self, frame: bytes, ipsec: bytes) -> SendResult:
        return SendResult(SUCCESS, frame, Reason.NO_SEND_WORK)

    def poll(self) -> Sequence[OidCompletion | StatusIndication]:
        events, self.events = self.events, []
        return events


class ShyCard:
    """A card that answers what the test says, and holds nothing."""

    def __init__(self) -> None:
        self.answers: list[RowStatus] = []
        self.done: list[RowCompletion] = []

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        return self.answers.pop(0) if self.answers else RowStatus.DONE

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        return self.answers.pop(0) if self.answers else RowStatus.DONE

    def enable(self, control: CardControl) -> None:
        pass

    def receive(self, frame: bytes) -> tuple[bytes, Descriptor]:
        return frame, Descriptor(0)

    def send_large(self, frame: bytes, slot: int, large: object) -> None:
        raise NotImplementedError

    def send(self, frame: bytes, slot: int) -> tuple[bytes, Reason]:
        return frame, Reason.SEALED

    def reset(self) -> None:
        pass

    def poll(self) -> Sequence[RowCompletion]:
        done, self.done = self.done, []
        return done


class Stage:
    """A misbehaving driver between monitor and card, and requests to it."""

    def __init__(self, *acts: Act, one_type: bool = True) -> None:
        self.monitor = Monitor(Readings(one_parser_type_per_port=one_type))
        self.bare = ShyCard()
        self.card = WatchedCard(self.bare, self.monitor)
        self.driver = Misbehaving(self.card, list(acts))
        self.miniport = WatchedMiniport(self.driver, self.monitor)

    def set(self, oid: int, buffer: bytes, number: int = 0) -> NdisStatus:
        request = OidRequest(RequestKind.SET, oid, buffer, Abi.X64, request_id=number)
        direct = oid in (ADD_V2, DELETE_V2)
        return (self.miniport.direct_request if direct else self.miniport.request)(request).status

    def breaks(self, check: Check, oid: int, buffer: bytes, number: int = 0) -> None:
        with pytest.raises(RuleBroken) as caught:
            self.set(oid, buffer, number)
        assert (caught.value.check, caught.value.rule) == (check.label, check.rule)
        self.monitor.raise_broken()  # and nothing else was broken


def row(spi: int = 0x0A0B0C0D, protocol: int = 50) -> SaRow:
    blank = SaRow.unpack(bytes(size_of(SaRow, Abi.X64)), Abi.X64)
    return replace(blank, spi=spi, protocol=protocol)


def answer(status: NdisStatus, handle: int = 0, entry: int = 0, *rows: tuple[Table, int, Row | None]) -> Act:
    """Write or clear the rows, then answer with the handles."""

    def act(driver: Misbehaving, request: OidRequest) -> OidResult:
        for table, slot, one in rows:
            _ = driver.card.clear_row(table, slot) if one is None else driver.card.write_row(table, slot, one)
        buffer = request.buffer
        if handle and request.oid == ADD_UDPESP:
            add = OffloadIpsecAddUdpespSa.unpack(buffer, request.abi)
            buffer = replace(add, offload_handle=handle, encap_type_entry_offld_handle=entry).pack(request.abi)
        elif handle and request.oid == ADD:
            buffer = replace(OffloadIpsecAddSa.unpack(buffer, request.abi), offload_handle=handle).pack(request.abi)
        elif handle and request.oid == ADD_V2:
            buffer = replace(IpsecOffloadV2AddSa.unpack(buffer, request.abi), offload_handle=handle).pack(request.abi)
        return OidResult(status, buffer)

    return act


NATIVE, UDPESP = sa().pack(Abi.X64), udpesp().pack(Abi.X64)
OUTBOUND_UDPESP = udpesp(flags=2).pack(Abi.X64)
GOOD_ADD = answer(SUCCESS, 8, 0, (INBOUND, 0, row()))
GOOD_UDPESP = answer(SUCCESS, 8, 16, (PARSER, 0, PARSE_4500), (INBOUND, 0, row()))


def handles(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


# --- one broken rule each ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("oid", "status"), [(ADD, 0xC0010016), (DELETE_V2, FAILURE), (ENCAPSULATION, 0xC0010017)])
@pytest.mark.rule("A-1")
def test_a_status_that_the_oid_does_not_have(oid: int, status: int) -> None:
    Stage(answer(NdisStatus(status))).breaks(Check.STATUS_NOT_ALLOWED, oid, b"")


def test_every_allowed_set_has_success_and_none_has_pending() -> None:
    for statuses in (*ALLOWED.values(), GENERIC):
        assert SUCCESS in statuses
        assert PENDING not in statuses


@pytest.mark.parametrize(
    "result",
    [
        OidResult(SUCCESS, bytes(4), bytes_written=5),
        OidResult(SUCCESS, bytes(4), bytes_read=5),
        OidResult(SUCCESS, bytes(5)),
    ],
    ids=["written", "read", "grown"],
)
@pytest.mark.rule("A-10")
def test_more_bytes_than_the_buffer_has(result: OidResult) -> None:
    Stage(lambda driver, request: result).breaks(Check.BEYOND_BUFFER, Oid.OID_GEN_CURRENT_PACKET_FILTER, bytes(4))


def completes(stage: Stage, number: int, status: NdisStatus = SUCCESS) -> None:
    stage.driver.events.append(OidCompletion(number, OidResult(status)))
    stage.miniport.poll()


@pytest.mark.rule("N-OID-6")
def test_a_request_that_completes_twice() -> None:
    stage = Stage(answer(PENDING))
    stage.set(DELETE, handles(8), 7)
    completes(stage, 7)
    with pytest.raises(RuleBroken, match="completed-twice"):
        completes(stage, 7)


@pytest.mark.rule("N-OID-6")
def test_a_completion_of_what_never_pended() -> None:
    stage = Stage(answer(NdisStatus.INVALID_DATA))
    stage.set(DELETE, handles(8), 7)
    with pytest.raises(RuleBroken, match="never-pending"):
        completes(stage, 7)


@pytest.mark.rule("N-OID-6")
def test_an_id_that_pends_again_may_complete_again() -> None:
    stage = Stage(answer(PENDING), answer(PENDING))
    for _ in range(2):
        stage.set(DELETE, handles(8), 7)
        completes(stage, 7)
    stage.monitor.finish()


@pytest.mark.rule("N-OID-6")
def test_a_completion_that_says_pending() -> None:
    stage = Stage(answer(PENDING))
    stage.set(DELETE, handles(8), 7)
    with pytest.raises(RuleBroken, match="status-not-allowed"):
        completes(stage, 7, PENDING)


@pytest.mark.rule("N-OID-6")
def test_a_request_that_never_completes() -> None:
    stage = Stage(answer(PENDING))
    stage.set(DELETE, handles(8), 7)
    with pytest.raises(RuleBroken, match="never-completed") as caught:
        stage.monitor.finish()
    assert "request 7" in caught.value.sentence


@pytest.mark.rule("N-SA-17", "N-ADD-2", "N-V2-11")
def test_a_success_without_a_handle() -> None:
    # The rows of such an add have no owner either, so these drivers write none.
    Stage(answer(SUCCESS)).breaks(Check.HANDLE_ZERO, ADD, NATIVE)
    Stage(answer(SUCCESS, 8, 0, (INBOUND, 0, row()))).breaks(Check.HANDLE_ZERO, ADD_UDPESP, UDPESP)
    Stage(answer(SUCCESS)).breaks(Check.HANDLE_ZERO, ADD_V2, chained([v2(1), v2(2)], Abi.X64))
    Stage(lambda driver, request: OidResult(SUCCESS)).breaks(Check.HANDLE_ZERO, ADD, NATIVE)


@pytest.mark.rule("N-SA-17")
def test_a_handle_that_is_alive() -> None:
    def another(handle: int, entry: int) -> Act:
        return answer(SUCCESS, handle, entry, (OUTBOUND, 0, row()))

    def parsed(handle: int, entry: int) -> Act:
        return answer(SUCCESS, handle, entry, (INBOUND, 1, row()))

    for act, oid, buffer in (
        (another(8, 0), ADD, sa(flags=2).pack(Abi.X64)),
        (another(16, 0), ADD, sa(flags=2).pack(Abi.X64)),
        (parsed(24, 8), ADD_UDPESP, UDPESP),
    ):
        stage = Stage(GOOD_UDPESP, act)
        stage.set(ADD_UDPESP, UDPESP)
        with pytest.raises(RuleBroken, match="handle-reused"):
            stage.set(oid, buffer)


@pytest.mark.rule("N-SA-17")
def test_a_handle_may_come_again_after_its_delete() -> None:
    stage = Stage(GOOD_ADD, answer(SUCCESS, 0, 0, (INBOUND, 0, None)), GOOD_ADD)
    for oid, buffer in ((ADD, NATIVE), (DELETE, handles(8)), (ADD, NATIVE)):
        stage.set(oid, buffer)
    stage.monitor.finish()


@pytest.mark.rule("N-SA-18")
@pytest.mark.parametrize(
    ("table", "one"), [(INBOUND, row(5)), (OUTBOUND, row()), (INBOUND, row(protocol=51)), (PARSER, PARSE_4500)]
)
def test_a_row_that_no_request_explains(table: Table, one: Row) -> None:
    stage = Stage(answer(SUCCESS, 8, 0, (INBOUND, 0, row()), (table, 1, one)))
    stage.breaks(Check.ROW_WITHOUT_OWNER, ADD, NATIVE)


@pytest.mark.rule("N-SA-18")
def test_a_row_out_of_nowhere_is_told_when_ndis_calls_next() -> None:
    stage = Stage()
    stage.card.write_row(INBOUND, 0, row())
    with pytest.raises(RuleBroken, match="row-without-owner"):
        stage.miniport.poll()


@pytest.mark.rule("N-SA-18")
def test_a_second_row_for_one_layer() -> None:
    stage = Stage(answer(SUCCESS, 8, 0, (INBOUND, 0, row()), (INBOUND, 1, row())))
    stage.breaks(Check.ROW_WITHOUT_OWNER, ADD, NATIVE)


@pytest.mark.rule("A-26")
def test_an_owner_may_write_its_row_again() -> None:
    stage = Stage(GOOD_UDPESP)
    stage.set(ADD_UDPESP, UDPESP)
    for table, one in ((PARSER, PARSE_4500), (INBOUND, row())):
        stage.card.clear_row(table, 0)
        stage.card.write_row(table, 0, one)
    stage.card.reset()
    for table, one in ((PARSER, PARSE_4500), (INBOUND, row())):
        stage.card.write_row(table, 0, one)
    stage.miniport.poll()


@pytest.mark.rule("N-SA-18", "N-ADD-2")
def test_an_add_that_succeeds_and_writes_nothing() -> None:
    Stage(answer(SUCCESS, 8)).breaks(Check.OWNER_WITHOUT_ROW, ADD, NATIVE)
    Stage(answer(SUCCESS, 8, 16, (INBOUND, 0, row()))).breaks(Check.OWNER_WITHOUT_ROW, ADD_UDPESP, UDPESP)


@pytest.mark.rule("N-SA-18")
def test_an_add_that_succeeds_before_or_without_its_row_being_done() -> None:
    for status in (RowStatus.PENDING, RowStatus.FAILED):
        stage = Stage(GOOD_ADD)
        stage.bare.answers = [status]
        stage.breaks(Check.OWNER_WITHOUT_ROW, ADD, NATIVE)


@pytest.mark.rule("N-ADD-6")
@pytest.mark.parametrize(("table", "one"), [(INBOUND, row()), (PARSER, PARSE_4500)])
def test_a_row_that_stays_behind_a_failed_add(table: Table, one: Row) -> None:
    Stage(answer(FAILURE, 0, 0, (table, 0, one))).breaks(Check.ROW_OF_FAILED_ADD, ADD_UDPESP, UDPESP)


@pytest.mark.rule("N-V2-11")
def test_a_row_that_stays_behind_a_failed_element_of_a_list() -> None:
    def act(driver: Misbehaving, request: OidRequest) -> OidResult:
        driver.card.write_row(INBOUND, 0, row(1))
        driver.card.write_row(INBOUND, 1, row(2))
        return OidResult(SUCCESS, chained([v2(1, offload_handle=8), v2(2)], Abi.X64))

    Stage(act).breaks(Check.ROW_WITHOUT_OWNER, ADD_V2, chained([v2(1), v2(2)], Abi.X64))


@pytest.mark.rule("N-ADD-6", "N-DEL-4")
def test_a_row_that_the_card_would_not_take_back_is_a_note() -> None:
    stage = Stage(answer(FAILURE, 0, 0, (INBOUND, 0, row()), (INBOUND, 0, None)))
    stage.bare.answers = [RowStatus.DONE, RowStatus.FAILED]
    stage.set(ADD, NATIVE)
    assert [note.rule for note in stage.monitor.notes] == ["N-ADD-6"]


@pytest.mark.rule("N-SA-21", "N-DEL-3")
@pytest.mark.parametrize("cleared", [PARSER, INBOUND])
def test_a_delete_that_leaves_a_row(cleared: Table) -> None:
    stage = Stage(GOOD_UDPESP, answer(SUCCESS, 0, 0, (cleared, 0, None)))
    stage.set(ADD_UDPESP, UDPESP)
    stage.breaks(Check.KEYS_LEFT, DELETE_UDPESP, handles(8, 16))


@pytest.mark.rule("N-RST-3", "N-DEL-4")
def test_a_delete_that_a_reset_ended_leaves_open_whether_its_association_is_gone() -> None:
    aborted = answer(NdisStatus.REQUEST_ABORTED, 0, 0, (INBOUND, 0, None))
    gone = Stage(GOOD_ADD, aborted, answer(NdisStatus.INVALID_DATA), answer(SUCCESS, 16, 0, (INBOUND, 0, row())))
    gone.set(ADD, NATIVE)
    gone.set(DELETE, handles(8))
    gone.set(DELETE, handles(8))  # the driver need not know it any more
    gone.set(ADD, NATIVE)  # and another may have its slot
    stays = Stage(GOOD_ADD, aborted, answer(FAILURE), answer(SUCCESS, 0, 0, (INBOUND, 0, None)))
    stays.set(ADD, NATIVE)
    stays.set(DELETE, handles(8))
    stays.card.reset()
    stays.card.write_row(INBOUND, 0, row())  # given back after the reset: it is its owner's still
    stays.set(ADD, NATIVE)
    stays.set(DELETE, handles(8))
    for stage in (gone, stays):
        stage.monitor.finish()


@pytest.mark.rule("N-DEL-4", "N-V2-12")
def test_a_row_that_the_card_would_not_clear_may_stay_where_the_delete_can_say_so() -> None:
    first = Stage(GOOD_ADD, answer(FAILURE, 0, 0, (INBOUND, 0, None)))
    first.bare.answers = [RowStatus.DONE, RowStatus.FAILED]
    first.set(ADD, NATIVE)
    first.set(DELETE, handles(8))

    def add(driver: Misbehaving, request: OidRequest) -> OidResult:
        driver.card.write_row(INBOUND, 0, row())
        return OidResult(SUCCESS, chained([v2(offload_handle=8)], Abi.X64))

    second = Stage(add, answer(SUCCESS, 0, 0, (INBOUND, 0, None)))
    second.bare.answers = [RowStatus.DONE, RowStatus.FAILED]
    second.set(ADD_V2, chained([v2()], Abi.X64))
    second.set(DELETE_V2, bytes([0x80, 1, 24, 0]) + bytes(12) + handles(8))


@pytest.mark.rule("A-37", "N-PE-3")
def test_an_outbound_add_that_writes_or_clears_a_parser_row() -> None:
    act = answer(SUCCESS, 24, 0, (OUTBOUND, 0, row()), (PARSER, 1, PARSE_4500))
    Stage(act).breaks(Check.OUTBOUND_PARSER, ADD_UDPESP, OUTBOUND_UDPESP)
    stage = Stage(GOOD_UDPESP, answer(SUCCESS, 24, 0, (OUTBOUND, 0, row()), (PARSER, 0, None)))
    stage.set(ADD_UDPESP, UDPESP)
    stage.breaks(Check.OUTBOUND_PARSER, ADD_UDPESP, OUTBOUND_UDPESP)


@pytest.mark.rule("A-33")
@pytest.mark.parametrize("one_type", [True, False])
def test_a_port_with_parser_rows_of_two_types(one_type: bool) -> None:
    other = answer(SUCCESS, 24, 32, (PARSER, 1, ParserRow(4500, 1, 1)), (INBOUND, 1, row()))
    stage = Stage(GOOD_UDPESP, other, one_type=one_type)
    stage.set(ADD_UDPESP, UDPESP)
    buffer = udpesp(kind=0).pack(Abi.X64)
    if one_type:
        stage.breaks(Check.TWO_PARSER_TYPES, ADD_UDPESP, buffer)
    else:
        stage.set(ADD_UDPESP, buffer)


@pytest.mark.rule("A-7")
def test_a_parser_entry_that_goes_while_associations_need_it_is_a_note() -> None:
    delete = answer(SUCCESS, 0, 0, (INBOUND, 0, None), (PARSER, 0, None))
    stage = Stage(GOOD_UDPESP, answer(SUCCESS, 24, 16, (INBOUND, 1, row())), delete)
    stage.set(ADD_UDPESP, UDPESP)
    stage.set(ADD_UDPESP, UDPESP)
    assert stage.monitor.notes == []
    stage.set(DELETE_UDPESP, handles(8, 16))
    assert stage.monitor.notes == [Note("A-7", "parser entry 0x10 was deleted while associations need it")]


# --- shared addresses ----------------------------------------------------------------------------------------------

HERE_ROW = AddressRow(4, HERE + bytes(12))
SHARING = answer(SUCCESS, 8, 0, (ADDRESS, 0, HERE_ROW), (INBOUND, 0, replace(row(), address_slot=1)))


@pytest.mark.rule("N-SA-18")
def test_an_address_row_that_no_inbound_row_names() -> None:
    stray = answer(SUCCESS, 8, 0, (ADDRESS, 1, HERE_ROW), (INBOUND, 0, row()))
    Stage(stray).breaks(Check.ROW_WITHOUT_OWNER, ADD, NATIVE)


@pytest.mark.rule("N-SA-18", "N-SA-21")
def test_an_address_row_that_stays_when_its_last_association_goes() -> None:
    stage = Stage(SHARING, answer(SUCCESS, 0, 0, (INBOUND, 0, None)))
    stage.set(ADD, NATIVE)
    stage.breaks(Check.ROW_WITHOUT_OWNER, DELETE, handles(8))


@pytest.mark.rule("N-SA-18")
def test_an_address_row_that_goes_while_another_association_needs_it() -> None:
    second = answer(SUCCESS, 16, 0, (INBOUND, 1, replace(row(), address_slot=1)))
    stage = Stage(SHARING, second, answer(SUCCESS, 0, 0, (INBOUND, 0, None), (ADDRESS, 0, None)))
    stage.set(ADD, NATIVE)
    stage.set(ADD, NATIVE)
    stage.breaks(Check.OWNER_WITHOUT_ROW, DELETE, handles(8))


def test_an_address_row_that_would_not_clear_is_marked() -> None:
    stage = Stage(SHARING, answer(FAILURE, 0, 0, (INBOUND, 0, None), (ADDRESS, 0, None)))
    stage.set(ADD, NATIVE)
    stage.bare.answers = [RowStatus.DONE, RowStatus.FAILED]
    stage.set(DELETE, handles(8))
    stage.monitor.finish()


# --- the reference breaks none -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FlakyCard, SlowCard])
@pytest.mark.parametrize("abi", Abi)
@pytest.mark.parametrize("addresses", [0, 1, 4])
def test_the_reference_driver_breaks_nothing_on_any_card(kind: type[FlakyCard], abi: Abi, addresses: int) -> None:
    caps, monitor = capabilities(address_rows=addresses), Monitor()
    simulated = SimulatedCard(inbound_rows=4, outbound_rows=4, parser_rows=4, address_rows=addresses, iv_source=bytes)
    card = kind(simulated)
    card.fail_writes, card.fail_clears = {3, 5, 8}, {1, 4}
    miniport = WatchedMiniport(ReferenceDriver(caps, WatchedCard(card, monitor), abi), monitor)
    miniport.initialize()
    alive: list[OidResult] = []
    for number in range(12):
        here = bytes((192, 0, 2, 10 + number // 4))
        add = udpesp(spi=number + 1, flags=1 + number % 2, dst_addr=here).pack(abi)
        result = miniport.request(OidRequest(RequestKind.SET, ADD_UDPESP, add, abi, request_id=number))
        results = [result] if result.status != PENDING else []
        for _ in range(10):
            results += [event.result for event in miniport.poll() if isinstance(event, OidCompletion)]
        alive += [done for done in results if done.status == SUCCESS]
        if len(alive) > 2:
            made = OffloadIpsecAddUdpespSa.unpack(alive.pop(0).buffer, abi)
            width = abi.pointer_size
            delete = made.offload_handle.to_bytes(width, "little") + bytes(width)
            miniport.request(OidRequest(RequestKind.SET, DELETE_UDPESP, delete, abi, request_id=100 + number))
            for _ in range(10):
                miniport.poll()
    assert alive
    monitor.finish()


def test_a_nic_has_the_monitor_unless_told() -> None:
    def lying(claims: object, card: Card, abi: Abi) -> Misbehaving:
        return Misbehaving(card, [answer(SUCCESS, 8)])

    request = OidRequest(RequestKind.SET, ADD, NATIVE, Abi.X64)
    with pytest.raises(RuleBroken, match="owner-without-row"):
        Nic(load_profile("reference"), iv_source=bytes, driver=lying).request(request)
    Nic(load_profile("reference"), iv_source=bytes, driver=lying, monitor=False).request(request)


def test_frames_do_not_pass_the_monitor() -> None:
    stage = Stage()
    assert stage.card.receive == stage.bare.receive
    assert stage.card.send == stage.bare.send
    assert (stage.miniport.send, stage.miniport.indicate) == (stage.driver.send, stage.driver.indicate)


@pytest.mark.parametrize("named", [0, 16])
@pytest.mark.rule("N-DEL-2")
def test_a_row_cleared_by_a_request_that_does_not_delete_its_owner(named: int) -> None:
    delete = answer(SUCCESS, 0, 0, (INBOUND, 0, None), (PARSER, 0, None))
    stage = Stage(GOOD_UDPESP, delete)
    stage.set(ADD_UDPESP, UDPESP)
    if named:  # the delete names the entry, so the entry goes
        assert stage.set(DELETE_UDPESP, handles(8, 16)) == SUCCESS
    else:
        stage.breaks(Check.CLEARED_UNASKED, DELETE_UDPESP, handles(8, 0))


@pytest.mark.rule("N-DEL-2")
def test_a_neighbour_cleared_by_a_delete_and_one_cleared_while_the_offload_is_configured() -> None:
    second = answer(SUCCESS, 24, 0, (INBOUND, 1, row(7)))
    stage = Stage(answer(SUCCESS, 8, 0, (INBOUND, 0, row())), second, answer(SUCCESS, 0, 0, (INBOUND, 1, None)))
    stage.set(ADD, NATIVE)
    stage.set(ADD, sa(sec_assoc=(esp_element(7),)).pack(Abi.X64))
    with pytest.raises(RuleBroken) as caught:
        stage.set(DELETE, handles(8))
    assert caught.value.check == Check.KEYS_LEFT.label
    with pytest.raises(RuleBroken) as caught:
        stage.monitor.raise_broken()
    assert caught.value.check == Check.CLEARED_UNASKED.label
    # Taking an offload away may take its rows out of the card for a while.
    stage = Stage(answer(SUCCESS, 8, 0, (INBOUND, 0, row())), answer(SUCCESS, 0, 0, (INBOUND, 0, None)))
    stage.set(ADD, NATIVE)
    assert stage.set(Oid.OID_TCP_OFFLOAD_PARAMETERS, bytes(20)) == SUCCESS


@pytest.mark.rule("N-SA-17", "A-7")
def test_a_handle_that_the_driver_handed_out_and_does_not_know() -> None:
    invalid = answer(NdisStatus.INVALID_DATA)
    stage = Stage(answer(SUCCESS, 8, 0, (INBOUND, 0, row())), invalid, invalid, invalid)
    stage.set(ADD, NATIVE)
    stage.breaks(Check.HANDLE_FORGOTTEN, DELETE, handles(8))
    # A handle that never was one, or one of the other version, is refused as it must be.
    assert stage.set(DELETE, handles(24)) == NdisStatus.INVALID_DATA
    assert stage.set(DELETE_UDPESP, handles(8, 16)) == NdisStatus.INVALID_DATA
    stage = Stage(answer(SUCCESS, 8, 0, (INBOUND, 0, row())), invalid, invalid)
    stage.set(ADD_V2, chained([v2()], Abi.X64))
    good = bytes([0x80, 1, 24, 0]) + bytes(12) + handles(8)
    assert stage.set(DELETE_V2, b"\x81" + good[1:]) == NdisStatus.INVALID_DATA
    stage.breaks(Check.HANDLE_FORGOTTEN, DELETE_V2, good)
