"""Every status of section 2 for every request of section 1: reached with its byte counts, or told why it is not.

REACHED says for a request and a status how a host comes to see it; NEVER says why it cannot. Together they are all
pairs there are, and what a page documents for a request is reached. Byte counts are literal (BytesRead, BytesWritten,
BytesNeeded): what the digest says of the layouts, for 32-bit and for 64-bit hosts.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import pytest

from nicsim.boundary import OidCompletion, OidRequest, OidResult, RequestKind
from nicsim.capabilities import Capabilities
from nicsim.impairments import impairment
from nicsim.ndis.intermediate import PacketFilter
from nicsim.nic import Nic
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddSa, OffloadIpsecAddUdpespSa
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa
from tests.driver.builders import BASE, OUTBOUND, SPI, capabilities, chained, native_frame, sa, udpesp, v2
from tests.driver.test_associations_v2_ex import ex
from tests.driver.test_configuration import ipsec, parameters
from tests.driver.test_enabling import ENABLE, header
from tests.driver.test_sequence_numbers import buffer as update
from tests.rules import DIGEST

S = NdisStatus
Ask = tuple[RequestKind, Oid]
SET, QUERY = RequestKind.SET, RequestKind.QUERY
ON_ETHERNET = bytes([0xA8, 1, 28, 0]) + struct.pack("<6I", 1, 2, 14, 0, 0, 0)

TASK_QUERY, TASK_SET = (QUERY, Oid.OID_TCP_TASK_OFFLOAD), (SET, Oid.OID_TCP_TASK_OFFLOAD)
ADD, DELETE = (SET, Oid.OID_TCP_TASK_IPSEC_ADD_SA), (SET, Oid.OID_TCP_TASK_IPSEC_DELETE_SA)
ADD_UDPESP = (SET, Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA)
DELETE_UDPESP = (SET, Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA)
CONFIG, HARDWARE = (QUERY, Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG), (QUERY, Oid.OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES)
PARAMETERS = (SET, Oid.OID_TCP_OFFLOAD_PARAMETERS)
ENCAPSULATION, ENCAPSULATION_QUERY = (SET, Oid.OID_OFFLOAD_ENCAPSULATION), (QUERY, Oid.OID_OFFLOAD_ENCAPSULATION)
ADD_V2 = (SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA)
ADD_EX = (SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX)
DELETE_V2 = (SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA)
UPDATE = (SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA)
POWER = (SET, Oid.OID_PNP_SET_POWER)
FILTER = (SET, Oid.OID_GEN_CURRENT_PACKET_FILTER)
GROUPS = (SET, Oid.OID_802_3_MULTICAST_LIST)
BY_NDIS = (CONFIG, HARDWARE, ENCAPSULATION_QUERY)
QUERIES = (TASK_QUERY, *BY_NDIS)
ASKS = (
    TASK_QUERY, TASK_SET, ADD, DELETE, ADD_UDPESP, DELETE_UDPESP, CONFIG, PARAMETERS, HARDWARE, ENCAPSULATION,
    ENCAPSULATION_QUERY, ADD_V2, DELETE_V2, UPDATE, ADD_EX, POWER, FILTER, GROUPS,
)  # fmt: skip
DRIVERS = tuple(ask for ask in ASKS if ask not in BY_NDIS)

# What a good request counts, on a 32-bit and on a 64-bit host: bytes read of a set, written by a query. Keys are 44
# bytes (3DES, SHA-1) in version 1, 48 (AES-CBC-128, SHA-256) in version 2.
USED: dict[Ask, tuple[int, int]] = {
    TASK_QUERY: (28 + 20 + 24,) * 2,
    TASK_SET: (28 + 20 + 24,) * 2,
    ADD: (176 + 44, 180 + 44),
    DELETE: (4, 8),
    ADD_UDPESP: (188 + 44, 196 + 44),
    DELETE_UDPESP: (8, 16),
    CONFIG: (144, 144),
    PARAMETERS: (20, 20),
    HARDWARE: (144, 144),
    ENCAPSULATION: (28, 28),
    ENCAPSULATION_QUERY: (28, 28),
    ADD_V2: (156 + 48, 168 + 48),
    DELETE_V2: (12, 24),
    UPDATE: (20, 28),
    ADD_EX: (164 + 48, 176 + 48),
    POWER: (4, 4),
    FILTER: (4, 4),
    GROUPS: (6, 6),
}


# --- a host over a NIC ---------------------------------------------------------------------------------------------


def card(**changes: Any) -> Capabilities:
    """The reference card with little room and extended sequence numbers."""
    return capabilities(version2={"extended_sequence_numbers": True}, **changes)


@dataclass
class Host:
    """A host of one pointer width over one NIC; requests are numbered from 1."""

    ask: Ask
    abi: Abi
    caps: Capabilities = field(default_factory=card)
    nic_is: dict[str, Any] = field(default_factory=dict)
    ids: int = 0

    def __post_init__(self) -> None:
        if self.ask[1] == Oid.OID_TCP_TASK_OFFLOAD:
            self.caps = capabilities("ndis51", parsers=self.caps.parser_rows)
        self.nic = Nic(self.caps, iv_source=bytes, abi=self.abi, **self.nic_is)

    def request(self, ask: Ask, buffer: bytes) -> OidResult:
        self.ids += 1
        kind, oid = ask
        return self.nic.request(OidRequest(kind, oid, buffer, self.abi, base=BASE, request_id=self.ids))

    def completion(self, number: int, polls: int = 40) -> OidResult:
        for _ in range(polls):
            for event in self.nic.poll():
                if isinstance(event, OidCompletion) and event.request_id == number:
                    return event.result
        raise AssertionError(f"request {number} never completes")

    def settled(self, ask: Ask, buffer: bytes) -> OidResult:
        """A request, however long it takes."""
        result = self.request(ask, buffer)
        result = self.completion(self.ids) if result.status == S.PENDING else result
        assert result.status == S.SUCCESS, result
        return result

    def add(self, spi: int = SPI + 1) -> int:
        """Another association, by the version that the card has."""
        element = replace(sa().sec_assoc[0], spi=spi)
        answer = self.settled(ADD, sa(sec_assoc=(element,)).pack(self.abi)).buffer
        return OffloadIpsecAddSa.unpack(answer, self.abi).offload_handle

    def add_v2(self) -> int:
        add = v2(abi=self.abi, element={"flags": 1})
        answer = self.settled(ADD_V2, chained([add], self.abi)).buffer
        return IpsecOffloadV2AddSa.unpack(answer, self.abi).offload_handle

    def good(self) -> bytes:
        """A buffer with which the request succeeds, exactly as long as it must be; what it names is there."""
        abi, word = self.abi, lambda handle: handle.to_bytes(self.abi.pointer_size, "little")
        if self.ask == DELETE:
            return word(self.add())
        if self.ask == DELETE_UDPESP:
            answer = self.settled(ADD_UDPESP, udpesp(spi=SPI + 1).pack(abi)).buffer
            add = OffloadIpsecAddUdpespSa.unpack(answer, abi)
            return word(add.offload_handle) + word(add.encap_type_entry_offld_handle)
        if self.ask == DELETE_V2:
            return (
                bytes([0x80, 1, USED[DELETE_V2][abi is Abi.X64], 0]).ljust(len(word(0)), b"\0")
                + word(0)
                + word(self.add_v2())
            )
        if self.ask == UPDATE:
            return update(abi, self.add_v2(), 7)[: USED[UPDATE][abi is Abi.X64]]
        return {
            TASK_QUERY: header() + bytes(44), TASK_SET: ENABLE, ADD: sa().pack(abi), ADD_UDPESP: udpesp().pack(abi),
            CONFIG: bytes(144), HARDWARE: bytes(144), ENCAPSULATION_QUERY: bytes(28), PARAMETERS: parameters(1, at10=1),
            ENCAPSULATION: ON_ETHERNET, ADD_V2: chained([v2(abi=abi)], abi), ADD_EX: ex(v2(abi=abi), abi),
            POWER: struct.pack("<I", 1), FILTER: struct.pack("<I", 0x0B), GROUPS: b"\x01\0\x5e\0\0\x01",
        }[self.ask]  # fmt: skip

    def bad(self) -> bytes:
        """The same with one thing wrong in it, which A-1 calls invalid data."""
        good = self.good()
        if self.ask in (DELETE, DELETE_UDPESP, DELETE_V2):  # the last handle names nothing
            return good[: -self.abi.pointer_size] + b"\x77\x66" + bytes(self.abi.pointer_size - 2)
        at, value = {
            TASK_QUERY: (0, 2), TASK_SET: (0, 2), PARAMETERS: (10, 5), POWER: (0, 5), GROUPS: (0, 2),
            ADD: (34, 0), ADD_UDPESP: (34, 0),
        }.get(self.ask, (0, 0x81))  # fmt: skip
        wrong = bytearray(good)
        wrong[at] = value
        return bytes(wrong)

    @property
    def used(self) -> int:
        return USED[self.ask][self.abi is Abi.X64]


@dataclass(frozen=True)
class Outcome:
    """What came of the request in question, and what the counts must be."""

    result: OidResult
    counts: tuple[int, int, int] = (0, 0, 0)


Way = Callable[[Ask, Abi], Outcome]
SLOW = {"row_ticks": 2, "serialise": False}


def succeeds(host: Host, result: OidResult) -> Outcome:
    return Outcome(result, (0, host.used, 0) if host.ask in QUERIES else (host.used, 0, 0))


# --- the ways to a status ------------------------------------------------------------------------------------------


def success(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi)
    buffer = host.good()
    assert len(buffer) == host.used
    return succeeds(host, host.request(ask, buffer + (b"" if ask == GROUPS else b"\xee" * 9)))


def busy(ask: Ask, abi: Abi) -> tuple[Host, bytes]:
    """A host whose driver works on another request, without NDIS's queue, with a good request at hand."""
    host = Host(ask, abi, nic_is=SLOW)
    buffer = host.good()
    assert host.request(ADD, sa(flags=OUTBOUND).pack(abi)).status == S.PENDING
    return host, buffer


