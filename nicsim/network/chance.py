"""Chance from a seed: the same seed gives the same bytes, on every machine and with every version of Python.

A stream of SHAKE-256 output. Whoever needs chance gets a `child` with a name of its own, so that what one link draws
does not depend on what another one does.
"""

from __future__ import annotations

import hashlib

_AT_ONCE = 1024
"""Bytes made at a time."""


class Chance:
    """A stream of bytes from a seed. No secret comes from here: it is for simulations."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self._made = 0
        self._bytes = b""

    def child(self, name: str) -> Chance:
        """Another stream, for the part of a simulation that has this name."""
        return Chance(f"{self.seed}/{name}")

    def octets(self, length: int) -> bytes:
        """The next `length` bytes."""
        while len(self._bytes) < length:
            block = hashlib.shake_256(f"{self.seed}#{self._made}".encode()).digest(_AT_ONCE)
            self._bytes += block
            self._made += 1
        taken, self._bytes = self._bytes[:length], self._bytes[length:]
        return taken

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1; with 8 bytes to choose from, no number is favoured noticeably."""
        return int.from_bytes(self.octets(8), "big") % limit

    def happens(self, probability: float) -> bool:
        """Whether something of this probability happens. What cannot happen draws nothing."""
        return probability > 0 and int.from_bytes(self.octets(8), "big") < probability * 2.0**64
