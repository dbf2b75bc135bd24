"""The replay on captures made to order: what it learns, what it tells apart, and what it refuses."""

import hashlib
from dataclasses import replace

import pytest

from nicsim.capabilities import MakeRoom
from nicsim.errors import InputError
from nicsim.ipsec.association import Encapsulation, Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from nicsim.replay.results import Direction, Kind
from nicsim.replay.sas import Marker
from nicsim.wire.headers import build_ethernet, build_ipv4, build_udp, parse_address
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import Frame
from tests.replay import scene
from tests.replay.scene import AES, GCM, INNER, LOCAL, REMOTE, TRIPLE_DES, captured, file_sa, inbound, outbound, play

NEITHER = parse_address("203.0.113.99")


def test_both_directions_through_version_1() -> None:
    into, out = inbound(), outbound()
    results, summary = play(scene.player(file_sa(into), file_sa(out)), into.frame(1), out.frame(1), into.frame(2))
    assert [r.direction for r in results] == [Direction.RX, Direction.TX, Direction.RX]
    assert [r.opened_by for r in results] == ["nic", "host", "nic"]
    assert [r.host_verdict for r in results] == ["accepted", None, "accepted"]
    assert [r.resealed for r in results] == [None, True, None]
    assert all(r.payload == INNER for r in results)
    assert [sa.oid for sa in summary.associations] == ["OID_TCP_TASK_IPSEC_ADD_UDPESP_SA"] * 2
    assert [(sa.packets, sa.opened_by_nic, sa.opened_by_host, sa.failed) for sa in summary.associations] == [
        (2, 2, 0, 0),
        (1, 0, 1, 0),
    ]


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("encapsulation", list(Encapsulation))
@pytest.mark.parametrize("profile", ["ndis51", "reference"])
def test_wiresharks_file_learns_mode_encapsulation_and_marker(
    mode: Mode, encapsulation: Encapsulation, profile: str
) -> None:
    """Eight zero bytes and then an SPI are type IKE, whatever the port."""
    ports = {"src_port": 1024, "dst_port": 500 if encapsulation is Encapsulation.UDP_NON_IKE else 4500}
    into = inbound(mode=mode, encapsulation=encapsulation, **ports)
    plain = INNER if mode is Mode.TUNNEL else build_ipv4(REMOTE, LOCAL, 17, build_udp(7, 9, b"end to end"))
    results, summary = play(scene.player(scene.esp_sa(into), profile=profile), into.frame(1, plain))
    assert results[0].opened_by == "nic"
    assert results[0].payload == (INNER if mode is Mode.TUNNEL else build_udp(7, 9, b"end to end"))
    native = encapsulation is Encapsulation.NONE
    assert results[0].kind is (Kind.ESP if native else Kind.UDP_ESP)
    assert summary.associations[0].mode == mode.value
    assert summary.associations[0].oid == f"OID_TCP_TASK_IPSEC_ADD_{'' if native else 'UDPESP_'}SA"
    entries = [(entry.udp_type, entry.port) for entry in summary.parser_entries if entry.named]
    assert entries == ([] if native else [("IKE", 500)] if ports["dst_port"] == 500 else [("OTHER", 4500)])


@pytest.mark.rule("A-33")
def test_the_non_ike_marker_on_port_4500_is_type_ike_where_the_card_can_take_it() -> None:
    into = inbound(encapsulation=Encapsulation.UDP_NON_IKE)
    results, summary = play(scene.player(scene.esp_sa(into), profile="ndis51"), into.frame(1))
    assert results[0].opened_by == "nic"
    assert [(entry.udp_type, entry.port) for entry in summary.parser_entries] == [("IKE", 4500)]
    # In the reference profile version 2 parses port 4500 as OTHER already, so the association stays in software.
    results, summary = play(scene.player(scene.esp_sa(into)), into.frame(1))
    assert (results[0].opened_by, results[0].host_verdict) == ("host", "accepted")
    assert summary.associations[0].software_reason is Reason.PORT_HAS_OTHER_TYPE


