"""What a host holds at one moment: its associations, each with where it is and why, and its list of parser entries.

Values for people and programs, without keys. Made by host/associations.py; shown by the reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nicsim.boundary import UdpType
from nicsim.events import Endpoint
from nicsim.ipsec.association import Mode
from nicsim.reasons import Reason


class Standing(Enum):
    """Where an association is in its life."""

    # The peer has not yet proved that it can receive on it.
    WAITING = "waiting"
    CURRENT = "current"
    # A newer pair took over; this one only receives what was still under way.
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class AssociationLine:
    """One association."""

    connection: str
    # The number of its pair.
    pair: int
    inbound: bool
    spi: int
    standing: Standing
    # As at this host's own interface; the ports are 0 for native ESP.
    source: Endpoint
    destination: Endpoint
    # The packets that it is for.
    traffic: str
    mode: Mode
    encapsulation: UdpType
    encryption: str
    # Without a salt.
    key_bits: int
    integrity: str
    # The add request that the NIC took, with its handle; or else the reason why it is in software.
    oid: str | None
    handle: int
    reason: Reason | None
    detail: str
    # ESP packets, by who did the cryptography; and those that were dropped, for whatever reason.
    packets_by_nic: int
    packets_by_host: int
    packets_dropped: int


@dataclass(frozen=True, slots=True)
class ParserEntryLine:
    """One entry of the transport's list (N-PE-4)."""

    udp_type: UdpType
    port: int
    handle: int
    references: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything at once, inbound before outbound in each pair."""

    associations: tuple[AssociationLine, ...]
    parser_entries: tuple[ParserEntryLine, ...]
