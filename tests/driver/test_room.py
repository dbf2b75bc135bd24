"""SaDeleteReq: when the driver asks for room, and whose packet asks (N-SA-22)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nicsim.boundary import Table
from nicsim.capabilities import MakeRoom
from offload_oids import Abi, CryptoStatus
from offload_oids.packet_info import NdisIpsecOffloadV1NetBufferListInfo
from tests.driver.builders import (
    ORACLE_3DES_SHA1,
    OUTBOUND,
    Bench,
    OracleSa,
    bench,
    capabilities,
    esp_element,
    native_frame,
    sa,
    udp_frame,
    v2,
)

A, B, C = 0xA, 0xB, 0xC
ABIS = pytest.mark.parametrize("abi", list(Abi))
AES_SHA256 = OracleSa("aes-cbc", bytes(range(0xA0, 0xB0)), "sha256", bytes(range(0x80, 0xA0)), 16)


def nic(rows: int = 2, make_room: MakeRoom = MakeRoom.LEAST_RECENTLY_USED, abi: Abi = Abi.X64, **changes) -> Bench:
    return bench(capabilities(rows=rows, make_room=make_room, **changes), abi).enable()


def word_of(made: Bench, frame: bytes):
    """The receive arm of the word that a frame goes up with."""
    up, descriptor = made.card.receive(frame)
    ipsec = made.driver.indicate(up, descriptor).ipsec
    return NdisIpsecOffloadV1NetBufferListInfo.unpack(ipsec, made.abi).receive


def asked(made: Bench, spis: Sequence[int]) -> list[int]:
    """The SPIs of those packets, in order, that asked for a delete; every one of them was processed."""
    words = [word_of(made, native_frame(spi=spi)) for spi in spis]
    assert all(word.crypto_done and word.crypto_status == CryptoStatus.CRYPTO_SUCCESS for word in words)
    return [spi for spi, word in zip(spis, words, strict=True) if word.sa_delete_req]


def native(spi: int, **changes):
    return sa(sec_assoc=(esp_element(spi),), **changes)


@ABIS
@pytest.mark.rule("N-SA-22")
def test_while_a_table_is_full_the_packet_of_the_longest_unused_association_asks(abi: Abi) -> None:
    made = nic(rows=3, abi=abi)
    for spi in (A, B):
        made.added(native(spi))
    assert asked(made, [A, B, A, B]) == []  # there is room
    made.added(native(C))
    # B came after A, so it is A's packet that asks; C has not had one, so it cannot be the one unused.
    assert asked(made, [C, B]) == []
    assert asked(made, [A]) == [A]
    assert asked(made, [A, A]) == []  # used just now
    assert asked(made, [C]) == [C]


@pytest.mark.rule("N-SA-22")
def test_without_the_policy_nothing_asks_however_full_the_table_is() -> None:
    made = nic(rows=2, make_room=MakeRoom.OFF)
    for spi in (A, B):
        made.added(native(spi))
    assert asked(made, [A, B] * 5) == []
    assert not made.driver.state.last_used


@pytest.mark.rule("N-SA-22", "N-SA-19", "A-20")
def test_an_association_stays_until_its_own_delete_and_then_there_is_room() -> None:
    made = nic(rows=2)
    first, second = made.added(native(A)), made.added(native(B))
    assert asked(made, [A, B, A]) == [A]
    # However often it asked, both stay and are processed: nothing but a delete takes one away.
    assert asked(made, [A, B] * 50)
    assert set(made.driver.state.associations) == {first, second}
    made.delete_sa(first)
    assert asked(made, [B] * 10) == []
    made.added(native(C))
    assert asked(made, [B]) == [B]  # and C's slot is A's of before: nothing is remembered of A


@pytest.mark.rule("N-SA-22")
def test_one_that_has_fallen_silent_is_passed_over() -> None:
    made = nic(rows=3)
    for spi in (A, B, C):
        made.added(native(spi))
    assert asked(made, [A, B, C]) == []
    assert asked(made, [B, C] * 4)[0] in (B, C)


@pytest.mark.rule("N-SA-22")
def test_a_full_outbound_table_asks_too() -> None:
    made = nic(rows=2)
    made.added(native(A))
    for spi in (B, C):
        assert asked(made, [A, A]) == []
        made.added(native(spi, flags=OUTBOUND))
    assert asked(made, [A]) == [A]


@pytest.mark.rule("N-SA-22", "N-V2-4", "N-V2-12")
def test_version_2_asks_when_its_own_capacity_is_reached() -> None:
    made = nic(rows=8, version2={"sa_capacity": 2})
    made.added_v2(v2(A))
    frames = [udp_frame(AES_SHA256, A) for _ in range(3)]
    assert [word_of(made, frame).sa_delete_req for frame in frames] == [0, 0, 0]
    made.added_v2(v2(B, flags=0))
    assert word_of(made, frames[0]).sa_delete_req == 1


@pytest.mark.rule("N-SA-22")
def test_a_packet_that_fails_its_check_neither_asks_nor_counts_as_use() -> None:
    made = nic(rows=2)
    for spi in (A, B):
        made.added(native(spi))
    assert asked(made, [A, B]) == []
    forged = native_frame(ORACLE_3DES_SHA1, A)[:-1] + b"\0"
    assert native_frame(ORACLE_3DES_SHA1, A)[-1:] != b"\0"
    word = word_of(made, forged)
    assert (word.crypto_done, word.crypto_status) == (1, CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED)
    assert word.sa_delete_req == 0
    assert asked(made, [A]) == [A]  # still the one unused longest


def test_removal_forgets_who_was_used() -> None:
    made = nic(rows=2)
    made.added(native(A))
    asked(made, [A])
    made.driver.remove()
    assert not made.driver.state.last_used
    assert made.free(Table.INBOUND) == {0, 1}
