"""The order of requests on a card that takes its time, retries, and which OIDs there are."""

from __future__ import annotations

import pytest

from nicsim.boundary import OidCompletion, RequestKind, StatusIndication, Table
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddSa
from tests.driver.builders import (
    ON,
    SPI,
    SlowCard,
    bench,
    capabilities,
    esp_element,
    handle_of,
    handles_of,
    native_frame,
    sa,
    udp_frame,
    udpesp,
    v2,
)

PENDING, SUCCESS = NdisStatus.PENDING, NdisStatus.SUCCESS


def drained(nic) -> list[OidCompletion]:
    """Poll until the card has nothing more to do."""
    done = nic.completions()
    while nic.card.waiting:
        done += nic.completions()
    return done


# --- pending ------------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-OID-6", "N-ADD-2", "N-SA-17")
def test_a_pending_add_completes_with_the_same_effect_as_one_that_is_done_at_once() -> None:
    slow, quick = bench(card=SlowCard).enable(), bench().enable()
    at_once = quick.add_udpesp(udpesp())
    pending = slow.add_udpesp(udpesp())
    assert (pending.status, pending.bytes_read) == (PENDING, 0)
    assert slow.driver.state.associations == {}  # nothing is there before it is done
    # The parser row first, then the association's: two polls.
    assert slow.completions() == []
    (done,) = slow.completions()
    assert done.request_id == slow.ids
    assert done.result == at_once
    assert slow.snapshot() == quick.snapshot()
    assert slow.receive(udp_frame()) is Reason.OPENED


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.rule("N-ADD-6")
def test_a_pending_add_that_the_card_fails_leaves_nothing(failing: int) -> None:
    nic = bench(card=SlowCard)
    before = nic.snapshot()
    nic.card.fail_writes = {failing}
    assert nic.add_udpesp(udpesp()).status == PENDING
    (done,) = drained(nic)
    nic.refuses(done.result, NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED)
    assert nic.snapshot() == before
    assert nic.add_udpesp(udpesp()).status == PENDING
    (done,) = drained(nic)
    assert done.result.status == SUCCESS


@pytest.mark.rule("N-DEL-5", "A-6")
def test_a_delete_that_overtakes_its_pending_add_waits_for_it() -> None:
    # Handles are given out in order, so a twin that does the same at once tells what this one's will be.
    twin = bench()
    handle, entry = handles_of(twin.add_udpesp(udpesp()), twin.abi)
    nic = bench(card=SlowCard)
    empty = nic.snapshot()
    assert nic.add_udpesp(udpesp()).status == PENDING
    add_id = nic.ids
    assert nic.delete_udpesp(handle, entry).status == PENDING
    assert nic.card.clears == []
    done = drained(nic)
    assert [(one.request_id, one.result.status) for one in done] == [(add_id, SUCCESS), (add_id + 1, SUCCESS)]
    assert handles_of(done[0].result, nic.abi) == (handle, entry)
    # Nothing was cleared before the add had written.
    assert [table for table, _ in nic.card.writes] == [Table.PARSER, Table.INBOUND]
    assert nic.card.clears == [*reversed(nic.card.writes)]
    assert nic.snapshot() == empty


@pytest.mark.rule("N-OID-5", "A-6")
def test_several_outstanding_requests_complete_in_order_and_a_refused_one_in_its_place() -> None:
    nic = bench(card=SlowCard)
    assert [nic.add_v2(v2(SPI + number)).status for number in range(2)] == [PENDING] * 2
    assert nic.add_v2(v2(0)).status == PENDING
    assert nic.add_sa(sa()).status == PENDING
    last, done = nic.ids, drained(nic)
    assert [one.request_id for one in done] == [last - 3, last - 2, last - 1, last]
    assert [one.result.reason for one in done] == [None, None, Reason.SPI_ZERO, None]
    assert {kept.version for kept in nic.driver.state.associations.values()} == {1, 2}
    assert len(nic.rows[Table.INBOUND]) == 3


@pytest.mark.rule("N-SA-23")
def test_room_is_counted_when_a_request_runs_not_when_it_comes() -> None:
    nic = bench(capabilities(rows=1), card=SlowCard)
    first = bench(capabilities(rows=1)).added(sa())
    nic.add_sa(sa())
    nic.add_sa(sa(sec_assoc=(esp_element(7),)))
    nic.delete_sa(first)
    nic.add_sa(sa(sec_assoc=(esp_element(8),)))
    done = drained(nic)
    assert [one.result.status for one in done] == [SUCCESS, NdisStatus.RESOURCES, SUCCESS, SUCCESS]
    assert nic.row().spi == 8


@pytest.mark.rule("N-CP6-5", "N-CP6-1", "A-34")
def test_a_pending_enabling_indicates_when_it_is_done() -> None:
    nic = bench(card=SlowCard)
    assert nic.encapsulate(ON).status == PENDING
    assert nic.card.card.rows.control.ipv4_encapsulations == 0
    indication, done = nic.driver.poll()
    assert isinstance(indication, StatusIndication)
    assert isinstance(done, OidCompletion)
    assert (done.request_id, done.result.status) == (nic.ids, SUCCESS)
    assert nic.card.card.rows.control.ipv4_encapsulations == 0x2


