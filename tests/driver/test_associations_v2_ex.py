"""OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: one association, keys where KeyOffset says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nicsim.boundary import Table
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa, IpsecOffloadV2AddSaEx
from offload_oids.layout import size_of, size_through
from tests.driver.builders import SPI, bench, capabilities, udp_frame, v2
from tests.oracle_esp import OracleSa

ABIS = pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])
ADD_EX = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX


def ex(add: IpsecOffloadV2AddSa, abi: Abi, gap: int = 0, **changes: int) -> bytes:
    """The same association as an EX request; the keys `gap` bytes behind the structure."""
    size = size_of(IpsecOffloadV2AddSaEx, abi)
    structure = IpsecOffloadV2AddSaEx(
        header=replace(add.header, size=size_through(IpsecOffloadV2AddSaEx, "vlan_id", abi)),
        num_ext_hdrs=add.num_ext_hdrs,
        flags=add.flags,
        endpoints=add.endpoints,
        udp_esp_encapsulation=add.udp_esp_encapsulation,
        sec_assoc=add.sec_assoc,
        key_length=len(add.key_data),
        key_offset=size + gap,
    )
    return replace(structure, **changes).pack(abi) + b"\xee" * gap + add.key_data


@ABIS
@pytest.mark.parametrize("gap", [0, 5])
@pytest.mark.rule("N-V2-10", "N-V2-11", "N-V2-9")
def test_it_makes_the_same_row_as_the_list_of_one(abi: Abi, gap: int) -> None:
    listed, nic = bench(abi=abi).enable(), bench(abi=abi).enable()
    listed.added_v2(v2(abi=abi))
    buffer = ex(v2(abi=abi), abi, gap)
    result = nic.direct(ADD_EX, buffer)
    assert (result.status, result.bytes_read, result.bytes_written) == (NdisStatus.SUCCESS, len(buffer), 0)
    assert nic.snapshot() == listed.snapshot()
    handle = IpsecOffloadV2AddSaEx.unpack(result.buffer, abi).offload_handle
    assert list(nic.driver.state.associations) == [handle]
    # Nothing but the handle is written.
    assert IpsecOffloadV2AddSaEx.unpack(result.buffer, abi) == replace(
        IpsecOffloadV2AddSaEx.unpack(buffer, abi), offload_handle=handle
    )
    assert result.buffer[size_of(IpsecOffloadV2AddSaEx, abi) :] == buffer[size_of(IpsecOffloadV2AddSaEx, abi) :]
    key = v2().key_data
    oracle = OracleSa("aes-cbc", key[:16], "sha256", key[16:], 16)
    assert nic.receive(udp_frame(oracle)) is Reason.OPENED
    assert nic.delete_v2(handle).status == NdisStatus.SUCCESS
    assert nic.rows[Table.INBOUND] == {}


@ABIS
@pytest.mark.rule("A-1", "A-10", "N-V2-6", "N-V2-10")
def test_a_wrong_length_header_or_key_offset_is_refused(abi: Abi) -> None:
    nic, good = bench(abi=abi).enable(), ex(v2(abi=abi), abi)
    before, size = nic.snapshot(), size_of(IpsecOffloadV2AddSaEx, abi)
    for length in range(len(good)):
        short = nic.direct(ADD_EX, good[:length])
        nic.refuses(short, NdisStatus.INVALID_LENGTH, Reason.BUFFER_LENGTH)
        assert short.bytes_needed == (size if length < size else len(good))
    for at, value in ((0, 0xA7), (1, 0), (1, 2), (2, good[2] - 1)):
        wrong = good[:at] + bytes([value]) + good[at + 1 :]
        nic.refuses(nic.direct(ADD_EX, wrong), NdisStatus.INVALID_DATA, Reason.HEADER_WRONG)
    inside = ex(v2(abi=abi), abi, key_offset=size_through(IpsecOffloadV2AddSaEx, "vlan_id", abi) - 1)
    nic.refuses(nic.direct(ADD_EX, inside), NdisStatus.INVALID_DATA, Reason.KEY_LENGTH)
    far = ex(v2(abi=abi), abi, key_offset=0xFFFFFFFF)
    assert nic.direct(ADD_EX, far).bytes_needed == 0xFFFFFFFF + len(v2().key_data)
    assert nic.snapshot() == before


@pytest.mark.rule("N-V2-11", "N-SA-23", "N-ADD-6")
def test_what_a_list_refuses_is_refused_here_too_and_the_buffer_comes_back_without_a_handle() -> None:
    nic = bench(capabilities(rows=1)).enable()
    zero = ex(v2(0), nic.abi)
    nic.refuses(result := nic.direct(ADD_EX, zero), NdisStatus.INVALID_DATA, Reason.SPI_ZERO)
    assert result.buffer == zero
    nic.card.fail_writes = {len(nic.card.writes)}
    nic.refuses(nic.direct(ADD_EX, ex(v2(), nic.abi)), NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED)
    assert nic.direct(ADD_EX, ex(v2(), nic.abi)).status == NdisStatus.SUCCESS
    nic.refuses(nic.direct(ADD_EX, ex(v2(SPI + 1), nic.abi)), NdisStatus.RESOURCES, Reason.SA_TABLE_FULL)
    old = bench(capabilities("ndis51"))
    old.refuses(old.direct(ADD_EX, ex(v2(), old.abi)), NdisStatus.NOT_SUPPORTED, Reason.NOT_OFFERED)
