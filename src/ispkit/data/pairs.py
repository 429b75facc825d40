"""RAW files with their targets as a data set that networks learn from, and the one door to all published ones."""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ispkit.core.cfa import check_cfa
from ispkit.core.errors import FileError, IspkitError, ParamError, ShapeError, nearest
from ispkit.core.frame import Frame
from ispkit.data.augment import TURNS, Turn, item_seed, start_of, turned_sample
from ispkit.data.pairs_files import PairFiles, chosen
from ispkit.data.pairs_layouts import LAYOUTS
from ispkit.data.pairs_read import Reading, read_pair
from ispkit.data.samples import Sample

_LOG = logging.getLogger(__name__)
_MB = 1 << 20
_SMALL = 0.1


@dataclass(frozen=True)
class PairSettings:
    """How windows are drawn from pairs, and how much is kept in memory."""

    crop: tuple[int, int] | None = None
    """height, width, even, of a window; None: whole pictures"""
    cfa: str = "RGGB"
    """what every window reads, so that cameras share a batch"""
    turn: bool = False
    """mirror and (square windows) rotate at random, as far as the picture has room: the CFA stays, so a turn may need
    to begin a row or column later; two pixels more than the window a side are room for all"""
    windows: int = 1
    """of each pair in an epoch; items that follow each other are of one pair"""
    keep_mb: float = 2000.0
    """of decoded pairs kept in memory, the last used; a 12 megapixel pair takes 60 MB, 130 with a restored one"""
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        check_cfa(self.cfa)
        if self.crop is not None:
            object.__setattr__(self, "crop", tuple(self.crop))
            if len(self.crop) != 2 or min(self.crop) < 2 or any(side % 2 for side in self.crop):
                raise ShapeError(
                    f"crop={self.crop} must be two even numbers of at least 2, so that windows keep their CFA"
                )
        if self.windows < 1 or not self.keep_mb >= 0:
            raise ParamError(f"windows={self.windows} must be at least 1, keep_mb={self.keep_mb} not negative")


