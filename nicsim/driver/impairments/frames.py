"""Frames that are not indicated, out-of-band words that are wrong, and handles of frames to send that are ignored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nicsim.boundary import NO_TASKS, Descriptor, Indication, Miniport, SendResult, TaskWords
from nicsim.driver.impairments.passing import PassingMiniport
from nicsim.reasons import Reason
from offload_oids import NdisStatus

SA_DELETE_REQUEST = 1


# --- received frames -----------------------------------------------------------------------------------------------


class DropsFrames(PassingMiniport):
    """Every N-th of the frames that `wanted` is about is never indicated: an empty frame stands for none."""

    def __init__(self, wanted: Callable[[bytes, Descriptor], bool], below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._wanted = wanted

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, or not."""
        indication = self._below.indicate(frame, descriptor)
        if self._wanted(frame, descriptor) and self._is_every_nth():
            return Indication(b"", bytes(len(indication.ipsec)), bytes(len(indication.header)))
        return indication


def any_frame(frame: bytes, descriptor: Descriptor) -> bool:
    """All of them."""
    return True


def is_failed(frame: bytes, descriptor: Descriptor) -> bool:
    """Its check failed."""
    return descriptor.crypto_status != 0


def is_keepalive(frame: bytes, descriptor: Descriptor) -> bool:
    """It is a NAT keepalive."""
    return descriptor.reason == Reason.KEEPALIVE.number


def is_ike(frame: bytes, descriptor: Descriptor) -> bool:
    """It is IKE on a port with a parser entry."""
    return descriptor.reason == Reason.IKE.number


class DropsShort(PassingMiniport):
    """Frames of fewer than N bytes are never indicated: an empty frame stands for none."""

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, or not."""
        indication = self._below.indicate(frame, descriptor)
        return indication if len(frame) >= self._number else replace(indication, frame=b"")


class DeleteRequested(PassingMiniport):
    """Every N-th frame that was processed asks for its association to be deleted (N-SA-22)."""

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, with that bit."""
        indication = self._below.indicate(frame, descriptor)
        if not descriptor.crypto_done or not self._is_every_nth():
            return indication
        return replace(indication, ipsec=bytes([indication.ipsec[0] | SA_DELETE_REQUEST]) + indication.ipsec[1:])


class WordTooShort(PassingMiniport):
    """The out-of-band word of every N-th frame is cut to one byte."""

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, with the stump of a word."""
        indication = self._below.indicate(frame, descriptor)
        return replace(indication, ipsec=indication.ipsec[:1]) if self._is_every_nth() else indication


class WordOfFrameBefore(PassingMiniport):
    """Every frame goes up with the out-of-band word of the one before it."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._word = b""

    def indicate(self, frame: bytes, descriptor: Descriptor) -> Indication:
        """A received frame goes up, with another one's word."""
        indication = self._below.indicate(frame, descriptor)
        word = self._word or bytes(len(indication.ipsec))
        self._word = indication.ipsec
        return replace(indication, ipsec=word)


# --- frames to send ------------------------------------------------------------------------------------------------


class UnknownHandleSent(PassingMiniport):
    """A frame whose handle nobody knows is sent as it is, and called sent (N-TX-10)."""

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """Send a frame, protected or not."""
        result = self._below.send(frame, ipsec, tunnel, tasks)
        if result.reason is Reason.UNKNOWN_SEND_HANDLE:
            return SendResult(NdisStatus.SUCCESS, frame, Reason.NO_SEND_WORK)
        return result


class HandleIgnored(PassingMiniport):
    """Every N-th frame is sent as if its handle were zero (N-TX-1)."""

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """Send a frame, protected or not."""
        return self._below.send(frame, bytes(len(ipsec)) if self._is_every_nth() else ipsec, tunnel, tasks)
