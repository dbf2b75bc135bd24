"""The reference driver: a miniport over any card, in the order a driver writer expects.

Requests go to control.py, frames through here. Implements `nicsim.boundary.Miniport` on top of `nicsim.boundary.Card`;
put a driver of your own in its place and neither the host above nor the card below can tell.
"""

from __future__ import annotations

from collections.abc import Sequence

from nicsim.boundary import (
    NO_TASKS,
    Card,
    Descriptor,
    Indication,
    MiniportEvent,
    OffloadAttributes,
    OidRequest,
    OidResult,
    ResetResult,
    SendResult,
    TaskWords,
)
from nicsim.capabilities import Capabilities, MakeRoom, NdisVersion
from nicsim.driver import control, power, reports, room, sending
from nicsim.driver.handles import DriverState
from nicsim.driver.indicate import Words
from nicsim.reasons import Reason
from offload_oids import Abi

OPENED = Reason.OPENED.number


class ReferenceDriver:
    """A miniport driver that does what the documentation says, for a card with these capabilities."""

    def __init__(self, capabilities: Capabilities, card: Card, abi: Abi) -> None:
        self.state = DriverState(capabilities, abi)
        self._card = card
        self._words = Words(
            capabilities.ndis, abi, one_handle_in_6_0=capabilities.readings.one_association_per_send_in_6_0
        )
        self._control = control.Control(self.state, card)
        self._has_header_word = capabilities.version2 is not None
        self._makes_room = capabilities.make_room is not MakeRoom.OFF

    def initialize(self) -> OffloadAttributes:
        """Report what the card can do; a 5.1 miniport is asked by OID instead (N-CP6-1, N-CAP-6)."""
        if self.state.capabilities.ndis is NdisVersion.NDIS_5_1:
            return OffloadAttributes()
        encapsulations = self.state.capabilities.encapsulations
        current = reports.current_report(self.state, encapsulations, encapsulations)
        return OffloadAttributes(
            current_configuration=current, hardware_capabilities=reports.hardware_report(self.state)
        )

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
        checksum = self._words.checksum(descriptor.checksums) if descriptor.checksums else b""
        word = self._words.receive(descriptor, delete_request=delete_request)
        return Indication(frame, word, header, checksum, descriptor.split)

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """A frame on its way out."""
        if not self.state.in_service:
            return power.refused_send(self.state)
        return sending.send(self.state, self._card, self._words, frame, ipsec, tunnel, tasks)
