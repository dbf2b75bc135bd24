"""What a card says it can do, as sets of words, and what an add may ask of it: digest sections 3 to 5 and 12.

The profile is the TOML file as it is. A request's faults are statuses; none means that only a lack of room can stop it.
"""

from __future__ import annotations

import struct
from typing import Any

from tests.oracle_esp import OracleSa
from tests.oracle_nic.packets import AH, ESP, IKE, OTHER, UDP, Layer, Sa
from tests.oracle_nic.requests import (
    AH_OPERATION,
    ESP_OPERATION,
    INVALID_DATA,
    NOT_SUPPORTED,
    Add,
    Element,
)

LINKS = {"NULL": 1, "IEEE_802_3": 2, "IEEE_802_3_P_AND_Q": 4, "IEEE_LLC_SNAP_ROUTED": 0x10}
ENCRYPTION = {"DES", "3DES", "NULL"}
V1_CIPHERS = {0: ("NULL", "null", 0), 1: ("DES", "des", 8), 3: ("3DES", "3des", 24)}
V1_MACS = {0: ("", "", 0), 1: ("MD5", "md5", 16), 2: ("SHA_1", "sha1", 20)}
V2_CIPHERS = {
    0: ("NONE", "null", 0), 1: ("NONE", "null", 0), 2: ("DES_CBC", "des", 8), 4: ("3_DES_CBC", "3des", 24),
    8: ("AES_GCM_128", "aes-gcm", 20), 0x10: ("AES_GCM_192", "aes-gcm", 28), 0x20: ("AES_GCM_256", "aes-gcm", 36),
    0x40: ("AES_CBC_128", "aes-cbc", 16), 0x80: ("AES_CBC_192", "aes-cbc", 24), 0x100: ("AES_CBC_256", "aes-cbc", 32),
}  # fmt: skip
V2_MACS = {0: ("", "", 0), 1: ("MD5", "md5", 16), 2: ("SHA_1", "sha1", 20), 4: ("SHA_256", "sha256", 32)}
ICV = {"": 0, "md5": 12, "sha1": 12, "sha256": 16}
# The parse flags that let a portion ride in UDP of a type (N-ENC-2): by itself, or with the other portion native.
SUBTYPES = {
    (False, OTHER): {"IPSEC_TPT_UDPESP_ENCAPTYPE_OTHER", "IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_OTHER"},
    (True, OTHER): {"IPSEC_TUN_UDPESP_ENCAPTYPE_OTHER", "IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER"},
    (False, IKE): {"IPSEC_TPT_UDPESP_ENCAPTYPE_IKE", "IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_IKE"},
    (True, IKE): {"IPSEC_TUN_UDPESP_ENCAPTYPE_IKE", "IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_IKE"},
}
# How the tunnel rides, how the transport portion in it: the words for that combination, of version 1 and 2.
COMBINATIONS = {
    (None, None): ("combined", "combined"),
    (OTHER, None): ("IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER", "TRANSPORT_OVER_UDP_ESP_TUNNEL"),
    (IKE, None): ("IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_IKE", "no such"),
    (None, OTHER): ("IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_OTHER", "TRANSPORT_OVER_TUNNEL"),
    (None, IKE): ("IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_IKE", "no such"),
}
V2_SUBTYPES = {1: "TRANSPORT", 2: "TUNNEL", 4: "TRANSPORT_OVER_UDP_ESP_TUNNEL", 8: "TRANSPORT_OVER_TUNNEL"}
FLAG_BITS = {
    "IPSEC_TPT_UDPESP_ENCAPTYPE_IKE": 1, "IPSEC_TUN_UDPESP_ENCAPTYPE_IKE": 2,
    "IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_IKE": 4, "IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_IKE": 8,
    "IPSEC_TPT_UDPESP_ENCAPTYPE_OTHER": 16, "IPSEC_TUN_UDPESP_ENCAPTYPE_OTHER": 32,
    "IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER": 64, "IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_OTHER": 128,
}  # fmt: skip
ESP_BITS = {"DES": 1, "3DES": 4, "NULL": 8, "transport": 16, "tunnel": 32, "send": 64, "receive": 128}
AH_BITS = {"MD5": 1, "SHA_1": 2}


