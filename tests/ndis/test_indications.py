"""NDIS_STATUS_INDICATION, as 6.x miniports indicate a change of their configuration (N-CP6-1, N-CP6-5, N-CP6-7)."""

from __future__ import annotations

import struct

import pytest

from nicsim.boundary import StatusIndication
from nicsim.errors import OffloadProtocolError
from nicsim.ndis.queue import Ndis, read_indication
from offload_oids import Abi, NdisStatus, Oid, StructureError
from offload_oids.ndis_requests import build_status_indication, read_status_indication
from tests.driver.builders import ON, bench
from tests.driver.test_configuration import ipsec
from tests.ndis.test_queue import Miniport

CURRENT_CONFIG = 0x40020006
# By the layout of the header: where StatusCode, StatusBuffer and its size are, and the size of it all.
PLACES = {Abi.X86: (12, 28, 32, 68), Abi.X64: (20, 48, 56, 112)}
ABIS = pytest.mark.parametrize("abi", [Abi.X86, Abi.X64], ids=["x86", "x64"])


def number(raw: bytes, at: int, length: int) -> int:
    return int.from_bytes(raw[at : at + length], "little")


@ABIS
@pytest.mark.parametrize("how", ["encapsulation", "parameters"])
@pytest.mark.rule("N-CP6-1", "N-CP6-5", "N-CP6-7")
def test_a_change_is_indicated_packed_with_the_report_where_the_pointer_says(abi: Abi, how: str) -> None:
    nic = bench(abi=abi)
    if how == "encapsulation":
        nic.encapsulate(ON)
    else:
        nic.set(Oid.OID_TCP_OFFLOAD_PARAMETERS, ipsec(v1=1))
    (event,) = nic.indications()
    raw, (status, pointer, length, size) = event.packed, PLACES[abi]
    assert struct.unpack("<BBH", raw[:4]) == (0x98, 1, size)
    assert number(raw, status, 4) == CURRENT_CONFIG
    assert number(raw, pointer, abi.pointer_size) == event.base + size
    assert number(raw, length, 4) == len(raw) - size == 144
    assert raw[size:] == event.buffer
    # No source, port, flags, destination, request, GUID: to every protocol, about nothing in particular.
    named = {*range(4), *range(status, status + 4), *range(pointer, length + 4)}
    assert not any(raw[at] for at in range(size) if at not in named)


@ABIS
@pytest.mark.rule("N-CP6-1")
def test_ndis_refuses_an_indication_that_is_packed_wrong_or_says_something_else(abi: Abi) -> None:
    report = bytes(range(144))
    good = build_status_indication(CURRENT_CONFIG, report, abi, 0x5000)
    status, pointer, length, size = PLACES[abi]
    event = StatusIndication(NdisStatus.TASK_OFFLOAD_CURRENT_CONFIG, report, good, 0x5000)
    assert read_indication(event, abi) == event
    assert read_status_indication(build_status_indication(7, b"", abi, 0x5000), abi, 0) == (7, b"")
    for at, value in ((0, 0x96), (1, 2), (2, size - 1), (pointer, 1), (length, 145), (status, 7), (length, 143)):
        wrong = good[:at] + bytes([value]) + good[at + 1 :]
        with pytest.raises(OffloadProtocolError):
            read_indication(StatusIndication(event.status, report, wrong, 0x5000), abi)
    for cut in range(len(good)):
        with pytest.raises(StructureError):
            read_status_indication(good[:cut], abi, 0x5000)
    driver = Miniport(events=[StatusIndication(event.status, report, good[:-1], 0x5000)])
    with pytest.raises(OffloadProtocolError, match="StatusBuffer must lie between"):
        Ndis(driver, abi).poll()
