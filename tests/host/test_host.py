"""A host above one NIC: policies, pairs and what becomes of packets, frame by frame against a second host."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.boundary import OidRequest, OidResult, UdpType
from nicsim.capabilities import MakeRoom
from nicsim.errors import InputError, Malformed
from nicsim.events import (
    Endpoint,
    EspReceived,
    EspSent,
    ExchangeFailed,
    IkeUp,
    Nat,
    OriginalAddresses,
    OutboundUsable,
    Role,
    SaPlaced,
    Selector,
    UdpDatagram,
)
from nicsim.holdings import Standing
from nicsim.host.ike.authentication import PreSharedKey
from nicsim.host.ike.config import Connection, Phase1Policy, Phase2Policy, phase1_proposals, phase2_proposal
from nicsim.host.link import Link
from nicsim.host.offloader import LinkMedium
from nicsim.host.setkey import read_setkey
from nicsim.host.udp_encapsulation import UdpEncapType
from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.ipsec.esp import protect
from nicsim.ipsec.transforms import Encryption, Integrity, Transform
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from nicsim.wire.headers import build_ipv4, build_udp, parse_address
from nicsim.wire.isakmp import ExchangeType
from nicsim.wire.packet import LinkType, parse_frame
from offload_oids import Oid
from offload_oids.ipsec_sa import OffloadIpsecAddUdpespSa
from tests.builders import AES, GCM, TRIPLE_DES, ethernet, keys
from tests.host.two_hosts import (
    CLIENT,
    CLIENT6,
    GATEWAY,
    GATEWAY6,
    INNER_CLIENT,
    INNER_HOST,
    Station,
    delivered,
    dropped,
    echo,
    gone,
    joined,
    moved,
    ready,
    station,
    tunnel_policies,
)

ADD, ADD_UDPESP = "OID_TCP_TASK_IPSEC_ADD_SA", "OID_TCP_TASK_IPSEC_ADD_UDPESP_SA"
ADD_V2 = "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA"
SHA256 = keys(Encryption.AES_CBC, Integrity.HMAC_SHA2_256_128, 32)


def tables(one: Station) -> tuple[int, int, int]:
    """Rows in use on the card, inbound and outbound, and parser entries of the driver's list."""
    rows = one.nic.card.rows
    return len(rows.inbound), len(rows.outbound), len(one.nic.driver.state.parser_entries)


def use_policies(one: Station, text: str) -> None:
    """Other policies from now on."""
    for policy in list(one.host.policies):
        one.host.policies.remove(policy)
    for policy in read_setkey(text).policies:
        one.host.policies.add(policy)


def entries(one: Station) -> list[tuple[UdpType, int, int]]:
    return [(entry.udp_type, entry.port, entry.references) for entry in one.host.holdings().parser_entries]


# --- through a pair --------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-SA-1", "N-TX-1", "N-TX-4")
@pytest.mark.parametrize(
    ("profile", "sa_keys", "oid"),
    [
        ("reference", TRIPLE_DES, ADD_UDPESP),
        ("reference", AES, ADD_V2),
        ("reference", SHA256, ADD_V2),
        ("reference", GCM, ADD_V2),
        ("ndis51", TRIPLE_DES, ADD_UDPESP),
        ("ndis51", AES, "algorithm-not-claimed"),
        ("ndis61", TRIPLE_DES, ADD_V2),
    ],
)
def test_a_packet_goes_through_a_pair_and_back(profile: str, sa_keys: Any, oid: str) -> None:
    client, gateway = joined(keys=sa_keys, profile=profile)
    assert [place for _, place in client.lines()] == [oid, oid]
    by_nic = oid.startswith("OID")
    for number in range(1, 4):
        [frame] = client.send(echo())
        events = gateway.receive(frame)
        assert delivered(events) == [echo()]
        assert EspReceived(1, 0x1001, number, "accepted", "nic") in events
        [frame] = gateway.send(echo(src=INNER_HOST, dst=INNER_CLIENT))
        events = client.receive(frame)
        assert delivered(events) == [echo(src=INNER_HOST, dst=INNER_CLIENT)]
        assert EspReceived(1, 0x1002, number, "accepted", "nic" if by_nic else "host") in events
    inbound, outbound = client.host.holdings().associations
    for line in (inbound, outbound):
        assert (line.packets_by_nic, line.packets_by_host) == ((3, 0) if by_nic else (0, 3))
    sent = [event for event in client.events if isinstance(event, EspSent)]
    assert {event.reason for event in sent} == {None if by_nic else Reason.ALGORITHM_NOT_CLAIMED}
    # The daemon hears of every packet: of what goes out for its keepalives, of what comes in for where the peer is.
    assert client.peer.told.count(("sent", 1)) == 3
    assert client.peer.told.count(("received", 1, Endpoint(GATEWAY, 4500))) == 3


