"""Cookies: eight bytes that only their issuer can have made (RFC 2408 section 2.5.3)."""

from __future__ import annotations

from collections.abc import Callable

from nicsim.events import Endpoint
from nicsim.host.ike.keys import IkeHash
from nicsim.wire.isakmp import COOKIE_LENGTH


class Cookies:
    """Makes the cookies of one peer: a keyed hash of the two ends, the time and a count, under a local secret."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._secret = random(32)
        self._count = 0

    def new(self, now: float, local: Endpoint, remote: Endpoint) -> bytes:
        """8 bytes, never zero, never the same twice but by chance."""
        cookie = bytes(COOKIE_LENGTH)
        while cookie == bytes(COOKIE_LENGTH):
            self._count += 1
            about = f"{local} {remote} {now!r} {self._count}"
            cookie = IkeHash.SHA256.prf(self._secret, about.encode())[:COOKIE_LENGTH]
        return cookie
