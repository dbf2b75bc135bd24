"""The send path: the host has framed and padded the packet; the card writes IV, ciphertext and ICV.

The division of labour is N-TX-9: the length of the frame does not change, every header is the host's, the UDP
checksum is nobody's. No offsets are passed; the card finds where encryption starts from the row (N-TX-6).

Called by card/device.py. Uses rows.py, wire/packet.py and ipsec/transforms.py.
"""

from __future__ import annotations

from collections.abc import Callable

from nicsim.boundary import UdpType
from nicsim.card.rows import LoadedSa, Rows
from nicsim.errors import Malformed
from nicsim.reasons import Reason
from nicsim.wire.esp import ESP_HEADER_LENGTH, NON_IKE_MARKER, PROTOCOL_ESP, PROTOCOL_UDP, spi_and_sequence
from nicsim.wire.packet import Packet, parse_frame

IvSource = Callable[[int], bytes]
"""Gives as many fresh bytes as it is asked for: random in use, counted in tests, the captured ones in a replay."""


def send(rows: Rows, frame: bytes, link_type: int, slot: int, iv_source: IvSource) -> tuple[bytes, Reason]:
    """Seal one framed packet with the association in `slot`: the frame for the wire, or the old one and a reason."""
    association = rows.outbound.get(slot)
    if association is None:
        return frame, Reason.UNKNOWN_SEND_HANDLE
    try:
        packet = parse_frame(frame, link_type)
    except Malformed:
        return frame, Reason.BAD_SEND_FRAME
    if packet.is_fragment:
        return frame, Reason.SEND_FRAGMENT
    esp, end = locate_esp(packet, association, frame)
    body = esp + ESP_HEADER_LENGTH + association.iv_length
    body_end = end - association.icv_length
    if not is_framed(frame, esp, body_end - body, association):
        return frame, Reason.BAD_SEND_FRAME
    sealed = association.transform.seal(
        frame[esp : esp + ESP_HEADER_LENGTH], frame[body:body_end], iv_source(association.iv_length)
    )
    return frame[:esp] + sealed + frame[end:], Reason.SEALED


def locate_esp(packet: Packet, association: LoadedSa, frame: bytes) -> tuple[int, int]:
    """Where the ESP packet that the row describes begins and ends; (0, 0) where there is none."""
    if association.row.udp_type == UdpType.NATIVE:
        return (packet.payload, packet.end) if packet.protocol == PROTOCOL_ESP else (0, 0)
    if packet.protocol != PROTOCOL_UDP:
        return 0, 0
    if association.row.udp_type == UdpType.OTHER:
        return packet.udp_payload, packet.udp_end
    marked = frame.startswith(NON_IKE_MARKER, packet.udp_payload)
    return (packet.udp_payload + len(NON_IKE_MARKER), packet.udp_end) if marked else (0, 0)


def is_framed(frame: bytes, esp: int, body_length: int, association: LoadedSa) -> bool:
    """Whether SPI and padding are as the row demands, and there is room for IV and ICV (N-TX-4)."""
    block = association.transform.keys.encryption.block
    if esp == 0 or body_length <= 0 or body_length % block:
        return False
    return spi_and_sequence(frame, esp)[0] == association.row.spi
