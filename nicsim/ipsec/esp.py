"""ESP around IP packets (RFC 4303), both directions: the trailer, the place in the packet, UDP in between.

Read from the inside out. `trailer` and `strip_trailer` are section 2.4 to 2.6 and work on bare plaintext; the card
uses them with a `Transform` and its own parse of the frame. `protect` and `unprotect` do a whole IP packet: section
3.1 for where ESP goes, RFC 3948 for UDP around it. Neither keeps state: sequence numbers, IVs and replay come from
whoever calls, which is the host, the peers of a scenario and the replay.

All lengths are bytes; integers on the wire are big-endian.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from nicsim.errors import Malformed, SealError, TrailerError
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.overhead import UDP_PART
from nicsim.ipsec.transforms import Transform
from nicsim.wire.esp import NON_IKE_MARKER, PROTOCOL_ESP, PROTOCOL_UDP
from nicsim.wire.headers import DONT_FRAGMENT, build_ipv4, build_ipv6, build_udp, rewrite_ipv4
from nicsim.wire.packet import FRAGMENT_HEADER_LENGTH, IPV6_HEADER_LENGTH, LinkType, Packet, parse_frame

__all__ = [
    "Association",
    "Encapsulation",
    "Mode",
    "Trailer",
    "framed",
    "framed_large",
    "padding",
    "protect",
    "strip_trailer",
    "trailer",
    "trim_tfc",
    "unprotect",
    "with_payload",
]

NEXT_HEADER_IPV4 = 4
NEXT_HEADER_IPV6 = 41
# "No next header": the packet is a dummy (RFC 4303 section 2.6).
NEXT_HEADER_NONE = 59

# Pad length and next header, which end every plaintext.
_TRAILER_LENGTH = 2
_DEFAULT_PADDING = bytes(range(1, 256))

_HOP_BY_HOP, _ROUTING, _FRAGMENT = 0, 43, 44
# What an IPv4 total length, an IPv6 payload length and a UDP length can say.
_LENGTH_MAX = 0xFFFF
_U16 = struct.Struct(">H")


class Trailer(NamedTuple):
    """A plaintext taken apart; the payload may still end in TFC padding."""

    payload: bytes
    pad_length: int
    next_header: int


def padding(length: int, block: int) -> bytes:
    """The least padding that lets `length` bytes and the 2 after the padding fill whole blocks: 01 02 03 and so on."""
    return _DEFAULT_PADDING[: -(length + _TRAILER_LENGTH) % block]


def trailer(payload_length: int, block: int, next_header: int) -> bytes:
    """Padding, pad length and next header for a payload of that length."""
    pad = padding(payload_length, block)
    return pad + bytes((len(pad), next_header))


def strip_trailer(plaintext: bytes) -> Trailer:
    """Take padding, pad length and next header off an authentic plaintext of at least 2 bytes.

    More padding than needed is fine. Raises TrailerError, whose message begins with "bad-pad-length" or
    "bad-padding" (RFC 4303 section 2.4: content that is not 01 02 03 and so on shows damage or cut and paste).
    """
    pad_length = plaintext[-2]
    payload_length = len(plaintext) - _TRAILER_LENGTH - pad_length
    if payload_length < 0:
        available = len(plaintext) - _TRAILER_LENGTH
        raise TrailerError(f"bad-pad-length: {pad_length} bytes of padding claimed, {available} are there")
    if plaintext[payload_length:-_TRAILER_LENGTH] != _DEFAULT_PADDING[:pad_length]:
        raise TrailerError(f"bad-padding: the {pad_length} bytes of padding are not 1, 2, 3 and so on")
    return Trailer(plaintext[:payload_length], pad_length, plaintext[-1])


def trim_tfc(payload: bytes, next_header: int) -> bytes:
    """Cut a tunnel's payload where the inner IP packet ends; traffic flow confidentiality padding follows it.

    RFC 4303 section 2.7. Raises Malformed when the payload is not IP of the version `next_header` (4 or 41) names,
    or when its own length does not fit.
    """
    if next_header == NEXT_HEADER_IPV4:
        version, length_at, header_length, beyond = 4, 2, 20, 0
    elif next_header == NEXT_HEADER_IPV6:
        version, length_at, header_length, beyond = 6, 4, IPV6_HEADER_LENGTH, IPV6_HEADER_LENGTH
    else:
        raise Malformed(f"a tunnel needs next header 4, 41 or 59, {next_header} came")
    if len(payload) < header_length:
        raise Malformed(f"inner IPv{version} header needs {header_length} bytes, {len(payload)} came")
    if payload[0] >> 4 != version:
        raise Malformed(f"inner packet of next header {next_header} has version {payload[0] >> 4}")
    (length,) = _U16.unpack_from(payload, length_at)
    end = beyond + length
    if not header_length <= end <= len(payload):
        raise Malformed(f"inner IPv{version} packet claims {end} bytes, {len(payload)} came")
    return payload[:end]


def protect(
    association: Association,
    transform: Transform,
    ip_packet: bytes,
    *,
    sequence: int,
    iv: bytes,
    outer_header: bytes = b"",
    sequence_high: int | None = None,
) -> bytes:
    """Turn a plain IP packet into the protected IP packet that goes on the wire.

    `sequence` is the low 32 bits; `sequence_high` the high ones, given exactly when the association has extended
    sequence numbers. Tunnel mode takes `outer_header` as it comes, an IPv4 header with or without options or an IPv6
    header, and fixes length, protocol and checksum; without one it makes one (`tunnel_header`). Bytes behind the
    inner packet's own end travel along as TFC padding. Transport mode drops them, and refuses a fragment: it
    protects whole datagrams (RFC 4303 section 3.3.4). Raises SealError or Malformed.
    """
    front, plaintext = _unsealed(association, ip_packet, sequence, outer_header)
    head = struct.pack(">II", association.spi, sequence)
    return _carry(association, front, transform.seal(head, plaintext, iv, sequence_high))


def framed(association: Association, ip_packet: bytes, *, sequence: int, outer_header: bytes = b"") -> bytes:
    """The same packet as `protect` makes, as the transport hands it to a NIC: plaintext, zeros for IV and ICV (N-TX-9).

    The arguments are those of `protect`. Over IPv6 the UDP checksum is that of the plaintext. Raises SealError or
    Malformed.
    """
    front, plaintext = _unsealed(association, ip_packet, sequence, outer_header)
    head = struct.pack(">II", association.spi, sequence)
    keys = association.keys
    return _carry(association, front, head + bytes(keys.encryption.iv_length) + plaintext + bytes(keys.icv_length))


def framed_large(association: Association, ip_packet: bytes, *, sequence: int, discard: int = 0) -> bytes:
    """A large packet in transport mode as the transport hands it to a NIC that cuts it: no ESP trailer, no ICV space.

    `sequence` is that of the first segment; `discard` zeros behind the payload are for the NIC to throw away (N-V2-15).
    Raises SealError or Malformed.
    """
    front, _, payload = _split_for_transport(ip_packet)
    head = struct.pack(">II", association.spi, sequence)
    return _carry(association, front, head + bytes(association.keys.encryption.iv_length) + payload + bytes(discard))


def _unsealed(association: Association, ip_packet: bytes, sequence: int, outer_header: bytes) -> tuple[bytes, bytes]:
    """What goes in front of ESP, and what goes into it: payload, padding and trailer."""
    if association.mode is Mode.TUNNEL:
        front = outer_header or tunnel_header(association, ip_packet, identification=sequence & 0xFFFF)
        next_header, payload = _ip_in_ip(ip_packet), ip_packet
    else:
        front, next_header, payload = _split_for_transport(ip_packet)
    return front, payload + trailer(len(payload), association.keys.encryption.block, next_header)


def tunnel_header(association: Association, inner: bytes, *, identification: int) -> bytes:
    """The outer header for an inner packet, without extension headers (RFC 4301 section 5.1.2).

    DSCP and ECN are copied from the inner header, and between IPv4 and IPv4 so is DF. An inner IPv6 packet must not
    be fragmented on its way, so it counts as having DF. The flow label is 0. Length and protocol are not yet final.
    """
    inner_is_ipv4 = _ip_in_ip(inner) == NEXT_HEADER_IPV4
    first_word = int.from_bytes(inner[:2], "big")
    traffic_class = first_word & 0xFF if inner_is_ipv4 else first_word >> 4 & 0xFF
    if len(association.src) == 16:
        return build_ipv6(association.src, association.dst, NEXT_HEADER_NONE, b"", traffic_class=traffic_class)
    flags = int.from_bytes(inner[6:8], "big") & DONT_FRAGMENT if inner_is_ipv4 else DONT_FRAGMENT
    return build_ipv4(
        association.src,
        association.dst,
        NEXT_HEADER_NONE,
        b"",
        identification=identification,
        flags=flags,
        tos=traffic_class,
    )


def _ip_in_ip(inner: bytes) -> int:
    """The next header that names the inner packet's IP version."""
    version = inner[0] >> 4 if inner else 0
    if version == 4:
        return NEXT_HEADER_IPV4
    if version == 6:
        return NEXT_HEADER_IPV6
    raise Malformed(f"a tunnel carries IPv4 or IPv6, a packet of {len(inner)} bytes with version {version} came")


