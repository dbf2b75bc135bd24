"""Rules of section 5 that hold of associations as a whole: what a host offloads, and what a NIC makes of it.

Frames are sealed by the oracle (tests/oracle_esp.py), or put together by hand.
"""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from nicsim.boundary import OidRequest, Table, UdpType
from nicsim.capabilities import Capabilities
from nicsim.events import EspSent, OutboundUsable
from nicsim.host.offload_requests import add_sa_buffer, add_udpesp_sa_buffer
from nicsim.host.offloader import InSoftware, Offloaded
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.reasons import Reason
from nicsim.wire.esp import PROTOCOL_AH
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddSa, OffloadIpsecAddUdpespSa
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa, IpsecOffloadV2AddSaEx
from tests.builders import (
    AES,
    LOCAL,
    OTHER_HOST,
    PAYLOAD,
    TRIPLE_DES,
    Host,
    association,
    esp_frame,
    handed_down,
    host_with,
    keys,
    sealed,
)
from tests.driver.builders import (
    AH_ELEMENT,
    INBOUND,
    KEY_3DES,
    KEY_SHA1,
    OUTBOUND,
    SPI,
    bench,
    capabilities,
    esp_element,
    native_frame,
    sa,
    udp_frame,
    udpesp,
    v2,
)
from tests.host.two_hosts import CLIENT, echo, ready, station, tunnel_policies
from tests.ipsec.algorithms import oracle_sa
from tests.oracle_esp import seal

ADDS = {Oid.OID_TCP_TASK_IPSEC_ADD_SA, Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA}
INVALID, UNSUPPORTED = NdisStatus.INVALID_DATA, NdisStatus.NOT_SUPPORTED


