"""Two IKE peers back to back: every datagram visible, a clock to turn, a NAT before either, and no network.

Randomness comes from a seeded generator, so each run of a test sees the same bytes.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from nicsim.events import Endpoint, IkeEvent, MessageSeen, Selector, UdpDatagram
from nicsim.host.ike.authentication import PreSharedKey
from nicsim.host.ike.config import (
    Connection,
    IkeConfig,
    Phase1Policy,
    Phase2Policy,
    phase1_proposals,
    phase2_proposal,
)
from nicsim.host.ike.peer import IkePeer
from nicsim.wire.headers import parse_address

A_ADDRESS, B_ADDRESS = parse_address("192.168.1.10"), parse_address("203.0.113.77")
A_NAT, B_NAT = parse_address("203.0.113.5"), parse_address("198.51.100.9")
A_NETWORK, B_NETWORK = "10.1.2.0/24", "10.9.0.0/24"

Event = TypeVar("Event", bound=IkeEvent)


def selector(text: str, protocol: int = 0, port: int = 0) -> Selector:
    return Selector(ipaddress.ip_network(text), protocol, port)


@dataclass
class PortNat:
    """Many to one: each inside endpoint gets a port of its own, 1 for 500 and 1024 for 4500 as the real ones did."""

    public: bytes
    ports: dict[Endpoint, int] = field(default_factory=dict)
    next_port: int = 2000

    def out(self, datagram: UdpDatagram) -> UdpDatagram:
        inside = datagram.source
        if inside not in self.ports:
            self.ports[inside] = {500: 1, 4500: 1024}.get(inside.port, self.next_port)
            if self.ports[inside] == self.next_port:
                self.next_port += 1
        return replace(datagram, source=Endpoint(self.public, self.ports[inside]))

    def back(self, datagram: UdpDatagram) -> UdpDatagram | None:
        if datagram.destination.address != self.public:
            return datagram
        for inside, port in self.ports.items():
            if port == datagram.destination.port:
                return replace(datagram, destination=inside)
        return None

    def remap(self) -> None:
        """The NAT lost its table and hands out other ports from now on."""
        for inside in self.ports:
            self.ports[inside] = self.next_port
            self.next_port += 1


@dataclass
class StaticNat:
    """One to one: the address changes, the ports stay."""

    public: bytes
    inside: bytes

    def out(self, datagram: UdpDatagram) -> UdpDatagram:
        return replace(datagram, source=replace(datagram.source, address=self.public))

    def back(self, datagram: UdpDatagram) -> UdpDatagram | None:
        if datagram.destination.address != self.public:
            return datagram
        return replace(datagram, destination=replace(datagram.destination, address=self.inside))


def source_of_bytes(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


@dataclass
class Sent:
    """One datagram as its sender had it."""

    by: str
    datagram: UdpDatagram
    delivered: bool = True


class Couple:
    """Peers `a` and `b` with what lies between them."""

    def __init__(
        self,
        a: IkeConfig,
        b: IkeConfig,
        *,
        nat_a: PortNat | StaticNat | None = None,
        nat_b: StaticNat | None = None,
        seed: int = 1,
    ) -> None:
        self.now = 1000.0
        self.peers = {"a": IkePeer(a, source_of_bytes(seed)), "b": IkePeer(b, source_of_bytes(seed + 100_000))}
        self.nats = {"a": nat_a, "b": nat_b}
        self.events: dict[str, list[IkeEvent]] = {"a": [], "b": []}
        self.order: dict[str, list[UdpDatagram | IkeEvent]] = {"a": [], "b": []}
        self.sent: list[Sent] = []
        # Each message as it went out: who, ports, marker, a star if encrypted, payloads.
        self.ladder: list[str] = []
        # Says of each datagram whether it gets lost.
        self.lose: Callable[[Sent], bool] = lambda _: False
        # May put what both say at one time in another order.
        self.arrange: Callable[[list[tuple[str, Any]]], list[tuple[str, Any]]] = list
        # May change a datagram on its way, or make several of it.
        self.meddle: Callable[[Sent], Iterable[UdpDatagram]] = lambda sent: [sent.datagram]

    @property
    def a(self) -> IkePeer:
        return self.peers["a"]

    @property
    def b(self) -> IkePeer:
        return self.peers["b"]

    def run(self, limit: int = 1000) -> None:
        """Deliver until nobody says anything more; the clock stands still."""
        for _ in range(limit):
            said = [(name, item) for name, peer in self.peers.items() for item in peer.poll()]
            if not said:
                return
            for name, item in self.arrange(said):
                self.order[name].append(item)
                if isinstance(item, UdpDatagram):
                    self.note(name, item)
                    self.carry(name, item)
                else:
                    self.events[name].append(item)
        raise AssertionError("the two never stop talking")

    def note(self, name: str, datagram: UdpDatagram) -> None:
        *_, before = (None, *self.order[name][:-1])
        ports = f"{datagram.source.port}->{datagram.destination.port}"
        marker = "marker " if datagram.payload.startswith(bytes(4)) else ""
        said = "again"
        if isinstance(before, MessageSeen) and before.sent:
            said = f"{'* ' if before.encrypted else ''}{' '.join(before.payloads)}"
        elif datagram.payload == b"\xff":
            said = "keepalive"
        self.ladder.append(f"{name} {ports} {marker}{said}")

    def carry(self, name: str, datagram: UdpDatagram) -> None:
        sent = Sent(name, datagram)
        self.sent.append(sent)
        if self.lose(sent):
            sent.delivered = False
            return
        for one in self.meddle(sent):
            arriving = self.through(name, one)
            if arriving is not None:
                self.peers["b" if name == "a" else "a"].receive(self.now, arriving)

    def carry_to(self, name: str, datagram: UdpDatagram) -> None:
        """A datagram from nowhere arrives, just so."""
        self.peers[name].receive(self.now, datagram)

    def through(self, name: str, datagram: UdpDatagram) -> UdpDatagram | None:
        mine, theirs = self.nats[name], self.nats["b" if name == "a" else "a"]
        outside = datagram if mine is None else mine.out(datagram)
        return outside if theirs is None else theirs.back(outside)

    def wait(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline on the way."""
        until = self.now + seconds
        while True:
            deadlines = [deadline for peer in self.peers.values() if (deadline := peer.next_deadline()) is not None]
            if not deadlines or min(deadlines) > until:
                break
            self.now = max(self.now, min(deadlines))
            for peer in self.peers.values():
                peer.tick(self.now)
            self.run()
        self.now = until

    def of(self, name: str, kind: type[Event]) -> list[Event]:
        return [event for event in self.events[name] if isinstance(event, kind)]

    def one(self, name: str, kind: type[Event]) -> Event:
        found = self.of(name, kind)
        assert len(found) == 1, f"{name} has {len(found)} of {kind.__name__}: {self.events[name]}"
        return found[0]

    def clear(self) -> None:
        """Forget what was said and what happened."""
        self.sent.clear()
        self.ladder.clear()
        for name in self.peers:
            self.events[name].clear()
            self.order[name].clear()


