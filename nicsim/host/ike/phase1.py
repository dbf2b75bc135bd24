"""Phase 1 as far as main and aggressive mode agree: the state, and what its messages carry.

Each function here makes or reads one kind of payload and is named for it (RFC 2409 section 5, RFC 3947 sections 3
and 4). main_mode.py and aggressive_mode.py say when.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from nicsim.errors import IkeRefused
from nicsim.events import Endpoint, Nat, Role
from nicsim.host.ike.authentication import PreSharedKey, RsaCredentials, trusted_key, verify_signature
from nicsim.host.ike.config import Connection, IkeConfig, NattPolicy, Phase1Policy, Phase1Proposal
from nicsim.host.ike.exchange import Arrived, Means, State
from nicsim.host.ike.identity import Identity
from nicsim.host.ike.keys import (
    EXPONENT_LENGTH,
    GROUPS,
    IkeKeys,
    derive,
    phase1_iv,
    skeyid_of_psk,
    skeyid_of_signatures,
)
from nicsim.host.ike.natt import (
    DEAD_PEER_DETECTION,
    FRAGMENTATION,
    FRAGMENTATION_CAPABILITIES,
    Discovery,
    NattVersion,
    choose_version,
    vendor_ids_to_offer,
    version_shown,
)
from nicsim.host.ike.proposals import AuthenticationMethod, accept_phase1, choose_phase1, offer_phase1
from nicsim.reasons import Reason
from nicsim.wire.isakmp import COOKIE_LENGTH, ExchangeType, NotifyType, Payload, PayloadType
from nicsim.wire.isakmp_payloads import (
    Certificate,
    CertificateEncoding,
    Identification,
    IdentificationType,
    Notification,
    Proposal,
    SecurityAssociation,
    parse_certificate,
    parse_identification,
    parse_security_association,
)

NONCE_LENGTH = 32
NONCE_LENGTHS = range(8, 257)
NO_COOKIE = bytes(COOKIE_LENGTH)
_UDP = 17
_PHASE_1_PORTS = ((0, 0), (_UDP, 0), (_UDP, 500))


@dataclass(frozen=True, slots=True, repr=False)
class Phase1:
    """One phase 1 so far. What a side does not know yet is None or empty."""

    role: Role
    exchange: ExchangeType
    # What it is for; as long as the peer has not said who it is, whatever it may turn out to be for.
    candidates: tuple[Connection, ...]
    # The ends of the way that our next message takes.
    local: Endpoint
    remote: Endpoint
    initiator_cookie: bytes
    responder_cookie: bytes = NO_COOKIE
    state: State = State.START
    # The body of the initiator's SA payload, and what we offered in it.
    sai_b: bytes = b""
    offered: Proposal | None = None
    proposal: Phase1Proposal | None = None
    lifetime: int = 0
    # g^x: our exponent, and both public values and nonces.
    exponent: bytes = b""
    g_xi: bytes = b""
    g_xr: bytes = b""
    ni_b: bytes = b""
    nr_b: bytes = b""
    keys: IkeKeys | None = None
    # Of the next encrypted message; when all is done, the last block of phase 1.
    iv: bytes = b""
    peer_identity: Identity | None = None
    # The body of its ID payload.
    peer_id_b: bytes = b""
    # The vendor id that the version of NAT traversal was announced with.
    natt: NattVersion | None = None
    natt_vendor_id: bytes = b""
    nat: Nat = Nat.NONE
    # Whether we claim to be behind a NAT, wherever we are.
    lied: bool = False
    peer_vendor_ids: frozenset[bytes] = field(default_factory=frozenset)
    # Whether we say that we remember nothing of this peer.
    first_contact: bool = False

    @property
    def policy(self) -> Phase1Policy:
        """The candidates share what matters of it."""
        return self.candidates[0].phase1

    @property
    def method(self) -> AuthenticationMethod:
        """As the attribute has it."""
        return method_of(self.policy)

    @property
    def encapsulated(self) -> bool:
        """Whether ESP rides in UDP: a NAT was found, or one of us claimed one."""
        return self.natt is not None and (self.nat is not Nat.NONE or self.lied)

    @property
    def peer_detects_death(self) -> bool:
        """Whether the peer answers R-U-THERE."""
        return DEAD_PEER_DETECTION in self.peer_vendor_ids

    @property
    def peer_takes_fragments(self) -> bool:
        """Whether the peer puts fragments together; capability bytes may follow the id."""
        return any(vendor_id.startswith(FRAGMENTATION) for vendor_id in self.peer_vendor_ids)

    def __repr__(self) -> str:
        cookies = f"{self.initiator_cookie.hex()}, {self.responder_cookie.hex()}"
        return f"Phase1({self.role.value}, {self.exchange.name}, {cookies}, {self.state.name})"


def method_of(policy: Phase1Policy) -> AuthenticationMethod:
    """How a policy authenticates."""
    if isinstance(policy.authentication, PreSharedKey):
        return AuthenticationMethod.PRE_SHARED_KEY
    return AuthenticationMethod.RSA_SIGNATURE


# --- SA and vendor ids -----------------------------------------------------------------------------------------------


def offer_proposals(phase1: Phase1, proposals: tuple[Phase1Proposal, ...]) -> tuple[Phase1, list[Payload]]:
    """Our SA payload."""
    offered = offer_phase1(proposals, phase1.method, phase1.policy.lifetime)
    sai_b = SecurityAssociation((offered,)).build()
    return replace(phase1, offered=offered, sai_b=sai_b), [Payload(PayloadType.SECURITY_ASSOCIATION, sai_b)]


def choose_proposal(phase1: Phase1, arrived: Arrived) -> tuple[Phase1, list[Payload]]:
    """The SA payload of the responder: the first transform that one of the candidates accepts."""
    sai_b = arrived.one(PayloadType.SECURITY_ASSOCIATION)
    offer = parse_security_association(sai_b)
    refusal: IkeRefused | None = None
    for candidate in phase1.candidates:
        policy = candidate.phase1
        try:
            proposal, lifetime, answer = choose_phase1(offer, policy.proposals, method_of(policy), policy.lifetime)
        except IkeRefused as error:
            refusal = error
            continue
        # From here on only those will do that would have chosen the same and use the same key.
        alike = tuple(
            one
            for one in phase1.candidates
            if one.phase1.authentication == policy.authentication and proposal in one.phase1.proposals
        )
        chosen = replace(
            phase1,
            candidates=(candidate, *(one for one in alike if one is not candidate)),
            sai_b=sai_b,
            proposal=proposal,
            lifetime=lifetime,
        )
        return chosen, [Payload(PayloadType.SECURITY_ASSOCIATION, SecurityAssociation((answer,)).build())]
    assert refusal is not None  # there is no phase 1 without a candidate
    raise refusal


def accept_proposal(phase1: Phase1, arrived: Arrived) -> Phase1:
    """The initiator reads which of its transforms was chosen."""
    assert phase1.offered is not None
    answer = parse_security_association(arrived.one(PayloadType.SECURITY_ASSOCIATION))
    proposal, lifetime = accept_phase1(phase1.offered, answer)
    ours = phase1.policy.lifetime
    return replace(phase1, proposal=proposal, lifetime=min(ours, lifetime) if lifetime else ours)


def read_responder_cookie(phase1: Phase1, arrived: Arrived) -> Phase1:
    """The responder's choice, in its first message. Raises IkeRefused if it made none."""
    cookie = arrived.message.header.responder_cookie
    if cookie == NO_COOKIE:
        raise IkeRefused(Reason.IKE_COOKIE, "an answer has a responder cookie", NotifyType.INVALID_COOKIE)
    return replace(phase1, responder_cookie=cookie)


