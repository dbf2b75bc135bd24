"""The scenarios that come with nicsim, by name; a file of your own has the same form."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from nicsim.errors import InputError
from nicsim.scenario.model import LONGEST_FILE, Scenario, parse_scenario

OURS = resources.files("nicsim") / "scenarios"


def scenario_names() -> list[str]:
    """The names of our scenarios."""
    return sorted(entry.name.removesuffix(".toml") for entry in OURS.iterdir() if entry.name.endswith(".toml"))


def load_scenario(name_or_file: str) -> Scenario:
    """One of ours by name, or a file. Raises InputError with what was needed and what came."""
    return parse_scenario(*scenario_text(name_or_file))


def scenario_text(name_or_file: str) -> tuple[str, str]:
    """The text of a scenario, and what messages call it."""
    if name_or_file in scenario_names():
        return (OURS / f"{name_or_file}.toml").read_text(encoding="utf-8"), name_or_file
    path = Path(name_or_file)
    if not path.is_file():
        raise InputError(f"scenario {name_or_file!r} is neither a file nor one of {', '.join(scenario_names())}")
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_FILE + 1)
        if len(text) > LONGEST_FILE:
            raise InputError(f"{path.name}: a scenario needs at most {LONGEST_FILE} bytes")
        return text.decode("utf-8"), path.name
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: cannot be read: {error}") from None
