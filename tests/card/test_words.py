"""Out-of-band words, by hand: what goes up with a frame in each NDIS version, for 32-bit and 64-bit hosts."""

from dataclasses import replace

import pytest

from nicsim.boundary import Descriptor, Miniport, UdpType
from nicsim.capabilities import NdisVersion
from nicsim.driver.indicate import Words
from nicsim.ipsec.esp import Mode
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from offload_oids import Abi
from tests.builders import AES, TCP, association, esp_frame, host_with, sealed, udp

TRANSPORT, TUNNEL = association(0x1001), association(0x1002, mode=Mode.TUNNEL)
FAILED = {"transport": esp_frame(TRANSPORT)[:-1] + b"\0", "tunnel": esp_frame(TUNNEL)[:-1] + b"\0"}
FRAMES = {
    "untouched": udp(sealed(TRANSPORT, spi=0x9999)),
    "opened": esp_frame(TRANSPORT),
    **FAILED,
    "syntax": udp(sealed(TRANSPORT)[:20]),
}

# fmt: off
WORDS = [
    # NDIS_IPSEC_PACKET_INFO: 32 bits of flags, 32 bits of CryptoStatus; as long as its other arm, two handles
    ("ndis51", Abi.X86, "untouched", "00000000 00000000"),
    ("ndis51", Abi.X86, "opened",    "02000000 00000000"),
    ("ndis51", Abi.X86, "transport", "02000000 03000000"),
    ("ndis51", Abi.X86, "tunnel",    "02000000 05000000"),
    ("ndis51", Abi.X86, "syntax",    "02000000 06000000"),
    ("ndis51", Abi.X64, "untouched", "00000000 00000000 0000000000000000"),
    ("ndis51", Abi.X64, "opened",    "02000000 00000000 0000000000000000"),
    ("ndis51", Abi.X64, "transport", "02000000 03000000 0000000000000000"),
    ("ndis51", Abi.X64, "tunnel",    "02000000 05000000 0000000000000000"),
    ("ndis51", Abi.X64, "syntax",    "02000000 06000000 0000000000000000"),
    # NDIS_IPSEC_OFFLOAD_V1_ and _V2_NET_BUFFER_LIST_INFO: 16 bits each; as long as a slot, one pointer
    ("reference", Abi.X86, "untouched", "0000 0000"),
    ("reference", Abi.X86, "opened",    "0200 0000"),
    ("reference", Abi.X86, "transport", "0200 0300"),
    ("reference", Abi.X86, "tunnel",    "0200 0500"),
    ("reference", Abi.X86, "syntax",    "0200 0600"),
    ("reference", Abi.X64, "untouched", "0000 0000 00000000"),
    ("reference", Abi.X64, "opened",    "0200 0000 00000000"),
    ("reference", Abi.X64, "transport", "0200 0300 00000000"),
    ("reference", Abi.X64, "tunnel",    "0200 0500 00000000"),
    ("reference", Abi.X64, "syntax",    "0200 0600 00000000"),
    ("ndis61", Abi.X86, "untouched", "0000 0000"),
    ("ndis61", Abi.X86, "opened",    "0200 0000"),
    ("ndis61", Abi.X64, "transport", "0200 0300 00000000"),
    ("ndis61", Abi.X64, "tunnel",    "0200 0500 00000000"),
    ("ndis61", Abi.X64, "syntax",    "0200 0600 00000000"),
]
# fmt: on


@pytest.mark.rule("N-RX-12", "N-RX-13", "N-RX-15", "N-V2-19", "A-23")
@pytest.mark.parametrize(("profile", "abi", "kind", "word"), WORDS)
def test_the_receive_word_is_as_the_documentation_lays_it_out(profile: str, abi: Abi, kind: str, word: str) -> None:
    host = host_with([TRANSPORT, TUNNEL], profile, abi=abi)
    for _ in range(2):  # words are kept, and the second is as good as the first
        assert host.receive(FRAMES[kind])[1].ipsec == bytes.fromhex(word)


# fmt: off
ALL_BITS = [
    # version, done, next done, status, x86, x64
    (NdisVersion.NDIS_5_1, 1, 1, 0, "06000000 00000000", "06000000 00000000 0000000000000000"),
    (NdisVersion.NDIS_5_1, 1, 0, 7, "02000000 07000000", "02000000 07000000 0000000000000000"),
    (NdisVersion.NDIS_6_0, 1, 1, 0, "0600 0000",         "0600 0000 00000000"),
    (NdisVersion.NDIS_6_0, 1, 0, 7, "0200 0700",         "0200 0700 00000000"),
    (NdisVersion.NDIS_6_1, 1, 1, 4, "0600 0400",         "0600 0400 00000000"),
    (NdisVersion.NDIS_6_1, 1, 0, 1, "0200 0100",         "0200 0100 00000000"),
]
# fmt: on


