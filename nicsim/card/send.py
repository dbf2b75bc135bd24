"""The send path: the host has framed and padded the packet; the card writes IV, ciphertext and ICV.

The division of labour is N-TX-9: the length of the frame does not change, every header is the host's, the UDP
checksum is nobody's. From the inside out: a transport portion before the tunnel portion around it, and in each ESP
before the AH that covers it.

Called by card/device.py. Uses rows.py, framed.py and ipsec/ah.py.
"""

from __future__ import annotations

from collections.abc import Callable

from nicsim.card.framed import Place, locate
from nicsim.card.rows import LoadedSa, Rows
from nicsim.ipsec import ah
from nicsim.reasons import Reason
from nicsim.wire.esp import ESP_HEADER_LENGTH
from nicsim.wire.packet import LinkType

IvSource = Callable[[int], bytes]
"""Gives as many fresh bytes as it is asked for: random in use, counted in tests, the captured ones in a replay."""


def send(
    rows: Rows, frame: bytes, link_type: int, slot: int, iv_source: IvSource, tunnel_slot: int | None = None
) -> tuple[bytes, Reason]:
    """Seal one framed packet with the association in `slot`: the frame for the wire, or the old one and a reason.

    With a tunnel portion around it, `tunnel_slot` has that one's association (N-TX-1, N-V2-14).
    """
    association = rows.outbound.get(slot)
    if association is None:
        return frame, Reason.UNKNOWN_SEND_HANDLE
    if tunnel_slot is None:
        return seal_portion(rows, frame, link_type, association, iv_source)
    tunnel = rows.outbound.get(tunnel_slot)
    if tunnel is None:
        return frame, Reason.UNKNOWN_SEND_HANDLE
    return seal_both(rows, frame, link_type, association, tunnel, iv_source)


def seal_both(
    rows: Rows, frame: bytes, link_type: int, association: LoadedSa, tunnel: LoadedSa, iv_source: IvSource
) -> tuple[bytes, Reason]:
    """Seal the transport portion, which is the tunnel portion's payload, then the tunnel portion."""
    place = locate(rows, frame, link_type, tunnel)
    if isinstance(place, Reason):
        return frame, place
    inside, reason = seal_portion(rows, frame[place.body : place.body_end], LinkType.RAW, association, iv_source)
    if reason is not Reason.SEALED:
        return frame, reason
    return seal_portion(rows, frame[: place.body] + inside + frame[place.body_end :], link_type, tunnel, iv_source)


def seal_portion(
    rows: Rows, frame: bytes, link_type: int, association: LoadedSa, iv_source: IvSource
) -> tuple[bytes, Reason]:
    """Seal the portion that an association's rows describe."""
    place = locate(rows, frame, link_type, association)
    if isinstance(place, Reason):
        return frame, place
    return seal(frame, place, iv_source), Reason.SEALED


def seal(frame: bytes, place: Place, iv_source: IvSource) -> bytes:
    """Seal one portion: ESP, then AH around it, or one of them (N-SA-9)."""
    if place.esp is not None:
        head = frame[place.esp_header : place.body - place.esp.iv_length]
        iv = iv_source(place.esp.iv_length)
        body = frame[place.body : place.body_end]
        sealed = place.esp.transform.seal(head, body, iv, place.esp_sequence_high)
        frame = frame[: place.body - len(iv) - ESP_HEADER_LENGTH] + sealed + frame[place.end :]
    if place.ah is not None:
        start, high = place.packet.payload, place.ah_sequence_high
        icv = ah.seal(place.ah.transform, frame, place.packet.network, start, place.end, high)
        icv_at = start + ah.AH_FIXED_LENGTH
        frame = frame[:icv_at] + icv + frame[icv_at + len(icv) :]
    return frame
