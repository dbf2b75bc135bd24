"""What a miniport reports of itself, and the requests that switch the card on and off (digest sections 3 and 4)."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from nicsim.boundary import CardControl, OidResult, RequestKind, Table
from nicsim.capabilities import Readings
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddSa
from offload_oids.ndis_offload import FamilyEncapsulation, NdisOffloadRevision1, NdisOffloadRevision2
from tests.driver.builders import (
    AH_ELEMENT,
    DES,
    KEY_SHA1,
    MD5,
    OFF,
    ON,
    SHA1,
    TRIPLE_DES,
    Bench,
    bench,
    capabilities,
    esp_element,
    native_frame,
    sa,
    udp_frame,
    udpesp,
)

ABIS = pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
TASK = Oid.OID_TCP_TASK_OFFLOAD
INVALID, UNSUPPORTED = NdisStatus.INVALID_DATA, NdisStatus.NOT_SUPPORTED
ETHERNET, SNAP, RAW = 2, 4, 0


def header(encapsulation: int = ETHERNET, first: int = 0, version: int = 1, size: int = 28) -> bytes:
    """NDIS_TASK_OFFLOAD_HEADER, by the layout: the encapsulation's flag says FixedHeaderSize."""
    return struct.pack("<7I", version, size, 0, first, encapsulation, 1, 14)


def entry(buffer: bytes, task: int = 1, following: int = 0) -> bytes:
    """NDIS_TASK_OFFLOAD: version, size, task, OffsetNextTask, TaskBufferLength, TaskBuffer."""
    return struct.pack("<5I", 1, 24, task, following, len(buffer)) + buffer


def task_ipsec(
    ah: int = 0, esp: int = 0, options: int = 0, udp_esp: int = 0, combined: tuple[int, int] = (0, 0)
) -> bytes:
    """NDIS_TASK_IPSEC: four ULONGs of Supported, then V4AH and V4ESP as bits."""
    return struct.pack("<6I", *combined, options, udp_esp, ah, esp)


# MD5 1, SHA_1 2; DES 1, TRIPLE_DES 4, NULL_ESP 8, Transport 0x10, Tunnel 0x20, Send 0x40, Receive 0x80 (N-CAP-9).
ALL_OF_NDIS51 = task_ipsec(0x3F, 0xFD, 0, 0xFF, (1, 1))
ENABLE = header(first=28) + entry(ALL_OF_NDIS51)
DISABLE = header()


def query(nic: Bench, buffer: bytes) -> OidResult:
    return nic.request(RequestKind.QUERY, TASK, buffer)


def xp(abi: Abi = Abi.X64, **changes) -> Bench:
    return bench(capabilities("ndis51", **changes), abi)


# --- NDIS 5.1 -----------------------------------------------------------------------------------------------------


@ABIS
@pytest.mark.rule("N-CAP-1", "N-CAP-2", "N-CAP-6", "N-CAP-7", "N-CAP-8", "N-CAP-9", "N-CAP-10", "A-11")
def test_a_query_is_answered_with_the_header_and_one_ipsec_task(abi: Abi) -> None:
    result = query(xp(abi), header() + b"\xee" * 100)
    answer = header(first=28) + entry(ALL_OF_NDIS51)
    assert len(answer) == 72
    assert (result.status, result.bytes_written, result.bytes_needed) == (NdisStatus.SUCCESS, 72, 0)
    assert result.buffer == answer + b"\xee" * (128 - 72)


@pytest.mark.parametrize("encapsulation", [1, 3, SNAP, 5, 77])
@pytest.mark.rule("N-CAP-3", "N-CAP-5")
def test_a_query_about_a_link_that_is_not_claimed_is_answered_with_no_tasks(encapsulation: int) -> None:
    result = query(xp(), header(encapsulation) + bytes(100))
    assert (result.status, result.bytes_written) == (NdisStatus.SUCCESS, 28)
    assert result.buffer[:28] == header(encapsulation, first=0)


@pytest.mark.rule("A-10", "N-CAP-6")
def test_a_query_buffer_too_small_for_the_answer_says_how_much_is_needed() -> None:
    nic = xp()
    for length in range(28, 72):
        result = query(nic, header().ljust(length, b"\0"))
        assert (result.status, result.bytes_needed) == (NdisStatus.BUFFER_TOO_SHORT, 72)
        assert (result.bytes_written, result.buffer) == (0, header().ljust(length, b"\0"))
    for length in range(28):
        result = query(nic, header()[:length])
        assert (result.status, result.bytes_needed) == (NdisStatus.INVALID_LENGTH, 28)


