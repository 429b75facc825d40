"""Adaptive color plane interpolation (Hamilton and Adams 1997)."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.demosaic.directional import at_greens, bend, green_along
from ispkit.ops.demosaic.layout import BLUE, COLUMN, RED, ROW, SITES, Planes, Site, corners, neighbors, split, weave

HALO = 6
"""mirrored pixels around the picture"""


def hamilton_adams(mosaic: Tensor, cfa: str) -> Tensor:
    """Green along the axis of smaller gradient, red and blue along green: (B, 1, H, W) -> (B, 3, H, W).

    Linear and white balanced, in any scale; not clipped; measured samples pass unchanged; the mean of
    both where gradients tie. Differentiable but for the choice. Outside the picture its mirror image is used.

    Reference: Hamilton, Adams, US patent 5,629,734 (1997); the chrominance step is that of Adams,
    Hamilton, US patent 5,652,621 (1997).
    """
    layout, planes = split(mosaic, cfa, HALO)
    green = {**planes, **{site: _green(planes, site) for site in (RED, BLUE)}}
    red = {RED: planes[RED], **at_greens(planes[RED], RED, green)}
    blue = {BLUE: planes[BLUE], **at_greens(planes[BLUE], BLUE, green)}
    red[BLUE] = _across(planes, green, BLUE)
    blue[RED] = _across(planes, green, RED)
    return weave(layout, {site: (red[site], green[site], blue[site]) for site in SITES})


def _green(planes: Planes, site: Site) -> Tensor:
    gradients = []
    for dim in (ROW, COLUMN):
        before, after = neighbors(planes, site, dim)
        gradients.append((before - after).abs_() + bend(planes[site], dim).abs_())
    return _smoother(gradients, [green_along(planes, site, dim) for dim in (ROW, COLUMN)])


def _across(color: Planes, green: Planes, site: Site) -> Tensor:
    """Red at blue or blue at red, along the diagonal of smaller gradient."""
    c, g = corners(color, site), corners(green, site)
    gradients, means = [], []
    for one, other in ((0, 3), (1, 2)):
        curve = 2 * green[site] - g[one] - g[other]
        gradients.append((c[one] - c[other]).abs_() + curve.abs())
        means.append((c[one] + c[other] + curve) * 0.5)
    return _smoother(gradients, means)


def _smoother(gradients: list[Tensor], values: list[Tensor]) -> Tensor:
    """Of two values the one with the smaller gradient; their mean where the gradients are equal."""
    first, second = gradients
    weight = torch.where(first == second, 0.5, (first < second).to(first.dtype))
    return torch.lerp(values[1], values[0], weight)
