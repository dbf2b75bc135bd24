import pytest

from nicsim.boundary import Table, UdpType
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import SaKeys
from nicsim.reasons import Reason
from nicsim.wire.headers import MORE_FRAGMENTS, build_ipv4, build_udp
from nicsim.wire.packet import LinkType
from offload_oids import Abi, NdisStatus
from tests.builders import (
    AES,
    LOCAL,
    NON_IKE,
    PAYLOAD,
    PEER,
    TCP,
    TRIPLE_DES,
    Host,
    association,
    esp_frame,
    ethernet,
    handed_down,
    host_with,
    ip,
    native_esp,
    udp,
)
from tests.ipsec.algorithms import AUTHENTICATED, key_name, oracle_sa
from tests.oracle_esp import iv_length, pad, seal

UDP = association(0x1001, inbound=False)
IKE = association(0x1002, udp_type=UdpType.IKE, inbound=False)
NATIVE = association(0x1003, udp_type=UdpType.NATIVE, inbound=False)
TUNNEL = association(0x1004, AES, mode=Mode.TUNNEL, inbound=False)
IPV6 = association(0x1005, AES, ipv6=True, inbound=False)
ALL = [UDP, IKE, NATIVE, TUNNEL, IPV6]
IDS = ["udp", "ike", "native", "v2-tunnel", "v6-udp"]
ICV = TRIPLE_DES.icv_length


def expected(sa: SecurityAssociation, iv: bytes, sequence: int = 1, payload: bytes = PAYLOAD) -> bytes:
    """The oracle's ESP packet with the IV that the card drew."""
    return seal(oracle_sa(sa.keys), sa.spi, sequence, iv, payload, TCP)


def on_the_wire(framed: bytes, sa: SecurityAssociation, esp: bytes) -> bytes:
    """The frame that was handed down with the ESP packet in its place; headers, UDP checksum and all as they were."""
    begin = len(framed) - len(esp)
    assert framed[begin : begin + 4] == sa.spi.to_bytes(4, "big")
    return framed[:begin] + esp


@pytest.fixture
def host() -> Host:
    return host_with(ALL)


@pytest.mark.rule("N-TX-3", "N-TX-4", "N-TX-6", "N-TX-9", "A-24")
@pytest.mark.parametrize("number", range(len(ALL)), ids=IDS)
def test_the_card_fills_in_iv_ciphertext_and_icv_and_nothing_else(host: Host, number: int) -> None:
    sa = ALL[number]
    framed = handed_down(sa)
    reason, frame = host.send(framed, number)
    assert reason is Reason.SEALED
    assert frame == on_the_wire(framed, sa, expected(sa, host.ivs.given[0]))
    assert len(frame) == len(framed)


@pytest.mark.rule("N-TX-5", "N-SA-15")
@pytest.mark.parametrize("udp_type", [UdpType.NATIVE, UdpType.OTHER])
@pytest.mark.parametrize("keys", AUTHENTICATED, ids=key_name)
def test_every_algorithm_seals_to_the_oracles_bytes_with_one_iv_drawn(keys: SaKeys, udp_type: UdpType) -> None:
    sa = association(0x4001, keys, udp_type, inbound=False)
    host = host_with([sa])
    needed = iv_length(oracle_sa(keys))
    for sequence in (1, 2, 2**32 - 1):
        framed = handed_down(sa, sequence, PAYLOAD[: sequence % 7 + 1])
        reason, frame = host.send(framed)
        esp = expected(sa, host.ivs.given[-1], sequence, PAYLOAD[: sequence % 7 + 1])
        assert (reason, frame) == (Reason.SEALED, on_the_wire(framed, sa, esp))
    # A NULL cipher has no IV: whether the card asks for none, or for nothing, no byte is drawn.
    assert [length for length in host.ivs.lengths if length] == ([needed] * 3 if needed else [])


@pytest.mark.rule("N-TX-10")
@pytest.mark.parametrize("profile", ["reference", "ndis51", "ndis61"])
@pytest.mark.parametrize("abi", Abi)
def test_handle_zero_is_no_ipsec_work(profile: str, abi: Abi) -> None:
    host = host_with([], profile, abi=abi)
    for frame in (handed_down(UDP), b"", b"no frame at all"):
        sent = host.nic.send(frame, host.offloader.transmit_word(0))
        assert (sent.status, sent.frame, sent.reason) == (NdisStatus.SUCCESS, frame, Reason.NO_SEND_WORK)
    assert host.ivs.lengths == []


