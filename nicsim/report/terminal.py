"""The terminal: a console that colours only there, and a progress bar for what takes longer than a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

WIDTH_ELSEWHERE = 160
"""Columns where the output is no terminal."""
SHOWN_AFTER = 1.0
"""Seconds of work before a progress bar appears."""
ITEMS_BETWEEN_LOOKS = 512

Item = TypeVar("Item")


def console_for(stream: TextIO) -> Console:
    """A console on a stream; wide and plain where the stream is no terminal."""
    return Console(file=stream, highlight=False, width=None if stream.isatty() else WIDTH_ELSEWHERE)


def with_progress(
    items: Iterable[Item], done: Callable[[], int], total: int | None, stream: TextIO, clock: Callable[[], float]
) -> Iterator[Item]:
    """Pass items on; on a terminal, show how far `done` is once the work has taken a second."""
    if not stream.isatty():
        yield from items
        return
    started, progress = clock(), None
    try:
        for number, item in enumerate(items):
            yield item
            if number % ITEMS_BETWEEN_LOOKS == 0:
                if progress is None and clock() - started > SHOWN_AFTER:
                    columns = TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
                    progress = Progress(*columns, console=console_for(stream), transient=True)
                    task = progress.add_task("replaying", total=total)
                    progress.start()
                if progress is not None:
                    progress.update(task, completed=done())
    finally:
        if progress is not None:
            progress.stop()
