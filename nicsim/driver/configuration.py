"""The host's other settings: which offloads are on at all, which frames it wants, which groups it listens to.

OID_TCP_OFFLOAD_PARAMETERS takes versions of the offload away or gives them back (N-CP6-7); what it changes is
configuration, and receive still waits for OID_OFFLOAD_ENCAPSULATION (N-CP6-6). The packet filter and the multicast
list are kept because a driver must keep them over a reset (N-RST-2); the simulated card filters no frames by them.

Called through control.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nicsim.boundary import OidRequest, OidResult
from nicsim.driver.enabling import configure
from nicsim.driver.handles import Configuration, DriverState
from nicsim.driver.operations import Steps
from nicsim.driver.task_settings import TaskSettings, not_claimed
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus
from offload_oids.layout import Abi, TooShort, size_of, size_through
from offload_oids.ndis_offload import (
    NdisObjectHeader,
    NdisObjectType,
)
from offload_oids.offload_parameters import (
    IpsecV1Parameter,
    NdisOffloadParametersRevision1,
    NdisOffloadParametersRevision2,
    NdisOffloadParametersRevision3,
)

INVALID = NdisStatus.INVALID_DATA

Parameters = NdisOffloadParametersRevision1 | NdisOffloadParametersRevision2 | NdisOffloadParametersRevision3


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of NDIS_OFFLOAD_PARAMETERS: its structure, and the member that Header.Size counts up to."""

    structure: type[NdisOffloadParametersRevision1]
    last_member: str


REVISIONS: dict[int, Revision] = {
    1: Revision(NdisOffloadParametersRevision1, "flags"),
    2: Revision(NdisOffloadParametersRevision2, "ipsec_v2_ipv4"),
    3: Revision(NdisOffloadParametersRevision3, "encapsulation_types"),
}
NO_CHANGE = 0
DISABLED = IpsecV1Parameter.NDIS_OFFLOAD_PARAMETERS_IPSECV1_DISABLED
# The largest value of each member (ntddndis.h); EncapsulationTypes and Flags are bits.
LARGEST: dict[str, int] = {
    "ipv4_checksum": 4,
    "tcp_ipv4_checksum": 4,
    "udp_ipv4_checksum": 4,
    "tcp_ipv6_checksum": 4,
    "udp_ipv6_checksum": 4,
    "lso_v1": 2,
    "ipsec_v1": 4,
    "lso_v2_ipv4": 2,
    "lso_v2_ipv6": 2,
    "tcp_connection_ipv4": 2,
    "tcp_connection_ipv6": 2,
    "ipsec_v2": 4,
    "ipsec_v2_ipv4": 4,
    "rsc_ipv4": 2,
    "rsc_ipv6": 2,
    "encapsulated_packet_task_offload": 2,
}


