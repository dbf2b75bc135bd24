"""Quick mode: three messages that make one pair of ESP associations (RFC 2409 section 5.5; the digest's section 7).

    1 I  * HASH(1), SA, Ni, [KE], IDci, IDcr, [NAT-OA..]
    2 R  * HASH(2), SA, Nr, [KE], IDci, IDcr, [NAT-OA..]
    3 I  * HASH(3)

Whoever sets the commit bit says at the end, in quick mode or in an informational message, that it is connected; until
then the other does not send. We never set it. The SPI of each direction is its receiver's choice.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nicsim.errors import IkeRefused
from nicsim.events import OriginalAddresses, Role, Selector
from nicsim.host.ike.config import Connection, Phase2Policy
from nicsim.host.ike.exchange import Answer, Arrived, Means, Seal, State, Step
from nicsim.host.ike.identity import Identity
from nicsim.host.ike.keys import EXPONENT_LENGTH, GROUPS, IkeKeys
from nicsim.host.ike.natt import NattVersion, original_addresses
from nicsim.host.ike.phase1 import NONCE_LENGTH, read_nonce
from nicsim.host.ike.proposals import (
    SECONDS,
    Phase2Choice,
    accept_phase2,
    choose_phase2,
    lifetime_attributes,
    offer_phase2,
    read_attributes,
)
from nicsim.host.ike.selectors import build_selector, parse_selector, selector_of_host, selector_of_name
from nicsim.ipsec.association import Mode
from nicsim.ipsec.transforms import SaKeys
from nicsim.reasons import Reason
from nicsim.wire.isakmp import Flags, NotifyType, Payload, PayloadType, build_chain
from nicsim.wire.isakmp_payloads import (
    Identification,
    Notification,
    OriginalAddress,
    Proposal,
    Protocol,
    SecurityAssociation,
    parse_attributes,
    parse_identification,
    parse_notification,
    parse_original_address,
    parse_security_association,
)

_NATIVE_MODES = {Mode.TUNNEL: 1, Mode.TRANSPORT: 2}


@dataclass(frozen=True, slots=True, repr=False)
class QuickMode:
    """One quick mode so far, and what of its ISAKMP SA it depends on."""

    role: Role
    message_id: int
    ike_keys: IkeKeys
    # The first is ours; a responder has all that its peer might mean, until the peer says which.
    candidates: tuple[Connection, ...]
    # 4 bytes: what the peer is to send with.
    inbound_spi: bytes
    # The two ends' own addresses, as this host has them.
    local_address: bytes
    remote_address: bytes
    # Present if ESP rides in UDP.
    natt: NattVersion | None = None
    peer_behind_nat: bool = False
    we_behind_nat: bool = False
    # Who the two ends proved to be.
    local_identity: Identity | None = None
    remote_identity: Identity | None = None
    state: State = State.START
    # Of the next message.
    iv: bytes = b""
    offered: Proposal | None = None
    choice: Phase2Choice | None = None
    outbound_spi: bytes = b""
    lifetime: int = 0
    exponent: bytes = b""
    ni_b: bytes = b""
    nr_b: bytes = b""
    g_qm_xy: bytes = b""
    # As our side has them: what we send from, and to.
    local_selector: Selector | None = None
    remote_selector: Selector | None = None
    local_original: OriginalAddresses | None = None
    remote_original: OriginalAddresses | None = None
    # Whether the peer set the commit bit.
    committed: bool = False

    @property
    def policy(self) -> Phase2Policy:
        """What may be agreed on."""
        return self.candidates[0].phase2

    @property
    def mode_value(self) -> int:
        """The encapsulation mode attribute that this path needs (RFC 3947 section 5.1)."""
        mode = self.policy.mode
        return _NATIVE_MODES[mode] if self.natt is None else self.natt.mode_value(mode)

    @property
    def ids_b(self) -> bytes:
        """M-ID as the hashes have it."""
        return self.message_id.to_bytes(4, "big")

    def keys(self, *, inbound: bool) -> SaKeys:
        """The algorithms and keys of one direction, once all is agreed."""
        assert self.choice is not None
        proposal = self.choice.proposal
        encryption, integrity = proposal.encryption, proposal.integrity
        key_end = proposal.key_length
        salt_end = key_end + encryption.salt_length
        length = salt_end + integrity.key_length
        spi = self.inbound_spi if inbound else self.outbound_spi
        keymat = self.ike_keys.keymat(length, Protocol.ESP, spi, self.ni_b, self.nr_b, self.g_qm_xy)
        return SaKeys(encryption, keymat[:key_end], integrity, keymat[salt_end:], keymat[key_end:salt_end])

    def __repr__(self) -> str:
        return f"QuickMode({self.role.value}, {self.message_id:08x}, {self.state.name})"


def begin(quick: QuickMode, means: Means) -> tuple[QuickMode, Answer]:
    """Message 1."""
    policy = quick.policy
    offered = offer_phase2(policy, quick.mode_value, quick.inbound_spi)
    local = policy.local_selector or selector_of_host(quick.local_address)
    remote = policy.remote_selector or selector_of_host(quick.remote_address)
    ids = _own_end(quick, local), build_selector(remote).build()
    quick = replace(quick, offered=offered, local_selector=local, remote_selector=remote, state=State.SA_SENT)
    quick, keys = _offer_key(quick, means)
    quick, originals = _offer_originals(quick)
    payloads = [
        Payload(PayloadType.SECURITY_ASSOCIATION, SecurityAssociation((offered,)).build()),
        *keys,
        *(Payload(PayloadType.IDENTIFICATION, body) for body in ids),
        *originals,
    ]
    return quick, _hashed(quick, b"", payloads)


def agree(quick: QuickMode, arrived: Arrived, means: Means) -> tuple[QuickMode, Answer]:
    """Message 1 came, message 2 goes; what the initiator is to send can be received from now on."""
    _check_hash(quick, arrived, b"")
    offer = parse_security_association(arrived.one(PayloadType.SECURITY_ASSOCIATION))
    quick = replace(quick, ni_b=read_nonce(arrived), committed=bool(arrived.message.header.flags & Flags.COMMIT))
    quick, choice = _choose_policy(_read_selectors(quick, arrived), offer)
    quick = _read_originals(quick, arrived)
    quick, keys = _offer_key(quick, means)
    quick = _read_key(quick, arrived)
    quick, originals = _offer_originals(quick)
    answer = replace(choice.answer, spi=quick.inbound_spi)
    payloads = [
        Payload(PayloadType.SECURITY_ASSOCIATION, SecurityAssociation((answer,)).build()),
        *keys,
        *(Payload(PayloadType.IDENTIFICATION, body) for body in arrived.all(PayloadType.IDENTIFICATION)),
        *originals,
        *_shorter_lifetime(quick, offer),
    ]
    return quick, _hashed(quick, quick.ni_b, payloads)


def accept(quick: QuickMode, arrived: Arrived, means: Means) -> tuple[QuickMode, Answer]:
    """Message 2 came, message 3 goes."""
    _check_hash(quick, arrived, quick.ni_b)
    assert quick.offered is not None
    answer = parse_security_association(arrived.one(PayloadType.SECURITY_ASSOCIATION))
    choice = accept_phase2(quick.offered, answer, quick.policy, quick.mode_value)
    _check_selectors_repeated(quick, arrived)
    quick = replace(
        quick,
        choice=choice,
        outbound_spi=choice.spi,
        lifetime=_told_lifetime(arrived, choice.lifetime),
        nr_b=read_nonce(arrived),
    )
    quick = _read_key(_read_originals(quick, arrived), arrived)
    quick = _unless_committed(quick, arrived)
    return quick, (Payload(PayloadType.HASH, quick.ike_keys.prf_a(b"\0" + quick.ids_b + quick.ni_b + quick.nr_b)),)


def confirm(quick: QuickMode, arrived: Arrived, means: Means) -> tuple[QuickMode, Answer]:
    """Message 3 came: the initiator lives, and may be sent to."""
    hashed = quick.ike_keys.prf_a(b"\0" + quick.ids_b + quick.ni_b + quick.nr_b)
    if not hmac.compare_digest(_first_hash(arrived), hashed):
        raise _wrong_hash()
    return _unless_committed(quick, arrived), ()


def connect(quick: QuickMode, arrived: Arrived, means: Means) -> tuple[QuickMode, Answer]:
    """The message more of a peer that had set the commit bit."""
    _check_hash(quick, arrived, b"")
    if parse_notification(arrived.one(PayloadType.NOTIFICATION)).type != NotifyType.CONNECTED:
        raise IkeRefused(Reason.IKE_UNEXPECTED, "CONNECTED is waited for, another notification came")
    return quick, ()


def _unless_committed(quick: QuickMode, arrived: Arrived) -> QuickMode:
    """A peer that sets the commit bit in any of its messages wants to be waited for (RFC 2408 section 3.1)."""
    committed = quick.committed or bool(arrived.message.header.flags & Flags.COMMIT)
    return replace(quick, state=State.COMMITTING) if committed else quick


_OFFER = (PayloadType.HASH, PayloadType.SECURITY_ASSOCIATION, PayloadType.NONCE)
_HASH = (PayloadType.HASH,)
_CONNECTED = (PayloadType.HASH, PayloadType.NOTIFICATION)

SEALED, NOTHING = Seal.SEALED, Seal.NOTHING

# fmt: off
STEPS: dict[tuple[Role, State], Step[QuickMode]] = {
    # who and where we are                   comes   with        we do    and send then
    (Role.RESPONDER, State.START):      Step(SEALED, _OFFER,     agree,   SEALED,  State.SA_SENT,     repeats=True),
    (Role.INITIATOR, State.SA_SENT):    Step(SEALED, _OFFER,     accept,  SEALED,  State.ESTABLISHED),
    (Role.RESPONDER, State.SA_SENT):    Step(SEALED, _HASH,      confirm, NOTHING, State.ESTABLISHED),
    (Role.INITIATOR, State.COMMITTING): Step(SEALED, _CONNECTED, connect, NOTHING, State.ESTABLISHED),
    (Role.RESPONDER, State.COMMITTING): Step(SEALED, _CONNECTED, connect, NOTHING, State.ESTABLISHED),
}
# fmt: on


# --- hashes ----------------------------------------------------------------------------------------------------------


def _hashed(quick: QuickMode, nonce: bytes, payloads: Sequence[Payload]) -> Answer:
    """The payloads behind the hash of them all: HASH(1) without a nonce, HASH(2) with the initiator's."""
    hashed = quick.ike_keys.prf_a(quick.ids_b + nonce + build_chain(tuple(payloads)))
    return (Payload(PayloadType.HASH, hashed), *payloads)


