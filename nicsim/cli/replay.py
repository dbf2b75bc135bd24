"""`nicsim replay`: a capture through the NIC."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from nicsim.cli.options import AbiName

if TYPE_CHECKING:
    from nicsim.replay.session import ReplayRequest

EXPECTATIONS_DIFFER = 1


def replay(
    capture: Annotated[str, typer.Argument(metavar="CAPTURE", help="A pcap or pcapng file, Ethernet or raw IP.")],
    sas: Annotated[str, typer.Option(metavar="FILE", help="The SAs with their keys: our JSON, or Wireshark's esp_sa.")],
    local: Annotated[
        str | None, typer.Option(metavar="ADDR", help="The host whose NIC this is; else the TTLs decide.")
    ] = None,
    profile: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The kind of card: ndis51, ndis61, reference, or a TOML file.")
    ] = "reference",
    replay_window: Annotated[
        int | None, typer.Option(metavar="N", help="The host's anti-replay window; 0 is off.", show_default="64")
    ] = None,
    strict_addresses: Annotated[
        bool, typer.Option("--strict-addresses", help="Take the addresses of the SA file as they are written.")
    ] = False,
    json: Annotated[
        str | None, typer.Option(metavar="OUT", help="Write JSON lines, one object a frame; - is standard output.")
    ] = None,
    explain: Annotated[int | None, typer.Option(metavar="N", min=1, help="Tell what happened to frame N.")] = None,
    expect: Annotated[
        str | None, typer.Option(metavar="FILE", help="Compare with an expect.json and list the frames that differ.")
    ] = None,
    abi: Annotated[AbiName, typer.Option(help="The pointer width of the host.")] = AbiName.X64,
    impair: Annotated[
        list[str] | None, typer.Option(metavar="NAME[=N]", help="Have card or driver misbehave; may be repeated.")
    ] = None,
) -> int:
    """Replay a capture and say for every frame what the NIC did, and why.

    \b
    nicsim replay traces/natt-3des-md5-server.pcap --sas traces/natt-3des-md5-server.sas.json
    nicsim replay capture.pcapng --sas esp_sa --local 203.0.113.2 --json frames.jsonl
    nicsim replay capture.pcapng --sas esp_sa --local 203.0.113.2 --explain 17

    Exit status: 0 done, 1 the expectations differ, 2 bad input.
    """
    from nicsim.replay.session import ReplayRequest
    from offload_oids import Abi

    request = ReplayRequest(
        capture, sas, local, profile, replay_window, strict_addresses, expect, Abi(abi.value), tuple(impair or ())
    )
    if explain is not None:
        return tell_story(request, explain)
    return run(request, json)


def run(request: ReplayRequest, json: str | None) -> int:
    """Replay everything; the summary goes to standard output unless the JSON does."""
    from nicsim.files import whole_text_file
    from nicsim.replay.session import Session
    from nicsim.report.replay import frame_as_json, show_differences, show_summary
    from nicsim.report.terminal import console_for, with_progress

    with Session(request) as session, ExitStack() as stack:
        out: TextIO | None = sys.stdout
        if json != "-":
            inputs = (request.capture, request.sas, request.expect or "", request.profile)
            out = stack.enter_context(whole_text_file(json, *inputs)) if json else None
        capture = session.capture
        results = with_progress(session.results(), lambda: capture.bytes_read, capture.size, sys.stderr, time.monotonic)
        for result in results:
            if out:
                out.write(frame_as_json(result) + "\n")
    console = console_for(sys.stderr if json == "-" else sys.stdout)
    show_summary(console, session.summary)
    if request.expect is None:
        return 0
    show_differences(console, session.differences)
    return EXPECTATIONS_DIFFER if session.differences else 0


def tell_story(request: ReplayRequest, number: int) -> int:
    """Replay up to one frame and tell its story."""
    from nicsim.replay.session import Session
    from nicsim.report.replay import show_story
    from nicsim.report.terminal import console_for

    with Session(request) as session:
        show_story(console_for(sys.stdout), session.explain(number))
    return 0
