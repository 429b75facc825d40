"""Residual interpolation with a local gain between colors (after Kiku et al. 2014)."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.blur import box_filter
from ispkit.ops.demosaic.directional import bend, mean_along
from ispkit.ops.demosaic.layout import (
    BLUE,
    COLUMN,
    RED,
    ROW,
    SITES,
    Planes,
    Site,
    beside,
    corners,
    neighbors,
    shift,
    split,
    weave,
)

HALO = 32
"""mirrored pixels around the picture: sixteen cells looked aside"""

RADIUS = 2
"""half width of the windows in which gains are fitted and averaged, in cells of 2 px"""

FLAT = 4e-4
"""mean squared curvature below which a window says nothing about the gain, for signals in [0, 1]"""

FALLOFF = (6 / 20, 5 / 20, 4 / 20, 3 / 20, 2 / 20)
"""weights of the color differences 0 to 4 px away"""


def mlri(mosaic: Tensor, cfa: str) -> Tensor:
    """Colors differ locally by a gain and an offset, green follows the calmer sides: (B, 3, H, W).

    Reads (B, 1, H, W), linear and white balanced, in [0, 1] (a fitted gain falls back to 1 where the
    window is flat on that scale); not clipped; measured samples pass unchanged. Nothing is chosen, so it
    is differentiable almost everywhere. Outside the picture its mirror image is used.

    The gain minimizes the Laplacian energy of the residual (Kiku, Monno, Tanaka, Okutomi,
    "Minimized-Laplacian residual interpolation for color image demosaicking", SPIE 9023, 2014); the four
    sides are weighted as in Pekkucuksen, Altunbasak, "Gradient based threshold free color filter array
    interpolation", ICIP 2010. Ours are the half-size planes on which it is done and the constants.
    """
    layout, planes = split(mosaic, cfa, HALO)
    green = {**planes, **_green(planes)}
    red, blue = _chroma(planes[RED], RED, green), _chroma(planes[BLUE], BLUE, green)
    return weave(layout, {site: (red[site], green[site], blue[site]) for site in SITES})


def _green(planes: Planes) -> Planes:
    """Green at red and blue: the own color plus the weighted mean of the differences on the four sides."""
    total = {site: torch.zeros_like(planes[site]) for site in (RED, BLUE)}
    weight = dict(total)
    for dim in (ROW, COLUMN):
        difference: Planes = {}
        for site in (RED, BLUE):
            difference |= _difference(planes, site, dim)
        activity = _activity(difference, dim)
        for site in (RED, BLUE):
            for step in (-1, 1):
                calm = 1 / (_side(activity, site, dim, step, (1.0,) * 5).square() + 1e-10)
                total[site] = total[site] + calm * _side(difference, site, dim, step, FALLOFF)
                weight[site] = weight[site] + calm
    return {site: planes[site] + total[site] / weight[site] for site in (RED, BLUE)}


def _difference(planes: Planes, site: Site, dim: int) -> Planes:
    """Green minus red (or blue), at red (blue) and at the green beside it, from the line along `dim`."""
    at_green = beside(site, dim)
    color, green = planes[site], planes[at_green]
    between = {site: mean_along(planes, site, dim), at_green: mean_along(planes, at_green, dim)}
    green_here = _carry(green, between[at_green], color, (site, dim))
    color_there = _carry(color, between[site], green, (at_green, dim))
    return {site: green_here - color, at_green: green - color_there}


def _carry(known: Tensor, guide: Tensor, guide_there: Tensor, to: tuple[Site, int]) -> Tensor:
    """A color carried to the site beside it: gain times the guide there, plus the mean residual around."""
    site, dim = to
    gain = _gain(known, guide, (dim,))
    source = beside(site, dim)
    return mean_along({source: gain}, site, dim) * guide_there + mean_along({source: known - gain * guide}, site, dim)


def _gain(color: Tensor, guide: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The factor on the guide that leaves the least curvature in color - factor * guide, near each cell."""
    of_color, of_guide = (bend(p, dims[0]) + sum(bend(p, d) for d in dims[1:]) for p in (color, guide))
    fitted = (box_filter(of_color * of_guide, RADIUS) + FLAT) / (box_filter(of_guide.square(), RADIUS) + FLAT)
    return box_filter(fitted, RADIUS)


def _activity(difference: Planes, dim: int) -> Planes:
    """Change of the color difference along `dim`, summed over five lines."""
    across = COLUMN if dim == ROW else ROW
    change: Planes = {}
    for site in SITES:
        before, after = neighbors(difference, site, dim)
        change[site] = (before - after).abs_()
    lines: Planes = {}
    for site, own in change.items():
        before, after = neighbors(change, site, across)
        lines[site] = own + shift(own, across, -1) + shift(own, across, 1) + before + after
    return lines


def _side(planes: Planes, site: Site, dim: int, step: int, weights: tuple[float, ...]) -> Tensor:
    """Weighted sum of the site and the four pixels on one side of it along `dim`."""
    own, near = planes[site], neighbors(planes, site, dim)[step > 0]
    total = own * weights[0] + near * weights[1]
    total.add_(shift(own, dim, step), alpha=weights[2]).add_(shift(near, dim, step), alpha=weights[3])
    return total.add_(shift(own, dim, 2 * step), alpha=weights[4])


def _chroma(color: Tensor, home: Site, green: Planes) -> Planes:
    """Red (home `RED`) or blue everywhere: gain times green, plus the mean residual around."""
    gain = _gain(color, green[home], (ROW, COLUMN))
    residual = color - gain * green[home]
    found = {home: color}
    for dim in (ROW, COLUMN):
        site = beside(home, dim)
        found[site] = mean_along({home: gain}, site, dim) * green[site] + mean_along({home: residual}, site, dim)
    far = (1 - home[0], 1 - home[1])
    found[far] = _mean_of_corners({home: gain}, far) * green[far] + _mean_of_corners({home: residual}, far)
    return found


def _mean_of_corners(planes: Planes, site: Site) -> Tensor:
    a, b, c, d = corners(planes, site)
    return (a + b).add_(c).add_(d).mul_(0.25)
