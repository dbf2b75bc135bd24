"""What hosts tell of themselves, in words for a ladder."""

from __future__ import annotations

from nicsim.events import (
    AddressIdentity,
    AssociationsDeleted,
    AssociationsReady,
    ExchangeFailed,
    HostEvent,
    IkeDown,
    IkeEvent,
    IkeUp,
    MessageDropped,
    NotifyReceived,
    PacketDropped,
    PeerMoved,
    SaPlaced,
)


def words_for(event: HostEvent | IkeEvent) -> str:
    """One line about an event; empty for what the ladder shows in another way, or what comes with every packet."""
    match event:
        case SaPlaced(spi=spi, inbound=inbound, oid=oid, reason=reason, detail=detail):
            where = f"offloaded by {oid}" if oid else f"in software: {reason.label if reason else ''} ({detail})"
            return f"{'inbound' if inbound else 'outbound'} SA {spi:08x} {where}"
        case IkeUp():
            nat = f", NAT: {event.nat.value}" if event.natt_version else ""
            return (
                f"IKE with {event.remote_identity} at {event.remote} is up: {event.proposal}"
                f", {event.natt_version or 'no NAT traversal'}{nat}"
            )
        case IkeDown(reason=reason, by=by):
            return f"IKE is down, by {by.value}: {reason.label}"
        case AddressIdentity(identity=identity, by=by):
            return f"warning: behind a NAT, the {by.value} identity {identity} means nothing"
        case AssociationsReady(inbound=inbound, outbound=outbound):
            return f"SAs agreed: {inbound.spi:08x} in, {outbound.spi:08x} out, {inbound.mode.value}"
        case AssociationsDeleted(inbound_spi=inbound_spi, outbound_spi=outbound_spi, reason=reason, by=by):
            return f"SAs {inbound_spi:08x} and {outbound_spi:08x} deleted, by {by.value}: {reason.label}"
        case PeerMoved(old=old, new=new):
            return f"the peer moved from {old} to {new}"
        case ExchangeFailed(remote=remote, reason=reason, detail=detail):
            return f"the exchange with {remote} failed: {reason.label}: {detail}"
        case MessageDropped(source=source, reason=reason, detail=detail):
            return f"a message from {source} is dropped: {reason.label}: {detail}"
        case NotifyReceived(source=source, number=number):
            return f"notification {number} from {source}"
        case PacketDropped(inbound=inbound, reason=reason, detail=detail):
            return f"{'inbound' if inbound else 'outbound'} packet dropped: {reason.label}: {detail}"
    return ""
