"""What happens to what was agreed: rekeys with overlap, ends, dead peers, keepalives, and peers that move."""

from dataclasses import replace

import pytest

from nicsim.events import (
    AssociationsDeleted,
    AssociationsReady,
    By,
    Endpoint,
    ExchangeFailed,
    IkeDown,
    IkeUp,
    KeepaliveSent,
    MessageDropped,
    MessageSeen,
    Nat,
    OutboundUsable,
    PeerMoved,
)
from nicsim.host.ike.config import Phase1Exchange
from nicsim.host.ike.identity import Identity
from nicsim.reasons import Reason
from nicsim.wire.isakmp import NotifyType, PayloadType, parse_message
from nicsim.wire.isakmp_payloads import Notification, parse_notification
from tests.host.ike.couple import (
    A_ADDRESS,
    A_NAT,
    B_ADDRESS,
    Couple,
    PortNat,
    initiator,
    ours,
    phase1,
    phase2,
    responder,
    theirs,
)


def established(*, nat: PortNat | None = None, p1: dict[str, object] | None = None, **p2: object) -> Couple:
    p1 = p1 or {}
    couple = Couple(initiator(), responder(theirs(phase1(**p1), phase2(turned=True, **p2))), nat_a=nat)
    couple.a.initiate(couple.now, ours(phase1(**p1), phase2(**p2)))
    couple.run()
    couple.one("b", OutboundUsable)
    return couple


# --- phase 2 ---------------------------------------------------------------------------------------------------------


def test_the_initiator_rekeys_before_the_end_and_both_drain_the_old_pair() -> None:
    couple = established(lifetime=1000)
    first = couple.one("a", AssociationsReady)
    couple.clear()
    couple.wait(899)
    assert couple.sent == []
    couple.wait(2)
    ready = couple.one("a", AssociationsReady)
    assert ready.replaces == (first.pair,)
    assert couple.one("b", AssociationsReady).replaces
    assert ready.inbound.spi != first.inbound.spi
    assert ready.inbound.keys != first.inbound.keys
    # Nothing is deleted while packets may still be on their way.
    assert couple.of("a", AssociationsDeleted) == couple.of("b", AssociationsDeleted) == []
    couple.wait(30)
    gone, gone_there = couple.one("a", AssociationsDeleted), couple.one("b", AssociationsDeleted)
    assert (gone.pair, gone.reason, gone.by) == (first.pair, Reason.IKE_REPLACED, By.LOCAL)
    assert (gone_there.reason, gone_there.by) == (Reason.IKE_DELETED, By.REMOTE)
    assert (gone.inbound_spi, gone.outbound_spi) == (gone_there.outbound_spi, gone_there.inbound_spi)
    # And so on.
    couple.clear()
    couple.wait(5000)
    assert len(couple.of("a", AssociationsReady)) == len(couple.of("a", AssociationsDeleted)) == 5


@pytest.mark.parametrize("group", [None, 1, 2])
def test_a_rekey_at_the_hosts_wish_with_and_without_a_key_exchange_of_its_own(group: int | None) -> None:
    couple = established(pfs_group=group)
    first = couple.one("a", AssociationsReady)
    couple.clear()
    couple.a.rekey(couple.now, first.pair)
    couple.run()
    ready = couple.one("a", AssociationsReady)
    assert (ready.replaces, ready.pfs_group) == ((first.pair,), group)
    assert ("KE" in couple.ladder[0].split()) is (group is not None)
    assert ready.outbound.keys == couple.one("b", AssociationsReady).inbound.keys


def test_the_responder_may_rekey_too() -> None:
    couple = established(nat=PortNat(A_NAT))
    couple.clear()
    couple.b.rekey(couple.now, 2)
    couple.run()
    assert couple.ladder[0] == "b 4500->1024 marker * HASH SA NONCE ID ID"
    assert couple.one("a", AssociationsReady).replaces == (2,)
    couple.wait(31)
    assert couple.one("b", AssociationsDeleted).by is By.LOCAL
    assert couple.one("a", AssociationsDeleted).by is By.REMOTE


