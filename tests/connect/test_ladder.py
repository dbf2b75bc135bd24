"""The ladder: every event of a negotiation has its line, and single packets have none."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from nicsim.connect.ladder import lines_of
from nicsim.connect.results import LadderLine, LineKind
from nicsim.events import (
    AssociationsDeleted,
    AssociationsReady,
    By,
    Endpoint,
    EspReceived,
    EspSent,
    ExchangeFailed,
    FrameSent,
    IkeDown,
    IkeUp,
    KeepaliveSent,
    MessageDropped,
    MessageSeen,
    Nat,
    NotifyReceived,
    OutboundUsable,
    PacketDelivered,
    PacketDropped,
    PeerMoved,
    Role,
    SaPlaced,
    Selector,
)
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.reasons import Reason
from nicsim.report.connect import ladder_text
from nicsim.wire.headers import parse_address
from nicsim.wire.isakmp import ExchangeType
from tests.builders import AES

HERE, THERE = parse_address("203.0.113.1"), parse_address("203.0.113.2")
OURS, THEIRS = Endpoint(HERE, 4500), Endpoint(THERE, 1024)


def message(sent: bool, exchange: int, encrypted: bool, *payloads: str) -> MessageSeen:
    ends = (OURS, THEIRS) if sent else (THEIRS, OURS)
    return MessageSeen(sent, *ends, exchange, 0, encrypted, payloads, b"")


def failed(reason: Reason, detail: str = "", notify: int | None = None) -> ExchangeFailed:
    return ExchangeFailed(
        "road", THEIRS, Role.INITIATOR, ExchangeType.MAIN, reason, detail, notify_received=notify
    )  # fmt: skip


UP = IkeUp(
    3, "road", Role.INITIATOR, ExchangeType.MAIN, OURS, THEIRS, "me", "you", "3des-md5-modp1024", "RFC 3947", Nat.BOTH,
    bytes(8), bytes(8), 3600,
)  # fmt: skip
READY = AssociationsReady(
    7, 3, "road", Role.INITIATOR,
    Association(0x1001, Mode.TUNNEL, Encapsulation.UDP, AES, THERE, HERE),
    Association(0x1002, Mode.TUNNEL, Encapsulation.UDP, AES, HERE, THERE),
    Selector(ip_network("10.0.0.2/32")), Selector(ip_network("192.168.50.0/24")), 3600,
)  # fmt: skip


@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        (message(True, 2, False, "SA", "VID", "VID", "VID"), LineKind.SENT, "main: SA VID*3"),
        (message(False, 32, True, "HASH", "SA", "NONCE", "ID", "ID"), LineKind.RECEIVED, "quick*: HASH SA NONCE ID*2"),
        (message(True, 99, True), LineKind.SENT, "exchange 99*: "),
        (KeepaliveSent(3, OURS, THEIRS), LineKind.SENT, "NAT keepalive"),
        (
            UP,
            LineKind.NOTE,
            "ISAKMP SA 3 is up: 3des-md5-modp1024, RFC 3947, both are behind NATs; the peer is you",
        ),
        (READY, LineKind.NOTE, "pair 7: 0x00001001 in, 0x00001002 out, tunnel mode, encapsulation udp"),
        (
            SaPlaced("road", 7, 0x1001, True, oid="OID_TCP_TASK_IPSEC_ADD_SA"),
            LineKind.NOTE,
            "0x00001001 in: offloaded by OID_TCP_TASK_IPSEC_ADD_SA",
        ),
        (
            SaPlaced("road", 7, 0x1002, False, reason=Reason.ALGORITHM_NOT_CLAIMED, detail="no AES_CBC"),
            LineKind.NOTE,
            "0x00001002 out: in software, algorithm-not-claimed: no AES_CBC",
        ),
        (PeerMoved(3, THEIRS, OURS, (7,)), LineKind.NOTE, "the peer moved from 203.0.113.2:1024 to 203.0.113.1:4500"),
        (
            AssociationsDeleted(7, "road", 1, 2, Reason.IKE_DELETED, By.REMOTE),
            LineKind.NOTE,
            "pair 7 is deleted by the remote side: ike-deleted",
        ),
        (
            IkeDown(3, "road", Reason.IKE_EXPIRED, By.LOCAL),
            LineKind.NOTE,
            "ISAKMP SA 3 is gone, by the local side: ike-expired",
        ),
        (NotifyReceived(THEIRS, 24578, True), LineKind.NOTE, "the peer notifies INITIAL_CONTACT"),
        (NotifyReceived(THEIRS, 9999, True), LineKind.NOTE, "the peer notifies 9999"),
        (
            failed(Reason.IKE_NOTIFIED, notify=14),
            LineKind.TROUBLE,
            "main failed: the peer refused with NO_PROPOSAL_CHOSEN",
        ),
        (failed(Reason.IKE_TIMED_OUT), LineKind.TROUBLE, "main failed: 203.0.113.2:1024 does not answer"),
        (failed(Reason.IKE_AUTHENTICATION, "hash"), LineKind.TROUBLE, "main failed: authentication failed: hash"),
        (failed(Reason.IKE_NONCE), LineKind.TROUBLE, "main failed: A nonce must have 8 to 256 bytes."),
        (
            MessageDropped(THEIRS, Reason.IKE_COOKIE, "no such cookies"),
            LineKind.TROUBLE,
            "message from 203.0.113.2:1024 dropped: no such cookies",
        ),
        (
            PacketDropped(True, Reason.NOT_PROTECTED, "10.0.0.1"),
            LineKind.TROUBLE,
            "packet dropped, not-protected: 10.0.0.1",
        ),
    ],
)
def test_every_event_of_a_negotiation_has_its_line(event: Any, kind: LineKind, text: str) -> None:
    [line] = lines_of(1.5, event)
    assert (line.time, line.kind, line.text) == (1.5, kind, text)
    ports = (4500, 1024) if kind in (LineKind.SENT, LineKind.RECEIVED) else (0, 0)
    assert (line.local_port, line.remote_port) == ports
    assert text[:20] in ladder_text(line)


@pytest.mark.parametrize(
    "event",
    [EspSent(1, 2, 3), EspReceived(1, 2, 3, "accepted"), FrameSent(b""), PacketDelivered(b""), OutboundUsable(1)],
)
def test_single_packets_have_none(event: Any) -> None:
    assert list(lines_of(0.0, event)) == []


def test_arrows_point_to_where_the_message_goes() -> None:
    sent = ladder_text(LadderLine(0.25, LineKind.SENT, "main: SA", 500, 501))
    received = ladder_text(LadderLine(0.25, LineKind.RECEIVED, "main: SA", 500, 501))
    assert sent.startswith("    0.250   500 |--")
    assert sent.endswith("->| 501")
    assert received.startswith("    0.250   500 |<--")
    assert received.endswith("--| 501")
    assert len(sent) == len(received) == len(ladder_text(LadderLine(0.25, LineKind.SENT, "x" * 500, 500, 501)))
