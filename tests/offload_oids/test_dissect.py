"""A dump says what a buffer holds, member by member."""

import pytest

from offload_oids import Abi, OffloadIpsecAddUdpespSa, OffloadIpsecDeleteSa, Part, TooShort, dissect
from tests.offload_oids.samples import ADD_UDPESP, SAMPLES, Sample

EVERY_SAMPLE = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.about}-{sample.abi.value}")


@EVERY_SAMPLE
def test_every_part_shows_the_bytes_it_was_read_from(sample: Sample) -> None:
    for part in dissect(type(sample.value), sample.raw + b"trailing", sample.abi):
        assert part.raw == sample.raw[part.offset : part.offset + len(part.raw)]


def test_known_values_are_named_through_the_nested_structures() -> None:
    parts = {part.name: part for part in dissect(OffloadIpsecAddUdpespSa, ADD_UDPESP.pack(Abi.X64), Abi.X64)}
    meanings = {name: part.meaning for name, part in parts.items() if part.meaning and part.value}
    assert meanings == {
        "Protocol": "IPPROTO_UDP",
        "Flags": "OFFLOAD_INBOUND_SA",
        "SecAssoc[0].Operation": "ENCRYPT",
        "SecAssoc[0].IntegrityAlgo.algoIdentifier": "OFFLOAD_IPSEC_INTEGRITY_SHA",
        "SecAssoc[0].ConfAlgo.algoIdentifier": "OFFLOAD_IPSEC_CONF_3_DES",
        "EncapTypeEntry.UdpEncapType": "OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_OTHER",
    }
    assert parts["EncapTypeEntry.DstEncapPort"] == Part(
        "EncapTypeEntry.DstEncapPort", 180, b"\x11\x94", 4500, "", False
    )


def test_the_key_is_marked_as_secret_and_shown_in_full_length() -> None:
    parts = dissect(OffloadIpsecAddUdpespSa, ADD_UDPESP.pack(Abi.X86), Abi.X86)
    assert [part for part in parts if part.secret] == [Part("KeyMat", 188, b"keys!", b"keys!", "", True)]


def test_bit_fields_are_parts_of_their_own() -> None:
    sample = next(sample for sample in SAMPLES if sample.about == "task-ipsec")
    values = {part.name: part.value for part in dissect(type(sample.value), sample.raw, sample.abi)}
    assert {name for name, value in values.items() if value == 1} == {
        "Supported.AH_ESP_COMBINED",
        "V4AH.MD5",
        "V4AH.Tunnel",
        "V4ESP.TRIPLE_DES",
        "V4ESP.Receive",
    }


def test_several_flags_are_named_together_and_an_unknown_value_is_not() -> None:
    sample = next(sample for sample in SAMPLES if sample.about == "task-ipsec")
    meanings = {part.name: part.meaning for part in dissect(type(sample.value), sample.raw, sample.abi)}
    assert meanings["Supported.RESERVED"] == "IPSEC_TPT_UDPESP_ENCAPTYPE_OTHER|IPSEC_TUN_UDPESP_ENCAPTYPE_OTHER"
    assert meanings["Supported.AH_ESP_COMBINED"] == ""


def test_a_buffer_that_is_too_short_is_refused() -> None:
    with pytest.raises(TooShort):
        dissect(OffloadIpsecDeleteSa, b"abc", Abi.X86)
