"""Checksums and large sends that go wrong: segments lost, numbered or summed wrongly, results that are not true.

What is inside a sealed segment can only be spoiled by opening it and sealing it again, with the row's keys and the IV
that it has; the ICV is right then, and what the far end finds inside is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nicsim.boundary import Card, ChecksumResult, Descriptor, LargeSend, LargeSent, SaRow, Table
from nicsim.card.impairments.passing import PassingCard
from nicsim.card.impairments.place import RowsKnown, place_of
from nicsim.card.rows import transform_of
from nicsim.errors import EspSyntaxError, IntegrityError
from nicsim.reasons import Reason
from nicsim.wire.esp import ESP_HEADER_LENGTH

Spoil = Callable[[bytes, bytes, int], tuple[bytes, bytes]]
"""From SPI and sequence number, plaintext, and how many segments went before: both as they go out."""

SEQUENCE = slice(4, 8)
FLAGS, CHECKSUM = 13, 16
FIN = 0x01


class SpoiledSegments(RowsKnown):
    """Every segment of a large send is opened, and sealed again with something else inside."""

    table = Table.OUTBOUND

    def __init__(self, spoil: Spoil, below: Card, number: int, link_type: int) -> None:
        super().__init__(below, number, link_type)
        self._spoil = spoil

    def send_large(self, frame: bytes, slot: int | None, large: LargeSend) -> LargeSent:
        """Cut a large packet, and spoil what comes of it."""
        sent = self._below.send_large(frame, slot, large)
        row = self._rows.get(slot) if slot is not None else None
        if row is None or sent.reason is not Reason.SEALED:
            return sent
        return replace(sent, frames=tuple(self._again(one, row, number) for number, one in enumerate(sent.frames)))

    def _again(self, frame: bytes, row: SaRow, number: int) -> bytes:
        place = place_of(row, frame, self._link_type)
        if place is None:
            return frame
        transform, high = transform_of(row), row.sequence_high if row.extended else None
        head, iv = frame[place.esp : place.esp + ESP_HEADER_LENGTH], frame[place.esp + ESP_HEADER_LENGTH : place.body]
        try:
            plaintext = transform.open(frame, place.esp, place.end, high)
        except (EspSyntaxError, IntegrityError):  # its extended number has gone on to the next high half
            return frame
        head, plaintext = self._spoil(head, plaintext, number)
        return frame[: place.esp] + transform.seal(head, plaintext, iv, high) + frame[place.end :]


def same_sequence(head: bytes, plaintext: bytes, number: int) -> tuple[bytes, bytes]:
    """The sequence number of the first segment, on all of them."""
    return head[:4] + (int.from_bytes(head[SEQUENCE], "big") - number).to_bytes(4, "big"), plaintext


def checksum_wrong(head: bytes, plaintext: bytes, number: int) -> tuple[bytes, bytes]:
    """The TCP checksum with one bit changed."""
    return head, plaintext[:CHECKSUM] + bytes([plaintext[CHECKSUM] ^ 1]) + plaintext[CHECKSUM + 1 :]


def fin_everywhere(head: bytes, plaintext: bytes, number: int) -> tuple[bytes, bytes]:
    """FIN on every segment, with the checksum adjusted for it (RFC 1624)."""
    if plaintext[FLAGS] & FIN:
        return head, plaintext
    checksum = int.from_bytes(plaintext[CHECKSUM : CHECKSUM + 2], "big")
    checksum = (checksum - FIN) % 0xFFFF
    changed = bytearray(plaintext)
    changed[FLAGS] |= FIN
    changed[CHECKSUM : CHECKSUM + 2] = checksum.to_bytes(2, "big")
    return head, bytes(changed)


class LastSegmentLost(PassingCard):
    """The last segment of a large send never goes out, though the whole payload is said to."""

    def send_large(self, frame: bytes, slot: int | None, large: LargeSend) -> LargeSent:
        """Cut a large packet, and lose the end."""
        sent = self._below.send_large(frame, slot, large)
        return replace(sent, frames=sent.frames[:-1]) if len(sent.frames) > 1 else sent


class ChecksumIgnored(PassingCard):
    """A checksum that the host asked for is not filled in."""

    def send(
        self, frame: bytes, slot: int | None, tunnel_slot: int | None = None, checksums: int = 0
    ) -> tuple[bytes, Reason]:
        """Seal a frame as it was handed down."""
        return self._below.send(frame, slot, tunnel_slot)


class ChecksumAlwaysGood(PassingCard):
    """A checksum that is wrong is said to be right."""

    def receive(self, frame: bytes) -> tuple[bytes, Descriptor]:
        """Process a frame, and turn what failed into success."""
        after, descriptor = self._below.receive(frame)
        failed = descriptor.checksums & (
            ChecksumResult.TCP_FAILED | ChecksumResult.UDP_FAILED | ChecksumResult.IP_FAILED
        )
        # Each of the three succeeded bits lies three places above its failed bit.
        return after, replace(descriptor, checksums=descriptor.checksums & ~failed | failed << 3)
