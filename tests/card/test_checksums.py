"""Checksum tasks beside IPsec: filled in before the card seals, checked after it has opened, reported as claimed."""

from dataclasses import replace

import pytest

from nicsim.boundary import ChecksumResult, ChecksumTask, OidRequest, RequestKind, SendResult, TaskWords, UdpType
from nicsim.capabilities import Capabilities, OtherTasks, Version2Claims
from nicsim.errors import Malformed
from nicsim.host.other_tasks import TaskWriter, seeded
from nicsim.host.software_ipsec import CoveringAh, SecurityAssociation
from nicsim.ipsec.esp import Mode
from nicsim.ipsec.transforms import Encryption, Integrity
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from offload_oids import Abi, NdisStatus, Oid
from offload_oids.ndis_offload import NdisOffloadRevision2
from offload_oids.task_offload import NdisTaskTcpIpChecksum, NdisTaskTcpLargeSend, TaskChecksumV4, TaskChecksumV6
from tests import oracle_tcp
from tests.builders import (
    AES,
    LOCAL,
    LOCAL6,
    PEER,
    PEER6,
    TRIPLE_DES,
    Host,
    association,
    esp_frame,
    ethernet,
    handed_down,
    host_with,
    keys,
    sealed,
)
from tests.ipsec.algorithms import oracle_sa
from tests.oracle_esp import open_
from tests.oracle_tcp import ACK, PSH, Tcp

IP, TCP, UDP = ChecksumTask.IP, ChecksumTask.TCP, ChecksumTask.UDP
DATA = b"seven bytes, and then some more"
SEGMENT = Tcp(0x01020304, ACK | PSH, DATA)
INSIDE, FAR = bytes((10, 0, 0, 1)), bytes((10, 9, 9, 9))
EVERYTHING = OtherTasks(
    NdisTaskTcpIpChecksum(
        TaskChecksumV4(1, 1, 1, 1, 1), TaskChecksumV4(1, 1, 1, 1, 1),
        TaskChecksumV6(1, 1, 1, 1), TaskChecksumV6(1, 1, 1, 1),
    )
)  # fmt: skip


def udp_packet(src: bytes, dst: bytes, checksum: int | None = None, data: bytes = DATA) -> bytes:
    """An IP packet with UDP; the checksum is right unless told."""
    head = (1025).to_bytes(2, "big") + (53).to_bytes(2, "big") + (8 + len(data)).to_bytes(2, "big")
    if checksum is None:
        checksum = oracle_tcp.checksum(oracle_tcp.pseudo(src, dst, 17, 8 + len(data)) + head + b"\0\0" + data) or 0xFFFF
    return oracle_tcp.ip(src, dst, 17, head + checksum.to_bytes(2, "big") + data)


def tcp_packet(src: bytes, dst: bytes, tcp: Tcp = SEGMENT) -> bytes:
    return oracle_tcp.make(src, dst, tcp)


MAKERS = {TCP: tcp_packet, UDP: udp_packet}


def header_length(packet: bytes) -> int:
    return 20 if packet[0] >> 4 == 4 else 40


def with_profile(profile: str) -> Capabilities:
    """A preset that claims every checksum, for presets that claim none."""
    claims = load_profile(profile)
    return claims if claims.version2 else replace(claims, other_tasks=EVERYTHING)


def send(host: Host, frame: bytes, tasks: int, number: int | None = 0, version: int = 4, tunnel: int = 0) -> SendResult:
    handle = 0 if number is None else host.offloaded[number].handle
    writer = TaskWriter(host.offloader.ndis, host.nic.abi)
    words = TaskWords(checksum=writer.checksums(tasks, version))
    tunnel_word = tunnel.to_bytes(host.nic.abi.pointer_size, "little") if tunnel else b""
    return host.nic.send(frame, host.offloader.transmit_word(handle), tunnel_word, words)


def opened(frame: bytes, sa: SecurityAssociation) -> bytes:
    """What ESP carries in a frame on the wire, by the oracle."""
    esp = frame[frame.index(sa.spi.to_bytes(4, "big")) :]
    plain = open_(oracle_sa(sa.keys), esp)
    assert plain is not None
    return plain[0]


