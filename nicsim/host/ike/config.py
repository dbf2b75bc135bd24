"""What an IKE peer is told by whoever runs it: connections, proposals, credentials, and how patient it is.

Plain frozen values, made by the command line, the scenario and the tests; checked when made where a mistake could
only show much later. Lifetimes and intervals are seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from nicsim.errors import InputError
from nicsim.events import Selector
from nicsim.host.ike.authentication import PreSharedKey, RsaCredentials
from nicsim.host.ike.identity import Identity
from nicsim.host.ike.keys import GROUPS, IkeCipher, IkeHash
from nicsim.host.ike.natt import DEFAULT_VERSIONS, NattVersion
from nicsim.ipsec.association import Mode
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.wire.esp import IKE_PORT, NAT_TRAVERSAL_PORT

# Below this, fragments are mostly headers.
MIN_FRAGMENT = 100


class Phase1Exchange(Enum):
    """How phase 1 goes."""

    MAIN = "main"
    AGGRESSIVE = "aggressive"


class NattPolicy(Enum):
    """What to do about NATs."""

    # Look for them, and encapsulate if there is one.
    AUTO = "auto"
    # Claim to be behind one, so that ESP always rides in UDP; fail with a peer that knows no NAT traversal.
    FORCE = "force"
    # Do not even say that we could.
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Phase1Proposal:
    """One transform of phase 1."""

    cipher: IkeCipher
    hash: IkeHash
    # An Oakley group number: 1, 2, 5 or 14.
    group: int

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise InputError(f"group {self.group} is none of {', '.join(map(str, GROUPS))}")

    def __str__(self) -> str:
        return f"{self.cipher.label}-{self.hash.label}-modp{GROUPS[self.group].bits}"


@dataclass(frozen=True, slots=True)
class Phase2Proposal:
    """One ESP proposal of quick mode; the key length is bytes, without a salt."""

    encryption: Encryption
    key_length: int
    integrity: Integrity

    def __post_init__(self) -> None:
        if self.key_length not in self.encryption.key_lengths:
            raise InputError(f"{self.encryption.value} has no keys of {self.key_length} bytes")
        if self.encryption.is_aead is not (self.integrity is Integrity.NONE):
            raise InputError(f"{self.encryption.value} does not go with integrity {self.integrity.value}")


_NAME = re.compile(r"(?P<cipher>null|des|3des|aes128|aes192|aes256)-(?P<hash>md5|sha1|sha256)")
_ESP_CIPHERS = {
    "null": (Encryption.NULL, 0),
    "des": (Encryption.DES_CBC, 8),
    "3des": (Encryption.TRIPLE_DES_CBC, 24),
    "aes128": (Encryption.AES_CBC, 16),
    "aes192": (Encryption.AES_CBC, 24),
    "aes256": (Encryption.AES_CBC, 32),
}
_ESP_HASHES = {
    "md5": Integrity.HMAC_MD5_96,
    "sha1": Integrity.HMAC_SHA1_96,
    "sha256": Integrity.HMAC_SHA2_256_128,
}


def phase1_proposals(name: str, groups: tuple[int, ...] = (14, 2)) -> tuple[Phase1Proposal, ...]:
    """`aes128-sha1` with each of the groups, in order. Raises InputError."""
    cipher, hashed = _split(name)
    ciphers = {cipher.label: cipher for cipher in IkeCipher}
    hashes = {one.label: one for one in IkeHash}
    if cipher not in ciphers:
        raise InputError(f"phase 1 cannot use {cipher}; it needs one of {', '.join(ciphers)}")
    return tuple(Phase1Proposal(ciphers[cipher], hashes[hashed], group) for group in groups)


def phase2_proposal(name: str) -> Phase2Proposal:
    """`aes128-sha1`, or `null-sha1`. Raises InputError."""
    cipher, hashed = _split(name)
    return Phase2Proposal(*_ESP_CIPHERS[cipher], _ESP_HASHES[hashed])


def _split(name: str) -> tuple[str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"{name!r} is no proposal: it needs {', '.join(_ESP_CIPHERS)} and, after a hyphen, {', '.join(_ESP_HASHES)}"
        )
    return match["cipher"], match["hash"]


@dataclass(frozen=True, slots=True)
class Phase1Policy:
    """How to agree on an ISAKMP SA, and with whom. Connections that share one share the ISAKMP SA too."""

    authentication: PreSharedKey | RsaCredentials
    proposals: tuple[Phase1Proposal, ...]
    exchange: Phase1Exchange = Phase1Exchange.MAIN
    # Who we say we are; None is our address, or with certificates the subject of ours.
    local_identity: Identity | None = None
    # Who the peer must say it is; None is anyone whom the authentication lets in.
    remote_identity: Identity | None = None
    natt: NattPolicy = NattPolicy.AUTO
    # Preferred first.
    natt_versions: tuple[NattVersion, ...] = DEFAULT_VERSIONS
    lifetime: int = 28800
    # Ask after the peer when nothing came from it for so long; None: never ask. Questions are answered in any case.
    dead_peer_interval: float | None = None
    # The largest IKE message sent whole, in bytes; above that it is fragmented if the peer can. None: never.
    fragment_above: int | None = 1280
    # Tell the peer, once, that we remember nothing of it.
    initial_contact: bool = True

    def __post_init__(self) -> None:
        if not self.proposals:
            raise InputError("phase 1 needs at least one proposal")
        if self.lifetime < 1:
            raise InputError(f"a lifetime is at least one second, not {self.lifetime}")
        if self.fragment_above is not None and self.fragment_above < MIN_FRAGMENT:
            raise InputError(f"fragments have at least {MIN_FRAGMENT} bytes, not {self.fragment_above}")


@dataclass(frozen=True, slots=True)
class Phase2Policy:
    """What quick mode may agree on."""

    proposals: tuple[Phase2Proposal, ...]
    mode: Mode = Mode.TUNNEL
    # None: the two ends' own addresses.
    local_selector: Selector | None = None
    remote_selector: Selector | None = None
    # An Oakley group, for perfect forward secrecy; None without. A responder accepts exactly this.
    pfs_group: int | None = None
    lifetime: int = 3600
    # 0 for no limit.
    lifetime_kilobytes: int = 0
    # Addresses that were given to peers, by their identities. A responder lets each of them have its own and no other,
    # and nobody else any of them (digest nat-traversal.md section 14).
    assigned: tuple[tuple[Identity, Selector], ...] = ()

    def given_to(self, peer: Identity | None) -> Selector | None:
        """What a peer was given, if anything."""
        return next((given for one, given in self.assigned if peer is not None and one.same_as(peer)), None)

    def __post_init__(self) -> None:
        if not self.proposals:
            raise InputError("quick mode needs at least one proposal")
        if self.lifetime < 1 or self.lifetime_kilobytes < 0:
            raise InputError(f"a lifetime is at least one second, not {self.lifetime}; kilobytes are not negative")
        if self.pfs_group is not None and self.pfs_group not in GROUPS:
            raise InputError(f"group {self.pfs_group} is none of {', '.join(map(str, GROUPS))}")


@dataclass(frozen=True, slots=True)
class Connection:
    """One agreement to be had with one peer, or with any."""

    name: str
    phase1: Phase1Policy
    phase2: Phase2Policy
    # The peer's address, 4 or 16 bytes; None accepts any as responder.
    remote: bytes | None = None
    # Where the peer listens.
    remote_ike_port: int = IKE_PORT
    remote_natt_port: int = NAT_TRAVERSAL_PORT


@dataclass(frozen=True, slots=True)
class Patience:
    """When to say it again (digest ikev1.md section 10): after `first` seconds, then each time `factor` as long."""

    first: float = 4.0
    factor: float = 1.8
    retries: int = 5

    def intervals(self) -> tuple[float, ...]:
        """The waits after the first sending and after each repetition; the last one ends in giving up."""
        return tuple(self.first * self.factor**number for number in range(self.retries + 1))

    @property
    def total(self) -> float:
        """How long until all is given up."""
        return sum(self.intervals())


@dataclass(frozen=True, slots=True)
class IkeConfig:
    """One IKE daemon at one address."""

    # 4 or 16 bytes.
    address: bytes
    # What a responder accepts, in order; an initiator may use others.
    connections: tuple[Connection, ...] = ()
    ike_port: int = IKE_PORT
    natt_port: int = NAT_TRAVERSAL_PORT
    patience: Patience = field(default_factory=Patience)
    # RFC 3948 section 4: how long nothing else was sent.
    keepalive_interval: float = 20.0
    # And how long after the last association is gone they go on.
    keepalive_after: float = 300.0
    # ISAKMP SAs that peers began and have not finished; more are not even answered.
    half_open_limit: int = 100
    # Unprotected notifies that a second may see at most.
    notifies_per_second: int = 10
    # A phase is negotiated anew when this part of its lifetime is over, by the side that initiated it.
    rekey_at: float = 0.9
    # How long a replaced pair still receives.
    overlap: float = 30.0
    # When certificates must be valid; None leaves their dates out.
    certificates_valid_at: datetime | None = None
    # Keep the keys that decrypt IKE in a capture, for `IkePeer.ike_decryption`.
    keep_ike_keys: bool = False
