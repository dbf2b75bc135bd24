"""One packet of any kind: how to offload its associations, its bytes on the wire, its bytes once opened, and what a
flipped bit in each byte must come to.

A packet is one `Portion`, or a tunnel portion around a transport portion. It is put together by hand and sealed by the
oracle; what the bytes are covered by follows from RFC 4302 and RFC 4303, never from what the card makes of them.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, replace

from nicsim.boundary import UdpType
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from offload_oids.ipsec_sa import (
    OffloadAlgoInfo,
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadSecurityAssociation,
)
from offload_oids.ipsec_sa_v2 import (
    Endpoints,
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AlgorithmInfo,
    IpsecOffloadV2SecurityAssociation,
    Ipv4Endpoints,
    Ipv6Endpoints,
)
from tests.driver.builders import ETHERNET, HERE, HERE6, PEER, PEER6, sa, udpesp, v2
from tests.ipsec.algorithms import key_name, made_up, oracle_sa
from tests.oracle_esp import iv_length, pad, seal

PAYLOAD, UDP_NUMBER, ESP_NUMBER, AH_NUMBER = bytes(range(0x81, 0x95)), 17, 50, 51
GATE_PEER, GATE = bytes((203, 0, 113, 1)), bytes((203, 0, 113, 2))
GATE_PEER6, GATE6 = (bytes.fromhex("20010db8" + "f" * 23 + digit) for digit in "12")
SEQUENCE, HIGH = 1, 7
TAG, SNAP = bytes.fromhex("81000064"), bytes.fromhex("aaaa03000000")

# What covers a byte. A flipped bit of it...
FREE = "."
"""is no matter: covered by nothing, or may change on the way. Never another payload."""
SPI = "s"
"""makes it another association's packet, which is not offloaded."""
BY_ESP, BY_AH = "e", "a"
"""is a wrong ICV of ESP, of AH."""
AH_LENGTH = "l"
"""is a wrong ICV of AH, or wrong syntax where AH would end elsewhere than a packet can."""
HEADER = "x"
"""is never a success: AH covers it, but it also says what packet this is."""

# Version 1: ConfAlgo and IntegrityAlgo; version 2: identifiers (N-V2-3).
CONF = {Encryption.NULL: 0, Encryption.DES_CBC: 1, Encryption.TRIPLE_DES_CBC: 3}
HASH = {Integrity.NONE: 0, Integrity.HMAC_MD5_96: 1, Integrity.HMAC_SHA1_96: 2}
HASH_V2 = {**HASH, Integrity.HMAC_SHA2_256_128: 4}
CIPHER_V2 = {
    (Encryption.NULL, 0): 1, (Encryption.DES_CBC, 8): 2, (Encryption.TRIPLE_DES_CBC, 24): 4,
    (Encryption.AES_CBC, 16): 0x40, (Encryption.AES_CBC, 24): 0x80, (Encryption.AES_CBC, 32): 0x100,
}  # fmt: skip
GCM_V2 = {16: 8, 24: 0x10, 32: 0x20}


# The hash, and how much of it is the ICV (RFC 2403, RFC 2404, RFC 4868).
MACS = {
    Integrity.HMAC_MD5_96: ("md5", 12),
    Integrity.HMAC_SHA1_96: ("sha1", 12),
    Integrity.HMAC_SHA2_256_128: ("sha256", 16),
}


def cipher_v2(keys: SaKeys) -> int:
    """The identifier of a cipher with this key length (N-V2-3)."""
    length = len(keys.encryption_key)
    return GCM_V2[length] if keys.encryption.is_aead else CIPHER_V2[keys.encryption, length]


@dataclass(frozen=True)
class Bytes:
    """Bytes of a packet, the same once the card has opened it, and what covers each."""

    wire: bytes
    opened: bytes
    covered: str

    def __add__(self, other: Bytes) -> Bytes:
        return Bytes(self.wire + other.wire, self.opened + other.opened, self.covered + other.covered)


def free(data: bytes) -> Bytes:
    """Bytes that nothing covers."""
    return Bytes(data, data, FREE * len(data))


