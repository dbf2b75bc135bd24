"""What a request asks for, as the rule monitor sees it: which rows it explains, and which statuses may answer it.

The statuses are section 2 of the digest and A-1 as data. Buffers are read leniently: what cannot be read asks for
nothing, and then nothing that the driver does is explained by it.

Used by monitor.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from nicsim.boundary import OidRequest, ParserRow, RequestKind, Row, SaRow, Table
from offload_oids import NdisStatus, Oid, StructureError
from offload_oids.ipsec_sa import (
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
    OffloadOperation,
    OffloadSaFlags,
    OffloadSecurityAssociation,
)
from offload_oids.ipsec_sa_v2 import (
    IpsecOffloadV2AddFlags,
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AddSaEx,
    IpsecOffloadV2DeleteSa,
    IpsecOffloadV2Operation,
    IpsecOffloadV2SecurityAssociation,
)
from offload_oids.layout import size_through
from offload_oids.ndis_offload import NdisObjectHeader

PROTOCOL_ESP, PROTOCOL_AH = 50, 51
Layer = tuple[int, int]
"""Protocol and SPI."""
Linked = TypeVar("Linked", IpsecOffloadV2AddSa, IpsecOffloadV2DeleteSa)

# --- statuses ----------------------------------------------------------------------------------------------------

S = NdisStatus
# What any request may come to: nothing, a resource shortage, a reset in between, a buffer of the wrong length.
GENERIC = frozenset(
    {
        S.SUCCESS, S.NOT_ACCEPTED, S.REQUEST_ABORTED, S.RESET_IN_PROGRESS, S.NOT_SUPPORTED, S.INVALID_LENGTH,
        S.INVALID_DATA,
    }
)  # fmt: skip
ADD = GENERIC | {S.RESOURCES, S.FAILURE}
SET, QUERY = RequestKind.SET, RequestKind.QUERY
# fmt: off
ALLOWED: dict[tuple[RequestKind, int], frozenset[NdisStatus]] = {
    (QUERY, Oid.OID_TCP_TASK_OFFLOAD):                     ADD | {S.BUFFER_TOO_SHORT},
    (SET,   Oid.OID_TCP_TASK_OFFLOAD):                     ADD,
    (SET,   Oid.OID_OFFLOAD_ENCAPSULATION):                ADD | {S.INVALID_PARAMETER},
    (SET,   Oid.OID_TCP_OFFLOAD_PARAMETERS):               ADD | {S.INVALID_PARAMETER},
    (SET,   Oid.OID_TCP_TASK_IPSEC_ADD_SA):                ADD,
    (SET,   Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA):         ADD,
    (SET,   Oid.OID_TCP_TASK_IPSEC_DELETE_SA):             GENERIC | {S.FAILURE},
    (SET,   Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA):      GENERIC | {S.FAILURE},
    (SET,   Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA):     ADD | {S.INVALID_PARAMETER},
    (SET,   Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX):  ADD | {S.INVALID_PARAMETER},
    (SET,   Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA):  GENERIC,
    (SET,   Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA):  GENERIC | {S.INVALID_PARAMETER},
    (SET,   Oid.OID_PNP_SET_POWER):                        GENERIC,
}
# fmt: on
OTHERS = ADD | {S.INVALID_PARAMETER, S.INVALID_OID, S.BUFFER_TOO_SHORT}


def allowed_statuses(request: OidRequest) -> frozenset[NdisStatus]:
    """The statuses with which a request may be done; PENDING, which is not done, is none of them."""
    return ALLOWED.get((request.kind, request.oid), OTHERS)


# --- what a request asks for -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """One association that an add asks for, or that its answer hands out."""

    table: Table
    layers: tuple[Layer, ...]
    handle: int
    parser: tuple[int, int] | None = None
    """For an inbound UDP-ESP add: the card's UDP type and the port of its parser entry."""
    entry_handle: int = 0

    def parser_row(self, like: Row) -> ParserRow | None:
        """The parser row that this add may have written; which set it is in is the driver's business."""
        if self.parser is None or not isinstance(like, ParserRow):
            return None
        return ParserRow(self.parser[1], self.parser[0], like.parser_set)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks for."""

    request: OidRequest
    wanted: tuple[Wanted, ...] = ()
    deletes: tuple[int, ...] = ()
    deletes_entry: int = 0
    enables: bool = False
    well_formed: bool = True
    """False for a list whose headers a driver may refuse, whatever it names."""

    @property
    def is_version_2(self) -> bool:
        """A version 2 delete ends with SUCCESS even where a row had to be marked."""
        return self.request.oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA

    @property
    def is_outbound_udpesp(self) -> bool:
        """An add that must leave the parser list alone (A-37)."""
        udpesp = self.request.oid == Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA
        return udpesp and any(wanted.table is Table.OUTBOUND for wanted in self.wanted)


def explains(asked: Asked, table: Table, row: Row) -> bool:
    """Whether a request is a reason for a row to be written."""
    if isinstance(row, ParserRow):
        return asked.enables or any(row == wanted.parser_row(row) for wanted in asked.wanted)
    return any(wanted.table is table and layer_of(row) in wanted.layers for wanted in asked.wanted)


def layer_of(row: Row) -> Layer | None:
    """Protocol and SPI of an association row."""
    return (row.protocol, row.spi) if isinstance(row, SaRow) else None


def same_association(one: Row, other: Row) -> bool:
    """Whether a row is another state of the same owner's row."""
    return one == other if isinstance(one, ParserRow) else layer_of(one) == layer_of(other)