WRONG_HEADERS = [{"version": 0}, {"version": 2}, {"size": 27}, {"size": 0}, {"size": 32}]


@pytest.mark.parametrize("change", WRONG_HEADERS)
@pytest.mark.rule("A-12", "N-CAP-2")
def test_a_wrong_header_is_refused_in_query_and_set(change: dict[str, int]) -> None:
    nic = xp()
    before = nic.snapshot()
    nic.refuses(query(nic, header(**change) + bytes(100)), INVALID, Reason.TASK_HEADER_WRONG)
    nic.refuses(nic.set(TASK, header(first=28, **change) + entry(ALL_OF_NDIS51)), INVALID, Reason.TASK_HEADER_WRONG)
    nic.refuses(nic.set(TASK, header(**change)), INVALID, Reason.TASK_HEADER_WRONG)
    assert nic.snapshot() == before


@ABIS
@pytest.mark.rule("N-CAP-11", "N-CAP-12", "N-CP6-6")
def test_an_enabling_set_starts_the_card_and_a_disabling_set_stops_it_and_the_associations_stay(abi: Abi) -> None:
    nic = xp(abi)
    nic.added(sa())
    assert nic.receive(native_frame()) is Reason.NOT_ENABLED
    result = nic.set(TASK, ENABLE)
    assert (result.status, result.bytes_read) == (NdisStatus.SUCCESS, len(ENABLE))
    # Ethernet and tagged Ethernet, which 5.1 does not tell apart.
    assert (
        nic.card.card.rows.control
        == nic.driver.state.control
        == CardControl(ipv4_encapsulations=0x2 | 0x4, combinations=0x1F)
    )
    assert nic.receive(native_frame()) is Reason.OPENED
    assert nic.set(TASK, DISABLE).status == NdisStatus.SUCCESS
    assert nic.card.card.rows.control == CardControl()
    assert nic.receive(native_frame()) is Reason.NOT_ENABLED
    assert len(nic.driver.state.associations) == 1
    nic.set(TASK, ENABLE)
    assert nic.receive(native_frame()) is Reason.OPENED


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.rule("A-13", "N-CAP-13")
def test_a_second_enabling_set_fails_or_replaces_by_the_reading(strict: bool) -> None:
    readings = Readings(second_enabling_set_fails=strict)
    nic = xp(readings=readings)
    raw = header(RAW, first=28) + entry(ALL_OF_NDIS51)
    nic.set(TASK, ENABLE)
    before = nic.snapshot()
    result = nic.set(TASK, raw)
    if strict:
        nic.refuses(result, NdisStatus.FAILURE, Reason.ALREADY_ENABLED)
        assert nic.snapshot() == before
    else:
        assert result.status == NdisStatus.SUCCESS
        assert nic.card.card.rows.control.ipv4_encapsulations == 0x1
    # A disabling set is taken in either case, twice as well, and after it an enabling one.
    for buffer in (DISABLE, DISABLE, raw):
        assert nic.set(TASK, buffer).status == NdisStatus.SUCCESS
    assert nic.card.card.rows.control.ipv4_encapsulations == 0x1


MORE_THAN_CLAIMED = [
    task_ipsec(combined=(2, 0)),
    task_ipsec(combined=(0, 2)),
    task_ipsec(options=1),
    task_ipsec(udp_esp=0x100),
    task_ipsec(udp_esp=0x80000000),
    task_ipsec(esp=0x02),
    task_ipsec(esp=0x02 | 0xFD),
]


@pytest.mark.parametrize("asked", MORE_THAN_CLAIMED)
@pytest.mark.rule("N-CAP-9", "N-CAP-11")
def test_an_enabling_set_that_asks_for_more_than_was_reported_is_refused(asked: bytes) -> None:
    nic = xp()
    before = nic.snapshot()
    nic.refuses(nic.set(TASK, header(first=28) + entry(asked)), UNSUPPORTED, Reason.TASK_NOT_CLAIMED)
    assert nic.snapshot() == before


