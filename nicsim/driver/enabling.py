"""Enabling: the requests that ask what the card can do, and switch it on and off.

NDIS 5.1 asks and enables with OID_TCP_TASK_OFFLOAD (N-CAP-*). NDIS 6.x reads the driver's report and enables with
OID_OFFLOAD_ENCAPSULATION, after which the driver indicates its new configuration (N-CP6-*). Before either, and after
a disabling set, the card processes nothing; associations stay where they are (A-13).

Called through control.py.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import astuple, replace

from nicsim.boundary import CardControl, Combination, OidRequest, OidResult, Table
from nicsim.capabilities import OtherTasks, Version1Claims, Version2Claims
from nicsim.driver.handles import OWN_PARSER_ROW, Configuration, DriverState, version2_left
from nicsim.driver.operations import Operation, RowOperation, Steps, clear
from nicsim.driver.other_tasks import with_tasks
from nicsim.driver.reports import Task, claimed_tasks, current_config, current_report, leaves, task_entry
from nicsim.driver.withdrawal import exchange_rows
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus
from offload_oids.layout import c_name, size_of, size_through
from offload_oids.ndis_offload import (
    FamilyEncapsulation,
    IpsecOffloadV2UdpEsp,
    NdisEncapsulations,
    NdisObjectHeader,
    NdisObjectType,
    NdisOffloadEncapsulation,
    NdisOffloadSet,
)
from offload_oids.task_offload import (
    NDIS_TASK_OFFLOAD_VERSION,
    NdisEncapsulation,
    NdisTaskIpsec,
    NdisTaskOffload,
    NdisTaskOffloadHeader,
    NdisTaskTcpIpChecksum,
    NdisTaskTcpLargeSend,
    UdpEspParseFlags,
    build_tasks,
    walk_tasks,
)

ETHERNET = NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_802_3
TAGGED = NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q
RAW_IP = NdisEncapsulations.NDIS_ENCAPSULATION_NULL
SNAP = NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_LLC_SNAP_ROUTED

LINK_BITS: dict[int, int] = {
    # 5.1 has no value of its own for tagged Ethernet; "any other type" stands for links without a header (N-CAP-3).
    NdisEncapsulation.IEEE_802_3_Encapsulation: ETHERNET | TAGGED,
    NdisEncapsulation.LLC_SNAP_ROUTED_Encapsulation: SNAP,
    NdisEncapsulation.UNSPECIFIED_Encapsulation: RAW_IP,
}

NOTHING_ENABLED = Version1Claims(
    des=False, triple_des=False, null_esp=False, md5=False, sha_1=False,
    transport=False, tunnel=False, send=False, receive=False,
)  # fmt: skip

# --- NDIS 5.1 --------------------------------------------------------------------------------------------------


def query_task_offload(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_OFFLOAD query: the tasks this card can do on the encapsulation the header asks about (N-CAP-6)."""
    # UNPACK
    header = NdisTaskOffloadHeader.unpack(request.buffer, request.abi)

    # CHECK
    require_header(header, request.abi)
    bits = link_bits(state, header)
    tasks = claimed_tasks(state.capabilities) if bits else {}

    # ANSWER: nothing to do in ACT
    yield from ()
    entries = [task_entry(number, task, request.abi) for number, task in tasks.items()]
    answer = build_tasks(header, entries, request.abi)
    if len(request.buffer) < len(answer):
        return OidResult(
            NdisStatus.BUFFER_TOO_SHORT, request.buffer, bytes_needed=len(answer), reason=Reason.BUFFER_LENGTH
        )
    return OidResult(NdisStatus.SUCCESS, answer + request.buffer[len(answer) :], bytes_written=len(answer))


