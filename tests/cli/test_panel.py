"""What the front panel can say, as scripts that a user writes: `nicsim nic --script - --json`.

Packets are those of specimens.py, sealed by the oracle.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from nicsim.boundary import UdpType
from nicsim.cli import run
from nicsim.impairments import CATALOGUE
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Integrity
from nicsim.wire.headers import format_address
from tests.card.specimens import HIGH, PAYLOAD, Portion, frame, free, packet
from tests.card.test_bit_flips import IP_IN_IP, KEYS_V1, KEYS_V2, ONE, TWO

Told = list[dict[str, Any]]
Script = Callable[..., Told]
SHA1 = Integrity.HMAC_SHA1_96


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Run the lines of a script: an object for each. All have to go well."""

    def told(*lines: str, options: tuple[str, ...] = (), status: int = 0) -> Told:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
        assert run(["nic", "--script", "-", "--json", *options]) == status
        objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(objects) == len(lines)
        return [one["result"] for one in objects] if status == 0 else objects

    return told


def add_line(portion: Portion, *, two: bool = False, out: bool = False, version: bool = True) -> str:
    """The `add sa` of a portion."""
    src, dst = portion.ends
    words = {
        "spi": f"0x{portion.esp_spi if portion.esp else portion.ah_spi:x}",
        "src": format_address(src), "dst": format_address(dst),
        "dir": "out" if out else "in", "mode": portion.mode.value,
    }  # fmt: skip
    if portion.esp:
        esp = portion.esp
        words |= {"encryption": esp.encryption.value, "key": esp.encryption_key.hex(), "salt": esp.salt.hex()}
        words |= {"integrity": esp.integrity.value, "ikey": esp.integrity_key.hex()}
    if portion.ah:
        words |= {"ah": portion.ah.value, "ahkey": portion.ah_key.hex()}
        words |= {"ahspi": hex(portion.ah_spi)} if portion.esp else {}
    if portion.udp is not UdpType.NATIVE:
        words["udp"] = portion.udp.name.lower()
    if portion.esn:
        words["esn"] = str(HIGH)
    if two:
        words["portions"] = "2"
    if version:
        words["version"] = str(portion.version)
    return "add sa " + " ".join(f"{key}={value}" for key, value in words.items() if value)


NO_OPTIONS = [portion for portion in ONE if not portion.options and portion.mode is Mode.TRANSPORT]
KINDS = [
    *NO_OPTIONS[::23],
    Portion(Mode.TRANSPORT, None, SHA1),
    Portion(Mode.TRANSPORT, None, Integrity.HMAC_SHA2_256_128, version=2, ipv6=True, esn=True),
    Portion(Mode.TRANSPORT, KEYS_V1[0], SHA1),
    Portion(Mode.TRANSPORT, KEYS_V2[-1], SHA1, version=2, ipv6=True),
]


@pytest.mark.parametrize("portion", KINDS, ids=str)
def test_every_kind_of_association_can_be_added_and_opens_its_packets(portion: Portion, script: Script) -> None:
    specimen = frame(portion, packet(portion, free(PAYLOAD), 6))
    enabled, added, opened, dumped, deleted = script(
        "enable",
        add_line(portion),
        f"frame {specimen.wire.hex()}",
        "dump sas --show-keys",
        f"delete 0x{portion.ah_spi if portion.ah else portion.esp_spi:x}",
    )
    assert enabled["enabled"]
    assert added["on_nic"], added
    assert opened["reason"] == ("opened" if portion.esp else "checked")
    assert opened["handle"] == added["handle"]
    if portion.esp:
        assert bytes.fromhex(opened["plaintext"]).startswith(PAYLOAD)
    layers = [one["protocol"] for one in dumped["sas"]]
    assert layers == (["ah"] if portion.ah else []) + (["esp"] if portion.esp else [])
    for line in dumped["sas"]:
        assert (line["esn"], line["sequence_high"]) == (portion.esn, HIGH if portion.esn else 0)
    assert portion.ah is None or dumped["sas"][0]["integrity_key"] == f"0x{portion.ah_key.hex()}"
    assert deleted["status"] == "SUCCESS"


