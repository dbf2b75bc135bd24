"""What can be seen of a network: packets on links, packets that nodes drop, and what nodes say of themselves.

A network hands each event to whoever observes it, in the order of virtual time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from nicsim.events import HostEvent, IkeEvent
from nicsim.reasons import Reason


class Fate(Enum):
    """What a link does to a packet."""

    CARRIED = "carried"
    LOST = "lost"
    # The second of two: the first is told as carried.
    DUPLICATED = "duplicated"
    # Held back, so that later ones overtake it.
    LATE = "late"
    # One bit was turned; the packet is told as it arrives.
    CORRUPTED = "corrupted"
    # Longer than the link's MTU: the node in front should not have sent it.
    TOO_BIG = "too big"


@dataclass(frozen=True, slots=True)
class Crossing:
    """A packet on a link, told when it arrives; or when it is sent, where it never does."""

    time: float
    sent: float
    source: str
    target: str
    packet: bytes
    fate: Fate


@dataclass(frozen=True, slots=True)
class Dropped:
    """A packet that ends at a node, and why."""

    time: float
    node: str
    packet: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something a node did or noticed that is no packet: a mapping made, a path MTU learned."""

    time: float
    node: str
    what: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What a NIC did with the frame that has just arrived."""

    time: float
    node: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Told:
    """What a host above a NIC tells of itself."""

    time: float
    node: str
    event: HostEvent | IkeEvent


Event = Crossing | Dropped | Noted | Judged | Told
Observer = Callable[[Event], None]
