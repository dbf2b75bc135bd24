"""host/ike/keys.py and protection.py against vectors and against the keys that strongSwan logged."""

import json
from pathlib import Path
from typing import Any

import pytest

from nicsim.errors import IkeRefused
from nicsim.host.ike.keys import (
    GROUPS,
    IkeCipher,
    IkeHash,
    IkeKeys,
    cipher_key,
    derive,
    exchange_iv,
    phase1_iv,
    skeyid_of_psk,
    skeyid_of_signatures,
)
from nicsim.host.ike.protection import open_sealed, seal
from nicsim.reasons import Reason
from nicsim.wire.isakmp import HEADER_LENGTH, Message, NotifyType, Payload, PayloadType, parse_header

TESTS = Path(__file__).parents[2]
KEYS: list[dict[str, Any]] = json.loads((TESTS / "vectors" / "ikev1_keys.json").read_text())["vectors"]
EXCHANGES: list[dict[str, Any]] = json.loads((TESTS / "vectors" / "ikev1_exchanges.json").read_text())["vectors"]
DH_GROUPS: dict[str, Any] = json.loads((TESTS / "vectors" / "dh_groups.json").read_text())
CAPTURED = {path.parent.name: json.loads(path.read_text()) for path in TESTS.glob("captures/*/ike_keys.json")}

HASHES = {one.number: one for one in IkeHash}
CIPHERS = {(one.number, one.key_length_attribute): one for one in IkeCipher}
by_id = pytest.mark.parametrize("vector", KEYS, ids=lambda vector: vector["id"])
by_exchange = pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["id"])
by_capture = pytest.mark.parametrize("name", sorted(CAPTURED))


def b(text: str | None) -> bytes:
    return bytes.fromhex(text or "")


def keys_of(hash_: IkeHash, cipher: IkeCipher, values: dict[str, Any], psk: bytes | None) -> IkeKeys:
    ni_b, nr_b, g_xy = b(values["ni_b"]), b(values["nr_b"]), b(values["g_xy"])
    skeyid = skeyid_of_signatures(hash_, ni_b, nr_b, g_xy) if psk is None else skeyid_of_psk(hash_, psk, ni_b, nr_b)
    return derive(hash_, cipher, skeyid, g_xy, b(values["cky_i"]), b(values["cky_r"]))


def keys_of_vector(vector: dict[str, Any]) -> IkeKeys:
    cipher = CIPHERS[vector["encryption"], vector["key_length"]]
    psk = b(vector["psk"]) if vector["auth_method"] == 1 else None
    return keys_of(HASHES[vector["hash"]], cipher, vector, psk)


def keys_of_exchange(exchange: dict[str, Any]) -> IkeKeys:
    agreed = exchange["phase1"]
    psk = b(exchange["psk"]) if agreed["auth"] == 1 else None
    return keys_of(HASHES[agreed["hash"]], CIPHERS[agreed["encryption"], agreed.get("key_length")], exchange, psk)


# --- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(GROUPS))
def test_the_primes_are_the_published_ones(number: int) -> None:
    published = DH_GROUPS["groups"][str(number)]
    assert GROUPS[number].prime == int(published["prime"], 16)
    assert (GROUPS[number].bits, GROUPS[number].length) == (published["bits"], published["bytes"])


@by_id
def test_both_sides_find_the_recorded_secret(vector: dict[str, Any]) -> None:
    group = GROUPS[vector["group"]]
    x_i, x_r = (b(vector[name].zfill(2 * group.length)) for name in ("x_i", "x_r"))  # written as numbers
    assert group.public(x_i) == b(vector["g_xi"])
    assert group.public(x_r) == b(vector["g_xr"])
    assert group.shared(x_i, b(vector["g_xr"])) == b(vector["g_xy"])
    assert group.shared(x_r, b(vector["g_xi"])) == b(vector["g_xy"])


