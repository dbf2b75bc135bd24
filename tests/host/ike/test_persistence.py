"""What is lost is said again, what comes twice changes nothing, and what nobody answers is given up."""

import random
from dataclasses import replace

import pytest

from nicsim.events import (
    AssociationsDeleted,
    AssociationsReady,
    ExchangeFailed,
    IkeDown,
    IkeUp,
    MessageDropped,
    OutboundUsable,
    Role,
)
from nicsim.host.ike.config import Patience, Phase1Exchange
from nicsim.reasons import Reason
from nicsim.wire.isakmp import ExchangeType
from tests.host.ike.couple import (
    A_NAT,
    Couple,
    PortNat,
    initiator,
    ours,
    phase1,
    responder,
    theirs,
)

MAIN, AGGRESSIVE = Phase1Exchange.MAIN, Phase1Exchange.AGGRESSIVE
# Messages of both phases until both sides are done.
MESSAGES = {MAIN: 9, AGGRESSIVE: 6}
every_message = pytest.mark.parametrize(
    ("exchange", "number"), [(exchange, number) for exchange, count in MESSAGES.items() for number in range(count)]
)


def couple_for(exchange: Phase1Exchange, **changes: object) -> Couple:
    # Aggressive mode says initial contact in a message of its own, which nothing waits for.
    policy = phase1(exchange=exchange, initial_contact=exchange is MAIN)
    couple = Couple(initiator(**changes), responder(theirs(policy), **changes), nat_a=PortNat(A_NAT))
    couple.a.initiate(couple.now, ours(policy))
    return couple


def check_up(couple: Couple) -> None:
    for name in ("a", "b"):
        couple.one(name, IkeUp)
        couple.one(name, OutboundUsable)
        assert couple.of(name, ExchangeFailed) == []
    there, here = couple.one("a", AssociationsReady), couple.one("b", AssociationsReady)
    assert there.outbound.keys == here.inbound.keys
    assert there.inbound.keys == here.outbound.keys


@every_message
def test_any_message_may_be_lost_once(exchange: Phase1Exchange, number: int) -> None:
    couple = couple_for(exchange)
    couple.lose = lambda sent: len(couple.sent) == number + 1
    couple.run()
    couple.lose = lambda _: False
    couple.wait(15)
    check_up(couple)


@every_message
def test_any_message_may_come_twice(exchange: Phase1Exchange, number: int) -> None:
    couple = couple_for(exchange)
    couple.meddle = lambda sent: [sent.datagram] * (2 if len(couple.sent) == number + 1 else 1)
    couple.run()
    couple.wait(10)
    check_up(couple)
    assert len({sent.datagram.payload for sent in couple.sent}) == MESSAGES[exchange]
    assert couple.of("a", MessageDropped) == couple.of("b", MessageDropped) == []


# The messages, counted from 0, that were answered last in their exchange, and the answer.
LAST = {MAIN: {4: 5, 7: 8}, AGGRESSIVE: {1: 2, 4: 5}}


@every_message
def test_a_late_duplicate_gets_the_last_answer_again_and_an_older_one_nothing(
    exchange: Phase1Exchange, number: int
) -> None:
    couple = couple_for(exchange)
    couple.run()
    messages = [sent.datagram.payload for sent in couple.sent]
    again = couple.sent[number]
    couple.clear()
    couple.carry(again.by, again.datagram)
    couple.run()
    answers = [messages[LAST[exchange][number]]] if number in LAST[exchange] else []
    assert [sent.datagram.payload for sent in couple.sent[1:]] == answers
    assert all(event.reason is Reason.IKE_REPLAYED for name in "ab" for event in couple.of(name, MessageDropped))
    assert all(isinstance(event, MessageDropped) for name in "ab" for event in couple.events[name])


@pytest.mark.parametrize("exchange", Phase1Exchange, ids=lambda one: one.value)
@pytest.mark.parametrize("seed", range(15))
def test_half_of_everything_may_be_lost(exchange: Phase1Exchange, seed: int) -> None:
    """With patience enough, it comes up in the end, or both know that it did not."""
    chance = random.Random(seed)
    couple = couple_for(exchange, patience=Patience(first=1, factor=1.2, retries=30))
    couple.lose = lambda _: chance.random() < 0.5
    couple.run()
    couple.wait(600)
    check_up(couple)


