"""The host: the transport above one NIC, with its policies, its associations and its IKE daemon.

    host = Host(nic, config, random)
    host.initiate(now, connection)             negotiate
    host.send_packet(now, ip_packet)           policy, then ESP by the NIC or in software, then the wire
    host.receive(now, indication)              what the NIC indicated: IKE, ESP, or neither
    host.tick(now)                             when next_deadline() is reached
    for event in host.poll(): ...              FrameSent goes to the wire, PacketDelivered is for whoever listens

Frames go in and out below, IP packets above; nothing here knows sockets or clocks. Whoever joins NIC and host passes
what the NIC indicates (the simulated network, or the sockets of `nicsim connect`). `now` is seconds on a clock that
never goes back. What arrives may be anything: the worst it can do is to be dropped, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nicsim.boundary import Binding, Indication
from nicsim.capabilities import NdisVersion, Readings
from nicsim.events import (
    AssociationsDeleted,
    AssociationsReady,
    ExchangeFailed,
    HostEvent,
    IkeDown,
    IkeEvent,
    IkeUp,
    OutboundUsable,
    PacketDropped,
    PeerMoved,
    UdpDatagram,
)
from nicsim.holdings import Holdings
from nicsim.host import transport
from nicsim.host.associations import AssociationDatabase
from nicsim.host.egress import Egress
from nicsim.host.ike.config import Connection, IkeConfig
from nicsim.host.ike.peer import IkePeer
from nicsim.host.ingress import Ingress, SeenAt
from nicsim.host.inner_checksums import ChecksumRepair
from nicsim.host.link import Link
from nicsim.host.offloader import Offloader
from nicsim.host.pairs import HeldAssociation, Pair
from nicsim.host.policy import Action, Direction, Policy, PolicyDatabase, Template, Traffic, TrafficSelector, traffic_of
from nicsim.host.setkey import SaStatement
from nicsim.host.software_ipsec import DEFAULT_REPLAY_WINDOW
from nicsim.host.udp_encapsulation import UdpEncapType, UdpSocket, UdpSockets
from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.reasons import Reason

MOST_WAITING = 16
"""Packets that wait for one connection to come up."""


SWITCH_DELAY = 1.0
"""Seconds for which the old pair goes on sending after a rekey: whoever answered installs its side only when the last
message has come, and nothing tells us when that is but its first packet on the new pair."""


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What a host is told when it starts."""

    ike: IkeConfig
    ndis: NdisVersion = NdisVersion.NDIS_6_1
    readings: Readings = field(default_factory=Readings)
    link: Link = field(default_factory=Link)
    # Packets; 0 turns replay protection off.
    replay_window: int = DEFAULT_REPLAY_WINDOW
    # Make policies from what peers negotiate, for as long as their associations live: a gateway for road warriors.
    generate_policies: bool = False
    checksum_repair: ChecksumRepair = ChecksumRepair.INCREMENTAL
    # This host's own addresses inside tunnels, 4 or 16 bytes each; what comes for others is to be forwarded.
    inner_addresses: tuple[bytes, ...] = ()


