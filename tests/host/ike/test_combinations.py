"""Every combination of exchange, authentication, NAT traversal, proposals, mode and key exchange ends as it should.

320 negotiations, each drawn from all that either side may be told. `expected` says from the two configurations alone,
without a look at the code, what has to come of them: which version, which proposals, and who refuses what, and how.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from nicsim.events import AssociationsReady, ExchangeFailed, IkeDown, IkeUp, OutboundUsable
from nicsim.host.ike.authentication import PreSharedKey, RsaCredentials
from nicsim.host.ike.config import (
    NattPolicy,
    Phase1Exchange,
    Phase1Policy,
    Phase1Proposal,
    Phase2Policy,
    Phase2Proposal,
    phase1_proposals,
    phase2_proposal,
)
from nicsim.host.ike.natt import DRAFT_02, DRAFT_03, RFC_3947
from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.reasons import Reason
from nicsim.wire.isakmp import ExchangeType
from tests.host.ike.certificates import NOW, credentials
from tests.host.ike.couple import (
    A_NAT,
    B_ADDRESS,
    B_NAT,
    Couple,
    PortNat,
    StaticNat,
    initiator,
    ours,
    phase2,
    responder,
    theirs,
)

RUNS = 320
MAIN, AGGRESSIVE = Phase1Exchange.MAIN, Phase1Exchange.AGGRESSIVE
VERSIONS = [(RFC_3947, DRAFT_03, DRAFT_02), (RFC_3947,), (DRAFT_03,), (DRAFT_02,), (DRAFT_02, RFC_3947)]
IKE_NAMES = [
    f"{cipher}-{hash_}"
    for cipher in ("des", "3des", "aes128", "aes192", "aes256")
    for hash_ in ("md5", "sha1", "sha256")
]
ESP_NAMES = [
    f"{cipher}-{hash_}" for cipher in ("null", "des", "3des", "aes128", "aes256") for hash_ in ("md5", "sha1", "sha256")
]
GCM = [Phase2Proposal(one, 16, Integrity.NONE) for one in (Encryption.AES_GCM_16, Encryption.AES_GCM_8)]


@dataclass(frozen=True)
class Case:
    """What both sides are told, and what lies between them."""

    a: Phase1Policy
    b: Phase1Policy
    a2: Phase2Policy
    b2: Phase2Policy
    nat_a: bool
    nat_b: bool


def drawn(seed: int) -> Case:
    chance = random.Random(seed)
    exchange = chance.choice(list(Phase1Exchange))
    ike = [_phase1_offer(chance), None]
    ike[1] = ike[0] if chance.random() < 0.75 else _phase1_offer(chance)
    esp = [_phase2_offer(chance), None]
    esp[1] = esp[0] if chance.random() < 0.8 else _phase2_offer(chance)
    group = chance.choice([None, None, 1, 2])
    groups = (group, group if chance.random() < 0.9 else chance.choice([None, 1, 2]))
    mode = chance.choice(list(Mode))
    modes = (mode, mode if chance.random() < 0.95 else chance.choice(list(Mode)))
    signed = chance.random() < 0.4
    ways = (signed, signed if chance.random() < 0.93 else not signed)
    policies = []
    for number, name in enumerate("ab"):
        authentication: PreSharedKey | RsaCredentials = credentials(name)
        if not ways[number]:
            authentication = PreSharedKey(b"shared" if chance.random() < 0.96 else f"only {name}".encode())
        policies.append(
            Phase1Policy(
                authentication,
                ike[number] or (),
                exchange,
                natt=chance.choice([NattPolicy.AUTO] * 4 + [NattPolicy.FORCE, NattPolicy.OFF]),
                natt_versions=chance.choice(VERSIONS),
                fragment_above=chance.choice([None, 1280, 300]),
            )
        )
    seconds = []
    for number in (0, 1):
        ends = {} if modes[number] is Mode.TUNNEL else {"local_selector": None, "remote_selector": None}
        seconds.append(
            phase2(turned=number == 1, proposals=esp[number], mode=modes[number], pfs_group=groups[number], **ends)
        )
    return Case(*policies, *seconds, nat_a=chance.random() < 0.5, nat_b=chance.random() < 0.2)


def _phase1_offer(chance: random.Random) -> tuple[Phase1Proposal, ...]:
    groups = chance.choice([(1,), (2,), (2, 1), (1, 2), (2,), (5,), (14, 2)])
    names = chance.sample(IKE_NAMES, chance.choice([1, 1, 2, 3]))
    return tuple(one for name in names for one in phase1_proposals(name, groups))


def _phase2_offer(chance: random.Random) -> tuple[Phase2Proposal, ...]:
    offers = [phase2_proposal(name) for name in chance.sample(ESP_NAMES, chance.choice([1, 1, 2, 4]))]
    return tuple(chance.sample(GCM, 1) if chance.random() < 0.15 else offers)


# --- what has to come of it ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Phase 1 and 2 as they must end: what was agreed, or which exchange each side must see fail, and why."""

    natt: str | None = None
    encapsulated: bool = False
    ike: Phase1Proposal | None = None
    esp: Phase2Proposal | None = None
    failed: tuple[Reason, Reason] | None = None
    where: str = ""


