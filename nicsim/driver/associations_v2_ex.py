"""OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: one version 2 association, with its keys at a place that the host chose.

The structure is that of ADD_SA without Next and KeyData; so the request is read as a list of one, and all checks
and rows are those of associations_v2.py (N-V2-11). SourceSwitchPortId and VlanId name a port of a virtual switch,
which this card does not have; they are not looked at.

Called through control.py.
"""

from __future__ import annotations

from dataclasses import replace

from nicsim.boundary import OidRequest, OidResult
from nicsim.driver.associations_v2 import checked_association, take_on
from nicsim.driver.handles import DriverState
from nicsim.driver.operations import Accepted, Steps
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa, IpsecOffloadV2AddSaEx
from offload_oids.layout import Abi, size_through
from offload_oids.ndis_offload import NdisObjectType


def add_sa_ex(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: take on one association, or fail."""
    # UNPACK
    ex = IpsecOffloadV2AddSaEx.unpack(request.buffer, request.abi)
    require_layout(ex, request.abi)
    add = as_list_element(ex, ex.key_bytes(request.buffer))

    # CHECK: there is no list, so a refusal of this one is the answer
    association = checked_association(state, add, request)

    # ACT
    answer = replace(ex, offload_handle=association.handle).pack(request.abi)
    buffer = answer + request.buffer[len(answer) :]
    yield Accepted(buffer)
    yield from take_on(state, association)

    # ANSWER
    used = max(len(answer), ex.key_offset + ex.key_length)
    return OidResult(NdisStatus.SUCCESS, buffer, bytes_read=used)


def require_layout(ex: IpsecOffloadV2AddSaEx, abi: Abi) -> None:
    """The header of N-V2-6, and keys that lie behind the structure (N-V2-10)."""
    size = size_through(IpsecOffloadV2AddSaEx, "vlan_id", abi)
    header = ex.header
    if (header.type, header.revision) != (NdisObjectType.NDIS_OBJECT_TYPE_DEFAULT, 1) or header.size < size:
        raise RequestRefused(
            NdisStatus.INVALID_DATA,
            Reason.HEADER_WRONG,
            f"the header must say type 0x80, revision 1, size {size} or more",
        )
    if ex.key_length and ex.key_offset < size:
        raise RequestRefused(
            NdisStatus.INVALID_DATA,
            Reason.KEY_LENGTH,
            f"KeyOffset {ex.key_offset} lies inside the structure of {size} bytes",
        )


def as_list_element(ex: IpsecOffloadV2AddSaEx, key_data: bytes) -> IpsecOffloadV2AddSa:
    """The same association in the words of ADD_SA."""
    return IpsecOffloadV2AddSa(
        header=ex.header,
        num_ext_hdrs=ex.num_ext_hdrs,
        flags=ex.flags,
        endpoints=ex.endpoints,
        udp_esp_encapsulation=ex.udp_esp_encapsulation,
        sec_assoc=ex.sec_assoc,
        key_length=ex.key_length,
        key_data=key_data,
    )
