"""A replay of what nobody should send: results or one error of our own, in bounded time and memory."""

import io
import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import InputError
from nicsim.ipsec.association import Encapsulation
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from nicsim.replay.expect import read_expectations
from nicsim.replay.local import find_local_address
from nicsim.replay.player import Player, ReplayOptions
from nicsim.replay.results import Direction
from nicsim.replay.sas import FileSa, read_sa_file
from nicsim.wire.headers import build_ipv4, build_udp, parse_address
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import Frame, open_capture
from tests.replay import scene

TRACES = Path(__file__).parents[2] / "traces"
VERDICTS = {None, "accepted", "duplicate", "too-old", "icv-bad", "malformed", "no-sa"}


@cache
def real_frames() -> tuple[Frame, ...]:
    with open_capture(str(TRACES / "natt-aes128-sha1-client.pcap")) as capture:
        return tuple(capture)


@cache
def real_sas() -> tuple[FileSa, ...]:
    return tuple(read_sa_file(TRACES / "natt-aes128-sha1-client.sas.json"))


def real_player(profile: str) -> Player:
    options = ReplayOptions(parse_address("10.0.0.2"), "10.0.0.2", load_profile(profile), 64)
    return Player(list(real_sas()), options, LinkType.ETHERNET)


mutations = st.lists(
    st.tuples(st.integers(0, 130), st.integers(0, 1500), st.integers(0, 255), st.booleans()), min_size=1, max_size=40
)


@given(mutations, st.sampled_from(["ndis51", "ndis61", "reference"]))
def test_a_spoiled_capture_gives_a_result_for_every_frame(changes: list, profile: str) -> None:
    frames = list(real_frames())
    for number, offset, value, cut in changes:
        frame = frames[number]
        data = bytearray(frame.data)
        place = offset % max(len(data), 1)
        if cut or not data:
            del data[place:]
        else:
            data[place] = value
        frames[number] = frame._replace(data=bytes(data))
    player = real_player(profile)
    results = list(player.play(frames))
    assert [result.frame for result in results] == [frame.number for frame in frames]
    untouched = set(range(131)) - {number for number, *_ in changes}
    for number, result in enumerate(results):
        assert isinstance(result.reason, Reason)
        assert result.host_verdict in VERDICTS
        if result.host_verdict == "accepted":
            assert result.payload is not None
        if number in untouched and result.resealed is not None:
            assert result.resealed is (profile != "ndis51")


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_random_bytes_give_a_result_each(datas: list[bytes]) -> None:
    results, _ = scene.play(scene.player(scene.file_sa(scene.inbound())), *datas)
    assert len(results) == len(datas)
    assert all(result.opened_by is None for result in results)


@given(st.integers(0, 0x1FFF), st.booleans(), st.binary(min_size=1, max_size=64))
def test_no_fragment_alone_is_ever_opened(offset: int, more: bool, data: bytes) -> None:
    flags = 0x2000 if more else 0
    if not more and not offset:
        return
    packet = build_ipv4(scene.REMOTE, scene.LOCAL, 17, data, flags=flags, fragment_offset=offset * 8)
    results, _ = scene.play(scene.player(scene.file_sa(scene.inbound())), scene.ethernet(packet))
    assert results[0].opened_by is None


@given(st.binary(max_size=400) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["captures", "a.pcap", "esp", "local",
        "frame", "spi", "seq", "dir", "icv", "replay_window"]), inner, max_size=5), max_leaves=20,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_expectation_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.mktemp("expect") / "expect.json"
    path.write_bytes(raw)
    refusal = ""
    try:
        read_expectations(str(path), "a.pcap")
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal


@pytest.mark.parametrize("text", ["[" * 100_000, '{"captures": {"a.pcap": {"local": 5}}}', "[]", "", "NaN"])
def test_expectation_files_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "expect.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"expect\.json: "):
        read_expectations(str(path), "a.pcap")


def test_a_direction_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "expect.json"
    packet = {"frame": 1, "dir": "up", "spi": "1", "seq": 1}
    path.write_text(json.dumps({"captures": {"a.pcap": {"local": "1.2.3.4", "esp": [packet]}}}))
    with pytest.raises(InputError, match=r"captures\.a\.pcap\.esp\.0\.dir"):
        read_expectations(str(path), "a.pcap")


# --- whose NIC it is ---------------------------------------------------------------------------------------------


def spoken(*speakers: tuple[bytes, int], dst: bytes = scene.LOCAL) -> list[Frame]:
    datas = [scene.ethernet(build_ipv4(src, dst, 17, build_udp(4500, 4500, b"\xff"), ttl=ttl)) for src, ttl in speakers]
    return scene.captured(*datas)