def test_a_mode_is_learned_from_the_first_packet_that_opens() -> None:
    into = inbound()
    damaged = bytearray(into.frame(1))
    damaged[-1] ^= 1
    results, summary = play(scene.player(scene.esp_sa(into)), bytes(damaged), into.frame(2))
    assert [r.host_verdict for r in results] == ["icv-bad", "accepted"]
    assert [r.opened_by for r in results] == [None, "nic"]
    assert summary.associations[0].mode == "tunnel"
    assert (summary.associations[0].packets, summary.associations[0].failed) == (2, 1)


def test_an_unknown_spi_has_no_association() -> None:
    into, stranger = inbound(), inbound(spi=0x7777)
    results, _ = play(scene.player(file_sa(into)), into.frame(1), stranger.frame(1))
    assert (results[1].host_verdict, results[1].reason, results[1].opened_by) == (
        "no-sa",
        Reason.SA_NOT_OFFLOADED,
        None,
    )
    assert results[1].crypto_done is False
    assert results[1].payload is None


def test_a_sent_packet_of_an_unknown_spi_is_not_sealed_again() -> None:
    results, _ = play(scene.player(file_sa(inbound())), outbound().frame(1))
    assert (results[0].reason, results[0].resealed, results[0].opened_by) == (Reason.NO_SUCH_SA, False, None)


@pytest.mark.rule("N-RX-14", "N-RX-15", "N-RX-16")
def test_a_wrong_icv_is_reported_by_the_nic_and_refused_by_the_host() -> None:
    into = inbound()
    damaged = bytearray(into.frame(1))
    damaged[-20] ^= 0x40
    results, summary = play(scene.player(file_sa(into)), bytes(damaged))
    assert (results[0].reason, results[0].host_verdict) == (Reason.ICV_WRONG, "icv-bad")
    assert results[0].crypto_done is True
    assert results[0].crypto_status is not None
    assert results[0].crypto_status.name == "CRYPTO_TUNNEL_ESP_AUTH_FAILED"
    assert results[0].payload is None
    assert summary.associations[0].failed == 1


@pytest.mark.rule("N-RX-7")
def test_duplicates_and_late_packets_keep_their_payload() -> None:
    into = inbound()
    results, _ = play(scene.player(file_sa(into)), into.frame(1), into.frame(1), into.frame(100), into.frame(36))
    assert [r.host_verdict for r in results] == ["accepted", "duplicate", "accepted", "too-old"]
    assert all(r.opened_by == "nic" and r.payload == INNER for r in results)


def test_the_replay_window_is_as_wide_as_asked() -> None:
    into = inbound()
    results, _ = play(scene.player(file_sa(into), replay_window=128), into.frame(100), into.frame(36))
    assert results[1].host_verdict == "accepted"
    results, _ = play(scene.player(file_sa(into), replay_window=0), into.frame(100), into.frame(100))
    assert results[1].host_verdict == "accepted"


def test_two_associations_that_share_an_spi_are_told_apart_by_the_files_addresses() -> None:
    other = parse_address("198.51.100.8")
    first, second = inbound(), inbound(keys=AES, src=other)
    results, summary = play(
        scene.player(file_sa(second), file_sa(first)), first.frame(1), second.frame(1), first.frame(2)
    )
    assert [r.host_verdict for r in results] == ["accepted"] * 3
    assert [sa.packets for sa in summary.associations] == [1, 2]
    # A NIC could not tell them apart (N-SA-20), so only one of them is offloaded.
    assert [r.opened_by for r in results] == ["nic", "host", "nic"]
    assert summary.associations[0].software_reason is Reason.SPI_NOT_UNIQUE


def test_one_spi_towards_two_peers_is_offloaded_twice() -> None:
    other = parse_address("198.51.100.8")
    first, second = outbound(), outbound(keys=AES, dst=other)
    results, summary = play(scene.player(file_sa(first), file_sa(second)), first.frame(1), second.frame(1))
    assert [r.resealed for r in results] == [True, True]
    assert all(sa.oid for sa in summary.associations)


def test_one_spi_towards_two_clients_behind_one_nat_is_told_apart_by_the_ports() -> None:
    first, second = outbound(dst_port=1024), outbound(keys=AES, dst_port=1025)
    files = file_sa(first, dst_port=1024, src_port=4500), file_sa(second, dst_port=1025, src_port=4500)
    results, _ = play(scene.player(*files), second.frame(1), first.frame(1), second.frame(2))
    assert [r.resealed for r in results] == [True, True, True]