def _check_hash(quick: QuickMode, arrived: Arrived, nonce: bytes) -> None:
    covered = build_chain(arrived.message.payloads[1:])
    if not hmac.compare_digest(_first_hash(arrived), quick.ike_keys.prf_a(quick.ids_b + nonce + covered)):
        raise _wrong_hash()


def _first_hash(arrived: Arrived) -> bytes:
    first = arrived.message.payloads[0]
    if first.type != PayloadType.HASH:
        raise IkeRefused(Reason.IKE_UNEXPECTED, "the hash must come first", NotifyType.INVALID_HASH_INFORMATION)
    return first.body


def _wrong_hash() -> IkeRefused:
    return IkeRefused(Reason.IKE_AUTHENTICATION, "the hash is wrong", NotifyType.AUTHENTICATION_FAILED)


# --- nonce and KE ----------------------------------------------------------------------------------------------------


def _offer_key(quick: QuickMode, means: Means) -> tuple[QuickMode, list[Payload]]:
    """Our nonce, and our KE with perfect forward secrecy."""
    nonce = means.random(NONCE_LENGTH)
    payloads = [Payload(PayloadType.NONCE, nonce)]
    quick = replace(quick, ni_b=nonce) if quick.role is Role.INITIATOR else replace(quick, nr_b=nonce)
    group = quick.policy.pfs_group
    if group is not None:
        exponent = means.random(EXPONENT_LENGTH)
        payloads.append(Payload(PayloadType.KEY_EXCHANGE, GROUPS[group].public(exponent)))
        quick = replace(quick, exponent=exponent)
    return quick, payloads


