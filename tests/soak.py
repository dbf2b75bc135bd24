"""Long runs that no test run has time for: hostile buffers, hostile frames, random moves, mutated IKE messages, every
transition.

    python -m tests.soak          1,000,000 buffers, 1,000,000 frames, 100,000 steps, 100,000 IKE messages, the walk
    python -m tests.soak --steps 1000 --buffers 0     less of one, none of another
    python -m tests.soak --seed 7 --part steps --case 12      the one case that a failure named

Every request and every frame is put to a NIC, its rule monitor on, and to the oracle. What the oracle does not read is
held against the table of documented.py. The work is cut into cases of 100. A case starts afresh and depends on nothing
but the seed, its part and its number, so the line that a failure prints replays it exactly. Progress goes to stderr.
"""

# ruff: noqa: T201  (a program of its own: it prints)

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from collections.abc import Callable

from nicsim.boundary import RequestKind, TaskWords
from offload_oids import Oid
from tests import documented, duel_frames, duel_moves
from tests.duel import KINDS, Duel
from tests.duel_moves import Request
from tests.duel_walk import INTERRUPTIONS, MORE_MOVES, MOVES, Walked, walk
from tests.soak_ike import messages

PER_CASE = 100
WORDS = [0, 1, 2, 3, 4, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1000, 0x1010, 0x10F0]
Case = Callable[[random.Random], None]

# --- the NIC against the oracle ------------------------------------------------------------------------------------


def steps(chance: random.Random) -> None:
    """Requests, completions, resets and frames, compared after each with the oracle."""
    duel = Duel(chance.choice(KINDS), serialise=chance.random() < 0.8)
    duel_moves.begin(duel, chance.choice)
    for _ in range(PER_CASE):
        duel_moves.move(duel, chance.choice)
    duel.card.refusals = 0
    duel.finish()


def lived_in(chance: random.Random, *, raw: bool = False) -> Duel:
    """A NIC that is enabled and has some associations."""
    duel = Duel(chance.choice(KINDS), raw=raw)
    duel_moves.begin(duel, chance.choice)
    requests = duel_moves.ADDS[bool(duel.oracle.claims1), bool(duel.oracle.claims2)]
    for _ in range(8):
        duel.ask(*chance.choice(requests)(duel, chance.choice))
    return duel


# --- hostile buffers -----------------------------------------------------------------------------------------------

KNOWN_TO_ORACLE: list[Callable[..., Request]] = [
    duel_moves.add, duel_moves.add_udpesp, duel_moves.add_v2, duel_moves.add_ex, duel_moves.delete,
    duel_moves.delete_udpesp, duel_moves.delete_v2, duel_moves.update, duel_moves.switch, duel_moves.parameters,
    duel_moves.power,
]  # fmt: skip
POWER_UP = Oid.OID_PNP_SET_POWER, struct.pack("<I", 1)
ALL_ON = Oid.OID_TCP_OFFLOAD_PARAMETERS, bytes((0x80, 2, 22, 0, *bytes(6), 4, *bytes(9), 4, 0))


def buffers(chance: random.Random) -> None:
    """Random and mutated buffers of every OID: what the oracle says, or at least what is documented."""
    duel = lived_in(chance)
    for _ in range(PER_CASE):
        if chance.random() < 0.75:
            oid, buffer = chance.choice(KNOWN_TO_ORACLE)(duel, chance.choice)
            status = duel.ask(oid, hostile(buffer, chance))
            assert status in documented.SETS[oid], f"{status!r} is not documented for a set of OID 0x{oid:X}"
            mend(duel, chance)
        else:
            undocumented(duel, chance)
    duel.finish()


def mend(duel: Duel, chance: random.Random) -> None:
    """Keep the NIC awake, and mostly whole, so that there is something to see."""
    if duel.oracle.low_power:
        duel.ask(*POWER_UP)
    if duel.oracle.settings != (4, 4) and chance.random() < 0.3:
        duel.ask(*ALL_ON)


def undocumented(duel: Duel, chance: random.Random) -> None:
    """A request that the oracle does not read: a query, a set that changes nothing it knows, or no OID at all."""
    kind = chance.choice(list(RequestKind))
    table = documented.QUERIES if kind is RequestKind.QUERY else documented.SETS
    oid = chance.choice([one for one in table if kind is RequestKind.QUERY or one in QUIET_SETS])
    width = chance.choice([4, 14, 28, 72, 112, 144, 6 * chance.randrange(40)])
    buffer = hostile(chance.choice([duel_moves.TASKS[0], bytes(width), b"\x01" + bytes(width), b""]), chance)
    result = duel.other_request(kind, oid, buffer)
    assert result.status in table[oid], f"{result.status!r} is not documented for a {kind.value} of OID 0x{oid:X}"
    assert len(result.buffer) == len(buffer)
    assert max(result.bytes_read, result.bytes_written) <= len(buffer)
    if result.status in documented.NEED_MORE:
        assert result.bytes_needed > len(buffer)
    else:
        assert result.bytes_needed == 0
    if result.status != documented.SUCCESS:
        assert (result.buffer, result.bytes_read, result.bytes_written) == (buffer, 0, 0)


QUIET_SETS = {
    documented.PACKET_FILTER, documented.MULTICAST_LIST, documented.CURRENT_CONFIG, documented.UNKNOWN,
    documented.HARDWARE_CAPABILITIES, documented.PNP_CAPABILITIES, documented.QUERY_POWER, documented.SAN_SUPPORT,
}  # fmt: skip


