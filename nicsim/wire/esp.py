"""The ESP header, and what a UDP payload is on the two ports that carry ESP.

`classify_port_4500` follows RFC 3948 section 2 (and the UDP encapsulation drafts from -02 on), which put a
marker before IKE; `classify_port_500` the drafts before it, which put one before ESP. Both look at one payload
as offsets into the frame and copy nothing but the marker. They answer what the payload claims to be: whether
an IKE message is long enough to be one is for IKE to say, and the same goes for ESP behind its header.

Called by the card for each frame whose UDP port has a parser entry, and by the peers of the scenario.
"""

import struct
from enum import Enum

PROTOCOL_UDP = 17
PROTOCOL_ESP = 50
PROTOCOL_AH = 51

IKE_PORT = 500
NAT_TRAVERSAL_PORT = 4500

# SPI and sequence number, 4 bytes each, big-endian (RFC 4303 section 2).
ESP_HEADER_LENGTH = 8

# Where an SPI would be, which is never zero (N-NAT-4).
NON_ESP_MARKER = bytes(4)
# Where IKE's initiator cookie would be, which is never all zero; it may begin with zeros (N-NAT-6).
NON_IKE_MARKER = bytes(8)
KEEPALIVE = b"\xff"

_SPI_AND_SEQUENCE = struct.Struct(">II").unpack_from


class Datagram(Enum):
    """What a UDP payload is, on a port that carries ESP."""

    ESP = "ESP"
    IKE = "IKE"
    KEEPALIVE = "NAT keepalive"
    # Too short to be any of them.
    RUNT = "runt"


_ESP, _IKE, _KEEPALIVE, _RUNT = Datagram.ESP, Datagram.IKE, Datagram.KEEPALIVE, Datagram.RUNT


def spi_and_sequence(buffer: bytes, offset: int) -> tuple[int, int]:
    """The two fields of the ESP header at `offset`, whose 8 bytes the caller knows to be there."""
    spi, sequence = _SPI_AND_SEQUENCE(buffer, offset)
    return spi, sequence


def classify_port_4500(buffer: bytes, start: int, end: int) -> tuple[Datagram, int]:
    """What the payload from `start` to `end` is, and the offset of its ESP packet or IKE message.

    The order is that of RFC 3948 section 2. N-NAT-4, N-NAT-5, N-RX-1
    """
    length = end - start
    if length == 1 and buffer[start] == 0xFF:
        return _KEEPALIVE, start
    if length < 4:
        return _RUNT, start
    if buffer[start : start + 4] == NON_ESP_MARKER:
        return _IKE, start + 4
    if length < ESP_HEADER_LENGTH:
        return _RUNT, start
    return _ESP, start


def classify_port_500(buffer: bytes, start: int, end: int) -> tuple[Datagram, int]:
    """What the payload from `start` to `end` is, and the offset of its ESP packet or IKE message.

    ESP needs more than the marker and its own header. N-NAT-5, N-NAT-6
    """
    length = end - start
    if length == 1 and buffer[start] == 0xFF:
        return _KEEPALIVE, start
    if length > 16 and buffer[start : start + 8] == NON_IKE_MARKER:
        return _ESP, start + 8
    if length <= 0:
        return _RUNT, start
    return _IKE, start
