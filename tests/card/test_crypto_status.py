"""Every CryptoStatus in the words of every NDIS version, each brought about by a packet and never by a flag.

All eight are values of one list that the pages of 5.1, 6.0 and 6.1 share (N-RX-15, N-V2-19), so all are tried in each.
CRYPTO_GENERIC_ERROR is "failed, reason unspecified": whatever is wrong with a packet has a code of its own, and what
is left for this one is a card that cannot go on for reasons of its own, as when it has lost a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from nicsim.boundary import UdpType
from nicsim.capabilities import Capabilities, Readings
from nicsim.host.offloader import LinkMedium, Offloaded, Offloader
from nicsim.host.transport import ReceiveWords
from nicsim.impairments import impairment
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Integrity
from nicsim.nic import Nic
from offload_oids import Abi, CryptoStatus
from tests.builders import TRIPLE_DES
from tests.card.specimens import PAYLOAD, Portion, frame, free, packet
from tests.driver.builders import capabilities
from tests.host.test_suitable import association_of

VERSIONS = ("ndis51", "ndis60", "ndis61")
SHA1 = Integrity.HMAC_SHA1_96
ESP = Portion(Mode.TRANSPORT, TRIPLE_DES)
ESP_TUNNEL = Portion(Mode.TUNNEL, TRIPLE_DES, udp=UdpType.OTHER)
AH = Portion(Mode.TRANSPORT, None, SHA1)
AH_TUNNEL = Portion(Mode.TUNNEL, None, SHA1)
BOTH = Portion(Mode.TRANSPORT, TRIPLE_DES, SHA1)


def intact(data: bytes) -> bytes:
    return data


def damaged(data: bytes) -> bytes:
    """The last byte is another: of the ICV, or of what AH covers."""
    return data[:-1] + bytes((data[-1] ^ 1,))


def too_short(data: bytes) -> bytes:
    """An IPv4 packet whose total length leaves SPI, sequence number and half an IV, and no byte behind it."""
    return data[:16] + (20 + 12).to_bytes(2, "big") + data[18 : 14 + 20 + 12]


@dataclass(frozen=True)
class Case:
    """What is offloaded, what arrives, and what is done to it on the way."""

    offloaded: Portion
    arrives: Portion
    on_the_way: Callable[[bytes], bytes] = intact


CASES = {
    CryptoStatus.CRYPTO_SUCCESS: Case(ESP, ESP),
    CryptoStatus.CRYPTO_GENERIC_ERROR: Case(BOTH, BOTH),
    CryptoStatus.CRYPTO_TRANSPORT_AH_AUTH_FAILED: Case(AH, AH, damaged),
    CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED: Case(ESP, ESP, damaged),
    CryptoStatus.CRYPTO_TUNNEL_AH_AUTH_FAILED: Case(AH_TUNNEL, AH_TUNNEL, damaged),
    CryptoStatus.CRYPTO_TUNNEL_ESP_AUTH_FAILED: Case(ESP_TUNNEL, ESP_TUNNEL, damaged),
    CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX: Case(ESP, ESP, too_short),
    CryptoStatus.CRYPTO_INVALID_PROTOCOL: Case(BOTH, replace(BOTH, ah=None)),
}


def card(profile: str, status: CryptoStatus) -> Capabilities:
    """The preset with AH. In version 2 only a reading makes a native association a tunnel (A-35)."""
    tunnel_ah = status is CryptoStatus.CRYPTO_TUNNEL_AH_AUTH_FAILED
    with_ah = {"ah": True, "ah_esp_combined": True}
    claims = {} if profile == "ndis61" else {"version1": with_ah}
    return capabilities(profile, rows=4, readings=Readings(lone_native_esp_is_transport=not tunnel_ah), **claims)


def nic_with(portion: Portion, profile: str, status: CryptoStatus, abi: Abi) -> Nic:
    """A NIC with the association; for the generic error its card loses the row of ESP, which it is told first."""
    before = 1 if profile == "ndis61" else 0  # version 2 has a parser row from the beginning
    generic = status is CryptoStatus.CRYPTO_GENERIC_ERROR
    impairments = [impairment("row-write-lost", before + 1)] if generic else []
    nic = Nic(card(profile, status), iv_source=bytes, abi=abi, impairments=impairments)
    offloader = Offloader(nic, nic.capabilities.ndis)
    offloader.enable(LinkMedium.ETHERNET)
    outcome = offloader.add(association_of(portion))
    assert isinstance(outcome, Offloaded), outcome
    return nic


@pytest.mark.parametrize("abi", list(Abi))
@pytest.mark.parametrize("profile", VERSIONS)
@pytest.mark.parametrize("status", list(CryptoStatus), ids=lambda status: status.name)
@pytest.mark.rule("N-RX-14", "N-RX-15", "N-RX-12", "N-V2-19")
def test_every_status_comes_of_a_packet_in_every_version(status: CryptoStatus, profile: str, abi: Abi) -> None:
    case = CASES[status]
    nic = nic_with(case.offloaded, profile, status, abi)
    whole = frame(case.arrives, packet(case.arrives, free(PAYLOAD), 17))
    arrived = case.on_the_way(whole.wire)
    indication, _ = nic.receive(arrived)
    word = ReceiveWords(nic.capabilities.ndis, abi).read(indication.ipsec)
    assert word.crypto_status is status
    assert (word.crypto_done, word.next_crypto_done, word.sa_delete_request) == (True, False, False)
    # A packet that failed is indicated all the same, as it came.
    assert indication.frame == (whole.opened if status is CryptoStatus.CRYPTO_SUCCESS else arrived)
