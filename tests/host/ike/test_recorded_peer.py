"""Recorded negotiations with our peer in the place of one of the two: it takes strongSwan's messages and says the same.

Whatever is random in a negotiation is played back: cookies, nonces, SPIs, message ids, and the public values with the
secret that the recorded peer found. Then every message of ours has to say what the recorded one said, and what comes of
it has to be the recorded keys. strongSwan adds a block of zeros where the plaintext fills its last block; we do not,
so there the chain of IVs is put right by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

import pytest

from nicsim.events import (
    AssociationsDeleted,
    AssociationsReady,
    Endpoint,
    IkeDown,
    IkeUp,
    MessageDropped,
    MessageSeen,
    Nat,
    OutboundUsable,
    Role,
    Selector,
    UdpDatagram,
)
from nicsim.host.ike import phase1 as phase1_module
from nicsim.host.ike import quick_mode as quick_mode_module
from nicsim.host.ike.authentication import PreSharedKey
from nicsim.host.ike.config import (
    Connection,
    IkeConfig,
    Phase1Exchange,
    Phase1Policy,
    Phase1Proposal,
    Phase2Policy,
    Phase2Proposal,
)
from nicsim.host.ike.identity import Identity
from nicsim.host.ike.keys import GROUPS
from nicsim.host.ike.peer import IkePeer
from nicsim.host.ike.proposals import _BY_HASH, _BY_TRANSFORM
from nicsim.host.ike.selectors import parse_selector
from nicsim.ipsec.association import Mode
from nicsim.wire.headers import parse_address
from nicsim.wire.isakmp import HEADER_LENGTH, PayloadType, parse_chain, parse_header, parse_message
from nicsim.wire.isakmp_payloads import IdentificationType, parse_identification, parse_security_association
from tests.host.ike.test_keys import CIPHERS, EXCHANGES, HASHES, b

PLAYED = [e for e in EXCHANGES if e["phase1"]["auth"] == 1 and e["phase2"][0]["protocol"] == 3]
by_exchange = pytest.mark.parametrize("recorded", PLAYED, ids=lambda recorded: recorded["id"])


@dataclass
class PlayedGroup:
    """A group whose public values and secrets are the recorded ones, phase 1 first."""

    length: int
    publics: Iterator[bytes]
    secrets: Iterator[bytes]

    def public(self, exponent: bytes) -> bytes:
        return next(self.publics)

    def shared(self, exponent: bytes, peer_public: bytes) -> bytes:
        return next(self.secrets)


def connection(recorded: dict[str, Any], role: Role) -> Connection:
    agreed, phase2 = recorded["phase1"], recorded["phase2"][0]
    initiator = role is Role.INITIATOR
    own, other = (parse_identification(b(recorded[name])) for name in ("idii_b", "idir_b")[:: 1 if initiator else -1])
    group = agreed["group"]
    cipher = CIPHERS[agreed["encryption"], agreed.get("key_length")]
    offer = parse_security_association(b(recorded["sai_b"])).proposals[0].transforms[0]
    lifetime = next(one.number for one in offer.attributes if one.type == 12)
    policy = Phase1Policy(
        PreSharedKey(b(recorded["psk"])),
        (Phase1Proposal(cipher, HASHES[agreed["hash"]], group),),
        Phase1Exchange(agreed["exchange"]),
        Identity(IdentificationType(own.type), own.data),
        Identity(IdentificationType(other.type), other.data),
        lifetime=lifetime,
        # The recorded initiator says it in main mode only, where there is room for it.
        initial_contact=agreed["exchange"] == "main",
    )
    attributes = {int(type_): value for type_, value in phase2["attributes"].items()}
    encryption = _BY_TRANSFORM[phase2["transform_id"]]
    key_length = attributes[6] // 8 if 6 in attributes else encryption.key_lengths[0]
    selectors = [parse_selector(parse_identification(b(one))) for one in phase2["id_ci_cr"]]
    local, remote = selectors if initiator else selectors[::-1]
    esp = Phase2Policy(
        (Phase2Proposal(encryption, key_length, _BY_HASH[attributes.get(5)]),),
        Mode.TRANSPORT if attributes[4] in (2, 4) else Mode.TUNNEL,
        local,
        remote,
        attributes.get(3),
        attributes[2],
    )
    return Connection("played", policy, esp, None)


class Player:
    """Our peer, told what is random, among the recorded messages of the other side."""

    def __init__(self, recorded: dict[str, Any], role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recorded, self.role = recorded, role
        initiator, phase2 = role is Role.INITIATOR, recorded["phase2"][0]
        mine = "i" if initiator else "r"
        self.side = "initiator_side" if initiator else "responder_side"
        self.messages = [one for one in recorded["messages"] if one["kind"] != "nat-keepalive"]
        self.connection = connection(recorded, role)
        first = self.messages[0][self.side]
        own = first["src" if initiator else "dst"]
        self.remote = first["dst" if initiator else "src"]
        config = IkeConfig(parse_address(own), () if initiator else (self.connection,))
        octets = [bytes(32), bytes(40), b(recorded[f"n{mine}_b"])]
        octets += [b(phase2["message_id"])] if initiator else []
        spi = "spi_initiator" if initiator else "spi_responder"
        octets += [b(phase2[spi]), b(phase2[f"n{mine}_b"]), *([bytes(40)] if phase2["pfs"] else [])]
        self.octets = iter(octets)
        self.peer = IkePeer(config, self.random)
        monkeypatch.setattr(self.peer._daemon.cookies, "new", lambda *_: b(recorded[f"cky_{mine}"]))
        publics = [b(recorded[f"g_x{mine}"]), b(phase2[f"g_qm_x{mine}"])]
        secrets = [b(recorded["g_xy"]), b(phase2["g_qm_xy"])]
        number = recorded["phase1"]["group"]
        played = PlayedGroup(GROUPS[number].length, iter(publics), iter(secrets))
        for module in (phase1_module, quick_mode_module):
            monkeypatch.setattr(module, "GROUPS", {number: played})
        self.events: list[Any] = []

    def random(self, length: int) -> bytes:
        # What is left at the end, the message ids of deletes, is anything.
        octets = next(self.octets, b"\5" * length)
        assert len(octets) == length
        return octets

    def poll(self) -> list[tuple[bytes, UdpDatagram]]:
        """Our messages, in clear and as they left."""
        said, plain = [], b""
        for item in self.peer.poll():
            if isinstance(item, MessageSeen) and item.sent:
                plain = item.plain
            elif isinstance(item, UdpDatagram):
                said.append((plain, item))
            else:
                self.events.append(item)
        return said

    def run(self) -> None:
        """From the first message to the last of quick mode."""
        if self.role is Role.INITIATOR:
            self.peer.initiate(1.0, self.connection, parse_address(self.remote))
        said = self.poll()
        for message in self.messages:
            if message["kind"] == "informational":
                break
            ours = (message["direction"] == "i->r") == (self.role is Role.INITIATOR)
            if ours:
                self.compare(*said.pop(0), message)
            else:
                self.deliver(message)
                said += self.poll()
        assert not said
        assert not [event for event in self.events if isinstance(event, MessageDropped)]

    def deliver(self, message: dict[str, Any]) -> None:
        ends = message[self.side]
        source, destination = (
            Endpoint(parse_address(ends[a]), ends[p]) for a, p in (("src", "sport"), ("dst", "dport"))
        )
        self.peer.receive(1.0, UdpDatagram(source, destination, b(message["udp_payload"])))

    def compare(self, plain: bytes, datagram: UdpDatagram, message: dict[str, Any]) -> None:
        ends = message[self.side]
        assert (datagram.source.port, datagram.destination.port) == (ends["sport"], ends["dport"])
        assert datagram.destination.address == parse_address(ends["dst"])
        mine = parse_message(plain)
        raw = b(message["udp_payload"])[4 if message["non_esp_marker"] else 0 :]
        if "plaintext" in message:
            payloads, _ = parse_chain(parse_header(raw).next_payload, b(message["plaintext"]))
        else:
            payloads = parse_message(raw).payloads
        # Vendor ids are each one's own, and so is where they stand.
        said, wanted = (
            [one for one in some if one.type != PayloadType.VENDOR_ID] for some in (mine.payloads, payloads)
        )
        if message["kind"] == "aggressive":
            said, wanted = (sorted(some, key=lambda one: one.type) for some in (said, wanted))
        if self.translates(message):
            # strongSwan writes the address that it sees for the initiator's; we repeat what came, as RFC 2409 has it.
            own = (PayloadType.HASH, PayloadType.IDENTIFICATION)
            assert [one for one in said if one.type not in own] == [one for one in wanted if one.type not in own]
            self.chain_on(raw)
            return
        assert said == wanted
        if "plaintext" not in message or mine.payloads != payloads:
            return
        marker = 4 if message["non_esp_marker"] else 0
        assert b(message["udp_payload"]).startswith(datagram.payload[: marker + 24])
        assert b(message["udp_payload"])[marker + HEADER_LENGTH :].startswith(
            datagram.payload[marker + HEADER_LENGTH :]
        )
        self.chain_on(raw)

    def translates(self, message: dict[str, Any]) -> bool:
        """Whether this is the answer of quick mode to an initiator behind a NAT in transport mode."""
        transport = self.connection.phase2.mode is Mode.TRANSPORT and message["non_esp_marker"]
        return self.role is Role.RESPONDER and transport and message["kind"] == "quick"

    def chain_on(self, raw: bytes) -> None:
        """The next IV is the last block of the recorded message, with its padding."""
        (ike,) = self.peer._daemon.ike_sas.values()
        assert ike.phase1.keys is not None
        block, header = raw[-ike.phase1.keys.cipher.block :], parse_header(raw)
        if not header.message_id:
            ike.phase1 = replace(ike.phase1, iv=block)
        elif header.message_id in ike.quick_modes._running:
            running = ike.quick_modes._running[header.message_id]
            running.quick = replace(running.quick, iv=block)

    def one(self, kind: type[Any]) -> Any:
        (found,) = [event for event in self.events if isinstance(event, kind)]
        return found


@by_exchange
@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
def test_our_peer_in_the_place_of_the_recorded_one_says_the_same_and_finds_the_same_keys(
    recorded: dict[str, Any], role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player(recorded, role, monkeypatch)
    player.run()
    up, ready, phase2 = player.one(IkeUp), player.one(AssociationsReady), recorded["phase2"][0]
    player.one(OutboundUsable)
    assert up.natt_version == "RFC 3947"
    there, back = ready.outbound, ready.inbound
    if role is Role.RESPONDER:
        there, back = back, there
    for association, direction, spi in (
        (there, "keymat_initiator_to_responder", "spi_responder"),
        (back, "keymat_responder_to_initiator", "spi_initiator"),
    ):
        keys = association.keys
        assert (keys.encryption_key + keys.salt + keys.integrity_key).hex() == phase2[direction]
        assert f"{association.spi:08x}" == phase2[spi]
    through_nat = player.messages[-1]["non_esp_marker"]
    assert (up.nat is not Nat.NONE) is through_nat
    original = ready.remote_original
    recorded_originals = phase2["nat_oa_r" if role is Role.INITIATOR else "nat_oa_i"]
    if original is not None:
        assert [f"01000000{one.hex()}" for one in (original.initiator, original.responder)] == recorded_originals
    else:
        assert recorded_originals == []


@by_exchange
@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
def test_the_recorded_deletes_end_what_the_recorded_peer_made(
    recorded: dict[str, Any], role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player(recorded, role, monkeypatch)
    player.run()
    its = "r->i" if role is Role.INITIATOR else "i->r"
    deletes = [one for one in player.messages if "delete" in one and one["direction"] == its]
    for message in deletes:
        player.deliver(message)
    player.poll()
    if deletes:
        assert {type(event) for event in player.events} & {AssociationsDeleted, IkeDown}
    else:
        assert player.one(AssociationsReady)


def test_selectors_come_from_identities() -> None:
    found = parse_selector(parse_identification(b(PLAYED[0]["phase2"][0]["id_ci_cr"][0])))
    assert found == Selector(ip_network("10.1.2.0/24"))
