"""The catalogue of ways in which a card or a driver misbehaves, by name.

    Nic(capabilities, iv_source=..., impairments=[impairment("row-write-fails", 3), impairment("drops-failed")])
    nicsim replay ... --impair row-write-fails=3 --impair drops-failed

Each has a story in one line, the rules that it breaks, the boundary on which it acts, and for most a number N.
The wrappers are in card/impairments.py and driver/impairments.py. Of several, the first is the innermost one.

Called by nic.py, which puts them in place, and by the command line.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from nicsim.boundary import Card, Miniport
from nicsim.card import impairments as card
from nicsim.card.send import IvSource
from nicsim.driver import impairments as driver
from nicsim.errors import InputError

CardMaker = Callable[[Card, int, int], Card]
DriverMaker = Callable[[Miniport, int], Miniport]
IvMaker = Callable[[IvSource, int], IvSource]


class Boundary(Enum):
    """Where an impairment acts: seen by the driver, or by NDIS and the host."""

    CARD = "card"
    MINIPORT = "miniport"


class Number(Enum):
    """What N counts."""

    NONE = "takes no N"
    NTH = "the N-th time only"
    EVERY = "every N-th time"
    COUNT = "how many"


@dataclass(frozen=True, slots=True)
class Impairment:
    """One way to misbehave. Exactly one of the three makers is there."""

    name: str
    story: str
    rules: tuple[str, ...]
    number: Number
    default: int = 1
    card: CardMaker | None = None
    driver: DriverMaker | None = None
    ivs: IvMaker | None = None

    @property
    def boundary(self) -> Boundary:
        """The boundary on which it acts."""
        return Boundary.MINIPORT if self.driver else Boundary.CARD

    def facts(self) -> dict[str, Any]:
        """Everything there is to say of it, under names that stay."""
        return {
            "name": self.name,
            "boundary": self.boundary.value,
            "story": self.story,
            "rules": list(self.rules),
            "number": self.number.value,
            "default": None if self.number is Number.NONE else self.default,
        }


@dataclass(frozen=True, slots=True)
class Impaired:
    """An impairment that is switched on, with its N."""

    impairment: Impairment
    number: int

    def __str__(self) -> str:
        """As the command line takes it."""
        name = self.impairment.name
        return name if self.impairment.number is Number.NONE else f"{name}={self.number}"


def of_card(
    name: str, make: CardMaker, rules: str, story: str, number: Number = Number.NONE, default: int = 1
) -> Impairment:
    """An impairment of the card."""
    return Impairment(name, story, tuple(rules.split()), number, default, card=make)


def of_driver(
    name: str, make: DriverMaker, rules: str, story: str, number: Number = Number.NONE, default: int = 1
) -> Impairment:
    """An impairment of the driver."""
    return Impairment(name, story, tuple(rules.split()), number, default, driver=make)


def of_ivs(name: str, make: IvMaker, rules: str, story: str, number: Number) -> Impairment:
    """An impairment of the card's source of IVs."""
    return Impairment(name, story, tuple(rules.split()), number, ivs=make)


def of_rows(name: str, change: Callable[..., Any], rules: str, story: str) -> Impairment:
    """An impairment of the rows that the card writes."""
    return of_card(name, partial(card.ChangedRows, change), rules, story)


def of_received(name: str, spoil: Callable[[card.Seen], card.Outcome | None], rules: str, story: str) -> Impairment:
    """An impairment of received frames, every N-th of those that it is about."""
    return of_card(name, partial(card.SpoiledReceive, spoil), rules, story, Number.EVERY)


def of_handed(name: str, handed: Callable[[bytes, card.Place], bytes], rules: str, story: str) -> Impairment:
    """An impairment of frames to send, before they are sealed."""
    return of_card(name, partial(card.SpoiledSend, handed, card.as_sealed), rules, story, Number.EVERY)


def of_sent(name: str, sent: Callable[[bytes, bytes, card.Place], bytes], rules: str, story: str) -> Impairment:
    """An impairment of frames to send, after they were sealed."""
    return of_card(name, partial(card.SpoiledSend, card.as_handed, sent), rules, story, Number.EVERY)


NTH, EVERY, COUNT = Number.NTH, Number.EVERY, Number.COUNT

