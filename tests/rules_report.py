"""Which tests show which rule of the specification digest: `python -m tests.rules_report`, or `make rules`.

Pytest itself collects the tests, so parametrised tests and marks of whole modules are counted as they run. Ends with
status 1 when a test or a source cites a rule that the digest does not have, or a rule is both shown by a test and
listed as not observable.
"""

import contextlib
import io
import sys
from collections import Counter
from collections.abc import Collection

import pytest

from tests.rules import DIGEST, ROOT, citations, not_observable, project_sources, rule_ids


class Collector:
    """A pytest plugin: for every rule id, the tests marked with it and in how many cases each."""

    def __init__(self) -> None:
        self.tests: dict[str, Counter[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            for mark in item.iter_markers("rule"):
                for rule in mark.args:
                    self.tests.setdefault(rule, Counter())[item.nodeid.partition("[")[0]] += 1


def collect_tests() -> dict[str, Counter[str]]:
    """The tests of each rule, as pytest collects them. Raises RuntimeError with its output where it cannot."""
    collector, output = Collector(), io.StringIO()
    with contextlib.redirect_stdout(output):
        status = pytest.main(["--collect-only", "-q", f"--rootdir={ROOT}", str(ROOT / "tests")], plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise RuntimeError(f"{output.getvalue()}\nthe tests could not be collected")
    return collector.tests


def totals(rules: Collection[str], covered: Collection[str], not_observable: Collection[str]) -> str:
    """How many rules there are, and how many of each kind; covered is what a test cites."""
    shown = sum(rule in covered for rule in rules)
    hidden = sum(rule in not_observable and rule not in covered for rule in rules)
    uncovered = len(rules) - shown - hidden
    return f"{len(rules)} rules, {shown} covered, {hidden} not observable, {uncovered} uncovered"


def report(rules: Collection[str], tests: dict[str, Counter[str]], not_observable: Collection[str]) -> str:
    """Each rule with the tests that show it, then the totals: those of sections 1 to 12 stand last."""
    lines = []
    for rule in rules:
        own = tests.get(rule, Counter())
        lines.append(rule if own else f"{rule}  {'not observable' if rule in not_observable else 'no test'}")
        lines += [f"    {test}" + (f"  ({cases} cases)" if cases > 1 else "") for test, cases in sorted(own.items())]
    history = [rule for rule in rules if rule.startswith("N-VER-")]
    readings = [rule for rule in rules if rule.startswith("A-")]
    stated = [rule for rule in rules if rule not in history and rule not in readings]
    if history:
        lines.append(f"page history: {totals(history, tests, not_observable)}")
    if readings:
        lines.append(f"readings: {totals(readings, tests, not_observable)}")
    return "\n".join([*lines, totals(stated, tests, not_observable)])


def main() -> int:
    """Collect, print, and say whether every cited rule exists and none is called not observable that a test shows."""
    try:
        tests = collect_tests()
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    rules, hidden = rule_ids(DIGEST.read_text()), not_observable()
    cited = [*citations(project_sources()), *((rule, test) for rule, own in tests.items() for test in own)]
    wrong = sorted({f"{place}: {rule} is no rule of the digest" for rule, place in cited if rule not in rules})
    wrong += [f"{rule} is shown by a test, and listed as not observable" for rule in hidden if rule in tests]
    sys.stdout.write("\n".join([*wrong, report(rules, tests, hidden)]) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
