"""Mutated IKE messages: whatever comes, a peer raises nothing, and what it drops changes nothing.

    python -m tests.soak_ike                      100,000 messages
    python -m tests.soak_ike --messages 1000 --seed 7

A true message on its way to a peer in the middle of a negotiation is spoiled: on the wire, or before its encryption,
so that the rubbish is found only behind a decryption that went well, or even behind a hash that is right. Part of
tests/soak.py too, which says how a failure is replayed.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from typing import Any

from nicsim.errors import IkeRefused, IsakmpMalformed
from nicsim.events import ExchangeFailed, IkeEvent, IkeUp, MessageDropped, MessageSeen, UdpDatagram
from nicsim.host.ike.config import Phase1Exchange
from nicsim.host.ike.ike_sa import IkeSa
from nicsim.host.ike.keys import exchange_iv
from nicsim.host.ike.peer import IkePeer
from nicsim.host.ike.protection import open_sealed
from nicsim.reasons import Reason
from nicsim.wire.isakmp import HEADER_LENGTH, ExchangeType, Payload, PayloadType, build_chain, parse_chain, parse_header
from tests.host.ike.certificates import NOW, credentials
from tests.host.ike.couple import A_NAT, Couple, PortNat, initiator, ours, phase1, phase2, responder, theirs
from tests.host.ike.hostile import standing

PER_CASE = 100
# Messages of both phases, then two informational ones.
LENGTHS = {Phase1Exchange.MAIN: 11, Phase1Exchange.AGGRESSIVE: 8}
NUMBERS = (0, 1, 2, 3, 4, 5, 8, 10, 20, 27, 28, 64, 127, 128, 130, 132, 255)


def messages(chance: random.Random) -> None:
    """A hundred mutations, of the messages of a few negotiations."""
    done = 0
    while done < PER_CASE:
        scene = Scene(chance)
        for _ in range(min(PER_CASE - done, 25)):
            done += 1
            if not scene.spoil(chance):
                break
        else:
            scene.go_on()


class Scene:
    """One negotiation stopped before one of its messages."""

    def __init__(self, chance: random.Random) -> None:
        exchange = chance.choice(list(Phase1Exchange))
        number = chance.randrange(LENGTHS[exchange])
        signed, group = chance.random() < 0.3, chance.choice([None, 1])
        a, b = (
            phase1(
                exchange=exchange,
                initial_contact=False,
                fragment_above=chance.choice([None, 200]),
                **({"authentication": credentials(name)} if signed else {}),
            )
            for name in "ab"
        )
        self.couple = Couple(
            initiator(certificates_valid_at=NOW, notifies_per_second=10**6),
            responder(theirs(b, phase2(turned=True, pfs_group=group)), certificates_valid_at=NOW),
            nat_a=chance.choice([None, PortNat(A_NAT)]),
            seed=chance.randrange(2**32),
        )
        self.held: list[tuple[str, UdpDatagram]] = []
        self.couple.lose = lambda sent: len(self.couple.sent) > number and self.hold(sent)
        self.couple.a.initiate(self.couple.now, ours(a, phase2(pfs_group=group)))
        self.couple.run()
        if not self.held:
            self.couple.peers[chance.choice("ab")].close(self.couple.now)
            self.couple.lose = self.hold
            self.couple.run()
        self.by, self.datagram = self.held[0]
        self.receiver: IkePeer = self.couple.peers["b" if self.by == "a" else "a"]

    def hold(self, sent: Any) -> bool:
        self.held.append((sent.by, sent.datagram))
        return True

    def spoil(self, chance: random.Random) -> bool:
        """Deliver one mutation; whether all is as it was."""
        marker = 4 if self.datagram.payload.startswith(bytes(4)) else 0
        raw = self.datagram.payload[marker:]
        opened = self.opened(raw) if chance.random() < 0.6 else None
        spoiled = mutated_message(raw, chance) if opened is None else resealed(raw, *opened, chance)
        arriving = self.couple.through(self.by, replace(self.datagram, payload=bytes(marker) + spoiled))
        assert arriving is not None
        before = standing(self.receiver)
        self.receiver.receive(self.couple.now, arriving)
        out = list(self.receiver.poll())
        assert all(isinstance(item, UdpDatagram | IkeEvent) for item in out)
        dropped = [item for item in out if isinstance(item, MessageDropped)]
        assert all(isinstance(item.reason, Reason) and len(item.detail) < 400 for item in dropped)
        after = standing(self.receiver)
        if dropped:
            assert after == before, dropped
        acted = [item for item in out if isinstance(item, MessageSeen | ExchangeFailed | IkeUp)]
        told_only = dropped and not [item for item in acted if not isinstance(item, MessageSeen) or not item.sent]
        assert len(after[0]) <= len(before[0]) + 1
        assert len(out) < 40
        return bool(told_only) or (after == before and not acted)

    def opened(self, raw: bytes) -> tuple[IkeSa, bytes, bytes] | None:
        """The SA, the IV and the plaintext of an encrypted message, as its receiver has them."""
        try:
            header = parse_header(raw)
        except IsakmpMalformed:
            return None
        ike = self.receiver._daemon.by_cookies.get((header.initiator_cookie, header.responder_cookie))
        if ike is None or ike.phase1.keys is None or not header.encrypted:
            return None
        keys, running = ike.phase1.keys, ike.quick_modes._running.get(header.message_id)
        if header.exchange == ExchangeType.QUICK and running is not None:
            iv = running.quick.iv
        elif header.message_id:
            iv = exchange_iv(keys.hash, keys.cipher, ike.phase1.iv, header.message_id)
        else:
            iv = ike.phase1.iv
        try:
            open_sealed(header, raw, keys, iv)
        except IkeRefused:  # message three of aggressive mode as its sender has it
            return None
        return ike, iv, keys.cipher.decrypt(keys.cipher_key, iv, raw[HEADER_LENGTH:])

    def go_on(self) -> None:
        """The true message, and all that follows, as if nothing had been."""
        self.couple.lose = lambda _: False
        for by, datagram in self.held:
            self.couple.carry(by, datagram)
        self.couple.run()
        self.couple.wait(100)
        if not self.couple.of("a", IkeUp):
            raise AssertionError(f"never came up: {self.couple.events}")


def resealed(raw: bytes, ike: IkeSa, iv: bytes, clear: bytes, chance: random.Random) -> bytes:
    """The message with its plaintext spoiled; often with its hash made right again."""
    keys, header = ike.phase1.keys, parse_header(raw)
    assert keys is not None
    payloads, _ = parse_chain(header.next_payload, clear)
    first, rest = header.next_payload, mutated_bytes(build_chain(payloads[1:]), chance)
    if header.message_id and payloads[0].type == PayloadType.HASH and chance.random() < 0.8:
        running = ike.quick_modes._running.get(header.message_id)
        nonce = running.quick.ni_b if running is not None and header.exchange == ExchangeType.QUICK else b""
        m_id = header.message_id.to_bytes(4, "big")
        head = Payload(PayloadType.HASH, keys.prf_a(m_id + nonce + rest)).raw
        following = payloads[1].type if len(payloads) > 1 else chance.choice(NUMBERS)
        spoiled = bytes((following,)) + head[1:] + rest
    else:
        spoiled = mutated_bytes(clear, chance)
    spoiled += bytes(-len(spoiled) % keys.cipher.block)
    ciphertext = keys.cipher.encrypt(keys.cipher_key, iv, spoiled) if spoiled else b""
    built = replace(header, next_payload=first, length=HEADER_LENGTH + len(ciphertext)).build()
    return built + ciphertext


def mutated_message(raw: bytes, chance: random.Random) -> bytes:
    """Spoiled anywhere; most of the time with a length that is right again."""
    spoiled = mutated_bytes(raw, chance)
    if len(spoiled) >= HEADER_LENGTH and chance.random() < 0.7:
        spoiled = spoiled[:24] + len(spoiled).to_bytes(4, "big") + spoiled[HEADER_LENGTH:]
    return spoiled


def mutated_bytes(data: bytes, chance: random.Random) -> bytes:
    """Octets changed, cut off, put in, put behind, and parts repeated: once at least."""
    work = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 6])):
        at, change = chance.randrange(len(work) + 1), chance.randrange(10)
        if change < 5 and at < len(work):
            work[at] = chance.choice(
                [chance.randrange(256), chance.choice(NUMBERS), work[at] ^ 1 << chance.randrange(8)]
            )
        elif change == 5:
            del work[at:]
        elif change == 6:
            work[at:at] = chance.randbytes(chance.randrange(9))
        elif change == 7:
            work += chance.randbytes(chance.randrange(41))
        elif change == 8:
            work[at:at] = work[at : at + chance.randrange(200)]
        elif len(work) - at >= 2:
            work[at : at + 2] = chance.choice([0, 3, 4, 5, 0x7FFF, 0xFFFF, len(work)]).to_bytes(2, "big")
    return bytes(work)


def main() -> None:
    from tests.soak import run_part

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--messages", type=int, default=100_000)
    chosen = parser.parse_args()
    run_part("ike", chosen.seed, chosen.messages)


if __name__ == "__main__":
    main()
