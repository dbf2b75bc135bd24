"""The panel's commands about associations: add one, load a file of them, update, delete.

Listed in commands.py.
"""

from __future__ import annotations

from nicsim.errors import InputError
from nicsim.host.offloader import NOT_DELETED, Offloaded
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.host.suitable import InSoftware
from nicsim.panel import sa_words, words
from nicsim.panel.answers import Answer, Deleted, Loaded, SaOutcome, Updated
from nicsim.panel.state import Session
from nicsim.panel.tables import Held, handle_text, spi_text

LOAD_WORDS = ("local", "as", "port", "mode", "udp")
UPDATE_WORDS = ("high",)


def add(session: Session, rest: list[str]) -> Answer:
    """One association from its words."""
    if rest[:1] != ["sa"]:
        raise InputError(f"add needs sa behind it, got {words.shown(rest[0])}")
    asked = sa_words.asked_association(words.pairs(rest[1:], sa_words.SA_WORDS))
    return offload(session, asked.association, asked.version)


def load(session: Session, rest: list[str]) -> Answer:
    """The associations of a file that begin or end at `local`."""
    given = words.pairs(rest[1:], LOAD_WORDS)
    if "local" not in given:
        raise InputError("load needs local=ADDR: the host whose NIC this is")
    local = words.address("local", given["local"])
    file = session.read_sas(rest[0])
    ours = [sa_words.at_home(sa, local, given) for sa in file if local in (sa.src, sa.dst)]
    return Loaded(tuple(offload(session, sa) for sa in ours), skipped=len(file) - len(ours))


def offload(session: Session, sa: SecurityAssociation, version: int | None = None) -> SaOutcome:
    """Offload it if the NIC takes it, and hold it in either case."""
    outcome = session.offloader.add(sa, version=version)
    # One that was kept in software before has had its second try.
    session.held = [one for one in session.held if one.handle or not one.is_same_as(sa)]
    session.held.append(Held(sa, outcome))
    direction = "in" if sa.inbound else "out"
    if isinstance(outcome, Offloaded):
        entry = handle_text(outcome.parser_entry.handle) if outcome.parser_entry else None
        return SaOutcome(
            spi_text(sa.spi), direction, True, outcome.oid.name, handle_text(outcome.handle), entry, "SUCCESS"
        )
    return SaOutcome(
        spi_text(sa.spi),
        direction,
        False,
        status=outcome.status.name if outcome.status is not None else None,
        reason=outcome.reason.label,
        rule=outcome.reason.rule,
        detail=outcome.detail,
    )


def update(session: Session, rest: list[str]) -> Answer:
    """The upper half of an association's sequence numbers, by UPDATE_SA (N-V2-13)."""
    given = words.pairs(rest[1:], UPDATE_WORDS)
    if "high" not in given:
        raise InputError("update needs high=N: the upper 32 bits of the sequence numbers")
    high, one = words.number("high", given["high"], 2**32 - 1), session.find(rest[0])
    if isinstance(one.outcome, InSoftware):
        raise InputError("update needs an association that is on the NIC")
    result = session.offloader.update(one.outcome, high)
    reason = result.reason
    return Updated(
        spi_text(one.sa.spi),
        handle_text(one.handle),
        high,
        result.status.name,
        reason.label if reason else None,
        reason.rule if reason else None,
        result.detail,
    )


def delete(session: Session, rest: list[str]) -> Answer:
    """One association by its handle or its SPI."""
    one = session.find(rest[0])
    if isinstance(one.outcome, InSoftware):
        session.held.remove(one)
        return Deleted(spi_text(one.sa.spi), None, None)
    result = session.offloader.delete(one.outcome)
    if result.status not in NOT_DELETED:
        session.held.remove(one)
    reason = result.reason
    return Deleted(
        spi_text(one.sa.spi),
        handle_text(one.handle),
        result.status.name,
        reason.label if reason else None,
        reason.rule if reason else None,
        result.detail,
    )
