"""A plain IPv4 host without IPsec: it sends and receives datagrams, answers echo requests, and minds path MTUs.

For LAN hosts behind a gateway, for clients that only have a port open, and for `tracepath`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nicsim.errors import Malformed
from nicsim.network.clock import Clock
from nicsim.network.events import Dropped, Event, Noted, Observer
from nicsim.network.link import Onward
from nicsim.wire.checksum import internet_checksum, udp_checksum
from nicsim.wire.esp import PROTOCOL_UDP
from nicsim.wire.fragmentation import fragment_ipv4, may_be_fragmented
from nicsim.wire.headers import DONT_FRAGMENT, build_ipv4, build_udp, format_address
from nicsim.wire.icmp import (
    IcmpError,
    IcmpErrorKind,
    build_icmp_error,
    echo_reply,
    may_complain_about,
    parse_icmp_error,
)
from nicsim.wire.packet import LinkType, Packet, parse_frame
from nicsim.wire.reassembly import Reassembler

LEAST_MTU = 68
"""No path is narrower (RFC 791 section 3.2, RFC 1191 section 3); whoever says so is not believed."""

Handler = Callable[[bytes, int, bytes], None]
"""Called with the source address, the source port, and the data of a datagram."""
ErrorHandler = Callable[[IcmpError, bytes, int], None]
"""Called with an ICMP error, who sent it, and the TTL with which it came."""


class PlainHost:
    """A host with one interface."""

    def __init__(self, name: str, clock: Clock, observers: Iterable[Observer] = ()) -> None:
        self.name = name
        self.clock = clock
        # Largest packets that destinations are known to take.
        self.path_mtus: dict[bytes, int] = {}
        self.on_error: list[ErrorHandler] = []
        self.received: int = 0
        self._observers = observers
        self._interface: Onward | None = None
        self._handlers: dict[int, Handler] = {}
        self._reassembler = Reassembler()
        self._identification = 0

    @property
    def interface(self) -> Onward:
        """Its one interface."""
        assert self._interface is not None, f"{self.name} is attached to no link"
        return self._interface

    @property
    def address(self) -> bytes:
        """Its address."""
        return self.interface.address

    def attach(self, interface: Onward) -> None:
        """See Node. The stack of a host with a NIC sends through something else."""
        assert self._interface is None, f"{self.name} has room for one link"
        self._interface = interface

    def bind(self, port: int, handler: Handler) -> None:
        """Have datagrams to a port handled."""
        self._handlers[port] = handler

    # --- sending -----------------------------------------------------------------------------------------------

    def send_udp(
        self, dst: bytes, src_port: int, dst_port: int, data: bytes, *, ttl: int = 64, checksum: int | None = None
    ) -> None:
        """Send a datagram that may be fragmented; its checksum is computed unless one is given."""
        datagram = build_udp(src_port, dst_port, data, checksum=checksum, src=self.address, dst=dst)
        self.send_packet(self._ip(dst, datagram, ttl, 0))

    def send_probe(self, dst: bytes, src_port: int, dst_port: int, length: int, ttl: int) -> None:
        """Send a datagram that makes an IP packet of `length` bytes, which must not be fragmented."""
        datagram = build_udp(src_port, dst_port, bytes(length - 28), checksum=None, src=self.address, dst=dst)
        self.send_packet(self._ip(dst, datagram, ttl, DONT_FRAGMENT))

    def _ip(self, dst: bytes, datagram: bytes, ttl: int, flags: int) -> bytes:
        self._identification = (self._identification + 1) & 0xFFFF
        return build_ipv4(
            self.address,
            dst,
            PROTOCOL_UDP,
            datagram,
            ttl=ttl,
            identification=self._identification,
            flags=flags,
        )

    def send_packet(self, packet: bytes) -> None:
        """Put an IPv4 packet on the link, in fragments if need be and if it allows that."""
        pieces = fragment_ipv4(packet, self.interface.mtu_for(packet)) if may_be_fragmented(packet) else [packet]
        for piece in pieces:
            self.interface.send(piece)

    def path_mtu(self, dst: bytes) -> int:
        """The largest packet that is known to get to a destination, the own link at first."""
        return self.path_mtus.get(dst, self.interface.mtu_for(b""))

    # --- receiving ---------------------------------------------------------------------------------------------

    def receive(self, interface: Onward, packet: bytes) -> None:
        """See Node."""
        try:
            parsed = parse_frame(packet, LinkType.RAW)
            if parsed.version != 4 or parsed.dst != self.address:
                self._drop(packet, f"it is for {format_address(parsed.dst)}, not for this host")
                return
            if internet_checksum(packet[: (packet[0] & 0xF) * 4]):
                self._drop(packet, "the IPv4 header checksum is wrong")
                return
        except Malformed as error:
            self._drop(packet, str(error))
        else:
            self.take(packet)

    def take(self, packet: bytes) -> None:
        """A packet for this host, whoever may have checked its header."""
        try:
            whole = self._reassembler.add(packet, parse_frame(packet, LinkType.RAW), self.clock.now)
            if whole is not None:
                self._take(whole, parse_frame(whole, LinkType.RAW))
        except Malformed as error:
            self._drop(packet, str(error))

    def _take(self, data: bytes, packet: Packet) -> None:
        self.received += 1
        if packet.protocol == PROTOCOL_UDP:
            self._take_udp(data, packet)
        elif (error := parse_icmp_error(data, packet)) is not None:
            self._take_error(error, packet)
        elif (reply := echo_reply(data, packet)) is not None:
            self.send_packet(reply)

    def _take_udp(self, data: bytes, packet: Packet) -> None:
        datagram = data[packet.payload : packet.udp_end]
        checksum = int.from_bytes(datagram[6:8], "big")
        if checksum and checksum != udp_checksum(packet.src, packet.dst, datagram):
            self._drop(data, "the UDP checksum is wrong")
            return
        handler = self._handlers.get(packet.dst_port)
        if handler is not None:
            handler(packet.src, packet.src_port, datagram[8:])
        elif may_complain_about(data, packet):
            self.send_packet(build_icmp_error(IcmpErrorKind.PORT_UNREACHABLE, self.address, data))

    def _take_error(self, error: IcmpError, packet: Packet) -> None:
        if error.kind is IcmpErrorKind.PACKET_TOO_BIG and LEAST_MTU <= error.mtu < self.path_mtu(error.quoted.dst):
            self.path_mtus[error.quoted.dst] = error.mtu
            self.note(f"the path MTU to {format_address(error.quoted.dst)} is {error.mtu}")
        for handler in tuple(self.on_error):
            handler(error, packet.src, packet.ttl)

    # --- telling -----------------------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """Tell the observers something."""
        self._tell(Noted(self.clock.now, self.name, what))

    def _drop(self, packet: bytes, why: str) -> None:
        self._tell(Dropped(self.clock.now, self.name, packet, why))

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)
