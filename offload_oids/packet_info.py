"""What goes with a packet beside its bytes: the out-of-band words of NDIS 5.1, 6.0 and 6.1.

A packet on its way out carries the handle of its association, a packet on its way up what the card did with it. Both
lie in the same place, so these are unions. In 5.1 they hang off the packet, in 6.x a word sits in a slot of
NetBufferListInfo itself.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from offload_oids.layout import HANDLE, PVOID, ULONG, USHORT, Bits, CName, Count, Known, Structure, Union
from offload_oids.status import CryptoStatus

BIT = Annotated[int, Bits(1)]
SHORT_BIT = Annotated[int, Bits(1, unit=2)]
OCTET = Annotated[int, Bits(8)]


class NdisPerPacketInfo(IntEnum):
    """NDIS_PER_PACKET_INFO, the slots of a 5.1 packet (N-VER-6)."""

    TcpIpChecksumPacketInfo = 0
    IpSecPacketInfo = 1
    TcpLargeSendPacketInfo = 2
    MaxPerPacketInfo = 12


class NdisNetBufferListInfo(IntEnum):
    """NDIS_NET_BUFFER_LIST_INFO, the slots of a 6.x NET_BUFFER_LIST; both IPsec versions use slot 1 (N-V2-14)."""

    TcpIpChecksumNetBufferListInfo = 0
    IPsecOffloadV1NetBufferListInfo = 1
    IPsecOffloadV2NetBufferListInfo = IPsecOffloadV1NetBufferListInfo
    TcpLargeSendNetBufferListInfo = 2
    IPsecOffloadV2TunnelNetBufferListInfo = 11
    IPsecOffloadV2HeaderNetBufferListInfo = 12


@dataclass(frozen=True, slots=True)
class NdisPacketExtension(Structure):
    """NDIS_PACKET_EXTENSION: the twelve slots of a 5.1 packet, indexed by NdisPerPacketInfo."""

    ndis_packet_info: Annotated[tuple[PVOID, ...], Count(NdisPerPacketInfo.MaxPerPacketInfo)] = ()


# --- NDIS 5.1 ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PacketInfoTransmit(Structure):
    """Transmit of NDIS_IPSEC_PACKET_INFO: the association, and for a packet of two layers the other one."""

    offload_handle: HANDLE = 0
    next_offload_handle: HANDLE = 0


@dataclass(frozen=True, slots=True)
class PacketInfoReceive(Structure):
    """Receive of NDIS_IPSEC_PACKET_INFO: 8 bytes on both ABIs."""

    sa_delete_req: Annotated[BIT, CName("SA_DELETE_REQ")] = 0
    crypto_done: Annotated[BIT, CName("CRYPTO_DONE")] = 0
    next_crypto_done: Annotated[BIT, CName("NEXT_CRYPTO_DONE")] = 0
    crypto_status: Annotated[ULONG, Known(CryptoStatus)] = 0


@dataclass(frozen=True, slots=True)
class NdisIpsecPacketInfo(Union):
    """NDIS_IPSEC_PACKET_INFO, what IpSecPacketInfo of a 5.1 packet points to."""

    transmit: PacketInfoTransmit | None = None
    receive: PacketInfoReceive | None = None


# --- NDIS 6.0 ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IpsecV1Transmit(Structure):
    """Transmit of NDIS_IPSEC_OFFLOAD_V1_NET_BUFFER_LIST_INFO: one handle only (A-25)."""

    offload_handle: HANDLE = 0


@dataclass(frozen=True, slots=True)
class IpsecV1Receive(Structure):
    """Receive of NDIS_IPSEC_OFFLOAD_V1_NET_BUFFER_LIST_INFO: two 16-bit halves."""

    sa_delete_req: SHORT_BIT = 0
    crypto_done: SHORT_BIT = 0
    next_crypto_done: SHORT_BIT = 0
    pad: Annotated[int, Bits(13, unit=2)] = 0
    crypto_status: Annotated[USHORT, Known(CryptoStatus)] = 0


@dataclass(frozen=True, slots=True)
class NdisIpsecOffloadV1NetBufferListInfo(Union):
    """NDIS_IPSEC_OFFLOAD_V1_NET_BUFFER_LIST_INFO, slot 1 of a 6.0 NET_BUFFER_LIST."""

    transmit: IpsecV1Transmit | None = None
    receive: IpsecV1Receive | None = None


# --- NDIS 6.1 ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IpsecV2Transmit(Structure):
    """Transmit of NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO: the transport association, or the only one."""

    offload_handle: HANDLE = 0


@dataclass(frozen=True, slots=True)
class IpsecV2Receive(Structure):
    """Receive of NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO: one 32-bit word (N-V2-19)."""

    sa_delete_req: BIT = 0
    crypto_done: BIT = 0
    next_crypto_done: BIT = 0
    reserved: Annotated[int, Bits(13)] = 0
    crypto_status: Annotated[int, Bits(16), Known(CryptoStatus)] = 0


@dataclass(frozen=True, slots=True)
class NdisIpsecOffloadV2NetBufferListInfo(Union):
    """NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO, slot 1 of a 6.1 NET_BUFFER_LIST."""

    transmit: IpsecV2Transmit | None = None
    receive: IpsecV2Receive | None = None


@dataclass(frozen=True, slots=True)
class IpsecV2TunnelTransmit(Structure):
    """Transmit of NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO."""

    tunnel_handle: HANDLE = 0


@dataclass(frozen=True, slots=True)
class NdisIpsecOffloadV2TunnelNetBufferListInfo(Union):
    """NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO, slot 11: the tunnel of a two-layer packet (N-V2-14)."""

    transmit: IpsecV2TunnelTransmit | None = None


@dataclass(frozen=True, slots=True)
class IpsecV2HeaderTransmit(Structure):
    """Transmit of NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO; the offsets are divided by 4 (N-V2-14)."""

    next_header: OCTET = 0
    pad_length: OCTET = 0
    ah_header_offset: OCTET = 0
    esp_header_offset: OCTET = 0


@dataclass(frozen=True, slots=True)
class IpsecV2HeaderReceive(Structure):
    """Receive of NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO; ignored unless HeaderInfoSet (N-V2-19)."""

    next_header: OCTET = 0
    pad_length: OCTET = 0
    header_info_set: BIT = 0


@dataclass(frozen=True, slots=True)
class NdisIpsecOffloadV2HeaderNetBufferListInfo(Union):
    """NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO, slot 12."""

    transmit: IpsecV2HeaderTransmit | None = None
    receive: IpsecV2HeaderReceive | None = None
