"""`--explain N`: a second walk over one frame, told step by step. The first walk, which counts, is never slowed by it.

The steps of the receive path are those of card/receive.py themselves; what the host does before and after is told
from the result.
"""

from __future__ import annotations

from nicsim.card import receive
from nicsim.errors import Malformed
from nicsim.reasons import Reason
from nicsim.replay.player import Player
from nicsim.replay.results import Direction, FrameResult, Kind, SaSummary, Story, StoryStep
from nicsim.wire.headers import format_address
from nicsim.wire.packet import parse_frame
from nicsim.wire.pcap import Frame

LONGEST_EXCERPT = 24
"""Bytes shown of what a step looked at."""

# fmt: off
VERDICTS = {
    "accepted":  "ICV, padding and trailer are good and the sequence number is new: the packet is accepted.",
    "duplicate": "The ICV is good, but the sequence number has been seen: a replay, dropped.",
    "too-old":   "The ICV is good, but the sequence number lies left of the replay window: dropped.",
    "icv-bad":   "The ICV is wrong: dropped, and the replay window stays as it was.",
    "malformed": "The packet's length, padding or trailer is wrong: dropped.",
    "no-sa":     "The host has no association for this packet either: dropped.",
}
# fmt: on


def tell(player: Player, frame: Frame, result: FrameResult) -> Story:
    """The story of a frame that has just been played."""
    steps = list(association_steps(player, result))
    if result.direction is Direction.RX:
        steps += card_steps(player, frame)
        steps += outcome_steps(result)
    elif result.direction is Direction.TX:
        steps += sent_steps(result)
    return Story(result, headline(frame, result), tuple(steps), ending(result))


def headline(frame: Frame, result: FrameResult) -> str:
    """The frame in one line."""
    what = f"frame {result.frame}, {len(frame.data)} bytes, {result.direction.value}, {result.kind.value}"
    try:
        packet = parse_frame(frame.data, frame.link_type)
    except Malformed as error:
        return f"{what}: {error}"
    ports = (f":{packet.src_port}", f":{packet.dst_port}") if packet.src_port >= 0 else ("", "")
    return f"{what}: {format_address(packet.src)}{ports[0]} -> {format_address(packet.dst)}{ports[1]}"


def association_steps(player: Player, result: FrameResult) -> list[StoryStep]:
    """Which association of the file it is, and where that one is."""
    if result.spi is None:
        return []
    question = f"Which association has SPI 0x{result.spi:08x}?"
    summary = player.summary_of(result.spi, result.direction)
    if summary is None:
        return [StoryStep(question, "N-SA-20", "none of the file")]
    return [StoryStep(question, "N-SA-20", whereabouts(summary))]


def whereabouts(summary: SaSummary) -> str:
    """Where an association of the file is processed."""
    name = f"{summary.where}: {summary.algorithms}, {summary.mode or 'mode still unknown'}"
    if summary.oid:
        return f"{name}; offloaded by {summary.oid} as {summary.src} -> {summary.dst}"
    if summary.software_reason:
        return f"{name}; in software: {summary.software_reason.sentence} ({summary.software_detail})"
    return f"{name}; no packet of it has opened yet"


def card_steps(player: Player, frame: Frame) -> list[StoryStep]:
    """The steps of the card's receive path, with the bytes they looked at."""
    steps = []
    for taken in receive.explain(player.nic.card.rows, frame.data, frame.link_type):
        start, end = taken.looked_at
        excerpt = frame.data[start : min(end, start + LONGEST_EXCERPT)] if end > start else b""
        steps.append(StoryStep(taken.question, taken.rule, outcome(taken, bool(excerpt)), start, excerpt))
    return steps


def outcome(taken: receive.StepTaken, looked: bool) -> str:
    """What came of one step of the card."""
    if taken.reason is None:
        return "yes" if looked else "does not apply"
    return f"no: {taken.reason.label}"


def outcome_steps(result: FrameResult) -> list[StoryStep]:
    """What goes up with the frame, and what the host makes of it."""
    status = result.crypto_status.name if result.crypto_status is not None else "none"
    words = f"CryptoDone {int(bool(result.crypto_done))}, NextCryptoDone {int(bool(result.next_crypto_done))}, {status}"
    rule = "N-RX-12" if result.crypto_done else "N-RX-13"
    steps = [StoryStep("What does the driver say of it?", rule, words)]
    if result.opened_by == "host":
        steps.append(StoryStep("Who opens it, then?", "N-RX-14", "the host, in software"))
    if result.host_verdict is not None:
        steps.append(StoryStep("What is the host's last word?", "N-RX-7", VERDICTS[result.host_verdict]))
    elif result.kind is Kind.FRAGMENT:
        steps.append(StoryStep("Does it complete its datagram?", "N-RX-9", "no, or what it completes is no ESP"))
    return steps


def sent_steps(result: FrameResult) -> list[StoryStep]:
    """The way of a frame that the host sent."""
    if result.reason is Reason.SENT_PLAIN:
        return []
    steps = []
    if result.opened_by:
        steps.append(StoryStep("Does it open with the association's keys?", "N-TX-3", "yes, in software"))
    if result.resealed is not None:
        same = "byte for byte as captured" if result.resealed else result.reason.sentence
        steps.append(StoryStep("What does the NIC's send path make of it?", "N-TX-9", same))
    return steps


def ending(result: FrameResult) -> str:
    """The reason in words."""
    rule = f" ({result.reason.rule})" if result.reason.rule else ""
    payload = f" {len(result.payload)} bytes of payload." if result.payload is not None else ""
    return f"{result.reason.label}{rule}: {result.reason.sentence}{payload}"