def test_an_initiator_repeats_itself_at_growing_intervals_and_gives_up() -> None:
    couple = couple_for(MAIN)
    couple.lose = lambda _: True
    start = couple.now
    times: list[float] = []
    couple.meddle = lambda sent: []
    couple.lose = lambda sent: times.append(couple.now - start) is None
    couple.run()
    couple.wait(1000)
    assert times == pytest.approx([0, 4, 11.2, 24.16, 47.488, 89.4784])
    assert len({sent.datagram.payload for sent in couple.sent}) == 1
    failed = couple.one("a", ExchangeFailed)
    assert (failed.reason, failed.exchange, failed.role) == (
        Reason.IKE_TIMED_OUT, ExchangeType.MAIN, Role.INITIATOR,
    )  # fmt: skip
    assert failed.connection == "to-b"
    assert couple.a.next_deadline() is None


@every_message
def test_a_peer_that_falls_silent_is_given_up_everywhere(exchange: Phase1Exchange, number: int) -> None:
    """Whatever message is the last to arrive, nobody waits for ever and nothing stays half made."""
    couple = couple_for(exchange)
    couple.lose = lambda sent: len(couple.sent) > number
    couple.run()
    couple.wait(2000)
    for name in ("a", "b"):
        failed, ready = couple.of(name, ExchangeFailed), couple.of(name, AssociationsReady)
        usable = couple.of(name, OutboundUsable)
        assert all(one.reason is Reason.IKE_TIMED_OUT for one in failed)
        if ready and not usable:
            assert couple.one(name, AssociationsDeleted).reason is Reason.IKE_NOT_CONFIRMED
    # Who began must know that it came to nothing, unless it did come to something.
    assert couple.of("a", ExchangeFailed) or couple.of("a", OutboundUsable)


def test_the_responder_of_quick_mode_repeats_its_message_until_the_last_one_comes() -> None:
    couple = couple_for(MAIN)
    couple.lose = lambda sent: len(couple.sent) == 9  # message three of quick mode
    couple.run()
    assert couple.of("b", OutboundUsable) == []
    couple.lose = lambda _: False
    couple.clear()
    couple.wait(5)
    assert [sent.by for sent in couple.sent] == ["b", "a"]
    couple.one("b", OutboundUsable)


def test_a_duplicate_from_another_port_is_answered_there() -> None:
    """The NAT forgot its mapping between two sendings of message three (digest ikev1.md section 10)."""
    couple = couple_for(MAIN)
    nat = couple.nats["a"]
    assert isinstance(nat, PortNat)
    couple.lose = lambda sent: len(couple.sent) == 4
    couple.run()
    nat.remap()
    couple.lose = lambda _: False
    couple.wait(10)
    check_up(couple)
    assert couple.sent[5].datagram.destination.port == nat.ports[couple.sent[2].datagram.source]


def test_an_exchange_that_is_over_is_forgotten_after_a_while() -> None:
    couple = couple_for(MAIN)
    couple.run()
    again = couple.sent[7].datagram  # message two of quick mode
    couple.wait(200)
    couple.clear()
    couple.carry("b", again)
    couple.run()
    # Not answered any more; but not taken for something new either.
    assert [sent.by for sent in couple.sent] == ["b"]
    assert couple.one("a", MessageDropped).reason is Reason.IKE_REPLAYED


def test_a_second_request_waits_for_the_same_phase_1() -> None:
    couple = couple_for(MAIN)
    second = replace(ours(phase1(initial_contact=True)), name="second")
    couple.a.initiate(couple.now, second)
    couple.lose = lambda _: True
    couple.run()
    couple.wait(1000)
    assert [failed.connection for failed in couple.of("a", ExchangeFailed)] == ["to-b", "second"]


def test_nothing_is_left_of_what_failed() -> None:
    couple = couple_for(MAIN)
    couple.lose = lambda sent: len(couple.sent) > 4
    couple.run()
    couple.wait(2000)
    assert couple.a.next_deadline() is couple.b.next_deadline() is None
    couple.a.close(couple.now)
    couple.b.close(couple.now)
    couple.run()
    assert couple.of("a", IkeDown) == couple.of("b", IkeDown) == []
