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
from nicsim.driver.operations import Accepted, RowOperation, Steps, clear, program
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus, StructureError
from offload_oids.ipsec_sa import (
    OffloadAlgoInfo,
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
    """The member of the claims that must be set; empty for what needs none."""


CONFIDENTIALITY: dict[int, Algorithm] = {
    OffloadConfAlgo.OFFLOAD_IPSEC_CONF_NONE: Algorithm(EspCipher.NULL, 0, "null_esp"),
    OffloadConfAlgo.OFFLOAD_IPSEC_CONF_DES: Algorithm(EspCipher.DES_CBC, 8, "des"),
    OffloadConfAlgo.OFFLOAD_IPSEC_CONF_3_DES: Algorithm(EspCipher.TRIPLE_DES_CBC, 24, "triple_des"),
}
INTEGRITY: dict[int, Algorithm] = {
    OffloadIntegrityAlgo.OFFLOAD_IPSEC_INTEGRITY_NONE: Algorithm(EspAuthenticator.NONE, 0, ""),
    OffloadIntegrityAlgo.OFFLOAD_IPSEC_INTEGRITY_MD5: Algorithm(EspAuthenticator.HMAC_MD5, 16, "md5"),
    OffloadIntegrityAlgo.OFFLOAD_IPSEC_INTEGRITY_SHA: Algorithm(EspAuthenticator.HMAC_SHA1, 20, "sha_1"),
}
NO_CIPHER = Algorithm(EspCipher.NULL, 0, "")
"""AH encrypts nothing, and needs no claim of null encryption for that."""
ICV_LENGTH = 12
PROTOCOL_OF: dict[int, int] = {OffloadOperation.AUTHENTICATE: 51, OffloadOperation.ENCRYPT: 50}

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
    rows = checked_rows(state, Filter.of_add_sa(add), counted_elements(add), add.key_mat, UdpType.NATIVE)
    table = direction_of(add.flags)
    require_room(state, table, len(rows), parser=False)

    # ACT
    placed = place(state, table, rows)
    handle = state.new_handle()
    answer = added(request, replace(add, offload_handle=handle))
    yield Accepted(answer.buffer)
    if not (yield from program(state, writes_of(table, placed))):
        raise row_refused(table, placed)
    state.associations[handle] = OffloadedSa(handle, 1, table, placed)

    # ANSWER
    return answer


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
    rows = checked_rows(state, sa_filter, counted_elements(add), add.key_mat, udp_type)
    require_room(state, table, len(rows), parser=new_entry)

    # ACT
    placed = place(state, table, rows)
    writes = writes_of(table, placed)
    if new_entry:
        port = add.encap_type_entry.dst_encap_port
        entry = ParserEntry(state.new_handle(), udp_type, port, state.slots[Table.PARSER].take())
        writes.insert(0, RowOperation(Table.PARSER, entry.slot, ParserRow(port, udp_type, VERSION_1_PARSER_SET)))
    handle = state.new_handle()
    entry_handle = entry.handle if entry else add.encap_type_entry_offld_handle
    answer = added(request, replace(add, offload_handle=handle, encap_type_entry_offld_handle=entry_handle))
    yield Accepted(answer.buffer)
    if not (yield from program(state, writes)):
        raise row_refused(table, placed)
    if new_entry and entry:
        state.parser_entries[entry.handle] = entry
    state.associations[handle] = OffloadedSa(handle, 1, table, placed)

    # ANSWER
    return answer


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


def checked_rows(
    state: DriverState,
    sa_filter: Filter,
    elements: tuple[OffloadSecurityAssociation, ...],
    key_mat: bytes,
    udp: UdpType,
) -> tuple[SaRow, ...]:
    """The rows that the request asks for in the order of processing, or the first thing that is wrong with it.

    The host lists them as the sender processes them; the receiver checks AH first (N-SA-9, A-18).
    """
    claims = state.version1
    if claims is None:
        raise RequestRefused(UNSUPPORTED, Reason.NOT_OFFERED, "version 1 is not claimed, or was disabled")
    require_elements(claims, elements, udp)
    require_mode(claims, sa_filter, udp)
    algorithms = [require_algorithms(claims, element, beside_ah=len(elements) > 1) for element in elements]
    keys = split_keys(state, elements, key_mat)
    rows = tuple(
        row_for(state, sa_filter, element, choice, pair, udp)
        for element, choice, pair in zip(elements, algorithms, keys, strict=True)
    )
    return rows if sa_filter.direction is Table.OUTBOUND else rows[::-1]


def row_for(
    state: DriverState,
    sa_filter: Filter,
    element: OffloadSecurityAssociation,
    algorithms: tuple[Algorithm, Algorithm],
    keys: tuple[bytes, bytes],
    udp: UdpType,
) -> SaRow:
    """The row of one element that was found right; `place` links it to the other one."""
    cipher, authenticator = algorithms
    cipher_key, authenticator_key = keys
    # A tunnel association is found by its tunnel end point, a transport one by its filter.
    if sa_filter.portion is Portion.TUNNEL:
        source, source_mask = bytes(4), bytes(4)
        destination, destination_mask = sa_filter.dst_tunnel_addr, exact_mask(sa_filter.dst_tunnel_addr)
    else:
        source, source_mask = filter_address(state, sa_filter.src_addr, sa_filter.src_mask)
        destination, destination_mask = filter_address(state, sa_filter.dst_addr, sa_filter.dst_mask)
    inbound_udp = sa_filter.direction is Table.INBOUND and udp is not UdpType.NATIVE
    return SaRow(
        spi=element.spi,
        protocol=PROTOCOL_OF[element.operation],
        family=4,
        portion=sa_filter.portion,
        udp_type=udp,
        parser_set=VERSION_1_PARSER_SET if inbound_udp else 0,
        cipher=cipher.number,
        authenticator=authenticator.number,
        icv_length=ICV_LENGTH if authenticator.number else 0,
        extended=0,
        linked=0,
        source_address=source.ljust(16, b"\0"),
        source_mask=source_mask.ljust(16, b"\0"),
        destination_address=destination.ljust(16, b"\0"),
        destination_mask=destination_mask.ljust(16, b"\0"),
        source_port=sa_filter.src_port if udp is not UdpType.NATIVE else 0,
        destination_port=sa_filter.dst_port if udp is not UdpType.NATIVE else 0,
        then_slot=0,
        sequence_high=0,
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


def require_elements(claims: Version1Claims, elements: tuple[OffloadSecurityAssociation, ...], udp: UdpType) -> None:
    """ESP, AH, or the one legal pair: ESP, then AH (N-SA-9, N-SA-10). AH never rides in UDP."""
    operations = [element.operation for element in elements]
    ah, esp = OffloadOperation.AUTHENTICATE, OffloadOperation.ENCRYPT
    if operations not in ([ah], [esp], [esp, ah]):
        raise RequestRefused(
            INVALID, Reason.NUMBER_OF_SAS, f"operations must be ESP (2), AH (1), or ESP then AH, not {operations}"
        )
    claimed = claims.ah and udp is UdpType.NATIVE and (len(operations) == 1 or claims.ah_esp_combined)
    if ah in operations and not claimed:
        raise RequestRefused(UNSUPPORTED, Reason.AH_NOT_CLAIMED, "the request needs AH, which the card does not claim")
    if any(element.spi == 0 for element in elements):
        raise RequestRefused(INVALID, Reason.SPI_ZERO, "SPI must not be 0")


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


def require_algorithms(
    claims: Version1Claims, element: OffloadSecurityAssociation, *, beside_ah: bool
) -> tuple[Algorithm, Algorithm]:
    """Cipher and authenticator: known, claimed, and with the key lengths they need (N-SA-11 to N-SA-15, A-19)."""
    confidentiality, integrity = element.conf_algo.algo_identifier, element.integrity_algo.algo_identifier
    is_ah = element.operation == OffloadOperation.AUTHENTICATE
    if is_ah and element.conf_algo != OffloadAlgoInfo():
        raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, "ConfAlgo of AH must be all zeros")
    cipher = NO_CIPHER if is_ah else CONFIDENTIALITY.get(confidentiality)
    if cipher is None:
        raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, f"ConfAlgo must be 0, 1 or 3, not {confidentiality}")
    if integrity == OffloadIntegrityAlgo.OFFLOAD_IPSEC_INTEGRITY_NONE:
        require_authenticated(element, beside_ah=beside_ah)
    authenticator = INTEGRITY.get(integrity)
    if authenticator is None:
        raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, f"IntegrityAlgo must be 0, 1 or 2, not {integrity}")
    for algorithm, info in ((cipher, element.conf_algo), (authenticator, element.integrity_algo)):
        if algorithm.claim and not getattr(claims, algorithm.claim):
            raise RequestRefused(UNSUPPORTED, Reason.ALGORITHM_NOT_CLAIMED, f"{algorithm.claim} is not claimed")
        if info.algo_keylen != algorithm.key_length:
            raise RequestRefused(
                INVALID,
                Reason.KEY_LENGTH,
                f"{algorithm.claim} needs a key of {algorithm.key_length} bytes, {info.algo_keylen} came",
            )
    return cipher, authenticator