def expected(case: Case) -> Outcome:
    a, b = case.a, case.b
    offers = a.proposals
    if a.exchange is AGGRESSIVE:
        offers = tuple(one for one in offers if one.group == offers[0].group)
    ike = next((one for one in offers if one in b.proposals), None)
    same_way = type(a.authentication) is type(b.authentication)
    if ike is None or not same_way:
        return Outcome(failed=(Reason.IKE_NOTIFIED, Reason.IKE_NO_PROPOSAL), where="phase 1")
    version = next((one for one in b.natt_versions if one in a.natt_versions), None)
    if NattPolicy.OFF in (a.natt, b.natt):
        version = None
    if version is None and b.natt is NattPolicy.FORCE:
        return Outcome(failed=(Reason.IKE_NOTIFIED, Reason.IKE_NO_NAT_TRAVERSAL), where="phase 1")
    if version is None and a.natt is NattPolicy.FORCE:
        return Outcome(failed=(Reason.IKE_NO_NAT_TRAVERSAL, Reason.IKE_NOTIFIED), where="phase 1")
    if isinstance(a.authentication, PreSharedKey) and a.authentication != b.authentication:
        if a.exchange is MAIN:  # neither can read what the other says, and neither says so
            return Outcome(failed=(Reason.IKE_TIMED_OUT, Reason.IKE_TIMED_OUT), where="phase 1")
        return Outcome(failed=(Reason.IKE_AUTHENTICATION, Reason.IKE_NOTIFIED), where="phase 1")
    forced = NattPolicy.FORCE in (a.natt, b.natt)
    encapsulated = version is not None and (case.nat_a or case.nat_b or forced)
    natt = version.name if version else None
    # The selectors are looked at first. Tunnel mode has the networks here, transport mode the two ends; and without
    # NAT traversal, an end behind a NAT goes by an address that the other does not know.
    lost = case.a2.mode is Mode.TRANSPORT and version is None and (case.nat_a or case.nat_b)
    esp = next((one for one in case.a2.proposals if one in case.b2.proposals), None)
    if case.a2.mode is not case.b2.mode or lost:
        refused = Reason.IKE_SELECTORS
    elif case.a2.pfs_group != case.b2.pfs_group or esp is None:
        refused = Reason.IKE_NO_PROPOSAL
    else:
        return Outcome(natt, encapsulated, ike, esp)
    return Outcome(natt, encapsulated, ike, failed=(Reason.IKE_NOTIFIED, refused), where="quick mode")


# --- and what comes --------------------------------------------------------------------------------------------------


def run(case: Case) -> Couple:
    couple = Couple(
        initiator(certificates_valid_at=NOW),
        responder(theirs(case.b, case.b2), certificates_valid_at=NOW),
        nat_a=PortNat(A_NAT) if case.nat_a else None,
        nat_b=StaticNat(B_NAT, B_ADDRESS) if case.nat_b else None,
    )
    couple.a.initiate(couple.now, ours(case.a, case.a2, remote=B_NAT if case.nat_b else B_ADDRESS))
    couple.run()
    couple.wait(400)
    return couple


@pytest.mark.parametrize("seed", range(RUNS))
def test_two_peers_agree_or_fail_as_their_configurations_say(seed: int) -> None:
    case = drawn(seed)
    outcome = expected(case)
    couple = run(case)
    if outcome.where == "phase 1":
        assert outcome.failed is not None
        for name, reason in zip("ab", outcome.failed, strict=True):
            assert couple.of(name, IkeUp) == []
            assert couple.one(name, ExchangeFailed).reason is reason
            assert couple.one(name, ExchangeFailed).exchange in (ExchangeType.MAIN, ExchangeType.AGGRESSIVE)
        assert couple.a.next_deadline() is couple.b.next_deadline() is None
        return
    for name in "ab":
        up = couple.one(name, IkeUp)
        assert (up.natt_version, up.proposal) == (outcome.natt, str(outcome.ike))
    if outcome.failed is not None:
        for name, reason in zip("ab", outcome.failed, strict=True):
            failed = couple.one(name, ExchangeFailed)
            assert (failed.reason, failed.exchange) == (reason, ExchangeType.QUICK)
            assert couple.of(name, AssociationsReady) == []
        return
    assert outcome.esp is not None
    ready = {name: couple.one(name, AssociationsReady) for name in "ab"}
    for name, other in ("ab", "ba"):
        couple.one(name, OutboundUsable)
        assert couple.of(name, ExchangeFailed) == []
        mine, its = ready[name].outbound, ready[other].inbound
        assert (mine.spi, mine.keys, mine.mode) == (its.spi, its.keys, its.mode)
        assert mine.encapsulation is (Encapsulation.UDP if outcome.encapsulated else Encapsulation.NONE)
        assert (mine.keys.encryption, mine.keys.integrity) == (outcome.esp.encryption, outcome.esp.integrity)
        assert len(mine.keys.encryption_key) == outcome.esp.key_length
        assert ready[name].pfs_group == case.a2.pfs_group
    couple.a.close(couple.now)
    couple.run()
    couple.one("b", IkeDown)
    couple.wait(1000)
    for peer in couple.peers.values():
        assert peer.next_deadline() is None


def test_the_combinations_are_of_every_kind() -> None:
    """Of the 320, enough come up, and every way to fail is among them."""
    kinds = Counter[str]()
    for seed in range(RUNS):
        case = drawn(seed)
        outcome = expected(case)
        kinds[case.a.exchange.value] += 1
        kinds["signed" if isinstance(case.a.authentication, RsaCredentials) else "shared"] += 1
        kinds[case.a2.mode.value] += 1
        kinds[str(case.a2.pfs_group)] += 1
        if outcome.failed is None:
            kinds["up"] += 1
            kinds[str(outcome.natt)] += 1
            kinds[f"encapsulated {outcome.encapsulated}"] += 1
        else:
            kinds[f"{outcome.where}: {outcome.failed[0].label}, {outcome.failed[1].label}"] += 1
    assert kinds["up"] > RUNS // 3
    assert min(kinds.values()) >= 2
    assert len([kind for kind in kinds if kind.startswith(("phase 1: ", "quick mode: "))]) == 7
