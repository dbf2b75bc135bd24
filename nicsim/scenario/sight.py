"""What a packet is, in few words: for the lines of a ladder and for expectations about packets."""

from __future__ import annotations

from dataclasses import dataclass

from nicsim.errors import IsakmpMalformed, Malformed
from nicsim.wire.esp import (
    IKE_PORT,
    NAT_TRAVERSAL_PORT,
    PROTOCOL_AH,
    PROTOCOL_ESP,
    PROTOCOL_UDP,
    Datagram,
    classify_port_500,
    classify_port_4500,
    spi_and_sequence,
)
from nicsim.wire.headers import format_address
from nicsim.wire.icmp import (
    ECHO_REPLY,
    ECHO_REQUEST,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    IcmpErrorKind,
    parse_icmp_error,
)
from nicsim.wire.isakmp import ExchangeType, parse_header, parse_message, payload_name
from nicsim.wire.packet import LinkType, Packet, parse_frame

_ESP_HEADER_LENGTH = 8
_TOO_MANY = ("VID", "CR", "CERT")
"""Payloads that a line has no room for."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One packet. Ports are None where it shows none."""

    # "IKE", "ESP", "AH", "keepalive", "UDP", "ICMP", "fragment" or "other".
    what: str
    # Behind that: an exchange, an SPI, an error.
    more: str
    source: str
    target: str
    source_port: int | None
    target_port: int | None
    # Bytes of IP packet.
    size: int

    def __str__(self) -> str:
        ports = f"{self.source_port}>{self.target_port} " if self.source_port is not None else ""
        return f"{ports}{self.what} {self.more}".rstrip()


def see(packet: bytes) -> Sight:
    """What an IP packet is; damaged ones are "other"."""
    try:
        parsed = parse_frame(packet, LinkType.RAW)
    except Malformed:
        return Sight("other", "damaged", "", "", None, None, len(packet))
    what, more = _kind(packet, parsed)
    shown = parsed.src_port >= 0
    return Sight(
        what,
        more,
        format_address(parsed.src),
        format_address(parsed.dst),
        parsed.src_port if shown else None,
        parsed.dst_port if shown else None,
        len(packet),
    )


def _kind(packet: bytes, parsed: Packet) -> tuple[str, str]:
    if parsed.is_fragment:
        return "fragment", f"{parsed.fragment_offset}{'+' if parsed.more_fragments else ''}"
    if parsed.protocol == PROTOCOL_UDP:
        return _udp(packet, parsed)
    if parsed.protocol == PROTOCOL_ESP:
        return "ESP", _esp(packet, parsed.payload, parsed.end)
    if parsed.protocol == PROTOCOL_AH:
        return "AH", ""
    if parsed.protocol in (PROTOCOL_ICMP, PROTOCOL_ICMPV6):
        return "ICMP", _icmp(packet, parsed)
    return "other", f"protocol {parsed.protocol}"


def _udp(packet: bytes, parsed: Packet) -> tuple[str, str]:
    """IKE and ESP are known by the port of either end: a NAT changes one of them only."""
    start, end = parsed.udp_payload, parsed.udp_end
    ports = parsed.src_port, parsed.dst_port
    if NAT_TRAVERSAL_PORT in ports:
        kind, at = classify_port_4500(packet, start, end)
    elif IKE_PORT in ports:
        kind, at = classify_port_500(packet, start, end)
    else:
        return "UDP", f"{end - start} bytes"
    if kind is Datagram.ESP:
        return "ESP", _esp(packet, at, end)
    if kind is Datagram.IKE:
        return "IKE", _ike(packet[at:end])
    return kind.value if kind is Datagram.RUNT else "keepalive", ""


def _esp(packet: bytes, at: int, end: int) -> str:
    if end - at < _ESP_HEADER_LENGTH:
        return "cut"
    spi, sequence = spi_and_sequence(packet, at)
    return f"{spi:08x} #{sequence}"


def _ike(message: bytes) -> str:
    """The exchange, and the payloads that show what step it is at; a star stands for encryption, as in RFC 2409."""
    try:
        header = parse_header(message)
        known = header.exchange in ExchangeType.__members__.values()
        name = ExchangeType(header.exchange).name.lower() if known else f"exchange {header.exchange}"
        if header.encrypted:
            return f"{name}*"
        payloads = [payload_name(payload.type) for payload in parse_message(message).payloads]
    except IsakmpMalformed:
        return "malformed"
    return " ".join([name, *(payload for payload in dict.fromkeys(payloads) if payload not in _TOO_MANY)])


def _icmp(packet: bytes, parsed: Packet) -> str:
    error = parse_icmp_error(packet, parsed)
    if error is not None:
        mtu = f" {error.mtu}" if error.kind is IcmpErrorKind.PACKET_TOO_BIG else ""
        return error.kind.name.lower().replace("_", " ") + mtu
    number = packet[parsed.payload] if parsed.payload < parsed.end else -1
    return {ECHO_REQUEST: "echo request", ECHO_REPLY: "echo reply"}.get(number, f"type {number}")
