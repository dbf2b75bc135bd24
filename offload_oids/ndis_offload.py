"""NDIS 6.x: what a miniport reports of its offloads, how they are configured, and the requests that carry it.

Digest sections 4 and 12. NDIS_OFFLOAD grew with NDIS, so each revision is a structure of its own here; Header.Size
says which one a buffer holds, and counts up to the last member of that revision, not to the padding behind it.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Annotated

from offload_oids.layout import (
    BOOLEAN,
    HANDLE,
    PVOID,
    UCHAR,
    ULONG,
    USHORT,
    Abi,
    Bits,
    ByteArray,
    CName,
    Count,
    Known,
    Structure,
    Union,
    size_through,
)
from offload_oids.status import NdisStatus
from offload_oids.task_offload import NdisTaskIpsec, UdpEspParseFlags

TWO_BITS = Annotated[int, Bits(2)]
FOUR_BITS = Annotated[int, Bits(4)]


# --- object headers ---------------------------------------------------------------------------------------------


class NdisObjectType(IntEnum):
    """NDIS_OBJECT_TYPE_*, the Type of an NDIS_OBJECT_HEADER."""

    NDIS_OBJECT_TYPE_DEFAULT = 0x80
    NDIS_OBJECT_TYPE_OID_REQUEST = 0x96
    NDIS_OBJECT_TYPE_STATUS_INDICATION = 0x98
    NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES = 0xA0
    NDIS_OBJECT_TYPE_OFFLOAD = 0xA7
    NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION = 0xA8


@dataclass(frozen=True, slots=True)
class NdisObjectHeader(Structure):
    """NDIS_OBJECT_HEADER, the first member of every NDIS 6 structure."""

    type: Annotated[UCHAR, Known(NdisObjectType)] = 0
    revision: UCHAR = 0
    size: USHORT = 0


NO_HEADER = NdisObjectHeader()


# --- capabilities -----------------------------------------------------------------------------------------------


class NdisOffloadSupport(IntEnum):
    """What a two-bit capability member holds (N-CP6-3)."""

    NDIS_OFFLOAD_NOT_SUPPORTED = 0
    NDIS_OFFLOAD_SUPPORTED = 1


class NdisEncapsulations(IntFlag):
    """NDIS_ENCAPSULATION_*, the framings that an offload works with (N-CP6-4)."""

    NDIS_ENCAPSULATION_NOT_SUPPORTED = 0x00
    NDIS_ENCAPSULATION_NULL = 0x01
    NDIS_ENCAPSULATION_IEEE_802_3 = 0x02
    NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q = 0x04
    NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB = 0x08
    NDIS_ENCAPSULATION_IEEE_LLC_SNAP_ROUTED = 0x10


SUPPORT = Annotated[TWO_BITS, Known(NdisOffloadSupport)]
ENCAPSULATIONS = Annotated[ULONG, Known(NdisEncapsulations)]


@dataclass(frozen=True, slots=True)
class ChecksumIpv4(Structure):
    """IPv4Transmit and IPv4Receive of NDIS_TCP_IP_CHECKSUM_OFFLOAD."""

    encapsulation: ENCAPSULATIONS = 0
    ip_options_supported: SUPPORT = 0
    tcp_options_supported: SUPPORT = 0
    tcp_checksum: SUPPORT = 0
    udp_checksum: SUPPORT = 0
    ip_checksum: SUPPORT = 0


@dataclass(frozen=True, slots=True)
class ChecksumIpv6(Structure):
    """IPv6Transmit and IPv6Receive of NDIS_TCP_IP_CHECKSUM_OFFLOAD."""

    encapsulation: ENCAPSULATIONS = 0
    ip_extension_headers_supported: SUPPORT = 0
    tcp_options_supported: SUPPORT = 0
    tcp_checksum: SUPPORT = 0
    udp_checksum: SUPPORT = 0


@dataclass(frozen=True, slots=True)
class NdisTcpIpChecksumOffload(Structure):
    """NDIS_TCP_IP_CHECKSUM_OFFLOAD, member Checksum of NDIS_OFFLOAD."""

    ipv4_transmit: ChecksumIpv4 = ChecksumIpv4()
    ipv4_receive: ChecksumIpv4 = ChecksumIpv4()
    ipv6_transmit: ChecksumIpv6 = ChecksumIpv6()
    ipv6_receive: ChecksumIpv6 = ChecksumIpv6()


@dataclass(frozen=True, slots=True)
class LargeSendV1Ipv4(Structure):
    """IPv4 of NDIS_TCP_LARGE_SEND_OFFLOAD_V1."""

    encapsulation: ENCAPSULATIONS = 0
    max_off_load_size: ULONG = 0
    min_segment_count: ULONG = 0
    tcp_options: SUPPORT = 0
    ip_options: SUPPORT = 0


@dataclass(frozen=True, slots=True)
class NdisTcpLargeSendOffloadV1(Structure):
    """NDIS_TCP_LARGE_SEND_OFFLOAD_V1, member LsoV1 of NDIS_OFFLOAD."""

    ipv4: LargeSendV1Ipv4 = LargeSendV1Ipv4()


@dataclass(frozen=True, slots=True)
class LargeSendV2Ipv4(Structure):
    """IPv4 of NDIS_TCP_LARGE_SEND_OFFLOAD_V2."""

    encapsulation: ENCAPSULATIONS = 0
    max_off_load_size: ULONG = 0
    min_segment_count: ULONG = 0


@dataclass(frozen=True, slots=True)
class LargeSendV2Ipv6(Structure):
    """IPv6 of NDIS_TCP_LARGE_SEND_OFFLOAD_V2."""

    encapsulation: ENCAPSULATIONS = 0
    max_off_load_size: ULONG = 0
    min_segment_count: ULONG = 0
    ip_extension_headers_supported: SUPPORT = 0
    tcp_options_supported: SUPPORT = 0


@dataclass(frozen=True, slots=True)
class NdisTcpLargeSendOffloadV2(Structure):
    """NDIS_TCP_LARGE_SEND_OFFLOAD_V2, member LsoV2 of NDIS_OFFLOAD."""

    ipv4: LargeSendV2Ipv4 = LargeSendV2Ipv4()
    ipv6: LargeSendV2Ipv6 = LargeSendV2Ipv6()


@dataclass(frozen=True, slots=True)
class IpsecV1Supported(Structure):
    """Supported of NDIS_IPSEC_OFFLOAD_V1."""

    encapsulation: ENCAPSULATIONS = 0
    ah_esp_combined: ULONG = 0
    transport_tunnel_combined: ULONG = 0
    ipv4_options: ULONG = 0
    # The UDP-ESP parse flags, which 5.1 keeps in a reserved member.
    flags: Annotated[ULONG, Known(UdpEspParseFlags)] = 0


@dataclass(frozen=True, slots=True)
class IpsecV1Ah(Structure):
    """IPv4AH of NDIS_IPSEC_OFFLOAD_V1."""

    md5: SUPPORT = 0
    sha_1: Annotated[SUPPORT, CName("Sha_1")] = 0
    transport: SUPPORT = 0
    tunnel: SUPPORT = 0
    send: SUPPORT = 0
    receive: SUPPORT = 0


@dataclass(frozen=True, slots=True)
class IpsecV1Esp(Structure):
    """IPv4ESP of NDIS_IPSEC_OFFLOAD_V1."""

    des: SUPPORT = 0
    reserved: TWO_BITS = 0
    triple_des: SUPPORT = 0
    null_esp: SUPPORT = 0
    transport: SUPPORT = 0
    tunnel: SUPPORT = 0
    send: SUPPORT = 0
    receive: SUPPORT = 0


@dataclass(frozen=True, slots=True)
class NdisIpsecOffloadV1(Structure):
    """NDIS_IPSEC_OFFLOAD_V1, member IPsecV1 of NDIS_OFFLOAD: NDIS_TASK_IPSEC for NDIS 6 (N-CP6-3)."""

    supported: IpsecV1Supported = IpsecV1Supported()
    ipv4_ah: Annotated[IpsecV1Ah, CName("IPv4AH")] = IpsecV1Ah()
    ipv4_esp: Annotated[IpsecV1Esp, CName("IPv4ESP")] = IpsecV1Esp()


def ipsec_v1_of_task(task: NdisTaskIpsec, encapsulation: int = 0) -> NdisIpsecOffloadV1:
    """NDIS_TASK_IPSEC of 5.1 in the words of NDIS 6, whose structure mirrors it (N-CP6-3, A-14)."""
    esp, ah = task.v4_esp, task.v4_ah
    return NdisIpsecOffloadV1(
        supported=IpsecV1Supported(
            encapsulation=encapsulation,
            ah_esp_combined=task.supported.ah_esp_combined,
            transport_tunnel_combined=task.supported.transport_tunnel_combined,
            ipv4_options=task.supported.v4_options,
            flags=task.supported.reserved,
        ),
        ipv4_ah=IpsecV1Ah(
            md5=ah.md5, sha_1=ah.sha_1, transport=ah.transport, tunnel=ah.tunnel, send=ah.send, receive=ah.receive
        ),
        ipv4_esp=IpsecV1Esp(
            des=esp.des,
            triple_des=esp.triple_des,
            null_esp=esp.null_esp,
            transport=esp.transport,
            tunnel=esp.tunnel,
            send=esp.send,
            receive=esp.receive,
        ),
    )


class IpsecOffloadV2UdpEsp(IntFlag):
    """The UDP-ESP subtypes of version 2, in the capability and in an association (N-V2-2)."""

    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE = 0
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT = 1
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL = 2
    IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL = 4
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL = 8


class IpsecOffloadV2Authentication(IntFlag):
    """IPSEC_OFFLOAD_V2_AUTHENTICATION_*, capability bits and algorithm identifiers at once (N-V2-3)."""

    IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5 = 0x01
    IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1 = 0x02
    IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256 = 0x04
    IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128 = 0x08
    IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_192 = 0x10
    IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_256 = 0x20


class IpsecOffloadV2Encryption(IntFlag):
    """IPSEC_OFFLOAD_V2_ENCRYPTION_*, capability bits and algorithm identifiers at once (N-V2-3)."""

    IPSEC_OFFLOAD_V2_ENCRYPTION_NONE = 0x001
    IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC = 0x002
    IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC = 0x004
    IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128 = 0x008
    IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192 = 0x010
    IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256 = 0x020
    IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128 = 0x040
    IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192 = 0x080
    IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256 = 0x100


@dataclass(frozen=True, slots=True)
class NdisIpsecOffloadV2(Structure):
    """NDIS_IPSEC_OFFLOAD_V2, member IPsecV2 of NDIS_OFFLOAD (N-V2-1)."""

    encapsulation: ENCAPSULATIONS = 0
    ipv6_supported: BOOLEAN = 0
    ipv4_options: BOOLEAN = 0
    ipv6_non_ipsec_extension_headers: Annotated[BOOLEAN, CName("IPv6NonIPsecExtensionHeaders")] = 0
    ah: BOOLEAN = 0
    esp: BOOLEAN = 0
    ah_esp_combined: BOOLEAN = 0
    transport: BOOLEAN = 0
    # Must be true for IPsec offload to be supported at all.
    tunnel: BOOLEAN = 0
    transport_tunnel_combined: BOOLEAN = 0
    lso_supported: BOOLEAN = 0
    extended_sequence_numbers: BOOLEAN = 0
    udp_esp: Annotated[ULONG, Known(IpsecOffloadV2UdpEsp)] = 0
    authentication_algorithms: Annotated[ULONG, Known(IpsecOffloadV2Authentication)] = 0
    encryption_algorithms: Annotated[ULONG, Known(IpsecOffloadV2Encryption)] = 0
    # Counts bundles, not single associations (N-V2-4).
    sa_offload_capacity: ULONG = 0


@dataclass(frozen=True, slots=True)
class SegmentCoalescing(Structure):
    """IPv4 and IPv6 of NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD."""

    enabled: BOOLEAN = 0


@dataclass(frozen=True, slots=True)
class TcpRecvSegCoalesceOffload(Structure):
    """NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD, member Rsc of NDIS_OFFLOAD."""

    ipv4: SegmentCoalescing = SegmentCoalescing()
    ipv6: SegmentCoalescing = SegmentCoalescing()


@dataclass(frozen=True, slots=True)
class EncapsulatedPacketTaskOffload(Structure):
    """NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD, member EncapsulatedPacketTaskOffloadGre of NDIS_OFFLOAD."""

    transmit_checksum_offload_supported: FOUR_BITS = 0
    receive_checksum_offload_supported: FOUR_BITS = 0
    lso_v2_supported: FOUR_BITS = 0
    rss_supported: FOUR_BITS = 0
    vmq_supported: FOUR_BITS = 0
    max_header_size_supported: ULONG = 0


class NdisOffloadRevision(IntEnum):
    """Header.Revision of NDIS_OFFLOAD (N-CP6-2)."""

    NDIS_OFFLOAD_REVISION_1 = 1
    NDIS_OFFLOAD_REVISION_2 = 2
    NDIS_OFFLOAD_REVISION_3 = 3


class NdisOffloadFlags(IntFlag):
    """Flags of NDIS_OFFLOAD: which offloads work together (N-V2-5)."""

    NDIS_OFFLOAD_FLAGS_GROUP_CHECKSUM_CAPABILITIES = 0x1
    IPSEC_OFFLOAD_V2_AND_TCP_CHECKSUM_COEXISTENCE = 0x2
    IPSEC_OFFLOAD_V2_AND_UDP_CHECKSUM_COEXISTENCE = 0x4


@dataclass(frozen=True, slots=True)
class NdisOffloadRevision1(Structure):
    """NDIS_OFFLOAD_REVISION_1: NDIS_OFFLOAD of NDIS 6.0 (N-CP6-2)."""

    header: NdisObjectHeader = NO_HEADER
    checksum: NdisTcpIpChecksumOffload = NdisTcpIpChecksumOffload()
    lso_v1: NdisTcpLargeSendOffloadV1 = NdisTcpLargeSendOffloadV1()
    ipsec_v1: NdisIpsecOffloadV1 = NdisIpsecOffloadV1()
    lso_v2: NdisTcpLargeSendOffloadV2 = NdisTcpLargeSendOffloadV2()
    flags: Annotated[ULONG, Known(NdisOffloadFlags)] = 0


@dataclass(frozen=True, slots=True)
class NdisOffloadRevision2(NdisOffloadRevision1):
    """NDIS_OFFLOAD_REVISION_2: NDIS_OFFLOAD of NDIS 6.1 and 6.20."""

    ipsec_v2: NdisIpsecOffloadV2 = NdisIpsecOffloadV2()


@dataclass(frozen=True, slots=True)
class NdisOffloadRevision3(NdisOffloadRevision2):
    """NDIS_OFFLOAD_REVISION_3: NDIS_OFFLOAD of NDIS 6.30."""

    rsc: TcpRecvSegCoalesceOffload = TcpRecvSegCoalesceOffload()
    encapsulated_packet_task_offload_gre: EncapsulatedPacketTaskOffload = EncapsulatedPacketTaskOffload()


NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_1 = size_through(NdisOffloadRevision1, "flags", Abi.X64)
NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_2 = size_through(NdisOffloadRevision2, "ipsec_v2", Abi.X64)
NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_3 = size_through(
    NdisOffloadRevision3, "encapsulated_packet_task_offload_gre", Abi.X64
)


# --- OID_TCP_OFFLOAD_PARAMETERS ---------------------------------------------------------------------------------


class NdisOffloadParametersRevision(IntEnum):
    """Header.Revision of NDIS_OFFLOAD_PARAMETERS."""

    NDIS_OFFLOAD_PARAMETERS_REVISION_1 = 1
    NDIS_OFFLOAD_PARAMETERS_REVISION_2 = 2
    NDIS_OFFLOAD_PARAMETERS_REVISION_3 = 3


class ChecksumParameter(IntEnum):
    """A checksum member of NDIS_OFFLOAD_PARAMETERS; NO_CHANGE holds for every member."""

    NDIS_OFFLOAD_PARAMETERS_NO_CHANGE = 0
    NDIS_OFFLOAD_PARAMETERS_TX_RX_DISABLED = 1
    NDIS_OFFLOAD_PARAMETERS_TX_ENABLED_RX_DISABLED = 2
    NDIS_OFFLOAD_PARAMETERS_RX_ENABLED_TX_DISABLED = 3
    NDIS_OFFLOAD_PARAMETERS_TX_RX_ENABLED = 4


class LargeSendV1Parameter(IntEnum):
    """LsoV1 of NDIS_OFFLOAD_PARAMETERS."""

    NDIS_OFFLOAD_PARAMETERS_LSOV1_DISABLED = 1
    NDIS_OFFLOAD_PARAMETERS_LSOV1_ENABLED = 2


class IpsecV1Parameter(IntEnum):
    """IPsecV1 of NDIS_OFFLOAD_PARAMETERS (N-CP6-7). The INF keyword counts from one less (N-CP6-8)."""

    NDIS_OFFLOAD_PARAMETERS_IPSECV1_DISABLED = 1
    NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_ENABLED = 2
    NDIS_OFFLOAD_PARAMETERS_IPSECV1_ESP_ENABLED = 3
    NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_AND_ESP_ENABLED = 4


class IpsecV2Parameter(IntEnum):
    """IPsecV2 and IPsecV2IPv4 of NDIS_OFFLOAD_PARAMETERS (N-CP6-7)."""

    NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED = 1
    NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED = 2
    NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED = 3
    NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED = 4


CHECKSUM = Annotated[UCHAR, Known(ChecksumParameter)]


@dataclass(frozen=True, slots=True)
class NdisOffloadParametersRevision1(Structure):
    """NDIS_OFFLOAD_PARAMETERS_REVISION_1: the buffer of OID_TCP_OFFLOAD_PARAMETERS in NDIS 6.0 (N-CP6-7)."""

    header: NdisObjectHeader = NO_HEADER
    ipv4_checksum: CHECKSUM = 0
    tcp_ipv4_checksum: Annotated[CHECKSUM, CName("TCPIPv4Checksum")] = 0
    udp_ipv4_checksum: Annotated[CHECKSUM, CName("UDPIPv4Checksum")] = 0
    tcp_ipv6_checksum: Annotated[CHECKSUM, CName("TCPIPv6Checksum")] = 0
    udp_ipv6_checksum: Annotated[CHECKSUM, CName("UDPIPv6Checksum")] = 0
    lso_v1: Annotated[UCHAR, Known(LargeSendV1Parameter)] = 0
    ipsec_v1: Annotated[UCHAR, Known(IpsecV1Parameter)] = 0
    lso_v2_ipv4: UCHAR = 0
    lso_v2_ipv6: UCHAR = 0
    tcp_connection_ipv4: UCHAR = 0
    tcp_connection_ipv6: UCHAR = 0
    flags: ULONG = 0


@dataclass(frozen=True, slots=True)
class NdisOffloadParametersRevision2(NdisOffloadParametersRevision1):
    """NDIS_OFFLOAD_PARAMETERS_REVISION_2: NDIS 6.1. Header.Size is 22, less than sizeof."""

    ipsec_v2: Annotated[UCHAR, Known(IpsecV2Parameter)] = 0
    ipsec_v2_ipv4: Annotated[UCHAR, Known(IpsecV2Parameter)] = 0


@dataclass(frozen=True, slots=True)
class NdisOffloadParametersRevision3(NdisOffloadParametersRevision2):
    """NDIS_OFFLOAD_PARAMETERS_REVISION_3: NDIS 6.30. Header.Size is 26, less than sizeof."""

    rsc_ipv4: UCHAR = 0
    rsc_ipv6: UCHAR = 0
    encapsulated_packet_task_offload: UCHAR = 0
    encapsulation_types: UCHAR = 0


NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_1 = size_through(NdisOffloadParametersRevision1, "flags", Abi.X64)
NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_2 = size_through(NdisOffloadParametersRevision2, "ipsec_v2_ipv4", Abi.X64)
NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_3 = size_through(NdisOffloadParametersRevision3, "encapsulation_types", Abi.X64)


# --- OID_OFFLOAD_ENCAPSULATION ----------------------------------------------------------------------------------


class NdisOffloadSet(IntEnum):
    """Enabled of NDIS_OFFLOAD_ENCAPSULATION (N-CP6-5)."""

    NDIS_OFFLOAD_SET_NO_CHANGE = 0
    NDIS_OFFLOAD_SET_ON = 1
    NDIS_OFFLOAD_SET_OFF = 2


@dataclass(frozen=True, slots=True)
class FamilyEncapsulation(Structure):
    """IPv4 and IPv6 of NDIS_OFFLOAD_ENCAPSULATION; type and header size are zero unless Enabled is ON."""

    enabled: Annotated[ULONG, Known(NdisOffloadSet)] = 0
    encapsulation_type: ENCAPSULATIONS = 0
    header_size: ULONG = 0


@dataclass(frozen=True, slots=True)
class NdisOffloadEncapsulation(Structure):
    """NDIS_OFFLOAD_ENCAPSULATION, the buffer of OID_OFFLOAD_ENCAPSULATION (N-CP6-5)."""

    header: NdisObjectHeader = NO_HEADER
    ipv4: FamilyEncapsulation = FamilyEncapsulation()
    ipv6: FamilyEncapsulation = FamilyEncapsulation()


NDIS_OFFLOAD_ENCAPSULATION_REVISION_1 = 1
NDIS_SIZEOF_OFFLOAD_ENCAPSULATION_REVISION_1 = size_through(NdisOffloadEncapsulation, "ipv6.header_size", Abi.X64)


# --- requests and indications -----------------------------------------------------------------------------------


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
