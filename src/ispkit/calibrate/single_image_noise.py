"""Noise S, O of a single frame: wavelet detail in level sets, with clipping in the model.

References: A. Foi, M. Trimeche, V. Katkovnik, K. Egiazarian, "Practical Poissonian-Gaussian noise modeling and
fitting for single-image raw-data", IEEE TIP 17(10), 2008; A. Foi, "Clipped noisy images: heteroskedastic modeling
and practical denoising", Signal Processing 89(12), 2009.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, uniform_filter
from scipy.optimize import least_squares
from scipy.stats import norm

from ispkit.calibrate.look import Pixels, Reals, trimmed
from ispkit.calibrate.photon_transfer import COLORS, LineFit, TransferPoints

_LEVELS = 300
_FEWEST = 60
"""samples that a level set needs"""
_WINDOW = 7
_EDGE = 0.2
"""a place is smooth while the smoothed picture's slope and curvature stay below so many noise sigmas per sample"""
_SPREAD = 3.0
"""ratio of the largest to the smallest signal below which slope and intercept cannot be told apart"""
_MAD = 1.4826
_TURNS, _ROBUST = 5, 3.0
"""turns of reweighting, and the residual in standard errors from which on a level set counts less"""


def _daubechies3() -> Reals:
    """Low-pass filter of Daubechies' wavelet with three vanishing moments, sum sqrt(2) (1988)."""
    t, u = np.sqrt(10.0), np.sqrt(5 + 2 * np.sqrt(10.0))
    taps = [1 + t + u, 5 + t + 3 * u, 10 - 2 * t + 2 * u, 10 - 2 * t - 2 * u, 5 + t - 3 * u, 1 + t - u]
    filter_: Reals = np.array(taps) / (16 * np.sqrt(2.0))
    return filter_


LOW_PASS = _daubechies3()
_BOX = np.full(len(LOW_PASS), 1 / len(LOW_PASS))
HIGH_PASS = LOW_PASS[::-1] * np.array([1, -1, 1, -1, 1, -1])


@dataclass(frozen=True)
class SingleResult:
    """Fit and level sets of one color."""

    fit: LineFit
    points: TransferPoints
    """signal and variance of the level sets as measured, clipping still in"""


def estimate_noise(
    frame: Pixels, *, black: Sequence[float], white: float, cfa: str, anchor: dict[str, TransferPoints] | None = None
) -> dict[str, SingleResult]:
    """S, O of each color from one frame (4, h, w) DN.

    `anchor` are the points of dark frames, one a site, if there are any. Of each site the picture is split into
    approximation and detail by one step of the db3 wavelet; places with edges are left out; the rest is cut into level
    sets of the approximation, whose detail has the noise's standard deviation (without outliers). S and O are those
    whose censored normal distribution has these means and deviations. Texture that fills the frame is counted as noise:
    the result is an upper bound there.
    """
    found: dict[str, SingleResult] = {}
    for color in COLORS:
        sites = [i for i, c in enumerate(cfa) if c == color]
        lows = [-black[site] / (white - black[site]) for site in sites]
        planes = [(frame[site] - black[site]).astype(np.float64) / (white - black[site]) for site in sites]
        parts = [_level_sets(plane, (low, 1.0)) for plane, low in zip(planes, lows, strict=True)]
        dark = anchor[color].each() if anchor else [TransferPoints.join([])] * len(sites)
        joined = [TransferPoints.join(pair) for pair in zip(parts, dark, strict=True)]
        found[color] = SingleResult(fit_clipped(joined, lows), TransferPoints.join(parts))
    return found


def clipped_moments(mean: Reals, sigma: Reals, low: float, high: float) -> tuple[Reals, Reals]:
    """Mean and deviation of a normal distribution clipped to [low, high] (Foi 2009, section 2).

    >>> mean, sigma = clipped_moments(np.zeros(1), np.ones(1), 0.0, 1e3)
    >>> print(f"{mean[0]:.4f} {sigma[0]:.4f}")
    0.3989 0.5838
    """
    a, b = (low - mean) / sigma, (high - mean) / sigma
    below, above = norm.cdf(a), norm.sf(b)
    inside = 1 - below - above
    pa, pb = norm.pdf(a), norm.pdf(b)
    first = mean * inside + sigma * (pa - pb) + low * below + high * above
    # second moment about the unclipped mean, which keeps digits that raw moments would lose
    second = sigma**2 * (inside + a * pa - b * pb) + (low - mean) ** 2 * below + (high - mean) ** 2 * above
    return first, np.sqrt(np.maximum(second - (first - mean) ** 2, 0.0))