@pytest.mark.parametrize("encapsulation", Encapsulation)
@pytest.mark.parametrize("mode", Mode)
def test_every_mode_and_encapsulation(mode: Mode, encapsulation: Encapsulation) -> None:
    port = {Encapsulation.NONE: 0, Encapsulation.UDP: 4500, Encapsulation.UDP_NON_IKE: 500}[encapsulation]
    policies = tunnel_policies()
    packet, answer = echo(), echo(src=INNER_HOST, dst=INNER_CLIENT)
    if mode is Mode.TRANSPORT:
        policies = "spdadd 0.0.0.0/0 0.0.0.0/0 icmp -P out ipsec esp/transport//require;"
        packet, answer = echo(src=CLIENT, dst=GATEWAY), echo(src=GATEWAY, dst=CLIENT)
    client, gateway = station(CLIENT, policies), station(GATEWAY, policies.replace("10.0.0.2/32", "0.0.0.0/0"))
    parameters: Any = {"mode": mode, "encapsulation": encapsulation, "ports": (port, port)}
    for one, is_client in ((client, True), (gateway, False)):
        if encapsulation is Encapsulation.UDP_NON_IKE:
            one.host.sockets.mark(500, UdpEncapType.UDP_ENCAP_ESPINUDP_NON_IKE)
        one.tell(ready(client=is_client, **parameters), OutboundUsable(1))
    if mode is Mode.TUNNEL:
        use_policies(gateway, tunnel_policies(client=False))
    oid = ADD if encapsulation is Encapsulation.NONE else ADD_UDPESP
    assert [place for _, place in client.lines()] == [oid, oid]
    [frame] = client.send(packet)
    assert delivered(gateway.receive(frame)) == [packet]
    [frame] = gateway.send(answer)
    assert delivered(client.receive(frame)) == [answer]
    assert client.host.holdings().associations[0].packets_by_nic == 1


@pytest.mark.rule("N-TX-9")
def test_over_ipv6_the_host_seals_what_rides_in_udp() -> None:
    client, gateway = station(CLIENT6, tunnel_policies()), station(GATEWAY6, tunnel_policies(client=False))
    for one, is_client in ((client, True), (gateway, False)):
        one.tell(ready(client=is_client, ends=(CLIENT6, GATEWAY6), keys=AES), OutboundUsable(1))
    assert [place for _, place in client.lines()] == [ADD_V2, "checksum-by-host"]
    [frame] = client.send(echo())
    assert delivered(gateway.receive(frame)) == [echo()]
    assert gateway.host.holdings().associations[0].packets_by_nic == 1


def test_what_the_nic_cannot_seal_the_host_seals_under_the_same_number() -> None:
    client, gateway = joined()
    client.nic.card.rows.outbound.clear()  # the card forgets; the driver does not know
    [frame] = client.send(echo())
    assert delivered(gateway.receive(frame)) == [echo()]
    [sent] = [event for event in client.events if isinstance(event, EspSent)]
    assert (sent.sequence, sent.reason) == (1, Reason.UNKNOWN_SEND_HANDLE)
    [frame] = client.send(echo())
    assert [event.sequence for event in gateway.receive(frame) if isinstance(event, EspReceived)] == [2]


def test_a_nic_that_opens_nothing_leaves_it_to_the_host() -> None:
    client, gateway = joined()
    gateway.nic.card.reset()  # the card loses everything, and the driver does not know
    [frame] = client.send(echo())
    events = gateway.receive(frame)
    assert EspReceived(1, 0x1001, 1, "accepted", "host") in events
    assert delivered(events) == [echo()]


@pytest.mark.rule("N-RX-9")
def test_fragments_are_put_together_and_opened_in_software() -> None:
    client, gateway = joined()
    [frame] = client.send(echo(bytes(1200)))
    packet = frame[14:]
    first, second = packet[20:620], packet[620:]
    fragments = [
        build_ipv4(CLIENT, GATEWAY, 17, first, identification=7, flags=0x2000),
        build_ipv4(CLIENT, GATEWAY, 17, second, identification=7, flags=0, fragment_offset=600),
    ]
    assert gateway.receive(ethernet(fragments[1])) == []
    events = gateway.receive(ethernet(fragments[0]))
    assert EspReceived(1, 0x1001, 1, "accepted", "host") in events
    assert delivered(events) == [echo(bytes(1200))]


# --- policies --------------------------------------------------------------------------------------------------------


def test_policies_decide_about_what_goes_out() -> None:
    one = station(CLIENT, "spdadd 0.0.0.0/0 192.168.50.0/24 any -P out discard;")
    assert one.send(echo()) == []
    assert dropped(one.events) == [Reason.POLICY_DISCARDS]
    [frame] = one.send(echo(dst=GATEWAY))
    assert frame[14:] == echo(dst=GATEWAY)
    with pytest.raises(Malformed):
        one.send(b"no packet")
    with pytest.raises(Malformed):
        one.send(b"")


