"""`nicsim why`: what a reason means, and the rule behind it."""

import json
import sys
from typing import Annotated

import typer


def why(
    name: Annotated[
        str | None, typer.Argument(metavar="[REASON|RULE]", help="A reason or a rule id.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain a reason: its sentence, its rule, and what would have been accepted. Without a name: all reasons.

    Example: nicsim why filter-mismatch

    Example: nicsim why N-ADD-3 --json
    """
    from nicsim.reasons import Reason
    from nicsim.report import reasons as report
    from nicsim.report.terminal import console_for
    from nicsim.rules import rule_texts

    rules, console = rule_texts(), console_for(sys.stdout)
    if name is None:
        if as_json:
            typer.echo(json.dumps([report.reason_facts(reason, rules) for reason in Reason]))
        else:
            report.show_all_reasons(console, Reason)
        return
    known = {reason.label: reason for reason in Reason}
    wanted = name.lower().replace("_", "-")
    if wanted in known:
        facts, show = report.reason_facts(known[wanted], rules), report.show_reason
    elif wanted.upper() in rules:
        facts, show = report.rule_facts(wanted.upper(), rules), report.show_rule
    else:
        raise _unknown(name, [*known, *rules])
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        show(console, facts)


def _unknown(name: str, known: list[str]) -> Exception:
    import difflib

    from nicsim.errors import InputError

    names = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower().replace("_", "-"), names, n=3)
    hint = f"near it are {', '.join(names[one] for one in near)}" if near else "nicsim why lists the reasons"
    return InputError(f"no reason and no rule is called {name!r}; {hint}")
