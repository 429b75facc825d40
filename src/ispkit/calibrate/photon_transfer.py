"""Noise S, O per gain by photon transfer: half the variance of the difference of two flats.

variance = S x + O of the signal x in [0, 1]. References: J. Janesick, Photon Transfer, SPIE Press 2007; EMVA
Standard 1288, release 4.0, section 6.6. O includes the rounding to whole DN, 1/12 DN^2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ispkit.calibrate.look import Pixels, Reals

BLOCK = 16
"""side of a block of one site: small enough for shading, large enough for a variance"""
_FROM_LIMITS = 5.0
"""sigmas that a block's mean keeps from both ends of the code range, so that clipping cannot bias it"""
_OUTLIER = 6.0
_NARROW = 1e-4
"""a range of signals that carries no slope"""
_TURNS, _SETTLED = 15, 5
"""turns of reweighting, and after how many outliers are left out"""
COLORS = "RGB"


@dataclass(frozen=True)
class TransferPoints:
    """Measured (signal, variance) of one color in units of the range from black to white."""

    signal: Reals
    variance: Reals
    degrees: Reals
    """degrees of freedom of each variance; its relative variance is 2 / degrees"""

    @staticmethod
    def join(parts: Sequence[TransferPoints]) -> TransferPoints:
        """All points together."""
        columns = [[getattr(p, name) for p in parts] for name in ("signal", "variance", "degrees")]
        return TransferPoints(*(np.concatenate([*column, np.zeros(0)]) for column in columns))

    def each(self) -> list[TransferPoints]:
        """The points one by one."""
        one = (slice(i, i + 1) for i in range(len(self.signal)))
        return [TransferPoints(self.signal[i], self.variance[i], self.degrees[i]) for i in one]

    def binned(self, bins: int = 40) -> TransferPoints:
        """Weighted means over equal steps of signal, for plots."""
        if not len(self.signal):
            return self
        edges = np.linspace(self.signal.min(), self.signal.max() + 1e-12, bins + 1)
        place = np.clip(np.digitize(self.signal, edges) - 1, 0, bins - 1)
        weight = np.bincount(place, self.degrees, bins)
        used = weight > 0
        mean = [np.bincount(place, self.degrees * v, bins)[used] / weight[used] for v in (self.signal, self.variance)]
        return TransferPoints(mean[0], mean[1], weight[used].astype(np.float64))


@dataclass(frozen=True)
class LineFit:
    """S and O of one color at one gain, with standard errors."""

    shot: float
    read: float
    shot_error: float
    read_error: float
    chi2: float
    """mean squared residual in standard errors: near 1 where the law holds"""
    points: int


def pair_points(
    first: Pixels,
    second: Pixels,
    *,
    black: Sequence[float],
    white: float,
    cfa: str,
    good: NDArray[np.bool_] | None = None,
) -> dict[str, TransferPoints]:
    """Points of a pair of equal frames, each (4, h, w) DN, by color.

    Blocks of 16x16 pixels of one site: each loses its own mean difference, so neither shading nor a drift of the
    lamp counts as noise. `good` (4, h, w) is False at defects. Blocks whose mean comes within 5 sigmas of code 0
    or of `white` are left out.
    """
    found: dict[str, list[TransferPoints]] = {color: [] for color in COLORS}
    for site, color in enumerate(cfa):
        span = white - black[site]
        a, b = (_blocks(f[site]) for f in (first, second))
        use = np.ones(a.shape, bool) if good is None else _blocks(good[site])
        count = use.sum(axis=1)
        half = count > BLOCK * BLOCK // 2
        a, b, use, count = a[half], b[half], use[half], count[half].astype(np.float64)
        difference = (a - b).astype(np.float64)
        drift = (difference * use).sum(axis=1) / count
        power = (np.square(difference - drift[:, None]) * use).sum(axis=1) / (count - 1) / 2
        mean = ((a.astype(np.float64) + b) * use).sum(axis=1) / count / 2
        margin = _FROM_LIMITS * np.sqrt(np.maximum(power, 1 / 12))
        inside = (mean + margin < white) & (mean - margin > 0)
        points = TransferPoints((mean - black[site])[inside] / span, power[inside] / span**2, (count - 1)[inside])
        found[color].append(points)
    return {color: TransferPoints.join(parts) for color, parts in found.items()}


