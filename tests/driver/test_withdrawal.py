"""What OID_TCP_OFFLOAD_PARAMETERS disables stops working though another version, or AH, or ESP, stays on (N-CP6-7)."""

from __future__ import annotations

import pytest

from nicsim.boundary import Table
from nicsim.reasons import Reason
from offload_oids import NdisStatus, Oid
from tests.driver.builders import (
    AH_ELEMENT,
    KEY_AES,
    KEY_SHA1,
    KEY_SHA256,
    OUTBOUND,
    SPI,
    Bench,
    SlowCard,
    bench,
    capabilities,
    native_frame,
    sa,
    udp_frame,
    v2,
)
from tests.driver.test_configuration import ipsec
from tests.driver.test_sequence_numbers import buffer as update
from tests.oracle_esp import OracleSa

PARAMETERS, SUCCESS = Oid.OID_TCP_OFFLOAD_PARAMETERS, NdisStatus.SUCCESS
DISABLED, AH_ONLY, ESP_ONLY, BOTH = 1, 2, 3, 4
V2_FRAME = udp_frame(OracleSa("aes-cbc", KEY_AES[:16], "sha256", KEY_SHA256, 16), SPI + 1)


def both_versions(**caps: object) -> tuple[Bench, int, int, int]:
    """A card at work, with an inbound association of each version and an outbound one of version 1."""
    nic = bench(capabilities(version2={"extended_sequence_numbers": True}, **caps)).enable()
    return nic, nic.added(sa()), nic.added_v2(v2(SPI + 1)), nic.added(sa(flags=OUTBOUND))


def work(nic: Bench) -> tuple[bool, bool]:
    return nic.receive(native_frame()) is Reason.OPENED, nic.receive(V2_FRAME) is Reason.OPENED


def sent(nic: Bench, handle: int) -> NdisStatus:
    return nic.driver.send(native_frame(), handle.to_bytes(8, "little")).status


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (ipsec(v1=DISABLED), (False, True)),
        (ipsec(v1=AH_ONLY), (False, True)),
        (ipsec(v1=ESP_ONLY), (True, True)),
        (ipsec(v2=DISABLED), (True, False)),
        (ipsec(v2=AH_ONLY), (True, False)),
        (ipsec(v2=ESP_ONLY), (True, True)),
        (ipsec(v1=DISABLED, v2=DISABLED), (False, False)),
    ],
)
@pytest.mark.rule("N-CP6-7", "A-13")
def test_associations_of_what_is_disabled_stop_working_and_come_back(setting: bytes, left: tuple[bool, bool]) -> None:
    nic, version_1, version_2, outbound = both_versions()
    before, frame = nic.snapshot(), nic.driver.send(native_frame(), outbound.to_bytes(8, "little")).frame
    assert work(nic) == (True, True)
    assert nic.set(PARAMETERS, setting).status == SUCCESS
    assert work(nic) == left
    assert sent(nic, outbound) == (SUCCESS if left[0] else NdisStatus.FAILURE)
    # A reset does not bring them back, setting the same again changes nothing, and their slots are not given away.
    nic.driver.reset()
    assert nic.set(PARAMETERS, setting).status == SUCCESS
    assert work(nic) == left
    assert len(nic.free(Table.INBOUND)) == 2
    assert nic.set(PARAMETERS, ipsec(v1=BOTH, v2=BOTH)).status == SUCCESS
    assert work(nic) == (True, True)
    assert nic.driver.send(native_frame(), outbound.to_bytes(8, "little")).frame == frame
    assert nic.snapshot() == before
    assert nic.delete_sa(version_1).status == nic.delete_v2(version_2).status == SUCCESS
    assert nic.rows[Table.INBOUND] == {}


@pytest.mark.rule("N-CP6-7")
def test_an_association_of_ah_and_esp_needs_both() -> None:
    nic = bench().enable()
    nic.added(sa(sec_assoc=(AH_ELEMENT,), key_mat=KEY_SHA1))
    nic.added(sa(num_sas=2, sec_assoc=(sa().sec_assoc[0], AH_ELEMENT), key_mat=sa().key_mat + KEY_SHA1))
    for setting, rows in ((AH_ONLY, [51]), (ESP_ONLY, []), (BOTH, [50, 51, 51]), (DISABLED, [])):
        nic.set(PARAMETERS, ipsec(v1=setting))
        assert sorted(row.protocol for row in nic.rows[Table.INBOUND].values()) == rows  # type: ignore[union-attr]


