"""What a card says of itself, asked the way a host asks: the claims of a profile as its driver reports them.

Used by `nicsim profile` and by the panel's own `profile`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from nicsim.boundary import OidRequest, RequestKind
from nicsim.capabilities import Capabilities, NdisVersion, Readings
from nicsim.nic import Nic
from nicsim.panel.decode import Decoded, decoded, query_buffer
from offload_oids import Abi, Oid
from offload_oids.ndis_offload import NdisEncapsulations
from offload_oids.task_offload import NdisEncapsulation

# fmt: off
READING_RULES = {
    "confidentiality_key_first":      "A-2",
    "outer_layer_alone_is_processed": "A-4",
    "other_ports_need_ike_flags":     "A-5",
    "parser_handle_wins": "A-5",
    "handles_published_when_accepted": "A-6",
    "bytes_needed_is_total": "A-10",
    "integrity_keys_are_exact": "A-19",
    "wire_byte_order": "A-28",
    "version2_udp_esp_over_ipv6": "A-32",
    "second_enabling_set_fails":      "A-13",
    "mask_zero_is_any":               "A-15",
    "delete_request_keeps_the_oid":  "A-21",
    "lone_native_esp_is_transport":   "A-35",
    "one_association_per_send_in_6_0": "A-25",
    "one_parser_type_per_port":       "A-33",
}
# fmt: on
ETHERNET = NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_802_3


@dataclass(frozen=True, slots=True)
class Reading:
    """One disputed place of the documentation, and how this card reads it."""

    name: str
    rule: str | None
    value: bool
    is_default: bool


@dataclass(frozen=True, slots=True)
class Claims:
    """A profile, as its driver reports it and as its tables are built."""

    name: str
    about: str
    ndis: str
    encapsulations: tuple[str, ...]
    tables: dict[str, int]
    make_room: str
    row_ticks: int
    losses: dict[str, bool]
    reported_by: str
    reports: tuple[Decoded, ...]
    readings: tuple[Reading, ...]


def claims_of(capabilities: Capabilities, abi: Abi = Abi.X64) -> Claims:
    """Build the card, and ask its driver."""
    old = capabilities.ndis is NdisVersion.NDIS_5_1
    oid = Oid.OID_TCP_TASK_OFFLOAD if old else Oid.OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES
    link = (
        NdisEncapsulation.IEEE_802_3_Encapsulation
        if capabilities.encapsulations & ETHERNET
        else NdisEncapsulation.UNSPECIFIED_Encapsulation
    )
    nic = Nic(capabilities, iv_source=bytes, abi=abi)
    answer = nic.request(OidRequest(RequestKind.QUERY, oid, query_buffer(oid, abi, link), abi))
    reports = decoded(RequestKind.QUERY, oid, answer.buffer, abi)
    return Claims(
        name=capabilities.name,
        about=capabilities.about,
        ndis=capabilities.ndis.value,
        encapsulations=tuple(
            str(flag.name).removeprefix("NDIS_ENCAPSULATION_")
            for flag in NdisEncapsulations
            if flag & capabilities.encapsulations
        ),
        tables={
            "inbound": capabilities.inbound_rows,
            "outbound": capabilities.outbound_rows,
            "parser": capabilities.parser_rows,
        }
        | ({"address": capabilities.address_rows} if capabilities.address_rows else {}),
        make_room=capabilities.make_room.value,
        row_ticks=capabilities.row_ticks,
        losses=asdict(capabilities.losses),
        reported_by=oid.name,
        reports=tuple(reports),
        readings=readings_of(capabilities.readings),
    )


def readings_of(readings: Readings) -> tuple[Reading, ...]:
    """Each reading with its rule."""
    defaults = asdict(Readings())
    return tuple(
        Reading(name, READING_RULES.get(name), value, value == defaults[name])
        for name, value in asdict(readings).items()
    )
