"""No test and no source cites a rule that the specification digest does not have."""

from collections import Counter
from pathlib import Path

import pytest

from tests import rules
from tests.rules import DIGEST, citations, project_sources, rule_ids
from tests.rules_report import report

RULES = rule_ids(DIGEST.read_text())


def test_the_digest_defines_every_rule_that_it_mentions() -> None:
    assert len(RULES) == len(set(RULES)) > 150
    assert {"N-OID-1", "N-CP6-9", "N-V2-19", "N-VER-7", "A-1", "A-38"} <= set(RULES)
    assert {rule for rule, _ in citations([DIGEST])} == set(RULES)


def test_every_rule_cited_in_a_source_exists() -> None:
    unknown = [f"{place}: {rule}" for rule, place in citations(project_sources()) if rule not in RULES]
    assert not unknown, "\n" + "\n".join(unknown)


def test_every_rule_that_a_test_is_marked_with_exists(request: pytest.FixtureRequest) -> None:
    marked = {
        (rule, item.nodeid)
        for item in request.session.items
        for mark in item.iter_markers("rule")
        for rule in mark.args
    }
    assert not [f"{test}: {rule}" for rule, test in marked if rule not in RULES]


def test_citations_are_found_where_they_are_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ROOT", tmp_path)
    source = tmp_path / "a.py"
    source.write_text('"""SHA-1, N-99, N-ADD-x, B-A-1."""\n# N-ADD-999, A-99; see N-V2-16.\n')
    assert list(citations([source])) == [("N-ADD-999", "a.py:2"), ("A-99", "a.py:2"), ("N-V2-16", "a.py:2")]


def test_the_report_names_the_tests_of_each_rule_and_counts() -> None:
    lines = report(["N-A-1", "N-A-2"], {"N-A-1": Counter({"tests/x.py::test_b": 1, "tests/x.py::test_a": 3})})
    assert lines.splitlines() == [
        "N-A-1",
        "    tests/x.py::test_a  (3 cases)",
        "    tests/x.py::test_b",
        "N-A-2  no test",
        "2 rules, 1 covered, 1 uncovered",
    ]
