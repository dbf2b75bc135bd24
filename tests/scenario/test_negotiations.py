"""A part of the matrix of tests/negotiations.py, which `make negotiations` runs in full."""

import pytest

from nicsim.scenario.connections import NATT_VERSIONS
from tests.negotiations import (
    AUTHENTICATIONS,
    EXCHANGES,
    LAYOUTS,
    MODES,
    PROPOSALS,
    Case,
    every_case,
    judged,
    run,
    whole,
)

CASES = list(every_case())


def test_the_matrix_is_as_large_as_it_should_be() -> None:
    assert len(CASES) == len(set(CASES)) >= 500
    sizes = [len(values) for values in (EXCHANGES, AUTHENTICATIONS, NATT_VERSIONS, PROPOSALS, MODES, LAYOUTS)]
    assert len(CASES) == sizes[0] * sizes[1] * sizes[2] * sizes[3] * sizes[4] * sizes[5]


@pytest.mark.parametrize("case", CASES[::17], ids=str)
def test_negotiations_over_good_links_end_as_they_should(case: Case) -> None:
    assert judged(case) == []


def test_what_is_wrong_is_noticed() -> None:
    outcome = run(CASES[0])
    assert whole(outcome) == []
    host = outcome.stage.nic_host("server").host
    host.offloader.binding.card.rows.inbound[7] = None
    assert "the NIC of server" in whole(outcome)[0]
    outcome.told.clear()
    assert "neither came up nor gave up" in whole(outcome)[-1]
    assert not judged(CASES[0])
    wrong = Case("main", "psk", "RFC 3947", "aes128-sha1", "tunnel", "A", (("loss", 1.0),))
    assert len(judged(wrong)) >= 4
