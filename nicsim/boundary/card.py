"""The card boundary: what silicon shows. Rows, slots and descriptors, all plain fixed-layout data.

A card knows no handles, no OIDs and no statuses of NDIS. An operation may answer PENDING and complete later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from typing import Annotated, Protocol

from nicsim.reasons import Reason
from offload_oids.layout import PORT, SPI, UCHAR, ULONG, ByteArray, Structure


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
