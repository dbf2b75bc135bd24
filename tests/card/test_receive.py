from dataclasses import dataclass, replace

import pytest

from nicsim.boundary import CardControl, ParserRow, Portion, SaRow, Table, UdpType
from nicsim.card import receive as card_receive
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.reasons import BY_NUMBER, Reason
from nicsim.wire.checksum import udp_checksum
from nicsim.wire.headers import MORE_FRAGMENTS, build_ipv4, build_udp
from nicsim.wire.packet import LinkType
from offload_oids import CryptoStatus
from offload_oids.ndis_offload import NdisEncapsulations
from tests.builders import (
    AES,
    AUTH_FAILED,
    GCM,
    LOCAL,
    LOCAL6,
    NON_IKE,
    OTHER_HOST,
    PAYLOAD,
    PEER,
    PEER6,
    TCP,
    TRIPLE_DES,
    CountedIvs,
    Host,
    association,
    decrypted_in_place,
    esp_frame,
    ethernet,
    host_with,
    ip,
    keys,
    native_esp,
    reference,
    sealed,
    udp,
    without_options,
)
from tests.ipsec.algorithms import oracle_sa
from tests.oracle_esp import iv_length, mac

V1_UDP = association(0x1001)
V1_IKE = association(0x1002, udp_type=UdpType.IKE)
V1_NATIVE = association(0x1003, keys(Encryption.DES_CBC, Integrity.HMAC_MD5_96), UdpType.NATIVE)
V1_UDP_TUNNEL = association(0x1004, mode=Mode.TUNNEL)
V1_NATIVE_TUNNEL = association(0x1005, TRIPLE_DES, UdpType.NATIVE, Mode.TUNNEL)
V1_NULL = association(0x1006, keys(Encryption.NULL, Integrity.HMAC_MD5_96))
V2_UDP = association(0x2001, AES)
V2_NATIVE = association(0x2003, AES, UdpType.NATIVE)
V2_UDP_TUNNEL = association(0x2004, GCM, mode=Mode.TUNNEL)
V6_UDP = association(0x3001, AES, ipv6=True)
V6_NATIVE = association(0x3003, GCM, UdpType.NATIVE, ipv6=True)
ALL = [
    *(V1_UDP, V1_IKE, V1_NATIVE, V1_UDP_TUNNEL, V1_NATIVE_TUNNEL, V1_NULL),
    *(V2_UDP, V2_NATIVE, V2_UDP_TUNNEL, V6_UDP, V6_NATIVE),
]
IDS = [
    *("v1-udp", "v1-ike", "v1-native", "v1-udp-tunnel", "v1-native-tunnel", "v1-null"),
    *("v2-udp", "v2-native", "v2-udp-tunnel", "v6-udp", "v6-native"),
]

GOOD = esp_frame(V1_UDP)
ESP = sealed(V1_UDP)
ROUTER_ALERT = bytes.fromhex("94040000")
HOP_BY_HOP = bytes.fromhex("3200050200000100")
VLAN = bytes.fromhex("81000064")


def idle_nic() -> Host:
    """The reference NIC before anything was enabled."""
    capabilities = load_profile("reference")
    host = host_with([V1_UDP])
    nic = Nic(capabilities, iv_source=CountedIvs())
    return Host(nic, host.offloader, host.ivs, [])


HOSTS = {
    "all": lambda: host_with(ALL),
    "idle": idle_nic,
    "untagged only": lambda: host_with(ALL, reference(encapsulations=NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_802_3)),
    "no options": lambda: host_with(ALL, without_options()),
    "version 1": lambda: host_with([V1_UDP], "ndis51"),
    "version 2": lambda: host_with([V2_UDP, V2_NATIVE], "ndis61"),
}


@dataclass(frozen=True)
class Untouched:
    """A frame that the card leaves alone, why, and by which rule; and the host that it arrives at."""

    name: str
    reason: Reason
    rule: str
    frame: bytes
    host: str = "all"


def ipv4_fragment(offset: int, more: bool, data: bytes) -> bytes:
    flags = MORE_FRAGMENTS if more else 0
    return ethernet(build_ipv4(PEER, LOCAL, 17, data, flags=flags, fragment_offset=offset, identification=7))


def ipv6_fragment(offset: int, more: bool, data: bytes) -> bytes:
    header = bytes((17, 0)) + (offset | more).to_bytes(2, "big") + bytes.fromhex("cafe0001")
    return ethernet(ip(header + data, 44, PEER6, LOCAL6))


def native_to_other(sa: SecurityAssociation) -> bytes:
    return native_esp(sealed(sa), dst=OTHER_HOST)


def patched(frame: bytes, offset: int, change: bytes) -> bytes:
    return frame[:offset] + change + frame[offset + len(change) :]


def snap(packet: bytes) -> bytes:
    """An IPv4 packet behind an 802.3 length and an LLC/SNAP header."""
    payload = bytes.fromhex("aaaa030000000800") + packet
    return MACS + len(payload).to_bytes(2, "big") + payload


