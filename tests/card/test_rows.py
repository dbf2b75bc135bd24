from dataclasses import replace

import pytest

from nicsim.boundary import AddressRow, CardControl, ParserRow, Row, RowStatus, SaRow, Table, UdpType
from nicsim.card.device import SimulatedCard
from nicsim.card.rows import Rows, transform_of
from nicsim.ipsec.transforms import Encryption, SaKeys
from nicsim.reasons import BY_NUMBER, Reason
from tests.builders import LOCAL, OTHER_HOST, CountedIvs, association, esp_frame, handed_down, host_with, keys
from tests.ipsec.algorithms import AUTHENTICATED, key_name

CAPACITY = {Table.INBOUND: 3, Table.OUTBOUND: 2, Table.PARSER: 2, Table.ADDRESS: 2}
TO_LOCAL = AddressRow(4, LOCAL + bytes(12))
OTHER_4500 = ParserRow(4500, UdpType.OTHER, 1)
SA, SECOND = association(0x1001), association(0x1002)


def row(spi: int = 0x1001) -> SaRow:
    [loaded] = host_with([association(spi)]).nic.card.rows.inbound.values()
    return loaded.row


def new_card() -> SimulatedCard:
    card = SimulatedCard(inbound_rows=3, outbound_rows=2, parser_rows=2, address_rows=2, iv_source=CountedIvs())
    card.enable(CardControl(0xFF, 0xFF, 1, 1))
    return card


def contents(rows: Rows) -> tuple[object, ...]:
    """Everything the tables and their indexes hold."""
    return (
        {slot: loaded.row for slot, loaded in rows.inbound.items()},
        {slot: loaded.row for slot, loaded in rows.outbound.items()},
        dict(rows.parser),
        {key: [loaded.slot for loaded in found] for key, found in rows._inbound_by_spi.items()},
        {port: list(found) for port, found in rows._parser_by_port.items()},
        dict(rows.address),
    )


EMPTY = ({}, {}, {}, {}, {}, {})


def reason_for(card: SimulatedCard, sa_spi: int = 0x1001) -> Reason:
    return BY_NUMBER[card.receive(esp_frame(association(sa_spi)))[1].reason]


def a_row_for(table: Table) -> Row:
    return {Table.PARSER: OTHER_4500, Table.ADDRESS: TO_LOCAL}.get(table) or row()


@pytest.mark.parametrize("table", Table)
def test_a_slot_beyond_the_table_fails_and_changes_nothing(table: Table) -> None:
    card = new_card()
    for other in Table:
        assert card.write_row(other, 0, a_row_for(other)) is RowStatus.DONE
    before = contents(card.rows)
    for slot in (-1, CAPACITY[table], CAPACITY[table] + 1, 2**32):
        assert card.write_row(table, slot, a_row_for(table)) is RowStatus.FAILED
        assert contents(card.rows) == before
    assert card.write_row(table, CAPACITY[table] - 1, a_row_for(table)) is RowStatus.DONE


@pytest.mark.parametrize("table", Table)
def test_a_row_of_the_wrong_table_fails_and_leaves_the_slot_as_it_was(table: Table) -> None:
    card = new_card()
    card.write_row(table, 0, a_row_for(table))
    before = contents(card.rows)
    for other in Table:
        if type(a_row_for(other)) is not type(a_row_for(table)):
            assert card.write_row(table, 0, a_row_for(other)) is RowStatus.FAILED
            assert contents(card.rows) == before


def test_rewriting_a_slot_drops_the_old_spi() -> None:
    card = new_card()
    card.write_row(Table.PARSER, 0, OTHER_4500)
    card.write_row(Table.INBOUND, 1, row(0x1001))
    assert card.write_row(Table.INBOUND, 1, row(0x1002)) is RowStatus.DONE
    assert reason_for(card, 0x1001) is Reason.SA_NOT_OFFLOADED
    assert reason_for(card, 0x1002) is Reason.OPENED
    assert contents(card.rows)[3] == {(0x1002, 50): [1]}


def test_rewriting_a_slot_with_the_same_row_leaves_one_of_it() -> None:
    card = new_card()
    for _ in range(3):
        card.write_row(Table.INBOUND, 1, row())
        card.write_row(Table.PARSER, 1, OTHER_4500)
    assert contents(card.rows)[3:5] == ({(0x1001, 50): [1]}, {4500: [(1, OTHER_4500)]})


def test_rewriting_a_parser_slot_drops_the_old_port() -> None:
    card = new_card()
    card.write_row(Table.INBOUND, 0, row())
    card.write_row(Table.PARSER, 0, OTHER_4500)
    card.write_row(Table.PARSER, 0, ParserRow(4501, UdpType.OTHER, 1))
    assert reason_for(card) is Reason.NO_PARSER_ENTRY
    assert contents(card.rows)[4] == {4501: [(0, ParserRow(4501, UdpType.OTHER, 1))]}


def test_rewriting_an_outbound_slot_seals_by_the_new_row() -> None:
    card = new_card()
    card.write_row(Table.OUTBOUND, 0, row(0x1001))
    card.write_row(Table.OUTBOUND, 0, row(0x1002))
    assert card.send(handed_down(association(0x1001, inbound=False)), 0)[1] is Reason.BAD_SEND_FRAME
    assert card.send(handed_down(association(0x1002, inbound=False)), 0)[1] is Reason.SEALED