@pytest.mark.parametrize(("outer", "inner"), TWO[::60], ids=str)
def test_packets_of_two_portions_are_opened_by_two_associations(outer: Portion, inner: Portion, script: Script) -> None:
    specimen = frame(outer, packet(outer, packet(inner, free(PAYLOAD), 6), IP_IN_IP[inner.ipv6]))
    lines = "enable", add_line(outer, two=True), add_line(inner, two=True), f"frame {specimen.wire.hex()}"
    _, tunnel, transport, opened = script(*lines)
    assert (opened["crypto_done"], opened["next_crypto_done"]) == (True, True)
    assert (opened["handle"], opened["next_handle"]) == (tunnel["handle"], transport["handle"])


ROUND = [
    Portion(Mode.TRANSPORT, KEYS_V1[3]),
    Portion(Mode.TUNNEL, KEYS_V1[-1]),
    Portion(Mode.TUNNEL, KEYS_V1[-1], udp=UdpType.IKE),
    Portion(Mode.TRANSPORT, KEYS_V2[-1], udp=UdpType.OTHER, version=2),
    Portion(Mode.TRANSPORT, KEYS_V2[-5], version=2, ipv6=True, esn=True),
    Portion(Mode.TRANSPORT, None, SHA1),
    Portion(Mode.TUNNEL, None, Integrity.HMAC_SHA2_256_128, version=2, ipv6=True),
    Portion(Mode.TUNNEL, KEYS_V1[2], SHA1),
]


@pytest.mark.rule("N-TX-9", "N-TX-3")
@pytest.mark.parametrize("portion", ROUND, ids=str)
def test_what_the_nic_seals_it_opens_again(portion: Portion, script: Script) -> None:
    payload = b"hello from the host".hex()
    lines = ["enable", add_line(portion, out=True), add_line(portion)]
    handle = script(*lines)[1]["handle"]
    lines.append(f"seal handle={handle} next=6 seq=5 {payload}")
    sent = script(*lines)[3]
    assert (sent["status"], sent["reason"]) == ("SUCCESS", "sealed")
    assert (payload in sent["frame"]) == (portion.esp is None or portion.esp.encryption.value == "NULL")
    opened = script(*lines, f"frame {sent['frame']}")[-1]
    assert opened["crypto_status"] == "CRYPTO_SUCCESS"
    assert opened["crypto_done"]
    assert portion.esp is None or payload in opened["plaintext"]


def spi_of(portion: Portion) -> int:
    return portion.esp_spi if portion.esp else portion.ah_spi


@pytest.mark.rule("N-TX-1", "N-V2-14")
@pytest.mark.parametrize("profile", ["ndis51", "reference"])
def test_two_portions_are_sealed_by_two_handles_and_opened_again(profile: str, script: Script) -> None:
    tunnel, transport = Portion(Mode.TUNNEL, KEYS_V1[0], udp=UdpType.OTHER), Portion(Mode.TRANSPORT, KEYS_V1[-1])
    adds = [add_line(one, two=True, out=out) for out in (True, False) for one in (tunnel, transport)]
    options = ("--profile", profile)
    _, outer, inner, *_ = script("enable", *adds, options=options)
    seal = f"seal handle={inner['handle']} tunnel=handle={outer['handle']} 0102030405060708"
    sent = script("enable", *adds, seal, options=options)[-1]
    assert sent["reason"] == "sealed"
    opened = script("enable", *adds, f"frame {sent['frame']}", options=options)[-1]
    assert (opened["crypto_done"], opened["next_crypto_done"], opened["reason"]) == (True, True, "opened")
    assert "0102030405060708" in opened["plaintext"]


@pytest.mark.rule("N-V2-13")
def test_the_upper_half_can_be_updated(script: Script) -> None:
    portion = Portion(Mode.TRANSPORT, KEYS_V2[-1], version=2, esn=True)
    data = f"frame {frame(portion, packet(portion, free(PAYLOAD), 6)).wire.hex()}"
    before = add_line(portion).replace(f"esn={HIGH}", f"esn={HIGH - 1}")
    lines = "enable", before, data, f"update 0x{portion.esp_spi:x} high={HIGH}", data, "dump sas"
    _, _, failed, updated, opened, dumped = script(*lines)
    assert (failed["reason"], opened["reason"]) == ("icv-wrong", "opened")
    assert (updated["status"], updated["high"]) == ("SUCCESS", HIGH)
    assert dumped["sas"][0]["sequence_high"] == HIGH
    numbers = add_line(portion).replace(f" esn={HIGH}", "")
    refused = script("enable", numbers, "update 0x5a000050 high=1")[-1]
    assert (refused["status"], refused["reason"]) == ("INVALID_PARAMETER", "esn-not-claimed")


