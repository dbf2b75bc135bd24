"""A little of the soak (soak.py): hostile buffers of every OID and hostile frames, against the oracle."""

import pytest

from offload_oids import Oid
from tests import documented, soak


@pytest.mark.rule("A-1", "N-OID-3", "N-ADD-6", "N-V2-11", "N-RX-13", "N-RX-14", "N-RX-15", "N-TX-4")
@pytest.mark.parametrize("part", ["buffers", "frames"])
def test_hostile_input_gives_what_is_documented(part: str) -> None:
    for case in range(30):
        soak.run_case(part, 1, case)


def test_a_case_depends_on_its_seed_and_number_alone(capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []

    def failing(chance: object) -> None:
        ran.append(str(chance.random()))  # type: ignore[attr-defined]
        if len(ran) == 3:
            raise AssertionError

    part = "steps"
    before = soak.PARTS[part]
    soak.PARTS[part] = failing
    try:
        with pytest.raises(AssertionError):
            soak.run_part(part, 7, 500)
        assert "failed: python -m tests.soak --seed 7 --part steps --case 2" in capsys.readouterr().err
        soak.run_case(part, 7, 2)
    finally:
        soak.PARTS[part] = before
    assert ran[3] == ran[2]
    assert len(set(ran)) == 3


def test_the_table_knows_every_oid() -> None:
    assert {*documented.SETS, documented.ENCAPSULATION} >= {*Oid}
    assert {*documented.QUERIES} >= {*Oid}
