"""Quick mode under right keys: what is refused, what is dropped, and who is waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nicsim.events import (
    AssociationsReady,
    Endpoint,
    ExchangeFailed,
    MessageDropped,
    NotifyReceived,
    OutboundUsable,
    UdpDatagram,
)
from nicsim.host.ike.keys import exchange_iv
from nicsim.host.ike.messenger import MAX_MESSAGE_IDS
from nicsim.host.ike.protection import open_sealed, seal
from nicsim.reasons import Reason
from nicsim.wire.isakmp import (
    HEADER_LENGTH,
    ExchangeType,
    Flags,
    Message,
    NotifyType,
    Payload,
    PayloadType,
    build_chain,
    parse_header,
)
from nicsim.wire.isakmp_payloads import (
    Identification,
    Notification,
    SecurityAssociation,
    parse_security_association,
)
from tests.host.ike.couple import (
    A_ADDRESS,
    A_NAT,
    B_ADDRESS,
)
from tests.host.ike.hostile import (
    BEYOND,
    ESP_SA,
    HOLES,
    KE,
    NONCE,
    NOTIFICATION,
    SECURITY_ASSOCIATION,
    SELECTORS,
    esp,
    goes_on,
    hashed,
    offer,
    quick,
    sealed,
    standing,
    stopped_before,
    up,
)


def test_the_quick_mode_that_the_next_tests_spoil_is_a_good_one() -> None:
    couple = up()
    couple.carry("a", sealed(couple, "a", ExchangeType.QUICK, hashed(*quick())))
    couple.run()
    couple.one("b", AssociationsReady)


@pytest.mark.parametrize(
    ("payloads", "reason", "notify"),
    [
        (quick(esp((6, 256), (5, 2), (4, 3))), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((5, 2), (4, 3))), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (5, 1), (4, 3))), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (4, 3))), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (5, 2))), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (5, 2), (4, 1))), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (5, 2), (4, 61443))), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (5, 2), (4, 3), (3, 2))), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (5, 2), (4, 3), (10, 1))), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (5, 2), (4, 3), id_=3)), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((5, 2), (4, 3), id_=2, protocol=2)), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (5, 2), (5, 1), (4, 3))), Reason.IKE_ATTRIBUTE, NotifyType.ATTRIBUTES_NOT_SUPPORTED),
        (quick(esp((6, 128), (5, 2), (4, 3), (2, 5))), Reason.IKE_ATTRIBUTE, NotifyType.ATTRIBUTES_NOT_SUPPORTED),
        (quick(replace(ESP_SA, proposals=ESP_SA.proposals * 2)), Reason.IKE_NO_PROPOSAL, NotifyType.NO_PROPOSAL_CHOSEN),
        (quick(esp((6, 128), (5, 2), (4, 3), spi=bytes(4))), Reason.IKE_PROPOSAL_SYNTAX, NotifyType.INVALID_SPI),
        (quick(esp((6, 128), (5, 2), (4, 3), spi=b"\0\0\0\xff")), Reason.IKE_PROPOSAL_SYNTAX, NotifyType.INVALID_SPI),
        (quick(esp((6, 128), (5, 2), (4, 3), spi=b"\1" * 8)), Reason.IKE_PROPOSAL_SYNTAX, NotifyType.INVALID_SPI),
        (quick(replace(ESP_SA, doi=7)), Reason.IKE_DOI, NotifyType.DOI_NOT_SUPPORTED),
        (quick(nonce=b"short"), Reason.IKE_NONCE, NotifyType.PAYLOAD_MALFORMED),
        (quick(ESP_SA, Payload(KE, bytes(128))), Reason.IKE_KEY_EXCHANGE, NotifyType.INVALID_KEY_INFORMATION),
        (quick(ids=SELECTORS[::-1]), Reason.IKE_SELECTORS, NotifyType.INVALID_ID_INFORMATION),
        (quick(ids=SELECTORS[:1]), Reason.IKE_SELECTORS, NotifyType.INVALID_ID_INFORMATION),
        (quick(ids=()), Reason.IKE_SELECTORS, NotifyType.INVALID_ID_INFORMATION),
        (quick(ids=(Identification(2, b"a.example"),) * 2), Reason.IKE_SELECTORS, NotifyType.INVALID_ID_INFORMATION),
        (quick(ids=(HOLES,) * 2), Reason.IKE_SELECTORS, NotifyType.INVALID_ID_INFORMATION),
        (quick(ids=(BEYOND,) * 2), Reason.IKE_SELECTORS, NotifyType.INVALID_ID_INFORMATION),
        (quick(ids=(Identification(4, bytes(8)),) * 2), Reason.IKE_SELECTORS, NotifyType.INVALID_ID_INFORMATION),
        (quick(ids=(Identification(1, b"\x0a\1\2"),) * 2), Reason.IKE_SELECTORS, NotifyType.INVALID_ID_INFORMATION),
        (quick(ids=(Identification(5, bytes(16)),) * 2), Reason.IKE_SELECTORS, NotifyType.INVALID_ID_INFORMATION),
    ],
)  # fmt: skip
def test_a_quick_mode_behind_a_right_hash_that_cannot_be_is_refused_under_the_keys(
    payloads: tuple[Payload, ...], reason: Reason, notify: NotifyType
) -> None:
    couple = up()
    before = standing(couple.b)
    couple.carry("a", sealed(couple, "a", ExchangeType.QUICK, hashed(*payloads)))
    couple.run()
    failed = couple.one("b", ExchangeFailed)
    assert (failed.reason, failed.notify_sent) == (reason, notify)
    assert standing(couple.b) == before
    # The peer hears of it behind a hash, and has no quick mode that it could be about.
    told = couple.one("a", NotifyReceived)
    assert (told.number, told.protected) == (notify, True)
    assert couple.of("a", ExchangeFailed) == []


@pytest.mark.parametrize(
    ("build", "message_id", "reason", "notify"),
    [
        (hashed(*quick(), wrong=True), 5, Reason.IKE_AUTHENTICATION, NotifyType.AUTHENTICATION_FAILED),
        (hashed(*quick()[1:]), 5, Reason.IKE_UNEXPECTED, NotifyType.PAYLOAD_MALFORMED),
        (lambda keys, m: (*quick(), Payload(PayloadType.HASH, bytes(20))), 5, Reason.IKE_UNEXPECTED,
         NotifyType.INVALID_HASH_INFORMATION),
        (lambda keys, m: quick(), 5, Reason.IKE_UNEXPECTED, NotifyType.PAYLOAD_MALFORMED),
        (hashed(*quick()), 0, Reason.IKE_MESSAGE_ID, NotifyType.INVALID_MESSAGE_ID),
    ],
)  # fmt: skip
def test_a_quick_mode_that_anybody_could_have_sent_changes_nothing(
    build: Any, message_id: int, reason: Reason, notify: NotifyType
) -> None:
    couple = up()
    before = standing(couple.b)
    couple.carry("a", sealed(couple, "a", ExchangeType.QUICK, build, message_id))
    couple.run()
    dropped = couple.one("b", MessageDropped)
    assert (dropped.reason, dropped.notify_sent) == (reason, notify)
    assert standing(couple.b) == before
    # What is said about it is in clear, and the peer believes none of it.
    assert not couple.one("a", NotifyReceived).protected
    assert couple.of("a", ExchangeFailed) == []


@pytest.mark.parametrize("number", [6, 7, 8])
def test_a_wrong_hash_in_any_message_of_quick_mode_changes_nothing(number: int) -> None:
    couple, by, datagram = stopped_before(number)
    receiver = couple.peers["b" if by == "a" else "a"]
    (ike,) = receiver._daemon.ike_sas.values()
    keys, header = ike.phase1.keys, parse_header(datagram.payload[4:])
    assert keys is not None
    running = ike.quick_modes._running.get(header.message_id)
    fresh = exchange_iv(keys.hash, keys.cipher, ike.phase1.iv, header.message_id)
    iv = running.quick.iv if running else fresh
    message, _ = open_sealed(header, datagram.payload[4:], keys, iv)
    for hashed_ in (bytes(20), message.payloads[0].body[:-1], b""):
        wrong = replace(message, payloads=(Payload(PayloadType.HASH, hashed_), *message.payloads[1:]), padding=b"")
        before, after, out = offer(couple, by, datagram, bytes(4) + seal(wrong, keys, iv)[0])
        assert [item.reason for item in out if isinstance(item, MessageDropped)] == [Reason.IKE_AUTHENTICATION]
        assert after == before
    goes_on(couple, by, datagram)


@pytest.mark.parametrize("number", [6, 7, 8])
def test_a_spoiled_message_of_quick_mode_changes_nothing(number: int) -> None:
    couple, by, datagram = stopped_before(number)
    for at in range(4 + HEADER_LENGTH, len(datagram.payload)):
        spoiled = datagram.payload[:at] + bytes((datagram.payload[at] ^ 0x10,)) + datagram.payload[at + 1 :]
        # Padding is nobody's business, and is all that may change.
        before, after, out = offer(couple, by, datagram, spoiled)
        if not any(isinstance(item, MessageDropped) for item in out):
            assert number != 8
            assert at >= len(datagram.payload) - 16
            return
        assert after == before, at
    goes_on(couple, by, datagram)


def test_quick_mode_in_clear_or_before_its_time_changes_nothing() -> None:
    couple = up()
    before = standing(couple.b)
    good = sealed(couple, "a", ExchangeType.QUICK, hashed(*quick()))
    header = parse_header(good.payload[4:])
    clear = Message(replace(header, flags=Flags.NONE), quick()).build()
    couple.carry("a", replace(good, payload=bytes(4) + clear))
    couple.run()
    assert couple.one("b", MessageDropped).reason is Reason.IKE_FLAGS
    assert standing(couple.b) == before


def test_a_replayed_quick_mode_changes_nothing() -> None:
    couple = up()
    message = sealed(couple, "a", ExchangeType.QUICK, hashed(*quick()))
    couple.carry("a", message)
    couple.run()
    couple.one("b", AssociationsReady)
    couple.wait(1000)  # a is silent, so nothing comes of it, and all is forgotten
    couple.clear()
    before = standing(couple.b)
    couple.carry("a", message)
    couple.run()
    assert couple.one("b", MessageDropped).reason is Reason.IKE_REPLAYED
    assert standing(couple.b) == before


def test_no_more_than_64_quick_modes_are_under_way_at_once() -> None:
    couple = up()
    couple.lose = lambda sent: sent.by == "b"
    for number in range(1, 70):
        couple.carry("a", sealed(couple, "a", ExchangeType.QUICK, hashed(*quick()), number))
    couple.run()
    assert len(couple.of("b", AssociationsReady)) == 64
    assert {one.reason for one in couple.of("b", MessageDropped)} == {Reason.IKE_HALF_OPEN_LIMIT}


def test_message_ids_of_the_past_are_bounded() -> None:
    couple = up()
    (ike,) = couple.b._daemon.ike_sas.values()
    for number in range(1, MAX_MESSAGE_IDS + 100):
        ike.messenger.use(number)
    assert len(ike.messenger._message_ids) == MAX_MESSAGE_IDS


# --- the commit bit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["quick mode", "informational"])
def test_a_responder_that_sets_the_commit_bit_is_waited_for(form: str) -> None:
    """Played by hand: message two with the commit bit, then CONNECTED in either of the two ways."""
    couple = up()
    (ike,) = couple.b._daemon.ike_sas.values()
    keys = ike.phase1.keys
    assert keys is not None
    couple.lose = lambda sent: True
    couple.a.rekey(couple.now, 2)
    couple.run()
    raw = couple.sent[-1].datagram.payload[4:]
    header = parse_header(raw)
    iv = exchange_iv(keys.hash, keys.cipher, ike.phase1.iv, header.message_id)
    asked, iv = open_sealed(header, raw, keys, iv)
    m_id = header.message_id.to_bytes(4, "big")
    _, sa_, nonce, *ids = asked.payloads
    offered = parse_security_association(sa_.body)
    mine = SecurityAssociation((replace(offered.proposals[0], spi=b"\7\7\7\7"),))
    rest = (Payload(SECURITY_ASSOCIATION, mine.build()), Payload(NONCE, b"r" * 20), *ids)
    hash2 = keys.prf_a(m_id + nonce.body + build_chain(rest))
    committing = replace(header, flags=Flags.COMMIT)
    two, iv = seal(Message(committing, (Payload(PayloadType.HASH, hash2), *rest)), keys, iv)
    path = (Endpoint(B_ADDRESS, 4500), Endpoint(A_NAT, 1024))
    couple.clear()
    couple.carry_to("a", UdpDatagram(path[0], Endpoint(A_ADDRESS, 4500), bytes(4) + two))
    couple.run()
    couple.one("a", AssociationsReady)
    assert couple.of("a", OutboundUsable) == []
    three = couple.sent[-1].datagram.payload[4:]
    iv = three[-keys.cipher.block :]
    connected = Payload(NOTIFICATION, Notification(NotifyType.CONNECTED, 3, b"\7\7\7\7").build())
    value = Payload(PayloadType.HASH, keys.prf_a(m_id + build_chain((connected,))))
    exchange = ExchangeType.QUICK
    if form == "informational":
        exchange = ExchangeType.INFORMATIONAL
        iv = exchange_iv(keys.hash, keys.cipher, ike.phase1.iv, header.message_id)
    four, _ = seal(Message(replace(header, exchange=exchange, flags=Flags.NONE), (value, connected)), keys, iv)
    couple.carry_to("a", UdpDatagram(path[0], Endpoint(A_ADDRESS, 4500), bytes(4) + four))
    couple.run()
    couple.one("a", OutboundUsable)


def test_a_responder_that_sets_the_commit_bit_and_says_no_more_is_given_up() -> None:
    couple = up()
    good = sealed(couple, "a", ExchangeType.QUICK, hashed(*quick()), flags=Flags.COMMIT)
    couple.carry("a", good)
    couple.run()
    couple.wait(1000)
    assert couple.one("b", ExchangeFailed).reason is Reason.IKE_TIMED_OUT