def test_both_may_rekey_at_once() -> None:
    couple = established()
    couple.clear()
    couple.a.rekey(couple.now, 2)
    couple.b.rekey(couple.now, 2)
    couple.run()
    for name in "ab":
        assert len(couple.of(name, OutboundUsable)) == 2
    couple.wait(200)
    deleted = [event.pair for event in couple.of("a", AssociationsDeleted)]
    assert 2 in deleted
    # At least one stays, and both sides agree which.
    left = [ready for ready in couple.of("a", AssociationsReady) if ready.pair not in deleted]
    there = [event.pair for event in couple.of("b", AssociationsDeleted)]
    left_there = [ready for ready in couple.of("b", AssociationsReady) if ready.pair not in there]
    assert {one.inbound.spi for one in left} == {one.outbound.spi for one in left_there}
    assert left


def test_a_shorter_lifetime_of_the_responder_is_told_and_kept_by_both() -> None:
    server = responder(theirs(p2=phase2(turned=True, lifetime=500)))
    couple = Couple(initiator(), server)
    couple.a.initiate(couple.now, ours(p2=phase2(lifetime=1000)))
    couple.run()
    assert couple.one("a", AssociationsReady).lifetime == couple.one("b", AssociationsReady).lifetime == 500
    assert couple.ladder[-2].endswith("HASH SA NONCE ID ID N")
    couple.clear()
    couple.wait(460)
    couple.one("a", AssociationsReady)


def test_a_longer_lifetime_of_the_responder_gives_way() -> None:
    couple = Couple(initiator(), responder(theirs(p2=phase2(turned=True, lifetime=5000, lifetime_kilobytes=700))))
    couple.a.initiate(couple.now, ours(p2=phase2(lifetime=1000, lifetime_kilobytes=900)))
    couple.run()
    ready = couple.one("b", AssociationsReady)
    assert (ready.lifetime, ready.lifetime_kilobytes) == (1000, 700)


def test_a_pair_that_nobody_rekeys_expires() -> None:
    couple = established(lifetime=1000)
    couple.clear()
    couple.lose = lambda _: True
    couple.wait(1001)
    for name in "ab":
        assert couple.one(name, AssociationsDeleted).reason is Reason.IKE_EXPIRED


def test_a_rekey_that_fails_is_tried_again() -> None:
    couple = established(lifetime=10_000)
    couple.clear()
    couple.lose = lambda _: True
    couple.wait(9200)
    assert couple.one("a", ExchangeFailed).reason is Reason.IKE_TIMED_OUT
    couple.lose = lambda _: False
    couple.wait(300)
    couple.one("a", AssociationsReady)
    couple.wait(300)
    assert couple.one("a", AssociationsDeleted).reason is Reason.IKE_REPLACED


@pytest.mark.parametrize("by", ["a", "b"])
def test_either_side_may_delete_a_pair(by: str) -> None:
    couple = established()
    couple.clear()
    couple.peers[by].delete(couple.now, 2)
    couple.run()
    other = "b" if by == "a" else "a"
    assert couple.one(by, AssociationsDeleted).by is By.LOCAL
    gone = couple.one(other, AssociationsDeleted)
    assert (gone.by, gone.reason) == (By.REMOTE, Reason.IKE_DELETED)
    assert couple.of(by, IkeDown) == couple.of(other, IkeDown) == []
    # An unknown number is no error: the pair may just have ended.
    couple.peers[by].delete(couple.now, 2)
    couple.peers[by].rekey(couple.now, 2)
    couple.run()


# --- phase 1 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", Phase1Exchange, ids=lambda one: one.value)
def test_phase_1_is_rekeyed_with_overlap_and_its_pairs_move_along(exchange: Phase1Exchange) -> None:
    couple = established(nat=PortNat(A_NAT), p1={"lifetime": 1000, "exchange": exchange}, lifetime=100_000)
    old = couple.one("a", IkeUp)
    couple.clear()
    couple.wait(901)
    new = couple.one("a", IkeUp)
    assert (new.replaces, couple.one("b", IkeUp).replaces) == (old.ike, old.ike)
    assert new.initiator_cookie != old.initiator_cookie
    # It goes where the old one went, with the marker from its first message on, and says no initial contact.
    assert couple.sent[-1].datagram.source.port == 4500
    assert all(" marker " in line or line.endswith("keepalive") for line in couple.ladder)
    assert not any(line.endswith("HASH N") for line in couple.ladder)
    assert couple.of("a", IkeDown) == []
    couple.wait(31)
    down, down_there = couple.one("a", IkeDown), couple.one("b", IkeDown)
    assert (down.ike, down.reason, down.by) == (old.ike, Reason.IKE_REPLACED, By.LOCAL)
    assert (down_there.reason, down_there.by) == (Reason.IKE_DELETED, By.REMOTE)
    assert couple.of("a", AssociationsDeleted) == []
    # The pair is still there, under the new one.
    couple.clear()
    couple.a.rekey(couple.now, 2)
    couple.run()
    ready = couple.one("a", AssociationsReady)
    assert ready.ike == new.ike
    for pair in (2, ready.pair):
        couple.clear()
        couple.a.delete(couple.now, pair)
        couple.run()
        assert couple.one("b", AssociationsDeleted).by is By.REMOTE


