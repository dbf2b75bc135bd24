"""OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA: the half of a sequence number that is not on the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nicsim.boundary import OidResult, Table
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2UpdateSa
from offload_oids.layout import size_through
from offload_oids.ndis_offload import NdisObjectHeader
from tests.driver.builders import SPI, Bench, bench, capabilities, sa, v2

ABIS = pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
UPDATE = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA
ESP, AH = 2, 1


def with_esn(abi: Abi = Abi.X64) -> Bench:
    return bench(capabilities(version2={"extended_sequence_numbers": True}), abi).enable()


def buffer(abi: Abi, handle: int, high: int, **changes: int) -> bytes:
    size = size_through(IpsecOffloadV2UpdateSa, "sequence_number_high_order", abi)
    update = IpsecOffloadV2UpdateSa(NdisObjectHeader(0x80, 1, size), handle, ESP, SPI, high)
    return replace(update, **changes).pack(abi)


def updated(nic: Bench, handle: int, high: int, **changes: int) -> OidResult:
    return nic.direct(UPDATE, buffer(nic.abi, handle, high, **changes))


def extended(nic: Bench, spi: int = SPI) -> int:
    return nic.added_v2(v2(spi, abi=nic.abi, element={"flags": 1, "sequence_number_high_order": 7}))


@ABIS
@pytest.mark.rule("N-V2-13", "A-27", "N-V2-9")
def test_the_row_gets_the_new_half_and_nothing_else_changes(abi: Abi) -> None:
    nic = with_esn(abi)
    handle = extended(nic)
    other = extended(nic, SPI + 1)
    before = nic.rows[Table.INBOUND]
    result = updated(nic, handle, 0xFFFFFFFF)
    assert (result.status, result.bytes_written) == (NdisStatus.SUCCESS, 0)
    assert result.bytes_read == size_through(IpsecOffloadV2UpdateSa, "sequence_number_high_order", abi)
    changed = {slot: row for slot, row in nic.rows[Table.INBOUND].items() if row != before[slot]}
    ((slot, row),) = changed.items()
    assert row == replace(before[slot], sequence_high=0xFFFFFFFF)
    assert (row.spi, before[slot].sequence_high) == (SPI, 7)
    # The shadow copy has it too: it is there after a reset, and the association can be deleted.
    nic.driver.reset()
    assert nic.rows[Table.INBOUND][slot] == row
    assert nic.delete_v2(handle, other).status == NdisStatus.SUCCESS
    assert nic.rows[Table.INBOUND] == {}


@pytest.mark.rule("N-V2-13", "A-27")
def test_an_association_that_is_not_found_or_not_extended_is_an_invalid_parameter() -> None:
    nic = with_esn()
    handle, plain, version_1 = extended(nic), nic.added_v2(v2(SPI + 1)), nic.added(sa(flags=2))
    before = nic.snapshot()
    for result in (
        updated(nic, 0, 1),
        updated(nic, 0xBAD0, 1),
        updated(nic, version_1, 1),
        updated(nic, handle, 1, spi=SPI + 1),
        updated(nic, handle, 1, operation=AH),
        updated(nic, handle, 1, operation=3),
    ):
        nic.refuses(result, NdisStatus.INVALID_PARAMETER, Reason.UNKNOWN_SA_HANDLE)
    result = updated(nic, plain, 1, spi=SPI + 1)
    nic.refuses(result, NdisStatus.INVALID_PARAMETER, Reason.ESN_NOT_CLAIMED)
    assert nic.snapshot() == before


@ABIS
@pytest.mark.rule("N-V2-6", "A-1", "A-10")
def test_a_wrong_header_or_length_is_refused_and_a_card_that_refuses_is_told(abi: Abi) -> None:
    nic = with_esn(abi)
    handle = extended(nic)
    before, good = nic.snapshot(), buffer(abi, handle, 1)
    for at, value in ((0, 0xA7), (1, 2), (2, good[2] - 1)):
        wrong = good[:at] + bytes([value]) + good[at + 1 :]
        nic.refuses(nic.direct(UPDATE, wrong), NdisStatus.INVALID_DATA, Reason.HEADER_WRONG)
    for length in range(size := {Abi.X86: 20, Abi.X64: 28}[abi]):
        short = nic.direct(UPDATE, good[:length])
        nic.refuses(short, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
        assert short.bytes_needed == size
    nic.card.fail_writes = {len(nic.card.writes)}
    nic.refuses(nic.direct(UPDATE, good), NdisStatus.NOT_ACCEPTED, Reason.ROW_WRITE_FAILED)
    assert nic.snapshot() == before
