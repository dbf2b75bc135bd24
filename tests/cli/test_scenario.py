"""`nicsim scenario`: what it prints, its exit status, and the captures it writes."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from nicsim.cli import run
from nicsim.wire.pcap import open_capture
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
    assert "7000>7000 UDP 5 bytes" in out
    assert "nat: the NAT starts again" in out
    assert "passed at 10.000 s" in out


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


@pytest.mark.peer("tshark")
def test_captures_are_one_for_each_point_and_one_with_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcapng"
    assert run(["scenario", "run", "nat-restarts", "--write", str(out)]) == 0
    names = sorted(file.name for file in tmp_path.iterdir())
    points = ["client-nat", "nat-client", "nat-server", "server-nat"]
    assert names == sorted(["out.pcapng", *(f"out.{point}.pcapng" for point in points)])
    frames = {name: count(tmp_path / name) for name in names}
    # 2 each way at the client's end, 2 out and 2 in at the server's, one of which the NAT drops.
    assert frames["out.client-nat.pcapng"] == 3
    assert frames["out.server-nat.pcapng"] == 4
    assert frames["out.pcapng"] == sum(frames.values()) - frames["out.pcapng"]
    tshark = shutil.which("tshark")
    assert tshark is not None
    command = [tshark, "-r", str(out), "-T", "fields", "-e", "frame.interface_name", "-e", "frame.time_epoch",
               "-e", "_ws.malformed", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
               "-e", "ip.checksum.status", "-e", "udp.checksum.status"]  # fmt: skip
    rows = [
        row.split("\t")
        for row in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    ]
    assert {row[0] for row in rows} == set(points)
    assert float(rows[0][1]) == 1.0
    assert all(row[2:] == ["", "1", "1"] for row in rows)


def test_what_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenario", "run", "nat-restarts", "--write", str(tmp_path / "no" / "out.pcapng")]) == 2
    assert "cannot be written" in capsys.readouterr().err