@pytest.mark.rule("N-TX-10", "N-V2-16")
@pytest.mark.parametrize("profile", ["reference", "ndis51"])
@pytest.mark.parametrize("abi", Abi)
def test_an_unknown_handle_fails_the_send(profile: str, abi: Abi) -> None:
    host = host_with([UDP, association(0x1001), association(0x1002, inbound=False)], profile, abi=abi)
    _, inbound, deleted = host.offloaded
    host.offloader.delete(deleted)
    for handle in (deleted.handle, inbound.handle, host.offloader.parser_entries[0].handle, 1, 0xFFFFFFF8):
        sent = host.nic.send(handed_down(UDP), host.offloader.transmit_word(handle))
        assert (sent.status, sent.frame) == (NdisStatus.FAILURE, b"")
        assert sent.reason is Reason.UNKNOWN_SEND_HANDLE
    assert host.ivs.lengths == []


@pytest.mark.rule("N-TX-10")
def test_an_empty_slot_seals_nothing(host: Host) -> None:
    card = host.nic.card
    assert card.send(handed_down(UDP), 9) == (handed_down(UDP), Reason.UNKNOWN_SEND_HANDLE)
    card.clear_row(Table.OUTBOUND, 0)
    assert card.send(handed_down(UDP), 0) == (handed_down(UDP), Reason.UNKNOWN_SEND_HANDLE)


def with_length(length: int) -> bytes:
    """A framed packet of UDP whose ESP part is this long."""
    head = UDP.spi.to_bytes(4, "big") + bytes((0, 0, 0, 1))
    return esp_frame(UDP, (head + bytes(length))[:length])


def fragment(offset: int, more: bool) -> bytes:
    datagram = build_udp(4500, 4500, handed_down(UDP)[42:])[offset : 64 + offset if more else None]
    flags = MORE_FRAGMENTS if more else 0
    return ethernet(build_ipv4(LOCAL, PEER, 17, datagram, flags=flags, fragment_offset=offset))


OVERHEAD = 8 + 8 + ICV
BAD_FRAMES = {
    "empty": (0, b""),
    "not ip": (0, handed_down(UDP)[:12] + b"\x08\x06" + bytes(28)),
    "cut": (0, handed_down(UDP)[:-1]),
    "tcp": (0, ethernet(ip(bytes(60), 6, LOCAL, PEER))),
    "spi of another association": (0, esp_frame(UDP, handed_down(IKE)[50:])),
    "one byte too many": (0, with_length(OVERHEAD + 9)),
    "one byte too few": (0, with_length(OVERHEAD + 7)),
    "nothing between iv and icv": (0, with_length(OVERHEAD)),
    "no room for the icv": (0, with_length(OVERHEAD - 8)),
    "no room for the iv": (0, with_length(12)),
    "no room for the sequence number": (0, with_length(7)),
    "no room for the spi": (0, with_length(3)),
    "nothing behind udp": (0, with_length(0)),
    "native for an association in udp": (0, native_esp(handed_down(UDP)[42:], LOCAL, PEER)),
    "eight zeros before type OTHER": (0, udp(NON_IKE + handed_down(UDP)[42:], 4500, 4500, LOCAL, PEER)),
    "no zeros before type IKE": (1, udp(handed_down(IKE)[50:], 500, 500, LOCAL, PEER)),
    "seven zeros before type IKE": (1, udp(bytes(7) + handed_down(IKE)[50:], 500, 500, LOCAL, PEER)),
    "other bytes before type IKE": (1, udp(b"\1" * 8 + handed_down(IKE)[50:], 500, 500, LOCAL, PEER)),
    "only the zeros of type IKE": (1, udp(NON_IKE, 500, 500, LOCAL, PEER)),
    "in udp for a native association": (2, udp(handed_down(NATIVE)[34:], 4500, 4500, LOCAL, PEER)),
    "another protocol for a native association": (2, ethernet(ip(handed_down(NATIVE)[34:], 6, LOCAL, PEER))),
    "half an aes block": (3, esp_frame(TUNNEL, handed_down(TUNNEL)[42:-8])),
}


