"""MTF from a Siemens star: a harmonic fit on every ring, over the whole turn or by segments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.kpi.result import Curve, Kpi, Result
from ispkit.kpi.signal import Array, falls_to, luminance_plane

_FEWEST = 12  # pixels that make a ring of a segment
_LOW_SHARE = 0.3  # of the rings, the outermost, from which the modulation at 0 is extrapolated if it is not known
_SPARSE = 5  # every fifth pixel serves to find the center
_RIM = 0.03  # of the radius, left out: there the blur mixes star and surround


@dataclass(frozen=True, eq=False)
class StarResult:
    """MTF of a Siemens star, from the outermost ring inward."""

    frequency: Array
    """(F,) cycles per pixel, rising"""
    mtf: Array
    """(F,) root mean square over the segments"""
    segments: Array
    """(S, F) MTF of each segment, from the x axis toward the y axis; NaN where a ring has too few pixels"""
    mtf50: float
    mtf10: float
    center: tuple[float, float]
    """row and column in pixels of the region, as found"""
    warnings: tuple[str, ...] = ()

    def as_result(self, region: str = "") -> Result:
        """`star.mtf50` with the MTF."""
        kpi = Kpi("star.mtf50", self.mtf50, "cy/px", "higher", region, "Siemens star, ISO 12233:2017 annex E")
        x, y = self.frequency.tolist(), self.mtf.tolist()
        prefix = f"{region}: " if region else ""
        curve = Curve("Star MTF", region or "star", x, y, "frequency (cy/px)", "MTF")
        return Result((kpi,), (curve,), tuple(prefix + w for w in self.warnings))


def measure_star(
    linear_picture: Tensor,
    *,
    spokes: int,
    radius: float,
    inner_radius: float | None = None,
    center: tuple[float, float] | None = None,
    modulation: float | None = None,
    segments: int = 1,
) -> StarResult:
    """MTF of a Siemens star in linear light, (H, W) or (3, H, W), from its luminance.

    The star has `spokes` periods a turn. A ring of radius r holds spokes / (2 pi r) cycles per pixel. On each, one
    pixel wide, a + b cos + c sin of spokes times the angle is fitted by least squares; sqrt(b^2 + c^2) / a over
    `modulation` is the MTF, and the power that noise adds is taken away. `modulation` is the chart's (high - low) /
    (high + low), times 4/pi for a star of black and white; if None, it is extrapolated from the outermost rings.
    `center` (row, column; pixel (0, 0) covers [0, 1) x [0, 1); the middle if None) is refined within 3 px. Rings
    run from `radius` in to `inner_radius`, or to 0.5 cy/px. `segments` divides the turn (ISO 12233:2017 annex E has
    8). Raises `ShapeError`, `ParamError`.
    """
    plane = luminance_plane(linear_picture, "the Siemens star", least=32)
    start = (plane.shape[0] / 2, plane.shape[1] / 2) if center is None else center
    inner = max(inner_radius or 0.0, spokes / math.pi)
    _check(spokes, (inner, radius), segments, modulation)
    rings = np.arange((1 - _RIM) * radius - 1, inner, -1.0)
    samples = _Samples.of(plane)
    found = _refine_center(samples.every(_SPARSE), start, spokes, rings)
    fits, mean = _fit_rings(samples, found, spokes, (rings, segments))
    relative = fits / mean
    frequency = spokes / (2 * np.pi * rings)
    parts = np.sqrt(np.maximum(relative, 0))
    mtf = np.sqrt(np.maximum(_mean_of_known(relative), 0))
    known = np.isfinite(mtf)
    frequency, mtf, parts = frequency[known], mtf[known], parts[:, known]
    reference = modulation or _modulation_at_0(frequency, mtf)
    mtf, parts = mtf / reference, parts / reference
    warnings = _doubts(mtf, found, start, reference)
    lost = any("no star" in w for w in warnings)
    half, tenth = (math.nan if lost else falls_to(frequency, mtf, level) for level in (0.5, 0.1))
    return StarResult(frequency, mtf, parts, half, tenth, found, warnings)


def _check(spokes: int, radii: tuple[float, float], segments: int, modulation: float | None) -> None:
    if spokes < 4:
        raise ParamError(f"spokes={spokes} of a Siemens star must be at least 4")
    if radii[1] < radii[0] + 8:
        raise ParamError(
            f"radius={radii[1]:g} leaves no rings: {spokes} spokes pass 0.5 cy/px at {spokes / math.pi:.0f} px; "
            "take a larger star"
        )
    if not 1 <= segments <= spokes // 2:
        raise ParamError(f"segments={segments} is outside [1, {spokes // 2}]: each needs two periods")
    if modulation is not None and not 0 < modulation < 1.3:
        raise ParamError(f"modulation={modulation} of the chart is outside (0, 1.3)")


@dataclass(frozen=True, eq=False)
class _Samples:
    """Pixels as points: row and column of their centers, and their value, (N,) each."""

    y: Array
    x: Array
    value: Array

    @staticmethod
    def of(plane: Array) -> _Samples:
        y, x = np.indices(plane.shape).astype(np.float64).reshape(2, -1) + 0.5
        return _Samples(y, x, plane.ravel())

    def every(self, step: int) -> _Samples:
        return _Samples(self.y[::step], self.x[::step], self.value[::step])


def _fit_rings(
    samples: _Samples, center: tuple[float, float], spokes: int, layout: tuple[Array, int]
) -> tuple[Array, Array]:
    """Squared amplitude less the noise's, and squared mean, by segment and ring, (S, F)."""
    rings, segments = layout
    y, x = samples.y - center[0], samples.x - center[1]
    angle = np.arctan2(y, x)
    place = np.rint(np.hypot(y, x) - rings[-1]).astype(np.intp)
    part = np.minimum((angle % (2 * np.pi)) / (2 * np.pi) * segments, segments - 1e-9).astype(np.intp)
    inside = (place >= 0) & (place < len(rings))
    cell = part[inside] * len(rings) + (len(rings) - 1 - place[inside])
    waves = np.stack([np.ones(cell.size), np.cos(spokes * angle[inside]), np.sin(spokes * angle[inside])])
    value, cells = samples.value[inside], segments * len(rings)
    normal = _sums(cell, cells, waves[:, None] * waves[None])
    right = _sums(cell, cells, waves * value)
    count = normal[:, 0, 0]
    normal[count < _FEWEST] = np.eye(3)
    solved = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    residual = np.bincount(cell, (value - np.sum(solved[cell] * waves.T, 1)) ** 2, minlength=cells)
    noise = residual / np.maximum(count - 3, 1)
    spread = noise * np.trace(np.linalg.inv(normal)[:, 1:, 1:], axis1=1, axis2=2)
    power = np.where(count >= _FEWEST, solved[:, 1] ** 2 + solved[:, 2] ** 2 - spread, np.nan)
    mean = np.where(count >= _FEWEST, solved[:, 0] ** 2, np.nan)
    return power.reshape(segments, -1), mean.reshape(segments, -1)


