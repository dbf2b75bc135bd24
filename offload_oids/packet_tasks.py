"""What goes with a packet for the other tasks: the out-of-band words of checksums and of large sends.

They lie in slots 0 and 2, beside the IPsec words of packet_info.py. In 5.1 the checksum word is a ULONG and the
large-send word the maximum segment size alone, each in the place of a pointer (`NdisPerPacketInfo`); in 6.x both are
unions of bits in a slot of NetBufferListInfo itself.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from offload_oids.layout import PVOID, ULONG, Bits, CName, Known, Structure, Union

BIT = Annotated[int, Bits(1)]
TEN_BITS = Annotated[int, Bits(10)]
MSS = Annotated[int, Bits(20), CName("MSS")]
THIRTY_BITS = Annotated[int, Bits(30)]


class LargeSendType(IntEnum):
    """Type of NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO: which version of large send is meant."""

    NDIS_TCP_LARGE_SEND_OFFLOAD_V1_TYPE = 0
    NDIS_TCP_LARGE_SEND_OFFLOAD_V2_TYPE = 1


class LargeSendIpVersion(IntEnum):
    """IPVersion of LsoV2Transmit."""

    NDIS_TCP_LARGE_SEND_OFFLOAD_IPv4 = 0
    NDIS_TCP_LARGE_SEND_OFFLOAD_IPv6 = 1


TYPE = Annotated[BIT, Known(LargeSendType)]

# --- checksums --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChecksumPacketTransmit(Structure):
    """Transmit of NDIS_TCP_IP_CHECKSUM_PACKET_INFO: what the card shall compute."""

    ndis_packet_checksum_v4: BIT = 0
    ndis_packet_checksum_v6: BIT = 0
    ndis_packet_tcp_checksum: BIT = 0
    ndis_packet_udp_checksum: BIT = 0
    ndis_packet_ip_checksum: BIT = 0


@dataclass(frozen=True, slots=True)
class ChecksumPacketReceive(Structure):
    """Receive of NDIS_TCP_IP_CHECKSUM_PACKET_INFO: what the card has checked, and how it came out."""

    ndis_packet_tcp_checksum_failed: BIT = 0
    ndis_packet_udp_checksum_failed: BIT = 0
    ndis_packet_ip_checksum_failed: BIT = 0
    ndis_packet_tcp_checksum_succeeded: BIT = 0
    ndis_packet_udp_checksum_succeeded: BIT = 0
    ndis_packet_ip_checksum_succeeded: BIT = 0
    ndis_packet_loopback: BIT = 0


@dataclass(frozen=True, slots=True)
class NdisTcpIpChecksumPacketInfo(Union):
    """NDIS_TCP_IP_CHECKSUM_PACKET_INFO, TcpIpChecksumPacketInfo of a 5.1 packet."""

    transmit: ChecksumPacketTransmit | None = None
    receive: ChecksumPacketReceive | None = None
    value: ULONG | None = None


@dataclass(frozen=True, slots=True)
class ChecksumTransmit(Structure):
    """Transmit of NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO; the offset counts bytes, and is for TCP packets only."""

    is_ipv4: Annotated[BIT, CName("IsIPv4")] = 0
    is_ipv6: Annotated[BIT, CName("IsIPv6")] = 0
    tcp_checksum: BIT = 0
    udp_checksum: BIT = 0
    ip_header_checksum: BIT = 0
    reserved: Annotated[int, Bits(11)] = 0
    tcp_header_offset: TEN_BITS = 0


@dataclass(frozen=True, slots=True)
class ChecksumReceive(Structure):
    """Receive of NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO before NDIS 6.30."""

    tcp_checksum_failed: BIT = 0
    udp_checksum_failed: BIT = 0
    ip_checksum_failed: BIT = 0
    tcp_checksum_succeeded: BIT = 0
    udp_checksum_succeeded: BIT = 0
    ip_checksum_succeeded: BIT = 0
    loopback: BIT = 0


@dataclass(frozen=True, slots=True)
class NdisTcpIpChecksumNetBufferListInfo(Union):
    """NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO, slot 0 of a 6.x NET_BUFFER_LIST."""

    transmit: ChecksumTransmit | None = None
    receive: ChecksumReceive | None = None
    value: PVOID | None = None


# --- large sends ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LsoTransmit(Structure):
    """Transmit of NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO: says which of the other arms is meant."""

    unused: THIRTY_BITS = 0
    type: TYPE = 0
    reserved2: BIT = 0


@dataclass(frozen=True, slots=True)
class LsoV1Transmit(Structure):
    """LsoV1Transmit: the largest TCP payload of a segment, and where the TCP header is, both in bytes."""

    mss: MSS = 0
    tcp_header_offset: TEN_BITS = 0
    type: TYPE = 0
    reserved2: BIT = 0


@dataclass(frozen=True, slots=True)
class LsoV1TransmitComplete(Structure):
    """LsoV1TransmitComplete: the TCP payload of all segments together, in bytes."""

    tcp_payload: THIRTY_BITS = 0
    type: TYPE = 0
    reserved2: BIT = 0


@dataclass(frozen=True, slots=True)
class LsoV2Transmit(Structure):
    """LsoV2Transmit: as LsoV1Transmit, and the IP version."""

    mss: MSS = 0
    tcp_header_offset: TEN_BITS = 0
    type: TYPE = 0
    ip_version: Annotated[BIT, CName("IPVersion"), Known(LargeSendIpVersion)] = 0


@dataclass(frozen=True, slots=True)
class LsoV2TransmitComplete(Structure):
    """LsoV2TransmitComplete: nothing but the type."""

    reserved: THIRTY_BITS = 0
    type: TYPE = 0
    reserved2: BIT = 0


@dataclass(frozen=True, slots=True)
class NdisTcpLargeSendOffloadNetBufferListInfo(Union):
    """NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO, slot 2 of a 6.x NET_BUFFER_LIST."""

    transmit: LsoTransmit | None = None
    lso_v1_transmit: LsoV1Transmit | None = None
    lso_v1_transmit_complete: LsoV1TransmitComplete | None = None
    lso_v2_transmit: LsoV2Transmit | None = None
    lso_v2_transmit_complete: LsoV2TransmitComplete | None = None
    value: PVOID | None = None