def test_policies_decide_about_what_comes_in_the_clear() -> None:
    one = station(GATEWAY, tunnel_policies(client=False) + "spdadd 0.0.0.0/0 0.0.0.0/0 6 -P in discard;")
    assert dropped(one.receive(ethernet(echo(src=INNER_CLIENT, dst=INNER_HOST)))) == [Reason.NOT_PROTECTED]
    assert delivered(one.receive(ethernet(echo(src=CLIENT, dst=INNER_HOST)))) == [echo(src=CLIENT, dst=INNER_HOST)]
    tcp = build_ipv4(CLIENT, GATEWAY, 6, bytes(20))
    assert dropped(one.receive(ethernet(tcp))) == [Reason.POLICY_DISCARDS]
    optional = station(GATEWAY, tunnel_policies(client=False).replace("require", "use"))
    assert delivered(optional.receive(ethernet(echo()))) == [echo()]


def test_policies_decide_about_what_comes_out_of_an_association() -> None:
    client, gateway = joined()
    [frame] = client.send(echo())
    use_policies(gateway, "spdadd 0.0.0.0/0 0.0.0.0/0 any -P in discard;")
    assert dropped(gateway.receive(frame)) == [Reason.POLICY_DISCARDS]
    use_policies(gateway, "spdadd 0.0.0.0/0 0.0.0.0/0 any -P in ipsec esp/transport//use;")
    [frame] = client.send(echo())
    assert dropped(gateway.receive(frame)) == [Reason.NOT_PROTECTED]
    assert gateway.host.holdings().associations[0].packets_dropped == 2
    use_policies(gateway, "")
    [frame] = client.send(echo())
    assert delivered(gateway.receive(frame)) == [echo()]


@pytest.mark.parametrize("dst", ["192.168.51.1", "203.0.113.2"])
@pytest.mark.parametrize("src", ["10.0.0.3", "192.168.50.1"])
def test_no_inner_address_but_the_negotiated_ones_comes_out_of_a_tunnel(src: str, dst: str) -> None:
    _, gateway = joined()
    sa = ready().outbound
    for inner in (echo(src=parse_address(src)), echo(dst=parse_address(dst))):
        forged = protect(sa, Transform(sa.keys), inner, sequence=len(gateway.events) + 1, iv=bytes(8))
        events = gateway.receive(ethernet(forged))
        assert delivered(events) == []
        assert dropped(events) == [Reason.SELECTORS_DIFFER]


def test_esp_that_rides_otherwise_than_agreed_is_dropped_unopened() -> None:
    _, gateway = joined()
    native = replace(ready().outbound, encapsulation=Encapsulation.NONE)
    frame = ethernet(protect(native, Transform(native.keys), echo(), sequence=1, iv=bytes(8)))
    assert dropped(gateway.receive(frame)) == [Reason.OTHER_ENCAPSULATION]
    in_udp = ethernet(protect(ready().outbound, Transform(native.keys), echo(), sequence=1, iv=bytes(8)))
    assert delivered(gateway.receive(in_udp)) == [echo()]


def test_a_dummy_packet_counts_and_delivers_nothing() -> None:
    client, gateway = joined()
    transform, esp = Transform(TRIPLE_DES), (0x1001).to_bytes(4, "big") + (1).to_bytes(4, "big")
    dummy = transform.seal(esp, bytes(14) + b"\0\x3b", bytes(8))
    events = gateway.receive(ethernet(build_ipv4(CLIENT, GATEWAY, 17, build_udp(4500, 4500, dummy))))
    assert events == [EspReceived(1, 0x1001, 1, "accepted", "nic")]
    assert [event.verdict for event in gateway.receive(client.send(echo())[0])] == ["duplicate"]


@pytest.mark.rule("N-RX-7", "N-RX-14")
def test_duplicates_forgeries_and_strangers_are_told_and_deliver_nothing() -> None:
    client, gateway = joined()
    [frame] = client.send(echo())
    gateway.receive(frame)
    told = len(gateway.peer.told)
    assert gateway.receive(frame) == [EspReceived(1, 0x1001, 1, "duplicate", "nic")]
    [frame] = client.send(echo())
    assert gateway.receive(frame[:-1] + bytes((frame[-1] ^ 1,))) == [EspReceived(1, 0x1001, 2, "icv-bad")]
    stranger = replace(ready().outbound, spi=0x9999)
    frame = ethernet(protect(stranger, Transform(stranger.keys), echo(), sequence=3, iv=bytes(8)))
    assert gateway.receive(frame) == [EspReceived(None, 0x9999, 3, "no-sa")]
    # Neither a replayed nor a forged packet says anything about where the peer is.
    assert len(gateway.peer.told) == told
    assert gateway.host.holdings().associations[0].packets_dropped == 2


