"""The classic way of ESP in UDP, without any NIC: a UDP socket that the kernel was told to look into.

NetBSD and Linux do it alike. The IKE daemon marks its socket with setsockopt(fd, IPPROTO_UDP, UDP_ENCAP, &type). From
then on the kernel looks at every datagram for that socket before the daemon does: IKE and whatever is none of ESP goes
on to the daemon, a keepalive ends there, and from ESP the UDP header is taken off, and a marker with it, so that what
is left is a native ESP packet for the ordinary input routine.

The NIC does the same by parser entries, but takes nothing off (N-RX-8). host/host.py comes here with what the NIC left
untouched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from nicsim.boundary import UdpType
from nicsim.ipsec.esp import with_payload
from nicsim.wire.esp import PROTOCOL_ESP, Datagram, classify_port_500, classify_port_4500
from nicsim.wire.packet import Packet

UDP_ENCAP = 100
"""The socket option, the same number in both systems."""


class UdpEncapType(IntEnum):
    """The value of the socket option: which of the two framings the socket carries."""

    # Eight zero bytes in front of ESP: the first drafts, port 500 (N-NAT-6).
    UDP_ENCAP_ESPINUDP_NON_IKE = 1
    # Four zero bytes in front of IKE: port 4500 (N-NAT-4).
    UDP_ENCAP_ESPINUDP = 2

    @property
    def udp_type(self) -> UdpType:
        """The same in the words of parser entries."""
        return UdpType.IKE if self is UdpEncapType.UDP_ENCAP_ESPINUDP_NON_IKE else UdpType.OTHER


@dataclass(frozen=True, slots=True)
class UdpSocket:
    """A socket of the IKE daemon; `encapsulation` None is one that nobody marked, and everything on it is IKE."""

    port: int
    encapsulation: UdpEncapType | None = None

    def classify(self, frame: bytes, packet: Packet) -> tuple[Datagram, int]:
        """What a datagram for this socket is, by its content, and the offset of its ESP packet or IKE message."""
        start, end = packet.udp_payload, packet.udp_end
        if self.encapsulation is UdpEncapType.UDP_ENCAP_ESPINUDP:
            return classify_port_4500(frame, start, end)
        if self.encapsulation is UdpEncapType.UDP_ENCAP_ESPINUDP_NON_IKE:
            return classify_port_500(frame, start, end)
        return Datagram.IKE, start


@dataclass(slots=True)
class UdpSockets:
    """The sockets of one host, by port."""

    by_port: dict[int, UdpSocket]

    @classmethod
    def of(cls, sockets: Iterable[UdpSocket]) -> UdpSockets:
        """One socket a port."""
        return cls({socket.port: socket for socket in sockets})

    def mark(self, port: int, encapsulation: UdpEncapType) -> None:
        """setsockopt with UDP_ENCAP: from now on the kernel looks into what comes for this port."""
        self.by_port[port] = UdpSocket(port, encapsulation)

    def find(self, packet: Packet) -> UdpSocket | None:
        """The socket that a UDP datagram is for."""
        return self.by_port.get(packet.dst_port)


def stripped(frame: bytes, packet: Packet, esp: int) -> bytes:
    """The native ESP packet that is left of a datagram whose ESP begins at `esp`: protocol 50, shorter, no UDP header.

    `packet` is what `parse_frame` said of `frame`, and no fragment. The answer begins with the IP header; options and
    extension headers stay (RFC 3948 section 3.2). A UDP checksum is not looked at: it need not be right (N-NAT-5).
    """
    return with_payload(frame[packet.network : packet.payload], PROTOCOL_ESP, frame[esp : packet.udp_end])
