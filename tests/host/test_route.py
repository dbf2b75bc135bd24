"""The route moves to another NIC: software first, then the new NIC, while the old one keeps what it has (N-RST-7)."""

from __future__ import annotations

from typing import Any

import pytest

from nicsim.events import EspReceived, EspSent, SaPlaced
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from tests.builders import AES, TRIPLE_DES, CountedIvs
from tests.host.two_hosts import Station, delivered, echo, gone, joined

VERSIONS = pytest.mark.parametrize("keys", [TRIPLE_DES, AES], ids=["version 1", "version 2"])


def another_nic(profile: str = "reference") -> Nic:
    return Nic(load_profile(profile), iv_source=CountedIvs())


def rows(nic: Nic) -> tuple[int, int]:
    return len(nic.card.rows.inbound), len(nic.card.rows.outbound)


def sent_by(one: Station, ip_packet: bytes) -> tuple[bytes, Reason | None]:
    """The frame that left, and why the host sealed it itself, if it did."""
    (frame,) = one.send(ip_packet)
    (event,) = [event for event in one.events[-3:] if isinstance(event, EspSent)]
    return frame, event.reason


def arrived(one: Station, nic: Nic, frame: bytes) -> tuple[list[bytes], str | None, bool]:
    """A frame through one of the NICs: what was delivered, who opened it, and whether the NIC had worked on it."""
    indication, _ = nic.receive(frame)
    one.host.receive(0.0, indication, nic)
    events: list[Any] = one.poll()
    (seen,) = [event for event in events if isinstance(event, EspReceived)]
    return delivered(events), seen.opened_by, any(indication.ipsec)


@VERSIONS
@pytest.mark.rule("N-RST-7")
def test_what_was_offloaded_is_in_software_until_it_is_added_to_the_nic_of_the_new_route(keys: Any) -> None:
    client, gateway = joined(keys=keys)
    old, new = client.nic, another_nic()
    assert (sent_by(client, echo(b"one"))[1], rows(old)) == (None, (1, 1))
    client.host.move_route(new)
    placed = [event for event in client.poll() if isinstance(event, SaPlaced)]
    assert [event.reason for event in placed] == [Reason.ROUTE_MOVED] * 2
    # Nothing is on the new NIC: the host seals and opens, and the old one keeps what it has.
    assert (rows(new), rows(old)) == ((0, 0), (1, 1))
    frame, reason = sent_by(client, echo(b"two"))
    assert reason is Reason.ROUTE_MOVED
    assert delivered(gateway.receive(frame)) == [echo(b"two")]
    back = echo(b"back", src=echo()[16:20], dst=echo()[12:16])
    (frame,) = gateway.send(back)
    assert arrived(client, new, frame) == ([back], "host", False)
    # Once added, the new NIC works.
    client.host.offload_again()
    assert all(event.reason is None for event in client.poll() if isinstance(event, SaPlaced))
    assert (rows(new), rows(old)) == ((1, 1), (1, 1))
    assert sent_by(client, echo(b"three"))[1] is None
    (frame,) = gateway.send(back)
    assert arrived(client, new, frame) == ([back], "nic", True)
    # Sequence numbers went on through all of it.
    assert client.host.associations.pairs[1].outbound.sequence == 3  # type: ignore[union-attr]


@VERSIONS
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.rule("N-RST-7", "N-SA-19")
def test_the_old_nic_works_on_what_still_arrives_there_and_loses_it_when_it_ends(keys: Any, added: bool) -> None:
    client, gateway = joined(keys=keys)
    old, new = client.nic, another_nic()
    client.host.move_route(new)
    if added:
        client.host.offload_again()
    back = echo(b"back", src=echo()[16:20], dst=echo()[12:16])
    (frame,) = gateway.send(back)
    assert arrived(client, old, frame) == ([back], "nic", True)
    assert rows(old) == (1, 1)
    client.tell(gone(1))
    assert (rows(old), rows(new)) == ((0, 0), (0, 0))
    assert old.driver.state.parser_entries == {}  # type: ignore[attr-defined]


@pytest.mark.rule("N-RST-7")
def test_a_new_nic_that_cannot_take_it_leaves_it_in_software_and_a_second_move_is_no_trouble() -> None:
    client, gateway = joined()
    first, second, third = client.nic, another_nic("netdevsim"), another_nic()
    client.host.move_route(second)
    client.host.offload_again()
    frame, reason = sent_by(client, echo())
    assert reason not in (None, Reason.ROUTE_MOVED)
    assert delivered(gateway.receive(frame)) == [echo()]
    client.host.move_route(third)
    client.host.offload_again()
    assert (rows(first), rows(second), rows(third)) == ((1, 1), (0, 0), (1, 1))
    client.host.move_route(first)  # which has it still
    assert sent_by(client, echo())[1] is None
    client.host.offload_again()
    assert (rows(first), rows(third)) == ((1, 1), (1, 1))
    client.tell(gone(1))
    assert (rows(first), rows(third)) == ((0, 0), (0, 0))
