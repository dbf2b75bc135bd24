"""Whether a version of the offload can take an association: what it can say at all, and what the card claims.

Called by host/offloader.py, with the claims that the card reported.
"""

from __future__ import annotations

from dataclasses import dataclass

from nicsim.boundary import UdpType
from nicsim.host.offload_requests import (
    VERSION_1_CIPHERS,
    VERSION_1_HASHES,
    VERSION_2_HASHES,
    version_1_subtypes,
    version_2_cipher,
    version_2_subtype,
)
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Integrity
from nicsim.reasons import Reason
from nicsim.wire.esp import NAT_TRAVERSAL_PORT, PROTOCOL_AH
from offload_oids import NdisStatus
from offload_oids.ndis_offload import IpsecV1Ah, IpsecV1Esp, NdisIpsecOffloadV1, NdisIpsecOffloadV2


@dataclass(frozen=True, slots=True)
class InSoftware:
    """An association that stays with the host, and why."""

    reason: Reason
    detail: str = ""
    status: NdisStatus | None = None


def both(first: InSoftware, second: InSoftware) -> InSoftware:
    """The reasons of both versions in one."""
    return InSoftware(second.reason, f"{first.detail}; {second.detail}")


# --- version 1 -------------------------------------------------------------------------------------------------------


def why_not_version_1(claims: NdisIpsecOffloadV1, sa: SecurityAssociation) -> InSoftware | None:
    """What keeps an association from version 1, if anything (N-CP6-3, N-CAP-15)."""
    if len(sa.src) != 4:
        return InSoftware(Reason.IPV6_NOT_CLAIMED, "version 1 is for IPv4 only")
    if sa.esn:
        return InSoftware(Reason.ESN_NOT_CLAIMED, "version 1 has no extended sequence numbers")
    if sa.ah and not claims.supported.ah_esp_combined:
        return InSoftware(Reason.AH_NOT_CLAIMED, "version 1 of this card does not combine AH and ESP")
    if missing := missing_algorithm(claims, sa):
        return InSoftware(Reason.ALGORITHM_NOT_CLAIMED, f"version 1 of this card has no {missing}")
    layers: list[IpsecV1Ah | IpsecV1Esp] = [claims.ipv4_ah if sa.protocol == PROTOCOL_AH else claims.ipv4_esp]
    if sa.ah:
        layers.append(claims.ipv4_ah)
    for layer in layers:
        what = "AH " if isinstance(layer, IpsecV1Ah) else ""
        if not (layer.receive if sa.inbound else layer.send):
            verb = "receive" if sa.inbound else "send"
            return InSoftware(Reason.MODE_NOT_CLAIMED, f"version 1 of this card does not {verb} {what}".rstrip())
        if not (layer.tunnel if sa.mode is Mode.TUNNEL else layer.transport):
            return InSoftware(Reason.MODE_NOT_CLAIMED, f"version 1 of this card has no {what}{sa.mode.value} mode")
    if sa.udp_type is not UdpType.NATIVE and not version_1_subtypes(sa) & claims.supported.flags:
        return InSoftware(Reason.SUBTYPE_NOT_CLAIMED, f"version 1 of this card has no UDP-ESP {sa.mode.value}")
    return None


def missing_algorithm(claims: NdisIpsecOffloadV1, sa: SecurityAssociation) -> str | None:
    """The first algorithm that version 1 has no word for, or the card does not claim; the hashes serve both layers."""
    encryption = sa.keys.encryption
    if encryption not in VERSION_1_CIPHERS or (
        sa.protocol != PROTOCOL_AH and not getattr(claims.ipv4_esp, VERSION_1_CIPHERS[encryption][1])
    ):
        return encryption.value
    # ESP may leave its authentication to the AH around it.
    hashes = [sa.keys.integrity, sa.ah.keys.integrity] if sa.ah else [sa.keys.integrity]
    for integrity in hashes:
        if integrity is Integrity.NONE and sa.ah:
            continue
        member = VERSION_1_HASHES.get(integrity, (0, ""))[1]
        if not member or not getattr(claims.ipv4_ah, member):
            return integrity.value
    return None


# --- version 2 -------------------------------------------------------------------------------------------------------


def why_not_version_2(claims: NdisIpsecOffloadV2, sa: SecurityAssociation, offloaded: int) -> InSoftware | None:
    """What keeps an association from version 2, if anything; `offloaded` it has already (N-V2-1 to N-V2-4, A-34)."""
    encryption = sa.keys.encryption
    if not (claims.esp or claims.ah):
        return InSoftware(Reason.NO_SUITABLE_VERSION, "this card has no version 2")
    if sa.protocol == PROTOCOL_AH and not claims.ah:
        return InSoftware(Reason.AH_NOT_CLAIMED, "version 2 of this card has no AH")
    if sa.protocol != PROTOCOL_AH and not claims.esp:
        return InSoftware(Reason.ESP_NOT_CLAIMED, "version 2 of this card has no ESP")
    if sa.ah and not (claims.ah and claims.ah_esp_combined):
        return InSoftware(Reason.AH_NOT_CLAIMED, "version 2 of this card does not combine AH and ESP")
    if sa.protocol != PROTOCOL_AH and not claims.encryption_algorithms & version_2_cipher(sa):
        return InSoftware(Reason.ALGORITHM_NOT_CLAIMED, f"version 2 of this card has no {encryption.value}")
    for keys in (sa.keys, sa.ah.keys) if sa.ah else (sa.keys,):
        beside = keys.encryption.is_aead or (keys is sa.keys and sa.ah and keys.integrity is Integrity.NONE)
        if not beside and not claims.authentication_algorithms & VERSION_2_HASHES[keys.integrity]:
            return InSoftware(Reason.ALGORITHM_NOT_CLAIMED, f"version 2 of this card has no {keys.integrity.value}")
    if len(sa.src) != 4 and not claims.ipv6_supported:
        return InSoftware(Reason.IPV6_NOT_CLAIMED, "version 2 of this card is for IPv4 only")
    if not (claims.tunnel if sa.mode is Mode.TUNNEL else claims.transport):
        return InSoftware(Reason.MODE_NOT_CLAIMED, f"version 2 of this card has no {sa.mode.value} mode")
    if sa.udp_type is UdpType.IKE or (
        sa.udp_type is UdpType.OTHER and sa.inbound and sa.dst_port != NAT_TRAVERSAL_PORT
    ):
        return InSoftware(Reason.PORT_NOT_PARSED_BY_V2, f"its packets come as {sa.udp_type.name}, {sa.dst_port}")
    if sa.udp_type is UdpType.OTHER and not claims.udp_esp & version_2_subtype(sa):
        return InSoftware(Reason.SUBTYPE_NOT_CLAIMED, f"version 2 of this card has no UDP-ESP {sa.mode.value}")
    if offloaded >= claims.sa_offload_capacity:
        return InSoftware(Reason.CAPACITY_REACHED, f"the card holds {claims.sa_offload_capacity}")
    return None
