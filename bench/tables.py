"""How the tables behave when they are large: adding an association, and finding one by its packet.

Fills a card with version 2 associations (AES-128-GCM in UDP) by OID requests, as a host would, and measures at two
sizes: the time of one add, the time of one received packet, and the memory that an association takes. A table that
is searched from one end to the other would show in the ratios.

    python bench/tables.py                    1,000 and 1,000,000 associations; some minutes and some gigabytes
    python bench/tables.py --large 100000     a smaller table
    python bench/tables.py --monitor          with the rule monitor watching

Nothing here is imported by the package.
"""

import argparse
import gc
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

from nicsim.boundary import OidRequest, RequestKind
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys, Transform
from nicsim.nic import Nic
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from nicsim.wire.headers import build_ethernet, build_ipv4, build_udp, parse_address
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa_v2 import (
    Endpoints,
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AlgorithmInfo,
    IpsecOffloadV2SecurityAssociation,
    Ipv4Endpoints,
)
from offload_oids.layout import size_through
from offload_oids.ndis_offload import FamilyEncapsulation, NdisObjectHeader, NdisOffloadEncapsulation

LOCAL, PEER = parse_address("198.51.100.2"), parse_address("192.0.2.1")
MAC = bytes.fromhex("020000000001")
KEY, SALT = bytes(range(16)), bytes(range(4))
FIRST_SPI = 0x10000
SAMPLE, ROUNDS = 1000, 5
PAGE = 4096


@dataclass(frozen=True)
class Measured:
    """What one table size gave: seconds for one add and for one packet, and the process's memory in bytes."""

    associations: int
    add: float
    find: float
    memory: int


# --- requests and packets ------------------------------------------------------------------------------------------


def add_buffer() -> tuple[bytes, int]:
    """The buffer of an add with SPI zero, and where its SPI stands."""
    header = NdisObjectHeader(0x80, 1, size_through(IpsecOffloadV2AddSa, "key_data", Abi.X64))
    gcm = IpsecOffloadV2AlgorithmInfo(0x8, len(KEY + SALT), 0, 16)

    def buffer(spi: int) -> bytes:
        element = IpsecOffloadV2SecurityAssociation(
            operation=2, spi=spi, authentication_algorithm=IpsecOffloadV2AlgorithmInfo(), encryption_algorithm=gcm
        )
        return IpsecOffloadV2AddSa(
            header=header,
            num_ext_hdrs=1,
            flags=1,
            endpoints=Endpoints(ipv4_endpoints=Ipv4Endpoints(PEER, LOCAL)),
            udp_esp_encapsulation=1,
            sec_assoc=(element,),
            key_length=len(KEY + SALT),
            key_data=KEY + SALT,
        ).pack(Abi.X64)

    return buffer(0), buffer(0x0A0B0C0D).index(bytes.fromhex("0a0b0c0d"))


def add_requests(first: int, count: int) -> list[OidRequest]:
    """Adds of the associations with these numbers, ready before the clock starts."""
    buffer, at = add_buffer()
    oid = Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA
    return [
        OidRequest(
            RequestKind.SET,
            oid,
            buffer[:at] + (FIRST_SPI + number).to_bytes(4, "big") + buffer[at + 4 :],
            Abi.X64,
            request_id=number + 1,
        )
        for number in range(first, first + count)
    ]


def frame_of(number: int, transform: Transform) -> bytes:
    """A frame of one association: 200 bytes in ESP in UDP on port 4500."""
    head = (FIRST_SPI + number).to_bytes(4, "big") + (1).to_bytes(4, "big")
    esp = transform.seal(head, bytes(198) + bytes([0, 59]), number.to_bytes(8, "big"))
    datagram = build_udp(4500, 4500, esp, checksum=0, src=PEER, dst=LOCAL)
    return build_ethernet(MAC, MAC, 0x0800, build_ipv4(PEER, LOCAL, 17, datagram))


# --- the measurement -----------------------------------------------------------------------------------------------


def nic_for(size: int, *, monitor: bool) -> Nic:
    """The reference card with room for so many, switched on."""
    reference = load_profile("reference")
    assert reference.version2
    claims = replace(reference.version2, sa_capacity=size)
    card = replace(reference, inbound_rows=size, version1=None, version2=claims)
    nic = Nic(card, iv_source=bytes, monitor=monitor)
    on = NdisOffloadEncapsulation(NdisObjectHeader(0xA8, 1, 28), FamilyEncapsulation(1, 2, 14), FamilyEncapsulation(2))
    request = OidRequest(RequestKind.SET, Oid.OID_OFFLOAD_ENCAPSULATION, on.pack(Abi.X64), Abi.X64)
    assert nic.request(request).status == NdisStatus.SUCCESS
    nic.poll()
    return nic


def add(nic: Nic, first: int, count: int) -> float:
    """Add associations; seconds for one."""
    requests = add_requests(first, count)
    begin = time.perf_counter()
    for request in requests:
        result = nic.request(request)
        assert result.status == NdisStatus.SUCCESS, result
    return (time.perf_counter() - begin) / count


def find(nic: Nic, size: int, chance: random.Random) -> float:
    """Receive packets of random associations; seconds for one."""
    transform = Transform(SaKeys(Encryption.AES_GCM_16, KEY, Integrity.NONE, b"", SALT))
    frames = [frame_of(chance.randrange(size), transform) for _ in range(SAMPLE)]
    begin = time.perf_counter()
    outcomes = [nic.receive(frame)[1].reason for frame in frames]
    spent = time.perf_counter() - begin
    assert set(outcomes) == {Reason.OPENED.number}
    return spent / SAMPLE


def measured(nic: Nic, filled: int, size: int) -> Measured:
    """Fill up to `size`; the last samples of it are timed, the best of some rounds counts."""
    rounds = min(ROUNDS, max(1, (size - filled) // SAMPLE))
    timed = size - rounds * min(SAMPLE, size - filled)
    for first in range(filled, timed, SAMPLE):
        add(nic, first, min(SAMPLE, timed - first))
    adds = [add(nic, first, SAMPLE) for first in range(timed, size, SAMPLE)]
    chance = random.Random(size)
    gc.collect()
    return Measured(size, min(adds), min(find(nic, size, chance) for _ in range(ROUNDS)), resident())


def resident() -> int:
    """What the process holds in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=1_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--monitor", action="store_true")
    chosen = parser.parse_args()
    nic = nic_for(chosen.large, monitor=chosen.monitor)
    add(nic_for(SAMPLE, monitor=chosen.monitor), 0, SAMPLE)  # warm up
    small = measured(nic, 0, chosen.small)
    large = measured(nic, chosen.small, chosen.large)
    for one in (small, large):
        print(f"{one.associations:>9,} associations: add {one.add * 1e6:6.1f} us, find {one.find * 1e6:6.1f} us")
    each = (large.memory - small.memory) / (large.associations - small.associations)
    print(f"ratios: add {large.add / small.add:.2f}, find {large.find / small.find:.2f}; {each:,.0f} bytes each")


if __name__ == "__main__":
    main()
