"""What the tests of hostile messages share: a peer in the middle of something, and messages to spoil."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nicsim.events import (
    Endpoint,
    IkeUp,
    MessageDropped,
    OutboundUsable,
    UdpDatagram,
)
from nicsim.host.ike.config import Phase1Exchange
from nicsim.host.ike.keys import exchange_iv
from nicsim.host.ike.peer import IkePeer
from nicsim.host.ike.protection import seal
from nicsim.reasons import Reason
from nicsim.wire.isakmp import (
    ExchangeType,
    Header,
    Message,
    NotifyType,
    Payload,
    PayloadType,
    build_chain,
    parse_message,
)
from nicsim.wire.isakmp_payloads import (
    Attribute,
    Identification,
    Proposal,
    SecurityAssociation,
    Transform,
    parse_notification,
)
from tests.host.ike.couple import (
    A_NAT,
    Couple,
    PortNat,
    initiator,
    ours,
    phase1,
    phase2,
    responder,
    theirs,
)

MAIN, AGGRESSIVE = Phase1Exchange.MAIN, Phase1Exchange.AGGRESSIVE
STRANGER = Endpoint(bytes((198, 51, 100, 66)), 500)
COOKIE = b"stranger"
KE, NONCE = PayloadType.KEY_EXCHANGE, PayloadType.NONCE
SECURITY_ASSOCIATION = PayloadType.SECURITY_ASSOCIATION
NOTIFICATION, DELETE = PayloadType.NOTIFICATION, PayloadType.DELETE


def standing(peer: IkePeer) -> Any:
    """Everything that a hostile message might have changed."""
    daemon = peer._daemon
    return (
        {number: (ike.phase1, ike.up, len(ike.quick_modes)) for number, ike in daemon.ike_sas.items()},
        set(daemon.by_cookies),
        set(daemon.unanswered),
        set(daemon.answering),
        set(daemon.half_open),
        set(daemon.pairs),
        set(daemon.inbound_spis),
        set(daemon.paths),
        len(daemon.timers),
    )


def stopped_before(number: int, exchange: Phase1Exchange = MAIN) -> tuple[Couple, str, UdpDatagram]:
    """A negotiation that has come to message `number`, counted from 0, which is held: with whose it is."""
    policy = phase1(exchange=exchange, initial_contact=False)
    couple = Couple(initiator(), responder(theirs(policy, phase2(turned=True, pfs_group=1))), nat_a=PortNat(A_NAT))
    held: list[tuple[str, UdpDatagram]] = []

    def hold(sent: Any) -> bool:
        if len(couple.sent) <= number:
            return False
        held.append((sent.by, sent.datagram))
        return True

    couple.lose = hold
    couple.a.initiate(couple.now, ours(policy, phase2(pfs_group=1)))
    couple.run()
    couple.lose = lambda _: False
    by, datagram = held[0]
    # Everything that was held but this one is sent again later.
    return couple, by, datagram


def offer(couple: Couple, by: str, datagram: UdpDatagram, payload: bytes) -> tuple[Any, Any, list[Any]]:
    """Give a peer another payload in place of the datagram's: what it had before and after, and what it did."""
    receiver = couple.peers["b" if by == "a" else "a"]
    receiver.poll()
    before = standing(receiver)
    arriving = couple.through(by, replace(datagram, payload=payload))
    assert arriving is not None
    receiver.receive(couple.now, arriving)
    return before, standing(receiver), list(receiver.poll())


def goes_on(couple: Couple, by: str, datagram: UdpDatagram) -> None:
    """The negotiation ends well with the true message."""
    couple.carry(by, datagram)
    couple.run()
    couple.wait(30)
    for name in "ab":
        couple.one(name, IkeUp)
        couple.one(name, OutboundUsable)


MESSAGES = [(MAIN, number) for number in range(9)] + [(AGGRESSIVE, number) for number in range(6)]
every_message = pytest.mark.parametrize(("exchange", "number"), MESSAGES)


