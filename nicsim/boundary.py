"""The two boundaries of the product, as Protocols and as the plain data that crosses them.

The miniport boundary is what NDIS shows: OID buffers exactly as Windows lays them out, statuses, frames with their
packed out-of-band words. The card boundary is what silicon shows: rows, slots, descriptors, all fixed-layout data.
A driver stands between the two: the reference driver, or a driver under test.

    host transport --(Binding)-- NDIS --(Miniport)-- driver --(Card)-- card

On both boundaries an operation may answer PENDING and complete later; completions are collected with `poll`, never
pushed upward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, IntFlag
from typing import Annotated, Protocol

from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus
from offload_oids.layout import PORT, SPI, UCHAR, ULONG, ByteArray, Structure

# --- the miniport boundary -------------------------------------------------------------------------------------


class RequestKind(Enum):
    """The two directions of an OID request."""

    QUERY = "query"
    SET = "set"


@dataclass(frozen=True, slots=True)
class OidRequest:
    """One OID request: one contiguous information buffer in the host's layout (A-38).

    `base` is the address that the host's pointers count from; `length` of the buffer is InformationBufferLength.
    """

    kind: RequestKind
    oid: int
    buffer: bytes
    abi: Abi
    base: int = 0x1000
    request_id: int = 0


@dataclass(frozen=True, slots=True)
class OidResult:
    """What came of a request: the status, the buffer as the driver left it, and the three byte counts.

    `reason` is for people, and beyond what NDIS carries: a driver under test leaves it None.
    """

    status: NdisStatus
    buffer: bytes = b""
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_needed: int = 0
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OidCompletion:
    """A request that answered NDIS_STATUS_PENDING before is done now (N-OID-6)."""

    request_id: int
    result: OidResult


@dataclass(frozen=True, slots=True)
class StatusIndication:
    """A status that a miniport sends up, with its buffer (for example NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG).

    A 6.x miniport indicates a packed NDIS_STATUS_INDICATION with the buffer behind it, whose pointer counts from
    `base`; NDIS reads that, and status and buffer must say the same. In 5.1 there is no such structure.
    """

    status: NdisStatus
    buffer: bytes
    packed: bytes = field(default=b"", compare=False)
    base: int = field(default=0x1000, compare=False)


@dataclass(frozen=True, slots=True)
class ResetResult:
    """What came of a reset: SUCCESS, PENDING, RESET_IN_PROGRESS, SOFT_ERRORS or HARD_ERRORS (N-RST-3)."""

    status: NdisStatus
    addressing_reset: bool = False
    """NDIS must send packet filter, multicast list and encapsulation again (N-RST-2)."""


@dataclass(frozen=True, slots=True)
class ResetCompletion:
    """A reset that answered NDIS_STATUS_PENDING before is done now (N-RST-4)."""

    result: ResetResult


MiniportEvent = OidCompletion | StatusIndication | ResetCompletion


@dataclass(frozen=True, slots=True)
class OffloadAttributes:
    """What a 6.x miniport reports at initialisation: two packed NDIS_OFFLOAD structures (N-CP6-1); empty in 5.1."""

    current_configuration: bytes = b""
    hardware_capabilities: bytes = b""


@dataclass(slots=True)  # made for every frame: not frozen, because freezing triples the cost of making one
class Indication:
    """A frame on its way up, with its packed out-of-band words.

    `ipsec` is NDIS_IPSEC_PACKET_INFO (5.1) or the IPsec NetBufferListInfo slot (6.x); `header` is
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO, or empty where the version has no such word; `checksum` is the
    word of slot 0, or empty where the card checked no checksum.
    """

    frame: bytes
    ipsec: bytes
    header: bytes = b""
    checksum: bytes = b""
    split: int = 0
    """Where the second of the frame's two buffers begins, header and data; 0 where it has one (N-RX-18)."""


@dataclass(frozen=True, slots=True)
class TaskWords:
    """The out-of-band words of a frame to send beside those that name associations, each empty where it has none."""

    checksum: bytes = b""
    """Slot 0: NDIS_TCP_IP_CHECKSUM_PACKET_INFO (5.1), NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO (6.x)."""
    large_send: bytes = b""
    """Slot 2: the maximum segment size (5.1), NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO (6.x)."""
    header: bytes = b""
    """Slot 12: NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO of version 2."""


