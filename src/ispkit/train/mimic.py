"""Mimic an ISP: its pictures of the user's RAW files, rendered once and kept by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ispkit.core.errors import DomainError, FileError
from ispkit.core.frame import Domain
from ispkit.data.pairs_files import PairFiles, folder_of
from ispkit.io.containers import RAW_SUFFIXES
from ispkit.io.load import load
from ispkit.io.pictures import write_picture
from ispkit.isp.catalog import open_isp
from ispkit.isp.pipeline import ISP

Count = Callable[[int, int], None]
"""(done, of all)"""


def raw_files(folder: str | Path) -> list[PairFiles]:
    """The RAW files of a folder and of those in it, without pictures. Raises `FileError`."""
    room = folder_of(folder, "a folder of RAW files")
    paths = sorted(p for p in room.rglob("*") if RAW_SUFFIXES.fullmatch(p.suffix) and p.is_file())
    if not paths:
        raise FileError(f"{room}: no RAW file in this folder; put the RAW files to learn from there")
    return [PairFiles(p.relative_to(room).with_suffix("").as_posix(), (p,)) for p in paths]


def mimic_pairs(
    files: Sequence[PairFiles], isp: str, folder: Path, *, progress: Count | None = None
) -> list[PairFiles]:
    """The same RAW files with the ISP's pictures, 16-bit PNGs in `folder`; those that are there are not rendered again.

    A name holds a digest of the RAW file, of the ISP and of its settings, so another ISP's picture is never taken for
    this one's. Raises `BlackBoxError`, `DomainError`, `FileError`; what was rendered stays.
    """
    black_box = open_isp(isp)
    if black_box.writes is not Domain.DISPLAY_RGB:
        raise DomainError(f"isp {isp!r} writes {black_box.writes.value}; a finished picture is display_rgb")
    who, made = _identity(isp, black_box), []
    for done, pair in enumerate(files, 1):
        digest = hashlib.sha256(who + _bytes(pair.raws[0])).hexdigest()[:16]
        picture = folder / f"{pair.raws[0].stem}-{digest}.png"
        if not picture.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_picture(picture, black_box(load(pair.raws[0])), bits=16)
        made.append(replace(pair, picture=picture))
        if progress is not None:
            progress(done, len(files))
    return made


def _identity(name: str, isp: ISP) -> bytes:
    """The ISP by name, the content of its file if it is one, and its settings."""
    content = _bytes(Path(name)) if Path(name).is_file() else b""
    settings = json.dumps(isp.space.readable(isp.space.defaults()), sort_keys=True, default=str)
    return name.encode() + content + settings.encode()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
