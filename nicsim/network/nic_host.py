"""A host with a NIC in the network: its transport above the NIC, a stack of its own, and maybe a LAN behind it.

    link -> NIC -> transport -> packets for the host's own stack
                             -> packets for the LAN, which a router passes on
    stack, LAN -> transport (policy, ESP) -> NIC -> link

The first link is the NIC's; any others are the LAN. Packets that would be too long once they are protected are
answered with "packet too big" before that, so that who sent them only ever sees this host (path_mtus.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from nicsim.boundary import Binding, Descriptor, Indication
from nicsim.errors import Malformed, OffloadProtocolError
from nicsim.events import FrameSent, PacketDelivered
from nicsim.host.host import Host, HostConfig
from nicsim.host.link import Link
from nicsim.host.policy import PolicyDatabase
from nicsim.network.clock import Clock, Timer
from nicsim.network.events import Dropped, Event, Judged, Noted, Observer, Told
from nicsim.network.link import Interface, Onward
from nicsim.network.path_mtus import PathMtus
from nicsim.network.plain_host import PlainHost
from nicsim.network.router import Router
from nicsim.network.routing import ANYWHERE
from nicsim.reasons import BY_NUMBER
from nicsim.wire.fragmentation import fragment_ipv4, may_be_fragmented
from nicsim.wire.headers import format_address
from nicsim.wire.icmp import IcmpErrorKind, build_icmp_error, may_complain_about
from nicsim.wire.packet import ETHERNET_HEADER_LENGTH, LinkType, parse_frame


class NicBelow(Binding, Protocol):
    """A NIC as `nicsim.nic.Nic` joins it: the transport's binding above, and frames off the wire below."""

    def receive(self, frame: bytes) -> tuple[Indication, Descriptor]:
        """A frame off the wire: what goes up, and what the card wrote about it."""
        ...


class _Protected:
    """Where the stack and the LAN send to: the transport, which decides how a packet leaves."""

    def __init__(self, owner: NicHost, send: Callable[[bytes], None]) -> None:
        self._owner = owner
        self._send = send

    @property
    def address(self) -> bytes:
        """See Onward: what errors about packets come from. It needs to be one that policies are about."""
        return self._owner.inside_address

    def mtu_for(self, packet: bytes) -> int:
        """See Onward. An empty packet asks for the MTU of the link."""
        return self._owner.mtu_for(packet)

    def send(self, packet: bytes) -> None:
        """See Onward."""
        self._send(packet)


