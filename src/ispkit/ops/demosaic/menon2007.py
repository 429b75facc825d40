"""Directional filtering with a posteriori decision (Menon, Andriani, Calvagno 2007)."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.demosaic.directional import at_greens, green_along, mean_along
from ispkit.ops.demosaic.layout import (
    BLUE,
    COLUMN,
    GREEN_B,
    GREEN_R,
    RED,
    ROW,
    SITES,
    Layout,
    Planes,
    Site,
    beside,
    neighbors,
    shift,
    split,
    weave,
)

HALO = 16
"""mirrored pixels around the picture: one cell for each of the eight steps that look aside"""


def menon2007(mosaic: Tensor, cfa: str, refine: bool = True) -> Tensor:
    """Green along rows and along columns, then the axis on which color varies less: (B, 3, H, W).

    Reads (B, 1, H, W), linear and white balanced, in any scale; not clipped; measured samples pass
    unchanged. `refine` smooths the color differences along the chosen axis. Differentiable but for the
    choice of axis. Outside the picture its mirror image is used, and the choice sees no color variation.

    Reference: Menon, Andriani, Calvagno, "Demosaicing with directional filtering and a posteriori
    decision", IEEE Trans. Image Processing 16 (2007) 132-141.
    """
    layout, planes = split(mosaic, cfa, HALO)
    along_row, green = _choose_green(layout, planes)
    red = {RED: planes[RED], **at_greens(planes[RED], RED, green)}
    blue = {BLUE: planes[BLUE], **at_greens(planes[BLUE], BLUE, green)}
    greens = {site: red[site] - blue[site] for site in (GREEN_R, GREEN_B)}
    red[BLUE] = blue[BLUE] + _along(along_row, greens, BLUE)
    blue[RED] = red[RED] - _along(along_row, greens, RED)
    if refine:
        _refine(along_row, red, green, blue)
    return weave(layout, {site: (red[site], green[site], blue[site]) for site in SITES})


def _choose_green(layout: Layout, planes: Planes) -> tuple[Planes, Planes]:
    """Whether the row won, at red and blue; and green at all sites."""
    candidates, activity = {}, {}
    for dim in (ROW, COLUMN):
        candidates[dim] = {site: green_along(planes, site, dim) for site in (RED, BLUE)}
        varies = {s: _variation(layout, planes[s] - g, s, dim) for s, g in candidates[dim].items()}
        activity[dim] = {site: _activity(varies, site, dim) for site in (RED, BLUE)}
    along_row = {s: layout.mirrored(activity[COLUMN][s] >= activity[ROW][s], s) for s in (RED, BLUE)}
    green = {s: torch.where(along_row[s], candidates[ROW][s], candidates[COLUMN][s]) for s in (RED, BLUE)}
    return along_row, {**green, GREEN_R: planes[GREEN_R], GREEN_B: planes[GREEN_B]}


def _variation(layout: Layout, difference: Tensor, site: Site, dim: int) -> Tensor:
    """How much the color difference changes to the next pixel of the same color; 0 outside the picture."""
    change = (difference - shift(difference, dim, 1)).detach().abs_()
    return layout.zero_outside(change, site)


def _activity(varies: Planes, site: Site, dim: int) -> Tensor:
    """Variation summed over a 5x5 window around a site, the own line weighing three."""
    across = COLUMN if dim == ROW else ROW
    own = varies[site] + shift(varies[site], dim, -1)
    green = beside(site, across)
    other = {green: neighbors(varies, green, dim)[0]}
    before, after = neighbors(other, site, across)
    return (3 * own).add_(shift(own, across, -1)).add_(shift(own, across, 1)).add_(before).add_(after)


def _along(along_row: Planes, greens: Planes, site: Site, center: Tensor | None = None) -> Tensor:
    """Mean at red or blue of the two green neighbors on the chosen axis, and of `center` if given."""
    mean = torch.where(along_row[site], mean_along(greens, site, ROW), mean_along(greens, site, COLUMN))
    return mean if center is None else (2 * mean + center) / 3


def _refine(along_row: Planes, red: Planes, green: Planes, blue: Planes) -> None:
    """Replace every estimate by the measured sample and color differences smoothed along the chosen axis."""
    for site, color in ((RED, red), (BLUE, blue)):
        greens = {s: color[s] - green[s] for s in (GREEN_R, GREEN_B)}
        green[site] = color[site] - _along(along_row, greens, site, color[site] - green[site])
    red |= at_greens(red[RED], RED, green)
    blue |= at_greens(blue[BLUE], BLUE, green)
    difference = {site: red[site] - blue[site] for site in SITES}
    red[BLUE] = blue[BLUE] + _along(along_row, difference, BLUE, difference[BLUE])
    blue[RED] = red[RED] - _along(along_row, difference, RED, difference[RED])
