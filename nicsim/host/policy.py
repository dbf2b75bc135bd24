"""Security policies: which packets are protected, and how; which go in the clear, which nowhere.

The database of RFC 4301 section 4.4.1, with the words of setkey(8): policies have a direction, a selector and an
action, and `ipsec` ones a template that says mode and tunnel end points. The first policy that matches decides, by
priority and then by age. A packet that no policy matches goes in the clear.

host/setkey.py reads policies from text; host/host.py asks for every packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address

from nicsim.errors import InputError
from nicsim.events import Selector
from nicsim.ipsec.association import Mode
from nicsim.wire.esp import PROTOCOL_UDP
from nicsim.wire.headers import format_address
from nicsim.wire.packet import LinkType, parse_frame

PROTOCOL_ICMP, PROTOCOL_TCP = 1, 6
PORTS_LENGTH = 4
"""Bytes of a TCP header up to the end of its ports."""
PROTOCOL_WORDS = {0: "any", 1: "icmp", 4: "ip4", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah", 58: "icmp6"}


class Direction(Enum):
    """Which way a packet goes; FORWARD is for packets that come in for others."""

    IN = "in"
    OUT = "out"
    FORWARD = "fwd"


class Action(Enum):
    """What becomes of a packet (RFC 4301 section 4.4.1)."""

    PROTECT = "ipsec"
    BYPASS = "none"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What selectors look at in one packet. A port is None where the packet shows none: a later fragment, ICMP, ESP."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None

    def __str__(self) -> str:
        word = PROTOCOL_WORDS.get(self.protocol, str(self.protocol))
        ports = f" {self.source_port} -> {self.destination_port}" if self.source_port is not None else ""
        return f"{self.source} -> {self.destination} {word}{ports}"


def traffic_of(ip_packet: bytes) -> Traffic:
    """What selectors look at in an IP packet. Raises Malformed."""
    packet = parse_frame(ip_packet, LinkType.RAW)
    ports: tuple[int | None, int | None] = (None, None)
    if packet.protocol == PROTOCOL_UDP and packet.src_port >= 0:
        ports = packet.src_port, packet.dst_port
    elif packet.protocol == PROTOCOL_TCP and not packet.fragment_offset and packet.end - packet.payload >= PORTS_LENGTH:
        at = packet.payload
        ports = int.from_bytes(ip_packet[at : at + 2], "big"), int.from_bytes(ip_packet[at + 2 : at + 4], "big")
    return Traffic(ip_address(packet.src), ip_address(packet.dst), packet.protocol, *ports)


@dataclass(frozen=True, slots=True)
class TrafficSelector:
    """Both ends of the packets that a policy or an association is for, in the direction in which they go."""

    source: Selector
    destination: Selector

    def matches(self, traffic: Traffic) -> bool:
        """Whether a packet is one of these."""
        return _selects(self.source, traffic.source, traffic.protocol, traffic.source_port) and _selects(
            self.destination, traffic.destination, traffic.protocol, traffic.destination_port
        )

    def reversed(self) -> TrafficSelector:
        """The packets that answer these."""
        return TrafficSelector(self.destination, self.source)


def _selects(selector: Selector, address: IPv4Address | IPv6Address, protocol: int, port: int | None) -> bool:
    return (
        address.version == selector.network.version
        and address in selector.network
        and selector.protocol in (0, protocol)
        and selector.port in (0, port)
    )


@dataclass(frozen=True, slots=True)
class Template:
    """How a policy wants its packets protected: one ESP layer."""

    mode: Mode
    # The tunnel's ends in the direction of the packets, 4 or 16 bytes; in transport mode b"" for the packet's own.
    source: bytes = b""
    destination: bytes = b""
    # False: a packet goes in the clear while there is no association ("use"), and may come so.
    required: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """One entry of the database."""

    direction: Direction
    selector: TrafficSelector
    action: Action
    # For PROTECT, and only there.
    template: Template | None = None
    # Larger is asked first.
    priority: int = 0

    def __post_init__(self) -> None:
        if (self.action is Action.PROTECT) != (self.template is not None):
            raise InputError(f"a policy with action {self.action.value} and {self.template or 'no template'}")

    def text(self) -> str:
        """The policy as a statement of setkey(8)."""
        source, destination = self.selector.source, self.selector.destination
        protocol = PROTOCOL_WORDS.get(source.protocol, str(source.protocol))
        ends = " ".join(f"{end.network}[{end.port or 'any'}]" for end in (source, destination))
        priority = f" prio {self.priority}" if self.priority else ""
        what = self.action.value
        if self.template is not None:
            tunnel = "-".join(format_address(end) for end in (self.template.source, self.template.destination) if end)
            level = "require" if self.template.required else "use"
            what += f" esp/{self.template.mode.value}/{tunnel}/{level}"
        return f"spdadd {ends} {protocol} -P {self.direction.value}{priority} {what};"


class PolicyDatabase:
    """The policies of one host, in the order in which they are asked.

    A gateway has thousands that are about one host each, and a packet for each of them to find: those are kept by
    that host's address, the far one of their direction.
    """

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        """Raises InputError where two have the same selector."""
        # Every policy with its place in the order: larger priority first, then age.
        self._places: dict[tuple[Direction, TrafficSelector], tuple[tuple[int, int], Policy]] = {}
        self._buckets: dict[tuple[Direction, IPv4Address | IPv6Address | None], list[Policy]] = {}
        self._added = 0
        # How many are about packets for others.
        self._forwarding = 0
        for policy in policies:
            self.add(policy)

    def __iter__(self) -> Iterator[Policy]:
        """In the order in which they are asked."""
        return (policy for _, policy in sorted(self._places.values(), key=lambda placed: placed[0]))

    def __len__(self) -> int:
        return len(self._places)

    def add(self, policy: Policy) -> None:
        """Put a policy behind those of at least its priority. Raises InputError if its selector is taken."""
        known = self.find(policy.direction, policy.selector)
        if known is not None:
            raise InputError(f"there is a policy for this already: {known.text()}")
        self._added += 1
        self._forwarding += policy.direction is Direction.FORWARD
        self._places[policy.direction, policy.selector] = (-policy.priority, self._added), policy
        bucket = self._buckets.setdefault((policy.direction, _far_host(policy)), [])
        bucket.append(policy)
        bucket.sort(key=self._place)

    def remove(self, policy: Policy) -> None:
        """Forget a policy that is there."""
        key = policy.direction, _far_host(policy)
        del self._places[policy.direction, policy.selector]
        self._forwarding -= policy.direction is Direction.FORWARD
        self._buckets[key].remove(policy)
        if not self._buckets[key]:
            del self._buckets[key]

    def find(self, direction: Direction, selector: TrafficSelector) -> Policy | None:
        """The policy with exactly this selector."""
        _, policy = self._places.get((direction, selector), (None, None))
        return policy

    def lookup(self, direction: Direction, traffic: Traffic) -> Policy | None:
        """The policy that decides about a packet, None where no policy is for it."""
        far = traffic.destination if direction is Direction.OUT else traffic.source
        found = [
            policy
            for key in ((direction, far), (direction, None))
            if (policy := _first(self._buckets.get(key, ()), traffic)) is not None
        ]
        return min(found, key=self._place, default=None)

    def _place(self, policy: Policy) -> tuple[int, int]:
        return self._places[policy.direction, policy.selector][0]

    def inbound(self, traffic: Traffic, *, for_this_host: bool) -> Policy | None:
        """The policy for a packet that came in. `in` policies are for forwarded packets too unless `fwd` ones exist."""
        forwarded = not for_this_host and self._forwarding > 0
        return self.lookup(Direction.FORWARD if forwarded else Direction.IN, traffic)

    def text(self) -> str:
        """The database as statements of setkey(8), one a line."""
        return "".join(f"{policy.text()}\n" for policy in self)


def _far_host(policy: Policy) -> IPv4Address | IPv6Address | None:
    """The one host that a policy is about, at the other end; None where there are more."""
    ends = policy.selector
    network = (ends.destination if policy.direction is Direction.OUT else ends.source).network
    return network.network_address if network.num_addresses == 1 else None


def _first(policies: Iterable[Policy], traffic: Traffic) -> Policy | None:
    return next((policy for policy in policies if policy.selector.matches(traffic)), None)
