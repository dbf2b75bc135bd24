"""The tables of the NIC as lines: associations, parser entries, counters; and what lies between two moments.

The rows are those that the driver wrote into the card; what the host knows beside them (mode, counts, what it kept in
software) is joined to them by handle.

Used by the commands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from nicsim.boundary import EspCipher, ParserRow, Portion, SaRow, Table, UdpType
from nicsim.card.rows import Rows, transform_of
from nicsim.driver.handles import DriverState, OffloadedSa
from nicsim.host.offloader import HostParserEntry, Offloaded
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.host.suitable import InSoftware
from nicsim.impairments import Impaired
from nicsim.ipsec.transforms import SaKeys
from nicsim.panel.answers import Change, Counters, Diff, ImpairmentLine, ParserLine, SaLine, Stats
from nicsim.panel.decode import REDACTED
from nicsim.wire.esp import PROTOCOL_AH, PROTOCOL_ESP
from nicsim.wire.headers import format_address

PROTOCOLS = {PROTOCOL_ESP: "esp", PROTOCOL_AH: "ah"}
UDP_WORDS = {UdpType.NATIVE: "none", UdpType.OTHER: "other", UdpType.IKE: "ike"}

Moment = dict[str, dict[str, str | int | None]]
"""Everything that can change, by what it is: `sa in 0x00001001 handle 0x10008`."""


@dataclass(slots=True)
class Held:
    """One association of the host, and where it is."""

    sa: SecurityAssociation
    outcome: Offloaded | InSoftware

    @property
    def handle(self) -> int:
        """The offload handle, zero in software."""
        return self.outcome.handle if isinstance(self.outcome, Offloaded) else 0

    def is_same_as(self, sa: SecurityAssociation) -> bool:
        """Whether both have the same protocol and SPI between the same hosts."""
        own = self.sa
        return (own.inbound, own.protocol, own.spi, own.src, own.dst) == (
            sa.inbound, sa.protocol, sa.spi, sa.src, sa.dst,
        )  # fmt: skip


@dataclass(slots=True)
class Counts:
    """What happened since the session began."""

    requests: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    packets: Counter[int] = field(default_factory=Counter)
    """Packets that the card worked on, by offload handle."""
    failed: Counter[int] = field(default_factory=Counter)

    def shown(self) -> Counters:
        """The totals."""
        return Counters(dict(self.requests), dict(self.received), dict(self.sent))


# --- associations ------------------------------------------------------------------------------------------------


def sa_lines(
    state: DriverState, card: Rows, held: Iterable[Held], counts: Counts, *, show_keys: bool
) -> tuple[SaLine, ...]:
    """Every association: those on the NIC a line a layer, then those that the host kept."""
    by_handle, kept = {one.handle: one.sa for one in held if one.handle}, [one for one in held if not one.handle]
    lines = [
        _row_line(offloaded, slot, row, by_handle.get(offloaded.handle), card, counts, show_keys)
        for offloaded in state.associations.values()
        for slot, row in offloaded.rows
        if isinstance(row, SaRow)
    ]
    return (*lines, *(line for one in kept for line in _kept_lines(one, show_keys)))


def _row_line(
    offloaded: OffloadedSa,
    slot: int,
    row: SaRow,
    sa: SecurityAssociation | None,
    card: Rows,
    counts: Counts,
    show_keys: bool,
) -> SaLine:
    length, udp_type = 4 if row.family == 4 else 16, UdpType(row.udp_type)
    shared = card.address.get(row.address_slot - 1)
    destination = shared.address if shared else row.destination_address
    src, dst = (sa.src, sa.dst) if sa else (row.source_address[:length], destination[:length])
    ports = (sa.src_port, sa.dst_port) if sa else (row.source_port, row.destination_port)
    inbound = offloaded.table is Table.INBOUND
    key_bits = f"-{8 * row.cipher_key_length}" if row.cipher_key_length else ""
    keys = transform_of(row).keys
    salt = row.salt if row.cipher == EspCipher.AES_GCM else b""
    return SaLine(
        direction="in" if inbound else "out",
        spi=spi_text(row.spi),
        protocol=PROTOCOLS.get(row.protocol, str(row.protocol)),
        mode=sa.mode.value if sa else Portion(row.portion).name.lower(),
        src=format_address(src),
        dst=format_address(dst),
        encapsulation=UDP_WORDS[udp_type],
        src_port=ports[0],
        dst_port=ports[1],
        encryption=keys.encryption.value + key_bits,
        encryption_key=_key(row.cipher_key[: row.cipher_key_length] + salt, row.cipher_key_length, show_keys),
        integrity=keys.integrity.value,
        integrity_key=_key(
            row.authenticator_key[: row.authenticator_key_length], row.authenticator_key_length, show_keys
        ),
        icv_length=row.icv_length,
        esn=bool(row.extended),
        sequence_high=row.sequence_high,
        handle=handle_text(offloaded.handle),
        version=offloaded.version,
        slot=slot,
        parser_port=next((parser.port for parser in card.parser.values() if inbound and hangs_on(row, parser)), None),
        packets=counts.packets[offloaded.handle],
        failed=counts.failed[offloaded.handle],
    )


def _kept_lines(one: Held, show_keys: bool) -> list[SaLine]:
    """A line for each layer of an association in software, in the order of the wire: AH in front of ESP."""
    sa = one.sa
    lines = [_kept_line(one, sa.protocol, sa.spi, sa.keys, show_keys)]
    if sa.ah:
        lines.insert(0, _kept_line(one, PROTOCOL_AH, sa.ah.spi, sa.ah.keys, show_keys))
    return lines


def _kept_line(one: Held, protocol: int, spi: int, keys: SaKeys, show_keys: bool) -> SaLine:
    sa, outcome = one.sa, one.outcome
    assert isinstance(outcome, InSoftware)  # it has no handle
    key_bits = f"-{8 * len(keys.encryption_key)}" if keys.encryption_key else ""
    return SaLine(
        direction="in" if sa.inbound else "out",
        spi=spi_text(spi),
        protocol=PROTOCOLS[protocol],
        mode=sa.mode.value,
        src=format_address(sa.src),
        dst=format_address(sa.dst),
        encapsulation=UDP_WORDS[sa.udp_type],
        src_port=sa.src_port,
        dst_port=sa.dst_port,
        encryption=keys.encryption.value + key_bits,
        encryption_key=_key(keys.encryption_key + keys.salt, len(keys.encryption_key), show_keys),
        integrity=keys.integrity.value,
        integrity_key=_key(keys.integrity_key, len(keys.integrity_key), show_keys),
        icv_length=keys.icv_length,
        esn=sa.esn,
        sequence_high=sa.sequence_high,
        reason=outcome.reason.label,
        rule=outcome.reason.rule,
        detail=outcome.detail,
    )


def _key(key: bytes, length: int, show_keys: bool) -> str:
    """A key with its salt as hex where it was asked for."""
    if not length:
        return ""
    return f"0x{key.hex()}" if show_keys else REDACTED


def spi_text(spi: int) -> str:
    """An SPI as everything shows it."""
    return f"0x{spi:08x}"


def handle_text(handle: int) -> str:
    """A handle of the driver."""
    return f"0x{handle:x}"


# --- parser entries ----------------------------------------------------------------------------------------------


def hangs_on(row: SaRow, parser: ParserRow) -> bool:
    """Whether datagrams of an inbound association are found through a parser row (N-RX-2)."""
    return (
        row.udp_type != UdpType.NATIVE
        and row.udp_type == parser.udp_type
        and row.parser_set == parser.parser_set
        and row.destination_port in (0, parser.port)
    )


def parser_lines(
    state: DriverState, parsers: Mapping[int, ParserRow], entries: Iterable[HostParserEntry]
) -> tuple[ParserLine, ...]:
    """Every parser row, with the associations that hang on it."""
    handles = {entry.slot: entry.handle for entry in state.parser_entries.values()}
    references = {entry.handle: entry.references for entry in entries}
    inbound = [
        row
        for offloaded in state.associations.values()
        if offloaded.table is Table.INBOUND
        for _, row in offloaded.rows
        if isinstance(row, SaRow)
    ]
    return tuple(
        ParserLine(
            slot=slot,
            port=parser.port,
            udp_type=UDP_WORDS[UdpType(parser.udp_type)],
            handle=handle_text(handles[slot]) if slot in handles else None,
            references=references.get(handles.get(slot, 0), 0),
            associations=tuple(spi_text(row.spi) for row in inbound if hangs_on(row, parser)),
        )
        for slot, parser in sorted(parsers.items())
    )


# --- impairments -------------------------------------------------------------------------------------------------


def impairment_lines(active: Iterable[Impaired]) -> tuple[ImpairmentLine, ...]:
    """What misbehaves, with its story."""
    return tuple(
        ImpairmentLine(str(one), one.impairment.boundary.value, one.impairment.story, one.impairment.rules)
        for one in active
    )


# --- moments -----------------------------------------------------------------------------------------------------


def moment_of(sas: Iterable[SaLine], parsers: Iterable[ParserLine], stats: Stats) -> Moment:
    """The tables as flat facts, to be compared with those of another moment."""
    moment: Moment = {
        "nic": {
            "offload": "enabled" if stats.enabled else "disabled",
            "power": stats.power,
            "impaired": " ".join(stats.impairments),
        }
    }
    for sa in sas:
        where = f"handle {sa.handle} slot {sa.slot}" if sa.handle else "in software"
        moment[f"sa {sa.direction} {sa.spi} {where}"] = asdict(sa)
    for parser in parsers:
        facts = asdict(parser) | {"associations": " ".join(parser.associations)}
        moment[f"parser {parser.udp_type} {parser.port}"] = facts
    for name, counts in asdict(stats.counters).items():
        moment[name] = dict(counts)
    return moment


def difference(before_name: str, before: Moment, after_name: str, after: Moment) -> Diff:
    """What came, what went, and what is another now."""
    changed = [
        Change(f"{what}: {name}", before[what].get(name), after[what].get(name))
        for what in before
        if what in after
        for name in dict.fromkeys([*before[what], *after[what]])
        if before[what].get(name) != after[what].get(name)
    ]
    return Diff(
        before_name,
        after_name,
        added=tuple(what for what in after if what not in before),
        removed=tuple(what for what in before if what not in after),
        changed=tuple(changed),
    )
