"""Temporary folders that outlive no process for long: each is locked by its owner, and one without a lock goes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

_PREFIX = "ispkit-isp-box-"


def make_folder() -> tuple[Path, int | None]:
    """A new temporary folder, and the descriptor that keeps it this process's own while it is open.

    Folders of dead processes are removed first. None where folders cannot be locked: such a one is never removed
    but by its owner.
    """
    remove_orphans()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = _locked(folder, wait=True)
        if folder.is_dir():  # another process may have taken it for an orphan before it was locked
            return folder, lock
        if lock is not None:
            os.close(lock)


def remove_orphans() -> None:
    """Remove the temporary folders whose owners died without doing so: by SIGKILL, or with the power."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        lock = _locked(folder, wait=False)
        if lock is not None:
            remove(folder, lock)


def remove(folder: Path, lock: int | None) -> None:
    """Remove a folder, then let go of it; what cannot be removed now is an orphan from then on."""
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def _locked(folder: Path, *, wait: bool) -> int | None:
    """The folder's descriptor with its lock, which the system releases however a process ends."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # somebody's, or a file system without locks
        os.close(lock)
        return None
    return lock