# --- the daemon ------------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-NAT-4", "N-NAT-5")
def test_ike_goes_to_the_daemon_and_the_daemons_datagrams_to_the_wire() -> None:
    one = station(CLIENT)
    for port, payload in ((500, b"\1" * 28), (4500, bytes(4) + b"\1" * 28)):
        one.receive(ethernet(build_ipv4(GATEWAY, CLIENT, 17, build_udp(1024, port, payload))))
        assert one.peer.told[-1] == ("receive", UdpDatagram(Endpoint(GATEWAY, 1024), Endpoint(CLIENT, port), payload))
    told = len(one.peer.told)
    for payload, reasons in ((b"\xff", []), (b"\0\0", [Reason.RUNT]), (b"\0\0\1\1\0\0\0\1", [Reason.RUNT])):
        events = one.receive(ethernet(build_ipv4(GATEWAY, CLIENT, 17, build_udp(4500, 4500, payload))))
        assert dropped(events) == reasons
    assert len(one.peer.told) == told
    here, there = Endpoint(CLIENT, 4500), Endpoint(GATEWAY, 1024)
    one.tell(UdpDatagram(here, there, bytes(4) + b"ike"), UdpDatagram(here, there, b"\xff", checksummed=False))
    ike, keepalive = (parse_frame(frame) for frame in one.wire)
    assert (ike.src, ike.dst, ike.src_port, ike.dst_port) == (CLIENT, GATEWAY, 4500, 1024)
    assert one.wire[0][ike.udp_payload : ike.udp_end] == bytes(4) + b"ike"
    assert one.wire[0][ike.payload + 6 : ike.udp_payload] != b"\0\0"
    assert one.wire[1][keepalive.payload + 6 :] == b"\0\0\xff"
    assert one.wire[0][18:20] != one.wire[1][18:20]  # the identification: a router may cut one of them


def test_what_is_for_another_host_is_not_the_daemons() -> None:
    one = station(GATEWAY)
    ike = build_ipv4(INNER_CLIENT, INNER_HOST, 17, build_udp(500, 500, b"\1" * 28))
    assert delivered(one.receive(ethernet(ike))) == [ike]
    assert one.peer.told == []


@pytest.mark.rule("N-SA-2", "N-SA-6")
def test_the_nic_is_told_what_a_tunnel_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    client = station(CLIENT, tunnel_policies())
    below, adds = client.nic.ndis.request, []

    def request(one: OidRequest) -> OidResult:
        if one.oid == Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA:
            adds.append(OffloadIpsecAddUdpespSa.unpack(one.buffer, one.abi))
        return below(one)

    monkeypatch.setattr(client.nic.ndis, "request", request)
    client.tell(ready())
    lan, mask = parse_address("192.168.50.0"), parse_address("255.255.255.0")
    inbound, outbound = adds  # the inbound one first, so that nothing comes for what is not there
    assert (inbound.src_addr, inbound.src_mask, inbound.dst_addr) == (lan, mask, INNER_CLIENT)
    assert (outbound.src_addr, outbound.dst_addr, outbound.dst_mask) == (INNER_CLIENT, lan, mask)
    assert (inbound.src_tunnel_addr, inbound.dst_tunnel_addr) == (GATEWAY, CLIENT)


@pytest.mark.rule("N-PE-4", "N-DEL-1", "N-DEL-2", "N-DEL-3")
def test_a_rekey_drains_the_old_pair_and_then_deletes_it() -> None:
    client, gateway = joined()
    assert entries(client) == [(UdpType.OTHER, 4500, 1)]
    [late] = client.send(echo(b"late"))
    for one, is_client in ((client, True), (gateway, False)):
        one.tell(ready(2, client=is_client, replaces=(1,)))
    assert (tables(client), entries(client)) == ((2, 2, 1), [(UdpType.OTHER, 4500, 2)])
    # Not proved yet: the old pair sends.
    [frame] = client.send(echo())
    assert any(event.pair == 1 for event in gateway.receive(frame) if isinstance(event, EspReceived))
    for one in (client, gateway):
        one.tell(OutboundUsable(2), now=1.0)
    # The client began: what it sends may overtake the message that completes the gateway's side. So it waits for the
    # gateway's first packet on the new pair.
    assert EspReceived(1, 0x1001, 3, "accepted", "nic") in gateway.receive(client.send(echo())[0])
    [frame] = gateway.send(echo(src=INNER_HOST, dst=INNER_CLIENT))
    assert EspReceived(2, 0x2002, 1, "accepted", "nic") in client.receive(frame)
    [frame] = client.send(echo(b"new"))
    events = gateway.receive(frame)
    assert EspReceived(2, 0x2001, 1, "accepted", "nic") in events
    assert [line.standing for line in client.host.holdings().associations] == [Standing.DRAINING] * 2 + [
        Standing.CURRENT
    ] * 2
    assert delivered(gateway.receive(late)) == [echo(b"late")]
    for one in (client, gateway):
        one.tell(gone(1))
        assert (tables(one), entries(one)) == ((1, 1, 1), [(UdpType.OTHER, 4500, 1)])
    assert delivered(gateway.receive(client.send(echo())[0])) == [echo()]
    for one in (client, gateway):
        one.tell(gone(2))
        assert (tables(one), entries(one), one.lines()) == ((0, 0, 0), [], [])
        assert not one.host.associations._to_host
        assert not one.host.associations._to_network


