"""What a card claims and how many rows it holds: the data in which cards differ.

The driver reports these claims to the host and refuses what they leave out; the card is built to the table sizes.
Cards differ by this data, never by subclass. `Readings` holds the places where the documentation is silent or of
two minds (`A-n`): each default is the digest's reading, the other value is the other reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from offload_oids.ndis_offload import NdisEncapsulations
from offload_oids.task_offload import NdisTaskTcpIpChecksum, NdisTaskTcpLargeSend


class NdisVersion(Enum):
    """The NDIS version whose requests and out-of-band words a miniport speaks."""

    NDIS_5_1 = "5.1"
    NDIS_6_0 = "6.0"
    NDIS_6_1 = "6.1"


class MakeRoom(Enum):
    """Whether a driver whose tables are full asks the host to delete an association, and which (N-SA-22)."""

    OFF = "off"
    LEAST_RECENTLY_USED = "least-recently-used"


@dataclass(frozen=True, slots=True)
class Version1Claims:
    """What NDIS_TASK_IPSEC (5.1) and NDIS_IPSEC_OFFLOAD_V1 (6.x) say of a card (N-CAP-9, N-CAP-10, N-CP6-3)."""

    des: bool = True
    triple_des: bool = True
    null_esp: bool = True
    md5: bool = True
    sha_1: bool = True
    transport: bool = True
    tunnel: bool = True
    send: bool = True
    receive: bool = True
    ah: bool = False
    """AH, in the modes and directions of ESP."""
    ah_esp_combined: bool = False
    transport_tunnel_combined: bool = False
    ipv4_options: bool = False
    udp_esp: int = 0
    """The IPSEC_*_UDPESP_* parse flags of N-CAP-10."""


@dataclass(frozen=True, slots=True)
class Version2Claims:
    """What NDIS_IPSEC_OFFLOAD_V2 says of a card (N-V2-1 to N-V2-4)."""

    authentication: int
    """IPSEC_OFFLOAD_V2_AUTHENTICATION_* bits."""
    encryption: int
    """IPSEC_OFFLOAD_V2_ENCRYPTION_* bits."""
    sa_capacity: int
    ipv6: bool = True
    ip_options: bool = False
    extension_headers: bool = False
    ah: bool = False
    esp: bool = True
    ah_esp_combined: bool = False
    transport: bool = True
    tunnel: bool = True
    transport_tunnel_combined: bool = False
    extended_sequence_numbers: bool = False
    udp_esp: int = 0
    """The UdpEsp flags of N-V2-2: 1 transport, 2 tunnel, 4 and 8 the two combinations."""
    lso_supported: bool = False
    """What `OtherTasks.large_send` says holds for IPsec-secured connections too (N-V2-5)."""
    tcp_checksum: bool = False
    udp_checksum: bool = False
    """What `OtherTasks.checksum` says holds beside version 2 too: two Flags of NDIS_OFFLOAD (N-V2-5)."""


@dataclass(frozen=True, slots=True)
class OtherTasks:
    """The tasks beside IPsec, in the words of OID_TCP_TASK_OFFLOAD (N-CAP-6). All zero: not claimed."""

    checksum: NdisTaskTcpIpChecksum = field(default_factory=NdisTaskTcpIpChecksum)
    large_send: NdisTaskTcpLargeSend = field(default_factory=NdisTaskTcpLargeSend)
    large_send_ipv6: bool = False
    """Large sends of IPv6 too, which only NDIS 6.x can report."""


@dataclass(frozen=True, slots=True)
class Readings:
    """How the places where the documentation is silent or contradicts itself are read; defaults as in the digest."""

    confidentiality_key_first: bool = True
    """A-2: the order of the keys in KeyMat; False: integrity key first, as the OFFLOAD_ALGO_INFO page has it."""
    outer_layer_alone_is_processed: bool = True
    """A-4: where only the tunnel portion of a packet is offloaded, that one is processed; False: neither."""
    other_ports_need_ike_flags: bool = True
    """A-5: entries beyond (OTHER, 4500) are taken where the IKE flags are reported; False: never."""
    parser_handle_wins: bool = True
    """A-5: an add that names a known entry is not held against its EncapTypeEntry; False: both must say the same."""
    handles_published_when_accepted: bool = True
    """A-6: the handles of an add are in the host's buffer while it is pending; False: once it completes."""
    bytes_needed_is_total: bool = True
    """A-10: BytesNeeded is the length that the buffer should have had; False: how many bytes are missing."""
    second_enabling_set_fails: bool = True
    """A-13: a second enabling set fails until a disabling one came; False: the newest set counts."""
    mask_zero_is_any: bool = True
    """A-15: an address with mask zero matches any address; False: the mask is ignored, the match exact."""
    integrity_keys_are_exact: bool = True
    """A-19: an integrity key of version 1 is as long as its hash; False: or shorter, as HMAC allows (RFC 2104)."""
    delete_request_keeps_the_oid: bool = True
    """A-21: asked to delete UDP-ESP associations, the host uses the UDPESP delete; False: the plain one, as named."""
    wire_byte_order: bool = True
    """A-28: SPI, IPv4 addresses, masks and ports are as in the packet; False: in the host's byte order."""
    version2_udp_esp_over_ipv6: bool = True
    """A-32: version 2 takes UDP-ESP over IPv6 where it claims both; False: over IPv4 only."""
    lone_native_esp_is_transport: bool = True
    """A-35: an authentication failure of a lone native version 2 ESP layer is the transport one; False: tunnel."""
    one_association_per_send_in_6_0: bool = True
    """A-25: a 6.0 transmit word holds one handle, as its structure has it; False: NextOffloadHandle follows, as the
    page on the send path has it."""
    one_parser_type_per_port: bool = True
    """A-33: a port has one parser entry; False: entries of both types may name it, the older one parses."""