@pytest.mark.rule("N-TX-4")
@pytest.mark.parametrize(("number", "frame"), BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_a_badly_framed_packet_fails_and_draws_no_iv(host: Host, number: int, frame: bytes) -> None:
    assert host.send(frame, number) == (Reason.BAD_SEND_FRAME, b"")
    assert host.nic.card.send(frame, number) == (frame, Reason.BAD_SEND_FRAME)
    assert host.ivs.lengths == []


@pytest.mark.rule("N-TX-7")
@pytest.mark.parametrize(("offset", "more"), [(0, True), (32, True), (64, False)], ids=["first", "middle", "last"])
def test_a_packet_that_goes_out_in_fragments_is_not_sealed(host: Host, offset: int, more: bool) -> None:
    assert host.send(fragment(offset, more)) == (Reason.SEND_FRAGMENT, b"")
    assert host.ivs.lengths == []


@pytest.mark.rule("N-TX-9", "N-NAT-5")
def test_headers_checksum_and_link_padding_are_nobodys(host: Host) -> None:
    framed = handed_down(UDP)
    odd = framed[:40] + b"\xab\xcd" + framed[42:] + b"link padding"
    reason, frame = host.send(odd)
    assert reason is Reason.SEALED
    assert (frame[:50], frame[-12:]) == (odd[:50], b"link padding")
    assert frame[42:-12] == expected(UDP, host.ivs.given[0])


@pytest.mark.rule("N-TX-4")
def test_what_stands_in_the_space_for_iv_and_icv_does_not_matter(host: Host) -> None:
    framed = handed_down(UDP)
    dirty = framed[:50] + b"\xee" * 8 + framed[58:-ICV] + b"\xdd" * ICV
    reason, frame = host.send(dirty)
    assert (reason, frame) == (Reason.SEALED, on_the_wire(framed, UDP, expected(UDP, host.ivs.given[0])))


@pytest.mark.rule("N-TX-4")
def test_padding_content_and_more_padding_than_needed_are_the_transports(host: Host) -> None:
    plaintext = b"data" + b"\x77" * 18 + bytes((18, TCP))
    head = UDP.spi.to_bytes(4, "big") + bytes((0, 0, 0, 9))
    reason, frame = host.send(esp_frame(UDP, head + bytes(8) + plaintext + bytes(ICV)))
    assert reason is Reason.SEALED
    assert UDP.transform.open(frame, 42, len(frame)) == plaintext


@pytest.mark.rule("N-TX-4")
def test_sequence_numbers_are_the_transports(host: Host) -> None:
    for sequence in (7, 7, 3, 0):
        reason, frame = host.send(handed_down(UDP, sequence))
        assert (reason, frame[46:50]) == (Reason.SEALED, sequence.to_bytes(4, "big"))


@pytest.mark.rule("N-TX-8")
def test_tagged_frames_and_raw_links_are_sealed_too(host: Host) -> None:
    framed = handed_down(UDP)
    tagged = framed[:12] + bytes.fromhex("81000064") + framed[12:]
    reason, frame = host.send(tagged)
    assert (reason, frame) == (Reason.SEALED, on_the_wire(tagged, UDP, expected(UDP, host.ivs.given[0])))
    raw = host_with([UDP], link_type=LinkType.RAW)
    reason, frame = raw.send(framed[14:])
    assert (reason, frame) == (Reason.SEALED, on_the_wire(framed[14:], UDP, expected(UDP, raw.ivs.given[0])))


@pytest.mark.rule("N-TX-1", "A-25")
@pytest.mark.parametrize("profile", ["reference", "ndis51"])
@pytest.mark.parametrize("abi", Abi)
def test_the_handle_chooses_the_association(profile: str, abi: Abi) -> None:
    both = [UDP, association(0x5001, inbound=False)]
    host = host_with(both, profile, abi=abi)
    for number, sa in enumerate(both):
        reason, frame = host.send(handed_down(sa), number)
        assert (reason, frame[42:]) == (Reason.SEALED, expected(sa, host.ivs.given[-1]))
        assert host.send(handed_down(sa), 1 - number) == (Reason.BAD_SEND_FRAME, b"")


@pytest.mark.rule("N-TX-3", "N-RX-6")
@pytest.mark.parametrize("keys", AUTHENTICATED, ids=key_name)
def test_what_one_nic_seals_another_opens(keys: SaKeys) -> None:
    for udp_type in (UdpType.NATIVE, UdpType.OTHER):
        out = association(0x6001, keys, udp_type, inbound=False)
        back = association(0x6001, keys, udp_type)
        back.src, back.dst = LOCAL, PEER
        _, frame = host_with([out]).send(handed_down(out))
        reason, indication, descriptor = host_with([back]).receive(frame)
        assert reason is Reason.OPENED
        plaintext = pad(oracle_sa(keys), PAYLOAD, TCP)
        assert indication.frame[descriptor.payload_offset : descriptor.payload_end] == plaintext
