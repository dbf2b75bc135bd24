"""The captures of a real peer: every frame's verdict against the ground truth that came with them."""

import hashlib
import json
from functools import cache
from pathlib import Path

import pytest

from nicsim.boundary import UdpType
from nicsim.profile import load_profile
from nicsim.replay.player import Player, ReplayOptions
from nicsim.replay.results import Direction, FrameResult, Kind, ReplaySummary
from nicsim.replay.sas import read_sa_file
from nicsim.wire.headers import parse_address
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import open_capture

CAPTURES = Path(__file__).parents[1] / "captures"
ENDS = sorted(path for path in CAPTURES.glob("*/*-side.pcap"))
IDS = [f"{path.parent.name.split('-')[0]}-{path.stem}" for path in ENDS]

on_every_capture = pytest.mark.parametrize("capture", ENDS, ids=IDS)
with_both_sa_files = pytest.mark.parametrize("sas", ["sas.json", "esp_sa"])


@cache
def truth(capture: Path) -> dict:
    """The entry of expect.json, and the receiver's window."""
    whole = json.loads((capture.parent / "expect.json").read_text())
    return whole["captures"][capture.name] | {"replay_window": whole["replay_window"]}


@cache
def replayed(
    capture: Path, sas: str = "sas.json", profile: str = "reference"
) -> tuple[Player, dict[int, FrameResult], ReplaySummary]:
    expected = truth(capture)
    options = ReplayOptions(
        local=parse_address(expected["local"]),
        local_text=expected["local"],
        capabilities=load_profile(profile),
        replay_window=expected["replay_window"],
    )
    player = Player(read_sa_file(capture.parent / sas), options, LinkType.ETHERNET)
    with open_capture(str(capture)) as frames:
        results = {result.frame: result for result in player.play(frames)}
    return player, results, player.finish()


def test_there_are_captures_of_both_ends_of_five_scenarios() -> None:
    assert len(ENDS) == 10
    assert sum(len(truth(capture)["esp"]) for capture in ENDS) == 2 * (110 + 102 + 465 + 138 + 102)


@pytest.mark.rule("N-RX-6", "N-RX-8", "N-RX-12")
@on_every_capture
@with_both_sa_files
def test_every_whole_inbound_packet_with_a_good_icv_is_opened_by_the_nic(capture: Path, sas: str) -> None:
    _, results, _ = replayed(capture, sas)
    inbound = [packet for packet in truth(capture)["esp"] if packet["dir"] == "in" and "frames" not in packet]
    assert inbound
    for packet in inbound:
        result = results[packet["frame"]]
        assert packet["icv"] == "good"
        assert (result.opened_by, result.crypto_done, result.next_crypto_done) == ("nic", True, False)
        assert result.crypto_status is not None
        assert result.crypto_status.name == "CRYPTO_SUCCESS"


@on_every_capture
@with_both_sa_files
def test_every_payload_and_every_verdict_is_the_known_one(capture: Path, sas: str) -> None:
    _, results, _ = replayed(capture, sas)
    for packet in truth(capture)["esp"]:
        result = results[packet["frame"]]
        assert result.payload is not None
        assert hashlib.sha256(result.payload).hexdigest() == packet.get("payload_sha256", packet["inner_sha256"])
        assert result.host_verdict == packet.get("receiver")
        assert f"{result.spi:08x}" == packet["spi"]
        assert result.seq == packet["seq"]
        assert result.direction.value == {"in": "rx", "out": "tx"}[packet["dir"]]


@pytest.mark.rule("N-RX-1", "N-RX-5", "N-RX-9")
@on_every_capture
def test_ike_keepalive_and_fragment_counts_are_the_known_ones(capture: Path) -> None:
    _, _, summary = replayed(capture)
    expected = truth(capture)
    assert summary.frames == expected["frames"]
    assert summary.kinds[Kind.IKE] == expected["ike_port_500"] + expected["ike_port_4500"]
    assert summary.kinds[Kind.KEEPALIVE] == expected["nat_keepalives"]
    assert summary.kinds[Kind.FRAGMENT] == expected["other_frames"].get("ip_fragments", 0)


@on_every_capture
def test_the_host_opens_only_fragments_and_sent_frames(capture: Path) -> None:
    _, results, _ = replayed(capture)
    for result in results.values():
        if result.opened_by == "host":
            assert result.kind is Kind.FRAGMENT or result.direction is Direction.TX