def parse_asked(request: OidRequest, wire_byte_order: bool = True) -> Asked:
    """Read a request; a buffer that cannot be read asks for nothing. SPIs and ports are in the one byte order or the
    other (A-28)."""
    if request.kind is RequestKind.SET and (parse := PARSERS.get(request.oid)):
        try:
            asked = parse(request)
        except StructureError:
            return Asked(request)
        return asked if wire_byte_order else replace(asked, wanted=tuple(map(swapped, asked.wanted)))
    return Asked(request)


def swapped(wanted: Wanted) -> Wanted:
    """The same with SPIs and port in the other byte order."""
    layers = tuple((protocol, int.from_bytes(spi.to_bytes(4, "little"), "big")) for protocol, spi in wanted.layers)
    if wanted.parser is None:
        return replace(wanted, layers=layers)
    udp_type, port = wanted.parser
    return replace(wanted, layers=layers, parser=(udp_type, int.from_bytes(port.to_bytes(2, "little"), "big")))


def _add_sa(request: OidRequest) -> Asked:
    add = OffloadIpsecAddSa.unpack(request.buffer, request.abi)
    wanted = Wanted(_direction(add.flags), _layers(add.valid_associations()), add.offload_handle)
    return Asked(request, (wanted,))


def _add_udpesp_sa(request: OidRequest) -> Asked:
    add = OffloadIpsecAddUdpespSa.unpack(request.buffer, request.abi)
    table, entry = _direction(add.flags), add.encap_type_entry
    # The card's UDP types count from one, so that zero is native ESP.
    parser = (entry.udp_encap_type + 1, entry.dst_encap_port) if table is Table.INBOUND else None
    layers = _layers(add.valid_associations())
    return Asked(request, (Wanted(table, layers, add.offload_handle, parser, add.encap_type_entry_offld_handle),))


def _delete_sa(request: OidRequest) -> Asked:
    return Asked(request, deletes=(OffloadIpsecDeleteSa.unpack(request.buffer, request.abi).offload_handle,))


def _delete_udpesp_sa(request: OidRequest) -> Asked:
    delete = OffloadIpsecDeleteUdpespSa.unpack(request.buffer, request.abi)
    return Asked(request, deletes=(delete.offload_handle,), deletes_entry=delete.encap_type_entry_offld_handle)


def _add_v2(request: OidRequest) -> Asked:
    return Asked(request, tuple(_wanted_v2(add) for add in _linked(request, IpsecOffloadV2AddSa)))


def _add_v2_ex(request: OidRequest) -> Asked:
    return Asked(request, (_wanted_v2(IpsecOffloadV2AddSaEx.unpack(request.buffer, request.abi)),))


def _delete_v2(request: OidRequest) -> Asked:
    deletes = _linked(request, IpsecOffloadV2DeleteSa)
    size = size_through(IpsecOffloadV2DeleteSa, "offload_handle", request.abi)
    good = all(delete.header == NdisObjectHeader(0x80, 1, size) for delete in deletes)
    well_formed = good and not any(delete.next for delete in deletes[-1:])
    return Asked(request, deletes=tuple(delete.offload_handle for delete in deletes), well_formed=well_formed)


def _enabling(request: OidRequest) -> Asked:
    return Asked(request, enables=True)


PARSERS: dict[int, Callable[[OidRequest], Asked]] = {
    Oid.OID_TCP_TASK_OFFLOAD: _enabling,
    Oid.OID_OFFLOAD_ENCAPSULATION: _enabling,
    Oid.OID_TCP_OFFLOAD_PARAMETERS: _enabling,
    Oid.OID_TCP_TASK_IPSEC_ADD_SA: _add_sa,
    Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA: _add_udpesp_sa,
    Oid.OID_TCP_TASK_IPSEC_DELETE_SA: _delete_sa,
    Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA: _delete_udpesp_sa,
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA: _add_v2,
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: _add_v2_ex,
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: _delete_v2,
}


def _direction(flags: int) -> Table:
    return Table.INBOUND if flags == OffloadSaFlags.OFFLOAD_INBOUND_SA else Table.OUTBOUND


def _layers(elements: tuple[OffloadSecurityAssociation, ...]) -> tuple[Layer, ...]:
    esp = OffloadOperation.ENCRYPT
    return tuple((PROTOCOL_ESP if one.operation == esp else PROTOCOL_AH, one.spi) for one in elements)


def _wanted_v2(add: IpsecOffloadV2AddSa | IpsecOffloadV2AddSaEx) -> Wanted:
    inbound = add.flags & IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_INBOUND
    elements: tuple[IpsecOffloadV2SecurityAssociation, ...] = add.sec_assoc[: add.num_ext_hdrs]
    esp = IpsecOffloadV2Operation.IPsecOffloadV2Esp
    layers = tuple((PROTOCOL_ESP if one.operation == esp else PROTOCOL_AH, one.spi) for one in elements)
    return Wanted(Table.INBOUND if inbound else Table.OUTBOUND, layers, add.offload_handle)


def _linked(request: OidRequest, structure: type[Linked]) -> list[Linked]:
    """The elements of a list, as far as its pointers stay in the buffer and visit no place twice (A-38)."""
    elements: list[Linked] = []
    visited: set[int] = set()
    offset = 0
    while 0 <= offset < len(request.buffer) and offset not in visited:
        visited.add(offset)
        elements.append(structure.unpack(memoryview(request.buffer)[offset:], request.abi))
        if not elements[-1].next:
            break
        offset = elements[-1].next - request.base
    return elements
