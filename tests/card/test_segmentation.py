"""Large sends: what the host frames, what the NIC makes of it, and that every segment stands up by itself."""

from dataclasses import dataclass, replace

import pytest

from nicsim.boundary import NO_TASKS, LargeSend, LargeSent, SendResult, TaskWords, UdpType
from nicsim.capabilities import Capabilities, NdisVersion, OtherTasks
from nicsim.host.other_tasks import TaskWriter, frame_large_send
from nicsim.host.software_ipsec import CoveringAh, SecurityAssociation
from nicsim.ipsec.association import Association, Encapsulation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from nicsim.wire.packet import LinkType
from offload_oids import Abi, NdisStatus
from offload_oids.task_offload import NdisTaskTcpLargeSend
from tests import oracle_tcp
from tests.builders import (
    AES,
    GCM,
    LOCAL,
    LOCAL6,
    PEER,
    PEER6,
    TRIPLE_DES,
    Host,
    association,
    ethernet,
    host_with,
    keys,
    native_esp,
)
from tests.ipsec.algorithms import AUTHENTICATED, key_name, made_up, oracle_sa
from tests.oracle_esp import iv_length, mac, open_
from tests.oracle_tcp import ACK, FIN, PSH, Tcp

PAYLOAD = made_up("large payload", 5000)
MSS = 1400
MAC = ethernet(oracle_tcp.ip(LOCAL, PEER, 6, b""))[:14]
MAC6 = ethernet(oracle_tcp.ip(LOCAL6, PEER6, 6, b""))[:14]
WRITER = TaskWriter(NdisVersion.NDIS_6_1, Abi.X64)
LARGE = Tcp(0xFFFFF000, ACK | PSH | FIN, PAYLOAD, 0x7FFE)


def addresses(sa: SecurityAssociation) -> tuple[bytes, bytes]:
    return sa.src, sa.dst


def of_host(sa: SecurityAssociation) -> Association:
    """The association as framing needs it."""
    encapsulation = Encapsulation.NONE if sa.udp_type is UdpType.NATIVE else Encapsulation.UDP
    return Association(sa.spi, Mode.TRANSPORT, encapsulation, sa.keys, sa.src, sa.dst)


@dataclass
class Large:
    """One large send through a NIC."""

    sa: SecurityAssociation
    tcp: Tcp = LARGE
    sequence: int = 7
    mss: int = MSS
    discard: int = 0
    lso_version: int = 2
    ip_options: bytes = b""

    def framed(self, writer: TaskWriter = WRITER) -> tuple[bytes, TaskWords]:
        packet = oracle_tcp.make(*addresses(self.sa), self.tcp, self.ip_options)
        return frame_large_send(
            of_host(self.sa),
            packet,
            writer,
            sequence=self.sequence,
            mss=self.mss,
            link_header=MAC6 if len(self.sa.src) == 16 else MAC,
            discard=self.discard,
            lso_version=self.lso_version,
        )

    def sent(self, host: Host, number: int = 0) -> SendResult:
        frame, words = self.framed()
        return host.nic.send(frame, host.offloader.transmit_word(host.offloaded[number].handle), b"", words)

    def must_be(self) -> list[Tcp]:
        modulus = 0x8000 if self.lso_version == 2 else 0x10000
        made = oracle_tcp.cut(self.tcp, self.mss, modulus)
        return made if len(self.sa.src) == 4 else [replace(one, identification=0) for one in made]


def esp_of(frame: bytes, sa: SecurityAssociation) -> tuple[bytes, int]:
    """The ESP packet of a frame on the wire, and its IPv4 identification; all lengths must be right."""
    packet = frame[14:]
    src, dst, protocol, payload = oracle_tcp.read_ip(packet)
    assert (src, dst) == addresses(sa)
    identification = int.from_bytes(packet[4:6], "big") if len(src) == 4 else 0
    if sa.udp_type is UdpType.NATIVE:
        assert protocol == 50
        return payload, identification
    assert (protocol, payload[:4]) == (17, b"\x11\x94\x11\x94")
    assert int.from_bytes(payload[4:6], "big") == len(payload)
    assert payload[6:8] == b"\0\0"
    return payload[8:], identification


