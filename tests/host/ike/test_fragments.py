"""IKE fragments: sent to who takes them, put together in any order, bounded."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from nicsim.errors import IkeRefused
from nicsim.events import (
    Endpoint,
    MessageDropped,
    OutboundUsable,
    UdpDatagram,
)
from nicsim.host.ike.fragments import MAX_FRAGMENTS, Reassembly, split
from nicsim.wire.isakmp import (
    HEADER_LENGTH,
    Header,
    Message,
    Payload,
    PayloadType,
    parse_message,
)
from nicsim.wire.isakmp_payloads import (
    Fragment,
)
from tests.host.ike.couple import (
    A_ADDRESS,
    A_NAT,
    B_ADDRESS,
    Couple,
    PortNat,
    initiator,
    ours,
    phase1,
    responder,
    theirs,
)
from tests.host.ike.hostile import COOKIE, NONCE, standing, up

# --- fragments -------------------------------------------------------------------------------------------------------


def fragmented(**changes: object) -> Couple:
    policy = phase1(fragment_above=100, **changes)
    couple = Couple(initiator(), responder(theirs(policy)), nat_a=PortNat(A_NAT))
    couple.a.initiate(couple.now, ours(policy))
    return couple


def test_large_messages_go_in_fragments_once_the_peer_announced_that_it_takes_them() -> None:
    couple = fragmented()
    couple.run()
    couple.one("b", OutboundUsable)
    by_size = [len(sent.datagram.payload) for sent in couple.sent]
    # Messages one and two are whole: nothing was announced before them. Three and four come in pieces.
    assert by_size[0] > 100
    assert all(size <= 104 for size in by_size[2:8])
    plain = Couple(initiator(), responder(theirs(phase1(fragment_above=None))), nat_a=PortNat(A_NAT))
    plain.a.initiate(plain.now, ours(phase1(fragment_above=100)))
    plain.run()
    plain.one("b", OutboundUsable)
    assert max(len(sent.datagram.payload) for sent in plain.sent[2:4]) > 200


@pytest.mark.parametrize("seed", range(20))
def test_fragments_come_together_in_any_order_lost_and_doubled(seed: int) -> None:
    chance = random.Random(seed)
    couple = fragmented()

    def shuffled(said: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        events = [one for one in said if not isinstance(one[1], UdpDatagram)]
        datagrams = [one for one in said if isinstance(one[1], UdpDatagram) for _ in range(chance.choice([1, 1, 2]))]
        chance.shuffle(datagrams)
        return events + datagrams

    couple.arrange = shuffled
    couple.lose = lambda _: chance.random() < 0.05
    couple.run()
    couple.wait(150)
    couple.one("a", OutboundUsable)
    assert couple.of("a", MessageDropped) == couple.of("b", MessageDropped) == []


def message_of(length: int) -> bytes:
    return Message(Header(COOKIE, b"r" * 8, 0, 2, 1, 0), (), bytes(length - HEADER_LENGTH)).build()


def test_a_message_splits_and_comes_together_again() -> None:
    whole = message_of(1000)
    assert split(whole, 37, 7) == [whole]  # too many
    for largest in (52, 100, 999):
        pieces = split(whole, largest, 7)
        assert all(len(piece) <= largest for piece in pieces)
        for order in (pieces, pieces[::-1]):
            reassembly = Reassembly()
            results = [reassembly.add(parse_message(piece).payloads) for piece in order]
            assert results == [None] * (len(pieces) - 1) + [whole]


def test_fragments_that_do_not_go_together_begin_anew_and_memory_is_bounded() -> None:
    def add(reassembly: Reassembly, *fields: Any) -> bytes | None:
        return reassembly.add((Payload(PayloadType.FRAGMENT, Fragment(*fields).build()),))

    one = Reassembly()
    assert add(one, 1, 1, False, b"a") is None
    assert add(one, 2, 1, False, b"x") is None  # another message
    assert add(one, 1, 2, True, b"b") is None
    assert add(one, 1, 1, False, b"a") == b"ab"
    assert add(one, 1, 1, False, b"a") is None
    assert add(one, 1, 1, False, b"A") is None  # other contents
    assert add(one, 1, 2, True, b"b") == b"Ab"
    assert add(one, 1, 3, True, b"c") is None
    assert add(one, 1, 2, True, b"b") is None  # another last one
    assert add(one, 1, 1, False, b"a") == b"ab"
    assert add(one, 1, 3, False, b"c") is None
    assert add(one, 1, 2, True, b"b") is None  # a last one that is not the last
    assert add(one, 1, 1, False, b"a") == b"ab"

    for number in range(1, 33):
        add(one, 9, number, False, bytes(2000))
    for fields in ((9, 33, False, bytes(2000)), (9, MAX_FRAGMENTS + 1, False, b"x"), (9, 255, True, b"x")):
        with pytest.raises(IkeRefused):
            add(one, *fields)
    assert sum(map(len, one._pieces.values())) == 64_000
    with pytest.raises(IkeRefused):
        one.add((Payload(PayloadType.FRAGMENT, Fragment(1, 1, True, b"a").build()), Payload(NONCE, b"")))


def test_fragments_of_something_else_are_refused() -> None:
    couple = up()
    (ike,) = couple.b._daemon.ike_sas.values()
    before = standing(couple.b)
    header = Header(ike.phase1.initiator_cookie, ike.phase1.responder_cookie, 0, 2, 0, 0)
    inside = [
        Message(header, (Payload(PayloadType.FRAGMENT, Fragment(1, 1, True, b"inner").build()),)).build(),
        Message(replace(header, initiator_cookie=b"other???"), ()).build(),
        b"no message",
    ]
    for number, whole in enumerate(inside, 1):
        body = Fragment(number, 1, True, whole).build()
        message = Message(header, (Payload(PayloadType.FRAGMENT, body),)).build()
        couple.carry("a", UdpDatagram(Endpoint(A_ADDRESS, 4500), Endpoint(B_ADDRESS, 4500), bytes(4) + message))
    couple.run()
    assert len(couple.of("b", MessageDropped)) == 3
    assert standing(couple.b) == before
