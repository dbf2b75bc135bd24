"""What goes by in a session, for Wireshark: the wire as it was, two plain twins of it, and the key files beside them.

    OUT.pcapng                   every frame at the NIC, as on the wire
    OUT.inner.pcapng             the packets inside the tunnel
    OUT.ike-decrypted.pcapng     the wire with every IKE message in the clear, and whole where it came in fragments
    esp_sa, ikev1_decryption_table   beside OUT.pcapng, so that WIRESHARK_CONFIG_DIR can name that folder

Key files that are there already keep their lines. Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nicsim.events import Endpoint, MessageSeen
from nicsim.files import add_lines, whole_binary_file
from nicsim.host.ike.peer import IkeDecryption
from nicsim.host.link import Link
from nicsim.host.wireshark import ESP_SA_FILE, IKEV1_FILE, esp_sa_line, ikev1_line
from nicsim.ipsec.association import Association
from nicsim.wire.esp import NON_ESP_MARKER, PROTOCOL_UDP, Datagram, classify_port_4500
from nicsim.wire.headers import build_ipv4, build_ipv6, build_udp
from nicsim.wire.packet import LinkType, parse_frame
from nicsim.wire.pcap import PcapngWriter

Stamped = list[tuple[float, bytes]]


@dataclass(slots=True)
class Recording:
    """Everything so far, in memory: a session is short."""

    link: Link
    ike_port: int
    natt_port: int
    wire: Stamped = field(default_factory=list)
    inner: Stamped = field(default_factory=list)
    ike_decrypted: Stamped = field(default_factory=list)
    # Lines, in order and without repetition.
    esp_sa: dict[str, None] = field(default_factory=dict)

    def frame(self, time: float, frame: bytes) -> None:
        """A frame at the NIC, either way."""
        self.wire.append((time, frame))
        if not self._is_ike(frame):
            self.ike_decrypted.append((time, frame))

    def _is_ike(self, frame: bytes) -> bool:
        """Whether the decrypted twin has this message otherwise: as `message` tells it."""
        packet = parse_frame(frame, self.link.type)
        if packet.protocol != PROTOCOL_UDP:
            return False
        ports = packet.src_port, packet.dst_port
        if self.natt_port in ports:
            return classify_port_4500(frame, packet.udp_payload, packet.udp_end)[0] is Datagram.IKE
        return self.ike_port in ports

    def message(self, time: float, seen: MessageSeen) -> None:
        """An IKE message in the clear."""
        local = seen.source if seen.sent else seen.destination
        marker = NON_ESP_MARKER if local.port == self.natt_port else b""
        packet = _in_udp(seen.source, seen.destination, marker + seen.plain)
        self.ike_decrypted.append((time, self.link.frame(packet) if seen.sent else self.link.received_frame(packet)))

    def packet(self, time: float, ip_packet: bytes) -> None:
        """A packet on its way into the tunnel, or out of it."""
        self.inner.append((time, ip_packet))

    def associations(self, associations: Iterable[Association]) -> None:
        """The keys of associations that are new, or new at these addresses: Wireshark finds keys by both."""
        for one in associations:
            self.esp_sa[esp_sa_line(one.src, one.dst, one.spi, one.keys)] = None

    def write(self, path: str, keys: Iterable[IkeDecryption], *, inner: bool, ike_decrypted: bool) -> list[str]:
        """Write the files, each whole or not at all; their names. Raises InputError."""
        out = Path(path)
        written = [self._write_capture(out, self.link.type, self.wire)]
        if inner:
            written.append(self._write_capture(_twin(out, "inner"), LinkType.RAW, self.inner))
        if ike_decrypted:
            written.append(self._write_capture(_twin(out, "ike-decrypted"), self.link.type, self.ike_decrypted))
        ike_lines = [ikev1_line(one.initiator_cookie, one.key) for one in keys]
        for name, lines in ((ESP_SA_FILE, list(self.esp_sa)), (IKEV1_FILE, ike_lines)):
            written.append(str(out.with_name(name)))
            add_lines(written[-1], lines)
        return written

    def _write_capture(self, path: Path, link_type: LinkType, frames: Stamped) -> str:
        with whole_binary_file(str(path)) as stream:
            writer = PcapngWriter(stream, link_type)
            for time, frame in frames:
                writer.write(time, frame)
        return str(path)


def _twin(out: Path, name: str) -> Path:
    return out.with_name(f"{out.stem}.{name}{out.suffix}")


def _in_udp(source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    src, dst = source.address, destination.address
    udp = build_udp(source.port, destination.port, payload, checksum=None, src=src, dst=dst)
    return (build_ipv4 if len(src) == 4 else build_ipv6)(src, dst, PROTOCOL_UDP, udp)
