"""Dynamic range from gray steps: stops between saturation and the light where the SNR falls to 1, 2, 4 and 10."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from ispkit.core.errors import ParamError
from ispkit.kpi.noise import noise_model_check
from ispkit.kpi.result import Curve, Kpi, Result

SNR_LEVELS = (1.0, 2.0, 4.0, 10.0)
"""Imatest's quality levels low, medium, medium-high and high: f-stop noise 1, 0.5, 0.25, 0.1, its SNR the inverse"""
_CUT = 0.95  # share of saturation above which the noise is cut
_LINEAR = (0.02, 0.9)  # share of saturation over which a linear sensor's slope is taken

Reals = NDArray[np.float64]


class _Steps(NamedTuple):
    """The gray steps below saturation, dark to bright."""

    light: Reals
    level: Reals
    noise: Reals
    snr: Reals


@dataclass(frozen=True)
class DynamicRange:
    """Dynamic range of a gray scale."""

    stops: tuple[float, ...]
    """log2(L_sat / L) where the SNR is each of `SNR_LEVELS`; NaN if it could not be measured"""
    exposure: tuple[float, ...]
    """of the patches, dark to bright"""
    snr: tuple[float, ...]
    """scene-referred SNR of the patches"""
    saturation_exposure: float
    """L_sat, in the units of the exposures"""
    warnings: tuple[str, ...] = ()

    def as_result(self, region: str = "") -> Result:
        """`tone.dynamic_range` at SNR 1, `.snr2`, `.snr4`, `.snr10`, and the SNR curve."""
        kpis = []
        for level, stops in zip(SNR_LEVELS, self.stops, strict=True):
            name = "tone.dynamic_range" + ("" if level == 1 else f".snr{level:g}")
            doc = f"log2 of the light at saturation over the light at SNR {level:g}"
            kpis.append(Kpi(name, stops, "stops", "higher", region, doc))
        seen = [(e, s) for e, s in zip(self.exposure, self.snr, strict=True) if s > 0]
        x = [math.log2(e / self.saturation_exposure) for e, _ in seen]
        y = [20 * math.log10(s) for _, s in seen]
        curve = Curve("SNR", f"scene-referred {region}".strip(), x, y, "light below saturation (stops)", "SNR (dB)")
        return Result(tuple(kpis), (curve,), self.warnings)


def dynamic_range(
    exposure: Sequence[float],
    mean: Sequence[float],
    sigma: Sequence[float],
    *,
    saturation: float = 1.0,
    linear: bool = True,
) -> DynamicRange:
    """Dynamic range of patches with known light.

    `exposure` (luminance or relative, above 0), `mean` and `sigma` (noise of the pixels) per patch, in any
    order; black is 0 and `saturation` the output where the signal is cut. Steps above 95 % of it, or without any
    noise, only help to find L_sat.

    `linear`: the output is proportional to light, SNR = mean / sigma, and L_sat is where the line through the
    steps meets saturation. Otherwise the noise is referred to the scene by the slope of the monotone OECF,
    SNR = (d output / d ln exposure) / sigma, and L_sat is where the output reaches 95 % of saturation. Between
    steps log SNR is linear in log exposure. Where a linear scale is not dark enough, variance = S x + O fitted
    to it is prolonged; each guess of that kind has its warning. Raises `ParamError`.
    """
    light, level, noise = _sorted(exposure, mean, sigma, saturation)
    warnings: list[str] = []
    top = _saturation(light, level, saturation, linear, warnings)
    used = (level < _CUT * saturation) & (noise > 0)
    if np.count_nonzero(used) < 3:
        warnings.append("fewer than three gray steps are below saturation and noisy: no dynamic range")
        return DynamicRange(
            (math.nan,) * len(SNR_LEVELS), tuple(light.tolist()), (math.nan,) * len(light), top, tuple(warnings)
        )
    signal = level if linear else _slope(light, level)
    snr = np.where(used, signal / np.where(used, noise, 1.0), math.nan)
    steps = _Steps(*(v[used] for v in (light, level, noise, snr)))
    dark = [_dark_end(steps, q, linear, warnings) for q in SNR_LEVELS]
    stops = tuple(math.log2(top / x) if x > 0 else math.nan for x in dark)
    return DynamicRange(stops, tuple(light.tolist()), tuple(snr.tolist()), top, tuple(warnings))


