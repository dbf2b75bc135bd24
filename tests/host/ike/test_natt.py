"""host/ike/natt.py: vendor ids, discovery hashes and verdicts, against vectors and recorded negotiations."""

import json
from pathlib import Path
from typing import Any

import pytest

from nicsim.events import Endpoint, Nat, Role
from nicsim.host.ike import natt
from nicsim.host.ike.keys import IkeHash
from nicsim.host.ike.natt import (
    DRAFT_02,
    DRAFT_03,
    FIRST_DRAFT,
    RFC_3947,
    Discovery,
    choose_version,
    vendor_ids_to_offer,
)
from nicsim.ipsec.association import Mode
from nicsim.wire.headers import parse_address
from nicsim.wire.isakmp import Payload

VECTORS = Path(__file__).parents[2] / "vectors"
VENDOR_IDS = {v["id"]: v for v in json.loads((VECTORS / "vendor_ids.json").read_text())["vectors"]}
NAT_D: list[dict[str, Any]] = json.loads((VECTORS / "natd.json").read_text())["vectors"]
EXCHANGES: list[dict[str, Any]] = json.loads((VECTORS / "ikev1_exchanges.json").read_text())["vectors"]
HASHES = {one.label: one for one in IkeHash}


def endpoint(address: str, port: int) -> Endpoint:
    return Endpoint(parse_address(address), port)


@pytest.mark.parametrize("row", VENDOR_IDS.values(), ids=list(VENDOR_IDS))
def test_a_vendor_id_is_the_hash_of_its_name(row: dict[str, Any]) -> None:
    if row.get("md5"):
        hashed = IkeHash.MD5.digest(bytes.fromhex(row["input_hex"])).hex()
        assert hashed == row["md5"]


def test_each_version_has_the_published_vendor_ids() -> None:
    published = {name: bytes.fromhex(row["vendor_id"]) for name, row in VENDOR_IDS.items()}
    assert RFC_3947.vendor_ids == (published["rfc3947"],)
    assert DRAFT_03.vendor_ids == (published["natt-ike-03"],)
    assert FIRST_DRAFT.vendor_ids == (published["espthrunat"],)
    assert set(DRAFT_02.vendor_ids) == {published["natt-ike-02"], published["natt-ike-02-newline"]}
    assert published["dpd"] == natt.DEAD_PEER_DETECTION
    assert published["fragmentation"].startswith(natt.FRAGMENTATION)


def test_the_most_preferred_version_in_common_is_chosen_with_the_id_it_was_announced_by() -> None:
    newline, bare = DRAFT_02.vendor_ids
    everything = vendor_ids_to_offer((RFC_3947, DRAFT_03, DRAFT_02))
    assert everything == [*RFC_3947.vendor_ids, *DRAFT_03.vendor_ids, newline, bare]
    assert choose_version((RFC_3947, DRAFT_03, DRAFT_02), reversed(everything)) == (RFC_3947, RFC_3947.vendor_ids[0])
    assert choose_version((DRAFT_03, DRAFT_02), everything) == (DRAFT_03, DRAFT_03.vendor_ids[0])
    assert choose_version((DRAFT_02,), [bare]) == (DRAFT_02, bare)
    assert choose_version((DRAFT_02,), [bare, newline]) == (DRAFT_02, newline)
    assert choose_version((RFC_3947,), [bare, b"unknown"]) is None
    assert choose_version((), everything) is None


def test_each_version_has_its_own_numbers() -> None:
    assert [RFC_3947.mode_value(mode) for mode in (Mode.TUNNEL, Mode.TRANSPORT)] == [3, 4]
    for draft in (DRAFT_02, DRAFT_03):
        assert [draft.mode_value(mode) for mode in (Mode.TUNNEL, Mode.TRANSPORT)] == [61443, 61444]
        assert (draft.discovery_payload, draft.original_address_payload, draft.original_addresses) == (130, 131, 1)
    assert [FIRST_DRAFT.mode_value(mode) for mode in (Mode.TUNNEL, Mode.TRANSPORT)] == [61440, 61441]
    assert (RFC_3947.discovery_payload, RFC_3947.original_address_payload, RFC_3947.original_addresses) == (20, 21, 2)


