"""The associations that a host holds: found by SPI on the way in and by traffic on the way out, on the NIC or not.

They come in pairs, from IKE, or one by one from setkey text. Each is offered to the NIC when it is installed, the
inbound one first; what the NIC does not take, or gives back, stays in software with the reason (host/offloader.py).
Several pairs may be for the same traffic while one drains and the next takes over: the newest that may be used counts.

Called by host/host.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nicsim.boundary import UdpType
from nicsim.errors import InputError
from nicsim.events import AssociationsReady, Endpoint, Role, SaPlaced
from nicsim.holdings import Holdings, ParserEntryLine, Standing
from nicsim.host.offloader import Offloaded, Offloader
from nicsim.host.pairs import (
    MANUAL,
    NOT_YET_PLACED,
    HeldAssociation,
    Pair,
    line_of,
    manual_pair,
    negotiated_pair,
    traffic_of_pair,
)
from nicsim.host.policy import Traffic, TrafficSelector
from nicsim.host.setkey import SaStatement
from nicsim.host.suitable import InSoftware
from nicsim.ipsec.association import Mode
from nicsim.reasons import Reason
from offload_oids import Oid

NO_ROOM = frozenset(
    {Reason.SA_TABLE_FULL, Reason.PARSER_TABLE_FULL, Reason.ADDRESS_TABLE_FULL, Reason.CAPACITY_REACHED}
)
"""Refusals that another association's end can change."""


