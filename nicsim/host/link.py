"""The link below a host's NIC: how IP packets become frames on it, and back."""

from __future__ import annotations

from dataclasses import dataclass

from nicsim.host.offloader import LinkMedium
from nicsim.wire.headers import build_ethernet
from nicsim.wire.packet import ETHERTYPE_IPV4, ETHERTYPE_IPV6, SNAP_HEADER, LinkType


@dataclass(frozen=True, slots=True)
class Link:
    """The link below the NIC, and who is on it: every frame goes to the one next hop."""

    medium: LinkMedium = LinkMedium.ETHERNET
    own_mac: bytes = bytes.fromhex("020000000001")
    next_hop_mac: bytes = bytes.fromhex("020000000002")

    @property
    def type(self) -> LinkType:
        """As captures have it."""
        return LinkType.RAW if self.medium is LinkMedium.RAW_IP else LinkType.ETHERNET

    def frame(self, ip_packet: bytes) -> bytes:
        """An outgoing IP packet on this link."""
        return self._framed(self.next_hop_mac, self.own_mac, ip_packet)

    def received_frame(self, ip_packet: bytes) -> bytes:
        """An incoming IP packet on this link."""
        return self._framed(self.own_mac, self.next_hop_mac, ip_packet)

    def _framed(self, destination: bytes, source: bytes, ip_packet: bytes) -> bytes:
        if self.medium is LinkMedium.RAW_IP:
            return ip_packet
        ethertype = ETHERTYPE_IPV4 if ip_packet[0] >> 4 == 4 else ETHERTYPE_IPV6
        if self.medium is LinkMedium.ETHERNET:
            return build_ethernet(destination, source, ethertype, ip_packet)
        body = SNAP_HEADER + ethertype.to_bytes(2, "big") + ip_packet  # behind a length (RFC 1042)
        return build_ethernet(destination, source, len(body), body)
