"""One IKE daemon at one address, for many remotes: datagrams and time in, datagrams and events out.

    peer = IkePeer(config, random)
    peer.initiate(now, connection)             phase 1 if there is none yet, then quick mode
    for item in peer.poll(): ...               UdpDatagrams to send and events, in the order they came about
    peer.receive(now, datagram)                then poll again
    peer.tick(now)                             when next_deadline() is reached, then poll again

A datagram's payload is as on the wire: from and to the NAT traversal port it begins with the non-ESP marker; ESP and
keepalives may be passed in too, and are not looked at. `now` is seconds on a clock that never goes back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nicsim.errors import IkeRefused, InputError, IsakmpMalformed
from nicsim.events import By, Endpoint, IkeEvent, MessageDropped, Role, UdpDatagram
from nicsim.host.ike.config import Connection, IkeConfig, Phase1Exchange
from nicsim.host.ike.daemon import Daemon
from nicsim.host.ike.exchange import Received
from nicsim.host.ike.ike_sa import IkeSa
from nicsim.host.ike.informational import notification, refusal_of
from nicsim.host.ike.messenger import seen
from nicsim.host.ike.phase1 import NO_COOKIE, Phase1
from nicsim.reasons import Reason
from nicsim.wire.esp import NON_ESP_MARKER, Datagram, classify_port_500, classify_port_4500
from nicsim.wire.headers import format_address
from nicsim.wire.isakmp import (
    ExchangeType,
    Flags,
    Header,
    Message,
    NotifyType,
    PayloadType,
    parse_header,
    peek_header,
)

_EXCHANGES = {Phase1Exchange.MAIN: ExchangeType.MAIN, Phase1Exchange.AGGRESSIVE: ExchangeType.AGGRESSIVE}


@dataclass(frozen=True, slots=True)
class IkeDecryption:
    """One row of Wireshark's `ikev1_decryption_table`: 8 bytes of cookie, and the cipher's key."""

    initiator_cookie: bytes
    key: bytes = field(repr=False)


class IkePeer:
    """Negotiates, keeps and ends ISAKMP SAs and pairs of IPsec SAs with any number of remotes."""

    def __init__(self, config: IkeConfig, random: Callable[[int], bytes]) -> None:
        """`random(n)` returns n unpredictable bytes."""
        self.config = config
        self._daemon = Daemon(config, random)

    # --- what the host asks for ----------------------------------------------------------------------------------

    def initiate(self, now: float, connection: Connection, remote: bytes | None = None) -> None:
        """Bring a connection up: phase 1 unless one with the same policy is there, then quick mode.

        `remote` stands in for a connection that accepts any peer. Raises InputError if neither names one.
        """
        address = remote or connection.remote
        if address is None:
            raise InputError(f"connection {connection.name} names no peer, and none was given")
        if len(address) != len(self.config.address):
            ours = format_address(self.config.address)
            raise InputError(f"{format_address(address)} cannot be reached from {ours}: another version of IP")
        ike = self._daemon.ike_sa_for(connection, address)
        if ike is None:
            ike = self._new_ike_sa(now, connection, address)
            ike.request(now, connection)
            ike.begin(now)
        else:
            ike.request(now, connection)

    def _new_ike_sa(self, now: float, connection: Connection, address: bytes) -> IkeSa:
        local = Endpoint(self.config.address, self.config.ike_port)
        remote = Endpoint(address, connection.remote_ike_port)
        known = any(ike.up and ike.remote.address == address for ike in self._daemon.ike_sas.values())
        phase1 = Phase1(
            Role.INITIATOR,
            _EXCHANGES[connection.phase1.exchange],
            (connection,),
            local,
            remote,
            self._daemon.cookies.new(now, local, remote),
            first_contact=connection.phase1.initial_contact and not known,
        )
        return IkeSa(self._daemon, phase1)

    def rekey(self, now: float, pair: int) -> None:
        """Negotiate a new pair that replaces this one. An unknown number does nothing: it may just have ended."""
        if pair in self._daemon.pairs:
            self._daemon.pairs[pair].rekey(now)

    def rekey_ike(self, now: float, ike: int) -> None:
        """Negotiate a new ISAKMP SA that takes over the pairs of this one."""
        if ike in self._daemon.ike_sas:
            self._daemon.ike_sas[ike].rekey(now)

    def delete(self, now: float, pair: int) -> None:
        """End one pair and tell the peer."""
        if pair in self._daemon.pairs:
            self._daemon.pairs[pair].end(now, Reason.IKE_DELETED, By.LOCAL, tell=True)

    def close(self, now: float, ike: int | None = None) -> None:
        """End an ISAKMP SA with all its pairs, or everything, and tell the peers."""
        daemon = self._daemon
        for pair in list(daemon.pairs.values()):
            if ike in (None, pair.ike.number):
                pair.end(now, Reason.IKE_DELETED, By.LOCAL, tell=True)
        for one in list(daemon.ike_sas.values()):
            if ike in (None, one.number):
                one.end(now, Reason.IKE_DELETED, By.LOCAL, tell=True)

    # --- what the host tells -------------------------------------------------------------------------------------

    def sent(self, now: float, pair: int) -> None:
        """ESP went out on a pair: no keepalive is due for another interval."""
        if pair in self._daemon.pairs:
            self._daemon.pairs[pair].path.last_sent = now

    def received(self, now: float, pair: int, source: Endpoint) -> None:
        """New, authenticated ESP came in on a pair: the peer lives, and if it moved, it is now at `source`."""
        if pair in self._daemon.pairs:
            path = self._daemon.pairs[pair].path
            path.heard(now, path.local, source)

    # --- datagrams -----------------------------------------------------------------------------------------------

    def receive(self, now: float, datagram: UdpDatagram) -> None:
        """Take one datagram. Nothing raises because of what it holds."""
        payload = datagram.payload
        on_natt_port = datagram.destination.port == self.config.natt_port
        classify = classify_port_4500 if on_natt_port else classify_port_500
        kind, start = classify(payload, 0, len(payload))
        if kind is Datagram.IKE or (kind is Datagram.ESP and not on_natt_port):  # no marker before ESP was agreed on
            self._receive(now, payload[start if on_natt_port else 0 :], datagram.destination, datagram.source)

    def _receive(self, now: float, message: bytes, local: Endpoint, remote: Endpoint) -> None:
        ike = None
        try:
            header = parse_header(message)
            ike = self._find(header, remote)
            if header.next_payload == PayloadType.FRAGMENT and not header.encrypted:
                if ike is None:
                    raise IkeRefused(Reason.IKE_FRAGMENT, "no first message comes in fragments")
                whole = ike.messenger.reassemble(message)
                if whole is None:
                    return
                message, header = whole, parse_header(whole)
                if self._find(header, remote) is not ike or header.next_payload == PayloadType.FRAGMENT:
                    raise IkeRefused(Reason.IKE_FRAGMENT, "the fragments make a message of another kind")
            received = Received(header, message, hashlib.sha256(message).digest(), local, remote)
            if ike is not None:
                ike.receive(now, received)
            else:
                self._begin_as_responder(now, received)
        except (IkeRefused, IsakmpMalformed) as error:
            self._refuse(now, message, local, remote, refusal_of(error))

    def _find(self, header: Header, remote: Endpoint) -> IkeSa | None:
        """The ISAKMP SA of a message; None for a first message. Raises IkeRefused for cookies that nobody has."""
        daemon, initiator, responder = self._daemon, header.initiator_cookie, header.responder_cookie
        found = daemon.by_cookies.get((initiator, responder)) or daemon.unanswered.get(initiator)
        if found is not None:
            return found
        if responder == NO_COOKIE and header.exchange in (ExchangeType.MAIN, ExchangeType.AGGRESSIVE):
            return daemon.answering.get((initiator, remote.address))
        raise IkeRefused(
            Reason.IKE_COOKIE,
            f"no ISAKMP SA has the cookies {initiator.hex()} and {responder.hex()}",
            NotifyType.INVALID_COOKIE,
        )

    def _begin_as_responder(self, now: float, received: Received) -> None:
        daemon, header = self._daemon, received.header
        connections = [one for one in self.config.connections if one.remote in (None, received.remote.address)]
        candidates = tuple(one for one in connections if _EXCHANGES[one.phase1.exchange] == header.exchange)
        if not candidates:
            reason, notify = Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN
            if connections:
                reason, notify = Reason.IKE_EXCHANGE_TYPE, NotifyType.UNSUPPORTED_EXCHANGE_TYPE
            raise IkeRefused(reason, f"no connection takes exchange {header.exchange} from this peer", notify)
        if len(daemon.half_open) >= self.config.half_open_limit:
            raise IkeRefused(Reason.IKE_HALF_OPEN_LIMIT, f"{len(daemon.half_open)} peers have begun and not finished")
        cookie = daemon.cookies.new(now, received.local, received.remote)
        phase1 = Phase1(
            Role.RESPONDER,
            ExchangeType(header.exchange),
            candidates,
            received.local,
            received.remote,
            header.initiator_cookie,
            cookie,
        )
        ike = IkeSa(daemon, phase1)
        daemon.half_open.add(ike.number)
        try:
            ike.receive(now, received)
        except (IkeRefused, IsakmpMalformed):
            ike.end(now, Reason.IKE_MALFORMED, By.LOCAL, tell=False)
            raise

    def _refuse(self, now: float, message: bytes, local: Endpoint, remote: Endpoint, refusal: IkeRefused) -> None:
        """A message changed nothing. Tell its sender, unless it told something itself or has heard enough."""
        told = None
        header = peek_header(message)
        if (
            header is not None
            and refusal.notify is not None
            and header.exchange != ExchangeType.INFORMATIONAL
            and header.initiator_cookie != NO_COOKIE
            and self._daemon.may_notify(now)
        ):
            told = NotifyType(refusal.notify)
            self._notify_in_clear(header, told, local, remote)
        self._daemon.emit(MessageDropped(remote, refusal.reason, str(refusal), told))

    def _notify_in_clear(self, to: Header, type_: NotifyType, local: Endpoint, remote: Endpoint) -> None:
        message_id = int.from_bytes(self._daemon.random(4), "big")
        header = Header(to.initiator_cookie, to.responder_cookie, 0, ExchangeType.INFORMATIONAL, Flags.NONE, message_id)
        payload = notification(type_, to.initiator_cookie + to.responder_cookie)
        message = Message(header, (payload,))
        marker = NON_ESP_MARKER if local.port == self.config.natt_port else b""
        self._daemon.emit(seen(message, local, remote, sent=True, encrypted=False))
        self._daemon.send(UdpDatagram(local, remote, marker + message.build()))

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due: retransmissions, keepalives, dead peer detection, rekeys and ends of lifetimes."""
        self._daemon.timers.tick(now)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next."""
        return self._daemon.timers.next()

    # --- what came of it -----------------------------------------------------------------------------------------

    def poll(self) -> Sequence[UdpDatagram | IkeEvent]:
        """Everything since the last call, in order."""
        out, self._daemon.out = self._daemon.out, []
        return out

    def ike_decryption(self) -> Sequence[IkeDecryption]:
        """The keys that decrypt the IKE messages of a capture, one row for each ISAKMP SA so far.

        Empty unless the configuration said `keep_ike_keys`.
        """
        return [IkeDecryption(cookie, key) for cookie, key in self._daemon.cipher_keys]
