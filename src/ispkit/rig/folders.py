"""Displays and cameras that are folders: for print-outs, and for tethering programs that only write files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from ispkit.core.errors import IspkitError
from ispkit.core.frame import Frame
from ispkit.io.geometry import Facts
from ispkit.io.pictures import write_picture
from ispkit.rig.command_camera import best_of, read_shot
from ispkit.rig.contracts import DeviceError, Encoded, as_codes, centered_on

_UNFINISHED = (".part", ".tmp", ".crdownload", ".partial", ".filepart")


def ask_on_terminal(path: Path) -> None:
    """Wait until somebody presses Enter. Raises `DeviceError` if nobody can."""
    try:
        input(f"Show {path}, then press Enter: ")
    except EOFError as error:
        raise DeviceError(f"nobody can confirm that {path} is shown: there is no terminal; pass confirm=...") from error


class FolderDisplay:
    """Writes numbered PNG files and waits until somebody says that each can be seen."""

    def __init__(
        self, folder: str | Path, size: tuple[int, int], *, confirm: Callable[[Path], None] = ask_on_terminal
    ) -> None:
        """Make the folder if need be.

        Args:
            folder: where frame-0001.png and so on go; existing ones are replaced.
            size: height, width of the pictures in pixels.
            confirm: called with each file; returns when it is shown (printed, hung up).
        """
        self.folder, self._size, self._confirm = Path(folder), size, confirm
        self._count = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeviceError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._size

    def show(self, encoded: Encoded) -> None:
        """Write the next file and wait for the confirmation."""
        codes = centered_on(as_codes(encoded), self._size, str(self.folder))
        self._count += 1
        path = self.folder / f"frame-{self._count:04d}.png"
        write_picture(path, codes)
        self._confirm(path)


class WatchFolderCamera:
    """Takes the next file that appears in a folder, once it is complete; keeps the contract of `Camera`.

    A capture begins after its frame is shown, so what lies there by then shows an older frame and is not taken,
    nor is a second file of a shot that is known already (`IMG_1.dng` late after `IMG_1.jpg`). Trigger the camera
    only once the frame is there; a camera that writes both formats wants `pattern="*.dng"`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        pattern: str = "*",
        timeout_s: float = 120.0,
        settle_s: float = 0.5,
        geometry: Facts | None = None,
    ) -> None:
        """Choose what to watch.

        Args:
            folder: where the camera's program writes.
            pattern: which names count, e.g. "*.dng".
            timeout_s: how long a capture waits for a file.
            settle_s: a file is complete if it has not changed for so long and can be read.
            geometry: what a headerless dump does not say of itself.
        """
        self.folder, self.pattern = Path(folder), pattern
        self.timeout_s, self.settle_s, self.geometry = timeout_s, settle_s, geometry
        if not self.folder.is_dir():
            raise DeviceError(f"{folder}: is no folder to watch; make it first, or check the name")
        self._taken: set[str] = set()

    def capture(self) -> Frame:
        """The next new file. Raises `DeviceError` if none comes in time, or none that can be read."""
        known = self._taken | {p.stem for p in self._candidates()}
        deadline = time.monotonic() + self.timeout_s
        trouble = ""
        while time.monotonic() < deadline:
            new = [p for p in self._candidates() if p.stem not in known]
            if new and self._settled(new):
                try:
                    frame = read_shot(best_of(new, str(self.folder)), self.geometry)
                except (IspkitError, FileNotFoundError) as error:
                    trouble = f" ({error})"  # perhaps a slow writer
                else:
                    self._taken |= {p.stem for p in new}
                    return frame
            time.sleep(min(0.1, self.settle_s / 2))
        raise DeviceError(
            f"{self.folder}: no complete new file {self.pattern} came within {self.timeout_s:g} s{trouble}; "
            f"trigger the camera after the frame is shown"
        )

    def _candidates(self) -> Iterator[Path]:
        for path in self.folder.iterdir():
            hidden = path.name.startswith(".") or path.suffix.lower() in _UNFINISHED
            if not hidden and fnmatch(path.name, self.pattern) and path.is_file():
                yield path

    def _settled(self, paths: list[Path]) -> bool:
        """Whether sizes and times stay the same for `settle_s`."""
        before = _stamps(paths)
        time.sleep(self.settle_s)
        return before == _stamps(paths) and all(size for size, _ in before)


def _stamps(paths: list[Path]) -> list[tuple[int, int]]:
    found = []
    for path in paths:
        try:
            facts = path.stat()
            found.append((facts.st_size, facts.st_mtime_ns))
        except FileNotFoundError:  # renamed meanwhile
            found.append((0, 0))
    return found
