"""What protection adds to a packet, against the published sizes: each path MTU is exact to the byte (esp-ah.md 8)."""

import json
from typing import Any

import pytest

from nicsim.ipsec.association import Association, Mode
from nicsim.ipsec.esp import protect
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys, Transform
from nicsim.wire.headers import build_ipv4, build_ipv6
from tests.ipsec.esp_vectors import ENCAPSULATIONS, VECTORS

TABLES = json.loads((VECTORS / "path_mtu.json").read_text())
PATH_MTUS = TABLES["vectors"] + TABLES["measured"]
ALGORITHMS = {
    "3des/md5": SaKeys(Encryption.TRIPLE_DES_CBC, bytes(range(24)), Integrity.HMAC_MD5_96, bytes(16)),
    "aes-cbc/sha1": SaKeys(Encryption.AES_CBC, bytes(16), Integrity.HMAC_SHA1_96, bytes(20)),
    "aes-cbc/sha2-256": SaKeys(Encryption.AES_CBC, bytes(16), Integrity.HMAC_SHA2_256_128, bytes(32)),
    "aes-gcm-8": SaKeys(Encryption.AES_GCM_8, bytes(16), Integrity.NONE, b"", bytes(4)),
    "aes-gcm-16": SaKeys(Encryption.AES_GCM_16, bytes(16), Integrity.NONE, b"", bytes(4)),
    "null/sha1": SaKeys(Encryption.NULL, b"", Integrity.HMAC_SHA1_96, bytes(20)),
}


def protected_size(vector: dict[str, Any], size: int) -> int:
    """The size on the wire of an IP packet of `size` bytes under the vector's association."""
    keys = ALGORITHMS[vector["algorithms"]]
    six = vector.get("outer_ip_header", 20) == 40
    address = bytes(16 if six else 4)
    mode = Mode(vector["mode"])
    association = Association(7, mode, ENCAPSULATIONS[vector["encapsulation"]], keys, address, address)
    if six and mode is Mode.TRANSPORT:
        packet = build_ipv6(address, address, 253, bytes(size - 40))
    else:
        packet = build_ipv4(bytes(4), bytes(4), 253, bytes(size - 20))
    iv = bytes(keys.encryption.iv_length)
    return len(protect(association, Transform(keys), packet, sequence=1, iv=iv))


def test_tables_are_whole() -> None:
    assert (len(TABLES["vectors"]), len(TABLES["measured"]), len(TABLES["sizes"])) == (252, 4, 135)


@pytest.mark.parametrize("vector", PATH_MTUS, ids=lambda vector: vector["id"])
def test_path_mtu_fits_the_link_and_one_byte_more_does_not(vector: dict[str, Any]) -> None:
    size = protected_size(vector, vector["path_mtu"])
    assert size == vector.get("protected_size_at_path_mtu", size)
    assert size <= vector["link_mtu"] < protected_size(vector, vector["path_mtu"] + 1)


@pytest.mark.parametrize("vector", TABLES["sizes"], ids=lambda vector: vector["id"])
def test_protected_size_is_as_published(vector: dict[str, Any]) -> None:
    assert protected_size(vector, vector["inner_packet"]) == vector["protected_size"]
