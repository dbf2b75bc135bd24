"""How fast `nicsim replay` is, and how fast tshark is on the same capture in the same run.

Makes a capture of UDP-ESP frames on port 4500 through a few security associations, keeps it in bench/out for the next
run, and times both programs from start to end of their processes: reading the file, parsing, checking every ICV and
decrypting every payload, with the output thrown away. Before that it makes sure that both really did so.

    python bench/replay.py                the headline: AES-128-CBC with HMAC-SHA1, inner packets of 200 bytes
    python bench/replay.py --all          3DES with HMAC-MD5 and AES-GCM too
    python bench/replay.py --profile      where nicsim's time goes, by cProfile

Nothing here is imported by the package.
"""

import argparse
import cProfile
import hashlib
import json
import os
import pstats
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.esp import protect
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys, Transform
from nicsim.profile import DEFAULT_PROFILE, load_profile
from nicsim.reasons import Reason
from nicsim.replay.player import Player, ReplayOptions
from nicsim.replay.sas import export_esp_sa, read_sa_file
from nicsim.wire.headers import build_ethernet, build_ipv4, build_udp, parse_address
from nicsim.wire.packet import LinkType
from nicsim.wire.pcap import PcapWriter, open_capture

OUT = Path(__file__).parent / "out"
GENERATION = 1
"""Part of every file name: count it up when the way of making the frames changes."""

LOCAL, PEER = "198.51.100.2", "192.0.2.1"
INNER_LOCAL, INNER_PEER = parse_address("10.9.0.1"), parse_address("10.1.2.1")
MAC = bytes.fromhex("020000000001")
ASSOCIATIONS = 8
FIRST_SPI = 0xC0000001
CHECKED_FRAMES = 1000
REPLAY_WINDOW = 64


@dataclass(frozen=True)
class Workload:
    """One capture: the algorithms of its associations, and the length of the inner packets."""

    name: str
    encryption: Encryption
    key_length: int
    integrity: Integrity
    inner_length: int


WORKLOADS = [
    Workload("aes128-sha1", Encryption.AES_CBC, 16, Integrity.HMAC_SHA1_96, 200),
    Workload("3des-md5", Encryption.TRIPLE_DES_CBC, 24, Integrity.HMAC_MD5_96, 200),
    Workload("aes128gcm16", Encryption.AES_GCM_16, 16, Integrity.NONE, 200),
]


@dataclass(frozen=True)
class Files:
    """A capture on the disk, its associations for nicsim, and a configuration folder with them for tshark."""

    capture: Path
    sas: Path
    wireshark: Path


# --- making the capture ----------------------------------------------------------------------------------------


def files_of(workload: Workload, frames: int) -> Files:
    """The files of a workload, made if they are not there."""
    stem = f"{workload.name}-{workload.inner_length}-{frames}-{GENERATION}"
    files = Files(OUT / f"{stem}.pcap", OUT / f"{stem}.sas.json", OUT / f"{stem}.wireshark")
    if not files.capture.exists():
        print(f"making {files.capture.name} ...", file=sys.stderr)
        files.wireshark.mkdir(parents=True, exist_ok=True)
        associations = [association(workload, number) for number in range(ASSOCIATIONS)]
        files.sas.write_text(json.dumps([sa_entry(one) for one in associations], indent=1))
        (files.wireshark / "esp_sa").write_text(export_esp_sa(read_sa_file(files.sas)))
        unfinished = files.capture.with_suffix(".unfinished")
        with unfinished.open("wb") as stream:
            writer = PcapWriter(stream, LinkType.ETHERNET)
            for number, frame in enumerate(sealed_frames(workload, associations, frames)):
                writer.write(1_700_000_000 + number * 1e-5, frame)
        unfinished.rename(files.capture)
    return files


def association(workload: Workload, number: int) -> Association:
    """One tunnel from the peer to the host whose NIC is simulated."""
    return Association(
        spi=FIRST_SPI + number,
        mode=Mode.TUNNEL,
        encapsulation=Encapsulation.UDP,
        keys=SaKeys(
            workload.encryption,
            made_up(f"key {number}", workload.key_length),
            workload.integrity,
            made_up(f"integrity key {number}", workload.integrity.key_length),
            made_up(f"salt {number}", workload.encryption.salt_length),
        ),
        src=parse_address(PEER),
        dst=parse_address(LOCAL),
    )


def sa_entry(sa: Association) -> dict[str, object]:
    """The association in nicsim's own file format."""
    return {
        "spi": f"{sa.spi:#010x}",
        "src": PEER,
        "dst": LOCAL,
        "mode": sa.mode.value,
        "udp_encap": True,
        "encryption": sa.keys.encryption.value,
        "encryption_key": sa.keys.encryption_key.hex(),
        "salt": sa.keys.salt.hex(),
        "integrity": sa.keys.integrity.value,
        "integrity_key": sa.keys.integrity_key.hex(),
    }


def sealed_frames(workload: Workload, associations: list[Association], frames: int) -> Iterator[bytes]:
    """Frames through all associations in turn; every one has its own payload and IV.

    The payload is text: in random bytes tshark finds protocols that are not there, and stumbles over them.
    """
    transforms = [Transform(sa.keys) for sa in associations]
    data_length = workload.inner_length - 28
    for number in range(frames):
        turn, sequence = number % ASSOCIATIONS, number // ASSOCIATIONS + 1
        iv = made_up(f"{turn} {sequence}", workload.encryption.iv_length)
        datagram = build_udp(5001, 5001, (f"{sequence} bottles, " * data_length)[:data_length].encode())
        inner = build_ipv4(INNER_PEER, INNER_LOCAL, 17, datagram, identification=sequence & 0xFFFF)
        packet = protect(associations[turn], transforms[turn], inner, sequence=sequence, iv=iv)
        yield build_ethernet(MAC, MAC, 0x0800, packet)


