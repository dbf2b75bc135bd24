"""Header-data split: IPsec is header, and what the card could not open it does not look into."""

from dataclasses import replace

import pytest

from nicsim.boundary import UdpType
from nicsim.capabilities import Capabilities
from nicsim.ipsec.esp import Mode
from nicsim.profile import load_profile
from offload_oids import NdisStatus
from tests import oracle_tcp
from tests.builders import AES, LOCAL, LOCAL6, PEER, PEER6, association, esp_frame, ethernet, host_with, sealed, udp
from tests.card.test_checksums import FAR, INSIDE, SEGMENT, tcp_packet, udp_packet, wrong
from tests.driver.builders import FamilyEncapsulation, bench

NATIVE = association(0x5001, AES, UdpType.NATIVE)
TUNNEL = association(0x5002, AES, UdpType.NATIVE, Mode.TUNNEL)
IN_UDP = association(0x5003, AES, UdpType.OTHER)
SIX = association(0x5005, AES, UdpType.OTHER, ipv6=True)
SAS = [NATIVE, TUNNEL, IN_UDP, SIX]
DATA = SEGMENT.payload
OPTIONS = replace(SEGMENT, options=b"\1\1\1\0")


def splitting(longest: int = 256) -> Capabilities:
    return replace(load_profile("ndis61"), header_split=longest)


def through(sa, payload: bytes, next_header: int) -> bytes:
    return esp_frame(sa, sealed(sa, 1, payload, next_header))


ESP = 8 + 16
"""SPI, sequence number and the IV of AES-CBC."""
# fmt: off
SPLITS = {
    # name: frame, where the data begins, what it begins with
    "transport tcp":         (through(NATIVE, tcp_packet(PEER, LOCAL)[20:], 6), 34 + ESP + 20, DATA),
    "transport tcp options": (through(NATIVE, tcp_packet(PEER, LOCAL, OPTIONS)[20:], 6), 34 + ESP + 24, DATA),
    "transport udp":         (through(NATIVE, udp_packet(PEER, LOCAL)[20:], 17), 34 + ESP + 8, DATA),
    "transport icmp":        (through(NATIVE, b"an echo request", 1), 34 + ESP, b"an echo"),
    "transport runt":        (through(NATIVE, b"short", 6), 34 + ESP, b"short"),
    "tcp header too long":   (through(NATIVE, bytes(12) + b"\xf0" + bytes(9), 6), 34 + ESP, bytes(12)),
    "tunnel tcp":            (through(TUNNEL, tcp_packet(FAR, INSIDE), 4), 34 + ESP + 40, DATA),
    "in udp":                (through(IN_UDP, tcp_packet(PEER, LOCAL)[20:], 6), 34 + 8 + ESP + 20, DATA),
    "six in udp":            (through(SIX, tcp_packet(PEER6, LOCAL6)[40:], 6), 54 + 8 + ESP + 20, DATA),
    "plain tcp":             (ethernet(tcp_packet(PEER, LOCAL)), 14 + 40, DATA),
    "plain udp":             (ethernet(udp_packet(PEER, LOCAL)), 14 + 28, DATA),
}
WHOLE = {
    "icv wrong":       wrong(through(NATIVE, tcp_packet(PEER, LOCAL)[20:], 6)),
    "not offloaded":   through(association(0x9, AES, UdpType.NATIVE), tcp_packet(PEER, LOCAL)[20:], 6),
    "fragment":        ethernet(oracle_tcp.ip(PEER, LOCAL, 6, bytes(40))[:6] + b"\x20\0" + bytes(12) + bytes(40)),
    "inner fragment":  through(TUNNEL, tcp_packet(FAR, INSIDE)[:6] + b"\x20\0" + tcp_packet(FAR, INSIDE)[8:], 4),
    "tunnel nonsense": through(TUNNEL, bytes(30), 4),
    "no ip":           bytes(60),
}
# fmt: on


@pytest.mark.rule("N-RX-18")
@pytest.mark.parametrize(("frame", "at", "data"), SPLITS.values(), ids=SPLITS)
def test_ipsec_is_header_and_the_data_begins_behind_it(frame: bytes, at: int, data: bytes) -> None:
    _, indication, descriptor = host_with(SAS, splitting()).receive(frame)
    assert (indication.split, descriptor.split) == (at, at)
    assert indication.frame[at:].startswith(data)
    # The split is where the buffers part, and nothing else: the frame is as it would be in one.
    assert indication.frame == host_with(SAS, "ndis61").receive(frame)[1].frame


@pytest.mark.rule("N-RX-18")
@pytest.mark.parametrize("frame", WHOLE.values(), ids=WHOLE)
def test_what_the_card_cannot_look_into_stays_in_one_buffer(frame: bytes) -> None:
    assert host_with(SAS, splitting()).receive(frame)[1].split == 0


@pytest.mark.rule("N-RX-18")
def test_headers_that_do_not_fit_the_header_buffer_are_not_split_off() -> None:
    frame, at, _ = SPLITS["in udp"]
    assert host_with(SAS, splitting(at)).receive(frame)[1].split == at
    assert host_with(SAS, splitting(at - 1)).receive(frame)[1].split == 0


def test_udp_on_a_port_with_a_parser_entry_splits_behind_its_own_header() -> None:
    assert host_with(SAS, splitting()).receive(udp(b"\xff"))[1].split == 42


@pytest.mark.rule("N-CP6-6")
def test_nothing_is_split_before_the_encapsulation_is_set_or_after_it_is_off() -> None:
    nic = bench(replace(load_profile("ndis61"), header_split=256))
    frame = ethernet(tcp_packet(PEER, LOCAL))
    assert nic.card.receive(frame)[1].split == 0
    assert nic.enable().card.receive(frame)[1].split == 54
    assert nic.encapsulate(FamilyEncapsulation(2), FamilyEncapsulation(2)).status == NdisStatus.SUCCESS
    assert nic.card.receive(frame)[1].split == 0


def test_a_card_that_does_not_claim_it_never_splits() -> None:
    for frame, _, _ in SPLITS.values():
        assert host_with(SAS, "ndis61").receive(frame)[1].split == 0
