"""Ethernet, tags, LLC/SNAP and bare IP, IPv4 options and IPv6 extension headers: what the host enables on its link is
processed, all of it, and nothing else.

Hosts enable and offload by OID requests; the packets are those of specimens.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nicsim.boundary import UdpType
from nicsim.host import transport
from nicsim.host.link import Link
from nicsim.host.offloader import LinkMedium, Offloaded, Offloader
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Integrity
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.reasons import BY_NUMBER, Reason
from nicsim.wire.packet import LinkType, parse_frame
from tests.builders import AES, GCM, TRIPLE_DES
from tests.card.specimens import SNAP, TAG, Bytes, Portion, frame, free, packet
from tests.card.test_bit_flips import IP_IN_IP
from tests.host.test_suitable import association_of

ETHERNET, TAGGED, LLC_SNAP, BARE = 0x2, 0x4, 0x10, 0x1
LINKS = {"dix": b"", "tagged": TAG, "two tags": TAG * 2, "snap": SNAP, "bare": None}
NEEDS = {"dix": ETHERNET, "tagged": TAGGED, "two tags": TAGGED, "snap": LLC_SNAP, "bare": BARE}
"""The NDIS_ENCAPSULATION_* bits of each framing (N-CP6-4)."""
SIZES = {LinkMedium.ETHERNET: 14, LinkMedium.LLC_SNAP: 22, LinkMedium.RAW_IP: 0}
V4_OPTIONS, HOP_BY_HOP = bytes.fromhex("94040000"), bytes.fromhex("0000050200000100")  # router alert of either


def nic_for(
    portion: Portion, medium: LinkMedium, profile: str, claimed: int, link_type: int = LinkType.ETHERNET
) -> tuple[Nic, Offloader]:
    """A NIC that claims these encapsulations, and a host on such a link that has offloaded the association."""
    card = replace(load_profile(profile), encapsulations=claimed)
    nic = Nic(card, iv_source=bytes, link_type=link_type)
    offloader = Offloader(nic, card.ndis)
    offloader.enable(medium)
    if offloader.enabled:
        outcome = offloader.add(association_of(portion))
        assert isinstance(outcome, Offloaded), outcome
    return nic, offloader


def specimen(portion: Portion, link: str, payload: bytes = b"sixteen bytes...") -> Bytes:
    """The portion's packet on a link."""
    content = packet(portion, free(payload), IP_IN_IP[portion.ipv6] if portion.mode is Mode.TUNNEL else 17)
    shape = LINKS[link]
    return content if shape is None else frame(portion, content, shape)


def reason_for(nic: Nic, made: Bytes) -> Reason:
    """What the card did; what it opened must be the specimen opened, and what it left alone the specimen."""
    indication, descriptor = nic.receive(made.wire)
    word = transport.ReceiveWords(nic.capabilities.ndis, nic.abi).read(indication.ipsec)
    reason = BY_NUMBER[descriptor.reason]
    processed = reason in (Reason.OPENED, Reason.CHECKED)
    assert word.crypto_done is processed
    assert indication.frame == (made.opened if processed else made.wire)
    return reason


V1_UDP = Portion(Mode.TRANSPORT, TRIPLE_DES, udp=UdpType.OTHER)
V2_UDP = Portion(Mode.TRANSPORT, AES, udp=UdpType.OTHER)


@pytest.mark.parametrize("link", [link for link in LINKS if link != "bare"])
@pytest.mark.parametrize("claimed", [ETHERNET, ETHERNET | TAGGED, ETHERNET | LLC_SNAP, 0x17], ids=hex)
@pytest.mark.parametrize("medium", [LinkMedium.ETHERNET, LinkMedium.LLC_SNAP])
@pytest.mark.parametrize(("profile", "portion"), [("ndis60", V1_UDP), ("ndis61", V2_UDP), ("ndis51", V1_UDP)])
@pytest.mark.rule("N-CP6-4", "N-CP6-5", "N-CP6-6", "N-CAP-3", "N-CAP-5", "N-V2-18")
def test_a_frame_is_processed_where_the_host_enabled_its_framing_and_not_otherwise(
    link: str, claimed: int, medium: LinkMedium, profile: str, portion: Portion
) -> None:
    nic, offloader = nic_for(portion, medium, profile, claimed)
    wanted = {LinkMedium.ETHERNET: ETHERNET | TAGGED | LLC_SNAP, LinkMedium.LLC_SNAP: LLC_SNAP}[medium]
    if profile == "ndis51" and medium is LinkMedium.ETHERNET:
        wanted = ETHERNET | TAGGED  # 5.1 names one encapsulation at a time
    assert offloader.enabled is bool(claimed & wanted)
    reason = reason_for(nic, specimen(portion, link))
    if not claimed & wanted:
        assert reason is Reason.NOT_ENABLED
    elif NEEDS[link] & claimed & wanted:
        assert reason is Reason.OPENED
    else:
        assert reason is Reason.ENCAPSULATION_NOT_ENABLED


