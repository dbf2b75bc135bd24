"""Driver and card written again in the plainest way: lists and dicts, one question after another.

It shares nothing with nicsim: `offload_oids` reads the buffers and the ESP oracle opens packets. `possible` gives the
statuses that a request may be answered with (the order of checks is nobody's promise), `settle` takes the real answer
and changes the lists, `verdict` says what the card does with a frame. A faultless request can only succeed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from offload_oids import Abi, NdisStatus, Oid, TooShort
from offload_oids.ipsec_sa import (
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
)
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa, IpsecOffloadV2DeleteSa
from offload_oids.ndis_offload import NdisOffloadEncapsulation
from offload_oids.task_offload import walk_tasks
from tests.oracle_esp import OracleSa, open_

INVALID, NOT_SUPPORTED = NdisStatus.INVALID_DATA, NdisStatus.NOT_SUPPORTED
RESOURCES, SUCCESS = NdisStatus.RESOURCES, NdisStatus.SUCCESS
IKE, OTHER = 0, 1
ETHERNET = 2
V1_KEYS = {0: ("null", 0), 1: ("des", 8), 3: ("3des", 24)}
V1_MACS = {1: ("md5", 16), 2: ("sha1", 20)}


@dataclass
class Sa:
    """One association as the oracle remembers it."""

    version: int
    inbound: bool
    spi: int
    udp: int | None
    """None native; else the type of its packets."""
    src: bytes
    dst: bytes
    """Addresses that a packet must have; zero is any."""
    keys: OracleSa


@dataclass
class OracleNic:
    """What a card with these tables, and its driver, should know."""

    ndis51: bool
    inbound_rows: int
    outbound_rows: int
    parser_rows: int
    has_version_2: bool
    abi: Abi
    sas: dict[int, Sa] = field(default_factory=dict)
    entries: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Parser entries by handle: type and port."""
    own_row: bool = False
    enabled: int = 0
    """Encapsulation bits for IPv4."""
    enabled6: int = 0
    task_enabled: bool = False

    # --- requests ------------------------------------------------------------------------------------------------

    def possible(self, oid: int, buffer: bytes) -> set[NdisStatus]:
        """The statuses that a set request may end with in this state."""
        try:
            faults = self._faults(oid, buffer)
        except TooShort:
            return {NdisStatus.INVALID_LENGTH}
        return faults or {SUCCESS}

    def _faults(self, oid: int, buffer: bytes) -> set[NdisStatus]:
        if oid == Oid.OID_TCP_TASK_IPSEC_ADD_SA:
            native = OffloadIpsecAddSa.unpack(buffer, self.abi)
            return self._v1_faults(native) | self._room(native.flags == 1)
        if oid == Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA:
            return self._udpesp_faults(OffloadIpsecAddUdpespSa.unpack(buffer, self.abi))
        if oid == Oid.OID_TCP_TASK_IPSEC_DELETE_SA:
            handle = OffloadIpsecDeleteSa.unpack(buffer, self.abi).offload_handle
            return set() if self._alive(handle, 1) else {INVALID}
        if oid == Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA:
            delete = OffloadIpsecDeleteUdpespSa.unpack(buffer, self.abi)
            entry = delete.encap_type_entry_offld_handle
            good = self._alive(delete.offload_handle, 1) and (entry == 0 or entry in self.entries)
            return set() if good else {INVALID}
        if oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA:
            return self._v2_list(buffer)[1]
        if oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA:
            handles = [element.offload_handle for _, element in linked(buffer, IpsecOffloadV2DeleteSa, self.abi)]
            good = all(self._alive(handle, 2) for handle in handles) and len(set(handles)) == len(handles)
            return set() if good else {INVALID}
        if oid == Oid.OID_OFFLOAD_ENCAPSULATION:
            return self._encapsulation_faults(buffer)
        if not self.ndis51:
            return {NOT_SUPPORTED}
        _, entries = walk_tasks(buffer, self.abi)
        return {NdisStatus.FAILURE} if entries and self.task_enabled else set()

    def _alive(self, handle: int, version: int) -> bool:
        return handle in self.sas and self.sas[handle].version == version

    def _room(self, inbound: bool, already: int = 0) -> set[NdisStatus]:
        used = already + sum(1 for sa in self.sas.values() if sa.inbound == inbound)
        return {RESOURCES} if used >= (self.inbound_rows if inbound else self.outbound_rows) else set()

    def _v1_faults(self, add: OffloadIpsecAddSa | OffloadIpsecAddUdpespSa) -> set[NdisStatus]:
        """One ESP element with a direction, known algorithms, and keys that add up."""
        faults = set()
        esp = add.sec_assoc[0]
        conf, integrity = esp.conf_algo, esp.integrity_algo
        if add.flags not in (1, 2) or add.num_sas != 1 or esp.operation != 2 or esp.spi == 0:
            faults.add(INVALID)
        cipher, mac = V1_KEYS.get(conf.algo_identifier), V1_MACS.get(integrity.algo_identifier)
        if not cipher or not mac or (conf.algo_keylen, integrity.algo_keylen) != (cipher[1], mac[1]):
            faults.add(INVALID)
        if add.key_len != conf.algo_keylen + integrity.algo_keylen:
            faults.add(INVALID)
        return faults

    def _udpesp_faults(self, add: OffloadIpsecAddUdpespSa) -> set[NdisStatus]:
        faults = self._v1_faults(add) | self._room(add.flags == 1)
        handle, entry = add.encap_type_entry_offld_handle, add.encap_type_entry
        kind, port = entry.udp_encap_type, entry.dst_encap_port
        if add.flags != 1:  # outbound: the entry is not looked at, but its type says which marker to write
            return faults | (set() if kind in (IKE, OTHER) else {INVALID})
        if handle:
            return faults | (set() if handle in self.entries else {INVALID})
        if kind not in (IKE, OTHER) or port == 0:
            return faults | {INVALID}
        if (kind, port) in self.entries.values():
            return faults
        taken = [other_port for other_kind, other_port in self.entries.values() if other_kind != kind]
        if port in taken or (self.has_version_2 and (kind, port) == (IKE, 4500)):
            faults.add(INVALID)
        if len(self.entries) + self.own_row >= self.parser_rows:
            faults.add(RESOURCES)
        return faults

    def _v2_list(self, buffer: bytes) -> tuple[list[bool], set[NdisStatus]]:
        """Which elements are taken on; and the faults, if none is."""
        taken: list[bool] = []
        counts = {True: 0, False: 0}
        faults: set[NdisStatus] = set()
        for _, add in linked(buffer, IpsecOffloadV2AddSa, self.abi):
            inbound = bool(add.flags & 1)
            wrong = {INVALID} if add.sec_assoc[0].spi == 0 or add.flags & ~0x11 or add.num_ext_hdrs != 1 else set()
            wrong |= self._room(inbound, counts[inbound])
            faults |= wrong
            taken.append(not wrong)
            counts[inbound] += not wrong
        return taken, set() if any(taken) else faults

    def _encapsulation_faults(self, buffer: bytes) -> set[NdisStatus]:
        if self.ndis51:
            return {NOT_SUPPORTED}
        asked = NdisOffloadEncapsulation.unpack(buffer, self.abi)
        faults = set()
        for family in (asked.ipv4, asked.ipv6):
            if family.enabled > 2:
                faults.add(INVALID)
            elif family.enabled == 1 and not family.encapsulation_type & ETHERNET:
                faults.add(NdisStatus.INVALID_PARAMETER)
        full = len(self.entries) >= self.parser_rows
        if not faults and any(self._bits(buffer)) and self.has_version_2 and not self.own_row and full:
            faults.add(RESOURCES)
        return faults

    def _bits(self, buffer: bytes) -> tuple[int, int]:
        asked = NdisOffloadEncapsulation.unpack(buffer, self.abi)
        now = {0: self.enabled, 1: asked.ipv4.encapsulation_type, 2: 0}[asked.ipv4.enabled]
        now6 = {0: self.enabled6, 1: asked.ipv6.encapsulation_type, 2: 0}[asked.ipv6.enabled]
        return now, now6

    # --- what an answer changes ----------------------------------------------------------------------------------

    def settle(self, oid: int, buffer: bytes, status: NdisStatus, answer: bytes) -> None:
        """Hold the real answer against this state, and change what a success changes."""
        possible = self.possible(oid, buffer)
        assert status in possible, f"{status!r}, the oracle says {sorted(possible)} of OID 0x{oid:X}"
        if status != SUCCESS:
            assert answer == buffer
        elif oid == Oid.OID_TCP_TASK_IPSEC_ADD_SA:
            native = OffloadIpsecAddSa.unpack(answer, self.abi)
            self._take(native.offload_handle, v1_sa(native, None, native.dest_addr, native.dest_tunnel_addr))
        elif oid == Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA:
            self._take_udpesp(OffloadIpsecAddUdpespSa.unpack(answer, self.abi))
        elif oid == Oid.OID_TCP_TASK_IPSEC_DELETE_SA:
            del self.sas[OffloadIpsecDeleteSa.unpack(buffer, self.abi).offload_handle]
        elif oid == Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA:
            delete = OffloadIpsecDeleteUdpespSa.unpack(buffer, self.abi)
            del self.sas[delete.offload_handle]
            self.entries.pop(delete.encap_type_entry_offld_handle, None)
        elif oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA:
            taken = self._v2_list(buffer)[0]
            answers = linked(answer, IpsecOffloadV2AddSa, self.abi)
            assert [add.offload_handle != 0 for _, add in answers] == taken
            for _, add in answers:
                if add.offload_handle:
                    self._take(add.offload_handle, v2_sa(add))
        elif oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA:
            for _, element in linked(buffer, IpsecOffloadV2DeleteSa, self.abi):
                del self.sas[element.offload_handle]
        else:
            self._switch(oid, buffer)

    def _take(self, handle: int, sa: Sa) -> None:
        assert handle
        assert handle not in self.sas
        assert handle not in self.entries
        self.sas[handle] = sa

    def _take_udpesp(self, add: OffloadIpsecAddUdpespSa) -> None:
        kind, port = add.encap_type_entry.udp_encap_type, add.encap_type_entry.dst_encap_port
        handle = add.encap_type_entry_offld_handle
        if add.flags == 1:
            shared = [known for known, entry in self.entries.items() if entry == (kind, port)]
            if handle in self.entries:
                kind = self.entries[handle][0]  # the handle wins
            else:
                assert handle
                assert not shared
                assert handle not in self.sas
                self.entries[handle] = (kind, port)
        self._take(add.offload_handle, v1_sa(add, kind, add.dst_addr, add.dst_tunnel_addr))

    def _switch(self, oid: int, buffer: bytes) -> None:
        if oid == Oid.OID_OFFLOAD_ENCAPSULATION:
            self.enabled, self.enabled6 = self._bits(buffer)
            if self.has_version_2 and (self.enabled or self.enabled6):
                self.own_row = True
        else:
            self.task_enabled = bool(walk_tasks(buffer, self.abi)[1])
            self.enabled = ETHERNET if self.task_enabled else 0

    # --- tables and frames ---------------------------------------------------------------------------------------

    def tables(self) -> dict[str, list[Any]]:
        """What the card's tables should hold, in words of both."""
        own = [(OTHER, 4500)] if self.own_row else []
        return {
            "inbound": sorted(sa.spi for sa in self.sas.values() if sa.inbound),
            "outbound": sorted(sa.spi for sa in self.sas.values() if not sa.inbound),
            "parser": sorted([*self.entries.values(), *own]),
        }

    def verdict(self, frame: bytes) -> str:
        """What the card does with an untagged Ethernet frame of IPv4 without options."""
        if not self.enabled & ETHERNET:
            return "not-enabled"
        protocol, src, dst = frame[23], frame[26:30], frame[30:34]
        if protocol == 50:
            return self._judge(frame[34:], None, src, dst, set())
        if protocol != 17:
            return "not-ipsec"
        port = int.from_bytes(frame[36:38], "big")
        kinds = {kind for kind, entry_port in self.entries.values() if entry_port == port}
        versions = {1} if kinds else set()
        if self.own_row and port == 4500:
            kinds.add(OTHER)
            versions.add(2)
        if not kinds:
            return "no-parser-entry"
        (kind,) = kinds
        payload = frame[42:]
        if payload == b"\xff":
            return "keepalive"
        if kind == IKE and payload:
            if len(payload) <= 16 or payload[:8] != bytes(8):
                return "ike"
            payload = payload[8:]
        elif payload[:4] == bytes(4):
            return "ike"
        if len(payload) < 8:
            return "runt"
        return self._judge(payload, kind, src, dst, versions)

    def _judge(self, esp: bytes, kind: int | None, src: bytes, dst: bytes, versions: set[int]) -> str:
        spi = int.from_bytes(esp[:4], "big")
        candidates = [sa for sa in self.sas.values() if sa.inbound and sa.spi == spi]
        if not candidates:
            return "sa-not-offloaded"
        answer = "filter-mismatch"
        for sa in candidates:
            if not (sa.src in (bytes(4), src) and sa.dst in (bytes(4), dst)):
                continue
            if sa.udp == kind and (kind is None or sa.version in versions):
                return "opened" if open_(sa.keys, esp) else "icv-wrong"
            answer = "encapsulation-mismatch"
        return answer


