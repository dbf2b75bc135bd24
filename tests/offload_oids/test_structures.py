"""Structures and bytes: both directions, every truncation, trailing bytes, and lengths that lie."""

from dataclasses import fields, replace
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_oids import (
    ALL_STRUCTURES,
    Abi,
    IpsecOffloadV2AddSa,
    IpsecOffloadV2AddSaEx,
    IpsecOffloadV2SecurityAssociation,
    NdisTaskOffload,
    OffloadIpsecAddSa,
    OffloadIpsecAddUdpespSa,
    OffloadIpsecDeleteSa,
    OffloadIpsecDeleteUdpespSa,
    OffloadIpsecUdpespEncaptypeEntry,
    Structure,
    StructureError,
    TooShort,
    offset_of,
    size_of,
)
from offload_oids.c_types import Bits, ByteArray, Count, Integer, Tail
from offload_oids.layout import Union
from tests.offload_oids.samples import ADD_UDPESP, ESP, NOTHING, SAMPLES, Sample

EVERY_SAMPLE = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.about}-{sample.abi.value}")
WITH_TAIL = (OffloadIpsecAddSa, OffloadIpsecAddUdpespSa, IpsecOffloadV2AddSa, NdisTaskOffload)
EVERY_TAIL = pytest.mark.parametrize(("cls", "abi"), [(cls, abi) for cls in WITH_TAIL for abi in Abi])
LENGTH_AND_TAIL = {
    OffloadIpsecAddSa: ("key_len", "key_mat"),
    OffloadIpsecAddUdpespSa: ("key_len", "key_mat"),
    IpsecOffloadV2AddSa: ("key_length", "key_data"),
    NdisTaskOffload: ("task_buffer_length", "task_buffer"),
}


@pytest.mark.rule("A-28")
@EVERY_SAMPLE
def test_a_value_packs_to_its_bytes(sample: Sample) -> None:
    assert sample.value.pack(sample.abi) == sample.raw


@EVERY_SAMPLE
def test_bytes_unpack_to_their_value(sample: Sample) -> None:
    found = type(sample.value).unpack(sample.raw, sample.abi)
    for field in fields(sample.value):  # type: ignore[arg-type]
        given_value = getattr(sample.value, field.name)
        if not (isinstance(sample.value, Union) and given_value is None):
            assert getattr(found, field.name) == given_value


@EVERY_SAMPLE
def test_every_truncation_is_refused(sample: Sample) -> None:
    for length in range(len(sample.raw)):
        with pytest.raises(TooShort) as caught:
            type(sample.value).unpack(sample.raw[:length], sample.abi)
        assert length < caught.value.needed <= len(sample.raw)
        assert caught.value.got == length


@EVERY_SAMPLE
def test_trailing_bytes_are_left_alone(sample: Sample) -> None:
    cls = type(sample.value)
    assert cls.unpack(sample.raw + b"trailing", sample.abi) == cls.unpack(sample.raw, sample.abi)


@EVERY_SAMPLE
def test_any_buffer_of_bytes_will_do(sample: Sample) -> None:
    cls = type(sample.value)
    expected = cls.unpack(sample.raw, sample.abi)
    assert cls.unpack(bytearray(sample.raw), sample.abi) == expected
    assert cls.unpack(memoryview(b"--" + sample.raw)[2:], sample.abi) == expected


@pytest.mark.parametrize("abi", Abi)
@pytest.mark.parametrize("cls", ALL_STRUCTURES, ids=lambda cls: cls.__name__)
def test_every_structure_refuses_one_byte_less_than_it_needs(cls: type[Structure], abi: Abi) -> None:
    raw = bytes(size_of(cls, abi))
    packed = cls.unpack(raw, abi).pack(abi)
    with pytest.raises(TooShort):
        cls.unpack(packed[:-1], abi)


def test_the_refusal_names_the_structure_and_both_lengths() -> None:
    with pytest.raises(TooShort, match=r"^OFFLOAD_IPSEC_DELETE_SA needs 8 bytes, got 3$"):
        OffloadIpsecDeleteSa.unpack(b"abc", Abi.X64)


@pytest.mark.rule("A-9")
def test_length_4_is_right_for_a_plain_delete_on_x86_only() -> None:
    assert [size_of(OffloadIpsecDeleteSa, abi) for abi in Abi] == [4, 8]
    assert [size_of(OffloadIpsecDeleteUdpespSa, abi) for abi in Abi] == [8, 16]


@pytest.mark.rule("A-28", "N-PE-2")
def test_port_4500_is_the_bytes_11_94() -> None:
    assert OffloadIpsecUdpespEncaptypeEntry(1, 4500).pack(Abi.X86)[4:6] == bytes.fromhex("1194")


