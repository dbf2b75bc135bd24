"""`nicsim oids`: the requests of IPsec offload, their numbers, directions and buffers."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from offload_oids import Oid, Structure


def oids(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the object identifiers: value, direction, buffer, and what is written back.

    Example: nicsim oids --json
    """
    from offload_oids import OID_INFO, Oid

    # Those of IPsec offload first, in the order of the documentation.
    rows = [_row(oid) for oid in [*OID_INFO, *(oid for oid in Oid if oid not in OID_INFO)]]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from nicsim.report.layouts import oids_text

    typer.echo(oids_text(rows), nl=False)


def _row(oid: "Oid") -> dict[str, Any]:
    from offload_oids import OID_INFO, c_name

    row: dict[str, Any] = {"name": oid.name, "value": int(oid), "hex": f"0x{oid:08X}"}
    info = OID_INFO.get(oid)
    if info is None:
        return row
    return row | {
        "directions": [direction.value for direction in info.directions],
        "interface": "direct" if info.direct else "ordinary",
        "answered_by_ndis": [direction.value for direction in info.answered_by_ndis],
        "list": info.is_list,
        "takes": [c_name(structure) for structure in info.takes],
        "answers": [c_name(structure) for structure in info.answers],
        "writes": [_member_c_name(info.takes[0], member) for member in info.writes],
    }


def _member_c_name(structure: type["Structure"], member: str) -> str:
    from offload_oids import Abi, offset_of, offset_table

    offset = offset_of(structure, member, Abi.X64)
    return next(entry.name for entry in offset_table(structure, Abi.X64) if entry.offset == offset)
