"""The policy database: which packets a selector means, which policy decides, and that policies survive as text."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import InputError, Malformed
from nicsim.events import Selector
from nicsim.host.policy import (
    Action,
    Direction,
    Policy,
    PolicyDatabase,
    Template,
    TrafficSelector,
    traffic_of,
)
from nicsim.host.setkey import read_setkey
from nicsim.ipsec.association import Mode
from nicsim.wire.headers import MORE_FRAGMENTS, build_ipv4, build_ipv6, build_udp, parse_address

HERE, THERE = parse_address("10.0.0.2"), parse_address("192.168.50.1")
HERE6, THERE6 = parse_address("2001:db8::2"), parse_address("2001:db8:50::1")
TCP_PORTS = bytes.fromhex("c0000050") + bytes(16)


def to(network: str, protocol: int = 0, port: int = 0) -> Selector:
    return Selector(ip_network(network), protocol, port)


LAN = TrafficSelector(to("10.0.0.0/24"), to("192.168.50.0/24"))
TUNNEL = Template(Mode.TUNNEL, parse_address("203.0.113.1"), parse_address("203.0.113.2"))


def policy(action: Action = Action.BYPASS, selector: TrafficSelector = LAN, priority: int = 0) -> Policy:
    return Policy(Direction.OUT, selector, action, TUNNEL if action is Action.PROTECT else None, priority)


def test_a_packet_shows_the_ports_that_its_protocol_has() -> None:
    udp = build_ipv4(HERE, THERE, 17, build_udp(1000, 53, b"?"))
    assert str(traffic_of(udp)) == "10.0.0.2 -> 192.168.50.1 udp 1000 -> 53"
    tcp = traffic_of(build_ipv6(HERE6, THERE6, 6, TCP_PORTS))
    assert (tcp.protocol, tcp.source_port, tcp.destination_port) == (6, 0xC000, 80)
    for portless in (
        build_ipv4(HERE, THERE, 1, TCP_PORTS),
        build_ipv4(HERE, THERE, 6, TCP_PORTS[:3]),
        build_ipv4(HERE, THERE, 6, TCP_PORTS, fragment_offset=8),
        build_ipv4(HERE, THERE, 17, TCP_PORTS, fragment_offset=8, flags=MORE_FRAGMENTS),
    ):
        assert traffic_of(portless).source_port is None
        assert traffic_of(portless).destination_port is None
    with pytest.raises(Malformed):
        traffic_of(b"\x45")


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (LAN, True),
        (LAN.reversed(), False),
        (TrafficSelector(to("10.0.0.2/32"), to("0.0.0.0/0")), True),
        (TrafficSelector(to("10.0.0.3/32"), to("0.0.0.0/0")), False),
        (TrafficSelector(to("::/0"), to("::/0")), False),
        (TrafficSelector(to("10.0.0.0/8", 6), to("0.0.0.0/0", 6, 80)), True),
        (TrafficSelector(to("10.0.0.0/8", 6), to("0.0.0.0/0", 6, 81)), False),
        (TrafficSelector(to("10.0.0.0/8", 6, 0xC000), to("0.0.0.0/0", 6)), True),
        (TrafficSelector(to("10.0.0.0/8", 17), to("0.0.0.0/0", 17)), False),
    ],
)
def test_a_selector_means_the_packets_of_its_addresses_protocol_and_ports(
    selector: TrafficSelector, matches: bool
) -> None:
    assert selector.matches(traffic_of(build_ipv4(HERE, THERE, 6, TCP_PORTS))) is matches


def test_a_selector_with_a_port_means_no_packet_that_shows_none() -> None:
    fragment = traffic_of(build_ipv4(HERE, THERE, 6, TCP_PORTS, fragment_offset=8))
    assert not TrafficSelector(to("10.0.0.0/8", 6), to("0.0.0.0/0", 6, 80)).matches(fragment)
    assert TrafficSelector(to("10.0.0.0/8", 6), to("0.0.0.0/0", 6)).matches(fragment)


def test_the_first_match_by_priority_and_age_decides() -> None:
    database = PolicyDatabase()
    one_host = TrafficSelector(to("10.0.0.2/32"), to("0.0.0.0/0"))
    early, late, first = policy(Action.PROTECT), policy(Action.DISCARD, one_host), policy(Action.BYPASS, one_host, 1)
    database.add(early)
    database.add(late)
    traffic = traffic_of(build_ipv4(HERE, THERE, 1, bytes(8)))
    assert database.lookup(Direction.OUT, traffic) is early
    assert database.lookup(Direction.IN, traffic) is None
    with pytest.raises(InputError, match="there is a policy for this already"):
        database.add(first)
    database.remove(late)
    database.add(first)
    assert database.lookup(Direction.OUT, traffic) is first
    assert database.lookup(Direction.OUT, traffic_of(build_ipv4(THERE, HERE, 1, bytes(8)))) is None


def test_forwarded_packets_have_policies_of_their_own_where_there_are_any() -> None:
    incoming = Policy(Direction.IN, LAN, Action.PROTECT, TUNNEL)
    forwarded = Policy(Direction.FORWARD, LAN, Action.DISCARD)
    database, traffic = PolicyDatabase([incoming]), traffic_of(build_ipv4(HERE, THERE, 1, bytes(8)))
    assert database.inbound(traffic, for_this_host=False) is incoming
    database.add(forwarded)
    assert database.inbound(traffic, for_this_host=False) is forwarded
    assert database.inbound(traffic, for_this_host=True) is incoming
    database.remove(forwarded)
    assert database.inbound(traffic, for_this_host=False) is incoming


def test_a_template_goes_with_protection_and_with_nothing_else() -> None:
    with pytest.raises(InputError):
        Policy(Direction.IN, LAN, Action.PROTECT)
    with pytest.raises(InputError):
        Policy(Direction.IN, LAN, Action.BYPASS, TUNNEL)


@given(st.data())
def test_with_many_policies_the_first_match_is_the_one_of_the_plain_order(data: st.DataObject) -> None:
    networks = st.sampled_from(["10.0.0.1/32", "10.0.0.2/32", "10.0.0.0/31", "10.0.0.0/24", "0.0.0.0/0"])
    drawn = data.draw(
        st.lists(st.tuples(st.sampled_from(Direction), networks, networks, st.integers(-1, 1)), max_size=12)
    )
    database, plain = PolicyDatabase(), []
    for direction, source, destination, priority in drawn:
        one = Policy(direction, TrafficSelector(to(source), to(destination)), Action.BYPASS, None, priority)
        if database.find(direction, one.selector) is None:
            database.add(one)
            plain.append(one)
    for gone in data.draw(st.lists(st.sampled_from(plain), unique=True) if plain else st.just([])):
        database.remove(gone)
        plain.remove(gone)
    plain.sort(key=lambda policy: -policy.priority)  # keeps the order of age
    assert list(database) == plain
    for direction in Direction:
        for ends in ((HERE, THERE), (parse_address("10.0.0.1"), HERE), (HERE, HERE)):
            traffic = traffic_of(build_ipv4(*ends, 1, bytes(8)))
            expected = [one for one in plain if one.direction is direction and one.selector.matches(traffic)]
            assert database.lookup(direction, traffic) == (expected[0] if expected else None)


# --- as text ---------------------------------------------------------------------------------------------------------

networks = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda length: ip_network(f"{address}/{length}", strict=False)
    )
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    source = draw(networks)
    destination = draw(networks.filter(lambda other: other.version == source.version))
    protocol = draw(st.integers(0, 255))
    ports = draw(st.tuples(*[st.integers(0, 65535)] * 2))
    selector = TrafficSelector(Selector(source, protocol, ports[0]), Selector(destination, protocol, ports[1]))
    action = draw(st.sampled_from(Action))
    template = None
    if action is Action.PROTECT:
        mode = draw(st.sampled_from(Mode))
        ends = (b"", b"") if mode is Mode.TRANSPORT else draw(st.tuples(*[st.binary(min_size=4, max_size=4)] * 2))
        template = Template(mode, *ends, required=draw(st.booleans()))
    return Policy(draw(st.sampled_from(Direction)), selector, action, template, draw(st.integers(-(2**30), 2**30)))


@given(policies())
def test_what_a_policy_says_as_text_is_read_as_the_same_policy(one: Policy) -> None:
    assert read_setkey(one.text()).policies == (one,)


def test_a_database_is_written_a_policy_a_line() -> None:
    database = PolicyDatabase()
    database.add(policy(Action.PROTECT))
    database.add(Policy(Direction.IN, LAN.reversed(), Action.DISCARD))
    assert database.text() == (
        "spdadd 10.0.0.0/24[any] 192.168.50.0/24[any] any -P out ipsec esp/tunnel/203.0.113.1-203.0.113.2/require;\n"
        "spdadd 192.168.50.0/24[any] 10.0.0.0/24[any] any -P in discard;\n"
    )