def require_authenticated(element: OffloadSecurityAssociation, *, beside_ah: bool) -> None:
    """Without integrity of its own there must be AH, and encryption: ESP may not lack both (A-29, RFC 4303)."""
    encrypts = element.conf_algo.algo_identifier != OffloadConfAlgo.OFFLOAD_IPSEC_CONF_NONE
    if element.operation == OffloadOperation.AUTHENTICATE or not beside_ah or not encrypts:
        raise RequestRefused(
            INVALID, Reason.NOT_AUTHENTICATED, "ESP without integrity needs encryption, and AH beside it"
        )


def split_keys(
    state: DriverState, elements: tuple[OffloadSecurityAssociation, ...], key_mat: bytes
) -> list[tuple[bytes, bytes]]:
    """The confidentiality and the integrity key of each element, in element order and as A-2 reads (N-SA-16)."""
    lengths = [(element.conf_algo.algo_keylen, element.integrity_algo.algo_keylen) for element in elements]
    needed = sum(cipher + authenticator for cipher, authenticator in lengths)
    if len(key_mat) != needed:
        raise RequestRefused(INVALID, Reason.KEY_LENGTH, f"KeyLen must be {needed} bytes, {len(key_mat)} came")
    pairs, at = [], 0
    for cipher, authenticator in lengths:
        own = key_mat[at : at + cipher + authenticator]
        if state.capabilities.readings.confidentiality_key_first:
            pairs.append((own[:cipher], own[cipher:]))
        else:
            pairs.append((own[authenticator:], own[:authenticator]))
        at += len(own)
    return pairs


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


