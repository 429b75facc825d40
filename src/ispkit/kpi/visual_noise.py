"""Visual noise of a flat patch: the noise that an eye at a stated distance sees (ISO 15739:2013, CPIQ)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError, nearest
from ispkit.kpi.noise import remove_gradient
from ispkit.kpi.result import Kpi, Result
from ispkit.kpi.texture import contrast_sensitivity
from ispkit.ops.color_spaces import D65_XY, adaptation, rgb_to_xyz
from ispkit.ops.lab import xyz_to_lab

Form = Literal["iso15739_2013", "cpiq"]
FORMS: tuple[Form, ...] = ("iso15739_2013", "cpiq")

_E_XY = (1 / 3, 1 / 3)
# XYZ under illuminant E -> achromatic, red-green, blue-yellow; grays have no C1 and C2. The planes are filtered
# one by one and turned back, so the scale of a row (0.4 of the last) changes nothing.
_TO_OPPONENT = ((0.0, 1.0, 0.0), (1.0, -1.0, 0.0), (0.0, 0.4, -0.4))
_ISO_WEIGHTS = (1.0, 0.852, 0.323)  # of sigma L*, u*, v*
_CPIQ_WEIGHTS = (23.0, 4.24, -5.47, 4.77)  # of var L*, a*, b* and of cov(L*, a*)
_PEAK = 3.0003  # of `luminance_csf`, at 4 cycles a degree
_LEAST_DEGREES = 1.0


@dataclass(frozen=True)
class VisualNoise:
    """Visual noise of one patch and what it is made of."""

    value: float
    """sigma L* + 0.852 sigma u* + 0.323 sigma v*, or the CPIQ objective metric; NaN if it has none"""
    form: Form
    pixels_per_degree: float
    sigma: tuple[float, float, float]
    """standard deviation of the filtered L*, u*, v* (of L*, a*, b* for CPIQ)"""
    warnings: tuple[str, ...] = ()

    def as_result(self, region: str = "") -> Result:
        """`noise.visual_noise`, or `noise.visual_noise.cpiq`."""
        name = {"iso15739_2013": "noise.visual_noise", "cpiq": "noise.visual_noise.cpiq"}[self.form]
        title = {"iso15739_2013": "visual noise after ISO 15739:2013", "cpiq": "CPIQ visual noise (log10)"}[self.form]
        doc = f"{title}, seen at {self.pixels_per_degree:g} pixels a degree"
        return Result((Kpi(name, self.value, "", "lower", region, doc),), warnings=self.warnings)


def visual_noise(
    linear_patch: Tensor,
    *,
    pixels_per_degree: float,
    form: Form = "iso15739_2013",
    flatten: bool = False,
) -> VisualNoise:
    """Visual noise of a flat patch, (3, H, W) linear sRGB in [0, 1], at `pixels_per_degree` of visual angle.

    sRGB -> XYZ -> Bradford to illuminant E -> opponent planes A = Y, C1 = X - Y, C2 = 0.4 (Y - Z) -> Fourier
    transform, times the eye's contrast sensitivity, the mean left alone -> XYZ, below 0 set to 0 -> D65 ->
    L*u*v*. "iso15739_2013" adds the standard deviations, 1 : 0.852 : 0.323. "cpiq" goes to L*a*b* instead,
    with a luminance sensitivity of peak 1, and gives log10(1 + 23.0 var L* + 4.24 var a* - 5.47 var b*
    + 4.77 cov(L*, a*)). `flatten` first removes a slow gradient as `patch_noise` does, which neither text asks.

    How sure the constants are: the chain (Bradford, zeros, D65, mean left out) is that of Image Engineering's
    technical note 669, A = Y and the illuminant E that of Imatest's summary of the standard. The chromatic
    sensitivities are Johnson and Fairchild's, read in public code of the Norwegian Color Research Laboratory;
    the luminance one is Baxter et al. 2012, read in a public program that cites them, and its peak of 3 is what
    Wueller, Matsui and Katoh (2019) report of the standard. The weights 0.852 and 0.323 were found in one public
    program, those of CPIQ and its normalization to 1 nowhere: compare values of this function with each other, not
    with a certified instrument. Raises `ShapeError` or `ParamError`.
    """
    if form not in FORMS:
        raise ParamError(f"form={form!r} is no visual noise; {nearest(form, FORMS)}")
    if not 1 <= pixels_per_degree <= 1000:
        raise ParamError(f"pixels_per_degree={pixels_per_degree} is outside [1, 1000]")
    if linear_patch.ndim != 3 or linear_patch.shape[0] != 3 or min(linear_patch.shape[1:]) < 8:
        raise ShapeError(f"visual noise reads (3, H, W), at least 8 x 8 pixels, got {tuple(linear_patch.shape)}")
    patch = linear_patch.detach().cpu().double()
    if flatten:
        patch = patch - remove_gradient(patch)[1]
    xyz = _seen(patch, pixels_per_degree, 1.0 if form == "iso15739_2013" else 1 / _PEAK)
    white = rgb_to_xyz("srgb").sum(1)
    coordinates = (_luv(xyz, white) if form == "iso15739_2013" else xyz_to_lab(xyz[None], white)[0]).flatten(1)
    covariance = torch.cov(coordinates)
    sigma = covariance.diagonal().clamp(min=0).sqrt()
    value, warnings = float(sigma @ sigma.new_tensor(_ISO_WEIGHTS)), _warnings(patch, pixels_per_degree)
    if form == "cpiq":
        value = _cpiq(covariance)
        if math.isnan(value):
            warnings.append("the CPIQ sum is negative for this mixture of noises: no visual noise")
    return VisualNoise(value, form, pixels_per_degree, _three(sigma), tuple(warnings))


def viewing(distance_m: float, pixel_pitch_m: float) -> float:
    """Pixels per degree of a screen or print seen from a distance: 2 d tan(0.5 degrees) / pitch.

    >>> round(viewing(0.6, 0.254e-3), 1)
    41.2
    """
    if not (distance_m > 0 and pixel_pitch_m > 0):
        raise ParamError(f"distance_m={distance_m} and pixel_pitch_m={pixel_pitch_m} must be above 0")
    return 2 * distance_m * math.tan(math.radians(0.5)) / pixel_pitch_m


def luminance_csf(frequency: Tensor) -> Tensor:
    """Sensitivity to luminance of `texture.contrast_sensitivity`, f in cycles per degree."""
    return torch.from_numpy(contrast_sensitivity(frequency.double().numpy())).to(frequency)


def red_green_csf(frequency: Tensor) -> Tensor:
    """Sensitivity to red against green, 1 at 0 (Johnson and Fairchild's fit)."""
    slow = 109.1413 * torch.exp(-0.00038 * frequency**3.4244)
    csf: Tensor = (slow + 93.5971 * torch.exp(-0.00367 * frequency**2.1677)) / (109.1413 + 93.5971)
    return csf


def blue_yellow_csf(frequency: Tensor) -> Tensor:
    """Sensitivity to blue against yellow, 1 at 0 (the second term of Johnson and Fairchild's fit).

    Their first term, 7.0328 exp(-b1 f^4.2582), is printed with b1 = 0: a constant that no distance would
    blur. We leave it out, so that this sensitivity falls to 0 as the other two do.
    """
    csf: Tensor = torch.exp(-0.10391 * frequency**1.6487)
    return csf


def _seen(linear_rgb: Tensor, pixels_per_degree: float, luminance_gain: float) -> Tensor:
    """The patch behind the eye's filters, XYZ under D65 (3, H, W), not negative."""
    d65, e = (torch.tensor(xy, dtype=torch.float64) for xy in (D65_XY, _E_XY))
    to_opponent = torch.tensor(_TO_OPPONENT, dtype=torch.float64) @ adaptation(d65, e)
    planes = torch.einsum("ij,jhw->ihw", to_opponent @ rgb_to_xyz("srgb"), linear_rgb)
    height, width = planes.shape[-2:]
    fy, fx = torch.fft.fftfreq(height).double()[:, None], torch.fft.rfftfreq(width).double()
    frequency = pixels_per_degree * torch.hypot(fy, fx)
    filters: tuple[Callable[[Tensor], Tensor], ...] = (luminance_csf, red_green_csf, blue_yellow_csf)
    response = torch.stack([f(frequency) for f in filters])
    response[0] *= luminance_gain
    mean = planes.mean((-2, -1), keepdim=True)
    filtered = torch.fft.irfft2(torch.fft.rfft2(planes - mean) * response, s=(height, width)) + mean
    xyz = torch.einsum("ij,jhw->ihw", torch.linalg.inv(to_opponent), filtered)
    return xyz.clamp(min=0)


def _luv(xyz: Tensor, white: Tensor) -> Tensor:
    """XYZ (3, H, W) -> CIELUV (CIE 15); black has u* = v* = 0."""
    lightness = xyz_to_lab(xyz[None], white)[0, 0]

    def uv(t: Tensor) -> tuple[Tensor, Tensor]:
        total = t[0] + 15 * t[1] + 3 * t[2]
        total = torch.where(total > 0, total, 1.0)
        return 4 * t[0] / total, 9 * t[1] / total

    (u, v), (un, vn) = uv(xyz), uv(white)
    return torch.stack([lightness, 13 * lightness * (u - un), 13 * lightness * (v - vn)])


def _cpiq(covariance: Tensor) -> float:
    parts = (covariance[0, 0], covariance[1, 1], covariance[2, 2], covariance[0, 1])
    total = 1 + float(sum(w * p for w, p in zip(_CPIQ_WEIGHTS, parts, strict=True)))
    return math.log10(total) if total > 0 else math.nan


def _three(values: Tensor) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third


def _warnings(patch: Tensor, pixels_per_degree: float) -> list[str]:
    degrees = min(patch.shape[1:]) / pixels_per_degree
    found = []
    if degrees < _LEAST_DEGREES:
        found.append(f"the patch spans {degrees:.2g} degrees: noise of low frequency does not fit in it")
    cut = float(((patch <= 0) | (patch >= 1)).double().mean())
    if cut > 0.005:
        found.append(f"{100 * cut:.1f} % of the pixels are black or white: their noise is cut")
    return found
