"""Time for one peer: things to do later, and messages to say again until something comes."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable

Action = Callable[[float], None]


class Timer:
    """Something to do at a time, unless it is stopped before."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Action) -> None:
        self.when = when
        self.action: Action | None = action


class Timers:
    """All of a peer's timers, the next one first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._running = 0

    def start(self, when: float, action: Action) -> Timer:
        """Call `action(now)` once `tick` sees that time come."""
        timer = Timer(when, action)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        self._running += 1
        return timer

    def stop(self, timer: Timer | None) -> None:
        """Forget a timer; one that has run or was stopped before is no error."""
        if timer is not None and timer.action is not None:
            timer.action = None
            self._running -= 1
            if len(self._heap) > 64 and self._running < len(self._heap) // 2:
                self._heap = [entry for entry in self._heap if entry[2].action is not None]
                heapq.heapify(self._heap)

    def tick(self, now: float) -> None:
        """Run everything whose time has come, also what it starts for a time that has come too."""
        while self._heap and self._heap[0][0] <= now:
            action = heapq.heappop(self._heap)[2]
            if action.action is not None:
                run, action.action = action.action, None
                self._running -= 1
                run(now)

    def next(self) -> float | None:
        """When the next one is due."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return self._running


class Repetition:
    """Says the same datagrams again at growing intervals, and gives up in the end (digest ikev1.md section 10)."""

    def __init__(
        self,
        timers: Timers,
        now: float,
        intervals: Iterable[float],
        again: Callable[[float], None] | None,
        give_up: Action,
    ) -> None:
        """`again` says it once more; None only waits, for as long as saying it would have taken."""
        self._timers = timers
        self._intervals = list(intervals)
        self._again = again
        self._give_up = give_up
        first = self._intervals.pop(0)
        if again is None:
            first += sum(self._intervals)
            self._intervals = []
        self._timer = timers.start(now + first, self._due)

    def _due(self, now: float) -> None:
        if not self._intervals or self._again is None:
            self._give_up(now)
            return
        self._again(now)
        self._timer = self._timers.start(now + self._intervals.pop(0), self._due)

    def stop(self) -> None:
        """Something came."""
        self._timers.stop(self._timer)
