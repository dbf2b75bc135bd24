"""The slow card: row operations that take ticks of a virtual clock, and nothing else that does."""

from __future__ import annotations

import pytest

from nicsim.boundary import Card, CardControl, ParserRow, RowCompletion, RowStatus, Table
from nicsim.card.device import SimulatedCard
from nicsim.card.slow import SlowCard

ROW = ParserRow(port=4500, udp_type=2, parser_set=1)


def slow(ticks: int) -> tuple[SlowCard, SimulatedCard]:
    inner = SimulatedCard(inbound_rows=1, outbound_rows=1, parser_rows=2, iv_source=bytes)
    made = SlowCard(inner, ticks)
    card: Card = made
    assert card is made
    return made, inner


@pytest.mark.parametrize("ticks", [1, 3])
@pytest.mark.rule("N-OID-6")
def test_an_operation_is_done_when_its_time_has_come_and_not_before(ticks: int) -> None:
    card, inner = slow(ticks)
    assert card.write_row(Table.PARSER, 0, ROW) is RowStatus.PENDING
    card.advance(ticks - 1)
    assert (inner.rows.parser, list(card.poll()), card.waiting()) == ({}, [], 1)
    card.advance()
    assert inner.rows.parser == {0: ROW}
    assert (list(card.poll()), list(card.poll()), card.waiting()) == (
        [RowCompletion(Table.PARSER, 0, RowStatus.DONE)], [], 0,
    )  # fmt: skip


def test_operations_are_done_in_order_each_at_its_own_time() -> None:
    card, inner = slow(2)
    card.write_row(Table.PARSER, 0, ROW)
    card.advance()
    card.clear_row(Table.PARSER, 0)
    card.write_row(Table.PARSER, 7, ROW)  # beyond the table
    card.advance()
    assert inner.rows.parser == {0: ROW}
    card.advance()
    assert inner.rows.parser == {}
    statuses = [(done.slot, done.status) for done in card.poll()]
    assert statuses == [(0, RowStatus.DONE), (0, RowStatus.DONE), (7, RowStatus.FAILED)]


def test_a_slow_card_around_a_slow_card_takes_both_times_and_completes_once() -> None:
    inner, _ = slow(1)
    outer = SlowCard(inner, 1)
    outer.write_row(Table.PARSER, 0, ROW)
    outer.advance()
    assert list(outer.poll()) == []
    inner.advance()
    assert list(outer.poll()) == [RowCompletion(Table.PARSER, 0, RowStatus.DONE)]


@pytest.mark.rule("N-RST-1")
def test_a_reset_forgets_rows_and_operations_that_were_not_done_or_not_told() -> None:
    card, inner = slow(1)
    card.enable(CardControl(ipv4_encapsulations=2))
    card.write_row(Table.PARSER, 0, ROW)
    card.advance()
    card.write_row(Table.PARSER, 1, ROW)
    card.reset()
    card.advance(9)
    assert (inner.rows.parser, inner.rows.control, list(card.poll())) == ({}, CardControl(), [])
    assert inner.rows.parsers_of(4500) is None


def test_frames_and_control_take_no_time() -> None:
    card, inner = slow(100)
    card.enable(CardControl(ipv4_encapsulations=2))
    assert inner.rows.control.ipv4_encapsulations == 2
    assert card.receive(b"frame") == inner.receive(b"frame")
    assert card.send(b"frame", 0) == inner.send(b"frame", 0)
