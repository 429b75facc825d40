"""A folder in which one process works at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ispkit.core.errors import FileError


@contextmanager
def alone_in(path: str | os.PathLike[str], work: str) -> Iterator[None]:
    """Make a folder and hold it; the system gives the lock back however the process ends.

    Raises `FileError` where it cannot be made, or where another process does such `work` in it.
    """
    room = Path(path)
    try:
        room.mkdir(parents=True, exist_ok=True)
        handle = (room / ".lock").open("a+b")
    except OSError as error:
        raise FileError(f"cannot work in {room}: {error.strerror}") from error
    with handle:
        if not _lock(handle.fileno()):
            raise FileError(f"{room}: another {work} is running in this folder; wait for it or choose another")
        yield


def _lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