def pending(ask: Ask, abi: Abi) -> Outcome:
    host, buffer = busy(ask, abi)
    result = host.request(ask, buffer)
    done = succeeds(host, host.completion(host.ids))
    assert done.result.status == S.SUCCESS
    assert counts(done.result) == done.counts
    return Outcome(result)


def aborted(ask: Ask, abi: Abi) -> Outcome:
    host, buffer = busy(ask, abi)
    assert host.request(ask, buffer).status == S.PENDING
    host.nic.reset()
    return Outcome(host.completion(host.ids))


def while_resetting(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi, nic_is=SLOW)
    buffer = host.good()
    host.add(SPI + 2)
    assert host.nic.reset() == S.PENDING
    return Outcome(host.request(ask, buffer))


def removed(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi)
    buffer = host.good()
    host.nic.remove()
    return Outcome(host.request(ask, buffer))


def in_low_power(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi)
    buffer = host.good()
    host.settled(POWER, struct.pack("<I", 4))
    return Outcome(host.request(ask, buffer))


def too_short(ask: Ask, abi: Abi) -> Outcome:
    """One byte less than is needed: the total is said, and a query says so with a status of its own (A-10)."""
    host = Host(ask, abi)
    return Outcome(host.request(ask, host.good()[:-1]), (0, 0, host.used))


