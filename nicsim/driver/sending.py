"""A frame on its way out: which associations, which tasks, and what the host is told afterwards.

The order is that of "Sending Network Data with IPsec Offload Version 2": is the hardware configured, do the handles
name associations, is there a large send; then the work, which is the card's.

Called by device.py. Uses handles.py, and indicate.py for the words.
"""

from __future__ import annotations

from nicsim.boundary import Card, ChecksumTask, LargeSend, SendResult, Table, TaskWords
from nicsim.driver.handles import DriverState, OffloadedSa
from nicsim.driver.indicate import Words
from nicsim.reasons import Reason
from offload_oids import NdisStatus


def send(
    state: DriverState, card: Card, words: Words, frame: bytes, ipsec: bytes, tunnel: bytes, tasks: TaskWords
) -> SendResult:
    """Send a frame as its out-of-band words say; without IPsec work where the handle is zero (N-TX-1, N-TX-10)."""
    handle, tunnel_handle = words.transmit_handles(ipsec, tunnel)
    handles = [one for one in (handle, tunnel_handle) if one] if handle else []
    associations = [outbound(state, one) for one in handles]
    plain = Reason.NO_SEND_WORK
    if associations and not is_configured(state, associations):
        associations, plain = [], Reason.NOT_CONFIGURED
    known = [one for one in associations if one is not None]
    if len(known) < len(associations):
        return failed(Reason.UNKNOWN_SEND_HANDLE)
    checksums, large = words.transmit_tasks(tasks)
    if refusal := objection(state, known, checksums, large):
        return failed(refusal)
    if large is not None and not state.configuration.tasks.allows_large_send(*words.large_send_kind(tasks)):
        return failed(Reason.LARGE_SEND_NOT_ENABLED)
    slot, tunnel_slot = [*(one.rows[0][0] for one in known), None, None][:2]
    if large is not None:
        return send_large(card, words, frame, slot, large, tasks)
    if slot is None and not checksums:
        return SendResult(NdisStatus.SUCCESS, frame, plain)
    sent, reason = card.send(frame, slot, tunnel_slot, checksums)
    return SendResult(NdisStatus.SUCCESS, sent, reason) if reason in DONE else failed(reason)


DONE = frozenset({Reason.SEALED, Reason.TASKS_DONE})


def failed(reason: Reason) -> SendResult:
    """Nothing goes out."""
    return SendResult(NdisStatus.FAILURE, b"", reason)


def outbound(state: DriverState, handle: int) -> OffloadedSa | None:
    """The outbound association of a handle."""
    association = state.associations.get(handle)
    return association if association and association.table is Table.OUTBOUND else None


def is_configured(state: DriverState, associations: list[OffloadedSa | None]) -> bool:
    """Whether the hardware is configured for version 2, where the frame asks for that (N-V2-16).

    A handle that names nothing may have been of version 1, unless the NIC has version 2 only.
    """
    claims = state.capabilities
    unknown = 1 if claims.version1 else 2
    if claims.version2 is None or any((one.version if one else unknown) == 1 for one in associations):
        return True
    return state.version2 is not None and any(state.configuration.encapsulations or ())


def objection(
    state: DriverState, associations: list[OffloadedSa], checksums: int, large: LargeSend | None
) -> Reason | None:
    """What speaks against the other tasks beside these associations, by the claims (N-CAP-18, N-V2-5)."""
    version2 = state.version2
    if not associations:
        return None
    if large is not None:
        if any(one.version == 1 for one in associations):
            return Reason.LARGE_SEND_WITH_VERSION_1
        if len(associations) > 1:
            return Reason.LARGE_SEND_IN_TUNNEL
        return None if version2 and version2.lso_supported else Reason.LARGE_SEND_NOT_ENABLED
    if all(one.version == 1 for one in associations):
        return None
    beside = (ChecksumTask.TCP if version2 and version2.tcp_checksum else 0) | (
        ChecksumTask.UDP if version2 and version2.udp_checksum else 0
    )
    asked = checksums & (ChecksumTask.TCP | ChecksumTask.UDP)
    return Reason.CHECKSUM_NOT_ENABLED if asked & ~beside else None


def send_large(
    card: Card, words: Words, frame: bytes, slot: int | None, large: LargeSend, tasks: TaskWords
) -> SendResult:
    """A large send, which is completed with a word of its own."""
    sent = card.send_large(frame, slot, large)
    if sent.reason not in DONE:
        return failed(sent.reason)
    done = words.large_send_done(tasks.large_send, sent.payload)
    return SendResult(NdisStatus.SUCCESS, sent.frames[0], sent.reason, sent.frames[1:], done)
