/*
 * The structures of IPsec offload that the mingw-w64 headers leave out, declared from the member lists of their
 * reference pages. Written for the layout tests; no text of any driver kit is in it.
 */
#include <stddef.h>
#include <windef.h>
#include <winnt.h>

typedef ULONG IPAddr;

typedef struct {
    UCHAR Type;
    UCHAR Revision;
    USHORT Size;
} NDIS_OBJECT_HEADER;

/* IPsec offload version 2: security associations */

typedef struct {
    ULONG Identifier;
    ULONG KeyLength;
    ULONG KeyOffsetBytes;
    ULONG AdditionalInfo;
} IPSEC_OFFLOAD_V2_ALGORITHM_INFO;

typedef enum { IPsecOffloadV2Ah = 1, IPsecOffloadV2Esp, IPsecOffloadV2Max } IPSEC_OFFLOAD_V2_OPERATION;

typedef struct {
    ULONG Flags;
    IPSEC_OFFLOAD_V2_OPERATION Operation;
    ULONG Spi;
    IPSEC_OFFLOAD_V2_ALGORITHM_INFO AuthenticationAlgorithm;
    IPSEC_OFFLOAD_V2_ALGORITHM_INFO EncryptionAlgorithm;
    ULONG SequenceNumberHighOrder;
} IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION;

typedef struct IPSEC_OFFLOAD_V2_ADD_SA {
    NDIS_OBJECT_HEADER Header;
    struct IPSEC_OFFLOAD_V2_ADD_SA *Next;
    ULONG NumExtHdrs;
    ULONG Flags;
    union {
        struct {
            IPAddr SrcAddr;
            IPAddr DestAddr;
        } IPv4Endpoints;
        struct {
            UCHAR SrcAddr[16];
            UCHAR DestAddr[16];
        } IPv6Endpoints;
    };
    HANDLE OffloadHandle;
    ULONG UdpEspEncapsulation;
    IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION SecAssoc[2];
    ULONG KeyLength;
    UCHAR KeyData[1];
} IPSEC_OFFLOAD_V2_ADD_SA;

typedef struct {
    NDIS_OBJECT_HEADER Header;
    ULONG NumExtHdrs;
    ULONG Flags;
    union {
        struct {
            IPAddr SrcAddr;
            IPAddr DestAddr;
        } IPv4Endpoints;
        struct {
            UCHAR SrcAddr[16];
            UCHAR DestAddr[16];
        } IPv6Endpoints;
    };
    HANDLE OffloadHandle;
    ULONG UdpEspEncapsulation;
    IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION SecAssoc[2];
    ULONG KeyLength;
    ULONG KeyOffset;
    ULONG SourceSwitchPortId;
    USHORT VlanId;
} IPSEC_OFFLOAD_V2_ADD_SA_EX;

typedef struct IPSEC_OFFLOAD_V2_DELETE_SA {
    NDIS_OBJECT_HEADER Header;
    struct IPSEC_OFFLOAD_V2_DELETE_SA *Next;
    HANDLE OffloadHandle;
} IPSEC_OFFLOAD_V2_DELETE_SA;

typedef struct {
    NDIS_OBJECT_HEADER Header;
    HANDLE OffloadHandle;
    IPSEC_OFFLOAD_V2_OPERATION Operation;
    ULONG Spi;
    ULONG SequenceNumberHighOrder;
} IPSEC_OFFLOAD_V2_UPDATE_SA;

/* IPsec offload version 2: out-of-band words */

typedef struct {
    union {
        struct {
            PVOID OffloadHandle;
        } Transmit;
        struct {
            ULONG SaDeleteReq : 1;
            ULONG CryptoDone : 1;
            ULONG NextCryptoDone : 1;
            ULONG Reserved : 13;
            ULONG CryptoStatus : 16;
        } Receive;
    };
} NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO;

typedef struct {
    union {
        struct {
            PVOID TunnelHandle;
        } Transmit;
    };
} NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO;

typedef struct {
    union {
        struct {
            ULONG NextHeader : 8;
            ULONG PadLength : 8;
            ULONG AhHeaderOffset : 8;
            ULONG EspHeaderOffset : 8;
        } Transmit;
        struct {
            ULONG NextHeader : 8;
            ULONG PadLength : 8;
            ULONG HeaderInfoSet : 1;
        } Receive;
    };
} NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO;