class Host:
    """One host. Its state is open to look at; `holdings` has it for people."""

    def __init__(
        self,
        binding: Binding,
        config: HostConfig,
        random: Callable[[int], bytes],
        policies: PolicyDatabase | None = None,
    ) -> None:
        """`random(n)` returns n unpredictable bytes, for IKE and for the IVs of software ESP."""
        self.config = config
        self.address = config.ike.address
        self.policies = PolicyDatabase() if policies is None else policies
        self.peer = IkePeer(config.ike, random)
        self._offloaders: list[Offloader] = []
        self.offloader = self._offloader_for(binding)
        self.associations = AssociationDatabase(self.offloader, config.replay_window)
        # The daemon's two; only the one for NAT traversal is marked from the start.
        self.sockets = UdpSockets.of(
            [UdpSocket(config.ike.ike_port), UdpSocket(config.ike.natt_port, UdpEncapType.UDP_ENCAP_ESPINUDP)]
        )
        self._egress = Egress(binding, config.link, random, self.offloader.transmit_word(0))
        self._ingress = Ingress(
            self.associations,
            self.policies,
            self.sockets,
            transport.ReceiveWords(config.ndis, binding.abi),
            own=self.address,
            inner=config.inner_addresses,
            link_type=config.link.type,
            repair=config.checksum_repair,
        )
        self._identities: dict[int, str] = {}
        self._generated: dict[Policy, set[int]] = {}
        self._waiting: dict[str, list[bytes]] = {}
        # Pairs that may send, and when they will at the latest.
        self._switches: dict[int, float] = {}
        self._events: list[HostEvent | IkeEvent] = []

    # --- asked from above --------------------------------------------------------------------------------------

    def initiate(self, now: float, connection: Connection, remote: bytes | None = None) -> None:
        """Bring a connection up. Raises InputError where nobody is named to bring it up with."""
        self.peer.initiate(now, connection, remote)
        self._collect(now)

    def install_manual(self, statement: SaStatement) -> None:
        """Take an association from setkey text. Raises InputError."""
        self._events += self.associations.install_manual(statement, self.address)

    def rekey(self, now: float, pair: int) -> None:
        """Have a pair replaced by a new one."""
        self.peer.rekey(now, pair)
        self._collect(now)

    def delete(self, now: float, pair: int) -> None:
        """End one pair and tell the peer."""
        self.peer.delete(now, pair)
        self._collect(now)

    def close(self, now: float) -> None:
        """End everything that was negotiated, and tell the peers."""
        self.peer.close(now)
        self._collect(now)

    def move_route(self, binding: Binding) -> None:
        """Everything goes through another NIC from now on, in software until `offload_again` (N-RST-7).

        What a NIC that the route comes back to still has is used there at once.
        """
        known = next((one for one in self._offloaders if one.binding is binding), None)
        self.offloader = known or self._offloader_for(binding)
        self._egress.binding = binding
        self._events += self.associations.route_moved(self.offloader)

    def _offloader_for(self, binding: Binding) -> Offloader:
        offloader = Offloader(binding, self.config.ndis, readings=self.config.readings)
        offloader.enable(self.config.link.medium)
        self._offloaders.append(offloader)
        return offloader

    def offload_again(self) -> None:
        """Offer the NIC of the route every association that it does not have."""
        self._events += self.associations.offer_all()

    def tick(self, now: float) -> None:
        """Do what is due."""
        for pair, at in list(self._switches.items()):
            if at <= now:
                self._switch_to(now, pair)
        self.peer.tick(now)
        self._collect(now)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next."""
        daemon = self.peer.next_deadline()
        return min([*self._switches.values(), *([] if daemon is None else [daemon])], default=None)

    def poll(self) -> Sequence[HostEvent | IkeEvent]:
        """Everything since the last call, in order."""
        events, self._events = self._events, []
        return events

    def holdings(self) -> Holdings:
        """What the host holds now."""
        return self.associations.holdings()

    # --- out ---------------------------------------------------------------------------------------------------

    def send_packet(self, now: float, ip_packet: bytes) -> None:
        """Send an IP packet as the policy for it says (RFC 4301 section 5.1). Raises Malformed for what is none."""
        traffic = traffic_of(ip_packet)
        policy = self.policies.lookup(Direction.OUT, traffic)
        if policy is None or policy.action is Action.BYPASS:
            self._events += self._egress.in_the_clear(ip_packet)
        elif policy.template is None:
            self._drop(Reason.POLICY_DISCARDS, str(traffic))
        elif found := self.associations.outbound(traffic, policy.template.mode):
            self._protect(now, *found, ip_packet)
        else:
            self._acquire(now, policy.template, traffic, ip_packet)

    def _protect(self, now: float, pair: Pair, held: HeldAssociation, ip_packet: bytes) -> None:
        self._events += self._egress.protected(pair, held, ip_packet)
        if pair.number > 0:
            self.peer.sent(now, pair.number)
            if pair.is_worn_out() and not pair.rekey_asked:
                pair.rekey_asked = True
                self.peer.rekey(now, pair.number)
            self._collect(now)

    def _acquire(self, now: float, template: Template, traffic: Traffic, ip_packet: bytes) -> None:
        """There is no association: negotiate one, and keep the packet until it is there."""
        connection = self._connection_for(template, traffic)
        if connection is None:
            if template.required:
                self._drop(Reason.NO_ASSOCIATION, str(traffic))
            else:
                self._events += self._egress.in_the_clear(ip_packet)
            return
        waiting = self._waiting.get(connection.name)
        if waiting is None:
            waiting = self._waiting[connection.name] = []
            self.initiate(now, connection)
        if len(waiting) >= MOST_WAITING:
            self._drop(Reason.TOO_MANY_WAITING, str(traffic))
            return
        waiting.append(ip_packet)

    def _connection_for(self, template: Template, traffic: Traffic) -> Connection | None:
        """A configured connection to the template's end, whose quick mode is about such packets."""
        remote = template.destination or traffic.destination.packed
        for connection in self.config.ike.connections:
            local_end, remote_end = connection.phase2.local_selector, connection.phase2.remote_selector
            about = (
                TrafficSelector(local_end, remote_end).matches(traffic)
                if local_end is not None and remote_end is not None
                else template.mode is Mode.TRANSPORT
            )
            if connection.remote == remote and connection.phase2.mode is template.mode and about:
                return connection
        return None

    # --- in ----------------------------------------------------------------------------------------------------

    def receive(self, now: float, indication: Indication, through: Binding | None = None) -> None:
        """Take a frame that the NIC indicated, or one `through` which the route went before.

        Raises OffloadProtocolError for words that no miniport may write.
        """
        left = None if through is self.offloader.binding else through
        for item in self._ingress.receive(now, indication, left):
            match item:
                case UdpDatagram():
                    self.peer.receive(now, item)
                    self._collect(now)
                case SeenAt(pair, source):
                    self._switch_to(now, pair)
                    if source is not None:
                        self.peer.received(now, pair, source)
                        self._collect(now)
                case _:
                    self._events.append(item)

    # --- the IKE daemon ----------------------------------------------------------------------------------------

    def _collect(self, now: float) -> None:
        """Take what the daemon has to send and to tell; what it tells may have it say more."""
        while items := self.peer.poll():
            for item in items:
                if isinstance(item, UdpDatagram):
                    self._events += self._egress.datagram(item)
                else:
                    self._events.append(item)
                    self._follow(now, item)

    def _follow(self, now: float, event: IkeEvent) -> None:
        """Do to associations and policies what the daemon agreed on."""
        match event:
            case IkeUp():
                self._identities[event.ike] = event.remote_identity
            case IkeDown():
                self._identities.pop(event.ike, None)
            case AssociationsReady():
                self._install(now, event)
            case OutboundUsable(pair):
                self._switches[pair] = now + SWITCH_DELAY
                if not self.associations.may_wait(pair):
                    self._switch_to(now, pair)
            case PeerMoved():
                for number in event.pairs:
                    self._withdraw_policies(self.associations.pairs.get(number))
                    self._events += self.associations.move(number, event.new)
                    self._generate_policies(number)
            case AssociationsDeleted(pair):
                self._withdraw_policies(self.associations.pairs.get(pair))
                self._events += self.associations.remove(pair)
                self._switches.pop(pair, None)
                for waiting in [one for one in self._switches if not self.associations.may_wait(one)]:
                    self._switch_to(now, waiting)
            case ExchangeFailed():
                for _ in self._waiting.pop(event.connection, []):
                    self._drop(event.reason, event.detail)

    def _install(self, now: float, ready: AssociationsReady) -> None:
        if ready.inbound.encapsulation is Encapsulation.UDP_NON_IKE:
            # Until it was agreed on, everything on IKE's port was IKE.
            self.sockets.mark(ready.inbound.dst_port, UdpEncapType.UDP_ENCAP_ESPINUDP_NON_IKE)
        identity = self._identities.get(ready.ike, "")
        if other := self.associations.claimed_by_another(ready, identity):
            detail = f"{ready.remote_selector} belongs to {other.identity or 'another peer'}"
            self._events.append(PacketDropped(True, Reason.SELECTORS_TAKEN, detail))
            self.peer.delete(now, ready.pair)
            return
        self._events += self.associations.install(ready, identity)
        self._generate_policies(ready.pair)

    def _generate_policies(self, number: int) -> None:
        """Where this host does that: what the pair is for is to be protected from now on, in both directions."""
        pair = self.associations.pairs.get(number)
        for held in pair.directions() if pair is not None and self.config.generate_policies else ():
            direction = Direction.IN if held.sa.inbound else Direction.OUT
            known = self.policies.find(direction, held.selector)
            if known is None:
                known = Policy(
                    direction, held.selector, Action.PROTECT, Template(held.sa.mode, held.sa.src, held.sa.dst)
                )
                self.policies.add(known)
                self._generated[known] = set()
            if known in self._generated:
                self._generated[known].add(number)

    def _withdraw_policies(self, pair: Pair | None) -> None:
        """What was made for a pair goes with it, unless another needs it."""
        if pair is None:
            return
        for held in pair.directions():
            direction = Direction.IN if held.sa.inbound else Direction.OUT
            policy = self.policies.find(direction, held.selector)
            users = self._generated.get(policy) if policy is not None else None
            if policy is None or users is None:
                continue
            users.discard(pair.number)
            if not users:
                self.policies.remove(policy)
                del self._generated[policy]

    def _switch_to(self, now: float, pair: int) -> None:
        """Send on a pair from now on, if that is what it waits for."""
        if self._switches.pop(pair, None) is not None:
            self.associations.use_outbound(pair)
            self._send_waiting(now, pair)

    def _drop(self, reason: Reason, detail: str) -> None:
        self._events.append(PacketDropped(False, reason, detail))

    def _send_waiting(self, now: float, number: int) -> None:
        pair = self.associations.pairs.get(number)
        for ip_packet in self._waiting.pop(pair.connection, []) if pair else []:
            self.send_packet(now, ip_packet)
