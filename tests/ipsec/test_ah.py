"""AH over whole packets: published packets both ways, what is covered and what is not, lengths that lie."""

from typing import Any

import pytest

from nicsim.errors import EspSyntaxError, IntegrityError, SealError
from nicsim.ipsec import ah
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys, Transform
from nicsim.wire.headers import build_ipv4, build_ipv6, parse_address
from nicsim.wire.packet import LinkType, parse_frame
from tests.ipsec.algorithms import made_up
from tests.ipsec.esp_vectors import load

ALL = load("esp_ah.json")
AH = [vector for vector in ALL if vector["kind"] == "ah"]
LAYERS = [layer for vector in ALL if vector["kind"] == "bundle" for layer in vector["layers"] if layer["kind"] == "ah"]
PACKETS = AH + LAYERS
SRC, DST, HOP = (parse_address(f"192.0.2.{number}") for number in (1, 2, 3))
SRC6, DST6, HOP6, LAST6 = (parse_address(f"2001:db8::{number}") for number in (1, 2, 3, 4))


def name(vector: dict[str, Any]) -> str:
    return str(vector["id"])


def signer(integrity: Integrity = Integrity.HMAC_SHA1_96, key: bytes | None = None) -> Transform:
    key = made_up("ah key", integrity.key_length) if key is None else key
    return Transform(SaKeys(Encryption.NULL, b"", integrity, key))


def of_vector(vector: dict[str, Any]) -> tuple[Transform, bytes, int]:
    """The transform, the protected packet, and where AH begins in it."""
    integrity = Integrity(vector["sa"]["auth_algo"].upper().replace("-", "_"))
    packet = bytes.fromhex(vector["protected_packet"])
    return signer(integrity, bytes.fromhex(vector["sa"]["auth_key"])), packet, parse_frame(packet, LinkType.RAW).payload


