"""Which association of the SA file a packet belongs to.

The file names addresses as they are at one point of the path; a NAT makes them others elsewhere. So an SPI decides,
and the file's addresses only tell apart associations that share one. An association learns its addresses, and what
the file does not say, from the first packet with its SPI; `--strict-addresses` takes the file as written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nicsim.boundary import UdpType
from nicsim.errors import EspError
from nicsim.host.offloader import Offloaded, Offloader
from nicsim.host.replay_window import ReplayWindow
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.host.suitable import InSoftware
from nicsim.ipsec.esp import NEXT_HEADER_IPV4, NEXT_HEADER_IPV6, Mode
from nicsim.ipsec.transforms import Transform
from nicsim.replay.results import Direction, SaSummary
from nicsim.replay.sas import FileSa, Marker
from nicsim.wire.esp import spi_and_sequence
from nicsim.wire.headers import format_address

ADDRESS_WEIGHT = 3
BOTH_ADDRESSES = 2 * ADDRESS_WEIGHT


@dataclass(frozen=True, slots=True)
class EspPacket:
    """An ESP packet found in a buffer: where it is, how it rides, and the addresses and ports around it."""

    buffer: bytes
    start: int
    end: int
    udp_type: UdpType
    src: bytes
    dst: bytes
    src_port: int
    dst_port: int
    inbound: bool


@dataclass(slots=True)
class BookedSa:
    """One association of the file, and what the replay knows of it by now."""

    file: FileSa
    summary: SaSummary
    host: SecurityAssociation | None = None
    """None until its first packet, and while the mode is still to be learned."""
    offload: Offloaded | InSoftware | None = None
    transmit_word: bytes = b""
    """The out-of-band word with which its packets are sent."""

    def count_failure(self) -> None:
        """A packet that nobody could open."""
        self.summary.packets += 1
        self.summary.failed += 1

    @property
    def handle(self) -> int:
        """The offload handle, zero in software."""
        return self.offload.handle if isinstance(self.offload, Offloaded) else 0


class SaBook:
    """The associations of one SA file, found by SPI, offloaded when first seen."""

    def __init__(
        self, associations: Iterable[FileSa], offloader: Offloader, *, local: bytes, window: int, strict: bool
    ) -> None:
        self._offloader = offloader
        self._local = local
        self._window = window
        self._strict = strict
        self.booked = [BookedSa(sa, SaSummary(sa.where, sa.spi, algorithms=algorithms_of(sa))) for sa in associations]
        self.ports = frozenset(
            port for sa in self.booked if sa.file.udp_encap is not False
            for port in (sa.file.src_port, sa.file.dst_port) if port
        )  # fmt: skip
        self._by_spi: dict[int, list[BookedSa]] = {}
        for sa in self.booked:
            self._by_spi.setdefault(sa.file.spi, []).append(sa)

    def knows(self, spi: int) -> bool:
        """Whether the file has an association with this SPI."""
        return spi in self._by_spi

    def find(self, packet: EspPacket) -> BookedSa | None:
        """The association of a packet, offloaded if this is its first one; None if the file has none."""
        candidates = self._by_spi.get(spi_and_sequence(packet.buffer, packet.start)[0])
        if candidates is None:
            return None
        if self._strict:
            for candidate in candidates:
                self._take_as_written(candidate, packet)
        booked = self._choose(candidates, packet)
        if booked is not None and booked.host is None:
            self._take_as_seen(booked, packet)
        return booked

    def moved_to_software(self, moved: Iterable[tuple[Offloaded, InSoftware]]) -> None:
        """The driver asked for room, and the host took these off the NIC (N-SA-22)."""
        for offloaded, why in moved:
            for booked in self._by_spi.get(offloaded.association.spi, []):
                if booked.handle == offloaded.handle:
                    booked.offload = why
                    booked.transmit_word = self._offloader.transmit_word(0)
                    describe(booked)

    def _choose(self, candidates: list[BookedSa], packet: EspPacket) -> BookedSa | None:
        """The candidate whose addresses in the file fit the packet best."""
        best, best_score = None, -1
        for candidate in candidates:
            if candidate.host is not None and candidate.host.inbound != packet.inbound:
                continue
            score = fit(candidate.file, packet)
            if self._strict and score < BOTH_ADDRESSES:
                continue
            if score > best_score:
                best, best_score = candidate, score
        return best

    def _take_as_seen(self, booked: BookedSa, packet: EspPacket) -> None:
        """Give an association the addresses and the encapsulation of its first packet, and offload it."""
        udp_type = udp_type_of(booked.file, packet.udp_type)
        self._take(booked, packet, udp_type, packet.src, packet.dst, packet.src_port, packet.dst_port)

    def _take_as_written(self, booked: BookedSa, packet: EspPacket) -> None:
        """Offload an association with the addresses that the file says, if they make it this host's."""
        file = booked.file
        inbound = file.dst == self._local
        if booked.host is not None or (not inbound and file.src != self._local) or inbound != packet.inbound:
            return
        udp_type = udp_type_of(file, packet.udp_type)
        src_port = packet.src_port if file.src_port is None else file.src_port
        dst_port = packet.dst_port if file.dst_port is None else file.dst_port
        self._take(booked, packet, udp_type, file.src, file.dst, src_port, dst_port)

    def _take(
        self,
        booked: BookedSa,
        packet: EspPacket,
        udp_type: UdpType,
        src: bytes,
        dst: bytes,
        src_port: int,
        dst_port: int,
    ) -> None:
        file = booked.file
        mode = file.mode or learned_mode(file, packet)
        if mode is None:
            return
        native = udp_type is UdpType.NATIVE
        host = SecurityAssociation(
            spi=file.spi,
            inbound=packet.inbound,
            src=src,
            dst=dst,
            mode=mode,
            udp_type=udp_type,
            keys=file.keys,
            src_port=0 if native else src_port,
            dst_port=0 if native else dst_port,
            esn=file.esn,
            sequence_high=file.sequence_high,
            inner_src=single(file.inner_src),
            inner_dst=single(file.inner_dst),
            window=ReplayWindow(self._window),
        )
        host.window.top = file.sequence_high << 32
        booked.host = host
        booked.offload = self._offloader.add(host)
        booked.transmit_word = self._offloader.transmit_word(booked.handle)
        describe(booked)


