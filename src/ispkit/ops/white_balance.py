"""White balance: gains per color on a mosaic, and estimates of the scene's white."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.cfa import cfa_masks, spread_channels
from ispkit.ops.values import per_image

_CLIPPED = 0.98  # sites above this fraction of white say nothing about the light's color


def balance(mosaic: Tensor, gains: Tensor, cfa: str) -> Tensor:
    """Multiply a mosaic (B, 1, H, W) with gains per R, G, B (B, 3)."""
    return mosaic * spread_channels(gains.to(mosaic), cfa, mosaic.shape)


def minkowski_sums(mosaic: Tensor, cfa: str, p: float | Tensor) -> Tensor:
    """Per color the sum of x^p over unclipped sites, then their count: (B, 6). Adds up over tiles."""
    masks = cfa_masks(mosaic.shape, cfa, mosaic)
    usable = (mosaic < _CLIPPED).to(mosaic) * masks
    powered = mosaic.clamp(min=1e-6) ** per_image(p, mosaic)
    sums = (powered * usable).sum((-2, -1), dtype=torch.float64)
    counts = usable.sum((-2, -1), dtype=torch.float64)
    return torch.cat(torch.broadcast_tensors(sums, counts), dim=-1)  # type: ignore[no-untyped-call]


def neutral_from_sums(sums: Tensor, p: float | Tensor) -> Tensor:
    """The scene's white (B, 3), largest 1, from `minkowski_sums`: p = 1 is gray world.

    Source: Finlayson and Trezzi, Shades of Gray and Colour Constancy, CIC 2004.
    """
    power = torch.as_tensor(p, dtype=sums.dtype, device=sums.device).reshape(-1, 1)
    white = ((sums[:, :3] + 1e-12) / sums[:, 3:].clamp(min=1.0)) ** (1 / power)
    return white / white.amax(-1, keepdim=True)
