"""The curve that the whites of the calibrated lights follow over color temperature.

A white is r = R/G and b = B/G in sensor RGB; gains are their reciprocals. The margins `transverse_pos` and
`transverse_neg` are what Raspberry Pi's tuning files call so (`rpi.awb`); its tool adds 10 % to the largest deviation
and takes at least 0.01, and so do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from ispkit.calibrate.look import Reals
from ispkit.core.errors import ParamError
from ispkit.core.profile import LightColor

_SAME_CCT = 0.02
_MARGIN, _LEAST_MARGIN = 1.1, 0.01
_FINE = 4097  # places at which the nearest is searched: a ten thousandth of R/G apart


@dataclass(frozen=True)
class AwbPoint:
    """A light's white in sensor RGB, relative to green."""

    cct_k: float
    r: float
    b: float


@dataclass(frozen=True)
class AwbCurve:
    """Whites over color temperature, log r and log b smooth in its reciprocal.

    r falls and b rises with the temperature.
    """

    points: tuple[AwbPoint, ...]
    """by rising temperature; what was measured, moved by the least amount that makes r and b monotone"""
    transverse_pos: float
    """largest distance of a measured white from the curve in the (r, b) plane toward larger r and b, with its margin"""
    transverse_neg: float
    """the same toward smaller r and b"""

    def at(self, cct_k: float | Reals) -> Reals:
        """The whites (..., 2), r and b, at temperatures; the nearest point's outside the range.

        >>> curve = awb_curve([AwbPoint(2500, 0.9, 0.3), AwbPoint(6500, 0.5, 0.6)])
        >>> curve.at(np.array([2500, 9000])).tolist()
        [[0.9, 0.3], [0.5, 0.6]]
        """
        mired = np.array([1e6 / p.cct_k for p in self.points])[::-1]
        logs = np.log([(p.r, p.b) for p in self.points])[::-1]
        wanted = np.clip(1e6 / np.asarray(cct_k, dtype=np.float64), mired[0], mired[-1])
        alone = len(mired) == 1
        whites: Reals = np.exp(logs[np.zeros(wanted.shape, int)] if alone else PchipInterpolator(mired, logs)(wanted))
        return whites

    def sampled(self, count: int) -> tuple[Reals, Reals]:
        """Temperatures (count,) in equal steps of their reciprocals, and the whites (count, 2)."""
        cct_k: Reals = 1 / np.linspace(1 / self.points[0].cct_k, 1 / self.points[-1].cct_k, count)
        return cct_k, self.at(cct_k)

    def nearest(self, r: float, b: float) -> tuple[AwbPoint, float]:
        """The curve's point nearest to a white, and its distance, positive toward larger r and b."""
        cct_k, whites = self.sampled(_FINE)
        gaps = np.array([r, b]) - whites
        i = int(np.linalg.norm(gaps, axis=1).argmin())
        distance = float(np.copysign(np.linalg.norm(gaps[i]), gaps[i].sum()))
        return AwbPoint(float(cct_k[i]), float(whites[i, 0]), float(whites[i, 1])), distance


def measure_awb(lights: Sequence[LightColor]) -> AwbCurve:
    """The curve of the lights' whites. Raises `ParamError` without one."""
    return awb_curve([white_point(light) for light in lights])


def white_point(light: LightColor) -> AwbPoint:
    """The white of a light relative to green."""
    return AwbPoint(light.cct_k, light.neutral[0] / light.neutral[1], light.neutral[2] / light.neutral[1])


def awb_curve(points: Sequence[AwbPoint]) -> AwbCurve:
    """The monotone curve through whites; those within 2 % of one temperature are averaged.

    Raises `ParamError` without whites, or where a number is not above 0.
    """
    if not points or min(min(p.cct_k, p.r, p.b) for p in points) <= 0:
        raise ParamError(
            "a white-balance curve needs one or more whites with a color temperature; name the shots after their light"
        )
    merged = _merged(sorted(points, key=lambda p: p.cct_k))
    r, b = np.array([p.r for p in merged]), np.array([p.b for p in merged])
    falling: NDArray[np.float64] = isotonic_regression(r, increasing=False).x
    rising: NDArray[np.float64] = isotonic_regression(b, increasing=True).x
    fitted = tuple(AwbPoint(p.cct_k, float(x), float(y)) for p, x, y in zip(merged, falling, rising, strict=True))
    curve = AwbCurve(fitted, _LEAST_MARGIN, _LEAST_MARGIN)
    away = [curve.nearest(p.r, p.b)[1] for p in points]
    return AwbCurve(fitted, max(_LEAST_MARGIN, _MARGIN * max(away)), max(_LEAST_MARGIN, -_MARGIN * min(away)))


def _merged(points: Sequence[AwbPoint]) -> list[AwbPoint]:
    groups: list[list[AwbPoint]] = []
    for point in points:
        if groups and point.cct_k < groups[-1][0].cct_k * (1 + _SAME_CCT):
            groups[-1].append(point)
        else:
            groups.append([point])
    return [AwbPoint(*(float(np.mean([getattr(p, f) for p in g])) for f in ("cct_k", "r", "b"))) for g in groups]
