"""NDIS 6.x: the structures that carry OID requests, status indications and a miniport's first report.

Digest sections 1 and 4. What they point to is in the other modules: a buffer of an OID, or NDIS_OFFLOAD.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from offload_oids.layout import (
    HANDLE,
    PVOID,
    UCHAR,
    ULONG,
    USHORT,
    Abi,
    ByteArray,
    CName,
    Count,
    Known,
    Structure,
    StructureError,
    Union,
    size_of,
)
from offload_oids.ndis_offload import NO_HEADER, NdisObjectHeader, NdisObjectType
from offload_oids.status import NdisStatus


class NdisRequestType(IntEnum):
    """NDIS_REQUEST_TYPE of an NDIS_OID_REQUEST."""

    NdisRequestQueryInformation = 0
    NdisRequestSetInformation = 1
    NdisRequestQueryStatistics = 2
    NdisRequestMethod = 12


class NdisDevicePowerState(IntEnum):
    """NDIS_DEVICE_POWER_STATE, the buffer of OID_PNP_SET_POWER."""

    NdisDeviceStateUnspecified = 0
    NdisDeviceStateD0 = 1
    NdisDeviceStateD1 = 2
    NdisDeviceStateD2 = 3
    NdisDeviceStateD3 = 4


NDIS_OID_REQUEST_NDIS_RESERVED_SIZE = 16


@dataclass(frozen=True, slots=True)
class QueryInformation(Structure):
    """DATA.QUERY_INFORMATION of NDIS_OID_REQUEST."""

    oid: ULONG = 0
    information_buffer: PVOID = 0
    information_buffer_length: ULONG = 0
    bytes_written: ULONG = 0
    bytes_needed: ULONG = 0


@dataclass(frozen=True, slots=True)
class SetInformation(Structure):
    """DATA.SET_INFORMATION of NDIS_OID_REQUEST."""

    oid: ULONG = 0
    information_buffer: PVOID = 0
    information_buffer_length: ULONG = 0
    bytes_read: ULONG = 0
    bytes_needed: ULONG = 0


@dataclass(frozen=True, slots=True)
class MethodInformation(Structure):
    """DATA.METHOD_INFORMATION of NDIS_OID_REQUEST."""

    oid: ULONG = 0
    information_buffer: PVOID = 0
    input_buffer_length: ULONG = 0
    output_buffer_length: ULONG = 0
    method_id: ULONG = 0
    bytes_written: ULONG = 0
    bytes_read: ULONG = 0
    bytes_needed: ULONG = 0


@dataclass(frozen=True, slots=True)
class RequestData(Union):
    """DATA of NDIS_OID_REQUEST; RequestType says which arm counts."""

    query_information: Annotated[QueryInformation | None, CName("QUERY_INFORMATION")] = None
    set_information: Annotated[SetInformation | None, CName("SET_INFORMATION")] = None
    method_information: Annotated[MethodInformation | None, CName("METHOD_INFORMATION")] = None


@dataclass(frozen=True, slots=True)
class NdisOidRequest(Structure):
    """NDIS_OID_REQUEST, how NDIS 6 hands an OID to a miniport."""

    header: NdisObjectHeader = NO_HEADER
    request_type: Annotated[ULONG, Known(NdisRequestType)] = 0
    port_number: ULONG = 0
    timeout: ULONG = 0
    request_id: PVOID = 0
    request_handle: HANDLE = 0
    data: Annotated[RequestData, CName("DATA")] = RequestData()
    ndis_reserved: Annotated[tuple[PVOID, ...], Count(NDIS_OID_REQUEST_NDIS_RESERVED_SIZE)] = ()
    miniport_reserved: Annotated[tuple[PVOID, ...], Count(2)] = ()
    source_reserved: Annotated[tuple[PVOID, ...], Count(2)] = ()
    supported_revision: UCHAR = 0
    reserved1: UCHAR = 0
    reserved2: USHORT = 0


@dataclass(frozen=True, slots=True)
class Guid(Structure):
    """GUID, as Windows lays it out in memory."""

    data1: ULONG = 0
    data2: USHORT = 0
    data3: USHORT = 0
    data4: Annotated[bytes, ByteArray(8)] = bytes(8)


@dataclass(frozen=True, slots=True)
class NdisStatusIndication(Structure):
    """NDIS_STATUS_INDICATION, how a miniport tells NDIS of a change (N-CP6-1)."""

    header: NdisObjectHeader = NO_HEADER
    source_handle: HANDLE = 0
    port_number: ULONG = 0
    status_code: Annotated[ULONG, Known(NdisStatus)] = 0
    flags: ULONG = 0
    destination_handle: HANDLE = 0
    request_id: PVOID = 0
    status_buffer: PVOID = 0
    status_buffer_size: ULONG = 0
    guid: Guid = Guid()
    ndis_reserved: Annotated[tuple[PVOID, ...], Count(4)] = ()


@dataclass(frozen=True, slots=True)
class NdisMiniportAdapterOffloadAttributes(Structure):
    """NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES: pointers to what a miniport reports at initialisation (N-CP6-1)."""

    header: NdisObjectHeader = NO_HEADER
    default_offload_configuration: PVOID = 0
    hardware_offload_capabilities: PVOID = 0
    default_tcp_connection_offload_configuration: PVOID = 0
    tcp_connection_offload_hardware_capabilities: PVOID = 0


# --- an indication with its buffer ------------------------------------------------------------------------------


def build_status_indication(status: int, buffer: bytes, abi: Abi, base: int) -> bytes:
    """NDIS_STATUS_INDICATION with its status buffer right behind it; `base` is the address of the first byte.

    To every protocol driver (DestinationHandle NULL), about no port and no request.
    """
    size = size_of(NdisStatusIndication, abi)
    header = NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_STATUS_INDICATION, 1, size)
    structure = NdisStatusIndication(
        header=header,
        status_code=status,
        status_buffer=base + size if buffer else 0,
        status_buffer_size=len(buffer),
    )
    return structure.pack(abi) + buffer


def read_status_indication(raw: bytes, abi: Abi, base: int) -> tuple[int, bytes]:
    """The status and the status buffer of an NDIS_STATUS_INDICATION that begins at `base`.

    Raises StructureError for a wrong header, and for a buffer that does not lie within `raw`, behind the structure.
    """
    structure, size = NdisStatusIndication.unpack(raw, abi), size_of(NdisStatusIndication, abi)
    header = structure.header
    expected = NdisObjectType.NDIS_OBJECT_TYPE_STATUS_INDICATION, 1
    if (header.type, header.revision) != expected or header.size < size:
        raise StructureError(f"the header must say type 0x98, revision 1, size {size} or more, not {header}")
    if not structure.status_buffer_size:
        return structure.status_code, b""
    at = structure.status_buffer - base
    if not size <= at <= at + structure.status_buffer_size <= len(raw):
        raise StructureError(
            f"StatusBuffer must lie between {size} and {len(raw)}, not {at} to {at + structure.status_buffer_size}"
        )
    return structure.status_code, raw[at : at + structure.status_buffer_size]
