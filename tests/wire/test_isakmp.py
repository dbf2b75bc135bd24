"""wire/isakmp.py and isakmp_payloads.py: every recorded message reads and builds again, and nothing else passes."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import IsakmpMalformed
from nicsim.wire.isakmp import (
    HEADER_LENGTH,
    MAX_PAYLOADS,
    Header,
    Message,
    NotifyType,
    Payload,
    PayloadType,
    build_chain,
    parse_chain,
    parse_header,
    parse_message,
    payload_name,
)
from nicsim.wire.isakmp_payloads import (
    MAX_ATTRIBUTES,
    MAX_TRANSFORMS,
    Attribute,
    Certificate,
    Delete,
    Fragment,
    Identification,
    Notification,
    OriginalAddress,
    Proposal,
    SecurityAssociation,
    Transform,
    parse_attributes,
    parse_certificate,
    parse_delete,
    parse_fragment,
    parse_identification,
    parse_notification,
    parse_original_address,
    parse_security_association,
)

EXCHANGES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "ikev1_exchanges.json").read_text()
)["vectors"]
MESSAGES = [
    pytest.param(message, id=f"{exchange['id']}-{message['n']}")
    for exchange in EXCHANGES
    for message in exchange["messages"]
    if message["kind"] != "nat-keepalive"
]
COOKIES = bytes.fromhex("0102030405060708"), bytes.fromhex("1112131415161718")
BODIES: dict[int, Callable[[bytes], Any]] = {
    PayloadType.SECURITY_ASSOCIATION: parse_security_association,
    PayloadType.IDENTIFICATION: parse_identification,
    PayloadType.CERTIFICATE: parse_certificate,
    PayloadType.CERTIFICATE_REQUEST: parse_certificate,
    PayloadType.NOTIFICATION: parse_notification,
    PayloadType.DELETE: parse_delete,
    PayloadType.NAT_ORIGINAL_ADDRESS: parse_original_address,
}


def datagram_of(message: dict[str, Any]) -> bytes:
    return bytes.fromhex(message["udp_payload"])[4 if message["non_esp_marker"] else 0 :]


def in_clear(message: dict[str, Any]) -> Message:
    """A recorded message, from its recorded plaintext where it was encrypted."""
    datagram = datagram_of(message)
    if "plaintext" not in message:
        return parse_message(datagram)
    header = parse_header(datagram)
    payloads, padding = parse_chain(header.next_payload, bytes.fromhex(message["plaintext"]))
    return Message(header, payloads, padding)


def header(**changes: Any) -> Header:
    return replace(Header(*COOKIES, PayloadType.NONE, 2, 0, 0), **changes)


def refused(notify: NotifyType, parse: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(IsakmpMalformed) as caught:
        parse(*arguments)
    assert caught.value.notify == notify
    return str(caught.value)


# --- the header and the chain ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", MESSAGES)
def test_a_recorded_message_reads_as_recorded_and_builds_to_the_same_bytes(recorded: dict[str, Any]) -> None:
    datagram, message = datagram_of(recorded), in_clear(recorded)
    assert message.header.exchange == recorded["exchange_type"]
    assert message.header.flags == recorded["flags"]
    assert message.header.message_id == int(recorded["message_id"], 16)
    assert [payload.type for payload in message.payloads] == recorded["payloads"]
    assert len(message.padding) == recorded["pad_len"]
    assert message.header.build() == datagram[:HEADER_LENGTH]
    if "plaintext" in recorded:
        assert message.build()[HEADER_LENGTH:].hex() == recorded["plaintext"]
    else:
        assert message.build() == datagram


@pytest.mark.parametrize("recorded", MESSAGES)
def test_the_body_of_every_recorded_payload_builds_to_the_same_bytes(recorded: dict[str, Any]) -> None:
    for payload in in_clear(recorded).payloads:
        if payload.type in BODIES:
            assert BODIES[payload.type](payload.body).build() == payload.body


@pytest.mark.parametrize("recorded", MESSAGES)
def test_every_truncation_is_refused(recorded: dict[str, Any]) -> None:
    datagram = datagram_of(recorded)
    for length in range(len(datagram)):
        refused(NotifyType.UNEQUAL_PAYLOAD_LENGTHS, parse_header, datagram[:length])
    refused(NotifyType.UNEQUAL_PAYLOAD_LENGTHS, parse_header, datagram + b"\0")


def test_a_chain_cut_anywhere_is_refused_or_shorter_by_whole_payloads() -> None:
    message = in_clear(EXCHANGES[1]["messages"][4])
    clear = build_chain(message.payloads)
    for length in range(len(clear)):
        refused(NotifyType.PAYLOAD_MALFORMED, parse_chain, message.payloads[0].type, clear[:length])
    assert parse_chain(message.payloads[0].type, clear + b"rest") == (message.payloads, b"rest")


@pytest.mark.parametrize(
    ("changes", "notify"),
    [
        ({"version": 0x20}, NotifyType.INVALID_MAJOR_VERSION),
        ({"version": 0x00}, NotifyType.INVALID_MAJOR_VERSION),
        ({"version": 0x11}, NotifyType.INVALID_MINOR_VERSION),
        ({"initiator_cookie": bytes(8)}, NotifyType.INVALID_COOKIE),
        ({"flags": 0x08}, NotifyType.INVALID_FLAGS),
        ({"flags": 0x81}, NotifyType.INVALID_FLAGS),
        ({"length": 27}, NotifyType.UNEQUAL_PAYLOAD_LENGTHS),
        ({"length": 0xFFFFFFFF}, NotifyType.UNEQUAL_PAYLOAD_LENGTHS),
    ],
)
def test_a_header_that_cannot_be_is_refused_with_the_right_notification(
    changes: dict[str, Any], notify: NotifyType
) -> None:
    refused(notify, parse_header, header(**changes).build())


@pytest.mark.parametrize(
    ("first", "chain", "notify"),
    [
        (PayloadType.NONCE, "00000003", NotifyType.PAYLOAD_MALFORMED),
        (PayloadType.NONCE, "00000000", NotifyType.PAYLOAD_MALFORMED),
        (PayloadType.NONCE, "00000005", NotifyType.PAYLOAD_MALFORMED),
        (PayloadType.NONCE, "0000ffff" + "00" * 8, NotifyType.PAYLOAD_MALFORMED),
        (PayloadType.NONCE, "00010004", NotifyType.PAYLOAD_MALFORMED),
        (PayloadType.NONCE, "0a000004", NotifyType.PAYLOAD_MALFORMED),
        (PayloadType.PROPOSAL, "00000004", NotifyType.INVALID_PAYLOAD_TYPE),
        (PayloadType.TRANSFORM, "00000004", NotifyType.INVALID_PAYLOAD_TYPE),
        (22, "00000004", NotifyType.INVALID_PAYLOAD_TYPE),
        (255, "00000004", NotifyType.INVALID_PAYLOAD_TYPE),
        (PayloadType.NONCE, "02000004" + "00000004", NotifyType.INVALID_PAYLOAD_TYPE),
    ],
)
def test_a_chain_that_cannot_be_is_refused_with_the_right_notification(
    first: int, chain: str, notify: NotifyType
) -> None:
    refused(notify, parse_chain, first, bytes.fromhex(chain))


def test_a_chain_that_never_ends_is_left_after_64_payloads() -> None:
    endless = bytes((PayloadType.NONCE, 0, 0, 4)) * 16000
    refused(NotifyType.PAYLOAD_MALFORMED, parse_chain, PayloadType.NONCE, endless)
    longest = tuple(Payload(PayloadType.NONCE, b"") for _ in range(MAX_PAYLOADS))
    assert parse_chain(PayloadType.NONCE, build_chain(longest)) == (longest, b"")


def test_nothing_may_follow_the_last_payload_of_a_message_in_clear() -> None:
    message = Message(header(), (Payload(PayloadType.NONCE, b"n" * 8),), padding=b"\0")
    refused(NotifyType.UNEQUAL_PAYLOAD_LENGTHS, parse_message, message.build())
    refused(NotifyType.INVALID_FLAGS, parse_message, replace(message, header=header(flags=1)).build())


def test_payloads_have_their_short_names_and_unknown_ones_their_numbers() -> None:
    assert [payload_name(type_) for type_ in (1, 4, 20, 130, 131, 132, 77)] == [
        "SA", "KE", "NAT-D", "NAT-D", "NAT-OA", "FRAGMENT", "77",
    ]  # fmt: skip


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    for wanted in (data, header(length=HEADER_LENGTH + len(data), next_payload=1).build() + data):
        try:
            message = parse_message(wanted)
        except IsakmpMalformed:
            continue
        assert message.build() == wanted


# --- bodies ----------------------------------------------------------------------------------------------------------

TRANSFORM = Transform(1, 1, (Attribute.of(1, 7), Attribute.of(12, 86400), Attribute(11, b"\0\1")))
SA = SecurityAssociation(
    (Proposal(1, 1, b"", (TRANSFORM, Transform(2, 1, ()))), Proposal(2, 3, b"\1\2\3\4", (TRANSFORM,)))
)
SAMPLES = [
    (parse_security_association, SA),
    (parse_identification, Identification(1, b"\x0a\0\0\1", 17, 500)),
    (parse_certificate, Certificate(4, b"der")),
    (parse_certificate, Certificate(4, b"")),
    (parse_notification, Notification(24578, 1, bytes(16))),
    (parse_notification, Notification(36136, 1, bytes(16), b"\0\0\0\7")),
    (parse_delete, Delete(3, (b"\1\2\3\4", b"\5\6\7\x08"))),
    (parse_original_address, OriginalAddress(b"\xc0\xa8\1\x0a")),
    (parse_original_address, OriginalAddress(bytes(range(16)))),
    (parse_fragment, Fragment(1, 1, False, b"part")),
    (parse_fragment, Fragment(0xFFFF, 255, True, b"part")),
]


@pytest.mark.parametrize(("parse", "value"), SAMPLES)
def test_a_body_builds_and_reads_again(parse: Callable[[bytes], Any], value: Any) -> None:
    assert parse(value.build()) == value


@pytest.mark.parametrize(
    ("parse", "shortest"),
    [
        (parse_identification, 5), (parse_certificate, 1), (parse_notification, 24),
        (parse_fragment, 5),
    ],
)  # fmt: skip
def test_a_body_without_its_fields_is_refused(parse: Callable[[bytes], Any], shortest: int) -> None:
    whole = next(value.build() for its, value in SAMPLES if its is parse)
    for length in range(shortest):
        refused(NotifyType.PAYLOAD_MALFORMED, parse, whole[:length])
    parse(whole[:shortest])


def test_every_truncation_of_an_sa_payload_is_refused() -> None:
    whole = SA.build()
    for length in range(len(whole)):
        refused(NotifyType.BAD_PROPOSAL_SYNTAX, parse_security_association, whole[:length])
    refused(NotifyType.BAD_PROPOSAL_SYNTAX, parse_security_association, whole + b"\0")


@pytest.mark.parametrize(
    ("body", "notify"),
    [
        ("00000002" "00000001", NotifyType.DOI_NOT_SUPPORTED),
        ("00000000" "00000001", NotifyType.DOI_NOT_SUPPORTED),
        ("00000001" "00000002", NotifyType.SITUATION_NOT_SUPPORTED),
        ("00000001" "00000001", NotifyType.BAD_PROPOSAL_SYNTAX),
        # One transform said, none there; two said, one there; a chain of another kind; reserved bytes.
        ("0000000100000001" "00000008" "01010001", NotifyType.BAD_PROPOSAL_SYNTAX),
        ("0000000100000001" "00000010" "01010002" "00000008" "01010000", NotifyType.BAD_PROPOSAL_SYNTAX),
        ("0000000100000001" "03000010" "01010001" "00000008" "01010000", NotifyType.BAD_PROPOSAL_SYNTAX),
        ("0000000100000001" "00010010" "01010001" "00000008" "01010000", NotifyType.BAD_PROPOSAL_SYNTAX),
        ("0000000100000001" "00000010" "01010001" "02000008" "01010000", NotifyType.BAD_PROPOSAL_SYNTAX),
        ("0000000100000001" "00000010" "01010001" "00000008" "01010001", NotifyType.BAD_PROPOSAL_SYNTAX),
        # An SPI longer than its proposal; an attribute longer than its transform.
        ("0000000100000001" "00000010" "0101ff01" "00000008" "01010000", NotifyType.BAD_PROPOSAL_SYNTAX),
        ("0000000100000001" "00000014" "01010001" "0000000c" "01010000" "000cffff", NotifyType.BAD_PROPOSAL_SYNTAX),
    ],
)  # fmt: skip
def test_an_sa_payload_that_cannot_be_is_refused(body: str, notify: NotifyType) -> None:
    refused(notify, parse_security_association, bytes.fromhex(body))


def test_64_kib_of_proposals_are_refused() -> None:
    many = SecurityAssociation((Proposal(1, 1, b"", (Transform(1, 1, ()),) * 255),) * 31).build()
    assert 0xF000 < len(many) < 0x10000
    assert "at most" in refused(NotifyType.BAD_PROPOSAL_SYNTAX, parse_security_association, many)
    most = SecurityAssociation((Proposal(1, 1, b"", (Transform(1, 1, ()),) * (MAX_TRANSFORMS // 2)),) * 2)
    assert parse_security_association(most.build()) == most
    refused(NotifyType.BAD_PROPOSAL_SYNTAX, parse_attributes, bytes.fromhex("80010001") * (MAX_ATTRIBUTES + 1))


def test_attributes_are_numbers_whichever_way_they_are_encoded() -> None:
    assert bytes.fromhex("80010007") == Attribute.of(1, 7).build()
    assert bytes.fromhex("800c3de0") == Attribute.of(12, 15840).build()
    assert bytes.fromhex("000c000400015180") == Attribute.of(12, 86400).build()
    short, long = parse_attributes(bytes.fromhex("800b0001000b00080000000000000001"))
    assert short.number == long.number == 1
    assert (short.basic, long.basic) == (True, False)


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (parse_delete, "00000001" "03040000"),
        (parse_delete, "00000001" "03000001"),
        (parse_delete, "00000001" "03040002" "01020304"),
        (parse_delete, "00000001" "03040001" "0102030405"),
        (parse_delete, "00000001" "0304ffff" + "00" * 400),
        (parse_notification, "00000001" "01106002" + "00" * 15),
        (parse_original_address, "01000000" "c0a80a"),
        (parse_original_address, "05000000" "c0a8010a"),
        (parse_original_address, "01000001" "c0a8010a"),
        (parse_original_address, "02000000" "c0a8010a"),
        (parse_original_address, "01000000" + "00" * 16),
        (parse_fragment, "0001" "00" "00" "61"),
        (parse_fragment, "0001" "01" "02" "61"),
    ],
)  # fmt: skip
def test_a_body_that_contradicts_itself_is_refused(parse: Callable[[bytes], Any], body: str) -> None:
    refused(NotifyType.PAYLOAD_MALFORMED, parse, bytes.fromhex(body))


@given(st.sampled_from([parse for parse, _ in SAMPLES]), st.binary(max_size=120))
def test_any_bytes_are_a_body_or_malformed(parse: Callable[[bytes], Any], body: bytes) -> None:
    if parse is parse_security_association:
        body = struct.pack(">II", 1, 1) + body
    try:
        value = parse(body)
    except IsakmpMalformed:
        return
    assert value.build() == body
