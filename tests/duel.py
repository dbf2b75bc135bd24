"""A NIC and the oracle that are told the same, and compared whenever both are at rest.

The NIC's rule monitor is on. Its card is slow when asked to be: row operations wait until the duel lets one of them go,
in any order; and it refuses row operations when asked to. What the duel knows of the driver it sees from outside: which
requests reach it in which order, and what it answers.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from nicsim.boundary import (
    Card,
    MiniportEvent,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    ResetCompletion,
    ResetResult,
    Row,
    RowCompletion,
    RowStatus,
    StatusIndication,
    Table,
)
from nicsim.capabilities import Capabilities, MakeRoom
from nicsim.card.device import SimulatedCard
from nicsim.driver.device import ReferenceDriver
from nicsim.ndis.monitor import Monitor
from nicsim.ndis.queue import Ndis
from nicsim.ndis.watched import WatchedCard, WatchedMiniport
from nicsim.profile import PRESETS
from nicsim.wire.packet import LinkType
from offload_oids import Abi, NdisStatus, Oid
from tests.driver.builders import capabilities
from tests.oracle_nic import OracleNic, Outcome, Sa
from tests.oracle_nic.state import Request
from tests.oracle_nic.state import Row as OracleRow

SET_POWER = Oid.OID_PNP_SET_POWER
MOST_DEAD = 6


class HeldCard:
    """A card whose row operations wait, while it is slow, until somebody lets one go, and fail while it is refusing."""

    def __init__(self, card: Card, refused: Callable[[], None]) -> None:
        self.card = card
        self.slow = False
        self.refusals = 0
        """How many of the next row operations fail."""
        self.waiting: list[Callable[[], RowCompletion]] = []
        self.done: list[RowCompletion] = []
        self._refused = refused
        self.receive, self.send, self.send_large, self.enable = card.receive, card.send, card.send_large, card.enable

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        return self._operate(table, slot, lambda: self.card.write_row(table, slot, row))

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        return self._operate(table, slot, lambda: self.card.clear_row(table, slot))

    def _operate(self, table: Table, slot: int, act: Callable[[], RowStatus]) -> RowStatus:
        if not self.slow:
            return self._now(act)
        self.waiting.append(lambda: RowCompletion(table, slot, self._now(act)))
        return RowStatus.PENDING

    def _now(self, act: Callable[[], RowStatus]) -> RowStatus:
        if not self.refusals:
            return act()
        self.refusals -= 1
        self._refused()
        return RowStatus.FAILED

    def let_go(self, number: int = 0) -> None:
        """The card finishes one of the operations that wait."""
        if self.waiting:
            self.done.append(self.waiting.pop(number % len(self.waiting))())

    def reset(self) -> None:
        self.waiting.clear()
        self.done.clear()
        self.card.reset()

    def poll(self) -> Sequence[RowCompletion]:
        done, self.done = self.done, []
        return done


class WatchedDriver(ReferenceDriver):
    """The reference driver, and somebody who is told of all that enters and leaves it, in order."""

    duel: Duel

    def request(self, request: OidRequest) -> OidResult:
        if not request.request_id:
            return super().request(request)
        self.duel.arrived(request)
        return self._answered(request, super().request(request))

    def direct_request(self, request: OidRequest) -> OidResult:
        if not request.request_id:
            return super().direct_request(request)
        self.duel.arrived(request)
        return self._answered(request, super().direct_request(request))

    def _answered(self, request: OidRequest, result: OidResult) -> OidResult:
        if result.status == NdisStatus.PENDING:
            self.duel.pended(request, result)
        else:
            self.duel.answered(request.request_id, result)
        return result

    def reset(self) -> ResetResult:
        before = self.duel.oracle.resetting
        self.duel.reset_begins()
        result = super().reset()
        self.duel.was_reset(result, before)
        return result

    def remove(self) -> None:
        super().remove()
        self.duel.oracle.was_removed()

    def poll(self) -> Sequence[MiniportEvent]:
        events = super().poll()
        for event in events:
            if isinstance(event, OidCompletion):
                self.duel.answered(event.request_id, event.result)
            elif isinstance(event, ResetCompletion):
                self.duel.reset_ended(event.result)
        return events


@dataclass(frozen=True)
class Kind:
    """One kind of card with small tables, for one pointer width."""

    profile: str
    abi: Abi
    rows: int = 3
    parsers: int = 2
    esn: bool = False
    """Claim extended sequence numbers, which no preset does."""
    addresses: int = 0
    """Rows of a table of receive addresses that inbound rows share."""
    make_room: bool = False

    @cache  # noqa: B019 - a handful of kinds, alive as long as the tests
    def capabilities(self) -> Capabilities:
        changes: dict[str, Any] = {"version2": {"extended_sequence_numbers": True}} if self.esn else {}
        changes["address_rows"] = self.addresses
        changes["make_room"] = MakeRoom.LEAST_RECENTLY_USED if self.make_room else MakeRoom.OFF
        return capabilities(self.profile, rows=self.rows, parsers=self.parsers, **changes)

    @cache  # noqa: B019
    def text(self) -> dict[str, Any]:
        """The profile as the oracle reads it."""
        profile = tomllib.loads((PRESETS / f"{self.profile}.toml").read_text(encoding="utf-8"))
        tables = {
            **profile["tables"],
            "inbound": self.rows,
            "outbound": self.rows,
            "parser": self.parsers,
            "address": self.addresses,
            "make_room": "least-recently-used" if self.make_room else "off",
        }
        version2 = {**profile["version2"], "extended_sequence_numbers": True} if self.esn else profile.get("version2")
        return {**profile, "tables": tables, "version2": version2}


KINDS = [
    Kind("reference", Abi.X64, esn=True),
    Kind("reference", Abi.X86, rows=4, parsers=3),
    Kind("ndis51", Abi.X86, parsers=1),
    Kind("ndis51", Abi.X64, rows=4),
    Kind("ndis60", Abi.X64, make_room=True),
    Kind("ndis61", Abi.X64, rows=4, parsers=1, esn=True),
    Kind("ndis61", Abi.X86, parsers=0),
    Kind("tiny", Abi.X86, rows=2, parsers=1),
    Kind("shared-address", Abi.X64, rows=4, parsers=0, addresses=2),
    Kind("shared-address", Abi.X86, rows=3, parsers=0, addresses=1, make_room=True),
]


@dataclass
class Pending:
    """A request that the driver has not completed."""

    request: Request
    published: bytes = b""
    """What the host's buffer holds meanwhile (A-6)."""
    result: OidResult | None = None


