"""Which files belong together: one `PairFiles` a picture, and how a set is split."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ispkit.core.errors import FileError, ParamError, nearest
from ispkit.io.geometry import Facts

_LOG = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
LISTS = {
    "train.txt": "train",
    "training.txt": "train",
    "val.txt": "val",
    "valid.txt": "val",
    "validation.txt": "val",
    "test.txt": "test",
    "testing.txt": "test",
}
"""files of names, one a line, and the split that they stand for"""


class EmptySplitError(FileError):
    """No picture is on the side of a split that is asked for."""


@dataclass(frozen=True)
class PairFiles:
    """The files of one picture."""

    name: str
    raws: tuple[Path, ...]
    """the RAW file that is read; a burst's other frames after it"""
    picture: Path | None = None
    """the finished picture; None: it is made of the restored one"""
    restored: Path | None = None
    """a RAW file of little noise that shows the same, or a linear picture of 16 bits"""
    split: str = ""
    """train, val or test; empty where the data set does not say"""
    geometry: Facts | None = None
    """what a mosaic in a PNG cannot say about itself"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """`ev`: how much darker the RAW is than its targets; `shift`: whole pixels down and right that the picture lies
    beyond the RAW; whatever else the names tell"""

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.raws, *(p for p in (self.picture, self.restored) if p is not None))


def folder_of(path: str | Path, what: str) -> Path:
    """`path` if it is a folder. Raises `FileError`; `what` says what should be in it."""
    folder = Path(path)
    if not folder.is_dir():
        raise FileError(f"{path}: no such folder; give {what}")
    return folder


def listed(folder: Path) -> dict[str, str]:
    """Name -> split as the lists of a folder (`LISTS`) tell; empty without any. Endings of names are dropped."""
    found: dict[str, str] = {}
    for file, split in LISTS.items():
        if (folder / file).is_file():
            found |= {Path(line).stem: split for line in lines(folder / file)}
    return found


def lines(path: Path) -> list[str]:
    """The lines of a list that say something."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read as a list of names ({error})") from error


def chosen(pairs: Sequence[PairFiles], split: str | None, held_out: float = 0.1) -> list[PairFiles]:
    """The pairs of one split, or all for None.

    Where a set says nothing, every k-th in the order of names is for testing, `held_out` of all, the rest for training.
    Raises `ParamError` for an unknown split, `EmptySplitError` for an empty one.
    """
    if split is not None and split not in SPLITS:
        raise ParamError(f"no split {split!r}; {nearest(split, SPLITS)}, or None for all")
    if not 0 <= held_out < 1:
        raise ParamError(f"held_out={held_out} must be a share of the pictures in [0, 1)")
    told = list(pairs) if any(p.split for p in pairs) else _split(pairs, held_out)
    found = [p for p in told if split in (None, p.split)]
    if not found:
        there = ", ".join(sorted({p.split or "none" for p in told})) or "nothing"
        raise EmptySplitError(f"no pairs of split {split!r} among {len(told)}; there are {there}")
    return found


def unique(pairs: Iterable[PairFiles], folder: Path, layout: str) -> list[PairFiles]:
    """Pairs by name. Raises `FileError` where there are none, saying what `layout` should be there."""
    ordered = sorted(pairs, key=lambda p: p.name)
    if not ordered:
        raise FileError(f"{folder}: no pairs found; expected {layout}")
    return ordered


def tell_left_out(names: Iterable[str], why: str) -> None:
    """One warning of the log for files that make no pair."""
    left = sorted(names)
    if left:
        count = "1 file is" if len(left) == 1 else f"{len(left)} files are"
        _LOG.warning("%s left out, %s: %s", count, why, ", ".join(left[:3]) + (" ..." if left[3:] else ""))


def held_out_names(names: Sequence[str], share: float) -> set[str]:
    """A share of names, every k-th in their order: at least one, never all; none of a share of 0.

    >>> sorted(held_out_names("abcdef", 1 / 3))
    ['b', 'e']
    """
    count = min(len(names) - 1, max(1, round(share * len(names)))) if share else 0
    return {names[int((k + 0.5) * len(names) / count)] for k in range(count)}


def _split(pairs: Sequence[PairFiles], held_out: float) -> list[PairFiles]:
    kept = held_out_names(sorted({p.name for p in pairs}), held_out)
    return [replace(p, split="test" if p.name in kept else "train") for p in pairs]
