"""Building link, IP and UDP headers, and addresses to and from text.

For whoever makes frames: tests, the scenario network, transport-mode ESP. Addresses are bytes in network
order, 4 or 16 for IP and 6 for Ethernet; lengths are bytes. Sources: RFC 791, RFC 8200, RFC 768.
"""

import ipaddress
import struct

from nicsim.errors import InputError, Malformed
from nicsim.wire.checksum import internet_checksum, udp_checksum

_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_UDP = struct.Struct(">HHHH")
_U16 = struct.Struct(">H")

DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
_LENGTH_MAX = 0xFFFF


def build_ethernet(dst: bytes, src: bytes, ethertype: int, payload: bytes) -> bytes:
    """An Ethernet II frame without padding and without FCS."""
    return dst + src + _U16.pack(ethertype) + payload


def build_ipv4(
    src: bytes,
    dst: bytes,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    identification: int = 0,
    flags: int = DONT_FRAGMENT,
    fragment_offset: int = 0,
    tos: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet with its header checksum. `flags` are DONT_FRAGMENT and MORE_FRAGMENTS; the offset is bytes.

    `options` and every `fragment_offset` come in whole words, of 4 and of 8 bytes.
    """
    if len(options) % 4 or len(options) > 40:
        raise ValueError(f"IPv4 options are up to 40 bytes in words of 4, not {len(options)}")
    if fragment_offset % 8:
        raise ValueError(f"a fragment offset is a multiple of 8, not {fragment_offset}")
    header_length = _IPV4.size + len(options)
    total_length = _length("an IPv4 packet", header_length + len(payload))
    first = 0x40 | header_length // 4
    flags_offset = flags | fragment_offset // 8
    header = _IPV4.pack(first, tos, total_length, identification, flags_offset, ttl, protocol, 0, src, dst) + options
    return _with_checksum(header) + payload


def _length(what: str, length: int) -> int:
    if length > _LENGTH_MAX:
        raise ValueError(f"{what} has at most {_LENGTH_MAX} bytes, not {length}")
    return length


def _with_checksum(header: bytes) -> bytes:
    """The IPv4 header with its checksum redone."""
    blank = header[:10] + b"\0\0" + header[12:]
    return blank[:10] + _U16.pack(internet_checksum(blank)) + blank[12:]


def rewrite_ipv4(header: bytes, *, protocol: int, total_length: int, flags_offset: int | None = None) -> bytes:
    """An IPv4 header (options included) with another protocol and total length, its checksum redone.

    Transport-mode ESP does this on the way out and reverses it on the way in; all else stays. Reassembly also
    replaces the 16 bits of flags and fragment offset.
    """
    kept = header[6:8] if flags_offset is None else _U16.pack(flags_offset)
    length = _U16.pack(_length("an IPv4 packet", total_length))
    return _with_checksum(header[:2] + length + header[4:6] + kept + header[8:9] + bytes((protocol,)) + header[10:])


def build_ipv6(
    src: bytes,
    dst: bytes,
    next_header: int,
    payload: bytes,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
    flow_label: int = 0,
) -> bytes:
    """An IPv6 packet. Extension headers are part of `payload`, and `next_header` names the first of them."""
    first = 6 << 28 | traffic_class << 20 | flow_label
    return _IPV6.pack(first, _length("an IPv6 payload", len(payload)), next_header, hop_limit, src, dst) + payload


def build_udp(
    src_port: int, dst_port: int, payload: bytes, *, checksum: int | None = 0, src: bytes = b"", dst: bytes = b""
) -> bytes:
    """A UDP header and its data.

    The checksum is zero unless told, as UDP-ESP over IPv4 sends it (N-NAT-5). None computes it, which needs
    the IP addresses `src` and `dst`.
    """
    length = _length("a UDP datagram", _UDP.size + len(payload))
    if checksum is None:
        if not src or not dst:
            raise ValueError("a UDP checksum covers the IP addresses: give src and dst")
        checksum = udp_checksum(src, dst, _UDP.pack(src_port, dst_port, length, 0) + payload)
    return _UDP.pack(src_port, dst_port, length, checksum) + payload


def format_address(address: bytes) -> str:
    """`192.0.2.1` or `2001:db8::1`, from 4 or 16 bytes."""
    if len(address) not in (4, 16):
        raise Malformed(f"an IP address has 4 or 16 bytes, not {len(address)}")
    return str(ipaddress.ip_address(address))


def parse_address(text: str) -> bytes:
    """4 or 16 bytes from an address a person wrote. A zone (`fe80::1%eth0`) has no place in a packet."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InputError(f"{text!r} is not an IPv4 or IPv6 address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise InputError(f"{text!r} has a zone; give the address alone")
    return address.packed
