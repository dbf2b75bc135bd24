"""Security associations of IPsec offload version 1 (NDIS 5.1 and 6.0): the buffers of its four OIDs.

In the order of "OFFLOAD_IPSEC_ADD_SA" and "OFFLOAD_IPSEC_ADD_UDPESP_SA", digest sections 5 and 6. The header calls
the members of the UDP-ESP form Dst..., those of the plain form Dest... (N-VER-3). Members default to zero, which the
pages define for all of them: any address, any port, no algorithm, no handle.
"""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Annotated

from offload_oids.layout import (
    HANDLE,
    IPV4_ADDRESS,
    PORT,
    SHORT,
    SPI,
    ULONG,
    USHORT,
    CName,
    Count,
    Known,
    Structure,
    StructureError,
    Tail,
)
from offload_oids.wire_constants import IpProtocol

OFFLOAD_MAX_SAS = 3
MAX_HASHES = 4
TRUNCATED_HASH_LEN = 12

ANY_ADDRESS = bytes(4)


class OffloadSaFlags(IntFlag):
    """The direction of an association (N-SA-7)."""

    OFFLOAD_INBOUND_SA = 0x0001
    OFFLOAD_OUTBOUND_SA = 0x0002


class OffloadOperation(IntEnum):
    """OFFLOAD_OPERATION_E: AH or ESP (N-SA-10)."""

    AUTHENTICATE = 1
    ENCRYPT = 2


class OffloadConfAlgo(IntEnum):
    """OFFLOAD_CONF_ALGO: the cipher of an ESP element (N-SA-12)."""

    OFFLOAD_IPSEC_CONF_NONE = 0
    OFFLOAD_IPSEC_CONF_DES = 1
    OFFLOAD_IPSEC_CONF_RESERVED = 2
    OFFLOAD_IPSEC_CONF_3_DES = 3
    OFFLOAD_IPSEC_CONF_MAX = 4


class OffloadIntegrityAlgo(IntEnum):
    """OFFLOAD_INTEGRITY_ALGO: the authentication of an AH or ESP element (N-SA-12)."""

    OFFLOAD_IPSEC_INTEGRITY_NONE = 0
    OFFLOAD_IPSEC_INTEGRITY_MD5 = 1
    OFFLOAD_IPSEC_INTEGRITY_SHA = 2
    OFFLOAD_IPSEC_INTEGRITY_MAX = 3


class UdpEncapType(IntEnum):
    """UDP_ENCAP_TYPE of a parser entry (N-PE-2). The pages write the names without OFFLOAD_ (N-VER-4)."""

    OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_IKE = 0
    OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_OTHER = 1
    IPSEC_UDPESP_ENCAPTYPE_IKE = OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_IKE
    IPSEC_UDPESP_ENCAPTYPE_OTHER = OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_OTHER


@dataclass(frozen=True, slots=True)
class OffloadAlgoInfo(Structure):
    """OFFLOAD_ALGO_INFO: one algorithm of an association. The key length is in bytes (N-SA-14)."""

    algo_identifier: Annotated[ULONG, CName("algoIdentifier")] = 0
    algo_keylen: Annotated[ULONG, CName("algoKeylen")] = 0
    algo_rounds: Annotated[ULONG, CName("algoRounds")] = 0


NO_ALGORITHM = OffloadAlgoInfo()


@dataclass(frozen=True, slots=True)
class OffloadSecurityAssociation(Structure):
    """OFFLOAD_SECURITY_ASSOCIATION: one operation, AH or ESP, of an offloaded association."""

    operation: Annotated[ULONG, Known(OffloadOperation)] = 0
    spi: Annotated[SPI, CName("SPI")] = 0
    integrity_algo: Annotated[OffloadAlgoInfo, Known(OffloadIntegrityAlgo, "algo_identifier")] = NO_ALGORITHM
    conf_algo: Annotated[OffloadAlgoInfo, Known(OffloadConfAlgo, "algo_identifier")] = NO_ALGORITHM
    reserved: OffloadAlgoInfo = NO_ALGORITHM


