"""The panel's commands for raw requests: a query by name, and a set with a buffer of the user's own.

Listed in commands.py.
"""

from __future__ import annotations

from pathlib import Path

from nicsim.boundary import RequestKind, StatusIndication
from nicsim.errors import InputError
from nicsim.panel import words
from nicsim.panel.answers import Answer, Event, Events, OidAnswer
from nicsim.panel.decode import decoded, query_buffer
from nicsim.panel.state import OIDS, Session
from offload_oids import Oid

LARGEST_HEX_FILE = 1 << 22


def query(session: Session, rest: list[str]) -> Answer:
    """A query request, answered by NDIS or by the driver."""
    oid = words.one_of("the OID", rest[0], OIDS)
    return requested(session, RequestKind.QUERY, oid, query_buffer(oid, session.nic.abi))


def set_oid(session: Session, rest: list[str]) -> Answer:
    """A raw set request with a buffer of the user's own."""
    show_keys = words.take_flag(rest, "--show-keys")
    if len(rest) != 2:
        raise InputError("oid needs OID_NAME and HEXFILE or 0xHEX")
    oid = words.one_of("the OID", rest[0], OIDS)
    text = rest[1] if rest[1][:2] in ("0x", "0X") else text_of(rest[1])
    return requested(session, RequestKind.SET, oid, words.octets("the buffer", text), show_keys=show_keys)


def requested(session: Session, kind: RequestKind, oid: Oid, buffer: bytes, *, show_keys: bool = False) -> OidAnswer:
    """A request of the session's own, and its answer with the buffer decoded."""
    result = session.request(kind, oid, buffer)
    return OidAnswer(
        oid.name,
        kind.value,
        result.status.name,
        result.bytes_read,
        result.bytes_written,
        result.bytes_needed,
        result.reason.label if result.reason else None,
        result.reason.rule if result.reason else None,
        result.detail,
        decoded(kind, oid, result.buffer, session.nic.abi, show_keys=show_keys),
    )


def poll(session: Session, rest: list[str]) -> Answer:
    """What NDIS told the host since the last time: completions of requests that pended, and indications of status."""
    events = []
    for event in session.nic.poll():
        if isinstance(event, StatusIndication):
            events.append(Event("indication", event.status.name))
            continue
        result = event.result
        reason, rule = (result.reason.label, result.reason.rule) if result.reason else (None, None)
        events.append(Event("completion", result.status.name, reason, rule))
    return Events(tuple(events))


def text_of(path: str) -> str:
    """The text of a hex file."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(LARGEST_HEX_FILE + 1)
        if len(raw) > LARGEST_HEX_FILE:
            raise InputError(f"a hex file needs at most {LARGEST_HEX_FILE} bytes")
        return raw.decode("ascii")
    except (OSError, ValueError) as error:  # ValueError: bytes that are no text, or a NUL inside the path
        what = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{words.shown(path)} cannot be read: {what}") from None
