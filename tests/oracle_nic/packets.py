"""What is in a frame, and opening it: RFC 791, 8200, 768, 3948, 4302 and 4303 in the plainest way.

Everything works on one `bytes` and offsets into it. What contradicts itself is None: no packet, nothing to do.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from tests.oracle_esp import OracleSa, authentic, decrypted, iv_length

UDP, ESP, AH = 17, 50, 51
IKE, OTHER = 0, 1
NULL, ETHERNET, TAGGED, SNAP = 0x1, 0x2, 0x4, 0x10
SYNTAX, PROTOCOL = 6, 7
BLOCK = {"null": 4, "des": 8, "3des": 8, "aes-cbc": 16, "aes-gcm": 4}


@dataclass(frozen=True)
class Layer:
    """AH or ESP of an association."""

    protocol: int
    spi: int
    keys: OracleSa
    high: int | None = None
    """The half of an extended sequence number that is not on the wire; None for 32-bit numbers."""

    @property
    def row(self) -> tuple[object, ...]:
        """What a table must hold of it."""
        keys = self.keys
        return self.protocol, self.spi, keys.cipher_key, keys.salt, keys.mac_key, keys.icv_length, self.high


@dataclass(frozen=True)
class Sa:
    """One association as the oracle remembers it."""

    version: int
    inbound: bool
    tunnel: bool
    """Which portion it protects, as far as that decides between the failure codes (N-RX-16, A-35)."""
    udp: int | None
    """None native; else the type of its parser entry."""
    family: int
    src: bytes
    src_mask: bytes
    dst: bytes
    dst_mask: bytes
    ports: tuple[int, int]
    layers: tuple[Layer, ...]
    """In the order of the sender: ESP, then AH (N-SA-9)."""

    def wants(self, ip: Ip, ports: tuple[int, int]) -> bool:
        """Whether a packet passes the filter; zero is any (N-SA-3, A-15)."""
        pairs = (self.src, self.src_mask, ip.src), (self.dst, self.dst_mask, ip.dst)
        return (
            ip.version == self.family
            and all(masked(mine, mask) == masked(its, mask) for mine, mask, its in pairs)
            and all(mine in (0, its) for mine, its in zip(self.ports, ports, strict=True))
        )

    def layer(self, protocol: int) -> Layer | None:
        return next((layer for layer in self.layers if layer.protocol == protocol), None)


@dataclass(frozen=True)
class Outcome:
    """What goes up: the frame, the word's flags and status, and NextHeader and PadLength where they are told."""

    frame: bytes
    done: int = 0
    next_done: int = 0
    status: int = 0
    header: tuple[int, int] | None = None


@dataclass(frozen=True)
class Ip:
    """An IP packet at `at`: its payload begins and ends at offsets into the same bytes."""

    at: int
    version: int
    src: bytes
    dst: bytes
    protocol: int
    begin: int
    end: int
    options: bool
    fragment: bool


def masked(address: bytes, mask: bytes) -> bytes:
    return bytes(a & b for a, b in zip(address, mask, strict=True))


def framing(frame: bytes) -> tuple[int, int, int] | None:
    """Encapsulation bits (N-CP6-4), where IP begins, and where it must have ended."""
    at, bits, limit = 12, ETHERNET, len(frame)
    for _ in range(2):
        if frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8", b"\x91\x00"):
            at, bits = at + 4, TAGGED
    kind = int.from_bytes(frame[at : at + 2], "big")
    at += 2
    if len(frame) >= at and kind <= 1500:
        limit = at + kind
        if limit > len(frame) or frame[at : at + 6] != b"\xaa\xaa\x03\0\0\0":
            return None
        bits = SNAP if bits == ETHERNET else SNAP | TAGGED
        at, kind = at + 8, int.from_bytes(frame[at + 6 : min(at + 8, limit)], "big")
    if kind not in (0x0800, 0x86DD) or len(frame) <= at or frame[at] >> 4 != (4 if kind == 0x0800 else 6):
        return None
    return bits, at, limit


