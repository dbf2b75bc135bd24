"""The sizes of ipsec/overhead.py against the published ones, and against packets that are really protected."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.ipsec.overhead import Overhead, ah_size, announced_mtu
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from tests.ipsec.esp_vectors import ENCAPSULATIONS, VECTORS
from tests.ipsec.test_packet_sizes import ALGORITHMS, protected_size

TABLES = json.loads((VECTORS / "path_mtu.json").read_text())
PATH_MTUS = TABLES["vectors"] + TABLES["measured"]


def overhead(vector: dict[str, Any]) -> Overhead:
    return Overhead(
        Mode(vector["mode"]),
        ENCAPSULATIONS[vector["encapsulation"]],
        ALGORITHMS[vector["algorithms"]],
        vector.get("outer_ip_header", 20),
    )


@pytest.mark.parametrize("vector", PATH_MTUS, ids=lambda vector: vector["id"])
def test_the_path_mtu_is_as_published(vector: dict[str, Any]) -> None:
    sizes = overhead(vector)
    assert sizes.path_mtu(vector["link_mtu"]) == vector["path_mtu"]
    assert sizes.protected_size(vector["path_mtu"]) == vector.get(
        "protected_size_at_path_mtu", sizes.protected_size(vector["path_mtu"])
    )
    assert sizes.protected_size(vector["path_mtu"]) <= vector["link_mtu"] < sizes.protected_size(vector["path_mtu"] + 1)


@pytest.mark.parametrize("vector", TABLES["sizes"], ids=lambda vector: vector["id"])
def test_the_protected_size_is_as_published(vector: dict[str, Any]) -> None:
    assert overhead(vector).protected_size(vector["inner_packet"]) == vector["protected_size"]


def test_the_four_figures_of_the_tutorial() -> None:
    aes_sha1 = Overhead(Mode.TUNNEL, Encapsulation.UDP, ALGORITHMS["aes-cbc/sha1"])
    triple_des_md5 = Overhead(Mode.TUNNEL, Encapsulation.UDP, ALGORITHMS["3des/md5"])
    assert aes_sha1.path_mtu(1500) == 1422
    assert [triple_des_md5.path_mtu(link) for link in (1500, 1300, 1000)] == [1438, 1238, 942]


@given(
    st.sampled_from(sorted(ALGORITHMS)),
    st.sampled_from(sorted(ENCAPSULATIONS)),
    st.sampled_from(("tunnel", "transport")),
    st.integers(20, 2000),
)
def test_a_protected_packet_has_the_size_that_was_reckoned(
    algorithms: str, encapsulation: str, mode: str, length: int
) -> None:
    vector = {"algorithms": algorithms, "encapsulation": encapsulation, "mode": mode}
    assert overhead(vector).protected_size(length) == protected_size(vector, length)


@pytest.mark.parametrize(
    ("mode", "icv", "ip_header", "added"),
    [
        (Mode.TRANSPORT, 12, 20, 24),
        (Mode.TRANSPORT, 12, 40, 24),
        (Mode.TRANSPORT, 16, 20, 28),
        (Mode.TRANSPORT, 16, 40, 32),
        (Mode.TUNNEL, 12, 20, 44),
        (Mode.TUNNEL, 16, 40, 72),
    ],
)
def test_ah_adds_what_the_digest_says(mode: Mode, icv: int, ip_header: int, added: int) -> None:
    assert ah_size(mode, 100, icv, ip_header) == 100 + added


def test_an_ipv6_sender_is_never_told_less_than_1280() -> None:
    sizes = Overhead(
        Mode.TUNNEL,
        Encapsulation.UDP,
        SaKeys(Encryption.AES_CBC, bytes(16), Integrity.HMAC_SHA1_96, bytes(20)),
    )
    assert announced_mtu(sizes.path_mtu(1300), 6) == 1280
    assert announced_mtu(sizes.path_mtu(1300), 4) == sizes.path_mtu(1300) == 1230
