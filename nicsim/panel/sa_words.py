"""The words of associations: those of `add sa`, and those that a file left open.

Used by associations.py; the reader of SA files makes `SaWords`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nicsim.boundary import UdpType
from nicsim.errors import InputError
from nicsim.host.software_ipsec import CoveringAh, SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.panel.words import address, number, octets, one_of, shown
from nicsim.wire.esp import NAT_TRAVERSAL_PORT, PROTOCOL_AH, PROTOCOL_ESP

IKE_PORT = 500
UDP_TYPES = {"none": UdpType.NATIVE, "other": UdpType.OTHER, "ike": UdpType.IKE}
MODES = {mode.value: mode for mode in Mode}
DEFAULT_PORTS = {UdpType.NATIVE: 0, UdpType.OTHER: NAT_TRAVERSAL_PORT, UdpType.IKE: IKE_PORT}
ENCRYPTIONS = {one.value: one for one in Encryption}
INTEGRITIES = {one.value: one for one in Integrity}
SA_WORDS = (
    "spi", "src", "dst", "mode", "udp", "port", "sport", "encryption", "key", "salt", "integrity", "ikey", "dir",
    "ah", "ahkey", "ahspi", "esn", "inner-src", "inner-dst", "portions", "version",
)  # fmt: skip
ESP_WORDS = ("encryption", "key", "salt", "integrity", "ikey")
LARGEST_32 = 2**32 - 1


@dataclass(frozen=True, slots=True)
class SaWords:
    """One association as a command or a file names it; None is what a file left open."""

    where: str
    spi: int
    src: bytes
    dst: bytes
    keys: SaKeys = field(repr=False)
    mode: Mode | None = None
    udp_type: UdpType | None = None
    src_port: int | None = None
    dst_port: int | None = None
    esn: bool = False
    sequence_high: int = 0
    inner_src: str = ""
    inner_dst: str = ""
    protocol: int = PROTOCOL_ESP

    def association(
        self, *, inbound: bool, mode: Mode | None = None, udp: UdpType | None = None
    ) -> SecurityAssociation:
        """The association that the host is to hold; `mode` and `udp` fill in what was left open."""
        mode, udp_type = self.mode or mode, self.udp_type if self.udp_type is not None else udp
        if mode is None or udp_type is None:
            missing = "mode=tunnel|transport" if mode is None else "udp=none|other|ike"
            raise InputError(f"{self.where}: the file leaves it open; say {missing}")
        if len(self.src) != len(self.dst) or not self.src:
            raise InputError(f"{self.where}: src and dst need to be two addresses of one family")
        port, native = DEFAULT_PORTS[udp_type], udp_type is UdpType.NATIVE
        return SecurityAssociation(
            spi=self.spi,
            inbound=inbound,
            src=self.src,
            dst=self.dst,
            mode=mode,
            udp_type=udp_type,
            keys=self.keys,
            src_port=0 if native else port if self.src_port is None else self.src_port,
            dst_port=0 if native else port if self.dst_port is None else self.dst_port,
            esn=self.esn,
            sequence_high=self.sequence_high,
            protocol=self.protocol,
            inner_src=self.inner_src,
            inner_dst=self.inner_dst,
        )


def at_home(sa: SaWords, local: bytes, given: Mapping[str, str]) -> SecurityAssociation:
    """An association of a file at the host that the file calls `local`; behind a NAT it knows itself `as` another.

    `mode` and `udp` fill in what the file leaves open.
    """
    mode = one_of("mode", given["mode"], MODES) if "mode" in given else None
    udp = one_of("udp", given["udp"], UDP_TYPES) if "udp" in given else None
    own = address("as", given["as"]) if "as" in given else local
    port = number("port", given["port"], 65535, 1) if "port" in given else None
    if sa.dst == local:
        return replace(sa, dst=own, dst_port=port or sa.dst_port).association(inbound=True, mode=mode, udp=udp)
    return replace(sa, src=own, src_port=port or sa.src_port).association(inbound=False, mode=mode, udp=udp)


# --- add sa ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What `add sa` asks for; `version` 1 or 2 where the host is not to choose."""

    association: SecurityAssociation
    version: int | None