@pytest.mark.parametrize(("profile", "portion"), [("ndis60", V1_UDP), ("ndis61", V2_UDP), ("ndis51", V1_UDP)])
@pytest.mark.rule("N-CP6-4", "N-CP6-6")
def test_tags_before_llc_snap_need_both_to_be_enabled(profile: str, portion: Portion) -> None:
    content = packet(portion, free(b"inside"), 17)
    snap = (len(b"\xaa\xaa\x03\0\0\0") + 2 + len(content.wire)).to_bytes(2, "big") + SNAP
    made = frame(portion, content, TAG + snap)
    assert parse_frame(made.wire).encapsulation == TAGGED | LLC_SNAP
    for claimed in (ETHERNET | TAGGED, ETHERNET | LLC_SNAP, ETHERNET | TAGGED | LLC_SNAP):
        nic, _ = nic_for(portion, LinkMedium.ETHERNET, profile, claimed)
        both = claimed & TAGGED and claimed & LLC_SNAP and profile != "ndis51"
        assert reason_for(nic, made) is (Reason.OPENED if both else Reason.ENCAPSULATION_NOT_ENABLED)


@pytest.mark.parametrize(("profile", "portion"), [("ndis60", V1_UDP), ("ndis61", V2_UDP), ("ndis51", V1_UDP)])
@pytest.mark.rule("N-CP6-4", "N-CAP-3")
def test_bare_ip_is_processed_on_a_link_without_headers(profile: str, portion: Portion) -> None:
    made = specimen(portion, "bare")
    nic, offloader = nic_for(portion, LinkMedium.RAW_IP, profile, ETHERNET | BARE, LinkType.RAW)
    assert offloader.enabled
    assert reason_for(nic, made) is Reason.OPENED
    nic, offloader = nic_for(portion, LinkMedium.RAW_IP, profile, ETHERNET, LinkType.RAW)
    assert not offloader.enabled
    assert reason_for(nic, made) is Reason.NOT_ENABLED


@pytest.mark.parametrize("medium", list(LinkMedium))
@pytest.mark.rule("N-CAP-4", "N-CP6-5")
def test_the_header_size_that_the_host_says_is_where_its_own_packets_begin(medium: LinkMedium) -> None:
    ip_packet = packet(V2_UDP, free(b"inside"), 17).wire
    link = Link(medium)
    sent = link.frame(ip_packet)
    assert sent.index(ip_packet) == SIZES[medium]
    parsed = parse_frame(sent, link.type)
    assert sent[parsed.network :] == ip_packet
    assert parsed.encapsulation == {0: BARE, 14: ETHERNET, 22: LLC_SNAP}[SIZES[medium]]


# --- options and extension headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["dix", "tagged", "snap"])
@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("claims", [True, False])
@pytest.mark.rule("N-RX-10", "N-V2-17", "N-V2-18")
def test_options_and_extension_headers_are_processed_where_claimed(link: str, ipv6: bool, claims: bool) -> None:
    portion = Portion(Mode.TRANSPORT, AES, udp=UdpType.OTHER, ipv6=ipv6)
    with_options = replace(portion, options=HOP_BY_HOP if ipv6 else V4_OPTIONS)
    card = load_profile("ndis61")
    assert card.version2 is not None
    version2 = replace(card.version2, ip_options=claims, extension_headers=claims)
    nic = Nic(replace(card, encapsulations=0x17, version2=version2), iv_source=bytes)
    offloader = Offloader(nic, card.ndis)
    offloader.enable(LinkMedium.ETHERNET)
    assert isinstance(offloader.add(association_of(portion)), Offloaded)
    assert reason_for(nic, specimen(portion, link)) is Reason.OPENED
    assert reason_for(nic, specimen(with_options, link)) is (Reason.OPENED if claims else Reason.IP_OPTIONS)


# --- whatever is offloaded is processed -----------------------------------------------------------------------------

KEYS = {"3des": TRIPLE_DES, "aes": AES, "gcm": GCM}


@pytest.mark.rule("N-V2-18")
@given(
    keys=st.sampled_from(sorted(KEYS)),
    mode=st.sampled_from(list(Mode)),
    udp=st.sampled_from([UdpType.NATIVE, UdpType.OTHER]),
    ipv6=st.booleans(),
    ah=st.booleans(),
    options=st.booleans(),
    link=st.sampled_from(["dix", "tagged", "two tags", "snap"]),
    payloads=st.lists(st.binary(max_size=200), min_size=1, max_size=4),
)
@settings(max_examples=150)
def test_every_packet_of_an_offloaded_association_that_the_claims_cover_is_processed(
    keys: str, mode: Mode, udp: UdpType, ipv6: bool, ah: bool, options: bool, link: str, payloads: list[bytes]
) -> None:
    around = Integrity.HMAC_SHA1_96 if ah and udp is UdpType.NATIVE else None  # AH never rides in UDP (N-NAT-1)
    portion = Portion(mode, KEYS[keys], around, udp, 2, ipv6)
    nic, _ = nic_for(portion, LinkMedium.ETHERNET, "ndis61", 0x17)
    # Options under AH are zeroed for its ICV or not, option by option (RFC 4302 appendix A): for the tests of AH.
    arriving = replace(portion, options=HOP_BY_HOP if ipv6 else V4_OPTIONS) if options and around is None else portion
    for payload in payloads:
        inner = payload if mode is Mode.TRANSPORT else b"\x45" + payload  # nothing that could be a second portion
        assert reason_for(nic, specimen(arriving, link, inner)) is Reason.OPENED
