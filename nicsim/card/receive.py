"""The receive path: what the card does to a frame before the host sees it.

Read `STEPS` next to "Processing UDP-Encapsulated ESP Packets" and "Offloading IPsec Tasks in the Receive Path": one
question a step, in the order of the documentation, each with its rule. A step that answers with a reason ends the
walk, and the frame goes up untouched. When every step has passed, `process` checks and decrypts in place. Nothing
here raises because of what arrived: a bad packet is an outcome.

Called by card/device.py. Uses rows.py, wire/packet.py, wire/esp.py and ipsec/transforms.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nicsim.boundary import Descriptor, ParserRow, Portion, SaRow, UdpType
from nicsim.card.rows import LoadedSa, Rows
from nicsim.errors import EspSyntaxError, IntegrityError, Malformed, NotIp
from nicsim.reasons import BY_NUMBER, Reason
from nicsim.wire.esp import (
    ESP_HEADER_LENGTH,
    NON_IKE_MARKER,
    PROTOCOL_AH,
    PROTOCOL_ESP,
    PROTOCOL_UDP,
    Datagram,
    classify_port_500,
    classify_port_4500,
    spi_and_sequence,
)
from nicsim.wire.packet import ETHERNET_HEADER_LENGTH, Packet, parse_frame
from offload_oids import CryptoStatus

AH_SPI_OFFSET = 4

NOT_ESP = {Datagram.IKE: Reason.IKE, Datagram.KEEPALIVE: Reason.KEEPALIVE, Datagram.RUNT: Reason.RUNT}
AUTHENTICATION_FAILED = {
    Portion.TRANSPORT: CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
    Portion.TUNNEL: CryptoStatus.CRYPTO_TUNNEL_ESP_AUTH_FAILED,
}


class Walk:
    """One frame on its way through the steps, and what they have found in it so far."""

    __slots__ = ("association", "esp", "esp_end", "frame", "link_type", "packet", "parser_slot", "parsers", "rows")

    packet: Packet
    association: LoadedSa

    def __init__(self, rows: Rows, frame: bytes, link_type: int) -> None:
        self.rows = rows
        self.frame = frame
        self.link_type = link_type
        self.parsers: list[tuple[int, ParserRow]] = []
        self.esp = 0
        self.esp_end = 0
        self.parser_slot = -1


def find_ip(walk: Walk) -> Reason | None:
    try:
        walk.packet = parse_frame(walk.frame, walk.link_type)
    except NotIp:
        return Reason.NOT_IP
    except Malformed:
        return Reason.MALFORMED
    return None


def is_enabled(walk: Walk) -> Reason | None:
    control, packet = walk.rows.control, walk.packet
    enabled = control.ipv4_encapsulations if packet.version == 4 else control.ipv6_encapsulations
    if not enabled:
        return Reason.NOT_ENABLED
    return None if enabled & packet.encapsulation else Reason.ENCAPSULATION_NOT_ENABLED


def is_whole(walk: Walk) -> Reason | None:
    return Reason.FRAGMENT if walk.packet.is_fragment else None


def has_claimed_options(walk: Walk) -> Reason | None:
    if not walk.packet.options:
        return None
    control = walk.rows.control
    allowed = control.ipv4_options if walk.packet.version == 4 else control.ipv6_extension_headers
    return None if allowed else Reason.IP_OPTIONS


def is_for_ipsec(walk: Walk) -> Reason | None:
    packet = walk.packet
    if packet.protocol == PROTOCOL_UDP:
        return None
    if packet.protocol not in (PROTOCOL_ESP, PROTOCOL_AH):
        return Reason.NOT_IPSEC
    walk.esp, walk.esp_end = packet.payload, packet.end
    # The SPI comes first in ESP and four bytes later in AH.
    needed = ESP_HEADER_LENGTH if packet.protocol == PROTOCOL_ESP else AH_SPI_OFFSET + ESP_HEADER_LENGTH
    return None if walk.esp_end - walk.esp >= needed else Reason.MALFORMED


def has_parser_entry(walk: Walk) -> Reason | None:
    if walk.packet.protocol != PROTOCOL_UDP:
        return None
    parsers = walk.rows.parsers_of(walk.packet.dst_port)
    if parsers is None:
        return Reason.NO_PARSER_ENTRY
    walk.parsers = parsers
    return None


def is_esp(walk: Walk) -> Reason | None:
    if not walk.parsers:
        return None
    packet = walk.packet
    # The row's type says which marker to look for; a port that several rows name is parsed by the oldest.
    classify = classify_port_500 if walk.parsers[0][1].udp_type == UdpType.IKE else classify_port_4500
    datagram, walk.esp = classify(walk.frame, packet.udp_payload, packet.udp_end)
    walk.esp_end = packet.udp_end
    return None if datagram is Datagram.ESP else NOT_ESP[datagram]


def is_offloaded(walk: Walk) -> Reason | None:
    packet = walk.packet
    protocol = PROTOCOL_ESP if walk.parsers else packet.protocol
    spi, _ = spi_and_sequence(walk.frame, walk.esp + AH_SPI_OFFSET if protocol == PROTOCOL_AH else walk.esp)
    candidates = walk.rows.inbound_of(spi, protocol)
    if candidates is None:
        return Reason.SA_NOT_OFFLOADED
    reason = Reason.FILTER_MISMATCH
    for association in candidates:
        if association.matches(packet):
            if rides_as_agreed(walk, association.row):
                walk.association = association
                return None
            reason = Reason.ENCAPSULATION_MISMATCH
    return reason


def rides_as_agreed(walk: Walk, row: SaRow) -> bool:
    """Whether the packet came native or in UDP as the row says, through a parser row of the row's set (N-RX-2)."""
    if not walk.parsers:
        return row.udp_type == UdpType.NATIVE
    for slot, parser in walk.parsers:
        if parser.udp_type == row.udp_type and parser.parser_set == row.parser_set:
            walk.parser_slot = slot
            return True
    return False


