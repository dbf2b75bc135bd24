"""Half-open phases, notifications, cookies, and what never shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nicsim.events import (
    AssociationsReady,
    Endpoint,
    ExchangeFailed,
    MessageDropped,
    OutboundUsable,
    UdpDatagram,
)
from nicsim.host.ike.config import Phase1Exchange
from nicsim.host.ike.timers import Timers
from nicsim.reasons import Reason
from nicsim.wire.isakmp import (
    parse_header,
    parse_message,
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
from tests.host.ike.hostile import STRANGER, first_message, standing, up


def strangers(count: int) -> list[UdpDatagram]:
    good = parse_message(first_message())
    return [
        UdpDatagram(
            Endpoint(bytes((198, 51, number // 250, number % 250)), 500),
            Endpoint(B_ADDRESS, 500),
            replace(good, header=replace(good.header, initiator_cookie=b"%08d" % (number + 1))).build(),
        )
        for number in range(count)
    ]


def test_half_open_phases_are_limited_and_end_by_themselves() -> None:
    couple = Couple(initiator(), responder(theirs(), half_open_limit=20))
    for datagram in strangers(50):
        couple.b.receive(couple.now, datagram)
    dropped = [item for item in couple.b.poll() if isinstance(item, MessageDropped)]
    assert len(couple.b._daemon.ike_sas) == 20
    assert {one.reason for one in dropped} == {Reason.IKE_HALF_OPEN_LIMIT}
    assert {one.notify_sent for one in dropped} == {None}
    couple.wait(300)
    assert len(couple.of("b", ExchangeFailed)) == 20
    assert standing(couple.b) == standing(Couple(initiator(), responder()).b)
    # And then there is room again.
    couple.a.initiate(couple.now, ours())
    couple.run()
    couple.one("b", OutboundUsable)


def test_notifies_are_limited_each_second() -> None:
    couple = Couple(initiator(), responder(theirs(), notifies_per_second=3))
    bad = first_message(version=0x20)
    for number in range(10):
        couple.b.receive(5.0 + number / 100, UdpDatagram(STRANGER, Endpoint(B_ADDRESS, 500), bad))
    out = list(couple.b.poll())
    assert len([item for item in out if isinstance(item, UdpDatagram)]) == 3
    assert len([item for item in out if isinstance(item, MessageDropped)]) == 10
    couple.b.receive(6.5, UdpDatagram(STRANGER, Endpoint(B_ADDRESS, 500), bad))
    assert len([item for item in couple.b.poll() if isinstance(item, UdpDatagram)]) == 1


def test_a_repeated_first_message_is_answered_again_and_is_no_second_one() -> None:
    peer = Couple(initiator(), responder(theirs())).b
    datagram = UdpDatagram(STRANGER, Endpoint(B_ADDRESS, 500), first_message())
    answers = []
    for _ in range(3):
        peer.receive(1.0, datagram)
        answers += [item.payload for item in peer.poll() if isinstance(item, UdpDatagram)]
    assert len(answers) == 3
    assert len(set(answers)) == 1
    assert len(peer._daemon.ike_sas) == 1


def test_cookies_are_different_each_time_and_not_for_others_to_make() -> None:
    couples = [Couple(initiator(), responder(theirs()), seed=seed) for seed in (1, 1, 2)]
    cookies = []
    for couple in couples:
        for datagram in strangers(5):
            couple.b.receive(couple.now, datagram)
        answers = [item for item in couple.b.poll() if isinstance(item, UdpDatagram)]
        cookies.append([parse_header(one.payload).responder_cookie for one in answers])
    assert len(set(cookies[0])) == 5
    assert cookies[0] == cookies[1]  # the same randomness, the same bytes
    assert not set(cookies[0]) & set(cookies[2])


def test_esp_and_keepalives_on_port_4500_are_not_looked_at() -> None:
    couple = up()
    before = standing(couple.b)
    for payload in (b"\xff", b"", b"\0", b"\0\0\0\1" + bytes(40), b"\1\2\3\4" + bytes(40)):
        couple.carry("a", UdpDatagram(Endpoint(A_ADDRESS, 4500), Endpoint(B_ADDRESS, 4500), payload))
    couple.run()
    assert standing(couple.b) == before
    assert couple.events["b"] == []


def test_no_event_shows_a_key() -> None:
    couple = Couple(initiator(keep_ike_keys=True), responder(theirs(), keep_ike_keys=True))
    couple.a.initiate(couple.now, ours())
    couple.run()
    (ike,) = couple.b._daemon.ike_sas.values()
    keys = ike.phase1.keys
    assert keys is not None
    shown = repr(couple.order) + repr(couple.b._daemon.ike_sas) + repr(ike.phase1) + repr(couple.b.ike_decryption())
    ready = couple.one("b", AssociationsReady)
    secrets = [keys.skeyid, keys.skeyid_e, keys.cipher_key, ready.inbound.keys.encryption_key]
    for secret in secrets:
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_keys_for_wireshark_are_kept_only_on_demand() -> None:
    for asked in (False, True):
        couple = Couple(initiator(keep_ike_keys=asked), responder(theirs()))
        couple.a.initiate(couple.now, ours())
        couple.run()
        (ike,) = couple.b._daemon.ike_sas.values()
        assert ike.phase1.keys is not None
        rows = couple.a.ike_decryption()
        wanted = [(ike.phase1.initiator_cookie, ike.phase1.keys.cipher_key)] if asked else []
        assert [(row.initiator_cookie, row.key) for row in rows] == wanted


@pytest.mark.parametrize("exchange", Phase1Exchange, ids=lambda one: one.value)
def test_many_negotiations_one_after_the_other_leave_nothing(exchange: Phase1Exchange) -> None:
    """bench/ike.py does ten thousand, with hosts and NICs around them."""
    policy = phase1(exchange=exchange, dead_peer_interval=30)
    couple = Couple(initiator(), responder(theirs(policy)), nat_a=PortNat(A_NAT))
    for _ in range(30):
        couple.a.initiate(couple.now, ours(policy))
        couple.run()
        couple.wait(1)
        couple.a.close(couple.now)
        couple.run()
    assert len(couple.of("b", AssociationsReady)) == 30
    couple.wait(1000)
    fresh = standing(Couple(initiator(), responder()).b)
    assert standing(couple.a) == standing(couple.b) == fresh


def test_stopped_timers_take_no_room_and_the_next_one_is_the_earliest() -> None:
    timers, ran = Timers(), []
    started = [timers.start(float(when), ran.append) for when in range(10_000, 0, -1)]
    for timer in started[:-3]:
        timers.stop(timer)
        timers.stop(timer)
    assert len(timers) == 3
    assert len(timers._heap) < 200
    assert timers.next() == 1.0
    timers.tick(2.5)
    assert (ran, len(timers), timers.next()) == ([2.5, 2.5], 1, 3.0)
    timers.start(0.0, lambda now: timers.start(now, ran.append) and None)
    timers.tick(2.6)  # what is started for a time that has come runs too
    assert ran[2:] == [2.6]
    timers.stop(started[-3])
    timers.stop(None)
    assert timers.next() is None
