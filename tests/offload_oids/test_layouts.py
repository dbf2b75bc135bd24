"""Every declaration and every constant against the measured layouts of the specification, for both pointer widths."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from offload_oids import CONSTANTS, STRUCTURES, Abi, Member, align_of, offset_table, size_of
from offload_oids.layout import size_through, walk

DATA = Path(__file__).parent / "data"
MEASURED: dict[str, Any] = json.loads((DATA / "ndis-layouts.json").read_text())
OF_TASKS: dict[str, Any] = json.loads((DATA / "task-layouts.json").read_text())
MEASURED = {**OF_TASKS, **MEASURED, "constants": {**MEASURED["constants"], **OF_TASKS["constants"]}}
LAYOUTS = {name: entry for name, entry in MEASURED.items() if "x86" in entry}
EVERY_LAYOUT = pytest.mark.parametrize(
    ("name", "abi"), [(name, abi) for name in LAYOUTS for abi in Abi], ids=lambda value: getattr(value, "value", value)
)


def found(member: Member) -> dict[str, Any]:
    """A line of our table in the words of the file."""
    return {"offset": member.offset, "size": member.size}


def test_every_structure_is_declared_and_no_other() -> None:
    assert set(STRUCTURES) == set(LAYOUTS)


def test_every_docstring_opens_with_the_c_name() -> None:
    for name, structure in STRUCTURES.items():
        assert (structure.__doc__ or "").startswith(name), name


@EVERY_LAYOUT
def test_size_and_alignment_are_as_measured(name: str, abi: Abi) -> None:
    measured = LAYOUTS[name][abi.value]
    structure = STRUCTURES[name]
    assert (size_of(structure, abi), align_of(structure, abi)) == (measured["size"], measured["align"])


@EVERY_LAYOUT
def test_every_member_is_where_it_was_measured(name: str, abi: Abi) -> None:
    measured = LAYOUTS[name][abi.value]["fields"]
    table = {member.name: member for member in offset_table(STRUCTURES[name], abi)}
    for field in measured:
        assert found(table[field["name"]]) == {"offset": field["offset"], "size": field["size"]}, field["name"]


@EVERY_LAYOUT
def test_every_bit_field_is_where_it_was_measured(name: str, abi: Abi) -> None:
    table = {member.name: member for member in offset_table(STRUCTURES[name], abi)}
    for field in LAYOUTS[name][abi.value]["fields"]:
        bits = {bit.name: (bit.shift, bit.width) for bit in table[field["name"]].bits}
        measured = {bit: (place["shift"], place["width"]) for bit, place in field.get("bits", {}).items()}
        assert bits == measured, field["name"]


@EVERY_LAYOUT
def test_no_name_is_used_twice_in_a_table(name: str, abi: Abi) -> None:
    names = [member.name for member in offset_table(STRUCTURES[name], abi)]
    assert len(names) == len(set(names))


@EVERY_LAYOUT
def test_no_member_of_ours_is_outside_the_measured_ones(name: str, abi: Abi) -> None:
    innermost = [entry for entry in walk(STRUCTURES[name], abi) if not entry.holds_others]
    ours = {entry.offset + byte for entry in innermost for byte in range(entry.codec.size)}
    listed = LAYOUTS[name][abi.value]["fields"]
    assert ours <= {field["offset"] + byte for field in listed for byte in range(field["size"])}


@pytest.mark.rule("N-V2-6", "N-CP6-7")
@EVERY_LAYOUT
def test_the_size_through_the_last_member_is_as_measured(name: str, abi: Abi) -> None:
    structure = STRUCTURES[name]
    for c_path, measured in LAYOUTS[name][abi.value].get("size_through", {}).items():
        path = last_member(structure)
        if "." in c_path:
            path += "." + last_member(get_type_hints(structure)[path])
        assert size_through(structure, path, abi) == measured
        ends = {member.name: member.offset + member.size for member in offset_table(structure, abi)}
        assert ends[c_path] == measured


def last_member(structure: Any) -> str:
    return fields(structure)[-1].name


@pytest.mark.rule("A-1", "N-SA-16")
@EVERY_LAYOUT
def test_a_tail_begins_where_it_was_measured(name: str, abi: Abi) -> None:
    tail = LAYOUTS[name][abi.value].get("tail")
    if tail is None:
        return
    members = {member.name: member for member in offset_table(STRUCTURES[name], abi)}
    assert members[tail["field"]] == Member(tail["field"], tail["offset"], 1)
    assert tail["length_field"] in members


@pytest.mark.parametrize("group", ["constants", "wire_constants"])
def test_every_constant_has_its_value(group: str) -> None:
    measured = {name: int(value, 16) for name, value in MEASURED[group].items()}
    assert {name: CONSTANTS[name] for name in measured} == measured


def test_no_constant_is_beyond_the_specification() -> None:
    assert set(CONSTANTS) == set(MEASURED["constants"]) | set(MEASURED["wire_constants"])