# --- what will not clear --------------------------------------------------------------------------------------------


@pytest.mark.rule("N-DEL-4")
def test_a_pending_clear_that_fails_is_marked_and_its_pending_retry_frees_the_slot() -> None:
    nic = bench(capabilities(rows=2), card=SlowCard)
    nic.add_sa(sa())
    (added,) = drained(nic)
    nic.card.fail_clears = {0}
    nic.delete_sa(handle_of(added.result, nic.abi))
    (done,) = drained(nic)
    assert (done.result.status, done.result.reason) == (NdisStatus.FAILURE, Reason.ROW_CLEAR_FAILED)
    ((table, slot),) = nic.driver.state.marked
    # The next requests start one retry, not two, and the slot is free only when that has completed.
    for _ in range(2):
        nic.delete_sa(0)
    assert [entry[:2] for entry in nic.card.waiting] == [(table, slot)]
    assert slot not in nic.free(table)
    assert drained(nic) == []
    assert nic.driver.state.marked == []
    assert slot in nic.free(table)
    assert nic.rows[table] == {}


@pytest.mark.rule("N-DEL-4")
def test_a_retry_that_fails_is_tried_again() -> None:
    nic = bench(card=SlowCard)
    nic.add_sa(sa())
    (added,) = drained(nic)
    nic.card.fail_clears = {0, 1}
    nic.delete_sa(handle_of(added.result, nic.abi))
    drained(nic)
    for marked in (1, 0):
        nic.delete_sa(0)
        drained(nic)
        assert len(nic.driver.state.marked) == marked


# --- which OIDs there are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("oid", [0, 0xFC010207, 0xFC030206, 0xFFFFFFFF, 0x00010101])
@pytest.mark.parametrize("kind", list(RequestKind))
@pytest.mark.parametrize("direct", [False, True])
def test_an_oid_that_nobody_knows_is_invalid(oid: int, kind: RequestKind, direct: bool) -> None:
    nic = bench()
    before = nic.snapshot()
    result = nic.request(kind, oid, bytes(64), direct=direct)
    nic.refuses(result, NdisStatus.INVALID_OID, Reason.NOT_OFFERED)
    assert result.buffer == bytes(64)
    assert nic.snapshot() == before


NOT_FOR_THIS = [
    (RequestKind.QUERY, Oid.OID_TCP_TASK_IPSEC_ADD_SA, False),
    (RequestKind.QUERY, Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA, False),
    (RequestKind.QUERY, Oid.OID_OFFLOAD_ENCAPSULATION, False),
    (RequestKind.SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, False),
    (RequestKind.QUERY, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, True),
    (RequestKind.SET, Oid.OID_TCP_TASK_IPSEC_ADD_SA, True),
    (RequestKind.QUERY, Oid.OID_TCP_OFFLOAD_PARAMETERS, False),
    (RequestKind.SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, False),
    (RequestKind.SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, False),
    (RequestKind.SET, Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG, False),
]


@pytest.mark.parametrize(("kind", "oid", "direct"), NOT_FOR_THIS)
@pytest.mark.rule("N-OID-1", "N-OID-5")
def test_a_known_oid_that_is_not_for_this_kind_of_request_is_not_supported(kind, oid, direct) -> None:
    nic = bench()
    before = nic.snapshot()
    nic.refuses(nic.request(kind, oid, bytes(256), direct=direct), NdisStatus.NOT_SUPPORTED, Reason.NOT_OFFERED)
    assert nic.snapshot() == before


@pytest.mark.rule("N-OID-5")
def test_an_oid_without_a_handler_is_refused_at_once_even_behind_a_pending_request() -> None:
    nic = bench(card=SlowCard)
    nic.add_sa(sa())
    assert nic.set(Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG, b"").status == NdisStatus.NOT_SUPPORTED
    (done,) = drained(nic)
    assert OffloadIpsecAddSa.unpack(done.result.buffer, Abi.X64).offload_handle


# --- frames: out-of-band words and sends ------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
@pytest.mark.rule("N-TX-1", "N-TX-10", "N-TX-3", "N-V2-16")
def test_a_send_names_an_outbound_association_or_nothing(abi: Abi) -> None:
    nic = bench(abi=abi).enable()
    outbound = nic.added(sa(flags=2))
    inbound = nic.added(sa())
    frame, width = native_frame(), abi.pointer_size

    def send(handle: int):
        return nic.driver.send(frame, handle.to_bytes(width, "little"))

    plain = send(0)
    assert (plain.status, plain.frame, plain.reason) == (SUCCESS, frame, Reason.NO_SEND_WORK)
    for wrong in (inbound, 0xBAD0):
        failed = send(wrong)
        assert (failed.status, failed.frame, failed.reason) == (NdisStatus.FAILURE, b"", Reason.UNKNOWN_SEND_HANDLE)
    sealed = send(outbound)
    assert (sealed.status, sealed.reason) == (SUCCESS, Reason.SEALED)
    assert sealed.frame[:42] == frame[:42]
    assert sealed.frame[42:50] == b"\x5a" * 8  # the card's IV
    nic.delete_sa(outbound)
    assert send(outbound).reason is Reason.UNKNOWN_SEND_HANDLE
    assert nic.driver.send(b"no frame", outbound.to_bytes(width, "little")).status == NdisStatus.FAILURE


