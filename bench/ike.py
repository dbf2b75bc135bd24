"""What a negotiation costs: two hosts with NICs, one process, phase 1, quick mode, offload, a packet, and the end.

Each negotiation is main mode with a pre-shared key and forced NAT traversal, one pair of 3DES-MD5 that goes to the NIC
with its parser entry, and deletes. When all are over nothing may be left: no SA, no row, no entry, no timer.

    python bench/ike.py                                 10,000 negotiations with group 2
    python bench/ike.py --negotiations 500 --group 14

Nothing here is imported by the package. Exits 1 if something is left.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from nicsim.events import AssociationsReady, FrameSent, PacketDelivered, Selector
from nicsim.host.host import Host, HostConfig
from nicsim.host.ike import keys
from nicsim.host.ike.authentication import PreSharedKey
from nicsim.host.ike.config import (
    Connection,
    IkeConfig,
    NattPolicy,
    Phase1Policy,
    Phase2Policy,
    phase1_proposals,
    phase2_proposal,
)
from nicsim.host.policy import PolicyDatabase
from nicsim.host.setkey import read_setkey
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.wire.headers import build_ipv4, format_address, parse_address

CLIENT, GATEWAY = parse_address("203.0.113.1"), parse_address("203.0.113.2")
INNER_CLIENT, INNER_GATEWAY = parse_address("10.0.0.2"), parse_address("192.168.50.1")
PAGE = 4096


@dataclass
class Stopwatch:
    """Seconds of processor time inside some functions."""

    seconds: float = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            begin = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.process_time() - begin

        return timed


def rows_of(nic: Nic) -> int:
    rows = nic.card.rows
    return len(rows.inbound) + len(rows.outbound) + len(rows.parser)


@dataclass
class Station:
    """A host with its NIC."""

    host: Host
    nic: Nic
    # What the card has before any association: the row that version 2 brings for port 4500.
    rows: int = 0
    ready: int = 0
    delivered: int = 0


def station(address: bytes, inner: bytes, peer: bytes, its_inner: bytes, connection: Connection, seed: int) -> Station:
    chance, profile = random.Random(seed).randbytes, load_profile("reference")
    nic = Nic(profile, iv_source=chance, monitor=False)
    ends = f"{format_address(address)}-{format_address(peer)}", f"{format_address(peer)}-{format_address(address)}"
    here, there = (f"{format_address(one)}/32" for one in (inner, its_inner))
    text = (
        f"spdadd {here} {there} any -P out ipsec esp/tunnel/{ends[0]}/require;\n"
        f"spdadd {there} {here} any -P in ipsec esp/tunnel/{ends[1]}/require;\n"
    )
    config = HostConfig(IkeConfig(address, (connection,)), inner_addresses=(inner,))
    host = Host(nic, config, chance, PolicyDatabase(list(read_setkey(text).policies)))
    return Station(host, nic, rows_of(nic))


def connection(inner: bytes, its_inner: bytes, remote: bytes, group: int, secret: PreSharedKey) -> Connection:
    local, far = (Selector(ip_network(one)) for one in (inner, its_inner))
    phase1 = Phase1Policy(secret, phase1_proposals("3des-md5", (group,)), natt=NattPolicy.FORCE)
    return Connection("bench", phase1, Phase2Policy((phase2_proposal("3des-md5"),), local_selector=local,
                                                    remote_selector=far), remote)  # fmt: skip


def exchange(now: float, one: Station, other: Station) -> None:
    """Carry frames until neither sends any more."""
    busy = True
    while busy:
        busy = False
        for sender, receiver in ((one, other), (other, one)):
            for event in sender.host.poll():
                sender.ready += isinstance(event, AssociationsReady)
                sender.delivered += isinstance(event, PacketDelivered)
                if isinstance(event, FrameSent):
                    busy = True
                    receiver.host.receive(now, receiver.nic.receive(event.frame)[0])


def negotiate(now: float, client: Station, gateway: Station, wanted: Connection) -> None:
    """Up, one packet each way, down."""
    client.host.initiate(now, wanted)
    exchange(now, client, gateway)
    client.host.send_packet(now, build_ipv4(INNER_CLIENT, INNER_GATEWAY, 1, bytes(64)))
    gateway.host.send_packet(now, build_ipv4(INNER_GATEWAY, INNER_CLIENT, 1, bytes(64)))
    exchange(now, client, gateway)
    client.host.close(now)
    exchange(now, client, gateway)


def left(one: Station) -> list[str]:
    """What there should be nothing of."""
    holdings, daemon = one.host.holdings(), one.host.peer._daemon
    counts = {
        "associations of the host": len(holdings.associations),
        "parser entries of the host": len(holdings.parser_entries),
        "rows of the card": rows_of(one.nic) - one.rows,
        "ISAKMP SAs": len(daemon.ike_sas) + len(daemon.by_cookies) + len(daemon.answering) + len(daemon.half_open),
        "pairs": len(daemon.pairs) + len(daemon.inbound_spis),
        "paths": len(daemon.paths),
        "timers": len(daemon.timers) + (one.host.next_deadline() is not None),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def run(negotiations: int, group: int, secret: PreSharedKey) -> int:
    """Print what it took; how many things are left."""
    wanted = connection(INNER_CLIENT, INNER_GATEWAY, GATEWAY, group, secret)
    offered = connection(INNER_GATEWAY, INNER_CLIENT, CLIENT, group, secret)
    client = station(CLIENT, INNER_CLIENT, GATEWAY, INNER_GATEWAY, wanted, 1)
    gateway = station(GATEWAY, INNER_GATEWAY, CLIENT, INNER_CLIENT, offered, 2)
    diffie_hellman, now = Stopwatch(), 0.0
    for name in ("public", "shared"):
        setattr(keys.Group, name, diffie_hellman.around(getattr(keys.Group, name)))
    keys.GROUPS[group].public(b"\2")  # the prime is computed once
    diffie_hellman.seconds, before = 0.0, resident()
    begin = time.process_time()
    for _ in range(negotiations):
        negotiate(now, client, gateway, wanted)
        now += 1.0
        for one in (client, gateway):
            one.host.tick(now)
        exchange(now, client, gateway)
    seconds = time.process_time() - begin
    for _ in range(2):  # keepalives and memories of past exchanges
        now += 1000.0
        for one in (client, gateway):
            one.host.tick(now)
        exchange(now, client, gateway)
    gc.collect()
    grown = resident() - before
    for one in (client, gateway):
        assert (one.ready, one.delivered) == (negotiations, negotiations), (one.ready, one.delivered)
    share = diffie_hellman.seconds / seconds
    print(
        f"{negotiations:,} negotiations, group {group}: {seconds / negotiations * 1e3:.2f} ms of processor each "
        f"for both sides, {share:.0%} of it Diffie-Hellman; {grown / 1e6:+.1f} MB"
    )
    remains = [f"{name} has {what}" for name, one in (("client", client), ("gateway", gateway)) for what in left(one)]
    print("left behind: " + ("; ".join(remains) or "nothing"))
    return len(remains)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--negotiations", type=int, default=10_000)
    parser.add_argument("--group", type=int, choices=sorted(keys.GROUPS), default=2)
    chosen = parser.parse_args()
    secret = PreSharedKey(b"a key for the bench")
    sys.exit(1 if run(chosen.negotiations, chosen.group, secret) else 0)


if __name__ == "__main__":
    main()
