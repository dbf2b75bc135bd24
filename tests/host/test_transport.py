from collections.abc import Callable

import pytest

from nicsim.boundary import UdpType
from nicsim.capabilities import NdisVersion
from nicsim.errors import OffloadProtocolError
from nicsim.host import transport
from nicsim.host.replay_window import ReplayWindow
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.host.transport import HostVerdict, Judgement, OpenedBy, ReceiveWord, ReceiveWords
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import SaKeys
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from nicsim.wire.headers import build_ipv4, build_ipv6
from offload_oids import Abi, CryptoStatus
from tests.builders import (
    AES,
    GCM,
    LOCAL,
    LOCAL6,
    PAYLOAD,
    PEER,
    PEER6,
    TCP,
    TRIPLE_DES,
    association,
    esp_frame,
    host_with,
    sealed,
)
from tests.ipsec.algorithms import AUTHENTICATED, key_name

NOT_PROCESSED = ReceiveWord(False, False, False, CryptoStatus.CRYPTO_SUCCESS)
OPENED = ReceiveWord(True, False, False, CryptoStatus.CRYPTO_SUCCESS)
ESP_AT = 42
INNER4 = build_ipv4(PEER, LOCAL, 17, b"inner four")
INNER6 = build_ipv6(PEER6, LOCAL6, 17, b"inner six")


def failed(status: CryptoStatus) -> ReceiveWord:
    return ReceiveWord(True, False, False, status)


def in_software(sa: SecurityAssociation, esp: bytes) -> Judgement:
    """The packet as a card handed it up that had nothing to do with it."""
    frame = bytes(ESP_AT) + esp + b"link padding"
    return transport.receive(sa, NOT_PROCESSED, frame, ESP_AT, ESP_AT + len(esp), offloaded=False)


def through_nic(sa: SecurityAssociation, esp: bytes) -> Judgement:
    """The packet through a NIC that has the association, its words and frame as they were indicated."""
    host = host_with([association(sa.spi, sa.keys, sa.udp_type, sa.mode)])
    indication = host.nic.receive(esp_frame(sa, esp))[0]
    word = ReceiveWords(host.nic.capabilities.ndis, Abi.X64).read(indication.ipsec)
    assert word.crypto_done
    return transport.receive(sa, word, indication.frame, ESP_AT, ESP_AT + len(esp), offloaded=True)


WAYS: list[tuple[Callable[[SecurityAssociation, bytes], Judgement], OpenedBy]] = [
    (in_software, OpenedBy.HOST),
    (through_nic, OpenedBy.NIC),
]
both_ways = pytest.mark.parametrize(("way", "opened_by"), WAYS, ids=["in software", "through the NIC"])
Way = Callable[[SecurityAssociation, bytes], Judgement]


def of_plaintext(sa: SecurityAssociation, plaintext: bytes, sequence: int = 1) -> bytes:
    """An authentic packet around a plaintext that no honest sender makes."""
    head = sa.spi.to_bytes(4, "big") + sequence.to_bytes(4, "big")
    return sa.transform.seal(head, plaintext, bytes(sa.keys.encryption.iv_length))


# --- accepted ---------------------------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("keys", AUTHENTICATED, ids=key_name)
def test_a_good_packet_is_accepted_whoever_opened_it(way: Way, opened_by: OpenedBy, keys: SaKeys) -> None:
    sa = association(0x1001, keys)
    for sequence in (1, 2, 3):
        payload = PAYLOAD[:sequence]
        assert way(sa, sealed(sa, sequence, payload)) == Judgement(HostVerdict.ACCEPTED, opened_by, payload)
    assert sa.window.top == 3


@pytest.mark.rule("N-RX-12")
def test_crypto_done_counts_only_for_an_offloaded_association() -> None:
    """A word that claims success about an association the NIC does not have cannot be about its packet."""
    sa = association(0x1001)
    esp = sealed(sa)
    judgement = transport.receive(sa, OPENED, bytes(ESP_AT) + esp, ESP_AT, ESP_AT + len(esp), offloaded=False)
    assert judgement == Judgement(HostVerdict.ACCEPTED, OpenedBy.HOST, PAYLOAD)


# --- the ICV first ----------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-RX-14")
@both_ways
def test_a_wrong_icv_ends_it_and_the_window_does_not_move(way: Way, opened_by: OpenedBy) -> None:
    sa = association(0x1001)
    esp = sealed(sa, 1000)
    assert way(sa, esp[:-1] + bytes((esp[-1] ^ 1,))) == Judgement(HostVerdict.ICV_BAD)
    assert sa.window.top == 0
    assert way(sa, sealed(sa, 1)) == Judgement(HostVerdict.ACCEPTED, opened_by, PAYLOAD)


