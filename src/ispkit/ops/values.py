"""How a knob's value meets a batch of pictures."""

from __future__ import annotations

import torch
from torch import Tensor


def per_image(value: float | Tensor, like: Tensor) -> Tensor:
    """Shape a scalar or a (B,) tensor so that it multiplies (B, C, H, W).

    >>> per_image(torch.tensor([1.0, 2.0]), torch.zeros(2, 1, 4, 4)).shape
    torch.Size([2, 1, 1, 1])
    """
    v = torch.as_tensor(value, device=like.device, dtype=like.dtype)
    return v.reshape(-1, 1, 1, 1) if v.ndim == 1 else v


def is_zero(value: float | Tensor) -> bool:
    """Whether a plain knob says "off"; a tensor never does, so that gradients and batches stay whole."""
    return not isinstance(value, Tensor) and value == 0
