"""The buffers of the host's add requests: an association in the words of version 1 and of version 2.

The tables say which algorithms each version can name at all; what the card claims is the offloader's question.

Called by host/offloader.py.
"""

from __future__ import annotations

from ipaddress import ip_network

from nicsim.boundary import UdpType
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.wire.esp import PROTOCOL_AH, PROTOCOL_UDP
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
    IpsecOffloadV2SaFlags,
    IpsecOffloadV2SecurityAssociation,
    IpsecOffloadV2UpdateSa,
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
    Integrity.NONE:         (INTEGRITY.OFFLOAD_IPSEC_INTEGRITY_NONE, ""),
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


def elements(sa: SecurityAssociation) -> tuple[OffloadSecurityAssociation, ...]:
    """The elements of a version 1 add: ESP, AH, or ESP and then the AH around it (N-SA-9)."""
    keys = sa.keys
    if sa.protocol == PROTOCOL_AH:
        return (ah_element(sa.spi, keys),)
    esp = OffloadSecurityAssociation(
        operation=OffloadOperation.ENCRYPT,
        spi=sa.spi,
        integrity_algo=OffloadAlgoInfo(VERSION_1_HASHES[keys.integrity][0], len(keys.integrity_key)),
        conf_algo=OffloadAlgoInfo(VERSION_1_CIPHERS[keys.encryption][0], len(keys.encryption_key)),
    )
    return (esp, ah_element(sa.ah.spi, sa.ah.keys)) if sa.ah else (esp,)


def ah_element(spi: int, keys: SaKeys) -> OffloadSecurityAssociation:
    """AH, alone or around ESP."""
    integrity = OffloadAlgoInfo(VERSION_1_HASHES[keys.integrity][0], len(keys.integrity_key))
    return OffloadSecurityAssociation(OffloadOperation.AUTHENTICATE, spi, integrity)


def key_material(sa: SecurityAssociation) -> bytes:
    """The keys of a version 1 add in the order of its elements; each has its cipher's first (N-SA-16, A-2)."""
    keys = sa.keys.encryption_key + sa.keys.integrity_key
    return keys + sa.ah.keys.integrity_key if sa.ah else keys


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
    sec_assoc, key_mat = elements(sa), key_material(sa)
    return OffloadIpsecAddSa(
        src_addr=source,
        src_mask=source_mask,
        dest_addr=destination,
        dest_mask=destination_mask,
        src_tunnel_addr=tunnel_source,
        dest_tunnel_addr=tunnel_destination,
        flags=OffloadSaFlags.OFFLOAD_INBOUND_SA if sa.inbound else OffloadSaFlags.OFFLOAD_OUTBOUND_SA,
        num_sas=len(sec_assoc),
        sec_assoc=sec_assoc,
        key_len=len(key_mat),
        key_mat=key_mat,
    )