def fit(file: FileSa, packet: EspPacket) -> int:
    """How well a packet fits the file: its addresses first, then its ports; -1 for one of the other direction."""
    same = (packet.src == file.src) + (packet.dst == file.dst)
    opposite = (packet.src == file.dst) + (packet.dst == file.src)
    if same < opposite:
        return -1
    return ADDRESS_WEIGHT * same + (packet.src_port == file.src_port) + (packet.dst_port == file.dst_port)


def udp_type_of(file: FileSa, seen: UdpType) -> UdpType:
    """How the file says the packets ride; what it leaves open is learned from the first packet."""
    if file.udp_encap is False:
        return UdpType.NATIVE
    if file.marker is Marker.NON_IKE:
        return UdpType.IKE
    if file.marker is Marker.NONE:
        return UdpType.OTHER
    if file.udp_encap and seen is UdpType.NATIVE:
        return UdpType.OTHER
    return seen


def learned_mode(file: FileSa, packet: EspPacket) -> Mode | None:
    """The mode by the next header of a packet opened in software; None if the packet does not open."""
    high = file.sequence_high if file.esn else None
    try:
        plaintext = Transform(file.keys).open(packet.buffer, packet.start, packet.end, high)
    except EspError:
        return None
    return Mode.TUNNEL if plaintext[-1] in (NEXT_HEADER_IPV4, NEXT_HEADER_IPV6) else Mode.TRANSPORT


def single(prefixes: tuple[str, ...]) -> str:
    """The one prefix of a list; a filter holds no more, so of several none."""
    return prefixes[0] if len(prefixes) == 1 else ""


def algorithms_of(file: FileSa) -> str:
    """The algorithms in a few words: AES_CBC-128 / HMAC_SHA1_96."""
    keys = file.keys
    bits = f"-{8 * len(keys.encryption_key)}" if keys.encryption_key else ""
    integrity = "" if keys.encryption.is_aead else f" / {keys.integrity.value}"
    return f"{keys.encryption.value}{bits}{integrity}"


def describe(booked: BookedSa) -> None:
    """Write into the summary what became of the association."""
    host, summary = booked.host, booked.summary
    assert host is not None  # called when it has just been made
    summary.direction = Direction.RX if host.inbound else Direction.TX
    summary.mode = host.mode.value
    summary.src, summary.dst = (
        f"{format_address(address)}{f':{port}' if port else ''}"
        for address, port in ((host.src, host.src_port), (host.dst, host.dst_port))
    )
    if isinstance(booked.offload, Offloaded):
        summary.oid = booked.offload.oid.name
    elif booked.offload is not None:
        summary.software_reason, summary.software_detail = booked.offload.reason, booked.offload.detail
