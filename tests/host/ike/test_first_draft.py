"""The first draft, draft-huttunen-ipsec-esp-in-udp-01: what it says when, who keeps alive, and the names of ends."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nicsim.events import (
    AddressIdentity,
    AssociationsReady,
    By,
    Endpoint,
    ExchangeFailed,
    IkeUp,
    KeepaliveSent,
    MessageDropped,
    Nat,
    Role,
    UdpDatagram,
)
from nicsim.host.ike.config import IkeConfig, NattPolicy, Phase1Exchange, Phase1Policy
from nicsim.host.ike.identity import Identity
from nicsim.host.ike.keys import IkeHash
from nicsim.host.ike.natt import DEFAULT_VERSIONS, DRAFT_02, DRAFT_03, FIRST_DRAFT, RFC_3947, Discovery, NattVersion
from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.reasons import Reason
from nicsim.wire.headers import parse_address
from nicsim.wire.isakmp import Payload, PayloadType, parse_message
from nicsim.wire.isakmp_payloads import IdentificationType, parse_security_association
from tests.host.ike.certificates import NOW, credentials
from tests.host.ike.couple import (
    A_ADDRESS,
    A_NAT,
    A_NETWORK,
    B_ADDRESS,
    B_NAT,
    Couple,
    PortNat,
    Sent,
    StaticNat,
    initiator,
    ours,
    phase1,
    phase2,
    responder,
    selector,
    theirs,
)

VECTORS = Path(__file__).parents[2] / "vectors"
NAT_D: list[dict[str, Any]] = [
    one for one in json.loads((VECTORS / "natd.json").read_text())["vectors"] if one["form"] == "huttunen-01"
]
NAMES = {"a": Identity.parse("client.example"), "b": Identity.parse("gateway.example")}
MAIN, AGGRESSIVE = Phase1Exchange.MAIN, Phase1Exchange.AGGRESSIVE
both_exchanges = pytest.mark.parametrize("exchange", Phase1Exchange, ids=lambda one: one.value)


def draft(name: str = "a", **changes: object) -> Phase1Policy:
    return phase1(**{"natt_versions": (FIRST_DRAFT,), "local_identity": NAMES[name]} | changes)


def negotiate(
    exchange: Phase1Exchange = MAIN,
    *,
    a: dict[str, Any] | None = None,
    b: dict[str, Any] | None = None,
    transport: bool = False,
    nat: bool = True,
    nat_b: bool = False,
    config: IkeConfig | None = None,
) -> Couple:
    ends: dict[str, Any] = {"mode": Mode.TRANSPORT, "local_selector": None, "remote_selector": None}
    two = phase2(**ends) if transport else phase2()
    server = theirs(draft("b", exchange=exchange, **(b or {})), phase2(**ends) if transport else phase2(turned=True))
    couple = Couple(
        config or initiator(),
        responder(server, certificates_valid_at=NOW),
        nat_a=PortNat(A_NAT) if nat else None,
        nat_b=StaticNat(B_NAT, B_ADDRESS) if nat_b else None,
    )
    client = draft("a", exchange=exchange, **(a or {}))
    couple.a.initiate(couple.now, ours(client, two, remote=B_NAT if nat_b else B_ADDRESS))
    couple.run()
    return couple


# --- discovery -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", NAT_D, ids=lambda row: row["id"])
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("negotiated", list(IkeHash))
def test_one_md5_covers_the_whole_way_whatever_phase_1_hashes_with(
    row: dict[str, Any], role: Role, negotiated: IkeHash
) -> None:
    discovery = Discovery(FIRST_DRAFT, negotiated, b"cookie i", b"cookie r", role)
    begun, answers = (
        Endpoint(parse_address(row[f"{who}_ip"]), row[f"{who}_port"]) for who in ("initiator", "responder")
    )
    here, there = (begun, answers) if role is Role.INITIATOR else (answers, begun)
    (payload,) = discovery.payloads(here, there, None)
    assert (payload.type, payload.body.hex()) == (130, row["hash"])
    assert discovery.verdict([Payload(130, bytes.fromhex(row["hash"]))], here, there) is Nat.NONE


def test_a_mismatch_says_that_there_is_a_nat_and_not_where() -> None:
    rows = {row["id"]: row for row in NAT_D}
    sent, seen = rows["h01-v4-private"], rows["h01-v4-natted"]
    server = Discovery(FIRST_DRAFT, IkeHash.SHA1, b"", b"", Role.RESPONDER)
    here, there = Endpoint(parse_address("203.0.113.77"), 500), Endpoint(parse_address("203.0.113.5"), 6666)
    assert server.verdict([Payload(130, bytes.fromhex(sent["hash"]))], here, there) is Nat.SOMEWHERE
    assert server.payloads(here, there, None)[0].body.hex() == seen["hash"]
    assert Nat.SOMEWHERE.local
    assert Nat.SOMEWHERE.remote
    # None, several, or those of another version are no discovery of this one.
    for payloads in ([], [Payload(130, bytes(16))] * 2, [Payload(20, bytes(16))]):
        assert server.verdict(payloads, here, there) is None
    assert server.verdict([Payload(130, b"")], here, there) is Nat.SOMEWHERE


# --- what is said ----------------------------------------------------------------------------------------------------


def test_main_mode_has_nat_d_in_messages_two_and_three_and_stays_on_port_500() -> None:
    couple = negotiate()
    assert couple.ladder == [
        "a 500->500 SA VID VID VID",
        "b 500->1 SA VID VID VID NAT-D",
        "a 500->500 KE NONCE VID NAT-D",
        "b 500->1 KE NONCE",
        "a 500->500 * ID HASH N",
        "b 500->1 * ID HASH",
        "a 500->500 * HASH SA NONCE ID ID",
        "b 500->1 * HASH SA NONCE ID ID",
        "a 500->500 * HASH",
    ]
    for number, announced in ((0, True), (1, True), (2, True), (3, False)):
        message = parse_message(couple.sent[number].datagram.payload)
        ids = [one.body for one in message.payloads if one.type == PayloadType.VENDOR_ID]
        assert (FIRST_DRAFT.vendor_ids[0] in ids) is announced
    third = parse_message(couple.sent[2].datagram.payload).payloads[-1]
    recorded = {row["id"]: row for row in NAT_D}["h01-v4-private"]  # the same addresses and ports
    assert (third.type, third.body.hex()) == (130, recorded["hash"])
    for name in "ab":
        up = couple.one(name, IkeUp)
        assert (up.natt_version, up.nat) == ("draft-huttunen-ipsec-esp-in-udp-01", Nat.SOMEWHERE)
    assert couple.one("b", IkeUp).remote == Endpoint(A_NAT, 1)


def test_aggressive_mode_has_nat_d_in_messages_two_and_three() -> None:
    couple = negotiate(AGGRESSIVE)
    assert couple.ladder[:3] == [
        "a 500->500 SA KE NONCE ID VID VID VID",
        "b 500->1 SA KE NONCE ID VID VID VID NAT-D HASH",
        "a 500->500 * HASH NAT-D",
    ]
    assert couple.one("a", IkeUp).nat is couple.one("b", IkeUp).nat is Nat.SOMEWHERE


@both_exchanges
@pytest.mark.parametrize("transport", [False, True], ids=["tunnel", "transport"])
def test_quick_mode_says_61440_for_tunnel_and_61441_for_transport(exchange: Phase1Exchange, transport: bool) -> None:
    couple = negotiate(exchange, transport=transport)
    for name in "ab":
        ready = couple.one(name, AssociationsReady)
        for one in (ready.inbound, ready.outbound):
            assert one.encapsulation is Encapsulation.UDP_NON_IKE
            assert {one.src_port, one.dst_port} == ({500} if name == "a" else {1, 500})
        assert (ready.local_original, ready.remote_original) == (None, None)
    offers = [
        parse_security_association(payload.body)
        for seen in couple.events["a"]
        if type(seen).__name__ == "MessageSeen" and seen.exchange == 32
        for payload in parse_message(seen.plain).payloads
        if payload.type == PayloadType.SECURITY_ASSOCIATION
    ]
    assert len(offers) == 2
    for offer in offers:
        (transform,) = offer.proposals[0].transforms
        values = {attribute.type: attribute.number for attribute in transform.attributes}
        assert values[4] == (61441 if transport else 61440)


@both_exchanges
def test_without_a_nat_esp_is_native(exchange: Phase1Exchange) -> None:
    couple = negotiate(exchange, nat=False)
    for name in "ab":
        assert couple.one(name, IkeUp).nat is Nat.NONE
        assert couple.one(name, AssociationsReady).outbound.encapsulation is Encapsulation.NONE
    couple.clear()
    couple.wait(60)
    assert couple.of("a", KeepaliveSent) == []


@both_exchanges
@pytest.mark.parametrize("forcing", ["a", "b", "ab"])
def test_a_nat_can_be_claimed(exchange: Phase1Exchange, forcing: str) -> None:
    forced = {"natt": NattPolicy.FORCE}
    couple = negotiate(exchange, nat=False, **dict.fromkeys(forcing, forced))
    for name, other in ("ab", "ba"):
        assert couple.one(name, IkeUp).nat is (Nat.SOMEWHERE if other in forcing else Nat.NONE)
        assert couple.one(name, AssociationsReady).outbound.encapsulation is Encapsulation.UDP_NON_IKE


def test_nat_d_in_message_two_is_sign_enough_without_the_vendor_id() -> None:
    def without_vendor_id(sent: Sent) -> list[UdpDatagram]:
        payload = sent.datagram.payload
        message = parse_message(payload) if not payload[19] & 1 else None
        if sent.by == "b" and message is not None and message.payloads[0].type == PayloadType.SECURITY_ASSOCIATION:
            kept = tuple(one for one in message.payloads if one.body != FIRST_DRAFT.vendor_ids[0])
            return [replace(sent.datagram, payload=replace(message, payloads=kept).build())]
        return [sent.datagram]

    couple = Couple(initiator(), responder(theirs(draft("b"))), nat_a=PortNat(A_NAT))
    couple.meddle = without_vendor_id
    couple.a.initiate(couple.now, ours(draft()))
    couple.run()
    assert couple.one("a", IkeUp).natt_version == FIRST_DRAFT.name
    assert couple.one("b", AssociationsReady).outbound.encapsulation is Encapsulation.UDP_NON_IKE


@both_exchanges
@pytest.mark.parametrize("policy", [NattPolicy.AUTO, NattPolicy.FORCE], ids=lambda one: one.value)
def test_a_peer_without_nat_d_does_no_nat_traversal(exchange: Phase1Exchange, policy: NattPolicy) -> None:
    """The vendor id alone promises nothing."""

    def without_discovery(sent: Sent) -> list[UdpDatagram]:
        payload = sent.datagram.payload
        message = parse_message(payload) if not payload[19] & 1 else None
        if sent.by == "b" and message is not None:
            kept = tuple(one for one in message.payloads if one.type != 130)
            return [replace(sent.datagram, payload=replace(message, payloads=kept).build())]
        return [sent.datagram]

    couple = Couple(initiator(), responder(theirs(draft("b", exchange=exchange))), nat_a=PortNat(A_NAT))
    couple.meddle = without_discovery
    couple.a.initiate(couple.now, ours(draft(exchange=exchange, natt=policy)))
    couple.run()
    if policy is NattPolicy.FORCE:
        assert couple.one("a", ExchangeFailed).reason is Reason.IKE_NO_NAT_TRAVERSAL
    else:
        assert couple.one("a", IkeUp).natt_version is None


# --- beside the other versions ---------------------------------------------------------------------------------------

ALL = (RFC_3947, DRAFT_03, DRAFT_02, FIRST_DRAFT)


@both_exchanges
@pytest.mark.parametrize(
    ("client", "server", "chosen"),
    [
        (DEFAULT_VERSIONS, ALL, RFC_3947),
        (ALL, DEFAULT_VERSIONS, RFC_3947),
        (ALL, ALL, RFC_3947),
        ((DRAFT_02, FIRST_DRAFT), ALL, DRAFT_02),
        ((DRAFT_03, FIRST_DRAFT), (FIRST_DRAFT, DRAFT_03), FIRST_DRAFT),
        ((FIRST_DRAFT, DRAFT_03), (DRAFT_03, FIRST_DRAFT), DRAFT_03),
        ((FIRST_DRAFT,), ALL, FIRST_DRAFT),
        (ALL, (FIRST_DRAFT,), FIRST_DRAFT),
        ((FIRST_DRAFT,), DEFAULT_VERSIONS, None),
        (DEFAULT_VERSIONS, (FIRST_DRAFT,), None),
    ],
)
def test_the_responder_takes_what_it_prefers_of_what_both_have(
    exchange: Phase1Exchange,
    client: tuple[NattVersion, ...],
    server: tuple[NattVersion, ...],
    chosen: NattVersion | None,
) -> None:
    couple = negotiate(exchange, a={"natt_versions": client}, b={"natt_versions": server})
    for name in "ab":
        assert couple.one(name, IkeUp).natt_version == (chosen.name if chosen else None)
        rides = couple.one(name, AssociationsReady).outbound.encapsulation
        assert rides is (chosen.encapsulation if chosen else Encapsulation.NONE)


def test_it_is_offered_to_nobody_who_did_not_ask_for_it() -> None:
    couple = negotiate(a={"natt_versions": DEFAULT_VERSIONS}, b={"natt_versions": DEFAULT_VERSIONS})
    assert FIRST_DRAFT not in Phase1Policy.__dataclass_fields__["natt_versions"].default
    assert not any(FIRST_DRAFT.vendor_ids[0] in sent.datagram.payload for sent in couple.sent)


# --- who is who ------------------------------------------------------------------------------------------------------


@both_exchanges
@pytest.mark.parametrize("whose", ["a", "b"])
def test_nobody_goes_by_an_address_behind_a_nat(exchange: Phase1Exchange, whose: str) -> None:
    """Main mode knows of the NAT in time, aggressive mode does not: there it is a warning and nothing ends."""
    couple = negotiate(exchange, **{whose: {"local_identity": None}})
    if exchange is MAIN:
        assert couple.one(whose, ExchangeFailed).reason is Reason.IKE_IDENTITY
        assert "needs an identity that is no address" in couple.one(whose, ExchangeFailed).detail
        assert couple.of("a", AssociationsReady) == couple.of("b", AssociationsReady) == []
        return
    for name in "ab":
        warning = couple.one(name, AddressIdentity)
        address = A_ADDRESS if whose == "a" else B_ADDRESS
        assert (warning.by, Identity.parse(warning.identity).data) == (
            By.LOCAL if name == whose else By.REMOTE,
            address,
        )
        couple.one(name, AssociationsReady)


def test_an_address_that_is_known_not_to_be_translated_may_be_said() -> None:
    couple = negotiate(b={"local_identity": Identity.of_address(B_ADDRESS)})
    assert couple.one("a", AddressIdentity).by is By.REMOTE
    couple.one("a", AssociationsReady)


@both_exchanges
def test_without_a_nat_and_with_certificates_there_is_nothing_to_warn_of(exchange: Phase1Exchange) -> None:
    nothing = {"local_identity": None}
    couple = negotiate(exchange, nat=False, a=nothing, b=nothing)
    assert couple.of("a", AddressIdentity) == couple.of("b", AddressIdentity) == []
    signed = [{"local_identity": None, "authentication": credentials(name)} for name in "ab"]
    couple = negotiate(exchange, a=signed[0], b=signed[1], config=initiator(certificates_valid_at=NOW))
    assert couple.of("a", AddressIdentity) == couple.of("b", AddressIdentity) == []
    couple.one("b", AssociationsReady)


def test_in_transport_mode_the_initiator_goes_by_its_name_in_quick_mode_too() -> None:
    couple = negotiate(transport=True, nat_b=True)
    ids = [
        payload.body
        for seen in couple.events["b"]
        if type(seen).__name__ == "MessageSeen" and seen.exchange == 32
        for payload in parse_message(seen.plain).payloads
        if payload.type == PayloadType.IDENTIFICATION
    ]
    name = bytes((IdentificationType.FQDN, 0, 0, 0)) + b"client.example"
    address = bytes((IdentificationType.IPV4_ADDRESS, 0, 0, 0)) + B_NAT
    assert ids == [name, address] * 2
    ready = couple.one("b", AssociationsReady)
    assert ready.remote_selector == selector("203.0.113.5/32")
    assert (ready.outbound.dst, ready.outbound.dst_port) == (A_NAT, 1)


def test_a_name_that_is_somebody_elses_is_refused_in_quick_mode() -> None:
    couple = Couple(
        initiator(),
        responder(theirs(draft("b"), phase2(mode=Mode.TRANSPORT, local_selector=None, remote_selector=None))),
        nat_a=PortNat(A_NAT),
    )
    connection = ours(draft(), phase2(mode=Mode.TRANSPORT, local_selector=None, remote_selector=None))
    couple.a.initiate(couple.now, connection)
    couple.lose = lambda sent: len(couple.sent) > 6
    couple.run()
    # The initiator lies about itself once phase 1 is done.
    (ike,) = couple.a._daemon.ike_sas.values()
    ike.quick_modes.end(couple.now, Reason.IKE_DELETED)
    stolen = replace(connection.phase1, local_identity=Identity.parse("president.example"))
    ike.phase1 = replace(ike.phase1, candidates=(replace(connection, phase1=stolen),))
    couple.clear()
    couple.lose = lambda sent: False
    ike.quick_modes.begin(couple.now, connection)
    couple.run()
    assert couple.one("b", ExchangeFailed).reason is Reason.IKE_SELECTORS
    assert "president.example is not client.example" in couple.one("b", ExchangeFailed).detail


# --- keepalives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nat", "nat_b"), [(True, False), (False, True), (True, True)])
def test_the_initiator_keeps_alive_wherever_the_nat_is(nat: bool, nat_b: bool) -> None:
    couple = negotiate(nat=nat, nat_b=nat_b)
    couple.clear()
    couple.wait(65)
    assert [sent.datagram.payload for sent in couple.sent] == [b"\xff"] * 3
    assert {sent.by for sent in couple.sent} == {"a"}
    for sent in couple.sent:
        assert (sent.datagram.source.port, sent.datagram.destination.port) == (500, 500)
        assert sent.datagram.checksummed


def test_keepalives_of_later_versions_have_no_checksum() -> None:
    couple = negotiate(a={"natt_versions": DEFAULT_VERSIONS}, b={"natt_versions": DEFAULT_VERSIONS})
    couple.clear()
    couple.wait(25)
    assert [sent.datagram.checksummed for sent in couple.sent] == [False]


def test_keepalives_go_on_for_five_minutes_after_the_last_association() -> None:
    couple = negotiate()
    couple.wait(100)
    couple.a.close(couple.now)
    couple.run()
    couple.clear()
    couple.wait(1000)
    assert len(couple.of("a", KeepaliveSent)) == 300 // 20 - 1
    assert couple.a.next_deadline() is couple.b.next_deadline() is None


# --- ports, and damage -----------------------------------------------------------------------------------------------


@both_exchanges
def test_the_initiator_may_use_any_port(exchange: Phase1Exchange) -> None:
    """The draft's example: 1111 at the client, 2222 outside."""
    nat = PortNat(A_NAT, next_port=2222)
    couple = Couple(initiator(ike_port=1111), responder(theirs(draft("b", exchange=exchange))), nat_a=nat)
    couple.a.initiate(couple.now, ours(draft(exchange=exchange)))
    couple.run()
    ports = {(sent.by, sent.datagram.source.port, sent.datagram.destination.port) for sent in couple.sent}
    assert ports == {("a", 1111, 500), ("b", 500, 2222)}
    assert not any(sent.datagram.payload.startswith(bytes(4)) for sent in couple.sent)
    near, far = couple.one("a", AssociationsReady), couple.one("b", AssociationsReady)
    assert (near.inbound.src_port, near.inbound.dst_port) == (500, 1111)
    assert (far.inbound.src_port, far.inbound.dst_port) == (2222, 500)
    assert (far.outbound.src_port, far.outbound.dst_port) == (500, 2222)


