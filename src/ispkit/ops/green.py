"""Green equilibration: the greens of red rows and of blue rows should agree on smooth surfaces."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.blur import pad_reflect
from ispkit.ops.values import per_image

REACH = 2
"""pixels of a green's neighborhood for one estimate; the average over `RADIUS` adds its own"""
RADIUS = 4
"""half width, in px, of the window over which estimates are averaged"""


def equalize(mosaic: Tensor, cfa: str, *, strength: float | Tensor = 1.0, limit: float | Tensor = 0.05) -> Tensor:
    """Move both kinds of green to their common local mean; red and blue stay.

    At each green the difference of the two kinds is estimated by a kernel that is blind to constants, slopes
    and curvature: (own / 2 + 4 axial neighbors / 8) - mean of the 4 diagonal ones. Estimates beyond `limit`
    times the local green are edges, not imbalance, and fade out; the rest is averaged over 9x9 pixels.

    Args:
        mosaic: (B, 1, H, W).
        cfa: its pattern.
        strength: 0 to 1, scalar or (B,).
        limit: relative difference at which an estimate has lost half its weight; scalar or (B,).
    """
    kind = _green_kinds(mosaic, cfa)
    p = pad_reflect(mosaic, REACH)
    diagonal = 0.25 * (p[..., 1:-3, 1:-3] + p[..., 1:-3, 3:-1] + p[..., 3:-1, 1:-3] + p[..., 3:-1, 3:-1])
    axial = p[..., :-4, 2:-2] + p[..., 4:, 2:-2] + p[..., 2:-2, :-4] + p[..., 2:-2, 4:]
    own = 0.5 * mosaic + 0.125 * axial
    difference = kind * (own - diagonal)
    scale = per_image(limit, mosaic) * (own + diagonal).abs() / 2 + 1e-6
    weight = kind.abs() / (1 + (difference / scale).square())
    imbalance = _window_sum(weight * difference) / (_window_sum(weight) + 1e-6)
    return mosaic - per_image(strength, mosaic) * 0.5 * kind * imbalance


def imbalance(mosaic: Tensor, cfa: str) -> Tensor:
    """Mean of the greens on red rows minus mean of those on blue rows, (B,)."""
    kind = _green_kinds(mosaic, cfa)
    sums = [(mosaic * part).sum((1, 2, 3)) / part.sum() for part in (kind.clamp(min=0), (-kind).clamp(min=0))]
    return sums[0] - sums[1]


def _green_kinds(like: Tensor, cfa: str) -> Tensor:
    """(H, W): +1 at greens on red rows, -1 at greens on blue rows, 0 elsewhere."""
    kinds = torch.zeros(like.shape[-2:], device=like.device, dtype=like.dtype)
    for i, color in enumerate(cfa):
        if color == "G":
            kinds[i // 2 :: 2, i % 2 :: 2] = 1.0 if "R" in cfa[i // 2 * 2 : i // 2 * 2 + 2] else -1.0
    return kinds


def _window_sum(x: Tensor) -> Tensor:
    for dim, pad in ((-1, (0, RADIUS)), (-2, (RADIUS, 0))):
        p, size = pad_reflect(x, *pad), x.shape[dim]
        x = sum((p.narrow(dim, i, size) for i in range(1, 2 * RADIUS + 1)), p.narrow(dim, 0, size))
    return x
