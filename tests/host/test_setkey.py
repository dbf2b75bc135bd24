"""setkey(8) text: what people write is read, and what cannot be read gets its line, a sentence and never a key."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicsim.errors import InputError
from nicsim.host.policy import Action, Direction
from nicsim.host.setkey import looks_like_setkey, read_setkey
from nicsim.ipsec.association import Mode
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.wire.headers import parse_address

KEY = "0x00112233445566778899aabbccddeeff"
HASH_KEY = "0xf0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3"
ADD = f"add 203.0.113.1[1024] 203.0.113.2[4500] esp-udp 0xac01 -m tunnel -E aes-cbc {KEY} -A hmac-sha1 {HASH_KEY};"
SPDADD = "spdadd 10.0.11.0/24[any] 10.0.11.33/32[80] tcp -P out ipsec esp/tunnel/192.168.0.1-192.168.1.2/require ;"


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_setkey(text)
    message = str(caught.value)
    assert message.isprintable()
    assert KEY[2:14] not in message
    assert HASH_KEY[2:14] not in message
    assert "secret" not in message
    return message


def test_an_association_says_everything_about_its_packets() -> None:
    [sa] = read_setkey(ADD).associations
    assert (sa.line, sa.spi, sa.mode, sa.udp) == (1, 0xAC01, Mode.TUNNEL, True)
    assert (sa.src, sa.dst) == (parse_address("203.0.113.1"), parse_address("203.0.113.2"))
    assert (sa.src_port, sa.dst_port, sa.replay_window) == (1024, 4500, None)
    assert (sa.keys.encryption, sa.keys.integrity) == (Encryption.AES_CBC, Integrity.HMAC_SHA1_96)
    assert (sa.keys.encryption_key.hex(), sa.keys.integrity_key.hex()) == (KEY[2:], HASH_KEY[2:])
    assert KEY[2:14] not in repr(sa)


def test_a_file_as_the_manual_has_them_is_read() -> None:
    # The statements of setkey(8)'s own examples that a host with ESP can follow, and its layout over several lines.
    read = read_setkey(
        """#!/usr/sbin/setkey -f
flush ;
spdflush; # all of them
add -4 10.1.10.34 10.1.10.36 esp 123457
        -m tunnel -r 4 -lh 3600 -u 3 -f seq-pad
        -E 3des-cbc "this is a key of 24 byte" -A hmac-md5 "sixteen bytes key" ;
""".replace("bytes key", "byte key")
        + "add ::1 ::2 esp 10001 -E null -A hmac-sha256 0x"
        + "0b" * 32
        + ";\n"
        + "add 10.0.0.1 10.0.0.2 esp 0x100 -m transport -E aes-gcm-16 0x"
        + "0c" * 16
        + "01020304;\n"
        + SPDADD
        + """
spdadd 10.0.11.41/32[21] 10.0.11.33/32[any] any
        -P in ipsec esp/transport//use ;
