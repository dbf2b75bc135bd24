"""What came of a scenario: its lines in order, what was expected, and what was recorded. Read by the reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class LineKind(Enum):
    """What a line of the ladder is."""

    # A packet from one node to the next.
    PACKET = "packet"
    # What a node did or noticed.
    NOTE = "note"
    # A packet that ended at a node.
    DROP = "drop"


@dataclass(slots=True)
class Line:
    """One line of a ladder."""

    time: float
    kind: LineKind
    # The node; of a packet, the one it comes from.
    node: str
    text: str
    # Of a packet: where it goes, addresses and ports as they are on this link, its size, and what the link did to it.
    target: str = ""
    source_address: str = ""
    target_address: str = ""
    what: str = ""
    source_port: int | None = None
    target_port: int | None = None
    size: int = 0
    fate: str = ""
    # What the receiving end made of it: its NIC, by the label of the reason; then its transport, if it was ESP.
    nic: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be seen, and whether it was."""

    what: str
    passed: bool
    seen: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a program printed that ran on a node."""

    node: str
    command: str
    lines: tuple[str, ...]


@dataclass(slots=True)
class ScenarioResult:
    """One run."""

    name: str
    about: str
    seed: str
    # In the order of the columns.
    nodes: tuple[str, ...]
    lines: list[Line] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    transcripts: list[Transcript] = field(default_factory=list)
    # Virtual time when it ended.
    ended: float = 0.0

    @property
    def passed(self) -> bool:
        """Everything that must be seen was seen."""
        return all(check.passed for check in self.checks)
