"""The files for Wireshark: what goes into which, key files that keep their lines, and nothing half written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nicsim.connect.recording import Recording
from nicsim.errors import InputError
from nicsim.events import Endpoint, MessageSeen
from nicsim.host.ike.peer import IkeDecryption
from nicsim.host.link import Link
from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.replay.sas import read_sa_file
from nicsim.wire.headers import build_ipv4, build_udp, parse_address
from nicsim.wire.packet import LinkType, parse_frame
from nicsim.wire.pcap import Frame, open_capture
from tests.builders import AES

HERE, THERE = parse_address("203.0.113.1"), parse_address("203.0.113.2")
LINK = Link()
PLAIN = bytes(range(28)) + b"payloads"
KEYS = [IkeDecryption(bytes(range(8)), bytes(range(16))), IkeDecryption(bytes(range(8)), bytes(range(16)))]


def frame(payload: bytes, ports: tuple[int, int] = (4500, 4500), protocol: int = 17) -> bytes:
    body = build_udp(*ports, payload) if protocol == 17 else payload
    return LINK.frame(build_ipv4(HERE, THERE, protocol, body))


def seen(port: int, *, sent: bool = True) -> MessageSeen:
    ends = Endpoint(HERE, port), Endpoint(THERE, 1024)
    return MessageSeen(sent, *(ends if sent else ends[::-1]), 2, 0, True, ("ID", "HASH"), PLAIN)


def recording() -> Recording:
    return Recording(LINK, 500, 4500)


def frames(path: Path) -> list[Frame]:
    with open_capture(path) as capture:
        return list(capture)


def test_the_wire_the_inside_and_the_wire_with_ike_in_the_clear(tmp_path: Path) -> None:
    one = recording()
    esp, native, keepalive = frame(b"\0\0\1\1" + bytes(30)), frame(bytes(40), protocol=50), frame(b"\xff")
    ike_500, ike_4500 = frame(b"\1" * 40, (500, 500)), frame(bytes(4) + b"\1" * 40, (4500, 1024))
    for number, wire in enumerate((ike_500, ike_4500, esp, native, keepalive)):
        one.frame(float(number), wire)
    one.message(1.5, seen(500))
    one.message(1.6, seen(4500, sent=False))
    one.packet(2.0, build_ipv4(HERE, THERE, 1, bytes(8)))
    written = one.write(str(tmp_path / "out.pcapng"), KEYS, inner=True, ike_decrypted=True)
    names = ["out.pcapng", "out.inner.pcapng", "out.ike-decrypted.pcapng", "esp_sa", "ikev1_decryption_table"]
    assert written == [str(tmp_path / name) for name in names]
    assert [each.data for each in frames(tmp_path / "out.pcapng")] == [ike_500, ike_4500, esp, native, keepalive]
    [inner] = frames(tmp_path / "out.inner.pcapng")
    assert (inner.link_type, inner.data[9], inner.time) == (LinkType.RAW, 1, 2.0)
    decrypted = [each.data for each in frames(tmp_path / "out.ike-decrypted.pcapng")]
    assert decrypted[:3] == [esp, native, keepalive]
    sent, received = (parse_frame(data) for data in decrypted[3:])
    assert (sent.src, sent.src_port, sent.dst_port) == (HERE, 500, 1024)
    assert decrypted[3][sent.udp_payload :] == PLAIN
    assert (received.src, received.src_port, received.dst_port) == (THERE, 1024, 4500)
    assert decrypted[4][received.udp_payload :] == bytes(4) + PLAIN
    assert (tmp_path / "ikev1_decryption_table").read_text() == "0001020304050607,000102030405060708090a0b0c0d0e0f\n"


def test_the_twins_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    recording().write(str(tmp_path / "out.pcapng"), [], inner=False, ike_decrypted=False)
    assert sorted(os.listdir(tmp_path)) == ["esp_sa", "ikev1_decryption_table", "out.pcapng"]


def test_keys_are_written_for_every_address_that_an_association_had(tmp_path: Path) -> None:
    one = recording()
    ends: list[tuple[bytes, bytes]] = [(HERE, THERE), (HERE, THERE), (HERE, parse_address("198.51.100.7"))]
    for src, dst in ends:
        one.associations([Association(0x1001, Mode.TUNNEL, Encapsulation.UDP, AES, src, dst)])
    one.write(str(tmp_path / "out.pcapng"), [], inner=False, ike_decrypted=False)
    read = read_sa_file(tmp_path / "esp_sa")
    assert [(sa.spi, sa.src, sa.dst, sa.keys) for sa in read] == [
        (0x1001, HERE, THERE, AES),
        (0x1001, HERE, ends[2][1], AES),
    ]


def test_key_files_that_are_there_keep_their_lines(tmp_path: Path) -> None:
    (tmp_path / "ikev1_decryption_table").write_text("# mine\nffffffffffffffff,00")
    for _ in range(2):
        recording().write(str(tmp_path / "out.pcapng"), KEYS, inner=False, ike_decrypted=False)
    ours = "0001020304050607,000102030405060708090a0b0c0d0e0f"
    assert (tmp_path / "ikev1_decryption_table").read_text() == f"# mine\nffffffffffffffff,00\n{ours}\n"


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff\xfe", "cannot be read as text"), (b"x" * (1 << 20 | 1), "has more than")]
)
def test_a_strange_file_in_the_place_of_a_key_file_is_left_alone(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "esp_sa").write_bytes(content)
    with pytest.raises(InputError, match=said):
        recording().write(str(tmp_path / "out.pcapng"), KEYS, inner=False, ike_decrypted=False)
    assert (tmp_path / "esp_sa").read_bytes() == content


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        recording().write(str(tmp_path / "none" / "out.pcapng"), [], inner=False, ike_decrypted=False)
    assert os.listdir(tmp_path) == []


def test_keys_are_in_no_repr() -> None:
    shown = repr(KEYS[0])
    assert "000102030405060708090a0b0c0d0e0f" not in shown
    assert str(bytes(range(16))) not in shown
