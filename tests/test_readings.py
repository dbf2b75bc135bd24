"""Every reading of section 14: a switch that is tried both ways, or settled with an argument.

EXPERIMENTS says for each field of `Readings` what a host or a frame sees of it: under the digest's reading, and under
the other one. readings_settled.toml says for the rest why there is nothing to switch.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from nicsim.boundary import OidRequest, OidResult, RequestKind
from nicsim.capabilities import Losses, Readings
from nicsim.nic import Nic
from nicsim.panel.claims import READING_RULES
from nicsim.reasons import BY_NUMBER, Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.byte_order import byte_swapped
from offload_oids.ipsec_sa import OffloadIpsecAddSa
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa, IpsecOffloadV2UpdateSa
from tests.builders import host_with
from tests.card.test_layers import CASES, nic_of, outcome
from tests.driver.builders import (
    IKE_TYPE,
    KEY_3DES,
    KEY_AES,
    KEY_MD5,
    KEY_SHA256,
    OTHER_HOST,
    OUTBOUND,
    SPI,
    Bench,
    bench,
    capabilities,
    chained,
    esp_element,
    ipv6,
    native_frame,
    sa,
    sealed,
    udp_frame,
    udpesp,
    v2,
)
from tests.driver.test_enabling import ENABLE, TASK
from tests.driver.test_sequence_numbers import buffer as update
from tests.host.test_make_room import pair
from tests.oracle_esp import OracleSa
from tests.rules import DIGEST, ROOT, rule_ids

SETTLED: dict[str, str] = tomllib.loads((ROOT / "tests" / "readings_settled.toml").read_text())
LOSSES = {"A-26"}
"""Switched by `Capabilities.losses`, not by a reading: the digest calls it a fault."""
SUCCESS, INVALID, UNSUPPORTED = NdisStatus.SUCCESS, NdisStatus.INVALID_DATA, NdisStatus.NOT_SUPPORTED
AES128 = OracleSa("aes-cbc", KEY_AES[:16], "sha256", KEY_SHA256, 16)
NOT_BY_VERSION_2 = {"udp_esp": 0}


def card(readings: Readings, **changes: Any) -> Bench:
    return bench(capabilities(readings=readings, **changes)).enable()


def opens_confidentiality_first(readings: Readings) -> bool:
    nic = card(readings)
    nic.added(sa())
    return nic.receive(native_frame()) is Reason.OPENED


def the_outer_of_two_layers(readings: Readings) -> Reason:
    case = CASES[0]
    return outcome(nic_of(case, inner=False, readings=readings), case.wrap(case.inside()))[2]


def an_entry_for_another_port(readings: Readings) -> NdisStatus:
    return card(readings, version2=NOT_BY_VERSION_2).add_udpesp(udpesp(4501)).status


def an_add_with_a_handle_for_another_port(readings: Readings) -> NdisStatus:
    nic = card(readings)
    _, entry = nic.added_udpesp(udpesp())
    assert nic.add_udpesp(udpesp(entry=entry, spi=SPI + 1)).status == SUCCESS
    return nic.add_udpesp(udpesp(4501, entry=entry, spi=SPI + 2)).status


def handles_while_pending(readings: Readings) -> tuple[bool, bool, bool]:
    """Whether there are any in the buffer: of a version 1 add, one with an entry, and a version 2 list."""
    nic = Nic(capabilities(readings=readings), iv_source=bytes, row_ticks=9, serialise=False)
    seen = []
    for oid, buffer in (
        (Oid.OID_TCP_TASK_IPSEC_ADD_SA, sa().pack(Abi.X64)),
        (Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, udpesp().pack(Abi.X64)),
        (Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, chained([v2()], Abi.X64)),
    ):
        nic = Nic(capabilities(readings=readings), iv_source=bytes, row_ticks=9)
        pending = nic.request(OidRequest(RequestKind.SET, oid, buffer, Abi.X64))
        assert pending.status == NdisStatus.PENDING
        seen.append(pending.buffer != buffer)
    return seen[0], seen[1], seen[2]


def bytes_needed(readings: Readings) -> tuple[int, int]:
    """Of a delete of 3 bytes that needs 8, and of a query of 30 whose answer has 72."""
    short = card(readings).set(Oid.OID_TCP_TASK_IPSEC_DELETE_SA, bytes(3))
    small = bench(capabilities("ndis51", readings=readings)).request(RequestKind.QUERY, TASK, ENABLE[:28] + bytes(2))
    return short.bytes_needed, small.bytes_needed


def a_second_enabling_set(readings: Readings) -> NdisStatus:
    nic = bench(capabilities("ndis51", readings=readings))
    assert nic.set(TASK, ENABLE).status == SUCCESS
    return nic.set(TASK, ENABLE).status


def a_packet_to_another_host_than_one_with_mask_zero(readings: Readings) -> Reason:
    nic = card(readings)
    nic.added(sa(dest_mask=bytes(4)))
    return nic.receive(native_frame(dst=OTHER_HOST))


def an_integrity_key_of_16_bytes_for_sha_1(readings: Readings) -> Reason | NdisStatus:
    """A key that is too long is refused in either reading, and so is a cipher key that is too short."""
    nic = card(readings)
    element = esp_element()
    for conf, integrity in ((24, 21), (23, 20), (24, 0)):
        wrong = replace(
            element,
            conf_algo=replace(element.conf_algo, algo_keylen=conf),
            integrity_algo=replace(element.integrity_algo, algo_keylen=integrity),
        )
        assert nic.add_sa(sa(sec_assoc=(wrong,), key_mat=bytes(conf + integrity))).status == INVALID
    short = replace(element, integrity_algo=replace(element.integrity_algo, algo_keylen=16))
    result = nic.add_sa(sa(sec_assoc=(short,), key_mat=KEY_3DES + KEY_MD5))
    oracle = OracleSa("3des", KEY_3DES, "sha1", KEY_MD5, 12)
    return nic.receive(native_frame(oracle)) if result.status == SUCCESS else result.status


def entries_left_by_a_delete_that_the_driver_asked_for(readings: Readings) -> int:
    into, out = pair(0x1000)
    host = host_with([into, out], capabilities("ndis60", readings=readings))
    host.offloader.answer_delete_request(host.offloaded[0])
    return len(host.nic.driver.state.parser_entries)


def two_handles_in_one_word_of_6_0(readings: Readings) -> tuple[NdisStatus, bool]:
    """Whether a send of two portions, whose word has NextOffloadHandle behind the first, seals both."""
    case = CASES[0]
    handed_down = nic_of(case).card.receive(case.wrap(case.inside()))[0]
    nic = bench(capabilities("ndis60", readings=readings, rows=8))
    inner, outer = nic.added(case.transport(OUTBOUND)), nic.added(case.tunnel(OUTBOUND))
    sent = nic.driver.send(handed_down, inner.to_bytes(8, "little") + outer.to_bytes(8, "little"))
    return sent.status, sent.frame == case.wrap(case.inside())


def swapped_requests(readings: Readings) -> list[Reason | NdisStatus]:
    """What becomes of packets and of updates, when requests have SPIs, ports and addresses in the other byte order."""
    abi = Abi.X64
    caps = capabilities(readings=readings, version2={"extended_sequence_numbers": True}, rows=8)
    nic = Nic(caps, iv_source=bytes, abi=abi)

    def request(oid: int, buffer: bytes) -> OidResult:
        return nic.request(OidRequest(RequestKind.SET, oid, buffer, abi))

    request(Oid.OID_OFFLOAD_ENCAPSULATION, bytes([0xA8, 1, 28, 0]) + struct.pack("<6I", 1, 2, 14, 1, 2, 14))
    other = [byte_swapped(add, abi) for add in (sa(), v2(SPI + 2, element={"flags": 1}))]
    answer = OffloadIpsecAddSa.unpack(request(Oid.OID_TCP_TASK_IPSEC_ADD_SA, other[0].pack(abi)).buffer, abi)
    assert replace(answer, offload_handle=0) == other[0]  # the answer is as the host wrote it, but for the handle
    request(Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, byte_swapped(udpesp(spi=SPI + 1), abi).pack(abi))
    list_of_one = request(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, chained([other[1]], abi)).buffer
    extended = IpsecOffloadV2AddSa.unpack(list_of_one, abi).offload_handle
    as_in_a_packet = update(abi, extended, 7, spi=SPI + 2)
    written_so = byte_swapped(IpsecOffloadV2UpdateSa.unpack(as_in_a_packet, abi), abi).pack(abi)
    updates = [request(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, one) for one in (written_so, as_in_a_packet)]
    request(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, chained([byte_swapped(v2(SPI + 3), abi)], abi))
    native_ipv6 = v2(SPI + 4, ipv6=True, udp_esp_encapsulation=0)
    request(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, chained([spi_swapped(native_ipv6)], abi))
    frames = native_frame(), udp_frame(spi=SPI + 1), udp_frame(AES128, SPI + 3), ipv6(50, sealed(AES128, SPI + 4))
    seen = [BY_NUMBER[nic.receive(frame)[1].reason] for frame in frames]
    return [*seen, *(one.status for one in updates)]


def spi_swapped(add: IpsecOffloadV2AddSa) -> IpsecOffloadV2AddSa:
    """IPv6 addresses are bytes in either reading."""
    return replace(byte_swapped(add, Abi.X64), endpoints=add.endpoints)


def udp_esp_over_ipv6(readings: Readings) -> NdisStatus:
    nic = card(readings)
    assert nic.add_v2(v2(SPI + 1)).status == SUCCESS
    assert nic.add_v2(v2(SPI + 2, ipv6=True, udp_esp_encapsulation=0)).status == SUCCESS
    return nic.add_v2(v2(ipv6=True)).status


def the_status_of_a_lone_native_layer_that_fails(readings: Readings) -> int:
    nic = card(readings)
    nic.added_v2(v2(udp_esp_encapsulation=0))
    return nic.card.receive(native_frame(replace(AES128, mac_key=bytes(32))))[1].crypto_status


def an_entry_of_another_type_for_the_same_port(readings: Readings) -> NdisStatus:
    nic = card(readings, version2=NOT_BY_VERSION_2)
    nic.added_udpesp(udpesp())
    return nic.add_udpesp(udpesp(kind=IKE_TYPE, spi=SPI + 1)).status


OPENED = Reason.OPENED
# Field, experiment, and what it shows under the digest's reading and under the other.
EXPERIMENTS: dict[str, tuple[Callable[[Readings], object], object, object]] = {
    "confidentiality_key_first": (opens_confidentiality_first, True, False),
    "outer_layer_alone_is_processed": (the_outer_of_two_layers, OPENED, Reason.INNER_NOT_OFFLOADED),
    "other_ports_need_ike_flags": (an_entry_for_another_port, SUCCESS, INVALID),
    "parser_handle_wins": (an_add_with_a_handle_for_another_port, SUCCESS, INVALID),
    "handles_published_when_accepted": (handles_while_pending, (True, True, True), (False, False, False)),
    "bytes_needed_is_total": (bytes_needed, (8, 72), (5, 42)),
    "second_enabling_set_fails": (a_second_enabling_set, NdisStatus.FAILURE, SUCCESS),
    "mask_zero_is_any": (a_packet_to_another_host_than_one_with_mask_zero, OPENED, Reason.FILTER_MISMATCH),
    "integrity_keys_are_exact": (an_integrity_key_of_16_bytes_for_sha_1, INVALID, OPENED),
    "delete_request_keeps_the_oid": (entries_left_by_a_delete_that_the_driver_asked_for, 0, 1),
    "one_association_per_send_in_6_0": (
        two_handles_in_one_word_of_6_0,
        (NdisStatus.FAILURE, False),
        (SUCCESS, True),
    ),
    "wire_byte_order": (
        swapped_requests,
        [*[Reason.SA_NOT_OFFLOADED] * 4, SUCCESS, NdisStatus.INVALID_PARAMETER],
        [*[OPENED] * 4, SUCCESS, NdisStatus.INVALID_PARAMETER],
    ),
    "version2_udp_esp_over_ipv6": (udp_esp_over_ipv6, SUCCESS, UNSUPPORTED),
    "lone_native_esp_is_transport": (the_status_of_a_lone_native_layer_that_fails, 3, 5),
    "one_parser_type_per_port": (an_entry_of_another_type_for_the_same_port, INVALID, SUCCESS),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.rule(
    "A-2", "A-4", "A-5", "A-6", "A-10", "A-13", "A-15", "A-19", "A-21", "A-25", "A-28", "A-32", "A-33", "A-35"
)
def test_the_two_values_of_a_reading_make_the_difference_that_they_say(name: str) -> None:
    experiment, under_the_digest, otherwise = EXPERIMENTS[name]
    assert under_the_digest != otherwise
    assert experiment(Readings()) == under_the_digest
    assert experiment(Readings(**{name: False})) == otherwise


@pytest.mark.parametrize("ends", ["on_reset", "on_d3"])
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.rule("A-26")
def test_associations_outlive_a_reset_and_low_power_or_do_not_as_the_card_has_it(ends: str, lost: bool) -> None:
    nic = Nic(replace(capabilities(), losses=Losses(**{ends: lost})), iv_source=bytes)

    def request(oid: int, buffer: bytes) -> OidResult:
        return nic.request(OidRequest(RequestKind.SET, oid, buffer, Abi.X64))

    request(Oid.OID_OFFLOAD_ENCAPSULATION, bytes([0xA8, 1, 28, 0]) + struct.pack("<6I", 1, 2, 14, 1, 2, 14))
    added = request(Oid.OID_TCP_TASK_IPSEC_ADD_SA, sa().pack(Abi.X64)).buffer
    handle = OffloadIpsecAddSa.unpack(added, Abi.X64).offload_handle.to_bytes(8, "little")
    if ends == "on_reset":
        assert nic.reset() == SUCCESS
    else:
        for state in (4, 1):
            assert request(Oid.OID_PNP_SET_POWER, struct.pack("<I", state)).status == SUCCESS
    seen = BY_NUMBER[nic.receive(native_frame())[1].reason]
    deleted = request(Oid.OID_TCP_TASK_IPSEC_DELETE_SA, handle).status
    assert (seen, deleted) == ((Reason.SA_NOT_OFFLOADED, INVALID) if lost else (OPENED, SUCCESS))


def test_every_field_of_readings_is_tried_and_defaults_to_the_digest() -> None:
    assert set(EXPERIMENTS) == {field.name for field in fields(Readings)} == set(READING_RULES)
    assert all(field.default is True for field in fields(Readings))


def test_every_reading_of_the_digest_is_a_switch_or_settled() -> None:
    readings = [rule for rule in rule_ids(DIGEST.read_text()) if rule.startswith("A-")]
    assert readings == [f"A-{number}" for number in range(1, 39)]
    switched = set(READING_RULES.values()) | LOSSES
    assert switched.isdisjoint(SETTLED)
    assert switched | set(SETTLED) == set(readings)
    for argument in SETTLED.values():
        assert argument.endswith(".")
        assert len(argument) > 40


def test_what_the_digest_calls_a_knob_is_one() -> None:
    text = DIGEST.read_text()
    section = text[text.index("\n## 14.") :]
    knobs = [
        line.split("**")[1].split()[0] for line in section.splitlines() if line.startswith("- **A-") and "knob" in line
    ]
    assert {"A-2", "A-13", "A-28"} <= set(knobs)
    assert set(knobs) <= set(READING_RULES.values()) | LOSSES


@pytest.mark.rule("A-28")
def test_swapping_bytes_twice_gives_the_same_and_touches_nothing_else() -> None:
    for abi in Abi:
        for add in (sa(), udpesp(4501), v2(abi=abi)):
            once = byte_swapped(add, abi)
            assert once.pack(abi) != add.pack(abi)
            assert byte_swapped(once, abi).pack(abi) == add.pack(abi)
        once = byte_swapped(udpesp(4501, src_port=7), abi)
        assert (once.dst_addr, once.encap_type_entry.dst_encap_port, once.src_port) == (
            bytes([2, 2, 0, 192]),
            0x9511,
            0x0700,
        )
        assert once.sec_assoc[0].spi == 0x0D0C0B0A
        assert (once.flags, once.protocol, once.key_mat) == (1, 17, udpesp().key_mat)