def _read_key(quick: QuickMode, arrived: Arrived) -> QuickMode:
    """The shared secret, where the policy has a group; a KE without one is refused like the missing one."""
    group = quick.policy.pfs_group
    if group is None:
        if arrived.all(PayloadType.KEY_EXCHANGE):
            raise IkeRefused(
                Reason.IKE_KEY_EXCHANGE, "a KE payload came without a group", NotifyType.INVALID_KEY_INFORMATION
            )
        return quick
    g_qm_xy = GROUPS[group].shared(quick.exponent, arrived.one(PayloadType.KEY_EXCHANGE))
    return replace(quick, g_qm_xy=g_qm_xy, exponent=b"")


# --- lifetimes -------------------------------------------------------------------------------------------------------


def _shorter_lifetime(quick: QuickMode, offer: SecurityAssociation) -> list[Payload]:
    """RESPONDER-LIFETIME, if we want less than was offered (RFC 2407 section 4.6.3.1)."""
    assert quick.choice is not None
    offered = read_attributes(quick.choice.answer.transforms[0].attributes, 2).lifetimes.get(SECONDS, 0)
    if not offered or quick.lifetime >= offered:
        return []
    data = b"".join(attribute.build() for attribute in lifetime_attributes(quick.lifetime, 0))
    told = Notification(NotifyType.RESPONDER_LIFETIME, Protocol.ESP, quick.inbound_spi, data)
    return [Payload(PayloadType.NOTIFICATION, told.build())]