@both_ways
def test_a_wrong_icv_comes_before_a_duplicate_and_before_wrong_padding(way: Way, opened_by: OpenedBy) -> None:
    sa = association(0x1001)
    assert way(sa, sealed(sa, 5)).verdict is HostVerdict.ACCEPTED
    assert way(sa, sealed(sa, 5)[:-1] + b"\0").verdict is HostVerdict.ICV_BAD
    bad_padding = of_plaintext(sa, bytes(6) + bytes((4, TCP)), 5)
    assert way(sa, bad_padding[:-1] + bytes((bad_padding[-1] ^ 1,))).verdict is HostVerdict.ICV_BAD


@both_ways
@pytest.mark.parametrize("length", range(9, 28))
def test_too_short_for_the_fields_of_esp_is_malformed(way: Way, opened_by: OpenedBy, length: int) -> None:
    sa = association(0x1001)
    assert way(sa, sealed(sa)[:length]) == Judgement(HostVerdict.MALFORMED)
    assert sa.window.top == 0


@pytest.mark.rule("N-RX-15", "N-RX-14")
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED, HostVerdict.ICV_BAD),
        (CryptoStatus.CRYPTO_TUNNEL_ESP_AUTH_FAILED, HostVerdict.ICV_BAD),
        (CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX, HostVerdict.MALFORMED),
    ],
)
def test_a_failure_that_the_nic_reports_is_final(status: CryptoStatus, verdict: HostVerdict) -> None:
    sa = association(0x1001)
    frame = esp_frame(sa)
    judgement = transport.receive(sa, failed(status), frame, ESP_AT, len(frame), offloaded=True)
    assert judgement == Judgement(verdict)
    assert sa.window.top == 0


@pytest.mark.rule("N-RX-14", "N-RX-15")
@pytest.mark.parametrize("status", [CryptoStatus.CRYPTO_GENERIC_ERROR, CryptoStatus.CRYPTO_INVALID_PROTOCOL])
def test_a_failure_that_says_nothing_of_the_packet_leaves_it_to_the_host(status: CryptoStatus) -> None:
    sa = association(0x1001)
    frame = esp_frame(sa)
    judgement = transport.receive(sa, failed(status), frame, ESP_AT, len(frame), offloaded=True)
    assert (judgement.verdict, judgement.opened_by) == (HostVerdict.ACCEPTED, OpenedBy.HOST)


def test_what_the_nic_says_of_an_association_it_does_not_have_counts_for_nothing() -> None:
    sa = association(0x1001)
    frame = esp_frame(sa)
    said = failed(CryptoStatus.CRYPTO_TUNNEL_ESP_AUTH_FAILED)
    judgement = transport.receive(sa, said, frame, ESP_AT, len(frame), offloaded=False)
    assert (judgement.verdict, judgement.opened_by) == (HostVerdict.ACCEPTED, OpenedBy.HOST)


@pytest.mark.parametrize("word", [b"", b"\x02", bytes.fromhex("0200ff00") + bytes(12)])
@pytest.mark.parametrize("ndis", list(NdisVersion))
def test_a_word_that_no_miniport_may_write_is_one_clear_error(word: bytes, ndis: NdisVersion) -> None:
    if ndis is NdisVersion.NDIS_5_1 and len(word) > 4:
        word = bytes(4) + b"\x08" + bytes(11)  # there the status has a member of its own
    with pytest.raises(OffloadProtocolError, match="the driver indicated the word"):
        ReceiveWords(ndis, Abi.X64).read(word)


@pytest.mark.parametrize("length", range(8, 30))
def test_a_nic_that_claims_success_where_nothing_can_be_plaintext_is_not_believed(length: int) -> None:
    """A driver under test may say anything; the packet has no room for pad length and next header."""
    sa = association(0x1001)
    frame = esp_frame(sa, sealed(sa)[:length])
    judgement = transport.receive(sa, OPENED, frame, ESP_AT, len(frame), offloaded=True)
    assert judgement == Judgement(HostVerdict.MALFORMED)
    assert sa.window.top == 0


# --- then padding and trailer -----------------------------------------------------------------------------------------


