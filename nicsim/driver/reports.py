"""What the driver says of its card: the tasks of NDIS 5.1, and NDIS_OFFLOAD of 6.x with the indication that carries it.

Used by enabling.py and device.py.
"""

from __future__ import annotations

from dataclasses import astuple

from nicsim.boundary import StatusIndication
from nicsim.capabilities import Capabilities, Version1Claims, Version2Claims
from nicsim.driver.handles import DriverState
from nicsim.driver.other_tasks import checksum_report, coexistence, large_send_reports
from nicsim.driver.task_settings import TaskSettings
from offload_oids import Abi, NdisStatus
from offload_oids.layout import Structure, size_of
from offload_oids.ndis_offload import (
    NdisIpsecOffloadV1,
    NdisIpsecOffloadV2,
    NdisObjectHeader,
    NdisObjectType,
    NdisOffloadRevision1,
    NdisOffloadRevision2,
    NdisTcpIpChecksumOffload,
    NdisTcpLargeSendOffloadV1,
    NdisTcpLargeSendOffloadV2,
    ipsec_v1_of_task,
)
from offload_oids.ndis_requests import build_status_indication
from offload_oids.task_offload import (
    NDIS_TASK_OFFLOAD_VERSION,
    NdisTask,
    NdisTaskIpsec,
    NdisTaskOffload,
    NdisTaskTcpIpChecksum,
    NdisTaskTcpLargeSend,
    TaskIpsecSupported,
    TaskIpsecV4Ah,
    TaskIpsecV4Esp,
)

INDICATION_BASE = 0x2000
"""Where the driver keeps what it indicates; pointers count from there."""

# --- NDIS 5.1 --------------------------------------------------------------------------------------------------

Task = NdisTaskIpsec | NdisTaskTcpIpChecksum | NdisTaskTcpLargeSend


def claimed_tasks(capabilities: Capabilities) -> dict[int, Task]:
    """Every task the card claims, by its number; one that is all zero is not claimed (N-CAP-6, N-CAP-7)."""
    other = capabilities.other_tasks
    tasks: dict[int, Task] = {}
    if any(leaves(astuple(other.checksum))):
        tasks[NdisTask.TcpIpChecksumNdisTask] = other.checksum
    if (ipsec := task_ipsec(capabilities.version1)) is not None:
        tasks[NdisTask.IpSecNdisTask] = ipsec
    if other.large_send.max_off_load_size:
        tasks[NdisTask.TcpLargeSendNdisTask] = other.large_send
    return tasks


def leaves(values: tuple[object, ...]) -> list[int]:
    """The numbers of a nested tuple, in order."""
    flat: list[int] = []
    for value in values:
        flat.extend(leaves(value) if isinstance(value, tuple) else [value] if isinstance(value, int) else [])
    return flat


def task_entry(number: int, task: Task, abi: Abi) -> NdisTaskOffload:
    """The chain entry of a task (N-CAP-7, N-CAP-8)."""
    buffer = task.pack(abi)
    return NdisTaskOffload(
        version=NDIS_TASK_OFFLOAD_VERSION, task=number, task_buffer_length=len(buffer), task_buffer=buffer
    )


def task_ipsec(claims: Version1Claims | None) -> NdisTaskIpsec | None:
    """The claims in the words of NDIS 5.1 (N-CAP-9, N-CAP-10)."""
    if claims is None:
        return None
    return NdisTaskIpsec(
        supported=TaskIpsecSupported(
            ah_esp_combined=int(claims.ah_esp_combined),
            transport_tunnel_combined=int(claims.transport_tunnel_combined),
            v4_options=int(claims.ipv4_options),
            reserved=claims.udp_esp,
        ),
        # The hashes are usable for ESP too; AH itself is not claimed while Transport and Tunnel are zero here.
        v4_ah=TaskIpsecV4Ah(
            md5=int(claims.md5),
            sha_1=int(claims.sha_1),
            transport=int(claims.ah and claims.transport),
            tunnel=int(claims.ah and claims.tunnel),
            send=int(claims.ah and claims.send),
            receive=int(claims.ah and claims.receive),
        ),
        v4_esp=TaskIpsecV4Esp(
            des=int(claims.des),
            triple_des=int(claims.triple_des),
            null_esp=int(claims.null_esp),
            transport=int(claims.transport),
            tunnel=int(claims.tunnel),
            send=int(claims.send),
            receive=int(claims.receive),
        ),
    )