def opened(frame: bytes, sa: SecurityAssociation, sequence: int) -> Tcp:
    """The TCP segment in a frame, by the oracles; `sequence` is the whole number that it must have."""
    esp, identification = esp_of(frame, sa)
    assert esp[:8] == sa.spi.to_bytes(4, "big") + (sequence % 2**32).to_bytes(4, "big")
    plain = open_(oracle_sa(sa.keys), esp, sequence >> 32 if sa.esn else None)
    assert plain is not None
    payload, next_header = plain
    assert next_header == 6
    return oracle_tcp.read(*addresses(sa), payload, identification)


def check(large: Large, sent: SendResult) -> None:
    assert (sent.status, sent.reason) == (NdisStatus.SUCCESS, Reason.SEALED)
    assert sent.frames == (sent.frame, *sent.more)
    whole = (large.sa.sequence_high << 32) + large.sequence
    found = [opened(frame, large.sa, whole + number) for number, frame in enumerate(sent.frames)]
    assert found == large.must_be()


def outbound(sa_keys: SaKeys = AES, udp_type: UdpType = UdpType.OTHER, **changes: object) -> SecurityAssociation:
    return association(0x7001, sa_keys, udp_type, inbound=False, **changes)  # type: ignore[arg-type]


@pytest.mark.rule("N-V2-5", "N-V2-15", "N-TX-5")
@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("udp_type", [UdpType.OTHER, UdpType.NATIVE], ids=["udp", "native"])
@pytest.mark.parametrize("sa_keys", AUTHENTICATED, ids=key_name)
def test_every_segment_verifies_by_itself(sa_keys: SaKeys, udp_type: UdpType, ipv6: bool) -> None:
    large = Large(outbound(sa_keys, udp_type, ipv6=ipv6))
    host = host_with([large.sa], "ndis61")
    sent = large.sent(host)
    check(large, sent)
    assert len(sent.frames) == 4
    # A fresh IV for each, as long as the cipher takes it.
    assert [len(iv) for iv in host.ivs.given] == [iv_length(oracle_sa(sa_keys))] * 4
    for frame, iv in zip(sent.frames, host.ivs.given, strict=True):
        assert esp_of(frame, large.sa)[0][8 : 8 + len(iv)] == iv


@pytest.mark.rule("N-V2-15")
@pytest.mark.parametrize("discard", [0, 1, 15, 255])
@pytest.mark.parametrize("length", [2 * MSS, 2 * MSS + 1, 4 * MSS - 1, 2801])
@pytest.mark.parametrize("sa_keys", [AES, GCM], ids=key_name)
def test_padding_to_discard_goes_nowhere_and_every_segment_is_padded_anew(
    sa_keys: SaKeys, length: int, discard: int
) -> None:
    large = Large(outbound(sa_keys), tcp=replace(LARGE, payload=PAYLOAD[:length] + b""), discard=discard)
    check(large, large.sent(host_with([large.sa], "ndis61")))


@pytest.mark.rule("N-V2-15")
@pytest.mark.parametrize("flags", [ACK, ACK | PSH, ACK | FIN, ACK | 0xC0], ids=["ack", "psh", "fin", "ecn"])
def test_fin_and_psh_are_on_the_last_segment_only(flags: int) -> None:
    large = Large(outbound(), tcp=replace(LARGE, flags=flags, options=bytes.fromhex("0101080a0000000100000002")))
    check(large, large.sent(host_with([large.sa], "ndis61")))


@pytest.mark.rule("N-V2-5")
@pytest.mark.parametrize(
    ("lso_version", "first", "identifications"),
    [
        (1, 0x7FFE, [0x7FFE, 0x7FFF, 0x8000, 0x8001]),
        (2, 0x7FFE, [0x7FFE, 0x7FFF, 0, 1]),
        (1, 0xFFFF, [0xFFFF, 0, 1, 2]),
    ],
)
def test_identifications_count_up_in_15_bits_where_the_host_asks_for_version_2(
    lso_version: int, first: int, identifications: list[int]
) -> None:
    large = Large(outbound(), tcp=replace(LARGE, identification=first), lso_version=lso_version)
    sent = large.sent(host_with([large.sa], "ndis61"))
    check(large, sent)
    assert [esp_of(frame, large.sa)[1] for frame in sent.frames] == identifications


