"""Which tests show which rule of the specification digest: `python -m tests.rules_report`, or `make rules`.

Pytest itself collects the tests, so parametrised tests and marks of whole modules are counted as they run. Ends with
status 1 when a test or a source cites a rule that the digest does not have.
"""

import contextlib
import io
import sys
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.rules import DIGEST, ROOT, citations, project_sources, rule_ids


class Collector:
    """A pytest plugin: for every rule id, the tests marked with it and in how many cases each."""

    def __init__(self) -> None:
        self.tests: dict[str, Counter[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            for mark in item.iter_markers("rule"):
                for rule in mark.args:
                    self.tests.setdefault(rule, Counter())[item.nodeid.partition("[")[0]] += 1


def report(rules: Iterable[str], tests: dict[str, Counter[str]]) -> str:
    """Each rule with the tests that show it, then the totals."""
    lines, covered = [], 0
    for rule in rules:
        own = tests.get(rule, Counter())
        lines.append(rule if own else f"{rule}  no test")
        lines += [f"    {test}" + (f"  ({cases} cases)" if cases > 1 else "") for test, cases in sorted(own.items())]
        covered += bool(own)
    total = len(list(rules))
    return "\n".join([*lines, f"{total} rules, {covered} covered, {total - covered} uncovered"])


def main() -> int:
    """Collect, print, and say whether every cited rule exists."""
    collector, output = Collector(), io.StringIO()
    with contextlib.redirect_stdout(output):
        status = pytest.main(["--collect-only", "-q", f"--rootdir={ROOT}", str(ROOT / "tests")], plugins=[collector])
    if status != pytest.ExitCode.OK:
        sys.stderr.write(f"{output.getvalue()}\nthe tests could not be collected\n")
        return 1
    rules = rule_ids(DIGEST.read_text())
    cited = [*citations(project_sources()), *((rule, test) for rule, own in collector.tests.items() for test in own)]
    unknown = sorted({f"{place}: {rule} is no rule of the digest" for rule, place in cited if rule not in rules})
    sys.stdout.write("\n".join([*unknown, report(rules, collector.tests)]) + "\n")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
