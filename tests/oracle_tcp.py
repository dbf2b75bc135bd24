"""TCP over IP written again in the plainest way, straight from RFC 791, 793, 1071 and 8200: packets made and read.

It shares nothing with nicsim. `make` builds a whole packet with right checksums; `read` takes one apart and raises
AssertionError where a length or a checksum is wrong.
"""

from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def checksum(data: bytes) -> int:
    """Word by word, with the carry added back each time (RFC 1071)."""
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] * 256 + (data[at + 1] if at + 1 < len(data) else 0)
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def pseudo(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    if len(src) == 4:
        return src + dst + bytes((0, protocol)) + length.to_bytes(2, "big")
    return src + dst + length.to_bytes(4, "big") + bytes((0, 0, 0, protocol))


@dataclass(frozen=True)
class Tcp:
    """A TCP segment, and what of its IP header differs between segments."""

    sequence: int
    flags: int
    payload: bytes
    identification: int = 0
    options: bytes = b""


def make(src: bytes, dst: bytes, tcp: Tcp, ip_options: bytes = b"") -> bytes:
    """A whole IP packet from port 1025 to port 80; `ip_options` are whole words of IPv4 options."""
    head = (1025).to_bytes(2, "big") + (80).to_bytes(2, "big") + tcp.sequence.to_bytes(4, "big") + b"\x01\x02\x03\x04"
    head += bytes(((5 + len(tcp.options) // 4) << 4, tcp.flags)) + b"\x20\x00"
    segment = head + b"\0\0" + b"\0\0" + tcp.options + tcp.payload
    total = checksum(pseudo(src, dst, 6, len(segment)) + segment)
    segment = head + total.to_bytes(2, "big") + b"\0\0" + tcp.options + tcp.payload
    return ip(src, dst, 6, segment, tcp.identification, ip_options)


def ip(src: bytes, dst: bytes, protocol: int, payload: bytes, identification: int = 0, options: bytes = b"") -> bytes:
    """An IP packet with its checksum right."""
    if len(src) == 16:
        return b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes((protocol, 64)) + src + dst + payload
    length = 20 + len(options) + len(payload)
    head = bytes((0x40 + 5 + len(options) // 4, 0)) + length.to_bytes(2, "big") + identification.to_bytes(2, "big")
    head += b"\x40\0" + bytes((64, protocol))
    total = checksum(head + b"\0\0" + src + dst + options)
    return head + total.to_bytes(2, "big") + src + dst + options + payload


def read_ip(packet: bytes) -> tuple[bytes, bytes, int, bytes]:
    """Source, destination, protocol and payload; lengths and the IPv4 checksum must be right."""
    if packet[0] >> 4 == 6:
        assert int.from_bytes(packet[4:6], "big") == len(packet) - 40
        return packet[8:24], packet[24:40], packet[6], packet[40:]
    length = (packet[0] & 15) * 4
    assert int.from_bytes(packet[2:4], "big") == len(packet)
    assert checksum(packet[:length]) == 0
    return packet[12:16], packet[16:20], packet[9], packet[length:]


def read(src: bytes, dst: bytes, segment: bytes, identification: int = 0) -> Tcp:
    """Take a segment apart whose IP addresses are these; its checksum must be right."""
    assert checksum(pseudo(src, dst, 6, len(segment)) + segment) == 0
    length = (segment[12] >> 4) * 4
    assert segment[:4] == (1025).to_bytes(2, "big") + (80).to_bytes(2, "big")
    assert (segment[8:12], segment[14:16], segment[18:20]) == (b"\x01\x02\x03\x04", b"\x20\0", b"\0\0")
    sequence = int.from_bytes(segment[4:8], "big")
    return Tcp(sequence, segment[13], segment[length:], identification, segment[20:length])


def cut(tcp: Tcp, mss: int, modulus: int) -> list[Tcp]:
    """What a large segment must become: FIN and PSH on the last one only, identifications counting up."""
    made = []
    for number, at in enumerate(range(0, len(tcp.payload), mss)):
        is_last = at + mss >= len(tcp.payload)
        flags = tcp.flags if is_last else tcp.flags & ~(FIN | PSH)
        made.append(
            Tcp(
                (tcp.sequence + at) % 2**32,
                flags,
                tcp.payload[at : at + mss],
                (tcp.identification + number) % modulus,
                tcp.options,
            )
        )
    return made
