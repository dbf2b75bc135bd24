"""The whole NIC against the oracle: random requests, completions and frames, and every transition within bounds.

A `Duel` puts the same request to a NIC, whose rule monitor is on, and to the oracle, and compares what both know. Its
card is slow when asked to be: row operations wait until the duel lets them go.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nicsim.boundary import (
    Card,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    Row,
    RowCompletion,
    RowStatus,
    Table,
)
from nicsim.capabilities import Capabilities
from nicsim.driver.device import ReferenceDriver
from nicsim.nic import Nic
from nicsim.reasons import BY_NUMBER, Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadAlgoInfo
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa, IpsecOffloadV2DeleteSa
from offload_oids.layout import size_through
from offload_oids.ndis_offload import NdisObjectHeader
from tests.driver.builders import (
    HERE,
    KEY_3DES,
    KEY_SHA1,
    OTHER_HOST,
    PEER,
    capabilities,
    chained,
    esp_element,
    ipv4,
    sa,
    sealed,
    udp,
    udpesp,
    v2,
)
from tests.driver.test_enabling import DISABLE, ENABLE
from tests.oracle_nic import OracleNic

ADD, DELETE = Oid.OID_TCP_TASK_IPSEC_ADD_SA, Oid.OID_TCP_TASK_IPSEC_DELETE_SA
ADD_UDPESP, DELETE_UDPESP = Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA
ADD_V2, DELETE_V2 = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA
ENCAPSULATION, TASK = Oid.OID_OFFLOAD_ENCAPSULATION, Oid.OID_TCP_TASK_OFFLOAD
DEAD = 0xDEA8
OTHER_KEY = bytes(24)
Request = tuple[int, bytes]


class HeldCard:
    """A card whose row operations wait, while it is slow, until somebody lets the next one go."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.slow = False
        self.waiting: deque[Callable[[], RowCompletion]] = deque()
        self.done: list[RowCompletion] = []
        self.receive, self.send, self.enable, self.reset = card.receive, card.send, card.enable, card.reset

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        if not self.slow:
            return self.card.write_row(table, slot, row)
        self.waiting.append(lambda: RowCompletion(table, slot, self.card.write_row(table, slot, row)))
        return RowStatus.PENDING

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        if not self.slow:
            return self.card.clear_row(table, slot)
        self.waiting.append(lambda: RowCompletion(table, slot, self.card.clear_row(table, slot)))
        return RowStatus.PENDING

    def let_go(self) -> None:
        self.done.append(self.waiting.popleft()())

    def poll(self) -> Sequence[RowCompletion]:
        done, self.done = self.done, []
        return done


class LoggingDriver(ReferenceDriver):
    """The reference driver, which works on requests one by one, with the order in which they reached it.

    NDIS may tell of completions in another order: a direct request does not wait for an ordinary one (N-OID-5).
    """

    def __init__(self, claims: Capabilities, card: Card, abi: Abi) -> None:
        super().__init__(claims, card, abi)
        self.order: deque[int] = deque()

    def request(self, request: OidRequest) -> OidResult:
        self.order.append(request.request_id)
        return super().request(request)

    def direct_request(self, request: OidRequest) -> OidResult:
        self.order.append(request.request_id)
        return super().direct_request(request)


@dataclass(frozen=True)
class Kind:
    """One kind of card with its tables."""

    profile: str
    rows: int
    parsers: int
    abi: Abi

    @cache  # noqa: B019 - a handful of kinds, alive as long as the tests
    def capabilities(self) -> Capabilities:
        return capabilities(self.profile, rows=self.rows, parsers=self.parsers)


KINDS = [
    Kind("reference", 2, 2, Abi.X64),
    Kind("reference", 3, 3, Abi.X86),
    Kind("ndis51", 2, 1, Abi.X86),
    Kind("ndis51", 2, 2, Abi.X64),
]


