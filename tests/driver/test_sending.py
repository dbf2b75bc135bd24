"""What a driver makes of the words of a frame to send: which associations, and whether there is any work at all."""

import pytest

from nicsim.boundary import SendResult
from nicsim.capabilities import NdisVersion, Readings
from nicsim.driver.indicate import Words
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus
from tests.card.test_layers import CASES as LAYERS
from tests.card.test_layers import Case, framed, nic_of, offload
from tests.driver.builders import (
    NO_CHANGE,
    OUTBOUND,
    Bench,
    FamilyEncapsulation,
    bench,
    capabilities,
    native_frame,
    sa,
    v2,
)

TWO_PORTIONS = LAYERS[0]
OUTBOUND_V2 = {"flags": 0, "udp_esp_encapsulation": 0}


def send(nic: Bench, frame: bytes, *handles: int) -> SendResult:
    return nic.driver.send(frame, b"".join(handle.to_bytes(nic.abi.pointer_size, "little") for handle in handles))


def two_portions(readings: Readings, case: Case) -> tuple[Bench, list[int], bytes, bytes]:
    """A 6.0 NIC with both associations of a packet, the packet as it is handed down, and as it goes on the wire."""
    nic = bench(capabilities("ndis60", version1={"transport_tunnel_combined": True}, readings=readings, rows=8))
    handles = [offload(nic, case.transport(OUTBOUND)), offload(nic, case.tunnel(OUTBOUND))]
    return nic, handles, framed(case, nic_of(case)), case.wrap(case.inside())


@pytest.mark.rule("N-TX-2", "A-25")
@pytest.mark.parametrize("abi", Abi)
def test_a_6_0_word_names_one_association(abi: Abi) -> None:
    words = Words(NdisVersion.NDIS_6_0, abi)
    word = (7).to_bytes(abi.pointer_size, "little") + (9).to_bytes(abi.pointer_size, "little")
    assert words.transmit_handles(word, b"") == (7, 0)
    assert words.transmit_handles(word[: abi.pointer_size], b"") == (7, 0)
    assert Words(NdisVersion.NDIS_5_1, abi).transmit_handles(word, b"") == (7, 9)


@pytest.mark.rule("N-TX-2", "A-25")
def test_in_6_0_a_packet_of_two_portions_cannot_be_sent_by_two_handles() -> None:
    nic, handles, handed, _ = two_portions(Readings(), TWO_PORTIONS)
    # The first handle alone counts, and its packet has another portion around it.
    assert send(nic, handed, *handles).reason is Reason.BAD_SEND_FRAME


@pytest.mark.rule("A-25")
def test_read_the_other_way_a_6_0_word_names_two() -> None:
    readings = Readings(one_association_per_send_in_6_0=False)
    nic, handles, handed, wire = two_portions(readings, TWO_PORTIONS)
    sent = send(nic, handed, *handles)
    assert (sent.status, sent.reason, sent.frame) == (NdisStatus.SUCCESS, Reason.SEALED, wire)
    # A word of one handle still is one, and the reading says nothing about the versions before and after.
    assert send(nic, native_frame(), nic.added(sa(flags=OUTBOUND))).reason is Reason.SEALED
    word = (7).to_bytes(8, "little") + (9).to_bytes(8, "little")
    assert Words(NdisVersion.NDIS_6_1, Abi.X64, one_handle_in_6_0=False).transmit_handles(word, b"") == (7, 0)


# --- hardware that is not configured ------------------------------------------------------------------------------


@pytest.mark.rule("N-V2-16")
@pytest.mark.parametrize("profile", ["ndis61", "reference"])
def test_hardware_that_is_not_configured_sends_without_the_service(profile: str) -> None:
    nic = bench(capabilities(profile))
    handle = nic.added_v2(v2(**OUTBOUND_V2))
    frame = b"whatever the host built"
    sent = send(nic, frame, handle)
    assert (sent.status, sent.frame, sent.reason) == (NdisStatus.SUCCESS, frame, Reason.NOT_CONFIGURED)
    nic.enable()
    assert send(nic, frame, handle).reason is Reason.BAD_SEND_FRAME
    assert nic.encapsulate(FamilyEncapsulation(2), FamilyEncapsulation(2)).status == NdisStatus.SUCCESS
    assert send(nic, frame, handle).reason is Reason.NOT_CONFIGURED


@pytest.mark.rule("N-V2-16")
def test_one_family_enabled_is_configured() -> None:
    nic = bench(capabilities("ndis61"))
    handle = nic.added_v2(v2(**OUTBOUND_V2))
    nic.encapsulate(NO_CHANGE, FamilyEncapsulation(1, 2, 14))
    assert send(nic, b"", handle).reason is Reason.BAD_SEND_FRAME


@pytest.mark.rule("N-V2-16", "N-TX-10")
def test_only_a_nic_with_version_2_alone_sends_by_a_handle_that_it_does_not_know() -> None:
    # The page asks for the configuration first, and for the handles after that.
    only = bench(capabilities("ndis61"))
    assert send(only, b"frame", 0x7777).reason is Reason.NOT_CONFIGURED
    assert send(only.enable(), b"frame", 0x7777).status == NdisStatus.FAILURE
    both = bench(capabilities("reference"))
    sent = send(both, b"frame", 0x7777)
    assert (sent.status, sent.frame, sent.reason) == (NdisStatus.FAILURE, b"", Reason.UNKNOWN_SEND_HANDLE)


@pytest.mark.rule("N-TX-10", "N-V2-16")
@pytest.mark.parametrize("profile", ["ndis51", "ndis60", "reference"])
def test_a_version_1_association_seals_whatever_is_configured(profile: str) -> None:
    nic = bench(capabilities(profile))
    handle = nic.added(sa(flags=OUTBOUND))
    assert send(nic, native_frame(), handle).reason is Reason.SEALED
    assert send(nic, native_frame(), handle + 8).reason is Reason.UNKNOWN_SEND_HANDLE
    assert send(nic, native_frame(), 0).reason is Reason.NO_SEND_WORK
