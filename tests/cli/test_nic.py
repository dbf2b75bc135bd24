"""`nicsim nic` as a user meets it: a script, its JSON objects and exit statuses, and the prompt."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nicsim.cli import run

ROOT = Path(__file__).parents[2]
STORY = """\
# Whose packets does the card open, and since when?
enable
mark start
feed traces/natt-3des-md5-server.pcap 13
load traces/natt-3des-md5-server.sas.json local=203.0.113.2
feed traces/natt-3des-md5-server.pcap all

dump all
diff start
delete 0x570e5e39
feed traces/natt-3des-md5-server.pcap 13
quit
enable
"""


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("in_root")
def test_a_scripted_session_tells_its_story_in_one_object_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "story.nic"
    script.write_text(STORY)
    assert run(["nic", "--profile", "tiny", "--script", str(script), "--json"]) == 0
    told = objects(capsys.readouterr().out)
    commands = ["enable", "mark", "feed", "load", "feed", "dump", "diff", "delete", "feed", "quit"]
    assert [one["command"] for one in told] == commands  # and nothing behind quit
    assert [one["line"] for one in told] == [2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
    assert all(set(one) == {"line", "command", "result"} for one in told)
    _, _, early, loaded, fed, dumped, between, deleted, late, _ = (one["result"] for one in told)
    assert early["reason"] == "no-parser-entry"
    assert [one["on_nic"] for one in loaded["associations"]] == [True, True]
    assert fed["reasons"]["opened"] == 51
    assert {one["encryption_key"] for one in dumped["sas"]} == {"redacted"}
    assert dumped["stats"]["used"] == {"inbound": 1, "outbound": 1, "parser": 1}
    assert len(between["added"]) == 3  # two associations and a parser entry
    assert deleted["status"] == "SUCCESS"
    assert late["reason"] == "no-parser-entry"  # the entry went with its last association


@pytest.mark.usefixtures("in_root")
def test_a_wrong_command_is_an_object_and_the_script_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("enable\nfrobnicate\ncounters\n"))
    assert run(["nic", "--script", "-", "--json"]) == 2
    told = objects(capsys.readouterr().out)
    assert [set(one) - {"line", "command"} for one in told] == [{"result"}, {"error"}, {"result"}]
    monkeypatch.setattr("sys.stdin", io.StringIO("enable\nfrobnicate\ncounters\n"))
    assert run(["nic", "--script", "-", "--json", "--stop-on-error"]) == 2
    assert [one["command"] for one in objects(capsys.readouterr().out)] == ["enable", "frobnicate"]


def test_without_json_the_script_answers_with_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("enable\nfrobnicate\ndump\n"))
    assert run(["nic", "--script", "-", "--profile", "tiny"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "offload is enabled",
        "error: standard input, line 2: there is no command 'frobnicate'; help lists them",
        "no associations",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--profile", "turbo"], "turbo"),
        (["--script", "nowhere.nic"], "nowhere.nic"),
        (["--script", "a\0b"], "cannot be read"),
        (["--abi", "arm"], "arm"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nic", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert text in captured.err


def test_a_script_that_is_no_text_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "binary.nic"
    script.write_bytes(b"\xff\xfe\x00")
    assert run(["nic", "--script", str(script)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- the prompt --------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_the_command_and_ctrl_d_the_session(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["enable", KeyboardInterrupt(), "frobnicate", "counters", EOFError()])

    def ask(prompt: str) -> str:
        line = next(typed)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", ask)
    assert run(["nic"]) == 0
    out = capsys.readouterr().out
    assert out.index("offload is enabled") < out.index("no command 'frobnicate'") < out.index("requests")


def test_quit_ends_the_prompt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed = iter(["quit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    assert run(["nic"]) == 0
    assert capsys.readouterr().out == "bye\n"


def test_a_program_can_drive_it_answer_by_answer() -> None:
    command = [sys.executable, "-m", "nicsim", "nic", "--script", "-", "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as driven:
        assert driven.stdin
        assert driven.stdout
        for line, key in (("enable", "result"), ("frobnicate", "error"), ("counters", "result")):
            driven.stdin.write(line + "\n")
            driven.stdin.flush()
            assert key in json.loads(driven.stdout.readline())  # before the next line is written
        driven.stdin.close()
        assert driven.wait() == 2
