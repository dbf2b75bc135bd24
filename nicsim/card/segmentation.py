"""Large send: one large TCP packet of the host becomes many, each framed like any packet and then sealed by itself.

"Offloading the Segmentation of Large TCP Packets" says what the card writes: IP total length, identification and
checksum; TCP sequence number, flags and checksum. Beside IPsec (N-V2-5, N-V2-15) the host frames no ESP trailer, and
what it may have put behind the payload is padding to discard; so every segment also gets padding and a trailer of its
own, room for its own ICV, and a sequence number one higher than the segment before it. As with any packet the host has
framed ESP header, AH and the space for the IV, which every segment repeats (A-24).

Called by card/device.py. Uses framed.py, and send.py to seal.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from nicsim.boundary import ChecksumTask, LargeSend, LargeSent, Portion
from nicsim.card.framed import Headers, Place, find_headers
from nicsim.card.rows import LoadedSa, Rows
from nicsim.card.send import IvSource, seal
from nicsim.errors import EspSyntaxError, Malformed
from nicsim.ipsec.esp import trailer
from nicsim.reasons import Reason
from nicsim.wire.checksum import internet_checksum
from nicsim.wire.esp import PROTOCOL_UDP
from nicsim.wire.headers import rewrite_ipv4
from nicsim.wire.packet import IPV6_HEADER_LENGTH, Encapsulation, parse_frame

PROTOCOL_TCP = 6
AH_SEQUENCE_OFFSET = 8
ESP_SEQUENCE_OFFSET = 4
TUNNELLED = frozenset({4, 41})
TCP_HEADER_LENGTH = 20
FIN, SYN, RST, PSH, URG = 0x01, 0x02, 0x04, 0x08, 0x20
ON_THE_LAST_SEGMENT_ONLY = FIN | PSH
NEVER_IN_A_LARGE_SEND = SYN | RST | URG
LENGTH_MAX = 0xFFFF
WHOLE_IDENTIFICATION = 16
"""Bits, in version 1 of large send."""

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
# Within the TCP header.
_SEQUENCE, _DATA_OFFSET, _FLAGS, _CHECKSUM, _URGENT = 4, 12, 13, 16, 18


def send_large(
    rows: Rows, frame: bytes, link_type: int, slot: int | None, large: LargeSend, iv_source: IvSource
) -> LargeSent:
    """Cut one large packet into segments and seal each with the association in `slot`, if any; all or none."""
    association = None
    if slot is not None:
        association = rows.outbound.get(slot)
        if association is None:
            return LargeSent((), 0, Reason.UNKNOWN_SEND_HANDLE)
    template = read_template(rows, frame, link_type, association, large)
    if isinstance(template, Reason):
        return LargeSent((), 0, template)
    frames = tuple(seal(segment, place, iv_source) for segment, place in segments(template))
    reason = Reason.SEALED if association else Reason.TASKS_DONE
    return LargeSent(frames, len(template.payload), reason)


@dataclass(frozen=True, slots=True)
class Template:
    """A large packet taken apart."""

    head: bytes
    """Everything up to the end of the TCP header, which every segment repeats."""
    payload: bytes
    """The TCP payload, without the padding to discard."""
    headers: Headers
    tcp: int
    """Where the TCP header begins."""
    large: LargeSend
    esp_sequence: int
    ah_sequence: int
    """The whole sequence numbers of the first segment, with the halves that are not on the wire."""


def read_template(
    rows: Rows, frame: bytes, link_type: int, association: LoadedSa | None, large: LargeSend
) -> Template | Reason:
    """Take the large packet apart, or say why it is not one that the card can cut."""
    try:
        packet = parse_frame(frame, link_type)
        if packet.is_fragment:
            return Reason.SEND_FRAGMENT
        limit = rows.control.ipv4_large_send if packet.version == 4 else rows.control.ipv6_large_send
        if not limit:
            return Reason.LARGE_SEND_NOT_ENABLED
        if packet.version == 6 and large.identification_bits == WHOLE_IDENTIFICATION:
            return Reason.BAD_LARGE_SEND  # version 1 of large send is for IPv4 only
        if association is None:
            headers = Headers(packet, None, None, packet.payload, packet.end)
        elif is_of_tunnel(association, large):
            return Reason.LARGE_SEND_IN_TUNNEL
        else:
            headers = find_headers(rows, frame, packet, association)
    except (Malformed, EspSyntaxError):
        return Reason.BAD_LARGE_SEND
    tcp, end = headers.body, headers.end - large.pad_length
    if not is_tcp(frame, headers, large) or end - tcp < TCP_HEADER_LENGTH:
        return Reason.BAD_LARGE_SEND
    begin = tcp + (frame[tcp + _DATA_OFFSET] >> 4) * 4
    payload = frame[begin:end]
    esp_sequence = sequence_of(headers.esp, frame, headers.esp_header + ESP_SEQUENCE_OFFSET if headers.esp else 0)
    ah_sequence = sequence_of(headers.ah, frame, packet.payload + AH_SEQUENCE_OFFSET)
    template = Template(frame[:begin], payload, headers, tcp, large, esp_sequence, ah_sequence)
    return objection(rows, template, limit) or template


def is_of_tunnel(association: LoadedSa, large: LargeSend) -> bool:
    """Large send is avoided for tunnel packets (N-V2-5). A lone native ESP says so by its next header only (A-35)."""
    row = association.row
    return large.next_header in TUNNELLED or (row.portion == Portion.TUNNEL and row.udp_type != 0)


def is_tcp(frame: bytes, headers: Headers, large: LargeSend) -> bool:
    """Whether TCP is what the innermost layer carries, and is where the host says."""
    if large.tcp_header_offset not in (0, headers.body):
        return False
    if headers.esp is not None:
        return large.next_header == PROTOCOL_TCP
    carried = frame[headers.packet.payload] if headers.ah is not None else headers.packet.protocol
    return carried == PROTOCOL_TCP and not large.pad_length  # padding is for ESP only


def sequence_of(layer: LoadedSa | None, frame: bytes, at: int) -> int:
    """The whole sequence number that the host framed for a layer: extended, or 32 bits."""
    if layer is None:
        return 0
    return (layer.sequence_high or 0) << 32 | int(_U32.unpack_from(frame, at)[0])


def objection(rows: Rows, template: Template, limit: int) -> Reason | None:
    """What speaks against cutting a packet that has a TCP header: sizes, flags, options, sequence numbers."""
    head, tcp, large, headers = template.head, template.tcp, template.large, template.headers
    tcp_length = len(head) - tcp
    if tcp_length < TCP_HEADER_LENGTH or not large.mss or not 0 < len(template.payload) <= limit:
        return Reason.BAD_LARGE_SEND
    if head[tcp + _FLAGS] & NEVER_IN_A_LARGE_SEND or _U16.unpack_from(head, tcp + _URGENT)[0]:
        return Reason.BAD_LARGE_SEND
    options = rows.control.large_send_options
    if headers.packet.options and not options & ChecksumTask.IP_OPTIONS:
        return Reason.LARGE_SEND_NOT_ENABLED
    if tcp_length > TCP_HEADER_LENGTH and not options & ChecksumTask.TCP_OPTIONS:
        return Reason.LARGE_SEND_NOT_ENABLED
    count = -(-len(template.payload) // large.mss)
    most = min(large.mss, len(template.payload))
    longest = len(head) + most + len(behind(template, most)) - headers.packet.network
    if count < rows.control.large_send_segments or longest > LENGTH_MAX:
        return Reason.BAD_LARGE_SEND
    for layer, first in ((headers.esp, template.esp_sequence), (headers.ah, template.ah_sequence)):
        if layer is not None and (first + count - 1) >> (32 if layer.sequence_high is None else 64):
            return Reason.SEQUENCE_WOULD_CYCLE
    return None


# --- one segment --------------------------------------------------------------------------------------------------


def segments(template: Template) -> Iterator[tuple[bytes, Place]]:
    """Every segment, framed as the host would have framed it, and where its layers are."""
    mss, payload = template.large.mss, template.payload
    for number, at in enumerate(range(0, len(payload), mss)):
        yield segment(template, number, payload[at : at + mss], is_last=at + mss >= len(payload))


def segment(template: Template, number: int, chunk: bytes, *, is_last: bool) -> tuple[bytes, Place]:
    """One segment: the headers of the large packet with what differs, then its share of the payload."""
    headers, packet = template.headers, template.headers.packet
    head, rest = bytearray(template.head), chunk + behind(template, len(chunk))
    end = len(head) + len(rest)
    place = Place(packet, headers.esp, headers.ah, headers.body, end, end)
    if headers.esp is not None:
        place.body_end = end - headers.esp.icv_length
        at = headers.esp_header + ESP_SEQUENCE_OFFSET
        place.esp_sequence_high = number_layer(head, at, template.esp_sequence + number, headers.esp)
    if headers.ah is not None:
        at = packet.payload + AH_SEQUENCE_OFFSET
        place.ah_sequence_high = number_layer(head, at, template.ah_sequence + number, headers.ah)
    write_tcp(head, template, number * template.large.mss, chunk, is_last=is_last)
    if packet.protocol == PROTOCOL_UDP:  # ESP rides in it; its checksum is nobody's (N-TX-9)
        _U16.pack_into(head, packet.payload + 4, end - packet.payload)
    write_ip(head, template, number, end)
    return bytes(head) + rest, place


def behind(template: Template, length: int) -> bytes:
    """What follows a share of the payload of this length: the ESP trailer, and zeros where the ICV will be."""
    esp = template.headers.esp
    if esp is None:
        return b""
    inside = len(template.head) - template.tcp + length
    block = esp.transform.keys.encryption.block
    return trailer(inside, block, template.large.next_header) + bytes(esp.icv_length)


def number_layer(head: bytearray, at: int, sequence: int, layer: LoadedSa) -> int | None:
    """Write the half of a sequence number that is on the wire; the answer is the other, None where there is none."""
    _U32.pack_into(head, at, sequence & 0xFFFFFFFF)
    return None if layer.sequence_high is None else sequence >> 32


def write_tcp(head: bytearray, template: Template, at: int, chunk: bytes, *, is_last: bool) -> None:
    """Sequence number, flags and checksum of the segment whose payload begins `at` bytes into the large one's.

    The host has left the sum over the pseudo-header without the length in the checksum field; the card goes on from
    there, and does not look at the IP addresses again.
    """
    tcp = template.tcp
    (first,) = _U32.unpack_from(head, tcp + _SEQUENCE)
    _U32.pack_into(head, tcp + _SEQUENCE, (first + at) & 0xFFFFFFFF)
    if not is_last:
        head[tcp + _FLAGS] &= ~ON_THE_LAST_SEGMENT_ONLY
    length = len(head) - tcp + len(chunk)
    checksum = internet_checksum(_U16.pack(length) + head[tcp:] + chunk)
    _U16.pack_into(head, tcp + _CHECKSUM, checksum)


def write_ip(head: bytearray, template: Template, number: int, end: int) -> None:
    """Lengths, and in IPv4 identification and header checksum, of the segment that ends at `end`."""
    packet = template.headers.packet
    network = packet.network
    if packet.encapsulation & Encapsulation.LLC_SNAP:  # the 802.3 length, before the eight bytes of LLC and SNAP
        _U16.pack_into(head, network - 10, end - network + 8)
    if packet.version == 6:
        _U16.pack_into(head, network + 4, end - network - IPV6_HEADER_LENGTH)
        return
    identification = (packet.identification + number) & (1 << template.large.identification_bits) - 1
    _U16.pack_into(head, network + 4, identification)
    header_end = network + (head[network] & 0xF) * 4
    protocol, header = head[network + 9], bytes(head[network:header_end])
    head[network:header_end] = rewrite_ipv4(header, protocol=protocol, total_length=end - network)
