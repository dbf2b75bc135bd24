"""How a profile looks: what the card reports, its tables, and its readings."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from nicsim.panel.claims import Claims
from nicsim.panel.decode import Decoded

FULL = {
    "off": "adds are refused",
    "least-recently-used": "adds are refused, and the host is asked to delete the association unused longest",
}


def show_claims(console: Console, claims: Claims) -> None:
    """One profile."""
    lines = [
        f"{claims.name}: {claims.about}",
        f"NDIS {claims.ndis}; encapsulations {', '.join(claims.encapsulations) or 'none'}",
        "tables: " + ", ".join(f"{rows} {name} rows" for name, rows in claims.tables.items()),
        f"when a table is full: {FULL[claims.make_room]}",
    ]
    if claims.row_ticks:
        lines.append(f"a row takes {claims.row_ticks} polls to write or clear")
    if lost := [name.removeprefix("on_").replace("_", " ") for name, loses in claims.losses.items() if loses]:
        lines.append(f"the tables are lost on {' and '.join(lost)}")
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    for report in claims.reports:
        show_structure(console, report, f", as {claims.reported_by} reports it")
    table = Table(title="Readings", title_justify="left")
    for column in ("rule", "reading", "value", ""):
        table.add_column(column)
    for reading in claims.readings:
        value = "true" if reading.value else "false"
        table.add_row(reading.rule or "-", reading.name, value, "" if reading.is_default else "not the default")
    console.print(table)


def show_structure(console: Console, report: Decoded, about: str = "") -> None:
    """A decoded structure, a member a line; what is zero is told in one line."""
    table = Table(title=f"{report.structure}{about}", title_justify="left")
    table.add_column("member")
    table.add_column("value", overflow="fold")
    table.add_column("meaning", overflow="fold")
    zero = []
    for member in report.members:
        if member.value:
            table.add_row(member.name, str(member.value), member.meaning.replace("|", " "))
        else:
            zero.append(member.name)
    console.print(table)
    if zero:
        console.print(f"zero: {', '.join(zero)}", markup=False)


def show_profiles(console: Console, profiles: Iterable[Claims]) -> None:
    """The presets in a table."""
    table = Table(title="Profiles", title_justify="left")
    for column in ("name", "NDIS", "SA rows in, out", "parser rows", "about"):
        table.add_column(column, overflow="fold")
    for one in profiles:
        rows = f"{one.tables['inbound']}, {one.tables['outbound']}"
        table.add_row(one.name, one.ndis, rows, str(one.tables["parser"]), one.about)
    console.print(table)
