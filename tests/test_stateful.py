"""The whole NIC against the oracle: random moves on every kind of card, and every transition within bounds.

A duel (duel.py) puts the same to a NIC, whose rule monitor is on, and to the oracle, and compares what both know. The
same moves run by the hundred thousand in soak.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests import duel_moves
from tests.duel import KINDS, Duel, Kind
from tests.duel_walk import FEW, INTERRUPTIONS, MOVES, walk

T = TypeVar("T")


class NicAndOracle(RuleBasedStateMachine):
    """Random moves; hypothesis makes what fails short."""

    @initialize(kind=st.sampled_from(KINDS), serialise=st.booleans(), data=st.data())
    def begin(self, kind: Kind, serialise: bool, data: st.DataObject) -> None:
        self.duel = Duel(kind, serialise=serialise)
        self.happens(duel_moves.begin, data)

    def happens(self, move: duel_moves.Move, data: st.DataObject) -> None:
        def pick(items: Sequence[T]) -> T:
            return data.draw(st.sampled_from(list(items)))

        move(self.duel, pick)

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        self.happens(lambda duel, pick: duel_moves.move(duel, pick) and None, data)

    @invariant()
    def the_oracle_agrees(self) -> None:
        if hasattr(self, "duel"):
            self.duel.agree()

    def teardown(self) -> None:
        if hasattr(self, "duel"):
            self.duel.card.refusals = 0
            self.duel.finish()


NicAndOracle.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestNicAndOracle = pytest.mark.rule(
    "N-ADD-6", "N-OID-4", "N-OID-5", "N-DEL-4", "N-DEL-5", "N-RST-1", "N-RST-3", "N-RST-5", "N-V2-11", "A-33", "A-37"
)(NicAndOracle.TestCase)


@pytest.mark.rule("N-ADD-6", "N-DEL-4", "N-DEL-5", "N-RST-1", "N-RST-6", "N-RX-2", "N-TX-1", "N-V2-13", "A-26")
@pytest.mark.parametrize("serialise", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.profile}-{kind.abi.name}-{kind.rows}")
def test_random_walks_agree_on_every_kind_of_card(kind: Kind, serialise: bool) -> None:
    for seed in range(8):
        chance = random.Random(f"{kind} {serialise} {seed}")
        duel = Duel(kind, serialise=serialise)
        duel_moves.begin(duel, chance.choice)
        for _ in range(100):
            duel_moves.move(duel, chance.choice)
        duel.card.refusals = 0
        duel.finish()


@pytest.mark.rule("N-ADD-2", "N-ADD-3", "N-ADD-4", "N-ADD-6", "N-DEL-2", "N-DEL-3", "N-DEL-4", "N-RST-3", "A-6", "A-26")
def test_every_transition_within_two_associations_one_entry_and_one_pending_request() -> None:
    walked = walk({name: MOVES[name] for name in FEW}, INTERRUPTIONS)
    # Every move from every state, and every row operation of each refused, cut off by a reset and by a removal.
    assert walked.states == 114
    assert walked.moves == dict.fromkeys(FEW, walked.states)
    assert walked.interrupted == dict.fromkeys(INTERRUPTIONS, walked.operations)
    assert walked.operations == 506
