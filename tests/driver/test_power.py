"""Reset, power states and removal: what survives, what is aborted, and who is turned away meanwhile (section 11)."""

from __future__ import annotations

import struct

import pytest

from nicsim.boundary import CardControl, OidCompletion, ResetCompletion, ResetResult, StatusIndication, Table
from nicsim.capabilities import Losses
from nicsim.driver.handles import OWN_PARSER_ROW
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from tests.card.test_layers import pair, with_ah
from tests.driver.builders import (
    ON,
    OUTBOUND,
    SPI,
    Bench,
    SlowCard,
    bench,
    capabilities,
    esp_element,
    native_frame,
    sa,
    udp_frame,
    udpesp,
    v2,
)

SUCCESS, PENDING = NdisStatus.SUCCESS, NdisStatus.PENDING
SET_POWER = Oid.OID_PNP_SET_POWER
D0, D1, D2, D3 = 1, 2, 3, 4


def power(nic: Bench, state: int):
    return nic.set(SET_POWER, struct.pack("<I", state))


def send(nic: Bench, handle: int):
    return nic.driver.send(native_frame(), handle.to_bytes(nic.abi.pointer_size, "little"))


def lived_in(nic: Bench) -> tuple[int, ...]:
    """Associations of both versions and directions with gaps between their slots, two entries, all enabled."""
    nic.enable()
    gap = nic.added(sa(sec_assoc=(esp_element(0x999),)))
    inbound = nic.added(sa())
    outbound = nic.added(sa(flags=OUTBOUND))
    udp, entry = nic.added_udpesp(udpesp(4501, spi=SPI + 1))
    version_2 = nic.added_v2(v2(SPI + 2))
    nic.delete_sa(gap)
    nic.driver.poll()
    return inbound, outbound, udp, entry, version_2


def everything(**changes) -> Bench:
    return bench(capabilities(version1={"udp_esp": 0x33}, **changes), abi=Abi.X64)


FRAMES = (native_frame(), udp_frame(spi=SPI + 1, dst_port=4501))


# --- reset ---------------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-RST-1", "N-RST-2", "A-26")
def test_a_reset_restores_rows_entries_handles_and_enabling_from_the_shadow_copies() -> None:
    nic = everything()
    _, outbound, udp, entry, version_2 = lived_in(nic)
    nic.set(Oid.OID_GEN_CURRENT_PACKET_FILTER, struct.pack("<I", 0x0B))
    nic.set(Oid.OID_802_3_MULTICAST_LIST, b"\x01" + bytes(5))
    before, sealed = nic.snapshot(), send(nic, outbound).frame
    written = len(nic.card.writes)
    assert [nic.receive(frame) for frame in FRAMES] == [Reason.OPENED] * 2
    assert nic.driver.reset() == ResetResult(SUCCESS, addressing_reset=False)
    # Two parser rows and four associations, written once each.
    assert len(nic.card.writes) - written == len(set(nic.card.writes[written:])) == 6
    assert nic.snapshot() == before
    assert (nic.driver.state.packet_filter, nic.driver.state.multicast_list) == (0x0B, (b"\x01" + bytes(5),))
    assert nic.driver.poll() == []
    assert [nic.receive(frame) for frame in FRAMES] == [Reason.OPENED] * 2
    assert send(nic, outbound).frame == sealed
    assert nic.delete_udpesp(udp, entry).status == SUCCESS
    assert nic.delete_v2(version_2).status == SUCCESS
    # The gap is used again, and a slot is never given out twice.
    taken = set(range(4)) - nic.free(Table.INBOUND)
    nic.added(sa(sec_assoc=(esp_element(0x777),)))
    assert len(nic.rows[Table.INBOUND]) == len(taken) + 1


@pytest.mark.rule("N-RST-1", "N-CP6-6")
def test_a_reset_before_anything_was_enabled_leaves_the_card_off() -> None:
    nic = bench()
    nic.added(sa())
    assert nic.driver.reset().status == SUCCESS
    assert nic.card.card.rows.control == CardControl()
    assert nic.receive(native_frame()) is Reason.NOT_ENABLED


