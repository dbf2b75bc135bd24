"""Cutting an IPv4 packet into fragments (RFC 791 section 3.2); reassembly.py puts them together again.

For hosts and routers in front of a link that is too narrow. IPv6 packets are cut at their source only, which nothing
here needs.
"""

import struct

from nicsim.errors import Malformed
from nicsim.wire.checksum import internet_checksum
from nicsim.wire.headers import DONT_FRAGMENT, MORE_FRAGMENTS
from nicsim.wire.packet import IPV4_HEADER_LENGTH

_U16 = struct.Struct(">H")
_OFFSET_MASK = 0x1FFF
_COPIED = 0x80
_END_OF_OPTIONS, _NO_OPERATION = 0, 1


def may_be_fragmented(packet: bytes) -> bool:
    """An IPv4 packet whose sender did not forbid it."""
    return packet[0] >> 4 == 4 and not _U16.unpack_from(packet, 6)[0] & DONT_FRAGMENT


def fragment_ipv4(packet: bytes, mtu: int) -> list[bytes]:
    """The packet as fragments of at most `mtu` bytes; the packet itself where it fits.

    What is a fragment already is cut further, its offset and its flag for more respected. Options without the copied
    flag are in the first fragment only. The caller has parsed the packet and looked at its DF bit. Raises Malformed
    when the MTU has no room for the header and 8 bytes.
    """
    header_length = (packet[0] & 0xF) * 4
    (total,) = _U16.unpack_from(packet, 2)
    if total <= mtu:
        return [packet[:total]]
    (flags_offset,) = _U16.unpack_from(packet, 6)
    at, more = (flags_offset & _OFFSET_MASK) * 8, flags_offset & MORE_FRAGMENTS
    header, data = packet[:header_length], packet[header_length:total]
    fragments = []
    while data:
        room = (mtu - len(header)) & ~7
        if room <= 0:
            raise Malformed(f"an MTU of {mtu} has no room for 8 bytes behind an IPv4 header of {len(header)}")
        if len(header) + len(data) <= mtu:
            room = len(data)
        piece, data = data[:room], data[room:]
        fragments.append(_fragment(header, piece, at, MORE_FRAGMENTS if data else more))
        if at == 0:
            header = header[:IPV4_HEADER_LENGTH] + _copied_options(header[IPV4_HEADER_LENGTH:])
        at += room
    return fragments


def _fragment(header: bytes, data: bytes, offset: int, more: int) -> bytes:
    whole = bytearray(header)
    whole[0] = 0x40 | len(header) // 4
    for at, value in ((2, len(header) + len(data)), (6, more | offset // 8), (10, 0)):
        _U16.pack_into(whole, at, value)
    _U16.pack_into(whole, 10, internet_checksum(bytes(whole)))
    return bytes(whole) + data


def _copied_options(options: bytes) -> bytes:
    """The options that go into every fragment, as whole words. Raises Malformed where a length lies."""
    copied, at = b"", 0
    while at < len(options) and options[at] != _END_OF_OPTIONS:
        if options[at] == _NO_OPERATION:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if not 2 <= length <= len(options) - at:
            raise Malformed(f"IPv4 option {options[at]} claims {length} bytes, {len(options) - at} left")
        if options[at] & _COPIED:
            copied += options[at : at + length]
        at += length
    return copied + bytes(-len(copied) % 4)
