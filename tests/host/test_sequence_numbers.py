"""Extended sequence numbers between host and NIC: the half that is not on the wire, and what a packet proves of it.

The guesses are vectors from outside (tests/vectors/README.md); the packets are sealed by the oracle.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nicsim.boundary import OidResult
from nicsim.host import transport
from nicsim.host.replay_window import ReplayWindow
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.reasons import Reason
from offload_oids import CryptoStatus, NdisStatus
from tests.builders import AES, GCM, PAYLOAD, Host, association, esp_frame, host_with, sealed

GUESSES = json.loads((Path(__file__).parents[1] / "vectors" / "esn_guess.json").read_text())["vectors"]
POSSIBLE = [vector for vector in GUESSES if 0 <= vector["seq_high_to_use"] < 1 << 32]


def judged(host: Host, sa: SecurityAssociation, sequence: int) -> transport.Judgement:
    """A packet with this number through the NIC and the host, which then keeps the NIC informed."""
    esp = sealed(sa, sequence, extended=True)
    _, indication, _ = host.receive(esp_frame(sa, esp))
    word = transport.ReceiveWords(host.nic.capabilities.ndis, host.nic.abi).read(indication.ipsec)
    start = esp_frame(sa, esp).index(esp)
    judgement = transport.receive(sa, word, indication.frame, start, start + len(esp), offloaded=True)
    host.offloader.keep_up(host.offloaded[0], sa.window.top)
    return judgement


def known_half(host: Host) -> int:
    """What the card has."""
    (loaded,) = host.nic.card.rows.inbound.values()
    return loaded.row.sequence_high


@pytest.mark.parametrize("vector", POSSIBLE, ids=lambda vector: vector["id"])
@pytest.mark.parametrize("keys", [AES, GCM], ids=["aes", "gcm"])
@pytest.mark.rule("N-V2-9", "N-RX-7")
def test_whatever_half_the_nic_knows_a_genuine_packet_is_known_for_one(vector: dict[str, Any], keys) -> None:
    top, low, high = int(vector["highest_authenticated"], 16), int(vector["seq_low"], 16), vector["seq_high_to_use"]
    sa = replace(association(0x1001, keys, esn=True), window=ReplayWindow(vector["window"]), sequence_high=top >> 32)
    sa.window.top = top
    host = host_with([sa], "ndis61")
    judgement = judged(host, sa, high << 32 | low)
    # By the NIC where the half is the one that it was told, by the host where the window says another one.
    by_nic = high == top >> 32
    assert judgement.opened_by is (transport.OpenedBy.NIC if by_nic else transport.OpenedBy.HOST)
    assert judgement.payload == PAYLOAD
    fresh = (high << 32 | low) > top
    if fresh:
        assert judgement.verdict is transport.HostVerdict.ACCEPTED
    assert sa.window.top == max(top, high << 32 | low)
    assert known_half(host) == sa.sequence_high == sa.window.top >> 32


@pytest.mark.rule("N-V2-13", "A-27")
def test_the_host_tells_the_nic_once_it_is_sure_of_the_wrap_and_not_before() -> None:
    sa = association(0x1001, AES, esn=True)
    sa.window.top = 0xFFFF_FFF0
    host = host_with([sa], "ndis61")
    assert judged(host, sa, 0xFFFF_FFFF).opened_by is transport.OpenedBy.NIC
    forged = bytearray(sealed(sa, 0x1_0000_0000, extended=True))
    forged[-1] ^= 1
    _, indication, _ = host.receive(esp_frame(sa, bytes(forged)))
    word = transport.ReceiveWords(host.nic.capabilities.ndis, host.nic.abi).read(indication.ipsec)
    assert word.crypto_status is CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED
    start = indication.frame.index(bytes(forged))
    bad = transport.receive(sa, word, indication.frame, start, start + len(forged), offloaded=True)
    host.offloader.keep_up(host.offloaded[0], sa.window.top)
    assert (bad.verdict, known_half(host)) == (transport.HostVerdict.ICV_BAD, 0)
    assert judged(host, sa, 0x1_0000_0000).opened_by is transport.OpenedBy.HOST
    assert known_half(host) == 1
    assert judged(host, sa, 0x1_0000_0001).opened_by is transport.OpenedBy.NIC
    # From before the wrap, late: the NIC cannot check it any more, and the host still can.
    late = judged(host, sa, 0xFFFF_FFFE)
    assert (late.opened_by, late.verdict) == (transport.OpenedBy.HOST, transport.HostVerdict.ACCEPTED)
    assert judged(host, sa, 0xFFFF_FFFE).verdict is transport.HostVerdict.DUPLICATE
    assert known_half(host) == 1


@pytest.mark.rule("N-RX-7")
def test_a_number_that_the_nic_confirmed_is_believed_over_the_windows_guess() -> None:
    """A packet from so far back that the window takes it for one ahead; the NIC, told late, still has its half."""
    sa = association(0x1001, AES, esn=True)
    host = host_with([sa], "ndis61")
    sa.window.top = 0x1_0000_000A  # accepted in software meanwhile; the NIC has half 0
    esp = sealed(sa, 0xFFFF_FF00, extended=True)
    assert sa.window.guess_high(0xFFFF_FF00) == 1
    _, indication, _ = host.receive(esp_frame(sa, esp))
    word = transport.ReceiveWords(host.nic.capabilities.ndis, host.nic.abi).read(indication.ipsec)
    start = esp_frame(sa, esp).index(esp)
    judgement = transport.receive(sa, word, indication.frame, start, start + len(esp), offloaded=True)
    assert (judgement.opened_by, judgement.verdict) == (transport.OpenedBy.NIC, transport.HostVerdict.TOO_OLD)
    assert sa.window.top == 0x1_0000_000A


@pytest.mark.rule("N-V2-13")
def test_what_the_driver_does_not_take_over_is_not_taken_for_done(monkeypatch: pytest.MonkeyPatch) -> None:
    sa = association(0x1001, AES, esn=True)
    host = host_with([sa], "ndis61")
    refusal = OidResult(NdisStatus.INVALID_PARAMETER, reason=Reason.UNKNOWN_SA_HANDLE)
    monkeypatch.setattr(host.nic.ndis, "request", lambda request: refusal)
    assert host.offloader.keep_up(host.offloaded[0], 0x1_0000_0000) is Reason.UNKNOWN_SA_HANDLE
    assert sa.sequence_high == 0
    monkeypatch.undo()
    assert host.offloader.keep_up(host.offloaded[0], 0x1_0000_0000) is None
    assert (sa.sequence_high, known_half(host)) == (1, 1)
