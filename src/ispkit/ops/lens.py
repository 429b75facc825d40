"""Lens shading: gain grids and radial gains, looked up at sensor positions.

Pixel (row, column) of a sensor of H x W lies at relative position ((row + 0.5) / H, (column + 0.5) / W)
of a gain grid; radial laws measure from the first to the last pixel's center, r = 1 at the corner farthest
from the optical center. Reference: Adobe, Digital Negative Specification 1.7.1, chapter 7.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ispkit.ops.values import is_zero, per_image


def axis_slice(origin: int, step: int, count: int, span: range) -> slice:
    """Which of `count` pixels, at sensor positions `origin + step * i`, lie on `span`; step is +1 or -1.

    >>> axis_slice(4, 1, 6, range(1, 100, 2))
    slice(1, 6, 2)
    >>> axis_slice(9, -1, 6, range(0, 100, 2))
    slice(1, 6, 2)
    """
    near, far = (span.start, span.stop - 1) if step > 0 else (span.stop - 1, span.start)
    first, last = step * (near - origin), step * (far - origin)
    phase = step * (span.start - origin)
    start = max(first, 0)
    start += (phase - start) % span.step
    stop = max(min(last + 1, count), 0)
    return slice(min(start, stop), stop, span.step)


def interpolate_grid(grid: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear values of a (V, U) grid at grid positions `rows` (H,) x `columns` (W,) -> (H, W).

    Positions count grid points from 0; beyond the first or last point the value there is kept.

    >>> interpolate_grid(torch.tensor([[1.0, 3.0]]), torch.tensor([0.0]), torch.tensor([-1.0, 0.5, 9.0]))
    tensor([[1., 2., 3.]])
    """
    with torch.autocast(rows.device.type, enabled=False):
        return _hat(rows, grid.shape[0]) @ grid @ _hat(columns, grid.shape[1]).T


def _hat(position: Tensor, points: int) -> Tensor:
    """Linear interpolation weights (N, points) of clamped positions (N,)."""
    knots = torch.arange(points, device=position.device, dtype=position.dtype)
    return (1 - (position.clamp(0, points - 1)[:, None] - knots).abs()).clamp(min=0)


def centered(
    rows: Tensor, columns: Tensor, size: Sequence[int], center: tuple[float, float] = (0.5, 0.5)
) -> tuple[Tensor, Tensor, float]:
    """Offsets (H,), (W,) from the optical center, 1 at the farthest corner, and that distance in px.

    `size` is (height, width) of the whole sensor, `center` relative (x, y) as DNG opcodes give it.
    """
    cy, cx = center[1] * (size[-2] - 1), center[0] * (size[-1] - 1)
    reach = float(max(cy, size[-2] - 1 - cy) ** 2 + max(cx, size[-1] - 1 - cx) ** 2) ** 0.5 or 1.0
    return (rows - cy) / reach, (columns - cx) / reach, reach


def radial_gain(dy: Tensor, dx: Tensor, coefficients: Sequence[float | Tensor]) -> Tensor:
    """1 + k1 r^2 + k2 r^4 + ... at offsets `dy` (H,), `dx` (W,) -> (1 or B, 1, H, W); each k scalar or (B,).

    >>> radial_gain(torch.tensor([0.0, 0.6]), torch.tensor([0.8]), [0.5])
    tensor([[[[1.3200],
              [1.5000]]]])
    """
    r2 = (dy.square()[:, None] + dx.square()[None, :])[None, None]
    gain = torch.zeros_like(r2)
    for k in reversed(coefficients):
        gain = r2 * (gain + per_image(k, r2))
    return 1 + gain


def blend_gain(gain: Tensor, strength: float | Tensor) -> Tensor:
    """1 + strength (gain - 1): no correction at 0, the full one at 1."""
    return gain if not isinstance(strength, Tensor) and strength == 1 else 1 + per_image(strength, gain) * (gain - 1)


def all_zero(*values: float | Tensor) -> bool:
    """Whether every plain knob says "off"."""
    return all(is_zero(v) for v in values)
