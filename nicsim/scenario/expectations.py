"""What must be seen in a scenario: the `[[expectations]]` of its file. checks.py holds them against what was seen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nicsim.scenario.fields import LONGEST_RUN, Address, Count, Length, Name, Part, Port, Time


class _Counted(Part):
    """How often something must be seen, and when: at least once unless more is said."""

    count: Count | None = None
    at_least: Count | None = None
    at_most: Count | None = None
    after: Time = 0.0
    before: Time = LONGEST_RUN
    # What a reader should know: the sentence that the check is printed as.
    because: str = ""


class ReceivedExpectation(_Counted):
    """Datagrams that came to a plain host's port."""

    see: Literal["received"]
    node: Name
    port: Port | None = None
    source: Address | None = None
    source_port: Port | None = None
    length: Length | None = None


class CrossingExpectation(_Counted):
    """Packets on the link from one node to another."""

    see: Literal["crossing"]
    source: Name
    target: Name
    # "IKE", "ESP", "keepalive", ...: how the ladder begins its line.
    what: str | None = None
    source_port: Port | None = None
    port: Port | None = None
    source_address: Address | None = None
    target_address: Address | None = None
    size: int | None = None
    fate: Literal["carried", "lost", "duplicated", "late", "corrupted", "too big"] | None = None


class DroppedExpectation(_Counted):
    """Packets that ended at a node for a reason."""

    see: Literal["dropped"]
    node: Name
    # Part of the sentence that says why.
    why: str = ""


class NotedExpectation(_Counted):
    """What a node said of itself."""

    see: Literal["noted"]
    node: Name
    what: str


class VerdictExpectation(_Counted):
    """What a host's NIC and then its transport made of packets that came in."""

    see: Literal["verdict"]
    node: Name
    # A label of nicsim why: "opened", "ike", "sa-not-offloaded", ...
    nic: str | None = None
    # "accepted", "duplicate", "icv-bad", ...; what no ESP packet was has none.
    host: str | None = None
    what: str | None = None


class HoldingsExpectation(Part):
    """What a host with a NIC holds in the end; what is left out may be anything."""

    see: Literal["holdings"]
    node: Name
    # Associations, each direction counted.
    associations: Count | None = None
    on_nic: Count | None = None
    in_software: Count | None = None
    # Why, by the label, for every association in software.
    reason: str | None = None
    parser_entries: Count | None = None
    # Which: "IKE 500", "OTHER 4500".
    entries: list[str] | None = None
    # How many associations use them, together.
    references: Count | None = None
    because: str = ""


class PathMtusExpectation(Part):
    """What the tracepath of a node found, in order: its own link first."""

    see: Literal["path-mtus"]
    node: Name
    path_mtus: list[int]
    reached: bool = True
    because: str = ""


Expectation = Annotated[
    ReceivedExpectation
    | CrossingExpectation
    | DroppedExpectation
    | NotedExpectation
    | VerdictExpectation
    | HoldingsExpectation
    | PathMtusExpectation,
    Field(discriminator="see"),
]
