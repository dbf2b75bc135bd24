"""Peers, and how hypothesis runs.

A test marked `peer("tshark")` needs an independent program. On a user's machine it is skipped where the program is
missing; under `--require-peers`, as in CI, it fails there, and so does a run in which any such test was skipped.
"""

import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable

import hypothesis
import pytest


def _programs(*names: str) -> Callable[[], list[str]]:
    return lambda: [name for name in names if shutil.which(name) is None]


def _modules(*names: str) -> Callable[[], list[str]]:
    return lambda: [name for name in names if importlib.util.find_spec(name) is None]


@functools.cache
def _strongswan() -> list[str]:
    """What tests/peers/strongswan_peer.sh needs: its programs, root, and network namespaces of its own."""
    missing = [name for name in ("ip", "nft", "swanctl", "pki", "unshare") if shutil.which(name) is None]
    missing += [path for path in ("/usr/lib/ipsec/charon", "/dev/net/tun") if not os.path.exists(path)]
    if missing:
        return missing
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if as_root and shutil.which("sudo") is None:
        return ["root"]
    tried = subprocess.run([*as_root, "unshare", "--net", "--mount", "true"], capture_output=True, timeout=30)
    return [] if tried.returncode == 0 else ["root with network namespaces"]


# Every peer by name, with what of it is missing here.
PEERS: dict[str, Callable[[], list[str]]] = {
    "tshark": _programs("tshark"),
    "mingw": _programs("x86_64-w64-mingw32-gcc", "i686-w64-mingw32-gcc"),
    "scapy": _modules("scapy"),
    "strongswan": _strongswan,
}

# No deadlines: a slow machine is no failure. CI tries the same examples each time, so a change alone decides.
hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-peers", action="store_true", help="fail, not skip, where an independent program is missing"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--require-peers"):
        hypothesis.settings.load_profile("ci")
        config.pluginmanager.register(_NoPeerSkipped(), "no-peer-skipped")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("peer"):
        for peer in mark.args:
            if peer not in PEERS:
                pytest.fail(f"no peer is called {peer}; conftest.py knows {', '.join(PEERS)}", pytrace=False)
            if missing := PEERS[peer]():
                reason = f"the peer {peer} is missing here: {', '.join(missing)}"
                if item.config.getoption("--require-peers"):
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)


class _NoPeerSkipped:
    """Under --require-peers, fails the session when a peer's test was skipped, for whatever reason."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # An expected failure is reported as skipped too, but it ran.
        if report.skipped and "peer" in report.keywords and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.skipped:
            terminalreporter.section("peer tests skipped under --require-peers", red=True)
            for nodeid in self.skipped:
                terminalreporter.line(nodeid)