def _told_lifetime(arrived: Arrived, lifetime: int) -> int:
    for body in arrived.all(PayloadType.NOTIFICATION):
        notification = parse_notification(body)
        if notification.type == NotifyType.RESPONDER_LIFETIME and notification.protocol == Protocol.ESP:
            told = read_attributes(parse_attributes(notification.data), 2).lifetimes.get(SECONDS)
            lifetime = min(lifetime, told) if told else lifetime
    return lifetime


# --- selectors -------------------------------------------------------------------------------------------------------


def _own_end(quick: QuickMode, selector: Selector) -> bytes:
    """The initiator's own end: in the first draft's transport mode by its name, because its address is translated."""
    natt, name = quick.natt, quick.local_identity
    translated = natt is not None and natt.names_ends and quick.policy.mode is Mode.TRANSPORT
    if translated and name is not None and not name.is_address:
        return Identification(name.type, name.data, selector.protocol, selector.port).build()
    return build_selector(selector).build()


def _end(quick: QuickMode, body: bytes, name: Identity | None, address: bytes) -> Selector:
    """What an ID payload selects. A name, where the version has them here, is that of the end itself."""
    said = parse_identification(body)
    if quick.natt is not None and quick.natt.names_ends and (named := selector_of_name(said, name, address)):
        return named
    return parse_selector(said)


def _read_selectors(quick: QuickMode, arrived: Arrived) -> QuickMode:
    """What the initiator wants a pair for, and the candidates whose policy has it. Raises IkeRefused."""
    bodies = arrived.all(PayloadType.IDENTIFICATION)
    if len(bodies) not in (0, 2):
        raise _bad_selectors(f"two ID payloads are needed, or none, {len(bodies)} came")
    if bodies:
        remote = _end(quick, bodies[0], quick.remote_identity, quick.remote_address)
        local = _end(quick, bodies[1], quick.local_identity, quick.local_address)
    else:  # the two ends themselves, all they say
        remote, local = selector_of_host(quick.remote_address), selector_of_host(quick.local_address)

    def has(policy: Phase2Policy) -> bool:
        mode, given = policy.mode, policy.given_to(quick.remote_identity)
        if not _allowed(policy.local_selector, local, quick.local_address, quick.we_behind_nat, mode):
            return False
        if given is not None:
            return given.covers(remote)
        free = not any(one.network.overlaps(remote.network) for _, one in policy.assigned)
        return free and _allowed(policy.remote_selector, remote, quick.remote_address, quick.peer_behind_nat, mode)

    candidates = tuple(one for one in quick.candidates if has(one.phase2))
    if not candidates:
        raise _bad_selectors(f"no policy has {local} here and {remote} there")
    return replace(quick, candidates=candidates, local_selector=local, remote_selector=remote)


def _choose_policy(quick: QuickMode, offer: SecurityAssociation) -> tuple[QuickMode, Phase2Choice]:
    """The first candidate that accepts one of the proposals, and which. Raises IkeRefused."""
    refusal: IkeRefused | None = None
    for candidate in quick.candidates:
        chosen = replace(quick, candidates=(candidate,))
        try:
            choice = choose_phase2(offer, chosen.policy, chosen.mode_value)
        except IkeRefused as error:
            refusal = error
            continue
        return replace(chosen, choice=choice, outbound_spi=choice.spi, lifetime=choice.lifetime), choice
    assert refusal is not None  # there is no quick mode without a candidate
    raise refusal


