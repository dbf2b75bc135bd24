"""tshark's view of a capture with key files beside it: which IKE messages and ESP packets it can open."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

DECRYPT = ("-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE")
FIELDS = (
    "isakmp.exchangetype",
    "isakmp.flag_e",
    "isakmp.typepayload",
    "esp.icv_good",
    "esp.icv_bad",
    "icmp.type",
    "_ws.malformed",
    "udp.payload",
)


@dataclass(frozen=True)
class Seen:
    """One frame: what it is, and what tshark found in it."""

    exchange: int | None
    encrypted: bool
    payloads: tuple[int, ...]
    icv_good: bool | None
    icmp: int | None
    malformed: bool


def dissect(capture: Path, *, keys: bool = True) -> list[Seen]:
    """Every frame, with the keys that lie beside the capture or without any.

    A datagram that was sent again is left out: tshark takes it for the next of its exchange, with another IV.
    """
    environment = os.environ | {"WIRESHARK_CONFIG_DIR": str(capture.parent if keys else capture.parent / "no-keys")}
    command = ["tshark", "-n", "-r", str(capture), *DECRYPT, "-T", "fields", "-E", "occurrence=a"]
    command += [argument for field in FIELDS for argument in ("-e", field)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout
    rows, seen = [line.split("\t") for line in said.splitlines()], set()
    return [_seen(row[:-1]) for row in rows if not row[-1] or (row[-1] not in seen and not seen.add(row[-1]))]


def _seen(columns: list[str]) -> Seen:
    exchange, encrypted, payloads, good, bad, icmp, malformed = columns
    return Seen(
        exchange=int(exchange.split(",")[0]) if exchange else None,
        encrypted=encrypted.split(",")[0] in ("1", "True"),
        payloads=tuple(int(number) for number in payloads.split(",") if number),
        icv_good=None if not good and not bad else good.split(",")[0] in ("1", "True"),
        icmp=int(icmp.split(",")[0]) if icmp else None,
        malformed=bool(malformed),
    )
