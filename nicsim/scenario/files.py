"""Writing the captures of a run: one file with every point as an interface of its own, and one file for each point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nicsim.errors import InputError
from nicsim.network.recording import Point, write_points


def write_captures(path: str, points: Sequence[Point]) -> list[Path]:
    """Write `OUT.pcapng`, and `OUT.POINT.pcapng` for each point; what was written. Raises InputError."""
    whole = Path(path)
    files = [(whole, points)]
    files += [(whole.with_name(f"{whole.stem}.{point.name}{whole.suffix}"), [point]) for point in points]
    for target, which in files:
        try:
            with target.open("wb") as stream:
                write_points(stream, which)
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror}") from None
    return [target for target, _ in files]