@pytest.mark.parametrize("old_pair_ends", [False, True])
def test_without_a_packet_on_the_new_pair_time_or_the_end_of_the_old_one_decides(old_pair_ends: bool) -> None:
    client, gateway = joined()
    for one, is_client in ((client, True), (gateway, False)):
        one.tell(ready(2, client=is_client, replaces=(1,)), OutboundUsable(2), now=10.0)
    assert client.host.next_deadline() == 11.0
    client.peer.deadline = 10.5
    assert client.host.next_deadline() == 10.5
    client.tell(now=10.5)
    assert EspReceived(1, 0x1001, 1, "accepted", "nic") in gateway.receive(client.send(echo())[0])
    client.peer.deadline = None
    if old_pair_ends:
        client.tell(gone(1), now=10.6)
    else:
        client.tell(now=11.0)
    assert client.host.next_deadline() is None
    assert EspReceived(2, 0x2001, 1, "accepted", "nic") in gateway.receive(client.send(echo())[0])


def test_what_is_unknown_to_the_host_is_no_trouble() -> None:
    one = station(CLIENT)
    one.tell(OutboundUsable(7), gone(7), moved(7, to=Endpoint(GATEWAY, 1)))
    assert one.lines() == []


def test_a_peer_that_moved_is_offloaded_anew_with_its_window_kept() -> None:
    client, gateway = joined()
    [frame] = client.send(echo())
    gateway.receive(frame)
    elsewhere = Endpoint(parse_address("198.51.100.7"), 2048)
    events = gateway.tell(moved(1, to=elsewhere))
    assert [type(event) for event in events[1:]] == [SaPlaced, SaPlaced]
    assert (tables(gateway), entries(gateway)) == ((1, 1, 1), [(UdpType.OTHER, 4500, 1)])
    # As a NAT would send it on: from the new address and port.
    rewritten = build_ipv4(elsewhere.address, GATEWAY, 17, build_udp(2048, 4500, frame[42:]))
    assert EspReceived(1, 0x1001, 1, "duplicate", "nic") in gateway.receive(ethernet(rewritten))
    [answer] = gateway.send(echo(src=INNER_HOST, dst=INNER_CLIENT))
    packet = parse_frame(answer)
    assert (packet.dst, packet.dst_port) == (elsewhere.address, 2048)
    line = gateway.host.holdings().associations[0]
    assert (line.source, line.oid) == (elsewhere, ADD_UDPESP)


def test_a_moved_peer_in_transport_mode_takes_its_traffic_along() -> None:
    gateway = station(GATEWAY, generate_policies=True)
    elsewhere = Endpoint(parse_address("198.51.100.7"), 2048)
    gateway.tell(ready(client=False, mode=Mode.TRANSPORT), OutboundUsable(1))
    gateway.tell(moved(1, to=elsewhere))
    [frame] = gateway.send(echo(src=GATEWAY, dst=elsewhere.address))
    assert parse_frame(frame).dst_port == 2048
    assert len(gateway.host.policies) == 2
    gateway.tell(gone(1))
    assert not len(gateway.host.policies)
    assert not gateway.host.associations._to_host


def test_packets_wait_for_a_connection_and_leave_when_it_is_up() -> None:
    connection = Connection(
        "road",
        Phase1Policy(PreSharedKey(b"k"), phase1_proposals("3des-md5")),
        Phase2Policy(
            (phase2_proposal("3des-md5"),),
            local_selector=Selector(ip_network("10.0.0.2/32")),
            remote_selector=Selector(ip_network("192.168.50.0/24")),
        ),
        remote=GATEWAY,
    )
    client = station(CLIENT, tunnel_policies(), connections=(connection,))
    for number in range(20):
        assert client.send(echo(bytes((number,)))) == []
    assert client.peer.told == [("initiate", connection, None)]
    assert dropped(client.events) == [Reason.TOO_MANY_WAITING] * 4
    client.tell(ready(), OutboundUsable(1))
    assert len(client.wire) == 16
    assert client.host.holdings().associations[1].packets_by_nic == 16
    client.tell(gone(1))
    client.send(echo())
    assert client.peer.told[-1][0] == "initiate"
    failed = ExchangeFailed(
        "road",
        Endpoint(GATEWAY, 500),
        Role.INITIATOR,
        ExchangeType.MAIN,
        Reason.IKE_TIMED_OUT,
        "silence",
    )
    assert dropped(client.tell(failed)) == [Reason.IKE_TIMED_OUT]
    client.send(echo())  # and the next packet tries again
    assert [name for name, *_ in client.peer.told].count("initiate") == 3


def test_without_a_connection_a_policy_says_whether_it_goes_in_the_clear() -> None:
    strict, lenient = station(CLIENT, tunnel_policies()), station(CLIENT, tunnel_policies().replace("require", "use"))
    assert strict.send(echo()) == []
    assert dropped(strict.events) == [Reason.NO_ASSOCIATION]
    assert lenient.send(echo())[0][14:] == echo()