@dataclass(frozen=True)
class Portion:
    """One portion of a packet: what protects it, how it rides, and which version of the offload it is added by."""

    mode: Mode
    esp: SaKeys | None
    ah: Integrity | None = None
    udp: UdpType = UdpType.NATIVE
    version: int = 1
    ipv6: bool = False
    esn: bool = False
    options: bytes = b""
    """IPv4 options, or one IPv6 hop-by-hop header whose first byte is filled in."""

    def __str__(self) -> str:
        parts = [
            f"v{self.version}",
            key_name(self.esp) if self.esp else "",
            f"ah-{self.ah.value}" if self.ah else "",
            self.mode.value,
            "" if self.udp is UdpType.NATIVE else self.udp.name.lower(),
            "ipv6" if self.ipv6 else "",
            "esn" if self.esn else "",
            "options" if self.options else "",
        ]
        return "-".join(part for part in parts if part)

    @property
    def ends(self) -> tuple[bytes, bytes]:
        """Source and destination of its IP header."""
        if self.mode is Mode.TUNNEL:
            return (GATE_PEER6, GATE6) if self.ipv6 else (GATE_PEER, GATE)
        return (PEER6, HERE6) if self.ipv6 else (PEER, HERE)

    @property
    def esp_spi(self) -> int:
        return 0xA5000050 if self.mode is Mode.TUNNEL else 0x5A000050

    @property
    def ah_spi(self) -> int:
        return 0xC3000051 if self.mode is Mode.TUNNEL else 0x3C000051

    @property
    def ah_key(self) -> bytes:
        return made_up(f"{self.ah.value} key of AH", self.ah.key_length) if self.ah else b""


# --- on the wire -----------------------------------------------------------------------------------------------------


def packet(portion: Portion, inside: Bytes, next_header: int) -> Bytes:
    """The portion around what it protects: an IP packet."""
    number, body = next_header, inside
    if portion.esp:
        number, body = ESP_NUMBER, esp_around(portion, portion.esp, inside, next_header)
        if portion.udp is not UdpType.NATIVE:
            number, body = UDP_NUMBER, udp_around(portion, body)
    if portion.ah is None:
        return free(ip_header(portion, number, len(body.wire))) + body
    return ah_around(portion, number, body)


def frame(portion: Portion, content: Bytes, link: bytes = b"") -> Bytes:
    """An Ethernet frame; `link` stands before the type: tags, or the length of an 802.3 frame with LLC and SNAP."""
    if link == SNAP:
        link = (len(SNAP) + 2 + len(content.wire)).to_bytes(2, "big") + SNAP
    return free(ETHERNET + link + (b"\x86\xdd" if portion.ipv6 else b"\x08\0")) + content


def esp_around(portion: Portion, keys: SaKeys, inside: Bytes, next_header: int) -> Bytes:
    oracle, sequence = oracle_sa(keys), HIGH << 32 | SEQUENCE if portion.esn else SEQUENCE
    iv = made_up(f"iv of {portion.mode.value}", iv_length(oracle))
    wire = seal(oracle, portion.esp_spi, sequence, iv, inside.wire, next_header, portion.esn)
    begin, trailer = 8 + len(iv), pad(oracle, inside.wire, next_header)[len(inside.wire) :]
    opened = wire[:begin] + inside.opened + trailer
    return Bytes(wire, opened + wire[len(opened) :], SPI * 4 + BY_ESP * (len(wire) - 4))


def udp_around(portion: Portion, esp: Bytes) -> Bytes:
    """The UDP header and, with type IKE, the marker of eight zero bytes."""
    marker, port = (bytes(8), 500) if portion.udp is UdpType.IKE else (b"", 4500)
    length = 8 + len(marker) + len(esp.wire)
    # UDP over IPv6 has a checksum (RFC 8200); the card looks at none (N-NAT-5).
    return free(struct.pack(">HHHH", port, port, length, 0xBEEF if portion.ipv6 else 0) + marker) + esp