@pytest.mark.rule("N-V2-5", "N-TX-3")
@pytest.mark.parametrize("abi", Abi)
@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("udp_type", [UdpType.NATIVE, UdpType.OTHER])
@pytest.mark.parametrize(
    ("profile", "sa_keys", "ipv6"),
    [("ndis51", TRIPLE_DES, False), ("ndis60", TRIPLE_DES, False), ("ndis61", AES, False), ("ndis61", AES, True)],
)
def test_the_checksum_inside_transport_mode_is_right_before_it_is_encrypted(
    profile: str, sa_keys, ipv6: bool, udp_type: UdpType, kind: ChecksumTask, abi: Abi
) -> None:
    sa = association(0x1001, sa_keys, udp_type, inbound=False, ipv6=ipv6)
    host = host_with([sa], with_profile(profile), abi=abi)
    packet = MAKERS[kind](sa.src, sa.dst)
    begin = header_length(packet)
    # The host leaves the sum over the pseudo-header, and asks for the rest.
    handed = handed_down(sa, 3, seeded(packet, with_length=True)[begin:], packet[6 if ipv6 else 9])
    assert packet[begin:] not in handed
    sent = send(host, handed, kind, version=6 if ipv6 else 4)
    assert (sent.status, sent.reason) == (NdisStatus.SUCCESS, Reason.SEALED)
    assert opened(sent.frame, sa) == packet[begin:]
    assert len(sent.frame) == len(handed)


@pytest.mark.rule("N-RX-17", "N-V2-5")
@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("udp_type", [UdpType.NATIVE, UdpType.OTHER])
@pytest.mark.parametrize(("profile", "sa_keys"), [("ndis51", TRIPLE_DES), ("ndis61", AES)])
def test_with_two_ip_headers_the_card_does_the_checksum_of_the_tunnel_header_only(
    profile: str, sa_keys, udp_type: UdpType, kind: ChecksumTask
) -> None:
    sa = association(0x1001, sa_keys, udp_type, Mode.TUNNEL, inbound=False)
    host = host_with([sa], with_profile(profile))
    packet = MAKERS[kind](INSIDE, FAR)
    # The host has not done the header inside either, to see that nobody touches it; the tunnel header has rubbish.
    inner = seeded(packet[:10] + b"\xab\xcd" + packet[12:], with_length=True)
    good = handed_down(sa, 3, inner, 4)
    sent = send(host, good[:24] + b"\xee\xee" + good[26:], IP | kind)
    assert sent.reason is Reason.SEALED
    oracle_tcp.read_ip(sent.frame[14:])  # asserts the checksum of the tunnel header
    assert opened(sent.frame, sa) == packet[:10] + b"\xab\xcd" + packet[12:]
    # Without the task the tunnel header goes out as it was handed down.
    assert send(host, good[:24] + b"\xee\xee" + good[26:], kind).frame[24:26] == b"\xee\xee"


@pytest.mark.rule("N-TX-1", "N-V2-14", "N-V2-5")
def test_the_segment_inside_two_portions_is_found_through_both() -> None:
    inner = association(0x1001, AES, UdpType.NATIVE, inbound=False)
    inner.src, inner.dst, inner.of_two = INSIDE, FAR, True
    tunnel = association(0x1002, AES, UdpType.NATIVE, Mode.TUNNEL, inbound=False)
    tunnel.of_two = True
    host = host_with([inner, tunnel], "ndis61")
    packet = tcp_packet(INSIDE, FAR)
    inside = handed_down(inner, 4, seeded(packet, with_length=True)[20:])[14:]
    sent = send(host, handed_down(tunnel, 5, inside, 4), TCP | IP, tunnel=host.offloaded[1].handle)
    assert sent.reason is Reason.SEALED
    assert opened(opened(sent.frame, tunnel), inner) == packet[20:]


