"""Checksums beside IPsec: filled in before the card seals, checked after it has opened.

"Offloading Checksum Tasks": the host leaves the sum over the pseudo-header in the TCP or UDP checksum field, and the
card goes on from there; in the IP header it ignores what stands there. With a tunnel header the IP checksum is that of
the tunnel header only, the host does the one inside (N-RX-17). TCP and UDP are the innermost ones, whatever lies around
them: a checksum over ciphertext would be of no use to anybody.

Called by card/device.py. Uses framed.py, upper.py and wire/checksum.py.
"""

from __future__ import annotations

import struct

from nicsim.boundary import ChecksumResult, ChecksumTask, Descriptor
from nicsim.card.framed import Place, locate
from nicsim.card.rows import Rows
from nicsim.card.upper import (
    PROTOCOL_TCP,
    TCP_DATA_OFFSET,
    TCP_HEADER_LENGTH,
    TRAILER_LENGTH,
    TUNNELLED,
    UDP_HEADER_LENGTH,
    Upper,
    extent,
    received_upper,
)
from nicsim.errors import Malformed
from nicsim.reasons import Reason
from nicsim.wire.checksum import internet_checksum, pseudo_header
from nicsim.wire.esp import PROTOCOL_UDP
from nicsim.wire.packet import Packet, parse_frame

IP_CHECKSUM, TCP_CHECKSUM, UDP_CHECKSUM = 10, 16, 6

_U16 = struct.Struct(">H")


# --- sending ------------------------------------------------------------------------------------------------------


def fill_checksums(
    rows: Rows, frame: bytes, link_type: int, slots: tuple[int | None, ...], tasks: int
) -> bytes | Reason:
    """The frame with the checksums of the `ChecksumTask` bits, or why not.

    `slots` are those of the associations that will seal it, the tunnel portion's first; None stands for none.
    """
    try:
        packet = parse_frame(frame, link_type)
        if packet.is_fragment:
            return Reason.SEND_FRAGMENT
        enabled = rows.control.ipv4_send_checksums if packet.version == 4 else rows.control.ipv6_send_checksums
        filled = bytearray(frame)
        refusal = None
        if tasks & (ChecksumTask.TCP | ChecksumTask.UDP):
            upper = upper_of(rows, frame, link_type, [slot for slot in slots if slot is not None])
            refusal = upper if isinstance(upper, Reason) else fill_upper(filled, upper, tasks, enabled)
        if tasks & ChecksumTask.IP and not refusal:
            refusal = fill_ip(filled, packet, enabled)
    except Malformed:
        return Reason.BAD_CHECKSUM_TASK
    return refusal or bytes(filled)


def upper_of(rows: Rows, frame: bytes, link_type: int, slots: list[int]) -> Upper | Reason:
    """Find TCP or UDP in a frame to send, through the portions that are framed in it and not yet sealed."""
    base, has_options = 0, False
    for slot in slots:
        association = rows.outbound.get(slot)
        place = Reason.UNKNOWN_SEND_HANDLE if association is None else locate(rows, frame, link_type, association)
        if isinstance(place, Reason):
            return place
        protocol, begin, end = carried(frame, place)
        has_options = has_options or place.packet.options
        if protocol not in TUNNELLED:
            return Upper(protocol, base + begin, base + end, has_options)
        base, frame, link_type = base + begin, frame[begin:end], TUNNELLED[protocol]
    packet = parse_frame(frame, link_type)
    begin, end = extent(packet)
    return Upper(packet.protocol, base + begin, base + end, has_options or packet.options)


def carried(frame: bytes, place: Place) -> tuple[int, int, int]:
    """What the innermost layer of a portion carries: its protocol, and where it begins and ends."""
    if place.esp is None:
        return frame[place.packet.payload], place.body, place.body_end
    pad_length, next_header = frame[place.body_end - 2], frame[place.body_end - 1]
    end = place.body_end - TRAILER_LENGTH - pad_length
    if end < place.body:
        raise Malformed(f"{pad_length} bytes of padding framed, {place.body_end - place.body} bytes are there")
    return next_header, place.body, end


def fill_upper(filled: bytearray, upper: Upper, tasks: int, enabled: int) -> Reason | None:
    """Complete the TCP or UDP checksum, whichever is asked for and there."""
    is_tcp = upper.protocol == PROTOCOL_TCP
    task = ChecksumTask.TCP if is_tcp else ChecksumTask.UDP
    at, least = (TCP_CHECKSUM, TCP_HEADER_LENGTH) if is_tcp else (UDP_CHECKSUM, UDP_HEADER_LENGTH)
    if upper.protocol not in (PROTOCOL_TCP, PROTOCOL_UDP) or not tasks & task or upper.end - upper.begin < least:
        return Reason.BAD_CHECKSUM_TASK
    needed = task | (ChecksumTask.IP_OPTIONS if upper.has_options else 0)
    if is_tcp and filled[upper.begin + TCP_DATA_OFFSET] >> 4 > TCP_HEADER_LENGTH // 4:
        needed |= ChecksumTask.TCP_OPTIONS
    if needed & ~enabled:
        return Reason.CHECKSUM_NOT_ENABLED
    # The field is part of what is summed: in it is the sum over the pseudo-header.
    checksum = internet_checksum(bytes(filled[upper.begin : upper.end]))
    if not is_tcp:
        checksum = checksum or 0xFFFF  # zero would say that there is none
    _U16.pack_into(filled, upper.begin + at, checksum)
    return None