spdadd -6 ::/0 ::/0 icmp6 -P fwd prio high - 5 none ;
spdadd 0.0.0.0/0 10.0.0.0/8 17 -P in priority -7 discard;
"""
    )
    triple_des, null, gcm = read.associations
    assert (triple_des.line, null.line, gcm.line) == (4, 7, 8)
    assert (triple_des.keys.encryption_key, triple_des.replay_window) == (b"this is a key of 24 byte", 32)
    assert (triple_des.udp, triple_des.src_port, triple_des.mode) == (False, None, Mode.TUNNEL)
    assert (null.keys.encryption, null.keys.integrity, null.mode) == (
        Encryption.NULL,
        Integrity.HMAC_SHA2_256_128,
        None,
    )
    assert (gcm.keys.encryption_key, gcm.keys.salt) == (b"\x0c" * 16, b"\1\2\3\4")
    tunnel, transport, neighbours, dropped = read.policies
    assert (tunnel.direction, tunnel.action) == (Direction.OUT, Action.PROTECT)
    assert (tunnel.selector.source.port, tunnel.selector.destination.port) == (0, 80)
    assert tunnel.selector.destination.protocol == 6
    assert tunnel.template is not None
    assert (tunnel.template.source, tunnel.template.required) == (parse_address("192.168.0.1"), True)
    assert transport.template is not None
    assert (transport.template.mode, transport.template.required) == (Mode.TRANSPORT, False)
    assert (neighbours.priority, neighbours.action, neighbours.direction) == (
        2**30 - 5,
        Action.BYPASS,
        Direction.FORWARD,
    )
    assert (dropped.priority, dropped.action, dropped.selector.source.protocol) == (-7, Action.DISCARD, 17)


def test_a_flush_forgets_what_came_before() -> None:
    assert read_setkey(f"{ADD}{SPDADD}flush;").associations == ()
    assert len(read_setkey(f"{ADD}{SPDADD}flush;").policies) == 1
    assert read_setkey(f"{ADD}{SPDADD}spdflush;").policies == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("delete 10.0.0.1 10.0.0.2 esp 300;", "'delete' is none of add, spdadd, flush, spdflush"),
        (ADD[:-1], "needs a semicolon at the end of the statement"),
        ("add 10.0.0.1;", "needs a destination address where the statement ends"),
        (ADD.replace("203.0.113.1[", "host.example["), "needs an address, with a port in brackets if need be, got"),
        (ADD.replace("[1024]", "[70000]"), "a port needs a number from 0 to 65535, got '70000'"),
        (ADD.replace("203.0.113.1[", "::1["), "source and destination need the same address family"),
        (ADD.replace("esp-udp", "ah"), "the protocol needs to be esp or esp-udp here, got 'ah'"),
        (ADD.replace("esp-udp", "esp"), "ports go with esp-udp only"),
        (ADD.replace("0xac01", "255"), "the SPI needs a number from 256 to 4294967295, got '255'"),
        (ADD.replace("-m tunnel", "-m beet"), "the mode needs one of transport, tunnel, any, got 'beet'"),
        (ADD.replace("-m tunnel", "-ctx 1 1 label"), "'-ctx' is no option of add that is read here"),
        (ADD.replace("aes-cbc", "blowfish-cbc"), "-E needs one of des-cbc, 3des-cbc, null, rijndael-cbc"),
        (ADD.replace("hmac-sha1", "keyed-md5"), "-A needs one of hmac-md5, hmac-sha1, null, hmac-sha256"),
        (ADD.replace(KEY, KEY[:-1]), "a key needs 0x and an even number of hex digits, or characters in quotes"),
        (ADD.replace(KEY, KEY[2:]), "a key needs 0x and an even number of hex digits, or characters in quotes"),
        (ADD.replace(KEY, '"secret'), "needs a second quote on the same line"),
        (ADD.replace(KEY, '"secret"'), "AES_CBC"),
        (ADD.replace(f" -A hmac-sha1 {HASH_KEY}", " -A"), "needs a hash where the statement ends"),
        (ADD.replace(f" {HASH_KEY}", ""), "needs a key where the statement ends"),
        (SPDADD.replace("/24[any]", "/33[any]"), "needs an address or a prefix, with a port in brackets if need be"),
        (SPDADD.replace("10.0.11.0/24", "::/0"), "source and destination need the same address family"),
        (SPDADD.replace("tcp", "l2tp"), "the upper protocol needs a number or one of any, icmp"),
        (SPDADD.replace("tcp", "256"), "the upper protocol needs a number from 0 to 255, got '256'"),
        (SPDADD.replace("-P out", "out"), "needs -P and a direction, got 'out'"),
        (SPDADD.replace("out", "through"), "the direction needs one of in, out, fwd, got 'through'"),
        (SPDADD.replace("out", "out prio low ~ 1"), "the action needs one of ipsec, none, discard, got '~'"),
        (SPDADD.replace("ipsec", "none"), "needs the end of the statement, got 'esp/tunnel"),
        (SPDADD.replace("esp/", "ah/"), "a template needs esp here, got 'ah'"),
        (SPDADD.replace("/require", ""), "a template needs protocol/mode/ends/level, got"),
        (SPDADD.replace("-192.168.1.2", ""), "a out template in tunnel mode needs its two ends with a hyphen between"),
        (SPDADD.replace("require ", "require ah/transport//use "), "one template is read, not a bundle of several"),
        (SPDADD.replace("require", "must"), "the template's level needs one of default, require, unique, use"),
    ],
)
def test_what_cannot_be_read_gets_its_line_and_a_sentence(text: str, said: str) -> None:
    message = refusal(f"# comment\n{text}\n")
    assert message.startswith("line 2: ")
    assert said in message


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        (ADD, True),
        ("\n# a\n\n#b\n  spdflush;", True),
        ("#", False),
        ("# add\n", False),
        ("added", False),
        ('"add"', False),
    ],
)
def test_setkey_text_is_told_by_its_first_word(text: str, yes: bool) -> None:
    assert looks_like_setkey(text) is yes


@given(st.text(alphabet=st.sampled_from(' ;\n#"-/[].:0af19xaddspd'), max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for whole in (text, f"add {text}", f"{SPDADD[:40]}{text};", f"{ADD[:40]}{text};"):
        with suppress(InputError):
            assert read_setkey(whole) is not None


@pytest.mark.parametrize(
    "text", ["#" * 500_000, "a " * 250_000, '"' * 500_000, "\n;" * 250_000, "add " + "1" * 500_000]
)
def test_a_long_text_is_read_or_refused_without_going_back_over_it(text: str) -> None:
    assert not looks_like_setkey(text) or text.startswith("add")
    with suppress(InputError):
        assert not read_setkey(text).associations


def test_the_lab_wrote_the_same_associations_in_two_formats() -> None:
    folders = sorted((Path(__file__).parents[1] / "captures").glob("s*/"))
    assert len(folders) == 5
    for folder in folders:
        text = (folder / "setkey.conf").read_text()
        assert looks_like_setkey(text)
        assert len(read_setkey(text).associations) in (2, 8)
