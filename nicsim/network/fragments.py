"""Fragments in a NAT that does not put them together: each is translated as the first of its datagram was.

Only the first has ports. Later ones that come before it are held back, a few of them and not for long.
"""

from __future__ import annotations

from nicsim.events import Endpoint
from nicsim.wire.packet import Packet

TIMEOUT = 30.0
"""Seconds that a datagram is remembered."""
MOST_DATAGRAMS = 256
MOST_HELD = 64
"""Fragments held back in all."""

Key = tuple[bytes, bytes, int, int]
Held = tuple[bytes, Packet]


class FragmentTracker:
    """The ends of datagrams whose first fragment came by, and the fragments that came before theirs."""

    def __init__(self) -> None:
        # Oldest first, both.
        self._ends: dict[Key, tuple[Endpoint, float]] = {}
        self._held: list[tuple[Key, float, Held]] = []

    def end_of(self, now: float, packet: Packet) -> Endpoint | None:
        """What the first fragment of this one's datagram was given."""
        end, since = self._ends.get(_key(packet), (None, now))
        return end if now - since <= TIMEOUT else None

    def hold(self, now: float, data: bytes, packet: Packet) -> None:
        """Keep a fragment until the first of its datagram comes."""
        self._held.append((_key(packet), now, (data, packet)))
        del self._held[:-MOST_HELD]

    def learn(self, now: float, packet: Packet, end: Endpoint) -> list[Held]:
        """The first fragment of a datagram came and was given an end; the answer is what was held back for it."""
        key = _key(packet)
        self._ends.pop(key, None)
        self._ends[key] = end, now
        if len(self._ends) > MOST_DATAGRAMS:
            del self._ends[next(iter(self._ends))]
        mine = [held for its_key, since, held in self._held if its_key == key and now - since <= TIMEOUT]
        self._held = [one for one in self._held if one[0] != key]
        return mine


def _key(packet: Packet) -> Key:
    return packet.src, packet.dst, packet.identification, packet.protocol
