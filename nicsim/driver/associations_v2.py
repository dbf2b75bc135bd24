"""Version 2 associations: OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA and DELETE_SA, the direct OIDs of NDIS 6.1.

Both take lists linked by pointers inside the request's own buffer (A-38). An add succeeds if any of its associations
was taken on; those that were not get a NULL handle (N-V2-11). There are no parser entries to manage: enabling gives
the card one row for port 4500 (N-V2-8, A-34).

Called through control.py.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TypeVar

from nicsim.boundary import EspAuthenticator, EspCipher, OidRequest, OidResult, Portion, SaRow, Table, UdpType
from nicsim.capabilities import Version2Claims
from nicsim.driver.handles import VERSION_2_PARSER_SET, DriverState, OffloadedSa
from nicsim.driver.operations import Accepted, Operation, Steps, clear
from nicsim.driver.placement import exact_mask, given_up, place, require_room, wire_ordered, write_all
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus
from offload_oids.ipsec_sa_v2 import (
    IpsecOffloadV2AddFlags,
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AlgorithmInfo,
    IpsecOffloadV2DeleteSa,
    IpsecOffloadV2Operation,
    IpsecOffloadV2SaFlags,
    IpsecOffloadV2SecurityAssociation,
)
from offload_oids.layout import StructureError, TooShort, align_of, size_through
from offload_oids.ndis_offload import (
    IpsecOffloadV2Authentication,
    IpsecOffloadV2Encryption,
    IpsecOffloadV2UdpEsp,
    NdisObjectHeader,
    NdisObjectType,
)

INVALID = NdisStatus.INVALID_DATA
UNSUPPORTED = NdisStatus.NOT_SUPPORTED
SALT_LENGTH = 4
# An int: the inverse of an IntFlag has no bits beyond those it knows.
KNOWN_FLAGS = int(IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_INBOUND | IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_IPv6)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What one algorithm identifier stands for. Lengths in bytes; a GCM key comes with its salt (A-31)."""

    number: int
    key_length: int
    icv_length: int = 0


AH, ESP = IpsecOffloadV2Operation.IPsecOffloadV2Ah, IpsecOffloadV2Operation.IPsecOffloadV2Esp
E, A = IpsecOffloadV2Encryption, IpsecOffloadV2Authentication
ENCRYPTION: dict[int, Algorithm] = {
    E.IPSEC_OFFLOAD_V2_ENCRYPTION_NONE: Algorithm(EspCipher.NULL, 0),
    E.IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC: Algorithm(EspCipher.DES_CBC, 8),
    E.IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC: Algorithm(EspCipher.TRIPLE_DES_CBC, 24),
    E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128: Algorithm(EspCipher.AES_GCM, 16 + SALT_LENGTH),
    E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192: Algorithm(EspCipher.AES_GCM, 24 + SALT_LENGTH),
    E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256: Algorithm(EspCipher.AES_GCM, 32 + SALT_LENGTH),
    E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128: Algorithm(EspCipher.AES_CBC, 16),
    E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192: Algorithm(EspCipher.AES_CBC, 24),
    E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256: Algorithm(EspCipher.AES_CBC, 32),
}
AUTHENTICATION: dict[int, Algorithm] = {
    A.IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5: Algorithm(EspAuthenticator.HMAC_MD5, 16, 12),
    A.IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1: Algorithm(EspAuthenticator.HMAC_SHA1, 20, 12),
    A.IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256: Algorithm(EspAuthenticator.HMAC_SHA2_256, 32, 16),
}
NO_CIPHER, NO_AUTHENTICATOR = Algorithm(EspCipher.NULL, 0), Algorithm(EspAuthenticator.NONE, 0)
GCM_ICV_LENGTHS = (8, 12, 16)

U = IpsecOffloadV2UdpEsp
# Only one layer can be a lone ESP payload in UDP: the two combinations need both layers (N-ENC-2).
PORTION_OF: dict[int, Portion] = {
    U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT: Portion.TRANSPORT,
    U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL: Portion.TUNNEL,
    U.IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL: Portion.TUNNEL,
    U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL: Portion.TRANSPORT,
}


