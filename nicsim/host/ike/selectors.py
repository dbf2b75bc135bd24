"""Traffic selectors as quick mode carries them: identities with a protocol and a port (RFC 2407 section 4.6.2)."""

from __future__ import annotations

import ipaddress

from nicsim.errors import IkeRefused
from nicsim.events import Selector
from nicsim.host.ike.identity import Identity
from nicsim.reasons import Reason
from nicsim.wire.isakmp import NotifyType
from nicsim.wire.isakmp_payloads import Identification, IdentificationType

_ADDRESSES = {IdentificationType.IPV4_ADDRESS: 4, IdentificationType.IPV6_ADDRESS: 16}
_SUBNETS = {IdentificationType.IPV4_SUBNET: 4, IdentificationType.IPV6_SUBNET: 16}

_NAMES = (
    IdentificationType.FQDN,
    IdentificationType.USER_FQDN,
    IdentificationType.DER_DN,
    IdentificationType.KEY_ID,
)


def selector_of_host(address: bytes) -> Selector:
    """Everything from or to one address, 4 or 16 bytes."""
    return Selector(ipaddress.ip_network(address))


def build_selector(selector: Selector) -> Identification:
    """A host as an address, anything wider as a subnet."""
    network = selector.network
    v4 = network.version == 4
    if network.prefixlen == network.max_prefixlen:
        type_ = IdentificationType.IPV4_ADDRESS if v4 else IdentificationType.IPV6_ADDRESS
        data = network.network_address.packed
    else:
        type_ = IdentificationType.IPV4_SUBNET if v4 else IdentificationType.IPV6_SUBNET
        data = network.network_address.packed + network.netmask.packed
    return Identification(type_, data, selector.protocol, selector.port)


def selector_of_name(identification: Identification, name: Identity | None, address: bytes) -> Selector | None:
    """What an end selects that goes by its phase 1 identity: its address, as it is reached; None for other kinds.

    Only the first draft has this (digest nat-traversal.md section 7). Raises IkeRefused for anybody else's name.
    """
    if identification.type not in _NAMES:
        return None
    said = Identity(IdentificationType(identification.type), identification.data)
    if name is None or not said.same_as(name):
        raise _refused(f"{said} is not {name}, as phase 1 had it")
    return Selector(ipaddress.ip_network(address), identification.protocol, identification.port)


def parse_selector(identification: Identification) -> Selector:
    """The packets that an identity selects. Raises IkeRefused for a kind that selects none, or a mask with holes."""
    type_, data = identification.type, identification.data
    address_length = _ADDRESSES.get(type_)  # type: ignore[call-overload]
    subnet_length = _SUBNETS.get(type_)  # type: ignore[call-overload]
    if address_length == len(data):
        address, prefix = data, len(data) * 8
    elif subnet_length is not None and subnet_length * 2 == len(data):
        address, mask = data[:subnet_length], int.from_bytes(data[subnet_length:], "big")
        prefix = mask.bit_count()
        if mask != ((1 << prefix) - 1) << subnet_length * 8 - prefix:
            raise _refused(f"mask {data[subnet_length:].hex()} has holes")
    else:
        raise _refused(f"an identity of type {type_} with {len(data)} bytes selects no packets")
    try:
        network = ipaddress.ip_network((address, prefix))
    except ValueError:
        raise _refused(f"{address.hex()}/{prefix} has bits beyond its mask") from None
    return Selector(network, identification.protocol, identification.port)


def _refused(detail: str) -> IkeRefused:
    return IkeRefused(Reason.IKE_SELECTORS, detail, NotifyType.INVALID_ID_INFORMATION)
