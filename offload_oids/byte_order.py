"""SPIs, ports and IPv4 addresses in the other byte order: no page says which one the structures have (A-28).

Everywhere else in this package they are as a packet has them.
"""

from typing import TypeVar

from offload_oids.codecs import BytesCodec, IntegerCodec
from offload_oids.layout import Abi, Structure, walk

Swapped = TypeVar("Swapped", bound=Structure)
IPV4_ADDRESS_LENGTH = 4


def byte_swapped(value: Swapped, abi: Abi) -> Swapped:
    """The same structure with its SPIs, ports, IPv4 addresses and masks reversed; both arms of a union are."""
    raw = bytearray(value.pack(abi))
    for entry in walk(type(value), abi):
        in_wire_order = isinstance(entry.codec, IntegerCodec) and entry.codec.order == "big"
        is_address = isinstance(entry.codec, BytesCodec) and entry.codec.size == IPV4_ADDRESS_LENGTH
        if in_wire_order or is_address:
            end = entry.offset + entry.codec.size
            raw[entry.offset : end] = raw[entry.offset : end][::-1]
    return type(value).unpack(raw, abi)
