"""Who may and who may not: pre-shared keys, signatures, certificates and their chains, identities and names."""

import ipaddress
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import IkeRefused, InputError, Malformed
from nicsim.events import ExchangeFailed, IkeDown, IkeUp, OutboundUsable
from nicsim.host.ike.authentication import PreSharedKey, RsaCredentials, trusted_key, verify_signature
from nicsim.host.ike.config import Phase1Exchange
from nicsim.host.ike.distinguished_name import comparable_name, encode_name, show_name
from nicsim.host.ike.identity import Identity
from nicsim.reasons import Reason
from nicsim.wire.isakmp import NotifyType, Payload, PayloadType, parse_message
from nicsim.wire.isakmp_payloads import Identification, IdentificationType
from tests.host.ike.certificates import (
    NOW,
    YEAR,
    authority,
    credentials,
    key,
    key_pem,
    name_of,
    pem,
    with_certificate,
)
from tests.host.ike.couple import A_ADDRESS, A_NAT, PSK, Couple, PortNat, initiator, ours, phase1, responder, theirs

MAIN, AGGRESSIVE = Phase1Exchange.MAIN, Phase1Exchange.AGGRESSIVE
both_exchanges = pytest.mark.parametrize("exchange", Phase1Exchange, ids=lambda one: one.value)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def reason_of(*arguments: object) -> Reason:
    with pytest.raises(IkeRefused) as caught:
        trusted_key(*arguments)  # type: ignore[arg-type]
    return caught.value.reason


# --- negotiations ----------------------------------------------------------------------------------------------------


def negotiated(exchange: Phase1Exchange, mine: object, its: object, **changes: object) -> Couple:
    server = responder(theirs(phase1(exchange=exchange, authentication=its)), certificates_valid_at=NOW)
    couple = Couple(initiator(certificates_valid_at=NOW), server, nat_a=PortNat(A_NAT))
    couple.a.initiate(couple.now, ours(phase1(exchange=exchange, authentication=mine, **changes)))
    couple.run()
    couple.wait(300)
    return couple


@both_exchanges
def test_signatures_prove_both_sides(exchange: Phase1Exchange) -> None:
    couple = negotiated(exchange, credentials("a"), credentials("b"))
    for name in "ab":
        couple.one(name, OutboundUsable)
    assert couple.one("b", IkeUp).remote_identity == "C=SE, O=nicsim tests, CN=a"
    assert couple.one("a", IkeUp).remote_identity == "C=SE, O=nicsim tests, CN=b"
    said = " ".join(couple.ladder).split()
    assert [said.count(name) for name in ("CERT", "SIG", "CR")] == [2, 2, 2]


@both_exchanges
def test_a_chain_of_certificates_is_sent_and_followed(exchange: Phase1Exchange) -> None:
    middle = authority().issue("middle", authority=True)
    own = replace(authority(), name="middle").issue("a")
    mine = with_certificate(credentials("a"), own, middle)
    couple = negotiated(exchange, mine, credentials("b"))
    couple.one("b", OutboundUsable)
    assert "CERT CERT SIG" in " ".join(couple.ladder)