def shorter_than_the_header(ask: Ask, abi: Abi) -> Outcome:
    return Outcome(Host(ask, abi).request(ask, header()[:-1]), (0, 0, 28))


def half_an_address(ask: Ask, abi: Abi) -> Outcome:
    return Outcome(Host(ask, abi).request(ask, b"\x01" * 9), (0, 0, 12))


def invalid(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi)
    return Outcome(host.request(ask, host.bad()))


def not_claimed(ask: Ask, abi: Abi) -> Outcome:
    """A card without the version of the offload, or an NDIS version without the request."""
    host = Host(ask, abi)
    buffer = host.good()
    version2 = ask in (ADD_V2, ADD_EX, DELETE_V2, UPDATE)
    without = replace(host.caps, **{"version2" if version2 else "version1": None})
    if ask in (ENCAPSULATION, PARAMETERS, *BY_NDIS):
        without = capabilities("ndis51")
    return Outcome(Host(ask, abi, without).request(ask, buffer))


def no_offload_at_all(ask: Ask, abi: Abi) -> Outcome:
    return Outcome(Host(ask, abi, replace(card(), version1=None, version2=None)).request(ask, ON_ETHERNET))


def through_an_intermediate_driver(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi)
    altering = PacketFilter(host.nic, lambda frame: frame)
    return Outcome(altering.request(OidRequest(*ask, host.good(), abi)))


def a_task_not_reported(ask: Ask, abi: Abi) -> Outcome:
    checksum = header(first=28) + struct.pack("<5I", 1, 24, 0, 0, 12) + bytes(12)
    return Outcome(Host(ask, abi).request(ask, checksum))


