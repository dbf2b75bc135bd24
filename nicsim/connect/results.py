"""What a session shows while it goes, and what came of it. Read by the reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nicsim.events import Nat
from nicsim.holdings import Holdings


class LineKind(Enum):
    """What a line of the ladder is."""

    # A datagram or packet between the two ends.
    SENT = "sent"
    RECEIVED = "received"
    # What this host did or noticed.
    NOTE = "note"
    # Something that was refused, or ended without its result.
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class LadderLine:
    """One line of the ladder. Times are seconds since the session began."""

    time: float
    kind: LineKind
    text: str
    # UDP ports of what was sent or received, at this host and at the peer; 0 where there are none.
    local_port: int = 0
    remote_port: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a session, as it was just before its associations were deleted."""

    established: bool
    nat: Nat
    pings_sent: int
    pings_answered: int
    holdings: Holdings
    # The NIC's tables by name: rows in use, and rows there are.
    tables: dict[str, tuple[int, int]]
    # In milliseconds: least, mean and largest, where there was an answer.
    round_trips: tuple[float, float, float] | None = None
    # One sentence, where something ended the session before its end.
    failure: str | None = None
    interrupted: bool = False

    @property
    def good(self) -> bool:
        """Established, and every ping answered."""
        return self.established and self.failure is None and self.pings_answered == self.pings_sent
