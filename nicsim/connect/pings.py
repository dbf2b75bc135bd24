"""Echo requests through a tunnel: when the next one is due, which were answered, and how fast."""

from __future__ import annotations

from dataclasses import dataclass, field

from nicsim.errors import Malformed
from nicsim.wire.checksum import internet_checksum
from nicsim.wire.icmp import ECHO_REPLY, ICMP_HEADER_LENGTH, PROTOCOL_ICMP, build_echo_request
from nicsim.wire.packet import LinkType, parse_frame

PAYLOAD = bytes(range(0x10, 0x40))
"""What `ping` sends behind its time stamp."""


@dataclass(slots=True)
class Pings:
    """A series of `count` requests from `source` to `target`, `interval` seconds apart."""

    source: bytes
    target: bytes
    count: int
    interval: float
    # How long the last answers may take.
    patience: float
    identifier: int
    # When the first one goes.
    begin: float = 0.0
    sent_at: dict[int, float] = field(default_factory=dict)
    # Milliseconds, by sequence number.
    answered: dict[int, float] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        """How many are out."""
        return len(self.sent_at)

    def deadline(self) -> float | None:
        """When to look again; None once it is over."""
        if not self.sent:
            return self.begin
        last = self.sent_at[self.sent]
        if self.sent < self.count:
            return last + self.interval
        return last + self.patience if len(self.answered) < self.sent else None

    def over(self, now: float) -> bool:
        """Whether all are answered, or the rest has had its time."""
        deadline = self.deadline()
        return deadline is None or (self.sent == self.count and now >= deadline)

    def due(self, now: float) -> bytes | None:
        """The next request as an IP packet, if it is time for it."""
        deadline = self.deadline()
        if self.sent == self.count or deadline is None or now < deadline:
            return None
        number = self.sent + 1
        self.sent_at[number] = now
        return build_echo_request(self.source, self.target, self.identifier, number & 0xFFFF, PAYLOAD)

    def take(self, now: float, ip_packet: bytes) -> bool:
        """Whether a packet is the answer to one of ours; one that came before does not count twice."""
        try:
            packet = parse_frame(ip_packet, LinkType.RAW)
        except Malformed:
            return False
        message = ip_packet[packet.payload : packet.end]
        if packet.protocol != PROTOCOL_ICMP or packet.src != self.target or len(message) < ICMP_HEADER_LENGTH:
            return False
        number = int.from_bytes(message[6:8], "big")
        if message[0] != ECHO_REPLY or int.from_bytes(message[4:6], "big") != self.identifier:
            return False
        if internet_checksum(message) or message[ICMP_HEADER_LENGTH:] != PAYLOAD or number not in self.sent_at:
            return False
        self.answered.setdefault(number, 1000 * (now - self.sent_at[number]))
        return True

    def round_trips(self) -> tuple[float, float, float] | None:
        """Least, mean and largest, in milliseconds."""
        times = self.answered.values()
        return (min(times), sum(times) / len(times), max(times)) if times else None
