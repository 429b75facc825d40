"""Unsharp masking of linear RGB with a threshold for noise and a limit for halos."""

from __future__ import annotations

from torch import Tensor

from ispkit.ops.blur import gaussian_blur
from ispkit.ops.luma import luminance
from ispkit.ops.values import is_zero, per_image

RADIUS = 3
"""half width of the blur's kernel: always 7 taps, so beyond sigma = 2 it nears a box"""


def unsharp_mask(
    rgb: Tensor,
    amount: float | Tensor,
    *,
    sigma: float | Tensor = 1.0,
    threshold: float | Tensor = 0.0,
    halo_limit: float | Tensor = 0.5,
) -> Tensor:
    """Add the luminance's fine detail to all three channels.

    With L = luminance, m = 7-tap Gaussian mean of L (reflected border) and d = L - m:
    `rgb + clamp(amount * soft(d), -h, h)`, soft(d) = sign(d) max(|d| - threshold, 0),
    h = halo_limit * max(m, 0).

    Args:
        rgb: (B, 3, H, W) linear; not clipped.
        amount: 0 leaves the picture unchanged; scalar or (B,), as all that follow.
        sigma: of the blur, px.
        threshold: detail up to this (linear signal, 1 = white) is left alone.
        halo_limit: largest change, relative to the local mean luminance.
    """
    if is_zero(amount):
        return rgb
    luma = luminance(rgb)
    mean = gaussian_blur(luma, sigma, radius=RADIUS)
    detail = luma - mean
    detail = detail - detail.clamp(-(t := per_image(threshold, rgb)), t)
    limit = per_image(halo_limit, rgb) * mean.clamp(min=0)
    return rgb + (per_image(amount, rgb) * detail).clamp(-limit, limit)
