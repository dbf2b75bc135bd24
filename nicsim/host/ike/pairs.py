"""A pair of ESP associations from the quick mode that made it to its end: lifetime, rekey with overlap, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicsim.events import AssociationsDeleted, AssociationsReady, By, OutboundUsable, Role
from nicsim.host.ike.identity import Identity
from nicsim.host.ike.informational import delete_esp
from nicsim.host.ike.quick_mode import QuickMode
from nicsim.host.ike.timers import Timer
from nicsim.ipsec.association import Association, Encapsulation
from nicsim.reasons import Reason

if TYPE_CHECKING:
    from nicsim.host.ike.daemon import Daemon
    from nicsim.host.ike.ike_sa import IkeSa


class Pair:
    """Two associations that one quick mode made. `ike` is the ISAKMP SA that speaks for it at present."""

    def __init__(self, daemon: Daemon, ike: IkeSa, quick: QuickMode) -> None:
        assert ike.path is not None
        self._daemon = daemon
        self.number = daemon.new_number()
        self.ike = ike
        self.path = ike.path
        self.connection = quick.candidates[0]
        self.role = quick.role
        self.inbound_spi, self.outbound_spi = quick.inbound_spi, quick.outbound_spi
        self.selectors = quick.local_selector, quick.remote_selector
        self.lifetime = quick.lifetime
        self.alive = True
        self.replaced = False
        self._usable = False
        # The pairs that it takes over from.
        self._before: list[Pair] = []
        self._rekey: Timer | None = None
        self._end: Timer | None = None

    def install(self, now: float, quick: QuickMode) -> None:
        """Tell the host to install both associations, and keep track of their lifetime."""
        daemon = self._daemon
        daemon.pairs[self.number] = self.path.pairs[self.number] = self
        local_selector, remote_selector = self.selectors
        assert quick.choice is not None
        assert local_selector is not None
        assert remote_selector is not None
        self._before = self._in_use_for_the_same()
        daemon.emit(
            AssociationsReady(
                pair=self.number,
                ike=self.ike.number,
                connection=self.connection.name,
                role=self.role,
                inbound=self._association(quick, inbound=True),
                outbound=self._association(quick, inbound=False),
                local_selector=local_selector,
                remote_selector=remote_selector,
                lifetime=self.lifetime,
                lifetime_kilobytes=quick.choice.lifetime_kilobytes,
                pfs_group=quick.policy.pfs_group,
                local_original=quick.local_original,
                remote_original=quick.remote_original,
                replaces=tuple(pair.number for pair in self._before),
            )
        )
        self._end = daemon.timers.start(now + self.lifetime, self._expire)

    def _association(self, quick: QuickMode, *, inbound: bool) -> Association:
        far, near = self.path.remote, self.path.local
        src, dst = (far, near) if inbound else (near, far)
        in_udp = quick.natt is not None
        return Association(
            spi=int.from_bytes(self.inbound_spi if inbound else self.outbound_spi, "big"),
            mode=quick.policy.mode,
            encapsulation=Encapsulation.NONE if quick.natt is None else quick.natt.encapsulation,
            keys=quick.keys(inbound=inbound),
            src=src.address,
            dst=dst.address,
            src_port=src.port if in_udp else 0,
            dst_port=dst.port if in_udp else 0,
        )

    def _in_use_for_the_same(self) -> list[Pair]:
        """The pairs of the same peer for the same packets that nothing has replaced yet.

        Not those that are only being made: when both sides rekey at once, neither new pair ends the other.
        """
        return [
            pair
            for pair in self.path.pairs.values()
            if pair is not self and pair._usable and not pair.replaced and pair.selectors == self.selectors
        ]

    @property
    def peer_identity(self) -> Identity | None:
        """Who it is with."""
        return self.ike.phase1.peer_identity

    def installed_before(self, number: int) -> bool:
        """Whether it was there before the ISAKMP SA of this number; all numbers come from one count."""
        return self.number < number

    def use(self, now: float) -> None:
        """The peer can receive: the host may send, and what was there before only drains."""
        if not self.alive:  # deleted before its quick mode was over
            return
        self._usable = True
        self._daemon.emit(OutboundUsable(self.number))
        for pair in self._before:
            if pair.alive and not pair.replaced:
                pair.drain(now, self.role)
        self._before = []
        if self.role is Role.INITIATOR:
            self._rekey = self._daemon.timers.start(now + self.lifetime * self._daemon.config.rekey_at, self.rekey)

    def rekey(self, now: float) -> None:
        """Begin the quick mode of a successor, and another one if nothing comes of it."""
        timers = self._daemon.timers
        timers.stop(self._rekey)
        if not self.replaced:
            # Time enough for a phase 1 before it.
            self._rekey = timers.start(now + 2 * self._daemon.config.patience.total, self.rekey)
            self.ike.successor(now).request(now, self.connection)

    def drain(self, now: float, role: Role) -> None:
        """A successor took over: what is still on its way may come in, then the side that began ends it."""
        self.replaced = True
        timers, overlap = self._daemon.timers, self._daemon.config.overlap
        timers.stop(self._rekey)
        timers.stop(self._end)
        wait = overlap if role is Role.INITIATOR else 2 * overlap
        self._end = timers.start(now + wait, lambda then: self.end(then, Reason.IKE_REPLACED, By.LOCAL, tell=True))

    def _expire(self, now: float) -> None:
        reason = Reason.IKE_EXPIRED if self._usable else Reason.IKE_NOT_CONFIRMED
        self.end(now, reason, By.LOCAL, tell=True)

    def end(self, now: float, reason: Reason, by: By, *, tell: bool) -> None:
        """Both associations are gone; the peer is told of the inbound one, on which we receive no more."""
        if not self.alive:
            return
        self.alive = False
        daemon = self._daemon
        daemon.timers.stop(self._rekey)
        daemon.timers.stop(self._end)
        if tell and self.ike.up:
            self.ike.messenger.inform(now, delete_esp((self.inbound_spi,)))
        daemon.inbound_spis.discard(self.inbound_spi)
        del daemon.pairs[self.number], self.path.pairs[self.number]
        inbound, outbound = (int.from_bytes(spi, "big") for spi in (self.inbound_spi, self.outbound_spi))
        daemon.emit(AssociationsDeleted(self.number, self.connection.name, inbound, outbound, reason, by))
        self.path.left(now)