def a_filter_beyond_ethernet(ask: Ask, abi: Abi) -> Outcome:
    return Outcome(Host(ask, abi).request(ask, struct.pack("<I", 0x40)))


def no_row_left(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi, card(rows=0))
    return Outcome(host.request(ask, host.good()))


def no_parser_row_left(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi, card(parsers=0))
    return Outcome(host.request(ask, host.good()))


def no_parser_row_left_for_version_2(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi, card(parsers=0))
    host.settled(PARAMETERS, ipsec(v2=1))
    host.settled(ENCAPSULATION, ON_ETHERNET)
    return Outcome(host.request(ask, ipsec(v2=4)))


def a_write_fails(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi, nic_is={"impairments": [impairment("row-write-fails", 2 if ask == UPDATE else 1)]})
    return Outcome(host.request(ask, host.good()))


def a_write_for_version_2_fails(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi, nic_is={"impairments": [impairment("row-write-fails", 1)]})
    host.settled(PARAMETERS, ipsec(v2=1))
    host.settled(ENCAPSULATION, ON_ETHERNET)
    return Outcome(host.request(ask, ipsec(v2=4)))


def a_clear_fails(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi, nic_is={"impairments": [impairment("row-clear-fails", 1)]})
    buffer = host.good()
    return Outcome(host.request(ask, buffer), (len(buffer), 0, 0))


def a_second_time(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi)
    host.settled(ask, host.good())
    return Outcome(host.request(ask, host.good()))


def too_many_groups(ask: Ask, abi: Abi) -> Outcome:
    return Outcome(Host(ask, abi).request(ask, b"\x01\0\x5e\0\0\x01" * 33))


def a_link_not_claimed(ask: Ask, abi: Abi) -> Outcome:
    return Outcome(Host(ask, abi).request(ask, ON_ETHERNET[:8] + struct.pack("<I", 0x10) + ON_ETHERNET[12:]))


def an_association_not_there(ask: Ask, abi: Abi) -> Outcome:
    return Outcome(Host(ask, abi).request(ask, update(abi, 0x7777, 7)))


def without_extended_numbers(ask: Ask, abi: Abi) -> Outcome:
    host = Host(ask, abi)
    answer = host.settled(ADD_V2, chained([v2(abi=abi)], abi)).buffer
    return Outcome(host.request(ask, update(abi, IpsecOffloadV2AddSa.unpack(answer, abi).offload_handle, 7)))


DOCUMENTED_AS_NOT_ACCEPTED = (DELETE_V2, POWER)
ADDS = (ADD, ADD_UDPESP, ADD_V2, ADD_EX)
# Which requests come to a status, and how; a pair may have more than one way.
REACHED: list[tuple[NdisStatus, Way, tuple[Ask, ...]]] = [
    (S.SUCCESS, success, ASKS),
    (S.PENDING, pending, DRIVERS),
    (S.REQUEST_ABORTED, aborted, DRIVERS),
    (S.RESET_IN_PROGRESS, while_resetting, tuple(ask for ask in DRIVERS if ask not in DOCUMENTED_AS_NOT_ACCEPTED)),
    (S.NOT_ACCEPTED, while_resetting, DOCUMENTED_AS_NOT_ACCEPTED),
    (S.NOT_ACCEPTED, removed, DRIVERS),
    (S.NOT_ACCEPTED, in_low_power, tuple(ask for ask in DRIVERS if ask != POWER)),
    (S.NOT_ACCEPTED, too_many_groups, (GROUPS,)),
    (S.NOT_ACCEPTED, a_write_fails, (UPDATE,)),
    (S.FAILURE, a_write_fails, (*ADDS, ENCAPSULATION)),
    (S.FAILURE, a_write_for_version_2_fails, (PARAMETERS,)),
    (S.FAILURE, a_clear_fails, (DELETE, DELETE_UDPESP)),
    (S.FAILURE, a_second_time, (TASK_SET,)),
    (S.INVALID_PARAMETER, a_link_not_claimed, (ENCAPSULATION,)),
    (S.INVALID_PARAMETER, an_association_not_there, (UPDATE,)),
    (S.INVALID_PARAMETER, without_extended_numbers, (UPDATE,)),
    (S.RESOURCES, no_row_left, ADDS),
    (S.RESOURCES, no_parser_row_left, (ADD_UDPESP, ENCAPSULATION)),
    (S.RESOURCES, no_parser_row_left_for_version_2, (PARAMETERS,)),
    (S.NOT_SUPPORTED, not_claimed,
        (*ADDS, DELETE, DELETE_UDPESP, DELETE_V2, UPDATE, PARAMETERS, ENCAPSULATION, *BY_NDIS)),
    (S.NOT_SUPPORTED, no_offload_at_all, (ENCAPSULATION,)),
    (S.NOT_SUPPORTED, through_an_intermediate_driver, (TASK_QUERY,)),
    (S.NOT_SUPPORTED, a_task_not_reported, (TASK_SET,)),
    (S.NOT_SUPPORTED, a_filter_beyond_ethernet, (FILTER,)),
    (S.INVALID_LENGTH, too_short, tuple(ask for ask in ASKS if ask not in (*QUERIES, GROUPS))),
    (S.INVALID_LENGTH, shorter_than_the_header, (TASK_QUERY,)),
    (S.INVALID_LENGTH, half_an_address, (GROUPS,)),
    (S.INVALID_DATA, invalid, tuple(ask for ask in DRIVERS if ask != FILTER)),
    (S.BUFFER_TOO_SHORT, too_short, QUERIES),
]  # fmt: skip

