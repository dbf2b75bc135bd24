"""A security association as the packets see it: what to find it by, how its packets are laid out, and its keys.

Who made it (an OID request, IKE, a key file), which filters apply and when it ends is for the floors above; so are
the counters. esp.py reads it, transforms.py turns its keys into a prepared `Transform`.
"""

from dataclasses import dataclass
from enum import Enum

from nicsim.ipsec.transforms import SaKeys
from nicsim.wire.esp import NAT_TRAVERSAL_PORT
from nicsim.wire.headers import format_address


class Mode(Enum):
    """What ESP protects (RFC 4301 section 4.1)."""

    # A whole IP packet, behind a new IP header.
    TUNNEL = "tunnel"
    # The payload of an IP packet, behind that packet's own header.
    TRANSPORT = "transport"


class Encapsulation(Enum):
    """How ESP rides on IP."""

    # Directly, IP protocol 50.
    NONE = "none"
    # Behind a UDP header (RFC 3948), as on port 4500.
    UDP = "udp"
    # Behind a UDP header and the 8 zero bytes of the non-IKE marker, as on port 500 (N-NAT-6).
    UDP_NON_IKE = "udp-non-ike"


@dataclass(frozen=True, slots=True, repr=False)
class Association:
    """One security association in one direction."""

    # Never 0 on the wire, and below 256 only by reservation (RFC 4303 section 2.1).
    spi: int
    mode: Mode
    encapsulation: Encapsulation
    keys: SaKeys
    # The outer addresses, 4 or 16 bytes in network order; sender and receiver of this direction.
    src: bytes
    dst: bytes
    # The ports of the UDP header, where there is one.
    src_port: int = NAT_TRAVERSAL_PORT
    dst_port: int = NAT_TRAVERSAL_PORT
    # Extended (64-bit) sequence numbers: every packet is then opened and sealed with its high half.
    esn: bool = False

    def __repr__(self) -> str:
        return (
            f"Association(spi=0x{self.spi:08x}, {self.mode.value}, {self.encapsulation.value}, "
            f"{format_address(self.src)} -> {format_address(self.dst)}, {self.keys!r})"
        )