def test_the_same_spi_in_both_directions_is_two_associations() -> None:
    into, out = inbound(spi=0x5555), outbound(keys=AES, spi=0x5555)
    results, _ = play(scene.player(file_sa(out), file_sa(into)), into.frame(1), out.frame(1))
    assert [r.host_verdict for r in results] == ["accepted", None]
    assert results[1].resealed is True


def test_an_address_that_a_nat_changed_is_no_obstacle() -> None:
    """The file is written at the server; here the client's own address is another one."""
    seen = inbound()
    results, summary = play(scene.player(file_sa(seen, dst=NEITHER)), seen.frame(1))
    assert results[0].opened_by == "nic"
    assert summary.associations[0].dst == "192.0.2.1:4500"


def test_strict_addresses_take_the_file_as_written() -> None:
    seen = inbound()
    made = scene.player(file_sa(seen, dst=NEITHER), strict_addresses=True)
    results, summary = play(made, seen.frame(1))
    assert (results[0].host_verdict, results[0].opened_by) == ("no-sa", None)
    assert summary.associations[0].oid is None
    made = scene.player(file_sa(seen), strict_addresses=True)
    results, _ = play(made, seen.frame(1))
    assert results[0].opened_by == "nic"
    # The right local address, another peer: offloaded as written, and not for this packet.
    transport = inbound(mode=Mode.TRANSPORT)
    plain = build_ipv4(REMOTE, LOCAL, 17, build_udp(7, 9, b"end to end"))
    results, _ = play(scene.player(file_sa(transport, src=NEITHER), strict_addresses=True), transport.frame(1, plain))
    assert (results[0].reason, results[0].host_verdict) == (Reason.FILTER_MISMATCH, "no-sa")


def test_a_nat_that_remaps_the_port_in_mid_flow_changes_nothing_for_the_nic() -> None:
    before, after = inbound(), inbound(src_port=2048, src=parse_address("198.51.100.8"))
    results, _ = play(scene.player(file_sa(before)), before.frame(1), after.frame(2))
    assert [r.opened_by for r in results] == ["nic", "nic"]


@pytest.mark.rule("A-34")
def test_version_2_does_not_parse_port_500() -> None:
    into = inbound(keys=AES, encapsulation=Encapsulation.UDP_NON_IKE, dst_port=500)
    results, summary = play(scene.player(file_sa(into)), into.frame(1))
    assert (results[0].opened_by, results[0].host_verdict) == ("host", "accepted")
    assert summary.associations[0].software_reason is Reason.PORT_NOT_PARSED_BY_V2


def test_a_marker_in_the_file_is_believed() -> None:
    into = inbound(encapsulation=Encapsulation.UDP_NON_IKE, dst_port=500)
    results, _ = play(scene.player(file_sa(into, marker=Marker.NON_IKE), profile="ndis51"), into.frame(1))
    assert results[0].opened_by == "nic"
    results, _ = play(scene.player(file_sa(into, marker=Marker.NONE), profile="ndis51"), into.frame(1))
    assert results[0].opened_by == "host"


def test_ports_of_the_file_are_looked_at_too() -> None:
    into = inbound(dst_port=1111)
    results, _ = play(scene.player(file_sa(into, dst_port=1111)), into.frame(1))
    assert (results[0].kind, results[0].opened_by) == (Kind.UDP_ESP, "nic")
    results, _ = play(scene.player(file_sa(into)), into.frame(1))
    assert (results[0].kind, results[0].reason) == (Kind.OTHER, Reason.NO_PARSER_ENTRY)


@pytest.mark.rule("N-RX-5", "N-NAT-5")
def test_kinds_are_judged_by_either_port() -> None:
    datas = {
        Kind.KEEPALIVE: scene.udp(b"\xff", 1024, 4500),
        Kind.IKE: scene.udp(bytes(4) + bytes(range(1, 29)), 1024, 4500),
        Kind.OTHER: scene.udp(b"\x01\x02", 4500, 4500),
    }
    for kind, data in datas.items():
        results, _ = play(scene.player(file_sa(inbound())), data)
        assert results[0].kind is kind
    results, _ = play(scene.player(file_sa(inbound())), scene.udp(bytes(range(1, 29)), 500, 1, LOCAL, REMOTE))
    assert (results[0].kind, results[0].direction, results[0].reason) == (Kind.IKE, Direction.TX, Reason.SENT_PLAIN)
    results, _ = play(scene.player(file_sa(inbound())), scene.udp(b"\xff", 500, 500))
    assert results[0].kind is Kind.KEEPALIVE


