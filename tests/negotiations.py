"""Negotiations over simulated networks: every combination that there is, over good links. Each must end as it should.

    python -m tests.negotiations

Over bad links, see tests/sweep_loss.py.

A client negotiates with a server, sends packets, rekeys, and ends it. The combinations are of exchange, authentication,
version of NAT traversal, proposal, mode and NAT layout.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nicsim.errors import NicsimError
from nicsim.events import AssociationsReady, ExchangeFailed, IkeUp, Nat
from nicsim.host.ike import natt
from nicsim.network.events import Event, Told
from nicsim.network.nic_host import NicHost
from nicsim.scenario.checks import tables_agree
from nicsim.scenario.connections import NATT_VERSIONS
from nicsim.scenario.model import Scenario
from nicsim.scenario.stage import Stage, set_stage
from nicsim.scenario.steps import plan

EXCHANGES = ("main", "aggressive")
AUTHENTICATIONS = ("psk", "certificate")
PROPOSALS = ("3des-md5", "aes128-sha1", "aes256-sha256", "des-sha1", "null-sha1")
MODES = ("tunnel", "transport")
PACKETS = 5
CONNECTED_BY, REKEYED_BY, ENDED_BY, END = 300.0, 500.0, 800.0, 1200.0
"""Seconds of virtual time; giving up a message takes less than 170."""


@dataclass(frozen=True, slots=True)
class Layout:
    """NATs on the way, as the client sees them first; where the client finds the server, and what each side detects."""

    nodes: dict[str, dict[str, Any]]
    links: tuple[tuple[str, str], ...]
    server: str
    client_sees: Nat
    server_sees: Nat


NAPT = {"kind": "nat", "port_preserving": False}
ONE_TO_ONE = {"kind": "nat", "addresses": {"10.8.0.2": "198.51.100.2"}}
LAYOUTS = {
    "none": Layout({}, (("client 203.0.113.5", "server 203.0.113.2"),), "203.0.113.2", Nat.NONE, Nat.NONE),
    "A": Layout(
        {"nat": NAPT | {"outside": "server"}},
        (("client 10.0.0.2", "nat 10.0.0.1"), ("nat 203.0.113.1", "server 203.0.113.2")),
        "203.0.113.2",
        Nat.LOCAL,
        Nat.REMOTE,
    ),
    "B": Layout(
        {"nat": NAPT | {"outside": "nat2"}, "nat2": ONE_TO_ONE | {"outside": "nat"}},
        (
            ("client 10.0.0.2", "nat 10.0.0.1"),
            ("nat 203.0.113.1", "nat2 203.0.113.254"),
            ("nat2 10.8.0.1", "server 10.8.0.2"),
        ),
        "198.51.100.2",
        Nat.BOTH,
        Nat.BOTH,
    ),
    "C": Layout(
        {"nat": NAPT | {"outside": "carrier"}, "carrier": NAPT | {"outside": "server"}},
        (
            ("client 10.0.0.2", "nat 10.0.0.1"),
            ("nat 100.64.0.2", "carrier 100.64.0.1"),
            ("carrier 203.0.113.1", "server 203.0.113.2"),
        ),
        "203.0.113.2",
        Nat.LOCAL,
        Nat.REMOTE,
    ),
    "D": Layout(
        {"nat2": ONE_TO_ONE | {"outside": "client"}},
        (("client 203.0.113.5", "nat2 203.0.113.254"), ("nat2 10.8.0.1", "server 10.8.0.2")),
        "198.51.100.2",
        Nat.REMOTE,
        Nat.LOCAL,
    ),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One combination, and what the links do to it."""

    exchange: str
    authentication: str
    version: str
    proposal: str
    mode: str
    layout: str
    conditions: tuple[tuple[str, float], ...] = ()
    seed: str = "1"

    def __str__(self) -> str:
        bad = "".join(f", {name} {value}" for name, value in self.conditions)
        return (
            f"{self.exchange}, {self.authentication}, {self.version}, {self.proposal}, {self.mode}, NAT layout "
            f"{self.layout}{bad}, seed {self.seed}"
        )

    def scenario(self) -> Scenario:
        """The story of this combination."""
        layout = LAYOUTS[self.layout]
        tunnel = self.mode == "tunnel"
        steps: list[dict[str, Any]] = [
            {"do": "connect", "node": "client"},
            {"do": "rekey", "node": "client", "at": CONNECTED_BY + 50.0},
            {"do": "close", "node": "client", "at": REKEYED_BY + 50.0},
        ]
        for start in (CONNECTED_BY, REKEYED_BY):
            sending = {"do": "send", "source": "client", "port": 7, "source_port": 9000, "times": PACKETS}
            steps.append(sending | {"at": start, "to": "192.168.50.1" if tunnel else layout.server})
        return Scenario.model_validate(
            {
                "name": "negotiation",
                "about": str(self),
                "duration": END,
                "nodes": {
                    "client": self._host("client", layout.server),
                    **layout.nodes,
                    "server": self._host("server", None),
                },
                "links": [{"ends": ends} | dict(self.conditions) for ends in layout.links],
                "steps": steps,
                "expectations": [{"see": "holdings", "node": "server"}],
            }
        )

    def _host(self, name: str, peer: str | None) -> dict[str, Any]:
        is_client, tunnel = name == "client", self.mode == "tunnel"
        ends = ("10.9.0.2/32", "192.168.50.0/24")
        connection: dict[str, Any] = {
            "name": "it",
            "peer": peer,
            "exchange": self.exchange,
            "natt_versions": [self.version],
            "phase2": [self.proposal],
            "mode": self.mode,
            "local": ends[not is_client] if tunnel else None,
            "remote": ends[is_client] if tunnel else None,
        }
        connection |= {"psk": "secret"} if self.authentication == "psk" else {"certificate": name}
        if self.authentication == "psk" and natt.VERSIONS[self.version].names_ends:
            connection |= {"identity": f"{name}.example"}
        return {
            "kind": "host",
            "connections": [connection],
            "inner_addresses": [("10.9.0.2" if is_client else "192.168.50.1")] if tunnel else [],
            "ports": [9000 if is_client else 7],
            "echoes": not is_client,
        }


