"""Clients behind NATs against one server: what a packet costs when there are a hundred, and when there are a thousand.

    python bench/network.py

Ten clients stand behind each NAT. Every client sends datagrams and gets each one back, over three links and two
routers each way. Growth is linear when the last column stays what it is.
"""

from __future__ import annotations

import resource
import sys
import time
from functools import partial

from nicsim.network.nat import Napt, NaptBehaviour
from nicsim.network.network import Network
from nicsim.network.routing import find_routes
from nicsim.wire.headers import parse_address

CLIENTS_BEHIND_ONE = 10
ROUNDS = 10


def run(nats: int, rounds: int = ROUNDS) -> tuple[int, float, float]:
    """Answers that came back, seconds of CPU to build the network and to run it."""
    began = time.process_time()
    network = Network("bench")
    core, server = network.router("core"), network.plain_host("server")
    network.connect(core, "203.0.113.1", server, "203.0.113.2")
    server.bind(4500, lambda src, port, data: server.send_udp(src, 4500, port, data))
    answers = 0

    def answered(src: bytes, port: int, data: bytes) -> None:
        nonlocal answers
        answers += 1

    for number in range(nats):
        outside = f"198.18.{number // 250}.{number % 250 + 1}"
        nat = network.router(f"nat-{number}", Napt(parse_address(outside), NaptBehaviour(port_preserving=False)))
        nat.outside, _ = network.connect(nat, outside, core, f"198.19.{number // 250}.{number % 250 + 1}")
        for place in range(CLIENTS_BEHIND_ONE):
            client = network.plain_host(f"client-{number}-{place}")
            network.connect(client, f"10.0.{place}.2", nat, f"10.0.{place}.1")
            client.bind(4500, answered)
            for turn in range(rounds):
                network.clock.at(turn + place / 1000, partial(client.send_udp, server.address, 4500, 4500, b"x"))
    find_routes(network)
    built = time.process_time()
    network.clock.run()
    return answers, built - began, time.process_time() - built


def main() -> None:
    """Print a row for each size."""
    print(f"{'NATs':>6} {'clients':>8} {'answers':>8} {'build s':>8} {'run s':>8} {'us/answer':>10} {'peak MB':>8}")
    for nats in (10, 25, 50, 100):
        answers, building, running = run(nats)
        expected = nats * CLIENTS_BEHIND_ONE * ROUNDS
        if answers != expected:
            sys.exit(f"{answers} answers came back, not {expected}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cost = running / answers * 1e6
        row = f"{nats * CLIENTS_BEHIND_ONE:8} {answers:8} {building:8.3f} {running:8.3f} {cost:10.0f} {peak:8.0f}"
        print(f"{nats:6} {row}")


if __name__ == "__main__":
    main()