@pytest.mark.rule("N-V2-5")
def test_the_completed_word_says_how_much_was_sent() -> None:
    for lso_version, word in ((1, "8813000000000000"), (2, "0000004000000000")):
        large = Large(outbound(), lso_version=lso_version)
        sent = large.sent(host_with([large.sa], "ndis61"))
        assert sent.large_send.hex() == word
        assert WRITER.large_send_done(sent.large_send) == (5000 if lso_version == 1 else 0)


@pytest.mark.rule("N-V2-5", "N-RX-10")
def test_ip_options_are_in_every_segment_or_the_card_does_not_claim_to_cut_such() -> None:
    large = Large(outbound(), ip_options=b"\x94\x04\0\0")
    host = host_with([large.sa], "ndis61")
    frame, words = large.framed()
    sent = host.nic.send(frame, host.offloader.transmit_word(host.offloaded[0].handle), b"", words)
    assert sent.reason is Reason.SEALED
    for segment in sent.frames:
        assert (segment[14], segment[34:38]) == (0x46, b"\x94\x04\0\0")
        oracle_tcp.read_ip(segment[14:])
    claims = load_profile("ndis61")
    other = replace(claims.other_tasks.large_send, ip_options=0)
    refused(large, replace(claims, other_tasks=replace(claims.other_tasks, large_send=other)))
    with_tcp_options = Large(outbound(), tcp=replace(LARGE, options=bytes(4)))
    other = replace(claims.other_tasks.large_send, tcp_options=0)
    refused(with_tcp_options, replace(claims, other_tasks=replace(claims.other_tasks, large_send=other)))


# --- sequence numbers ---------------------------------------------------------------------------------------------


def with_esn(high: int, sa_keys: SaKeys = AES) -> tuple[SecurityAssociation, Capabilities]:
    claims = load_profile("ndis61")
    assert claims.version2
    sa = outbound(sa_keys, esn=True)
    sa.sequence_high = high
    return sa, replace(claims, version2=replace(claims.version2, extended_sequence_numbers=True))


@pytest.mark.rule("N-V2-9", "N-V2-13", "N-V2-15")
@pytest.mark.parametrize("sa_keys", [AES, GCM, keys(Encryption.NULL, Integrity.HMAC_SHA2_256_128)], ids=key_name)
@pytest.mark.parametrize("sequence", [1, 2**32 - 4, 2**32 - 3, 2**32 - 1])
def test_an_extended_sequence_number_carries_into_its_high_half_from_segment_to_segment(
    sequence: int, sa_keys: SaKeys
) -> None:
    sa, claims = with_esn(5, sa_keys)
    large = Large(sa, sequence=sequence)
    check(large, large.sent(host_with([sa], claims)))


@pytest.mark.rule("N-V2-15")
def test_a_sequence_number_never_begins_again() -> None:
    # Four segments: the last number there is can still be used, one more cannot.
    sa = outbound()
    host = host_with([sa], "ndis61")
    check(Large(sa, sequence=2**32 - 4), Large(sa, sequence=2**32 - 4).sent(host))
    drawn = len(host.ivs.given)
    sent = Large(sa, sequence=2**32 - 3).sent(host)
    assert (sent.status, sent.frames, sent.reason) == (NdisStatus.FAILURE, (), Reason.SEQUENCE_WOULD_CYCLE)
    assert len(host.ivs.given) == drawn
    extended, claims = with_esn(2**32 - 1)
    assert Large(extended, sequence=2**32 - 3).sent(host_with([extended], claims)).reason is Reason.SEQUENCE_WOULD_CYCLE


# --- refusals -----------------------------------------------------------------------------------------------------


def refused(
    large: Large,
    capabilities: Capabilities | str = "ndis61",
    reason: Reason = Reason.LARGE_SEND_NOT_ENABLED,
    framed: tuple[bytes, TaskWords] | None = None,
) -> None:
    """All or nothing: no frame goes out, and no IV is drawn."""
    host = host_with([large.sa], capabilities)
    frame, words = framed or large.framed()
    sent = host.nic.send(frame, host.offloader.transmit_word(host.offloaded[0].handle), b"", words)
    assert (sent.status, sent.frames, sent.frame, sent.large_send) == (NdisStatus.FAILURE, (), b"", b"")
    assert sent.reason is reason
    assert host.ivs.given == []