Question = Callable[[Walk], Reason | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One question of the path: what it asks, the rule that makes the card ask it, and the bytes it looks at."""

    ask: Question
    question: str
    rule: str
    looks_at: Callable[[Walk], tuple[int, int]]
    """From the walk, after the step: the offsets of the first and behind the last byte that decided."""


def link_header(walk: Walk) -> tuple[int, int]:
    return 0, walk.packet.network if hasattr(walk, "packet") else min(len(walk.frame), ETHERNET_HEADER_LENGTH)


def ip_headers(walk: Walk) -> tuple[int, int]:
    return walk.packet.network, walk.packet.payload


def udp_header(walk: Walk) -> tuple[int, int]:
    return walk.packet.payload, max(walk.packet.payload, walk.packet.udp_payload)


def udp_payload_start(walk: Walk) -> tuple[int, int]:
    start = max(walk.packet.payload, walk.packet.udp_payload)  # without UDP: nothing, as above
    return start, max(start, min(start + len(NON_IKE_MARKER), walk.packet.udp_end))


def esp_header(walk: Walk) -> tuple[int, int]:
    return walk.esp, walk.esp + ESP_HEADER_LENGTH


# fmt: off
STEPS: tuple[Step, ...] = (
    Step(find_ip,             "Is there an IP packet in the frame?",                      "N-RX-13", link_header),
    Step(is_enabled,          "Has the host enabled offload for this encapsulation?",     "N-CP6-6", link_header),
    Step(is_whole,            "Is it a whole packet, not a fragment?",                    "N-RX-9",  ip_headers),
    Step(has_claimed_options, "Are its IP options, if any, claimed and enabled?",         "N-RX-10", ip_headers),
    Step(is_for_ipsec,        "Is it ESP, AH, or UDP that may carry ESP?",                "N-RX-2",  ip_headers),
    Step(has_parser_entry,    "If it is UDP: has its destination port a parser entry?",   "N-RX-4",  udp_header),
    Step(is_esp,              "If it is UDP: is it ESP, by the marker of that entry?",    "N-RX-1",  udp_payload_start),
    Step(is_offloaded,        "Is the association of its SPI offloaded now?",             "N-RX-2",  esp_header),
)
# fmt: on
QUESTIONS: tuple[Question, ...] = tuple(step.ask for step in STEPS)


def receive(rows: Rows, frame: bytes, link_type: int) -> tuple[bytes, Descriptor]:
    """Process one frame off the wire: the frame as it goes up, and what was done to it."""
    walk = Walk(rows, frame, link_type)
    for question in QUESTIONS:
        reason = question(walk)
        if reason is not None:
            return frame, untouched(reason)
    return process(walk)


def untouched(reason: Reason) -> Descriptor:
    """Handed up as it came: both flags clear and CRYPTO_SUCCESS (N-RX-13, A-23)."""
    return Descriptor(reason.number)


def process(walk: Walk) -> tuple[bytes, Descriptor]:
    """Check the ICV, then decrypt in place: nothing is removed, no length changes (N-RX-6, N-RX-8, A-3).

    The card does no replay check and looks at no padding: the host does (N-RX-7). A packet that fails goes up as it
    came, with the status of the portion that failed (N-RX-14, N-RX-16).
    """
    frame, association = walk.frame, walk.association
    begin, end = walk.esp + ESP_HEADER_LENGTH + association.iv_length, walk.esp_end - association.icv_length
    parser_slot = walk.parser_slot + 1
    try:
        plaintext = association.transform.open(frame, walk.esp, walk.esp_end)
    except IntegrityError:
        reason, status = Reason.ICV_WRONG, AUTHENTICATION_FAILED[Portion(association.row.portion)]
    except EspSyntaxError:
        reason, status = Reason.SYNTAX_INVALID, CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX
    else:
        opened = frame[:begin] + plaintext + frame[end:]
        number = Reason.OPENED.number
        return opened, Descriptor(number, 1, 0, 0, association.slot + 1, parser_slot, begin, end)
    return frame, Descriptor(reason.number, 1, 0, status, association.slot + 1, parser_slot)


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One step of a walk that somebody watched; `reason` is None where the frame went on to the next."""

    question: str
    rule: str
    looked_at: tuple[int, int]
    reason: Reason | None


def explain(rows: Rows, frame: bytes, link_type: int) -> list[StepTaken]:
    """Walk one frame through the same steps again and tell each; changes nothing."""
    walk = Walk(rows, frame, link_type)
    taken: list[StepTaken] = []
    for step in STEPS:
        reason = step.ask(walk)
        taken.append(StepTaken(step.question, step.rule, step.looks_at(walk), reason))
        if reason is not None:
            return taken
    reason = BY_NUMBER[process(walk)[1].reason]
    icv = max(walk.esp, walk.esp_end - walk.association.icv_length), walk.esp_end
    taken.append(StepTaken("Is its ICV right?", "N-RX-6", icv, None if reason is Reason.OPENED else reason))
    return taken
