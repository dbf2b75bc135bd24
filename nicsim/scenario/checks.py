"""What must be seen, held against what was."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from nicsim.network.nic_host import NicHost
from nicsim.nic import Nic
from nicsim.scenario.expectations import (
    CrossingExpectation,
    DroppedExpectation,
    Expectation,
    HoldingsExpectation,
    NotedExpectation,
    PathMtusExpectation,
    ReceivedExpectation,
    VerdictExpectation,
)
from nicsim.scenario.results import Check, Line, LineKind
from nicsim.scenario.stage import Arrival, Stage
from offload_oids import Oid

UDPESP = Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA.name
OnLines = CrossingExpectation | DroppedExpectation | NotedExpectation | VerdictExpectation
Counted = ReceivedExpectation | OnLines


def check(expected: Expectation, lines: list[Line], stage: Stage) -> Check:
    """One expectation."""
    if isinstance(expected, PathMtusExpectation):
        return _path_mtus(expected, stage)
    if isinstance(expected, HoldingsExpectation):
        return _holdings(expected, stage)
    if isinstance(expected, ReceivedExpectation):
        arrivals: Iterable[Arrival | Line] = (one for one in stage.arrivals if _is_arrival(expected, one))
        return _counted(expected, arrivals)
    return _counted(expected, (line for line in lines if _is_line(expected, line)))


def _counted(expected: Counted, found: Iterable[Arrival | Line]) -> Check:
    times = [one.time for one in found if expected.after <= one.time <= expected.before]
    least, most = expected.at_least, expected.at_most
    if expected.count is not None:
        least = most = expected.count
    elif least is None and most is None:
        least = 1
    passed = (least is None or len(times) >= least) and (most is None or len(times) <= most)
    when = f", from {times[0]:.6f} to {times[-1]:.6f} s" if times else ""
    return Check(_sentence(expected, least, most), passed, f"{len(times)} times{when}")


def _sentence(expected: Counted, least: int | None, most: int | None) -> str:
    """The reason that the file gives, and what it is checked by."""
    if least == most:
        number = f"{least} times"
    else:
        bounds = (f"at least {least}" if least is not None else "", f"at most {most}" if most is not None else "")
        number = " and ".join(filter(None, bounds)) + " times"
    given = expected.model_dump(exclude={"see", "because", "count", "at_least", "at_most"}, exclude_defaults=True)
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())
    return f"{f'{expected.because}: ' if expected.because else ''}{expected.see} {facts}: {number}"


def _is_arrival(expected: ReceivedExpectation, arrival: Arrival) -> bool:
    return (
        arrival.node == expected.node
        and expected.port in (None, arrival.port)
        and (expected.source is None or ip_address(expected.source) == ip_address(arrival.source))
        and expected.source_port in (None, arrival.source_port)
        and expected.length in (None, arrival.length)
    )


def _is_line(expected: OnLines, line: Line) -> bool:
    if isinstance(expected, CrossingExpectation):
        return (
            line.kind is LineKind.PACKET
            and (line.node, line.target) == (expected.source, expected.target)
            and expected.what in (None, line.what)
            and expected.source_port in (None, line.source_port)
            and expected.port in (None, line.target_port)
            and expected.source_address in (None, line.source_address)
            and expected.target_address in (None, line.target_address)
            and expected.size in (None, line.size)
            and (expected.fate is None or expected.fate == (line.fate or "carried"))
        )
    if isinstance(expected, VerdictExpectation):
        return (
            line.kind is LineKind.PACKET
            and line.target == expected.node
            and expected.nic in (None, line.nic)
            and expected.host in (None, line.host)
            and expected.what in (None, line.what)
        )
    if isinstance(expected, DroppedExpectation):
        return line.kind is LineKind.DROP and line.node == expected.node and expected.why in line.text
    return line.kind is LineKind.NOTE and line.node == expected.node and expected.what in line.text


def _path_mtus(expected: PathMtusExpectation, stage: Stage) -> Check:
    because = f"{expected.because}: " if expected.because else ""
    what = f"{because}path MTUs of {expected.node} are {', '.join(str(mtu) for mtu in expected.path_mtus)}"
    trace = stage.traces.get(expected.node)
    if trace is None:
        return Check(what, False, "no tracepath ran there")
    passed = trace.path_mtus == expected.path_mtus and trace.reached == expected.reached
    end = "reached" if trace.reached else "not reached"
    return Check(what, passed, f"{', '.join(str(mtu) for mtu in trace.path_mtus)}; {end}")


def _holdings(expected: HoldingsExpectation, stage: Stage) -> Check:
    held = stage.nic_host(expected.node).host.holdings()
    in_software = [one for one in held.associations if one.oid is None]
    seen = {
        "associations": len(held.associations),
        "on_nic": len(held.associations) - len(in_software),
        "in_software": len(in_software),
        "parser_entries": len(held.parser_entries),
        "entries": [f"{entry.udp_type.name} {entry.port}" for entry in held.parser_entries],
        "references": sum(entry.references for entry in held.parser_entries),
        "reason": " ".join(sorted({one.reason.label for one in in_software if one.reason is not None})),
    }
    wanted = expected.model_dump(include=set(seen), exclude_none=True)
    because = f"{expected.because}: " if expected.because else ""
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in wanted.items())
    shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in seen.items() if value != "")
    passed = all(seen[name] == value for name, value in wanted.items())
    return Check(f"{because}{expected.node} ends with {told}", passed, shown)


def tables_agree(stage: Stage) -> list[Check]:
    """For every host: the NIC's tables hold what the host thinks that they do, and not half of anything."""
    checks = []
    for name, node in stage.network.nodes.items():
        if not isinstance(node, NicHost) or not isinstance(node.nic, Nic):
            continue
        held, rows = node.host.holdings(), node.nic.card.rows
        on_nic = [one for one in held.associations if one.oid is not None]
        expected = {
            "inbound rows": sum(one.inbound for one in on_nic),
            "outbound rows": sum(not one.inbound for one in on_nic),
            "references": sum(one.inbound and one.oid == UDPESP for one in on_nic),
        }
        seen = {
            "inbound rows": len(rows.inbound),
            "outbound rows": len(rows.outbound),
            "references": sum(entry.references for entry in held.parser_entries),
        }
        checks.append(Check(f"the NIC of {name} holds what its host thinks: {expected}", seen == expected, str(seen)))
    return checks
