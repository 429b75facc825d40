"""White balance from calibration: the white of each light, and the curve that whites follow over color temperature.

A white is r = R/G and b = B/G in sensor RGB; gains are their reciprocals. The format of `AwbCurve.ct_curve` and the
margins `transverse_pos`, `transverse_neg` is that of Raspberry Pi's tuning files (`rpi.awb`); its tool adds 10 % to
the largest deviation and takes at least 0.01, and so do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.profile import LightColor, Rgb
from ispkit.ops.cfa import cfa_masks

_SAME_CCT = 0.02
_MARGIN, _LEAST_MARGIN = 1.1, 0.01
_STRAIGHT = 0.002  # relative error of a straight line between two points of the exported curve
_CLIPPED = 0.98


@dataclass(frozen=True)
class AwbPoint:
    """A light's white in sensor RGB, relative to green."""

    cct_k: float
    r: float
    b: float


@dataclass(frozen=True)
class AwbCurve:
    """Whites over color temperature: r falls and b rises with it, log r and log b smooth in reciprocal temperature."""

    points: tuple[AwbPoint, ...]
    """by rising temperature; what was measured, moved by the least amount that makes r and b monotone"""
    transverse_pos: float
    """largest distance of a measured white from the curve in the (r, b) plane toward larger r and b, with its margin"""
    transverse_neg: float
    """the same toward smaller r and b"""

    def at(self, cct_k: float) -> AwbPoint:
        """The white at a temperature; the nearest point's outside the measured range.

        >>> curve = awb_curve([AwbPoint(2500, 0.9, 0.3), AwbPoint(6500, 0.5, 0.6)])
        >>> curve.at(2500).r, curve.at(9000).b, 0.5 < curve.at(4000).r < 0.9
        (0.9, 0.6, True)
        """
        if len(self.points) == 1:
            return AwbPoint(cct_k, self.points[0].r, self.points[0].b)
        mired = np.array([1e6 / p.cct_k for p in self.points])[::-1]
        wanted = float(np.clip(1e6 / cct_k, mired[0], mired[-1]))
        logs = np.log([(p.r, p.b) for p in self.points])[::-1]
        r, b = np.exp(PchipInterpolator(mired, logs)(wanted))
        return AwbPoint(cct_k, float(r), float(b))

    def gains(self, cct_k: float) -> Rgb:
        """Gains on R, G, B that make this light's white neutral, the smallest 1."""
        point = self.at(cct_k)
        return gains_of((point.r, 1.0, point.b))

    def nearest(self, r: float, b: float) -> tuple[AwbPoint, float]:
        """The curve's point nearest to a white, and its signed distance: positive toward larger r and b."""
        mired = np.linspace(1e6 / self.points[-1].cct_k, 1e6 / self.points[0].cct_k, 513)
        on_curve = [self.at(1e6 / float(m)) for m in mired]
        gaps = np.array([(r - p.r, b - p.b) for p in on_curve])
        i = int(np.linalg.norm(gaps, axis=1).argmin())
        return on_curve[i], float(np.copysign(np.linalg.norm(gaps[i]), gaps[i].sum()))

    def ct_curve(self) -> list[float]:
        """[cct, r, b, cct, r, b, ...] for readers that interpolate linearly in temperature.

        Points are added between the measured ones where a straight line would be off by more than 0.2 %.
        """
        points = list(self.points)
        i = 0
        while i < len(points) - 1:
            a, c = points[i], points[i + 1]
            middle = self.at((a.cct_k + c.cct_k) / 2)
            line = np.array([a.r + c.r, a.b + c.b]) / 2
            if np.abs(np.array([middle.r, middle.b]) / line - 1).max() > _STRAIGHT and c.cct_k - a.cct_k > 100:
                points.insert(i + 1, middle)
            else:
                i += 1
        return [v for p in points for v in (round(p.cct_k, 1), round(p.r, 5), round(p.b, 5))]


def gains_of(neutral: Sequence[float]) -> Rgb:
    """White-balance gains of a white in sensor RGB, the smallest 1.

    >>> gains_of((0.5, 1.0, 0.8))
    (2.0, 1.0, 1.25)
    """
    if min(neutral) <= 0:
        raise ParamError(f"neutral={tuple(neutral)} is no white; all three must be above 0")
    r, g, b = (max(neutral) / v for v in neutral)
    return r, g, b


def measure_awb(lights: Sequence[LightColor], flats: Sequence[AwbPoint] = ()) -> AwbCurve:
    """The curve of the lights' whites; `flats` adds whites measured otherwise (`neutral_of_flat`)."""
    points = [AwbPoint(c.cct_k, c.neutral[0] / c.neutral[1], c.neutral[2] / c.neutral[1]) for c in lights]
    return awb_curve([*points, *flats])


def awb_curve(points: Sequence[AwbPoint]) -> AwbCurve:
    """The monotone curve through whites; those within 2 % of one temperature are averaged. Raises `ParamError`."""
    if not points or min(p.cct_k for p in points) <= 0 or min(min(p.r, p.b) for p in points) <= 0:
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


def neutral_of_flat(mosaic: Tensor, cfa: str) -> Rgb:
    """The white in sensor RGB, largest 1, of a flat field (H, W), black 0 and white 1: means over the middle half.

    Colors of a flat's middle and corners differ by color shading, and the diffuser must be neutral. Raises
    `ParamError`, `ShapeError`.
    """
    if mosaic.ndim != 2 or min(mosaic.shape) < 8:
        raise ShapeError(f"a flat field is (H, W) of 8 x 8 or more, got {tuple(mosaic.shape)}")
    height, width = (n // 8 * 2 for n in mosaic.shape)  # an even offset keeps the phase
    window = mosaic[height : mosaic.shape[0] - height, width : mosaic.shape[1] - width].double()
    masks = cfa_masks(window.shape, cfa, window)
    means = (window * masks).sum((1, 2)) / masks.sum((1, 2))
    if float(means.min()) <= 0 or float((window >= _CLIPPED).double().mean()) > 0.01:
        raise ParamError("a flat field without light, or clipped, tells no white; expose it to about half")
    r, g, b = (means / means.max()).tolist()
    return r, g, b