def test_frames_of_other_hosts_and_other_protocols() -> None:
    arp = build_ethernet(*scene.MAC, 0x0806, bytes(28))
    elsewhere = scene.udp(b"\xff", src=REMOTE, dst=NEITHER)
    icmp = scene.ethernet(build_ipv4(REMOTE, LOCAL, 1, bytes(8)))
    ah = scene.ethernet(build_ipv4(REMOTE, LOCAL, 51, bytes(24)))
    lying = bytearray(scene.udp(b"hello"))
    lying[38:40] = b"\xff\xff"  # the UDP length
    results, _ = play(scene.player(file_sa(inbound())), arp, elsewhere, icmp, ah, bytes(lying))
    assert [(r.direction, r.kind, r.reason) for r in results] == [
        (Direction.OTHER, Kind.OTHER, Reason.NOT_IP),
        (Direction.OTHER, Kind.KEEPALIVE, Reason.NOT_THIS_HOST),
        (Direction.RX, Kind.OTHER, Reason.NOT_IPSEC),
        (Direction.RX, Kind.AH, Reason.SA_NOT_OFFLOADED),
        (Direction.RX, Kind.OTHER, Reason.MALFORMED),
    ]


@pytest.mark.rule("N-RX-9", "N-TX-7")
def test_fragments_are_opened_by_the_host_at_the_frame_that_completes_them() -> None:
    into, out = inbound(), outbound()
    pieces = fragments(into.ip(1)) + fragments(out.ip(1))
    results, _ = play(scene.player(file_sa(into), file_sa(out)), *pieces)
    assert [r.kind for r in results] == [Kind.FRAGMENT] * 4
    assert [r.reason for r in results] == [Reason.FRAGMENT] * 2 + [Reason.SEND_FRAGMENT] * 2
    assert [r.opened_by for r in results] == [None, "host", None, "host"]
    assert [r.host_verdict for r in results] == [None, "accepted", None, None]
    assert [r.payload for r in results] == [None, INNER, None, INNER]
    assert [r.resealed for r in results] == [None] * 4
    assert [(r.spi, r.seq) for r in results] == [(None, None), (0x1001, 1), (None, None), (0x2002, 1)]
    assert [r.crypto_done for r in results] == [False, False, None, None]


def fragments(ip_packet: bytes) -> list[bytes]:
    """A packet in two fragments, the second one first in no case."""
    cut = 20 + 40
    first = build_ipv4(ip_packet[12:16], ip_packet[16:20], 17, ip_packet[20:cut], identification=7, flags=0x2000)
    second = build_ipv4(
        ip_packet[12:16], ip_packet[16:20], 17, ip_packet[cut:], identification=7, flags=0, fragment_offset=40
    )
    return [scene.ethernet(first), scene.ethernet(second)]


WRAP = [0x4_8000_0000, 0x4_FFFF_FFFF, 0x5_0000_0000, 0x5_0000_0001]


@pytest.mark.rule("N-V2-1")
def test_extended_sequence_numbers_stay_in_software_where_they_are_not_claimed() -> None:
    into, out = inbound(keys=AES, esn=True), outbound(keys=AES, esn=True)
    made = scene.player(*(file_sa(flow, sequence_high=4) for flow in (into, out)), profile="nfp-class")
    results, summary = play(made, *(flow.frame(number) for number in WRAP for flow in (into, out)))
    assert [r.host_verdict for r in results] == ["accepted", None] * 4
    assert {r.opened_by for r in results} == {"host"}
    assert {sa.software_reason for sa in summary.associations} == {Reason.ESN_NOT_CLAIMED}