@pytest.mark.parametrize("number", sorted(GROUPS))
def test_public_values_that_give_the_secret_away_are_refused(number: int) -> None:
    group = GROUPS[number]
    values = [0, 1, group.prime - 1, group.prime, group.prime + 1]
    publics = [value.to_bytes(group.length, "big") for value in values]
    good = group.public(b"\7" * 40)
    for public in [*publics, good[1:], b"\0" + good, b""]:
        with pytest.raises(IkeRefused) as caught:
            group.shared(b"\5" * 40, public)
        assert caught.value.reason is Reason.IKE_KEY_EXCHANGE
        assert caught.value.notify == NotifyType.INVALID_KEY_INFORMATION
    group.shared(b"\5" * 40, (2).to_bytes(group.length, "big"))
    group.shared(b"\5" * 40, (group.prime - 2).to_bytes(group.length, "big"))


# --- derived keys ----------------------------------------------------------------------------------------------------


@by_id
def test_every_key_of_phase_1_is_the_recorded_one(vector: dict[str, Any]) -> None:
    keys = keys_of_vector(vector)
    derived = (keys.skeyid, keys.skeyid_d, keys.skeyid_a, keys.skeyid_e, keys.cipher_key)
    names = ("skeyid", "skeyid_d", "skeyid_a", "skeyid_e", "cipher_key")
    assert [value.hex() for value in derived] == [vector[name] for name in names]
    g_xi, g_xr = b(vector["g_xi"]), b(vector["g_xr"])
    assert phase1_iv(keys.hash, keys.cipher, g_xi, g_xr).hex() == vector["phase1_iv"]
    cky_i, cky_r, sai_b = b(vector["cky_i"]), b(vector["cky_r"]), b(vector["sai_b"])
    assert keys.phase1_hash(g_xi, g_xr, cky_i, cky_r, sai_b, b(vector["idii_b"])).hex() == vector["hash_i"]
    assert keys.phase1_hash(g_xr, g_xi, cky_r, cky_i, sai_b, b(vector["idir_b"])).hex() == vector["hash_r"]


@by_id
def test_every_key_and_hash_of_phase_2_is_the_recorded_one(vector: dict[str, Any]) -> None:
    keys, quick = keys_of_vector(vector), vector["quick_mode"]
    message_id, ni_b, nr_b = int(quick["message_id"], 16), b(quick["ni_b"]), b(quick["nr_b"])
    assert exchange_iv(keys.hash, keys.cipher, b(vector["last_phase1_block"]), message_id).hex() == quick["iv"]
    for number in (1, 2, 3):
        assert keys.prf_a(b(quick[f"hash{number}_input"])).hex() == quick[f"hash{number}"]
    for row in quick["keymat"]:
        length = row["enc_key_bytes"] + row["integ_key_bytes"]
        for direction, spi in (
            ("initiator_to_responder", "spi_responder"),
            ("responder_to_initiator", "spi_initiator"),
        ):
            secret = b(quick.get("g_qm_xy"))
            keymat = keys.keymat(length, row["protocol"], b(quick[spi]), ni_b, nr_b, secret)
            assert keymat.hex() == row[direction], row["transform"]


@by_id
def test_messages_of_the_vectors_open_and_seal_to_the_same_bytes(vector: dict[str, Any]) -> None:
    keys = keys_of_vector(vector)
    messages = [vector[name] for name in ("main_mode_message5", "main_mode_message6") if name in vector]
    messages += [vector["informational_delete"], vector["informational_dpd_r_u_there"]]
    for message in messages:
        datagram = b(message["isakmp"])
        opened, after = open_sealed(parse_header(datagram), datagram, keys, b(message["iv"]))
        assert opened.build()[HEADER_LENGTH:].hex() == message["plaintext"]
        assert seal(opened, keys, b(message["iv"])) == (datagram, after)
        # Without the padding that came along, zeros fill the last block just so.
        bare = type(opened)(opened.header, opened.payloads)
        assert seal(bare, keys, b(message["iv"]))[0] == datagram


def test_what_decrypts_to_no_message_is_refused_without_a_word() -> None:
    keys, iv = keys_of_vector(KEYS[0]), bytes(8)
    header = parse_header(b(KEYS[0]["informational_delete"]["isakmp"]))
    nonce = (Payload(PayloadType.NONCE, b"n" * 20),)
    for message in (Message(header, ()), Message(header, (), bytes(64)), Message(header, nonce, bytes(300))):
        sealed, _ = seal(message, keys, iv)
        with pytest.raises(IkeRefused) as caught:
            open_sealed(parse_header(sealed), sealed, keys, iv)
        assert (caught.value.reason, caught.value.notify) == (Reason.IKE_UNDECIPHERABLE, None)
    padded, _ = seal(Message(header, nonce, bytes(200)), keys, iv)
    assert open_sealed(parse_header(padded), padded, keys, iv)[0].payloads == nonce