def require_room(state: DriverState, table: Table, rows: int, *, parser: bool) -> None:
    """Free slots in the table, and one in the parser table if an entry is to be created (A-1, N-SA-23)."""
    free, full = state.slots[table].free(), state.slots[table].capacity
    if free < rows:
        raise RequestRefused(
            NdisStatus.RESOURCES,
            Reason.SA_TABLE_FULL,
            f"all {full} {table.value} rows are taken" if not free else f"{rows} rows are needed, {free} are free",
        )
    if parser and not state.slots[Table.PARSER].free():
        full = state.slots[Table.PARSER].capacity
        raise RequestRefused(NdisStatus.RESOURCES, Reason.PARSER_TABLE_FULL, f"all {full} parser rows are taken")


# --- where the rows go ---------------------------------------------------------------------------------------


def place(state: DriverState, table: Table, rows: tuple[SaRow, ...]) -> tuple[tuple[int, SaRow], ...]:
    """A slot for each row of one association, each row linked to the next one in the order of processing."""
    placed: list[tuple[int, SaRow]] = []
    then = 0
    for row in reversed(rows):
        slot = state.slots[table].take()
        placed.insert(0, (slot, replace(row, then_slot=then, linked=int(row is not rows[0]))))
        then = slot + 1
    return tuple(placed)


def writes_of(table: Table, placed: tuple[tuple[int, SaRow], ...]) -> list[RowOperation]:
    """The writes of one association: a row that another one names is there before it."""
    return [RowOperation(table, slot, row) for slot, row in reversed(placed)]


def row_refused(table: Table, placed: tuple[tuple[int, SaRow], ...]) -> RequestRefused:
    """The card did not take a row (N-ADD-6)."""
    slots = " and ".join(str(slot) for slot, _ in placed)
    return RequestRefused(
        NdisStatus.FAILURE, Reason.ROW_WRITE_FAILED, f"the card refused a row of {table.value} association {slots}"
    )


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
