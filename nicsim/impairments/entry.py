"""What the catalogue says of one impairment, and how one that is switched on is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from nicsim.boundary import Card, Miniport
from nicsim.card.impairments.passing import PassingCard
from nicsim.card.impairments.place import Place
from nicsim.card.impairments.receive import Outcome, Seen, SpoiledReceive
from nicsim.card.impairments.rows import ChangedRows
from nicsim.card.impairments.send import SpoiledSend, as_handed, as_sealed
from nicsim.card.impairments.tasks import Spoil, SpoiledSegments
from nicsim.card.send import IvSource

CardMaker = Callable[[Card, int, int], PassingCard]
DriverMaker = Callable[[Miniport, int], Miniport]
IvMaker = Callable[[IvSource, int], IvSource]


class Boundary(Enum):
    """Where an impairment acts: seen by the driver, or by NDIS and the host."""

    CARD = "card"
    MINIPORT = "miniport"


class Number(Enum):
    """What N counts."""

    NONE = "takes no N"
    NTH = "the N-th time only"
    EVERY = "every N-th time"
    COUNT = "how many"


@dataclass(frozen=True, slots=True)
class Impairment:
    """One way to misbehave. Exactly one of the three makers is there."""

    name: str
    story: str
    rules: tuple[str, ...]
    number: Number
    default: int = 1
    card: CardMaker | None = None
    driver: DriverMaker | None = None
    ivs: IvMaker | None = None

    @property
    def boundary(self) -> Boundary:
        """The boundary on which it acts."""
        return Boundary.MINIPORT if self.driver else Boundary.CARD

    def facts(self) -> dict[str, Any]:
        """Everything there is to say of it, under names that stay."""
        return {
            "name": self.name,
            "boundary": self.boundary.value,
            "story": self.story,
            "rules": list(self.rules),
            "number": self.number.value,
            "default": None if self.number is Number.NONE else self.default,
        }


@dataclass(frozen=True, slots=True)
class Impaired:
    """An impairment that is switched on, with its N."""

    impairment: Impairment
    number: int

    def __str__(self) -> str:
        """As the command line takes it."""
        name = self.impairment.name
        return name if self.impairment.number is Number.NONE else f"{name}={self.number}"


def of_card(
    name: str, make: CardMaker, rules: str, story: str, number: Number = Number.NONE, default: int = 1
) -> Impairment:
    """An impairment of the card."""
    return Impairment(name, story, tuple(rules.split()), number, default, card=make)


def of_driver(
    name: str, make: DriverMaker, rules: str, story: str, number: Number = Number.NONE, default: int = 1
) -> Impairment:
    """An impairment of the driver."""
    return Impairment(name, story, tuple(rules.split()), number, default, driver=make)


def of_ivs(name: str, make: IvMaker, rules: str, story: str, number: Number) -> Impairment:
    """An impairment of the card's source of IVs."""
    return Impairment(name, story, tuple(rules.split()), number, ivs=make)


def of_rows(name: str, change: Callable[..., Any], rules: str, story: str) -> Impairment:
    """An impairment of the rows that the card writes."""
    return of_card(name, partial(ChangedRows, change), rules, story)


def of_received(name: str, spoil: Callable[[Seen], Outcome | None], rules: str, story: str) -> Impairment:
    """An impairment of received frames, every N-th of those that it is about."""
    return of_card(name, partial(SpoiledReceive, spoil), rules, story, Number.EVERY)


def of_handed(name: str, handed: Callable[[bytes, Place], bytes], rules: str, story: str) -> Impairment:
    """An impairment of frames to send, before they are sealed."""
    return of_card(name, partial(SpoiledSend, handed, as_sealed), rules, story, Number.EVERY)


def of_sent(name: str, sent: Callable[[bytes, bytes, Place], bytes], rules: str, story: str) -> Impairment:
    """An impairment of frames to send, after they were sealed."""
    return of_card(name, partial(SpoiledSend, as_handed, sent), rules, story, Number.EVERY)


def of_segments(name: str, spoil: Spoil, rules: str, story: str) -> Impairment:
    """An impairment of every segment of a large send."""
    return of_card(name, partial(SpoiledSegments, spoil), rules, story)
