"""Messages of one ISAKMP SA on their way out and in: header, encryption, fragments, message ids, duplicates.

A message that came twice is answered with what it was answered with, byte for byte, and changes nothing
(digest ikev1.md section 10).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from nicsim.errors import IkeRefused
from nicsim.events import Endpoint, MessageSeen, UdpDatagram
from nicsim.host.ike.exchange import Answer, Arrived, Received, Said
from nicsim.host.ike.fragments import Reassembly, split
from nicsim.host.ike.informational import hashed
from nicsim.host.ike.keys import exchange_iv
from nicsim.host.ike.protection import open_sealed, seal
from nicsim.reasons import Reason
from nicsim.wire.esp import NON_ESP_MARKER
from nicsim.wire.isakmp import ExchangeType, Flags, Header, Message, NotifyType, Payload, parse_message, payload_name

if TYPE_CHECKING:
    from nicsim.host.ike.daemon import Daemon
    from nicsim.host.ike.ike_sa import IkeSa

# What a peer that has proved itself may do to our memory: as many exchanges are remembered against replays.
MAX_MESSAGE_IDS = 8192


def seen(message: Message, local: Endpoint, remote: Endpoint, *, sent: bool, encrypted: bool) -> MessageSeen:
    """A message as an event."""
    header = replace(message.header, flags=message.header.flags & ~Flags.ENCRYPTION)
    return MessageSeen(
        sent,
        local if sent else remote,
        remote if sent else local,
        header.exchange,
        header.message_id,
        encrypted,
        tuple(payload_name(payload.type) for payload in message.payloads),
        Message(header, message.payloads).build(),
    )


class Messenger:
    """Sends and opens the messages of one ISAKMP SA."""

    def __init__(self, daemon: Daemon, ike: IkeSa) -> None:
        self._daemon = daemon
        self._ike = ike
        self._reassembly = Reassembly()
        self._fragment_id = 0
        # Exchanges that are over, for the duplicates of their messages; and the message ids that there were.
        self._finished: dict[int, Said] = {}
        self._message_ids: OrderedDict[int, None] = OrderedDict()

    # --- out -----------------------------------------------------------------------------------------------------

    def build(self, message_id: int, exchange: ExchangeType, payloads: Answer, iv: bytes | None) -> tuple[bytes, bytes]:
        """A message, encrypted if there is an IV, and the IV of the next one."""
        phase1 = self._ike.phase1
        header = Header(phase1.initiator_cookie, phase1.responder_cookie, 0, exchange, Flags.NONE, message_id)
        message = Message(header, payloads)
        self._daemon.emit(seen(message, self._ike.local, self._ike.remote, sent=True, encrypted=iv is not None))
        if iv is None:
            return message.build(), b""
        assert phase1.keys is not None
        return seal(message, phase1.keys, iv)

    def fragmented(self, message: bytes) -> tuple[bytes, ...]:
        """The message in fragments, if it is large and the peer can put them together."""
        largest = self._ike.phase1.policy.fragment_above
        if largest is None or len(message) <= largest or not self._ike.phase1.peer_takes_fragments:
            return (message,)
        self._fragment_id = self._fragment_id % 0xFFFF + 1
        return tuple(split(message, largest, self._fragment_id))

    def send(
        self, now: float, messages: tuple[bytes, ...], local: Endpoint | None = None, remote: Endpoint | None = None
    ) -> None:
        """Send to the peer, or back to where a message came from; the marker is put on here and nowhere else."""
        local, remote = local or self._ike.local, remote or self._ike.remote
        marker = NON_ESP_MARKER if local.port == self._daemon.config.natt_port else b""
        for message in messages:
            self._daemon.send(UdpDatagram(local, remote, marker + message))
        if self._ike.path is not None and messages:
            self._ike.path.last_sent = now

    def inform(self, now: float, payload: Payload) -> bytes:
        """Send an informational message of its own, encrypted if there are keys (RFC 2409 section 5.7)."""
        message_id, keys = self.new_message_id(), self._ike.phase1.keys
        if keys is None:
            message, _ = self.build(message_id, ExchangeType.INFORMATIONAL, (payload,), None)
        else:
            iv = exchange_iv(keys.hash, keys.cipher, self._ike.phase1.iv, message_id)
            message, _ = self.build(message_id, ExchangeType.INFORMATIONAL, hashed(keys, message_id, payload), iv)
        self.send(now, (message,))
        return message

    # --- message ids ---------------------------------------------------------------------------------------------

    def new_message_id(self) -> int:
        """Of an exchange that we begin: random, not zero, and never used."""
        message_id = 0
        while message_id == 0 or message_id in self._message_ids:
            message_id = int.from_bytes(self._daemon.random(4), "big")
        self.use(message_id)
        return message_id

    def use(self, message_id: int) -> None:
        """No other exchange may have it. The oldest are forgotten in the end."""
        self._message_ids[message_id] = None
        if len(self._message_ids) > MAX_MESSAGE_IDS:
            self._message_ids.popitem(last=False)

    def check_unused(self, message_id: int) -> None:
        """Raises IkeRefused for the message id of an exchange that there was."""
        if message_id in self._message_ids:
            raise IkeRefused(Reason.IKE_REPLAYED, f"message id {message_id:08x} was used before")

    # --- in ------------------------------------------------------------------------------------------------------

    def reassemble(self, datagram: bytes) -> bytes | None:
        """Take a fragment; the whole message once it is complete. Raises IkeRefused or IsakmpMalformed."""
        return self._reassembly.add(parse_message(datagram).payloads)

    def open(self, received: Received, iv: bytes) -> tuple[Arrived, bytes]:
        """The message in clear, and the next IV if it was encrypted. Raises IkeRefused or IsakmpMalformed."""
        if received.header.encrypted:
            keys = self._ike.phase1.keys
            if keys is None:
                raise IkeRefused(Reason.IKE_FLAGS, "there are no keys to decrypt with yet", NotifyType.INVALID_FLAGS)
            message, iv = open_sealed(received.header, received.datagram, keys, iv)
        else:
            message = parse_message(received.datagram)
        return Arrived(message, received.local, received.remote), iv

    def accepted(self, arrived: Arrived) -> None:
        """A message was accepted: show it."""
        header = arrived.message.header
        self._daemon.emit(seen(arrived.message, arrived.local, arrived.remote, sent=False, encrypted=header.encrypted))

    def finish(self, now: float, message_id: int, said: Said) -> None:
        """Remember an exchange for as long as its duplicates may come."""
        self._finished[message_id] = said
        self._ike.later(now + self._daemon.config.patience.total, lambda _: self._forget(message_id))

    def _forget(self, message_id: int) -> None:
        self._finished.pop(message_id, None)

    def finished(self, message_id: int) -> Said | None:
        """What ended an exchange, as long as it is remembered."""
        return self._finished.get(message_id)
