"""Profiles: the presets say what their comments say, and whatever is wrong becomes one line."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nicsim.capabilities import (
    Keywords,
    Losses,
    MakeRoom,
    NdisVersion,
    OtherTasks,
    Readings,
    Version1Claims,
    Version2Claims,
)
from nicsim.errors import InputError
from nicsim.profile import DEFAULT_PROFILE, ReadingChoices, load_profile, parse_profile, preset_names, profile_faults
from offload_oids.task_offload import NdisTaskTcpIpChecksum, NdisTaskTcpLargeSend, TaskChecksumV4, TaskChecksumV6

GOOD = """
name = "x"
ndis = "6.1"
encapsulations = ["IEEE_802_3"]
[version1]
encryption = ["3DES"]
integrity = ["SHA_1"]
[version2]
encryption = ["AES_CBC_128"]
authentication = ["SHA_256"]
sa_capacity = 8
"""


def test_the_presets_are_kinds_of_cards() -> None:
    assert preset_names() == [
        "ndis51", "ndis60", "ndis61", "netdevsim", "nfp-class", "reference", "shared-address", "tiny",
    ]  # fmt: skip
    assert DEFAULT_PROFILE == "reference"
    old, new, both = (load_profile(name) for name in ("ndis51", "ndis61", "reference"))
    versions = [NdisVersion.NDIS_5_1, NdisVersion.NDIS_6_1, NdisVersion.NDIS_6_1]
    assert [profile.ndis for profile in (old, new, both)] == versions
    assert (old.version2, new.version1) == (None, None)
    every = Version1Claims(udp_esp=0xFF, ah=True, ah_esp_combined=True, transport_tunnel_combined=True)
    assert old.version1 == every
    assert both.version1 == replace(every, ipv4_options=True)
    v2 = Version2Claims(
        authentication=0x3F, encryption=0x1FF, sa_capacity=2048, ip_options=True, extension_headers=True, udp_esp=15,
        ah=True, ah_esp_combined=True, transport_tunnel_combined=True,
        lso_supported=True, tcp_checksum=True, udp_checksum=True, extended_sequence_numbers=True,
    )  # fmt: skip
    assert new.version2 == v2
    assert both.version2
    assert both.version2.sa_capacity == 8192
    assert (old.inbound_rows, old.outbound_rows, old.parser_rows) == (1024, 1024, 16)
    assert {profile.encapsulations for profile in (old, new, both)} == {0x7}
    assert {profile.readings for profile in (old, new, both)} == {Readings()}


def test_each_member_of_a_profile_reaches_the_capabilities() -> None:
    text = """
