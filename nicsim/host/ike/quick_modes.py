"""The quick modes of one ISAKMP SA while they are under way, and what their success and failure mean.

quick_mode.py has the steps; here is what surrounds one: finding the exchange by its message id, decryption, the pair
that it makes, retransmission. The order matters: a pair is installed before the answer that makes the peer use it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nicsim.errors import IkeRefused, IsakmpMalformed
from nicsim.events import By, ExchangeFailed, Role
from nicsim.host.ike import quick_mode
from nicsim.host.ike.config import Connection
from nicsim.host.ike.exchange import Answer, Received, Said, State, check_seal, step_of, take
from nicsim.host.ike.informational import notification, notify_name, refusal_of
from nicsim.host.ike.keys import exchange_iv
from nicsim.host.ike.pairs import Pair
from nicsim.host.ike.phase1 import own_identity
from nicsim.host.ike.quick_mode import QuickMode
from nicsim.host.ike.timers import Repetition
from nicsim.reasons import Reason
from nicsim.wire.isakmp import ExchangeType, NotifyType

if TYPE_CHECKING:
    from nicsim.host.ike.daemon import Daemon
    from nicsim.host.ike.ike_sa import IkeSa

# What a peer that has proved itself may have under way at once.
MAX_QUICK_MODES = 64

# Behind a hash that is right, these are the peer's own doing; anything else may be anybody's, and is dropped.
ENDS_QUICK_MODE = frozenset(
    {
        Reason.IKE_NO_PROPOSAL,
        Reason.IKE_PROPOSAL_CHANGED,
        Reason.IKE_PROPOSAL_SYNTAX,
        Reason.IKE_ATTRIBUTE,
        Reason.IKE_DOI,
        Reason.IKE_SELECTORS,
        Reason.IKE_KEY_EXCHANGE,
        Reason.IKE_NONCE,
    }
)


@dataclass(slots=True, eq=False)
class Running:
    """A quick mode under way."""

    quick: QuickMode
    said: Said
    repetition: Repetition
    pair: Pair | None = None


class QuickModes:
    """By their message ids."""

    def __init__(self, daemon: Daemon, ike: IkeSa) -> None:
        self._daemon = daemon
        self._ike = ike
        self._running: dict[int, Running] = {}

    def __len__(self) -> int:
        return len(self._running)

    def said(self, message_id: int) -> Said | None:
        """Our last message of a quick mode under way."""
        running = self._running.get(message_id)
        return running.said if running else None

    # --- beginning -----------------------------------------------------------------------------------------------

    def begin(self, now: float, connection: Connection) -> None:
        """Send message 1."""
        messenger = self._ike.messenger
        quick = self._new(Role.INITIATOR, messenger.new_message_id(), (connection,))
        quick, payloads = quick_mode.begin(quick, self._daemon.means)
        message, iv = messenger.build(quick.message_id, ExchangeType.QUICK, payloads, quick.iv)
        repetition = self._repeat(now, quick.message_id, again=True)
        self._running[quick.message_id] = Running(replace(quick, iv=iv), Said(None, (message,)), repetition)
        messenger.send(now, (message,))

    def _new(self, role: Role, message_id: int, candidates: tuple[Connection, ...]) -> QuickMode:
        phase1, path = self._ike.phase1, self._ike.path
        assert phase1.keys is not None
        assert path is not None
        return QuickMode(
            role,
            message_id,
            phase1.keys,
            candidates,
            self._daemon.new_spi(),
            path.local.address,
            path.remote.address,
            path.natt if path.encapsulated else None,
            path.nat.remote,
            path.nat.local,
            own_identity(phase1),
            phase1.peer_identity,
            iv=exchange_iv(phase1.keys.hash, phase1.keys.cipher, phase1.iv, message_id),
        )

    def _repeat(self, now: float, message_id: int, *, again: bool) -> Repetition:
        def say_again(then: float) -> None:
            self._ike.messenger.send(then, self._running[message_id].said.messages)

        def give_up(then: float) -> None:
            running = self._running[message_id]
            detail = f"the peer did not answer: {running.quick.state.value}"
            self._fail(then, running.quick, running, Reason.IKE_TIMED_OUT, detail)

        intervals = self._daemon.config.patience.intervals()
        return Repetition(self._daemon.timers, now, intervals, say_again if again else None, give_up)

    # --- messages ------------------------------------------------------------------------------------------------

    def receive(self, now: float, received: Received) -> None:
        """Take a message. Raises IkeRefused or IsakmpMalformed, and then nothing has changed."""
        message_id = received.header.message_id
        if not self._ike.up:
            raise IkeRefused(Reason.IKE_UNEXPECTED, "quick mode comes after phase 1")
        if not message_id:
            raise IkeRefused(
                Reason.IKE_MESSAGE_ID, "the message id of quick mode is not zero", NotifyType.INVALID_MESSAGE_ID
            )
        running = self._running.get(message_id)
        if running is None:
            self._ike.messenger.check_unused(message_id)
            if len(self._running) >= MAX_QUICK_MODES:
                raise IkeRefused(Reason.IKE_HALF_OPEN_LIMIT, f"{MAX_QUICK_MODES} quick modes are under way")
        quick = running.quick if running else self._new(Role.RESPONDER, message_id, self._connections())
        try:
            step = step_of(quick_mode.STEPS, quick)
            check_seal(step, received.header.encrypted)
            arrived, iv = self._ike.messenger.open(received, quick.iv)
            after, answer = take(step, replace(quick, iv=iv), arrived, self._daemon.means)
        except (IkeRefused, IsakmpMalformed) as error:
            if running is None:
                self._daemon.inbound_spis.discard(quick.inbound_spi)
            refusal = refusal_of(error)
            if refusal.reason in ENDS_QUICK_MODE:
                self._refuse(now, quick, running, refusal)
                return
            raise refusal from None
        self._ike.heard(now, message_id, received.local, received.remote)
        self._ike.messenger.accepted(arrived)
        self._advance(now, after, running, received.digest, answer, repeats=step.repeats)

    def _connections(self) -> tuple[Connection, ...]:
        """What the peer may want a pair for."""
        mine, remote = self._ike.phase1.candidates, self._ike.remote.address
        others = (
            one
            for one in self._daemon.config.connections
            if one not in mine and one.phase1 == self._ike.phase1.policy and one.remote in (None, remote)
        )
        return (*mine, *others)

    def _advance(
        self, now: float, quick: QuickMode, running: Running | None, digest: bytes, answer: Answer, *, repeats: bool
    ) -> None:
        """A message was accepted: install first, then answer, and let the host send last."""
        messenger, message_id = self._ike.messenger, quick.message_id
        pair = running.pair if running else None
        if pair is None:
            pair = Pair(self._daemon, self._ike, quick)
            pair.install(now, quick)
        said = Said(digest, ())
        if answer:
            message, iv = messenger.build(message_id, ExchangeType.QUICK, answer, quick.iv)
            quick, said = replace(quick, iv=iv), Said(digest, (message,))
            messenger.send(now, said.messages)
        if running is not None:
            running.repetition.stop()
        if quick.state is State.ESTABLISHED:
            self._finish(now, message_id, said, pair)
        else:
            repetition = self._repeat(now, message_id, again=repeats)
            self._running[message_id] = Running(quick, said, repetition, pair)

    def _finish(self, now: float, message_id: int, said: Said, pair: Pair) -> None:
        self._running.pop(message_id, None)
        self._ike.messenger.finish(now, message_id, said)
        pair.use(now)

    def connected(self, now: float, message_id: int) -> None:
        """CONNECTED came in an informational message with the id of a quick mode that may be waiting for it."""
        running = self._running.get(message_id)
        if running is not None and running.quick.state is State.COMMITTING and running.pair is not None:
            running.repetition.stop()
            self._finish(now, message_id, running.said, running.pair)

    # --- failing -------------------------------------------------------------------------------------------------

    def _refuse(self, now: float, quick: QuickMode, running: Running | None, refusal: IkeRefused) -> None:
        """It is over, and the peer is told if the limit allows."""
        told = None
        if refusal.notify is not None and self._daemon.may_notify(now):
            told = NotifyType(refusal.notify)
            self._ike.messenger.inform(now, notification(told, quick.inbound_spi, esp=True))
        self._ike.messenger.use(quick.message_id)
        self._fail(now, quick, running, refusal.reason, str(refusal), sent=told)

    def refused(self, now: float, message_id: int, spi: bytes, number: int) -> None:
        """The peer refuses, behind a hash that is right: the quick mode that it means, if that can be told."""
        running = self._running.get(message_id)
        if running is None:
            about = [one for one in self._running.values() if spi in (one.quick.inbound_spi, one.quick.outbound_spi)]
            running = next(iter(about or self._running.values()), None) if about or len(self) == 1 else None
        if running is not None:
            detail = f"the peer refused with {notify_name(number)}"
            self._fail(now, running.quick, running, Reason.IKE_NOTIFIED, detail, received=number)

    def end(self, now: float, reason: Reason) -> None:
        """The ISAKMP SA ends, and whatever is under way with it."""
        for running in list(self._running.values()):
            self._fail(now, running.quick, running, reason, "the ISAKMP SA ended before quick mode did")

    def _fail(
        self,
        now: float,
        quick: QuickMode,
        running: Running | None,
        reason: Reason,
        detail: str,
        *,
        sent: NotifyType | None = None,
        received: int | None = None,
    ) -> None:
        if running is not None:
            running.repetition.stop()
            self._running.pop(quick.message_id, None)
            self._daemon.inbound_spis.discard(quick.inbound_spi)
            if running.pair is not None:
                running.pair.end(now, Reason.IKE_NOT_CONFIRMED, By.LOCAL, tell=True)
        ike = self._ike
        name, exchange = quick.candidates[0].name, ExchangeType.QUICK
        self._daemon.emit(
            ExchangeFailed(name, ike.remote, quick.role, exchange, reason, detail, ike.number, sent, received)
        )
