"""Frames to send that are spoiled before or after they are sealed, and sources of IVs that are no good."""

from __future__ import annotations

from collections.abc import Callable

from nicsim.boundary import Card, Table
from nicsim.card.impairments.place import Place, RowsKnown, flipped, place_of
from nicsim.card.send import IvSource
from nicsim.reasons import Reason
from nicsim.wire.esp import PROTOCOL_UDP
from nicsim.wire.headers import rewrite_ipv4

MORE_PADDING = 16
"""A whole number of blocks of every cipher."""


class SpoiledSend(RowsKnown):
    """Every N-th frame that is sealed is handed down, and goes out, as two functions make it."""

    table = Table.OUTBOUND

    def __init__(
        self,
        handed: Callable[[bytes, Place], bytes],
        sent: Callable[[bytes, bytes, Place], bytes],
        below: Card,
        number: int,
        link_type: int,
    ) -> None:
        super().__init__(below, number, link_type)
        self._handed = handed
        self._sent = sent

    def send(
        self, frame: bytes, slot: int | None, tunnel_slot: int | None = None, checksums: int = 0
    ) -> tuple[bytes, Reason]:
        """Seal a frame, with something wrong before or after; one of two portions passes as it is."""
        row = self._rows.get(slot) if slot is not None else None
        place = place_of(row, frame, self._link_type) if row and tunnel_slot is None else None
        if place is None or not self._is_every_nth():
            return self._below.send(frame, slot, tunnel_slot, checksums)
        sealed, reason = self._below.send(self._handed(frame, place), slot, checksums=checksums)
        return (self._sent(frame, sealed, place) if reason is Reason.SEALED else sealed), reason


def as_handed(frame: bytes, place: Place) -> bytes:
    """Nothing is wrong before."""
    return frame


def as_sealed(frame: bytes, sealed: bytes, place: Place) -> bytes:
    """Nothing is wrong after."""
    return sealed


def padded_again(frame: bytes, place: Place) -> bytes:
    """More padding behind that of the host, with every length raised accordingly."""
    packet, at = place.packet, place.body_end - 2
    length = frame[at]
    more = bytes((length + number) & 0xFF for number in range(1, MORE_PADDING + 1))
    longer = frame[:at] + more + bytes([(length + MORE_PADDING) & 0xFF]) + frame[at + 1 :]
    fields = bytearray(longer)
    if packet.version == 4:
        total = packet.end - packet.network + MORE_PADDING
        header = bytes(fields[packet.network : packet.payload])
        fields[packet.network : packet.payload] = rewrite_ipv4(header, protocol=packet.protocol, total_length=total)
    else:
        raise_length(fields, packet.network + 4)
    if packet.protocol == PROTOCOL_UDP:
        raise_length(fields, packet.payload + 4)
    return bytes(fields)


def raise_length(fields: bytearray, at: int) -> None:
    """Add the padding to a 16-bit length."""
    length = int.from_bytes(fields[at : at + 2], "big") + MORE_PADDING
    fields[at : at + 2] = length.to_bytes(2, "big")


def padding_corrupted(frame: bytes, place: Place) -> bytes:
    """The last byte of the padding, if there is any, has another value (RFC 4303 section 2.4)."""
    at = place.body_end - 2
    return flipped(frame, at - 1) if frame[at] else frame


def icv_not_written(frame: bytes, sealed: bytes, place: Place) -> bytes:
    """The space for the ICV goes out as it was handed down."""
    return sealed[: place.body_end] + frame[place.body_end : place.end] + sealed[place.end :]


def spi_wrong(frame: bytes, sealed: bytes, place: Place) -> bytes:
    """The frame goes out with another SPI."""
    return flipped(sealed, place.esp + 3)


def plaintext_sent(frame: bytes, sealed: bytes, place: Place) -> bytes:
    """The frame goes out as it was handed down."""
    return frame


# --- the source of IVs ---------------------------------------------------------------------------------------------


def ivs_all_zero(source: IvSource, number: int) -> IvSource:
    """Every N-th IV is all zero."""
    asked = 0

    def give(length: int) -> bytes:
        nonlocal asked
        asked += 1
        iv = source(length)
        return bytes(length) if asked % number == 0 else iv

    return give


def ivs_repeated(source: IvSource, number: int) -> IvSource:
    """Every IV serves for N more packets."""
    given: dict[int, tuple[bytes, int]] = {}

    def give(length: int) -> bytes:
        iv, left = given.get(length, (b"", 0))
        if not left:
            iv, left = source(length), number + 1
        given[length] = iv, left - 1
        return iv

    return give
