"""A driver of one's own between our host and our card. This one never has room for a parser entry.

It stands on the reference driver to stay short; anything with the methods of `nicsim.boundary.Miniport` will do. Run it
from the project's folder, after `make demo`:

    .venv/bin/python examples/driver_between.py
"""

from collections import Counter

from nicsim.boundary import Card, OidRequest, OidResult
from nicsim.capabilities import Capabilities
from nicsim.driver.device import ReferenceDriver
from nicsim.profile import load_profile
from nicsim.replay.player import Player, ReplayOptions
from nicsim.replay.sas import read_sa_file
from nicsim.wire.headers import parse_address
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import open_capture
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddUdpespSa

TRACE = "traces/natt-3des-md5-server"


class CrampedDriver(ReferenceDriver):
    """Refuses inbound UDP-ESP as if it had no room for a parser entry; everything else works."""

    def __init__(self, capabilities: Capabilities, card: Card, abi: Abi) -> None:
        super().__init__(capabilities, card, abi)
        self.requests: Counter[str] = Counter()

    def request(self, request: OidRequest) -> OidResult:
        """An ordinary OID request, byte for byte as a host of this pointer width sends it."""
        self.requests[Oid(request.oid).name] += 1
        if request.oid == Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA:
            add = OffloadIpsecAddUdpespSa.unpack(request.buffer, request.abi)
            if add.flags == 1 and not add.encap_type_entry_offld_handle:
                return OidResult(NdisStatus.RESOURCES, request.buffer)
        return super().request(request)


def main() -> None:
    """Replay a shipped capture with that driver, and show what became of it."""
    local = "203.0.113.2"
    profile = load_profile("ndis51")
    options = ReplayOptions(parse_address(local), local, profile, replay_window=64, driver=CrampedDriver)
    player = Player(read_sa_file(f"{TRACE}.sas.json"), options, LinkType.ETHERNET)
    with open_capture(f"{TRACE}.pcap") as capture:
        for _ in player.play(capture):
            pass
    summary = player.finish()
    for sa in summary.associations:
        where = sa.oid or sa.software_detail
        print(f"SPI 0x{sa.spi:08x}: {where}; NIC opened {sa.opened_by_nic}, host {sa.opened_by_host}")
    assert isinstance(player.nic.driver, CrampedDriver)
    print("requests:", dict(player.nic.driver.requests))


if __name__ == "__main__":
    main()
