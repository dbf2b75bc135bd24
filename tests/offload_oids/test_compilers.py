"""Every declaration against two C compilers for Windows: what they make of the C structures, read from object files.

The probe is written from our own offset tables: each member's offset and size, and for each bit-field an object that
has only this one set. 29 structures come from the headers of mingw-w64, the other 15 from documented_structures.h.
"""

import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from offload_oids import STRUCTURES, Abi, Member, align_of, offset_table, size_of

DATA = Path(__file__).parent / "data"
COMPILERS = {Abi.X86: "i686-w64-mingw32", Abi.X64: "x86_64-w64-mingw32"}
# One object per bit-field, each in a slot of this size, larger than any structure that has bit-fields.
SLOT = 1024


@dataclass(frozen=True)
class Source:
    """Where a C declaration comes from, and what a probe must include and define to see it."""

    name: str
    prelude: str


USER_MODE = "#include <stddef.h>\n#include <winsock2.h>\n#include <ws2ipdef.h>\n#include <ntddndis.h>\n"
NDIS_60 = Source("ntddndis.h for NDIS 6.0", "#define UM_NDIS60\n" + USER_MODE)
NDIS_61 = Source("ntddndis.h for NDIS 6.1", "#define UM_NDIS61\n" + USER_MODE)
NDIS_630 = Source("ntddndis.h for NDIS 6.30", "#define UM_NDIS630\n" + USER_MODE)
KERNEL_MODE = Source(
    "ndis.h",
    "#define NDIS_MINIPORT_DRIVER\n#define NDIS60_MINIPORT\n#define NDIS_LEGACY_DRIVER 1\n"
    "#define NDIS_SUPPORT_NDIS6 1\n"
    '#include <stddef.h>\n#include "repaired_ndis.h"\n',
)
DOCUMENTED = Source("documented_structures.h", (DATA / "documented_structures.h").read_text())

# The C name, where the specification's is a revision of it.
REVISIONS = {
    "NDIS_OFFLOAD_REVISION_1": ("NDIS_OFFLOAD", NDIS_60),
    "NDIS_OFFLOAD_REVISION_2": ("NDIS_OFFLOAD", NDIS_61),
    "NDIS_OFFLOAD_REVISION_3": ("NDIS_OFFLOAD", NDIS_630),
    "NDIS_OFFLOAD_PARAMETERS_REVISION_1": ("NDIS_OFFLOAD_PARAMETERS", NDIS_60),
    "NDIS_OFFLOAD_PARAMETERS_REVISION_2": ("NDIS_OFFLOAD_PARAMETERS", NDIS_61),
    "NDIS_OFFLOAD_PARAMETERS_REVISION_3": ("NDIS_OFFLOAD_PARAMETERS", NDIS_630),
}
IN_NTDDNDIS_H = (
    "OFFLOAD_ALGO_INFO",
    "OFFLOAD_SECURITY_ASSOCIATION",
    "OFFLOAD_IPSEC_ADD_SA",
    "OFFLOAD_IPSEC_DELETE_SA",
    "OFFLOAD_IPSEC_UDPESP_ENCAPTYPE_ENTRY",
    "OFFLOAD_IPSEC_ADD_UDPESP_SA",
    "OFFLOAD_IPSEC_DELETE_UDPESP_SA",
    "NDIS_OBJECT_HEADER",
    "NDIS_IPSEC_OFFLOAD_V1",
    "NDIS_TCP_IP_CHECKSUM_OFFLOAD",
    "NDIS_TCP_LARGE_SEND_OFFLOAD_V1",
    "NDIS_TCP_LARGE_SEND_OFFLOAD_V2",
    "NDIS_IPSEC_OFFLOAD_V2",
)
IN_NDIS_H = (
    "NDIS_ENCAPSULATION_FORMAT",
    "NDIS_TASK_OFFLOAD_HEADER",
    "NDIS_TASK_OFFLOAD",
    "NDIS_TASK_IPSEC",
    "NDIS_TASK_TCP_IP_CHECKSUM",
    "NDIS_TASK_TCP_LARGE_SEND",
    "NDIS_IPSEC_PACKET_INFO",
    "NDIS_PACKET_EXTENSION",
    "NDIS_TCP_IP_CHECKSUM_PACKET_INFO",
    "NDIS_IPSEC_OFFLOAD_V1_NET_BUFFER_LIST_INFO",
)
DECLARED: dict[str, tuple[str, Source]] = (
    REVISIONS | {name: (name, NDIS_61) for name in IN_NTDDNDIS_H} | {name: (name, KERNEL_MODE) for name in IN_NDIS_H}
)


def declaration(name: str) -> tuple[str, Source]:
    return DECLARED.get(name, (name, DOCUMENTED))


def described(name: str, abi: Abi) -> str:
    return f"{name}-{declaration(name)[1].name.replace(' ', '-')}-{abi.value}"


def test_29_structures_come_from_real_headers_and_15_from_ours() -> None:
    assert set(DECLARED) <= set(STRUCTURES)
    assert (len(DECLARED), len(STRUCTURES)) == (29, 44)


@pytest.mark.peer("mingw")
@pytest.mark.parametrize(
    ("name", "abi"),
    [pytest.param(name, abi, id=described(name, abi)) for name in STRUCTURES for abi in Abi],
)
def test_two_compilers_lay_it_out_the_same(name: str, abi: Abi) -> None:
    structure = STRUCTURES[name]
    found = measured(declaration(name)[1], abi)[name]

    assert found.numbers[:2] == (size_of(structure, abi), align_of(structure, abi))
    assert found.numbers[2:] == tuple(value for member in named(name, abi) for value in (member.offset, member.size))
    for (path, offset, mask), value in zip(bit_fields(name, abi), found.objects, strict=True):
        assert value == mask << 8 * offset, path