class Duel:
    """One NIC and one oracle that are told the same."""

    def __init__(self, kind: Kind) -> None:
        caps = kind.capabilities()
        self.abi, self.ndis51 = kind.abi, kind.profile == "ndis51"
        self.nic = Nic(caps, iv_source=bytes, abi=kind.abi, driver=self._driver)
        has_v2 = caps.version2 is not None
        self.oracle = OracleNic(self.ndis51, kind.rows, kind.rows, kind.parsers, has_v2, kind.abi)
        self.outstanding: dict[int, Request] = {}
        self.done: dict[int, OidResult] = {}
        self.ids = 0

    def _driver(self, claims: Capabilities, card: Card, abi: Abi) -> LoggingDriver:
        self.card = HeldCard(card)
        self.driver = LoggingDriver(claims, self.card, abi)
        return self.driver

    def ask(self, oid: int, buffer: bytes) -> NdisStatus:
        """Put one request to both; the oracle hears of it when it is done."""
        self.ids += 1
        request = OidRequest(RequestKind.SET, oid, buffer, self.abi, request_id=self.ids)
        result = self.nic.request(request)
        self.outstanding[self.ids] = (oid, buffer)
        if result.status != NdisStatus.PENDING:
            self.done[self.ids] = result
        self.settle()
        return result.status

    def step(self) -> None:
        """Let the card finish one operation, and take up what that completes."""
        if self.card.waiting:
            self.card.let_go()
        for event in self.nic.poll():
            if isinstance(event, OidCompletion):
                self.done[event.request_id] = event.result
        self.settle()

    def settle(self) -> None:
        """Tell the oracle of what is done, in the order in which the driver worked on it."""
        order = self.driver.order
        while order and order[0] in self.done:
            result, (oid, buffer) = self.done.pop(order[0]), self.outstanding.pop(order[0])
            self.oracle.settle(oid, buffer, result.status, result.buffer)
            order.popleft()
        self.agree()

    def finish(self) -> None:
        """Let everything complete."""
        while self.outstanding:
            assert self.card.waiting
            self.step()
        self.nic.monitor.finish()

    def agree(self) -> None:
        """At rest, both hold the same handles, the same entries and the same rows."""
        if self.outstanding:
            return
        state, rows = self.driver.state, self.nic.card.rows
        assert state.associations.keys() == self.oracle.sas.keys()
        assert state.parser_entries.keys() == self.oracle.entries.keys()
        assert self.oracle.tables() == {
            "inbound": sorted(loaded.row.spi for loaded in rows.inbound.values()),
            "outbound": sorted(loaded.row.spi for loaded in rows.outbound.values()),
            "parser": sorted((row.udp_type - 1, row.port) for row in rows.parser.values()),
        }

    def frame(self, frame: bytes) -> None:
        """A frame for both. While a request is pending its rows are half there, and only the frame is compared."""
        indication, descriptor = self.nic.receive(frame)
        reason = BY_NUMBER[descriptor.reason]
        assert (indication.frame != frame) == (reason is Reason.OPENED)
        if not self.outstanding:
            assert str(reason) == self.oracle.verdict(frame)

    # --- what can be asked; every choice is a number, so that hypothesis and a plain loop can both make it ----------

    def handle(self, choice: int) -> int:
        handles = [*self.oracle.sas, DEAD, 0]
        return handles[choice % len(handles)]

    def entry(self, choice: int) -> int:
        entries = [0, *self.oracle.entries, 0, DEAD]
        return entries[choice % len(entries)]

    def add(self, spi: int, outbound: bool, tunnel: bool, defect: int) -> Request:
        change = {"dest_tunnel_addr": HERE} if tunnel else {}
        add = replace(sa(flags=1 + outbound, sec_assoc=(esp_element(spi),)), **change)
        return ADD, DEFECTS[defect % len(DEFECTS)](add, self.abi)

    def add_udpesp(self, spi: int, outbound: bool, port: int, kind: int, entry: int, defect: int) -> Request:
        add = udpesp(port, kind, self.entry(entry), spi, flags=1 + outbound)
        return ADD_UDPESP, DEFECTS[defect % len(DEFECTS)](add, self.abi)

    def add_v2(self, spis: Sequence[int], outbound: bool, in_udp: bool) -> Request:
        adds = [self.v2_add(spi, outbound, in_udp) for spi in spis]
        return ADD_V2, chained(adds, self.abi)

    def v2_add(self, spi: int, outbound: bool, in_udp: bool) -> IpsecOffloadV2AddSa:
        algorithms = {"encryption": (4, 24, 0, 0), "authentication": (2, 20, 24, 0), "key": KEY_3DES + KEY_SHA1}
        return v2(
            spi,
            abi=self.abi,
            flags=int(not outbound),
            udp_esp_encapsulation=int(in_udp),
            **algorithms,  # type: ignore[arg-type]
        )

    def delete(self, choice: int) -> Request:
        return DELETE, self.pointers(self.handle(choice))

    def delete_udpesp(self, choice: int, entry: int) -> Request:
        return DELETE_UDPESP, self.pointers(self.handle(choice), self.entry(entry))

    def delete_v2(self, choices: Sequence[int]) -> Request:
        header = NdisObjectHeader(0x80, 1, size_through(IpsecOffloadV2DeleteSa, "offload_handle", self.abi))
        deletes = [IpsecOffloadV2DeleteSa(header, 0, self.handle(choice)) for choice in choices]
        return DELETE_V2, chained(deletes, self.abi)

    def switch(self, ipv4_setting: int, ipv6_setting: int) -> Request:
        if self.ndis51:
            return TASK, ENABLE if ipv4_setting % 2 else DISABLE
        families = [SETTINGS[setting % len(SETTINGS)] for setting in (ipv4_setting, ipv6_setting)]
        return ENCAPSULATION, bytes([0xA8, 1, 28, 0]) + struct.pack("<6I", *families[0], *families[1])

    def pointers(self, *values: int) -> bytes:
        return b"".join(value.to_bytes(self.abi.pointer_size, "little") for value in values)