@pytest.mark.rule("N-V2-5", "N-SA-9")
@pytest.mark.parametrize("with_esp", [False, True], ids=["ah", "ah-esp"])
def test_the_segment_behind_ah_is_done_before_ah_covers_it(with_esp: bool) -> None:
    ah_keys = keys(Encryption.NULL, Integrity.HMAC_SHA1_96)
    sa = association(0x1001, AES if with_esp else ah_keys, UdpType.NATIVE, inbound=False)
    if with_esp:
        sa.ah = CoveringAh(0x2222, ah_keys)
    else:
        sa.protocol, sa.spi = 51, 0x2222
    host = host_with([sa], "ndis61")
    packet = tcp_packet(LOCAL, PEER)
    carried = seeded(packet, with_length=True)[20:]
    if with_esp:
        carried = handed_down(sa, 3, carried)[34:]
    header = bytes((50 if with_esp else 6, 4, 0, 0, 0, 0, 0x22, 0x22, 0, 0, 0, 1)) + bytes(12)
    sent = send(host, ethernet(oracle_tcp.ip(LOCAL, PEER, 51, header + carried)), TCP)
    assert sent.reason is Reason.SEALED
    found = opened(sent.frame, sa) if with_esp else sent.frame[58:]
    assert found == packet[20:]
    assert any(sent.frame[46:58])


@pytest.mark.rule("N-TX-10", "N-CAP-7")
@pytest.mark.parametrize("profile", ["ndis51", "ndis60", "ndis61"])
def test_without_a_handle_the_checksums_are_done_and_nothing_else(profile: str) -> None:
    host = host_with([], with_profile(profile))
    for kind in (TCP, UDP):
        packet = MAKERS[kind](LOCAL, PEER)
        rubbish = seeded(packet[:10] + b"\xee\xee" + packet[12:], with_length=True)
        sent = send(host, ethernet(rubbish), kind | IP, None)
        assert (sent.status, sent.reason, sent.frame) == (NdisStatus.SUCCESS, Reason.TASKS_DONE, ethernet(packet))
        # Neither IsIPv4 nor IsIPv6: nothing is to be done.
        untouched = send(host, ethernet(rubbish), kind | IP, None, version=0)
        assert (untouched.reason, untouched.frame) == (Reason.NO_SEND_WORK, ethernet(rubbish))
    assert host.ivs.given == []


def test_a_computed_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    host = host_with([], "ndis61")
    # Two bytes of data that bring the sum to all ones.
    blank = udp_packet(LOCAL, PEER, 0, b"\0\0")[20:]
    missing = oracle_tcp.checksum(oracle_tcp.pseudo(LOCAL, PEER, 17, 10) + blank)
    packet = udp_packet(LOCAL, PEER, 0, missing.to_bytes(2, "big"))
    sent = send(host, ethernet(seeded(packet, with_length=True)), UDP, None)
    assert sent.frame[40:42] == b"\xff\xff"


def test_what_is_neither_tcp_nor_udp_cannot_be_seeded() -> None:
    for packet in (oracle_tcp.ip(LOCAL, PEER, 1, bytes(30)), oracle_tcp.ip(LOCAL, PEER, 6, bytes(17))):
        with pytest.raises(Malformed, match="needs TCP or UDP"):
            seeded(packet, with_length=True)


# --- refusals -----------------------------------------------------------------------------------------------------


def claims_with(**version2: bool) -> Capabilities:
    claims = load_profile("ndis61")
    assert isinstance(claims.version2, Version2Claims)
    return replace(claims, version2=replace(claims.version2, **version2))


OUT = association(0x1001, AES, UdpType.NATIVE, inbound=False)


def refused(capabilities: Capabilities | str, frame: bytes, tasks: int, reason: Reason, version: int = 4) -> None:
    host = host_with([OUT], capabilities)
    sent = send(host, frame, tasks, version=version)
    assert (sent.status, sent.frame, sent.frames, sent.reason) == (NdisStatus.FAILURE, b"", (), reason)
    assert host.ivs.given == []


def framed(packet: bytes) -> bytes:
    return handed_down(OUT, 1, packet[header_length(packet) :], packet[9])