def ah_around(portion: Portion, next_header: int, body: Bytes) -> Bytes:
    """AH behind the IP header, its ICV over the whole packet (RFC 4302 section 3.3.3)."""
    assert portion.ah
    mac, icv = MACS[portion.ah]
    length = -(-(12 + icv) // (8 if portion.ipv6 else 4)) * (8 if portion.ipv6 else 4)
    fixed = bytes((next_header, length // 4 - 2, 0, 0)) + struct.pack(">II", portion.ah_spi, SEQUENCE)
    header = ip_header(portion, AH_NUMBER, length + len(body.wire))
    signed = bytearray(header + fixed + bytes(length - 12) + body.wire)
    for at in (1, 2, 3, 7) if portion.ipv6 else (1, 6, 7, 8, 10, 11):
        signed[at] = 0
    key, high = portion.ah_key, HIGH.to_bytes(4, "big") if portion.esn else b""
    ah = fixed + hmac.digest(key, bytes(signed) + high, mac)[:icv] + bytes(length - 12 - icv)
    before = "....xxx." + HEADER * 32 if portion.ipv6 else "x.xxaa...x..xxxxxxxx"
    before += HEADER * len(portion.options)
    over_ah = BY_AH + AH_LENGTH + BY_AH * 2 + SPI * 4 + BY_AH * (length - 8)
    return (
        Bytes(header, header, before) + Bytes(ah, ah, over_ah) + Bytes(body.wire, body.opened, BY_AH * len(body.wire))
    )


def ip_header(portion: Portion, number: int, length: int) -> bytes:
    """The IP header with its options, before `length` bytes of `number`."""
    src, dst = portion.ends
    options = portion.options
    if portion.ipv6:
        if options:
            options, number = bytes((number,)) + options[1:], 0
        return struct.pack(">IHBB", 6 << 28, len(options) + length, number, 64) + src + dst + options
    words = 5 + len(options) // 4
    fields = 0x40 | words, 0, words * 4 + length, 0x1234, 0, 64, number
    header = struct.pack(">BBHHHBBH4s4s", *fields, 0, src, dst) + options
    total = sum(struct.unpack(f">{words * 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + (0xFFFF - total).to_bytes(2, "big") + header[12:]


# --- how to offload it -----------------------------------------------------------------------------------------------

Add = OffloadIpsecAddSa | OffloadIpsecAddUdpespSa | IpsecOffloadV2AddSa


def add_of(portion: Portion, *, of_two: bool = False) -> Add:
    """The inbound add of a portion; `of_two` where the other portion is there too."""
    return add_v2(portion, of_two) if portion.version == 2 else add_v1(portion)


def add_v1(portion: Portion) -> OffloadIpsecAddSa | OffloadIpsecAddUdpespSa:
    elements, keys = [], b""
    if portion.esp:
        esp = portion.esp
        elements.append(
            OffloadSecurityAssociation(
                2,
                portion.esp_spi,
                OffloadAlgoInfo(HASH[esp.integrity], len(esp.integrity_key)),
                OffloadAlgoInfo(CONF[esp.encryption], len(esp.encryption_key)),
            )
        )
        keys += esp.encryption_key + esp.integrity_key
    if portion.ah:
        info = OffloadAlgoInfo(HASH[portion.ah], portion.ah.key_length)
        elements.append(OffloadSecurityAssociation(1, portion.ah_spi, info, OffloadAlgoInfo()))
        keys += portion.ah_key
    changes = {"sec_assoc": tuple(elements), "num_sas": len(elements), "key_mat": keys}
    ends = portion.ends if portion.mode is Mode.TUNNEL else (bytes(4), bytes(4))
    if portion.udp is UdpType.NATIVE:
        return sa(src_tunnel_addr=ends[0], dest_tunnel_addr=ends[1], **changes)
    port, kind = (500, 0) if portion.udp is UdpType.IKE else (4500, 1)
    return udpesp(port, kind, src_tunnel_addr=ends[0], dst_tunnel_addr=ends[1], **changes)


def add_v2(portion: Portion, of_two: bool) -> IpsecOffloadV2AddSa:
    elements, keys, info = [], b"", IpsecOffloadV2AlgorithmInfo
    esn = {"flags": 1, "sequence_number_high_order": HIGH} if portion.esn else {}
    if portion.esp:
        esp, gcm = portion.esp, portion.esp.encryption.is_aead
        cipher_key = esp.encryption_key + esp.salt
        cipher = info(cipher_v2(esp), len(cipher_key), 0, esp.icv_length if gcm else 0)
        mac = info(HASH_V2[esp.integrity], len(esp.integrity_key), len(cipher_key))
        elements.append(IpsecOffloadV2SecurityAssociation(0, 2, portion.esp_spi, mac, cipher))
        keys += cipher_key + esp.integrity_key
    if portion.ah:
        mac = info(HASH_V2[portion.ah], portion.ah.key_length, len(keys))
        elements.append(IpsecOffloadV2SecurityAssociation(0, 1, portion.ah_spi, mac))
        keys += portion.ah_key
    src, dst = portion.ends
    ends = {"ipv6_endpoints": Ipv6Endpoints(src, dst)} if portion.ipv6 else {"ipv4_endpoints": Ipv4Endpoints(src, dst)}
    subtypes = {Mode.TRANSPORT: 8 if of_two else 1, Mode.TUNNEL: 4 if of_two else 2}
    return v2(
        num_ext_hdrs=len(elements),
        flags=0x11 if portion.ipv6 else 0x01,
        endpoints=Endpoints(**ends),
        udp_esp_encapsulation=0 if portion.udp is UdpType.NATIVE else subtypes[portion.mode],
        sec_assoc=tuple(replace(element, **esn) for element in elements),
        key=keys,
    )
