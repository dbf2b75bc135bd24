"""A packet as the transport hands it to the NIC: everything framed, zeros where IV and ICV will be (N-TX-9).

ESP is framed by ipsec/esp.py; AH goes in front of it, or of what it protects alone.

Used by frames.py for `seal`.
"""

from __future__ import annotations

import struct

from nicsim.boundary import UdpType
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec import esp
from nicsim.ipsec.ah import AH_FIXED_LENGTH
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.transforms import SaKeys
from nicsim.wire.esp import PROTOCOL_AH
from nicsim.wire.headers import build_ethernet, build_ipv4, build_ipv6
from nicsim.wire.packet import LinkType, parse_frame

ENCAPSULATIONS = {
    UdpType.NATIVE: Encapsulation.NONE,
    UdpType.OTHER: Encapsulation.UDP,
    UdpType.IKE: Encapsulation.UDP_NON_IKE,
}
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
DESTINATION_MAC, SOURCE_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
"""Locally administered: the panel's NIC has no neighbours."""


def ethernet(packet: bytes) -> bytes:
    """An IP packet in a frame."""
    return build_ethernet(DESTINATION_MAC, SOURCE_MAC, ETHERTYPES[packet[0] >> 4], packet)


def ip_packet(src: bytes, dst: bytes, protocol: int, payload: bytes) -> bytes:
    """A plain packet between two hosts."""
    build = build_ipv4 if len(src) == 4 else build_ipv6
    return build(src, dst, protocol, payload)


def framed(sa: SecurityAssociation, packet: bytes, sequence: int) -> bytes:
    """The association's packet around a plain one, not sealed. Raises SealError or Malformed."""
    if sa.protocol != PROTOCOL_AH:
        inside = esp.framed(association_of(sa), packet, sequence=sequence)
        return behind_ah(inside, sa.ah.spi, sa.ah.keys, sequence) if sa.ah else inside
    if sa.mode is Mode.TUNNEL:
        header = esp.tunnel_header(association_of(sa), packet, identification=sequence & 0xFFFF)
        number = esp.NEXT_HEADER_IPV4 if packet[0] >> 4 == 4 else esp.NEXT_HEADER_IPV6
        packet = esp.with_payload(header, number, packet)
    return behind_ah(packet, sa.spi, sa.keys, sequence)


def behind_ah(packet: bytes, spi: int, keys: SaKeys, sequence: int) -> bytes:
    """The packet with AH behind its IP headers; its length is whole words of 4 bytes, in IPv6 of 8 (RFC 4302)."""
    parsed = parse_frame(packet, LinkType.RAW)
    word = 4 if parsed.version == 4 else 8
    length = -(-(AH_FIXED_LENGTH + keys.icv_length) // word) * word
    header = struct.pack(">BBHII", parsed.protocol, length // 4 - 2, 0, spi, sequence)
    ah = header.ljust(length, b"\0")
    return esp.with_payload(packet[: parsed.payload], PROTOCOL_AH, ah + packet[parsed.payload : parsed.end])


def association_of(sa: SecurityAssociation) -> Association:
    """The association in the words of ipsec/."""
    return Association(
        spi=sa.spi,
        mode=sa.mode,
        encapsulation=ENCAPSULATIONS[sa.udp_type],
        keys=sa.keys,
        src=sa.src,
        dst=sa.dst,
        src_port=sa.src_port,
        dst_port=sa.dst_port,
        esn=sa.esn,
    )
