"""Links and where nodes meet them. IP packets travel; a frame around them exists at interfaces only.

A link joins two interfaces and is the same in both directions, but each direction draws its own chance. What can
happen to a packet on it is data (`Conditions`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nicsim.network.chance import Chance
from nicsim.network.clock import Clock
from nicsim.network.events import Crossing, Event, Fate, Observer
from nicsim.wire.headers import build_ethernet
from nicsim.wire.packet import ETHERTYPE_IPV4, ETHERTYPE_IPV6

ETHERTYPES = {4: ETHERTYPE_IPV4, 6: ETHERTYPE_IPV6}
Tap = Callable[[float, bytes], None]
"""Called with the time and the Ethernet frame."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a link is like. Times are seconds, the MTU is bytes of IP packet, the others are probabilities."""

    delay: float = 0.001
    mtu: int = 1500
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    corruption: float = 0.0
    # How much longer a packet takes that is to be overtaken.
    late: float = 0.02


PERFECT = Conditions()


class Onward(Protocol):
    """Where IP packets can be sent: an interface, or a tunnel that looks like one."""

    @property
    def address(self) -> bytes:
        """The node's own address here, 4 or 16 bytes."""
        ...

    def mtu_for(self, packet: bytes) -> int:
        """The most bytes that an IP packet like this one may have."""
        ...

    def send(self, packet: bytes) -> None:
        """Send an IP packet, which the caller has found to be short enough."""
        ...


class Node(Protocol):
    """Whatever stands at the ends of links."""

    @property
    def name(self) -> str:
        """Unique in its network."""
        ...

    def attach(self, interface: Interface) -> None:
        """Take an interface, before the network runs."""
        ...

    def receive(self, interface: Interface, packet: bytes) -> None:
        """An IP packet came in by one of the node's interfaces."""
        ...


class Interface:
    """One node's end of a link."""

    __slots__ = ("_link", "address", "mac", "name", "node", "peer", "taps")

    def __init__(self, node: Node, address: bytes, mac: bytes, link: Link) -> None:
        self.node = node
        # The node's own address here, 4 or 16 bytes.
        self.address = address
        self.mac = mac
        self.name = node.name
        self.peer: Interface = self
        self.taps: list[Tap] = []
        self._link = link

    @property
    def mtu(self) -> int:
        """The most bytes of IP packet that go through."""
        return self._link.conditions.mtu

    def mtu_for(self, packet: bytes) -> int:
        """See Onward."""
        return self.mtu

    def send(self, packet: bytes) -> None:
        """Put an IP packet on the link."""
        if self.taps:
            self._show(self.frame(packet, self.peer.mac, self.mac))
        self._link.carry(self, packet)

    def arrived(self, packet: bytes) -> None:
        """A packet came out of the link."""
        if self.taps:
            self._show(self.frame(packet, self.mac, self.peer.mac))
        self.node.receive(self, packet)

    def received_frame(self, packet: bytes) -> bytes:
        """The Ethernet frame as which a packet comes in."""
        return self.frame(packet, self.mac, self.peer.mac)

    def _show(self, frame: bytes) -> None:
        for tap in self.taps:
            tap(self._link.clock.now, frame)

    @staticmethod
    def frame(packet: bytes, dst: bytes, src: bytes) -> bytes:
        """An Ethernet II frame around an IP packet; damage may have left it no version, and then it counts as IPv4."""
        return build_ethernet(dst, src, ETHERTYPES.get(packet[0] >> 4, ETHERTYPE_IPV4), packet)


class Link:
    """Carries packets between two interfaces, or does not."""

    __slots__ = ("_chances", "_observers", "clock", "conditions")

    def __init__(self, conditions: Conditions, clock: Clock, observers: list[Observer]) -> None:
        self.conditions = conditions
        self.clock = clock
        self._observers = observers
        self._chances: dict[Interface, Chance] = {}

    def join(self, first: Interface, second: Interface, chance: Chance) -> None:
        """Say what the ends are."""
        first.peer, second.peer = second, first
        self._chances = {end: chance.child(f"from {end.node.name}") for end in (first, second)}

    def carry(self, source: Interface, packet: bytes) -> None:
        """Take a packet from one end; what comes of it happens after the delay."""
        conditions, chance = self.conditions, self._chances[source]
        if len(packet) > conditions.mtu:
            self._tell(Crossing(self.clock.now, self.clock.now, source.name, source.peer.name, packet, Fate.TOO_BIG))
            return
        if chance.happens(conditions.loss):
            self._tell(Crossing(self.clock.now, self.clock.now, source.name, source.peer.name, packet, Fate.LOST))
            return
        fate, delay = Fate.CARRIED, conditions.delay
        if chance.happens(conditions.reordering):
            fate, delay = Fate.LATE, delay + conditions.late
        if chance.happens(conditions.corruption):
            fate, packet = Fate.CORRUPTED, _damaged(packet, chance)
        self._deliver(source, packet, fate, delay)
        if chance.happens(conditions.duplication):
            self._deliver(source, packet, Fate.DUPLICATED, delay)

    def _deliver(self, source: Interface, packet: bytes, fate: Fate, delay: float) -> None:
        sent, target = self.clock.now, source.peer

        def arrive() -> None:
            if self._observers:
                self._tell(Crossing(self.clock.now, sent, source.name, target.name, packet, fate))
            target.arrived(packet)

        self.clock.after(delay, arrive)

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)


def _damaged(packet: bytes, chance: Chance) -> bytes:
    """The packet with one bit turned."""
    bit = chance.below(len(packet) * 8)
    damaged = bytearray(packet)
    damaged[bit // 8] ^= 0x80 >> bit % 8
    return bytes(damaged)
