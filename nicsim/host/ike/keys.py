"""Everything that keys are made of: groups, hashes and ciphers of phase 1, SKEYID and its children, KEYMAT, IVs.

The names are those of RFC 2409 section 5 and digest ikev1.md sections 3.6, 4, 5 and 7.1: `ni_b`, `sai_b` and the like
are payload bodies without the generic header, in bytes. Public values and shared secrets have the length of the
group's prime. Nothing here shows a key in its `repr`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from nicsim.errors import IkeRefused
from nicsim.reasons import Reason
from nicsim.wire.isakmp import NotifyType

# Twice the strength of the largest group here (RFC 3526 section 8).
EXPONENT_LENGTH = 40


# --- algorithms ------------------------------------------------------------------------------------------------------


class IkeHash(Enum):
    """A hash of phase 1; its HMAC is the PRF."""

    label: str
    # The value of the hash attribute (RFC 2409 appendix A).
    number: int
    # Bytes of output.
    length: int

    def __init__(self, label: str, number: int, length: int) -> None:
        self.label = label
        self.number = number
        self.length = length

    MD5 = ("md5", 1, 16)
    SHA1 = ("sha1", 2, 20)
    SHA256 = ("sha256", 4, 32)
    SHA384 = ("sha384", 5, 48)
    SHA512 = ("sha512", 6, 64)

    def digest(self, data: bytes) -> bytes:
        """The bare hash."""
        return hashlib.new(self.label, data, usedforsecurity=False).digest()

    def prf(self, key: bytes, data: bytes) -> bytes:
        """prf(key, data): HMAC."""
        return hmac.digest(key, data, self.label)


class IkeCipher(Enum):
    """A cipher of phase 1, always in CBC mode, with its key length."""

    label: str
    # The value of the encryption attribute.
    number: int
    # Bytes.
    key_length: int
    block: int

    def __init__(self, label: str, number: int, key_length: int, block: int) -> None:
        self.label = label
        self.number = number
        self.key_length = key_length
        self.block = block

    DES = ("des", 1, 8, 8)
    TRIPLE_DES = ("3des", 5, 24, 8)
    AES_128 = ("aes128", 7, 16, 16)
    AES_192 = ("aes192", 7, 24, 16)
    AES_256 = ("aes256", 7, 32, 16)

    @property
    def key_length_attribute(self) -> int | None:
        """Bits, for the ciphers that have a choice; None where the attribute must be absent."""
        return self.key_length * 8 if self.number == IkeCipher.AES_128.number else None

    def encrypt(self, key: bytes, iv: bytes, plaintext: bytes) -> bytes:
        """Whole blocks in, as many out."""
        context = Cipher(self._algorithm(key), modes.CBC(iv)).encryptor()
        return context.update(plaintext) + context.finalize()

    def decrypt(self, key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
        """Whole blocks in, as many out."""
        context = Cipher(self._algorithm(key), modes.CBC(iv)).decryptor()
        return context.update(ciphertext) + context.finalize()

    def _algorithm(self, key: bytes) -> TripleDES | algorithms.AES:
        if self is IkeCipher.DES:  # the library has no single DES; the key three times is the same function
            return TripleDES(key * 3)
        return TripleDES(key) if self is IkeCipher.TRIPLE_DES else algorithms.AES(key)


# --- Diffie-Hellman --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """An Oakley MODP group: its prime is 2^b - 2^(b-64) - 1 + 2^64 * (floor(2^(b-130) * pi) + c), its generator 2."""

    number: int
    bits: int
    c: int

    @cached_property
    def prime(self) -> int:
        """RFC 2409 section 6, RFC 3526."""
        middle = _floor_of_pi_times_2_to(self.bits - 130) + self.c
        return (1 << self.bits) - (1 << self.bits - 64) - 1 + (middle << 64)

    @property
    def length(self) -> int:
        """Bytes of a public value and of a shared secret."""
        return self.bits // 8

    def public(self, secret: bytes) -> bytes:
        """g^x for the exponent `secret`, at full length."""
        return pow(2, int.from_bytes(secret, "big"), self.prime).to_bytes(self.length, "big")

    def shared(self, secret: bytes, peer_public: bytes) -> bytes:
        """g^xy, at full length. Raises IkeRefused for a public value that cannot be one (digest section 3.6)."""
        if len(peer_public) != self.length:
            raise IkeRefused(
                Reason.IKE_KEY_EXCHANGE,
                f"a public value of group {self.number} has {self.length} bytes, {len(peer_public)} came",
                NotifyType.INVALID_KEY_INFORMATION,
            )
        public = int.from_bytes(peer_public, "big")
        if not 1 < public < self.prime - 1:
            raise IkeRefused(
                Reason.IKE_KEY_EXCHANGE,
                f"the public value must be above 1 and below the prime of group {self.number} less 1",
                NotifyType.INVALID_KEY_INFORMATION,
            )
        return pow(public, int.from_bytes(secret, "big"), self.prime).to_bytes(self.length, "big")


def _floor_of_pi_times_2_to(bits: int) -> int:
    """By Machin's formula, pi = 16 arctan(1/5) - 4 arctan(1/239), with bits to spare."""
    spare = 64
    one = 1 << bits + spare

    def arctan_of_inverse(n: int) -> int:
        power = total = one // n
        divisor, sign = 3, -1
        while power:
            power //= n * n
            total += sign * (power // divisor)
            divisor, sign = divisor + 2, -sign
        return total

    return (16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)) >> spare


