"""The first draft above the NIC: ESP behind a non-IKE marker on IKE's port, its checksum rules, and where it goes."""

from typing import Any

import pytest

from nicsim.boundary import UdpType
from nicsim.events import Endpoint, EspReceived, OutboundUsable, UdpDatagram
from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.ipsec.esp import protect, unprotect
from nicsim.ipsec.transforms import Transform
from nicsim.wire.checksum import internet_checksum, pseudo_header
from nicsim.wire.headers import build_ipv4, build_udp
from nicsim.wire.packet import parse_frame
from tests.builders import TRIPLE_DES, ethernet
from tests.host.two_hosts import CLIENT, GATEWAY, Station, delivered, ready, station, tunnel_policies

FIRST: dict[str, Any] = {"encapsulation": Encapsulation.UDP_NON_IKE, "ports": (1111, 500)}
HOSTS = ("203.0.113.1/32", "203.0.113.2/32")
TRANSPORT: dict[str, Any] = {**FIRST, "mode": Mode.TRANSPORT, "inner": HOSTS}


def placed(one: Station) -> list[tuple[UdpType, int, int]]:
    return [(entry.udp_type, entry.port, entry.references) for entry in one.host.offloader.parser_entries]


def test_each_end_has_a_parser_entry_for_its_own_port() -> None:
    client, gateway = station(CLIENT, tunnel_policies()), station(GATEWAY, tunnel_policies(client=False))
    client.tell(ready(**FIRST), OutboundUsable(1))
    gateway.tell(ready(client=False, **FIRST), OutboundUsable(1))
    assert (placed(client), placed(gateway)) == ([(UdpType.IKE, 1111, 1)], [(UdpType.IKE, 500, 1)])


def test_udp_goes_out_without_a_checksum() -> None:
    policy = f"spdadd {HOSTS[0]} {HOSTS[1]} any -P out ipsec esp/transport//require;"
    back = f"spdadd {HOSTS[1]} {HOSTS[0]} any -P in ipsec esp/transport//require;"
    client, gateway = station(CLIENT, policy), station(GATEWAY, back.replace("-P in", "-P out"))
    client.tell(ready(**TRANSPORT), OutboundUsable(1))
    gateway.tell(ready(client=False, **TRANSPORT), OutboundUsable(1))
    datagram = build_udp(7, 9, b"data", checksum=None, src=CLIENT, dst=GATEWAY)
    assert datagram[6:8] != bytes(2)
    [frame] = client.send(build_ipv4(CLIENT, GATEWAY, 17, datagram))
    packet = parse_frame(frame)
    assert frame[packet.udp_payload : packet.udp_payload + 8] == bytes(8)
    sent = unprotect(ready(**TRANSPORT).outbound, Transform(TRIPLE_DES), frame[packet.network : packet.end])
    assert sent is not None
    assert sent[20:] == build_udp(7, 9, b"data")
    events = gateway.receive(frame)
    assert [one.opened_by for one in events if isinstance(one, EspReceived)] == ["nic"]
    [plain] = delivered(events)
    assert plain[20:] == build_udp(7, 9, b"data")


@pytest.mark.parametrize("protocol", [6, 17])
def test_no_checksum_inside_transport_mode_is_verified(protocol: int) -> None:
    one = station(GATEWAY)
    event = ready(client=False, **TRANSPORT)
    one.tell(event, OutboundUsable(1))
    segment = (
        bytes.fromhex("0007000900000001000000005002200012340000") if protocol == 6 else b"\0\7\0\x09\0\x0c\x12\x34data"
    )
    plain = build_ipv4(CLIENT, GATEWAY, protocol, segment)
    sent = protect(event.inbound, Transform(TRIPLE_DES), plain, sequence=1, iv=bytes(8))
    [plain] = delivered(one.receive(ethernet(sent)))
    if protocol == 17:
        assert plain[26:28] == bytes(2)
    else:
        assert internet_checksum(pseudo_header(CLIENT, GATEWAY, 6, len(segment)) + plain[20:]) == 0


def test_keepalives_of_the_first_draft_have_a_checksum() -> None:
    one = station(CLIENT)
    one.tell(UdpDatagram(Endpoint(CLIENT, 500), Endpoint(GATEWAY, 500), b"\xff"))
    packet = parse_frame(one.wire[0])
    expected = build_udp(500, 500, b"\xff", checksum=None, src=CLIENT, dst=GATEWAY)
    assert one.wire[0][packet.payload :][: len(expected)] == expected
