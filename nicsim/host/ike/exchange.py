"""An exchange as a table: who we are and where we are, what must have come, what we do, and where we are then.

A step is a function from a frozen state and a message to the next state and an answer. It either returns both or
raises, so a message that is refused leaves everything as it was. main_mode.py, aggressive_mode.py and quick_mode.py
hold the tables; ike_sa.py walks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from nicsim.errors import IkeRefused
from nicsim.events import Endpoint, Role
from nicsim.host.ike.config import IkeConfig
from nicsim.reasons import Reason
from nicsim.wire.isakmp import Header, Message, NotifyType, Payload, PayloadType, payload_name


class State(Enum):
    """Where an exchange is: what we said last."""

    START = "nothing said"
    SA_SENT = "proposals sent"
    KE_SENT = "key exchange sent"
    ID_SENT = "identity sent"
    COMMITTING = "waiting for the peer to say that it is connected"
    ESTABLISHED = "done"


class Seal(Enum):
    """Whether a message is encrypted."""

    CLEAR = "in clear"
    SEALED = "encrypted"
    EITHER = "encrypted or not"
    # There is no message.
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Received:
    """A whole message as it came, and the two ends of its way."""

    header: Header
    datagram: bytes
    # Tells it from every other message.
    digest: bytes
    local: Endpoint
    remote: Endpoint


@dataclass(slots=True, eq=False)
class Said:
    """What we answered to a message, to say it again to whoever sends that message again."""

    # Of the message that was answered; None where we began.
    digest: bytes | None
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that came, decrypted, and the two ends of its way."""

    message: Message
    local: Endpoint
    remote: Endpoint

    def all(self, type_: PayloadType) -> list[bytes]:
        """The bodies of all payloads of a type."""
        return [payload.body for payload in self.message.payloads if payload.type == type_]

    def one(self, type_: PayloadType) -> bytes:
        """The body of the one payload of a type. Raises IkeRefused if there is none, or another."""
        bodies = self.all(type_)
        if len(bodies) != 1:
            raise IkeRefused(
                Reason.IKE_UNEXPECTED,
                f"one {payload_name(type_)} payload is needed here, {len(bodies)} came",
                NotifyType.PAYLOAD_MALFORMED,
            )
        return bodies[0]


@dataclass(frozen=True, slots=True)
class Means:
    """What a step needs from outside its own state."""

    config: IkeConfig
    random: Callable[[int], bytes]


class Exchange(Protocol):
    """What every exchange's state has: it is a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def role(self) -> Role: ...

    @property
    def state(self) -> State: ...


E = TypeVar("E", bound=Exchange)
Answer = tuple[Payload, ...]


@dataclass(frozen=True, slots=True)
class Step(Generic[E]):
    """One arrow of an exchange's diagram."""

    comes: Seal
    needs: tuple[PayloadType, ...]
    act: Callable[[E, Arrived, Means], tuple[E, Answer]]
    goes: Seal
    then: State
    # Whether we say it again until something comes: nobody else would.
    repeats: bool = False


def step_of(steps: Mapping[tuple[Role, State], Step[E]], exchange: E) -> Step[E]:
    """The step that a message would take the exchange. Raises IkeRefused where none is waited for."""
    step = steps.get((exchange.role, exchange.state))
    if step is None:
        raise IkeRefused(Reason.IKE_UNEXPECTED, f"no message is waited for: {exchange.state.value}")
    return step


def check_seal(step: Step[E], encrypted: bool) -> None:
    """Raises IkeRefused for a message in clear that must be encrypted, or the other way round."""
    if (step.comes is Seal.SEALED and not encrypted) or (step.comes is Seal.CLEAR and encrypted):
        raise IkeRefused(Reason.IKE_FLAGS, f"the message must come {step.comes.value}", NotifyType.INVALID_FLAGS)


def take(step: Step[E], exchange: E, arrived: Arrived, means: Means) -> tuple[E, Answer]:
    """What the step makes of the exchange and of the message. Raises IkeRefused or IsakmpMalformed.

    An act that has to wait for more than its row says moves the exchange itself.
    """
    for needed in step.needs:
        arrived.one(needed)
    after, answer = step.act(exchange, arrived, means)
    return (after if after.state is not exchange.state else replace(after, state=step.then)), answer
