"""Luminance and color differences of linear RGB (sRGB / Rec. 709 primaries)."""

from __future__ import annotations

import torch
from torch import Tensor

WEIGHTS = (0.2126, 0.7152, 0.0722)
"""share of R, G, B in the luminance Y (ITU-R BT.709)"""


def luminance(rgb: Tensor) -> Tensor:
    """Y of linear RGB: (B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = rgb.unbind(dim=-3)
    return (WEIGHTS[0] * red + WEIGHTS[1] * green + WEIGHTS[2] * blue).unsqueeze(-3)


def split(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Linear RGB -> luma Y (B, 1, H, W) and chroma R - Y, B - Y (B, 2, H, W); gray has zero chroma."""
    luma = luminance(rgb)
    return luma, rgb[..., ::2, :, :] - luma


def merge(luma: Tensor, chroma: Tensor) -> Tensor:
    """Inverse of `split`, exact up to the rounding of one addition.

    >>> rgb = torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64).reshape(1, 3, 1, 1)
    >>> torch.allclose(merge(*split(rgb)), rgb, rtol=0, atol=1e-15)
    True
    """
    red, blue = chroma.unbind(dim=-3)
    green = -(WEIGHTS[0] * red + WEIGHTS[2] * blue) / WEIGHTS[1]
    return luma + torch.stack((red, green, blue), dim=-3)
