"""Numbers of the packets that the offload works on: ports, protocols, lengths.

From the RFCs that the driver documentation names as background, not from a driver header (N-SA-15, N-NAT-4 to
N-NAT-6).
"""

from enum import IntEnum


class IpProtocol(IntEnum):
    """IPPROTO_*, the protocol or next header numbers that IPsec packets carry."""

    IPPROTO_IPIP = 4
    IPPROTO_TCP = 6
    IPPROTO_UDP = 17
    IPPROTO_ESP = 50
    IPPROTO_AH = 51


class UdpPort(IntEnum):
    """The two ports of IKE; UDP-encapsulated ESP shares the second (N-NAT-2)."""

    IKE_PORT = 500
    UDP_ESP_PORT = 4500


NON_ESP_MARKER_BYTES = 4
NON_IKE_MARKER_BYTES = 8
NAT_KEEPALIVE_BYTE = 0xFF

ESP_HEADER_BYTES = 8
CBC_IV_BYTES_DES_AND_3DES = 8
HMAC_96_ICV_BYTES = 12

DES_KEY_BYTES = 8
TRIPLE_DES_KEY_BYTES = 24
HMAC_MD5_KEY_BYTES = 16
HMAC_SHA1_KEY_BYTES = 20
