"""Real sockets below a simulated NIC: datagrams become IP packets for its receive path, and its frames datagrams.

Sockets are bound to one address, never to all. ESP that does not ride in UDP needs a raw socket, and so rights that
most users have not: it is opened where that is possible.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from nicsim.errors import InputError, NicsimError
from nicsim.wire.esp import PROTOCOL_ESP, PROTOCOL_UDP
from nicsim.wire.headers import build_ipv4, build_ipv6, build_udp, format_address
from nicsim.wire.packet import LinkType, parse_frame

LARGEST_DATAGRAM = 65535
MOST_AT_ONCE = 64
"""Datagrams read before the timers are looked at again."""
FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}


class Unreachable(NicsimError):
    """A datagram could not be sent; the message is one clear sentence."""


def resolve(name: str) -> bytes:
    """The address of a peer given as an address or by name. Raises InputError."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a name"
        raise InputError(f"{name!r} is no address, and no name that can be resolved: {reason}") from None
    family, _, _, _, address = found[0]
    return socket.inet_pton(family, str(address[0]).partition("%")[0])


def route_source(remote: bytes, port: int) -> bytes:
    """This host's own address on the way to a peer. Nothing is sent. Raises InputError."""
    text = format_address(remote)
    try:
        with socket.socket(FAMILIES[len(remote)], socket.SOCK_DGRAM) as probe:
            probe.connect((text, port))
            return socket.inet_pton(probe.family, str(probe.getsockname()[0]).partition("%")[0])
    except OSError as error:
        raise InputError(f"there is no route to {text}: {error.strerror}") from None


class Sockets:
    """The UDP sockets of one host, and one for native ESP where the rights suffice. Use it as a context manager."""

    def __init__(self, local: bytes, ports: tuple[int, ...]) -> None:
        """Raises InputError where a port cannot be had."""
        self._local = local
        self._udp: dict[int, socket.socket] = {}
        self._esp: socket.socket | None = None
        try:
            for port in ports:
                self._udp[port] = _bound(local, port)
        except InputError:
            self.close()
            raise
        self._esp = _raw_esp(local)

    @property
    def can_send_native_esp(self) -> bool:
        """Whether ESP can go without UDP around it."""
        return self._esp is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the ports back."""
        for one in self._all():
            one.close()

    def _all(self) -> list[socket.socket]:
        return [*self._udp.values(), *([self._esp] if self._esp else [])]

    def receive(self, timeout: float) -> Iterator[bytes]:
        """Wait up to `timeout` seconds; what came, as IP packets."""
        readable, _, _ = select.select(self._all(), [], [], max(timeout, 0.0))
        for one in readable:
            for _ in range(MOST_AT_ONCE):
                try:
                    data, sender = one.recvfrom(LARGEST_DATAGRAM)
                except BlockingIOError:
                    break
                except OSError:  # an ICMP error about something that we sent; the daemon's own patience decides
                    continue
                yield self._packet(one, data, sender)

    def _packet(self, one: socket.socket, data: bytes, sender: tuple[str, int]) -> bytes:
        if one is self._esp and len(self._local) == 4:
            return data  # a raw socket gives the packet with its header
        source = socket.inet_pton(one.family, str(sender[0]).partition("%")[0])
        if one is self._esp:
            return build_ipv6(source, self._local, PROTOCOL_ESP, data)
        own_port = next(port for port, candidate in self._udp.items() if candidate is one)
        # The kernel has checked the checksum and does not show it; over IPv6 there must be one.
        checksum = 0 if len(self._local) == 4 else None
        udp = build_udp(sender[1], own_port, data, checksum=checksum, src=source, dst=self._local)
        if len(self._local) == 4:
            return build_ipv4(source, self._local, PROTOCOL_UDP, udp)
        return build_ipv6(source, self._local, PROTOCOL_UDP, udp)

    def send(self, ip_packet: bytes) -> None:
        """Send what is in an IP packet from one of our ports, or ESP without UDP. Raises Unreachable."""
        packet = parse_frame(ip_packet, LinkType.RAW)
        target = format_address(packet.dst)
        try:
            if packet.protocol == PROTOCOL_UDP and packet.src_port in self._udp:
                payload = ip_packet[packet.udp_payload : packet.udp_end]
                self._udp[packet.src_port].sendto(payload, (target, packet.dst_port))
            elif packet.protocol == PROTOCOL_ESP and self._esp is not None:
                self._esp.sendto(ip_packet[packet.payload : packet.end], (target, 0))
            elif packet.protocol == PROTOCOL_ESP:
                raise Unreachable(
                    "ESP without UDP needs the right to open raw sockets (root); --natt force goes without"
                )
            else:
                raise Unreachable(f"a packet of protocol {packet.protocol} to {target} would go in the clear")
        except BlockingIOError:
            pass  # the socket's buffer is full: lost, as on any wire
        except OSError as error:
            raise Unreachable(f"{target} cannot be reached: {error.strerror}") from None


_BIND_FAULTS = {
    errno.EACCES: "that needs root, or the right to use ports below 1024",
    errno.EPERM: "that is not allowed here",
    errno.EADDRINUSE: "another program has it, an IKE daemon perhaps",
    errno.EADDRNOTAVAIL: "that is no address of this machine",
}


def _bound(local: bytes, port: int) -> socket.socket:
    one = socket.socket(FAMILIES[len(local)], socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        one.bind((format_address(local), port))
    except OSError as error:
        one.close()
        why = _BIND_FAULTS.get(error.errno or 0, error.strerror)
        raise InputError(f"{format_address(local)} port {port} cannot be bound: {why}") from None
    return one


def _raw_esp(local: bytes) -> socket.socket | None:
    """A raw socket for ESP, or None where this user may not have one."""
    try:
        one = socket.socket(FAMILIES[len(local)], socket.SOCK_RAW, PROTOCOL_ESP)
    except OSError:
        return None
    try:
        one.setblocking(False)
        one.bind((format_address(local), 0))
    except OSError:
        one.close()
        return None
    return one