NO_TASKS = TaskWords()


@dataclass(slots=True)  # see Indication
class SendResult:
    """What came of a send: the status, and the frame as it went onto the wire (empty when it did not)."""

    status: NdisStatus
    frame: bytes
    reason: Reason
    more: tuple[bytes, ...] = ()
    """The segments behind the first one, where a large send made several frames."""
    large_send: bytes = b""
    """The word of slot 2 as the driver wrote it when it completed a large send; empty where there was none."""

    @property
    def frames(self) -> tuple[bytes, ...]:
        """Every frame that went onto the wire, in order."""
        return (self.frame, *self.more) if self.status == NdisStatus.SUCCESS else ()


class Miniport(Protocol):
    """What NDIS calls: a miniport driver with its card below it."""

    def initialize(self) -> OffloadAttributes:
        """Start the driver; the answer is what it reports of itself (N-CP6-1)."""
        ...

    def request(self, request: OidRequest) -> OidResult:
        """An ordinary OID request (MiniportSetInformation, MiniportOidRequest)."""
        ...

    def direct_request(self, request: OidRequest) -> OidResult:
        """A direct OID request, not serialised against anything (N-OID-5)."""
        ...

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """Turn what the card wrote about a received frame into out-of-band words."""
        ...

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """Send a frame whose transmit word is `ipsec`, and whose tunnel word (slot 11 of version 2) `tunnel`.

        `tasks` has the words of checksums and large sends.
        """
        ...

    def reset(self) -> ResetResult:
        """Reset the NIC; associations, parser entries and handles survive (MiniportReset, N-RST-1, A-26)."""
        ...

    def remove(self) -> None:
        """The NIC is removed: delete everything that is offloaded (N-RST-6)."""
        ...

    def poll(self) -> Sequence[MiniportEvent]:
        """What has happened since the last call, oldest first."""
        ...


class Binding(Protocol):
    """What the host transport calls: NDIS, with a miniport below it."""

    abi: Abi

    def request(self, request: OidRequest) -> OidResult:
        """An OID request; NDIS answers some itself and queues the others as it must (N-OID-4)."""
        ...

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """Send a frame whose transmit word is `ipsec`, and whose tunnel word (slot 11 of version 2) `tunnel`.

        `tasks` has the words of checksums and large sends.
        """
        ...

    def poll(self) -> Sequence[OidCompletion | StatusIndication]:
        """What has happened since the last call, oldest first."""
        ...


# --- the card boundary -----------------------------------------------------------------------------------------


class Table(Enum):
    """The card's tables. A slot counts from 0 within its table."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    PARSER = "parser"
    ADDRESS = "address"
    """Receive addresses that inbound rows share, in cards that have such a table."""


class RowStatus(Enum):
    """What the card says of a row operation."""

    DONE = "done"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class RowCompletion:
    """A row operation that was PENDING is done, or has failed."""

    table: Table
    slot: int
    status: RowStatus


class EspCipher(IntEnum):
    """The card's cipher numbers."""

    NULL = 0
    DES_CBC = 1
    TRIPLE_DES_CBC = 2
    AES_CBC = 3
    AES_GCM = 4


class EspAuthenticator(IntEnum):
    """The card's authenticator numbers."""

    NONE = 0
    HMAC_MD5 = 1
    HMAC_SHA1 = 2
    HMAC_SHA2_256 = 3


class Portion(IntEnum):
    """Which portion of a packet a row protects: decides between the failure codes (N-RX-16, A-35)."""

    TRANSPORT = 0
    TUNNEL = 1


class UdpType(IntEnum):
    """How ESP rides in UDP: the numbers of UdpEncapType plus one, so that zero is native ESP (N-PE-2)."""

    NATIVE = 0
    IKE = 1
    OTHER = 2


class ChecksumTask(IntFlag):
    """Checksums that a card computes or checks, and the packets for which it can."""

    IP = 1
    TCP = 2
    UDP = 4
    IP_OPTIONS = 8
    """Also where the IP header has options or extension headers."""
    TCP_OPTIONS = 16
    """Also where the TCP header has options."""


