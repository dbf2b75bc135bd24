"""Packets of more than one layer, and AH: offloaded by OID requests, made and judged by the oracle."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from nicsim.boundary import Descriptor, Portion, Table
from nicsim.capabilities import NdisVersion
from nicsim.card.receive import explain
from nicsim.driver.indicate import Words
from nicsim.reasons import BY_NUMBER, Reason
from offload_oids import Abi, CryptoStatus, NdisStatus
from offload_oids.ipsec_sa import OffloadAlgoInfo, OffloadSecurityAssociation
from offload_oids.packet_info import (
    IpsecV2TunnelTransmit,
    NdisIpsecOffloadV2TunnelNetBufferListInfo,
    NdisIpsecPacketInfo,
    PacketInfoTransmit,
)
from tests.driver.builders import (
    AH_ELEMENT,
    INBOUND,
    INNER,
    KEY_3DES,
    KEY_AES,
    KEY_MD5,
    KEY_SHA1,
    KEY_SHA256,
    MD5,
    ON,
    OUTBOUND,
    SHA1,
    SPI,
    Bench,
    bench,
    capabilities,
    esp_element,
    ipv4,
    ipv6,
    sa,
    udp,
    udpesp,
    v2,
)
from tests.oracle_esp import OracleSa, iv_length, pad, seal

NONE = 0
KEYS = {NONE: b"", MD5: KEY_MD5, SHA1: KEY_SHA1}
HASHES = {NONE: "", MD5: "md5", SHA1: "sha1"}
AH_SPI = AH_ELEMENT.spi
GATE, GATE_PEER = bytes((203, 0, 113, 2)), bytes((203, 0, 113, 1))
TUNNEL = {"src_tunnel_addr": GATE_PEER, "dest_tunnel_addr": GATE}
UDP_TUNNEL = {"src_tunnel_addr": GATE_PEER, "dst_tunnel_addr": GATE}
C = CryptoStatus


# --- the oracle of AH ------------------------------------------------------------------------------------------------


def with_ah(
    frame: bytes, key: bytes = KEY_SHA1, mac: str = "sha1", icv: int = 12, high: bytes = b"", spi: int = AH_SPI
) -> bytes:
    """An Ethernet frame of IPv4 without options or IPv6 without extension headers, its payload behind AH."""
    packet = bytearray(frame[14:])
    front = 20 if packet[0] >> 4 == 4 else 40
    length = 24 if icv == 12 else 28 if front == 20 else 32
    protocol_at = 9 if front == 20 else 6
    head = bytes((packet[protocol_at], length // 4 - 2, 0, 0)) + spi.to_bytes(4, "big") + bytes((0, 0, 0, 1))
    packet[protocol_at] = 51
    packet[front:front] = head + bytes(length - 12)
    if front == 20:
        packet[2:4] = len(packet).to_bytes(2, "big")
        mutable = (1, 6, 7, 8, 10, 11)
    else:
        packet[4:6] = (len(packet) - 40).to_bytes(2, "big")
        packet[0:4] = b"\x60\0\0\0"
        mutable = (7,)
    signed = bytearray(packet)
    for place in mutable:
        signed[place] = 0
    packet[front + 12 : front + 12 + icv] = hmac.digest(key, bytes(signed) + high, mac)[:icv]
    return frame[:14] + bytes(packet)


def esp(oracle: OracleSa, payload: bytes = INNER, next_header: int = 17, spi: int = SPI, sequence: int = 1) -> bytes:
    return seal(oracle, spi, sequence, b"\x5a" * iv_length(oracle), payload, next_header, sequence >= 1 << 32)


def oracle(integrity: int = SHA1) -> OracleSa:
    return OracleSa("3des", KEY_3DES, HASHES[integrity], KEYS[integrity], 12 if integrity else 0)


def ah_element(integrity: int = SHA1, spi: int = AH_SPI) -> OffloadSecurityAssociation:
    return OffloadSecurityAssociation(1, spi, OffloadAlgoInfo(integrity, len(KEYS[integrity])), OffloadAlgoInfo())


def pair(ah: int = SHA1, inner: int = SHA1, **changes: object):
    """The add of ESP and AH together; the keys come in element order (A-2)."""
    elements = (esp_element(integrity=inner), ah_element(ah))
    return sa(num_sas=2, sec_assoc=elements, key_mat=KEY_3DES + KEYS[inner] + KEYS[ah], **changes)


def ah_alone(**changes: object):
    return sa(sec_assoc=(ah_element(),), key_mat=KEY_SHA1, **changes)


def enabled(**changes) -> Bench:
    nic = bench(capabilities(rows=8, **changes))
    assert nic.encapsulate(ON, ON).status == NdisStatus.SUCCESS
    return nic


def blank(frame: bytes, *spans: tuple[int, int]) -> bytes:
    for begin, end in spans:
        frame = frame[:begin] + bytes(end - begin) + frame[end:]
    return frame


# --- AH, alone and with ESP ------------------------------------------------------------------------------------------

PAIRS = [(ah, inner) for ah in (MD5, SHA1) for inner in (MD5, SHA1, NONE)]


@pytest.mark.rule("N-CAP-16", "A-18", "A-29", "A-2", "N-RX-12", "N-SA-17")
@pytest.mark.parametrize("tunnel", [False, True])
@pytest.mark.parametrize(("ah", "inner"), PAIRS)
def test_every_pair_of_ah_and_esp_is_opened_in_place(ah: int, inner: int, tunnel: bool) -> None:
    nic = enabled()
    nic.added(pair(ah, inner, **(TUNNEL if tunnel else {})))
    payload, next_header = (ipv4(17, INNER)[14:], 4) if tunnel else (INNER, 17)
    ends = {"src": GATE_PEER, "dst": GATE} if tunnel else {}
    frame = with_ah(ipv4(50, esp(oracle(inner), payload, next_header), **ends), KEYS[ah], HASHES[ah])
    up, descriptor = nic.card.receive(frame)
    body = 14 + 20 + 24 + 8 + 8
    plaintext = pad(oracle(inner), payload, next_header)
    assert up == frame[:body] + plaintext + frame[body + len(plaintext) :]
    assert BY_NUMBER[descriptor.reason] is Reason.OPENED
    assert (descriptor.crypto_done, descriptor.next_crypto_done, descriptor.crypto_status) == (1, 0, 0)
    assert (descriptor.payload_offset, descriptor.payload_end) == (body, body + len(plaintext))
    indicated = nic.driver.indicate(up, descriptor)
    assert indicated.header == bytes((plaintext[-1], plaintext[-2], 1, 0))


@pytest.mark.rule("N-TX-3", "N-SA-9", "N-TX-5", "N-CAP-16")
@pytest.mark.parametrize(("ah", "inner"), PAIRS)
def test_every_pair_of_esp_and_ah_is_sealed_as_the_oracle_does(ah: int, inner: int) -> None:
    nic = enabled()
    handle = nic.added(pair(ah, inner, flags=OUTBOUND))
    wire = with_ah(ipv4(50, esp(oracle(inner))), KEYS[ah], HASHES[ah])
    body = 14 + 20 + 24 + 8 + 8
    plaintext = pad(oracle(inner), INNER, 17)
    framed = wire[:body] + plaintext + bytes(12 if inner else 0)
    sent = nic.driver.send(blank(framed, (46, 58), (body - 8, body)), handle.to_bytes(8, "little"))
    assert (sent.reason, sent.frame) == (Reason.SEALED, wire)


@pytest.mark.rule("N-RX-6", "N-RX-12")
@pytest.mark.parametrize("version", [1, 2])
def test_ah_alone_is_checked_and_the_frame_stays_as_it_came(version: int) -> None:
    nic = enabled()
    if version == 1:
        nic.added(ah_alone())
        frame = with_ah(ipv4(17, INNER))
    else:
        nic.added_v2(v2_ah(ipv6=True))
        frame = with_ah(ipv6(17, INNER), KEY_SHA256, "sha256", 16)
    up, descriptor = nic.card.receive(frame)
    assert (up, BY_NUMBER[descriptor.reason]) == (frame, Reason.CHECKED)
    assert (descriptor.crypto_done, descriptor.next_crypto_done, descriptor.crypto_status) == (1, 0, 0)
    assert nic.driver.indicate(up, descriptor).header == b""


def v2_ah(**changes: object):
    element = {"operation": 1, "spi": AH_SPI, "encryption_algorithm": type(v2().sec_assoc[0].encryption_algorithm)()}
    key = {"key": KEY_AES[:16] + KEY_SHA256}
    return v2(element={**element, **changes.pop("element", {})}, udp_esp_encapsulation=0, **key, **changes)


@pytest.mark.rule("N-TX-3", "N-TX-4")
def test_ah_alone_is_sealed_and_must_be_framed() -> None:
    nic = enabled()
    word = nic.added(ah_alone(flags=OUTBOUND)).to_bytes(8, "little")
    wire = with_ah(ipv4(17, INNER))
    assert nic.driver.send(blank(wire, (46, 58)), word).frame == wire
    for bad in (ipv4(17, udp(INNER)), with_ah(ipv4(17, INNER), spi=7), wire[:35] + b"\x02" + wire[36:]):
        assert nic.driver.send(bad, word).reason is Reason.BAD_SEND_FRAME
    pair_word = nic.added(pair(flags=OUTBOUND)).to_bytes(8, "little")
    assert nic.driver.send(wire, pair_word).reason is Reason.BAD_SEND_FRAME  # AH is there, ESP is not


@pytest.mark.rule("N-RX-15")
@pytest.mark.parametrize(
    ("frame", "reason", "status"),
    [
        (ipv4(50, esp(oracle())), Reason.PROTOCOL_INVALID, C.CRYPTO_INVALID_PROTOCOL),
        (with_ah(ipv4(17, INNER)), Reason.PROTOCOL_INVALID, C.CRYPTO_INVALID_PROTOCOL),
        (with_ah(ipv4(50, esp(oracle(), spi=9))), Reason.PROTOCOL_INVALID, C.CRYPTO_INVALID_PROTOCOL),
        (with_ah(ipv4(50, esp(oracle())[:7])), Reason.SYNTAX_INVALID, C.CRYPTO_INVALID_PACKET_SYNTAX),
        (with_ah(ipv4(50, esp(oracle())[:27])), Reason.SYNTAX_INVALID, C.CRYPTO_INVALID_PACKET_SYNTAX),
        (ipv4(51, with_ah(ipv4(17, INNER))[34:50]), Reason.SYNTAX_INVALID, C.CRYPTO_INVALID_PACKET_SYNTAX),
    ],
)
def test_a_packet_must_have_the_headers_of_its_association(frame: bytes, reason: Reason, status: int) -> None:
    nic = enabled()
    nic.added(pair())
    up, descriptor = nic.card.receive(frame)
    assert (up, BY_NUMBER[descriptor.reason], descriptor.crypto_status) == (frame, reason, status)
    assert (descriptor.crypto_done, descriptor.payload_end) == (1, 0)


@pytest.mark.rule("N-ADD-6", "N-SA-17", "N-SA-21")
def test_both_rows_of_a_handle_come_and_go_together() -> None:
    for failing in (0, 1):
        nic = enabled()
        before = nic.snapshot()
        nic.card.fail_writes = {len(nic.card.writes) + failing}
        nic.refuses(nic.add_sa(pair()), NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED)
        assert nic.snapshot() == before
    handle = nic.added(pair())
    (first, covered) = nic.driver.state.associations[handle].rows
    assert (first[1].protocol, first[1].then_slot, covered[1].protocol) == (51, covered[0] + 1, 50)
    assert (first[1].linked, covered[1].linked, covered[1].then_slot) == (0, 1, 0)
    nic.delete_sa(handle)
    assert nic.rows[Table.INBOUND] == {}
    tight = bench(capabilities(rows=1))
    tight.refuses(tight.add_sa(pair()), NdisStatus.RESOURCES, Reason.SA_TABLE_FULL)


@pytest.mark.rule("A-29", "N-SA-11", "N-SA-13")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sec_assoc": (esp_element(conf=0, integrity=0), ah_element()), "num_sas": 2}, Reason.NOT_AUTHENTICATED),
        ({"sec_assoc": (esp_element(integrity=0),), "key_mat": KEY_3DES}, Reason.NOT_AUTHENTICATED),
        ({"sec_assoc": (ah_element(NONE),), "key_mat": b""}, Reason.NOT_AUTHENTICATED),
        ({"sec_assoc": (replace(ah_element(), conf_algo=OffloadAlgoInfo(3, 24)),)}, Reason.BUFFER_CONTENTS),
        ({"sec_assoc": (ah_element(),), "key_mat": KEY_SHA1 + b"1"}, Reason.KEY_LENGTH),
        ({"sec_assoc": (esp_element(), ah_element(spi=0)), "num_sas": 2}, Reason.SPI_ZERO),
    ],
)
def test_what_no_association_may_be_is_refused(changes: dict[str, object], reason: Reason) -> None:
    nic = bench()
    nic.refuses(nic.add_sa(sa(**changes)), NdisStatus.INVALID_DATA, reason)


# --- two portions ----------------------------------------------------------------------------------------------------

INNER_SPI = 0x0E0F1011


@dataclass(frozen=True)
class Case:
    """A tunnel portion around a transport portion: how to offload each, and how each is put around a payload."""

    name: str
    flag: int
    """The version 1 parse flag of the subtype; 0 where neither rides in UDP."""
    tunnel: Callable[[int], object]
    transport: Callable[[int], object]
    wrap: Callable[[bytes], bytes]
    """From the transport packet to the frame."""
    inside: Callable[[], bytes]
    """The transport portion as an IP packet."""
    codes: tuple[CryptoStatus, CryptoStatus]
    """A wrong ICV of the tunnel portion, of the transport portion."""


def esp_tunnel(packet: bytes) -> bytes:
    return ipv4(50, esp(oracle(MD5), packet, 4), src=GATE_PEER, dst=GATE)


def udp_tunnel(packet: bytes, port: int = 4500, marker: bytes = b"") -> bytes:
    return ipv4(17, udp(marker + esp(oracle(MD5), packet, 4), port), src=GATE_PEER, dst=GATE)


def esp_inside() -> bytes:
    return ipv4(50, esp(oracle(), spi=INNER_SPI))[14:]


def udp_inside(port: int = 4500, marker: bytes = b"") -> bytes:
    return ipv4(17, udp(marker + esp(oracle(), spi=INNER_SPI), port))[14:]


def ah_inside() -> bytes:
    return with_ah(ipv4(17, INNER), spi=INNER_SPI)[14:]


def plain_tunnel(flags: int):
    return sa(sec_assoc=(esp_element(integrity=MD5),), key_mat=KEY_3DES + KEY_MD5, flags=flags, **TUNNEL)


def tunnel_in_udp(port: int = 4500, kind: int = 1):
    element = {"sec_assoc": (esp_element(integrity=MD5),), "key_mat": KEY_3DES + KEY_MD5}
    return lambda flags: udpesp(port, kind, flags=flags, **element, **UDP_TUNNEL)


def transport(flags: int):
    return sa(sec_assoc=(esp_element(INNER_SPI),), flags=flags)


def transport_in_udp(port: int = 4500, kind: int = 1):
    return lambda flags: udpesp(port, kind, spi=INNER_SPI, flags=flags)


def ah_transport(flags: int):
    return sa(sec_assoc=(ah_element(spi=INNER_SPI),), key_mat=KEY_SHA1, flags=flags)


def ah_tunnel(flags: int):
    return sa(sec_assoc=(ah_element(),), key_mat=KEY_SHA1, flags=flags, **TUNNEL)


def wrap_in_ah(packet: bytes) -> bytes:
    return with_ah(ipv4(4, packet, src=GATE_PEER, dst=GATE))


ZEROS = bytes(8)
ESP_CODES = (C.CRYPTO_TUNNEL_ESP_AUTH_FAILED, C.CRYPTO_TRANSPORT_ESP_AUTH_FAILED)
AH_IN_ESP = (C.CRYPTO_TUNNEL_ESP_AUTH_FAILED, C.CRYPTO_TRANSPORT_AH_AUTH_FAILED)
ESP_IN_AH = (C.CRYPTO_TUNNEL_AH_AUTH_FAILED, C.CRYPTO_TRANSPORT_ESP_AUTH_FAILED)
# fmt: off
CASES = [
    Case("native in native", 0, plain_tunnel, transport, esp_tunnel, esp_inside, ESP_CODES),
    Case("native in udp", 0x40, tunnel_in_udp(), transport, udp_tunnel, esp_inside, ESP_CODES),
    Case("native in udp, type IKE", 0x04, tunnel_in_udp(500, 0), transport,
         lambda packet: udp_tunnel(packet, 500, ZEROS), esp_inside, ESP_CODES),
    Case("udp in native", 0x80, plain_tunnel, transport_in_udp(), esp_tunnel, udp_inside, ESP_CODES),
    Case("udp in native, type IKE", 0x08, plain_tunnel, transport_in_udp(500, 0), esp_tunnel,
         lambda: udp_inside(500, ZEROS), ESP_CODES),
    Case("ah in esp", 0, plain_tunnel, ah_transport, esp_tunnel, ah_inside, AH_IN_ESP),
    Case("esp in ah", 0, ah_tunnel, transport, wrap_in_ah, esp_inside, ESP_IN_AH),
]
# fmt: on
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def offload(nic: Bench, add) -> int:
    return nic.added_udpesp(add)[0] if hasattr(add, "encap_type_entry") else nic.added(add)


def nic_of(case: Case, *, inner: bool = True, outer: bool = True, **changes) -> Bench:
    nic = enabled(**changes)
    if outer:
        offload(nic, case.tunnel(INBOUND))
    if inner:
        offload(nic, case.transport(INBOUND))
    return nic


def outcome(nic: Bench, frame: bytes) -> tuple[bytes, Descriptor, Reason]:
    up, descriptor = nic.card.receive(frame)
    assert len(up) == len(frame)
    taken = explain(nic.card.card.rows, frame, 1)
    reason = BY_NUMBER[descriptor.reason]
    assert taken[-1].reason is (None if reason in (Reason.OPENED, Reason.CHECKED) else reason)
    assert all(0 <= begin <= end <= len(frame) for begin, end in (step.looked_at for step in taken))
    return up, descriptor, reason


@pytest.mark.rule("N-RX-3", "N-RX-12", "A-22", "N-ENC-2", "A-8")
@EVERY_CASE
def test_both_portions_are_processed(case: Case) -> None:
    nic = nic_of(case)
    packet = case.inside()
    up, descriptor, reason = outcome(nic, case.wrap(packet))
    assert reason is Reason.OPENED
    assert (descriptor.crypto_done, descriptor.next_crypto_done, descriptor.crypto_status) == (1, 1, 0)
    assert INNER in up
    assert (descriptor.slot, descriptor.next_slot) == (1, 2)
    end = descriptor.payload_end
    assert nic.driver.indicate(up, descriptor).header == bytes((up[end - 1], up[end - 2], 1, 0))
    assert up[end - 1] == (4 if case.codes is AH_IN_ESP else 17)


@pytest.mark.rule("N-RX-16", "N-RX-14")
@EVERY_CASE
def test_the_portion_that_failed_is_named(case: Case) -> None:
    nic = nic_of(case)
    packet = case.inside()
    good = case.wrap(packet)
    up, descriptor, reason = outcome(nic, good[:-1] + bytes((good[-1] ^ 1,)))
    assert (reason, descriptor.crypto_status, descriptor.next_crypto_done) == (Reason.ICV_WRONG, case.codes[0], 0)
    damaged = packet[:-1] + bytes((packet[-1] ^ 1,))
    up, descriptor, reason = outcome(nic, case.wrap(damaged))
    assert (reason, descriptor.crypto_status, descriptor.next_crypto_done) == (Reason.ICV_WRONG, case.codes[1], 1)
    assert damaged in up  # the tunnel is open, what failed is as it came


@pytest.mark.rule("A-4", "N-RX-2")
@EVERY_CASE
def test_one_portion_that_is_not_offloaded(case: Case) -> None:
    frame = case.wrap(case.inside())
    up, descriptor, reason = outcome(nic_of(case, outer=False), frame)
    assert (up, descriptor.crypto_done) == (frame, 0)
    other = replace(capabilities().readings, outer_layer_alone_is_processed=False)
    ports = case.name.startswith("udp in")
    for readings, expected, done in ((None, Reason.OPENED, 1), (other, Reason.INNER_NOT_OFFLOADED, 0)):
        nic = nic_of(case, inner=False, readings=readings)
        if ports:  # without its parser entry the datagram inside would be no ESP for the card
            spare = case.transport(INBOUND)
            offload(nic, replace(spare, sec_assoc=(esp_element(0x77),)))
        up, descriptor, reason = outcome(nic, frame)
        if expected is Reason.OPENED and case.codes is ESP_IN_AH:
            expected = Reason.CHECKED
        assert (reason, descriptor.crypto_done, descriptor.next_crypto_done) == (expected, done, 0)
        assert (case.inside() in up) if done else up == frame


@pytest.mark.rule("A-4", "N-CAP-10", "N-CAP-9", "N-V2-2")
@EVERY_CASE
def test_a_combination_that_is_not_claimed_is_left_alone(case: Case) -> None:
    frame = case.wrap(case.inside())
    none = {"transport_tunnel_combined": False}
    nic = nic_of(case, version1=none, version2=none)
    up, descriptor, reason = outcome(nic, frame)
    assert (up, reason, descriptor.crypto_done) == (frame, Reason.COMBINATION_NOT_ENABLED, 0)
    if case.flag:
        nic = nic_of(case, version1={"udp_esp": 0xFF & ~case.flag}, version2={"udp_esp": 3})
        assert outcome(nic, frame)[2] is Reason.COMBINATION_NOT_ENABLED
        nic = nic_of(case, version1={"udp_esp": 0x33 | case.flag}, version2={"udp_esp": 3})
        assert outcome(nic, frame)[2] is Reason.OPENED


@pytest.mark.rule("N-ENC-1")
def test_udp_in_udp_is_never_processed() -> None:
    nic = enabled()
    nic.added_udpesp(tunnel_in_udp()(INBOUND))
    nic.added_udpesp(transport_in_udp()(INBOUND))
    frame = udp_tunnel(udp_inside())
    assert outcome(nic, frame)[0::2] == (frame, Reason.COMBINATION_NOT_ENABLED)


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(6, bytes(20))[14:],
        ipv4(17, udp(INNER, 53))[14:],
        ipv4(17, udp(b"\xff"))[14:],
        ipv4(17, udp(bytes(4) + INNER))[14:],
        ipv4(50, bytes(4))[14:],
        b"\x45",
        ipv4(50, bytes(20))[14:30],
        ipv4(50, bytes(20))[14:20] + b"\x20\x00" + ipv4(50, bytes(20))[22:],
    ],
)
@pytest.mark.rule("N-RX-12", "N-RX-9")
def test_a_tunnel_that_holds_no_whole_ipsec_packet_is_one_portion(packet: bytes) -> None:
    _, descriptor, reason = outcome(nic_of(CASES[0]), esp_tunnel(packet))
    assert (reason, descriptor.next_crypto_done, descriptor.next_slot) == (Reason.OPENED, 0, 0)


@pytest.mark.rule("N-RX-16", "A-35")
def test_the_portion_inside_is_the_transport_one_whatever_its_row_says() -> None:
    nic = nic_of(CASES[0])
    nic.card.write_row(Table.INBOUND, 1, replace(nic.rows[Table.INBOUND][1], portion=Portion.TUNNEL))
    packet = esp_inside()
    descriptor = outcome(nic, esp_tunnel(packet[:-1] + bytes((packet[-1] ^ 1,))))[1]
    assert descriptor.crypto_status == C.CRYPTO_TRANSPORT_ESP_AUTH_FAILED


@pytest.mark.rule("N-TX-4")
def test_ah_that_covers_something_else_than_esp_is_not_framed_for_the_pair() -> None:
    nic = enabled()
    word = nic.added(pair(flags=OUTBOUND)).to_bytes(8, "little")
    assert nic.driver.send(with_ah(ipv4(50, esp(oracle()))), word).reason is Reason.SEALED
    assert nic.driver.send(with_ah(ipv4(17, esp(oracle()))), word).reason is Reason.BAD_SEND_FRAME


@pytest.mark.rule("A-25", "N-V2-14")
def test_6_0_has_no_tunnel_word() -> None:
    one, two = (7).to_bytes(8, "little"), (9).to_bytes(8, "little")
    assert Words(NdisVersion.NDIS_6_0, Abi.X64).transmit_handles(one, two) == (7, 0)
    assert Words(NdisVersion.NDIS_6_1, Abi.X64).transmit_handles(one, two) == (7, 9)


# --- sending both ----------------------------------------------------------------------------------------------------


def framed(case: Case, nic: Bench) -> bytes:
    """What the host hands down: the frame as the card opens it, without IVs and ICVs that it could copy."""
    return nic.card.receive(case.wrap(case.inside()))[0]


@pytest.mark.rule("N-TX-1", "N-V2-14", "A-25")
@EVERY_CASE
def test_two_payloads_are_sealed_by_their_two_handles(case: Case) -> None:
    wire = case.wrap(case.inside())
    for profile in ("ndis51", "reference"):
        nic = bench(capabilities(profile, rows=8))
        inner, outer = offload(nic, case.transport(OUTBOUND)), offload(nic, case.tunnel(OUTBOUND))
        handed_down = framed(case, nic_of(case))
        if profile == "ndis51":
            words = (NdisIpsecPacketInfo(transmit=PacketInfoTransmit(inner, outer)).pack(nic.abi), b"")
        else:
            arm = IpsecV2TunnelTransmit(tunnel_handle=outer)
            tunnel = NdisIpsecOffloadV2TunnelNetBufferListInfo(transmit=arm).pack(nic.abi)
            words = (inner.to_bytes(8, "little"), tunnel)
        sent = nic.driver.send(handed_down, *words)
        assert (sent.status, sent.reason, sent.frame) == (NdisStatus.SUCCESS, Reason.SEALED, wire)


@pytest.mark.rule("N-TX-10", "N-V2-16")
def test_an_unknown_tunnel_handle_fails_the_send() -> None:
    nic = enabled()
    inner = nic.added(transport(OUTBOUND))
    for handle in (7, nic.added(plain_tunnel(INBOUND))):
        sent = nic.driver.send(esp_tunnel(esp_inside()), inner.to_bytes(8, "little"), handle.to_bytes(8, "little"))
        assert (sent.status, sent.frame, sent.reason) == (NdisStatus.FAILURE, b"", Reason.UNKNOWN_SEND_HANDLE)


@pytest.mark.rule("N-TX-4", "N-TX-7")
def test_a_transport_portion_that_is_not_framed_fails_the_send_whole() -> None:
    nic = enabled()
    slots = [nic.driver.state.associations[nic.added(add(OUTBOUND))].rows[0][0] for add in (transport, plain_tunnel)]
    for packet, reason in (
        (ipv4(6, bytes(20))[14:], Reason.BAD_SEND_FRAME),
        (b"\x45" + bytes(19), Reason.BAD_SEND_FRAME),
        (esp_inside()[:6] + b"\x20\x00" + esp_inside()[8:], Reason.SEND_FRAGMENT),
    ):
        plaintext = pad(oracle(MD5), packet, 4)
        handed = ipv4(50, esp(oracle(MD5))[:16] + plaintext + bytes(12), src=GATE_PEER, dst=GATE)
        assert nic.card.send(handed, slots[0], slots[1]) == (handed, reason)
    assert nic.card.send(ipv4(6, bytes(40)), slots[0], slots[1])[1] is Reason.BAD_SEND_FRAME
    assert nic.card.send(handed, slots[0], 99)[1] is Reason.UNKNOWN_SEND_HANDLE


# --- extended sequence numbers ---------------------------------------------------------------------------------------

AES_SHA256 = OracleSa("aes-cbc", KEY_AES[:16], "sha256", KEY_SHA256, 16)
ESN = {"flags": 1, "sequence_number_high_order": 7}


@pytest.mark.rule("N-V2-9", "N-V2-13")
def test_the_row_says_the_high_half_and_the_card_guesses_nothing() -> None:
    nic = enabled(version2={"extended_sequence_numbers": True})
    handle = nic.added_v2(v2(udp_esp_encapsulation=0, element=ESN))
    frames = {high: ipv4(50, esp(AES_SHA256, sequence=high << 32 | 1)) for high in (6, 7, 8)}
    assert [nic.receive(frames[high]) for high in frames] == [Reason.ICV_WRONG, Reason.OPENED, Reason.ICV_WRONG]
    [(slot, row)] = nic.driver.state.associations[handle].rows
    nic.card.write_row(Table.INBOUND, slot, replace(row, sequence_high=8))
    assert [nic.receive(frames[high]) for high in frames] == [Reason.ICV_WRONG, Reason.ICV_WRONG, Reason.OPENED]
    refusing = enabled(version2={"extended_sequence_numbers": False})
    result = refusing.add_v2(v2(udp_esp_encapsulation=0, element=ESN))
    refusing.refuses(result, NdisStatus.NOT_SUPPORTED, Reason.ESN_NOT_CLAIMED)


@pytest.mark.rule("N-V2-9")
def test_ah_counts_the_high_half_too_in_both_directions() -> None:
    nic = enabled(version2={"extended_sequence_numbers": True})
    nic.added_v2(v2_ah(element=ESN))
    outbound = nic.added_v2(v2_ah(element=ESN, flags=0))
    wire = with_ah(ipv4(17, INNER), KEY_SHA256, "sha256", 16, (7).to_bytes(4, "big"))
    assert nic.receive(wire) is Reason.CHECKED
    short = with_ah(ipv4(17, INNER), KEY_SHA256, "sha256", 16)
    assert nic.card.receive(short)[1].crypto_status == C.CRYPTO_TRANSPORT_AH_AUTH_FAILED
    assert nic.driver.send(blank(wire, (46, 62)), outbound.to_bytes(8, "little")).frame == wire


@pytest.mark.rule("N-V2-9", "N-TX-3")
def test_esp_is_sealed_with_the_high_half() -> None:
    nic = enabled(version2={"extended_sequence_numbers": True})
    handle = nic.added_v2(v2(udp_esp_encapsulation=0, element=ESN, flags=0))
    wire = ipv4(50, esp(AES_SHA256, sequence=7 << 32 | 1))
    body = 14 + 20 + 8 + 16
    handed = wire[:body] + pad(AES_SHA256, INNER, 17) + bytes(16)
    assert nic.driver.send(handed, handle.to_bytes(8, "little")).frame == wire


@pytest.mark.rule("N-V2-1", "N-V2-7")
@pytest.mark.parametrize(
    ("claims", "add", "reason"),
    [
        ({"ah": False}, v2_ah(), Reason.AH_NOT_CLAIMED),
        ({"esp": False}, v2(), Reason.ESP_NOT_CLAIMED),
        ({"ah_esp_combined": False}, "pair", Reason.AH_NOT_CLAIMED),
    ],
)
def test_version_2_refuses_what_is_not_claimed_and_takes_what_is(claims, add, reason: Reason) -> None:
    add = v2_pair() if add == "pair" else add
    nic = enabled(version2=claims)
    nic.refuses(nic.add_v2(add), NdisStatus.NOT_SUPPORTED, reason)
    assert enabled().added_v2(add)


def v2_pair():
    (element,) = v2().sec_assoc
    (covering,) = v2_ah().sec_assoc
    return replace(v2(udp_esp_encapsulation=0), num_ext_hdrs=2, sec_assoc=(element, covering))


@pytest.mark.rule("A-18", "N-V2-7")
def test_version_2_opens_esp_behind_ah() -> None:
    nic = enabled()
    nic.added_v2(v2_pair())
    assert nic.receive(with_ah(ipv4(50, esp(AES_SHA256)), KEY_SHA256, "sha256", 16)) is Reason.OPENED


# --- every bit -------------------------------------------------------------------------------------------------------


def flips(nic: Bench, frame: bytes, first: int, last: int) -> list[tuple[bytes, Descriptor]]:
    results = []
    for bit in range(8 * first, 8 * last):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        results.append(nic.card.receive(bytes(damaged)))
    return results


@pytest.mark.rule("N-RX-14", "N-RX-15", "N-RX-16")
@EVERY_CASE
def test_no_flipped_bit_of_two_portions_goes_unnoticed(case: Case) -> None:
    nic = nic_of(case)
    frame = case.wrap(case.inside())
    # AH covers the IP header too; the UDP header is covered by nothing.
    begin = 42 if case.name.startswith("native in udp") else 34
    for up, descriptor in flips(nic, frame, begin, len(frame)):
        assert INNER not in up
        assert not descriptor.crypto_done or descriptor.crypto_status in (case.codes[0], 6)


@pytest.mark.rule("N-RX-14", "N-RX-15")
@pytest.mark.parametrize(("ah", "inner"), PAIRS)
def test_no_flipped_bit_of_ah_and_esp_goes_unnoticed(ah: int, inner: int) -> None:
    nic = enabled()
    nic.added(pair(ah, inner))
    frame = with_ah(ipv4(50, esp(oracle(inner))), KEYS[ah], HASHES[ah])
    for number, (up, descriptor) in enumerate(flips(nic, frame, 34, len(frame))):
        assert INNER not in up
        byte = 34 + number // 8
        if 38 <= byte < 42:  # the SPI of AH
            assert BY_NUMBER[descriptor.reason] is Reason.SA_NOT_OFFLOADED
        elif byte == 35:  # the length of AH
            assert descriptor.crypto_status in (C.CRYPTO_TRANSPORT_AH_AUTH_FAILED, C.CRYPTO_INVALID_PACKET_SYNTAX)
        else:
            assert descriptor.crypto_status == C.CRYPTO_TRANSPORT_AH_AUTH_FAILED


@pytest.mark.rule("N-RX-14", "N-RX-16")
@pytest.mark.parametrize("portion", Portion)
def test_ah_that_is_good_around_esp_that_is_not(portion: Portion) -> None:
    nic = enabled()
    tunnel = portion is Portion.TUNNEL
    nic.added(pair(**(TUNNEL if tunnel else {})))
    bad = esp(oracle())[:-1] + b"\0"
    frame = with_ah(ipv4(50, bad, **({"src": GATE_PEER, "dst": GATE} if tunnel else {})))
    up, descriptor, reason = outcome(nic, frame)
    assert (up, reason) == (frame, Reason.ICV_WRONG)
    assert descriptor.crypto_status == {0: 3, 1: 5}[portion]