SETTINGS = [(1, 2, 14), (2, 0, 0), (0, 0, 0), (1, 0x10, 22), (3, 2, 14)]
DEFECTS: list[Callable[..., bytes]] = [
    lambda add, abi: add.pack(abi),
    lambda add, abi: replace(add, flags=3).pack(abi),
    lambda add, abi: replace(add, num_sas=0).pack(abi),
    lambda add, abi: replace(add, num_sas=3).pack(abi),
    lambda add, abi: replace(add, sec_assoc=(esp_element(0),)).pack(abi),
    lambda add, abi: replace(add, sec_assoc=(esp_element(5, conf=2),)).pack(abi),
    lambda add, abi: replace(add, sec_assoc=(esp_element(5, integrity=9),)).pack(abi),
    lambda add, abi: replace(add, sec_assoc=(esp_element(5, conf_algo=OffloadAlgoInfo(3, 23)),)).pack(abi),
    lambda add, abi: replace(add, key_len=43, key_mat=bytes(43)).pack(abi),
    lambda add, abi: add.pack(abi)[:-1],
    lambda add, abi: add.pack(abi)[:40],
    # Other keys: the add is good, and no frame of this test opens with them.
    lambda add, abi: replace(add, key_mat=OTHER_KEY + KEY_SHA1[::-1]).pack(abi),
]
GOOD_DEFECTS = [0] * 30 + list(range(len(DEFECTS)))