def hostile(buffer: bytes, chance: random.Random) -> bytes:
    """Some bytes or words changed, and sometimes cut or extended; or nothing but noise."""
    if chance.random() < 0.1 or not buffer:
        return chance.randbytes(chance.randrange(261))
    work = bytearray(buffer)
    for _ in range(chance.randrange(5) if work else 0):
        at = chance.randrange(len(work))
        if chance.random() < 0.5:
            work[at] = chance.choice([0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        else:
            at -= at % 4
            work[at : at + 4] = struct.pack("<I", chance.choice(WORDS))
    if work and chance.random() < 0.2:
        del work[chance.randrange(len(work)) :]
    if chance.random() < 0.1:
        work += chance.randbytes(chance.randrange(41))
    return bytes(work)


# --- hostile frames ------------------------------------------------------------------------------------------------


def frames(chance: random.Random) -> None:
    """Random and mutated frames in both directions: what the oracle says, and documented words."""
    duel = lived_in(chance, raw=chance.random() < 0.2)
    for _ in range(PER_CASE):
        way = chance.random()
        if way < 0.1:
            duel.receive(chance.randbytes(chance.randrange(121)))
        elif way < 0.2:
            zeros = bytes(chance.randrange(10))
            datagram = duel_frames.udp(zeros + chance.randbytes(chance.randrange(81)), 4500, chance.choice([500, 4500]))
            packet = duel_frames.ip(datagram, 17, duel_frames.PEER, duel_frames.HERE)
            duel.receive(duel_frames.framed(duel, packet, chance.choice))
        elif way < 0.85:
            duel.receive(mutated_frame(duel_frames.received(duel, chance.choice), chance))
        elif way < 0.95:
            frame, handle, tunnel = duel_frames.to_send(duel, chance.choice)
            duel.send(mutated_frame(frame, chance), handle, tunnel)
        else:
            frame, handle, _ = duel_frames.to_send(duel, chance.choice)
            large_send(duel, mutated_frame(frame, chance), handle, chance)
    duel.finish()


def large_send(duel: Duel, frame: bytes, handle: int, chance: random.Random) -> None:
    """A large send, or checksums to fill in, with words of any kind: frames that fit, or none."""
    width = duel.abi.pointer_size
    words = TaskWords(*(chance.choice([b"", chance.randbytes(width), bytes(width)]) for _ in range(3)))
    sent = duel.ndis.send(frame, handle.to_bytes(width, "little") * (1 + duel.ndis51), b"", words)
    assert sent.status in documented.SEND
    assert bool(sent.frames) == (sent.status == documented.SUCCESS)
    assert all(len(one) <= len(frame) + 300 for one in sent.frames)


def mutated_frame(seed: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut off, inserted, appended, and parts repeated."""
    frame = bytearray(seed)
    for _ in range(chance.choice([0, 1, 1, 2, 4])):
        at, change = chance.randrange(len(frame) + 1), chance.randrange(8)
        if change < 4 and at < len(frame):
            frame[at] = chance.randrange(256)
        elif change == 4:
            del frame[at:]
        elif change == 5:
            frame[at:at] = chance.randbytes(chance.randrange(9))
        elif change == 6:
            frame += chance.randbytes(chance.randrange(41))
        elif change == 7:
            frame[at:at] = frame[at : at + chance.randrange(41)]
    return bytes(frame)


# --- the run -------------------------------------------------------------------------------------------------------

PARTS: dict[str, Case] = {"buffers": buffers, "frames": frames, "steps": steps, "ike": messages}
COUNTS = {"buffers": 1_000_000, "frames": 1_000_000, "steps": 100_000, "ike": 100_000}


def run_case(part: str, seed: int, case: int) -> None:
    """One case, whatever else runs."""
    PARTS[part](random.Random(f"{seed} {part} {case}"))


def run_part(part: str, seed: int, count: int) -> None:
    """All cases of a part; a failure says how to replay it."""
    cases, begin = -(-count // PER_CASE), time.perf_counter()
    for case in range(cases):
        try:
            run_case(part, seed, case)
        except BaseException:
            print(f"failed: python -m tests.soak --seed {seed} --part {part} --case {case}", file=sys.stderr)
            raise
        if case % 1000 == 999:
            print(f"{part}: {(case + 1) * PER_CASE:,}", file=sys.stderr)
    print(f"{part}: {cases * PER_CASE:,} clean in {time.perf_counter() - begin:.0f} s, seed {seed}", flush=True)


def run_walk() -> None:
    """Every transition within bounds; nothing of it is random."""
    begin = time.perf_counter()

    def progress(walked: Walked) -> None:
        if walked.states % 100 == 0:
            print(f"walk: {walked.states:,} states", file=sys.stderr)

    walked = walk({**MOVES, **MORE_MOVES}, INTERRUPTIONS, tell=progress)
    print(f"walk: {walked} in {time.perf_counter() - begin:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    for part, count in COUNTS.items():
        parser.add_argument(f"--{part}", type=int, default=count)
    parser.add_argument("--no-walk", action="store_true", help="leave the walk over every transition out")
    parser.add_argument("--part", choices=[*PARTS, "walk"])
    parser.add_argument("--case", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.part == "walk":
        run_walk()
        return
    if chosen.part:
        run_case(chosen.part, chosen.seed, chosen.case)
        return
    print(f"seed {chosen.seed}", file=sys.stderr)
    for part in PARTS:
        if count := getattr(chosen, part):
            run_part(part, chosen.seed, count)
    if not chosen.no_walk:
        run_walk()


if __name__ == "__main__":
    main()
