"""network/tracepath.py over routers with narrow links: the numbers, the lines, and answers that never come."""

import pytest

from nicsim.network.link import Conditions
from nicsim.network.network import Network
from nicsim.network.tracepath import Tracepath
from nicsim.wire.headers import parse_address


def traced(*links: Conditions, server: str = "10.9.9.9", seed: str = "1") -> Tracepath:
    """From a client over routers r1, r2, ... to a server, with these links between them in order."""
    network = Network(seed)
    client, target = network.plain_host("client"), network.plain_host("server")
    routers = [network.router(f"r{number}") for number in range(1, len(links))]
    nodes = [client, *routers, target]
    for number, conditions in enumerate(links):
        near = "10.0.0.2" if number == 0 else f"10.0.{number}.2"
        far = "10.9.9.9" if number == len(links) - 1 else f"10.0.{number}.1"
        near_end, far_end = network.connect(nodes[number], near, nodes[number + 1], far, conditions)
        if number < len(routers):
            routers[number].routes.add("10.0.0.0/24", far_end)
        if number:
            routers[number - 1].routes.add("0.0.0.0/0", near_end)
    trace = Tracepath(client, parse_address(server))
    trace.start()
    network.clock.run(until=200.0)
    assert trace.finished
    return trace


def test_a_path_with_one_narrow_link_is_printed_like_the_usual_tool_does() -> None:
    trace = traced(Conditions(), Conditions(mtu=1300), Conditions())
    assert [" ".join(line.split()) for line in trace.lines] == [
        "1?: [LOCALHOST] pmtu 1500",
        "1: 10.0.0.1 2.000ms",
        "2: 10.0.0.1 asymm 1 2.000ms pmtu 1300",
        "2: 10.0.1.1 4.000ms",
        "3: 10.9.9.9 6.000ms reached",
        "Resume: pmtu 1300 hops 3 back 3",
    ]
    assert trace.lines[0].startswith(" 1?: [LOCALHOST]")
    assert trace.lines[1].startswith(" 1:  10.0.0.1")


def test_every_narrower_link_on_the_way_is_found() -> None:
    trace = traced(Conditions(), Conditions(mtu=1400), Conditions(mtu=1300), Conditions(mtu=576))
    assert trace.path_mtus == [1500, 1400, 1300, 576]
    assert trace.reached


def test_the_own_link_is_where_it_begins() -> None:
    assert traced(Conditions(mtu=1280), Conditions()).path_mtus == [1280]


def test_a_host_without_a_route_ends_it() -> None:
    trace = traced(Conditions(), Conditions(), Conditions(), server="10.9.9.8")
    assert not trace.reached


def test_losses_are_survived() -> None:
    traces = [traced(Conditions(), Conditions(mtu=1300, loss=0.3), seed=str(seed)) for seed in range(20)]
    assert all(trace.path_mtus == [1500, 1300] for trace in traces)
    assert sum(trace.reached for trace in traces) > 15
    assert any("no reply" in line for trace in traces for line in trace.lines)


def test_nobody_there_is_no_reply_to_the_last_hop() -> None:
    trace = traced(Conditions(loss=1.0), Conditions())
    assert [line.split() for line in trace.lines[1:3]] == [["1:", "no", "reply"], ["2:", "no", "reply"]]
    assert len(trace.lines) == 32
    assert trace.lines[-1].strip() == "Too many hops: pmtu 1500"


@pytest.mark.parametrize("mtu", [0, 67, 1500, 1501])
def test_a_path_mtu_that_cannot_be_is_not_believed(mtu: int) -> None:
    from nicsim.wire.icmp import IcmpErrorKind, build_icmp_error

    network = Network("1")
    client, liar = network.plain_host("client"), Liar(mtu)
    _, there = network.connect(client, "10.0.0.2", liar, "10.0.0.1")
    liar.answer = lambda packet: there.send(  # type: ignore[method-assign]
        build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, there.address, packet, mtu=mtu)
    )
    trace = Tracepath(client, parse_address("10.0.0.9"))
    trace.start()
    network.clock.run()
    assert trace.path_mtus == [1500]
    assert client.path_mtu(parse_address("10.0.0.9")) == 1500


class Liar:
    """Answers every packet with nonsense."""

    name = "liar"

    def __init__(self, mtu: int) -> None:
        self.mtu = mtu

    def attach(self, interface: object) -> None:
        """One of us."""

    def answer(self, packet: bytes) -> None:
        """Set by the test."""

    def receive(self, interface: object, packet: bytes) -> None:
        self.answer(packet)