class RawPairs(Dataset[Sample]):
    """Windows of RAW files with their targets.

    With a `seed` a window is drawn at random and depends on (seed, epoch, index) and the files only, never on what was
    read before; without it is the middle. A turn is drawn among those that fit the pair. A pair that cannot be read, or
    whose picture no window fits, is reported by one warning of the log, counted in `bad` (name -> reason), and another
    pair stands in for it: the next good one in order. Raises `FileError` only where no pair is left. Finished pictures
    are kept as 8 or 16 bits, restored ones as half precision.

    ```python
    pairs = open_pairs("folder", "photos", split="train", crop=(256, 256), seed=0)
    sample = pairs[0]
    ```
    """

    def __init__(
        self, files: Sequence[PairFiles], settings: PairSettings | None = None, *, seed: int | None = None
    ) -> None:
        if not files:
            raise FileError("no pairs to read; give at least one RAW file with its picture")
        self.files, self.settings, self.seed, self.epoch = list(files), settings or PairSettings(), seed, 0
        self.bad: dict[str, str] = {}
        self._passed: set[int] = set()  # places, since names may be shared
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    def set_epoch(self, epoch: int) -> None:
        """Draw other windows; call it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.files) * self.settings.windows

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):  # ends a plain `for` loop
            raise IndexError(f"item {index} of {len(self)}")
        first = index // self.settings.windows
        for step in range(len(self.files)):
            place = (first + step) % len(self.files)
            if place not in self._passed:
                try:
                    return self._window(self._whole(place), index)
                except (IspkitError, OSError) as error:
                    name = self.files[place].name
                    self._passed.add(place)
                    self.bad[name] = str(error)
                    _LOG.warning("pair %s is skipped: %s", name, error)
        reason = next(iter(self.bad.values()))
        raise FileError(f"none of {len(self.files)} pairs gives a window; the first: {reason}")

    def _whole(self, place: int) -> _Kept:
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        made = _Kept.of(read_pair(self.files[place], self.settings.reading))
        self._kept[place] = made
        while len(self._kept) > 1 and sum(k.megabytes for k in self._kept.values()) > self.settings.keep_mb:
            self._kept.popitem(last=False)
        return made

    def _window(self, whole: _Kept, index: int) -> Sample:
        s = self.settings
        if s.crop is None:
            y0, x0 = start_of(whole.frame.meta.cfa, s.cfa)
            height, width = ((have - o) // 2 * 2 for have, o in zip(whole.frame.size, (y0, x0), strict=True))
            return whole.window(y0, x0, height, width)
        chance = None if self.seed is None else torch.Generator().manual_seed(item_seed(self.seed, self.epoch, index))
        places = _places(whole, s.crop, s.cfa, turns=s.turn and chance is not None)
        drawn = 0 if chance is None or not s.turn else int(torch.randint(len(places), (), generator=chance))
        turn, (y0, x0), room = places[drawn]
        y, x = (r // 2 if chance is None else int(torch.randint(r + 1, (), generator=chance)) for r in room)
        return turned_sample(whole.window(2 * y + y0, 2 * x + x0, *s.crop), turn)


def open_pairs(
    kind: str,
    folder: str | Path,
    *,
    split: str | None = "train",
    crop: tuple[int, int] | None = None,
    seed: int | None = 0,
    settings: PairSettings | None = None,
    options: Mapping[str, Any] | None = None,
) -> RawPairs:
    """The pairs of a data set in its published layout (`LAYOUTS`): s7-isp, sid, hdr+, fivek, msr, zurich, folder.

    Args:
        kind: the layout's name.
        folder: where it lies.
        split: train, val, test, or None for all; where the set says nothing every tenth picture is for testing.
        crop: height and width of a window, in place of the settings'.
        seed: of the windows; None: the middle.
        settings: how windows are drawn and pictures made.
        options: the layout's own, such as `{"pictures": "jpegs"}` for folder, and `held_out`, the share for testing.

    Raises `ParamError` for an unknown name or option, `FileError` where nothing is found.
    """
    how = settings or PairSettings()
    if crop is not None:
        how = replace(how, crop=crop)
    return RawPairs(pair_files(kind, folder, split=split, options=options), how, seed=seed)


def pair_files(
    kind: str, folder: str | Path, *, split: str | None = "train", options: Mapping[str, Any] | None = None
) -> list[PairFiles]:
    """The files of `open_pairs`, without reading any."""
    if kind not in LAYOUTS:
        raise ParamError(f"no data set {kind!r}; {nearest(kind, LAYOUTS)}")
    own = dict(options or {})
    held_out = own.pop("held_out", 0.1)
    known = [name for name in inspect.signature(LAYOUTS[kind]).parameters if name != "folder"]
    for name in own:
        if name not in known:
            raise ParamError(f"{kind}: no option {name!r}; {nearest(name, [*known, 'held_out'])}")
    return chosen(LAYOUTS[kind](folder, **own), split, held_out)


@dataclass(frozen=True)
class _Kept:
    """A decoded pair in little memory: whole numbers in 16 bits, restored light in half precision."""

    name: str
    frame: Frame
    """without pixels that count"""
    mosaic: NDArray[np.uint16]
    target: NDArray[np.uint8] | NDArray[np.uint16]
    restored: NDArray[np.float16] | None

    @staticmethod
    def of(sample: Sample) -> _Kept:
        frame = sample.frame
        blank = frame.with_data(torch.zeros(()).expand_as(frame.data))
        mosaic = frame.data[0, 0].round().clamp(0, 65535).numpy().astype(np.uint16)
        restored = None if sample.restored is None else sample.restored[0].half().numpy()
        return _Kept(sample.names[0], blank, mosaic, _codes(sample.target[0].numpy()), restored)

    @property
    def megabytes(self) -> float:
        arrays = (self.mosaic, self.target, *(() if self.restored is None else (self.restored,)))
        return float(sum(a.nbytes for a in arrays)) / _MB

    def window(self, y: int, x: int, height: int, width: int) -> Sample:
        place = (..., slice(y, y + height), slice(x, x + width))
        frame = self.frame.crop(y, x, height, width)
        mosaic = torch.from_numpy(self.mosaic[place].astype(np.float32))[None, None]
        top = np.float32(np.iinfo(self.target.dtype).max)
        target = torch.from_numpy(self.target[place].astype(np.float32) / top)[None]
        restored = None if self.restored is None else torch.from_numpy(self.restored[place].astype(np.float32))[None]
        return Sample((self.name,), frame.with_data(mosaic), target, restored)


def _places(
    whole: _Kept, crop: tuple[int, int], cfa: str, *, turns: bool
) -> list[tuple[Turn, tuple[int, int], tuple[int, ...]]]:
    """The turns that fit a pair: where windows start, and by how many cells down and right they may move.

    Raises `ShapeError` where none does.
    """
    square = crop[0] == crop[1]
    found = []
    for turn in (TURNS if square else TURNS[:4]) if turns else TURNS[:1]:
        start = start_of(whole.frame.meta.cfa, cfa, turn)
        room = tuple((have - want - o) // 2 for have, want, o in zip(whole.frame.size, crop, start, strict=True))
        if min(room) >= 0:
            found.append((turn, start, room))
    if not found:
        got, want = ("x".join(map(str, size)) for size in (whole.frame.size, crop))
        raise ShapeError(
            f"{whole.name}: {got} pixels ({whole.frame.meta.cfa}) hold no window of {want} that reads {cfa}; "
            "set a smaller crop"
        )
    return found


def _codes(picture: NDArray[np.float32]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """8 bits where they hold a picture in [0, 1] to a tenth of their step, else 16."""
    scaled = picture * 255
    eight = np.rint(scaled)
    if np.abs(scaled - eight).max() < _SMALL:
        return eight.astype(np.uint8)
    return np.rint(np.clip(picture, 0, 1) * 65535).astype(np.uint16)
