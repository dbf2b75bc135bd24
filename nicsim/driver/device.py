"""The reference driver: a miniport over any card, in the order a driver writer expects.

Requests go to control.py, frames through here. Implements `nicsim.boundary.Miniport` on top of `nicsim.boundary.Card`;
put a driver of your own in its place and neither the host above nor the card below can tell.
"""

from __future__ import annotations

from collections.abc import Sequence

from nicsim.boundary import (
    Card,
    Descriptor,
    Indication,
    MiniportEvent,
    OffloadAttributes,
    OidRequest,
    OidResult,
    ResetResult,
    SendResult,
    Table,
)
from nicsim.capabilities import Capabilities, MakeRoom, NdisVersion
from nicsim.driver import control, enabling, power, room
from nicsim.driver.handles import DriverState
from nicsim.driver.indicate import Words
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus

OPENED = Reason.OPENED.number


class ReferenceDriver:
    """A miniport driver that does what the documentation says, for a card with these capabilities."""

    def __init__(self, capabilities: Capabilities, card: Card, abi: Abi) -> None:
        self.state = DriverState(capabilities, abi)
        self._card = card
        self._words = Words(capabilities.ndis, abi)
        self._control = control.Control(self.state, card)
        self._has_header_word = capabilities.version2 is not None
        self._makes_room = capabilities.make_room is not MakeRoom.OFF

    def initialize(self) -> OffloadAttributes:
        """Report what the card can do; a 5.1 miniport is asked by OID instead (N-CP6-1, N-CAP-6)."""
        if self.state.capabilities.ndis is NdisVersion.NDIS_5_1:
            return OffloadAttributes()
        encapsulations = self.state.capabilities.encapsulations
        report = enabling.offload_report(self.state, encapsulations, encapsulations)
        return OffloadAttributes(current_configuration=report, hardware_capabilities=report)

    def request(self, request: OidRequest) -> OidResult:
        """An ordinary OID request."""
        return self._control.handle(control.ORDINARY, request)

    def direct_request(self, request: OidRequest) -> OidResult:
        """A direct OID request."""
        return self._control.handle(control.DIRECT, request)

    def reset(self) -> ResetResult:
        """Reset the card, and give it back what it had."""
        return self._control.reset()

    def remove(self) -> None:
        """The NIC is removed."""
        self._control.remove()

    def poll(self) -> Sequence[MiniportEvent]:
        """What has happened since the last call."""
        return self._control.poll()

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, whatever came of it (N-RX-14)."""
        header = b""
        if self._has_header_word and descriptor.reason == OPENED:
            end = descriptor.payload_end
            header = self._words.header(frame[end - 1], frame[end - 2])
        delete_request = self._makes_room and room.is_asked_of(self.state, descriptor)
        return Indication(frame, self._words.receive(descriptor, delete_request=delete_request), header)

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"") -> SendResult:
        """A frame on its way out: by its handles, or plain where the handle is zero (N-TX-1, N-TX-10)."""
        if not self.state.in_service:
            return power.refused_send(self.state)
        handle, tunnel_handle = self._words.transmit_handles(ipsec, tunnel)
        if handle == 0:
            return SendResult(NdisStatus.SUCCESS, frame, Reason.NO_SEND_WORK)
        slot = self._outbound_slot(handle)
        tunnel_slot = self._outbound_slot(tunnel_handle) if tunnel_handle else None
        if slot is None or (tunnel_handle and tunnel_slot is None):
            return SendResult(NdisStatus.FAILURE, b"", Reason.UNKNOWN_SEND_HANDLE)
        sealed, reason = self._card.send(frame, slot, tunnel_slot)
        if reason is Reason.SEALED:
            return SendResult(NdisStatus.SUCCESS, sealed, reason)
        return SendResult(NdisStatus.FAILURE, b"", reason)

    def _outbound_slot(self, handle: int) -> int | None:
        """Where the card has the first row of an outbound association."""
        association = self.state.associations.get(handle)
        return association.rows[0][0] if association and association.table is Table.OUTBOUND else None
