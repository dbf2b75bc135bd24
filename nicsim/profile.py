"""Profiles: kinds of cards as TOML files, checked and turned into `Capabilities`.

The presets lie in `nicsim/profiles`; a file of your own has the same form. Flags are named as in the documentation.
"""

from __future__ import annotations

import tomllib
from dataclasses import fields
from enum import IntFlag
from functools import reduce
from importlib import resources
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from nicsim.capabilities import (
    Capabilities,
    Keywords,
    Losses,
    MakeRoom,
    NdisVersion,
    OtherTasks,
    Readings,
    Version1Claims,
    Version2Claims,
)
from nicsim.errors import InputError
from offload_oids.ndis_offload import (
    IpsecOffloadV2Authentication,
    IpsecOffloadV2Encryption,
    IpsecOffloadV2UdpEsp,
    NdisEncapsulations,
)
from offload_oids.task_offload import (
    NdisTaskTcpIpChecksum,
    NdisTaskTcpLargeSend,
    TaskChecksumV4,
    TaskChecksumV6,
    UdpEspParseFlags,
)

DEFAULT_PROFILE = "reference"
PRESETS = resources.files("nicsim") / "profiles"
LARGEST_PROFILE = 1 << 20
"""Bytes; a profile is a page of text."""
LONGEST_VALUE_SHOWN = 40

Rows = Annotated[int, Field(ge=0, le=1 << 24)]
Mode = Literal["transport", "tunnel"]
Checksum = Literal["IP", "TCP", "UDP", "IP_OPTIONS", "TCP_OPTIONS"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Tables(_Model):
    """How many rows the card's tables have."""

    inbound: Rows = 1024
    outbound: Rows = 1024
    parser: Rows = 16
    address: Rows = 0
    """Receive addresses that the inbound rows share; 0 where each row holds its own."""
    make_room: Literal["off", "least-recently-used"] = "off"


class Version1(_Model):
    """What NDIS_TASK_IPSEC and NDIS_IPSEC_OFFLOAD_V1 say (N-CAP-9, N-CAP-10)."""

    encryption: list[Literal["DES", "3DES", "NULL"]]
    integrity: list[Literal["MD5", "SHA_1"]]
    modes: list[Mode] = ["transport", "tunnel"]
    directions: list[Literal["send", "receive"]] = ["send", "receive"]
    ah: bool = False
    ah_esp_combined: bool = False
    transport_tunnel_combined: bool = False
    ipv4_options: bool = False
    udp_esp: list[str] = []


class Version2(_Model):
    """What NDIS_IPSEC_OFFLOAD_V2 says (N-V2-1 to N-V2-4)."""

    encryption: list[str]
    authentication: list[str]
    modes: list[Mode] = ["transport", "tunnel"]
    ah: bool = False
    esp: bool = True
    ah_esp_combined: bool = False
    transport_tunnel_combined: bool = False
    extended_sequence_numbers: bool = False
    sa_capacity: Rows
    ipv6: bool = False
    ipv4_options: bool = False
    ipv6_extension_headers: bool = False
    udp_esp: list[Literal["TRANSPORT", "TUNNEL", "TRANSPORT_OVER_UDP_ESP_TUNNEL", "TRANSPORT_OVER_TUNNEL"]] = []
    lso_supported: bool = False
    tcp_checksum: bool = False
    udp_checksum: bool = False


class Checksums(_Model):
    """What NDIS_TASK_TCP_IP_CHECKSUM and NDIS_TCP_IP_CHECKSUM_OFFLOAD say; options: such packets too."""

    ipv4_send: list[Checksum] = []
    ipv4_receive: list[Checksum] = []
    ipv6_send: list[Checksum] = []
    ipv6_receive: list[Checksum] = []


class LargeSend(_Model):
    """What NDIS_TASK_TCP_LARGE_SEND and NDIS_TCP_LARGE_SEND_OFFLOAD_V1 and _V2 say."""

    max_offload_size: Annotated[int, Field(ge=1, le=0xFFFF)]
    min_segment_count: Annotated[int, Field(ge=1, le=0xFFFF)] = 2
    tcp_options: bool = True
    ip_options: bool = True
    ipv6: bool = False


class Timing(_Model):
    """How long the card takes."""

    row_ticks: Annotated[int, Field(ge=0, le=100)] = 0
    """Polls until a row is written or cleared; 0 for at once."""


Keyword = Annotated[int, Field(ge=0, le=3)]


class KeywordValues(_Model):
    """What is on before any request: 0 disabled, 1 AH, 2 ESP, 3 both (N-CP6-8)."""

    ipsec_offload_v1_ipv4: Keyword = 3
    ipsec_offload_v2: Keyword = 3
    ipsec_offload_v2_ipv4: Keyword = 3


class Loss(_Model):
    """When the tables come back empty (A-26)."""

    on_reset: bool = False
    on_d3: bool = False


# The disputed readings that differ from the digest's (A-n); each has its default and its words in `Readings`.
if TYPE_CHECKING:
    ReadingChoices = _Model
else:
    ReadingChoices = create_model(
        "ReadingChoices", __base__=_Model, **{one.name: (type(one.default), one.default) for one in fields(Readings)}
    )


class Profile(_Model):
    """One profile file."""

    name: str
    about: str = ""
    ndis: Literal["5.1", "6.0", "6.1"]
    encapsulations: list[str]
    tables: Tables = Tables()
    header_split: Annotated[int, Field(ge=0, le=0xFFFF)] = 0
    timing: Timing = Timing()
    loss: Loss = Loss()
    keywords: KeywordValues = KeywordValues()
    version1: Version1 | None = None
    version2: Version2 | None = None
    checksums: Checksums = Checksums()
    large_send: LargeSend | None = None
    readings: ReadingChoices = ReadingChoices()


def preset_names() -> list[str]:
    """The names of the presets."""
    return sorted(entry.name.removesuffix(".toml") for entry in PRESETS.iterdir() if entry.name.endswith(".toml"))


def load_profile(name_or_file: str) -> Capabilities:
    """A preset by name, or a profile file. Raises InputError with what was needed and what came."""
    return parse_profile(*profile_text(name_or_file))


def profile_text(name_or_file: str) -> tuple[str, str]:
    """The text of a preset or of a profile file, and what messages call it."""
    if name_or_file in preset_names():
        return (PRESETS / f"{name_or_file}.toml").read_text(encoding="utf-8"), name_or_file
    path = Path(name_or_file)
    if not path.is_file():
        raise InputError(f"profile {name_or_file!r} is neither a file nor one of {', '.join(preset_names())}")
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_PROFILE + 1)
        if len(text) > LARGEST_PROFILE:
            raise InputError(f"{path.name}: a profile needs at most {LARGEST_PROFILE} bytes")
        return text.decode("utf-8"), path.name
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: cannot be read: {error}") from None


