"""The anti-replay window against the published decisions and against a set of numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.host.replay_window import ReplayVerdict, ReplayWindow

VECTORS = Path(__file__).parents[1] / "vectors"
DECISIONS = json.loads((VECTORS / "replay_window.json").read_text())["vectors"]
GUESSES = json.loads((VECTORS / "esn_guess.json").read_text())["vectors"]
VERDICTS = {
    "accept": ReplayVerdict.NEW,
    "drop-duplicate": ReplayVerdict.DUPLICATE,
    "drop-old": ReplayVerdict.TOO_OLD,
    "drop-zero": ReplayVerdict.TOO_OLD,
}


def name(vector: dict[str, Any]) -> str:
    return str(vector["id"])


@pytest.mark.rule("N-RX-7")
@pytest.mark.parametrize("vector", DECISIONS, ids=name)
def test_window_decides_as_published(vector: dict[str, Any]) -> None:
    window = ReplayWindow(vector["window"])
    for sequence, result in zip(vector["sequence_numbers"], vector["results"], strict=True):
        verdict = window.check(sequence)
        assert verdict is VERDICTS[result]
        if verdict is ReplayVerdict.NEW:
            window.accept(sequence)


@pytest.mark.parametrize("vector", GUESSES, ids=name)
def test_high_half_is_guessed_as_published(vector: dict[str, Any]) -> None:
    window = ReplayWindow(vector["window"])
    window.top = int(vector["highest_authenticated"], 16)
    expected = vector["seq_high_to_use"]
    assert expected >= 0
    assert window.guess_high(int(vector["seq_low"], 16)) == expected


def test_guess_never_leaves_the_64_bit_space() -> None:
    window = ReplayWindow(64)
    window.accept(10)
    # The rule says -1, which no live association can mean: the number can only be ahead.
    assert window.guess_high(0xFFFFFFF0) == 0
    window.accept(2**64 - 1)
    assert window.guess_high(5) == 0
    assert window.check(5) is ReplayVerdict.TOO_OLD


def test_checking_changes_nothing() -> None:
    window = ReplayWindow(64)
    window.accept(7)
    assert [window.check(2**31) for _ in range(2)] == [ReplayVerdict.NEW] * 2
    assert window.top == 7
    assert window.check(7) is ReplayVerdict.DUPLICATE


def test_size_zero_lets_everything_through() -> None:
    window = ReplayWindow(0)
    for sequence in (5, 5, 0, 1):
        assert window.check(sequence) is ReplayVerdict.NEW
        window.accept(sequence)
    assert window.top == 5


def test_jump_over_the_whole_64_bit_space_is_one_cheap_step() -> None:
    window = ReplayWindow(4096)
    window.accept(1)
    window.accept(2**64 - 1)
    assert window.check(2**64 - 1) is ReplayVerdict.DUPLICATE
    assert window.check(2**64 - 4096) is ReplayVerdict.NEW
    assert window.check(2**64 - 4097) is ReplayVerdict.TOO_OLD


@given(
    size=st.sampled_from([1, 2, 31, 32, 64, 100, 4096]),
    start=st.sampled_from([0, 2**32 - 20, 2**40]),
    steps=st.lists(st.integers(-130, 200), max_size=80),
)
def test_window_agrees_with_a_set(size: int, start: int, steps: list[int]) -> None:
    window = ReplayWindow(size)
    seen: set[int] = set()
    sequence = start
    for step in steps:
        sequence = max(sequence + step, 0)
        top = max(seen, default=0)
        verdict = window.check(sequence)
        if sequence == 0 or sequence + size <= top:
            assert verdict is ReplayVerdict.TOO_OLD
        elif sequence in seen:
            assert verdict is ReplayVerdict.DUPLICATE
        else:
            assert verdict is ReplayVerdict.NEW
            window.accept(sequence)
            seen.add(sequence)
    assert window.top == max(seen, default=0)


@given(top=st.integers(1, 2**40), size=st.sampled_from([32, 64, 1024]), distance=st.integers(-1023, 2**31))
def test_guess_recovers_every_number_near_the_top(top: int, size: int, distance: int) -> None:
    window = ReplayWindow(size)
    window.accept(top)
    sequence = top + max(distance, 1 - size)
    if sequence > 0:
        assert window.guess_high(sequence % 2**32) == sequence // 2**32
