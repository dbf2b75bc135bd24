"""The panel's commands by their effects: tables, dumps, differences, refusals; and nothing but clean errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nicsim.cli.nic import file_associations
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.impairments import BY_NAME
from nicsim.panel.answers import Reply
from nicsim.panel.commands import COMMANDS
from nicsim.panel.sa_words import SA_WORDS
from nicsim.panel.session import Panel
from nicsim.panel.state import OIDS
from nicsim.profile import load_profile
from nicsim.report.panel import reply_as_json, reply_as_text
from nicsim.wire.headers import format_address
from offload_oids import Abi, OffloadIpsecDeleteSa
from tests.builders import PAYLOAD, association, esp_frame, handed_down
from tests.panel.panel_md import PANEL_MD, panel_md

TRACE = Path(__file__).parents[2] / "traces" / "natt-3des-md5-server.pcap"
SAS = TRACE.with_suffix(".sas.json")
MD5_KEY = bytes(range(16)).hex()


def panel(profile: str = "ndis60", abi: Abi = Abi.X64) -> Panel:
    return Panel(load_profile(profile), abi, file_associations)


def ask(made: Panel, line: str) -> dict[str, Any]:
    """The result of a command that goes well."""
    reply = made.reply(line)
    assert reply is not None
    assert reply.error is None, reply.error
    assert reply_as_text(reply)
    result: dict[str, Any] = json.loads(reply_as_json(reply))["result"]
    return result


def refusal(made: Panel, line: str) -> str:
    reply = made.reply(line)
    assert reply is not None
    assert reply.error is not None, reply
    assert "\n" not in reply.error.message
    return reply.error.message


def add(spi: int = 0x1001, direction: str = "in", **changes: object) -> str:
    words = {
        "spi": hex(spi), "src": "198.51.100.7", "dst": "192.0.2.1", "dir": direction, "udp": "other",
        "integrity": "HMAC_MD5_96", "ikey": MD5_KEY,
    } | changes  # fmt: skip
    return "add sa " + " ".join(f"{key}={value}" for key, value in words.items() if value is not None)


def enabled(profile: str = "ndis60", abi: Abi = Abi.X64) -> Panel:
    made = panel(profile, abi)
    assert ask(made, "enable") == {"enabled": True, "detail": ""}
    return made


# --- associations and parser entries -----------------------------------------------------------------------------


@pytest.mark.parametrize("abi", Abi)
@pytest.mark.parametrize("profile", ["ndis51", "ndis60", "reference"])
def test_two_associations_share_one_parser_entry_until_both_are_gone(profile: str, abi: Abi) -> None:
    made = enabled(profile, abi)
    first, second = ask(made, add(1)), ask(made, add(2))
    assert first["oid"] == second["oid"] == "OID_TCP_TASK_IPSEC_ADD_UDPESP_SA"
    assert first["parser_handle"] == second["parser_handle"]
    entry = next(one for one in ask(made, "dump parser")["parser"] if one["handle"])
    assert (entry["port"], entry["references"]) == (4500, 2)
    assert entry["associations"] == ["0x00000001", "0x00000002"]
    assert ask(made, f"delete {first['handle']}")["status"] == "SUCCESS"
    entry = next(one for one in ask(made, "dump parser")["parser"] if one["handle"])
    assert (entry["references"], entry["associations"]) == (1, ["0x00000002"])
    assert ask(made, "delete 2")["handle"] == second["handle"]
    assert not [one for one in ask(made, "dump parser")["parser"] if one["handle"]]
    assert ask(made, "dump sas")["sas"] == []


def test_a_full_table_keeps_the_third_association_in_software_with_the_reason() -> None:
    made = enabled("tiny")
    assert [ask(made, add(spi))["on_nic"] for spi in (1, 2)] == [True, True]
    third = ask(made, add(3))
    assert (third["on_nic"], third["reason"], third["rule"], third["status"]) == (
        False, "sa-table-full", "N-SA-23", "RESOURCES",
    )  # fmt: skip
    stats = ask(made, "dump stats")["stats"]
    assert (stats["used"]["inbound"], stats["capacity"]["inbound"], stats["in_software"]) == (2, 2, 1)
    (kept,) = [one for one in ask(made, "dump sas")["sas"] if one["handle"] is None]
    assert (kept["spi"], kept["reason"]) == ("0x00000003", "sa-table-full")
    ask(made, "delete 1")
    assert ask(made, add(3))["on_nic"]  # the second try takes the place of the first
    assert [one["spi"] for one in ask(made, "dump sas")["sas"]] == ["0x00000002", "0x00000003"]


def test_one_parser_row_is_full_with_a_second_port() -> None:
    made = enabled("tiny")
    assert ask(made, add(1))["on_nic"]
    assert ask(made, add(2, port=4501, sport=4500))["reason"] == "parser-table-full"
    assert ask(made, add(3, udp="none"))["parser_handle"] is None


def test_nothing_is_offloaded_before_enable_and_disable_keeps_what_is() -> None:
    made = panel()
    assert ask(made, add(1))["reason"] == "offload-not-enabled"
    assert ask(made, "enable")["enabled"]
    assert refusal(made, "enable").startswith("offload is enabled already")
    assert ask(made, add(1))["on_nic"]
    assert ask(made, "disable") == {"enabled": False, "detail": ""}
    assert [one["spi"] for one in ask(made, "dump sas")["sas"]] == ["0x00000001"]
    assert ask(made, f"feed {TRACE} 13")["reason"] == "not-enabled"
    assert ask(made, "enable")["enabled"]


@pytest.mark.parametrize("profile", ["ndis51", "ndis60"])
def test_enabling_again_works_after_disabling_in_every_version(profile: str) -> None:
    made = enabled(profile)
    ask(made, "disable")
    assert ask(made, "enable") == {"enabled": True, "detail": ""}


def test_a_file_is_loaded_for_one_host() -> None:
    made = enabled()
    loaded = ask(made, f"load {SAS} local=203.0.113.2")
    assert [(one["direction"], one["on_nic"]) for one in loaded["associations"]] == [("in", True), ("out", True)]
    other = ask(enabled(), f"load {SAS} local=192.0.2.9")
    assert (other["associations"], other["skipped"]) == ([], 2)


def test_a_host_behind_a_nat_is_loaded_as_it_knows_itself() -> None:
    client, made = TRACE.with_name("natt-aes128-sha1-client.pcap"), enabled("reference")
    sas = client.with_suffix(".sas.json")
    outside = ask(made, f"load {sas} local=203.0.113.1")["associations"]
    assert [one["reason"] for one in outside if one["direction"] == "in"] == ["port-not-parsed-by-v2"]
    made = enabled("reference")
    inside = ask(made, f"load {sas} local=203.0.113.1 as=10.0.0.2 port=4500")["associations"]
    assert [one["on_nic"] for one in inside] == [True, True]
    assert ask(made, f"feed {client} 13")["reason"] == "opened"


def test_what_an_esp_sa_file_leaves_open_has_to_be_said(tmp_path: Path) -> None:
    file = tmp_path / "esp_sa"
    file.write_text(f'"IPv4","198.51.100.7","192.0.2.1","0x1001","NULL","","HMAC-MD5-96 [RFC2403]","0x{MD5_KEY}"\n')
    made = enabled()
    assert "say mode=tunnel|transport" in refusal(made, f"load {file} local=192.0.2.1")
    assert "say udp=none|other|ike" in refusal(made, f"load {file} local=192.0.2.1 mode=transport")
    (one,) = ask(made, f"load {file} local=192.0.2.1 mode=transport udp=ike")["associations"]
    assert one["on_nic"]
    (line,) = ask(made, "dump sas")["sas"]
    assert (line["mode"], line["encapsulation"], line["dst_port"]) == ("transport", "ike", 500)


def test_an_spi_in_both_directions_needs_the_handle() -> None:
    made = enabled()
    ask(made, add(7))
    out = ask(made, add(7, "out"))
    assert out["handle"] in refusal(made, "delete 7")
    assert ask(made, f"delete handle={out['handle']}")["spi"] == "0x00000007"
    assert ask(made, "delete spi=7")["status"] == "SUCCESS"


# --- reset and power ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["ndis51", "reference"])
def test_associations_and_handles_outlive_a_reset(profile: str) -> None:
    made = enabled(profile)
    ask(made, f"load {SAS} local=203.0.113.2")
    ask(made, "mark before")
    assert ask(made, "reset") == {"status": "SUCCESS", "power": "D0", "reason": None, "rule": None, "detail": ""}
    same = ask(made, "diff before")
    assert (same["added"], same["removed"], same["changed"]) == ([], [], [])
    assert ask(made, f"feed {TRACE} 13")["reason"] == "opened"


def test_a_nic_in_low_power_opens_nothing_until_it_is_back() -> None:
    made = enabled()
    ask(made, f"load {SAS} local=203.0.113.2")
    ask(made, "mark before")
    assert ask(made, "power d3")["power"] == "D3"
    assert {"what": "nic: power", "before": "D0", "after": "D3"} in ask(made, "diff before")["changed"]
    assert ask(made, f"feed {TRACE} 13")["reason"] == "not-enabled"
    assert ask(made, add(1))["reason"] == "low-power"
    assert ask(made, "dump stats")["stats"]["power"] == "D3"
    assert (ask(made, "power D0")["status"], ask(made, f"feed {TRACE} 13")["reason"]) == ("SUCCESS", "opened")


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_query_is_answered_with_members_by_name() -> None:
    answer = ask(panel("reference"), "query OID_TCP_OFFLOAD_CURRENT_CONFIG")
    (structure,) = answer["structures"]
    members = {one["name"]: one["value"] for one in structure["members"]}
    assert (answer["status"], structure["structure"]) == ("SUCCESS", "NDIS_OFFLOAD_REVISION_2")
    assert members["IPsecV2.SaOffloadCapacity"] == 8192
    task = ask(panel("ndis51"), "query oid_tcp_task_offload")["structures"]
    assert [one["structure"] for one in task] == ["NDIS_TASK_OFFLOAD_HEADER", "NDIS_TASK_IPSEC"]


def test_a_raw_request_acts_and_its_fault_is_told(tmp_path: Path) -> None:
    made = enabled(abi=Abi.X86)
    handle = int(ask(made, add(1, udp="none"))["handle"], 16)
    file = tmp_path / "request.txt"
    file.write_text(OffloadIpsecDeleteSa(handle).pack(Abi.X86).hex(" "))
    short = ask(made, "oid OID_TCP_TASK_IPSEC_DELETE_SA 0x11")
    assert (short["status"], short["bytes_needed"], short["rule"]) == ("INVALID_LENGTH", 4, "A-1")
    assert ask(made, f"oid OID_TCP_TASK_IPSEC_DELETE_SA {file}")["status"] == "SUCCESS"
    assert ask(made, "dump sas")["sas"] == []
    again = ask(made, f"oid OID_TCP_TASK_IPSEC_DELETE_SA {file}")
    assert (again["status"], again["reason"]) == ("INVALID_DATA", "unknown-sa-handle")
    counted = ask(made, "counters")["requests"]
    assert counted["OID_TCP_TASK_IPSEC_DELETE_SA SUCCESS"] == 1
    assert counted["OID_TCP_TASK_IPSEC_DELETE_SA INVALID_LENGTH"] == 1


# --- frames ------------------------------------------------------------------------------------------------------


def test_a_captured_frame_is_opened_and_counted_on_its_association() -> None:
    made = enabled()
    assert ask(made, f"feed {TRACE} 13")["reason"] == "no-parser-entry"
    handle = ask(made, f"load {SAS} local=203.0.113.2")["associations"][0]["handle"]
    opened = ask(made, f"feed {TRACE} 13")
    assert (opened["reason"], opened["handle"], opened["parser_port"]) == ("opened", handle, 4500)
    assert (opened["crypto_done"], opened["crypto_status"]) == (True, "CRYPTO_SUCCESS")
    assert bytes.fromhex(opened["plaintext"])[:1] == b"\x45"
    every = ask(made, f"feed {TRACE} all")
    assert (every["frames"], every["reasons"]["opened"], every["reasons"]["ike"]) == (116, 51, 6)
    inbound = next(one for one in ask(made, "dump sas")["sas"] if one["direction"] == "in")
    assert (inbound["packets"], inbound["failed"]) == (52, 0)


def words_of(sa: SecurityAssociation) -> str:
    """The `add sa` of an association in UDP."""
    return add(
        sa.spi,
        "in" if sa.inbound else "out",
        src=format_address(sa.src),
        dst=format_address(sa.dst),
        mode=sa.mode.value,
        encryption=sa.keys.encryption.value,
        key=sa.keys.encryption_key.hex(),
        integrity=sa.keys.integrity.value,
        ikey=sa.keys.integrity_key.hex(),
    )


def test_a_sealed_frame_opens_and_a_damaged_one_is_counted_as_failed() -> None:
    sa, made = association(), enabled()
    assert ask(made, words_of(sa))["on_nic"]
    frame = esp_frame(sa)
    opened = ask(made, f"frame {frame.hex()}")
    assert opened["reason"] == "opened"
    assert bytes.fromhex(opened["plaintext"]).startswith(PAYLOAD)
    failed = ask(made, f"frame {frame[:-1].hex()} {frame[-1] ^ 1:02x}")
    assert (failed["reason"], failed["plaintext"]) == ("icv-wrong", None)
    (line,) = ask(made, "dump sas")["sas"]
    assert (line["packets"], line["failed"]) == (2, 1)


def test_a_frame_of_the_host_is_sealed_the_same_way_in_every_session() -> None:
    sa, sent = association(inbound=False), []
    for _ in range(2):
        made = enabled()
        assert ask(made, words_of(sa))["on_nic"]
        sent.append(ask(made, f"send {sa.spi:#x} {handed_down(sa).hex()}"))
        assert ask(made, "counters")["sent"] == {"sealed": 1}
    assert sent[0] == sent[1]
    assert (sent[0]["status"], sent[0]["reason"]) == ("SUCCESS", "sealed")
    assert len(sent[0]["frame"]) == 2 * len(handed_down(sa))
    assert sent[0]["frame"] != handed_down(sa).hex()


# --- moments and keys --------------------------------------------------------------------------------------------


def test_a_difference_names_what_came_what_went_and_what_changed() -> None:
    made = enabled()
    assert ask(made, "mark empty") == {"name": "empty", "associations": 0, "parser_entries": 0}
    handle = ask(made, f"load {SAS} local=203.0.113.2")["associations"][0]["handle"]
    ask(made, "mark loaded")
    ask(made, f"feed {TRACE} 13")
    came = ask(made, "diff empty loaded")
    assert f"sa in 0x570e5e39 handle {handle} slot 0" in came["added"]
    assert "parser other 4500" in came["added"]
    assert came["removed"] == []
    changed = ask(made, "diff loaded")["changed"]
    assert {"what": f"sa in 0x570e5e39 handle {handle} slot 0: packets", "before": 0, "after": 1} in changed
    assert {"what": "received: opened", "before": None, "after": 1} in changed
    ask(made, f"delete {handle}")
    went = ask(made, "diff loaded")
    assert went["removed"] == [f"sa in 0x570e5e39 handle {handle} slot 0", "parser other 4500"]
    same = ask(made, "diff now now")
    assert (same["added"], same["removed"], same["changed"]) == ([], [], [])


def test_keys_are_shown_only_where_they_are_asked_for() -> None:
    made = panel()
    secrets = [value for one in json.loads(SAS.read_text()) for value in (one["encryption_key"], one["integrity_key"])]
    lines = ["mark a", f"load {SAS} local=203.0.113.2", "enable", f"load {SAS} local=203.0.113.2", "dump", "diff a"]
    lines += ["counters", f"add sa spi=1 key={secrets[0]} bogus={secrets[0]}", f"add {secrets[0]}", secrets[0]]
    lines += [f"dump {secrets[0]}", f"add sa spi=1 src=1.1.1.1 dst=1.1.1.2 dir=in integrity={secrets[1]}"]
    told = "".join(
        look(reply) for line in lines if (reply := made.reply(line)) for look in (reply_as_json, reply_as_text)
    )
    assert not [secret for secret in secrets if secret in told]
    shown = reply_as_text(made.reply("dump sas --show-keys") or Reply(0, ""))
    assert all(f"0x{secret}" in shown for secret in secrets)


def test_a_dump_reads_like_ip_xfrm_state() -> None:
    made = enabled()
    ask(made, f"load {SAS} local=203.0.113.2")
    reply = made.reply("dump")
    assert reply is not None
    lines = reply_as_text(reply).splitlines()
    assert lines[:5] == [
        "src 203.0.113.1 dst 203.0.113.2",
        "    proto esp spi 0x570e5e39 mode tunnel dir in",
        "    auth-trunc hmac(md5) redacted 96",
        "    enc cbc(des3_ede) redacted (192 bits)",
        "    encap type espinudp sport 1024 dport 4500 addr 0.0.0.0 parser 4500",
    ]
    at = next(number for number, line in enumerate(lines) if line.startswith("parser port 4500 type other"))
    assert lines[at + 1] == "    spi 0x570e5e39"


# --- help and bad input ------------------------------------------------------------------------------------------


def test_help_shows_how_to_write_every_command() -> None:
    shown = ask(panel(), "help")["commands"]
    assert [one["name"] for one in shown] == ["help", *COMMANDS]
    assert all(one["usage"].startswith(one["name"]) and one["example"].startswith(one["name"]) for one in shown)
    (one,) = ask(panel(), "HELP dump")["commands"]
    assert "--show-keys" in one["usage"]


def test_the_page_of_the_panel_is_true() -> None:
    assert PANEL_MD.read_text(encoding="utf-8") == panel_md(), "write it again: python -m tests.panel.panel_md"


def test_the_profile_is_what_the_card_reports() -> None:
    assert ask(panel("tiny"), "profile")["tables"] == {"inbound": 2, "outbound": 2, "parser": 1}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("frobnicate", "no command 'frobnicate'"),
        ("help frobnicate", "no command 'frobnicate'"),
        ("enable now", "needs: enable"),
        ("disable 1", "needs: disable"),
        ("profile x", "needs: profile"),
        ("counters x", "needs: counters"),
        ("quit now", "needs: quit"),
        ("reset now", "needs: reset"),
        ("power", "needs: power"),
        ("power D4", "power needs one of D0, D1, D2, D3"),
        ("add", "needs: add sa"),
        ("add sa", "add sa needs spi="),
        ("add sa spi=1", "add sa needs src="),
        (add(0), "spi needs a number from 1"),
        (add(1, src="x"), "src needs an IPv4 or IPv6 address"),
        (add(1, src="::1"), "two addresses of one family"),
        (add(1, "up"), "dir needs one of in, out"),
        (add(1, udp="tcp"), "udp needs one of none, other, ike"),
        (add(1, mode="beet"), "mode needs one of"),
        (add(1, port=0), "port needs a number from 1 to 65535"),
        (add(1, ikey="00"), "HMAC_MD5_96 key needs 16 bytes, 1 came"),
        (add(1, ikey="0"), "two hex digits"),
        (add(1, ikey="xy"), "ikey needs hex digits"),
        (add(1, encryption="ROT13"), "encryption needs one of NULL"),
        (add(1) + " spi=2", "spi= is given twice"),
        (add(1) + " color=red", "needs KEY=VALUE with one of the keys spi, src"),
        ("load", "needs: load SAFILE"),
        ("load nowhere", "load needs local=ADDR"),
        ("load nowhere local=192.0.2.1", "cannot be read"),
        (f"load {SAS} local=203.0.113.2 as=x", "as needs an IPv4 or IPv6 address"),
        (f"load {SAS} local=203.0.113.2 as=::1", "two addresses of one family"),
        (f"load {SAS} local=203.0.113.2 port=0", "port needs a number from 1"),
        ("load a\0b local=192.0.2.1", "cannot be read"),
        ("delete", "needs: delete HANDLE|SPI"),
        ("delete x", "needs a number"),
        ("delete port=1", "needs HANDLE, SPI"),
        ("delete 0x77", "holds no association with handle or SPI 0x77"),
        ("query", "needs: query OID_NAME"),
        ("query OID_X", "the OID needs one of"),
        ("oid OID_OFFLOAD_ENCAPSULATION", "needs: oid"),
        ("oid OID_OFFLOAD_ENCAPSULATION nowhere", "cannot be read"),
        ("oid OID_OFFLOAD_ENCAPSULATION a\0b", "cannot be read"),
        ("oid OID_OFFLOAD_ENCAPSULATION 0xa", "two hex digits"),
        ("feed x", "needs: feed"),
        ("feed nowhere 1", "nowhere"),
        ("feed - all", "feed needs a file"),
        (f"feed {TRACE} 117", "has 116 frames, so there is no frame 117"),
        (f"feed {TRACE} one", "FRAME needs a number"),
        ("frame", "needs: frame HEX"),
        ("frame zz", "needs hex digits"),
        ("send 1", "needs: send"),
        ("send 1 00", "holds no association"),
        ("dump everything", "dump needs sas, parser, stats or all"),
        ("mark", "needs: mark NAME"),
        ("mark now", "a short name other than now"),
        ("diff", "needs: diff"),
        ("diff a", "there is no mark 'a'; there are none"),
        ("add 'sa", "a quote is opened and not closed"),
    ],
)
def test_bad_input_of_each_command_is_one_line_and_changes_nothing(line: str, text: str) -> None:
    made = enabled()
    before = ask(made, "dump")
    assert text in refusal(made, line)
    assert ask(made, "dump") == before
    assert not made.over


def test_sending_needs_an_outbound_association_on_the_nic() -> None:
    made = enabled()
    ask(made, add(1))
    for command in ("send", "seal"):
        assert "need an outbound association" in refusal(made, f"{command} 1 00")


def test_empty_lines_and_comments_are_no_commands_but_are_counted() -> None:
    made = panel()
    assert [made.reply(line) for line in ("", "  \n", "# add", "  # x")] == [None] * 4
    reply = made.reply("counters")
    assert reply is not None
    assert reply.line == 5


def test_quit_ends_the_session() -> None:
    made = panel()
    ask(made, "quit")
    assert made.over


WORDS = st.one_of(
    st.sampled_from([*COMMANDS, *OIDS, "sa", "all", "now", "handle=0x10008", "spi=1", "--show-keys", "''", "0x1001"]),
    st.sampled_from(SA_WORDS).flatmap(lambda key: st.sampled_from([f"{key}=", f"{key}=1", f"{key}=in", f"{key}=::1"])),
    st.binary(max_size=80).map(lambda raw: f"0x{raw.hex()}"),
    st.text(max_size=12),
)
LINES = st.one_of(
    st.lists(WORDS, max_size=6).map(" ".join),
    st.tuples(st.sampled_from(list(COMMANDS)), st.lists(WORDS, max_size=4)).map(
        lambda two: " ".join([two[0], *two[1]])
    ),
    st.tuples(st.sampled_from(list(OIDS)), st.binary(max_size=200)).map(lambda two: f"oid {two[0]} 0x{two[1].hex()}"),
    st.binary(max_size=120).map(lambda raw: f"frame {raw.hex()}"),
    st.integers(0, 5).map(add),
    st.tuples(
        st.integers(1, 5), st.sampled_from(["in", "out"]), st.booleans(), st.integers(0, 2), st.integers(1, 2)
    ).map(
        lambda five: add(
            five[0],
            five[1],
            udp="none",
            ah="HMAC_MD5_96",
            ahkey=MD5_KEY,
            ahspi=five[0] + 8 if five[2] else None,
            **({} if five[2] else {"integrity": None, "ikey": None}),
            esn=five[3] or None,
            portions=five[4],
        )
    ),
    st.sampled_from(list(BY_NAME)).map(lambda name: f"impair {name}"),
    st.sampled_from(["encapsulation ipv4=on", "parameters ipsec-v2=off", "filter directed", "impair none", "poll"]),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.binary(max_size=40)).map(
        lambda three: f"seal {three[0]} tunnel={three[1]} {three[2].hex()}"
    ),
    st.tuples(st.integers(1, 5), st.binary(max_size=40)).map(lambda two: f"seal {two[0]} {two[1].hex()}"),
    st.integers(1, 5).map(lambda spi: f"update {spi} high=7"),
)


@pytest.mark.parametrize("profile", ["ndis51", "reference", "tiny"])
@settings(max_examples=150, deadline=None)
@given(lines=st.lists(LINES, max_size=12))
def test_whatever_is_typed_is_answered_or_refused_in_one_line(profile: str, lines: list[str]) -> None:
    made = panel(profile)
    for line in ["enable", *lines, "dump", "diff now"]:
        reply = made.reply(line)
        if reply is not None:
            assert (reply.answer is None) != (reply.error is None)
            assert "\n" not in reply_as_json(reply)
            assert reply_as_text(reply)
