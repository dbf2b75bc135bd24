"""A miniport and a card with the rule monitor above them: everything but frames passes it on its way.

A rule that was broken raises when the driver's call returns to NDIS, never inside a call of the driver to its card.

Joined in by `nicsim.nic`. The books are in monitor.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from nicsim.boundary import (
    Card,
    CardControl,
    Miniport,
    MiniportEvent,
    OffloadAttributes,
    OidCompletion,
    OidRequest,
    OidResult,
    ResetCompletion,
    ResetResult,
    Row,
    RowCompletion,
    RowStatus,
    Table,
)
from nicsim.ndis.ledger import Asked
from nicsim.ndis.monitor import Monitor
from offload_oids import NdisStatus


class WatchedMiniport:
    """A miniport with the monitor above it. Implements `nicsim.boundary.Miniport`."""

    def __init__(self, miniport: Miniport, monitor: Monitor) -> None:
        self._miniport = miniport
        self._monitor = monitor
        self.indicate = miniport.indicate
        self.send = miniport.send

    def initialize(self) -> OffloadAttributes:
        """Start the driver."""
        attributes = self._miniport.initialize()
        self._monitor.raise_broken()
        return attributes

    def request(self, request: OidRequest) -> OidResult:
        """An ordinary OID request."""
        asked = self._monitor.began(request)
        return self._answered(asked, self._miniport.request(request))

    def direct_request(self, request: OidRequest) -> OidResult:
        """A direct OID request."""
        asked = self._monitor.began(request)
        return self._answered(asked, self._miniport.direct_request(request))

    def _answered(self, asked: Asked, result: OidResult) -> OidResult:
        self._monitor.answered(asked, result)
        self._monitor.raise_broken()
        return result

    def reset(self) -> ResetResult:
        """Reset the NIC."""
        self._monitor.at_will = True
        result = self._miniport.reset()
        self._monitor.at_will = result.status == NdisStatus.PENDING
        self._monitor.raise_broken()
        return result

    def remove(self) -> None:
        """The NIC is removed; nothing comes after that."""
        self._monitor.at_will = True
        self._miniport.remove()
        self._monitor.raise_broken()

    def poll(self) -> Sequence[MiniportEvent]:
        """What has happened since the last call."""
        events = self._miniport.poll()
        for event in events:
            if isinstance(event, OidCompletion):
                self._monitor.completed(event)
            elif isinstance(event, ResetCompletion):
                self._monitor.at_will = False
        self._monitor.raise_broken()
        return events


class WatchedCard:
    """A card with the monitor above it. Implements `nicsim.boundary.Card`."""

    def __init__(self, card: Card, monitor: Monitor) -> None:
        self._card = card
        self._monitor = monitor
        self.receive = card.receive
        self.send = card.send
        self.send_large = card.send_large

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Program one row."""
        self._monitor.writes(table, slot, row)
        status = self._card.write_row(table, slot, row)
        self._monitor.operated((table, slot), row, status)
        return status

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        """Clear one row."""
        status = self._card.clear_row(table, slot)
        self._monitor.operated((table, slot), None, status)
        return status

    def enable(self, control: CardControl) -> None:
        """Write the control register."""
        self._card.enable(control)

    def reset(self) -> None:
        """Clear all tables."""
        self._card.reset()
        self._monitor.reset()

    def poll(self) -> Sequence[RowCompletion]:
        """Row operations that are finished now."""
        completions = self._card.poll()
        for completion in completions:
            self._monitor.row_completed(completion)
        return completions
