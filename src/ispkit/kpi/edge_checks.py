"""When to doubt a slanted edge: contrast, clipping, angle, blur beyond the window, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ispkit.kpi.edge_fit import EdgeFit
from ispkit.kpi.signal import Array, falls_to

LEAST_CONTRAST = 0.2
MOST_CLIPPED = 0.005
ANGLES_DEG = (2.0, 10.0)
MOST_BIAS = 0.01
"""of MTF50 by the window"""
MOST_SPREAD = 0.05
"""standard deviation of MTF50 over MTF50"""


@dataclass(frozen=True, eq=False)
class EdgeFacts:
    """What the checks look at: the luminance plane, upright and rising, and its edge."""

    plane: Array
    fit: EdgeFit
    rows: int
    """that are measured"""
    clipped: float

    @property
    def sides(self) -> tuple[float, float]:
        """Mean of the dark and of the bright side, from the outer tenth of every row."""
        width = max(self.plane.shape[1] // 10, 2)
        return float(self.plane[:, :width].mean()), float(self.plane[:, -width:].mean())

    @property
    def contrast(self) -> float:
        """Michelson contrast; 0 where it makes no sense."""
        dark, bright = self.sides
        return (bright - dark) / (bright + dark) if bright + dark > 0 else 0.0


def not_found(facts: EdgeFacts) -> str:
    """Why no edge can be measured, or "" if one can."""
    columns = facts.plane.shape[1]
    dark, bright = facts.sides
    if bright <= dark or not math.isfinite(facts.fit.rms):
        return "edge not found: the region has no step; choose one with a dark and a bright half"
    if facts.fit.standard_error > 1:
        return "edge not found: its position cannot be traced from row to row, the region is flat or too noisy"
    if facts.fit.position.min() < 2 or facts.fit.position.max() > columns - 3:
        return "edge not found: it leaves the region; choose one that the edge crosses from side to side"
    return ""


def doubts(facts: EdgeFacts, window: Array, mtf50: float, spread: float) -> tuple[str, ...]:
    """All warnings about an edge that was measured; `mtf50` in cycles per pixel along a row."""
    found = []
    if facts.contrast < LEAST_CONTRAST:
        found.append(f"edge contrast is {facts.contrast:.0%}, below 20 %: the SFR is uncertain; 4:1 is usual")
    if facts.clipped > MOST_CLIPPED:
        found.append(f"{facts.clipped:.1%} of the pixels are clipped, more than 0.5 %: the SFR reads too high")
    angle = abs(math.degrees(math.atan(facts.fit.slope)))
    if not ANGLES_DEG[0] <= angle <= ANGLES_DEG[1]:
        found.append(f"edge angle is {angle:.1f} degrees, outside 2 to 10: the sub-pixel phases are uneven")
    if facts.rows * abs(facts.fit.slope) < 0.99:
        found.append("the edge crosses less than one column: not all sub-pixel phases are seen; take a longer edge")
    if math.isnan(mtf50):
        found.append("MTF50 cannot be measured: the SFR stays above 0.5 up to 1 cy/px, or nowhere is")
    elif _window_bias(window, mtf50) > MOST_BIAS:
        found.append(
            f"too blurred: at MTF50 = {mtf50:.3f} cy/px the window over {len(window) // 4} px"
            " reads more than 1 % too high; take a wider region"
        )
    if spread > MOST_SPREAD:
        found.append(f"too noisy: MTF50 is uncertain by {spread:.0%} (one standard deviation); average frames")
    return tuple(found)


def mtf50_sd(facts: EdgeFacts, noise: float, window: Array, curve: tuple[Array, Array]) -> float:
    """Standard deviation of MTF50 by white pixel noise, in the unit of the curve's frequency.

    The noise of a bin is that of a pixel over the root of its count; the corrected derivative turns it to
    2 pi f / 4 times as much at frequency f, of which half is in phase with the signal.
    """
    frequency, sfr = curve
    mtf50 = falls_to(frequency, sfr, 0.5)
    if math.isnan(mtf50):
        return math.nan
    slope = 0.2 / (falls_to(frequency, sfr, 0.4) - falls_to(frequency, sfr, 0.6))
    per_bin = facts.rows / 4
    dark, bright = facts.sides
    density = 2 * np.pi * mtf50 / 4 * np.sqrt(np.sum(window**2) / (2 * per_bin))
    return float(noise * density / (bright - dark) / slope)


def _window_bias(window: Array, mtf50: float) -> float:
    """By how much the window raises the MTF50 of a Gaussian edge that has this one.

    At MTF50 a Gaussian MTF falls with ln 2 per relative frequency.
    """
    sigma = math.sqrt(math.log(2) / 2) / (math.pi * mtf50)
    bins = (np.arange(len(window)) - np.argmax(window)) / 4
    seen = window * np.exp(-(bins**2) / (2 * sigma**2))
    return float((np.sum(seen * np.cos(2 * np.pi * mtf50 * bins)) / seen.sum() - 0.5) / math.log(2))
