"""What the transport offloads, and how: the host's side of capabilities, add and delete requests, and parser entries.

An association goes to version 1 if version 1 can express it and the card claims what it needs, else to version 2,
else it stays in software, with the reason. The list of parser entries is kept here, per NIC, with its reference
counts: the transport counts, the driver does not (N-PE-4).

Called by the replay and, later, by the transport after a negotiation. Talks to the NIC through
`nicsim.boundary.Binding` only, in packed buffers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from nicsim.boundary import Binding, OidCompletion, OidRequest, OidResult, RequestKind, UdpType
from nicsim.capabilities import NdisVersion, Readings
from nicsim.errors import OffloadProtocolError
from nicsim.host.offload_requests import (
    add_sa_buffer,
    add_udpesp_sa_buffer,
    add_v2_buffer,
    default_header,
    update_v2_buffers,
)
from nicsim.host.software_ipsec import Flow, SecurityAssociation
from nicsim.host.suitable import InSoftware, both, why_not_version_1, why_not_version_2
from nicsim.reasons import Reason
from nicsim.wire.esp import PROTOCOL_AH
from offload_oids import NdisStatus, Oid
from offload_oids.ipsec_sa import (
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
)
from offload_oids.ipsec_sa_v2 import (
    IpsecOffloadV2AddSa,
    IpsecOffloadV2DeleteSa,
)
from offload_oids.layout import size_of, size_through
from offload_oids.ndis_offload import (
    FamilyEncapsulation,
    NdisEncapsulations,
    NdisIpsecOffloadV1,
    NdisIpsecOffloadV2,
    NdisObjectHeader,
    NdisObjectType,
    NdisOffloadEncapsulation,
    NdisOffloadRevision1,
    NdisOffloadRevision2,
    NdisOffloadSet,
    ipsec_v1_of_task,
)
from offload_oids.packet_info import (
    IpsecV1Transmit,
    IpsecV2TunnelTransmit,
    NdisIpsecOffloadV1NetBufferListInfo,
    NdisIpsecOffloadV2TunnelNetBufferListInfo,
    NdisIpsecPacketInfo,
    PacketInfoTransmit,
)
from offload_oids.task_offload import (
    EncapsulationFlags,
    NdisEncapsulation,
    NdisEncapsulationFormat,
    NdisTask,
    NdisTaskIpsec,
    NdisTaskOffloadHeader,
    build_tasks,
    walk_tasks,
)

QUERY_BUFFER_LENGTH = 512
DELETE_OF = {
    Oid.OID_TCP_TASK_IPSEC_ADD_SA: Oid.OID_TCP_TASK_IPSEC_DELETE_SA,
    Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA: Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA,
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA: Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
}
NOT_DELETED = frozenset({NdisStatus.NOT_ACCEPTED, NdisStatus.RESET_IN_PROGRESS, NdisStatus.REQUEST_ABORTED})
"""A delete so answered has not deleted anything; one that failed has: the driver marked the association (N-DEL-4)."""
POLLS = 1000
"""How often a pending request is asked after before it counts as lost."""


class LinkMedium(Enum):
    """The link that the host enables offload for."""

    ETHERNET = "ethernet"
    LLC_SNAP = "llc-snap"
    RAW_IP = "raw-ip"


@dataclass(frozen=True, slots=True)
class Framing:
    """How IP is framed on a link: the one format of 5.1, the formats of 6.x, and the bytes before the IP header."""

    encapsulation: NdisEncapsulation
    encapsulations: int
    header_size: int


# Ethernet has all of its framings at once; 5.1 can say one only, and that one stands for tagged frames too (N-CAP-3).
FRAMINGS = {
    LinkMedium.ETHERNET: Framing(
        NdisEncapsulation.IEEE_802_3_Encapsulation,
        NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_802_3
        | NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q
        | NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_LLC_SNAP_ROUTED,
        14,
    ),
    LinkMedium.LLC_SNAP: Framing(
        NdisEncapsulation.LLC_SNAP_ROUTED_Encapsulation,
        NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_LLC_SNAP_ROUTED,
        22,
    ),
    LinkMedium.RAW_IP: Framing(
        NdisEncapsulation.UNSPECIFIED_Encapsulation, NdisEncapsulations.NDIS_ENCAPSULATION_NULL, 0
    ),
}


Layer = tuple[int, int, bytes]
"""Protocol (50 ESP, 51 AH), SPI and destination: what a receiver finds an association by."""


@dataclass(slots=True)
class HostParserEntry:
    """One entry of the transport's list: what it says, the driver's handle for it, and how many use it (N-PE-4)."""

    udp_type: UdpType
    port: int
    handle: int
    references: int


@dataclass(frozen=True, slots=True)
class Offloaded:
    """An association that the NIC took on."""

    oid: Oid
    handle: int
    association: SecurityAssociation
    parser_entry: HostParserEntry | None = None


@dataclass(slots=True)
class Offloader:
    """The offload decisions for one NIC. `enable` comes first; nothing is offloaded without it."""

    binding: Binding
    ndis: NdisVersion
    ipsec_enabled: bool = True
    """The host's registry value EnabledOffload; False keeps IPsec off and leaves other tasks on (N-CAP-17)."""
    parser_entries: list[HostParserEntry] = field(default_factory=list)
    enabled: bool = False
    version1: NdisIpsecOffloadV1 = field(default_factory=NdisIpsecOffloadV1)
    version2: NdisIpsecOffloadV2 = field(default_factory=NdisIpsecOffloadV2)
    readings: Readings = field(default_factory=Readings)
    version2_offloaded: int = 0
    last_request_id: int = 0
    inbound: dict[Layer, Offloaded] = field(default_factory=dict)
    """Every offloaded inbound association by each of its layers, which must be unique (N-SA-20)."""
    outbound: dict[Flow, list[Offloaded]] = field(default_factory=dict)
    """Every offloaded outbound association by what it has in common with the inbound one of its pair."""
    not_enabled_detail: str = ""

    # --- enabling ----------------------------------------------------------------------------------------------

    def enable(self, medium: LinkMedium) -> None:
        """Ask what the NIC can do on this link, and enable all of it (N-CAP-*, N-CP6-*)."""
        if self.ndis is NdisVersion.NDIS_5_1:
            self._enable_5_1(medium)
        else:
            self._enable_6(medium)

    def _enable_5_1(self, medium: LinkMedium) -> None:
        """Query OID_TCP_TASK_OFFLOAD, then set it back with everything it reported."""
        framing = FRAMINGS[medium]
        header = NdisTaskOffloadHeader(
            size=size_of(NdisTaskOffloadHeader, self.binding.abi),
            encapsulation_format=NdisEncapsulationFormat(
                framing.encapsulation,
                EncapsulationFlags(fixed_header_size=1),
                framing.header_size,
            ),
        )
        query = header.pack(self.binding.abi).ljust(QUERY_BUFFER_LENGTH, b"\0")
        answer = self._request(RequestKind.QUERY, Oid.OID_TCP_TASK_OFFLOAD, query)
        if answer.status != NdisStatus.SUCCESS:
            self.not_enabled_detail = f"the query of OID_TCP_TASK_OFFLOAD ended with {answer.status.name}"
            return
        _, entries = walk_tasks(answer.buffer[: answer.bytes_written], self.binding.abi)
        # Of a task that is reported in several versions, the first (N-CAP-6).
        tasks = {entry.task: entry for entry in reversed(entries)}
        ipsec = tasks.get(NdisTask.IpSecNdisTask)
        if ipsec is None:
            self.not_enabled_detail = "the NIC reports no IPsec task for this link"
            return
        wanted = [tasks[number] for number in sorted(tasks) if self.ipsec_enabled or number != NdisTask.IpSecNdisTask]
        chain = build_tasks(header, wanted, self.binding.abi)
        result = self._request(RequestKind.SET, Oid.OID_TCP_TASK_OFFLOAD, chain)
        self.enabled = result.status == NdisStatus.SUCCESS
        self.not_enabled_detail = "" if self.enabled else f"the enabling set ended with {result.status.name}"
        task = NdisTaskIpsec.unpack(ipsec.task_buffer, self.binding.abi)
        self.version1 = ipsec_v1_of_task(task)

    def _enable_6(self, medium: LinkMedium) -> None:
        """Read NDIS_OFFLOAD, then set OID_OFFLOAD_ENCAPSULATION for every framing it names on this link."""
        status = self.read_configuration()
        if status != NdisStatus.SUCCESS:
            self.not_enabled_detail = f"OID_TCP_OFFLOAD_CURRENT_CONFIG ended with {status.name}"
            return
        framing = FRAMINGS[medium]
        wanted = framing.encapsulations
        claimed = (self.version1.supported.encapsulation | self.version2.encapsulation) & wanted
        on = FamilyEncapsulation(NdisOffloadSet.NDIS_OFFLOAD_SET_ON, claimed or wanted, framing.header_size)
        size = size_through(NdisOffloadEncapsulation, "ipv6.header_size", self.binding.abi)
        header = NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, size)
        setting = NdisOffloadEncapsulation(header, on, on).pack(self.binding.abi)
        result = self._request(RequestKind.SET, Oid.OID_OFFLOAD_ENCAPSULATION, setting)
        self.enabled = result.status == NdisStatus.SUCCESS
        self.not_enabled_detail = "" if self.enabled else f"OID_OFFLOAD_ENCAPSULATION ended with {result.status.name}"

    def read_configuration(self) -> NdisStatus:
        """Take what the NIC can do now from its report: after enabling, and after every change of it (N-CP6-5)."""
        answer = self._request(RequestKind.QUERY, Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG, bytes(QUERY_BUFFER_LENGTH))
        if answer.status == NdisStatus.SUCCESS:
            report = NdisOffloadRevision1.unpack(answer.buffer, self.binding.abi)
            self.version1 = report.ipsec_v1
            if report.header.revision >= 2:
                self.version2 = NdisOffloadRevision2.unpack(answer.buffer, self.binding.abi).ipsec_v2
        return answer.status

    def forget_all(self, detail: str) -> None:
        """The NIC is gone, with everything that was on it (N-RST-6)."""
        self.parser_entries.clear()
        self.inbound.clear()
        self.outbound.clear()
        self.version2_offloaded = 0
        self.enabled, self.not_enabled_detail = False, detail

    # --- adding ------------------------------------------------------------------------------------------------

    def add(self, sa: SecurityAssociation, *, version: int | None = None) -> Offloaded | InSoftware:
        """Offload an association, or say why it stays in software; `version` 1 or 2 leaves the other one out."""
        if not self.ipsec_enabled:
            return InSoftware(Reason.OFFLOAD_NOT_ENABLED, "the host's EnabledOffload is 0")
        if not self.enabled:
            return InSoftware(Reason.OFFLOAD_NOT_ENABLED, self.not_enabled_detail)
        if sa.inbound and any(layer in self.inbound for layer in layers_of(sa)):
            return InSoftware(Reason.SPI_NOT_UNIQUE, f"SPI 0x{sa.spi:08x} is taken")
        outcome = self._add(sa, version)
        if isinstance(outcome, InSoftware):
            return outcome
        if sa.inbound:
            self.inbound.update(dict.fromkeys(layers_of(sa), outcome))
        else:
            self.outbound.setdefault(sa.flow, []).append(outcome)
        return outcome

    def _add(self, sa: SecurityAssociation, version: int | None) -> Offloaded | InSoftware:
        """By version 1 if it can, else by version 2, else not."""
        if sa.esn and not self.version2.extended_sequence_numbers:
            return InSoftware(Reason.ESN_NOT_CLAIMED, "neither version of the offload has them on this card")
        why_not_1 = why_not_version_1(self.version1, sa)
        why_not_2 = why_not_version_2(self.version2, sa, self.version2_offloaded)
        if version != 2:
            if why_not_1 is None:
                return self._add_version_1(sa)
            if version == 1:
                return why_not_1
        if why_not_2 is None:
            return self._add_version_2(sa)
        if version == 2 or why_not_1 is None:
            return why_not_2
        if not (self.version2.esp or self.version2.ah):
            return why_not_1
        return why_not_2 if not self.version1.ipv4_esp.receive else both(why_not_1, why_not_2)

    def _add_version_1(self, sa: SecurityAssociation) -> Offloaded | InSoftware:
        if sa.udp_type is UdpType.NATIVE:
            result = self._request(
                RequestKind.SET, Oid.OID_TCP_TASK_IPSEC_ADD_SA, add_sa_buffer(sa).pack(self.binding.abi)
            )
            if result.status != NdisStatus.SUCCESS:
                return refused(result)
            handle = OffloadIpsecAddSa.unpack(result.buffer, self.binding.abi).offload_handle
            return Offloaded(Oid.OID_TCP_TASK_IPSEC_ADD_SA, handle, sa)
        # Outbound associations use no entry.
        return self._add_inbound_udpesp(sa) if sa.inbound else self._add_udpesp(sa, 0)[0]

    def _add_udpesp(self, sa: SecurityAssociation, entry_handle: int) -> tuple[Offloaded | InSoftware, int]:
        """The outcome of ADD_UDPESP_SA, and the handle of the entry that the driver found, made or was given."""
        buffer = add_udpesp_sa_buffer(sa, entry_handle).pack(self.binding.abi)
        result = self._request(RequestKind.SET, Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, buffer)
        if result.status != NdisStatus.SUCCESS:
            return refused(result), 0
        answer = OffloadIpsecAddUdpespSa.unpack(result.buffer, self.binding.abi)
        offloaded = Offloaded(Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, answer.offload_handle, sa)
        return offloaded, answer.encap_type_entry_offld_handle

    def _add_inbound_udpesp(self, sa: SecurityAssociation) -> Offloaded | InSoftware:
        entry = self._entry_of(sa)
        if entry is not None:
            # The count goes up before the add and down again if it fails (N-ADD-7).
            entry.references += 1
            outcome, _ = self._add_udpesp(sa, entry.handle)
            if isinstance(outcome, InSoftware):
                entry.references -= 1
                return outcome
        else:
            # A private copy, which joins the list only if the add succeeds (N-ADD-1, N-ADD-5, N-ADD-6).
            outcome, handle = self._add_udpesp(sa, 0)
            if isinstance(outcome, InSoftware):
                return outcome
            entry = HostParserEntry(sa.udp_type, sa.dst_port, handle, 1)
            self.parser_entries.append(entry)
        return replace(outcome, parser_entry=entry)

    def _entry_of(self, sa: SecurityAssociation) -> HostParserEntry | None:
        for entry in self.parser_entries:
            if entry.udp_type is sa.udp_type and entry.port == sa.dst_port:
                return entry
        return None

    def _add_version_2(self, sa: SecurityAssociation) -> Offloaded | InSoftware:
        oid = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA
        result = self._request(RequestKind.SET, oid, add_v2_buffer(sa, self.binding.abi))
        if result.status != NdisStatus.SUCCESS:
            return refused(result)
        self.version2_offloaded += 1
        return Offloaded(oid, IpsecOffloadV2AddSa.unpack(result.buffer, self.binding.abi).offload_handle, sa)

    def update(self, offloaded: Offloaded, high: int) -> OidResult:
        """Tell the NIC the upper half of the sequence numbers of a version 2 association, a request a layer (N-V2-13).

        The answer is that of the last request, or of the first that failed.
        """
        result = OidResult(NdisStatus.SUCCESS)
        for buffer in update_v2_buffers(offloaded.association, offloaded.handle, high, self.binding.abi):
            result = self._request(RequestKind.SET, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, buffer)
            if result.status != NdisStatus.SUCCESS:
                break
        return result

    def keep_up(self, offloaded: Offloaded, sequence: int) -> Reason | None:
        """Have the NIC know the upper half of a sequence number; why it does not, if it does not (N-V2-13).

        Inbound the number is the highest that was accepted, outbound the one to be sent.
        """
        sa, high = offloaded.association, sequence >> 32
        if not sa.esn or high == sa.sequence_high:
            return None
        result = self.update(offloaded, high)
        if result.status != NdisStatus.SUCCESS:
            return refused(result).reason
        sa.sequence_high = high
        return None

    # --- deleting ----------------------------------------------------------------------------------------------

    def delete(self, offloaded: Offloaded, *, by_oid: Oid | None = None) -> OidResult:
        """Take an association off the NIC, and its parser entry with the last one that uses it (N-DEL-1 to N-DEL-3).

        `by_oid` takes another request than the one that goes with the add (A-21).
        """
        entry = offloaded.parser_entry
        if entry is not None:
            entry.references -= 1  # before the request (N-DEL-1)
        oid = by_oid or DELETE_OF[offloaded.oid]
        result = self._request(RequestKind.SET, oid, self._delete_buffer(oid, offloaded))
        if result.status in NOT_DELETED:
            if entry is not None:
                entry.references += 1
            return result
        self._forget(offloaded)
        # A delete that cannot name the entry leaves it, in both lists: a later add finds it there.
        if entry is not None and entry.references == 0 and oid == Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA:
            self.parser_entries.remove(entry)
        return result

    def _delete_buffer(self, oid: Oid, offloaded: Offloaded) -> bytes:
        abi, entry = self.binding.abi, offloaded.parser_entry
        if oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA:
            header = default_header(IpsecOffloadV2DeleteSa, "offload_handle", abi)
            return IpsecOffloadV2DeleteSa(header, 0, offloaded.handle).pack(abi)
        if oid == Oid.OID_TCP_TASK_IPSEC_DELETE_SA:
            return OffloadIpsecDeleteSa(offloaded.handle).pack(abi)
        entry_handle = entry.handle if entry is not None and entry.references == 0 else 0
        return OffloadIpsecDeleteUdpespSa(offloaded.handle, entry_handle).pack(abi)

    def _forget(self, offloaded: Offloaded) -> None:
        """The NIC no longer has an association."""
        sa = offloaded.association
        if offloaded.oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA:
            self.version2_offloaded -= 1
        if sa.inbound:
            for layer in layers_of(sa):
                self.inbound.pop(layer, None)
            return
        of_flow = self.outbound.get(sa.flow, [])
        of_flow[:] = [one for one in of_flow if one.handle != offloaded.handle]
        if not of_flow:
            self.outbound.pop(sa.flow, None)

    def answer_delete_request(self, inbound: Offloaded) -> list[tuple[Offloaded, InSoftware]]:
        """SaDeleteReq came with a packet of this association: delete it, then the outbound one of its pair (N-SA-22).

        The answer has those that are in software from now on. One that the driver would not delete yet stays; so does
        everything where the association has gone already.
        """
        sa = inbound.association
        known = self.inbound.get(layers_of(sa)[0])
        if known is None or known.handle != inbound.handle:
            return []
        outbound = self.matching_outbound(sa)
        moved = []
        for offloaded in (inbound, *([outbound] if outbound else [])):
            result = self.delete(offloaded, by_oid=self._requested_delete_of(offloaded))
            if result.status not in NOT_DELETED:
                why = InSoftware(Reason.DELETE_REQUESTED, f"asked for with SPI 0x{sa.spi:08x}", result.status)
                moved.append((offloaded, why))
        return moved

    def _requested_delete_of(self, offloaded: Offloaded) -> Oid:
        """Only OID_TCP_TASK_IPSEC_DELETE_SA is named for this; that UDP-ESP has its own is a reading (A-21)."""
        udp_esp = offloaded.oid == Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA
        if udp_esp and not self.readings.delete_request_keeps_the_oid:
            return Oid.OID_TCP_TASK_IPSEC_DELETE_SA
        return DELETE_OF[offloaded.oid]

    def matching_outbound(self, inbound: SecurityAssociation) -> Offloaded | None:
        """The offloaded outbound association of a pair: the negotiated partner, else the oldest of the same flow."""
        partner = inbound.partner
        candidates = self.outbound.get((partner or inbound).flow, [])
        if partner is not None:
            return next((one for one in candidates if one.association is partner), None)
        return candidates[0] if candidates else None

    # --- requests ----------------------------------------------------------------------------------------------

    def _request(self, kind: RequestKind, oid: Oid, buffer: bytes) -> OidResult:
        """One request, waited for: a pending one is polled for its completion, which may take one poll a row."""
        self.last_request_id += 1
        request = OidRequest(kind, oid, buffer, self.binding.abi, request_id=self.last_request_id)
        result = self.binding.request(request)
        if result.status != NdisStatus.PENDING:
            return result
        for _ in range(POLLS):
            for event in self.binding.poll():
                if isinstance(event, OidCompletion) and event.request_id == request.request_id:
                    return event.result
        raise OffloadProtocolError(f"{oid.name} is pending, and nothing completed it")

    def transmit_word(self, handle: int) -> bytes:
        """The out-of-band word of a frame that the NIC is to seal with the association of this handle (N-TX-1)."""
        if self.ndis is NdisVersion.NDIS_5_1:
            return NdisIpsecPacketInfo(transmit=PacketInfoTransmit(offload_handle=handle)).pack(self.binding.abi)
        arm = IpsecV1Transmit(offload_handle=handle)
        return NdisIpsecOffloadV1NetBufferListInfo(transmit=arm).pack(self.binding.abi)

    def transmit_words(self, handle: int, tunnel_handle: int = 0) -> tuple[bytes, bytes]:
        """The words of a frame that may have a tunnel portion too: 5.1 names both in one, 6.1 in two (N-TX-1, N-V2-14).

        The second is empty where there is none.
        """
        if not tunnel_handle:
            return self.transmit_word(handle), b""
        if self.ndis is NdisVersion.NDIS_5_1:
            both_handles = PacketInfoTransmit(handle, tunnel_handle)
            return NdisIpsecPacketInfo(transmit=both_handles).pack(self.binding.abi), b""
        arm = IpsecV2TunnelTransmit(tunnel_handle=tunnel_handle)
        tunnel = NdisIpsecOffloadV2TunnelNetBufferListInfo(transmit=arm).pack(self.binding.abi)
        return self.transmit_word(handle), tunnel


def layers_of(sa: SecurityAssociation) -> list[Layer]:
    """ESP or AH, and the AH around ESP where there is one."""
    around = [(PROTOCOL_AH, sa.ah.spi, sa.dst)] if sa.ah else []
    return [(sa.protocol, sa.spi, sa.dst), *around]


def refused(result: OidResult) -> InSoftware:
    """A failed add; a driver that gives no reason leaves us with its status."""
    reason = result.reason or Reason.NO_SUITABLE_VERSION
    return InSoftware(reason, result.detail or f"the driver answered {result.status.name}", result.status)