# --- the NIC as a whole ----------------------------------------------------------------------------------------------

ESP = Portion(Mode.TRANSPORT, KEYS_V1[-1])
WIRE = f"frame {frame(ESP, packet(ESP, free(PAYLOAD), 6)).wire.hex()}"
TAGGED = f"frame {frame(ESP, packet(ESP, free(PAYLOAD), 6), bytes.fromhex('81000064')).wire.hex()}"


@pytest.mark.rule("N-CP6-4", "N-CP6-5", "N-CP6-6")
def test_encapsulation_says_which_families_and_links_are_on(script: Script) -> None:
    lines = "enable", add_line(ESP), "encapsulation ipv4=on link=IEEE_802_3", WIRE, TAGGED
    *_, setting, plain, tagged = script(*lines)
    assert (setting["status"], setting["structures"][0]["structure"]) == ("SUCCESS", "NDIS_OFFLOAD_ENCAPSULATION")
    assert (plain["reason"], tagged["reason"]) == ("opened", "encapsulation-not-enabled")
    *_, off, left, again = script("enable", add_line(ESP), "encapsulation ipv4=off ipv6=off", WIRE, add_line(ESP))
    assert (off["status"], left["reason"], again["reason"]) == ("SUCCESS", "not-enabled", "offload-not-enabled")
    (refused,) = script("encapsulation ipv4=on link=IEEE_LLC_SNAP_ROUTED")
    assert refused["reason"] == "encapsulation-not-claimed"
    (old,) = script("encapsulation ipv4=on", options=("--profile", "ndis51"))
    assert old["reason"] == "not-offered"


@pytest.mark.rule("N-CP6-7")
def test_parameters_take_a_version_away_and_give_it_back(script: Script) -> None:
    aes = Portion(Mode.TRANSPORT, KEYS_V2[-1], version=2)
    lines = "parameters ipsec-v2=off", "enable", add_line(aes), "parameters ipsec-v2=both", add_line(aes)
    off, _, kept, _, added = script(*lines)
    assert off["status"] == "SUCCESS"
    assert (kept["on_nic"], kept["reason"]) == (False, "no-suitable-version")
    assert added["on_nic"]
    (told,) = script("parameters ipsec-v2=off", options=("--profile", "ndis60"), status=2)
    assert "NDIS 6.0 has no ipsec-v2" in told["error"]["message"]


def test_the_packet_filter_is_set_by_names(script: Script) -> None:
    good, none, unknown = script("filter directed,broadcast", "filter none", "filter directed,everything", status=2)
    assert (good["result"]["status"], good["result"]["oid"]) == ("SUCCESS", "OID_GEN_CURRENT_PACKET_FILTER")
    assert none["result"]["status"] == "SUCCESS"
    assert "filter needs one of directed, multicast" in unknown["error"]["message"]


@pytest.mark.rule("N-RST-6")
def test_a_nic_that_is_removed_leaves_everything_to_the_host(script: Script) -> None:
    lines = "enable", add_line(ESP), "remove", "dump", add_line(Portion(Mode.TRANSPORT, KEYS_V1[0], SHA1)), "enable"
    *_, removed, dumped, kept, enabled = script(*lines)
    assert removed["status"] == "removed"
    (line,) = dumped["sas"]
    assert (line["handle"], line["reason"], line["rule"]) == (None, "adapter-removed", "N-RST-6")
    assert dumped["stats"]["used"] == {"inbound": 0, "outbound": 0, "parser": 0}
    assert (kept["on_nic"], kept["detail"]) == (False, "the NIC was removed")
    assert not enabled["enabled"]


