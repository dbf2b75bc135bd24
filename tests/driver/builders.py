"""What the driver's tests are made of: a bench with driver and card, cards that fail or take time, buffers, frames.

The frames are put together by hand and sealed by the oracle, so a packet that the card opens was understood twice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nicsim.boundary import (
    CardControl,
    Descriptor,
    LargeSend,
    LargeSent,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    Row,
    RowCompletion,
    RowStatus,
    StatusIndication,
    Table,
)
from nicsim.capabilities import Capabilities, Readings
from nicsim.card.device import SimulatedCard
from nicsim.driver.device import ReferenceDriver
from nicsim.profile import load_profile
from nicsim.reasons import BY_NUMBER, Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import (
    OffloadAlgoInfo,
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
    OffloadIpsecUdpespEncaptypeEntry,
    OffloadSecurityAssociation,
)
from offload_oids.ipsec_sa_v2 import (
    Endpoints,
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AlgorithmInfo,
    IpsecOffloadV2DeleteSa,
    IpsecOffloadV2SecurityAssociation,
    Ipv4Endpoints,
    Ipv6Endpoints,
)
from offload_oids.layout import size_through
from offload_oids.ndis_offload import FamilyEncapsulation, NdisObjectHeader, NdisOffloadEncapsulation
from tests.oracle_esp import OracleSa, seal

BASE = 0x1000
PEER, HERE, OTHER_HOST = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]), bytes([192, 0, 2, 77])
PEER6, HERE6 = bytes.fromhex("20010db8" + "0" * 23 + "1"), bytes.fromhex("20010db8" + "0" * 23 + "2")
WHOLE = b"\xff" * 4
SPI = 0x0A0B0C0D
KEY_3DES = bytes(range(0x10, 0x28))
KEY_DES = bytes(range(0x30, 0x38))
KEY_SHA1 = bytes(range(0x40, 0x54))
KEY_MD5 = bytes(range(0x60, 0x70))
KEY_SHA256 = bytes(range(0x80, 0xA0))
KEY_AES = bytes(range(0xA0, 0xC0))
SALT = b"\xd0\xd1\xd2\xd3"
INBOUND, OUTBOUND = 1, 2
DES, TRIPLE_DES, MD5, SHA1 = 1, 3, 1, 2
IKE_TYPE, OTHER_TYPE = 0, 1
ORACLE_3DES_SHA1 = OracleSa("3des", KEY_3DES, "sha1", KEY_SHA1, 12)
ON = FamilyEncapsulation(1, 0x2, 14)
OFF = FamilyEncapsulation(2)
NO_CHANGE = FamilyEncapsulation()
INNER = b"\x11\x22\x33\x44 hello from the oracle"


# --- cards ------------------------------------------------------------------------------------------------------


class FlakyCard:
    """A simulated card whose n-th row write or clear fails, counted from 0."""

    def __init__(self, card: SimulatedCard) -> None:
        self.card = card
        self.fail_writes: set[int] = set()
        self.fail_clears: set[int] = set()
        self.writes: list[tuple[Table, int]] = []
        self.clears: list[tuple[Table, int]] = []

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        self.writes.append((table, slot))
        return RowStatus.FAILED if len(self.writes) - 1 in self.fail_writes else self.card.write_row(table, slot, row)

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        self.clears.append((table, slot))
        return RowStatus.FAILED if len(self.clears) - 1 in self.fail_clears else self.card.clear_row(table, slot)

    def enable(self, control: CardControl) -> None:
        self.card.enable(control)

    def reset(self) -> None:
        self.card.reset()

    def receive(self, frame: bytes) -> tuple[bytes, Descriptor]:
        return self.card.receive(frame)

    def send(
        self, frame: bytes, slot: int | None, tunnel_slot: int | None = None, checksums: int = 0
    ) -> tuple[bytes, Reason]:
        return self.card.send(frame, slot, tunnel_slot, checksums)

    def send_large(self, frame: bytes, slot: int | None, large: LargeSend) -> LargeSent:
        return self.card.send_large(frame, slot, large)

    def poll(self) -> Sequence[RowCompletion]:
        return self.card.poll()


class SlowCard(FlakyCard):
    """A card that answers PENDING to every row operation and does one of them each time it is polled."""

    def __init__(self, card: SimulatedCard) -> None:
        super().__init__(card)
        self.waiting: list[tuple[Table, int, Callable[[], RowStatus]]] = []

    def write_row(self, table: Table, slot: int, row: Row) -> RowStatus:
        self.waiting.append((table, slot, lambda: FlakyCard.write_row(self, table, slot, row)))
        return RowStatus.PENDING

    def clear_row(self, table: Table, slot: int) -> RowStatus:
        self.waiting.append((table, slot, lambda: FlakyCard.clear_row(self, table, slot)))
        return RowStatus.PENDING

    def reset(self) -> None:
        super().reset()
        self.waiting.clear()

    def poll(self) -> Sequence[RowCompletion]:
        if not self.waiting:
            return ()
        table, slot, work = self.waiting.pop(0)
        return (RowCompletion(table, slot, work()),)


# --- the bench --------------------------------------------------------------------------------------------------


def capabilities(
    profile: str = "reference",
    *,
    readings: Readings | None = None,
    version1: dict[str, Any] | None = None,
    version2: dict[str, Any] | None = None,
    rows: int = 4,
    parsers: int = 4,
    **changes: Any,
) -> Capabilities:
    """A preset with small tables and the given claims changed."""
    base = load_profile(profile)
    if version1 is not None:
        assert base.version1
        changes["version1"] = replace(base.version1, **version1)
    if version2 is not None:
        assert base.version2
        changes["version2"] = replace(base.version2, **version2)
    changes = {"inbound_rows": rows, "outbound_rows": rows, "parser_rows": parsers, **changes}
    return replace(base, readings=readings or base.readings, **changes)


@dataclass
class Bench:
    """A driver over a card, and the requests of a host that knows its own pointer width."""

    driver: ReferenceDriver
    card: FlakyCard
    abi: Abi
    ids: int = field(default=100)

    def request(
        self, kind: RequestKind, oid: int, buffer: bytes, *, direct: bool = False, base: int = BASE
    ) -> OidResult:
        self.ids += 1
        request = OidRequest(kind, oid, buffer, self.abi, base=base, request_id=self.ids)
        return self.driver.direct_request(request) if direct else self.driver.request(request)

    def set(self, oid: int, buffer: bytes) -> OidResult:
        return self.request(RequestKind.SET, oid, buffer)

    def direct(self, oid: int, buffer: bytes, base: int = BASE) -> OidResult:
        return self.request(RequestKind.SET, oid, buffer, direct=True, base=base)

    # Version 1: the result and, where it succeeded, the handles.

    def add_sa(self, add: OffloadIpsecAddSa) -> OidResult:
        return self.set(Oid.OID_TCP_TASK_IPSEC_ADD_SA, add.pack(self.abi))

    def add_udpesp(self, add: OffloadIpsecAddUdpespSa) -> OidResult:
        return self.set(Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, add.pack(self.abi))

    def added(self, add: OffloadIpsecAddSa) -> int:
        return handle_of(self.add_sa(add), self.abi)

    def added_udpesp(self, add: OffloadIpsecAddUdpespSa) -> tuple[int, int]:
        return handles_of(self.add_udpesp(add), self.abi)

    def delete_sa(self, handle: int) -> OidResult:
        return self.set(Oid.OID_TCP_TASK_IPSEC_DELETE_SA, OffloadIpsecDeleteSa(handle).pack(self.abi))

    def delete_udpesp(self, handle: int, entry: int = 0) -> OidResult:
        buffer = OffloadIpsecDeleteUdpespSa(handle, entry).pack(self.abi)
        return self.set(Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA, buffer)

    # Version 2

    def add_v2(self, *adds: IpsecOffloadV2AddSa) -> OidResult:
        return self.direct(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, chained(adds, self.abi))

    def added_v2(self, add: IpsecOffloadV2AddSa) -> int:
        result = self.add_v2(add)
        assert result.status == NdisStatus.SUCCESS, result
        return IpsecOffloadV2AddSa.unpack(result.buffer, self.abi).offload_handle

    def delete_v2(self, *handles: int) -> OidResult:
        header = NdisObjectHeader(0x80, 1, size_through(IpsecOffloadV2DeleteSa, "offload_handle", self.abi))
        deletes = [IpsecOffloadV2DeleteSa(header, 0, handle) for handle in handles]
        return self.direct(Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, chained(deletes, self.abi))

    # Enabling and the wire

    def encapsulate(self, ipv4: FamilyEncapsulation, ipv6: FamilyEncapsulation = NO_CHANGE) -> OidResult:
        setting = NdisOffloadEncapsulation(NdisObjectHeader(0xA8, 1, 28), ipv4, ipv6)
        return self.set(Oid.OID_OFFLOAD_ENCAPSULATION, setting.pack(self.abi))

    def enable(self) -> Bench:
        """Enable Ethernet, however long the card takes, and forget what was indicated about it."""
        result = self.encapsulate(ON)
        while result.status == NdisStatus.PENDING:
            result = next((done.result for done in self.completions()), result)
        assert result.status == NdisStatus.SUCCESS, result
        self.driver.poll()
        return self

    def completions(self) -> list[OidCompletion]:
        return [event for event in self.driver.poll() if isinstance(event, OidCompletion)]

    def indications(self) -> list[StatusIndication]:
        return [event for event in self.driver.poll() if isinstance(event, StatusIndication)]

    def receive(self, frame: bytes) -> Reason:
        """What the card did with a frame; an opened one must hold the oracle's plaintext."""
        up, descriptor = self.card.receive(frame)
        reason = BY_NUMBER[descriptor.reason]
        if reason is Reason.OPENED:
            assert INNER in up
        else:
            assert up == frame
        return reason

    @property
    def rows(self) -> dict[Table, dict[int, Row]]:
        tables = self.card.card.rows
        return {
            Table.INBOUND: {slot: loaded.row for slot, loaded in tables.inbound.items()},
            Table.OUTBOUND: {slot: loaded.row for slot, loaded in tables.outbound.items()},
            Table.PARSER: dict(tables.parser),
            Table.ADDRESS: dict(tables.address),
        }

    def row(self, table: Table = Table.INBOUND) -> Any:
        """The only row of a table."""
        (row,) = self.rows[table].values()
        return row

    def free(self, table: Table) -> set[int]:
        """The free slots of a table, by the driver's account."""
        slots = self.driver.state.slots[table]
        free = [*range(slots._next, slots.capacity), *slots._returned]
        assert len(free) == len(set(free)) == slots.free()
        return set(free)

    def snapshot(self) -> object:
        """Everything that a failed request must leave alone: the driver's lists, free slots, and the card."""
        state = self.driver.state
        return (
            dict(state.associations),
            dict(state.parser_entries),
            dict(state.addresses),
            state.own_parser_row,
            state.control,
            state.task_offload_enabled,
            list(state.marked),
            {table: self.free(table) for table in Table},
            self.rows,
            self.card.card.rows.control,
        )

    def refuses(self, result: OidResult, status: NdisStatus, reason: Reason) -> None:
        """Assert a refusal: its status, its reason, nothing read, and a buffer without handles."""
        assert (result.status, result.reason) == (status, reason), result
        assert (result.bytes_read, result.bytes_written) == (0, 0)