def offer_vendor_ids(phase1: Phase1) -> list[Payload]:
    """What the initiator can do."""
    versions = () if phase1.policy.natt is NattPolicy.OFF else phase1.policy.natt_versions
    return _vendor_ids([*_always(phase1), *vendor_ids_to_offer(versions)])


def answer_vendor_ids(phase1: Phase1) -> list[Payload]:
    """What the responder can do, with the one version of NAT traversal that it chose."""
    return _vendor_ids([*_always(phase1), *([phase1.natt_vendor_id] if phase1.natt else [])])


def repeat_vendor_id(phase1: Phase1) -> list[Payload]:
    """In message 3 of main mode the initiator says once more what it took up, where NAT-D comes with it there first."""
    if phase1.natt is None or 2 not in phase1.natt.discovery_messages:
        return []
    return _vendor_ids([phase1.natt_vendor_id])


def _always(phase1: Phase1) -> list[bytes]:
    # Questions after us are answered in any case, so this is no choice.
    fragments = [] if phase1.policy.fragment_above is None else [FRAGMENTATION + FRAGMENTATION_CAPABILITIES]
    return [DEAD_PEER_DETECTION, *fragments]


def _vendor_ids(values: Iterable[bytes]) -> list[Payload]:
    return [Payload(PayloadType.VENDOR_ID, value) for value in values]


