"""The rules of the specification digest: which ids exist, and where the project cites one."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIGEST = ROOT / "docs" / "spec" / "ndis-ipsec-offload.md"
NOT_OBSERVABLE = ROOT / "tests" / "rules_not_observable.toml"
SOURCES = ("nicsim", "offload_oids", "tests", "bench", "examples")

_DEFINED = re.compile(r"^- \*\*(N-[A-Z0-9]+-[0-9]+|A-[0-9]+)\b", re.MULTILINE)
_CITED = re.compile(r"(?<![\w-])(N-[A-Z0-9]+-[0-9]+|A-[0-9]+)\b")


def rule_ids(digest: str) -> list[str]:
    """Every id that the digest defines, in its order."""
    return _DEFINED.findall(digest)


def citations(sources: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Every rule id that stands in a source file, with its place."""
    for path in sources:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for rule in _CITED.findall(line):
                yield rule, f"{path.relative_to(ROOT).as_posix()}:{number}"


def project_sources() -> list[Path]:
    """The Python files that may cite rules; this module's own tests cite ids that do not exist."""
    files = (file for folder in SOURCES for file in (ROOT / folder).rglob("*.py"))
    return sorted(file for file in files if file.name != "test_rules.py")


def not_observable() -> dict[str, str]:
    """The rules that nobody can observe in this model, each with the argument for that."""
    return tomllib.loads(NOT_OBSERVABLE.read_text())