@pytest.mark.rule("N-TX-3", "N-TX-4", "N-TX-6", "N-TX-9")
@on_every_capture
@with_both_sa_files
def test_every_whole_sent_packet_is_sealed_again_to_the_same_bytes(capture: Path, sas: str) -> None:
    _, results, summary = replayed(capture, sas)
    sent = [packet for packet in truth(capture)["esp"] if packet["dir"] == "out" and "frames" not in packet]
    assert sent
    assert all(results[packet["frame"]].resealed is True for packet in sent)
    assert (summary.resealed_same, summary.resealed_differently) == (len(sent), 0)
    for packet in truth(capture)["esp"]:
        if "frames" in packet:
            assert results[packet["frame"]].resealed is None


@pytest.mark.rule("N-PE-1", "N-PE-4", "N-ADD-2", "N-ADD-5")
@pytest.mark.parametrize("end", ["server-side.pcap", "client-side.pcap"])
def test_the_3des_capture_goes_through_version_1_and_one_parser_entry(end: str) -> None:
    capture = CAPTURES / "s2-ikev1-main-rsa-3des-md5-nat" / end
    player, _, summary = replayed(capture)
    assert {sa.oid for sa in summary.associations} == {"OID_TCP_TASK_IPSEC_ADD_UDPESP_SA"}
    named = [entry for entry in summary.parser_entries if entry.named]
    assert [(entry.udp_type, entry.port, entry.associations) for entry in named] == [("OTHER", 4500, 1)]
    (entry,) = player.nic.driver.state.parser_entries.values()  # the driver's own list says the same
    assert (entry.udp_type, entry.port) == (UdpType.OTHER, 4500)


@pytest.mark.rule("N-V2-8", "A-34")
@pytest.mark.parametrize("capture", [path for path in ENDS if "3des" not in path.parent.name])
def test_the_aes_captures_go_through_version_2_and_name_no_parser_entry(capture: Path) -> None:
    player, _, summary = replayed(capture)
    assert {sa.oid for sa in summary.associations} == {"OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA"}
    assert not [entry for entry in summary.parser_entries if entry.named]
    assert not player.nic.driver.state.parser_entries


@pytest.mark.parametrize("profile", ["ndis51", "ndis61", "reference"])
@on_every_capture
def test_every_profile_gives_the_same_payloads_and_verdicts(capture: Path, profile: str) -> None:
    _, results, summary = replayed(capture, "sas.json", profile)
    for packet in truth(capture)["esp"]:
        result = results[packet["frame"]]
        assert result.payload is not None
        assert hashlib.sha256(result.payload).hexdigest() == packet.get("payload_sha256", packet["inner_sha256"])
        assert result.host_verdict == packet.get("receiver")
    for sa in summary.associations:
        assert (sa.oid is None) == (sa.software_reason is not None)
    if profile == "ndis51" and "3des" not in capture.parent.name:
        assert {sa.software_reason.label for sa in summary.associations if sa.software_reason} == {
            "algorithm-not-claimed"
        }
        assert sum(sa.opened_by_nic for sa in summary.associations) == 0


@on_every_capture
def test_an_inbound_frame_left_untouched_says_so(capture: Path) -> None:
    _, results, _ = replayed(capture)
    untouched = [r for r in results.values() if r.direction is Direction.RX and r.opened_by != "nic"]
    assert untouched
    for result in untouched:
        assert (result.crypto_done, result.next_crypto_done) == (False, False)
        assert result.crypto_status is not None
        assert result.crypto_status.name == "CRYPTO_SUCCESS"
        assert result.reason.label in {"ike", "keepalive", "fragment", "no-parser-entry", "not-ipsec"}


@on_every_capture
def test_sent_frames_have_no_crypto_words_and_no_verdict(capture: Path) -> None:
    _, results, _ = replayed(capture)
    for result in results.values():
        if result.direction is Direction.TX:
            assert (result.crypto_done, result.next_crypto_done, result.crypto_status) == (None, None, None)
            assert result.host_verdict is None


@on_every_capture
def test_the_client_side_is_offloaded_with_the_address_seen_there(capture: Path) -> None:
    _, _, summary = replayed(capture)
    local = truth(capture)["local"]
    for sa in summary.associations:
        here = sa.dst if sa.direction is Direction.RX else sa.src
        assert here == f"{local}:4500"
