"""Which end of a capture is the host whose NIC this is, where nobody said so.

A packet leaves its host with one of the few initial TTLs in use and loses one at every router. In a capture made at
one end of a routed path, that end's packets are the only ones with an undecremented TTL. File names decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from nicsim.errors import InputError, Malformed
from nicsim.wire.esp import IKE_PORT, NAT_TRAVERSAL_PORT, PROTOCOL_AH, PROTOCOL_ESP
from nicsim.wire.headers import format_address
from nicsim.wire.packet import Packet, parse_frame
from nicsim.wire.pcap import Frame

INITIAL_TTLS = frozenset({32, 64, 128, 255})
FRAMES_TO_LOOK_AT = 20_000
"""Enough to see both ends speak; bounds the time of the first pass over a long capture."""
ADDRESSES_TO_COMPARE = 1_000
"""Bounds the memory that a hostile capture can take."""


def find_local_address(frames: Iterable[Frame]) -> bytes:
    """The address whose IPsec packets all show an initial TTL, if it is the only one. Raises InputError otherwise."""
    ttls: dict[bytes, set[int]] = {}
    for number, frame in enumerate(frames):
        if number >= FRAMES_TO_LOOK_AT or len(ttls) > ADDRESSES_TO_COMPARE:
            break
        try:
            packet = parse_frame(frame.data, frame.link_type)
        except Malformed:
            continue
        if is_of_interest(packet):
            ttls.setdefault(packet.src, set()).add(packet.ttl)
    undecremented = [address for address, seen in ttls.items() if seen <= INITIAL_TTLS]
    if len(ttls) > 1 and len(undecremented) == 1:
        return undecremented[0]
    seen_text = ", ".join(
        f"{format_address(address)} (TTL {', '.join(str(ttl) for ttl in sorted(seen))})"
        for address, seen in list(ttls.items())[:6]
    )
    raise InputError(
        "the TTLs do not tell which end's NIC this is; name it with --local ADDR. "
        f"IPsec packets come from: {seen_text or 'nobody'}"
    )


def is_of_interest(packet: Packet) -> bool:
    """IKE, ESP or AH by protocol or port; the first fragment of one too."""
    if packet.protocol in (PROTOCOL_ESP, PROTOCOL_AH):
        return True
    return bool({packet.src_port, packet.dst_port} & {IKE_PORT, NAT_TRAVERSAL_PORT})
