"""The host transport's side of checksums and large sends: what it leaves in the headers, and the words it writes.

"Offloading Checksum Tasks" and "Offloading the Segmentation of Large TCP Packets": the transport puts the sum over the
pseudo-header into the checksum field, with the length where a single checksum is asked for, without it where the NIC
has yet to cut. Which tasks a NIC may be asked for is what it reports (N-CAP-6, N-V2-5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nicsim.boundary import ChecksumResult, ChecksumTask, TaskWords
from nicsim.capabilities import NdisVersion
from nicsim.errors import Malformed
from nicsim.ipsec.association import Association, Mode
from nicsim.ipsec.esp import framed_large
from nicsim.wire.checksum import internet_checksum, pseudo_header
from nicsim.wire.esp import ESP_HEADER_LENGTH, PROTOCOL_UDP
from nicsim.wire.packet import LinkType, parse_frame
from offload_oids import Abi
from offload_oids.packet_info import IpsecV2HeaderTransmit, NdisIpsecOffloadV2HeaderNetBufferListInfo
from offload_oids.packet_tasks import (
    ChecksumPacketTransmit,
    ChecksumTransmit,
    LsoV1Transmit,
    LsoV2Transmit,
    NdisTcpIpChecksumNetBufferListInfo,
    NdisTcpIpChecksumPacketInfo,
    NdisTcpLargeSendOffloadNetBufferListInfo,
)

PROTOCOL_TCP = 6
CHECKSUM_OFFSETS = {PROTOCOL_TCP: 16, PROTOCOL_UDP: 6}
TASKS = {PROTOCOL_TCP: ChecksumTask.TCP, PROTOCOL_UDP: ChecksumTask.UDP}

_U16 = struct.Struct(">H")


def seeded(ip_packet: bytes, *, with_length: bool) -> bytes:
    """An IP packet whose TCP or UDP checksum field holds the sum over the pseudo-header, which is not inverted.

    With the length for a NIC that completes the checksum, without it for one that cuts the packet first. Raises
    Malformed where there is neither TCP nor UDP.
    """
    packet = parse_frame(ip_packet, LinkType.RAW)
    at = CHECKSUM_OFFSETS.get(packet.protocol)
    if at is None or packet.end - packet.payload < at + 2:
        raise Malformed(f"a checksum task needs TCP or UDP, protocol {packet.protocol} came")
    length = packet.end - packet.payload if with_length else 0
    total = 0xFFFF - internet_checksum(pseudo_header(packet.src, packet.dst, packet.protocol, length))
    place = packet.payload + at
    return ip_packet[:place] + _U16.pack(total) + ip_packet[place + 2 :]


@dataclass(frozen=True, slots=True)
class TaskWriter:
    """Writes and reads the words of one NDIS version and pointer width."""

    ndis: NdisVersion
    abi: Abi

    def checksums(self, tasks: int, version: int, tcp_header_offset: int = 0) -> bytes:
        """Slot 0 of a frame to send: `ChecksumTask` bits, the IP version, for TCP where its header is in the frame."""
        ip, tcp, udp = (int(bool(tasks & task)) for task in (ChecksumTask.IP, ChecksumTask.TCP, ChecksumTask.UDP))
        is_ipv4, is_ipv6 = int(version == 4), int(version == 6)
        if self.ndis is NdisVersion.NDIS_5_1:
            old = ChecksumPacketTransmit(is_ipv4, is_ipv6, tcp, udp, ip)
            return NdisTcpIpChecksumPacketInfo(transmit=old).pack(self.abi)
        new = ChecksumTransmit(is_ipv4, is_ipv6, tcp, udp, ip, 0, tcp_header_offset)
        return NdisTcpIpChecksumNetBufferListInfo(transmit=new).pack(self.abi)

    def large_send(self, mss: int, tcp_header_offset: int, version: int, lso_version: int = 2) -> bytes:
        """Slot 2 of a large packet to send."""
        if self.ndis is NdisVersion.NDIS_5_1:
            return mss.to_bytes(self.abi.pointer_size, "little")
        if lso_version == 1:
            old = LsoV1Transmit(mss, tcp_header_offset)
            return NdisTcpLargeSendOffloadNetBufferListInfo(lso_v1_transmit=old).pack(self.abi)
        new = LsoV2Transmit(mss, tcp_header_offset, 1, int(version == 6))
        return NdisTcpLargeSendOffloadNetBufferListInfo(lso_v2_transmit=new).pack(self.abi)

    def header(self, next_header: int, pad_length: int, esp_offset: int, ah_offset: int = 0) -> bytes:
        """Slot 12 of version 2; the offsets are bytes from the IP header, whole words (N-V2-14)."""
        arm = IpsecV2HeaderTransmit(next_header, pad_length, ah_offset // 4, esp_offset // 4)
        return NdisIpsecOffloadV2HeaderNetBufferListInfo(transmit=arm).pack(self.abi)

    def large_send_done(self, word: bytes) -> int:
        """How many bytes of TCP payload a completed large send came to; in version 2 of it nobody says, so 0."""
        if self.ndis is NdisVersion.NDIS_5_1:
            return int.from_bytes(word, "little")
        arm = NdisTcpLargeSendOffloadNetBufferListInfo.unpack(word, self.abi).lso_v1_transmit_complete
        return arm.tcp_payload if arm else 0

    def checksum_result(self, word: bytes) -> ChecksumResult:
        """What the NIC says of the checksums of a received frame; no word, or none of the bits: it did not look."""
        if not word:
            return ChecksumResult(0)
        if self.ndis is NdisVersion.NDIS_5_1:
            value = NdisTcpIpChecksumPacketInfo.unpack(word, self.abi).value
        else:
            value = NdisTcpIpChecksumNetBufferListInfo.unpack(word, self.abi).value
        return ChecksumResult((value or 0) & sum(ChecksumResult))


def frame_large_send(
    association: Association,
    ip_packet: bytes,
    writer: TaskWriter,
    *,
    sequence: int,
    mss: int,
    link_header: bytes = b"",
    discard: int = 0,
    lso_version: int = 2,
) -> tuple[bytes, TaskWords]:
    """A large TCP packet in transport mode, framed for a NIC that cuts it, and its words (N-V2-5, N-V2-15).

    `ip_packet` is plain; `sequence` that of the first segment, and as many more are used up as there are segments;
    `discard` bytes of padding are framed for the NIC to throw away. Raises SealError or Malformed.
    """
    if association.mode is not Mode.TRANSPORT:
        raise Malformed("a large send needs transport mode, tunnel mode came")
    framed = framed_large(association, seeded(ip_packet, with_length=False), sequence=sequence, discard=discard)
    packet = parse_frame(framed, LinkType.RAW)
    esp = packet.payload
    if packet.protocol == PROTOCOL_UDP:
        esp = packet.udp_payload
        # Ciphertext decides over this checksum, and only the NIC will have it, which leaves it alone (N-TX-9).
        framed = framed[: esp - 2] + b"\0\0" + framed[esp:]
    tcp = len(link_header) + esp + ESP_HEADER_LENGTH + association.keys.encryption.iv_length
    words = TaskWords(
        large_send=writer.large_send(mss, tcp, packet.version, lso_version),
        header=writer.header(PROTOCOL_TCP, discard, esp),
    )
    return link_header + framed, words
