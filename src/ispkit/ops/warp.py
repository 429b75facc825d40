"""Geometric lens corrections: where each output pixel comes from, and how it is sampled there.

Positions are centered and normalized as `ops.lens.centered` gives them: 0 at the optical center, length 1 at
the farthest corner. Every law maps an output position to its source. Reference: Adobe, Digital Negative
Specification 1.7.1, chapter 7 (WarpRectilinear, WarpFisheye); Brown, Decentering Distortion of Lenses, 1966;
Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ispkit.ops.lens import centered
from ispkit.ops.values import per_image

Position = tuple[Tensor, Tensor]
"""(row, column) offsets from the center, broadcastable to (B, 1, H, W)"""
Warp = Callable[[Tensor, Tensor], Position]
STRIP = 256
"""output rows sampled at a time, which bounds the memory for positions"""


def rectilinear(
    y: Tensor, x: Tensor, radial: Sequence[float], tangential: tuple[float, float] = (0.0, 0.0)
) -> Position:
    """WarpRectilinear: radial factor kr0 + kr1 r^2 + kr2 r^4 + kr3 r^6, and decentering kt0, kt1."""
    r2 = y * y + x * x
    factor = torch.zeros_like(r2)
    for k in reversed(radial):
        factor = factor * r2 + k
    kt0, kt1 = tangential
    if kt0 == 0 and kt1 == 0:
        return y * factor, x * factor
    dx = 2 * kt0 * x * y + kt1 * (r2 + 2 * x * x)
    dy = 2 * kt1 * x * y + kt0 * (r2 + 2 * y * y)
    return y * factor + dy, x * factor + dx


def fisheye(y: Tensor, x: Tensor, coefficients: Sequence[float]) -> Position:
    """WarpFisheye: source radius kr0 t + kr1 t^3 + kr2 t^5 + kr3 t^7 with t = atan(r)."""
    r = (y * y + x * x).clamp(min=1e-12).sqrt()
    angle = torch.atan(r)
    total = torch.zeros_like(r)
    for k in reversed(coefficients):
        total = total * angle.square() + k
    factor = total * angle / r
    return y * factor, x * factor


def radial(y: Tensor, x: Tensor, coefficients: Sequence[float | Tensor], scale: float | Tensor = 1.0) -> Position:
    """Source at `scale` (1 + k1 r^2 + k2 r^4 + ...) times the output position; knobs scalar or (B,).

    A negative k1 corrects a barrel, a positive one a pincushion; a scale below 1 enlarges the picture.
    """
    r2 = y * y + x * x
    factor = torch.zeros_like(r2)
    for k in reversed(coefficients):
        factor = r2 * (factor + per_image(k, r2))
    factor = (1 + factor) * per_image(scale, r2)
    return y * factor, x * factor


def about(center: tuple[float, float], size: Sequence[int], law: Warp) -> Warp:
    """`law`, which measures from a relative `center` (x, y), as one that measures from the picture's center."""
    if center == (0.5, 0.5):
        return law
    height, width = size[-2] - 1, size[-1] - 1
    zero = torch.zeros(1, dtype=torch.float64)
    own, middle = centered(zero, zero, size, center)[2], centered(zero, zero, size)[2]
    shift_y, shift_x = (center[1] - 0.5) * height / middle, (center[0] - 0.5) * width / middle
    ratio = middle / own

    def moved(y: Tensor, x: Tensor) -> Position:
        source_y, source_x = law((y - shift_y) * ratio, (x - shift_x) * ratio)
        return source_y / ratio + shift_y, source_x / ratio + shift_x

    return moved


def chain(laws: Sequence[Warp]) -> Warp:
    """The law of warps applied one after the other: the last one sees the output position first."""

    def joined(y: Tensor, x: Tensor) -> Position:
        for law in reversed(laws):
            y, x = law(y, x)
        return y, x

    return joined


def resample(plane: Tensor, dy: Tensor, dx: Tensor, scale: tuple[float, float], warp: Warp) -> Tensor:
    """Bicubic samples of one plane (B, 1, H, W) at the warped positions; the border pixel is kept outside.

    Args:
        plane: the picture, with row i at centered position `dy[i]` and column j at `dx[j]`.
        dy: (H,).
        dx: (W,).
        scale: rows and columns per unit of `dy`, `dx`; negative where the picture runs backwards.
        warp: (output y, output x) -> (source y, source x).
    """
    base_x = torch.arange(len(dx), device=dx.device)
    strips = []
    for top in range(0, len(dy), STRIP):
        y, x = dy[top : top + STRIP].reshape(1, 1, -1, 1), dx.reshape(1, 1, 1, -1)
        base_y = torch.arange(top, top + y.shape[2], device=dy.device).reshape(-1, 1)
        source_y, source_x = warp(y, x)
        rows, columns = (source_y - y) * scale[0], (source_x - x) * scale[1]
        strips.append(_cubic(plane, (base_y, rows), (base_x, columns)))
    return torch.cat(strips, dim=-2)


def _cubic(plane: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """Keys' cubic convolution (a = -1/2) at (pixel, displacement) pairs; displacements (B or 1, 1, h, w).

    Displacements stay apart from the pixel numbers, which keeps their digits whatever the picture's size.
    """
    height, width = plane.shape[-2:]
    iy, ix = (base + shift.detach().floor().long() for base, shift in (rows, columns))
    wy, wx = (_keys(shift - shift.detach().floor()) for _, shift in (rows, columns))
    flat = plane.flatten(1)
    shape = (plane.shape[0], 1, *iy.shape[-2:])
    xs = [(ix + i - 1).clamp(0, width - 1) for i in range(4)]
    total = plane.new_zeros(shape)
    for j in range(4):
        start = (iy + j - 1).clamp(0, height - 1) * width
        line = plane.new_zeros(shape)
        for i in range(4):
            at = (start + xs[i]).expand(shape).reshape(shape[0], -1)
            line = line + wx[i] * flat.gather(1, at).reshape(shape)
        total = total + wy[j] * line
    return total


def _keys(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the pixels at -1, 0, 1, 2 for a position t in [0, 1) (Keys 1981)."""
    u = 1 - t
    return -0.5 * t * u * u, 1 - t * t * (2.5 - 1.5 * t), 1 - u * u * (2.5 - 1.5 * u), -0.5 * u * t * t
