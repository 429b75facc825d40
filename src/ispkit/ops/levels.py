"""Stored numbers to linear light: black level, white level, exposure."""

from __future__ import annotations

from torch import Tensor

from ispkit.ops.cfa import spread_sites
from ispkit.ops.values import per_image


def linearize(raw: Tensor, black_level: Tensor, white_level: Tensor, black_offset: float | Tensor = 0.0) -> Tensor:
    """Stored DN (B, 1, H, W) -> linear signal, black 0 and white 1; nothing is clipped.

    `black_level`, `white_level` are (B, 4) DN per site of the top-left 2x2. `black_offset` corrects the
    black level by a fraction of the range; white stays 1.
    """
    black, white = (spread_sites(v.to(raw), raw.shape) for v in (black_level, white_level))
    offset = per_image(black_offset, raw)
    return ((raw - black) / (white - black) - offset) / (1 - offset)


def expose(linear: Tensor, ev: float | Tensor) -> Tensor:
    """Multiply by 2^ev."""
    return linear * per_image(ev, linear).exp2()
