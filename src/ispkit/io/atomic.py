"""Write a file whole or not at all: a temporary name in the same folder, fsync, then rename."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ispkit.core.errors import FileError

_REMEDIES = {
    errno.ENOSPC: "no space is left on the disk; free some or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "the file is too large for this disk; choose another folder",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "permission denied; choose a folder you may write to",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.ENOENT: "the folder does not exist; make it first",
    errno.ENOTDIR: "a part of the path is a file, not a folder; check the path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` only when the block ends well; else nothing is left.

    A link is followed, an existing file replaced unless it is marked read-only. Raises `FileError` where the system
    refuses, also for an `OSError` inside the block.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_write(target) as file:
    ...     _ = file.write(b"all of it")
    >>> target.read_text()
    'all of it'
    """
    target = _checked(path)
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        # the mode is 0666 less the umask, as for any new file, which tempfile would not give
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise FileError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def write_bytes(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write `data` as the whole content of `path`, or nothing. Raises `FileError`."""
    with atomic_write(path) as file:
        file.write(data)


def _checked(path: str | os.PathLike[str]) -> Path:
    """The real target; folders and devices are refused, for a rename would replace them."""
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise FileError(f"cannot write {path}: it is a folder; add a file name")
        if target.exists() and not target.is_file():
            raise FileError(f"cannot write {path}: it is not a regular file; choose another name")
        if target.exists() and not target.stat().st_mode & 0o222:  # a rename would replace it all the same
            raise FileError(f"cannot write {path}: the file is marked read-only; choose another name")
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"cannot write {path!r}: {_reason(error)}") from error
    return target


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        return _REMEDIES[error.errno]
    # numpy reports a write cut short by a full disk without an errno
    return (error.strerror if isinstance(error, OSError) else None) or f"{error}; is the disk full?"


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable where the system can (a folder cannot be opened everywhere)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
