"""NLPD: distance in a Laplacian pyramid that is normalized as the early visual system does it; needs no weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.metrics.base import check_pair, check_size, full_precision, luma, per_picture_mean, safe_sqrt

LEVELS = 6
"""five bands and the low-pass rest"""
_TAPS = (0.05, 0.25, 0.4, 0.25, 0.05)  # Burt, Adelson 1983
# Of the authors' code (NLP_dist.m), learned on the McGill data set, per level, finest first: the constant, and the
# weights of the neighbors' magnitudes above, left, right, below and two to the right.
_SIGMAS = (0.0248, 0.0185, 0.0179, 0.0191, 0.0220, 0.2782)
_NEIGHBORS = (
    (0.1011, 0.1493, 0.1460, 0.1015, 0.0072),
    (0.0757, 0.1986, 0.1846, 0.0837, 0.0),
    (0.0477, 0.2138, 0.2243, 0.0467, 0.0),
    (0.0, 0.2503, 0.2616, 0.0, 0.0),
    (0.0, 0.2598, 0.2552, 0.0, 0.0),
    (0.0, 0.2215, 0.0717, 0.0, 0.0),
)


@full_precision
def nlpd(picture: Tensor, reference: Tensor, *, data_range: float) -> Tensor:
    """Normalized Laplacian pyramid distance, (B, 3, H, W) encoded RGB -> (B,), [0, inf), lower is better.

    0 if identical; on BT.601 luma. The mean over six levels of the root mean square difference. Laparra, Ballé,
    Berardino, Simoncelli, Perceptual image quality assessment using a normalized Laplacian pyramid, 2016, with the
    filters and constants of the authors' code.
    """
    return torch.stack(
        [safe_sqrt(per_picture_mean(d.square())) for d in nlpd_bands(picture, reference, data_range)]
    ).mean(0)


def nlpd_bands(picture: Tensor, reference: Tensor, data_range: float = 1.0) -> list[Tensor]:
    """Picture minus reference in the six normalized levels, finest first, each (B, 1, h, w)."""
    a, b = check_pair(picture, reference, data_range, channels=3)
    check_size(a, 2, "nlpd")
    return [x - y for x, y in zip(normalized_pyramid(luma(a)), normalized_pyramid(luma(b)), strict=True)]


def normalized_pyramid(plane: Tensor) -> list[Tensor]:
    """The levels of a plane (B, 1, H, W) in [0, 1], each divided by what is around it."""
    levels = []
    for _ in range(LEVELS - 1):
        smaller = _halved(plane)
        levels.append(plane - _doubled(smaller, plane.shape[-2:]))
        plane = smaller
    return [_normalized(level, i) for i, level in enumerate([*levels, plane])]


def _normalized(level: Tensor, index: int) -> Tensor:
    """Divide by sigma plus the weighted magnitudes of the neighbors; beyond the border there are none."""
    up, left, right, down, far = _NEIGHBORS[index]
    kernel = level.new_zeros(5, 5)
    # the authors convolve, which turns their table around; this is a correlation
    kernel[3, 2], kernel[2, 3], kernel[2, 1], kernel[1, 2], kernel[2, 0] = up, left, right, down, far
    around = F.conv2d(level.abs(), kernel[None, None], padding=2)
    return level / (_SIGMAS[index] + around)


def _halved(plane: Tensor) -> Tensor:
    """Blur with a mirrored border (edge pixels repeated) and keep every second pixel."""
    taps = plane.new_tensor(_TAPS)
    for dim in (-2, -1):
        size = plane.shape[dim]
        index = torch.arange(-2, size + 2, device=plane.device)
        index = torch.remainder(index, 2 * size)
        padded = plane.index_select(dim, torch.minimum(index, 2 * size - 1 - index))
        rows = padded.unfold(dim, 5, 2)
        plane = (rows * taps).sum(-1)
    return plane


def _doubled(plane: Tensor, size: torch.Size) -> Tensor:
    """Twice as fine, to `size`: zeros between the pixels, edges repeated, blurred."""
    outer, inner, middle = (2 * t for t in _TAPS[:3])
    for dim, length in ((-2, size[0]), (-1, size[1])):
        count = plane.shape[dim]
        wide = torch.cat([plane.narrow(dim, 0, 1), plane, plane.narrow(dim, count - 1, 1)], dim)
        before, after = wide.narrow(dim, 0, count), wide.narrow(dim, 2, count)
        even, odd = outer * (before + after) + middle * plane, inner * (plane + after)
        plane = torch.stack((even, odd), dim=dim).flatten(dim - 1, dim).narrow(dim, 0, length)
    return plane
