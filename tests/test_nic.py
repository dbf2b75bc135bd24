"""Card, driver and NDIS joined: what enters at the top comes out at the bottom, and the other way round."""

from collections.abc import Sequence

import pytest

from nicsim.boundary import (
    Binding,
    Card,
    CardControl,
    Descriptor,
    Indication,
    Miniport,
    OffloadAttributes,
    OidCompletion,
    OidRequest,
    OidResult,
    ParserRow,
    RequestKind,
    SendResult,
    StatusIndication,
    Table,
)
from nicsim.capabilities import Capabilities
from nicsim.card.device import SimulatedCard
from nicsim.driver.device import ReferenceDriver
from nicsim.host.offload_requests import add_udpesp_sa_buffer
from nicsim.host.offloader import LinkMedium, Offloaded, Offloader
from nicsim.nic import Nic
from nicsim.profile import load_profile, parse_profile, preset_names
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from tests.builders import AES, CountedIvs, association, esp_frame, handed_down, host_with


class SpyDriver:
    """A miniport of one's own: it adds a mark to all that passes, so that a test sees the way it took."""

    def __init__(self, capabilities: Capabilities, card: Card, abi: Abi) -> None:
        self.made_with = (capabilities, card, abi)
        self.requests: list[OidRequest] = []
        self.direct: list[OidRequest] = []
        self.descriptors: list[Descriptor] = []
        self.events: list[OidCompletion | StatusIndication] = []

    def initialize(self) -> OffloadAttributes:
        return OffloadAttributes()

    def request(self, request: OidRequest) -> OidResult:
        self.requests.append(request)
        return OidResult(NdisStatus.SUCCESS, request.buffer + b" answered")

    def direct_request(self, request: OidRequest) -> OidResult:
        self.direct.append(request)
        return OidResult(NdisStatus.SUCCESS, request.buffer + b" answered at once")

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        self.descriptors.append(descriptor)
        return Indication(frame, b"word", b"header")

    def send(self, frame: bytes, ipsec: bytes) -> SendResult:
        return SendResult(NdisStatus.SUCCESS, frame + ipsec, Reason.NO_SEND_WORK)

    def poll(self) -> Sequence[OidCompletion | StatusIndication]:
        events, self.events = self.events, []
        return events


def spied(abi: Abi = Abi.X64) -> tuple[Nic, SpyDriver]:
    nic = Nic(load_profile("reference"), iv_source=CountedIvs(), abi=abi, driver=SpyDriver, monitor=False)
    assert isinstance(nic.driver, SpyDriver)
    return nic, nic.driver


def request(oid: int) -> OidRequest:
    return OidRequest(RequestKind.SET, oid, b"buffer", Abi.X64)


@pytest.mark.parametrize("abi", Abi)
def test_a_driver_of_ones_own_takes_the_reference_drivers_place(abi: Abi) -> None:
    nic, driver = spied(abi)
    capabilities, card, width = driver.made_with
    assert (capabilities, width) == (nic.capabilities, abi)
    card.write_row(Table.PARSER, 0, ParserRow(4500, 2, 0))
    assert nic.card.rows.parser == {0: ParserRow(4500, 2, 0)}
    indication, descriptor = nic.receive(b"frame")
    assert indication == Indication(b"frame", b"word", b"header")
    assert driver.descriptors == [descriptor]
    assert nic.send(b"frame", b"word").frame == b"frameword"


@pytest.mark.rule("N-OID-4", "N-OID-5")
def test_requests_go_through_ndis_by_their_kind() -> None:
    nic, driver = spied()
    assert nic.request(request(Oid.OID_TCP_TASK_IPSEC_ADD_SA)).buffer == b"buffer answered"
    assert nic.request(request(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA)).buffer == b"buffer answered at once"
    assert (len(driver.requests), len(driver.direct)) == (1, 1)


def test_what_the_driver_indicates_is_polled_once() -> None:
    nic, driver = spied()
    event = StatusIndication(NdisStatus.MEDIA_CONNECT, b"")
    driver.events.append(event)
    assert list(nic.poll()) == [event]
    assert list(nic.poll()) == []


@pytest.mark.parametrize("profile", preset_names())
def test_every_preset_makes_a_nic_of_the_sizes_it_says(profile: str) -> None:
    capabilities = load_profile(profile)
    nic = Nic(capabilities, iv_source=CountedIvs())
    binding: Binding = nic
    card: Card = nic.card
    driver: Miniport = nic.driver
    assert isinstance(card, SimulatedCard)
    assert isinstance(driver, ReferenceDriver)
    assert binding.abi is Abi.X64
    sizes = (capabilities.inbound_rows, capabilities.outbound_rows, capabilities.parser_rows, capabilities.address_rows)
    assert tuple(nic.card.rows.capacity.values()) == sizes


