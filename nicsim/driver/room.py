"""Making room: which association the driver asks the host to delete, by SaDeleteReq on a received packet (N-SA-22).

The driver can ask on a packet only, and only about the association of that packet; it keeps both associations of the
pair until their own deletes arrive. It asks while a table is full and not when an add has failed: the association that
found no room is in software by then, and nobody tells the host to try again.

Whom it asks about: the one that has gone longest without a packet, since the host loses least by doing that one
itself. One that has never had a packet is not asked about, for it cannot be, and neither is one that has fallen
silent: when as many packets have come as there are associations and none was its, it is passed over.

Called by device.py for each frame, where the card's profile says so.
"""

from __future__ import annotations

from nicsim.boundary import Descriptor, Table
from nicsim.driver.handles import DriverState
from offload_oids import CryptoStatus


def is_asked_of(state: DriverState, descriptor: Descriptor) -> bool:
    """Whether the host should delete the association of this packet; its use is noted either way.

    A packet counts if it was checked and found right: a forger can neither refresh an association nor have it
    deleted. A packet of two associations counts for both and asks for none, for the bit does not say which.
    """
    if not descriptor.crypto_done or descriptor.crypto_status != CryptoStatus.CRYPTO_SUCCESS:
        return False
    slot, order, full = descriptor.slot - 1, state.last_used, is_full(state)
    asked = full and not descriptor.next_crypto_done and next(iter(order), None) == slot
    note_use(state, slot)
    if descriptor.next_crypto_done:
        note_use(state, descriptor.next_slot - 1)
    state.packets_waited = state.packets_waited + 1 if full and not asked else 0
    if state.packets_waited > len(order):
        order.popitem(last=False)
        state.packets_waited = 0
    return asked


def note_use(state: DriverState, slot: int) -> None:
    """An inbound row had a packet."""
    state.last_used[slot] = None
    state.last_used.move_to_end(slot)


def is_full(state: DriverState) -> bool:
    """No free row for associations of one direction, or as many associations as version 2 reports room for."""
    version2 = state.capabilities.version2
    return (
        not state.slots[Table.INBOUND].free()
        or not state.slots[Table.OUTBOUND].free()
        or (version2 is not None and len(state.associations) >= version2.sa_capacity)
    )
