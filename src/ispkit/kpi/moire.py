"""Color moiré: chroma that an achromatic zone plate has got on its way through the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.result import Curve, Kpi, Result
from ispkit.kpi.signal import Array, planes
from ispkit.metrics.color import srgb_to_lab

NYQUIST = 0.5
"""cycles per pixel"""
BANDS = 20
"""up to Nyquist, 0.025 cy/px each"""
_FEWEST = 16  # pixels that make a band


@dataclass(frozen=True, eq=False)
class MoireResult:
    """False chroma by frequency."""

    frequency: Array
    """(N,) centers of the bands, cy/px"""
    chroma: Array
    """(N,) mean C*ab above that of plain gray; NaN where the plate has no such frequency"""
    peak: float
    """largest of `chroma`"""
    peak_frequency: float
    integral: float
    """of `chroma` over frequency from 0.5 to 1 Nyquist, frequency in units of Nyquist"""
    gray_chroma: float
    """mean C*ab of plain gray: what white balance and noise leave"""
    warnings: tuple[str, ...] = ()

    def as_result(self, region: str = "") -> Result:
        """`moire.peak` and `moire.integral` with chroma by frequency."""
        own = "own definition: mean C*ab per frequency band less that of plain gray"
        kpis = (
            Kpi("moire.peak", self.peak, "C*ab", "lower", region, f"largest false chroma; {own}"),
            Kpi("moire.integral", self.integral, "C*ab", "lower", region, "false chroma summed over 0.5 to 1 Nyquist"),
        )
        known = np.isfinite(self.chroma)
        x, y = self.frequency[known].tolist(), self.chroma[known].tolist()
        curve = Curve("Color moiré", region or "zone plate", x, y, "frequency (cy/px)", "C*ab above gray")
        prefix = f"{region}: " if region else ""
        return Result(kpis, (curve,), tuple(prefix + w for w in self.warnings))


def zone_plate_frequency(
    size: tuple[int, int], *, center: tuple[float, float], radius: float, frequency_max: float
) -> Tensor:
    """Frequency of a zone plate at every pixel, (H, W) cycles per pixel.

    It grows from 0 at `center` to `frequency_max` at `radius`. `center` is (row, column) in pixels of the region,
    pixel (0, 0) covering [0, 1) x [0, 1). Beyond `radius`, where the plate fades, the frequency is infinite.
    """
    y, x = (torch.arange(n, dtype=torch.float64) + 0.5 - c for n, c in zip(size, center, strict=True))
    distance = torch.hypot(y[:, None], x[None])
    return torch.where(distance <= radius, frequency_max * distance / radius, torch.inf)


def measure_moire(linear_picture: Tensor, frequency: Tensor, *, linear_gray: Tensor | None = None) -> MoireResult:
    """Color moiré of an achromatic, white-balanced chart, (3, H, W) linear sRGB.

    `frequency` (H, W) is the chart's local frequency in cycles per pixel of this picture (`zone_plate_frequency`);
    pixels beyond Nyquist do not count. `linear_gray` (3, h, w) is a plain gray patch; without one the pixels below a
    tenth of Nyquist serve. In each of 20 bands up to Nyquist the mean CIELAB chroma C*ab (D65) less that of gray is
    taken. There is no standard for this: it is our definition, for ratios between pipelines. Noise has more chroma in
    the dark rings than in gray: 0.01 of white leaves an integral of 0.3. Raises `ShapeError`, `ParamError`.
    """
    if linear_picture.ndim != 3 or linear_picture.shape[0] != 3:
        raise ShapeError(f"color moiré needs color, (3, H, W), got {tuple(linear_picture.shape)}")
    if tuple(frequency.shape) != tuple(linear_picture.shape[-2:]):
        raise ShapeError(
            f"frequency map {tuple(frequency.shape)} and picture {tuple(linear_picture.shape[-2:])} differ in size"
        )
    chroma = _chroma(linear_picture)
    cycles = frequency.detach().cpu().double().numpy()
    low = chroma[cycles < 0.1 * NYQUIST]
    if linear_gray is None and low.size < _FEWEST:
        raise ParamError(
            "color moiré has no plain gray: pass linear_gray, or a plate with frequencies below 0.05 cy/px"
        )
    gray = float(low.mean() if linear_gray is None else _chroma(linear_gray).mean())
    band = np.where(np.isfinite(cycles), np.floor(np.minimum(cycles, 1) / (NYQUIST / BANDS)), BANDS).astype(np.intp)
    inside = (band >= 0) & (band < BANDS)
    count = np.bincount(band[inside], minlength=BANDS)
    total = np.bincount(band[inside], weights=chroma[inside], minlength=BANDS)
    excess = np.where(count >= _FEWEST, total / np.maximum(count, 1) - gray, np.nan)
    return _summary(excess, gray)


def _chroma(linear: Tensor) -> Array:
    """C*ab of every pixel, (H, W)."""
    pixels = torch.from_numpy(planes(linear, "color moiré", least=4))
    if len(pixels) != 3:
        raise ShapeError(f"color moiré needs color, (3, H, W), got {tuple(linear.shape)}")
    lab = srgb_to_lab(pixels[None], linear=True)[0]
    chroma: Array = torch.hypot(lab[1], lab[2]).numpy()
    return chroma


def _summary(excess: Array, gray: float) -> MoireResult:
    """Peak and integral, and what is missing."""
    width = NYQUIST / BANDS
    center: Array = (np.arange(BANDS, dtype=np.float64) + 0.5) * width
    upper = excess[BANDS // 2 :]
    warnings = []
    if np.isnan(upper).any():
        highest = max((f + width / 2 for f, e in zip(center, excess, strict=True) if np.isfinite(e)), default=0.0)
        warnings.append(
            f"the zone plate reaches only {highest:.3f} cy/px in the picture: moiré of higher frequencies is not "
            "counted; show the plate smaller"
        )
    if gray > 5:
        warnings.append(f"plain gray has C*ab = {gray:.1f}: white balance is off or noise is high")
    known = np.isfinite(excess).any()
    best = int(np.nanargmax(excess)) if known else 0
    return MoireResult(
        frequency=center,
        chroma=excess,
        peak=float(excess[best]) if known else float("nan"),
        peak_frequency=float(center[best]) if known else float("nan"),
        integral=float(np.nansum(upper) * width / NYQUIST) if np.isfinite(upper).any() else float("nan"),
        gray_chroma=gray,
        warnings=tuple(warnings),
    )