@pytest.mark.parametrize(
    "asked",
    [
        task_ipsec(combined=(1, 0)), task_ipsec(combined=(0, 1)),
        *(task_ipsec(ah=bit) for bit in (0x04, 0x08, 0x10, 0x20)),
    ],
)  # fmt: skip
@pytest.mark.rule("N-CAP-9", "N-CAP-11")
def test_ah_and_combinations_can_be_enabled_only_where_they_are_claimed(asked: bytes) -> None:
    set_of = header(first=28) + entry(asked)
    claims = {"ah": False, "ah_esp_combined": False, "transport_tunnel_combined": False}
    nic = xp(version1=claims)
    nic.refuses(nic.set(TASK, set_of), UNSUPPORTED, Reason.TASK_NOT_CLAIMED)
    assert xp().set(TASK, set_of).status == NdisStatus.SUCCESS


@pytest.mark.parametrize("task", [0, 2, 3, 99])
@pytest.mark.rule("N-CAP-7", "N-CAP-11")
def test_every_entry_of_the_chain_is_looked_at(task: int) -> None:
    nic = xp()
    before = nic.snapshot()
    chain = header(first=28) + entry(ALL_OF_NDIS51, following=44) + entry(bytes(24), task)
    nic.refuses(nic.set(TASK, chain), UNSUPPORTED, Reason.TASK_NOT_CLAIMED)
    assert nic.snapshot() == before


@pytest.mark.parametrize("encapsulation", [1, 3, SNAP, 9])
@pytest.mark.rule("N-CAP-3", "N-CAP-5")
def test_enabling_for_a_link_that_is_not_claimed_is_refused(encapsulation: int) -> None:
    nic = xp()
    before = nic.snapshot()
    chain = header(encapsulation, first=28) + entry(ALL_OF_NDIS51)
    nic.refuses(nic.set(TASK, chain), UNSUPPORTED, Reason.ENCAPSULATION_NOT_CLAIMED)
    assert nic.snapshot() == before


@pytest.mark.parametrize(
    ("chain", "status"),
    [
        (header(first=27) + entry(ALL_OF_NDIS51), INVALID),  # into the header
        (header(first=4) + entry(ALL_OF_NDIS51), INVALID),
        (header(first=29) + b"\0" + entry(ALL_OF_NDIS51), INVALID),  # not aligned
        (header(first=400) + entry(ALL_OF_NDIS51), NdisStatus.INVALID_LENGTH),
        (header(first=0xFFFFFFFC) + entry(ALL_OF_NDIS51), NdisStatus.INVALID_LENGTH),
        (header(first=28) + entry(ALL_OF_NDIS51, following=4), INVALID),  # into itself
        (header(first=28) + entry(ALL_OF_NDIS51, following=400), NdisStatus.INVALID_LENGTH),
        (header(first=28) + entry(ALL_OF_NDIS51)[:-1], NdisStatus.INVALID_LENGTH),
        (header(first=28) + entry(ALL_OF_NDIS51[:20]), INVALID),
    ],
)
@pytest.mark.rule("N-CAP-2", "N-CAP-7", "A-1")
def test_a_chain_whose_offsets_or_lengths_lie_changes_nothing(chain: bytes, status: NdisStatus) -> None:
    nic = xp()
    before = nic.snapshot()
    result = nic.set(TASK, chain)
    assert result.status == status
    assert result.reason in (Reason.BUFFER_CONTENTS, Reason.BUFFER_LENGTH)
    assert (result.bytes_needed > 0) == (status == NdisStatus.INVALID_LENGTH)
    assert nic.snapshot() == before


@pytest.mark.rule("N-CAP-11", "N-RX-10")
def test_ip_options_are_processed_only_where_claimed_and_enabled() -> None:
    claims = {"ipv4_options": True}
    for asked in (0, 1):
        nic = xp(version1=claims)
        chain = header(first=28) + entry(task_ipsec(0x03, 0xFD, asked, 0x33))
        assert nic.set(TASK, chain).status == NdisStatus.SUCCESS
        assert nic.card.card.rows.control.ipv4_options == asked


def test_ndis_5_1_knows_no_offload_encapsulation_and_reports_nothing_at_initialisation() -> None:
    nic = bench(capabilities("ndis51"), initialize=False)
    attributes = nic.driver.initialize()
    assert (attributes.current_configuration, attributes.hardware_capabilities) == (b"", b"")
    before = nic.snapshot()
    nic.refuses(nic.encapsulate(ON), UNSUPPORTED, Reason.NOT_OFFERED)
    assert nic.snapshot() == before
    assert nic.driver.poll() == []


