"""Bare ESP: the catalogue, agreement with the oracle, and refusal of everything damaged."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import EspSyntaxError, InputError, IntegrityError, SealError
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.esp import strip_trailer, trailer
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys, Transform
from tests import oracle_esp
from tests.ipsec.algorithms import ALL_KEYS, AUTHENTICATED, key_name, made_up, oracle_sa

HEAD = bytes.fromhex("0000100100000001")

# fmt: off
ENCRYPTION_TABLE = [
    # name         keys           block  IV  salt  ICV
    ("NULL",       (0,),          4,     0,  0,    0),
    ("DES_CBC",    (8,),          8,     8,  0,    0),
    ("3DES_CBC",   (24,),         8,     8,  0,    0),
    ("AES_CBC",    (16, 24, 32),  16,    16, 0,    0),
    ("AES_GCM_8",  (16, 24, 32),  4,     8,  4,    8),
    ("AES_GCM_12", (16, 24, 32),  4,     8,  4,    12),
    ("AES_GCM_16", (16, 24, 32),  4,     8,  4,    16),
]
INTEGRITY_TABLE = [("NONE", 0, 0), ("HMAC_MD5_96", 16, 12), ("HMAC_SHA1_96", 20, 12), ("HMAC_SHA2_256_128", 32, 16)]
# fmt: on


@pytest.mark.rule("N-SA-15")
def test_catalogue_has_the_sizes_of_the_rfcs() -> None:
    assert [
        (e.value, e.key_lengths, e.block, e.iv_length, e.salt_length, e.icv_length) for e in Encryption
    ] == ENCRYPTION_TABLE
    assert [(i.value, i.key_length, i.icv_length) for i in Integrity] == INTEGRITY_TABLE
    assert [e.value for e in Encryption if e.is_aead] == ["AES_GCM_8", "AES_GCM_12", "AES_GCM_16"]


@pytest.mark.rule("N-SA-15")
@pytest.mark.parametrize(
    ("encryption", "encryption_key", "integrity", "integrity_key", "salt", "message"),
    [
        (Encryption.DES_CBC, 24, Integrity.HMAC_MD5_96, 16, 0, "DES_CBC key needs 8 bytes, 24 came"),
        (Encryption.TRIPLE_DES_CBC, 16, Integrity.HMAC_MD5_96, 16, 0, "3DES_CBC key needs 24 bytes, 16 came"),
        (Encryption.AES_CBC, 20, Integrity.HMAC_SHA1_96, 20, 0, "AES_CBC key needs 16 or 24 or 32 bytes, 20 came"),
        (Encryption.AES_CBC, 16, Integrity.HMAC_SHA1_96, 16, 0, "HMAC_SHA1_96 key needs 20 bytes, 16 came"),
        (Encryption.AES_CBC, 16, Integrity.NONE, 20, 0, "NONE key needs 0 bytes, 20 came"),
        (Encryption.AES_CBC, 16, Integrity.HMAC_SHA1_96, 20, 4, "AES_CBC salt needs 0 bytes, 4 came"),
        (Encryption.AES_GCM_16, 20, Integrity.NONE, 0, 0, "AES_GCM_16 key needs 16 or 24 or 32 bytes, 20 came"),
        (Encryption.AES_GCM_16, 16, Integrity.NONE, 0, 0, "AES_GCM_16 salt needs 4 bytes, 0 came"),
        (Encryption.AES_GCM_8, 16, Integrity.HMAC_SHA1_96, 20, 4, "needs integrity NONE, not HMAC_SHA1_96"),
        (Encryption.NULL, 8, Integrity.HMAC_SHA1_96, 20, 0, "NULL key needs 0 bytes, 8 came"),
        (Encryption.NULL, 0, Integrity.NONE, 0, 0, "needs encryption or integrity"),
    ],
)
def test_unusable_keys_are_refused_without_showing_them(
    encryption: Encryption, encryption_key: int, integrity: Integrity, integrity_key: int, salt: int, message: str
) -> None:
    keys = made_up("a", encryption_key), made_up("b", integrity_key), made_up("c", salt)
    with pytest.raises(InputError, match=message) as refusal:
        SaKeys(encryption, keys[0], integrity, keys[1], keys[2])
    assert_hides(str(refusal.value), *keys)


def assert_hides(text: str, *secrets: bytes) -> None:
    for secret in secrets:
        if secret:
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text.lower().replace(":", "").replace(" ", "")


@pytest.mark.parametrize("keys", ALL_KEYS, ids=key_name)
def test_no_text_shows_a_key(keys: SaKeys) -> None:
    transform = Transform(keys)
    association = Association(7, Mode.TUNNEL, Encapsulation.UDP, keys, bytes(4), bytes(16))
    texts = [repr(keys), str(keys), repr(transform), repr(association), f"{association}"]
    sealed = transform.seal(HEAD, bytes(16), bytes(keys.encryption.iv_length))
    damaged = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    for buffer in [sealed[:7], sealed[:-1], *([damaged] if keys.icv_length else [])]:
        with pytest.raises((IntegrityError, EspSyntaxError)) as error:
            transform.open(buffer, 0, len(buffer))
        texts += [str(error.value), repr(error.value)]
    with pytest.raises(SealError) as error_sealing:
        transform.seal(HEAD, b"?" * 3, bytes(keys.encryption.iv_length))
    texts.append(str(error_sealing.value))
    for text in texts:
        assert_hides(text, keys.encryption_key, keys.integrity_key, keys.salt)


@given(
    keys=st.sampled_from(ALL_KEYS),
    payload=st.integers(0, 1500).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    next_header=st.integers(0, 255),
    spi=st.integers(1, 2**32 - 1),
    sequence=st.integers(0, 2**64 - 1),
    extended=st.booleans(),
    iv_seed=st.text(max_size=4),
)
def test_oracle_agrees_in_both_directions(
    keys: SaKeys, payload: bytes, next_header: int, spi: int, sequence: int, extended: bool, iv_seed: str
) -> None:
    sa = oracle_sa(keys)
    iv = made_up(iv_seed, oracle_esp.iv_length(sa))
    low, high = sequence % 2**32, sequence // 2**32 if extended else None
    expected = oracle_esp.seal(sa, spi, sequence, iv, payload, next_header, extended)

    transform = Transform(keys)
    plaintext = payload + trailer(len(payload), keys.encryption.block, next_header)
    sealed = transform.seal(spi.to_bytes(4, "big") + low.to_bytes(4, "big"), plaintext, iv, high)
    assert sealed == expected
    assert oracle_esp.open_(sa, sealed, high) == (payload, next_header)
    stripped = strip_trailer(transform.open(expected, 0, len(expected), high))
    assert (stripped.payload, stripped.next_header) == (payload, next_header)
    if keys.icv_length:
        with pytest.raises(IntegrityError):
            transform.open(expected, 0, len(expected), None if extended else 0)


@given(
    keys=st.sampled_from(ALL_KEYS),
    sizes=st.lists(st.integers(0, 200), min_size=2, max_size=8),
    damaged=st.sets(st.integers(0, 7)),
)
def test_one_transform_opens_any_packets_in_any_order(keys: SaKeys, sizes: list[int], damaged: set[int]) -> None:
    """The CBC context lives on between packets, so what came before must not matter, not even a refused packet."""
    sa = oracle_sa(keys)
    transform = Transform(keys)
    for number, size in enumerate(sizes):
        iv = made_up(str(number), oracle_esp.iv_length(sa))
        esp = oracle_esp.seal(sa, 1, number, iv, bytes(size), 17)
        if number in damaged and keys.icv_length:
            with pytest.raises(IntegrityError):
                transform.open(esp[:-1] + bytes((esp[-1] ^ 1,)), 0, len(esp))
        assert strip_trailer(transform.open(esp, 0, len(esp))).payload == bytes(size)


@pytest.mark.rule("N-RX-6")
@pytest.mark.parametrize("keys", AUTHENTICATED, ids=key_name)
def test_every_single_bit_flip_is_refused(keys: SaKeys) -> None:
    transform = Transform(keys)
    sealed = transform.seal(HEAD, made_up("text", 46) + b"\0\4", made_up("iv", keys.encryption.iv_length))
    for bit in range(len(sealed) * 8):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            transform.open(bytes(damaged), 0, len(damaged))


@pytest.mark.rule("N-RX-15")
@pytest.mark.parametrize("keys", AUTHENTICATED, ids=key_name)
def test_every_truncation_is_refused(keys: SaKeys) -> None:
    transform = Transform(keys)
    sealed = transform.seal(HEAD, made_up("text", 46) + b"\0\4", made_up("iv", keys.encryption.iv_length))
    least = 8 + keys.encryption.iv_length + keys.icv_length
    for length in range(len(sealed)):
        with pytest.raises(EspSyntaxError if length < least else IntegrityError):
            transform.open(sealed, 0, length)
        with pytest.raises(EspSyntaxError if length < least else IntegrityError):
            transform.open(sealed[:length], 0, length)


@pytest.mark.parametrize("keys", [keys for keys in ALL_KEYS if not keys.icv_length], ids=key_name)
def test_without_integrity_a_partial_block_is_a_syntax_error(keys: SaKeys) -> None:
    transform = Transform(keys)
    sealed = transform.seal(HEAD, bytes(48), bytes(keys.encryption.iv_length))
    for length in range(len(sealed)):
        ciphertext = length - 8 - keys.encryption.iv_length
        if ciphertext > 0 and ciphertext % keys.encryption.block == 0:
            assert len(transform.open(sealed, 0, length)) == ciphertext
        else:
            with pytest.raises(EspSyntaxError):
                transform.open(sealed, 0, length)


@pytest.mark.rule("N-RX-15")
@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 15, 17])
@pytest.mark.parametrize("keys", AUTHENTICATED, ids=key_name)
def test_authentic_ciphertext_that_is_not_whole_blocks_is_a_syntax_error(keys: SaKeys, length: int) -> None:
    """A sender with the keys and a bug: the ICV is good, so only the length can be wrong."""
    sa = oracle_sa(keys)
    iv = made_up("iv", keys.encryption.iv_length)
    if sa.cipher == "aes-gcm":
        sealed = AESGCM(sa.cipher_key).encrypt(sa.salt + iv, bytes(length), HEAD)[: length + sa.icv_length]
        esp = HEAD + iv + sealed
    else:
        signed = HEAD + iv + bytes(length)
        esp = signed + oracle_esp.mac(sa, signed)
    with pytest.raises(EspSyntaxError, match=f"positive multiple of {keys.encryption.block} bytes, {length} came"):
        Transform(keys).open(esp, 0, len(esp))


@pytest.mark.parametrize("keys", ALL_KEYS, ids=key_name)
def test_sealing_what_no_packet_can_hold_is_refused(keys: SaKeys) -> None:
    transform, iv = Transform(keys), bytes(keys.encryption.iv_length)
    for head, plaintext, wrong_iv in (
        (HEAD[:7], bytes(16), iv),
        (HEAD, bytes(16), iv + b"\0"),
        (HEAD, bytes(18), iv),
        (HEAD, b"", iv),
    ):
        with pytest.raises(SealError) as refusal:
            transform.seal(head, plaintext, wrong_iv)
        assert isinstance(refusal.value, ValueError)
