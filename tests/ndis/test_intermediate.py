"""Intermediate drivers: what alters or spreads packets offers no offload, and what only looks passes everything."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import pytest

from nicsim.boundary import NO_TASKS, Indication, OidCompletion, OidRequest, RequestKind, StatusIndication, TaskWords
from nicsim.capabilities import NdisVersion
from nicsim.host.offloader import InSoftware, LinkMedium, Offloader
from nicsim.ndis.intermediate import Adapter, LoadBalancer, PacketFilter
from nicsim.nic import Nic
from nicsim.reasons import Reason
from offload_oids import OID_INFO, Abi, NdisStatus, Oid
from tests.driver.builders import ON, OUTBOUND, bench, capabilities, native_frame, sa
from tests.driver.test_enabling import ENABLE, header
from tests.host.test_offloader import an_sa

SUCCESS, UNSUPPORTED = NdisStatus.SUCCESS, NdisStatus.NOT_SUPPORTED
SET, QUERY = RequestKind.SET, RequestKind.QUERY
ADD, TASK = Oid.OID_TCP_TASK_IPSEC_ADD_SA, Oid.OID_TCP_TASK_OFFLOAD


class Watched(Nic):
    """A NIC that remembers which requests reached it, and what was sent through it."""

    def __init__(self, profile: str = "ndis51", **options: object) -> None:
        super().__init__(capabilities(profile), iv_source=bytes, **options)  # type: ignore[arg-type]
        self.asked: list[int] = []
        self.sent: list[bytes] = []

    def request(self, request: OidRequest):
        self.asked.append(request.oid)
        return super().request(request)

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS):
        self.sent.append(frame)
        return super().send(frame, ipsec, tunnel, tasks)


def last_byte_changed(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 0xFF])


def altering(*nics: Nic) -> Adapter:
    return PacketFilter(nics[0], last_byte_changed)


def request(kind: RequestKind, oid: int, buffer: bytes, number: int = 1) -> OidRequest:
    return OidRequest(kind, oid, buffer, Abi.X64, request_id=number)


def offloading(nic: Nic) -> Nic:
    """The NIC itself enabled by another protocol, with an inbound association."""
    assert nic.request(request(SET, TASK, ENABLE)).status == SUCCESS
    assert nic.request(request(SET, ADD, sa().pack(Abi.X64))).status == SUCCESS
    return nic


@pytest.mark.rule("N-OID-7")
def test_the_query_of_task_offload_is_answered_not_supported_and_never_passed_down() -> None:
    nic = Watched()
    answer = altering(nic).request(request(QUERY, TASK, header() + bytes(100)))
    assert (answer.status, answer.bytes_written, nic.asked) == (UNSUPPORTED, 0, [])
    only_looks = PacketFilter(nic).request(request(QUERY, TASK, header() + bytes(100)))
    assert (only_looks.status, only_looks.bytes_written, nic.asked) == (SUCCESS, 72, [TASK])


@pytest.mark.parametrize("between", [altering, lambda *nics: LoadBalancer(nics)], ids=["alters", "balances"])
@pytest.mark.parametrize("profile", ["ndis51", "reference"])
@pytest.mark.rule("N-OID-7", "N-RX-11", "N-TX-7")
def test_no_request_of_offload_gets_through(between: Callable[..., Adapter], profile: str) -> None:
    nics = Watched(profile), Watched(profile)
    driver = between(*nics)
    for kind in RequestKind:
        for oid in OID_INFO:
            assert driver.request(request(kind, oid, bytes(300))).status == UNSUPPORTED
    host = Offloader(driver, NdisVersion.NDIS_5_1 if profile == "ndis51" else NdisVersion.NDIS_6_1)
    host.enable(LinkMedium.ETHERNET)
    stays = host.add(an_sa())
    assert isinstance(stays, InSoftware)
    assert stays.reason is Reason.OFFLOAD_NOT_ENABLED
    assert [nic.asked for nic in nics] == [[], []]


@pytest.mark.parametrize("between", [altering, lambda *nics: LoadBalancer(nics)], ids=["alters", "balances"])
@pytest.mark.rule("N-OID-7", "N-RX-11")
def test_a_frame_that_the_nic_opened_for_another_protocol_goes_up_without_words(
    between: Callable[..., Adapter],
) -> None:
    nic = offloading(Watched())
    opened, _ = nic.receive(native_frame())
    assert any(opened.ipsec)
    through, _ = between(nic).receive(native_frame())
    assert not any(through.ipsec)
    assert through.header == b""
    looks, _ = PacketFilter(nic).receive(native_frame())
    assert looks == opened


@pytest.mark.parametrize("between", [altering, lambda *nics: LoadBalancer(nics)], ids=["alters", "balances"])
@pytest.mark.rule("N-TX-7", "N-RX-11")
def test_a_send_with_a_handle_fails_and_one_without_leaves_unworked(between: Callable[..., Adapter]) -> None:
    nic = Watched()
    handle = bench(capabilities("ndis51")).added(sa(flags=OUTBOUND))
    word = handle.to_bytes(8, "little").ljust(16, b"\0")
    refused = between(nic).send(native_frame(), word)
    assert (refused.status, refused.frame, nic.sent) == (NdisStatus.FAILURE, b"", [])
    sent = between(nic).send(native_frame(), bytes(16))
    assert (sent.status, sent.reason) == (SUCCESS, Reason.NO_SEND_WORK)


@pytest.mark.rule("N-OID-7")
def test_what_alters_does_so_in_both_directions() -> None:
    nic = Watched()
    driver = altering(nic)
    frame = native_frame()
    assert driver.send(frame, bytes(16)).frame == last_byte_changed(frame)
    assert driver.receive(frame)[0] == Indication(last_byte_changed(frame), bytes(16))


@pytest.mark.rule("N-RX-11")
def test_a_load_balancer_spreads_frames_and_asks_every_nic_what_is_not_about_offload() -> None:
    nics = Watched(), Watched(), Watched()
    team = LoadBalancer(nics)
    for _ in range(5):
        team.send(native_frame(), bytes(16))
    assert [len(nic.sent) for nic in nics] == [2, 2, 1]
    kinds = request(SET, Oid.OID_GEN_CURRENT_PACKET_FILTER, struct.pack("<I", 0x0B))
    assert team.request(kinds).status == SUCCESS
    assert [nic.driver.state.packet_filter for nic in nics] == [0x0B] * 3  # type: ignore[attr-defined]
    assert team.request(request(SET, Oid.OID_GEN_CURRENT_PACKET_FILTER, b"")).status == NdisStatus.INVALID_LENGTH
    assert team.receive(native_frame(), through=2)[0].frame == native_frame()


def completions(events: Sequence[OidCompletion | StatusIndication]) -> list[tuple[int, NdisStatus]]:
    return [(event.request_id, event.result.status) for event in events if isinstance(event, OidCompletion)]


def test_a_load_balancer_completes_a_request_once_all_nics_have() -> None:
    nics = Watched("ndis51", row_ticks=1), Watched("ndis51", row_ticks=3), Watched("ndis51")
    for nic in nics:  # rows that full power brings back
        nic.request(request(SET, ADD, sa().pack(Abi.X64)))
        for _ in range(4):
            nic.poll()
    team = LoadBalancer(nics)
    assert team.request(request(SET, Oid.OID_PNP_SET_POWER, struct.pack("<I", 4), 7)).status == SUCCESS
    assert team.request(request(SET, Oid.OID_PNP_SET_POWER, struct.pack("<I", 1), 8)).status == NdisStatus.PENDING
    assert [completions(team.poll()) for _ in range(4)] == [[], [], [(8, SUCCESS)], []]


def test_a_filter_that_only_looks_passes_sends_and_completions_too() -> None:
    nic = Watched("reference")
    looks = PacketFilter(nic)
    setting = bytes([0xA8, 1, 28, 0]) + ON.pack(Abi.X64) + bytes(12)
    assert looks.request(request(SET, Oid.OID_OFFLOAD_ENCAPSULATION, setting)).status == SUCCESS
    assert [event.status for event in looks.poll() if isinstance(event, StatusIndication)] == [0x40020006]
    assert looks.send(native_frame(), bytes(8)).frame == native_frame()
