"""Random black and white cells, from which the point spread function can be told in every part of a picture."""

from __future__ import annotations

import numpy as np
import torch

from ispkit.charts.canvas import Canvas, cells, check_range, check_size, check_whole
from ispkit.charts.chart import Chart
from ispkit.core.errors import ParamError


def psf_noise(
    height: int = 800,
    width: int = 1200,
    *,
    seed: int = 0,
    cell_px: int = 2,
    rows: int = 4,
    columns: int = 6,
    low: float = 0.02,
    high: float = 0.8,
) -> Chart:
    """Blocks of Bernoulli noise (one half) in a grid, mid-gray lanes between them, a black and a white patch.

    A cell is `cell_px` pixels wide, so the spectrum is flat but for the sinc of a cell. Truth of each block
    (kind `noise`): seed of the chart, cell_px, low, high, row, column; `level/black` and `level/white` (kind
    `flat`) tell the levels. Source: Mosleh et al., Camera intrinsic blur kernel estimation: a reliable
    framework, CVPR 2015 (the kind of target; the layout is ours). Raises `ParamError`, `ShapeError`.
    """
    check_size("psf_noise", height, width, (64, 64))
    check_range("psf_noise", low, high)
    for name, value, most in (("cell_px", cell_px, 64), ("rows", rows, 32), ("columns", columns, 32)):
        check_whole(f"psf_noise.{name}", value, 1, most)
    check_whole("psf_noise.seed", seed, 0, 2**63 - 1)
    canvas, random = Canvas(height, width, (low + high) / 2), np.random.default_rng(seed)
    strip = max(16, height // 12)
    grid = cells((0, 0, height - strip, width), rows, columns, gap=0.1)
    for i, (top, left, tall, wide) in enumerate(grid):
        shape = (tall // cell_px, wide // cell_px)
        if min(shape) < 8:
            raise ParamError("psf_noise: a block has less than 8 cells; take fewer rows and columns, or smaller cells")
        bits = torch.from_numpy(random.random(shape) < 0.5).repeat_interleave(cell_px, 0)
        box = (top, left, shape[0] * cell_px, shape[1] * cell_px)
        canvas.crop(box)[:] = torch.where(bits.repeat_interleave(cell_px, 1), high, low)
        row, column = divmod(i, columns)
        truth = {"seed": seed, "cell_px": cell_px, "low": low, "high": high, "row": row, "column": column}
        canvas.add(f"noise/{row}-{column}", "noise", box, truth)
    half = width // 2
    canvas.patch("level/black", "flat", (height - strip, 0, strip, half), [low] * 3, {})
    canvas.patch("level/white", "flat", (height - strip, half, strip, width - half), [high] * 3, {})
    own = {"seed": seed, "cell_px": cell_px, "rows": rows, "columns": columns, "low": low, "high": high}
    return canvas.chart("psf_noise", {"height": height, "width": width} | own)
