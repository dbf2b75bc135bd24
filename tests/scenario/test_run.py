"""Running scenarios: ours with five seeds each, the same bytes for the same seed, and that expectations can fail."""

import io
import json

import pytest

from nicsim.network.recording import write_point
from nicsim.report.scenario import ladder, scenario_as_json
from nicsim.scenario.catalogue import load_scenario, scenario_names
from nicsim.scenario.model import Scenario, parse_scenario
from nicsim.scenario.results import Line, LineKind, ScenarioResult
from nicsim.scenario.run import Run
from tests.scenario.test_model import GOOD

SEEDS = ("1", "2", "3", "4", "5")


def run(scenario: Scenario, seed: str = "1") -> ScenarioResult:
    return Run(scenario, seed).go()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", scenario_names())
def test_our_scenarios_pass(name: str, seed: str) -> None:
    result = run(load_scenario(name), seed)
    assert result.passed, [check for check in result.checks if not check.passed]


@pytest.mark.parametrize("name", scenario_names())
def test_the_same_seed_gives_the_same_bytes(name: str) -> None:
    def all_of_it() -> tuple[str, bytes]:
        one, stream = Run(load_scenario(name), "7"), io.BytesIO()
        result = one.go(record=True)
        for point in one.points:
            write_point(stream, point)
        return json.dumps(scenario_as_json(result)), stream.getvalue()

    assert all_of_it() == all_of_it()


def story(changes: str = "", **replaced: str) -> Scenario:
    text = GOOD + changes
    for old, new in replaced.items():
        text = text.replace(old, new)
    return parse_scenario(text, "story.toml")


@pytest.mark.parametrize(
    ("expectation", "passes"),
    [
        ('see = "received"\nnode = "b"\nport = 9\nsource = "203.0.113.1"\nsource_port = 9\nlength = 5', True),
        ('see = "received"\nnode = "b"\ncount = 1', True),
        ('see = "received"\nnode = "b"\ncount = 2', False),
        ('see = "received"\nnode = "b"\ncount = 0', False),
        ('see = "received"\nnode = "b"\nat_least = 2', False),
        ('see = "received"\nnode = "b"\nat_most = 0', False),
        ('see = "received"\nnode = "b"\nat_most = 1', True),
        ('see = "received"\nnode = "b"\nport = 10', False),
        ('see = "received"\nnode = "b"\nsource = "10.0.0.2"', False),
        ('see = "received"\nnode = "b"\nsource_port = 10', False),
        ('see = "received"\nnode = "b"\nlength = 6', False),
        ('see = "received"\nnode = "b"\nafter = 0.5', False),
        ('see = "received"\nnode = "b"\nbefore = 0.001', False),
        ('see = "received"\nnode = "a"', False),
        ('see = "crossing"\nsource = "n"\ntarget = "b"\nwhat = "UDP"\nport = 9\nsize = 33', True),
        ('see = "crossing"\nsource = "n"\ntarget = "b"\nsource_address = "203.0.113.1"', True),
        ('see = "crossing"\nsource = "n"\ntarget = "b"\ntarget_address = "203.0.113.1"', False),
        ('see = "crossing"\nsource = "b"\ntarget = "n"', False),
        ('see = "crossing"\nsource = "n"\ntarget = "b"\nwhat = "IKE"', False),
        ('see = "crossing"\nsource = "n"\ntarget = "b"\nsize = 34', False),
        ('see = "crossing"\nsource = "n"\ntarget = "b"\nfate = "lost"', False),
        ('see = "crossing"\nsource = "n"\ntarget = "b"\nfate = "carried"', True),
        ('see = "dropped"\nnode = "n"', False),
        ('see = "noted"\nnode = "n"\nwhat = "10.0.0.2:9 is 203.0.113.1:9 outside"', True),
        ('see = "noted"\nnode = "n"\nwhat = "timed out"', False),
        ('see = "path-mtus"\nnode = "a"\npath_mtus = [1500]', False),
    ],
)  # fmt: skip
def test_an_expectation_passes_exactly_where_it_should(expectation: str, passes: bool) -> None:
    result = run(story(f"\n[[expectations]]\n{expectation}\n"))
    assert [check.passed for check in result.checks] == [True, passes]
    assert result.passed is passes


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        ("associations = 2\non_nic = 2\nin_software = 0\nparser_entries = 1\nreferences = 1", True),
        ("associations = 3", False),
        ("on_nic = 1", False),
        ("in_software = 1", False),
        ("parser_entries = 0", False),
        ("references = 2", False),
        ('reason = "sa-table-full"', False),
    ],
)
def test_what_a_host_holds_is_checked(wanted: str, passes: bool) -> None:
    whole = load_scenario("road-warrior-certificates")
    expected = parse_scenario(
        f'{GOOD}\n[nodes.server]\nkind = "host"\n[[links]]\nends = ["server 10.5.0.1", "n 10.5.0.2"]\n'
        f'[[expectations]]\nsee = "holdings"\nnode = "server"\n{wanted}\n',
        "story.toml",
    ).expectations[-1:]
    result = run(whole.model_copy(update={"expectations": expected}))
    assert result.checks[0].passed is passes


