"""OID_TCP_OFFLOAD_PARAMETERS and the tasks beside IPsec: what is reported, and what a frame may still ask for."""

from dataclasses import replace

import pytest

from nicsim.boundary import ChecksumResult, ChecksumTask, OidRequest, RequestKind, StatusIndication, TaskWords
from nicsim.host.other_tasks import TaskWriter
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ndis_offload import NdisOffloadRevision2
from tests import oracle_tcp
from tests.builders import AES, LOCAL, LOCAL6, PEER, PEER6, Host, association, ethernet, host_with
from tests.card.test_checksums import SEGMENT, send, tcp_packet, udp_packet
from tests.card.test_segmentation import Large, outbound

# Where each member is in the buffer.
IP4, TCP4, UDP4, TCP6, UDP6, LSO_V1 = 4, 5, 6, 7, 8, 9
LSO_V2_4, LSO_V2_6 = 11, 12
OFF, SEND_ONLY, RECEIVE_ONLY, ON = 1, 2, 3, 4


def parameters(*members: tuple[int, int]) -> bytes:
    """Revision 1: header, fifteen members of a byte, and Flags."""
    buffer = bytearray((0x80, 1, 20, 0, *bytes(16)))
    for at, value in members:
        buffer[at] = value
    return bytes(buffer)


def set_parameters(host: Host, *members: tuple[int, int]) -> NdisStatus:
    request = OidRequest(RequestKind.SET, Oid.OID_TCP_OFFLOAD_PARAMETERS, parameters(*members), Abi.X64, request_id=9)
    return host.nic.request(request).status


def reported(host: Host, oid: Oid = Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG) -> NdisOffloadRevision2:
    answer = host.nic.request(OidRequest(RequestKind.QUERY, oid, bytes(300), Abi.X64, request_id=10))
    return NdisOffloadRevision2.unpack(answer.buffer, Abi.X64)


PACKETS = {
    IP4: (ethernet(tcp_packet(LOCAL, PEER)), ChecksumTask.IP, 4),
    TCP4: (ethernet(tcp_packet(LOCAL, PEER)), ChecksumTask.TCP, 4),
    UDP4: (ethernet(udp_packet(LOCAL, PEER)), ChecksumTask.UDP, 4),
    TCP6: (ethernet(tcp_packet(LOCAL6, PEER6)), ChecksumTask.TCP, 6),
    UDP6: (ethernet(udp_packet(LOCAL6, PEER6)), ChecksumTask.UDP, 6),
}
SUCCEEDED = {
    IP4: ChecksumResult.IP_SUCCEEDED,
    TCP4: ChecksumResult.TCP_SUCCEEDED,
    UDP4: ChecksumResult.UDP_SUCCEEDED,
    TCP6: ChecksumResult.TCP_SUCCEEDED,
    UDP6: ChecksumResult.UDP_SUCCEEDED,
}
REPORTED = {
    IP4: ("ipv4", "ip_checksum"),
    TCP4: ("ipv4", "tcp_checksum"),
    UDP4: ("ipv4", "udp_checksum"),
    TCP6: ("ipv6", "tcp_checksum"),
    UDP6: ("ipv6", "udp_checksum"),
}


@pytest.mark.rule("N-CP6-7", "N-CP6-1")
@pytest.mark.parametrize("setting", [OFF, SEND_ONLY, RECEIVE_ONLY, ON])
@pytest.mark.parametrize("member", PACKETS)
def test_a_checksum_is_switched_by_kind_family_and_direction(member: int, setting: int) -> None:
    host = host_with([], "ndis61")
    assert set_parameters(host, (member, setting)) == NdisStatus.SUCCESS
    sends, receives = setting in (SEND_ONLY, ON), setting in (RECEIVE_ONLY, ON)
    for other, (frame, task, version) in PACKETS.items():
        sent = send(host, frame, task, None, version)
        expected = Reason.TASKS_DONE if other != member or sends else Reason.CHECKSUM_NOT_ENABLED
        assert sent.reason is expected, other
        _, _, descriptor = host.receive(frame)
        assert bool(descriptor.checksums & SUCCEEDED[other]) is (other != member or receives), other
    family, name = REPORTED[member]
    report = reported(host).checksum
    assert getattr(getattr(report, f"{family}_transmit"), name) == int(sends)
    assert getattr(getattr(report, f"{family}_receive"), name) == int(receives)
    # What the hardware can do is another matter.
    hardware = reported(host, Oid.OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES).checksum
    assert getattr(getattr(hardware, f"{family}_transmit"), name) == 1


