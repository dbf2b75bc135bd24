"""Security associations of IPsec offload version 2 (NDIS 6.1 and later): the buffers of its four direct OIDs.

Digest section 12. There are no ports, masks or parser entries (N-V2-8), and every algorithm says where in the key
bytes its key is (N-V2-10). How NDIS_SIZEOF_... of these is defined is on no reference page; `size_through` of the
last member follows the general convention.
"""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Annotated

from offload_oids.layout import (
    ANONYMOUS,
    HANDLE,
    IPV4_ADDRESS,
    IPV6_ADDRESS,
    PVOID,
    SPI,
    ULONG,
    USHORT,
    Count,
    Known,
    Structure,
    StructureError,
    Tail,
    TooShort,
    Union,
)
from offload_oids.ndis_offload import (
    NO_HEADER,
    IpsecOffloadV2Authentication,
    IpsecOffloadV2Encryption,
    IpsecOffloadV2UdpEsp,
    NdisObjectHeader,
)

IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS = 2

NDIS_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1 = 1
NDIS_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1 = 1
NDIS_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1 = 1
NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1 = 1


class IpsecOffloadV2AddFlags(IntFlag):
    """Flags of an add: without INBOUND it is outbound, without IPv6 it is IPv4 (N-V2-8)."""

    IPSEC_OFFLOAD_V2_INBOUND = 0x01
    IPSEC_OFFLOAD_V2_IPv6 = 0x10


class IpsecOffloadV2SaFlags(IntFlag):
    """Flags of one element: extended sequence numbers (N-V2-9)."""

    IPSEC_OFFLOAD_V2_ESN_SA = 0x01


class IpsecOffloadV2Operation(IntEnum):
    """IPSEC_OFFLOAD_V2_OPERATION (N-V2-9)."""

    IPsecOffloadV2Ah = 1
    IPsecOffloadV2Esp = 2
    IPsecOffloadV2Max = 3


@dataclass(frozen=True, slots=True)
class IpsecOffloadV2AlgorithmInfo(Structure):
    """IPSEC_OFFLOAD_V2_ALGORITHM_INFO: one algorithm, and where its key is (N-V2-10)."""

    identifier: ULONG = 0
    key_length: ULONG = 0
    key_offset_bytes: ULONG = 0
    # For AES-GCM the ICV length (N-V2-9).
    additional_info: ULONG = 0


NO_ALGORITHM = IpsecOffloadV2AlgorithmInfo()

Authentication = Annotated[IpsecOffloadV2AlgorithmInfo, Known(IpsecOffloadV2Authentication, "identifier")]
Encryption = Annotated[IpsecOffloadV2AlgorithmInfo, Known(IpsecOffloadV2Encryption, "identifier")]


@dataclass(frozen=True, slots=True)
class IpsecOffloadV2SecurityAssociation(Structure):
    """IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION: one operation, AH or ESP (N-V2-9)."""

    flags: Annotated[ULONG, Known(IpsecOffloadV2SaFlags)] = 0
    operation: Annotated[ULONG, Known(IpsecOffloadV2Operation)] = 0
    spi: SPI = 0
    authentication_algorithm: Authentication = NO_ALGORITHM
    encryption_algorithm: Encryption = NO_ALGORITHM
    # The half of an extended sequence number that is not on the wire.
    sequence_number_high_order: ULONG = 0


@dataclass(frozen=True, slots=True)
class Ipv4Endpoints(Structure):
    """IPv4Endpoints of an add."""

    src_addr: IPV4_ADDRESS = bytes(4)
    dest_addr: IPV4_ADDRESS = bytes(4)


@dataclass(frozen=True, slots=True)
class Ipv6Endpoints(Structure):
    """IPv6Endpoints of an add."""

    src_addr: IPV6_ADDRESS = bytes(16)
    dest_addr: IPV6_ADDRESS = bytes(16)


@dataclass(frozen=True, slots=True)
class Endpoints(Union):
    """The union without a name in an add: the flag IPv6 says which arm counts."""

    ipv4_endpoints: Ipv4Endpoints | None = None
    ipv6_endpoints: Ipv6Endpoints | None = None