def model_dynamic_range(shot: float, read: float, *, snr: float = 1.0, saturation: float = 1.0) -> float:
    """Stops of a linear sensor whose noise is variance = S x + O, exactly.

    x / sqrt(S x + O) = snr has the root x = snr (snr S + sqrt(snr² S² + 4 O)) / 2.

    >>> round(model_dynamic_range(0.0, 2.0**-20), 6)
    10.0
    """
    if shot < 0 or read < 0 or shot + read == 0:
        raise ParamError(f"shot={shot} and read={read} must be at least 0, and one above")
    return math.log2(saturation / _light_at(shot, read, snr))


def _light_at(shot: float, read: float, snr: float) -> float:
    return snr * (snr * shot + math.sqrt((snr * shot) ** 2 + 4 * read)) / 2


def _sorted(
    exposure: Sequence[float], mean: Sequence[float], sigma: Sequence[float], saturation: float
) -> tuple[Reals, Reals, Reals]:
    light, level, noise = (np.array(list(v), dtype=np.float64) for v in (exposure, mean, sigma))
    if not len(light) == len(level) == len(noise) >= 3:
        raise ParamError(
            f"dynamic range needs exposure, mean and sigma of three gray steps or more, got {len(light)}, "
            f"{len(level)} and {len(noise)}"
        )
    finite = all(bool(np.isfinite(v).all()) for v in (light, level, noise))
    if not (finite and (light > 0).all() and (noise >= 0).all() and saturation > 0):
        raise ParamError("exposures and saturation must be above 0, sigmas not below, all finite; leave others out")
    order = np.argsort(light)
    return light[order], level[order], noise[order]


def _saturation(light: Reals, level: Reals, saturation: float, linear: bool, warnings: list[str]) -> float:
    """The exposure at which the output is cut."""
    if linear:
        straight = (level > _LINEAR[0] * saturation) & (level < _LINEAR[1] * saturation)
        if straight.any():
            return float(saturation / np.median(level[straight] / light[straight]))
    fitted = np.asarray(isotonic_regression(level).x)
    cut = np.flatnonzero(fitted >= _CUT * saturation)
    if not len(cut):
        warnings.append("no gray step is saturated: L_sat is taken as the brightest step, dynamic range at least this")
        return float(light[-1])
    if cut[0] == 0:
        return float(light[0])
    i = int(cut[0])
    share = (_CUT * saturation - fitted[i - 1]) / max(fitted[i] - fitted[i - 1], 1e-12)
    return float(light[i - 1] * (light[i] / light[i - 1]) ** share)


def _slope(light: Reals, level: Reals) -> Reals:
    """Derivative of the monotone output to ln exposure; steps of the same light are averaged."""
    each, place = np.unique(light, return_inverse=True)
    mean = np.bincount(place, level) / np.bincount(place)
    if len(each) < 2:
        return np.zeros_like(level)
    fitted = isotonic_regression(mean).x
    return np.asarray(PchipInterpolator(np.log(each), fitted).derivative()(np.log(light)))


def _crossing(light: Reals, snr: Reals, level: float) -> float | None:
    """The light where the SNR, from the brightest step that reaches `level` down, falls below it.

    None if it never does, NaN if no step reaches it. Brighter steps may lie on the flat shoulder of a tone curve,
    where no step is told from the next.
    """
    reached = np.flatnonzero(snr >= level)
    if not len(reached):
        return math.nan
    below = np.flatnonzero(snr[: reached[-1]] < level)
    if not len(below):
        return None
    i = int(below[-1])
    if snr[i] <= 0:
        share = (level - snr[i]) / (snr[i + 1] - snr[i])
        return float(light[i] + share * (light[i + 1] - light[i]))
    share = math.log(level / snr[i]) / math.log(snr[i + 1] / snr[i])
    return float(light[i] * (light[i + 1] / light[i]) ** share)


def _dark_end(steps: _Steps, level: float, linear: bool, warnings: list[str]) -> float:
    """The light where the SNR is `level`, or the best that the steps tell; NaN if none reaches it."""
    dark = _crossing(steps.light, steps.snr, level)
    if dark is None:
        dark = _prolonged(steps, level) if linear else float(steps.light[0])
        how = "prolonged by the noise law" if linear else "a lower bound"
        warnings.append(f"the darkest gray step still has an SNR above {level:g}: dynamic range there is {how}")
    elif math.isnan(dark):
        warnings.append(f"no gray step reaches an SNR of {level:g}: no dynamic range there")
    return dark


def _prolonged(steps: _Steps, snr: float) -> float:
    law = noise_model_check(steps.level.tolist(), (steps.noise**2).tolist())
    per_light = float(np.median(steps.level / steps.light))
    return _light_at(law.shot, law.read, snr) / per_light
