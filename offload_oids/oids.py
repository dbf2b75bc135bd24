"""OID numbers, and what goes into and comes back from the thirteen requests of IPsec offload (digest section 1)."""

from dataclasses import dataclass
from enum import Enum, IntEnum

from offload_oids.ipsec_sa import (
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
)
from offload_oids.ipsec_sa_v2 import (
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AddSaEx,
    IpsecOffloadV2DeleteSa,
    IpsecOffloadV2UpdateSa,
)
from offload_oids.layout import Structure
from offload_oids.ndis_offload import (
    NdisOffloadEncapsulation,
    NdisOffloadRevision1,
    NdisOffloadRevision2,
    NdisOffloadRevision3,
)
from offload_oids.offload_parameters import (
    NdisOffloadParametersRevision1,
    NdisOffloadParametersRevision2,
    NdisOffloadParametersRevision3,
)
from offload_oids.task_offload import NdisTaskOffload, NdisTaskOffloadHeader


class Oid(IntEnum):
    """Object identifiers, by their C names."""

    OID_GEN_CURRENT_PACKET_FILTER = 0x0001010E
    OID_802_3_MULTICAST_LIST = 0x01010103
    OID_OFFLOAD_ENCAPSULATION = 0x0101010A

    OID_TCP_TASK_OFFLOAD = 0xFC010201
    OID_TCP_TASK_IPSEC_ADD_SA = 0xFC010202
    OID_TCP_TASK_IPSEC_DELETE_SA = 0xFC010203
    OID_TCP_SAN_SUPPORT = 0xFC010204
    OID_TCP_TASK_IPSEC_ADD_UDPESP_SA = 0xFC010205
    OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA = 0xFC010206
    OID_TCP_OFFLOAD_CURRENT_CONFIG = 0xFC01020B
    OID_TCP_OFFLOAD_PARAMETERS = 0xFC01020C
    OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES = 0xFC01020D

    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA = 0xFC030202
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA = 0xFC030203
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA = 0xFC030204
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX = 0xFC030205

    OID_PNP_CAPABILITIES = 0xFD010100
    OID_PNP_SET_POWER = 0xFD010101
    OID_PNP_QUERY_POWER = 0xFD010102


class Direction(Enum):
    """Which way information goes: up to the host (query) or down to the driver (set)."""

    QUERY = "query"
    SET = "set"


@dataclass(frozen=True, slots=True)
class OidInfo:
    """What one OID takes and gives."""

    directions: tuple[Direction, ...]
    """The requests that exist, whoever answers them."""
    takes: tuple[type[Structure], ...] = ()
    """What the buffer holds on the way in; revisions of one structure stand side by side."""
    answers: tuple[type[Structure], ...] = ()
    """What a query puts into the buffer."""
    writes: tuple[str, ...] = ()
    """The members of the buffer that a set fills in, by their Python names."""
    direct: bool = False
    """Comes through the direct OID interface, not serialised against anything (N-OID-5)."""
    is_list: bool = False
    """The buffer holds a list, linked by Next."""
    answered_by_ndis: tuple[Direction, ...] = ()
    """The requests that NDIS answers from what the driver reported; the driver never sees them."""


QUERY, SET = Direction.QUERY, Direction.SET
_CAPABILITIES = (NdisOffloadRevision1, NdisOffloadRevision2, NdisOffloadRevision3)
_PARAMETERS = (NdisOffloadParametersRevision1, NdisOffloadParametersRevision2, NdisOffloadParametersRevision3)

OID_INFO: dict[Oid, OidInfo] = {
    Oid.OID_TCP_TASK_OFFLOAD: OidInfo(
        (QUERY, SET),
        takes=(NdisTaskOffloadHeader, NdisTaskOffload),
        answers=(NdisTaskOffloadHeader, NdisTaskOffload),
    ),
    Oid.OID_TCP_TASK_IPSEC_ADD_SA: OidInfo((SET,), takes=(OffloadIpsecAddSa,), writes=("offload_handle",)),
    Oid.OID_TCP_TASK_IPSEC_DELETE_SA: OidInfo((SET,), takes=(OffloadIpsecDeleteSa,)),
    Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA: OidInfo(
        (SET,), takes=(OffloadIpsecAddUdpespSa,), writes=("offload_handle", "encap_type_entry_offld_handle")
    ),
    Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA: OidInfo((SET,), takes=(OffloadIpsecDeleteUdpespSa,)),
    Oid.OID_TCP_OFFLOAD_CURRENT_CONFIG: OidInfo((QUERY,), answers=_CAPABILITIES, answered_by_ndis=(QUERY,)),
    Oid.OID_TCP_OFFLOAD_PARAMETERS: OidInfo((SET,), takes=_PARAMETERS),
    Oid.OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES: OidInfo((QUERY,), answers=_CAPABILITIES, answered_by_ndis=(QUERY,)),
    Oid.OID_OFFLOAD_ENCAPSULATION: OidInfo(
        (QUERY, SET),
        takes=(NdisOffloadEncapsulation,),
        answers=(NdisOffloadEncapsulation,),
        answered_by_ndis=(QUERY,),
    ),
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA: OidInfo(
        (SET,), takes=(IpsecOffloadV2AddSa,), writes=("offload_handle",), direct=True, is_list=True
    ),
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: OidInfo(
        (SET,), takes=(IpsecOffloadV2DeleteSa,), direct=True, is_list=True
    ),
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA: OidInfo((SET,), takes=(IpsecOffloadV2UpdateSa,), direct=True),
    Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: OidInfo(
        (SET,), takes=(IpsecOffloadV2AddSaEx,), writes=("offload_handle",), direct=True
    ),
}
