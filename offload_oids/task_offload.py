"""NDIS 5.1 capabilities: the buffer of OID_TCP_TASK_OFFLOAD, a header and a chain of task entries.

Digest section 3. The same buffer answers a query (what the card can do) and sets (what the transport enables).
`walk_tasks` follows the chain of a buffer from anywhere; `build_tasks` makes one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from typing import Annotated

from offload_oids.layout import (
    BOOLEAN,
    ULONG,
    Abi,
    Bits,
    CName,
    Known,
    Structure,
    StructureError,
    Tail,
    TooShort,
    align_of,
    offset_of,
    size_of,
)

NDIS_TASK_OFFLOAD_VERSION = 1
NDIS_TASK_TCP_LARGE_SEND_V0 = 0

BIT = Annotated[int, Bits(1)]


class NdisTask(IntEnum):
    """NDIS_TASK, what kind of offload an entry of the chain describes (N-CAP-7)."""

    TcpIpChecksumNdisTask = 0
    IpSecNdisTask = 1
    TcpLargeSendNdisTask = 2
    MaxNdisTask = 3


class NdisEncapsulation(IntEnum):
    """NDIS_ENCAPSULATION, how IP is framed on the link (N-CAP-3)."""

    UNSPECIFIED_Encapsulation = 0
    NULL_Encapsulation = 1
    IEEE_802_3_Encapsulation = 2
    IEEE_802_5_Encapsulation = 3
    LLC_SNAP_ROUTED_Encapsulation = 4
    LLC_SNAP_BRIDGED_Encapsulation = 5


class UdpEspParseFlags(IntFlag):
    """The UDP-ESP subtypes that a card can parse, in Supported.RESERVED (N-CAP-10) or Supported.Flags (A-14)."""

    IPSEC_TPT_UDPESP_ENCAPTYPE_IKE = 0x01
    IPSEC_TUN_UDPESP_ENCAPTYPE_IKE = 0x02
    IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_IKE = 0x04
    IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_IKE = 0x08
    IPSEC_TPT_UDPESP_ENCAPTYPE_OTHER = 0x10
    IPSEC_TUN_UDPESP_ENCAPTYPE_OTHER = 0x20
    IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER = 0x40
    IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_OTHER = 0x80


# --- the header -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EncapsulationFlags(Structure):
    """Flags of NDIS_ENCAPSULATION_FORMAT; FixedHeaderSize is always 1 (N-CAP-4)."""

    fixed_header_size: BIT = 0
    reserved: Annotated[int, Bits(31)] = 0


@dataclass(frozen=True, slots=True)
class NdisEncapsulationFormat(Structure):
    """NDIS_ENCAPSULATION_FORMAT: the framing that the chain of tasks is for."""

    encapsulation: Annotated[ULONG, Known(NdisEncapsulation)] = 0
    flags: EncapsulationFlags = EncapsulationFlags()
    # Where the first IP header begins in a packet to send (N-CAP-4).
    encapsulation_header_size: ULONG = 0


@dataclass(frozen=True, slots=True)
class NdisTaskOffloadHeader(Structure):
    """NDIS_TASK_OFFLOAD_HEADER, the start of the buffer of OID_TCP_TASK_OFFLOAD (N-CAP-2)."""

    version: ULONG = NDIS_TASK_OFFLOAD_VERSION
    # sizeof of this structure, and so a version of it.
    size: ULONG = 0
    reserved: ULONG = 0
    # From the start of the buffer; 0 when there are no tasks. ULONG, though two pages say UCHAR.
    offset_first_task: ULONG = 0
    encapsulation_format: NdisEncapsulationFormat = NdisEncapsulationFormat()


@dataclass(frozen=True, slots=True)
class NdisTaskOffload(Structure):
    """NDIS_TASK_OFFLOAD: one entry of the chain, with the task's own structure in TaskBuffer (N-CAP-7)."""

    version: ULONG = 0
    size: ULONG = 0
    task: Annotated[ULONG, Known(NdisTask)] = 0
    # From the start of this entry; 0 in the last one.
    offset_next_task: ULONG = 0
    task_buffer_length: ULONG = 0
    task_buffer: Annotated[bytes, Tail("task_buffer_length")] = b""


# --- the tasks --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskIpsecSupported(Structure):
    """Supported of NDIS_TASK_IPSEC; zero means no (N-CAP-9)."""

    ah_esp_combined: Annotated[ULONG, CName("AH_ESP_COMBINED")] = 0
    transport_tunnel_combined: Annotated[ULONG, CName("TRANSPORT_TUNNEL_COMBINED")] = 0
    v4_options: Annotated[ULONG, CName("V4_OPTIONS")] = 0
    # The UDP-ESP parse flags live in the reserved member (N-CAP-10).
    reserved: Annotated[ULONG, CName("RESERVED"), Known(UdpEspParseFlags)] = 0


@dataclass(frozen=True, slots=True)
class TaskIpsecV4Ah(Structure):
    """V4AH of NDIS_TASK_IPSEC; the two algorithms are usable for AH, ESP or both (N-CAP-9)."""

    md5: Annotated[BIT, CName("MD5")] = 0
    sha_1: Annotated[BIT, CName("SHA_1")] = 0
    transport: BIT = 0
    tunnel: BIT = 0
    send: BIT = 0
    receive: BIT = 0


