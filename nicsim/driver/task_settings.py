"""OID_TCP_OFFLOAD_PARAMETERS and the tasks beside IPsec: which checksums and large sends it takes away or gives back.

A driver whose large sends were switched off drops what still asks for one ("Offloading the Segmentation of Large TCP
Packets"). Versions and families of large sends are switched one by one, checksums by kind, family and direction.

Called by configuration.py, enabling.py, reports.py and sending.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from nicsim.capabilities import OtherTasks
from offload_oids.task_offload import NdisTaskTcpIpChecksum, TaskChecksumV4, TaskChecksumV6

NO_CHANGE, DISABLED, SEND_ONLY, RECEIVE_ONLY = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """The members of NDIS_OFFLOAD_PARAMETERS that are not about IPsec, with its numbers; 0: never set, so all is on."""

    ipv4_checksum: int = NO_CHANGE
    tcp_ipv4_checksum: int = NO_CHANGE
    udp_ipv4_checksum: int = NO_CHANGE
    tcp_ipv6_checksum: int = NO_CHANGE
    udp_ipv6_checksum: int = NO_CHANGE
    lso_v1: int = NO_CHANGE
    lso_v2_ipv4: int = NO_CHANGE
    lso_v2_ipv6: int = NO_CHANGE

    def after(self, asked: object) -> TaskSettings:
        """The settings after a set: members that are zero, or that the revision does not have, change nothing."""
        members = {one.name: getattr(asked, one.name, NO_CHANGE) for one in fields(TaskSettings)}
        return replace(self, **{name: value for name, value in members.items() if value != NO_CHANGE})

    def allows_large_send(self, version: int, ip_version: int) -> bool:
        """Whether large sends of this version and family are on; version 1 is for IPv4 only."""
        if version == 1:
            return self.lso_v1 != DISABLED and ip_version == 4
        return (self.lso_v2_ipv4 if ip_version == 4 else self.lso_v2_ipv6) != DISABLED


def not_claimed(claims: OtherTasks, settings: TaskSettings) -> str | None:
    """The first member that enables what the card does not claim."""
    checksum = claims.checksum
    ipv4, ipv6 = (checksum.v4_transmit, checksum.v4_receive), (checksum.v6_transmit, checksum.v6_receive)
    large_send = bool(claims.large_send.max_off_load_size)
    for member, claimed in (
        ("ipv4_checksum", any(one.ip_checksum for one in ipv4)),
        ("tcp_ipv4_checksum", any(one.tcp_checksum for one in ipv4)),
        ("udp_ipv4_checksum", any(one.udp_checksum for one in ipv4)),
        ("tcp_ipv6_checksum", any(one.tcp_checksum for one in ipv6)),
        ("udp_ipv6_checksum", any(one.udp_checksum for one in ipv6)),
        ("lso_v1", large_send),
        ("lso_v2_ipv4", large_send),
        ("lso_v2_ipv6", large_send and claims.large_send_ipv6),
    ):
        if getattr(settings, member) > DISABLED and not claimed:
            return member
    return None


def checksums_left(claims: OtherTasks, settings: TaskSettings) -> OtherTasks:
    """What the settings leave of the checksums."""
    task = claims.checksum
    ipv4 = settings.ipv4_checksum, settings.tcp_ipv4_checksum, settings.udp_ipv4_checksum
    ipv6 = settings.tcp_ipv6_checksum, settings.udp_ipv6_checksum
    sending, receiving = (DISABLED, RECEIVE_ONLY), (DISABLED, SEND_ONLY)
    left = NdisTaskTcpIpChecksum(
        _left_v4(task.v4_transmit, sending, *ipv4),
        _left_v4(task.v4_receive, receiving, *ipv4),
        _left_v6(task.v6_transmit, sending, *ipv6),
        _left_v6(task.v6_receive, receiving, *ipv6),
    )
    return replace(claims, checksum=left)


def _left_v4(claims: TaskChecksumV4, off: tuple[int, int], ip: int, tcp: int, udp: int) -> TaskChecksumV4:
    return replace(
        claims,
        ip_checksum=int(claims.ip_checksum and ip not in off),
        tcp_checksum=int(claims.tcp_checksum and tcp not in off),
        udp_checksum=int(claims.udp_checksum and udp not in off),
    )


def _left_v6(claims: TaskChecksumV6, off: tuple[int, int], tcp: int, udp: int) -> TaskChecksumV6:
    return replace(
        claims,
        tcp_checksum=int(claims.tcp_checksum and tcp not in off),
        udp_checksum=int(claims.udp_checksum and udp not in off),
    )
