"""Every published ESP packet through a whole NIC, both directions: scapy's and strongSwan's (tests/vectors/README.md).

The associations are offloaded by OID requests; the host decides which version takes each, or none.
"""

from typing import Any

import pytest

from nicsim.boundary import UdpType
from nicsim.host.offloader import InSoftware
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.reasons import Reason
from nicsim.wire.packet import parse_frame
from tests.builders import AUTH_FAILED, ethernet, host_with
from tests.ipsec.esp_vectors import load, sa_keys

ALL = load("esp_ah.json")
LAYERS = [
    {**layer, "id": f"{vector['id']}, layer {number}"}
    for vector in ALL
    if vector["kind"] == "bundle"
    for number, layer in enumerate(vector["layers"])
    if layer["kind"] == "esp"
]
SIDES = ("packet_on_initiator_side_of_nat", "packet_on_responder_side_of_nat")
INTEROP = [
    {**vector, "protected_packet": vector[side], "id": f"{vector['id']}, {side.split('_')[2]} side"}
    for vector in load("esp_interop.json")
    for side in SIDES
]
ESP = [vector for vector in ALL if vector["kind"] == "esp"] + LAYERS + INTEROP
UDP_TYPES = {"none": UdpType.NATIVE, "udp-4500": UdpType.OTHER, "udp-500-marker": UdpType.IKE}


def name(vector: dict[str, Any]) -> str:
    return str(vector["id"])


def frame_of(vector: dict[str, Any]) -> bytes:
    return ethernet(bytes.fromhex(vector["protected_packet"]))


def association_of(vector: dict[str, Any], *, inbound: bool) -> SecurityAssociation:
    """The association with addresses and ports as the packet has them."""
    packet = parse_frame(frame_of(vector))
    udp_type = UDP_TYPES[vector["encapsulation"]]
    return SecurityAssociation(
        spi=int(vector["sa"]["spi"], 16),
        inbound=inbound,
        src=packet.src,
        dst=packet.dst,
        mode=Mode(vector["mode"]),
        udp_type=udp_type,
        keys=sa_keys(vector["sa"]),
        src_port=0 if udp_type is UdpType.NATIVE else packet.src_port,
        dst_port=0 if udp_type is UdpType.NATIVE else packet.dst_port,
        esn=vector["sa"]["esn"],
        sequence_high=vector.get("seq_hi", 0),
    )


def in_place(vector: dict[str, Any]) -> bytes:
    """The frame with `esp_plaintext` where the ciphertext was."""
    frame, esp, plaintext = frame_of(vector), bytes.fromhex(vector["esp"]), bytes.fromhex(vector["esp_plaintext"])
    begin = frame.index(esp) + 8 + len(vector["iv"]) // 2
    return frame[:begin] + plaintext + frame[begin + len(plaintext) :]


def why_in_software(vector: dict[str, Any], *, inbound: bool) -> Reason | None:
    """What keeps an association of the vectors off the reference card, if anything."""
    sa, way = vector["sa"], vector["encapsulation"]
    needs_version_2 = sa["crypt_algo"].startswith("aes") or sa["auth_algo"] == "hmac-sha2-256-128" or sa["esn"]
    if not sa["icv_len"]:
        return Reason.ALGORITHM_NOT_CLAIMED
    # Version 2 receives on port 4500 alone, and knows no eight zero bytes.
    other_port = inbound and way == "udp-4500" and parse_frame(frame_of(vector)).dst_port != 4500
    if needs_version_2 and (other_port or way == "udp-500-marker"):
        return Reason.PORT_NOT_PARSED_BY_V2
    return None


INBOUND = [vector for vector in ESP if why_in_software(vector, inbound=True) is None]
OUTBOUND = [vector for vector in ESP if why_in_software(vector, inbound=False) is None]
SOFTWARE = [
    (vector, inbound)
    for vector in ESP
    for inbound in (True, False)
    if why_in_software(vector, inbound=inbound) is not None
]


def test_no_vector_is_left_out_silently() -> None:
    assert (len(ESP), len(INBOUND), len(OUTBOUND), len(SOFTWARE)) == (102, 90, 99, 15)
    assert {vector["expect"] for vector in ESP} == {"ok", "dummy", "icv-fail", "bad-padding", "bad-pad-length"}


@pytest.mark.rule("N-RX-6", "N-RX-8", "N-RX-18", "A-3", "N-SA-15", "A-31")
@pytest.mark.parametrize("vector", [v for v in INBOUND if v["expect"] != "icv-fail"], ids=name)
def test_a_nic_opens_the_published_packet_in_place(vector: dict[str, Any]) -> None:
    """Padding is the host's to judge, so what is wrong with it alone is opened too (N-RX-7)."""
    host = host_with([association_of(vector, inbound=True)])
    reason, indication, descriptor = host.receive(frame_of(vector))
    assert reason is Reason.OPENED
    plaintext = bytes.fromhex(vector["esp_plaintext"])
    assert indication.frame[descriptor.payload_offset : descriptor.payload_end] == plaintext
    assert indication.frame == in_place(vector)
    assert indication.header == bytes((plaintext[-1], plaintext[-2], 1, 0))


@pytest.mark.rule("N-RX-14", "N-RX-16")
@pytest.mark.parametrize("vector", [v for v in INBOUND if v["expect"] == "icv-fail"], ids=name)
def test_a_nic_reports_the_published_wrong_icv(vector: dict[str, Any]) -> None:
    host = host_with([association_of(vector, inbound=True)])
    reason, indication, descriptor = host.receive(frame_of(vector))
    assert (reason, indication.frame) == (Reason.ICV_WRONG, frame_of(vector))
    assert descriptor.crypto_status == AUTH_FAILED[Mode(vector["mode"])]


@pytest.mark.rule("N-TX-3", "N-TX-9", "A-24", "N-TX-6")
@pytest.mark.parametrize("vector", [v for v in OUTBOUND if v["expect"] != "icv-fail"], ids=name)
def test_a_nic_seals_to_the_published_bytes(vector: dict[str, Any]) -> None:
    host = host_with([association_of(vector, inbound=False)])
    host.ivs.next = bytes.fromhex(vector["iv"])
    sealed, opened, esp = frame_of(vector), in_place(vector), bytes.fromhex(vector["esp"])
    begin = sealed.index(esp)
    blank = bytes(len(vector["iv"]) // 2)
    framed = opened[: begin + 8] + blank + opened[begin + 8 + len(blank) :]
    icv_at = begin + len(esp) - vector["sa"]["icv_len"]
    framed = framed[:icv_at] + bytes(vector["sa"]["icv_len"]) + framed[begin + len(esp) :]
    assert host.send(framed) == (Reason.SEALED, sealed)


@pytest.mark.rule("N-V2-1", "A-34", "N-SA-13")
@pytest.mark.parametrize(
    ("vector", "inbound"),
    [pytest.param(*case, id=f"{name(case[0])}, {'in' if case[1] else 'out'}") for case in SOFTWARE],
)
def test_what_cannot_be_offloaded_stays_in_software_and_says_why(vector: dict[str, Any], inbound: bool) -> None:
    host = host_with()
    outcome = host.offloader.add(association_of(vector, inbound=inbound))
    assert isinstance(outcome, InSoftware)
    assert outcome.reason is why_in_software(vector, inbound=inbound)
    assert outcome.detail
    reason, indication, _ = host.receive(frame_of(vector))
    assert reason in (Reason.SA_NOT_OFFLOADED, Reason.NO_PARSER_ENTRY)
    assert indication.frame == frame_of(vector)
