"""How a session with a real peer looks: a ladder while it goes, tables at its end, one JSON object for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from nicsim.connect.results import LadderLine, LineKind, Outcome
from nicsim.report.holdings import associations_as_json, parser_entries_as_json, show_holdings

BETWEEN = 66
"""Characters between the two columns."""


def show_heads(console: Console, local: str, remote: str) -> None:
    """What the columns are."""
    console.print(f"{'':9} {local:>14}{'':{BETWEEN - 7}}{remote}", markup=False, soft_wrap=True)


def show_line(console: Console, line: LadderLine) -> None:
    """One line of the ladder."""
    console.print(ladder_text(line), markup=False, soft_wrap=True)


def ladder_text(line: LadderLine) -> str:
    """An arrow between the ports at both ends, or a remark behind the bars."""
    if line.kind in (LineKind.SENT, LineKind.RECEIVED):
        text = line.text if len(line.text) <= BETWEEN - 4 else line.text[: BETWEEN - 7] + "..."
        arrow = f" {text} ".center(BETWEEN - 1, "-")
        arrow = f"{arrow}>" if line.kind is LineKind.SENT else f"<{arrow}"
        return f"{line.time:9.3f} {line.local_port:>5} |{arrow}| {line.remote_port}"
    mark = "!" if line.kind is LineKind.TROUBLE else "*"
    return f"{line.time:9.3f} {'':>5} {mark} {line.text}"


def show_outcome(console: Console, outcome: Outcome) -> None:
    """The tables, and how it went."""
    console.print()
    if outcome.established:
        show_holdings(console, outcome.holdings)
        rows = ", ".join(f"{name} {used} of {there}" for name, (used, there) in outcome.tables.items())
        console.print(f"the NIC's rows in use: {rows}")
    if outcome.pings_sent:
        times = ""
        if outcome.round_trips is not None:
            times = "; round trips {:.2f}/{:.2f}/{:.2f} ms (least/mean/largest)".format(*outcome.round_trips)
        console.print(f"{outcome.pings_answered} of {outcome.pings_sent} pings answered{times}")
    if outcome.failure is not None:
        console.print(f"failed: {outcome.failure}", markup=False)
    elif not outcome.established:
        console.print("no tunnel was established")


def outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    """What programs get; these keys stay."""
    return {
        "established": outcome.established,
        "nat": outcome.nat.value,
        "pings_sent": outcome.pings_sent,
        "pings_answered": outcome.pings_answered,
        "sas": associations_as_json(outcome.holdings),
        "parser_entries": parser_entries_as_json(outcome.holdings),
    }