def find_ip(raw: bytes, at: int, limit: int) -> Ip | None:
    """The packet that begins at `at` and must end before `limit`."""
    if limit - at >= 20 and raw[at] >> 4 == 4:
        begin, total = at + (raw[at] & 0xF) * 4, int.from_bytes(raw[at + 2 : at + 4], "big")
        if begin < at + 20 or total < begin - at or total > limit - at:
            return None
        fragment = int.from_bytes(raw[at + 6 : at + 8], "big") & 0x3FFF != 0
        src, dst = raw[at + 12 : at + 16], raw[at + 16 : at + 20]
        return Ip(at, 4, src, dst, raw[at + 9], begin, at + total, begin > at + 20, fragment)
    if limit - at >= 40 and raw[at] >> 4 == 6:
        begin, end = at + 40, at + 40 + int.from_bytes(raw[at + 4 : at + 6], "big")
        if end > limit:
            return None
        protocol, options, fragment, seen = raw[at + 6], False, False, 0
        while protocol in (0, 43, 44, 60) and not fragment:
            length = 8 if protocol == 44 else (raw[begin + 1] + 1) * 8 if begin + 2 <= end else 8
            seen += 1
            if begin + length > end or seen > 16:
                return None
            if protocol == 44:
                fragment = int.from_bytes(raw[begin + 2 : begin + 4], "big") & 0xFFF9 != 0
            else:
                options = True
            protocol, begin = raw[begin], begin + length
        return Ip(at, 6, raw[at + 8 : at + 24], raw[at + 24 : at + 40], protocol, begin, end, options, fragment)
    return None


def find_udp(raw: bytes, ip: Ip) -> tuple[int, int, int, int] | None:
    """Both ports, and where the data begins and ends."""
    if ip.end - ip.begin < 8:
        return None
    source, destination, length = (int.from_bytes(raw[at : at + 2], "big") for at in range(ip.begin, ip.begin + 6, 2))
    if not 8 <= length <= ip.end - ip.begin:
        return None
    return source, destination, ip.begin + 8, ip.begin + length


def esp_in_udp(raw: bytes, begin: int, end: int, kind: int) -> int | None:
    """Where ESP begins in UDP data; None for IKE, a keepalive, and what is too short (N-RX-1, N-NAT-4 to 6)."""
    if kind == IKE:
        return begin + 8 if end - begin > 16 and raw[begin : begin + 8] == bytes(8) else None
    return begin if end - begin >= 8 and raw[begin : begin + 4] != bytes(4) else None


# --- opening and sealing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """One portion, checked and decrypted in place; or `status` says what is wrong with it."""

    raw: bytes
    status: int = 0
    begin: int = 0
    end: int = 0
    """The payload of its last layer: the plaintext with its trailer, or what stands behind AH."""
    next_header: int = 0
    decrypted: bool = False


def open_portion(raw: bytes, ip: Ip, at: int, end: int, sa: Sa, tunnel: bool) -> Opened:
    """AH, then the ESP that it covers, or one of them (A-18). The card looks at no padding (N-RX-7)."""
    ah, esp = sa.layer(AH), sa.layer(ESP)
    next_header, behind = ESP, at
    if ah:
        if ip.protocol != AH:
            return Opened(raw, PROTOCOL)  # the association says AH, the packet has only ESP
        length = (raw[at + 1] + 2) * 4
        if not 12 + ah.keys.icv_length <= length <= end - at:
            return Opened(raw, SYNTAX)
        icv = raw[at + 12 : at + 12 + ah.keys.icv_length]
        if ah_icv(raw, ip, at, end, ah) != icv:
            return Opened(raw, 4 if tunnel else 2)
        next_header, behind = raw[at], at + length
        if not esp:
            return Opened(raw, 0, behind, end, next_header)
        if next_header != ESP:
            return Opened(raw, PROTOCOL)
    assert esp
    if end - behind < 8 + iv_length(esp.keys) + esp.keys.icv_length:
        wrong = ah and end - behind >= 8 and raw[behind : behind + 4] != esp.spi.to_bytes(4, "big")
        return Opened(raw, PROTOCOL if wrong else SYNTAX)
    if raw[behind : behind + 4] != esp.spi.to_bytes(4, "big"):
        return Opened(raw, PROTOCOL)
    if not authentic(esp.keys, raw[behind:end], esp.high):
        return Opened(raw, 5 if tunnel else 3)
    begin, stop = behind + 8 + iv_length(esp.keys), end - esp.keys.icv_length
    if stop == begin or (stop - begin) % BLOCK[esp.keys.cipher]:
        return Opened(raw, SYNTAX)
    plain = decrypted(esp.keys, raw[behind:end], esp.high)
    return Opened(raw[:begin] + plain + raw[stop:], 0, begin, stop, plain[-1], True)


def ah_icv(raw: bytes, ip: Ip, at: int, end: int, ah: Layer) -> bytes:
    """RFC 4302 section 3.3.3, for packets without options or extension headers; AH is at `at`."""
    packet = bytearray(raw[ip.at : end])
    for place in (1, 6, 7, 8, 10, 11) if ip.version == 4 else (1, 2, 3, 7):
        packet[place] = 0
    if ip.version == 6:
        packet[0] = 0x60
    icv = at - ip.at + 12
    packet[icv : icv + ah.keys.icv_length] = bytes(ah.keys.icv_length)
    high = b"" if ah.high is None else ah.high.to_bytes(4, "big")
    return hmac.digest(ah.keys.mac_key, bytes(packet) + high, ah.keys.mac)[: ah.keys.icv_length]