def set_offload_parameters(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_OFFLOAD_PARAMETERS set: take IPsec away or give it back, and indicate what is left (N-CP6-7)."""
    # UNPACK
    asked, size = unpack_parameters(request.buffer, request.abi)

    # CHECK
    for member, largest in LARGEST.items():
        if getattr(asked, member, NO_CHANGE) > largest:
            raise RequestRefused(
                INVALID, Reason.BUFFER_CONTENTS, f"{member} must be 0 to {largest}, not {getattr(asked, member)}"
            )
    wanted = wanted_configuration(state, asked)

    # ACT
    yield from configure(state, wanted)

    # ANSWER
    return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=size)


def unpack_parameters(buffer: bytes, abi: Abi) -> tuple[Parameters, int]:
    """The revision that the header names, and its size; the padding behind the last member need not be there."""
    header = NdisObjectHeader.unpack(buffer, abi)
    revision = REVISIONS.get(header.revision)
    if header.type != NdisObjectType.NDIS_OBJECT_TYPE_DEFAULT or revision is None:
        raise RequestRefused(INVALID, Reason.HEADER_WRONG, "the header must say type 0x80 and revision 1, 2 or 3")
    size = size_through(revision.structure, revision.last_member, abi)
    if header.size != size:
        raise RequestRefused(
            INVALID, Reason.HEADER_WRONG, f"revision {header.revision} has size {size}, not {header.size}"
        )
    if len(buffer) < size:
        raise TooShort("NDIS_OFFLOAD_PARAMETERS", size, len(buffer))
    padded = buffer[:size].ljust(size_of(revision.structure, abi), b"\0")
    return revision.structure.unpack(padded, abi), size


def wanted_configuration(state: DriverState, asked: Parameters) -> Configuration:
    """The configuration after a set. IPsecV2IPv4 stands for IPsecV2 on a card without IPv6, and only there."""
    claims = state.capabilities
    has_ipv6 = claims.version2 is not None and claims.version2.ipv6
    ipsec_v2, ipsec_v2_ipv4 = getattr(asked, "ipsec_v2", NO_CHANGE), getattr(asked, "ipsec_v2_ipv4", NO_CHANGE)
    member, other = ("IPsecV2", "IPsecV2IPv4") if has_ipv6 else ("IPsecV2IPv4", "IPsecV2")
    mine, not_mine = (ipsec_v2, ipsec_v2_ipv4) if has_ipv6 else (ipsec_v2_ipv4, ipsec_v2)
    version2 = claims.version2 is not None
    for name, value, known in (
        ("IPsecV1", asked.ipsec_v1, claims.version1 is not None),
        (member, mine, version2),
        (other, not_mine, False),
    ):
        # Taking away what is not there changes nothing, so it is no fault.
        if value > DISABLED and not known:
            raise RequestRefused(INVALID, Reason.PARAMETER_NOT_CLAIMED, f"{name} enables what the card does not claim")
    before = state.configuration
    settings = before.tasks.after(asked)
    if (name_of_task := not_claimed(claims.other_tasks, TaskSettings().after(asked))) is not None:
        raise RequestRefused(
            INVALID, Reason.PARAMETER_NOT_CLAIMED, f"{name_of_task} enables what the card does not claim"
        )
    return replace(
        before,
        tasks=settings,
        ipsec_v1=asked.ipsec_v1 or before.ipsec_v1,
        ipsec_v2=mine or before.ipsec_v2,
    )


# --- frames ------------------------------------------------------------------------------------------------------

FILTER_LENGTH = 4
# NDIS_PACKET_TYPE_DIRECTED, MULTICAST, ALL_MULTICAST, BROADCAST and PROMISCUOUS: what Ethernet has.
KNOWN_FILTERS = 0x2F
ADDRESS_LENGTH = 6
MOST_GROUPS = 32
GROUP_BIT = 0x01


def set_packet_filter(state: DriverState, request: OidRequest) -> Steps:
    """OID_GEN_CURRENT_PACKET_FILTER set: the kinds of frames that the host wants."""
    # UNPACK
    if len(request.buffer) < FILTER_LENGTH:
        raise TooShort("OID_GEN_CURRENT_PACKET_FILTER", FILTER_LENGTH, len(request.buffer))
    asked = int.from_bytes(request.buffer[:FILTER_LENGTH], "little")

    # CHECK
    if asked & ~KNOWN_FILTERS:
        raise RequestRefused(
            NdisStatus.NOT_SUPPORTED, Reason.FILTER_NOT_SUPPORTED, f"filter bits 0x{asked:x} go beyond 0x2f"
        )

    # ACT
    yield from ()
    state.packet_filter = asked

    # ANSWER
    return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=FILTER_LENGTH)


def set_multicast_list(state: DriverState, request: OidRequest) -> Steps:
    """OID_802_3_MULTICAST_LIST set: the groups that the host listens to, all at once."""
    # UNPACK
    length = len(request.buffer)
    if length % ADDRESS_LENGTH:
        whole = length - length % ADDRESS_LENGTH + ADDRESS_LENGTH
        raise TooShort("OID_802_3_MULTICAST_LIST", whole, length)
    groups = tuple(request.buffer[at : at + ADDRESS_LENGTH] for at in range(0, length, ADDRESS_LENGTH))

    # CHECK
    if not all(group[0] & GROUP_BIT for group in groups):
        raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, "every address must be a multicast one")
    if len(groups) > MOST_GROUPS:
        raise RequestRefused(
            NdisStatus.NOT_ACCEPTED,
            Reason.MULTICAST_LIST_FULL,
            f"the NIC holds {MOST_GROUPS} groups, not {len(groups)}",
        )

    # ACT
    yield from ()
    state.multicast_list = groups

    # ANSWER
    return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=length)
