"""Frames and addresses that several tests of the wire package share."""

from nicsim.wire.headers import build_ethernet, build_ipv4, build_ipv6, build_udp, parse_address

MAC_A, MAC_B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
A4, B4 = parse_address("192.0.2.1"), parse_address("198.51.100.2")
A6, B6 = parse_address("2001:db8::1"), parse_address("2001:db8:ffff::2")
ETHERTYPE = {4: 0x0800, 6: 0x86DD}


def ethernet(packet: bytes) -> bytes:
    """The IP packet in an Ethernet frame, its type taken from the version field."""
    return build_ethernet(MAC_B, MAC_A, ETHERTYPE[packet[0] >> 4], packet)


def udp4(payload: bytes, src_port: int = 4500, dst_port: int = 4500) -> bytes:
    return ethernet(build_ipv4(A4, B4, 17, build_udp(src_port, dst_port, payload)))


def udp6(payload: bytes, src_port: int = 4500, dst_port: int = 4500) -> bytes:
    return ethernet(build_ipv6(A6, B6, 17, build_udp(src_port, dst_port, payload, checksum=None, src=A6, dst=B6)))