# --- NDIS 6.x -------------------------------------------------------------------------------------------------------


@ABIS
@pytest.mark.rule("N-CP6-1", "N-CP6-2", "N-CP6-3", "N-CP6-4", "A-14", "N-V2-1", "N-V2-3", "N-V2-4")
def test_the_report_at_initialisation_says_what_the_profile_claims(abi: Abi) -> None:
    attributes = bench(abi=abi, initialize=False).driver.initialize()
    assert attributes.current_configuration == attributes.hardware_capabilities
    raw = attributes.hardware_capabilities
    assert raw[:4] == bytes([0xA7, 2]) + (144).to_bytes(2, "little")
    report = NdisOffloadRevision2.unpack(raw, abi)
    v1, v2 = report.ipsec_v1, report.ipsec_v2
    assert (v1.supported.encapsulation, v1.supported.flags, v1.supported.ipv4_options) == (0x7, 0xFF, 1)
    assert (v1.ipv4_ah.md5, v1.ipv4_ah.sha_1, v1.ipv4_ah.transport, v1.ipv4_ah.tunnel) == (1, 1, 1, 1)
    assert (v1.ipv4_ah.send, v1.ipv4_ah.receive) == (1, 1)
    assert (v1.supported.ah_esp_combined, v1.supported.transport_tunnel_combined) == (1, 1)
    assert (v2.ah_esp_combined, v2.transport_tunnel_combined) == (1, 1)
    esp = v1.ipv4_esp
    assert (esp.des, esp.triple_des, esp.null_esp, esp.transport, esp.tunnel, esp.send, esp.receive) == (1,) * 7
    assert (v2.encapsulation, v2.esp, v2.ah, v2.tunnel, v2.transport, v2.ipv6_supported) == (0x7, 1, 1, 1, 1, 1)
    assert (v2.udp_esp, v2.authentication_algorithms, v2.encryption_algorithms) == (15, 0x3F, 0x1FF)
    assert (v2.sa_offload_capacity, v2.extended_sequence_numbers) == (8192, 1)


@pytest.mark.rule("N-CP6-2")
def test_a_card_without_version_2_reports_the_first_revision_of_112_bytes() -> None:
    caps = capabilities("ndis51", ndis=capabilities().ndis)
    raw = bench(caps, initialize=False).driver.initialize().hardware_capabilities
    assert raw[:4] == bytes([0xA7, 1]) + (112).to_bytes(2, "little")
    assert len(raw) == 112
    assert NdisOffloadRevision1.unpack(raw, Abi.X64).ipsec_v1.ipv4_esp.des == 1


@ABIS
@pytest.mark.rule("N-CP6-5", "N-CP6-6", "A-30", "A-13")
def test_before_on_and_after_off_frames_go_up_untouched_and_the_associations_survive(abi: Abi) -> None:
    nic = bench(capabilities(version2={"udp_esp": 0}), abi)
    nic.added(sa())
    nic.added_udpesp(udpesp(spi=7))
    frames = (native_frame(), udp_frame(spi=7))
    assert [nic.receive(frame) for frame in frames] == [Reason.NOT_ENABLED] * 2
    result = nic.encapsulate(ON)
    assert (result.status, result.bytes_read) == (NdisStatus.SUCCESS, 28)
    assert [nic.receive(frame) for frame in frames] == [Reason.OPENED] * 2
    before = dict(nic.driver.state.associations)
    assert nic.encapsulate(OFF, OFF).status == NdisStatus.SUCCESS
    assert [nic.receive(frame) for frame in frames] == [Reason.NOT_ENABLED] * 2
    assert nic.driver.state.associations == before
    nic.encapsulate(ON)
    assert [nic.receive(frame) for frame in frames] == [Reason.OPENED] * 2


