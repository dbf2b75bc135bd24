"""The card: its tables, its receive path and its send path behind the card boundary.

It knows slots, rows and frames; no handles, no OIDs, no statuses of NDIS. Implements `nicsim.boundary.Card`.
"""

from __future__ import annotations

from collections.abc import Sequence

from nicsim.boundary import CardControl, Descriptor, LargeSend, LargeSent, Row, RowCompletion, RowStatus, Table
from nicsim.card import receive, segmentation, send
from nicsim.card.checksums import check_checksums, fill_checksums
from nicsim.card.rows import Rows
from nicsim.card.splitting import split_at
from nicsim.reasons import Reason
from nicsim.wire.packet import LinkType


class SimulatedCard:
    """Silicon with fixed tables. Row operations are done at once; the source of IVs is an argument."""

    def __init__(
        self,
        *,
        inbound_rows: int,
        outbound_rows: int,
        parser_rows: int,
        address_rows: int = 0,
        iv_source: send.IvSource,
        link_type: int = LinkType.ETHERNET,
    ) -> None:
        self.rows = Rows(inbound_rows, outbound_rows, parser_rows, address_rows)
        self.link_type = link_type
        self._iv_source = iv_source

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        """Program one row."""
        return self.rows.write(table, slot, row)

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        """Clear one row."""
        return self.rows.clear(table, slot)

    def enable(self, control: CardControl) -> None:
        """Write the control register."""
        self.rows.control = control

    def reset(self) -> None:
        """Forget all rows and switch off, as after power came back."""
        self.rows.reset()

    def receive(self, frame: bytes) -> tuple[bytes, Descriptor]:
        """Process a frame off the wire."""
        after, descriptor = receive.receive(self.rows, frame, self.link_type)
        control = self.rows.control
        if control.ipv4_receive_checksums or control.ipv6_receive_checksums:
            descriptor.checksums = check_checksums(self.rows, after, self.link_type, descriptor)
        if control.header_split:
            descriptor.split = split_at(after, self.link_type, descriptor, control.header_split)
        return after, descriptor

    def send(
        self, frame: bytes, slot: int | None, tunnel_slot: int | None = None, checksums: int = 0
    ) -> tuple[bytes, Reason]:
        """Process a frame on its way out."""
        if checksums:
            filled = fill_checksums(self.rows, frame, self.link_type, (tunnel_slot, slot), checksums)
            if isinstance(filled, Reason):
                return frame, filled
            frame = filled
        if slot is None:
            return frame, Reason.TASKS_DONE
        return send.send(self.rows, frame, self.link_type, slot, self._iv_source, tunnel_slot)

    def send_large(self, frame: bytes, slot: int | None, large: LargeSend) -> LargeSent:
        """Process a large packet on its way out."""
        return segmentation.send_large(self.rows, frame, self.link_type, slot, large, self._iv_source)

    def poll(self) -> Sequence[RowCompletion]:
        """Row operations finished since the last call: none, for this card finishes them at once."""
        return ()
