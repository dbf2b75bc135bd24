"""Our NAT against a real one: the client's side of the lab captures goes in, the server's side must come out.

The captures are of the same packets on both sides of a Linux NAT that maps 500 to 1 and 4500 to 1024.
"""

from collections import defaultdict
from pathlib import Path

import pytest

from nicsim.errors import Malformed
from nicsim.network.nat import Fragments, Napt, NaptBehaviour
from nicsim.network.rewriting import one_hop_on
from nicsim.wire.headers import parse_address
from nicsim.wire.packet import LinkType, Packet, parse_frame
from nicsim.wire.pcap import open_capture

CAPTURES = Path(__file__).parents[1] / "captures"
NATTED = sorted(folder.name for folder in CAPTURES.iterdir() if folder.name.endswith("-nat"))
CLIENT, OUTSIDE, SERVER = (parse_address(text) for text in ("10.0.0.2", "203.0.113.1", "203.0.113.2"))


def packets(folder: str, side: str) -> list[tuple[float, bytes, Packet]]:
    """The IP packets of a capture, without frames and padding."""
    found = []
    with open_capture(CAPTURES / folder / f"{side}-side.pcap") as capture:
        for frame in capture:
            try:
                outer = parse_frame(frame.data, frame.link_type)
            except Malformed:
                continue
            data = frame.data[outer.network : outer.end]
            found.append((frame.time, data, parse_frame(data, LinkType.RAW)))
    return found


def by_direction(all_packets: list[tuple[float, bytes, Packet]]) -> dict[bool, list[bytes]]:
    """The bytes of each direction, in order; True is towards the server."""
    found = defaultdict(list)
    for _, data, packet in all_packets:
        found[packet.dst == SERVER].append(data)
    return found


@pytest.mark.parametrize("folder", NATTED)
def test_what_the_client_sent_comes_out_as_the_server_got_it(folder: str) -> None:
    nat = Napt(OUTSIDE, NaptBehaviour(port_preserving=False, fragments=Fragments.TRACK))
    client_side, server_side = packets(folder, "client"), by_direction(packets(folder, "server"))
    out, back = [], []
    # The server's answers come in the order in which the client saw them, between what the client sent.
    answers = iter(server_side[False])
    for time, data, packet in client_side:
        if packet.dst == SERVER:
            sent = one_hop_on(data)
            outcome = nat.outbound(time, sent, parse_frame(sent, LinkType.RAW))
            out += outcome.packets
        else:
            answer = one_hop_on(next(answers))
            outcome = nat.inbound(time, answer, parse_frame(answer, LinkType.RAW))
            back += outcome.packets
        assert not outcome.dropped
    assert out == server_side[True]
    assert back == by_direction(client_side)[False]
    assert (len(out), len(back)) > (30, 30)


def test_the_captured_ports_are_the_classic_ones() -> None:
    _, _, packet = next(one for one in packets(NATTED[0], "server") if one[2].dst == SERVER and one[2].dst_port == 500)
    assert (packet.src, packet.src_port) == (OUTSIDE, 1)
    ports = {one[2].src_port for one in packets(NATTED[0], "server") if one[2].dst == SERVER}
    assert ports <= {1, 1024, -1}
