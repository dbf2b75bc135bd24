"""Every algorithm ESP uses here, and the object that opens and seals the packets of one security association.

The catalogue is data: two enums and the table of sizes behind each (RFC 2403, 2404, 2405, 2410, 2451, 3602, 4106,
4868; N-SA-15). `SaKeys` is one checked choice from it with its keys. `Transform` is prepared once per association and
then works on bare ESP, from the SPI to the end of the ICV (RFC 4303 section 2); it knows nothing of IP, padding
content or replay.

Below: `cryptography`, which nothing else on a packet's path imports. Above: esp.py, the card and the host. All lengths
are bytes and all integers on the wire are big-endian. A `Transform` keeps cipher state between calls, so it belongs
to one thread.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC

from nicsim.errors import EspSyntaxError, InputError, IntegrityError, SealError
from nicsim.wire.esp import ESP_HEADER_LENGTH

_GCM_TAG_LENGTH = 16


@dataclass(frozen=True, slots=True)
class _EncryptionSizes:
    """One row of the encryption catalogue, all in bytes."""

    key_lengths: tuple[int, ...]
    block: int
    iv_length: int
    salt_length: int = 0
    icv_length: int = 0


@dataclass(frozen=True, slots=True)
class _IntegritySizes:
    """One row of the integrity catalogue, all in bytes."""

    key_length: int
    icv_length: int


_AES_KEYS = (16, 24, 32)

# fmt: off
_ENCRYPTION_SIZES: dict[str, _EncryptionSizes] = {
    #                              keys       block  IV  salt  ICV
    "NULL":       _EncryptionSizes((0,),       4,     0),
    "DES_CBC":    _EncryptionSizes((8,),       8,     8),
    "3DES_CBC":   _EncryptionSizes((24,),      8,     8),
    "AES_CBC":    _EncryptionSizes(_AES_KEYS,  16,    16),
    "AES_GCM_8":  _EncryptionSizes(_AES_KEYS,  4,     8,  4,    8),
    "AES_GCM_12": _EncryptionSizes(_AES_KEYS,  4,     8,  4,    12),
    "AES_GCM_16": _EncryptionSizes(_AES_KEYS,  4,     8,  4,    16),
}

_INTEGRITY_SIZES: dict[str, _IntegritySizes] = {
    #                                     key  ICV
    "NONE":              _IntegritySizes(0,   0),
    "HMAC_MD5_96":       _IntegritySizes(16,  12),
    "HMAC_SHA1_96":      _IntegritySizes(20,  12),
    "HMAC_SHA2_256_128": _IntegritySizes(32,  16),
}
# fmt: on

_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "HMAC_MD5_96": hashes.MD5,
    "HMAC_SHA1_96": hashes.SHA1,
    "HMAC_SHA2_256_128": hashes.SHA256,
}


class Encryption(Enum):
    """How the payload is hidden; the AES_GCM members protect its integrity too and carry their ICV length."""

    NULL = "NULL"
    DES_CBC = "DES_CBC"
    TRIPLE_DES_CBC = "3DES_CBC"
    AES_CBC = "AES_CBC"
    AES_GCM_8 = "AES_GCM_8"
    AES_GCM_12 = "AES_GCM_12"
    AES_GCM_16 = "AES_GCM_16"

    @property
    def key_lengths(self) -> tuple[int, ...]:
        """The key lengths allowed, without the salt."""
        return _ENCRYPTION_SIZES[self.value].key_lengths

    @property
    def block(self) -> int:
        """The ciphertext is a multiple of this: the cipher's block, and at least 4 (RFC 4303 section 2.4)."""
        return _ENCRYPTION_SIZES[self.value].block

    @property
    def iv_length(self) -> int:
        """The explicit IV behind the sequence number, 0 for NULL."""
        return _ENCRYPTION_SIZES[self.value].iv_length

    @property
    def salt_length(self) -> int:
        """The part of the GCM nonce that comes with the key and is never sent (RFC 4106 section 8.1)."""
        return _ENCRYPTION_SIZES[self.value].salt_length

    @property
    def icv_length(self) -> int:
        """The ICV that the cipher itself makes; 0 where an integrity algorithm makes it."""
        return _ENCRYPTION_SIZES[self.value].icv_length

    @property
    def is_aead(self) -> bool:
        """True for AES-GCM, which encrypts and authenticates in one step."""
        return self.icv_length > 0


class Integrity(Enum):
    """The keyed hash whose leftmost bytes are the ICV; the last number of a name is the ICV in bits."""

    NONE = "NONE"
    HMAC_MD5_96 = "HMAC_MD5_96"
    HMAC_SHA1_96 = "HMAC_SHA1_96"
    HMAC_SHA2_256_128 = "HMAC_SHA2_256_128"

    @property
    def key_length(self) -> int:
        """The one key length ESP uses with this hash: the hash's own output length."""
        return _INTEGRITY_SIZES[self.value].key_length

    @property
    def icv_length(self) -> int:
        """The bytes of the MAC that are sent."""
        return _INTEGRITY_SIZES[self.value].icv_length


