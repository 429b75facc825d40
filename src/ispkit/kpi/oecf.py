"""The opto-electronic conversion function from gray steps (ISO 14524), and its inverse, which linearizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.kpi.result import Curve, Kpi, Result

_MIDTONES = (0.05, 0.9)  # share of the largest output over which gamma is fitted
_DENSE = 4096

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Oecf:
    """Mean output against log exposure, sorted from dark to bright."""

    log10_exposure: tuple[float, ...]
    output: tuple[float, ...]
    """as measured"""
    fitted: tuple[float, ...]
    """the nearest sequence that never falls (weighted least squares)"""
    gamma: float
    """slope of log output over log exposure in the midtones: 1 is linear, 0.45 about sRGB; NaN if unmeasured"""
    usable_stops: float
    """longest run of patches that are told apart by at least `least_step`"""
    warnings: tuple[str, ...] = ()

    def apply(self, exposure: Tensor) -> Tensor:
        """Exposure -> output, any shape; held at the ends outside the measured range."""
        light, output = self._dense()
        x = exposure.detach().cpu().double().numpy()
        return torch.from_numpy(np.interp(np.log10(np.maximum(x, 1e-300)), light, output)).to(exposure)

    def linearize(self, output: Tensor) -> Tensor:
        """Output -> exposure, any shape, in the units of the exposures that were given.

        Below the darkest patch a straight line goes to the origin, so that dark noise keeps its mean; above
        the brightest one (or where the output stops growing) the exposure is held.
        """
        light, levels = self._dense()
        growing = np.concatenate([[True], np.diff(np.maximum.accumulate(levels)) > 0])
        light, levels = 10 ** light[growing], levels[growing]
        y = output.detach().cpu().double().numpy()
        inside = np.interp(y, levels, light)
        if levels[0] > 0:
            inside = np.where(y < levels[0], y * light[0] / levels[0], inside)
        return torch.from_numpy(np.asarray(inside)).to(output)

    def as_result(self, region: str = "") -> Result:
        """Gamma, usable range and the curve."""
        kpis = (
            Kpi("tone.oecf_gamma", self.gamma, "", "none", region, "slope of log output over log exposure, midtones"),
            Kpi("tone.oecf_range", self.usable_stops, "stops", "higher", region, "gray steps that are told apart"),
        )
        axes = ("log10 exposure", "output")
        curves = [Curve("OECF", f"{n} {region}".strip(), self.log10_exposure, y, *axes) for n, y in self._lines()]
        return Result(kpis, tuple(curves), self.warnings)

    def _lines(self) -> tuple[tuple[str, tuple[float, ...]], ...]:
        return ("measured", self.output), ("monotone fit", self.fitted)

    def _dense(self) -> tuple[Reals, Reals]:
        """Finely sampled log10 exposure and output; both directions read this one table, so they agree."""
        x = np.array(self.log10_exposure)
        fine = np.unique(np.concatenate([np.linspace(x[0], x[-1], _DENSE), x]))
        return fine, np.asarray(PchipInterpolator(x, np.array(self.fitted))(fine))


def oecf(
    exposure: Sequence[float],
    output: Sequence[float],
    *,
    sigma: Sequence[float] | None = None,
    least_step: float = 1 / 255,
) -> Oecf:
    """Fit the OECF of a gray scale.

    `exposure` is the light of each patch (luminance or reflectance, any unit, above 0), `output` the mean of
    its pixels, in any order and scale; `sigma` the noise of the pixels, which weights the fit. A sequence that
    never falls is fitted by isotonic regression and joined by PCHIP over log exposure, so the curve never
    overshoots. `least_step` is the difference in output that tells two patches apart. Patches of the same
    exposure are averaged. Raises `ParamError`.
    """
    light, level, weight = _sorted(exposure, output, sigma)
    fitted = np.asarray(isotonic_regression(level, weights=weight).x)
    drop = float(np.abs(fitted - level).max())
    warnings = []
    if drop > least_step:
        worst = int(np.argmax(np.abs(fitted - level)))
        warnings.append(f"the output falls near gray step {worst + 1} (from the dark end): glare, or a wrong order?")
    if np.ptp(fitted) < least_step:
        warnings.append("all gray steps have the same output: no OECF")
    return Oecf(
        log10_exposure=tuple(light.tolist()),
        output=tuple(level.tolist()),
        fitted=tuple(fitted.tolist()),
        gamma=_gamma(light, fitted),
        usable_stops=_usable(light, fitted, least_step),
        warnings=tuple(warnings),
    )


def _sorted(
    exposure: Sequence[float], output: Sequence[float], sigma: Sequence[float] | None
) -> tuple[Reals, Reals, Reals]:
    light, level = np.array(list(exposure), dtype=np.float64), np.array(list(output), dtype=np.float64)
    noise = np.ones_like(level) if sigma is None else np.array(list(sigma), dtype=np.float64)
    if not len(light) == len(level) == len(noise):
        raise ParamError(f"{len(light)} exposures, {len(level)} outputs and {len(noise)} sigmas; give one a patch")
    if not (np.isfinite(light).all() and (light > 0).all() and np.isfinite(level).all() and np.isfinite(noise).all()):
        raise ParamError("exposures must be finite and above 0, outputs and sigmas finite; leave other patches out")
    each, place = np.unique(light, return_inverse=True)
    count = len(each)
    if count < 3:
        raise ParamError(f"an OECF needs three exposures or more, got {count}")
    weight = 1 / np.maximum(noise, max(float(noise.max()) * 1e-3, 1e-12)) ** 2
    total = np.bincount(place, weight, count).astype(np.float64)
    return np.asarray(np.log10(each)), np.bincount(place, weight * level, count) / total, total


def _gamma(light: Reals, level: Reals) -> float:
    low, high = (share * level.max() for share in _MIDTONES)
    middle = (level >= low) & (level <= high) & (level > 0)
    if np.count_nonzero(middle) < 2:
        return math.nan
    return float(np.polyfit(light[middle], np.log10(level[middle]), 1)[0])


def _usable(light: Reals, level: Reals, least_step: float) -> float:
    """Stops of the longest run of steps that each grow by `least_step`."""
    best = start = 0.0
    begin = light[0]
    for i in range(1, len(light)):
        if level[i] - level[i - 1] < least_step:
            begin = light[i]
        start = light[i] - begin
        best = max(best, float(start))
    return best / math.log10(2)
