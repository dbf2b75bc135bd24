"""scenario/model.py and stage.py: what a file may say, and that each fault gets its sentence."""

import pytest

from nicsim.errors import InputError
from nicsim.scenario.catalogue import load_scenario, scenario_names, scenario_text
from nicsim.scenario.model import parse_scenario
from nicsim.scenario.run import faults

GOOD = """
name = "story"
about = "one datagram"
duration = 1

[nodes.a]
kind = "plain"
[nodes.n]
kind = "nat"
outside = "b"
[nodes.b]
kind = "plain"
ports = [9]

[[links]]
ends = ["a 10.0.0.2", "n 10.0.0.1"]
[[links]]
ends = ["n 203.0.113.1", "b 203.0.113.2"]

[[steps]]
do = "send"
source = "a"
to = "b"
port = 9
source_port = 9

[[expectations]]
see = "received"
node = "b"
"""


def test_a_good_file_has_no_fault() -> None:
    assert faults(GOOD, "story.toml") == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("duration = 1", "duration = 0", "greater than 0"),
        ("duration = 1", "duration = 1e99", "less than or equal"),
        ("duration = 1", "duration = inf", "less than or equal"),
        ('about = "one datagram"', "", "about: Field required"),
        ('about = "one datagram"', "about = 'x'\ncolour = 'red'", "colour: Extra inputs"),
        ('kind = "nat"', 'kind = "cat"', "nodes.n: Input tag 'cat'"),
        ('outside = "b"', 'outside = "a"', None),
        ('outside = "b"', 'outside = "nobody"', "n needs a link to nobody"),
        ('"a 10.0.0.2"', '"a"', "an end needs a node and its address"),
        ('"a 10.0.0.2"', '"a 10.0.0.256"', "does not appear to be an IPv4 or IPv6 address"),
        ('"a 10.0.0.2"', '"x 10.0.0.2"', "link 1 names the node 'x', which is none of a, n, b"),
        ('"a 10.0.0.2"', '"a 2001:db8::1"', "two addresses of one family"),
        ('source = "a"', 'source = "x"', "step 1 names the node 'x'"),
        ('do = "send"\nsource = "a"', 'do = "send"\nsource = "n"', "the node n needs to be a host"),
        ('to = "b"', 'to = "c"', "'c' is neither a node nor an address"),
        ('node = "b"', 'node = "c"', "expectation 1 names the node 'c'"),
        ("port = 9\nsource_port = 9", "port = 65536\nsource_port = 9", "steps.0.send.port"),
        ("source_port = 9", "source_port = 9\ntimes = 1000000000", "less than or equal to 100000"),
        ('do = "send"', 'do = "sing"', "Input tag 'sing'"),
        ('see = "received"', 'see = "heard"', "Input tag 'heard'"),
        ("[[expectations]]", "[[hopes]]", "expectations: Field required"),
        ("[nodes.a]", "[nodes.A]", "nodes.A"),
        ("duration = 1", "duration =", "is no TOML"),
        ("duration = 1", f"duration = {'1' * 5000}", "is no TOML"),
        ('[[steps]]', '[[links]]\nends = ["a 10.9.0.2", "b 10.9.0.1"]\n[[steps]]', "needs one link, not 2"),
        ('outside = "b"', 'outside = "b"\naddresses = {"10.0.0.2" = "x"}', "Expected 4 octets"),
        (
            'outside = "b"',
            'outside = "b"\naddresses = {"10.0.0.2" = "203.0.113.9", "10.0.0.3" = "203.0.113.9"}',
            "a different outside address",
        ),
        ('kind = "plain"\nports', 'kind = "plain"\necho = 1\nports', "nodes.b.plain.echo: Extra inputs"),
    ],
)  # fmt: skip
def test_each_fault_has_its_sentence(old: str, new: str, said: str | None) -> None:
    assert old in GOOD
    found = faults(GOOD.replace(old, new, 1), "story.toml")
    if said is None:
        assert found == []
        return
    assert any(said in fault for fault in found), found
    assert all(fault.startswith("story.toml: ") and "\n" not in fault for fault in found)


def test_all_faults_are_told_and_the_first_is_raised() -> None:
    text = GOOD.replace("duration = 1", "duration = -1").replace('kind = "nat"', 'kind = "cat"')
    assert len(faults(text, "story.toml")) == 2
    with pytest.raises(InputError, match="duration"):
        parse_scenario(text, "story.toml")


def test_ours_are_good_and_named_as_their_files() -> None:
    for name in scenario_names():
        assert faults(*scenario_text(name)) == []
        assert load_scenario(name).name == name


def test_what_is_neither_ours_nor_a_file_is_refused(tmp_path: object) -> None:
    with pytest.raises(InputError, match="neither a file nor one of"):
        load_scenario("no-such-story")