@dataclass(frozen=True, slots=True)
class IpsecOffloadV2AddSa(Structure):
    """IPSEC_OFFLOAD_V2_ADD_SA, the buffer of OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA: one of a list (N-V2-11)."""

    header: NdisObjectHeader = NO_HEADER
    # A pointer inside the same buffer, or NULL.
    next: PVOID = 0
    num_ext_hdrs: ULONG = 0
    flags: Annotated[ULONG, Known(IpsecOffloadV2AddFlags)] = 0
    endpoints: Annotated[Endpoints, ANONYMOUS] = Endpoints()
    # Written by the driver; NULL where this one was not offloaded.
    offload_handle: HANDLE = 0
    udp_esp_encapsulation: Annotated[ULONG, Known(IpsecOffloadV2UdpEsp)] = 0
    sec_assoc: Annotated[
        tuple[IpsecOffloadV2SecurityAssociation, ...], Count(IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS)
    ] = ()
    key_length: ULONG = 0
    key_data: Annotated[bytes, Tail("key_length", secret=True)] = field(default=b"", repr=False)

    def valid_associations(self) -> tuple[IpsecOffloadV2SecurityAssociation, ...]:
        """The elements that NumExtHdrs counts, refused unless it is 1 or 2 (N-V2-7)."""
        return _counted("IPSEC_OFFLOAD_V2_ADD_SA", self.num_ext_hdrs, self.sec_assoc)


@dataclass(frozen=True, slots=True)
class IpsecOffloadV2AddSaEx(Structure):
    """IPSEC_OFFLOAD_V2_ADD_SA_EX, the buffer of OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX.

    No list, and no tail: the keys begin KeyOffset bytes from the start of the structure (N-V2-10).
    """

    header: NdisObjectHeader = NO_HEADER
    num_ext_hdrs: ULONG = 0
    flags: Annotated[ULONG, Known(IpsecOffloadV2AddFlags)] = 0
    endpoints: Annotated[Endpoints, ANONYMOUS] = Endpoints()
    offload_handle: HANDLE = 0
    udp_esp_encapsulation: Annotated[ULONG, Known(IpsecOffloadV2UdpEsp)] = 0
    sec_assoc: Annotated[
        tuple[IpsecOffloadV2SecurityAssociation, ...], Count(IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS)
    ] = ()
    key_length: ULONG = 0
    key_offset: ULONG = 0
    source_switch_port_id: ULONG = 0
    vlan_id: USHORT = 0

    def valid_associations(self) -> tuple[IpsecOffloadV2SecurityAssociation, ...]:
        """The elements that NumExtHdrs counts, refused unless it is 1 or 2 (N-V2-7)."""
        return _counted("IPSEC_OFFLOAD_V2_ADD_SA_EX", self.num_ext_hdrs, self.sec_assoc)

    def key_bytes(self, buffer: bytes) -> bytes:
        """The keys of the buffer this was unpacked from (N-V2-10)."""
        end = self.key_offset + self.key_length
        if end > len(buffer):
            raise TooShort("IPSEC_OFFLOAD_V2_ADD_SA_EX", end, len(buffer))
        return bytes(buffer[self.key_offset : end])


def _counted(
    structure: str, num_ext_hdrs: int, sec_assoc: tuple[IpsecOffloadV2SecurityAssociation, ...]
) -> tuple[IpsecOffloadV2SecurityAssociation, ...]:
    if not 1 <= num_ext_hdrs <= IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS:
        most = IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS
        raise StructureError(f"{structure}.NumExtHdrs needs 1 to {most}, got {num_ext_hdrs}")
    return sec_assoc[:num_ext_hdrs]


@dataclass(frozen=True, slots=True)
class IpsecOffloadV2DeleteSa(Structure):
    """IPSEC_OFFLOAD_V2_DELETE_SA, the buffer of OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA: one of a list (N-V2-12)."""

    header: NdisObjectHeader = NO_HEADER
    next: PVOID = 0
    offload_handle: HANDLE = 0


@dataclass(frozen=True, slots=True)
class IpsecOffloadV2UpdateSa(Structure):
    """IPSEC_OFFLOAD_V2_UPDATE_SA, the buffer of OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA (N-V2-13, A-27)."""

    header: NdisObjectHeader = NO_HEADER
    offload_handle: HANDLE = 0
    operation: Annotated[ULONG, Known(IpsecOffloadV2Operation)] = 0
    spi: SPI = 0
    sequence_number_high_order: ULONG = 0
