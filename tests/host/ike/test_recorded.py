"""Recorded negotiations, message by message: read, decrypted, checked, encrypted and built again to the same bytes.

The captures are strongSwan's on both ends; `ike_keys.json` says which frames are IKE and what is in them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from nicsim.host.ike.authentication import trusted_key, verify_signature
from nicsim.host.ike.fragments import Reassembly, split
from nicsim.host.ike.identity import Identity
from nicsim.host.ike.keys import (
    IkeCipher,
    IkeHash,
    IkeKeys,
    derive,
    exchange_iv,
    phase1_iv,
    skeyid_of_psk,
    skeyid_of_signatures,
)
from nicsim.host.ike.protection import open_sealed, seal
from nicsim.wire.esp import Datagram, classify_port_500, classify_port_4500
from nicsim.wire.isakmp import (
    HEADER_LENGTH,
    ExchangeType,
    Message,
    PayloadType,
    build_chain,
    parse_header,
    parse_message,
)
from nicsim.wire.isakmp_payloads import IdentificationType, parse_certificate, parse_fragment, parse_identification
from nicsim.wire.packet import parse_frame
from nicsim.wire.pcap import open_capture
from tests.host.ike.test_keys import CAPTURED, EXCHANGES, TESTS, b, keys_of_exchange


@dataclass
class Chain:
    """The IVs of one ISAKMP SA as its messages go by."""

    keys: IkeKeys
    phase1: bytes
    exchanges: dict[int, bytes] = field(default_factory=dict)

    def open(self, datagram: bytes) -> Message:
        """Open an encrypted message, and check that it builds and seals to the same bytes."""
        header = parse_header(datagram)
        phase2 = header.message_id != 0
        iv = self.phase1
        if phase2:
            fresh = exchange_iv(self.keys.hash, self.keys.cipher, self.phase1, header.message_id)
            iv = self.exchanges.get(header.message_id, fresh)
        message, after = open_sealed(header, datagram, self.keys, iv)
        assert seal(message, self.keys, iv) == (datagram, after)
        if phase2:
            self.exchanges[header.message_id] = after
        else:
            self.phase1 = after
        return message


def hash_is_right(keys: IkeKeys, message: Message, nonces: list[bytes]) -> bool:
    """HASH(1), HASH(2) or HASH(3), whichever this message of an exchange has."""
    m_id = message.header.message_id.to_bytes(4, "big")
    rest = build_chain(message.payloads[1:])
    if message.header.exchange == ExchangeType.INFORMATIONAL or not nonces:
        data = m_id + rest
    elif rest:
        data = m_id + nonces[0] + rest
    else:
        data = b"\0" + m_id + b"".join(nonces)
    nonces += [payload.body for payload in message.payloads if payload.type == PayloadType.NONCE]
    return message.payloads[0].body == keys.prf_a(data)


# --- the vectors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["id"])
def test_a_recorded_negotiation_opens_and_seals_to_the_same_bytes(exchange: dict[str, Any]) -> None:
    keys = keys_of_exchange(exchange)
    chain = Chain(keys, phase1_iv(keys.hash, keys.cipher, b(exchange["g_xi"]), b(exchange["g_xr"])))
    nonces: dict[int, list[bytes]] = {}
    for recorded in exchange["messages"]:
        if recorded["kind"] == "nat-keepalive":
            continue
        datagram = b(recorded["udp_payload"])[4 if recorded["non_esp_marker"] else 0 :]
        header = parse_header(datagram)
        assert header.encrypted == ("plaintext" in recorded)
        if not header.encrypted:
            assert parse_message(datagram).build() == datagram
            continue
        message = chain.open(datagram)
        assert message.build()[HEADER_LENGTH:].hex() == recorded["plaintext"]
        if header.message_id:
            assert message.payloads[0].body.hex() == recorded["hash"]
            assert hash_is_right(keys, message, nonces.setdefault(header.message_id, []))


@pytest.mark.parametrize("exchange", [e for e in EXCHANGES if "sig_i" in e], ids=lambda exchange: exchange["id"])
def test_recorded_signatures_are_over_the_bare_hash(exchange: dict[str, Any]) -> None:
    keys = keys_of_exchange(exchange)
    publics, cookies = (b(exchange["g_xi"]), b(exchange["g_xr"])), (b(exchange["cky_i"]), b(exchange["cky_r"]))
    for side, order in (("i", 1), ("r", -1)):
        id_b = b(exchange["idii_b" if side == "i" else "idir_b"])
        hashed = keys.phase1_hash(*publics[::order], *cookies[::order], b(exchange["sai_b"]), id_b)
        assert hashed.hex() == exchange[f"hash_{side}"]
        identification = parse_identification(id_b)
        identity = Identity(IdentificationType(identification.type), identification.data)
        der = b(exchange[f"cert_{side}"])
        own = x509.load_der_x509_certificate(der)
        verify_signature(trusted_key([der], identity, [own], None), b(exchange[f"sig_{side}"]), hashed)


# --- the captures ----------------------------------------------------------------------------------------------------


def ike_datagrams(path: Path) -> Iterator[bytes]:
    """Every ISAKMP message of a capture, markers taken off."""
    with open_capture(path) as capture:
        for frame in capture:
            if frame.data[12:14] != b"\x08\x00":
                continue
            packet = parse_frame(frame.data, frame.link_type)
            for port, classify in ((4500, classify_port_4500), (500, classify_port_500)):
                if port in (packet.src_port, packet.dst_port):
                    kind, start = classify(frame.data, packet.udp_payload, packet.udp_end)
                    if kind is Datagram.IKE:
                        yield frame.data[start : packet.udp_end]


def keys_of_log(log: dict[str, Any]) -> IkeKeys:
    cipher = {
        "AES_CBC_128": IkeCipher.AES_128, "AES_CBC_256": IkeCipher.AES_256, "3DES_CBC": IkeCipher.TRIPLE_DES,
    }[log["proposal"].split(":")[1].split("/")[0]]  # fmt: skip
    hash_ = {"HMAC-SHA1": IkeHash.SHA1, "HMAC-MD5": IkeHash.MD5}[log["prf"]]
    ni_b, nr_b, g_xy = b(log["nonce_i"]), b(log["nonce_r"]), b(log["dh_shared_secret"])
    if log["psk"] is None:
        skeyid = skeyid_of_signatures(hash_, ni_b, nr_b, g_xy)
    else:
        skeyid = skeyid_of_psk(hash_, log["psk"].encode(), ni_b, nr_b)
    return derive(hash_, cipher, skeyid, g_xy, b(log["initiator_cookie"]), b(log["responder_cookie"]))


def logged(message: Message) -> dict[str, Any]:
    """A message the way `ike_keys.json` lists it."""
    header = message.header
    shown: dict[str, Any] = {"exchange": header.exchange, "message_id": f"{header.message_id:08x}"}
    if header.next_payload == PayloadType.FRAGMENT:
        return shown | {"fragment": parse_fragment(message.payloads[0].body).number}
    return shown | {"encrypted": header.encrypted, "payloads": [payload.type for payload in message.payloads]}


@pytest.mark.parametrize("name", sorted(CAPTURED))
@pytest.mark.parametrize("side", ["client-side.pcap", "server-side.pcap"])
def test_a_capture_replays_message_by_message(name: str, side: str) -> None:
    """What ike_keys.json lists, decrypted with keys from the secrets alone; fragments are split again as they were."""
    log = CAPTURED[name]
    keys = keys_of_log(log)
    chain = Chain(keys, phase1_iv(keys.hash, keys.cipher, b(log["ke_i"]), b(log["ke_r"])))
    nonces: dict[int, list[bytes]] = {}
    reassembly, fragments = Reassembly(), []
    seen: list[dict[str, Any]] = []
    before = b""
    for datagram in ike_datagrams(TESTS / "captures" / name / side):
        header = parse_header(datagram)
        if datagram == before:  # sent again
            again = {"exchange": header.exchange, "message_id": f"{header.message_id:08x}"}
            seen.append(again | {"encrypted": header.encrypted, "retransmission": True})
            continue
        before = datagram
        if header.next_payload == PayloadType.FRAGMENT:
            piece = parse_message(datagram)
            assert piece.build() == datagram
            fragments.append(datagram)
            whole = reassembly.add(piece.payloads)
            if whole is None:
                seen.append(logged(piece))
                continue
            assert split(whole, max(map(len, fragments)), parse_fragment(piece.payloads[0].body).id) == fragments
            datagram, header = whole, parse_header(whole)
        if not header.encrypted:
            message = parse_message(datagram)
            assert message.build() == datagram
        else:
            message = chain.open(datagram)
            if header.message_id:
                assert hash_is_right(keys, message, nonces.setdefault(header.message_id, []))
        seen.append(logged(message))
    expected = [{key: value for key, value in one.items() if key != "frame"} for one in log["messages"]]
    assert seen == expected


def test_recorded_certificates_chain_to_the_recorded_authority() -> None:
    """The negotiation with certificates: both signatures, by keys that the lab's CA vouches for."""
    folder = TESTS / "captures" / "s2-ikev1-main-rsa-3des-md5-nat"
    log = CAPTURED[folder.name]
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    keys = keys_of_log(log)
    publics, cookies = (b(log["ke_i"]), b(log["ke_r"])), (b(log["initiator_cookie"]), b(log["responder_cookie"]))
    chain = Chain(keys, phase1_iv(keys.hash, keys.cipher, *publics))
    reassembly, checked = Reassembly(), []
    for datagram in ike_datagrams(folder / "client-side.pcap"):
        header = parse_header(datagram)
        if header.next_payload == PayloadType.FRAGMENT:
            whole = reassembly.add(parse_message(datagram).payloads)
            if whole is None:
                continue
            datagram, header = whole, parse_header(whole)
        if header.exchange != ExchangeType.MAIN or not header.encrypted:
            continue
        payloads = {payload.type: payload.body for payload in chain.open(datagram).payloads}
        id_b, order = payloads[PayloadType.IDENTIFICATION], -1 if checked else 1
        hashed = keys.phase1_hash(*publics[::order], *cookies[::order], b(log["sa_i"]), id_b)
        identity = Identity(IdentificationType.DER_DN, parse_identification(id_b).data)
        certificate = parse_certificate(payloads[PayloadType.CERTIFICATE]).data
        key = trusted_key([certificate], identity, [authority], None)
        verify_signature(key, payloads[PayloadType.SIGNATURE], hashed)
        checked.append(str(identity))
    assert checked == [
        "C=CH, O=NAT Traversal Lab, CN=client.lab.example",
        "C=CH, O=NAT Traversal Lab, CN=server.lab.example",
    ]
