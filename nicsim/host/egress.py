"""A host's way out: IP packets and IKE datagrams become frames and go through the NIC.

For a packet under ESP the transport writes every header, the sequence number and the padding, and leaves room for what
the NIC adds (N-TX-4, N-TX-9). The NIC seals what it has an association for; what it has not, or fails to seal, is
sealed in software and handed down as any other frame.

Called by host/host.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nicsim.boundary import Binding, UdpType
from nicsim.errors import Malformed, SealError
from nicsim.events import EspSent, FrameSent, HostEvent, PacketDropped, UdpDatagram
from nicsim.host.inner_checksums import without_udp_checksum
from nicsim.host.link import Link
from nicsim.host.pairs import LAST_SEQUENCE, HeldAssociation, Pair
from nicsim.ipsec.association import Mode
from nicsim.ipsec.esp import framed, protect
from nicsim.reasons import Reason
from nicsim.wire.esp import PROTOCOL_UDP
from nicsim.wire.headers import build_ipv4, build_ipv6, build_udp
from offload_oids import NdisStatus


class Egress:
    """The sending half of one host."""

    def __init__(self, binding: Binding, link: Link, random: Callable[[int], bytes], plain_word: bytes) -> None:
        """`plain_word` is the out-of-band word of a frame that the NIC has nothing to do with."""
        self.link = link
        self.binding = binding
        self._random = random
        self._plain_word = plain_word
        self._identification = 0

    def in_the_clear(self, ip_packet: bytes) -> Iterator[HostEvent]:
        """Send an IP packet as it is."""
        result = self.binding.send(self.link.frame(ip_packet), self._plain_word)
        if result.status == NdisStatus.SUCCESS:
            yield FrameSent(result.frame)
        else:
            yield PacketDropped(False, result.reason, f"the NIC answered {result.status.name}")

    def protected(self, pair: Pair, held: HeldAssociation, ip_packet: bytes) -> Iterator[HostEvent]:
        """Send an IP packet under ESP."""
        if held.sequence >= LAST_SEQUENCE:
            held.packets_dropped += 1
            yield PacketDropped(False, Reason.SEQUENCE_EXHAUSTED, f"SPI 0x{held.sa.spi:08x}")
            return
        held.sequence += 1
        try:
            if (held.sa.udp_type, held.sa.mode) == (UdpType.IKE, Mode.TRANSPORT):
                ip_packet = without_udp_checksum(ip_packet)
            yield from self._by_nic_or_host(pair, held, ip_packet)
        except (SealError, Malformed) as error:  # longer than IP can say, or a fragment in transport mode
            held.packets_dropped += 1
            yield PacketDropped(False, Reason.BAD_SEND_FRAME, str(error))

    def _by_nic_or_host(self, pair: Pair, held: HeldAssociation, ip_packet: bytes) -> Iterator[HostEvent]:
        low = held.sequence & 0xFFFFFFFF
        reason = held.why_software
        if reason is None:
            handed_down = self.link.frame(framed(held.association, ip_packet, sequence=low))
            result = self.binding.send(handed_down, held.transmit_word)
            if result.status == NdisStatus.SUCCESS:
                held.packets_by_nic += 1
                held.octets += len(ip_packet)
                yield EspSent(pair.number, held.sa.spi, held.sequence)
                yield FrameSent(result.frame)
                return
            reason = result.reason
        sealed = protect(
            held.association,
            held.sa.transform,
            ip_packet,
            sequence=low,
            iv=self._random(held.sa.iv_length),
            sequence_high=held.sequence >> 32 if held.sa.esn else None,
        )
        held.packets_by_host += 1
        held.octets += len(ip_packet)
        yield EspSent(pair.number, held.sa.spi, held.sequence, reason)
        yield from self.in_the_clear(sealed)

    def datagram(self, datagram: UdpDatagram) -> Iterator[HostEvent]:
        """Send what the IKE daemon has."""
        source, destination = datagram.source, datagram.destination
        checksum = None if datagram.checksummed or len(source.address) == 16 else 0
        udp = build_udp(
            source.port,
            destination.port,
            datagram.payload,
            checksum=checksum,
            src=source.address,
            dst=destination.address,
        )
        if len(source.address) == 16:
            yield from self.in_the_clear(build_ipv6(source.address, destination.address, PROTOCOL_UDP, udp))
            return
        self._identification = (self._identification + 1) & 0xFFFF
        packet = build_ipv4(
            source.address,
            destination.address,
            PROTOCOL_UDP,
            udp,
            identification=self._identification,
            flags=0,  # certificates make it long, and a router may have to cut it
        )
        yield from self.in_the_clear(packet)
