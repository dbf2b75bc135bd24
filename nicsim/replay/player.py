"""A capture through the NIC: for every frame what the NIC did, what the host made of it, and why.

Received frames go through the NIC's receive path and then to the host. Sent frames are opened with the keys of their
association and sealed again through the NIC's send path, with the captured IV: the bytes must come out the same.
Nothing reaches into the NIC's tables: associations are offloaded by OID requests like any host's.

Called by the command line; uses book.py, sight.py and the host's modules over one `Nic`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nicsim.boundary import UdpType
from nicsim.capabilities import Capabilities
from nicsim.driver.device import ReferenceDriver
from nicsim.driver.handles import VERSION_1_PARSER_SET
from nicsim.errors import EspSyntaxError, InputError, IntegrityError, Malformed, NotIp
from nicsim.host import transport
from nicsim.host.offloader import LinkMedium, Offloaded, Offloader
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.impairments import Impaired
from nicsim.nic import DriverFactory, Nic
from nicsim.reasons import BY_NUMBER, Reason
from nicsim.replay.book import BookedSa, EspPacket, SaBook
from nicsim.replay.results import Direction, FrameResult, Kind, ParserEntrySummary, ReplaySummary, SaSummary
from nicsim.replay.sas import FileSa
from nicsim.replay.sight import Observer, padded_frame
from nicsim.wire.esp import ESP_HEADER_LENGTH, spi_and_sequence
from nicsim.wire.packet import LinkType, Packet, link_type_name, parse_frame
from nicsim.wire.pcap import Frame
from nicsim.wire.reassembly import Reassembler
from offload_oids import Abi, CryptoStatus

NOT_PROCESSED = transport.ReceiveWord(False, False, False, CryptoStatus.CRYPTO_SUCCESS)
FAILED_VERDICTS = (transport.HostVerdict.ICV_BAD, transport.HostVerdict.MALFORMED)
ENOUGH_TO_TELL = 24
"""Bytes behind the IP header from which a frame's kind can be told: UDP header, marker, SPI and sequence number."""


class CapturedIvs:
    """The card's source of IVs in a replay: the IV of the captured packet that is being sealed again."""

    def __init__(self) -> None:
        self.next = b""

    def __call__(self, length: int) -> bytes:
        return self.next[:length]


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What a replay is asked to do."""

    local: bytes
    local_text: str
    capabilities: Capabilities
    replay_window: int
    strict_addresses: bool = False
    abi: Abi = Abi.X64
    driver: DriverFactory = ReferenceDriver
    """The driver between NDIS and the card; one under test takes the reference driver's place."""
    impairments: tuple[Impaired, ...] = ()
    """How card and driver misbehave. The rule monitor is off then, so that what comes of it is seen to the end."""