@ABIS
@pytest.mark.rule("N-CP6-1", "N-CP6-5")
def test_each_set_that_succeeds_indicates_the_new_configuration_and_one_that_fails_none(abi: Abi) -> None:
    nic = bench(abi=abi)
    reported = []
    for ipv4, ipv6 in ((ON, ON), (FamilyEncapsulation(), FamilyEncapsulation()), (OFF, OFF)):
        nic.encapsulate(ipv4, ipv6)
        (indication,) = nic.indications()
        assert indication.status == 0x40020006
        report = NdisOffloadRevision2.unpack(indication.buffer, abi)
        reported.append((report.ipsec_v1.supported.encapsulation, report.ipsec_v2.encapsulation))
        assert report.ipsec_v1.ipv4_esp.des == 1  # all or none is switched, not single offloads
    assert reported == [(2, 2), (2, 2), (0, 0)]
    nic.encapsulate(FamilyEncapsulation(1, 0x10, 8))
    assert nic.indications() == []


@pytest.mark.parametrize("first", [ON, OFF])
@pytest.mark.rule("N-CP6-5")
def test_no_change_leaves_the_card_as_it_was(first: FamilyEncapsulation) -> None:
    nic = bench()
    nic.encapsulate(first)
    before = nic.snapshot()
    assert nic.encapsulate(FamilyEncapsulation()).status == NdisStatus.SUCCESS
    assert nic.snapshot() == before


@pytest.mark.rule("N-CP6-5")
def test_each_family_has_its_own_switch() -> None:
    for families, ipv4, ipv6 in (((ON, OFF), 0x2, 0), ((OFF, ON), 0, 0x2), ((ON, ON), 0x2, 0x2)):
        nic = bench()
        nic.encapsulate(*families)
        control = nic.card.card.rows.control
        assert (control.ipv4_encapsulations, control.ipv6_encapsulations) == (ipv4, ipv6)
    nic.encapsulate(OFF)  # from both on
    control = nic.card.card.rows.control
    assert (control.ipv4_encapsulations, control.ipv6_encapsulations) == (0, 0x2)


@pytest.mark.rule("N-CAP-9", "N-CAP-11")
def test_a_set_that_enables_nothing_of_its_task_enables_nothing() -> None:
    nic = xp()
    nic.added(sa())
    assert nic.set(TASK, header(first=28) + entry(bytes(24))).status == NdisStatus.SUCCESS
    assert nic.receive(native_frame()) is Reason.NOT_ENABLED
    nic.refuses(nic.add_sa(sa()), NdisStatus.NOT_SUPPORTED, Reason.MODE_NOT_CLAIMED)


@pytest.mark.rule("N-CAP-9", "N-CAP-11")
def test_what_an_enabling_set_leaves_out_is_refused_until_it_is_enabled() -> None:
    nic = xp()
    without_3des = task_ipsec(0x03, 0xFD & ~0x4, 0, 0x33)
    assert nic.set(TASK, header(first=28) + entry(without_3des)).status == NdisStatus.SUCCESS
    nic.refuses(nic.add_sa(sa()), NdisStatus.NOT_SUPPORTED, Reason.ALGORITHM_NOT_CLAIMED)
    nic.set(TASK, DISABLE)
    nic.set(TASK, ENABLE)
    assert nic.add_sa(sa()).status == NdisStatus.SUCCESS


def one_sa(conf: int = TRIPLE_DES, integrity: int = SHA1, **changes: Any) -> OffloadIpsecAddSa:
    element = esp_element(conf=conf, integrity=integrity)
    key = bytes(element.conf_algo.algo_keylen + element.integrity_algo.algo_keylen)
    return sa(sec_assoc=(element,), key_mat=key, **changes)


# The bit of V4AH, the bit of V4ESP, and an association that needs it.
NEEDS = {
    "MD5": (0x01, 0, one_sa(integrity=MD5)),
    "SHA_1": (0x02, 0, one_sa()),
    "DES": (0, 0x01, one_sa(conf=DES)),
    "TRIPLE_DES": (0, 0x04, one_sa()),
    "NULL_ESP": (0, 0x08, one_sa(conf=0)),
    "Transport": (0, 0x10, one_sa()),
    "Tunnel": (0, 0x20, one_sa(dest_tunnel_addr=b"\xc0\0\2\1", src_tunnel_addr=b"\xc0\0\2\2")),
    "Send": (0, 0x40, one_sa(flags=2)),
    "Receive": (0, 0x80, one_sa()),
    "AH": (0x0C, 0, sa(sec_assoc=(AH_ELEMENT,), key_mat=KEY_SHA1)),
}


