"""Whatever arrives or is handed down: one of the documented outcomes, and never another length."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nicsim.boundary import UdpType
from nicsim.card import receive as card_receive
from nicsim.host import transport
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.host.transport import HostVerdict, ReceiveWords
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import SaKeys
from nicsim.reasons import Reason
from nicsim.wire.packet import LinkType
from offload_oids import Abi
from tests.builders import (
    AES,
    GCM,
    NON_IKE,
    PAYLOAD,
    Host,
    association,
    esp_frame,
    ethernet,
    handed_down,
    host_with,
    ip,
    sealed,
    udp,
)
from tests.ipsec.algorithms import AUTHENTICATED, key_name

SAS = [
    association(0x1001),
    association(0x1002, udp_type=UdpType.IKE),
    association(0x1003, udp_type=UdpType.NATIVE),
    association(0x1004, AES, mode=Mode.TUNNEL),
    association(0x1005, GCM, UdpType.NATIVE, ipv6=True),
]
OUTBOUND = [association(0x7001, inbound=False), association(0x7002, AES, UdpType.NATIVE, inbound=False)]
SEEDS = [
    *(esp_frame(sa) for sa in SAS),
    *(esp_frame(sa)[:12] + bytes.fromhex("81000064") + esp_frame(sa)[12:] for sa in SAS),
    udp(bytes(4) + bytes(28)),
    udp(b"\xff"),
    udp(NON_IKE + bytes(16), 500, 500),
    ethernet(ip(bytes.fromhex("0604000000001003") + bytes(16), 51)),
    ethernet(ip(bytes.fromhex("3200050200000100") + sealed(SAS[4]), 0, SAS[4].src, SAS[4].dst)),
]
WORDS = {
    **{reason: {"00000000"} for reason in Reason if 10 <= reason.number <= 23},
    Reason.OPENED: {"02000000"},
    Reason.ICV_WRONG: {"02000300", "02000500"},
    Reason.SYNTAX_INVALID: {"02000600"},
}
HOSTS = {link: host_with([*SAS, *OUTBOUND], link_type=link) for link in (LinkType.ETHERNET, LinkType.RAW)}


def check(host: Host, frame: bytes) -> Reason:
    """A documented outcome: reason, words and frame go together."""
    reason, indication, descriptor = host.receive(frame)
    assert indication.ipsec[:4].hex() in WORDS[reason]
    assert not any(indication.ipsec[4:])
    assert len(indication.frame) == len(frame)
    assert bool(indication.header) == (reason is Reason.OPENED)
    if reason is Reason.OPENED:
        begin, end = descriptor.payload_offset, descriptor.payload_end
        assert 0 < begin < end <= len(frame)
        assert (indication.frame[:begin], indication.frame[end:]) == (frame[:begin], frame[end:])
    else:
        assert indication.frame == frame
    card = host.nic.card
    told = card_receive.explain(card.rows, frame, card.link_type)[-1].reason
    assert told is (None if reason is Reason.OPENED else reason)
    return reason


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good frame after a few of: bytes changed, cut off, inserted, appended, and parts repeated."""
    frame = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(frame)))
        change = draw(st.sampled_from(["set", "cut", "insert", "append", "repeat"]))
        if change == "set" and at < len(frame):
            frame[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del frame[at:]
        elif change == "insert":
            frame[at:at] = draw(st.binary(max_size=8))
        elif change == "append":
            frame += draw(st.binary(max_size=40))
        elif change == "repeat":
            frame[at:at] = frame[at : at + draw(st.integers(0, 40))]
    return bytes(frame)


@pytest.mark.rule("N-RX-13", "N-RX-14", "N-RX-15", "N-RX-8")
@settings(max_examples=600)
@given(frame=mutated())
def test_a_mutated_frame_gives_a_documented_outcome(frame: bytes) -> None:
    check(HOSTS[LinkType.ETHERNET], frame)
    check(HOSTS[LinkType.RAW], frame[14:])


@settings(max_examples=300)
@given(frame=st.binary(max_size=120), link=st.sampled_from(list(HOSTS)))
def test_random_bytes_give_a_documented_outcome(frame: bytes, link: LinkType) -> None:
    check(HOSTS[link], frame)


@settings(max_examples=300)
@given(payload=st.binary(max_size=80), port=st.sampled_from([500, 4500, 4501]), zeros=st.integers(0, 9))
def test_any_udp_payload_gives_a_documented_outcome(payload: bytes, port: int, zeros: int) -> None:
    check(HOSTS[LinkType.ETHERNET], udp(bytes(zeros) + payload, port))


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_every_truncation_gives_a_documented_outcome(number: int) -> None:
    frame = SEEDS[number]
    for length in range(len(frame)):
        assert check(HOSTS[LinkType.ETHERNET], frame[:length]) is not Reason.OPENED


@pytest.mark.rule("N-TX-4", "N-TX-9")
@settings(max_examples=400)
@given(data=st.data(), number=st.integers(0, 1))
def test_any_frame_to_send_is_sealed_at_its_length_or_refused(data: st.DataObject, number: int) -> None:
    host = HOSTS[LinkType.ETHERNET]
    frame = bytearray(handed_down(OUTBOUND[number]))
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    framed = bytes(frame)[: data.draw(st.integers(0, len(frame)) | st.just(len(frame)))]
    sealed_frame, reason = host.nic.card.send(framed, number)
    assert reason in (Reason.SEALED, Reason.BAD_SEND_FRAME, Reason.SEND_FRAGMENT)
    assert len(sealed_frame) == len(framed)
    assert reason is Reason.SEALED or sealed_frame == framed


def judged(sa: SecurityAssociation, host: Host, frame: bytes) -> tuple[HostVerdict, bytes | None]:
    """NIC and host together, as a fresh association sees the frame."""
    host_sa = association(sa.spi, sa.keys, sa.udp_type, sa.mode)
    word = ReceiveWords(host.nic.capabilities.ndis, Abi.X64).read(host.nic.receive(frame)[0].ipsec)
    indicated = host.nic.receive(frame)[0].frame
    judgement = transport.receive(host_sa, word, indicated, 42, len(frame), offloaded=True)
    return judgement.verdict, judgement.payload


@pytest.mark.rule("N-RX-6", "N-RX-14")
@pytest.mark.parametrize("keys", AUTHENTICATED, ids=key_name)
def test_no_flipped_bit_of_esp_yields_another_payload(keys: SaKeys) -> None:
    sa = association(0x1001, keys)
    host = host_with([sa])
    frame = esp_frame(sa)
    assert judged(sa, host, frame) == (HostVerdict.ACCEPTED, PAYLOAD)
    for bit in range(42 * 8, len(frame) * 8):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << bit % 8
        reason = host.receive(bytes(flipped))[0]
        in_spi = bit // 8 < 46
        assert reason is (Reason.SA_NOT_OFFLOADED if in_spi else Reason.ICV_WRONG)
        verdict, payload = judged(sa, host, bytes(flipped))
        assert verdict is HostVerdict.ICV_BAD
        assert payload is None
