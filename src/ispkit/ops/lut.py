"""A 3D lookup table on colors."""

from __future__ import annotations

import torch
from torch import Tensor


def apply_lut3d(rgb: Tensor, table: Tensor) -> Tensor:
    """Trilinear lookup of (B, 3, H, W) in [0, 1] in a table (N, N, N, 3) indexed [blue, green, red].

    That is the order of a .cube file (red runs fastest). Colors outside [0, 1] take the nearest entry.
    """
    grid = (rgb * 2 - 1).permute(0, 2, 3, 1)[:, None]  # (B, 1, H, W, 3) with x = red
    volume = table.to(rgb).permute(3, 0, 1, 2)[None].expand(len(rgb), -1, -1, -1, -1)
    out = torch.nn.functional.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return out[:, :, 0]
