"""The trailer, and ESP's place in IPv4 and IPv6 packets."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import EspError, InputError, Malformed, SealError, TrailerError
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.esp import framed, padding, protect, strip_trailer, trailer, trim_tfc, tunnel_header, unprotect
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys, Transform
from nicsim.wire.checksum import internet_checksum, udp_checksum
from nicsim.wire.headers import DONT_FRAGMENT, MORE_FRAGMENTS, build_ipv4, build_ipv6, build_udp
from tests import builders, oracle_esp
from tests.ipsec.algorithms import ALL_KEYS, made_up, oracle_sa

A4, B4 = bytes((192, 0, 2, 10)), bytes((198, 51, 100, 20))
A6, B6 = bytes.fromhex("20010db8000100000000000000000010"), bytes.fromhex("20010db8000200000000000000000020")
OUTER_A4, OUTER_B4 = bytes((203, 0, 113, 5)), bytes((203, 0, 113, 77))
OUTER_A6, OUTER_B6 = b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2"
KEYS = SaKeys(Encryption.AES_CBC, made_up("aes", 16), Integrity.HMAC_SHA1_96, made_up("sha1", 20))
IV = made_up("iv", 16)
DATAGRAM = build_udp(5000, 6000, b"sixteen bytes...")
TRANSPORT = Association(0x1001, Mode.TRANSPORT, Encapsulation.NONE, KEYS, A4, B4)
TUNNEL = replace(TRANSPORT, mode=Mode.TUNNEL, src=OUTER_A4, dst=OUTER_B4)
TUNNEL_6 = replace(TUNNEL, src=OUTER_A6, dst=OUTER_B6)

# One 8-byte header each: next header to be filled in, length 0 (8 bytes), and content.
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, UDP, ESP = 0, 43, 44, 60, 17, 50


def ipv6_with(chain: list[int], upper: bytes, upper_protocol: int = UDP) -> bytes:
    """An IPv6 packet with one 8-byte header for each number of `chain`."""
    headers = b""
    for number, following in zip(chain, [*chain, upper_protocol][1:], strict=True):
        content = bytes(6) if number == FRAGMENT else b"\1\4" + bytes(4)
        if number == ROUTING:
            content = b"\2\0" + bytes(4)
        headers += bytes((following, 0)) + content[-6:]
    return build_ipv6(A6, B6, chain[0] if chain else upper_protocol, headers + upper)


def header_chain(packet: bytes) -> list[int]:
    """The next-header numbers from the IPv6 header to the first that is not an 8-byte extension header."""
    numbers, at = [packet[6]], 40
    while numbers[-1] in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION):
        numbers.append(packet[at])
        at += 8
    return numbers


@pytest.mark.parametrize("block", [4, 8, 16])
@pytest.mark.parametrize("length", range(40))
def test_padding_is_the_least_that_fills_blocks(length: int, block: int) -> None:
    pad = padding(length, block)
    assert len(pad) < block
    assert (length + len(pad) + 2) % block == 0
    assert pad == bytes(range(1, len(pad) + 1))
    assert trailer(length, block, 17) == pad + bytes((len(pad), 17))


@pytest.mark.parametrize("pad_length", [0, 1, 13, 254, 255])
def test_more_padding_than_needed_is_accepted(pad_length: int) -> None:
    plaintext = b"payload" + bytes(range(1, pad_length + 1)) + bytes((pad_length, 6))
    assert strip_trailer(plaintext) == (b"payload", pad_length, 6)


@pytest.mark.parametrize("pad_length", [1, 2, 7, 255])
def test_each_wrong_padding_byte_is_refused(pad_length: int) -> None:
    right = b"payload" + bytes(range(1, pad_length + 1)) + bytes((pad_length, 6))
    for at in range(7, 7 + pad_length):
        wrong = right[:at] + bytes((right[at] ^ 0x80,)) + right[at + 1 :]
        with pytest.raises(TrailerError, match=f"^bad-padding: the {pad_length} bytes"):
            strip_trailer(wrong)


def test_pad_length_is_refused_just_beyond_the_data() -> None:
    assert strip_trailer(b"\1\2\2\6") == (b"", 2, 6)
    with pytest.raises(TrailerError, match=r"^bad-pad-length: 3 bytes of padding claimed, 2 are there"):
        strip_trailer(b"\1\2\3\6")


@pytest.mark.parametrize("inner", [build_ipv4(A4, B4, UDP, DATAGRAM), build_ipv6(A6, B6, UDP, DATAGRAM)])
def test_tfc_padding_is_cut_at_the_inner_length(inner: bytes) -> None:
    next_header = 4 if inner[0] >> 4 == 4 else 41
    assert trim_tfc(inner, next_header) == inner
    assert trim_tfc(inner + b"any content", next_header) == inner
    for length in range(len(inner)):
        with pytest.raises(Malformed):
            trim_tfc(inner[:length], next_header)
    with pytest.raises(Malformed, match="has version"):
        trim_tfc(inner + bytes(40), 45 - next_header)
    with pytest.raises(Malformed, match="next header 4, 41 or 59, 17 came"):
        trim_tfc(inner, UDP)


def test_inner_ipv4_length_shorter_than_its_header_is_refused() -> None:
    inner = bytearray(build_ipv4(A4, B4, UDP, DATAGRAM))
    inner[2:4] = b"\0\x13"
    with pytest.raises(Malformed, match="claims 19 bytes"):
        trim_tfc(bytes(inner), 4)


def test_ipv4_transport_keeps_options_and_all_it_need_not_change() -> None:
    packet = build_ipv4(A4, B4, UDP, DATAGRAM, ttl=7, identification=0x1234, tos=0xB9, options=b"\x94\4\0\0\1\1\1\0")
    protected = protect(TRANSPORT, Transform(KEYS), packet, sequence=1, iv=IV)
    assert protected[:2] + protected[4:9] == packet[:2] + packet[4:9]
    assert protected[12:28] == packet[12:28]
    assert protected[9] == ESP
    assert int.from_bytes(protected[2:4], "big") == len(protected)
    assert internet_checksum(protected[:28]) == 0
    esp = oracle_esp.seal(oracle_sa(KEYS), 0x1001, 1, IV, DATAGRAM, UDP)
    assert protected[28:] == esp
    assert unprotect(TRANSPORT, Transform(KEYS), protected) == packet


@pytest.mark.parametrize(
    ("chain", "in_front", "behind"),
    [
        ([], [], []),
        ([HOP_BY_HOP], [HOP_BY_HOP], []),
        ([DESTINATION], [], [DESTINATION]),
        ([HOP_BY_HOP, DESTINATION], [HOP_BY_HOP], [DESTINATION]),
        ([DESTINATION, ROUTING], [DESTINATION, ROUTING], []),
        (
            [HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, DESTINATION],
            [HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT],
            [DESTINATION],
        ),
    ],
)
@pytest.mark.parametrize("encapsulation", Encapsulation)
def test_ipv6_transport_goes_behind_the_headers_for_routers(
    chain: list[int], in_front: list[int], behind: list[int], encapsulation: Encapsulation
) -> None:
    association = replace(TRANSPORT, src=A6, dst=B6, encapsulation=encapsulation)
    packet = ipv6_with(chain, DATAGRAM)
    protected = protect(association, Transform(KEYS), packet, sequence=1, iv=IV)
    outer = ESP if encapsulation is Encapsulation.NONE else UDP
    assert header_chain(protected) == [*in_front, outer]
    cut = 40 + 8 * len(in_front)
    assert oracle_esp.seal(oracle_sa(KEYS), 0x1001, 1, IV, packet[cut:], [*behind, UDP][0]) in protected
    assert unprotect(association, Transform(KEYS), protected) == packet


@pytest.mark.rule("N-NAT-5", "N-NAT-6")
@pytest.mark.parametrize("encapsulation", [Encapsulation.UDP, Encapsulation.UDP_NON_IKE])
@pytest.mark.parametrize("six", [False, True])
def test_udp_header_has_the_ports_length_and_checksum_of_its_family(six: bool, encapsulation: Encapsulation) -> None:
    association = replace(TRANSPORT, encapsulation=encapsulation, src_port=1024, dst_port=500)
    src, dst, start = (A6, B6, 40) if six else (A4, B4, 20)
    packet = build_ipv6(src, dst, UDP, DATAGRAM) if six else build_ipv4(src, dst, UDP, DATAGRAM)
    protected = protect(association, Transform(KEYS), packet, sequence=1, iv=IV)
    udp = protected[start:]
    checksum = udp_checksum(src, dst, udp) if six else 0
    assert udp[:8] == b"\x04\x00\x01\xf4" + len(udp).to_bytes(2, "big") + checksum.to_bytes(2, "big")
    marker = bytes(8) if encapsulation is Encapsulation.UDP_NON_IKE else b""
    assert udp[8:] == marker + oracle_esp.seal(oracle_sa(KEYS), 0x1001, 1, IV, DATAGRAM, UDP)


def test_bytes_behind_the_packet_are_link_padding_in_transport_mode() -> None:
    packet = build_ipv4(A4, B4, UDP, DATAGRAM)
    transform = Transform(KEYS)
    protected = protect(TRANSPORT, transform, packet + b"pad", sequence=1, iv=IV)
    assert unprotect(TRANSPORT, transform, protected + b"pad") == packet


@pytest.mark.parametrize("flags", [MORE_FRAGMENTS, 0])
def test_fragments_are_for_tunnels_only(flags: int) -> None:
    fragment = build_ipv4(A4, B4, 1, bytes(16), flags=flags, fragment_offset=0 if flags else 64)
    transform = Transform(KEYS)
    with pytest.raises(SealError, match="whole datagrams"):
        protect(TRANSPORT, transform, fragment, sequence=1, iv=IV)
    protected = protect(TUNNEL, transform, fragment, sequence=1, iv=IV)
    assert unprotect(TUNNEL, transform, protected) == fragment
    with pytest.raises(Malformed, match="a fragment came"):
        unprotect(TRANSPORT, transform, build_ipv4(A4, B4, ESP, bytes(64), flags=MORE_FRAGMENTS))


@pytest.mark.parametrize("tunnel", [TUNNEL, TUNNEL_6])
@pytest.mark.parametrize(
    "inner",
    [
        build_ipv4(A4, B4, UDP, DATAGRAM, tos=0xB9),
        build_ipv4(A4, B4, UDP, DATAGRAM, flags=0),
        build_ipv6(A6, B6, UDP, DATAGRAM, traffic_class=0xB9, flow_label=0x12345),
    ],
)
def test_tunnel_header_copies_what_rfc_4301_says(tunnel: Association, inner: bytes) -> None:
    header = tunnel_header(tunnel, inner, identification=0x4321)
    traffic_class = int.from_bytes(inner[:2], "big") >> (0 if inner[0] >> 4 == 4 else 4) & 0xFF
    if tunnel is TUNNEL:
        # An IPv6 packet is never fragmented by a router.
        dont_fragment = inner[0] >> 4 == 6 or inner[6] & 0x40
        assert header == build_ipv4(
            OUTER_A4, OUTER_B4, 59, b"", identification=0x4321, tos=traffic_class,
            flags=DONT_FRAGMENT if dont_fragment else 0,
        )  # fmt: skip
    else:
        assert header == build_ipv6(OUTER_A6, OUTER_B6, 59, b"", traffic_class=traffic_class)
    protected = protect(tunnel, Transform(KEYS), inner, sequence=0x14321, iv=IV)
    assert protected[-12:] != bytes(12)
    assert unprotect(tunnel, Transform(KEYS), protected) == inner


def test_tunnel_carries_only_ip() -> None:
    for inner in (b"", b"\x50" + bytes(30)):
        with pytest.raises(Malformed, match="a tunnel carries IPv4 or IPv6"):
            protect(TUNNEL, Transform(KEYS), inner, sequence=1, iv=IV)


@pytest.mark.parametrize(
    ("encapsulation", "outer_six", "most"),
    [
        # 65535 less outer header, UDP part, ESP header and ICV, in whole words, less the 2 bytes of the trailer.
        (Encapsulation.NONE, False, 65535 - 3 - 20 - 0 - 8 - 12 - 2),
        (Encapsulation.UDP, False, 65535 - 3 - 20 - 8 - 8 - 12 - 2),
        (Encapsulation.UDP_NON_IKE, False, 65535 - 3 - 20 - 16 - 8 - 12 - 2),
        # The IPv6 header does not count into its payload length.
        (Encapsulation.NONE, True, 65535 - 3 - 0 - 0 - 8 - 12 - 2),
        (Encapsulation.UDP, True, 65535 - 3 - 0 - 8 - 8 - 12 - 2),
    ],
)
def test_packet_that_would_outgrow_its_length_field_is_refused(
    encapsulation: Encapsulation, outer_six: bool, most: int
) -> None:
    keys = SaKeys(Encryption.NULL, b"", Integrity.HMAC_SHA1_96, made_up("sha1", 20))
    association = replace(TUNNEL_6 if outer_six else TUNNEL, keys=keys, encapsulation=encapsulation)
    transform = Transform(keys)
    inner = build_ipv4(A4, B4, 253, bytes(most - 20))
    assert unprotect(association, transform, protect(association, transform, inner, sequence=1, iv=b"")) == inner
    with pytest.raises(SealError, match="an IP packet holds 65535 bytes"):
        protect(association, transform, inner + b"\0", sequence=1, iv=b"")


@pytest.mark.parametrize("encapsulation", [Encapsulation.UDP, Encapsulation.UDP_NON_IKE])
def test_esp_ends_where_udp_ends(encapsulation: Encapsulation) -> None:
    association = replace(TRANSPORT, encapsulation=encapsulation)
    packet = build_ipv4(A4, B4, UDP, DATAGRAM)
    protected = protect(association, Transform(KEYS), packet, sequence=1, iv=IV)
    longer = build_ipv4(A4, B4, UDP, protected[20:] + b"behind the datagram")
    assert unprotect(association, Transform(KEYS), longer) == packet


@pytest.mark.parametrize(
    ("encapsulation", "packet", "message"),
    [
        (Encapsulation.NONE, build_ipv4(A4, B4, UDP, DATAGRAM), "needs IP protocol 50, 17 came"),
        (Encapsulation.UDP, build_ipv4(A4, B4, ESP, bytes(64)), "needs IP protocol 17, 50 came"),
        (Encapsulation.UDP_NON_IKE, build_ipv4(A4, B4, UDP, build_udp(500, 500, bytes(7))), "non-IKE marker"),
        (Encapsulation.UDP_NON_IKE, build_ipv4(A4, B4, UDP, build_udp(500, 500, bytes(7) + b"\1")), "non-IKE marker"),
    ],
)
def test_packet_laid_out_otherwise_is_refused(encapsulation: Encapsulation, packet: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        unprotect(replace(TRANSPORT, encapsulation=encapsulation), Transform(KEYS), packet)


@pytest.mark.parametrize("encapsulation", Encapsulation)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("six", [False, True])
def test_every_truncation_of_a_packet_is_refused(six: bool, mode: Mode, encapsulation: Encapsulation) -> None:
    association = replace(TUNNEL_6 if six else TUNNEL, mode=mode, encapsulation=encapsulation)
    packet = ipv6_with([HOP_BY_HOP], DATAGRAM) if six else build_ipv4(A4, B4, UDP, DATAGRAM)
    transform = Transform(KEYS)
    protected = protect(association, transform, packet, sequence=1, iv=IV)
    for length in range(len(protected)):
        with pytest.raises((Malformed, EspError)):
            unprotect(association, transform, protected[:length])


@given(
    keys=st.sampled_from(ALL_KEYS),
    mode=st.sampled_from(Mode),
    encapsulation=st.sampled_from(Encapsulation),
    inner_six=st.booleans(),
    outer_six=st.booleans(),
    protocol=st.sampled_from([1, 6, 47, 132, 253]),
    payload=st.integers(0, 1500).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    sequence=st.integers(0, 2**32 - 1),
    high=st.none() | st.integers(0, 2**32 - 1),
)
def test_unprotect_undoes_protect(
    keys: SaKeys,
    mode: Mode,
    encapsulation: Encapsulation,
    inner_six: bool,
    outer_six: bool,
    protocol: int,
    payload: bytes,
    sequence: int,
    high: int | None,
) -> None:
    src, dst = (OUTER_A6, OUTER_B6) if outer_six else (OUTER_A4, OUTER_B4)
    association = Association(7, mode, encapsulation, keys, src, dst, esn=high is not None)
    packet = build_ipv6(A6, B6, protocol, payload) if inner_six else build_ipv4(A4, B4, protocol, payload)
    iv = made_up(str(sequence), keys.encryption.iv_length)
    protected = protect(association, Transform(keys), packet, sequence=sequence, iv=iv, sequence_high=high)
    assert unprotect(association, Transform(keys), protected, high) == packet


@given(st.binary(max_size=200), st.sampled_from(Mode), st.sampled_from(Encapsulation))
def test_random_bytes_never_open(packet: bytes, mode: Mode, encapsulation: Encapsulation) -> None:
    with pytest.raises((Malformed, EspError)) as refusal:
        unprotect(replace(TUNNEL, mode=mode, encapsulation=encapsulation), Transform(KEYS), packet)
    assert not isinstance(refusal.value, InputError)


@pytest.mark.parametrize("encryption", [Encryption.TRIPLE_DES_CBC, Encryption.AES_GCM_16, Encryption.NULL])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("encapsulation", Encapsulation)
def test_what_a_nic_gets_differs_from_the_protected_packet_in_iv_ciphertext_and_icv_only(
    encryption: Encryption, mode: Mode, encapsulation: Encapsulation
) -> None:
    integrity = Integrity.NONE if encryption.is_aead else Integrity.HMAC_SHA1_96
    keys = builders.keys(encryption, integrity)
    association = Association(0x1001, mode, encapsulation, keys, builders.LOCAL, builders.PEER)
    packet = builders.ip(bytes(range(40)), 6, builders.LOCAL, builders.PEER)
    sealed = protect(association, Transform(keys), packet, sequence=7, iv=bytes(range(encryption.iv_length)))
    handed_down = framed(association, packet, sequence=7)
    assert len(handed_down) == len(sealed)
    esp = 20 + {Encapsulation.NONE: 0, Encapsulation.UDP: 8, Encapsulation.UDP_NON_IKE: 16}[encapsulation]
    body, end = esp + 8 + encryption.iv_length, len(sealed) - keys.icv_length
    assert handed_down[: esp + 8] == sealed[: esp + 8]
    assert handed_down[esp + 8 : body] == bytes(encryption.iv_length)
    assert handed_down[end:] == bytes(keys.icv_length)
    plaintext = handed_down[body:end]
    payload = packet if mode is Mode.TUNNEL else packet[20:]
    assert strip_trailer(plaintext) == (payload, plaintext[-2], 4 if mode is Mode.TUNNEL else 6)
    assert plaintext == Transform(keys).open(sealed, esp, len(sealed))
