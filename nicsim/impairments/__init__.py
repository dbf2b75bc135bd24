"""The catalogue of ways in which a card or a driver misbehaves, by name.

    Nic(capabilities, iv_source=..., impairments=[impairment("row-write-fails", 3), impairment("drops-failed")])
    nicsim replay ... --impair row-write-fails=3 --impair drops-failed

Each has a story in one line, the rules that it breaks, the boundary on which it acts, and for most a number N.
catalogue.py is the table, entry.py says what an entry is; the wrappers are in card/impairments and driver/impairments.
Of several, the first is the innermost one.

Called by nic.py, which puts them in place, and by the command line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from nicsim.boundary import Card, Miniport, Row, Table
from nicsim.card.send import IvSource
from nicsim.errors import InputError
from nicsim.impairments.catalogue import CATALOGUE
from nicsim.impairments.entry import Boundary, Impaired, Impairment, Number

__all__ = [
    "BY_NAME",
    "CATALOGUE",
    "Boundary",
    "Impaired",
    "Impairment",
    "Number",
    "impaired_card",
    "impaired_driver",
    "impaired_ivs",
    "impairment",
    "parse_impairment",
]

BY_NAME: dict[str, Impairment] = {one.name: one for one in CATALOGUE}


# --- choosing ------------------------------------------------------------------------------------------------------


def impairment(name: str, number: int | None = None) -> Impaired:
    """The impairment of this name, with its N or the default one. Raises InputError for what there is not."""
    found = BY_NAME.get(name)
    if found is None:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), BY_NAME, n=3, cutoff=0.5)
        hint = f"near it are {', '.join(near)}" if near else "nicsim impairments lists them"
        raise InputError(f"no impairment is called {name!r}; {hint}")
    if number is not None and found.number is Number.NONE:
        raise InputError(f"the impairment {name} takes no N, {number} came")
    if number is not None and number < 1:
        raise InputError(f"the N of the impairment {name} needs to be 1 or more, not {number}")
    return Impaired(found, found.default if number is None else number)


def parse_impairment(text: str) -> Impaired:
    """NAME or NAME=N, as the command line has it."""
    name, equals, number = text.partition("=")
    if equals and not (number.isascii() and number.isdecimal()):
        raise InputError(f"the N of the impairment {name} needs to be a number, not {number!r}")
    return impairment(name, int(number) if equals else None)


# --- putting them in place -----------------------------------------------------------------------------------------


def impaired_ivs(source: IvSource, impairments: Iterable[Impaired]) -> IvSource:
    """The source of IVs with what spoils it."""
    for one in impairments:
        if one.impairment.ivs is not None:
            source = one.impairment.ivs(source, one.number)
    return source


def impaired_card(
    below: Card, impairments: Iterable[Impaired], link_type: int, written: Iterable[tuple[Table, int, Row]] = ()
) -> Card:
    """The card with what spoils it; the card itself where nothing does. `written` are the rows that it has already."""
    for one in impairments:
        if one.impairment.card is not None:
            below = wrapped = one.impairment.card(below, one.number, link_type)
            for table, slot, row in written:
                wrapped.learn(table, slot, row)
    return below


def impaired_driver(below: Miniport, impairments: Iterable[Impaired]) -> Miniport:
    """The driver with what spoils it; the driver itself where nothing does."""
    for one in impairments:
        if one.impairment.driver is not None:
            below = one.impairment.driver(below, one.number)
    return below
