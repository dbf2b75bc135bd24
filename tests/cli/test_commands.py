"""All commands alike: help with an example, clear refusals, plain output where there is no terminal."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from nicsim.cli import run

ROOT = Path(__file__).parents[2]
COMMANDS = [
    ["replay"], ["nic"], ["scenario"], ["connect"], ["listen"], ["profile"], ["impairments"], ["why"], ["oids"],
    ["layout"], ["profile", "list"], ["profile", "show"], ["profile", "check"], ["scenario", "list"],
    ["scenario", "check"], ["scenario", "run"],
]  # fmt: skip
PYTHON = [sys.executable, "-m", "nicsim"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    usage, _, rest = capsys.readouterr().out.partition("\n")
    assert usage.startswith(f"Usage: nicsim {' '.join(command)}")
    assert f"nicsim {' '.join(command)}" in rest or command == ["scenario"]


def test_the_first_help_lists_every_command_in_whole_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    out = capsys.readouterr().out
    listed = [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert {one for (one, *_) in COMMANDS} <= set(listed)
    assert "..." not in out.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bogus"], "No such command 'bogus'; nicsim --help says what there is"),
        (["why", "--bogus"], "No such option: --bogus; nicsim why --help says what there is"),
        (["replay"], "Missing argument 'CAPTURE'; nicsim replay --help"),
        (["profile", "bogus"], "No such command 'bogus'; nicsim profile --help"),
        (["impairments", "more"], "nicsim impairments --help"),
    ],
)
def test_a_wrong_command_line_is_told_where_to_look(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert text in captured.err


@pytest.mark.parametrize("arguments", [["impairments"], ["why"], ["profile", "list"], ["oids"], ["why", "icv-wrong"]])
def test_without_a_terminal_there_is_no_colour(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["impairments"], ["why", "--json"], ["layout", "--all"]])
def test_a_reader_that_goes_away_ends_it_without_a_word(arguments: list[str]) -> None:
    with subprocess.Popen([*PYTHON, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as told:
        assert told.stdout
        assert told.stderr
        told.stdout.close()
        assert told.stderr.read() == b""
        assert told.wait() in (0, 1)


def test_at_a_terminal_the_session_greets_and_leaves_a_clean_line() -> None:
    master, terminal = pty.openpty()
    with subprocess.Popen([*PYTHON, "nic"], stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT) as session:
        os.close(terminal)
        told = until(master, b"nic> ")
        assert b"help lists the commands" in told
        os.write(master, b"dmp\n")
        assert b"error: there is no command 'dmp'; near it is dump" in until(master, b"nic> ")
        os.write(master, b"\x04")
        assert session.wait() == 0
        assert until(master, b"\r\n").endswith(b"\r\n")
    os.close(master)


def until(master: int, wanted: bytes) -> bytes:
    """What the terminal shows until something is there."""
    told = b""
    while wanted not in told and select.select([master], [], [], 30)[0]:
        told += os.read(master, 4096)
    return told
