"""Several protocol drivers over one adapter: one at a time enables in 5.1, any number in 6.0 (N-CAP-14)."""

from __future__ import annotations

import pytest

from nicsim.boundary import OidCompletion, OidRequest, OidResult, RequestKind, StatusIndication, Table
from nicsim.ndis.protocols import ProtocolBinding, Protocols
from nicsim.nic import Nic
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from tests.driver.builders import OFF, ON, capabilities, native_frame, sa
from tests.driver.test_enabling import DISABLE, ENABLE, header

SUCCESS, FAILURE, PENDING = NdisStatus.SUCCESS, NdisStatus.FAILURE, NdisStatus.PENDING
SET, QUERY = RequestKind.SET, RequestKind.QUERY
TASK, ADD = Oid.OID_TCP_TASK_OFFLOAD, Oid.OID_TCP_TASK_IPSEC_ADD_SA


def two_over(nic: Nic) -> tuple[ProtocolBinding, ProtocolBinding]:
    protocols = Protocols(nic, nic.capabilities.ndis)
    return protocols.bind(), protocols.bind()


def ask(protocol: ProtocolBinding, kind: RequestKind, oid: int, buffer: bytes, number: int = 1) -> OidResult:
    return protocol.request(OidRequest(kind, oid, buffer, protocol.abi, request_id=number))


def nic_of(profile: str, **options: bool | int) -> Nic:
    # Without the driver's own refusal of a second enabling set, only NDIS can be who refuses it.
    caps = capabilities(profile)
    lenient = caps.readings.__class__(second_enabling_set_fails=False)
    return Nic(capabilities(profile, readings=lenient), iv_source=bytes, **options)  # type: ignore[arg-type]


@pytest.mark.rule("N-CAP-14")
def test_in_5_1_one_protocol_at_a_time_enables_task_offload() -> None:
    nic = nic_of("ndis51")
    first, second = two_over(nic)
    assert ask(first, SET, TASK, ENABLE).status == SUCCESS
    ask(first, SET, ADD, sa().pack(Abi.X64))
    for setting in (ENABLE, DISABLE):
        refused = ask(second, SET, TASK, setting)
        assert (refused.status, refused.reason, refused.bytes_read) == (FAILURE, Reason.ALREADY_ENABLED, 0)
        assert any(nic.receive(native_frame())[0].ipsec)
    # It may ask what there is, and the one that enabled may enable anew.
    assert ask(second, QUERY, TASK, header() + bytes(100)).status == SUCCESS
    assert ask(first, SET, TASK, ENABLE).status == SUCCESS
    # Once the first has disabled it, the second may enable; then the first may not.
    assert ask(first, SET, TASK, DISABLE).status == SUCCESS
    assert not any(nic.receive(native_frame())[0].ipsec)
    assert ask(second, SET, TASK, ENABLE).status == SUCCESS
    assert any(nic.receive(native_frame())[0].ipsec)
    assert ask(first, SET, TASK, ENABLE).status == FAILURE


@pytest.mark.rule("N-CAP-14")
def test_an_enabling_set_that_fails_leaves_task_offload_to_others() -> None:
    first, second = two_over(nic_of("ndis51"))
    assert ask(first, SET, TASK, ENABLE[:-1]).status == NdisStatus.INVALID_LENGTH
    assert ask(second, SET, TASK, ENABLE).status == SUCCESS
    assert ask(first, SET, TASK, b"").status == FAILURE


@pytest.mark.rule("N-CAP-14", "N-CP6-1")
def test_in_6_0_any_protocol_enables_and_all_of_them_hear_of_it() -> None:
    nic = nic_of("ndis60")
    first, second = two_over(nic)
    for protocol, family in ((first, ON), (second, OFF), (second, ON), (first, OFF)):
        setting = bytes([0xA8, 1, 28, 0]) + family.pack(Abi.X64) + bytes(12)
        assert ask(protocol, SET, Oid.OID_OFFLOAD_ENCAPSULATION, setting).status == SUCCESS
        heard = [one.poll() for one in (first, second)]
        assert heard[0] == heard[1]
        assert [event.status for event in heard[0]] == [0x40020006]  # type: ignore[union-attr]
        assert bool(nic.card.rows.control.ipv4_encapsulations) == (family is ON)


@pytest.mark.rule("N-OID-6", "N-CAP-14")
def test_a_completion_goes_to_who_asked_under_its_own_number() -> None:
    nic = nic_of("ndis51", row_ticks=2)
    first, second = two_over(nic)
    for number, protocol in ((5, first), (5, second)):
        assert ask(protocol, SET, ADD, sa().pack(Abi.X64), number).status == PENDING
    seen: dict[str, list[OidCompletion | StatusIndication]] = {"first": [], "second": []}
    for _ in range(4):
        seen["first"] += first.poll()
        seen["second"] += second.poll()
    for events in seen.values():
        assert [event.request_id for event in events if isinstance(event, OidCompletion)] == [5]
    assert len(nic.card.rows.inbound) == 2
    assert nic.driver.state.slots[Table.INBOUND].free() == 2  # type: ignore[attr-defined]