@pytest.mark.rule("N-RX-7")
@both_ways
def test_wrong_padding_content_is_malformed_though_it_has_a_payload(way: Way, opened_by: OpenedBy) -> None:
    sa = association(0x1001)
    esp = of_plaintext(sa, b"data" + b"\x01\x02" + bytes((2, TCP)))
    assert way(sa, esp).verdict is HostVerdict.ACCEPTED
    esp = of_plaintext(sa, b"data" + b"\x01\x03" + bytes((2, TCP)), 2)
    assert way(sa, esp) == Judgement(HostVerdict.MALFORMED, opened_by, b"data")
    assert sa.window.top == 1


@pytest.mark.rule("N-RX-7")
@both_ways
def test_a_pad_length_beyond_the_beginning_is_malformed_and_has_no_payload(way: Way, opened_by: OpenedBy) -> None:
    sa = association(0x1001)
    whole = of_plaintext(sa, bytes(range(1, 7)) + bytes((6, TCP)))
    assert way(sa, whole) == Judgement(HostVerdict.ACCEPTED, opened_by, b"")
    one_more = of_plaintext(sa, bytes(range(1, 7)) + bytes((7, TCP)), 2)
    assert way(sa, one_more) == Judgement(HostVerdict.MALFORMED, opened_by, None)
    assert sa.window.top == 1


@both_ways
def test_wrong_padding_comes_before_a_duplicate(way: Way, opened_by: OpenedBy) -> None:
    sa = association(0x1001)
    assert way(sa, sealed(sa, 9)).verdict is HostVerdict.ACCEPTED
    assert way(sa, of_plaintext(sa, bytes(6) + bytes((4, TCP)), 9)).verdict is HostVerdict.MALFORMED


@both_ways
def test_more_padding_than_needed_is_fine(way: Way, opened_by: OpenedBy) -> None:
    sa = association(0x1001)
    esp = of_plaintext(sa, b"abcdefg" + bytes(range(1, 256)) + bytes((255, TCP)))
    assert way(sa, esp) == Judgement(HostVerdict.ACCEPTED, opened_by, b"abcdefg")


# --- the mode decides what the payload is -----------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize(("inner", "next_header"), [(INNER4, 4), (INNER6, 41)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("more", [0, 1, 100], ids=["nothing", "a byte", "more"])
def test_a_tunnel_gives_the_inner_packet_without_what_follows_it(
    way: Way, opened_by: OpenedBy, inner: bytes, next_header: int, more: int
) -> None:
    sa = association(0x1001, GCM, mode=Mode.TUNNEL)
    esp = sealed(sa, 1, inner + bytes(more), next_header)
    assert way(sa, esp) == Judgement(HostVerdict.ACCEPTED, opened_by, inner)


@both_ways
def test_in_transport_mode_nothing_is_trimmed(way: Way, opened_by: OpenedBy) -> None:
    sa = association(0x1001)
    assert way(sa, sealed(sa, 1, INNER4 + bytes(3), 4)) == Judgement(HostVerdict.ACCEPTED, opened_by, INNER4 + bytes(3))


@both_ways
@pytest.mark.parametrize("mode", Mode)
def test_a_dummy_packet_is_accepted_and_counts(way: Way, opened_by: OpenedBy, mode: Mode) -> None:
    sa = association(0x1001, AES, mode=mode)
    assert way(sa, sealed(sa, 4, b"anything", 59)) == Judgement(HostVerdict.ACCEPTED, opened_by, b"anything")
    assert sa.window.top == 4


@both_ways
@pytest.mark.parametrize(
    ("payload", "next_header"),
    [(INNER4, 41), (INNER6, 4), (INNER4, TCP), (INNER4[:-1], 4), (INNER4[:19], 4), (INNER6[:-1], 41), (b"", 4)],
    ids=["IPv4 as 41", "IPv6 as 4", "IPv4 as TCP", "cut", "cut in the header", "IPv6 cut", "empty"],
)
def test_a_tunnel_without_an_inner_packet_is_malformed(
    way: Way, opened_by: OpenedBy, payload: bytes, next_header: int
) -> None:
    sa = association(0x1001, GCM, mode=Mode.TUNNEL)
    esp = sealed(sa, 1, payload, next_header)
    assert way(sa, esp) == Judgement(HostVerdict.MALFORMED, opened_by, payload)
    assert sa.window.top == 0


# --- and the replay window last ---------------------------------------------------------------------------------------