def read_vendor_ids(phase1: Phase1, arrived: Arrived) -> Phase1:
    """What the peer can do, and the version of NAT traversal to use. Raises IkeRefused if one is demanded."""
    announced = arrived.all(PayloadType.VENDOR_ID)
    policy = phase1.policy
    versions = () if policy.natt is NattPolicy.OFF else policy.natt_versions
    chosen = choose_version(versions, announced)
    if chosen is None and (phase1.role, phase1.exchange) == (Role.INITIATOR, ExchangeType.MAIN):
        chosen = version_shown(versions, arrived.message.payloads)
    if chosen is None and policy.natt is NattPolicy.FORCE:
        raise _no_nat_traversal("the peer announced no version of NAT traversal that we know")
    natt, vendor_id = chosen or (None, b"")
    return replace(
        phase1,
        natt=natt,
        natt_vendor_id=vendor_id,
        lied=policy.natt is NattPolicy.FORCE,
        peer_vendor_ids=frozenset(announced),
    )


def _no_nat_traversal(detail: str) -> IkeRefused:
    return IkeRefused(Reason.IKE_NO_NAT_TRAVERSAL, detail, NotifyType.NO_PROPOSAL_CHOSEN)


# --- KE and nonce ----------------------------------------------------------------------------------------------------


def offer_key(phase1: Phase1, means: Means) -> tuple[Phase1, list[Payload]]:
    """Our KE and nonce payloads, of the chosen group; before there is one, of the first that we offered."""
    group = (phase1.proposal or phase1.policy.proposals[0]).group
    exponent, nonce = means.random(EXPONENT_LENGTH), means.random(NONCE_LENGTH)
    public = GROUPS[group].public(exponent)
    payloads = [Payload(PayloadType.KEY_EXCHANGE, public), Payload(PayloadType.NONCE, nonce)]
    if phase1.role is Role.INITIATOR:
        return replace(phase1, exponent=exponent, g_xi=public, ni_b=nonce), payloads
    return replace(phase1, exponent=exponent, g_xr=public, nr_b=nonce), payloads


def read_key(phase1: Phase1, arrived: Arrived) -> Phase1:
    """The peer's public value and nonce; the value is checked where it is used."""
    public = arrived.one(PayloadType.KEY_EXCHANGE)
    nonce = read_nonce(arrived)
    if phase1.role is Role.INITIATOR:
        return replace(phase1, g_xr=public, nr_b=nonce)
    return replace(phase1, g_xi=public, ni_b=nonce)


def read_nonce(arrived: Arrived) -> bytes:
    """Raises IkeRefused for one of a wrong length."""
    nonce = arrived.one(PayloadType.NONCE)
    if len(nonce) not in NONCE_LENGTHS:
        raise IkeRefused(
            Reason.IKE_NONCE, f"a nonce has 8 to 256 bytes, {len(nonce)} came", NotifyType.PAYLOAD_MALFORMED
        )
    return nonce


def derive_keys(phase1: Phase1) -> Phase1:
    """All keys, and the first IV; the exponent is not needed any more. Raises IkeRefused for a bad public value."""
    assert phase1.proposal is not None
    hash_, cipher = phase1.proposal.hash, phase1.proposal.cipher
    theirs = phase1.g_xr if phase1.role is Role.INITIATOR else phase1.g_xi
    g_xy = GROUPS[phase1.proposal.group].shared(phase1.exponent, theirs)
    authentication = phase1.policy.authentication
    if isinstance(authentication, PreSharedKey):
        skeyid = skeyid_of_psk(hash_, authentication.key, phase1.ni_b, phase1.nr_b)
    else:
        skeyid = skeyid_of_signatures(hash_, phase1.ni_b, phase1.nr_b, g_xy)
    keys = derive(hash_, cipher, skeyid, g_xy, phase1.initiator_cookie, phase1.responder_cookie)
    return replace(phase1, keys=keys, exponent=b"", iv=phase1_iv(hash_, cipher, phase1.g_xi, phase1.g_xr))


