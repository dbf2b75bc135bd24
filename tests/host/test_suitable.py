"""AH, pairs, two portions and extended sequence numbers: which version takes them, and that what it was told is right.

What was offloaded has to open the packet that specimens.py made of the same association.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nicsim.boundary import UdpType
from nicsim.host.offloader import LinkMedium, Offloaded, Offloader
from nicsim.host.software_ipsec import CoveringAh, SecurityAssociation
from nicsim.host.suitable import InSoftware
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.nic import Nic
from nicsim.reasons import BY_NUMBER, Reason
from offload_oids import NdisStatus
from tests.card.specimens import HIGH, PAYLOAD, Portion, frame, free, packet
from tests.card.test_bit_flips import HASHES_V1, IP_IN_IP, KEYS_V1, KEYS_V2, ONE, TWO
from tests.driver.builders import capabilities

SHA1, SHA256 = Integrity.HMAC_SHA1_96, Integrity.HMAC_SHA2_256_128
PORTS = {UdpType.NATIVE: 0, UdpType.OTHER: 4500, UdpType.IKE: 500}
NO_AUTHENTICATION = SaKeys(Encryption.DES_CBC, bytes(8), Integrity.NONE, b"")


def ah_keys(portion: Portion) -> SaKeys:
    assert portion.ah
    return SaKeys(Encryption.NULL, b"", portion.ah, portion.ah_key)


def association_of(portion: Portion, *, of_two: bool = False, inbound: bool = True) -> SecurityAssociation:
    """The association of a portion as a host holds it."""
    src, dst = portion.ends
    covering = CoveringAh(portion.ah_spi, ah_keys(portion)) if portion.ah and portion.esp else None
    return SecurityAssociation(
        spi=portion.esp_spi if portion.esp else portion.ah_spi,
        inbound=inbound,
        src=src,
        dst=dst,
        mode=portion.mode,
        udp_type=portion.udp,
        keys=portion.esp or ah_keys(portion),
        src_port=PORTS[portion.udp],
        dst_port=PORTS[portion.udp],
        esn=portion.esn,
        protocol=50 if portion.esp else 51,
        ah=covering,
        of_two=of_two,
        sequence_high=HIGH if portion.esn else 0,
    )


def host(**claims: Any) -> tuple[Offloader, Nic]:
    claims["version2"] = {"extended_sequence_numbers": True, **claims.get("version2", {})}
    nic = Nic(capabilities(rows=8, **claims), iv_source=bytes)
    offloader = Offloader(nic, nic.capabilities.ndis)
    offloader.enable(LinkMedium.ETHERNET)
    return offloader, nic


def opens(nic: Nic, wire: bytes, opened: bytes) -> None:
    indication, descriptor = nic.receive(wire)
    assert BY_NUMBER[descriptor.reason] in (Reason.OPENED, Reason.CHECKED)
    assert indication.frame == opened


ALONE = [portion for portion in ONE if portion.mode is Mode.TRANSPORT and not portion.options]


@pytest.mark.rule("N-SA-9", "N-SA-16", "A-2", "N-V2-7", "N-V2-9", "N-V2-10", "A-18")
@pytest.mark.parametrize("portion", [*(one for one in ALONE if one.ah and not one.esp), *ALONE[::5]], ids=str)
def test_what_is_offloaded_opens_the_packets_of_the_association(portion: Portion) -> None:
    offloader, nic = host()
    outcome = offloader.add(association_of(portion), version=portion.version)
    assert isinstance(outcome, Offloaded), outcome
    specimen = frame(portion, packet(portion, free(PAYLOAD), 6))
    opens(nic, specimen.wire, specimen.opened)
    assert offloader.delete(outcome).status == NdisStatus.SUCCESS


@pytest.mark.rule("N-ENC-2", "N-V2-2", "A-8")
@pytest.mark.parametrize(("outer", "inner"), TWO[::40], ids=str)
def test_both_portions_of_a_packet_can_be_offloaded(outer: Portion, inner: Portion) -> None:
    offloader, nic = host()
    for portion in (outer, inner):
        outcome = offloader.add(association_of(portion, of_two=True), version=portion.version)
        assert isinstance(outcome, Offloaded), outcome
    specimen = frame(outer, packet(outer, packet(inner, free(PAYLOAD), 6), IP_IN_IP[inner.ipv6]))
    opens(nic, specimen.wire, specimen.opened)


@pytest.mark.rule("N-V2-13", "A-27", "N-V2-9")
@pytest.mark.parametrize("ah", [None, SHA1])
def test_the_nic_is_told_the_new_upper_half_for_each_layer(ah: Integrity | None) -> None:
    offloader, nic = host()
    portion = Portion(Mode.TRANSPORT, KEYS_V2[-4], ah, version=2, esn=True)
    stale = replace(association_of(portion), sequence_high=HIGH - 1)
    outcome = offloader.add(stale)
    assert isinstance(outcome, Offloaded)
    specimen = frame(portion, packet(portion, free(PAYLOAD), 6))
    assert nic.receive(specimen.wire)[0].frame == specimen.wire
    assert offloader.update(outcome, HIGH).status == NdisStatus.SUCCESS
    opens(nic, specimen.wire, specimen.opened)


@pytest.mark.rule("N-V2-13")
def test_numbers_of_32_bits_cannot_be_updated() -> None:
    offloader, _ = host()
    outcome = offloader.add(association_of(Portion(Mode.TRANSPORT, KEYS_V2[-4], version=2)))
    assert isinstance(outcome, Offloaded)
    refused = offloader.update(outcome, 1)
    assert (refused.status, refused.reason) == (NdisStatus.INVALID_PARAMETER, Reason.ESN_NOT_CLAIMED)


ESP, AH, PAIR = Portion(Mode.TRANSPORT, KEYS_V1[-1]), Portion(Mode.TUNNEL, None, SHA1), Portion(
    Mode.TRANSPORT, NO_AUTHENTICATION, SHA1
)  # fmt: skip


@pytest.mark.rule("N-CAP-9", "N-CAP-16", "N-V2-1", "A-29")
@pytest.mark.parametrize(
    ("portion", "version", "claims", "reason"),
    [
        (AH, 1, {"version1": {"ah": False}}, Reason.MODE_NOT_CLAIMED),
        (AH, 2, {"version2": {"ah": False}}, Reason.AH_NOT_CLAIMED),
        (PAIR, 1, {"version1": {"ah_esp_combined": False}}, Reason.AH_NOT_CLAIMED),
        (PAIR, 2, {"version2": {"ah_esp_combined": False}}, Reason.AH_NOT_CLAIMED),
        (replace(AH, ah=SHA256), 1, {}, Reason.ALGORITHM_NOT_CLAIMED),
        (replace(PAIR, ah=SHA256), 1, {}, Reason.ALGORITHM_NOT_CLAIMED),
        (AH, 2, {"version2": {"authentication": 4}}, Reason.ALGORITHM_NOT_CLAIMED),
        (replace(ESP, esp=NO_AUTHENTICATION), 1, {}, Reason.ALGORITHM_NOT_CLAIMED),
        (replace(ESP, esp=NO_AUTHENTICATION), 2, {}, Reason.ALGORITHM_NOT_CLAIMED),
        (ESP, 2, {"version2": {"esp": False}}, Reason.ESP_NOT_CLAIMED),
        (replace(ESP, esp=KEYS_V2[-1]), 1, {}, Reason.ALGORITHM_NOT_CLAIMED),
        (replace(ESP, udp=UdpType.IKE), 2, {}, Reason.PORT_NOT_PARSED_BY_V2),
    ],
)
def test_what_the_wanted_version_cannot_take_stays_in_software(
    portion: Portion, version: int, claims: dict[str, Any], reason: Reason
) -> None:
    offloader, nic = host(**claims)
    outcome = offloader.add(association_of(portion), version=version)
    assert isinstance(outcome, InSoftware)
    assert outcome.reason is reason
    assert f"version {version}" in outcome.detail or version == 2
    assert not nic.card.rows.inbound


@pytest.mark.parametrize("ah", HASHES_V1)
def test_without_a_wish_ah_goes_to_version_1_first_and_then_to_version_2(ah: Integrity) -> None:
    sa = association_of(replace(AH, ah=ah))
    first, second = host()[0].add(sa), host(version1={"ah": False})[0].add(sa)
    assert isinstance(first, Offloaded)
    assert isinstance(second, Offloaded)
    assert (first.oid.name, second.oid.name) == ("OID_TCP_TASK_IPSEC_ADD_SA", "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA")
