"""No single-bit corruption gets through: one packet of every algorithm, mode and subtype, every bit of it in turn.

The associations are added by OID requests; packets and verdicts are those of specimens.py, and the statuses are read
from the documentation's own table. The out-of-band word is taken apart here as the documentation draws it.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from nicsim.boundary import UdpType
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.reasons import BY_NUMBER, Reason
from offload_oids import NdisStatus
from offload_oids.ndis_offload import FamilyEncapsulation
from tests.card.specimens import (
    AH_LENGTH,
    BY_AH,
    BY_ESP,
    FREE,
    HASH_V2,
    HEADER,
    PAYLOAD,
    SNAP,
    SPI,
    TAG,
    Bytes,
    Portion,
    add_of,
    cipher_v2,
    frame,
    free,
    packet,
)
from tests.driver.builders import Bench, bench, capabilities
from tests.ipsec.algorithms import ALL_KEYS, AUTHENTICATED
from tests.rules import DIGEST

pytestmark = pytest.mark.rule("N-RX-14", "N-RX-15", "N-RX-16", "A-35")
# Ethernet, priority and VLAN tags, LLC/SNAP (N-CP6-4).
LINKS = FamilyEncapsulation(1, 0x2 | 0x4 | 0x10, 14)
LLC_SNAP_TOO = {"encapsulations": 0x2 | 0x4 | 0x10}

STATUS = {name: int(value) for value, name in re.findall(r"^\| (\d) \| (CRYPTO_\w+) \|", DIGEST.read_text(), re.M)}
"""The table of N-RX-15 as the digest of the documentation has it."""
WRONG_ICV = {
    (BY_AH, Mode.TRANSPORT): STATUS["CRYPTO_TRANSPORT_AH_AUTH_FAILED"],
    (BY_ESP, Mode.TRANSPORT): STATUS["CRYPTO_TRANSPORT_ESP_AUTH_FAILED"],
    (BY_AH, Mode.TUNNEL): STATUS["CRYPTO_TUNNEL_AH_AUTH_FAILED"],
    (BY_ESP, Mode.TUNNEL): STATUS["CRYPTO_TUNNEL_ESP_AUTH_FAILED"],
}
SYNTAX = STATUS["CRYPTO_INVALID_PACKET_SYNTAX"]
UNTOUCHED, ONE_GOOD, BOTH_GOOD = (0, 0, 0), (1, 0, 0), (1, 1, 0)
IP_IN_IP = {False: 4, True: 41}
Result = tuple[int, int, int]
"""CryptoDone, NextCryptoDone, CryptoStatus."""


# --- one specimen ----------------------------------------------------------------------------------------------------


def nic_with(*portions: Portion) -> Bench:
    """A NIC with everything claimed and enabled that has these associations."""
    nic = bench(capabilities(rows=8, version2={"extended_sequence_numbers": True}, **LLC_SNAP_TOO))
    assert nic.encapsulate(LINKS, LINKS).status == NdisStatus.SUCCESS
    for portion in portions:
        add = add_of(portion, of_two=len(portions) > 1)
        if portion.version == 2:
            nic.added_v2(add)
        elif portion.udp is UdpType.NATIVE:
            nic.added(add)
        else:
            nic.added_udpesp(add)
    return nic


def received(nic: Bench, data: bytes) -> tuple[Result, bytes, Reason]:
    """The word, whose bit 1 is CryptoDone, 2 NextCryptoDone, and from 16 on CryptoStatus (N-V2-19); frame; reason."""
    up, descriptor = nic.card.receive(data)
    word = int.from_bytes(nic.driver.indicate(up, descriptor).ipsec, "little")
    assert not word & 0xFFF9  # no bit that has no meaning
    return (word >> 1 & 1, word >> 2 & 1, word >> 16), up, BY_NUMBER[descriptor.reason]


def flipped(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each bit in turn: the byte it is in, and the data with it the other way."""
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        yield bit // 8, bytes(damaged)


def told(portion: Portion) -> Mode:
    """The portion that a failure names: a native one of version 2 is told as transport (A-35)."""
    return Mode.TRANSPORT if portion.version == 2 and portion.udp is UdpType.NATIVE else portion.mode