# --- NAT discovery ---------------------------------------------------------------------------------------------------


def discover(phase1: Phase1, means: Means, message: int | None = None) -> list[Payload]:
    """Our NAT-D payloads for a message on the present way; none without NAT traversal.

    `message` is its number where the version says which ones have them.
    """
    if phase1.natt is None or (message is not None and message not in phase1.natt.discovery_messages):
        return []
    lie = means.random if phase1.lied else None
    return _discovery(phase1, phase1.natt).payloads(phase1.local, phase1.remote, lie)


def read_discovery(phase1: Phase1, arrived: Arrived, message: int | None = None) -> Phase1:
    """Where the NAT is. A peer that announced NAT traversal and sends no NAT-D does none. Raises IkeRefused.

    `message` is its number where the version says which ones have them.
    """
    if phase1.natt is None or (message is not None and message not in phase1.natt.discovery_messages):
        return phase1
    verdict = _discovery(phase1, phase1.natt).verdict(arrived.message.payloads, arrived.local, arrived.remote)
    if verdict is None:
        if phase1.policy.natt is NattPolicy.FORCE:
            raise _no_nat_traversal("the peer sent no NAT-D payloads")
        return replace(phase1, natt=None)
    return replace(phase1, nat=verdict)


def _discovery(phase1: Phase1, version: NattVersion) -> Discovery:
    assert phase1.proposal is not None
    cookies = phase1.initiator_cookie, phase1.responder_cookie
    return Discovery(version, phase1.proposal.hash, *cookies, phase1.role)


def change_ports(phase1: Phase1, config: IkeConfig) -> Phase1:
    """The initiator moves both ports when a NAT was found, unless it began there (RFC 3947 section 4)."""
    if phase1.natt is None or not phase1.encapsulated or not phase1.natt.changes_port:
        return phase1
    if phase1.local.port == config.natt_port:
        return phase1
    return replace(
        phase1,
        local=replace(phase1.local, port=config.natt_port),
        remote=replace(phase1.remote, port=phase1.candidates[0].remote_natt_port),
    )


def follow(phase1: Phase1, arrived: Arrived) -> Phase1:
    """The responder answers to where a message came from, from where it arrived."""
    return replace(phase1, local=arrived.local, remote=arrived.remote)


# --- identity, certificates and proof --------------------------------------------------------------------------------


def own_identity(phase1: Phase1) -> Identity:
    """Who we say we are."""
    policy = phase1.policy
    if policy.local_identity is not None:
        return policy.local_identity
    if isinstance(policy.authentication, RsaCredentials):
        return policy.authentication.identity
    return Identity.of_address(phase1.local.address)


def check_own_identity(phase1: Phase1) -> None:
    """Raises IkeRefused where we would go by our address behind a NAT, and the version forbids that.

    An address that was configured is one that its owner knows not to be translated (digest nat-traversal.md section 7).
    """
    natt, policy = phase1.natt, phase1.policy
    if natt is None or not natt.names_ends or phase1.nat is Nat.NONE or policy.local_identity is not None:
        return
    if own_identity(phase1).is_address:
        raise _bad_identity(f"behind a NAT {natt} needs an identity that is no address, and none is configured")


def identity_payload(phase1: Phase1) -> Payload:
    """Our ID payload. Protocol and port are zero, as NAT traversal wants it."""
    identity = own_identity(phase1)
    return Payload(PayloadType.IDENTIFICATION, Identification(identity.type, identity.data).build())


