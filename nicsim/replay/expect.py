"""What a capture is known to hold: `expect.json`, and the frames that differ from it.

The file names captures by file name; per capture it gives the local address, counts, and for every ESP packet the
frame, SPI, sequence number, ICV result, payload digest and the receiver's verdict.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from nicsim.errors import InputError
from nicsim.reasons import Reason
from nicsim.replay.results import Difference, Direction, FrameResult, Kind, ReplaySummary

LARGEST_FILE = 256 << 20
"""Bytes; a frame takes about 400, so this is more than half a million of them."""
DIRECTIONS = {"in": Direction.RX, "out": Direction.TX}


class ExpectedPacket(BaseModel):
    """One ESP packet; for a fragmented one `frame` is the frame that completes it."""

    frame: int
    dir: Literal["in", "out"]
    spi: str
    seq: int
    icv: str | None = None
    inner_sha256: str | None = None
    payload_sha256: str | None = None
    receiver: str | None = None


class OtherFrames(BaseModel):
    """Counts of what is neither IKE nor unfragmented ESP."""

    ip_fragments: int = 0


class ExpectedCapture(BaseModel):
    """One capture of the file."""

    local: str
    frames: int | None = None
    ike_port_500: int = 0
    ike_port_4500: int = 0
    nat_keepalives: int = 0
    other_frames: OtherFrames = OtherFrames()
    esp: list[ExpectedPacket] = []


class ExpectFile(BaseModel):
    """The whole file."""

    replay_window: int | None = None
    captures: dict[str, ExpectedCapture]


def read_expectations(path: str, capture_name: str) -> tuple[ExpectedCapture, int | None]:
    """The entry of a capture, and the replay window of the receiver. Raises InputError."""
    name = Path(path).name
    try:
        with Path(path).open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise InputError(f"{name}: needs at most {LARGEST_FILE} bytes")
        parsed = ExpectFile.model_validate(json.loads(text))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: {fault(error)}") from None
    entry = parsed.captures.get(capture_name)
    if entry is None:
        raise InputError(
            f"{name}: has no capture {capture_name!r}, only {', '.join(sorted(parsed.captures)) or 'none'}"
        )
    return entry, parsed.replay_window


def fault(error: Exception) -> str:
    """The first fault of a file in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'the file'}: {first['msg']}"
    return f"is no JSON: {error}"


class Comparison:
    """Collects what differs. Feed it every result, then ask for the differences."""

    def __init__(self, expected: ExpectedCapture) -> None:
        self._expected = expected
        self._packets = {packet.frame: packet for packet in expected.esp}
        self._differences: list[Difference] = []

    def check(self, result: FrameResult) -> None:
        """Compare one frame. That a sealed packet comes out as captured is expected of every NIC."""
        if result.reason is Reason.RESEAL_DIFFERS:
            self._differ(result.frame, "sealed again", "the captured bytes", "other bytes")
        packet = self._packets.pop(result.frame, None)
        if packet is None:
            if result.spi is not None and result.direction is not Direction.OTHER:
                self._differ(result.frame, "ESP packet", "none", f"SPI 0x{result.spi:08x}")
            return
        spi = "none" if result.spi is None else f"{result.spi:08x}"
        self._compare(result.frame, "direction", DIRECTIONS[packet.dir].value, result.direction.value)
        self._compare(result.frame, "SPI", packet.spi.removeprefix("0x").lower(), spi)
        self._compare(result.frame, "sequence number", packet.seq, result.seq)
        if packet.receiver is not None:
            self._compare(result.frame, "receiver", packet.receiver, result.host_verdict)
        if packet.icv == "bad":
            self._compare(result.frame, "payload", None, digest(result.payload))
        elif packet.icv == "good":
            self._compare(result.frame, "payload", packet.payload_sha256 or packet.inner_sha256, digest(result.payload))

    def finish(self, summary: ReplaySummary) -> list[Difference]:
        """Everything that differs, the counts last."""
        for frame in self._packets:
            self._differ(frame, "frame", "there", "not in the capture")
        expected, kinds = self._expected, summary.kinds
        if expected.frames is not None:
            self._compare(None, "frames", expected.frames, summary.frames)
        self._compare(None, "IKE messages", expected.ike_port_500 + expected.ike_port_4500, kinds[Kind.IKE])
        self._compare(None, "keepalives", expected.nat_keepalives, kinds[Kind.KEEPALIVE])
        self._compare(None, "fragments", expected.other_frames.ip_fragments, kinds[Kind.FRAGMENT])
        return self._differences

    def _compare(self, frame: int | None, what: str, expected: object, got: object) -> None:
        if expected != got:
            self._differ(frame, what, str(expected), str(got))

    def _differ(self, frame: int | None, what: str, expected: str, got: str) -> None:
        self._differences.append(Difference(frame, what, expected, got))


def digest(payload: bytes | None) -> str | None:
    """SHA-256 in hex, None for no payload."""
    return None if payload is None else hashlib.sha256(payload).hexdigest()
