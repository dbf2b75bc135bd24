"""A NAT the plainest way: scapy takes the packet apart, the fields are set, and scapy computes every checksum anew."""

from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, UDPerror


def recomputed(packet: bytes, **changes: Any) -> bytes:
    """The packet with other fields: src, dst, sport, dport, id, ttl; a UDP checksum of zero stays zero."""
    ip = IP(packet)
    for name in ("src", "dst", "ttl"):
        if name in changes:
            setattr(ip, name, changes[name])
    del ip.chksum
    if ip.frag == 0:
        for layer in (UDP, TCP):
            if layer in ip and UDPerror not in ip:
                for name in ("sport", "dport"):
                    if name in changes:
                        setattr(ip[layer], name, changes[name])
                if layer is TCP or ip[UDP].chksum:
                    del ip[layer].chksum
        if ICMP in ip and "id" in changes:
            ip[ICMP].id = changes["id"]
            del ip[ICMP].chksum
    return bytes(ip)
