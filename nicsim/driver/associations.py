"""Version 1 associations: OID_TCP_TASK_IPSEC_ADD_SA, DELETE_SA, ADD_UDPESP_SA and DELETE_UDPESP_SA.

Parser entries follow "UDP-ESP SAs and Parser Entries": shared by type and port, deleted only when the host names
them. The driver does not count (N-PE-4). What an add must look like is in association_checks.py.

Called through control.py.
"""

from __future__ import annotations

from dataclasses import replace

from nicsim.boundary import OidRequest, OidResult, ParserRow, Table, UdpType
from nicsim.driver.association_checks import (
    INVALID,
    Filter,
    checked_rows,
    counted_elements,
    direction_of,
    require_parsing,
    require_udp,
    udp_type_of,
)
from nicsim.driver.handles import VERSION_1_PARSER_SET, DriverState, OffloadedSa, ParserEntry
from nicsim.driver.operations import Accepted, RowOperation, Steps, clear
from nicsim.driver.placement import given_up, place, require_room, wire_ordered, write_all
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus
from offload_oids.ipsec_sa import (
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
    OffloadIpsecUdpespEncaptypeEntry,
)


def add_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_ADD_SA: take on an association whose ESP is native."""
    # UNPACK
    add = OffloadIpsecAddSa.unpack(request.buffer, request.abi)
    asked = wire_ordered(state, add, request.abi)

    # CHECK
    rows = checked_rows(state, Filter.of_add_sa(asked), counted_elements(asked), asked.key_mat, UdpType.NATIVE)
    table = direction_of(asked.flags)
    require_room(state, table, rows, parser=False)

    # ACT
    placed = place(state, table, rows)
    handle = state.new_handle()
    answer = added(request, replace(add, offload_handle=handle))
    yield Accepted(answer.buffer)
    yield from write_all(state, table, placed)
    state.associations[handle] = OffloadedSa(handle, 1, table, placed)

    # ANSWER
    return answer


def add_udpesp_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_ADD_UDPESP_SA: take on an association, and the parser entry that finds its packets."""
    # UNPACK
    add = OffloadIpsecAddUdpespSa.unpack(request.buffer, request.abi)
    asked = wire_ordered(state, add, request.abi)

    # CHECK
    table, port = direction_of(asked.flags), asked.encap_type_entry.dst_encap_port
    sa_filter = Filter.of_add_udpesp_sa(asked)
    require_udp(asked.protocol, sa_filter.portion)
    entry = known_entry(state, asked) if table is Table.INBOUND else None
    udp_type = entry.udp_type if entry else udp_type_of(asked.encap_type_entry.udp_encap_type)
    # An outbound add neither finds, creates nor keeps an entry (N-PE-3, A-37).
    new_entry = table is Table.INBOUND and entry is None
    if new_entry:
        require_parsing(state, udp_type, port, sa_filter.portion)
    rows = checked_rows(state, sa_filter, counted_elements(asked), asked.key_mat, udp_type)
    require_room(state, table, rows, parser=new_entry)

    # ACT
    placed = place(state, table, rows)
    before: tuple[RowOperation, ...] = ()
    if new_entry:
        entry = ParserEntry(state.new_handle(), udp_type, port, state.slots[Table.PARSER].take())
        before = (RowOperation(Table.PARSER, entry.slot, ParserRow(port, udp_type, VERSION_1_PARSER_SET)),)
    handle = state.new_handle()
    entry_handle = entry.handle if entry else add.encap_type_entry_offld_handle
    answer = added(request, replace(add, offload_handle=handle, encap_type_entry_offld_handle=entry_handle))
    yield Accepted(answer.buffer)
    yield from write_all(state, table, placed, before)
    if new_entry and entry:
        state.parser_entries[entry.handle] = entry
    state.associations[handle] = OffloadedSa(handle, 1, table, placed)

    # ANSWER
    return answer