def _split_for_transport(ip_packet: bytes) -> tuple[bytes, int, bytes]:
    """Cut a packet where ESP goes in: the headers in front, what came next, and the rest."""
    packet = parse_frame(ip_packet, LinkType.RAW)
    if packet.is_fragment:
        raise SealError("transport mode protects whole datagrams, a fragment came")
    cut, next_header = packet.payload, packet.protocol
    if packet.version == 6:
        # RFC 4303 section 3.1.1: headers for the routers on the way stay in front, and destination options with
        # them if a routing header follows. Destination options for the final destination go behind ESP.
        cut, next_header = IPV6_HEADER_LENGTH, ip_packet[6]
        for number, start, end in _extension_headers(ip_packet, packet.payload):
            if number in (_HOP_BY_HOP, _ROUTING, _FRAGMENT):
                cut, next_header = end, ip_packet[start]
    return ip_packet[:cut], next_header, ip_packet[cut : packet.end]


def _extension_headers(ip_packet: bytes, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each extension header between the IPv6 header and the offset `end`."""
    number, start = ip_packet[6], IPV6_HEADER_LENGTH
    while start < end:
        length = FRAGMENT_HEADER_LENGTH if number == _FRAGMENT else (ip_packet[start + 1] + 1) * 8
        yield number, start, start + length
        number, start = ip_packet[start], start + length


def _carry(association: Association, front: bytes, esp: bytes) -> bytes:
    """Put ESP behind the IP headers in front of it, with UDP and marker if the association says so."""
    is_ipv4 = front[0] >> 4 == 4
    length = len(front) - (0 if is_ipv4 else IPV6_HEADER_LENGTH) + UDP_PART[association.encapsulation] + len(esp)
    if length > _LENGTH_MAX:
        raise SealError(f"an IP packet holds {_LENGTH_MAX} bytes, {length} came")
    if association.encapsulation is Encapsulation.NONE:
        return with_payload(front, PROTOCOL_ESP, esp)
    if association.encapsulation is Encapsulation.UDP_NON_IKE:
        esp = NON_IKE_MARKER + esp
    ports = association.src_port, association.dst_port
    if is_ipv4:
        return with_payload(front, PROTOCOL_UDP, build_udp(*ports, esp))  # checksum 0, N-NAT-5
    # IPv6 has no header checksum, so UDP's is needed (RFC 8200 section 8.1).
    return with_payload(front, PROTOCOL_UDP, build_udp(*ports, esp, checksum=None, src=front[8:24], dst=front[24:40]))


def with_payload(front: bytes, protocol: int, payload: bytes) -> bytes:
    """IP headers that have been parsed, with another payload: protocol, lengths and checksum follow it, all else stays.

    No fragment's headers: an IPv6 fragment header would stay as well.
    """
    total_length = len(front) + len(payload)
    if front[0] >> 4 == 4:
        return rewrite_ipv4(front, protocol=protocol, total_length=total_length) + payload
    headers = bytearray(front)
    _U16.pack_into(headers, 4, total_length - IPV6_HEADER_LENGTH)
    link = 6  # the byte that names what follows the headers: in the last of them
    for _, start, _ in _extension_headers(front, len(front)):
        link = start
    headers[link] = protocol
    return bytes(headers) + payload


def unprotect(
    association: Association, transform: Transform, ip_packet: bytes, sequence_high: int | None = None
) -> bytes | None:
    """Turn a protected IP packet back into the plain one; None for a dummy packet (next header 59, RFC 4303 2.6).

    The caller has found the association by the packet's SPI and asked the replay window. In tunnel mode the inner
    packet comes out exactly as it went in: an ECN mark on the outer header is not carried over. In transport mode
    the checksum of the payload is not touched, though a NAT may have changed the addresses it covers (RFC 3948
    section 3.1.2). Raises EspSyntaxError, IntegrityError, TrailerError, or Malformed when the packet does not hold
    ESP where the association says, or holds nonsense.
    """
    packet = parse_frame(ip_packet, LinkType.RAW)
    start, end = _esp_in(association, ip_packet, packet)
    payload, _, next_header = strip_trailer(transform.open(ip_packet, start, end, sequence_high))
    if next_header == NEXT_HEADER_NONE:
        return None
    if association.mode is Mode.TUNNEL:
        return trim_tfc(payload, next_header)
    return with_payload(ip_packet[: packet.payload], next_header, payload)


def _esp_in(association: Association, ip_packet: bytes, packet: Packet) -> tuple[int, int]:
    """Where ESP starts and ends. A UDP checksum is not looked at: a NAT may have left it wrong or zero (N-NAT-5)."""
    if packet.is_fragment:
        raise Malformed("ESP needs a whole datagram, a fragment came")
    expected = PROTOCOL_ESP if association.encapsulation is Encapsulation.NONE else PROTOCOL_UDP
    if packet.protocol != expected:
        raise Malformed(f"the association needs IP protocol {expected}, {packet.protocol} came")
    if association.encapsulation is Encapsulation.NONE:
        return packet.payload, packet.end
    if association.encapsulation is Encapsulation.UDP:
        return packet.udp_payload, packet.udp_end
    start = packet.udp_payload + len(NON_IKE_MARKER)
    if ip_packet[packet.udp_payload : start] != NON_IKE_MARKER:
        raise Malformed("the association needs the 8 zero bytes of the non-IKE marker, they are not there")
    return start, packet.udp_end
