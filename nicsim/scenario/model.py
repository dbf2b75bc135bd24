"""What a scenario file says: nodes, links, steps in virtual time, and what must be seen.

    name = "keepalive-holds-a-mapping"
    about = "..."
    duration = 120.0

    [nodes.client]
    kind = "plain"

    [nodes.nat]
    kind = "nat"
    outside = "server"

    [[links]]
    ends = ["client 10.0.0.2", "nat 10.0.0.1"]

    [[steps]]
    do = "send"
    ...

    [[expectations]]
    see = "received"
    ...

Times are seconds, sizes bytes, probabilities 0 to 1. A file is a page of text that a person wrote: everything in it
is checked here, and sizes are bounded, so that no file can make a run endless.
"""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nicsim.capabilities import MakeRoom
from nicsim.errors import InputError
from nicsim.host.software_ipsec import DEFAULT_REPLAY_WINDOW
from nicsim.network.link import Conditions
from nicsim.network.nat import Filtering, Fragments
from nicsim.profile import DEFAULT_PROFILE
from nicsim.scenario.expectations import Expectation
from nicsim.scenario.fields import (
    LONGEST_RUN,
    Address,
    AddressV4,
    Count,
    Length,
    Name,
    Part,
    Port,
    Probability,
    Time,
    Times,
)

LONGEST_FILE = 1 << 20
"""Bytes."""


# --- nodes ---------------------------------------------------------------------------------------------------------


class PlainNode(Part):
    """A host without IPsec."""

    kind: Literal["plain"]
    # Ports on which datagrams are taken; what comes to others is answered with "port unreachable".
    ports: list[Port] = []
    # Sends every datagram back to where it came from.
    echoes: bool = False


class RouterNode(Part):
    """A router."""

    kind: Literal["router"]
    # The node at the other end of the link for everything that has no route of its own.
    default: Name | None = None


class NatNode(Part):
    """A router with a NAT in it."""

    kind: Literal["nat"]
    # The node at the other end of the link that is outside.
    outside: Name
    # 1:1: the outside address of each inside one. Without it, ports are translated too, and all share one address.
    addresses: dict[AddressV4, AddressV4] | None = None
    port_preserving: bool = True
    udp_timeout: Time = 120.0
    inbound_refresh: bool = False
    filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
    fragments: Fragments = Fragments.REASSEMBLE
    ipsec_aware: bool = False
    # Every so many-th ESP packet on its way out gets a bit of its non-IKE marker set, as by a middlebox that takes the
    # marker for a cookie of IKE; 0: none.
    spoils_markers: Count = 0


Ciphers = Annotated[list[str], Field(min_length=1, max_length=16)]


class IkeConnection(Part):
    """What a host agrees on with a peer, or with any."""

    name: Name
    # A node, by the first address it has, or an address; without it, any peer may come.
    peer: str | None = None
    psk: str | None = None
    # A name in nicsim/scenarios/certificates, instead of a pre-shared key.
    certificate: Literal["client", "server"] | None = None
    exchange: Literal["main", "aggressive"] = "main"
    identity: str | None = None
    peer_identity: str | None = None
    natt: Literal["auto", "force", "off"] = "auto"
    # Names of nicsim.host.ike.natt, preferred first; without it, the ones that IKE takes by default.
    natt_versions: list[str] | None = None
    phase1: Ciphers = ["aes128-sha1"]
    groups: list[int] = [2]
    phase2: Ciphers = ["aes128-sha1"]
    mode: Literal["tunnel", "transport"] = "tunnel"
    # Prefixes of the packets that it is for; without them, the two ends themselves.
    local: str | None = None
    remote: str | None = None
    # Addresses that were given to peers, by their identities: each may have its own, and nobody else's.
    assigned: dict[str, Address] = {}
    pfs_group: int | None = None
    ike_lifetime: Annotated[int, Field(ge=60)] = 28800
    lifetime: Annotated[int, Field(ge=60)] = 3600
    # Seconds of silence after which the peer is asked whether it lives.
    dead_peer_interval: Time | None = None

    @model_validator(mode="after")
    def _one_way_to_authenticate(self) -> Self:
        if (self.psk is None) == (self.certificate is None):
            raise ValueError("a connection needs a psk or a certificate")
        return self