MACS = GOOD[:12]
DATAGRAM = build_udp(4500, 4500, ESP)
STRANGE = sealed(V1_UDP, spi=0x9999)
TAGGED = ethernet(GOOD[14:], VLAN)
OPTIONS_FRAME = udp(ESP, options=ROUTER_ALERT)
EXTENDED_FRAME = ethernet(ip(HOP_BY_HOP + sealed(V6_NATIVE), 0, PEER6, LOCAL6))
IKE_MESSAGE = bytes.fromhex("00112233445566778899aabbccddeeff0110020000000000") + (28).to_bytes(4, "big")
AH = bytes.fromhex("06040000") + V1_NATIVE.spi.to_bytes(4, "big") + bytes(16) + PAYLOAD

R = Reason
# fmt: off
UNTOUCHED = [
    # no IP, or not to be believed
    Untouched("arp",                      R.NOT_IP,    "N-RX-13", MACS + bytes.fromhex("0806") + bytes(28)),
    Untouched("802.3 without snap",       R.NOT_IP,    "N-RX-13", MACS + bytes.fromhex("0026424203") + bytes(35)),
    Untouched("empty frame",              R.MALFORMED, "N-RX-13", b""),
    Untouched("cut in the link header",   R.MALFORMED, "N-RX-13", GOOD[:13]),
    Untouched("cut in the ip header",     R.MALFORMED, "N-RX-13", GOOD[:33]),
    Untouched("cut in the packet",        R.MALFORMED, "N-RX-13", GOOD[:-1]),
    Untouched("ip version 5",             R.MALFORMED, "N-RX-13", patched(GOOD, 14, b"\x55")),
    Untouched("ip header of 16 bytes",    R.MALFORMED, "N-RX-13", patched(GOOD, 14, b"\x44")),
    Untouched("total length below header", R.MALFORMED, "N-RX-13", patched(GOOD, 16, b"\0\x13")),
    Untouched("udp length 7",             R.MALFORMED, "N-RX-13", patched(GOOD, 38, b"\0\x07")),
    Untouched("udp length beyond ip",     R.MALFORMED, "N-RX-13", patched(GOOD, 38, b"\0\xff")),
    Untouched("native esp of 7 bytes",    R.MALFORMED, "N-RX-13", native_esp(sealed(V1_NATIVE)[:7])),
    Untouched("ah of 11 bytes",           R.MALFORMED, "N-RX-13", ethernet(ip(AH[:11], 51))),
    # enabled for what
    Untouched("nothing is enabled",       R.NOT_ENABLED, "N-CP6-6", GOOD, "idle"),
    Untouched("tagged, not enabled",      R.ENCAPSULATION_NOT_ENABLED, "N-CP6-6", TAGGED, "untagged only"),
    Untouched("llc/snap, not claimed",    R.ENCAPSULATION_NOT_ENABLED, "N-CP6-6", snap(GOOD[14:])),
    # fragments
    Untouched("first fragment",           R.FRAGMENT, "N-RX-9", ipv4_fragment(0, True, DATAGRAM[:64])),
    Untouched("middle fragment",          R.FRAGMENT, "N-RX-9", ipv4_fragment(32, True, DATAGRAM[32:64])),
    Untouched("last fragment",            R.FRAGMENT, "N-RX-9", ipv4_fragment(64, False, DATAGRAM[64:])),
    Untouched("first ipv6 fragment",      R.FRAGMENT, "N-RX-9", ipv6_fragment(0, True, DATAGRAM[:64])),
    Untouched("last ipv6 fragment",       R.FRAGMENT, "N-RX-9", ipv6_fragment(64, False, DATAGRAM[64:])),
    # options
    Untouched("options, not claimed",     R.IP_OPTIONS, "N-RX-10", OPTIONS_FRAME, "no options"),
    Untouched("extension headers, not claimed", R.IP_OPTIONS, "N-RX-10", EXTENDED_FRAME, "no options"),
    # not for IPsec, not for a parser entry
    Untouched("tcp",                      R.NOT_IPSEC, "N-RX-13", ethernet(ip(bytes(20), 6))),
    Untouched("icmp",                     R.NOT_IPSEC, "N-RX-13", ethernet(ip(bytes(8), 1))),
    Untouched("icmp for ipv6",            R.NOT_IPSEC, "N-RX-13", ethernet(ip(bytes(8), 58, PEER6, LOCAL6))),
    Untouched("dns",                      R.NO_PARSER_ENTRY, "N-RX-4", udp(ESP, 53)),
    Untouched("esp on the wrong port",    R.NO_PARSER_ENTRY, "N-RX-4", udp(ESP, 4501)),
    Untouched("4500 as the source port only", R.NO_PARSER_ENTRY, "N-RX-4", udp(ESP, 1024, 4500)),
    Untouched("ike on 500, no such entry", R.NO_PARSER_ENTRY, "N-RX-5", udp(IKE_MESSAGE, 500, 500), "version 1"),
    # IKE
    Untouched("ike on 4500",              R.IKE, "N-RX-1", udp(bytes(4) + IKE_MESSAGE)),
    Untouched("marker and nothing on 4500", R.IKE, "N-RX-1", udp(bytes(4))),
    Untouched("eight zeros on 4500 are ike", R.IKE, "N-RX-1", udp(NON_IKE + sealed(V1_IKE))),
    Untouched("ike on 500",               R.IKE, "N-NAT-6", udp(IKE_MESSAGE, 500, 500)),
    Untouched("cookie that begins with zeros", R.IKE, "N-NAT-6", udp(bytes(7) + b"\1" + IKE_MESSAGE[8:], 500, 500)),
    Untouched("cookie with four zeros",   R.IKE, "N-NAT-6", udp(bytes(4) + IKE_MESSAGE[4:], 500, 500)),
    Untouched("eight zeros and eight bytes on 500", R.IKE, "N-NAT-6", udp(NON_IKE + b"12345678", 500, 500)),
    Untouched("eight zeros on 500",       R.IKE, "N-NAT-6", udp(NON_IKE, 500, 500)),
    Untouched("bare esp on 500 is ike",   R.IKE, "N-NAT-6", udp(sealed(V1_IKE), 500, 500)),
    # keepalives and runts
    Untouched("keepalive on 4500",        R.KEEPALIVE, "N-NAT-5", udp(b"\xff")),
    Untouched("keepalive on 500",         R.KEEPALIVE, "N-NAT-5", udp(b"\xff", 500, 500)),
    Untouched("one byte that is not FF",  R.RUNT, "N-RX-5", udp(b"\xfe")),
    Untouched("two bytes FF",             R.RUNT, "N-RX-5", udp(b"\xff\xff")),
    Untouched("nothing on 500",           R.RUNT, "N-RX-5", udp(b"", 500, 500)),
    *(Untouched(f"runt of {length} bytes", R.RUNT, "N-RX-5", udp(ESP[:length])) for length in range(8)),
    *(Untouched(f"{length} zeros", R.RUNT, "N-RX-5", udp(bytes(length))) for length in range(4)),
    *(Untouched(f"{length} zeros", R.IKE, "N-RX-1", udp(bytes(length))) for length in range(4, 17)),
    # no association
    Untouched("unknown spi in udp",       R.SA_NOT_OFFLOADED, "N-RX-2", udp(STRANGE)),
    Untouched("unknown spi, native",      R.SA_NOT_OFFLOADED, "N-RX-2", native_esp(STRANGE)),
    Untouched("unknown spi, type IKE",    R.SA_NOT_OFFLOADED, "N-RX-2", udp(NON_IKE + STRANGE, 500, 500)),
    Untouched("ah with the spi of esp",   R.SA_NOT_OFFLOADED, "N-RX-2", ethernet(ip(AH, 51))),
    Untouched("esp with an spi of one header on", R.SA_NOT_OFFLOADED, "N-RX-2", udp(bytes.fromhex("0badcafe") + ESP)),
    # other addresses and ports
    Untouched("other destination",        R.FILTER_MISMATCH, "N-SA-2", udp(ESP, dst=OTHER_HOST)),
    Untouched("other source",             R.FILTER_MISMATCH, "N-SA-2", udp(ESP, src=OTHER_HOST)),
    Untouched("other destination, native", R.FILTER_MISMATCH, "N-SA-2", native_to_other(V1_NATIVE)),
    Untouched("other destination, version 2", R.FILTER_MISMATCH, "N-V2-17", native_to_other(V2_NATIVE)),
    Untouched("other tunnel end",         R.FILTER_MISMATCH, "A-36", udp(sealed(V1_UDP_TUNNEL), dst=OTHER_HOST)),
    Untouched("ipv6 for an ipv4 association", R.FILTER_MISMATCH, "N-SA-2", udp(ESP, src=PEER6, dst=LOCAL6)),
    Untouched("ipv4 for an ipv6 association", R.FILTER_MISMATCH, "N-V2-8", udp(sealed(V6_UDP))),
    # carried in another way
    Untouched("native association in udp", R.ENCAPSULATION_MISMATCH, "N-RX-2", udp(sealed(V1_NATIVE))),
    Untouched("udp association, native",  R.ENCAPSULATION_MISMATCH, "N-RX-2", native_esp(ESP)),
    Untouched("native version 2 in udp",  R.ENCAPSULATION_MISMATCH, "N-RX-2", udp(sealed(V2_NATIVE))),
    Untouched("version 2 of udp, native", R.ENCAPSULATION_MISMATCH, "N-RX-2", native_esp(sealed(V2_UDP))),
    Untouched("type OTHER behind zeros",  R.ENCAPSULATION_MISMATCH, "N-RX-2", udp(NON_IKE + ESP, 500, 500)),
    Untouched("type IKE without them",    R.ENCAPSULATION_MISMATCH, "N-RX-2", udp(sealed(V1_IKE))),
]
# fmt: on


