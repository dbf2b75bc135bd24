"""The two boundaries of the product, as Protocols and as the plain data that crosses them.

The miniport boundary is what NDIS shows: OID buffers exactly as Windows lays them out, statuses, frames with their
packed out-of-band words. The card boundary is what silicon shows: rows, slots, descriptors, all fixed-layout data.
A driver stands between the two: the reference driver, or a driver under test.

    host transport --(Binding)-- NDIS --(Miniport)-- driver --(Card)-- card

On both boundaries an operation may answer PENDING and complete later; completions are collected with `poll`, never
pushed upward.
"""

from nicsim.boundary.card import (
    AddressRow,
    Card,
    CardControl,
    ChecksumResult,
    ChecksumTask,
    Combination,
    Descriptor,
    EspAuthenticator,
    EspCipher,
    LargeSend,
    LargeSent,
    ParserRow,
    Portion,
    Row,
    RowCompletion,
    RowStatus,
    SaRow,
    Table,
    UdpType,
)
from nicsim.boundary.miniport import (
    NO_TASKS,
    Binding,
    Indication,
    Miniport,
    MiniportEvent,
    OffloadAttributes,
    OidCompletion,
    OidRequest,
    OidResult,
    RequestKind,
    ResetCompletion,
    ResetResult,
    SendResult,
    StatusIndication,
    TaskWords,
)

__all__ = [
    "NO_TASKS",
    "AddressRow",
    "Binding",
    "Card",
    "CardControl",
    "ChecksumResult",
    "ChecksumTask",
    "Combination",
    "Descriptor",
    "EspAuthenticator",
    "EspCipher",
    "Indication",
    "LargeSend",
    "LargeSent",
    "Miniport",
    "MiniportEvent",
    "OffloadAttributes",
    "OidCompletion",
    "OidRequest",
    "OidResult",
    "ParserRow",
    "Portion",
    "RequestKind",
    "ResetCompletion",
    "ResetResult",
    "Row",
    "RowCompletion",
    "RowStatus",
    "SaRow",
    "SendResult",
    "StatusIndication",
    "Table",
    "TaskWords",
    "UdpType",
]
