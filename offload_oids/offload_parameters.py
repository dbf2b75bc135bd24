"""NDIS_OFFLOAD_PARAMETERS, the buffer of OID_TCP_OFFLOAD_PARAMETERS: which offloads are on at all (N-CP6-7).

It grew with NDIS, so each revision is a structure of its own; Header.Size counts up to the last member of its
revision, not to the padding behind it.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from offload_oids.layout import UCHAR, ULONG, Abi, CName, Known, Structure, size_through
from offload_oids.ndis_offload import NO_HEADER, NdisObjectHeader


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
