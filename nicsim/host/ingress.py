"""A host's way in: what the NIC indicated becomes packets for this host, or messages for its IKE daemon, or nothing.

The transport reads the NIC's words and has the last word itself (host/transport.py). What the NIC left untouched takes
the classic way: the UDP header comes off, and ESP is opened in software. Then come the checks that no NIC makes: the
packet must be one that its association was negotiated for, and come as the policies want it (RFC 4301 section 5.2).

Called by host/host.py, which does what is to be done with the IKE daemon in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nicsim.boundary import Binding, Indication, UdpType
from nicsim.errors import Malformed
from nicsim.events import Endpoint, EspReceived, HostEvent, PacketDelivered, PacketDropped, UdpDatagram
from nicsim.host import transport
from nicsim.host.associations import AssociationDatabase
from nicsim.host.inner_checksums import AddressPair, ChecksumRepair, repaired
from nicsim.host.pairs import HeldAssociation, Pair
from nicsim.host.policy import Action, Policy, PolicyDatabase, Traffic, traffic_of
from nicsim.host.udp_encapsulation import UdpSocket, UdpSockets, stripped
from nicsim.ipsec.association import Mode
from nicsim.ipsec.esp import NEXT_HEADER_NONE, with_payload
from nicsim.reasons import Reason
from nicsim.wire.checksum import internet_checksum, udp_checksum
from nicsim.wire.esp import ESP_HEADER_LENGTH, PROTOCOL_ESP, PROTOCOL_UDP, Datagram, spi_and_sequence
from nicsim.wire.packet import LinkType, Packet, parse_frame
from nicsim.wire.reassembly import Reassembler
from offload_oids import CryptoStatus

NOT_PROCESSED = transport.ReceiveWord(False, False, False, CryptoStatus.CRYPTO_SUCCESS)


@dataclass(frozen=True, slots=True)
class SeenAt:
    """Authentic and new ESP of a pair came from there: the only proof of where a peer is that may move it."""

    pair: int
    # None without UDP: then there is no port that could change, and no NAT that could change it.
    source: Endpoint | None


@dataclass(slots=True)
class Arrival:
    """A packet with its headers found, and what the NIC says of it."""

    frame: bytes
    packet: Packet
    word: transport.ReceiveWord
    through: Binding | None = None


Item = HostEvent | UdpDatagram | SeenAt


class Ingress:
    """The receiving half of one host."""

    def __init__(
        self,
        associations: AssociationDatabase,
        policies: PolicyDatabase,
        sockets: UdpSockets,
        words: transport.ReceiveWords,
        *,
        own: bytes,
        inner: tuple[bytes, ...],
        link_type: LinkType,
        repair: ChecksumRepair,
    ) -> None:
        """`own` is the host's address on the link, `inner` has its addresses inside tunnels."""
        self._associations = associations
        self._policies = policies
        self._sockets = sockets
        self._words = words
        self._own = own
        self._mine = frozenset({own, *inner})
        self._link_type = link_type
        self._repair = repair
        self._reassembler = Reassembler()

    def receive(self, now: float, indication: Indication, through: Binding | None = None) -> Iterator[Item]:
        """Everything that comes of one frame. Raises OffloadProtocolError for words that no miniport may write.

        `through` is the NIC that it came through, where the route has left that one; None for the route's own.
        """
        frame, word = indication.frame, self._words.read(indication.ipsec)
        try:
            packet = parse_frame(frame, self._link_type)
            if packet.version == 4 and internet_checksum(frame[packet.network : _header_end(frame, packet)]):
                raise Malformed("the IPv4 header checksum is wrong")
            if packet.is_fragment:  # no NIC has worked on it (N-RX-9)
                whole = self._reassembler.add(frame, packet, now)
                if whole is None:
                    return
                frame, packet, word = whole, parse_frame(whole, LinkType.RAW), NOT_PROCESSED
        except Malformed as error:
            yield PacketDropped(True, Reason.MALFORMED, str(error))
            return
        arrival = Arrival(frame, packet, word, through)
        if packet.dst != self._own:
            yield from self._in_the_clear(arrival)
        elif packet.protocol == PROTOCOL_UDP and (socket := self._sockets.find(packet)):
            yield from self._on_socket(arrival, socket)
        elif packet.protocol == PROTOCOL_ESP:
            yield from self._esp(arrival, packet.payload, packet.end, UdpType.NATIVE)
        else:
            yield from self._in_the_clear(arrival)

    def _on_socket(self, arrival: Arrival, socket: UdpSocket) -> Iterator[Item]:
        """A datagram for the IKE daemon's socket: the kernel looks into it first."""
        packet = arrival.packet
        kind, at = socket.classify(arrival.frame, packet)
        source, own = Endpoint(packet.src, packet.src_port), Endpoint(packet.dst, packet.dst_port)
        if kind is Datagram.RUNT:
            yield PacketDropped(True, Reason.RUNT, f"from {source}")
        elif kind is Datagram.IKE and not _is_intact(arrival):
            yield PacketDropped(True, Reason.MALFORMED, f"the UDP checksum of IKE from {source} is wrong")
        elif kind is Datagram.IKE:
            yield UdpDatagram(source, own, arrival.frame[packet.udp_payload : packet.udp_end])
        elif kind is Datagram.ESP and socket.encapsulation is not None:
            udp_type, end = socket.encapsulation.udp_type, packet.udp_end
            if not arrival.word.crypto_done:  # the classic way; what the NIC has opened is read where it lies
                native = stripped(arrival.frame, packet, at)
                packet = parse_frame(native, LinkType.RAW)
                arrival, at, end = replace(arrival, frame=native, packet=packet), packet.payload, packet.end
            yield from self._esp(arrival, at, end, udp_type, source)

    # --- ESP ---------------------------------------------------------------------------------------------------

    def _esp(
        self, arrival: Arrival, esp: int, end: int, udp_type: UdpType, source: Endpoint | None = None
    ) -> Iterator[Item]:
        """An ESP packet from `esp` to `end` (RFC 4303 section 3.4); `source` is where the UDP around it came from."""
        if end - esp <= ESP_HEADER_LENGTH:
            yield PacketDropped(True, Reason.RUNT, "ESP without a body")
            return
        spi, sequence = spi_and_sequence(arrival.frame, esp)
        found = self._associations.inbound(spi, arrival.packet.dst)
        if found is None:
            yield EspReceived(None, spi, sequence, transport.HostVerdict.NO_SA.value)
            return
        pair, held = found
        if held.sa.udp_type is not udp_type:
            held.packets_dropped += 1
            yield PacketDropped(True, Reason.OTHER_ENCAPSULATION, f"SPI 0x{spi:08x} came as {udp_type.name}")
            return
        judgement = transport.receive(
            held.sa, arrival.word, arrival.frame, esp, end, offloaded=held.is_on(arrival.through)
        )
        opened_by = judgement.opened_by.value if judgement.opened_by else None
        yield EspReceived(pair.number, spi, sequence, judgement.verdict.value, opened_by)
        self._associations.keep_up(held)
        if arrival.word.sa_delete_request and arrival.through is None:
            yield from self._associations.make_room(pair, held)
        if judgement.verdict is not transport.HostVerdict.ACCEPTED:
            held.packets_dropped += 1
            return
        held.packets_by_nic += judgement.opened_by is transport.OpenedBy.NIC
        held.packets_by_host += judgement.opened_by is transport.OpenedBy.HOST
        if pair.number > 0:
            yield SeenAt(pair.number, source)
        if judgement.payload is not None and judgement.next_header != NEXT_HEADER_NONE:
            plain = self._plain(held, arrival, judgement.payload, judgement.next_header)
            yield self._checked(pair, held, plain)

    def _plain(self, held: HeldAssociation, arrival: Arrival, payload: bytes, next_header: int) -> bytes:
        """The packet as it was before ESP; in transport mode under NAT with its checksum made right."""
        if held.sa.mode is Mode.TUNNEL:
            return payload
        packet = arrival.packet
        if held.sa.udp_type is not UdpType.NATIVE:
            seen = AddressPair(packet.src, packet.dst)
            # The first draft verifies neither: what it hands up says "none", or what nobody can find wrong.
            how = ChecksumRepair.NONE_IN_UDP if held.sa.udp_type is UdpType.IKE else self._repair
            payload = repaired(payload, next_header, seen, held.original, how)
        return with_payload(arrival.frame[packet.network : packet.payload], next_header, payload)

    def _checked(self, pair: Pair, held: HeldAssociation, plain: bytes) -> HostEvent:
        """Check what came out of an association against it and against the policies."""
        try:
            traffic = traffic_of(plain)
        except Malformed as error:
            held.packets_dropped += 1
            return PacketDropped(True, Reason.MALFORMED, f"inside ESP: {error}")
        policy = self._policy(traffic)
        if not held.selector.matches(traffic):
            refusal = Reason.SELECTORS_DIFFER
        elif policy is not None and policy.action is Action.DISCARD:
            refusal = Reason.POLICY_DISCARDS
        elif policy is not None and policy.template is not None and policy.template.mode is not held.sa.mode:
            refusal = Reason.NOT_PROTECTED
        else:
            held.octets += len(plain)
            return PacketDelivered(plain, pair.number)
        held.packets_dropped += 1
        return PacketDropped(True, refusal, str(traffic))

    # --- without ESP -------------------------------------------------------------------------------------------

    def _in_the_clear(self, arrival: Arrival) -> Iterator[Item]:
        """A packet that came without ESP: it goes on where no policy wants it otherwise."""
        plain = arrival.frame[arrival.packet.network : arrival.packet.end]
        traffic = traffic_of(plain)
        policy = self._policy(traffic)
        if policy is not None and policy.action is Action.DISCARD:
            yield PacketDropped(True, Reason.POLICY_DISCARDS, str(traffic))
        elif policy is not None and policy.template is not None and policy.template.required:
            yield PacketDropped(True, Reason.NOT_PROTECTED, str(traffic))
        else:
            yield PacketDelivered(plain)

    def _policy(self, traffic: Traffic) -> Policy | None:
        return self._policies.inbound(traffic, for_this_host=traffic.destination.packed in self._mine)


def _header_end(frame: bytes, packet: Packet) -> int:
    """Where the IPv4 header ends, options included."""
    return packet.network + (frame[packet.network] & 0xF) * 4


def _is_intact(arrival: Arrival) -> bool:
    """Whether the UDP checksum is right, or there is none. Of ESP nobody asks: it has better (N-NAT-5)."""
    packet = arrival.packet
    udp = arrival.frame[packet.payload : packet.udp_end]
    sent = int.from_bytes(udp[6:8], "big")
    return not sent or sent == udp_checksum(packet.src, packet.dst, udp)