@pytest.mark.parametrize("member", NEEDS)
@pytest.mark.rule("N-CAP-9", "N-CAP-11")
def test_each_member_is_enabled_only_if_it_is_asked_for(member: str) -> None:
    ah, esp, add = NEEDS[member]
    nic = xp(rows=16)
    without = task_ipsec(0x3F & ~ah, 0xFD & ~esp, 0, 0, (1, 1))
    assert nic.set(TASK, header(first=28) + entry(without)).status == NdisStatus.SUCCESS
    refused = nic.add_sa(add)
    assert (refused.status, refused.bytes_read) == (NdisStatus.NOT_SUPPORTED, 0)
    # Something that does not need it is taken, and it is taken itself once it is asked for.
    free = {"MD5": "SHA_1", "SHA_1": "MD5", "DES": "NULL_ESP", "TRIPLE_DES": "DES", "NULL_ESP": "DES"}
    free |= {"Transport": "Tunnel", "Tunnel": "DES", "Send": "DES", "Receive": "Send", "AH": "DES"}
    assert nic.add_sa(NEEDS[free[member]][2]).status == NdisStatus.SUCCESS
    nic.set(TASK, DISABLE)
    nic.set(TASK, ENABLE)
    assert nic.add_sa(add).status == NdisStatus.SUCCESS


@pytest.mark.parametrize("kind", [0, 0x8, 0x10, 0x80000000])
@pytest.mark.rule("N-CP6-5", "N-CP6-6")
def test_an_encapsulation_that_no_offload_supports_is_invalid_parameter(kind: int) -> None:
    nic = bench()
    before = nic.snapshot()
    result = nic.encapsulate(FamilyEncapsulation(1, kind, 14))
    nic.refuses(result, NdisStatus.INVALID_PARAMETER, Reason.ENCAPSULATION_NOT_CLAIMED)
    assert nic.snapshot() == before


@pytest.mark.rule("N-CP6-5")
def test_a_wrong_header_or_enabled_value_is_invalid_data_and_a_short_buffer_invalid_length() -> None:
    nic = bench()
    before = nic.snapshot()
    good = bytes([0xA8, 1, 28, 0]) + struct.pack("<6I", 1, 2, 14, 0, 0, 0)
    for place, value in ((0, 0xA7), (0, 0x80), (1, 0), (1, 2), (2, 27), (2, 29), (3, 1)):
        wrong = good[:place] + bytes([value]) + good[place + 1 :]
        nic.refuses(nic.set(Oid.OID_OFFLOAD_ENCAPSULATION, wrong), INVALID, Reason.HEADER_WRONG)
    for wrong in (FamilyEncapsulation(3), FamilyEncapsulation(0xFFFFFFFF)):
        nic.refuses(nic.encapsulate(wrong), INVALID, Reason.BUFFER_CONTENTS)
        nic.refuses(nic.encapsulate(ON, wrong), INVALID, Reason.BUFFER_CONTENTS)
    for length in range(28):
        result = nic.set(Oid.OID_OFFLOAD_ENCAPSULATION, good[:length])
        nic.refuses(result, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
        assert result.bytes_needed == 28
    assert nic.snapshot() == before
    assert nic.set(Oid.OID_OFFLOAD_ENCAPSULATION, good).status == NdisStatus.SUCCESS


@pytest.mark.rule("N-CP6-6")
def test_only_the_enabled_encapsulation_is_processed() -> None:
    nic = bench()
    nic.added(sa())
    nic.encapsulate(FamilyEncapsulation(1, 0x4, 18))  # tagged Ethernet only
    frame = native_frame()
    assert nic.receive(frame) is Reason.ENCAPSULATION_NOT_ENABLED
    assert nic.receive(frame[:12] + b"\x81\x00\x00\x07" + frame[12:]) is Reason.OPENED


@pytest.mark.rule("A-34", "A-1")
def test_version_2s_parser_row_needs_room_and_a_card_that_takes_it() -> None:
    full = bench(capabilities(parsers=1))
    full.added_udpesp(udpesp())
    before = full.snapshot()
    full.refuses(full.encapsulate(ON), NdisStatus.RESOURCES, Reason.PARSER_TABLE_FULL)
    assert full.snapshot() == before
    nic = bench()
    before = nic.snapshot()
    nic.card.fail_writes = {0}
    nic.refuses(nic.encapsulate(ON), NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED)
    assert nic.snapshot() == before
    assert nic.indications() == []
    nic.enable()
    assert len(nic.rows[Table.PARSER]) == 1
