"""How the panel's answers look: JSON objects for programs, and text for people, associations as in `ip xfrm state`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from nicsim.panel.answers import (
    Counters,
    Deleted,
    Diff,
    Dump,
    Events,
    FrameAnswer,
    FramesAnswer,
    Goodbye,
    Help,
    Impairments,
    Loaded,
    Marked,
    OidAnswer,
    ParserLine,
    Reply,
    SaLine,
    SaOutcome,
    Sent,
    Serviced,
    Stats,
    Switched,
    Updated,
)
from nicsim.panel.claims import Claims
from nicsim.panel.decode import Decoded


def reply_as_json(reply: Reply) -> str:
    """One object on one line: `line`, `command`, and `result` or `error`."""
    shown: dict[str, Any] = {"line": reply.line, "command": reply.command}
    if reply.error is not None:
        return json.dumps(shown | {"error": asdict(reply.error)})
    assert reply.answer is not None  # it is one or the other
    return json.dumps(shown | {"result": asdict(reply.answer)})


def reply_as_text(reply: Reply, script: str = "") -> str:
    """The lines that a person reads. A fault in a script says where."""
    if reply.error is not None:
        where = f"{script}, line {reply.line}: " if script else ""
        rule = f" ({reply.error.rule})" if reply.error.rule and reply.error.rule not in reply.error.message else ""
        return f"error: {where}{reply.error.message}{rule}"
    assert reply.answer is not None
    return "\n".join(LOOKS[type(reply.answer)](reply.answer))


def _help(answer: Help) -> Iterable[str]:
    if len(answer.commands) == 1:
        (one,) = answer.commands
        return [one.usage, f"  {one.about}", f"  Example: {one.example}"]
    width = max((len(one.name) for one in answer.commands), default=0)
    return [*(f"{one.name:{width}}  {one.about}" for one in answer.commands), "help COMMAND shows how to write it"]


def _claims(claims: Claims) -> Iterable[str]:
    yield f"{claims.name}: {claims.about}"
    yield f"NDIS {claims.ndis}; encapsulations {', '.join(claims.encapsulations) or 'none'}"
    yield "tables: " + ", ".join(f"{rows} {name} rows" for name, rows in claims.tables.items())
    for report in claims.reports:
        yield from _structure(report)


def _structure(decoded: Decoded) -> Iterable[str]:
    """The members that are not zero, one a line."""
    yield decoded.structure
    for member in decoded.members:
        if member.value:
            yield f"  {member.name} {member.value}{f'  {member.meaning}' if member.meaning else ''}"


def _switched(answer: Switched) -> Iterable[str]:
    return [f"offload is {'enabled' if answer.enabled else 'disabled'}{_behind(answer.detail)}"]


def _serviced(answer: Serviced) -> Iterable[str]:
    why = _why(answer.reason, answer.rule, answer.detail)
    return [f"{answer.status}, power {answer.power}{_behind(why)}"]


def _sa_outcome(one: SaOutcome) -> Iterable[str]:
    if one.on_nic:
        parser = f", parser entry {one.parser_handle}" if one.parser_handle else ""
        return [f"{one.spi} {one.direction}: on the NIC by {one.oid}, handle {one.handle}{parser}"]
    return [f"{one.spi} {one.direction}: in software: {_why(one.reason, one.rule, one.detail)}"]


def _loaded(answer: Loaded) -> Iterable[str]:
    for one in answer.associations:
        yield from _sa_outcome(one)
    if answer.skipped:
        yield f"{answer.skipped} between other hosts left out"
    if not answer.associations:
        yield "no association begins or ends at this host"


def _impairments(answer: Impairments) -> Iterable[str]:
    for one in answer.active:
        yield f"{one.name} ({one.boundary}): {one.story} {' '.join(one.rules)}"
    if not answer.active:
        yield "nothing is impaired"


def _updated(answer: Updated) -> Iterable[str]:
    why = _why(answer.reason, answer.rule, answer.detail)
    return [f"{answer.spi}: handle {answer.handle}, upper half {answer.high}, {answer.status}{_behind(why)}"]


def _deleted(answer: Deleted) -> Iterable[str]:
    if answer.handle is None:
        return [f"{answer.spi}: gone, it was in software"]
    why = _why(answer.reason, answer.rule, answer.detail)
    return [f"{answer.spi}: handle {answer.handle}, {answer.status}{_behind(why)}"]


def _oid(answer: OidAnswer) -> Iterable[str]:
    counts = f"read {answer.bytes_read}, written {answer.bytes_written}, needed {answer.bytes_needed}"
    why = _why(answer.reason, answer.rule, answer.detail)
    yield f"{answer.kind} {answer.oid}: {answer.status} ({counts}){_behind(why)}"
    for structure in answer.structures:
        yield from _structure(structure)


def _events(answer: Events) -> Iterable[str]:
    for one in answer.events:
        yield f"{one.what}: {one.status}{_behind(_why(one.reason, one.rule, ''))}"
    if not answer.events:
        yield "nothing happened"


def _frame(answer: FrameAnswer) -> Iterable[str]:
    number = "frame" if answer.frame is None else f"frame {answer.frame}"
    yield f"{number}: {_why(answer.reason, answer.rule, answer.sentence)}"
    done, next_done = int(answer.crypto_done), int(answer.next_crypto_done)
    room = ", SaDeleteReq 1" if answer.sa_delete_request else ""
    yield f"  CryptoDone {done}, NextCryptoDone {next_done}{room}, {answer.crypto_status}; word {answer.ipsec_word}"
    if not answer.indicated:
        yield "  the driver did not hand it up"
    if answer.handle:
        inside = f", inside it {answer.next_handle}" if answer.next_handle else ""
        port = f", through the parser entry of port {answer.parser_port}" if answer.parser_port else ""
        yield f"  association {answer.handle}{inside}{port}"
    if answer.deleted:
        yield f"  the driver asked for room: {', '.join(answer.deleted)} went back to software (N-SA-22)"
    if answer.plaintext is not None:
        yield f"  {answer.plaintext}"


def _frames(answer: FramesAnswer) -> Iterable[str]:
    yield f"{answer.frames} frames"
    yield from _counted(answer.reasons)


def _sent(answer: Sent) -> Iterable[str]:
    yield f"{answer.status}: {_why(answer.reason, answer.rule, answer.sentence)}"
    if answer.frame:
        yield f"  {answer.frame}"


def _dump(answer: Dump) -> Iterable[str]:
    for sa in answer.sas or ():
        yield from _sa(sa)
    if answer.sas is not None and not answer.sas:
        yield "no associations"
    for entry in answer.parser or ():
        yield from _parser(entry)
    if answer.parser is not None and not answer.parser:
        yield "no parser entries"
    if answer.stats is not None:
        yield from _stats(answer.stats)


XFRM_CIPHERS = {
    "NULL": "ecb(cipher_null)",
    "DES_CBC": "cbc(des)",
    "3DES_CBC": "cbc(des3_ede)",
    "AES_CBC": "cbc(aes)",
    "AES_GCM_8": "rfc4106(gcm(aes))",
    "AES_GCM_12": "rfc4106(gcm(aes))",
    "AES_GCM_16": "rfc4106(gcm(aes))",
}
XFRM_HASHES = {"HMAC_MD5_96": "hmac(md5)", "HMAC_SHA1_96": "hmac(sha1)", "HMAC_SHA2_256_128": "hmac(sha256)"}
XFRM_ENCAPSULATIONS = {"other": "espinudp", "ike": "espinudp-nonike"}


def _sa(sa: SaLine) -> Iterable[str]:
    """The lines of `ip xfrm state`, with what the NIC has beside them."""
    yield f"src {sa.src} dst {sa.dst}"
    yield f"    proto {sa.protocol} spi {sa.spi} mode {sa.mode} dir {sa.direction}"
    cipher, _, bits = sa.encryption.partition("-")
    if cipher.startswith("AES_GCM"):
        yield f"    aead {XFRM_CIPHERS[cipher]} {sa.encryption_key} {sa.icv_length * 8} ({bits} bits)"
    if sa.integrity in XFRM_HASHES:
        yield f"    auth-trunc {XFRM_HASHES[sa.integrity]} {sa.integrity_key} {sa.icv_length * 8}"
    if sa.protocol == "esp" and not cipher.startswith("AES_GCM"):
        yield f"    enc {XFRM_CIPHERS[cipher]} {sa.encryption_key}{f' ({bits} bits)' if bits else ''}".rstrip()
    if sa.encapsulation in XFRM_ENCAPSULATIONS:
        parser = f" parser {sa.parser_port}" if sa.parser_port else ""
        yield (
            f"    encap type {XFRM_ENCAPSULATIONS[sa.encapsulation]} sport {sa.src_port} dport {sa.dst_port} "
            f"addr 0.0.0.0{parser}"
        )
    if sa.esn:
        yield f"    flag esn seq-hi 0x{sa.sequence_high:x}"
    if sa.handle:
        yield f"    offload handle {sa.handle} version {sa.version} slot {sa.slot} dir {sa.direction}"
    else:
        yield f"    in software: {_why(sa.reason, sa.rule, sa.detail)}"
    if sa.handle and sa.direction == "in":
        yield f"    packets {sa.packets} failed {sa.failed}"


def _parser(entry: ParserLine) -> Iterable[str]:
    handle = f"handle {entry.handle}" if entry.handle else "no handle: version 2's own (A-34)"
    yield f"parser port {entry.port} type {entry.udp_type} slot {entry.slot} {handle} references {entry.references}"
    for spi in entry.associations:
        yield f"    spi {spi}"


def _stats(stats: Stats) -> Iterable[str]:
    yield f"offload {'enabled' if stats.enabled else 'disabled'}, power {stats.power}"
    tables = [f"{name} {used}/{stats.capacity[name]}" for name, used in stats.used.items()]
    yield f"rows {', '.join(tables)}; {stats.in_software} in software"
    if stats.impairments:
        yield f"impaired by {', '.join(stats.impairments)}"
    yield from _counters(stats.counters)


def _counters(answer: Counters) -> Iterable[str]:
    for name, counts in asdict(answer).items():
        yield f"{name}{'' if counts else ': none'}"
        yield from _counted(counts)


def _counted(counts: dict[str, int]) -> Iterable[str]:
    return [f"  {count:6} {name}" for name, count in counts.items()]


def _marked(answer: Marked) -> Iterable[str]:
    return [f"{answer.name}: {answer.associations} associations, {answer.parser_entries} parser entries"]


def _diff(answer: Diff) -> Iterable[str]:
    yield f"from {answer.before} to {answer.after}"
    yield from (f"+ {what}" for what in answer.added)
    yield from (f"- {what}" for what in answer.removed)
    yield from (f"~ {one.what}: {_value(one.before)} -> {_value(one.after)}" for one in answer.changed)
    if not (answer.added or answer.removed or answer.changed):
        yield "nothing changed"


def _value(value: str | int | None) -> str:
    return "-" if value is None or value == "" else str(value)


def _goodbye(answer: Goodbye) -> Iterable[str]:
    return ["bye"]


def _why(reason: str | None, rule: str | None, detail: str) -> str:
    """A reason with its rule and what there is to say, as far as there is one."""
    return ": ".join(part for part in (f"{reason} ({rule})" if rule else reason, detail) if part)


def _behind(text: str) -> str:
    return f": {text}" if text else ""


LOOKS: dict[type, Callable[[Any], Iterable[str]]] = {
    Help: _help, Claims: _claims, Switched: _switched, Serviced: _serviced, Impairments: _impairments,
    SaOutcome: _sa_outcome, Loaded: _loaded, Updated: _updated, Deleted: _deleted, OidAnswer: _oid, Events: _events,
    FrameAnswer: _frame, FramesAnswer: _frames, Sent: _sent, Dump: _dump, Counters: _counters, Marked: _marked,
    Diff: _diff, Goodbye: _goodbye,
}  # fmt: skip
