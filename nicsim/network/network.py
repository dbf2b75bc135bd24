"""A network: a clock, nodes, links between them, and who watches.

    network = Network(seed="7")
    client, server = network.plain_host("client"), network.plain_host("server")
    network.connect(client, "10.0.0.2", server, "10.0.0.1", Conditions(loss=0.1))
    client.send_udp(server.address, 4500, 4500, b"hello")
    network.clock.run(until=1.0)

The same seed and the same calls give the same events, to the byte.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TypeVar

from nicsim.network.chance import Chance
from nicsim.network.clock import Clock
from nicsim.network.events import Event, Observer
from nicsim.network.link import PERFECT, Conditions, Interface, Link, Node
from nicsim.network.nat import Translator
from nicsim.network.plain_host import PlainHost
from nicsim.network.router import Router

AnyNode = TypeVar("AnyNode", bound=Node)
_LOCALLY_ADMINISTERED = 0x02 << 40


class Network:
    """Nodes and links on one clock."""

    def __init__(self, seed: str) -> None:
        self.clock = Clock()
        self.chance = Chance(seed)
        # Called with every event, in order; add to it before the network runs.
        self.observers: list[Observer] = []
        self.nodes: dict[str, Node] = {}
        self.interfaces: list[Interface] = []

    def tell(self, event: Event) -> None:
        """Hand an event to whoever watches."""
        for observer in self.observers:
            observer(event)

    def plain_host(self, name: str) -> PlainHost:
        """A plain host."""
        return self.add(PlainHost(name, self.clock, self.observers))

    def router(self, name: str, translator: Translator | None = None) -> Router:
        """A router, or a NAT."""
        return self.add(Router(name, self.clock, self.observers, translator))

    def add(self, node: AnyNode) -> AnyNode:
        """Take a node in."""
        assert node.name not in self.nodes, f"there are two nodes {node.name}"
        self.nodes[node.name] = node
        return node

    def connect(
        self, first: Node, first_address: str, second: Node, second_address: str, conditions: Conditions = PERFECT
    ) -> tuple[Interface, Interface]:
        """A link between two nodes, and the address that each has on it."""
        link = Link(conditions, self.clock, self.observers)
        ends = [
            Interface(node, ip_address(address).packed, _mac(len(self.interfaces) + number), link)
            for number, (node, address) in enumerate(((first, first_address), (second, second_address)), start=1)
        ]
        link.join(ends[0], ends[1], self.chance.child(f"link {first.name} - {second.name}"))
        self.interfaces += ends
        for end in ends:
            end.node.attach(end)
        return ends[0], ends[1]


def _mac(number: int) -> bytes:
    return (_LOCALLY_ADMINISTERED + number).to_bytes(6, "big")