@pytest.mark.rule("N-V2-5")
@pytest.mark.parametrize(("kind", "claim"), [(TCP, "tcp_checksum"), (UDP, "udp_checksum")])
def test_beside_version_2_a_checksum_needs_the_flag_of_its_kind(kind: ChecksumTask, claim: str) -> None:
    frame = framed(seeded(MAKERS[kind](LOCAL, PEER), with_length=True))
    refused(claims_with(**{claim: False}), frame, kind, Reason.CHECKSUM_NOT_ENABLED)
    other = {"tcp_checksum": "udp_checksum", "udp_checksum": "tcp_checksum"}[claim]
    assert send(host_with([OUT], claims_with(**{other: False})), frame, kind).reason is Reason.SEALED
    # The flags are about version 2; the same task without IPsec asks for none.
    host = host_with([], claims_with(**{claim: False}))
    plain = ethernet(seeded(MAKERS[kind](LOCAL, PEER), with_length=True))
    assert send(host, plain, kind, None).reason is Reason.TASKS_DONE


def transmitting(v4: TaskChecksumV4, v6: TaskChecksumV6 | None = None) -> Capabilities:
    claims = load_profile("ndis61")
    task = NdisTaskTcpIpChecksum(v4_transmit=v4, v6_transmit=v6 or TaskChecksumV6())
    return replace(claims, other_tasks=replace(claims.other_tasks, checksum=task))


@pytest.mark.rule("N-CAP-9", "N-V2-5")
def test_a_checksum_must_be_claimed_for_the_packet_it_is_asked_for() -> None:
    plain = framed(tcp_packet(LOCAL, PEER))
    options = framed(tcp_packet(LOCAL, PEER, replace(SEGMENT, options=b"\1\1\1\0")))
    all_but_tcp = transmitting(TaskChecksumV4(1, 1, 0, 1, 1))
    refused(all_but_tcp, plain, TCP, Reason.CHECKSUM_NOT_ENABLED)
    refused(transmitting(TaskChecksumV4(1, 0, 1, 1, 1)), options, TCP, Reason.CHECKSUM_NOT_ENABLED)
    no_udp = transmitting(TaskChecksumV4(1, 1, 1, 0, 1))
    refused(no_udp, framed(udp_packet(LOCAL, PEER)), UDP, Reason.CHECKSUM_NOT_ENABLED)
    refused(transmitting(TaskChecksumV4(1, 1, 1, 1, 0)), plain, IP, Reason.CHECKSUM_NOT_ENABLED)
    assert send(host_with([OUT], transmitting(TaskChecksumV4(0, 0, 1, 0, 1))), plain, TCP | IP).reason is Reason.SEALED
    six = association(0x1001, AES, UdpType.NATIVE, inbound=False, ipv6=True)
    host = host_with([six], transmitting(TaskChecksumV4(1, 1, 1, 1, 1)))
    handed = handed_down(six, 1, tcp_packet(LOCAL6, PEER6)[40:])
    assert send(host, handed, TCP, version=6).reason is Reason.CHECKSUM_NOT_ENABLED


@pytest.mark.rule("N-RX-10", "N-V2-5")
def test_ip_options_need_a_claim_of_their_own_wherever_they_are() -> None:
    with_options = oracle_tcp.make(LOCAL, PEER, SEGMENT, b"\x94\x04\0\0")
    host = host_with([], "ndis61")
    sent = send(host, ethernet(seeded(with_options, with_length=True)), TCP | IP, None)
    assert (sent.reason, sent.frame) == (Reason.TASKS_DONE, ethernet(with_options))
    host = host_with([], transmitting(TaskChecksumV4(0, 1, 1, 1, 1)))
    for task in (TCP, IP):
        sent = send(host, ethernet(with_options), task, None)
        assert (sent.status, sent.reason) == (NdisStatus.FAILURE, Reason.CHECKSUM_NOT_ENABLED)
    tunnel = association(0x1001, AES, UdpType.NATIVE, Mode.TUNNEL, inbound=False)
    host = host_with([tunnel], transmitting(TaskChecksumV4(0, 1, 1, 1, 1)))
    handed = handed_down(tunnel, 1, oracle_tcp.make(INSIDE, FAR, SEGMENT, b"\x94\x04\0\0"), 4)
    assert send(host, handed, TCP).reason is Reason.CHECKSUM_NOT_ENABLED


