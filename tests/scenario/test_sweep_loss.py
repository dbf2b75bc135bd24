"""A part of the sweep that `make sweep` runs in full, and whether it notices what it is for."""

import pytest

from nicsim.events import AssociationsDeleted, IkeDown, OutboundUsable
from nicsim.host.pairs import NOT_YET_PLACED
from nicsim.reasons import Reason
from tests.sweep_loss import Outcome, disagreements, left_behind, play, run_of, set_out, without_an_end


@pytest.mark.parametrize("seed", range(60))
def test_negotiations_over_bad_links_neither_hang_nor_leave_halves(seed: int) -> None:
    assert play(run_of(seed)).faults == [], f"python -m tests.sweep_loss --seed {seed}"


def test_a_seed_replays_exactly() -> None:
    first, second = play(run_of(7)), play(run_of(7))
    assert first.told == second.told
    assert first.stage.arrivals == second.stage.arrivals
    assert first.told != play(run_of(8)).told


@pytest.fixture(scope="module")
def ended() -> Outcome:
    """A run with nothing wrong in it."""
    outcome = play(run_of(0))
    assert outcome.faults == []
    return outcome


@pytest.mark.parametrize("lost", [IkeDown, AssociationsDeleted])
def test_an_exchange_of_whose_end_nobody_was_told_is_noticed(ended: Outcome, lost: type) -> None:
    told = list(ended.told)
    told.remove(next(one for one in told if isinstance(one.event, lost)))
    assert len(list(without_an_end(Outcome(ended.stage, told)))) == 1


def test_a_quick_mode_of_whose_end_nobody_was_told_is_noticed(ended: Outcome) -> None:
    replaced = next(
        (one.node, one.event.pair)
        for one in ended.told
        if isinstance(one.event, AssociationsDeleted) and one.event.reason is Reason.IKE_REPLACED
    )
    told = [
        one
        for one in ended.told
        if not (isinstance(one.event, OutboundUsable) and (one.node, one.event.pair) == replaced)
    ]
    assert len(told) == len(ended.told) - 1
    faults = list(without_an_end(Outcome(ended.stage, told)))
    assert [any(words in fault for fault in faults) for words in ("which nobody confirmed", "of quick mode")] == [
        True
    ] * 2


def test_what_is_left_behind_is_noticed() -> None:
    outcome = play(run_of(0))
    for number, (name, node) in enumerate(outcome.hosts(), start=1):
        node.host.peer._daemon.timers.start(1e9, lambda now: None)
        node.host.peer._daemon.inbound_spis.add(bytes(4))
        assert sum(one.startswith(name) for one in left_behind(outcome)) == 2
        assert len(list(left_behind(outcome))) == 2 * number


@pytest.fixture
def under_way() -> Outcome:
    """Two NICs, each with one pair in UDP and a parser entry of version 1."""
    draws = (run_of(seed) for seed in range(1000))
    wanted = ("ndis60", "A", "3des-md5", "tunnel")
    outcome = set_out(
        next(run for run in draws if (run.profile, run.case.layout, run.case.proposal, run.case.mode) == wanted)
    )
    outcome.stage.network.clock.run(until=300.0)
    assert list(disagreements(outcome)) == []
    for _, node in outcome.hosts():
        assert [entry.references for entry in node.host.offloader.parser_entries] == [1]
    return outcome


def test_a_wrong_count_is_noticed(under_way: Outcome) -> None:
    under_way.stage.nic_host("server").host.offloader.parser_entries[0].references += 1
    assert any("server counts references" in fault for fault in disagreements(under_way))


def test_an_entry_that_only_the_driver_has_is_noticed(under_way: Outcome) -> None:
    under_way.stage.nic_host("server").host.offloader.parser_entries.clear()
    assert any("the driver of server has the entries" in fault for fault in disagreements(under_way))


def test_half_of_a_pair_that_stays_on_a_nic_is_noticed(under_way: Outcome) -> None:
    pair = next(iter(under_way.stage.nic_host("client").host.associations.pairs.values()))
    assert pair.outbound is not None
    pair.outbound.outcome = NOT_YET_PLACED
    faults = list(disagreements(under_way))
    assert any("the NIC of client holds what its host thinks" in fault for fault in faults)
    assert any("the driver of client has the associations" in fault for fault in faults)


def test_a_pair_that_only_the_host_has_is_noticed(under_way: Outcome) -> None:
    under_way.stage.nic_host("client").host.peer._daemon.pairs.clear()
    assert any("client holds the pairs" in fault for fault in disagreements(under_way))
