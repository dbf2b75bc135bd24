"""Frames, associations and NICs that the tests of several packages share.

Frames arrive from PEER at LOCAL, the host whose NIC it is. ESP is sealed by the oracle, never by the code under test.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from nicsim.boundary import Descriptor, Indication, UdpType
from nicsim.capabilities import Capabilities
from nicsim.host.offloader import InSoftware, LinkMedium, Offloaded, Offloader
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.reasons import BY_NUMBER, Reason
from nicsim.wire.headers import build_ethernet, build_ipv4, build_ipv6, build_udp, parse_address
from nicsim.wire.packet import LinkType
from offload_oids import Abi
from tests.ipsec.algorithms import made_up, oracle_sa
from tests.oracle_esp import iv_length, pad, seal

LOCAL, PEER = parse_address("198.51.100.2"), parse_address("192.0.2.1")
LOCAL6, PEER6 = parse_address("2001:db8:ffff::2"), parse_address("2001:db8::1")
OTHER_HOST = parse_address("203.0.113.3")
MAC = bytes.fromhex("020000000001")
ETHERTYPE = {4: 0x0800, 6: 0x86DD}
NON_IKE = bytes(8)
PAYLOAD = bytes(range(1, 41))
TCP = 6
AUTH_FAILED = {Mode.TRANSPORT: 3, Mode.TUNNEL: 5}


# --- keys and associations -----------------------------------------------------------------------------------------


def keys(encryption: Encryption, integrity: Integrity = Integrity.NONE, key_length: int = 0) -> SaKeys:
    """Made-up keys of the right lengths; by default the shortest the cipher takes."""
    return SaKeys(
        encryption,
        made_up("cipher key", key_length or encryption.key_lengths[0]),
        integrity,
        made_up("integrity key", integrity.key_length),
        made_up("salt", encryption.salt_length),
    )


TRIPLE_DES = keys(Encryption.TRIPLE_DES_CBC, Integrity.HMAC_SHA1_96)
AES = keys(Encryption.AES_CBC, Integrity.HMAC_SHA1_96)
GCM = keys(Encryption.AES_GCM_16)


def association(
    spi: int = 0x1001,
    sa_keys: SaKeys = TRIPLE_DES,
    udp_type: UdpType = UdpType.OTHER,
    mode: Mode = Mode.TRANSPORT,
    *,
    inbound: bool = True,
    ipv6: bool = False,
    port: int = 0,
    esn: bool = False,
) -> SecurityAssociation:
    """An association between PEER and LOCAL. The port is 4500 or 500 by its type unless told."""
    peer, local = (PEER6, LOCAL6) if ipv6 else (PEER, LOCAL)
    default = {UdpType.NATIVE: 0, UdpType.IKE: 500, UdpType.OTHER: 4500}[udp_type]
    return SecurityAssociation(
        spi=spi,
        inbound=inbound,
        src=peer if inbound else local,
        dst=local if inbound else peer,
        mode=mode,
        udp_type=udp_type,
        keys=sa_keys,
        src_port=default,
        dst_port=port or default,
        esn=esn,
    )


# --- frames ----------------------------------------------------------------------------------------------------------


def ethernet(packet: bytes, tags: bytes = b"") -> bytes:
    """An IP packet in an Ethernet frame; `tags` are whole 802.1Q tags, type first."""
    return build_ethernet(MAC, MAC, 0, b"")[:12] + tags + ETHERTYPE[packet[0] >> 4].to_bytes(2, "big") + packet


def ip(payload: bytes, protocol: int, src: bytes = PEER, dst: bytes = LOCAL, options: bytes = b"") -> bytes:
    """An IP packet of the version of its addresses."""
    if len(src) == 16:
        return build_ipv6(src, dst, protocol, payload)
    return build_ipv4(src, dst, protocol, payload, options=options)


def udp(
    payload: bytes,
    dst_port: int = 4500,
    src_port: int = 4500,
    src: bytes = PEER,
    dst: bytes = LOCAL,
    checksum: int | None = 0,
    options: bytes = b"",
) -> bytes:
    """A UDP datagram as an Ethernet frame. The checksum is zero over IPv4, computed over IPv6 or for None."""
    datagram = build_udp(src_port, dst_port, payload, checksum=None if len(src) == 16 else checksum, src=src, dst=dst)
    return ethernet(ip(datagram, 17, src, dst, options))


def sealed(
    sa: SecurityAssociation,
    sequence: int = 1,
    payload: bytes = PAYLOAD,
    next_header: int = TCP,
    *,
    spi: int | None = None,
    extended: bool = False,
) -> bytes:
    """SPI to ICV, by the oracle; the IV is made up from the sequence number."""
    oracle = oracle_sa(sa.keys)
    iv = made_up(f"iv {sequence}", iv_length(oracle))
    return seal(oracle, sa.spi if spi is None else spi, sequence, iv, payload, next_header, extended)


def esp_frame(sa: SecurityAssociation, esp: bytes | None = None) -> bytes:
    """An ESP packet as the association's packets travel: native, in UDP, or behind the non-IKE marker."""
    esp = sealed(sa) if esp is None else esp
    if sa.udp_type is UdpType.NATIVE:
        return native_esp(esp, sa.src, sa.dst)
    return udp_esp(esp, NON_IKE if sa.udp_type is UdpType.IKE else b"", sa)