def frames() -> list[bytes]:
    """Packets of every SPI, native and in UDP, for this host and others, whole and broken, and what is no ESP."""
    made = [ipv4(6, bytes(20)), ipv4(17, udp(b"\xff")), ipv4(17, udp(b"", 4501)), ipv4(17, udp(bytes(3)))]
    made += [ipv4(17, udp(bytes(4) + bytes(28))), ipv4(17, udp(b"\1" * 7)), ipv4(17, udp(b"\1" * 20, 4501))]
    for spi in (1, 2, 3):
        esp = sealed(spi=spi)
        wrong = esp[:-1] + bytes([esp[-1] ^ 1])
        for dst in (HERE, OTHER_HOST):
            made += [ipv4(50, esp, PEER, dst), ipv4(17, udp(esp), PEER, dst)]
        made += [ipv4(50, wrong), ipv4(17, udp(wrong)), ipv4(17, udp(esp), OTHER_HOST)]
        made += [ipv4(17, udp(marker + esp, port)) for marker in (b"", bytes(8)) for port in (500, 4501)]
    return made


FRAMES = frames()
NUMBER = st.integers(0, 1000)


class NicAndOracle(RuleBasedStateMachine):
    """Random requests, completions and frames; hypothesis makes what fails short."""

    @initialize(kind=st.sampled_from(KINDS))
    def begin(self, kind: Kind) -> None:
        self.duel = Duel(kind)

    @rule(spi=st.integers(1, 3), outbound=st.booleans(), tunnel=st.booleans(), defect=st.sampled_from(GOOD_DEFECTS))
    def add(self, spi: int, outbound: bool, tunnel: bool, defect: int) -> None:
        self.duel.ask(*self.duel.add(spi, outbound, tunnel, defect))

    @rule(
        spi=st.integers(1, 3),
        outbound=st.booleans(),
        port=st.sampled_from([4500, 4500, 4501, 500, 0]),
        kind=st.sampled_from([1, 1, 0, 2]),
        entry=NUMBER,
        defect=st.sampled_from(GOOD_DEFECTS),
    )
    def add_udpesp(self, spi: int, outbound: bool, port: int, kind: int, entry: int, defect: int) -> None:
        self.duel.ask(*self.duel.add_udpesp(spi, outbound, port, kind, entry, defect))

    @rule(spis=st.lists(st.integers(0, 3), min_size=1, max_size=3), outbound=st.booleans(), in_udp=st.booleans())
    def add_v2(self, spis: list[int], outbound: bool, in_udp: bool) -> None:
        if not self.duel.ndis51:
            self.duel.ask(*self.duel.add_v2(spis, outbound, in_udp))

    @rule(choice=NUMBER)
    def delete(self, choice: int) -> None:
        self.duel.ask(*self.duel.delete(choice))

    @rule(choice=NUMBER, entry=NUMBER)
    def delete_udpesp(self, choice: int, entry: int) -> None:
        self.duel.ask(*self.duel.delete_udpesp(choice, entry))

    @rule(choices=st.lists(NUMBER, min_size=1, max_size=2))
    def delete_v2(self, choices: list[int]) -> None:
        if not self.duel.ndis51:
            self.duel.ask(*self.duel.delete_v2(choices))

    @rule(first=st.sampled_from([0, 0, 0, 1, 2, 3, 4]), second=st.sampled_from([0, 1, 2, 2]))
    def switch(self, first: int, second: int) -> None:
        self.duel.ask(*self.duel.switch(first + self.duel.ndis51, second))

    @rule(slow=st.booleans())
    def pace(self, slow: bool) -> None:
        self.duel.card.slow = slow

    @rule()
    def step(self) -> None:
        self.duel.step()

    @rule(number=st.integers(0, len(FRAMES) - 1))
    def frame(self, number: int) -> None:
        self.duel.frame(FRAMES[number])

    @invariant()
    def the_oracle_agrees(self) -> None:
        if hasattr(self, "duel"):
            self.duel.agree()

    def teardown(self) -> None:
        if hasattr(self, "duel"):
            self.duel.finish()


NicAndOracle.TestCase.settings = settings(max_examples=40, stateful_step_count=20)
TestNicAndOracle = pytest.mark.rule("N-ADD-6", "N-OID-4", "N-DEL-5", "A-33", "A-37")(NicAndOracle.TestCase)