def test_clearing_leaves_nothing_behind() -> None:
    card = new_card()
    for slot, spi in enumerate((0x1001, 0x1002, 0x1001)):
        card.write_row(Table.INBOUND, slot, replace(row(spi), destination_port=slot))
    card.write_row(Table.OUTBOUND, 0, row())
    for slot in range(2):
        card.write_row(Table.PARSER, slot, replace(OTHER_4500, parser_set=slot))
    assert contents(card.rows)[3] == {(0x1001, 50): [0, 2], (0x1002, 50): [1]}
    card.clear_row(Table.INBOUND, 0)
    assert contents(card.rows)[3] == {(0x1001, 50): [2], (0x1002, 50): [1]}
    for table in Table:
        for slot in range(CAPACITY[table]):
            assert card.clear_row(table, slot) is RowStatus.DONE
    assert contents(card.rows) == EMPTY


def test_clearing_one_of_two_parser_rows_leaves_the_other() -> None:
    card = new_card()
    card.write_row(Table.INBOUND, 0, row())
    for slot in (0, 1):
        card.write_row(Table.PARSER, slot, OTHER_4500)
    card.clear_row(Table.PARSER, 0)
    assert reason_for(card) is Reason.OPENED
    card.clear_row(Table.PARSER, 1)
    assert reason_for(card) is Reason.NO_PARSER_ENTRY


@pytest.mark.parametrize("table", Table)
def test_clearing_an_empty_slot_is_no_fault(table: Table) -> None:
    card = new_card()
    for slot in (0, 1, -1, 99):
        assert card.clear_row(table, slot) is RowStatus.DONE
    assert contents(card.rows) == EMPTY


@pytest.mark.parametrize("sa_keys", AUTHENTICATED, ids=key_name)
def test_a_row_holds_the_keys_that_were_offloaded(sa_keys: SaKeys) -> None:
    [loaded] = host_with([association(0x1001, sa_keys)]).nic.card.rows.inbound.values()
    assert transform_of(loaded.row).keys == loaded.transform.keys == sa_keys
    assert (loaded.iv_length, loaded.icv_length) == (sa_keys.encryption.iv_length, sa_keys.icv_length)


def test_keys_never_show() -> None:
    secret = keys(Encryption.AES_GCM_16)
    [loaded] = host_with([association(0x1001, secret)]).nic.card.rows.inbound.values()
    for text in (repr(loaded), repr(loaded.row), str(loaded.row)):
        for key in (secret.encryption_key, secret.salt):
            assert key.hex() not in text
            assert repr(key)[2:-1] not in text


def test_the_card_finishes_every_operation_at_once() -> None:
    card = new_card()
    card.write_row(Table.INBOUND, 0, row())
    assert card.poll() == ()


# --- shared addresses ------------------------------------------------------------------------------------------------


def shared(slot: int, spi: int = 0x1001) -> SaRow:
    """An association row that names an address row, and whose own destination is somebody else's."""
    return replace(row(spi), address_slot=slot + 1, destination_address=OTHER_HOST + bytes(12))


def test_the_shared_address_decides_and_not_the_rows_own() -> None:
    card = new_card()
    card.write_row(Table.PARSER, 0, OTHER_4500)
    card.write_row(Table.INBOUND, 0, shared(1))
    assert reason_for(card) is Reason.FILTER_MISMATCH  # the address row is not there yet
    card.write_row(Table.ADDRESS, 0, TO_LOCAL)
    assert reason_for(card) is Reason.FILTER_MISMATCH  # another one is
    card.write_row(Table.ADDRESS, 1, TO_LOCAL)
    assert reason_for(card) is Reason.OPENED
    card.write_row(Table.ADDRESS, 1, AddressRow(4, OTHER_HOST + bytes(12)))
    assert reason_for(card) is Reason.FILTER_MISMATCH
    card.write_row(Table.ADDRESS, 1, AddressRow(6, LOCAL + bytes(12)))
    assert reason_for(card) is Reason.FILTER_MISMATCH  # the same bytes, of another family
    card.write_row(Table.ADDRESS, 1, TO_LOCAL)
    card.clear_row(Table.ADDRESS, 1)
    assert reason_for(card) is Reason.FILTER_MISMATCH


def test_two_associations_share_one_address_row() -> None:
    card = new_card()
    card.write_row(Table.PARSER, 0, OTHER_4500)
    card.write_row(Table.ADDRESS, 0, TO_LOCAL)
    for slot, spi in enumerate((0x1001, 0x1002)):
        card.write_row(Table.INBOUND, slot, shared(0, spi))
    assert [reason_for(card, spi) for spi in (0x1001, 0x1002)] == [Reason.OPENED] * 2
    card.clear_row(Table.INBOUND, 0)
    assert [reason_for(card, spi) for spi in (0x1001, 0x1002)] == [Reason.SA_NOT_OFFLOADED, Reason.OPENED]
    card.reset()
    assert contents(card.rows) == EMPTY


def test_an_address_row_beyond_the_table_cannot_be_named() -> None:
    card = new_card()
    assert card.write_row(Table.INBOUND, 0, shared(2)) is RowStatus.FAILED
    assert contents(card.rows) == EMPTY