@pytest.mark.rule("N-V2-9", "N-V2-13")
@pytest.mark.parametrize("keys", [TRIPLE_DES, AES, GCM], ids=["3des", "aes", "gcm"])
@pytest.mark.parametrize("profile", ["ndis61", "reference"])
def test_extended_sequence_numbers_go_through_version_2_over_the_wrap(profile: str, keys: SaKeys) -> None:
    into, out = inbound(keys=keys, esn=True), outbound(keys=keys, esn=True)
    made = scene.player(*(file_sa(flow, sequence_high=4) for flow in (into, out)), profile=profile)
    numbers = [*WRAP, 0x4_FFFF_FFFE]  # and one from before, late
    results, summary = play(made, *(flow.frame(number) for number in numbers for flow in (into, out)))
    received, sent = results[::2], results[1::2]
    assert [r.host_verdict for r in received] == ["accepted"] * 5
    # The first packet behind the wrap tells the host that it is there, and the host tells the NIC.
    assert [r.opened_by for r in received] == ["nic", "nic", "host", "nic", "host"]
    assert [(r.reason, r.resealed) for r in sent] == [(Reason.SEALED, True)] * 5
    assert [sa.oid for sa in summary.associations] == ["OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA"] * 2


@pytest.mark.parametrize("profile", ["ndis61", "reference"])
@pytest.mark.parametrize("encapsulation", [Encapsulation.NONE, Encapsulation.UDP])
@pytest.mark.parametrize("keys", [AES, GCM], ids=["aes", "gcm"])
def test_ipv6_goes_through_version_2(profile: str, encapsulation: Encapsulation, keys: SaKeys) -> None:
    ends = {"src": scene.REMOTE6, "dst": scene.LOCAL6}
    into = inbound(keys=keys, encapsulation=encapsulation, **ends)
    out = outbound(keys=keys, encapsulation=encapsulation, src=scene.LOCAL6, dst=scene.REMOTE6)
    made = scene.player(file_sa(into), file_sa(out), profile=profile, local=scene.LOCAL6)
    results, _ = play(made, into.frame(1), out.frame(1))
    assert (results[0].opened_by, results[0].payload) == ("nic", INNER)
    assert results[1].resealed is True


@pytest.mark.rule("N-CAP-15")
def test_ipv6_stays_in_software_where_only_version_1_is_there() -> None:
    into = inbound(src=scene.REMOTE6, dst=scene.LOCAL6)
    results, summary = play(scene.player(file_sa(into), profile="ndis51", local=scene.LOCAL6), into.frame(1))
    assert (results[0].opened_by, results[0].host_verdict) == ("host", "accepted")
    assert summary.associations[0].software_reason is Reason.IPV6_NOT_CLAIMED


@pytest.mark.parametrize("profile", ["ndis51", "ndis61", "reference"])
def test_raw_ip_captures_are_replayed_too(profile: str) -> None:
    into, out = inbound(), outbound()
    made = scene.player(file_sa(into), file_sa(out), profile=profile, link_type=LinkType.RAW)
    results, _ = play(made, into.ip(1), out.ip(1), link_type=LinkType.RAW)
    assert [r.opened_by for r in results] == ["nic", "host"]
    assert results[1].resealed is True


def test_tagged_frames_are_replayed_too() -> None:
    into = inbound()
    plain = into.frame(1)
    tagged = plain[:12] + bytes.fromhex("81000064") + plain[12:]
    for profile in ("ndis51", "ndis61", "reference"):
        results, _ = play(scene.player(file_sa(into), profile=profile), tagged)
        assert results[0].opened_by == "nic"


def test_another_link_type_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"link type 113 \(LINUX_SLL\); a replay needs Ethernet or raw IP"):
        scene.player(link_type=113)
    made = scene.player()
    with pytest.raises(InputError, match="frame 1 has link type 101"):
        list(made.play(captured(INNER, link_type=LinkType.RAW)))


def test_time_that_runs_backwards_is_counted() -> None:
    made = scene.player()
    for number, time in enumerate((3.0, 2.0, 2.5, 1.0), start=1):
        made.play_one(Frame(number, time, INNER, LinkType.ETHERNET, len(INNER)))
    assert made.finish().time_backwards == 2


