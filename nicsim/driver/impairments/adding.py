"""Adds that are refused, accepted or answered wrongly, one at a time or in a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from nicsim.boundary import Miniport, OidRequest, OidResult
from nicsim.driver.impairments.passing import (
    ADD_V2,
    ADDS,
    NOT_A_HANDLE,
    SA_HANDLE,
    Ask,
    PassingMiniport,
    read_handle,
    with_handle,
)
from nicsim.reasons import Reason
from offload_oids import NdisStatus, Oid
from offload_oids.ipsec_sa_v2 import IpsecOffloadV2AddSa

LENGTH_FAULTS = (NdisStatus.INVALID_LENGTH, NdisStatus.BUFFER_TOO_SHORT)
CONTENT_FAULTS = (NdisStatus.INVALID_DATA, *LENGTH_FAULTS)


# --- adding --------------------------------------------------------------------------------------------------------


class TableFullEarly(PassingMiniport):
    """After N associations the tables are said to be full."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        if request.oid not in ADDS:
            return ask(request)
        if self._turn == self._number:
            return OidResult(NdisStatus.RESOURCES, request.buffer, reason=Reason.SA_TABLE_FULL)
        result = ask(request)
        self._turn += result.status == NdisStatus.SUCCESS
        return result


class GoodBufferRefused(PassingMiniport):
    """The N-th add is called invalid, whatever it is."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        if request.oid in ADDS and self._is_nth():
            return OidResult(NdisStatus.INVALID_DATA, request.buffer, reason=Reason.BUFFER_CONTENTS)
        return ask(request)


class BadBufferAccepted(PassingMiniport):
    """A buffer that is too short or invalid is answered with success."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        return OidResult(NdisStatus.SUCCESS, request.buffer) if result.status in CONTENT_FAULTS else result


class BytesNeededWrong(PassingMiniport):
    """BytesNeeded is what is missing, not the total (A-10)."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        if result.status not in LENGTH_FAULTS:
            return result
        return replace(result, bytes_needed=max(0, result.bytes_needed - len(request.buffer)))


class SpoiledHandle(PassingMiniport):
    """The handle that every N-th add answers is one that `spoil` makes of it and of the first handle answered."""

    def __init__(self, spoil: Callable[[int, int], int], below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._spoil = spoil
        self._first = 0

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        structure = ADDS.get(request.oid)
        if structure is None or result.status != NdisStatus.SUCCESS:
            return result
        handle = read_handle(structure, SA_HANDLE, result.buffer, request.abi)
        self._first = self._first or handle
        if not self._is_every_nth():
            return result
        spoiled = self._spoil(handle, self._first)
        return replace(result, buffer=with_handle(structure, SA_HANDLE, result.buffer, request.abi, spoiled))


def no_handle(handle: int, first: int) -> int:
    """NULL."""
    return 0


def wrong_handle(handle: int, first: int) -> int:
    """One that the driver does not know."""
    return handle | NOT_A_HANDLE


def first_handle(handle: int, first: int) -> int:
    """That of the first association."""
    return first


# --- lists (version 2) ---------------------------------------------------------------------------------------------


def places_in_list(request: OidRequest, buffer: bytes) -> Iterator[int]:
    """Where each structure of a list of adds begins; a list that a driver should have refused ends somewhere (A-38)."""
    at, visited = 0, set[int]()
    while 0 <= at < len(buffer) and at not in visited:
        visited.add(at)
        yield at
        following = read_handle(IpsecOffloadV2AddSa, "next", buffer, request.abi, at)
        at = following - request.base if following else len(buffer)


class SpoiledList(PassingMiniport):
    """A list of which some were added, and some not, is answered as `spoil` says."""

    def __init__(self, spoil: Callable[[OidRequest, OidResult], OidResult], below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._spoil = spoil

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        result = ask(request)
        if request.oid != ADD_V2 or result.status != NdisStatus.SUCCESS:
            return result
        places = places_in_list(request, result.buffer)
        handles = [read_handle(IpsecOffloadV2AddSa, SA_HANDLE, result.buffer, request.abi, at) for at in places]
        return result if all(handles) else self._spoil(request, result)


def all_failed(request: OidRequest, result: OidResult) -> OidResult:
    """The whole list is said to have failed (N-V2-11)."""
    return OidResult(NdisStatus.FAILURE, request.buffer, reason=Reason.SA_TABLE_FULL)


def null_handle_forgotten(request: OidRequest, result: OidResult) -> OidResult:
    """Those that were not added have a handle all the same (N-V2-11)."""
    buffer = result.buffer
    for at in places_in_list(request, buffer):
        if not read_handle(IpsecOffloadV2AddSa, SA_HANDLE, buffer, request.abi, at):
            buffer = with_handle(IpsecOffloadV2AddSa, SA_HANDLE, buffer, request.abi, NOT_A_HANDLE, at)
    return replace(result, buffer=buffer)


class UpdateIgnored(PassingMiniport):
    """An update of sequence numbers is answered with success, and the card never hears of it (N-V2-13)."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        if request.oid == Oid.OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA:
            return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=len(request.buffer))
        return ask(request)
