"""Phase 1 messages that must change nothing: refused with the right reason and notification.

Each meets a peer that is in the middle of something; afterwards everything the peer has is as before, and the
negotiation goes on to its end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nicsim.events import (
    Endpoint,
    ExchangeFailed,
    MessageDropped,
    UdpDatagram,
)
from nicsim.host.ike.config import Phase1Exchange
from nicsim.reasons import Reason
from nicsim.wire.isakmp import (
    HEADER_LENGTH,
    Flags,
    Message,
    NotifyType,
    Payload,
    PayloadType,
    parse_message,
)
from nicsim.wire.isakmp_payloads import (
    Attribute,
    Fragment,
    Proposal,
    SecurityAssociation,
    Transform,
    parse_security_association,
)
from tests.host.ike.couple import (
    B_ADDRESS,
    Couple,
    initiator,
    responder,
    theirs,
)
from tests.host.ike.hostile import (
    KE,
    NONCE,
    SECURITY_ASSOCIATION,
    STRANGER,
    check_refused,
    every_message,
    first_message,
    goes_on,
    offer,
    standing,
    stopped_before,
)

# --- truncated, extended, mutated ------------------------------------------------------------------------------------


@every_message
def test_a_message_cut_at_any_octet_changes_nothing(exchange: Phase1Exchange, number: int) -> None:
    couple, by, datagram = stopped_before(number, exchange)
    for length in range(len(datagram.payload)):
        cut = datagram.payload[:length]
        before, after, _ = offer(couple, by, datagram, cut)
        assert after == before, length
        # With a length that does not lie, too.
        start = 4 if cut.startswith(bytes(4)) else 0
        if length >= start + HEADER_LENGTH:
            honest = cut[: start + 24] + (length - start).to_bytes(4, "big") + cut[start + HEADER_LENGTH :]
            before, after, _ = offer(couple, by, datagram, honest)
            assert after == before, length
    goes_on(couple, by, datagram)


@every_message
@pytest.mark.parametrize("seed", range(3))
def test_random_octets_change_nothing(exchange: Phase1Exchange, number: int, seed: int) -> None:
    chance = random.Random(seed)
    couple, by, datagram = stopped_before(number, exchange)
    header = datagram.payload[: 4 + HEADER_LENGTH if datagram.payload.startswith(bytes(4)) else HEADER_LENGTH]
    for _ in range(40):
        rubbish = header + chance.randbytes(len(datagram.payload) - len(header))
        before, after, _ = offer(couple, by, datagram, rubbish)
        assert after == before
    goes_on(couple, by, datagram)


# --- the header ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "reason", "notify"),
    [
        (lambda: first_message(version=0x20), Reason.IKE_VERSION, NotifyType.INVALID_MAJOR_VERSION),
        (lambda: first_message(version=0x11), Reason.IKE_VERSION, NotifyType.INVALID_MINOR_VERSION),
        (lambda: first_message(flags=0x10), Reason.IKE_FLAGS, NotifyType.INVALID_FLAGS),
        (lambda: first_message(flags=Flags.ENCRYPTION), Reason.IKE_FLAGS, NotifyType.INVALID_FLAGS),
        (lambda: first_message(message_id=5), Reason.IKE_MESSAGE_ID, NotifyType.INVALID_MESSAGE_ID),
        (lambda: first_message(responder_cookie=b"r" * 8), Reason.IKE_COOKIE, NotifyType.INVALID_COOKIE),
        (lambda: first_message(initiator_cookie=bytes(8)), Reason.IKE_COOKIE, None),
        (lambda: first_message(exchange=32), Reason.IKE_COOKIE, NotifyType.INVALID_COOKIE),
        (lambda: first_message(exchange=0), Reason.IKE_COOKIE, NotifyType.INVALID_COOKIE),
        (lambda: first_message(exchange=4), Reason.IKE_EXCHANGE_TYPE, NotifyType.UNSUPPORTED_EXCHANGE_TYPE),
        (lambda: first_message(length=40), Reason.IKE_MALFORMED, NotifyType.UNEQUAL_PAYLOAD_LENGTHS),
        (lambda: first_message(length=0xFFFFFFFF), Reason.IKE_MALFORMED, NotifyType.UNEQUAL_PAYLOAD_LENGTHS),
        (lambda: first_message(payloads=()), Reason.IKE_UNEXPECTED, NotifyType.PAYLOAD_MALFORMED),
        (lambda: b"\x01" * 27, Reason.IKE_MALFORMED, None),
        (lambda: b"", None, None),
        (lambda: b"\xff", None, None),
    ],
)
def test_a_first_message_with_a_wrong_header_is_refused(
    payload: Callable[[], bytes], reason: Reason | None, notify: NotifyType | None
) -> None:
    peer = Couple(initiator(), responder(theirs())).b
    before = standing(peer)
    peer.receive(1.0, UdpDatagram(STRANGER, Endpoint(B_ADDRESS, 500), payload()))
    check_refused(peer, before, reason, notify)


# --- payloads --------------------------------------------------------------------------------------------------------


def with_sa(body: bytes) -> bytes:
    return first_message(payloads=(Payload(PayloadType.SECURITY_ASSOCIATION, body),))


def sa(*attributes: Attribute, **changes: Any) -> bytes:
    transform = Transform(1, changes.pop("transform_id", 1), attributes)
    proposal = Proposal(1, changes.pop("protocol", 1), b"", (transform,) * changes.pop("count", 1))
    return SecurityAssociation((proposal,) * changes.pop("proposals", 1), **changes).build()


GOOD = (Attribute.of(1, 7), Attribute.of(14, 128), Attribute.of(2, 2), Attribute.of(4, 2), Attribute.of(3, 1))
LIFE = (Attribute.of(11, 1), Attribute.of(12, 3600))


@pytest.mark.parametrize(
    ("payload", "reason", "notify"),
    [
        (lambda: with_sa(sa(*GOOD, doi=2)), Reason.IKE_DOI, NotifyType.DOI_NOT_SUPPORTED),
        (lambda: with_sa(sa(*GOOD, doi=0)), Reason.IKE_DOI, NotifyType.DOI_NOT_SUPPORTED),
        (lambda: with_sa(sa(*GOOD, situation=3)), Reason.IKE_DOI, NotifyType.SITUATION_NOT_SUPPORTED),
        (lambda: with_sa(sa(*GOOD)[:-1]), Reason.IKE_PROPOSAL_SYNTAX, NotifyType.BAD_PROPOSAL_SYNTAX),
        (lambda: with_sa(b""), Reason.IKE_PROPOSAL_SYNTAX, NotifyType.BAD_PROPOSAL_SYNTAX),
        (lambda: with_sa(sa(*GOOD, proposals=2)), Reason.IKE_PROPOSAL_SYNTAX, NotifyType.BAD_PROPOSAL_SYNTAX),
        (lambda: with_sa(sa(*GOOD, protocol=3)), Reason.IKE_PROPOSAL_SYNTAX, NotifyType.INVALID_PROTOCOL_ID),
        (
            lambda: with_sa(sa(*GOOD, count=255, proposals=7)),
            Reason.IKE_PROPOSAL_SYNTAX,
            NotifyType.BAD_PROPOSAL_SYNTAX,
        ),
        (lambda: with_sa(sa(*GOOD, Attribute.of(2, 1))), Reason.IKE_ATTRIBUTE, NotifyType.ATTRIBUTES_NOT_SUPPORTED),
        (lambda: with_sa(sa(*GOOD, *LIFE[:1])), Reason.IKE_ATTRIBUTE, NotifyType.ATTRIBUTES_NOT_SUPPORTED),
        (lambda: with_sa(sa(*GOOD, *LIFE[1:])), Reason.IKE_ATTRIBUTE, NotifyType.ATTRIBUTES_NOT_SUPPORTED),
        (
            lambda: with_sa(sa(*GOOD, *LIFE, *LIFE[:1], Attribute.of(12, 9))),
            Reason.IKE_ATTRIBUTE,
            NotifyType.ATTRIBUTES_NOT_SUPPORTED,
        ),
        (
            lambda: first_message(payloads=(Payload(PayloadType.SECURITY_ASSOCIATION, sa(*GOOD)),) * 2),
            Reason.IKE_UNEXPECTED,
            NotifyType.PAYLOAD_MALFORMED,
        ),
        (lambda: first_message(payloads=(Payload(200, b""),)), Reason.IKE_MALFORMED, NotifyType.INVALID_PAYLOAD_TYPE),
        (
            lambda: first_message(payloads=(Payload(PayloadType.VENDOR_ID, b"v"),) * 65),
            Reason.IKE_MALFORMED,
            NotifyType.PAYLOAD_MALFORMED,
        ),
        (lambda: first_message(padding=b"\0"), Reason.IKE_MALFORMED, NotifyType.UNEQUAL_PAYLOAD_LENGTHS),
        (
            lambda: first_message(payloads=(Payload(PayloadType.FRAGMENT, Fragment(1, 1, True, b"x").build()),)),
            Reason.IKE_FRAGMENT,
            None,
        ),
    ],
)  # fmt: skip
def test_a_first_message_with_wrong_payloads_is_refused(
    payload: Callable[[], bytes], reason: Reason, notify: NotifyType
) -> None:
    peer = Couple(initiator(), responder(theirs())).b
    before = standing(peer)
    peer.receive(1.0, UdpDatagram(STRANGER, Endpoint(B_ADDRESS, 500), payload()))
    check_refused(peer, before, reason, notify)


@pytest.mark.parametrize(
    "body",
    [
        sa(*GOOD[:1], Attribute.of(14, 64), *GOOD[2:]),
        sa(Attribute.of(1, 3), *GOOD[1:]),
        sa(*GOOD[:2], Attribute.of(2, 3), *GOOD[3:]),
        sa(*GOOD[:3], Attribute.of(4, 3), *GOOD[4:]),
        sa(*GOOD[:4], Attribute.of(3, 65001)),
        sa(*GOOD, Attribute.of(5, 2)),
        sa(*GOOD, Attribute.of(6, 9)),
        sa(*GOOD, Attribute.of(16384, 1)),
        sa(*GOOD, transform_id=2),
        sa(Attribute.of(1, 5), Attribute.of(14, 192), *GOOD[2:]),
        sa(Attribute.of(1, 7), *GOOD[2:]),
        sa(),
    ],
)
def test_a_proposal_with_something_that_we_do_not_do_is_not_chosen(body: bytes) -> None:
    peer = Couple(initiator(), responder(theirs())).b
    before = standing(peer)
    peer.receive(1.0, UdpDatagram(STRANGER, Endpoint(B_ADDRESS, 500), with_sa(body)))
    failed = [item for item in peer.poll() if isinstance(item, ExchangeFailed)]
    assert [(one.reason, one.notify_sent) for one in failed] == [
        (Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN)
    ]
    assert standing(peer) == before


def test_the_first_acceptable_transform_of_the_offer_is_chosen() -> None:
    bad, good = Transform(1, 1, GOOD[:3]), Transform(7, 1, (*GOOD, *LIFE))
    body = SecurityAssociation((Proposal(3, 1, b"spi?", (bad, good, Transform(9, 1, GOOD))),)).build()
    peer = Couple(initiator(), responder(theirs())).b
    peer.receive(1.0, UdpDatagram(STRANGER, Endpoint(B_ADDRESS, 500), with_sa(body)))
    (answer,) = [item for item in peer.poll() if isinstance(item, UdpDatagram)]
    (proposal,) = parse_security_association(parse_message(answer.payload).payloads[0].body).proposals
    assert proposal == Proposal(3, 1, b"", (good,))


# --- later messages of phase 1 ---------------------------------------------------------------------------------------


def rebuilt(datagram: UdpDatagram, change: Callable[[Message], Message]) -> bytes:
    return change(parse_message(datagram.payload)).build()


def replacing(type_: PayloadType, body: Callable[[bytes], bytes]) -> Callable[[Message], Message]:
    def change(message: Message) -> Message:
        payloads = tuple(Payload(p.type, body(p.body)) if p.type == type_ else p for p in message.payloads)
        return replace(message, payloads=payloads)

    return change


def without(type_: PayloadType) -> Callable[[Message], Message]:
    return lambda message: replace(message, payloads=tuple(p for p in message.payloads if p.type != type_))


def headed(**changes: Any) -> Callable[[Message], Message]:
    return lambda message: replace(message, header=replace(message.header, **changes))


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize(
    ("change", "reason", "notify"),
    [
        (replacing(KE, lambda b: b[1:]), Reason.IKE_KEY_EXCHANGE, NotifyType.INVALID_KEY_INFORMATION),
        (replacing(KE, lambda b: b"\0" + b), Reason.IKE_KEY_EXCHANGE, NotifyType.INVALID_KEY_INFORMATION),
        (replacing(KE, lambda b: bytes(len(b))), Reason.IKE_KEY_EXCHANGE, NotifyType.INVALID_KEY_INFORMATION),
        (replacing(KE, lambda b: b"\xff" * len(b)), Reason.IKE_KEY_EXCHANGE, NotifyType.INVALID_KEY_INFORMATION),
        (replacing(NONCE, lambda b: b[:7]), Reason.IKE_NONCE, NotifyType.PAYLOAD_MALFORMED),
        (replacing(NONCE, lambda b: b"n" * 257), Reason.IKE_NONCE, NotifyType.PAYLOAD_MALFORMED),
        (without(KE), Reason.IKE_UNEXPECTED, NotifyType.PAYLOAD_MALFORMED),
        (without(NONCE), Reason.IKE_UNEXPECTED, NotifyType.PAYLOAD_MALFORMED),
        (headed(flags=Flags.ENCRYPTION), Reason.IKE_FLAGS, NotifyType.INVALID_FLAGS),
        (headed(message_id=1), Reason.IKE_MESSAGE_ID, NotifyType.INVALID_MESSAGE_ID),
        (headed(exchange=4), Reason.IKE_EXCHANGE_TYPE, NotifyType.INVALID_EXCHANGE_TYPE),
        (headed(exchange=6), Reason.IKE_EXCHANGE_TYPE, NotifyType.INVALID_EXCHANGE_TYPE),
        (headed(exchange=32), Reason.IKE_UNEXPECTED, None),
        (headed(responder_cookie=b"unknown!"), Reason.IKE_COOKIE, NotifyType.INVALID_COOKIE),
        (headed(initiator_cookie=b"unknown!"), Reason.IKE_COOKIE, NotifyType.INVALID_COOKIE),
    ],
)
def test_a_wrong_key_exchange_message_changes_nothing(
    number: int, change: Callable[[Message], Message], reason: Reason, notify: NotifyType | None
) -> None:
    couple, by, datagram = stopped_before(number)
    before, after, out = offer(couple, by, datagram, rebuilt(datagram, change))
    assert after == before
    (dropped,) = [item for item in out if isinstance(item, MessageDropped)]
    assert (dropped.reason, dropped.notify_sent) == (reason, notify)
    goes_on(couple, by, datagram)


@pytest.mark.parametrize(
    "change",
    [
        replacing(SECURITY_ASSOCIATION, lambda b: b.replace(bytes.fromhex("80010007"), bytes.fromhex("80010005"))),
        replacing(SECURITY_ASSOCIATION, lambda b: b[:-1] + b"\1"),
        replacing(SECURITY_ASSOCIATION, lambda _: sa(*GOOD)),
        replacing(SECURITY_ASSOCIATION, lambda _: sa(*GOOD, *LIFE, count=2)),
    ],
)
def test_an_answer_that_is_not_one_of_the_offers_ends_phase_1(change: Callable[[Message], Message]) -> None:
    couple, by, datagram = stopped_before(1)
    _, _, out = offer(couple, by, datagram, rebuilt(datagram, change))
    (failed,) = [item for item in out if isinstance(item, ExchangeFailed)]
    assert (failed.reason, failed.notify_sent) == (Reason.IKE_PROPOSAL_CHANGED, NotifyType.BAD_PROPOSAL_SYNTAX)
    assert couple.a.next_deadline() is None


def test_an_answer_without_a_cookie_changes_nothing() -> None:
    couple, by, datagram = stopped_before(1)
    before, after, out = offer(couple, by, datagram, rebuilt(datagram, headed(responder_cookie=bytes(8))))
    assert after == before
    assert [item.reason for item in out if isinstance(item, MessageDropped)] == [Reason.IKE_COOKIE]
    goes_on(couple, by, datagram)


@pytest.mark.parametrize("number", [4, 5])
def test_an_encrypted_message_with_any_octet_changed_changes_nothing_or_ends_phase_1(number: int) -> None:
    """Most are no message any more; where only the hash is spoiled, the digest demands an end (section 11)."""
    couple, by, datagram = stopped_before(number)
    ended = 0
    for at in range(4 + HEADER_LENGTH, len(datagram.payload)):
        spoiled = datagram.payload[:at] + bytes((datagram.payload[at] ^ 0x10,)) + datagram.payload[at + 1 :]
        before, after, out = offer(couple, by, datagram, spoiled)
        failed = [item.reason for item in out if isinstance(item, ExchangeFailed)]
        if not failed:
            assert after == before
            continue
        assert failed[0] in (Reason.IKE_AUTHENTICATION, Reason.IKE_IDENTITY)
        ended += 1
        couple, by, datagram = stopped_before(number)  # again, with the same bytes
    assert ended
    goes_on(couple, by, datagram)