def test_phase_1_that_nobody_rekeys_expires_and_leaves_its_pairs() -> None:
    couple = established(p1={"lifetime": 1000}, lifetime=5000)
    couple.clear()
    couple.lose = lambda _: True
    couple.wait(1001)
    for name in "ab":
        assert couple.one(name, IkeDown).reason is Reason.IKE_EXPIRED
        assert couple.of(name, AssociationsDeleted) == []
    # When the pair has to be rekeyed there is a new phase 1 first.
    couple.lose = lambda _: False
    couple.wait(1000)
    couple.clear()
    couple.wait(2600)
    couple.one("a", IkeUp)
    assert couple.one("a", AssociationsReady).replaces == (2,)
    # And it speaks for the old pair, too.
    couple.wait(31)
    assert couple.one("b", AssociationsDeleted).by is By.REMOTE


def test_the_shorter_lifetime_of_phase_1_counts() -> None:
    couple = Couple(initiator(), responder(theirs(phase1(lifetime=500))))
    couple.a.initiate(couple.now, ours(phase1(lifetime=900)))
    couple.run()
    assert (couple.one("a", IkeUp).lifetime, couple.one("b", IkeUp).lifetime) == (900, 500)


def test_closing_one_isakmp_sa_takes_its_pairs_along() -> None:
    couple = established()
    couple.clear()
    couple.b.close(couple.now, 1)
    couple.run()
    for name, by in (("b", By.LOCAL), ("a", By.REMOTE)):
        assert couple.one(name, AssociationsDeleted).by is by
        assert couple.one(name, IkeDown).by is by


# --- dead peer detection ---------------------------------------------------------------------------------------------


def test_a_silent_peer_is_asked_and_answers() -> None:
    couple = established(p1={"dead_peer_interval": 30})
    couple.clear()
    couple.wait(31)
    # Both ask at the same moment, each with a number of its own, and both answer.
    assert sorted(couple.ladder) == ["a 500->500 * HASH N"] * 2 + ["b 500->500 * HASH N"] * 2
    said = {name: [notification(event) for event in couple.of(name, MessageSeen) if event.sent] for name in "ab"}
    for name, other in ("ab", "ba"):
        (asked,) = [one for one in said[name] if one.type == NotifyType.R_U_THERE]
        (answered,) = [one for one in said[other] if one.type == NotifyType.R_U_THERE_ACK]
        assert (asked.data, asked.spi) == (answered.data, answered.spi)
        assert (len(asked.data), len(asked.spi)) == (4, 16)
        assert asked.data[0] < 0x80
    couple.wait(300)
    assert couple.of("a", IkeDown) == []


def notification(event: MessageSeen) -> Notification:
    (payload,) = [one for one in parse_message(event.plain).payloads if one.type == PayloadType.NOTIFICATION]
    return parse_notification(payload.body)


def test_numbers_of_questions_count_up_and_a_wrong_answer_counts_for_nothing() -> None:
    couple = established(p1={"dead_peer_interval": 30})
    couple.clear()
    couple.wait(200)
    asked = [
        int.from_bytes(one.data, "big")
        for event in couple.of("a", MessageSeen)
        if event.sent and (one := notification(event)).type == NotifyType.R_U_THERE
    ]
    assert asked == list(range(asked[0], asked[0] + len(asked)))
    assert len(asked) > 3


def test_traffic_is_a_proof_of_life() -> None:
    couple = established(p1={"dead_peer_interval": 30})
    couple.clear()
    for _ in range(20):
        couple.wait(20)
        couple.a.received(couple.now, 2, Endpoint(B_ADDRESS, 500))
        couple.b.received(couple.now, 2, Endpoint(A_ADDRESS, 500))
    assert couple.sent == []


