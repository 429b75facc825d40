"""Contrast detection probability (IEEE P2020): how often a known contrast survives noise and processing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.kpi.result import Kpi, Result

ContrastFormula = Literal["michelson", "weber"]
FORMULAS: tuple[ContrastFormula, ...] = ("michelson", "weber")

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class ContrastDetection:
    """CDP of two patches."""

    probability: float
    """over all pairs of pixels, exact"""
    gaussian: float
    """estimate from the two means and standard deviations alone"""
    contrast: float
    """the contrast that the patches have on the chart"""
    mean_contrast: float
    """of the two mean luminances in the picture"""
    formula: ContrastFormula
    tolerance: float
    open_top: bool
    """whether more contrast than the tolerance allows counts as detected"""

    def as_result(self, region: str = "") -> Result:
        """`cdp.michelson` or `cdp.weber`, with the contrast that is kept on average."""
        bound = "or more" if self.open_top else f"± {100 * self.tolerance:g} %"
        doc = f"share of pixel pairs with the chart's contrast {self.contrast:g} {bound} (IEEE P2020 CDP)"
        kept = self.mean_contrast / self.contrast
        return Result(
            (
                Kpi(f"cdp.{self.formula}", self.probability, "", "higher", region, doc),
                Kpi(f"cdp.{self.formula}.gain", kept, "", "one", region, "contrast of the means over the chart's"),
            )
        )


def contrast_detection(
    first: Tensor,
    second: Tensor,
    *,
    contrast: float,
    tolerance: float = 0.5,
    formula: ContrastFormula = "michelson",
    open_top: bool = False,
) -> ContrastDetection:
    """Probability that a pixel of one patch and one of the other show the chart's contrast.

    `first` and `second` are the linear luminances of the two patches, any shapes; a pixel below 0 is as black
    as 0. A pair is detected if its contrast is within `contrast` (1 ± `tolerance`), or above the lower bound
    alone with `open_top` ("is the contrast at least kept?"). Michelson: (max - min) / (max + min); Weber:
    max / min - 1; which of the pair is brighter does not matter. All pairs are counted, by sorting: O((n + m) log m).
    Raises `ParamError`.
    """
    if formula not in FORMULAS:
        raise ParamError(f"formula={formula!r} is no contrast; {nearest(formula, FORMULAS)}")
    if not (contrast > 0 and (formula == "weber" or contrast < 1)):
        raise ParamError(f"contrast={contrast} must be above 0, and below 1 for Michelson")
    if not 0 < tolerance <= 1:
        raise ParamError(f"tolerance={tolerance} is outside (0, 1]")
    a, b = (_pixels(p) for p in (first, second))
    low, high = (_ratio(contrast * (1 + sign * tolerance), formula) for sign in (-1, 1))
    if open_top:
        high = math.inf
    return ContrastDetection(
        probability=_share(a, b, low, high),
        gaussian=_gaussian((a.mean(), a.std()), (b.mean(), b.std()), low, high),
        contrast=contrast,
        mean_contrast=_contrast(float(a.mean()), float(b.mean()), formula),
        formula=formula,
        tolerance=tolerance,
        open_top=open_top,
    )


def _pixels(patch: Tensor) -> Reals:
    values = patch.detach().cpu().double().flatten().numpy()
    if not len(values) or not np.isfinite(values).all():
        raise ParamError("a patch for contrast detection needs one pixel or more, all of them finite")
    return np.asarray(values)


def _ratio(contrast: float, formula: ContrastFormula) -> float:
    """The contrast as brighter over darker, in [1, inf]."""
    if formula == "weber":
        return 1 + contrast
    return (1 + contrast) / (1 - contrast) if contrast < 1 else math.inf


def _contrast(x: float, y: float, formula: ContrastFormula) -> float:
    bright, dark = max(x, y), min(x, y)
    if formula == "weber":
        return bright / dark - 1 if dark > 0 else math.inf
    return (bright - dark) / (bright + dark) if bright > 0 else math.nan


def _share(a: Reals, b: Reals, low: float, high: float) -> float:
    """Share of pairs whose brighter over darker is in [low, high]; two black pixels have no contrast."""
    count = _count(a, np.sort(b), low, high) + _count(b, np.sort(a), low, high)
    if low <= 1 <= high:  # equal pixels were counted both ways
        values, times = np.unique(b[b > 0], return_counts=True)
        place = np.minimum(np.searchsorted(values, a), max(len(values) - 1, 0))
        count -= int(times[place][values[place] == a].sum()) if len(values) else 0
    return count / (len(a) * len(b))


def _count(bright: Reals, dark: Reals, low: float, high: float) -> int:
    """Pairs with low <= bright / dark <= high; `dark` is sorted, and what is not above 0 is black."""
    bright = bright[bright > 0]
    top = np.searchsorted(dark, bright / low, side="right")
    if math.isinf(high):  # a black pixel beside a brighter one
        return int(top.sum())
    return int((top - np.searchsorted(dark, bright / high, side="left")).sum())


def _gaussian(first: tuple[float, float], second: tuple[float, float], low: float, high: float) -> float:
    """P(low <= bright / dark <= high) of two independent normal luminances, as if none were negative.

    a / b >= r means a - r b >= 0, and a - r b is normal too (Hinkley 1969).
    """

    def above(bright: tuple[float, float], dark: tuple[float, float], ratio: float) -> float:
        if math.isinf(ratio):
            return 0.0
        gap, spread = bright[0] - ratio * dark[0], math.hypot(bright[1], ratio * dark[1])
        return float(ndtr(gap / spread)) if spread > 0 else float(gap >= 0)

    pairs = ((first, second), (second, first))
    return min(1.0, sum(above(x, y, low) - above(x, y, high) for x, y in pairs))
