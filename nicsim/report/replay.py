"""How a replay looks: JSON lines for machines, tables for people, and one frame's story."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nicsim.replay.results import Difference, FrameResult, ReplaySummary, SaSummary, Story

MOST_DIFFERENCES_SHOWN = 50


def frame_as_json(result: FrameResult) -> str:
    """One line: every key present, null where it does not apply."""
    payload = result.payload
    status = result.crypto_status
    return json.dumps(
        {
            "frame": result.frame,
            "time": result.time,
            "direction": result.direction.value,
            "kind": result.kind.value,
            "spi": None if result.spi is None else f"0x{result.spi:08x}",
            "seq": result.seq,
            "reason": result.reason.label,
            "rule": result.reason.rule,
            "crypto_done": result.crypto_done,
            "next_crypto_done": result.next_crypto_done,
            "crypto_status": None if status is None else status.name,
            "opened_by": result.opened_by,
            "host_verdict": result.host_verdict,
            "payload_length": None if payload is None else len(payload),
            "payload_sha256": None if payload is None else hashlib.sha256(payload).hexdigest(),
            "resealed": result.resealed,
        }
    )


def show_summary(console: Console, summary: ReplaySummary) -> None:
    """The tables at the end of a replay."""
    kinds = ", ".join(f"{count} {kind.value}" for kind, count in summary.kinds.most_common())
    console.print(f"{summary.frames} frames at {summary.local}, profile {summary.profile}: {kinds or 'nothing'}")
    for note in summary.notes:
        console.print(f"note: {note}", markup=False)
    show_associations(console, summary.associations)
    show_reasons(console, summary)
    show_parser_entries(console, summary)
    if summary.resealed_same or summary.resealed_differently:
        console.print(
            f"{summary.resealed_same} sent packets sealed again by the NIC byte for byte as captured, "
            f"{summary.resealed_differently} not"
        )


def show_associations(console: Console, associations: Sequence[SaSummary]) -> None:
    """One row an association: where it was offloaded, or why not, and what became of its packets."""
    table = Table(title="Associations", title_justify="left")
    for column in ("SPI", "dir", "algorithms, mode", "as seen here", "offloaded by, or why not"):
        table.add_column(column, overflow="fold")
    for column in ("packets", "NIC", "host", "failed"):
        table.add_column(column, justify="right")
    for sa in associations:
        table.add_row(
            f"0x{sa.spi:08x}",
            sa.direction.value if sa.direction else "-",
            f"{sa.algorithms}{f', {sa.mode}' if sa.mode else ''}",
            f"{sa.src} -> {sa.dst}" if sa.src else "-",
            escape(offload_text(sa)),
            *(str(number) for number in (sa.packets, sa.opened_by_nic, sa.opened_by_host, sa.failed)),
        )
    console.print(table)


def offload_text(sa: SaSummary) -> str:
    """The OID an association went through, or why it stayed in software."""
    if sa.oid:
        return sa.oid
    if sa.software_reason:
        rule = f" ({sa.software_reason.rule})" if sa.software_reason.rule else ""
        return f"software: {sa.software_reason.label}{rule}: {sa.software_detail}"
    return "no packet opened" if sa.packets else "never seen"


def show_reasons(console: Console, summary: ReplaySummary) -> None:
    """What happened to the frames, by reason."""
    table = Table(title="Reasons", title_justify="left")
    for column in ("dir", "reason", "rule", "frames", "what it means"):
        table.add_column(column, justify="right" if column == "frames" else "left", overflow="fold")
    for (direction, reason), count in summary.reasons.most_common():
        table.add_row(direction.value, reason.label, reason.rule or "-", str(count), reason.sentence)
    console.print(table)


def show_parser_entries(console: Console, summary: ReplaySummary) -> None:
    """The parser entries that the host named, and the row that version 2 brought by itself."""
    table = Table(title="Parser entries", title_justify="left")
    table.add_column("type")
    table.add_column("port", justify="right")
    table.add_column("associations", justify="right")
    for entry in summary.parser_entries:
        if entry.named:
            table.add_row(entry.udp_type, str(entry.port), str(entry.associations))
    if table.row_count:
        console.print(table)
    else:
        console.print("Parser entries: none")
    for entry in summary.parser_entries:
        if not entry.named:
            console.print(
                f"version 2 parses port {entry.port} as {entry.udp_type} by a row of its own (A-34), "
                f"for {entry.associations} inbound associations"
            )


def show_story(console: Console, story: Story) -> None:
    """One frame, step by step."""
    lines = [story.headline, *(f"note: {note}" for note in story.notes)]
    for number, step in enumerate(story.steps, start=1):
        lines.append(f"{number:3}. {step.question}{f'  [{step.rule}]' if step.rule else ''}")
        if step.data:
            lines.append(f"       offset {step.offset}: {step.data.hex(' ')}")
        lines.append(f"       {step.outcome}")
    lines.append(story.ending)
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def show_differences(console: Console, differences: Sequence[Difference]) -> None:
    """What is not as expected."""
    if not differences:
        console.print("everything is as expected")
        return
    table = Table(title=f"{len(differences)} differences", title_justify="left")
    for column in ("frame", "what", "expected", "got"):
        table.add_column(column, justify="right" if column == "frame" else "left", overflow="fold")
    for difference in differences[:MOST_DIFFERENCES_SHOWN]:
        frame = "-" if difference.frame is None else str(difference.frame)
        table.add_row(frame, difference.what, escape(difference.expected), escape(difference.got))
    console.print(table)
    if len(differences) > MOST_DIFFERENCES_SHOWN:
        console.print(f"and {len(differences) - MOST_DIFFERENCES_SHOWN} more")