# --- every transition within bounds --------------------------------------------------------------------------------

SMALL = Kind("reference", 2, 2, Abi.X64)  # one parser row for version 2, one for version 1
Move = Callable[[Duel], Request]
# fmt: off
MOVES: dict[str, Move] = {
    "enable":                    lambda duel: duel.switch(0, 2),
    "disable":                   lambda duel: duel.switch(1, 1),
    "add inbound":               lambda duel: duel.add(1, False, False, 0),
    "add that is wrong":         lambda duel: duel.add(1, False, False, 1),
    "add inbound UDP":           lambda duel: duel.add_udpesp(2, False, 4501, 1, 0, 0),
    "add inbound UDP, named":    lambda duel: duel.add_udpesp(2, False, 4501, 1, 1, 0),
    "add inbound UDP, IKE type": lambda duel: duel.add_udpesp(2, False, 4501, 0, 0, 0),
    "add outbound UDP":          lambda duel: duel.add_udpesp(2, True, 4501, 1, 0, 0),
    "add version 2":             lambda duel: duel.add_v2([3], False, True),
    "add version 2 twice":       lambda duel: duel.add_v2([3, 3], False, True),
    "delete first":              lambda duel: duel.delete(0),
    "delete second":             lambda duel: duel.delete(1),
    "delete first and entry":    lambda duel: duel.delete_udpesp(0, 1),
    "delete second and entry":   lambda duel: duel.delete_udpesp(1, 1),
    "delete the dead":           lambda duel: duel.delete_udpesp(2, 0),
    "delete version 2, first":   lambda duel: duel.delete_v2([0]),
    "delete version 2, both":    lambda duel: duel.delete_v2([0, 1]),
}
# fmt: on
Path = tuple[str, ...]
State = tuple[object, ...]


def begin_at(path: Path) -> Duel:
    """A fresh NIC and oracle after a path of moves, each of them completed on a card that takes its time."""
    duel = Duel(SMALL)
    duel.card.slow = True
    for move in path:
        duel.ask(*MOVES[move](duel))
        while duel.outstanding:
            duel.step()
    return duel


def state_of(duel: Duel) -> State:
    """What the oracle knows, without the numbers of handles."""
    oracle = duel.oracle
    sas = tuple((sa.version, sa.inbound, sa.spi, sa.udp) for sa in oracle.sas.values())
    return sas, tuple(oracle.entries.values()), oracle.enabled, oracle.own_row


def is_within(duel: Duel) -> bool:
    return len(duel.oracle.sas) <= 2 and len(duel.oracle.entries) <= 1


@pytest.mark.rule("N-ADD-2", "N-ADD-3", "N-ADD-4", "N-DEL-2", "N-DEL-3", "A-6")
def test_every_transition_within_two_associations_one_entry_and_one_pending_request() -> None:
    paths: dict[State, Path] = {state_of(begin_at(())): ()}
    waiting = deque(paths)
    taken: Counter[str] = Counter()
    card_steps = 0
    while waiting:
        state = waiting.popleft()
        for move, request in MOVES.items():
            duel = begin_at(paths[state])
            duel.ask(*request(duel))
            taken[move] += 1
            while duel.outstanding:  # one way on: the card finishes the next row
                duel.step()
                card_steps += 1
            duel.finish()
            for frame in FRAMES[::3]:
                duel.frame(frame)
            if is_within(duel) and state_of(duel) not in paths:
                paths[state_of(duel)] = (*paths[state], move)
                waiting.append(state_of(duel))
    # Every move was taken from every state, and most of them kept the card busy at least once.
    assert taken == Counter(dict.fromkeys(MOVES, len(paths)))
    assert (len(paths), taken.total()) == (219, 3723)
    assert card_steps > taken.total() / 2, card_steps