def read_identity(phase1: Phase1, arrived: Arrived) -> Phase1:
    """Who the peer says it is, and the candidates that are for it. Raises IkeRefused."""
    id_b = arrived.one(PayloadType.IDENTIFICATION)
    identification = parse_identification(id_b)
    if identification.type not in list(IdentificationType):
        raise _bad_identity(f"type {identification.type} is no kind of identity")
    if (identification.protocol, identification.port) not in _PHASE_1_PORTS:
        raise _bad_identity(f"protocol {identification.protocol} and port {identification.port} mean nothing here")
    identity = Identity(IdentificationType(identification.type), identification.data)
    candidates = tuple(
        one
        for one in phase1.candidates
        if one.phase1.remote_identity is None or one.phase1.remote_identity.same_as(identity)
    )
    if not candidates:
        wanted = phase1.policy.remote_identity
        raise _bad_identity(f"the peer must be {wanted}, and says it is {identity}")
    return replace(phase1, peer_identity=identity, peer_id_b=id_b, candidates=candidates)


def _bad_identity(detail: str) -> IkeRefused:
    return IkeRefused(Reason.IKE_IDENTITY, detail, NotifyType.INVALID_ID_INFORMATION)


def request_certificate(phase1: Phase1) -> list[Payload]:
    """Our CR payloads: one for each authority that we believe."""
    authentication = phase1.policy.authentication
    if isinstance(authentication, PreSharedKey):
        return []
    return [
        Payload(PayloadType.CERTIFICATE_REQUEST, Certificate(CertificateEncoding.X509_SIGNATURE, name).build())
        for name in authentication.authority_names
    ]


def prove(phase1: Phase1) -> list[Payload]:
    """Our HASH, or our CERT payloads and SIG."""
    hashed = _hash(phase1, phase1.role, identity_payload(phase1).body)
    authentication = phase1.policy.authentication
    if isinstance(authentication, PreSharedKey):
        return [Payload(PayloadType.HASH, hashed)]
    certificates = [
        Payload(PayloadType.CERTIFICATE, Certificate(CertificateEncoding.X509_SIGNATURE, der).build())
        for der in authentication.certificates
    ]
    return [*certificates, Payload(PayloadType.SIGNATURE, authentication.sign(hashed))]


def check_proof(phase1: Phase1, arrived: Arrived, means: Means) -> None:
    """Whether the HASH or SIG of the peer whose identity was read is right. Raises IkeRefused."""
    assert phase1.peer_identity is not None
    peer = Role.RESPONDER if phase1.role is Role.INITIATOR else Role.INITIATOR
    hashed = _hash(phase1, peer, phase1.peer_id_b)
    authentication = phase1.policy.authentication
    if isinstance(authentication, PreSharedKey):
        if not hmac.compare_digest(arrived.one(PayloadType.HASH), hashed):
            raise IkeRefused(
                Reason.IKE_AUTHENTICATION,
                f"the hash of {peer.value} {phase1.peer_identity} is wrong",
                NotifyType.AUTHENTICATION_FAILED,
            )
        return
    certificates = [parse_certificate(body) for body in arrived.all(PayloadType.CERTIFICATE)]
    ours = [one.data for one in certificates if one.encoding == CertificateEncoding.X509_SIGNATURE]
    if certificates and not ours:
        raise IkeRefused(
            Reason.IKE_CERTIFICATE, "the certificate is no X.509 certificate", NotifyType.INVALID_CERT_ENCODING
        )
    at = means.config.certificates_valid_at
    key = trusted_key(ours, phase1.peer_identity, authentication.authorities, at)
    verify_signature(key, arrived.one(PayloadType.SIGNATURE), hashed)


def _hash(phase1: Phase1, whose: Role, id_b: bytes) -> bytes:
    """HASH_I or HASH_R."""
    assert phase1.keys is not None
    publics, cookies = (phase1.g_xi, phase1.g_xr), (phase1.initiator_cookie, phase1.responder_cookie)
    if whose is Role.RESPONDER:
        publics, cookies = publics[::-1], cookies[::-1]
    return phase1.keys.phase1_hash(*publics, *cookies, phase1.sai_b, id_b)


def first_contact(phase1: Phase1) -> list[Payload]:
    """The INITIAL-CONTACT notification, where we have it to say (RFC 2407 section 4.6.3.3)."""
    if not phase1.first_contact:
        return []
    cookies = phase1.initiator_cookie + phase1.responder_cookie
    return [Payload(PayloadType.NOTIFICATION, Notification(NotifyType.INITIAL_CONTACT, spi=cookies).build())]
