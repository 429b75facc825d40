"""Contrast, saturation, vibrance and hue of linear RGB; neutral gray stays neutral in all of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ispkit.ops.color_spaces import apply_matrix
from ispkit.ops.luma import WEIGHTS, luminance
from ispkit.ops.values import per_image

_TINY = 1e-6


def contrast(rgb: Tensor, amount: float | Tensor, pivot: float = 0.18) -> Tensor:
    """Raise luminance to `amount` about `pivot`, keeping the ratios of the colors; 1 changes nothing."""
    y = luminance(rgb).clamp(min=_TINY)
    return rgb * (y / pivot) ** (per_image(amount, rgb) - 1)


def saturation(rgb: Tensor, amount: float | Tensor, vibrance: float | Tensor = 0.0) -> Tensor:
    """Scale the distance from gray by `amount`, and by up to 1 + `vibrance` more where color is weak."""
    y = luminance(rgb)
    top = rgb.amax(1, keepdim=True).clamp(min=_TINY)
    strength = ((top - rgb.amin(1, keepdim=True)) / top).clamp(0.0, 1.0)
    gain = per_image(amount, rgb) * (1 + per_image(vibrance, rgb) * (1 - strength))
    return y + gain * (rgb - y)


def rotate_hue(rgb: Tensor, degrees: float | Tensor) -> Tensor:
    """Turn colors about the gray axis at constant luminance; positive goes red -> yellow -> green."""
    angle = torch.as_tensor(degrees, device=rgb.device, dtype=rgb.dtype).reshape(-1) * (math.pi / 180)
    to_opponent = rgb.new_tensor([WEIGHTS, (0.5, -0.5, 0.0), (0.25, 0.25, -0.5)])
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], -1).reshape(-1, 3, 3)
    return apply_matrix(rgb, torch.linalg.solve(to_opponent, turn @ to_opponent))
