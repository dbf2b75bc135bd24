"""`nicsim replay` as a user meets it: files, exit statuses, one line for bad input, nothing half written."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nicsim.cli import run
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import PcapngWriter, PcapWriter
from tests.replay import scene

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "traces" / "natt-3des-md5-server.pcap"
SAS = TRACE.with_suffix(".sas.json")
EXPECT = TRACE.with_suffix(".expect.json")
KEYS = [
    "frame", "time", "direction", "kind", "spi", "seq", "reason", "rule", "crypto_done", "next_crypto_done",
    "crypto_status", "opened_by", "host_verdict", "payload_length", "payload_sha256", "resealed",
]  # fmt: skip


def replay(*arguments: object) -> int:
    return run(["replay", *(str(argument) for argument in arguments)])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on standard error; standard output stays empty and the status is 2."""
    assert replay(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("nicsim: ")
    return captured.err


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- what it prints ----------------------------------------------------------------------------------------------


def test_the_summary_names_oid_reasons_rules_and_parser_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(TRACE, "--sas", SAS) == 0
    out = capsys.readouterr().out
    for text in ("OID_TCP_TASK_IPSEC_ADD_UDPESP_SA", "0x570e5e39", "N-RX-6", "N-RX-1", "OTHER", "4500", "203.0.113.2"):
        assert text in out
    assert "51 sent packets sealed again by the NIC byte for byte as captured, 0 not" in out
    assert "\x1b[" not in out  # no colours where there is no terminal


def test_json_lines_have_every_key_on_every_frame(tmp_path: Path) -> None:
    out = tmp_path / "frames.jsonl"
    assert replay(TRACE, "--sas", SAS, "--json", out) == 0
    lines = lines_of(out)
    assert [line["frame"] for line in lines] == list(range(1, 117))
    assert all(list(line) == KEYS for line in lines)
    expected = json.loads(EXPECT.read_text())["captures"][TRACE.name]
    by_frame = {line["frame"]: line for line in lines}
    for packet in expected["esp"]:
        line = by_frame[packet["frame"]]
        assert line["payload_sha256"] == packet["inner_sha256"]
        assert line["payload_length"] == packet["inner_len"]
        assert line["spi"] == f"0x{packet['spi']}"
        assert (line["opened_by"], line["resealed"]) == (("nic", None) if packet["dir"] == "in" else ("host", True))
    assert isinstance(lines[0]["time"], float)


def test_json_on_standard_output_has_it_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(TRACE, "--sas", SAS, "--json", "-") == 0
    captured = capsys.readouterr()
    assert len([json.loads(line) for line in captured.out.splitlines()]) == 116
    assert "Associations" in captured.err


def test_a_frame_is_explained_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(TRACE, "--sas", SAS, "--explain", 13) == 0
    out = capsys.readouterr().out
    expected = [
        "frame 13, 102 bytes, rx, udp-esp",
        "[N-CP6-6]",
        "[N-RX-9]",
        "[N-RX-10]",
        "[N-RX-4]",
        "[N-RX-1]",
        "[N-RX-6]",
    ]
    places = [out.index(text) for text in expected]
    assert places == sorted(places)  # in the order of the documentation
    assert "offset 42: 57 0e 5e 39 00 00 00 01" in out  # the SPI it looked at
    assert "CryptoDone 1, NextCryptoDone 0, CRYPTO_SUCCESS" in out
    assert "accepted" in out


@pytest.mark.parametrize(
    ("frame", "text"),
    [(1, "ethertype 0x0806 (ARP) is not IP"), (3, "no: no-parser-entry"), (14, "byte for byte as captured")],
)
def test_every_sort_of_frame_can_be_explained(frame: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(TRACE, "--sas", SAS, "--explain", frame) == 0
    assert text in capsys.readouterr().out


def test_explaining_an_ike_message_names_the_marker(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = [scene.inbound().frame(1), scene.udp(bytes(4) + bytes(range(1, 29)))]
    capture, sas = scene_files(tmp_path, made, [scene.inbound()])
    assert replay(capture, "--sas", sas, "--local", "192.0.2.1", "--explain", 2) == 0
    out = capsys.readouterr().out
    assert "00 00 00 00 01 02 03 04" in out
    assert "no: ike" in out


# --- exit statuses -----------------------------------------------------------------------------------------------


def test_expectations_that_hold_end_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(TRACE, "--sas", SAS, "--expect", EXPECT) == 0
    assert "everything is as expected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda e: e["esp"][0].update(inner_sha256="00" * 32), "payload"),
        (lambda e: e["esp"][0].update(receiver="duplicate"), "receiver"),
        (lambda e: e["esp"][0].update(seq=77), "sequence number"),
        (lambda e: e["esp"][0].update(spi="00000001"), "SPI"),
        (lambda e: e["esp"][0].update(dir="out"), "direction"),
        (lambda e: e["esp"][0].update(icv="bad"), "payload"),
        (lambda e: e["esp"].pop(), "ESP packet"),
        (lambda e: e["esp"].append(dict(e["esp"][0], frame=9999)), "not in the capture"),
        (lambda e: e.update(ike_port_4500=1), "IKE messages"),
        (lambda e: e.update(nat_keepalives=1), "keepalives"),
        (lambda e: e["other_frames"].update(ip_fragments=5), "fragments"),
        (lambda e: e.update(frames=5), "frames"),
    ],
)
def test_expectations_that_differ_end_with_1_and_are_listed(
    spoil, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expectations = json.loads(EXPECT.read_text())
    spoil(expectations["captures"][TRACE.name])
    spoiled = tmp_path / "expect.json"
    spoiled.write_text(json.dumps(expectations))
    assert replay(TRACE, "--sas", SAS, "--expect", spoiled) == 1
    out = capsys.readouterr().out
    assert "1 differences" in out or "2 differences" in out
    assert what in out


def test_expectations_say_whose_nic_it_is_and_which_window(capsys: pytest.CaptureFixture[str]) -> None:
    folder = ROOT / "tests" / "captures" / "s7-ikev1-no-nat-forced-encap"
    arguments = [folder / "server-side.pcap", "--sas", folder / "sas.json"]
    assert "--local" in refusal(capsys, *arguments)  # both ends are one hop away: the TTLs do not decide
    assert replay(*arguments, "--expect", folder / "expect.json") == 0
    assert "at 203.0.113.2" in capsys.readouterr().out


def test_the_local_end_is_found_by_its_ttl(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for end, address in (("server", "203.0.113.2"), ("client", "10.0.0.2")):
        folder = ROOT / "tests" / "captures" / "s5-ikev1-rekey-keepalive-dpd-delete-nat"
        renamed = tmp_path / "somewhere.pcap"  # file names decide nothing
        renamed.write_bytes((folder / f"{end}-side.pcap").read_bytes())
        assert replay(renamed, "--sas", folder / "esp_sa") == 0
        out = capsys.readouterr().out
        assert f"frames at {address}," in out
        assert f"{address} is the local host" in out


def test_a_local_address_that_nobody_has_is_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(TRACE, "--sas", SAS, "--local", "10.9.9.9") == 0
    assert "no frame comes from or goes to 10.9.9.9" in capsys.readouterr().out


# --- bad input ---------------------------------------------------------------------------------------------------


def test_every_bad_input_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no capture\n")
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(128, 256)))
    good = ["--sas", SAS]
    cases = [
        ([], "CAPTURE"),
        ([TRACE], "--sas"),
        ([tmp_path / "missing", *good], "missing"),
        ([tmp_path, *good], "directory"),
        ([text, *good], "not a capture file"),
        ([empty, *good], "empty"),
        ([TRACE, "--sas", tmp_path / "missing"], "missing"),
        ([TRACE, "--sas", tmp_path], "directory"),
        ([TRACE, "--sas", binary], "UTF-8"),
        ([TRACE, *good, "--local", "nowhere"], "'nowhere'"),
        ([TRACE, *good, "--profile", "turbo"], "ndis51, ndis60, ndis61"),
        ([TRACE, *good, "--profile", text], "TOML"),
        ([TRACE, *good, "--profile", binary], "binary"),
        ([TRACE, *good, "--replay-window", "-1"], "0 to 65536"),
        ([TRACE, *good, "--replay-window", "many"], "--replay-window"),
        ([TRACE, *good, "--explain", "117"], "116 frames"),
        ([TRACE, *good, "--explain", "0"], "--explain"),
        ([TRACE, *good, "--expect", tmp_path / "missing"], "missing"),
        ([TRACE, *good, "--expect", text], "JSON"),
        ([TRACE, *good, "--expect", SAS], "natt-3des-md5-server.sas.json"),
        ([TRACE, *good, "--expect", ROOT / "traces/natt-aes128-sha1-client.expect.json"], "has no capture"),
        ([TRACE, *good, "--json", tmp_path / "no" / "where"], "cannot be written"),
        ([TRACE, *good, "--json", tmp_path], "cannot be written"),
        ([TRACE, *good, "--abi", "arm"], "arm"),
        ([TRACE, *good, "--bogus"], "--bogus"),
    ]
    for arguments, text_in_line in cases:
        assert text_in_line in refusal(capsys, *arguments), arguments


def test_an_unknown_command_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fly"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "fly" in captured.err


def test_another_link_type_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capture = tmp_path / "cooked.pcap"
    with capture.open("wb") as file:
        PcapWriter(file, 113).write(1.0, bytes(60))
    message = refusal(capsys, capture, "--sas", SAS, "--local", "192.0.2.1")
    assert "113 (LINUX_SLL)" in message


def test_a_cut_capture_is_replayed_up_to_the_cut(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(TRACE.read_bytes()[:30000])
    out = tmp_path / "frames.jsonl"
    assert replay(cut, "--sas", SAS, "--json", out) == 0
    assert "the capture is cut: frame 57 at byte 29974 needs 1478 bytes, 26 left" in capsys.readouterr().out
    assert len(lines_of(out)) == 56
    assert lines_of(out)[12]["opened_by"] == "nic"


def test_time_that_runs_backwards_is_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capture = tmp_path / "shuffled.pcapng"
    into = scene.inbound()
    with capture.open("wb") as file:
        writer = PcapngWriter(file, LinkType.ETHERNET)
        for number, time in enumerate((5.0, 4.0, 6.0), start=1):
            writer.write(time, into.frame(number))
    _, sas = scene_files(tmp_path, [], [into])
    assert replay(capture, "--sas", sas, "--local", "192.0.2.1") == 0
    assert "time stamps run backwards at 1 frames" in capsys.readouterr().out


# --- files -------------------------------------------------------------------------------------------------------


def scene_files(folder: Path, frames: list[bytes], flows: list[scene.Flow]) -> tuple[Path, Path]:
    """A capture and an SA file of our own making."""
    capture, sas = folder / "scene.pcap", folder / "scene.sas.json"
    with capture.open("wb") as file:
        writer = PcapWriter(file, LinkType.ETHERNET)
        for number, data in enumerate(frames):
            writer.write(1000.0 + number, data)
    entries = []
    for flow in flows:
        a = flow.association
        entries.append(
            {
                "spi": f"0x{a.spi:08x}",
                "src": "198.51.100.7",
                "dst": "192.0.2.1",
                "mode": a.mode.value,
                "udp_encap": True,
                "encryption": a.keys.encryption.value,
                "encryption_key": a.keys.encryption_key.hex(),
                "integrity": a.keys.integrity.value,
                "integrity_key": a.keys.integrity_key.hex(),
                "unknown": [1, 2],
                "seen": {"ignored": True},
            }
        )
    sas.write_text(json.dumps(entries))
    return capture, sas


def test_an_output_appears_whole_or_not_at_all(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The second frame's link type stops the replay; the file that was there stays as it was."""
    capture = tmp_path / "mixed.pcapng"
    one = b"".join(pcapng_of(LinkType.ETHERNET, scene.inbound().frame(1)))
    two = b"".join(pcapng_of(LinkType.RAW, scene.INNER))
    capture.write_bytes(one + two)
    out = tmp_path / "out.jsonl"
    out.write_text("old\n")
    _, sas = scene_files(tmp_path, [], [scene.inbound()])
    message = refusal(capsys, capture, "--sas", sas, "--local", "192.0.2.1", "--json", out)
    assert "frame 2 has link type 101 (RAW)" in message
    assert out.read_text() == "old\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mixed.pcapng",
        "out.jsonl",
        "scene.pcap",
        "scene.sas.json",
    ]


def pcapng_of(link_type: int, data: bytes) -> list[bytes]:
    import io

    stream = io.BytesIO()
    PcapngWriter(stream, link_type).write(1.0, data)
    return [stream.getvalue()]


def test_an_input_is_never_overwritten(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capture = tmp_path / "precious.pcap"
    capture.write_bytes(TRACE.read_bytes())
    assert "will not be overwritten" in refusal(capsys, capture, "--sas", SAS, "--json", capture)
    assert capture.read_bytes() == TRACE.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="no named pipes and no modes on Windows")
def test_a_new_output_has_the_usual_mode_and_a_pipe_is_written_directly(tmp_path: Path) -> None:
    out = tmp_path / "frames.jsonl"
    assert replay(TRACE, "--sas", SAS, "--json", out) == 0
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~umask
    assert replay(TRACE, "--sas", SAS, "--json", "/dev/null") == 0
    assert not Path("/dev/null").is_file()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert replay(TRACE, "--sas", SAS, "--json", pipe) == 0
    reader.join()
    assert read[0] == out.read_text()
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_linked_output_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    real.write_text("old")
    link.symlink_to(real)
    assert replay(TRACE, "--sas", SAS, "--json", link) == 0
    assert link.is_symlink()
    assert len(lines_of(real)) == 116


@pytest.mark.parametrize("format_", ["pcap-us-le", "pcap-ns-le", "pcap-us-be", "pcap-ns-be", "pcapng"])
def test_every_capture_format_gives_the_same_answers(format_: str, tmp_path: Path) -> None:
    from nicsim.wire.pcap import open_capture

    capture = tmp_path / "capture"
    with open_capture(str(TRACE)) as frames, capture.open("wb") as file:
        if format_ == "pcapng":
            writer: PcapngWriter | PcapWriter = PcapngWriter(file, LinkType.ETHERNET)
        else:
            writer = PcapWriter(file, LinkType.ETHERNET, nanoseconds="ns" in format_)
        for frame in frames:
            writer.write(frame.time, frame.data)
    if format_.endswith("be"):
        capture.write_bytes(big_endian(capture.read_bytes()))
    out, reference = tmp_path / "out", tmp_path / "reference"
    assert replay(capture, "--sas", SAS, "--json", out) == 0
    assert replay(TRACE, "--sas", SAS, "--json", reference) == 0
    without_time = [[{k: v for k, v in line.items() if k != "time"} for line in lines_of(p)] for p in (out, reference)]
    assert without_time[0] == without_time[1]


def big_endian(data: bytes) -> bytes:
    """The same pcap file as a big-endian machine would have written it."""
    import struct

    header = struct.pack(">IHHiIII", *struct.unpack("<IHHiIII", data[:24]))
    at, out = 24, [header]
    while at < len(data):
        fields = struct.unpack_from("<IIII", data, at)
        out += [struct.pack(">IIII", *fields), data[at + 16 : at + 16 + fields[2]]]
        at += 16 + fields[2]
    return b"".join(out)


@pytest.mark.parametrize("abi", ["x86", "x64"])
@pytest.mark.parametrize("profile", ["ndis51", "ndis61", "reference"])
def test_the_hosts_pointer_width_changes_nothing_a_user_sees(abi: str, profile: str, tmp_path: Path) -> None:
    out, reference = tmp_path / "out", tmp_path / "reference"
    arguments = [TRACE, "--sas", SAS, "--profile", profile]
    assert replay(*arguments, "--abi", abi, "--json", out) == 0
    assert replay(*arguments, "--json", reference) == 0
    assert out.read_text() == reference.read_text()


def test_a_profile_file_of_ones_own_works(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text((ROOT / "nicsim/profiles/reference.toml").read_text().replace("inbound = 4096", "inbound = 0"))
    out = tmp_path / "out"
    assert replay(TRACE, "--sas", SAS, "--profile", own, "--json", out) == 0
    received = [line for line in lines_of(out) if line["direction"] == "rx" and line["kind"] == "udp-esp"]
    assert {line["opened_by"] for line in received} == {"host"}
    # Version 2's own row parses the port, but the association had no room (A-34, N-SA-23).
    assert {line["reason"] for line in received} == {"sa-not-offloaded"}


# --- the command as a program ------------------------------------------------------------------------------------


def program(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "nicsim", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, cwd=ROOT, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_help_is_there_for_every_command_with_an_example() -> None:
    for command in ([], ["replay"], ["layout"], ["oids"]):
        done = program(*command, "--help")
        assert done.returncode == 0
        assert b"nicsim" in done.stdout
        assert b"Traceback" not in done.stderr
    assert b"Exit status: 0 done, 1 the expectations differ, 2 bad input" in program("replay", "--help").stdout


def test_starting_up_imports_no_heavy_library() -> None:
    """The measured form of "answers in under 0.3 s" that no slow machine can fail: what --help loads."""
    code = (
        "import sys; from nicsim.cli import run; run(['--help']);"
        "print([m for m in ('numpy', 'pydantic', 'cryptography', 'rich') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "[]"


def test_a_capture_from_a_pipe_needs_the_local_address_and_then_works() -> None:
    data = TRACE.read_bytes()
    if not Path("/dev/stdin").exists():
        pytest.skip("no /dev/stdin on this system")
    asked = program("replay", "/dev/stdin", "--sas", SAS, input=data)
    assert asked.returncode == 2
    assert b"--local" in asked.stderr
    done = program("replay", "/dev/stdin", "--sas", SAS, "--local", "203.0.113.2", "--json", "-", input=data)
    assert done.returncode == 0
    assert (
        hashlib.sha256(done.stdout).hexdigest()
        == hashlib.sha256(program("replay", TRACE, "--sas", SAS, "--json", "-").stdout).hexdigest()
    )
