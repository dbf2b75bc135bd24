"""Filling in the routes of a network whose links are all known.

Every router learns the way to every address that can be reached from it, the shortest first. A NAT hides what is
inside it: to the outside it is its outside addresses and nothing else, and whatever it knows no way to is outside.
Hosts, and what lies behind those with more than one link, are where routes end.
"""

from __future__ import annotations

from collections import deque

from nicsim.network.link import Interface
from nicsim.network.network import Network
from nicsim.network.router import Router

ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def find_routes(network: Network) -> None:
    """Give every router of the network its routes. Time grows with addresses times the routers that see them."""
    for interface in network.interfaces:
        _announce(interface.address, interface)
    for node in network.nodes.values():
        if isinstance(node, Router) and node.translator is not None and node.outside is not None:
            for address in sorted(node.translator.outside - {node.outside.address}):
                _announce(address, node.outside)
            node.routes.add(ANYWHERE[4], node.outside)


def _announce(address: bytes, owner: Interface) -> None:
    """Tell the router across the link of `owner`, and all that lie behind it, which way the address is."""
    waiting = deque([owner.peer])
    seen = {owner.node.name}
    while waiting:
        interface = waiting.popleft()
        router = interface.node
        if not isinstance(router, Router) or router.name in seen:
            continue
        seen.add(router.name)
        if interface is router.outside:  # a NAT sends outside whatever it has no other way to
            continue
        router.routes.add_host(address, interface)
        waiting.extend(
            other.peer for other in router.interfaces if other is not interface and other is not router.outside
        )
