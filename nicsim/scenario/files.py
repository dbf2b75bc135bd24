"""Writing the captures of a run: one file with every point as an interface of its own, and one file for each point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nicsim.files import whole_binary_file
from nicsim.network.recording import Point, write_points


def write_captures(path: str, points: Sequence[Point]) -> list[Path]:
    """Write `OUT.pcapng`, and `OUT.POINT.pcapng` for each point; what was written. Raises InputError."""
    whole = Path(path)
    files = [(whole, points)]
    files += [(whole.with_name(f"{whole.stem}.{point.name}{whole.suffix}"), [point]) for point in points]
    for target, which in files:
        with whole_binary_file(str(target)) as stream:
            write_points(stream, which)
    return [target for target, _ in files]