def first_message(**changes: Any) -> bytes:
    """A good first message of a stranger, but for the changes."""
    couple = Couple(initiator(), responder(theirs()))
    couple.a.initiate(couple.now, ours())
    couple.run()
    message = parse_message(couple.sent[0].datagram.payload)
    header = {name: changes.pop(name) for name in list(changes) if name in Header.__dataclass_fields__}
    built = replace(message, header=replace(message.header, **({"initiator_cookie": COOKIE} | header)), **changes)
    raw = built.build()
    length = header.get("length")
    return raw if length is None else raw[:24] + length.to_bytes(4, "big") + raw[28:]


def check_refused(peer: IkePeer, before: Any, reason: Reason | None, notify: NotifyType | None) -> None:
    out = list(peer.poll())
    assert standing(peer) == before
    dropped = [item for item in out if isinstance(item, MessageDropped)]
    assert [(one.reason, one.notify_sent) for one in dropped] == ([] if reason is None else [(reason, notify)])
    sent = [item for item in out if isinstance(item, UdpDatagram)]
    assert len(sent) == (notify is not None)
    for datagram in sent:
        assert datagram.destination == STRANGER
        message = parse_message(datagram.payload)
        assert message.header.exchange == ExchangeType.INFORMATIONAL
        assert not message.header.encrypted
        (payload,) = message.payloads
        said = parse_notification(payload.body)
        assert (said.type, said.spi) == (notify, message.header.initiator_cookie + message.header.responder_cookie)


def sealed(couple: Couple, name: str, exchange: ExchangeType, payloads: Callable[[Any, int], tuple[Payload, ...]],
           message_id: int = 0x1234, flags: int = 0) -> UdpDatagram:  # fmt: skip
    """A message of `name` under the keys of its only ISAKMP SA, whatever it says."""
    (ike,) = couple.peers[name]._daemon.ike_sas.values()
    keys = ike.phase1.keys
    header = Header(ike.phase1.initiator_cookie, ike.phase1.responder_cookie, 0, exchange, flags, message_id)
    message = Message(header, payloads(keys, message_id))
    raw, _ = seal(message, keys, exchange_iv(keys.hash, keys.cipher, ike.phase1.iv, message_id))
    marker = bytes(4) if ike.local.port == 4500 else b""
    return UdpDatagram(ike.local, ike.remote, marker + raw)


def hashed(*payloads: Payload, wrong: bool = False) -> Callable[[Any, int], tuple[Payload, ...]]:
    def build(keys: Any, message_id: int) -> tuple[Payload, ...]:
        value = keys.prf_a(message_id.to_bytes(4, "big") + build_chain(payloads))
        return (Payload(PayloadType.HASH, bytes(len(value)) if wrong else value), *payloads)

    return build


def up() -> Couple:
    couple = Couple(initiator(), responder(theirs()), nat_a=PortNat(A_NAT))
    couple.a.initiate(couple.now, ours())
    couple.run()
    couple.clear()
    return couple


ESP_SA = SecurityAssociation(
    (Proposal(1, 3, b"\1\2\3\4", (Transform(1, 12, tuple(Attribute.of(*one) for one in ((6, 128), (5, 2), (4, 3)))),)),)
)
SELECTORS = (
    Identification(4, bytes((10, 1, 2, 0, 255, 255, 255, 0))),
    Identification(4, bytes((10, 9, 0, 0, 255, 255, 255, 0))),
)


HOLES = Identification(4, b"\x0a\1\2\0\xff\0\xff\0")
BEYOND = Identification(4, b"\x0a\1\2\1\xff\xff\xff\0")


def quick(sa_: SecurityAssociation = ESP_SA, *more: Payload, ids: tuple[Identification, ...] = SELECTORS,
          nonce: bytes = b"n" * 16) -> tuple[Payload, ...]:  # fmt: skip
    return (
        Payload(PayloadType.SECURITY_ASSOCIATION, sa_.build()),
        Payload(PayloadType.NONCE, nonce),
        *(Payload(PayloadType.IDENTIFICATION, one.build()) for one in ids),
        *more,
    )


def esp(
    *attributes: tuple[int, int], id_: int = 12, spi: bytes = b"\1\2\3\4", protocol: int = 3
) -> SecurityAssociation:
    transform = Transform(1, id_, tuple(Attribute.of(*one) for one in attributes))
    return SecurityAssociation((Proposal(1, protocol, spi, (transform,)),))
