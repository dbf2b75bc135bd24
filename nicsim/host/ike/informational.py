"""Informational exchanges: notifications and deletes, one message each (RFC 2408 sections 3.14, 3.15 and 4.8).

What comes behind a hash that is right is believed. What comes in clear proves nothing: it can end a phase 1 that is
under way, whose cookies only someone on the path knows, and nothing else. Nothing here ever answers a notification,
except a question after us.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from nicsim.errors import IkeRefused, IsakmpMalformed
from nicsim.events import By, NotifyReceived
from nicsim.host.ike.exchange import Arrived, Received, Said
from nicsim.host.ike.keys import IkeKeys, exchange_iv
from nicsim.reasons import Reason
from nicsim.wire.isakmp import FIRST_STATUS, Message, NotifyType, Payload, PayloadType, build_chain
from nicsim.wire.isakmp_payloads import Delete, Notification, Protocol, parse_delete, parse_notification

if TYPE_CHECKING:
    from nicsim.host.ike.ike_sa import IkeSa

# What a peer says that threw its own phase 1 away after we had finished ours.
_NOT_AUTHENTICATED = frozenset(
    {
        NotifyType.INVALID_CERT_ENCODING,
        NotifyType.INVALID_CERTIFICATE,
        NotifyType.CERT_TYPE_UNSUPPORTED,
        NotifyType.INVALID_CERT_AUTHORITY,
        NotifyType.AUTHENTICATION_FAILED,
        NotifyType.INVALID_SIGNATURE,
        NotifyType.CERTIFICATE_UNAVAILABLE,
    }
)

# The reason behind a message that contradicts itself, by the notification that says so.
_REASONS = {
    NotifyType.INVALID_PAYLOAD_TYPE: Reason.IKE_MALFORMED,
    NotifyType.DOI_NOT_SUPPORTED: Reason.IKE_DOI,
    NotifyType.SITUATION_NOT_SUPPORTED: Reason.IKE_DOI,
    NotifyType.INVALID_COOKIE: Reason.IKE_COOKIE,
    NotifyType.INVALID_MAJOR_VERSION: Reason.IKE_VERSION,
    NotifyType.INVALID_MINOR_VERSION: Reason.IKE_VERSION,
    NotifyType.INVALID_FLAGS: Reason.IKE_FLAGS,
    NotifyType.BAD_PROPOSAL_SYNTAX: Reason.IKE_PROPOSAL_SYNTAX,
}


def refusal_of(error: IkeRefused | IsakmpMalformed) -> IkeRefused:
    """A malformed message as a refusal, with its reason."""
    if isinstance(error, IkeRefused):
        return error
    notify = NotifyType(error.notify)
    return IkeRefused(_REASONS.get(notify, Reason.IKE_MALFORMED), str(error), notify)


def notify_name(number: int) -> str:
    """`NO_PROPOSAL_CHOSEN`, or the number of one we do not know."""
    try:
        return NotifyType(number).name
    except ValueError:
        return f"notification {number}"


# --- out -------------------------------------------------------------------------------------------------------------


def hashed(keys: IkeKeys, message_id: int, payload: Payload) -> tuple[Payload, ...]:
    """The payload behind HASH(1)."""
    value = keys.prf_a(message_id.to_bytes(4, "big") + payload.raw)
    return (Payload(PayloadType.HASH, value), payload)


def notification(type_: NotifyType, spi: bytes, data: bytes = b"", *, esp: bool = False) -> Payload:
    """An N payload about an ISAKMP SA (its cookies) or about an ESP association (4 bytes)."""
    protocol = Protocol.ESP if esp else Protocol.ISAKMP
    return Payload(PayloadType.NOTIFICATION, Notification(type_, protocol, spi, data).build())


def delete_esp(spis: tuple[bytes, ...]) -> Payload:
    """A D payload for inbound associations of ours."""
    return Payload(PayloadType.DELETE, Delete(Protocol.ESP, spis).build())


def delete_isakmp(cookies: bytes) -> Payload:
    """A D payload for an ISAKMP SA."""
    return Payload(PayloadType.DELETE, Delete(Protocol.ISAKMP, (cookies,)).build())


# --- in --------------------------------------------------------------------------------------------------------------


def receive(now: float, ike: IkeSa, received: Received) -> None:
    """Take an informational message. Raises IkeRefused or IsakmpMalformed, and then nothing has changed."""
    header, messenger = received.header, ike.messenger
    if not header.encrypted:
        arrived, _ = messenger.open(received, b"")
        said = read_notifications(arrived)
        messenger.accepted(arrived)
        _receive_in_clear(now, ike, arrived, said)
        return
    keys = ike.phase1.keys
    if keys is None:
        raise IkeRefused(Reason.IKE_FLAGS, "there are no keys to decrypt with yet")
    # CONNECTED alone has the message id of the quick mode that it is about.
    in_quick_mode = ike.quick_modes.said(header.message_id) is not None
    if not in_quick_mode:
        messenger.check_unused(header.message_id)
    iv = exchange_iv(keys.hash, keys.cipher, ike.phase1.iv, header.message_id)
    arrived, _ = messenger.open(received, iv)
    _check_hash(keys, arrived.message)
    said, deletes = read_notifications(arrived), [parse_delete(body) for body in arrived.all(PayloadType.DELETE)]
    ike.heard(now, header.message_id, received.local, received.remote)
    if not in_quick_mode:
        messenger.finish(now, header.message_id, Said(received.digest, ()))
    messenger.accepted(arrived)
    obey(now, ike, arrived, said)
    for delete in deletes:
        if not ike.ended:
            _deleted(now, ike, delete)


def _check_hash(keys: IkeKeys, message: Message) -> None:
    """Raises IkeRefused if the hash is wrong, or does not come first."""
    first, *rest = message.payloads
    if first.type != PayloadType.HASH:
        raise IkeRefused(Reason.IKE_UNEXPECTED, "the hash must come first", NotifyType.INVALID_HASH_INFORMATION)
    covered = message.header.message_id.to_bytes(4, "big") + build_chain(tuple(rest))
    if not hmac.compare_digest(first.body, keys.prf_a(covered)):
        raise IkeRefused(Reason.IKE_AUTHENTICATION, "the hash is wrong")


def read_notifications(arrived: Arrived) -> list[Notification]:
    """All that a message says besides. Raises IsakmpMalformed."""
    return [parse_notification(body) for body in arrived.all(PayloadType.NOTIFICATION)]


def _receive_in_clear(now: float, ike: IkeSa, arrived: Arrived, notifications: Iterable[Notification]) -> None:
    for number in [said.type for said in notifications]:
        if number < FIRST_STATUS and not ike.up and not ike.ended:
            ike.fail(now, Reason.IKE_NOTIFIED, f"the peer refused with {notify_name(number)}", received=number)
        else:
            ike.tell(NotifyReceived(arrived.remote, number, protected=False))


def obey(now: float, ike: IkeSa, arrived: Arrived, notifications: Iterable[Notification]) -> None:
    """Do what the notifications of an encrypted message say."""
    for said in notifications:
        if ike.ended:
            return
        if said.type < FIRST_STATUS:
            _refused(now, ike, arrived, said)
        elif said.type in _STATUS:
            _STATUS[said.type](now, ike, arrived, said)
        else:
            ike.tell(NotifyReceived(arrived.remote, said.type, protected=True))


def _refused(now: float, ike: IkeSa, arrived: Arrived, said: Notification) -> None:
    if not ike.up:
        ike.fail(now, Reason.IKE_NOTIFIED, f"the peer refused with {notify_name(said.type)}", received=said.type)
    elif said.type in _NOT_AUTHENTICATED:
        ike.end(now, Reason.IKE_NOTIFIED, By.REMOTE, tell=False)
    else:
        ike.tell(NotifyReceived(arrived.remote, said.type, protected=True))
        ike.quick_modes.refused(now, arrived.message.header.message_id, said.spi, said.type)


def _asked(now: float, ike: IkeSa, arrived: Arrived, said: Notification) -> None:
    """R-U-THERE: answer, if it is about this SA (RFC 3706 section 5.4); a duplicate gets the same answer."""
    if ike.up and said.spi == ike.cookies and len(said.data) == 4:
        answer = ike.messenger.inform(now, notification(NotifyType.R_U_THERE_ACK, ike.cookies, said.data))
        finished = ike.messenger.finished(arrived.message.header.message_id)
        if finished is not None:
            finished.messages = (answer,)


def _acknowledged(now: float, ike: IkeSa, arrived: Arrived, said: Notification) -> None:
    ike.dead_peer_detection.acknowledged(now, said)


def _connected(now: float, ike: IkeSa, arrived: Arrived, said: Notification) -> None:
    ike.quick_modes.connected(now, arrived.message.header.message_id)


def _first_contact(now: float, ike: IkeSa, arrived: Arrived, said: Notification) -> None:
    if ike.up and said.spi == ike.cookies:
        ike.forget_others(now)


_STATUS: dict[int, Callable[[float, IkeSa, Arrived, Notification], None]] = {
    NotifyType.R_U_THERE: _asked,
    NotifyType.R_U_THERE_ACK: _acknowledged,
    NotifyType.CONNECTED: _connected,
    NotifyType.INITIAL_CONTACT: _first_contact,
}


def _deleted(now: float, ike: IkeSa, delete: Delete) -> None:
    """The peer receives no more on these: with ours that send to them, the other halves go too."""
    if delete.protocol == Protocol.ESP:
        for pair in ike.pairs_of_peer():
            if pair.outbound_spi in delete.spis:
                pair.end(now, Reason.IKE_DELETED, By.REMOTE, tell=False)
    elif delete.protocol == Protocol.ISAKMP:
        for other in ike.ike_sas_of_peer():
            if other.cookies in delete.spis:
                other.end(now, Reason.IKE_DELETED, By.REMOTE, tell=False)
