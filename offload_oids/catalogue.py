"""Every structure and every constant of the package by its C name, collected from where they are declared."""

from enum import IntEnum, IntFlag
from types import ModuleType

from offload_oids import (
    ipsec_sa,
    ipsec_sa_v2,
    ndis_offload,
    ndis_requests,
    offload_parameters,
    oids,
    packet_info,
    packet_tasks,
    status,
    task_offload,
    wire_constants,
)
from offload_oids.ipsec_sa import (
    OffloadAlgoInfo,
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
    OffloadIpsecUdpespEncaptypeEntry,
    OffloadSecurityAssociation,
)
from offload_oids.ipsec_sa_v2 import (
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AddSaEx,
    IpsecOffloadV2AlgorithmInfo,
    IpsecOffloadV2DeleteSa,
    IpsecOffloadV2SecurityAssociation,
    IpsecOffloadV2UpdateSa,
)
from offload_oids.layout import Structure, c_name
from offload_oids.ndis_offload import (
    NdisIpsecOffloadV1,
    NdisIpsecOffloadV2,
    NdisObjectHeader,
    NdisOffloadEncapsulation,
    NdisOffloadRevision1,
    NdisOffloadRevision2,
    NdisOffloadRevision3,
    NdisTcpIpChecksumOffload,
    NdisTcpLargeSendOffloadV1,
    NdisTcpLargeSendOffloadV2,
)
from offload_oids.ndis_requests import (
    NdisMiniportAdapterOffloadAttributes,
    NdisOidRequest,
    NdisStatusIndication,
)
from offload_oids.offload_parameters import (
    NdisOffloadParametersRevision1,
    NdisOffloadParametersRevision2,
    NdisOffloadParametersRevision3,
)
from offload_oids.packet_info import (
    NdisIpsecOffloadV1NetBufferListInfo,
    NdisIpsecOffloadV2HeaderNetBufferListInfo,
    NdisIpsecOffloadV2NetBufferListInfo,
    NdisIpsecOffloadV2TunnelNetBufferListInfo,
    NdisIpsecPacketInfo,
    NdisPacketExtension,
)
from offload_oids.packet_tasks import (
    NdisTcpIpChecksumNetBufferListInfo,
    NdisTcpIpChecksumPacketInfo,
    NdisTcpLargeSendOffloadNetBufferListInfo,
)
from offload_oids.task_offload import (
    NdisEncapsulationFormat,
    NdisTaskIpsec,
    NdisTaskOffload,
    NdisTaskOffloadHeader,
    NdisTaskTcpIpChecksum,
    NdisTaskTcpLargeSend,
)

ALL_STRUCTURES: tuple[type[Structure], ...] = (
    NdisEncapsulationFormat,
    NdisTaskOffloadHeader,
    NdisTaskOffload,
    NdisTaskIpsec,
    NdisTaskTcpIpChecksum,
    NdisTaskTcpLargeSend,
    NdisIpsecPacketInfo,
    NdisPacketExtension,
    NdisTcpIpChecksumPacketInfo,
    OffloadAlgoInfo,
    OffloadSecurityAssociation,
    OffloadIpsecAddSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecUdpespEncaptypeEntry,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteUdpespSa,
    NdisObjectHeader,
    NdisIpsecOffloadV1,
    NdisIpsecOffloadV1NetBufferListInfo,
    NdisTcpIpChecksumNetBufferListInfo,
    NdisTcpLargeSendOffloadNetBufferListInfo,
    NdisTcpIpChecksumOffload,
    NdisTcpLargeSendOffloadV1,
    NdisTcpLargeSendOffloadV2,
    NdisOffloadRevision1,
    NdisOffloadRevision2,
    NdisOffloadRevision3,
    NdisOffloadParametersRevision1,
    NdisOffloadParametersRevision2,
    NdisOffloadParametersRevision3,
    NdisIpsecOffloadV2,
    IpsecOffloadV2AlgorithmInfo,
    IpsecOffloadV2SecurityAssociation,
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AddSaEx,
    IpsecOffloadV2DeleteSa,
    IpsecOffloadV2UpdateSa,
    NdisIpsecOffloadV2NetBufferListInfo,
    NdisIpsecOffloadV2TunnelNetBufferListInfo,
    NdisIpsecOffloadV2HeaderNetBufferListInfo,
    NdisOffloadEncapsulation,
    NdisOidRequest,
    NdisStatusIndication,
    NdisMiniportAdapterOffloadAttributes,
)

STRUCTURES: dict[str, type[Structure]] = {c_name(structure): structure for structure in ALL_STRUCTURES}


def _constants(module: ModuleType) -> dict[str, int]:
    """The members of a module's enumerations, and its plain integers."""
    found: dict[str, int] = {}
    for name, value in vars(module).items():
        if isinstance(value, type) and issubclass(value, IntEnum | IntFlag) and value.__module__ == module.__name__:
            prefix = "NDIS_STATUS_" if value is status.NdisStatus else ""
            found |= {prefix + member: int(constant) for member, constant in value.__members__.items()}
        elif type(value) is int:
            found[name] = value
    return found


_MODULES = (
    status,
    task_offload,
    packet_info,
    packet_tasks,
    ipsec_sa,
    ipsec_sa_v2,
    ndis_offload,
    ndis_requests,
    offload_parameters,
    oids,
    wire_constants,
)

CONSTANTS: dict[str, int] = {name: value for module in _MODULES for name, value in _constants(module).items()}
