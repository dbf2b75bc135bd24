"""A reason explained: its sentence, the rule behind it as the digest states it, and what would have been accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from nicsim.reasons import Reason

# For who wants the other outcome: what would have been accepted.
# fmt: off
INSTEAD: dict[Reason, str] = {
    Reason.ICV_WRONG: "a packet sealed with the keys of the association, unchanged on its way",
    Reason.SYNTAX_INVALID: "whole cipher blocks between the IV and the ICV, with the two bytes of the ESP trailer",
    Reason.ROW_MISSING: "the same packet after a reset, or after a delete and an add of its association",
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
    # IKE: what a peer refuses, and how an association ends
    Reason.IKE_MALFORMED: "lengths that agree with each other and the datagram, zero reserved bytes, known payloads",
    Reason.IKE_VERSION: "version 1.0 in the header",
    Reason.IKE_COOKIE: "the pair of cookies of an ISAKMP SA, or a first message whose responder cookie is zero",
    Reason.IKE_EXCHANGE_TYPE: "2 main, 4 aggressive, 5 informational or 32 quick mode, where this peer allows it",
    Reason.IKE_FLAGS: "the encryption flag exactly where the exchange is encrypted, and no flag without meaning",
    Reason.IKE_MESSAGE_ID: "zero in phase 1, and in phase 2 a number that no exchange of this ISAKMP SA has used",
    Reason.IKE_UNEXPECTED: "the payloads that RFC 2409 section 5 lists for this message of its exchange",
    Reason.IKE_UNDECIPHERABLE: "whole blocks encrypted with the key of this ISAKMP SA and the IV that follows on",
    Reason.IKE_REPLAYED: "a message of an exchange that is still going on",
    Reason.IKE_FRAGMENT: "fragments of one id, numbered from 1 to the last, within the limits of the peer",
    Reason.IKE_HALF_OPEN_LIMIT: "the same message once another peer has proved who it is, or given up",
    Reason.IKE_DOI: "DOI 1 (IPsec) and situation 1 (SIT_IDENTITY_ONLY)",
    Reason.IKE_PROPOSAL_SYNTAX: "proposals and transforms whose lengths, numbers and counts agree",
    Reason.IKE_NO_PROPOSAL: "an offer with one of the transforms that the other side is configured for",
    Reason.IKE_PROPOSAL_CHANGED: "one of the offered proposals with one of its transforms, as it was offered",
    Reason.IKE_ATTRIBUTE: "attributes of RFC 2407 4.5 and RFC 2409 appendix A, each once, whose values go together",
    Reason.IKE_KEY_EXCHANGE: "a public value as long as the group's prime, from 2 to the prime less 2",
    Reason.IKE_NONCE: "a nonce of 8 to 256 bytes",
    Reason.IKE_IDENTITY: "an identity of the configured kind and value, which the credentials prove",
    Reason.IKE_CERTIFICATE: "a readable certificate, within its time, whose key may sign",
    Reason.IKE_CERTIFICATE_AUTHORITY: "a chain to one of the authorities that are trusted here",
    Reason.IKE_AUTHENTICATION: "the same pre-shared key on both sides, or a signature by the certificate's own key",
    Reason.IKE_SELECTORS: "traffic selectors within the policy for this peer",
    Reason.IKE_NO_NAT_TRAVERSAL: "a vendor id for NAT traversal that both know (RFC 3947 or one of its drafts)",
    Reason.IKE_TIMED_OUT: "a peer that answers on UDP port 500, and behind a NAT on 4500",
    Reason.IKE_NOTIFIED: "what the notification names; the log of the peer says more",
    Reason.IKE_PEER_DEAD: "an answer to R-U-THERE in time",
    Reason.IKE_NOT_CONFIRMED: "the last message of the exchange in time",
    # the host: what becomes of a packet
    Reason.ROUTE_MOVED: "an add to the NIC that the route leads to now",
    Reason.NO_SUCH_SA: "a packet with an SPI of the host's associations",
    Reason.DELETE_REQUESTED: "the same add once there is room, or on a card with more rows",
    Reason.RESEAL_DIFFERS: "the IV, padding and keys of the captured packet; nicsim replay --explain shows it",
    Reason.SENT_ICV_WRONG: "the keys that sealed the captured packet",
    Reason.SENT_MALFORMED: "a whole packet, with the IV and the ICV of its association's algorithms",
    Reason.NOT_CAPTURED_WHOLE: "a capture made with a larger snap length",
    Reason.POLICY_DISCARDS: "a policy for this packet that protects it or lets it pass",
    Reason.NOT_PROTECTED: "the packet protected as its policy says",
    Reason.SELECTORS_DIFFER: "a packet with the addresses, protocol and ports that were negotiated",
    Reason.NO_ASSOCIATION: "an outbound association for the policy, or an IKE peer to make one with",
    Reason.TOO_MANY_WAITING: "the same packet once the association is there",
    Reason.SEQUENCE_EXHAUSTED: "a new association in time, or one with 64-bit sequence numbers",
    Reason.SELECTORS_TAKEN: "a tunnel with inner addresses of its own, or one such peer at a time behind the NAT",
    Reason.OTHER_ENCAPSULATION: "the packet in UDP exactly where its association says so",
    Reason.CHECKSUM_BY_HOST: "UDP-ESP over IPv4, or ESP over IPv6 without UDP",
    # settings, power and reset
    Reason.RUNT: "a UDP payload of eight bytes or more: the SPI and the sequence number",
    Reason.ROW_WRITE_FAILED: "the same add again once the card takes rows; nothing of this one was kept",
    Reason.ROW_CLEAR_FAILED: "nothing more: the driver tries the row again and lets no packet use it",
    Reason.PARAMETER_NOT_CLAIMED: "values within what nicsim profile show lists, or 0, which changes nothing",
    Reason.FILTER_NOT_SUPPORTED: "bits of 0x2f: directed, multicast, all multicast, broadcast and promiscuous",
    Reason.MULTICAST_LIST_FULL: "up to 32 groups, or the packet filter for all of them",
    Reason.ADAPTER_REMOVED: "the same request to a NIC that is there",
    Reason.NOT_RESTORED: "another reset once the card takes rows",
}
# fmt: on
NO_COMPLAINT = frozenset(
    {
        Reason.OPENED,
        Reason.CHECKED,
        Reason.NOT_IP,
        Reason.NOT_IPSEC,
        Reason.IKE,
        Reason.KEEPALIVE,
        Reason.SEALED,
        Reason.NO_SEND_WORK,
        Reason.TASKS_DONE,
        Reason.NOT_THIS_HOST,
        Reason.SENT_PLAIN,
        Reason.IKE_DELETED,
        Reason.IKE_REPLACED,
        Reason.IKE_EXPIRED,
        Reason.IKE_INITIAL_CONTACT,
    }
)  # fmt: skip
"""Reasons of outcomes that nobody would want otherwise: each other one has a line above."""


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
