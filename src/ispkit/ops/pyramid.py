"""Gaussian and Laplacian pyramids with the 5-tap binomial (Burt, Adelson, IEEE Trans. Comm. 1983)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ispkit.ops.blur import pad_reflect

_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def reduce(image: Tensor) -> Tensor:
    """Blur and keep every second row and column, from the first: (B, C, H, W) -> half the size, rounded up."""
    for dim in (-2, -1):
        size = image.shape[dim]
        padded = pad_reflect(image, *((2, 0) if dim == -2 else (0, 2)))
        total = _every_second(padded, dim, 0, size) * _TAPS[0]
        for i in range(1, 5):
            total.add_(_every_second(padded, dim, i, size), alpha=_TAPS[i])
        image = total
    return image


def expand(image: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate to `size` = (..., H, W), twice the size or one less; the border is replicated."""
    for dim, length in ((-2, size[-2]), (-1, size[-1])):
        count = image.shape[dim]
        border = (0, 0, 1, 1) if dim == -2 else (1, 1, 0, 0)
        padded = torch.nn.functional.pad(image, border, mode="replicate")
        before, after = padded.narrow(dim, 0, count), padded.narrow(dim, 2, count)
        even = (before + after).mul(1 / 8).add(image, alpha=6 / 8)
        odd = (image + after) * 0.5
        both = torch.stack((even, odd), dim=dim)
        image = both.flatten(dim - 1, dim).narrow(dim, 0, length)
    return image


def gaussian_pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """The picture and `levels` halvings of it."""
    pyramid = [image]
    for _ in range(levels):
        pyramid.append(reduce(pyramid[-1]))
    return pyramid


def laplacian_pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """`levels` band-pass pictures, finest first, and the coarse rest."""
    means = gaussian_pyramid(image, levels)
    bands = [fine - expand(coarse, fine.shape) for fine, coarse in pairwise(means)]
    return [*bands, means[-1]]


def collapse(bands: Sequence[Tensor]) -> Tensor:
    """The picture whose `laplacian_pyramid` is `bands`."""
    image = bands[-1]
    for band in reversed(bands[:-1]):
        image = band + expand(image, band.shape)
    return image


def reach(levels: int) -> int:
    """How far, in pixels, a pyramid of `levels` halvings that is built and collapsed carries a change."""
    return 4 * ((1 << levels) - 1)


def _every_second(padded: Tensor, dim: int, start: int, size: int) -> Tensor:
    part = padded.narrow(dim, start, size)
    return part[..., ::2, :] if dim == -2 else part[..., ::2]