def words_of(version: dict[str, Any] | None) -> set[str]:
    """The claims of [version1] or [version2] of a profile."""
    if version is None:
        return set()
    words = {"ESP"} if version.get("esp", True) else set()
    for member in ("encryption", "integrity", "authentication", "directions", "udp_esp"):
        words |= set(version.get(member, []))
    words |= set(version.get("modes", ["transport", "tunnel"]))
    for member, word in (
        ("ah", "AH"), ("ah_esp_combined", "AH+ESP"), ("transport_tunnel_combined", "combined"), ("ipv6", "IPv6"),
        ("ipv4_options", "options"), ("ipv6_extension_headers", "extension headers"),
        ("extended_sequence_numbers", "ESN"),
    ):  # fmt: skip
        words |= {word} if version.get(member) else set()
    return words


def tasks_of(profile: dict[str, Any]) -> set[int]:
    """The members of NDIS_OFFLOAD_PARAMETERS, counted from the first, that have something to enable; IPsecV1 is one."""
    checksums, large_send = profile.get("checksums", {}), profile.get("large_send")
    ipv4 = {*checksums.get("ipv4_send", []), *checksums.get("ipv4_receive", [])}
    ipv6 = {*checksums.get("ipv6_send", []), *checksums.get("ipv6_receive", [])}
    claimed = {6} | {at for at, kind in enumerate(("IP", "TCP", "UDP")) if kind in ipv4}
    claimed |= {at for at, kind in ((3, "TCP"), (4, "UDP")) if kind in ipv6}
    if large_send is not None:
        claimed |= {5, 7} | ({8} if large_send.get("ipv6") else set())
    return claimed


def left_of(words: set[str], setting: int) -> set[str]:
    """What OID_TCP_OFFLOAD_PARAMETERS leaves: 1 nothing, 2 AH, 3 ESP, 4 both (N-CP6-7)."""
    if setting == 1 or (setting == 2 and "AH" not in words):
        return set()
    if setting == 2:
        return words - {"ESP", "AH+ESP"}
    return words - {"AH", "AH+ESP"} if setting == 3 else words


def enabled_words(task: bytes) -> set[str]:
    """What NDIS_TASK_IPSEC of an enabling set asks for (N-CAP-9)."""
    pair, both, options, flags, ah, esp = struct.unpack_from("<6I", task)
    words = {word for word, bit in FLAG_BITS.items() if flags & bit}
    words |= {word for word, bit in ESP_BITS.items() if esp & bit} | {w for w, bit in AH_BITS.items() if ah & bit}
    words |= {"ESP"} if words & ENCRYPTION else set()
    words |= {"AH"} if ah & 0x30 else set()
    return words | {word for word, asked in (("AH+ESP", pair), ("combined", both), ("options", options)) if asked}


# --- adds ------------------------------------------------------------------------------------------------------


def add_faults(words: set[str], add: Add, kind: int | None) -> set[int]:
    """What is wrong with an add, apart from room and parser entries; `kind` is how it rides in UDP."""
    faults = v1_faults(words, add, kind) if add.version == 1 else v2_faults(words, add)
    faults |= set() if words else {NOT_SUPPORTED}
    operations = [element.operation for element in counted(add)]
    if operations not in ([AH_OPERATION], [ESP_OPERATION], [ESP_OPERATION, AH_OPERATION]):
        return faults | {INVALID_DATA}
    needed = {"AH"} if AH_OPERATION in operations else set()
    needed |= {"ESP"} if ESP_OPERATION in operations else set()
    needed |= {"AH+ESP"} if len(operations) == 2 else set()
    if not needed <= words or (AH_OPERATION in operations and kind is not None):
        faults.add(NOT_SUPPORTED)
    for element in counted(add):
        faults |= element_faults(words, add, element, len(operations) == 2)
    return faults


def counted(add: Add) -> tuple[Element, ...]:
    return add.elements[: add.count] if 1 <= add.count <= len(add.elements) else ()