@pytest.mark.rule("N-RX-12", "N-RX-13", "N-RX-14", "N-RX-15", "A-23", "N-V2-19")
def test_the_receive_words_say_what_the_card_did() -> None:
    nic, old = bench().enable(), bench(capabilities("ndis51"))
    nic.added(sa())
    good, bad, other = native_frame(), bytearray(native_frame()), native_frame(spi=9)
    bad[-1] ^= 1

    def words(miniport, frame: bytes):
        up, descriptor = nic.card.receive(frame)
        indication = miniport.driver.indicate(up, descriptor)
        assert indication.frame == up
        return indication.ipsec, indication.header

    # 6.x: bit 1 CryptoDone, bits 16 to 31 CryptoStatus, in a slot as wide as a pointer. 5.1: two ULONGs, then the rest.
    assert words(nic, good)[0][:4] == bytes([2, 0, 0, 0])
    assert words(nic, bytes(bad))[0][:4] == bytes([2, 0, 3, 0])
    assert words(nic, other)[0][:4] == bytes(4)
    assert words(old, good)[0][:8] == bytes([2, 0, 0, 0, 0, 0, 0, 0])
    assert words(old, bytes(bad))[0][:8] == bytes([2, 0, 0, 0, 3, 0, 0, 0])
    assert words(old, other)[0][:8] == bytes(8)
    # The version 2 header word: next header 17, the oracle's padding, HeaderInfoSet in bit 16.
    header = words(nic, good)[1]
    padding = -(26 + 2) % 8
    assert header[:3] == bytes([17, padding, 1])
    assert words(nic, bytes(bad))[1] == words(nic, other)[1] == b""
    assert words(old, good)[1] == b""


@pytest.mark.rule("N-V2-12")
def test_a_pended_version_2_delete_ends_with_success_whatever_the_card_says() -> None:
    nic = bench(card=SlowCard)
    nic.add_v2(v2())
    nic.completions()
    (handle,) = nic.driver.state.associations
    nic.card.fail_clears = {0}
    assert nic.delete_v2(handle).status == PENDING
    (done,) = nic.completions()
    assert (done.result.status, done.result.reason) == (NdisStatus.SUCCESS, Reason.ROW_CLEAR_FAILED)
    assert len(nic.driver.state.marked) == 1


# --- marked rows, reset and power -----------------------------------------------------------------------------------


@pytest.mark.rule("N-DEL-4", "N-RST-1")
def test_a_retry_that_a_reset_made_the_card_forget_does_not_keep_the_same_row_from_being_retried_later() -> None:
    nic = bench(capabilities(rows=1), card=SlowCard).enable()
    for _ in range(2):
        assert nic.add_sa(sa()).status == PENDING
        (added,) = drained(nic)
        nic.card.fail_clears = {len(nic.card.clears)}
        nic.delete_sa(handle_of(added.result, nic.abi))
        assert drained(nic)[0].result.status == NdisStatus.FAILURE
        assert nic.driver.state.marked == [(Table.INBOUND, 0)]
        # Any request has the driver try again; the card takes its time over that, and is reset meanwhile.
        nic.set(Oid.OID_GEN_CURRENT_PACKET_FILTER, bytes(4))
        assert len(nic.card.waiting) == 1
        nic.driver.reset()
        drained(nic)
        assert (nic.driver.state.marked, nic.free(Table.INBOUND)) == ([], {0})


@pytest.mark.rule("N-DEL-4", "N-RST-5")
def test_a_marked_row_that_goes_in_low_power_does_not_switch_the_card_on() -> None:
    nic = bench(card=SlowCard).enable()
    nic.add_sa(sa())
    (added,) = drained(nic)
    on = nic.card.card.rows.control
    nic.card.fail_clears = {len(nic.card.clears)}
    nic.delete_sa(handle_of(added.result, nic.abi))
    drained(nic)
    assert nic.set(Oid.OID_PNP_SET_POWER, (4).to_bytes(4, "little")).status == SUCCESS
    assert len(nic.card.waiting) == 1  # the power request had the driver try again
    drained(nic)
    assert nic.driver.state.marked == []
    assert nic.card.card.rows.control == type(on)()
    assert nic.set(Oid.OID_PNP_SET_POWER, (1).to_bytes(4, "little")).status in (SUCCESS, PENDING)
    drained(nic)
    assert nic.card.card.rows.control == on
