"""Rules that the driver does not keep yet. Each test fails today; one that begins to pass must leave this file."""

from __future__ import annotations

import struct

import pytest

from nicsim.boundary import Table
from nicsim.reasons import Reason
from offload_oids import NdisStatus, Oid
from tests.driver.builders import IKE_TYPE, ON, SlowCard, bench, capabilities, native_frame, sa, udpesp, v2


@pytest.mark.xfail(reason="N-DEL-4: the row that would not clear stays live on the card until a later request")
def test_a_marked_association_is_not_used_for_incoming_packets() -> None:
    nic = bench().enable()
    handle = nic.added(sa())
    nic.card.fail_clears = {0}
    assert nic.delete_sa(handle).status == NdisStatus.FAILURE
    assert nic.receive(native_frame()) is not Reason.OPENED


@pytest.mark.xfail(reason="A-33: enabling adds version 2's row to port 4500 beside an entry of the other type")
def test_enabling_does_not_give_port_4500_a_second_type() -> None:
    nic = bench()
    assert nic.add_udpesp(udpesp(kind=IKE_TYPE)).status == NdisStatus.SUCCESS
    nic.encapsulate(ON)
    assert len({row.udp_type for row in nic.rows[Table.PARSER].values()}) == 1


@pytest.mark.xfail(reason="N-CAP-9, N-CAP-11: members of the enabling set that are zero are enabled all the same")
def test_a_set_that_enables_nothing_of_its_task_enables_nothing() -> None:
    nic = bench(capabilities("ndis51"))
    nic.added(sa())
    nothing = struct.pack("<7I", 1, 28, 0, 28, 2, 1, 14) + struct.pack("<5I", 1, 24, 1, 0, 24) + bytes(24)
    assert nic.set(Oid.OID_TCP_TASK_OFFLOAD, nothing).status == NdisStatus.SUCCESS
    assert nic.receive(native_frame()) is not Reason.OPENED


@pytest.mark.xfail(reason="N-CP6-5: the card has one switch for both families, so OFF for IPv4 alone stops IPv6 too")
def test_off_for_one_family_leaves_the_other_on() -> None:
    nic = bench()
    nic.encapsulate(ON, ON)
    nic.encapsulate(type(ON)(2))
    assert nic.card.card.rows.control.encapsulations == 0x2


@pytest.mark.xfail(reason="section 2: a version 2 delete that pended must end with SUCCESS, whatever the card says")
def test_a_pended_version_2_delete_ends_with_success() -> None:
    nic = bench(card=SlowCard)
    nic.add_v2(v2())
    nic.completions()
    (handle,) = nic.driver.state.associations
    nic.card.fail_clears = {0}
    assert nic.delete_v2(handle).status == NdisStatus.PENDING
    (done,) = nic.completions()
    assert done.result.status == NdisStatus.SUCCESS