# --- tails ------------------------------------------------------------------------------------------------------


@pytest.mark.rule("A-1", "N-SA-16")
@EVERY_TAIL
def test_a_tail_takes_its_length_and_no_padding(cls: type[Structure], abi: Abi) -> None:
    length, tail = LENGTH_AND_TAIL[cls]
    start = offset_of(cls, tail, abi)
    for size in (0, 1, 2, 44):
        value = cls(**{length: size, tail: bytes(range(size))})
        raw = value.pack(abi)
        assert len(raw) == start + size
        assert raw[start:] == bytes(range(size))
        assert getattr(cls.unpack(raw, abi), tail) == bytes(range(size))


@pytest.mark.rule("A-1", "A-10")
@pytest.mark.parametrize("claimed", [1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@EVERY_TAIL
def test_a_length_that_lies_is_answered_with_the_total_needed(cls: type[Structure], abi: Abi, claimed: int) -> None:
    length, tail = LENGTH_AND_TAIL[cls]
    raw = bytearray(cls().pack(abi))
    at = offset_of(cls, length, abi)
    raw[at : at + 4] = claimed.to_bytes(4, "little")
    with pytest.raises(TooShort) as caught:
        cls.unpack(raw, abi)
    assert caught.value.needed == offset_of(cls, tail, abi) + claimed
    assert caught.value.got == len(raw)


@EVERY_TAIL
def test_a_value_whose_length_member_disagrees_is_not_packed(cls: type[Structure], abi: Abi) -> None:
    length, tail = LENGTH_AND_TAIL[cls]
    with pytest.raises(StructureError, match="needs 3, the length of"):
        cls(**{length: 4, tail: b"abc"}).pack(abi)


def test_keys_are_in_no_repr_and_no_refusal() -> None:
    assert "keys!" not in repr(ADD_UDPESP)
    with pytest.raises(StructureError) as caught:
        replace(ADD_UDPESP, key_len=4).pack(Abi.X86)
    assert "keys!" not in str(caught.value)


@pytest.mark.rule("N-V2-10")
def test_the_keys_of_add_sa_ex_begin_at_key_offset() -> None:
    value = IpsecOffloadV2AddSaEx(key_length=3, key_offset=180)
    buffer = value.pack(Abi.X64).ljust(180, b"\0") + b"abcd"
    assert value.key_bytes(buffer) == b"abc"
    with pytest.raises(TooShort) as caught:
        value.key_bytes(buffer[:182])
    assert caught.value.needed == 183


# --- values that do not fit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (OffloadIpsecDeleteSa(1 << 32), "OFFLOAD_IPSEC_DELETE_SA.OffloadHandle needs unsigned 32 bits, got 4294967296"),
        (OffloadIpsecDeleteSa(-1), "OFFLOAD_IPSEC_DELETE_SA.OffloadHandle needs unsigned 32 bits, got -1"),
        (OffloadIpsecAddSa(num_sas=32768), "OFFLOAD_IPSEC_ADD_SA.NumSAs needs signed 16 bits, got 32768"),
        (OffloadIpsecAddSa(src_addr=b"abc"), "OFFLOAD_IPSEC_ADD_SA.SrcAddr needs 4 bytes, got 3"),
        (OffloadIpsecAddSa(sec_assoc=(ESP,) * 4), "OFFLOAD_IPSEC_ADD_SA.SecAssoc needs 3 elements, got 4"),
        (OffloadIpsecAddSa(src_port=65536), "OFFLOAD_IPSEC_ADD_SA.SrcPort needs unsigned 16 bits, got 65536"),
        (
            OffloadIpsecAddSa(sec_assoc=(replace(ESP, spi=-1),)),
            "OFFLOAD_SECURITY_ASSOCIATION.SPI needs unsigned 32 bits, got -1",
        ),
    ],
)
def test_a_value_that_does_not_fit_names_its_member(value: Structure, message: str) -> None:
    with pytest.raises(StructureError) as caught:
        value.pack(Abi.X86)
    assert str(caught.value) == message


def test_a_handle_of_a_64_bit_host_fits_there_only() -> None:
    wide = OffloadIpsecDeleteSa(0x100000000)
    assert wide.pack(Abi.X64) == bytes.fromhex("0000000001000000")
    with pytest.raises(StructureError):
        wide.pack(Abi.X86)


# --- counts -----------------------------------------------------------------------------------------------------


