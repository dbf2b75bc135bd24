"""One ISAKMP SA: its phase 1, what its success and failure mean, and its end.

main_mode.py and aggressive_mode.py have the steps; here is what surrounds one. quick_modes.py and informational.py do
the same for the other exchanges, messenger.py sends and opens. Called by peer.py, which finds the SA of a datagram
and answers for what is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nicsim.errors import IkeRefused
from nicsim.events import AddressIdentity, By, Endpoint, ExchangeFailed, IkeDown, IkeEvent, IkeUp, Nat, Role
from nicsim.host.ike import aggressive_mode, informational, main_mode
from nicsim.host.ike.config import Connection
from nicsim.host.ike.dead_peer import DeadPeerDetection
from nicsim.host.ike.exchange import Answer, Received, Said, Seal, State, check_seal, step_of, take
from nicsim.host.ike.messenger import Messenger
from nicsim.host.ike.pairs import Pair
from nicsim.host.ike.path import Path
from nicsim.host.ike.phase1 import Phase1, own_identity
from nicsim.host.ike.quick_modes import QuickModes
from nicsim.host.ike.timers import Action, Repetition, Timer
from nicsim.reasons import Reason
from nicsim.wire.isakmp import ExchangeType, NotifyType

if TYPE_CHECKING:
    from nicsim.host.ike.daemon import Daemon

STEPS = {ExchangeType.MAIN: main_mode.STEPS, ExchangeType.AGGRESSIVE: aggressive_mode.STEPS}

# A phase 1 that meets one of these is over; anything else may come from anybody, and is dropped.
ENDS_PHASE_1 = frozenset(
    {
        Reason.IKE_NO_PROPOSAL,
        Reason.IKE_PROPOSAL_CHANGED,
        Reason.IKE_IDENTITY,
        Reason.IKE_CERTIFICATE,
        Reason.IKE_CERTIFICATE_AUTHORITY,
        Reason.IKE_AUTHENTICATION,
        Reason.IKE_NO_NAT_TRAVERSAL,
    }
)


class IkeSa:
    """One ISAKMP SA, from its first message on."""

    def __init__(self, daemon: Daemon, phase1: Phase1) -> None:
        self._daemon = daemon
        self.number = daemon.new_number()
        self.phase1 = phase1
        # Where message 1 came from, or went to.
        self.first_address = phase1.remote.address
        self.up = False
        self.ended = False
        # A newer one serves its pairs.
        self.replaced = False
        # Known once phase 1 is done.
        self.path: Path | None = None
        self.messenger = Messenger(daemon, self)
        self.quick_modes = QuickModes(daemon, self)
        self.dead_peer_detection = DeadPeerDetection(daemon, self)
        self._requests: list[Connection] = []
        self._said = Said(None, ())
        # Digests of the phase 1 messages that were accepted before the last one.
        self._past: set[bytes] = set()
        self._repetition: Repetition | None = None
        self._timers: list[Timer] = []
        daemon.ike_sas[self.number] = self

    @property
    def local(self) -> Endpoint:
        """Our end."""
        return self.phase1.local if self.path is None else self.path.local

    @property
    def remote(self) -> Endpoint:
        """The peer's end, as we reach it now."""
        return self.phase1.remote if self.path is None else self.path.remote

    @property
    def begun_here(self) -> bool:
        """Whether we are its initiator."""
        return self.phase1.role is Role.INITIATOR

    @property
    def cookies(self) -> bytes:
        """Both, as the SPI of notifications and deletes."""
        return self.phase1.initiator_cookie + self.phase1.responder_cookie

    def later(self, when: float, action: Action) -> None:
        """Do something at a time, unless we end before."""
        self._timers = [timer for timer in self._timers if timer.action is not None]
        self._timers.append(self._daemon.timers.start(when, action))

    def tell(self, event: IkeEvent) -> None:
        """Tell the host."""
        self._daemon.emit(event)

    # --- beginning -----------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Send message 1."""
        self._daemon.unanswered[self.phase1.initiator_cookie] = self
        if self.phase1.exchange is ExchangeType.MAIN:
            self.phase1, payloads = main_mode.begin(self.phase1)
        else:
            self.phase1, payloads = aggressive_mode.begin(self.phase1, self._daemon.means)
        self._say(now, None, payloads, Seal.CLEAR, repeats=True)

    def request(self, now: float, connection: Connection) -> None:
        """Bring up a pair for the connection, now or when phase 1 is done."""
        if self.up:
            self.quick_modes.begin(now, connection)
        else:
            self._requests.append(connection)

    def successor(self, now: float) -> IkeSa:
        """An ISAKMP SA that can serve our pairs: this one, or a newer one, begun if need be."""
        if self.up and not self.replaced:
            return self
        found = self._daemon.ike_sa_for(self.phase1.candidates[0], self.remote.address)
        return found or self.begin_anew(now)

    def begin_anew(self, now: float) -> IkeSa:
        """Negotiate another one on the same path."""
        cookie = self._daemon.cookies.new(now, self.local, self.remote)
        old = self.phase1
        ike = IkeSa(self._daemon, Phase1(Role.INITIATOR, old.exchange, old.candidates, self.local, self.remote, cookie))
        ike.begin(now)
        return ike

    # --- messages ------------------------------------------------------------------------------------------------

    def receive(self, now: float, received: Received) -> None:
        """Take one whole message. Raises IkeRefused or IsakmpMalformed, and then nothing has changed."""
        if self._repeated(now, received):
            return
        exchange = received.header.exchange
        if exchange == self.phase1.exchange:
            self._receive_phase1(now, received)
        elif exchange == ExchangeType.QUICK:
            self.quick_modes.receive(now, received)
        elif exchange == ExchangeType.INFORMATIONAL:
            informational.receive(now, self, received)
        else:
            raise IkeRefused(
                Reason.IKE_EXCHANGE_TYPE,
                f"exchange type {exchange} may not come here",
                NotifyType.INVALID_EXCHANGE_TYPE,
            )

    def _repeated(self, now: float, received: Received) -> bool:
        """Answer a duplicate as before; one that is further back with nothing.

        The answer goes to where the duplicate came from, unless our own end has moved on since.
        """
        message_id = received.header.message_id
        if message_id == 0:
            if received.digest in self._past:
                return True
            said: Said | None = self._said
        else:
            said = self.quick_modes.said(message_id) or self.messenger.finished(message_id)
        if said is None or said.digest != received.digest:
            return False
        remote = received.remote if received.local == self.local else self.remote
        self.messenger.send(now, said.messages, self.local, remote)
        return True

    def _receive_phase1(self, now: float, received: Received) -> None:
        if received.header.message_id:
            raise IkeRefused(Reason.IKE_MESSAGE_ID, "the message id of phase 1 is zero", NotifyType.INVALID_MESSAGE_ID)
        step = step_of(STEPS[self.phase1.exchange], self.phase1)
        check_seal(step, received.header.encrypted)
        arrived, iv = self.messenger.open(received, self.phase1.iv)
        notifications = informational.read_notifications(arrived)
        try:
            phase1, answer = take(step, replace(self.phase1, iv=iv), arrived, self._daemon.means)
        except IkeRefused as refusal:
            if refusal.reason not in ENDS_PHASE_1:
                raise
            # What we say now has both cookies, and is encrypted behind this message, as its sender sees it.
            cookie = received.header.responder_cookie if self.begun_here else self.phase1.responder_cookie
            self.phase1 = replace(self.phase1, iv=iv, responder_cookie=cookie)
            self._abort(now, refusal)
            return
        self.phase1 = phase1
        self._enter()
        self.messenger.accepted(arrived)
        self._say(now, received.digest, answer, step.goes, repeats=step.repeats)
        if phase1.state is State.ESTABLISHED:
            self._establish(now)
            informational.obey(now, self, arrived, notifications)

    def _enter(self) -> None:
        """Be found by both cookies, as soon as there are both."""
        daemon, phase1 = self._daemon, self.phase1
        daemon.by_cookies[phase1.initiator_cookie, phase1.responder_cookie] = self
        if self.begun_here:
            daemon.unanswered.pop(phase1.initiator_cookie, None)
        else:
            daemon.answering[phase1.initiator_cookie, self.first_address] = self

    def _say(self, now: float, digest: bytes | None, payloads: Answer, goes: Seal, *, repeats: bool) -> None:
        """Send a message of phase 1, if there is one, and wait for the next if there is one."""
        if self._said.digest is not None:
            self._past.add(self._said.digest)
        messages: tuple[bytes, ...] = ()
        if goes is not Seal.NOTHING:
            sealed = goes is Seal.SEALED
            message, iv = self.messenger.build(0, self.phase1.exchange, payloads, self.phase1.iv if sealed else None)
            messages = self.messenger.fragmented(message)
            if sealed:
                self.phase1 = replace(self.phase1, iv=iv)
        self._said = Said(digest, messages)
        self.messenger.send(now, messages)
        if self._repetition is not None:
            self._repetition.stop()
            self._repetition = None
        if self.phase1.state is not State.ESTABLISHED:
            intervals = self._daemon.config.patience.intervals()
            again = self._say_again if repeats else None
            self._repetition = Repetition(self._daemon.timers, now, intervals, again, self._give_up)

    def _say_again(self, now: float) -> None:
        self.messenger.send(now, self._said.messages)

    def _give_up(self, now: float) -> None:
        self.fail(now, Reason.IKE_TIMED_OUT, f"the peer did not answer: {self.phase1.state.value}")

    # --- how phase 1 ends ----------------------------------------------------------------------------------------

    def _establish(self, now: float) -> None:
        daemon, phase1 = self._daemon, self.phase1
        assert phase1.keys is not None
        daemon.half_open.discard(self.number)
        daemon.keep_keys(phase1.initiator_cookie, phase1.keys)
        before = [ike for ike in self._of_peer(daemon.paths.get((phase1.local, phase1.remote))) if not ike.replaced]
        self.up = True
        self.path = daemon.path_between(phase1.local, phase1.remote)
        self.path.learn(now, self)
        self.tell(
            IkeUp(
                self.number,
                phase1.candidates[0].name,
                phase1.role,
                phase1.exchange,
                phase1.local,
                phase1.remote,
                str(own_identity(phase1)),
                str(phase1.peer_identity),
                str(phase1.proposal),
                phase1.natt.name if phase1.natt else None,
                phase1.nat,
                phase1.initiator_cookie,
                phase1.responder_cookie,
                phase1.lifetime,
                before[-1].number if before else None,
            )
        )
        self._warn_of_addresses()
        for ike in before:
            ike.hand_over(now, self)
        self._adopt_pairs()
        self.later(now + phase1.lifetime, self._expire)
        if self.begun_here:
            self.later(now + phase1.lifetime * daemon.config.rekey_at, self.rekey)
        self.dead_peer_detection.start(now)
        if self.begun_here and phase1.exchange is ExchangeType.AGGRESSIVE and phase1.first_contact:
            # Aggressive mode itself has no room for it.
            self.messenger.inform(now, informational.notification(NotifyType.INITIAL_CONTACT, self.cookies))
        requests, self._requests = self._requests, []
        for connection in requests:
            self.quick_modes.begin(now, connection)

    def _adopt_pairs(self) -> None:
        """Speak for the pairs with our peer that nobody speaks for any more."""
        assert self.path is not None
        mine = self.phase1.peer_identity
        assert mine is not None
        for pair in self.path.pairs.values():
            theirs = pair.peer_identity
            if pair.ike.ended and theirs is not None and theirs.same_as(mine):
                pair.ike = self

    def _warn_of_addresses(self) -> None:
        """Who goes by an address behind a NAT, where the version says that nobody should."""
        phase1 = self.phase1
        assert phase1.peer_identity is not None
        if phase1.natt is None or not phase1.natt.names_ends or phase1.nat is Nat.NONE:
            return
        for by, identity in ((By.LOCAL, own_identity(phase1)), (By.REMOTE, phase1.peer_identity)):
            if identity.is_address:
                self.tell(AddressIdentity(self.number, phase1.remote, str(identity), by))

    def _abort(self, now: float, refusal: IkeRefused) -> None:
        """Phase 1 is over, and the peer is told, if the limit allows; where it thinks all is well, by a delete too."""
        told = None
        if refusal.notify is not None and self._daemon.may_notify(now):
            told = NotifyType(refusal.notify)
            self.messenger.inform(now, informational.notification(told, self.cookies))
            if self.begun_here and self.phase1.keys is not None:
                self.messenger.inform(now, informational.delete_isakmp(self.cookies))
        self.fail(now, refusal.reason, str(refusal), sent=told)

    def fail(
        self, now: float, reason: Reason, detail: str, *, sent: NotifyType | None = None, received: int | None = None
    ) -> None:
        """Phase 1 came to nothing, and with it everything that waited for it."""
        phase1 = self.phase1
        names = [connection.name for connection in self._requests] or [phase1.candidates[0].name]
        for name in names:
            self.tell(
                ExchangeFailed(
                    name, self.remote, phase1.role, phase1.exchange, reason, detail, self.number, sent, received
                )
            )
        self.end(now, reason, By.LOCAL, tell=False)

    # --- the life after ------------------------------------------------------------------------------------------

    def heard(self, now: float, message_id: int, local: Endpoint, remote: Endpoint) -> None:
        """A new message proved itself."""
        self.messenger.use(message_id)
        if self.path is not None:
            self.path.heard(now, local, remote)

    def _of_peer(self, path: Path | None) -> list[IkeSa]:
        """The ISAKMP SAs on a path whose peer is the one we talk to."""
        mine = self.phase1.peer_identity
        assert mine is not None
        found = path.ike_sas.values() if path else ()
        return [ike for ike in found if ike.phase1.peer_identity and ike.phase1.peer_identity.same_as(mine)]

    def ike_sas_of_peer(self) -> list[IkeSa]:
        """All on our path with our peer, us included: it may end one by a message of another."""
        return self._of_peer(self.path)

    def pairs_of_peer(self) -> list[Pair]:
        """The pairs that these serve."""
        ours = self.ike_sas_of_peer()
        return [pair for pair in self.path.pairs.values() if pair.ike in ours] if self.path else []

    def hand_over(self, now: float, successor: IkeSa) -> None:
        """A newer one serves our pairs; we stay for what is under way, then the side that began it ends us."""
        self.replaced = True
        assert self.path is not None
        for pair in self.path.pairs.values():
            if pair.ike is self:
                pair.ike = successor
        for timer in self._timers:
            self._daemon.timers.stop(timer)
        self.dead_peer_detection.stop()
        overlap = self._daemon.config.overlap
        wait = overlap if successor.begun_here else 2 * overlap
        self.later(now + wait, lambda then: self.end(then, Reason.IKE_REPLACED, By.LOCAL, tell=True))

    def forget_others(self, now: float) -> None:
        """INITIAL-CONTACT: the peer, known by its identity, has nothing from before (digest section 12 of NAT)."""
        mine = self.phase1.peer_identity
        assert mine is not None
        for ike in list(self._daemon.ike_sas.values()):
            theirs = ike.phase1.peer_identity
            if ike is not self and ike.up and theirs is not None and theirs.same_as(mine):
                ike.end(now, Reason.IKE_INITIAL_CONTACT, By.REMOTE, tell=False)
        for pair in list(self._daemon.pairs.values()):
            theirs = pair.peer_identity
            if pair.installed_before(self.number) and theirs is not None and theirs.same_as(mine):
                pair.end(now, Reason.IKE_INITIAL_CONTACT, By.REMOTE, tell=False)

    def rekey(self, now: float) -> None:
        """Begin a successor, and another one if nothing comes of it."""
        if self.up and not self.replaced:
            self.begin_anew(now)
            self.later(now + self._daemon.config.patience.total, self.rekey)

    def _expire(self, now: float) -> None:
        self.end(now, Reason.IKE_EXPIRED, By.LOCAL, tell=True)

    def end(self, now: float, reason: Reason, by: By, *, tell: bool) -> None:
        """It is gone, with everything under way on it. Pairs stay (digest ikev1.md section 9)."""
        if self.ended:
            return
        self.ended = True
        if self._repetition is not None:
            self._repetition.stop()
        self.quick_modes.end(now, reason)
        if self.up and tell:
            self.messenger.inform(now, informational.delete_isakmp(self.cookies))
        for timer in self._timers:
            self._daemon.timers.stop(timer)
        self.dead_peer_detection.stop()
        self._daemon.forget_ike_sa(self)
        if self.up:
            self.up = False
            self.tell(IkeDown(self.number, self.phase1.candidates[0].name, reason, by))
        if self.path is not None:
            self.path.ike_sas.pop(self.number, None)
            self.path.left(now)
