"""What a NAT remembers: which outside address and port stands for which inside one, and since when nobody used it.

Sources: docs/spec/nat-traversal.md section 13, RFC 4787 (UDP) and RFC 5508 (ICMP) for what NATs do and should.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from nicsim.events import Endpoint

MOST_PEERS = 1024
"""Of one mapping; the one heard of longest ago is forgotten. Bounds what an inside host can make a NAT hold."""


@dataclass(slots=True)
class Mapping:
    """One inside end and what the outside sees of it."""

    inside: Endpoint
    outside: Endpoint
    last_used: float
    # Whom the inside has sent to, oldest first.
    peers: dict[Endpoint, None] = field(default_factory=dict)

    def sent_to(self, peer: Endpoint) -> None:
        """The inside sent to somebody."""
        self.peers.pop(peer, None)
        self.peers[peer] = None
        if len(self.peers) > MOST_PEERS:
            del self.peers[next(iter(self.peers))]


def pool_of(port: int) -> range:
    """The ports that may stand for a port: low for low, as a widespread NAT has it (500 -> 1, 4500 -> 1024)."""
    if port < 512:
        return range(1, 512)
    if port < 1024:
        return range(600, 1024)
    return range(1024, 65536)


class MappingTable:
    """The mappings of one protocol. Those unused for `timeout` seconds are gone, and their ports free again."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        # Least recently used first.
        self._by_inside: dict[Endpoint, Mapping] = {}
        self._by_outside: dict[Endpoint, Mapping] = {}
        # The next port to try, by pool.
        self._next: dict[range, int] = {}
        # Outside ends that are not given out again.
        self._retired: set[Endpoint] = set()

    def __len__(self) -> int:
        return len(self._by_inside)

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._by_inside.values())

    def expire(self, now: float) -> list[Mapping]:
        """Take out, and return, what nobody used for too long."""
        gone = []
        while self._by_inside:
            mapping = next(iter(self._by_inside.values()))
            if now - mapping.last_used <= self._timeout:
                break
            self._forget(mapping)
            gone.append(mapping)
        return gone

    def of_inside(self, inside: Endpoint) -> Mapping | None:
        """The mapping of an inside end."""
        return self._by_inside.get(inside)

    def of_outside(self, outside: Endpoint) -> Mapping | None:
        """The mapping that an outside end stands for."""
        return self._by_outside.get(outside)

    def refresh(self, mapping: Mapping, now: float) -> None:
        """Somebody used a mapping."""
        mapping.last_used = now
        self._by_inside[mapping.inside] = self._by_inside.pop(mapping.inside)

    def make(self, inside: Endpoint, address: bytes, now: float, *, preserve: bool) -> Mapping | None:
        """Map an inside end to a free port of an outside address, if possible its own; None where none is free."""
        own = Endpoint(address, inside.port)
        outside = own if preserve and self._is_free(own) else self._next_free(inside.port, address)
        if outside is None:
            return None
        mapping = Mapping(inside, outside, now)
        self._by_inside[inside] = self._by_outside[outside] = mapping
        return mapping

    def _is_free(self, outside: Endpoint) -> bool:
        return outside not in self._by_outside and outside not in self._retired

    def _next_free(self, port: int, address: bytes) -> Endpoint | None:
        pool = pool_of(port)
        start = self._next.get(pool, pool.start)
        for candidate in chain(range(start, pool.stop), range(pool.start, start)):
            outside = Endpoint(address, candidate)
            if self._is_free(outside):
                self._next[pool] = candidate + 1 if candidate + 1 < pool.stop else pool.start
                return outside
        return None

    def _forget(self, mapping: Mapping) -> None:
        del self._by_inside[mapping.inside], self._by_outside[mapping.outside]

    def forget_all(self) -> None:
        """Lose every mapping, and map everything anew from now on: no end gets the port it had."""
        self._retired = set(self._by_outside)
        self._by_inside.clear()
        self._by_outside.clear()
