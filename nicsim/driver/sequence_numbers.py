"""OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA: new high-order bits for an extended sequence number.

The card knows the half of the number that is on the wire only; before it wraps, the host says what the other half is
from now on (N-V2-13). One structure, no list (A-27).

Called through control.py.
"""

from __future__ import annotations

from dataclasses import replace

from nicsim.boundary import OidRequest, OidResult, SaRow
from nicsim.driver.handles import DriverState, OffloadedSa
from nicsim.driver.operations import RowOperation, Steps
from nicsim.driver.placement import wire_ordered
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2Operation, IpsecOffloadV2UpdateSa
from offload_oids.layout import TooShort, size_of, size_through
from offload_oids.ndis_offload import NdisObjectType

PROTOCOL_OF: dict[int, int] = {
    IpsecOffloadV2Operation.IPsecOffloadV2Esp: 50,
    IpsecOffloadV2Operation.IPsecOffloadV2Ah: 51,
}


def update_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA: rewrite the row of one layer with the new half."""
    # UNPACK
    size = size_through(IpsecOffloadV2UpdateSa, "sequence_number_high_order", request.abi)
    if len(request.buffer) < size:
        raise TooShort("IPSEC_OFFLOAD_V2_UPDATE_SA", size, len(request.buffer))
    # Header.Size does not count the padding behind the last member, so that need not be there.
    padded = request.buffer[:size].ljust(size_of(IpsecOffloadV2UpdateSa, request.abi), b"\0")
    update = IpsecOffloadV2UpdateSa.unpack(padded, request.abi)

    # CHECK
    header = update.header
    if (header.type, header.revision) != (NdisObjectType.NDIS_OBJECT_TYPE_DEFAULT, 1) or header.size < size:
        raise RequestRefused(
            NdisStatus.INVALID_DATA,
            Reason.HEADER_WRONG,
            f"the header must say type 0x80, revision 1, size {size} or more",
        )
    association = state.associations.get(update.offload_handle)
    if association is None or association.version != 2:
        raise unknown(f"no version 2 association has handle 0x{update.offload_handle:x}")
    slot, row = extended_row(association, wire_ordered(state, update, request.abi))
    wanted = replace(row, sequence_high=update.sequence_number_high_order)

    # ACT: a row that is out of the card gets its new half with the shadow copy
    if association.handle not in state.withdrawn and not (yield RowOperation(association.table, slot, wanted)):
        raise RequestRefused(
            NdisStatus.NOT_ACCEPTED, Reason.ROW_WRITE_FAILED, f"the card refused {association.table.value} row {slot}"
        )
    rows = tuple((place, wanted if place == slot else kept) for place, kept in association.rows)
    state.associations[association.handle] = replace(association, rows=rows)

    # ANSWER
    return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=size)


def extended_row(association: OffloadedSa, update: IpsecOffloadV2UpdateSa) -> tuple[int, SaRow]:
    """The slot and row of the layer that Operation and Spi select; its sequence numbers must be extended."""
    for slot, row in association.rows:
        if (row.protocol, row.spi) == (PROTOCOL_OF.get(update.operation), update.spi):
            if not row.extended:
                raise RequestRefused(
                    NdisStatus.INVALID_PARAMETER,
                    Reason.ESN_NOT_CLAIMED,
                    f"SPI 0x{update.spi:08x} has no extended sequence numbers",
                )
            return slot, row
    raise unknown(f"the association has no layer with operation {update.operation} and SPI 0x{update.spi:08x}")


def unknown(detail: str) -> RequestRefused:
    """The page names INVALID_PARAMETER where the association is not found."""
    return RequestRefused(NdisStatus.INVALID_PARAMETER, Reason.UNKNOWN_SA_HANDLE, detail)
