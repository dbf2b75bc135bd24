"""Values and their bytes, written out by hand from the member lists: used in both directions."""

from dataclasses import dataclass

from offload_oids import (
    Abi,
    ChecksumPacketTransmit,
    ChecksumTransmit,
    CryptoStatus,
    EncapsulationFlags,
    IpsecOffloadV2DeleteSa,
    IpsecOffloadV2UpdateSa,
    IpsecV1Receive,
    IpsecV2Receive,
    LsoV1TransmitComplete,
    LsoV2Transmit,
    NdisEncapsulationFormat,
    NdisIpsecOffloadV1NetBufferListInfo,
    NdisIpsecOffloadV2NetBufferListInfo,
    NdisIpsecPacketInfo,
    NdisObjectHeader,
    NdisTaskIpsec,
    NdisTaskOffload,
    NdisTaskOffloadHeader,
    NdisTcpIpChecksumNetBufferListInfo,
    NdisTcpIpChecksumPacketInfo,
    NdisTcpLargeSendOffloadNetBufferListInfo,
    OffloadAlgoInfo,
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
    OffloadIpsecUdpespEncaptypeEntry,
    OffloadSecurityAssociation,
    PacketInfoReceive,
    PacketInfoTransmit,
    Structure,
    TaskIpsecSupported,
    TaskIpsecV4Ah,
    TaskIpsecV4Esp,
)


@dataclass(frozen=True)
class Sample:
    """One value, and its bytes as a host of this width lays them out."""

    about: str
    abi: Abi
    value: Structure
    raw: bytes


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


NOTHING = OffloadSecurityAssociation()
ESP = OffloadSecurityAssociation(
    operation=2,
    spi=0x11223344,
    integrity_algo=OffloadAlgoInfo(2, 20, 0),
    conf_algo=OffloadAlgoInfo(3, 24, 0),
)
RAW_ESP = raw("02000000 11223344 02000000 14000000 00000000 03000000 18000000 00000000") + bytes(12)

ADD_UDPESP = OffloadIpsecAddUdpespSa(
    src_addr=bytes([192, 0, 2, 1]),
    src_mask=bytes([255, 255, 255, 255]),
    dst_addr=bytes([198, 51, 100, 7]),
    dst_mask=bytes([255, 255, 255, 255]),
    protocol=17,
    dst_port=4500,
    flags=1,
    num_sas=1,
    sec_assoc=(ESP, NOTHING, NOTHING),
    offload_handle=0x01020304,
    encap_type_entry=OffloadIpsecUdpespEncaptypeEntry(1, 4500),
    encap_type_entry_offld_handle=0x05060708,
    key_len=5,
    key_mat=b"keys!",
)
RAW_FILTER = raw("c0000201 ffffffff c6336407 ffffffff 11000000 0000 1194 00000000 00000000 0100 0100")

ADD = OffloadIpsecAddSa(
    dest_addr=bytes([198, 51, 100, 7]),
    src_tunnel_addr=bytes([203, 0, 113, 1]),
    flags=2,
    num_sas=-1,
    sec_assoc=(NOTHING, NOTHING, ESP),
    offload_handle=0xA1A2A3A4,
)
RAW_TUNNEL = raw("00000000 00000000 c6336407 00000000 00000000 0000 0000 cb007101 00000000 0200 ffff") + bytes(88)

