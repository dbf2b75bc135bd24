"""IKE fragments: one message in several datagrams, each a header and one payload of type 132.

A vendor extension (digest ikev1.md section 12), used only with a peer that announced it. `Reassembly` belongs to one
ISAKMP SA and holds one message at a time, so that an unknown sender can make nobody remember anything.
"""

from __future__ import annotations

from dataclasses import replace

from nicsim.errors import IkeRefused, IsakmpMalformed
from nicsim.reasons import Reason
from nicsim.wire.isakmp import (
    GENERIC_HEADER_LENGTH,
    HEADER_LENGTH,
    Flags,
    Message,
    NotifyType,
    Payload,
    PayloadType,
    parse_header,
)
from nicsim.wire.isakmp_payloads import Fragment, parse_fragment

FRAGMENT_HEADER_LENGTH = 4
# What a fragment has before its part of the message.
OVERHEAD = HEADER_LENGTH + GENERIC_HEADER_LENGTH + FRAGMENT_HEADER_LENGTH
MAX_FRAGMENTS = 64
MAX_MESSAGE = 0x10000


def split(message: bytes, largest: int, fragment_id: int) -> list[bytes]:
    """The fragments of a whole message, none longer than `largest` bytes, header included.

    A message that would need more fragments than anybody puts together stays whole.
    """
    room = largest - OVERHEAD
    pieces = [message[start : start + room] for start in range(0, len(message), room)]
    if len(pieces) > MAX_FRAGMENTS:
        return [message]
    header = replace(parse_header(message), flags=Flags.NONE)
    fragments = []
    for number, piece in enumerate(pieces, 1):
        body = Fragment(fragment_id, number, number == len(pieces), piece).build()
        fragments.append(Message(header, (Payload(PayloadType.FRAGMENT, body),)).build())
    return fragments


class Reassembly:
    """Puts the fragments of one message together, in whatever order they come."""

    def __init__(self) -> None:
        self._id: int | None = None
        self._pieces: dict[int, bytes] = {}
        self._last: int | None = None

    def add(self, payloads: tuple[Payload, ...]) -> bytes | None:
        """Take the payloads of one fragment; the whole message once all are there. Raises IkeRefused.

        A fragment that does not go with the ones before begins anew: its sender has given that message up.
        """
        if len(payloads) != 1:
            raise _refused("a fragment stands alone in its message")
        try:
            fragment = parse_fragment(payloads[0].body)
        except IsakmpMalformed as error:
            raise _refused(str(error)) from None
        if fragment.number > MAX_FRAGMENTS:
            raise _refused(f"fragment {fragment.number} came, at most {MAX_FRAGMENTS} are put together")
        if not self._goes_with(fragment):
            self._forget()
        if sum(map(len, self._pieces.values())) + len(fragment.data) > MAX_MESSAGE:
            raise _refused(f"the fragments make more than {MAX_MESSAGE} bytes")
        self._id = fragment.id
        self._pieces[fragment.number] = fragment.data
        self._last = fragment.number if fragment.last else self._last
        if self._last is None or len(self._pieces) < self._last:
            return None
        whole = b"".join(self._pieces[number] for number in range(1, self._last + 1))
        self._forget()
        return whole

    def _goes_with(self, fragment: Fragment) -> bool:
        """Whether it may be of the message whose pieces are here."""
        number, highest = fragment.number, max(self._pieces, default=0)
        last = number if fragment.last else self._last
        return (
            fragment.id == self._id
            and self._pieces.get(number, fragment.data) == fragment.data
            and (not fragment.last or self._last in (None, number))
            and (last is None or max(number, highest) <= last)
        )

    def _forget(self) -> None:
        self._id, self._pieces, self._last = None, {}, None


def _refused(detail: str) -> IkeRefused:
    return IkeRefused(Reason.IKE_FRAGMENT, detail, NotifyType.PAYLOAD_MALFORMED)
