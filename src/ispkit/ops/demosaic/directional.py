"""What the direction-choosing methods share: green along one axis, and colors carried along green."""

from __future__ import annotations

from torch import Tensor

from ispkit.ops.demosaic.layout import COLUMN, ROW, Planes, Site, beside, neighbors, shift


def mean_along(planes: Planes, site: Site, dim: int) -> Tensor:
    """Mean of the two pixels around a site along `dim`."""
    before, after = neighbors(planes, site, dim)
    return (before + after).mul_(0.5)


def bend(plane: Tensor, dim: int) -> Tensor:
    """Second difference of one color, 2 x(0) - x(-2) - x(+2) in pixels."""
    return 2 * plane - shift(plane, dim, -1) - shift(plane, dim, 1)


def green_along(planes: Planes, site: Site, dim: int) -> Tensor:
    """Green at red or blue from one axis: neighbors' mean plus a quarter of the own color's second difference.

    Reference: Hamilton, Adams, "Adaptive color plane interpolation in single sensor color electronic
    camera", US patent 5,629,734 (1997).
    """
    return mean_along(planes, site, dim).add_(bend(planes[site], dim), alpha=0.25)


def at_greens(color: Tensor, home: Site, green: Planes) -> Planes:
    """Red (home `RED`) or blue at the green sites: green plus the mean color difference of the two neighbors."""
    difference = {home: color - green[home]}
    sites = {dim: beside(home, dim) for dim in (ROW, COLUMN)}
    return {site: green[site] + mean_along(difference, site, dim) for dim, site in sites.items()}