def parse_profile(text: str, where: str) -> Capabilities:
    """The capabilities that a profile's text describes."""
    try:
        profile = Profile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise InputError(_faults(error, where)[0]) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or an integer of too many digits
        raise InputError(f"{where}: is no TOML: {error}") from None
    return capabilities_of(profile, where)


def profile_faults(text: str, where: str) -> list[str]:
    """Everything that is wrong with a profile's text, a line each; nothing where it can be used."""
    try:
        parse_profile(text, where)
    except InputError as error:
        first = str(error)
    else:
        return []
    try:
        Profile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        return _faults(error, where)
    except (ValueError, RecursionError):
        pass  # no TOML at all, which is one fault
    return [first]


def _faults(error: ValidationError, where: str) -> list[str]:
    faults = []
    for fault in error.errors():
        # A quoted key may hold anything, line ends too; each message is one line.
        place = ".".join(repr(part)[1:-1] if isinstance(part, str) else str(part) for part in fault["loc"])
        faults.append(f"{where}: {place or 'the profile'}: {fault['msg']}{_what_came(fault['type'], fault['input'])}")
    return faults


def _what_came(kind: str, came: object) -> str:
    """The value that was there instead, where there was one and it says something."""
    if kind in ("missing", "extra_forbidden") or not isinstance(came, str | int | float):
        return ""
    shown = str(came).lower() if isinstance(came, bool) else repr(came)
    return f", not {shown if len(shown) <= LONGEST_VALUE_SHOWN else shown[:LONGEST_VALUE_SHOWN] + '...'}"


def capabilities_of(profile: Profile, where: str) -> Capabilities:
    """A checked profile as the data that card and driver are built from."""
    if profile.version2 and profile.ndis != "6.1":
        raise InputError(f"{where}: version2 needs ndis 6.1, not {profile.ndis}")
    if profile.header_split and profile.ndis != "6.1":
        raise InputError(f"{where}: header_split needs ndis 6.1, not {profile.ndis}")
    if profile.version2 and profile.version2.lso_supported and profile.large_send is None:
        raise InputError(f"{where}: version2.lso_supported needs a large_send table, there is none")
    return Capabilities(
        name=profile.name,
        about=profile.about,
        ndis=NdisVersion(profile.ndis),
        version1=version_1_claims(profile.version1, where) if profile.version1 else None,
        version2=version_2_claims(profile.version2, where) if profile.version2 else None,
        encapsulations=flags(NdisEncapsulations, "NDIS_ENCAPSULATION_", profile.encapsulations, where),
        inbound_rows=profile.tables.inbound,
        outbound_rows=profile.tables.outbound,
        parser_rows=profile.tables.parser,
        address_rows=profile.tables.address,
        make_room=MakeRoom(profile.tables.make_room),
        row_ticks=profile.timing.row_ticks,
        losses=Losses(**profile.loss.model_dump()),
        keywords=Keywords(**profile.keywords.model_dump()),
        header_split=profile.header_split,
        readings=Readings(**profile.readings.model_dump()),
        other_tasks=other_tasks(profile.checksums, profile.large_send),
    )


