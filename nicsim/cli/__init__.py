"""The command line: arguments in, exit status out. Everything else is imported when a command needs it.

Exit status: 0 done, 1 the answer is no (expectations differ), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from nicsim import __version__
from nicsim.cli.connect import connect, listen
from nicsim.cli.impairments import impairments
from nicsim.cli.layout import layout
from nicsim.cli.nic import nic
from nicsim.cli.oids import oids
from nicsim.cli.profile import profile
from nicsim.cli.replay import replay
from nicsim.cli.scenario import scenario
from nicsim.cli.why import why

BAD_INPUT = 2

app = typer.Typer(
    name="nicsim",
    help="A simulated Windows NIC that does NDIS IPsec task offload, above all UDP-ESP, and says why.",
    epilog="Example: nicsim replay traces/natt-3des-md5-server.pcap --sas traces/natt-3des-md5-server.sas.json",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def show_version(wanted: bool) -> None:
    """`--version`."""
    if wanted:
        typer.echo(f"nicsim {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", help="Show the version.", callback=show_version, is_eager=True),
) -> None:
    """A simulated Windows NIC that does NDIS IPsec task offload, above all UDP-ESP, and says why."""


# The second words are those of `nicsim --help`, where a line has room for so many.
app.command(short_help="a capture through the NIC, frame by frame")(replay)
app.command(short_help="work one NIC by commands, or a script")(nic)
app.add_typer(scenario, short_help="stories of hosts, NATs and links")
app.command(short_help="negotiate with a peer, and offload")(connect)
app.command(short_help="answer peers that negotiate")(listen)
app.add_typer(profile, short_help="the kinds of cards")
app.command(short_help="ways for a card or driver to misbehave")(impairments)
app.command(short_help="what a reason means, and its rule")(why)
app.command(short_help="the requests of IPsec offload")(oids)
app.command(short_help="structures and buffers, byte by byte")(layout)


def run(arguments: list[str]) -> int:
    """Run one command line: its exit status. Whatever is wrong with the input becomes one line on standard error."""
    from nicsim.errors import NicsimError
    from offload_oids import StructureError

    try:
        status = app(args=arguments or ["--help"], prog_name="nicsim", standalone_mode=False)
    except typer.TyperException as error:
        message = f"{error.format_message().rstrip('.')}; {help_for(error)} says what there is"
    except (NicsimError, StructureError) as error:
        message = str(error)
    else:
        return status if isinstance(status, int) else 0
    print(f"nicsim: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - the one place that speaks to stderr
    return BAD_INPUT


def help_for(error: typer.TyperException) -> str:
    """The command line that shows how the command is written."""
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'nicsim'} --help"


def main() -> None:
    """The entry point of the `nicsim` command."""
    sys.exit(run(sys.argv[1:]))
