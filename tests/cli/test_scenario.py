"""`nicsim scenario`: what it prints, its exit status, and the captures it writes."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from nicsim.cli import run
from nicsim.scenario.catalogue import load_scenario, scenario_names
from nicsim.wire.esp import IKE_PORT
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import PcapngWriter, open_capture
from tests.scenario.test_model import GOOD


def test_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenario", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"nat-restarts", "keepalive-against-timeout"} <= {one["name"] for one in listed}
    assert run(["scenario", "list"]) == 0
    assert "nat-restarts" in capsys.readouterr().out


def test_check_says_ok_or_each_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace('kind = "nat"', 'kind = "cat"').replace("duration = 1", "duration = -1"))
    assert run(["scenario", "check", str(good)]) == 0
    assert capsys.readouterr().out == "OK\n"
    assert run(["scenario", "check", str(bad), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], len(told["faults"])) == (False, 2)
    assert run(["scenario", "check", str(tmp_path / "none.toml")]) == 2
    assert "neither a file" in capsys.readouterr().err


def test_run_shows_the_ladder_and_the_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenario", "run", "nat-restarts"]) == 0
    out = capsys.readouterr().out
    assert "1025>4500 ESP" in out
    assert "NIC: opened, accepted" in out
    assert "nat: the NAT starts again" in out
    assert "passed at 30.000 s" in out


def test_run_fails_where_something_is_not_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = tmp_path / "story.toml"
    story.write_text(GOOD + "count = 2\n")
    assert run(["scenario", "run", str(story)]) == 1
    assert "FAIL received node b: 2 times; seen: 1 times" in capsys.readouterr().out
    assert run(["scenario", "run", str(story), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is False
    assert [line["kind"] for line in told["lines"]] == ["packet", "note", "packet"]


def test_a_seed_may_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenario", "run", "nat-restarts", "--seed", "abc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == "abc"


def count(file: Path) -> int:
    with open_capture(file) as capture:
        return len(list(capture))


def test_captures_are_one_for_each_point_and_one_of_the_subject(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["scenario", "run", "nat-remaps-ports", "--write", str(tmp_path / "out.pcapng")]) == 0
    names = sorted(file.name for file in tmp_path.iterdir())
    points = ["ari-nat", "bob-nat", "nat-ari", "nat-bob", "nat-server", "server-nat"]
    assert names == sorted(["out.pcapng", *(f"out.{point}.pcapng" for point in points)])
    frames = {name: count(tmp_path / name) for name in names}
    assert frames["out.ari-nat.pcapng"] == frames["out.bob-nat.pcapng"] == 4
    assert frames["out.server-nat.pcapng"] == 8
    assert (tmp_path / "out.pcapng").read_bytes() == (tmp_path / "out.ari-nat.pcapng").read_bytes()


def node_of(capture: Path, nodes: Iterable[str]) -> str:
    """The node whose point it is: `out.NODE-PEER.pcapng`, where both names may have hyphens."""
    pairs = {f"out.{node}-{peer}.pcapng": node for node in nodes for peer in nodes}
    return pairs[capture.name]


def as_tshark_knows_it(capture: Path) -> Path:
    """The capture with ESP of port 500 as native ESP: tshark takes it for IKE, and does not know the non-IKE marker.

    What a middlebox has written into is no packet of any kind, and left out.
    """
    twin = capture.with_suffix(".twin")
    with open_capture(capture) as frames, twin.open("wb") as stream:
        writer = PcapngWriter(stream, LinkType.ETHERNET, name=capture.stem.removeprefix("out."))
        for frame in frames:
            data = frame.data
            ip, payload = data[14:34], data[42:]
            on_500 = data[23] == 17 and IKE_PORT.to_bytes(2, "big") in (data[34:36], data[36:38])
            if on_500 and len(payload) > 16 and payload[1:8] == bytes(7):
                if payload[0]:
                    continue
                ip = bytearray(ip[:2] + (len(payload) + 12).to_bytes(2, "big") + ip[4:9] + b"\x32\0\0" + ip[12:])
                total = sum(int.from_bytes(ip[at : at + 2], "big") for at in range(0, 20, 2))
                ip[10:12] = (~(total % 0xFFFF) & 0xFFFF).to_bytes(2, "big")
                data = data[:14] + bytes(ip) + payload[8:]
            writer.write(frame.time, data)
    return twin


FIELDS = ["frame.interface_name", "ip.checksum.status", "udp.checksum.status", "_ws.malformed", "isakmp.flag_e",
          "isakmp.typepayload", "esp.spi", "esp.icv_good", "ip.flags.mf", "icmp.type"]  # fmt: skip
OPTIONS = ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "esp.enable_encryption_decode:TRUE",
           "esp.enable_authentication_check:TRUE", "ip.defragment:TRUE"]  # fmt: skip
WRONG = "0"
"""As tshark tells a checksum; it does not tell of those in fragments and quotations."""


@pytest.mark.peer("tshark")
@pytest.mark.parametrize("name", scenario_names())
def test_tshark_reads_what_every_nic_saw_and_opens_it_with_the_keys_beside_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["scenario", "run", name, "--write", str(tmp_path / "out.pcapng")]) == 0
    sealed = 0
    nodes = load_scenario(name).nodes
    captures = [one for one in tmp_path.glob("out.*-*.pcapng") if nodes[node_of(one, nodes)].kind in ("host", "plain")]
    for capture in sorted(captures):
        command = ["tshark", "-n", "-r", str(as_tshark_knows_it(capture)), "-T", "fields", "-E", "occurrence=f"]
        command += [argument for option in OPTIONS for argument in ("-o", option)]
        command += [argument for field in FIELDS for argument in ("-e", field)]
        environment = os.environ | {"WIRESHARK_CONFIG_DIR": str(tmp_path)}
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for row in printed.splitlines():
            point, ip, udp, malformed, encrypted, payload, spi, good, more, quoted = row.split("\t")
            assert capture.name == f"out.{point}.pcapng"
            assert (ip, malformed) == ("1", ""), row
            assert udp != WRONG, row
            # With the keys, the payloads behind an encrypted header are told too.
            assert payload or not encrypted, row
            if spi and more != "1" and not quoted:
                sealed += 1
                assert good == "1", row
    assert sealed or not (tmp_path / "esp_sa").exists()


def test_what_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenario", "run", "nat-restarts", "--write", str(tmp_path / "no" / "out.pcapng")]) == 2
    assert "cannot be written" in capsys.readouterr().err
