"""Two peers back to back: what a negotiation says, where it says it, and what both sides have in the end."""

from dataclasses import replace

import pytest

from nicsim.events import (
    AssociationsDeleted,
    AssociationsReady,
    By,
    Endpoint,
    IkeDown,
    IkeUp,
    KeepaliveSent,
    Nat,
    OutboundUsable,
    UdpDatagram,
)
from nicsim.host.ike.config import NattPolicy, Phase1Exchange
from nicsim.host.ike.natt import DRAFT_02, DRAFT_03, RFC_3947, NattVersion
from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.reasons import Reason
from nicsim.wire.headers import format_address
from tests.host.ike.couple import (
    A_ADDRESS,
    A_NAT,
    B_ADDRESS,
    B_NAT,
    Couple,
    PortNat,
    StaticNat,
    initiator,
    ours,
    phase1,
    phase2,
    responder,
    theirs,
)

MAIN, AGGRESSIVE = Phase1Exchange.MAIN, Phase1Exchange.AGGRESSIVE
both_exchanges = pytest.mark.parametrize("exchange", Phase1Exchange, ids=lambda one: one.value)


def up(couple: Couple, **changes: object) -> Couple:
    """Bring the connection of `a` up."""
    couple.a.initiate(couple.now, ours(phase1(**changes)))
    couple.run()
    return couple


def same_keys(couple: Couple) -> None:
    """What one side sends with is what the other receives with."""
    there, here = couple.one("a", AssociationsReady), couple.one("b", AssociationsReady)
    for one, other in ((there.outbound, here.inbound), (here.outbound, there.inbound)):
        assert one.spi == other.spi
        assert one.keys == other.keys
        assert (one.mode, one.encapsulation) == (other.mode, other.encapsulation)
    assert there.inbound.keys != there.outbound.keys
    assert (there.local_selector, there.remote_selector) == (here.remote_selector, here.local_selector)


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-NAT-2")
def test_main_mode_without_a_nat_stays_on_port_500() -> None:
    couple = up(Couple(initiator(), responder(theirs())))
    vendor_ids = "VID VID VID VID VID VID"
    assert couple.ladder == [
        f"a 500->500 SA {vendor_ids}",
        "b 500->500 SA VID VID VID",
        "a 500->500 KE NONCE NAT-D NAT-D",
        "b 500->500 KE NONCE NAT-D NAT-D",
        "a 500->500 * ID HASH N",
        "b 500->500 * ID HASH",
        "a 500->500 * HASH SA NONCE ID ID",
        "b 500->500 * HASH SA NONCE ID ID",
        "a 500->500 * HASH",
    ]
    same_keys(couple)
    assert couple.one("a", AssociationsReady).outbound.encapsulation is Encapsulation.NONE


@pytest.mark.rule("N-NAT-2")
def test_main_mode_through_a_nat_moves_with_message_five() -> None:
    couple = up(Couple(initiator(), responder(theirs()), nat_a=PortNat(A_NAT)))
    assert couple.ladder[2:] == [
        "a 500->500 KE NONCE NAT-D NAT-D",
        "b 500->1 KE NONCE NAT-D NAT-D",
        "a 4500->4500 marker * ID HASH N",
        "b 4500->1024 marker * ID HASH",
        "a 4500->4500 marker * HASH SA NONCE ID ID",
        "b 4500->1024 marker * HASH SA NONCE ID ID",
        "a 4500->4500 marker * HASH",
    ]
    same_keys(couple)
    near, far = couple.one("a", IkeUp), couple.one("b", IkeUp)
    assert (near.nat, far.nat) == (Nat.LOCAL, Nat.REMOTE)
    assert far.remote == Endpoint(A_NAT, 1024)
    ready = couple.one("b", AssociationsReady)
    assert (ready.inbound.src, ready.inbound.src_port, ready.inbound.dst_port) == (A_NAT, 1024, 4500)
    assert (ready.outbound.dst, ready.outbound.dst_port, ready.outbound.src_port) == (A_NAT, 1024, 4500)
    assert ready.inbound.encapsulation is Encapsulation.UDP


def test_aggressive_mode_through_a_nat_moves_with_message_three() -> None:
    couple = Couple(initiator(), responder(theirs(phase1(exchange=AGGRESSIVE))), nat_a=PortNat(A_NAT))
    up(couple, exchange=AGGRESSIVE)
    assert couple.ladder == [
        "a 500->500 SA KE NONCE ID VID VID VID VID VID VID",
        "b 500->1 SA KE NONCE ID VID VID VID NAT-D NAT-D HASH",
        "a 4500->4500 marker * HASH NAT-D NAT-D",
        "a 4500->4500 marker * HASH N",
        "a 4500->4500 marker * HASH SA NONCE ID ID",
        "b 4500->1024 marker * HASH SA NONCE ID ID",
        "a 4500->4500 marker * HASH",
    ]
    same_keys(couple)
    assert (couple.one("a", IkeUp).nat, couple.one("b", IkeUp).nat) == (Nat.LOCAL, Nat.REMOTE)