@dataclass(frozen=True)
class Measured:
    """What a compiler made of one structure."""

    numbers: tuple[int, ...]
    """Size and alignment, then offset and size of each member that has a C name."""
    objects: tuple[int, ...]
    """Each bit-field alone set in a cleared structure, as one integer whose lowest byte is the structure's first."""


def is_unit(member: Member) -> bool:
    """A storage unit has no name in C: its bit-fields are measured instead."""
    return member.name.rpartition(".")[2] == "bits"


def named(name: str, abi: Abi) -> list[Member]:
    return [member for member in offset_table(STRUCTURES[name], abi) if not is_unit(member)]


def bit_fields(name: str, abi: Abi) -> Iterator[tuple[str, int, int]]:
    """Every bit-field as its C path, the offset of its storage unit, and its mask in the unit."""
    for unit in filter(is_unit, offset_table(STRUCTURES[name], abi)):
        prefix = unit.name.removesuffix("bits")
        for bit in unit.bits:
            yield prefix + bit.name, unit.offset, (1 << bit.width) - 1 << bit.shift


@cache
def measured(source: Source, abi: Abi) -> dict[str, Measured]:
    """Every structure of one source, from one compilation."""
    names = [name for name in STRUCTURES if declaration(name)[1] == source]
    with tempfile.TemporaryDirectory() as scratch:
        numbers, objects = compiled(probe(source, names, abi), abi, Path(scratch))
    found: dict[str, Measured] = {}
    for name in names:
        count, bits = len(asked(name, abi)), len(list(bit_fields(name, abi)))
        slots = [objects[at * SLOT : (at + 1) * SLOT] for at in range(bits)]
        values = struct.unpack_from(f"<{count}I", numbers)
        found[name] = Measured(values, tuple(int.from_bytes(slot, "little") for slot in slots))
        numbers, objects = numbers[4 * count :], objects[bits * SLOT :]
    return found


def probe(source: Source, names: list[str], abi: Abi) -> str:
    """C whose object file holds the numbers in one section and the set bit-fields in another, in order."""
    numbers = ", ".join(expression for name in names for expression in asked(name, abi))
    lines = [source.prelude, f'__attribute__((section(".numbers"))) const unsigned int numbers[] = {{ {numbers} }};']
    for name in names:
        # An initialiser of -1 overflows a bit-field on purpose: it sets every bit of it.
        objects = ", ".join(f"{{ .value = {{ .{path} = -1 }} }}" for path, _, _ in bit_fields(name, abi))
        slot = f"union {{ {declaration(name)[0]} value; unsigned char bytes[{SLOT}]; }}"
        if objects:
            lines.append(f'__attribute__((section(".objects"))) const {slot} objects_{name}[] = {{ {objects} }};')
    return "\n".join(lines)


def asked(name: str, abi: Abi) -> list[str]:
    """The C expressions whose values are `Measured.numbers`."""
    c_type = declaration(name)[0]
    members = [member.name for member in named(name, abi)]
    places = [(f"offsetof({c_type}, {member})", f"sizeof((({c_type} *)0)->{member})") for member in members]
    return [f"sizeof({c_type})", f"_Alignof({c_type})", *(expression for place in places for expression in place)]


def compiled(source: str, abi: Abi, folder: Path) -> tuple[bytes, bytes]:
    """The two sections of a probe. Definitions keep their order, and slots leave no gap for alignment to fill."""
    (folder / "probe.c").write_text(source)
    (folder / "repaired_ndis.h").write_text(repaired_ndis_h())
    include = [f"-I{folder}", f"-I{ndis_h().parent}"]
    flags = ["-std=gnu11", "-w", "-mms-bitfields", "-fno-toplevel-reorder", *include]
    run(f"{COMPILERS[abi]}-gcc", *flags, "-c", "probe.c", "-o", "probe.o", folder=folder)
    return section("numbers", abi, folder), section("objects", abi, folder)


def section(name: str, abi: Abi, folder: Path) -> bytes:
    target = folder / f"{name}.bin"
    run(f"{COMPILERS[abi]}-objcopy", "-O", "binary", "-j", f".{name}", "probe.o", str(target), folder=folder)
    return target.read_bytes() if target.exists() else b""


def run(*command: str, folder: Path | None = None, stdin: str = "") -> str:
    done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def ndis_h() -> Path:
    """Where the kernel header is installed, as the compiler finds it."""
    listed = run(f"{COMPILERS[Abi.X64]}-gcc", "-M", "-xc", "-", stdin="#include <ddk/ndisguid.h>\n")
    guid_header = next(word for word in listed.split() if word.endswith("ndisguid.h"))
    return Path(guid_header).parent / "ndis.h"


@cache
def repaired_ndis_h() -> str:
    """ndis.h without two slips that stop every compiler: an enumeration that ntddndis.h has too, a missing comma."""
    text = ndis_h().read_text()
    twice = r"typedef enum _NDIS_REQUEST_TYPE \{.*?\} NDIS_REQUEST_TYPE, \*PNDIS_REQUEST_TYPE;"
    text = re.sub(twice, "", text, flags=re.DOTALL)
    return re.sub(r"(IN NDIS_HANDLE +MiniportAdapterHandle)(\s+IN NDIS_HANDLE)", r"\1,\2", text)
