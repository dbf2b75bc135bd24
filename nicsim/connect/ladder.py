"""The events of a session as lines of a ladder: IKE messages by their payloads, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from nicsim.connect.results import LadderLine, LineKind
from nicsim.events import (
    AddressIdentity,
    AssociationsDeleted,
    AssociationsReady,
    ExchangeFailed,
    HostEvent,
    IkeDown,
    IkeEvent,
    IkeUp,
    KeepaliveSent,
    MessageDropped,
    MessageSeen,
    Nat,
    NotifyReceived,
    PacketDropped,
    PeerMoved,
    SaPlaced,
)
from nicsim.reasons import Reason
from nicsim.wire.isakmp import ExchangeType, NotifyType

NATS = {
    Nat.NONE: "no NAT",
    Nat.LOCAL: "this host is behind a NAT",
    Nat.REMOTE: "the peer is behind a NAT",
    Nat.BOTH: "both are behind NATs",
    Nat.SOMEWHERE: "there is a NAT",
}


def lines_of(time: float, event: HostEvent | IkeEvent) -> Iterator[LadderLine]:
    """What one event shows; nothing for events of single packets."""
    match event:
        case MessageSeen():
            kind = LineKind.SENT if event.sent else LineKind.RECEIVED
            local, remote = (event.source, event.destination)[:: 1 if event.sent else -1]
            yield LadderLine(time, kind, message_text(event), local.port, remote.port)
        case KeepaliveSent():
            yield LadderLine(time, LineKind.SENT, "NAT keepalive", event.local.port, event.remote.port)
        case IkeUp():
            version = f"{event.natt_version}, {NATS[event.nat]}" if event.natt_version else "no NAT traversal"
            identity = f"the peer is {event.remote_identity}"
            yield _note(time, f"ISAKMP SA {event.ike} is up: {event.proposal}, {version}; {identity}")
        case AddressIdentity():
            yield _note(time, f"warning: behind a NAT, the {event.by.value} identity {event.identity} means nothing")
        case AssociationsReady():
            spis = f"0x{event.inbound.spi:08x} in, 0x{event.outbound.spi:08x} out"
            mode, rides = event.inbound.mode.value, event.inbound.encapsulation.value
            yield _note(time, f"pair {event.pair}: {spis}, {mode} mode, encapsulation {rides}")
        case SaPlaced():
            yield _note(time, placed_text(event))
        case PeerMoved():
            yield _note(time, f"the peer moved from {event.old} to {event.new}")
        case AssociationsDeleted():
            yield _note(time, f"pair {event.pair} is deleted by the {event.by.value} side: {event.reason}")
        case IkeDown():
            yield _note(time, f"ISAKMP SA {event.ike} is gone, by the {event.by.value} side: {event.reason}")
        case NotifyReceived():
            yield _note(time, f"the peer notifies {notify_name(event.number)}")
        case ExchangeFailed():
            yield LadderLine(time, LineKind.TROUBLE, f"{exchange_name(event.exchange)} failed: {failure_text(event)}")
        case MessageDropped():
            yield LadderLine(time, LineKind.TROUBLE, f"message from {event.source} dropped: {event.detail}")
        case PacketDropped():
            yield LadderLine(time, LineKind.TROUBLE, f"packet dropped, {event.reason}: {event.detail}")


def _note(time: float, text: str) -> LadderLine:
    return LadderLine(time, LineKind.NOTE, text)


def message_text(message: MessageSeen) -> str:
    """`main: SA VID*5`; a star behind the exchange is for a message that goes encrypted."""
    return (
        f"{exchange_name(message.exchange)}{'*' if message.encrypted else ''}: {' '.join(_counted(message.payloads))}"
    )


def _counted(payloads: Iterable[str]) -> Iterator[str]:
    for name, run in groupby(payloads):
        number = len(list(run))
        yield name if number == 1 else f"{name}*{number}"


def exchange_name(number: int) -> str:
    """`main`, `quick`, or the number of one that we do not know."""
    try:
        return ExchangeType(number).name.lower()
    except ValueError:
        return f"exchange {number}"


def notify_name(number: int) -> str:
    """The name of a notification, or its number."""
    try:
        return NotifyType(number).name
    except ValueError:
        return str(number)


def placed_text(placed: SaPlaced) -> str:
    """Where an association is, and why."""
    which = f"0x{placed.spi:08x} {'in' if placed.inbound else 'out'}"
    if placed.oid is not None:
        return f"{which}: offloaded by {placed.oid}"
    detail = f": {placed.detail}" if placed.detail else ""
    return f"{which}: in software, {placed.reason}{detail}"


def failure_text(failed: ExchangeFailed) -> str:
    """Why an exchange failed, in one sentence."""
    if failed.notify_received is not None:
        return f"the peer refused with {notify_name(failed.notify_received)}"
    if failed.reason is Reason.IKE_TIMED_OUT:
        return f"{failed.remote} does not answer"
    detail = failed.detail or failed.reason.sentence
    return f"authentication failed: {detail}" if failed.reason is Reason.IKE_AUTHENTICATION else detail
