"""Who someone is: the identities of phase 1, as text, as payload bodies, and compared (RFC 2407 section 4.6.2).

Called by the configuration, by both phase 1 exchanges, and for the identities that select traffic in quick mode by
quick_mode.py through wire/isakmp_payloads.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from nicsim.errors import InputError, Malformed
from nicsim.host.ike.distinguished_name import comparable_name, encode_name, show_name
from nicsim.wire.headers import format_address, parse_address
from nicsim.wire.isakmp_payloads import IdentificationType

_ADDRESS_TYPES = {4: IdentificationType.IPV4_ADDRESS, 16: IdentificationType.IPV6_ADDRESS}
_TEXT_TYPES = (IdentificationType.FQDN, IdentificationType.USER_FQDN)


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity: its type, and its data as the payload carries it, without protocol and port."""

    type: IdentificationType
    data: bytes

    @classmethod
    def of_address(cls, address: bytes) -> Identity:
        """4 or 16 bytes."""
        return cls(_ADDRESS_TYPES[len(address)], address)

    @classmethod
    def of_name(cls, der: bytes) -> Identity:
        """A distinguished name in DER."""
        return cls(IdentificationType.DER_DN, der)

    @classmethod
    def parse(cls, text: str) -> Identity:
        """An address, a distinguished name (`C=SE, CN=pluto`), user@name, #hex for a key id, or else a name.

        An @ in front of a name means nothing. Raises InputError.
        """
        if "=" in text:
            return cls.of_name(encode_name(text))
        if text.startswith("#"):
            try:
                return cls(IdentificationType.KEY_ID, bytes.fromhex(text[1:]))
            except ValueError:
                raise InputError(f"{text!r} needs pairs of hex digits behind #") from None
        if "@" in text[1:]:
            return cls(IdentificationType.USER_FQDN, _ascii(text))
        try:
            return cls.of_address(parse_address(text))
        except InputError:
            return cls(IdentificationType.FQDN, _ascii(text.removeprefix("@")))

    @property
    def is_address(self) -> bool:
        """Whether it is one IP address."""
        return self.type in _ADDRESS_TYPES.values()

    def same_as(self, other: Identity) -> bool:
        """Whether both name the same party: names without regard to case, distinguished names by what they say."""
        if self.type is not other.type:
            return False
        if self.type in _TEXT_TYPES:
            return self.data.lower() == other.data.lower()
        if self.type is IdentificationType.DER_DN and self.data != other.data:
            try:
                return comparable_name(self.data) == comparable_name(other.data)
            except Malformed:
                return False
        return self.data == other.data

    def __str__(self) -> str:
        try:
            if self.is_address:
                return format_address(self.data)
            if self.type is IdentificationType.DER_DN:
                return show_name(self.data)
        except Malformed:
            return f"#{self.data.hex()}"
        if self.type in _TEXT_TYPES:
            return self.data.decode("ascii", "backslashreplace")
        return f"#{self.data.hex()}"


def _ascii(text: str) -> bytes:
    if not text or not text.isascii():
        raise InputError(f"{text!r} is no identity: it needs an address, a name in ASCII, user@name or C=.., CN=..")
    return text.encode("ascii")