@dataclass(frozen=True, slots=True, repr=False)
class SaKeys:
    """The algorithms and keys of one security association in one direction, checked when made.

    Encryption without integrity is allowed, because the OID interface can ask for it; neither of the two is not
    (RFC 4303 section 3.3.2). Raises InputError with lengths in the message, never key bytes.
    """

    encryption: Encryption
    encryption_key: bytes
    integrity: Integrity
    integrity_key: bytes
    # AES-GCM only: the 4 bytes that follow the key in the keying material.
    salt: bytes = b""

    def __post_init__(self) -> None:
        encryption, integrity = self.encryption, self.integrity
        if encryption.is_aead and integrity is not Integrity.NONE:
            raise InputError(f"{encryption.value} makes its own ICV and needs integrity NONE, not {integrity.value}")
        if encryption is Encryption.NULL and integrity is Integrity.NONE:
            raise InputError("an association needs encryption or integrity, NULL and NONE came")
        _need_length(f"{encryption.value} key", encryption.key_lengths, self.encryption_key)
        _need_length(f"{integrity.value} key", (integrity.key_length,), self.integrity_key)
        _need_length(f"{encryption.value} salt", (encryption.salt_length,), self.salt)

    @property
    def icv_length(self) -> int:
        """The bytes of ICV on the wire, from whichever algorithm makes it; 0 without integrity."""
        return self.encryption.icv_length or self.integrity.icv_length

    def __repr__(self) -> str:
        return f"SaKeys({self.encryption.value}, {self.integrity.value}, keys not shown)"


def _need_length(what: str, lengths: tuple[int, ...], value: bytes) -> None:
    if len(value) not in lengths:
        wanted = " or ".join(str(length) for length in lengths)
        raise InputError(f"{what} needs {wanted} bytes, {len(value)} came")


