"""Small captures made to order: two hosts, an SA each way, frames as they pass in front of the local one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.esp import protect
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys, Transform
from nicsim.profile import load_profile
from nicsim.replay.player import Player, ReplayOptions
from nicsim.replay.results import FrameResult, ReplaySummary
from nicsim.replay.sas import FileSa
from nicsim.wire.headers import build_ethernet, build_ipv4, build_udp, parse_address
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import Frame

LOCAL, REMOTE = parse_address("192.0.2.1"), parse_address("198.51.100.7")
LOCAL6, REMOTE6 = parse_address("2001:db8::1"), parse_address("2001:db8:7::7")
MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
INNER = build_ipv4(parse_address("10.1.0.1"), parse_address("10.2.0.2"), 17, build_udp(1000, 2000, b"inside"))

TRIPLE_DES = SaKeys(Encryption.TRIPLE_DES_CBC, bytes(range(24)), Integrity.HMAC_MD5_96, bytes(range(100, 116)))
AES = SaKeys(Encryption.AES_CBC, bytes(range(16)), Integrity.HMAC_SHA1_96, bytes(range(60, 80)))
GCM = SaKeys(Encryption.AES_GCM_16, bytes(range(16)), Integrity.NONE, b"", salt=b"salt")


@dataclass(frozen=True)
class Flow:
    """One direction of traffic, and the association that protects it."""

    association: Association
    salt: int = 0

    def ip(self, sequence: int, inner: bytes = INNER) -> bytes:
        """The protected IP packet with this sequence number."""
        association = self.association
        iv = (
            sequence.to_bytes(association.keys.encryption.iv_length, "big")
            if association.keys.encryption.iv_length
            else b""
        )
        high = sequence >> 32 if association.esn else None
        return protect(
            association,
            Transform(association.keys),
            inner,
            sequence=sequence & 0xFFFFFFFF,
            iv=iv,
            sequence_high=high,
        )

    def frame(self, sequence: int, inner: bytes = INNER) -> bytes:
        return ethernet(self.ip(sequence, inner))

    def with_(self, **changes: object) -> Flow:
        return Flow(replace(self.association, **changes))  # type: ignore[arg-type]


def inbound(keys: SaKeys = TRIPLE_DES, spi: int = 0x1001, **changes: object) -> Flow:
    values = {
        "spi": spi, "mode": Mode.TUNNEL, "encapsulation": Encapsulation.UDP, "keys": keys,
        "src": REMOTE, "dst": LOCAL, "src_port": 1024, "dst_port": 4500,
    } | changes  # fmt: skip
    return Flow(Association(**values))  # type: ignore[arg-type]


def outbound(keys: SaKeys = TRIPLE_DES, spi: int = 0x2002, **changes: object) -> Flow:
    return inbound(keys, spi, **({"src": LOCAL, "dst": REMOTE, "src_port": 4500, "dst_port": 1024} | changes))


def ethernet(ip_packet: bytes) -> bytes:
    ethertype = 0x0800 if ip_packet[0] >> 4 == 4 else 0x86DD
    return build_ethernet(*MAC, ethertype, ip_packet)


def udp(payload: bytes, src_port: int = 4500, dst_port: int = 4500, src: bytes = REMOTE, dst: bytes = LOCAL) -> bytes:
    return ethernet(build_ipv4(src, dst, 17, build_udp(src_port, dst_port, payload)))


def file_sa(flow: Flow, **changes: object) -> FileSa:
    """The association as our JSON would say it."""
    a = flow.association
    values = {
        "where": f"made to order, SPI {a.spi:#x}", "spi": a.spi, "src": a.src, "dst": a.dst, "keys": a.keys,
        "mode": a.mode,
        "udp_encap": a.encapsulation is not Encapsulation.NONE, "esn": a.esn,
    } | changes  # fmt: skip
    return FileSa(**values)  # type: ignore[arg-type]


def esp_sa(flow: Flow, **changes: object) -> FileSa:
    """The association as Wireshark's file says it: no mode, no encapsulation."""
    return file_sa(flow, **({"mode": None, "udp_encap": None} | changes))


def player(
    *associations: FileSa, profile: str = "reference", link_type: int = LinkType.ETHERNET, **options: object
) -> Player:
    values = {
        "local": LOCAL, "local_text": "192.0.2.1", "capabilities": load_profile(profile), "replay_window": 64
    } | options  # fmt: skip
    return Player(list(associations), ReplayOptions(**values), link_type)  # type: ignore[arg-type]


def captured(*datas: bytes, link_type: int = LinkType.ETHERNET) -> list[Frame]:
    return [Frame(n, 1000.0 + n, data, link_type, len(data)) for n, data in enumerate(datas, start=1)]


def play(made: Player, *datas: bytes, link_type: int = LinkType.ETHERNET) -> tuple[list[FrameResult], ReplaySummary]:
    results = list(made.play(captured(*datas, link_type=link_type)))
    return results, made.finish()
