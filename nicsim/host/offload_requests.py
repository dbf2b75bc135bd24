"""The buffers of the host's add requests: an association in the words of version 1 and of version 2.

The tables say which algorithms each version can name at all; what the card claims is the offloader's question.

Called by host/offloader.py.
"""

from __future__ import annotations

from ipaddress import ip_network

from nicsim.boundary import UdpType
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.wire.esp import PROTOCOL_UDP
from offload_oids import Abi
from offload_oids.ipsec_sa import (
    OffloadAlgoInfo,
    OffloadConfAlgo,
    OffloadIntegrityAlgo,
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecUdpespEncaptypeEntry,
    OffloadOperation,
    OffloadSaFlags,
    OffloadSecurityAssociation,
    UdpEncapType,
)
from offload_oids.ipsec_sa_v2 import (
    Endpoints,
    IpsecOffloadV2AddFlags,
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AlgorithmInfo,
    IpsecOffloadV2Operation,
    IpsecOffloadV2SecurityAssociation,
    Ipv4Endpoints,
    Ipv6Endpoints,
)
from offload_oids.layout import Structure, size_through
from offload_oids.ndis_offload import (
    IpsecOffloadV2Authentication,
    IpsecOffloadV2Encryption,
    IpsecOffloadV2UdpEsp,
    NdisObjectHeader,
    NdisObjectType,
)
from offload_oids.task_offload import (
    UdpEspParseFlags,
)

E, A, U = IpsecOffloadV2Encryption, IpsecOffloadV2Authentication, IpsecOffloadV2UdpEsp
CONF, INTEGRITY = OffloadConfAlgo, OffloadIntegrityAlgo

# fmt: off
VERSION_1_CIPHERS = {
    Encryption.NULL:           (CONF.OFFLOAD_IPSEC_CONF_NONE,  "null_esp"),
    Encryption.DES_CBC:        (CONF.OFFLOAD_IPSEC_CONF_DES,   "des"),
    Encryption.TRIPLE_DES_CBC: (CONF.OFFLOAD_IPSEC_CONF_3_DES, "triple_des"),
}
VERSION_1_HASHES = {
    Integrity.HMAC_MD5_96:  (INTEGRITY.OFFLOAD_IPSEC_INTEGRITY_MD5, "md5"),
    Integrity.HMAC_SHA1_96: (INTEGRITY.OFFLOAD_IPSEC_INTEGRITY_SHA, "sha_1"),
}
VERSION_2_CIPHERS: dict[tuple[Encryption, int], int] = {
    (Encryption.NULL, 0):            E.IPSEC_OFFLOAD_V2_ENCRYPTION_NONE,
    (Encryption.DES_CBC, 8):         E.IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC,
    (Encryption.TRIPLE_DES_CBC, 24): E.IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC,
    (Encryption.AES_CBC, 16):        E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128,
    (Encryption.AES_CBC, 24):        E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192,
    (Encryption.AES_CBC, 32):        E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256,
}
GCM_BY_KEY_LENGTH = {
    16: E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128,
    24: E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192,
    32: E.IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256,
}
VERSION_2_HASHES = {
    Integrity.NONE:              0,
    Integrity.HMAC_MD5_96:       A.IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5,
    Integrity.HMAC_SHA1_96:      A.IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1,
    Integrity.HMAC_SHA2_256_128: A.IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256,
}
ENCAP_TYPES = {
    UdpType.IKE:   UdpEncapType.OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_IKE,
    UdpType.OTHER: UdpEncapType.OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_OTHER,
}
F = UdpEspParseFlags
PARSE_FLAGS = {
    (UdpType.OTHER, Mode.TRANSPORT):
        F.IPSEC_TPT_UDPESP_ENCAPTYPE_OTHER | F.IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_OTHER,
    (UdpType.OTHER, Mode.TUNNEL):
        F.IPSEC_TUN_UDPESP_ENCAPTYPE_OTHER | F.IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER,
    (UdpType.IKE, Mode.TRANSPORT):
        F.IPSEC_TPT_UDPESP_ENCAPTYPE_IKE | F.IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_IKE,
    (UdpType.IKE, Mode.TUNNEL):
        F.IPSEC_TUN_UDPESP_ENCAPTYPE_IKE | F.IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_IKE,
}
# fmt: on


def security_association(sa: SecurityAssociation) -> OffloadSecurityAssociation:
    """The one ESP element of a version 1 add."""
    keys = sa.keys
    return OffloadSecurityAssociation(
        operation=OffloadOperation.ENCRYPT,
        spi=sa.spi,
        integrity_algo=OffloadAlgoInfo(VERSION_1_HASHES[keys.integrity][0], len(keys.integrity_key)),
        conf_algo=OffloadAlgoInfo(VERSION_1_CIPHERS[keys.encryption][0], len(keys.encryption_key)),
    )


def end_to_end(sa: SecurityAssociation) -> tuple[bytes, bytes, bytes, bytes]:
    """The filter: source, its mask, destination, its mask. In a tunnel the inner ones, if known (N-SA-2, N-SA-6)."""
    if sa.mode is Mode.TRANSPORT:
        return sa.src, b"\xff" * 4, sa.dst, b"\xff" * 4
    return *network(sa.inner_src), *network(sa.inner_dst)


def network(prefix: str) -> tuple[bytes, bytes]:
    """Address and mask of an IPv4 prefix; zeros where there is none or it is IPv6."""
    if not prefix:
        return bytes(4), bytes(4)
    parsed = ip_network(prefix, strict=False)
    if parsed.version != 4:
        return bytes(4), bytes(4)
    return parsed.network_address.packed, parsed.netmask.packed