class HostNode(Part):
    """A host with a NIC that offloads IPsec. Its first link is the NIC's; any others are a LAN behind it."""

    kind: Literal["host"]
    # The kind of card: a preset or a file, as nicsim profile knows them.
    profile: str = DEFAULT_PROFILE
    # Where the card differs from its profile: rows in its tables, polls that a row takes, and whether its driver asks
    # for room when they are full.
    inbound_rows: Count | None = None
    outbound_rows: Count | None = None
    row_ticks: Annotated[int, Field(ge=0, le=1000)] | None = None
    make_room: MakeRoom | None = None
    # False takes NDIS's queue away, so that requests overtake each other.
    ndis_queue: bool = True
    # Its own addresses inside tunnels.
    inner_addresses: list[Address] = []
    # Policies and associations made by hand, as text for setkey(8).
    setkey: str = ""
    connections: list[IkeConnection] = []
    # Protect what was negotiated, for as long as it lives; otherwise only `setkey` says what is to be protected.
    generate_policies: bool = True
    # The port that its IKE daemon sends from and listens on, before any change of ports.
    ike_port: Annotated[int, Field(ge=1, le=65535)] = 500
    keepalive_interval: Time = 20.0
    # For how long a pair that was replaced goes on receiving.
    overlap: Time = 30.0
    # Packets.
    replay_window: Annotated[int, Field(ge=0, le=65536)] = DEFAULT_REPLAY_WINDOW
    # See PlainNode; for the host's own stack.
    ports: list[Port] = []
    echoes: bool = False


Node = Annotated[PlainNode | RouterNode | NatNode | HostNode, Field(discriminator="kind")]


class Link(Part):
    """A link between two nodes, each with its address there: "client 10.0.0.2"."""

    ends: tuple[str, str]
    delay: Time = 0.001
    mtu: Annotated[int, Field(ge=68, le=65535)] = 1500
    loss: Probability = 0.0
    duplication: Probability = 0.0
    reordering: Probability = 0.0
    corruption: Probability = 0.0
    late: Time = 0.02

    @model_validator(mode="after")
    def _ends_are_nodes_with_addresses(self) -> Self:
        for end in self.ends:
            parts = end.split()
            if len(parts) != 2:
                raise ValueError(f"an end needs a node and its address, like 'client 10.0.0.2', not {end!r}")
            ip_address(parts[1])
        return self

    def end(self, number: int) -> tuple[str, str]:
        """Node and address of one end."""
        node, address = self.ends[number].split()
        return node, address

    @property
    def conditions(self) -> Conditions:
        """What the network needs to know."""
        return Conditions(
            self.delay, self.mtu, self.loss, self.duplication, self.reordering, self.corruption, self.late
        )


# --- steps ---------------------------------------------------------------------------------------------------------


class _Step(Part):
    at: Time = 0.0


class SendStep(_Step):
    """A plain host sends a datagram, or several."""

    do: Literal["send"]
    source: Name
    # A node, by the first address it has, or an address.
    to: str
    port: Port
    source_port: Port
    data: str = "hello"
    # Bytes of data, where it is more than the text; it is filled up with zeros.
    length: Length = 0
    times: Times = 1
    every: Time = 1.0


class KeepaliveStep(_Step):
    """A plain host sends NAT keepalives, one byte of ones each."""

    do: Literal["keepalive"]
    source: Name
    to: str
    port: Port = 4500
    source_port: Port = 4500
    times: Times = 1
    every: Time = 20.0


class RestartStep(_Step):
    """A NAT starts again: it loses its mappings and makes others."""

    do: Literal["restart"]
    node: Name


class TracepathStep(_Step):
    """A plain host finds out the path MTU to somewhere."""

    do: Literal["tracepath"]
    source: Name
    to: str


