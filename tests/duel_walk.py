"""Every transition that the oracle can make within bounds: two associations, one parser entry, one pending request.

From every state that the oracle can reach, every move is taken; and a move that keeps the card busy is taken again for
every row operation of it with each thing that may come in between: the card refuses the operation, the NIC is reset,
or removed. What follows is compared like everything else in a duel.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from offload_oids import Abi, Oid
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSaEx, IpsecOffloadV2DeleteSa, IpsecOffloadV2UpdateSa
from offload_oids.layout import size_through
from offload_oids.ndis_offload import NdisObjectHeader
from tests.driver.builders import (
    AH_ELEMENT,
    HERE,
    KEY_3DES,
    KEY_SHA1,
    OTHER_HOST,
    PEER,
    chained,
    esp_element,
    ipv4,
    sa,
    sealed,
    udp,
    udpesp,
    v2,
)
from tests.duel import Duel, Kind
from tests.duel_frames import DEAD
from tests.duel_moves import pointers

Request = tuple[int, bytes]
Move = Callable[[Duel], Request | None]
"""A request; or None for what is done at once, a reset."""

SMALL = Kind("reference", Abi.X64, rows=2, parsers=2, esn=True)
"""One parser row for version 2, one for version 1."""
ON, OFF = (1, 2, 14), (2, 0, 0)
MOST_ASSOCIATIONS, MOST_ENTRIES = 2, 1


def add(duel: Duel, outbound: bool) -> Request:
    return Oid.OID_TCP_TASK_IPSEC_ADD_SA, sa(flags=1 + outbound, sec_assoc=(esp_element(1),)).pack(duel.abi)


def add_pair(duel: Duel) -> Request:
    elements = (esp_element(1), replace(AH_ELEMENT, spi=2))
    pair = sa(num_sas=2, sec_assoc=elements, key_mat=KEY_3DES + KEY_SHA1 + KEY_SHA1)
    return Oid.OID_TCP_TASK_IPSEC_ADD_SA, pair.pack(duel.abi)


def add_udpesp(duel: Duel, kind: int = 1, *, named: bool = False, outbound: bool = False) -> Request:
    entry = next(iter(duel.oracle.entries), DEAD) if named else 0
    buffer = udpesp(4501, kind, entry, 2, flags=1 + outbound).pack(duel.abi)
    return Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, buffer


def v2_add(duel: Duel, **changes: object) -> object:
    algorithms = {"encryption": (4, 24, 0, 0), "authentication": (2, 20, 24, 0), "key": KEY_3DES + KEY_SHA1}
    return v2(3, abi=duel.abi, **{**algorithms, **changes})  # type: ignore[arg-type]


def add_v2(duel: Duel, *changes: dict[str, object]) -> Request:
    return Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, chained([v2_add(duel, **change) for change in changes], duel.abi)


def add_ex(duel: Duel) -> Request:
    one = v2_add(duel)
    size = size_through(IpsecOffloadV2AddSaEx, "vlan_id", duel.abi)
    ex = IpsecOffloadV2AddSaEx(
        NdisObjectHeader(0x80, 1, size), 1, one.flags, one.endpoints, 0, 1, one.sec_assoc, 44, 200
    )
    return Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, ex.pack(duel.abi).ljust(200, b"\0") + one.key_data


def handle(duel: Duel, number: int) -> int:
    return [*duel.oracle.sas, DEAD, DEAD, DEAD][number]


def delete(duel: Duel, number: int) -> Request:
    return Oid.OID_TCP_TASK_IPSEC_DELETE_SA, pointers(duel, handle(duel, number))


def delete_udpesp(duel: Duel, number: int) -> Request:
    entry = next(iter(duel.oracle.entries), DEAD)
    return Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA, pointers(duel, handle(duel, number), entry)


def delete_v2(duel: Duel, *numbers: int) -> Request:
    header = NdisObjectHeader(0x80, 1, size_through(IpsecOffloadV2DeleteSa, "offload_handle", duel.abi))
    deletes = [IpsecOffloadV2DeleteSa(header, 0, handle(duel, number)) for number in numbers]
    return Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, chained(deletes, duel.abi)


def update(duel: Duel, number: int) -> Request:
    header = NdisObjectHeader(0x80, 1, 28)
    made = IpsecOffloadV2UpdateSa(header, handle(duel, number), 2, 3, 1)
    return Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, made.pack(duel.abi)


def encapsulate(duel: Duel, ipv4_setting: tuple[int, int, int]) -> Request:
    return Oid.OID_OFFLOAD_ENCAPSULATION, bytes((0xA8, 1, 28, 0)) + struct.pack("<6I", *ipv4_setting, *OFF)


def configure(duel: Duel, version1: int, version2: int) -> Request:
    body = bytearray(22)
    body[:4] = 0x80, 2, 22, 0
    body[10], body[20] = version1, version2
    return Oid.OID_TCP_OFFLOAD_PARAMETERS, bytes(body)


def power(duel: Duel, state: int) -> Request:
    return Oid.OID_PNP_SET_POWER, struct.pack("<I", state)


def reset(duel: Duel) -> None:
    duel.reset()


# fmt: off
MOVES: dict[str, Move] = {
    "enable":                    lambda duel: encapsulate(duel, ON),
    "disable":                   lambda duel: encapsulate(duel, OFF),
    "add inbound":               lambda duel: add(duel, False),
    "add outbound":              lambda duel: add(duel, True),
    "add AH with ESP":           add_pair,
    "add inbound UDP":           add_udpesp,
    "add inbound UDP, named":    lambda duel: add_udpesp(duel, named=True),
    "add inbound UDP, IKE type": lambda duel: add_udpesp(duel, 0),
    "add outbound UDP":          lambda duel: add_udpesp(duel, outbound=True),
    "add version 2":             lambda duel: add_v2(duel, {}),
    "add version 2, a list":     lambda duel: add_v2(duel, {}, {"flags": 2}, {"element": {"flags": 1}}),
    "add version 2, extended":   add_ex,
    "update first":              lambda duel: update(duel, 0),
    "update second":             lambda duel: update(duel, 1),
    "delete first":              lambda duel: delete(duel, 0),
    "delete second":             lambda duel: delete(duel, 1),
    "delete first and entry":    lambda duel: delete_udpesp(duel, 0),
    "delete second and entry":   lambda duel: delete_udpesp(duel, 1),
    "delete the dead":           lambda duel: delete(duel, 2),
    "delete version 2, first":   lambda duel: delete_v2(duel, 0),
    "delete version 2, second":  lambda duel: delete_v2(duel, 1),
    "delete version 2, both":    lambda duel: delete_v2(duel, 0, 1),
    "low power":                 lambda duel: power(duel, 4),
    "full power":                lambda duel: power(duel, 1),
    "reset":                     reset,
}
MORE_MOVES: dict[str, Move] = {
    "version 1 off":             lambda duel: configure(duel, 1, 0),
    "version 2 off":             lambda duel: configure(duel, 0, 1),
    "both versions on":          lambda duel: configure(duel, 4, 4),
}
# fmt: on
FEW = (
    "enable",
    "disable",
    "add inbound",
    "add inbound UDP",
    "add inbound UDP, named",
    "add version 2",
    "update first",
    "delete first",
    "delete first and entry",
    "delete version 2, first",
    "low power",
    "full power",
    "reset",
)  # fmt: skip
"""Enough to see every kind of request in a run of the tests; a soak takes all."""
INTERRUPTIONS: dict[str, Callable[[Duel], None]] = {
    "refused": lambda duel: setattr(duel.card, "refusals", 1),
    "reset": lambda duel: duel.reset(),
    "removed": lambda duel: duel.remove(),
}
Path = tuple[str, ...]
State = tuple[object, ...]


@dataclass
class Walked:
    """What a walk has taken."""

    states: int = 0
    moves: Counter[str] = field(default_factory=Counter)
    interrupted: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    """Row operations that the card finished on the way."""

    def __str__(self) -> str:
        between = ", ".join(f"{count:,} {name}" for name, count in sorted(self.interrupted.items()))
        return (
            f"{self.states:,} states, {self.moves.total():,} transitions by {len(self.moves)} moves, all taken; "
            f"{between or 'none interrupted'}; {self.operations:,} row operations"
        )


def state_of(duel: Duel) -> State:
    """What the oracle knows, without the numbers and the order of handles."""
    oracle = duel.oracle
    sas = sorted(
        (
            sa.version,
            sa.inbound,
            str(sa.udp),
            tuple((layer.protocol, layer.spi, str(layer.high)) for layer in sa.layers),
        )
        for sa in oracle.sas.values()
    )
    switches = oracle.enabled, oracle.settings, oracle.own_row, oracle.low_power
    return tuple(sas), tuple(oracle.entries.values()), switches


def is_within(duel: Duel) -> bool:
    return len(duel.oracle.sas) <= MOST_ASSOCIATIONS and len(duel.oracle.entries) <= MOST_ENTRIES


def frames() -> list[bytes]:
    """Packets of each association of the walk, and of none; native and in UDP, for this host and another."""
    made = [ipv4(6, bytes(20)), ipv4(17, udp(bytes(8) + bytes(28), 4501))]
    for spi in (1, 2, 3):
        esp = sealed(spi=spi)
        made += [ipv4(50, esp), ipv4(50, esp, PEER, OTHER_HOST), ipv4(17, udp(esp, 4501)), ipv4(17, udp(esp))]
        made += [ipv4(17, udp(bytes(8) + esp, 4501)), ipv4(50, esp[:-1] + bytes([esp[-1] ^ 1]), PEER, HERE)]
    return made


FRAMES = frames()


def walk(
    moves: dict[str, Move],
    interruptions: Iterable[str] = (),
    kind: Kind = SMALL,
    tell: Callable[[Walked], object] = lambda walked: None,
) -> Walked:
    """Take every move from every state within bounds; `tell` hears of each state."""
    walked = Walked()
    paths: dict[State, Path] = {state_of(begin_at((), moves, kind)): ()}
    waiting = deque(paths)
    while waiting:
        path = paths[waiting.popleft()]
        walked.states += 1
        tell(walked)
        for move in moves:
            duel, busy = begin_at(path, moves, kind), 0
            take(duel, moves[move])
            walked.moves[move] += 1
            while duel.card.waiting:
                duel.step()
                busy += 1
            finish(duel)
            walked.operations += busy
            if is_within(duel) and state_of(duel) not in paths:
                paths[state_of(duel)] = (*path, move)
                waiting.append(state_of(duel))
            for name in interruptions:
                for operation in range(busy):
                    walked.interrupted[name] += 1
                    interrupt(begin_at(path, moves, kind), moves[move], operation, INTERRUPTIONS[name])
    return walked


def begin_at(path: Path, moves: dict[str, Move], kind: Kind) -> Duel:
    """A fresh NIC and oracle after a path of moves."""
    duel = Duel(kind)
    for move in path:
        take(duel, moves[move])
    duel.card.slow = True
    return duel


def take(duel: Duel, move: Move) -> None:
    if (request := move(duel)) is not None:
        duel.ask(*request)


def interrupt(duel: Duel, move: Move, operation: int, interruption: Callable[[Duel], None]) -> None:
    """Take a move, and have something come in between once so many row operations are done."""
    take(duel, move)
    for _ in range(operation):
        duel.step()
    interruption(duel)
    finish(duel)
    if not duel.oracle.removed:  # whatever was left behind is gone with the next request
        duel.card.slow = False
        duel.ask(*delete(duel, 2))
        finish(duel)


def finish(duel: Duel) -> None:
    duel.finish()
    for frame in FRAMES:
        duel.receive(frame)
