"""The chain of OID_TCP_TASK_OFFLOAD: built, walked, and refused where its offsets lie."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_oids import (
    Abi,
    NdisEncapsulationFormat,
    NdisTask,
    NdisTaskIpsec,
    NdisTaskOffload,
    NdisTaskOffloadHeader,
    StructureError,
    TaskIpsecSupported,
    TooShort,
    build_tasks,
    size_of,
    walk_tasks,
)

HEADER = NdisTaskOffloadHeader(encapsulation_format=NdisEncapsulationFormat(2))
EVERY_ABI = pytest.mark.parametrize("abi", Abi)


def task(kind: NdisTask, body: bytes) -> NdisTaskOffload:
    return NdisTaskOffload(version=1, task=kind, task_buffer_length=len(body), task_buffer=body)


def ipsec(abi: Abi) -> NdisTaskOffload:
    return task(NdisTask.IpSecNdisTask, NdisTaskIpsec(TaskIpsecSupported(reserved=0x10)).pack(abi))


def chain(first: int, *entries: tuple[int, int, bytes], gap: int = 0) -> bytes:
    """A header and entries of (OffsetNextTask, TaskBufferLength, bytes), one after the other."""
    buffer = struct.pack("<4I", 1, 28, 0, first) + bytes(12 + gap)
    for following, length, body in entries:
        buffer += struct.pack("<5I", 1, 24, 0, following, length) + body
    return buffer


@pytest.mark.rule("N-CAP-6", "N-CAP-7", "N-CAP-8", "N-CAP-11")
@EVERY_ABI
def test_a_chain_is_walked_as_it_was_built(abi: Abi) -> None:
    checksum = task(NdisTask.TcpIpChecksumNdisTask, bytes(16))
    odd = task(NdisTask.TcpLargeSendNdisTask, b"odd")
    buffer = build_tasks(HEADER, (ipsec(abi), odd, checksum), abi)
    header, entries = walk_tasks(buffer, abi)
    assert (header.size, header.offset_first_task) == (28, 28)
    assert [entry.task for entry in entries] == [1, 2, 0]
    assert [entry.size for entry in entries] == [24, 24, 24]
    assert [entry.offset_next_task for entry in entries] == [44, 24, 0]
    assert [entry.task_buffer for entry in entries] == [ipsec(abi).task_buffer, b"odd", bytes(16)]
    assert entries[0].task_buffer_length == size_of(NdisTaskIpsec, abi) == 24
    assert len(buffer) == 28 + 44 + 24 + 36


@pytest.mark.rule("N-CAP-2", "N-CAP-12")
@EVERY_ABI
def test_no_tasks_are_a_header_alone(abi: Abi) -> None:
    buffer = build_tasks(HEADER, (), abi)
    assert len(buffer) == 28
    header, entries = walk_tasks(buffer, abi)
    assert (header.offset_first_task, entries) == (0, ())


@pytest.mark.rule("N-CAP-2", "A-11", "N-VER-1")
def test_offset_first_task_is_a_ulong_and_small_values_read_the_same_as_a_uchar() -> None:
    buffer = build_tasks(HEADER, (ipsec(Abi.X86),), Abi.X86)
    assert buffer[12] == int.from_bytes(buffer[12:16], "little") == 28
    far = chain(0x11C, (0, 4, b"task"), gap=0x100)
    assert [entry.task_buffer for entry in walk_tasks(far, Abi.X86)[1]] == [b"task"]


@pytest.mark.parametrize(
    ("about", "buffer"),
    [
        ("into the header", chain(24, (0, 0, b""))),
        ("into the encapsulation format", chain(4, (0, 0, b""))),
        ("not aligned", chain(29, (0, 0, b""), gap=1)),
        ("to itself", chain(28, (4, 0, b""))),
        ("into its own buffer", chain(28, (24, 8, bytes(8)), (0, 0, b""))),
        ("next not aligned", chain(28, (21, 0, b""), (0, 0, b""))),
    ],
)
def test_an_offset_that_lies_is_refused(about: str, buffer: bytes) -> None:
    with pytest.raises(StructureError, match=r"Offset(First|Next)Task at offset \d+ needs an aligned \d+ or more, got"):
        walk_tasks(buffer, Abi.X86)


@pytest.mark.rule("A-10")
@pytest.mark.parametrize(
    ("buffer", "needed"),
    [
        (chain(28), 28 + 20),
        (chain(0xFFFFFFFC, (0, 0, b"")), 0xFFFFFFFC + 20),
        (chain(28, (0xFFFFFFE4, 0, b"")), 28 + 0xFFFFFFE4 + 20),
        (chain(28, (0, 0xFFFFFFFF, b"")), 48 + 0xFFFFFFFF),
        (chain(28, (0, 25, bytes(24))), 48 + 25),
    ],
)
def test_an_offset_or_length_beyond_the_buffer_is_answered_with_the_total_needed(buffer: bytes, needed: int) -> None:
    with pytest.raises(TooShort, match="NDIS_TASK_OFFLOAD at offset") as caught:
        walk_tasks(buffer, Abi.X64)
    assert (caught.value.needed, caught.value.got) == (needed, len(buffer))


@EVERY_ABI
def test_every_truncation_of_a_chain_is_refused(abi: Abi) -> None:
    buffer = build_tasks(HEADER, (ipsec(abi), ipsec(abi)), abi)
    for length in range(len(buffer)):
        with pytest.raises(TooShort):
            walk_tasks(buffer[:length], abi)
    assert walk_tasks(buffer + b"more", abi) == walk_tasks(buffer, abi)


@given(st.binary(max_size=400), st.sampled_from(Abi))
def test_random_chains_end(raw: bytes, abi: Abi) -> None:
    try:
        _, entries = walk_tasks(chain(28)[:28] + raw, abi)
    except StructureError:
        return
    assert 20 * len(entries) <= len(raw)