def dark_anchor(
    variance: Sequence[float] | Reals, degrees: int, *, black: Sequence[float], white: float, cfa: str
) -> dict[str, TransferPoints]:
    """What dark frames say of the intercept: one point a site at signal 0; `variance` in DN^2."""
    found: dict[str, list[TransferPoints]] = {color: [] for color in COLORS}
    for site, color in enumerate(cfa):
        value = variance[site] / (white - black[site]) ** 2
        found[color].append(TransferPoints(np.zeros(1), np.array([value]), np.array([float(degrees)])))
    return {color: TransferPoints.join(parts) for color, parts in found.items()}


def fit_line(points: TransferPoints, anchor: TransferPoints | None = None) -> LineFit:
    """Weighted least-squares S, O >= 0.

    The weights come from the fitted law, so that they do not bias it. Points more than 6 standard errors off the law
    are left out; those of `anchor`, the dark frames, never are. Fewer than two signals give NaN.
    """
    joined = TransferPoints.join([points, anchor] if anchor is not None else [points])
    x, y, dof = joined.signal, joined.variance, joined.degrees
    if not len(points.signal) or float(np.ptp(x)) < _NARROW:
        return LineFit(*(float("nan"),) * 5, points=len(x))
    design = np.stack([x, np.ones_like(x)], axis=1)
    fixed = np.arange(len(x)) >= len(points.signal)
    keep = np.ones(len(x), bool)
    model = np.maximum(y, 1e-2 * y[y > 0].min(initial=1.0))
    solution, covariance = np.zeros(2), np.zeros((2, 2))
    for turn in range(_TURNS):
        weight = np.where(keep, dof / (2 * model**2), 0.0)
        normal = design.T @ (weight[:, None] * design)
        covariance = np.linalg.pinv(normal, rcond=1e-18)
        solution = _non_negative(normal, design.T @ (weight * y), covariance)
        model = np.maximum(design @ solution, 1e-6 * float(np.median(y)) + 1e-300)
        if turn >= _SETTLED:
            inside = np.abs(y / model - 1) < _OUTLIER * np.sqrt(2 / dof)
            keep = inside | fixed if inside.mean() > 0.5 else keep
    residue = ((y / model - 1) ** 2 * dof / 2)[keep]
    errors = np.sqrt(np.diag(covariance))
    chi2 = float(residue.sum() / max(len(residue) - 2, 1))
    return LineFit(float(solution[0]), float(solution[1]), float(errors[0]), float(errors[1]), chi2, int(keep.sum()))


def _non_negative(normal: Reals, right: Reals, covariance: Reals) -> Reals:
    solution: Reals = covariance @ right
    if solution[1] < 0:
        return np.array([right[0] / normal[0, 0], 0.0])
    if solution[0] < 0:
        return np.array([0.0, right[1] / normal[1, 1]])
    return solution


def gain_law(shot_by_iso: Mapping[float, float]) -> tuple[float, float] | None:
    """Exponent p of S ~ ISO^p, largest relative deviation from S ~ ISO; None for one gain."""
    known = {iso: s for iso, s in shot_by_iso.items() if iso > 0 and s > 0}
    if len(known) < 2:
        return None
    iso, shot = (np.log(np.array(list(v), dtype=np.float64)) for v in (known.keys(), known.values()))
    exponent = float(np.polyfit(iso, shot, 1)[0])
    ratio = shot - iso
    return exponent, float(np.exp(np.abs(ratio - ratio.mean()).max()) - 1)


def _blocks(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    """(h, w) -> (blocks, BLOCK * BLOCK); a rest at the end is left out."""
    rows, columns = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    cut = plane[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return cut.transpose(0, 2, 1, 3).reshape(rows * columns, BLOCK * BLOCK)
