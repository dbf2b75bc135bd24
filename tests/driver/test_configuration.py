"""OID_TCP_OFFLOAD_PARAMETERS, the packet filter, the multicast list, and the tasks of 5.1 beside IPsec."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from nicsim.boundary import OidResult, RequestKind, Table
from nicsim.capabilities import Keywords, NdisVersion, OtherTasks
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ndis_offload import NdisOffloadRevision2
from offload_oids.task_offload import NdisTaskTcpIpChecksum, NdisTaskTcpLargeSend, TaskChecksumV4
from tests.driver.builders import (
    AH_ELEMENT,
    KEY_SHA1,
    OFF,
    ON,
    Bench,
    bench,
    capabilities,
    esp_element,
    native_frame,
    sa,
    udp_frame,
    v2,
)
from tests.driver.test_enabling import ALL_OF_NDIS51, TASK, entry, header

SUCCESS, INVALID, UNSUPPORTED = NdisStatus.SUCCESS, NdisStatus.INVALID_DATA, NdisStatus.NOT_SUPPORTED
DISABLED, AH, ESP, BOTH = 1, 2, 3, 4
SIZES = {1: 20, 2: 22, 3: 26}
PARAMETERS = Oid.OID_TCP_OFFLOAD_PARAMETERS
# Where the members are: four bytes of header, then bytes; IPsecV2 and IPsecV2IPv4 follow the ULONG Flags.
IPSEC_V1, IPSEC_V2, IPSEC_V2_IPV4 = 10, 20, 21


def parameters(revision: int = 2, *, kind: int = 0x80, size: int | None = None, **members: int) -> bytes:
    """NDIS_OFFLOAD_PARAMETERS, by the layout; members by their offset, as `at10=3`."""
    size = SIZES[revision] if size is None else size
    buffer = bytearray(struct.pack("<BBH", kind, revision, size).ljust(SIZES.get(revision, 26), b"\0"))
    for name, value in members.items():
        buffer[int(name[2:])] = value
    return bytes(buffer)


def ipsec(v1: int = 0, v2: int = 0, v2_ipv4: int = 0) -> bytes:
    return parameters(3, at10=v1, at20=v2, at21=v2_ipv4)


def report(nic: Bench) -> NdisOffloadRevision2:
    (indication,) = nic.indications()
    assert indication.status == 0x40020006
    return NdisOffloadRevision2.unpack(indication.buffer, nic.abi)


@pytest.mark.parametrize("revision", [1, 2, 3])
@pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
@pytest.mark.rule("N-CP6-7", "A-10")
def test_each_revision_is_read_as_long_as_its_header_says_and_no_further(revision: int, abi: Abi) -> None:
    nic, good = bench(abi=abi), parameters(revision)
    for length in range(len(good)):
        short = nic.set(PARAMETERS, good[:length])
        nic.refuses(short, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
        assert short.bytes_needed == (4 if length < 4 else SIZES[revision])
    for tail in (b"", b"\xee" * 30):
        result = nic.set(PARAMETERS, good + tail)
        assert (result.status, result.bytes_read, result.bytes_written) == (SUCCESS, SIZES[revision], 0)
        assert result.buffer == good + tail


@pytest.mark.rule("N-CP6-7", "N-OID-3")
def test_contents_out_of_range_are_invalid_data_and_change_nothing() -> None:
    nic = bench().enable()
    before = nic.snapshot()
    for wrong in (
        parameters(kind=0xA7),
        parameters(4, size=26),
        parameters(0, size=20),
        *(parameters(size=size) for size in (0, 20, 21, 23, 24, 26)),
    ):
        nic.refuses(nic.set(PARAMETERS, wrong), INVALID, Reason.HEADER_WRONG)
    too_large = {**dict.fromkeys(range(4, 9), 5), 9: 3, 10: 5, **dict.fromkeys(range(11, 15), 3), 20: 5, 21: 5}
    for at, value in {**too_large, 22: 3, 23: 3, 24: 3}.items():
        for wrong_value in (value, 255):
            buffer = parameters(3, **{f"at{at}": wrong_value})
            nic.refuses(nic.set(PARAMETERS, buffer), INVALID, Reason.BUFFER_CONTENTS)
    assert nic.snapshot() == before
    assert nic.indications() == []


@pytest.mark.rule("N-CP6-7")
def test_ndis_5_1_has_no_offload_parameters() -> None:
    nic = bench(capabilities("ndis51"))
    nic.refuses(nic.set(PARAMETERS, parameters()), UNSUPPORTED, Reason.NOT_OFFERED)


WITHOUT_AH = {"ah": False, "ah_esp_combined": False}
WITH_AH = {"ah": True, "ah_esp_combined": True}


@pytest.mark.rule("N-CP6-7", "N-CP6-1")
def test_on_a_card_with_ah_each_operation_can_be_left_alone_on() -> None:
    nic = bench(capabilities(version1=WITH_AH, version2=WITH_AH, rows=8)).enable()
    both = (1, 1, 1), (1, 1, 1)
    for setting, left in ((AH, ((1, 0, 0), (1, 0, 0))), (ESP, ((0, 1, 0), (0, 1, 0))), (BOTH, both)):
        assert nic.set(PARAMETERS, ipsec(setting, setting)).status == SUCCESS
        now = report(nic)
        v1, v2_now = now.ipsec_v1, now.ipsec_v2
        seen = (
            (v1.ipv4_ah.transport, v1.ipv4_esp.des | v1.ipv4_esp.triple_des | v1.ipv4_esp.null_esp,
             v1.supported.ah_esp_combined),
            (v2_now.ah, v2_now.esp, v2_now.ah_esp_combined),
        )  # fmt: skip
        assert seen == left
        alone = sa(sec_assoc=(replace(AH_ELEMENT, spi=setting),), key_mat=KEY_SHA1)
        for add, operation in ((sa(sec_assoc=(esp_element(0x100 + setting),)), ESP), (alone, AH)):
            result = nic.add_sa(add)
            assert result.status == (SUCCESS if setting in (operation, BOTH) else UNSUPPORTED)
        result = nic.add_v2(v2(0x200 + setting))
        assert result.status == (SUCCESS if setting in (ESP, BOTH) else UNSUPPORTED)


@pytest.mark.rule("N-CP6-7", "N-CP6-1", "N-CP6-8")
def test_what_is_taken_away_is_no_longer_reported_nor_taken_and_comes_back() -> None:
    nic = bench(capabilities(version1=WITHOUT_AH, version2=WITHOUT_AH)).enable()
    for first, second in (((DISABLED, 0), (ESP, 0)), ((0, DISABLED), (0, BOTH)), ((AH, AH), (BOTH, ESP))):
        assert nic.set(PARAMETERS, ipsec(*first)).status == SUCCESS
        now = report(nic)
        assert (now.ipsec_v1.ipv4_esp.des, now.ipsec_v2.esp) == (int(first[0] == 0), int(first[1] == 0))
        assert (now.ipsec_v1.supported.encapsulation, now.ipsec_v2.encapsulation) == (
            2 * int(first[0] == 0), 2 * int(first[1] == 0),
        )  # fmt: skip
        if first[0]:
            nic.refuses(nic.add_sa(sa()), UNSUPPORTED, Reason.NOT_OFFERED)
        if first[1]:
            nic.refuses(nic.add_v2(v2()), UNSUPPORTED, Reason.NOT_OFFERED)
        assert nic.set(PARAMETERS, ipsec(*second)).status == SUCCESS
        now = report(nic)
        assert (now.ipsec_v1.ipv4_esp.des, now.ipsec_v2.esp) == (1, 1)
    nic.added(sa())
    nic.added_v2(v2(5))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("keyword", "on"), [(0, (0, 0)), (1, (1, 0)), (2, (0, 1)), (3, (1, 1))])
@pytest.mark.parametrize("has_ipv6", [False, True])
@pytest.mark.rule("N-CP6-8", "N-CP6-1")
def test_a_keyword_says_what_is_on_before_any_request(version: int, keyword: int, on: tuple[int, int], has_ipv6: bool):
    name = "ipsec_offload_v1_ipv4" if version == 1 else "ipsec_offload_v2" if has_ipv6 else "ipsec_offload_v2_ipv4"
    nic = bench(capabilities(version2={"ipv6": has_ipv6}, keywords=Keywords(**{name: keyword})), initialize=False)
    attributes = nic.driver.initialize()
    current, hardware = (
        NdisOffloadRevision2.unpack(raw, nic.abi)
        for raw in (attributes.current_configuration, attributes.hardware_capabilities)
    )

    def ah_and_esp(of: NdisOffloadRevision2, number: int) -> tuple[int, int]:
        v1, v2_ = of.ipsec_v1, of.ipsec_v2
        return (v1.ipv4_ah.transport, v1.ipv4_esp.des) if number == 1 else (v2_.ah, v2_.esp)

    # What the card can do does not depend on it, and neither does the other version.
    assert ah_and_esp(current, version) == on
    assert ah_and_esp(current, 3 - version) == ah_and_esp(hardware, 1) == ah_and_esp(hardware, 2) == (1, 1)
    nic.enable()
    esp_taken = SUCCESS if on[1] else UNSUPPORTED
    assert (nic.add_sa(sa()) if version == 1 else nic.add_v2(v2())).status == esp_taken
    # The same setting by request is one more than by keyword.
    both = ipsec(BOTH, BOTH if has_ipv6 else 0, 0 if has_ipv6 else BOTH)
    assert nic.set(PARAMETERS, both).status == SUCCESS
    assert ah_and_esp(report(nic), version) == (1, 1)


@pytest.mark.rule("N-CP6-7")
def test_no_change_leaves_what_was_set_before() -> None:
    nic = bench().enable()
    nic.set(PARAMETERS, ipsec(DISABLED, DISABLED))
    report(nic)
    for nothing in (parameters(1), parameters(2), parameters(3)):
        assert nic.set(PARAMETERS, nothing).status == SUCCESS
        now = report(nic)
        assert (now.ipsec_v1.ipv4_esp.des, now.ipsec_v2.esp) == (0, 0)


@pytest.mark.rule("N-CP6-6", "N-CP6-7", "A-13")
def test_receive_stops_while_both_versions_are_off_and_never_starts_before_the_encapsulation_is_set() -> None:
    nic = bench()
    nic.added(sa())
    assert nic.set(PARAMETERS, ipsec(ESP, ESP)).status == SUCCESS
    # Configuration only: what is reported is every claimed encapsulation still, and the card is off.
    assert report(nic).ipsec_v1.supported.encapsulation == 7
    assert nic.receive(native_frame()) is Reason.NOT_ENABLED
    nic.enable()
    assert nic.receive(native_frame()) is Reason.OPENED
    nic.set(PARAMETERS, ipsec(DISABLED, DISABLED))
    control = nic.card.card.rows.control
    assert (control.ipv4_encapsulations, control.ipv6_encapsulations, control.combinations) == (0, 0, 0)
    assert nic.receive(native_frame()) is Reason.NOT_ENABLED
    # The encapsulation may change meanwhile; it counts once something is on again.
    nic.encapsulate(OFF, ON)
    control = nic.card.card.rows.control
    assert (control.ipv4_encapsulations, control.ipv6_encapsulations, control.combinations) == (0, 0, 0)
    nic.encapsulate(ON)
    nic.set(PARAMETERS, ipsec(ESP))
    assert nic.receive(native_frame()) is Reason.OPENED
    assert (nic.card.card.rows.control.ipv4_encapsulations, nic.card.card.rows.control.ipv6_encapsulations) == (2, 2)


@pytest.mark.rule("N-CP6-7", "A-34")
def test_the_parser_row_of_version_2_comes_with_the_parameters_where_they_came_last() -> None:
    nic = bench(capabilities(parsers=1))
    nic.set(PARAMETERS, ipsec(0, DISABLED))
    nic.enable()
    assert nic.rows[Table.PARSER] == {}
    assert nic.set(PARAMETERS, ipsec(0, ESP)).status == SUCCESS
    nic.added_v2(v2())
    assert len(nic.rows[Table.PARSER]) == 1
    assert nic.receive(udp_frame()) is not Reason.NO_PARSER_ENTRY
    full = bench(capabilities(parsers=0))
    full.set(PARAMETERS, ipsec(0, DISABLED))
    full.enable()
    before = full.snapshot()
    full.refuses(full.set(PARAMETERS, ipsec(0, ESP)), NdisStatus.RESOURCES, Reason.PARSER_TABLE_FULL)
    assert full.snapshot() == before
    full.refuses(full.add_v2(v2()), UNSUPPORTED, Reason.NOT_OFFERED)


@pytest.mark.rule("N-CP6-7")
def test_the_ipv4_member_of_version_2_is_for_cards_without_ipv6_and_the_other_for_those_with_it() -> None:
    with_ipv6, without = bench(), bench(capabilities(version2={"ipv6": False}))
    for nic, good, wrong in ((with_ipv6, (0, ESP, 0), (0, 0, ESP)), (without, (0, 0, ESP), (0, ESP, 0))):
        assert nic.set(PARAMETERS, ipsec(*good)).status == SUCCESS
        nic.indications()
        nic.refuses(nic.set(PARAMETERS, ipsec(*wrong)), INVALID, Reason.PARAMETER_NOT_CLAIMED)
        # Taking away what is not there is no fault, and takes nothing else away.
        assert nic.set(PARAMETERS, ipsec(*(min(one, DISABLED) for one in wrong))).status == SUCCESS
        assert report(nic).ipsec_v2.esp == 1
    without.set(PARAMETERS, ipsec(0, 0, DISABLED))
    assert report(without).ipsec_v2.esp == 0
    no_version_2 = bench(capabilities("ndis51", ndis=NdisVersion.NDIS_6_0))
    no_version_2.refuses(no_version_2.set(PARAMETERS, ipsec(0, ESP)), INVALID, Reason.PARAMETER_NOT_CLAIMED)
    no_version_1 = bench(replace(capabilities(), version1=None))
    no_version_1.refuses(no_version_1.set(PARAMETERS, ipsec(ESP)), INVALID, Reason.PARAMETER_NOT_CLAIMED)


# --- frames --------------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-RST-2", "N-OID-3", "A-10")
def test_a_packet_filter_of_ethernet_is_taken_and_any_other_refused() -> None:
    nic, oid = bench(), Oid.OID_GEN_CURRENT_PACKET_FILTER
    result = nic.set(oid, struct.pack("<I", 0x2F) + b"tail")
    assert (result.status, result.bytes_read) == (SUCCESS, 4)
    assert nic.driver.state.packet_filter == 0x2F
    for wrong in (0x10, 0x2F | 0x40, 0x80000000):
        nic.refuses(nic.set(oid, struct.pack("<I", wrong)), UNSUPPORTED, Reason.FILTER_NOT_SUPPORTED)
    for length in range(4):
        short = nic.set(oid, bytes(length))
        nic.refuses(short, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
        assert short.bytes_needed == 4
    assert nic.driver.state.packet_filter == 0x2F


@pytest.mark.rule("N-RST-2", "N-OID-3", "A-10")
def test_a_multicast_list_replaces_the_one_before_and_too_long_a_one_is_not_accepted() -> None:
    nic, oid = bench(), Oid.OID_802_3_MULTICAST_LIST
    groups = [bytes([1, 0, 0x5E, 0, 0, number]) for number in range(33)]
    for count in (1, 32, 0, 2):
        result = nic.set(oid, b"".join(groups[:count]))
        assert (result.status, result.bytes_read) == (SUCCESS, 6 * count)
        assert nic.driver.state.multicast_list == tuple(groups[:count])
    nic.refuses(nic.set(oid, b"".join(groups)), NdisStatus.NOT_ACCEPTED, Reason.MULTICAST_LIST_FULL)
    nic.refuses(nic.set(oid, groups[0] + b"\x02" + bytes(5)), INVALID, Reason.BUFFER_CONTENTS)
    for length in (1, 5, 7, 11):
        short = nic.set(oid, (groups[0] * 2)[:length])
        nic.refuses(short, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
        assert short.bytes_needed == (6 if length < 6 else 12)
    assert nic.driver.state.multicast_list == tuple(groups[:2])


# --- the other tasks of 5.1 ------------------------------------------------------------------------------------------

CHECKSUM = NdisTaskTcpIpChecksum(v4_transmit=TaskChecksumV4(tcp_checksum=1, ip_checksum=1))
LARGE_SEND = NdisTaskTcpLargeSend(max_off_load_size=0x8000, min_segment_count=2, tcp_options=1)
RAW_CHECKSUM = struct.pack("<4I", 0b10100, 0, 0, 0)


def raw_large_send(size: int = 0x8000, least: int = 2, tcp: int = 1, ip: int = 0, version: int = 0) -> bytes:
    return struct.pack("<3I2BH", version, size, least, tcp, ip, 0)


def xp() -> Bench:
    return bench(capabilities("ndis51", other_tasks=OtherTasks(CHECKSUM, LARGE_SEND)))


def enabling(*tasks: tuple[int, bytes]) -> bytes:
    chain = b"".join(
        entry(buffer, task, following=20 + len(buffer) if number < len(tasks) else 0)
        for number, (task, buffer) in enumerate(tasks, 1)
    )
    return header(first=28) + chain


@pytest.mark.rule("N-CAP-6", "N-CAP-7")
def test_claimed_tasks_are_reported_beside_ipsec_in_the_order_of_their_numbers() -> None:
    answer = enabling((0, RAW_CHECKSUM), (1, ALL_OF_NDIS51), (2, raw_large_send()))
    result = xp().request(RequestKind.QUERY, TASK, header().ljust(200, b"\0"))
    assert (result.status, result.bytes_written) == (SUCCESS, len(answer))
    assert result.buffer[: len(answer)] == answer
    claimed = capabilities("ndis51", other_tasks=OtherTasks(checksum=CHECKSUM))
    only = bench(replace(claimed, version1=None))
    result = only.request(RequestKind.QUERY, TASK, header().ljust(200, b"\0"))
    assert result.buffer[: result.bytes_written] == enabling((0, RAW_CHECKSUM))


@pytest.mark.rule("N-CAP-11")
def test_tasks_beside_ipsec_are_enabled_without_it_or_with_it() -> None:
    for tasks in (
        [(0, RAW_CHECKSUM)],
        [(2, raw_large_send(0x4000, 3, 0))],
        [(2, raw_large_send()), (1, ALL_OF_NDIS51), (0, bytes(16))],
    ):
        nic = xp()
        nic.added(sa())
        chain = enabling(*tasks)
        result = nic.set(TASK, chain)
        assert (result.status, result.bytes_read) == (SUCCESS, len(chain))
        with_ipsec = any(task == 1 for task, _ in tasks)
        assert nic.receive(native_frame()) is (Reason.OPENED if with_ipsec else Reason.NOT_ENABLED)


MORE_THAN_CLAIMED = [
    (0, struct.pack("<4I", 0b10101, 0, 0, 0)),
    (0, struct.pack("<4I", 0b10100, 1, 0, 0)),
    (2, raw_large_send(0x8001)),
    (2, raw_large_send(least=1)),
    (2, raw_large_send(ip=1)),
    (2, raw_large_send(version=1)),
    (2, raw_large_send(tcp=2)),
    (3, bytes(16)),
]


@pytest.mark.parametrize("task", MORE_THAN_CLAIMED)
@pytest.mark.rule("N-CAP-9", "N-CAP-11")
def test_a_task_that_asks_for_more_than_was_reported_is_refused(task: tuple[int, bytes]) -> None:
    nic = xp()
    before = nic.snapshot()
    result: OidResult = nic.set(TASK, enabling((1, ALL_OF_NDIS51), task))
    nic.refuses(result, UNSUPPORTED, Reason.TASK_NOT_CLAIMED)
    nic.refuses(nic.set(TASK, enabling((2, bytes(8)))), INVALID, Reason.BUFFER_CONTENTS)
    assert nic.snapshot() == before
