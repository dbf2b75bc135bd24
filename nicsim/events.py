"""What can happen to a host that negotiates: frozen values that a peer hands out and a report shows.

An event says what, between whom and why. Keys are in one place only, the two associations of `AssociationsReady`,
whose `repr` does not show them. Addresses are bytes in network order, 4 or 16; SPIs are integers; lifetimes are
seconds and kilobytes.

Made by host/ike; read by the transport, the network and the reports.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from nicsim.ipsec.association import Association
from nicsim.reasons import Reason
from nicsim.wire.headers import format_address
from nicsim.wire.isakmp import ExchangeType, NotifyType


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One end of a UDP path."""

    address: bytes
    port: int

    def __str__(self) -> str:
        text = format_address(self.address)
        return f"[{text}]:{self.port}" if len(self.address) == 16 else f"{text}:{self.port}"


@dataclass(frozen=True, slots=True)
class UdpDatagram:
    """A UDP datagram as this host's interface has it; the payload is as on the wire, any non-ESP marker included."""

    source: Endpoint
    destination: Endpoint
    payload: bytes
    # Of one that goes out: False leaves the UDP checksum at zero, "none", where IPv4 allows that.
    checksummed: bool = True


@dataclass(frozen=True, slots=True)
class Selector:
    """Which packets, seen from one end: its addresses as one prefix, a protocol and a port; 0 means any."""

    network: IPv4Network | IPv6Network
    protocol: int = 0
    port: int = 0

    def covers(self, other: Selector) -> bool:
        """Whether every packet of `other` is one of ours."""
        if self.network.version != other.network.version:
            return False
        inside = other.network.subnet_of(self.network)  # type: ignore[arg-type]  # both are of one version
        return inside and self.protocol in (0, other.protocol) and self.port in (0, other.port)

    def __str__(self) -> str:
        return f"{self.network}[{self.protocol or 'any'}/{self.port or 'any'}]"


class Role(Enum):
    """Who began an exchange."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class Nat(Enum):
    """Which side of a path is behind a NAT, as NAT discovery tells this host."""

    NONE = "none"
    LOCAL = "local"
    REMOTE = "remote"
    BOTH = "both"
    # The first draft finds that there is one, and not where: it may be on either side.
    SOMEWHERE = "somewhere"

    @property
    def local(self) -> bool:
        """Whether this host is behind one, or may be."""
        return self in (Nat.LOCAL, Nat.BOTH, Nat.SOMEWHERE)

    @property
    def remote(self) -> bool:
        """Whether the peer is behind one, or may be."""
        return self in (Nat.REMOTE, Nat.BOTH, Nat.SOMEWHERE)


class By(Enum):
    """Who ended something."""

    LOCAL = "local"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class OriginalAddresses:
    """The addresses that a transport-mode packet had before any NAT: initiator and responder, as one side knows them.

    From the NAT-OA payloads of quick mode (RFC 3947 section 5.2); None where a side did not tell.
    """

    initiator: bytes | None
    responder: bytes | None


# --- phase 1 --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IkeUp:
    """Phase 1 is done: both sides have proved who they are."""

    # This peer's own number for the ISAKMP SA, never used twice.
    ike: int
    connection: str
    role: Role
    exchange: ExchangeType
    local: Endpoint
    remote: Endpoint
    local_identity: str
    remote_identity: str
    # As --proposal has it, with the group: "aes128-sha1-modp1024".
    proposal: str
    # "RFC 3947", or None without NAT traversal.
    natt_version: str | None
    nat: Nat
    initiator_cookie: bytes
    responder_cookie: bytes
    lifetime: int
    # The ISAKMP SA that this one takes over from.
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class IkeDown:
    """An ISAKMP SA that was up is gone. Its IPsec SAs stay, unless AssociationsDeleted says otherwise."""

    ike: int
    connection: str
    reason: Reason
    by: By


@dataclass(frozen=True, slots=True)
class AddressIdentity:
    """A warning: a side went by an address, and the first draft found a NAT, behind which that means nothing.

    In aggressive mode the identity is said before that is known, so nothing ends (digest nat-traversal.md section 7).
    """

    ike: int
    remote: Endpoint
    identity: str
    # Whose.
    by: By


@dataclass(frozen=True, slots=True)
class PeerMoved:
    """An authenticated message came from a new address or port, and everything of this peer goes there now."""

    ike: int
    old: Endpoint
    new: Endpoint
    # The association pairs that move along.
    pairs: tuple[int, ...]


# --- phase 2 --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AssociationsReady:
    """A pair of associations is agreed: install the inbound one before anything else is sent.

    The outbound one may be used from `OutboundUsable` on. Addresses and ports are as this host's interface has them.
    """

    # This peer's own number for the pair, never used twice.
    pair: int
    ike: int
    connection: str
    role: Role
    inbound: Association
    outbound: Association
    local_selector: Selector
    remote_selector: Selector
    lifetime: int
    # 0 for no limit.
    lifetime_kilobytes: int = 0
    # The group of the quick mode's own key exchange, None without perfect forward secrecy.
    pfs_group: int | None = None
    # What this side and the other told of themselves and each other; None where no NAT-OA payloads were exchanged.
    local_original: OriginalAddresses | None = None
    remote_original: OriginalAddresses | None = None
    # The pairs that this one takes over from; each is deleted later, after an overlap.
    replaces: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OutboundUsable:
    """The peer has proved that it can receive on the pair's outbound association: send on it from now on."""

    pair: int