def other_tasks(checksums: Checksums, large_send: LargeSend | None) -> OtherTasks:
    """The tasks beside IPsec."""
    return OtherTasks(
        checksum=NdisTaskTcpIpChecksum(
            _checksum_v4(checksums.ipv4_send),
            _checksum_v4(checksums.ipv4_receive),
            _checksum_v6(checksums.ipv6_send),
            _checksum_v6(checksums.ipv6_receive),
        ),
        large_send=NdisTaskTcpLargeSend(
            max_off_load_size=large_send.max_offload_size,
            min_segment_count=large_send.min_segment_count,
            tcp_options=int(large_send.tcp_options),
            ip_options=int(large_send.ip_options),
        )
        if large_send
        else NdisTaskTcpLargeSend(),
        large_send_ipv6=bool(large_send and large_send.ipv6),
    )


def _checksum_v4(claims: list[Checksum]) -> TaskChecksumV4:
    names = "IP_OPTIONS", "TCP_OPTIONS", "TCP", "UDP", "IP"
    return TaskChecksumV4(*(int(name in claims) for name in names))


def _checksum_v6(claims: list[Checksum]) -> TaskChecksumV6:
    names = "IP_OPTIONS", "TCP_OPTIONS", "TCP", "UDP"
    return TaskChecksumV6(*(int(name in claims) for name in names))


def version_1_claims(claims: Version1, where: str) -> Version1Claims:
    """The version 1 part."""
    return Version1Claims(
        des="DES" in claims.encryption,
        triple_des="3DES" in claims.encryption,
        null_esp="NULL" in claims.encryption,
        md5="MD5" in claims.integrity,
        sha_1="SHA_1" in claims.integrity,
        transport="transport" in claims.modes,
        tunnel="tunnel" in claims.modes,
        send="send" in claims.directions,
        receive="receive" in claims.directions,
        ah=claims.ah,
        ah_esp_combined=claims.ah_esp_combined,
        transport_tunnel_combined=claims.transport_tunnel_combined,
        ipv4_options=claims.ipv4_options,
        udp_esp=flags(UdpEspParseFlags, "", claims.udp_esp, where),
    )


# The two combinations have names that begin in two ways; here both say what is over what.
UDP_ESP_SUBTYPES = {
    "TRANSPORT": IpsecOffloadV2UdpEsp.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
    "TUNNEL": IpsecOffloadV2UdpEsp.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL,
    "TRANSPORT_OVER_UDP_ESP_TUNNEL": IpsecOffloadV2UdpEsp.IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL,
    "TRANSPORT_OVER_TUNNEL": IpsecOffloadV2UdpEsp.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL,
}


def version_2_claims(claims: Version2, where: str) -> Version2Claims:
    """The version 2 part."""
    return Version2Claims(
        authentication=flags(
            IpsecOffloadV2Authentication, "IPSEC_OFFLOAD_V2_AUTHENTICATION_", claims.authentication, where
        ),
        encryption=flags(IpsecOffloadV2Encryption, "IPSEC_OFFLOAD_V2_ENCRYPTION_", claims.encryption, where),
        sa_capacity=claims.sa_capacity,
        ipv6=claims.ipv6,
        ip_options=claims.ipv4_options,
        extension_headers=claims.ipv6_extension_headers,
        ah=claims.ah,
        esp=claims.esp,
        ah_esp_combined=claims.ah_esp_combined,
        transport_tunnel_combined=claims.transport_tunnel_combined,
        extended_sequence_numbers=claims.extended_sequence_numbers,
        transport="transport" in claims.modes,
        tunnel="tunnel" in claims.modes,
        lso_supported=claims.lso_supported,
        tcp_checksum=claims.tcp_checksum,
        udp_checksum=claims.udp_checksum,
        udp_esp=int(reduce(or_, (UDP_ESP_SUBTYPES[name] for name in claims.udp_esp), IpsecOffloadV2UdpEsp(0))),
    )


Flag = TypeVar("Flag", bound=IntFlag)


def flags(kind: type[Flag], prefix: str, names: list[str], where: str) -> int:
    """The OR of flags by name, without the prefix that all of them have."""
    for name in names:
        if prefix + name not in kind.__members__:
            known = ", ".join(member.removeprefix(prefix) for member in kind.__members__)
            raise InputError(f"{where}: {name!r} must be one of {known}")
    return int(reduce(or_, (kind[prefix + name] for name in names), kind(0)))
