"""Everything that may happen to a NIC, as moves of a duel.

A move takes its choices from `pick`, which takes one of a sequence. Buffers are made with `offload_oids`, and read by
the oracle with `struct`; the frames are those of duel_frames.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from offload_oids import Oid
from offload_oids.ipsec_sa import (
    OffloadAlgoInfo,
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecUdpespEncaptypeEntry,
    OffloadSecurityAssociation,
)
from offload_oids.ipsec_sa_v2 import (
    Endpoints,
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AddSaEx,
    IpsecOffloadV2AlgorithmInfo,
    IpsecOffloadV2DeleteSa,
    IpsecOffloadV2SecurityAssociation,
    IpsecOffloadV2UpdateSa,
    Ipv4Endpoints,
    Ipv6Endpoints,
)
from offload_oids.layout import size_through
from offload_oids.ndis_offload import NdisObjectHeader
from tests.driver.builders import chained
from tests.driver.test_enabling import ALL_OF_NDIS51, DISABLE, entry, header, task_ipsec
from tests.duel import Duel
from tests.duel_frames import DEAD, HERE, HERE6, OTHER_HOST, PEER, PEER6, Pick, damaged, received, to_send
from tests.ipsec.algorithms import made_up
from tests.oracle_esp import OracleSa
from tests.oracle_nic import Layer
from tests.oracle_nic.claims import V2_CIPHERS, V2_MACS
from tests.oracle_nic.packets import AH, ESP

Request = tuple[int, bytes]
GATE_PEER, GATE = bytes((203, 0, 113, 1)), bytes((203, 0, 113, 2))
ANY, WHOLE, NET = bytes(4), b"\xff" * 4, b"\xff\xff\xff\0"
SPIS = (1, 2, 3)
AH_BESIDE = 0x100
"""What AH beside ESP has in its SPI beyond that of ESP."""

# --- associations to add ---------------------------------------------------------------------------------------------

# (operation, confidentiality, integrity) of each element: ESP 2, AH 1; DES 1, 3DES 3; MD5 1, SHA-1 2.
V1_SUITES = [
    ((2, 3, 2),), ((2, 3, 2),), ((2, 1, 1),), ((2, 0, 2),), ((1, 0, 2),),
    ((2, 3, 1), (1, 0, 2)), ((2, 1, 0), (1, 0, 1)),
]  # fmt: skip
# (operation, encryption, ICV length of AES-GCM, authentication).
V2_SUITES = [
    ((2, 4, 0, 2),), ((2, 8, 16, 0),), ((2, 0x100, 0, 4),), ((2, 1, 0, 1),), ((2, 0x20, 8, 0),),
    ((1, 0, 0, 4),), ((2, 0x40, 0, 0), (1, 0, 0, 2)), ((2, 8, 12, 0), (1, 0, 0, 1)),
]  # fmt: skip
V1_BAD_SUITES = [((1, 0, 0),), ((2, 0, 0),), ((2, 3, 0),), ((2, 2, 2),), ((1, 3, 2),), ((1, 0, 2), (2, 3, 2)),
                 ((2, 3, 2), (2, 3, 2)), ((2, 0, 0), (1, 0, 2)), ((2, 3, 9),), ((9, 3, 2),)]  # fmt: skip
V2_BAD_SUITES = [((2, 8, 13, 0),), ((2, 1, 0, 0),), ((2, 4, 0, 0),), ((2, 0x200, 0, 2),), ((2, 4, 0, 8),),
                 ((1, 0, 0, 0),), ((1, 4, 0, 2),), ((1, 0, 0, 2), (2, 4, 0, 2)), ((9, 4, 0, 2),)]  # fmt: skip
CIPHER_LENGTHS = {0: 0, 1: 8, 3: 24}
MAC_LENGTHS = {0: 0, 1: 16, 2: 20, 4: 32}
V2_CIPHER_LENGTHS = {0: 0, 1: 0, 2: 8, 4: 24, 8: 20, 0x10: 28, 0x20: 36, 0x40: 16, 0x80: 24, 0x100: 32}
SOMETIMES = (False, False, False, False, True)


@cache
def key(what: str, spi: int, length: int) -> bytes:
    return made_up(f"{what} {spi}", length)


def v1_add(duel: Duel, pick: Pick, in_udp: bool) -> bytes:
    """A version 1 add, mostly good."""
    spi, outbound = pick(SPIS), pick((False, False, True))
    suite = pick(V1_BAD_SUITES if pick((False,) * 16 + (True,)) else V1_SUITES[: 4 if in_udp else None])
    elements, keys = [], b""
    for operation, cipher, mac in suite:
        number = spi + (AH_BESIDE if operation == 1 and len(suite) > 1 else 0)
        lengths = CIPHER_LENGTHS.get(cipher, 8), MAC_LENGTHS.get(mac, 16)
        keys += key(f"cipher {cipher}", spi, lengths[0]) + key(f"mac {mac}", spi, lengths[1])
        algorithms = OffloadAlgoInfo(mac, lengths[1]), OffloadAlgoInfo(cipher, lengths[0])
        elements.append(OffloadSecurityAssociation(operation, number, *algorithms))
    src, dst = (HERE, PEER) if outbound else (PEER, HERE)
    gates = (GATE, GATE_PEER) if outbound else (GATE_PEER, GATE)
    if pick((False, True, True)):
        gates = (ANY, ANY)
    else:
        gates = pick((gates, gates, (gates[0], ANY)))
    members: dict[str, Any] = {
        "src_addr": pick((src, src, ANY, OTHER_HOST)), "src_mask": pick((WHOLE, WHOLE, NET, ANY)),
        "src_tunnel_addr": gates[0], "flags": 1 + outbound, "num_sas": len(suite), "sec_assoc": tuple(elements),
        "key_len": len(keys), "key_mat": keys,
    }  # fmt: skip
    to = pick((dst, dst, dst, ANY, OTHER_HOST)), pick((WHOLE, WHOLE, WHOLE, NET, ANY))
    if in_udp:
        ports = pick(((0, 0), (0, 0), (4500, 4500), (0, 4501)))
        kind, port = pick((1, 1, 1, 0, 2)), pick((4500, 4500, 4501, 500, 0))
        add: OffloadIpsecAddSa | OffloadIpsecAddUdpespSa = OffloadIpsecAddUdpespSa(
            dst_addr=to[0], dst_mask=to[1], dst_tunnel_addr=gates[1], protocol=17, src_port=ports[0],
            dst_port=ports[1], encap_type_entry=OffloadIpsecUdpespEncaptypeEntry(kind, port),
            encap_type_entry_offld_handle=entry_handle(duel, pick), **members,
        )  # fmt: skip
    else:
        add = OffloadIpsecAddSa(dest_addr=to[0], dest_mask=to[1], dest_tunnel_addr=gates[1], **members)
    return v1_defect(add, pick)(duel)


def v1_defect(add: Any, pick: Pick) -> Callable[[Duel], bytes]:
    """Mostly the add as it is; sometimes with something wrong about it."""
    defects: list[Callable[[Duel], bytes]] = [
        lambda duel: add.pack(duel.abi),
        lambda duel: replace(add, flags=3).pack(duel.abi),
        lambda duel: replace(add, num_sas=0).pack(duel.abi),
        lambda duel: replace(add, num_sas=3).pack(duel.abi),
        lambda duel: replace(add, sec_assoc=(replace(add.sec_assoc[0], spi=0),)).pack(duel.abi),
        lambda duel: replace(add, key_len=add.key_len + 1, key_mat=add.key_mat + b"k").pack(duel.abi),
        lambda duel: add.pack(duel.abi)[:-1],
        lambda duel: add.pack(duel.abi)[:40],
        lambda duel: add.pack(duel.abi) + b"more",
    ]
    return pick([defects[0]] * 25 + defects)


def v2_add(duel: Duel, pick: Pick) -> IpsecOffloadV2AddSa:
    """One version 2 association, mostly good."""
    spi, outbound, ipv6 = pick(SPIS), pick((False, False, True)), pick((False, False, False, True))
    suite = pick(V2_BAD_SUITES if pick((False,) * 12 + (True,)) else claimed_suites(frozenset(duel.oracle.claims2)))
    elements, keys = [], b""
    esn = pick((0, 0, 1)) if duel.kind.esn else pick((0,) * 16 + (1,))
    for operation, cipher, icv, mac in suite:
        lengths = V2_CIPHER_LENGTHS.get(cipher, 8), MAC_LENGTHS.get(mac, 16)
        cipher_at, mac_at = len(keys), len(keys) + lengths[0]
        keys += key(f"v2 cipher {cipher}", spi, lengths[0]) + key(f"v2 mac {mac}", spi, lengths[1])
        number = spi + (AH_BESIDE if operation == 1 and len(suite) > 1 else 0)
        authentication = IpsecOffloadV2AlgorithmInfo(mac, lengths[1], mac_at if mac else 0)
        encryption = IpsecOffloadV2AlgorithmInfo(cipher, lengths[0], cipher_at if cipher else 0, icv)
        elements.append(
            IpsecOffloadV2SecurityAssociation(esn, operation, number, authentication, encryption, pick((0, 0, 7)))
        )
    v6, v4 = ((HERE6, PEER6), (HERE, PEER)) if outbound else ((PEER6, HERE6), (PEER, HERE))
    if ipv6:
        ends = Endpoints(ipv6_endpoints=Ipv6Endpoints(v6[0], pick((v6[1], v6[1], bytes(16)))))
    else:
        ends = Endpoints(ipv4_endpoints=Ipv4Endpoints(v4[0], pick((v4[1], v4[1], v4[1], ANY, OTHER_HOST))))
    add = IpsecOffloadV2AddSa(
        header=NdisObjectHeader(0x80, 1, size_through(IpsecOffloadV2AddSa, "key_data", duel.abi)),
        num_ext_hdrs=len(suite), flags=(not outbound) | (0x10 if ipv6 else 0), endpoints=ends,
        udp_esp_encapsulation=udp_flag(duel, suite, pick), sec_assoc=tuple(elements), key_length=len(keys),
        key_data=keys,
    )  # fmt: skip
    first = add.sec_assoc[0]
    defects = [
        {}, {"flags": add.flags | 2}, {"num_ext_hdrs": 0}, {"num_ext_hdrs": 3},
        {"sec_assoc": (replace(first, spi=0),)}, {"key_length": len(keys) // 2, "key_data": keys[: len(keys) // 2]},
        {"header": NdisObjectHeader(0x80, 2, 200)}, {"header": NdisObjectHeader(0x80, 1, 8)}, {"next": 0x1001},
    ]  # fmt: skip
    return replace(add, **pick([defects[0]] * 30 + defects))  # type: ignore[arg-type]


@cache
def claimed_suites(words: frozenset[str]) -> list[Any]:
    """The suites of version 2 that a card claims, several times, and each once for a refusal."""
    claimed = [
        suite
        for suite in V2_SUITES
        if all(
            ("AH" if operation == 1 else V2_CIPHERS[cipher][0]) in words and V2_MACS[mac][0] in {"", *words}
            for operation, cipher, _, mac in suite
        )
    ]
    return claimed * (1 + 3 * len(V2_SUITES) // max(len(claimed), 1)) + V2_SUITES


def udp_flag(duel: Duel, suite: Sequence[Any], pick: Pick) -> int:
    """UdpEspEncapsulation: mostly what the card claims, and none for AH."""
    claimed = "TRANSPORT" in duel.oracle.claims2 and suite[-1][0] == 2
    return pick((0, 0, 0, 1, 1, 2, 4, 8) if claimed else (0,)) if pick((True,) * 14 + (False,)) else pick((1, 3))


def ex_add(duel: Duel, pick: Pick) -> bytes:
    """The same as IPSEC_OFFLOAD_V2_ADD_SA_EX, with the keys somewhere behind it."""
    add = v2_add(duel, pick)
    size = size_through(IpsecOffloadV2AddSaEx, "vlan_id", duel.abi)
    at = pick((180, 180, 180, 200, 8))
    ex = IpsecOffloadV2AddSaEx(
        header=NdisObjectHeader(0x80, add.header.revision, size if add.header.size > 100 else 8),
        num_ext_hdrs=add.num_ext_hdrs, flags=add.flags, endpoints=add.endpoints,
        udp_esp_encapsulation=add.udp_esp_encapsulation, sec_assoc=add.sec_assoc, key_length=add.key_length,
        key_offset=at,
    )  # fmt: skip
    whole = ex.pack(duel.abi).ljust(at, b"\xee") + add.key_data
    return pick((whole,) * 9 + (whole[:-1],))


# --- requests ------------------------------------------------------------------------------------------------------


def handle(duel: Duel, pick: Pick) -> int:
    """A handle that lives, mostly: of an association, also of one whose add is pending."""
    alive = list(duel.oracle.sas)
    return pick([*alive, *alive, *published(duel), *duel.oracle.entries, DEAD, 0])


def published(duel: Duel) -> list[int]:
    """The handles that pending adds have published (A-6)."""
    width, found = duel.abi.pointer_size, []
    for pending in duel.with_driver.values():
        if pending.published and pending.request.oid in (0xFC010202, 0xFC010205):
            found.append(int.from_bytes(pending.published[168 : 168 + width], "little"))
    return found


def entry_handle(duel: Duel, pick: Pick) -> int:
    return pick([0, 0, 0, *duel.oracle.entries, *duel.oracle.entries, DEAD])


def pointers(duel: Duel, *values: int) -> bytes:
    return b"".join(value.to_bytes(duel.abi.pointer_size, "little") for value in values)


def add(duel: Duel, pick: Pick) -> Request:
    return Oid.OID_TCP_TASK_IPSEC_ADD_SA, v1_add(duel, pick, False)


def add_udpesp(duel: Duel, pick: Pick) -> Request:
    return Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, v1_add(duel, pick, True)


def add_v2(duel: Duel, pick: Pick) -> Request:
    buffer = chained([v2_add(duel, pick) for _ in range(pick((1, 1, 2, 3)))], duel.abi)
    return Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, pick((buffer,) * 12 + (buffer[:-1], buffer[:30]))


def add_ex(duel: Duel, pick: Pick) -> Request:
    return Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, ex_add(duel, pick)


def delete(duel: Duel, pick: Pick) -> Request:
    buffer = pointers(duel, handle(duel, pick))
    return Oid.OID_TCP_TASK_IPSEC_DELETE_SA, pick((buffer,) * 12 + (buffer[:-1], buffer + b"more"))


def delete_udpesp(duel: Duel, pick: Pick) -> Request:
    buffer = pointers(duel, handle(duel, pick), entry_handle(duel, pick))
    return Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA, pick((buffer,) * 12 + (buffer[:-1],))


def delete_v2(duel: Duel, pick: Pick) -> Request:
    size = size_through(IpsecOffloadV2DeleteSa, "offload_handle", duel.abi)
    top = NdisObjectHeader(0x80, 1, pick((size,) * 12 + (size - 1,)))
    buffer = chained([IpsecOffloadV2DeleteSa(top, 0, handle(duel, pick)) for _ in range(pick((1, 1, 2)))], duel.abi)
    return Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, pick((buffer,) * 12 + (buffer[:-1],))


def update(duel: Duel, pick: Pick) -> Request:
    """New high-order bits, mostly for a layer that has some."""
    layers = [(one, layer) for one, sa in duel.oracle.sas.items() for layer in sa.layers if sa.version == 2]
    number, layer = pick([*layers, *layers, *layers, (DEAD, Layer(ESP, 1, OracleSa("null", b"", "", b"", 0)))])
    size = size_through(IpsecOffloadV2UpdateSa, "sequence_number_high_order", duel.abi)
    operation = pick(({ESP: 2, AH: 1}[layer.protocol],) * 8 + (1, 3))
    spi = pick((layer.spi,) * 8 + (9,))
    made = IpsecOffloadV2UpdateSa(NdisObjectHeader(0x80, 1, size), number, operation, spi, pick((0, 1, 7, 2**32 - 1)))
    buffer = made.pack(duel.abi)
    return Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, pick((buffer,) * 12 + (buffer[:10],))


ESP_RECEIVE = task_ipsec(0x03, 0xFD, 0, 0xFF)
SEND_ONLY = task_ipsec(0x3F, 0x7D, 0, 0xFF, (1, 1))
TASKS = [
    header(first=28) + entry(task) for task in (ALL_OF_NDIS51, ALL_OF_NDIS51, ESP_RECEIVE, SEND_ONLY)
]  # fmt: skip
FAMILIES = [(1, 2, 14), (1, 7, 14), (1, 4, 18), (2, 0, 0), (0, 0, 0), (1, 0x10, 22), (3, 2, 14)]


def switch(duel: Duel, pick: Pick) -> Request:
    """Receive processing on and off, in the words of the NDIS version."""
    if duel.ndis51 and pick((True,) * 9 + (False,)):
        return Oid.OID_TCP_TASK_OFFLOAD, pick((*TASKS, *TASKS, DISABLE, DISABLE))
    families = pick(FAMILIES[:2] * 6 + FAMILIES), pick(FAMILIES[:2] * 6 + FAMILIES)
    buffer = bytes((0xA8, pick((1,) * 12 + (2,)), 28, 0)) + struct.pack("<6I", *families[0], *families[1])
    return Oid.OID_OFFLOAD_ENCAPSULATION, pick((buffer,) * 12 + (buffer[:27], buffer + b"more"))


def parameters(duel: Duel, pick: Pick) -> Request:
    """Versions taken away and given back, mostly given back."""
    revision = pick((1, 2, 2, 3))
    size = {1: 20, 2: 22, 3: 26}[revision]
    version1, version2 = pick((4, 4, 4, 0, 1, 2, 3, 5)), pick((4, 4, 4, 0, 1, 2, 3, 5))
    other = pick((0,) * 12 + (1, 4))
    has_ipv6 = "IPv6" in duel.oracle.claims2
    pair = (version2, other) if has_ipv6 else (other, version2 if duel.oracle.claims2 else 0)
    body = bytearray(size)
    body[:4] = bytes((0x80, revision, size + pick((0,) * 12 + (1,)), 0))
    body[10] = version1 if duel.oracle.claims1 else pick((0, 0, 1, 3))
    if revision > 1:
        body[20:22] = bytes(pair)
    return Oid.OID_TCP_OFFLOAD_PARAMETERS, bytes(pick((body,) * 12 + (body[:19],)))


def power(duel: Duel, pick: Pick) -> Request:
    state = pick((1, 1, 1, 4, 3, 2, 0, 5) if duel.oracle.low_power else (4, 4, 3, 2, 1, 0))
    buffer = struct.pack("<I", state)
    return Oid.OID_PNP_SET_POWER, pick((buffer,) * 12 + (buffer[:3],))


ADDS = {
    (True, True): [add, add_udpesp, add_v2, add_ex],
    (True, False): [add, add_udpesp],
    (False, True): [add_v2, add_ex],
}
"""By the versions that a card claims: what fills its tables."""


def receive(duel: Duel, pick: Pick) -> None:
    duel.receive(received(duel, pick))


def send(duel: Duel, pick: Pick) -> None:
    frame, number, tunnel = to_send(duel, pick)
    duel.send(damaged(frame, pick) if pick(SOMETIMES) else frame, number, tunnel)


# --- all of it -----------------------------------------------------------------------------------------------------

Move = Callable[[Duel, Pick], None]


def asking(request: Callable[[Duel, Pick], Request]) -> Move:
    return lambda duel, pick: duel.ask(*request(duel, pick)) and None


def pace(duel: Duel, pick: Pick) -> None:
    """Slow or fast from now on; not in between, for the monitor sees what one poll completes at once."""
    slow = pick((False, True))
    if not duel.oracle.waiting and not duel.card.waiting:
        duel.card.slow = slow


def refuse(duel: Duel, pick: Pick) -> None:
    duel.card.refusals = pick((1, 1, 2, 5, 0))


def finish_one(duel: Duel, pick: Pick) -> None:
    duel.step(pick(range(4)))


def reset(duel: Duel, pick: Pick) -> None:
    duel.reset()


def remove(duel: Duel, pick: Pick) -> None:
    """Once removed a NIC stays so; a rare move, or there is nothing else to see."""
    if pick((False,) * 19 + (True,)):
        duel.remove()


# fmt: off
MOVES: dict[str, tuple[int, Move]] = {
    # the move      how often, and what it is
    "add":           (8, asking(add)),
    "add udpesp":    (8, asking(add_udpesp)),
    "add v2":        (7, asking(add_v2)),
    "add ex":        (3, asking(add_ex)),
    "delete":        (5, asking(delete)),
    "delete udpesp": (4, asking(delete_udpesp)),
    "delete v2":     (4, asking(delete_v2)),
    "update":        (3, asking(update)),
    "switch":        (7, asking(switch)),
    "parameters":    (2, asking(parameters)),
    "power":         (2, asking(power)),
    "receive":       (24, receive),
    "send":          (8, send),
    "pace":          (2, pace),
    "finish one":    (10, finish_one),
    "refuse":        (1, refuse),
    "reset":         (1, reset),
    "remove":        (1, remove),
}
# fmt: on


@cache
def names(version1: bool, version2: bool, ndis51: bool) -> list[str]:
    """The moves of one kind of NIC as often as they are worth while: what it does not offer, once."""
    missing = {"add", "add udpesp", "delete", "delete udpesp"} if not version1 else set()
    missing |= {"add v2", "add ex", "delete v2", "update"} if not version2 else set()
    missing |= {"parameters"} if ndis51 else set()
    return [name for name, (weight, _) in MOVES.items() for _ in range(1 if name in missing else weight)]


def move(duel: Duel, pick: Pick) -> str:
    """One thing that may happen."""
    oracle = duel.oracle
    name = pick(names(bool(oracle.claims1), bool(oracle.claims2), duel.ndis51))
    if oracle.low_power and pick((False, True)):
        name = "power"  # or most of a run would be spent asleep
    if name == "power" and oracle.waiting:
        name = "finish one"  # NDIS lets a NIC come to rest before it changes its power
    MOVES[name][1](duel, pick)
    return name


def begin(duel: Duel, pick: Pick) -> None:
    """Mostly enabled for Ethernet, tagged or not, of both families."""
    if pick((True,) * 7 + (False,)):
        enable = bytes((0xA8, 1, 28, 0)) + struct.pack("<6I", *FAMILIES[1], *FAMILIES[1])
        duel.ask(*((Oid.OID_TCP_TASK_OFFLOAD, TASKS[0]) if duel.ndis51 else (Oid.OID_OFFLOAD_ENCAPSULATION, enable)))
