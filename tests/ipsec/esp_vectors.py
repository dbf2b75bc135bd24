"""The ESP vectors as nicsim's own types."""

import json
from pathlib import Path
from typing import Any

from nicsim.ipsec.association import Association, Encapsulation, Mode
from nicsim.ipsec.transforms import Encryption, Integrity, SaKeys

VECTORS = Path(__file__).parents[1] / "vectors"
ENCAPSULATIONS = {
    "none": Encapsulation.NONE,
    "udp-4500": Encapsulation.UDP,
    "udp-500-marker": Encapsulation.UDP_NON_IKE,
}


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())["vectors"]
    return vectors


def sa_keys(sa: dict[str, Any]) -> SaKeys:
    cipher = sa["crypt_algo"]
    if cipher.startswith("aes-gcm"):
        encryption = Encryption(f"AES_GCM_{sa['icv_len']}")
    elif cipher.startswith("aes-cbc"):
        encryption = Encryption.AES_CBC
    else:
        encryption = Encryption(cipher.upper().replace("-", "_"))
    integrity = Integrity((sa["auth_algo"] or "none").upper().replace("-", "_"))
    return SaKeys(
        encryption,
        bytes.fromhex(sa["crypt_key"]),
        integrity,
        bytes.fromhex(sa.get("auth_key") or ""),
        bytes.fromhex(sa["salt"]),
    )


def association(vector: dict[str, Any]) -> Association:
    packet = bytes.fromhex(vector.get("protected_packet") or vector["packet_on_responder_side_of_nat"])
    src, dst = (packet[12:16], packet[16:20]) if packet[0] >> 4 == 4 else (packet[8:24], packet[24:40])
    return Association(
        spi=int(vector["sa"]["spi"], 16),
        mode=Mode(vector["mode"]),
        encapsulation=ENCAPSULATIONS[vector["encapsulation"]],
        keys=sa_keys(vector["sa"]),
        src=src,
        dst=dst,
        src_port=vector.get("udp_sport", 4500),
        dst_port=vector.get("udp_dport", 4500),
        esn=vector["sa"]["esn"],
    )