@pytest.mark.rule("N-RST-1", "N-DEL-4")
def test_a_reset_frees_what_was_marked_for_deletion() -> None:
    nic = bench(capabilities(rows=1)).enable()
    handle = nic.added(sa())
    nic.card.fail_clears = {0, 1, 2, 3}
    nic.delete_sa(handle)
    assert (len(nic.driver.state.marked), nic.free(Table.INBOUND)) == (1, set())
    assert nic.card.card.rows.control == CardControl()
    nic.driver.reset()
    assert (nic.driver.state.marked, nic.free(Table.INBOUND), nic.rows[Table.INBOUND]) == ([], {0}, {})
    assert nic.card.card.rows.control.ipv4_encapsulations == 2
    nic.added(sa())
    assert nic.receive(native_frame()) is Reason.OPENED


@pytest.mark.rule("N-RST-3", "N-RX-13", "N-TX-10")
def test_a_row_that_the_card_does_not_take_back_is_a_hard_error_and_its_packets_go_up_unprocessed() -> None:
    nic = bench(capabilities(version2={"udp_esp": 0})).enable()
    nic.added(sa())
    nic.added(sa(sec_assoc=(esp_element(9),)))
    outbound = nic.added(sa(flags=OUTBOUND))
    first = len(nic.card.writes)
    nic.card.fail_writes = {first, first + 2}
    assert nic.driver.reset() == ResetResult(NdisStatus.HARD_ERRORS)
    assert nic.receive(native_frame()) is Reason.SA_NOT_OFFLOADED
    assert nic.receive(native_frame(spi=9)) is Reason.OPENED
    assert send(nic, outbound).status == NdisStatus.FAILURE
    nic.card.fail_writes = set()
    assert nic.driver.reset().status == SUCCESS
    assert nic.receive(native_frame()) is Reason.OPENED


@pytest.mark.rule("N-RST-3", "N-RST-1", "A-6", "N-ADD-6")
def test_requests_that_were_pending_are_aborted_in_order_and_leave_nothing() -> None:
    nic = bench(card=SlowCard).enable()
    before = nic.snapshot()
    nic.add_udpesp(udpesp(4501))
    nic.add_v2(v2())
    nic.encapsulate(ON)
    last = nic.ids
    nic.completions()  # the parser row of the first is written, and its association's is not
    assert nic.driver.reset().status == PENDING
    events = list(nic.driver.poll())
    aborted, end = events[:3], events[3:]
    assert [event.request_id for event in aborted if isinstance(event, OidCompletion)] == [last - 2, last - 1, last]
    for event in aborted:
        assert isinstance(event, OidCompletion)
        nic.refuses(event.result, NdisStatus.REQUEST_ABORTED, Reason.ABORTED_BY_RESET)
    assert end == [ResetCompletion(ResetResult(SUCCESS))]  # version 2's parser row was all there was to restore
    assert nic.snapshot() == before
    assert nic.add_udpesp(udpesp(4501)).status == PENDING
    assert nic.completions() == []
    (done,) = nic.completions()
    assert done.result.status == SUCCESS


@pytest.mark.rule("N-RST-3", "N-DEL-4")
def test_an_aborted_delete_is_a_delete_all_the_same() -> None:
    nic = bench(card=SlowCard).enable()
    nic.add_sa(sa())
    nic.completions()
    (handle,) = nic.driver.state.associations
    nic.delete_sa(handle)
    nic.driver.reset()
    assert [event.result.status for event in nic.completions()] == [NdisStatus.REQUEST_ABORTED]
    assert (nic.driver.state.associations, nic.rows[Table.INBOUND]) == ({}, {})
    assert nic.free(Table.INBOUND) == {0, 1, 2, 3}
    assert nic.delete_sa(handle).reason is Reason.UNKNOWN_SA_HANDLE


def resetting() -> tuple[Bench, int]:
    """A driver whose reset waits for the card, with an outbound association."""
    nic = bench(card=SlowCard).enable()
    nic.add_sa(sa(flags=OUTBOUND))
    nic.completions()
    (handle,) = nic.driver.state.associations
    assert nic.driver.reset().status == PENDING
    return nic, handle