class NicHost:
    """One host with one NIC."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        observers: Iterable[Observer],
        nic: NicBelow,
        config: HostConfig,
        random: Callable[[int], bytes],
        policies: PolicyDatabase | None = None,
    ) -> None:
        """The addresses in `config` do not count where the links say others; `inner_addresses` are the stack's."""
        self.name = name
        self.clock = clock
        self.nic = nic
        self.stack = PlainHost(name, clock, observers)
        self.router = Router(name, clock, observers)
        self._observers = observers
        self._config = config
        self._random = random
        self._policies = policies
        self._interface: Interface | None = None
        self._host: Host | None = None
        self._timer: Timer | None = None
        self._working = False

    @property
    def host(self) -> Host:
        """The transport; there once the host is on a link."""
        assert self._host is not None, f"{self.name} is attached to no link"
        return self._host

    @property
    def interface(self) -> Interface:
        """The NIC's."""
        assert self._interface is not None, f"{self.name} is attached to no link"
        return self._interface

    @property
    def inside_address(self) -> bytes:
        """The host's own address inside tunnels: as told, or on its LAN, or the one on the NIC's link."""
        if self._config.inner_addresses:
            return self._config.inner_addresses[0]
        return self.router.interfaces[0].address if self.router.interfaces else self.interface.address

    def attach(self, interface: Interface) -> None:
        """See Node: the NIC's link first, then those of the LAN."""
        if self._interface is not None:
            self.router.attach(interface)
            self.router.routes.add_host(interface.peer.address, interface)
            return
        self._interface = interface
        link = Link(own_mac=interface.mac, next_hop_mac=interface.peer.mac)
        config = replace(self._config, link=link, ike=replace(self._config.ike, address=interface.address))
        self._host = Host(self.nic, config, self._random, self._policies)
        self.path_mtus = PathMtus(self._host)
        self.stack.attach(_Protected(self, self._send_own))
        self._tunnel: Onward = _Protected(self, self._send)
        for network in ANYWHERE.values():
            self.router.routes.add(network, self._tunnel)
        self.work()

    # --- in ----------------------------------------------------------------------------------------------------

    def receive(self, interface: Interface, packet: bytes) -> None:
        """See Node."""
        if interface is not self._interface:
            self.router.receive(interface, packet)
            return
        indication, descriptor = self.nic.receive(interface.received_frame(packet))
        self._tell(Judged(self.clock.now, self.name, BY_NUMBER[descriptor.reason]))
        if not indication.frame:  # a driver that misbehaves may keep it to itself
            return
        try:
            self.host.receive(self.clock.now, indication)
        except OffloadProtocolError as error:
            self._tell(Dropped(self.clock.now, self.name, packet, str(error)))
        self.work()

    def _delivered(self, event: PacketDelivered) -> None:
        """A packet that is through: for the stack, for the LAN, or about packets that were sent protected."""
        packet = event.packet
        dst = parse_frame(packet, LinkType.RAW).dst
        if event.pair is None and dst == self.host.address:
            learned = self.path_mtus.learn(self.clock.now, packet)
            if learned is not None:
                remote, mtu = learned
                self.note(f"the path to {format_address(remote)} takes {mtu}")
        if dst in (self.stack.address, self.host.address):
            self.stack.take(packet)
        elif self.router.interfaces:
            self.router.pass_on(self._tunnel, packet)
        else:
            self._tell(Dropped(self.clock.now, self.name, packet, f"nobody behind this host is {format_address(dst)}"))

    # --- out ---------------------------------------------------------------------------------------------------

    def mtu_for(self, packet: bytes) -> int:
        """The most bytes that an IP packet like this one may have, before it is protected."""
        if not packet:
            return self.interface.mtu
        return self.path_mtus.for_packet(self.clock.now, packet, self.interface.mtu)

    def _send_own(self, packet: bytes) -> None:
        """A packet of the own stack; what is too long for its path comes back as an error of our own."""
        mtu = self.mtu_for(packet)
        parsed = parse_frame(packet, LinkType.RAW)
        if len(packet) > mtu and not may_be_fragmented(packet):
            self._tell(Dropped(self.clock.now, self.name, packet, f"more than the {mtu} bytes that can go on"))
            if may_complain_about(packet, parsed):
                error = build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, self.stack.address, packet, mtu=mtu)
                self.clock.after(0.0, lambda: self.stack.take(error))
            return
        onward = self.router.routes.towards(parsed.dst)
        (onward or self._tunnel).send(packet)

    def _send(self, packet: bytes) -> None:
        """Hand a packet to the transport."""
        try:
            self.host.send_packet(self.clock.now, packet)
        except Malformed as error:
            self._tell(Dropped(self.clock.now, self.name, packet, str(error)))
        self.work()

    def _transmit(self, frame: bytes) -> None:
        """A frame that left the NIC, in fragments if its packet is too long for the link and may be cut."""
        packet = frame[ETHERNET_HEADER_LENGTH:]
        if len(packet) > self.interface.mtu and may_be_fragmented(packet):
            for piece in fragment_ipv4(packet, self.interface.mtu):
                self.interface.send(piece)
        else:
            self.interface.send(packet)

    # --- the transport's own doings ----------------------------------------------------------------------------

    def asked(self, ask: Callable[[], None]) -> None:
        """Ask something of `host`, and do what comes of it."""
        ask()
        self.work()

    def work(self) -> None:
        """Take what the transport has to send and to tell, until there is nothing; then look when it is due next."""
        if self._working:  # a packet that is delivered here can be answered at once
            return
        self._working = True
        try:
            while events := self.host.poll():
                for event in events:
                    if isinstance(event, FrameSent):
                        self._transmit(event.frame)
                        continue
                    self._tell(Told(self.clock.now, self.name, event))
                    if isinstance(event, PacketDelivered):
                        self._delivered(event)
        finally:
            self._working = False
        due = self.host.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.clock.at(due, self._tick) if due is not None else None

    def _tick(self) -> None:
        self.host.tick(self.clock.now)
        self.work()

    def note(self, what: str) -> None:
        """Tell the observers something."""
        self._tell(Noted(self.clock.now, self.name, what))

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)