class ConnectStep(_Step):
    """A host with a NIC brings a connection up, its first one unless it is named."""

    do: Literal["connect"]
    node: Name
    connection: Name | None = None


class RekeyStep(_Step):
    """A host has its newest pair of associations replaced."""

    do: Literal["rekey"]
    node: Name


class DeleteStep(_Step):
    """A host ends its newest pair of associations and tells the peer."""

    do: Literal["delete"]
    node: Name


class CloseStep(_Step):
    """A host ends everything that it has negotiated."""

    do: Literal["close"]
    node: Name


class OvertakeStep(_Step):
    """A host hands its NIC an add request and, before that has completed, the delete of the same association."""

    do: Literal["overtake"]
    node: Name


Step = Annotated[
    SendStep
    | KeepaliveStep
    | RestartStep
    | TracepathStep
    | ConnectStep
    | RekeyStep
    | DeleteStep
    | CloseStep
    | OvertakeStep,
    Field(discriminator="do"),
]


# --- the file ------------------------------------------------------------------------------------------------------


class Scenario(Part):
    """One scenario file."""

    name: Name
    # One sentence.
    about: str
    # Where the story comes from: a section of docs/spec, a page, a rule.
    source: str = ""
    seed: str = "1"
    duration: Annotated[float, Field(gt=0, le=LONGEST_RUN)]
    # The host whose NIC the story is about: --profile and --impair are for it. Without it, for every host.
    subject: Name | None = None
    nodes: Annotated[dict[Name, Node], Field(min_length=1, max_length=5000)]
    links: Annotated[list[Link], Field(min_length=1, max_length=10_000)]
    steps: Annotated[list[Step], Field(max_length=10_000)] = []
    expectations: Annotated[list[Expectation], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _names_are_nodes(self) -> Self:
        if self.subject is not None and not isinstance(self.nodes.get(self.subject), HostNode):
            raise ValueError(f"the subject needs to be a host, not {self.subject!r}")
        for what, name in self._named_nodes():
            if name not in self.nodes:
                raise ValueError(f"{what} names the node {name!r}, which is none of {', '.join(self.nodes)}")
        neighbours = {frozenset((link.end(0)[0], link.end(1)[0])) for link in self.links}
        for name, node in self.nodes.items():
            onward = node.outside if isinstance(node, NatNode) else getattr(node, "default", None)
            if onward is not None and frozenset((name, onward)) not in neighbours:
                raise ValueError(f"{name} needs a link to {onward}")
        return self

    def _named_nodes(self) -> list[tuple[str, str]]:
        named = [(f"link {number}", link.end(end)[0]) for number, link in enumerate(self.links, 1) for end in (0, 1)]
        for kind, parts in (("step", self.steps), ("expectation", self.expectations)):
            for number, part in enumerate(parts, 1):
                for field in ("source", "node", "target"):
                    name = getattr(part, field, None)
                    if name is not None and not (kind == "expectation" and _is_address(name)):
                        named.append((f"{kind} {number}", name))
        return named


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def parse_scenario(text: str, where: str) -> Scenario:
    """The scenario that a text describes. Raises InputError with its first fault."""
    try:
        return Scenario.model_validate(_toml(text, where))
    except ValidationError as error:
        raise InputError(_faults(error, where)[0]) from None


def scenario_faults(text: str, where: str) -> list[str]:
    """Everything that is wrong with a scenario's text, a line each; nothing where it can be run."""
    try:
        Scenario.model_validate(_toml(text, where))
    except ValidationError as error:
        return _faults(error, where)
    except InputError as error:
        return [str(error)]
    return []


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or an integer of too many digits
        raise InputError(f"{where}: is no TOML: {error}") from None


def _faults(error: ValidationError, where: str) -> list[str]:
    faults = []
    for fault in error.errors():
        place = ".".join(repr(part)[1:-1] if isinstance(part, str) else str(part) for part in fault["loc"])
        faults.append(f"{where}: {place or 'the scenario'}: {' '.join(fault['msg'].split())}")
    return faults