def test_options_in_the_tunnel_header_count_as_well() -> None:
    tunnel = association(0x1001, AES, UdpType.NATIVE, Mode.TUNNEL, inbound=False)
    plain = handed_down(tunnel, 1, tcp_packet(INSIDE, FAR), 4)
    handed = ethernet(oracle_tcp.ip(tunnel.src, tunnel.dst, 50, plain[34:], 0, b"\x94\x04\0\0"))
    assert send(host_with([tunnel], "ndis61"), handed, TCP).reason is Reason.SEALED
    host = host_with([tunnel], transmitting(TaskChecksumV4(0, 1, 1, 1, 1)))
    assert send(host, handed, TCP).reason is Reason.CHECKSUM_NOT_ENABLED
    assert send(host, plain, TCP).reason is Reason.SEALED


def test_a_datagram_without_data_has_a_checksum() -> None:
    packet = udp_packet(LOCAL, PEER, data=b"")
    sent = send(host_with([], "ndis61"), ethernet(seeded(packet, with_length=True)), UDP, None)
    assert (sent.reason, sent.frame) == (Reason.TASKS_DONE, ethernet(packet))


OTHER = association(0x99, AES, UdpType.NATIVE, inbound=False)
UNFIT = {
    "udp asked of tcp": (framed(tcp_packet(LOCAL, PEER)), UDP, Reason.BAD_CHECKSUM_TASK),
    "tcp asked of udp": (framed(udp_packet(LOCAL, PEER)), TCP, Reason.BAD_CHECKSUM_TASK),
    "neither": (handed_down(OUT, 1, bytes(40), 1), TCP | UDP, Reason.BAD_CHECKSUM_TASK),
    "tcp too short": (handed_down(OUT, 1, bytes(19), 6), TCP, Reason.BAD_CHECKSUM_TASK),
    "udp too short": (handed_down(OUT, 1, bytes(7), 17), UDP, Reason.BAD_CHECKSUM_TASK),
    "a tunnel of nonsense": (handed_down(OUT, 1, bytes(30), 4), TCP, Reason.BAD_CHECKSUM_TASK),
    "badly framed": (framed(tcp_packet(LOCAL, PEER))[:-4], TCP, Reason.BAD_CHECKSUM_TASK),
    "another association's": (handed_down(OTHER), TCP, Reason.BAD_SEND_FRAME),
    "not ip": (bytes(60), IP, Reason.BAD_CHECKSUM_TASK),
}  # fmt: skip


@pytest.mark.rule("N-TX-4")
@pytest.mark.parametrize(("frame", "tasks", "reason"), UNFIT.values(), ids=UNFIT)
def test_a_task_that_the_packet_does_not_fit_fails_the_send(frame: bytes, tasks: int, reason: Reason) -> None:
    refused("ndis61", frame, tasks, reason)


def test_more_padding_than_there_is_payload_fails_the_send() -> None:
    frame = bytearray(framed(tcp_packet(LOCAL, PEER)))
    frame[-14] = 0xFF  # the pad length, before next header and ICV
    refused("ndis61", bytes(frame), TCP, Reason.BAD_CHECKSUM_TASK)


@pytest.mark.rule("N-TX-7")
def test_a_fragment_has_no_checksum_to_do() -> None:
    packet = oracle_tcp.ip(LOCAL, PEER, 6, bytes(40))
    host = host_with([], "ndis61")
    sent = send(host, ethernet(packet[:6] + b"\x20\0" + packet[8:]), TCP, None)
    assert (sent.status, sent.reason) == (NdisStatus.FAILURE, Reason.SEND_FRAGMENT)


def test_ipv6_has_no_header_checksum() -> None:
    host = host_with([], "ndis61")
    sent = send(host, ethernet(tcp_packet(LOCAL6, PEER6)), IP, None, version=6)
    assert sent.reason is Reason.BAD_CHECKSUM_TASK


@pytest.mark.rule("N-V2-16", "N-CP6-6")
def test_nothing_is_done_before_the_encapsulation_is_set() -> None:
    host = host_with([], "ndis61")
    host.nic.card.reset()
    sent = send(host, ethernet(tcp_packet(LOCAL, PEER)), TCP, None)
    assert (sent.status, sent.reason) == (NdisStatus.FAILURE, Reason.CHECKSUM_NOT_ENABLED)


# --- receiving ----------------------------------------------------------------------------------------------------