@dataclass(frozen=True, slots=True)
class OffloadIpsecAddSa(Structure):
    """OFFLOAD_IPSEC_ADD_SA, the buffer of OID_TCP_TASK_IPSEC_ADD_SA."""

    # The filter of a transport-mode connection; a zero member does not filter (N-SA-2, N-SA-3).
    src_addr: IPV4_ADDRESS = ANY_ADDRESS
    src_mask: IPV4_ADDRESS = ANY_ADDRESS
    dest_addr: IPV4_ADDRESS = ANY_ADDRESS
    dest_mask: IPV4_ADDRESS = ANY_ADDRESS
    protocol: Annotated[ULONG, Known(IpProtocol)] = 0
    src_port: PORT = 0
    dest_port: PORT = 0
    # The tunnel's end points; zero for a transport association (N-SA-6).
    src_tunnel_addr: IPV4_ADDRESS = ANY_ADDRESS
    dest_tunnel_addr: IPV4_ADDRESS = ANY_ADDRESS
    flags: Annotated[USHORT, Known(OffloadSaFlags)] = 0
    num_sas: Annotated[SHORT, CName("NumSAs")] = 0
    # The whole array is there whatever NumSAs says (N-SA-8).
    sec_assoc: Annotated[tuple[OffloadSecurityAssociation, ...], Count(OFFLOAD_MAX_SAS)] = ()
    # Written by the driver (N-SA-17).
    offload_handle: HANDLE = 0
    key_len: ULONG = 0
    key_mat: Annotated[bytes, Tail("key_len", secret=True)] = field(default=b"", repr=False)

    def valid_associations(self) -> tuple[OffloadSecurityAssociation, ...]:
        """The elements that NumSAs counts, refused unless it is 1 to OFFLOAD_MAX_SAS (N-SA-8, A-17)."""
        return _counted("OFFLOAD_IPSEC_ADD_SA", self.num_sas, self.sec_assoc)


@dataclass(frozen=True, slots=True)
class OffloadIpsecDeleteSa(Structure):
    """OFFLOAD_IPSEC_DELETE_SA, the buffer of OID_TCP_TASK_IPSEC_DELETE_SA.

    One handle, so the "length 4" of the OID tables holds for a 32-bit host only (A-9).
    """

    offload_handle: HANDLE


@dataclass(frozen=True, slots=True)
class OffloadIpsecUdpespEncaptypeEntry(Structure):
    """OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_ENTRY: a parser entry, how to parse UDP datagrams to one port (N-PE-1)."""

    udp_encap_type: Annotated[ULONG, Known(UdpEncapType)] = 0
    dst_encap_port: PORT = 0


@dataclass(frozen=True, slots=True)
class OffloadIpsecAddUdpespSa(Structure):
    """OFFLOAD_IPSEC_ADD_UDPESP_SA, the buffer of OID_TCP_TASK_IPSEC_ADD_UDPESP_SA.

    OFFLOAD_IPSEC_ADD_SA with a parser entry in front of the key.
    """

    src_addr: IPV4_ADDRESS = ANY_ADDRESS
    src_mask: IPV4_ADDRESS = ANY_ADDRESS
    dst_addr: IPV4_ADDRESS = ANY_ADDRESS
    dst_mask: IPV4_ADDRESS = ANY_ADDRESS
    protocol: Annotated[ULONG, Known(IpProtocol)] = 0
    src_port: PORT = 0
    dst_port: PORT = 0
    src_tunnel_addr: IPV4_ADDRESS = ANY_ADDRESS
    dst_tunnel_addr: IPV4_ADDRESS = ANY_ADDRESS
    flags: Annotated[USHORT, Known(OffloadSaFlags)] = 0
    num_sas: Annotated[SHORT, CName("NumSAs")] = 0
    sec_assoc: Annotated[tuple[OffloadSecurityAssociation, ...], Count(OFFLOAD_MAX_SAS)] = ()
    offload_handle: HANDLE = 0
    encap_type_entry: OffloadIpsecUdpespEncaptypeEntry = OffloadIpsecUdpespEncaptypeEntry()
    # Zero asks the driver to find or create the entry and to write its handle here (N-ADD-2, N-ADD-3).
    encap_type_entry_offld_handle: HANDLE = 0
    key_len: ULONG = 0
    key_mat: Annotated[bytes, Tail("key_len", secret=True)] = field(default=b"", repr=False)

    def valid_associations(self) -> tuple[OffloadSecurityAssociation, ...]:
        """The elements that NumSAs counts, refused unless it is 1 to OFFLOAD_MAX_SAS (N-SA-8, A-17)."""
        return _counted("OFFLOAD_IPSEC_ADD_UDPESP_SA", self.num_sas, self.sec_assoc)


def _counted(
    structure: str, num_sas: int, sec_assoc: tuple[OffloadSecurityAssociation, ...]
) -> tuple[OffloadSecurityAssociation, ...]:
    if not 1 <= num_sas <= OFFLOAD_MAX_SAS:
        raise StructureError(f"{structure}.NumSAs needs 1 to {OFFLOAD_MAX_SAS}, got {num_sas}")
    return sec_assoc[:num_sas]


@dataclass(frozen=True, slots=True)
class OffloadIpsecDeleteUdpespSa(Structure):
    """OFFLOAD_IPSEC_DELETE_UDPESP_SA, the buffer of OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA.

    Two handles, so 8 bytes from a 32-bit host and 16 from a 64-bit one.
    """

    offload_handle: HANDLE
    # Zero leaves the parser entry in place; other associations may still use it (N-DEL-2).
    encap_type_entry_offld_handle: HANDLE
