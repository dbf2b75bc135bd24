"""tshark as a second opinion: which ICVs are right, and what was in the packets, frame by frame."""

import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nicsim.boundary import UdpType
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.profile import load_profile
from nicsim.reasons import Reason
from nicsim.replay.player import Player, ReplayOptions
from nicsim.replay.results import FrameResult
from nicsim.replay.sas import FileSa, export_esp_sa, read_sa_file
from nicsim.wire.headers import format_address
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import PcapWriter, open_capture
from tests.builders import LOCAL, LOCAL6, association, esp_frame, handed_down, host_with, sealed
from tests.ipsec.algorithms import AUTHENTICATED, key_name, oracle_sa
from tests.oracle_esp import pad
from tests.replay.test_captures import ENDS, IDS, truth

pytestmark = pytest.mark.peer("tshark")

NOT_DISSECTED = 253
"""A protocol number for experiments: tshark shows the payload as data and does not stumble over it."""


@dataclass(frozen=True)
class Opinion:
    """What one program thinks of one ESP packet: whether its ICV is right, and the plaintext if it says."""

    icv_good: bool
    plaintext: bytes | None = None


def tshark(capture: Path, associations: list[FileSa], folder: Path) -> dict[int, Opinion]:
    """tshark's opinion of every ESP packet, by frame; the keys lie in a configuration folder of its own.

    Addresses are left open: tshark takes them as they are in the frame, and a NAT makes them others.
    """
    anywhere = [replace(sa, src=b"" if len(sa.src) == 4 else sa.src, dst=b"") for sa in associations]
    (folder / "esp_sa").write_text(export_esp_sa(anywhere))
    fields = ["frame.number", "esp.spi", "esp.icv_good", "esp.icv_bad", "esp.decrypted_data"]
    command = [
        *("tshark", "-n", "-r", str(capture)),
        *("-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE"),
        *("-o", "esp.enable_null_encryption_decode_heuristic:FALSE", "-o", "ip.defragment:TRUE"),
        *("-T", "fields", *(argument for field in fields for argument in ("-e", field))),
    ]
    environment = os.environ | {"WIRESHARK_CONFIG_DIR": str(folder)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    opinions = {}
    for line in said.stdout.splitlines():
        number, spi, good, bad, plaintext = line.split("\t")
        if spi and good:
            assert {good, bad} == {"0", "1"}, line
            opinions[int(number)] = Opinion(good == "1", bytes.fromhex(plaintext) if plaintext else None)
    return opinions


def ours(capture: Path, associations: list[FileSa], local: bytes, window: int = 64) -> dict[int, FrameResult]:
    options = ReplayOptions(local, format_address(local), load_profile("reference"), window)
    player = Player(associations, options, LinkType.ETHERNET)
    with open_capture(capture) as frames:
        return {result.frame: result for result in player.play(frames)}


def opinion_of(result: FrameResult) -> bool | None:
    """Whether we found the ICV right; None where there was none to check."""
    if result.opened_by is not None:
        return True
    if result.host_verdict == "icv-bad" or result.reason is Reason.SENT_ICV_WRONG:
        return False
    return None


# --- captures of a real peer --------------------------------------------------------------------------------------


@pytest.mark.rule("N-RX-6", "N-RX-14")
@pytest.mark.parametrize("capture", ENDS, ids=IDS)
def test_we_and_tshark_find_the_same_icvs_right(capture: Path, tmp_path: Path) -> None:
    associations = read_sa_file(capture.parent / "sas.json")
    theirs = tshark(capture, associations, tmp_path)
    expected = truth(capture)
    local = bytes(int(part) for part in expected["local"].split("."))
    own = {frame: opinion_of(result) for frame, result in ours(capture, associations, local).items()}
    assert {frame: good for frame, good in own.items() if good is not None} == {
        frame: opinion.icv_good for frame, opinion in theirs.items()
    }
    assert sum(opinion.icv_good for opinion in theirs.values()) == expected["esp_icv_good"] > 0


# --- captures of our own: every algorithm, some packets spoiled -------------------------------------------------------


def file_sa(sa: SecurityAssociation) -> FileSa:
    """The association as a file of ours would say it."""
    return FileSa(
        where="made here",
        spi=sa.spi,
        src=sa.src,
        dst=sa.dst,
        keys=sa.keys,
        mode=sa.mode,
        udp_encap=sa.udp_type is not UdpType.NATIVE,
        src_port=sa.src_port or None,
        dst_port=sa.dst_port or None,
    )


def spoiled(frame: bytes, payload_at: int, sequence: int) -> bytes:
    """Every third packet has a bit of its ICV turned, every fifth one of its encrypted payload.

    Not of the IV: tshark dissects what AES-GCM makes of it, and stumbles before it tells of the ICV.
    """
    if sequence % 3 == 0:
        at = len(frame) - 1 - sequence % 8
    elif sequence % 5 == 0:
        at = payload_at + sequence % 9
    else:
        return frame
    return frame[:at] + bytes((frame[at] ^ 1 << sequence % 8,)) + frame[at + 1 :]


def write_capture(path: Path, frames: list[bytes]) -> None:
    with path.open("wb") as stream:
        writer = PcapWriter(stream, LinkType.ETHERNET)
        for number, frame in enumerate(frames):
            writer.write(1_700_000_000 + number / 1000, frame)


@pytest.mark.rule("N-RX-6", "N-RX-14", "N-SA-15")
@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("udp_type", [UdpType.OTHER, UdpType.NATIVE], ids=["udp", "native"])
def test_we_and_tshark_agree_on_every_algorithm(udp_type: UdpType, ipv6: bool, tmp_path: Path) -> None:
    """One capture through an association of each algorithm."""
    sas = [association(0xC0DE00 + number, keys, udp_type, ipv6=ipv6) for number, keys in enumerate(AUTHENTICATED)]
    frames: list[bytes] = []
    expected: dict[tuple[str, int], Opinion] = {}
    places: dict[int, tuple[str, int]] = {}
    for sa in sas:
        for sequence in range(1, 41):
            payload = bytes(range(sequence, 3 * sequence))
            esp = sealed(sa, sequence, payload, NOT_DISSECTED)
            good = esp_frame(sa, esp)
            frames.append(spoiled(good, good.index(esp) + 8 + sa.keys.encryption.iv_length, sequence))
            place = places[len(frames)] = key_name(sa.keys), sequence
            plaintext = pad(oracle_sa(sa.keys), payload, NOT_DISSECTED)
            expected[place] = Opinion(True, plaintext) if frames[-1] == good else Opinion(False)
    capture = tmp_path / "made.pcap"
    write_capture(capture, frames)
    files = [file_sa(sa) for sa in sas]
    # What tshark decrypts of a packet with a wrong ICV is of no interest.
    theirs = {
        places[frame]: opinion if opinion.icv_good else Opinion(False)
        for frame, opinion in tshark(capture, files, tmp_path).items()
    }
    assert theirs == expected
    for frame, result in ours(capture, files, LOCAL6 if ipv6 else LOCAL).items():
        name, sequence = places[frame]
        icv_good = expected[name, sequence].icv_good
        assert opinion_of(result) is icv_good, (name, sequence)
        assert result.reason is (Reason.OPENED if icv_good else Reason.ICV_WRONG), (name, sequence)
        assert result.payload == (bytes(range(sequence, 3 * sequence)) if icv_good else None), (name, sequence)


@pytest.mark.rule("N-TX-3", "N-TX-9")
@pytest.mark.parametrize("udp_type", [UdpType.OTHER, UdpType.NATIVE], ids=["udp", "native"])
def test_tshark_opens_what_the_card_sealed(udp_type: UdpType, tmp_path: Path) -> None:
    sas = [association(0xC0DE00 + number, keys, udp_type, inbound=False) for number, keys in enumerate(AUTHENTICATED)]
    host = host_with(sas)
    frames: list[bytes] = []
    expected: dict[int, Opinion] = {}
    for number, sa in enumerate(sas):
        for sequence in range(1, 20):
            reason, frame = host.send(handed_down(sa, sequence, bytes(sequence), NOT_DISSECTED), number)
            assert reason is Reason.SEALED
            frames.append(frame)
            expected[len(frames)] = Opinion(True, pad(oracle_sa(sa.keys), bytes(sequence), NOT_DISSECTED))
    capture = tmp_path / "sealed.pcap"
    write_capture(capture, frames)
    assert tshark(capture, [file_sa(sa) for sa in sas], tmp_path) == expected
