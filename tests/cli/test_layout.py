"""`nicsim layout` and `nicsim oids`, through an application of their own."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from nicsim.cli.layout import layout
from nicsim.cli.oids import oids
from nicsim.errors import InputError
from offload_oids import (
    OID_INFO,
    Abi,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecUdpespEncaptypeEntry,
    OffloadSecurityAssociation,
    Oid,
    TooShort,
)

DATA = Path(__file__).parents[1] / "offload_oids" / "data"
MEASURED: dict[str, Any] = {
    name: entry
    for file in ("ndis-layouts.json", "task-layouts.json")
    for name, entry in json.loads((DATA / file).read_text()).items()
}
LAYOUTS = {name: entry for name, entry in MEASURED.items() if "x86" in entry}

APP = typer.Typer()
APP.command()(layout)
APP.command()(oids)

ADD = OffloadIpsecAddUdpespSa(
    dst_addr=bytes([198, 51, 100, 7]),
    flags=1,
    num_sas=1,
    sec_assoc=(OffloadSecurityAssociation(operation=2, spi=0x11223344),),
    encap_type_entry=OffloadIpsecUdpespEncaptypeEntry(1, 4500),
    key_len=4,
    key_mat=b"\xde\xad\xbe\xef",
)


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(APP, arguments, input=stdin)


def printed(*arguments: str, stdin: str = "") -> Any:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(*arguments: str, stdin: str = "") -> str:
    result = run(*arguments, stdin=stdin)
    assert isinstance(result.exception, InputError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_all_prints_one_list_with_every_measured_member() -> None:
    tables = {(table["name"], table["abi"]): table for table in printed("layout", "--all", "--json")}
    assert set(tables) == {(name, abi.value) for name in LAYOUTS for abi in Abi}
    for (name, abi), table in tables.items():
        measured = LAYOUTS[name][abi]
        assert table["size"] == measured["size"]
        places = {field["name"]: (field["offset"], field["size"]) for field in table["fields"]}
        for field in measured["fields"]:
            assert places[field["name"]] == (field["offset"], field["size"])


def test_json_of_one_structure_is_one_object() -> None:
    assert printed("layout", "OFFLOAD_IPSEC_DELETE_UDPESP_SA", "--abi", "x86", "--json") == {
        "name": "OFFLOAD_IPSEC_DELETE_UDPESP_SA",
        "abi": "x86",
        "size": 8,
        "fields": [
            {"name": "OffloadHandle", "offset": 0, "size": 4},
            {"name": "EncapTypeEntryOffldHandle", "offset": 4, "size": 4},
        ],
    }


def test_json_names_the_bit_fields_of_a_unit() -> None:
    fields = printed("layout", "NDIS_IPSEC_PACKET_INFO", "--json")["fields"]
    (unit,) = (field for field in fields if field["name"] == "Receive.bits")
    assert unit["bits"]["CRYPTO_DONE"] == {"shift": 1, "width": 1}


def test_the_table_is_text_with_no_name_cut_short() -> None:
    result = run("layout", "offload_ipsec_add_udpesp_sa", "--abi", "x86")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0][:3] == ["OFFLOAD_IPSEC_ADD_UDPESP_SA,", "x86:", "192"]
    assert ["80", "44", "SecAssoc[1]"] in lines
    assert ["180", "4", "EncapTypeEntryOffldHandle"] in lines


def test_all_prints_every_table_as_text() -> None:
    result = run("layout", "--all")
    assert all(f"{name}, {abi.value}: " in result.stdout for name in LAYOUTS for abi in Abi)


def test_a_buffer_is_decoded_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "buffer.hex"
    file.write_text("0x" + ADD.pack(Abi.X64).hex(" ", 2) + "\n")
    result = run("layout", "OFFLOAD_IPSEC_ADD_UDPESP_SA", "--hex", str(file))
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["8", "4", "DstAddr", "c6336407", "198.51.100.7"] in lines
    assert ["36", "4", "SecAssoc[0].Operation", "02000000", "2", "ENCRYPT"] in lines
    assert ["180", "2", "EncapTypeEntry.DstEncapPort", "1194", "4500", "(0x1194)"] in lines
    assert ["196", "4", "KeyMat", "redacted", "4", "bytes", "redacted"] in lines


def test_keys_are_shown_only_on_request() -> None:
    decode = ("layout", "OFFLOAD_IPSEC_ADD_UDPESP_SA", "--abi", "x86", "--json", "--hex", "-")
    raw = ADD.pack(Abi.X86).hex()
    assert "deadbeef" not in run(*decode, stdin=raw).stdout
    key = printed(*decode, "--show-keys", stdin=raw)["fields"][-1]
    assert key == {"name": "KeyMat", "offset": 188, "size": 4, "bytes": "deadbeef", "value": "deadbeef"}


def test_a_decoded_buffer_as_json_names_constants() -> None:
    found = printed(
        "layout", "OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_ENTRY", "--json", "--hex", "-", stdin="01000000,0x11940000"
    )
    assert found["fields"] == [
        {
            "name": "UdpEncapType",
            "offset": 0,
            "size": 4,
            "bytes": "01000000",
            "value": 1,
            "meaning": "OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_OTHER",
        },
        {"name": "DstEncapPort", "offset": 4, "size": 2, "bytes": "1194", "value": 4500},
    ]


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    assert "OFFLOAD_IPSEC_ADD_UDPESP_SA" in refusal("layout", "OFFLOAD_IPSEC_ADD_UDPSEP_SA")
    assert refusal("layout", "qqqq") == "no structure is called qqqq; --all lists them"


@pytest.mark.parametrize(
    ("text", "message"),
    [("12 3g", "- needs hex digits, got 'g'"), ("123", "- needs two hex digits for each byte, got 3 digits")],
)
def test_text_that_is_not_hex_is_refused(text: str, message: str) -> None:
    assert refusal("layout", "OFFLOAD_IPSEC_DELETE_SA", "--hex", "-", stdin=text) == message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing.hex"
    decode = ("layout", "OFFLOAD_IPSEC_DELETE_SA", "--hex")
    assert refusal(*decode, str(missing)) == f"{missing} cannot be read: No such file or directory"
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x80")
    assert "no text" in refusal(*decode, str(binary))


def test_a_short_buffer_is_refused_with_what_it_needs() -> None:
    result = run("layout", "OFFLOAD_IPSEC_DELETE_SA", "--hex", "-", stdin="112233")
    assert isinstance(result.exception, TooShort)
    assert str(result.exception) == "OFFLOAD_IPSEC_DELETE_SA needs 8 bytes, got 3"


@pytest.mark.parametrize("arguments", [(), ("OFFLOAD_ALGO_INFO", "--all"), ("--all", "--hex", "-")])
def test_arguments_that_contradict_each_other_are_refused(arguments: tuple[str, ...]) -> None:
    assert "needs the name of a structure" in refusal("layout", *arguments)


def test_help_shows_an_example() -> None:
    assert "nicsim layout OFFLOAD_IPSEC_ADD_UDPESP_SA --abi x86" in run("layout", "--help").stdout


def test_oids_are_listed_with_values_directions_and_buffers() -> None:
    rows = {row["name"]: row for row in printed("oids", "--json")}
    assert list(rows)[: len(OID_INFO)] == [oid.name for oid in OID_INFO]
    assert {row["name"]: row["value"] for row in rows.values()} == {oid.name: int(oid) for oid in Oid}
    assert rows["OID_TCP_TASK_IPSEC_ADD_UDPESP_SA"] == {
        "name": "OID_TCP_TASK_IPSEC_ADD_UDPESP_SA",
        "value": 0xFC010205,
        "hex": "0xFC010205",
        "directions": ["set"],
        "interface": "ordinary",
        "answered_by_ndis": [],
        "list": False,
        "takes": ["OFFLOAD_IPSEC_ADD_UDPESP_SA"],
        "answers": [],
        "writes": ["OffloadHandle", "EncapTypeEntryOffldHandle"],
    }


def test_oids_are_a_table_of_text() -> None:
    result = run("oids")
    assert result.exit_code == 0
    assert "query (NDIS answers), set" in result.stdout
    assert "OID_PNP_SET_POWER" in result.stdout
