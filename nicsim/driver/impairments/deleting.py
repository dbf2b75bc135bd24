"""Deletes that take nothing, or something else, and parser entries that go too early, never, or come twice."""

from __future__ import annotations

from dataclasses import replace

from nicsim.boundary import Miniport, OidRequest, OidResult
from nicsim.driver.impairments.passing import (
    ADD_UDPESP,
    ADDS,
    DELETE_UDPESP,
    DELETES,
    ENTRY_HANDLE,
    NOT_A_HANDLE,
    SA_HANDLE,
    UDPESP,
    Ask,
    PassingMiniport,
    read_handle,
    with_handle,
)
from offload_oids import NdisStatus
from offload_oids.ipsec_sa import OffloadIpsecAddUdpespSa, OffloadIpsecDeleteUdpespSa

# --- deleting ------------------------------------------------------------------------------------------------------


class DeleteIgnored(PassingMiniport):
    """Every N-th delete is answered with success, and nothing is deleted."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        if request.oid in DELETES and self._is_every_nth():
            return OidResult(NdisStatus.SUCCESS, request.buffer, bytes_read=len(request.buffer))
        return ask(request)


class DeleteTakesNeighbour(PassingMiniport):
    """A delete takes the association that was added before or after the one it names."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._live: list[int] = []

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        structure = DELETES.get(request.oid)
        if structure is None:
            result = ask(request)
            if request.oid in ADDS and result.status == NdisStatus.SUCCESS:
                self._live.append(read_handle(ADDS[request.oid], SA_HANDLE, result.buffer, request.abi))
            return result
        named = read_handle(structure, SA_HANDLE, request.buffer, request.abi)
        victim = next((handle for handle in reversed(self._live) if handle != named), named)
        result = ask(replace(request, buffer=with_handle(structure, SA_HANDLE, request.buffer, request.abi, victim)))
        if result.status == NdisStatus.SUCCESS:
            self._live = [handle for handle in self._live if handle != victim]
        return replace(result, buffer=request.buffer)


# --- parser entries ------------------------------------------------------------------------------------------------


class EntryDeletedEarly(PassingMiniport):
    """A parser entry goes with the first association that is deleted (N-DEL-2)."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._entry_of: dict[int, int] = {}

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        if request.oid == DELETE_UDPESP:
            sa = read_handle(OffloadIpsecDeleteUdpespSa, SA_HANDLE, request.buffer, request.abi)
            entry = self._entry_of.pop(sa, None)
            if entry is None:  # added before this was switched on
                return ask(request)
            self._entry_of = {one: 0 if its == entry else its for one, its in self._entry_of.items()}
            return ask(naming_entry(request, entry))  # zero where it went with another one before
        result = ask(request)
        if request.oid == ADD_UDPESP and result.status == NdisStatus.SUCCESS:
            sa = read_handle(OffloadIpsecAddUdpespSa, SA_HANDLE, result.buffer, request.abi)
            entry = read_handle(OffloadIpsecAddUdpespSa, ENTRY_HANDLE, result.buffer, request.abi)
            self._entry_of[sa] = entry
        return result


class EntryNeverDeleted(PassingMiniport):
    """A parser entry stays, though a delete names it (N-DEL-3)."""

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        return ask(naming_entry(request, 0) if request.oid == DELETE_UDPESP else request)


def naming_entry(request: OidRequest, entry: int) -> OidRequest:
    """The delete, naming another parser entry."""
    buffer = with_handle(OffloadIpsecDeleteUdpespSa, ENTRY_HANDLE, request.buffer, request.abi, entry)
    return replace(request, buffer=buffer)


class SecondEntry(PassingMiniport):
    """An add that finds its parser entry in the list answers a handle of its own for it (N-ADD-3)."""

    def __init__(self, below: Miniport, number: int) -> None:
        super().__init__(below, number)
        self._known: set[int] = set()
        self._real: dict[int, int] = {}

    def _answer(self, request: OidRequest, ask: Ask) -> OidResult:
        structure = UDPESP.get(request.oid)
        if structure is None:
            return ask(request)
        named = read_handle(structure, ENTRY_HANDLE, request.buffer, request.abi)
        real = self._real.get(named, named)
        passed = with_handle(structure, ENTRY_HANDLE, request.buffer, request.abi, real)
        result = ask(replace(request, buffer=passed))
        if request.oid == DELETE_UDPESP or result.status != NdisStatus.SUCCESS:
            return result
        entry = read_handle(structure, ENTRY_HANDLE, result.buffer, request.abi)
        if named == 0 and entry in self._known:
            alias = NOT_A_HANDLE + len(self._real)
            self._real[alias] = entry
            return replace(result, buffer=with_handle(structure, ENTRY_HANDLE, result.buffer, request.abi, alias))
        self._known.add(entry)
        return result
