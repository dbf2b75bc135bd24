"""Where things are in a frame: link header, IPv4 or IPv6 with its extension headers, UDP.

`parse_frame` reads the headers once and answers with offsets into the frame; it copies nothing but the two
addresses. It runs for every frame, so each header is one precompiled unpack behind one bounds check. All
integers on the wire are big-endian; lengths and offsets are bytes from the start of the frame.

Called by the card for received and sent frames, and by the replay. Sources: RFC 791 (IPv4), RFC 8200 (IPv6),
RFC 768 (UDP), IEEE 802.1Q, RFC 1042 (LLC/SNAP), and the link-layer type list of the capture formats.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from nicsim.errors import Malformed, NotIp
from nicsim.wire.esp import PROTOCOL_UDP


class LinkType(IntEnum):
    """The link types of capture files that `parse_frame` reads."""

    ETHERNET = 1
    # Raw IP as written by some systems with their own number for it.
    RAW_BSD = 12
    RAW_OPENBSD = 14
    # IPv4 or IPv6 without a link header; the version field decides.
    RAW = 101
    IPV4 = 228
    IPV6 = 229


_LINK_TYPE_NAMES = {
    0: "NULL",
    6: "IEEE802_5",
    7: "ARCNET_BSD",
    8: "SLIP",
    9: "PPP",
    10: "FDDI",
    50: "PPP_HDLC",
    51: "PPP_ETHER",
    100: "ATM_RFC1483",
    104: "C_HDLC",
    105: "IEEE802_11",
    107: "FRELAY",
    108: "LOOP",
    113: "LINUX_SLL",
    117: "PFLOG",
    119: "IEEE802_11_PRISM",
    122: "IP_OVER_FC",
    127: "IEEE802_11_RADIOTAP",
    147: "USER0",
    163: "IEEE802_11_AVS",
    187: "BLUETOOTH_HCI_H4",
    189: "USB_LINUX",
    192: "PPI",
    195: "IEEE802_15_4",
    220: "USB_LINUX_MMAPPED",
    227: "CAN_SOCKETCAN",
    239: "NFLOG",
    247: "INFINIBAND",
    249: "USBPCAP",
    252: "WIRESHARK_UPPER_PDU",
    253: "NETLINK",
    276: "LINUX_SLL2",
} | {member.value: member.name for member in LinkType}


def link_type_name(number: int) -> str:
    """`113 (LINUX_SLL)`, or the bare number where we know no name for it."""
    name = _LINK_TYPE_NAMES.get(number)
    return f"{number} ({name})" if name else str(number)


class Encapsulation(IntFlag):
    """How IP was framed, NDIS_ENCAPSULATION_*. Tags before LLC/SNAP set two flags."""

    NULL = 0x1
    IEEE_802_3 = 0x2
    IEEE_802_3_P_AND_Q = 0x4
    LLC_SNAP = 0x10


# Plain numbers: reading a member off its class, or combining two, costs as much as unpacking a header.
_NULL = int(Encapsulation.NULL)
_ETHERNET = int(Encapsulation.IEEE_802_3)
_TAGGED = int(Encapsulation.IEEE_802_3_P_AND_Q)
_SNAP = int(Encapsulation.LLC_SNAP)
_TAGGED_SNAP = _TAGGED | _SNAP
_LINK_ETHERNET = int(LinkType.ETHERNET)
_LINKS_RAW = frozenset({int(LinkType.RAW), int(LinkType.RAW_BSD), int(LinkType.RAW_OPENBSD)})
_LINK_IPV4 = int(LinkType.IPV4)
_LINK_IPV6 = int(LinkType.IPV6)

ETHERNET_HEADER_LENGTH = 14
IPV4_HEADER_LENGTH = 20  # without options
IPV6_HEADER_LENGTH = 40
UDP_HEADER_LENGTH = 8
FRAGMENT_HEADER_LENGTH = 8

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
_ETHERTYPE_IPV4_BYTES = b"\x08\x00"
_ETHERTYPE_IPV6_BYTES = b"\x86\xdd"
# 802.1Q, 802.1ad, and the number used before 802.1ad had one.
_TAG_ETHERTYPES = frozenset({0x8100, 0x88A8, 0x9100})
_TAG_LENGTH = 4
_TAGS_MAX = 2
# An Ethernet type field up to this is an 802.3 length.
_LENGTH_FIELD_MAX = 1500
# DSAP and SSAP SNAP, unnumbered information, organisation 0: an ethertype follows (RFC 1042).
SNAP_HEADER = b"\xaa\xaa\x03\0\0\0"
_ETHERTYPE_NAMES = {
    0x0806: "ARP",
    0x8035: "RARP",
    0x8847: "MPLS",
    0x8848: "MPLS multicast",
    0x8863: "PPPoE discovery",
    0x8864: "PPPoE session",
    0x888E: "802.1X",
    0x8892: "PROFINET",
    0x88CC: "LLDP",
    0x88E5: "MACsec",
    0x88F7: "PTP",
    0x9000: "loopback",
}

_HOP_BY_HOP = 0
_ROUTING = 43
_FRAGMENT = 44
_DESTINATION_OPTIONS = 60
# ESP and AH are not here: they end the walk, being what the card is about.
_EXTENSION_HEADERS = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS})
# RFC 8200 section 4.1 has at most six; a hostile chain would have thousands.
_EXTENSION_HEADERS_MAX = 16

# version and header length, (TOS), total length, identification, flags and fragment offset, TTL, protocol,
# (checksum), source, destination
_IPV4 = struct.Struct(">BxHHHBBxx4s4s").unpack_from
# version, traffic class and flow label; payload length, next header, hop limit, source, destination
_IPV6 = struct.Struct(">IHBB16s16s").unpack_from
# source port, destination port, length
_UDP_HEADER = struct.Struct(">HHH").unpack_from
# next header, (reserved), offset and more-fragments flag, identification
_FRAGMENT_HEADER = struct.Struct(">BxHI").unpack_from
_U16 = struct.Struct(">H").unpack_from


# Not frozen: a frozen dataclass sets each field through object.__setattr__, which would double the cost of
# parsing a frame. Nobody changes a Packet.
@dataclass(slots=True)
class Packet:
    """One IP packet within a frame, as offsets into that frame."""

    # Encapsulation bits.
    encapsulation: int
    # Offset of the IP header.
    network: int
    # 4 or 6.
    version: int
    # Addresses of the IP header, 4 or 16 bytes.
    src: bytes
    dst: bytes
    # TTL or hop limit.
    ttl: int
    # The upper protocol, behind any IPv6 extension headers; in a later fragment, what the fragment header names.
    protocol: int
    # Offset of the upper protocol's header.
    payload: int
    # Offset where the packet ends by its own length; what follows is link padding.
    end: int
    # IPv4 options are present, or IPv6 extension headers other than the fragment header.
    options: bool
    # Bytes, a multiple of 8.
    fragment_offset: int
    more_fragments: bool
    # 16 bits in IPv4, 32 in IPv6; 0 in an IPv6 packet without fragment header.
    identification: int
    # The packet needs reassembly. An atomic IPv6 fragment (RFC 6946) does not.
    is_fragment: bool
    # UDP only, and not in a later fragment; otherwise -1.
    src_port: int = -1
    dst_port: int = -1
    # Offsets of the UDP data and of its end by the UDP length (in a first fragment: the end of the fragment);
    # -1 where there are no ports.
    udp_payload: int = -1
    udp_end: int = -1
    # Offset of the IPv6 fragment header, where the unfragmentable part ends; -1 if there is none.
    fragment_header: int = -1
    # Offset of the byte that names the fragment header as the next one; -1 if there is none.
    fragment_link: int = -1


def parse_frame(frame: bytes, link_type: int = _LINK_ETHERNET) -> Packet:
    """Find the IP packet in a frame. Raises NotIp if there is none and Malformed if it contradicts itself."""
    if link_type == _LINK_ETHERNET:
        ethertype = frame[12:14]
        if ethertype == _ETHERTYPE_IPV4_BYTES:
            return _parse_ipv4(frame, 14, len(frame), _ETHERNET)
        if ethertype == _ETHERTYPE_IPV6_BYTES:
            return _parse_ipv6(frame, 14, len(frame), _ETHERNET)
        return _parse_other_ethernet(frame)
    if link_type in _LINKS_RAW:
        if not frame:
            raise Malformed("IP header at offset 0 needs 1 byte, 0 left")
        version = frame[0] >> 4
        if version == 4:
            return _parse_ipv4(frame, 0, len(frame), _NULL)
        if version == 6:
            return _parse_ipv6(frame, 0, len(frame), _NULL)
        raise NotIp(f"a raw frame with version {version}, neither IPv4 nor IPv6")
    if link_type == _LINK_IPV4:
        return _parse_ipv4(frame, 0, len(frame), _NULL)
    if link_type == _LINK_IPV6:
        return _parse_ipv6(frame, 0, len(frame), _NULL)
    raise NotIp(f"frames of link type {link_type_name(link_type)} are not parsed")


def _parse_other_ethernet(frame: bytes) -> Packet:
    """An Ethernet frame whose type field is neither IPv4 nor IPv6: tags, LLC/SNAP, or something else."""
    limit = len(frame)
    if limit < ETHERNET_HEADER_LENGTH:
        raise Malformed(f"Ethernet header at offset 0 needs {ETHERNET_HEADER_LENGTH} bytes, {limit} left")
    at = 12  # of the type field
    encapsulation = _ETHERNET
    (ethertype,) = _U16(frame, at)
    for _ in range(_TAGS_MAX):
        if ethertype not in _TAG_ETHERTYPES:
            break
        encapsulation = _TAGGED
        at += _TAG_LENGTH
        ethertype = _ethertype_at(frame, at, limit, "type after an 802.1Q tag")
    if ethertype <= _LENGTH_FIELD_MAX:
        start = at + 2
        if ethertype > limit - start:
            raise Malformed(f"802.3 length {ethertype} at offset {at} needs {ethertype} bytes, {limit - start} left")
        limit = start + ethertype
        if not frame.startswith(SNAP_HEADER, start, limit):
            raise NotIp(f"an 802.3 frame whose LLC header is {frame[start : min(start + 3, limit)].hex() or 'missing'}")
        encapsulation = _TAGGED_SNAP if encapsulation == _TAGGED else _SNAP
        at = start + len(SNAP_HEADER)
        ethertype = _ethertype_at(frame, at, limit, "SNAP type")
    if ethertype == ETHERTYPE_IPV4:
        return _parse_ipv4(frame, at + 2, limit, encapsulation)
    if ethertype == ETHERTYPE_IPV6:
        return _parse_ipv6(frame, at + 2, limit, encapsulation)
    if ethertype in _TAG_ETHERTYPES:
        raise NotIp(f"more than {_TAGS_MAX} 802.1Q tags")
    name = _ETHERTYPE_NAMES.get(ethertype)
    raise NotIp(f"ethertype 0x{ethertype:04x}{f' ({name})' if name else ''} is not IP")


def _ethertype_at(frame: bytes, at: int, limit: int, what: str) -> int:
    if at + 2 > limit:
        raise Malformed(f"{what} at offset {at} needs 2 bytes, {max(limit - at, 0)} left")
    return int(_U16(frame, at)[0])


def _parse_ipv4(frame: bytes, network: int, limit: int, encapsulation: int) -> Packet:
    if limit - network < IPV4_HEADER_LENGTH:
        raise Malformed(f"IPv4 header at offset {network} needs {IPV4_HEADER_LENGTH} bytes, {limit - network} left")
    first, total, identification, flags_offset, ttl, protocol, src, dst = _IPV4(frame, network)
    if first == 0x45:
        header_length = 20
        options = False
    else:
        header_length = _ipv4_header_length(first, network, limit)
        options = header_length > IPV4_HEADER_LENGTH
    # Segmentation offload leaves the length zero in frames captured on the sending host.
    end = network + total if total else limit
    payload = network + header_length
    if end > limit:
        raise Malformed(
            f"IPv4 total length {total} at offset {network + 2} needs {total} bytes, {limit - network} left"
        )
    if end < payload:
        raise Malformed(f"IPv4 total length {total} is shorter than its header of {header_length}")
    if flags_offset & 0x3FFF:
        fragment_offset = (flags_offset & 0x1FFF) * 8
        more = flags_offset & 0x2000 != 0
        is_fragment = True
    else:
        fragment_offset = 0
        more = is_fragment = False
    if protocol != PROTOCOL_UDP or fragment_offset:
        return Packet(
            encapsulation, network, 4, src, dst, ttl, protocol, payload, end, options,
            fragment_offset, more, identification, is_fragment,
        )  # fmt: skip
    src_port, dst_port, udp_end = _parse_udp(frame, payload, end, more)
    return Packet(
        encapsulation, network, 4, src, dst, ttl, protocol, payload, end, options,
        fragment_offset, more, identification, is_fragment,
        src_port, dst_port, payload + 8, udp_end,
    )  # fmt: skip


def _ipv4_header_length(first: int, network: int, limit: int) -> int:
    if first >> 4 != 4:
        raise Malformed(f"IPv4 header at offset {network} has version {first >> 4}")
    header_length = (first & 0xF) * 4
    if header_length < IPV4_HEADER_LENGTH:
        raise Malformed(f"IPv4 header length {header_length} at offset {network} is less than {IPV4_HEADER_LENGTH}")
    if header_length > limit - network:
        raise Malformed(f"IPv4 header at offset {network} needs {header_length} bytes, {limit - network} left")
    return header_length


def _parse_udp(frame: bytes, start: int, end: int, more: bool) -> tuple[int, int, int]:
    """Source port, destination port, end of the data. Only a first fragment may be shorter than the UDP length."""
    left = end - start
    if left < UDP_HEADER_LENGTH:
        raise Malformed(f"UDP header at offset {start} needs {UDP_HEADER_LENGTH} bytes, {left} left")
    src_port, dst_port, length = _UDP_HEADER(frame, start)
    if length == left:
        return src_port, dst_port, end
    if length < UDP_HEADER_LENGTH:
        raise Malformed(f"UDP length {length} at offset {start + 4} is shorter than its own header")
    if length < left:
        return src_port, dst_port, start + length
    if more:
        return src_port, dst_port, end
    raise Malformed(f"UDP length {length} at offset {start + 4} needs {length} bytes, {left} left")


def _parse_ipv6(frame: bytes, network: int, limit: int, encapsulation: int) -> Packet:
    if limit - network < IPV6_HEADER_LENGTH:
        raise Malformed(f"IPv6 header at offset {network} needs {IPV6_HEADER_LENGTH} bytes, {limit - network} left")
    first, length, protocol, ttl, src, dst = _IPV6(frame, network)
    if first >> 28 != 6:
        raise Malformed(f"IPv6 header at offset {network} has version {first >> 28}")
    payload = network + IPV6_HEADER_LENGTH
    end = payload + length
    if end > limit:
        raise Malformed(
            f"IPv6 payload length {length} at offset {network + 4} needs {length} bytes, {limit - payload} left"
        )
    if protocol in _EXTENSION_HEADERS:
        if protocol == _HOP_BY_HOP and length == 0:
            raise Malformed(f"IPv6 payload length 0 at offset {network + 4} with hop-by-hop options: a jumbogram")
        packet = _walk_extension_headers(
            frame, Packet(encapsulation, network, 6, src, dst, ttl, protocol, payload, end, False, 0, False, 0, False)
        )
    else:
        packet = Packet(encapsulation, network, 6, src, dst, ttl, protocol, payload, end, False, 0, False, 0, False)
    if packet.protocol == PROTOCOL_UDP and not packet.fragment_offset:
        payload = packet.payload
        packet.src_port, packet.dst_port, packet.udp_end = _parse_udp(frame, payload, end, packet.more_fragments)
        packet.udp_payload = payload + UDP_HEADER_LENGTH
    return packet


def _walk_extension_headers(frame: bytes, packet: Packet) -> Packet:
    """Move the packet's protocol and payload behind its extension headers (RFC 8200 section 4), and note them."""
    at, end, protocol = packet.payload, packet.end, packet.protocol
    link = packet.network + 6  # the byte that named the header at `at`
    for _ in range(_EXTENSION_HEADERS_MAX):
        if protocol not in _EXTENSION_HEADERS:
            break
        if end - at < FRAGMENT_HEADER_LENGTH:  # the least that any of them has
            raise Malformed(f"IPv6 extension header {protocol} at offset {at} needs 8 bytes, {end - at} left")
        if protocol == _FRAGMENT:
            if packet.fragment_header >= 0:
                raise Malformed(f"a second IPv6 fragment header at offset {at}")
            protocol, offset_flags, packet.identification = _FRAGMENT_HEADER(frame, at)
            packet.fragment_header, packet.fragment_link = at, link
            packet.fragment_offset = offset_flags & 0xFFF8
            packet.more_fragments = offset_flags & 1 != 0
            packet.is_fragment = offset_flags & 0xFFF9 != 0
            link = at
            at += FRAGMENT_HEADER_LENGTH
            if packet.fragment_offset:
                break  # what follows is the middle of something
        else:
            length = (frame[at + 1] + 1) * 8
            if length > end - at:
                raise Malformed(
                    f"IPv6 extension header {protocol} at offset {at} needs {length} bytes, {end - at} left"
                )
            packet.options = True
            protocol = frame[at]
            link = at
            at += length
    else:
        if protocol in _EXTENSION_HEADERS:
            raise Malformed(f"more than {_EXTENSION_HEADERS_MAX} IPv6 extension headers")
    packet.protocol, packet.payload = protocol, at
    return packet
