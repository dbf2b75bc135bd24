"""One IKE daemon at one address, for many remotes: datagrams and time in, datagrams and events out.

    peer = IkePeer(config, random)
    peer.initiate(now, connection)             phase 1 if there is none yet, then quick mode
    for item in peer.poll(): ...               UdpDatagrams to send and events, in the order they came about
    peer.receive(now, datagram)                then poll again
    peer.tick(now)                             when next_deadline() is reached, then poll again

A datagram's payload is as on the wire: from and to the NAT traversal port it begins with the non-ESP marker; ESP and
keepalives may be passed in too, and are not looked at. `now` is seconds on a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nicsim.events import Endpoint, IkeEvent, UdpDatagram
from nicsim.host.ike.config import Connection, IkeConfig


@dataclass(frozen=True, slots=True)
class IkeDecryption:
    """One row of Wireshark's `ikev1_decryption_table`: 8 bytes of cookie, and the cipher's key."""

    initiator_cookie: bytes
    key: bytes = field(repr=False)


class IkePeer:
    """Negotiates, keeps and ends ISAKMP SAs and pairs of IPsec SAs with any number of remotes."""

    def __init__(self, config: IkeConfig, random: Callable[[int], bytes]) -> None:
        """`random(n)` returns n unpredictable bytes."""
        self.config = config

    # --- what the host asks for ----------------------------------------------------------------------------------

    def initiate(self, now: float, connection: Connection, remote: bytes | None = None) -> None:
        """Bring a connection up: phase 1 unless one with the same policy is there, then quick mode.

        `remote` stands in for a connection that accepts any peer. Raises InputError if neither names one.
        """

    def rekey(self, now: float, pair: int) -> None:
        """Negotiate a new pair that replaces this one. An unknown number does nothing: it may just have ended."""

    def rekey_ike(self, now: float, ike: int) -> None:
        """Negotiate a new ISAKMP SA that takes over the pairs of this one."""

    def delete(self, now: float, pair: int) -> None:
        """End one pair and tell the peer."""

    def close(self, now: float, ike: int | None = None) -> None:
        """End an ISAKMP SA with all its pairs, or everything, and tell the peers."""

    # --- what the host tells -------------------------------------------------------------------------------------

    def sent(self, now: float, pair: int) -> None:
        """ESP went out on a pair: no keepalive is due for another interval."""

    def received(self, now: float, pair: int, source: Endpoint) -> None:
        """New, authenticated ESP came in on a pair: the peer lives, and if it moved, it is now at `source`."""

    def receive(self, now: float, datagram: UdpDatagram) -> None:
        """Take one datagram. Nothing raises because of what it holds."""

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due: retransmissions, keepalives, dead peer detection, rekeys and ends of lifetimes."""

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next."""
        return None

    # --- what came of it -----------------------------------------------------------------------------------------

    def poll(self) -> Sequence[UdpDatagram | IkeEvent]:
        """Everything since the last call, in order."""
        return ()

    def ike_decryption(self) -> Sequence[IkeDecryption]:
        """The keys that decrypt the IKE messages of a capture, one row for each ISAKMP SA so far.

        Empty unless the configuration said `keep_ike_keys`.
        """
        return ()