def tunnel_ends(sa: SecurityAssociation) -> tuple[bytes, bytes]:
    """The tunnel's end points, zero in transport mode (N-SA-6)."""
    return (sa.src, sa.dst) if sa.mode is Mode.TUNNEL else (bytes(4), bytes(4))


def add_sa_buffer(sa: SecurityAssociation) -> OffloadIpsecAddSa:
    """OFFLOAD_IPSEC_ADD_SA for a native association."""
    source, source_mask, destination, destination_mask = end_to_end(sa)
    tunnel_source, tunnel_destination = tunnel_ends(sa)
    key_mat = sa.keys.encryption_key + sa.keys.integrity_key  # N-SA-16, A-2
    return OffloadIpsecAddSa(
        src_addr=source,
        src_mask=source_mask,
        dest_addr=destination,
        dest_mask=destination_mask,
        src_tunnel_addr=tunnel_source,
        dest_tunnel_addr=tunnel_destination,
        flags=OffloadSaFlags.OFFLOAD_INBOUND_SA if sa.inbound else OffloadSaFlags.OFFLOAD_OUTBOUND_SA,
        num_sas=1,
        sec_assoc=(security_association(sa),),
        key_len=len(key_mat),
        key_mat=key_mat,
    )


def add_udpesp_sa_buffer(sa: SecurityAssociation, entry_handle: int) -> OffloadIpsecAddUdpespSa:
    """OFFLOAD_IPSEC_ADD_UDPESP_SA for a UDP-encapsulated association."""
    source, source_mask, destination, destination_mask = end_to_end(sa)
    tunnel_source, tunnel_destination = tunnel_ends(sa)
    key_mat = sa.keys.encryption_key + sa.keys.integrity_key  # N-SA-16, A-2
    return OffloadIpsecAddUdpespSa(
        src_addr=source,
        src_mask=source_mask,
        dst_addr=destination,
        dst_mask=destination_mask,
        protocol=PROTOCOL_UDP,
        src_tunnel_addr=tunnel_source,
        dst_tunnel_addr=tunnel_destination,
        flags=OffloadSaFlags.OFFLOAD_INBOUND_SA if sa.inbound else OffloadSaFlags.OFFLOAD_OUTBOUND_SA,
        num_sas=1,
        sec_assoc=(security_association(sa),),
        encap_type_entry=OffloadIpsecUdpespEncaptypeEntry(ENCAP_TYPES[sa.udp_type], sa.dst_port),
        encap_type_entry_offld_handle=entry_handle,
        key_len=len(key_mat),
        key_mat=key_mat,
    )


def version_1_subtypes(sa: SecurityAssociation) -> int:
    """The parse flags of the two subtypes in which this association can be the UDP-encapsulated one (N-CAP-10)."""
    return PARSE_FLAGS.get((sa.udp_type, sa.mode), 0)


def version_2_cipher(sa: SecurityAssociation) -> int:
    """The encryption identifier of version 2."""
    length = len(sa.keys.encryption_key)
    if sa.keys.encryption.is_aead:
        return GCM_BY_KEY_LENGTH[length]
    return VERSION_2_CIPHERS[sa.keys.encryption, length]


def version_2_subtype(sa: SecurityAssociation) -> int:
    """The UdpEspEncapsulation flag of a lone association (N-V2-2)."""
    if sa.udp_type is UdpType.NATIVE:
        return U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE
    if sa.mode is Mode.TUNNEL:
        return U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL
    return U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT


def default_header(structure: type[Structure], last_member: str, abi: Abi) -> NdisObjectHeader:
    """The header of the version 2 structures (N-V2-6)."""
    return NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_DEFAULT, 1, size_through(structure, last_member, abi))


def add_v2_buffer(sa: SecurityAssociation, abi: Abi) -> bytes:
    """IPSEC_OFFLOAD_V2_ADD_SA, a list of one; the cipher's key with its salt first, then the hash's (N-V2-10, A-31)."""
    keys = sa.keys
    cipher_key = keys.encryption_key + keys.salt
    key_data = cipher_key + keys.integrity_key
    ipv6 = len(sa.src) == 16
    flags = IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_INBOUND if sa.inbound else IpsecOffloadV2AddFlags(0)
    if ipv6:
        flags |= IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_IPv6
    element = IpsecOffloadV2SecurityAssociation(
        operation=IpsecOffloadV2Operation.IPsecOffloadV2Esp,
        spi=sa.spi,
        authentication_algorithm=IpsecOffloadV2AlgorithmInfo(
            VERSION_2_HASHES[keys.integrity], len(keys.integrity_key), len(cipher_key)
        ),
        encryption_algorithm=IpsecOffloadV2AlgorithmInfo(
            version_2_cipher(sa), len(cipher_key), 0, keys.encryption.icv_length
        ),
    )
    ends = (
        Endpoints(ipv6_endpoints=Ipv6Endpoints(sa.src, sa.dst))
        if ipv6
        else Endpoints(ipv4_endpoints=Ipv4Endpoints(sa.src, sa.dst))
    )
    return IpsecOffloadV2AddSa(
        header=default_header(IpsecOffloadV2AddSa, "key_data", abi),
        num_ext_hdrs=1,
        flags=flags,
        endpoints=ends,
        udp_esp_encapsulation=version_2_subtype(sa),
        sec_assoc=(element,),
        key_length=len(key_data),
        key_data=key_data,
    ).pack(abi)