@pytest.mark.rule("N-V2-5")
def test_large_send_beside_version_2_must_be_claimed() -> None:
    claims = load_profile("ndis61")
    assert claims.version2
    refused(Large(outbound()), replace(claims, version2=replace(claims.version2, lso_supported=False)))
    refused(Large(outbound()), replace(claims, other_tasks=OtherTasks()))
    no_ipv6 = replace(claims, other_tasks=replace(claims.other_tasks, large_send_ipv6=False))
    refused(Large(outbound(ipv6=True)), no_ipv6)
    large = Large(outbound())
    check(large, large.sent(host_with([large.sa], no_ipv6)))


@pytest.mark.rule("N-V2-5")
def test_large_send_is_not_for_tunnel_packets() -> None:
    large = Large(outbound())
    frame, words = large.framed()
    for next_header in (4, 41):
        tunnel = replace(words, header=WRITER.header(next_header, 0, 28))
        refused(large, "ndis61", Reason.LARGE_SEND_IN_TUNNEL, (frame, tunnel))
    refused(Large(outbound(mode=Mode.TUNNEL)), "ndis61", Reason.LARGE_SEND_IN_TUNNEL, (frame, words))
    host = host_with([large.sa, association(0x7002, AES, inbound=False)], "ndis61")
    one, two = (host.offloader.transmit_word(sa.handle) for sa in host.offloaded)
    sent = host.nic.send(frame, one, two, words)
    assert (sent.status, sent.reason) == (NdisStatus.FAILURE, Reason.LARGE_SEND_IN_TUNNEL)


@pytest.mark.rule("N-CAP-18")
@pytest.mark.parametrize("profile", ["reference", "ndis60", "ndis51"])
def test_version_1_and_large_send_never_go_together(profile: str) -> None:
    claims = load_profile(profile)
    claims = replace(claims, other_tasks=OtherTasks(large_send=NdisTaskTcpLargeSend(0, 61440, 2, 1, 1)))
    sa = outbound(TRIPLE_DES)
    host = host_with([sa], claims)
    frame, _ = Large(sa).framed()
    writer = TaskWriter(claims.ndis, Abi.X64)
    words = TaskWords(large_send=writer.large_send(MSS, 58, 4), header=writer.header(6, 0, 28))
    sent = host.nic.send(frame, host.offloader.transmit_word(host.offloaded[0].handle), b"", words)
    assert (sent.status, sent.frames, sent.reason) == (NdisStatus.FAILURE, (), Reason.LARGE_SEND_WITH_VERSION_1)
    assert host.ivs.given == []


@pytest.mark.rule("N-V2-16")
def test_a_large_send_by_an_unknown_handle_fails() -> None:
    host = host_with([outbound()], "ndis61")
    frame, words = Large(outbound()).framed()
    sent = host.nic.send(frame, host.offloader.transmit_word(0x7777), b"", words)
    assert (sent.status, sent.frames, sent.reason) == (NdisStatus.FAILURE, (), Reason.UNKNOWN_SEND_HANDLE)
    card = host.nic.card.send_large(frame, 9, LargeSend(MSS))
    assert (card.frames, card.payload, card.reason) == ((), 0, Reason.UNKNOWN_SEND_HANDLE)


def patched(large: Large, at: int, data: bytes) -> tuple[bytes, TaskWords]:
    """The framed packet with some bytes of the TCP header, at `at` from its start, different."""
    frame, words = large.framed()
    begin = 14 + 20 + 8 + 8 + 16 + at
    return frame[:begin] + data + frame[begin + len(data) :], words