def check_outside(nic: Bench, specimen: Bytes, mode: Mode, good: Result) -> None:
    """Every bit of the frame, against what covers it."""
    assert received(nic, specimen.wire)[:2] == (good, specimen.opened)
    for at, damaged in flipped(specimen.wire):
        result, up, reason = received(nic, damaged)
        covered = specimen.covered[at]
        if covered == SPI:
            assert (result, up, reason) == (UNTOUCHED, damaged, Reason.SA_NOT_OFFLOADED), at
        elif covered in (BY_ESP, BY_AH):
            assert (result, up) == ((1, 0, WRONG_ICV[covered, mode]), damaged), at
        elif covered == AH_LENGTH:
            assert (result, up) in (((1, 0, status), damaged) for status in (WRONG_ICV[BY_AH, mode], SYNTAX)), at
        elif covered == HEADER or result != good:
            assert (result[0] == 0 or result[2] != 0, up) == (True, damaged), at
            assert result[0] or result == UNTOUCHED, at
        else:  # good all the same: exactly the plaintext, and that bit
            assert covered == FREE
            assert up == specimen.opened[:at] + damaged[at : at + 1] + specimen.opened[at + 1 :], at


def check_inside(nic: Bench, outer: Portion, held: Bytes, next_header: int) -> None:
    """Every bit of the transport portion `held` by the tunnel portion, damaged before that was put around it."""
    for at, damaged in flipped(held.wire):
        around = frame(outer, packet(outer, free(damaged), next_header))
        result, up, _ = received(nic, around.wire)
        covered = held.covered[at]
        if covered == SPI:  # the tunnel portion alone
            assert (result, up) == (ONE_GOOD, around.opened), at
        elif covered in (BY_ESP, BY_AH):
            assert (result, up) == ((1, 1, WRONG_ICV[covered, Mode.TRANSPORT]), around.opened), at
        elif covered == AH_LENGTH:
            failed = WRONG_ICV[BY_AH, Mode.TRANSPORT], SYNTAX
            assert (result, up) in (((1, 1, status), around.opened) for status in failed), at
        elif result == BOTH_GOOD:
            assert covered == FREE, at
            opened = held.opened[:at] + damaged[at : at + 1] + held.opened[at + 1 :]
            assert up == around.opened.replace(damaged, opened), at
        elif result == UNTOUCHED:
            assert up == around.wire, at
        else:  # no whole IPsec packet of the association inside any more, or one that fails
            assert up == around.opened, at
            assert result == ONE_GOOD or (result[:2] == (1, 1) and result[2]), at


def check_one(portion: Portion, link: bytes = b"") -> None:
    """A packet of one portion, which in tunnel mode holds an IP packet without IPsec."""
    inside, number = free(PAYLOAD), 6
    if portion.mode is Mode.TUNNEL:
        plain = replace(portion, mode=Mode.TRANSPORT, esp=None, ah=None, options=b"")
        inside, number = packet(plain, inside, number), IP_IN_IP[portion.ipv6]
    check_outside(nic_with(portion), frame(portion, packet(portion, inside, number), link), told(portion), ONE_GOOD)


def check_two(outer: Portion, inner: Portion) -> None:
    """A tunnel portion around a transport portion, damaged on the wire and before it was sealed."""
    nic = nic_with(outer, inner)
    held = packet(inner, free(PAYLOAD), 6)
    check_outside(nic, frame(outer, packet(outer, held, IP_IN_IP[inner.ipv6])), told(outer), BOTH_GOOD)
    check_inside(nic, outer, held, IP_IN_IP[inner.ipv6])


# --- which there are -------------------------------------------------------------------------------------------------