R = ChecksumResult
IN = association(0x5001, AES, UdpType.NATIVE)
IN_TUNNEL = association(0x5002, AES, UdpType.NATIVE, Mode.TUNNEL)
IN_UDP = association(0x5003, AES, UdpType.OTHER)
IN_UDP_TUNNEL = association(0x5004, AES, UdpType.OTHER, Mode.TUNNEL)
IN_SIX = association(0x5005, AES, UdpType.NATIVE, ipv6=True)


def received(frame: bytes, capabilities: Capabilities | str = "ndis61") -> ChecksumResult:
    """The checksum word that goes up with a frame; the frame itself is as it would be without the task."""
    host = host_with([IN, IN_TUNNEL, IN_UDP, IN_UDP_TUNNEL, IN_SIX], capabilities)
    reason, indication, _ = host.receive(frame)
    without = replace(host.nic.capabilities, other_tasks=OtherTasks())
    other = host_with([IN, IN_TUNNEL, IN_UDP, IN_UDP_TUNNEL, IN_SIX], without)
    assert other.receive(frame)[1] == replace(indication, checksum=b"")
    assert other.receive(frame)[0] is reason
    return TaskWriter(host.offloader.ndis, host.nic.abi).checksum_result(indication.checksum)


def wrong(packet: bytes, at: int = -1) -> bytes:
    changed = bytearray(packet)
    changed[at] ^= 1
    return bytes(changed)


def through(sa: SecurityAssociation, payload: bytes, next_header: int) -> bytes:
    return esp_frame(sa, sealed(sa, 1, payload, next_header))


TCP_IN, UDP_IN = tcp_packet(PEER, LOCAL), udp_packet(PEER, LOCAL)
TCP_INNER, UDP_INNER = tcp_packet(FAR, INSIDE), udp_packet(FAR, INSIDE)
RESULTS = {
    "transport tcp": (through(IN, TCP_IN[20:], 6), R.IP_SUCCEEDED | R.TCP_SUCCEEDED),
    "transport tcp wrong": (through(IN, wrong(TCP_IN[20:]), 6), R.IP_SUCCEEDED | R.TCP_FAILED),
    "transport udp": (through(IN, UDP_IN[20:], 17), R.IP_SUCCEEDED | R.UDP_SUCCEEDED),
    "transport udp wrong": (through(IN, wrong(UDP_IN[20:]), 17), R.IP_SUCCEEDED | R.UDP_FAILED),
    "transport udp without": (through(IN, udp_packet(PEER, LOCAL, 0)[20:], 17), R.IP_SUCCEEDED),
    "transport tcp no data": (
        through(IN, tcp_packet(PEER, LOCAL, replace(SEGMENT, payload=b""))[20:], 6),
        R.IP_SUCCEEDED | R.TCP_SUCCEEDED,
    ),
    "transport udp no data": (
        through(IN, udp_packet(PEER, LOCAL, data=b"")[20:], 17),
        R.IP_SUCCEEDED | R.UDP_SUCCEEDED,
    ),
    "transport icmp": (through(IN, bytes(40), 1), R.IP_SUCCEEDED),
    "transport runt": (through(IN, bytes(7), 6), R.IP_SUCCEEDED),
    "ip header wrong": (wrong(through(IN, TCP_IN[20:], 6), 22), R.IP_FAILED | R.TCP_SUCCEEDED),
    "tunnel tcp": (through(IN_TUNNEL, TCP_INNER, 4), R.IP_SUCCEEDED | R.TCP_SUCCEEDED),
    "tunnel tcp wrong": (through(IN_TUNNEL, wrong(TCP_INNER), 4), R.IP_SUCCEEDED | R.TCP_FAILED),
    "tunnel inner header wrong": (through(IN_TUNNEL, wrong(TCP_INNER, 10), 4), R.IP_SUCCEEDED | R.TCP_SUCCEEDED),
    "tunnel header wrong": (wrong(through(IN_TUNNEL, TCP_INNER, 4), 24), R.IP_FAILED | R.TCP_SUCCEEDED),
    "udp tunnel": (through(IN_UDP_TUNNEL, UDP_INNER, 4), R.IP_SUCCEEDED | R.UDP_SUCCEEDED),
    "udp tunnel tfc": (through(IN_UDP_TUNNEL, UDP_INNER + bytes(50), 4), R.IP_SUCCEEDED | R.UDP_SUCCEEDED),
    "tunnel fragment": (through(IN_TUNNEL, TCP_INNER[:6] + b"\x20\0" + TCP_INNER[8:], 4), R.IP_SUCCEEDED),
    "tunnel of nonsense": (through(IN_TUNNEL, bytes(30), 4), R(0)),
    # A NAT may have changed what it covers: the host repairs first (RFC 3948 section 3.1.2).
    "udp transport": (through(IN_UDP, wrong(TCP_IN[20:]), 6), R.IP_SUCCEEDED),
    "six": (through(IN_SIX, tcp_packet(PEER6, LOCAL6)[40:], 6), R.TCP_SUCCEEDED),
    "six wrong": (through(IN_SIX, wrong(tcp_packet(PEER6, LOCAL6)[40:]), 6), R.TCP_FAILED),
    "icv wrong": (wrong(through(IN, TCP_IN[20:], 6)), R.IP_SUCCEEDED),
    "plain tcp": (ethernet(TCP_IN), R.IP_SUCCEEDED | R.TCP_SUCCEEDED),
    "plain tcp wrong": (ethernet(wrong(TCP_IN)), R.IP_SUCCEEDED | R.TCP_FAILED),
    "plain udp padded": (ethernet(UDP_IN) + bytes(9), R.IP_SUCCEEDED | R.UDP_SUCCEEDED),
    "fragment": (ethernet(TCP_IN[:6] + b"\x20\0" + TCP_IN[8:]), R(0)),
    "no ip": (bytes(60), R(0)),
}


