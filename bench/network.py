"""Clients behind NATs against one gateway: what each costs when there are a hundred, and when there are a thousand.

    python bench/network.py                    plain datagrams, then negotiations and ESP, at four sizes each
    python bench/network.py --nats 10 20       other sizes

Ten clients stand behind each NAT. In the first table every client sends datagrams and gets each one back, over three
links and two routers each way. In the second each has a NIC, negotiates a tunnel with the gateway, whose card has
room for 64 associations, and sends packets through it. Growth is linear where the cost of one does not change.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import replace
from functools import partial
from ipaddress import ip_network

from nicsim.events import Selector
from nicsim.host.host import HostConfig
from nicsim.host.ike.authentication import PreSharedKey
from nicsim.host.ike.config import (
    Connection,
    IkeConfig,
    Phase1Policy,
    Phase2Policy,
    phase1_proposals,
    phase2_proposal,
)
from nicsim.host.ike.identity import Identity
from nicsim.network.nat import Napt, NaptBehaviour
from nicsim.network.network import Network
from nicsim.network.nic_host import NicHost
from nicsim.network.plain_host import PlainHost
from nicsim.network.router import Router
from nicsim.network.routing import find_routes
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.wire.headers import parse_address

SIZES = (10, 25, 50, 100)
CLIENTS_BEHIND_ONE = 10
ROUNDS = 10
CARD_ROWS = 32
"""In each direction: a card for 64 associations."""
GATEWAY, OFFICE = parse_address("203.0.113.2"), parse_address("192.168.50.1")


def nats_around(network: Network, core: Router, nats: int) -> list[Router]:
    """So many NATs on the links of a router."""
    around = []
    for number in range(nats):
        outside = f"198.18.{number // 250}.{number % 250 + 1}"
        nat = network.router(f"nat-{number}", Napt(parse_address(outside), NaptBehaviour(port_preserving=False)))
        nat.outside, _ = network.connect(nat, outside, core, f"198.19.{number // 250}.{number % 250 + 1}")
        around.append(nat)
    return around


class Answers:
    """Counts what comes back."""

    def __init__(self) -> None:
        self.count = 0

    def took(self, src: bytes, port: int, data: bytes) -> None:
        """An answer."""
        self.count += 1


def echo(host: PlainHost, src: bytes, port: int, data: bytes) -> None:
    """Send a datagram back."""
    host.send_udp(src, 7, port, data)


def plain(nats: int) -> tuple[int, int]:
    """Datagrams without IPsec: answers, and answers that there should be."""
    network, answers = Network("bench"), Answers()
    core, server = network.router("core"), network.plain_host("server")
    network.connect(core, "203.0.113.1", server, "203.0.113.2")
    server.bind(7, partial(echo, server))
    for nat in nats_around(network, core, nats):
        for place in range(CLIENTS_BEHIND_ONE):
            client = network.plain_host(f"client-{nat.name}-{place}")
            network.connect(client, f"10.0.{place}.2", nat, f"10.0.{place}.1")
            client.bind(9000, answers.took)
            for turn in range(ROUNDS):
                network.clock.at(turn + place / 1000, partial(client.send_udp, GATEWAY, 9000, 7, b"x"))
    find_routes(network)
    network.clock.run()
    return answers.count, nats * CLIENTS_BEHIND_ONE * ROUNDS


def negotiated(nats: int) -> tuple[int, int]:
    """Tunnels: answers through them, and answers that there should be."""
    network, answers = Network("bench"), Answers()
    core = network.router("core")
    gateway = nic_host(network, "gateway", OFFICE, tunnel("192.168.50.0/24", "10.0.0.0/8", None))
    network.connect(gateway, "203.0.113.2", core, "203.0.113.1")
    gateway.stack.bind(7, partial(echo, gateway.stack))
    number = 0
    for nat in nats_around(network, core, nats):
        for place in range(CLIENTS_BEHIND_ONE):
            number += 1
            inner = f"10.9.{number // 250}.{number % 250 + 1}"
            connection = tunnel(f"{inner}/32", "192.168.50.0/24", GATEWAY)
            client = nic_host(network, f"client-{number}", parse_address(inner), connection)
            network.connect(client, f"10.0.{place}.2", nat, f"10.0.{place}.1")
            client.stack.bind(9000, answers.took)
            network.clock.at(number / 100, partial(connect, client, connection))
            for turn in range(ROUNDS):
                send = partial(client.stack.send_udp, OFFICE, 9000, 7, b"x")
                network.clock.at(number / 100 + 5 + turn, send)
    find_routes(network)
    network.clock.run(until=number / 100 + 5 + ROUNDS + 1)
    return answers.count, number * ROUNDS


def tunnel(local: str, remote: str, peer: bytes | None) -> Connection:
    """A connection, from one end. Private addresses repeat behind the NATs, so they are nobody's identity."""
    identity = Identity.parse(f"{local.partition('/')[0]}.example")
    phase1 = Phase1Policy(PreSharedKey(b"bench"), phase1_proposals("aes128-sha1", (2,)), local_identity=identity)
    ends = Selector(ip_network(local)), Selector(ip_network(remote))
    phase2 = Phase2Policy((phase2_proposal("3des-md5"),), local_selector=ends[0], remote_selector=ends[1])
    return Connection("tunnel", phase1, phase2, peer)


def nic_host(network: Network, name: str, inner: bytes, connection: Connection) -> NicHost:
    """A host with a NIC of 64 associations."""
    chance = network.chance.child(name)
    card = replace(load_profile("reference"), inbound_rows=CARD_ROWS, outbound_rows=CARD_ROWS)
    nic = Nic(card, iv_source=chance.octets, monitor=False)
    config = HostConfig(
        IkeConfig(address=b"", connections=(connection,)), inner_addresses=(inner,), generate_policies=True
    )
    return network.add(NicHost(name, network.clock, network.observers, nic, config, chance.octets))


def connect(client: NicHost, connection: Connection) -> None:
    """Bring a client's tunnel up."""
    client.asked(lambda: client.host.initiate(client.clock.now, connection))


def main() -> None:
    """Print a row for each kind and size; seconds are of CPU."""
    parser = argparse.ArgumentParser(description="Clients behind NATs against one gateway.")
    parser.add_argument("--nats", type=int, nargs="+", default=SIZES)
    for what, run in (("plain datagrams", plain), ("negotiations and ESP", negotiated)):
        print(f"{what}\n{'NATs':>6} {'clients':>8} {'answers':>8} {'CPU s':>8} {'ms/client':>10} {'peak MB':>8}")
        for nats in parser.parse_args().nats:
            began = time.process_time()
            answers, expected = run(nats)
            took = time.process_time() - began
            if answers != expected:
                sys.exit(f"{answers} answers came back, not {expected}")
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            clients = nats * CLIENTS_BEHIND_ONE
            print(f"{nats:6} {clients:8} {answers:8} {took:8.2f} {took / clients * 1000:10.2f} {peak:8.0f}")


if __name__ == "__main__":
    main()
