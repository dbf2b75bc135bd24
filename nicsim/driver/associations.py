"""Version 1 associations: OID_TCP_TASK_IPSEC_ADD_SA, DELETE_SA, ADD_UDPESP_SA and DELETE_UDPESP_SA.

The order of checks is the order of the structure's members; the refusals are those of A-1. Parser entries follow
"UDP-ESP SAs and Parser Entries": shared by type and port, deleted only when the host names them. The driver does not
count (N-PE-4).

Called through control.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nicsim.boundary import (
    EspAuthenticator,
    EspCipher,
    OidRequest,
    OidResult,
    ParserRow,
    Portion,
    SaRow,
    Table,
    UdpType,
)
from nicsim.capabilities import Version1Claims
from nicsim.driver.handles import VERSION_1_PARSER_SET, DriverState, OffloadedSa, ParserEntry
from nicsim.driver.operations import RowOperation, Steps, clear, program
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus, StructureError
from offload_oids.ipsec_sa import (
    OffloadConfAlgo,
    OffloadIntegrityAlgo,
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
    OffloadOperation,
    OffloadSaFlags,
    OffloadSecurityAssociation,
    UdpEncapType,
)
from offload_oids.task_offload import UdpEspParseFlags

INVALID = NdisStatus.INVALID_DATA
UNSUPPORTED = NdisStatus.NOT_SUPPORTED
UDP_ESP_PORT = 4500


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What one algorithm id of OFFLOAD_ALGO_INFO stands for (N-SA-12, N-SA-15)."""

    number: int
    """The card's number for it."""
    key_length: int
    claim: str
    """The member of the claims that must be set."""


CONFIDENTIALITY: dict[int, Algorithm] = {
    OffloadConfAlgo.OFFLOAD_IPSEC_CONF_NONE: Algorithm(EspCipher.NULL, 0, "null_esp"),
    OffloadConfAlgo.OFFLOAD_IPSEC_CONF_DES: Algorithm(EspCipher.DES_CBC, 8, "des"),
    OffloadConfAlgo.OFFLOAD_IPSEC_CONF_3_DES: Algorithm(EspCipher.TRIPLE_DES_CBC, 24, "triple_des"),
}
INTEGRITY: dict[int, Algorithm] = {
    OffloadIntegrityAlgo.OFFLOAD_IPSEC_INTEGRITY_MD5: Algorithm(EspAuthenticator.HMAC_MD5, 16, "md5"),
    OffloadIntegrityAlgo.OFFLOAD_IPSEC_INTEGRITY_SHA: Algorithm(EspAuthenticator.HMAC_SHA1, 20, "sha_1"),
}
ICV_LENGTH = 12

# Either of two subtypes has its UDP-encapsulated layer in transport mode, either of two in tunnel mode (N-ENC-2).
PARSE_FLAGS = {
    (Portion.TRANSPORT, UdpType.OTHER): UdpEspParseFlags.IPSEC_TPT_UDPESP_ENCAPTYPE_OTHER
    | UdpEspParseFlags.IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_OTHER,
    (Portion.TRANSPORT, UdpType.IKE): UdpEspParseFlags.IPSEC_TPT_UDPESP_ENCAPTYPE_IKE
    | UdpEspParseFlags.IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_IKE,
    (Portion.TUNNEL, UdpType.OTHER): UdpEspParseFlags.IPSEC_TUN_UDPESP_ENCAPTYPE_OTHER
    | UdpEspParseFlags.IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER,
    (Portion.TUNNEL, UdpType.IKE): UdpEspParseFlags.IPSEC_TUN_UDPESP_ENCAPTYPE_IKE
    | UdpEspParseFlags.IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_IKE,
}


