"""No single-bit corruption gets through a whole NIC: every bit of one small packet of every kind, one after another.

The associations are offloaded by OID requests. The oracle makes the packets; what is opened is compared with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nicsim.boundary import OidRequest, RequestKind, UdpType
from nicsim.host.offloader import InSoftware
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import SaKeys
from nicsim.reasons import Reason
from offload_oids import CryptoStatus, NdisStatus, Oid
from tests.builders import (
    AUTH_FAILED,
    TRIPLE_DES,
    Host,
    association,
    decrypted_in_place,
    esp_frame,
    host_with,
    sealed,
)
from tests.card.test_layers import GATE, GATE_PEER, TUNNEL, ah_alone, oracle, pair, with_ah
from tests.card.test_layers import esp as layered_esp
from tests.driver.builders import INNER, ipv4
from tests.ipsec.algorithms import AUTHENTICATED, key_name, oracle_sa
from tests.oracle_esp import iv_length

pytestmark = pytest.mark.rule("N-RX-14", "N-RX-15", "N-RX-16")
PAYLOAD = bytes(range(0x81, 0x95))
NEXT_HEADER = {Mode.TRANSPORT: 6, Mode.TUNNEL: 4}
UNTOUCHED = (0, 0, CryptoStatus.CRYPTO_SUCCESS)


def flipped(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """Each bit of the frame in turn: the byte it is in, and the frame with it the other way."""
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        yield bit // 8, bytes(damaged)


def check_flips(host: Host, frame: bytes, covered: int, status: int, spi_at: int) -> None:
    """Behind `covered` all is refused with `status`; before it, at most the original plaintext is opened."""
    reason, good, descriptor = host.receive(frame)
    assert reason in (Reason.OPENED, Reason.CHECKED)
    whole = good.frame[descriptor.payload_offset : descriptor.payload_end]
    for at, damaged in flipped(frame):
        reason, up, found = host.receive(damaged)
        result = found.crypto_done, found.next_crypto_done, found.crypto_status
        if spi_at <= at < spi_at + 4:
            assert (reason, result, up.frame) == (Reason.SA_NOT_OFFLOADED, UNTOUCHED, damaged), at
            assert not any(up.ipsec), at
        elif at >= covered:
            assert (result, up.frame) == ((1, 0, status), damaged), at
            assert reason is Reason.ICV_WRONG, at
            assert any(up.ipsec), at
        elif found.crypto_done and not found.crypto_status:
            assert up.frame[found.payload_offset : found.payload_end] == whole, at


def belongs_to_version_2(keys: SaKeys) -> bool:
    return keys.encryption.value.startswith("AES") or keys.integrity.value == "HMAC_SHA2_256_128"


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("udp_type", UdpType, ids=lambda udp_type: udp_type.name.lower())
@pytest.mark.parametrize("keys", AUTHENTICATED, ids=key_name)
def test_no_flipped_bit_of_esp_gets_through(keys: SaKeys, udp_type: UdpType, mode: Mode) -> None:
    sa = association(sa_keys=keys, udp_type=udp_type, mode=mode)
    if udp_type is UdpType.IKE and belongs_to_version_2(keys):
        outcome = host_with().offloader.add(sa)
        assert isinstance(outcome, InSoftware)
        assert outcome.reason is Reason.PORT_NOT_PARSED_BY_V2
        return
    host = host_with([sa])
    esp = sealed(sa, payload=PAYLOAD, next_header=NEXT_HEADER[mode])
    frame = esp_frame(sa, esp)
    assert host.receive(frame)[1].frame == decrypted_in_place(frame, esp, sa, PAYLOAD, NEXT_HEADER[mode])
    begin = frame.index(esp)
    # Version 2 does not tell a native tunnel from transport when it is added: the row says transport.
    told = Mode.TRANSPORT if udp_type is UdpType.NATIVE and belongs_to_version_2(keys) else mode
    check_flips(host, frame, begin, AUTH_FAILED[told], begin)


TYPES = [
    (UdpType.NATIVE, UdpType.NATIVE),
    (UdpType.OTHER, UdpType.NATIVE),
    (UdpType.IKE, UdpType.NATIVE),
    (UdpType.NATIVE, UdpType.OTHER),
    (UdpType.NATIVE, UdpType.IKE),
]


@pytest.mark.parametrize(
    ("outer", "inner"), TYPES, ids=[f"{inner.name}-in-{outer.name}".lower() for outer, inner in TYPES]
)
def test_no_flipped_bit_of_two_portions_gets_through(outer: UdpType, inner: UdpType) -> None:
    """Flipped outside, the tunnel portion fails; flipped before it was sealed, the transport portion does."""
    tunnel = association(0x2002, TRIPLE_DES, outer, Mode.TUNNEL)
    transport = association(0x1001, TRIPLE_DES, inner)
    host = host_with([tunnel, transport])
    esp = sealed(transport, payload=PAYLOAD)
    packet = esp_frame(transport, esp)[14:]
    outside = sealed(tunnel, payload=packet, next_header=4)
    frame = esp_frame(tunnel, outside)
    begin = frame.index(outside)
    assert host.receive(frame)[2].next_crypto_done == 1
    check_flips(host, frame, begin, CryptoStatus.CRYPTO_TUNNEL_ESP_AUTH_FAILED, begin)
    inside = packet.index(esp)
    iv = iv_length(oracle_sa(tunnel.keys))
    for at, damaged in flipped(packet):
        reason, up, found = host.receive(esp_frame(tunnel, sealed(tunnel, payload=damaged, next_header=4)))
        if at >= inside + 4:
            status = CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED
            assert (reason, found.next_crypto_done, found.crypto_status) == (Reason.ICV_WRONG, 1, status), at
            assert up.frame[begin + 8 + iv :].startswith(damaged), at
        elif at >= inside:
            assert (reason, found.next_crypto_done) == (Reason.OPENED, 0), at


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("with_esp", [False, True], ids=["ah", "ah-esp"])
def test_no_flipped_bit_of_ah_gets_through(with_esp: bool, mode: Mode) -> None:
    """The length of AH may also be one that no packet of the association has, which is wrong syntax."""
    host, tunnel = host_with(), mode is Mode.TUNNEL
    changes = TUNNEL if tunnel else {}
    add = pair(**changes) if with_esp else ah_alone(**changes)
    request = OidRequest(RequestKind.SET, Oid.OID_TCP_TASK_IPSEC_ADD_SA, add.pack(host.nic.abi), host.nic.abi)
    assert host.nic.request(request).status == NdisStatus.SUCCESS
    payload, protocol = (ipv4(17, INNER)[14:], 4) if tunnel else (INNER, 17)
    if with_esp:
        payload, protocol = layered_esp(oracle(), payload, protocol), 50
    ends = {"src": GATE_PEER, "dst": GATE} if tunnel else {}
    frame = with_ah(ipv4(protocol, payload, **ends))
    failed = CryptoStatus.CRYPTO_TUNNEL_AH_AUTH_FAILED if tunnel else CryptoStatus.CRYPTO_TRANSPORT_AH_AUTH_FAILED
    # The next header, the length, the reserved bytes and the SPI come first; from the sequence number on all is alike.
    check_flips(host, frame, 42, failed, 38)
    for at, damaged in flipped(frame):
        if 34 <= at < 38:
            found = host.receive(damaged)[2]
            syntax = (CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX,) if at == 35 else ()
            assert found.crypto_status in (failed, *syntax), at
