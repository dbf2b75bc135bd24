"""Header-data split: where a card that splits received frames begins the second buffer.

"Splitting IPsec Frames": IPsec counts as an IPv4 option or an IPv6 extension header would, so ESP header, IV and AH
are header bytes (N-RX-18). The data begins behind the TCP or UDP header, or where the upper protocol does. What the
card has not opened it cannot look into, and it does not split a frame whose headers would not fit the header buffer.

Called by card/device.py. Uses upper.py.
"""

from __future__ import annotations

from nicsim.boundary import Descriptor
from nicsim.card.upper import received_upper
from nicsim.errors import Malformed
from nicsim.wire.esp import PROTOCOL_AH, PROTOCOL_ESP
from nicsim.wire.packet import parse_frame

HIDDEN = frozenset({PROTOCOL_ESP, PROTOCOL_AH})


def split_at(frame: bytes, link_type: int, descriptor: Descriptor, longest_header: int) -> int:
    """Where the data buffer of a received frame begins, in bytes; 0 where the frame is not split."""
    try:
        packet = parse_frame(frame, link_type)
        upper, inner = received_upper(frame, packet, descriptor)
    except Malformed:
        return 0
    if packet.is_fragment or (inner is not None and inner.is_fragment) or upper.protocol in HIDDEN:
        return 0
    at = upper.begin + upper.header_length(frame)
    return at if at <= longest_header else 0