def add_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_ADD_SA: take on an association whose ESP is native."""
    # UNPACK
    add = OffloadIpsecAddSa.unpack(request.buffer, request.abi)

    # CHECK
    row = checked_row(state, Filter.of_add_sa(add), counted_elements(add), add.key_mat, UdpType.NATIVE)
    table = direction_of(add.flags)
    require_room(state, table, parser=False)

    # ACT
    slot = state.slots[table].take()
    if not (yield from program(state, [RowOperation(table, slot, row)])):
        raise RequestRefused(NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED, f"the card refused {table.value} row {slot}")
    handle = state.new_handle()
    state.associations[handle] = OffloadedSa(handle, 1, table, ((slot, row),))

    # ANSWER
    return added(request, replace(add, offload_handle=handle))


def add_udpesp_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_ADD_UDPESP_SA: take on an association, and the parser entry that finds its packets."""
    # UNPACK
    add = OffloadIpsecAddUdpespSa.unpack(request.buffer, request.abi)

    # CHECK
    table = direction_of(add.flags)
    sa_filter = Filter.of_add_udpesp_sa(add)
    entry = known_entry(state, add) if table is Table.INBOUND else None
    udp_type = entry.udp_type if entry else udp_type_of(add.encap_type_entry.udp_encap_type)
    # An outbound add neither finds, creates nor keeps an entry (N-PE-3, A-37).
    new_entry = table is Table.INBOUND and entry is None
    if new_entry:
        require_parsing(state, udp_type, add.encap_type_entry.dst_encap_port, sa_filter.portion)
    row = checked_row(state, sa_filter, counted_elements(add), add.key_mat, udp_type)
    require_room(state, table, parser=new_entry)

    # ACT
    slot = state.slots[table].take()
    writes = [RowOperation(table, slot, row)]
    if new_entry:
        port = add.encap_type_entry.dst_encap_port
        entry = ParserEntry(state.new_handle(), udp_type, port, state.slots[Table.PARSER].take())
        writes.insert(0, RowOperation(Table.PARSER, entry.slot, ParserRow(port, udp_type, VERSION_1_PARSER_SET)))
    if not (yield from program(state, writes)):
        raise RequestRefused(NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED, f"the card refused {table.value} row {slot}")
    if new_entry and entry:
        state.parser_entries[entry.handle] = entry
    handle = state.new_handle()
    state.associations[handle] = OffloadedSa(handle, 1, table, ((slot, row),))

    # ANSWER
    entry_handle = entry.handle if entry else add.encap_type_entry_offld_handle
    return added(request, replace(add, offload_handle=handle, encap_type_entry_offld_handle=entry_handle))


def delete_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_DELETE_SA: drop an association; one added by ADD_UDPESP_SA leaves its entry (A-21)."""
    # UNPACK
    delete = OffloadIpsecDeleteSa.unpack(request.buffer, request.abi)

    # CHECK
    association = known_association(state, delete.offload_handle)

    # ACT
    del state.associations[association.handle]
    done = yield from clear(state, [(association.table, slot) for slot, _ in association.rows])

    # ANSWER
    return deleted(request, delete.pack(request.abi), done)


def delete_udpesp_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA: drop an association, and the parser entry if it is named (N-DEL-2, 3)."""
    # UNPACK
    delete = OffloadIpsecDeleteUdpespSa.unpack(request.buffer, request.abi)

    # CHECK: both handles, before anything changes
    association = known_association(state, delete.offload_handle)
    entry_handle = delete.encap_type_entry_offld_handle
    if entry_handle and entry_handle not in state.parser_entries:
        raise RequestRefused(INVALID, Reason.UNKNOWN_PARSER_HANDLE, f"no parser entry has handle 0x{entry_handle:x}")

    # ACT: the host counts, so an entry it names goes, whoever still needs it (N-PE-4, A-7)
    del state.associations[association.handle]
    rows = [(association.table, slot) for slot, _ in association.rows]
    if entry_handle:
        rows.append((Table.PARSER, state.parser_entries.pop(entry_handle).slot))
    done = yield from clear(state, rows)

    # ANSWER
    return deleted(request, delete.pack(request.abi), done)


