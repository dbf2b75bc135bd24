"""How a scenario looks: a ladder with the nodes as columns, what programs printed, and the checks.

   time  client                nat                 server
0.000000    |                    |                    |
0.001000    |---500>500 IKE main---->|                |
0.002000    |                    |---1>500 IKE main-->|  NIC: ike
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from nicsim.scenario.results import Line, LineKind, ScenarioResult

TIME_WIDTH = 12
LEAST_GAP = 12
"""Characters between two columns."""
MOST_COLUMNS = 8
"""More nodes make no ladder: then every line names its ends."""
MOST_LINES_SHOWN = 400


def scenario_as_json(result: ScenarioResult) -> dict[str, Any]:
    """Everything there is, under names that stay."""
    return {
        "scenario": result.name,
        "about": result.about,
        "seed": result.seed,
        "passed": result.passed,
        "ended": result.ended,
        "nodes": list(result.nodes),
        "checks": [asdict(check) for check in result.checks],
        "transcripts": [asdict(transcript) for transcript in result.transcripts],
        "lines": [asdict(line) | {"kind": line.kind.value} for line in result.lines],
    }


def show_scenario(console: Console, result: ScenarioResult, *, every_line: bool = False) -> None:
    """The story, and whether it went as it must."""
    lines = [f"{result.name}, seed {result.seed}: {result.about}", ""]
    shown = result.lines if every_line else result.lines[:MOST_LINES_SHOWN]
    lines += ladder(result.nodes, shown)
    if len(shown) < len(result.lines):
        lines.append(f"... and {len(result.lines) - len(shown)} more lines; --all shows them")
    for transcript in result.transcripts:
        lines += ["", f"{transcript.node}: {transcript.command}", *transcript.lines]
    lines += ["", *(f"{'ok  ' if one.passed else 'FAIL'} {one.what}; seen: {one.seen}" for one in result.checks)]
    lines.append(f"{'passed' if result.passed else 'FAILED'} at {result.ended:.3f} s of virtual time")
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def ladder(nodes: Sequence[str], lines: Iterable[Line]) -> Iterator[str]:
    """The lines of a ladder, columns first."""
    lines = list(lines)
    named = [node for node in nodes if any(node in (line.node, line.target) for line in lines)]
    if len(named) > MOST_COLUMNS:
        yield from (_named_line(line) for line in lines)
        return
    columns = _columns(named, lines)
    heads = " " * TIME_WIDTH
    for node, column in columns.items():
        heads = heads.ljust(column - len(node) // 2) + node + " "
    yield heads.rstrip()
    yield from (_drawn_line(columns, line) for line in lines)


def _columns(nodes: Sequence[str], lines: Iterable[Line]) -> dict[str, int]:
    """Where each node's column stands, far enough from the one before for whatever goes between them."""
    gaps = [max(LEAST_GAP, (len(first) + len(second)) // 2 + 2) for first, second in pairwise(nodes)]
    place = {node: number for number, node in enumerate(nodes)}
    for line in lines:
        if line.kind is LineKind.PACKET:
            left, right = sorted((place[line.node], place[line.target]))
            if right - left == 1:
                gaps[left] = max(gaps[left], len(_arrow_text(line)) + 6)
    columns, at = {}, TIME_WIDTH + 4
    for node, gap in zip(nodes, [*gaps, 0], strict=True):
        columns[node] = at
        at += gap
    return columns


def _arrow_text(line: Line) -> str:
    return f"{line.text} ({line.fate})" if line.fate else line.text


def _drawn_line(columns: Mapping[str, int], line: Line) -> str:
    width = max(columns.values()) + 1
    row = [" "] * width
    for column in columns.values():
        row[column] = "|"
    remark = _verdict(line)
    if line.kind is LineKind.PACKET:
        left, right = sorted((columns[line.node], columns[line.target]))
        text = _arrow_text(line)[: right - left - 3]
        row[left + 1 : right] = f" {text} ".center(right - left - 1, "-")
        ends_well = line.fate not in ("lost", "too big")
        if columns[line.target] == right:
            row[right - 1] = ">" if ends_well else "x"
        else:
            row[left + 1] = "<" if ends_well else "x"
    else:
        row[columns[line.node]] = "x" if line.kind is LineKind.DROP else "*"
        remark = f"{line.node}: {line.text}"
    return f"{line.time:{TIME_WIDTH - 1}.6f} {''.join(row)[TIME_WIDTH:]}  {remark}".rstrip()


def _verdict(line: Line) -> str:
    """What the receiving end's NIC and transport made of it."""
    return ", ".join(part for part in (f"NIC: {line.nic}" if line.nic else "", line.host) if part)


def _named_line(line: Line) -> str:
    if line.kind is LineKind.PACKET:
        what = f"{line.node} -> {line.target}: {_arrow_text(line)}  {_verdict(line)}"
    else:
        what = f"{line.node}: {line.text}"
    return f"{line.time:{TIME_WIDTH - 1}.6f} {what}".rstrip()


def show_scenarios(console: Console, scenarios: Iterable[Mapping[str, str]]) -> None:
    """The scenarios in a table."""
    table = Table(title="Scenarios", title_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("about", overflow="fold")
    table.add_column("source", overflow="fold")
    for one in scenarios:
        table.add_row(one["name"], one["about"], one["source"])
    console.print(table)
