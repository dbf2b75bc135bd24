"""ESP in software: what the host does itself when the NIC did not.

Called by host/transport.py for packets the card left untouched, and by the replay for packets on their way out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nicsim.boundary import UdpType
from nicsim.host.replay_window import ReplayWindow
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import SaKeys, Transform
from nicsim.wire.esp import PROTOCOL_ESP, spi_and_sequence

DEFAULT_REPLAY_WINDOW = 64

Flow = tuple[bytes, bytes, int, int, Mode, UdpType, str, str]
"""What both associations of a pair have in common: this host's address and the peer's, their ports, mode and
encapsulation, and the inner prefixes of this side and of the other."""


@dataclass(frozen=True, slots=True)
class CoveringAh:
    """AH around the ESP of the same association (N-SA-9); its keys have null encryption."""

    spi: int
    keys: SaKeys


@dataclass(slots=True)
class SecurityAssociation:
    """One association as the host holds it: addresses and ports as they are at this host's own interface.

    `src` and `dst` are 4 or 16 bytes; the ports are those of the UDP header around ESP, 0 for native ESP. The host's
    own software does ESP alone; what has AH in it is for a NIC.
    """

    spi: int
    inbound: bool
    src: bytes
    dst: bytes
    mode: Mode
    udp_type: UdpType
    keys: SaKeys
    src_port: int = 0
    dst_port: int = 0
    esn: bool = False
    inner_src: str = ""
    """The inner addresses, as one prefix, that the tunnel carries; empty for any."""
    inner_dst: str = ""
    protocol: int = PROTOCOL_ESP
    """50 ESP, or 51 AH alone, whose keys have null encryption."""
    ah: CoveringAh | None = None
    """AH that covers the ESP, where there is such."""
    of_two: bool = False
    """Whether its packets have another portion beside this one: version 2 has UDP-ESP subtypes for that (N-ENC-2)."""
    sequence_high: int = 0
    """With `esn` the half of the sequence number that is not on the wire, as it is told to the NIC (N-V2-9)."""
    partner: SecurityAssociation | None = field(default=None, compare=False)
    """The association of the other direction that was negotiated with this one; None where nobody knows."""
    window: ReplayWindow = field(default_factory=lambda: ReplayWindow(DEFAULT_REPLAY_WINDOW))
    transform: Transform = field(init=False)
    # Kept here because every packet needs them.
    iv_length: int = field(init=False)
    icv_length: int = field(init=False)

    def __post_init__(self) -> None:
        self.transform = Transform(self.keys)
        self.iv_length = self.keys.encryption.iv_length
        self.icv_length = self.keys.icv_length

    def __repr__(self) -> str:
        return f"SecurityAssociation(spi=0x{self.spi:08x}, inbound={self.inbound}, {self.keys!r})"

    @property
    def spis(self) -> tuple[int, ...]:
        """The SPIs of its layers."""
        return (self.spi, self.ah.spi) if self.ah else (self.spi,)

    @property
    def flow(self) -> Flow:
        """What tells which outbound association goes with which inbound one."""
        own, other = (self.dst, self.src) if self.inbound else (self.src, self.dst)
        ports = (self.dst_port, self.src_port) if self.inbound else (self.src_port, self.dst_port)
        inner = (self.inner_dst, self.inner_src) if self.inbound else (self.inner_src, self.inner_dst)
        return own, other, *ports, self.mode, self.udp_type, *inner

    def sequence_of(self, buffer: bytes, esp: int) -> int:
        """The sequence number of the ESP packet at `esp`; with ESN the whole 64 bits, the high half guessed."""
        low = spi_and_sequence(buffer, esp)[1]
        return self.window.guess_high(low) << 32 | low if self.esn else low

    def open(self, buffer: bytes, esp: int, end: int) -> bytes:
        """Check and decrypt the ESP packet in `buffer[esp:end]`: payload, padding and trailer.

        Raises EspSyntaxError or IntegrityError.
        """
        high = self.sequence_of(buffer, esp) >> 32 if self.esn else None
        return self.transform.open(buffer, esp, end, high)
