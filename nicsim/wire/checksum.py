"""The Internet checksum (RFC 1071) and the pseudo-headers it covers for UDP and TCP.

Sums are of 16-bit big-endian words. Used by headers.py and reassembly.py, and by whoever must repair a
checksum after decryption.
"""

import struct

from nicsim.wire.esp import PROTOCOL_UDP

_PSEUDO_IPV4 = struct.Struct(">4s4sxBH")
_PSEUDO_IPV6 = struct.Struct(">16s16sI3xB")


def internet_checksum(data: bytes) -> int:
    """The 16-bit one's complement of the one's complement sum of `data`, padded with a zero byte if odd.

    2**16 is 1 modulo 0xFFFF, so the whole buffer read as one number is congruent to the sum of its words. Only
    a buffer of zeros has the sum 0; every other multiple of 0xFFFF folds to 0xFFFF (RFC 1071 section 2).
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return -number % 0xFFFF if number else 0xFFFF


def pseudo_header(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    """What a transport checksum covers of IP: 12 bytes for IPv4 (RFC 768), 40 for IPv6 (RFC 8200 section 8.1).

    `src` and `dst` are both 4 or both 16 bytes; `length` is that of the transport header and its data.
    """
    if len(src) == 4:
        return _PSEUDO_IPV4.pack(src, dst, protocol, length)
    return _PSEUDO_IPV6.pack(src, dst, length, protocol)


def udp_checksum(src: bytes, dst: bytes, udp: bytes) -> int:
    """The checksum of a UDP header and its data; what stands in its checksum field now does not count.

    A computed zero is sent as 0xFFFF, because zero on the wire means "no checksum" (RFC 768).
    """
    covered = pseudo_header(src, dst, PROTOCOL_UDP, len(udp)) + udp[:6] + b"\0\0" + udp[8:]
    return internet_checksum(covered) or 0xFFFF


def adjusted_checksum(checksum: int, old: bytes, new: bytes) -> int:
    """A stored checksum after some of what it covers changed from `old` to `new` (RFC 1624 equation 3).

    Both are the same even number of bytes, from an even offset. In UDP, whoever calls keeps a zero that means "none"
    as it is, and sends a computed zero as 0xFFFF.
    """
    total = (checksum ^ 0xFFFF) + (~int.from_bytes(old, "big") % (1 << 8 * len(old))) + int.from_bytes(new, "big")
    # 2**16 is 1 modulo 0xFFFF; a sum that is not zero folds to 0xFFFF, never to 0 (see internet_checksum).
    folded = (total - 1) % 0xFFFF + 1 if total else 0
    return folded ^ 0xFFFF
