"""`nicsim profile`: the presets, what a card reports of itself, and the faults of a file."""

import json
from pathlib import Path

import pytest

from nicsim.cli import run
from nicsim.profile import preset_names

TRACES = Path(__file__).parents[2] / "traces"
VERSION_1_ONLY = ("ndis51", "ndis60", "tiny")
NO_CRYPTO_FOR_IT = "algorithm-not-claimed"
NO_UDP_ESP = "subtype-not-claimed"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["profile", *arguments]) == 0
    return capsys.readouterr().out


# --- presets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trace", "in_software"),
    [
        # 3DES and MD5: what version 1 is made for
        (
            "natt-3des-md5-server",
            {"shared-address": NO_CRYPTO_FOR_IT, "nfp-class": NO_UDP_ESP, "netdevsim": NO_CRYPTO_FOR_IT},
        ),
        # AES: version 2 only
        (
            "natt-aes128-sha1-client",
            dict.fromkeys((*VERSION_1_ONLY, "shared-address", "netdevsim"), NO_CRYPTO_FOR_IT)
            | {"nfp-class": NO_UDP_ESP},
        ),
    ],
)
@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_replays_the_shipped_traces_and_says_why_in_software(
    trace: str, in_software: dict[str, str], preset: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    capture, out = TRACES / f"{trace}.pcap", tmp_path / "frames.jsonl"
    files = [f"--{option}={capture.with_suffix(f'.{option}.json')}" for option in ("sas", "expect")]
    assert run(["replay", str(capture), *files, "--profile", preset, "--json", str(out)]) == 0
    assert "everything is as expected" in capsys.readouterr().out
    esp = [json.loads(line) for line in out.read_text().splitlines() if '"udp-esp"' in line]
    received = [line for line in esp if line["direction"] == "rx"]
    assert {line["host_verdict"] for line in received} == {"accepted"}
    software = in_software.get(preset)
    assert {line["opened_by"] for line in received} == {"host" if software else "nic"}
    assert {line["reason"] for line in esp if line["direction"] == "tx"} == {software or "sealed"}


def test_the_list_names_every_preset_with_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(shown(capsys, "list", "--json"))
    assert [one["name"] for one in listed] == preset_names()
    tables = {one["name"]: tuple(one["tables"].values()) for one in listed}
    assert tables["tiny"] == (2, 2, 1)
    assert tables["shared-address"] == (1024, 1024, 0, 128)
    assert tables["nfp-class"] == (16384, 16384, 0)
    assert tables["netdevsim"] == (33, 33, 0)
    out = shown(capsys, "list")
    assert all(name in out for name in preset_names())


# --- show --------------------------------------------------------------------------------------------------------


def members(capsys: pytest.CaptureFixture[str], name: str) -> dict[str, dict[str, object]]:
    reports = json.loads(shown(capsys, "show", name, "--json"))["reports"]
    return {one["structure"]: {member["name"]: member["value"] for member in one["members"]} for one in reports}


def test_a_5_1_card_reports_ndis_task_ipsec(capsys: pytest.CaptureFixture[str]) -> None:
    reports = members(capsys, "ndis51")
    assert list(reports) == ["NDIS_TASK_OFFLOAD_HEADER", "NDIS_TASK_IPSEC"]
    task = reports["NDIS_TASK_IPSEC"]
    assert (task["V4ESP.TRIPLE_DES"], task["V4AH.MD5"], task["Supported.RESERVED"]) == (1, 1, 0xFF)
    assert task["Supported.V4_OPTIONS"] == 0


def test_a_6_x_card_reports_ndis_offload(capsys: pytest.CaptureFixture[str]) -> None:
    (old,) = members(capsys, "ndis60").values()
    assert old["IPsecV1.IPv4ESP.TripleDes"] == 1
    assert not any(name.startswith("IPsecV2") for name in old)
    (new,) = members(capsys, "reference").values()
    assert (new["IPsecV1.IPv4ESP.Des"], new["IPsecV2.SaOffloadCapacity"], new["IPsecV2.UdpEsp"]) == (1, 8192, 15)
    (bare,) = members(capsys, "netdevsim").values()
    assert (bare["IPsecV2.EncryptionAlgorithms"], bare["IPsecV2.AuthenticationAlgorithms"]) == (0, 0)


def test_readings_are_shown_with_their_rules(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\nndis = "6.0"\nencapsulations = []\n[readings]\nmask_zero_is_any = false\n')
    readings = {one["name"]: one for one in json.loads(shown(capsys, "show", str(own), "--json"))["readings"]}
    assert readings["mask_zero_is_any"] == {
        "name": "mask_zero_is_any", "rule": "A-15", "value": False, "is_default": False,
    }  # fmt: skip
    assert readings["confidentiality_key_first"]["rule"] == "A-2"
    out = shown(capsys, "show", str(own))
    assert "not the default" in out
    assert "A-15" in out


def test_time_and_loss_and_what_a_full_card_does_are_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'name = "own"\nndis = "6.0"\nencapsulations = []\n[tables]\nmake_room = "least-recently-used"\n'
        "[timing]\nrow_ticks = 7\n[loss]\non_reset = true\non_d3 = true\n"
    )
    out = shown(capsys, "show", str(own))
    for text in ("the host is asked to delete", "a row takes 7 polls", "lost on reset and d3"):
        assert text in out
    made = json.loads(shown(capsys, "show", str(own), "--json"))
    assert (made["make_room"], made["row_ticks"]) == ("least-recently-used", 7)
    assert made["losses"] == {"on_reset": True, "on_d3": True}
    plain = shown(capsys, "show", "tiny")
    assert "adds are refused\n" in plain
    assert "polls" not in plain
    assert "lost" not in plain


def test_show_tells_the_tables_and_the_flags_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "show", "tiny")
    for text in ("2 inbound rows", "1 parser rows", "IPsecV1.IPv4ESP.TripleDes", "IPSEC_TUN_UDPESP_ENCAPTYPE_OTHER"):
        assert text in out
    assert "zero: " in out


# --- check -------------------------------------------------------------------------------------------------------


def test_a_good_file_is_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "check", "tiny") == "OK\n"
    assert json.loads(shown(capsys, "check", "tiny", "--json")) == {"file": "tiny", "ok": True, "faults": []}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('ndis = "7"\n', ["name: Field required", "ndis: ", "encapsulations: Field required"]),
        ("= 1", ["is no TOML"]),
        ('name = "x"\nndis = "6.1"\nencapsulations = ["TOKEN"]\n', ["'TOKEN' must be one of"]),
        ('name = "x"\nndis = "6.1"\nencapsulations = []\n[tables]\nparser = -1\n"a\\nb" = 1\n', ["parser", "tables.a"]),
    ],
)
def test_each_fault_is_a_line(text: str, faults: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    assert run(["profile", "check", str(own)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert line.startswith("own.toml: ")
        assert fault in line
    assert run(["profile", "check", str(own), "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"file": str(own), "ok": False, "faults": lines}


@pytest.mark.parametrize("arguments", [["check", "nowhere"], ["show", "nowhere"], ["frobnicate"], ["show"], []])
def test_bad_input_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
