"""What a replay says: one result a frame, and the sums at the end. Plain data; report/ decides how it looks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from nicsim.reasons import Reason
from offload_oids import CryptoStatus


class Direction(Enum):
    """Where a frame goes, seen from the host whose NIC this is."""

    RX = "rx"
    TX = "tx"
    OTHER = "other"


class Kind(Enum):
    """What a frame is, judged by either UDP port, since a NAT moves one."""

    UDP_ESP = "udp-esp"
    ESP = "esp"
    AH = "ah"
    IKE = "ike"
    KEEPALIVE = "keepalive"
    FRAGMENT = "fragment"
    OTHER = "other"


@dataclass(slots=True)  # one a frame: not frozen, because freezing triples the cost of making one
class FrameResult:
    """Everything there is to say of one frame. Crypto fields and verdict are None where they do not apply."""

    frame: int
    time: float
    direction: Direction
    kind: Kind
    reason: Reason
    spi: int | None = None
    seq: int | None = None
    crypto_done: bool | None = None
    next_crypto_done: bool | None = None
    crypto_status: CryptoStatus | None = None
    opened_by: str | None = None
    host_verdict: str | None = None
    payload: bytes | None = None
    resealed: bool | None = None


@dataclass(slots=True)
class SaSummary:
    """One association of the file, and what became of its packets."""

    where: str
    spi: int
    direction: Direction | None = None
    """None: its SPI was never seen."""
    algorithms: str = ""
    mode: str = ""
    src: str = ""
    dst: str = ""
    """The addresses it was offloaded with, at the interface of this NIC."""
    oid: str | None = None
    software_reason: Reason | None = None
    software_detail: str = ""
    packets: int = 0
    opened_by_nic: int = 0
    opened_by_host: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ParserEntrySummary:
    """One parser row of the card at the end of the replay."""

    udp_type: str
    port: int
    associations: int
    """How many offloaded associations the host counts on it (N-PE-4); for the row of version 2, those it serves."""
    named: bool
    """False for version 2's own row, which no handle names (A-34)."""


@dataclass(slots=True)
class ReplaySummary:
    """The whole replay in numbers."""

    local: str
    profile: str
    frames: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    reasons: Counter[tuple[Direction, Reason]] = field(default_factory=Counter)
    associations: list[SaSummary] = field(default_factory=list)
    parser_entries: list[ParserEntrySummary] = field(default_factory=list)
    resealed_same: int = 0
    resealed_differently: int = 0
    time_backwards: int = 0
    notes: list[str] = field(default_factory=list)
    """What a reader should know: a cut capture, a local address that was found out, ..."""

    def count(self, result: FrameResult) -> None:
        """Add one frame."""
        self.frames += 1
        self.kinds[result.kind] += 1
        self.reasons[result.direction, result.reason] += 1
        if result.resealed is not None:
            self.resealed_same += result.resealed
            self.resealed_differently += not result.resealed


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as expected; `frame` is None for a count over the whole capture."""

    frame: int | None
    what: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class StoryStep:
    """One step of a frame's story: what was asked, the rule behind it, the bytes looked at, and what came of it."""

    question: str
    rule: str | None
    outcome: str
    offset: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Story:
    """A frame's way, told step by step."""

    result: FrameResult
    headline: str
    steps: tuple[StoryStep, ...]
    ending: str
    notes: tuple[str, ...] = ()
    """What holds for the whole replay, such as what the NIC is impaired by."""