def fill_ip(filled: bytearray, packet: Packet, enabled: int) -> Reason | None:
    """Write the checksum of the first IP header, which is the tunnel header where there are two (N-RX-17)."""
    if packet.version != 4:
        return Reason.BAD_CHECKSUM_TASK
    if (ChecksumTask.IP | (ChecksumTask.IP_OPTIONS if packet.options else 0)) & ~enabled:
        return Reason.CHECKSUM_NOT_ENABLED
    _U16.pack_into(filled, packet.network + IP_CHECKSUM, 0)
    checksum = internet_checksum(bytes(filled[packet.network : packet.payload]))
    _U16.pack_into(filled, packet.network + IP_CHECKSUM, checksum)
    return None


# --- receiving ----------------------------------------------------------------------------------------------------


def check_checksums(rows: Rows, frame: bytes, link_type: int, descriptor: Descriptor) -> int:
    """The `ChecksumResult` bits of a received frame, after the card has opened what it could.

    Neither bit of a kind where the card did not look: it need not check every packet, and the host then does.
    """
    try:
        packet = parse_frame(frame, link_type)
        if packet.is_fragment:
            return 0
        control = rows.control
        enabled = control.ipv4_receive_checksums if packet.version == 4 else control.ipv6_receive_checksums
        result = check_ip(frame, packet, enabled)
        found = to_check(frame, packet, descriptor)
        return result if found is None else result | check_upper(frame, *found, enabled)
    except Malformed:
        return 0


def check_ip(frame: bytes, packet: Packet, enabled: int) -> int:
    """The first IP header, which is the tunnel header where there are two (N-RX-17)."""
    needed = ChecksumTask.IP | (ChecksumTask.IP_OPTIONS if packet.options else 0)
    if packet.version != 4 or needed & ~enabled:
        return 0
    # Over a good header, its own checksum included, nothing is left.
    good = internet_checksum(frame[packet.network : packet.payload]) == 0
    return ChecksumResult.IP_SUCCEEDED if good else ChecksumResult.IP_FAILED


def to_check(frame: bytes, packet: Packet, descriptor: Descriptor) -> tuple[Packet, Upper] | None:
    """TCP or UDP in a received frame, and the IP packet whose addresses it covers; None where the card does not look.

    A NAT may have changed the addresses around a transport portion in UDP, so that its checksum says nothing (RFC 3948
    section 3.1.2). With two portions they are those of the packet inside, which the descriptor does not point at.
    """
    upper, inner = received_upper(frame, packet, descriptor)
    if inner is not None:
        return None if inner.is_fragment else (inner, upper)
    is_in_udp = packet.protocol == PROTOCOL_UDP and upper.begin != packet.payload
    return None if descriptor.next_slot or is_in_udp else (packet, upper)


def check_upper(frame: bytes, packet: Packet, upper: Upper, enabled: int) -> int:
    """The checksum of TCP or UDP; UDP without one is not checked."""
    length = upper.end - upper.begin
    if upper.protocol == PROTOCOL_TCP and length >= TCP_HEADER_LENGTH:
        has_options = frame[upper.begin + TCP_DATA_OFFSET] >> 4 > TCP_HEADER_LENGTH // 4
        needed = ChecksumTask.TCP | (ChecksumTask.TCP_OPTIONS if has_options else 0)
        good, bad = ChecksumResult.TCP_SUCCEEDED, ChecksumResult.TCP_FAILED
    elif upper.protocol == PROTOCOL_UDP and length >= UDP_HEADER_LENGTH:
        needed = ChecksumTask.UDP
        good, bad = ChecksumResult.UDP_SUCCEEDED, ChecksumResult.UDP_FAILED
        at = upper.begin + UDP_CHECKSUM
        if frame[at : at + 2] == b"\0\0":
            return 0
    else:
        return 0
    if upper.has_options:
        needed |= ChecksumTask.IP_OPTIONS
    if needed & ~enabled:
        return 0
    covered = pseudo_header(packet.src, packet.dst, upper.protocol, length) + frame[upper.begin : upper.end]
    return good if internet_checksum(covered) == 0 else bad
