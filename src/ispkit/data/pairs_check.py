"""Are the pairs pairs? Missing and damaged files, sizes that differ, pictures that lie beside their RAW."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import FileError, IspkitError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.data.pairs_files import PairFiles
from ispkit.data.pairs_read import Reading, read_pair
from ispkit.data.samples import Sample
from ispkit.ops.cfa import planes
from ispkit.ops.levels import linearize
from ispkit.ops.luma import luminance
from ispkit.ops.white_balance import balance

Status = Literal["ok", "missing", "corrupt", "size", "different", "misaligned"]
_TILES, _TILE = 4, 64  # a side, and cells (2x2 pixels) that one has at least
_LEAST_TILE = 24
_TINY = 1e-12
_BLUR = 1.0  # sigma of the peak of a phase correlation
_SURE = 0.4  # response of a phase correlation that is believed; tiles with saturated lamps reach 0.35
_ALIKE = 0.6  # correlation of RAW and picture below which they show different things, where no tile tells
_MOST_SHOWN = 20
Floats = NDArray[Any]


@dataclass(frozen=True)
class Alignment:
    """Where a finished picture lies on its RAW."""

    shift: tuple[float, float]
    """pixels down and right that it lies beyond the RAW, the median of tiles; 0 where no tile tells"""
    worst: float
    """length in pixels of the largest shift of a tile that tells; grows with lens corrections and motion"""
    correlation: float
    """of the two as they lie, by brightness"""
    tiles: int
    """that tell a shift"""
    spread: float
    """distance in pixels between the shift and that of the tile that differs most from it"""


@dataclass(frozen=True)
class PairCheck:
    """What was found of one pair."""

    name: str
    status: Status
    detail: str = ""
    alignment: Alignment | None = None


@dataclass(frozen=True)
class PairReport:
    """What was found of all pairs."""

    checks: tuple[PairCheck, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Pairs by status, in the order of `Status`, without those that do not occur."""
        found = Counter(c.status for c in self.checks)
        return {status: found[status] for status in get_args(Status) if found[status]}

    def usable(self, files: Sequence[PairFiles], *, misaligned: bool = False) -> list[PairFiles]:
        """The pairs that are ok, with `misaligned=True` those as well. Raises `FileError` where none is left."""
        good = {c.name for c in self.checks if c.status == "ok" or (misaligned and c.status == "misaligned")}
        left = [f for f in files if f.name in good]
        if not left:
            raise FileError(f"none of {len(files)} pairs is usable\n{self.text()}")
        return left

    def corrected(self, files: Sequence[PairFiles], *, most_px: float = 2.0) -> list[PairFiles]:
        """The usable pairs, and those whose picture as a whole lies elsewhere, with that shift in their facts.

        `read_pair` then undoes it, by whole pixels. Pairs whose parts disagree by more than `most_px` stay out. Raises
        `FileError` where none is left.
        """
        told = {c.name: c.alignment for c in self.checks if c.status in ("ok", "misaligned")}
        left = []
        for pair in files:
            found = told.get(pair.name)
            if found is not None and found.spread <= most_px:
                shift = (round(found.shift[0]), round(found.shift[1]))
                left.append(replace(pair, facts={**pair.facts, "shift": _sum(pair.facts.get("shift"), shift)}))
        if not left:
            raise FileError(f"none of {len(files)} pairs can be aligned\n{self.text()}")
        return left

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {"counts": self.counts, "pairs": [asdict(c) for c in self.checks]}

    def text(self) -> str:
        """One line of numbers, then one a pair that is not ok."""
        told = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        bad = [c for c in self.checks if c.status != "ok"]
        lines = [f"{len(self.checks)} pairs: {told or 'none'}"]
        lines += [f"  {c.status:<10} {c.name}: {c.detail}" for c in bad[:_MOST_SHOWN]]
        return "\n".join([*lines, *([f"  and {len(bad) - _MOST_SHOWN} more"] if len(bad) > _MOST_SHOWN else [])])


def check_pairs(
    files: Sequence[PairFiles],
    reading: Reading | None = None,
    *,
    most_px: float = 2.0,
    progress: Callable[[int, int], None] | None = None,
) -> PairReport:
    """Read every pair and say what is wrong with it; nothing stops at a bad one.

    A pair is `misaligned` where a tile of the picture lies more than `most_px` pixels from its RAW, `different` where
    the two do not look alike, `size` where they differ by more than `reading.border`. `progress` gets (done, all).
    Raises `ParamError` for a negative `most_px`.
    """
    if not most_px >= 0:
        raise ParamError(f"most_px={most_px} must not be negative (unit: px)")
    checks = []
    for i, pair in enumerate(files):
        checks.append(_checked(pair, reading, most_px))
        if progress is not None:
            progress(i + 1, len(files))
    return PairReport(tuple(checks))


