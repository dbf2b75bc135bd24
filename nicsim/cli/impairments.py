"""`nicsim impairments`: the ways in which a card or a driver can be made to misbehave."""

import json
import sys
from typing import Annotated

import typer


def impairments(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the impairments: what --impair NAME[=N] of every command that runs a NIC takes, and impair in nicsim nic.

    Example: nicsim impairments --json
    """
    from nicsim.impairments import CATALOGUE
    from nicsim.report.impairments import show_impairments
    from nicsim.report.terminal import console_for

    facts = [one.facts() for one in CATALOGUE]
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        show_impairments(console_for(sys.stdout), facts)
