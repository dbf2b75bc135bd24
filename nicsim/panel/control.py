"""The panel's commands about the NIC as a whole: what it claims, enabling, power, reset, removal, impairments.

Listed in commands.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from nicsim.boundary import OidResult, RequestKind
from nicsim.capabilities import NdisVersion
from nicsim.driver.handles import DevicePower
from nicsim.driver.power import POWER_LENGTH
from nicsim.errors import InputError
from nicsim.host.offloader import LinkMedium
from nicsim.host.suitable import InSoftware
from nicsim.impairments import parse_impairment
from nicsim.panel import words
from nicsim.panel.answers import Answer, Impairments, Serviced, Switched
from nicsim.panel.claims import claims_of
from nicsim.panel.decode import task_header
from nicsim.panel.requests import requested
from nicsim.panel.state import Session
from nicsim.panel.tables import Held, impairment_lines
from nicsim.reasons import Reason
from offload_oids import NdisStatus, Oid
from offload_oids.layout import size_through
from offload_oids.ndis_offload import (
    FamilyEncapsulation,
    NdisEncapsulations,
    NdisObjectHeader,
    NdisObjectType,
    NdisOffloadEncapsulation,
    NdisOffloadSet,
)
from offload_oids.offload_parameters import NdisOffloadParametersRevision1, NdisOffloadParametersRevision2
from offload_oids.task_offload import NdisEncapsulation

ETHERNET_HEADER_LENGTH = 14
PREFIX = "NDIS_ENCAPSULATION_"
LINKS = {str(flag.name).removeprefix(PREFIX): int(flag) for flag in NdisEncapsulations}
SETTINGS = {
    "on": NdisOffloadSet.NDIS_OFFLOAD_SET_ON,
    "off": NdisOffloadSet.NDIS_OFFLOAD_SET_OFF,
    "same": NdisOffloadSet.NDIS_OFFLOAD_SET_NO_CHANGE,
}
PARAMETERS = {"same": 0, "off": 1, "ah": 2, "esp": 3, "both": 4}
"""IPsecV1 and IPsecV2 of NDIS_OFFLOAD_PARAMETERS (N-CP6-7)."""
PACKET_FILTERS = {"directed": 1, "multicast": 2, "all-multicast": 4, "broadcast": 8, "promiscuous": 0x20, "none": 0}
"""NDIS_PACKET_TYPE_*, as far as Ethernet has them."""
ENCAPSULATION_WORDS = ("ipv4", "ipv6", "link", "header")
PARAMETER_WORDS = ("ipsec-v1", "ipsec-v2")


def profile(session: Session, rest: list[str]) -> Answer:
    """What the card claims."""
    return claims_of(session.nic.capabilities, session.nic.abi)


# --- enabling --------------------------------------------------------------------------------------------------------


def enable(session: Session, rest: list[str]) -> Answer:
    """Query the card as a host does, and enable all of it on Ethernet."""
    if session.offloader.enabled:
        raise InputError("offload is enabled already; disable comes first (A-13)")
    session.offloader.enable(LinkMedium.ETHERNET)
    return Switched(session.offloader.enabled, session.offloader.not_enabled_detail)


def disable(session: Session, rest: list[str]) -> Answer:
    """Disable everything; associations stay where they are (A-13)."""
    old = session.nic.capabilities.ndis is NdisVersion.NDIS_5_1
    oid = Oid.OID_TCP_TASK_OFFLOAD if old else Oid.OID_OFFLOAD_ENCAPSULATION
    if old:  # no chain of tasks behind the header: none is wanted (N-CAP-12)
        buffer = task_header(session.nic.abi, NdisEncapsulation.IEEE_802_3_Encapsulation)
    else:
        off = FamilyEncapsulation(NdisOffloadSet.NDIS_OFFLOAD_SET_OFF)
        buffer = encapsulation_buffer(session, off, off)
    result = session.request(RequestKind.SET, oid, buffer)
    if result.status == NdisStatus.SUCCESS:
        switch(session, enabled=False)
        return Switched(False, "")
    return Switched(session.offloader.enabled, f"{oid.name} ended with {result.status.name}: {result.detail}")


def encapsulation(session: Session, rest: list[str]) -> Answer:
    """OID_OFFLOAD_ENCAPSULATION as it is said: each family on, off or as it is, and for which links (N-CP6-4)."""
    given = words.pairs(rest, ENCAPSULATION_WORDS)
    if not given.keys() & {"ipv4", "ipv6"}:
        raise InputError("encapsulation needs ipv4=on|off|same or ipv6=on|off|same, or both")
    length = words.number("header", given["header"], 2**16 - 1) if "header" in given else ETHERNET_HEADER_LENGTH
    link = flags_of("link", given.get("link", "IEEE_802_3"), LINKS)
    families = []
    for family in ("ipv4", "ipv6"):
        wanted = words.one_of(family, given.get(family, "same"), SETTINGS)
        is_on = wanted is NdisOffloadSet.NDIS_OFFLOAD_SET_ON
        families.append(FamilyEncapsulation(wanted, link if is_on else 0, length if is_on else 0))
    buffer = encapsulation_buffer(session, *families)
    answer = requested(session, RequestKind.SET, Oid.OID_OFFLOAD_ENCAPSULATION, buffer)
    if answer.status == NdisStatus.SUCCESS.name:
        session.offloader.read_configuration()
        control = session.driver_state.control
        switch(session, enabled=bool(control.ipv4_encapsulations or control.ipv6_encapsulations))
    return answer


def encapsulation_buffer(session: Session, ipv4: FamilyEncapsulation, ipv6: FamilyEncapsulation) -> bytes:
    """NDIS_OFFLOAD_ENCAPSULATION with its header."""
    size = size_through(NdisOffloadEncapsulation, "ipv6.header_size", session.nic.abi)
    header = NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, size)
    return NdisOffloadEncapsulation(header, ipv4, ipv6).pack(session.nic.abi)


def parameters(session: Session, rest: list[str]) -> Answer:
    """OID_TCP_OFFLOAD_PARAMETERS: which of AH and ESP each version may do at all (N-CP6-7)."""
    given = words.pairs(rest, PARAMETER_WORDS)
    if not given:
        raise InputError("parameters needs ipsec-v1=same|off|ah|esp|both, or ipsec-v2= likewise, or both")
    first, second = (words.one_of(word, given.get(word, "same"), PARAMETERS) for word in PARAMETER_WORDS)
    kind = NdisObjectType.NDIS_OBJECT_TYPE_DEFAULT
    abi = session.nic.abi
    if session.nic.capabilities.ndis is NdisVersion.NDIS_6_1:
        size = size_through(NdisOffloadParametersRevision2, "ipsec_v2_ipv4", abi)
        wanted = NdisOffloadParametersRevision2(NdisObjectHeader(kind, 2, size), ipsec_v1=first, ipsec_v2=second)
        buffer = wanted.pack(abi)
    else:
        if "ipsec-v2" in given:
            raise InputError(f"NDIS {session.nic.capabilities.ndis.value} has no ipsec-v2, NDIS 6.1 has")
        size = size_through(NdisOffloadParametersRevision1, "flags", abi)
        buffer = NdisOffloadParametersRevision1(NdisObjectHeader(kind, 1, size), ipsec_v1=first).pack(abi)
    answer = requested(session, RequestKind.SET, Oid.OID_TCP_OFFLOAD_PARAMETERS, buffer)
    if answer.status == NdisStatus.SUCCESS.name:
        session.offloader.read_configuration()
    return answer


def packet_filter(session: Session, rest: list[str]) -> Answer:
    """OID_GEN_CURRENT_PACKET_FILTER: the kinds of frames that the host wants."""
    wanted = flags_of("filter", rest[0], PACKET_FILTERS)
    return requested(session, RequestKind.SET, Oid.OID_GEN_CURRENT_PACKET_FILTER, wanted.to_bytes(4, "little"))


def switch(session: Session, *, enabled: bool) -> None:
    """What the host knows of it from now on."""
    session.offloader.enabled = enabled
    session.offloader.not_enabled_detail = "" if enabled else "it was disabled"


def flags_of(what: str, text: str, names: Mapping[str, int]) -> int:
    """Words with a comma between them, as one number."""
    value = 0
    for word in text.split(","):
        value |= words.one_of(what, word, names)
    return value


# --- reset, power, removal -------------------------------------------------------------------------------------------


def reset(session: Session, rest: list[str]) -> Answer:
    """Reset the NIC, as NDIS does when a miniport hangs; its driver restores the tables (N-RST-1)."""
    return Serviced(session.nic.reset().name, session.driver_state.power.name)


def power(session: Session, rest: list[str]) -> Answer:
    """Another power state, by OID_PNP_SET_POWER (N-RST-5)."""
    wanted = words.one_of("power", rest[0], {state.name: state for state in DevicePower})
    buffer = int(wanted).to_bytes(POWER_LENGTH, "little")
    return serviced(session, session.request(RequestKind.SET, Oid.OID_PNP_SET_POWER, buffer))


def serviced(session: Session, result: OidResult) -> Serviced:
    """A result with the power state now."""
    reason = result.reason
    return Serviced(
        result.status.name,
        session.driver_state.power.name,
        reason.label if reason else None,
        reason.rule if reason else None,
        result.detail,
    )


def remove(session: Session, rest: list[str]) -> Answer:
    """Take the NIC out of the machine: its driver deletes everything, and the host goes on in software (N-RST-6)."""
    if session.removed:
        raise InputError("the NIC was removed already")
    session.nic.remove()
    session.removed = True
    gone = InSoftware(Reason.ADAPTER_REMOVED, "the NIC was removed")
    session.held = [Held(one.sa, gone) if one.handle else one for one in session.held]
    session.offloader.forget_all("the NIC was removed")
    return Serviced("removed", session.driver_state.power.name)


# --- impairments -----------------------------------------------------------------------------------------------------


def impair(session: Session, rest: list[str]) -> Answer:
    """Have card and driver misbehave in more ways, in none any more, or list the ways."""
    if [word.lower() for word in rest] == ["none"]:
        session.nic.recover()
    else:
        for one in [parse_impairment(word) for word in rest]:
            session.nic.impair(one)
    return Impairments(impairment_lines(session.nic.impairments))