@pytest.mark.rule("N-CP6-5")
def test_what_ndis_says_by_itself_is_polled(script: Script) -> None:
    _, first, second = script("enable", "poll", "poll")
    assert {"what": "indication", "status": "TASK_OFFLOAD_CURRENT_CONFIG", "reason": None, "rule": None} in first[
        "events"
    ]
    assert second["events"] == []


# --- impairments -----------------------------------------------------------------------------------------------------


def test_a_nic_can_be_impaired_from_the_command_line(script: Script) -> None:
    options = "--impair", "row-write-fails=2", "--impair", "drops-failed"
    _, kept, listed, stats = script("enable", add_line(ESP), "impair", "dump stats", options=options)
    assert (kept["on_nic"], kept["reason"]) == (False, "row-write-failed")
    assert [one["name"] for one in listed["active"]] == ["row-write-fails=2", "drops-failed=1"]
    assert listed["active"][1]["rules"] == ["N-RX-14"]
    assert stats["stats"]["impairments"] == ["row-write-fails=2", "drops-failed=1"]


def test_impairments_come_and_go_while_the_nic_runs(script: Script) -> None:
    bad = WIRE[:-1] + ("0" if WIRE[-1] != "0" else "1")
    lines = (
        "enable", add_line(ESP), WIRE, "mark well", "impair icv-unchecked payload-corrupted=2", bad, WIRE, WIRE,
        "diff well", "impair none", bad, WIRE, "impair",
    )  # fmt: skip
    _, _, good, _, on, unchecked, fine, corrupted, between, off, refused, again, none = script(*lines)
    assert [one["name"] for one in on["active"]] == ["icv-unchecked", "payload-corrupted=2"]
    assert (unchecked["reason"], unchecked["plaintext"]) == ("opened", good["plaintext"])  # though added before
    assert {fine["plaintext"], corrupted["plaintext"]} != {good["plaintext"]}
    assert {"what": "nic: impaired", "before": "", "after": "icv-unchecked payload-corrupted=2"} in between["changed"]
    assert off["active"] == none["active"] == []
    assert (refused["reason"], again["plaintext"]) == ("icv-wrong", good["plaintext"])


@pytest.mark.rule("N-SA-22")
def test_the_host_makes_room_when_the_driver_asks(script: Script) -> None:
    back = add_line(ESP, out=True).replace("spi=0x5a000050", "spi=0x77")
    back = back.replace("src=192.0.2.1 dst=192.0.2.2", "src=192.0.2.2 dst=192.0.2.1")
    lines = "enable", add_line(ESP), back, "impair delete-requested", WIRE, "dump sas", WIRE
    *_, opened, dumped, left = script(*lines)
    assert (opened["sa_delete_request"], opened["deleted"]) == (True, ["0x5a000050", "0x00000077"])
    assert [(one["handle"], one["reason"]) for one in dumped["sas"]] == [(None, "delete-requested")] * 2
    assert left["reason"] == "sa-not-offloaded"


@pytest.mark.rule("N-DEL-2")
def test_what_was_added_before_an_impairment_is_not_its_business(script: Script) -> None:
    udp = Portion(Mode.TRANSPORT, KEYS_V1[-1], udp=UdpType.OTHER)
    lines = "enable", add_line(udp), "impair parser-entry-deleted-early", f"delete 0x{udp.esp_spi:x}", "dump parser"
    *_, deleted, dumped = script(*lines)
    assert deleted["status"] == "SUCCESS"
    assert [one["handle"] for one in dumped["parser"]] == [None]


def test_the_rule_monitor_speaks_in_the_session_with_the_rule(script: Script) -> None:
    told = script("enable", "impair handle-zero", add_line(ESP), "counters", status=2)
    error = told[2]["error"]
    assert (error["rule"], error["reason"]) == ("N-SA-17", None)
    assert "result" in told[3]  # the session goes on


