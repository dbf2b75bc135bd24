"""Routers, with or without a NAT in them: from one interface to another, by RFC 1812 as far as packets can tell.

Read `receive`; its steps are in the order in which routers take them. A NAT lies between the outside interface and
everything else: what comes in is translated before it is routed, what goes out after.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from nicsim.errors import Malformed
from nicsim.network.clock import Clock
from nicsim.network.events import Dropped, Event, Noted, Observer
from nicsim.network.link import Interface, Onward
from nicsim.network.nat import Fragments, Outcome, Translator
from nicsim.network.rewriting import one_hop_on
from nicsim.wire.checksum import internet_checksum
from nicsim.wire.fragmentation import fragment_ipv4, may_be_fragmented
from nicsim.wire.headers import format_address
from nicsim.wire.icmp import IcmpErrorKind, build_icmp_error, may_complain_about
from nicsim.wire.packet import LinkType, Packet, parse_frame
from nicsim.wire.reassembly import Reassembler

ERRORS_A_SECOND = 100.0
ERRORS_AT_ONCE = 50.0
"""ICMP errors are limited by a bucket that fills at one rate and holds so many (RFC 1812 section 4.3.2.8)."""


class Routes:
    """Which interface leads to an address: the longest prefix that holds it decides."""

    def __init__(self) -> None:
        # By version and prefix length: networks as the numbers of their leading bits.
        self._by_length: dict[tuple[int, int], dict[int, Onward]] = {}
        self._lengths: list[tuple[int, int]] = []

    def add(self, network: str, onward: Onward) -> None:
        """A route to a prefix such as 10.0.0.0/8; a second one to the same prefix replaces the first."""
        parsed = ip_network(network)
        key = parsed.version, parsed.prefixlen
        number = int(parsed.network_address) >> parsed.max_prefixlen - parsed.prefixlen
        self._by_length.setdefault(key, {})[number] = onward
        self._lengths = sorted(self._by_length, reverse=True)

    def add_host(self, address: bytes, onward: Onward) -> None:
        """A route to one address."""
        self.add(str(ip_address(address)), onward)

    def towards(self, address: bytes) -> Onward | None:
        """The interface that leads to an address."""
        version, bits = (4, 32) if len(address) == 4 else (6, 128)
        number = int.from_bytes(address, "big")
        for length_of in self._lengths:
            if length_of[0] == version:
                found = self._by_length[length_of].get(number >> bits - length_of[1])
                if found is not None:
                    return found
        return None


class ErrorLimit:
    """A bucket of ICMP errors that may be sent."""

    def __init__(self, rate: float = ERRORS_A_SECOND, most: float = ERRORS_AT_ONCE) -> None:
        self._rate = rate
        self._most = most
        self._left = most
        self._since = 0.0

    def allows(self, now: float) -> bool:
        """Take one error out, if there is one."""
        self._left = min(self._most, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Router:
    """A node that passes packets on. With a translator and an outside interface it is a NAT."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        observers: Iterable[Observer] = (),
        translator: Translator | None = None,
        limit: ErrorLimit | None = None,
    ) -> None:
        self.name = name
        self.interfaces: list[Interface] = []
        self._own_addresses: set[bytes] = set()
        self.routes = Routes()
        self.translator = translator
        # The side that the translator's outside addresses are on.
        self.outside: Interface | None = None
        self.clock = clock
        self._observers = observers
        self._limit = limit or ErrorLimit()
        self._reassembler = Reassembler()

    def attach(self, interface: Interface) -> None:
        """See Node."""
        self.interfaces.append(interface)
        self._own_addresses.add(interface.address)

    def receive(self, interface: Interface, packet: bytes) -> None:
        """See Node."""
        try:
            parsed = parse_frame(packet, LinkType.RAW)
        except Malformed as error:
            self._drop(packet, str(error))
            return
        if parsed.version == 4 and internet_checksum(packet[: (packet[0] & 0xF) * 4]):
            self._drop(packet, "the IPv4 header checksum is wrong")
            return
        for whole in self._gathered(packet[: parsed.end], parsed):
            for data in self._translated_in(interface, whole):
                self.pass_on(interface, data)

    # --- the steps ---------------------------------------------------------------------------------------------

    def _gathered(self, packet: bytes, parsed: Packet) -> list[bytes]:
        """The packet; where a NAT needs datagrams whole, the datagram that this fragment completes."""
        if not parsed.is_fragment or self.translator is None or self.translator.fragments is not Fragments.REASSEMBLE:
            return [packet]
        try:
            whole = self._reassembler.add(packet, parsed, self.clock.now)
        except Malformed as error:
            self._drop(packet, str(error))
            return []
        return [] if whole is None else [whole]

    def _translated_in(self, interface: Interface, packet: bytes) -> list[bytes]:
        if interface is not self.outside or self.translator is None or packet[0] >> 4 != 4:
            return [packet]
        parsed = parse_frame(packet, LinkType.RAW)
        if parsed.dst not in self.translator.outside:
            return [packet]
        return self._taken(packet, self.translator.inbound(self.clock.now, packet, parsed))

    def pass_on(self, came_by: Onward, packet: bytes) -> None:
        """Send a packet on that came in by one side, or say why not. It is well-formed and not yet a hop further."""
        parsed = parse_frame(packet, LinkType.RAW)
        if parsed.dst in self._own_addresses:
            self._drop(packet, "it is for the router itself")
            return
        if parsed.ttl <= 1:
            self._drop(packet, "its TTL has run out")
            self._complain(came_by, packet, parsed, IcmpErrorKind.TIME_EXCEEDED)
            return
        onward = self.routes.towards(parsed.dst)
        if onward is None:
            self._drop(packet, f"there is no route to {format_address(parsed.dst)}")
            self._complain(came_by, packet, parsed, IcmpErrorKind.NO_ROUTE)
            return
        mtu = onward.mtu_for(packet)
        if len(packet) > mtu and not may_be_fragmented(packet):
            self._drop(packet, f"its {len(packet)} bytes are more than the {mtu} that can go on")
            self._complain(came_by, packet, parsed, IcmpErrorKind.PACKET_TOO_BIG, mtu)
            return
        self._send(onward, one_hop_on(packet))

    def _send(self, onward: Onward, packet: bytes) -> None:
        for data in self._translated_out(onward, packet):
            try:
                pieces = fragment_ipv4(data, onward.mtu_for(data)) if data[0] >> 4 == 4 else [data]
            except Malformed as error:
                self._drop(data, str(error))
                continue
            for piece in pieces:
                onward.send(piece)

    def _translated_out(self, onward: Onward, packet: bytes) -> list[bytes]:
        if onward is not self.outside or self.translator is None or packet[0] >> 4 != 4:
            return [packet]
        parsed = parse_frame(packet, LinkType.RAW)
        if parsed.src in self.translator.outside:  # the router's own
            return [packet]
        return self._taken(packet, self.translator.outbound(self.clock.now, packet, parsed))

    def _taken(self, packet: bytes, outcome: Outcome) -> list[bytes]:
        for note in outcome.notes:
            self.note(note)
        if outcome.dropped:
            self._drop(packet, outcome.dropped)
        return outcome.packets

    # --- errors, and telling -----------------------------------------------------------------------------------

    def _complain(self, came_by: Onward, packet: bytes, parsed: Packet, kind: IcmpErrorKind, mtu: int = 0) -> None:
        """Send an ICMP error about a packet back the way it came, if one may be sent."""
        if len(came_by.address) != len(parsed.src) or not may_complain_about(packet, parsed):
            return
        if not self._limit.allows(self.clock.now):
            self.note("an ICMP error is kept back: too many of them")
            return
        self._send(came_by, build_icmp_error(kind, came_by.address, packet, mtu=mtu))

    def restart(self) -> None:
        """The NAT in it loses its mappings."""
        if self.translator is not None:
            self.note(f"the NAT starts again: {self.translator.remap()}")

    def note(self, what: str) -> None:
        """Tell the observers something."""
        self._tell(Noted(self.clock.now, self.name, what))

    def _drop(self, packet: bytes, why: str) -> None:
        self._tell(Dropped(self.clock.now, self.name, packet, why))

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)
