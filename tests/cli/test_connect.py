"""`nicsim connect` and `nicsim listen` with each other on the loopback: no root, no other program."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nicsim.cli import run
from nicsim.connect import sockets
from nicsim.wire.pcap import open_capture
from tests.connect.test_sockets import free_ports

KEYS = ["established", "nat", "pings_sent", "pings_answered", "sas", "parser_entries"]
SA_KEYS = ["spi", "direction", "encryption", "integrity", "mode", "offload"]
NICSIM = [sys.executable, "-m", "nicsim"]


class Loopback:
    """The options of two ends on one machine, with ports that anybody may use."""

    def __init__(self, folder: Path, proposal: str) -> None:
        ours, theirs, our_natt, their_natt = map(str, free_ports(4))
        (folder / "psk").write_text("a key\n")
        both = ["--psk-file", str(folder / "psk"), "--proposal", proposal, "--natt", "force", "--local", "127.0.0.1"]
        self.listen = ["listen", *both, "--ike-port", theirs, "--natt-port", their_natt, "--local-ts", "10.2.0.0/16"]
        self.connect = [
            *("connect", "127.0.0.1", *both, "--ike-port", ours, "--natt-port", our_natt),
            *("--remote-ike-port", theirs, "--remote-natt-port", their_natt),
            *("--local-ts", "10.1.0.1/32", "--remote-ts", "10.2.0.0/16"),
        ]
        self.port = int(theirs)


@contextmanager
def listening(ends: Loopback, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A listener for as long as the block runs; it ends by itself when its first peer has gone."""
    command = [*NICSIM, *ends.listen, "--once", "--for", "60", "--json", "-", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until_bound(process)
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_until_bound(process: subprocess.Popen[str]) -> None:
    """The heads of the ladder stand there once the ports are bound."""
    assert process.stderr is not None
    for line in process.stderr:
        if "peers" in line:
            return
    pytest.fail(f"the listener ended with {process.wait()}")


def connected(ends: Loopback, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, JSON object, and what is for people."""
    done = subprocess.run([*NICSIM, *ends.connect, "--json", "-", *options], capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


PING = ["--ping", "10.2.0.9", "--count", "5", "--interval", "0.01"]


@pytest.mark.parametrize(
    ("proposal", "profile", "offload", "entries"),
    [
        ("3des-md5", "ndis51", "OID_TCP_TASK_IPSEC_ADD_UDPESP_SA", True),
        # Version 2 parses port 4500 only, and here it is another.
        ("aes128-sha1", "ndis61", "port-not-parsed-by-v2", False),
        ("aes256-sha256", "ndis60", "algorithm-not-claimed", False),
    ],
)
def test_a_tunnel_between_two_of_us(tmp_path: Path, proposal: str, profile: str, offload: str, entries: bool) -> None:
    ends = Loopback(tmp_path, proposal)
    natt_port = int(ends.connect[ends.connect.index("--natt-port") + 1])
    with listening(ends) as listener:
        status, result, shown = connected(ends, "--profile", profile, *PING)
        theirs, ladder = listener.communicate(timeout=30)
    assert status == 0, shown
    assert list(result) == KEYS
    assert [list(sa) for sa in result["sas"]] == [SA_KEYS] * 2
    assert (result["established"], result["nat"], result["pings_sent"], result["pings_answered"]) == (
        True,
        "remote",
        5,
        5,
    )
    assert result["sas"][0]["offload"] == offload
    expected = [{"type": "OTHER", "port": natt_port, "references": 1}] if entries else []
    assert result["parser_entries"] == expected
    assert "5 of 5 pings answered" in shown
    assert (listener.returncode, json.loads(theirs)) == (
        0,
        {"established": True, "nat": "remote", "pings_sent": 0, "pings_answered": 0, "sas": [], "parser_entries": []},
    )
    assert "is deleted by the remote side: ike-deleted" in ladder


def test_both_ends_may_ping_and_write_what_went_by(tmp_path: Path) -> None:
    ends = Loopback(tmp_path, "3des-md5")
    (tmp_path / "we").mkdir()
    (tmp_path / "they").mkdir()
    twins = ["--inner", "--ike-decrypted"]
    with listening(ends, "--write", str(tmp_path / "they" / "out.pcapng"), *twins) as listener:
        status, result, shown = connected(ends, "--write", str(tmp_path / "we" / "out.pcapng"), *twins, *PING)
        listener.communicate(timeout=30)
    assert (status, result["pings_answered"]) == (0, 5), shown
    for folder in ("we", "they"):
        names = ["esp_sa", "ikev1_decryption_table", "out.ike-decrypted.pcapng", "out.inner.pcapng", "out.pcapng"]
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
        with open_capture(tmp_path / folder / "out.inner.pcapng") as capture:
            assert len(list(capture)) == 10
        # Nine messages to bring it up, two to end it, ten packets of ESP.
        with open_capture(tmp_path / folder / "out.pcapng") as capture:
            assert len(list(capture)) == 21
    # Both ends know the same keys.
    for name in ("esp_sa", "ikev1_decryption_table"):
        ours, theirs = ((tmp_path / folder / name).read_text().splitlines() for folder in ("we", "they"))
        assert sorted(ours) == sorted(theirs)


def test_a_ping_that_is_not_answered_is_exit_status_1(tmp_path: Path) -> None:
    ends = Loopback(tmp_path, "3des-md5")
    with listening(ends, "--impair", "error-on-good=3") as listener:
        status, result, shown = connected(ends, *PING)
        listener.communicate(timeout=30)
    assert status == 1, shown
    assert result["established"]
    assert 0 < result["pings_answered"] < result["pings_sent"] == 5


def test_an_interrupted_listener_tells_its_peer(tmp_path: Path) -> None:
    ends = Loopback(tmp_path, "aes128-sha1")
    with listening(ends) as listener:
        with subprocess.Popen(
            [*NICSIM, *ends.connect, "--stay"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as peer:
            assert listener.stderr is not None
            while "quick*: HASH -" not in listener.stderr.readline():
                assert listener.poll() is None
            listener.send_signal(signal.SIGINT)
            ladder, _ = peer.communicate(timeout=30)
            listener.communicate(timeout=30)
        assert listener.returncode == 130
        assert peer.returncode == 0, ladder
        assert "is deleted by the remote side: ike-deleted" in ladder
        assert "no associations are left" in ladder


# --- what is wrong before anything begins --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["connect", "127.0.0.1"], "the peer needs --psk-file, or --cert, --key and --ca"),
        (["connect", "127.0.0.1", "--psk-file", "PSK", "--inner"], "--inner and --ike-decrypted need --write"),
        (["listen", "--psk-file", "PSK", "--ike-decrypted"], "--inner and --ike-decrypted need --write"),
        (["connect", "127.0.0.1", "--psk-file", "PSK", "--write", "/no/out.pcapng"], "there is no directory /no"),
        (["connect", "127.0.0.1", "--psk-file", "PSK", "--json", "/no/out.json"], "there is no directory /no"),
        (["connect", "127.0.0.1", "--psk-file", "PSK", "--profile", "best"], "profile 'best' is neither a file nor"),
        (["connect", "127.0.0.1", "--psk-file", "PSK", "--impair", "all"], "'all'"),
        (["connect", "127.0.0.1", "--psk-file", "PSK", "--natt", "maybe"], "maybe"),
        (["connect", "127.0.0.1", "--psk-file", "PSK", "--local", "here"], "'here' is not an IPv4 or IPv6 address"),
        (
            ["connect", "127.0.0.1", "--psk-file", "PSK", "--local", "::1"],
            "--local ::1 and the peer 127.0.0.1 need the same address family",
        ),
        (["connect", "no.such.host.invalid", "--psk-file", "PSK"], "is no address, and no name that can be resolved"),
        (
            ["listen", "--psk-file", "PSK", "--local", "203.0.113.9"],
            "cannot be bound: that is no address of this machine",
        ),
        (["listen", "--psk-file", "PSK", "--ike-port", "0"], "--ike-port"),
    ],
)
def test_it_is_one_sentence_and_exit_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (tmp_path / "psk").write_text("a key\n")
    ports = [] if "--ike-port" in arguments else ["--ike-port", str(free_ports(1)[0])]
    ports += ["--natt-port", str(free_ports(1)[0])]
    status = run([str(tmp_path / "psk") if one == "PSK" else one for one in arguments] + ports)
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert said in printed.err


def test_a_port_that_needs_more_rights_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psk").write_text("a key\n")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sockets.socket.socket, "bind", refused)
    assert run(["listen", "--psk-file", str(tmp_path / "psk")]) == 2
    needed = "that needs root, or the right to use ports below 1024"
    assert capsys.readouterr().err == f"nicsim: 127.0.0.1 port 500 cannot be bound: {needed}\n"
