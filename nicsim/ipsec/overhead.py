"""What protection adds to a packet, and so the largest packet that fits a link once it is protected.

The formula of docs/spec/esp-ah.md section 8, for ESP in both modes and for AH. Everything is bytes. For whoever
answers "fragmentation needed" in front of a tunnel, and for whoever reckons what a link costs.
"""

from __future__ import annotations

from dataclasses import dataclass

from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.ipsec.transforms import SaKeys
from nicsim.wire.esp import ESP_HEADER_LENGTH, NON_IKE_MARKER
from nicsim.wire.packet import IPV4_HEADER_LENGTH, IPV6_HEADER_LENGTH, UDP_HEADER_LENGTH

TRAILER_LENGTH = 2
"""Pad length and next header, which end every plaintext."""
LEAST_IPV6_MTU = 1280
"""No IPv6 sender can be told to send less (RFC 8200 section 5)."""

UDP_PART = {
    Encapsulation.NONE: 0,
    Encapsulation.UDP: UDP_HEADER_LENGTH,
    Encapsulation.UDP_NON_IKE: UDP_HEADER_LENGTH + len(NON_IKE_MARKER),
}
"""UDP header and marker in front of ESP."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """The sizes that packets of one ESP association have."""

    mode: Mode
    encapsulation: Encapsulation
    keys: SaKeys
    # The IP headers in front of ESP: the tunnel's outer header, or the packet's own in transport mode.
    ip_header: int = IPV4_HEADER_LENGTH

    @property
    def _around(self) -> int:
        """Everything in front of the ciphertext and behind it."""
        encryption = self.keys.encryption
        esp = ESP_HEADER_LENGTH + encryption.iv_length + self.keys.icv_length
        return self.ip_header + UDP_PART[self.encapsulation] + esp

    def protected_size(self, length: int) -> int:
        """The size on the wire of an IP packet of `length` bytes, its header included."""
        block = self.keys.encryption.block
        payload = length if self.mode is Mode.TUNNEL else length - self.ip_header
        return self._around + block * -(-(payload + TRAILER_LENGTH) // block)

    def path_mtu(self, link_mtu: int) -> int:
        """The largest IP packet whose protected form fits: one byte more does not. Below 0 where nothing fits."""
        block = self.keys.encryption.block
        payload = block * ((link_mtu - self._around) // block) - TRAILER_LENGTH
        return payload if self.mode is Mode.TUNNEL else payload + self.ip_header


def ah_size(mode: Mode, length: int, icv_length: int, ip_header: int = IPV4_HEADER_LENGTH) -> int:
    """The size on the wire of an IP packet of `length` bytes with AH, which is whole words: of 8 bytes in IPv6."""
    word = 8 if ip_header >= IPV6_HEADER_LENGTH else 4
    ah = -(-(12 + icv_length) // word) * word
    return length + ah + (ip_header if mode is Mode.TUNNEL else 0)


def announced_mtu(path_mtu: int, version: int) -> int:
    """What the sender of an IPv4 or IPv6 packet is told; an IPv6 one never less than 1280 (RFC 8200 section 5)."""
    return max(path_mtu, LEAST_IPV6_MTU) if version == 6 else path_mtu
