"""Main mode: six messages, the identities encrypted (RFC 2409 sections 5.1 and 5.4; the digest's table in section 6).

    1 I  SA, VID..                          4 R  KE, Nr, [CR], NAT-D, NAT-D
    2 R  SA, VID..                          5 I  * IDii, [CERT], AUTH, [N]       on port 4500 if there is a NAT
    3 I  KE, Ni, [CR], NAT-D, NAT-D         6 R  * IDir, [CERT], AUTH

The first draft of NAT traversal has its one NAT-D in messages 2 and 3, and its vendor id once more in message 3.
The pre-shared key is chosen by the peer's address, because its identity comes encrypted with it.
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
    check_own_identity,
    check_proof,
    choose_proposal,
    derive_keys,
    discover,
    first_contact,
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
    repeat_vendor_id,
    request_certificate,
)
from nicsim.wire.isakmp import PayloadType


def begin(phase1: Phase1) -> tuple[Phase1, Answer]:
    """Message 1."""
    phase1, proposals = offer_proposals(phase1, phase1.policy.proposals)
    return replace(phase1, state=State.SA_SENT), (*proposals, *offer_vendor_ids(phase1))


def choose(phase1: Phase1, arrived: Arrived, means: Means) -> tuple[Phase1, Answer]:
    """Message 1 came, message 2 goes."""
    phase1, proposal = choose_proposal(phase1, arrived)
    phase1 = read_vendor_ids(phase1, arrived)
    return phase1, (*proposal, *answer_vendor_ids(phase1), *discover(phase1, means, 2))


def offer(phase1: Phase1, arrived: Arrived, means: Means) -> tuple[Phase1, Answer]:
    """Message 2 came, message 3 goes."""
    phase1 = accept_proposal(read_responder_cookie(phase1, arrived), arrived)
    phase1 = read_discovery(read_vendor_ids(phase1, arrived), arrived, 2)
    phase1, key = offer_key(phase1, means)
    return phase1, (*key, *request_certificate(phase1), *repeat_vendor_id(phase1), *discover(phase1, means, 3))


def answer(phase1: Phase1, arrived: Arrived, means: Means) -> tuple[Phase1, Answer]:
    """Message 3 came, message 4 goes; from here on there are keys."""
    phase1 = follow(read_key(phase1, arrived), arrived)
    phase1, key = offer_key(phase1, means)
    phase1 = derive_keys(phase1)
    phase1 = read_discovery(phase1, arrived, 3)
    return phase1, (*key, *request_certificate(phase1), *discover(phase1, means, 4))


def identify(phase1: Phase1, arrived: Arrived, means: Means) -> tuple[Phase1, Answer]:
    """Message 4 came, message 5 goes, on other ports if there is a NAT."""
    phase1 = derive_keys(read_key(phase1, arrived))
    phase1 = change_ports(read_discovery(phase1, arrived, 4), means.config)
    check_own_identity(phase1)
    return phase1, (identity_payload(phase1), *prove(phase1), *first_contact(phase1))


def check_and_identify(phase1: Phase1, arrived: Arrived, means: Means) -> tuple[Phase1, Answer]:
    """Message 5 came, message 6 goes: the initiator is who it says, and is where the message came from."""
    phase1 = follow(read_identity(phase1, arrived), arrived)
    check_proof(phase1, arrived, means)
    check_own_identity(phase1)
    return phase1, (identity_payload(phase1), *prove(phase1))


def check(phase1: Phase1, arrived: Arrived, means: Means) -> tuple[Phase1, Answer]:
    """Message 6 came: the responder is who it says."""
    phase1 = read_identity(phase1, arrived)
    check_proof(phase1, arrived, means)
    return phase1, ()


_SA = (PayloadType.SECURITY_ASSOCIATION,)
_KEY = (PayloadType.KEY_EXCHANGE, PayloadType.NONCE)
_ID = (PayloadType.IDENTIFICATION,)

CLEAR, SEALED, NOTHING = Seal.CLEAR, Seal.SEALED, Seal.NOTHING

# fmt: off
STEPS: dict[tuple[Role, State], Step[Phase1]] = {
    # who and where we are                comes   with  we do               and send then
    (Role.RESPONDER, State.START):   Step(CLEAR,  _SA,  choose,             CLEAR,   State.SA_SENT),
    (Role.INITIATOR, State.SA_SENT): Step(CLEAR,  _SA,  offer,              CLEAR,   State.KE_SENT,     repeats=True),
    (Role.RESPONDER, State.SA_SENT): Step(CLEAR,  _KEY, answer,             CLEAR,   State.KE_SENT),
    (Role.INITIATOR, State.KE_SENT): Step(CLEAR,  _KEY, identify,           SEALED,  State.ID_SENT,     repeats=True),
    (Role.RESPONDER, State.KE_SENT): Step(SEALED, _ID,  check_and_identify, SEALED,  State.ESTABLISHED),
    (Role.INITIATOR, State.ID_SENT): Step(SEALED, _ID,  check,              NOTHING, State.ESTABLISHED),
}
# fmt: on
