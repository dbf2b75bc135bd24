"""`nicsim layout`: where the members of a structure are, and what a buffer holds."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nicsim.cli.options import AbiName

if TYPE_CHECKING:
    from offload_oids import Abi, Part, Structure


def layout(
    name: Annotated[str | None, typer.Argument(help="C name of a structure.", show_default=False)] = None,
    abi: Annotated[AbiName, typer.Option(help="Pointer width of the host.")] = AbiName.X64,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Every structure, for both pointer widths.")] = False,
    hex_file: Annotated[
        Path | None,
        typer.Option("--hex", metavar="FILE", help="Decode a buffer from its hex text; - reads standard input."),
    ] = None,
    show_keys: Annotated[bool, typer.Option("--show-keys", help="Show key bytes of a decoded buffer.")] = False,
) -> None:
    """Print where the members of a structure are, or decode a buffer.

    Example: nicsim layout OFFLOAD_IPSEC_ADD_UDPESP_SA --abi x86

    Example: echo 44332211 | nicsim layout OFFLOAD_IPSEC_DELETE_SA --abi x86 --hex -
    """
    from offload_oids import ALL_STRUCTURES, Abi

    _check_arguments(name, every, hex_file)
    if name is None:
        _print_tables([(structure, width) for structure in ALL_STRUCTURES for width in Abi], as_json, one=False)
    elif hex_file is None:
        _print_tables([(_structure(name), Abi(abi.value))], as_json, one=True)
    else:
        _print_buffer(_structure(name), _hex_bytes(hex_file), Abi(abi.value), as_json, show_keys)


def _check_arguments(name: str | None, every: bool, hex_file: Path | None) -> None:
    from nicsim.errors import InputError

    if (name is None) != every:
        raise InputError("layout needs the name of a structure or --all, and not both")
    if every and hex_file:
        raise InputError("--hex needs the name of a structure, got --all")


def _structure(name: str) -> type["Structure"]:
    import difflib

    from nicsim.errors import InputError
    from offload_oids import STRUCTURES

    if structure := STRUCTURES.get(name.upper()):
        return structure
    near = difflib.get_close_matches(name.upper(), STRUCTURES, n=3)
    hint = f"near it are {', '.join(near)}" if near else "--all lists them"
    raise InputError(f"no structure is called {name}; {hint}")


# --- offset tables ----------------------------------------------------------------------------------------------


def _print_tables(wanted: Sequence[tuple[type["Structure"], "Abi"]], as_json: bool, *, one: bool) -> None:
    if as_json:
        tables = [_table_as_json(structure, abi) for structure, abi in wanted]
        typer.echo(json.dumps(tables[0] if one else tables))
        return
    from nicsim.report.layouts import offset_table_text

    typer.echo("\n".join(offset_table_text(structure, abi) for structure, abi in wanted), nl=False)


def _table_as_json(structure: type["Structure"], abi: "Abi") -> dict[str, Any]:
    from offload_oids import c_name, offset_table, size_of

    fields: list[dict[str, Any]] = []
    for member in offset_table(structure, abi):
        field: dict[str, Any] = {"name": member.name, "offset": member.offset, "size": member.size}
        if member.bits:
            field["bits"] = {bit.name: {"shift": bit.shift, "width": bit.width} for bit in member.bits}
        fields.append(field)
    return {"name": c_name(structure), "abi": abi.value, "size": size_of(structure, abi), "fields": fields}


# --- buffers ----------------------------------------------------------------------------------------------------


def _print_buffer(structure: type["Structure"], buffer: bytes, abi: "Abi", as_json: bool, show_keys: bool) -> None:
    from nicsim.report.layouts import buffer_text, part_texts
    from offload_oids import c_name, dissect

    parts = dissect(structure, buffer, abi)
    if not as_json:
        typer.echo(buffer_text(structure, abi, parts, len(buffer), show_keys), nl=False)
        return
    fields = [_part_as_json(part, *part_texts(part, show_keys)) for part in parts]
    typer.echo(json.dumps({"name": c_name(structure), "abi": abi.value, "size": len(buffer), "fields": fields}))


def _part_as_json(part: "Part", shown_bytes: str, shown_value: str) -> dict[str, Any]:
    value = part.value if isinstance(part.value, int) else shown_value
    field = {"name": part.name, "offset": part.offset, "size": len(part.raw), "bytes": shown_bytes, "value": value}
    return field | ({"meaning": part.meaning} if part.meaning else {})


def _hex_bytes(source: Path) -> bytes:
    """The bytes of a hex text; white space, commas and 0x are allowed."""
    from nicsim.errors import InputError

    digits = re.sub(r"\b0[xX]|[\s,]", "", _text(source))
    if stranger := re.search(r"[^0-9a-fA-F]", digits):
        raise InputError(f"{source} needs hex digits, got {stranger.group()!r}")
    if len(digits) % 2:
        raise InputError(f"{source} needs two hex digits for each byte, got {len(digits)} digits")
    return bytes.fromhex(digits)


def _text(source: Path) -> str:
    from nicsim.errors import InputError

    try:
        return sys.stdin.read() if str(source) == "-" else source.read_text()
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{source} needs hex digits, got bytes that are no text") from None
