"""docs/panel.md, written from the table of commands: `python -m tests.panel.panel_md`."""

from __future__ import annotations

from nicsim.panel.commands import COMMANDS
from nicsim.panel.session import HELP
from tests.rules import ROOT

PANEL_MD = ROOT / "docs" / "panel.md"
HEAD = """\
# The front panel

`nicsim nic` works one NIC and one host that offloads to it, at a prompt, from a script (`--script FILE`, `-` is
standard input), or for another program (`--json`). A line is one command; empty lines and lines that begin with
`#` are none. This page is written from `nicsim/panel/commands.py`.

Numbers are decimal, or hex behind `0x`. Keys and frames are hex digits. An association is named by its handle or
its SPI; where several have the SPI, `handle=` says which. `add sa` and `load` leave it to the host which version
of the offload takes an association, if any; a refusal is an answer, with the reason and the rule behind it.

With `--json` each command is answered by one object on one line, as soon as it has run: `line`, `command`, and
`result` or `error`. `error` has `message`, and `reason` and `rule` where there are such (else null). The exit
status of a script is 0, or 2 if a command ended with an error; `--stop-on-error` ends it there. At the prompt it
is 0.

The rule monitor is on: a driver or card that breaks a rule, because of an impairment for example, ends the command
with the rule as its error, and the session goes on.
"""


def panel_md() -> str:
    """The whole page."""
    parts = [HEAD]
    for one in (HELP, *(command.shown() for command in COMMANDS.values())):
        parts.append(
            f"## {one.name}\n\n    {one.usage}\n\n{one.about[0].upper()}{one.about[1:]}.\n\n    {one.example}\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PANEL_MD.write_text(panel_md(), encoding="utf-8")