def bench(
    caps: Capabilities | None = None, abi: Abi = Abi.X64, card: type[FlakyCard] = FlakyCard, *, initialize: bool = True
) -> Bench:
    caps = caps or capabilities()
    simulated = SimulatedCard(
        inbound_rows=caps.inbound_rows,
        outbound_rows=caps.outbound_rows,
        parser_rows=caps.parser_rows,
        address_rows=caps.address_rows,
        iv_source=lambda length: b"\x5a" * length,
    )
    made = card(simulated)
    driver = ReferenceDriver(caps, made, abi)
    if initialize:
        driver.initialize()
    return Bench(driver, made, abi)


def handle_of(result: OidResult, abi: Abi) -> int:
    assert result.status == NdisStatus.SUCCESS, result
    return OffloadIpsecAddSa.unpack(result.buffer, abi).offload_handle


def handles_of(result: OidResult, abi: Abi) -> tuple[int, int]:
    assert result.status == NdisStatus.SUCCESS, result
    add = OffloadIpsecAddUdpespSa.unpack(result.buffer, abi)
    return add.offload_handle, add.encap_type_entry_offld_handle


# --- buffers ----------------------------------------------------------------------------------------------------


def esp_element(
    spi: int = SPI, conf: int = TRIPLE_DES, integrity: int = SHA1, **changes: Any
) -> OffloadSecurityAssociation:
    """The ESP element of a version 1 add, with the key lengths of its algorithms."""
    return replace(
        OffloadSecurityAssociation(
            2,
            spi,
            OffloadAlgoInfo(integrity, {0: 0, MD5: 16, SHA1: 20}.get(integrity, 20)),
            OffloadAlgoInfo(conf, {0: 0, DES: 8, TRIPLE_DES: 24}.get(conf, 0)),
        ),
        **changes,
    )


