"""Every algorithm choice, as nicsim's `SaKeys` and as the oracle's own."""

import hashlib

from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from tests.oracle_esp import OracleSa

_CIPHERS = {
    Encryption.NULL: "null",
    Encryption.DES_CBC: "des",
    Encryption.TRIPLE_DES_CBC: "3des",
    Encryption.AES_CBC: "aes-cbc",
    Encryption.AES_GCM_8: "aes-gcm",
    Encryption.AES_GCM_12: "aes-gcm",
    Encryption.AES_GCM_16: "aes-gcm",
}
_MACS = {
    Integrity.NONE: ("", 0),
    Integrity.HMAC_MD5_96: ("md5", 12),
    Integrity.HMAC_SHA1_96: ("sha1", 12),
    Integrity.HMAC_SHA2_256_128: ("sha256", 16),
}
_TAGS = {Encryption.AES_GCM_8: 8, Encryption.AES_GCM_12: 12, Encryption.AES_GCM_16: 16}


def made_up(what: str, length: int) -> bytes:
    """Bytes that look random and are the same in every run."""
    return hashlib.shake_256(what.encode()).digest(length)


def _keys(encryption: Encryption, key_length: int, integrity: Integrity) -> SaKeys:
    return SaKeys(
        encryption,
        made_up(f"{encryption.value} key", key_length),
        integrity,
        made_up(f"{integrity.value} key", integrity.key_length),
        made_up("salt", encryption.salt_length),
    )


def oracle_sa(keys: SaKeys) -> OracleSa:
    mac, icv_length = _MACS[keys.integrity]
    return OracleSa(
        _CIPHERS[keys.encryption],
        keys.encryption_key,
        mac,
        keys.integrity_key,
        _TAGS.get(keys.encryption, icv_length),
        keys.salt,
    )


# Every combination SaKeys accepts: each cipher in each key length with each hash, GCM alone, NULL never alone.
ALL_KEYS = [
    _keys(encryption, key_length, integrity)
    for encryption in Encryption
    for key_length in encryption.key_lengths
    for integrity in Integrity
    if (encryption.is_aead and integrity is Integrity.NONE)
    or (not encryption.is_aead and (encryption, integrity) != (Encryption.NULL, Integrity.NONE))
]
AUTHENTICATED = [keys for keys in ALL_KEYS if keys.icv_length]


def key_name(keys: SaKeys) -> str:
    return f"{keys.encryption.value}-{len(keys.encryption_key) * 8}-{keys.integrity.value}"
