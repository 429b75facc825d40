"""Bytes from wherever they come: a path, bytes, or an open file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from ispkit.core.errors import FileError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]


def name_of(source: Source) -> str:
    """What to call the source in a message. Raises `FileError` for what is no source at all."""
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview) and not hasattr(source, "read"):
        kind = type(source).__name__
        raise FileError(f"a RAW file is given as a path, bytes or an open binary file, got {kind} {source!r}")
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{len(source)} bytes>"
    return str(getattr(source, "name", "<file object>"))


def path_of(source: Source) -> Path | None:
    """The path, if the source is one."""
    return Path(source) if isinstance(source, str | os.PathLike) else None


def size_of(source: Source) -> int:
    """Length in bytes, without reading the content; an open file counts from where it is. Raises `FileError`."""
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            return len(source)
        if isinstance(source, str | os.PathLike):
            return Path(source).stat().st_size
        position = source.tell()
        end = source.seek(0, os.SEEK_END)
        source.seek(position)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"cannot read {name_of(source)}: {reason}; check the path and its permissions") from error
    return end - position


def read_bytes(source: Source, limit: int | None = None) -> bytes:
    """The content, at most `limit` bytes of it; an open file stays where it was. Raises `FileError`."""
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            return bytes(source[:limit])
        if isinstance(source, str | os.PathLike):
            return _read_path(Path(source), limit)
        position = source.tell()
        content = source.read(-1 if limit is None else limit)
        source.seek(position)
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"cannot read {name_of(source)}: {reason}; check the path and its permissions") from error
    if not isinstance(content, bytes):
        raise FileError(f"cannot read {name_of(source)}: it is open as text; open it with mode 'rb'")
    return content


def _read_path(path: Path, limit: int | None) -> bytes:
    if path.is_dir():
        raise FileError(f"cannot read {path}: it is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise FileError(f"cannot read {path}: it is not a regular file")
    with path.open("rb") as file:
        return file.read(-1 if limit is None else limit)
