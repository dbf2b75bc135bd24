"""One session: the host above a simulated NIC, real sockets below it, and a loop around both.

    negotiate -> pings -> stay, if asked for -> delete everything politely

The loop waits in one place, for datagrams or for the next deadline. Frames off the sockets go through the NIC's
receive path and then to the host; what the host sends has come out of the NIC's send path. A listener begins the pings
when a peer has brought a tunnel up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nicsim.capabilities import Capabilities
from nicsim.connect.ladder import failure_text, lines_of
from nicsim.connect.pings import Pings
from nicsim.connect.recording import Recording
from nicsim.connect.results import LadderLine, LineKind, Outcome
from nicsim.connect.settings import Plan
from nicsim.connect.sockets import Sockets, Unreachable
from nicsim.errors import Malformed, OffloadProtocolError
from nicsim.events import (
    AssociationsDeleted,
    AssociationsReady,
    ExchangeFailed,
    FrameSent,
    HostEvent,
    IkeDown,
    IkeEvent,
    IkeUp,
    MessageSeen,
    Nat,
    OutboundUsable,
    PacketDelivered,
    PeerMoved,
)
from nicsim.host.host import Host
from nicsim.host.ike.authentication import PreSharedKey
from nicsim.host.ike.config import Phase1Exchange
from nicsim.impairments import Impaired
from nicsim.nic import Nic
from nicsim.reasons import Reason
from nicsim.wire.headers import format_address
from nicsim.wire.icmp import echo_reply
from nicsim.wire.isakmp import ExchangeType, NotifyType
from nicsim.wire.packet import LinkType, parse_frame
from offload_oids import Abi

LONGEST_WAIT = 1.0
"""Seconds; nothing is due for longer than that only by accident."""
SETTLING = 1.0
"""Seconds before the first ping where we began: the peer installs its side when our last message has come, and nothing
tells us when that is."""
MOST_EVENT_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Wishes:
    """How long and how much; seconds."""

    # Until a tunnel must be there; None waits for ever.
    timeout: float | None = 30.0
    count: int = 4
    interval: float = 0.2
    patience: float = 2.0
    # Go on when the pings are done, until Ctrl-C.
    stay: bool = False
    # Or, where somebody was there, until the last association is gone; whoever connects ends then in any case.
    once: bool = False
    # This long at most.
    at_most: float | None = None
    abi: Abi = Abi.X64
    impairments: tuple[Impaired, ...] = ()


class Session:
    """One run. `on_line` gets every line of the ladder as it comes about."""

    def __init__(
        self,
        plan: Plan,
        capabilities: Capabilities,
        wishes: Wishes,
        sockets: Sockets,
        *,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        on_line: Callable[[LadderLine], None],
        recording: Recording | None = None,
        wall_clock: float = 0.0,
    ) -> None:
        """`clock` never goes back; `wall_clock` is the time of day, in seconds since 1970, that it began at."""
        self._plan, self._wishes, self._sockets = plan, wishes, sockets
        self._clock, self._began, self._wall_clock = clock, clock(), wall_clock
        self._on_line = on_line
        self._recording = recording
        self.nic = Nic(
            capabilities,
            iv_source=random,
            abi=wishes.abi,
            monitor=not wishes.impairments,
            impairments=wishes.impairments,
        )
        self.host = Host(self.nic, plan.host, random, plan.policies)
        self._attempts = list(plan.attempts)
        self._up: set[int] = set()
        self._isakmp_sas: set[int] = set()
        self._alone_since: float | None = None
        self._established = False
        self._proof_sent = self._phase1_done = False
        self._nat = Nat.NONE
        self._failure: str | None = None
        self._pings: Pings | None = None
        if plan.ping is not None and wishes.count:
            identifier = int.from_bytes(random(2), "big")
            self._pings = Pings(plan.inner, plan.ping, wishes.count, wishes.interval, wishes.patience, identifier)

    # --- the run -----------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Do everything that was asked for; Ctrl-C ends it politely."""
        interrupted = False
        try:
            self._try_next()
            while not self._over():
                self._step()
        except KeyboardInterrupt:
            interrupted = True
        outcome = self._outcome(interrupted)
        self._say_goodbye()
        return outcome

    def _now(self) -> float:
        return self._clock() - self._began

    def _try_next(self) -> bool:
        """Initiate the next connection there is to try."""
        if not self._attempts:
            return False
        self.host.initiate(self._now(), self._attempts.pop(0))
        self._take_events()
        return True

    def _over(self) -> bool:
        now, wishes = self._now(), self._wishes
        if self._failure is not None:
            return True
        if wishes.at_most is not None and now >= wishes.at_most:
            return True
        if not self._established:
            if wishes.timeout is not None and now >= wishes.timeout:
                self._fail(self._silence())
            return self._failure is not None
        if self._pings is not None and not self._pings.over(now):
            return False
        leaves_when_alone = wishes.once or self._plan.remote is not None
        return not wishes.stay or (leaves_when_alone and self._is_alone(now))

    def _is_alone(self, now: float) -> bool:
        """The last pair is gone, and its ISAKMP SA too, or that had its time."""
        if self._up:
            self._alone_since = None
            return False
        if self._alone_since is None:
            self._alone_since = now
        return not self._isakmp_sas or now >= self._alone_since + LONGEST_WAIT

    def _step(self) -> None:
        """Wait for a datagram or a deadline, and do what is due."""
        for ip_packet in self._sockets.receive(self._wait()):
            now = self._now()
            frame = self._plan.host.link.received_frame(ip_packet)
            if self._recording:
                self._recording.frame(self._wall_clock + now, frame)
            self._receive(now, frame)
        now = self._now()
        deadline = self.host.next_deadline()
        if deadline is not None and deadline <= now:
            self.host.tick(now)
            self._take_events()
        if self._established and self._pings is not None and (request := self._pings.due(now)) is not None:
            self._send(now, request)

    def _receive(self, now: float, frame: bytes) -> None:
        indication, _ = self.nic.receive(frame)
        if not indication.frame:  # a driver that misbehaves may keep it to itself
            return
        try:
            self.host.receive(now, indication)
        except OffloadProtocolError as error:
            self._on_line(LadderLine(now, LineKind.TROUBLE, str(error)))
        self._take_events()

    def _wait(self) -> float:
        deadlines = [self.host.next_deadline()]
        if self._established and self._pings is not None:
            deadlines.append(self._pings.deadline())
        due = min((one for one in deadlines if one is not None), default=LONGEST_WAIT)
        return min(max(due - self._now(), 0.0), LONGEST_WAIT)

    def _send(self, now: float, ip_packet: bytes) -> None:
        if self._recording:
            self._recording.packet(self._wall_clock + now, ip_packet)
        self.host.send_packet(now, ip_packet)
        self._take_events()

    def _say_goodbye(self) -> None:
        """Tell the peer that everything is over, and do not wait for an answer."""
        self.host.close(self._now())
        self._take_events()

    # --- what came of it ---------------------------------------------------------------------------------------

    def _take_events(self) -> None:
        for _ in range(MOST_EVENT_ROUNDS):
            events = self.host.poll()
            if not events:
                return
            for event in events:
                self._take(event)

    def _take(self, event: HostEvent | IkeEvent) -> None:
        now = self._now()
        for line in lines_of(now, event):
            self._on_line(line)
        match event:
            case FrameSent(frame):
                self._to_wire(now, frame)
            case PacketDelivered(packet):
                self._delivered(now, packet)
            case MessageSeen():
                self._proof_sent |= event.sent and event.encrypted
                if self._recording:
                    self._recording.message(self._wall_clock + now, event)
            case IkeUp():
                self._nat, self._phase1_done = event.nat, True
                self._isakmp_sas.add(event.ike)
            case IkeDown():
                self._isakmp_sas.discard(event.ike)
            case AssociationsReady():
                self._up.add(event.pair)
                if self._recording:
                    self._recording.associations((event.inbound, event.outbound))
            case OutboundUsable():
                if not self._established and self._pings is not None:
                    self._pings.begin = now + (SETTLING if self._plan.remote is not None else 0.0)
                self._established = True
            case AssociationsDeleted():
                self._up.discard(event.pair)
            case PeerMoved():
                self._record_move(event)
            case ExchangeFailed():
                self._exchange_failed(event)

    def _to_wire(self, now: float, frame: bytes) -> None:
        if self._recording:
            self._recording.frame(self._wall_clock + now, frame)
        packet = parse_frame(frame, self._plan.host.link.type)
        try:
            self._sockets.send(frame[packet.network : packet.end])
        except Unreachable as error:
            self._fail(str(error))

    def _delivered(self, now: float, ip_packet: bytes) -> None:
        if self._recording:
            self._recording.packet(self._wall_clock + now, ip_packet)
        try:
            packet = parse_frame(ip_packet, LinkType.RAW)
        except Malformed:
            return
        if self._pings is not None and self._pings.take(now, ip_packet):
            return
        if (reply := echo_reply(ip_packet, packet)) is not None:
            self._send(now, reply)

    def _record_move(self, event: PeerMoved) -> None:
        for number in event.pairs if self._recording else ():
            pair = self.host.associations.pairs.get(number)
            if self._recording and pair is not None:
                self._recording.associations(held.association for held in pair.directions())

    def _exchange_failed(self, event: ExchangeFailed) -> None:
        """Before there is a tunnel that is the end, unless the peer may like the next offer better."""
        if self._established or self._plan.remote is None:
            return
        refused = event.notify_received == NotifyType.NO_PROPOSAL_CHOSEN
        if refused and event.exchange == ExchangeType.AGGRESSIVE and self._attempts:
            self._on_line(LadderLine(self._now(), LineKind.NOTE, "trying again with the next group"))
            self._try_next()
            return
        hint = self._hint() if event.reason is Reason.IKE_TIMED_OUT else ""
        self._fail(f"{self._peer()}: {failure_text(event)}{hint}")

    def _fail(self, sentence: str) -> None:
        self._failure = self._failure or sentence

    def _peer(self) -> str:
        return format_address(self._plan.remote) if self._plan.remote else "the peer"

    def _silence(self) -> str:
        within = f"within {self._wishes.timeout:g} s"
        if self._plan.remote is None:
            return f"nobody brought up a tunnel {within}"
        return f"{self._peer()} did not bring up a tunnel {within}{self._hint()}"

    def _hint(self) -> str:
        """What such a silence usually means: in main mode another key makes all that follows unreadable."""
        if not self._proof_sent or self._phase1_done or not self._plan.attempts:
            return ""
        phase1 = self._plan.attempts[0].phase1
        main_with_key = phase1.exchange is Phase1Exchange.MAIN and isinstance(phase1.authentication, PreSharedKey)
        return ", though it answered at first; it may have another pre-shared key" if main_with_key else ""

    def _outcome(self, interrupted: bool) -> Outcome:
        rows = self.nic.card.rows
        caps = self.nic.capabilities
        pings = self._pings
        return Outcome(
            established=self._established,
            nat=self._nat,
            pings_sent=pings.sent if pings else 0,
            pings_answered=len(pings.answered) if pings else 0,
            holdings=self.host.holdings(),
            tables={
                "inbound": (len(rows.inbound), caps.inbound_rows),
                "outbound": (len(rows.outbound), caps.outbound_rows),
                "parser": (len(rows.parser), caps.parser_rows),
            },
            round_trips=pings.round_trips() if pings else None,
            failure=self._failure,
            interrupted=interrupted,
        )
