"""Non-local means as a loop over shifts, each a few whole-picture operations.

Buades, Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005; box-filtered distances of one
shift at a time by Darbon et al., ISBI 2008, and Froment, IPOL 2014. A shift and its opposite share weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ispkit.ops.blur import pad_reflect, separable_valid
from ispkit.ops.values import per_image

Window = Mapping[tuple[int, int], float | Tensor]
"""(rows down, columns right) of half the neighbors -> weight; the other half mirrors it, the center has 1"""
Group = tuple[Tensor, float | Tensor]
"""(picture to average (B, C, H, W), falloff of its weights with the squared distance)"""


def non_local_means(image: Tensor, guide: Tensor, strength: float | Tensor, *, window: Window, patch: Tensor) -> Tensor:
    """Average pixels whose patches look alike: weight = window * exp(-distance / strength^2).

    Args:
        image: (B, C, H, W) what is averaged.
        guide: (B, G, H, W) where patches are compared; distance = mean squared difference over the
            patch and the channels.
        strength: in units of the guide; scalar or (B,).
        window: by `square_window` or `disk_window`.
        patch: weights over the rows and columns of a patch, (1, odd number of taps), as by
            `ops.blur.box_kernel` or `gaussian_kernel`; `box_kernel(0, image)` compares single pixels.
    """
    falloff = falloff_of(strength, image)
    return shift_means([(image, falloff)], guide, window=window, patch=patch)[0]


def falloff_of(strength: float | Tensor, like: Tensor) -> Tensor:
    """1 / strength^2, finite at 0 (where only equal patches keep a weight)."""
    return 1 / (per_image(strength, like).square() + 1e-12)


def square_window(radius: int) -> dict[tuple[int, int], float | Tensor]:
    """All neighbors of the square of `2 radius + 1` pixels, weight 1."""
    return dict.fromkeys(_half_plane(radius), 1.0)


def disk_window(radius: float | Tensor, reach: int) -> dict[tuple[int, int], float | Tensor]:
    """A round bell (1 - r^2 / (radius + 1)^2)^2 of radius px, scalar or (B,): smooth in the radius.

    `reach` is at least the largest radius, rounded up; neighbors further away than that have weight 0.
    """
    weights: dict[tuple[int, int], float | Tensor] = {}
    for dy, dx in _half_plane(reach):
        distance = dy * dy + dx * dx
        if isinstance(radius, Tensor):
            if distance < (reach + 1) ** 2:
                weights[dy, dx] = (1 - distance / (radius + 1).square()).clamp(min=0).square()
        elif distance < (radius + 1) ** 2:
            weights[dy, dx] = (1 - distance / (radius + 1) ** 2) ** 2
    return weights


def gaussian_window(sigma: float, radius: int) -> dict[tuple[int, int], float | Tensor]:
    """Square of `2 radius + 1` pixels with the weights of a Gaussian of `sigma` px."""
    return {(dy, dx): math.exp(-(dy * dy + dx * dx) / (2 * sigma**2)) for dy, dx in _half_plane(radius)}


def shift_means(groups: Sequence[Group], guide: Tensor, *, window: Window, patch: Tensor) -> list[Tensor]:
    """Weighted means of several pictures that share the distances between the guide's patches."""
    reach = max([max(dy, abs(dx)) for dy, dx in window], default=0)
    padded = pad_reflect(guide, reach + patch.shape[-1] // 2)
    pictures = [pad_reflect(image, reach) for image, _ in groups]
    totals = [image.clone() for image, _ in groups]
    weights = [torch.ones_like(image[:, :1]) for image, _ in groups]
    height, width = guide.shape[-2:]
    for (dy, dx), share in window.items():
        distance = _distances(padded, (dy, dx), patch, reach)
        left, right = max(dx, 0), max(-dx, 0)
        for i, (_, falloff) in enumerate(groups):
            alike = torch.exp(distance * -falloff) * per_image(share, guide)
            there, back = alike[..., dy:, left : left + width], alike[..., :height, right : right + width]
            for weight, y, x in ((there, reach + dy, reach + dx), (back, reach - dy, reach - dx)):
                totals[i].addcmul_(weight, pictures[i][..., y : y + height, x : x + width])
                weights[i].add_(weight)
    return [total / weight for total, weight in zip(totals, weights, strict=True)]


def _distances(padded: Tensor, shift: tuple[int, int], patch: Tensor, reach: int) -> Tensor:
    """Patch distance between p and p + shift, for p of the picture and those that reach it by the shift."""
    (dy, dx), border = shift, patch.shape[-1] - 1
    height = padded.shape[-2] - 2 * reach + dy
    width = padded.shape[-1] - 2 * reach + abs(dx)
    y, x = reach - dy, reach - max(dx, 0)
    here = padded[..., y : y + height, x : x + width]
    there = padded[..., y + dy : y + dy + height, x + dx : x + dx + width]
    squares = (here - there).square().mean(dim=-3, keepdim=True)
    return separable_valid(squares, patch) if border else squares


def _half_plane(radius: int) -> list[tuple[int, int]]:
    """Every shift of the square once, leaving out its opposite and the center."""
    return [(dy, dx) for dy in range(radius + 1) for dx in range(-radius, radius + 1) if dy > 0 or dx > 0]
