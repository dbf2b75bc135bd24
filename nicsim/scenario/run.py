"""Running a scenario: the steps at their times, every event as a line of the ladder, and then the checks."""

from __future__ import annotations

from dataclasses import dataclass, field

from nicsim.errors import InputError
from nicsim.events import EspReceived, PacketDropped
from nicsim.impairments import Impaired
from nicsim.network.events import Crossing, Dropped, Event, Fate, Judged, Noted, Told
from nicsim.network.recording import Point, Recording
from nicsim.scenario.checks import check, tables_agree
from nicsim.scenario.files import Keys
from nicsim.scenario.model import Scenario, parse_scenario, scenario_faults
from nicsim.scenario.results import Line, LineKind, ScenarioResult, Transcript
from nicsim.scenario.sight import see
from nicsim.scenario.stage import Cards, set_stage
from nicsim.scenario.steps import plan
from nicsim.scenario.telling import words_for

MOST_LINES = 1_000_000
"""Of one run; what a reader could want is far less, and a mistaken file far more."""


@dataclass(slots=True)
class Run:
    """One run of a scenario, from its file to its result."""

    scenario: Scenario
    seed: str
    result: ScenarioResult = field(init=False)
    # For the hosts' NICs: another kind of card, and ways to misbehave.
    profile: str | None = None
    impairments: tuple[Impaired, ...] = ()
    points: list[Point] = field(default_factory=list)
    keys: Keys = field(default_factory=Keys)
    _last_packet: dict[str, Line] = field(default_factory=dict)

    def go(self, *, record: bool = False) -> ScenarioResult:
        """Run it. Raises InputError where the file asks for what cannot be, NicsimError where it gets out of hand."""
        scenario = self.scenario
        self.result = ScenarioResult(scenario.name, scenario.about, self.seed, tuple(scenario.nodes))
        cards = Cards(self.profile, self.impairments, scenario.subject)
        stage = set_stage(scenario, f"{scenario.name}/{self.seed}", cards, self._observe)
        if record:
            self.points = list(Recording(stage.network).points.values())
            stage.network.observers.append(self.keys.observe)
        plan(stage, scenario.steps)
        stage.network.clock.run(until=scenario.duration)
        if record:
            self.keys.finish(stage)
        self.result.ended = stage.network.clock.now
        self.result.transcripts = [
            Transcript(name, "tracepath", tuple(trace.lines)) for name, trace in stage.traces.items()
        ]
        self.result.checks = [check(one, self.result.lines, stage) for one in scenario.expectations]
        self.result.checks += tables_agree(stage)
        return self.result

    def _observe(self, event: Event) -> None:
        if isinstance(event, Judged | Told):
            self._annotate(event)
        else:
            self._add(line_of(event))

    def _add(self, line: Line) -> None:
        if len(self.result.lines) >= MOST_LINES:
            raise InputError(f"the scenario {self.scenario.name} has more than {MOST_LINES} events")
        self.result.lines.append(line)
        if line.kind is LineKind.PACKET:
            self._last_packet[line.target] = line

    def _annotate(self, event: Judged | Told) -> None:
        """What a host makes of the packet that came last goes to that packet's line; all else is a line of its own."""
        if isinstance(event, Judged):
            self._last_packet[event.node].nic = event.reason.label
        elif isinstance(event.event, EspReceived):
            self._last_packet[event.node].host = event.event.verdict
        elif words := words_for(event.event):
            kind = LineKind.DROP if isinstance(event.event, PacketDropped) else LineKind.NOTE
            self._add(Line(event.time, kind, event.node, words))


def line_of(event: Crossing | Dropped | Noted) -> Line:
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


def faults(text: str, where: str) -> list[str]:
    """Everything that is wrong with a scenario's text, a line each; nothing where it can be run."""
    found = scenario_faults(text, where)
    if not found:
        scenario = parse_scenario(text, where)
        try:
            plan(set_stage(scenario, "check"), scenario.steps)
        except InputError as error:
            return [f"{where}: {error}"]
    return found
