"""Setting the stage: a network as a scenario file describes it, before anything happens in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from nicsim.errors import InputError
from nicsim.network.link import Interface, Node
from nicsim.network.nat import AddressNat, Napt, NaptBehaviour, Translator
from nicsim.network.network import Network
from nicsim.network.plain_host import PlainHost
from nicsim.network.router import Router
from nicsim.network.routing import ANYWHERE, find_routes
from nicsim.network.tracepath import Tracepath
from nicsim.scenario import model
from nicsim.scenario.model import NatNode, PlainNode, RouterNode, Scenario


@dataclass(frozen=True, slots=True)
class Arrival:
    """A datagram that a plain host took."""

    time: float
    node: str
    source: str
    source_port: int
    port: int
    length: int


@dataclass(slots=True)
class Stage:
    """A network and what its plain hosts got."""

    network: Network
    arrivals: list[Arrival] = field(default_factory=list)
    traces: dict[str, Tracepath] = field(default_factory=dict)

    def node(self, name: str) -> Node:
        """A node by its name, which the model has checked."""
        return self.network.nodes[name]

    def plain_host(self, name: str) -> PlainHost:
        """A plain host. Raises InputError where the node is something else."""
        node = self.node(name)
        if not isinstance(node, PlainHost):
            raise InputError(f"the node {name} needs to be a plain host for this")
        return node

    def address(self, name_or_address: str) -> bytes:
        """An address, or the first one that a node has."""
        if name_or_address in self.network.nodes:
            return next(one.address for one in self.network.interfaces if one.node.name == name_or_address)
        try:
            return ip_address(name_or_address).packed
        except ValueError:
            raise InputError(f"{name_or_address!r} is neither a node nor an address") from None


def set_stage(scenario: Scenario, seed: str) -> Stage:
    """Build the network. Raises InputError where the file asks for what cannot be."""
    stage = Stage(Network(seed))
    outside = _outside_addresses(scenario)
    for name, node in scenario.nodes.items():
        if isinstance(node, PlainNode):
            stage.network.plain_host(name)
        elif isinstance(node, RouterNode):
            stage.network.router(name)
        else:
            stage.network.router(name, _translator(node, outside.get(name, b""), name))
    for link in scenario.links:
        (first, first_address), (second, second_address) = link.end(0), link.end(1)
        if len(ip_address(first_address).packed) != len(ip_address(second_address).packed):
            raise InputError(f"the link {first} - {second} needs two addresses of one family")
        for name in (first, second):
            if isinstance(scenario.nodes[name], PlainNode) and _links_of(scenario, name) != 1:
                raise InputError(f"the plain host {name} needs one link, not {_links_of(scenario, name)}")
        stage.network.connect(stage.node(first), first_address, stage.node(second), second_address, link.conditions)
    _open_ports(stage, scenario)
    for name, node in scenario.nodes.items():
        if isinstance(node, NatNode):
            _router(stage, name).outside = _towards(stage, name, node.outside)
    find_routes(stage.network)
    for name, node in scenario.nodes.items():
        if isinstance(node, RouterNode) and node.default is not None:
            onward = _towards(stage, name, node.default)
            _router(stage, name).routes.add(ANYWHERE[4 if len(onward.address) == 4 else 6], onward)
    return stage


def _links_of(scenario: Scenario, name: str) -> int:
    return sum(link.end(number)[0] == name for link in scenario.links for number in (0, 1))


def _outside_addresses(scenario: Scenario) -> dict[str, bytes]:
    """The address that each NAT has on its link to the outside."""
    found = {}
    for link in scenario.links:
        for (name, address), (peer, _) in ((link.end(0), link.end(1)), (link.end(1), link.end(0))):
            node = scenario.nodes[name]
            if isinstance(node, NatNode) and node.outside == peer:
                found[name] = ip_address(address).packed
    return found


def _translator(node: NatNode, address: bytes, name: str) -> Translator:
    if len(address) != 4:
        raise InputError(f"the NAT {name} needs an IPv4 address outside")
    if node.addresses is not None:
        pairs = {ip_address(inside).packed: ip_address(outside).packed for inside, outside in node.addresses.items()}
        if len(set(pairs.values())) != len(pairs):
            raise InputError(f"the NAT {name} needs a different outside address for each inside one")
        return AddressNat(pairs)
    behaviour = NaptBehaviour(
        port_preserving=node.port_preserving,
        udp_timeout=node.udp_timeout,
        inbound_refresh=node.inbound_refresh,
        filtering=node.filtering,
        fragments=node.fragments,
        ipsec_aware=node.ipsec_aware,
    )
    return Napt(address, behaviour)


def _router(stage: Stage, name: str) -> Router:
    router = stage.node(name)
    assert isinstance(router, Router)
    return router


def _towards(stage: Stage, name: str, peer: str) -> Interface:
    """The interface of one node that leads to another; the model has checked that there is one."""
    return next(one for one in stage.network.interfaces if one.node.name == name and one.peer.node.name == peer)


def _open_ports(stage: Stage, scenario: Scenario) -> None:
    for name, node in scenario.nodes.items():
        if isinstance(node, PlainNode):
            for port in node.ports:
                _open_port(stage, stage.plain_host(name), port, node)


def _open_port(stage: Stage, host: PlainHost, port: int, node: model.PlainNode) -> None:
    def took(source: bytes, source_port: int, data: bytes) -> None:
        address = str(ip_address(source))
        stage.arrivals.append(Arrival(stage.network.clock.now, host.name, address, source_port, port, len(data)))
        if node.echoes:
            host.send_udp(source, port, source_port, data)

    host.bind(port, took)
