"""How the catalogue of impairments looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show_impairments(console: Console, impairments: Iterable[Mapping[str, Any]]) -> None:
    """All of them in a table."""
    table = Table(title="Impairments", title_justify="left")
    for column in ("name", "boundary", "rules", "N", "what happens"):
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "boundary"))
    for one in impairments:
        number = "-" if one["default"] is None else f"{one['number']}; {one['default']}"
        table.add_row(one["name"], one["boundary"], " ".join(one["rules"]), number, one["story"])
    console.print(table)