def test_esp_whose_marker_is_damaged_is_survived() -> None:
    """A middlebox writes into what it takes for a cookie: ESP becomes an IKE message that makes no sense."""
    couple = negotiate()
    pairs = {name: couple.one(name, AssociationsReady).inbound.spi for name in "ab"}
    esp = pairs["b"].to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes(range(60))
    couple.clear()
    for bit in range(64):
        marker = (1 << bit).to_bytes(8, "big")
        couple.carry_to("b", UdpDatagram(Endpoint(A_NAT, 1), Endpoint(B_ADDRESS, 500), marker + esp))
    couple.run()
    assert len(couple.of("b", MessageDropped)) == 64
    assert len(couple.sent) <= 10  # notifications, as many as a second may see
    couple.clear()
    couple.a.rekey(couple.now, next(iter(couple.a._daemon.pairs)))
    couple.run()
    couple.one("b", AssociationsReady)


def test_an_end_does_not_follow_a_peer_that_moves() -> None:
    """The draft knows no address updates: it cannot tell on which side the NAT is."""
    couple = negotiate()
    ready = couple.one("b", AssociationsReady)
    couple.b.received(couple.now, ready.pair, Endpoint(A_NAT, 7777))
    couple.run()
    assert not [event for event in couple.events["b"] if type(event).__name__ == "PeerMoved"]


