"""Negotiations over bad links, by the seed: loss up to 30 %, duplication, reordering and damage at any message.

    python -m tests.sweep_loss --runs 1000        the sweep; prints the seeds that fail
    python -m tests.sweep_loss --seed 77          one run again, to the byte

Each seed draws a combination of exchange, authentication, NAT traversal version, proposal, mode and NAT layout, a kind
of card, what the links do, and a story: a client connects, sends, one side or both rekey while packets go, one deletes,
the client connects again and sends, one side or both end it. In the end both hosts are closed and left alone. All the
way the tables of both NICs have to hold what their hosts think; in the end nothing may be left, and every exchange must
have ended with an event.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nicsim.errors import NicsimError
from nicsim.events import (
    AssociationsDeleted,
    AssociationsReady,
    ExchangeFailed,
    IkeDown,
    IkeUp,
    MessageSeen,
    OutboundUsable,
)
from nicsim.host.offloader import Offloaded
from nicsim.network.chance import Chance
from nicsim.network.events import Event, Told
from nicsim.network.nic_host import NicHost
from nicsim.nic import Nic
from nicsim.reasons import Reason
from nicsim.scenario.checks import tables_agree
from nicsim.scenario.connections import NATT_VERSIONS
from nicsim.scenario.model import CloseStep, ConnectStep, DeleteStep, RekeyStep, SendStep, Step
from nicsim.scenario.stage import Cards, Stage, set_stage
from nicsim.scenario.steps import plan
from nicsim.wire.isakmp import ExchangeType, parse_header
from tests.negotiations import AUTHENTICATIONS, EXCHANGES, LAYOUTS, MODES, PROPOSALS, Case

REKEYED, DELETED, CONNECTED_AGAIN, CLOSED, BOTH_CLOSED, END = 400.0, 800.0, 820.0, 1300.0, 1500.0, 4000.0
"""Seconds of virtual time; a phase 1 and a quick mode, both given up, take less than 350."""
CHECKED_EVERY = 50.0
GIVEN_UP_AFTER = 200.0
"""Seconds after which a message that nobody answers is given up, with some to spare."""
PHASE_1 = (ExchangeType.MAIN, ExchangeType.AGGRESSIVE)
WORST = {"loss": 0.3, "duplication": 0.3, "reordering": 0.3, "corruption": 0.05}
SIDES = (("client",), ("server",), ("client", "server"))
PROFILES = ("reference", "ndis51", "ndis60", "ndis61", "tiny", "netdevsim", "nfp-class", "shared-address")


@dataclass(frozen=True, slots=True)
class Run:
    """What one seed draws."""

    case: Case
    # Of both NICs.
    profile: str
    rekeying: tuple[str, ...]
    deleting: str
    closing: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.case}, {self.profile}; rekeyed by {' and '.join(self.rekeying)}, deleted by {self.deleting}, "
            f"closed by {' and '.join(self.closing)}"
        )

    def steps(self) -> Iterator[Step]:
        """The story."""
        to = "192.168.50.1" if self.case.mode == "tunnel" else LAYOUTS[self.case.layout].server
        for at in (0.0, CONNECTED_AGAIN):
            yield ConnectStep(do="connect", node="client", at=at)
        for at in (REKEYED - 5, REKEYED + 350, CLOSED - 20):
            yield SendStep(do="send", source="client", to=to, port=7, source_port=9000, times=20, at=at)
        yield from (RekeyStep(do="rekey", node=node, at=REKEYED) for node in self.rekeying)
        yield DeleteStep(do="delete", node=self.deleting, at=DELETED)
        yield from (CloseStep(do="close", node=node, at=CLOSED) for node in self.closing)
        yield from (CloseStep(do="close", node=node, at=BOTH_CLOSED) for node in ("client", "server"))


def run_of(seed: int) -> Run:
    """Any combination and story, over links that lose, double, delay and damage."""
    chance = Chance(f"sweep {seed}")

    def one_of(values: Any) -> Any:
        choices = list(values)
        return choices[chance.below(len(choices))]

    choices = [one_of(of) for of in (EXCHANGES, AUTHENTICATIONS, NATT_VERSIONS, PROPOSALS, MODES, LAYOUTS)]
    conditions = tuple((name, round(most * chance.below(101) / 100, 4)) for name, most in WORST.items())
    case = Case(*choices, conditions=(*conditions, ("late", 2.5)), seed=str(seed))
    return Run(case, one_of(PROFILES), one_of(SIDES), one_of(("client", "server")), one_of(SIDES))


@dataclass(slots=True)
class Outcome:
    """What came of a run."""

    stage: Stage
    told: list[Told] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def of(self, kind: type[Any], node: str) -> list[Any]:
        """What one host told of one kind."""
        return [one.event for one in self.told if one.node == node and isinstance(one.event, kind)]

    def hosts(self) -> Iterator[tuple[str, NicHost]]:
        """The hosts that negotiate."""
        for name, node in self.stage.network.nodes.items():
            if isinstance(node, NicHost):
                yield name, node


def set_out(run: Run) -> Outcome:
    """The stage of a run with its story on the clock; nothing has happened yet."""
    told: list[Told] = []

    def observe(event: Event) -> None:
        if isinstance(event, Told):
            told.append(event)

    outcome = Outcome(set_stage(run.case.scenario(), run.case.seed, Cards(run.profile), observe), told)
    plan(outcome.stage, run.steps())
    return outcome


def play(run: Run) -> Outcome:
    """Play a run to its end, and judge it on the way. Raises whatever is a bug."""
    outcome = set_out(run)
    clock = outcome.stage.network.clock
    while clock.now < END:
        clock.run(until=clock.now + CHECKED_EVERY)
        outcome.faults += [f"at {clock.now:.0f} s: {fault}" for fault in disagreements(outcome)]
    outcome.faults += [*left_behind(outcome), *without_an_end(outcome)]
    return outcome


def disagreements(outcome: Outcome) -> Iterator[str]:
    """What a NIC holds otherwise than its host thinks, entry by entry, and work that is overdue."""
    yield from (f"{check.what}; it holds {check.seen}" for check in tables_agree(outcome.stage) if not check.passed)
    for name, node in outcome.hosts():
        due = node.host.next_deadline()
        if due is not None and due < node.clock.now:
            yield f"{name} had something to do at {due}"
        database, daemon = node.host.associations, node.host.peer._daemon
        if set(database.pairs) != set(daemon.pairs):
            yield f"{name} holds the pairs {set(database.pairs)}, its daemon {set(daemon.pairs)}"
        users: Counter[int] = Counter()
        handles = set()
        for pair in database.pairs.values():
            if pair.inbound is None or pair.outbound is None:
                yield f"{name} holds half of the pair {pair.number}"
            placed = [held.outcome for held in pair.directions() if isinstance(held.outcome, Offloaded)]
            handles |= {offloaded.handle for offloaded in placed}
            users.update(one.parser_entry.handle for one in placed if one.parser_entry is not None)
        entries = {entry.handle: entry.references for entry in node.host.offloader.parser_entries}
        if entries != users:
            yield f"{name} counts references {entries}, and associations use {dict(users)}"
        state = nic_of(node).driver.state  # type: ignore[attr-defined]
        if set(state.parser_entries) != set(entries):
            yield f"the driver of {name} has the entries {set(state.parser_entries)}, its host {set(entries)}"
        if set(state.associations) != handles:
            yield f"the driver of {name} has the associations {set(state.associations)}, its host {handles}"


def left_behind(outcome: Outcome) -> Iterator[str]:
    """What is still there when both hosts have been closed and left alone."""
    for name, node in outcome.hosts():
        host, daemon, rows = node.host, node.host.peer._daemon, nic_of(node).card.rows
        own = nic_of(node).driver.state.own_parser_row is not None  # type: ignore[attr-defined]
        left = {
            "pairs": len(host.associations.pairs) + len(daemon.pairs),
            "rows": len(rows.inbound) + len(rows.outbound) + len(rows.parser) - own,
            "parser entries": len(host.offloader.parser_entries),
            "policies": len(host.policies),
            "ISAKMP SAs": len(daemon.ike_sas) + len(daemon.by_cookies) + len(daemon.unanswered),
            "half-open ISAKMP SAs": len(daemon.answering) + len(daemon.half_open),
            "SPIs": len(daemon.inbound_spis),
            "paths": len(daemon.paths),
            "identities": len(host._identities),
            "switches": len(host._switches),
            "waiting packets": len(host._waiting),
            "timers": len(daemon.timers) + (host.next_deadline() is not None),
        }
        yield from (f"{name} is left with {count} {what}" for what, count in left.items() if count)


def without_an_end(outcome: Outcome) -> Iterator[str]:
    """Exchanges and associations that began, and of whose end nobody was told.

    An exchange is known by its messages: phase 1 by the cookies (its initiator knows only its own from the start), a
    quick mode by its message id as well.
    """
    for name, _ in outcome.hosts():
        ups, failures = outcome.of(IkeUp, name), outcome.of(ExchangeFailed, name)
        phase_1, quick = set(), set()
        began: set[bytes] = set()
        for seen in outcome.of(MessageSeen, name):
            header = parse_header(seen.plain)
            cookies = header.initiator_cookie, header.responder_cookie
            if seen.exchange == ExchangeType.QUICK:
                quick.add((*cookies, seen.message_id))
            elif seen.exchange in PHASE_1 and seen.sent:
                if not any(header.responder_cookie):
                    began.add(header.initiator_cookie)
                phase_1.add(cookies if header.initiator_cookie not in began else cookies[:1])
        readies, deleted = outcome.of(AssociationsReady, name), outcome.of(AssociationsDeleted, name)
        usable = {one.pair for one in outcome.of(OutboundUsable, name)}
        failed = Counter(one.exchange in PHASE_1 for one in failures)
        # A pair can be deleted whose quick mode is not done here yet; that may be all that is told of its end.
        in_the_making = sum(one.pair not in usable and one.reason is Reason.IKE_DELETED for one in deleted)
        ends = {
            "phase 1": (len(phase_1), len(ups) + failed[True], 0),
            "quick mode": (len(quick), len(usable) + failed[False], in_the_making),
            "ISAKMP SA": (len(ups), len(outcome.of(IkeDown, name)), 0),
            "pair": (len(readies), len(deleted), 0),
        }
        for pair, at in unconfirmed(outcome, name):
            yield f"{name} held the pair {pair} of {at:.0f} s, which nobody confirmed, for too long"
        for what, (begun, ended, otherwise) in ends.items():
            if not begun - otherwise <= ended <= begun:
                yield f"{name} began {begun} of {what} and told of {ended} ends"


def unconfirmed(outcome: Outcome, name: str) -> Iterator[tuple[int, float]]:
    """Pairs, with their time, that were neither usable nor gone when their quick mode must have been given up."""
    settled: dict[int, float] = {}
    for one in outcome.told:
        if one.node == name and isinstance(one.event, OutboundUsable | AssociationsDeleted):
            settled.setdefault(one.event.pair, one.time)
    for one in outcome.told:
        if one.node == name and isinstance(one.event, AssociationsReady):
            pair = one.event.pair
            if settled.get(pair, END) > one.time + GIVEN_UP_AFTER:
                yield pair, one.time


def nic_of(node: NicHost) -> Nic:
    """The NIC of a host."""
    assert isinstance(node.nic, Nic)
    return node.nic


def judged(run: Run) -> list[str]:
    """What is wrong with a run; an exception is wrong too."""
    try:
        return play(run).faults
    except (NicsimError, AssertionError, LookupError, TypeError, ValueError, AttributeError):
        return [traceback.format_exc()]


def main() -> int:
    """Sweep; status 1 with the failing seeds where something is wrong."""
    parser = argparse.ArgumentParser(description="Negotiations over bad links, by the seed.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this seed alone")
    arguments = parser.parse_args()
    seeds = [arguments.seed] if arguments.seed is not None else range(arguments.first, arguments.first + arguments.runs)
    failing = 0
    for seed in seeds:
        run = run_of(seed)
        faults = judged(run)
        if faults:
            failing += 1
            again = f"python -m tests.sweep_loss --seed {seed}"
            sys.stdout.write("\n  ".join([f"{run}: again with {again}", *faults]) + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(seeds)} runs, {failing} with faults\n")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
