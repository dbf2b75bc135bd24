"""Published packets, both directions: scapy's and strongSwan's (tests/vectors/README.md)."""

from typing import Any

import pytest

from nicsim.errors import IntegrityError, TrailerError
from nicsim.ipsec.esp import protect, strip_trailer, unprotect
from nicsim.ipsec.transforms import Transform
from tests.ipsec.esp_vectors import association, load, sa_keys

ALL = load("esp_ah.json")
INTEROP = load("esp_interop.json")
ESP_ONLY_BUNDLES = [
    vector for vector in ALL if vector["kind"] == "bundle" and all(layer["kind"] == "esp" for layer in vector["layers"])
]
# Layers of bundles are ESP packets in their own right, also where the bundle's other layer is AH.
ESP = [vector for vector in ALL if vector["kind"] == "esp"]
ESP_LAYERS = [
    layer
    for vector in ALL
    if vector["kind"] == "bundle"
    for layer in vector["layers"]
    if layer["kind"] == "esp" and layer["plaintext_packet"]
]
OPENABLE = [vector for vector in ESP + ESP_LAYERS if vector["expect"] in ("ok", "dummy")]
WHOLE_PACKETS = [vector for vector in ESP + ESP_LAYERS if vector["expect"] == "ok"]

# With an AH layer: test_ah.py has that layer, ESP_LAYERS the other one.
WITH_AH = [
    vector
    for vector in ALL
    if vector["kind"] == "ah" or any(layer["kind"] == "ah" for layer in vector.get("layers", ()))
]


def name(vector: dict[str, Any]) -> str:
    return str(vector["id"])


def hexed(vector: dict[str, Any], field: str) -> bytes:
    return bytes.fromhex(vector[field])


def test_no_vector_is_skipped_silently() -> None:
    used = {name(vector) for vector in ESP + ESP_ONLY_BUNDLES}
    assert used | {name(vector) for vector in WITH_AH} == {name(vector) for vector in ALL}
    assert (len(ESP), len(ESP_ONLY_BUNDLES), len(WITH_AH), len(ALL), len(INTEROP)) == (45, 3, 12, 60, 24)


@pytest.mark.rule("N-SA-15", "N-RX-6")
@pytest.mark.parametrize("vector", OPENABLE + INTEROP, ids=name)
def test_open_gives_the_published_plaintext(vector: dict[str, Any]) -> None:
    esp = hexed(vector, "esp")
    transform = Transform(sa_keys(vector["sa"]))
    for _ in range(2):  # the second time from the state the first one left
        buffer = b"before" + esp + b"behind"
        assert transform.open(buffer, 6, 6 + len(esp), vector.get("seq_hi")) == hexed(vector, "esp_plaintext")


@pytest.mark.rule("N-SA-15")
@pytest.mark.parametrize("vector", OPENABLE + INTEROP, ids=name)
def test_seal_gives_the_published_bytes(vector: dict[str, Any]) -> None:
    esp = hexed(vector, "esp")
    head = hexed(vector["sa"], "spi") + vector["seq"].to_bytes(4, "big")
    sealed = Transform(sa_keys(vector["sa"])).seal(
        head, hexed(vector, "esp_plaintext"), hexed(vector, "iv"), vector.get("seq_hi")
    )
    assert sealed == esp
    icv = hexed(vector, "icv")
    assert sealed.endswith(icv)
    assert len(icv) == sa_keys(vector["sa"]).icv_length


@pytest.mark.parametrize("vector", OPENABLE + INTEROP, ids=name)
def test_trailer_is_as_published(vector: dict[str, Any]) -> None:
    stripped = strip_trailer(hexed(vector, "esp_plaintext"))
    assert (stripped.pad_length, stripped.next_header) == (vector["pad_len"], vector["next_header"])


@pytest.mark.parametrize("vector", WHOLE_PACKETS, ids=name)
def test_unprotect_gives_the_published_packet(vector: dict[str, Any]) -> None:
    sa = association(vector)
    plain = unprotect(sa, Transform(sa.keys), hexed(vector, "protected_packet"), vector.get("seq_hi"))
    assert plain == hexed(vector, "plaintext_packet")


@pytest.mark.parametrize("vector", WHOLE_PACKETS, ids=name)
def test_protect_gives_the_published_packet(vector: dict[str, Any]) -> None:
    sa = association(vector)
    plain = hexed(vector, "plaintext_packet")
    if "tfc_len" in vector:  # the padding follows the packet
        tfc = hexed(vector, "esp_plaintext")[len(plain) :][: vector["tfc_len"]]
        plain += tfc
    protected = protect(
        sa,
        Transform(sa.keys),
        plain,
        sequence=vector["seq"],
        iv=hexed(vector, "iv"),
        outer_header=bytes.fromhex(vector.get("outer_header_template", "")),
        sequence_high=vector.get("seq_hi"),
    )
    assert protected == hexed(vector, "protected_packet")


@pytest.mark.parametrize("vector", ESP_ONLY_BUNDLES, ids=name)
def test_bundle_goes_on_and_comes_off_layer_by_layer(vector: dict[str, Any]) -> None:
    packet = hexed(vector, "plaintext_packet")
    for layer in vector["layers"]:
        sa = association(layer)
        packet = protect(
            sa,
            Transform(sa.keys),
            packet,
            sequence=layer["seq"],
            iv=hexed(layer, "iv"),
            outer_header=bytes.fromhex(layer.get("outer_header_template", "")),
        )
    assert packet == hexed(vector, "protected_packet")
    for layer in reversed(vector["layers"]):
        sa = association(layer)
        inner = unprotect(sa, Transform(sa.keys), packet)
        assert inner is not None
        packet = inner
    assert packet == hexed(vector, "plaintext_packet")


@pytest.mark.parametrize("side", ["packet_on_initiator_side_of_nat", "packet_on_responder_side_of_nat"])
@pytest.mark.parametrize("vector", INTEROP, ids=name)
def test_strongswan_packets_open_on_both_sides_of_the_nat(vector: dict[str, Any], side: str) -> None:
    sa = association(vector)
    assert unprotect(sa, Transform(sa.keys), hexed(vector, side)) == hexed(vector, "plaintext_packet")


FAULTS = {
    "icv-fail": (IntegrityError, "the ICV does not match"),
    "bad-padding": (TrailerError, "^bad-padding"),
    "bad-pad-length": (TrailerError, "^bad-pad-length"),
}


@pytest.mark.parametrize("vector", [v for v in ESP if v["expect"] in FAULTS], ids=name)
def test_faulty_packet_is_refused_as_published(vector: dict[str, Any]) -> None:
    error, message = FAULTS[vector["expect"]]
    sa = association(vector)
    with pytest.raises(error, match=message):
        unprotect(sa, Transform(sa.keys), hexed(vector, "protected_packet"))


@pytest.mark.parametrize("vector", [v for v in ESP if v["expect"] == "dummy"], ids=name)
def test_dummy_packet_gives_no_packet(vector: dict[str, Any]) -> None:
    sa = association(vector)
    assert unprotect(sa, Transform(sa.keys), hexed(vector, "protected_packet")) is None
    assert {v["expect"] for v in ESP} == {*FAULTS, "ok", "dummy"}
