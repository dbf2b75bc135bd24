"""`nicsim impairments`, and `nicsim replay --impair`, as a user meets them."""

import json
from pathlib import Path

import pytest

from nicsim.cli import run
from nicsim.impairments import CATALOGUE, Impairment

TRACE = Path(__file__).parents[2] / "traces" / "natt-3des-md5-server.pcap"
REPLAY = ["replay", str(TRACE), "--sas", str(TRACE.with_suffix(".sas.json"))]
EXPECT = ["--expect", str(TRACE.with_suffix(".expect.json"))]


def impaired(*names: str) -> int:
    return run([*REPLAY, *EXPECT, *(argument for name in names for argument in ("--impair", name))])


def test_the_list_has_every_name_and_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["impairments"]) == 0
    out = capsys.readouterr().out
    assert all(one.name in out for one in CATALOGUE)
    assert "the N-th time only; 1" in out


def test_the_list_as_json_has_every_fact(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["impairments", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in facts] == [one.name for one in CATALOGUE]
    assert facts[0] == {
        "name": "row-write-fails",
        "boundary": "card",
        "story": "The N-th row write fails, and the slot stays as it was.",
        "rules": ["N-ADD-2", "N-ADD-6"],
        "number": "the N-th time only",
        "default": 1,
    }
    assert {one["boundary"] for one in facts} == {"card", "miniport"}


@pytest.mark.parametrize("name", ["payload-corrupted=5", "drops-frames", "strips-esp", "success-without-check"])
def test_an_impairment_that_changes_verdicts_ends_with_1(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert impaired(name) == 1
    out = capsys.readouterr().out
    assert f"impaired by {name}" in out
    assert "differences" in out


def test_one_that_changes_no_verdict_is_named_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert impaired("row-write-slow=3", "udp-checksum-decides") == 0
    out = capsys.readouterr().out
    assert "impaired by row-write-slow=3: " in out
    assert "impaired by udp-checksum-decides=1: " in out
    assert "everything is as expected" in out


def test_the_story_of_a_frame_says_what_the_nic_is_impaired_by(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*REPLAY, "--explain", "13", "--impair", "payload-corrupted", "--impair", "drops-failed=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "note: impaired by payload-corrupted=1: One bit of the decrypted payload is wrong."
    assert lines[2].startswith("note: impaired by drops-failed=2: ")
    assert run([*REPLAY, "--explain", "13"]) == 0
    assert "impaired" not in capsys.readouterr().out


def test_without_any_nothing_is_said_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert impaired() == 0
    assert "impaired" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("drops-frame", "no impairment is called 'drops-frame'; near it are drops-frames"),
        ("keys-swapped=2", "takes no N, 2 came"),
        ("drops-frames=many", "needs to be a number, not 'many'"),
    ],
)
def test_an_unknown_one_is_refused_in_one_line(name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert impaired(name) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert text in captured.err


@pytest.mark.parametrize("one", CATALOGUE, ids=[one.name for one in CATALOGUE])
def test_a_replay_with_any_ends_well_or_with_one_line(one: Impairment, capsys: pytest.CaptureFixture[str]) -> None:
    status = impaired(one.name)
    assert status in (0, 1, 2)
    assert (status == 2) == (capsys.readouterr().err.count("\n") == 1)


@pytest.mark.parametrize("name", ["icv-not-written", "iv-all-zero"])
def test_a_nic_that_seals_otherwise_than_captured_is_not_as_expected(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert impaired(name) == 1
    assert "sealed again" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["replay"], ["nic"], ["scenario", "run"], ["connect"], ["listen"]], ids=" ".join)
def test_every_command_that_runs_a_nic_takes_them(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    assert "--impair NAME[=N]" in capsys.readouterr().out
