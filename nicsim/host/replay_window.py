"""The anti-replay window of one inbound association (esp-ah.md 7.1 and 7.2; RFC 4303 section 3.4.3, appendix A2).

The transport keeps it, not the card: a card hands up whatever arrives and the host decides here, first with `check`
before the ICV, then with `accept` once the ICV is known to be good. Nothing else changes the state, so a forger
cannot move the window.
"""

from enum import Enum

_HALF = 1 << 32
"""The number of values of the 32-bit half that is sent."""


class ReplayVerdict(Enum):
    """What the window thinks of a sequence number."""

    NEW = "new"
    DUPLICATE = "duplicate"
    # Left of the window, or 0: the first packet carries 1, so 0 is always left of it.
    TOO_OLD = "too-old"


class ReplayWindow:
    """The `size` newest sequence numbers and which of them have been accepted.

    Numbers are whole: 32 bits wide, or 64 with extended sequence numbers, where `guess_high` supplies the half that
    is not sent. Size 0 turns the service off: every number is new, and only `top` is kept.
    """

    __slots__ = ("_all_seen", "_seen", "size", "top")

    def __init__(self, size: int) -> None:
        self.size = size
        # The highest number accepted; 0 before the first packet.
        self.top = 0
        # Bit i stands for top - i.
        self._seen = 0
        self._all_seen = (1 << size) - 1

    def check(self, sequence: int) -> ReplayVerdict:
        """Judge a number before the ICV is known; changes nothing."""
        age = self.top - sequence
        if not self.size:
            return ReplayVerdict.NEW
        if age < 0:
            return ReplayVerdict.NEW
        if age >= self.size or sequence == 0:
            return ReplayVerdict.TOO_OLD
        return ReplayVerdict.DUPLICATE if self._seen >> age & 1 else ReplayVerdict.NEW

    def accept(self, sequence: int) -> None:
        """Record a number that `check` called new and whose ICV is good."""
        ahead = sequence - self.top
        if ahead > 0:
            # A far jump clears the window at once; shifting by the difference could ask for gigabytes.
            self._seen = (self._seen << ahead | 1) & self._all_seen if ahead < self.size else self._all_seen & 1
            self.top = sequence
        elif self.size:
            self._seen |= 1 << -ahead

    def guess_high(self, sequence_low: int) -> int:
        """Return the high half to try for a received low half (RFC 4303 appendix A2.1); the ICV confirms it.

        Always a 32-bit value. Where the rule leaves the 64-bit space it stays inside instead: before the first
        number there is no earlier subspace, so the number can only be ahead in subspace 0; after the last there is
        none, and the 0 returned makes a number `check` calls too old.
        """
        top_high, top_low = divmod(self.top, _HALF)
        bottom = top_low - self.size + 1
        if bottom >= 0:  # the window lies inside one subspace
            return top_high if sequence_low >= bottom else (top_high + 1) % _HALF
        return max(top_high - 1, 0) if sequence_low >= bottom + _HALF else top_high
