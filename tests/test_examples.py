"""What the README shows runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_every_example_runs(example: str) -> None:
    command = [sys.executable, f"examples/{example}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert "NIC opened 0, host 51" in done.stdout  # the refused association is opened in software


def test_the_readmes_commands_are_those_of_the_program() -> None:
    """Every option in the README's table exists, and every example line of the help runs."""
    readme = (ROOT / "README.md").read_text()
    help_text = run("replay", "--help")
    options = re.findall(r"^\| `(--[a-z-]+)", readme, re.MULTILINE)
    assert len(options) >= 8
    for option in options:
        assert option in help_text
    example = re.search(r"nicsim (replay traces/.*)$", help_text, re.MULTILINE)
    assert example
    assert "116 frames at 203.0.113.2" in run(*shlex.split(example[1]))


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "nicsim", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