@dataclass(frozen=True, slots=True)
class AssociationsDeleted:
    """A pair is gone, both directions; SPIs as integers."""

    pair: int
    connection: str
    inbound_spi: int
    outbound_spi: int
    reason: Reason
    by: By


# --- exchanges and datagrams ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExchangeFailed:
    """An exchange ended without its result."""

    connection: str
    remote: Endpoint
    role: Role
    exchange: ExchangeType
    reason: Reason
    # One sentence: what was needed and what came.
    detail: str
    ike: int | None = None
    notify_sent: NotifyType | None = None
    # The number that the peer refused with; a plain number, because it may be one we do not know.
    notify_received: int | None = None


@dataclass(frozen=True, slots=True)
class MessageDropped:
    """A message was refused and changed nothing."""

    source: Endpoint
    reason: Reason
    detail: str
    notify_sent: NotifyType | None = None


@dataclass(frozen=True, slots=True)
class NotifyReceived:
    """A notification that ended nothing; `number` may be one we do not know. Unprotected ones prove nothing."""

    source: Endpoint
    number: int
    protected: bool


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """One whole IKE message as it went out or was accepted, for ladders and plain captures.

    Retransmissions and fragments are not told apart here: the datagrams show them.
    """

    sent: bool
    source: Endpoint
    destination: Endpoint
    exchange: int
    message_id: int
    encrypted: bool
    # Payload types in order, by their short names ("SA", "KE", "NAT-D").
    payloads: tuple[str, ...]
    # The message without its encryption and without a marker: header (encryption flag clear, length as it now is)
    # and payloads without padding.
    plain: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeepaliveSent:
    """A NAT keepalive went out, because nothing else did for an interval."""

    ike: int
    local: Endpoint
    remote: Endpoint


IkeEvent = (
    IkeUp
    | IkeDown
    | AddressIdentity
    | PeerMoved
    | AssociationsReady
    | OutboundUsable
    | AssociationsDeleted
    | ExchangeFailed
    | MessageDropped
    | NotifyReceived
    | MessageSeen
    | KeepaliveSent
)


# --- the host above the NIC -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SaPlaced:
    """An association was installed, or installed anew: on the NIC by that request, or in software for that reason."""

    connection: str
    pair: int
    spi: int
    inbound: bool
    # The name of the OID of the add request.
    oid: str | None = None
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EspSent:
    """A packet left under ESP; `reason` is why the NIC did not seal it, where it did not."""

    pair: int
    spi: int
    sequence: int
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class EspReceived:
    """What the host made of a received ESP packet in the end."""

    # None where no association has the SPI.
    pair: int | None
    spi: int
    sequence: int
    # "accepted", "duplicate", "too-old", "icv-bad", "malformed", "no-sa".
    verdict: str
    # Who checked and decrypted it: "nic", "host", or nobody.
    opened_by: str | None = None


@dataclass(frozen=True, slots=True)
class PacketDropped:
    """A packet ended at this host."""

    inbound: bool
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class PacketDelivered:
    """A packet for this host, or for one behind it: as it came out of its association, or as it came in the clear."""

    packet: bytes = field(repr=False)
    # None in the clear.
    pair: int | None = None


@dataclass(frozen=True, slots=True)
class FrameSent:
    """A frame as it left the NIC."""

    frame: bytes = field(repr=False)


HostEvent = SaPlaced | EspSent | EspReceived | PacketDropped | PacketDelivered | FrameSent
