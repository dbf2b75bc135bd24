"""What a NAT that knows IPsec a little remembers of IKE: whose exchange has which initiator cookie.

Such a NAT leaves port 500 as it is for everybody inside, and tells their exchanges apart by the first eight bytes of
the datagrams (RFC 3947 section 4). ESP in UDP on port 500 has eight zero bytes there, and a keepalive has too few: an
exchange of this cookie is not known to it, whoever it may be for. That is why IKE leaves port 500 at the first chance.
"""

from __future__ import annotations

from nicsim.wire.esp import NON_IKE_MARKER

COOKIE_LENGTH = 8
MOST_EXCHANGES = 4096
"""The one heard of longest ago is forgotten."""


class CookieTable:
    """Who inside has an exchange with which outside address, by its initiator cookie."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        # Least recently used first: the inside address, and when.
        self._exchanges: dict[tuple[bytes, bytes], tuple[bytes, float]] = {}

    def sent(self, now: float, remote: bytes, payload: bytes, inside: bytes) -> None:
        """The inside sent a datagram on port 500 to a remote address."""
        cookie = payload[:COOKIE_LENGTH]
        if len(cookie) < COOKIE_LENGTH or cookie == NON_IKE_MARKER:
            return
        self._exchanges.pop((remote, cookie), None)
        self._exchanges[remote, cookie] = inside, now
        if len(self._exchanges) > MOST_EXCHANGES:
            del self._exchanges[next(iter(self._exchanges))]

    def meant(self, now: float, remote: bytes, payload: bytes) -> bytes | None:
        """Whom inside a datagram from a remote address is for; None where its cookie is of no known exchange."""
        inside, last_used = self._exchanges.get((remote, payload[:COOKIE_LENGTH]), (None, now))
        return inside if now - last_used <= self._timeout else None

    def forget_all(self) -> None:
        """Lose all of it."""
        self._exchanges.clear()