def test_the_only_undecremented_ttl_decides() -> None:
    assert find_local_address(spoken((scene.LOCAL, 64), (scene.REMOTE, 57))) == scene.LOCAL
    assert find_local_address(spoken((scene.LOCAL, 127), (scene.REMOTE, 128))) == scene.REMOTE


@pytest.mark.parametrize(
    "speakers",
    [
        [],
        [(scene.LOCAL, 64)],  # one end alone proves nothing
        [(scene.LOCAL, 64), (scene.REMOTE, 64)],
        [(scene.LOCAL, 63), (scene.REMOTE, 63)],
        [(scene.LOCAL, 64), (scene.LOCAL, 63), (scene.REMOTE, 63)],  # a router sends with the same address
    ],
)
def test_ttls_that_do_not_decide_are_said_so(speakers: list[tuple[bytes, int]]) -> None:
    with pytest.raises(InputError, match="--local ADDR"):
        find_local_address(spoken(*speakers))


def test_packets_that_are_no_ipsec_do_not_count() -> None:
    frames = spoken((scene.LOCAL, 64), (scene.REMOTE, 57))
    dns = scene.ethernet(build_ipv4(parse_address("192.0.2.9"), scene.LOCAL, 17, build_udp(53, 53, b"x"), ttl=64))
    assert find_local_address([*scene.captured(dns), *frames]) == scene.LOCAL


def test_ten_thousand_sources_do_not_fill_the_memory() -> None:
    """The first pass stops at a bound instead of keeping every address of a hostile capture."""
    seen = 0

    def endless():
        nonlocal seen
        while True:
            seen += 1
            src = seen.to_bytes(4, "big")
            yield Frame(seen, 0.0, scene.udp(b"\xff", src=src), LinkType.ETHERNET, 60)

    with pytest.raises(InputError):
        find_local_address(endless())
    assert seen < 5000


def test_a_flood_of_first_fragments_is_bounded() -> None:
    player = scene.player(scene.file_sa(scene.inbound()))
    for number in range(5000):
        packet = build_ipv4(
            scene.REMOTE, scene.LOCAL, 17, bytes(1400), identification=number, flags=0x2000, fragment_offset=0
        )
        player.play_one(Frame(number + 1, 1.0, scene.ethernet(packet), LinkType.ETHERNET, 1434))
    reassembler = player._reassembler[Direction.RX]
    assert len(reassembler) <= 64
    assert reassembler.held_bytes <= 1 << 20


def test_a_capture_larger_than_what_we_hold_is_streamed() -> None:
    """The player keeps nothing per frame: a generator of frames is all it needs, and results come one by one."""
    into = scene.inbound()
    player = scene.player(scene.file_sa(into))
    made = 0

    def frames():
        nonlocal made
        while True:
            made += 1
            yield Frame(made, float(made), into.frame(made), LinkType.ETHERNET, 0)

    results = player.play(frames())
    for number in range(1, 50):
        assert next(results).frame == number
        assert made == number  # never read ahead


@pytest.mark.parametrize("encapsulation", list(Encapsulation))
def test_every_cut_of_a_packet_is_no_acceptance(encapsulation: Encapsulation) -> None:
    """ESP cut short by a host that lies about lengths: never accepted, never a crash."""
    into = scene.inbound(encapsulation=encapsulation, dst_port=500 if "IKE" in encapsulation.name else 4500)
    whole = into.ip(1)
    header, rest = whole[:20], whole[20:]
    for length in range(8, len(rest)):
        if encapsulation is Encapsulation.NONE:
            data = build_ipv4(header[12:16], header[16:20], 50, rest[:length])
        else:
            ports = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
            data = build_ipv4(header[12:16], header[16:20], 17, build_udp(*ports, rest[8:length]))
        results, _ = scene.play(scene.player(scene.file_sa(into)), scene.ethernet(data))
        assert results[0].host_verdict != "accepted"
        assert results[0].payload is None


def test_reading_a_capture_twice_from_memory_gives_the_same() -> None:
    """Nothing in a replay depends on the clock or on chance."""
    raw = (TRACES / "natt-aes128-sha1-client.pcap").read_bytes()
    runs = []
    for _ in range(2):
        player = real_player("reference")
        with open_capture(io.BytesIO(raw)) as capture:
            runs.append([(r.frame, r.reason, r.host_verdict, r.payload, r.resealed) for r in player.play(capture)])
    assert runs[0] == runs[1]
