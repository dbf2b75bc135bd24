"""Associations of what the host has disabled: out of the card's tables, and back once it is enabled again.

OID_TCP_OFFLOAD_PARAMETERS can leave one version on and take the other away, or AH, or ESP, for transmit and receive
(N-CP6-7). Associations that are there by then stay the host's, as after a disabling set (A-13), but the card must not
go on working on their packets: received ones go up unprocessed, and sends that name them fail. The card knows no
versions, so their rows leave it; the driver keeps slots and shadow copies.

Used by enabling.py.
"""

from __future__ import annotations

from collections.abc import Generator

from nicsim.boundary import CardControl
from nicsim.driver.handles import Configuration, DriverState, OffloadedSa
from nicsim.driver.operations import Operation, RowOperation
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus
from offload_oids.offload_parameters import IpsecV1Parameter

AH, ESP = 51, 50
# What each setting leaves on; the numbers of version 2 are the same (N-CP6-7).
LEFT_ON: dict[int, frozenset[int]] = {
    IpsecV1Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV1_DISABLED: frozenset(),
    IpsecV1Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_ENABLED: frozenset({AH}),
    IpsecV1Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV1_ESP_ENABLED: frozenset({ESP}),
    IpsecV1Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_AND_ESP_ENABLED: frozenset({AH, ESP}),
}


def is_on(wanted: Configuration, association: OffloadedSa) -> bool:
    """Whether a configuration leaves on everything that an association is made of."""
    left = LEFT_ON[wanted.ipsec_v1 if association.version == 1 else wanted.ipsec_v2]
    return all(row.protocol in left for _, row in association.rows)


def exchange_rows(state: DriverState, wanted: Configuration) -> Generator[Operation, bool | None, None]:
    """Take rows out and put rows back, as the configuration wants it; where the card refuses one, all stays as it was.

    A row that the card refuses to put back while undoing is left out: its packets go up unprocessed.
    """
    every = state.associations.values()
    leaving = [one for one in every if one.handle not in state.withdrawn and not is_on(wanted, one)]
    coming = [one for one in every if one.handle in state.withdrawn and is_on(wanted, one)]
    clears = [RowOperation(one.table, slot) for one in leaving for slot, _ in one.rows]
    undone = [write for one in leaving for write in writes_of(one)]
    writes = [write for one in coming for write in writes_of(one)]
    # First what has to go, so that nothing works that should not.
    for operation in clears + writes:
        if not (yield operation):
            for write in writes:
                if not (yield RowOperation(write.table, write.slot)):
                    state.marked.append((write.table, write.slot))  # it must not work meanwhile: see `clear`
                    yield CardControl()
            for undo in undone:
                _ = yield undo
            raise RequestRefused(
                NdisStatus.FAILURE,
                Reason.ROW_WRITE_FAILED if operation.row else Reason.ROW_CLEAR_FAILED,
                f"the card refused row {operation.slot}, so the configuration stays as it was",
            )
    back = {(write.table, write.slot) for write in writes}
    state.marked[:] = [place for place in state.marked if place not in back]
    state.withdrawn -= {one.handle for one in coming}
    state.withdrawn |= {one.handle for one in leaving}


def writes_of(association: OffloadedSa) -> list[RowOperation]:
    """The writes of one association's own rows: a row that another one names is there before it."""
    return [RowOperation(association.table, slot, row) for slot, row in reversed(association.rows)]
