"""host/ike/selectors.py: identities that select packets, both ways."""

import pytest

from nicsim.errors import IkeRefused
from nicsim.events import Selector
from nicsim.host.ike.selectors import build_selector, parse_selector, selector_of_host
from nicsim.reasons import Reason
from nicsim.wire.isakmp_payloads import Identification, IdentificationType
from tests.host.ike.couple import A_ADDRESS, selector


@pytest.mark.parametrize(
    ("text", "type_", "data"),
    [
        ("10.1.2.0/24", IdentificationType.IPV4_SUBNET, "0a010200ffffff00"),
        ("0.0.0.0/0", IdentificationType.IPV4_SUBNET, "0000000000000000"),
        ("10.1.2.3/32", IdentificationType.IPV4_ADDRESS, "0a010203"),
        ("2001:db8::/32", IdentificationType.IPV6_SUBNET, "20010db8" + "00" * 12 + "ffffffff" + "00" * 12),
        ("2001:db8::1/128", IdentificationType.IPV6_ADDRESS, "20010db8" + "00" * 11 + "01"),
    ],
)
def test_a_prefix_is_an_identity_and_back(text: str, type_: IdentificationType, data: str) -> None:
    for protocol, port in ((0, 0), (17, 53), (6, 0)):
        identification = Identification(type_, bytes.fromhex(data), protocol, port)
        assert build_selector(selector(text, protocol, port)) == identification
        assert parse_selector(identification) == selector(text, protocol, port)


@pytest.mark.parametrize(
    ("type_", "data", "word"),
    [
        (4, "0a010200ff00ff00", "holes"),
        (4, "0a01020000ffffff", "holes"),
        (4, "0a010201ffffff00", "beyond"),
        (4, "0a010200", "selects no packets"),
        (1, "0a0102", "selects no packets"),
        (5, "0a010203", "selects no packets"),
        (7, "0a0102000a0102ff", "selects no packets"),
        (2, "612e6578616d706c65", "selects no packets"),
        (200, "0a010203", "selects no packets"),
    ],
)
def test_what_selects_no_packets_is_refused(type_: int, data: str, word: str) -> None:
    with pytest.raises(IkeRefused, match=word) as caught:
        parse_selector(Identification(type_, bytes.fromhex(data)))
    assert caught.value.reason is Reason.IKE_SELECTORS


def test_one_selector_covers_another() -> None:
    wide, narrow = selector("10.0.0.0/8"), selector("10.1.0.0/16", 17, 53)
    assert wide.covers(narrow)
    assert not narrow.covers(wide)
    assert not narrow.covers(selector("10.1.0.0/16", 6, 53))
    assert not narrow.covers(selector("10.1.0.0/16", 17, 54))
    assert not wide.covers(selector("2001:db8::/32"))
    assert selector_of_host(A_ADDRESS) == Selector(selector("192.168.1.10/32").network)
