"""The panel's commands about frames: off the wire into the NIC, and from the host onto the wire.

Listed in commands.py.
"""

from __future__ import annotations

from collections import Counter

from nicsim.boundary import Descriptor, Indication, Table
from nicsim.errors import InputError
from nicsim.host.offloader import Offloaded
from nicsim.ipsec.association import Mode
from nicsim.panel import words
from nicsim.panel.answers import Answer, FrameAnswer, FramesAnswer, Sent
from nicsim.panel.framing import ethernet, framed, ip_packet
from nicsim.panel.state import Session
from nicsim.panel.tables import Held, handle_text, spi_text
from nicsim.reasons import BY_NUMBER, Reason
from nicsim.wire.packet import LinkType, link_type_name
from nicsim.wire.pcap import Frame, open_capture

GOOD = (Reason.OPENED, Reason.CHECKED)
SEAL_WORDS = ("tunnel", "next", "seq")
EXPERIMENTAL = 253
"""The protocol number for what is none (RFC 3692): the default of `seal`."""


# --- off the wire ----------------------------------------------------------------------------------------------------


def feed(session: Session, rest: list[str]) -> Answer:
    """Frames of a capture, off the wire into the NIC."""
    if rest[0] == "-":
        raise InputError("feed needs a file; standard input may be the script")
    every = rest[1].lower() == "all"
    wanted = 0 if every else words.number("FRAME", rest[1], 2**53, 1)
    reasons, handles, frames = Counter[str](), handles_by_slot(session), 0
    with open_capture(rest[0]) as capture:
        for frame_there in capture:
            frames = frame_there.number
            if every and len(frame_there.data) < frame_there.original_length:
                reasons[Reason.NOT_CAPTURED_WHOLE.label] += 1
            elif every:
                reasons[received(session, whole(frame_there), handles, frames).reason] += 1
            elif frames == wanted:
                return received(session, whole(frame_there), handles, frames)
    if every:
        return FramesAnswer(frames, dict(reasons))
    raise InputError(f"the capture has {frames} frames, so there is no frame {wanted}")


def frame(session: Session, rest: list[str]) -> Answer:
    """One frame from its hex digits."""
    return received(session, words.octets("the frame", "".join(rest)), handles_by_slot(session), None)


def handles_by_slot(session: Session) -> dict[int, int]:
    """The offload handle behind each inbound slot."""
    return {
        slot: offloaded.handle
        for offloaded in session.driver_state.associations.values()
        if offloaded.table is Table.INBOUND
        for slot, _ in offloaded.rows
    }


def received(session: Session, data: bytes, handles: dict[int, int], number: int | None) -> FrameAnswer:
    """What the NIC did with a frame, and the word it was indicated with."""
    indication, descriptor = session.nic.receive(data)
    word, reason = session.receive_words.read(indication.ipsec), BY_NUMBER[descriptor.reason]
    own = [handles[slot - 1] for slot in (descriptor.slot, descriptor.next_slot) if slot - 1 in handles]
    session.counts.received[reason.label] += 1
    for handle in own:
        session.counts.packets[handle] += 1
    if own:  # of two portions the last one that was looked at
        session.counts.failed[own[-1]] += reason not in GOOD
    deleted = make_room(session, own[0]) if own and word.sa_delete_request else ()
    parser = session.nic.card.rows.parser.get(descriptor.parser_slot - 1)
    return FrameAnswer(
        frame=number,
        reason=reason.label,
        rule=reason.rule,
        sentence=reason.sentence,
        handle=handle_text(own[0]) if own else None,
        next_handle=handle_text(own[1]) if len(own) > 1 else None,
        parser_port=parser.port if parser else None,
        crypto_done=word.crypto_done,
        next_crypto_done=word.next_crypto_done,
        sa_delete_request=word.sa_delete_request,
        crypto_status=word.crypto_status.name,
        ipsec_word=indication.ipsec.hex(),
        indicated=bool(indication.frame),
        plaintext=plaintext_of(indication, descriptor, reason),
        deleted=deleted,
    )