@both_exchanges
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("another authority", Reason.IKE_CERTIFICATE_AUTHORITY),
        ("too old", Reason.IKE_CERTIFICATE),
        ("not yet", Reason.IKE_CERTIFICATE),
        ("may not sign", Reason.IKE_CERTIFICATE),
        ("another key", Reason.IKE_AUTHENTICATION),
        ("another name", Reason.IKE_IDENTITY),
        ("issued by no authority", Reason.IKE_CERTIFICATE_AUTHORITY),
    ],
)
@pytest.mark.parametrize("whose", ["a", "b"])
def test_credentials_that_are_no_good_end_phase_1_with_the_reason(
    exchange: Phase1Exchange, wrong: str, reason: Reason, whose: str
) -> None:
    good = credentials(whose)
    bad = {
        "another authority": lambda: credentials(whose, issuer="elsewhere"),
        "too old": lambda: with_certificate(good, authority().issue(whose, end=NOW - YEAR / 2)),
        "not yet": lambda: with_certificate(good, authority().issue(whose, start=NOW + YEAR / 2)),
        "may not sign": lambda: with_certificate(good, authority().issue(whose, signs=False)),
        "another key": lambda: replace(good, private_key=key("somebody else")),
        "another name": lambda: good,
        "issued by no authority": lambda: with_certificate(
            good, replace(authority(), name="middle").issue(whose), authority().issue("middle", authority=False)
        ),
    }[wrong]()
    claimed = Identity.parse("C=SE, CN=somebody else") if wrong == "another name" else None
    a, b = (bad, credentials("b")) if whose == "a" else (credentials("a"), bad)
    server = phase1(exchange=exchange, authentication=b, local_identity=claimed if whose == "b" else None)
    couple = Couple(
        initiator(certificates_valid_at=NOW), responder(theirs(server), certificates_valid_at=NOW), nat_a=PortNat(A_NAT)
    )
    local_identity = claimed if whose == "a" else None
    couple.a.initiate(couple.now, ours(phase1(exchange=exchange, authentication=a, local_identity=local_identity)))
    couple.run()
    couple.wait(300)
    judge, judged = ("b", "a") if whose == "a" else ("a", "b")
    failed = couple.one(judge, ExchangeFailed)
    assert (failed.reason, failed.notify_sent is not None) == (reason, True)
    assert couple.of(judge, IkeUp) == []
    # The other side hears of it, and has nothing left either.
    other = couple.of(judged, ExchangeFailed)
    assert [one.reason for one in other] in ([], [Reason.IKE_NOTIFIED])
    assert len(couple.of(judged, IkeUp)) == len(couple.of(judged, IkeDown))
    couple.wait(1000)
    assert couple.peers[judged].next_deadline() is None
    assert couple.peers[judge].next_deadline() is None


@both_exchanges
def test_different_pre_shared_keys_come_to_nothing(exchange: Phase1Exchange) -> None:
    couple = negotiated(exchange, PSK, PreSharedKey(b"another"))
    assert couple.of("a", IkeUp) == couple.of("b", IkeUp) == []
    assert couple.one("a", ExchangeFailed).reason is (
        Reason.IKE_TIMED_OUT if exchange is MAIN else Reason.IKE_AUTHENTICATION
    )


@both_exchanges
@pytest.mark.parametrize(("mine", "its"), [("psk", "rsa"), ("rsa", "psk")])
def test_two_ways_to_authenticate_do_not_meet(exchange: Phase1Exchange, mine: str, its: str) -> None:
    ways = {"psk": (PSK, PSK), "rsa": (credentials("a"), credentials("b"))}
    couple = negotiated(exchange, ways[mine][0], ways[its][1])
    assert couple.one("b", ExchangeFailed).reason is Reason.IKE_NO_PROPOSAL
    failed = couple.one("a", ExchangeFailed)
    assert (failed.reason, failed.notify_received) == (Reason.IKE_NOTIFIED, NotifyType.NO_PROPOSAL_CHOSEN)


@both_exchanges
@pytest.mark.parametrize("judge", ["a", "b"])
def test_an_unexpected_identity_is_refused(exchange: Phase1Exchange, judge: str) -> None:
    expected = Identity.parse("expected.example")
    client = phase1(exchange=exchange, local_identity=Identity.parse("client.example"))
    server = phase1(exchange=exchange, local_identity=Identity.parse("server.example"))
    if judge == "a":
        client = replace(client, remote_identity=expected)
    else:
        server = replace(server, remote_identity=expected)
    couple = Couple(initiator(), responder(theirs(server)))
    couple.a.initiate(couple.now, ours(client))
    couple.run()
    failed = couple.one(judge, ExchangeFailed)
    assert failed.reason is Reason.IKE_IDENTITY
    assert "expected.example" in failed.detail
    assert couple.of(judge, IkeUp) == []
    couple.wait(300)
    assert couple.a.next_deadline() is couple.b.next_deadline() is None