class Player:
    """One replay. Feed it frames in file order; `summary` grows with them."""

    def __init__(self, associations: list[FileSa], options: ReplayOptions, link_type: int) -> None:
        refuse_unknown_link_type(link_type, 1)
        self._link_type = link_type
        self._ivs = CapturedIvs()
        self.nic = Nic(
            options.capabilities,
            iv_source=self._ivs,
            abi=options.abi,
            link_type=link_type,
            driver=options.driver,
            monitor=not options.impairments,
            impairments=options.impairments,
        )
        self._offloader = Offloader(self.nic, options.capabilities.ndis, readings=options.capabilities.readings)
        self._offloader.enable(LinkMedium.ETHERNET if link_type == LinkType.ETHERNET else LinkMedium.RAW_IP)
        self._words = transport.ReceiveWords(options.capabilities.ndis, options.abi)
        self._book = SaBook(
            associations,
            self._offloader,
            local=options.local,
            window=options.replay_window,
            strict=options.strict_addresses,
        )
        self._observer = Observer(options.local, self._book.ports, self._book.knows)
        self._reassembler = {Direction.RX: Reassembler(), Direction.TX: Reassembler()}
        self._last_time = float("-inf")
        self.summary = ReplaySummary(options.local_text, options.capabilities.name)

    def play(self, frames: Iterable[Frame]) -> Iterator[FrameResult]:
        """Every frame in turn, and its result."""
        for frame in frames:
            yield self.play_one(frame)

    def play_one(self, frame: Frame) -> FrameResult:
        """One frame: the result is counted too."""
        if frame.link_type != self._link_type:
            refuse_unknown_link_type(frame.link_type, frame.number)
            raise InputError(
                f"frame {frame.number} has link type {link_type_name(frame.link_type)}, the frames before it "
                f"{link_type_name(self._link_type)}; a replay has one NIC on one link"
            )
        if frame.time < self._last_time:
            self.summary.time_backwards += 1
        self._last_time = frame.time
        result = self._result(frame)
        self.summary.count(result)
        return result

    def finish(self) -> ReplaySummary:
        """The sums, once all frames have been played."""
        self.summary.associations = [booked.summary for booked in self._book.booked]
        self.summary.parser_entries = self._parser_entries()
        return self.summary

    def summary_of(self, spi: int, direction: Direction) -> SaSummary | None:
        """What is known of the association with this SPI, of this direction if it has been seen."""
        known = [booked.summary for booked in self._book.booked if booked.summary.spi == spi]
        return next((summary for summary in known if summary.direction in (direction, None)), None)

    # --- one frame -----------------------------------------------------------------------------------------------

    def _result(self, frame: Frame) -> FrameResult:
        try:
            packet = parse_frame(frame.data, self._link_type)
        except NotIp:
            return FrameResult(frame.number, frame.time, Direction.OTHER, Kind.OTHER, Reason.NOT_IP)
        except Malformed:
            return self._unparsable(frame)
        direction = self._observer.direction(packet)
        kind, esp = self._observer.look(frame.data, packet, inbound=direction is Direction.RX)
        result = FrameResult(frame.number, frame.time, direction, kind, Reason.NOT_THIS_HOST)
        if esp is not None:
            result.spi, result.seq = spi_and_sequence(frame.data, esp.start)
        if direction is Direction.RX:
            self._received(frame, packet, esp, result)
        elif direction is Direction.TX:
            self._sent(frame, packet, esp, result)
        return result

    def _unparsable(self, frame: Frame) -> FrameResult:
        """A frame whose headers cannot be read: damaged, or captured only in part."""
        if len(frame.data) < frame.original_length:
            return self._cut(frame)
        direction = self._observer.direction_of_malformed(frame.data, self._link_type)
        result = FrameResult(frame.number, frame.time, direction, Kind.OTHER, Reason.MALFORMED)
        if direction is Direction.RX:
            self._through_nic(frame.data, result)
        return result

    def _cut(self, frame: Frame) -> FrameResult:
        """A frame that the capture holds only in part: what it is can be told, what the NIC did cannot."""
        result = FrameResult(frame.number, frame.time, Direction.OTHER, Kind.OTHER, Reason.NOT_CAPTURED_WHOLE)
        padded = padded_frame(frame)
        try:
            packet = parse_frame(padded, self._link_type)
        except Malformed:
            return result
        result.direction = self._observer.direction(packet)
        if len(frame.data) < packet.payload + ENOUGH_TO_TELL:
            return result
        result.kind, esp = self._observer.look(padded, packet, inbound=result.direction is Direction.RX)
        if esp is not None:
            result.spi, result.seq = spi_and_sequence(frame.data, esp.start)
        return result

    def _through_nic(self, data: bytes, result: FrameResult) -> tuple[bytes, transport.ReceiveWord]:
        """The receive path: the frame as it was indicated, and its word."""
        indication, descriptor = self.nic.receive(data)
        word = self._words.read(indication.ipsec)
        result.reason = BY_NUMBER[descriptor.reason]
        result.crypto_done, result.next_crypto_done = word.crypto_done, word.next_crypto_done
        result.crypto_status = word.crypto_status
        return indication.frame, word

    # --- received ------------------------------------------------------------------------------------------------

    def _received(self, frame: Frame, packet: Packet, esp: EspPacket | None, result: FrameResult) -> None:
        booked = self._book.find(esp) if esp is not None else None
        data, word = self._through_nic(frame.data, result)
        if packet.is_fragment:
            self._received_fragment(frame, packet, result)
        elif esp is not None:
            self._judge(booked, word, data, esp, result)

    def _received_fragment(self, frame: Frame, packet: Packet, result: FrameResult) -> None:
        """The fragment that completes its datagram carries the verdict on the whole."""
        whole = self._reassembled(frame, packet, result.direction)
        esp = self._esp_in(whole, inbound=True) if whole else None
        if whole and esp:
            result.spi, result.seq = spi_and_sequence(whole, esp.start)
            self._judge(self._book.find(esp), NOT_PROCESSED, whole, esp, result)

    def _judge(
        self,
        booked: BookedSa | None,
        word: transport.ReceiveWord,
        data: bytes,
        esp: EspPacket,
        result: FrameResult,
    ) -> None:
        """The host's last word on a received ESP packet."""
        if booked is None:
            result.host_verdict = transport.HostVerdict.NO_SA.value
            return
        if booked.host is None:  # its mode is still to be learned, because no packet has opened yet
            result.host_verdict = transport.HostVerdict.ICV_BAD.value
            booked.count_failure()
            return
        judgement = transport.receive(booked.host, word, data, esp.start, esp.end, offloaded=bool(booked.handle))
        result.host_verdict = judgement.verdict.value
        result.payload = judgement.payload
        summary = booked.summary
        summary.packets += 1
        summary.failed += judgement.verdict in FAILED_VERDICTS
        if judgement.opened_by is not None:
            result.opened_by = judgement.opened_by.value
            summary.opened_by_nic += judgement.opened_by is transport.OpenedBy.NIC
            summary.opened_by_host += judgement.opened_by is transport.OpenedBy.HOST
        if not isinstance(booked.offload, Offloaded):
            return
        self._offloader.keep_up(booked.offload, booked.host.window.top)
        if word.sa_delete_request:
            self._book.moved_to_software(self._offloader.answer_delete_request(booked.offload))

    # --- sent ----------------------------------------------------------------------------------------------------

    def _sent(self, frame: Frame, packet: Packet, esp: EspPacket | None, result: FrameResult) -> None:
        result.reason = Reason.SENT_PLAIN
        if packet.is_fragment:
            result.reason = Reason.SEND_FRAGMENT
            whole = self._reassembled(frame, packet, result.direction)
            esp = self._esp_in(whole, inbound=False) if whole else None
            if whole and esp:
                result.spi, result.seq = spi_and_sequence(whole, esp.start)
                self._open_sent(self._book.find(esp), esp, result)
        elif esp is not None:
            result.resealed = False
            booked = self._book.find(esp)
            plaintext = self._open_sent(booked, esp, result)
            if booked is not None and plaintext is not None:
                self._seal_again(booked, frame.data, esp, plaintext, result)

    def _open_sent(self, booked: BookedSa | None, esp: EspPacket, result: FrameResult) -> bytes | None:
        """Open a packet that this host sent, with its association's keys: payload, padding and trailer."""
        if booked is None:
            result.reason = Reason.NO_SUCH_SA
            return None
        if booked.host is None:
            result.reason = Reason.SENT_ICV_WRONG
            booked.count_failure()
            return None
        host, summary = booked.host, booked.summary
        summary.packets += 1
        try:
            plaintext = host.open(esp.buffer, esp.start, esp.end)
        except (IntegrityError, EspSyntaxError) as error:
            result.reason = Reason.SENT_ICV_WRONG if isinstance(error, IntegrityError) else Reason.SENT_MALFORMED
            summary.failed += 1
            return None
        if host.esn:  # what was sent before tells the high half of what is sent next
            host.window.accept(host.sequence_of(esp.buffer, esp.start))
        result.opened_by = transport.OpenedBy.HOST.value
        summary.opened_by_host += 1
        result.payload, _ = transport.payload_of(host.mode, plaintext)
        return plaintext

    def _seal_again(self, booked: BookedSa, data: bytes, esp: EspPacket, plaintext: bytes, result: FrameResult) -> None:
        """Frame the packet as the host hands it to the NIC (N-TX-9), and compare what the NIC makes of it."""
        if not booked.handle or booked.host is None:
            result.reason = booked.summary.software_reason or Reason.OFFLOAD_NOT_ENABLED
            return
        if isinstance(booked.offload, Offloaded):
            behind = self._offloader.keep_up(booked.offload, booked.host.sequence_of(esp.buffer, esp.start))
            if behind is not None:  # the NIC would seal it with the wrong half
                result.reason = behind
                return
        framed, self._ivs.next = as_handed_down(booked.host, data, esp, plaintext)
        sent = self.nic.send(framed, booked.transmit_word)
        result.reason = sent.reason
        result.resealed = sent.frame == data
        if not result.resealed and sent.reason is Reason.SEALED:
            result.reason = Reason.RESEAL_DIFFERS

    # --- helpers -------------------------------------------------------------------------------------------------

    def _reassembled(self, frame: Frame, packet: Packet, direction: Direction) -> bytes | None:
        try:
            return self._reassembler[direction].add(frame.data, packet, frame.time)
        except Malformed:
            return None  # the fragment spoils its datagram; the reason stays that it is a fragment

    def _esp_in(self, ip_packet: bytes, *, inbound: bool) -> EspPacket | None:
        """The ESP packet in a reassembled datagram."""
        try:
            packet = parse_frame(ip_packet, LinkType.RAW)
        except Malformed:
            return None
        return self._observer.look(ip_packet, packet, inbound=inbound)[1]

    def _parser_entries(self) -> list[ParserEntrySummary]:
        """The card's parser rows, with the counts that the host keeps (N-PE-4)."""
        counts = {(entry.udp_type, entry.port): entry.references for entry in self._offloader.parser_entries}
        rows = self.nic.card.rows
        summaries = []
        for parser in rows.parser.values():
            udp_type, named = UdpType(parser.udp_type), parser.parser_set == VERSION_1_PARSER_SET
            served = sum(loaded.row.parser_set == parser.parser_set for loaded in rows.inbound.values())
            counted = counts.get((udp_type, parser.port), 0)
            summaries.append(ParserEntrySummary(udp_type.name, parser.port, counted if named else served, named))
        return summaries


def as_handed_down(sa: SecurityAssociation, data: bytes, esp: EspPacket, plaintext: bytes) -> tuple[bytes, bytes]:
    """A captured frame as the host would have handed it to the NIC, and the IV that was captured.

    Plaintext in place of the ciphertext, zeros in the space for IV and ICV; every header as it was (N-TX-9).
    """
    iv_length, icv_length = sa.keys.encryption.iv_length, sa.keys.icv_length
    iv_at = esp.start + ESP_HEADER_LENGTH
    framed = data[:iv_at] + bytes(iv_length) + plaintext + bytes(icv_length) + data[esp.end :]
    return framed, data[iv_at : iv_at + iv_length]


def refuse_unknown_link_type(link_type: int, number: int) -> None:
    """Only Ethernet and raw IP can be replayed."""
    if link_type not in list(LinkType):
        raise InputError(f"frame {number} has link type {link_type_name(link_type)}; a replay needs Ethernet or raw IP")