@pytest.fixture(scope="module")
def hosts() -> dict[str, Host]:
    """Every kind of host once; receiving changes none of them."""
    return {name: make() for name, make in HOSTS.items()}


@pytest.fixture
def host() -> Host:
    return host_with(ALL)


# --- left untouched ---------------------------------------------------------------------------------------------------


@pytest.mark.rule("A-23")
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=pytest.mark.rule(case.rule, "N-RX-13")) for case in UNTOUCHED]
)
def test_a_frame_that_is_not_for_offload_goes_up_as_it_came(hosts: dict[str, Host], case: Untouched) -> None:
    reason, indication, descriptor = hosts[case.host].receive(case.frame)
    assert reason is case.reason
    assert indication.frame == case.frame
    assert not any(indication.ipsec)
    assert indication.header == b""
    assert (descriptor.crypto_done, descriptor.next_crypto_done, descriptor.crypto_status) == (0, 0, 0)
    assert (descriptor.slot, descriptor.parser_slot, descriptor.payload_offset, descriptor.payload_end) == (0, 0, 0, 0)


def test_every_reason_to_leave_a_frame_alone_is_shown() -> None:
    numbers = range(Reason.NOT_IP.number, Reason.ENCAPSULATION_MISMATCH.number + 1)
    assert {case.reason for case in UNTOUCHED} == {BY_NUMBER[number] for number in numbers}


