"""ESP in software: what the host does itself when the NIC did not.

Called by host/transport.py for packets the card left untouched, and by the replay for packets on their way out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nicsim.boundary import UdpType
from nicsim.host.replay_window import ReplayWindow
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import SaKeys, Transform
from nicsim.wire.esp import spi_and_sequence

DEFAULT_REPLAY_WINDOW = 64


@dataclass(slots=True)
class SecurityAssociation:
    """One ESP association as the host holds it: addresses and ports as they are at this host's own interface.

    `src` and `dst` are 4 or 16 bytes; the ports are those of the UDP header around ESP, 0 for native ESP.
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
