"""The key files by which Wireshark opens a capture: lines of `esp_sa` and of `ikev1_decryption_table`, with the keys.

Both lie in a Wireshark profile, or in the folder that WIRESHARK_CONFIG_DIR names. The algorithm names are those of
Wireshark 4.0; replay/sas.py reads them too.
"""

from __future__ import annotations

from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.wire.headers import format_address

ESP_SA_FILE = "esp_sa"
IKEV1_FILE = "ikev1_decryption_table"
ESP_SA_ENCRYPTION = {
    Encryption.NULL: "NULL",
    Encryption.TRIPLE_DES_CBC: "TripleDES-CBC [RFC2451]",
    Encryption.AES_CBC: "AES-CBC [RFC3602]",
    Encryption.DES_CBC: "DES-CBC [RFC2405]",
    Encryption.AES_GCM_8: "AES-GCM with 8 octet ICV [RFC4106]",
    Encryption.AES_GCM_12: "AES-GCM with 12 octet ICV [RFC4106]",
    Encryption.AES_GCM_16: "AES-GCM with 16 octet ICV [RFC4106]",
}
ESP_SA_INTEGRITY = {
    Integrity.NONE: "NULL",
    Integrity.HMAC_MD5_96: "HMAC-MD5-96 [RFC2403]",
    Integrity.HMAC_SHA1_96: "HMAC-SHA-1-96 [RFC2404]",
    Integrity.HMAC_SHA2_256_128: "HMAC-SHA-256-128 [RFC4868]",
}


def esp_sa_line(src: bytes, dst: bytes, spi: int, keys: SaKeys, sequence_high: int | None = None) -> str:
    """One association; addresses are 4 or 16 bytes, or b"" for any. `sequence_high` is for extended numbers only.

    Wireshark 4.0 warns of the two fields that those need, and cannot open such packets; newer versions can.
    """
    fields = [
        "IPv6" if 16 in (len(src), len(dst)) else "IPv4",
        *(format_address(address) if address else "*" for address in (src, dst)),
        f"{spi:#010x}",
        ESP_SA_ENCRYPTION[keys.encryption],
        "0x" + (keys.encryption_key + keys.salt).hex(),
        ESP_SA_INTEGRITY[keys.integrity],
        "0x" + keys.integrity_key.hex(),
    ]
    if sequence_high is not None:
        fields += ["64-bit", f"{sequence_high:08x}"]
    return ",".join(f'"{text}"' for text in fields)


def ikev1_line(initiator_cookie: bytes, key: bytes) -> str:
    """One ISAKMP SA: 8 bytes of cookie, and the key of its cipher."""
    return f"{initiator_cookie.hex()},{key.hex()}"
