"""`nicsim nic`: the front panel of one NIC, at a prompt or from a script."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from nicsim.cli.options import AbiName

if TYPE_CHECKING:
    from nicsim.panel.sa_words import SaWords
    from nicsim.panel.session import Panel

BAD_INPUT = 2
PROMPT = "nic> "
GREETING = "help lists the commands, help COMMAND shows how one is written; quit or Ctrl-D ends the session"


def nic(
    profile: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The kind of card; nicsim profile list shows the presets.")
    ] = "reference",
    abi: Annotated[AbiName, typer.Option(help="The pointer width of the host.")] = AbiName.X64,
    script: Annotated[
        str | None, typer.Option(metavar="FILE", help="Run the commands of a file; - is standard input.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer one JSON object a command, one a line.")] = False,
    stop_on_error: Annotated[bool, typer.Option("--stop-on-error", help="End a script at the first error.")] = False,
    impair: Annotated[
        list[str] | None, typer.Option(metavar="NAME[=N]", help="Have card or driver misbehave; may be repeated.")
    ] = None,
) -> int:
    """Work one NIC by commands: associations, requests, frames, tables. `help` lists the commands.

    \b
    nicsim nic --profile tiny
    nicsim nic --script examples.nic --json
    nicsim nic --impair row-write-fails=2

    A request that the NIC refuses is an answer, with its reason and rule. What could not be understood or done is an
    error, with the line of the script.

    Exit status: 0 done, 2 bad input, or with --script a command that ended with an error.
    """
    from nicsim.impairments import parse_impairment
    from nicsim.panel.session import Panel
    from nicsim.profile import load_profile
    from offload_oids import Abi

    impairments = [parse_impairment(text) for text in impair or ()]
    panel = Panel(load_profile(profile), Abi(abi.value), file_associations, impairments)
    if script is None:
        at_prompt(panel, as_json)
        return 0
    failed = False
    name = "standard input" if script == "-" else script
    for line in script_lines(script):
        if answered(panel, line, as_json, name) is False:
            failed = True
        if panel.over or (failed and stop_on_error):
            break
    return BAD_INPUT if failed else 0


def answered(panel: Panel, line: str, as_json: bool, script: str = "") -> bool | None:
    """Run one line and print its answer: whether it went well, None for a line without a command."""
    from nicsim.report.panel import reply_as_json, reply_as_text

    reply = panel.reply(line)
    if reply is None:
        return None
    sys.stdout.write((reply_as_json(reply) if as_json else reply_as_text(reply, script)) + "\n")
    sys.stdout.flush()  # a program may wait for it
    return reply.error is None


def at_prompt(panel: Panel, as_json: bool) -> None:
    """Ask for commands until `quit` or Ctrl-D; Ctrl-C leaves the command."""
    with suppress(ImportError):  # no history where there is no readline
        import readline  # noqa: F401
    is_person = sys.stdin.isatty()
    prompt = PROMPT if is_person else ""
    if is_person and not as_json:
        sys.stdout.write(GREETING + "\n")
    while not panel.over:
        try:
            answered(panel, input(prompt), as_json)
        except KeyboardInterrupt:
            sys.stdout.write("\n")
        except EOFError:
            if is_person:
                sys.stdout.write("\n")
            break
        except UnicodeDecodeError:
            sys.stdout.write("error: a command needs to be text\n")


def script_lines(script: str) -> Iterator[str]:
    """The lines of a script, each when it is there."""
    from nicsim.errors import InputError

    with ExitStack() as stack:
        try:
            file = sys.stdin if script == "-" else stack.enter_context(open(script, encoding="utf-8"))
            yield from iter(file.readline, "")
        except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL inside the path
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InputError(f"the script {script!a} cannot be read: {reason}") from None


def file_associations(path: str) -> list[SaWords]:
    """The associations of an SA file, in the panel's words."""
    from nicsim.boundary import UdpType
    from nicsim.panel.sa_words import SaWords
    from nicsim.replay.sas import FileSa, Marker, read_sa_file

    def udp_type(sa: FileSa) -> UdpType | None:
        if sa.marker is Marker.NON_IKE:
            return UdpType.IKE
        return None if sa.udp_encap is None else UdpType.OTHER if sa.udp_encap else UdpType.NATIVE

    return [
        SaWords(
            where=sa.where,
            spi=sa.spi,
            src=sa.src,
            dst=sa.dst,
            keys=sa.keys,
            mode=sa.mode,
            udp_type=udp_type(sa),
            src_port=sa.src_port,
            dst_port=sa.dst_port,
            esn=sa.esn,
            sequence_high=sa.sequence_high,
            inner_src=sa.inner_src[0] if len(sa.inner_src) == 1 else "",
            inner_dst=sa.inner_dst[0] if len(sa.inner_dst) == 1 else "",
        )
        for sa in read_sa_file(path)
    ]
