"""What others make of the segments that the card cut and sealed: scapy opens them, tshark checks every checksum."""

import importlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nicsim.boundary import UdpType
from nicsim.host.software_ipsec import SecurityAssociation
from nicsim.ipsec.transforms import SaKeys
from nicsim.replay.sas import export_esp_sa
from tests.builders import Host, association, host_with
from tests.card.test_segmentation import Large
from tests.ipsec.algorithms import AUTHENTICATED, key_name
from tests.ipsec.test_scapy_peer import SCAPY_CIPHER, SCAPY_HASH
from tests.oracle_tcp import ACK, FIN, PSH, Tcp
from tests.replay.test_tshark_peer import file_sa, write_capture

PAYLOAD = bytes(range(256)) * 16 + b"the end"
LARGE = Tcp(1000, ACK | PSH | FIN, PAYLOAD, 77, bytes.fromhex("0101080a0000000100000002"))


def outbound(number: int, keys: SaKeys, udp_type: UdpType, *, ipv6: bool) -> SecurityAssociation:
    return association(0xC0DE00 + number, keys, udp_type, inbound=False, ipv6=ipv6)


def segments(sas: list[SecurityAssociation]) -> list[list[bytes]]:
    """The same large packet through each association."""
    host: Host = host_with(sas, "ndis61")
    return [list(Large(sa, LARGE, sequence=5, mss=900).sent(host, number).frames) for number, sa in enumerate(sas)]


@pytest.mark.rule("N-V2-5", "N-V2-15")
@pytest.mark.peer("scapy")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("udp_type", [UdpType.OTHER, UdpType.NATIVE], ids=["udp", "native"])
def test_scapy_opens_every_segment_and_finds_its_checksum_right(udp_type: UdpType, ipv6: bool) -> None:
    scapy_ipsec: Any = importlib.import_module("scapy.layers.ipsec")
    inet: Any = importlib.import_module("scapy.layers.inet")
    inet6: Any = importlib.import_module("scapy.layers.inet6")
    known = [keys for keys in AUTHENTICATED if keys.encryption in SCAPY_CIPHER]
    sas = [outbound(number, keys, udp_type, ipv6=ipv6) for number, keys in enumerate(known)]
    for sa, frames in zip(sas, segments(sas), strict=True):
        peer = scapy_ipsec.SecurityAssociation(
            scapy_ipsec.ESP,
            spi=sa.spi,
            crypt_algo=SCAPY_CIPHER[sa.keys.encryption],
            crypt_key=sa.keys.encryption_key + sa.keys.salt,
            auth_algo=SCAPY_HASH[sa.keys.integrity],
            auth_key=sa.keys.integrity_key,
            nat_t_header=inet.UDP(sport=4500, dport=4500) if udp_type is UdpType.OTHER else None,
        )
        stream = b""
        for number, frame in enumerate(frames):
            plain = peer.decrypt((inet6.IPv6 if ipv6 else inet.IP)(frame[14:]))
            tcp = plain[inet.TCP]
            assert (tcp.seq, str(tcp.flags)) == (1000 + 900 * number, "FPA" if frame is frames[-1] else "A")
            told, tcp.chksum = tcp.chksum, None
            again = (inet6.IPv6 if ipv6 else inet.IP)(bytes(plain))
            assert again[inet.TCP].chksum == told
            if not ipv6:
                assert plain.id == 77 + number
            stream += bytes(again[inet.TCP].payload)
        assert stream == PAYLOAD


FIELDS = ["frame.number", "esp.sequence", "esp.icv_good", "ip.checksum.status", "tcp.checksum.status", "tcp.seq_raw"]
GOOD = "1"


@pytest.mark.rule("N-V2-5", "N-V2-15")
@pytest.mark.peer("tshark")
@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("udp_type", [UdpType.OTHER, UdpType.NATIVE], ids=["udp", "native"])
def test_tshark_finds_every_icv_and_every_checksum_right(udp_type: UdpType, ipv6: bool, tmp_path: Path) -> None:
    sas = [outbound(number, keys, udp_type, ipv6=ipv6) for number, keys in enumerate(AUTHENTICATED)]
    cut = segments(sas)
    capture = tmp_path / "segments.pcap"
    write_capture(capture, [frame for frames in cut for frame in frames])
    (tmp_path / "esp_sa").write_text(export_esp_sa([file_sa(sa) for sa in sas]))
    command = [
        *("tshark", "-n", "-r", str(capture)),
        *("-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE"),
        *("-o", "esp.enable_null_encryption_decode_heuristic:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"),
        *("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"),
        *("-T", "fields", *(argument for field in FIELDS for argument in ("-e", field))),
    ]
    environment = os.environ | {"WIRESHARK_CONFIG_DIR": str(tmp_path)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    found = [line.split("\t")[1:] for line in said.stdout.splitlines()]
    expected = [
        [str(5 + number), GOOD, "" if ipv6 else GOOD, GOOD, str(1000 + 900 * number)]
        for frames in cut
        for number in range(len(frames))
    ]
    assert len(expected) == 5 * len(AUTHENTICATED)
    assert found == expected, [key_name(sa.keys) for sa in sas]