def set_task_offload(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_OFFLOAD set: enable the tasks of the chain, or with no chain disable all (N-CAP-11, N-CAP-12)."""
    # UNPACK
    header, entries = walk_tasks(request.buffer, request.abi)

    # CHECK
    require_header(header, request.abi)
    control, enabled, tasks = CardControl(), None, OtherTasks()
    if entries:
        if state.task_offload_enabled and state.capabilities.readings.second_enabling_set_fails:
            raise RequestRefused(
                NdisStatus.FAILURE, Reason.ALREADY_ENABLED, "a disabling set must come before another enabling one"
            )
        enabled, tasks = requested_claims(state, header, entries, request.abi)
        if enabled.receive:
            control = CardControl(
                ipv4_encapsulations=link_bits(state, header),
                ipv4_options=int(enabled.ipv4_options),
                combinations=combinations(enabled, None),
                both_or_neither=int(not state.capabilities.readings.outer_layer_alone_is_processed),
            )
        bits = link_bits(state, header)
        control = with_tasks(control, tasks, bits, bits)

    # ACT
    yield control
    state.control = control
    state.task_offload_enabled = bool(entries)
    state.enabled_version1 = enabled
    state.enabled_tasks = tasks

    # ANSWER
    return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=chain_end(header, entries, request.abi))


def chain_end(header: NdisTaskOffloadHeader, entries: tuple[NdisTaskOffload, ...], abi: Abi) -> int:
    """How many bytes of the buffer a task chain reaches."""
    end, at = size_of(NdisTaskOffloadHeader, abi), header.offset_first_task
    for entry in entries:
        end = max(end, at + len(entry.pack(abi)))
        at += entry.offset_next_task
    return end


def require_header(header: NdisTaskOffloadHeader, abi: Abi) -> None:
    """Version 1 and the size of the structure, which doubles as a version (N-CAP-2, A-12)."""
    size = size_of(NdisTaskOffloadHeader, abi)
    if header.version != NDIS_TASK_OFFLOAD_VERSION or header.size != size:
        raise RequestRefused(
            NdisStatus.INVALID_DATA,
            Reason.TASK_HEADER_WRONG,
            f"the header must say version {NDIS_TASK_OFFLOAD_VERSION} and size {size}, "
            f"not {header.version} and {header.size}",
        )


def link_bits(state: DriverState, header: NdisTaskOffloadHeader) -> int:
    """The claimed encapsulation bits that a 5.1 encapsulation stands for; zero for one that is not claimed."""
    return LINK_BITS.get(header.encapsulation_format.encapsulation, 0) & state.capabilities.encapsulations


def requested_claims(
    state: DriverState, header: NdisTaskOffloadHeader, entries: tuple[NdisTaskOffload, ...], abi: Abi
) -> tuple[Version1Claims, OtherTasks]:
    """What an enabling set asks for, task by task; it may ask for no more than the query said (N-CAP-9, N-CAP-11)."""
    claimed = claimed_tasks(state.capabilities)
    if not link_bits(state, header) or not claimed:
        raise RequestRefused(
            NdisStatus.NOT_SUPPORTED,
            Reason.ENCAPSULATION_NOT_CLAIMED,
            f"no task is claimed for encapsulation {header.encapsulation_format.encapsulation}",
        )
    enabled, tasks = NOTHING_ENABLED, OtherTasks()
    for entry in entries:
        task = claimed.get(entry.task)
        if task is None:
            raise RequestRefused(
                NdisStatus.NOT_SUPPORTED, Reason.TASK_NOT_CLAIMED, f"task {entry.task} was not reported"
            )
        size = size_of(type(task), abi)
        if entry.task_buffer_length < size:  # the buffer is long enough, its contents lie
            raise RequestRefused(
                NdisStatus.INVALID_DATA,
                Reason.BUFFER_CONTENTS,
                f"TaskBufferLength must be {size}, not {entry.task_buffer_length}",
            )
        asked = type(task).unpack(entry.task_buffer, abi)
        if not is_within(asked, task):
            raise RequestRefused(
                NdisStatus.NOT_SUPPORTED,
                Reason.TASK_NOT_CLAIMED,
                f"{c_name(type(task))} asks for more than was reported",
            )
        if isinstance(asked, NdisTaskIpsec):
            enabled = enabled_claims(asked)
        elif isinstance(asked, NdisTaskTcpIpChecksum):
            tasks = replace(tasks, checksum=asked)
        else:
            tasks = replace(tasks, large_send=asked)
    return enabled, tasks


def enabled_claims(task: NdisTaskIpsec) -> Version1Claims:
    """NDIS_TASK_IPSEC of an enabling set as claims; zero means not enabled (N-CAP-9)."""
    esp, hashes = task.v4_esp, task.v4_ah
    return Version1Claims(
        des=bool(esp.des),
        triple_des=bool(esp.triple_des),
        null_esp=bool(esp.null_esp),
        md5=bool(hashes.md5),
        sha_1=bool(hashes.sha_1),
        transport=bool(esp.transport),
        tunnel=bool(esp.tunnel),
        send=bool(esp.send),
        receive=bool(esp.receive),
        ah=bool(hashes.transport or hashes.tunnel),
        ah_esp_combined=bool(task.supported.ah_esp_combined),
        transport_tunnel_combined=bool(task.supported.transport_tunnel_combined),
        ipv4_options=bool(task.supported.v4_options),
        udp_esp=task.supported.reserved,
    )


def is_within(asked: Task, claimed: Task) -> bool:
    """Whether all that is asked for is claimed: bit by bit, and for a large send by its sizes too."""
    if isinstance(asked, NdisTaskTcpLargeSend) and isinstance(claimed, NdisTaskTcpLargeSend):
        return (
            asked.version == claimed.version
            and asked.max_off_load_size <= claimed.max_off_load_size
            and asked.min_segment_count >= claimed.min_segment_count
            and asked.tcp_options <= claimed.tcp_options
            and asked.ip_options <= claimed.ip_options
        )
    pairs = zip(leaves(astuple(asked)), leaves(astuple(claimed)), strict=True)
    return all(want & ~have == 0 for want, have in pairs)


# --- NDIS 6.x --------------------------------------------------------------------------------------------------


def set_encapsulation(state: DriverState, request: OidRequest) -> Steps:
    """OID_OFFLOAD_ENCAPSULATION set: turn everything configured on for an encapsulation, or off (N-CP6-5, N-CP6-6)."""
    # UNPACK
    asked = NdisOffloadEncapsulation.unpack(request.buffer, request.abi)

    # CHECK
    size = size_through(NdisOffloadEncapsulation, "ipv6.header_size", request.abi)
    if asked.header != NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, size):
        raise RequestRefused(
            NdisStatus.INVALID_DATA, Reason.HEADER_WRONG, f"the header must say type 0xA8, revision 1, size {size}"
        )
    ipv4, ipv6 = state.configuration.encapsulations or (0, 0)
    bits = encapsulation_bits(state, asked.ipv4, ipv4), encapsulation_bits(state, asked.ipv6, ipv6)
    wanted = replace(state.configuration, encapsulations=bits)

    # ACT
    yield from configure(state, wanted)

    # ANSWER
    return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=size)


def configure(state: DriverState, wanted: Configuration) -> Generator[Operation, bool | None, None]:
    """Apply a configuration and indicate it (N-CP6-1); where the card refuses a row that it needs, nothing changes."""
    own_row = needs_own_parser_row(state, wanted)
    if own_row:
        if not state.slots[Table.PARSER].free():
            raise RequestRefused(
                NdisStatus.RESOURCES, Reason.PARSER_TABLE_FULL, "version 2 needs a parser row, and all are taken"
            )
        slot = state.slots[Table.PARSER].take()
        if not (yield RowOperation(Table.PARSER, slot, OWN_PARSER_ROW)):
            state.slots[Table.PARSER].give_back(slot)
            raise RequestRefused(
                NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED, f"the card refused parser row {slot} for version 2"
            )
    try:
        yield from exchange_rows(state, wanted)
    except RequestRefused:
        if own_row:
            yield from clear(state, [(Table.PARSER, slot)])
        raise
    if own_row:
        state.own_parser_row = slot
    state.configuration = wanted
    state.control = control_for(state)
    yield state.control
    ipv4, ipv6 = wanted.encapsulations or (state.capabilities.encapsulations,) * 2
    yield current_config(current_report(state, ipv4, ipv6), state.abi)


def needs_own_parser_row(state: DriverState, wanted: Configuration) -> bool:
    """Version 2 UDP-ESP is claimed and enabled, and its row for port 4500 is not there yet (A-34)."""
    claims = version2_left(state.capabilities.version2, wanted.ipsec_v2)
    enabled = any(wanted.encapsulations or ())
    return enabled and claims is not None and bool(claims.udp_esp) and state.own_parser_row is None


def encapsulation_bits(state: DriverState, family: FamilyEncapsulation, before: int) -> int:
    """The encapsulations that are on for one address family after this set (N-CP6-5)."""
    if family.enabled == NdisOffloadSet.NDIS_OFFLOAD_SET_NO_CHANGE:
        return before
    if family.enabled == NdisOffloadSet.NDIS_OFFLOAD_SET_OFF:
        return 0
    if family.enabled != NdisOffloadSet.NDIS_OFFLOAD_SET_ON:
        raise RequestRefused(
            NdisStatus.INVALID_DATA, Reason.BUFFER_CONTENTS, f"Enabled must be 0, 1 or 2, not {family.enabled}"
        )
    if not family.encapsulation_type & state.capabilities.encapsulations:
        raise RequestRefused(
            NdisStatus.INVALID_PARAMETER,
            Reason.ENCAPSULATION_NOT_CLAIMED,
            f"no offload supports encapsulation 0x{family.encapsulation_type:x}",
        )
    return family.encapsulation_type & state.capabilities.encapsulations


def control_for(state: DriverState) -> CardControl:
    """The control register for the configuration; with no encapsulation left, the card is off."""
    ipv4, ipv6 = state.configuration.encapsulations or (0, 0)
    control = with_tasks(ipsec_control(state, ipv4, ipv6), state.tasks, ipv4, ipv6)
    return replace(control, header_split=state.capabilities.header_split) if ipv4 or ipv6 else control


def ipsec_control(state: DriverState, ipv4: int, ipv6: int) -> CardControl:
    """The part of the control register that is about IPsec."""
    version1, version2 = state.version1, state.version2
    if version1 is None and version2 is None:
        return CardControl()
    options = bool(version1 and version1.ipv4_options) or bool(version2 and version2.ip_options)
    extension_headers = bool(version2 and version2.extension_headers)
    return CardControl(
        ipv4,
        ipv6,
        int(bool(ipv4) and options),
        int(bool(ipv6) and extension_headers),
        combinations(version1, version2) if ipv4 or ipv6 else 0,
        int(bool(ipv4 or ipv6) and not state.capabilities.readings.outer_layer_alone_is_processed),
    )


# fmt: off
VERSION_1_COMBINATIONS = {
    UdpEspParseFlags.IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER:        Combination.TUNNEL_IN_UDP_OTHER,
    UdpEspParseFlags.IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_IKE:          Combination.TUNNEL_IN_UDP_IKE,
    UdpEspParseFlags.IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_OTHER: Combination.TRANSPORT_IN_UDP_OTHER,
    UdpEspParseFlags.IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_IKE:   Combination.TRANSPORT_IN_UDP_IKE,
}
VERSION_2_COMBINATIONS = {
    IpsecOffloadV2UdpEsp.IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL: Combination.TUNNEL_IN_UDP_OTHER,
    IpsecOffloadV2UdpEsp.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL:
        Combination.TRANSPORT_IN_UDP_OTHER,
}
# fmt: on


def combinations(version1: Version1Claims | None, version2: Version2Claims | None) -> int:
    """The packets of two portions that the card may work on: TRANSPORT_TUNNEL_COMBINED, and the subtype (A-4)."""
    enabled = Combination(0)
    if version1 and version1.transport_tunnel_combined:
        enabled |= Combination.NATIVE
        for flag, combination in VERSION_1_COMBINATIONS.items():
            enabled |= combination if version1.udp_esp & flag else Combination(0)
    if version2 and version2.transport_tunnel_combined:
        enabled |= Combination.NATIVE
        for flag2, combination in VERSION_2_COMBINATIONS.items():
            enabled |= combination if version2.udp_esp & flag2 else Combination(0)
    return int(enabled)
