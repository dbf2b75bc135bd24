"""Network address translation: what a NAT makes of a packet on its way out, and on its way in.

    out: the source becomes the NAT's own address and a port of its choice     (Napt)
         the source becomes the outside address that belongs to it             (AddressNat)
    in:  the same backwards, for the destination; what fits no mapping is dropped

Nothing above UDP is touched, and the errors that quote a translated packet are translated with the quotation. A NAT is
put into a router (router.py), which does the rest: TTL, routes, MTU. IPv6 passes as it is. Sources: docs/spec/
nat-traversal.md section 13, RFC 3022, RFC 4787, RFC 5508; RFC 3947 section 4 for NATs that know IPsec a little.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyMapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from nicsim.events import Endpoint
from nicsim.network.cookies import CookieTable
from nicsim.network.fragments import FragmentTracker
from nicsim.network.mappings import Mapping, MappingTable
from nicsim.network.rewriting import PROTOCOL_TCP, with_ends, with_quoted_end
from nicsim.wire.esp import IKE_PORT, PROTOCOL_UDP, Datagram, classify_port_500
from nicsim.wire.headers import format_address
from nicsim.wire.icmp import ECHO_REPLY, ECHO_REQUEST, ICMP_HEADER_LENGTH, PROTOCOL_ICMP, Quoted, parse_icmp_error
from nicsim.wire.packet import Packet

_SEQUENCE_AT, _ECHO_AT = 6, 4


class Filtering(Enum):
    """Who may send in through a mapping (RFC 4787 section 5)."""

    # Anyone who knows the outside address and port.
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    # Those addresses and ports that the inside has sent to.
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Fragments(Enum):
    """What a NAT does with fragments, of which only the first has ports."""

    # Puts them together, and translates the whole.
    REASSEMBLE = "reassemble"
    # Translates later ones like the first one, and holds those back that come before it.
    TRACK = "track"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class NaptBehaviour:
    """What kind of NAT it is. Timeouts are seconds."""

    # Use the inside port outside too where it is free; otherwise, and if False always, the next one of its pool.
    port_preserving: bool = True
    udp_timeout: float = 120.0
    tcp_timeout: float = 7440.0
    icmp_timeout: float = 60.0
    # Packets that come in keep a mapping alive too, not only those that go out (RFC 4787 REQ-6).
    inbound_refresh: bool = False
    filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
    fragments: Fragments = Fragments.REASSEMBLE
    # Leaves port 500 alone for everybody inside, and goes by IKE's cookies on the way in.
    ipsec_aware: bool = False
    # Sets a bit in the non-IKE marker of every so many-th ESP packet on its way out: it writes into what it takes for
    # a cookie of IKE. 0: never.
    spoils_markers: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of a packet: what goes on, or why nothing does, and what the NAT did beside that."""

    packets: list[bytes]
    dropped: str = ""
    notes: tuple[str, ...] = ()


class Translator(Protocol):
    """A NAT as its router sees it. Every packet is IPv4, and `packet` is what `parse_frame` said of `data`."""

    @property
    def outside(self) -> frozenset[bytes]:
        """The addresses that the outside knows it by."""
        ...

    @property
    def fragments(self) -> Fragments:
        """What is to be done with fragments; REASSEMBLE is the router's to do."""
        ...

    def outbound(self, now: float, data: bytes, packet: Packet) -> Outcome:
        """A packet from the inside."""
        ...

    def inbound(self, now: float, data: bytes, packet: Packet) -> Outcome:
        """A packet from the outside, to one of the outside addresses."""
        ...

    def remap(self) -> str:
        """Lose every mapping, as in a restart; the answer says what was lost."""
        ...


def _drop(why: str, *notes: str) -> Outcome:
    return Outcome([], why, notes)