def test_a_gateway_makes_policies_from_what_peers_negotiate() -> None:
    gateway = station(GATEWAY, generate_policies=True)
    [clear] = gateway.send(echo(src=INNER_HOST, dst=INNER_CLIENT))
    assert clear[14:] == echo(src=INNER_HOST, dst=INNER_CLIENT)
    gateway.tell(ready(client=False), OutboundUsable(1))
    assert dropped(gateway.receive(ethernet(echo()))) == [Reason.NOT_PROTECTED]
    [frame] = gateway.send(echo(src=INNER_HOST, dst=INNER_CLIENT))
    assert parse_frame(frame).dst_port == 4500
    gateway.tell(ready(2, client=False, replaces=(1,)), OutboundUsable(2))
    assert len(gateway.host.policies) == 2
    gateway.tell(gone(1))
    assert len(gateway.host.policies) == 2
    gateway.tell(gone(2))
    assert not len(gateway.host.policies)


def up(number: int, identity: str) -> IkeUp:
    return IkeUp(
        number, "road", Role.RESPONDER, ExchangeType.MAIN, Endpoint(GATEWAY, 4500), Endpoint(CLIENT, 4500),
        "gateway", identity, "3des-md5-modp1024", "RFC 3947", Nat.REMOTE, bytes(8), bytes(8), 3600,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("identity", "inner", "refused"),
    [
        ("ari", "10.0.0.2/32", False),
        ("bob", "10.0.0.2/32", True),
        ("bob", "10.0.0.0/24", True),
        ("bob", "10.0.0.3/32", False),
    ],
)
def test_no_second_peer_gets_the_addresses_of_the_first(identity: str, inner: str, refused: bool) -> None:
    gateway = station(GATEWAY, generate_policies=True)
    gateway.tell(up(1, "ari"), ready(client=False), OutboundUsable(1))
    second = ready(2, client=False, ike=2, ports=(2048, 4500), inner=(inner, "192.168.50.0/24"))
    events = gateway.tell(up(2, identity), second, OutboundUsable(2))
    assert (Reason.SELECTORS_TAKEN in dropped(events)) is refused
    assert (("delete", 2) in gateway.peer.told) is refused
    assert len(gateway.lines()) == (2 if refused else 4)
    [frame] = gateway.send(echo(src=INNER_HOST, dst=INNER_CLIENT))
    # Ari's traffic goes to where Ari is; the same Ari may have come back from another port.
    assert parse_frame(frame).dst_port == (2048 if identity == "ari" else 4500)


# --- worn out, full, moved to software -------------------------------------------------------------------------------


def test_an_association_is_replaced_in_time_and_never_wraps() -> None:
    client, gateway = joined()
    held = client.host.associations.pairs[1].outbound
    assert held is not None
    held.sequence = int(0.9 * (2**32 - 1)) - 2
    client.send(echo())
    assert ("rekey", 1) not in client.peer.told
    for _ in range(3):
        client.send(echo())
    assert client.peer.told.count(("rekey", 1)) == 1
    held.sequence = 2**32 - 2
    [frame] = client.send(echo())
    assert EspReceived(1, 0x1001, 2**32 - 1, "accepted", "nic") in gateway.receive(frame)
    assert client.send(echo()) == []
    assert dropped(client.events) == [Reason.SEQUENCE_EXHAUSTED]


def test_kilobytes_count_as_a_lifetime() -> None:
    client = station(CLIENT, tunnel_policies())
    client.tell(ready(lifetime_kilobytes=2), OutboundUsable(1))
    client.send(echo(bytes(900)))
    assert ("rekey", 1) not in client.peer.told
    client.send(echo(bytes(900)))
    client.send(echo(bytes(900)))
    assert client.peer.told.count(("rekey", 1)) == 1


@pytest.mark.rule("N-SA-22")
def test_a_full_card_asks_for_room_and_the_pair_goes_on_in_software() -> None:
    caps = replace(load_profile("ndis60"), inbound_rows=1, outbound_rows=1, make_room=MakeRoom.LEAST_RECENTLY_USED)
    client, gateway = station(CLIENT, tunnel_policies(), profile=caps), station(GATEWAY, tunnel_policies(client=False))
    for one, is_client in ((client, True), (gateway, False)):
        one.tell(ready(client=is_client), OutboundUsable(1))
    other = ready(2, inner=("10.0.0.2/32", "192.168.60.0/24"))
    assert [event.reason for event in client.tell(other) if isinstance(event, SaPlaced)] == [Reason.SA_TABLE_FULL] * 2
    client.receive(gateway.send(echo(src=INNER_HOST, dst=INNER_CLIENT))[0])  # the driver notes when it was used
    events = client.receive(gateway.send(echo(src=INNER_HOST, dst=INNER_CLIENT))[0])
    assert delivered(events) == [echo(src=INNER_HOST, dst=INNER_CLIENT)]
    placed = [(event.spi, event.reason) for event in events if isinstance(event, SaPlaced)]
    # Two deletes, the inbound association's first; and the pair that found no room gets the room.
    gone_to_software = [(0x1002, Reason.DELETE_REQUESTED), (0x1001, Reason.DELETE_REQUESTED)]
    assert placed == [*gone_to_software, (0x2002, None), (0x2001, None)]
    assert tables(client) == (1, 1, 1)
    assert entries(client) == [(UdpType.OTHER, 4500, 1)]
    [frame] = client.send(echo())
    assert delivered(gateway.receive(frame)) == [echo()]
    [frame] = gateway.send(echo(src=INNER_HOST, dst=INNER_CLIENT))
    assert delivered(client.receive(frame)) == [echo(src=INNER_HOST, dst=INNER_CLIENT)]
    assert client.host.holdings().associations[0].packets_by_host == 1