# --- what the handlers check ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filter:
    """The first members of both add structures, which spell them differently (N-VER-3)."""

    src_addr: bytes
    src_mask: bytes
    dst_addr: bytes
    dst_mask: bytes
    src_port: int
    dst_port: int
    src_tunnel_addr: bytes
    dst_tunnel_addr: bytes
    direction: Table

    @classmethod
    def of_add_sa(cls, add: OffloadIpsecAddSa) -> Filter:
        """From OFFLOAD_IPSEC_ADD_SA, whose ports are those of a header inside the ciphertext: not for the card."""
        return cls(
            add.src_addr, add.src_mask, add.dest_addr, add.dest_mask, 0, 0,
            add.src_tunnel_addr, add.dest_tunnel_addr, direction_of(add.flags),
        )  # fmt: skip

    @classmethod
    def of_add_udpesp_sa(cls, add: OffloadIpsecAddUdpespSa) -> Filter:
        """From OFFLOAD_IPSEC_ADD_UDPESP_SA, whose ports are those of the encapsulating UDP header (A-16)."""
        return cls(
            add.src_addr, add.src_mask, add.dst_addr, add.dst_mask, add.src_port, add.dst_port,
            add.src_tunnel_addr, add.dst_tunnel_addr, direction_of(add.flags),
        )  # fmt: skip

    @property
    def portion(self) -> Portion:
        """Tunnel addresses make a tunnel association (N-SA-6)."""
        return Portion.TUNNEL if any(self.src_tunnel_addr) or any(self.dst_tunnel_addr) else Portion.TRANSPORT


def direction_of(flags: int) -> Table:
    """The table that Flags means (N-SA-7)."""
    if flags == OffloadSaFlags.OFFLOAD_INBOUND_SA:
        return Table.INBOUND
    if flags == OffloadSaFlags.OFFLOAD_OUTBOUND_SA:
        return Table.OUTBOUND
    raise RequestRefused(INVALID, Reason.DIRECTION_FLAGS, f"Flags must be 1 (inbound) or 2 (outbound), not {flags}")


def udp_type_of(number: int) -> UdpType:
    """The card's number for a UdpEncapType (N-PE-2)."""
    if number == UdpEncapType.OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_IKE:
        return UdpType.IKE
    if number == UdpEncapType.OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_OTHER:
        return UdpType.OTHER
    raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, f"UdpEncapType must be 0 (IKE) or 1 (OTHER), not {number}")


def known_association(state: DriverState, handle: int) -> OffloadedSa:
    """The version 1 association that a handle names (A-7)."""
    association = state.associations.get(handle)
    if association is None or association.version != 1:
        raise RequestRefused(INVALID, Reason.UNKNOWN_SA_HANDLE, f"no association has handle 0x{handle:x}")
    return association


def known_entry(state: DriverState, add: OffloadIpsecAddUdpespSa) -> ParserEntry | None:
    """The entry that the add names or shares; None when it must be created (N-ADD-2, N-ADD-3, N-ADD-4, A-5)."""
    handle = add.encap_type_entry_offld_handle
    if handle:
        if handle not in state.parser_entries:
            raise RequestRefused(INVALID, Reason.UNKNOWN_PARSER_HANDLE, f"no parser entry has handle 0x{handle:x}")
        return state.parser_entries[handle]
    return state.entry_for(udp_type_of(add.encap_type_entry.udp_encap_type), add.encap_type_entry.dst_encap_port)


def checked_row(
    state: DriverState,
    sa_filter: Filter,
    elements: tuple[OffloadSecurityAssociation, ...],
    key_mat: bytes,
    udp: UdpType,
) -> SaRow:
    """The row that the request asks for, or the first thing that is wrong with it."""
    claims = state.version1
    if claims is None:
        raise RequestRefused(UNSUPPORTED, Reason.NOT_OFFERED, "version 1 is not claimed, or was disabled")
    esp = require_one_esp(elements)
    require_mode(claims, sa_filter, udp)
    cipher, authenticator = require_algorithms(claims, esp)
    cipher_key, authenticator_key = split_keys(state, esp, key_mat)
    # A tunnel association is found by its tunnel end point, a transport one by its filter.
    if sa_filter.portion is Portion.TUNNEL:
        source, source_mask = bytes(4), bytes(4)
        destination, destination_mask = sa_filter.dst_tunnel_addr, exact_mask(sa_filter.dst_tunnel_addr)
    else:
        source, source_mask = filter_address(state, sa_filter.src_addr, sa_filter.src_mask)
        destination, destination_mask = filter_address(state, sa_filter.dst_addr, sa_filter.dst_mask)
    inbound_udp = sa_filter.direction is Table.INBOUND and udp is not UdpType.NATIVE
    return SaRow(
        spi=esp.spi,
        protocol=50,
        family=4,
        portion=sa_filter.portion,
        udp_type=udp,
        parser_set=VERSION_1_PARSER_SET if inbound_udp else 0,
        cipher=cipher.number,
        authenticator=authenticator.number,
        icv_length=ICV_LENGTH,
        source_address=source.ljust(16, b"\0"),
        source_mask=source_mask.ljust(16, b"\0"),
        destination_address=destination.ljust(16, b"\0"),
        destination_mask=destination_mask.ljust(16, b"\0"),
        source_port=sa_filter.src_port if udp is not UdpType.NATIVE else 0,
        destination_port=sa_filter.dst_port if udp is not UdpType.NATIVE else 0,
        then_slot=0,
        cipher_key_length=len(cipher_key),
        authenticator_key_length=len(authenticator_key),
        cipher_key=cipher_key.ljust(32, b"\0"),
        salt=bytes(4),
        authenticator_key=authenticator_key.ljust(32, b"\0"),
    )


