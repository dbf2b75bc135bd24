"""Output files: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, TextIO, cast

from nicsim.errors import InputError

LARGEST_FILE_OF_LINES = 1 << 20
"""Bytes of a file that lines are added to."""


@contextmanager
def whole_text_file(path: str, *inputs: str) -> Iterator[TextIO]:
    """Write a text file that appears when all of it has been written; on any error the old one stays.

    An existing output that is no regular file, a pipe or the null device, is written directly. Raises InputError
    where the file cannot be made, or where it is one of the inputs.
    """
    with _whole_file(path, "w", *inputs) as stream:
        yield cast(TextIO, stream)


@contextmanager
def whole_binary_file(path: str, *inputs: str) -> Iterator[BinaryIO]:
    """The same for bytes."""
    with _whole_file(path, "wb", *inputs) as stream:
        yield cast(BinaryIO, stream)


def add_lines(path: str, lines: Iterable[str]) -> None:
    """Add lines to a text file of lines, such as a key file: those that it does not have yet, and it may be new.

    Raises InputError where there is something at the path that is no such file.
    """
    target, known = Path(path), dict[str, None]()
    if target.is_file():
        try:
            with target.open("rb") as stream:
                text = stream.read(LARGEST_FILE_OF_LINES + 1)
            known = dict.fromkeys(text.decode().splitlines())
        except (OSError, UnicodeDecodeError):
            raise InputError(f"{path} is there and cannot be read as text") from None
        if len(text) > LARGEST_FILE_OF_LINES:
            raise InputError(f"{path} has more than {LARGEST_FILE_OF_LINES} bytes; nothing is added to it")
    with whole_text_file(path) as whole:
        whole.writelines(f"{line}\n" for line in {**known, **dict.fromkeys(lines)})


@contextmanager
def _whole_file(path: str, mode: str, *inputs: str) -> Iterator[IO[str] | IO[bytes]]:
    target, encoding = Path(path), None if "b" in mode else "utf-8"
    try:
        if target.exists() and any(Path(name).exists() and target.samefile(name) for name in inputs):
            raise InputError(f"{path} is an input of this run and will not be overwritten")
        if target.exists() and not target.is_file():
            with target.open(mode, encoding=encoding) as stream:
                yield stream
            return
        # A link stays a link: what it points to is replaced.
        with _replacement(Path(os.path.realpath(target)), mode, encoding) as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def _replacement(target: Path, mode: str, encoding: str | None) -> Iterator[IO[str] | IO[bytes]]:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, mode, encoding=encoding) as stream:
            yield stream
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