@pytest.mark.parametrize("one", CATALOGUE, ids=[one.name for one in CATALOGUE])
def test_every_impairment_can_be_switched_on_at_any_time(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outbound = add_line(ESP, out=True).replace("0x5a000050", "0x77")
    udp = Portion(Mode.TRANSPORT, KEYS_V1[1], udp=UdpType.OTHER)
    lines = ["enable", add_line(ESP), outbound, f"impair {one.name}", WIRE, TAGGED, "seal 0x77 0102", add_line(udp)]
    lines += ["delete 0x5a000050", "reset", "power D3", "power D0", "poll", "impair none", "dump", "disable", "remove"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert run(["nic", "--script", "-", "--json"]) in (0, 2)


# --- what cannot be understood ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("dmp", "there is no command 'dmp'; near it is dump"),
        ("help ad", "there is no command 'ad'; near it is add"),
        ("add association", "add needs sa behind it, got 'association'"),
        (add_line(ESP) + " esm=1", "got 'esm'; near it is esn="),
        (add_line(ESP) + " port=4500", "port= is a port of the UDP header around ESP, and needs udp="),
        (add_line(ESP) + " ahspi=7", "ahspi= needs ah=NAME"),
        (add_line(ESP) + " ah=HMAC_MD5_96 ahkey=" + "00" * 16, "AH beside ESP needs ahspi="),
        (add_line(ESP) + " ah=HMAC_MD5_96 ahspi=7 ahkey=00", "HMAC_MD5_96 key needs 16 bytes, 1 came"),
        (add_line(ESP) + " ah=NONE", "ah needs one of HMAC_MD5_96"),
        (add_line(Portion(Mode.TRANSPORT, None, SHA1)) + " udp=other", "AH does not ride in UDP"),
        (add_line(Portion(Mode.TRANSPORT, None, SHA1)) + " ahspi=7", "AH alone has its SPI in spi="),
        ("add sa spi=1 src=1.2.3.4 dst=1.2.3.5 dir=in encryption=DES_CBC key=00", "ESP needs integrity="),
        (add_line(ESP) + " portions=3", "portions needs a number from 1 to 2, got 3"),
        (add_line(ESP).replace("version=1", "version=3"), "version needs a number from 1 to 2, got 3"),
        (add_line(ESP) + " inner-src=x", "inner-src needs an address or a network"),
        ("update 7 high=1", "holds no association"),
        ("update 7 low=1", "KEY=VALUE with one of the keys high"),
        ("encapsulation link=IEEE_802_3", "needs ipv4=on|off|same or ipv6="),
        ("encapsulation ipv4=maybe", "ipv4 needs one of on, off, same, got 'maybe'"),
        ("encapsulation ipv4=on link=TOKEN_RING", "link needs one of NULL, IEEE_802_3"),
        ("parameters ipsec-v1=some", "ipsec-v1 needs one of same, off, ah, esp, both"),
        ("impair nonsense", "no impairment is called 'nonsense'"),
        ("impair keys-swapped=2", "takes no N, 2 came"),
        ("seal 7 00", "holds no association"),
        ("seal 7 sec=1 00", "near it is seq="),
        ("send 7 tunnel=8", "send needs the frame in hex digits"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_sentence_with_the_place(line: str, text: str, script: Script) -> None:
    _, told = script("enable", line, status=2)
    assert text in told["error"]["message"], told
    assert told["line"] == 2
    assert set(told) == {"line", "command", "error"}


def test_in_text_a_fault_names_the_script_and_the_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "story.nic"
    file.write_text("# a comment\nenable\n\ndmp\n")
    assert run(["nic", "--script", str(file)]) == 2
    assert f"error: {file}, line 4: there is no command 'dmp'; near it is dump" in capsys.readouterr().out


def test_a_dump_in_text_shows_ah_esn_and_impairments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    pair = Portion(Mode.TRANSPORT, KEYS_V2[-1], SHA1, version=2, esn=True)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"enable\n{add_line(pair)}\ndump\nimpair\n"))
    assert run(["nic", "--script", "-", "--impair", "drops-frames=9"]) == 0
    out = capsys.readouterr().out
    for text in (
        "proto ah spi 0x3c000051 mode transport dir in", "auth-trunc hmac(sha1) redacted 96",
        "proto esp spi 0x5a000050 mode transport dir in", "aead rfc4106(gcm(aes)) redacted 128 (256 bits)",
        "flag esn seq-hi 0x7", "impaired by drops-frames=9", "drops-frames=9 (miniport): A frame is never indicated.",
    ):  # fmt: skip
        assert text in out
