"""Options that several commands have."""

from enum import StrEnum


class AbiName(StrEnum):
    """The pointer width of the simulated host."""

    X86 = "x86"
    X64 = "x64"