def test_a_peer_that_never_answers_is_dead_and_everything_with_it() -> None:
    couple = established(p1={"dead_peer_interval": 30})
    couple.clear()
    couple.lose = lambda _: True
    couple.wait(400)
    for name in "ab":
        down, deleted = couple.one(name, IkeDown), couple.one(name, AssociationsDeleted)
        assert (down.reason, deleted.reason) == (Reason.IKE_PEER_DEAD,) * 2
        assert (down.by, deleted.by) == (By.LOCAL,) * 2
    # Asked six times, the same bytes each time, and nobody is told.
    assert len([sent for sent in couple.sent if sent.by == "a"]) == 6
    assert len({sent.datagram.payload for sent in couple.sent if sent.by == "a"}) == 1
    assert couple.a.next_deadline() is couple.b.next_deadline() is None


def test_traffic_while_being_asked_is_a_proof_of_life_too() -> None:
    couple = established(p1={"dead_peer_interval": 30})
    couple.lose = lambda _: True
    couple.wait(35)
    couple.a.received(couple.now, 2, Endpoint(B_ADDRESS, 500))
    couple.clear()
    couple.wait(20)
    assert [sent for sent in couple.sent if sent.by == "a"] == []
    assert couple.of("a", IkeDown) == []


# --- keepalives and moves --------------------------------------------------------------------------------------------


def test_the_side_behind_the_nat_keeps_it_open_unless_something_else_was_sent() -> None:
    couple = established(nat=PortNat(A_NAT))
    couple.clear()
    couple.wait(61)
    assert couple.ladder == ["a 4500->4500 keepalive"] * 3
    assert len(couple.of("a", KeepaliveSent)) == 3
    assert couple.events["b"] == []
    couple.clear()
    for _ in range(10):
        couple.wait(15)
        couple.a.sent(couple.now, 2)
    assert couple.sent == []
    couple.wait(21)
    assert couple.ladder == ["a 4500->4500 keepalive"]


def test_a_message_of_ike_does_for_a_keepalive() -> None:
    couple = established(nat=PortNat(A_NAT))
    couple.wait(15)
    couple.a.rekey(couple.now, 2)
    couple.run()
    couple.clear()
    couple.wait(19)
    assert couple.sent == []
    couple.wait(2)
    assert couple.ladder == ["a 4500->4500 keepalive"]


def test_keepalives_go_on_for_five_minutes_after_the_end_and_then_stop() -> None:
    couple = established(nat=PortNat(A_NAT))
    couple.a.close(couple.now)
    couple.run()
    couple.clear()
    couple.wait(299)
    assert len(couple.sent) == 14
    couple.wait(10_000)
    assert len(couple.sent) == 14
    assert couple.a.next_deadline() is None


def test_keepalives_stop_and_begin_with_the_path_not_with_each_phase_1() -> None:
    couple = established(nat=PortNat(A_NAT), p1={"lifetime": 1000}, lifetime=100_000)
    couple.wait(2000)
    couple.clear()
    couple.wait(100)
    assert couple.ladder == ["a 4500->4500 keepalive"] * 5


def test_a_peer_behind_a_nat_that_forgot_it_is_followed_after_an_authenticated_message() -> None:
    nat = PortNat(A_NAT)
    couple = established(nat=nat)
    nat.remap()
    port = nat.ports[Endpoint(A_ADDRESS, 4500)]
    couple.clear()
    couple.wait(25)  # a keepalive moves nothing
    assert couple.of("b", PeerMoved) == []
    couple.a.rekey(couple.now, 2)
    couple.run()
    moved = couple.one("b", PeerMoved)
    assert (moved.old, moved.new) == (Endpoint(A_NAT, 1024), Endpoint(A_NAT, port))
    assert 2 in moved.pairs
    assert couple.one("b", AssociationsReady).inbound.src_port == port
    couple.clear()
    couple.b.close(couple.now)
    couple.run()
    assert {sent.datagram.destination.port for sent in couple.sent} == {port}