@pytest.mark.rule("N-CP6-6")
@pytest.mark.parametrize("profile", preset_names())
def test_a_new_nic_works_on_nothing(profile: str) -> None:
    nic = Nic(load_profile(profile), iv_source=CountedIvs())
    assert nic.card.rows.control == CardControl()
    assert (nic.card.rows.inbound, nic.card.rows.outbound, nic.card.rows.parser) == ({}, {}, {})
    indication, descriptor = nic.receive(esp_frame(association()))
    assert descriptor.reason == Reason.NOT_ENABLED.number
    assert (indication.frame, any(indication.ipsec)) == (esp_frame(association()), False)


@pytest.mark.rule("N-CP6-6")
def test_two_nics_share_nothing() -> None:
    first, second = host_with([association()]), host_with([])
    assert first.receive(esp_frame(association()))[0] is Reason.OPENED
    assert second.receive(esp_frame(association()))[0] is Reason.SA_NOT_OFFLOADED


@pytest.mark.rule("N-RX-6", "N-TX-3", "N-DEL-1")
@pytest.mark.parametrize("abi", Abi)
@pytest.mark.parametrize(("profile", "sa_keys"), [("ndis51", None), ("ndis61", AES), ("reference", AES)])
def test_an_association_lives_from_its_add_to_its_delete(profile: str, sa_keys: object, abi: Abi) -> None:
    chosen = {"sa_keys": sa_keys} if sa_keys else {}
    inbound, outbound = association(0x1001, **chosen), association(0x1002, inbound=False, **chosen)  # type: ignore[arg-type]
    host = host_with([inbound, outbound], profile, abi=abi)
    assert host.receive(esp_frame(inbound))[0] is Reason.OPENED
    assert host.send(handed_down(outbound), 1)[0] is Reason.SEALED
    assert [host.offloader.delete(offloaded).status for offloaded in host.offloaded] == [NdisStatus.SUCCESS] * 2
    assert host.receive(esp_frame(inbound))[0] in (Reason.SA_NOT_OFFLOADED, Reason.NO_PARSER_ENTRY)
    assert host.send(handed_down(outbound), 1) == (Reason.UNKNOWN_SEND_HANDLE, b"")
    assert (host.nic.card.rows.inbound, host.nic.card.rows.outbound) == ({}, {})


# --- what a profile file says of time and loss ------------------------------------------------------------------------

SLOW = """
name = "slow"
ndis = "6.0"
encapsulations = ["IEEE_802_3"]
[timing]
row_ticks = 3
[loss]
on_reset = true
[version1]
encryption = ["3DES"]
integrity = ["SHA_1"]
udp_esp = ["IPSEC_TPT_UDPESP_ENCAPTYPE_OTHER"]
"""


def test_a_nic_of_a_profile_file_takes_its_time_for_a_row() -> None:
    nic = Nic(parse_profile(SLOW, "slow.toml"), iv_source=CountedIvs())
    offloader = Offloader(nic, nic.capabilities.ndis)
    offloader.enable(LinkMedium.ETHERNET)
    add = add_udpesp_sa_buffer(association(), 0).pack(Abi.X64)
    oid = Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA
    assert nic.request(OidRequest(RequestKind.SET, oid, add, Abi.X64)).status == NdisStatus.PENDING
    filled = []
    for _ in range(6):
        nic.poll()
        filled.append((len(nic.card.rows.parser), len(nic.card.rows.inbound)))
    assert filled == [(0, 0), (0, 0), (1, 0), (1, 0), (1, 0), (1, 1)]
    assert Nic(parse_profile(SLOW, "slow.toml"), iv_source=CountedIvs(), row_ticks=0).clock is None


@pytest.mark.rule("A-26")
@pytest.mark.parametrize("same_spi", [True, False])
def test_a_nic_of_a_profile_file_loses_what_it_says_and_its_host_can_add_anew(same_spi: bool) -> None:
    sa, out = association(0x1001), association(0x1002, inbound=False)
    host = host_with([sa, out], parse_profile(SLOW, "slow.toml"))
    nic = host.nic
    assert host.receive(esp_frame(sa))[0] is Reason.OPENED
    nic.reset()
    while nic.clock is not None and nic.clock.waiting():
        nic.poll()
    reason, indication, _ = host.receive(esp_frame(sa))
    assert (reason, indication.frame) == (Reason.NO_PARSER_ENTRY, esp_frame(sa))
    assert host.send(handed_down(out), 1)[0] is Reason.UNKNOWN_SEND_HANDLE
    # A host that noticed forgets what it had, and adds again; the monitor takes the new rows for the new handles.
    assert host.offloader.delete(host.offloaded[0]).status == NdisStatus.INVALID_DATA
    again = association(0x1001 if same_spi else 0x2001)
    assert isinstance(host.offloader.add(again), Offloaded)
    assert host.receive(esp_frame(again))[0] is Reason.OPENED
    assert host.offloader.delete(host.offloaded[1]).status == NdisStatus.INVALID_DATA
    nic.monitor.finish()
