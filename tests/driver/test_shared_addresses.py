"""Cards whose inbound associations share a table of receive addresses: who makes a row, who keeps it, who clears it."""

from __future__ import annotations

import pytest

from nicsim.boundary import AddressRow, Table
from nicsim.capabilities import Readings
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from offload_oids import NdisStatus
from offload_oids.ipsec_sa_v2 import Endpoints, IpsecOffloadV2AddSa, Ipv4Endpoints
from tests.driver.builders import (
    AH_ELEMENT,
    HERE,
    HERE6,
    KEY_3DES,
    KEY_SHA1,
    OTHER_HOST,
    OUTBOUND,
    PEER,
    Bench,
    FlakyCard,
    OracleSa,
    SlowCard,
    bench,
    capabilities,
    esp_element,
    native_frame,
    sa,
    udp_frame,
    udpesp,
    v2,
)

RESOURCES, UNSUPPORTED = NdisStatus.RESOURCES, NdisStatus.NOT_SUPPORTED
AES_SHA256 = OracleSa("aes-cbc", bytes(range(0xA0, 0xB0)), "sha256", bytes(range(0x80, 0xA0)), 16)


def nic(addresses: int = 2, card: type[FlakyCard] = FlakyCard, **changes) -> Bench:
    return bench(capabilities(rows=8, address_rows=addresses, **changes), card=card).enable()


def host(number: int) -> bytes:
    return bytes((192, 0, 2, 100 + number))


def to(address: bytes, spi: int, **changes):
    """A native inbound association of version 1 to an address of this host's."""
    return sa(dest_addr=address, sec_assoc=(esp_element(spi),), **changes)


def v2_to(address: bytes, spi: int) -> IpsecOffloadV2AddSa:
    return v2(spi, endpoints=Endpoints(ipv4_endpoints=Ipv4Endpoints(PEER, address)))


def addresses(made: Bench) -> dict[int, bytes]:
    """The card's address rows."""
    return {slot: row.address[:4] for slot, row in made.rows[Table.ADDRESS].items() if isinstance(row, AddressRow)}


def named(made: Bench) -> set[int]:
    """The address rows that inbound rows name."""
    return {row.address_slot - 1 for row in made.rows[Table.INBOUND].values()}


@pytest.mark.rule("N-SA-21", "N-V2-17")
def test_associations_to_one_address_share_its_row_and_the_last_delete_clears_it() -> None:
    made = nic()
    first = made.added(to(host(1), 1))
    second, _ = made.added_udpesp(udpesp(spi=2, dst_addr=host(1)))
    third = made.added_v2(v2_to(host(1), 3))
    fourth = made.added(to(host(2), 4))
    assert sorted(addresses(made).values()) == [host(1), host(2)]
    assert named(made) == set(addresses(made))
    assert made.receive(native_frame(spi=1, dst=host(1))) is Reason.OPENED
    assert made.receive(native_frame(spi=1, dst=host(2))) is Reason.FILTER_MISMATCH
    assert made.receive(udp_frame(AES_SHA256, 3, dst=host(1))) is Reason.OPENED
    for delete in (lambda: made.delete_sa(first), lambda: made.delete_v2(third)):
        assert delete().status == NdisStatus.SUCCESS
        assert sorted(addresses(made).values()) == [host(1), host(2)]
    assert made.receive(udp_frame(spi=2, dst=host(1))) is Reason.OPENED
    made.delete_udpesp(second)
    assert list(addresses(made).values()) == [host(2)]
    made.delete_sa(fourth)
    assert (addresses(made), made.driver.state.addresses, len(made.free(Table.ADDRESS))) == ({}, {}, 2)


@pytest.mark.rule("A-1", "N-SA-23")
def test_a_full_address_table_is_a_refusal_of_its_own_and_a_known_address_still_fits() -> None:
    made = nic(addresses=2)
    for number in (1, 2):
        made.added(to(host(number), number))
    before = made.snapshot()
    for result in (made.add_sa(to(host(3), 3)), made.add_v2(v2_to(host(3), 4))):
        made.refuses(result, RESOURCES, Reason.ADDRESS_TABLE_FULL)
        assert "all 2 address rows" in result.detail
    made.refuses(made.add_udpesp(udpesp(spi=5, dst_addr=host(3))), RESOURCES, Reason.ADDRESS_TABLE_FULL)
    assert made.snapshot() == before
    made.added(to(host(2), 6))
    made.added(to(host(3), 7, flags=OUTBOUND))  # where packets leave, no address is looked for
    assert sorted(addresses(made).values()) == [host(1), host(2)]


@pytest.mark.rule("N-SA-3", "N-V2-8")
def test_a_destination_that_is_no_single_address_is_refused() -> None:
    made = nic()
    before = made.snapshot()
    half = b"\xff\xff\0\0"
    for add in (to(bytes(4), 1), to(HERE, 1, dest_mask=half), to(HERE, 1, dest_mask=bytes(4))):
        made.refuses(made.add_sa(add), UNSUPPORTED, Reason.ADDRESS_NOT_WHOLE)
    made.refuses(made.add_v2(v2_to(bytes(4), 1)), UNSUPPORTED, Reason.ADDRESS_NOT_WHOLE)
    assert made.snapshot() == before
    # With a mask that is ignored, a whole address is meant.
    exact = nic(readings=Readings(mask_zero_is_any=False))
    exact.added(to(HERE, 1, dest_mask=bytes(4)))
    assert list(addresses(exact).values()) == [HERE]