@both_exchanges
def test_a_responder_behind_a_nat_keeps_it_open(exchange: Phase1Exchange) -> None:
    nat = StaticNat(B_NAT, B_ADDRESS)
    couple = Couple(initiator(), responder(theirs(phase1(exchange=exchange))), nat_b=nat)
    couple.a.initiate(couple.now, ours(phase1(exchange=exchange), remote=B_NAT))
    couple.run()
    assert (couple.one("a", IkeUp).nat, couple.one("b", IkeUp).nat) == (Nat.REMOTE, Nat.LOCAL)
    assert couple.one("a", IkeUp).remote == Endpoint(B_NAT, 4500)
    same_keys(couple)
    couple.clear()
    couple.wait(45)
    assert len(couple.of("b", KeepaliveSent)) == 2
    assert couple.of("a", KeepaliveSent) == []


@both_exchanges
def test_two_nats(exchange: Phase1Exchange) -> None:
    server = theirs(phase1(exchange=exchange))
    couple = Couple(initiator(), responder(server), nat_a=PortNat(A_NAT), nat_b=StaticNat(B_NAT, B_ADDRESS))
    couple.a.initiate(couple.now, ours(phase1(exchange=exchange), remote=B_NAT))
    couple.run()
    assert (couple.one("a", IkeUp).nat, couple.one("b", IkeUp).nat) == (Nat.BOTH, Nat.BOTH)
    same_keys(couple)


@both_exchanges
@pytest.mark.parametrize("forcing", ["a", "b", "ab"])
def test_forced_encapsulation_claims_a_nat_that_is_not_there(exchange: Phase1Exchange, forcing: str) -> None:
    client, server = (
        phase1(exchange=exchange, natt=NattPolicy.FORCE if side in forcing else NattPolicy.AUTO) for side in "ab"
    )
    couple = Couple(initiator(), responder(theirs(server)))
    couple.a.initiate(couple.now, ours(client))
    couple.run()
    same_keys(couple)
    assert couple.one("a", AssociationsReady).inbound.encapsulation is Encapsulation.UDP
    assert couple.ladder[-1] == "a 4500->4500 marker * HASH"
    # Each tells what it found; only the claim of the other looks like a NAT on the other's side.
    assert couple.one("a", IkeUp).nat is (Nat.REMOTE if "b" in forcing else Nat.NONE)
    assert couple.one("b", IkeUp).nat is (Nat.REMOTE if "a" in forcing else Nat.NONE)


@both_exchanges
def test_without_nat_traversal_on_one_side_none_is_done(exchange: Phase1Exchange) -> None:
    for client, server in ((NattPolicy.OFF, NattPolicy.AUTO), (NattPolicy.AUTO, NattPolicy.OFF)):
        couple = Couple(initiator(), responder(theirs(phase1(exchange=exchange, natt=server))), nat_a=PortNat(A_NAT))
        up(couple, exchange=exchange, natt=client)
        assert couple.one("a", IkeUp).natt_version is None
        assert not any("NAT-D" in line or "marker" in line for line in couple.ladder)
        assert couple.one("b", AssociationsReady).outbound.encapsulation is Encapsulation.NONE


@both_exchanges
@pytest.mark.parametrize("version", [RFC_3947, DRAFT_03, DRAFT_02], ids=str)
def test_each_version_of_nat_traversal(exchange: Phase1Exchange, version: NattVersion) -> None:
    server = theirs(phase1(exchange=exchange, natt_versions=(version,)))
    couple = up(Couple(initiator(), responder(server), nat_a=PortNat(A_NAT)), exchange=exchange)
    assert couple.one("a", IkeUp).natt_version == couple.one("b", IkeUp).natt_version == version.name
    same_keys(couple)


def test_a_peer_that_announces_draft_02_without_the_newline_is_answered_so() -> None:
    bare = replace(DRAFT_02, vendor_ids=DRAFT_02.vendor_ids[1:])
    couple = Couple(initiator(), responder(theirs()), nat_a=PortNat(A_NAT))
    up(couple, natt_versions=(bare,))
    assert DRAFT_02.vendor_ids[1] in couple.sent[1].datagram.payload
    assert DRAFT_02.vendor_ids[0] not in couple.sent[1].datagram.payload
    assert couple.one("a", IkeUp).natt_version == DRAFT_02.name


def test_a_negotiation_may_begin_on_port_4500() -> None:
    couple = Couple(initiator(ike_port=4500), responder(theirs()), nat_a=PortNat(A_NAT))
    couple.a.initiate(couple.now, replace(ours(), remote_ike_port=4500))
    couple.run()
    lines = couple.ladder
    assert all(" marker " in line for line in lines)
    assert all("4500->4500" in line for line in lines if line.startswith("a"))
    same_keys(couple)


