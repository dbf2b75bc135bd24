"""Several requests at once, on a card that takes its time, with NDIS's queue and without it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from nicsim.boundary import OidCompletion, OidRequest, OidResult, RequestKind, StatusIndication, Table
from nicsim.card.device import SimulatedCard
from nicsim.card.slow import SlowCard
from nicsim.driver.device import ReferenceDriver
from nicsim.ndis.monitor import Monitor
from nicsim.ndis.queue import Ndis
from nicsim.ndis.watched import WatchedCard, WatchedMiniport
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddUdpespSa, OffloadIpsecDeleteUdpespSa
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa, IpsecOffloadV2AddSaEx
from tests.driver.builders import (
    OUTBOUND,
    SPI,
    FlakyCard,
    capabilities,
    chained,
    esp_element,
    native_frame,
    sa,
    udpesp,
    v2,
)
from tests.driver.test_associations_v2_ex import ex

SUCCESS, PENDING, ABORTED = NdisStatus.SUCCESS, NdisStatus.PENDING, NdisStatus.REQUEST_ABORTED
ADD, ADD_UDPESP = Oid.OID_TCP_TASK_IPSEC_ADD_SA, Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA
DELETE_UDPESP = Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA
ADD_V2 = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA
ENCAPSULATE = bytes([0xA8, 1, 28, 0]) + struct.pack("<6I", 1, 2, 14, 1, 2, 14)
ABIS = pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])


class Host:
    """NDIS, driver and a card that needs `ticks` for a row, watched by the monitor; requests are numbered from 1."""

    def __init__(self, abi: Abi = Abi.X64, ticks: int = 2, *, serialise: bool = True) -> None:
        self.abi = abi
        self.ids = 0
        caps = capabilities()
        self.silicon = SimulatedCard(inbound_rows=4, outbound_rows=4, parser_rows=4, iv_source=bytes)
        self.slow = SlowCard(self.silicon, ticks)
        self.monitor = Monitor()
        self.driver = ReferenceDriver(caps, WatchedCard(self.slow, self.monitor), abi)
        self.ndis = Ndis(WatchedMiniport(self.driver, self.monitor), abi, serialise=serialise)

    def opens(self, frame: bytes) -> bool:
        """Whether the card opens a frame, by the word that the driver puts on it."""
        return self.driver.indicate(*self.slow.receive(frame)).ipsec[0] == 2

    def set(self, oid: int, buffer: bytes) -> OidResult:
        self.ids += 1
        return self.ndis.request(OidRequest(RequestKind.SET, oid, buffer, self.abi, request_id=self.ids))

    def pass_time(self, ticks: int = 1) -> Sequence[OidCompletion | StatusIndication]:
        self.slow.advance(ticks)
        return self.ndis.poll()

    def done(self, ticks: int) -> list[tuple[int, NdisStatus]]:
        """What completes within so many ticks, one after another."""
        events = [event for _ in range(ticks) for event in self.pass_time()]
        return [(event.request_id, event.result.status) for event in events if isinstance(event, OidCompletion)]


@ABIS
@pytest.mark.rule("A-6", "N-DEL-5", "N-SA-17")
def test_handles_are_in_the_hosts_buffer_while_the_add_is_pending_and_a_delete_may_name_them(abi: Abi) -> None:
    host = Host(abi, serialise=False)
    buffer = udpesp().pack(abi)
    pending = host.set(ADD_UDPESP, buffer)
    assert (pending.status, pending.bytes_read, pending.bytes_written) == (PENDING, 0, 0)
    published = OffloadIpsecAddUdpespSa.unpack(pending.buffer, abi)
    handles = published.offload_handle, published.encap_type_entry_offld_handle
    assert all(handles)
    assert len(set(handles)) == 2
    assert pending.buffer != buffer
    # The delete overtakes the add: the driver holds it back (N-DEL-5), for the harness took NDIS's queue away.
    assert host.set(DELETE_UDPESP, OffloadIpsecDeleteUdpespSa(*handles).pack(abi)).status == PENDING
    assert host.slow.waiting() == 1
    # Parser row and association row of the add, then two clears: two ticks each.
    assert host.done(3) == []
    assert host.done(1) == [(1, SUCCESS)]
    assert host.done(3) == []
    assert host.done(1) == [(2, SUCCESS)]
    rows = host.silicon.rows
    assert (rows.inbound, rows.parser) == ({}, {})
    host.monitor.finish()


@ABIS
@pytest.mark.rule("A-6", "N-SA-17")
def test_the_published_handles_are_those_of_the_completion(abi: Abi) -> None:
    for oid, add in ((ADD, sa()), (ADD, sa(flags=OUTBOUND)), (ADD_UDPESP, udpesp()), (ADD_UDPESP, udpesp(flags=2))):
        host = Host(abi, ticks=1)
        pending = host.set(oid, add.pack(abi) + b"tail")
        (done,) = [event for _ in range(2) for event in host.pass_time()]
        assert isinstance(done, OidCompletion)
        assert (done.result.status, done.result.buffer) == (SUCCESS, pending.buffer)
        assert done.result.bytes_read == len(add.pack(abi))


@pytest.mark.rule("A-6", "N-ADD-6")
def test_an_add_that_fails_its_checks_publishes_nothing_and_one_that_fails_later_takes_it_back() -> None:
    host = Host()
    refused = host.set(ADD, raw := sa(num_sas=0).pack(host.abi))
    assert (refused.status, refused.buffer) == (NdisStatus.INVALID_DATA, raw)
    buffer = sa().pack(host.abi)
    assert host.set(ADD, buffer).buffer != buffer
    assert host.ndis.reset() == SUCCESS  # nothing to restore
    (aborted,) = host.ndis.poll()
    assert isinstance(aborted, OidCompletion)
    assert (aborted.result.status, aborted.result.buffer) == (ABORTED, buffer)


@pytest.mark.rule("N-OID-4", "N-DEL-5")
def test_with_ndiss_queue_the_driver_sees_one_ordinary_request_at_a_time() -> None:
    host = Host(ticks=1)
    assert [host.set(ADD, sa(sec_assoc=(esp_element(spi),)).pack(host.abi)).status for spi in (5, 6, 7)] == [
        PENDING
    ] * 3
    assert host.slow.waiting() == 1
    assert [host.done(1) for _ in range(3)] == [[(1, SUCCESS)], [(2, SUCCESS)], [(3, SUCCESS)]]
    assert [loaded.row.spi for loaded in host.silicon.rows.inbound.values()] == [5, 6, 7]


@pytest.mark.parametrize("serialise", [True, False])
@pytest.mark.rule("N-OID-5", "N-OID-6")
def test_several_direct_requests_are_outstanding_beside_an_ordinary_one(serialise: bool) -> None:
    host = Host(ticks=3, serialise=serialise)
    assert host.set(ADD, sa().pack(host.abi)).status == PENDING
    for spi in (SPI + 1, SPI + 2):
        assert host.set(ADD_V2, chained([v2(spi)], host.abi)).status == PENDING
    assert host.set(ADD, sa(sec_assoc=(esp_element(9),)).pack(host.abi)).status == PENDING
    # Each is taken up as the one before it is done: three ticks apiece.
    assert host.done(12) == [(1, SUCCESS), (2, SUCCESS), (3, SUCCESS), (4, SUCCESS)]
    assert sorted(loaded.row.spi for loaded in host.silicon.rows.inbound.values()) == [9, SPI, SPI + 1, SPI + 2]
    host.monitor.finish()


@pytest.mark.rule("N-RST-3", "N-RST-4", "N-RST-1", "A-26")
def test_a_reset_on_a_slow_card_ends_requests_restores_the_rest_and_says_so() -> None:
    host = Host(ticks=1)
    host.set(Oid.OID_OFFLOAD_ENCAPSULATION, ENCAPSULATE)
    host.set(ADD, sa().pack(host.abi))
    host.done(4)
    assert host.opens(native_frame())
    host.set(ADD, sa(sec_assoc=(esp_element(9),)).pack(host.abi))
    host.set(ADD, sa(sec_assoc=(esp_element(10),)).pack(host.abi))
    assert host.ndis.reset() == PENDING
    assert host.ndis.send(b"frame", bytes(8)).status == NdisStatus.RESET_IN_PROGRESS
    assert host.set(ADD, sa().pack(host.abi)).status == NdisStatus.RESET_IN_PROGRESS
    seen = [event for _ in range(4) for event in host.pass_time()]
    told = [event.request_id if isinstance(event, OidCompletion) else event.status for event in seen]
    # The third was with the driver; the fourth was held by NDIS, and goes down once the reset has ended.
    assert told == [NdisStatus.RESET_START, 3, NdisStatus.RESET_END, 4]
    assert host.opens(native_frame())
    assert sorted(loaded.row.spi for loaded in host.silicon.rows.inbound.values()) == [10, SPI]
    host.monitor.finish()


@ABIS
@pytest.mark.rule("A-6", "N-V2-11")
def test_a_version_2_list_has_the_handles_of_those_accepted_while_pending_and_of_those_taken_on_at_the_end(
    abi: Abi,
) -> None:
    host = Host(abi, ticks=1)
    host.slow.card = FlakyCard(host.silicon)
    host.slow.card.fail_writes = {1}
    adds = [v2(spi, abi=abi) for spi in (5, 0, 6, 7)]  # SPI zero is refused, and the row of SPI 6 fails
    buffer = chained(adds, abi)
    pending = host.set(ADD_V2, buffer)
    assert (pending.status, pending.bytes_read) == (PENDING, 0)
    first, refused, second, third = handles_of(pending.buffer, abi)
    assert refused == 0
    assert len({first, second, third}) == 3
    assert all((first, second, third))
    (done,) = [event for _ in range(4) for event in host.pass_time()]
    assert isinstance(done, OidCompletion)
    assert (done.result.status, done.result.bytes_read) == (SUCCESS, len(buffer))
    assert handles_of(done.result.buffer, abi) == [first, 0, 0, third]
    assert sorted(loaded.row.spi for loaded in host.silicon.rows.inbound.values()) == [5, 7]
    assert sorted(host.driver.state.associations) == sorted([first, third])
    assert host.driver.state.slots[Table.INBOUND].free() == 2


@ABIS
@pytest.mark.rule("A-6", "N-V2-11")
def test_the_handle_of_an_ex_add_is_published_too(abi: Abi) -> None:
    host = Host(abi, ticks=1)
    pending = host.set(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, ex(v2(abi=abi), abi, 3))
    handle = IpsecOffloadV2AddSaEx.unpack(pending.buffer, abi).offload_handle
    assert (pending.status, handle != 0) == (PENDING, True)
    (done,) = [event for _ in range(2) for event in host.pass_time()]
    assert isinstance(done, OidCompletion)
    assert done.result.buffer == pending.buffer
    assert list(host.driver.state.associations) == [handle]


def handles_of(buffer: bytes, abi: Abi) -> list[int]:
    """The handles of a version 2 list, in order."""
    at, handles = 0, []
    while True:
        element = IpsecOffloadV2AddSa.unpack(buffer[at:], abi)
        handles.append(element.offload_handle)
        if not element.next:
            return handles
        at = element.next - 0x1000
