"""How a host's associations and parser entries look."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nicsim.boundary import UdpType
from nicsim.holdings import AssociationLine, Holdings

RIDES = {UdpType.NATIVE: "native", UdpType.OTHER: "UDP", UdpType.IKE: "UDP, non-IKE marker"}


def show_holdings(console: Console, holdings: Holdings) -> None:
    """Every association with where it is and why, and the list of parser entries."""
    if not holdings.associations:
        console.print("no associations are left")
        return
    table = Table(title="Associations", title_justify="left")
    for name in ("pair", "SPI", "", "algorithms", "mode", "peer", "by NIC", "by host", "dropped"):
        table.add_column(name, no_wrap=True)
    table.add_column("where it is, and why", overflow="fold")
    for line in holdings.associations:
        table.add_row(
            f"{line.pair} {line.standing.value}",
            f"0x{line.spi:08x}",
            "in" if line.inbound else "out",
            f"{encryption_name(line)} {line.integrity}",
            f"{line.mode.value}, {RIDES[line.encapsulation]}",
            str(line.source if line.inbound else line.destination),
            *map(str, (line.packets_by_nic, line.packets_by_host, line.packets_dropped)),
            escape(place_text(line)),
        )
    console.print(table)
    entries = Table(title="Parser entries", title_justify="left")
    for name in ("type", "port", "handle", "references"):
        entries.add_column(name)
    for entry in holdings.parser_entries:
        entries.add_row(entry.udp_type.name, str(entry.port), f"0x{entry.handle:x}", str(entry.references))
    console.print(entries)


def place_text(line: AssociationLine) -> str:
    """On the NIC by which request, or in software for which reason."""
    if line.oid is not None:
        return f"{line.oid}, handle 0x{line.handle:x}"
    reason = line.reason
    rule = f" ({reason.rule})" if reason is not None and reason.rule else ""
    return f"in software, {reason}{rule}{': ' if line.detail else ''}{line.detail}"


def encryption_name(line: AssociationLine) -> str:
    """`AES_CBC_128`: the name with the key's bits where there are several."""
    return f"{line.encryption}_{line.key_bits}" if line.encryption.startswith("AES") else line.encryption


def associations_as_json(holdings: Holdings) -> list[dict[str, Any]]:
    """One object an association."""
    return [
        {
            "spi": f"0x{line.spi:08x}",
            "direction": "inbound" if line.inbound else "outbound",
            "encryption": encryption_name(line),
            "integrity": line.integrity,
            "mode": line.mode.value,
            "offload": line.oid or (line.reason.label if line.reason else None),
        }
        for line in holdings.associations
    ]


def parser_entries_as_json(holdings: Holdings) -> list[dict[str, Any]]:
    """One object an entry."""
    return [
        {"type": entry.udp_type.name, "port": entry.port, "references": entry.references}
        for entry in holdings.parser_entries
    ]