def made_up(what: str, length: int) -> bytes:
    """Bytes that look random and are the same in every run."""
    return hashlib.shake_256(what.encode()).digest(length)


# --- the two programs --------------------------------------------------------------------------------------------


def nicsim_command(files: Files) -> list[str]:
    """A replay as a user runs it."""
    return [
        *(sys.executable, "-m", "nicsim", "replay", str(files.capture)),
        *("--sas", str(files.sas), "--local", LOCAL),
    ]


def tshark_command(files: Files, frames: int = 0) -> list[str]:
    """tshark checking and decrypting the same, `frames` of them or, by 0, all."""
    options = ["esp.enable_encryption_decode", "esp.enable_authentication_check"]
    return [
        *("tshark", "-n", "-r", str(files.capture)),
        *(argument for option in options for argument in ("-o", f"{option}:TRUE")),
        *("-o", "esp.enable_null_encryption_decode_heuristic:FALSE"),
        *("-T", "fields", "-e", "frame.number", "-e", "esp.spi", "-e", "esp.icv_good", "-e", "esp.protocol"),
        *(("-c", str(frames)) if frames else ()),
    ]


def environment(files: Files) -> dict[str, str]:
    """tshark's keys are in a configuration folder of their own."""
    return os.environ | {"WIRESHARK_CONFIG_DIR": str(files.wireshark)}


def player_of(files: Files) -> Player:
    """What the command line builds, for a look inside."""
    options = ReplayOptions(parse_address(LOCAL), LOCAL, load_profile(DEFAULT_PROFILE), REPLAY_WINDOW)
    return Player(read_sa_file(files.sas), options, LinkType.ETHERNET)


def require_nicsim_opens(files: Files) -> None:
    """Every frame looked at must be opened by the card and accepted by the host."""
    player = player_of(files)
    with open_capture(files.capture) as capture:
        for result in player.play(islice(capture, CHECKED_FRAMES)):
            if result.reason is not Reason.OPENED or result.host_verdict != "accepted":
                sys.exit(f"frame {result.frame} was not opened: {result.reason}, {result.host_verdict}")


def require_tshark_opens(files: Files, frames: int) -> None:
    """tshark must say of every frame looked at that its ICV is good, and see the next header, which is encrypted."""
    command, wanted = tshark_command(files, CHECKED_FRAMES), min(frames, CHECKED_FRAMES)
    said = subprocess.run(command, env=environment(files), capture_output=True, text=True, check=True).stdout
    opened = sum(line.split("\t")[2:] == ["1", "0x04"] for line in said.splitlines())
    if opened != wanted:
        sys.exit(f"tshark checked and decrypted only {opened} of the first {wanted} frames")


# --- measuring ---------------------------------------------------------------------------------------------------


def seconds(command: list[str], env: dict[str, str] | None = None) -> float:
    """How long a whole process takes, its output thrown away."""
    begin = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def measure(workload: Workload, frames: int, repeat: int) -> None:
    """Time both programs in turn and print the best of each."""
    files = files_of(workload, frames)
    has_tshark = shutil.which("tshark") is not None
    require_nicsim_opens(files)
    if has_tshark:
        require_tshark_opens(files, frames)
    ours, theirs = [], []
    for _ in range(repeat):
        ours.append(seconds(nicsim_command(files)))
        if has_tshark:
            theirs.append(seconds(tshark_command(files), environment(files)))
    size = files.capture.stat().st_size / frames - 16
    print(f"{workload.name}: {frames} frames of {size:.0f} bytes (inner packets of {workload.inner_length})")
    print(f"  nicsim replay  {rate(frames, ours)}")
    if theirs:
        print(f"  tshark         {rate(frames, theirs)}")
        print(f"  nicsim is {min(theirs) / min(ours):.2f} times as fast as tshark")
    else:
        print("  tshark is not installed: nothing to compare with")


def rate(frames: int, times: list[float]) -> str:
    """Frames per second by the best time, and all times."""
    return f"{frames / min(times):8.0f} frames/s   ({', '.join(f'{one:.2f}' for one in times)} s)"


def measure_start(repeat: int) -> None:
    """How long a user waits for the shortest answer."""
    times = [seconds([sys.executable, "-m", "nicsim", "--help"]) for _ in range(repeat)]
    print(f"nicsim --help: {min(times):.2f} s")


def profile(workload: Workload, frames: int, lines: int) -> None:
    """Play the capture in this process under cProfile, which makes every call look dearer than it is."""
    player, files = player_of(files_of(workload, frames)), files_of(workload, frames)
    profiler = cProfile.Profile()
    with open_capture(files.capture) as capture:
        profiler.enable()
        for _ in player.play(capture):
            pass
        profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000, help="frames in the capture (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each program, the best counts")
    parser.add_argument("--all", action="store_true", help="all workloads, not the headline alone")
    parser.add_argument(
        "--profile", type=int, metavar="LINES", nargs="?", const=30, help="profile the headline instead"
    )
    arguments = parser.parse_args()
    if arguments.profile:
        profile(WORKLOADS[0], arguments.frames, arguments.profile)
        return
    print(
        "Compared: both programs as whole processes on the same file, taking turns. Each reads the capture, checks"
        f"\nevery ICV and decrypts every payload (made sure of for the first {CHECKED_FRAMES} frames), its output"
        "\nthrown away. nicsim also plays NIC and host; tshark also dissects the inner packets."
    )
    for workload in WORKLOADS if arguments.all else WORKLOADS[:1]:
        measure(workload, arguments.frames, arguments.repeat)
    measure_start(arguments.repeat)


if __name__ == "__main__":
    main()