@dataclass(slots=True)
class AssociationDatabase:
    """The database of one host (RFC 4301 section 4.4.2), and its part in the NIC's tables."""

    offloader: Offloader
    # Packets; 0 turns replay protection off.
    replay_window: int
    pairs: dict[int, Pair] = field(default_factory=dict)
    _inbound: dict[tuple[int, bytes], tuple[Pair, HeldAssociation]] = field(default_factory=dict)
    # Pairs that send to one inner host, by its address, and those that send to more, by their prefix; oldest first.
    _to_host: dict[str, list[Pair]] = field(default_factory=dict)
    _to_network: list[Pair] = field(default_factory=list)
    _installed: int = 0
    # Pairs for which the NIC had no room, in the order of their installation.
    _no_room: dict[int, Pair] = field(default_factory=dict)

    # --- coming and going --------------------------------------------------------------------------------------

    def install(self, ready: AssociationsReady, identity: str) -> list[SaPlaced]:
        """Take a negotiated pair: it receives at once, and sends when `use_outbound` says so."""
        return self._install(negotiated_pair(ready, identity, self.replay_window))

    def install_manual(self, statement: SaStatement, local: bytes) -> list[SaPlaced]:
        """Take one association from setkey text. Raises InputError if it is not this host's, or its SPI is taken."""
        if statement.dst == local and (statement.spi, local) in self._inbound:
            raise InputError(f"line {statement.line}: the SPI 0x{statement.spi:08x} is taken")
        return self._install(manual_pair(statement, min([0, *self.pairs]) - 1, local, self.replay_window))

    def _install(self, pair: Pair) -> list[SaPlaced]:
        self._installed += 1
        pair.age = self._installed
        self.pairs[pair.number] = pair
        if pair.inbound is not None:
            self._inbound[pair.inbound.sa.spi, pair.inbound.sa.dst] = pair, pair.inbound
        if pair.outbound is not None:
            self._sending_to(pair.outbound.selector).append(pair)
        return self._place(pair)

    def _sending_to(self, selector: TrafficSelector) -> list[Pair]:
        """The list in which pairs are that send such packets."""
        network = selector.destination.network
        if network.num_addresses == 1:
            return self._to_host.setdefault(str(network.network_address), [])
        return self._to_network

    def _unlist(self, pair: Pair) -> None:
        if pair.outbound is not None:
            selector = pair.outbound.selector
            self._sending_to(selector).remove(pair)
            host = str(selector.destination.network.network_address)
            if not self._to_host.get(host, True):
                del self._to_host[host]

    def may_wait(self, number: int) -> bool:
        """Whether a pair that may send can leave that to the one that it replaces: we began, the other is there."""
        pair = self.pairs.get(number)
        return pair is not None and pair.role is Role.INITIATOR and any(old in self.pairs for old in pair.replaces)

    def use_outbound(self, number: int) -> None:
        """The pair may send, and the ones that it replaces drain."""
        pair = self.pairs.get(number)
        if pair is None or pair.standing is not Standing.WAITING:
            return
        pair.standing = Standing.CURRENT
        for old in pair.replaces:
            if old in self.pairs:
                self.pairs[old].standing = Standing.DRAINING

    def remove(self, number: int) -> list[SaPlaced]:
        """Forget a pair, and take it off the NIC, the inbound association first. Another may get its place there."""
        pair = self.pairs.pop(number, None)
        if pair is None:
            return []
        self._no_room.pop(number, None)
        if pair.inbound is not None:
            self._inbound.pop((pair.inbound.sa.spi, pair.inbound.sa.dst), None)
        self._unlist(pair)
        had_some = self._take_off_nic(pair)
        self._take_off_left_nics(pair)
        return self._offer_again() if had_some else []

    def move(self, number: int, remote: Endpoint) -> list[SaPlaced]:
        """The peer is at another address or port now: both directions follow, and are offered to the NIC anew."""
        pair = self.pairs.get(number)
        if pair is None:
            return []
        self._take_off_nic(pair)
        self._take_off_left_nics(pair)
        self._unlist(pair)
        pair.remote = remote.address
        for held in pair.directions():
            held.peer_is_at(remote)
        if pair.outbound is not None:
            self._sending_to(pair.outbound.selector).append(pair)
        return self._place(pair)

    # --- the NIC -----------------------------------------------------------------------------------------------

    def _place(self, pair: Pair) -> list[SaPlaced]:
        """Offer both directions to the NIC, inbound first, so that nothing arrives for what is not there."""
        placed = []
        for held in pair.directions():
            sa = held.sa
            if not sa.inbound and len(sa.src) == 16 and sa.udp_type is not UdpType.NATIVE:
                held.outcome = InSoftware(Reason.CHECKSUM_BY_HOST)
            else:
                held.outcome = self.offloader.add(sa)
            placed.append(self._placed(pair, held))
        if any(held.why_software in NO_ROOM for held in pair.directions()):
            self._no_room[pair.number] = pair
        return placed

    def _offer_again(self) -> list[SaPlaced]:
        """Room has been made on the NIC: it is for the pair that has waited longest for some."""
        pair = self._no_room.pop(next(iter(self._no_room), 0), None)
        if pair is None:
            return []
        self._take_off_nic(pair)
        return self._place(pair)

    def _placed(self, pair: Pair, held: HeldAssociation) -> SaPlaced:
        outcome, sa = held.outcome, held.sa
        if isinstance(outcome, Offloaded):
            held.transmit_word = self.offloader.transmit_word(outcome.handle)
            return SaPlaced(pair.connection, pair.number, sa.spi, sa.inbound, oid=Oid(outcome.oid).name)
        held.transmit_word = self.offloader.transmit_word(0)
        return SaPlaced(pair.connection, pair.number, sa.spi, sa.inbound, reason=outcome.reason, detail=outcome.detail)

    def _take_off_nic(self, pair: Pair) -> bool:
        """Whether there was something to take off."""
        had_some = False
        for held in pair.directions():
            if isinstance(held.outcome, Offloaded):
                self.offloader.delete(held.outcome)
                held.outcome, had_some = NOT_YET_PLACED, True
        return had_some

    def keep_up(self, held: HeldAssociation) -> None:
        """A packet was judged: the NIC must know where its sequence numbers are (N-V2-13)."""
        if isinstance(held.outcome, Offloaded):
            self.offloader.keep_up(held.outcome, held.sa.window.top)
        for offloader, left in held.left_behind:
            offloader.keep_up(left, held.sa.window.top)

    def _take_off_left_nics(self, pair: Pair) -> None:
        for held in pair.directions():
            for offloader, offloaded in held.left_behind:
                offloader.delete(offloaded)
            held.left_behind.clear()

    def route_moved(self, offloader: Offloader) -> list[SaPlaced]:
        """The route goes through another NIC now: all is in software there, and the old NIC keeps what it has until
        it ends (N-RST-7)."""
        left, self.offloader = self.offloader, offloader
        self._no_room.clear()
        placed = []
        for pair in self.pairs.values():
            for held in pair.directions():
                if isinstance(held.outcome, Offloaded):
                    held.left_behind.append((left, held.outcome))
                held.outcome = held.take_back_from(offloader) or InSoftware(Reason.ROUTE_MOVED)
                placed.append(self._placed(pair, held))
        return placed

    def offer_all(self) -> list[SaPlaced]:
        """Offer the NIC of the route every association that it does not have."""
        waiting = [pair for pair in self.pairs.values() if not all(held.on_nic for held in pair.directions())]
        placed = []
        for pair in waiting:
            self._take_off_nic(pair)
            placed += self._place(pair)
        return placed

    def make_room(self, pair: Pair, held: HeldAssociation) -> list[SaPlaced]:
        """The NIC asked for room with a packet of this association: it and its partner go to software (N-SA-22)."""
        if not isinstance(held.outcome, Offloaded):
            return []
        placed = []
        for offloaded, why in self.offloader.answer_delete_request(held.outcome):
            for one in pair.directions():
                if one.sa is offloaded.association:
                    one.outcome = why
                    placed.append(self._placed(pair, one))
        return [*placed, *self._offer_again()] if placed else []

    # --- asking ------------------------------------------------------------------------------------------------

    def inbound(self, spi: int, destination: bytes) -> tuple[Pair, HeldAssociation] | None:
        """The association of a received packet, by SPI and destination address (RFC 4301 section 4.1)."""
        return self._inbound.get((spi, destination))

    def outbound(self, traffic: Traffic, mode: Mode) -> tuple[Pair, HeldAssociation] | None:
        """The newest association that a packet on its way out may use."""
        newest: tuple[Pair, HeldAssociation] | None = None
        for pair in (*self._to_host.get(str(traffic.destination), ()), *self._to_network):
            held = pair.outbound
            if held is None or pair.standing is Standing.WAITING or held.sa.mode is not mode:
                continue
            if (newest is None or pair.age > newest[0].age) and held.selector.matches(traffic):
                newest = pair, held
        return newest

    def claimed_by_another(self, ready: AssociationsReady, identity: str) -> Pair | None:
        """A living pair of another peer for some of the same traffic, of which nobody could tell whose it is."""
        wanted, owner = traffic_of_pair(ready), (identity, ready.outbound.dst)
        network = wanted.destination.network
        one_host = network.num_addresses == 1
        same_host = self._to_host.get(str(network.network_address), ())
        for pair in (*same_host, *self._to_network) if one_host else tuple(self.pairs.values()):
            if pair.outbound is None or pair.standing is Standing.DRAINING or pair.connection == MANUAL:
                continue
            if (pair.identity, pair.remote) != owner and overlap(pair.outbound.selector, wanted):
                return pair
        return None

    def holdings(self) -> Holdings:
        """Everything, for people."""
        lines = [line_of(pair, held) for pair in self.pairs.values() for held in pair.directions()]
        entries = [
            ParserEntryLine(entry.udp_type, entry.port, entry.handle, entry.references)
            for entry in self.offloader.parser_entries
        ]
        return Holdings(tuple(lines), tuple(entries))


def overlap(one: TrafficSelector, other: TrafficSelector) -> bool:
    """Whether some packet is in both."""
    return all(
        mine.network.version == theirs.network.version
        and mine.network.overlaps(theirs.network)
        and (0 in (mine.protocol, theirs.protocol) or mine.protocol == theirs.protocol)
        and (0 in (mine.port, theirs.port) or mine.port == theirs.port)
        for mine, theirs in ((one.source, other.source), (one.destination, other.destination))
    )
