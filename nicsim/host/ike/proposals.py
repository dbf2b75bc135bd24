"""Proposals: what we offer, what we choose of another's offer, and whether an answer is one of ours, unchanged.

Phase 1 has one proposal whose transforms are the alternatives; phase 2 has ESP proposals, each with transforms
(RFC 2408 section 4.2, RFC 2409 appendix A, RFC 2407 sections 4.4 and 4.5). Attributes are compared as numbers, so it
does not matter in which of two ways they were encoded. A transform that we do not understand is one not to choose;
only one that contradicts itself is an error. Lifetimes are seconds and kilobytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from nicsim.errors import IkeRefused
from nicsim.host.ike.config import Phase1Proposal, Phase2Policy, Phase2Proposal
from nicsim.host.ike.keys import GROUPS, IkeCipher, IkeHash
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.reasons import Reason
from nicsim.wire.isakmp import NotifyType
from nicsim.wire.isakmp_payloads import Attribute, Proposal, Protocol, SecurityAssociation, Transform

KEY_IKE = 1
SPI_LENGTH = 4
# Reserved by RFC 4303 section 2.1.
FIRST_SPI = 256
SECONDS, KILOBYTES = 1, 2
# RFC 2407 section 4.5.
DEFAULT_LIFETIME = 28800


class AuthenticationMethod(IntEnum):
    """The value of the phase 1 attribute."""

    PRE_SHARED_KEY = 1
    RSA_SIGNATURE = 3


class Phase1Attribute(IntEnum):
    """Attribute classes of phase 1."""

    ENCRYPTION = 1
    HASH = 2
    AUTHENTICATION = 3
    GROUP = 4
    GROUP_TYPE = 5
    LIFE_TYPE = 11
    LIFE_DURATION = 12
    KEY_LENGTH = 14


class Phase2Attribute(IntEnum):
    """Attribute classes of phase 2."""

    LIFE_TYPE = 1
    LIFE_DURATION = 2
    GROUP = 3
    MODE = 4
    AUTHENTICATION = 5
    KEY_LENGTH = 6


# Basic attributes have two bytes whichever way they come; durations may have more.
_DURATIONS = {1: (11, 12), 2: (1, 2)}
_MODP = 1
_CIPHERS = {(cipher.number, cipher.key_length_attribute): cipher for cipher in IkeCipher}
_HASHES = {hash_.number: hash_ for hash_ in IkeHash}

_ESP_TRANSFORMS = {
    Encryption.DES_CBC: 2,
    Encryption.TRIPLE_DES_CBC: 3,
    Encryption.NULL: 11,
    Encryption.AES_CBC: 12,
    Encryption.AES_GCM_8: 18,
    Encryption.AES_GCM_12: 19,
    Encryption.AES_GCM_16: 20,
}
_ESP_HASHES = {Integrity.HMAC_MD5_96: 1, Integrity.HMAC_SHA1_96: 2, Integrity.HMAC_SHA2_256_128: 5}
_BY_TRANSFORM = {number: encryption for encryption, number in _ESP_TRANSFORMS.items()}
_BY_HASH: dict[int | None, Integrity] = {number: integrity for integrity, number in _ESP_HASHES.items()}


@dataclass(frozen=True, slots=True)
class Values:
    """The attributes of one transform: single numbers by class, and the lifetimes by their type."""

    numbers: dict[int, int]
    lifetimes: dict[int, int]


def read_attributes(attributes: Iterable[Attribute], phase: int) -> Values:
    """The attributes as numbers. Raises IkeRefused where they contradict each other (RFC 2407 section 4.5)."""
    life_type, life_duration = _DURATIONS[phase]
    numbers: dict[int, int] = {}
    lifetimes: dict[int, int] = {}
    pending: int | None = None
    for attribute in attributes:
        if attribute.type == life_type:
            if pending is not None:
                raise _conflict("a life type without a duration")
            pending = attribute.number
        elif attribute.type == life_duration:
            if pending is None:
                raise _conflict("a life duration without a type")
            if lifetimes.setdefault(pending, attribute.number) != attribute.number:
                raise _conflict(f"two lifetimes of type {pending}")
            pending = None
        elif numbers.setdefault(attribute.type, attribute.number) != attribute.number:
            raise _conflict(f"two values of attribute {attribute.type}")
    if pending is not None:
        raise _conflict("a life type without a duration")
    return Values(numbers, lifetimes)


def _conflict(what: str) -> IkeRefused:
    return IkeRefused(Reason.IKE_ATTRIBUTE, f"a transform has {what}", NotifyType.ATTRIBUTES_NOT_SUPPORTED)


def _lifetime(ours: int, theirs: int | None) -> int:
    """The shorter one; zero says nothing."""
    return min(ours, theirs) if theirs else ours


# --- phase 1 ---------------------------------------------------------------------------------------------------------


def offer_phase1(proposals: Sequence[Phase1Proposal], method: AuthenticationMethod, lifetime: int) -> Proposal:
    """Every alternative as a transform of one proposal, preferred first."""
    transforms = []
    for number, one in enumerate(proposals, 1):
        attributes = [Attribute.of(Phase1Attribute.ENCRYPTION, one.cipher.number)]
        if one.cipher.key_length_attribute is not None:
            attributes.append(Attribute.of(Phase1Attribute.KEY_LENGTH, one.cipher.key_length_attribute))
        attributes += [
            Attribute.of(Phase1Attribute.HASH, one.hash.number),
            Attribute.of(Phase1Attribute.GROUP, one.group),
            Attribute.of(Phase1Attribute.AUTHENTICATION, method),
            Attribute.of(Phase1Attribute.LIFE_TYPE, SECONDS),
            Attribute.of(Phase1Attribute.LIFE_DURATION, lifetime),
        ]
        transforms.append(Transform(number, KEY_IKE, tuple(attributes)))
    return Proposal(1, Protocol.ISAKMP, b"", tuple(transforms))


@dataclass(frozen=True, slots=True)
class Phase1Choice:
    """One transform of phase 1, understood."""

    proposal: Phase1Proposal
    method: AuthenticationMethod
    # None where the transform has none.
    lifetime: int | None
    # The proposal with this transform alone, as an answer has it.
    answer: Proposal


def phase1_choices(offer: SecurityAssociation) -> list[Phase1Choice]:
    """The transforms of an offer that we understand, in its order. Raises IkeRefused for one that cannot be."""
    if len(offer.proposals) != 1:
        raise IkeRefused(
            Reason.IKE_PROPOSAL_SYNTAX,
            f"phase 1 has one proposal, {len(offer.proposals)} came",
            NotifyType.BAD_PROPOSAL_SYNTAX,
        )
    (proposal,) = offer.proposals
    if proposal.protocol != Protocol.ISAKMP:
        raise IkeRefused(
            Reason.IKE_PROPOSAL_SYNTAX,
            f"phase 1 is about protocol {Protocol.ISAKMP.value}, not {proposal.protocol}",
            NotifyType.INVALID_PROTOCOL_ID,
        )
    understood = (_understand_phase1(proposal, transform) for transform in proposal.transforms)
    return [choice for choice in understood if choice is not None]


def _understand_phase1(proposal: Proposal, transform: Transform) -> Phase1Choice | None:
    values = read_attributes(transform.attributes, 1)
    numbers = dict(values.numbers)
    cipher = _CIPHERS.get((numbers.pop(Phase1Attribute.ENCRYPTION, 0), numbers.pop(Phase1Attribute.KEY_LENGTH, None)))
    hash_ = _HASHES.get(numbers.pop(Phase1Attribute.HASH, 0))
    group = numbers.pop(Phase1Attribute.GROUP, 0)
    method = numbers.pop(Phase1Attribute.AUTHENTICATION, 0)
    group_type = numbers.pop(Phase1Attribute.GROUP_TYPE, _MODP)
    if (
        transform.id != KEY_IKE
        or cipher is None
        or hash_ is None
        or group not in GROUPS
        or method not in list(AuthenticationMethod)
        or group_type != _MODP
        or numbers  # something that we do not know
    ):
        return None
    answer = Proposal(proposal.number, proposal.protocol, b"", (transform,))
    lifetime = values.lifetimes.get(SECONDS)
    return Phase1Choice(Phase1Proposal(cipher, hash_, group), AuthenticationMethod(method), lifetime, answer)


def choose_phase1(
    offer: SecurityAssociation, acceptable: Sequence[Phase1Proposal], method: AuthenticationMethod, lifetime: int
) -> tuple[Phase1Proposal, int, Proposal]:
    """The first transform of the offer that we accept, the lifetime then, and our answer. Raises IkeRefused."""
    for choice in phase1_choices(offer):
        if choice.method is method and choice.proposal in acceptable:
            return choice.proposal, _lifetime(lifetime, choice.lifetime), choice.answer
    raise IkeRefused(
        Reason.IKE_NO_PROPOSAL,
        f"one of {', '.join(map(str, acceptable))} by {method.name} is needed",
        NotifyType.NO_PROPOSAL_CHOSEN,
    )


def accept_phase1(offered: Proposal, answer: SecurityAssociation) -> tuple[Phase1Proposal, int | None]:
    """Which of our transforms the answer names, and the lifetime in it. Raises IkeRefused for any other answer."""
    if len(answer.proposals) != 1 or not _is_one_of(offered, answer.proposals[0], phase=1):
        raise _changed()
    (choice,) = phase1_choices(answer)
    return choice.proposal, choice.lifetime


def _is_one_of(offered: Proposal, answered: Proposal, phase: int) -> bool:
    """Whether an answer is our proposal with exactly one of its transforms, whose values are unchanged."""
    if (answered.number, answered.protocol, len(answered.transforms)) != (offered.number, offered.protocol, 1):
        return False
    (chosen,) = answered.transforms
    return any(
        (chosen.number, chosen.id) == (one.number, one.id)
        and read_attributes(chosen.attributes, phase) == read_attributes(one.attributes, phase)
        for one in offered.transforms
    )


def _changed() -> IkeRefused:
    return IkeRefused(
        Reason.IKE_PROPOSAL_CHANGED,
        "the answer must be one of the offered transforms, unchanged",
        NotifyType.BAD_PROPOSAL_SYNTAX,
    )


# --- phase 2 ---------------------------------------------------------------------------------------------------------


def offer_phase2(policy: Phase2Policy, mode_value: int, spi: bytes) -> Proposal:
    """Every ESP proposal as a transform of one, preferred first."""
    transforms = []
    for number, one in enumerate(policy.proposals, 1):
        attributes = []
        if one.encryption.key_lengths[1:]:  # there is a choice
            attributes.append(Attribute.of(Phase2Attribute.KEY_LENGTH, one.key_length * 8))
        if one.integrity is not Integrity.NONE:
            attributes.append(Attribute.of(Phase2Attribute.AUTHENTICATION, _ESP_HASHES[one.integrity]))
        if policy.pfs_group is not None:
            attributes.append(Attribute.of(Phase2Attribute.GROUP, policy.pfs_group))
        attributes.append(Attribute.of(Phase2Attribute.MODE, mode_value))
        attributes += lifetime_attributes(policy.lifetime, policy.lifetime_kilobytes)
        transforms.append(Transform(number, _ESP_TRANSFORMS[one.encryption], tuple(attributes)))
    return Proposal(1, Protocol.ESP, spi, tuple(transforms))


def lifetime_attributes(seconds: int, kilobytes: int) -> list[Attribute]:
    """A pair of attributes for each limit there is; also the data of RESPONDER-LIFETIME (RFC 2407 4.6.3.1)."""
    attributes = []
    for life_type, duration in ((SECONDS, seconds), (KILOBYTES, kilobytes)):
        if duration:
            attributes.append(Attribute.of(Phase2Attribute.LIFE_TYPE, life_type))
            attributes.append(Attribute.of(Phase2Attribute.LIFE_DURATION, duration))
    return attributes


@dataclass(frozen=True, slots=True)
class Phase2Choice:
    """What quick mode agreed on."""

    proposal: Phase2Proposal
    # Of whoever sent the proposal that was read.
    spi: bytes
    lifetime: int
    lifetime_kilobytes: int
    # The proposal with the chosen transform alone, and the SPI it came with.
    answer: Proposal


def choose_phase2(offer: SecurityAssociation, policy: Phase2Policy, mode_value: int) -> Phase2Choice:
    """The first transform of the offer that the policy accepts. Raises IkeRefused.

    A proposal whose number another one shares is one half of a bundle, which we do not do.
    """
    numbers = [proposal.number for proposal in offer.proposals]
    for proposal in offer.proposals:
        if proposal.protocol != Protocol.ESP or numbers.count(proposal.number) > 1:
            continue
        for transform in proposal.transforms:
            chosen = _understand_phase2(transform, policy.pfs_group, mode_value)
            if chosen is None or chosen not in policy.proposals:
                continue
            check_spi(proposal.spi)
            lifetimes = read_attributes(transform.attributes, 2).lifetimes
            theirs_kilobytes = lifetimes.get(KILOBYTES, 0)
            ours_kilobytes = policy.lifetime_kilobytes
            return Phase2Choice(
                chosen,
                proposal.spi,
                _lifetime(policy.lifetime, lifetimes.get(SECONDS, DEFAULT_LIFETIME)),
                min(ours_kilobytes or theirs_kilobytes, theirs_kilobytes or ours_kilobytes),
                Proposal(proposal.number, proposal.protocol, proposal.spi, (transform,)),
            )
    raise IkeRefused(
        Reason.IKE_NO_PROPOSAL,
        f"ESP with one of {', '.join(map(_name, policy.proposals))} in mode {mode_value} is needed, "
        f"{f'with group {policy.pfs_group}' if policy.pfs_group else 'without a group'}",
        NotifyType.NO_PROPOSAL_CHOSEN,
    )


def _understand_phase2(transform: Transform, pfs_group: int | None, mode_value: int) -> Phase2Proposal | None:
    numbers = dict(read_attributes(transform.attributes, 2).numbers)
    encryption = _BY_TRANSFORM.get(transform.id)
    hashed = numbers.pop(Phase2Attribute.AUTHENTICATION, None)
    bits = numbers.pop(Phase2Attribute.KEY_LENGTH, None)
    group = numbers.pop(Phase2Attribute.GROUP, None)
    mode = numbers.pop(Phase2Attribute.MODE, None)
    if encryption is None or group != pfs_group or mode != mode_value or numbers:
        return None
    if encryption.key_lengths[1:]:
        key_length = bits // 8 if bits is not None and bits % 8 == 0 else -1
    else:
        key_length = encryption.key_lengths[0] if bits is None else -1
    integrity = Integrity.NONE if hashed is None else _BY_HASH.get(hashed)
    fits = integrity is not None and encryption.is_aead is (integrity is Integrity.NONE)
    if integrity is None or not fits or key_length not in encryption.key_lengths:
        return None
    return Phase2Proposal(encryption, key_length, integrity)


def accept_phase2(
    offered: Proposal, answer: SecurityAssociation, policy: Phase2Policy, mode_value: int
) -> Phase2Choice:
    """What the answer chose of our offer. Raises IkeRefused for any other answer."""
    if len(answer.proposals) != 1 or not _is_one_of(offered, answer.proposals[0], phase=2):
        raise _changed()
    return choose_phase2(answer, policy, mode_value)


def check_spi(spi: bytes) -> None:
    """Raises IkeRefused for an SPI that no ESP packet may carry."""
    if len(spi) != SPI_LENGTH or int.from_bytes(spi, "big") < FIRST_SPI:
        raise IkeRefused(
            Reason.IKE_PROPOSAL_SYNTAX,
            f"an ESP SPI has {SPI_LENGTH} bytes and is {FIRST_SPI} or more, {spi.hex() or 'none'} came",
            NotifyType.INVALID_SPI,
        )


def _name(proposal: Phase2Proposal) -> str:
    integrity = "" if proposal.integrity is Integrity.NONE else f" with {proposal.integrity.value}"
    return f"{proposal.encryption.value} {proposal.key_length * 8}{integrity}"