AH_ELEMENT = OffloadSecurityAssociation(1, 0x22222222, OffloadAlgoInfo(SHA1, 20), OffloadAlgoInfo())


def sa(**changes: Any) -> OffloadIpsecAddSa:
    """A native inbound transport association, 3DES and SHA-1."""
    key = changes.pop("key_mat", KEY_3DES + KEY_SHA1)
    add = OffloadIpsecAddSa(
        src_addr=PEER,
        src_mask=WHOLE,
        dest_addr=HERE,
        dest_mask=WHOLE,
        flags=INBOUND,
        num_sas=1,
        sec_assoc=(esp_element(),),
        key_len=len(key),
        key_mat=key,
    )
    return replace(add, **changes)


def udpesp(
    port: int = 4500, kind: int = OTHER_TYPE, entry: int = 0, spi: int = SPI, **changes: Any
) -> OffloadIpsecAddUdpespSa:
    """An inbound UDP-ESP transport association, 3DES and SHA-1."""
    key = changes.pop("key_mat", KEY_3DES + KEY_SHA1)
    add = OffloadIpsecAddUdpespSa(
        src_addr=PEER,
        src_mask=WHOLE,
        dst_addr=HERE,
        dst_mask=WHOLE,
        protocol=17,
        flags=INBOUND,
        num_sas=1,
        sec_assoc=(esp_element(spi),),
        encap_type_entry=OffloadIpsecUdpespEncaptypeEntry(kind, port),
        encap_type_entry_offld_handle=entry,
        key_len=len(key),
        key_mat=key,
    )
    return replace(add, **changes)


