"""What a session of the front panel holds: one NIC with the reference driver, one host offloader, and what happened.

Worked by the commands (control.py, associations.py, requests.py, frames.py, looking.py); made by session.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicsim.boundary import OidRequest, OidResult, RequestKind
from nicsim.capabilities import Capabilities
from nicsim.driver.device import ReferenceDriver
from nicsim.errors import InputError
from nicsim.host.offloader import Offloader
from nicsim.host.transport import ReceiveWords
from nicsim.impairments import Impaired
from nicsim.nic import Nic
from nicsim.panel import words
from nicsim.panel.sa_words import SaWords
from nicsim.panel.tables import Counts, Held, Moment, handle_text
from offload_oids import Abi, Oid

SaReader = Callable[[str], list[SaWords]]
"""Reads an SA file; raises InputError."""
OIDS = {oid.name: oid for oid in Oid}


class CountedIvs:
    """The card's source of IVs: 1, 2, 3, so that a session can be repeated exactly."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self, length: int) -> bytes:
        self._last += 1
        return self._last.to_bytes(16, "big")[16 - length :]


class CountedNic(Nic):
    """A NIC that counts its requests, whoever makes them."""

    def __init__(self, capabilities: Capabilities, abi: Abi, counts: Counts, impairments: Sequence[Impaired]) -> None:
        self._counts = counts
        super().__init__(capabilities, iv_source=CountedIvs(), abi=abi, impairments=impairments)

    def request(self, request: OidRequest) -> OidResult:
        """An OID request, the offloader's or one of the session's own."""
        result = super().request(request)
        self._counts.requests[f"{oid_name(request.oid)} {result.status.name}"] += 1
        return result


class Session:
    """Everything that the commands work on."""

    def __init__(
        self, capabilities: Capabilities, abi: Abi, read_sas: SaReader, impairments: Sequence[Impaired] = ()
    ) -> None:
        self.over = False
        self.removed = False
        self.counts = Counts()
        self.nic = CountedNic(capabilities, abi, self.counts, impairments)
        assert isinstance(self.nic.driver, ReferenceDriver)  # the default of Nic; the panel reads its tables
        self.driver_state = self.nic.driver.state
        self.offloader = Offloader(self.nic, capabilities.ndis, readings=capabilities.readings)
        self.receive_words = ReceiveWords(capabilities.ndis, abi)
        self.read_sas = read_sas
        self.held: list[Held] = []
        """The associations of the host, those on the NIC and those in software."""
        self.moments: dict[str, Moment] = {}
        self._last_request_id = 1 << 32  # far from those of the offloader

    def request(self, kind: RequestKind, oid: Oid, buffer: bytes) -> OidResult:
        """A request of the session's own."""
        self._last_request_id += 1
        return self.nic.request(OidRequest(kind, oid, buffer, self.nic.abi, request_id=self._last_request_id))

    def find(self, text: str) -> Held:
        """The host's association with this handle, or else with this SPI. Raises InputError."""
        key, equals, value = text.partition("=")
        if equals and key not in ("handle", "spi"):
            raise InputError(f"needs HANDLE, SPI, handle=HANDLE or spi=SPI, got {words.shown(text)}")
        wanted = words.number("the handle or SPI", value if equals else text, 2**64 - 1, 1)
        found = [one for one in self.held if one.handle == wanted and key != "spi"]
        found = found or [one for one in self.held if wanted in one.sa.spis and key != "handle"]
        if not found:
            raise InputError(f"the host holds no association with handle or SPI 0x{wanted:x}; dump sas lists them")
        if len(found) > 1:
            handles = ", ".join(handle_text(one.handle) if one.handle else "one in software" for one in found)
            raise InputError(f"several associations have SPI 0x{wanted:x}, name one by its handle: {handles}")
        return found[0]


def oid_name(oid: int) -> str:
    """The name of an OID, or its number."""
    return Oid(oid).name if oid in OIDS.values() else f"0x{oid:08X}"
