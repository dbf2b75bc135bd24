"""A delete that overtakes its add: the order of requests that NDIS's queue never lets happen (N-DEL-5, N-OID-4).

The transport waits for each request, so this hands them to the NIC itself: an add, which is pending while the card
writes its rows, then the delete of what the add will make. The handles are in the host's buffer already (A-6).
"""

from __future__ import annotations

from collections.abc import Callable

from nicsim.boundary import OidCompletion, OidRequest, RequestKind
from nicsim.host.offload_requests import add_udpesp_sa_buffer
from nicsim.host.pairs import host_association
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys
from nicsim.network.nic_host import NicHost
from nicsim.wire.headers import parse_address
from offload_oids import NdisStatus, Oid
from offload_oids.ipsec_sa import OffloadIpsecAddUdpespSa, OffloadIpsecDeleteUdpespSa

ADD, DELETE = Oid.OID_TCP_TASK_IPSEC_ADD_UDPESP_SA, Oid.OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA
NAMES = {1: ADD.name, 2: DELETE.name}
SPI = 0xC0FFEE99
PEER = parse_address("192.0.2.99")
MOST_POLLS = 10_000


def overtake(node: NicHost) -> None:
    """Do it, and note each step."""
    binding, abi = node.nic, node.nic.abi
    keys = SaKeys(Encryption.TRIPLE_DES_CBC, bytes(range(24)), Integrity.HMAC_SHA1_96, bytes(range(20)))
    association = Association(SPI, Mode.TUNNEL, Encapsulation.UDP, keys, PEER, node.host.address)
    buffer = add_udpesp_sa_buffer(host_association(association, 64, inbound=True), 0).pack(abi)
    added = binding.request(OidRequest(RequestKind.SET, ADD, buffer, abi, request_id=1))
    node.note(f"{ADD.name}: {added.status.name}")
    if added.status not in (NdisStatus.PENDING, NdisStatus.SUCCESS):
        return
    made = OffloadIpsecAddUdpespSa.unpack(added.buffer, abi)
    handles = OffloadIpsecDeleteUdpespSa(made.offload_handle, made.encap_type_entry_offld_handle).pack(abi)
    deleted = binding.request(OidRequest(RequestKind.SET, DELETE, handles, abi, request_id=2))
    node.note(f"{DELETE.name}, while the add is pending: {deleted.status.name}")
    waiting = {number for number, one in ((1, added), (2, deleted)) if one.status is NdisStatus.PENDING}
    _wait(node, waiting, node.note)


def _wait(node: NicHost, waiting: set[int], note: Callable[[str], None]) -> None:
    for _ in range(MOST_POLLS):
        if not waiting:
            return
        for event in node.nic.poll():
            if isinstance(event, OidCompletion) and event.request_id in waiting:
                waiting.discard(event.request_id)
                note(f"{NAMES[event.request_id]} completes: {event.result.status.name}")
    note(f"{len(waiting)} requests never completed")
