"""Version 2 add and delete: lists and their pointers, algorithms, and which of a list were taken on."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from nicsim.boundary import Portion, Table, UdpType
from nicsim.capabilities import Readings
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ndis_offload import NdisObjectHeader
from tests.driver.builders import (
    BASE,
    HERE6,
    KEY_3DES,
    KEY_AES,
    KEY_DES,
    KEY_MD5,
    KEY_SHA1,
    KEY_SHA256,
    ON,
    OTHER_HOST,
    PEER6,
    SALT,
    SPI,
    bench,
    capabilities,
    chained,
    ipv6,
    native_frame,
    sa,
    sealed,
    udp,
    udp_frame,
    udpesp,
    v2,
)
from tests.oracle_esp import OracleSa

ABIS = pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
ADD = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA
DELETE = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA
INVALID, UNSUPPORTED = NdisStatus.INVALID_DATA, NdisStatus.NOT_SUPPORTED
AES128 = OracleSa("aes-cbc", KEY_AES[:16], "sha256", KEY_SHA256, 16)
# From the layouts: where Next, the handle, KeyLength and the keys lie.
NEXT = {Abi.X86: 4, Abi.X64: 8}
HANDLE = {Abi.X86: 48, Abi.X64: 56}
KEY_DATA = {Abi.X86: 156, Abi.X64: 168}
HEADER_SIZE = {Abi.X86: 157, Abi.X64: 169}
NO_AUTHENTICATION = (0, 0, 0, 0)


def handles(result, buffer_offsets: list[int], abi: Abi) -> list[int]:
    at, width = HANDLE[abi], abi.pointer_size
    return [int.from_bytes(result.buffer[o + at : o + at + width], "little") for o in buffer_offsets]


def offsets(buffer: bytes, abi: Abi, base: int = BASE) -> list[int]:
    """Where the elements of a list lie, by its Next pointers."""
    places, width = [0], abi.pointer_size
    while pointer := int.from_bytes(buffer[places[-1] + NEXT[abi] : places[-1] + NEXT[abi] + width], "little"):
        places.append(pointer - base)
    return places


# --- adding -----------------------------------------------------------------------------------------------------


@ABIS
@pytest.mark.rule("N-V2-8", "N-V2-10", "N-V2-11", "A-28")
def test_an_add_writes_one_handle_and_nothing_else(abi: Abi) -> None:
    nic = bench(abi=abi).enable()
    before = v2(abi=abi).pack(abi)
    result = nic.direct(ADD, before)
    (handle,) = handles(result, [0], abi)
    at, width = HANDLE[abi], abi.pointer_size
    assert result.status == NdisStatus.SUCCESS
    assert handle != 0
    assert result.buffer == before[:at] + handle.to_bytes(width, "little") + before[at + width :]
    assert (result.bytes_read, result.bytes_needed) == (len(before), 0)
    assert nic.driver.state.associations[handle].version == 2
    assert nic.receive(udp_frame(AES128)) is Reason.OPENED


@ABIS
@pytest.mark.parametrize("refused_at", [0, 1, 2])
@pytest.mark.rule("N-V2-11")
def test_a_list_is_taken_on_in_part_and_the_rest_get_a_null_handle(abi: Abi, refused_at: int) -> None:
    nic = bench(abi=abi).enable()
    adds = [v2(SPI + number, abi=abi, offload_handle=0x77) for number in range(3)]
    adds[refused_at] = v2(0, abi=abi, offload_handle=0x77)
    buffer = chained(adds, abi)
    result = nic.direct(ADD, buffer)
    assert result.status == NdisStatus.SUCCESS
    assert result.reason is Reason.SPI_ZERO
    given = handles(result, offsets(buffer, abi), abi)
    assert [handle == 0 for handle in given] == [number == refused_at for number in range(3)]
    assert set(nic.driver.state.associations) == set(given) - {0}
    assert len(set(given)) == 3
    for number in range(3):
        wanted = Reason.SA_NOT_OFFLOADED if number == refused_at else Reason.OPENED
        assert nic.receive(udp_frame(AES128, SPI + number)) is wanted


@pytest.mark.rule("N-V2-11")
def test_a_list_of_which_none_was_taken_on_fails_with_the_first_reason_and_changes_nothing() -> None:
    nic = bench()
    before = nic.snapshot()
    buffer = chained([v2(0), v2(num_ext_hdrs=3), v2(num_ext_hdrs=0)], nic.abi)
    result = nic.direct(ADD, buffer)
    nic.refuses(result, INVALID, Reason.SPI_ZERO)
    assert result.buffer == buffer
    assert nic.snapshot() == before


@pytest.mark.rule("N-V2-4", "N-V2-11")
def test_capacity_is_exhausted_one_by_one_and_comes_back_with_deletes() -> None:
    nic = bench(capabilities(rows=2)).enable()
    buffer = chained([v2(SPI + number) for number in range(3)], nic.abi)
    result = nic.direct(ADD, buffer)
    first, second, third = handles(result, offsets(buffer, nic.abi), nic.abi)
    assert (result.status, result.reason, third) == (NdisStatus.SUCCESS, Reason.SA_TABLE_FULL, 0)
    full = nic.snapshot()
    nic.refuses(nic.add_v2(v2(SPI + 5)), NdisStatus.RESOURCES, Reason.SA_TABLE_FULL)
    assert nic.snapshot() == full
    assert nic.delete_v2(first, second).status == NdisStatus.SUCCESS
    assert nic.added_v2(v2(SPI + 5))


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.rule("N-V2-11")
def test_a_row_that_the_card_fails_costs_only_its_own_association(failing: int) -> None:
    nic = bench().enable()
    nic.card.fail_writes = {len(nic.card.writes) + failing}
    buffer = chained([v2(SPI + number) for number in range(3)], nic.abi)
    result = nic.direct(ADD, buffer)
    given = handles(result, offsets(buffer, nic.abi), nic.abi)
    assert [handle == 0 for handle in given] == [number == failing for number in range(3)]
    assert len(nic.rows[Table.INBOUND]) == len(nic.driver.state.associations) == 2
    assert len(nic.free(Table.INBOUND)) == 2


@pytest.mark.rule("N-V2-8")
def test_without_the_inbound_flag_an_add_is_outbound() -> None:
    nic = bench()
    nic.added_v2(v2(flags=0))
    assert nic.rows[Table.INBOUND] == {}
    assert nic.row(Table.OUTBOUND).spi == SPI


@pytest.mark.rule("N-V2-8", "N-V2-17")
def test_only_the_destination_is_compared_and_zero_is_any() -> None:
    nic = bench().enable()
    nic.added_v2(v2())
    assert nic.receive(udp_frame(AES128, src=OTHER_HOST)) is Reason.OPENED
    assert nic.receive(udp_frame(AES128, dst=OTHER_HOST)) is Reason.FILTER_MISMATCH
    wild = bench().enable()
    zeros = replace(v2().endpoints, ipv4_endpoints=replace(v2().endpoints.ipv4_endpoints, dest_addr=bytes(4)))
    wild.added_v2(v2(endpoints=zeros))
    assert wild.receive(udp_frame(AES128, dst=OTHER_HOST)) is Reason.OPENED


@pytest.mark.rule("N-V2-8", "A-32")
def test_the_ipv6_flag_selects_the_other_arm_of_the_endpoints() -> None:
    nic = bench().enable()
    nic.encapsulate(ON, ON)
    nic.added_v2(v2(ipv6=True))
    assert (nic.row().family, nic.row().destination_address) == (6, HERE6)
    assert nic.receive(ipv6(17, udp(sealed(AES128)))) is Reason.OPENED
    assert nic.receive(ipv6(17, udp(sealed(AES128)), dst=PEER6)) is Reason.FILTER_MISMATCH
    assert nic.receive(udp_frame(AES128)) is Reason.FILTER_MISMATCH


# --- how packets ride, and which portion they are -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "portion"), [(1, Portion.TRANSPORT), (2, Portion.TUNNEL), (4, Portion.TUNNEL), (8, Portion.TRANSPORT)]
)
@pytest.mark.rule("N-V2-2", "A-35", "N-ENC-2")
def test_each_udp_subtype_names_its_portion_and_must_be_claimed(flag: int, portion: Portion) -> None:
    nic = bench(capabilities(version2={"udp_esp": flag}))
    nic.added_v2(v2(udp_esp_encapsulation=flag))
    assert (nic.row().portion, nic.row().udp_type) == (portion, UdpType.OTHER)
    without = bench(capabilities(version2={"udp_esp": 15 & ~flag}))
    before = without.snapshot()
    without.refuses(without.add_v2(v2(udp_esp_encapsulation=flag)), UNSUPPORTED, Reason.SUBTYPE_NOT_CLAIMED)
    assert without.snapshot() == before


@pytest.mark.parametrize(("reading", "status"), [(True, 3), (False, 5)])
@pytest.mark.rule("A-35", "N-RX-15", "N-RX-16")
def test_a_lone_native_layer_that_fails_is_transport_or_tunnel_by_the_reading(reading: bool, status: int) -> None:
    nic = bench(capabilities(readings=Readings(lone_native_esp_is_transport=reading))).enable()
    nic.added_v2(v2(udp_esp_encapsulation=0))
    assert nic.receive(native_frame(AES128)) is Reason.OPENED
    _, descriptor = nic.card.receive(native_frame(replace(AES128, mac_key=bytes(32))))
    assert (descriptor.crypto_done, descriptor.crypto_status) == (1, status)


@pytest.mark.rule("A-34", "N-V2-8")
def test_enabling_gives_version_2_a_parser_row_of_its_own_that_no_handle_names() -> None:
    nic = bench()
    assert nic.rows[Table.PARSER] == {}
    nic.enable()
    ((_, row),) = nic.rows[Table.PARSER].items()
    assert (row.port, row.udp_type) == (4500, UdpType.OTHER)
    assert nic.driver.state.parser_entries == {}
    # Any other port stays unparsed, and its packets with the host.
    nic.added_v2(v2())
    assert nic.receive(udp_frame(AES128)) is Reason.OPENED
    assert nic.receive(udp_frame(AES128, dst_port=4501)) is Reason.NO_PARSER_ENTRY
    # Enabling again makes no second one; a card that claims no UDP-ESP in version 2 gets none.
    nic.enable()
    assert len(nic.rows[Table.PARSER]) == 1
    assert bench(capabilities(version2={"udp_esp": 0})).enable().rows[Table.PARSER] == {}


@pytest.mark.rule("A-34")
def test_a_version_1_entry_for_another_port_does_not_carry_version_2_packets() -> None:
    nic = bench().enable()
    nic.added_udpesp(udpesp(port=4501, spi=SPI + 1))
    nic.added_v2(v2())
    assert nic.receive(udp_frame(AES128, dst_port=4501)) is Reason.ENCAPSULATION_MISMATCH


@pytest.mark.rule("A-34")
def test_deleting_version_1s_entry_for_4500_leaves_version_2s_row() -> None:
    nic = bench().enable()
    nic.added_v2(v2())
    handle, entry = nic.added_udpesp(udpesp(spi=SPI + 1))
    assert nic.delete_udpesp(handle, entry).status == NdisStatus.SUCCESS
    assert nic.receive(udp_frame(AES128)) is Reason.OPENED


# --- algorithms and keys ------------------------------------------------------------------------------------------

CIPHERS = [
    ((0x001, 0, 0, 0), (0x2, 20, 0, 0), KEY_SHA1, OracleSa("null", b"", "sha1", KEY_SHA1, 12)),
    ((0x002, 8, 0, 0), (0x1, 16, 8, 0), KEY_DES + KEY_MD5, OracleSa("des", KEY_DES, "md5", KEY_MD5, 12)),
    ((0x004, 24, 0, 0), (0x2, 20, 24, 0), KEY_3DES + KEY_SHA1, OracleSa("3des", KEY_3DES, "sha1", KEY_SHA1, 12)),
    ((0x040, 16, 0, 0), (0x4, 32, 16, 0), KEY_AES[:16] + KEY_SHA256, AES128),
    (
        (0x080, 24, 0, 0),
        (0x4, 32, 24, 0),
        KEY_AES[:24] + KEY_SHA256,
        OracleSa("aes-cbc", KEY_AES[:24], "sha256", KEY_SHA256, 16),
    ),
    (
        (0x100, 32, 0, 0),
        (0x4, 32, 32, 0),
        KEY_AES + KEY_SHA256,
        OracleSa("aes-cbc", KEY_AES, "sha256", KEY_SHA256, 16),
    ),
    # The hash key may come first, and the two may lie anywhere: the offsets say so (N-V2-10).
    ((0x040, 16, 40, 0), (0x4, 32, 3, 0), b"..." + KEY_SHA256 + b"....." + KEY_AES[:16] + b"..", AES128),
]


@ABIS
@pytest.mark.parametrize(("encryption", "authentication", "key", "oracle"), CIPHERS)
@pytest.mark.rule("N-V2-3", "N-V2-10", "A-31")
def test_each_cipher_and_hash_opens_what_the_oracle_sealed(encryption, authentication, key, oracle, abi: Abi) -> None:
    nic = bench(abi=abi).enable()
    nic.added_v2(v2(encryption=encryption, authentication=authentication, key=key, abi=abi))
    assert nic.receive(udp_frame(oracle)) is Reason.OPENED
    assert nic.receive(udp_frame(replace(oracle, mac_key=bytes(32)))) is Reason.ICV_WRONG


@pytest.mark.parametrize(("identifier", "length"), [(0x08, 16), (0x10, 24), (0x20, 32)])
@pytest.mark.parametrize("icv", [8, 12, 16])
@pytest.mark.rule("N-V2-9", "A-31")
def test_gcm_takes_its_salt_from_the_end_of_the_key_and_its_icv_length_from_the_info(
    identifier: int, length: int, icv: int
) -> None:
    nic = bench().enable()
    add = v2(encryption=(identifier, length + 4, 0, icv), authentication=NO_AUTHENTICATION, key=KEY_AES[:length] + SALT)
    nic.added_v2(add)
    oracle = OracleSa("aes-gcm", KEY_AES[:length], "", b"", icv, SALT)
    assert nic.receive(udp_frame(oracle)) is Reason.OPENED
    assert nic.receive(udp_frame(replace(oracle, salt=SALT[::-1]))) is Reason.ICV_WRONG
    salt_first = bench().enable()
    salt_first.added_v2(replace(add, key_data=SALT + KEY_AES[:length]))
    assert salt_first.receive(udp_frame(oracle)) is Reason.ICV_WRONG


GCM = {"authentication": NO_AUTHENTICATION, "key": KEY_AES[:16] + SALT}
REFUSED = [
    *(({**GCM, "encryption": (8, 20, 0, icv)}, INVALID, Reason.BUFFER_CONTENTS) for icv in (0, 4, 9, 20, 0xFFFFFFFF)),
    ({**GCM, "encryption": (8, 16, 0, 16)}, INVALID, Reason.KEY_LENGTH),
    ({"encryption": (0x40, 24, 0, 0)}, INVALID, Reason.KEY_LENGTH),
    ({"authentication": (4, 20, 16, 0)}, INVALID, Reason.KEY_LENGTH),
    ({"encryption": (0x40, 16, 33, 0)}, INVALID, Reason.KEY_LENGTH),
    ({"authentication": (4, 32, 17, 0)}, INVALID, Reason.KEY_LENGTH),
    ({"authentication": (4, 32, 0xFFFFFFFF, 0)}, INVALID, Reason.KEY_LENGTH),
    ({"encryption": (0x40, 16, 0xFFFFFFF8, 0)}, INVALID, Reason.KEY_LENGTH),
    ({"encryption": (0x200, 16, 0, 0)}, INVALID, Reason.BUFFER_CONTENTS),
    ({"encryption": (0x48, 16, 0, 0)}, INVALID, Reason.BUFFER_CONTENTS),
    ({"authentication": NO_AUTHENTICATION}, INVALID, Reason.NOT_AUTHENTICATED),
    ({"authentication": (8, 16, 16, 0)}, UNSUPPORTED, Reason.ALGORITHM_NOT_CLAIMED),
    ({"num_ext_hdrs": 0}, INVALID, Reason.NUMBER_OF_SAS),
    ({"num_ext_hdrs": 3}, INVALID, Reason.NUMBER_OF_SAS),
    ({"num_ext_hdrs": 0xFFFFFFFF}, INVALID, Reason.NUMBER_OF_SAS),
    ({"num_ext_hdrs": 2}, INVALID, Reason.NUMBER_OF_SAS),
    ({"element": {"operation": 1}}, UNSUPPORTED, Reason.AH_NOT_CLAIMED),
    ({"element": {"operation": 3}}, INVALID, Reason.NUMBER_OF_SAS),
    ({"flags": 0x2}, INVALID, Reason.BUFFER_CONTENTS),
    ({"flags": 0x80000001}, INVALID, Reason.BUFFER_CONTENTS),
    *(({"udp_esp_encapsulation": value}, INVALID, Reason.BUFFER_CONTENTS) for value in (3, 5, 16, 0xFFFFFFFF)),
]


@ABIS
@pytest.mark.parametrize(("changes", "status", "reason"), REFUSED)
@pytest.mark.rule("N-V2-7", "N-V2-8", "N-V2-9", "N-V2-10", "N-V2-2", "N-OID-3")
def test_what_is_out_of_range_or_not_claimed_is_refused_and_changes_nothing(changes, status, reason, abi: Abi) -> None:
    nic = bench(abi=abi)
    before = nic.snapshot()
    buffer = v2(abi=abi, **changes).pack(abi)
    result = nic.direct(ADD, buffer)
    nic.refuses(result, status, reason)
    assert result.buffer == buffer
    assert nic.snapshot() == before


@pytest.mark.rule("N-V2-7")
def test_esp_then_ah_is_legal_but_not_claimed_and_ah_then_esp_is_invalid() -> None:
    nic = bench()
    (esp,) = v2().sec_assoc
    ah = replace(esp, operation=1)
    nic.refuses(nic.add_v2(v2(num_ext_hdrs=2, sec_assoc=(esp, ah))), UNSUPPORTED, Reason.AH_NOT_CLAIMED)
    nic.refuses(nic.add_v2(v2(num_ext_hdrs=2, sec_assoc=(ah, esp))), INVALID, Reason.NUMBER_OF_SAS)


@pytest.mark.parametrize(
    ("claims", "changes", "reason"),
    [
        ({"ipv6": False}, {"ipv6": True}, Reason.IPV6_NOT_CLAIMED),
        ({"encryption": 0x1FF & ~0x40}, {}, Reason.ALGORITHM_NOT_CLAIMED),
        ({"encryption": 0x1FF & ~0x8}, {**GCM, "encryption": (8, 20, 0, 16)}, Reason.ALGORITHM_NOT_CLAIMED),
        ({"authentication": 0x3F & ~0x4}, {}, Reason.ALGORITHM_NOT_CLAIMED),
    ],
)
@pytest.mark.rule("N-V2-1", "N-V2-3")
def test_what_version_2_does_not_claim_is_not_supported(claims, changes, reason) -> None:
    nic = bench(capabilities(version2=claims))
    before = nic.snapshot()
    nic.refuses(nic.add_v2(v2(**changes)), UNSUPPORTED, reason)
    assert nic.snapshot() == before
    assert bench().add_v2(v2(**changes)).status == NdisStatus.SUCCESS


@pytest.mark.rule("N-V2-9")
def test_an_esn_association_is_taken_where_esn_is_claimed() -> None:
    nic = bench(capabilities(version2={"extended_sequence_numbers": True}))
    assert nic.added_v2(v2(element={"flags": 1}))


def test_a_card_without_version_2_offers_no_version_2_add() -> None:
    nic = bench(capabilities("ndis51"))
    nic.refuses(nic.add_v2(v2()), UNSUPPORTED, Reason.NOT_OFFERED)


# --- headers, lengths and pointers --------------------------------------------------------------------------------


@ABIS
@pytest.mark.parametrize(
    "change", [(0x81, 1, 0), (0, 0, 0), (0x80, 0, 0), (0x80, 2, 0), (0x80, 1, -1), (0x80, 1, -157)]
)
@pytest.mark.rule("N-V2-6")
def test_a_header_of_another_type_revision_or_too_small_a_size_is_refused(change, abi: Abi) -> None:
    nic = bench(abi=abi)
    kind, revision, less = change
    header = NdisObjectHeader(kind, revision, HEADER_SIZE[abi] + less)
    before = nic.snapshot()
    nic.refuses(nic.direct(ADD, v2(abi=abi, header=header).pack(abi)), INVALID, Reason.HEADER_WRONG)
    # In a list the wrong header of a later element refuses the whole: nobody can say what it is.
    later = chained([v2(abi=abi), v2(SPI + 1, abi=abi, header=header)], abi)
    nic.refuses(nic.direct(ADD, later), INVALID, Reason.HEADER_WRONG)
    assert nic.snapshot() == before


@ABIS
@pytest.mark.rule("N-V2-6")
def test_a_header_size_of_the_padded_structure_is_enough(abi: Abi) -> None:
    nic = bench(abi=abi)
    sizeof = {Abi.X86: 160, Abi.X64: 176}[abi]
    assert nic.added_v2(v2(abi=abi, header=NdisObjectHeader(0x80, 1, sizeof)))


@ABIS
@pytest.mark.rule("A-10", "A-38")
def test_every_truncation_of_a_list_is_refused_with_the_bytes_needed(abi: Abi) -> None:
    nic = bench(abi=abi)
    before = nic.snapshot()
    whole = chained([v2(abi=abi), v2(SPI + 1, abi=abi)], abi)
    second = offsets(whole, abi)[1]
    for length in range(len(whole)):
        result = nic.direct(ADD, whole[:length])
        if KEY_DATA[abi] + 48 <= length <= second:
            # The first element is whole, and its pointer leads out of the buffer.
            nic.refuses(result, INVALID, Reason.POINTER_WRONG)
            continue
        nic.refuses(result, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
        start = second if length > second else 0
        known = length >= start + KEY_DATA[abi]
        assert result.bytes_needed == start + KEY_DATA[abi] + (48 if known else 0)
    assert nic.snapshot() == before


@ABIS
@pytest.mark.parametrize("key_length", [49, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.rule("A-10")
def test_a_key_length_that_lies_is_invalid_length(key_length: int, abi: Abi) -> None:
    nic = bench(abi=abi)
    buffer = bytearray(v2(abi=abi).pack(abi))
    buffer[KEY_DATA[abi] - 4 : KEY_DATA[abi]] = struct.pack("<I", key_length)
    result = nic.direct(ADD, bytes(buffer))
    nic.refuses(result, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
    assert result.bytes_needed == KEY_DATA[abi] + key_length


def with_next(buffer: bytes, element: int, pointer: int, abi: Abi) -> bytes:
    at = element + NEXT[abi]
    return buffer[:at] + pointer.to_bytes(abi.pointer_size, "little") + buffer[at + abi.pointer_size :]


@ABIS
@pytest.mark.parametrize("base", [0x1000, 0x80000000])
@pytest.mark.rule("A-38")
def test_a_pointer_outside_the_buffer_misaligned_or_going_round_is_refused(abi: Abi, base: int) -> None:
    nic = bench(abi=abi).enable()
    before = nic.snapshot()
    whole = chained([v2(abi=abi), v2(SPI + 1, abi=abi)], abi, base)
    second = offsets(whole, abi, base)[1]
    assert nic.direct(ADD, whole, base=base).status == NdisStatus.SUCCESS  # as it stands, the list is good
    nic.delete_v2(*list(nic.driver.state.associations))
    assert nic.snapshot() == before
    outside = [base - 16, base + len(whole), base + (len(whole) + 15) // 16 * 16, 16, (1 << 8 * abi.pointer_size) - 16]
    misaligned = [base + second + step for step in (1, 2, 3)]
    wrong = [(0, pointer) for pointer in (*outside, *misaligned)]
    # Round: to itself, and from the second back to the first or to itself.
    wrong += [(0, base), (second, base), (second, base + second)]
    for element, pointer in wrong:
        result = nic.direct(ADD, with_next(whole, element, pointer, abi), base=base)
        assert (result.status, result.reason) == (INVALID, Reason.POINTER_WRONG), hex(pointer)
    assert nic.snapshot() == before


@ABIS
@pytest.mark.rule("A-38")
def test_a_pointer_into_the_middle_of_another_element_is_refused_even_where_an_element_lies_there(abi: Abi) -> None:
    nic = bench(abi=abi)
    before = nic.snapshot()
    hidden = v2(SPI + 1, abi=abi).pack(abi)
    gap = -KEY_DATA[abi] % 16
    key = (KEY_AES[:16] + KEY_SHA256 + bytes(gap)).ljust(48 + gap, b"\0") + hidden
    outer = v2(abi=abi, key=key, next=BASE + KEY_DATA[abi] + 48 + gap)
    nic.refuses(nic.direct(ADD, outer.pack(abi)), INVALID, Reason.POINTER_WRONG)
    # Into plain members of the element itself: whatever it reads there, it is not taken.
    result = nic.direct(ADD, v2(abi=abi, next=BASE + 16, key=KEY_AES[:16] + KEY_SHA256 + bytes(200)).pack(abi))
    assert result.status in (INVALID, NdisStatus.INVALID_LENGTH)
    assert nic.snapshot() == before


# --- deleting -------------------------------------------------------------------------------------------------------


@ABIS
@pytest.mark.rule("N-V2-12")
def test_a_list_of_handles_is_deleted_whole(abi: Abi) -> None:
    nic = bench(abi=abi).enable()
    before = nic.snapshot()
    given = [nic.added_v2(v2(SPI + number, abi=abi)) for number in range(3)]
    result = nic.delete_v2(given[2], given[0])
    assert result.status == NdisStatus.SUCCESS
    assert list(nic.driver.state.associations) == [given[1]]
    assert nic.receive(udp_frame(AES128, SPI + 1)) is Reason.OPENED
    assert nic.receive(udp_frame(AES128, SPI)) is Reason.SA_NOT_OFFLOADED
    nic.delete_v2(given[1])
    assert nic.snapshot() == before


@pytest.mark.rule("N-V2-12", "A-7", "A-38")
def test_a_delete_with_one_wrong_handle_deletes_none() -> None:
    nic = bench()
    good, version_1 = nic.added_v2(v2()), nic.added(sa())
    before = nic.snapshot()
    for handles_ in ((good, 0), (good, 0xBAD0), (good, version_1), (good, good), (0xBAD0, good)):
        nic.refuses(nic.delete_v2(*handles_), INVALID, Reason.UNKNOWN_SA_HANDLE)
    size = 24
    round_again = (b"\x80\x01" + size.to_bytes(2, "little")).ljust(8, b"\0") + struct.pack("<QQ", BASE, good)
    nic.refuses(nic.direct(DELETE, round_again), INVALID, Reason.POINTER_WRONG)
    short = nic.direct(DELETE, round_again[:23])
    nic.refuses(short, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
    assert short.bytes_needed == 24
    assert nic.snapshot() == before


@pytest.mark.rule("N-DEL-4", "N-V2-12")
def test_rows_of_a_list_that_would_not_clear_are_marked_and_the_others_deleted() -> None:
    nic = bench(capabilities(rows=2))
    first, second = nic.added_v2(v2()), nic.added_v2(v2(SPI + 1))
    nic.card.fail_clears = {0}
    result = nic.delete_v2(first, second)
    assert result.reason is Reason.ROW_CLEAR_FAILED
    assert nic.driver.state.associations == {}
    assert len(nic.driver.state.marked) == len(nic.rows[Table.INBOUND]) == 1
    nic.added_v2(v2(SPI + 2))  # and with it the marked row is tried again
    nic.added_v2(v2(SPI + 3))
    assert nic.driver.state.marked == []


@pytest.mark.rule("N-V2-1", "N-V2-9")
def test_extended_sequence_numbers_are_refused_where_they_are_not_claimed() -> None:
    without = bench(capabilities(version2={"extended_sequence_numbers": False}))
    add = v2(element={"flags": 1, "sequence_number_high_order": 3})
    without.refuses(without.add_v2(add), UNSUPPORTED, Reason.ESN_NOT_CLAIMED)
    nic = bench()
    nic.added_v2(add)
    assert (nic.row().extended, nic.row().sequence_high) == (1, 3)