def _sums(cell: NDArray[np.intp], cells: int, values: Array) -> Array:
    """Sums of `values` (..., N) over cells, (cells, ...)."""
    flat = values.reshape(-1, values.shape[-1])
    summed: Array = np.stack([np.bincount(cell, v, minlength=cells) for v in flat], axis=-1).astype(np.float64)
    return summed.reshape(cells, *values.shape[:-1])


def _refine_center(samples: _Samples, start: tuple[float, float], spokes: int, rings: Array) -> tuple[float, float]:
    """The center that makes the rings ring most, within 3 px of the start."""

    def loss(shift: Array) -> float:
        center = (start[0] + float(shift[0]), start[1] + float(shift[1]))
        power, mean = _fit_rings(samples, center, spokes, (rings, 1))
        return -float(np.nansum(power / np.maximum(mean, 1e-12)))

    simplex = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    best = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 5e-3})
    shift = np.clip(best.x, -3, 3)
    return start[0] + float(shift[0]), start[1] + float(shift[1])


def _mean_of_known(values: Array) -> Array:
    """Mean over axis 0 of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(0)
    mean: Array = np.where(count, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)
    return mean


def _modulation_at_0(frequency: Array, modulation: Array) -> float:
    """Extrapolated from the outermost rings as a Gaussian, whose logarithm is a line over f^2."""
    low = slice(0, max(int(_LOW_SHARE * len(modulation)), 3))
    if not modulation[low].min(initial=np.inf) > 1e-3:
        return 1e-3
    line = np.polynomial.Polynomial.fit(frequency[low] ** 2, np.log(modulation[low]), 1)
    return float(np.exp(line(0.0)))


def _doubts(mtf: Array, center: tuple[float, float], start: tuple[float, float], reference: float) -> tuple[str, ...]:
    """What is doubtful about a star."""
    moved = math.hypot(center[0] - start[0], center[1] - start[1])
    outer = mtf[: max(len(mtf) // 8, 3)]
    if not reference > 0.01 or not np.median(outer) > 0.3:
        return ("no star found: the rings do not alternate with its spokes; check center, radius and spokes",)
    found = []
    if moved > 2.5:
        found.append(f"the star's center lies {moved:.1f} px from where it was expected; give a better one")
    if math.isnan(falls_to(np.arange(len(mtf), dtype=np.float64), mtf, 0.5)):
        found.append("MTF50 cannot be measured: the MTF stays above 0.5 up to the innermost ring")
    return tuple(found)