def test_a_link_that_is_neither_ethernet_nor_ip_carries_no_ip() -> None:
    reason, indication, _ = host_with([V1_UDP], link_type=113).receive(GOOD)
    assert (reason, indication.frame) == (Reason.NOT_IP, GOOD)


# --- explained --------------------------------------------------------------------------------------------------------

EXPLAINED = [(case.name, case.host, case.frame) for case in UNTOUCHED] + [
    *((name, "all", esp_frame(sa)) for name, sa in zip(IDS, ALL, strict=True)),
    ("options", "all", OPTIONS_FRAME),
    ("extension headers", "all", EXTENDED_FRAME),
    ("wrong icv", "all", GOOD[:-1] + bytes((GOOD[-1] ^ 1,))),
    ("too short for its association", "all", udp(ESP[:20])),
    ("tagged", "all", TAGGED),
]


@pytest.mark.parametrize(("kind", "frame"), [pytest.param(k, f, id=name) for name, k, f in EXPLAINED])
def test_the_explanation_ends_where_the_card_did(hosts: dict[str, Host], kind: str, frame: bytes) -> None:
    card = hosts[kind].nic.card
    reason, _, descriptor = hosts[kind].receive(frame)
    steps = card_receive.explain(card.rows, frame, card.link_type)
    asked = [step.question for step in card_receive.STEPS]
    assert [step.question for step in steps] == [*asked, "Is its ICV right?"][: len(steps)]
    assert all(step.reason is None for step in steps[:-1])
    assert steps[-1].reason is (None if reason is Reason.OPENED else reason)
    assert (len(steps) > len(asked)) == bool(descriptor.crypto_done)
    for step in steps:
        begin, end = step.looked_at
        assert 0 <= begin <= end <= len(frame)
    assert hosts[kind].receive(frame)[0] is reason  # and explaining changed nothing


# --- opened -----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-RX-6", "N-RX-8", "A-3", "N-RX-12", "N-V2-19")
@pytest.mark.parametrize("sa", ALL, ids=IDS)
def test_ciphertext_becomes_plaintext_and_nothing_else_changes(host: Host, sa: SecurityAssociation) -> None:
    esp = sealed(sa)
    frame = esp_frame(sa, esp)
    reason, indication, descriptor = host.receive(frame)
    assert reason is Reason.OPENED
    assert indication.frame == decrypted_in_place(frame, esp, sa, PAYLOAD, TCP)
    assert len(indication.frame) == len(frame)
    assert indication.ipsec == bytes.fromhex("0200000000000000")
    begin = frame.index(esp) + 8 + iv_length(oracle_sa(sa.keys))
    assert (descriptor.payload_offset, descriptor.payload_end) == (begin, len(frame) - sa.keys.icv_length)
    assert (descriptor.crypto_done, descriptor.next_crypto_done, descriptor.crypto_status) == (1, 0, 0)


def test_the_descriptor_names_the_row_and_the_parser_row(host: Host) -> None:
    rows = host.nic.card.rows
    for sa in ALL:
        descriptor = host.receive(esp_frame(sa))[2]
        assert rows.inbound[descriptor.slot - 1].row.spi == sa.spi
        if sa.udp_type is UdpType.NATIVE:
            assert descriptor.parser_slot == 0
        else:
            parser = rows.parser[descriptor.parser_slot - 1]
            assert (parser.port, parser.udp_type) == (sa.dst_port, sa.udp_type)
            assert parser.parser_set == rows.inbound[descriptor.slot - 1].row.parser_set