def v1_sa(add: OffloadIpsecAddSa | OffloadIpsecAddUdpespSa, udp: int | None, dst: bytes, tunnel: bytes) -> Sa:
    """A version 1 association: cipher key first; a tunnel one is found by its end point alone."""
    esp = add.sec_assoc[0]
    cipher, length = V1_KEYS[esp.conf_algo.algo_identifier]
    mac = V1_MACS[esp.integrity_algo.algo_identifier][0]
    keys = OracleSa(cipher, add.key_mat[:length], mac, add.key_mat[length:], 12)
    if any(tunnel):
        return Sa(1, add.flags == 1, esp.spi, udp, bytes(4), tunnel, keys)
    return Sa(1, add.flags == 1, esp.spi, udp, add.src_addr, dst, keys)


def v2_sa(add: IpsecOffloadV2AddSa) -> Sa:
    """A version 2 association with 3DES and SHA-1, found by SPI and destination."""
    esp = add.sec_assoc[0]
    start, length = esp.encryption_algorithm.key_offset_bytes, esp.encryption_algorithm.key_length
    mac_start, mac_length = esp.authentication_algorithm.key_offset_bytes, esp.authentication_algorithm.key_length
    keys = OracleSa(
        "3des", add.key_data[start : start + length], "sha1", add.key_data[mac_start : mac_start + mac_length], 12
    )
    assert add.endpoints.ipv4_endpoints
    udp = OTHER if add.udp_esp_encapsulation else None
    return Sa(2, bool(add.flags & 1), esp.spi, udp, bytes(4), add.endpoints.ipv4_endpoints.dest_addr, keys)


def linked(buffer: bytes, structure: Any, abi: Abi) -> list[tuple[int, Any]]:
    """The elements of a well-formed list whose buffer starts at 0x1000."""
    elements, offset = [], 0
    while True:
        element = structure.unpack(buffer[offset:], abi)
        elements.append((offset, element))
        if not element.next:
            return elements
        offset = element.next - 0x1000
