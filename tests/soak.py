"""Long runs that no test run has time for: random requests against the oracle, hostile buffers, hostile frames, and
every bit of packets of two portions.

    python -m tests.soak                              100,000 steps, 1,000,000 buffers and frames, 2,000 packets
    python -m tests.soak --steps 1000 --buffers 0     less of one, none of another
    python -m tests.soak --seed 7 --part steps --case 12      the one case that a failure named

The work is cut into cases. A case starts afresh and depends on nothing but the seed, its part and its number, so the
line that a failure prints replays it exactly. Progress goes to stderr.
"""

# ruff: noqa: T201  (a program of its own: it prints)

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from collections.abc import Callable

from nicsim.reasons import Reason
from nicsim.wire.packet import LinkType
from offload_oids import Abi
from tests.builders import NON_IKE, udp
from tests.card.test_bit_flips import any_two, check_two
from tests.card.test_hostile import HOSTS, SEEDS, check
from tests.driver.test_hostile_buffers import REQUESTS, checked, good_buffers, lived_in
from tests.test_stateful import FRAMES, GOOD_DEFECTS, KINDS, Duel

PER_CASE = 100
WORDS = [0, 1, 2, 3, 4, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1000, 0x1010, 0x10F0]
Case = Callable[[random.Random], None]


# --- the NIC against the oracle ------------------------------------------------------------------------------------


def steps(chance: random.Random) -> None:
    """Requests, completions and frames, compared after each with the oracle."""
    duel = Duel(chance.choice(KINDS))
    for _ in range(PER_CASE):
        step(duel, chance)
    duel.finish()


def step(duel: Duel, chance: random.Random) -> None:
    """One random thing that may happen to a NIC."""
    kind, number = chance.randrange(10), chance.randrange(1000)
    spi, outbound, defect = chance.randint(1, 3), chance.random() < 0.3, chance.choice(GOOD_DEFECTS)
    if kind == 0:
        duel.ask(*duel.add(spi, outbound, chance.random() < 0.3, defect))
    elif kind == 1:
        port, udp_type = chance.choice([4500, 4500, 4501, 500, 0]), chance.choice([1, 1, 0, 2])
        duel.ask(*duel.add_udpesp(spi, outbound, port, udp_type, number, defect))
    elif kind == 2 and not duel.ndis51:
        duel.ask(*duel.add_v2([chance.randint(0, 3) for _ in range(spi)], outbound, chance.random() < 0.5))
    elif kind == 3:
        duel.ask(*duel.delete(number))
    elif kind == 4:
        duel.ask(*duel.delete_udpesp(number, chance.randrange(1000)))
    elif kind == 5 and not duel.ndis51:
        duel.ask(*duel.delete_v2([chance.randrange(1000) for _ in range(chance.randint(1, 2))]))
    elif kind == 6:
        duel.ask(*duel.switch(chance.choice([0, 0, 0, 1, 2, 3, 4]) + duel.ndis51, chance.choice([0, 1, 2, 2])))
    elif kind == 7:
        duel.card.slow = chance.random() < 0.5
    elif kind == 8:
        duel.step()
    else:
        duel.frame(chance.choice(FRAMES))


# --- hostile buffers -----------------------------------------------------------------------------------------------


def buffers(chance: random.Random) -> None:
    """Random and mutated buffers: documented statuses, and a failure changes nothing."""
    abi = chance.choice(list(Abi))
    nic, handles = lived_in(abi, chance.choice(["reference", "reference", "ndis51"]))
    requests = list(REQUESTS)
    for _ in range(PER_CASE):
        kind, oid = chance.choice(requests)
        if chance.random() < 0.2:
            buffer = chance.randbytes(chance.randrange(261))
        else:
            buffer = mutated_buffer(chance.choice(good_buffers(kind, oid, abi, handles)), chance)
        checked(nic, kind, oid, buffer)


def mutated_buffer(buffer: bytes, chance: random.Random) -> bytes:
    """Some bytes or words changed, and sometimes cut or extended."""
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
    """Random and mutated frames: documented outcomes."""
    for _ in range(PER_CASE):
        way = chance.random()
        if way < 0.1:
            check(HOSTS[chance.choice(list(HOSTS))], chance.randbytes(chance.randrange(121)))
        elif way < 0.2:
            payload = chance.choice([b"", bytes(chance.randrange(10)), NON_IKE]) + chance.randbytes(
                chance.randrange(81)
            )
            check(HOSTS[LinkType.ETHERNET], udp(payload, chance.choice([500, 4500, 4501])))
        else:
            frame = mutated_frame(chance.choice(SEEDS), chance)
            raw = chance.random() < 0.3
            reason = check(HOSTS[LinkType.RAW], frame[14:]) if raw else check(HOSTS[LinkType.ETHERNET], frame)
            assert isinstance(reason, Reason)


def mutated_frame(seed: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut off, inserted, appended, and parts repeated."""
    frame = bytearray(seed)
    for _ in range(chance.randint(0, 4)):
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


# --- flipped bits --------------------------------------------------------------------------------------------------


def packets(chance: random.Random) -> None:
    """Packets of two portions, of any kinds and algorithms: every bit of them flipped, on the wire and before."""
    for _ in range(PER_CASE):
        check_two(*any_two(chance))


# --- the run -------------------------------------------------------------------------------------------------------

PARTS: dict[str, Case] = {"steps": steps, "buffers": buffers, "frames": frames, "packets": packets}
COUNTS = {"steps": 100_000, "buffers": 1_000_000, "frames": 1_000_000, "packets": 2_000}


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
        if case % 1000 == 999 or part == "packets":
            print(f"{part}: {(case + 1) * PER_CASE:,}", file=sys.stderr)
    print(f"{part}: {cases * PER_CASE:,} clean in {time.perf_counter() - begin:.0f} s, seed {seed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    for part, count in COUNTS.items():
        parser.add_argument(f"--{part}", type=int, default=count)
    parser.add_argument("--part", choices=list(PARTS))
    parser.add_argument("--case", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.part:
        run_case(chosen.part, chosen.seed, chosen.case)
        return
    print(f"seed {chosen.seed}", file=sys.stderr)
    for part in PARTS:
        if count := getattr(chosen, part):
            run_part(part, chosen.seed, count)


if __name__ == "__main__":
    main()
