"""What goes by at chosen points of a network, kept to be written as captures.

    recording = Recording(network)
    ...
    recording.points["client-nat"].frames

A point is one node's end of a link: "client-nat" is what the client's NIC towards the NAT sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from nicsim.network.link import Interface
from nicsim.network.network import Network
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import PcapngWriter


@dataclass(slots=True)
class RecordedFrame:
    """One frame, and what there is to say of it."""

    time: float
    frame: bytes
    comment: str = ""


@dataclass(slots=True)
class Point:
    """The frames that one interface saw, both ways, in order."""

    name: str
    node: str
    frames: list[RecordedFrame] = field(default_factory=list)

    def take(self, time: float, frame: bytes) -> None:
        """A frame goes by."""
        self.frames.append(RecordedFrame(time, frame))

    def remark(self, comment: str) -> None:
        """Say something of the frame that went by last."""
        self.frames[-1].comment = comment


class Recording:
    """Every interface of a network, from now on."""

    def __init__(self, network: Network) -> None:
        self.points: dict[str, Point] = {}
        for interface in network.interfaces:
            point = self.points[point_name(interface)] = Point(point_name(interface), interface.node.name)
            interface.taps.append(point.take)


def point_name(interface: Interface) -> str:
    """What the point at an interface is called."""
    return f"{interface.node.name}-{interface.peer.node.name}"


def write_point(stream: BinaryIO, point: Point) -> None:
    """One pcapng file, its interface named as the point is. Virtual time 0 is the beginning of 1970."""
    writer = PcapngWriter(stream, LinkType.ETHERNET, name=point.name)
    for frame in point.frames:
        writer.write(frame.time, frame.frame, comment=frame.comment)
