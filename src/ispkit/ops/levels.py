"""Stored numbers to linear light: black level, white level, exposure."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.cfa import spread_sites
from ispkit.ops.luma import luminance
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


def log_luminance_sums(rgb: Tensor) -> Tensor:
    """Sum of log2 of the luminance (at least 2^-14) and the number of pixels, (B, 2); adds up over tiles."""
    logs = luminance(rgb).clamp(min=2.0**-14).log2().sum((-3, -2, -1), dtype=torch.float64)
    return torch.stack([logs, torch.full_like(logs, rgb.shape[-2] * rgb.shape[-1])], -1)


def auto_ev(sums: Tensor, key: float | Tensor) -> Tensor:
    """EV (B,) that brings the geometric mean of `log_luminance_sums` to `key`, within 4 EV.

    Source: Reinhard, Stark, Shirley, Ferwerda, Photographic tone reproduction for digital images, 2002, eq. 1.
    """
    wanted = torch.as_tensor(key, dtype=sums.dtype, device=sums.device).log2()
    return (wanted - sums[:, 0] / sums[:, 1]).clamp(-4.0, 4.0)
