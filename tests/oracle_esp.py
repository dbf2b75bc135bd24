"""ESP written again in the plainest way, straight from RFC 4303 and its algorithm RFCs.

It shares nothing with nicsim: no catalogue, no prepared state, one cipher object per packet, everything one-shot.
`seal` makes SPI | Seq | IV | ciphertext | ICV of a payload; `open_` gives back (payload, next header) or None.
"""

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


@dataclass(frozen=True)
class OracleSa:
    cipher: str  # "null", "des", "3des", "aes-cbc", "aes-gcm"
    cipher_key: bytes
    mac: str  # "", "md5", "sha1", "sha256"
    mac_key: bytes
    icv_length: int
    salt: bytes = b""


def iv_length(sa: OracleSa) -> int:
    return {"null": 0, "des": 8, "3des": 8, "aes-cbc": 16, "aes-gcm": 8}[sa.cipher]


def pad(sa: OracleSa, payload: bytes, next_header: int) -> bytes:
    """Payload | 1 2 3 ... | pad length | next header (RFC 4303 section 2.4), counted up byte by byte."""
    block = {"null": 4, "des": 8, "3des": 8, "aes-cbc": 16, "aes-gcm": 4}[sa.cipher]
    count = 0
    while (len(payload) + count + 2) % block != 0:
        count += 1
    return payload + bytes(range(1, count + 1)) + bytes([count, next_header])


def seal(
    sa: OracleSa, spi: int, sequence: int, iv: bytes, payload: bytes, next_header: int, extended: bool = False
) -> bytes:
    """`sequence` is the whole number; only its low 32 bits are sent."""
    low, high = (sequence % 2**32).to_bytes(4, "big"), sequence // 2**32
    head = spi.to_bytes(4, "big") + low
    return seal_whole(sa, head, iv, pad(sa, payload, next_header), high if extended else None)


def seal_whole(sa: OracleSa, head: bytes, iv: bytes, plaintext: bytes, high: int | None = None) -> bytes:
    """The same of a packet that is padded; `head` is SPI and sequence number, `high` the half that is not sent."""
    if sa.cipher == "aes-gcm":
        encryptor = Cipher(algorithms.AES(sa.cipher_key), modes.GCM(sa.salt + iv)).encryptor()
        encryptor.authenticate_additional_data(head[:4] + _high_bytes(high) + head[4:])
        ciphertext = encryptor.update(plaintext) + encryptor.finalize()
        return head + iv + ciphertext + encryptor.tag[: sa.icv_length]
    ciphertext = plaintext
    if sa.cipher != "null":
        encryptor = _cbc(sa, iv).encryptor()
        ciphertext = encryptor.update(plaintext) + encryptor.finalize()
    return head + iv + ciphertext + mac(sa, head + iv + ciphertext + _high_bytes(high))


def open_(sa: OracleSa, esp: bytes, high: int | None = None) -> tuple[bytes, int] | None:
    """`high` is the high half of an extended sequence number, None for 32-bit numbers."""
    if not authentic(sa, esp, high):
        return None
    plaintext = decrypted(sa, esp, high)
    count = plaintext[-2]
    payload = plaintext[: len(plaintext) - 2 - count]
    if payload + bytes(range(1, count + 1)) + plaintext[-2:] != plaintext:
        return None
    return payload, plaintext[-1]


def authentic(sa: OracleSa, esp: bytes, high: int | None = None) -> bool:
    """Whether the ICV is right; arguments as for `open_`."""
    if sa.cipher == "aes-gcm":
        try:
            decrypted(sa, esp, high)
        except InvalidTag:
            return False
        return True
    icv_at = len(esp) - sa.icv_length
    return mac(sa, esp[:icv_at] + _high_bytes(high)) == esp[icv_at:]


def decrypted(sa: OracleSa, esp: bytes, high: int | None = None) -> bytes:
    """What is between IV and ICV of an authentic packet of whole blocks, in plain: payload and trailer."""
    icv_at = len(esp) - sa.icv_length
    iv, ciphertext, icv = esp[8 : 8 + iv_length(sa)], esp[8 + iv_length(sa) : icv_at], esp[icv_at:]
    if sa.cipher == "aes-gcm":
        gcm = modes.GCM(sa.salt + iv, icv, min_tag_length=sa.icv_length)
        decryptor = Cipher(algorithms.AES(sa.cipher_key), gcm).decryptor()
        decryptor.authenticate_additional_data(esp[:4] + _high_bytes(high) + esp[4:8])
    elif sa.cipher == "null":
        return ciphertext
    else:
        decryptor = _cbc(sa, iv).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


def _high_bytes(high: int | None) -> bytes:
    return b"" if high is None else high.to_bytes(4, "big")


def _cbc(sa: OracleSa, iv: bytes) -> Cipher[modes.CBC]:
    if sa.cipher == "aes-cbc":
        return Cipher(algorithms.AES(sa.cipher_key), modes.CBC(iv))
    return Cipher(TripleDES(sa.cipher_key * 3 if sa.cipher == "des" else sa.cipher_key), modes.CBC(iv))


def mac(sa: OracleSa, message: bytes) -> bytes:
    if not sa.mac:
        return b""
    return hmac.digest(sa.mac_key, message, sa.mac)[: sa.icv_length]
