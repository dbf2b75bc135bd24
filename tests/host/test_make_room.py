"""The driver asks for room, and the host answers with two deletes: frame by frame, through a whole NIC (N-SA-22)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nicsim.boundary import OidRequest, OidResult, UdpType
from nicsim.capabilities import Capabilities, MakeRoom, Readings
from nicsim.host import transport
from nicsim.host.offloader import InSoftware, Offloaded
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from tests.builders import AES, OTHER_HOST, PAYLOAD, TRIPLE_DES, Host, association, esp_frame, host_with, sealed

ABIS = pytest.mark.parametrize("abi", list(Abi))
DELETE, DELETE_UDPESP = Oid.OID_TCP_TASK_IPSEC_DELETE_SA, Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA
DELETE_V2 = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA


def small(profile: str, rows: int = 1, **changes) -> Capabilities:
    caps = load_profile(profile)
    make_room = MakeRoom.LEAST_RECENTLY_USED
    return replace(caps, inbound_rows=rows, outbound_rows=rows, make_room=make_room, **changes)


def pair(spi: int, keys=TRIPLE_DES, udp_type: UdpType = UdpType.OTHER) -> list[SecurityAssociation]:
    """An inbound association and its outbound partner, as negotiated."""
    made = [association(spi + number, keys, udp_type, inbound=not number) for number in range(2)]
    made[0].partner, made[1].partner = made[1], made[0]
    return made


class Recorded:
    """The deletes that a host sends, and how many associations the driver had before each of them."""

    def __init__(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.deletes: list[OidRequest] = []
        self.results: list[OidResult] = []
        self.held: list[int] = []
        below = host.nic.ndis.request

        def request(one: OidRequest) -> OidResult:
            if one.oid in (DELETE, DELETE_UDPESP, DELETE_V2):
                self.deletes.append(one)
                self.held.append(len(host.nic.driver.state.associations))
            return below(one)

        monkeypatch.setattr(host.nic.ndis, "request", request)

    def handles(self) -> list[int]:
        """The offload handle in each buffer, which is the first pointer, or the second of version 2."""
        found = []
        for one in self.deletes:
            size = one.abi.pointer_size
            at = 2 * size if one.oid == DELETE_V2 else 0  # header and Next come first
            found.append(int.from_bytes(one.buffer[at : at + size], "little"))
        return found


def word(host: Host, sa: SecurityAssociation, sequence: int = 1) -> tuple[transport.ReceiveWord, bytes]:
    """What the host reads beside a received packet of the association, and the frame as it was indicated."""
    _, indication, _ = host.receive(esp_frame(sa, sealed(sa, sequence)))
    caps = host.nic.capabilities
    return transport.ReceiveWords(caps.ndis, host.nic.abi).read(indication.ipsec), indication.frame


CASES = [
    ("ndis51", TRIPLE_DES, UdpType.NATIVE, DELETE),
    ("ndis51", TRIPLE_DES, UdpType.OTHER, DELETE_UDPESP),
    ("ndis60", TRIPLE_DES, UdpType.NATIVE, DELETE),
    ("ndis60", TRIPLE_DES, UdpType.OTHER, DELETE_UDPESP),
    ("reference", TRIPLE_DES, UdpType.OTHER, DELETE_UDPESP),
    ("reference", AES, UdpType.OTHER, DELETE_V2),
    ("ndis61", TRIPLE_DES, UdpType.NATIVE, DELETE_V2),
    ("ndis61", AES, UdpType.OTHER, DELETE_V2),
]


@ABIS
@pytest.mark.parametrize(("profile", "keys", "udp_type", "oid"), CASES)
@pytest.mark.rule("N-SA-22", "A-21", "N-V2-12", "N-DEL-3")
def test_two_deletes_inbound_first_and_the_next_add_finds_room(
    profile: str, keys, udp_type: UdpType, oid: int, abi: Abi, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, out = pair(0x1000, keys, udp_type)
    host = host_with([into, out], small(profile), abi=abi)
    newcomer, newcomer_out = pair(0x2000, keys, udp_type)
    refused = host.offloader.add(newcomer)
    assert isinstance(refused, InSoftware)
    assert refused.reason is Reason.SA_TABLE_FULL
    recorded = Recorded(host, monkeypatch)

    first, _ = word(host, into, 1)
    second, frame = word(host, into, 2)
    assert [one.sa_delete_request for one in (first, second)] == [False, True]
    # Independent of CryptoDone: the packet was processed all the same, and the host takes it.
    assert second.crypto_done
    esp = frame.index(into.spi.to_bytes(4, "big"))
    judged = transport.receive(into, second, frame, esp, len(frame), offloaded=True)
    assert (judged.verdict, judged.opened_by) == (transport.HostVerdict.ACCEPTED, transport.OpenedBy.NIC)

    moved = host.offloader.answer_delete_request(host.offloaded[0])
    assert [one.oid for one in recorded.deletes] == [oid, oid]
    assert recorded.handles() == [offloaded.handle for offloaded in host.offloaded]
    assert recorded.held == [2, 1]  # the NIC kept each until its own delete
    assert [(offloaded.association, why.reason, why.status) for offloaded, why in moved] == [
        (into, Reason.DELETE_REQUESTED, NdisStatus.SUCCESS), (out, Reason.DELETE_REQUESTED, NdisStatus.SUCCESS),
    ]  # fmt: skip
    assert host.nic.driver.state.associations == {}
    assert host.offloader.parser_entries == []
    assert {slot for slot in host.nic.card.rows.parser if host.nic.card.rows.parser[slot].parser_set == 1} == set()

    for sa in (newcomer, newcomer_out):
        assert isinstance(host.offloader.add(sa), Offloaded)
    # The one that made room goes up as it came, and the host does it itself.
    third, frame = word(host, into, 3)
    assert (third.crypto_done, third.sa_delete_request) == (False, False)
    judged = transport.receive(into, third, frame, esp, len(frame), offloaded=False)
    assert (judged.opened_by, judged.payload) == (transport.OpenedBy.HOST, PAYLOAD)
    assert word(host, newcomer, 1)[0].crypto_done


@ABIS
@pytest.mark.parametrize("profile", ["ndis51", "ndis60", "ndis61"])
@pytest.mark.rule("N-SA-22", "N-RX-12", "N-V2-19")
def test_the_request_is_bit_0_of_the_word_and_changes_no_other(profile: str, abi: Abi) -> None:
    sa = association()
    host = host_with([sa], small(profile), abi=abi)
    before, after = (host.receive(esp_frame(sa))[1].ipsec for _ in range(2))
    changed = [(at, one ^ other) for at, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert [bit for _, bit in changed] == [1]
    assert after[changed[0][0]] & 0b111 == 0b011


@ABIS
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.rule("A-21", "N-SA-22", "N-PE-4", "N-ADD-4")
def test_udp_esp_is_deleted_by_its_own_oid_or_by_the_named_one_in_either_reading(
    keeps: bool, abi: Abi, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, out = pair(0x1000)
    host = host_with([into, out], small("ndis60", readings=Readings(delete_request_keeps_the_oid=keeps)), abi=abi)
    (entry,) = host.nic.driver.state.parser_entries
    recorded = Recorded(host, monkeypatch)
    moved = host.offloader.answer_delete_request(host.offloaded[0])
    assert [why.status for _, why in moved] == [NdisStatus.SUCCESS] * 2
    assert host.nic.driver.state.associations == {}
    named = [one.buffer[abi.pointer_size :] for one in recorded.deletes]
    if keeps:
        assert [one.oid for one in recorded.deletes] == [DELETE_UDPESP] * 2
        assert named == [entry.to_bytes(abi.pointer_size, "little"), bytes(abi.pointer_size)]
        assert host.nic.driver.state.parser_entries == {}
    else:
        # A plain delete cannot name the entry, so it stays, and both sides know that it does.
        assert [one.oid for one in recorded.deletes] == [DELETE] * 2
        assert named == [b"", b""]
        assert list(host.nic.driver.state.parser_entries) == [entry]
        assert [(kept.handle, kept.references) for kept in host.offloader.parser_entries] == [(entry, 0)]
    again = host.offloader.add(association(0x3000))
    assert isinstance(again, Offloaded)
    assert [kept.references for kept in host.offloader.parser_entries] == [1]
    assert (list(host.nic.driver.state.parser_entries) == [entry]) is not keeps


@pytest.mark.rule("N-SA-22")
def test_the_matching_outbound_one_is_the_negotiated_partner_not_its_neighbour() -> None:
    old, new = pair(0x1000), pair(0x2000)  # as after a rekeying: the same flow twice
    host = host_with([*old, *new], small("ndis60", rows=8))
    moved = host.offloader.answer_delete_request(host.offloaded[2])
    assert [offloaded.association.spi for offloaded, _ in moved] == [0x2000, 0x2001]
    moved = host.offloader.answer_delete_request(host.offloaded[0])
    assert [offloaded.association.spi for offloaded, _ in moved] == [0x1000, 0x1001]
    assert host.nic.driver.state.associations == {}


@pytest.mark.rule("N-SA-22")
def test_without_a_partner_the_flow_tells_which_outbound_one_matches() -> None:
    into = association(0x1000)
    out = association(0x1001, inbound=False)
    to_others = [
        replace(out, spi=0x1002, dst=OTHER_HOST),
        association(0x1003, inbound=False, mode=Mode.TUNNEL),
        association(0x1004, udp_type=UdpType.NATIVE, inbound=False),
        association(0x1005, inbound=False, port=61000),
    ]
    host = host_with([into, *to_others, out], small("ndis60", rows=8))
    moved = host.offloader.answer_delete_request(host.offloaded[0])
    assert [offloaded.association.spi for offloaded, _ in moved] == [0x1000, 0x1001]
    assert len(host.nic.driver.state.associations) == len(to_others)


@pytest.mark.rule("N-SA-22")
def test_an_inbound_one_without_partner_goes_alone_and_asking_again_does_nothing() -> None:
    into = association(0x1000)
    host = host_with([into, association(0x2001, udp_type=UdpType.NATIVE, inbound=False)], small("ndis60", rows=4))
    moved = host.offloader.answer_delete_request(host.offloaded[0])
    assert [offloaded.association for offloaded, _ in moved] == [into]
    assert host.offloader.answer_delete_request(host.offloaded[0]) == []
    # Nor does a request that comes late for an SPI which has been offloaded anew.
    assert isinstance(host.offloader.add(association(0x1000)), Offloaded)
    assert host.offloader.answer_delete_request(host.offloaded[0]) == []
    assert len(host.nic.driver.state.associations) == 2


@pytest.mark.parametrize("status", [NdisStatus.NOT_ACCEPTED, NdisStatus.RESET_IN_PROGRESS, NdisStatus.REQUEST_ABORTED])
@pytest.mark.rule("N-SA-22", "N-DEL-1")
def test_a_delete_that_is_turned_away_leaves_the_association_and_its_count_as_they_were(
    status: NdisStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, out = pair(0x1000)
    host = host_with([into, out], small("ndis60"))
    monkeypatch.setattr(host.nic.ndis, "request", lambda request: OidResult(status, request.buffer))
    assert host.offloader.answer_delete_request(host.offloaded[0]) == []
    monkeypatch.undo()
    assert [entry.references for entry in host.offloader.parser_entries] == [1]
    moved = host.offloader.answer_delete_request(host.offloaded[0])
    assert [offloaded.association for offloaded, _ in moved] == [into, out]
    assert host.offloader.parser_entries == []
