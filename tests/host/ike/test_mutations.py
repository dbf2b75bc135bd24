"""A small part of the long run of mutated messages (tests/soak_ike.py)."""

import random

import pytest

from tests.soak_ike import messages


@pytest.mark.parametrize("seed", range(20))
def test_mutated_messages_change_nothing_that_is_dropped(seed: int) -> None:
    messages(random.Random(f"{seed}"))
