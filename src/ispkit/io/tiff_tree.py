"""The tags of a TIFF-like file (TIFF, DNG, NEF, CR2, ORF, RW2, EXIF blocks) as a tree of directories.

Reads tags only, never pixels, and trusts nothing: every offset is checked against the file's length,
loops and absurd counts end the walk. Source: Adobe, TIFF Revision 6.0 (1992), section 2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import FileError

SUB_IFDS, EXIF_IFD = 330, 34665
MAX_DIRECTORIES = 64
# TIFF magic number -> who writes it.
MAGIC = {42: "TIFF", 0x4F52: "Olympus ORF", 0x5352: "Olympus ORF", 0x55: "Panasonic RW2"}
# type code -> numpy letter; rationals are pairs of 32-bit integers
_KIND = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i4"}
_KIND |= {11: "f4", 12: "f8", 13: "u4"}
_RATIONAL = (5, 10)


@dataclass(frozen=True)
class Entry:
    """One tag: TIFF type code, number of values, position of the values in the file."""

    kind: int
    count: int
    offset: int

    @property
    def nbytes(self) -> int:
        """Length of the values in bytes."""
        return self.count * np.dtype(_KIND[self.kind]).itemsize * (2 if self.kind in _RATIONAL else 1)


@dataclass(frozen=True)
class Directory:
    """One IFD: its tags by code, read from the file when asked for."""

    data: bytes
    order: str
    """struct letter of the byte order: < or >"""
    entries: Mapping[int, Entry]

    def __contains__(self, code: int) -> bool:
        return code in self.entries

    def blob(self, code: int) -> bytes:
        """The bytes of a tag; empty if it is absent. Raises `FileError` if they lie past the end of the file."""
        entry = self.entries.get(code)
        if entry is None:
            return b""
        end = entry.offset + entry.nbytes
        if end > len(self.data):
            raise FileError(
                f"tag {code} should end at byte {end} of a file of {len(self.data)} bytes: truncated or damaged"
            )
        return self.data[entry.offset : end]

    def numbers(self, code: int) -> NDArray[np.float64]:
        """The values of a tag as float64, rationals divided (x/0 gives inf or nan); empty if absent."""
        blob = self.blob(code)
        if not blob:
            return np.zeros(0)
        kind = self.entries[code].kind
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.frombuffer(blob, np.dtype(self.order + _KIND[kind])).astype(np.float64)
            return values[0::2] / values[1::2] if kind in _RATIONAL else values

    def integers(self, code: int) -> list[int]:
        """The values of a tag as integers; one that is not finite (a damaged file) becomes -1."""
        return [int(v) if np.isfinite(v) else -1 for v in self.numbers(code)]

    def integer(self, code: int, default: int = 0) -> int:
        """The first value of a tag as an integer, or `default`."""
        values = self.numbers(code)
        return int(values[0]) if len(values) and np.isfinite(values[0]) else default

    def text(self, code: int) -> str:
        """An ASCII tag up to its first NUL, stripped."""
        return self.blob(code).split(b"\0")[0].decode("utf-8", "replace").strip()


@dataclass(frozen=True)
class TiffTree:
    """All directories of a file: the main chain first, each followed by its SubIFDs; EXIF apart."""

    directories: tuple[Directory, ...]
    exif: Directory | None

    @property
    def main(self) -> Directory:
        """The first directory (IFD0)."""
        return self.directories[0]


def read_tree(data: bytes, start: int = 0) -> TiffTree | None:
    """The directories of a TIFF structure whose header begins at byte `start`; None if there is none.

    Offsets inside count from `start`. Directories that lie outside the file are left out.
    """
    block = data[start:] if start else data
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return None
    magic, first = struct.unpack(order + "HI", block[2:8])
    if magic not in MAGIC:
        return None
    found = list(_walk(block, order, first))
    if not found:
        return None
    exif_at = next((d.integer(EXIF_IFD) for d in found if EXIF_IFD in d), 0)
    exif = _directory(block, order, exif_at) if exif_at else None
    return TiffTree(tuple(found), exif[0] if exif else None)


def _walk(data: bytes, order: str, first: int) -> Iterator[Directory]:
    """The chain that starts at `first`, with the SubIFDs of each directory behind it."""
    queue, seen = [first], set[int]()
    while queue and len(seen) < MAX_DIRECTORIES:
        offset = queue.pop(0)
        if offset in seen:
            continue
        seen.add(offset)
        parsed = _directory(data, order, offset)
        if parsed is None:
            continue
        directory, following = parsed
        yield directory
        queue = [*_children(directory), following, *queue]


def _children(directory: Directory) -> list[int]:
    try:
        return [int(v) for v in directory.numbers(SUB_IFDS)[:MAX_DIRECTORIES]]
    except FileError:
        return []


def _directory(data: bytes, order: str, offset: int) -> tuple[Directory, int] | None:
    """The directory at `offset` and where the next one stands; None if it does not fit in the file."""
    if offset < 8 or offset + 2 > len(data):
        return None
    (count,) = struct.unpack_from(order + "H", data, offset)
    end = offset + 2 + 12 * count
    if count == 0 or end > len(data):
        return None
    entries: dict[int, Entry] = {}
    for at in range(offset + 2, end, 12):
        code, kind, number, value = struct.unpack_from(order + "HHII", data, at)
        if kind not in _KIND or code in entries:
            continue
        inline = Entry(kind, number, at + 8)
        entries[code] = inline if inline.nbytes <= 4 else Entry(kind, number, value)
    following = struct.unpack_from(order + "I", data, end)[0] if end + 4 <= len(data) else 0
    return Directory(data, order, entries), following
