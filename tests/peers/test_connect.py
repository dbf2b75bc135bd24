"""`nicsim connect` and `nicsim listen` against strongSwan: the whole way, over real sockets, through the NIC.

Each test is one negotiation or more with a daemon of other people's making, and what its own tools say of it.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.peers import strongswan
from tests.peers.tshark import dissect

pytestmark = [pytest.mark.peer("strongswan"), pytest.mark.peer("tshark")]

ADD_UDPESP, ADD_V2 = "OID_TCP_TASK_IPSEC_ADD_UDPESP_SA", "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA"
PROPOSALS = {
    "3des-md5": ("3DES_CBC", "HMAC_MD5_96", ADD_UDPESP),
    "aes128-sha1": ("AES_CBC_128", "HMAC_SHA1_96", ADD_V2),
    "aes256-sha256": ("AES_CBC_256", "HMAC_SHA2_256_128", ADD_V2),
}
MAIN, AGGRESSIVE, INFORMATIONAL, QUICK = 2, 4, 5, 32
HASH, SA, NONCE, ID = 8, 1, 10, 5
PINGS = 100
PATIENCE = 60.0


@pytest.fixture(scope="module")
def labs() -> Iterator[list[strongswan.Lab]]:
    """One peer on the direct path, and one behind whose NAT we are."""
    with strongswan.running(nat=False) as direct, strongswan.running(nat=True) as nat:
        yield [direct, nat]


@pytest.fixture
def direct(labs: list[strongswan.Lab]) -> strongswan.Lab:
    return labs[0]


def on_both(labs: list[strongswan.Lab], folder: Path, run: Callable[[strongswan.Lab, Path], None]) -> None:
    """The same with both peers at once, since most of it is waiting; each has a folder of its own."""
    folders = [folder / ("nat" if lab.nat else "direct") for lab in labs]
    for one in folders:
        one.mkdir()
    with ThreadPoolExecutor(len(labs)) as pool:
        for outcome in [pool.submit(run, *each) for each in zip(labs, folders, strict=True)]:
            outcome.result()


@dataclass
class Ran:
    """One run of a command: its status, its JSON object, and what it printed for people."""

    status: int
    result: dict[str, Any]
    ladder: str

    @classmethod
    def of(cls, process: subprocess.Popen[str]) -> Ran:
        out, ladder = process.communicate(timeout=PATIENCE)
        assert out, ladder
        return cls(process.returncode, json.loads(out), ladder)


def credentials(lab: strongswan.Lab, name: str, folder: Path) -> list[str]:
    """The options with which a connection of the peer lets us in."""
    if name == "mm-rsa":
        pki = lab.pki
        return [
            *("--cert", f"{pki}/client.pem", "--key", f"{pki}/client.key", "--ca", f"{pki}/ca.pem"),
            *("--remote-id", f"{strongswan.DN}, CN=server.lab.example"),
        ]
    psk = folder / "psk"
    psk.write_text(f"{strongswan.PRESHARED_KEY}\n")
    more = ["--aggressive", "--id", "client@lab.example", "--remote-id", "gateway.lab.example"]
    return ["--psk-file", str(psk), *(more if name == "am-psk" else ["--remote-id", strongswan.ADDRESS])]


def start(lab: strongswan.Lab, name: str, folder: Path, *options: str) -> subprocess.Popen[str]:
    """`nicsim connect` to one of the peer's connections, left running."""
    wait_for(lambda: nothing_left(lab), "the peer still has what another test began")
    return lab.start(
        *(sys.executable, "-m", "nicsim", "connect", strongswan.ADDRESS, "--json", "-"),
        *credentials(lab, name, folder),
        *("--local-ts", f"{lab.inner_client}/32", "--remote-ts", "192.168.50.0/24"),
        *options,
    )


def pinging(count: int = PINGS, interval: float = 0.005) -> list[str]:
    return ["--ping", strongswan.INNER_HOST, "--count", str(count), "--interval", str(interval)]


def wait_for(what: Callable[[], bool], why: str) -> None:
    """Look again and again until it is so."""
    give_up = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < give_up, why
        time.sleep(0.05)


def established(lab: strongswan.Lab) -> bool:
    return "INSTALLED" in lab.must("sas")


def nothing_left(lab: strongswan.Lab) -> bool:
    return "ESTABLISHED" not in lab.must("sas")