@pytest.mark.rule("N-RST-4", "A-1", "N-OID-6")
def test_during_a_reset_requests_are_refused_with_the_status_of_their_page_and_sends_too() -> None:
    nic, handle = resetting()
    before = nic.snapshot()
    for result, status in (
        (nic.add_sa(sa()), NdisStatus.RESET_IN_PROGRESS),
        (nic.delete_sa(handle), NdisStatus.RESET_IN_PROGRESS),
        (nic.encapsulate(ON), NdisStatus.RESET_IN_PROGRESS),
        (nic.add_v2(v2()), NdisStatus.RESET_IN_PROGRESS),
        (nic.delete_v2(handle), NdisStatus.NOT_ACCEPTED),
        (power(nic, D3), NdisStatus.NOT_ACCEPTED),
    ):
        nic.refuses(result, status, Reason.RESETTING)
    assert nic.set(0x12345678, b"").status == NdisStatus.INVALID_OID
    for name in (0, handle):
        refused = send(nic, name)
        assert (refused.status, refused.frame, refused.reason) == (
            NdisStatus.RESET_IN_PROGRESS, b"", Reason.RESETTING,
        )  # fmt: skip
    assert nic.driver.reset() == ResetResult(NdisStatus.RESET_IN_PROGRESS)
    assert nic.snapshot() == before
    assert nic.card.card.rows.control == CardControl()  # off until every row is back
    assert nic.driver.poll() == []
    assert nic.driver.poll() == [ResetCompletion(ResetResult(SUCCESS))]
    assert send(nic, handle).status == SUCCESS
    assert nic.card.card.rows.control.ipv4_encapsulations == 2


@pytest.mark.rule("N-RST-3")
def test_a_pended_reset_whose_row_fails_ends_with_a_hard_error() -> None:
    nic, handle = resetting()
    nic.card.fail_writes = {len(nic.card.writes) + 1}
    nic.driver.poll()
    assert nic.driver.poll() == [ResetCompletion(ResetResult(NdisStatus.HARD_ERRORS))]
    assert send(nic, handle).status == NdisStatus.FAILURE


# --- power ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [D1, D2, D3])
@pytest.mark.rule("N-RST-5", "A-26")
def test_low_power_stops_everything_and_full_power_brings_it_back(low: int) -> None:
    nic = everything()
    _, outbound, *_ = lived_in(nic)
    before, sealed = nic.snapshot(), send(nic, outbound).frame
    result = power(nic, low)
    assert (result.status, result.bytes_read, result.bytes_written) == (SUCCESS, 4, 0)
    assert nic.card.card.rows.control == CardControl()
    assert [nic.receive(frame) for frame in FRAMES] == [Reason.NOT_ENABLED] * 2
    for handle in (0, outbound):
        refused = send(nic, handle)
        assert (refused.status, refused.frame, refused.reason) == (
            NdisStatus.LOW_POWER_STATE, b"", Reason.LOW_POWER,
        )  # fmt: skip
    nic.refuses(nic.add_sa(sa()), NdisStatus.NOT_ACCEPTED, Reason.LOW_POWER)
    nic.refuses(nic.add_v2(v2()), NdisStatus.NOT_ACCEPTED, Reason.LOW_POWER)
    nic.card.card.reset()  # what a card without power forgets
    assert power(nic, D0).status == SUCCESS
    assert nic.snapshot() == before
    assert [nic.receive(frame) for frame in FRAMES] == [Reason.OPENED] * 2
    assert send(nic, outbound).frame == sealed


@pytest.mark.rule("N-RST-5")
def test_full_power_set_again_touches_nothing_and_low_power_may_go_lower() -> None:
    nic = bench().enable()
    nic.added(sa())
    written = list(nic.card.writes)
    assert power(nic, D0).status == SUCCESS
    assert nic.card.writes == written
    assert [power(nic, state).status for state in (D1, D3, D2)] == [SUCCESS] * 3
    assert nic.card.writes == written
    power(nic, D0)
    assert len(nic.card.writes) == 2 * len(written)


