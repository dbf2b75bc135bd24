"""Writing what a run recorded: its captures, and the keys with which Wireshark opens them.

    OUT.pcapng               what the NIC saw that the story is about; else the first node
    OUT.POINT.pcapng         each point of the network, that one too
    esp_sa, ikev1_decryption_table   beside them, so that WIRESHARK_CONFIG_DIR can name that folder

No file has two points: Wireshark follows an exchange from message to message, and would see each of them twice. Key
files that are there already keep their lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nicsim.events import AssociationsReady
from nicsim.files import add_lines, whole_binary_file
from nicsim.host.wireshark import ESP_SA_FILE, IKEV1_FILE, esp_sa_line, ikev1_line
from nicsim.ipsec.association import Association
from nicsim.network.events import Event, Told
from nicsim.network.nic_host import NicHost
from nicsim.network.recording import Point, write_point
from nicsim.scenario.stage import Stage


class Keys:
    """The key lines of a run. Addresses are left open in them: they change on the way through a NAT."""

    def __init__(self) -> None:
        self.esp_sa: dict[str, None] = {}
        self.ike: dict[str, None] = {}

    def observe(self, event: Event) -> None:
        """Keep the keys of what was negotiated, which may be gone at the end."""
        if isinstance(event, Told) and isinstance(event.event, AssociationsReady):
            self._add(event.event.inbound, event.event.outbound)

    def finish(self, stage: Stage) -> None:
        """Take what the hosts hold at the end."""
        for node in stage.network.nodes.values():
            if isinstance(node, NicHost):
                self._add(*_held(node))
                self.ike |= dict.fromkeys(
                    ikev1_line(one.initiator_cookie, one.key) for one in node.host.peer.ike_decryption()
                )

    def _add(self, *associations: Association) -> None:
        for one in associations:
            # An open address counts as IPv4, and IPv6 has no NATs.
            src, dst = (b"", b"") if len(one.src) == 4 else (one.src, one.dst)
            self.esp_sa[esp_sa_line(src, dst, one.spi, one.keys)] = None


def _held(node: NicHost) -> Iterator[Association]:
    for pair in node.host.associations.pairs.values():
        for held in pair.directions():
            yield held.association


def write_captures(path: str, points: Sequence[Point], subject: str, keys: Keys) -> list[Path]:
    """Write everything, the point of the node `subject` as `path`; what was written. Raises InputError."""
    whole = Path(path)
    files = [(whole, next(point for point in points if point.node == subject))]
    files += [(whole.with_name(f"{whole.stem}.{point.name}{whole.suffix}"), point) for point in points]
    for target, point in files:
        with whole_binary_file(str(target)) as stream:
            write_point(stream, point)
    written = [target for target, _ in files]
    for name, lines in ((ESP_SA_FILE, keys.esp_sa), (IKEV1_FILE, keys.ike)):
        if lines:
            add_lines(str(whole.with_name(name)), lines)
            written.append(whole.with_name(name))
    return written
