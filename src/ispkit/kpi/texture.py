"""Texture MTF and acutance from dead leaves: direct (power spectra) and cross."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.registration import Motion, Registration, register
from ispkit.kpi.result import Curve, Kpi, Result
from ispkit.kpi.signal import Array, falls_to, luminance_plane, radial_bins, radial_mean, spectrum

PX_PER_DEGREE = 60.0
"""pixels a degree of the viewing condition: 60 is one pixel an arc minute, the limit of normal sight"""
NOISE_MARGIN = 0.5
"""a ring counts as texture only if it rises this many standard errors above the noise"""


@dataclass(frozen=True)
class LeavesModel:
    """Dead leaves by their law: radii of density r^-3, gray levels uniform in linear light."""

    r_min: float = 3.0
    """px of the picture"""
    r_max: float = 250.0
    contrast: float = 4.0
    """brightest over darkest leaf"""

    @property
    def variance(self) -> float:
        """Over the square of the mean."""
        return ((self.contrast - 1) / (self.contrast + 1)) ** 2 / 3


@dataclass(frozen=True, eq=False)
class TextureResult:
    """Two texture MTFs of one region; without a reference `cross` is empty, its numbers NaN."""

    frequency: Array
    """(F,) cycles per pixel, up to Nyquist"""
    direct: Array
    """(F,) root of the power spectrum less the noise's over the reference's; 0 where only noise is left"""
    cross: Array
    """(F,) cross spectrum with the reference over its power spectrum"""
    acutance_direct: float
    acutance_cross: float
    px_per_degree: float
    registration: Registration | None = None
    warnings: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """Direct minus cross acutance: texture that is not in the scene, or residual noise."""
        return self.acutance_direct - self.acutance_cross

    @property
    def mtf50_cross(self) -> float:
        """Where the cross MTF falls through 0.5, cy/px."""
        return falls_to(self.frequency, self.cross, 0.5) if len(self.cross) else math.nan

    def as_result(self, region: str = "") -> Result:
        """`texture.acutance_direct`, `texture.acutance_cross`, `texture.gap` with both MTFs."""
        seen = f"CPIQ luminance CSF, {self.px_per_degree:g} px/degree"
        kpis = (
            Kpi(
                "texture.acutance_direct",
                self.acutance_direct,
                "",
                "one",
                region,
                f"power spectra, {seen}; above 1 is oversharpened",
            ),
            Kpi(
                "texture.acutance_cross",
                self.acutance_cross,
                "",
                "one",
                region,
                f"cross spectrum, {seen}; above 1 is oversharpened",
            ),
            Kpi("texture.gap", self.gap, "", "zero", region, "direct minus cross: noise or invented texture"),
        )
        pairs = [("direct", self.direct), ("cross", self.cross)]
        curves = tuple(
            Curve(
                "Texture MTF", f"{region} {n}".strip(), self.frequency.tolist(), m.tolist(), "frequency (cy/px)", "MTF"
            )
            for n, m in pairs
            if len(m)
        )
        prefix = f"{region}: " if region else ""
        return Result(kpis, curves, tuple(prefix + w for w in self.warnings))


def contrast_sensitivity(cycles_per_degree: Array) -> Array:
    """Luminance CSF of CPIQ, 75 v^0.8 exp(-0.2 v) / 34.05, v in cycles per degree.

    Baxter, Cao, Eliasson, Phillips, Development of the I3A CPIQ spatial metrics, Proc. SPIE 8293, 2012. The
    four constants agree with ISETCam's `cpiqCSF`; the scale cancels in an acutance.
    """
    sensitivity: Array = 75 * cycles_per_degree**0.8 * np.exp(-0.2 * cycles_per_degree) / 34.05
    return sensitivity


def acutance(frequency: Array, mtf: Array, px_per_degree: float = PX_PER_DEGREE) -> float:
    """Mean of an MTF weighted by the CSF, from 0 to the last frequency; 1 is perfect."""
    f, m = np.concatenate([[0.0], frequency]), np.concatenate([[1.0], mtf])
    weight = contrast_sensitivity(f * px_per_degree)
    return float(np.trapezoid(m * weight, f) / np.trapezoid(weight, f))


def measure_texture(
    linear_picture: Tensor,
    linear_reference: Tensor | None = None,
    *,
    linear_flat: Tensor | None = None,
    px_per_degree: float = PX_PER_DEGREE,
    motion: Motion = "affine",
    start: NDArray[Any] | None = None,
    model: LeavesModel | None = None,
) -> TextureResult:
    """Texture MTFs and acutances of dead leaves in linear light, (H, W) or (3, H, W).

    `linear_reference` is the chart itself; it is registered (`motion`, `start`: see `register`) and resampled onto
    the picture, and both methods use it. Without it only the direct method runs, with the spectrum of `model` (the
    default chart's if None). `linear_flat` is a uniform patch of the same brightness, at least 32x32 pixels, whose
    spectrum is the noise's. All are divided by their mean, so that exposure cancels. With a reference, its own
    pixels count as sharp; with the model, the picture's count as blur.

    Direct: McElvain et al. 2010, ISO/TS 19567-2; cross: Kirk et al. 2014, with |mean Re(Y X*) / mean |X|^2| over
    rings. A median or a learned filter is not linear: then the two part, and `gap` says by how much.
    Raises `ShapeError` below 64x64 pixels, `ParamError` for a `px_per_degree` that is not positive.
    """
    if not px_per_degree > 0:
        raise ParamError(f"px_per_degree={px_per_degree} must be positive; 60 is one pixel an arc minute")
    picture = luminance_plane(linear_picture, "texture acutance", least=64)
    if picture.mean() <= 0:
        raise ParamError("texture acutance reads linear light, but the region's mean is not positive")
    frequency, ring = radial_bins(*picture.shape)
    power = radial_mean(np.abs(spectrum(picture / picture.mean())) ** 2, ring, len(frequency))
    noise, warnings = _noise_power(linear_flat, frequency)
    excess = _above_noise(power, noise, ring, linear_flat)

    if linear_reference is None:
        known_mean = linear_flat if linear_flat is not None else linear_picture
        gain = luminance_plane(known_mean, "texture acutance").mean() / picture.mean()
        return _by_model(frequency, excess / gain**2, model or LeavesModel(), px_per_degree, warnings)
    laid = register(picture, luminance_plane(linear_reference, "texture acutance"), motion=motion, start=start)
    shown = spectrum(picture / picture.mean()), spectrum(laid.reference / laid.reference.mean())
    direct, cross = _against(*shown, excess, ring)
    if laid.correlation < 0.5:
        warnings += (f"the picture hardly looks like the reference (correlation {laid.correlation:.2f})",)
    scores = acutance(frequency, direct, px_per_degree), acutance(frequency, cross, px_per_degree)
    return TextureResult(frequency, direct, cross, *scores, px_per_degree, laid, (*warnings, *laid.warnings))


def dead_leaves_power(frequency: Array, radii: tuple[float, float]) -> Array:
    """Power spectrum of dead leaves of variance 1, in px^2, at frequencies in cy/px.

    Radii have the density r^-3 in `radii` (px). Two points belong to one leaf with probability g(d) / (2 g(0) -
    g(d)), g the mean area that a disc shares with itself shifted by d (Bordenave, Gousseau, Roueff 2006); the
    spectrum is the Hankel transform of that.
    """
    distance = np.linspace(0, 2 * radii[1], 20001)
    shared = _shared_area(distance, radii)
    same = shared / (2 * shared[0] - shared)
    weight = 2 * np.pi * distance * same * (distance[1] - distance[0])
    power: Array = np.stack([np.sum(weight * j0(2 * np.pi * f * distance)) for f in frequency])
    return np.maximum(power, 0)


def _noise_power(flat: Tensor | None, frequency: Array) -> tuple[Array, tuple[str, ...]]:
    """Power spectrum of the flat patch at the frequencies, relative to its mean."""
    if flat is None:
        missing = "no flat patch: the direct method counts noise as texture"
        return np.zeros_like(frequency), (missing,)
    plane = luminance_plane(flat, "the noise spectrum", least=32)
    if plane.mean() <= 0:
        raise ShapeError("the flat patch has no light; give one of the texture's mean brightness")
    own, ring = radial_bins(*plane.shape)
    power = radial_mean(np.abs(spectrum(plane / plane.mean())) ** 2, ring, len(own))
    return np.interp(frequency, own, power), ()


def _above_noise(power: Array, noise: Array, ring: NDArray[Any], flat: Tensor | None) -> Array:
    """Power above the noise; 0 in rings within `NOISE_MARGIN` standard errors of it.

    Without the margin the root of what noise leaves above itself reads as texture: +0.003 of acutance for white
    noise of a third of the texture's contrast. The margin was chosen by a sweep (0 to 1.5) over twelve charts with
    that noise; eight charts that were held out read 0.7005 on average (0.694 to 0.709), the truth being 0.703. A ring
    of n coefficients of a real picture under a Hann window has n / 4 independent ones.
    """
    if flat is None:
        return power
    count = np.bincount(ring[ring > 0], minlength=len(power) + 1)[1 : len(power) + 1]
    share = min(flat.shape[-1] * flat.shape[-2] / ring.size, 1.0)
    error = np.sqrt(4 / count * power**2 + 4 / (count * share) * noise**2)
    above: Array = np.where(power - noise > NOISE_MARGIN * error, np.maximum(power - noise, 0), 0)
    return above


def _against(
    picture: NDArray[np.complex128], reference: NDArray[np.complex128], excess: Array, ring: NDArray[Any]
) -> tuple[Array, Array]:
    """Direct and cross MTF from both spectra and the power above the noise."""
    known = radial_mean(np.abs(reference) ** 2, ring, len(excess))
    shared = radial_mean(np.real(picture * reference.conj()), ring, len(excess))
    return np.sqrt(excess / known), np.abs(shared / known)


def _by_model(
    frequency: Array, excess: Array, model: LeavesModel, px_per_degree: float, warnings: tuple[str, ...]
) -> TextureResult:
    """The direct method against a model, whose spectrum is that of the scene, before any pixel."""
    if not (0 < model.r_min < model.r_max and model.contrast > 1):
        raise ParamError(f"{model}: radii must rise from above 0, and the contrast be above 1")
    expected = dead_leaves_power(frequency, (model.r_min, model.r_max)) * model.variance
    direct = np.sqrt(excess / np.maximum(expected, 1e-30))
    warnings += ("no reference: the direct method uses the model of dead leaves, and there is no cross MTF",)
    value = acutance(frequency, direct, px_per_degree)
    return TextureResult(frequency, direct, np.empty(0), value, math.nan, px_per_degree, None, warnings)


def _shared_area(distance: Array, radii: tuple[float, float]) -> Array:
    """Mean over the radii of the area of a disc and its copy shifted by `distance`."""
    u = (np.arange(400) + 0.5) / 400
    radius = radii[0] * (radii[1] / radii[0]) ** u  # uniform in log r: density r^-3 has weight r^-2
    total = np.zeros_like(distance)
    for r in radius:
        half = np.clip(distance / (2 * r), 0, 1)
        total += (2 * r * r * np.arccos(half) - 2 * r * r * half * np.sqrt(1 - half * half)) / r**2
    return total