def test_a_tunnel_shares_the_address_of_its_end_point() -> None:
    made = nic()
    made.added(to(host(1), 1, src_tunnel_addr=PEER, dest_tunnel_addr=OTHER_HOST))
    assert list(addresses(made).values()) == [OTHER_HOST]
    assert made.receive(native_frame(spi=1, dst=OTHER_HOST)) is Reason.OPENED


def test_ipv6_has_rows_of_its_own_in_the_same_table() -> None:
    made = nic()
    made.added_v2(v2(1, ipv6=True))
    made.added_v2(v2(2, ipv6=True))
    assert made.rows[Table.ADDRESS] == {0: AddressRow(6, HERE6)}


def test_both_rows_of_esp_with_ah_name_the_one_address() -> None:
    made = nic()
    elements = (esp_element(1), AH_ELEMENT)
    handle = made.added(sa(num_sas=2, sec_assoc=elements, key_mat=KEY_3DES + KEY_SHA1 + KEY_SHA1))
    assert [row.address_slot for row in made.rows[Table.INBOUND].values()] == [1, 1]
    made.delete_sa(handle)
    assert (addresses(made), made.driver.state.addresses) == ({}, {})


@pytest.mark.parametrize("fails", [0, 1])
@pytest.mark.rule("N-ADD-6")
def test_an_add_whose_row_fails_takes_its_address_back_and_leaves_a_shared_one(fails: int) -> None:
    made = nic()
    keeper = made.added(to(host(1), 1))
    before = made.snapshot()
    made.card.fail_writes = {len(made.card.writes) + fails}  # the address row, or the association's
    made.refuses(made.add_sa(to(host(2), 2)), NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED)
    assert made.snapshot() == before
    made.card.fail_writes = {len(made.card.writes)}
    made.refuses(made.add_sa(to(host(1), 3)), NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED)
    assert made.snapshot() == before
    made.delete_sa(keeper)
    assert (addresses(made), made.driver.state.addresses) == ({}, {})


@pytest.mark.parametrize("fails", range(4))
@pytest.mark.rule("N-V2-11")
def test_a_list_to_one_new_address_writes_its_row_once_and_survives_a_failure(fails: int) -> None:
    made = nic()
    begin = len(made.card.writes)
    made.card.fail_writes = {begin + fails}  # the address row, or the first, second or third association's
    result = made.add_v2(*(v2_to(host(1), spi) for spi in (1, 2, 3)))
    assert result.status == NdisStatus.SUCCESS
    taken = sorted(row.spi for row in made.rows[Table.INBOUND].values())
    assert taken == {0: [2, 3], 1: [2, 3], 2: [1, 3], 3: [1, 2]}[fails]
    assert list(addresses(made).values()) == [host(1)]
    assert [table for table, _ in made.card.writes[begin:]].count(Table.ADDRESS) == (2 if fails == 0 else 1)
    for spi in taken:
        assert made.receive(udp_frame(AES_SHA256, spi, dst=host(1))) is Reason.OPENED
    for handle in list(made.driver.state.associations):
        made.delete_v2(handle)
    assert (addresses(made), made.driver.state.addresses, len(made.free(Table.ADDRESS))) == ({}, {}, 2)
    assert len(made.free(Table.INBOUND)) == 8


@pytest.mark.rule("N-DEL-4")
def test_an_address_row_that_would_not_clear_is_marked_and_tried_again() -> None:
    made = nic()
    handle = made.added(to(host(1), 1))
    made.card.fail_clears = {len(made.card.clears) + 1}
    assert made.delete_sa(handle).status == NdisStatus.FAILURE
    assert made.driver.state.marked == [(Table.ADDRESS, 0)]
    made.added(to(host(1), 2))
    assert (made.driver.state.marked, list(addresses(made).values())) == ([], [host(1)])
    assert made.receive(native_frame(spi=2, dst=host(1))) is Reason.OPENED


@pytest.mark.rule("N-RST-1", "A-26")
def test_a_reset_brings_the_addresses_back_with_their_counts() -> None:
    made = nic()
    handles = [made.added(to(host(number), spi)) for number, spi in ((1, 1), (1, 2), (2, 3))]
    before = made.snapshot()
    assert made.driver.reset().status == NdisStatus.SUCCESS
    assert made.snapshot() == before
    assert made.receive(native_frame(spi=3, dst=host(2))) is Reason.OPENED
    for handle in handles:
        made.delete_sa(handle)
    assert (addresses(made), made.driver.state.addresses) == ({}, {})


@pytest.mark.rule("N-RST-3", "A-26")
def test_a_request_that_a_reset_cuts_short_is_no_user_of_its_address() -> None:
    made = nic(card=SlowCard)
    assert made.add_sa(to(host(1), 1)).status == NdisStatus.PENDING
    made.driver.reset()
    while made.card.waiting:
        made.driver.poll()
    assert (addresses(made), made.driver.state.addresses, len(made.free(Table.ADDRESS))) == ({}, {}, 2)


def test_the_preset_has_the_sizes_of_the_cards_it_is_shaped_after() -> None:
    card = load_profile("shared-address")
    assert (card.inbound_rows, card.outbound_rows, card.address_rows) == (1024, 1024, 128)