# --- we begin ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proposal", PROPOSALS)
@pytest.mark.parametrize("name", ["mm-psk", "mm-rsa", "am-psk"])
def test_a_tunnel_with_every_ping_answered(
    labs: list[strongswan.Lab], name: str, proposal: str, tmp_path: Path
) -> None:
    on_both(labs, tmp_path, lambda lab, folder: check_tunnel(lab, name, proposal, folder))


def check_tunnel(lab: strongswan.Lab, name: str, proposal: str, tmp_path: Path) -> None:
    capture = tmp_path / "tunnel.pcapng"
    write = ["--write", str(capture), "--inner", "--ike-decrypted"]
    ran = Ran.of(start(lab, name, tmp_path, "--proposal", proposal, *pinging(), *write))
    assert ran.status == 0, ran.ladder
    encryption, integrity, oid = PROPOSALS[proposal]
    facts = {"encryption": encryption, "integrity": integrity, "mode": "tunnel", "offload": oid}
    assert ran.result == {
        "established": True,
        # The peer lies about its own address, so that it always looks like a host behind a NAT.
        "nat": "both" if lab.nat else "remote",
        "pings_sent": PINGS,
        "pings_answered": PINGS,
        "sas": [
            {"spi": ran.result["sas"][0]["spi"], "direction": "inbound", **facts},
            {"spi": ran.result["sas"][1]["spi"], "direction": "outbound", **facts},
        ],
        "parser_entries": [{"type": "OTHER", "port": 4500, "references": 1}] if oid == ADD_UDPESP else [],
    }
    assert f"{PINGS} of {PINGS} pings answered" in ran.ladder
    # Every packet was the NIC's work, both ways.
    assert len(re.findall(rf"│ +{PINGS} +│ 0 +│ 0 +│", ran.ladder)) == 2
    # Our delete has arrived: the peer has nothing left.
    wait_for(lambda: nothing_left(lab), "the peer keeps what we deleted")
    check_capture(capture, name)
    if name == "mm-psk":
        check_twins(capture)


def check_capture(capture: Path, name: str) -> None:
    """tshark opens what we wrote with the keys that we wrote."""
    frames = dissect(capture)
    assert not any(frame.malformed for frame in frames)
    phase1, quick = [[f for f in frames if f.exchange == number] for number in (phase_1(name), QUICK)]
    proofs = [frame for frame in phase1 if frame.encrypted]
    assert len(proofs) == (1 if name == "am-psk" else 2)  # more where it comes in fragments, which are not encrypted
    assert all(frame.payloads for frame in proofs)
    assert [frame.payloads[:1] for frame in quick] == [(HASH,)] * 3
    assert {SA, NONCE, ID} <= set(quick[0].payloads)
    esp = [frame for frame in frames if frame.icv_good is not None]
    assert len(esp) == 2 * PINGS
    assert all(frame.icv_good for frame in esp)
    assert [sum(frame.icmp == kind for frame in esp) for kind in (8, 0)] == [PINGS, PINGS]


def check_twins(capture: Path) -> None:
    """Without keys tshark opens nothing of the wire, and everything of the twins."""
    blind = dissect(capture, keys=False)
    assert not any(HASH in frame.payloads for frame in blind if frame.encrypted)
    assert not any(frame.icmp is not None for frame in blind)
    decrypted = dissect(capture.with_name("tunnel.ike-decrypted.pcapng"), keys=False)
    assert not any(frame.malformed for frame in decrypted)
    ike = [frame for frame in decrypted if frame.exchange is not None]
    assert not any(frame.encrypted for frame in ike)
    assert next(frame.payloads for frame in ike if frame.exchange == QUICK)[:4] == (HASH, SA, 2, 3)
    inner = dissect(capture.with_name("tunnel.inner.pcapng"), keys=False)
    assert [sum(frame.icmp == kind for frame in inner) for kind in (8, 0)] == [PINGS, PINGS]


def phase_1(name: str) -> int:
    return AGGRESSIVE if name == "am-psk" else MAIN


def test_the_peer_rekeys_under_pings_and_one_parser_entry_serves_all(
    labs: list[strongswan.Lab], tmp_path: Path
) -> None:
    on_both(labs, tmp_path, check_rekey_by_the_peer)


