"""The panel's commands for looking: tables, counters, and what lies between two moments.

Listed in commands.py.
"""

from __future__ import annotations

from nicsim.boundary import Table
from nicsim.errors import InputError
from nicsim.panel import words
from nicsim.panel.answers import Answer, Dump, Goodbye, Marked, ParserLine, SaLine, Stats
from nicsim.panel.state import Session
from nicsim.panel.tables import Moment, difference, moment_of, parser_lines, sa_lines

NOW = "now"


def dump(session: Session, rest: list[str]) -> Answer:
    """The tables."""
    show_keys = words.take_flag(rest, "--show-keys")
    what = rest[0].lower() if rest else "all"
    if what not in ("sas", "parser", "stats", "all"):
        raise InputError(f"dump needs sas, parser, stats or all, got {words.shown(rest[0])}")
    return Dump(
        sas=sas_of(session, show_keys=show_keys) if what in ("sas", "all") else None,
        parser=parser_of(session) if what in ("parser", "all") else None,
        stats=stats_of(session) if what in ("stats", "all") else None,
    )


def sas_of(session: Session, *, show_keys: bool = False) -> tuple[SaLine, ...]:
    """Every association."""
    return sa_lines(session.driver_state, session.nic.card.rows, session.held, session.counts, show_keys=show_keys)


def parser_of(session: Session) -> tuple[ParserLine, ...]:
    """Every parser row."""
    return parser_lines(session.driver_state, session.nic.card.rows.parser, session.offloader.parser_entries)


def stats_of(session: Session) -> Stats:
    """How full the tables are, and the counters."""
    rows = session.nic.card.rows
    used = {
        Table.INBOUND: len(rows.inbound),
        Table.OUTBOUND: len(rows.outbound),
        Table.PARSER: len(rows.parser),
    }
    if rows.capacity[Table.ADDRESS]:
        used[Table.ADDRESS] = len(rows.address)
    return Stats(
        enabled=session.offloader.enabled,
        power=session.driver_state.power.name,
        used={table.value: count for table, count in used.items()},
        capacity={table.value: rows.capacity[table] for table in used},
        in_software=sum(not one.handle for one in session.held),
        impairments=tuple(str(one) for one in session.nic.impairments),
        counters=session.counts.shown(),
    )


def counters(session: Session, rest: list[str]) -> Answer:
    """What happened so far."""
    return session.counts.shown()


# --- moments ---------------------------------------------------------------------------------------------------------


def mark(session: Session, rest: list[str]) -> Answer:
    """Keep this moment under a name."""
    if rest[0] == NOW or words.shown(rest[0])[0] == "(":
        raise InputError(f"a mark needs a short name other than {NOW}")
    session.moments[rest[0]] = moment_now(session)
    return Marked(rest[0], len(sas_of(session)), len(parser_of(session)))


def diff(session: Session, rest: list[str]) -> Answer:
    """What lies between a moment and another, or now."""
    before, after = rest[0], rest[1] if len(rest) > 1 else NOW
    for name in (before, after):
        if name != NOW and name not in session.moments:
            raise InputError(f"there is no mark {words.shown(name)}; there are {', '.join(session.moments) or 'none'}")
    moments = {NOW: moment_now(session), **session.moments}
    return difference(before, moments[before], after, moments[after])


def moment_now(session: Session) -> Moment:
    """The tables as they are."""
    return moment_of(sas_of(session), parser_of(session), stats_of(session))


def leave(session: Session, rest: list[str]) -> Answer:
    """End the session."""
    session.over = True
    return Goodbye()