# fmt: off
CATALOGUE: tuple[Impairment, ...] = (
    # --- the card: rows ----------------------------------------------------------------------------------------
    of_card("row-write-fails", card.WriteFails, "N-ADD-2 N-ADD-6",
        "The N-th row write fails, and the slot stays as it was.", NTH),
    of_card("row-write-lost", card.WriteLost, "N-ADD-2 N-V2-18",
        "The N-th row write is called done, and nothing is written.", NTH),
    of_card("row-write-slow", card.WriteSlow, "N-OID-6 N-DEL-5",
        "Every row write is pending, and done after N polls; that is allowed, and finds a host that does not wait.",
        COUNT, 2),
    of_card("row-write-never-done", card.WriteNeverDone, "N-OID-6",
        "The N-th row write is pending for ever.", NTH),
    of_card("row-clear-fails", card.ClearFails, "N-SA-21 N-DEL-4",
        "The N-th row clear fails, and the row stays.", NTH),
    of_card("row-clear-lost", card.ClearLost, "N-SA-21 N-RX-2",
        "The N-th row clear is called done, and the row stays.", NTH),
    of_card("stale-row", card.StaleRow, "N-SA-21 N-RX-2",
        "A cleared row goes on working for N more received frames.", COUNT, 3),
    of_card("parser-row-lost", card.ParserRowLost, "N-PE-1 N-RX-4",
        "No parser row is ever written, though each is called done."),
    of_rows("parser-row-wrong-port", card.wrong_port, "N-PE-1 N-RX-4",
        "Parser rows are written for port 4501."),
    of_rows("parser-row-wrong-type", card.wrong_type, "N-PE-1 N-PE-2",
        "Parser rows are written for the other UDP-ESP type."),
    of_rows("port-bytes-swapped", card.port_bytes_swapped, "A-28 N-RX-4",
        "The port of a parser row has its bytes in the other order."),
    of_rows("marker-not-skipped", card.marker_not_skipped, "N-NAT-6 N-RX-2",
        "On port 500 the SPI is looked for where the eight zero bytes are."),
    of_rows("spi-bytes-swapped", card.spi_bytes_swapped, "A-28 N-RX-2",
        "The SPI of a row has its bytes in the other order."),
    of_rows("keys-swapped", card.keys_swapped, "A-2 N-SA-16",
        "The cipher has the authenticator's key bytes, and the other way round."),
    of_rows("key-truncated", card.key_truncated, "N-SA-15 N-SA-16",
        "The last byte of the authenticator's key, or of a combined cipher's, is zero."),
    of_rows("destination-ignored", card.any_destination, "N-SA-2 A-16",
        "An association takes packets to whatever address."),
    # --- the card: its control register ------------------------------------------------------------------------
    of_card("on-before-enabling", card.OnBeforeEnabling, "N-CP6-6",
        "The card works from the start, without having been enabled."),
    of_card("on-after-disabling", card.OnAfterDisabling, "N-CAP-12 N-CP6-5",
        "Once enabled, the card takes no notice of being disabled."),
    of_card("options-always", card.OptionsAlways, "N-RX-10",
        "The card works on packets with IP options, though it did not claim to."),
    # --- the card: received frames -----------------------------------------------------------------------------
    of_received("success-without-check", card.success_without_check, "N-RX-6",
        "What belongs to an association goes up untouched, and is called good."),
    of_received("success-on-bad-icv", card.success_on_bad_icv, "N-RX-14 N-RX-15",
        "A packet with a wrong ICV goes up untouched, and is called good."),
    of_received("error-on-good", card.error_on_good, "N-RX-6 N-RX-15",
        "A good packet goes up untouched, as one with a wrong ICV."),
    of_card("icv-unchecked", card.IcvUnchecked, "N-RX-6",
        "A packet with a wrong ICV is decrypted, and called good; not with AES-GCM."),
    of_received("portions-exchanged", card.portions_exchanged, "N-RX-15 N-RX-16",
        "A failure of the transport portion is told as one of the tunnel portion, and the other way round."),
    of_received("generic-error", card.generic_error, "N-RX-14 N-RX-15",
        "Every failure is told as a generic one."),
    of_received("next-without-done", card.next_without_done, "N-RX-12",
        "NextCryptoDone is set in place of CryptoDone."),
    of_received("never-done", card.never_done, "N-RX-12 N-RX-13",
        "Frames are decrypted, and CryptoDone does not say so."),
    of_received("strips-esp", card.stripped, "N-RX-8 A-3",
        "ESP header, IV, trailer and ICV are cut off, and the lengths of the headers left."),
    of_received("last-block-left", card.last_block_left, "N-RX-6",
        "The last eight bytes of the ciphertext are not decrypted."),
    of_received("payload-corrupted", card.payload_corrupted, "N-RX-6",
        "One bit of the decrypted payload is wrong."),
    of_received("hop-limit-lowered", card.hop_limit_lowered, "N-RX-7 N-RX-8",
        "A frame that was opened goes up with a lower TTL."),
    of_received("ike-taken-for-esp", card.ike_taken_for_esp, "N-RX-1",
        "IKE is told as ESP of invalid syntax."),
    of_received("udp-checksum-decides", card.udp_checksum_decides, "N-NAT-5 N-V2-18",
        "A packet in UDP whose checksum is not zero is left alone."),
    of_card("fragments-as-whole", card.FragmentsAsWhole, "N-RX-9",
        "The first fragment of an IPv4 packet is processed as if it were whole."),
    # --- the card: frames to send ------------------------------------------------------------------------------
    of_ivs("iv-all-zero", card.ivs_all_zero, "N-TX-5",
        "Every N-th IV is all zero.", EVERY),
    of_ivs("iv-repeated", card.ivs_repeated, "N-TX-5",
        "Every IV serves for N more packets.", COUNT),
    of_sent("icv-not-written", card.icv_not_written, "N-TX-3 N-TX-9",
        "The space for the ICV goes out as it was handed down."),
    of_sent("spi-wrong-on-send", card.spi_wrong, "N-TX-4",
        "A sealed frame goes out with another SPI."),
    of_sent("plaintext-sent", card.plaintext_sent, "N-TX-3",
        "A frame goes out as it was handed down, and is called sealed."),
    of_handed("pads-again", card.padded_again, "N-TX-4 N-TX-9",
        "The card adds padding of its own, and raises the lengths."),
    of_handed("padding-corrupted", card.padding_corrupted, "N-TX-4",
        "The last byte of the host's padding goes out with another value."),
    # --- the driver: adding ------------------------------------------------------------------------------------
    of_driver("table-full-early", driver.TableFullEarly, "N-SA-23 N-V2-4",
        "After N associations the tables are said to be full.", COUNT, 1),
    of_driver("good-buffer-refused", driver.GoodBufferRefused, "A-1",
        "The N-th add is answered with INVALID_DATA, whatever it is.", NTH),
    of_driver("bad-buffer-accepted", driver.BadBufferAccepted, "N-OID-3 A-1",
        "A buffer that is too short or invalid is answered with success."),
    of_driver("bytes-needed-wrong", driver.BytesNeededWrong, "A-10",
        "BytesNeeded says what is missing, not the total."),
    of_driver("handle-zero", partial(driver.SpoiledHandle, driver.no_handle), "N-SA-17",
        "An add answers a NULL handle.", EVERY),
    of_driver("handle-wrong", partial(driver.SpoiledHandle, driver.wrong_handle), "N-SA-17",
        "An add answers a handle that the driver does not know.", EVERY),
    of_driver("handle-reused", partial(driver.SpoiledHandle, driver.first_handle), "N-SA-17",
        "An add answers the handle of the first association.", EVERY),
    of_driver("list-all-failed", partial(driver.SpoiledList, driver.all_failed), "N-V2-11",
        "A list is said to have failed, though some of its associations were added."),
    of_driver("null-handle-forgotten", partial(driver.SpoiledList, driver.null_handle_forgotten), "N-V2-11",
        "Those of a list that were not added have a handle all the same."),
    # --- the driver: deleting, parser entries ------------------------------------------------------------------
    of_driver("delete-ignored", driver.DeleteIgnored, "N-SA-21 N-DEL-2",
        "A delete is answered with success, and nothing is deleted.", EVERY),
    of_driver("delete-takes-neighbour", driver.DeleteTakesNeighbour, "N-SA-21 N-SA-22",
        "A delete takes another association than the one it names."),
    of_driver("parser-entry-deleted-early", driver.EntryDeletedEarly, "N-DEL-2 N-PE-4",
        "A parser entry goes with the first association that is deleted."),
    of_driver("parser-entry-never-deleted", driver.EntryNeverDeleted, "N-DEL-3",
        "A parser entry stays, though a delete names it."),
    of_driver("second-parser-entry", driver.SecondEntry, "N-ADD-3",
        "An add that finds its parser entry in the list answers another handle for it."),
    # --- the driver: completions, indications of status, reports -----------------------------------------------
    of_driver("completes-twice", driver.CompletesTwice, "N-OID-6",
        "Every request is completed once more than it should be."),
    of_driver("never-completes", driver.NeverCompletes, "N-OID-6",
        "The N-th set is pending for ever.", NTH),
    of_driver("status-not-indicated", driver.StatusNotIndicated, "N-CP6-1 N-CP6-5",
        "No status is indicated, not even the current configuration after enabling."),
    of_driver("capacity-overstated", driver.CapacityOverstated, "N-V2-4",
        "Version 2 is reported with room for N more associations than there is.", COUNT, 1000),
    # --- the driver: received frames ---------------------------------------------------------------------------
    of_driver("drops-failed", partial(driver.DropsFrames, driver.is_failed), "N-RX-14",
        "A packet that failed its check is never indicated.", EVERY),
    of_driver("drops-short", driver.DropsShort, "N-RX-5 N-RX-13",
        "A frame of fewer than N bytes is never indicated.", COUNT, 60),
    of_driver("drops-frames", partial(driver.DropsFrames, driver.any_frame), "N-RX-13",
        "A frame is never indicated.", EVERY, 2),
    of_driver("keepalive-swallowed", partial(driver.DropsFrames, driver.is_keepalive), "N-RX-5",
        "A NAT keepalive is never indicated.", EVERY),
    of_driver("ike-swallowed", partial(driver.DropsFrames, driver.is_ike), "N-RX-1",
        "IKE on a port with a parser entry is never indicated.", EVERY),
    of_driver("delete-requested", driver.DeleteRequested, "N-SA-22",
        "A frame that was processed asks for its association to be deleted, though there is room.", EVERY),
    of_driver("word-too-short", driver.WordTooShort, "N-RX-12",
        "The out-of-band word of a frame is cut to one byte.", EVERY),
    of_driver("word-of-frame-before", driver.WordOfFrameBefore, "N-RX-12 N-RX-13",
        "A frame goes up with the out-of-band word of the one before it."),
    # --- the driver: frames to send ----------------------------------------------------------------------------
    of_driver("unknown-handle-sent", driver.UnknownHandleSent, "N-TX-10 N-V2-16",
        "A frame whose handle nobody knows goes out unprotected, and is called sent."),
    of_driver("handle-ignored", driver.HandleIgnored, "N-TX-1 N-TX-3",
        "A frame goes out as if its handle were zero, unprotected.", EVERY),
)
# fmt: on
BY_NAME: dict[str, Impairment] = {one.name: one for one in CATALOGUE}