def asked_association(given: Mapping[str, str]) -> Asked:
    """The association of `add sa`: ESP, AH (`ah=` and no ESP words), or ESP with AH around it (both)."""
    for key in ("spi", "src", "dst", "dir"):
        if key not in given:
            raise InputError(f"add sa needs {key}=")
    inbound = one_of("dir", given["dir"], {"in": True, "out": False})
    port = number("port", given["port"], 65535, 1) if "port" in given else None
    udp_type = one_of("udp", given.get("udp", "none"), UDP_TYPES)
    if udp_type is UdpType.NATIVE and (stray := next((key for key in ("port", "sport") if key in given), None)):
        raise InputError(f"{stray}= is a port of the UDP header around ESP, and needs udp=other or udp=ike")
    ah = ah_keys(given)
    alone = ah is not None and not any(key in given for key in ESP_WORDS)
    if "ahspi" in given and (ah is None or alone):
        raise InputError("ahspi= is for ah= beside ESP; AH alone has its SPI in spi=")
    if ah is not None and udp_type is not UdpType.NATIVE:
        raise InputError("AH does not ride in UDP; leave udp= out (N-V2-7)")
    keys = ah if ah is not None and alone else esp_keys(given, beside_ah=ah is not None)
    words = SaWords(
        where="add sa",
        spi=number("spi", given["spi"], LARGEST_32, 1),
        src=address("src", given["src"]),
        dst=address("dst", given["dst"]),
        keys=keys,
        mode=one_of("mode", given.get("mode", "tunnel"), MODES),
        udp_type=udp_type,
        src_port=number("sport", given["sport"], 65535, 1) if "sport" in given else port,
        dst_port=port,
        esn="esn" in given,
        sequence_high=number("esn", given["esn"], LARGEST_32) if "esn" in given else 0,
        inner_src=prefix("inner-src", given),
        inner_dst=prefix("inner-dst", given),
        protocol=PROTOCOL_AH if alone else PROTOCOL_ESP,
    )
    association = replace(
        words.association(inbound=inbound),
        ah=covering(given, ah) if ah is not None and not alone else None,
        of_two=number("portions", given.get("portions", "1"), 2, 1) == 2,
    )
    return Asked(association, number("version", given["version"], 2, 1) if "version" in given else None)


def ah_keys(given: Mapping[str, str]) -> SaKeys | None:
    """The keys of AH, where there is any."""
    if "ah" not in given:
        if stray := next((key for key in ("ahkey", "ahspi") if key in given), None):
            raise InputError(f"{stray}= needs ah=NAME: the integrity algorithm of AH")
        return None
    choices = {name: one for name, one in INTEGRITIES.items() if one is not Integrity.NONE}
    integrity = one_of("ah", given["ah"], choices)
    return SaKeys(Encryption.NULL, b"", integrity, octets("ahkey", given.get("ahkey", "")))


def covering(given: Mapping[str, str], keys: SaKeys) -> CoveringAh:
    """AH around ESP, with an SPI of its own."""
    if "ahspi" not in given:
        raise InputError("AH beside ESP needs ahspi=: the SPI of AH; spi= is that of ESP")
    return CoveringAh(number("ahspi", given["ahspi"], LARGEST_32, 1), keys)


def esp_keys(given: Mapping[str, str], *, beside_ah: bool) -> SaKeys:
    """The keys of ESP."""
    encryption = one_of("encryption", given.get("encryption", "NULL"), ENCRYPTIONS)
    integrity = one_of("integrity", given.get("integrity", "NONE"), INTEGRITIES)
    if not beside_ah and integrity is Integrity.NONE and not encryption.is_aead:
        raise InputError(
            "ESP needs integrity= and ikey=, or an encryption= that brings its own (AES_GCM_*), "
            "or ah= around it (N-SA-13)"
        )
    key, salt, ikey = (octets(name, given.get(name, "")) for name in ("key", "salt", "ikey"))
    return SaKeys(encryption, key, integrity, ikey, salt)


def prefix(word: str, given: Mapping[str, str]) -> str:
    """An address or a network, as it was written; empty for any."""
    text = given.get(word, "")
    try:
        return str(ipaddress.ip_network(text, strict=False)) if text else ""
    except ValueError:
        raise InputError(f"{word} needs an address or a network like 192.0.2.0/24, got {shown(text)}") from None
