"""What OFFLOAD_IPSEC_ADD_SA and OFFLOAD_IPSEC_ADD_UDPESP_SA must look like, and the rows they ask for.

The order of checks is the order of the structure's members; the refusals are those of A-1. Nothing here changes
anything.

Used by associations.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from nicsim.boundary import EspAuthenticator, EspCipher, Portion, SaRow, Table, UdpType
from nicsim.capabilities import Version1Claims
from nicsim.driver.handles import VERSION_1_PARSER_SET, DriverState
from nicsim.driver.placement import exact_mask
from nicsim.errors import RequestRefused
from nicsim.reasons import Reason
from offload_oids import NdisStatus, StructureError
from offload_oids.ipsec_sa import (
    OffloadAlgoInfo,
    OffloadConfAlgo,
    OffloadIntegrityAlgo,
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
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
PROTOCOL_UDP = 17
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
    beside_ah, exact_keys = len(elements) > 1, state.capabilities.readings.integrity_keys_are_exact
    algorithms = [
        require_algorithms(claims, element, beside_ah=beside_ah, exact_keys=exact_keys) for element in elements
    ]
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
        # A shorter key and the same with zeros behind it are one key to HMAC (RFC 2104).
        authenticator_key_length=authenticator.key_length,
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


def require_udp(protocol: int, portion: Portion) -> None:
    """The filter is held against the outer UDP header, so it can name no other protocol (N-SA-4, A-16).

    That of a tunnel association speaks of what is inside, and is held against nothing (A-36).
    """
    if portion is Portion.TRANSPORT and protocol not in (0, PROTOCOL_UDP):
        raise RequestRefused(
            INVALID, Reason.BUFFER_CONTENTS, f"Protocol must be 17 (UDP) or 0 for UDP-ESP, not {protocol}"
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
    claims: Version1Claims, element: OffloadSecurityAssociation, *, beside_ah: bool, exact_keys: bool
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
        shorter = algorithm is authenticator and not exact_keys and 0 < info.algo_keylen < algorithm.key_length
        if info.algo_keylen != algorithm.key_length and not shorter:
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


def filter_address(state: DriverState, address: bytes, mask: bytes) -> tuple[bytes, bytes]:
    """Address and mask as the row holds them: address zero is any; mask zero by A-15."""
    if not any(address):
        return address, bytes(len(address))
    if not any(mask) and not state.capabilities.readings.mask_zero_is_any:
        return address, exact_mask(address)
    return address, mask