class AddressNat:
    """One outside address for each inside one. Ports stay; any protocol passes, be it to its harm (AH)."""

    fragments = Fragments.TRACK  # nothing to track: every fragment has its addresses

    def __init__(self, outside_of: ReadOnlyMapping[bytes, bytes]) -> None:
        self._outside_of = dict(outside_of)
        self._inside_of = {outside: inside for inside, outside in outside_of.items()}

    @property
    def outside(self) -> frozenset[bytes]:
        """See Translator."""
        return frozenset(self._inside_of)

    def outbound(self, now: float, data: bytes, packet: Packet) -> Outcome:
        """See Translator."""
        outside = self._outside_of.get(packet.src)
        if outside is None:
            return _drop(f"the NAT has no outside address for {format_address(packet.src)}")
        return Outcome([_address_changed(data, packet, self._outside_of, packet.src, is_source=True)])

    def inbound(self, now: float, data: bytes, packet: Packet) -> Outcome:
        """See Translator."""
        return Outcome([_address_changed(data, packet, self._inside_of, packet.dst, is_source=False)])

    def remap(self) -> str:
        """See Translator."""
        return "nothing is lost: the addresses are fixed"


def _address_changed(
    data: bytes, packet: Packet, table: ReadOnlyMapping[bytes, bytes], address: bytes, *, is_source: bool
) -> bytes:
    """The packet with one address replaced, and in an error also the quoted packet's other end."""
    end = Endpoint(table[address], _port(data, packet, is_source=is_source))
    error = parse_icmp_error(data, packet)
    if error is not None:
        quoted = error.quoted
        inner, port = (quoted.dst, quoted.dst_port) if is_source else (quoted.src, quoted.src_port)
        if inner in table:
            known = _quoted_port(data, quoted, port)
            data = with_quoted_end(data, packet, quoted, Endpoint(table[inner], known), is_source=not is_source)
    return with_ends(data, packet, **{"src" if is_source else "dst": end})


def _port(data: bytes, packet: Packet, *, is_source: bool) -> int:
    """The port of one end, or what stands for it; 0 where there is none to change."""
    if packet.fragment_offset:
        return 0
    if packet.protocol == PROTOCOL_ICMP and packet.payload + ICMP_HEADER_LENGTH <= packet.end:
        return int.from_bytes(data[packet.payload + _ECHO_AT : packet.payload + _SEQUENCE_AT], "big")
    at = packet.payload + (0 if is_source else 2)
    if packet.protocol in (PROTOCOL_UDP, PROTOCOL_TCP) and at + 2 <= packet.end:
        return int.from_bytes(data[at : at + 2], "big")
    return 0


def _peer(data: bytes, packet: Packet, address: bytes, *, is_source: bool) -> Endpoint:
    """The outside end of a packet. An echo has one identifier, and that is the inside's."""
    return Endpoint(address, 0 if packet.protocol == PROTOCOL_ICMP else _port(data, packet, is_source=is_source))


def _quoted_port(data: bytes, quoted: Quoted, port: int) -> int:
    """The port of a quoted packet's end; the identifier, if it is an echo request whose beginning is quoted."""
    if quoted.protocol == PROTOCOL_ICMP:
        return int.from_bytes(data[quoted.payload + _ECHO_AT : quoted.payload + _SEQUENCE_AT], "big")
    return max(port, 0)


