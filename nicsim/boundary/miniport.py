"""The miniport boundary: what NDIS shows. OID buffers exactly as Windows lays them out, statuses, frames with their
packed out-of-band words.

A request may answer PENDING and complete later; completions are collected with `poll`, never pushed upward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from nicsim.boundary.card import Descriptor
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus


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