@dataclass(slots=True)
class Outcome:
    """What came of one case."""

    stage: Stage
    told: list[Told]

    def of(self, kind: type[Any], node: str) -> list[Any]:
        """What one host told of one kind."""
        return [one.event for one in self.told if one.node == node and isinstance(one.event, kind)]

    def answers(self, after: float) -> int:
        """Echoes that came back to the client within the 50 seconds after a time."""
        arrivals = self.stage.arrivals
        return sum(one.node == "client" and after <= one.time < after + 50.0 for one in arrivals)


def run(case: Case) -> Outcome:
    """Play a case to its end. Raises whatever is a bug, a broken rule of the NIC among them."""
    told: list[Told] = []

    def observe(event: Event) -> None:
        if isinstance(event, Told):
            told.append(event)

    scenario = case.scenario()
    stage = set_stage(scenario, case.seed, observer=observe)
    plan(stage, scenario.steps)
    stage.network.clock.run(until=scenario.duration)
    return Outcome(stage, told)


def whole(outcome: Outcome) -> list[str]:
    """What is wrong whatever the links did: a NIC that holds other things than its host, or work that is overdue."""
    stage = outcome.stage
    faults = [f"{check.what}; it holds {check.seen}" for check in tables_agree(stage) if not check.passed]
    for name, node in stage.network.nodes.items():
        if isinstance(node, NicHost):
            due = node.host.next_deadline()
            if due is not None and due < stage.network.clock.now:
                faults.append(f"{name} had something to do at {due}")
            if len({one.pair for one in node.host.holdings().associations}) * 2 != len(
                node.host.holdings().associations
            ):
                faults.append(f"{name} holds half a pair")
    begun = [*outcome.of(IkeUp, "client"), *outcome.of(ExchangeFailed, "client")]
    if not begun:
        faults.append("the client neither came up nor gave up")
    return faults


def as_it_should(case: Case, outcome: Outcome) -> list[str]:
    """What is wrong over good links, where everything has to work."""
    faults, layout = whole(outcome), LAYOUTS[case.layout]
    seen = {"client": layout.client_sees, "server": layout.server_sees}
    if natt.VERSIONS[case.version].one_hash and layout.nodes:  # it tells that there is a NAT, and not where
        seen = dict.fromkeys(seen, Nat.SOMEWHERE)
    for node, sees in seen.items():
        ups, pairs = outcome.of(IkeUp, node), outcome.of(AssociationsReady, node)
        if [(up.natt_version, up.nat) for up in ups] != [(case.version, sees)]:
            faults.append(f"{node} came up as {[(up.natt_version, up.nat.value) for up in ups]}")
        if len(pairs) != 2:
            faults.append(f"{node} agreed on {len(pairs)} pairs, not on one and the one after the rekey")
        if outcome.stage.nic_host(node).host.holdings().associations:
            faults.append(f"{node} holds associations after the end")
    answers = [outcome.answers(after) for after in (CONNECTED_BY, REKEYED_BY)]
    if answers != [PACKETS, PACKETS]:
        faults.append(f"{answers} answers came, not {PACKETS} each time")
    return faults


def every_case() -> Iterator[Case]:
    """The matrix."""
    for values in itertools.product(EXCHANGES, AUTHENTICATIONS, NATT_VERSIONS, PROPOSALS, MODES, LAYOUTS):
        yield Case(*values)


def judged(case: Case) -> list[str]:
    """What is wrong with one case; an exception is wrong too."""
    try:
        return as_it_should(case, run(case))
    except NicsimError as error:
        return [f"{type(error).__name__}: {error}"]


def main() -> int:
    """Run every case; status 1 with the failing ones where something is wrong."""
    runs = failures = 0
    for case in every_case():
        runs += 1
        for fault in judged(case):
            failures += 1
            sys.stdout.write(f"{case}: {fault}\n")
    sys.stdout.write(f"{runs} runs, {failures} faults\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