SAMPLES = (
    Sample("delete", Abi.X86, OffloadIpsecDeleteSa(0x11223344), raw("44332211")),
    Sample("delete", Abi.X64, OffloadIpsecDeleteSa(0x1122334455667788), raw("8877665544332211")),
    Sample("udpesp-delete", Abi.X86, OffloadIpsecDeleteUdpespSa(1, 2), raw("01000000 02000000")),
    Sample("udpesp-delete", Abi.X64, OffloadIpsecDeleteUdpespSa(1, 2), raw("0100000000000000 0200000000000000")),
    Sample("parser-entry", Abi.X86, OffloadIpsecUdpespEncaptypeEntry(1, 4500), raw("01000000 1194 0000")),
    Sample("association", Abi.X64, ESP, RAW_ESP),
    Sample(
        "udpesp-add",
        Abi.X86,
        ADD_UDPESP,
        RAW_FILTER + RAW_ESP + bytes(88) + raw("04030201 01000000 1194 0000 08070605 05000000") + b"keys!",
    ),
    Sample(
        "udpesp-add",
        Abi.X64,
        ADD_UDPESP,
        RAW_FILTER
        + RAW_ESP
        + bytes(88)
        + raw("0403020100000000 01000000 1194 0000 0807060500000000 05000000")
        + b"keys!",
    ),
    Sample("add-without-key", Abi.X86, ADD, RAW_TUNNEL + RAW_ESP + raw("a4a3a2a1 00000000")),
    Sample("add-without-key", Abi.X64, ADD, RAW_TUNNEL + RAW_ESP + raw("a4a3a2a100000000 00000000")),
    Sample(
        "task-header",
        Abi.X86,
        NdisTaskOffloadHeader(1, 28, 0, 28, NdisEncapsulationFormat(2, EncapsulationFlags(1), 14)),
        raw("01000000 1c000000 00000000 1c000000 02000000 01000000 0e000000"),
    ),
    Sample(
        "task",
        Abi.X64,
        NdisTaskOffload(1, 24, 1, 0, 3, b"abc"),
        raw("01000000 18000000 01000000 00000000 03000000") + b"abc",
    ),
    Sample(
        "task-ipsec",
        Abi.X86,
        NdisTaskIpsec(
            TaskIpsecSupported(1, 0, 0, 0x30),
            TaskIpsecV4Ah(md5=1, tunnel=1),
            TaskIpsecV4Esp(triple_des=1, receive=1),
        ),
        raw("01000000 00000000 00000000 30000000 09000000 84000000"),
    ),
    Sample(
        "packet-info-whose-arms-agree",
        Abi.X64,
        NdisIpsecPacketInfo(
            PacketInfoTransmit(0x0000000500000003, 0),
            PacketInfoReceive(1, 1, 0, CryptoStatus.CRYPTO_TUNNEL_ESP_AUTH_FAILED),
        ),
        raw("03000000 05000000 0000000000000000"),
    ),
    Sample(
        "packet-info",
        Abi.X86,
        NdisIpsecPacketInfo(PacketInfoTransmit(2, 6), PacketInfoReceive(0, 1, 0, 6)),
        raw("02000000 06000000"),
    ),
    Sample(
        "version-1-word",
        Abi.X86,
        NdisIpsecOffloadV1NetBufferListInfo(receive=IpsecV1Receive(0, 1, 1, 0, 3)),
        raw("0600 0300"),
    ),
    Sample(
        "version-2-word",
        Abi.X64,
        NdisIpsecOffloadV2NetBufferListInfo(receive=IpsecV2Receive(1, 1, 0, 0, 7)),
        raw("0300 0700 00000000"),
    ),
    Sample(
        "version-2-delete",
        Abi.X64,
        IpsecOffloadV2DeleteSa(NdisObjectHeader(0x80, 1, 24), 0x1000, 0x22),
        raw("80 01 1800 00000000 0010000000000000 2200000000000000"),
    ),
    Sample(
        "version-2-update",
        Abi.X86,
        IpsecOffloadV2UpdateSa(NdisObjectHeader(0x80, 1, 20), 0x33, 2, 0xAABBCCDD, 9),
        raw("80 01 1400 33000000 02000000 aabbccdd 09000000"),
    ),
    Sample(
        "checksum-word-of-5.1",
        Abi.X64,
        NdisTcpIpChecksumPacketInfo(transmit=ChecksumPacketTransmit(1, 0, 1, 0, 1)),
        raw("15000000"),
    ),
    Sample(
        "checksum-word",
        Abi.X64,
        NdisTcpIpChecksumNetBufferListInfo(transmit=ChecksumTransmit(1, 0, 1, 0, 1, 0, 54)),
        raw("15003600 00000000"),
    ),
    Sample(
        "large-send-word",
        Abi.X64,
        NdisTcpLargeSendOffloadNetBufferListInfo(lso_v2_transmit=LsoV2Transmit(1460, 78, 1, 1)),
        raw("b405e0c4 00000000"),
    ),
    Sample(
        "large-send-done",
        Abi.X86,
        NdisTcpLargeSendOffloadNetBufferListInfo(lso_v1_transmit_complete=LsoV1TransmitComplete(0x12345)),
        raw("45230100"),
    ),
)
