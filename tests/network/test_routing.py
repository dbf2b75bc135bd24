"""network/routing.py: who knows the way to whom, and that a NAT keeps inside and outside apart."""

from nicsim.network.nat import AddressNat, Napt
from nicsim.network.network import Network
from nicsim.network.routing import find_routes
from nicsim.wire.headers import parse_address


def test_the_same_private_address_on_both_sides_of_a_nat_is_no_matter() -> None:
    """A home behind a carrier's NAT, where both use 10.0.0.0/8: inside, 10.0.0.2 is the client."""
    network = Network("1")
    home = network.router("home", Napt(parse_address("10.0.0.3")))
    carrier = network.router("carrier", Napt(parse_address("203.0.113.1")))
    client, server = network.plain_host("client"), network.plain_host("server")
    _, inside = network.connect(client, "10.0.0.2", home, "10.0.0.1")
    home.outside, _ = network.connect(home, "10.0.0.3", carrier, "10.0.0.2")
    carrier.outside, _ = network.connect(carrier, "203.0.113.1", server, "203.0.113.2")
    find_routes(network)
    assert home.routes.towards(parse_address("10.0.0.2")) is inside
    assert home.routes.towards(parse_address("203.0.113.2")) is home.outside
    got = []
    client.bind(9, lambda src, port, data: got.append(data))
    server.bind(9, lambda src, port, data: server.send_udp(src, 9, port, b"back"))
    client.send_udp(server.address, 9, 9, b"there")
    network.clock.run()
    assert got == [b"back"]


def test_routers_learn_the_way_round_and_the_outside_learns_nothing_private() -> None:
    network = Network("1")
    near, far = network.router("near"), network.router("far")
    nat = network.router("nat", AddressNat({parse_address("10.8.0.2"): parse_address("198.51.100.7")}))
    client, server = network.plain_host("client"), network.plain_host("server")
    network.connect(client, "192.0.2.2", near, "192.0.2.1")
    onward, _ = network.connect(near, "203.0.113.1", far, "203.0.113.2")
    to_nat, nat.outside = network.connect(far, "198.51.100.254", nat, "198.51.100.1")
    network.connect(nat, "10.8.0.1", server, "10.8.0.2")
    find_routes(network)
    assert near.routes.towards(parse_address("198.51.100.7")) is onward
    assert far.routes.towards(parse_address("198.51.100.7")) is to_nat
    assert near.routes.towards(parse_address("10.8.0.2")) is None
