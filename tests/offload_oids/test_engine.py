"""The layout rules themselves, on structures made up for the purpose."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest

from offload_oids import (
    Abi,
    BitField,
    Bits,
    ByteArray,
    CName,
    Count,
    Member,
    NdisIpsecPacketInfo,
    NdisOffloadRevision3,
    NdisTaskIpsec,
    OffloadIpsecAddUdpespSa,
    PacketInfoReceive,
    PacketInfoTransmit,
    Structure,
    StructureError,
    Tail,
    Union,
    align_of,
    c_name,
    offset_of,
    offset_table,
    size_of,
    size_through,
)
from offload_oids.layout import ANONYMOUS, HANDLE, LONG, SHORT, UCHAR, ULONG, ULONG64, USHORT


@dataclass(frozen=True, slots=True)
class Gaps(Structure):
    one: UCHAR = 0
    handle: HANDLE = 0
    two: USHORT = 0
    eight: ULONG64 = 0
    last: UCHAR = 0


@dataclass(frozen=True, slots=True)
class Units(Structure):
    a: Annotated[int, Bits(3)] = 0
    b: Annotated[int, Bits(29)] = 0
    c: Annotated[int, Bits(1)] = 0
    d: Annotated[int, Bits(4, unit=2)] = 0
    plain: UCHAR = 0
    e: Annotated[int, Bits(4, unit=2)] = 0


@dataclass(frozen=True, slots=True)
class SignedTail(Structure):
    length: LONG = 0
    body: Annotated[bytes, Tail("length")] = b""


@dataclass(frozen=True, slots=True)
class Arms(Union):
    number: ULONG | None = None
    octets: Annotated[Annotated[bytes, ByteArray(6)] | None, CName("Bytes")] = None


@dataclass(frozen=True, slots=True)
class Host(Structure):
    first: UCHAR = 0
    arms: Annotated[Arms, ANONYMOUS] = Arms()
    shorts: Annotated[tuple[SHORT, ...], Count(2)] = ()


@dataclass(slots=True)
class Changing(Structure):
    """A declaration need not be frozen."""

    number: USHORT = 0


def test_members_are_aligned_to_their_own_size() -> None:
    names = ("one", "handle", "two", "eight", "last")
    assert [offset_of(Gaps, name, Abi.X86) for name in names] == [0, 4, 8, 16, 24]
    assert [offset_of(Gaps, name, Abi.X64) for name in names] == [0, 8, 16, 24, 32]
    assert [size_of(Gaps, abi) for abi in Abi] == [32, 40]
    assert [align_of(Gaps, abi) for abi in Abi] == [8, 8]


def test_padding_is_packed_as_zeros_and_not_read() -> None:
    raw = Gaps(1, 2, 3, 4, 5).pack(Abi.X86)
    assert raw.hex(" ", 4) == "01000000 02000000 03000000 00000000 04000000 00000000 05000000 00000000"
    assert Gaps.unpack(raw[:1] + b"\xff\xff\xff" + raw[4:], Abi.X86) == Gaps(1, 2, 3, 4, 5)


def test_bit_fields_share_a_unit_of_one_type_until_it_is_full() -> None:
    assert offset_table(Units, Abi.X86) == (
        Member("bits", 0, 4, (BitField("A", 0, 3), BitField("B", 3, 29))),
        Member("bits", 4, 4, (BitField("C", 0, 1),)),
        Member("bits", 8, 2, (BitField("D", 0, 4),)),
        Member("Plain", 10, 1),
        Member("bits", 12, 2, (BitField("E", 0, 4),)),
    )
    assert Units(5, 1, 1, 15, 7, 9).pack(Abi.X86).hex(" ", 2) == "0d00 0000 0100 0000 0f00 0700 0900 0000"


def test_a_bit_field_takes_no_more_than_its_width() -> None:
    for value in (-1, 8):
        with pytest.raises(StructureError, match=rf"UNITS\.A needs unsigned 3 bits, got {value}"):
            Units(a=value).pack(Abi.X86)


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(StructureError, match=r"SIGNED_TAIL\.Length needs 0 or more, got -1"):
        SignedTail.unpack(b"\xff\xff\xff\xff", Abi.X86)


def test_arms_lie_on_each_other_and_an_anonymous_member_has_no_name() -> None:
    assert [(member.name, member.offset, member.size) for member in offset_table(Host, Abi.X64)] == [
        ("First", 0, 1),
        ("Number", 4, 4),
        ("Bytes", 4, 6),
        ("Shorts", 12, 4),
        ("Shorts[0]", 12, 2),
        ("Shorts[1]", 14, 2),
    ]
    assert offset_of(Host, "arms.octets", Abi.X64) == 4


def test_a_union_packs_the_arm_that_is_given_and_unpacks_all() -> None:
    raw = Host(arms=Arms(number=0x04030201), shorts=(-1,)).pack(Abi.X86)
    assert raw.hex(" ", 4) == "00000000 01020304 00000000 ffff0000"
    assert Host.unpack(raw, Abi.X86).arms == Arms(0x04030201, bytes.fromhex("010203040000"))


def test_an_unset_union_packs_as_zeros() -> None:
    assert Host().pack(Abi.X86) == bytes(16)


def test_arms_that_contradict_each_other_are_refused() -> None:
    agreeing = Arms(0x04030201, bytes.fromhex("0102030405ff"))
    assert Arms.unpack(agreeing.pack(Abi.X86), Abi.X86) == agreeing
    with pytest.raises(StructureError, match="ARMS needs arms that agree"):
        Arms(1, bytes.fromhex("000203040506")).pack(Abi.X86)
    stale = NdisIpsecPacketInfo(PacketInfoTransmit(0x10, 0), PacketInfoReceive(crypto_done=1))
    with pytest.raises(StructureError, match="NDIS_IPSEC_PACKET_INFO needs arms that agree"):
        stale.pack(Abi.X64)


def test_a_declaration_may_be_changeable() -> None:
    value = Changing(1)
    value.number = 2
    assert value.pack(Abi.X86) == b"\x02\x00"


def test_names_are_respelled_from_python() -> None:
    assert c_name(OffloadIpsecAddUdpespSa) == "OFFLOAD_IPSEC_ADD_UDPESP_SA"
    assert c_name(NdisOffloadRevision3) == "NDIS_OFFLOAD_REVISION_3"
    names = {member.name for member in offset_table(OffloadIpsecAddUdpespSa, Abi.X86)}
    assert {"SrcTunnelAddr", "NumSAs", "SecAssoc[2].SPI", "EncapTypeEntry.DstEncapPort"} <= names


def test_a_structure_that_is_one_unit_lists_its_bit_fields_itself() -> None:
    table = {member.name: member for member in offset_table(NdisTaskIpsec, Abi.X64)}
    assert table["V4AH"].bits == table["V4AH.bits"].bits
    assert table["Supported"].bits == ()


def test_places_are_found_through_nested_structures() -> None:
    path = "encap_type_entry.dst_encap_port"
    assert [offset_of(OffloadIpsecAddUdpespSa, path, abi) for abi in Abi] == [176, 180]
    assert [size_through(OffloadIpsecAddUdpespSa, path, abi) for abi in Abi] == [178, 182]
    for wrong in ("nothing", "encap_type_entry.nothing", "key_len.nothing"):
        with pytest.raises(KeyError, match="OFFLOAD_IPSEC_ADD_UDPESP_SA has no member"):
            offset_of(OffloadIpsecAddUdpespSa, wrong, Abi.X86)


def test_a_declaration_that_is_no_c_is_refused_when_it_is_first_used() -> None:
    @dataclass(frozen=True, slots=True)
    class NoCType(Structure):
        text: str = ""

    @dataclass(frozen=True, slots=True)
    class TailInside(Structure):
        inner: SignedTail = field(default_factory=SignedTail)

    for cls in (NoCType, TailInside):
        with pytest.raises(TypeError):
            size_of(cls, Abi.X86)
