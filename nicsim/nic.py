"""The simulated NIC: card, driver and NDIS joined.

A frame that arrives goes to the card first and then, with the card's descriptor, to the driver, which puts NDIS words
on it. Requests and frames to send enter at the top, through NDIS. Any driver that keeps to `nicsim.boundary.Miniport`
can take the reference driver's place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicsim.boundary import (
    NO_TASKS,
    Card,
    Descriptor,
    Indication,
    Miniport,
    OidCompletion,
    OidRequest,
    OidResult,
    SendResult,
    StatusIndication,
    TaskWords,
)
from nicsim.capabilities import Capabilities
from nicsim.card.device import SimulatedCard
from nicsim.card.impairments.passing import CardSocket
from nicsim.card.send import IvSource
from nicsim.card.slow import SlowCard
from nicsim.driver.device import ReferenceDriver
from nicsim.driver.impairments.passing import MiniportSocket
from nicsim.impairments import Impaired, impaired_card, impaired_driver, impaired_ivs
from nicsim.ndis.monitor import Monitor
from nicsim.ndis.queue import Ndis
from nicsim.ndis.watched import WatchedCard, WatchedMiniport
from nicsim.wire.packet import LinkType
from offload_oids import Abi, NdisStatus

DriverFactory = Callable[[Capabilities, Card, Abi], Miniport]


class Nic:
    """One NIC of one kind, for hosts of one pointer width. Implements `nicsim.boundary.Binding`.

    `monitor` has the rule monitor watch driver and card: what breaks a rule raises `RuleBroken`. `impairments` have
    card and driver misbehave; `card` and `driver` stay what they are, and the monitor sees what comes of it. `impair`
    and `recover` change them while the NIC runs.

    Each row operation takes the card `row_ticks` of a virtual clock, 0 for no time at all; by default as the
    capabilities say. `advance` and each `poll` let time pass. With `serialise=False` NDIS's queue is gone, and order is
    the driver's duty (N-DEL-5).
    """

    def __init__(
        self,
        capabilities: Capabilities,
        *,
        iv_source: IvSource,
        abi: Abi = Abi.X64,
        link_type: int = LinkType.ETHERNET,
        driver: DriverFactory = ReferenceDriver,
        monitor: bool = True,
        impairments: Sequence[Impaired] = (),
        serialise: bool = True,
        row_ticks: int | None = None,
    ) -> None:
        self.capabilities = capabilities
        self.abi = abi
        self.card = SimulatedCard(
            inbound_rows=capabilities.inbound_rows,
            outbound_rows=capabilities.outbound_rows,
            parser_rows=capabilities.parser_rows,
            address_rows=capabilities.address_rows,
            iv_source=lambda length: self._iv_source(length),
            link_type=link_type,
        )
        self._iv_source, self._own_iv_source = impaired_ivs(iv_source, impairments), iv_source
        self._link_type = link_type
        self.impairments = tuple(impairments)
        row_ticks = capabilities.row_ticks if row_ticks is None else row_ticks
        self.clock = SlowCard(self.card, row_ticks) if row_ticks else None
        self._silicon = impaired_card(self.clock or self.card, impairments, link_type)
        self.monitor = Monitor(capabilities.readings, capabilities.losses)
        self._card_socket = CardSocket(self._silicon, 1, link_type)
        below = WatchedCard(self._card_socket, self.monitor) if monitor else self._card_socket
        self.driver = driver(capabilities, below, abi)
        self._miniport = impaired_driver(self.driver, impairments)
        self._miniport_socket = MiniportSocket(self._miniport, 1)
        watched = WatchedMiniport(self._miniport_socket, self.monitor) if monitor else self._miniport_socket
        self.ndis = Ndis(watched, abi, serialise=serialise)

    def receive(self, frame: bytes) -> tuple[Indication, Descriptor]:
        """A frame off the wire: what goes up, and for people what the card wrote about it."""
        frame, descriptor = self._silicon.receive(frame)
        return self._miniport.indicate(frame, descriptor), descriptor

    def request(self, request: OidRequest) -> OidResult:
        """An OID request of the host, through NDIS."""
        return self.ndis.request(request)

    def reset(self) -> NdisStatus:
        """Reset the NIC, as NDIS does when a miniport hangs."""
        return self.ndis.reset()

    def remove(self) -> None:
        """Take the NIC out of the machine."""
        self.ndis.remove()

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """A frame of the host, through NDIS."""
        return self.ndis.send(frame, ipsec, tunnel, tasks)

    def poll(self) -> Sequence[OidCompletion | StatusIndication]:
        """Completions and indications since the last call, oldest first; whoever asks has waited one tick."""
        self.advance(1)
        return self.ndis.poll()

    def advance(self, ticks: int) -> None:
        """Let time pass for a card that takes some."""
        if self.clock:
            self.clock.advance(ticks)

    # --- impairments -------------------------------------------------------------------------------------------

    def impair(self, one: Impaired) -> None:
        """From now on misbehave in one more way, outside of those there are."""
        self.impairments = (*self.impairments, one)
        self._iv_source = impaired_ivs(self._iv_source, [one])
        self._plug(impaired_card(self._silicon, [one], self._link_type, self.card.rows.written()))
        self._plug_driver(impaired_driver(self._miniport, [one]))

    def recover(self) -> None:
        """From now on misbehave in no way; what has gone wrong stays so."""
        self.impairments = ()
        self._iv_source = self._own_iv_source
        self._plug(self.clock or self.card)
        self._plug_driver(self.driver)

    def _plug(self, card: Card) -> None:
        self._silicon = card
        self._card_socket.plug(card)

    def _plug_driver(self, driver: Miniport) -> None:
        self._miniport = driver
        self._miniport_socket.plug(driver)
