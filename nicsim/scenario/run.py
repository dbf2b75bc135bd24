"""Running a scenario: the steps at their times, every event as a line of the ladder, and then the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nicsim.errors import InputError
from nicsim.network.events import Crossing, Dropped, Event, Fate
from nicsim.network.recording import Point, Recording
from nicsim.network.router import Router
from nicsim.network.tracepath import Tracepath
from nicsim.scenario.checks import check
from nicsim.scenario.model import KeepaliveStep, RestartStep, Scenario, SendStep, Step, TracepathStep
from nicsim.scenario.results import Line, LineKind, ScenarioResult, Transcript
from nicsim.scenario.sight import see
from nicsim.scenario.stage import Stage, set_stage
from nicsim.wire.esp import KEEPALIVE

MOST_LINES = 1_000_000
"""Of one run; what a reader could want is far less, and a mistaken file far more."""


@dataclass(slots=True)
class Run:
    """One run of a scenario, from its file to its result."""

    scenario: Scenario
    seed: str
    result: ScenarioResult = field(init=False)
    points: list[Point] = field(default_factory=list)

    def go(self, *, record: bool = False) -> ScenarioResult:
        """Run it. Raises InputError where the file asks for what cannot be, NicsimError where it gets out of hand."""
        scenario = self.scenario
        self.result = ScenarioResult(scenario.name, scenario.about, self.seed, tuple(scenario.nodes))
        stage = set_stage(scenario, f"{scenario.name}/{self.seed}")
        stage.network.observers.append(self._observe)
        if record:
            self.points = list(Recording(stage.network).points.values())
        for step in scenario.steps:
            _plan(stage, step)
        stage.network.clock.run(until=scenario.duration)
        self.result.ended = stage.network.clock.now
        self.result.transcripts = [
            Transcript(name, "tracepath", tuple(trace.lines)) for name, trace in stage.traces.items()
        ]
        self.result.checks = [check(one, self.result.lines, stage) for one in scenario.expectations]
        return self.result

    def _observe(self, event: Event) -> None:
        if len(self.result.lines) >= MOST_LINES:
            raise InputError(f"the scenario {self.scenario.name} has more than {MOST_LINES} events")
        self.result.lines.append(line_of(event))


def line_of(event: Event) -> Line:
    """An event of the network as a line."""
    if isinstance(event, Crossing):
        sight = see(event.packet)
        return Line(
            event.time,
            LineKind.PACKET,
            event.source,
            str(sight),
            event.target,
            sight.source,
            sight.target,
            sight.what,
            sight.source_port,
            sight.target_port,
            sight.size,
            "" if event.fate is Fate.CARRIED else event.fate.value,
        )
    if isinstance(event, Dropped):
        return Line(event.time, LineKind.DROP, event.node, f"{see(event.packet)}: {event.why}")
    return Line(event.time, LineKind.NOTE, event.node, event.what)


def _plan(stage: Stage, step: Step) -> None:
    """Put a step on the clock."""
    clock = stage.network.clock
    if isinstance(step, SendStep | KeepaliveStep):
        for number in range(step.times):
            clock.at(step.at + number * step.every, _sending(stage, step))
    elif isinstance(step, RestartStep):
        router = stage.node(step.node)
        if not isinstance(router, Router):
            raise InputError(f"the node {step.node} needs to be a NAT to be restarted")
        clock.at(step.at, router.restart)
    else:
        clock.at(step.at, _tracing(stage, step))


def _sending(stage: Stage, step: SendStep | KeepaliveStep) -> Callable[[], None]:
    host, target = stage.plain_host(step.source), stage.address(step.to)
    data = KEEPALIVE if isinstance(step, KeepaliveStep) else step.data.encode().ljust(step.length, b"\0")
    return lambda: host.send_udp(target, step.source_port, step.port, data)


def _tracing(stage: Stage, step: TracepathStep) -> Callable[[], None]:
    host, target = stage.plain_host(step.source), stage.address(step.to)
    trace = stage.traces[step.source] = Tracepath(host, target)
    return trace.start