@pytest.mark.rule("N-RX-7")
@both_ways
def test_duplicates_and_late_packets_are_told_and_keep_their_payload(way: Way, opened_by: OpenedBy) -> None:
    sa = association(0x1001)
    sa.window = ReplayWindow(32)
    order = [
        (1, HostVerdict.ACCEPTED),
        (1, HostVerdict.DUPLICATE),
        (40, HostVerdict.ACCEPTED),
        (9, HostVerdict.ACCEPTED),
        (9, HostVerdict.DUPLICATE),
        (8, HostVerdict.TOO_OLD),
        (1, HostVerdict.TOO_OLD),
        (0, HostVerdict.TOO_OLD),
        (40, HostVerdict.DUPLICATE),
        (2**32 - 1, HostVerdict.ACCEPTED),
        (40, HostVerdict.TOO_OLD),
    ]
    for sequence, verdict in order:
        assert way(sa, sealed(sa, sequence)) == Judgement(verdict, opened_by, PAYLOAD)


def test_each_association_has_its_own_window() -> None:
    first, second = association(0x1001), association(0x1002)
    assert in_software(first, sealed(first, 7)).verdict is HostVerdict.ACCEPTED
    assert in_software(second, sealed(second, 7)).verdict is HostVerdict.ACCEPTED
    assert first.window.size == 64


# --- extended sequence numbers, in software ---------------------------------------------------------------------------


@pytest.mark.rule("N-V2-9")
@pytest.mark.parametrize("keys", [TRIPLE_DES, AES, GCM], ids=key_name)
def test_extended_sequence_numbers_are_guessed_and_proved_by_the_icv(keys: SaKeys) -> None:
    sa = association(0x1001, keys, esn=True)
    sa.window.top = 2**32 - 3
    for sequence in (2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**32 + 50):
        esp = sealed(sa, sequence, extended=True)
        assert in_software(sa, esp) == Judgement(HostVerdict.ACCEPTED, OpenedBy.HOST, PAYLOAD)
        assert sa.window.top == sequence
    assert in_software(sa, sealed(sa, 2**32 - 1, extended=True)).verdict is HostVerdict.DUPLICATE
    assert in_software(sa, sealed(sa, 2**32, extended=True)).verdict is HostVerdict.DUPLICATE


@pytest.mark.parametrize("keys", [TRIPLE_DES, AES, GCM], ids=key_name)
def test_a_packet_of_another_subspace_fails_its_icv(keys: SaKeys) -> None:
    sa = association(0x1001, keys, esn=True)
    sa.window.top = 5 << 32
    assert in_software(sa, sealed(sa, (7 << 32) + 100, extended=True)) == Judgement(HostVerdict.ICV_BAD)
    assert in_software(sa, sealed(sa, 100)) == Judgement(HostVerdict.ICV_BAD)
    assert in_software(sa, sealed(sa, (5 << 32) + 100, extended=True)).verdict is HostVerdict.ACCEPTED


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-RX-12", "N-V2-19")
@pytest.mark.parametrize(
    ("profile", "abi", "raw", "word"),
    [
        ("ndis51", Abi.X86, "0000000000000000", ReceiveWord(False, False, False, CryptoStatus.CRYPTO_SUCCESS)),
        ("ndis51", Abi.X86, "0200000003000000", failed(CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED)),
        ("ndis51", Abi.X86, "0700000000000000", ReceiveWord(True, True, True, CryptoStatus.CRYPTO_SUCCESS)),
        ("ndis51", Abi.X64, "0100000000000000" + "00" * 8, ReceiveWord(False, False, True, CryptoStatus(0))),
        ("reference", Abi.X86, "02000600", failed(CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX)),
        ("reference", Abi.X64, "0600000000000000", ReceiveWord(True, True, False, CryptoStatus.CRYPTO_SUCCESS)),
        ("ndis61", Abi.X64, "0300050000000000", ReceiveWord(True, False, True, CryptoStatus(5))),
    ],
)
def test_a_receive_word_is_read_as_the_documentation_lays_it_out(
    profile: str, abi: Abi, raw: str, word: ReceiveWord
) -> None:
    words = ReceiveWords(load_profile(profile).ndis, abi)
    for _ in range(2):  # words are kept, and the second is as good as the first
        assert words.read(bytes.fromhex(raw)) == word


def test_native_packets_are_judged_alike() -> None:
    sa = association(0x1001, udp_type=UdpType.NATIVE)
    host = host_with([sa])
    reason, indication, _ = host.receive(esp_frame(sa))
    assert reason is Reason.OPENED
    judgement = transport.receive(sa, OPENED, indication.frame, 34, len(indication.frame), offloaded=True)
    assert judgement == Judgement(HostVerdict.ACCEPTED, OpenedBy.NIC, PAYLOAD)