def measure_alignment(sample: Sample) -> Alignment:
    """Phase correlation of the RAW's brightness and the target's, tile by tile, at half the resolution."""
    raw, shown = (_plain(p) for p in _brightness(sample.frame, sample.target))
    shifts = _tile_shifts(raw, shown)
    correlation = float(np.corrcoef(_small(raw), _small(shown))[0, 1]) if raw.std() > 0 and shown.std() > 0 else 0.0
    if not shifts:
        return Alignment((0.0, 0.0), 0.0, correlation, 0, 0.0)
    dy, dx = (float(np.median([s[axis] for s in shifts])) for axis in (0, 1))
    worst = float(max(np.hypot(*s) for s in shifts))
    spread = float(max(np.hypot(s[0] - dy, s[1] - dx) for s in shifts))
    return Alignment((dy, dx), worst, correlation, len(shifts), spread)


def _sum(before: Sequence[int] | None, shift: tuple[int, int]) -> tuple[int, int]:
    """Shifts that were measured of a pair that was shifted already."""
    return shift if before is None else (before[0] + shift[0], before[1] + shift[1])


def _checked(pair: PairFiles, reading: Reading | None, most_px: float) -> PairCheck:
    gone = [path for path in pair.files if not path.is_file()]
    if gone:
        return PairCheck(pair.name, "missing", ", ".join(map(str, gone)))
    try:
        sample = read_pair(pair, reading)
    except ShapeError as error:
        return PairCheck(pair.name, "size", str(error))
    except (IspkitError, OSError) as error:
        return PairCheck(pair.name, "corrupt", str(error))
    found = measure_alignment(sample)
    dy, dx = found.shift
    if found.worst > most_px:
        detail = f"the picture lies {dy:+.1f} px down, {dx:+.1f} px right of its RAW; a part of it {found.worst:.1f} px"
        return PairCheck(pair.name, "misaligned", detail, found)
    if not found.tiles and found.correlation < _ALIKE:
        detail = f"RAW and picture do not look alike (correlation {found.correlation:.2f})"
        return PairCheck(pair.name, "different", detail, found)
    return PairCheck(pair.name, "ok", "", found)


def _brightness(frame: Frame, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both as one plane a cell of the filter array, of even sides."""
    height, width = (side // 2 * 2 for side in frame.size)
    meta = frame.meta
    light = frame.data
    if frame.domain is Domain.RAW:
        light = linearize(light, meta.black_level, meta.white_level)
    balanced = balance(light, 1 / meta.neutral, meta.cfa)[..., :height, :width]
    shown = luminance(target[..., :height, :width])
    return planes(balanced).mean(1)[0], planes(shown).mean(1)[0]


def _plain(plane: Tensor) -> Floats:
    """Encoded about alike, whatever the curve and the exposure were."""
    return plane.clamp(min=0).sqrt().double().numpy()


def _tile_shifts(raw: Floats, shown: Floats) -> list[tuple[float, float]]:
    """Shifts in pixels of the tiles that tell one."""
    counts = [max(1, min(_TILES, n // _TILE)) for n in raw.shape]
    height, width = (n // count for n, count in zip(raw.shape, counts, strict=True))
    if min(height, width) < _LEAST_TILE:
        return []
    window = np.outer(np.hanning(height), np.hanning(width))
    found = []
    for i in range(counts[0]):
        for j in range(counts[1]):
            tile = np.s_[i * height : (i + 1) * height, j * width : (j + 1) * width]
            (dy, dx), response = phase_correlation(*((p[tile] - p[tile].mean()) * window for p in (raw, shown)))
            if response > _SURE:
                found.append((2 * dy, 2 * dx))
    return found


def phase_correlation(first: Floats, second: Floats) -> tuple[tuple[float, float], float]:
    """How far down and right (pixels) `second` (H, W) shows what `first` does, and how sure that is, in [0, 1].

    Kuglin, Hines 1975, with the fine frequencies weighed down: the peak is then a Gaussian, whose place between samples
    a parabola through its logarithm finds. 1 is a pure shift.
    """
    cross = np.fft.rfft2(first).conj() * np.fft.rfft2(second)
    fy, fx = np.fft.fftfreq(first.shape[0])[:, None], np.fft.rfftfreq(first.shape[1])[None]
    weight = np.exp(-2 * (math.pi * _BLUR) ** 2 * (fy**2 + fx**2))
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), _TINY) * weight, first.shape)
    y, x = (int(v) for v in np.unravel_index(int(surface.argmax()), surface.shape))
    place = []
    for axis, at in ((0, y), (1, x)):
        size = surface.shape[axis]
        near = (
            surface[[(y - 1) % size, y, (y + 1) % size], x] if axis == 0 else surface[y, np.arange(x - 1, x + 2) % size]
        )
        place.append((at + _vertex(near) + size / 2) % size - size / 2)
    top = float(np.fft.irfft2(weight, first.shape)[0, 0])
    return (place[0], place[1]), float(surface[y, x]) / top


def _vertex(values: NDArray[Any]) -> float:
    """Where between -1 and 1 a peak through three samples lies."""
    left, middle, right = np.log(np.maximum(values, _TINY))
    bend = left - 2 * middle + right
    return float(np.clip((left - right) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


def _small(plane: Floats) -> Floats:
    """Coarse brightness, flat."""
    side = max(1, min(plane.shape) // _TILE)
    height, width = (n // side * side for n in plane.shape)
    small: Floats = plane[:height, :width].reshape(height // side, side, width // side, side).mean((1, 3))
    return small.ravel()