def with_ah(
    transform: Transform, front: bytes, payload: bytes = b"payload!", sequence_high: int | None = None
) -> bytes:
    """IP headers, whose lengths and protocols are final, AH with its ICV, and a payload."""
    length = {(12, 4): 24, (12, 6): 24, (16, 4): 28, (16, 6): 32}[transform.keys.icv_length, front[0] >> 4]
    head = bytes((59, length // 4 - 2, 0, 0)) + bytes.fromhex("0000100100000001")
    packet = front + head.ljust(length, b"\0") + payload
    icv = ah.seal(transform, packet, 0, len(front), len(packet), sequence_high)
    at = len(front) + 12
    return packet[:at] + icv + packet[at + len(icv) :]


def test_every_published_ah_packet_is_used() -> None:
    assert (len(AH), len(LAYERS)) == (9, 3)


@pytest.mark.rule("N-RX-6", "N-SA-15")
@pytest.mark.parametrize("vector", PACKETS, ids=name)
def test_the_published_icv_is_right(vector: dict[str, Any]) -> None:
    transform, packet, at = of_vector(vector)
    framed = b"before" + packet + b"behind"
    ah.check(transform, framed, 6, 6 + at, 6 + len(packet), vector.get("seq_hi"))
    assert ah.header_length(transform, packet, at, len(packet)) == len(vector["ah_header"]) // 2


@pytest.mark.rule("N-TX-3", "N-SA-15")
@pytest.mark.parametrize("vector", PACKETS, ids=name)
def test_seal_gives_the_published_icv_whatever_lies_in_its_place(vector: dict[str, Any]) -> None:
    transform, packet, at = of_vector(vector)
    icv = bytes.fromhex(vector["icv"])
    blank = packet[: at + 12] + b"\xee" * len(icv) + packet[at + 12 + len(icv) :]
    assert ah.seal(transform, blank, 0, at, len(blank), vector.get("seq_hi")) == icv


MUTABLE_IPV4 = {1, 6, 7, 8, 10, 11}
MUTABLE_IPV6 = {1, 2, 3, 7}


@pytest.mark.rule("N-RX-6", "N-RX-14")
@pytest.mark.parametrize("vector", AH, ids=name)
def test_every_bit_is_covered_but_those_that_may_change(vector: dict[str, Any]) -> None:
    transform, packet, at = of_vector(vector)
    ipv4 = packet[0] >> 4 == 4
    mutable = MUTABLE_IPV4 if ipv4 else MUTABLE_IPV6
    # Version and header length, and what follows the header: AH would begin elsewhere.
    elsewhere = {0, 9} if ipv4 else {0, 6}
    if vector["id"] == "ah4-tr-sha1-options":
        # Record route: its type and its length, if changed, may still name something that counts as zero.
        route = packet.index(bytes.fromhex("070b08"))
        mutable = mutable | set(range(route + 2, route + 11))
        elsewhere |= {route, route + 1}
    if vector["id"] == "ah6-tr-md5-hbh":
        mutable = mutable | set(range(44, 48))
    for bit in range(8 * len(packet)):
        if bit // 8 in elsewhere:
            continue
        damaged = bytearray(packet)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        good = True
        try:
            ah.check(transform, bytes(damaged), 0, at, len(damaged), vector.get("seq_hi"))
        except (IntegrityError, EspSyntaxError):
            good = False
        assert good == (bit // 8 in mutable), (bit // 8, bit % 8)


@pytest.mark.rule("N-RX-6")
@pytest.mark.parametrize(
    ("kind", "is_covered"),
    [(kind, kind in (130, 133, 134, 148, 149)) for kind in (7, 11, 12, 68, 82, 130, 133, 134, 136, 145, 148, 149, 255)],
)
def test_an_ipv4_option_is_covered_whole_or_not_at_all(kind: int, is_covered: bool) -> None:
    transform = signer()
    packets = [
        with_ah(transform, build_ipv4(SRC, DST, 51, bytes(24 + 8), options=bytes((kind, 4, data, 0)))[:24])
        for data in (1, 2)
    ]
    assert (packets[0][36:48] == packets[1][36:48]) is not is_covered


@pytest.mark.rule("N-RX-6")
def test_what_follows_the_end_of_the_option_list_is_covered() -> None:
    transform = signer()
    fronts = [build_ipv4(SRC, DST, 51, bytes(32), options=bytes((1, 0, 7, last)))[:24] for last in (0, 9)]
    assert with_ah(transform, fronts[0])[36:48] != with_ah(transform, fronts[1])[36:48]


@pytest.mark.rule("N-RX-6")
@pytest.mark.parametrize("kind", [131, 137])
def test_a_source_route_counts_as_at_its_end(kind: int) -> None:
    transform = signer()

    def sealed(dst: bytes, pointer: int, route: bytes) -> bytes:
        options = bytes((kind, 11, pointer)) + route + b"\0"
        return with_ah(transform, build_ipv4(SRC, dst, 51, bytes(32), options=options)[:32])

    sent, arrived = sealed(HOP, 8, HOP + DST), sealed(DST, 12, HOP + SRC)
    assert sent[44:56] == arrived[44:56]
    assert sealed(HOP, 12, HOP + SRC)[44:56] != arrived[44:56]


@pytest.mark.rule("N-RX-6")
def test_a_routing_header_of_type_0_counts_as_at_the_final_destination() -> None:
    transform = signer()

    def sealed(dst: bytes, left: int, addresses: bytes, kind: int = 0) -> bytes:
        header = bytes((51, 4, kind, left, 0, 0, 0, 0)) + addresses
        return with_ah(transform, build_ipv6(SRC6, dst, 43, header + bytes(32))[: 40 + 40])

    arrived = sealed(LAST6, 0, DST6 + HOP6)
    assert sealed(DST6, 2, HOP6 + LAST6)[92:104] == arrived[92:104]
    assert sealed(HOP6, 1, DST6 + LAST6)[92:104] == arrived[92:104]
    assert sealed(HOP6, 1, DST6 + SRC6)[92:104] != arrived[92:104]
    assert sealed(DST6, 2, HOP6 + LAST6, kind=4)[92:104] != sealed(LAST6, 0, DST6 + HOP6, kind=4)[92:104]
    with pytest.raises(EspSyntaxError):
        sealed(DST6, 3, HOP6 + LAST6)


@pytest.mark.rule("N-RX-6")
@pytest.mark.parametrize("number", [0, 60], ids=["hop-by-hop", "destination"])
@pytest.mark.parametrize(("kind", "is_covered"), [(0x1E, True), (0x3E, False)])
def test_an_ipv6_option_that_may_change_is_covered_by_type_and_length_only(
    number: int, kind: int, is_covered: bool
) -> None:
    transform = signer()
    icvs = [
        with_ah(transform, build_ipv6(SRC6, DST6, number, bytes((51, 0, 0, k, 3, data, 1, 2)) + bytes(32))[:48])[60:72]
        for k, data in ((kind, 1), (kind, 2), (kind ^ 1, 1))
    ]
    assert (icvs[0] == icvs[1]) is not is_covered
    assert icvs[0] != icvs[2]


@pytest.mark.parametrize(
    "front",
    [
        build_ipv4(SRC, DST, 51, bytes(32), options=bytes((7, 5, 0, 0)))[:24],
        build_ipv4(SRC, DST, 51, bytes(32), options=bytes((7, 1, 0, 0)))[:24],
        build_ipv4(SRC, DST, 51, bytes(32), options=bytes((1, 1, 1, 7)))[:24],
        build_ipv6(SRC6, DST6, 0, bytes((51, 0, 0x3E, 5, 0, 0, 0, 0)) + bytes(32))[:48],
        build_ipv6(SRC6, DST6, 60, bytes((51, 0, 1, 3, 0, 0, 0, 0x3E)) + bytes(32))[:48],
    ],
)
def test_options_that_run_beyond_their_header_are_no_packet(front: bytes) -> None:
    with pytest.raises(EspSyntaxError):
        with_ah(signer(), front)


@pytest.mark.rule("N-RX-15")
@pytest.mark.parametrize("integrity", [i for i in Integrity if i is not Integrity.NONE])
def test_a_length_field_must_hold_the_icv_and_stay_in_the_packet(integrity: Integrity) -> None:
    transform = signer(integrity)
    packet = with_ah(transform, build_ipv4(SRC, DST, 51, bytes(40))[:20])
    for field in range(256):
        changed = packet[:21] + bytes((field,)) + packet[22:]
        length = (field + 2) * 4
        if 12 + integrity.icv_length <= length <= len(packet) - 20:
            assert ah.header_length(transform, changed, 20, len(packet)) == length
        else:
            with pytest.raises(EspSyntaxError):
                ah.header_length(transform, changed, 20, len(packet))
    for end in range(20, 20 + 12 + integrity.icv_length):
        with pytest.raises(EspSyntaxError):
            ah.check(transform, packet, 0, 20, end)


@pytest.mark.rule("N-V2-9")
def test_the_high_half_counts_and_is_not_the_same_as_none() -> None:
    transform = signer()
    front = build_ipv4(SRC, DST, 51, bytes(32))[:20]
    icvs = {with_ah(transform, front, sequence_high=high)[32:44] for high in (None, 0, 1)}
    assert len(icvs) == 3


def test_signing_needs_a_hash() -> None:
    gcm = Transform(SaKeys(Encryption.AES_GCM_16, bytes(16), Integrity.NONE, b"", bytes(4)))
    with pytest.raises(SealError):
        gcm.sign(b"")
