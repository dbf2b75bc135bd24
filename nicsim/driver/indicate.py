"""Out-of-band words: what the card wrote about a frame, in the words of the NDIS version (N-RX-12 to N-RX-15); and what
the host wrote about a frame to send, in the card's.

There are few different words, so each is packed once and kept.
"""

from __future__ import annotations

from nicsim.boundary import ChecksumTask, Descriptor, LargeSend, TaskWords
from nicsim.capabilities import NdisVersion
from offload_oids import Abi
from offload_oids.packet_info import (
    IpsecV1Receive,
    IpsecV2HeaderReceive,
    IpsecV2HeaderTransmit,
    NdisIpsecOffloadV1NetBufferListInfo,
    NdisIpsecOffloadV2HeaderNetBufferListInfo,
    NdisIpsecOffloadV2TunnelNetBufferListInfo,
    NdisIpsecPacketInfo,
    PacketInfoReceive,
)
from offload_oids.packet_tasks import (
    LargeSendIpVersion,
    LargeSendType,
    LsoV1TransmitComplete,
    LsoV2TransmitComplete,
    NdisTcpIpChecksumNetBufferListInfo,
    NdisTcpIpChecksumPacketInfo,
    NdisTcpLargeSendOffloadNetBufferListInfo,
)


class Words:
    """Makes the receive words and reads the transmit words of one NDIS version and pointer width."""

    def __init__(self, ndis: NdisVersion, abi: Abi, *, one_handle_in_6_0: bool = True) -> None:
        self._ndis = ndis
        self._two_handles = ndis is NdisVersion.NDIS_5_1 or (ndis is NdisVersion.NDIS_6_0 and not one_handle_in_6_0)
        self._abi = abi
        self._receive: dict[tuple[int, int, int, bool], bytes] = {}
        self._header: dict[tuple[int, int], bytes] = {}
        self._checksum: dict[int, bytes] = {}

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

        The second is NextOffloadHandle in 5.1, a word of its own in 6.1, and nowhere in 6.0 (N-TX-2, A-25).
        """
        if self._two_handles:
            both = ipsec.ljust(2 * self._abi.pointer_size, b"\0")
            old = NdisIpsecPacketInfo.unpack(both, self._abi).transmit
            return (old.offload_handle, old.next_offload_handle) if old else (0, 0)
        new = NdisIpsecOffloadV1NetBufferListInfo.unpack(ipsec, self._abi).transmit
        handle = new.offload_handle if new else 0
        if self._ndis is NdisVersion.NDIS_6_0 or not tunnel:
            return handle, 0
        outer = NdisIpsecOffloadV2TunnelNetBufferListInfo.unpack(tunnel, self._abi).transmit
        return handle, outer.tunnel_handle if outer else 0

    # --- the other tasks -----------------------------------------------------------------------------------------

    def checksum(self, result: int) -> bytes:
        """The checksum word of a received frame: the bits of `ChecksumResult` lie as they do in the word."""
        word = self._checksum.get(result)
        if word is None:
            new = self._ndis is not NdisVersion.NDIS_5_1
            layout = NdisTcpIpChecksumNetBufferListInfo if new else NdisTcpIpChecksumPacketInfo
            word = self._checksum[result] = layout(value=result).pack(self._abi)
        return word

    def transmit_tasks(self, tasks: TaskWords) -> tuple[int, LargeSend | None]:
        """The `ChecksumTask` bits that a frame to send asks for, and its large send if it is one."""
        return self._checksum_tasks(tasks.checksum), self._large_send(tasks)

    def _checksum_tasks(self, word: bytes) -> int:
        """Nothing is asked for unless the host says which IP version it is ("Offloading Checksum Tasks")."""
        if not any(word):
            return 0
        if self._ndis is NdisVersion.NDIS_5_1:
            old = NdisTcpIpChecksumPacketInfo.unpack(word, self._abi).transmit
            assert old is not None  # unpacking fills every arm
            is_ip = old.ndis_packet_checksum_v4 or old.ndis_packet_checksum_v6
            wanted = old.ndis_packet_ip_checksum, old.ndis_packet_tcp_checksum, old.ndis_packet_udp_checksum
        else:
            new = NdisTcpIpChecksumNetBufferListInfo.unpack(word, self._abi).transmit
            assert new is not None
            is_ip = new.is_ipv4 or new.is_ipv6
            wanted = new.ip_header_checksum, new.tcp_checksum, new.udp_checksum
        kinds = ChecksumTask.IP, ChecksumTask.TCP, ChecksumTask.UDP
        return int(sum(kind for asked, kind in zip(wanted, kinds, strict=True) if asked)) if is_ip else 0

    def _large_send(self, tasks: TaskWords) -> LargeSend | None:
        """5.1 gives the segment size alone; version 2 of the offload says what the ESP trailers are to be."""
        if not any(tasks.large_send):
            return None
        if self._ndis is NdisVersion.NDIS_5_1:
            return LargeSend(int.from_bytes(tasks.large_send, "little") & 0xFFFFFFFF)
        word = NdisTcpLargeSendOffloadNetBufferListInfo.unpack(tasks.large_send, self._abi).lso_v1_transmit
        assert word is not None
        # Both versions have these members in the same places; IP identifications are what differs.
        bits = 15 if word.type == LargeSendType.NDIS_TCP_LARGE_SEND_OFFLOAD_V2_TYPE else 16
        header = IpsecV2HeaderTransmit()
        if tasks.header:
            header = NdisIpsecOffloadV2HeaderNetBufferListInfo.unpack(tasks.header, self._abi).transmit or header
        return LargeSend(word.mss, word.tcp_header_offset, header.pad_length, header.next_header, bits)

    def large_send_kind(self, tasks: TaskWords) -> tuple[int, int]:
        """Version and IP version of a large send; version 1, and the one of 5.1, is for IPv4 only."""
        if self._ndis is NdisVersion.NDIS_5_1:
            return 1, 4
        word = NdisTcpLargeSendOffloadNetBufferListInfo.unpack(tasks.large_send, self._abi).lso_v2_transmit
        assert word is not None
        if word.type == LargeSendType.NDIS_TCP_LARGE_SEND_OFFLOAD_V1_TYPE:
            return 1, 4
        return 2, 6 if word.ip_version == LargeSendIpVersion.NDIS_TCP_LARGE_SEND_OFFLOAD_IPv6 else 4

    def large_send_done(self, word: bytes, payload: int) -> bytes:
        """The large-send word as the driver completes it: the TCP payload that was sent, or in version 2 the type."""
        if self._ndis is NdisVersion.NDIS_5_1:
            return payload.to_bytes(self._abi.pointer_size, "little")
        asked = NdisTcpLargeSendOffloadNetBufferListInfo.unpack(word, self._abi).transmit
        assert asked is not None
        if asked.type == LargeSendType.NDIS_TCP_LARGE_SEND_OFFLOAD_V2_TYPE:
            done = NdisTcpLargeSendOffloadNetBufferListInfo(lso_v2_transmit_complete=LsoV2TransmitComplete(type=1))
        else:
            done = NdisTcpLargeSendOffloadNetBufferListInfo(lso_v1_transmit_complete=LsoV1TransmitComplete(payload))
        return done.pack(self._abi)
