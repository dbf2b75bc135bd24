"""The table of requests against section 1 of the digest, and statuses against their C names."""

import pytest

from offload_oids import (
    ALL_STRUCTURES,
    CONSTANTS,
    OID_INFO,
    Abi,
    CryptoStatus,
    Direction,
    NdisStatus,
    Oid,
    c_name,
    offset_of,
)

QUERY, SET = Direction.QUERY, Direction.SET

# As section 1 of the digest has it: request, buffer in, written back.
# fmt: off
DIGEST = {
    "OID_TCP_TASK_OFFLOAD":                    ("query set", "NDIS_TASK_OFFLOAD_HEADER"),
    "OID_TCP_TASK_IPSEC_ADD_SA":               ("set", "OFFLOAD_IPSEC_ADD_SA"),
    "OID_TCP_TASK_IPSEC_DELETE_SA":            ("set", "OFFLOAD_IPSEC_DELETE_SA"),
    "OID_TCP_TASK_IPSEC_ADD_UDPESP_SA":        ("set", "OFFLOAD_IPSEC_ADD_UDPESP_SA"),
    "OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA":     ("set", "OFFLOAD_IPSEC_DELETE_UDPESP_SA"),
    "OID_TCP_OFFLOAD_CURRENT_CONFIG":          ("query", None),
    "OID_TCP_OFFLOAD_PARAMETERS":              ("set", "NDIS_OFFLOAD_PARAMETERS_REVISION_1"),
    "OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES":   ("query", None),
    "OID_OFFLOAD_ENCAPSULATION":               ("query set", "NDIS_OFFLOAD_ENCAPSULATION"),
    "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA":    ("set", "IPSEC_OFFLOAD_V2_ADD_SA"),
    "OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA": ("set", "IPSEC_OFFLOAD_V2_DELETE_SA"),
    "OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA": ("set", "IPSEC_OFFLOAD_V2_UPDATE_SA"),
    "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX": ("set", "IPSEC_OFFLOAD_V2_ADD_SA_EX"),
}
# fmt: on


def test_the_table_has_the_thirteen_requests_of_the_digest() -> None:
    assert {oid.name for oid in OID_INFO} == set(DIGEST)


@pytest.mark.rule("N-OID-1", "N-OID-2")
@pytest.mark.parametrize("oid", OID_INFO, ids=lambda oid: oid.name)
def test_directions_and_buffers_are_those_of_the_digest(oid: Oid) -> None:
    directions, buffer = DIGEST[oid.name]
    info = OID_INFO[oid]
    assert " ".join(direction.value for direction in info.directions) == directions
    assert (c_name(info.takes[0]) if info.takes else None) == buffer
    assert bool(info.answers) == (QUERY in info.directions)


def test_every_member_that_is_written_back_exists() -> None:
    written = {oid: info.writes for oid, info in OID_INFO.items() if info.writes}
    assert written == {
        Oid.OID_TCP_TASK_IPSEC_ADD_SA: ("offload_handle",),
        Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA: ("offload_handle", "encap_type_entry_offld_handle"),
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA: ("offload_handle",),
        Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX: ("offload_handle",),
    }
    for oid, members in written.items():
        for member in members:
            assert offset_of(OID_INFO[oid].takes[0], member, Abi.X64) > 0


@pytest.mark.rule("N-OID-5", "N-V2-11", "N-V2-12")
def test_the_version_2_requests_are_direct_and_two_of_them_are_lists() -> None:
    assert [oid.name for oid, info in OID_INFO.items() if info.direct] == [name for name in DIGEST if "_V2_" in name]
    assert {oid.name for oid, info in OID_INFO.items() if info.is_list} == {
        "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA",
        "OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA",
    }


def test_ndis_answers_three_queries_itself() -> None:
    answered = {oid.name: info.answered_by_ndis for oid, info in OID_INFO.items() if info.answered_by_ndis}
    assert answered == {
        "OID_TCP_OFFLOAD_CURRENT_CONFIG": (QUERY,),
        "OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES": (QUERY,),
        "OID_OFFLOAD_ENCAPSULATION": (QUERY,),
    }


def test_every_buffer_is_one_of_the_structures() -> None:
    for info in OID_INFO.values():
        assert set(info.takes + info.answers) <= set(ALL_STRUCTURES)


def test_statuses_have_their_c_names() -> None:
    assert CONSTANTS["NDIS_STATUS_RESOURCES"] == NdisStatus.RESOURCES
    assert [status.name for status in CryptoStatus][:2] == ["CRYPTO_SUCCESS", "CRYPTO_GENERIC_ERROR"]
    assert list(CryptoStatus) == list(range(8))