/* Configuration, requests and indications */

typedef struct {
    NDIS_OBJECT_HEADER Header;
    struct {
        ULONG Enabled;
        ULONG EncapsulationType;
        ULONG HeaderSize;
    } IPv4;
    struct {
        ULONG Enabled;
        ULONG EncapsulationType;
        ULONG HeaderSize;
    } IPv6;
} NDIS_OFFLOAD_ENCAPSULATION;

typedef enum { NdisRequestQueryInformation, NdisRequestSetInformation } NDIS_REQUEST_TYPE;

typedef struct {
    NDIS_OBJECT_HEADER Header;
    NDIS_REQUEST_TYPE RequestType;
    ULONG PortNumber;
    UINT Timeout;
    PVOID RequestId;
    HANDLE RequestHandle;
    union {
        struct {
            ULONG Oid;
            PVOID InformationBuffer;
            UINT InformationBufferLength;
            UINT BytesWritten;
            UINT BytesNeeded;
        } QUERY_INFORMATION;
        struct {
            ULONG Oid;
            PVOID InformationBuffer;
            UINT InformationBufferLength;
            UINT BytesRead;
            UINT BytesNeeded;
        } SET_INFORMATION;
        struct {
            ULONG Oid;
            PVOID InformationBuffer;
            ULONG InputBufferLength;
            ULONG OutputBufferLength;
            ULONG MethodId;
            UINT BytesWritten;
            UINT BytesRead;
            UINT BytesNeeded;
        } METHOD_INFORMATION;
    } DATA;
    PVOID NdisReserved[16];
    /* The page gives these two as UCHAR [2 * sizeof(PVOID)]; they hold two pointers each. */
    PVOID MiniportReserved[2];
    PVOID SourceReserved[2];
    UCHAR SupportedRevision;
    UCHAR Reserved1;
    USHORT Reserved2;
} NDIS_OID_REQUEST;

typedef struct {
    NDIS_OBJECT_HEADER Header;
    HANDLE SourceHandle;
    ULONG PortNumber;
    int StatusCode;
    ULONG Flags;
    HANDLE DestinationHandle;
    PVOID RequestId;
    PVOID StatusBuffer;
    ULONG StatusBufferSize;
    GUID Guid;
    PVOID NdisReserved[4];
} NDIS_STATUS_INDICATION;

typedef struct {
    NDIS_OBJECT_HEADER Header;
    void *DefaultOffloadConfiguration;
    void *HardwareOffloadCapabilities;
    void *DefaultTcpConnectionOffloadConfiguration;
    void *TcpConnectionOffloadHardwareCapabilities;
} NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES;

/* The out-of-band words of checksums and large sends */

typedef struct {
    union {
        struct {
            ULONG IsIPv4 : 1;
            ULONG IsIPv6 : 1;
            ULONG TcpChecksum : 1;
            ULONG UdpChecksum : 1;
            ULONG IpHeaderChecksum : 1;
            ULONG Reserved : 11;
            ULONG TcpHeaderOffset : 10;
        } Transmit;
        struct {
            ULONG TcpChecksumFailed : 1;
            ULONG UdpChecksumFailed : 1;
            ULONG IpChecksumFailed : 1;
            ULONG TcpChecksumSucceeded : 1;
            ULONG UdpChecksumSucceeded : 1;
            ULONG IpChecksumSucceeded : 1;
            ULONG Loopback : 1;
        } Receive;
        PVOID Value;
    };
} NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO;

typedef struct {
    union {
        struct {
            ULONG Unused : 30;
            ULONG Type : 1;
            ULONG Reserved2 : 1;
        } Transmit;
        struct {
            ULONG MSS : 20;
            ULONG TcpHeaderOffset : 10;
            ULONG Type : 1;
            ULONG Reserved2 : 1;
        } LsoV1Transmit;
        struct {
            ULONG TcpPayload : 30;
            ULONG Type : 1;
            ULONG Reserved2 : 1;
        } LsoV1TransmitComplete;
        struct {
            ULONG MSS : 20;
            ULONG TcpHeaderOffset : 10;
            ULONG Type : 1;
            ULONG IPVersion : 1;
        } LsoV2Transmit;
        struct {
            ULONG Reserved : 30;
            ULONG Type : 1;
            ULONG Reserved2 : 1;
        } LsoV2TransmitComplete;
        PVOID Value;
    };
} NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO;