def test_authenticated_esp_moves_a_peer_as_well() -> None:
    couple = established(nat=PortNat(A_NAT))
    couple.clear()
    couple.b.received(couple.now, 2, Endpoint(A_NAT, 1024))
    couple.run()
    assert couple.events["b"] == []
    couple.b.received(couple.now, 2, Endpoint(B_ADDRESS, 7))
    couple.run()
    assert couple.one("b", PeerMoved).new == Endpoint(B_ADDRESS, 7)


def test_a_host_behind_a_nat_follows_nobody_and_without_nat_traversal_nobody_moves() -> None:
    behind = established(nat=PortNat(A_NAT))
    plain = established()
    for couple, name in ((behind, "a"), (plain, "a"), (plain, "b")):
        couple.clear()
        couple.peers[name].received(couple.now, 2, Endpoint(A_NAT, 7))
        couple.run()
        assert couple.events[name] == []


def test_a_replayed_message_from_elsewhere_moves_nobody() -> None:
    nat = PortNat(A_NAT)
    couple = established(nat=nat)
    couple.a.rekey(couple.now, 2)
    couple.run()
    from_a = [sent.datagram for sent in couple.sent if sent.by == "a" and sent.datagram.source.port == 4500]
    couple.wait(200)
    couple.clear()
    nat.remap()
    for datagram in from_a:
        couple.carry("a", datagram)
        couple.run()
    assert couple.of("b", PeerMoved) == []


# --- initial contact -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", Phase1Exchange, ids=lambda one: one.value)
def test_initial_contact_ends_what_was_before_with_that_identity_only(exchange: Phase1Exchange) -> None:
    """Three hosts behind one NAT: one of them starts again, and the others keep what they have."""
    me, other = Identity.parse("roadwarrior.example"), Identity.parse("other.example")
    server = theirs(phase1(exchange=exchange))
    couple = Couple(initiator(), responder(server), nat_a=PortNat(A_NAT))
    couple.a.initiate(couple.now, ours(phase1(exchange=exchange, local_identity=me)))
    couple.run()
    again = Couple(initiator(), responder(), nat_a=PortNat(A_NAT, next_port=5000), seed=50)
    again.nats["a"].ports = {Endpoint(A_ADDRESS, 500): 3001, Endpoint(A_ADDRESS, 4500): 3002}  # type: ignore[union-attr]
    again.peers["b"] = couple.peers["b"]
    again.a.initiate(couple.now, ours(phase1(exchange=exchange, local_identity=other)))
    again.run()
    assert again.of("b", AssociationsDeleted) == again.of("b", IkeDown) == []

    third = Couple(initiator(), responder(), nat_a=PortNat(A_NAT), seed=60)
    third.nats["a"].ports = {Endpoint(A_ADDRESS, 500): 4001, Endpoint(A_ADDRESS, 4500): 4002}  # type: ignore[union-attr]
    third.peers["b"] = couple.peers["b"]
    third.a.initiate(couple.now, ours(phase1(exchange=exchange, local_identity=me)))
    third.run()
    assert third.one("b", IkeDown).ike == 1
    assert third.one("b", IkeDown).reason is Reason.IKE_INITIAL_CONTACT
    assert third.one("b", AssociationsDeleted).reason is Reason.IKE_INITIAL_CONTACT
    third.one("a", OutboundUsable)


def test_initial_contact_that_comes_late_spares_what_was_made_since() -> None:
    policy = phase1(exchange=Phase1Exchange.AGGRESSIVE)
    couple = Couple(initiator(), responder(theirs(policy)))
    couple.lose = lambda sent: couple.ladder[-1] == "a 500->500 * HASH N"
    couple.a.initiate(couple.now, ours(policy))
    couple.run()
    (late,) = [sent.datagram for sent in couple.sent if not sent.delivered]
    couple.lose = lambda _: False
    couple.one("b", OutboundUsable)
    couple.carry("a", late)
    couple.run()
    assert couple.of("b", MessageDropped) == couple.of("b", AssociationsDeleted) == []


def test_a_second_phase_1_with_the_same_peer_says_no_initial_contact() -> None:
    couple = established()
    couple.clear()
    other = replace(ours(phase1(lifetime=77)), name="other")
    couple.a.initiate(couple.now, other)
    couple.run()
    assert "a 500->500 * ID HASH" in couple.ladder
    assert couple.of("b", AssociationsDeleted) == []


def test_nothing_here_is_a_nat() -> None:
    assert established().one("a", IkeUp).nat is Nat.NONE