# Why the others never come.
GENERAL = (S.PENDING, S.NOT_ACCEPTED, S.FAILURE, S.INVALID_PARAMETER, S.RESOURCES, S.REQUEST_ABORTED,
    S.RESET_IN_PROGRESS, S.INVALID_LENGTH, S.INVALID_DATA, S.INVALID_OID, S.LOW_POWER_STATE)  # fmt: skip
NEVER: list[tuple[tuple[NdisStatus, ...], tuple[Ask, ...], str]] = [
    (GENERAL, BY_NDIS, "NDIS answers at once, from what the driver reported: no driver, no card, no content to check."),
    ((S.LOW_POWER_STATE,), DRIVERS, "The status of sends in low power; requests are told NOT_ACCEPTED (N-RST-5)."),
    ((S.INVALID_OID,), DRIVERS, "The driver knows the request; one that nobody knows is told so."),
    ((S.BUFFER_TOO_SHORT,), tuple(ask for ask in DRIVERS if ask != TASK_QUERY),
        "A set whose buffer is too small has the wrong length (A-1)."),
    ((S.INVALID_PARAMETER,), tuple(ask for ask in DRIVERS if ask not in (ENCAPSULATION, UPDATE)),
        "6.x only, and bad contents are INVALID_DATA (A-1)."),
    ((S.RESET_IN_PROGRESS,), DOCUMENTED_AS_NOT_ACCEPTED, "Its page names NOT_ACCEPTED for a driver that is resetting."),
    ((S.FAILURE,), (DELETE_V2,), "A delete that pended must end with SUCCESS: a row that stays is marked (N-DEL-4)."),
    ((S.FAILURE,), (UPDATE, POWER), "What was tried on the card and failed is NOT_ACCEPTED, or a reset's business."),
    ((S.FAILURE,), (TASK_QUERY, FILTER, GROUPS), "It only reads or keeps a number: nothing fails."),
    ((S.RESOURCES,), (TASK_QUERY, TASK_SET, DELETE, DELETE_UDPESP, DELETE_V2, UPDATE, FILTER, GROUPS, POWER),
        "It takes no row, and nothing else is scarce."),
    ((S.NOT_SUPPORTED,), (POWER, GROUPS), "Every driver has it, and there is no form of it that a card could lack."),
    ((S.INVALID_DATA,), (FILTER,), "A bit that Ethernet does not have asks for what is not supported."),
]  # fmt: skip


def reached() -> Iterator[tuple[NdisStatus, Ask, Way]]:
    for status, way, asks in REACHED:
        for ask in asks:
            yield status, ask, way


def counts(result: OidResult) -> tuple[int, int, int]:
    return result.bytes_read, result.bytes_written, result.bytes_needed


def name(value: object) -> str | None:
    if isinstance(value, tuple):
        return f"{value[0].value}-{value[1].name}"
    return value.name if isinstance(value, NdisStatus) else getattr(value, "__name__", None)


@pytest.mark.parametrize(("status", "ask", "way"), list(reached()), ids=name)
@pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
@pytest.mark.rule("A-1", "A-9", "A-10", "N-OID-1", "N-OID-3", "N-RST-3", "N-RST-4", "N-RST-5", "N-RST-6")
def test_a_status_is_reached_with_its_byte_counts(status: NdisStatus, ask: Ask, way: Way, abi: Abi) -> None:
    outcome = way(ask, abi)
    assert outcome.result.status == status, outcome.result
    assert counts(outcome.result) == outcome.counts
    if status not in (S.SUCCESS, S.PENDING, S.BUFFER_TOO_SHORT):
        assert outcome.result.reason is not None


