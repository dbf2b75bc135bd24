"""Out-of-band words: what the card wrote about a frame, in the words of the NDIS version (N-RX-12 to N-RX-15).

There are few different words, so each is packed once and kept.
"""

from __future__ import annotations

from nicsim.boundary import Descriptor
from nicsim.capabilities import NdisVersion
from offload_oids import Abi
from offload_oids.packet_info import (
    IpsecV1Receive,
    IpsecV2HeaderReceive,
    NdisIpsecOffloadV1NetBufferListInfo,
    NdisIpsecOffloadV2HeaderNetBufferListInfo,
    NdisIpsecOffloadV2TunnelNetBufferListInfo,
    NdisIpsecPacketInfo,
    PacketInfoReceive,
)


class Words:
    """Makes the receive words and reads the transmit words of one NDIS version and pointer width."""

    def __init__(self, ndis: NdisVersion, abi: Abi) -> None:
        self._ndis = ndis
        self._abi = abi
        self._receive: dict[tuple[int, int, int, bool], bytes] = {}
        self._header: dict[tuple[int, int], bytes] = {}

    def receive(self, descriptor: Descriptor, *, delete_request: bool = False) -> bytes:
        """The IPsec word of a received frame; whether its association should go is no matter of what was done to it."""
        key = (descriptor.crypto_done, descriptor.next_crypto_done, descriptor.crypto_status, delete_request)
        word = self._receive.get(key)
        if word is None:
            word = self._receive[key] = self._pack_receive(*key)
        return word

    def _pack_receive(self, done: int, next_done: int, status: int, delete_request: bool) -> bytes:
        delete = int(delete_request)
        if self._ndis is NdisVersion.NDIS_5_1:
            old = PacketInfoReceive(
                sa_delete_req=delete, crypto_done=done, next_crypto_done=next_done, crypto_status=status
            )
            return NdisIpsecPacketInfo(receive=old).pack(self._abi)
        # Version 2 puts the same bits in the same places (N-V2-19).
        new = IpsecV1Receive(sa_delete_req=delete, crypto_done=done, next_crypto_done=next_done, crypto_status=status)
        return NdisIpsecOffloadV1NetBufferListInfo(receive=new).pack(self._abi)

    def header(self, next_header: int, pad_length: int) -> bytes:
        """The version 2 header word of a received frame that was opened (N-V2-19)."""
        word = self._header.get((next_header, pad_length))
        if word is None:
            arm = IpsecV2HeaderReceive(next_header=next_header, pad_length=pad_length, header_info_set=1)
            word = NdisIpsecOffloadV2HeaderNetBufferListInfo(receive=arm).pack(self._abi)
            self._header[next_header, pad_length] = word
        return word

    def transmit_handles(self, ipsec: bytes, tunnel: bytes) -> tuple[int, int]:
        """OffloadHandle of a frame to send, and the handle of its tunnel portion where it has two (N-TX-1, N-V2-14).

        The second is NextOffloadHandle in 5.1, a word of its own in 6.1, and nowhere in 6.0 (A-25).
        """
        if self._ndis is NdisVersion.NDIS_5_1:
            old = NdisIpsecPacketInfo.unpack(ipsec, self._abi).transmit
            return (old.offload_handle, old.next_offload_handle) if old else (0, 0)
        new = NdisIpsecOffloadV1NetBufferListInfo.unpack(ipsec, self._abi).transmit
        handle = new.offload_handle if new else 0
        if self._ndis is NdisVersion.NDIS_6_0 or not tunnel:
            return handle, 0
        outer = NdisIpsecOffloadV2TunnelNetBufferListInfo.unpack(tunnel, self._abi).transmit
        return handle, outer.tunnel_handle if outer else 0
