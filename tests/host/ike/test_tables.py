"""The tables of the exchanges: every row leads on, every exchange ends, and nothing moves that has no row."""

from dataclasses import replace

import pytest

from nicsim.events import AssociationsDeleted, MessageDropped, OutboundUsable, Role
from nicsim.host.ike import aggressive_mode, main_mode, quick_mode
from nicsim.host.ike.exchange import Seal, State, Step
from nicsim.reasons import Reason
from nicsim.wire.isakmp import Payload, PayloadType, parse_message
from tests.host.ike.couple import Couple, initiator, ours, responder, theirs
from tests.host.ike.hostile import standing, stopped_before

TABLES = {"main": main_mode.STEPS, "aggressive": aggressive_mode.STEPS, "quick": quick_mode.STEPS}
# Messages of each exchange, and where its initiator is after the first.
MESSAGES = {"main": 6, "aggressive": 3, "quick": 3}


@pytest.mark.parametrize("name", TABLES)
def test_the_two_roles_take_turns_until_both_are_done(name: str) -> None:
    """Each answer is what the other side's next row waits for, in clear or encrypted."""
    table: dict[tuple[Role, State], Step] = TABLES[name]  # type: ignore[type-arg, assignment]
    states = {Role.INITIATOR: State.SA_SENT, Role.RESPONDER: State.START}
    turn, said, messages = Role.RESPONDER, Seal.SEALED if name == "quick" else Seal.CLEAR, 1
    while said is not Seal.NOTHING:
        step = table[turn, states[turn]]
        assert step.comes in (said, Seal.EITHER)
        states[turn], said = step.then, step.goes
        messages += said is not Seal.NOTHING
        turn = Role.INITIATOR if turn is Role.RESPONDER else Role.RESPONDER
    assert set(states.values()) == {State.ESTABLISHED}
    assert messages == MESSAGES[name]


@pytest.mark.parametrize("name", TABLES)
def test_nothing_moves_what_is_done(name: str) -> None:
    assert not any(state is State.ESTABLISHED for _, state in TABLES[name])


@pytest.mark.parametrize("number", [2, 3])
def test_a_new_message_of_phase_1_after_its_end_changes_nothing(number: int) -> None:
    couple = Couple(initiator(), responder(theirs()))
    couple.a.initiate(couple.now, ours())
    couple.run()
    old = couple.sent[number]
    message = parse_message(old.datagram.payload)
    another = tuple(Payload(p.type, b"n" * 32) if p.type == PayloadType.NONCE else p for p in message.payloads)
    receiver = "b" if old.by == "a" else "a"
    couple.clear()
    before = standing(couple.peers[receiver])
    couple.carry(old.by, replace(old.datagram, payload=replace(message, payloads=another).build()))
    couple.run()
    assert couple.one(receiver, MessageDropped).reason is Reason.IKE_UNEXPECTED
    assert standing(couple.peers[receiver]) == before


def test_a_pair_that_is_deleted_before_its_quick_mode_is_over_is_never_used() -> None:
    couple, by, datagram = stopped_before(8)
    (pair,) = couple.b._daemon.pairs
    couple.b.delete(couple.now, pair)
    couple.run()
    couple.one("b", AssociationsDeleted)
    couple.carry(by, datagram)
    couple.run()
    assert couple.of("b", OutboundUsable) == []
