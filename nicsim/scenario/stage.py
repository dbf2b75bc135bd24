"""Setting the stage: a network as a scenario file describes it, before anything happens in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address

from nicsim.card.send import IvSource
from nicsim.errors import InputError
from nicsim.host.host import HostConfig
from nicsim.host.policy import PolicyDatabase
from nicsim.host.setkey import SetkeyText, read_setkey
from nicsim.impairments import Impaired
from nicsim.network.events import Observer
from nicsim.network.link import Interface, Node
from nicsim.network.nat import AddressNat, Napt, NaptBehaviour, Translator
from nicsim.network.network import Network
from nicsim.network.nic_host import NicHost
from nicsim.network.plain_host import PlainHost
from nicsim.network.router import Router
from nicsim.network.routing import ANYWHERE, find_routes
from nicsim.network.tracepath import Tracepath
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.scenario.connections import ike_config
from nicsim.scenario.model import HostNode, NatNode, PlainNode, RouterNode, Scenario


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
    # Knows the nodes by name, and reads addresses.
    address: Callable[[str], bytes]
    arrivals: list[Arrival] = field(default_factory=list)
    traces: dict[str, Tracepath] = field(default_factory=dict)

    def node(self, name: str) -> Node:
        """A node by its name, which the model has checked."""
        return self.network.nodes[name]

    def stack(self, name: str) -> PlainHost:
        """A plain host, or the stack of a host with a NIC. Raises InputError where the node is something else."""
        node = self.node(name)
        if isinstance(node, NicHost):
            return node.stack
        if not isinstance(node, PlainHost):
            raise InputError(f"the node {name} needs to be a host for this")
        return node

    def nic_host(self, name: str) -> NicHost:
        """A host with a NIC. Raises InputError where the node is something else."""
        node = self.node(name)
        if not isinstance(node, NicHost):
            raise InputError(f"the node {name} needs to be a host with a NIC for this")
        return node


@dataclass(frozen=True, slots=True)
class Cards:
    """What is asked of the hosts' NICs beside what the file says: of one host's, or of all."""

    profile: str | None = None
    impairments: tuple[Impaired, ...] = ()
    subject: str | None = None

    def nic(self, name: str, node: HostNode, iv_source: IvSource) -> Nic:
        """The NIC of one host. With impairments there is no rule monitor: what comes of them is seen to the end."""
        meant = self.subject in (None, name)
        impairments = self.impairments if meant else ()
        given = load_profile(self.profile if self.profile is not None and meant else node.profile)
        capabilities = replace(
            given,
            inbound_rows=given.inbound_rows if node.inbound_rows is None else node.inbound_rows,
            outbound_rows=given.outbound_rows if node.outbound_rows is None else node.outbound_rows,
            row_ticks=given.row_ticks if node.row_ticks is None else node.row_ticks,
            make_room=node.make_room or given.make_room,
        )
        return Nic(
            capabilities,
            iv_source=iv_source,
            serialise=node.ndis_queue,
            monitor=not impairments,
            impairments=impairments,
        )


def set_stage(
    scenario: Scenario, seed: str, cards: Cards | None = None, observer: Observer = lambda event: None
) -> Stage:
    """Build the network. Raises InputError where the file asks for what cannot be."""
    cards = cards or Cards(subject=scenario.subject)
    stage = Stage(Network(seed), partial(_address, scenario))
    stage.network.observers.append(observer)
    outside = _outside_addresses(scenario)
    for name, node in scenario.nodes.items():
        if isinstance(node, PlainNode):
            stage.network.plain_host(name)
        elif isinstance(node, HostNode):
            _add_host(stage, name, node, cards)
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
    for name, node in scenario.nodes.items():
        if isinstance(node, HostNode) and not _links_of(scenario, name):
            raise InputError(f"the host {name} needs a link")
        if isinstance(node, PlainNode | HostNode):
            for port in node.ports:
                _open_port(stage, stage.stack(name), port, echoes=node.echoes)
    _install(stage, scenario)
    for name, node in scenario.nodes.items():
        if isinstance(node, NatNode):
            _router(stage, name).outside = _towards(stage, name, node.outside)
    find_routes(stage.network)
    for name, node in scenario.nodes.items():
        if isinstance(node, RouterNode) and node.default is not None:
            onward = _towards(stage, name, node.default)
            _router(stage, name).routes.add(ANYWHERE[4 if len(onward.address) == 4 else 6], onward)
    return stage


def _address(scenario: Scenario, name_or_address: str) -> bytes:
    """An address, or the first one that a node has. Raises InputError."""
    for link in scenario.links:
        for number in (0, 1):
            name, address = link.end(number)
            if name == name_or_address:
                return ip_address(address).packed
    try:
        return ip_address(name_or_address).packed
    except ValueError:
        raise InputError(f"{name_or_address!r} is neither a node nor an address") from None


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
        spoils_markers=node.spoils_markers,
    )
    return Napt(address, behaviour)


def _router(stage: Stage, name: str) -> Router:
    router = stage.node(name)
    assert isinstance(router, Router)
    return router


def _towards(stage: Stage, name: str, peer: str) -> Interface:
    """The interface of one node that leads to another; the model has checked that there is one."""
    return next(one for one in stage.network.interfaces if one.node.name == name and one.peer.node.name == peer)


def _add_host(stage: Stage, name: str, node: HostNode, cards: Cards) -> None:
    network, chance = stage.network, stage.network.chance.child(f"host {name}")
    nic = cards.nic(name, node, chance.child("IVs of the NIC").octets)
    config = HostConfig(
        ike_config(node, stage.address),
        ndis=nic.capabilities.ndis,
        readings=nic.capabilities.readings,
        replay_window=node.replay_window,
        generate_policies=node.generate_policies,
        inner_addresses=tuple(ip_address(address).packed for address in node.inner_addresses),
    )
    policies = PolicyDatabase(list(_setkey(name, node).policies))
    network.add(NicHost(name, network.clock, network.observers, nic, config, chance.octets, policies))


def _setkey(name: str, node: HostNode) -> SetkeyText:
    try:
        return read_setkey(node.setkey)
    except InputError as error:
        raise InputError(f"the setkey text of {name}: {error}") from None


def _install(stage: Stage, scenario: Scenario) -> None:
    """Associations made by hand, once every host knows its address."""
    for name, node in scenario.nodes.items():
        if isinstance(node, HostNode):
            host = stage.nic_host(name)
            for statement in _setkey(name, node).associations:
                try:
                    host.host.install_manual(statement)
                except InputError as error:
                    raise InputError(f"the setkey text of {name}: {error}") from None
            host.work()


def _open_port(stage: Stage, host: PlainHost, port: int, *, echoes: bool) -> None:
    def took(source: bytes, source_port: int, data: bytes) -> None:
        address = str(ip_address(source))
        stage.arrivals.append(Arrival(stage.network.clock.now, host.name, address, source_port, port, len(data)))
        if echoes:
            host.send_udp(source, port, source_port, data)

    host.bind(port, took)
