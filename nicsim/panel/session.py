"""The front panel: command lines in, answers as plain data out.

A command takes the words behind its name and answers with data; what is wrong with them raises an error of
`errors.py`, and `Panel.reply` turns that into the reply's `error`.

Called by the command line, which brings the lines and the reader of SA files.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from nicsim.capabilities import Capabilities
from nicsim.errors import InputError, NicsimError
from nicsim.impairments import Impaired
from nicsim.panel import words
from nicsim.panel.answers import Answer, Failure, Help, Reply, Usage
from nicsim.panel.commands import COMMANDS, Command
from nicsim.panel.state import SaReader, Session
from nicsim.reasons import Reason
from offload_oids import Abi, StructureError

HELP = Usage("help", "help [COMMAND]", "the commands, or one of them", "help add")


class Panel:
    """One session. `reply` takes a command line; nothing it is given can end it but `quit`."""

    def __init__(
        self, capabilities: Capabilities, abi: Abi, read_sas: SaReader, impairments: Sequence[Impaired] = ()
    ) -> None:
        self.session = Session(capabilities, abi, read_sas, impairments)
        self._lines = 0

    @property
    def over(self) -> bool:
        """Whether `quit` was said."""
        return self.session.over

    def reply(self, line: str) -> Reply | None:
        """Run one command line; None for an empty one or a comment."""
        self._lines += 1
        if not line.strip() or line.lstrip().startswith("#"):
            return None
        name = ""
        try:
            name, *rest = words.split(line)
            known = name.lower()
            if known == HELP.name:
                return Reply(self._lines, known, answer=helped(rest))
            if known not in COMMANDS:
                unknown, name = unknown_command(name), shown_name(name)
                raise unknown
            return Reply(self._lines, known, answer=run(COMMANDS[known], self.session, rest))
        except (NicsimError, StructureError) as error:
            return Reply(self._lines, name, error=failure(error))


def run(command: Command, session: Session, rest: list[str]) -> Answer:
    """Run a command with the words behind its name."""
    if not command.least <= len(rest) <= command.most:
        raise InputError(f"needs: {command.usage}")
    return command.run(session, rest)


def helped(rest: list[str]) -> Help:
    """All commands, or some."""
    wanted = [name.lower() for name in rest]
    if unknown := [name for name in wanted if name not in COMMANDS and name != HELP.name]:
        raise unknown_command(unknown[0])
    commands = [HELP, *(command.shown() for command in COMMANDS.values())]
    return Help(tuple(one for one in commands if not wanted or one.name in wanted))


def unknown_command(name: str) -> InputError:
    """What to say to a command that there is not."""
    near = difflib.get_close_matches(name.lower()[:40], [HELP.name, *COMMANDS], n=2)
    hint = f"near it is {' and '.join(near)}" if near else "help lists them"
    return InputError(f"there is no command {words.shown(name)}; {hint}")


def shown_name(name: str) -> str:
    """The name of an unknown command, which may have been a key."""
    return ascii(name[:40])[1:-1] if words.shown(name)[0] != "(" else "?"


def failure(error: NicsimError | StructureError) -> Failure:
    """An error as data, with the reason and the rule that it carries."""
    reason: Reason | None = getattr(error, "reason", None)
    rule: str | None = reason.rule if reason else getattr(error, "rule", None)
    return Failure(" ".join(str(error).split()), reason.label if reason else None, rule)