@pytest.mark.rule("N-CP6-7", "N-SA-21", "N-V2-13")
def test_a_disabled_association_can_be_deleted_and_updated() -> None:
    nic, version_1, version_2, _ = both_versions()
    extended = nic.added_v2(v2(SPI + 5, element={"flags": 1}))
    nic.set(PARAMETERS, ipsec(v1=DISABLED, v2=DISABLED))
    buffer = update(nic.abi, extended, 9, spi=SPI + 5)
    assert nic.direct(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, buffer).status == SUCCESS
    assert nic.rows[Table.INBOUND] == {}
    assert nic.delete_sa(version_1).status == nic.delete_v2(version_2).status == SUCCESS
    assert len(nic.free(Table.INBOUND)) == 3
    nic.set(PARAMETERS, ipsec(v1=BOTH, v2=BOTH))
    assert (nic.row().spi, nic.row().sequence_high) == (SPI + 5, 9)
    assert nic.driver.state.withdrawn == set()


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.rule("N-CP6-7", "N-DEL-4")
def test_where_the_card_does_not_let_a_row_go_nothing_is_disabled(failing: int) -> None:
    nic, _, _, outbound = both_versions()
    before = nic.snapshot()
    nic.card.fail_clears = {len(nic.card.clears) + failing}
    nic.refuses(nic.set(PARAMETERS, ipsec(v1=DISABLED)), NdisStatus.FAILURE, Reason.ROW_CLEAR_FAILED)
    assert nic.snapshot() == before
    assert work(nic) == (True, True)
    assert sent(nic, outbound) == SUCCESS
    assert nic.indications() == []


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.rule("N-CP6-7")
def test_where_the_card_does_not_take_a_row_back_nothing_is_enabled(failing: int) -> None:
    nic, _, _, _ = both_versions()
    nic.set(PARAMETERS, ipsec(v1=DISABLED, v2=DISABLED))
    nic.indications()
    before = nic.snapshot()
    nic.card.fail_writes = {len(nic.card.writes) + failing}
    nic.refuses(nic.set(PARAMETERS, ipsec(v1=BOTH, v2=BOTH)), NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED)
    assert nic.snapshot() == before
    assert nic.indications() == []
    assert nic.set(PARAMETERS, ipsec(v1=BOTH, v2=BOTH)).status == SUCCESS
    assert work(nic) == (True, True)


@pytest.mark.rule("N-CP6-7", "A-34")
def test_version_2s_own_parser_row_goes_again_where_the_rest_fails() -> None:
    nic = bench()
    nic.set(PARAMETERS, ipsec(v2=DISABLED))
    nic.enable()
    nic.added(sa())
    nic.set(PARAMETERS, ipsec(v1=DISABLED))
    before = nic.snapshot()
    nic.card.fail_writes = {len(nic.card.writes) + 1}  # the parser row is taken, the association's is not
    nic.refuses(nic.set(PARAMETERS, ipsec(v1=BOTH, v2=BOTH)), NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED)
    assert nic.snapshot() == before


@pytest.mark.rule("N-CP6-7", "N-RST-1", "N-RST-3")
def test_a_reset_in_the_middle_leaves_what_was_on_before() -> None:
    nic = bench(card=SlowCard).enable()
    nic.add_sa(sa())
    while nic.card.waiting:
        nic.driver.poll()
    assert nic.set(PARAMETERS, ipsec(v1=DISABLED)).status == NdisStatus.PENDING
    nic.driver.reset()
    while nic.card.waiting:
        nic.driver.poll()
    assert nic.receive(native_frame()) is Reason.OPENED


@pytest.mark.rule("N-CP6-7", "N-DEL-4")
def test_a_row_that_came_back_and_would_not_go_again_is_marked_and_does_not_work_meanwhile() -> None:
    nic, version_1, _, _ = both_versions()
    nic.set(PARAMETERS, ipsec(v1=DISABLED))
    # The first row comes back, the second is refused, and the first would not be cleared again.
    nic.card.fail_writes = {len(nic.card.writes) + 1}
    nic.card.fail_clears = {len(nic.card.clears)}
    nic.refuses(nic.set(PARAMETERS, ipsec(v1=BOTH)), NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED)
    assert len(nic.driver.state.marked) == 1
    assert work(nic) == (False, False)
    free = nic.free(Table.INBOUND)
    while nic.driver.state.marked:  # tried again with each request
        nic.delete_sa(0xDEA8)
    assert work(nic) == (False, True)
    assert nic.free(Table.INBOUND) == free  # the association keeps its slot, out of the card or not
    assert nic.set(PARAMETERS, ipsec(v1=BOTH)).status == SUCCESS
    assert work(nic) == (True, True)
    assert nic.delete_sa(version_1).status == SUCCESS