class Duel:
    """One NIC and one oracle."""

    def __init__(self, kind: Kind, *, serialise: bool = True, raw: bool = False) -> None:
        self.kind, self.abi, self.raw = kind, kind.abi, raw
        self.oracle = OracleNic(kind.text(), kind.abi.pointer_size, raw)
        claims = kind.capabilities()
        self.silicon = SimulatedCard(
            inbound_rows=claims.inbound_rows,
            outbound_rows=claims.outbound_rows,
            parser_rows=claims.parser_rows,
            address_rows=claims.address_rows,
            iv_source=bytes,
            link_type=LinkType.RAW if raw else LinkType.ETHERNET,
        )
        self.card = HeldCard(self.silicon, self.refused)
        self.monitor = Monitor()
        self.driver = WatchedDriver(claims, WatchedCard(self.card, self.monitor), kind.abi)
        self.driver.duel = self
        self.ndis = Ndis(WatchedMiniport(self.driver, self.monitor), kind.abi, serialise=serialise)
        self.ndis51 = self.oracle.ndis51
        self.ids = 0
        self.with_driver: dict[int, Pending] = {}
        """By request, in the order in which they reached the driver."""
        self.with_host: dict[int, OidResult | None] = {}
        """Requests that the host has seen no end of, with what the driver has answered so far."""
        self.indications: list[StatusIndication] = []
        self.dead: list[Sa] = []
        """Associations that were there not long ago."""
        self._clean = False

    # --- what the host does ----------------------------------------------------------------------------------------

    def ask(self, oid: int, buffer: bytes) -> NdisStatus:
        """Put one request to the NIC; the oracle hears of it when it reaches the driver."""
        self.ids += 1
        self.with_host[self.ids] = None
        number = self.ids
        result = self.ndis.request(OidRequest(RequestKind.SET, oid, buffer, self.abi, request_id=number))
        if result.status != NdisStatus.PENDING:
            assert self.with_host.pop(number) == result
        self.poll()
        return result.status

    def other_request(self, kind: RequestKind, oid: int, buffer: bytes) -> OidResult:
        """A request that the oracle does not read, and that must leave what it knows alone."""
        result = self.ndis.request(OidRequest(kind, oid, buffer, self.abi, request_id=0))
        self.poll()
        return result

    def step(self, number: int = 0) -> None:
        """Let the card finish one operation, and take up what that completes."""
        self.card.let_go(number)
        self.poll()

    def reset(self) -> None:
        self.ndis.reset()
        self.poll()

    def remove(self) -> None:
        self.ndis.remove()
        self.poll()

    def finish(self) -> None:
        """Let everything complete; every request has come back to the host by then."""
        while self.card.waiting:
            self.step()
        assert not self.with_host, "requests that never came back"
        assert not self.oracle.resetting
        self.monitor.finish()

    def poll(self) -> None:
        """What NDIS tells the host: each end once, as the driver answered."""
        for event in self.ndis.poll():
            if isinstance(event, OidCompletion):
                assert self.with_host.pop(event.request_id) == event.result
            else:
                self.indications.append(event)
        self.agree()

    # --- what the driver is seen to do -------------------------------------------------------------------------------

    def arrived(self, request: OidRequest) -> None:
        if not self.oracle.waiting:
            self.oracle.resolve(self._alive())
        oracle_request = Request(request.oid, request.buffer)
        self.with_driver[request.request_id] = Pending(oracle_request)
        self.oracle.waiting.append(oracle_request)
        away = self.oracle.low_power or self.oracle.resetting or self.oracle.removed
        self._clean |= not away and self.oracle.offers(request.oid)

    def pended(self, request: OidRequest, result: OidResult) -> None:
        assert (result.bytes_read, result.bytes_written, result.bytes_needed) == (0, 0, 0)
        self.with_driver[request.request_id].published = result.buffer
        first = len(self.with_driver) == 1 and not self.oracle.uncleared
        if first and self.oracle.adds_of(self.with_driver[request.request_id].request):
            assert result.buffer != request.buffer, "an add was accepted, and its handles are not published (A-6)"

    def answered(self, request_id: int, result: OidResult) -> None:
        """The driver's answer; the oracle settles requests in the order in which they reached the driver."""
        self.with_driver[request_id].result = result
        self.with_host[request_id] = result
        while self.with_driver:
            first, pending = next(iter(self.with_driver.items()))
            if pending.result is None:
                return
            del self.with_driver[first]
            self._settle(pending, pending.result)

    def _settle(self, pending: Pending, result: OidResult) -> None:
        before = dict(self.oracle.sas)
        self.oracle.waiting.remove(pending.request)
        counts = result.bytes_read, result.bytes_written, result.bytes_needed
        self.oracle.settle(pending.request, result.status, result.buffer, counts)
        published = pending.published not in (b"", pending.request.buffer) and not pending.request.failed
        if result.status == NdisStatus.SUCCESS and published:
            assert pending.published == result.buffer, "other handles than were published (A-6)"
        self.dead = [*self.dead, *(sa for handle, sa in before.items() if handle not in self.oracle.sas)][-MOST_DEAD:]

    def refused(self) -> None:
        """The card refuses a row operation."""
        for request in self.oracle.waiting:
            request.failed = True
        self._clean = False
        self.oracle.unrestored |= self.oracle.resetting or any(
            request.oid == SET_POWER for request in self.oracle.waiting
        )

    def reset_begins(self) -> None:
        if not self.oracle.removed and not self.oracle.resetting:
            self.oracle.resetting, self.oracle.unrestored = True, False

    def was_reset(self, result: ResetResult, before: bool) -> None:
        """The driver's call returned; `before` says whether a reset was going on already."""
        assert not result.addressing_reset
        if self.oracle.removed:
            assert result.status == NdisStatus.HARD_ERRORS
        elif before:
            assert result.status == NdisStatus.RESET_IN_PROGRESS
        elif result.status != NdisStatus.PENDING:
            self.reset_ended(result)

    def reset_ended(self, result: ResetResult) -> None:
        if self.oracle.removed:
            assert result.status == NdisStatus.HARD_ERRORS
            return
        assert result.status == (NdisStatus.HARD_ERRORS if self.oracle.unrestored else NdisStatus.SUCCESS)
        self.oracle.resetting = False
        if not self.oracle.low_power:
            self.oracle.was_reset()

    # --- the comparison ----------------------------------------------------------------------------------------------

    def agree(self) -> None:
        """At rest, both hold the same handles, the same entries and the same rows."""
        if self.oracle.waiting or self.oracle.resetting:
            return
        oracle, state = self.oracle, self.driver.state
        oracle.resolve(self._alive())
        assert state.associations.keys() == oracle.sas.keys(), "handles of associations"
        assert state.parser_entries.keys() == oracle.entries.keys(), "handles of parser entries"
        if oracle.low_power:
            return
        clean = self._clean and not self.card.waiting
        oracle.compare(self.dump(), clean=clean)

    def _alive(self) -> set[int]:
        """The handles that the driver knows."""
        return {*self.driver.state.associations, *self.driver.state.parser_entries}

    def dump(self) -> Counter[OracleRow]:
        """The card's tables, in the oracle's words."""
        tables = self.silicon.rows
        found: Counter[OracleRow] = Counter(("parser", row.udp_type - 1, row.port) for row in tables.parser.values())
        for address in tables.address.values():
            found["address", address.address[: 4 if address.family == 4 else 16]] += 1
        for name, table in (("inbound", tables.inbound), ("outbound", tables.outbound)):
            for loaded in table.values():
                row = loaded.row
                keys = row.cipher_key[: row.cipher_key_length], row.salt if row.cipher == 4 else b""
                mac_key = row.authenticator_key[: row.authenticator_key_length]
                high = row.sequence_high if row.extended else None
                found[(name, row.family, row.protocol, row.spi, *keys, mac_key, row.icv_length, high)] += 1
        return found

    def receive(self, frame: bytes) -> Outcome:
        """A frame for both."""
        indication = self.driver.indicate(*self.card.receive(frame))
        if self.ndis51:
            word, status = indication.ipsec[0], indication.ipsec[4]
        else:
            word, status = indication.ipsec[0], indication.ipsec[2]
        assert not word & 1 or self.oracle.may_ask_for_room(), "SaDeleteReq, and there is room"
        header = indication.header
        told = (header[0], header[1]) if header and header[2] & 1 else None
        outcome = Outcome(indication.frame, word >> 1 & 1, word >> 2 & 1, status, told)
        expected = self.oracle.receive(frame)
        assert len(outcome.frame) == len(frame)
        assert outcome.done or outcome == Outcome(frame), "words on a frame that was left alone (N-RX-13)"
        assert outcome.status <= 7, "no CryptoStatus (N-RX-15)"
        assert expected is None or outcome in expected, f"{outcome}\nthe oracle says\n{expected}"
        return outcome

    def send(self, frame: bytes, handle: int, tunnel: int = 0) -> NdisStatus:
        """A frame for both, on its way out."""
        width = self.abi.pointer_size
        word = handle.to_bytes(width, "little")
        if self.ndis51:
            result = self.ndis.send(frame, word + tunnel.to_bytes(width, "little"))
        else:
            result = self.ndis.send(frame, word, tunnel.to_bytes(width, "little") if tunnel else b"")
            tunnel = 0 if self.oracle.profile["ndis"] == "6.0" else tunnel
        expected = self.oracle.send(frame, handle, tunnel)
        assert expected is None or (result.status, result.frame) in expected, f"{result}\nthe oracle says\n{expected}"
        return result.status

    def new(self) -> list[Sa]:
        """Associations that are there or were not long ago."""
        return [*self.oracle.sas.values(), *self.dead]
