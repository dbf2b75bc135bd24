"""One run of `nicsim replay`: files in, a player over them, and what the reader should know beside its results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from nicsim.errors import InputError
from nicsim.host.software_ipsec import DEFAULT_REPLAY_WINDOW
from nicsim.impairments import parse_impairment
from nicsim.profile import DEFAULT_PROFILE, load_profile
from nicsim.replay.expect import Comparison, ExpectedCapture, read_expectations
from nicsim.replay.local import find_local_address
from nicsim.replay.player import Player, ReplayOptions
from nicsim.replay.results import Difference, Direction, FrameResult, ReplaySummary, Story
from nicsim.replay.sas import read_sa_file
from nicsim.replay.story import tell
from nicsim.wire.pcap import Capture, Frame, open_capture
from offload_oids import Abi

LARGEST_REPLAY_WINDOW = 1 << 16


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What the user asked for; None where nothing was said."""

    capture: str
    sas: str
    local: str | None = None
    profile: str = DEFAULT_PROFILE
    replay_window: int | None = None
    strict_addresses: bool = False
    expect: str | None = None
    abi: Abi = Abi.X64
    impairments: tuple[str, ...] = ()
    """NAME or NAME=N each."""


class Session:
    """A prepared replay: everything that can be wrong with its inputs has been said before the first frame.

    Use it as a context manager; it holds the capture open.
    """

    def __init__(self, request: ReplayRequest) -> None:
        self._request = request
        expected, window = expectations_of(request)
        capabilities = load_profile(request.profile)
        impairments = tuple(parse_impairment(text) for text in request.impairments)
        self._associations = read_sa_file(request.sas)
        self._notes = [f"impaired by {one}: {one.impairment.story}" for one in impairments]
        local = self._local_address(expected)
        self._options = ReplayOptions(
            local=local.packed,
            local_text=str(local),
            capabilities=capabilities,
            replay_window=checked_window(request.replay_window, window),
            strict_addresses=request.strict_addresses,
            abi=request.abi,
            impairments=impairments,
        )
        self._comparison = Comparison(expected) if expected else None
        self.capture: Capture = open_capture(request.capture)
        self._player: Player | None = None
        self.differences: list[Difference] = []
        self.summary = ReplaySummary(str(local), capabilities.name)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.capture.close()

    def results(self) -> Iterator[FrameResult]:
        """Every frame's result; afterwards `summary` and `differences` are complete."""
        for frame in self.capture:
            result = self._player_for(frame).play_one(frame)
            if self._comparison:
                self._comparison.check(result)
            yield result
        self._finish()

    def explain(self, number: int) -> Story:
        """Replay up to a frame and tell what happened to it, step by step. Raises InputError if there is none."""
        frames = 0
        for frame in self.capture:
            frames, player = frame.number, self._player_for(frame)
            result = player.play_one(frame)
            if frame.number == number:
                return replace(tell(player, frame, result), notes=tuple(self._notes))
        raise InputError(f"{self._request.capture} has {frames} frames, so there is no frame {number} to explain")

    def _player_for(self, frame: Frame) -> Player:
        """The player; the first frame says what link its NIC is on."""
        if self._player is None:
            self._player = Player(self._associations, self._options, frame.link_type)
        return self._player

    def _finish(self) -> None:
        if self._player is not None:
            self.summary = self._player.finish()
        if self.capture.truncated:
            self._notes.append(f"the capture is cut: {self.capture.truncated}")
        if self.summary.time_backwards:
            self._notes.append(f"time stamps run backwards at {self.summary.time_backwards} frames")
        if self.summary.frames and all(direction is Direction.OTHER for direction, _ in self.summary.reasons):
            self._notes.append(f"no frame comes from or goes to {self.summary.local}")
        self.summary.notes = self._notes
        if self._comparison:
            self.differences = self._comparison.finish(self.summary)

    def _local_address(self, expected: ExpectedCapture | None) -> IPv4Address | IPv6Address:
        """Whose NIC this is: as the user says, as the expectations say, or by the TTLs."""
        said = self._request.local or (expected.local if expected else None)
        if said is not None:
            try:
                return ip_address(said)
            except ValueError:
                raise InputError(f"the local address needs to be an IPv4 or IPv6 address, not {said!r}") from None
        if not Path(self._request.capture).is_file():
            open_capture(self._request.capture).close()  # says what is wrong with the path, if something is
            raise InputError(f"{self._request.capture} can be read only once; name the NIC's host with --local ADDR")
        with open_capture(self._request.capture) as capture:
            local = ip_address(find_local_address(capture))
        self._notes.append(f"{local} is the local host: only its packets have a TTL that no router has lowered")
        return local


def expectations_of(request: ReplayRequest) -> tuple[ExpectedCapture | None, int | None]:
    """What the capture should hold, and the receiver's replay window, if the user gave such a file."""
    if request.expect is None:
        return None, None
    return read_expectations(request.expect, Path(request.capture).name)


def checked_window(asked: int | None, expected: int | None) -> int:
    """The replay window: as asked, as expected, or 64."""
    window = asked if asked is not None else expected if expected is not None else DEFAULT_REPLAY_WINDOW
    if not 0 <= window <= LARGEST_REPLAY_WINDOW:
        raise InputError(f"the replay window needs to be 0 to {LARGEST_REPLAY_WINDOW}, not {window}")
    return window
