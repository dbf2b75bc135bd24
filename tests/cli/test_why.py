"""`nicsim why`: every reason and every rule can be asked after, and the shipped rules are those of the digest."""

import json
import re

import pytest

from nicsim.cli import run
from nicsim.reasons import Reason
from nicsim.report.reasons import INSTEAD, NO_COMPLAINT
from nicsim.rules import rule_texts
from tests.cli.rules_json import RULES_JSON, rules_json, rules_of
from tests.rules import DIGEST, ROOT, rule_ids


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["why", *arguments]) == 0
    return capsys.readouterr().out


def test_the_shipped_rules_are_those_of_the_digest() -> None:
    assert RULES_JSON.read_text(encoding="utf-8") == rules_json(), "write it again: python -m tests.cli.rules_json"
    assert list(rule_texts()) == rule_ids(DIGEST.read_text(encoding="utf-8"))
    assert all(text and not text.startswith("*") for text in rule_texts().values())


def test_the_indented_lines_below_a_rule_belong_to_it() -> None:
    digest = "- **N-ADD-1** one *Page* `code`\n  - more\n- **A-2 Title.** two\n\nno rule\n"
    assert rules_of(digest) == {"N-ADD-1": 'one "Page" code - more', "A-2": "Title. two"}


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_every_reason_is_explained_with_its_rule(reason: Reason, capsys: pytest.CaptureFixture[str]) -> None:
    out = asked(capsys, reason.label)
    assert reason.sentence in out
    if reason.rule and reason.rule.startswith("RFC "):
        assert reason.rule in out
    elif reason.rule:
        assert f"{reason.rule}: {rule_texts()[reason.rule]}" in out
    if reason in INSTEAD:
        assert f"Accepted instead: {INSTEAD[reason]}." in out


def test_every_reason_says_what_was_wrong_and_what_would_have_been_accepted() -> None:
    assert set(INSTEAD) | NO_COMPLAINT == set(Reason)
    assert not set(INSTEAD) & NO_COMPLAINT
    for reason in Reason:
        assert re.fullmatch(r"[A-Z].*[^.]\.", reason.sentence), reason
    for text in INSTEAD.values():
        assert not text.endswith(".")


# What the capture file is like, and a limit of the host's own: no rule of the documentation or of an RFC says these.
WITHOUT_RULE = {Reason.NOT_THIS_HOST, Reason.NOT_CAPTURED_WHOLE, Reason.TOO_MANY_WAITING}


def test_every_other_reason_stands_on_a_rule() -> None:
    assert {reason for reason in Reason if reason.rule is None} == WITHOUT_RULE


# IKE has its list of reasons before the exchanges that give them.
def test_every_reason_is_given_by_some_code() -> None:
    files = [file for file in (ROOT / "nicsim").rglob("*.py") if file.name != "reasons.py"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    given = set(re.findall(r"\bReason\.([A-Z0-9_]+)\b", text))
    unused = {reason.name for reason in Reason} - given
    assert not {name for name in unused if not name.startswith("IKE_")}


def test_a_reason_as_json_has_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(asked(capsys, "FILTER_MISMATCH", "--json")) == {
        "reason": "filter-mismatch",
        "number": 22,
        "sentence": Reason.FILTER_MISMATCH.sentence,
        "rule": "N-SA-2",
        "rule_text": rule_texts()["N-SA-2"],
        "instead": INSTEAD[Reason.FILTER_MISMATCH],
    }
    without_rule = json.loads(asked(capsys, "not-this-host", "--json"))
    assert (without_rule["rule"], without_rule["rule_text"], without_rule["instead"]) == (None, None, None)


def test_a_rule_is_told_with_the_reasons_that_stand_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    out = asked(capsys, "n-rx-5")
    assert out.startswith(f"N-RX-5: {rule_texts()['N-RX-5']}")
    assert "no-parser-entry, keepalive, runt" in out
    assert json.loads(asked(capsys, "N-ADD-3", "--json")) == {
        "rule": "N-ADD-3", "rule_text": rule_texts()["N-ADD-3"], "reasons": [],
    }  # fmt: skip
    assert "Reasons: none" in asked(capsys, "N-ADD-3")


def test_without_a_name_it_lists_all_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    out = asked(capsys)
    assert all(reason.label in out for reason in Reason)
    listed = json.loads(asked(capsys, "--json"))
    assert [one["reason"] for one in listed] == [reason.label for reason in Reason]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("filter-mismach", "near it are filter-mismatch"),
        ("NADD-3", "N-ADD-3"),
        ("qqqqq", "nicsim why lists the reasons"),
        ("", "nicsim why lists the reasons"),
    ],
)
def test_an_unknown_name_is_one_line_with_near_ones(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["why", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert hint in captured.err
