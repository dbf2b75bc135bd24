"""Frames for a duel, received and to send: for associations that the oracle knows, whole and damaged, and others.

Put together by hand and sealed by the plain ESP of the oracle. Choices come from `pick`, which takes one of a sequence.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from typing import Protocol, TypeVar

from tests.duel import Duel
from tests.oracle_esp import iv_length, pad, seal
from tests.oracle_nic import Layer, Sa
from tests.oracle_nic.packets import AH, ESP, IKE, UDP

T = TypeVar("T")


class Pick(Protocol):
    """Chooses one of several: hypothesis, a seeded generator."""

    def __call__(self, items: Sequence[T], /) -> T: ...


PEER, HERE, OTHER_HOST = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)), bytes((192, 0, 2, 77))
PEER6, HERE6 = bytes.fromhex("20010db8" + "00" * 11 + "01"), bytes.fromhex("20010db8" + "00" * 11 + "02")
DEAD = 0xDEA8
"""A handle that names nothing."""
TEXT = b"\x11\x22\x33\x44 hello"


def wrapped(sa: Sa, payload: bytes, next_header: int, pick: Pick, *, sealed: bool) -> bytes:
    """An IP packet of an association: as it arrives, or (not sealed) as a host hands it down."""
    src, dst = addresses(sa, pick)
    esp, ah = sa.layer(ESP), sa.layer(AH)
    body, protocol = payload, next_header
    if esp:
        sequence = pick((1, 1, 2**32 - 1))
        if sealed:
            iv, whole = b"\x07" * iv_length(esp.keys), sequence + (esp.high or 0) * 2**32
            body = seal(esp.keys, esp.spi, whole, iv, payload, next_header, esp.high is not None)
        else:
            plain = bytes(iv_length(esp.keys)) + pad(esp.keys, payload, next_header) + bytes(esp.keys.icv_length)
            body = struct.pack(">II", esp.spi, sequence) + plain
        protocol = ESP
    if sa.udp is not None:
        port = pick((500, 4500)) if sa.udp == IKE else pick((4500, 4500, 4501))
        ports = sa.ports[0] or 4500, pick((sa.ports[1] or port, sa.ports[1] or port, port))
        body, protocol = udp((bytes(8) if sa.udp == IKE else b"") + body, *ports), UDP
    packet = ip(body, protocol, src, dst)
    return with_ah(packet, ah, protocol, sealed=sealed) if ah else packet


def addresses(sa: Sa, pick: Pick) -> tuple[bytes, bytes]:
    """Addresses that pass the filter of an association, mostly."""
    usual = (PEER6, HERE6) if sa.family == 6 else (PEER, HERE)
    src, dst = (
        mine if any(mask) else other for mine, mask, other in ((sa.src, sa.src_mask, usual[0]),
                                                                 (sa.dst, sa.dst_mask, usual[1]))
    )  # fmt: skip
    return src, pick((dst,) * 8 + (usual[0],))


def ip(payload: bytes, protocol: int, src: bytes, dst: bytes, options: bytes = b"") -> bytes:
    if len(src) == 16:
        return struct.pack(">IHBB16s16s", 6 << 28, len(payload), protocol, 64, src, dst) + payload
    size = 20 + len(options)
    head = struct.pack(">BBHHHBBH4s4s", 0x40 | size // 4, 0, size + len(payload), 1, 0, 64, protocol, 0, src, dst)
    return head + options + payload


def udp(payload: bytes, src_port: int, dst_port: int) -> bytes:
    return struct.pack(">HHHH", src_port, dst_port, 8 + len(payload), 0) + payload


def with_ah(packet: bytes, ah: Layer, protocol: int, *, sealed: bool) -> bytes:
    """A packet whose payload stands behind AH (RFC 4302); ESN and all."""
    version4 = packet[0] >> 4 == 4
    front, protocol_at, unit = (20, 9, 4) if version4 else (40, 6, 8)
    length = -(-(12 + ah.keys.icv_length) // unit) * unit
    head = bytes((protocol, length // 4 - 2, 0, 0)) + struct.pack(">II", ah.spi, 1)
    work = bytearray(packet)
    work[protocol_at] = AH
    work[front:front] = head + bytes(length - 12)
    if version4:
        work[2:4] = len(work).to_bytes(2, "big")
    else:
        work[4:6] = (len(work) - 40).to_bytes(2, "big")
    if sealed:
        signed = bytearray(work)
        for place in (1, 6, 7, 8, 10, 11) if version4 else (7,):
            signed[place] = 0
        high = b"" if ah.high is None else ah.high.to_bytes(4, "big")
        icv = hmac.digest(ah.keys.mac_key, bytes(signed) + high, ah.keys.mac)[: ah.keys.icv_length]
        work[front + 12 : front + 12 + len(icv)] = icv
    return bytes(work)


def framed(duel: Duel, packet: bytes, pick: Pick) -> bytes:
    """An Ethernet frame, mostly untagged; or the packet as it is, on a link without a header."""
    if duel.raw:
        return packet
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    macs = bytes.fromhex("020000000002020000000001")
    snap = (8 + len(packet)).to_bytes(2, "big") + b"\xaa\xaa\x03\0\0\0"
    return macs + pick((b"",) * 9 + (b"\x81\x00\x00\x64", snap)) + kind + packet


def received(duel: Duel, pick: Pick) -> bytes:
    """A frame for an association that is there or was not long ago, whole or damaged; or something else."""
    inbound = [sa for sa in duel.new() if sa.inbound]
    if not inbound or pick((False,) * 9 + (True,)):
        return framed(duel, pick(OTHERS), pick)
    payload, next_header = TEXT, 17
    if pick((False, False, True)):  # a tunnel, with or without IPsec in it
        inner = wrapped(pick(inbound), TEXT, 17, pick, sealed=True) if pick((True, True, False)) else ip(
            TEXT, 99, PEER, HERE)  # fmt: skip
        payload, next_header = inner, 4 if inner[0] >> 4 == 4 else 41
    frame = framed(duel, wrapped(pick(inbound), payload, next_header, pick, sealed=True), pick)
    return damaged(frame, pick) if pick((False, False, True)) else frame


def damaged(frame: bytes, pick: Pick) -> bytes:
    """One byte changed, or the end cut off or more put behind it."""
    work, at = bytearray(frame), pick(range(len(frame)))
    change = pick(range(6))
    if change < 4:
        work[at if change < 3 else -1] ^= pick((1, 0x80, 0xFF, 4))
    elif change == 4:
        del work[at:]
    else:
        work += bytes(7)
    return bytes(work)


OTHERS = [
    ip(bytes(20), 6, PEER, HERE), ip(udp(b"\xff", 4500, 4500), 17, PEER, HERE),
    ip(udp(b"", 4500, 4501), 17, PEER, HERE),
    ip(udp(bytes(4) + bytes(28), 4500, 4500), 17, PEER, HERE), ip(udp(b"\1" * 7, 4500, 4500), 17, PEER, HERE),
    ip(udp(bytes(8) + bytes(28), 500, 500), 17, PEER, HERE), ip(udp(b"\1" * 30, 500, 500), 17, PEER, HERE),
    ip(bytes(7) + b"\1" + bytes(20), 50, PEER, HERE), ip(bytes(7) + b"\1" + bytes(20), 51, PEER, HERE),
    ip(bytes(3) + b"\1" + bytes(40), 50, PEER, HERE, b"\1\1\1\0"), ip(bytes(3) + b"\1" + bytes(40), 50, PEER6, HERE6),
    ip(bytes((50, 0)) + bytes(6) + bytes(3) + b"\1" + bytes(40), 60, PEER6, HERE6),
]  # fmt: skip


def to_send(duel: Duel, pick: Pick) -> tuple[bytes, int, int]:
    """A frame with the handle of its association, or of another; sometimes with two."""
    outbound = {number: sa for number, sa in duel.oracle.sas.items() if not sa.inbound}
    if not outbound:
        return framed(duel, pick(OTHERS), pick), pick([*duel.oracle.sas, DEAD, 0]), 0
    number = pick(list(outbound))
    packet, tunnel = wrapped(outbound[number], TEXT, 17, pick, sealed=False), 0
    if pick((False, False, True)):
        tunnel = pick(list(outbound))
        next_header = 4 if packet[0] >> 4 == 4 else 41
        packet = wrapped(outbound[tunnel], packet, next_header, pick, sealed=False)
    frame = framed(duel, packet, pick)
    return frame, pick([number] * 20 + [*duel.oracle.sas, DEAD, 0]), pick([tunnel] * 20 + [DEAD])