def add_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA: take on as many of the list as possible."""
    # UNPACK
    adds, used = linked(request, IpsecOffloadV2AddSa)

    # CHECK: each of the list by itself; those that are refused get handle 0
    buffer = bytearray(request.buffer)
    refusal: RequestRefused | None = None
    accepted: list[tuple[int, IpsecOffloadV2AddSa, OffloadedSa]] = []
    for offset, add in adds:
        try:
            association = checked_association(state, add, request)
        except RequestRefused as error:
            refusal = refusal or error
            put(buffer, offset, replace(add, offload_handle=0), request.abi)
        else:
            accepted.append((offset, add, association))
            put(buffer, offset, replace(add, offload_handle=association.handle), request.abi)
    if not accepted and refusal:
        raise refusal

    # ACT: each is taken on whole or not at all
    yield Accepted(bytes(buffer))
    taken: list[OffloadedSa] = []
    for offset, add, association in accepted:
        try:
            yield from write_all(state, association.table, association.rows)
            taken.append(association)
        except RequestRefused as error:
            refusal = refusal or error
            put(buffer, offset, replace(add, offload_handle=0), request.abi)
    if not taken and refusal:
        raise refusal
    # Remembered all at once, so that a reset in between brings none of an unfinished list back (N-V2-11).
    state.associations.update((association.handle, association) for association in taken)

    # ANSWER
    reason = refusal.reason if refusal else None
    return OidResult(NdisStatus.SUCCESS, bytes(buffer), bytes_read=used, reason=reason)


def checked_association(state: DriverState, add: IpsecOffloadV2AddSa, request: OidRequest) -> OffloadedSa:
    """One association with a handle and slots of its own, or the first thing that is wrong with it."""
    table, rows = checked_rows(state, in_wire_order(state, add, request.abi), request)
    require_room(state, table, rows, parser=False)
    return OffloadedSa(state.new_handle(), 2, table, place(state, table, rows))


def in_wire_order(state: DriverState, add: IpsecOffloadV2AddSa, abi: Abi) -> IpsecOffloadV2AddSa:
    """The add with SPIs and IPv4 addresses as a packet has them, whichever way the host wrote them (A-28)."""
    ordered = wire_ordered(state, add, abi)
    is_ipv6 = add.flags & IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_IPv6
    return replace(ordered, endpoints=add.endpoints) if is_ipv6 else ordered


def take_on(state: DriverState, association: OffloadedSa) -> Generator[Operation, bool | None, None]:
    """Write the rows of an association that was found right, all or none, and remember it."""
    yield from write_all(state, association.table, association.rows)
    state.associations[association.handle] = association


def put(buffer: bytearray, offset: int, add: IpsecOffloadV2AddSa, abi: Abi) -> None:
    """Write one element of a list back to its place."""
    raw = add.pack(abi)
    buffer[offset : offset + len(raw)] = raw


def delete_sa(state: DriverState, request: OidRequest) -> Steps:
    """OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: drop every association of the list (N-V2-12)."""
    # UNPACK
    deletes, used = linked(request, IpsecOffloadV2DeleteSa)
    handles = [delete.offload_handle for _, delete in deletes]

    # CHECK: all handles, before anything changes
    named: set[int] = set()
    for handle in handles:
        association = state.associations.get(handle)
        if association is None or association.version != 2 or handle in named:
            raise RequestRefused(INVALID, Reason.UNKNOWN_SA_HANDLE, f"no version 2 association has handle 0x{handle:x}")
        named.add(handle)

    # ACT: all of them are gone for the host before the first row is, so that a reset in between brings none back
    associations = [state.associations.pop(handle) for handle in handles]
    state.withdrawn.difference_update(handles)
    done = yield from clear(state, [place for sa in associations for place in given_up(state, sa)])

    # ANSWER: a delete that pended must end with SUCCESS; a row that would not clear is marked (N-DEL-4)
    reason = None if done else Reason.ROW_CLEAR_FAILED
    return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=used, reason=reason)


# --- lists -----------------------------------------------------------------------------------------------------

Linked = TypeVar("Linked", IpsecOffloadV2AddSa, IpsecOffloadV2DeleteSa)
LAST_FIXED_MEMBER = {IpsecOffloadV2AddSa: "key_data", IpsecOffloadV2DeleteSa: "offload_handle"}


def linked(request: OidRequest, structure: type[Linked]) -> tuple[list[tuple[int, Linked]], int]:
    """The elements of a list with their offsets, and where the last one in the buffer ends.

    Every pointer is checked before it is followed (A-38).
    """
    elements: list[tuple[int, Linked]] = []
    view, taken, offset = memoryview(request.buffer), bytearray(len(request.buffer)), 0
    expected = NdisObjectHeader(
        NdisObjectType.NDIS_OBJECT_TYPE_DEFAULT, 1, size_through(structure, LAST_FIXED_MEMBER[structure], request.abi)
    )
    while True:
        try:
            element = structure.unpack(view[offset:], request.abi)
        except TooShort as error:
            raise TooShort(f"list element at offset {offset}", offset + error.needed, len(view)) from None
        if (element.header.type, element.header.revision) != (expected.type, expected.revision) or (
            element.header.size < expected.size
        ):
            raise RequestRefused(
                INVALID,
                Reason.HEADER_WRONG,
                f"the header at offset {offset} must say type 0x80, revision 1, size {expected.size} or more",
            )
        end = offset + len(element.pack(request.abi))
        if taken.find(1, offset, end) >= 0:
            raise RequestRefused(INVALID, Reason.POINTER_WRONG, f"the element at offset {offset} lies in another one")
        taken[offset:end] = b"\1" * (end - offset)
        elements.append((offset, element))
        if not element.next:
            return elements, taken.rfind(1) + 1
        offset = element.next - request.base
        if not 0 <= offset < len(view) or offset % align_of(structure, request.abi):
            raise RequestRefused(INVALID, Reason.POINTER_WRONG, f"Next 0x{element.next:x} is no place in the buffer")


# --- checks ----------------------------------------------------------------------------------------------------


def checked_rows(state: DriverState, add: IpsecOffloadV2AddSa, request: OidRequest) -> tuple[Table, tuple[SaRow, ...]]:
    """The table, and the rows that an add asks for in the order of processing (A-18), or what is wrong with it."""
    claims = state.version2
    if claims is None:
        raise RequestRefused(UNSUPPORTED, Reason.NOT_OFFERED, "version 2 is not claimed, or was disabled")
    if add.flags & ~KNOWN_FLAGS:
        raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, f"Flags has unknown bits: 0x{add.flags:x}")
    table = Table.INBOUND if add.flags & IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_INBOUND else Table.OUTBOUND
    elements = require_elements(claims, add)
    rows = tuple(row_for(state, claims, add, element, table, beside_ah=len(elements) > 1) for element in elements)
    return table, rows if table is Table.OUTBOUND else rows[::-1]


def row_for(
    state: DriverState,
    claims: Version2Claims,
    add: IpsecOffloadV2AddSa,
    element: IpsecOffloadV2SecurityAssociation,
    table: Table,
    *,
    beside_ah: bool,
) -> SaRow:
    """The row of one element, or the first thing that is wrong with it; `place` links it to the other one."""
    source, destination, family = endpoints(claims, add)
    udp_type, portion = encapsulation(state, claims, add)
    if element.operation == AH:
        cipher, cipher_key, salt, icv_length = NO_CIPHER, b"", bytes(SALT_LENGTH), 0
        require_no_encryption(element)
    else:
        cipher, cipher_key, salt, icv_length = require_encryption(claims, element, add.key_data)
    authenticator, authenticator_key = require_authentication(
        claims, element, add.key_data, cipher, beside_ah=beside_ah
    )
    return SaRow(
        spi=element.spi,
        protocol=51 if element.operation == AH else 50,
        family=family,
        portion=portion,
        udp_type=udp_type,
        parser_set=VERSION_2_PARSER_SET if table is Table.INBOUND and udp_type is not UdpType.NATIVE else 0,
        cipher=cipher.number,
        authenticator=authenticator.number,
        icv_length=icv_length or authenticator.icv_length,
        extended=int(bool(element.flags & IpsecOffloadV2SaFlags.IPSEC_OFFLOAD_V2_ESN_SA)),
        linked=0,
        # Found by SPI and destination; the source is not compared on receive (N-V2-17).
        source_address=source.ljust(16, b"\0"),
        source_mask=bytes(16),
        destination_address=destination.ljust(16, b"\0"),
        destination_mask=exact_mask(destination).ljust(16, b"\0"),
        source_port=0,
        destination_port=0,
        then_slot=0,
        sequence_high=element.sequence_number_high_order,
        cipher_key_length=len(cipher_key),
        authenticator_key_length=len(authenticator_key),
        cipher_key=cipher_key.ljust(32, b"\0"),
        salt=salt,
        authenticator_key=authenticator_key.ljust(32, b"\0"),
    )


def require_elements(claims: Version2Claims, add: IpsecOffloadV2AddSa) -> tuple[IpsecOffloadV2SecurityAssociation, ...]:
    """ESP, AH, or the one legal pair: ESP, then AH (N-V2-7, N-V2-9). AH never rides in UDP."""
    try:
        elements = add.valid_associations()
    except StructureError as error:
        raise RequestRefused(INVALID, Reason.NUMBER_OF_SAS, str(error)) from None
    operations = [element.operation for element in elements]
    if operations not in ([AH], [ESP], [ESP, AH]):
        raise RequestRefused(
            INVALID, Reason.NUMBER_OF_SAS, f"operations must be ESP (2), AH (1), or ESP then AH, not {operations}"
        )
    native = add.udp_esp_encapsulation == U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE
    claimed = claims.ah and native and (len(operations) == 1 or claims.ah_esp_combined)
    if AH in operations and not claimed:
        raise RequestRefused(UNSUPPORTED, Reason.AH_NOT_CLAIMED, "the request needs AH, which the card does not claim")
    if ESP in operations and not claims.esp:
        raise RequestRefused(
            UNSUPPORTED, Reason.ESP_NOT_CLAIMED, "the request needs ESP, which the card does not claim"
        )
    for element in elements:
        if element.spi == 0:
            raise RequestRefused(INVALID, Reason.SPI_ZERO, "Spi must not be 0")
        if element.flags & IpsecOffloadV2SaFlags.IPSEC_OFFLOAD_V2_ESN_SA and not claims.extended_sequence_numbers:
            raise RequestRefused(UNSUPPORTED, Reason.ESN_NOT_CLAIMED, "extended sequence numbers are not claimed")
    return elements


def endpoints(claims: Version2Claims, add: IpsecOffloadV2AddSa) -> tuple[bytes, bytes, int]:
    """Source, destination and IP version of an add (N-V2-8)."""
    if add.flags & IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_IPv6:
        if not claims.ipv6:
            raise RequestRefused(UNSUPPORTED, Reason.IPV6_NOT_CLAIMED, "IPv6 is not claimed")
        arm6 = add.endpoints.ipv6_endpoints
        assert arm6 is not None  # unpacking fills every arm
        return arm6.src_addr, arm6.dest_addr, 6
    arm4 = add.endpoints.ipv4_endpoints
    assert arm4 is not None
    return arm4.src_addr, arm4.dest_addr, 4


def encapsulation(state: DriverState, claims: Version2Claims, add: IpsecOffloadV2AddSa) -> tuple[UdpType, Portion]:
    """How the packets ride, and which portion they protect (N-V2-2, A-35)."""
    flag = add.udp_esp_encapsulation
    if flag == U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE:
        transport = state.capabilities.readings.lone_native_esp_is_transport
        return UdpType.NATIVE, Portion.TRANSPORT if transport else Portion.TUNNEL
    portion = PORTION_OF.get(flag)
    if portion is None:
        raise RequestRefused(
            INVALID, Reason.BUFFER_CONTENTS, f"UdpEspEncapsulation must be 0, 1, 2, 4 or 8, not {flag}"
        )
    over_ipv6 = add.flags & IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_IPv6
    if over_ipv6 and not state.capabilities.readings.version2_udp_esp_over_ipv6:
        raise RequestRefused(UNSUPPORTED, Reason.SUBTYPE_NOT_CLAIMED, "version 2 has UDP-ESP over IPv4 only")
    if not claims.udp_esp & flag:
        raise RequestRefused(UNSUPPORTED, Reason.SUBTYPE_NOT_CLAIMED, f"UDP-ESP subtype flag {flag} is not claimed")
    return UdpType.OTHER, portion


def require_encryption(
    claims: Version2Claims, esp: IpsecOffloadV2SecurityAssociation, key_data: bytes
) -> tuple[Algorithm, bytes, bytes, int]:
    """Cipher, key, salt, and for AES-GCM the ICV length that AdditionalInfo says (N-V2-9, A-31)."""
    info = esp.encryption_algorithm
    identifier = info.identifier or E.IPSEC_OFFLOAD_V2_ENCRYPTION_NONE
    algorithm = ENCRYPTION.get(identifier)
    if algorithm is None:
        raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, f"encryption identifier 0x{identifier:x} is not defined")
    if not claims.encryption & identifier:
        raise RequestRefused(
            UNSUPPORTED, Reason.ALGORITHM_NOT_CLAIMED, f"encryption {E(identifier).name} is not claimed"
        )
    key = key_of(info, algorithm, key_data)
    if algorithm.number != EspCipher.AES_GCM:
        return algorithm, key, bytes(SALT_LENGTH), 0
    if info.additional_info not in GCM_ICV_LENGTHS:
        raise RequestRefused(
            INVALID, Reason.BUFFER_CONTENTS, f"AdditionalInfo must be an ICV of 8, 12 or 16, not {info.additional_info}"
        )
    return algorithm, key[:-SALT_LENGTH], key[-SALT_LENGTH:], info.additional_info


def require_no_encryption(element: IpsecOffloadV2SecurityAssociation) -> None:
    """EncryptionAlgorithm of AH is zero (N-V2-9)."""
    if element.encryption_algorithm != IpsecOffloadV2AlgorithmInfo():
        raise RequestRefused(INVALID, Reason.BUFFER_CONTENTS, "EncryptionAlgorithm of AH must be all zeros")


def require_authentication(
    claims: Version2Claims,
    element: IpsecOffloadV2SecurityAssociation,
    key_data: bytes,
    cipher: Algorithm,
    *,
    beside_ah: bool,
) -> tuple[Algorithm, bytes]:
    """Authenticator and key; AES-GCM brings its own and uses only EncryptionAlgorithm (N-V2-9)."""
    if cipher.number == EspCipher.AES_GCM:
        return NO_AUTHENTICATOR, b""
    info = element.authentication_algorithm
    if not info.identifier:
        # ESP may leave that to AH beside it, but not lack encryption too (A-29, RFC 4303).
        if element.operation == ESP and beside_ah and cipher.number != EspCipher.NULL:
            return NO_AUTHENTICATOR, b""
        raise RequestRefused(
            INVALID, Reason.NOT_AUTHENTICATED, "ESP without authentication needs encryption, and AH beside it"
        )
    algorithm = AUTHENTICATION.get(info.identifier)
    if algorithm is None or not claims.authentication & info.identifier:
        raise RequestRefused(
            UNSUPPORTED, Reason.ALGORITHM_NOT_CLAIMED, f"authentication 0x{info.identifier:x} is not claimed here"
        )
    return algorithm, key_of(info, algorithm, key_data)


def key_of(info: IpsecOffloadV2AlgorithmInfo, algorithm: Algorithm, key_data: bytes) -> bytes:
    """The bytes at the algorithm's own offset into KeyData (N-V2-10)."""
    if info.key_length != algorithm.key_length:
        raise RequestRefused(
            INVALID, Reason.KEY_LENGTH, f"the key needs {algorithm.key_length} bytes, KeyLength says {info.key_length}"
        )
    if info.key_offset_bytes + info.key_length > len(key_data):
        raise RequestRefused(
            INVALID,
            Reason.KEY_LENGTH,
            f"the key ends at {info.key_offset_bytes + info.key_length} in KeyData of {len(key_data)} bytes",
        )
    return key_data[info.key_offset_bytes : info.key_offset_bytes + info.key_length]