def make_room(session: Session, handle: int) -> tuple[str, ...]:
    """The host's answer to SaDeleteReq: this association and its outbound partner go back to software (N-SA-22)."""
    asked = next((one.outcome for one in session.held if one.handle == handle), None)
    if not isinstance(asked, Offloaded):
        return ()
    moved = {offloaded.handle: why for offloaded, why in session.offloader.answer_delete_request(asked)}
    gone = tuple(spi_text(one.sa.spi) for one in session.held if one.handle in moved)
    session.held = [Held(one.sa, moved[one.handle]) if one.handle in moved else one for one in session.held]
    return gone


def whole(frame: Frame) -> bytes:
    """The octets of a captured frame that a NIC on Ethernet can be fed."""
    if frame.link_type != LinkType.ETHERNET:
        raise InputError(
            f"frame {frame.number} has link type {link_type_name(frame.link_type)}; the panel's NIC is on Ethernet"
        )
    if len(frame.data) < frame.original_length:
        raise InputError(f"frame {frame.number} was captured only in part")
    return frame.data


def plaintext_of(indication: Indication, descriptor: Descriptor, reason: Reason) -> str | None:
    """The decrypted octets, of a frame that was opened."""
    if reason is not Reason.OPENED:
        return None
    return indication.frame[descriptor.payload_offset : descriptor.payload_end].hex()


# --- onto the wire ---------------------------------------------------------------------------------------------------


def send(session: Session, rest: list[str]) -> Answer:
    """A frame of the host as it is, to be sealed by an association, or by two."""
    given, digits = words.leading_pairs(rest[1:], ("tunnel",))
    if not digits:
        raise InputError("send needs the frame in hex digits behind the association")
    one, tunnel = outbound(session, rest[0]), outbound(session, given["tunnel"]) if "tunnel" in given else None
    return sent(session, one, tunnel, words.octets("the frame", "".join(digits)))


def seal(session: Session, rest: list[str]) -> Answer:
    """A payload of the host: put into a packet, framed as the transport does it, and handed to the NIC."""
    given, digits = words.leading_pairs(rest[1:], SEAL_WORDS)
    payload = words.octets("the payload", "".join(digits))
    one, tunnel = outbound(session, rest[0]), outbound(session, given["tunnel"]) if "tunnel" in given else None
    protocol = words.number("next", given.get("next", str(EXPERIMENTAL)), 255)
    sequence = words.number("seq", given.get("seq", "1"), 2**32 - 1, 1)
    if tunnel and tunnel.sa.mode is not Mode.TUNNEL:
        raise InputError("tunnel= needs an association in tunnel mode")
    if tunnel and one.sa.mode is Mode.TUNNEL:
        raise InputError("with tunnel= the first association needs to be in transport mode")
    src, dst = inner_ends(one)
    packet = framed(one.sa, ip_packet(src, dst, protocol, payload), sequence)
    if tunnel:
        packet = framed(tunnel.sa, packet, sequence)
    return sent(session, one, tunnel, ethernet(packet))


def inner_ends(one: Held) -> tuple[bytes, bytes]:
    """The addresses of the packet that is protected: in a tunnel the inner ones, where they are known."""
    sa = one.sa
    if sa.mode is not Mode.TUNNEL or not (sa.inner_src and sa.inner_dst):
        return sa.src, sa.dst
    return tuple(words.address("inner", text.partition("/")[0]) for text in (sa.inner_src, sa.inner_dst))  # type: ignore[return-value]


def outbound(session: Session, text: str) -> Held:
    """An association that the NIC can seal with."""
    one = session.find(text)
    if one.sa.inbound or not one.handle:
        raise InputError("send and seal need an outbound association that is on the NIC")
    return one


def sent(session: Session, one: Held, tunnel: Held | None, data: bytes) -> Sent:
    """Hand a frame to the NIC with the handles that seal it."""
    result = session.nic.send(data, *session.offloader.transmit_words(one.handle, tunnel.handle if tunnel else 0))
    session.counts.sent[result.reason.label] += 1
    return Sent(result.status.name, result.reason.label, result.reason.rule, result.reason.sentence, result.frame.hex())