class ChecksumResult(IntFlag):
    """What a card found of the checksums of a received frame; neither bit of a kind: it did not look."""

    TCP_FAILED = 1
    UDP_FAILED = 2
    IP_FAILED = 4
    TCP_SUCCEEDED = 8
    UDP_SUCCEEDED = 16
    IP_SUCCEEDED = 32


class Combination(IntFlag):
    """A transport portion inside a tunnel portion: the ways in which either may ride in UDP (N-ENC-2).

    Both in UDP is none of them: it is not supported (N-ENC-1).
    """

    NATIVE = 1
    """Neither: TRANSPORT_TUNNEL_COMBINED alone."""
    TUNNEL_IN_UDP_OTHER = 2
    TUNNEL_IN_UDP_IKE = 4
    TRANSPORT_IN_UDP_OTHER = 8
    TRANSPORT_IN_UDP_IKE = 16


@dataclass(frozen=True, slots=True)
class SaRow(Structure):
    """NICSIM_SA_ROW: one IPsec layer of an offloaded association.

    Addresses and masks are 16 bytes, IPv4 ones in the first four. A zero mask or port is not compared.
    Key fields are as long as the longest key; the lengths say how much of them counts.
    """

    spi: SPI
    protocol: UCHAR
    """50 ESP, 51 AH."""
    family: UCHAR
    """4 or 6."""
    portion: UCHAR
    udp_type: UCHAR
    parser_set: UCHAR
    """The set of parser rows through which this row's datagrams are found; 0 for native ESP."""
    cipher: UCHAR
    authenticator: UCHAR
    icv_length: UCHAR
    extended: UCHAR
    """1 where sequence numbers have 64 bits: `sequence_high` counts for the ICV (N-V2-9)."""
    linked: UCHAR
    """1 in a row that another one's `then_slot` names: it is no packet's first layer."""
    source_address: Annotated[bytes, ByteArray(16)]
    source_mask: Annotated[bytes, ByteArray(16)]
    destination_address: Annotated[bytes, ByteArray(16)]
    destination_mask: Annotated[bytes, ByteArray(16)]
    source_port: PORT
    destination_port: PORT
    then_slot: ULONG
    """The slot plus one of the row for the next layer of the same association, in order of processing; 0 for none."""
    sequence_high: ULONG
    """The half of the sequence number that is not on the wire; the card guesses nothing."""
    cipher_key_length: UCHAR
    authenticator_key_length: UCHAR
    cipher_key: Annotated[bytes, ByteArray(32)]
    salt: Annotated[bytes, ByteArray(4)]
    authenticator_key: Annotated[bytes, ByteArray(32)]
    address_slot: ULONG = 0
    """The slot plus one of the address row that an inbound row shares: it counts, and the row's own destination does
    not. 0 for none."""

    def __repr__(self) -> str:
        return f"SaRow(spi=0x{self.spi:08x}, protocol={self.protocol}, keys redacted)"


@dataclass(frozen=True, slots=True)
class ParserRow(Structure):
    """NICSIM_PARSER_ROW: how to parse UDP datagrams that arrive on one destination port (N-PE-1)."""

    port: PORT
    udp_type: UCHAR
    parser_set: UCHAR


@dataclass(frozen=True, slots=True)
class AddressRow(Structure):
    """NICSIM_ADDRESS_ROW: one address that packets are received for, compared whole."""

    family: UCHAR
    """4 or 6."""
    address: Annotated[bytes, ByteArray(16)]
    """An IPv4 address in the first four bytes, zeros behind it."""


