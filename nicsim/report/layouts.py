"""Offset tables, decoded buffers and the list of OIDs as text."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from offload_oids import Abi, Member, Part, Structure, align_of, c_name, offset_table, size_of

# Wide enough for every table: a name cut short would be of no use in a pipe.
WIDTH = 240


def offset_table_text(structure: type[Structure], abi: Abi) -> str:
    """The offset table of one structure."""
    title = f"{c_name(structure)}, {abi.value}: {size_of(structure, abi)} bytes, aligned to {align_of(structure, abi)}"
    rows = (
        (str(member.offset), str(member.size), member.name, _bits(member)) for member in offset_table(structure, abi)
    )
    return _table(title, ("offset", "size", "member", "bit-fields (from bit, width)"), rows, numbers=2)


def _bits(member: Member) -> str:
    return ", ".join(f"{bit.name} {bit.shift},{bit.width}" for bit in member.bits)


def buffer_text(structure: type[Structure], abi: Abi, parts: Sequence[Part], length: int, show_keys: bool) -> str:
    """A decoded buffer, one line for each innermost member."""
    title = f"{c_name(structure)}, {abi.value}: {length} bytes"
    rows = []
    for part in parts:
        shown_bytes, shown_value = part_texts(part, show_keys)
        rows.append((str(part.offset), str(len(part.raw)), part.name, shown_bytes, shown_value, part.meaning))
    return _table(title, ("offset", "size", "member", "bytes", "value", "meaning"), rows, numbers=2)


def part_texts(part: Part, show_keys: bool) -> tuple[str, str]:
    """The bytes and the value of one member as text; a key is shown only where it was asked for."""
    if part.secret and not show_keys:
        return "redacted", f"{len(part.raw)} bytes redacted"
    if isinstance(part.value, int):
        return part.raw.hex(), f"{part.value} (0x{part.value:x})" if part.value > 9 else str(part.value)
    if part.name.endswith(("Addr", "Mask")):
        return part.raw.hex(), str(ipaddress.ip_address(part.value))
    return part.raw.hex(), part.value.hex()


def oids_text(rows: Iterable[dict[str, Any]]) -> str:
    """The list of OIDs."""
    header = ("value", "OID", "requests", "interface", "takes", "answers or writes")
    return _table("Object identifiers", header, (_oid_cells(row) for row in rows), numbers=0)


def _oid_cells(row: dict[str, Any]) -> tuple[str, ...]:
    by_ndis = row.get("answered_by_ndis", ())
    requests = [f"{kind} (NDIS answers)" if kind in by_ndis else kind for kind in row.get("directions", ())]
    takes = "\n".join(row.get("takes", ())) + (" (list)" if row.get("list") else "")
    gives = "\n".join([*row.get("answers", ()), *row.get("writes", ())])
    return row["hex"], row["name"], ", ".join(requests), row.get("interface", ""), takes, gives


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title), title_justify="left", title_style="bold")
    for column, name in enumerate(header):
        table.add_column(name, justify="right" if column < numbers else "left", overflow="fold")
    for row in rows:
        # Text, not markup: brackets of array elements are no style.
        table.add_row(*[Text(cell) for cell in row])
    console = Console(width=WIDTH, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"