@pytest.mark.rule("N-SA-22")
def test_asked_for_room_the_host_gives_both_of_the_same_pair() -> None:
    caps = replace(load_profile("ndis60"), inbound_rows=2, outbound_rows=2, make_room=MakeRoom.LEAST_RECENTLY_USED)
    client, gateway = station(CLIENT, tunnel_policies(), profile=caps), station(GATEWAY, tunnel_policies(client=False))
    for one, is_client in ((client, True), (gateway, False)):
        one.tell(ready(client=is_client), OutboundUsable(1), ready(2, client=is_client, replaces=(1,)))
    gateway.tell(OutboundUsable(2))
    answer = echo(src=INNER_HOST, dst=INNER_CLIENT)
    client.receive(gateway.send(answer)[0])
    placed = [event.spi for event in client.receive(gateway.send(answer)[0]) if isinstance(event, SaPlaced)]
    assert placed == [0x2002, 0x2001]


def test_a_pair_that_found_no_room_gets_the_room_of_one_that_ends() -> None:
    client = station(CLIENT, tunnel_policies(), profile=replace(load_profile("ndis60"), inbound_rows=1))
    client.tell(ready(), ready(2, inner=("10.0.0.2/32", "192.168.60.0/24")))
    assert client.lines()[2:] == [(0x2002, "sa-table-full"), (0x2001, ADD_UDPESP)]
    client.tell(gone(1))
    assert client.lines() == [(0x2002, ADD_UDPESP), (0x2001, ADD_UDPESP)]
    client.tell(gone(2))
    assert (tables(client), entries(client)) == ((0, 0, 0), [])


# --- transport mode under NAT ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["both", "its own", "nothing"])
@pytest.mark.parametrize("role", Role)
def test_inner_checksums_are_made_right_under_nat(told: str, role: Role) -> None:
    private, public = parse_address("192.168.1.10"), parse_address("203.0.113.5")
    server = role is Role.RESPONDER
    # The addresses as the sender has them, and what the NAT makes of them.
    original, seen = ((private, GATEWAY), (public, GATEWAY)) if server else ((GATEWAY, public), (GATEWAY, private))
    datagram = build_udp(1701, 1701, b"l2tp", checksum=None, src=original[0], dst=original[1])
    expected = build_udp(1701, 1701, b"l2tp", checksum=None, src=seen[0], dst=seen[1])
    peer_says = OriginalAddresses(private, GATEWAY) if server else OriginalAddresses(public, GATEWAY)
    if told == "its own":  # as the drafts up to 04 have it
        peer_says = OriginalAddresses(private, None) if server else OriginalAddresses(None, GATEWAY)
    one = station(seen[1])
    ends = seen if server else seen[::-1]
    said = None if told == "nothing" else peer_says
    event = ready(client=not server, ends=ends, mode=Mode.TRANSPORT, told=said, protocol=17)
    one.tell(event, OutboundUsable(1))
    sent = protect(
        event.inbound, Transform(TRIPLE_DES), build_ipv4(seen[0], seen[1], 17, datagram), sequence=1, iv=bytes(8)
    )
    [packet] = delivered(one.receive(ethernet(sent)))
    assert packet == build_ipv4(seen[0], seen[1], 17, expected)
    # A checksum that was wrong where it was sent stays wrong if the original addresses are known.
    spoiled = build_ipv4(seen[0], seen[1], 17, datagram[:6] + b"\1\1" + datagram[8:])
    sent = protect(event.inbound, Transform(TRIPLE_DES), spoiled, sequence=2, iv=bytes(8))
    [packet] = delivered(one.receive(ethernet(sent)))
    assert (packet[20:] == expected) is not told