AES_CBC_128, AES_GCM_128, AES_GCM_256, SHA_256 = 0x40, 0x8, 0x20, 0x4


def v2(
    spi: int = SPI,
    *,
    encryption: tuple[int, int, int, int] = (AES_CBC_128, 16, 0, 0),
    authentication: tuple[int, int, int, int] = (SHA_256, 32, 16, 0),
    key: bytes = KEY_AES[:16] + KEY_SHA256,
    abi: Abi = Abi.X64,
    ipv6: bool = False,
    element: dict[str, Any] | None = None,
    **changes: Any,
) -> IpsecOffloadV2AddSa:
    """A version 2 inbound UDP-ESP transport association; algorithms as (id, key length, key offset, info)."""
    sec = IpsecOffloadV2SecurityAssociation(
        0, 2, spi, IpsecOffloadV2AlgorithmInfo(*authentication), IpsecOffloadV2AlgorithmInfo(*encryption)
    )
    ends = Endpoints(ipv4_endpoints=Ipv4Endpoints(PEER, HERE))
    if ipv6:
        ends = Endpoints(ipv6_endpoints=Ipv6Endpoints(PEER6, HERE6))
    add = IpsecOffloadV2AddSa(
        header=NdisObjectHeader(0x80, 1, size_through(IpsecOffloadV2AddSa, "key_data", abi)),
        num_ext_hdrs=1,
        flags=0x11 if ipv6 else 0x01,
        endpoints=ends,
        udp_esp_encapsulation=1,
        sec_assoc=(replace(sec, **(element or {})),),
        key_length=len(key),
        key_data=key,
    )
    return replace(add, **changes)


def chained(elements: Sequence[IpsecOffloadV2AddSa | IpsecOffloadV2DeleteSa], abi: Abi, base: int = BASE) -> bytes:
    """One buffer with the elements linked in order, each on a 16-byte boundary; a Next that is set stays."""
    places, end = [], 0
    for element in elements:
        places.append(end)
        end = (end + len(element.pack(abi)) + 15) // 16 * 16
    buffer = b""
    for number, element in enumerate(elements):
        following = places[number + 1] + base if number + 1 < len(elements) else 0
        linked = replace(element, next=element.next or following)
        buffer = buffer.ljust(places[number], b"\xee") + linked.pack(abi)
    return buffer


# --- frames -----------------------------------------------------------------------------------------------------

ETHERNET = bytes.fromhex("020000000002020000000001")


def ipv4(protocol: int, payload: bytes, src: bytes = PEER, dst: bytes = HERE) -> bytes:
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, src, dst)
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    return ETHERNET + b"\x08\x00" + header[:10] + checksum.to_bytes(2, "big") + header[12:] + payload


def ipv6(protocol: int, payload: bytes, src: bytes = PEER6, dst: bytes = HERE6) -> bytes:
    return ETHERNET + b"\x86\xdd" + struct.pack(">IHBB16s16s", 6 << 28, len(payload), protocol, 64, src, dst) + payload


def udp(payload: bytes, dst_port: int = 4500, src_port: int = 4500) -> bytes:
    return struct.pack(">HHHH", src_port, dst_port, 8 + len(payload), 0) + payload


def sealed(oracle: OracleSa = ORACLE_3DES_SHA1, spi: int = SPI, sequence: int = 1) -> bytes:
    iv = {"null": b"", "des": b"\x07" * 8, "3des": b"\x07" * 8, "aes-cbc": b"\x07" * 16, "aes-gcm": b"\x07" * 8}
    return seal(oracle, spi, sequence, iv[oracle.cipher], INNER, 17)


def native_frame(oracle: OracleSa = ORACLE_3DES_SHA1, spi: int = SPI, **addresses: bytes) -> bytes:
    return ipv4(50, sealed(oracle, spi), **addresses)


def udp_frame(
    oracle: OracleSa = ORACLE_3DES_SHA1, spi: int = SPI, *, dst_port: int = 4500, src_port: int = 4500,
    marker: bytes = b"", **addresses: bytes,
) -> bytes:  # fmt: skip
    return ipv4(17, udp(marker + sealed(oracle, spi), dst_port, src_port), **addresses)
