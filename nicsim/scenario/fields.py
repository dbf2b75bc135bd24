"""The kinds of values that scenario files have, each with its bounds."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

LONGEST_RUN = 7 * 86400.0


def _address(text: str) -> str:
    ip_address(text)
    return text


def _address_v4(text: str) -> str:
    IPv4Address(text)
    return text


Address = Annotated[str, AfterValidator(_address)]
AddressV4 = Annotated[str, AfterValidator(_address_v4)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Time = Annotated[float, Field(ge=0, le=LONGEST_RUN, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Times = Annotated[int, Field(ge=1, le=100_000)]
Length = Annotated[int, Field(ge=0, le=65000)]


class Part(BaseModel):
    """A table of a scenario file, which has the keys it may have and no others."""

    # Not strict: TOML writes 1 where 1.0 is meant. pydantic still takes no text for a number.
    model_config = ConfigDict(extra="forbid", frozen=True)