def add_udpesp_sa_buffer(sa: SecurityAssociation, entry_handle: int) -> OffloadIpsecAddUdpespSa:
    """OFFLOAD_IPSEC_ADD_UDPESP_SA for a UDP-encapsulated association."""
    source, source_mask, destination, destination_mask = end_to_end(sa)
    tunnel_source, tunnel_destination = tunnel_ends(sa)
    sec_assoc, key_mat = elements(sa), key_material(sa)
    return OffloadIpsecAddUdpespSa(
        src_addr=source,
        src_mask=source_mask,
        dst_addr=destination,
        dst_mask=destination_mask,
        protocol=PROTOCOL_UDP,
        src_tunnel_addr=tunnel_source,
        dst_tunnel_addr=tunnel_destination,
        flags=OffloadSaFlags.OFFLOAD_INBOUND_SA if sa.inbound else OffloadSaFlags.OFFLOAD_OUTBOUND_SA,
        num_sas=len(sec_assoc),
        sec_assoc=sec_assoc,
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
    """The UdpEspEncapsulation flag of an association (N-V2-2)."""
    if sa.udp_type is UdpType.NATIVE:
        return U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE
    if sa.mode is Mode.TUNNEL:
        return (
            U.IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL
            if sa.of_two
            else U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL
        )
    return (
        U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL
        if sa.of_two
        else U.IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT
    )


def default_header(structure: type[Structure], last_member: str, abi: Abi) -> NdisObjectHeader:
    """The header of the version 2 structures (N-V2-6)."""
    return NdisObjectHeader(NdisObjectType.NDIS_OBJECT_TYPE_DEFAULT, 1, size_through(structure, last_member, abi))


def elements_v2(sa: SecurityAssociation) -> tuple[tuple[IpsecOffloadV2SecurityAssociation, ...], bytes]:
    """The elements of a version 2 add, and the keys that they point to: a cipher's with its salt, then a hash's.

    Each element says where its keys are (N-V2-10, A-31); the order is that of version 1 (N-V2-7).
    """
    keys, high = sa.keys, sa.sequence_high if sa.esn else 0
    flags = IpsecOffloadV2SaFlags.IPSEC_OFFLOAD_V2_ESN_SA if sa.esn else IpsecOffloadV2SaFlags(0)
    cipher_key = keys.encryption_key + keys.salt
    key_data = cipher_key + keys.integrity_key
    hashed = IpsecOffloadV2AlgorithmInfo(VERSION_2_HASHES[keys.integrity], len(keys.integrity_key), len(cipher_key))
    if sa.protocol == PROTOCOL_AH:
        element = IpsecOffloadV2SecurityAssociation(
            flags, IpsecOffloadV2Operation.IPsecOffloadV2Ah, sa.spi, hashed, sequence_number_high_order=high
        )
        return (element,), key_data
    encrypted = IpsecOffloadV2AlgorithmInfo(version_2_cipher(sa), len(cipher_key), 0, keys.encryption.icv_length)
    esp = IpsecOffloadV2SecurityAssociation(
        flags, IpsecOffloadV2Operation.IPsecOffloadV2Esp, sa.spi, hashed, encrypted, high
    )
    if sa.ah is None:
        return (esp,), key_data
    ah_key = sa.ah.keys.integrity_key
    signed = IpsecOffloadV2AlgorithmInfo(VERSION_2_HASHES[sa.ah.keys.integrity], len(ah_key), len(key_data))
    ah = IpsecOffloadV2SecurityAssociation(
        flags, IpsecOffloadV2Operation.IPsecOffloadV2Ah, sa.ah.spi, signed, sequence_number_high_order=high
    )
    return (esp, ah), key_data + ah_key


def add_v2_buffer(sa: SecurityAssociation, abi: Abi) -> bytes:
    """IPSEC_OFFLOAD_V2_ADD_SA, a list of one (N-V2-8)."""
    ipv6 = len(sa.src) == 16
    flags = IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_INBOUND if sa.inbound else IpsecOffloadV2AddFlags(0)
    if ipv6:
        flags |= IpsecOffloadV2AddFlags.IPSEC_OFFLOAD_V2_IPv6
    sec_assoc, key_data = elements_v2(sa)
    ends = (
        Endpoints(ipv6_endpoints=Ipv6Endpoints(sa.src, sa.dst))
        if ipv6
        else Endpoints(ipv4_endpoints=Ipv4Endpoints(sa.src, sa.dst))
    )
    return IpsecOffloadV2AddSa(
        header=default_header(IpsecOffloadV2AddSa, "key_data", abi),
        num_ext_hdrs=len(sec_assoc),
        flags=flags,
        endpoints=ends,
        udp_esp_encapsulation=version_2_subtype(sa),
        sec_assoc=sec_assoc,
        key_length=len(key_data),
        key_data=key_data,
    ).pack(abi)


def update_v2_buffers(sa: SecurityAssociation, handle: int, high: int, abi: Abi) -> list[bytes]:
    """IPSEC_OFFLOAD_V2_UPDATE_SA for each layer: the new upper half of its sequence numbers (N-V2-13, A-27)."""
    header = default_header(IpsecOffloadV2UpdateSa, "sequence_number_high_order", abi)
    return [
        IpsecOffloadV2UpdateSa(header, handle, element.operation, element.spi, high).pack(abi)
        for element in elements_v2(sa)[0]
    ]
