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
MAX_FRAGMENTS = 64
MAX_MESSAGE = 0x10000


def split(message: bytes, largest: int, fragment_id: int) -> list[bytes]:
    """The fragments of a whole message, none longer than `largest` bytes, header included."""
    room = largest - HEADER_LENGTH - GENERIC_HEADER_LENGTH - FRAGMENT_HEADER_LENGTH
    pieces = [message[start : start + room] for start in range(0, len(message), room)]
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
        """Take the payloads of one fragment; the whole message once all are there.

        A fragment with another id begins anew: the sender has given up the message before. Raises IkeRefused.
        """
        if len(payloads) != 1:
            raise _refused("a fragment stands alone in its message")
        try:
            fragment = parse_fragment(payloads[0].body)
        except IsakmpMalformed as error:
            raise _refused(str(error)) from None
        if fragment.number > MAX_FRAGMENTS:
            raise _refused(f"fragment {fragment.number} came, at most {MAX_FRAGMENTS} are put together")
        pieces, last = (self._pieces, self._last) if fragment.id == self._id else ({}, None)
        known = pieces.get(fragment.number)
        if known is not None and known != fragment.data:
            raise _refused(f"fragment {fragment.number} came twice, with different contents")
        if fragment.last and last not in (None, fragment.number):
            raise _refused(f"fragment {fragment.number} is the last one, and so is {last}")
        last = fragment.number if fragment.last else last
        if last is not None and max([fragment.number, *pieces]) > last:
            raise _refused(f"a fragment lies behind the last one, {last}")
        pieces = pieces | {fragment.number: fragment.data}
        if sum(map(len, pieces.values())) > MAX_MESSAGE:
            raise _refused(f"the fragments make more than {MAX_MESSAGE} bytes")
        if last is None or len(pieces) < last:
            self._id, self._pieces, self._last = fragment.id, pieces, last
            return None
        self._id, self._pieces, self._last = None, {}, None
        return b"".join(pieces[number] for number in range(1, last + 1))


def _refused(detail: str) -> IkeRefused:
    return IkeRefused(Reason.IKE_FRAGMENT, detail, NotifyType.PAYLOAD_MALFORMED)