# --- NDIS 6.x --------------------------------------------------------------------------------------------------


def current_report(state: DriverState, ipv4: int, ipv6: int) -> bytes:
    """What is on now, with the encapsulations of each family."""
    settings = state.configuration.tasks
    other = (checksum_report(state.tasks, ipv4, ipv6), *large_send_reports(state.tasks, settings, ipv4, ipv6))
    return offload_report(state, state.version1, state.version2, other, ipv4, ipv6)


def hardware_report(state: DriverState) -> bytes:
    """What the card can do, whatever is on (N-CP6-1)."""
    claims = state.capabilities
    both = claims.encapsulations, claims.encapsulations
    tasks = claims.other_tasks
    other = (checksum_report(tasks, *both), *large_send_reports(tasks, TaskSettings(), *both))
    return offload_report(state, claims.version1, claims.version2, other, *both)


OtherReports = tuple[NdisTcpIpChecksumOffload, NdisTcpLargeSendOffloadV1, NdisTcpLargeSendOffloadV2]


def offload_report(
    state: DriverState,
    version1: Version1Claims | None,
    version2: Version2Claims | None,
    other: OtherReports,
    ipv4: int,
    ipv6: int,
) -> bytes:
    """NDIS_OFFLOAD of the NDIS version, with the encapsulations of each family (N-CP6-1 to N-CP6-4)."""
    task = task_ipsec(version1)
    v1 = ipsec_v1_of_task(task, ipv4) if task else NdisIpsecOffloadV1()
    v2 = ipsec_v2_report(version2, ipv4 | ipv6)
    checksum, lso_v1, lso_v2 = other
    report: Structure
    if state.capabilities.version2 is None:
        header = NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_OFFLOAD, 1, size_of(NdisOffloadRevision1, state.abi))
        report = NdisOffloadRevision1(header, checksum, lso_v1, v1, lso_v2)
    else:
        header = NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_OFFLOAD, 2, size_of(NdisOffloadRevision2, state.abi))
        report = NdisOffloadRevision2(header, checksum, lso_v1, v1, lso_v2, coexistence(version2), v2)
    return report.pack(state.abi)


def ipsec_v2_report(claims: Version2Claims | None, encapsulations: int) -> NdisIpsecOffloadV2:
    """The claims in the words of NDIS 6.1 (N-V2-1)."""
    if claims is None:
        return NdisIpsecOffloadV2()
    return NdisIpsecOffloadV2(
        encapsulation=encapsulations,
        ipv6_supported=int(claims.ipv6),
        ipv4_options=int(claims.ip_options),
        ipv6_non_ipsec_extension_headers=int(claims.extension_headers),
        ah=int(claims.ah),
        esp=int(claims.esp),
        ah_esp_combined=int(claims.ah_esp_combined),
        transport=int(claims.transport),
        tunnel=int(claims.tunnel),
        transport_tunnel_combined=int(claims.transport_tunnel_combined),
        lso_supported=int(claims.lso_supported),
        extended_sequence_numbers=int(claims.extended_sequence_numbers),
        udp_esp=claims.udp_esp,
        authentication_algorithms=claims.authentication,
        encryption_algorithms=claims.encryption,
        sa_offload_capacity=claims.sa_capacity,
    )


def current_config(report: bytes, abi: Abi) -> StatusIndication:
    """NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG, which carries NDIS_OFFLOAD (N-CP6-1)."""
    status = NdisStatus.TASK_OFFLOAD_CURRENT_CONFIG
    return StatusIndication(
        status, report, build_status_indication(status, report, abi, INDICATION_BASE), INDICATION_BASE
    )
