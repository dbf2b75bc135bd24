"""The way to a peer: its two ends, what NAT traversal found on it, and the keepalives that hold it open.

All ISAKMP SAs and pairs between the same two endpoints share one path, so they move together when the NAT moves
(digest nat-traversal.md sections 10 and 11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicsim.events import Endpoint, KeepaliveSent, Nat, PeerMoved, UdpDatagram
from nicsim.host.ike.natt import NattVersion
from nicsim.host.ike.timers import Timer
from nicsim.wire.esp import KEEPALIVE

if TYPE_CHECKING:
    from nicsim.host.ike.daemon import Daemon
    from nicsim.host.ike.ike_sa import IkeSa
    from nicsim.host.ike.pairs import Pair


class Path:
    """One way, for as long as somebody uses it and a little longer."""

    def __init__(self, daemon: Daemon, local: Endpoint, remote: Endpoint) -> None:
        self._daemon = daemon
        self.local = local
        self.remote = remote
        self.natt: NattVersion | None = None
        self.nat = Nat.NONE
        # Whether ESP rides in UDP here.
        self.encapsulated = False
        self.last_sent = 0.0
        self.last_heard = 0.0
        # Of ISAKMP SAs that are up, the newest last, and of pairs, by their numbers.
        self.ike_sas: dict[int, IkeSa] = {}
        self.pairs: dict[int, Pair] = {}
        self._ike = 0
        # Whether we began a phase 1 on it.
        self._begun_here = False
        self._unused_since: float | None = None
        self._keepalive: Timer | None = None

    def learn(self, now: float, ike: IkeSa) -> None:
        """A phase 1 ended on this path, and says what it found."""
        phase1 = ike.phase1
        self.natt, self.nat, self.encapsulated = phase1.natt, phase1.nat, phase1.encapsulated
        self.last_sent = self.last_heard = now
        self._ike = ike.number
        self._begun_here |= ike.begun_here
        self.ike_sas[ike.number] = ike
        self._unused_since = None
        if self._keepalive is None and self.keeps_alive:
            self._keepalive = self._daemon.timers.start(now + self._interval, self._keep_alive)

    @property
    def keeps_alive(self) -> bool:
        """The side behind the NAT does; with the first draft, whoever began."""
        if self.natt is not None and self.natt.initiator_keeps_alive:
            return self.encapsulated and self._begun_here
        return self.encapsulated and self.nat.local

    @property
    def _interval(self) -> float:
        return self._daemon.config.keepalive_interval

    def left(self, now: float) -> None:
        """Somebody stopped using the path."""
        if self.ike_sas or self.pairs:
            return
        self._unused_since = now
        if self._keepalive is None:
            self._daemon.forget_path(self)

    def _keep_alive(self, now: float) -> None:
        self._keepalive = None
        if self._unused_since is not None and now - self._unused_since >= self._daemon.config.keepalive_after:
            self._daemon.forget_path(self)
            return
        due = self.last_sent + self._interval
        if due <= now:
            self._daemon.emit(KeepaliveSent(self._ike, self.local, self.remote))
            checksummed = self.natt is not None and self.natt.checksummed_keepalives
            self._daemon.send(UdpDatagram(self.local, self.remote, KEEPALIVE, checksummed))
            self.last_sent = now
            due = now + self._interval
        self._keepalive = self._daemon.timers.start(due, self._keep_alive)

    def heard(self, now: float, local: Endpoint, remote: Endpoint) -> None:
        """A new, authenticated message came: the peer lives, and may have moved (RFC 3947 section 6).

        An end that is itself behind a NAT, or may be, does not follow, because the other side does not move.
        """
        self.last_heard = now
        if remote == self.remote or not self.encapsulated or self.nat.local or local != self.local:
            return
        old, self.remote = self.remote, remote
        self._daemon.move_path(self, old)
        self._daemon.emit(PeerMoved(self._ike, old, remote, tuple(self.pairs)))
