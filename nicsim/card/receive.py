"""The receive path: what the card does to a frame before the host sees it.

Read `STEPS` next to "Processing UDP-Encapsulated ESP Packets" and "Offloading IPsec Tasks in the Receive Path": one
question a step, in the order of the documentation, each with its rule. A step that answers with a reason ends the
walk, and the frame goes up untouched. When every step has passed, `process` checks and decrypts in place, layer by
layer: AH before the ESP it covers, the tunnel portion before the transport portion inside, which walks steps of its
own. Nothing here raises because of what arrived: a bad packet is an outcome.

Called by card/device.py. Uses rows.py, wire/packet.py, wire/esp.py, ipsec/ah.py and ipsec/transforms.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nicsim.boundary import Combination, Descriptor, ParserRow, Portion, SaRow, UdpType
from nicsim.card.rows import LoadedSa, Rows
from nicsim.errors import EspSyntaxError, IntegrityError, Malformed, NotIp
from nicsim.ipsec import ah
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
from nicsim.wire.packet import (
    ETHERNET_HEADER_LENGTH,
    IPV4_HEADER_LENGTH,
    IPV6_HEADER_LENGTH,
    LinkType,
    Packet,
    parse_frame,
)
from offload_oids import CryptoStatus

AH_SPI_OFFSET = 4

NOT_ESP = {Datagram.IKE: Reason.IKE, Datagram.KEEPALIVE: Reason.KEEPALIVE, Datagram.RUNT: Reason.RUNT}
AUTHENTICATION_FAILED = {
    (PROTOCOL_AH, Portion.TRANSPORT): CryptoStatus.CRYPTO_TRANSPORT_AH_AUTH_FAILED,
    (PROTOCOL_ESP, Portion.TRANSPORT): CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
    (PROTOCOL_AH, Portion.TUNNEL): CryptoStatus.CRYPTO_TUNNEL_AH_AUTH_FAILED,
    (PROTOCOL_ESP, Portion.TUNNEL): CryptoStatus.CRYPTO_TUNNEL_ESP_AUTH_FAILED,
}
OPENED, CHECKED = Reason.OPENED, Reason.CHECKED

COMBINATIONS = {
    # how the tunnel rides, how the transport portion inside rides
    (UdpType.NATIVE, UdpType.NATIVE): Combination.NATIVE,
    (UdpType.OTHER, UdpType.NATIVE): Combination.TUNNEL_IN_UDP_OTHER,
    (UdpType.IKE, UdpType.NATIVE): Combination.TUNNEL_IN_UDP_IKE,
    (UdpType.NATIVE, UdpType.OTHER): Combination.TRANSPORT_IN_UDP_OTHER,
    (UdpType.NATIVE, UdpType.IKE): Combination.TRANSPORT_IN_UDP_IKE,
}
IPV4_IN_TUNNEL, IPV6_IN_TUNNEL = 4, 41
TUNNELLED = frozenset({IPV4_IN_TUNNEL, IPV6_IN_TUNNEL})
# In IPv6 also what IPsec may stand behind: hop-by-hop options, routing, fragment, destination options.
MAY_LEAD_TO_IPSEC = {
    IPV4_IN_TUNNEL: frozenset({PROTOCOL_ESP, PROTOCOL_AH}),
    IPV6_IN_TUNNEL: frozenset({PROTOCOL_ESP, PROTOCOL_AH, 0, 43, 44, 60}),
}


class Walk:
    """One portion of a frame on its way through the steps, and what they have found in it so far.

    The tunnel portion, or the only one, sees the whole frame; a transport portion inside sees the packet that the
    tunnel held, as its frame.
    """

    __slots__ = (
        "association", "begin", "end", "esp", "esp_end", "frame", "inner", "link_type", "next_header", "packet",
        "parser_slot", "parsers", "rows", "status",
    )  # fmt: skip

    packet: Packet
    association: LoadedSa
    inner: Walk
    """The portion inside, once somebody looked for it."""
    begin: int
    """Where the payload of the last layer begins and ends, once that layer was opened."""
    end: int

    def __init__(self, rows: Rows, frame: bytes, link_type: int) -> None:
        self.rows = rows
        self.frame = frame
        self.link_type = link_type
        self.parsers: list[tuple[int, ParserRow]] = []
        self.esp = 0
        self.esp_end = 0
        self.parser_slot = -1
        self.next_header = -1
        self.status = 0


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
    # Tags before LLC/SNAP are two encapsulations, and both must be on.
    return Reason.ENCAPSULATION_NOT_ENABLED if packet.encapsulation & ~enabled else None


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
# Inside a tunnel: is there a portion that the card could process? What link it came by was asked before.
INNER_QUESTIONS: tuple[Question, ...] = (
    find_ip, is_whole, is_for_ipsec, has_parser_entry, is_esp, has_claimed_options,
)  # fmt: skip


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
    received, association = walk.frame, walk.association
    reason = open_esp(walk, association, None) if association.is_lone_esp else open_portion(walk, None)
    if walk.next_header in TUNNELLED and may_hold_ipsec(walk):
        return process_inside(walk, received, reason)
    return finished(walk, reason)


def finished(walk: Walk, reason: Reason) -> tuple[bytes, Descriptor]:
    """What goes up of a packet with one portion that was processed."""
    slot, parser_slot = walk.association.slot + 1, walk.parser_slot + 1
    if reason is OPENED:
        return walk.frame, Descriptor(OPENED.number, 1, 0, 0, slot, parser_slot, walk.begin, walk.end)
    return walk.frame, Descriptor(reason.number, 1, 0, walk.status, slot, parser_slot)


def open_portion(walk: Walk, portion: Portion | None) -> Reason:
    """AH, then the ESP that it covers, or one of them (A-18). `portion` None: the one that the row says."""
    association = walk.association
    row = association.row
    if row.protocol == PROTOCOL_AH:
        reason = check_ah(walk, association, portion)
        if reason is not CHECKED or not row.then_slot:
            return reason
        covered = walk.rows.inbound.get(row.then_slot - 1)
        if covered is None:
            return generic_error(walk)
        if not is_esp_of(walk, covered.row):
            return invalid_protocol(walk)
        association = covered
    elif row.linked:
        return invalid_protocol(walk)  # ESP came without the AH that goes with it
    return open_esp(walk, association, portion)


def open_esp(walk: Walk, association: LoadedSa, portion: Portion | None) -> Reason:
    frame = walk.frame
    begin, end = walk.esp + ESP_HEADER_LENGTH + association.iv_length, walk.esp_end - association.icv_length
    try:
        plaintext = association.transform.open(frame, walk.esp, walk.esp_end, association.sequence_high)
    except IntegrityError:
        return wrong_icv(walk, association.row, portion)
    except EspSyntaxError:
        return invalid_syntax(walk)
    walk.frame = frame[:begin] + plaintext + frame[end:]
    walk.begin, walk.end, walk.next_header = begin, end, plaintext[-1]
    return OPENED


def check_ah(walk: Walk, association: LoadedSa, portion: Portion | None) -> Reason:
    """Check AH; what it covers begins behind it, and so does the ESP that may be there."""
    frame, start, end = walk.frame, walk.esp, walk.esp_end
    try:
        length = ah.header_length(association.transform, frame, start, end)
        ah.check(association.transform, frame, walk.packet.network, start, end, association.sequence_high)
    except IntegrityError:
        return wrong_icv(walk, association.row, portion)
    except EspSyntaxError:
        return invalid_syntax(walk)
    walk.esp = walk.begin = start + length
    walk.end, walk.next_header = end, frame[start]
    return CHECKED


def is_esp_of(walk: Walk, row: SaRow) -> bool:
    """Whether AH covers ESP with the SPI of the row; ESP too short for an SPI is a matter of syntax."""
    if walk.next_header != PROTOCOL_ESP:
        return False
    return walk.esp_end - walk.esp < ESP_HEADER_LENGTH or spi_and_sequence(walk.frame, walk.esp)[0] == row.spi


def wrong_icv(walk: Walk, row: SaRow, portion: Portion | None) -> Reason:
    walk.status = AUTHENTICATION_FAILED[row.protocol, Portion(row.portion) if portion is None else portion]
    return Reason.ICV_WRONG


def invalid_syntax(walk: Walk) -> Reason:
    walk.status = CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX
    return Reason.SYNTAX_INVALID


def generic_error(walk: Walk) -> Reason:
    walk.status = CryptoStatus.CRYPTO_GENERIC_ERROR
    return Reason.ROW_MISSING


def invalid_protocol(walk: Walk) -> Reason:
    walk.status = CryptoStatus.CRYPTO_INVALID_PROTOCOL
    return Reason.PROTOCOL_INVALID


# --- the transport portion inside a tunnel portion ---------------------------------------------------------------


def may_hold_ipsec(walk: Walk) -> bool:
    """A quick look into a tunnel, which mostly holds anything but IPsec; the steps of the portion inside look again."""
    frame, begin = walk.frame, walk.begin
    if walk.end - begin < IPV4_HEADER_LENGTH:
        return False
    if walk.next_header == IPV4_IN_TUNNEL:
        protocol, port = frame[begin + 9], begin + (frame[begin] & 0xF) * 4 + 2
    else:
        protocol, port = frame[begin + 6], begin + IPV6_HEADER_LENGTH + 2
    if protocol == PROTOCOL_UDP:
        return walk.rows.parsers_of(int.from_bytes(frame[port : port + 2], "big")) is not None
    return protocol in MAY_LEAD_TO_IPSEC[walk.next_header]


def process_inside(walk: Walk, received: bytes, reason: Reason) -> tuple[bytes, Descriptor]:
    """The tunnel portion is open: now the transport portion in it, if there is one (N-RX-2, N-RX-3, A-4, A-22).

    A packet of both portions, when that is not enabled, goes up as it was `received`.
    """
    link_type = LinkType.IPV4 if walk.next_header == IPV4_IN_TUNNEL else LinkType.IPV6
    inner = Walk(walk.rows, walk.frame[walk.begin : walk.end], link_type)
    if any(question(inner) is not None for question in INNER_QUESTIONS):
        return finished(walk, reason)
    walk.inner = inner
    control = walk.rows.control
    ridden = UdpType(walk.association.row.udp_type), UdpType(inner.parsers[0][1].udp_type if inner.parsers else 0)
    if not control.combinations & COMBINATIONS.get(ridden, 0):
        return received, untouched(Reason.COMBINATION_NOT_ENABLED)
    if is_offloaded(inner) is not None:
        return (received, untouched(Reason.INNER_NOT_OFFLOADED)) if control.both_or_neither else finished(walk, reason)
    return finished_both(walk, inner, reason, open_portion(inner, Portion.TRANSPORT))


def finished_both(walk: Walk, inner: Walk, outer_reason: Reason, reason: Reason) -> tuple[bytes, Descriptor]:
    """What goes up of a packet whose two portions were checked; its payload is the innermost that was decrypted."""
    frame = walk.frame[: walk.begin] + inner.frame + walk.frame[walk.end :]
    begin = end = 0
    if reason is OPENED:
        begin, end = walk.begin + inner.begin, walk.begin + inner.end
    elif reason is CHECKED and outer_reason is OPENED:
        reason, begin, end = OPENED, walk.begin, walk.end
    slots = walk.association.slot + 1, max(walk.parser_slot, inner.parser_slot) + 1
    return frame, Descriptor(reason.number, 1, 1, inner.status, *slots, begin, end, inner.association.slot + 1)


# --- explained ---------------------------------------------------------------------------------------------------


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
    taken.extend(explain_portions(walk))
    return taken


def explain_portions(walk: Walk) -> list[StepTaken]:
    """What `process` makes of a frame that has passed the steps."""
    outer_icv = icv_of(walk)
    reason: Reason | None = BY_NUMBER[process(walk)[1].reason]
    reason = None if reason in (OPENED, CHECKED) else reason
    if not hasattr(walk, "inner"):
        return [StepTaken("Is its ICV right?", "N-RX-6", outer_icv, reason)]
    opened = StepTaken("Is its ICV right?", "N-RX-6", outer_icv, None)
    inner = walk.inner
    if not hasattr(inner, "association"):
        looked_at = walk.begin + inner.esp, walk.begin + inner.esp + ESP_HEADER_LENGTH
        return [opened, StepTaken("Are both its portions enabled and offloaded?", "A-4", looked_at, reason)]
    begin, end = icv_of(inner)
    looked_at = walk.begin + begin, walk.begin + end
    return [opened, StepTaken("Is the ICV of the portion inside right?", "N-RX-3", looked_at, reason)]


def icv_of(walk: Walk) -> tuple[int, int]:
    """Where the ICV of a portion's first layer is."""
    association = walk.association
    if association.row.protocol == PROTOCOL_AH:
        begin = walk.packet.payload + ah.AH_FIXED_LENGTH
        return min(begin, walk.esp_end), min(begin + association.icv_length, walk.esp_end)
    return max(walk.esp, walk.esp_end - association.icv_length), walk.esp_end