def v1_faults(words: set[str], add: Add, kind: int | None) -> set[int]:
    """Direction, mode, subtype, and key lengths that add up."""
    faults = set()
    tunnel = any(add.tunnel[0] + add.tunnel[1])
    if add.flags not in (1, 2):
        faults.add(INVALID_DATA)
    if add.entry and not tunnel and add.protocol not in (0, UDP):  # the filter is for the outer UDP header
        faults.add(INVALID_DATA)
    if ("tunnel" if tunnel else "transport") not in words or ("receive" if add.flags == 1 else "send") not in words:
        faults.add(NOT_SUPPORTED)
    if kind in (IKE, OTHER) and not words & SUBTYPES[tunnel, kind]:
        faults.add(NOT_SUPPORTED)
    if len(add.keys) != sum(element.cipher.length + element.mac.length for element in counted(add)):
        faults.add(INVALID_DATA)
    return faults


def v2_faults(words: set[str], add: Add) -> set[int]:
    """Flags, IPv6, subtype, extended sequence numbers."""
    faults = set()
    if add.flags & ~0x11 or add.udp not in (0, 1, 2, 4, 8):
        faults.add(INVALID_DATA)
    if (add.flags & 0x10 and "IPv6" not in words) or (add.udp and V2_SUBTYPES.get(add.udp) not in words):
        faults.add(NOT_SUPPORTED)
    if any(element.esn for element in counted(add)) and "ESN" not in words:
        faults.add(NOT_SUPPORTED)
    return faults


def element_faults(words: set[str], add: Add, element: Element, pair: bool) -> set[int]:
    """SPI, algorithms and keys of one element (N-SA-10 to N-SA-16, N-V2-3, N-V2-9)."""
    faults = {INVALID_DATA} if element.spi == 0 else set()
    is_ah = element.operation == AH_OPERATION
    ciphers, macs = (V1_CIPHERS, V1_MACS) if add.version == 1 else (V2_CIPHERS, V2_MACS)
    if is_ah and any((element.cipher.identifier, element.cipher.length, element.cipher.rest)):
        faults.add(INVALID_DATA)
    if is_ah and add.version == 2 and element.cipher.at:
        faults.add(INVALID_DATA)
    cipher = ("", "null", 0) if is_ah else ciphers.get(element.cipher.identifier)
    if cipher is None:
        return faults | {INVALID_DATA}
    mac = macs.get(element.mac.identifier)
    if cipher[1] == "aes-gcm":
        mac = macs[0]  # it brings its own (N-V2-9)
        if element.cipher.rest not in (8, 12, 16):
            faults.add(INVALID_DATA)
    elif mac is None:
        # Undefined, or AES-GMAC, which is for AES-GCM alone.
        faults.add(INVALID_DATA if add.version == 1 else NOT_SUPPORTED)
        mac = ("", "", element.mac.length)
    elif mac[1] == "" and (is_ah or not pair or cipher[1] == "null"):
        faults.add(INVALID_DATA)  # nothing would authenticate it (N-SA-13, A-29)
    for claim, wanted, said in ((cipher[0], cipher[2], element.cipher), (mac[0], mac[2], element.mac)):
        if claim and claim not in words:
            faults.add(NOT_SUPPORTED)
        if cipher[1] == "aes-gcm" and said is element.mac:
            continue
        if add.version == 1 and said.length != wanted:
            faults.add(INVALID_DATA)
        if add.version == 2 and claim and (said.length != wanted or said.at + said.length > len(add.keys)):
            faults.add(INVALID_DATA)
    return faults