def check_rekey_by_the_peer(lab: strongswan.Lab, tmp_path: Path) -> None:
    process = start(lab, "mm-psk", tmp_path, "--proposal", "3des-md5", *pinging(200, 0.02))
    wait_for(lambda: established(lab), "no tunnel")
    lab.must("rekey", "mm-psk")
    ran = Ran.of(process)
    assert (ran.status, ran.result["pings_answered"]) == (0, 200), ran.ladder
    # The old pair still receives for a while.
    assert [sa["direction"] for sa in ran.result["sas"]] == ["inbound", "outbound"] * 2
    assert {sa["offload"] for sa in ran.result["sas"]} == {ADD_UDPESP}
    assert ran.result["parser_entries"] == [{"type": "OTHER", "port": 4500, "references": 2}]
    assert ran.ladder.count("quick*: HASH SA NONCE ID*2") == 4
    wait_for(lambda: nothing_left(lab), "the peer keeps what we deleted")


def test_we_rekey_when_a_lifetime_ends(labs: list[strongswan.Lab], tmp_path: Path) -> None:
    on_both(labs, tmp_path, check_rekey_by_us)


def check_rekey_by_us(lab: strongswan.Lab, tmp_path: Path) -> None:
    options = ["--proposal", "aes128-sha1", "--lifetime", "3", *pinging(160, 0.02)]
    ran = Ran.of(start(lab, "mm-psk", tmp_path, *options))
    assert (ran.status, ran.result["pings_answered"]) == (0, 160), ran.ladder
    assert len(ran.result["sas"]) == 4
    assert ran.ladder.count("quick*: HASH SA NONCE ID*2") == 4


def test_the_peer_ends_the_tunnel_and_we_forget_it(labs: list[strongswan.Lab], tmp_path: Path) -> None:
    on_both(labs, tmp_path, check_end_by_the_peer)


def check_end_by_the_peer(lab: strongswan.Lab, tmp_path: Path) -> None:
    process = start(lab, "mm-psk", tmp_path, "--proposal", "3des-md5", "--stay", *pinging(10))
    wait_for(lambda: established(lab), "no tunnel")
    time.sleep(3.0)  # for the pings
    lab.must("end", "mm-psk")
    ran = Ran.of(process)
    assert (ran.status, ran.result["pings_answered"]) == (0, 10), ran.ladder
    assert "is deleted by the remote side: ike-deleted" in ran.ladder
    assert "is gone, by the remote side: ike-deleted" in ran.ladder
    assert (ran.result["sas"], ran.result["parser_entries"]) == ([], [])


def test_an_interrupt_deletes_the_tunnel_politely(labs: list[strongswan.Lab], tmp_path: Path) -> None:
    on_both(labs, tmp_path, check_interrupt)


def check_interrupt(lab: strongswan.Lab, tmp_path: Path) -> None:
    process = start(lab, "mm-psk", tmp_path, "--proposal", "3des-md5", "--stay")
    wait_for(lambda: established(lab), "no tunnel")
    process.send_signal(signal.SIGINT)
    ran = Ran.of(process)
    assert (ran.status, ran.result["established"]) == (130, True)
    wait_for(lambda: nothing_left(lab), "the peer keeps what we deleted")


# --- what goes wrong -----------------------------------------------------------------------------------------------


def failed(lab: strongswan.Lab, *options: str) -> str:
    """What a run says that could not bring up a tunnel."""
    ran = Ran.of(lab.start(sys.executable, "-m", "nicsim", "connect", "--json", "-", "--timeout", "3", *options))
    assert (ran.status, ran.result["established"]) == (1, False), ran.ladder
    [sentence] = [line for line in ran.ladder.splitlines() if line.startswith("failed: ")]
    return sentence


def test_a_wrong_key_is_told(direct: strongswan.Lab, tmp_path: Path) -> None:
    (tmp_path / "psk").write_text("another key")
    options = [strongswan.ADDRESS, "--psk-file", str(tmp_path / "psk"), "--proposal", "aes128-sha1"]
    silence = "failed: 203.0.113.2 did not bring up a tunnel within 3 s, though it answered at first; "
    assert failed(direct, *options) == f"{silence}it may have another pre-shared key"
    said = failed(direct, *options, "--aggressive", "--id", "client@lab.example")
    assert said.startswith("failed: 203.0.113.2: authentication failed: ")
    assert "another key" not in said


