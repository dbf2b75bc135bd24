"""A series of echo requests: when each goes, what counts as its answer, and when it is over."""

from __future__ import annotations

import pytest

from nicsim.connect.pings import Pings
from nicsim.wire.headers import build_ipv4, parse_address
from nicsim.wire.icmp import build_echo_request, echo_reply
from nicsim.wire.packet import LinkType, parse_frame

HERE, THERE = parse_address("10.0.0.2"), parse_address("192.168.50.1")


def pings(count: int = 3) -> Pings:
    return Pings(HERE, THERE, count, interval=0.2, patience=2.0, identifier=0xBEEF, begin=1.0)


def answer(request: bytes) -> bytes:
    reply = echo_reply(request, parse_frame(request, LinkType.RAW))
    assert reply is not None
    return reply


def test_they_go_one_interval_after_the_other_and_end_with_the_last_answer() -> None:
    series = pings()
    assert (series.due(0.9), series.deadline(), series.over(0.9)) == (None, 1.0, False)
    first = series.due(1.0)
    assert first is not None
    assert (series.due(1.1), series.deadline()) == (None, 1.2)
    assert series.take(1.05, answer(first))
    second, third = series.due(1.2), series.due(1.4)
    assert second is not None
    assert third is not None
    assert len({first, second, third}) == 3
    assert (series.due(9.0), series.sent) == (None, 3)
    assert series.take(1.5, answer(third))
    assert (series.deadline(), series.over(3.3), series.over(3.4)) == (3.4, False, True)
    assert series.take(3.35, answer(second))
    assert (series.deadline(), series.over(3.35)) == (None, True)
    assert series.round_trips() == pytest.approx((50.0, (50.0 + 100.0 + 2150.0) / 3, 2150.0))


def test_only_the_answer_to_a_request_of_ours_counts_and_only_once() -> None:
    series = pings()
    assert series.round_trips() is None
    request = series.due(1.0)
    assert request is not None
    right = answer(request)
    others = Pings(HERE, THERE, 1, 0.0, 0.0, identifier=0xBEEE).due(0.0)
    assert others is not None
    for wrong in (
        request,
        answer(others),
        right[:-1] + b"\0",
        right[:22] + b"\0\0" + right[24:],
        right[:12] + HERE + right[16:],
        build_ipv4(THERE, HERE, 1, b"\0\0"),
        build_ipv4(THERE, HERE, 17, right[20:]),
        answer(build_echo_request(HERE, THERE, 0xBEEF, 2, right[28:])),
        answer(build_echo_request(HERE, THERE, 0xBEEF, 1, b"other data")),
    ):
        assert not series.take(1.1, wrong)
    assert series.answered == {}
    assert series.take(1.1, right)
    assert series.take(1.3, right)
    assert series.answered == {1: pytest.approx(100.0)}
