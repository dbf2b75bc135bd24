"""The host transport's receive side: it reads the NIC's words, does the rest itself, and has the last word.

The order is ESP's own: the ICV first, checked by the NIC or else in software; then padding and trailer; then the
replay window, which no NIC keeps (N-RX-7). A failed packet is indicated all the same (N-RX-14); it ends here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from nicsim.capabilities import NdisVersion
from nicsim.errors import EspSyntaxError, IntegrityError, Malformed, OffloadProtocolError, TrailerError
from nicsim.host.replay_window import ReplayVerdict
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import NEXT_HEADER_NONE, Mode, strip_trailer, trim_tfc
from nicsim.wire.esp import ESP_HEADER_LENGTH, spi_and_sequence
from offload_oids import Abi, CryptoStatus
from offload_oids.packet_info import NdisIpsecOffloadV1NetBufferListInfo, NdisIpsecPacketInfo

TRAILER_LENGTH = 2


class HostVerdict(Enum):
    """What the host makes of a received ESP packet in the end."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    TOO_OLD = "too-old"
    ICV_BAD = "icv-bad"
    MALFORMED = "malformed"
    NO_SA = "no-sa"


# What the NIC says for certain. Any other failure leaves the question open, and the host tries in software.
NIC_VERDICTS = {
    CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED: HostVerdict.ICV_BAD,
    CryptoStatus.CRYPTO_TUNNEL_ESP_AUTH_FAILED: HostVerdict.ICV_BAD,
    CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX: HostVerdict.MALFORMED,
}


class OpenedBy(Enum):
    """Who checked the ICV and decrypted."""

    NIC = "nic"
    HOST = "host"


@dataclass(slots=True)  # made for every packet: not frozen, because freezing triples the cost of making one
class Judgement:
    """The last word on one packet; `payload` is there whenever the ICV is good and the padding can be told off it."""

    verdict: HostVerdict
    opened_by: OpenedBy | None = None
    payload: bytes | None = None
    next_header: int = field(default=-1, compare=False)
    """What the payload is, of an accepted packet."""


@dataclass(frozen=True, slots=True)
class ReceiveWord:
    """The receive arm of a packet's IPsec out-of-band word (N-RX-12 to N-RX-15)."""

    crypto_done: bool
    next_crypto_done: bool
    sa_delete_request: bool
    crypto_status: CryptoStatus


class ReceiveWords:
    """Reads out-of-band words. There are few different ones, so each is unpacked once."""

    def __init__(self, ndis: NdisVersion, abi: Abi) -> None:
        self._ndis = ndis
        self._abi = abi
        self._known: dict[bytes, ReceiveWord] = {}

    def read(self, ipsec: bytes) -> ReceiveWord:
        """The word of one received frame. Raises OffloadProtocolError for what no miniport may write."""
        word = self._known.get(ipsec)
        if word is None:
            try:
                word = self._known[ipsec] = self._unpack(ipsec)
            except ValueError as error:  # a status beyond the list, or a word too short for this pointer width
                raise OffloadProtocolError(
                    f"the driver indicated the word {ipsec.hex() or '(none)'}: {error}"
                ) from None
        return word

    def _unpack(self, ipsec: bytes) -> ReceiveWord:
        if self._ndis is NdisVersion.NDIS_5_1:
            old = NdisIpsecPacketInfo.unpack(ipsec, self._abi).receive
            assert old is not None  # unpacking fills every arm
            return ReceiveWord(
                bool(old.crypto_done),
                bool(old.next_crypto_done),
                bool(old.sa_delete_req),
                CryptoStatus(old.crypto_status),
            )
        # The version 2 word has the same bits in the same places (N-V2-19).
        new = NdisIpsecOffloadV1NetBufferListInfo.unpack(ipsec, self._abi).receive
        assert new is not None
        return ReceiveWord(
            bool(new.crypto_done), bool(new.next_crypto_done), bool(new.sa_delete_req), CryptoStatus(new.crypto_status)
        )


def receive(
    sa: SecurityAssociation, word: ReceiveWord, frame: bytes, esp: int, end: int, *, offloaded: bool
) -> Judgement:
    """Judge the ESP packet in `frame[esp:end]` of an association the host knows.

    What the NIC says counts only for an association that is offloaded; it cannot be about any other.
    """
    if word.crypto_done and offloaded:
        verdict = NIC_VERDICTS.get(word.crypto_status)
        if verdict is not None and not (verdict is HostVerdict.ICV_BAD and nic_guessed_wrong(sa, frame, esp)):
            return Judgement(verdict)
        if word.crypto_status is CryptoStatus.CRYPTO_SUCCESS:
            plaintext = frame[esp + ESP_HEADER_LENGTH + sa.iv_length : end - sa.icv_length]
            if len(plaintext) < TRAILER_LENGTH:  # a driver under test may claim success for anything
                return Judgement(HostVerdict.MALFORMED)
            sequence = sa.sequence_high << 32 | spi_and_sequence(frame, esp)[1] if sa.esn else None
            return judge_opened(sa, frame, esp, plaintext, OpenedBy.NIC, sequence)
    try:
        plaintext = sa.open(frame, esp, end)
    except IntegrityError:
        return Judgement(HostVerdict.ICV_BAD)
    except EspSyntaxError:
        return Judgement(HostVerdict.MALFORMED)
    return judge_opened(sa, frame, esp, plaintext, OpenedBy.HOST)


def nic_guessed_wrong(sa: SecurityAssociation, frame: bytes, esp: int) -> bool:
    """Whether the NIC checked a packet with another upper half of its sequence number than the window expects.

    The NIC knows one half at a time (N-V2-13). Around the wrap packets of two halves arrive side by side, and what it
    says of one of them is no verdict.
    """
    return sa.esn and sa.sequence_of(frame, esp) >> 32 != sa.sequence_high


def judge_opened(
    sa: SecurityAssociation,
    frame: bytes,
    esp: int,
    plaintext: bytes,
    opened_by: OpenedBy,
    sequence: int | None = None,
) -> Judgement:
    """The part after a good ICV: padding and trailer, then the replay window.

    `sequence` is the number that the ICV confirmed, where that was not the window's own guess.
    """
    payload, well_formed = payload_of(sa.mode, plaintext)
    if not well_formed:
        return Judgement(HostVerdict.MALFORMED, opened_by, payload)
    sequence = sa.sequence_of(frame, esp) if sequence is None else sequence
    verdict = sa.window.check(sequence)
    if verdict is ReplayVerdict.NEW:
        sa.window.accept(sequence)
        return Judgement(HostVerdict.ACCEPTED, opened_by, payload, plaintext[-1])
    late = HostVerdict.DUPLICATE if verdict is ReplayVerdict.DUPLICATE else HostVerdict.TOO_OLD
    return Judgement(late, opened_by, payload)


def payload_of(mode: Mode, plaintext: bytes) -> tuple[bytes | None, bool]:
    """The payload without padding and trailer, in tunnel mode the inner packet alone; and whether all is well-formed.

    An authentic packet whose padding has the wrong content still has a payload; one whose pad length points before
    its beginning has none.
    """
    try:
        payload, _, next_header = strip_trailer(plaintext)
    except TrailerError:
        end = len(plaintext) - TRAILER_LENGTH - plaintext[-TRAILER_LENGTH]
        return (plaintext[:end] if end >= 0 else None), False
    if mode is Mode.TRANSPORT or next_header == NEXT_HEADER_NONE:
        return payload, True
    try:
        return trim_tfc(payload, next_header), True
    except Malformed:
        return payload, False