def test_a_frame_that_was_not_captured_whole_is_left_out() -> None:
    into = inbound()
    data = into.frame(1)
    made = scene.player(file_sa(into))
    result = made.play_one(Frame(1, 0.0, data[:60], LinkType.ETHERNET, len(data)))
    assert (result.direction, result.reason, result.host_verdict) == (Direction.RX, Reason.NOT_CAPTURED_WHOLE, None)
    assert (result.kind, result.spi, result.seq) == (Kind.UDP_ESP, 0x1001, 1)
    shorter = made.play_one(Frame(2, 0.0, data[:44], LinkType.ETHERNET, len(data)))
    assert (shorter.kind, shorter.spi, shorter.direction) == (Kind.OTHER, None, Direction.RX)  # nothing is guessed
    hostile = made.play_one(Frame(3, 0.0, data[:60], LinkType.ETHERNET, 0xFFFFFFFF))
    assert hostile.reason is Reason.NOT_CAPTURED_WHOLE


@pytest.mark.rule("N-SA-23", "N-ADD-6")
def test_a_full_table_leaves_associations_in_software() -> None:
    from dataclasses import replace

    from nicsim.profile import load_profile

    small = replace(load_profile("reference"), inbound_rows=1)
    first, second = inbound(), inbound(spi=0x1002)
    results, summary = play(
        scene.player(file_sa(first), file_sa(second), capabilities=small), first.frame(1), second.frame(1)
    )
    assert [r.opened_by for r in results] == ["nic", "host"]
    assert summary.associations[1].software_reason is Reason.SA_TABLE_FULL


@pytest.mark.parametrize("algorithm", list(Encryption))
def test_every_algorithm_replays_both_ways(algorithm: Encryption) -> None:
    for length in algorithm.key_lengths:
        integrity = Integrity.NONE if algorithm.is_aead else Integrity.HMAC_SHA2_256_128
        keys = SaKeys(
            algorithm,
            bytes(range(length)),
            integrity,
            bytes(integrity.key_length),
            salt=bytes(algorithm.salt_length),
        )
        into, out = inbound(keys=keys), outbound(keys=keys)
        results, _ = play(scene.player(file_sa(into), file_sa(out)), into.frame(1), out.frame(1))
        assert results[0].opened_by == "nic"
        assert results[1].resealed is True
        assert hashlib.sha256(results[0].payload or b"").digest() == hashlib.sha256(INNER).digest()


def test_an_association_in_software_is_not_sealed_again_and_says_why() -> None:
    out = outbound(keys=AES)
    results, _ = play(scene.player(file_sa(out), profile="ndis51"), out.frame(1))
    assert (results[0].opened_by, results[0].resealed) == ("host", False)
    assert results[0].reason is Reason.ALGORITHM_NOT_CLAIMED


def test_keys_never_show_in_what_the_replay_says() -> None:
    into = inbound()
    made = scene.player(file_sa(into))
    _, summary = play(made, into.frame(1))
    shown = repr((summary, made.nic.card.rows.inbound, made.nic.driver.state, into.association, file_sa(into)))  # type: ignore[attr-defined]
    for key in (TRIPLE_DES.encryption_key, TRIPLE_DES.integrity_key):
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown


@pytest.mark.rule("N-SA-22")
def test_a_full_nic_gets_room_and_the_pair_that_made_it_is_done_in_software() -> None:
    into, out, other = inbound(), outbound(), inbound(spi=0x1002)
    room = replace(load_profile("tiny"), inbound_rows=1, make_room=MakeRoom.LEAST_RECENTLY_USED)
    made = scene.player(*(file_sa(flow) for flow in (into, out, other)), capabilities=room)
    datas = [into.frame(1), out.frame(1), into.frame(2), other.frame(1), into.frame(3), out.frame(2)]
    results, summary = play(made, *datas)
    assert [(result.reason, result.opened_by) for result in results] == [
        (Reason.OPENED, "nic"), (Reason.SEALED, "host"),
        (Reason.OPENED, "nic"),  # and with this one, the driver asked for room
        (Reason.OPENED, "nic"),
        (Reason.SA_NOT_OFFLOADED, "host"), (Reason.DELETE_REQUESTED, "host"),
    ]  # fmt: skip
    assert {result.host_verdict for result in results if result.direction is Direction.RX} == {"accepted"}
    why = {sa.spi: sa.software_reason for sa in summary.associations}
    assert why == {0x1001: Reason.DELETE_REQUESTED, 0x2002: Reason.DELETE_REQUESTED, 0x1002: None}