PSK = PreSharedKey(b"a key that both of them have")


def phase1(**changes: object) -> Phase1Policy:
    policy = Phase1Policy(PSK, phase1_proposals("aes128-sha1", (2,)))
    return replace(policy, **changes)  # type: ignore[arg-type]


def phase2(*, turned: bool = False, **changes: object) -> Phase2Policy:
    """Tunnel between the two networks, as `a` has it; turned, as `b` has it."""
    local, remote = selector(A_NETWORK), selector(B_NETWORK)
    if turned:
        local, remote = remote, local
    policy = Phase2Policy((phase2_proposal("aes128-sha1"),), local_selector=local, remote_selector=remote)
    return replace(policy, **changes)  # type: ignore[arg-type]


def initiator(connection: Connection | None = None, **changes: object) -> IkeConfig:
    connections = () if connection is None else (connection,)
    return replace(IkeConfig(A_ADDRESS, connections), **changes)  # type: ignore[arg-type]


def responder(*connections: Connection, **changes: object) -> IkeConfig:
    return replace(IkeConfig(B_ADDRESS, connections), **changes)  # type: ignore[arg-type]


def ours(p1: Phase1Policy | None = None, p2: Phase2Policy | None = None, remote: bytes = B_ADDRESS) -> Connection:
    """The connection as `a` has it."""
    return Connection("to-b", p1 or phase1(), p2 or phase2(), remote)


def theirs(p1: Phase1Policy | None = None, p2: Phase2Policy | None = None) -> Connection:
    """The connection as `b` has it, for anybody."""
    return Connection("from-a", p1 or phase1(), p2 or phase2(turned=True))