@pytest.mark.rule("N-RX-17", "N-RX-6")
@pytest.mark.parametrize(("frame", "result"), RESULTS.values(), ids=RESULTS)
def test_what_was_decrypted_is_checked_and_nothing_else_changes(frame: bytes, result: ChecksumResult) -> None:
    assert received(frame) == result


@pytest.mark.rule("N-RX-17")
@pytest.mark.parametrize("with_esp", [False, True], ids=["ah", "ah-esp"])
def test_behind_ah_the_segment_is_checked_once_ah_is(with_esp: bool) -> None:
    ah_keys = keys(Encryption.NULL, Integrity.HMAC_SHA1_96)
    out = association(0x1001, AES if with_esp else ah_keys, UdpType.NATIVE, inbound=False)
    back = association(0x1001, AES if with_esp else ah_keys, UdpType.NATIVE)
    back.src, back.dst = LOCAL, PEER
    for sa in (out, back):
        if with_esp:
            sa.ah = CoveringAh(0x2222, ah_keys)
        else:
            sa.protocol, sa.spi = 51, 0x2222
    packet = tcp_packet(LOCAL, PEER)
    carried = handed_down(out, 3, packet[20:])[34:] if with_esp else packet[20:]
    header = bytes((50 if with_esp else 6, 4, 0, 0, 0, 0, 0x22, 0x22, 0, 0, 0, 1)) + bytes(12)
    wire = host_with([out], "ndis61").send(ethernet(oracle_tcp.ip(LOCAL, PEER, 51, header + carried)))[1]
    for frame, result in ((wire, R.IP_SUCCEEDED | R.TCP_SUCCEEDED), (wrong(wire), R.IP_SUCCEEDED)):
        _, indication, descriptor = host_with([back], "ndis61").receive(frame)
        assert descriptor.checksums == result
        assert indication.checksum[:4] == int(result).to_bytes(4, "little")


@pytest.mark.parametrize("abi", Abi)
@pytest.mark.parametrize(("profile", "length"), [("ndis51", {4: 4, 8: 4}), ("ndis60", {4: 4, 8: 8})])
def test_the_word_is_as_long_as_its_version_has_it(profile: str, length: dict[int, int], abi: Abi) -> None:
    host = host_with([], replace(load_profile(profile), other_tasks=EVERYTHING), abi=abi)
    _, indication, _ = host.receive(ethernet(TCP_IN))
    assert indication.checksum == bytes((0b101000,)) + bytes(length[abi.pointer_size] - 1)
    assert TaskWriter(host.offloader.ndis, abi).checksum_result(indication.checksum) == R.TCP_SUCCEEDED | R.IP_SUCCEEDED
    assert TaskWriter(host.offloader.ndis, abi).checksum_result(b"") == R(0)


