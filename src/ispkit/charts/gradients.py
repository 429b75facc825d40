"""Smooth gradients between four corners, equal steps in sRGB code values: where an ISP posterizes, they show it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ispkit.charts.canvas import Canvas, IntBox
from ispkit.charts.chart import RegionKind
from ispkit.ops.encode import srgb_decode, srgb_encode

Corners = Sequence[Sequence[float]]
"""linear sRGB at the top left, top right, bottom left and bottom right corner"""


def bilinear(height: int, width: int, corners: Corners) -> Tensor:
    """Linear sRGB (3, H, W): code values interpolated between the corners of the box, taken at pixel centers."""
    codes = srgb_encode(torch.tensor(corners, dtype=torch.float64).clamp(0, 1))
    y = ((torch.arange(height, dtype=torch.float64) + 0.5) / height)[None, :, None]
    x = ((torch.arange(width, dtype=torch.float64) + 0.5) / width)[None, None]
    top_left, top_right, bottom_left, bottom_right = codes[..., None, None]
    mixed = (1 - y) * ((1 - x) * top_left + x * top_right) + y * ((1 - x) * bottom_left + x * bottom_right)
    return srgb_decode(mixed).float()


def add_gradient(canvas: Canvas, name: str, kind: RegionKind, box: IntBox, corners: Corners) -> None:
    """Paint one. Its truth: `corners` as in `Corners`, of the region's own box; `space` of the interpolation."""
    top, left, height, width = box
    canvas.crop(box)[:] = bilinear(height, width, corners)
    truth = {"corners": [[float(v) for v in corner] for corner in corners], "space": "srgb"}
    canvas.add(name, kind, (top, left, height, width), truth)


def corners_within(whole: IntBox, part: IntBox, corners: Corners) -> list[list[float]]:
    """The corners of a part of a gradient: a part of a bilinear surface is one too."""
    codes = srgb_encode(torch.tensor(corners, dtype=torch.float64).clamp(0, 1))
    out = []
    for y in (part[0], part[0] + part[2]):
        for x in (part[1], part[1] + part[3]):
            v, u = (y - whole[0]) / whole[2], (x - whole[1]) / whole[3]
            above, below = (1 - u) * codes[0] + u * codes[1], (1 - u) * codes[2] + u * codes[3]
            out.append([float(value) for value in srgb_decode((1 - v) * above + v * below)])
    return out
