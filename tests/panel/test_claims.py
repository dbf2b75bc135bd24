"""What `profile show` says of readings, against the place where they are declared."""

import ast
import inspect

from nicsim import capabilities
from nicsim.panel.claims import READING_RULES, claims_of
from nicsim.profile import load_profile
from offload_oids import Abi


def test_every_reading_has_the_rule_that_its_declaration_names() -> None:
    (readings,) = (
        node
        for node in ast.parse(inspect.getsource(capabilities)).body
        if isinstance(node, ast.ClassDef) and node.name == "Readings"
    )
    declared = {}
    for member, about in zip(readings.body, readings.body[1:], strict=False):
        if isinstance(member, ast.AnnAssign) and isinstance(about, ast.Expr) and isinstance(about.value, ast.Constant):
            declared[ast.unparse(member.target)] = str(about.value.value).partition(":")[0]
    assert declared == READING_RULES


def test_a_card_reports_the_same_to_hosts_of_both_widths() -> None:
    for name in ("ndis51", "reference"):
        wide, narrow = (claims_of(load_profile(name), abi) for abi in Abi)
        assert {one.structure for one in wide.reports} == {one.structure for one in narrow.reports}
        assert wide.reports[-1].members == narrow.reports[-1].members