def receiving(v4: TaskChecksumV4) -> Capabilities:
    claims = load_profile("ndis61")
    return replace(claims, other_tasks=OtherTasks(NdisTaskTcpIpChecksum(v4_receive=v4)))


@pytest.mark.parametrize(
    ("claims", "result"),
    [
        (TaskChecksumV4(1, 1, 1, 1, 0), R.TCP_SUCCEEDED),
        (TaskChecksumV4(1, 1, 0, 1, 1), R.IP_SUCCEEDED),
        (TaskChecksumV4(1, 0, 1, 1, 1), R.IP_SUCCEEDED),
        (TaskChecksumV4(0, 1, 1, 1, 1), R(0)),
    ],
    ids=["no ip", "no tcp", "no tcp options", "no ip options"],
)
def test_only_what_is_claimed_is_looked_at(claims: TaskChecksumV4, result: ChecksumResult) -> None:
    segment = replace(SEGMENT, options=b"\1\1\1\0")
    frame = ethernet(oracle_tcp.make(PEER, LOCAL, segment, b"\x94\x04\0\0"))
    assert received(frame, receiving(TaskChecksumV4(1, 1, 1, 1, 1))) == R.IP_SUCCEEDED | R.TCP_SUCCEEDED
    assert received(frame, receiving(claims)) == result


def test_a_card_without_tcp_options_looks_at_packets_that_have_none() -> None:
    without = receiving(TaskChecksumV4(0, 0, 1, 1, 1))
    assert received(through(IN, TCP_IN[20:], 6), without) == R.IP_SUCCEEDED | R.TCP_SUCCEEDED
    assert received(through(IN_TUNNEL, TCP_INNER, 4), without) == R.IP_SUCCEEDED | R.TCP_SUCCEEDED
    with_options = oracle_tcp.make(FAR, INSIDE, SEGMENT, b"\x94\x04\0\0")
    assert received(through(IN_TUNNEL, with_options, 4), without) == R.IP_SUCCEEDED


# --- what is reported ---------------------------------------------------------------------------------------------


@pytest.mark.rule("N-V2-5", "N-CP6-1")
def test_ndis_offload_has_checksums_large_sends_and_how_they_go_with_version_2() -> None:
    claims = replace(
        claims_with(udp_checksum=False),
        encapsulations=0x6,
        other_tasks=OtherTasks(
            NdisTaskTcpIpChecksum(
                TaskChecksumV4(1, 0, 1, 0, 1), TaskChecksumV4(0, 1, 0, 1, 0),
                TaskChecksumV6(), TaskChecksumV6(0, 0, 1, 0),
            ),
            NdisTaskTcpLargeSend(0, 0x1234, 3, 1, 0),
            large_send_ipv6=True,
        ),
    )  # fmt: skip
    host = host_with([], claims)
    query = OidRequest(RequestKind.QUERY, Oid.OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, bytes(200), Abi.X64)
    report = host.nic.request(query).buffer
    words = [int.from_bytes(report[at : at + 4], "little") for at in range(0, 112, 4)]
    # Checksum: encapsulation and two-bit members for IPv4 send and receive, IPv6 send and receive.
    assert words[1:9] == [6, 0b0100010001, 6, 0b0001000100, 0, 0, 6, 0b00010000]
    # LsoV1: encapsulation, size, segments, TcpOptions and IpOptions.
    assert words[9:13] == [6, 0x1234, 3, 0b0001]
    # LsoV2: three for IPv4, four for IPv6 with IpExtensionHeaders and TcpOptions; then Flags.
    assert words[20:28] == [6, 0x1234, 3, 6, 0x1234, 3, 0b0100, 2]
    assert NdisOffloadRevision2.unpack(report, Abi.X64).ipsec_v2.lso_supported == 1
    nothing = host_with([], replace(claims, other_tasks=OtherTasks())).nic.request(query).buffer
    assert not any(nothing[4:52])
    assert not any(nothing[80:108])
