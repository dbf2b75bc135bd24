"""Break rules one by one and see that the tests notice: `python -m tests.rules_break [RULE...]`, or `make rules-break`.

rule_mutations.toml has, for a rule, a small change of our own code that breaks it, and a test that is marked with the
rule. Here each change is made in a copy of the tree, its test is run there and must fail; before any change all of
those tests must pass. The work tree itself is never touched. Ends with status 1 when a change goes unnoticed, no
longer applies, or names a test that does not show its rule.
"""

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rules import ROOT
from tests.rules_report import collect_tests

TABLE = ROOT / "tests" / "rule_mutations.toml"
WORKERS = 2
SECONDS_A_TEST = 120


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change that breaks a rule, and the test that must notice."""

    rule: str
    file: str
    old: str
    new: str
    test: str


def read_mutations(table: Path = TABLE) -> list[Mutation]:
    """The recorded changes, in their order."""
    return [Mutation(**entry) for entry in tomllib.loads(table.read_text()).get("mutation", [])]


def applied(mutation: Mutation, text: str) -> str:
    """The file's text with the change made. Raises ValueError where the old text is not there exactly once."""
    if (count := text.count(mutation.old)) != 1 or mutation.old == mutation.new:
        raise ValueError(f"its old text is {count} times in {mutation.file}")
    return text.replace(mutation.old, mutation.new)


def copy_tree(target: Path) -> None:
    """The files that git tracks, as they are in the work tree now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def run_tests(tree: Path, tests: Sequence[str], seconds: int | None = None) -> tuple[int, str]:
    """Pytest's exit status for some tests of a copy, and what it wrote; a test that hangs counts as failed."""
    # No bytecode: a file that changes twice within a second would be taken for the one before.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, timeout=seconds, check=False, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return pytest.ExitCode.TESTS_FAILED, f"not done after {seconds} s"
    return done.returncode, done.stdout + done.stderr


def fault(mutation: Mutation, tree: Path) -> str:
    """What is wrong with a recorded change; empty where the test noticed it."""
    path = tree / mutation.file
    original = path.read_text()
    try:
        changed = applied(mutation, original)
    except ValueError as error:
        return f"no longer applies: {error}"
    path.write_text(changed)
    try:
        status, output = run_tests(tree, [mutation.test], SECONDS_A_TEST)
    finally:
        path.write_text(original)
    if status == pytest.ExitCode.OK:
        return f"goes unnoticed by {mutation.test}"
    return "" if status == pytest.ExitCode.TESTS_FAILED else f"the test could not be run:\n{output}"


def try_all(mutations: Sequence[Mutation], tests: dict[str, Counter[str]]) -> int:
    """Report a line for each change; the number of those that are not as they should be."""
    faults = 0
    for mutation in mutations:
        if mutation.test not in tests.get(mutation.rule, {}):
            faults += 1
            sys.stdout.write(f"{mutation.rule:9} {mutation.test} is no test that is marked with the rule\n")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        trees: queue.Queue[Path] = queue.Queue()
        for number in range(WORKERS):
            tree = Path(folder, str(number))
            copy_tree(tree)
            trees.put(tree)
        status, output = run_tests(tree, sorted({mutation.test for mutation in mutations}))
        if status != pytest.ExitCode.OK:
            sys.stdout.write(f"{output}\nthe tests do not pass as it is, so nothing was tried\n")
            return faults + 1

        def attempt(mutation: Mutation) -> str:
            own = trees.get()
            try:
                return fault(mutation, own)
            finally:
                trees.put(own)

        for mutation, wrong in zip(mutations, pool.map(attempt, mutations), strict=True):
            faults += bool(wrong)
            sys.stdout.write(f"{mutation.rule:9} {mutation.file}: {wrong or 'noticed by ' + mutation.test}\n")
            sys.stdout.flush()
    return faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the changes of the named rules, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.rules_break", description="See that tests notice.")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="only these rules (N-ADD-3)")
    asked = set(parser.parse_args(arguments).rules)
    mutations = [mutation for mutation in read_mutations() if not asked or mutation.rule in asked]
    if missing := asked - {mutation.rule for mutation in mutations}:
        sys.stderr.write(f"no change is recorded for {', '.join(sorted(missing))}\n")
        return 1
    faults = try_all(mutations, collect_tests())
    rules = len({mutation.rule for mutation in mutations})
    sys.stdout.write(f"{len(mutations)} changes of {rules} rules, {faults} not as they should be\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