def native_esp(esp: bytes, src: bytes = PEER, dst: bytes = LOCAL) -> bytes:
    """ESP directly on IP."""
    return ethernet(ip(esp, 50, src, dst))


def udp_esp(esp: bytes, marker: bytes, sa: SecurityAssociation) -> bytes:
    """ESP in UDP with the addresses and ports of an association."""
    return udp(marker + esp, sa.dst_port, sa.src_port, sa.src, sa.dst)


def handed_down(sa: SecurityAssociation, sequence: int = 1, payload: bytes = PAYLOAD, next_header: int = TCP) -> bytes:
    """A frame as the transport hands it to the NIC: everything framed, zeros where IV and ICV will be (N-TX-9)."""
    oracle = oracle_sa(sa.keys)
    head = sa.spi.to_bytes(4, "big") + sequence.to_bytes(4, "big")
    body = bytes(iv_length(oracle)) + pad(oracle, payload, next_header) + bytes(sa.keys.icv_length)
    return esp_frame(sa, head + body)


def decrypted_in_place(frame: bytes, esp: bytes, sa: SecurityAssociation, payload: bytes, next_header: int) -> bytes:
    """The frame with plaintext where the ciphertext of `esp` was, and all else as it came (A-3)."""
    oracle = oracle_sa(sa.keys)
    begin = frame.index(esp) + 8 + iv_length(oracle)
    plaintext = pad(oracle, payload, next_header)
    return frame[:begin] + plaintext + frame[begin + len(plaintext) :]


# --- NICs ------------------------------------------------------------------------------------------------------------


class CountedIvs:
    """An IV source that remembers what it was asked for; it gives `next` once, if set, and otherwise something new."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.given: list[bytes] = []
        self.next: bytes | None = None

    def __call__(self, length: int) -> bytes:
        self.lengths.append(length)
        self.given.append(made_up(f"counted iv {len(self.lengths)}", length) if self.next is None else self.next)
        self.next = None
        return self.given[-1]


@dataclass
class Host:
    """A NIC with a host above it that has offloaded some associations, in the order given."""

    nic: Nic
    offloader: Offloader
    ivs: CountedIvs
    offloaded: list[Offloaded]

    def receive(self, frame: bytes) -> tuple[Reason, Indication, Descriptor]:
        indication, descriptor = self.nic.receive(frame)
        return BY_NUMBER[descriptor.reason], indication, descriptor

    def send(self, frame: bytes, number: int = 0) -> tuple[Reason, bytes]:
        """Send with the association that was offloaded as `number`."""
        sent = self.nic.send(frame, self.offloader.transmit_word(self.offloaded[number].handle))
        return sent.reason, sent.frame


def host_with(
    associations: Iterable[SecurityAssociation] = (),
    capabilities: Capabilities | str = "reference",
    *,
    abi: Abi = Abi.X64,
    link_type: int = LinkType.ETHERNET,
) -> Host:
    """Enable offload and offload every association, by OID requests like any host; none may stay in software."""
    if isinstance(capabilities, str):
        capabilities = load_profile(capabilities)
    ivs = CountedIvs()
    nic = Nic(capabilities, iv_source=ivs, abi=abi, link_type=link_type)
    offloader = Offloader(nic, capabilities.ndis, readings=capabilities.readings)
    offloader.enable(LinkMedium.ETHERNET if link_type == LinkType.ETHERNET else LinkMedium.RAW_IP)
    offloaded = []
    for sa in associations:
        outcome = offloader.add(sa)
        assert not isinstance(outcome, InSoftware), outcome
        offloaded.append(outcome)
    return Host(nic, offloader, ivs, offloaded)


def reference(**changes: object) -> Capabilities:
    """The reference card with other table sizes or encapsulations."""
    return replace(load_profile("reference"), **changes)  # type: ignore[arg-type]


def without_options() -> Capabilities:
    """The reference card, claiming neither IPv4 options nor IPv6 extension headers."""
    card = load_profile("reference")
    assert card.version1 is not None
    assert card.version2 is not None
    return replace(
        card,
        version1=replace(card.version1, ipv4_options=False),
        version2=replace(card.version2, ip_options=False, extension_headers=False),
    )