# --- before any packet -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["ndis51", "ndis60", "ndis61", "reference"])
@pytest.mark.rule("N-SA-1", "N-SA-17")
def test_both_associations_are_on_the_nic_before_it_gets_the_first_packet_to_work_on(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = station(CLIENT, tunnel_policies(), profile=profile)
    story: list[str] = []
    request, send = client.nic.ndis.request, client.nic.ndis.send

    def asked(one: OidRequest):
        if one.oid in ADDS:
            story.append("add")
        return request(one)

    def sent(frame: bytes, ipsec: bytes, *rest):
        story.append("work" if any(ipsec) else "plain")
        return send(frame, ipsec, *rest)

    monkeypatch.setattr(client.nic.ndis, "request", asked)
    monkeypatch.setattr(client.nic.ndis, "send", sent)
    client.tell(ready(), OutboundUsable(1))
    client.send(echo())
    assert story == ["add", "add", "work"]
    assert {one.table for one in client.nic.driver.state.associations.values()} == {Table.INBOUND, Table.OUTBOUND}
    [told] = [event for event in client.events if isinstance(event, EspSent)]
    assert told.reason is None  # no reason why the host did it itself


# --- members of the request ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", list(Abi))
@pytest.mark.rule("N-SA-4")
def test_protocol_is_as_in_the_ip_header_udp_for_the_udp_form_and_any_for_the_plain_one(abi: Abi) -> None:
    protocol_at = 16  # behind two addresses with their masks
    assert add_udpesp_sa_buffer(association(), 0).pack(abi)[protocol_at] == 17
    assert add_sa_buffer(association(udp_type=UdpType.NATIVE)).pack(abi)[protocol_at] == 0
    nic = bench(abi=abi).enable()
    for protocol in (1, 6, 50, 255):
        nic.refuses(nic.add_udpesp(udpesp(protocol=protocol)), INVALID, Reason.BUFFER_CONTENTS)
        # What a tunnel carries may be anything, and so may what is inside native ESP: it is not looked at.
        ends = {"src_tunnel_addr": LOCAL, "dst_tunnel_addr": OTHER_HOST}
        nic.delete_udpesp(*nic.added_udpesp(udpesp(protocol=protocol, **ends)))
        nic.delete_sa(nic.added(sa(protocol=protocol)))
    assert nic.rows[Table.INBOUND] == {}
    for protocol in (0, 17):
        handles = nic.added_udpesp(udpesp(protocol=protocol))
        assert nic.receive(udp_frame()) is Reason.OPENED
        nic.delete_udpesp(*handles)


@pytest.mark.rule("N-SA-10")
def test_operation_1_is_ah_and_2_is_esp_and_the_spi_has_32_bits() -> None:
    nic = bench().enable()
    for spi in (1, 0x80000000, 0xFFFFFFFF):
        esp = nic.added(sa(sec_assoc=(esp_element(spi),)))
        assert (nic.row().protocol, nic.row().spi) == (50, spi)
        assert nic.receive(native_frame(spi=spi)) is Reason.OPENED
        nic.delete_sa(esp)
        ah = nic.added(sa(sec_assoc=(replace(AH_ELEMENT, spi=spi),), key_mat=KEY_SHA1))
        assert (nic.row().protocol, nic.row().spi) == (51, spi)
        assert nic.receive(native_frame(spi=spi)) is Reason.SA_NOT_OFFLOADED
        nic.delete_sa(ah)
    # The SPI lies in the buffer as on the wire.
    assert sa().pack(Abi.X64).count(SPI.to_bytes(4, "big")) == 1


@pytest.mark.rule("N-SA-9", "A-18")
def test_the_elements_are_in_the_senders_order_and_the_receiver_turns_them_round() -> None:
    nic = bench(capabilities(rows=2)).enable()
    both = {"num_sas": 2, "sec_assoc": (esp_element(), AH_ELEMENT), "key_mat": KEY_3DES + KEY_SHA1 + KEY_SHA1}
    for flags, order in ((OUTBOUND, [50, 51]), (INBOUND, [51, 50])):
        handle = nic.added(sa(flags=flags, **both))
        (first_slot, first), (second_slot, second) = nic.driver.state.associations[handle].rows
        assert [first.protocol, second.protocol] == order
        assert (first.then_slot, second.then_slot) == (second_slot + 1, 0)
        assert (first.linked, second.linked) == (0, 1)
        assert first_slot != second_slot
        turned = {**both, "sec_assoc": both["sec_assoc"][::-1]}
        nic.refuses(nic.add_sa(sa(flags=flags, **turned)), INVALID, Reason.NUMBER_OF_SAS)


@pytest.mark.rule("N-SA-19", "A-20")
def test_no_request_can_say_how_long_an_association_may_live() -> None:
    said = {
        one.name for add in (OffloadIpsecAddSa, OffloadIpsecAddUdpespSa, IpsecOffloadV2AddSa, IpsecOffloadV2AddSaEx)
        for one in fields(add)
    }  # fmt: skip
    assert not [name for name in said if any(word in name for word in ("life", "expir", "limit", "soft", "hard"))]


# --- uniqueness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["ndis51", "ndis61"])
@pytest.mark.rule("N-SA-20")
def test_an_spi_is_offloaded_once_per_destination_and_protocol(profile: str) -> None:
    native = association(0x1001, TRIPLE_DES, UdpType.NATIVE)
    host = host_with([native], profile)
    for twin in (native, association(0x1001, AES), association(0x1001, mode=Mode.TUNNEL)):
        refused = host.offloader.add(twin)
        assert isinstance(refused, InSoftware)
        assert refused.reason is Reason.SPI_NOT_UNIQUE
    ah_keys = keys(Encryption.NULL, Integrity.HMAC_SHA1_96)
    # Another protocol or destination is another association, and packets out are for the peer to tell apart.
    others = [
        replace(association(0x1001, ah_keys, UdpType.NATIVE), protocol=PROTOCOL_AH),
        replace(native, dst=OTHER_HOST),
        association(0x1001, TRIPLE_DES, UdpType.NATIVE, inbound=False),
    ]
    taken = [host.offloader.add(other) for other in others]
    assert all(isinstance(outcome, Offloaded) for outcome in taken), taken
    assert host.receive(esp_frame(native))[0] is Reason.OPENED
    assert host.receive(esp_frame(replace(native, dst=OTHER_HOST)))[0] is Reason.OPENED
    # Once deleted, it is free again, and the twins in the other protocol are where they were.
    host.offloader.delete(host.offloaded[0])
    assert host.receive(esp_frame(native))[0] is Reason.FILTER_MISMATCH
    assert isinstance(host.offloader.add(native), Offloaded)
    assert isinstance(host.offloader.add(others[0]), InSoftware)


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["ndis51", "ndis60", "ndis61"])
@pytest.mark.rule("N-SA-18", "N-TX-6")
def test_packets_to_send_carry_no_key_the_nic_has_them_in_its_table(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = association(0x1001, TRIPLE_DES, inbound=False)
    host = host_with([out], profile)
    crossed: list[bytes] = []
    below = host.nic.ndis.send

    def send(*parts):
        crossed.extend(part for part in parts if isinstance(part, bytes))
        return below(*parts)

    monkeypatch.setattr(host.nic.ndis, "send", send)
    reason, frame = host.send(handed_down(out))
    assert reason is Reason.SEALED
    iv = host.ivs.given[-1]
    assert frame == esp_frame(out, sealed_with(out, iv))
    for key in (out.keys.encryption_key, out.keys.integrity_key):
        for at in range(len(key) - 7):
            assert not [part for part in crossed if key[at : at + 8] in part]


def sealed_with(sa_: SecurityAssociation, iv: bytes) -> bytes:
    """The oracle's packet with an IV that the card chose."""
    return seal(oracle_sa(sa_.keys), sa_.spi, 1, iv, PAYLOAD, 6)


# --- UDP encapsulation -----------------------------------------------------------------------------------------------


@pytest.mark.rule("N-NAT-1", "N-V2-7")
def test_udp_encapsulation_is_for_esp_and_never_for_ah() -> None:
    nic = bench(capabilities(rows=8)).enable()
    before = nic.snapshot()
    alone = {"sec_assoc": (AH_ELEMENT,), "key_mat": KEY_SHA1}
    both = {"num_sas": 2, "sec_assoc": (esp_element(), AH_ELEMENT), "key_mat": KEY_3DES + KEY_SHA1 + KEY_SHA1}
    for members in (alone, both):
        nic.refuses(nic.add_udpesp(udpesp(**members)), UNSUPPORTED, Reason.AH_NOT_CLAIMED)
        nic.refuses(nic.add_udpesp(udpesp(flags=OUTBOUND, **members)), UNSUPPORTED, Reason.AH_NOT_CLAIMED)
    for flag in (1, 2, 4, 8):
        in_udp = v2(encryption=(0, 0, 0, 0), element={"operation": 1}, udp_esp_encapsulation=flag)
        nic.refuses(nic.add_v2(in_udp), UNSUPPORTED, Reason.AH_NOT_CLAIMED)
    assert nic.snapshot() == before
    # Natively the same card takes both.
    nic.added(sa(**alone))
    nic.added(sa(**{**both, "sec_assoc": (esp_element(1), replace(AH_ELEMENT, spi=2))}))


@pytest.mark.rule("N-NAT-1", "N-RX-1")
def test_what_looks_like_ah_on_port_4500_is_read_as_esp() -> None:
    sa_ = association(0x33, AES)
    host = host_with([sa_])
    # An AH header begins with next header, length and two zero bytes: as an SPI, nobody's.
    ah = bytes((50, 4, 0, 0)) + sa_.spi.to_bytes(4, "big") + bytes((0, 0, 0, 1)) + bytes(12) + sealed(sa_)
    reason, indication, descriptor = host.receive(esp_frame(sa_, ah))
    assert (reason, descriptor.crypto_done) == (Reason.SA_NOT_OFFLOADED, 0)
    assert indication.frame == esp_frame(sa_, ah)


# --- the host's own tables, on two NICs ------------------------------------------------------------------------------


def opened(host: Host, sa_: SecurityAssociation, sequence: int) -> bool:
    return host.receive(esp_frame(sa_, sealed(sa_, sequence)))[0] is Reason.OPENED


@pytest.mark.rule("N-RST-7")
def test_a_route_that_moves_to_another_nic_finds_nothing_there_until_it_is_added() -> None:
    sa_, out = association(0x1001, AES), association(0x1002, AES, inbound=False)
    old, new = host_with([sa_, out]), host_with()
    assert opened(old, sa_, 1)
    assert not opened(new, sa_, 2)  # in software until the transport has added it there
    handle = old.offloader.transmit_word(old.offloaded[1].handle)
    assert new.nic.send(handed_down(out), handle).status == NdisStatus.FAILURE
    for one in (sa_, out):
        assert isinstance(new.offloader.add(one), Offloaded)
    assert opened(new, sa_, 3)
    # The old one keeps what it has until the association expires and the transport deletes it.
    assert opened(old, sa_, 4)
    for one in old.offloaded:
        assert old.offloader.delete(one).status == NdisStatus.SUCCESS
    assert not opened(old, sa_, 5)
    assert opened(new, sa_, 6)


# --- 6.0 has the UDP-ESP of 5.1 --------------------------------------------------------------------------------------


def udpesp_story(profile: str, abi: Abi) -> list[object]:
    """Adds and deletes with NULL, known and wrong handles, and what came of each and of the card's parser rows."""
    nic = bench(udpesp_card(profile), abi)
    story: list[object] = []

    def told(result):
        buffer = result.buffer if result.status == NdisStatus.SUCCESS else b""
        ports = sorted(row.port for row in nic.rows[Table.PARSER].values() if row.parser_set == 1)
        story.append((result.status, result.reason, buffer, ports, sorted(nic.driver.state.associations)))

    told(nic.add_udpesp(udpesp(spi=1)))
    sa_handle, entry = sorted(nic.driver.state.associations)[0], sorted(nic.driver.state.parser_entries)[0]
    told(nic.add_udpesp(udpesp(spi=2)))
    told(nic.add_udpesp(udpesp(spi=3, entry=entry)))
    told(nic.add_udpesp(udpesp(spi=4, entry=0xBAD0)))
    told(nic.add_udpesp(udpesp(spi=5, flags=OUTBOUND, entry=0xBAD0)))
    told(nic.add_udpesp(udpesp(4500, 0, spi=6)))
    told(nic.add_udpesp(udpesp(500, 0, spi=7)))
    told(nic.delete_udpesp(sa_handle, 0xBAD0))
    told(nic.delete_udpesp(sa_handle))
    told(nic.delete_udpesp(sa_handle))
    told(nic.delete_udpesp(sorted(nic.driver.state.associations)[0], entry))
    told(nic.delete_sa(sorted(nic.driver.state.associations)[0]))
    return story


def udpesp_card(profile: str) -> Capabilities:
    return capabilities(profile, version1={"udp_esp": 0x33}, rows=8)


@pytest.mark.parametrize("abi", list(Abi))
@pytest.mark.rule("N-CP6-9")
def test_6_0_answers_every_udp_esp_request_as_5_1_does(abi: Abi) -> None:
    story = udpesp_story("ndis51", abi)
    assert udpesp_story("ndis60", abi) == story
    statuses = [status for status, *_ in story]
    assert statuses.count(NdisStatus.SUCCESS) == 8
    assert statuses.count(INVALID) == 4


@pytest.mark.rule("N-VER-2", "A-9")
def test_the_handle_of_a_delete_has_the_width_of_a_pointer_and_is_no_ulong() -> None:
    oid = Oid.OID_TCP_TASK_IPSEC_DELETE_SA
    for abi, size in ((Abi.X86, 4), (Abi.X64, 8)):
        nic = bench(abi=abi)
        handle = nic.added(sa())
        for length in range(size):
            short = nic.set(oid, handle.to_bytes(8, "little")[:length])
            assert (short.status, short.bytes_needed) == (NdisStatus.INVALID_LENGTH, size)
        assert nic.set(oid, handle.to_bytes(size, "little")).status == NdisStatus.SUCCESS
