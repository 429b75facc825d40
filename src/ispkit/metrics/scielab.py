"""S-CIELAB (Zhang & Wandell 1996): the color difference after the eye's own blur."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.metrics.base import check_pair, full_precision, per_picture_mean, planes
from ispkit.metrics.color import cie1976, ciede2000
from ispkit.ops.color_spaces import apply_matrix, rgb_to_xyz
from ispkit.ops.encode import srgb_decode
from ispkit.ops.lab import xyz_to_lab

FilterVariant = Literal["distribution", "published1996"]
Formula = Literal["cie1976", "cie2000"]

# XYZ (2 degree observer) -> luminance, red-green, blue-yellow, of the authors' distribution
_XYZ_TO_OPPONENT = (
    (0.2787336, 0.7218031, -0.1065520),
    (-0.4487736, 0.2898056, 0.0771569),
    (0.0859513, -0.5899859, 0.5011089),
)
_FINE = 224.0  # samples per degree below which sampled filters are too coarse
_SUPPORT_DEG = 1.0


@dataclass(frozen=True)
class EyeFilter:
    """One published set of blurs: per opponent plane, Gaussians as (spread in degrees, weight)."""

    planes: tuple[tuple[tuple[float, float], ...], ...]
    sigma_per_spread: float
    """how the publication means "spread": standard deviation = sigma_per_spread x spread"""


FILTERS: dict[FilterVariant, EyeFilter] = {
    # the authors' code: the spread is the half width at half maximum
    "distribution": EyeFilter(
        (
            ((0.05, 1.00327), (0.225, 0.114416), (7.0, -0.117686)),
            ((0.0685, 0.616725), (0.826, 0.383275)),
            ((0.0920, 0.567885), (0.6451, 0.432115)),
        ),
        1 / math.sqrt(2 * math.log(2)),
    ),
    # the table of the paper: w exp(-(x^2 + y^2) / s^2)
    "published1996": EyeFilter(
        (
            ((0.0283, 0.921), (0.133, 0.105), (4.336, -0.108)),
            ((0.0392, 0.531), (0.494, 0.33)),
            ((0.0536, 0.488), (0.386, 0.371)),
        ),
        1 / math.sqrt(2),
    ),
}


@full_precision
def scielab(
    picture: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    samples_per_degree: float = 60.0,
    variant: FilterVariant = "distribution",
    formula: Formula = "cie1976",
    linear: bool = False,
) -> Tensor:
    """Mean S-CIELAB difference, (B, 3, H, W) sRGB -> (B,), [0, inf), lower is better.

    A value means something only together with its `variant` and its viewing distance: the two published
    filter sets differ about twofold in width. `samples_per_degree` = pixels per degree of visual angle,
    pi / 180 x distance / pixel pitch (60: the limit of 20/20 vision; 40: a 96-dpi screen at 60 cm).
    """
    options = {"samples_per_degree": samples_per_degree, "variant": variant, "formula": formula, "linear": linear}
    return per_picture_mean(scielab_map(picture, reference, data_range=data_range, **options))  # type: ignore[arg-type]


@full_precision
def scielab_map(
    picture: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    samples_per_degree: float = 60.0,
    variant: FilterVariant = "distribution",
    formula: Formula = "cie1976",
    linear: bool = False,
) -> Tensor:
    """The S-CIELAB difference of every pixel, (B, 3, H, W) sRGB -> (B, H, W).

    XYZ -> opponent planes -> blur -> XYZ -> CIELAB under D65 -> ΔE*ab or ΔE00. Uniform pictures give the
    plain color difference. Filters reach half a degree to either side; beyond the border the picture is
    mirrored.
    """
    if variant not in FILTERS:
        raise ParamError(f"variant={variant!r} is no S-CIELAB filter set; {nearest(variant, FILTERS)}")
    if formula not in ("cie1976", "cie2000"):
        raise ParamError(f"formula={formula!r} is not a color difference; {nearest(formula, ['cie1976', 'cie2000'])}")
    if not 1 <= samples_per_degree <= 1000:
        raise ParamError(f"samples_per_degree={samples_per_degree} is outside [1, 1000] (pixels per degree)")
    a, b = check_pair(picture, reference, data_range, channels=3)
    seen = [_seen_lab(p if linear else srgb_decode(p), samples_per_degree, FILTERS[variant]) for p in (a, b)]
    return (ciede2000 if formula == "cie2000" else cie1976)(seen[0], seen[1])


def scielab_1996(
    picture: Tensor, reference: Tensor, *, data_range: float, samples_per_degree: float = 60.0, linear: bool = False
) -> Tensor:
    """`scielab` with the filters printed in the paper of 1996, (B, 3, H, W) sRGB -> (B,), lower is better."""
    return scielab(
        picture,
        reference,
        data_range=data_range,
        samples_per_degree=samples_per_degree,
        variant="published1996",
        linear=linear,
    )


def filter_taps(spread_deg: float, samples_per_degree: float, sigma_per_spread: float) -> Tensor:
    """One Gaussian as the picture's pixels see it, (K,) float64, K odd, sum 1.

    Sampled at 224 samples per degree or more, over one degree, as the authors' code does; where pixels are
    larger, those samples are averaged over the pixel, so that narrow filters stay right at low resolution.
    """
    finer = max(1, math.ceil(_FINE / samples_per_degree))
    finer += 1 - finer % 2  # odd, so that pixel centers are samples
    rate = samples_per_degree * finer
    half = max(0, (math.ceil(rate * _SUPPORT_DEG / 2) * 2 - 2) // 2)
    x = torch.arange(-half, half + 1, dtype=torch.float64)
    gauss = torch.exp(-((x / (spread_deg * sigma_per_spread * rate)) ** 2) / 2)
    pixel = torch.floor((x + finer // 2) / finer).long()
    taps = torch.zeros(int(pixel[-1] - pixel[0]) + 1, dtype=torch.float64).index_add(0, pixel - pixel[0], gauss)
    normalized: Tensor = taps / taps.sum()
    return normalized


def _seen_lab(linear_rgb: Tensor, samples_per_degree: float, eye: EyeFilter) -> Tensor:
    srgb = rgb_to_xyz("srgb")
    opponent = torch.tensor(_XYZ_TO_OPPONENT, dtype=torch.float64)
    opponents = planes(apply_matrix(linear_rgb, opponent @ srgb))
    blurred = [_blur(p, g, samples_per_degree, eye) for p, g in zip(opponents, eye.planes, strict=True)]
    return xyz_to_lab(apply_matrix(torch.cat(blurred, 1), torch.linalg.inv(opponent)), srgb.sum(1))


def _blur(plane: Tensor, gaussians: tuple[tuple[float, float], ...], rate: float, eye: EyeFilter) -> Tensor:
    """Filter (B, 1, H, W) in the Fourier domain, where a sum of wide Gaussians costs as much as one."""
    kernels = [filter_taps(spread, rate, eye.sigma_per_spread) for spread, _ in gaussians]
    half = len(kernels[0]) // 2
    rows = _mirrored(plane.shape[-2], half, plane.device)
    columns = _mirrored(plane.shape[-1], half, plane.device)
    padded = plane[..., rows, :][..., columns]
    total = sum(weight for _, weight in gaussians)
    response = sum(
        weight / total * _spectrum(k, len(rows))[:, None] * _spectrum(k, len(columns))[: len(columns) // 2 + 1]
        for k, (_, weight) in zip(kernels, gaussians, strict=True)
    )
    spectrum = torch.fft.rfft2(padded) * torch.as_tensor(response).to(padded)
    blurred = torch.fft.irfft2(spectrum, s=padded.shape[-2:])
    inside: Tensor = blurred[..., half : half + plane.shape[-2], half : half + plane.shape[-1]]
    return inside


def _spectrum(taps: Tensor, size: int) -> Tensor:
    """Real Fourier transform of a symmetric kernel centered on sample 0 of `size`."""
    kernel = torch.zeros(size, dtype=taps.dtype)
    kernel[: len(taps)] = taps
    spectrum: Tensor = torch.fft.fft(kernel.roll(-(len(taps) // 2))).real
    return spectrum


def _mirrored(size: int, pad: int, device: torch.device) -> Tensor:
    """Indices that extend an axis by `pad` on both sides, edge pixels repeated (… 1 0 | 0 1 …), any `pad`.

    The length is rounded up to a product of small primes, which the Fourier transform likes.
    """
    length = size + 2 * pad
    while not _smooth(length):
        length += 1
    i = torch.remainder(torch.arange(-pad, length - pad, device=device), 2 * size)
    return torch.minimum(i, 2 * size - 1 - i)


def _smooth(n: int) -> bool:
    for prime in (2, 3, 5, 7):
        while n % prime == 0:
            n //= prime
    return n == 1
