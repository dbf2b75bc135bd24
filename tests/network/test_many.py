"""A thousand clients behind a hundred NATs: everybody gets every answer, and the work grows as the clients do."""

from functools import partial

from nicsim.network.events import Event, Noted
from nicsim.network.nat import Napt, NaptBehaviour
from nicsim.network.network import Network
from nicsim.network.plain_host import PlainHost
from nicsim.network.routing import find_routes
from nicsim.wire.headers import parse_address

CLIENTS, ROUNDS = 10, 2


def crowd(nats: int) -> tuple[dict[str, int], int, set[str]]:
    """Answers by client, events in all, and the outside ends that NATs made."""
    network, events, answers = Network("many"), [0], {}
    ends: set[str] = set()

    def observe(event: Event) -> None:
        events[0] += 1
        if isinstance(event, Noted):
            ends.add(event.what.split(" is ")[1])

    network.observers.append(observe)
    core, server = network.router("core"), network.plain_host("server")
    network.connect(core, "203.0.113.1", server, "203.0.113.2")
    server.bind(4500, lambda src, port, data: server.send_udp(src, 4500, port, data))

    def took(client: PlainHost, src: bytes, port: int, data: bytes) -> None:
        assert data == client.name.encode()
        answers[client.name] = answers.get(client.name, 0) + 1

    for number in range(nats):
        outside = f"198.18.0.{number + 1}"
        nat = network.router(f"nat-{number}", Napt(parse_address(outside), NaptBehaviour(port_preserving=False)))
        nat.outside, _ = network.connect(nat, outside, core, f"198.19.0.{number + 1}")
        for place in range(CLIENTS):
            client = network.plain_host(f"client-{number}-{place}")
            # The same private addresses behind every NAT.
            network.connect(client, f"10.0.{place}.2", nat, f"10.0.{place}.1")
            client.bind(4500, partial(took, client))
            for turn in range(ROUNDS):
                send = partial(client.send_udp, server.address, 4500, 4500, client.name.encode())
                network.clock.at(float(turn), send)
    find_routes(network)
    network.clock.run()
    return answers, events[0], ends


def test_a_thousand_clients_get_their_own_answers() -> None:
    answers, _, ends = crowd(100)
    assert len(answers) == 1000
    assert set(answers.values()) == {ROUNDS}
    assert len(ends) == 1000


def test_the_work_grows_with_the_clients_and_no_faster() -> None:
    assert crowd(40)[1] == 4 * crowd(10)[1]
