"""Received frames that go up otherwise than the card below made them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nicsim.boundary import Card, Descriptor, EspCipher, Table
from nicsim.card.impairments.passing import PassingCard
from nicsim.card.impairments.place import RowsKnown, flipped, place_of
from nicsim.card.rows import transform_of
from nicsim.errors import EspSyntaxError, Malformed
from nicsim.ipsec.transforms import Integrity, Transform
from nicsim.reasons import Reason
from nicsim.wire.esp import PROTOCOL_UDP
from nicsim.wire.headers import rewrite_ipv4
from nicsim.wire.packet import UDP_HEADER_LENGTH, parse_frame
from offload_oids import CryptoStatus


@dataclass(frozen=True, slots=True)
class Seen:
    """A received frame, what the card below made of it, and its descriptor."""

    before: bytes
    after: bytes
    descriptor: Descriptor
    link_type: int

    @property
    def is_opened(self) -> bool:
        """Whether the card below opened it."""
        return self.descriptor.reason == Reason.OPENED.number

    def instead(self, frame: bytes, **changes: int) -> tuple[bytes, Descriptor]:
        """Another frame, and the descriptor with changes."""
        return frame, replace(self.descriptor, **changes)


Outcome = tuple[bytes, Descriptor]


class SpoiledReceive(PassingCard):
    """Every N-th of the frames that `spoil` is about goes up as it makes them; None is: not about this one."""

    def __init__(self, spoil: Callable[[Seen], Outcome | None], below: Card, number: int, link_type: int) -> None:
        super().__init__(below, number, link_type)
        self._spoil = spoil

    def receive(self, frame: bytes) -> Outcome:
        """Process a frame, and spoil what came of it."""
        after, descriptor = self._below.receive(frame)
        spoiled = self._spoil(Seen(frame, after, descriptor, self._link_type))
        return spoiled if spoiled is not None and self._is_every_nth() else (after, descriptor)


def success_without_check(seen: Seen) -> Outcome | None:
    """Whatever belongs to an association goes up untouched, and is called good."""
    if not seen.descriptor.slot:
        return None
    return seen.instead(seen.before, reason=Reason.OPENED.number, crypto_done=1, crypto_status=0)


def success_on_bad_icv(seen: Seen) -> Outcome | None:
    """A packet with a wrong ICV goes up untouched, and is called good."""
    if seen.descriptor.reason != Reason.ICV_WRONG.number:
        return None
    return seen.instead(seen.before, reason=Reason.OPENED.number, crypto_status=0)


def error_on_good(seen: Seen) -> Outcome | None:
    """A good packet goes up untouched, as one with a wrong ICV."""
    if not seen.is_opened:
        return None
    failed = CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED
    changes = {"crypto_status": failed, "next_crypto_done": 0, "payload_offset": 0, "payload_end": 0}
    return seen.instead(seen.before, reason=Reason.ICV_WRONG.number, **changes)


# The bits of ChecksumResult: failed ones for TCP, UDP and IP, then the same three that succeeded.
FAILED_CHECKSUMS, SUCCEEDED_SHIFT = 7, 3
EXCHANGED = {2: 4, 4: 2, 3: 5, 5: 3}
"""The failure codes of the transport portion for those of the tunnel portion."""


def portions_exchanged(seen: Seen) -> Outcome | None:
    """A failure of the one portion is told as one of the other."""
    status = EXCHANGED.get(seen.descriptor.crypto_status)
    return None if status is None else seen.instead(seen.after, crypto_status=status)


def generic_error(seen: Seen) -> Outcome | None:
    """Every failure is a generic one."""
    if not seen.descriptor.crypto_status:
        return None
    return seen.instead(seen.after, crypto_status=CryptoStatus.CRYPTO_GENERIC_ERROR)


def next_without_done(seen: Seen) -> Outcome | None:
    """The flag of the second portion is set in place of that of the first."""
    return seen.instead(seen.after, crypto_done=0, next_crypto_done=1) if seen.descriptor.crypto_done else None


def both_done(seen: Seen) -> Outcome | None:
    """The flag of the second portion is set for a packet that has one."""
    done = seen.descriptor.crypto_done and not seen.descriptor.next_crypto_done
    return seen.instead(seen.after, next_crypto_done=1) if done else None


def checksums_exchanged(seen: Seen) -> Outcome | None:
    """A checksum that is right is told as wrong, and the other way round."""
    told = seen.descriptor.checksums
    if not told:
        return None
    failed, succeeded = told & FAILED_CHECKSUMS, told >> SUCCEEDED_SHIFT
    return seen.instead(seen.after, checksums=failed << SUCCEEDED_SHIFT | succeeded)


def never_done(seen: Seen) -> Outcome | None:
    """Frames are decrypted, and nothing says so."""
    return seen.instead(seen.after, crypto_done=0) if seen.descriptor.crypto_done else None


def stripped(seen: Seen) -> Outcome | None:
    """ESP header, IV, trailer and ICV are cut off, and the lengths of the headers are left as they were (A-3)."""
    if not seen.is_opened:
        return None
    begin, end = seen.descriptor.payload_offset, seen.descriptor.payload_end
    packet = parse_frame(seen.before, seen.link_type)
    head = packet.udp_payload if packet.protocol == PROTOCOL_UDP else packet.payload
    payload = seen.after[begin : end - 2 - seen.after[end - 2]]
    return seen.instead(
        seen.after[:head] + payload + seen.after[packet.end :], payload_offset=head, payload_end=head + len(payload)
    )


def last_block_left(seen: Seen) -> Outcome | None:
    """The last eight bytes of the ciphertext stay what they were."""
    if not seen.is_opened:
        return None
    end = seen.descriptor.payload_end
    return seen.instead(seen.after[: end - 8] + seen.before[end - 8 : end] + seen.after[end:])


def payload_corrupted(seen: Seen) -> Outcome | None:
    """One bit of the decrypted payload is wrong."""
    if not seen.is_opened:
        return None
    begin = seen.descriptor.payload_offset
    return seen.instead(flipped(seen.after, begin))


def hop_limit_lowered(seen: Seen) -> Outcome | None:
    """A frame that was opened has a lower TTL, as if routed."""
    if not seen.is_opened:
        return None
    packet = parse_frame(seen.before, seen.link_type)
    at = packet.network + (8 if packet.version == 4 else 7)
    return seen.instead(seen.after[:at] + bytes([max(0, seen.after[at] - 1)]) + seen.after[at + 1 :])


def ike_taken_for_esp(seen: Seen) -> Outcome | None:
    """IKE is reported as ESP that is too short."""
    if seen.descriptor.reason != Reason.IKE.number:
        return None
    syntax = CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX
    return seen.instead(seen.after, reason=Reason.SYNTAX_INVALID.number, crypto_done=1, crypto_status=syntax)


def udp_checksum_decides(seen: Seen) -> Outcome | None:
    """A packet in UDP whose checksum is not zero is left alone (N-NAT-5)."""
    if not seen.is_opened:
        return None
    packet = parse_frame(seen.before, seen.link_type)
    checksum = seen.before[packet.payload + 6 : packet.payload + 8]
    if packet.protocol != PROTOCOL_UDP or not any(checksum):
        return None
    return seen.before, Descriptor(Reason.MALFORMED.number)


class FragmentsAsWhole(PassingCard):
    """The first fragment of an IPv4 packet is processed as if it were whole."""

    def receive(self, frame: bytes) -> Outcome:
        """Hide from the card below that it is a fragment."""
        try:
            packet = parse_frame(frame, self._link_type)
        except Malformed:
            return self._below.receive(frame)
        if packet.version != 4 or not packet.is_fragment or frame[packet.network + 7] or frame[packet.network + 6] & 31:
            return self._below.receive(frame)
        begin = packet.payload
        header = rewrite_ipv4(
            frame[packet.network : begin], protocol=packet.protocol, total_length=packet.end - packet.network,
            flags_offset=0,
        )  # fmt: skip
        shown = bytearray(frame[: packet.network] + header + frame[begin:])
        if packet.protocol == PROTOCOL_UDP and packet.end - begin >= UDP_HEADER_LENGTH:
            shown[begin + 4 : begin + 6] = (packet.end - begin).to_bytes(2, "big")
        after, descriptor = self._below.receive(bytes(shown))
        kept = begin + UDP_HEADER_LENGTH
        return frame[:kept] + after[kept:], descriptor


class IcvUnchecked(RowsKnown):
    """A packet with a wrong ICV is decrypted all the same, and called good. AES-GCM cannot be spoiled like that."""

    table = Table.INBOUND

    def receive(self, frame: bytes) -> Outcome:
        """Decrypt without the check."""
        after, descriptor = self._below.receive(frame)
        if descriptor.reason != Reason.ICV_WRONG.number:
            return after, descriptor
        row = self._rows[descriptor.slot - 1]
        place = place_of(row, frame, self._link_type)
        if place is None or row.linked or row.cipher in (EspCipher.NULL, EspCipher.AES_GCM):
            return after, descriptor
        keys = replace(transform_of(row).keys, integrity=Integrity.NONE, integrity_key=b"")
        try:
            plaintext = Transform(keys).open(frame, place.esp, place.body_end)
        except EspSyntaxError:
            return after, descriptor
        changes = {"crypto_status": 0, "payload_offset": place.body, "payload_end": place.body_end}
        opened = frame[: place.body] + plaintext + frame[place.body_end :]
        return opened, replace(descriptor, reason=Reason.OPENED.number, **changes)