@pytest.mark.rule("N-RX-7")
def test_the_card_looks_at_no_sequence_number(host: Host) -> None:
    for sequence in (1, 1, 0, 2**32 - 1, 5, 1):
        assert host.receive(esp_frame(V1_UDP, sealed(V1_UDP, sequence)))[0] is Reason.OPENED


@pytest.mark.rule("N-RX-7", "N-RX-8")
@pytest.mark.parametrize("tail", ["0909090906", "01020304ff06"], ids=["wrong padding", "wrong pad length"])
def test_the_card_looks_at_no_padding(host: Host, tail: str) -> None:
    ending = bytes.fromhex(tail)
    plaintext = bytes(24 - len(ending)) + ending
    esp = host_sealed(V1_UDP, plaintext)
    frame = esp_frame(V1_UDP, esp)
    reason, indication, descriptor = host.receive(frame)
    assert reason is Reason.OPENED
    assert indication.frame[descriptor.payload_offset : descriptor.payload_end] == plaintext


def host_sealed(sa: SecurityAssociation, plaintext: bytes) -> bytes:
    """ESP around a plaintext that no honest sender makes."""
    iv = bytes(sa.keys.encryption.iv_length)
    return sa.transform.seal(sa.spi.to_bytes(4, "big") + bytes((0, 0, 0, 1)), plaintext, iv)


@pytest.mark.rule("N-NAT-5")
@pytest.mark.parametrize("sa", [V1_UDP, V2_UDP], ids=["v1", "v2"])
@pytest.mark.parametrize("checksum", [0, 1, 0xFFFF, None], ids=["zero", "wrong", "ones", "right"])
def test_the_outer_udp_checksum_never_decides(host: Host, sa: SecurityAssociation, checksum: int | None) -> None:
    frame = udp(sealed(sa), checksum=checksum)
    if checksum is None:
        assert int.from_bytes(frame[40:42], "big") == udp_checksum(PEER, LOCAL, frame[34:]) != 0
    reason, indication, _ = host.receive(frame)
    assert reason is Reason.OPENED
    assert indication.frame[40:42] == frame[40:42]


@pytest.mark.rule("N-NAT-5", "A-32")
def test_a_wrong_udp_checksum_over_ipv6_does_not_decide_either(host: Host) -> None:
    frame = esp_frame(V6_UDP)
    assert host.receive(patched(frame, 60, b"\0\0"))[0] is Reason.OPENED


@pytest.mark.rule("N-RX-8", "A-3")
@pytest.mark.parametrize("sa", ALL, ids=IDS)
def test_link_padding_behind_the_packet_is_kept(host: Host, sa: SecurityAssociation) -> None:
    frame = esp_frame(sa)
    opened = host.receive(frame)[1].frame
    reason, indication, _ = host.receive(frame + b"padding")
    assert (reason, indication.frame) == (Reason.OPENED, opened + b"padding")


@pytest.mark.rule("N-RX-6")
def test_esp_ends_where_the_udp_length_says(host: Host) -> None:
    frame = ethernet(ip(DATAGRAM + b"behind UDP", 17))
    reason, indication, descriptor = host.receive(frame)
    assert reason is Reason.OPENED
    assert indication.frame.endswith(b"behind UDP")
    assert descriptor.payload_end == len(GOOD) - V1_UDP.keys.icv_length


@pytest.mark.rule("N-RX-10")
@pytest.mark.parametrize("frame", [OPTIONS_FRAME, EXTENDED_FRAME], ids=["IPv4 options", "IPv6 extension headers"])
def test_claimed_and_enabled_options_do_no_harm(host: Host, frame: bytes) -> None:
    assert host.receive(frame)[0] is Reason.OPENED


@pytest.mark.rule("N-RX-10")
def test_each_family_has_its_own_switch(host: Host) -> None:
    control = host.nic.card.rows.control
    host.nic.card.enable(replace(control, ipv6_extension_headers=0))
    assert [host.receive(frame)[0] for frame in (OPTIONS_FRAME, EXTENDED_FRAME)] == [Reason.OPENED, Reason.IP_OPTIONS]
    host.nic.card.enable(replace(control, ipv4_options=0))
    assert [host.receive(frame)[0] for frame in (OPTIONS_FRAME, EXTENDED_FRAME)] == [Reason.IP_OPTIONS, Reason.OPENED]


@pytest.mark.rule("N-RX-9")
def test_an_ipv6_fragment_that_is_alone_is_no_fragment(host: Host) -> None:
    """Offset 0 and nothing more to come: an atomic fragment (RFC 6946) needs no reassembly."""
    datagram = build_udp(4500, 4500, sealed(V6_UDP), checksum=None, src=PEER6, dst=LOCAL6)
    assert host.receive(ipv6_fragment(0, False, datagram))[0] is Reason.OPENED


