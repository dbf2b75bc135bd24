"""network/nat.py: what comes out against scapy, who may come in, and how long a mapping lasts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.events import Endpoint
from nicsim.network.mappings import pool_of
from nicsim.network.nat import AddressNat, Filtering, Fragments, Napt, NaptBehaviour, Outcome
from nicsim.network.rewriting import one_hop_on, with_ends
from nicsim.wire.checksum import udp_checksum
from nicsim.wire.fragmentation import fragment_ipv4
from nicsim.wire.headers import build_ipv4, build_ipv6, build_udp, parse_address
from nicsim.wire.icmp import IcmpErrorKind, build_echo_request, build_icmp_error, echo_reply, parse_icmp_error
from nicsim.wire.packet import LinkType, Packet, parse_frame

CLIENT, OTHER, OUTSIDE, SERVER, STRANGER = (
    parse_address(text) for text in ("10.0.0.2", "10.0.0.3", "203.0.113.1", "203.0.113.2", "198.51.100.9")
)
REMAPPING = NaptBehaviour(port_preserving=False)


def datagram(
    src: bytes = CLIENT,
    src_port: int = 4500,
    dst: bytes = SERVER,
    dst_port: int = 4500,
    data: bytes = b"some data",
    checksum: int | None = None,
) -> bytes:
    udp = build_udp(src_port, dst_port, data, checksum=checksum, src=src, dst=dst)
    return build_ipv4(src, dst, 17, udp, identification=0x4711, flags=0)


def parsed(packet: bytes) -> Packet:
    return parse_frame(packet, LinkType.RAW)


def out(nat: Napt | AddressNat, packet: bytes, now: float = 0.0) -> Outcome:
    return nat.outbound(now, packet, parsed(packet))


def back(nat: Napt | AddressNat, packet: bytes, now: float = 0.0) -> Outcome:
    return nat.inbound(now, packet, parsed(packet))


def ends(outcome: Outcome) -> tuple[bytes, int, bytes, int]:
    (packet,) = outcome.packets
    found = parsed(packet)
    return found.src, found.src_port, found.dst, found.dst_port


# --- the bytes -----------------------------------------------------------------------------------------------------


@pytest.mark.peer("scapy")
@given(st.binary(max_size=60), st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([None, 0]), st.data())
def test_a_rewritten_datagram_is_what_scapy_computes_anew(
    data: bytes, port: int, new_port: int, checksum: int | None, draw: st.DataObject
) -> None:
    from tests.network.oracle import recomputed

    packet = datagram(src_port=port, data=data, checksum=checksum)
    new = draw.draw(st.binary(min_size=4, max_size=4))
    text = ".".join(str(octet) for octet in new)
    assert with_ends(packet, parsed(packet), src=Endpoint(new, new_port)) == recomputed(
        packet, src=text, sport=new_port
    )
    assert with_ends(packet, parsed(packet), dst=Endpoint(new, new_port)) == recomputed(
        packet, dst=text, dport=new_port
    )


@pytest.mark.peer("scapy")
@given(st.binary(max_size=60), st.binary(min_size=4, max_size=4), st.integers(0, 65535))
def test_rewritten_tcp_and_echo_are_what_scapy_computes_anew(data: bytes, new: bytes, port: int) -> None:
    from scapy.layers.inet import IP, TCP

    from tests.network.oracle import recomputed

    text = ".".join(str(octet) for octet in new)
    tcp = bytes(IP(src="10.0.0.2", dst="203.0.113.2") / TCP(sport=1234, dport=80) / data)
    assert with_ends(tcp, parsed(tcp), src=Endpoint(new, port)) == recomputed(tcp, src=text, sport=port)
    echo = build_echo_request(CLIENT, SERVER, 77, 1, data)
    assert with_ends(echo, parsed(echo), src=Endpoint(new, port)) == recomputed(echo, src=text, id=port)


@pytest.mark.peer("scapy")
@pytest.mark.parametrize("ttl", [2, 64, 255])
def test_a_lowered_ttl_is_what_scapy_computes_anew(ttl: int) -> None:
    from tests.network.oracle import recomputed

    packet = recomputed(datagram(), ttl=ttl)
    assert one_hop_on(packet) == recomputed(packet, ttl=ttl - 1)


def test_a_lowered_hop_limit_changes_nothing_else() -> None:
    packet = build_ipv6(bytes(15) + b"\1", bytes(15) + b"\2", 59, b"", hop_limit=9)
    assert one_hop_on(packet) == packet[:7] + b"\x08" + packet[8:]


def test_a_checksum_of_zero_stays_and_a_wrong_one_stays_wrong() -> None:
    nat = Napt(OUTSIDE)
    (none,) = out(nat, datagram(checksum=0)).packets
    assert none[26:28] == b"\0\0"
    right = int.from_bytes(datagram()[26:28], "big")
    (wrong,) = out(nat, datagram(checksum=right ^ 0x0100)).packets
    sent = int.from_bytes(wrong[26:28], "big")
    assert sent != udp_checksum(OUTSIDE, SERVER, wrong[20:])


def test_a_checksum_that_comes_out_as_zero_is_sent_as_ffff() -> None:
    """Zero would say that there is none (RFC 768)."""
    packet = datagram()
    rewritten = [with_ends(packet, parsed(packet), src=Endpoint(OUTSIDE, port)) for port in range(65536)]
    checksums = {one[26:28] for one in rewritten}
    assert b"\0\0" not in checksums
    (whole,) = [one for one in rewritten if one[26:28] == b"\xff\xff"]
    assert udp_checksum(OUTSIDE, SERVER, whole[20:]) == 0xFFFF


# --- mappings ------------------------------------------------------------------------------------------------------


def test_the_classic_table_500_is_1_and_4500_is_1024() -> None:
    nat = Napt(OUTSIDE, REMAPPING)
    assert ends(out(nat, datagram(src_port=500, dst_port=500))) == (OUTSIDE, 1, SERVER, 500)
    assert ends(out(nat, datagram())) == (OUTSIDE, 1024, SERVER, 4500)
    assert ends(out(nat, datagram(src=OTHER, src_port=500, dst_port=500))) == (OUTSIDE, 2, SERVER, 500)
    assert ends(out(nat, datagram(src=OTHER))) == (OUTSIDE, 1025, SERVER, 4500)
    assert ends(back(nat, datagram(SERVER, 4500, OUTSIDE, 1025))) == (SERVER, 4500, OTHER, 4500)


def test_a_port_is_preserved_while_it_is_free() -> None:
    nat = Napt(OUTSIDE)
    assert ends(out(nat, datagram()))[1] == 4500
    assert ends(out(nat, datagram(src=OTHER)))[1] == 1024
    assert ends(out(nat, datagram(dst=STRANGER)))[1] == 4500  # one mapping, whoever the peer is


@pytest.mark.parametrize(("port", "pool"), [(1, (1, 511)), (511, (1, 511)), (512, (600, 1023)), (1024, (1024, 65535))])
def test_the_pools(port: int, pool: tuple[int, int]) -> None:
    assert (pool_of(port)[0], pool_of(port)[-1]) == pool


def test_no_port_left_is_said() -> None:
    nat = Napt(OUTSIDE, REMAPPING)
    for number in range(511):
        assert out(nat, datagram(src=bytes((10, 0, *divmod(number, 256))), src_port=500)).packets
    refused = out(nat, datagram(src=STRANGER, src_port=500))
    assert not refused.packets
    assert "no port left" in refused.dropped
    # Another pool has some, and so has this one once its mappings have timed out.
    assert out(nat, datagram(src=STRANGER)).packets
    assert out(nat, datagram(src=STRANGER, src_port=500), now=1000.0).packets


def test_nobody_gets_in_without_a_mapping() -> None:
    nat = Napt(OUTSIDE)
    assert "no mapping" in back(nat, datagram(SERVER, 4500, OUTSIDE, 4500)).dropped


@pytest.mark.parametrize(
    ("filtering", "src", "port", "gets_in"),
    [
        (Filtering.ADDRESS_AND_PORT_DEPENDENT, SERVER, 4500, True),
        (Filtering.ADDRESS_AND_PORT_DEPENDENT, SERVER, 500, False),
        (Filtering.ADDRESS_AND_PORT_DEPENDENT, STRANGER, 4500, False),
        (Filtering.ENDPOINT_INDEPENDENT, STRANGER, 9, True),
    ],
)
def test_who_may_send_in_is_the_filter_s_business(filtering: Filtering, src: bytes, port: int, gets_in: bool) -> None:
    nat = Napt(OUTSIDE, NaptBehaviour(filtering=filtering))
    out(nat, datagram())
    assert bool(back(nat, datagram(src, port, OUTSIDE, 4500)).packets) is gets_in


@pytest.mark.parametrize(
    ("inbound_refresh", "used", "alive"),
    [
        (False, [], False),
        (False, [("out", 50.0)], True),
        (False, [("back", 50.0)], False),
        (True, [("back", 50.0)], True),
    ],
)
def test_a_mapping_lasts_as_long_as_it_is_used(
    inbound_refresh: bool, used: list[tuple[str, float]], alive: bool
) -> None:
    nat = Napt(OUTSIDE, NaptBehaviour(udp_timeout=60.0, inbound_refresh=inbound_refresh))
    out(nat, datagram())
    answer = datagram(SERVER, 4500, OUTSIDE, 4500)
    for way, time in used:
        assert (out(nat, datagram(), time) if way == "out" else back(nat, answer, time)).packets
    late = back(nat, answer, 100.0)
    assert bool(late.packets) is alive
    assert bool(late.notes) is not alive


def test_the_last_moment_of_a_mapping_is_its_timeout() -> None:
    nat = Napt(OUTSIDE, NaptBehaviour(udp_timeout=60.0))
    out(nat, datagram())
    assert back(nat, datagram(SERVER, 4500, OUTSIDE, 4500), 60.0).packets
    assert not back(nat, datagram(SERVER, 4500, OUTSIDE, 4500), 60.1).packets


@pytest.mark.parametrize("behaviour", [NaptBehaviour(), REMAPPING])
def test_after_a_restart_no_end_has_the_port_it_had(behaviour: NaptBehaviour) -> None:
    nat = Napt(OUTSIDE, behaviour)
    before = {ends(out(nat, datagram(src=src)))[1] for src in (CLIENT, OTHER)}
    assert nat.remap() == "2 mappings are lost"
    assert not back(nat, datagram(SERVER, 4500, OUTSIDE, 4500)).packets
    after = {ends(out(nat, datagram(src=src)))[1] for src in (CLIENT, OTHER)}
    assert len(after) == 2
    assert not before & after


def test_what_has_no_ports_does_not_pass() -> None:
    nat = Napt(OUTSIDE)
    esp = build_ipv4(CLIENT, SERVER, 50, bytes(40))
    assert "IP protocol 50" in out(nat, esp).dropped


# --- the first draft's port 500, and the NAT that knows too much --------------------------------------------------


def ike(src: bytes, cookie: bytes, *, dst: bytes = SERVER) -> bytes:
    return datagram(src, 500, dst, 500, cookie + bytes(40))


def test_an_ipsec_aware_nat_tells_clients_apart_by_their_cookies_on_port_500() -> None:
    nat = Napt(OUTSIDE, NaptBehaviour(ipsec_aware=True))
    first, second = b"cookie 1", b"cookie 2"
    assert ends(out(nat, ike(CLIENT, first))) == (OUTSIDE, 500, SERVER, 500)
    assert ends(out(nat, ike(OTHER, second))) == (OUTSIDE, 500, SERVER, 500)
    assert ends(back(nat, ike(SERVER, first, dst=OUTSIDE)))[2] == CLIENT
    assert ends(back(nat, ike(SERVER, second, dst=OUTSIDE)))[2] == OTHER
    assert "cookie" in back(nat, ike(SERVER, b"cookie 3", dst=OUTSIDE)).dropped
    assert "cookie" in back(nat, ike(STRANGER, first, dst=OUTSIDE)).dropped


def test_an_ipsec_aware_nat_lets_no_esp_in_on_port_500_and_all_on_port_4500() -> None:
    nat = Napt(OUTSIDE, NaptBehaviour(ipsec_aware=True))
    out(nat, ike(CLIENT, b"cookie 1"))
    assert out(nat, ike(CLIENT, bytes(8))).packets
    assert "cookie" in back(nat, ike(SERVER, bytes(8), dst=OUTSIDE)).dropped
    out(nat, datagram())
    assert back(nat, datagram(SERVER, 4500, OUTSIDE, 4500)).packets


def test_an_exchange_is_forgotten_in_time() -> None:
    nat = Napt(OUTSIDE, NaptBehaviour(ipsec_aware=True, udp_timeout=60.0))
    out(nat, ike(CLIENT, b"cookie 1"))
    assert back(nat, ike(SERVER, b"cookie 1", dst=OUTSIDE), 60.0).packets
    assert not back(nat, ike(SERVER, b"cookie 1", dst=OUTSIDE), 61.0).packets


# --- fragments -----------------------------------------------------------------------------------------------------


@pytest.mark.peer("scapy")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_tracked_fragments_come_out_translated_in_any_order(order: tuple[int, ...]) -> None:
    from tests.network.oracle import recomputed

    nat = Napt(OUTSIDE, NaptBehaviour(port_preserving=False, fragments=Fragments.TRACK))
    whole = datagram(data=bytes(range(200)))
    pieces = fragment_ipv4(whole, 100)
    assert len(pieces) == 3
    got = [packet for index in order for packet in out(nat, pieces[index]).packets]
    expected = fragment_ipv4(recomputed(whole, src="203.0.113.1", sport=1024), 100)
    assert sorted(got) == sorted(expected)


def test_fragments_without_their_first_do_not_pass_and_are_not_kept_for_ever() -> None:
    nat = Napt(OUTSIDE, NaptBehaviour(fragments=Fragments.TRACK))
    first, *later = fragment_ipv4(datagram(data=bytes(200)), 100)
    assert not out(nat, later[0], 0.0).packets
    assert len(out(nat, first, 31.0).packets) == 1


def test_a_nat_may_drop_fragments() -> None:
    nat = Napt(OUTSIDE, NaptBehaviour(fragments=Fragments.DROP))
    assert all("fragments" in out(nat, one).dropped for one in fragment_ipv4(datagram(data=bytes(200)), 100))


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [None, 0])
@pytest.mark.parametrize("cut", [None, 56])
def test_an_error_that_comes_in_quotes_the_inside_packet(checksum: int | None, cut: int | None) -> None:
    nat = Napt(OUTSIDE, REMAPPING)
    original = datagram(checksum=checksum)
    (sent,) = out(nat, original).packets
    error = build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, STRANGER, sent[:cut], mtu=1000)
    (got,) = back(nat, error).packets
    # The whole error is what the router would have sent about the original, had there been no NAT.
    assert got == build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, STRANGER, original[:cut], mtu=1000)


def test_an_error_that_goes_out_does_not_show_the_inside() -> None:
    nat = Napt(OUTSIDE, REMAPPING)
    out(nat, datagram())
    came = datagram(SERVER, 4500, OUTSIDE, 1024)
    (inside,) = back(nat, came).packets
    error = build_icmp_error(IcmpErrorKind.PORT_UNREACHABLE, CLIENT, inside)
    (got,) = out(nat, error).packets
    assert got == build_icmp_error(IcmpErrorKind.PORT_UNREACHABLE, OUTSIDE, came)


def test_an_error_about_nothing_known_is_dropped() -> None:
    nat = Napt(OUTSIDE)
    error = build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, STRANGER, datagram(OUTSIDE, 4500), mtu=1000)
    assert "error quotes" in back(nat, error).dropped


def test_an_echo_goes_out_and_its_reply_comes_in() -> None:
    nat = Napt(OUTSIDE, REMAPPING)
    request = build_echo_request(CLIENT, SERVER, 77, 1, b"ping")
    (sent,) = out(nat, request).packets
    reply = echo_reply(sent, parsed(sent))
    assert reply is not None
    (got,) = back(nat, reply).packets
    assert got == echo_reply(request, parsed(request))


# --- one address for another, and two NATs -------------------------------------------------------------------------


@pytest.mark.peer("scapy")
@pytest.mark.parametrize("checksum", [None, 0])
def test_one_to_one_changes_the_address_and_nothing_else(checksum: int | None) -> None:
    from tests.network.oracle import recomputed

    nat = AddressNat({CLIENT: OUTSIDE})
    assert out(nat, datagram(checksum=checksum)).packets == [recomputed(datagram(checksum=checksum), src="203.0.113.1")]
    came = datagram(SERVER, 4500, OUTSIDE, 9, checksum=checksum)
    assert back(nat, came).packets == [recomputed(came, dst="10.0.0.2")]
    esp = build_ipv4(CLIENT, SERVER, 50, bytes(40))
    assert out(nat, esp).packets == [recomputed(esp, src="203.0.113.1")]
    assert "no outside address" in out(nat, datagram(src=OTHER)).dropped
    fragments = fragment_ipv4(datagram(data=bytes(200)), 100)
    whole = recomputed(datagram(data=bytes(200)), src="203.0.113.1")
    assert [packet for one in fragments for packet in out(nat, one).packets] == fragment_ipv4(whole, 100)


def test_one_to_one_translates_errors_both_ways() -> None:
    nat = AddressNat({CLIENT: OUTSIDE})
    (sent,) = out(nat, datagram()).packets
    error = build_icmp_error(IcmpErrorKind.TIME_EXCEEDED, STRANGER, sent)
    assert back(nat, error).packets == [build_icmp_error(IcmpErrorKind.TIME_EXCEEDED, STRANGER, datagram())]
    came = datagram(SERVER, 4500, OUTSIDE, 9)
    (inside,) = back(nat, came).packets
    error = build_icmp_error(IcmpErrorKind.PORT_UNREACHABLE, CLIENT, inside)
    assert out(nat, error).packets == [build_icmp_error(IcmpErrorKind.PORT_UNREACHABLE, OUTSIDE, came)]
    echo = build_echo_request(CLIENT, SERVER, 7, 1, b"x")
    (sent,) = out(nat, echo).packets
    error = build_icmp_error(IcmpErrorKind.TIME_EXCEEDED, STRANGER, sent)
    assert back(nat, error).packets == [build_icmp_error(IcmpErrorKind.TIME_EXCEEDED, STRANGER, echo)]


def test_two_nats_in_a_row_undo_each_other() -> None:
    carrier = parse_address("192.0.2.77")
    inner, outer = Napt(carrier, REMAPPING), Napt(OUTSIDE, REMAPPING)
    (between,) = out(inner, datagram()).packets
    (outside,) = out(outer, between).packets
    assert parsed(outside).src == OUTSIDE
    answer = datagram(SERVER, 4500, OUTSIDE, parsed(outside).src_port)
    (between,) = back(outer, answer).packets
    (got,) = back(inner, between).packets
    assert got == datagram(SERVER, 4500, CLIENT, 4500)
    error = build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, STRANGER, outside, mtu=1000)
    (between,) = back(outer, error).packets
    (got,) = back(inner, between).packets
    assert got == build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, STRANGER, datagram(), mtu=1000)


# --- hostile packets -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=120), st.sampled_from([1, 6, 17, 50]), st.booleans(), st.integers(0, 0x3FFF))
def test_no_packet_makes_a_nat_fall_over(data: bytes, protocol: int, outward: bool, flags_offset: int) -> None:
    src, dst = (CLIENT, SERVER) if outward else (SERVER, OUTSIDE)
    packet = bytearray(build_ipv4(src, dst, protocol, data))
    packet[6:8] = flags_offset.to_bytes(2, "big")
    try:
        found = parsed(bytes(packet))
    except Exception:  # not the NAT's business
        return
    for behaviour in (NaptBehaviour(fragments=Fragments.TRACK), NaptBehaviour(ipsec_aware=True)):
        for nat in (Napt(OUTSIDE, behaviour), AddressNat({CLIENT: OUTSIDE})):
            for seen in (out(nat, datagram()), (nat.outbound if outward else nat.inbound)(0.0, bytes(packet), found)):
                assert all(parsed(one).end == len(one) for one in seen.packets)


@given(st.binary(min_size=8, max_size=80))
def test_no_error_makes_a_nat_fall_over(quotation: bytes) -> None:
    about = build_ipv4(OUTSIDE, SERVER, 17, build_udp(4500, 4500, b""))[: 20 + len(quotation)]
    error = build_icmp_error(IcmpErrorKind.PACKET_TOO_BIG, STRANGER, about[:20] + quotation, mtu=600)
    nat = Napt(OUTSIDE)
    out(nat, datagram())
    for packet in back(nat, error).packets:
        assert parse_icmp_error(packet, parsed(packet)) is not None
