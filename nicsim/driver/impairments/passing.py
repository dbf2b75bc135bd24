"""A miniport that hands everything on: what every impaired driver is, but for one thing; and handles in buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicsim.boundary import (
    NO_TASKS,
    Descriptor,
    Indication,
    Miniport,
    MiniportEvent,
    OffloadAttributes,
    OidRequest,
    OidResult,
    ResetResult,
    SendResult,
    TaskWords,
)
from offload_oids import Abi, Oid
from offload_oids.ipsec_sa import (
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
)
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa, IpsecOffloadV2AddSaEx, IpsecOffloadV2DeleteSa
from offload_oids.layout import Structure, offset_of, size_of

ADD_UDPESP, DELETE_UDPESP = Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA
ADD_V2 = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA
ADDS: dict[int, type[Structure]] = {
    Oid.OID_TCP_TASK_IPSEC_ADD_SA: OffloadIpsecAddSa,
    ADD_UDPESP: OffloadIpsecAddUdpespSa,
    ADD_V2: IpsecOffloadV2AddSa,
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: IpsecOffloadV2AddSaEx,
}
DELETES: dict[int, type[Structure]] = {
    Oid.OID_TCP_TASK_IPSEC_DELETE_SA: OffloadIpsecDeleteSa,
    DELETE_UDPESP: OffloadIpsecDeleteUdpespSa,
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: IpsecOffloadV2DeleteSa,
}
UDPESP: dict[int, type[Structure]] = {
    ADD_UDPESP: OffloadIpsecAddUdpespSa,
    DELETE_UDPESP: OffloadIpsecDeleteUdpespSa,
}
SA_HANDLE, ENTRY_HANDLE = "offload_handle", "encap_type_entry_offld_handle"
NOT_A_HANDLE = 0x0BAD0000

Ask = Callable[[OidRequest], OidResult]


def read_handle(structure: type[Structure], member: str, buffer: bytes, abi: Abi, base: int = 0) -> int:
    """A handle in a buffer whose structure begins at `base`."""
    at = base + offset_of(structure, member, abi)
    return int.from_bytes(buffer[at : at + size_of(OffloadIpsecDeleteSa, abi)], "little")


def with_handle(structure: type[Structure], member: str, buffer: bytes, abi: Abi, handle: int, base: int = 0) -> bytes:
    """The buffer with another handle in that place; one that is too short for it stays so."""
    at, size = base + offset_of(structure, member, abi), size_of(OffloadIpsecDeleteSa, abi)
    if len(buffer) < at + size:
        return buffer
    return buffer[:at] + handle.to_bytes(size, "little") + buffer[at + size :]


class PassingMiniport:
    """A miniport that hands everything on to the one below; the classes that follow each spoil something."""

    def __init__(self, below: Miniport, number: int) -> None:
        self._below = below
        self._number = number
        self._turn = 0

    def initialize(self) -> OffloadAttributes:
        """Start the driver."""
        return self._below.initialize()

    def request(self, request: OidRequest) -> OidResult:
        """An ordinary OID request."""
        return self._answer(request, self._below.request)

    def direct_request(self, request: OidRequest) -> OidResult:
        """A direct OID request."""
        return self._answer(request, self._below.direct_request)

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up."""
        return self._below.indicate(frame, descriptor)

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """A frame on its way out."""
        # As NDIS does: a driver for a version without some of these words need not know of them.
        if tasks != NO_TASKS:
            return self._below.send(frame, ipsec, tunnel, tasks)
        return self._below.send(frame, ipsec, tunnel) if tunnel else self._below.send(frame, ipsec)

    def reset(self) -> ResetResult:
        """Reset the NIC."""
        return self._below.reset()

    def remove(self) -> None:
        """The NIC is removed."""
        self._below.remove()

    def poll(self) -> Sequence[MiniportEvent]:
        """What has happened since the last call."""
        return self._below.poll()

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        """Both kinds of request; `ask` hands one on."""
        return ask(request)

    def _is_nth(self) -> bool:
        """Count one turn: is it the N-th?"""
        self._turn += 1
        return self._turn == self._number

    def _is_every_nth(self) -> bool:
        """Count one turn: is it one of every N?"""
        self._turn += 1
        return self._turn % self._number == 0


class MiniportSocket(PassingMiniport):
    """Where NDIS meets the driver: what is below can be exchanged while NDIS runs."""

    def plug(self, below: Miniport) -> None:
        """From now on this driver is below."""
        self._below = below
