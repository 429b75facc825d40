"""Defect photosites: found by comparison with their same-color neighbors, or listed; replaced by interpolation.

On a Bayer array the eight photosites two rows or columns away have the same color, whatever the pattern.
Reference for the median-type test among them: J. Goma, M. Aleksic, "Method and apparatus for defect
correction in image sensors", 2006; for the direction of least change, H. Hamilton, J. Adams 1997.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from ispkit.ops.blur import pad_reflect
from ispkit.ops.values import per_image

REACH = 2
PAIRS = ((0, 2), (2, 0), (2, 2), (2, -2))
"""steps (rows, columns) to one end of each line through a pixel; the other end lies opposite"""
_BEHIND = 1e6
_WIDE = 4
"""how far, in px, a listed pixel looks for good neighbors"""


def surroundings(mosaic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Largest and smallest of the eight same-color neighbors, and what should stand between them.

    The last is the mean of the opposite pair that differs least. All have the shape (B, 1, H, W) of the input.
    """
    p = pad_reflect(mosaic, REACH)
    high = low = best = value = mosaic
    for i, (dy, dx) in enumerate(PAIRS):
        a, b = _moved(p, dy, dx), _moved(p, -dy, -dx)
        larger, smaller = torch.maximum(a, b), torch.minimum(a, b)
        spread = _outside_last((larger - smaller).detach(), dy, dx)
        if i == 0:
            high, low, best, value = larger, smaller, spread, 0.5 * (a + b)
            continue
        high, low = torch.maximum(high, larger), torch.minimum(low, smaller)
        value = torch.where(spread < best, 0.5 * (a + b), value)
        best = torch.minimum(best, spread)
    return high, low, value


def correct(mosaic: Tensor, around: tuple[Tensor, Tensor, Tensor], tolerance: Tensor, *, cold: bool = True) -> Tensor:
    """Replace photosites that stick out of their eight same-color neighbors.

    One that exceeds the largest neighbor by `tolerance` (or stays below the smallest, if `cold`) begins to be
    replaced, one that exceeds it by twice that is replaced completely.

    Args:
        mosaic: (B, 1, H, W).
        around: what `surroundings` says of it.
        tolerance: > 0, broadcastable to the mosaic.
        cold: also correct dark ones.
    """
    high, low, value = around
    excess = mosaic - high
    if cold:
        excess = torch.maximum(excess, low - mosaic)
    return mosaic + (excess / tolerance - 1).clamp(0, 1) * (value - mosaic)


def _outside_last(spread: Tensor, dy: int, dx: int) -> Tensor:
    """Make pairs that the border mirrors the last choice: their ends are equal by construction."""
    for dim, reach in ((-2, dy), (-1, dx)):
        size = spread.shape[dim]
        if reach:
            spread.narrow(dim, 0, min(REACH, size)).add_(_BEHIND)
            spread.narrow(dim, max(size - REACH, 0), min(REACH, size)).add_(_BEHIND)
    return spread


def _moved(padded: Tensor, dy: int, dx: int) -> Tensor:
    height, width = padded.shape[-2] - 2 * REACH, padded.shape[-1] - 2 * REACH
    return padded[..., REACH + dy : REACH + dy + height, REACH + dx : REACH + dx + width]


def correct_listed(picture: Tensor, points: Tensor) -> Tensor:
    """Replace the listed photosites of one mosaic (1, 1, H, W); `points` (N, 2) are its rows and columns.

    The value is the mean of the opposite pair, both good, that differs least; without such a pair the mean of
    good same-color neighbors up to 4 px away, nearer ones weighing more; without any, the old value.
    """
    if not len(points):
        return picture
    image = picture[0, 0]
    good = torch.ones_like(image, dtype=torch.bool)
    good[points[:, 0], points[:, 1]] = False
    best = torch.full((len(points),), torch.inf, device=image.device, dtype=image.dtype)
    value = _near_mean(image, good, points)
    for dy, dx in PAIRS:
        (a, a_good), (b, b_good) = (_looked_up(image, good, points, s * dy, s * dx) for s in (1, -1))
        spread = torch.where(a_good & b_good, (a - b).abs(), torch.inf)
        value = torch.where(spread < best, 0.5 * (a + b), value)
        best = torch.minimum(best, spread)
    return picture.index_put(_index(points), value)


def _index(points: Tensor) -> tuple[Tensor, ...]:
    zero = torch.zeros_like(points[:, 0])
    return zero, zero, points[:, 0], points[:, 1]


def _looked_up(image: Tensor, good: Tensor, points: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """Values (N,) at an offset from the points, and whether they are inside and good."""
    rows, columns = points[:, 0] + dy, points[:, 1] + dx
    inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    rows, columns = rows.clamp(0, image.shape[0] - 1), columns.clamp(0, image.shape[1] - 1)
    return image[rows, columns], inside & good[rows, columns]


def _near_mean(image: Tensor, good: Tensor, points: Tensor) -> Tensor:
    total = torch.zeros(len(points), device=image.device, dtype=image.dtype)
    weight = total.clone()
    steps = range(-_WIDE, _WIDE + 1, 2)
    for dy, dx in product(steps, steps):
        if dy or dx:
            value, usable = _looked_up(image, good, points, dy, dx)
            share = usable / float(dy * dy + dx * dx) ** 2
            total, weight = total + share * value, weight + share
    return torch.where(weight > 0, total / weight.clamp(min=1e-12), image[points[:, 0], points[:, 1]])


def tolerance(variance: Tensor, sigmas: float | Tensor, floor: float | Tensor) -> Tensor:
    """How far a photosite may stick out: floor + sigmas x the noise's standard deviation."""
    return per_image(floor, variance) + per_image(sigmas, variance) * variance.clamp(min=1e-12).sqrt()
