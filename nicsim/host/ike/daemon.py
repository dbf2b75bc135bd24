"""What all ISAKMP SAs of one peer share: time, randomness, the way out, and the tables that they are found in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from nicsim.events import Endpoint, IkeEvent, UdpDatagram
from nicsim.host.ike.config import Connection, IkeConfig
from nicsim.host.ike.cookies import Cookies
from nicsim.host.ike.exchange import Means
from nicsim.host.ike.keys import IkeKeys
from nicsim.host.ike.path import Path
from nicsim.host.ike.proposals import FIRST_SPI, SPI_LENGTH
from nicsim.host.ike.timers import Timers

if TYPE_CHECKING:
    from nicsim.host.ike.ike_sa import IkeSa
    from nicsim.host.ike.pairs import Pair

Cookie = bytes


class Daemon:
    """The tables and services of one IKE daemon; ike_sa.py and pairs.py enter and leave themselves."""

    def __init__(self, config: IkeConfig, random: Callable[[int], bytes]) -> None:
        self.config = config
        self.random = random
        self.means = Means(config, random)
        self.timers = Timers()
        self.cookies = Cookies(random)
        self.out: list[UdpDatagram | IkeEvent] = []
        self._last_number = 0
        self._notified: deque[float] = deque()

        self.ike_sas: dict[int, IkeSa] = {}
        self.by_cookies: dict[tuple[Cookie, Cookie], IkeSa] = {}
        # Initiators whose responder has not chosen its cookie yet.
        self.unanswered: dict[Cookie, IkeSa] = {}
        # Responders by the first message: the initiator's cookie and address.
        self.answering: dict[tuple[Cookie, bytes], IkeSa] = {}
        self.half_open: set[int] = set()
        # By initiator cookie, if the configuration has it so.
        self.cipher_keys: list[tuple[Cookie, bytes]] = []

        self.pairs: dict[int, Pair] = {}
        # SPIs that we chose and that are in use, or will be.
        self.inbound_spis: set[bytes] = set()
        self.paths: dict[tuple[Endpoint, Endpoint], Path] = {}

    # --- out -----------------------------------------------------------------------------------------------------

    def emit(self, event: IkeEvent) -> None:
        """Tell the host."""
        self.out.append(event)

    def send(self, datagram: UdpDatagram) -> None:
        """Have the host send."""
        self.out.append(datagram)

    def may_notify(self, now: float) -> bool:
        """Whether one more unasked-for notification is within the limit of this second; if so, it counts."""
        while self._notified and self._notified[0] <= now - 1:
            self._notified.popleft()
        if len(self._notified) >= self.config.notifies_per_second:
            return False
        self._notified.append(now)
        return True

    # --- numbers -------------------------------------------------------------------------------------------------

    def new_number(self) -> int:
        """For an ISAKMP SA or a pair; from 1."""
        self._last_number += 1
        return self._last_number

    def new_spi(self) -> bytes:
        """An SPI that no association of ours has; it is taken until it is discarded from `inbound_spis`."""
        spi = bytes(SPI_LENGTH)
        while int.from_bytes(spi, "big") < FIRST_SPI or spi in self.inbound_spis:
            spi = self.random(SPI_LENGTH)
        self.inbound_spis.add(spi)
        return spi

    # --- paths ---------------------------------------------------------------------------------------------------

    def path_between(self, local: Endpoint, remote: Endpoint) -> Path:
        """The path of two endpoints, a new one if there is none."""
        path = self.paths.get((local, remote))
        if path is None:
            path = self.paths[local, remote] = Path(self, local, remote)
        return path

    def move_path(self, path: Path, old_remote: Endpoint) -> None:
        """A path has another far end now. One that was there before belongs to nobody who is alive."""
        self.paths.pop((path.local, old_remote), None)
        self.paths[path.local, path.remote] = path

    def forget_path(self, path: Path) -> None:
        """Nobody uses it any more."""
        if self.paths.get((path.local, path.remote)) is path:
            del self.paths[path.local, path.remote]

    # --- ISAKMP SAs -------------------------------------------------------------------------------------------------

    def keep_keys(self, initiator_cookie: Cookie, keys: IkeKeys) -> None:
        """Remember the cipher's key for Wireshark, if that was asked for."""
        if self.config.keep_ike_keys:
            self.cipher_keys.append((initiator_cookie, keys.cipher_key))

    def forget_ike_sa(self, ike: IkeSa) -> None:
        """It has ended."""
        phase1 = ike.phase1
        del self.ike_sas[ike.number]
        self.half_open.discard(ike.number)
        self.unanswered.pop(phase1.initiator_cookie, None)
        if self.by_cookies.get((phase1.initiator_cookie, phase1.responder_cookie)) is ike:
            del self.by_cookies[phase1.initiator_cookie, phase1.responder_cookie]
        first = (phase1.initiator_cookie, ike.first_address)
        if self.answering.get(first) is ike:
            del self.answering[first]

    def ike_sa_for(self, connection: Connection, remote: bytes) -> IkeSa | None:
        """An ISAKMP SA with a peer's address that serves a connection: one that is up, else one on its way."""
        fitting = [
            ike
            for ike in self.ike_sas.values()
            if ike.phase1.policy == connection.phase1 and ike.remote.address == remote and not ike.replaced
        ]
        return next((ike for ike in fitting if ike.up), None) or next((ike for ike in fitting if ike.begun_here), None)
