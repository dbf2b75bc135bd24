"""The tasks beside IPsec: how a driver reports checksums and large sends, and what of them the card may do.

5.1 has them as tasks of OID_TCP_TASK_OFFLOAD, 6.x as members of NDIS_OFFLOAD; the claims are the same data. They wait
for the same enabling as IPsec does.

Called by enabling.py and reports.py.
"""

from __future__ import annotations

from dataclasses import replace

from nicsim.boundary import CardControl, ChecksumTask
from nicsim.capabilities import OtherTasks, Version2Claims
from nicsim.driver.task_settings import TaskSettings
from offload_oids.ndis_offload import (
    ChecksumIpv4,
    ChecksumIpv6,
    LargeSendV1Ipv4,
    LargeSendV2Ipv4,
    LargeSendV2Ipv6,
    NdisOffloadFlags,
    NdisTcpIpChecksumOffload,
    NdisTcpLargeSendOffloadV1,
    NdisTcpLargeSendOffloadV2,
)
from offload_oids.task_offload import TaskChecksumV4, TaskChecksumV6

# --- reporting in NDIS 6.x ----------------------------------------------------------------------------------------


def checksum_report(tasks: OtherTasks, ipv4: int, ipv6: int) -> NdisTcpIpChecksumOffload:
    """Member Checksum of NDIS_OFFLOAD, for the encapsulations of each family; a block without claims is all zero."""
    task = tasks.checksum
    return NdisTcpIpChecksumOffload(
        _ipv4_block(task.v4_transmit, ipv4),
        _ipv4_block(task.v4_receive, ipv4),
        _ipv6_block(task.v6_transmit, ipv6),
        _ipv6_block(task.v6_receive, ipv6),
    )


def _ipv4_block(claims: TaskChecksumV4, encapsulations: int) -> ChecksumIpv4:
    if not bits_of(claims):
        return ChecksumIpv4()
    return ChecksumIpv4(
        encapsulations,
        claims.ip_options_supported,
        claims.tcp_options_supported,
        claims.tcp_checksum,
        claims.udp_checksum,
        claims.ip_checksum,
    )


def _ipv6_block(claims: TaskChecksumV6, encapsulations: int) -> ChecksumIpv6:
    if not bits_of(claims):
        return ChecksumIpv6()
    return ChecksumIpv6(
        encapsulations,
        claims.ip_options_supported,
        claims.tcp_options_supported,
        claims.tcp_checksum,
        claims.udp_checksum,
    )


def large_send_reports(
    tasks: OtherTasks, settings: TaskSettings, ipv4: int, ipv6: int
) -> tuple[NdisTcpLargeSendOffloadV1, NdisTcpLargeSendOffloadV2]:
    """Members LsoV1 and LsoV2 of NDIS_OFFLOAD."""
    task = tasks.large_send
    size, least = task.max_off_load_size, task.min_segment_count
    block1, block4, block6 = LargeSendV1Ipv4(), LargeSendV2Ipv4(), LargeSendV2Ipv6()
    if size and settings.allows_large_send(1, 4):
        block1 = LargeSendV1Ipv4(ipv4, size, least, task.tcp_options, task.ip_options)
    if size and settings.allows_large_send(2, 4):
        block4 = LargeSendV2Ipv4(ipv4, size, least)
    if size and tasks.large_send_ipv6 and settings.allows_large_send(2, 6):
        block6 = LargeSendV2Ipv6(ipv6, size, least, task.ip_options, task.tcp_options)
    return NdisTcpLargeSendOffloadV1(block1), NdisTcpLargeSendOffloadV2(block4, block6)


def coexistence(claims: Version2Claims | None) -> int:
    """Flags of NDIS_OFFLOAD: which checksums the card does beside version 2 (N-V2-5)."""
    flags = NdisOffloadFlags(0)
    if claims and claims.tcp_checksum:
        flags |= NdisOffloadFlags.IPSEC_OFFLOAD_V2_AND_TCP_CHECKSUM_COEXISTENCE
    if claims and claims.udp_checksum:
        flags |= NdisOffloadFlags.IPSEC_OFFLOAD_V2_AND_UDP_CHECKSUM_COEXISTENCE
    return int(flags)


# --- what the card may do -----------------------------------------------------------------------------------------


def with_tasks(control: CardControl, tasks: OtherTasks, ipv4: int, ipv6: int) -> CardControl:
    """The control register with the tasks in it, for each family that has an encapsulation enabled."""
    checksum, large_send = tasks.checksum, tasks.large_send
    options = (ChecksumTask.TCP_OPTIONS if large_send.tcp_options else 0) | (
        ChecksumTask.IP_OPTIONS if large_send.ip_options else 0
    )
    return replace(
        control,
        ipv4_send_checksums=bits_of(checksum.v4_transmit) if ipv4 else 0,
        ipv6_send_checksums=bits_of(checksum.v6_transmit) if ipv6 else 0,
        ipv4_receive_checksums=bits_of(checksum.v4_receive) if ipv4 else 0,
        ipv6_receive_checksums=bits_of(checksum.v6_receive) if ipv6 else 0,
        ipv4_large_send=large_send.max_off_load_size if ipv4 else 0,
        ipv6_large_send=large_send.max_off_load_size if ipv6 and tasks.large_send_ipv6 else 0,
        large_send_segments=large_send.min_segment_count,
        large_send_options=int(options),
    )


def bits_of(claims: TaskChecksumV4 | TaskChecksumV6) -> int:
    """The claims of one family and direction as `ChecksumTask` bits."""
    ip = claims.ip_checksum if isinstance(claims, TaskChecksumV4) else 0
    pairs = (
        (ip, ChecksumTask.IP),
        (claims.tcp_checksum, ChecksumTask.TCP),
        (claims.udp_checksum, ChecksumTask.UDP),
        (claims.ip_options_supported, ChecksumTask.IP_OPTIONS),
        (claims.tcp_options_supported, ChecksumTask.TCP_OPTIONS),
    )
    return int(sum(bit for claimed, bit in pairs if claimed))