GROUPS: dict[int, Group] = {
    1: Group(1, 768, 149686),
    2: Group(2, 1024, 129093),
    5: Group(5, 1536, 741804),
    14: Group(14, 2048, 124476),
}


# --- phase 1 keys ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class IkeKeys:
    """The keys of one ISAKMP SA."""

    hash: IkeHash
    cipher: IkeCipher
    skeyid: bytes
    skeyid_d: bytes
    skeyid_a: bytes
    skeyid_e: bytes
    cipher_key: bytes

    def __repr__(self) -> str:
        return f"IkeKeys({self.cipher.label}, {self.hash.label}, keys not shown)"

    def prf_a(self, data: bytes) -> bytes:
        """The hash of a phase 2 or informational message: prf(SKEYID_a, data)."""
        return self.hash.prf(self.skeyid_a, data)

    def phase1_hash(
        self, own_public: bytes, peer_public: bytes, own_cookie: bytes, peer_cookie: bytes, sai_b: bytes, id_b: bytes
    ) -> bytes:
        """HASH_I with the initiator's values as own, HASH_R with the responder's; `sai_b` is always the initiator's."""
        return self.hash.prf(self.skeyid, own_public + peer_public + own_cookie + peer_cookie + sai_b + id_b)

    def keymat(self, length: int, protocol: int, spi: bytes, ni_b: bytes, nr_b: bytes, g_qm_xy: bytes = b"") -> bytes:
        """`length` bytes for the SA whose receiver chose `spi` (RFC 2409 section 5.5)."""
        seed = g_qm_xy + bytes((protocol,)) + spi + ni_b + nr_b
        return _expand(self.hash, self.skeyid_d, seed, length)


def skeyid_of_psk(hash_: IkeHash, psk: bytes, ni_b: bytes, nr_b: bytes) -> bytes:
    """SKEYID with a pre-shared key."""
    return hash_.prf(psk, ni_b + nr_b)


def skeyid_of_signatures(hash_: IkeHash, ni_b: bytes, nr_b: bytes, g_xy: bytes) -> bytes:
    """SKEYID with signatures."""
    return hash_.prf(ni_b + nr_b, g_xy)


def derive(hash_: IkeHash, cipher: IkeCipher, skeyid: bytes, g_xy: bytes, cky_i: bytes, cky_r: bytes) -> IkeKeys:
    """SKEYID_d, SKEYID_a, SKEYID_e, and the cipher's key from the last of them."""
    shared = g_xy + cky_i + cky_r
    skeyid_d = hash_.prf(skeyid, shared + b"\0")
    skeyid_a = hash_.prf(skeyid, skeyid_d + shared + b"\1")
    skeyid_e = hash_.prf(skeyid, skeyid_a + shared + b"\2")
    return IkeKeys(hash_, cipher, skeyid, skeyid_d, skeyid_a, skeyid_e, cipher_key(hash_, cipher, skeyid_e))


def cipher_key(hash_: IkeHash, cipher: IkeCipher, skeyid_e: bytes) -> bytes:
    """Ka: the leading bytes of SKEYID_e, or of K1 | K2 | ... where it is too short (RFC 2409 appendix B)."""
    if cipher is IkeCipher.DES:
        return next(key for key in _eights(skeyid_e) if _without_parity(key) not in _WEAK_DES_KEYS)
    if len(skeyid_e) >= cipher.key_length:
        return skeyid_e[: cipher.key_length]
    material, last = b"", b"\0"
    while len(material) < cipher.key_length:
        last = hash_.prf(skeyid_e, last)
        material += last
    return material[: cipher.key_length]


def _expand(hash_: IkeHash, key: bytes, seed: bytes, length: int) -> bytes:
    """K1 | K2 | ... with K1 = prf(key, seed) and Kn = prf(key, Kn-1 | seed), cut to length."""
    material, last = b"", b""
    while len(material) < length:
        last = hash_.prf(key, last + seed)
        material += last
    return material[:length]


def _eights(material: bytes) -> Iterator[bytes]:
    return (material[start : start + 8] for start in range(len(material) - 7))


def _without_parity(key: bytes) -> bytes:
    return bytes(byte & 0xFE for byte in key)


def _weak_des_keys() -> frozenset[bytes]:
    """The 4 weak and 12 semi-weak keys, their parity bits zero: every half repeats one or two bytes."""
    weak = {bytes((a,) * 4 + (b,) * 4) for a, b in ((0x00, 0x00), (0xFE, 0xFE), (0x1E, 0x0E), (0xE0, 0xF0))}
    left_and_right = {0x00: 0x00, 0xFE: 0xFE, 0x1E: 0x0E, 0xE0: 0xF0}
    semi = {
        bytes((a, b, a, b, left_and_right[a], left_and_right[b], left_and_right[a], left_and_right[b]))
        for a in left_and_right
        for b in left_and_right
        if a != b
    }
    return frozenset(weak | semi)


_WEAK_DES_KEYS = _weak_des_keys()


# --- IVs -------------------------------------------------------------------------------------------------------------


def phase1_iv(hash_: IkeHash, cipher: IkeCipher, g_xi: bytes, g_xr: bytes) -> bytes:
    """The IV of the first encrypted message (RFC 2409 appendix B)."""
    return hash_.digest(g_xi + g_xr)[: cipher.block]


def exchange_iv(hash_: IkeHash, cipher: IkeCipher, last_phase1_block: bytes, message_id: int) -> bytes:
    """The IV of the first message of a quick mode or informational exchange."""
    return hash_.digest(last_phase1_block + message_id.to_bytes(4, "big"))[: cipher.block]
