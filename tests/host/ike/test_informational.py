"""Notifications and deletes: what is believed, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from nicsim.events import (
    Endpoint,
    ExchangeFailed,
    MessageDropped,
    NotifyReceived,
    UdpDatagram,
)
from nicsim.reasons import Reason
from nicsim.wire.isakmp import (
    ExchangeType,
    Header,
    Message,
    NotifyType,
    Payload,
)
from nicsim.wire.isakmp_payloads import (
    Delete,
    Notification,
)
from tests.host.ike.couple import (
    A_ADDRESS,
    B_ADDRESS,
    Couple,
    initiator,
    ours,
    responder,
    theirs,
)
from tests.host.ike.hostile import COOKIE, DELETE, NOTIFICATION, STRANGER, hashed, sealed, standing, up

# --- informational ---------------------------------------------------------------------------------------------------


def test_deletes_and_notifications_in_clear_prove_nothing() -> None:
    couple = up()
    before = standing(couple.b)
    (ike,) = couple.b._daemon.ike_sas.values()
    (pair,) = couple.b._daemon.pairs.values()
    for payload in (
        Payload(DELETE, Delete(1, (ike.cookies,)).build()),
        Payload(DELETE, Delete(3, (pair.outbound_spi,)).build()),
        Payload(NOTIFICATION, Notification(NotifyType.AUTHENTICATION_FAILED, spi=ike.cookies).build()),
        Payload(NOTIFICATION, Notification(NotifyType.INITIAL_CONTACT, spi=ike.cookies).build()),
        Payload(NOTIFICATION, Notification(NotifyType.R_U_THERE, spi=ike.cookies, data=b"\0\0\0\1").build()),
    ):
        header = Header(ike.phase1.initiator_cookie, ike.phase1.responder_cookie, 0, 5, 0, 77)
        message = Message(header, (payload,)).build()
        couple.carry("a", UdpDatagram(Endpoint(A_ADDRESS, 4500), Endpoint(B_ADDRESS, 4500), bytes(4) + message))
    couple.run()
    assert standing(couple.b) == before
    assert [one.protected for one in couple.of("b", NotifyReceived)] == [False] * 3
    # Five came, nothing was answered.
    assert [sent.by for sent in couple.sent] == ["a"] * 5


def test_a_notification_is_never_answered() -> None:
    peer = Couple(initiator(), responder(theirs())).b
    for payload in (
        Message(Header(COOKIE, b"r" * 8, 0, 5, 0, 9), (Payload(NOTIFICATION, Notification(14).build()),)).build(),
        Message(Header(COOKIE, bytes(8), 0, 5, 0, 9), (Payload(NOTIFICATION, b"rubbish"),)).build(),
        Message(Header(COOKIE, bytes(8), 0, 5, 0x20, 9), ()).build(),
        Message(Header(COOKIE, bytes(8), 0, 5, 1, 9), (), b"x" * 32).build(),
    ):
        peer.receive(1.0, UdpDatagram(STRANGER, Endpoint(B_ADDRESS, 500), payload))
        out = list(peer.poll())
        assert [type(item) for item in out] == [MessageDropped]


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (hashed(Payload(DELETE, Delete(3, (b"\1\2\3\4",)).build()), wrong=True), Reason.IKE_AUTHENTICATION),
        (lambda keys, m: (Payload(DELETE, Delete(3, (b"\1\2\3\4",)).build()),), Reason.IKE_UNEXPECTED),
    ],
)
def test_an_informational_message_without_a_right_hash_changes_nothing(build: Any, reason: Reason) -> None:
    couple = up()
    before = standing(couple.b)
    couple.carry("a", sealed(couple, "a", ExchangeType.INFORMATIONAL, build))
    couple.run()
    assert couple.one("b", MessageDropped).reason is reason
    assert standing(couple.b) == before
    assert len(couple.sent) == 1


def test_unknown_deletes_and_unknown_notifications_change_nothing() -> None:
    couple = up()
    (ike,) = couple.b._daemon.ike_sas.values()
    (pair,) = couple.b._daemon.pairs.values()
    before = standing(couple.b)[:8]
    payloads = [
        Payload(DELETE, Delete(3, (b"\1\2\3\4",)).build()),
        # Our own inbound SPI is not one that the peer receives on.
        Payload(DELETE, Delete(3, (pair.inbound_spi,)).build()),
        Payload(DELETE, Delete(2, (pair.outbound_spi,)).build()),
        Payload(DELETE, Delete(1, (b"x" * 16,)).build()),
        Payload(NOTIFICATION, Notification(40000).build()),
        Payload(NOTIFICATION, Notification(9999).build()),
        Payload(NOTIFICATION, Notification(NotifyType.INITIAL_CONTACT, spi=b"x" * 16).build()),
        Payload(NOTIFICATION, Notification(NotifyType.R_U_THERE, spi=b"x" * 16, data=bytes(4)).build()),
        Payload(NOTIFICATION, Notification(NotifyType.R_U_THERE, spi=ike.cookies, data=bytes(3)).build()),
        Payload(NOTIFICATION, Notification(NotifyType.R_U_THERE_ACK, spi=ike.cookies, data=bytes(4)).build()),
        Payload(NOTIFICATION, Notification(NotifyType.CONNECTED, 3, b"\1\2\3\4").build()),
    ]
    for number, payload in enumerate(payloads, 1):
        couple.carry("a", sealed(couple, "a", ExchangeType.INFORMATIONAL, hashed(payload), number))
        couple.run()
    assert standing(couple.b)[:8] == before
    assert [one.number for one in couple.of("b", NotifyReceived)] == [40000, 9999]
    assert {sent.by for sent in couple.sent} == {"a"}


def test_a_replayed_delete_changes_nothing_and_a_duplicate_question_gets_the_same_answer() -> None:
    couple = up()
    (ike,) = couple.b._daemon.ike_sas.values()
    question = Payload(NOTIFICATION, Notification(NotifyType.R_U_THERE, spi=ike.cookies, data=b"\0\0\0\1").build())
    message = sealed(couple, "a", ExchangeType.INFORMATIONAL, hashed(question))
    for _ in range(3):
        couple.carry("a", message)
        couple.run()
    answers = [sent.datagram.payload for sent in couple.sent if sent.by == "b"]
    assert len(answers) == 3
    assert len(set(answers)) == 1
    couple.wait(1000)
    couple.clear()
    couple.carry("a", message)
    couple.run()
    assert couple.one("b", MessageDropped).reason is Reason.IKE_REPLAYED
    assert [sent.by for sent in couple.sent] == ["a"]


def test_a_refusal_in_clear_ends_a_phase_1_that_is_under_way() -> None:
    couple = Couple(initiator(), responder())
    couple.a.initiate(couple.now, ours())
    couple.run()
    failed = couple.one("a", ExchangeFailed)
    assert (failed.reason, failed.notify_received) == (Reason.IKE_NOTIFIED, NotifyType.NO_PROPOSAL_CHOSEN)
    assert couple.a.next_deadline() is None