def test_proposals_that_the_peer_does_not_like_are_told(direct: strongswan.Lab, tmp_path: Path) -> None:
    said = failed(direct, strongswan.ADDRESS, *credentials(direct, "mm-psk", tmp_path), "--proposal", "des-md5")
    assert said == "failed: 203.0.113.2: the peer refused with NO_PROPOSAL_CHOSEN"
    said = failed(direct, strongswan.ADDRESS, *credentials(direct, "am-psk", tmp_path), "--proposal", "des-md5")
    assert said == "failed: 203.0.113.2: the peer refused with NO_PROPOSAL_CHOSEN"


def test_a_peer_that_is_somebody_else_is_told(direct: strongswan.Lab, tmp_path: Path) -> None:
    options = credentials(direct, "mm-psk", tmp_path)
    options[options.index("--remote-id") + 1] = "somebody.else.example"
    said = failed(direct, strongswan.ADDRESS, *options, "--proposal", "aes128-sha1")
    assert "somebody.else.example" in said
    assert "203.0.113.2" in said


def test_silence_is_told(direct: strongswan.Lab, tmp_path: Path) -> None:
    said = failed(direct, "203.0.113.99", *credentials(direct, "mm-psk", tmp_path), "--timeout", "2")
    assert said == "failed: 203.0.113.99 did not bring up a tunnel within 2 s"


# --- the peer begins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "proposal"),
    [("mm-psk", "3des-md5"), ("mm-psk", "aes256-sha256"), ("mm-rsa", "3des-md5"), ("am-psk", "aes128-sha1")],
)
def test_the_peer_begins_and_both_ping(direct: strongswan.Lab, name: str, proposal: str, tmp_path: Path) -> None:
    options = credentials(direct, name, tmp_path)
    if "--aggressive" in options:
        options[options.index("--id") :] = ["--id", "client@lab.example"]
    if "--remote-id" in options:
        options = options[: options.index("--remote-id")]
    process = direct.start(
        *(sys.executable, "-m", "nicsim", "listen", "--json", "-", "--once", "--for", "40"),
        *("--local", direct.client, "--local-ts", f"{direct.inner_client}/32", "--proposal", proposal),
        *options,
        *pinging(),
    )
    wait_for(lambda: "0 *:500" in bound(direct) or ":500 " in bound(direct), "nicsim does not listen")
    direct.must("initiate", name)
    wait_for(lambda: established(direct), "no tunnel")
    time.sleep(3.0)  # for the pings
    direct.must("rekey", f"out-{name}")
    time.sleep(0.5)
    direct.must("terminate", name)
    ran = Ran.of(process)
    assert (ran.status, ran.result["pings_answered"]) == (0, PINGS), ran.ladder
    assert (ran.result["sas"], ran.result["parser_entries"]) == ([], [])
    assert "is deleted by the remote side" in ran.ladder


def bound(lab: strongswan.Lab) -> str:
    """The UDP sockets of the client's namespace."""
    return lab.must("exec", "ss", "-lun")


# --- nobody in between ---------------------------------------------------------------------------------------------


def test_two_of_us_without_a_nat_speak_esp_without_udp(direct: strongswan.Lab, tmp_path: Path) -> None:
    (tmp_path / "psk").write_text("a key")
    both = ["--psk-file", str(tmp_path / "psk"), "--proposal", "3des-md5", "--json", "-"]
    nicsim = [sys.executable, "-m", "nicsim"]
    listener = direct.start(
        *nicsim, "listen", *both, "--local", "127.0.0.2", "--local-ts", "10.2.0.0/16", "--once", "--for", "40"
    )
    wait_for(lambda: "127.0.0.2:500 " in bound(direct), "nicsim does not listen")
    capture = tmp_path / "tunnel.pcapng"
    options = ["--remote-ts", "10.2.0.0/16", "--ping", "10.2.0.1", "--count", "10", "--interval", "0.01"]
    ran = Ran.of(direct.start(*nicsim, "connect", "127.0.0.2", *both, *options, "--write", str(capture)))
    assert ran.status == 0, ran.ladder
    assert (ran.result["nat"], ran.result["pings_answered"], ran.result["parser_entries"]) == ("none", 10, [])
    assert {sa["offload"] for sa in ran.result["sas"]} == {"OID_TCP_TASK_IPSEC_ADD_SA"}
    assert sum(frame.icv_good is True for frame in dissect(capture)) == 20
    assert Ran.of(listener).status == 0