@by_capture
def test_the_keys_that_strongswan_logged_are_reproduced(name: str) -> None:
    """From nonces, the Diffie-Hellman secret and the pre-shared key alone."""
    log = CAPTURED[name]
    cipher_name, prf_name = log["proposal"].split(":")[1].split("/")[0], log["prf"]
    cipher = {
        "AES_CBC_128": IkeCipher.AES_128, "AES_CBC_256": IkeCipher.AES_256, "3DES_CBC": IkeCipher.TRIPLE_DES,
    }[cipher_name]  # fmt: skip
    hash_ = {"HMAC-SHA1": IkeHash.SHA1, "HMAC-MD5": IkeHash.MD5}[prf_name]
    values = {"ni_b": log["nonce_i"], "nr_b": log["nonce_r"], "g_xy": log["dh_shared_secret"]}
    cookies = {"cky_i": log["initiator_cookie"], "cky_r": log["responder_cookie"]}
    psk = None if log["psk"] is None else log["psk"].encode()
    keys = keys_of(hash_, cipher, values | cookies, psk)
    derived = (keys.skeyid, keys.skeyid_d, keys.skeyid_a, keys.skeyid_e, keys.cipher_key)
    names = ("SKEYID", "SKEYID_d", "SKEYID_a", "SKEYID_e", "encryption_key")
    assert [value.hex() for value in derived] == [log[one] for one in names]
    assert phase1_iv(hash_, cipher, b(log["ke_i"]), b(log["ke_r"])).hex() == log["initial_iv"]
    for quick in log["quick_modes"]:
        for keymat in quick["keymat"].values():
            length, secret = len(b(keymat["keymat"])), b(quick["dh_secret"])
            made = keys.keymat(length, 3, b(keymat["spi"]), b(quick["nonce_i"]), b(quick["nonce_r"]), secret)
            assert made.hex() == keymat["keymat"]


@by_exchange
def test_the_recorded_exchanges_derive_as_recorded(exchange: dict[str, Any]) -> None:
    keys = keys_of_exchange(exchange)
    derived = (keys.skeyid, keys.skeyid_d, keys.skeyid_a, keys.skeyid_e, keys.cipher_key)
    names = ("skeyid", "skeyid_d", "skeyid_a", "skeyid_e", "cipher_key")
    assert [value.hex() for value in derived] == [exchange[name] for name in names]
    for phase2 in exchange["phase2"]:
        length = phase2["enc_key_bytes"] + phase2["integ_key_bytes"]  # with any salt
        for direction, spi in (
            ("keymat_initiator_to_responder", "spi_responder"),
            ("keymat_responder_to_initiator", "spi_initiator"),
        ):
            secret = b(phase2["g_qm_xy"])
            made = keys.keymat(length, phase2["protocol"], b(phase2[spi]), b(phase2["ni_b"]), b(phase2["nr_b"]), secret)
            assert made.hex() == phase2[direction]


def test_a_weak_des_key_is_passed_over() -> None:
    weak, semi = bytes.fromhex("0101010101010101"), bytes.fromhex("01fe01fe01fe01fe")
    plain = bytes(range(0x20, 0x30))
    assert cipher_key(IkeHash.MD5, IkeCipher.DES, plain) == plain[:8]
    assert cipher_key(IkeHash.MD5, IkeCipher.DES, weak + plain[:8]) == weak[1:] + plain[:1]
    assert cipher_key(IkeHash.MD5, IkeCipher.DES, semi + plain[:8]) == semi[1:] + plain[:1]


def test_keys_are_not_shown() -> None:
    keys = keys_of_vector(KEYS[0])
    assert "not shown" in repr(keys)
    assert not any(value in repr(keys) for value in (keys.skeyid.hex(), keys.cipher_key.hex(), repr(keys.skeyid)))
