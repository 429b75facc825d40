"""Over- and undershoot and the width of a slanted edge, from its edge spread function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ispkit.kpi.result import Kpi, Result
from ispkit.kpi.sfr import SfrResult
from ispkit.kpi.signal import Array

NOISE_LIMIT = 0.02
"""three standard deviations of the profile's noise over the step, above which the peaks are in doubt"""


@dataclass(frozen=True)
class EdgeProfile:
    """How an edge overshoots, in percent of its step, and how wide it is."""

    overshoot: float
    """how far the profile rises above the bright side, %; 0 without"""
    undershoot: float
    """how far it falls below the dark side, %; 0 without"""
    width_10_90: float
    """distance along the normal from 10 % to 90 % of the step, px"""
    dark: float
    """level of the dark side in the picture's units"""
    bright: float
    warnings: tuple[str, ...] = ()

    def as_result(self, region: str = "") -> Result:
        """`sfr.overshoot`, `sfr.undershoot` (%) and `sfr.width` (px), without the SFR's warnings."""
        source = "from the edge spread function, % of the step"
        kpis = (
            Kpi("sfr.overshoot", self.overshoot, "%", "lower", region, f"peak above the bright side; {source}"),
            Kpi("sfr.undershoot", self.undershoot, "%", "lower", region, f"dip below the dark side; {source}"),
            Kpi("sfr.width", self.width_10_90, "px", "lower", region, "10 to 90 % of the edge along its normal"),
        )
        prefix = f"{region}: " if region else ""
        noisy = tuple(prefix + w for w in self.warnings if "undershoot" in w)
        return Result(kpis, (), noisy)


def edge_profile(edge: SfrResult) -> EdgeProfile:
    """Overshoot, undershoot and 10-90 % width of an edge that `measure_sfr` traced.

    The sides are the medians of the outer quarters of the profile. Peaks are sought within three widths of the edge,
    at least 4 px, so that shading and the noise far off do not count. Where the edge was not found, all is NaN.
    """
    if not len(edge.esf):
        nan = float("nan")
        return EdgeProfile(nan, nan, nan, nan, nan, edge.warnings)
    dark, bright = _sides(edge.position, edge.esf)
    step = bright - dark
    height = (edge.esf - dark) / step
    width = _crossing(edge.position, height, 0.9) - _crossing(edge.position, height, 0.1)
    near = height[np.abs(edge.position) <= max(3 * width, 4.0)]
    over, under = (100 * max(0.0, float(v)) for v in (near.max() - 1, -near.min()))
    per_bin = edge.rows / 4
    floor = 3 * edge.noise / np.sqrt(per_bin) / step
    doubt: tuple[str, ...] = ()
    if floor > NOISE_LIMIT:
        doubt = (f"too noisy for over- and undershoot: noise alone reads up to {floor:.1%}; average frames",)
    return EdgeProfile(over, under, width, dark, bright, (*edge.warnings, *doubt))


def _sides(position: Array, esf: Array) -> tuple[float, float]:
    """Levels of the dark and of the bright side."""
    left, right = position.min() / 2, position.max() / 2
    return float(np.median(esf[position < left])), float(np.median(esf[position > right]))


def _crossing(position: Array, height: Array, level: float) -> float:
    """Where the profile, followed from the middle of the edge outward, crosses `level`."""
    middle = int(np.argmin(np.abs(position)))
    if level > 0.5:
        i = middle + int(np.argmax(height[middle:] >= level))
    else:
        i = middle - int(np.argmax(height[middle::-1] <= level)) + 1
    share = (level - height[i - 1]) / (height[i] - height[i - 1])
    return float(position[i - 1] + share * (position[i] - position[i - 1]))
