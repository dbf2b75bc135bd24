"""The words of a command line as values: numbers, addresses, keys, and `KEY=VALUE` pairs.

Whatever is wrong becomes an InputError that says what was needed; a key is never quoted.

Used by session.py.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from nicsim.boundary import UdpType
from nicsim.errors import InputError
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.wire.esp import NAT_TRAVERSAL_PORT

Choice = TypeVar("Choice")

LARGEST_LINE = 1 << 20
IKE_PORT = 500
UDP_TYPES = {"none": UdpType.NATIVE, "other": UdpType.OTHER, "ike": UdpType.IKE}
MODES = {mode.value: mode for mode in Mode}
DEFAULT_PORTS = {UdpType.NATIVE: 0, UdpType.OTHER: NAT_TRAVERSAL_PORT, UdpType.IKE: IKE_PORT}
SA_WORDS = (
    "spi", "src", "dst", "mode", "udp", "port", "sport", "encryption", "key", "salt", "integrity", "ikey", "dir",
)  # fmt: skip

LOAD_WORDS = ("local", "as", "port", "mode", "udp")


def split(line: str) -> list[str]:
    """A command line as words; quotes hold spaces together, and a backslash is a character like any other."""
    if len(line) > LARGEST_LINE:
        raise InputError(f"a command needs at most {LARGEST_LINE} characters")
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        return list(lexer)
    except ValueError:
        raise InputError("a quote is opened and not closed") from None


def pairs(words: Iterable[str], known: tuple[str, ...]) -> dict[str, str]:
    """`KEY=VALUE` words, each key known and given once."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            raise InputError(f"needs KEY=VALUE with one of the keys {', '.join(known)}, got {shown(key)}")
        if key in found:
            raise InputError(f"{key}= is given twice")
        found[key] = value
    return found


def shown(word: str) -> str:
    """A word for a message: short, one line, and nothing that could be a key."""
    if re.search(r"[0-9A-Fa-f]{9}", word):
        return f"({len(word)} characters)"
    return ascii(word if len(word) <= 40 else word[:37] + "...")


def number(what: str, text: str, high: int, low: int = 0) -> int:
    """A decimal number, or hex digits after 0x."""
    if not re.fullmatch(r"0[xX][0-9A-Fa-f]{1,16}|[0-9]{1,20}", text, re.ASCII):
        raise InputError(f"{what} needs a number, decimal or with 0x, got {shown(text)}")
    value = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    if not low <= value <= high:
        raise InputError(f"{what} needs a number from {low} to {high}, got {value}")
    return value


def octets(what: str, text: str) -> bytes:
    """Hex digits, two for each octet; white space, commas and a 0x are allowed."""
    digits = re.sub(r"\b0[xX]|[\s,]", "", text)
    if re.search(r"[^0-9a-fA-F]", digits):
        raise InputError(f"{what} needs hex digits, got something else among them")
    if len(digits) % 2:
        raise InputError(f"{what} needs two hex digits for each octet, got {len(digits)} digits")
    return bytes.fromhex(digits)


def address(what: str, text: str) -> bytes:
    """An IPv4 or IPv6 address."""
    try:
        if "%" in text:
            raise ValueError
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise InputError(f"{what} needs an IPv4 or IPv6 address, got {shown(text)}") from None


def one_of(what: str, text: str, choices: Mapping[str, Choice]) -> Choice:
    """One of a few words."""
    if text.lower() not in (known := {name.lower(): choice for name, choice in choices.items()}):
        raise InputError(f"{what} needs one of {', '.join(choices)}, got {shown(text)}")
    return known[text.lower()]


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
    inner_src: str = ""
    inner_dst: str = ""

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


def sa_words(given: Mapping[str, str]) -> tuple[SaWords, bool]:
    """The association of `add sa`, and whether it is inbound."""
    for key in ("spi", "src", "dst", "dir"):
        if key not in given:
            raise InputError(f"add sa needs {key}=")
    udp = one_of("udp", given.get("udp", "none"), UDP_TYPES)
    port = number("port", given["port"], 65535, 1) if "port" in given else None
    sa = SaWords(
        where="add sa",
        spi=number("spi", given["spi"], 2**32 - 1, 1),
        src=address("src", given["src"]),
        dst=address("dst", given["dst"]),
        keys=_keys(given),
        mode=one_of("mode", given.get("mode", "tunnel"), MODES),
        udp_type=udp,
        src_port=number("sport", given["sport"], 65535, 1) if "sport" in given else port,
        dst_port=port,
    )
    return sa, one_of("dir", given["dir"], {"in": True, "out": False})


def _keys(given: Mapping[str, str]) -> SaKeys:
    encryption = one_of("encryption", given.get("encryption", "NULL"), {one.value: one for one in Encryption})
    integrity = one_of("integrity", given.get("integrity", "NONE"), {one.value: one for one in Integrity})
    key, salt, ikey = (octets(name, given.get(name, "")) for name in ("key", "salt", "ikey"))
    return SaKeys(encryption, key, integrity, ikey, salt)
