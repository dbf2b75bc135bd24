"""`nicsim scenario`: stories of hosts, NATs and links, run on a virtual clock."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

BAD_INPUT = 2
NOT_AS_EXPECTED = 1

scenario = typer.Typer(
    name="scenario",
    help="Run stories of hosts, NATs and links on a virtual clock.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@scenario.command("list")
def list_scenarios(as_json: AsJson = False) -> None:
    """List the scenarios that come with nicsim.

    Example: nicsim scenario list --json
    """
    from nicsim.report.scenario import show_scenarios
    from nicsim.report.terminal import console_for
    from nicsim.scenario.catalogue import load_scenario, scenario_names

    facts = [
        {"name": one.name, "about": one.about, "source": one.source} for one in map(load_scenario, scenario_names())
    ]
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        show_scenarios(console_for(sys.stdout), facts)


@scenario.command()
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A TOML file, or one of ours.")],
    as_json: AsJson = False,
) -> int:
    """Check a scenario file without running it: OK, or a line for each fault and exit status 2.

    Example: nicsim scenario check my-story.toml
    """
    from nicsim.scenario.catalogue import scenario_text
    from nicsim.scenario.run import faults

    found = faults(*scenario_text(file))
    if as_json:
        typer.echo(json.dumps({"file": file, "ok": not found, "faults": found}))
    else:
        typer.echo("\n".join(found) or "OK")
    return BAD_INPUT if found else 0


@scenario.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="One of nicsim scenario list, or a TOML file.")],
    write: Annotated[
        str | None,
        typer.Option(
            metavar="OUT.pcapng",
            help="Write what goes by: all points in one file, a file for each, and the keys beside them.",
        ),
    ] = None,
    seed: Annotated[str | None, typer.Option(help="Decides everything that chance decides.")] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="The kind of card of the host that the scenario is about.")
    ] = None,
    impair: Annotated[
        list[str] | None, typer.Option(metavar="NAME[=N]", help="Let that card or its driver misbehave.")
    ] = None,
    every_line: Annotated[bool, typer.Option("--all", help="Show every line of a long ladder.")] = False,
    as_json: AsJson = False,
) -> int:
    """Run a scenario and show it; exit status 1 where something that must be seen was not.

    Example: nicsim scenario run nat-remaps-ports --write /tmp/story.pcapng
    """
    from nicsim.impairments import parse_impairment
    from nicsim.report.scenario import scenario_as_json, show_scenario
    from nicsim.report.terminal import console_for
    from nicsim.scenario.catalogue import load_scenario
    from nicsim.scenario.files import write_captures
    from nicsim.scenario.run import Run

    story = load_scenario(name)
    impairments = tuple(parse_impairment(text) for text in impair or ())
    one = Run(story, seed if seed is not None else story.seed, profile, impairments)
    result = one.go(record=write is not None)
    if write is not None:
        write_captures(write, one.points, story.subject or next(iter(story.nodes)), one.keys)
    if as_json:
        typer.echo(json.dumps(scenario_as_json(result)))
    else:
        show_scenario(console_for(sys.stdout), result, every_line=every_line)
    return 0 if result.passed else NOT_AS_EXPECTED
