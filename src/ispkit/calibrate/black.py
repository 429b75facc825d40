"""Black level and read noise per gain and exposure, from frames without light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm

from ispkit.calibrate.look import Pixels, Reals, trimmed
from ispkit.core.profile import BlackPoint

_AT_ZERO = 1e-3
_COARSE = 1.5
"""mean distance of common codes from which on most codes are unused, so that their shares follow no normal law"""


@dataclass(frozen=True)
class DarkResult:
    """One series of dark frames of the same setting."""

    point: BlackPoint
    error_dn: tuple[float, float, float, float]
    """standard error of the level per site"""
    mean: Pixels
    """(4, h, w) mean frame"""
    frames: int
    at_zero: float
    """share of pixels at code 0, of the worst site"""
    variance: Reals
    """(4,) in time, DN^2; of a single frame that over the picture, which also holds its fixed pattern"""
    degrees: int
    """degrees of freedom of the variance per site"""
    step: float
    """mean distance of the codes in use; more than 1 where the data were scaled"""

    @property
    def notes(self) -> list[str]:
        """Remarks for the user."""
        at, found = f"ISO {self.point.iso:g}, {self.point.exposure_time_s:g} s", []
        if self.frames == 1:
            found.append(f"{at}: one dark frame only, so its noise includes the fixed pattern; shoot a second one")
        if self.step > _COARSE:
            found.append(
                f"{at}: only about one code in {self.step:.2g} occurs, so the data were scaled before; the level is "
                "the plain mean, ask for data as the sensor gives them"
            )
        if self.at_zero > _AT_ZERO:
            how = "too high by some of the noise" if self.step > _COARSE else "that of a censored normal distribution"
            found.append(
                f"{at}: {self.at_zero:.1%} of the dark pixels are cut off at code 0; the level is {how}, "
                "raise the sensor's pedestal if you can"
            )
        return found


def measure_dark(frames: Sequence[Pixels], *, iso: float, exposure_time_s: float) -> DarkResult:
    """Black level and noise of dark frames, each (4, h, w) DN, taken with one setting.

    The level is the mean per site without outliers beyond 5 sigma, rounded to 1/1000 DN; where values are cut
    off at 0, that of the censored normal distribution. The noise is half the variance of the difference of
    consecutive frames, so fixed patterns do not count (EMVA 1288, release 4.0, section 6.6); it includes the
    rounding to whole DN, 1/12 DN^2.
    """
    step = _step(frames[0])
    sites = [[_site(frame[i], censored=step <= _COARSE) for frame in frames] for i in range(4)]
    at_zero = max(float((frame[i] <= 0).mean()) for frame in frames for i in range(4))
    level = np.array([np.mean([s[0] for s in site]) for site in sites])
    if len(frames) > 1:
        pairs = list(zip(frames[:-1:2], frames[1::2], strict=False))
        variance = np.array([np.mean([_spread(a[i] - b[i]) ** 2 / 2 for a, b in pairs]) for i in range(4)])
        count = len(pairs)
    else:
        variance, count = np.array([site[0][1] ** 2 for site in sites]), 1
    if at_zero > _AT_ZERO and step <= _COARSE:
        variance = np.array([np.mean([s[1] ** 2 for s in site]) for site in sites])
    pixels = frames[0][0].size
    error = np.sqrt(variance / (pixels * len(frames)))
    point = BlackPoint(iso, exposure_time_s, _four(level.round(3)), _four(np.sqrt(variance).round(4)))
    mean: Pixels = np.mean(frames, axis=0, dtype=np.float32)
    return DarkResult(point, _four(error), mean, len(frames), at_zero, variance, count * pixels, step)


def _step(frame: Pixels) -> float:
    """Mean distance of the codes that at least 1 in 1000 pixels have."""
    codes, counts = np.unique(np.rint(frame), return_counts=True)
    common = codes[counts > 1e-3 * frame.size]
    return float(np.diff(common).mean()) if len(common) > 2 else 1.0


def _site(values: Pixels, *, censored: bool) -> tuple[float, float]:
    """Mean and standard deviation of one site without its outliers."""
    kept = trimmed(values.ravel())
    if censored and float((kept <= 0).mean()) > _AT_ZERO and kept.max() > 0:
        return _censored(kept)
    return float(kept.mean(dtype=np.float64)), float(kept.std(dtype=np.float64))


def _spread(values: Pixels) -> float:
    return float(trimmed(values.ravel()).std(dtype=np.float64))


def _censored(values: NDArray[Any]) -> tuple[float, float]:
    """Most likely normal distribution of codes that are rounded, and cut off at 0."""
    codes, counts = np.unique(np.rint(values), return_counts=True)
    upper = codes + 0.5
    lower = np.where(codes <= 0, -np.inf, codes - 0.5)

    def cost(x: Reals) -> float:
        sigma = np.exp(x[1])
        share = norm.cdf((upper - x[0]) / sigma) - norm.cdf((lower - x[0]) / sigma)
        return -float(counts @ np.log(np.maximum(share, 1e-300))) / float(counts.sum())

    start = [float(values.mean()), float(np.log(max(values.std(), 0.3)))]
    found = minimize(cost, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-10})
    return float(found.x[0]), float(np.exp(found.x[1]))


def _four(values: Reals) -> tuple[float, float, float, float]:
    a, b, c, d = (float(v) for v in values)
    return a, b, c, d
