"""network/link.py: what a link does to packets, at what times, and that a seed decides it."""

from collections import Counter

import pytest

from nicsim.network.events import Crossing, Event, Fate
from nicsim.network.link import Conditions
from nicsim.network.network import Network
from nicsim.wire.packet import parse_frame


def ran(conditions: Conditions, packets: int = 500, seed: str = "1") -> tuple[list[Event], list[tuple[float, bytes]]]:
    """Numbered datagrams over one link, 10 ms apart: what was observed, and what came out of it when."""
    network, events, got = Network(seed), [], []
    client, server = network.plain_host("client"), network.plain_host("server")
    network.connect(client, "10.0.0.2", server, "10.0.0.1", conditions)
    network.observers.append(events.append)
    server.bind(9, lambda src, port, data: got.append((network.clock.now, data)))
    for number in range(packets):
        data = number.to_bytes(2, "big") * 10
        network.clock.at(number * 0.01, lambda data=data: client.send_udp(server.address, 1, 9, data))  # type: ignore[misc]
    network.clock.run()
    return events, got


def fates(events: list[Event]) -> Counter[Fate]:
    return Counter(event.fate for event in events if isinstance(event, Crossing))


def test_a_perfect_link_carries_everything_after_its_delay() -> None:
    events, got = ran(Conditions(delay=0.25))
    assert fates(events) == {Fate.CARRIED: 500}
    assert got == [(pytest.approx(number * 0.01 + 0.25), number.to_bytes(2, "big") * 10) for number in range(500)]
    crossing = events[0]
    assert isinstance(crossing, Crossing)
    assert (crossing.sent, crossing.time, crossing.source, crossing.target) == (0.0, 0.25, "client", "server")


def test_losses_are_as_frequent_as_they_should_be_and_told_when_they_are_sent() -> None:
    events, got = ran(Conditions(loss=0.3))
    lost = [event for event in events if isinstance(event, Crossing) and event.fate is Fate.LOST]
    assert len(lost) + len(got) == 500
    assert 110 < len(lost) < 190
    assert all(event.time == event.sent for event in lost)


def test_duplicates_come_twice() -> None:
    events, got = ran(Conditions(duplication=1.0))
    assert fates(events) == {Fate.CARRIED: 500, Fate.DUPLICATED: 500}
    assert Counter(Counter(data for _, data in got).values()) == {2: 500}


def test_late_packets_are_overtaken_and_arrive() -> None:
    events, got = ran(Conditions(reordering=0.2, late=0.035))
    numbers = [int.from_bytes(data[:2], "big") for _, data in got]
    assert sorted(numbers) == list(range(500))
    assert numbers != sorted(numbers)
    assert fates(events)[Fate.LATE] == 500 - fates(events)[Fate.CARRIED] > 0


def test_damage_is_one_bit_and_no_checksum_lets_it_through() -> None:
    events, got = ran(Conditions(corruption=1.0))
    clean, _ = ran(Conditions())
    for damaged, sent in zip(events[::2], clean, strict=True):  # each damaged packet is followed by its drop
        assert isinstance(damaged, Crossing)
        assert isinstance(sent, Crossing)
        difference = int.from_bytes(damaged.packet, "big") ^ int.from_bytes(sent.packet, "big")
        assert difference.bit_count() == 1
    assert got == []


def test_what_is_longer_than_the_mtu_does_not_pass() -> None:
    network, events = Network("1"), []
    client, server = network.plain_host("client"), network.plain_host("server")
    end, _ = network.connect(client, "10.0.0.2", server, "10.0.0.1", Conditions(mtu=100))
    network.observers.append(events.append)
    end.send(b"\x45" + bytes(100))
    network.clock.run()
    assert fates(events) == {Fate.TOO_BIG: 1}


WILD = Conditions(loss=0.1, duplication=0.1, reordering=0.1, corruption=0.1)


def test_the_same_seed_gives_the_same_events_and_another_does_not() -> None:
    assert ran(WILD) == ran(WILD)
    assert ran(WILD)[0] != ran(WILD, seed="2")[0]


def test_directions_draw_apart_and_frames_have_the_ends_addresses() -> None:
    network, frames = Network("1"), []
    client, server = network.plain_host("client"), network.plain_host("server")
    here, there = network.connect(client, "10.0.0.2", server, "10.0.0.1")
    here.taps.append(lambda time, frame: frames.append((time, frame)))
    server.bind(9, lambda src, port, data: server.send_udp(src, 9, port, data))
    client.bind(1, lambda src, port, data: None)
    client.send_udp(server.address, 1, 9, b"x")
    network.clock.run()
    (sent, out), (received, back) = frames
    assert (sent, received) == (0.0, 0.002)
    assert (out[:6], out[6:12]) == (there.mac, here.mac) == (back[6:12], back[:6])
    assert parse_frame(out).dst == parse_frame(back).src == server.address
