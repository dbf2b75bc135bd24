"""network/clock.py and network/chance.py: order, and the same again for the same seed."""

import hashlib

import pytest

from nicsim.errors import NicsimError
from nicsim.network import clock as clock_module
from nicsim.network.chance import Chance
from nicsim.network.clock import Clock


def test_actions_run_by_time_and_then_in_the_order_they_were_asked_for() -> None:
    clock, seen = Clock(), []
    for time, name in ((2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")):
        clock.at(time, lambda name=name: seen.append((clock.now, name)))  # type: ignore[misc]
    clock.run()
    assert seen == [(1.0, "a"), (1.0, "b"), (2.0, "c"), (2.0, "d")]


def test_time_stops_where_it_is_told_and_goes_on_from_there() -> None:
    clock, seen = Clock(), []
    clock.after(1.0, lambda: clock.after(1.0, lambda: seen.append(clock.now)))
    clock.run(until=1.5)
    assert (clock.now, seen) == (1.5, [])
    clock.run(until=2.0)
    assert (clock.now, seen) == (2.0, [2.0])


def test_a_cancelled_action_does_not_happen_and_the_past_is_now() -> None:
    clock, seen = Clock(), []
    clock.at(1.0, lambda: seen.append("cancelled")).cancel()
    clock.run(until=5.0)
    clock.at(1.0, lambda: seen.append(clock.now))
    clock.run()
    assert seen == [5.0]


def test_a_circle_without_time_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "MOST_ACTIONS", 100)
    clock = Clock()

    def again() -> None:
        clock.after(0.0, again)

    again()
    with pytest.raises(NicsimError, match="still busy"):
        clock.run()


def test_chance_is_the_named_function_of_its_seed() -> None:
    chance = Chance("7").child("link")
    stream = b"".join(hashlib.shake_256(f"7/link#{block}".encode()).digest(1024) for block in range(3))
    assert chance.octets(1000) + chance.octets(1500) + chance.octets(3) == stream[:2503]
    assert Chance("7").child("other").octets(8) != stream[:8]


@pytest.mark.parametrize("probability", [0.0, 0.01, 0.3, 1.0])
def test_something_happens_about_as_often_as_it_should(probability: float) -> None:
    chance = Chance("dice")
    times = sum(chance.happens(probability) for _ in range(10_000))
    assert abs(times - 10_000 * probability) <= (0 if probability in (0.0, 1.0) else 150)


def test_below_covers_its_range() -> None:
    chance = Chance("dice")
    assert {chance.below(6) for _ in range(200)} == set(range(6))