def counted_elements(add: OffloadIpsecAddSa | OffloadIpsecAddUdpespSa) -> tuple[OffloadSecurityAssociation, ...]:
    """The elements that NumSAs counts (A-17)."""
    try:
        return add.valid_associations()
    except StructureError as error:
        raise RequestRefused(INVALID, Reason.NUMBER_OF_SAS, str(error)) from None


def require_one_esp(elements: tuple[OffloadSecurityAssociation, ...]) -> OffloadSecurityAssociation:
    """The single ESP element. ESP then AH is the one legal pair, and no card here claims AH (N-SA-9, N-SA-10)."""
    operations = [element.operation for element in elements]
    ah, esp = OffloadOperation.AUTHENTICATE, OffloadOperation.ENCRYPT
    if operations in ([ah], [esp, ah]):
        raise RequestRefused(UNSUPPORTED, Reason.AH_NOT_CLAIMED, "the request needs AH, which the card does not claim")
    if operations != [esp]:
        raise RequestRefused(
            INVALID, Reason.NUMBER_OF_SAS, f"operations must be ESP (2), AH (1), or ESP then AH, not {operations}"
        )
    if elements[0].spi == 0:
        raise RequestRefused(INVALID, Reason.SPI_ZERO, "SPI must not be 0")
    return elements[0]


def require_mode(claims: Version1Claims, sa_filter: Filter, udp: UdpType) -> None:
    """Mode, direction and UDP-ESP subtype must be claimed (N-CAP-9, N-CAP-10)."""
    tunnel = sa_filter.portion is Portion.TUNNEL
    if not (claims.tunnel if tunnel else claims.transport):
        raise RequestRefused(UNSUPPORTED, Reason.MODE_NOT_CLAIMED, f"{sa_filter.portion.name} mode is not claimed")
    if not (claims.receive if sa_filter.direction is Table.INBOUND else claims.send):
        raise RequestRefused(UNSUPPORTED, Reason.MODE_NOT_CLAIMED, f"{sa_filter.direction.value} is not claimed")
    if udp is not UdpType.NATIVE and not claims.udp_esp & PARSE_FLAGS[sa_filter.portion, udp]:
        raise RequestRefused(
            UNSUPPORTED,
            Reason.SUBTYPE_NOT_CLAIMED,
            f"UDP-ESP of type {udp.name} in {sa_filter.portion.name} mode is not claimed",
        )


def require_parsing(state: DriverState, udp: UdpType, port: int, portion: Portion) -> None:
    """The parser entry to create must be one the card can parse, on a port that no other type has (A-5, A-33)."""
    claims = state.version1
    readings = state.capabilities.readings
    if port == 0:
        raise RequestRefused(INVALID, Reason.PORT_NOT_CLAIMED, "DstEncapPort must not be 0")
    if (udp, port) != (UdpType.OTHER, UDP_ESP_PORT):
        ike_flags = claims.udp_esp & PARSE_FLAGS[portion, UdpType.IKE] if claims else 0
        if not (readings.other_ports_need_ike_flags and ike_flags):
            raise RequestRefused(
                INVALID, Reason.PORT_NOT_CLAIMED, f"parser entries must be (OTHER, 4500), not ({udp.name}, {port})"
            )
    if readings.one_parser_type_per_port and state.other_type_on(udp, port):
        raise RequestRefused(
            INVALID, Reason.PORT_HAS_OTHER_TYPE, f"port {port} is parsed as another type than {udp.name} already"
        )