@both_exchanges
def test_the_connection_is_chosen_by_the_identity(exchange: Phase1Exchange) -> None:
    parties = []
    for name in ("anna", "bert"):
        policy = phase1(exchange=exchange, remote_identity=Identity.parse(name))
        parties.append(replace(theirs(policy), name=f"for {name}"))
    couple = Couple(initiator(), responder(*parties))
    couple.a.initiate(couple.now, ours(phase1(exchange=exchange, local_identity=Identity.parse("bert"))))
    couple.run()
    assert couple.one("b", IkeUp).connection == "for bert"
    couple.one("b", OutboundUsable)


def test_aggressive_mode_chooses_the_pre_shared_key_by_the_identity() -> None:
    parties = []
    for name in ("anna", "bert"):
        policy = phase1(
            exchange=AGGRESSIVE, remote_identity=Identity.parse(name), authentication=PreSharedKey(name.encode())
        )
        parties.append(replace(theirs(policy), name=f"for {name}"))
    couple = Couple(initiator(), responder(*parties))
    client = phase1(exchange=AGGRESSIVE, local_identity=Identity.parse("bert"), authentication=PreSharedKey(b"bert"))
    couple.a.initiate(couple.now, ours(client))
    couple.run()
    assert couple.one("b", IkeUp).connection == "for bert"


def test_an_address_is_who_we_are_unless_told() -> None:
    couple = negotiated(MAIN, PSK, PSK)
    assert couple.one("b", IkeUp).remote_identity == "192.168.1.10"


# --- certificates and signatures -------------------------------------------------------------------------------------


def test_a_signature_is_over_the_bare_hash_and_nothing_else() -> None:
    mine = credentials("a")
    signature, public = mine.sign(b"h" * 20), key("a").public_key()
    verify_signature(public, signature, b"h" * 20)
    padded = pow(int.from_bytes(signature, "big"), 65537, public.public_numbers().n).to_bytes(256, "big")
    assert padded == b"\0\1" + b"\xff" * (256 - 23) + b"\0" + b"h" * 20
    spoiled = bytes((signature[0] ^ 1,)) + signature[1:]
    for wrong, hashed in (
        (signature, b"h" * 19),
        (signature, b"i" * 20),
        (spoiled, b"h" * 20),
        (b"", b"h" * 20),
        (bytes(256), b""),
    ):
        with pytest.raises(IkeRefused) as caught:
            verify_signature(public, wrong, hashed)
        assert caught.value.reason is Reason.IKE_AUTHENTICATION