@pytest.mark.rule("N-CP6-4", "N-CP6-6")
@pytest.mark.parametrize("tags", [VLAN, bytes.fromhex("88a80001") + VLAN], ids=["802.1Q", "802.1ad and 802.1Q"])
@pytest.mark.parametrize("sa", ALL, ids=IDS)
def test_a_tagged_frame_is_opened_where_tags_are_enabled(host: Host, sa: SecurityAssociation, tags: bytes) -> None:
    plain = esp_frame(sa)
    reason, indication, _ = host.receive(ethernet(plain[14:], tags))
    assert reason is Reason.OPENED
    assert indication.frame == ethernet(host.receive(plain)[1].frame[14:], tags)


@pytest.mark.rule("N-CP6-4")
@pytest.mark.parametrize("link_type", [LinkType.RAW, LinkType.RAW_BSD, LinkType.RAW_OPENBSD])
def test_raw_ip_links_are_served_where_null_encapsulation_is_enabled(link_type: LinkType) -> None:
    raw = host_with(ALL, link_type=link_type)
    for sa in ALL:
        frame = esp_frame(sa)[14:]
        reason, indication, _ = raw.receive(frame)
        assert reason is Reason.OPENED
        assert indication.frame == decrypted_in_place(frame, sealed(sa), sa, PAYLOAD, TCP)


@pytest.mark.rule("N-CP6-4")
def test_raw_links_of_one_ip_version_take_that_version_only() -> None:
    four, six = host_with(ALL, link_type=LinkType.IPV4), host_with(ALL, link_type=LinkType.IPV6)
    assert four.receive(GOOD[14:])[0] is six.receive(esp_frame(V6_UDP)[14:])[0] is Reason.OPENED
    assert four.receive(esp_frame(V6_UDP)[14:])[0] is six.receive(GOOD[14:])[0] is Reason.MALFORMED


# --- checked and found wrong ------------------------------------------------------------------------------------------


@pytest.mark.rule("N-RX-14", "N-RX-15", "N-RX-16", "A-35")
@pytest.mark.parametrize("sa", ALL, ids=IDS)
def test_a_wrong_icv_is_reported_by_portion_and_the_packet_goes_up_as_it_came(
    host: Host, sa: SecurityAssociation
) -> None:
    good = esp_frame(sa)
    frame = good[:-1] + bytes((good[-1] ^ 0x80,))
    reason, indication, descriptor = host.receive(frame)
    assert reason is Reason.ICV_WRONG
    assert indication.frame == frame
    assert indication.header == b""
    assert (descriptor.crypto_done, descriptor.next_crypto_done) == (1, 0)
    assert descriptor.crypto_status == AUTH_FAILED[sa.mode]
    assert indication.ipsec == bytes((2, 0, AUTH_FAILED[sa.mode], 0, 0, 0, 0, 0))
    assert (descriptor.payload_offset, descriptor.payload_end) == (0, 0)
    assert host.nic.card.rows.inbound[descriptor.slot - 1].row.spi == sa.spi
    assert host.receive(good)[0] is Reason.OPENED  # and the next packet is none the worse for it


@pytest.mark.rule("A-35")
def test_a_lone_native_version_2_layer_counts_as_transport_unless_read_otherwise(host: Host) -> None:
    tunnel = association(0x2005, AES, UdpType.NATIVE, Mode.TUNNEL)
    damaged = esp_frame(tunnel)[:-1] + b"\0"
    card = load_profile("reference")
    other = replace(card, readings=replace(card.readings, lone_native_esp_is_transport=False))
    assert host_with([tunnel]).receive(damaged)[2].crypto_status == CryptoStatus.CRYPTO_TRANSPORT_ESP_AUTH_FAILED
    assert host_with([tunnel], other).receive(damaged)[2].crypto_status == CryptoStatus.CRYPTO_TUNNEL_ESP_AUTH_FAILED


@pytest.mark.rule("N-RX-14", "N-RX-15")
@pytest.mark.parametrize("sa", ALL, ids=IDS)
def test_too_short_for_header_iv_and_icv_is_invalid_syntax(host: Host, sa: SecurityAssociation) -> None:
    overhead = 8 + sa.keys.encryption.iv_length + sa.keys.icv_length
    for length in range(9, overhead):
        frame = esp_frame(sa, sealed(sa)[:length])
        reason, indication, descriptor = host.receive(frame)
        assert (reason, indication.frame) == (Reason.SYNTAX_INVALID, frame)
        assert (descriptor.crypto_done, descriptor.next_crypto_done, descriptor.crypto_status) == (1, 0, 6)
        assert indication.ipsec == bytes.fromhex("0200060000000000")