# --- the digest's word on it ---------------------------------------------------------------------------------------


def section(number: int) -> str:
    text = DIGEST.read_text()
    return text[text.index(f"\n## {number}. ") : text.index(f"\n## {number + 1}. ")]


def statuses_in(text: str) -> set[NdisStatus]:
    return {S[word] for word in re.findall(r"\b(?:NDIS_STATUS_)?([A-Z_]+)\b", text) if word in S.__members__}


def generic_statuses() -> set[NdisStatus]:
    _, _, table = section(2).partition("Generic set results")
    return {S[word] for word in re.findall(r"^\| NDIS_STATUS_(\w+) \|", table, re.MULTILINE)}


def documented() -> Iterator[tuple[str, set[NdisStatus]]]:
    """The lines of the first table: the OID, and the statuses that its page names."""
    table, _, _ = section(2).partition("Generic set results")
    oid = ""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[0] not in ("OID", "---"):
            oid = cells[0] or oid
            yield oid, statuses_in(cells[1])


def test_every_pair_of_request_and_status_is_reached_or_told_why_not() -> None:
    statuses = generic_statuses()
    assert len(statuses) == 14
    pairs = {(status, ask) for status, ask, _ in reached()}
    never = [pair for no, asks, _ in NEVER for pair in product(no, asks)]
    assert len(never) == len(set(never))
    for pair in product(statuses, ASKS):
        assert (pair in pairs) != (pair in never), f"{pair[0].name} of {name(pair[1])}"
    assert {status for status, _ in pairs} | {S.INVALID_OID, S.LOW_POWER_STATE} == statuses


def test_every_oid_of_section_1_is_asked_in_every_direction_that_its_table_names() -> None:
    rows = re.findall(r"^\| (OID_\w+) \| 0x[0-9A-F]+ \| ([^|]+) \|", section(1), re.MULTILINE)
    assert len(rows) == 13
    for oid, directions in rows:
        for kind in RequestKind:
            assert ((kind, Oid[oid]) in ASKS) == (kind.value in directions), (oid, kind)


def test_what_a_page_documents_for_an_oid_is_reached() -> None:
    pairs = {(status, ask[1]) for status, ask, _ in reached()}
    lines = list(documented())
    assert len(lines) >= 13
    for oids, statuses in lines:
        short = [word for word in re.findall(r"\w+", oids) if "_" in word]
        for word in short:
            oid = Oid.__members__.get(word) or Oid["OID_TCP_TASK_IPSEC_OFFLOAD_" + word]
            wanted = statuses or {S.RESOURCES, S.NOT_SUPPORTED}  # "any failure code": capacity, lost algorithm
            assert {(status, oid) for status in wanted} <= pairs


# --- what no request of section 1 comes to -------------------------------------------------------------------------


@pytest.mark.parametrize("oid", [0, 0xFC010207, 0xFC010299, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", [QUERY, SET])
@pytest.mark.rule("A-1")
def test_an_oid_that_nobody_knows_is_invalid(oid: int, kind: RequestKind) -> None:
    nic = Nic(card(), iv_source=bytes)
    result = nic.request(OidRequest(kind, oid, bytes(8), Abi.X64))
    assert (result.status, counts(result)) == (S.INVALID_OID, (0, 0, 0))


@pytest.mark.parametrize("ask", [ask for ask in product(RequestKind, Oid) if ask not in ASKS], ids=name)
@pytest.mark.rule("A-1", "N-OID-1")
def test_a_known_oid_in_a_direction_that_it_does_not_have_is_not_supported(ask: Ask) -> None:
    result = Host(ask, Abi.X64).request(ask, bytes(200))
    assert (result.status, result.reason, counts(result)) == (S.NOT_SUPPORTED, Reason.NOT_OFFERED, (0, 0, 0))


@pytest.mark.rule("N-RST-5")
def test_a_send_in_low_power_ends_with_the_status_for_it() -> None:
    host = Host(POWER, Abi.X64)
    host.settled(POWER, struct.pack("<I", 3))
    sent = host.nic.send(native_frame(), bytes(8))
    assert (sent.status, sent.frame) == (S.LOW_POWER_STATE, b"")