class PortForward(StaticNat):
    """One to one, and the outside port is another: 14500 for 4500, found out of band (nat-traversal.md section 6.4)."""

    def out(self, datagram: UdpDatagram) -> UdpDatagram:
        return replace(datagram, source=Endpoint(self.public, 14500))

    def back(self, datagram: UdpDatagram) -> UdpDatagram | None:
        return replace(datagram, destination=Endpoint(self.inside, 4500))


def test_ports_that_were_found_out_of_band_are_not_changed_again() -> None:
    couple = Couple(initiator(ike_port=4500), responder(theirs()), nat_b=PortForward(B_NAT, B_ADDRESS))
    couple.a.initiate(couple.now, replace(ours(remote=B_NAT), remote_ike_port=14500))
    couple.run()
    assert {line.split()[1] for line in couple.ladder if line.startswith("a")} == {"4500->14500"}
    same_keys(couple)


# --- what comes of it ------------------------------------------------------------------------------------------------


def test_a_pair_is_installed_before_the_message_that_makes_the_peer_use_it() -> None:
    couple = up(Couple(initiator(), responder(theirs())))
    for name, messages_after in (("a", 1), ("b", 1)):
        items = couple.order[name]
        ready = items.index(couple.one(name, AssociationsReady))
        usable = items.index(couple.one(name, OutboundUsable))
        assert ready < usable
        said = [item for item in items[ready:] if isinstance(item, UdpDatagram)]
        assert len(said) == messages_after
    # The responder does not send before message three.
    assert couple.sent[-1].by == "a"
    assert isinstance(couple.order["b"][-1], OutboundUsable)


@pytest.mark.parametrize("version", [RFC_3947, DRAFT_03, DRAFT_02], ids=str)
def test_transport_mode_under_a_nat_tells_the_original_addresses(version: NattVersion) -> None:
    mine = phase2(mode=Mode.TRANSPORT, local_selector=None, remote_selector=None)
    server = theirs(phase1(natt_versions=(version,)), mine)
    couple = Couple(initiator(), responder(server), nat_a=PortNat(A_NAT), nat_b=StaticNat(B_NAT, B_ADDRESS))
    couple.a.initiate(couple.now, ours(p2=mine, remote=B_NAT))
    couple.run()
    same_keys(couple)
    near, far = couple.one("a", AssociationsReady), couple.one("b", AssociationsReady)
    assert near.local_original == far.remote_original
    assert near.remote_original == far.local_original
    assert near.local_original is not None
    assert near.remote_original is not None
    # The table of RFC 3947 section 5.2 with both behind a NAT; the drafts have one payload each.
    assert near.local_original.initiator == A_ADDRESS
    assert near.remote_original.responder == B_ADDRESS
    both = version is RFC_3947
    assert near.local_original.responder == (B_NAT if both else None)
    assert near.remote_original.initiator == (A_NAT if both else None)
    originals = [line.split().count("NAT-OA") for line in couple.ladder]
    assert originals == [0, 0, 0, 0, 0, 0, 2 if both else 1, 2 if both else 1, 0]


def test_transport_mode_without_a_nat_and_tunnel_mode_tell_no_addresses() -> None:
    transport = phase2(mode=Mode.TRANSPORT, local_selector=None, remote_selector=None)
    couple = Couple(initiator(), responder(theirs(p2=transport)))
    couple.a.initiate(couple.now, ours(p2=transport))
    couple.run()
    ready = couple.one("b", AssociationsReady)
    assert (ready.local_original, ready.remote_original) == (None, None)
    assert str(ready.remote_selector) == f"{format_address(A_ADDRESS)}/32[any/any]"
    assert "NAT-OA" not in " ".join(couple.ladder)


def test_closing_ends_everything_on_both_sides_and_leaves_nothing() -> None:
    couple = up(Couple(initiator(), responder(theirs())))
    couple.clear()
    couple.a.close(couple.now)
    couple.run()
    assert couple.one("a", AssociationsDeleted).by is By.LOCAL
    assert couple.one("b", AssociationsDeleted).by is By.REMOTE
    assert couple.one("b", AssociationsDeleted).reason is Reason.IKE_DELETED
    assert couple.one("a", IkeDown).by is By.LOCAL
    assert couple.one("b", IkeDown).by is By.REMOTE
    assert couple.ladder == ["a 500->500 * HASH D", "a 500->500 * HASH D"]
    couple.clear()
    couple.wait(100_000)
    assert couple.sent == []
    assert couple.a.next_deadline() is couple.b.next_deadline() is None


def test_one_phase_1_serves_several_pairs() -> None:
    first, second = ours(), replace(ours(p2=phase2(pfs_group=2)), name="second")
    couple = Couple(initiator(), responder(theirs(), replace(theirs(p2=phase2(turned=True, pfs_group=2)), name="x")))
    couple.a.initiate(couple.now, first)
    couple.a.initiate(couple.now, second)
    couple.run()
    couple.one("a", IkeUp)
    assert [ready.connection for ready in couple.of("a", AssociationsReady)] == ["to-b", "second"]
    assert [ready.connection for ready in couple.of("b", AssociationsReady)] == ["from-a", "x"]