GOOD = Large(outbound())
FRAME, WORDS = GOOD.framed()
SMALL, _ = Large(outbound(), tcp=replace(LARGE, payload=b"x" * 30)).framed()
BAD = {
    "mss zero": (FRAME, replace(WORDS, large_send=WRITER.large_send(0, 66, 4))),
    "tcp elsewhere": (FRAME, replace(WORDS, large_send=WRITER.large_send(MSS, 58, 4))),
    "next header udp": (FRAME, replace(WORDS, header=WRITER.header(17, 0, 28))),
    "no header word": (FRAME, replace(WORDS, header=b"")),
    "more padding than packet": (SMALL, replace(WORDS, header=WRITER.header(6, 255, 28))),
    "syn": patched(GOOD, 13, bytes([ACK | oracle_tcp.SYN])),
    "rst": patched(GOOD, 13, bytes([ACK | oracle_tcp.RST])),
    "urg": patched(GOOD, 13, bytes([ACK | oracle_tcp.URG])),
    "urgent pointer": patched(GOOD, 18, b"\0\1"),
    "tcp header of four words": patched(GOOD, 12, b"\x40"),
    "tcp header beyond the packet": (SMALL[:78] + b"\xf0" + SMALL[79:], WORDS),
    "one segment": Large(outbound(), mss=5000).framed(),
    "another spi": (FRAME.replace((0x7001).to_bytes(4, "big"), (0x7002).to_bytes(4, "big"), 1), WORDS),
    "native": (native_esp(FRAME[42:], LOCAL, PEER), WORDS),
    "cut": (FRAME[:-1], WORDS),
    "no ip": (FRAME[:12] + b"\x08\x06" + FRAME[14:], WORDS),
    "ends in the iv": (ethernet(oracle_tcp.ip(LOCAL, PEER, 17, b"\x11\x94\x11\x94\0\x14\0\0" + FRAME[42:54])), WORDS),
    "ends in the tcp header": (SMALL[:16] + b"\0\x47" + SMALL[18:38] + b"\0\x33" + SMALL[40:85], WORDS),
    "empty": (b"", WORDS),
}


@pytest.mark.rule("N-V2-15")
@pytest.mark.parametrize("framed", BAD.values(), ids=BAD)
def test_what_is_not_framed_as_a_large_send_fails_whole(framed: tuple[bytes, TaskWords]) -> None:
    refused(GOOD, "ndis61", Reason.BAD_LARGE_SEND, framed)
    card = host_with([GOOD.sa], "ndis61").nic.card
    assert card.send_large(framed[0], 0, LargeSend(0)) == LargeSent((), 0, Reason.BAD_LARGE_SEND)


@pytest.mark.rule("N-V2-15")
def test_the_most_that_was_claimed_is_cut_and_a_byte_more_is_not() -> None:
    for length, reason in ((61440, Reason.SEALED), (61441, Reason.BAD_LARGE_SEND)):
        large = Large(outbound(), tcp=replace(LARGE, payload=bytes(length)), mss=1460)
        assert large.sent(host_with([large.sa], "ndis61")).reason is reason
    claims = load_profile("ndis61")
    size = replace(claims.other_tasks.large_send, max_off_load_size=0xFFFF, min_segment_count=1)
    everything = replace(claims, other_tasks=replace(claims.other_tasks, large_send=size))
    # One segment of nearly 64 KB: trailer and ICV would make it longer than IP can say.
    for length, reason in ((65380, Reason.SEALED), (65450, Reason.BAD_LARGE_SEND)):
        large = Large(outbound(), tcp=replace(LARGE, payload=bytes(length)), mss=0xFFFFF)
        assert large.sent(host_with([large.sa], everything)).reason is reason


@pytest.mark.rule("N-V2-5")
def test_without_tcp_options_the_claim_to_them_is_not_needed() -> None:
    claims = load_profile("ndis61")
    other = replace(claims.other_tasks.large_send, tcp_options=0, ip_options=0)
    large = Large(outbound())
    check(large, large.sent(host_with([large.sa], replace(claims, other_tasks=OtherTasks(large_send=other)))))


@pytest.mark.rule("A-35", "N-V2-5")
def test_a_lone_native_association_may_be_of_either_portion_and_its_large_sends_are_cut() -> None:
    claims = load_profile("ndis61")
    large = Large(outbound(AES, UdpType.NATIVE))
    readings = replace(claims.readings, lone_native_esp_is_transport=False)
    check(large, large.sent(host_with([large.sa], replace(claims, readings=readings))))


@pytest.mark.rule("N-V2-15")
def test_a_single_segment_is_cut_where_the_card_claims_to() -> None:
    claims = load_profile("ndis61")
    size = replace(claims.other_tasks.large_send, max_off_load_size=0xFFFF, min_segment_count=1)
    capabilities = replace(claims, other_tasks=OtherTasks(large_send=size))
    large = Large(outbound(), tcp=replace(LARGE, payload=b"1"))
    check(large, large.sent(host_with([large.sa], capabilities)))
    nothing = Large(outbound(), tcp=replace(LARGE, payload=b""))
    refused(nothing, capabilities, Reason.BAD_LARGE_SEND)
    # As long as IP can say: 65535 bytes, without IPsec.
    packet = oracle_tcp.make(LOCAL, PEER, Tcp(1, ACK, bytes(0xFFFF - 40)))
    words = TaskWords(large_send=WRITER.large_send(0xFFFFF, 34, 4))
    host = host_with([], capabilities)
    sent = host.nic.send(MAC + packet, host.offloader.transmit_word(0), b"", words)
    assert (sent.reason, len(sent.frame), sent.more) == (Reason.TASKS_DONE, 14 + 0xFFFF, ())


