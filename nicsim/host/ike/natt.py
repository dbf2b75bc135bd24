"""NAT traversal as data, and NAT discovery: which versions there are, what each sends, and where the NAT is.

A version fixes its vendor ids, payload types, mode values, ports and how discovery hashes (digest nat-traversal.md
sections 3 to 5; RFC 3947). The exchanges ask a version for payloads and for a verdict and know no numbers themselves.

The first draft (draft-huttunen-ipsec-esp-in-udp-01, March 2001) differs in more than numbers: one hash covers the whole
way, so it shows that there is a NAT and not where; ESP goes to IKE's own port, behind eight zero bytes; and the
initiator of phase 1 keeps the mapping alive.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nicsim.events import Endpoint, Nat, Role
from nicsim.host.ike.keys import IkeHash
from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.wire.esp import IKE_PORT
from nicsim.wire.isakmp import Payload


@dataclass(frozen=True, slots=True)
class NattVersion:
    """One published version of NAT traversal for IKEv1."""

    name: str
    # Either one announces it; the first ever seen is the one to answer with.
    vendor_ids: tuple[bytes, ...]
    discovery_payload: int
    # None where there is no such payload.
    original_address_payload: int | None
    # Values of the encapsulation mode attribute for ESP in UDP.
    tunnel_mode: int
    transport_mode: int
    # Whether everything moves to port 4500, IKE behind the non-ESP marker, once a NAT is found.
    changes_port: bool
    # How many NAT-OA payloads quick mode has for transport mode: none, the sender's own, or both ends'.
    original_addresses: int
    encapsulation: Encapsulation = Encapsulation.UDP
    # The messages of main mode that have NAT-D payloads. In aggressive mode they are the last two in any version.
    discovery_messages: tuple[int, int] = (3, 4)
    # One hash over both ends, instead of one over each.
    one_hash: bool = False
    # Keepalives are for whoever began phase 1, instead of for whoever is behind the NAT.
    initiator_keeps_alive: bool = False
    # Keepalives have a UDP checksum, because nothing else protects them.
    checksummed_keepalives: bool = False
    # Behind a NAT no end goes by its address: in phase 1 another identity is needed, and in transport mode that one
    # names the initiator in quick mode too.
    names_ends: bool = False

    def mode_value(self, mode: Mode) -> int:
        """The encapsulation mode attribute for ESP in UDP."""
        return self.tunnel_mode if mode is Mode.TUNNEL else self.transport_mode

    def __str__(self) -> str:
        return self.name


def _ids(*values: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(value) for value in values)


# MD5 of the name; draft-02 prints its own with a newline at the end, and both are in use. The first draft's is the MD5
# of "ESPThruNAT".
# fmt: off
RFC_3947 = NattVersion("RFC 3947", _ids("4a131c81070358455c5728f20e95452f"),
                       20, 21, 3, 4, changes_port=True, original_addresses=2)
DRAFT_03 = NattVersion("draft-ietf-ipsec-nat-t-ike-03", _ids("7d9419a65310ca6f2c179d9215529d56"),
                       130, 131, 61443, 61444, changes_port=True, original_addresses=1)
DRAFT_02 = NattVersion("draft-ietf-ipsec-nat-t-ike-02",
                       _ids("90cb80913ebb696e086381b5ec427b1f", "cd60464335df21f87cfdb2fc68b6a448"),
                       130, 131, 61443, 61444, changes_port=True, original_addresses=1)
FIRST_DRAFT = NattVersion("draft-huttunen-ipsec-esp-in-udp-01", _ids("50760f624c63e5c53eea386c685ca083"),
                          130, None, 61440, 61441, changes_port=False, original_addresses=0,
                          encapsulation=Encapsulation.UDP_NON_IKE, discovery_messages=(2, 3), one_hash=True,
                          initiator_keeps_alive=True, checksummed_keepalives=True, names_ends=True)
# fmt: on
DEFAULT_VERSIONS = (RFC_3947, DRAFT_03, DRAFT_02)
"""The first draft is for those who ask for it: its ESP on port 500 is forbidden since."""
VERSIONS = {version.name: version for version in (*DEFAULT_VERSIONS, FIRST_DRAFT)}
"""By name, preferred first."""

DEAD_PEER_DETECTION = bytes.fromhex("afcad71368a1f1c96b8696fc77570100")
FRAGMENTATION = bytes.fromhex("4048b7d56ebce88525e7de7f00d6c2d3")
# strongSwan's and others' capability bytes: main and aggressive mode messages may be fragmented.
FRAGMENTATION_CAPABILITIES = bytes.fromhex("80000000")


def vendor_ids_to_offer(versions: Sequence[NattVersion]) -> list[bytes]:
    """What an initiator announces, preferred first."""
    return [vendor_id for version in versions for vendor_id in version.vendor_ids]


def choose_version(ours: Sequence[NattVersion], theirs: Iterable[bytes]) -> tuple[NattVersion, bytes] | None:
    """The most preferred version in common, and the vendor id that the peer announced it with."""
    announced = list(theirs)
    for version in ours:
        for vendor_id in version.vendor_ids:
            if vendor_id in announced:
                return version, vendor_id
    return None


def version_shown(ours: Sequence[NattVersion], payloads: Iterable[Payload]) -> tuple[NattVersion, bytes] | None:
    """The version whose NAT-D payload is in message 2 of main mode: only the first draft has it there.

    That draft does not say whether the vendor id comes with it, so the payload is sign enough.
    """
    types = {payload.type for payload in payloads}
    for version in ours:
        if 2 in version.discovery_messages and version.discovery_payload in types:
            return version, version.vendor_ids[0]
    return None


# --- discovery -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Discovery:
    """NAT discovery in one phase 1: what the hashes cover besides the endpoints (RFC 3947 section 3.2)."""

    version: NattVersion
    hash: IkeHash
    initiator_cookie: bytes
    responder_cookie: bytes
    # Ours.
    role: Role

    def payloads(self, source: Endpoint, destination: Endpoint, lie: Callable[[int], bytes] | None) -> list[Payload]:
        """What to send in a message from `source` to `destination`: the far end first.

        `lie`, a source of random bytes, makes our own hash one that cannot match, so that the peer takes us to be
        behind a NAT.
        """
        if self.version.one_hash:
            hashes = [self._way_hash(source, destination) if lie is None else lie(IkeHash.MD5.length)]
        else:
            own = self._hash(source) if lie is None else lie(self.hash.length)
            hashes = [self._hash(destination), own]
        return [Payload(self.version.discovery_payload, hashed) for hashed in hashes]

    def verdict(self, payloads: Iterable[Payload], local: Endpoint, remote: Endpoint) -> Nat | None:
        """Where the NAT is, from the payloads of a message that came from `remote` to `local`.

        None without discovery payloads of this version: then the peer does no NAT traversal.
        """
        hashes = [payload.body for payload in payloads if payload.type == self.version.discovery_payload]
        if self.version.one_hash:
            return self._verdict_on_way(hashes, local, remote)
        if len(hashes) < 2:
            return None
        mine, theirs = self._hash(local), self._hash(remote)
        behind_one = not hmac.compare_digest(hashes[0], mine)
        peer_behind_one = not any(hmac.compare_digest(hashed, theirs) for hashed in hashes[1:])
        return {
            (False, False): Nat.NONE,
            (True, False): Nat.LOCAL,
            (False, True): Nat.REMOTE,
            (True, True): Nat.BOTH,
        }[behind_one, peer_behind_one]

    def _verdict_on_way(self, hashes: Sequence[bytes], local: Endpoint, remote: Endpoint) -> Nat | None:
        if len(hashes) != 1:
            return None
        return Nat.NONE if hmac.compare_digest(hashes[0], self._way_hash(local, remote)) else Nat.SOMEWHERE

    def _hash(self, endpoint: Endpoint) -> bytes:
        return self.hash.digest(self.initiator_cookie + self.responder_cookie + _place(endpoint))

    def _way_hash(self, local: Endpoint, remote: Endpoint) -> bytes:
        """Of the first draft: MD5 whatever phase 1 uses, no cookies, the initiator of phase 1 first."""
        ends = (local, remote) if self.role is Role.INITIATOR else (remote, local)
        return IkeHash.MD5.digest(b"".join(_place(Endpoint(end.address, end.port or IKE_PORT)) for end in ends))


def _place(endpoint: Endpoint) -> bytes:
    return endpoint.address + endpoint.port.to_bytes(2, "big")


def original_addresses(
    version: NattVersion, initiator: bytes, responder: bytes, *, we_initiate: bool
) -> tuple[bytes, ...]:
    """The addresses for the NAT-OA payloads of one quick mode message, as this side knows them (RFC 3947 5.2)."""
    if version.original_addresses == 2:
        return initiator, responder
    own = initiator if we_initiate else responder
    return (own,) * version.original_addresses