HASHES_V1 = (Integrity.HMAC_MD5_96, Integrity.HMAC_SHA1_96)
CIPHERS_V1 = (Encryption.NULL, Encryption.DES_CBC, Encryption.TRIPLE_DES_CBC)
HASHES_V2 = (*HASHES_V1, Integrity.HMAC_SHA2_256_128)
KEYS_V2 = AUTHENTICATED
KEYS_V1 = [keys for keys in AUTHENTICATED if keys.encryption in CIPHERS_V1 and keys.integrity in HASHES_V1]
BESIDE_AH_V2 = ALL_KEYS
BESIDE_AH_V1 = [
    keys for keys in ALL_KEYS if keys.encryption in CIPHERS_V1 and keys.integrity in (*HASHES_V1, Integrity.NONE)
]
KEYS, HASHES = {1: KEYS_V1, 2: KEYS_V2}, {1: HASHES_V1, 2: HASHES_V2}
KINDS = {1: 5, 2: 4}
"""How many kinds of portion a version has: version 2 has no type IKE (A-34)."""
NO_OPERATIONS = bytes((1, 1, 1, 0))
"""IPv4 options that every card may meet."""
PAD_N = bytes((0, 0, 1, 4, 0, 0, 0, 0))
"""An IPv6 hop-by-hop header with nothing but padding in it; its first byte is filled in."""


def esp_alone() -> Iterator[Portion]:
    """ESP of every cipher and integrity of both versions, in every mode and encapsulation; 64-bit numbers, IPv6."""
    for keys, mode, udp, options in itertools.product(KEYS_V1, Mode, UdpType, (b"", NO_OPERATIONS)):
        yield Portion(mode, keys, udp=udp, options=options)
    riding = (UdpType.NATIVE, UdpType.OTHER)
    for keys, mode, udp, ipv6, esn in itertools.product(KEYS_V2, Mode, riding, (False, True), (False, True)):
        yield Portion(mode, keys, udp=udp, version=2, ipv6=ipv6, esn=esn)


def ah_alone() -> Iterator[Portion]:
    """AH of every integrity algorithm, with options and extension headers too."""
    for ah, mode, options in itertools.product(HASHES_V1, Mode, (b"", NO_OPERATIONS)):
        yield Portion(mode, None, ah, options=options)
    for ah, mode, esn in itertools.product(HASHES_V2, Mode, (False, True)):
        yield Portion(mode, None, ah, version=2, esn=esn)
        for options in (b"", PAD_N):
            yield Portion(mode, None, ah, version=2, ipv6=True, esn=esn, options=options)


def ah_with_esp() -> Iterator[Portion]:
    """AH with ESP: all integrity pairs of N-CAP-16 with every cipher, and those of version 2."""
    for ah, keys, mode in itertools.product(HASHES_V1, BESIDE_AH_V1, Mode):
        yield Portion(mode, keys, ah)
    families = itertools.cycle(itertools.product((False, True), (False, True)))
    for (ah, keys, mode), (ipv6, esn) in zip(itertools.product(HASHES_V2, BESIDE_AH_V2, Mode), families, strict=False):
        yield Portion(mode, keys, ah, version=2, ipv6=ipv6, esn=esn)


def two_portions(outer_version: int, inner_version: int) -> Iterator[tuple[Portion, Portion]]:
    """Every kind of tunnel portion around every kind of transport portion, with every algorithm of the tunnel portion.

    The algorithms of the transport portion, the families and the 64-bit numbers go round as the others change.
    """
    outer_keys, inner_keys = KEYS[outer_version], KEYS[inner_version]
    ring = zip(
        itertools.cycle(inner_keys[1:] + inner_keys[:1]),
        itertools.cycle(itertools.product(HASHES[outer_version], HASHES[inner_version])),
        itertools.cycle(((False, False, False), (True, False, True), (False, True, True), (True, True, False))),
        strict=False,
    )
    for keys in outer_keys:
        for outer, inner in itertools.product(range(KINDS[outer_version]), range(KINDS[inner_version])):
            other_keys, (ah, other_ah), (ipv6, other_ipv6, esn) = next(ring)
            yield (
                one_of(outer, Portion(Mode.TUNNEL, keys, ah, version=outer_version, ipv6=ipv6, esn=esn)),
                one_of(
                    inner,
                    Portion(Mode.TRANSPORT, other_keys, other_ah, version=inner_version, ipv6=other_ipv6, esn=esn),
                ),
            )


def any_two(chance: random.Random) -> tuple[Portion, Portion]:
    """Any kinds, any algorithms: for runs that a test run has no time for."""
    pair = []
    for mode in (Mode.TUNNEL, Mode.TRANSPORT):
        version, esn = chance.choice((1, 2)), chance.random() < 0.5
        keys, ah, ipv6 = chance.choice(KEYS[version]), chance.choice(HASHES[version]), chance.random() < 0.5
        portion = Portion(mode, keys, ah, version=version, ipv6=ipv6, esn=esn)
        pair.append(one_of(chance.randrange(KINDS[version]), portion))
    outer, inner = pair
    return any_two(chance) if both_in_udp(outer, inner) else (outer, inner)


