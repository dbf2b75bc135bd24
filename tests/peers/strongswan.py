"""A strongSwan peer in network namespaces of its own: `strongswan_peer.sh`, which says what is where, from Python."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).with_name("strongswan_peer.sh")

ADDRESS = "203.0.113.2"
INNER_HOST = "192.168.50.1"
PRESHARED_KEY = "lab preshared key"
DN = "C=CH, O=strongSwan Peer Lab"
# Where the client is, and its address inside the tunnel.
DIRECT = ("203.0.113.1", "192.168.60.1")
BEHIND_NAT = ("10.0.0.2", "10.0.0.2")

NAME, PREFIX = "nicsim", "nicsim-peer-"
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


class Lab:
    """One running peer, and the client's namespace beside it."""

    def __init__(self, owner: int, *, nat: bool) -> None:
        """`owner` is the process whose peer this is."""
        self.name = f"{NAME}{owner}{'n' if nat else 'd'}"
        # Not in pytest's own directories, which would be too long for a socket's name.
        self.directory = Path(tempfile.gettempdir()) / f"{PREFIX}{owner}{'n' if nat else 'd'}"
        self.nat = nat
        self.client, self.inner_client = BEHIND_NAT if nat else DIRECT
        self._started: list[subprocess.Popen[str]] = []

    def do(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """One command of the script, waited for; what it printed is in the answer."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout)

    def must(self, *arguments: str) -> str:
        """The same, for a command that has to succeed: what it printed."""
        done = self.do(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A program in the client's namespace, left running; `stop_all` ends what a failed test has left."""
        process = subprocess.Popen(
            self.command("exec", *command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._started.append(process)
        return process

    def stop_all(self) -> None:
        """End whatever was started and still runs."""
        for process in self._started:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=30)
        self._started.clear()

    def command(self, *arguments: str) -> Sequence[str]:
        """The script's command line."""
        settings = [f"PEER_DIR={self.directory}", f"PEER_NAME={self.name}"]
        return [*AS_ROOT, "env", *settings, str(SCRIPT), *arguments]

    @property
    def pki(self) -> Path:
        """ca.pem, client.pem, client.key, server.pem."""
        return self.directory / "pki"


@contextmanager
def running(*, nat: bool) -> Iterator[Lab]:
    """A peer for as long as the block runs. The names hold our process id, so several runs can share a machine."""
    sweep()
    lab = Lab(os.getpid(), nat=nat)
    lab.must("up", *(["--nat"] if nat else []))
    try:
        yield lab
    finally:
        lab.stop_all()
        lab.must("down")


def sweep() -> None:
    """Take down what runs of the tests have left that were killed; whose process lives is left alone."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*[dn]"):
        owner = directory.name.removeprefix(PREFIX)[:-1]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            Lab(int(owner), nat=directory.name.endswith("n")).do("down")
