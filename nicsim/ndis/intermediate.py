"""Intermediate drivers between host and NIC: one that alters packets, and one that spreads them over several NICs.

Either is a NIC to the host above it and a protocol to the NICs below. A NIC that works on a packet and a driver that
changes it afterwards, or sends it somewhere else, do not go together: so neither offers offload. They answer the
requests of it with NDIS_STATUS_NOT_SUPPORTED and pass none down (N-OID-7, N-RX-11, N-TX-7), they clear the words of
received frames, and they refuse to send with an offload handle. An intermediate driver that alters nothing passes
everything through.

Over `nicsim.boundary.Binding`; implements it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from nicsim.boundary import (
    NO_TASKS,
    Binding,
    Descriptor,
    Indication,
    OidCompletion,
    OidRequest,
    OidResult,
    SendResult,
    StatusIndication,
    TaskWords,
)
from nicsim.reasons import Reason
from offload_oids import OID_INFO, NdisStatus

OFFLOAD_OIDS = frozenset[int](OID_INFO)


class Adapter(Binding, Protocol):
    """A NIC as the driver above it has it: requests and sends go down, and frames come up."""

    def receive(self, frame: bytes) -> tuple[Indication, Descriptor]:
        """A frame off the wire: what goes up, and what the card wrote about it."""
        ...


class PacketFilter:
    """An intermediate driver over one NIC; `alter` is what it does to every frame, None where it only looks."""

    def __init__(self, below: Adapter, alter: Callable[[bytes], bytes] | None = None) -> None:
        self.abi = below.abi
        self._below = below
        self._alter = alter

    def request(self, request: OidRequest) -> OidResult:
        """An OID request of the host: answered here where it is about offload, else passed down."""
        if self._alter is not None and request.oid in OFFLOAD_OIDS:
            return not_offered(request)
        return self._below.request(request)

    def receive(self, frame: bytes) -> tuple[Indication, Descriptor]:
        """A frame off the wire, altered on its way up."""
        indication, descriptor = self._below.receive(frame)
        if self._alter is not None:
            indication = without_words(indication, self._alter(indication.frame))
        return indication, descriptor

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """A frame of the host, altered on its way down."""
        if self._alter is None:
            return self._below.send(frame, ipsec, tunnel, tasks)
        return send_plain(self._below, self._alter(frame), ipsec, tunnel, tasks)

    def poll(self) -> Sequence[OidCompletion | StatusIndication]:
        """What the NIC below has to say."""
        return self._below.poll()


class LoadBalancer:
    """A load-balancing miniport: one NIC to the host, whose frames go through whichever NIC below is next."""

    def __init__(self, below: Sequence[Adapter]) -> None:
        self.abi = below[0].abi
        self._below = below
        self._next = 0
        self._outstanding: dict[int, tuple[int, OidResult]] = {}
        """How many NICs have not completed a request, and the worst answer so far."""

    def request(self, request: OidRequest) -> OidResult:
        """An OID request of the host; what is not about offload goes to every NIC, and succeeds if it does on all."""
        if request.oid in OFFLOAD_OIDS:
            return not_offered(request)
        answers = [below.request(request) for below in self._below]
        done = [answer for answer in answers if answer.status != NdisStatus.PENDING]
        if len(done) == len(answers):
            return worst(done)
        so_far = worst(done) if done else OidResult(NdisStatus.SUCCESS, request.buffer)
        self._outstanding[request.request_id] = len(answers) - len(done), so_far
        return OidResult(NdisStatus.PENDING, request.buffer)

    def receive(self, frame: bytes, through: int = 0) -> tuple[Indication, Descriptor]:
        """A frame off the wire of one of the NICs."""
        indication, descriptor = self._below[through].receive(frame)
        return without_words(indication, indication.frame), descriptor

    def send(self, frame: bytes, ipsec: bytes, tunnel: bytes = b"", tasks: TaskWords = NO_TASKS) -> SendResult:
        """A frame of the host, through the next NIC."""
        below = self._below[self._next]
        self._next = (self._next + 1) % len(self._below)
        return send_plain(below, frame, ipsec, tunnel, tasks)

    def poll(self) -> Sequence[OidCompletion | StatusIndication]:
        """What the NICs indicate, and the requests that all of them have completed."""
        events: list[OidCompletion | StatusIndication] = []
        for event in (event for below in self._below for event in below.poll()):
            if isinstance(event, StatusIndication):
                events.append(event)
                continue
            left, so_far = self._outstanding.pop(event.request_id)
            result = worst([so_far, event.result])
            if left > 1:
                self._outstanding[event.request_id] = left - 1, result
            else:
                events.append(OidCompletion(event.request_id, result))
        return events


def not_offered(request: OidRequest) -> OidResult:
    """The answer to every request of offload."""
    detail = "an intermediate driver stands between host and NIC"
    return OidResult(NdisStatus.NOT_SUPPORTED, request.buffer, reason=Reason.NOT_OFFERED, detail=detail)


def worst(answers: Sequence[OidResult]) -> OidResult:
    """The first answer that is no success, or else the last one."""
    return next((answer for answer in answers if answer.status != NdisStatus.SUCCESS), answers[-1])


def without_words(indication: Indication, frame: bytes) -> Indication:
    """A frame on its way up; whatever the NIC said of it was about another NIC's association, or about other bytes."""
    return Indication(frame, bytes(len(indication.ipsec)))


def send_plain(below: Adapter, frame: bytes, ipsec: bytes, tunnel: bytes, tasks: TaskWords) -> SendResult:
    """A frame on its way down; no association was ever offloaded, so no handle is known."""
    if any(ipsec) or any(tunnel):
        return SendResult(NdisStatus.FAILURE, b"", Reason.UNKNOWN_SEND_HANDLE)
    if tasks != NO_TASKS:  # nor was any other task
        return SendResult(
            NdisStatus.FAILURE,
            b"",
            Reason.LARGE_SEND_NOT_ENABLED if any(tasks.large_send) else Reason.CHECKSUM_NOT_ENABLED,
        )
    return below.send(frame, ipsec, tunnel)
