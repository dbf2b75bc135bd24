"""Reading SA files: the two formats give the same SAs, and whatever is wrong becomes one line without a key."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import InputError
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.replay import sas
from nicsim.replay.sas import Marker, export_esp_sa, read_sa_file

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("s*/"))
KEY = "00112233445566778899aabbccddeeff"
AUTH_KEY = "f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3"
ENTRY: dict[str, Any] = {
    "spi": "0xaca0a9dd",
    "src": "203.0.113.1",
    "dst": "203.0.113.2",
    "mode": "tunnel",
    "udp_encap": True,
    "encryption": "AES_CBC",
    "encryption_key": KEY,
    "integrity": "HMAC_SHA1_96",
    "integrity_key": AUTH_KEY,
}
GCM: dict[str, Any] = ENTRY | {"encryption": "AES_GCM_16", "salt": "01020304", "integrity": None, "integrity_key": None}
LINE = (
    '"IPv4","203.0.113.1","203.0.113.2","0xaca0a9dd","AES-CBC [RFC3602]",'
    f'"0x{KEY}","HMAC-SHA-1-96 [RFC2404]","0x{AUTH_KEY}"'
)


@pytest.fixture
def read(tmp_path: Path):
    def read(content: object, name: str = "sas.json") -> list[sas.FileSa]:
        path = tmp_path / name
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_sa_file(path)

    return read


def refusal(read, content: object, name: str = "sas.json") -> str:
    with pytest.raises(InputError) as caught:
        read(content, name)
    message = str(caught.value)
    assert message.isprintable()
    assert KEY[:12] not in message
    assert AUTH_KEY[:12] not in message
    return message


# All formats


@pytest.mark.parametrize("folder", CAPTURES, ids=lambda folder: folder.name)
def test_all_files_of_every_capture_give_the_same_keys(folder: Path) -> None:
    ours, wiresharks, setkeys = (read_sa_file(folder / name) for name in ("sas.json", "esp_sa", "setkey.conf"))
    assert {(sa.spi, sa.src, sa.dst): sa.keys for sa in ours} == {
        (sa.spi, sa.src, sa.dst): sa.keys for sa in wiresharks
    }
    # setkey text says how the packets ride; where a NAT moved, it has the ports that came first.
    assert {(sa.spi, sa.src, sa.dst, sa.mode, sa.udp_encap, sa.dst_port): sa.keys for sa in ours} == {
        (sa.spi, sa.src, sa.dst, sa.mode, sa.udp_encap, sa.dst_port): sa.keys for sa in setkeys
    }
    assert len(ours) == len(json.loads((folder / "sas.json").read_text()))
    assert all(sa.udp_encap is True and sa.mode is not None and sa.src_port for sa in ours)
    assert all((sa.mode, sa.udp_encap, sa.marker, sa.src_port) == (None,) * 4 for sa in wiresharks)


@pytest.mark.parametrize("folder", CAPTURES, ids=lambda folder: folder.name)
def test_exported_lines_read_back_to_the_same_keys(read, folder: Path) -> None:
    ours = read_sa_file(folder / "sas.json")
    again = read(export_esp_sa(ours), "esp_sa")
    assert [(sa.spi, sa.src, sa.dst, sa.keys) for sa in ours] == [(sa.spi, sa.src, sa.dst, sa.keys) for sa in again]


def test_captures_were_found() -> None:
    assert len(CAPTURES) == 5


@pytest.mark.parametrize(
    ("trace", "folder", "capture"),
    [
        ("natt-3des-md5-server", "s2-ikev1-main-rsa-3des-md5-nat", "server-side.pcap"),
        ("natt-aes128-sha1-client", "s1-ikev1-main-psk-aes128-sha1-nat", "client-side.pcap"),
    ],
)
def test_the_traces_that_ship_are_those_captures(trace: str, folder: str, capture: str) -> None:
    traces, tested = Path(__file__).parents[2] / "traces", Path(__file__).parents[1] / "captures" / folder
    assert (traces / f"{trace}.pcap").read_bytes() == (tested / capture).read_bytes()
    shipped, original = read_sa_file(traces / f"{trace}.sas.json"), read_sa_file(tested / "sas.json")
    assert [replace(sa, where="") for sa in shipped] == [replace(sa, where="") for sa in original]
    shipped_facts = json.loads((traces / f"{trace}.expect.json").read_text())
    facts = json.loads((tested / "expect.json").read_text())
    assert shipped_facts["captures"] == {f"{trace}.pcap": facts["captures"][capture]}
    assert shipped_facts["replay_window"] == facts["replay_window"]


def test_no_key_in_the_repr(read) -> None:
    for content in ([GCM], LINE):
        assert KEY[:12] not in repr(read(content))
        assert "1122" not in repr(read(content))


def test_a_byte_order_mark_and_carriage_returns_are_no_obstacle(read) -> None:
    assert len(read(b"\xef\xbb\xbf" + json.dumps([ENTRY]).encode())) == 1
    assert len(read(f"# made by hand\r\n\r\n{LINE}\r\n", "esp_sa")) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty, it needs at least one SA"),
        (" \n", "the file is empty, it needs at least one SA"),
        ("spi=1", "this is no JSON list of SAs, no Wireshark esp_sa file and no setkey text"),
        ("null", "this is no JSON list of SAs, no Wireshark esp_sa file and no setkey text"),
        (b"[\xff]", "not UTF-8 text at byte 1"),
        ("[{", "not valid JSON: Expecting property name enclosed in double quotes at line 1, column 3"),
        ("[NaN]", "not valid JSON: a number that no SA can have"),
        ("[" + "9" * 5000 + "]", "not valid JSON: a number that no SA can have"),
        ("[" * 200_000, "not a list of SAs: lists or objects are nested too deeply"),
        ('{"a":' * 200_000, "not a list of SAs: lists or objects are nested too deeply"),
        ({}, "needs a JSON list of SAs at the top, got an object"),
        ([], "the list is empty, it needs at least one SA"),
        ("# nothing\n", "there are only comments, it needs at least one SA"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_holds_no_list_is_refused(read, content: object, said: str) -> None:
    assert refusal(read, content) == f"sas.json: {said}"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none.json", "none.json: the SA file cannot be read: No such file or directory"),
        (tmp_path, f"{tmp_path.name}: the SA file cannot be read: Is a directory"),
        ("a\0b", r"a\x00b: the SA file cannot be read: not a path"),
        ("two\nlines", r"two\nlines: the SA file cannot be read: No such file or directory"),
    ):
        with pytest.raises(InputError) as caught:
            read_sa_file(path)
        assert str(caught.value) == said


def test_a_file_beyond_the_size_limit_is_refused(read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sas, "SIZE_LIMIT", 1024 * 1024)
    assert refusal(read, " " * (1024 * 1024 + 1)) == "sas.json: an SA file may have 1 MiB, this one is larger"


def test_the_same_sa_twice_is_refused(read) -> None:
    other = ENTRY | {"dst": "203.0.113.9"}
    assert len(read([ENTRY, other])) == 2
    said = "sas.json, entry 3: the same SPI 0xaca0a9dd, src and dst as entry 1"
    assert refusal(read, [ENTRY, other, ENTRY | {"spi": 0xACA0A9DD}]) == said
    said = "esp_sa, line 3: the same SPI 0xaca0a9dd, src and dst as line 1"
    assert refusal(read, f"{LINE}\n\n{LINE}", "esp_sa") == said


def test_what_is_wrong_with_setkey_text_names_file_and_line(read) -> None:
    add = f"add 10.0.0.1 10.0.0.2 esp 0x100 -E aes-cbc 0x{KEY} -A hmac-sha1 0x{AUTH_KEY};"
    [sa] = read(f"#!/usr/sbin/setkey -f\nflush;\n{add}\n", "setkey.conf")
    assert (sa.where, sa.mode, sa.udp_encap, sa.src_port) == ("setkey.conf, line 3", None, False, None)
    assert KEY[:12] not in repr(sa)
    said = "setkey.conf, line 2: the protocol needs to be esp or esp-udp here, got 'ah'"
    assert refusal(read, f"flush;\n{add.replace(' esp', ' ah')}", "setkey.conf") == said
    said = "setkey.conf, line 2: the same SPI 0x00000100, src and dst as line 1"
    assert refusal(read, f"{add}\n{add}", "setkey.conf") == said
    assert refusal(read, "flush;", "setkey.conf") == "setkey.conf: it adds no SA, it needs at least one"


# Our own format


def test_every_member_of_an_entry_is_read(read) -> None:
    [sa] = read(
        [
            ENTRY
            | {
                "src": "2001:db8::1",
                "dst": "2001:db8::2",
                "mode": "transport",
                "icv_octets": 12,
                "esn": True,
                "src_port": 1024,
                "dst_port": 500,
                "marker": "non-ike",
                "inner_src": ["10.0.0.2/32"],
                "inner_dst": "192.168.50.7/24",
                "seen": "never read",
                "comment": 1e300,
            }
        ]
    )
    assert sa.where == "sas.json, entry 1"
    assert sa.spi == 0xACA0A9DD
    assert (sa.src[:4], sa.dst[-1]) == (b"\x20\x01\x0d\xb8", 2)
    assert (sa.mode, sa.udp_encap, sa.marker, sa.esn) == (Mode.TRANSPORT, True, Marker.NON_IKE, True)
    assert (sa.src_port, sa.dst_port, sa.icv_octets) == (1024, 500, 12)
    assert (sa.inner_src, sa.inner_dst) == (("10.0.0.2/32",), ("192.168.50.0/24",))
    assert (sa.keys.encryption, sa.keys.integrity) == (Encryption.AES_CBC, Integrity.HMAC_SHA1_96)
    assert (sa.keys.encryption_key.hex(), sa.keys.integrity_key.hex()) == (KEY, AUTH_KEY)


@pytest.mark.parametrize("integrity", [None, "", "NONE"])
def test_gcm_takes_its_salt_apart_and_no_integrity(read, integrity: str | None) -> None:
    [sa] = read([GCM | {"integrity": integrity}])
    assert (sa.keys.integrity, sa.keys.salt, sa.icv_octets) == (Integrity.NONE, b"\1\2\3\4", 16)
    assert sa.keys.encryption_key.hex() == KEY


def test_null_encryption_needs_no_key(read) -> None:
    without = {member: value for member, value in ENTRY.items() if member != "encryption_key"}
    for entry in (without, without | {"encryption_key": None}, without | {"encryption_key": ""}):
        [sa] = read([entry | {"encryption": "NULL"}])
        assert (sa.keys.encryption, sa.keys.encryption_key) == (Encryption.NULL, b"")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encryption_key": "0011223344"}, "encryption_key needs 16, 24 or 32 bytes for AES_CBC, got 5"),
        ({"encryption_key": None}, "encryption_key needs 16, 24 or 32 bytes for AES_CBC, got 0"),
        ({"encryption": "DES_CBC"}, "encryption_key needs 8 bytes for DES_CBC, got 16"),
        ({"encryption_key": KEY + "x"}, "encryption_key needs hex digits, got something else among them"),
        ({"encryption_key": KEY + "0"}, "encryption_key needs an even number of hex digits, got 33"),
        ({"encryption_key": 1122334455667788}, "encryption_key needs hex digits in quotes, got a number"),
        ({"integrity_key": ""}, "integrity_key needs 20 bytes for HMAC_SHA1_96, got 0"),
        ({"integrity": None}, "integrity_key needs 0 bytes for NONE, got 20"),
        ({"salt": "01020304"}, "salt needs 0 bytes for AES_CBC, got 4"),
        ({"encryption": "AES_GCM_16"}, "salt is missing: AES_GCM_16 needs 4 bytes, apart from the key"),
        (GCM | {"salt": "0102"}, "salt needs 4 bytes for AES_GCM_16, got 2"),
        (GCM | {"integrity": "HMAC_SHA1_96", "integrity_key": AUTH_KEY}, "AES_GCM_16 makes its own ICV"),
        (
            {"encryption": "NULL", "encryption_key": "", "integrity": None, "integrity_key": None},
            "an association needs",
        ),
        (
            {"encryption": "AES"},
            "encryption needs one of NULL, DES_CBC, 3DES_CBC, AES_CBC, AES_GCM_8, AES_GCM_12, AES_GCM_16, got 'AES'",
        ),
        ({"encryption": KEY}, "AES_GCM_16, got '(32 characters)'"),
        ({"encryption": ["AES_CBC"]}, "got a list"),
        ({"integrity": 7}, "HMAC_SHA2_256_128, got a number"),
        ({"mode": "Tunnel"}, "mode needs one of tunnel, transport, got 'Tunnel'"),
        ({"mode": "a\nb\ud800"}, r"mode needs one of tunnel, transport, got 'a\nb\ud800'"),
        ({"mode": "z" * 200}, "z..."),
        ({"mode": None}, "mode needs one of tunnel, transport, got null"),
        ({"udp_encap": 1}, "udp_encap needs true or false, got a number"),
        ({"udp_encap": "true"}, "udp_encap needs true or false, got 'true'"),
        ({"esn": None}, "esn needs true or false, got null"),
        ({"spi": 0}, "spi needs a number from 1 to 4294967295, got one that is less"),
        ({"spi": 2**32}, "spi needs a number from 1 to 4294967295, got one that is more"),
        ({"spi": 10**4000}, "spi needs a number from 1 to 4294967295, got one that is more"),
        ({"spi": 1.0}, "spi needs a number, got a fraction"),
        ({"spi": True}, "spi needs a number, got a boolean"),
        ({"spi": "aca0a9dd"}, "spi needs 0x and up to 8 hex digits, or a number, got 'aca0a9dd'"),
        ({"spi": "0x" + KEY}, "spi needs 0x and up to 8 hex digits, or a number, got '(34 characters)'"),
        ({"src": "203.0.113"}, "src needs an IPv4 or IPv6 address, got '203.0.113'"),
        ({"dst": 3405803777}, "dst needs an IPv4 or IPv6 address, got a number"),
        ({"src": "fe80::1%eth0"}, "src needs an IPv4 or IPv6 address, got 'fe80::1%eth0'"),
        ({"src": "2001:db8::1"}, "src and dst need the same address family, got IPv4 and IPv6"),
        ({"src_port": 65536}, "src_port needs a number from 1 to 65535, got one that is more"),
        ({"dst_port": "4500"}, "dst_port needs a number, got '4500'"),
        ({"icv_octets": 16}, "icv_octets needs 12 for HMAC_SHA1_96, got 16"),
        (GCM | {"icv_octets": 12}, "icv_octets needs 16 for AES_GCM_16, got 12"),
        ({"inner_src": ["10.0.0.0/33"]}, "inner_src needs prefixes like 10.0.0.0/8, got '10.0.0.0/33'"),
        ({"inner_dst": {}}, "inner_dst needs prefixes like 10.0.0.0/8, got an object"),
        ({"marker": "ike"}, "marker needs one of none, non-ike, got 'ike'"),
        ({"marker": "non-ike", "udp_encap": False}, "marker non-ike needs udp_encap true, got false"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_a_wrong_entry_is_refused_in_one_line(read, change: dict[str, Any], said: str) -> None:
    second = ENTRY | {"spi": 256} | change
    message = refusal(read, [ENTRY, second])
    assert message.startswith("sas.json, entry 2: ")
    assert said in message


@pytest.mark.parametrize("member", [member for member in ENTRY if not member.endswith("_key")])
def test_a_required_member_that_is_missing_is_named(read, member: str) -> None:
    entry = {name: value for name, value in ENTRY.items() if name != member}
    assert refusal(read, [entry]) == f"sas.json, entry 1: {member} is missing"


def test_an_entry_that_is_no_object_is_refused(read) -> None:
    said = "sas.json, entry 2: needs an object with the members of an SA, got null"
    assert refusal(read, [ENTRY, None]) == said


# Wireshark's esp_sa


@pytest.mark.parametrize(
    ("names", "key_length", "expected"),
    [
        (("NULL", "HMAC-MD5-96 [RFC2403]"), 0, (Encryption.NULL, Integrity.HMAC_MD5_96)),
        (("TripleDES-CBC [RFC2451]", "HMAC-MD5-96 [RFC2403]"), 24, (Encryption.TRIPLE_DES_CBC, Integrity.HMAC_MD5_96)),
        (("TripleDes-CBC [RFC2451]", "NULL"), 24, (Encryption.TRIPLE_DES_CBC, Integrity.NONE)),
        (("DES-CBC [RFC2405]", "NULL"), 8, (Encryption.DES_CBC, Integrity.NONE)),
        (("AES-CBC [RFC3602]", "HMAC-SHA-256-128 [RFC4868]"), 32, (Encryption.AES_CBC, Integrity.HMAC_SHA2_256_128)),
        (("AES-GCM [RFC4106]", "NULL"), 20, (Encryption.AES_GCM_16, Integrity.NONE)),
        (
            ("AES-GCM [RFC4106]", "ANY 64 bit authentication [no checking]"),
            20,
            (Encryption.AES_GCM_8, Integrity.NONE),
        ),
        (("AES-GCM with 8 octet ICV [RFC4106]", "NULL"), 20, (Encryption.AES_GCM_8, Integrity.NONE)),
        (
            ("AES-GCM with 12 octet ICV [RFC4106]", "ANY 96 bit authentication [no checking]"),
            36,
            (Encryption.AES_GCM_12, Integrity.NONE),
        ),
        (("AES-GCM with 16 octet ICV [RFC4106]", "NULL"), 28, (Encryption.AES_GCM_16, Integrity.NONE)),
    ],
    ids=str,
)
def test_the_algorithms_of_wireshark(
    read, names: tuple[str, str], key_length: int, expected: tuple[Encryption, Integrity]
) -> None:
    key, integrity_key = bytes(range(key_length)), bytes(expected[1].key_length)
    line = f'"IPv4","*","","77","{names[0]}","0x{key.hex()}","{names[1]}","0x{integrity_key.hex()}"'
    [sa] = read(line, "esp_sa")
    assert (sa.keys.encryption, sa.keys.integrity) == expected
    assert sa.keys.encryption_key + sa.keys.salt == key
    assert len(sa.keys.salt) == expected[0].salt_length
    assert (sa.src, sa.dst, sa.spi) == (b"", b"", 77)
    assert read(export_esp_sa([sa]), "esp_sa")[0].keys == sa.keys


def test_keys_may_be_characters_escapes_or_an_odd_number_of_hex_digits(read) -> None:
    [sa] = read(LINE.replace(f"0x{KEY}", r"14 bytes and, \x22\\").replace(f"0x{AUTH_KEY}", "0X1" + "0" * 38), "esp_sa")
    assert sa.keys.encryption_key == b'14 bytes and, "\\'
    assert sa.keys.integrity_key == b"\x01" + bytes(19)


def test_spaces_around_commas_ipv6_and_extended_sequence_numbers(read) -> None:
    line = LINE.replace("IPv4", "ipv6").replace("203.0.113.1", "2001:db8::1").replace("203.0.113.2", "*")
    [sa] = read(line.replace('","', '" , "') + ' , "64-bit", "0x0000000A" ', "esp_sa")
    assert (len(sa.src), sa.dst, sa.esn, sa.sequence_high) == (16, b"", True, 10)
    assert export_esp_sa([sa]).endswith(',"64-bit","0000000a"\n')
    assert export_esp_sa([sa]).startswith('"IPv6","2001:db8::1","*","0xaca0a9dd",')
    [sa] = read(LINE + ',"32-bit"', "esp_sa")
    assert (sa.esn, sa.sequence_high) == (False, 0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"IPv4",', "", "and at most 2 more (length of the sequence number, its upper half), got 7"),
        ('"IPv4"', "IPv4", "field 1 needs double quotes around it and a comma before the next"),
        ('"203.0.113.1"', "203.0.113.1", "field 2 needs double quotes around it and a comma before the next"),
        ("IPv4", "IPv5", "protocol needs IPv4, IPv6 or ANY, got 'IPv5'"),
        ("IPv4", "IPv6", "src needs an IPv6 address, got '203.0.113.1'"),
        ("203.0.113.1", "203.0.*.*", "src needs one whole address, or * for any, got '203.0.*.*'"),
        ("203.0.113.2", "10.0.0.0/8", "dst needs one whole address, or * for any, got '10.0.0.0/8'"),
        ("0xaca0a9dd", "*", "the SPI needs 0x and up to 8 hex digits, or a number, got '*'"),
        ("0xaca0a9dd", "0x0", "the SPI needs a number from 1 to 4294967295, got one that is less"),
        ("AES-CBC [RFC3602]", "TWOFISH-CBC", "AES-GCM [RFC4106]; got 'TWOFISH-CBC'"),
        ("HMAC-SHA-1-96 [RFC2404]", "ANY 96 bit authentication [no checking]", "authentication needs one of NULL, "),
        ("HMAC-SHA-1-96 [RFC2404]", "HMAC-SHA-512-256 [RFC4868]", "got 'HMAC-SHA-512-256 [RFC4868]'"),
        (f"0x{KEY}", "0x0011223344", "AES_CBC key needs 16"),
        (f"0x{KEY}", f"0x{KEY}zz", "the encryption key needs hex digits after 0x, got something else among them"),
        ("AES-CBC [RFC3602]", "AES-GCM [RFC4106]", "beside AES-GCM [RFC4106] stands one of NULL, ANY 64 bit"),
        ("AES-CBC [RFC3602]", "AES-GCM with 8 octet ICV [RFC4106]", "AES_GCM_8 makes its own ICV"),
    ],
)
def test_a_wrong_line_is_refused_in_one_line(read, old: str, new: str, said: str) -> None:
    message = refusal(read, f"# comment\n{LINE.replace(old, new, 1)}\n", "esp_sa")
    assert message.startswith("esp_sa, line 2: ")
    assert said in message


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (',"33-bit"', "the sequence number length needs 32-bit or 64-bit, got '33-bit'"),
        (',"64-bit","x"', "the upper half of the sequence number needs up to 8 hex digits, got 'x'"),
        (',"64-bit","0",""', "got 11"),
        (",", "field 9 needs double quotes"),
    ],
)
def test_wrong_sequence_columns_are_refused(read, more: str, said: str) -> None:
    assert said in refusal(read, LINE + more, "esp_sa")


# Hostile files

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_LINES = [LINE, LINE + ',"64-bit","1"', "#", LINE.replace("203.0.113.1", "*"), LINE.replace("AES-CBC", "AES-GCM")]


def only_input_error_escapes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        associations = read_sa_file(path)
    except InputError as error:
        said = str(error)
    else:
        said = repr(associations)
    assert said.isprintable()
    assert KEY not in said


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed") / "sas"


@given(content=st.binary() | st.binary().map(lambda tail: b"[" + tail) | st.binary().map(lambda tail: b'"' + tail))
def test_any_bytes_give_sas_or_an_input_error(fuzzed: Path, content: bytes) -> None:
    only_input_error_escapes(fuzzed, content)


@given(
    base=st.sampled_from([ENTRY, GCM]),
    change=st.dictionaries(st.sampled_from([*GCM, "src_port", "icv_octets", "esn", "inner_src", "marker"]), _JSON),
)
def test_any_change_of_an_entry_gives_sas_or_an_input_error(
    fuzzed: Path, base: dict[str, Any], change: dict[str, Any]
) -> None:
    only_input_error_escapes(fuzzed, json.dumps([base | change]).encode())


@given(line=st.sampled_from(_LINES), start=st.integers(0, 250), length=st.integers(0, 30), put=st.text(max_size=20))
def test_any_change_of_a_line_gives_sas_or_an_input_error(
    fuzzed: Path, line: str, start: int, length: int, put: str
) -> None:
    changed = f"#\n{line[:start]}{put}{line[start + length :]}"
    only_input_error_escapes(fuzzed, changed.encode("utf-8", "surrogatepass"))


# Wireshark itself

EXPORTED = [
    ENTRY,
    ENTRY | {"spi": 2, "encryption": "3DES_CBC", "encryption_key": KEY + KEY[:16]},
    ENTRY
    | {"spi": 3, "encryption": "DES_CBC", "encryption_key": KEY[:16], "integrity": "HMAC_MD5_96"}
    | {"integrity_key": KEY},
    ENTRY | {"spi": 4, "integrity": "HMAC_SHA2_256_128", "integrity_key": KEY + KEY},
    ENTRY | {"spi": 5, "encryption": "NULL", "encryption_key": ""},
    ENTRY | {"spi": 6, "integrity": "NONE", "integrity_key": ""},
    *(GCM | {"spi": 10 + octets, "encryption": f"AES_GCM_{octets}"} for octets in (8, 12, 16)),
    ENTRY | {"spi": 30, "src": "2001:db8::1", "dst": "2001:db8::2"},
]


@pytest.mark.peer("tshark")
def test_tshark_takes_every_line_that_is_exported(read) -> None:
    capture = CAPTURES[0] / "server-side.pcap"
    lines = export_esp_sa(read(EXPORTED)).splitlines()
    assert {sas.ESP_SA_ENCRYPTION[sa.keys.encryption] for sa in read(EXPORTED)} == set(sas.ESP_SA_ENCRYPTION.values())
    assert {sas.ESP_SA_INTEGRITY[sa.keys.integrity] for sa in read(EXPORTED)} == set(sas.ESP_SA_INTEGRITY.values())
    for line in lines:
        assert "UAT" not in tshark(capture, line)
    assert "Invalid -o flag" in tshark(capture, lines[0].replace("AES-CBC", "AES-CBD"))


@pytest.mark.peer("tshark")
@pytest.mark.parametrize("folder", CAPTURES, ids=lambda folder: folder.name)
def test_tshark_opens_a_capture_with_the_exported_keys(folder: Path) -> None:
    counts = json.loads((folder / "expect.json").read_text())["captures"]["server-side.pcap"]
    lines = export_esp_sa(read_sa_file(folder / "sas.json")).splitlines()
    opened = tshark(folder / "server-side.pcap", *lines, "-Tfields", "-eesp.icv_good", "-Yesp.icv_good==1")
    assert opened.split().count("1") == counts["esp_icv_good"] > 0


def tshark(capture: Path, *arguments: str) -> str:
    """What tshark says; arguments that start with a quote are lines of esp_sa."""
    command = [shutil.which("tshark") or "tshark", "-r", str(capture), "-oesp.enable_encryption_decode:TRUE"]
    command.append("-oesp.enable_authentication_check:TRUE")
    for argument in arguments:
        command.append(f"-ouat:esp_sa:{argument}" if argument.startswith('"') else argument)
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return result.stdout + result.stderr
