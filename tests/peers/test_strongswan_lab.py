"""The lab itself: a peer that answers, and nothing left of it afterwards."""

import os
import subprocess
import sys

import pytest

from tests.peers import strongswan

pytestmark = pytest.mark.peer("strongswan")

# An IKEv1 main mode message whose only payload is unknown: a peer that lives answers with a notify.
ASK = """
import socket, sys
message = bytes(range(1, 9)) + bytes(8) + bytes((0, 0x10, 2, 0)) + bytes(4) + (28).to_bytes(4, "big")
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.bind((sys.argv[1], 500))
asker.settimeout(10)
asker.sendto(message, (sys.argv[2], 500))
answer, sender = asker.recvfrom(4096)
print(answer[:8] == message[:8], sender[0])
"""


def namespaces() -> str:
    return subprocess.run([*strongswan.AS_ROOT, "ip", "netns"], capture_output=True, text=True, timeout=30).stdout


@pytest.mark.parametrize("nat", [False, True])
def test_the_peer_answers_from_its_namespace_and_leaves_nothing_behind(nat: bool) -> None:
    with strongswan.running(nat=nat) as lab:
        assert lab.must("exec", sys.executable, "-c", ASK, lab.client, strongswan.ADDRESS) == "True 203.0.113.2\n"
        assert f"{lab.name}-srv" in namespaces()
    assert lab.name not in namespaces()
    assert not lab.directory.exists()


def test_what_a_killed_run_has_left_is_taken_down_by_the_next() -> None:
    with subprocess.Popen(["true"]) as owner:
        pass
    left, ours = strongswan.Lab(owner.pid, nat=False), strongswan.Lab(os.getpid(), nat=True)
    left.must("up")
    (ours.directory).mkdir(mode=0o700)
    strongswan.sweep()
    assert left.name not in namespaces()
    assert not left.directory.exists()
    assert ours.directory.exists()
    ours.directory.rmdir()