@pytest.mark.rule("N-OID-3", "A-10")
def test_a_power_state_that_does_not_exist_or_is_cut_short_is_refused() -> None:
    nic = bench().enable()
    before = nic.snapshot()
    for wrong in (0, 5, 0xFFFFFFFF):
        nic.refuses(power(nic, wrong), NdisStatus.INVALID_DATA, Reason.BUFFER_CONTENTS)
    for length in range(4):
        short = nic.set(SET_POWER, bytes(length))
        nic.refuses(short, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
        assert short.bytes_needed == 4
    assert nic.snapshot() == before


@pytest.mark.rule("N-RST-5", "N-DEL-4")
def test_a_row_that_clears_in_low_power_does_not_switch_the_card_on() -> None:
    nic = bench().enable()
    handle = nic.added(sa())
    nic.card.fail_clears = {0}
    nic.delete_sa(handle)
    power(nic, D3)
    power(nic, D2)
    assert nic.driver.state.marked == []  # tried again, and done
    assert nic.card.card.rows.control == CardControl()
    power(nic, D0)
    assert nic.card.card.rows.control.ipv4_encapsulations == 2


@pytest.mark.rule("N-RST-5", "N-OID-5")
def test_a_request_behind_the_way_down_is_refused_when_its_turn_comes() -> None:
    nic = bench(card=SlowCard).enable()
    nic.add_sa(sa())
    assert power(nic, D3).status == PENDING
    assert nic.add_v2(v2()).status == PENDING
    done = nic.completions()
    assert [event.result.status for event in done] == [SUCCESS, SUCCESS, NdisStatus.NOT_ACCEPTED]
    # On the way up the rows take their time; until they are back a send is refused, and a request waits.
    assert power(nic, D0).status == PENDING
    assert send(nic, 0).status == NdisStatus.LOW_POWER_STATE
    assert nic.add_v2(v2(7)).status == PENDING
    done = [event.result.status for _ in range(3) for event in nic.completions()]
    assert done == [SUCCESS, SUCCESS]
    assert send(nic, 0).status == SUCCESS
    assert nic.receive(native_frame()) is Reason.OPENED


@pytest.mark.rule("N-RST-5", "N-RST-1")
def test_a_card_that_does_not_take_a_row_back_is_told_to_people_and_the_way_up_succeeds() -> None:
    nic = bench(capabilities(version2={"udp_esp": 0})).enable()
    nic.added(sa())
    power(nic, D3)
    nic.card.fail_writes = {len(nic.card.writes)}
    result = power(nic, D0)
    assert (result.status, result.reason) == (SUCCESS, Reason.NOT_RESTORED)
    assert nic.receive(native_frame()) is Reason.SA_NOT_OFFLOADED


@pytest.mark.rule("N-RST-1", "N-RST-5")
def test_a_reset_in_low_power_waits_with_the_tables_for_full_power() -> None:
    nic = bench().enable()
    nic.added(sa())
    before = nic.snapshot()
    power(nic, D3)
    assert nic.driver.reset().status == SUCCESS
    assert nic.card.card.rows.control == CardControl()
    assert send(nic, 0).status == NdisStatus.LOW_POWER_STATE
    power(nic, D0)
    assert nic.snapshot() == before


# --- removal -------------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-RST-6")
def test_removal_deletes_everything_and_nothing_is_accepted_after_it() -> None:
    nic = everything()
    inbound, outbound, *_ = lived_in(nic)
    nic.driver.remove()
    assert nic.rows == {table: {} for table in Table}
    assert nic.card.card.rows.control == CardControl()
    state = nic.driver.state
    assert (state.associations, state.parser_entries, state.own_parser_row) == ({}, {}, None)
    assert [len(nic.free(table)) for table in Table] == [4, 4, 4, 0]
    for result in (nic.add_sa(sa()), nic.delete_sa(inbound), nic.add_v2(v2()), nic.encapsulate(ON), power(nic, D0)):
        nic.refuses(result, NdisStatus.NOT_ACCEPTED, Reason.ADAPTER_REMOVED)
    refused = send(nic, outbound)
    assert (refused.status, refused.reason) == (NdisStatus.FAILURE, Reason.ADAPTER_REMOVED)
    assert nic.driver.reset() == ResetResult(NdisStatus.HARD_ERRORS)
    assert nic.receive(native_frame()) is Reason.NOT_ENABLED


@pytest.mark.rule("N-RST-6", "N-RST-3")
def test_removal_ends_pending_requests_and_a_pending_reset() -> None:
    nic = bench(card=SlowCard).enable()
    nic.add_sa(sa())
    nic.driver.remove()
    (aborted,) = nic.completions()
    assert (aborted.request_id, aborted.result.status) == (nic.ids, NdisStatus.REQUEST_ABORTED)
    nic, _ = resetting()
    nic.driver.remove()
    assert nic.driver.poll() == [ResetCompletion(ResetResult(NdisStatus.HARD_ERRORS))]
    assert nic.driver.poll() == []
    assert nic.add_sa(sa()).status == NdisStatus.NOT_ACCEPTED
    assert not any(isinstance(event, StatusIndication) for event in nic.driver.poll())


# --- what a card may lose (A-26) -----------------------------------------------------------------------------------


def lost_everything(nic: Bench, handles: tuple[int, ...]) -> None:
    """Nothing that was offloaded is left, nobody said so, and what is added from now on works."""
    inbound, outbound, udp, entry, version_2 = handles
    assert [nic.rows[table] for table in (Table.INBOUND, Table.OUTBOUND)] == [{}, {}]
    assert nic.rows[Table.PARSER] == {nic.driver.state.own_parser_row: OWN_PARSER_ROW}
    assert nic.driver.poll() == []
    # Received packets go up unprocessed, and sends and deletes that name lost handles fail.
    assert [nic.receive(frame) for frame in FRAMES] == [Reason.SA_NOT_OFFLOADED, Reason.NO_PARSER_ENTRY]
    refused = send(nic, outbound)
    assert (refused.status, refused.reason) == (NdisStatus.FAILURE, Reason.UNKNOWN_SEND_HANDLE)
    for result in (nic.delete_sa(inbound), nic.delete_udpesp(udp, entry), nic.delete_v2(version_2)):
        nic.refuses(result, NdisStatus.INVALID_DATA, Reason.UNKNOWN_SA_HANDLE)
    nic.refuses(nic.add_udpesp(udpesp(entry=entry)), NdisStatus.INVALID_DATA, Reason.UNKNOWN_PARSER_HANDLE)
    assert [len(nic.free(table)) for table in (Table.INBOUND, Table.OUTBOUND, Table.PARSER)] == [4, 4, 3]
    nic.added(sa())
    assert nic.receive(native_frame()) is Reason.OPENED


@pytest.mark.rule("A-26")
def test_a_card_that_loses_its_tables_on_reset_comes_back_empty_and_enabled() -> None:
    nic = everything(losses=Losses(on_reset=True))
    handles = lived_in(nic)
    power(nic, D3)
    power(nic, D0)
    assert [nic.receive(frame) for frame in FRAMES] == [Reason.OPENED] * 2  # low power is another matter
    assert nic.driver.reset().status == SUCCESS
    lost_everything(nic, handles)


@pytest.mark.parametrize("way", [(D3, D0), (D1, D3, D2, D0)])
@pytest.mark.rule("A-26")
def test_a_card_that_loses_its_tables_in_d3_comes_back_empty_and_enabled(way: tuple[int, ...]) -> None:
    nic = everything(losses=Losses(on_d3=True))
    handles = lived_in(nic)
    nic.driver.reset()
    for state in (D1, D2, D0):
        power(nic, state)
    assert [nic.receive(frame) for frame in FRAMES] == [Reason.OPENED] * 2  # neither a reset nor D2 is D3
    for state in way:
        assert power(nic, state).status == SUCCESS
    lost_everything(nic, handles)


@pytest.mark.rule("N-V2-11", "N-RST-3", "A-26")
def test_a_list_that_a_reset_cuts_off_leaves_nothing_of_it_behind() -> None:
    nic = bench(capabilities(version2={"udp_esp": 0}), card=SlowCard)
    first, second = (v2(spi, udp_esp_encapsulation=0) for spi in (SPI, SPI + 1))
    assert nic.add_v2(first, second).status == PENDING
    nic.driver.poll()  # the first of the list has its row
    assert len(nic.rows[Table.INBOUND]) == 1
    assert nic.driver.reset().status == SUCCESS
    (aborted,) = nic.completions()
    assert aborted.result.status == NdisStatus.REQUEST_ABORTED
    assert (nic.driver.state.associations, nic.rows[Table.INBOUND], nic.free(Table.INBOUND)) == ({}, {}, {0, 1, 2, 3})


@pytest.mark.parametrize("refused", [0, 1])
@pytest.mark.rule("N-RST-3", "N-RX-13", "N-TX-10")
def test_half_an_association_that_the_card_does_not_take_back_judges_no_packet(refused: int) -> None:
    nic = bench(capabilities(version2={"udp_esp": 0})).enable()
    nic.added(pair())
    outbound = nic.added(pair(flags=OUTBOUND))
    whole = with_ah(native_frame())
    assert nic.card.receive(whole)[1].reason == Reason.OPENED.number
    first = len(nic.card.writes)
    nic.card.fail_writes = {first + refused, first + 2, first + 3}
    assert nic.driver.reset().status == NdisStatus.HARD_ERRORS
    assert nic.card.receive(whole)[1].crypto_done == 0
    assert send(nic, outbound).status == NdisStatus.FAILURE
