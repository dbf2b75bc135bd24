"""A reason explained: its sentence, the rule behind it as the digest states it, and what would have been accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from nicsim.reasons import Reason

# For who wants the other outcome; a reason that is no complaint has no line here.
# fmt: off
INSTEAD: dict[Reason, str] = {
    Reason.ICV_WRONG: "a packet sealed with the keys of the association, unchanged on its way",
    Reason.SYNTAX_INVALID: "whole cipher blocks between the IV and the ICV, with the two bytes of the ESP trailer",
    Reason.MALFORMED: "headers whose lengths agree with each other and with the frame",
    Reason.NOT_ENABLED: "the same frame after OID_OFFLOAD_ENCAPSULATION, in 5.1 OID_TCP_TASK_OFFLOAD, enabled it",
    Reason.ENCAPSULATION_NOT_ENABLED: "a frame of an encapsulation that the enabling set named",
    Reason.FRAGMENT: "the packet whole; lower the sender's MTU by the octets that ESP and UDP add",
    Reason.IP_OPTIONS: "a packet without options, or a card that claims them, enabled with them",
    Reason.NO_PARSER_ENTRY: "a datagram to a port that an offloaded inbound UDP-ESP association brought an entry for",
    Reason.SA_NOT_OFFLOADED: "the same packet after an add for its SPI and protocol succeeded, and before the delete",
    Reason.FILTER_MISMATCH: "a packet with the addresses and ports of the add, where its masks and ports are not zero",
    Reason.ENCAPSULATION_MISMATCH: "the packet as the add has it: native, behind the IKE marker, or plain in UDP",
    Reason.UNKNOWN_SEND_HANDLE: "the OffloadHandle that an outbound add wrote back, not yet deleted",
    Reason.BAD_SEND_FRAME: "a frame with all headers, padding and trailer, and room for the IV and the ICV",
    Reason.SEND_FRAGMENT: "the packet whole",
    Reason.LARGE_SEND_NOT_ENABLED: "a card that claims large sends of such packets, and LsoSupported beside version 2",
    Reason.LARGE_SEND_IN_TUNNEL: "the packets one by one, or transport mode",
    Reason.LARGE_SEND_WITH_VERSION_1: "a version 2 association, or the packets one by one",
    Reason.BAD_LARGE_SEND: "headers through TCP where the words say, then payload, and only PadLength octets behind it",
    Reason.SEQUENCE_WOULD_CYCLE: "a new association, or extended sequence numbers",
    Reason.CHECKSUM_NOT_ENABLED: "a card that claims this checksum for such packets, and beside version 2 too",
    Reason.BAD_CHECKSUM_TASK: "a packet with the TCP, UDP or IPv4 header that the word names",
    Reason.NOT_CONFIGURED: "the same packet after OID_OFFLOAD_ENCAPSULATION",
    Reason.BUFFER_LENGTH: "a buffer of BytesNeeded octets; nicsim layout NAME shows the structure",
    Reason.BUFFER_CONTENTS: "values from the lists of the structure's page; nicsim layout NAME --hex FILE decodes",
    Reason.NUMBER_OF_SAS: "NumSAs 1, or 2 with ESP first and AH second",
    Reason.DIRECTION_FLAGS: "Flags 1 (OFFLOAD_INBOUND_SA) or 2 (OFFLOAD_OUTBOUND_SA)",
    Reason.KEY_LENGTH: "key lengths of the algorithms (DES 8, 3DES 24, MD5 16, SHA-1 20) whose sum is KeyLen",
    Reason.NOT_AUTHENTICATED: "an integrity algorithm beside the cipher, or an AEAD cipher",
    Reason.SPI_ZERO: "any other SPI",
    Reason.HEADER_WRONG: "the type, revision 1, and the size through the structure's last member",
    Reason.POINTER_WRONG: "NULL, or the buffer's base address plus an aligned offset that leaves room for the target",
    Reason.TASK_HEADER_WRONG: "Version 1, Size 28, and OffsetFirstTask 0 or inside the buffer",
    Reason.ALGORITHM_NOT_CLAIMED: "an algorithm that nicsim profile show lists for this card",
    Reason.MODE_NOT_CLAIMED: "a mode and direction that nicsim profile show lists for this card",
    Reason.SUBTYPE_NOT_CLAIMED: "an encapsulation among the UDP-ESP flags that nicsim profile show lists",
    Reason.IPV6_NOT_CLAIMED: "IPv4, or a card whose version 2 claims IPv6Supported",
    Reason.ESN_NOT_CLAIMED: "sequence numbers of 32 bits",
    Reason.NOT_OFFERED: "an OID of nicsim oids, in a direction listed there, of this NDIS version",
    Reason.ENCAPSULATION_NOT_CLAIMED: "one of the encapsulations that nicsim profile show lists",
    Reason.TASK_NOT_CLAIMED: "the task as the query reported it, or less of it",
    Reason.SA_TABLE_FULL: "the same add after a delete, or on a card with more rows",
    Reason.PARSER_TABLE_FULL: "an association on a port that has an entry, or the same add after an entry was deleted",
    Reason.ADDRESS_TABLE_FULL: "an association to an address that is in the table; a delete of the last one to another",
    Reason.ADDRESS_NOT_WHOLE: "one destination address with a mask of all ones, in tunnel mode the tunnel's end point",
    Reason.UNKNOWN_SA_HANDLE: "the OffloadHandle that an add wrote back, not yet deleted",
    Reason.ENTRY_DIFFERS: "the handle of the entry that EncapTypeEntry describes, or NULL",
    Reason.UNKNOWN_PARSER_HANDLE: "NULL, or the EncapTypeEntryOffldHandle that an add wrote back",
    Reason.PORT_HAS_OTHER_TYPE: "the type that the port has, or another port",
    Reason.PORT_NOT_CLAIMED: "type OTHER on port 4500, or a card that claims the IKE types",
    Reason.ALREADY_ENABLED: "the same set after a set with OffsetFirstTask 0",
    Reason.NO_SUITABLE_VERSION: "an association within the claims of one version; nicsim profile show lists them",
    Reason.PORT_NOT_PARSED_BY_V2: "UDP-ESP to port 4500 without the IKE marker, or a card with version 1",
    Reason.OFFLOAD_NOT_ENABLED: "the same add after offload is enabled",
    Reason.CAPACITY_REACHED: "the same add after a delete, or on a card with a larger SaOffloadCapacity",
    Reason.SPI_NOT_UNIQUE: "an SPI that no other offloaded inbound association to this destination has",
    Reason.PROTOCOL_INVALID: "the headers of the association's add, in their order: ESP, AH, or AH around ESP",
    Reason.COMBINATION_NOT_ENABLED: "one portion alone, or a card that claims the combination",
    Reason.INNER_NOT_OFFLOADED: "the packet after the transport association was added too",
    Reason.AH_NOT_CLAIMED: "ESP with an integrity algorithm, or a card that claims AH",
    Reason.ESP_NOT_CLAIMED: "AH, or a card that claims ESP",
    Reason.LOW_POWER: "the same request after OID_PNP_SET_POWER set D0",
    Reason.RESETTING: "the same request once the reset has ended",
    Reason.ABORTED_BY_RESET: "the same request again",
}
# fmt: on


def reason_facts(reason: Reason, rules: Mapping[str, str]) -> dict[str, Any]:
    """Everything there is to say of a reason, under names that stay."""
    return {
        "reason": reason.label,
        "number": reason.number,
        "sentence": reason.sentence,
        "rule": reason.rule,
        "rule_text": rules.get(reason.rule) if reason.rule else None,
        "instead": INSTEAD.get(reason),
    }


def rule_facts(rule: str, rules: Mapping[str, str]) -> dict[str, Any]:
    """A rule and the reasons that stand on it."""
    return {"rule": rule, "rule_text": rules[rule], "reasons": [r.label for r in Reason if r.rule == rule]}


def show_reason(console: Console, facts: Mapping[str, Any]) -> None:
    """One reason in a few lines."""
    lines = [f"{facts['reason']} ({facts['number']})", f"  {facts['sentence']}"]
    if facts["instead"]:
        lines.append(f"  Accepted instead: {facts['instead']}.")
    if facts["rule"]:
        # A section of an RFC stands for itself.
        lines.append(f"  {facts['rule']}: {facts['rule_text']}" if facts["rule_text"] else f"  {facts['rule']}")
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def show_rule(console: Console, facts: Mapping[str, Any]) -> None:
    """One rule, and who stands on it."""
    reasons = ", ".join(facts["reasons"]) or "none"
    console.print(f"{facts['rule']}: {facts['rule_text']}\n  Reasons: {reasons}", markup=False, soft_wrap=True)


def show_all_reasons(console: Console, reasons: Iterable[Reason]) -> None:
    """The closed list."""
    table = Table(title="Reasons", title_justify="left")
    for column in ("number", "reason", "rule", "what it means"):
        table.add_column(column, justify="right" if column == "number" else "left", overflow="fold")
    for reason in reasons:
        table.add_row(str(reason.number), reason.label, reason.rule or "-", reason.sentence)
    console.print(table)