def _allowed(policy: Selector | None, said: Selector, address: bytes, behind_nat: bool, mode: Mode) -> bool:
    """Whether a policy allows what the initiator says of one end.

    In transport mode an end behind a NAT is named by another address than the one this side sees or has, so any one
    host will do; which packets these are is known by the association (digest nat-traversal.md section 7).
    """
    if mode is Mode.TRANSPORT and behind_nat and said.network.num_addresses == 1:
        return policy is None or (policy.protocol in (0, said.protocol) and policy.port in (0, said.port))
    return (policy or selector_of_host(address)).covers(said)


def _check_selectors_repeated(quick: QuickMode, arrived: Arrived) -> None:
    """The responder repeats our ID payloads, in our order. Raises IkeRefused.

    In transport mode some write the address that they see in place of that of an end behind a NAT, as strongSwan does.
    """
    assert quick.local_selector is not None
    assert quick.remote_selector is not None
    bodies = arrived.all(PayloadType.IDENTIFICATION)
    if len(bodies) != 2:
        raise _bad_selectors(f"the answer must repeat the two ID payloads, {len(bodies)} came")
    said = (
        _end(quick, bodies[0], quick.local_identity, quick.local_address),
        _end(quick, bodies[1], quick.remote_identity, quick.remote_address),
    )
    ends = ((quick.local_selector, quick.we_behind_nat), (quick.remote_selector, quick.peer_behind_nat))
    for its, (ours, behind_nat) in zip(said, ends, strict=True):
        translated = quick.policy.mode is Mode.TRANSPORT and behind_nat and its.network.num_addresses == 1
        if its != (replace(ours, network=its.network) if translated else ours):
            raise _bad_selectors(f"the answer must repeat the ID payloads: {ours} was sent, {its} came")


def _bad_selectors(detail: str) -> IkeRefused:
    return IkeRefused(Reason.IKE_SELECTORS, detail, NotifyType.INVALID_ID_INFORMATION)


# --- NAT-OA ----------------------------------------------------------------------------------------------------------


def _offer_originals(quick: QuickMode) -> tuple[QuickMode, list[Payload]]:
    """Our NAT-OA payloads, for transport mode in UDP only (RFC 3947 section 5.2); the first draft has none."""
    if quick.natt is None or quick.natt.original_address_payload is None or quick.policy.mode is Mode.TUNNEL:
        return quick, []
    we_initiate = quick.role is Role.INITIATOR
    pair = (quick.local_address, quick.remote_address)
    initiator, responder = pair if we_initiate else pair[::-1]
    addresses = original_addresses(quick.natt, initiator, responder, we_initiate=we_initiate)
    said = OriginalAddresses(
        initiator if initiator in addresses else None, responder if responder in addresses else None
    )
    type_ = quick.natt.original_address_payload
    payloads = [Payload(type_, OriginalAddress(address).build()) for address in addresses]
    return replace(quick, local_original=said), payloads


def _read_originals(quick: QuickMode, arrived: Arrived) -> QuickMode:
    """The peer's NAT-OA payloads; with the early drafts they may be missing where they would say nothing new."""
    if quick.natt is None or quick.natt.original_address_payload is None or quick.policy.mode is Mode.TUNNEL:
        return quick
    bodies = [
        payload.body for payload in arrived.message.payloads if payload.type == quick.natt.original_address_payload
    ]
    addresses = [parse_original_address(body).address for body in bodies]
    expected = quick.natt.original_addresses
    if len(addresses) != expected and not (expected == 1 and not addresses):
        raise IkeRefused(
            Reason.IKE_UNEXPECTED,
            f"{quick.natt} needs {expected} NAT-OA payloads for transport mode, {len(addresses)} came",
            NotifyType.PAYLOAD_MALFORMED,
        )
    if not addresses:
        return quick
    if expected == 2:
        return replace(quick, remote_original=OriginalAddresses(*addresses))
    if quick.role is Role.INITIATOR:
        return replace(quick, remote_original=OriginalAddresses(None, addresses[0]))
    return replace(quick, remote_original=OriginalAddresses(addresses[0], None))