@pytest.mark.rule("N-RX-15")
@pytest.mark.parametrize("sa", [V1_UDP, V1_NULL, V2_UDP], ids=["3des", "null", "aes"])
def test_an_authentic_ciphertext_that_is_no_multiple_of_the_block_is_invalid_syntax(
    host: Host, sa: SecurityAssociation
) -> None:
    oracle = oracle_sa(sa.keys)
    for length in (0, *range(1, sa.keys.encryption.block)):
        signed = sa.spi.to_bytes(4, "big") + bytes(4 + sa.keys.encryption.iv_length + length)
        frame = esp_frame(sa, signed + mac(oracle, signed))
        reason, indication, descriptor = host.receive(frame)
        assert (reason, indication.frame) == (Reason.SYNTAX_INVALID, frame)
        assert descriptor.crypto_status == CryptoStatus.CRYPTO_INVALID_PACKET_SYNTAX


# --- which row, which parser row -------------------------------------------------------------------------------------


def row_of(sa: SecurityAssociation, **changes: object) -> SaRow:
    """The row that an add of the association makes, with changes that no request of this host asks for."""
    [loaded] = host_with([sa]).nic.card.rows.inbound.values()
    return replace(loaded.row, **changes)  # type: ignore[arg-type]


def bare_host(*rows: SaRow, parsers: tuple[ParserRow, ...] = ()) -> Host:
    """A NIC whose card has exactly these rows, with everything enabled."""
    host = idle_nic()
    host.nic.card.enable(CardControl(0xFF, 0xFF, 1, 1))
    for slot, row in enumerate(rows):
        host.nic.card.write_row(Table.INBOUND, slot, row)
    for slot, parser in enumerate(parsers):
        host.nic.card.write_row(Table.PARSER, slot, parser)
    return host


IKE_4500, OTHER_4500 = ParserRow(4500, UdpType.IKE, 1), ParserRow(4500, UdpType.OTHER, 1)


@pytest.mark.rule("N-SA-2", "N-SA-3", "A-16")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source_port": 1024}, Reason.OPENED),
        ({"source_port": 1025}, Reason.FILTER_MISMATCH),
        ({"destination_port": 4500}, Reason.OPENED),
        ({"destination_port": 4501}, Reason.FILTER_MISMATCH),
        ({"source_port": 4500, "destination_port": 1024}, Reason.FILTER_MISMATCH),
        ({"source_address": OTHER_HOST.ljust(16, b"\0")}, Reason.FILTER_MISMATCH),
        ({"source_address": OTHER_HOST.ljust(16, b"\0"), "source_mask": bytes(16)}, Reason.OPENED),
        ({"destination_address": OTHER_HOST.ljust(16, b"\0")}, Reason.FILTER_MISMATCH),
        ({"destination_address": OTHER_HOST.ljust(16, b"\0"), "destination_mask": bytes(16)}, Reason.OPENED),
        ({"source_address": bytes((192, 0, 2, 99)).ljust(16, b"\0")}, Reason.FILTER_MISMATCH),
        (
            {
                "source_address": bytes((192, 0, 2, 99)).ljust(16, b"\0"),
                "source_mask": b"\xff\xff\xff".ljust(16, b"\0"),
            },
            Reason.OPENED,
        ),
        ({"destination_mask": b"\xff".ljust(16, b"\0"), "destination_address": b"\xc6" + bytes(15)}, Reason.OPENED),
        ({"family": 6}, Reason.FILTER_MISMATCH),
        ({"spi": 0x1002}, Reason.SA_NOT_OFFLOADED),
        ({"protocol": 51}, Reason.SA_NOT_OFFLOADED),
        ({"udp_type": UdpType.IKE}, Reason.ENCAPSULATION_MISMATCH),
        ({"udp_type": UdpType.NATIVE}, Reason.ENCAPSULATION_MISMATCH),
    ],
    ids=str,
)
def test_each_member_of_a_row_is_compared_as_its_mask_says(changes: dict[str, object], reason: Reason) -> None:
    host = bare_host(row_of(V1_UDP, **changes), parsers=(OTHER_4500,))
    assert host.receive(udp(ESP, src_port=1024))[0] is reason


@pytest.mark.rule("N-SA-2")
def test_rows_that_share_an_spi_are_told_apart_by_their_filters() -> None:
    """Two clients may choose one SPI; here the second row is the one that fits, and its keys open the packet."""
    strange = row_of(association(V1_UDP.spi, keys(Encryption.DES_CBC, Integrity.HMAC_MD5_96)))
    strange = replace(strange, source_address=OTHER_HOST.ljust(16, b"\0"))
    host = bare_host(strange, row_of(V1_UDP), parsers=(OTHER_4500,))
    reason, _, descriptor = host.receive(GOOD)
    assert (reason, descriptor.slot) == (Reason.OPENED, 2)


@pytest.mark.rule("N-RX-2")
def test_rows_that_share_an_spi_are_told_apart_by_their_encapsulation() -> None:
    native = association(V1_UDP.spi, AES, UdpType.NATIVE)
    host = bare_host(row_of(V1_UDP), row_of(native), parsers=(OTHER_4500,))
    assert [host.receive(esp_frame(sa))[2].slot for sa in (V1_UDP, native)] == [1, 2]