@pytest.mark.rule("N-TX-7")
def test_a_large_packet_in_fragments_is_not_cut() -> None:
    framed = FRAME[:20] + b"\x20\0" + FRAME[22:], WORDS
    refused(GOOD, "ndis61", Reason.SEND_FRAGMENT, framed)


# --- without IPsec ------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-CAP-7", "N-TX-10")
@pytest.mark.parametrize("abi", Abi)
@pytest.mark.parametrize("profile", ["ndis51", "ndis60", "ndis61"])
def test_a_large_send_without_handle_is_cut_and_not_sealed(profile: str, abi: Abi) -> None:
    claims = load_profile(profile)
    claims = replace(claims, other_tasks=OtherTasks(large_send=NdisTaskTcpLargeSend(0, 61440, 2, 1, 1)))
    host = host_with([], claims, abi=abi)
    writer = TaskWriter(claims.ndis, abi)
    seed = oracle_tcp.checksum(oracle_tcp.pseudo(LOCAL, PEER, 6, 0)) ^ 0xFFFF
    packet = oracle_tcp.make(LOCAL, PEER, LARGE)
    frame = MAC + packet[:36] + seed.to_bytes(2, "big") + packet[38:]
    words = TaskWords(large_send=writer.large_send(MSS, 34, 4, lso_version=1))
    sent = host.nic.send(frame, host.offloader.transmit_word(0), b"", words)
    assert (sent.status, sent.reason) == (NdisStatus.SUCCESS, Reason.TASKS_DONE)
    found = []
    for segment in sent.frames:
        src, dst, _, payload = oracle_tcp.read_ip(segment[14:])
        found.append(oracle_tcp.read(src, dst, payload, int.from_bytes(segment[18:20], "big")))
    assert found == oracle_tcp.cut(LARGE, MSS, 0x10000)
    assert writer.large_send_done(sent.large_send) == 5000
    assert host.ivs.given == []
    udp = MAC + oracle_tcp.ip(LOCAL, PEER, 17, b"\0\1\0\2\0\x40\0\0" + bytes(56))
    assert host.nic.send(udp, host.offloader.transmit_word(0), b"", words).reason is Reason.BAD_LARGE_SEND


@pytest.mark.rule("N-TX-8", "N-CAP-4")
def test_tags_and_llc_snap_stand_before_every_segment_with_the_length_right() -> None:
    frame, words = Large(outbound(), mss=200, tcp=replace(LARGE, payload=PAYLOAD[:900])).framed()
    capabilities = replace(load_profile("ndis61"), encapsulations=0x17)
    tagged = frame[:12] + bytes.fromhex("81000064") + frame[12:]
    snap = frame[:12] + (len(frame) - 14 + 8).to_bytes(2, "big") + b"\xaa\xaa\x03\0\0\0" + frame[12:]
    for begin, handed in ((18, tagged), (22, snap)):
        host = host_with([outbound()], capabilities)
        shifted = TaskWords(large_send=WRITER.large_send(200, begin + 52, 4), header=words.header)
        sent = host.nic.send(handed, host.offloader.transmit_word(host.offloaded[0].handle), b"", shifted)
        assert (sent.reason, len(sent.frames)) == (Reason.SEALED, 5)
        for number, segment in enumerate(sent.frames):
            plain = opened(bytes(14) + segment[begin:], outbound(), 7 + number)
            assert plain.payload == PAYLOAD[200 * number : min(900, 200 * number + 200)]
            assert segment[:12] == frame[:12]
            if begin == 22:
                assert int.from_bytes(segment[12:14], "big") == len(segment) - 14
    raw = host_with([outbound()], "ndis61", link_type=LinkType.RAW)
    shifted = TaskWords(large_send=WRITER.large_send(200, 52, 4), header=words.header)
    sent = raw.nic.send(frame[14:], raw.offloader.transmit_word(raw.offloaded[0].handle), b"", shifted)
    assert opened(bytes(14) + sent.frame, outbound(), 7).payload == PAYLOAD[:200]


