"""Aggressive mode: three messages, the identities in clear (RFC 2409 sections 5.1 and 5.4; the digest's section 6).

    1 I  SA, KE, Ni, IDii, [CR], VID..
    2 R  SA, KE, Nr, IDir, [CERT], [CR], VID.., NAT-D, NAT-D, AUTH
    3 I  * [CERT], AUTH, NAT-D, NAT-D                                  on port 4500 if there is a NAT

The group is fixed by message 1, which carries the key already. The pre-shared key is chosen by the identity. We send
message 3 encrypted, and accept it either way; its NAT-D payloads are about the way that it takes itself.
"""

from __future__ import annotations

from dataclasses import replace

from nicsim.events import Role
from nicsim.host.ike.exchange import Answer, Arrived, Means, Seal, State, Step
from nicsim.host.ike.phase1 import (
    Phase1,
    accept_proposal,
    answer_vendor_ids,
    change_ports,
    check_proof,
    choose_proposal,
    derive_keys,
    discover,
    follow,
    identity_payload,
    offer_key,
    offer_proposals,
    offer_vendor_ids,
    prove,
    read_discovery,
    read_identity,
    read_key,
    read_responder_cookie,
    read_vendor_ids,
    request_certificate,
)
from nicsim.wire.isakmp import PayloadType


def begin(phase1: Phase1, means: Means) -> tuple[Phase1, Answer]:
    """Message 1, with the proposals that have the group of the first."""
    group = phase1.policy.proposals[0].group
    alike = tuple(proposal for proposal in phase1.policy.proposals if proposal.group == group)
    phase1, proposals = offer_proposals(phase1, alike)
    phase1, key = offer_key(phase1, means)
    rest = (*request_certificate(phase1), *offer_vendor_ids(phase1))
    return replace(phase1, state=State.SA_SENT), (*proposals, *key, identity_payload(phase1), *rest)


def answer(phase1: Phase1, arrived: Arrived, means: Means) -> tuple[Phase1, Answer]:
    """Message 1 came, message 2 goes."""
    phase1 = read_identity(phase1, arrived)
    phase1, proposal = choose_proposal(phase1, arrived)
    phase1 = read_vendor_ids(phase1, arrived)
    phase1 = read_key(phase1, arrived)
    phase1, key = offer_key(phase1, means)
    phase1 = derive_keys(phase1)
    *certificates, proof = prove(phase1)
    said = (*proposal, *key, identity_payload(phase1), *certificates, *request_certificate(phase1))
    return phase1, (*said, *answer_vendor_ids(phase1), *discover(phase1, means), proof)


def check_and_prove(phase1: Phase1, arrived: Arrived, means: Means) -> tuple[Phase1, Answer]:
    """Message 2 came, message 3 goes, on other ports if there is a NAT."""
    phase1 = accept_proposal(read_responder_cookie(phase1, arrived), arrived)
    phase1 = read_vendor_ids(phase1, arrived)
    phase1 = derive_keys(read_key(phase1, arrived))
    phase1 = read_identity(phase1, arrived)
    check_proof(phase1, arrived, means)
    phase1 = change_ports(read_discovery(phase1, arrived), means.config)
    return phase1, (*prove(phase1), *discover(phase1, means))


def check(phase1: Phase1, arrived: Arrived, means: Means) -> tuple[Phase1, Answer]:
    """Message 3 came: the initiator is who message 1 said, and is where this message came from."""
    check_proof(phase1, arrived, means)
    return follow(read_discovery(phase1, arrived), arrived), ()


_ALL = (
    PayloadType.SECURITY_ASSOCIATION,
    PayloadType.KEY_EXCHANGE,
    PayloadType.NONCE,
    PayloadType.IDENTIFICATION,
)

CLEAR, SEALED, EITHER, NOTHING = Seal.CLEAR, Seal.SEALED, Seal.EITHER, Seal.NOTHING

# fmt: off
STEPS: dict[tuple[Role, State], Step[Phase1]] = {
    # who and where we are                comes   with  we do            and send then
    (Role.RESPONDER, State.START):   Step(CLEAR,  _ALL, answer,          CLEAR,   State.KE_SENT,     repeats=True),
    (Role.INITIATOR, State.SA_SENT): Step(CLEAR,  _ALL, check_and_prove, SEALED,  State.ESTABLISHED),
    (Role.RESPONDER, State.KE_SENT): Step(EITHER, (),   check,           NOTHING, State.ESTABLISHED),
}
# fmt: on
