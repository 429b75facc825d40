"""Fidelity to a reference: PSNR, SSIM, MS-SSIM."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.metrics.base import check_pair, check_size, full_precision, per_picture_mean, planes

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""exponents of the scales, finest first (Wang, Simoncelli, Bovik 2003)"""
_WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


@full_precision
def psnr(picture: Tensor, reference: Tensor, *, data_range: float) -> Tensor:
    """Peak signal-to-noise ratio in dB, (B, C, H, W) -> (B,), higher is better, inf if identical.

    10 log10(data_range^2 / MSE); the mean runs over all pixels and channels ("CPSNR" for colors).
    """
    a, b = check_pair(picture, reference, data_range)
    return -10.0 * torch.log10(per_picture_mean((a - b).square()))


@full_precision
def ssim(picture: Tensor, reference: Tensor, *, data_range: float) -> Tensor:
    """Structural similarity in [-1, 1], (B, C, H, W) -> (B,), higher is better, 1 if identical.

    Wang, Bovik, Sheikh, Simoncelli 2004: 11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03, only where
    the window fits, averaged over pixels and then over channels. The picture is not reduced first, as the
    authors' demo script does for large ones.
    """
    a, b = check_pair(picture, reference, data_range)
    check_size(a, _WINDOW, "ssim")
    pairs = zip(planes(a), planes(b), strict=True)
    return torch.stack([_ssim_and_contrast(x, y)[0] for x, y in pairs], dim=-1).mean(-1)


@full_precision
def ms_ssim(
    picture: Tensor, reference: Tensor, *, data_range: float, weights: Sequence[float] = MS_SSIM_WEIGHTS
) -> Tensor:
    """Multi-scale structural similarity in [0, 1], (B, C, H, W) -> (B,), higher is better.

    Wang, Simoncelli, Bovik 2003: contrast and structure at every scale, luminance at the coarsest, halved
    by 2x2 means. Negative terms count as 0, because a power of them is not real. Sides must have more
    than 160 pixels with the five standard scales.
    """
    a, b = check_pair(picture, reference, data_range)
    check_size(a, (_WINDOW - 1) * 2 ** (len(weights) - 1) + 1, f"ms_ssim with {len(weights)} scales")
    pairs = zip(planes(a), planes(b), strict=True)
    return torch.stack([_ms_ssim_plane(x, y, weights) for x, y in pairs], dim=-1).mean(-1)


def _ms_ssim_plane(x: Tensor, y: Tensor, weights: Sequence[float]) -> Tensor:
    result = torch.ones(x.shape[0], dtype=x.dtype, device=x.device)
    last = len(weights) - 1
    for scale, weight in enumerate(weights):
        if scale:
            odd = (x.shape[-2] % 2, x.shape[-1] % 2)
            x, y = (F.avg_pool2d(p, 2, padding=odd) for p in (x, y))
        similarity, contrast = _ssim_and_contrast(x, y)
        term = similarity if scale == last else contrast
        positive = term > 0
        result = result * torch.where(positive, term, 1.0) ** weight * positive
    return result


def _ssim_and_contrast(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Means of SSIM and of its contrast-structure factor over (B, 1, H, W) planes of range 1."""
    mean_x, mean_y = _blur(x), _blur(y)
    covariance = _blur(x * y) - mean_x * mean_y
    variances = _blur(x * x + y * y) - mean_x.square() - mean_y.square()
    contrast = (2 * covariance + _K2**2) / (variances + _K2**2)
    luminance = (2 * mean_x * mean_y + _K1**2) / (mean_x.square() + mean_y.square() + _K1**2)
    return per_picture_mean(luminance * contrast), per_picture_mean(contrast)


def _blur(x: Tensor) -> Tensor:
    """The Gaussian window, only where it fits; sums of shifted pictures beat a CPU convolution tenfold."""
    taps = [math.exp(-(((i - _WINDOW // 2) / _SIGMA) ** 2) / 2) for i in range(_WINDOW)]
    for dim in (2, 3):
        size = x.shape[dim] - _WINDOW + 1
        out = x.narrow(dim, 0, size) * (taps[0] / sum(taps))
        for i in range(1, _WINDOW):
            out = out.add_(x.narrow(dim, i, size), alpha=taps[i] / sum(taps))
        x = out
    return x