def test_a_tracepath_is_checked_and_its_lines_are_kept() -> None:
    trace = '\n[[steps]]\ndo = "tracepath"\nsource = "a"\nto = "b"\n'
    checks = '\n[[expectations]]\nsee = "path-mtus"\nnode = "a"\npath_mtus = [1500, 1300]\n'
    narrow = {'"b 203.0.113.2"]': '"b 203.0.113.2"]\nmtu = 1300', "duration = 1": "duration = 9"}
    result = run(story(trace + checks, **narrow))
    assert result.passed
    assert result.transcripts[0].lines[-1].strip() == "Resume: pmtu 1300 hops 2 back 2"
    wrong = story(trace + checks.replace("1300", "1301"), **narrow)
    assert not run(wrong).passed


def test_losses_show_in_the_ladder_and_change_with_the_seed() -> None:
    lossy = story(
        **{
            "source_port = 9": "source_port = 9\ntimes = 50\nevery = 0.01",
            '"b 203.0.113.2"]': '"b 203.0.113.2"]\nloss = 0.5',
        }
    )
    fates = {seed: [line.fate for line in run(lossy, seed).lines] for seed in SEEDS}
    assert all("lost" in one for one in fates.values())
    assert len({tuple(one) for one in fates.values()}) == len(SEEDS)


def test_the_ladder_draws_arrows_between_columns() -> None:
    lines = [
        Line(0.001, LineKind.PACKET, "a", "500>500 IKE main", "n"),
        Line(0.002, LineKind.PACKET, "n", "1>500 IKE main", "b", nic="ike"),
        Line(0.003, LineKind.PACKET, "b", "500>1 IKE main", "n", fate="lost"),
        Line(0.004, LineKind.NOTE, "n", "starts again"),
        Line(0.005, LineKind.DROP, "b", "for nobody"),
    ]
    heads, *drawn = ladder(("a", "n", "b"), lines)
    at = [heads.index(f" {node}") + 1 for node in "anb"]
    assert all(row[column] in "|*x" for row in drawn for column in at)
    assert drawn[0][at[0] : at[1] + 1].startswith("|-")
    assert drawn[0][at[1] - 1] == ">"
    assert drawn[1].endswith("|  NIC: ike")
    assert drawn[2][at[1] + 1] == "x"
    assert "500>1 IKE main (lost)" in drawn[2]
    assert drawn[3][at[1]] == "*"
    assert drawn[3].endswith("n: starts again")
    assert drawn[4][at[2]] == "x"


def test_too_many_columns_make_a_list() -> None:
    nodes = tuple(f"n{number}" for number in range(12))
    lines = [Line(0.0, LineKind.PACKET, nodes[number], "x", nodes[number + 1]) for number in range(11)]
    assert next(ladder(nodes, lines)).split() == ["0.000000", "n0", "->", "n1:", "x"]


def test_a_run_that_gets_out_of_hand_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from nicsim.errors import InputError
    from nicsim.scenario import run as module

    monkeypatch.setattr(module, "MOST_LINES", 2)
    with pytest.raises(InputError, match="more than 2 events"):
        run(story())


def test_a_scenario_without_what_it_expects_fails() -> None:
    """Each of our scenarios, with one of its steps left out at a time, notices for at least one of them."""
    for name in scenario_names():
        whole = load_scenario(name)
        spoiled = [
            whole.model_copy(update={"steps": whole.steps[:number] + whole.steps[number + 1 :]})
            for number in range(len(whole.steps))
        ]
        assert not all(run(one).passed for one in spoiled), name