@dataclass(frozen=True, slots=True)
class Keywords:
    """The INF keywords that say what is on before any request comes: 0 disabled, 1 AH, 2 ESP, 3 both (N-CP6-8).

    One less than the same settings in OID_TCP_OFFLOAD_PARAMETERS. They are for NDIS 6.x.
    """

    ipsec_offload_v1_ipv4: int = 3
    """*IPsecOffloadV1IPv4."""
    ipsec_offload_v2: int = 3
    """*IPsecOffloadV2, which counts where version 2 is claimed for IPv6 too."""
    ipsec_offload_v2_ipv4: int = 3
    """*IPsecOffloadV2IPv4, which counts where it is not."""


@dataclass(frozen=True, slots=True)
class Losses:
    """When a driver does not write its tables again, though it should: what was offloaded is gone then (A-26)."""

    on_reset: bool = False
    on_d3: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One kind of card with its driver."""

    name: str
    ndis: NdisVersion
    about: str = ""
    version1: Version1Claims | None = None
    version2: Version2Claims | None = None
    encapsulations: int = NdisEncapsulations.NDIS_ENCAPSULATION_IEEE_802_3
    """NDIS_ENCAPSULATION_* bits (N-CP6-4); every offload type is claimed for all of them."""
    inbound_rows: int = 1024
    outbound_rows: int = 1024
    parser_rows: int = 16
    address_rows: int = 0
    """Rows of the table of receive addresses that inbound rows share; 0: each row holds its own address."""
    make_room: MakeRoom = MakeRoom.OFF
    row_ticks: int = 0
    """How long a row operation takes the card, in polls of its driver; 0: no time at all."""
    losses: Losses = field(default_factory=Losses)
    keywords: Keywords = field(default_factory=Keywords)
    header_split: int = 0
    """The longest header, in bytes, of a received frame that the card splits into header and data; 0: it does not."""
    readings: Readings = field(default_factory=Readings)
    other_tasks: OtherTasks = field(default_factory=OtherTasks)
