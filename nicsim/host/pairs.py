"""A pair of associations as a host holds it: what it is for, where each direction is, what has gone through it.

Made from what IKE agreed on, or one direction at a time from setkey text. host/associations.py keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network

from nicsim.boundary import Binding, UdpType
from nicsim.errors import InputError
from nicsim.events import AssociationsReady, Endpoint, Role, Selector
from nicsim.holdings import AssociationLine, Standing
from nicsim.host.inner_checksums import AddressPair
from nicsim.host.offloader import Offloaded, Offloader
from nicsim.host.policy import TrafficSelector
from nicsim.host.replay_window import ReplayWindow
from nicsim.host.setkey import SaStatement
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.host.suitable import InSoftware
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.reasons import Reason
from offload_oids import Oid

UDP_TYPES = {
    Encapsulation.NONE: UdpType.NATIVE,
    Encapsulation.UDP: UdpType.OTHER,
    Encapsulation.UDP_NON_IKE: UdpType.IKE,
}
LAST_SEQUENCE = 2**32 - 1
"""With extended sequence numbers too: nobody here counts further, and IKEv1 agrees on 32 bits (RFC 4303 3.3.3)."""
REKEY_PART = 0.9
REKEY_SEQUENCE = int(REKEY_PART * LAST_SEQUENCE)
MANUAL = "manual"
"""The connection of what was not negotiated."""
NOT_YET_PLACED = InSoftware(Reason.OFFLOAD_NOT_ENABLED, "not offered to the NIC yet")


@dataclass(slots=True)
class HeldAssociation:
    """One association, where it is, and what has gone through it."""

    association: Association
    sa: SecurityAssociation
    # The packets that it is for, in its direction.
    selector: TrafficSelector
    outcome: Offloaded | InSoftware = NOT_YET_PLACED
    # NICs that the route has left: they have it until it ends (N-RST-7).
    left_behind: list[tuple[Offloader, Offloaded]] = field(default_factory=list)
    # The out-of-band word with which its packets are handed to the NIC.
    transmit_word: bytes = b""
    # Of the last packet sent.
    sequence: int = 0
    # What the sender's addresses were before any NAT, where it told (transport mode).
    original: AddressPair | None = None
    packets_by_nic: int = 0
    packets_by_host: int = 0
    packets_dropped: int = 0
    # Of inner packets.
    octets: int = 0

    def peer_is_at(self, remote: Endpoint) -> None:
        """Send there, or expect packets from there. What a transport-mode association is for moves along."""
        sa, transport = self.sa, self.sa.mode is Mode.TRANSPORT
        network, selector = host_network(remote.address), self.selector
        if sa.inbound:
            sa.src, sa.src_port = remote.address, remote.port
            self.association = replace(self.association, src=remote.address, src_port=remote.port)
            if transport:
                self.selector = replace(selector, source=replace(selector.source, network=network))
        else:
            sa.dst, sa.dst_port = remote.address, remote.port
            self.association = replace(self.association, dst=remote.address, dst_port=remote.port)
            if transport:
                self.selector = replace(selector, destination=replace(selector.destination, network=network))

    @property
    def on_nic(self) -> bool:
        """Whether the NIC has it."""
        return isinstance(self.outcome, Offloaded)

    def is_on(self, through: Binding | None) -> bool:
        """Whether a NIC has it: that of the route (None), or one that the route has left."""
        if through is None:
            return self.on_nic
        return any(offloader.binding is through for offloader, _ in self.left_behind)

    def take_back_from(self, offloader: Offloader) -> Offloaded | None:
        """What a NIC has that the route comes back to."""
        for one in self.left_behind:
            if one[0] is offloader:
                self.left_behind.remove(one)
                return one[1]
        return None

    @property
    def why_software(self) -> Reason | None:
        """Why the NIC does not have it."""
        return self.outcome.reason if isinstance(self.outcome, InSoftware) else None


@dataclass(slots=True)
class Pair:
    """Both directions; one of them is missing where setkey text gave only the other."""

    # IKE's number, from 1 up; negative for what was not negotiated.
    number: int
    connection: str
    inbound: HeldAssociation | None
    outbound: HeldAssociation | None
    standing: Standing = Standing.WAITING
    # Who began the quick mode.
    role: Role = Role.RESPONDER
    # 0 for no limit.
    lifetime_kilobytes: int = 0
    # Who the peer proved to be, and where it is.
    identity: str = ""
    remote: bytes = b""
    # The pairs that it takes over from, once it may send.
    replaces: tuple[int, ...] = ()
    # Counts installations: of several pairs for the same packet, the newest is used.
    age: int = 0
    rekey_asked: bool = False

    def is_worn_out(self) -> bool:
        """Whether it is time for a successor: by far the most of its sequence numbers or of its kilobytes are used."""
        outbound = self.outbound
        if outbound is not None and outbound.sequence >= REKEY_SEQUENCE:
            return True
        octets = max(held.octets for held in self.directions())
        return 0 < REKEY_PART * self.lifetime_kilobytes * 1024 <= octets

    def directions(self) -> Iterator[HeldAssociation]:
        """The inbound association, then the outbound one, as far as there are any."""
        yield from (one for one in (self.inbound, self.outbound) if one is not None)


def negotiated_pair(ready: AssociationsReady, identity: str, window: int) -> Pair:
    """What IKE agreed on with the peer that proved to be `identity`; `window` is the replay window in packets."""
    inbound = _held(ready.inbound, ready, window, inbound=True)
    outbound = _held(ready.outbound, ready, window, inbound=False)
    inbound.sa.partner, outbound.sa.partner = outbound.sa, inbound.sa
    return Pair(
        ready.pair,
        ready.connection,
        inbound,
        outbound,
        role=ready.role,
        lifetime_kilobytes=ready.lifetime_kilobytes,
        identity=identity,
        remote=ready.outbound.dst,
        replaces=ready.replaces,
    )


def manual_pair(statement: SaStatement, number: int, local: bytes, window: int) -> Pair:
    """One association from setkey text, for any traffic between its hosts, or in its tunnel.

    `window` counts where the text has none. Raises InputError if neither end is `local`, or the mode is open.
    """
    if local not in (statement.src, statement.dst) or statement.mode is None:
        raise InputError(f"line {statement.line}: needs this host at one end, and a mode")
    inbound, mode = statement.dst == local, statement.mode
    encapsulation = Encapsulation.UDP if statement.udp else Encapsulation.NONE
    ports = statement.src_port or 0, statement.dst_port or 0
    association = Association(statement.spi, mode, encapsulation, statement.keys, statement.src, statement.dst, *ports)
    anywhere = ip_network("0.0.0.0/0" if len(local) == 4 else "::/0")
    source, destination = (
        Selector(host_network(end) if mode is Mode.TRANSPORT else anywhere) for end in (statement.src, statement.dst)
    )
    window = window if statement.replay_window is None else statement.replay_window
    held = HeldAssociation(
        association, host_association(association, window, inbound=inbound), TrafficSelector(source, destination)
    )
    pair = Pair(number, MANUAL, inbound=None, outbound=None, standing=Standing.CURRENT)
    pair.inbound, pair.outbound = (held, None) if inbound else (None, held)
    return pair


def _held(association: Association, ready: AssociationsReady, window: int, *, inbound: bool) -> HeldAssociation:
    selector, told, original = traffic_of_pair(ready), ready.remote_original, None
    sa = host_association(association, window, inbound=inbound)
    if association.mode is Mode.TUNNEL:
        ends = str(ready.local_selector.network), str(ready.remote_selector.network)
        sa.inner_src, sa.inner_dst = ends[::-1] if inbound else ends
    elif told is not None and inbound:
        # Where the peer sends from, and where it believes that it sends to. The drafts up to 04 tell the first alone,
        # and behind a NAT the second is not our own address: a checksum is then computed anew.
        ours = ready.role is Role.INITIATOR
        sender, receiver = (told.responder, told.initiator) if ours else (told.initiator, told.responder)
        if sender is not None and receiver is not None:
            original = AddressPair(sender, receiver)
    return HeldAssociation(association, sa, selector.reversed() if inbound else selector, original=original)


def host_association(association: Association, window: int, *, inbound: bool) -> SecurityAssociation:
    """An association as the transport and the offloader have it."""
    native = association.encapsulation is Encapsulation.NONE
    return SecurityAssociation(
        spi=association.spi,
        inbound=inbound,
        src=association.src,
        dst=association.dst,
        mode=association.mode,
        udp_type=UDP_TYPES[association.encapsulation],
        keys=association.keys,
        src_port=0 if native else association.src_port,
        dst_port=0 if native else association.dst_port,
        esn=association.esn,
        window=ReplayWindow(window),
    )


def traffic_of_pair(ready: AssociationsReady) -> TrafficSelector:
    """What a pair sends. In transport mode a NAT may have changed the addresses that were negotiated."""
    local, remote = ready.local_selector, ready.remote_selector
    if ready.outbound.mode is Mode.TRANSPORT:
        local = replace(local, network=host_network(ready.outbound.src))
        remote = replace(remote, network=host_network(ready.outbound.dst))
    return TrafficSelector(local, remote)


def host_network(address: bytes) -> IPv4Network | IPv6Network:
    """One address as a prefix."""
    return ip_network(address)


def line_of(pair: Pair, held: HeldAssociation) -> AssociationLine:
    """One association for people."""
    sa, outcome, keys = held.sa, held.outcome, held.sa.keys
    source, destination = held.selector.source, held.selector.destination
    offloaded = outcome if isinstance(outcome, Offloaded) else None
    return AssociationLine(
        connection=pair.connection,
        pair=pair.number,
        inbound=sa.inbound,
        spi=sa.spi,
        standing=pair.standing,
        source=Endpoint(sa.src, sa.src_port),
        destination=Endpoint(sa.dst, sa.dst_port),
        traffic=f"{source} -> {destination}",
        mode=sa.mode,
        encapsulation=sa.udp_type,
        encryption=keys.encryption.value,
        key_bits=8 * len(keys.encryption_key),
        integrity=keys.integrity.value,
        oid=Oid(offloaded.oid).name if offloaded else None,
        handle=offloaded.handle if offloaded else 0,
        reason=held.why_software,
        detail=outcome.detail if isinstance(outcome, InSoftware) else "",
        packets_by_nic=held.packets_by_nic,
        packets_by_host=held.packets_by_host,
        packets_dropped=held.packets_dropped,
    )
