"""Whatever a buffer holds: a documented status, never an exception, and a request that fails changes nothing."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nicsim.boundary import RequestKind
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from tests.driver.builders import AH_ELEMENT, Bench, bench, capabilities, chained, esp_element, sa, udpesp, v2
from tests.driver.test_associations_v2_ex import ex
from tests.driver.test_configuration import ipsec, parameters
from tests.driver.test_enabling import ENABLE
from tests.driver.test_sequence_numbers import buffer as update

SET, QUERY = RequestKind.SET, RequestKind.QUERY
# What section 2 of the digest, A-1 and A-12 let each request answer.
ADD = {
    NdisStatus.SUCCESS,
    NdisStatus.RESOURCES,
    NdisStatus.INVALID_LENGTH,
    NdisStatus.INVALID_DATA,
    NdisStatus.NOT_SUPPORTED,
    NdisStatus.FAILURE,
}
CHECKED = {NdisStatus.SUCCESS, NdisStatus.INVALID_LENGTH, NdisStatus.INVALID_DATA}
DELETE = CHECKED | {NdisStatus.NOT_SUPPORTED}
TASK = ADD | {NdisStatus.BUFFER_TOO_SHORT}
ENCAPSULATION = ADD | {NdisStatus.INVALID_PARAMETER}
REQUESTS: dict[tuple[RequestKind, int], set[NdisStatus]] = {
    (QUERY, Oid.OID_TCP_TASK_OFFLOAD): TASK,
    (SET, Oid.OID_TCP_TASK_OFFLOAD): TASK,
    (SET, Oid.OID_OFFLOAD_ENCAPSULATION): ENCAPSULATION,
    (SET, Oid.OID_TCP_TASK_IPSEC_ADD_SA): ADD,
    (SET, Oid.OID_TCP_TASK_IPSEC_DELETE_SA): DELETE,
    (SET, Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA): ADD,
    (SET, Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA): DELETE,
    (SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA): ADD,
    (SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA): DELETE,
    (SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX): ADD,
    (SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA): DELETE | {NdisStatus.INVALID_PARAMETER},
    (SET, Oid.OID_TCP_OFFLOAD_PARAMETERS): ADD,
    (SET, Oid.OID_GEN_CURRENT_PACKET_FILTER): CHECKED | {NdisStatus.NOT_SUPPORTED},
    (SET, Oid.OID_802_3_MULTICAST_LIST): CHECKED | {NdisStatus.NOT_ACCEPTED},
    (SET, Oid.OID_PNP_SET_POWER): CHECKED,
}
DIRECT = {oid for _, oid in REQUESTS if oid >> 16 == 0xFC03}
ENCAPSULATE = bytes([0xA8, 1, 28, 0]) + struct.pack("<6I", 1, 2, 14, 0, 0, 0)
GCM = {"encryption": (8, 20, 0, 16), "authentication": (0, 0, 0, 0), "key": bytes(20)}
ABI = st.sampled_from([Abi.X86, Abi.X64])
FULL_POWER = 1


def good_buffers(kind: RequestKind, oid: int, abi: Abi, handles: tuple[int, int, int]) -> list[bytes]:
    """Buffers that the driver would take, or would take but for one thing; `handles` are alive."""
    version_1, entry, version_2 = handles
    width = abi.pointer_size
    if oid == Oid.OID_TCP_TASK_OFFLOAD:
        return [ENABLE, ENABLE[:28].ljust(100, b"\0") if kind is QUERY else ENABLE[:12] + bytes(4) + ENABLE[16:28]]
    if oid == Oid.OID_OFFLOAD_ENCAPSULATION:
        return [ENCAPSULATE, ENCAPSULATE[:4] + struct.pack("<6I", 2, 0, 0, 2, 0, 0)]
    if oid == Oid.OID_TCP_TASK_IPSEC_ADD_SA:
        pair = sa(num_sas=2, sec_assoc=(esp_element(), AH_ELEMENT))
        return [add.pack(abi) for add in (sa(), sa(flags=2), sa(dest_tunnel_addr=b"\xc0\0\2\1"), pair)]
    if oid == Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA:
        return [add.pack(abi) for add in (udpesp(), udpesp(port=4501), udpesp(entry=entry), udpesp(flags=2))]
    if oid == Oid.OID_TCP_TASK_IPSEC_DELETE_SA:
        return [version_1.to_bytes(width, "little")]
    if oid == Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA:
        return [version_1.to_bytes(width, "little") + one.to_bytes(width, "little") for one in (0, entry)]
    if oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA:
        return [
            chained([v2(abi=abi)], abi),
            chained([v2(spi, abi=abi) for spi in (5, 6, 7)], abi),
            chained([v2(8, abi=abi, ipv6=True), v2(0, abi=abi), v2(9, abi=abi, **GCM)], abi),
        ]
    if oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX:
        return [ex(add, abi, gap) for gap in (0, 5) for add in (v2(abi=abi), v2(9, abi=abi, **GCM))]
    if oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA:
        return [update(abi, handle, 7, spi=0x222) for handle in (version_2, version_1)]
    if oid == Oid.OID_TCP_OFFLOAD_PARAMETERS:
        every = [ipsec(v1, v2, v2_ipv4) for v1 in (0, 1, 2, 4) for v2, v2_ipv4 in ((0, 0), (1, 1), (3, 0), (4, 4))]
        return [*every, parameters(1, at10=1), parameters(2, at20=1)]
    if oid == Oid.OID_GEN_CURRENT_PACKET_FILTER:
        return [struct.pack("<I", kinds) for kinds in (0, 0x0B, 0x2F)]
    if oid == Oid.OID_802_3_MULTICAST_LIST:
        return [(b"\x01" + bytes(5)) * groups for groups in (0, 1, 32, 33)]
    if oid == Oid.OID_PNP_SET_POWER:
        return [struct.pack("<I", state) for state in (1, 2, 4)]
    header = bytes([0x80, 1, 3 * width, 0]).ljust(width, b"\0")
    return [header + bytes(width) + version_2.to_bytes(width, "little")]


@st.composite
def mutated(draw: st.DrawFn, buffer: bytes) -> bytes:
    """A buffer with some bytes, words or pointers changed, cut or extended."""
    work = bytearray(buffer)
    for _ in range(draw(st.integers(0, 4))):
        if not work:
            break
        at = draw(st.integers(0, len(work) - 1))
        word = draw(
            st.one_of(
                st.binary(min_size=1, max_size=1),
                st.sampled_from([0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF]).map(lambda byte: bytes([byte])),
                st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1000, 0x1010, 0x10F0]).map(
                    lambda value: struct.pack("<I", value)
                ),
            )
        )
        if len(word) == 4:
            at -= at % 4
        work[at : at + len(word)] = word
    end = draw(st.one_of(st.just(len(work)), st.integers(0, len(work))))
    return bytes(work[:end]) + draw(st.one_of(st.just(b""), st.binary(max_size=40)))


def checked(nic: Bench, kind: RequestKind, oid: int, buffer: bytes) -> NdisStatus:
    """Put the request to the driver and hold its answer against the rules."""
    before = nic.snapshot()
    nic.driver.poll()
    allowed = REQUESTS[kind, oid]
    if nic.driver.state.power != FULL_POWER and oid != Oid.OID_PNP_SET_POWER:
        allowed = {NdisStatus.NOT_ACCEPTED, NdisStatus.NOT_SUPPORTED}
    result = nic.request(kind, oid, buffer, direct=oid in DIRECT)
    assert result.status in allowed, result
    assert len(result.buffer) == len(buffer)
    if result.status == NdisStatus.SUCCESS:
        assert result.bytes_read <= len(buffer)
        assert result.bytes_written <= len(buffer)
        return result.status
    assert isinstance(result.reason, Reason)
    assert result.buffer == buffer
    assert (result.bytes_read, result.bytes_written) == (0, 0)
    needs_more = result.status in (NdisStatus.INVALID_LENGTH, NdisStatus.BUFFER_TOO_SHORT)
    assert (result.bytes_needed > len(buffer)) if needs_more else result.bytes_needed == 0
    assert nic.snapshot() == before
    assert nic.driver.poll() == []
    return result.status


def lived_in(abi: Abi, profile: str = "reference") -> tuple[Bench, tuple[int, int, int]]:
    """A bench with two associations, one of each version, an entry, and little room."""
    esn = {"extended_sequence_numbers": True} if profile == "reference" else None
    nic = bench(capabilities(profile, version2=esn, rows=3, parsers=3), abi)
    version_1, entry = nic.added_udpesp(udpesp(spi=0x111))
    if profile != "reference":
        return nic, (version_1, entry, 0)
    return nic, (version_1, entry, nic.added_v2(v2(0x222, abi=abi, element={"flags": 1})))


@pytest.mark.parametrize(("kind", "oid"), REQUESTS, ids=lambda part: part.name)
@pytest.mark.rule("A-1", "N-OID-3", "N-ADD-6", "N-V2-11")
@given(data=st.data(), abi=ABI)
@settings(max_examples=120)
def test_a_mutated_buffer_gets_a_documented_status_and_a_failure_changes_nothing(kind, oid, data, abi: Abi) -> None:
    nic, handles = lived_in(abi)
    for _ in range(3):
        buffer = data.draw(st.sampled_from(good_buffers(kind, oid, abi, handles)))
        checked(nic, kind, oid, data.draw(mutated(buffer)))


@pytest.mark.parametrize("profile", ["ndis51", "reference"])
@given(
    requests=st.lists(st.tuples(st.sampled_from(sorted(REQUESTS, key=str)), st.binary(max_size=260)), max_size=6),
    abi=ABI,
)
@example(requests=[((SET, Oid.OID_TCP_TASK_OFFLOAD), ENABLE), ((SET, Oid.OID_TCP_TASK_OFFLOAD), ENABLE)], abi=Abi.X64)
def test_random_buffers_get_a_documented_status_and_a_failure_changes_nothing(profile, requests, abi: Abi) -> None:
    nic, _ = lived_in(abi, profile)
    for (kind, oid), buffer in requests:
        checked(nic, kind, oid, buffer)


@pytest.mark.parametrize("profile", ["ndis51", "ndis61", "reference"])
@given(data=st.data(), abi=ABI)
@settings(max_examples=60)
def test_good_requests_in_any_order_keep_the_drivers_books_and_the_cards_tables_together(profile, data, abi) -> None:
    nic = bench(capabilities(profile, rows=2, parsers=2, address_rows=data.draw(st.sampled_from((0, 1)))), abi)
    state = nic.driver.state
    for _ in range(data.draw(st.integers(1, 12))):
        kind, oid = data.draw(st.sampled_from(sorted(REQUESTS, key=str)))
        alive = sorted(state.associations) or [1]
        entries = [0, *state.parser_entries]
        handles = (data.draw(st.sampled_from(alive)), data.draw(st.sampled_from(entries)), alive[-1])
        checked(nic, kind, oid, data.draw(st.sampled_from(good_buffers(kind, oid, abi, handles))))
        held = [kept for kept in state.associations.values() if kept.handle not in state.withdrawn]
        assert state.withdrawn <= set(state.associations)
        kept = [(kept.table, slot, row) for kept in held for slot, row in kept.rows]
        card = [(table, slot, row) for table, rows in nic.rows.items() for slot, row in rows.items()]
        in_card = {(table, slot): row for table, slot, row in card if table.value not in ("parser", "address")}
        assert {(table, slot): row for table, slot, row in kept} == in_card
        parsers = {slot for table, slot, _ in card if table.value == "parser"}
        own = set() if state.own_parser_row is None else {state.own_parser_row}
        assert parsers == {entry.slot for entry in state.parser_entries.values()} | own
        first_rows = [kept.rows[0][1] for kept in state.associations.values() if kept.table.value == "inbound"]
        named = [row.address_slot - 1 for row in first_rows if row.address_slot]
        assert set(named) == {slot for table, slot, _ in card if table.value == "address"}
        assert sum(shared.users for shared in state.addresses.values()) == len(named)
        for table, rows in nic.rows.items():
            assert nic.free(table).isdisjoint(rows)
            out = [kept for kept in state.associations.values() if kept.handle in state.withdrawn]
            withdrawn = sum(len(kept.rows) for kept in out if kept.table is table)
            assert len(nic.free(table)) + len(rows) + withdrawn == state.slots[table].capacity
        assert not set(state.associations) & set(state.parser_entries)


@pytest.mark.rule("A-38", "A-1")
def test_a_list_of_many_small_elements_is_walked_in_reasonable_time() -> None:
    nic = bench(abi=Abi.X86)
    count = 4000
    header = bytes([0x80, 1, 12, 0])
    buffer = b"".join(
        header + struct.pack("<II", 0x1000 + 12 * (n + 1) if n + 1 < count else 0, 8 * n) for n in range(count)
    )
    oid = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA
    assert checked(nic, SET, oid, buffer) == NdisStatus.INVALID_DATA
