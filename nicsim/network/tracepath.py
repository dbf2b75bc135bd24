"""Finding the path MTU of a path, and its hops, as the `tracepath` of the usual network tools does and prints it.

Datagrams that must not be fragmented go out, each as long as the path is thought to take, with a TTL that grows by
one. Whoever drops one says why: its TTL ran out (a hop), it is too big (a path MTU), nobody listens (the end).

     1?: [LOCALHOST]                      pmtu 1500
     1:  192.168.1.1                                           2.000ms pmtu 1422
     1:  192.168.1.1                                           2.000ms
     2:  192.168.2.2                                          12.000ms reached
         Resume: pmtu 1422 hops 2 back 2
"""

from __future__ import annotations

from collections.abc import Callable

from nicsim.network.clock import Timer
from nicsim.network.plain_host import LEAST_MTU, PlainHost
from nicsim.wire.headers import format_address
from nicsim.wire.icmp import IcmpError, IcmpErrorKind

FIRST_PORT = 44444
"""Of the destination; each probe has the next one, so that an answer tells which probe it is about."""
SOURCE_PORT = 33000
PATIENCE = 1.0
"""Seconds to wait for an answer."""
TRIES = 3
MOST_HOPS = 30
_INITIAL_TTLS = (64, 128, 255)
_HOST_WIDTH = 52


class Tracepath:
    """One run from a host to an address; `lines` grows as the clock goes on, until `finished`."""

    def __init__(self, host: PlainHost, dst: bytes, on_finish: Callable[[], None] = lambda: None) -> None:
        self.lines: list[str] = []
        # What a line said of the path MTU, in order; the first is the own link's.
        self.path_mtus: list[int] = []
        self.finished = False
        self.reached = False
        self._host = host
        self._dst = dst
        self._on_finish = on_finish
        self._ttl = 1
        self._tries = 0
        self._timer: Timer | None = None
        # TTL and time of each probe, by its destination port.
        self._probes: dict[int, tuple[int, float]] = {}

    @property
    def path_mtu(self) -> int:
        """The path MTU as far as it is known."""
        return self.path_mtus[-1]

    def start(self) -> None:
        """Send the first probe."""
        self._learn(self._host.path_mtu(self._dst))
        self._print(f"{self._ttl:2}?: {'[LOCALHOST]':<36} pmtu {self.path_mtu}")
        self._host.on_error.append(self._answered)
        self._probe()

    def _learn(self, mtu: int) -> None:
        self.path_mtus.append(mtu)

    def _print(self, line: str) -> None:
        self.lines.append(line.rstrip())

    def _probe(self) -> None:
        port = FIRST_PORT + len(self._probes)
        self._probes[port] = self._ttl, self._host.clock.now
        self._tries += 1
        self._timer = self._host.clock.after(PATIENCE, self._no_answer)
        self._host.send_probe(self._dst, SOURCE_PORT, port, self.path_mtu, self._ttl)

    def _no_answer(self) -> None:
        if self._tries < TRIES:
            self._probe()
            return
        self._print(f"{self._ttl:2}:  no reply")
        self._next_hop()

    def _next_hop(self) -> None:
        self._ttl += 1
        self._tries = 0
        if self._ttl > MOST_HOPS:
            self._finish(f"Too many hops: pmtu {self.path_mtu}")
        else:
            self._probe()

    def _answered(self, error: IcmpError, sender: bytes, reply_ttl: int) -> None:
        """Every error the host gets; most are about one of our probes."""
        quoted = error.quoted
        if quoted.dst != self._dst or quoted.src_port != SOURCE_PORT or quoted.dst_port not in self._probes:
            return
        ttl, sent = self._probes[quoted.dst_port]
        if ttl != self._ttl:  # an answer that comes too late is to a question long settled
            return
        too_big = error.kind is IcmpErrorKind.PACKET_TOO_BIG
        if too_big and not LEAST_MTU <= error.mtu < self.path_mtu:
            return
        if self._timer is not None:
            self._timer.cancel()
        back = min(initial - reply_ttl for initial in _INITIAL_TTLS if initial >= reply_ttl) + 1
        asymmetric = f"asymm {back:2} " if back != ttl else ""
        took = f"{(self._host.clock.now - sent) * 1000:.3f}ms"
        line = f"{ttl:2}:  {format_address(sender):<{_HOST_WIDTH}} {asymmetric}{took} "
        if error.kind is IcmpErrorKind.TIME_EXCEEDED:
            self._print(line)
            self._next_hop()
        elif too_big:
            self._learn(error.mtu)
            self._print(f"{line}pmtu {error.mtu}")
            self._tries = 0
            self._probe()
        elif error.kind is IcmpErrorKind.PORT_UNREACHABLE:
            self.reached = True
            self._print(f"{line}reached")
            self._finish(f"Resume: pmtu {self.path_mtu} hops {ttl} back {back}")
        else:
            self._print(f"{line}!H")
            self._finish(f"Resume: pmtu {self.path_mtu}")

    def _finish(self, summary: str) -> None:
        self.finished = True
        self._print(f"     {summary}")
        self._host.on_error.remove(self._answered)
        self._on_finish()
