"""Transfer functions: linear light to encoded values and back."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.values import per_image


def srgb_encode(linear: Tensor) -> Tensor:
    """The sRGB curve on [0, 1] (IEC 61966-2-1); also that of Display P3. Clips to [0, 1]."""
    x = linear.clamp(0.0, 1.0)
    # the power branch is fed a safe value below the knee, so that its gradient stays finite
    power = 1.055 * x.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(x <= 0.0031308, 12.92 * x, power)


def srgb_decode(encoded: Tensor) -> Tensor:
    """Inverse of `srgb_encode` on [0, 1]."""
    power = ((encoded.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 0.04045, encoded / 12.92, power)


def gamma_encode(linear: Tensor, gamma: float | Tensor) -> Tensor:
    """x^(1/gamma), clipped to [0, 1]; below 1e-8 it gives 0, which keeps the gradient finite."""
    power = linear.clamp(1e-8, 1.0) ** (1.0 / per_image(gamma, linear))
    return torch.where(linear <= 1e-8, torch.zeros_like(power), power)


def prophoto_encode(linear: Tensor) -> Tensor:
    """The ROMM RGB curve (ISO 22028-2): slope 16 below 1/512, then x^(1/1.8). Clips to [0, 1]."""
    x = linear.clamp(0.0, 1.0)
    knee = 1 / 512
    return torch.where(x < knee, 16 * x, x.clamp(min=knee) ** (1 / 1.8))


def encode_for(linear: Tensor, space: str) -> Tensor:
    """Encode linear RGB of `space` with that space's own curve; XYZ and linear spaces are only clipped."""
    if space in ("srgb", "display-p3"):
        return srgb_encode(linear)
    if space == "adobe-rgb":
        return gamma_encode(linear, 563 / 256)
    if space == "prophoto-rgb":
        return prophoto_encode(linear)
    return linear.clamp(0.0, 1.0)
