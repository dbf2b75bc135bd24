"""What the panel answers: one frozen dataclass for each kind of answer, with names and numbers ready to be shown.

Made by the commands and tables.py; report/panel.py decides how they look, as text and as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

from nicsim.panel.claims import Claims
from nicsim.panel.decode import Decoded


@dataclass(frozen=True, slots=True)
class Usage:
    """One command: how to write it, what it does, and an example."""

    name: str
    usage: str
    about: str
    example: str


@dataclass(frozen=True, slots=True)
class Help:
    """The commands."""

    commands: tuple[Usage, ...]


@dataclass(frozen=True, slots=True)
class Switched:
    """Whether offload is enabled now, and if not as asked, why not."""

    enabled: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Serviced:
    """What came of a reset or of another power state, and the power state now."""

    status: str
    power: str
    reason: str | None = None
    rule: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SaOutcome:
    """What became of one association: on the NIC with its handles, or in software with the reason."""

    spi: str
    direction: str
    on_nic: bool
    oid: str | None = None
    handle: str | None = None
    parser_handle: str | None = None
    status: str | None = None
    reason: str | None = None
    rule: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The associations of a file; `skipped` are between other hosts."""

    associations: tuple[SaOutcome, ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class Updated:
    """What came of telling the NIC the upper half of an association's sequence numbers."""

    spi: str
    handle: str
    high: int
    status: str
    reason: str | None = None
    rule: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """An association that is gone; no status where it was in software."""

    spi: str
    handle: str | None
    status: str | None
    reason: str | None = None
    rule: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OidAnswer:
    """What came of one request, with its buffer decoded."""

    oid: str
    kind: str
    status: str
    bytes_read: int
    bytes_written: int
    bytes_needed: int
    reason: str | None
    rule: str | None
    detail: str
    structures: tuple[Decoded, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that NDIS told the host by itself: a status, or a request that is done now."""

    what: str
    status: str
    reason: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """All of them since the last time, oldest first."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """What the NIC did with one frame off the wire, and the word it was indicated with."""

    frame: int | None
    reason: str
    rule: str | None
    sentence: str
    handle: str | None
    next_handle: str | None
    """The association of the transport portion, where both portions were checked."""
    parser_port: int | None
    crypto_done: bool
    next_crypto_done: bool
    sa_delete_request: bool
    crypto_status: str
    ipsec_word: str
    indicated: bool
    """Whether the frame went up at all; every frame should."""
    plaintext: str | None
    """The decrypted octets with padding and trailer; only of a packet that was opened."""
    deleted: tuple[str, ...] = ()
    """The SPIs that the host took off the NIC because the driver asked for room (N-SA-22)."""


@dataclass(frozen=True, slots=True)
class FramesAnswer:
    """What the NIC did with all frames of a capture."""

    frames: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a frame of the host, and what went onto the wire."""

    status: str
    reason: str
    rule: str | None
    sentence: str
    frame: str


@dataclass(frozen=True, slots=True)
class SaLine:
    """One association: a layer on the NIC by its row, or one that the host kept."""

    direction: str
    spi: str
    protocol: str
    mode: str
    src: str
    dst: str
    encapsulation: str
    src_port: int
    dst_port: int
    encryption: str
    encryption_key: str
    integrity: str
    integrity_key: str
    icv_length: int = 0
    esn: bool = False
    sequence_high: int = 0
    """With `esn` the upper half of the sequence numbers, as the NIC has it."""
    handle: str | None = None
    version: int | None = None
    slot: int | None = None
    parser_port: int | None = None
    packets: int = 0
    failed: int = 0
    reason: str | None = None
    """Why it is in software; None for one on the NIC."""
    rule: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ParserLine:
    """One parser row, what it is known by, and the associations whose datagrams are found through it."""

    slot: int
    port: int
    udp_type: str
    handle: str | None
    """None for the row that version 2 brings, which no handle names (A-34)."""
    references: int
    """How many the host counts (N-PE-4)."""
    associations: tuple[str, ...]
    """SPIs of inbound associations."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What happened since the session began."""

    requests: dict[str, int]
    """By OID and status."""
    received: dict[str, int]
    """By reason."""
    sent: dict[str, int]
    """By reason."""


@dataclass(frozen=True, slots=True)
class Stats:
    """How full the tables are, whether offload is enabled, and the counters."""

    enabled: bool
    power: str
    used: dict[str, int]
    capacity: dict[str, int]
    in_software: int
    impairments: tuple[str, ...]
    """What misbehaves, NAME or NAME=N."""
    counters: Counters


@dataclass(frozen=True, slots=True)
class Dump:
    """The tables that were asked for; None for the others."""

    sas: tuple[SaLine, ...] | None = None
    parser: tuple[ParserLine, ...] | None = None
    stats: Stats | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    """A moment that was kept."""

    name: str
    associations: int
    parser_entries: int


@dataclass(frozen=True, slots=True)
class Change:
    """One value that is another now."""

    what: str
    before: str | int | None
    after: str | int | None


@dataclass(frozen=True, slots=True)
class Diff:
    """What lies between two moments."""

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class ImpairmentLine:
    """One way in which the NIC misbehaves now."""

    name: str
    boundary: str
    story: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Impairments:
    """All of them, the innermost first."""

    active: tuple[ImpairmentLine, ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The session is over."""


Answer = (
    Help | Claims | Switched | Serviced | Impairments | SaOutcome | Loaded | Updated | Deleted | OidAnswer
    | Events | FrameAnswer | FramesAnswer | Sent | Dump | Counters | Marked | Diff | Goodbye
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """What was wrong with a command, in one sentence; the reason and the rule where there is one behind it."""

    message: str
    reason: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One command and its answer, or what was wrong with it. `command` is the bare name: the line may hold keys."""

    line: int
    command: str
    answer: Answer | None = None
    error: Failure | None = None