@pytest.mark.rule("N-SA-8", "A-17")
@pytest.mark.parametrize("cls", [OffloadIpsecAddSa, OffloadIpsecAddUdpespSa])
def test_num_sas_counts_the_valid_associations(cls: Any) -> None:
    three = (ESP, NOTHING, replace(ESP, spi=1))
    for count in (1, 2, 3):
        assert cls(num_sas=count, sec_assoc=three).valid_associations() == three[:count]
    for count in (-32768, -1, 0, 4, 32767):
        with pytest.raises(StructureError, match=rf"NumSAs needs 1 to 3, got {count}$"):
            cls(num_sas=count, sec_assoc=three).valid_associations()


@pytest.mark.rule("N-SA-8")
def test_the_array_is_present_in_full_whatever_num_sas_says() -> None:
    raw = replace(ADD_UDPESP, num_sas=0, sec_assoc=(ESP,)).pack(Abi.X86)
    assert OffloadIpsecAddUdpespSa.unpack(raw, Abi.X86).sec_assoc == (ESP, NOTHING, NOTHING)


@pytest.mark.rule("N-V2-7")
@pytest.mark.parametrize("cls", [IpsecOffloadV2AddSa, IpsecOffloadV2AddSaEx])
def test_num_ext_hdrs_is_one_or_two(cls: Any) -> None:
    both = (IpsecOffloadV2SecurityAssociation(spi=1), IpsecOffloadV2SecurityAssociation(spi=2))
    assert cls(num_ext_hdrs=1, sec_assoc=both).valid_associations() == both[:1]
    assert cls(num_ext_hdrs=2, sec_assoc=both).valid_associations() == both
    for count in (0, 3, 0xFFFFFFFF):
        with pytest.raises(StructureError, match=rf"NumExtHdrs needs 1 to 2, got {count}$"):
            cls(num_ext_hdrs=count, sec_assoc=both).valid_associations()


# --- anything ---------------------------------------------------------------------------------------------------


def values(hint: Any, abi: Abi) -> st.SearchStrategy[Any]:
    """Values of a member, from its annotation alone."""
    base, *notes = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    if type(None) in get_args(base):
        (base,) = set(get_args(base)) - {type(None)}
        return values(base, abi)
    if isinstance(base, type) and issubclass(base, Structure):
        return structures(base, abi)
    for note in notes:
        if isinstance(note, Bits):
            return st.integers(0, (1 << note.width) - 1)
        if isinstance(note, ByteArray):
            return st.binary(min_size=note.size, max_size=note.size)
        if isinstance(note, Integer):
            bits = 8 * (note.size or abi.pointer_size)
            low = -(1 << bits - 1) if note.signed else 0
            return st.integers(low, low + (1 << bits) - 1)
        if isinstance(note, Count) and get_origin(base) is tuple:
            return st.tuples(*[values(get_args(base)[0], abi)] * note.count)
        if isinstance(note, Tail):
            return st.binary(max_size=64)
    raise TypeError(hint)


def structures(cls: type[Structure], abi: Abi) -> st.SearchStrategy[Structure]:
    """Values of a structure; of a union, one arm, as a program fills it in."""
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    if issubclass(cls, Union):
        return st.one_of(*[st.builds(cls, **{name: values(hints[name], abi)}) for name in names])
    made = st.builds(cls, **{name: values(hints[name], abi) for name in names})
    if cls not in LENGTH_AND_TAIL:
        return made
    length, tail = LENGTH_AND_TAIL[cls]
    return made.map(lambda value: replace(value, **{length: len(getattr(value, tail))}))  # type: ignore[type-var]


ANY_STRUCTURE = st.sampled_from([(cls, abi) for cls in ALL_STRUCTURES for abi in Abi])


@given(st.data())
def test_whatever_is_packed_unpacks_and_packs_to_the_same_bytes(data: st.DataObject) -> None:
    cls, abi = data.draw(ANY_STRUCTURE)
    value = data.draw(structures(cls, abi))
    raw = value.pack(abi)
    assert cls.unpack(raw, abi).pack(abi) == raw


@given(st.data())
def test_a_structure_without_unions_comes_back_equal(data: st.DataObject) -> None:
    cls, abi = data.draw(st.sampled_from([(cls, abi) for cls in WITH_TAIL[:2] for abi in Abi]))
    value = data.draw(structures(cls, abi))
    assert cls.unpack(value.pack(abi), abi) == value


@given(st.data(), st.binary(max_size=512))
def test_random_bytes_unpack_or_are_refused(data: st.DataObject, raw: bytes) -> None:
    cls, abi = data.draw(ANY_STRUCTURE)
    try:
        value = cls.unpack(raw, abi)
    except StructureError:
        return
    assert len(value.pack(abi)) <= len(raw)