name = "own"
about = "what it is"
ndis = "6.1"
encapsulations = ["NULL", "IEEE_LLC_SNAP_ROUTED"]
header_split = 99
[tables]
inbound = 1
outbound = 2
parser = 3
address = 4
make_room = "least-recently-used"
[timing]
row_ticks = 5
[loss]
on_reset = true
on_d3 = true
[keywords]
ipsec_offload_v1_ipv4 = 0
ipsec_offload_v2 = 1
ipsec_offload_v2_ipv4 = 2
[version1]
encryption = ["DES"]
integrity = ["MD5"]
modes = ["tunnel"]
directions = ["send"]
ipv4_options = true
udp_esp = ["IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER"]
[version2]
encryption = ["NONE", "3_DES_CBC"]
authentication = ["AES_GCM_256"]
modes = ["transport"]
sa_capacity = 5
ipv6 = false
ipv4_options = true
ipv6_extension_headers = false
udp_esp = ["TUNNEL"]
lso_supported = true
udp_checksum = true
[checksums]
ipv4_send = ["IP", "TCP_OPTIONS"]
ipv4_receive = ["TCP"]
ipv6_send = ["UDP"]
ipv6_receive = ["IP_OPTIONS"]
[large_send]
max_offload_size = 4096
min_segment_count = 3
tcp_options = false
ipv6 = true
[readings]
"""
    text += "\n".join(f"{name} = false" for name in ReadingChoices.model_fields)
    made = parse_profile(text, "own.toml")
    assert made.header_split == 99
    assert (made.name, made.about, made.encapsulations) == ("own", "what it is", 0x11)
    assert (made.inbound_rows, made.outbound_rows, made.parser_rows, made.address_rows) == (1, 2, 3, 4)
    assert (made.make_room, made.row_ticks, made.losses) == (MakeRoom.LEAST_RECENTLY_USED, 5, Losses(True, True))
    assert made.keywords == Keywords(0, 1, 2)
    assert made.version1 == Version1Claims(
        des=True, triple_des=False, null_esp=False, md5=True, sha_1=False, transport=False, tunnel=True,
        send=True, receive=False, ipv4_options=True, udp_esp=0x40,
    )  # fmt: skip
    assert made.version2 == Version2Claims(
        authentication=0x20, encryption=0x5, sa_capacity=5, ipv6=False, ip_options=True, extension_headers=False,
        transport=True, tunnel=False, udp_esp=2, lso_supported=True, udp_checksum=True,
    )  # fmt: skip
    assert made.other_tasks == OtherTasks(
        NdisTaskTcpIpChecksum(
            TaskChecksumV4(ip_checksum=1, tcp_options_supported=1),
            TaskChecksumV4(tcp_checksum=1),
            TaskChecksumV6(udp_checksum=1),
            TaskChecksumV6(ip_options_supported=1),
        ),
        NdisTaskTcpLargeSend(0, 4096, 3, 0, 1),
        large_send_ipv6=True,
    )
    # Every disputed reading can be chosen, and its default is the digest's.
    assert [field.name for field in fields(Readings)] == list(ReadingChoices.model_fields)
    assert made.readings == Readings(*[False] * len(fields(Readings)))
    plain = parse_profile(GOOD, "x")
    assert plain.readings == Readings()
    assert (plain.address_rows, plain.make_room, plain.row_ticks, plain.losses) == (0, MakeRoom.OFF, 0, Losses())


@pytest.mark.parametrize("reading", [field.name for field in fields(Readings)])
def test_each_reading_can_be_chosen_by_its_name(reading: str) -> None:
    made = parse_profile(GOOD + f"[readings]\n{reading} = false", "x")
    assert made.readings == replace(Readings(), **{reading: False})


WRONG = [
    ("", "name: Field required"),
    ("name =", "is no TOML"),
    (GOOD.replace('"6.1"', '"6.2"'), "ndis: Input should be '5.1', '6.0' or '6.1'"),
    (GOOD.replace('"6.1"', "6.1"), "ndis: Input should be"),
    (GOOD.replace('"6.1"', '"6.0"'), "version2 needs ndis 6.1, not 6.0"),
    (GOOD.replace('"6.1"', '"5.1"'), "version2 needs ndis 6.1, not 5.1"),
    (GOOD.replace('"IEEE_802_3"', '"TOKEN_RING"'), "'TOKEN_RING' must be one of"),
    (GOOD.replace('"3DES"', '"AES"'), "version1.encryption.0: Input should be"),
    (GOOD.replace('"SHA_1"', '"SHA_512"'), "version1.integrity.0: Input should be"),
    (GOOD.replace('"AES_CBC_128"', '"AES_CTR"'), "'AES_CTR' must be one of"),
    (GOOD.replace('"SHA_256"', '"SHA_512"'), "'SHA_512' must be one of"),
    (GOOD.replace("sa_capacity = 8", "sa_capacity = -1"), "version2.sa_capacity: Input should be greater"),
    (GOOD.replace("sa_capacity = 8", f"sa_capacity = {1 << 70}"), "version2.sa_capacity: Input should be"),
    (GOOD.replace("sa_capacity = 8", 'sa_capacity = "8"'), "version2.sa_capacity: Input should be a valid integer"),
    (GOOD.replace("sa_capacity = 8", ""), "version2.sa_capacity: Field required"),
    (GOOD.replace("sa_capacity = 8", "sa_capacity = true"), "version2.sa_capacity: Input should be"),
    ("header_split = 65536" + GOOD, "header_split: Input should be less"),
    (
        "header_split = 1" + GOOD.replace('"6.1"', '"6.0"').partition("[version2]")[0],
        "header_split needs ndis 6.1, not 6.0",
    ),
    (GOOD + "lso_supported = true", "version2.lso_supported needs a large_send table"),
    (GOOD + "[large_send]", "large_send.max_offload_size: Field required"),
    (GOOD + "[large_send]\nmax_offload_size = 65536", "large_send.max_offload_size: Input should be less"),
    (GOOD + "[checksums]\nipv4_send = ['SCTP']", "checksums.ipv4_send.0: Input should be"),
    (GOOD + "esn = true", "version2.esn: Extra inputs are not permitted"),
    (GOOD + '"a\\nb" = 1', "version2.a\\nb: Extra inputs are not permitted"),
    (GOOD + "[tables]\ninbound = 16777217", "tables.inbound: Input should be less"),
    (
        GOOD + '[tables]\nmake_room = "always"',
        "tables.make_room: Input should be 'off' or 'least-recently-used', not 'al",
    ),
    (GOOD + "[timing]\nrow_ticks = -1", "timing.row_ticks: Input should be greater than or equal to 0, not -1"),
    (GOOD + "[timing]\nrow_ticks = 101", "timing.row_ticks: Input should be less than or equal to 100, not 101"),
    (GOOD + "[timing]\nrow_ticks = 1.5", "timing.row_ticks: Input should be a valid integer, not 1.5"),
    (GOOD + "[timing]\npolls = 1", "timing.polls: Extra inputs are not permitted"),
    (GOOD + '[loss]\non_d3 = "yes"', "loss.on_d3: Input should be a valid boolean, not 'yes'"),
    (GOOD + "[keywords]\nipsec_offload_v2 = 4", "keywords.ipsec_offload_v2: Input should be less than or equal to 3"),
    (GOOD + "[loss]\non_d2 = true", "loss.on_d2: Extra inputs are not permitted"),
    (GOOD + f'[tables]\nmake_room = "{"x" * 999}"', f"not '{'x' * 39}..."),
    (GOOD + '[readings]\nkey_order = "x"', "readings.key_order: Extra inputs are not permitted"),
    (GOOD + "[readings]\nmask_zero_is_any = 1", "readings.mask_zero_is_any: Input should be a valid boolean"),
    (GOOD.replace("[version1]", '[version1]\nudp_esp = ["ALL"]'), "'ALL' must be one of IPSEC_TPT_UDPESP"),
    (GOOD.replace("[version1]", '[version1]\nmodes = ["both"]'), "version1.modes.0: Input should be"),
    ('name = "a"\nname = "b"', "is no TOML"),
    ("a = " + "9" * 5000, "is no TOML"),
    ("a = " + "[" * 5000, "is no TOML"),
    ("\0", "is no TOML"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=range(len(WRONG)))
def test_whatever_is_wrong_is_one_line_that_says_where_and_what(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_profile(text, "card.toml")
    line = str(caught.value)
    assert line.startswith("card.toml: ")
    assert message in line
    assert len(line.splitlines()) == 1


def test_a_file_is_read_and_one_that_cannot_be_says_so(tmp_path: Path) -> None:
    good = tmp_path / "own.toml"
    good.write_text(GOOD)
    assert load_profile(str(good)) == parse_profile(GOOD, "own.toml")
    (tmp_path / "latin1.toml").write_bytes(b'name = "\xe9"')
    (tmp_path / "huge.toml").write_bytes(b"#" * ((1 << 20) + 1))
    for name, message in (
        ("none.toml", "is neither a file nor one of ndis51, ndis60, ndis61"),
        ("", "is neither a file nor one of ndis51, ndis60, ndis61"),
        ("latin1.toml", "latin1.toml: cannot be read: 'utf-8' codec can't decode byte 0xe9"),
        ("huge.toml", "huge.toml: a profile needs at most 1048576 bytes"),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            load_profile(str(tmp_path / name))
        assert len(str(caught.value).splitlines()) == 1


WORDS = st.sampled_from(
    [
        *re.findall(r"\S+", GOOD),
        *Readings.__slots__,
        *("[", "]", "{", "}", "=", "\n", '"', "'''", "1", "-1", "1e9", "nan", "1979-05-27", "true"),
        *("[readings]", "[tables]", "[[version1]]", "version1.x", "\\ud800", "\u2028", "9" * 4400),
    ]
)


def refusal(text: str) -> str | None:
    """The one line that a text is refused with, if it is."""
    try:
        parse_profile(text, "fuzz")
    except InputError as error:
        return str(error)
    return None


@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=40).map(" ".join)))
@example("a = " + "9" * 4301)
@example("d = 0000-00-00")
@settings(max_examples=500)
def test_no_text_gives_anything_but_a_profile_or_one_line(text: str) -> None:
    line = refusal(text)
    assert line is None or len(line.splitlines()) == 1


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 1 << 30).map(str), st.sampled_from(['"x"', "1.5", '"DES"', "0xFF", "[]"])),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(map(str, items)) + "]"),
    max_leaves=4,
)
KEYS = sorted(set(re.findall(r"^(\w+) =", GOOD, re.MULTILINE)) | {"tables", "readings", "version1", "udp_esp", "modes"})


@given(st.sampled_from(KEYS), VALUES)
def test_no_value_of_a_member_gives_anything_but_a_profile_or_one_line(key: str, value: object) -> None:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    lines = [f"{key} = {text}" if line.startswith(f"{key} =") else line for line in GOOD.splitlines()]
    if f"{key} = {text}" not in lines:
        lines.insert(1, f"{key} = {text}")
    line = refusal("\n".join(lines))
    assert line is None or len(line.splitlines()) == 1


def test_the_example_says_everything_that_a_profile_can_say() -> None:
    text = (Path(__file__).parents[1] / "examples" / "own_card.toml").read_text()
    assert profile_faults(text, "own_card.toml") == []
    card = parse_profile(text, "own_card.toml")
    assert (card.address_rows, card.make_room, card.row_ticks) == (2, MakeRoom.LEAST_RECENTLY_USED, 3)
    assert (card.losses, card.readings) == (Losses(on_reset=True), Readings(mask_zero_is_any=False))