class Transform:
    """The prepared ciphers and keyed hash of one `SaKeys`; opens and seals one ESP packet per call."""

    __slots__ = (
        "_block",
        "_cbc_algorithm",
        "_cbc_decrypt",
        "_gcm",
        "_gcm_algorithm",
        "_icv_length",
        "_iv_length",
        "_keyed_hash",
        "_overhead",
        "_salt",
        "keys",
    )

    def __init__(self, keys: SaKeys) -> None:
        encryption = keys.encryption
        self.keys = keys
        self._block = encryption.block
        self._iv_length = encryption.iv_length
        self._icv_length = keys.icv_length
        self._overhead = ESP_HEADER_LENGTH + self._iv_length + self._icv_length
        self._salt = keys.salt

        self._gcm: AESGCM | None = None
        self._cbc_algorithm: algorithms.AES | TripleDES | None = None
        self._cbc_decrypt: Callable[[memoryview], bytes] | None = None
        self._keyed_hash: HMAC | None = None

        if encryption.is_aead:
            self._gcm = AESGCM(keys.encryption_key)
            self._gcm_algorithm = algorithms.AES(keys.encryption_key)
        elif encryption is not Encryption.NULL:
            self._cbc_algorithm = _cbc_algorithm(keys)
            # One CBC context for the life of the association: a block of CBC plaintext depends on that block of
            # ciphertext and the one before it, no further. On the wire the IV lies directly before the ciphertext,
            # so decrypting IV | ciphertext gives one block of rubbish, from whatever packet came before, and then
            # exactly this packet's plaintext. That is about 2 microseconds a packet less than a context per packet,
            # whatever the size, and it also beats ECB and one long XOR (0.2 to 2 microseconds, growing with size).
            context = Cipher(self._cbc_algorithm, modes.CBC(bytes(self._iv_length))).decryptor()
            self._cbc_decrypt = context.update
        if keys.integrity is not Integrity.NONE:
            self._keyed_hash = HMAC(keys.integrity_key, _HASHES[keys.integrity.value]())

    def open(self, buffer: bytes, start: int, end: int, sequence_high: int | None = None) -> bytes:
        """Check and decrypt the ESP packet `buffer[start:end]`, from its SPI to the end of its ICV.

        Returns payload | padding | pad length | next header, a positive multiple of the block. `sequence_high` is the
        high half of an extended sequence number, None for 32-bit numbers. Raises EspSyntaxError when the length
        cannot be right and IntegrityError when the ICV is wrong. The ICV comes first (RFC 4303 section 3.4.4), so an
        unauthentic packet never shows whether its length suited the cipher.
        """
        if end - start < self._overhead:
            raise EspSyntaxError(f"ESP needs {self._overhead} bytes for header, IV and ICV, {end - start} came")
        if self._gcm is not None:
            return self._open_gcm(self._gcm, buffer, start, end, sequence_high)

        view = memoryview(buffer)
        icv_start = end - self._icv_length
        if self._keyed_hash is not None:
            keyed_hash = self._keyed_hash.copy()
            keyed_hash.update(view[start:icv_start])
            if sequence_high is not None:
                keyed_hash.update(sequence_high.to_bytes(4, "big"))
            if not hmac.compare_digest(keyed_hash.finalize()[: self._icv_length], view[icv_start:end]):
                raise IntegrityError(f"{self.keys.integrity.value}: the ICV does not match the packet")
        self._check_ciphertext_length(end - start - self._overhead)
        # From the IV on: see __init__. For NULL the IV is empty and the text is already plain.
        encrypted = view[start + ESP_HEADER_LENGTH : icv_start]
        if self._cbc_decrypt is None:
            return bytes(encrypted)
        return self._cbc_decrypt(encrypted)[self._iv_length :]

    def _open_gcm(self, gcm: AESGCM, buffer: bytes, start: int, end: int, sequence_high: int | None) -> bytes:
        iv_start = start + ESP_HEADER_LENGTH
        text_start = iv_start + self._iv_length
        nonce = self._salt + buffer[iv_start:text_start]
        associated = _associated_data(buffer[start:iv_start], sequence_high)
        try:
            if self._icv_length == _GCM_TAG_LENGTH:
                plaintext = gcm.decrypt(nonce, buffer[text_start:end], associated)
            else:
                icv_start = end - self._icv_length
                mode = modes.GCM(nonce, buffer[icv_start:end], min_tag_length=self._icv_length)
                context = Cipher(self._gcm_algorithm, mode).decryptor()
                context.authenticate_additional_data(associated)
                plaintext = context.update(buffer[text_start:icv_start]) + context.finalize()
        except InvalidTag:
            raise IntegrityError(f"{self.keys.encryption.value}: the ICV does not match the packet") from None
        self._check_ciphertext_length(len(plaintext))
        return plaintext

    def _check_ciphertext_length(self, length: int) -> None:
        """A partial block is never decrypted, and the two bytes of the trailer always fill some block."""
        if length == 0 or length % self._block:
            raise EspSyntaxError(f"ESP ciphertext needs a positive multiple of {self._block} bytes, {length} came")

    def seal(self, head: bytes, plaintext: bytes, iv: bytes, sequence_high: int | None = None) -> bytes:
        """Encrypt and sign one packet: returns SPI | Seq | IV | ciphertext | ICV.

        `head` is SPI | Seq, 8 bytes. `plaintext` is payload | padding | pad length | next header, already whole
        blocks. `iv` is what goes on the wire: unpredictable for CBC, never repeated under one key for GCM, empty for
        NULL. `sequence_high` as in `open`. Raises SealError when a length is wrong.
        """
        if len(head) != ESP_HEADER_LENGTH:
            raise SealError(f"SPI and sequence number need {ESP_HEADER_LENGTH} bytes, {len(head)} came")
        if len(iv) != self._iv_length:
            raise SealError(f"{self.keys.encryption.value} needs an IV of {self._iv_length} bytes, {len(iv)} came")
        if not plaintext or len(plaintext) % self._block:
            raise SealError(f"ESP plaintext needs a positive multiple of {self._block} bytes, {len(plaintext)} came")

        if self._gcm is not None:
            sealed = self._gcm.encrypt(self._salt + iv, plaintext, _associated_data(head, sequence_high))
            # A short ICV is the leading bytes of the 16-byte tag (RFC 4106 section 6).
            return head + iv + sealed[: len(plaintext) + self._icv_length]
        if self._cbc_algorithm is None:
            signed = head + plaintext
        else:
            signed = head + iv + Cipher(self._cbc_algorithm, modes.CBC(iv)).encryptor().update(plaintext)
        if self._keyed_hash is None:
            return signed
        keyed_hash = self._keyed_hash.copy()
        keyed_hash.update(signed)
        if sequence_high is not None:
            keyed_hash.update(sequence_high.to_bytes(4, "big"))
        return signed + keyed_hash.finalize()[: self._icv_length]

    def sign(self, message: bytes | bytearray, sequence_high: int | None = None) -> bytes:
        """The ICV of a whole AH packet, as ah.py says it counts. Raises SealError without a keyed hash."""
        if self._keyed_hash is None:
            raise SealError(f"AH needs a keyed hash, {self.keys!r} came")
        keyed_hash = self._keyed_hash.copy()
        keyed_hash.update(message)
        if sequence_high is not None:
            keyed_hash.update(sequence_high.to_bytes(4, "big"))
        return keyed_hash.finalize()[: self._icv_length]

    def __repr__(self) -> str:
        return f"Transform({self.keys!r})"


def _cbc_algorithm(keys: SaKeys) -> algorithms.AES | TripleDES:
    if keys.encryption is Encryption.AES_CBC:
        return algorithms.AES(keys.encryption_key)
    if keys.encryption is Encryption.DES_CBC:
        # The library has no single DES; triple DES with one key three times is the same function (RFC 2451 section 2).
        return TripleDES(keys.encryption_key * 3)
    return TripleDES(keys.encryption_key)


def _associated_data(head: bytes, sequence_high: int | None) -> bytes:
    """SPI | Seq, or SPI | SeqHigh | SeqLow with extended sequence numbers (RFC 4106 section 5)."""
    if sequence_high is None:
        return head
    return head[:4] + sequence_high.to_bytes(4, "big") + head[4:]
