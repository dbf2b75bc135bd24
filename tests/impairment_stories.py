"""Short stories of a NIC and its host, each of which holds where nothing is impaired.

A story looks at effects only: bytes, statuses, out-of-band words, verdicts, replays of the shipped captures. Where an
impairment shows, it fails an assertion or ends with an error of nicsim's own. Used by test_impairments.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from nicsim.boundary import (
    ChecksumResult,
    ChecksumTask,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    StatusIndication,
    TaskWords,
    UdpType,
)
from nicsim.capabilities import Capabilities, NdisVersion
from nicsim.host.offload_requests import add_udpesp_sa_buffer
from nicsim.host.offloader import InSoftware, LinkMedium, Offloaded, Offloader
from nicsim.host.other_tasks import TaskWriter, seeded
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.host.transport import ReceiveWord, ReceiveWords
from nicsim.impairments import (
    Impaired,
)
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.replay.session import ReplayRequest, Session
from offload_oids import Abi, CryptoStatus, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddUdpespSa, OffloadIpsecDeleteSa, OffloadIpsecDeleteUdpespSa
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa
from offload_oids.layout import offset_of, size_through
from offload_oids.ndis_offload import (
    FamilyEncapsulation,
    NdisObjectHeader,
    NdisObjectType,
    NdisOffloadEncapsulation,
    NdisOffloadSet,
)
from tests import oracle_tcp
from tests.builders import (
    AES,
    GCM,
    OTHER_HOST,
    PAYLOAD,
    TCP,
    CountedIvs,
    association,
    decrypted_in_place,
    esp_frame,
    handed_down,
    native_esp,
    reference,
    sealed,
    udp,
    without_options,
)
from tests.card.test_checksums import SEGMENT
from tests.card.test_segmentation import Large, check
from tests.driver.builders import chained, v2
from tests.ipsec.algorithms import oracle_sa
from tests.oracle_esp import open_, seal

TRACES = Path(__file__).parents[1] / "traces"
ABI = Abi.X64
FIRST, SECOND = association(0x1001), association(0x1002)
OUTBOUND = association(0x2001, inbound=False)
SUCCESS = CryptoStatus.CRYPTO_SUCCESS
UNTOUCHED = ReceiveWord(False, False, False, SUCCESS)
OPENED = ReceiveWord(True, False, False, SUCCESS)


class Bench:
    """A NIC with these impairments and a host above it. The rule monitor is off unless asked for."""

    def __init__(
        self,
        impairments: Iterable[Impaired],
        associations: Iterable[SecurityAssociation] = (),
        capabilities: Capabilities | str = "ndis60",
        *,
        enabled: bool = True,
        monitor: bool = False,
    ) -> None:
        if isinstance(capabilities, str):
            capabilities = load_profile(capabilities)
        self.ivs = CountedIvs()
        chosen = list(impairments)
        self.nic = Nic(capabilities, iv_source=self.ivs, abi=ABI, monitor=monitor, impairments=chosen)
        self.offloader = Offloader(self.nic, capabilities.ndis)
        if enabled:
            self.offloader.enable(LinkMedium.ETHERNET)
        self._words = ReceiveWords(capabilities.ndis, ABI)
        self.offloaded = [self.add(sa) for sa in associations]

    def add(self, sa: SecurityAssociation) -> Offloaded:
        outcome = self.offloader.add(sa)
        assert not isinstance(outcome, InSoftware), outcome
        return outcome

    def receive(self, frame: bytes) -> tuple[bytes, ReceiveWord]:
        indication, _ = self.nic.receive(frame)
        return indication.frame, self._words.read(indication.ipsec)

    def opens(self, sa: SecurityAssociation, sequence: int = 1) -> None:
        esp = sealed(sa, sequence)
        frame = esp_frame(sa, esp)
        assert self.receive(frame) == (decrypted_in_place(frame, esp, sa, PAYLOAD, TCP), OPENED)

    def leaves(self, frame: bytes) -> None:
        assert self.receive(frame) == (frame, UNTOUCHED)

    def send(self, frame: bytes, number: int = 0) -> bytes:
        result = self.nic.send(frame, self.offloader.transmit_word(self.offloaded[number].handle))
        assert result.status == NdisStatus.SUCCESS
        return result.frame

    def set(self, oid: Oid, buffer: bytes) -> OidResult:
        return self.nic.request(OidRequest(RequestKind.SET, oid, buffer, ABI, request_id=77))

    def add_with_null_entry(self, sa: SecurityAssociation) -> OffloadIpsecAddUdpespSa:
        result = self.set(Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, add_udpesp_sa_buffer(sa, 0).pack(ABI))
        assert result.status == NdisStatus.SUCCESS
        return OffloadIpsecAddUdpespSa.unpack(result.buffer, ABI)


class Maker:
    """Makes benches with the same impairments."""

    def __init__(self, *impairments: Impaired, monitor: bool = False) -> None:
        self.impairments = impairments
        self._monitor = monitor

    def __call__(
        self,
        associations: Iterable[SecurityAssociation],
        capabilities: Capabilities | str = "ndis60",
        *,
        enabled: bool = True,
    ) -> Bench:
        return Bench(self.impairments, associations, capabilities, enabled=enabled, monitor=self._monitor)


Probe = Callable[[Maker], None]


# --- stories of the receive path -----------------------------------------------------------------------------------


def good_packets_are_opened_in_place(make: Maker) -> None:
    bench = make([FIRST])
    for sequence in (1, 2, 3):
        bench.opens(FIRST, sequence)


def a_packet_on_port_500_is_opened(make: Maker) -> None:
    sa = association(udp_type=UdpType.IKE)
    make([sa]).opens(sa)


def a_version_2_packet_is_opened(make: Maker) -> None:
    sa = association(sa_keys=AES)
    make([sa], "ndis61").opens(sa)


def an_add_is_done_at_once(make: Maker) -> None:
    make([]).add_with_null_entry(FIRST)


def a_bad_icv_is_told_and_nothing_changed(make: Maker) -> None:
    frame = esp_frame(FIRST)
    frame = frame[:-1] + bytes([frame[-1] ^ 1])
    failed = ReceiveWord(True, False, False, CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED)
    assert make([FIRST]).receive(frame) == (frame, failed)


def another_hosts_packet_is_left_alone(make: Maker) -> None:
    make([FIRST]).leaves(udp(sealed(FIRST), dst=OTHER_HOST))


def options_not_claimed_are_left_alone(make: Maker) -> None:
    make([FIRST], without_options()).leaves(udp(sealed(FIRST), options=bytes([1, 1, 1, 0])))


def ike_is_left_alone(make: Maker) -> None:
    make([FIRST]).leaves(udp(bytes(4) + bytes(range(1, 60))))


def a_right_checksum_is_told_as_right(make: Maker) -> None:
    indication, _ = make([], "reference").nic.receive(udp(b"a datagram", dst_port=53, checksum=None))
    word = int.from_bytes(indication.checksum, "little")
    # Bits 0 to 2 are TcpChecksumFailed, UdpChecksumFailed, IpChecksumFailed; 3 to 5 the same succeeded.
    assert (word & 0b000111, word & 0b111000) == (0, 0b110000)


def extended_sequence_numbers_count(make: Maker) -> None:
    sa = association(sa_keys=AES, udp_type=UdpType.NATIVE, esn=True)
    bench = make([], extended())
    for high in (1, 2):
        offloaded = bench.add(replace(sa, sequence_high=high))
        esp = sealed(sa, high << 32 | 1, extended=True)
        frame = native_esp(esp)
        assert bench.receive(frame) == (decrypted_in_place(frame, esp, sa, PAYLOAD, TCP), OPENED)
        assert bench.offloader.delete(offloaded).status == NdisStatus.SUCCESS


def the_upper_half_can_be_updated(make: Maker) -> None:
    sa = association(sa_keys=AES, udp_type=UdpType.NATIVE, esn=True)
    bench = make([sa], extended())
    assert bench.offloader.update(bench.offloaded[0], 2).status == NdisStatus.SUCCESS
    frame = native_esp(sealed(sa, 2 << 32 | 1, extended=True))
    assert bench.receive(frame)[1] == OPENED


def extended() -> Capabilities:
    """The reference card with 64-bit sequence numbers."""
    card = load_profile("reference")
    assert card.version2
    return replace(card, version2=replace(card.version2, extended_sequence_numbers=True))


def associations_outlive_a_reset_and_low_power(make: Maker) -> None:
    bench = make([FIRST])
    assert bench.nic.reset() == NdisStatus.SUCCESS
    bench.opens(FIRST)
    for state in (4, 1):  # NdisDeviceStateD3, NdisDeviceStateD0
        assert bench.set(Oid.OID_PNP_SET_POWER, state.to_bytes(4, "little")).status == NdisStatus.SUCCESS
    bench.opens(FIRST, 2)


def associations_share_their_address(make: Maker) -> None:
    first, second = (association(spi, GCM, UdpType.NATIVE) for spi in (0x1001, 0x1002))
    bench = make([first, second], "shared-address")
    for sa in (first, second):
        assert bench.receive(native_esp(sealed(sa)))[1] == OPENED


def a_keepalive_is_left_alone(make: Maker) -> None:
    make([FIRST]).leaves(udp(b"\xff"))


def other_frames_are_left_alone(make: Maker) -> None:
    bench = make([FIRST])
    bench.opens(FIRST)
    for port in (53, 123, 4501):
        bench.leaves(udp(bytes(80), dst_port=port))


def the_udp_checksum_does_not_matter(make: Maker) -> None:
    esp = sealed(FIRST)
    frame = udp(esp, checksum=0x1234)
    expected = decrypted_in_place(frame, esp, FIRST, PAYLOAD, TCP)
    assert make([FIRST]).receive(frame) == (expected, OPENED)


def a_fragment_is_left_alone(make: Maker) -> None:
    native = association(0x1003, udp_type=UdpType.NATIVE)
    bench = make([FIRST, native])
    for frame in (esp_frame(FIRST), native_esp(sealed(native))):
        more_fragments = frame[:20] + b"\x20\0" + frame[22:]
        bench.leaves(more_fragments)


def nothing_happens_before_enabling(make: Maker) -> None:
    bench = make([], enabled=False)
    bench.add_with_null_entry(FIRST)
    bench.leaves(esp_frame(FIRST))


def nothing_happens_after_disabling(make: Maker) -> None:
    bench = make([FIRST])
    off = FamilyEncapsulation(NdisOffloadSet.NDIS_OFFLOAD_SET_OFF)
    size = size_through(NdisOffloadEncapsulation, "ipv6.header_size", ABI)
    header = NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, size)
    disabling = NdisOffloadEncapsulation(header, off, off).pack(ABI)
    assert bench.set(Oid.OID_OFFLOAD_ENCAPSULATION, disabling).status == NdisStatus.SUCCESS
    bench.leaves(esp_frame(FIRST))


# --- stories of the send path --------------------------------------------------------------------------------------


def a_sent_frame_is_sealed_with_the_iv_given(make: Maker) -> None:
    bench = make([OUTBOUND])
    framed = handed_down(OUTBOUND, payload=PAYLOAD[:-1])
    sent = bench.send(framed)
    assert bench.ivs.given
    esp = seal(oracle_sa(OUTBOUND.keys), OUTBOUND.spi, 1, bench.ivs.given[-1], PAYLOAD[:-1], TCP, False)
    assert sent == esp_frame(OUTBOUND, esp)


def no_two_ivs_are_equal(make: Maker) -> None:
    bench = make([OUTBOUND])
    frames = [bench.send(handed_down(OUTBOUND, sequence)) for sequence in (1, 2)]
    at = frames[0].index(OUTBOUND.spi.to_bytes(4, "big")) + 8
    assert frames[0][at : at + 8] != frames[1][at : at + 8]


def an_unknown_handle_sends_nothing(make: Maker) -> None:
    bench = make([OUTBOUND])
    result = bench.nic.send(handed_down(OUTBOUND), bench.offloader.transmit_word(0x7777))
    assert (result.status, result.frame) == (NdisStatus.FAILURE, b"")


# --- stories of requests -------------------------------------------------------------------------------------------


def the_tables_hold_what_they_have_room_for(make: Maker) -> None:
    bench = make([FIRST, SECOND], "tiny")
    bench.opens(FIRST)
    bench.opens(SECOND)


def every_association_has_a_handle_of_its_own(make: Maker) -> None:
    handles = [one.handle for one in make([FIRST, SECOND, OUTBOUND]).offloaded]
    assert all(handles)
    assert len(set(handles)) == len(handles)


def a_delete_takes_one_association_and_the_last_one_the_parser_entry(make: Maker) -> None:
    bench = make([FIRST, SECOND])
    first, second = bench.offloaded
    assert bench.offloader.delete(first).status == NdisStatus.SUCCESS
    bench.leaves(esp_frame(FIRST))
    bench.opens(SECOND)
    assert bench.offloader.delete(second).status == NdisStatus.SUCCESS
    bench.leaves(esp_frame(SECOND))
    rows = bench.nic.card.rows
    assert (rows.inbound, rows.parser) == ({}, {})


def two_adds_without_an_entry_share_one(make: Maker) -> None:
    bench = make([])
    entries = [bench.add_with_null_entry(sa).encap_type_entry_offld_handle for sa in (FIRST, SECOND)]
    assert entries[0] == entries[1]


def a_short_buffer_is_refused_with_the_length_needed(make: Maker) -> None:
    result = make([]).set(Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA, bytes(3))
    assert (result.status, result.bytes_needed) == (NdisStatus.INVALID_LENGTH, 16)


def a_delete_of_nothing_is_refused(make: Maker) -> None:
    bench = make([FIRST])
    for oid, delete in (
        (Oid.OID_TCP_TASK_IPSEC_DELETE_SA, OffloadIpsecDeleteSa(0x7777)),
        (Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA, OffloadIpsecDeleteUdpespSa(0x7777, 0)),
    ):
        assert bench.set(oid, delete.pack(ABI)).status == NdisStatus.INVALID_DATA


def of_a_list_those_with_room_are_added(make: Maker) -> None:
    bench = make([], reference(inbound_rows=1))
    adds = chained([v2(), v2()], ABI)
    result = bench.set(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, adds)
    assert result.status == NdisStatus.SUCCESS
    at = offset_of(IpsecOffloadV2AddSa, "next", ABI)
    second = int.from_bytes(result.buffer[at : at + 8], "little") - OidRequest(RequestKind.SET, 0, b"", ABI).base
    handles = [IpsecOffloadV2AddSa.unpack(result.buffer[place:], ABI).offload_handle for place in (0, second)]
    assert handles[0]
    assert not handles[1]


def what_is_answered_at_once_is_not_completed_again(make: Maker) -> None:
    bench = make([FIRST])
    assert not [event for event in bench.nic.poll() if isinstance(event, OidCompletion)]


def enabling_indicates_the_current_configuration(make: Maker) -> None:
    statuses = [event.status for event in make([]).nic.poll() if isinstance(event, StatusIndication)]
    assert NdisStatus.TASK_OFFLOAD_CURRENT_CONFIG in statuses


def the_capacity_reported_is_there(make: Maker) -> None:
    bench = make([], "ndis61")
    assert bench.offloader.version2.sa_offload_capacity <= sum(bench.nic.card.rows.capacity.values())


# --- checksums and large sends -------------------------------------------------------------------------------------


def a_large_send_is_cut_into_packets_that_each_stand_alone(make: Maker) -> None:
    large = Large(association(0x7001, AES, inbound=False))
    bench = make([large.sa], "ndis61")
    frame, words = large.framed()
    sent = bench.nic.send(frame, bench.offloader.transmit_word(bench.offloaded[0].handle), b"", words)
    check(large, sent)


def a_checksum_is_completed_before_the_packet_is_sealed(make: Maker) -> None:
    sa = association(0x7001, AES, UdpType.NATIVE, inbound=False)
    bench = make([sa], "ndis61")
    packet = oracle_tcp.make(sa.src, sa.dst, SEGMENT)
    handed = handed_down(sa, 1, seeded(packet, with_length=True)[20:])
    words = TaskWords(checksum=TaskWriter(NdisVersion.NDIS_6_1, ABI).checksums(ChecksumTask.TCP, 4))
    sent = bench.nic.send(handed, bench.offloader.transmit_word(bench.offloaded[0].handle), b"", words)
    assert open_(oracle_sa(sa.keys), sent.frame[34:]) == (packet[20:], TCP)


def a_wrong_checksum_is_told(make: Maker) -> None:
    sa = association(0x7001, AES, UdpType.NATIVE)
    bench = make([sa], "ndis61")
    segment = oracle_tcp.make(sa.src, sa.dst, SEGMENT)[20:]
    for payload, failed in ((segment, ChecksumResult(0)), (segment[:-1] + b"?", ChecksumResult.TCP_FAILED)):
        indication, _ = bench.nic.receive(esp_frame(sa, sealed(sa, 1, payload)))
        result = TaskWriter(NdisVersion.NDIS_6_1, ABI).checksum_result(indication.checksum)
        assert result & (ChecksumResult.TCP_FAILED | ChecksumResult.IP_FAILED) == failed


# --- the shipped captures ------------------------------------------------------------------------------------------


def replays_as_expected(make: Maker) -> None:
    for trace in ("natt-3des-md5-server", "natt-aes128-sha1-client"):
        capture = TRACES / f"{trace}.pcap"
        sas, expect = (str(capture.with_suffix(ending)) for ending in (".sas.json", ".expect.json"))
        names = tuple(str(one) for one in make.impairments)
        with Session(ReplayRequest(str(capture), sas, expect=expect, impairments=names)) as session:
            assert all(result.resealed is not False for result in session.results())
        assert session.differences == []