def one_of(number: int, portion: Portion) -> Portion:
    """The kinds of a portion: ESP native, in UDP of either type, AH, and both; version 1 has neither IPv6 nor ESN."""
    if portion.version == 1:
        portion = replace(portion, ipv6=False, esn=False)
    kinds = ({"ah": None}, {"esp": None}, {}, {"ah": None, "udp": UdpType.OTHER}, {"ah": None, "udp": UdpType.IKE})
    return replace(portion, **kinds[number])


def both_in_udp(outer: Portion, inner: Portion) -> bool:
    """That is not supported (N-ENC-1)."""
    return UdpType.NATIVE not in (outer.udp, inner.udp)


ONE = [*esp_alone(), *ah_alone(), *ah_with_esp()]
TWO = [
    pair
    for versions in itertools.product((1, 2), repeat=2)
    for pair in two_portions(*versions)
    if not both_in_udp(*pair)
]


def facts(outer: Portion, inner: Portion) -> set[object]:
    """What a packet of two portions is an example of: two kinds together, and algorithms and families of either."""
    kinds = [(one.version, one.esp is not None, one.ah is not None, one.udp) for one in (outer, inner)]
    alone = [(where, one.version, what) for where, one in enumerate((outer, inner)) for what in (one.esp, one.ah)]
    return {tuple(kinds), *alone, (outer.ipv6, inner.ipv6, outer.esn)}


def examples(pairs: list[tuple[Portion, Portion]]) -> list[tuple[Portion, Portion]]:
    """Those of the pairs that show something which none before them shows; `make soak` takes any at all."""
    seen: set[object] = set()
    chosen = []
    for outer, inner in pairs:
        if not facts(outer, inner) <= seen:
            seen |= facts(outer, inner)
            chosen.append((outer, inner))
    return chosen


@pytest.mark.parametrize("portion", ONE, ids=str)
def test_no_flipped_bit_of_one_portion_gets_through(portion: Portion) -> None:
    check_one(portion)


LINKED = [Portion(Mode.TRANSPORT, KEYS_V1[0]), Portion(Mode.TUNNEL, KEYS_V2[-1], udp=UdpType.OTHER, version=2)]
LINKED += [replace(portion, ah=Integrity.HMAC_SHA1_96, udp=UdpType.NATIVE) for portion in LINKED]


@pytest.mark.parametrize("link", [TAG, SNAP], ids=["tagged", "llc-snap"])
@pytest.mark.parametrize("portion", LINKED, ids=str)
def test_no_flipped_bit_of_another_encapsulation_gets_through(portion: Portion, link: bytes) -> None:
    check_one(portion, link)


@pytest.mark.parametrize(("outer", "inner"), examples(TWO), ids=str)
def test_no_flipped_bit_of_two_portions_gets_through(outer: Portion, inner: Portion) -> None:
    check_two(outer, inner)


def test_every_algorithm_that_the_reference_card_claims_is_among_them() -> None:
    first, second = capabilities().version1, capabilities().version2
    assert first
    assert second
    esp_1, esp_2 = ([one.esp for one in ONE if one.esp and one.version == version] for version in (1, 2))
    ah_1, ah_2 = ({one.ah for one in ONE if one.ah and one.version == version} for version in (1, 2))
    assert len({keys.encryption for keys in esp_1}) == first.des + first.triple_des + first.null_esp
    assert len(ah_1) == first.md5 + first.sha_1
    assert {keys.integrity for keys in esp_1} == ah_1 | {Integrity.NONE}
    assert sum({cipher_v2(keys) for keys in esp_2}) == second.encryption
    # GCM brings its own authentication, under three identifiers of its own (N-V2-3, N-V2-9).
    assert sum(HASH_V2[ah] for ah in ah_2) == second.authentication & 7
    assert {keys.integrity for keys in esp_2} == ah_2 | {Integrity.NONE}
