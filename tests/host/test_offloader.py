"""What the host offloads and how: decisions, packed buffers, and the count of parser entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from nicsim.boundary import OidCompletion, OidRequest, OidResult, RequestKind, SendResult, StatusIndication, UdpType
from nicsim.capabilities import Capabilities, OtherTasks
from nicsim.host.offloader import InSoftware, LinkMedium, Offloaded, Offloader, OffloadProtocolError
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.ndis.queue import Ndis
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.task_offload import NdisTaskTcpIpChecksum, TaskChecksumV4
from tests.driver.builders import (
    HERE,
    HERE6,
    KEY_3DES,
    KEY_AES,
    KEY_DES,
    KEY_MD5,
    KEY_SHA1,
    KEY_SHA256,
    ORACLE_3DES_SHA1,
    PEER,
    PEER6,
    SALT,
    SPI,
    Bench,
    FlakyCard,
    SlowCard,
    bench,
    capabilities,
    udp_frame,
)

ABIS = pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
ADD_SA, ADD_UDPESP = Oid.OID_TCP_TASK_IPSEC_ADD_SA, Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA
DELETE_UDPESP = Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA
ADD_V2, DELETE_V2 = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA
CIPHER_KEYS = {
    Encryption.NULL: b"",
    Encryption.DES_CBC: KEY_DES,
    Encryption.TRIPLE_DES_CBC: KEY_3DES,
    Encryption.AES_CBC: KEY_AES[:16],
    Encryption.AES_GCM_8: KEY_AES[:16],
    Encryption.AES_GCM_12: KEY_AES[:24],
    Encryption.AES_GCM_16: KEY_AES,
}
HASH_KEYS = {
    Integrity.NONE: b"",
    Integrity.HMAC_MD5_96: KEY_MD5,
    Integrity.HMAC_SHA1_96: KEY_SHA1,
    Integrity.HMAC_SHA2_256_128: KEY_SHA256,
}


def keys(cipher: Encryption = Encryption.TRIPLE_DES_CBC, mac: Integrity = Integrity.HMAC_SHA1_96) -> SaKeys:
    salt = SALT if cipher.is_aead else b""
    return SaKeys(cipher, CIPHER_KEYS[cipher], mac, HASH_KEYS[mac], salt)


GCM = keys(Encryption.AES_GCM_16, Integrity.NONE)
AES = keys(Encryption.AES_CBC, Integrity.HMAC_SHA2_256_128)


def an_sa(spi: int = SPI, **changes) -> SecurityAssociation:
    """Inbound UDP-ESP on port 4500 in transport mode, 3DES and SHA-1."""
    members = {
        "spi": spi, "inbound": True, "src": PEER, "dst": HERE, "mode": Mode.TRANSPORT, "udp_type": UdpType.OTHER,
        "keys": keys(), "src_port": 4500, "dst_port": 4500,
    }  # fmt: skip
    return SecurityAssociation(**{**members, **changes})


@dataclass
class Recording:
    """NDIS with the reference driver, and every request that passed."""

    bench: Bench
    ndis: Ndis = field(init=False)
    abi: Abi = field(init=False)
    requests: list[tuple[OidRequest, OidResult]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.abi = self.bench.abi
        self.ndis = Ndis(self.bench.driver, self.abi)

    def request(self, request: OidRequest) -> OidResult:
        result = self.ndis.request(request)
        self.requests.append((request, result))
        return result

    def send(self, frame: bytes, ipsec: bytes) -> SendResult:
        return self.ndis.send(frame, ipsec)

    def poll(self) -> Sequence[OidCompletion | StatusIndication]:
        return self.ndis.poll()

    def buffers(self, oid: int) -> list[bytes]:
        return [request.buffer for request, _ in self.requests if request.oid == oid]

    @property
    def oids(self) -> list[int]:
        return [request.oid for request, _ in self.requests]


def host(
    caps: Capabilities | str = "reference",
    abi: Abi = Abi.X64,
    card: type[FlakyCard] = FlakyCard,
    medium: LinkMedium = LinkMedium.ETHERNET,
    enable: bool = True,
) -> tuple[Offloader, Recording]:
    caps = capabilities(caps) if isinstance(caps, str) else caps
    recording = Recording(bench(caps, abi, card, initialize=False))
    offloader = Offloader(recording, caps.ndis)
    if enable:
        offloader.enable(medium)
        assert offloader.enabled, offloader.not_enabled_detail
        recording.requests.clear()
    return offloader, recording


def handle_in(buffer: bytes, at: int, abi: Abi) -> int:
    return int.from_bytes(buffer[at : at + abi.pointer_size], "little")


ENTRY_AT = {Abi.X86: 180, Abi.X64: 184}


def entries(recording: Recording, oid: int = ADD_UDPESP) -> list[int]:
    """The entry handles of the adds, or of the deletes, in order."""
    abi = recording.abi
    at = ENTRY_AT[abi] if oid == ADD_UDPESP else abi.pointer_size
    return [handle_in(buffer, at, abi) for buffer in recording.buffers(oid)]


# --- enabling -----------------------------------------------


@ABIS
@pytest.mark.parametrize("medium", [LinkMedium.ETHERNET, LinkMedium.RAW_IP])
@pytest.mark.rule("N-CAP-1", "N-CAP-11", "N-CAP-4")
def test_in_5_1_the_host_queries_and_sets_back_what_was_reported(abi: Abi, medium: LinkMedium) -> None:
    offloader, recording = host("ndis51", abi, medium=medium, enable=False)
    assert isinstance(offloader.add(an_sa()), InSoftware)
    offloader.enable(medium)
    assert offloader.enabled
    (query, answer), (setting, result) = recording.requests
    assert [query.oid, setting.oid] == [Oid.OID_TCP_TASK_OFFLOAD] * 2
    assert [query.kind, setting.kind] == [RequestKind.QUERY, RequestKind.SET]
    assert setting.buffer == answer.buffer[: answer.bytes_written]
    assert result.status == NdisStatus.SUCCESS
    bits = {LinkMedium.ETHERNET: 0x6, LinkMedium.RAW_IP: 0x1}[medium]
    control = recording.bench.card.card.rows.control
    assert (control.ipv4_encapsulations, control.ipv6_encapsulations) == (bits, 0)  # N-CAP-15


@ABIS
@pytest.mark.rule("N-CAP-4", "N-CAP-3")
def test_in_5_1_the_host_says_where_its_packets_begin_and_that_it_is_the_same_in_all(abi: Abi) -> None:
    for medium, kind, size in ((LinkMedium.ETHERNET, 2, 14), (LinkMedium.RAW_IP, 0, 0)):
        offloader, recording = host("ndis51", abi, medium=medium, enable=False)
        offloader.enable(medium)
        # EncapsulationFormat stands behind version, size, reserved and OffsetFirstTask.
        formats = [buffer[16:28] for buffer in recording.buffers(Oid.OID_TCP_TASK_OFFLOAD)]
        assert formats == [b"".join(value.to_bytes(4, "little") for value in (kind, 1, size))] * 2


@ABIS
@pytest.mark.parametrize("registry", [True, False], ids=["enabled", "disabled"])
@pytest.mark.rule("N-CAP-17")
def test_a_host_whose_registry_says_no_leaves_ipsec_off_and_other_tasks_on(abi: Abi, registry: bool) -> None:
    checksum = NdisTaskTcpIpChecksum(v4_transmit=TaskChecksumV4(tcp_checksum=1))
    caps = replace(capabilities("ndis51"), other_tasks=OtherTasks(checksum=checksum))
    offloader, recording = host(caps, abi, enable=False)
    offloader.ipsec_enabled = registry
    offloader.enable(LinkMedium.ETHERNET)
    setting, result = recording.requests[-1]
    assert (setting.kind, result.status) == (RequestKind.SET, NdisStatus.SUCCESS)
    # The Task member of each entry; OffsetNextTask, from its own entry, is at 12 (N-CAP-7).
    at, tasks = int.from_bytes(setting.buffer[12:16], "little"), []
    while True:
        tasks.append(int.from_bytes(setting.buffer[at + 8 : at + 12], "little"))
        following = int.from_bytes(setting.buffer[at + 12 : at + 16], "little")
        if not following:
            break
        at += following
    assert tasks == ([0, 1] if registry else [0])
    assert bool(recording.bench.card.card.rows.control.ipv4_encapsulations) is registry
    outcome = offloader.add(an_sa(udp_type=UdpType.NATIVE, src_port=0, dst_port=0))
    assert isinstance(outcome, Offloaded) is registry
    if isinstance(outcome, InSoftware):
        assert (outcome.reason, outcome.detail) == (Reason.OFFLOAD_NOT_ENABLED, "the host's EnabledOffload is 0")


@pytest.mark.rule("N-CAP-17")
def test_in_6_x_too_the_registry_keeps_every_association_in_software() -> None:
    offloader, recording = host("reference")
    offloader.ipsec_enabled = False
    assert isinstance(offloader.add(an_sa()), InSoftware)
    assert not recording.requests


@ABIS
@pytest.mark.rule("N-CP6-5", "N-CP6-6")
def test_in_6_x_the_host_sets_the_encapsulation_of_its_link(abi: Abi) -> None:
    for medium, kind, size in ((LinkMedium.ETHERNET, 0x6, 14), (LinkMedium.RAW_IP, 0x1, 0)):
        offloader, recording = host(abi=abi, enable=False)
        offloader.enable(medium)
        assert recording.oids == [Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG, Oid.OID_OFFLOAD_ENCAPSULATION]
        family = b"".join(value.to_bytes(4, "little") for value in (1, kind, size))
        assert recording.buffers(Oid.OID_OFFLOAD_ENCAPSULATION) == [bytes([0xA8, 1, 28, 0]) + family * 2]
        assert offloader.enabled
        control = recording.bench.card.card.rows.control
        assert (control.ipv4_encapsulations, control.ipv6_encapsulations) == (kind, kind)


@pytest.mark.parametrize("profile", ["ndis51", "ndis61", "reference"])
@pytest.mark.rule("N-CP6-6")
def test_on_a_link_that_no_offload_supports_nothing_is_offloaded(profile: str) -> None:
    offloader, recording = host(capabilities(profile, encapsulations=0x2), enable=False)
    offloader.enable(LinkMedium.RAW_IP)
    assert not offloader.enabled
    before = recording.oids
    answer = offloader.add(an_sa())
    assert isinstance(answer, InSoftware)
    assert (answer.reason, recording.oids) == (Reason.OFFLOAD_NOT_ENABLED, before)
    assert answer.detail


# --- decisions -----------------------------------------------

V1_CIPHERS = {Encryption.NULL, Encryption.DES_CBC, Encryption.TRIPLE_DES_CBC}
V1_HASHES = {Integrity.HMAC_MD5_96, Integrity.HMAC_SHA1_96}
ALGORITHMS = [
    (cipher, mac)
    for cipher in Encryption
    for mac in Integrity
    if cipher.is_aead == (mac is Integrity.NONE) and not (cipher is Encryption.NULL and mac is Integrity.NONE)
]


@pytest.mark.parametrize(("cipher", "mac"), ALGORITHMS, ids=lambda part: part.value)
@pytest.mark.parametrize("profile", ["ndis51", "ndis61", "reference"])
@pytest.mark.parametrize("udp_type", [UdpType.NATIVE, UdpType.OTHER], ids=["native", "udp"])
@pytest.mark.rule("N-CAP-9", "N-V2-3", "N-SA-12")
def test_version_1_is_taken_where_it_can_say_it_else_version_2_else_software(cipher, mac, profile, udp_type) -> None:
    offloader, recording = host(profile)
    port = 0 if udp_type is UdpType.NATIVE else 4500
    answer = offloader.add(an_sa(keys=keys(cipher, mac), udp_type=udp_type, dst_port=port))
    if profile != "ndis61" and cipher in V1_CIPHERS and mac in V1_HASHES:
        wanted = ADD_SA if udp_type is UdpType.NATIVE else ADD_UDPESP
    elif profile != "ndis51":
        wanted = ADD_V2
    else:
        assert isinstance(answer, InSoftware)
        assert (answer.reason, recording.oids) == (Reason.ALGORITHM_NOT_CLAIMED, [])
        missing = cipher.value if cipher not in V1_CIPHERS else mac.value
        assert missing in answer.detail
        return
    assert isinstance(answer, Offloaded), answer
    assert (answer.oid, recording.oids) == (wanted, [wanted])
    assert answer.handle in recording.bench.driver.state.associations


SOFTWARE = [
    ("ndis51", {}, {"src": PEER6, "dst": HERE6}, Reason.IPV6_NOT_CLAIMED),
    ("ndis61", {"version2": {"ipv6": False}}, {"src": PEER6, "dst": HERE6}, Reason.IPV6_NOT_CLAIMED),
    ("ndis51", {}, {"esn": True}, Reason.ESN_NOT_CLAIMED),
    ("reference", {"version2": {"extended_sequence_numbers": False}}, {"esn": True}, Reason.ESN_NOT_CLAIMED),
    ("reference", {}, {"keys": AES, "dst_port": 4501}, Reason.PORT_NOT_PARSED_BY_V2),
    ("reference", {}, {"keys": AES, "udp_type": UdpType.IKE, "dst_port": 500}, Reason.PORT_NOT_PARSED_BY_V2),
    ("ndis61", {"version2": {"udp_esp": 2}}, {}, Reason.SUBTYPE_NOT_CLAIMED),
    ("ndis61", {"version2": {"udp_esp": 1}}, {"mode": Mode.TUNNEL}, Reason.SUBTYPE_NOT_CLAIMED),
    ("ndis61", {"version2": {"transport": False}}, {}, Reason.MODE_NOT_CLAIMED),
    ("ndis61", {"version2": {"tunnel": False}}, {"mode": Mode.TUNNEL}, Reason.MODE_NOT_CLAIMED),
    ("ndis61", {"version2": {"encryption": 0x1FF & ~0x4}}, {}, Reason.ALGORITHM_NOT_CLAIMED),
    ("ndis61", {"version2": {"authentication": 0x3F & ~0x2}}, {}, Reason.ALGORITHM_NOT_CLAIMED),
    ("ndis61", {"version2": {"sa_capacity": 0}}, {}, Reason.CAPACITY_REACHED),
    ("ndis51", {"version1": {"transport": False}}, {}, Reason.MODE_NOT_CLAIMED),
    ("ndis51", {"version1": {"tunnel": False}}, {"mode": Mode.TUNNEL}, Reason.MODE_NOT_CLAIMED),
    ("ndis51", {"version1": {"receive": False}}, {}, Reason.MODE_NOT_CLAIMED),
    ("ndis51", {"version1": {"send": False}}, {"inbound": False}, Reason.MODE_NOT_CLAIMED),
    ("ndis51", {"version1": {"udp_esp": 0x20}}, {}, Reason.SUBTYPE_NOT_CLAIMED),
    ("ndis51", {"version1": {"udp_esp": 0x10}}, {"mode": Mode.TUNNEL}, Reason.SUBTYPE_NOT_CLAIMED),
    ("ndis51", {"version1": {"udp_esp": 0x30}}, {"udp_type": UdpType.IKE, "dst_port": 500}, Reason.SUBTYPE_NOT_CLAIMED),
]


@pytest.mark.parametrize(("profile", "claims", "changes", "reason"), SOFTWARE)
@pytest.mark.rule("N-CAP-10", "N-CAP-15", "N-V2-1", "N-V2-2", "N-V2-4", "A-34")
def test_what_stays_in_software_says_why_and_no_request_is_made(profile, claims, changes, reason) -> None:
    offloader, recording = host(capabilities(profile, **claims))
    answer = offloader.add(an_sa(**changes))
    assert isinstance(answer, InSoftware)
    assert (answer.reason, recording.oids) == (reason, [])
    assert answer.detail


@pytest.mark.parametrize(
    ("claims", "changes"),
    [
        ({"udp_esp": 0}, {}),
        ({"udp_esp": 0x10}, {"mode": Mode.TUNNEL}),
        ({"triple_des": False}, {}),
        ({"transport": False}, {}),
        ({"receive": False}, {}),
        ({}, {"src": PEER6, "dst": HERE6}),
    ],
)
@pytest.mark.rule("N-CAP-10", "A-34")
def test_what_version_1_of_the_card_lacks_goes_to_version_2(claims, changes) -> None:
    offloader, recording = host(capabilities(version1=claims))
    answer = offloader.add(an_sa(**changes))
    assert isinstance(answer, Offloaded)
    assert recording.oids == [ADD_V2]


@pytest.mark.rule("A-34", "A-37")
def test_an_outbound_version_2_association_may_go_to_any_port() -> None:
    offloader, _ = host("ndis61")
    assert isinstance(offloader.add(an_sa(inbound=False, dst_port=61000)), Offloaded)


@pytest.mark.rule("N-V2-4")
def test_the_host_counts_what_it_adds_to_version_2() -> None:
    offloader, _ = host(capabilities("ndis61", version2={"sa_capacity": 2}))
    first, second, third = (offloader.add(an_sa(spi)) for spi in (1, 2, 3))
    assert isinstance(third, InSoftware)
    assert third.reason is Reason.CAPACITY_REACHED
    assert offloader.delete(first).status == NdisStatus.SUCCESS
    assert isinstance(offloader.add(an_sa(4)), Offloaded)
    assert isinstance(second, Offloaded)


@pytest.mark.parametrize(
    ("keys_", "udp_type"), [(keys(), UdpType.NATIVE), (keys(), UdpType.OTHER), (AES, UdpType.OTHER)]
)
@pytest.mark.rule("N-SA-23")
def test_a_driver_that_refuses_leaves_the_association_in_software_with_its_status(keys_, udp_type) -> None:
    offloader, _ = host(capabilities(rows=0))
    answer = offloader.add(an_sa(keys=keys_, udp_type=udp_type))
    assert isinstance(answer, InSoftware)
    assert (answer.reason, answer.status) == (Reason.SA_TABLE_FULL, NdisStatus.RESOURCES)


# --- parser entries: the transport counts -----------------------------------------------


@ABIS
@pytest.mark.rule("N-PE-4", "N-ADD-1", "N-ADD-5", "N-ADD-7", "N-DEL-1", "N-DEL-2", "N-DEL-3")
def test_the_first_add_passes_null_later_ones_the_handle_and_only_the_last_delete_names_it(abi: Abi) -> None:
    offloader, recording = host(abi=abi)
    taken = [offloader.add(an_sa(spi)) for spi in (1, 2, 3)]
    ((entry),) = offloader.parser_entries
    (driver_entry,) = recording.bench.driver.state.parser_entries
    assert entries(recording) == [0, driver_entry, driver_entry]
    assert (entry.udp_type, entry.port, entry.handle, entry.references) == (UdpType.OTHER, 4500, driver_entry, 3)
    counts = []
    for offloaded in (taken[1], taken[0], taken[2]):
        assert offloader.delete(offloaded).status == NdisStatus.SUCCESS
        counts.append(entry.references)
    assert counts == [2, 1, 0]
    assert entries(recording, DELETE_UDPESP) == [0, 0, driver_entry]
    assert offloader.parser_entries == []
    assert recording.bench.driver.state.parser_entries == {}
    # And from the beginning: the next add passes NULL again.
    offloader.add(an_sa(4))
    assert entries(recording)[-1] == 0


@pytest.mark.rule("N-PE-4", "A-37", "N-PE-3")
def test_outbound_associations_are_not_counted() -> None:
    offloader, recording = host()
    inbound, outbound = offloader.add(an_sa(1)), offloader.add(an_sa(2, inbound=False))
    assert [entry.references for entry in offloader.parser_entries] == [1]
    assert entries(recording) == [0, 0]
    offloader.delete(outbound)
    assert [entry.references for entry in offloader.parser_entries] == [1]
    offloader.delete(inbound)
    assert offloader.parser_entries == []
    named = entries(recording, DELETE_UDPESP)
    assert named[0] == 0
    assert named[1] != 0


@pytest.mark.rule("N-ADD-7", "N-ADD-6")
def test_a_failed_add_lowers_the_count_again_and_a_first_one_that_fails_leaves_no_copy() -> None:
    offloader, recording = host(capabilities(rows=1))
    card = recording.bench.card
    card.fail_writes = {len(card.writes)}
    assert isinstance(offloader.add(an_sa(1)), InSoftware)
    assert offloader.parser_entries == []
    offloader.add(an_sa(1))
    assert isinstance(offloader.add(an_sa(2)), InSoftware)
    assert [entry.references for entry in offloader.parser_entries] == [1]
    # The count was up, so the failed add passed the handle.
    assert entries(recording)[-1] == offloader.parser_entries[0].handle


@pytest.mark.rule("N-PE-4", "N-PE-1")
def test_each_type_and_port_has_its_own_count() -> None:
    offloader, _ = host(capabilities(version2={"udp_esp": 0}))
    offloader.add(an_sa(1))
    offloader.add(an_sa(2, dst_port=4501))
    offloader.add(an_sa(3, udp_type=UdpType.IKE, dst_port=500))
    offloader.add(an_sa(4, dst_port=4501))
    counted = {(entry.udp_type, entry.port): entry.references for entry in offloader.parser_entries}
    assert counted == {(UdpType.OTHER, 4500): 1, (UdpType.OTHER, 4501): 2, (UdpType.IKE, 500): 1}
    assert len({entry.handle for entry in offloader.parser_entries}) == 3


@pytest.mark.rule("N-V2-12", "N-SA-21")
def test_each_association_is_deleted_with_the_request_of_its_kind() -> None:
    offloader, recording = host()
    native = offloader.add(an_sa(1, udp_type=UdpType.NATIVE))
    modern = offloader.add(an_sa(2, keys=GCM))
    for offloaded in (native, modern):
        assert offloader.delete(offloaded).status == NdisStatus.SUCCESS
    assert recording.oids[2:] == [Oid.OID_TCP_TASK_IPSEC_DELETE_SA, DELETE_V2]
    assert recording.bench.driver.state.associations == {}


# --- packed buffers, by hand from the layouts -----------------------------------------------

KEYS_V1 = KEY_3DES.hex() + KEY_SHA1.hex()
V1_COMMON = (
    "c0000201 ffffffff c0000202 ffffffff"  # SrcAddr SrcMask DstAddr DstMask
    "11000000 0000 0000"  # Protocol SrcPort DstPort
    "00000000 00000000"  # SrcTunnelAddr DstTunnelAddr
    "0100 0100"  # Flags NumSAs
    "02000000 0a0b0c0d"  # SecAssoc[0]: Operation SPI
    "02000000 14000000 00000000"  # IntegrityAlgo: SHA, 20 bytes
    "03000000 18000000 00000000"  # ConfAlgo: 3DES, 24 bytes
    "00000000 00000000 00000000" + "00" * 88  # Reserved; SecAssoc[1] and [2]
)
V1_BUFFERS = {
    # OffloadHandle, EncapTypeEntry, EncapTypeEntryOffldHandle, KeyLen, KeyMat
    Abi.X86: V1_COMMON + "00000000 01000000 1194 0000 00000000 2c000000" + KEYS_V1,
    Abi.X64: V1_COMMON + "0000000000000000 01000000 1194 0000 0000000000000000 2c000000" + KEYS_V1,
}
KEYS_V2 = KEY_AES[:16].hex() + KEY_SHA256.hex()
V2_ELEMENTS = (
    "00000000 02000000 0a0b0c0d"  # Flags Operation Spi
    "04000000 20000000 10000000 00000000"  # SHA_256, 32 bytes at 16
    "40000000 10000000 00000000 00000000"  # AES_CBC_128, 16 bytes at 0
    "00000000" + "00" * 48  # SequenceNumberHighOrder; SecAssoc[1]
)
V2_BUFFERS = {
    # Header, Next, NumExtHdrs, Flags, endpoints, OffloadHandle, UdpEspEncapsulation; elements; KeyLength, KeyData
    Abi.X86: "80019d00 00000000 01000000 01000000 c0000201 c0000202" + "00" * 24 + "00000000 02000000"
    + V2_ELEMENTS + "30000000" + KEYS_V2,
    Abi.X64: "8001a900 00000000 0000000000000000 01000000 01000000 c0000201 c0000202" + "00" * 24
    + "0000000000000000 02000000" + V2_ELEMENTS + "30000000" + KEYS_V2,
}  # fmt: skip


@ABIS
@pytest.mark.rule("N-SA-16", "A-2", "A-28", "N-SA-2", "N-SA-8", "A-9")
def test_a_version_1_add_has_these_bytes(abi: Abi) -> None:
    offloader, recording = host(abi=abi)
    offloader.add(an_sa())
    assert recording.buffers(ADD_UDPESP) == [bytes.fromhex(V1_BUFFERS[abi])]
    assert len(bytes.fromhex(V1_BUFFERS[abi])) == {Abi.X86: 188, Abi.X64: 196}[abi] + 44


@ABIS
@pytest.mark.rule("N-V2-6", "N-V2-7", "N-V2-8", "N-V2-9", "N-V2-10", "A-28")
def test_a_version_2_add_has_these_bytes(abi: Abi) -> None:
    offloader, recording = host(abi=abi)
    offloader.add(an_sa(keys=AES, mode=Mode.TUNNEL))
    assert recording.buffers(ADD_V2) == [bytes.fromhex(V2_BUFFERS[abi])]
    assert len(bytes.fromhex(V2_BUFFERS[abi])) == {Abi.X86: 156, Abi.X64: 168}[abi] + 48


@pytest.mark.rule("N-SA-6")
def test_a_tunnel_add_names_its_ends_and_filters_by_the_inner_networks() -> None:
    offloader, recording = host()
    offloader.add(an_sa(mode=Mode.TUNNEL, udp_type=UdpType.NATIVE, inner_src="10.1.0.0/16", inner_dst="10.2.3.4/32"))
    (buffer,) = recording.buffers(ADD_SA)
    assert buffer[:16].hex() == "0a010000ffff00000a020304ffffffff"
    assert buffer[24:32] == PEER + HERE
    offloader.add(an_sa(2, mode=Mode.TUNNEL, udp_type=UdpType.NATIVE))
    assert recording.buffers(ADD_SA)[1][:16] == bytes(16)


# --- a binding that takes its time -----------------------------------------------


@ABIS
@pytest.mark.parametrize("caps", ["reference", "ndis51"])
@pytest.mark.rule("N-OID-6", "N-OID-4")
def test_pending_requests_are_waited_for_however_many_rows_they_take(caps: str, abi: Abi) -> None:
    offloader, recording = host(caps, abi, SlowCard)
    taken = [offloader.add(an_sa(1)), offloader.add(an_sa(2, udp_type=UdpType.NATIVE))]
    if caps == "reference":
        taken.append(offloader.add(an_sa(3, keys=GCM)))
    assert {result.status for _, result in recording.requests} == {NdisStatus.PENDING}
    assert all(isinstance(one, Offloaded) for one in taken)
    assert sorted(one.handle for one in taken) == sorted(recording.bench.driver.state.associations)
    assert [entry.references for entry in offloader.parser_entries] == [1]
    results = [offloader.delete(one) for one in taken]
    assert {result.status for result in results} == {NdisStatus.SUCCESS}
    assert recording.bench.driver.state.associations == recording.bench.driver.state.parser_entries == {}


def test_a_request_that_never_completes_is_a_protocol_error() -> None:
    offloader, recording = host(card=SlowCard)
    recording.poll = list  # type: ignore[method-assign]
    with pytest.raises(OffloadProtocolError, match="OID_TCP_TASK_IPSEC_ADD_UDPESP_SA is pending"):
        offloader.add(an_sa())


@pytest.mark.rule("N-RX-2", "N-SA-1")
def test_what_the_host_offloads_opens_what_the_oracle_sealed() -> None:
    offloader, recording = host()
    offloader.add(an_sa())
    assert recording.bench.receive(udp_frame()) is Reason.OPENED
    wrong = replace(ORACLE_3DES_SHA1, mac_key=bytes(20))
    assert recording.bench.receive(udp_frame(wrong)) is Reason.ICV_WRONG


@ABIS
@pytest.mark.parametrize("profile", ["ndis51", "reference"])
@pytest.mark.rule("N-TX-1")
def test_the_transmit_word_carries_the_handle_first(abi: Abi, profile: str) -> None:
    offloader, _ = host(profile, abi)
    word = offloader.transmit_word(0x12345678)
    assert word[: abi.pointer_size] == (0x12345678).to_bytes(abi.pointer_size, "little")
    assert not any(word[abi.pointer_size :])
