"""Files of text: their lines, and what is no text in them."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dse.errors import BadDataError

NOT_UTF8 = "is not valid UTF-8"
HEAD = 65_536  # bytes of a file that are looked at before it is read
GZIP = b"\x1f\x8b"
_NOT_TEXT = re.compile("[\ud800-\udfff]")  # what decoding leaves of undecodable bytes; no text has it


def is_text(value: str) -> bool:
    r"""Whether a string is text, rather than what is left of bytes that were not.

    Example:
        >>> is_text("café"), is_text(b"caf\xe9".decode("utf-8", "surrogateescape"))
        (True, False)
    """
    return value.isascii() or not _NOT_TEXT.search(value)


def need_file(path: str | os.PathLike[str]) -> None:
    """Refuse a path where there is no file, before a model is loaded; ``-`` is standard input.

    Raises:
        BadDataError: If there is none.
    """
    if os.fspath(path) != "-" and not Path(path).is_file():
        if Path(path).is_dir():
            raise BadDataError(f"{Path(path)} is a folder; name a file in it")
        raise BadDataError(f"there is no file {Path(path)}; check the path")


def open_text(path: Path) -> io.TextIOWrapper:
    r"""Open a file whose lines end at ``\n`` alone, because text may hold any other kind of line end.

    A byte order mark is left out; see `is_text` for bad bytes.

    Raises:
        BadDataError: If the file is compressed, or its lines end otherwise.
    """
    check_plain(path)
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n")


def check_plain(path: Path) -> None:
    """Refuse a file that is compressed whatever its name says, or whose lines end with a carriage return alone.

    Raises:
        BadDataError: If it is one.
    """
    with path.open("rb") as file:
        start = file.read(HEAD)
    if start.startswith(GZIP):
        raise BadDataError(f"{path} is compressed by gzip; unpack it")
    if b"\n" not in start and start.count(b"\r") > 1:
        raise BadDataError(f"{path} ends its lines with a carriage return alone; save it with LF or CRLF")


def text_lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of a stream as `open_text` gives those of a file; the stream stays open."""
    lines = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="\n")
    try:
        yield from lines
    finally:
        if not stream.closed:
            lines.detach()  # otherwise the wrapper would close the stream, which is not its own