@pytest.mark.rule("N-TX-10")
def test_words_of_zeros_ask_for_nothing() -> None:
    host = host_with([outbound()], "ndis61")
    frame = ethernet(oracle_tcp.make(LOCAL, PEER, LARGE))
    zeros = TaskWords(bytes(8), bytes(8), bytes(4))
    for words in (NO_TASKS, zeros):
        sent = host.nic.send(frame, host.offloader.transmit_word(0), b"", words)
        assert (sent.status, sent.frames, sent.reason) == (NdisStatus.SUCCESS, (frame,), Reason.NO_SEND_WORK)


# --- AH -----------------------------------------------------------------------------------------------------------


def ah_header(sequence: int, next_header: int) -> bytes:
    """AH with room for an ICV of 12 bytes: 24 in all."""
    return bytes((next_header, 4, 0, 0)) + AH_SPI.to_bytes(4, "big") + sequence.to_bytes(4, "big") + bytes(12)


AH_SPI = 0x2222


def ah_payload(frame: bytes, sa_keys: SaKeys, sequence: int) -> tuple[int, bytes]:
    """What AH carries in a frame on the wire, its ICV checked over the whole packet by RFC 4302 section 3.3.3.1."""
    packet = frame[14:]
    _, _, protocol, payload = oracle_tcp.read_ip(packet)
    assert protocol == 51
    assert payload[:12] == ah_header(sequence, payload[0])[:12]
    covered = bytearray(packet)
    covered[1] = covered[8] = 0
    covered[6:8] = covered[10:12] = b"\0\0"
    covered[32:44] = bytes(12)
    assert mac(oracle_sa(sa_keys), bytes(covered)) == packet[32:44]
    return payload[0], payload[24:]


@pytest.mark.rule("N-V2-5", "N-V2-7", "N-SA-9")
@pytest.mark.parametrize("with_esp", [False, True], ids=["ah", "ah-esp"])
def test_ah_covers_every_segment(with_esp: bool) -> None:
    ah_keys = keys(Encryption.NULL, Integrity.HMAC_SHA1_96)
    if with_esp:
        sa = outbound(AES, UdpType.NATIVE)
        sa.ah = CoveringAh(AH_SPI, ah_keys)
    else:
        sa = outbound(ah_keys, UdpType.NATIVE)
        sa.protocol, sa.spi = 51, AH_SPI
    host = host_with([sa], "ndis61")
    segment = oracle_tcp.make(LOCAL, PEER, LARGE)[20:]
    seed = oracle_tcp.checksum(oracle_tcp.pseudo(LOCAL, PEER, 6, 0)) ^ 0xFFFF
    segment = segment[:16] + seed.to_bytes(2, "big") + segment[18:]
    esp = sa.spi.to_bytes(4, "big") + (40).to_bytes(4, "big") + bytes(16) if with_esp else b""
    frame = MAC + oracle_tcp.ip(LOCAL, PEER, 51, ah_header(9, 50 if with_esp else 6) + esp + segment + bytes(3), 0x7FFE)
    words = TaskWords(large_send=WRITER.large_send(MSS, 58 + len(esp), 4), header=WRITER.header(6, 3, 44, 20))
    handle = host.offloader.transmit_word(host.offloaded[0].handle)
    if not with_esp:  # padding is for ESP only
        assert host.nic.send(frame, handle, b"", words).reason is Reason.BAD_LARGE_SEND
        frame = MAC + oracle_tcp.ip(LOCAL, PEER, 51, ah_header(9, 6) + segment, 0x7FFE)
        words = replace(words, header=WRITER.header(6, 0, 0, 20))
    sent = host.nic.send(frame, handle, b"", words)
    assert (sent.reason, len(sent.frames)) == (Reason.SEALED, 4)
    found = []
    for number, wire in enumerate(sent.frames):
        carried, payload = ah_payload(wire, ah_keys, 9 + number)
        if with_esp:
            assert carried == 50
            assert payload[:8] == sa.spi.to_bytes(4, "big") + (40 + number).to_bytes(4, "big")
            plain = open_(oracle_sa(sa.keys), payload)
            assert plain is not None
            payload, carried = plain
        assert carried == 6
        found.append(oracle_tcp.read(LOCAL, PEER, payload, int.from_bytes(wire[18:20], "big")))
    assert found == oracle_tcp.cut(LARGE, MSS, 0x8000)