@pytest.mark.parametrize("role", Role)
def test_a_side_that_tells_its_own_address_only_is_enough(role: Role) -> None:
    private, public = parse_address("192.168.1.10"), parse_address("203.0.113.5")
    datagram = build_udp(1701, 1701, b"l2tp", checksum=None, src=private, dst=CLIENT)
    says = OriginalAddresses(None, private) if role is Role.INITIATOR else OriginalAddresses(private, None)
    ends = (CLIENT, public) if role is Role.INITIATOR else (public, CLIENT)
    event = ready(client=role is Role.INITIATOR, ends=ends, mode=Mode.TRANSPORT, told=says, protocol=17)
    one = station(CLIENT)
    one.tell(event, OutboundUsable(1))
    packet = build_ipv4(public, CLIENT, 17, datagram)
    sent = protect(event.inbound, Transform(TRIPLE_DES), packet, sequence=1, iv=bytes(8))
    expected = build_udp(1701, 1701, b"l2tp", checksum=None, src=public, dst=CLIENT)
    assert delivered(one.receive(ethernet(sent))) == [build_ipv4(public, CLIENT, 17, expected)]


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [500, 4500])
def test_damaged_ike_does_not_reach_the_daemon(port: int) -> None:
    """An authentic exchange would fail over one turned bit; what is dropped is sent again."""
    one = station(GATEWAY)
    marker = bytes(4) if port == 4500 else b""
    message = build_udp(port, port, marker + bytes(range(1, 41)), checksum=None, src=CLIENT, dst=GATEWAY)
    whole = build_ipv4(CLIENT, GATEWAY, 17, message)
    for bit in range(8 * 12, 8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        one.receive(ethernet(bytes(damaged)))
    assert one.peer.told == []
    one.receive(ethernet(whole))
    assert [what for what, *_ in one.peer.told] == ["receive"]
    none = build_ipv4(CLIENT, GATEWAY, 17, build_udp(port, port, marker + bytes(range(1, 41))))
    one.receive(ethernet(none))
    assert len(one.peer.told) == 2


def test_damage_to_the_ip_header_does_not_move_a_peer() -> None:
    client, gateway = joined()
    [frame] = client.send(echo())
    for bit in range(8 * 26, 8 * 30):  # the source address
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        assert dropped(gateway.receive(bytes(damaged))) == [Reason.MALFORMED]
    assert "received" not in [what for what, *_ in gateway.peer.told]


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_associations_from_setkey_text_work_without_a_daemon() -> None:
    cipher, hashed = "-E 3des-cbc 0x" + "ab" * 24, "-A hmac-md5 0x" + "cd" * 16
    there, back = "203.0.113.1 203.0.113.2 esp 0x1001", "203.0.113.2 203.0.113.1 esp 0x1002"
    text = f"add {there} -m tunnel -r 4 {cipher} {hashed}; add {back} -m tunnel {cipher} {hashed};"
    client, gateway = station(CLIENT, tunnel_policies()), station(GATEWAY, tunnel_policies(client=False))
    for one in (client, gateway):
        for statement in read_setkey(text).associations:
            one.host.install_manual(statement)
        assert tables(one) == (1, 1, 0)
    [frame] = client.send(echo())
    assert parse_frame(frame).protocol == 50
    assert delivered(gateway.receive(frame)) == [echo()]
    assert gateway.receive(frame)[0].verdict == "duplicate"
    assert client.peer.told == gateway.peer.told == []
    with pytest.raises(InputError, match="line 1: the SPI 0x00001001 is taken"):
        gateway.host.install_manual(read_setkey(text).associations[0])
    with pytest.raises(InputError, match="line 1: needs this host at one end, and a mode"):
        station(CLIENT6).host.install_manual(read_setkey(text).associations[0])
    with pytest.raises(InputError, match="needs this host at one end, and a mode"):
        station(CLIENT).host.install_manual(read_setkey(text.replace("-m tunnel", "")).associations[0])


# --- whatever comes --------------------------------------------------------------------------------------------------


@given(st.binary(max_size=90), st.sampled_from([500, 4500, 4501]), st.integers(0, 255))
def test_no_packet_does_more_than_be_dropped_or_delivered(payload: bytes, port: int, protocol: int) -> None:
    _, gateway = HOSTS
    before = gateway.lines()
    for packet in (
        build_ipv4(CLIENT, GATEWAY, 17, build_udp(4500, port, payload)),
        build_ipv4(CLIENT, GATEWAY, 17, build_udp(4500, port, (0x1001).to_bytes(4, "big") + payload)),
        build_ipv4(CLIENT, GATEWAY, protocol, payload),
        payload,
    ):
        gateway.receive(bytes(12) + b"\x08\0" + packet)
        gateway.receive(packet)
    assert gateway.lines() == before
    gateway.events.clear()


HOSTS = joined()


def test_a_delete_by_the_peer_and_a_close_are_passed_on() -> None:
    client, _ = joined()
    client.host.delete(0.0, 1)
    client.host.rekey(0.0, 1)
    client.host.close(0.0)
    assert client.peer.told[-3:] == [("delete", 1), ("rekey", 1), ("close",)]
    client.peer.deadline = 12.5
    assert client.host.next_deadline() == 12.5


def test_a_raw_link_carries_ip_packets_as_they_are() -> None:
    raw = Link(LinkMedium.RAW_IP)
    assert raw.type is LinkType.RAW
    assert raw.frame(echo()) == raw.received_frame(echo()) == echo()
