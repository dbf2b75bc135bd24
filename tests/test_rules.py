"""No test and no source cites a rule that the specification digest does not have."""

from collections import Counter
from pathlib import Path

import pytest

from tests import rules
from tests.rules import DIGEST, ROOT, citations, not_observable, project_sources, rule_ids
from tests.rules_break import Mutation, applied, read_mutations
from tests.rules_report import report

RULES = rule_ids(DIGEST.read_text())
MUTATIONS = read_mutations()


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
    shown = {"N-A-1": Counter({"tests/x.py::test_b": 1, "tests/x.py::test_a": 3}), "A-1": Counter({"tests/x.py::y": 1})}
    lines = report(["N-A-1", "N-A-2", "N-A-3", "N-VER-1", "A-1", "A-2"], shown, ["N-A-3", "N-VER-1"])
    assert lines.splitlines() == [
        "N-A-1",
        "    tests/x.py::test_a  (3 cases)",
        "    tests/x.py::test_b",
        "N-A-2  no test",
        "N-A-3  not observable",
        "N-VER-1  not observable",
        "A-1",
        "    tests/x.py::y",
        "A-2  no test",
        "page history: 1 rules, 0 covered, 1 not observable, 0 uncovered",
        "readings: 2 rules, 1 covered, 0 not observable, 1 uncovered",
        "3 rules, 1 covered, 1 not observable, 1 uncovered",
    ]


def test_what_is_not_observable_is_a_rule_with_an_argument_and_no_test_shows_it(request: pytest.FixtureRequest) -> None:
    marks = (mark for item in request.session.items for mark in item.iter_markers("rule"))
    shown = {rule for mark in marks for rule in mark.args}
    for rule, argument in not_observable().items():
        assert rule in RULES
        assert rule not in shown
        assert argument.endswith(".")
        assert len(argument) > 40


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_recorded_mutation_breaks_a_rule_that_exists_and_still_applies(mutation: Mutation) -> None:
    assert mutation.rule in RULES
    assert (ROOT / mutation.test.partition("::")[0]).is_file()
    applied(mutation, (ROOT / mutation.file).read_text())


def test_a_mutation_applies_where_its_old_text_is_there_exactly_once() -> None:
    mutation = Mutation("N-A-1", "a.py", "x = 1", "x = 2", "tests/x.py::test_a")
    assert applied(mutation, "y\nx = 1\n") == "y\nx = 2\n"
    for text in ("", "x = 1\nx = 1\n"):
        with pytest.raises(ValueError, match="times in"):
            applied(mutation, text)