class Napt:
    """One outside address for everybody inside, and a port of it for each inside address and port."""

    def __init__(self, address: bytes, behaviour: NaptBehaviour | None = None) -> None:
        self.address = address
        self.behaviour = behaviour or NaptBehaviour()
        timeouts = {
            PROTOCOL_UDP: self.behaviour.udp_timeout,
            PROTOCOL_TCP: self.behaviour.tcp_timeout,
            PROTOCOL_ICMP: self.behaviour.icmp_timeout,
        }
        self.tables = {protocol: MappingTable(timeout) for protocol, timeout in timeouts.items()}
        self._cookies = CookieTable(self.behaviour.udp_timeout)
        self._tracker = FragmentTracker()
        self._markers = 0

    @property
    def outside(self) -> frozenset[bytes]:
        """See Translator."""
        return frozenset((self.address,))

    @property
    def fragments(self) -> Fragments:
        """See Translator."""
        return self.behaviour.fragments

    # --- on the way out ----------------------------------------------------------------------------------------

    def outbound(self, now: float, data: bytes, packet: Packet) -> Outcome:
        """See Translator."""
        if packet.is_fragment:
            return self._fragment(now, data, packet, is_source=True)
        if parse_icmp_error(data, packet) is not None:
            return self._error_out(now, data, packet)
        end, dropped, notes = self._end_outside(now, data, packet)
        if end is None:
            return _drop(dropped, *notes)
        return Outcome([with_ends(self._spoiled(data, packet), packet, src=end)], notes=notes)

    def _spoiled(self, data: bytes, packet: Packet) -> bytes:
        if not self.behaviour.spoils_markers or packet.protocol != PROTOCOL_UDP or packet.dst_port != IKE_PORT:
            return data
        at = packet.udp_payload
        if classify_port_500(data, at, packet.udp_end)[0] is not Datagram.ESP:
            return data
        self._markers += 1
        if self._markers % self.behaviour.spoils_markers:
            return data
        return data[:at] + b"\x80" + data[at + 1 :]

    def _end_outside(self, now: float, data: bytes, packet: Packet) -> tuple[Endpoint | None, str, tuple[str, ...]]:
        """What the outside sees as the source of a packet; or why nothing; and what happened to the mappings."""
        table = self.tables.get(packet.protocol)
        if table is None or not _has_port(data, packet):
            return None, f"the NAT has no ports to go by in IP protocol {packet.protocol}", ()
        notes = _gone(table.expire(now))
        inside = Endpoint(packet.src, _port(data, packet, is_source=True))
        peer = _peer(data, packet, packet.dst, is_source=False)
        if self._is_left_alone(packet):
            self._cookies.sent(now, packet.dst, data[packet.udp_payload : packet.udp_end], packet.src)
            return Endpoint(self.address, IKE_PORT), "", notes
        mapping = table.of_inside(inside)
        if mapping is None:
            preserve = self.behaviour.port_preserving
            mapping = table.make(inside, self.address, now, preserve=preserve)
            if mapping is None:
                return None, f"the NAT has no port left for {inside}", notes
            notes = (*notes, f"{inside} is {mapping.outside} outside")
        table.refresh(mapping, now)
        mapping.sent_to(peer)
        return mapping.outside, "", notes

    def _is_left_alone(self, packet: Packet) -> bool:
        return self.behaviour.ipsec_aware and packet.src_port == packet.dst_port == IKE_PORT

    def _error_out(self, now: float, data: bytes, packet: Packet) -> Outcome:
        """An error about a packet that came in: it quotes the inside end, which the outside must not see."""
        error = parse_icmp_error(data, packet)
        assert error is not None
        quoted = error.quoted
        table = self.tables.get(quoted.protocol)
        mapping = table and table.of_inside(Endpoint(quoted.dst, _quoted_port(data, quoted, quoted.dst_port)))
        if not mapping:
            return _drop("the NAT has no mapping for the packet that the error quotes")
        data = with_quoted_end(data, packet, quoted, mapping.outside, is_source=False)
        return Outcome([with_ends(data, packet, src=Endpoint(self.address, _port(data, packet, is_source=True)))])

    # --- on the way in -----------------------------------------------------------------------------------------

    def inbound(self, now: float, data: bytes, packet: Packet) -> Outcome:
        """See Translator."""
        if packet.is_fragment:
            return self._fragment(now, data, packet, is_source=False)
        if parse_icmp_error(data, packet) is not None:
            return self._error_in(now, data, packet)
        end, dropped, notes = self._end_inside(now, data, packet)
        if end is None:
            return _drop(dropped, *notes)
        return Outcome([with_ends(data, packet, dst=end)], notes=notes)

    def _end_inside(self, now: float, data: bytes, packet: Packet) -> tuple[Endpoint | None, str, tuple[str, ...]]:
        """Who inside is meant by a packet; or why nobody; and what happened to the mappings."""
        table = self.tables.get(packet.protocol)
        if table is None or not _has_port(data, packet):
            return None, f"the NAT has no ports to go by in IP protocol {packet.protocol}", ()
        notes = _gone(table.expire(now))
        outside = Endpoint(packet.dst, _port(data, packet, is_source=False))
        if self._is_left_alone(packet):
            address = self._cookies.meant(now, packet.src, data[packet.udp_payload : packet.udp_end])
            if address is None:
                return None, "the NAT knows no exchange on port 500 with this cookie", notes
            return Endpoint(address, IKE_PORT), "", notes
        mapping = table.of_outside(outside)
        if mapping is None:
            return None, f"the NAT has no mapping for {outside}", notes
        if self.behaviour.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT:
            peer = _peer(data, packet, packet.src, is_source=True)
            if peer not in mapping.peers:
                return None, f"{mapping.inside} has not sent to {peer}", notes
        if self.behaviour.inbound_refresh:
            table.refresh(mapping, now)
        return mapping.inside, "", notes

    def _error_in(self, now: float, data: bytes, packet: Packet) -> Outcome:
        """An error about a packet that went out: it quotes the outside end, which the inside does not know."""
        error = parse_icmp_error(data, packet)
        assert error is not None
        quoted = error.quoted
        inside = self._quoted_inside(now, data, quoted)
        if inside is None:
            return _drop("the NAT has no mapping for the packet that the error quotes")
        data = with_quoted_end(data, packet, quoted, inside, is_source=True)
        return Outcome([with_ends(data, packet, dst=Endpoint(inside.address, _port(data, packet, is_source=False)))])

    def _quoted_inside(self, now: float, data: bytes, quoted: Quoted) -> Endpoint | None:
        table = self.tables.get(quoted.protocol)
        if table is None:
            return None
        table.expire(now)
        if self.behaviour.ipsec_aware and quoted.src_port == quoted.dst_port == IKE_PORT:
            address = self._cookies.meant(now, quoted.dst, data[quoted.payload + 8 : quoted.payload + 16])
            return Endpoint(address, IKE_PORT) if address is not None else None
        mapping = table.of_outside(Endpoint(quoted.src, _quoted_port(data, quoted, quoted.src_port)))
        return mapping.inside if mapping else None

    # --- fragments, and restarts -------------------------------------------------------------------------------

    def _fragment(self, now: float, data: bytes, packet: Packet, *, is_source: bool) -> Outcome:
        """Each fragment like the first of its datagram."""
        if self.behaviour.fragments is not Fragments.TRACK:
            return _drop("the NAT drops fragments")
        if packet.fragment_offset:
            end = self._tracker.end_of(now, packet)
            if end is None:
                self._tracker.hold(now, data, packet)
                return Outcome([])
            return Outcome([with_ends(data, packet, **{"src" if is_source else "dst": end})])
        end, dropped, notes = (self._end_outside if is_source else self._end_inside)(now, data, packet)
        if end is None:
            return _drop(dropped, *notes)
        name = "src" if is_source else "dst"
        held = self._tracker.learn(now, packet, end)
        packets = [with_ends(data, packet, **{name: end})]
        packets += [with_ends(other, parsed, **{name: end}) for other, parsed in held]
        return Outcome(packets, notes=notes)

    def remap(self) -> str:
        """See Translator. Outside ports that were in use are not used again, so that every mapping changes."""
        lost = sum(len(table) for table in self.tables.values())
        for table in self.tables.values():
            table.forget_all()
        self._cookies.forget_all()
        return f"{lost} mappings are lost"


def _has_port(data: bytes, packet: Packet) -> bool:
    if packet.protocol == PROTOCOL_ICMP:
        whole = packet.payload + ICMP_HEADER_LENGTH <= packet.end
        return whole and data[packet.payload] in (ECHO_REQUEST, ECHO_REPLY)
    return packet.payload + 4 <= packet.end


def _gone(mappings: list[Mapping]) -> tuple[str, ...]:
    return tuple(f"the mapping {mapping.inside} as {mapping.outside} has timed out" for mapping in mappings)