def fit_clipped(sites: Sequence[TransferPoints], lows: Sequence[float]) -> LineFit:
    """S, O >= 0 whose clipped means and variances come nearest to the points (robust, soft L1).

    `lows` are where code 0 lies on the signal axis of each site, 0 or less; white is 1.
    """
    points = TransferPoints.join(sites)
    x, y, dof = points.signal, points.variance, points.degrees
    if len(x) < 4 or float(x.max()) < _SPREAD * max(float(x.min()), 0.0):
        return LineFit(*(float("nan"),) * 5, points=len(x))
    usual = max(float(np.median(y)), 1e-18)
    middle = (x > max(lows) + 0.05) & (x < 0.8)
    start = np.polyfit(x[middle], y[middle], 1) if int(middle.sum()) > 3 else np.array([1e-4, usual])
    scale = np.array([max(abs(start[0]), 1e-7), max(abs(start[1]), 1e-4 * usual)])

    def law(q: Reals) -> Reals:
        """The variance that clipping leaves of S, O at the measured signals."""
        shot, read = np.abs(q) * scale
        each = [_clipped_law(s.signal, shot, read, low) for s, low in zip(sites, lows, strict=True)]
        return np.concatenate(each)

    found, weight = (
        np.array([1.0, max(start[1], 0.0) / scale[1] + 0.01]),
        np.sqrt(dof / 2) / np.maximum(y, 1e-3 * usual),
    )
    for _ in range(_TURNS):  # weights from the fitted law, so that chance in the variances does not bias it
        fit = least_squares(lambda q, w=weight: (y - law(q)) * w, found, loss="soft_l1", f_scale=_ROBUST)
        found, weight = fit.x, np.sqrt(dof / 2) / np.maximum(law(fit.x), 1e-6 * usual)
    shot, read = np.abs(found) * scale
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac, rcond=1e-18)
    errors = np.sqrt(np.diag(covariance)) * scale
    chi2 = float((fit.fun**2).sum() / max(len(x) - 2, 1))
    return LineFit(float(shot), float(read), float(errors[0]), float(errors[1]), chi2, len(x))


def _clipped_law(signal: Reals, shot: float, read: float, low: float) -> Reals:
    """Variance after clipping to [low, 1] where the clipped mean is `signal`."""
    # the deviation grows as a root from zero signal on, so the steps do as well
    grid = np.concatenate(
        [np.linspace(low - 0.1, 0, 200)[:-1], np.linspace(0, 0.95, 1200)[:-1] ** 2, np.linspace(0.9025, 1.4, 800)]
    )
    seen, spread = clipped_moments(grid, np.sqrt(shot * np.maximum(grid, 0) + read + 1e-16), low, 1.0)
    variance: Reals = np.square(np.interp(signal, seen, spread))
    return variance


def _level_sets(plane: Reals, limits: tuple[float, float]) -> TransferPoints:
    """Mean and detail variance of the level sets of one site."""
    # a box has no lobes below zero, which beside an edge would pass for darkness
    smooth = convolve1d(convolve1d(plane, _BOX, axis=0), _BOX, axis=1)
    detail = convolve1d(convolve1d(plane, HIGH_PASS, axis=0), HIGH_PASS, axis=1)
    level, rough = smooth[3:-3:2, 3:-3:2], detail[3:-3:2, 3:-3:2]
    wide = uniform_filter(level, _WINDOW)
    bend = np.abs(convolve1d(wide, [1, -2, 1], 0)) + np.abs(convolve1d(wide, [1, -2, 1], 1))
    slope = np.hypot(*np.gradient(wide)) + bend
    # noise grows as a root of the light, so the sets are narrow where it is dark
    place = (np.sqrt(np.clip((wide - limits[0]) / (limits[1] - limits[0]), 0, 1)) * _LEVELS).astype(int)
    zero = int(np.sqrt(-limits[0] / (limits[1] - limits[0])) * _LEVELS)
    dark = np.sqrt(np.clip(wide / limits[1], 0, 1))
    place = np.where(wide > 0, zero + 1 + (dark * _LEVELS).astype(int), np.minimum(place, zero))
    spread = [
        (float(np.median(wide.ravel()[m])), (_MAD * float(np.median(np.abs(rough.ravel()[m])))) ** 2, float(len(m)))
        for _, m in _members(place.ravel())
    ]
    usual = np.sqrt(_rough_law(np.array(spread).reshape(-1, 3), wide))
    # judged by the level's noise, not by the place's own detail, which would pick noisy places
    calm = np.flatnonzero((slope < _EDGE * usual).ravel())
    found = []
    for _, members in _members(place.ravel()[calm]):
        chosen = calm[members]
        values = trimmed(rough.ravel()[chosen], step=1e-12)
        power = float(np.square(values).mean())  # the detail has mean 0 by construction
        found.append((float(level.ravel()[chosen].mean()), power, float(len(values))))
    columns = np.array(found, dtype=np.float64).reshape(-1, 3).T
    return TransferPoints(columns[0], columns[1], columns[2])


def _rough_law(spread: Reals, signal: Reals) -> Reals:
    """Variance at `signal` by a line through (signal, variance, count), which edges lift."""
    if len(spread) < 2:
        return np.full(signal.shape, float(spread[:, 1].mean()) if len(spread) else 0.0)
    x, y, count = spread.T
    floor = 1e-3 * float(np.median(y)) + 1e-18
    start = np.array([0.5 * float(np.median(y)) / max(float(np.median(np.abs(x))), 1e-3), 0.5 * float(y.min()) + floor])
    fit = least_squares(
        lambda q: np.sqrt(count) * np.log((np.abs(q[0]) * np.maximum(x, 0) + np.abs(q[1]) + floor) / (y + floor)),
        start, loss="cauchy", x_scale=np.maximum(start, 1e-12),
    )  # fmt: skip
    law: Reals = np.abs(fit.x[0]) * np.maximum(signal, 0) + np.abs(fit.x[1]) + floor
    return law


def _members(place: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each level that has samples enough, and which samples those are."""
    if not len(place):
        return
    order = np.argsort(place, kind="stable")
    levels, starts = np.unique(place[order], return_index=True)
    for index, members in zip(levels.tolist(), np.split(order, starts[1:]), strict=True):
        if len(members) >= _FEWEST:
            yield index, members
