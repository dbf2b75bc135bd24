"""What a host that protects packets knows of the paths to its peers, and how much of a packet it lets in front of them.

The two steps of path MTU discovery under IPsec (RFC 4301 section 8.2, docs/spec/esp-ah.md section 8.2): a router on
the way tells the host about a protected packet; from then on, the host tells whoever sends it packets that would be
too long, by the arithmetic of ipsec/overhead.py.
"""

from __future__ import annotations

from nicsim.errors import Malformed
from nicsim.host.host import Host
from nicsim.host.pairs import HeldAssociation
from nicsim.host.policy import Direction, traffic_of
from nicsim.ipsec.association import Mode
from nicsim.ipsec.overhead import Overhead, announced_mtu
from nicsim.network.plain_host import LEAST_MTU
from nicsim.wire.esp import PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_UDP
from nicsim.wire.fragmentation import may_be_fragmented
from nicsim.wire.icmp import IcmpErrorKind, parse_icmp_error
from nicsim.wire.packet import IPV4_HEADER_LENGTH, IPV6_HEADER_LENGTH, LinkType, parse_frame

FORGOTTEN_AFTER = 600.0
"""Seconds; then a longer packet may be tried again (RFC 1191 section 6.3)."""
MOST_PEERS = 4096
"""The one heard of longest ago is forgotten."""
ANY_LENGTH = 65535


class PathMtus:
    """One host's."""

    def __init__(self, host: Host) -> None:
        self._host = host
        # By address of the other end, oldest first: what a router said, and when.
        self._said: dict[bytes, tuple[int, float]] = {}

    def learn(self, now: float, ip_packet: bytes) -> tuple[bytes, int] | None:
        """Take an ICMP error about a packet that this host sent under ESP: whose path it is, and the path MTU.

        It is not authentic (RFC 4301 section 8.2.1): it can only make packets shorter, and only towards a peer.
        """
        error = parse_icmp_error(ip_packet, parse_frame(ip_packet, LinkType.RAW))
        if error is None or error.kind is not IcmpErrorKind.PACKET_TOO_BIG or error.mtu < LEAST_MTU:
            return None
        quoted = error.quoted
        if quoted.src != self._host.address or quoted.protocol not in (PROTOCOL_ESP, PROTOCOL_AH, PROTOCOL_UDP):
            return None
        senders = (pair.outbound for pair in self._host.associations.pairs.values())
        if not any(held is not None and held.association.dst == quoted.dst for held in senders):
            return None
        if error.mtu >= self.of_path(now, quoted.dst, ANY_LENGTH):
            return None
        self._said.pop(quoted.dst, None)
        self._said[quoted.dst] = error.mtu, now
        if len(self._said) > MOST_PEERS:
            del self._said[next(iter(self._said))]
        return quoted.dst, error.mtu

    def of_path(self, now: float, remote: bytes, link_mtu: int) -> int:
        """What the path to a remote address takes, the own link counted in."""
        said, since = self._said.get(remote, (link_mtu, now))
        return min(said, link_mtu) if now - since < FORGOTTEN_AFTER else link_mtu

    def for_packet(self, now: float, packet: bytes, link_mtu: int) -> int:
        """The most bytes that an IP packet like this one may have, before it is protected.

        One that may be fragmented may have any length: it is cut when it is protected (RFC 4303 section 3.3.4).
        """
        held = self._association_for(packet)
        if held is None:
            return link_mtu
        association = held.association
        if may_be_fragmented(packet):
            return ANY_LENGTH
        outer = IPV4_HEADER_LENGTH if len(association.dst) == 4 else IPV6_HEADER_LENGTH
        if association.mode is Mode.TRANSPORT and packet[0] >> 4 == 4:
            outer = (packet[0] & 0xF) * 4
        sizes = Overhead(association.mode, association.encapsulation, association.keys, outer)
        path_mtu = sizes.path_mtu(self.of_path(now, association.dst, link_mtu))
        return announced_mtu(path_mtu, packet[0] >> 4)

    def _association_for(self, packet: bytes) -> HeldAssociation | None:
        try:
            traffic = traffic_of(packet)
        except Malformed:
            return None
        policy = self._host.policies.lookup(Direction.OUT, traffic)
        if policy is None or policy.template is None:
            return None
        found = self._host.associations.outbound(traffic, policy.template.mode)
        return found[1] if found else None