# --- choosing ------------------------------------------------------------------------------------------------------


def impairment(name: str, number: int | None = None) -> Impaired:
    """The impairment of this name, with its N or the default one. Raises InputError for what there is not."""
    found = BY_NAME.get(name)
    if found is None:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), BY_NAME, n=3, cutoff=0.5)
        hint = f"near it are {', '.join(near)}" if near else "nicsim impairments lists them"
        raise InputError(f"no impairment is called {name!r}; {hint}")
    if number is not None and found.number is Number.NONE:
        raise InputError(f"the impairment {name} takes no N, {number} came")
    if number is not None and number < 1:
        raise InputError(f"the N of the impairment {name} needs to be 1 or more, not {number}")
    return Impaired(found, found.default if number is None else number)


def parse_impairment(text: str) -> Impaired:
    """NAME or NAME=N, as the command line has it."""
    name, equals, number = text.partition("=")
    if equals and not (number.isascii() and number.isdecimal()):
        raise InputError(f"the N of the impairment {name} needs to be a number, not {number!r}")
    return impairment(name, int(number) if equals else None)


# --- putting them in place -----------------------------------------------------------------------------------------


def impaired_ivs(source: IvSource, impairments: Iterable[Impaired]) -> IvSource:
    """The source of IVs with what spoils it."""
    for one in impairments:
        if one.impairment.ivs is not None:
            source = one.impairment.ivs(source, one.number)
    return source


def impaired_card(below: Card, impairments: Iterable[Impaired], link_type: int) -> Card:
    """The card with what spoils it; the card itself where nothing does."""
    for one in impairments:
        if one.impairment.card is not None:
            below = one.impairment.card(below, one.number, link_type)
    return below


def impaired_driver(below: Miniport, impairments: Iterable[Impaired]) -> Miniport:
    """The driver with what spoils it; the driver itself where nothing does."""
    for one in impairments:
        if one.impairment.driver is not None:
            below = one.impairment.driver(below, one.number)
    return below
