"""NDIS 6.x: what a miniport reports of its offloads, and on which encapsulations they are switched on.

Digest sections 4 and 12. NDIS_OFFLOAD grew with NDIS, so each revision is a structure of its own here; Header.Size
says which one a buffer holds, and counts up to the last member of that revision, not to the padding behind it.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Annotated

from offload_oids.layout import (
    BOOLEAN,
    UCHAR,
    ULONG,
    USHORT,
    Abi,
    Bits,
    CName,
    Known,
    Structure,
    size_through,
)
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