def delete_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_DELETE_SA: drop an association; one added by ADD_UDPESP_SA leaves its entry (A-21)."""
    # UNPACK
    delete = OffloadIpsecDeleteSa.unpack(request.buffer, request.abi)

    # CHECK
    association = known_association(state, delete.offload_handle)

    # ACT
    del state.associations[association.handle]
    state.withdrawn.discard(association.handle)
    done = yield from clear(state, given_up(state, association))

    # ANSWER
    return deleted(request, delete.pack(request.abi), done)


def delete_udpesp_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA: drop an association, and the parser entry if it is named (N-DEL-2, 3)."""
    # UNPACK
    delete = OffloadIpsecDeleteUdpespSa.unpack(request.buffer, request.abi)

    # CHECK: both handles, before anything changes
    association = known_association(state, delete.offload_handle)
    entry_handle = delete.encap_type_entry_offld_handle
    if entry_handle and entry_handle not in state.parser_entries:
        raise RequestRefused(INVALID, Reason.UNKNOWN_PARSER_HANDLE, f"no parser entry has handle 0x{entry_handle:x}")

    # ACT: the host counts, so an entry it names goes, whoever still needs it (N-PE-4, A-7)
    del state.associations[association.handle]
    state.withdrawn.discard(association.handle)
    rows = given_up(state, association)
    if entry_handle:
        rows.append((Table.PARSER, state.parser_entries.pop(entry_handle).slot))
    done = yield from clear(state, rows)

    # ANSWER
    return deleted(request, delete.pack(request.abi), done)


# --- what the handles name ------------------------------------------------------------------------------------


def known_association(state: DriverState, handle: int) -> OffloadedSa:
    """The version 1 association that a handle names (A-7)."""
    association = state.associations.get(handle)
    if association is None or association.version != 1:
        raise RequestRefused(INVALID, Reason.UNKNOWN_SA_HANDLE, f"no association has handle 0x{handle:x}")
    return association


def known_entry(state: DriverState, add: OffloadIpsecAddUdpespSa) -> ParserEntry | None:
    """The entry that the add names or shares; None when it must be created (N-ADD-2, N-ADD-3, N-ADD-4, A-5)."""
    handle = add.encap_type_entry_offld_handle
    if handle:
        if handle not in state.parser_entries:
            raise RequestRefused(INVALID, Reason.UNKNOWN_PARSER_HANDLE, f"no parser entry has handle 0x{handle:x}")
        entry = state.parser_entries[handle]
        if not state.capabilities.readings.parser_handle_wins:
            require_same_entry(entry, add.encap_type_entry)
        return entry
    return state.entry_for(udp_type_of(add.encap_type_entry.udp_encap_type), add.encap_type_entry.dst_encap_port)


def require_same_entry(entry: ParserEntry, said: OffloadIpsecUdpespEncaptypeEntry) -> None:
    """What EncapTypeEntry says is what the handle names (A-5)."""
    if (entry.udp_type, entry.port) != (udp_type_of(said.udp_encap_type), said.dst_encap_port):
        raise RequestRefused(
            INVALID,
            Reason.ENTRY_DIFFERS,
            f"entry 0x{entry.handle:x} is for ({entry.udp_type.name}, {entry.port}), EncapTypeEntry says another",
        )


# --- how they answer -----------------------------------------------------------------------------------------


def added(request: OidRequest, add: OffloadIpsecAddSa | OffloadIpsecAddUdpespSa) -> OidResult:
    """The same structure goes back with its handles filled in (N-SA-17)."""
    answer = add.pack(request.abi)
    return OidResult(NdisStatus.SUCCESS, answer + request.buffer[len(answer) :], bytes_read=len(answer))


def deleted(request: OidRequest, read: bytes, done: bool) -> OidResult:
    """A delete has nothing to write back; a row that would not clear fails it (N-DEL-4)."""
    if done:
        return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=len(read))
    return OidResult(NdisStatus.FAILURE, request.buffer, len(read), reason=Reason.ROW_CLEAR_FAILED)