# --- addresses that were given out -----------------------------------------------------------------------------------

GIVEN = ((NAMES["a"], selector("10.1.2.7/32")), (Identity.parse("bob.example"), selector("10.1.2.8/32")))


@pytest.mark.parametrize(
    ("who", "wants", "gets"),
    [
        ("client.example", "10.1.2.7/32", True),
        ("client.example", "10.1.2.8/32", False),  # another's
        ("client.example", "10.1.2.0/24", False),  # everybody's
        ("client.example", "10.9.0.5/32", False),  # one behind the gateway
        ("client.example", "10.1.2.9/32", False),  # nobody's, and not its own
        ("bob.example", "10.1.2.8/32", True),
        ("eve.example", "10.1.2.9/32", True),  # the static policy has it
        ("eve.example", "10.1.2.7/32", False),
        ("eve.example", "10.1.2.0/24", False),
        ("eve.example", "10.9.0.5/32", False),
    ],
)
@both_exchanges
def test_a_peer_gets_the_address_that_it_was_given_and_no_other(
    exchange: Phase1Exchange, who: str, wants: str, gets: bool
) -> None:
    server = theirs(draft("b", exchange=exchange), phase2(turned=True, assigned=GIVEN))
    couple = Couple(initiator(), responder(server), nat_a=PortNat(A_NAT))
    client = draft(exchange=exchange, local_identity=Identity.parse(who))
    couple.a.initiate(couple.now, ours(client, phase2(local_selector=selector(wants))))
    couple.run()
    if gets:
        assert couple.one("b", AssociationsReady).remote_selector == selector(wants)
    else:
        assert couple.one("b", ExchangeFailed).reason is Reason.IKE_SELECTORS
        assert couple.of("b", AssociationsReady) == []
    assert selector(A_NETWORK).covers(selector("10.1.2.9/32"))