@pytest.mark.parametrize("row", [v for v in NAT_D if v["form"] == "rfc3947"], ids=lambda row: row["id"])
def test_a_discovery_hash_is_the_recorded_one(row: dict[str, Any]) -> None:
    discovery = Discovery(
        RFC_3947, HASHES[row["hash_alg"]], bytes.fromhex(row["cky_i"]), bytes.fromhex(row["cky_r"]), Role.INITIATOR
    )
    here, elsewhere = endpoint(row["ip"], row["port"]), endpoint("198.51.100.1", 9)
    first, second = discovery.payloads(here, elsewhere, None)
    assert second.body.hex() == row["hash"]
    first, second = discovery.payloads(elsewhere, here, None)
    assert first.body.hex() == row["hash"]
    assert first.type == 20


@pytest.mark.parametrize("row", [v for v in NAT_D if v["form"] == "ikev2-nat-detection"], ids=lambda row: row["id"])
def test_the_successors_of_ike_hash_alike_with_spis_for_cookies(row: dict[str, Any]) -> None:
    discovery = Discovery(
        RFC_3947, HASHES[row["hash_alg"]], bytes.fromhex(row["spi_i"]), bytes.fromhex(row["spi_r"]), Role.INITIATOR
    )
    here = endpoint(row["ip"], row["port"])
    assert discovery.payloads(endpoint("198.51.100.1", 9), here, None)[0].body.hex() == row["hash"]


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        pytest.param(exchange, message, id=f"{exchange['id']}-{message['n']}")
        for exchange in EXCHANGES
        for message in exchange["messages"]
        if "nat_d" in message
    ],
)
def test_recorded_discovery_payloads_are_reproduced_and_give_the_recorded_verdict(
    exchange: dict[str, Any], message: dict[str, Any]
) -> None:
    hash_ = {one.number: one for one in IkeHash}[exchange["phase1"]["hash"]]
    discovery = Discovery(
        RFC_3947, hash_, bytes.fromhex(exchange["cky_i"]), bytes.fromhex(exchange["cky_r"]), Role.INITIATOR
    )
    sides = ("initiator_side", "responder_side")
    by, to = sides if message["direction"] == "i->r" else sides[::-1]
    sent_from, sent_to = (endpoint(message[by][a], message[by][p]) for a, p in (("src", "sport"), ("dst", "dport")))
    assert [p.body.hex() for p in discovery.payloads(sent_from, sent_to, None)] == message["nat_d"]

    came_from, came_to = (endpoint(message[to][a], message[to][p]) for a, p in (("src", "sport"), ("dst", "dport")))
    recorded = [Payload(20, bytes.fromhex(hashed)) for hashed in message["nat_d"]]
    verdict = discovery.verdict(recorded, came_to, came_from)
    assert verdict is not None
    expected_here, expected_there = message["receiver_expected_nat_d"]
    assert verdict.local == (message["nat_d"][0] != expected_here)
    assert verdict.remote == (expected_there not in message["nat_d"][1:])


def test_any_number_of_own_hashes_is_accepted_and_one_is_enough() -> None:
    discovery = Discovery(RFC_3947, IkeHash.SHA1, b"i" * 8, b"r" * 8, Role.INITIATOR)
    near, far = endpoint("192.0.2.1", 500), endpoint("192.0.2.2", 500)
    there, here = discovery.payloads(near, far, None)
    wrong = Payload(20, bytes(20))
    assert discovery.verdict([there, wrong, wrong, here], far, near) is Nat.NONE
    assert discovery.verdict([there, wrong, wrong], far, near) is Nat.REMOTE
    assert discovery.verdict([wrong, here], far, near) is Nat.LOCAL
    assert discovery.verdict([wrong, wrong], far, near) is Nat.BOTH
    assert discovery.verdict([there], far, near) is None
    assert discovery.verdict([Payload(130, p.body) for p in (there, here)], far, near) is None


def test_a_lie_matches_nothing_and_leaves_the_other_end_alone() -> None:
    discovery = Discovery(DRAFT_03, IkeHash.MD5, b"i" * 8, b"r" * 8, Role.INITIATOR)
    near, far = endpoint("192.0.2.1", 500), endpoint("2001:db8::2", 500)
    said = discovery.payloads(near, far, lambda length: b"?" * length)
    assert said[0] == discovery.payloads(near, far, None)[0]
    assert (said[1].body, said[1].type) == (b"?" * 16, 130)
    assert discovery.verdict(said, far, near) is Nat.REMOTE
