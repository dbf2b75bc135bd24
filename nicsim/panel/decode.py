"""Buffers of OID requests as members by their C names, with keys only where someone asked for them.

Used by session.py for the answers of requests, and by claims.py for what a card reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nicsim.boundary import RequestKind
from offload_oids import OID_INFO, Abi, Oid, Structure, StructureError, c_name, dissect
from offload_oids.layout import size_of
from offload_oids.task_offload import (
    EncapsulationFlags,
    NdisEncapsulation,
    NdisEncapsulationFormat,
    NdisTask,
    NdisTaskIpsec,
    NdisTaskOffloadHeader,
    walk_tasks,
)

QUERY_BUFFER_LENGTH = 512
REDACTED = "redacted"


@dataclass(frozen=True, slots=True)
class Member:
    """One innermost member: a number, or bytes as hex; and the constants that make it up."""

    name: str
    value: int | str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One structure of a buffer."""

    structure: str
    members: tuple[Member, ...]


def query_buffer(oid: int, abi: Abi, encapsulation: int = NdisEncapsulation.IEEE_802_3_Encapsulation) -> bytes:
    """What a host hands in with a query: room, and for OID_TCP_TASK_OFFLOAD the header that asks (N-CAP-1)."""
    if oid != Oid.OID_TCP_TASK_OFFLOAD:
        return bytes(QUERY_BUFFER_LENGTH)
    return task_header(abi, encapsulation).ljust(QUERY_BUFFER_LENGTH, b"\0")


def task_header(abi: Abi, encapsulation: int) -> bytes:
    """NDIS_TASK_OFFLOAD_HEADER with no tasks: a question in a query, and in a set the end of all tasks (N-CAP-12)."""
    length = 14 if encapsulation == NdisEncapsulation.IEEE_802_3_Encapsulation else 0
    link = NdisEncapsulationFormat(encapsulation, EncapsulationFlags(fixed_header_size=1), length)
    return NdisTaskOffloadHeader(size=size_of(NdisTaskOffloadHeader, abi), encapsulation_format=link).pack(abi)


def decoded(kind: RequestKind, oid: int, buffer: bytes, abi: Abi, *, show_keys: bool = False) -> tuple[Decoded, ...]:
    """The structures of a buffer; none where the OID is not known or the buffer holds no such structure."""
    info = OID_INFO.get(Oid(oid)) if oid in list(Oid) else None
    if info is None:
        return ()
    try:
        if oid == Oid.OID_TCP_TASK_OFFLOAD:
            return _tasks(buffer, abi)
        structures = info.answers if kind is RequestKind.QUERY and info.answers else info.takes
        if not structures:
            return ()
        return (structure_in(_revision(structures, buffer), buffer, abi, show_keys=show_keys),)
    except StructureError:
        return ()


def _revision(structures: Sequence[type[Structure]], buffer: bytes) -> type[Structure]:
    """Revisions of one structure stand in order, and NDIS_OBJECT_HEADER says which one a buffer holds."""
    if len(structures) == 1 or len(buffer) < 2:
        return structures[0]
    return structures[min(max(buffer[1], 1), len(structures)) - 1]


def _tasks(buffer: bytes, abi: Abi) -> tuple[Decoded, ...]:
    _, entries = walk_tasks(buffer, abi)
    tasks = [
        structure_in(NdisTaskIpsec, entry.task_buffer, abi) for entry in entries if entry.task == NdisTask.IpSecNdisTask
    ]
    return (structure_in(NdisTaskOffloadHeader, buffer, abi), *tasks)


def structure_in(structure: type[Structure], buffer: bytes, abi: Abi, *, show_keys: bool = False) -> Decoded:
    """One structure at the start of a buffer. Raises StructureError where it is not there."""
    members = []
    for part in dissect(structure, buffer, abi):
        value = part.value.hex() if isinstance(part.value, bytes) else part.value
        members.append(Member(part.name, REDACTED if part.secret and not show_keys else value, part.meaning))
    return Decoded(c_name(structure), tuple(members))