def sa_of(add: Add, kind: int | None) -> Sa:
    """The association of a faultless add."""
    any4, whole = bytes(4), b"\xff"
    layers = tuple(layer_of(add, element) for element in counted(add))
    if add.version == 2:
        size = len(add.dst)
        exact = whole * size if any(add.dst) else bytes(size)
        family, tunnel = (6 if size == 16 else 4), add.udp in (2, 4)
        # By SPI and destination; the source is not compared (N-V2-17).
        return Sa(2, bool(add.flags & 1), tunnel, OTHER if add.udp else None, family, bytes(size), bytes(size), add.dst,
                  exact, (0, 0), layers)  # fmt: skip
    if any(add.tunnel[0] + add.tunnel[1]):  # found by its end point alone
        end = add.tunnel[1]
        exact = whole * 4 if any(end) else any4
        return Sa(1, add.flags == 1, True, kind, 4, any4, any4, end, exact, ports_of(add, kind), layers)
    src, dst = add.src, add.dst
    src_mask, dst_mask = (mask if any(address) else any4 for address, mask in zip((src, dst), add.masks, strict=True))
    return Sa(1, add.flags == 1, False, kind, 4, src, src_mask, dst, dst_mask, ports_of(add, kind), layers)


def ports_of(add: Add, kind: int | None) -> tuple[int, int]:
    """The ports are those of the encapsulating UDP header; without one they lie in the ciphertext (A-16)."""
    return (0, 0) if kind is None else add.ports


def layer_of(add: Add, element: Element) -> Layer:
    """One layer, with its keys taken from where the request has them."""
    ciphers, macs = (V1_CIPHERS, V1_MACS) if add.version == 1 else (V2_CIPHERS, V2_MACS)
    is_ah = element.operation == AH_OPERATION
    cipher = "null" if is_ah else ciphers[element.cipher.identifier][1]
    key = b"" if is_ah else key_at(add, element.cipher.at, ciphers[element.cipher.identifier][2])
    high = element.high if element.esn else None
    if cipher == "aes-gcm":  # the last four bytes are the salt
        return Layer(ESP, element.spi, OracleSa(cipher, key[:-4], "", b"", element.cipher.rest, key[-4:]), high)
    _, mac, length = macs[element.mac.identifier]
    keys = OracleSa(cipher, key, mac, key_at(add, element.mac.at, length), ICV[mac])
    return Layer(AH if is_ah else ESP, element.spi, keys, high)


def key_at(add: Add, at: int, length: int) -> bytes:
    return add.keys[at : at + length]


# --- the chain of OID_TCP_TASK_OFFLOAD -----------------------------------------------------------------------------

TASK_LINKS = {2: LINKS["IEEE_802_3"] | LINKS["IEEE_802_3_P_AND_Q"], 4: LINKS["IEEE_LLC_SNAP_ROUTED"], 0: LINKS["NULL"]}
"""What an encapsulation of NDIS 5.1 stands for: it has none of its own for tagged Ethernet (N-CAP-3)."""
CHECKSUM, IPSEC, LARGE_SEND = 0, 1, 2


def task_faults(words: set[str], links: int, link: int, tasks: list[tuple[int, bytes]]) -> set[int]:
    """What is wrong with an enabling set, by what the card claims (N-CAP-9, N-CAP-11)."""
    faults = set() if TASK_LINKS.get(link, 0) & links else {NOT_SUPPORTED}
    for task, buffer in tasks:
        if task != IPSEC:
            faults |= {NOT_SUPPORTED}  # no preset of NDIS 5.1 claims another
        elif len(buffer) < 24:
            faults.add(INVALID_DATA)
        elif not is_claimed(words, buffer):
            faults.add(NOT_SUPPORTED)
    return faults


def is_claimed(words: set[str], task: bytes) -> bool:
    """Whether NDIS_TASK_IPSEC asks for nothing beyond the claims, bit by bit."""
    pair, both, options, flags, ah, esp = struct.unpack_from("<6I", task)
    ah_bits = {**AH_BITS, **({"transport": 4, "tunnel": 8, "send": 16, "receive": 32} if "AH" in words else {})}
    have = [
        int("AH+ESP" in words), int("combined" in words), int("options" in words),
        sum(bit for word, bit in FLAG_BITS.items() if word in words),
        sum(bit for word, bit in ah_bits.items() if word in words),
        sum(bit for word, bit in ESP_BITS.items() if word in words),
    ]  # fmt: skip
    # Bits beyond the six and eight that are named are no members of V4AH and V4ESP.
    return not any(
        want & ~has for want, has in zip((pair, both, options, flags, ah & 0x3F, esp & 0xFF), have, strict=True)
    )