def require_algorithms(claims: Version1Claims, esp: OffloadSecurityAssociation) -> tuple[Algorithm, Algorithm]:
    """Cipher and authenticator: known, claimed, and with the key lengths they need (N-SA-11 to N-SA-15, A-19)."""
    confidentiality, integrity = esp.conf_algo.algo_identifier, esp.integrity_algo.algo_identifier
    cipher = CONFIDENTIALITY.get(confidentiality)
    if cipher is None:
        raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, f"ConfAlgo must be 0, 1 or 3, not {confidentiality}")
    if integrity == OffloadIntegrityAlgo.OFFLOAD_IPSEC_INTEGRITY_NONE:
        raise RequestRefused(INVALID, Reason.NOT_AUTHENTICATED, "ESP without integrity needs AH beside it")
    authenticator = INTEGRITY.get(integrity)
    if authenticator is None:
        raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, f"IntegrityAlgo must be 0, 1 or 2, not {integrity}")
    for algorithm, info in ((cipher, esp.conf_algo), (authenticator, esp.integrity_algo)):
        if not getattr(claims, algorithm.claim):
            raise RequestRefused(UNSUPPORTED, Reason.ALGORITHM_NOT_CLAIMED, f"{algorithm.claim} is not claimed")
        if info.algo_keylen != algorithm.key_length:
            raise RequestRefused(
                INVALID,
                Reason.KEY_LENGTH,
                f"{algorithm.claim} needs a key of {algorithm.key_length} bytes, {info.algo_keylen} came",
            )
    return cipher, authenticator


def split_keys(state: DriverState, esp: OffloadSecurityAssociation, key_mat: bytes) -> tuple[bytes, bytes]:
    """The confidentiality and the integrity key, in the order that A-2 reads (N-SA-16)."""
    cipher_length, authenticator_length = esp.conf_algo.algo_keylen, esp.integrity_algo.algo_keylen
    if len(key_mat) != cipher_length + authenticator_length:
        raise RequestRefused(
            INVALID,
            Reason.KEY_LENGTH,
            f"KeyLen must be {cipher_length} + {authenticator_length} bytes, {len(key_mat)} came",
        )
    if state.capabilities.readings.confidentiality_key_first:
        return key_mat[:cipher_length], key_mat[cipher_length:]
    return key_mat[authenticator_length:], key_mat[:authenticator_length]


def exact_mask(address: bytes) -> bytes:
    """The mask that compares a whole address, or nothing where the address is zero (N-SA-3)."""
    return b"\xff" * len(address) if any(address) else bytes(len(address))


def filter_address(state: DriverState, address: bytes, mask: bytes) -> tuple[bytes, bytes]:
    """Address and mask as the row holds them: address zero is any; mask zero by A-15."""
    if not any(address):
        return address, bytes(len(address))
    if not any(mask) and not state.capabilities.readings.mask_zero_is_any:
        return address, exact_mask(address)
    return address, mask


def require_room(state: DriverState, table: Table, *, parser: bool) -> None:
    """A free slot in the table, and in the parser table if an entry is to be created (A-1, N-SA-23)."""
    if not state.slots[table].free():
        full = state.slots[table].capacity
        raise RequestRefused(NdisStatus.RESOURCES, Reason.SA_TABLE_FULL, f"all {full} {table.value} rows are taken")
    if parser and not state.slots[Table.PARSER].free():
        full = state.slots[Table.PARSER].capacity
        raise RequestRefused(NdisStatus.RESOURCES, Reason.PARSER_TABLE_FULL, f"all {full} parser rows are taken")


# --- how they answer -----------------------------------------------------------------------------------------


def added(request: OidRequest, add: OffloadIpsecAddSa | OffloadIpsecAddUdpespSa) -> OidResult:
    """The same structure goes back with its handles filled in (N-SA-17)."""
    answer = add.pack(request.abi)
    return OidResult(NdisStatus.SUCCESS, answer + request.buffer[len(answer) :], bytes_read=len(answer))


def deleted(request: OidRequest, read: bytes, done: bool) -> OidResult:
    """A delete has nothing to write back; a row that would not clear fails it (N-DEL-4)."""
    if done:
        return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=len(read))
    return OidResult(NdisStatus.FAILURE, request.buffer, len(read), reason=Reason.ROW_CLEAR_FAILED)