@dataclass(frozen=True, slots=True)
class CardControl(Structure):
    """NICSIM_CARD_CONTROL: what the card may work on; all zero is off (N-CP6-6, N-CAP-12).

    The encapsulations are NDIS_ENCAPSULATION_* bits (N-CP6-4), one word a family.
    """

    ipv4_encapsulations: ULONG = 0
    ipv6_encapsulations: ULONG = 0
    ipv4_options: UCHAR = 0
    ipv6_extension_headers: UCHAR = 0
    combinations: UCHAR = 0
    """`Combination` bits: the packets of two portions that the card may work on."""
    both_or_neither: UCHAR = 0
    """1 where a packet of two portions is left alone unless both are offloaded (A-4)."""
    ipv4_send_checksums: UCHAR = 0
    ipv6_send_checksums: UCHAR = 0
    ipv4_receive_checksums: UCHAR = 0
    ipv6_receive_checksums: UCHAR = 0
    """`ChecksumTask` bits; 0 is off."""
    ipv4_large_send: ULONG = 0
    ipv6_large_send: ULONG = 0
    """The most TCP payload that one large send may have, in bytes; 0 is off."""
    large_send_segments: ULONG = 0
    """The least number of segments that a large send must come to."""
    large_send_options: UCHAR = 0
    """`ChecksumTask` bits of the options that a large send may have."""
    header_split: ULONG = 0
    """The longest header buffer of a received frame that is split, in bytes; 0 is off."""


@dataclass(frozen=True, slots=True)
class LargeSend(Structure):
    """NICSIM_LARGE_SEND: how to cut the TCP payload of one frame to send."""

    mss: ULONG
    """The most TCP payload of one segment, in bytes."""
    tcp_header_offset: ULONG = 0
    """Where the TCP header must be, in bytes from the start of the frame; 0 where the host did not say."""
    pad_length: UCHAR = 0
    """Bytes at the end of the payload that are padding to discard (N-V2-15)."""
    next_header: UCHAR = 0
    """What the ESP trailer of every segment says."""
    identification_bits: UCHAR = 16
    """IPv4 identifications count up modulo 2 to this power: 15 in version 2 of large send."""


@dataclass(slots=True)  # see Indication
class LargeSent:
    """What came of a large send: its segments in order, and the TCP payload of all of them together, in bytes."""

    frames: tuple[bytes, ...]
    payload: int
    reason: Reason


@dataclass(slots=True)  # see Indication
class Descriptor(Structure):
    """NICSIM_DESCRIPTOR: what the card did with one received frame.

    Slots are plus one, 0 for none. Offsets count bytes from the start of the frame.
    """

    reason: UCHAR
    crypto_done: UCHAR = 0
    next_crypto_done: UCHAR = 0
    crypto_status: UCHAR = 0
    slot: ULONG = 0
    parser_slot: ULONG = 0
    payload_offset: ULONG = 0
    """Where the decrypted data begins, behind the IV."""
    payload_end: ULONG = 0
    """Where it ends, before the ICV; padding, pad length and next header included."""
    next_slot: ULONG = 0
    """The row of the transport portion, where both portions were checked; its payload is the one meant above."""
    checksums: UCHAR = 0
    """`ChecksumResult` bits."""
    split: ULONG = 0
    """Where the data buffer begins, if the card splits frames and has split this one; else 0 (N-RX-18)."""


Row = SaRow | ParserRow | AddressRow


class Card(Protocol):
    """What a driver calls: silicon with fixed tables."""

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Program one row; a row that was there is replaced. FAILED leaves the slot as it was."""
        ...

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        """Clear one row."""
        ...

    def enable(self, control: CardControl) -> None:
        """Write the control register."""
        ...

    def reset(self) -> None:
        """Clear all tables and the control register; operations that were PENDING are never heard of again."""
        ...

    def receive(self, frame: bytes) -> tuple[bytes, Descriptor]:
        """Process a frame off the wire: the frame as it goes up, and what was done to it."""
        ...

    def send(
        self, frame: bytes, slot: int | None, tunnel_slot: int | None = None, checksums: int = 0
    ) -> tuple[bytes, Reason]:
        """Process a frame on its way out with the association in `slot` of the outbound table.

        `tunnel_slot` has the association of the tunnel portion, where the frame has both; a `slot` of None is for a
        frame without IPsec work. `checksums` are the `ChecksumTask` bits of those to fill in first.
        """
        ...

    def send_large(self, frame: bytes, slot: int | None, large: LargeSend) -> LargeSent:
        """Cut a frame on its way out into segments, and process each with the association in `slot`, if any."""
        ...

    def poll(self) -> Sequence[RowCompletion]:
        """Row operations that were PENDING and are finished now, oldest first."""
        ...