def test_a_certificate_is_whose_subject_or_alternative_name_it_has() -> None:
    names = (
        x509.DNSName("Host.example"),
        x509.RFC822Name("user@example.org"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.9")),
    )
    certificate = authority().issue("a", names=names)
    roots = [authority().certificate]
    for text in (
        "host.example",
        "user@example.org",
        "192.0.2.9",
        "C=SE, O=nicsim tests, CN=a",
        "C=se,O=Nicsim  Tests,CN=A",
    ):
        assert trusted_key([der(certificate)], Identity.parse(text), roots, NOW) == key("a").public_key()
    for text in ("other.example", "host@example.org", "192.0.2.8", "CN=a", "C=SE, O=nicsim tests, CN=b", "#00"):
        assert reason_of([der(certificate)], Identity.parse(text), roots, NOW) is Reason.IKE_IDENTITY
    bare = Identity.parse("host.example")
    assert reason_of([der(authority().issue("a"))], bare, roots, NOW) is Reason.IKE_IDENTITY


def test_what_is_no_certificate_is_refused() -> None:
    identity, roots = credentials("a").identity, [authority().certificate]
    good = der(credentials("a").certificate)
    assert reason_of([], identity, roots, NOW) is Reason.IKE_CERTIFICATE
    assert reason_of([good] * 9, identity, roots, NOW) is Reason.IKE_CERTIFICATE
    for spoiled in (b"", b"no certificate", good[:-1], good[: len(good) // 2], good + b"\0"):
        assert reason_of([spoiled], identity, roots, NOW) is Reason.IKE_CERTIFICATE
    assert reason_of([good], identity, [], NOW) is Reason.IKE_CERTIFICATE_AUTHORITY


@pytest.mark.parametrize("seed", range(200))
def test_a_certificate_with_any_octet_spoiled_is_refused(seed: int) -> None:
    good = der(credentials("a").certificate)
    at = seed * len(good) // 200
    spoiled = good[:at] + bytes((good[at] ^ 0x41,)) + good[at + 1 :]
    reason_of([spoiled], credentials("a").identity, [authority().certificate], NOW)


def test_the_authority_itself_may_be_the_peer_and_dates_may_be_left_out() -> None:
    root = authority().certificate
    identity = Identity.of_name(root.subject.public_bytes())
    assert trusted_key([der(root)], identity, [root], None) == key("authority").public_key()
    old = authority().issue("a", end=NOW - YEAR / 2)
    assert trusted_key([der(old)], credentials("a").identity, [root], None)


def test_an_authority_past_its_time_vouches_for_nobody() -> None:
    own = der(authority().issue("a", end=NOW + 20 * YEAR))
    identity, roots = credentials("a").identity, [authority().certificate]
    assert trusted_key([own], identity, roots, NOW + 9 * YEAR)
    assert reason_of([own], identity, roots, NOW + 11 * YEAR) is Reason.IKE_CERTIFICATE


def test_credentials_come_from_pem_files() -> None:
    own, root = credentials("a").certificate, authority().certificate
    middle = authority().issue("middle", authority=True)
    read = RsaCredentials.from_pem(pem(own) + pem(middle), key_pem("a"), pem(root) + pem(middle))
    assert (read.certificate, read.intermediates, read.authorities) == (own, (middle,), (root, middle))
    assert read.identity.same_as(Identity.of_name(name_of("a").public_bytes()))
    assert "private" not in repr(read)
    for arguments in (
        (b"", key_pem("a"), pem(root)),
        (pem(own), b"", pem(root)),
        (pem(own), key_pem("b"), pem(root)),
        (pem(own), key_pem("a"), b"nothing"),
        (pem(own), pem(own), pem(root)),
    ):
        with pytest.raises(InputError):
            RsaCredentials.from_pem(*arguments)


def test_secrets_are_not_shown() -> None:
    policy = phase1(authentication=PreSharedKey(b"top secret"))
    assert "top secret" not in repr(ours(policy))
    with pytest.raises(InputError):
        PreSharedKey(b"")


# --- identities and names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "type_", "data", "shown"),
    [
        ("192.168.1.10", IdentificationType.IPV4_ADDRESS, A_ADDRESS, "192.168.1.10"),
        ("2001:db8::1", IdentificationType.IPV6_ADDRESS, bytes.fromhex("20010db8" + "00" * 11 + "01"), "2001:db8::1"),
        ("gateway.example", IdentificationType.FQDN, b"gateway.example", "gateway.example"),
        ("@gateway.example", IdentificationType.FQDN, b"gateway.example", "gateway.example"),
        ("user@example", IdentificationType.USER_FQDN, b"user@example", "user@example"),
        ("#c0ffee", IdentificationType.KEY_ID, b"\xc0\xff\xee", "#c0ffee"),
    ],
)
def test_an_identity_reads_and_shows(text: str, type_: IdentificationType, data: bytes, shown: str) -> None:
    identity = Identity.parse(text)
    assert (identity.type, identity.data, str(identity)) == (type_, data, shown)
    assert identity.same_as(Identity.parse(shown))


@pytest.mark.parametrize("text", ["", "#abc", "#xyz", "C=", "CN", "=x", "XX=y, CN=z", "grüße", "@"])
def test_what_is_no_identity_is_refused(text: str) -> None:
    if text == "CN":
        assert Identity.parse(text).type is IdentificationType.FQDN
        return
    with pytest.raises(InputError):
        Identity.parse(text)


def test_the_name_of_the_digest_is_encoded_as_strongswan_encodes_it() -> None:
    text = "C=CH, O=NAT Traversal Lab, CN=client.lab.example"
    recorded = bytes.fromhex(
        "3046310b3009060355040613024348311a3018060355040a13114e41542054726176657273616c204c6162"
        "311b301906035504031312636c69656e742e6c61622e6578616d706c65"
    )  # id_i of the capture s2
    assert encode_name(text) == recorded
    assert show_name(recorded) == text


def test_names_are_the_same_when_they_say_the_same() -> None:
    library = name_of("a").public_bytes()  # strings in UTF-8
    assert encode_name("C=SE, O=nicsim tests, CN=a") != library
    for same in ("C=SE, O=nicsim tests, CN=a", "c=se,o=NICSIM  tests, cn=A"):
        assert comparable_name(encode_name(same)) == comparable_name(library)
    for other in ("O=nicsim tests, C=SE, CN=a", "C=SE, O=nicsim tests", "C=SE, O=nicsim tests, CN=a, CN=a", "CN=a"):
        assert comparable_name(encode_name(other)) != comparable_name(library)


def test_a_comma_can_be_part_of_a_name() -> None:
    text = "O=This\\, that, CN=x"
    assert show_name(encode_name(text)) == text
    assert encode_name("E=a@b, DC=example, CN=Grüße").count(b"\x16") >= 2


@given(st.binary(max_size=60))
def test_any_bytes_are_a_name_or_malformed(data: bytes) -> None:
    for one in (data, b"\x30" + bytes((len(data),)) + data):
        try:
            shown = show_name(one)
        except Malformed:
            Identity.of_name(one).same_as(Identity.of_name(b"\x30\0"))
            continue
        assert isinstance(shown, str)
    str(Identity.of_name(data))


def test_every_truncation_of_a_name_is_refused() -> None:
    whole = encode_name("C=SE, O=lund university, CN=pluto")
    for length in range(len(whole)):
        with pytest.raises(Malformed):
            show_name(whole[:length])


@pytest.mark.parametrize(
    ("id_b", "reason"),
    [
        (Identification(2, b"a.example", 17, 500), None),
        (Identification(2, b"a.example", 17, 0), None),
        (Identification(2, b"a.example", 17, 4500), Reason.IKE_IDENTITY),
        (Identification(2, b"a.example", 0, 500), Reason.IKE_IDENTITY),
        (Identification(2, b"a.example", 6, 0), Reason.IKE_IDENTITY),
        (Identification(12, b"a.example"), Reason.IKE_IDENTITY),
        (Identification(0, b"a.example"), Reason.IKE_IDENTITY),
    ],
)
def test_an_identity_of_phase_1_has_port_0_or_that_of_ike_and_a_known_kind(
    id_b: Identification, reason: Reason | None
) -> None:
    policy = phase1(exchange=AGGRESSIVE)
    couple = Couple(initiator(), responder(theirs(policy)))
    couple.meddle = lambda sent: [replace(sent.datagram, payload=_with_id(sent.datagram.payload, id_b))]
    couple.lose = lambda sent: sent.by == "b"
    couple.a.initiate(couple.now, ours(policy))
    couple.run()
    failed = [event.reason for event in couple.of("b", ExchangeFailed)]
    assert failed == ([] if reason is None else [reason])


def _with_id(raw: bytes, id_b: Identification) -> bytes:
    message = parse_message(raw)
    payloads = tuple(
        Payload(p.type, id_b.build()) if p.type == PayloadType.IDENTIFICATION else p for p in message.payloads
    )
    return replace(message, payloads=payloads).build()