@pytest.mark.rule("N-RX-12", "N-RX-15", "N-V2-19")
@pytest.mark.parametrize(("ndis", "done", "next_done", "status", "x86", "x64"), ALL_BITS)
def test_every_bit_of_the_receive_word(
    ndis: NdisVersion, done: int, next_done: int, status: int, x86: str, x64: str
) -> None:
    descriptor = Descriptor(Reason.OPENED.number, done, next_done, status)
    assert Words(ndis, Abi.X86).receive(descriptor) == bytes.fromhex(x86)
    assert Words(ndis, Abi.X64).receive(descriptor) == bytes.fromhex(x64)


@pytest.mark.rule("N-V2-19")
@pytest.mark.parametrize("abi", Abi)
def test_an_opened_frame_of_version_2_carries_next_header_and_pad_length(abi: Abi) -> None:
    """NextHeader in bits 0..7, PadLength in 8..15, HeaderInfoSet bit 16; AES pads 40 bytes with 6, 44 with 2."""
    sa = association(0x2001, AES)
    host = host_with([sa], abi=abi)
    for length, next_header, word in ((40, TCP, "06060100"), (44, 17, "11020100"), (46, 59, "3b000100")):
        frame = esp_frame(sa, sealed(sa, 1, bytes(length), next_header))
        assert host.receive(frame)[1].header == bytes.fromhex(word)


@pytest.mark.rule("N-V2-19")
@pytest.mark.parametrize("kind", ["untouched", *FAILED, "syntax"])
def test_a_frame_that_was_not_opened_carries_no_header_word(kind: str) -> None:
    assert host_with([TRANSPORT, TUNNEL]).receive(FRAMES[kind])[1].header == b""


@pytest.mark.rule("N-V2-19")
def test_ndis_5_1_has_no_header_word() -> None:
    assert host_with([TRANSPORT], "ndis51").receive(esp_frame(TRANSPORT))[1].header == b""


@pytest.mark.rule("N-RX-14")
def test_the_driver_takes_a_descriptor_from_any_card() -> None:
    """The reference driver reads nothing of a frame but what the descriptor says it may."""
    driver: Miniport = host_with([TRANSPORT]).nic.driver
    indication = driver.indicate(b"abc\x05\x32" + bytes(4), Descriptor(1, 1, 1, 0, 1, 1, 0, 5))
    assert (indication.ipsec, indication.header) == (bytes.fromhex("0600000000000000"), bytes.fromhex("32050100"))


# fmt: off
TRANSMIT = [
    ("ndis51",    Abi.X86, 0x10008,          "08000100 00000000"),
    ("ndis51",    Abi.X64, 0x10008,          "0800010000000000 0000000000000000"),
    ("reference", Abi.X86, 0x10008,          "08000100"),
    ("reference", Abi.X64, 0x10008,          "0800010000000000"),
    ("reference", Abi.X64, 0xFFFF80001234,   "34120080ffff0000"),
    ("ndis61",    Abi.X64, 0,                "0000000000000000"),
]
# fmt: on


@pytest.mark.rule("N-TX-1", "A-25", "N-V2-14")
@pytest.mark.parametrize(("profile", "abi", "handle", "word"), TRANSMIT)
def test_the_transmit_word_is_the_handle(profile: str, abi: Abi, handle: int, word: str) -> None:
    host = host_with([], profile, abi=abi)
    assert host.offloader.transmit_word(handle) == bytes.fromhex(word)
    assert Words(load_profile(profile).ndis, abi).transmit_handles(bytes.fromhex(word), b"") == (handle, 0)


@pytest.mark.rule("A-25")
def test_ndis_6_0_has_the_words_of_6_1() -> None:
    card = replace(load_profile("ndis51"), ndis=NdisVersion.NDIS_6_0, version2=None)
    indication = host_with([TRANSPORT], card).receive(esp_frame(TRANSPORT))[1]
    assert (indication.ipsec, indication.header) == (bytes.fromhex("0200000000000000"), b"")


def test_native_and_encapsulated_packets_carry_the_same_word() -> None:
    native = association(0x1003, udp_type=UdpType.NATIVE)
    host = host_with([TRANSPORT, native])
    assert host.receive(esp_frame(native))[1].ipsec == host.receive(esp_frame(TRANSPORT))[1].ipsec
