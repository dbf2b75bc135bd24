"""The words of a command line as values: numbers, addresses, octets, and `KEY=VALUE` pairs.

Whatever is wrong becomes an InputError that says what was needed; a key is never quoted.

Used by all commands; sa_words.py has those of associations.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import TypeVar

from nicsim.errors import InputError

Choice = TypeVar("Choice")

LARGEST_LINE = 1 << 20


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
            near = difflib.get_close_matches(key.lower(), known, n=1) if len(key) < 20 else []
            hint = f"; near it is {near[0]}=" if near and near[0] != key else ""
            raise InputError(f"needs KEY=VALUE with one of the keys {', '.join(known)}, got {shown(key)}{hint}")
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


def take_flag(rest: list[str], flag: str) -> bool:
    """Whether a flag is among the words; it is taken out."""
    if flag not in rest:
        return False
    rest.remove(flag)
    return True


def leading_pairs(rest: list[str], known: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """The `KEY=VALUE` words in front, and the words behind them."""
    count = next((number for number, word in enumerate(rest) if "=" not in word), len(rest))
    return pairs(rest[:count], known), rest[count:]
