"""`nicsim profile`: the kinds of cards, what one of them reports, and whether a file describes one."""

import json
import sys
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BAD_INPUT = 2

profile = typer.Typer(
    name="profile",
    help="The kinds of cards: list them, show what one reports, check a file of your own.",
    epilog="Example: nicsim profile show reference",
    rich_markup_mode=None,
)


@profile.command("list")
def list_profiles(as_json: AsJson = False) -> None:
    """List the presets.

    Example: nicsim profile list
    """
    from nicsim.panel.claims import claims_of
    from nicsim.profile import load_profile, preset_names
    from nicsim.report.profiles import show_profiles
    from nicsim.report.terminal import console_for

    claims = [claims_of(load_profile(name)) for name in preset_names()]
    if as_json:
        members = ("name", "about", "ndis", "tables")
        typer.echo(json.dumps([{member: getattr(one, member) for member in members} for one in claims]))
    else:
        show_profiles(console_for(sys.stdout), claims)


@profile.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A preset, or a TOML file.")],
    as_json: AsJson = False,
) -> None:
    """Show what a card reports, how large its tables are, and how it reads the disputed places.

    Example: nicsim profile show tiny
    """
    from dataclasses import asdict

    from nicsim.panel.claims import claims_of
    from nicsim.profile import load_profile
    from nicsim.report.profiles import show_claims
    from nicsim.report.terminal import console_for

    claims = claims_of(load_profile(name))
    if as_json:
        typer.echo(json.dumps(asdict(claims)))
    else:
        show_claims(console_for(sys.stdout), claims)


@profile.command()
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A TOML file, or a preset.")],
    as_json: AsJson = False,
) -> int:
    """Check a profile file: OK, or a line for each fault and exit status 2.

    Example: nicsim profile check my-card.toml
    """
    from nicsim.profile import profile_faults, profile_text

    faults = profile_faults(*profile_text(file))
    if as_json:
        typer.echo(json.dumps({"file": file, "ok": not faults, "faults": faults}))
    else:
        typer.echo("\n".join(faults) or "OK")
    return BAD_INPUT if faults else 0
