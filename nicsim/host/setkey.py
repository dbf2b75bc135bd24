"""Policies and associations as people write them for setkey(8): `spdadd` and `add` statements.

    spdadd 10.0.0.0/24 192.168.50.0/24[80] tcp -P out ipsec esp/tunnel/203.0.113.1-203.0.113.2/require;
    add 203.0.113.1[1024] 203.0.113.2[4500] esp-udp 0xac01 -m tunnel -E aes-cbc 0x... -A hmac-sha1 0x...;

Read is what a host with ESP can do; AH, IPComp, bundles and labels get a sentence that says so. `hmac-sha256` has an
ICV of 128 bits (RFC 4868), as kernels have had it since 2011. Text is untrusted: the reader takes time in proportion
to its length, and whatever is wrong becomes one InputError, with the line and never with a key.

Used by replay/sas.py, the scenario and the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeVar

from nicsim.errors import InputError
from nicsim.events import Selector
from nicsim.host.policy import PROTOCOL_WORDS, Action, Direction, Policy, Template, TrafficSelector
from nicsim.ipsec.association import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys

# fmt: off
ENCRYPTION = {
    "des-cbc": Encryption.DES_CBC, "3des-cbc": Encryption.TRIPLE_DES_CBC, "null": Encryption.NULL,
    "rijndael-cbc": Encryption.AES_CBC, "aes-cbc": Encryption.AES_CBC, "aes-gcm-16": Encryption.AES_GCM_16,
}
INTEGRITY = {
    "hmac-md5": Integrity.HMAC_MD5_96, "hmac-sha1": Integrity.HMAC_SHA1_96, "null": Integrity.NONE,
    "hmac-sha256": Integrity.HMAC_SHA2_256_128, "hmac-sha2-256": Integrity.HMAC_SHA2_256_128,
}
PRIORITY_BASES = {"low": -(1 << 30), "def": 0, "high": 1 << 30}
# fmt: on
LOWEST_SPI = 256
"""The numbers below are reserved (RFC 4303 section 2.1)."""
IGNORED_OPTIONS = {"-u", "-f", "-lh", "-ls", "-bh", "-bs"}
"""Options of `add` with one argument each that change nothing here: binding, padding, lifetimes."""


@dataclass(frozen=True, slots=True)
class SaStatement:
    """One `add`: an ESP association as its packets are where the text was written."""

    line: int
    spi: int
    # 4 or 16 bytes.
    src: bytes
    dst: bytes
    keys: SaKeys = field(repr=False)
    # None: "any", the packets decide.
    mode: Mode | None
    udp: bool
    src_port: int | None
    dst_port: int | None
    # In packets; None where nothing is said.
    replay_window: int | None


@dataclass(frozen=True, slots=True)
class SetkeyText:
    """Everything that a text adds, in order."""

    associations: tuple[SaStatement, ...]
    policies: tuple[Policy, ...]


def read_setkey(text: str) -> SetkeyText:
    """Read every statement. Raises InputError whose message begins with the line."""
    associations: list[SaStatement] = []
    policies: list[Policy] = []
    for words in _statements(text):
        try:
            match words.next("a statement"):
                case "add":
                    associations.append(_add(words))
                case "spdadd":
                    policies.append(_spdadd(words))
                case "flush" | "spdflush" as flush:
                    (associations if flush == "flush" else policies).clear()
                    words.skip()
                case verb:
                    raise InputError(f"{shown(verb)} is none of add, spdadd, flush, spdflush")
            words.end()
        except InputError as error:
            raise InputError(f"line {words.line}: {error}") from None
    return SetkeyText(tuple(associations), tuple(policies))


def looks_like_setkey(text: str) -> bool:
    """Whether the first word that is no comment is one of ours."""
    match = re.match(r"(?:\s++|#[^\n]*+(?:\n|$))*+(add|spdadd|flush|spdflush)\b", text)
    return match is not None


# --- words ---------------------------------------------------------------------------------------------------------

# A comment, a quoted string, the end of a statement, a word, or a quote that never ends.
_WORD = re.compile(r'#[^\n]*+|"[^"\n]*+"|;|[^\s;"#]++|"')


class _Words:
    """The words of one statement, taken one by one."""

    def __init__(self, line: int, words: list[str]) -> None:
        self.line = line
        self._words = words
        self._at = 0

    def next(self, what: str) -> str:
        if self._at == len(self._words):
            raise InputError(f"needs {what} where the statement ends")
        self._at += 1
        return self._words[self._at - 1]

    def take(self, word: str) -> bool:
        """Pass over the next word if it is this one."""
        found = self.left and self._words[self._at] == word
        self._at += found
        return found

    def next_begins(self, *beginnings: str) -> bool:
        return self.left and self._words[self._at].startswith(beginnings)

    @property
    def left(self) -> bool:
        return self._at < len(self._words)

    def skip(self) -> None:
        self._at = len(self._words)

    def end(self) -> None:
        if self.left:
            raise InputError(f"needs the end of the statement, got {shown(self._words[self._at])}")


def _statements(text: str) -> Iterator[_Words]:
    words: list[str] = []
    line, start, counted = 1, 1, 0
    for match in _WORD.finditer(text):
        word = match[0]
        if word.startswith("#"):
            continue
        line += text.count("\n", counted, match.start())
        counted = match.start()
        if word == '"':
            raise InputError(f"line {line}: needs a second quote on the same line")
        if word == ";":
            if words:
                yield _Words(start, words)
            words = []
            continue
        if not words:
            start = line
        words.append(word)
    if words:
        raise InputError(f"line {start}: needs a semicolon at the end of the statement")


def shown(word: str) -> str:
    """A word for a message: short, and never something that could be a key."""
    if word.startswith('"') or re.search(r"[0-9A-Fa-f]{9}", word):
        return f"'({len(word)} characters)'"
    return ascii(word if len(word) <= 60 else word[:57] + "...")


_Value = TypeVar("_Value")


def _choice(words: dict[str, _Value], word: str, what: str) -> _Value:
    if word not in words:
        raise InputError(f"{what} needs one of {', '.join(words)}, got {shown(word)}")
    return words[word]


def _number(word: str, what: str, low: int, high: int) -> int:
    if re.fullmatch(r"0[xX][0-9A-Fa-f]{1,8}|-?[0-9]{1,10}", word):
        number = int(word, 16 if word[:2] in ("0x", "0X") else 10)
        if low <= number <= high:
            return number
    raise InputError(f"{what} needs a number from {low} to {high}, got {shown(word)}")


# --- add -----------------------------------------------------------------------------------------------------------


def _add(words: _Words) -> SaStatement:
    for flag in ("-4", "-6", "-n"):
        words.take(flag)
    src, src_port = _endpoint(words.next("a source address"))
    dst, dst_port = _endpoint(words.next("a destination address"))
    if len(src) != len(dst):
        raise InputError("source and destination need the same address family")
    protocol = words.next("a protocol")
    if protocol not in ("esp", "esp-udp"):
        raise InputError(f"the protocol needs to be esp or esp-udp here, got {shown(protocol)}")
    udp = protocol == "esp-udp"
    if not udp and (src_port or dst_port):
        raise InputError("ports go with esp-udp only")
    spi = _number(words.next("an SPI"), "the SPI", LOWEST_SPI, 2**32 - 1)
    options = _options(words)
    return SaStatement(
        words.line, spi, src, dst, options.keys(), options.mode, udp, src_port, dst_port, options.replay_window
    )


@dataclass(slots=True, repr=False)
class _Options:
    """What stands behind the SPI."""

    mode: Mode | None = None
    replay_window: int | None = None
    encryption: Encryption = Encryption.NULL
    encryption_key: bytes = b""
    integrity: Integrity = Integrity.NONE
    integrity_key: bytes = b""

    def keys(self) -> SaKeys:
        """The checked keys; an AES-GCM key ends in its salt, and what stands as the key of `null` is none."""
        salt_length = self.encryption.salt_length
        cut = len(self.encryption_key) - salt_length
        cipher_key = b"" if self.encryption is Encryption.NULL else self.encryption_key[:cut]
        integrity_key = b"" if self.integrity is Integrity.NONE else self.integrity_key
        return SaKeys(
            self.encryption,
            cipher_key,
            self.integrity,
            integrity_key,
            self.encryption_key[cut:] if salt_length else b"",
        )


def _options(words: _Words) -> _Options:
    options = _Options()
    while words.left:
        option = words.next("an option")
        if option == "-m":
            modes: dict[str, Mode | None] = {"transport": Mode.TRANSPORT, "tunnel": Mode.TUNNEL, "any": None}
            options.mode = _choice(modes, words.next("a mode"), "the mode")
        elif option == "-r":  # bytes of the bitmap, a bit a packet
            options.replay_window = 8 * _number(words.next("a window size"), "the replay window", 0, 8192)
        elif option == "-E":
            options.encryption = _choice(ENCRYPTION, words.next("a cipher"), "-E")
            options.encryption_key = _key(words, optional=options.encryption is Encryption.NULL)
        elif option == "-A":
            options.integrity = _choice(INTEGRITY, words.next("a hash"), "-A")
            options.integrity_key = _key(words, optional=options.integrity is Integrity.NONE)
        elif option in IGNORED_OPTIONS:
            words.next(f"a value after {option}")
        else:
            raise InputError(f"{shown(option)} is no option of add that is read here")
    return options


_ENDPOINT = re.compile(r"([0-9A-Fa-f.:]+)(?:\[([0-9]{1,5}|any)\])?")


def _endpoint(word: str) -> tuple[bytes, int | None]:
    """`203.0.113.1[4500]`: an address, and the port if there is one."""
    match = _ENDPOINT.fullmatch(word)
    try:
        if match is None:
            raise ValueError
        address = ip_address(match[1]).packed
    except ValueError:
        raise InputError(f"needs an address, with a port in brackets if need be, got {shown(word)}") from None
    return address, _port(match[2]) or None


def _port(text: str | None) -> int:
    return 0 if text in (None, "any") else _number(str(text), "a port", 0, 65535)


def _key(words: _Words, *, optional: bool) -> bytes:
    """0x and hex digits, or characters in quotes; `null` may stand without one."""
    if optional and not words.next_begins('"', "0x", "0X"):
        return b""
    word = words.next("a key")
    if word.startswith('"'):
        return word[1:-1].encode()
    if not re.fullmatch(r"0[xX](?:[0-9A-Fa-f]{2})*+", word):
        raise InputError("a key needs 0x and an even number of hex digits, or characters in quotes")
    return bytes.fromhex(word[2:])


# --- spdadd --------------------------------------------------------------------------------------------------------


def _spdadd(words: _Words) -> Policy:
    for flag in ("-4", "-6", "-n"):
        words.take(flag)
    source = _range(words.next("a source range"))
    destination = _range(words.next("a destination range"))
    if source[0].version != destination[0].version:
        raise InputError("source and destination need the same address family")
    protocol = _protocol(words.next("an upper protocol"))
    selector = TrafficSelector(
        Selector(source[0], protocol, source[1]), Selector(destination[0], protocol, destination[1])
    )
    if not words.take("-P"):
        raise InputError(f"needs -P and a direction, got {shown(words.next('-P and a direction'))}")
    direction = _choice({one.value: one for one in Direction}, words.next("a direction"), "the direction")
    priority = _priority(words)
    action = _choice({one.value: one for one in Action}, words.next("an action"), "the action")
    template = _template(words.next("a template"), direction) if action is Action.PROTECT else None
    if words.left and template is not None:
        raise InputError("one template is read, not a bundle of several")
    return Policy(direction, selector, action, template, priority)


_RANGE = re.compile(r"([0-9A-Fa-f.:]+(?:/[0-9]{1,3})?)(?:\[([0-9]{1,5}|any)\])?")


def _range(word: str) -> tuple[IPv4Network | IPv6Network, int]:
    match = _RANGE.fullmatch(word)
    try:
        if match is None:
            raise ValueError
        return ip_network(match[1], strict=False), _port(match[2])
    except ValueError:
        raise InputError(
            f"needs an address or a prefix, with a port in brackets if need be, got {shown(word)}"
        ) from None


def _protocol(word: str) -> int:
    numbers = {name: number for number, name in PROTOCOL_WORDS.items()}
    if word in numbers:
        return numbers[word]
    if word.isascii() and word.isdecimal():
        return _number(word, "the upper protocol", 0, 255)
    raise InputError(f"the upper protocol needs a number or one of {', '.join(numbers)}, got {shown(word)}")


def _priority(words: _Words) -> int:
    """`prio -5`, or `priority low + 7`."""
    if not (words.take("prio") or words.take("priority")):
        return 0
    first = words.next("a priority")
    base = PRIORITY_BASES.get(first)
    if base is None:
        return _number(first, "the priority", -(2**31) + 1, 2**31 - 1)
    for sign, factor in (("+", 1), ("-", -1)):
        if words.take(sign):
            return base + factor * _number(words.next("an offset"), "the offset", 0, 1 << 30)
    return base


_LEVELS = {"default": True, "require": True, "unique": True, "use": False}


def _template(word: str, direction: Direction) -> Template:
    """`esp/tunnel/203.0.113.1-203.0.113.2/require`, `esp/transport//use`."""
    parts = word.split("/")
    if len(parts) != 4:
        raise InputError(f"a template needs protocol/mode/ends/level, got {shown(word)}")
    protocol, mode_word, ends, level = parts
    if protocol != "esp":
        raise InputError(f"a template needs esp here, got {shown(protocol)}")
    mode = _choice({one.value: one for one in Mode}, mode_word, "the template's mode")
    required = _choice(_LEVELS, level.partition(":")[0], "the template's level")
    if not ends and mode is Mode.TRANSPORT:
        return Template(mode, required=required)
    source, dash, destination = ends.partition("-")
    if not dash:
        raise InputError(f"a {direction.value} template in {mode.value} mode needs its two ends with a hyphen between")
    return Template(mode, _endpoint(source)[0], _endpoint(destination)[0], required)
