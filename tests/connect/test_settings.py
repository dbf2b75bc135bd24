"""What a user can ask for, and every way in which that can be wrong, said before the first datagram."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nicsim.connect.settings import Plan, Settings, plan
from nicsim.errors import InputError
from nicsim.host.ike.authentication import PreSharedKey
from nicsim.host.ike.config import NattPolicy, Phase1Exchange
from nicsim.host.policy import Direction
from nicsim.ipsec.association import Mode
from nicsim.profile import load_profile
from nicsim.wire.headers import format_address, parse_address

HERE, THERE = "203.0.113.1", "203.0.113.2"


@pytest.fixture
def psk(tmp_path: Path) -> str:
    path = tmp_path / "psk"
    path.write_bytes(b"lab preshared key\n")
    return str(path)


def planned(settings: Settings, local: str = HERE) -> Plan:
    return plan(settings, load_profile("reference"), parse_address(local), datetime(2026, 1, 1, tzinfo=UTC))


def refusal(settings: Settings, local: str = HERE) -> str:
    with pytest.raises(InputError) as caught:
        planned(settings, local)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_tunnel_to_one_peer(psk: str) -> None:
    one = planned(
        Settings(THERE, psk, local_ts="10.0.0.2/32", remote_ts="192.168.50.0/24", ping="192.168.50.1", identity="me@x")
    )
    [connection] = one.attempts
    assert connection.remote == one.remote == parse_address(THERE)
    assert one.host.ike.connections == one.attempts
    assert connection.phase1.exchange is Phase1Exchange.MAIN
    assert [str(proposal) for proposal in connection.phase1.proposals] == [
        "aes256-sha256-modp2048",
        "aes256-sha256-modp1024",
    ]
    assert str(connection.phase1.local_identity) == "me@x"
    assert (connection.phase2.mode, connection.phase1.natt) == (Mode.TUNNEL, NattPolicy.AUTO)
    assert [format_address(one.inner), format_address(one.ping or b"")] == ["10.0.0.2", "192.168.50.1"]
    assert one.policies.text() == (
        "spdadd 10.0.0.2/32[any] 192.168.50.0/24[any] any -P out ipsec esp/tunnel/203.0.113.1-203.0.113.2/require;\n"
        "spdadd 192.168.50.0/24[any] 10.0.0.2/32[any] any -P in ipsec esp/tunnel/203.0.113.2-203.0.113.1/require;\n"
    )
    assert not one.host.generate_policies


@pytest.mark.parametrize(
    ("content", "key"),
    [(b"k\n", b"k"), (b"k\r\n", b"k"), (b"k", b"k"), (b"k\n\n", b"k\n"), (b" k \n", b" k "), (b"k\r", b"k\r")],
)
def test_one_line_end_is_no_part_of_a_key(tmp_path: Path, content: bytes, key: bytes) -> None:
    (tmp_path / "psk").write_bytes(content)
    [connection] = planned(Settings(THERE, str(tmp_path / "psk"))).attempts
    assert connection.phase1.authentication == PreSharedKey(key)


def test_aggressive_mode_offers_one_group_after_the_other(psk: str) -> None:
    one = planned(Settings(THERE, psk, aggressive=True, proposal="3des-md5"))
    assert [[str(proposal) for proposal in each.phase1.proposals] for each in one.attempts] == [
        ["3des-md5-modp2048"],
        ["3des-md5-modp1024"],
    ]


@pytest.mark.parametrize(
    ("changes", "ours", "others", "inner"),
    [
        ({}, "203.0.113.1/32", "203.0.113.2/32", HERE),
        ({"ping": "10.9.9.9"}, "203.0.113.1/32", "10.9.9.9/32", HERE),
        ({"local_ts": "10.0.0.0/24"}, "10.0.0.0/24", "203.0.113.2/32", "10.0.0.1"),
        ({"local_ts": "203.0.113.0/24"}, "203.0.113.0/24", "203.0.113.2/32", HERE),
        ({"local_ts": "10.0.0.7"}, "10.0.0.7/32", "203.0.113.2/32", "10.0.0.7"),
        ({"local_ts": "10.0.0.6/31", "remote_ts": "10.1.0.0/16"}, "10.0.0.6/31", "10.1.0.0/16", "10.0.0.6"),
        ({"remote": None}, "203.0.113.1/32", "0.0.0.0/0", HERE),
        ({"remote": None, "local_ts": "2001:db8::/64"}, "2001:db8::/64", "::/0", "2001:db8::1"),
    ],
)
def test_traffic_selectors_and_what_they_are_unless_told(
    psk: str, changes: dict[str, Any], ours: str, others: str, inner: str
) -> None:
    one = planned(replace(Settings(THERE, psk), **changes))
    phase2 = one.host.ike.connections[0].phase2
    assert phase2.local_selector is not None
    assert phase2.remote_selector is not None
    assert (str(phase2.local_selector.network), str(phase2.remote_selector.network)) == (ours, others)
    assert format_address(one.inner) == inner


def test_a_protocol_and_a_port_narrow_the_traffic(psk: str) -> None:
    one = planned(Settings(THERE, psk, remote_ts="192.168.50.0/24[17/53]", local_ts="10.0.0.2[17/0]"))
    [policy] = [each for each in one.policies if each.direction is Direction.OUT]
    assert str(policy.selector.destination) == "192.168.50.0/24[17/53]"


def test_transport_mode_is_between_the_two_hosts(psk: str) -> None:
    one = planned(Settings(THERE, psk, transport=True, ping=THERE))
    phase2 = one.attempts[0].phase2
    assert (phase2.mode, phase2.local_selector, phase2.remote_selector) == (Mode.TRANSPORT, None, None)
    assert next(iter(one.policies)).text() == (
        "spdadd 203.0.113.1/32[any] 203.0.113.2/32[any] any -P out ipsec esp/transport//require;"
    )


def test_a_listener_takes_anybody_and_makes_policies_from_what_they_negotiate(psk: str) -> None:
    one = planned(Settings(None, psk, local_ts="192.168.50.0/24"))
    assert (one.attempts, one.remote, list(one.policies)) == ((), None, [])
    assert one.host.generate_policies
    assert one.host.ike.connections[0].remote is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"psk_file": None}, "the peer needs --psk-file, or --cert, --key and --ca; missing is --cert, --key, --ca"),
        ({"psk_file": None, "cert": "c", "ca": "a"}, "missing is --key"),
        ({"cert": "c"}, "--psk-file goes without --cert, --key and --ca"),
        ({"psk_file": "/nowhere/psk"}, "--psk-file /nowhere/psk cannot be read: No such file or directory"),
        ({"psk_file": "/"}, "--psk-file / cannot be read: Is a directory"),
        ({"psk_file": "/dev/null"}, "a pre-shared key needs at least one byte"),
        ({"psk_file": "/dev/zero"}, "--psk-file /dev/zero has more than 1048576 bytes"),
        ({"psk_file": "a\0b"}, "cannot be read: not a path"),
        ({"psk_file": None, "cert": __file__, "key": __file__, "ca": __file__}, "holds no PEM certificate"),
        ({"proposal": "rot13-sha1"}, "'rot13-sha1' is no proposal"),
        ({"proposal": "null-sha1"}, "phase 1 cannot use null"),
        ({"local_ts": "10.0.0.0/33"}, "--local-ts needs a prefix like 192.168.50.0/24, got '10.0.0.0/33'"),
        ({"remote_ts": "here"}, "--remote-ts needs a prefix like 192.168.50.0/24, got 'here'"),
        ({"remote_ts": "10.0.0.0/8[300/1]"}, "--remote-ts needs a prefix"),
        ({"remote_ts": "10.0.0.0/8[17/70000]"}, "--remote-ts needs a prefix"),
        ({"remote_ts": "2001:db8::/32"}, "need the same address family"),
        (
            {"remote_ts": "10.0.0.0/8", "ping": "192.168.50.1"},
            "--ping 192.168.50.1 is not inside --remote-ts 10.0.0.0/8",
        ),
        ({"transport": True, "ping": "192.168.50.1"}, "--ping 192.168.50.1 is not inside --remote-ts 203.0.113.2/32"),
        ({"ping": "gateway"}, "'gateway' is not an IPv4 or IPv6 address"),
        ({"ping": "2001:db8::1"}, "--ping needs an IPv4 address, got 2001:db8::1"),
        ({"identity": ""}, "is no identity"),
    ],
)
def test_what_is_wrong_is_one_clear_sentence(psk: str, changes: dict[str, Any], said: str) -> None:
    assert said in refusal(replace(Settings(THERE, psk), **changes))