@pytest.mark.rule("N-CP6-7")
def test_what_was_switched_off_can_be_given_back_and_zero_changes_nothing() -> None:
    host = host_with([], "ndis61")
    frame, task, _ = PACKETS[TCP4]
    assert set_parameters(host, (TCP4, OFF)) == NdisStatus.SUCCESS
    assert set_parameters(host, (UDP4, OFF)) == NdisStatus.SUCCESS
    assert send(host, frame, task, None).reason is Reason.CHECKSUM_NOT_ENABLED
    assert set_parameters(host, (TCP4, ON)) == NdisStatus.SUCCESS
    assert send(host, frame, task, None).reason is Reason.TASKS_DONE


LARGE_SENDS = {LSO_V1: (1, False), LSO_V2_4: (2, False), LSO_V2_6: (2, True)}


@pytest.mark.rule("N-CP6-7", "N-V2-5")
@pytest.mark.parametrize("member", LARGE_SENDS)
def test_large_sends_are_switched_by_version_and_family(member: int) -> None:
    for other, (lso_version, ipv6) in LARGE_SENDS.items():
        large = Large(outbound(ipv6=ipv6), lso_version=lso_version)
        host = host_with([large.sa], "ndis61")
        assert set_parameters(host, (member, OFF)) == NdisStatus.SUCCESS
        sent = large.sent(host)
        assert sent.reason is (Reason.LARGE_SEND_NOT_ENABLED if other == member else Reason.SEALED)
        assert len(sent.frames) == (0 if other == member else 4)
        report = reported(host)
        blocks = (report.lso_v1.ipv4, report.lso_v2.ipv4, report.lso_v2.ipv6)
        off = [number for number, block in enumerate(blocks) if not block.max_off_load_size]
        assert off == [list(LARGE_SENDS).index(member)]
        assert set_parameters(host, (member, 2)) == NdisStatus.SUCCESS
        assert large.sent(host).reason is Reason.SEALED


@pytest.mark.rule("N-V2-5")
def test_version_1_of_large_send_is_for_ipv4_only() -> None:
    large = Large(outbound(ipv6=True), lso_version=1)
    sent = large.sent(host_with([large.sa], "ndis61"))
    assert (sent.status, sent.reason) == (NdisStatus.FAILURE, Reason.BAD_LARGE_SEND)


@pytest.mark.rule("N-CP6-1")
def test_a_change_is_indicated() -> None:
    host = host_with([], "ndis61")
    host.nic.poll()
    assert set_parameters(host, (LSO_V2_6, OFF)) == NdisStatus.SUCCESS
    assert [event for event in host.nic.poll() if isinstance(event, StatusIndication)]


@pytest.mark.rule("N-CP6-7", "N-OID-3")
@pytest.mark.parametrize(
    ("member", "value"),
    [(IP4, 4), (TCP4, 2), (UDP4, 3), (TCP6, 4), (UDP6, 2), (LSO_V1, 2), (LSO_V2_4, 2), (LSO_V2_6, 2)],
)
def test_what_is_not_claimed_cannot_be_enabled_but_can_be_disabled(member: int, value: int) -> None:
    claims = load_profile("ndis61")
    nothing = replace(claims, other_tasks=type(claims.other_tasks)())
    host = host_with([association(0x1001, AES, inbound=False)], nothing)
    assert set_parameters(host, (member, value)) == NdisStatus.INVALID_DATA
    assert set_parameters(host, (member, OFF)) == NdisStatus.SUCCESS
    only_ipv4 = replace(claims, other_tasks=replace(claims.other_tasks, large_send_ipv6=False))
    expected = NdisStatus.INVALID_DATA if member == LSO_V2_6 else NdisStatus.SUCCESS
    assert set_parameters(host_with([], only_ipv4), (member, value)) == expected


def test_a_5_1_large_send_knows_no_versions() -> None:
    claims = load_profile("ndis51")
    tasks = load_profile("ndis61").other_tasks
    host = host_with([], replace(claims, other_tasks=tasks))
    words = TaskWords(large_send=TaskWriter(claims.ndis, Abi.X64).large_send(10, 0, 4))
    frame = ethernet(oracle_tcp.make(LOCAL, PEER, SEGMENT))
    assert len(host.nic.send(frame, host.offloader.transmit_word(0), b"", words).frames) == 4