@dataclass(frozen=True, slots=True)
class TaskIpsecV4Esp(Structure):
    """V4ESP of NDIS_TASK_IPSEC."""

    des: Annotated[BIT, CName("DES")] = 0
    reserved: Annotated[BIT, CName("RESERVED")] = 0
    triple_des: Annotated[BIT, CName("TRIPLE_DES")] = 0
    null_esp: Annotated[BIT, CName("NULL_ESP")] = 0
    transport: BIT = 0
    tunnel: BIT = 0
    send: BIT = 0
    receive: BIT = 0


@dataclass(frozen=True, slots=True)
class NdisTaskIpsec(Structure):
    """NDIS_TASK_IPSEC, the TaskBuffer of IpSecNdisTask: what a card can do, or what is enabled (N-CAP-8, N-CAP-9)."""

    supported: TaskIpsecSupported = TaskIpsecSupported()
    v4_ah: Annotated[TaskIpsecV4Ah, CName("V4AH")] = TaskIpsecV4Ah()
    v4_esp: Annotated[TaskIpsecV4Esp, CName("V4ESP")] = TaskIpsecV4Esp()


@dataclass(frozen=True, slots=True)
class TaskChecksumV4(Structure):
    """V4Transmit and V4Receive of NDIS_TASK_TCP_IP_CHECKSUM."""

    ip_options_supported: BIT = 0
    tcp_options_supported: BIT = 0
    tcp_checksum: BIT = 0
    udp_checksum: BIT = 0
    ip_checksum: BIT = 0


@dataclass(frozen=True, slots=True)
class TaskChecksumV6(Structure):
    """V6Transmit and V6Receive of NDIS_TASK_TCP_IP_CHECKSUM: IPv6 has no header checksum."""

    ip_options_supported: BIT = 0
    tcp_options_supported: BIT = 0
    tcp_checksum: BIT = 0
    udp_checksum: BIT = 0


@dataclass(frozen=True, slots=True)
class NdisTaskTcpIpChecksum(Structure):
    """NDIS_TASK_TCP_IP_CHECKSUM, the TaskBuffer of TcpIpChecksumNdisTask."""

    v4_transmit: TaskChecksumV4 = TaskChecksumV4()
    v4_receive: TaskChecksumV4 = TaskChecksumV4()
    v6_transmit: TaskChecksumV6 = TaskChecksumV6()
    v6_receive: TaskChecksumV6 = TaskChecksumV6()


@dataclass(frozen=True, slots=True)
class NdisTaskTcpLargeSend(Structure):
    """NDIS_TASK_TCP_LARGE_SEND, the TaskBuffer of TcpLargeSendNdisTask."""

    version: ULONG = NDIS_TASK_TCP_LARGE_SEND_V0
    max_off_load_size: ULONG = 0
    min_segment_count: ULONG = 0
    tcp_options: BOOLEAN = 0
    ip_options: BOOLEAN = 0


# --- the chain --------------------------------------------------------------------------------------------------


def walk_tasks(buffer: bytes, abi: Abi) -> tuple[NdisTaskOffloadHeader, tuple[NdisTaskOffload, ...]]:
    """The header of a buffer and the entries of its chain, in chain order.

    Refuses offsets that leave the buffer, are not aligned, or point into the header or the entry they come from. An
    offset is never negative, so a chain that passes goes forward and ends.
    """
    header = NdisTaskOffloadHeader.unpack(buffer, abi)
    entries: list[NdisTaskOffload] = []
    at, step, least, name = 0, header.offset_first_task, size_of(NdisTaskOffloadHeader, abi), "OffsetFirstTask"
    while step:
        if step < least or step % align_of(NdisTaskOffload, abi):
            raise StructureError(f"{name} at offset {at} needs an aligned {least} or more, got {step}")
        at += step
        entry = _entry_at(buffer, at, abi)
        entries.append(entry)
        least = offset_of(NdisTaskOffload, "task_buffer", abi) + entry.task_buffer_length
        step, name = entry.offset_next_task, "OffsetNextTask"
    return header, tuple(entries)


def _entry_at(buffer: bytes, offset: int, abi: Abi) -> NdisTaskOffload:
    try:
        return NdisTaskOffload.unpack(memoryview(buffer)[offset:], abi)
    except TooShort as error:
        raise TooShort(f"NDIS_TASK_OFFLOAD at offset {offset}", offset + error.needed, len(buffer)) from None


def build_tasks(header: NdisTaskOffloadHeader, entries: Sequence[NdisTaskOffload], abi: Abi) -> bytes:
    """The header followed immediately by the entries (N-CAP-11), with sizes and offsets filled in.

    No entries make the header alone, which disables all task offload (N-CAP-12).
    """
    size, align = size_of(NdisTaskOffload, abi), align_of(NdisTaskOffload, abi)
    start = size_of(NdisTaskOffloadHeader, abi)
    filled = replace(header, size=start, offset_first_task=start if entries else 0)
    buffer = filled.pack(abi)
    for number, entry in enumerate(entries, start=1):
        raw = replace(entry, size=size, offset_next_task=0).pack(abi)
        if number < len(entries):
            length = -(-len(raw) // align) * align
            raw = replace(entry, size=size, offset_next_task=length).pack(abi).ljust(length, b"\0")
        buffer += raw
    return buffer
