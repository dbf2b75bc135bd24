"""The virtual time of a simulated network, and what is to happen when.

Nothing waits: `run` takes the earliest action, sets the time to its time, and calls it. Actions of the same instant
run in the order in which they were asked for, so a run depends on nothing but its input. Times are seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from nicsim.errors import NicsimError

MOST_ACTIONS = 50_000_000
"""Of one `run`; only a circle of actions that take no time can get there."""

Action = Callable[[], None]


class Timer:
    """An action that is to come, until it has run or is cancelled."""

    __slots__ = ("action", "time")

    def __init__(self, time: float, action: Action) -> None:
        self.time = time
        self.action: Action | None = action

    def cancel(self) -> None:
        """Forget the action; one that has run already is none the wiser."""
        self.action = None


class Clock:
    """Virtual time, which begins at 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Timer]] = []
        self._asked = 0

    def at(self, time: float, action: Action) -> Timer:
        """Have something happen at a time, or at once where that time is past."""
        timer = Timer(max(time, self.now), action)
        heapq.heappush(self._queue, (timer.time, self._asked, timer))
        self._asked += 1
        return timer

    def after(self, delay: float, action: Action) -> Timer:
        """Have something happen `delay` seconds from now."""
        return self.at(self.now + delay, action)

    def run(self, until: float | None = None) -> None:
        """Let everything happen up to and including a time, which it then is; without one, until nothing is left."""
        for _ in range(MOST_ACTIONS):
            if not self._queue or (until is not None and self._queue[0][0] > until):
                break
            self.now, _, timer = heapq.heappop(self._queue)
            if timer.action is not None:
                action, timer.action = timer.action, None
                action()
        else:
            raise NicsimError(f"the network is still busy at {self.now} s after {MOST_ACTIONS} actions")
        if until is not None:
            self.now = max(self.now, until)
