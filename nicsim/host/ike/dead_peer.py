"""Dead peer detection: ask whoever has been silent, and believe in death after enough silence (RFC 3706)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicsim.events import By
from nicsim.host.ike.informational import notification
from nicsim.host.ike.timers import Repetition, Timer
from nicsim.reasons import Reason
from nicsim.wire.isakmp import NotifyType
from nicsim.wire.isakmp_payloads import Notification

if TYPE_CHECKING:
    from nicsim.host.ike.daemon import Daemon
    from nicsim.host.ike.ike_sa import IkeSa

SEQUENCE_LENGTH = 4


class DeadPeerDetection:
    """The questions of one ISAKMP SA; answering the peer's is for informational.py."""

    def __init__(self, daemon: Daemon, ike: IkeSa) -> None:
        self._daemon = daemon
        self._ike = ike
        self._sequence: int | None = None
        self._timer: Timer | None = None
        self._question: Repetition | None = None

    def start(self, now: float) -> None:
        """Phase 1 is done; ask from now on, if the policy says so and the peer announced that it answers."""
        interval = self._ike.phase1.policy.dead_peer_interval
        if interval is not None and self._ike.phase1.peer_detects_death:
            self._timer = self._daemon.timers.start(now + interval, self._due)

    def _due(self, now: float) -> None:
        interval, path = self._ike.phase1.policy.dead_peer_interval, self._ike.path
        assert interval is not None
        assert path is not None
        quiet_since = path.last_heard
        if quiet_since + interval > now:  # any traffic is a proof of life
            self._timer = self._daemon.timers.start(quiet_since + interval, self._due)
            return
        if self._sequence is None:  # the high bit clear, so that it never wraps
            self._sequence = int.from_bytes(self._daemon.random(SEQUENCE_LENGTH), "big") & 0x7FFFFFFF
        else:
            self._sequence = (self._sequence + 1) % 2**32
        data = self._sequence.to_bytes(SEQUENCE_LENGTH, "big")
        message = self._ike.messenger.inform(now, notification(NotifyType.R_U_THERE, self._ike.cookies, data))
        self._question = Repetition(
            self._daemon.timers,
            now,
            self._daemon.config.patience.intervals(),
            lambda then: self._ask_again(then, now, message),
            self._dead,
        )

    def _ask_again(self, now: float, asked: float, message: bytes) -> None:
        path = self._ike.path
        if path is not None and path.last_heard > asked:  # no answer, but a proof of life
            self.stop()
            self.start(now)
        else:
            self._ike.messenger.send(now, (message,))

    def acknowledged(self, now: float, answer: Notification) -> None:
        """An answer came; it counts if it is to the question that was asked."""
        if self._question is None or self._sequence is None:
            return
        if answer.spi == self._ike.cookies and answer.data == self._sequence.to_bytes(SEQUENCE_LENGTH, "big"):
            self._question.stop()
            self._question = None
            self.start(now)

    def _dead(self, now: float) -> None:
        for pair in self._ike.pairs_of_peer():
            pair.end(now, Reason.IKE_PEER_DEAD, By.LOCAL, tell=False)
        self._ike.end(now, Reason.IKE_PEER_DEAD, By.LOCAL, tell=False)

    def stop(self) -> None:
        """The ISAKMP SA is gone."""
        self._daemon.timers.stop(self._timer)
        if self._question is not None:
            self._question.stop()
            self._question = None