@pytest.mark.rule("A-34", "N-RX-2")
@pytest.mark.parametrize(
    ("row_set", "parser_set", "reason"),
    [
        (1, 1, Reason.OPENED),
        (2, 2, Reason.OPENED),
        (2, 1, Reason.ENCAPSULATION_MISMATCH),
        (1, 2, Reason.ENCAPSULATION_MISMATCH),
    ],
)
def test_a_parser_row_serves_the_associations_of_its_own_set(row_set: int, parser_set: int, reason: Reason) -> None:
    host = bare_host(row_of(V1_UDP, parser_set=row_set), parsers=(ParserRow(4500, UdpType.OTHER, parser_set),))
    assert host.receive(GOOD)[0] is reason


@pytest.mark.rule("A-34", "A-7")
def test_when_the_entry_of_version_1_goes_its_associations_are_not_found_through_version_2s_row() -> None:
    host = host_with([V1_UDP, V1_UDP_TUNNEL, V2_UDP])
    host.offloader.parser_entries[0].references = 1  # a host that miscounts names the entry in its first delete
    host.offloader.delete(host.offloaded[1])
    assert host.receive(GOOD)[0] is Reason.ENCAPSULATION_MISMATCH
    assert host.receive(esp_frame(V2_UDP))[0] is Reason.OPENED
    version_1_only = host_with([V1_UDP, V1_UDP_TUNNEL], "ndis51")
    version_1_only.offloader.parser_entries[0].references = 1
    version_1_only.offloader.delete(version_1_only.offloaded[1])
    assert version_1_only.receive(GOOD)[0] is Reason.NO_PARSER_ENTRY


@pytest.mark.rule("A-33")
def test_a_port_that_two_rows_name_is_parsed_by_the_older_one() -> None:
    row, ike_row = row_of(V1_UDP), row_of(V1_IKE)
    behind_zeros = udp(NON_IKE + sealed(V1_IKE))
    older_ike = bare_host(row, ike_row, parsers=(IKE_4500, OTHER_4500))
    assert older_ike.receive(GOOD)[0] is Reason.IKE
    assert older_ike.receive(behind_zeros)[0] is Reason.OPENED
    older_other = bare_host(row, ike_row, parsers=(OTHER_4500, IKE_4500))
    assert older_other.receive(GOOD)[0] is Reason.OPENED
    assert older_other.receive(behind_zeros)[0] is Reason.IKE


@pytest.mark.rule("N-PE-1", "A-5")
def test_an_entry_may_name_any_port_whose_ike_flags_were_reported() -> None:
    elsewhere = association(0x1007, port=10000)
    host = host_with([elsewhere])
    assert host.receive(esp_frame(elsewhere))[0] is Reason.OPENED
    assert host.receive(udp(b"\xff", 10000))[0] is Reason.KEEPALIVE


@pytest.mark.rule("N-RX-2", "N-DEL-1")
def test_a_deleted_association_is_not_offloaded_any_more(host: Host) -> None:
    for sa, offloaded in zip(ALL, host.offloaded, strict=True):
        assert host.receive(esp_frame(sa))[0] is Reason.OPENED
        host.offloader.delete(offloaded)
        gone = Reason.NO_PARSER_ENTRY if sa is V1_IKE else Reason.SA_NOT_OFFLOADED
        assert host.receive(esp_frame(sa))[0] is gone


@pytest.mark.rule("N-RX-2")
def test_an_outbound_association_opens_nothing() -> None:
    outbound = association(0x1001, inbound=False)
    host = host_with([outbound, V1_UDP_TUNNEL])
    assert host.receive(GOOD)[0] is Reason.SA_NOT_OFFLOADED


@pytest.mark.rule("N-RX-16")
@pytest.mark.parametrize("portion", Portion)
def test_the_portion_of_the_row_decides_the_failure_code(portion: Portion) -> None:
    host = bare_host(row_of(V1_UDP, portion=portion), parsers=(OTHER_4500,))
    assert host.receive(GOOD[:-1] + b"\0")[2].crypto_status == {0: 3, 1: 5}[portion]


@pytest.mark.rule("N-SA-2", "N-CAP-15")
def test_any_address_means_any_of_the_rows_own_ip_version() -> None:
    host = bare_host(row_of(V1_UDP, source_mask=bytes(16), destination_mask=bytes(16)), parsers=(OTHER_4500,))
    assert host.receive(udp(ESP, src=OTHER_HOST, dst=OTHER_HOST))[0] is Reason.OPENED
    assert host.receive(udp(ESP, src=PEER6, dst=LOCAL6))[0] is Reason.FILTER_MISMATCH


@pytest.mark.rule("N-RX-13")
def test_the_first_bytes_of_ah_are_no_spi_of_esp() -> None:
    """Next header, length and reserved field of AH stand where ESP has its SPI."""
    lookalike = association(int.from_bytes(AH[:4], "big"), udp_type=UdpType.NATIVE)
    assert host_with([lookalike]).receive(ethernet(ip(AH, 51)))[0] is Reason.SA_NOT_OFFLOADED
