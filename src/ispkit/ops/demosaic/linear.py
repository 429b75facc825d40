"""Linear demosaicing: every missing value is one fixed weighted sum of its neighborhood."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ispkit.ops.demosaic.layout import BLUE, GREEN_B, GREEN_R, RED, SITES, Site, split, weave

Kernel = tuple[tuple[float, ...], ...]
Taps = tuple[tuple[int, int, float], ...]

_KEEP: Kernel = ((1.0,),)
_CROSS: Kernel = ((0, 0.25, 0), (0.25, 0, 0.25), (0, 0.25, 0))
_DIAGONAL: Kernel = ((0.25, 0, 0.25), (0, 0, 0), (0.25, 0, 0.25))
_ROW: Kernel = ((0.5, 0, 0.5),)
_COLUMN: Kernel = ((0.5,), (0,), (0.5,))

# Malvar et al. 2004, figure 2, in eighths.
_GREEN: Kernel = ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0))
_SAME_ROW: Kernel = ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0))
_SAME_COLUMN: Kernel = tuple(zip(*_SAME_ROW, strict=True))
_OPPOSITE: Kernel = ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0))


def _sites(*, cross: Kernel, row: Kernel, column: Kernel, opposite: Kernel, scale: float) -> dict[Site, list[Taps]]:
    """Red, green and blue taps of each site: where the color is missing, and which neighbors have it."""
    keep = _taps(_KEEP, 1.0)
    green, across, upright, other = (_taps(k, scale) for k in (cross, row, column, opposite))
    return {
        RED: [keep, green, other],
        GREEN_R: [across, keep, upright],
        GREEN_B: [upright, keep, across],
        BLUE: [other, green, keep],
    }


def _taps(kernel: Kernel, scale: float) -> Taps:
    y0, x0 = len(kernel) // 2, len(kernel[0]) // 2
    return tuple((y - y0, x - x0, w * scale) for y, line in enumerate(kernel) for x, w in enumerate(line) if w)


_BILINEAR = _sites(cross=_CROSS, row=_ROW, column=_COLUMN, opposite=_DIAGONAL, scale=1.0)
_MALVAR = _sites(cross=_GREEN, row=_SAME_ROW, column=_SAME_COLUMN, opposite=_OPPOSITE, scale=1 / 8)

HALO = 2
"""mirrored pixels around the picture; both methods look at most 2 pixels away"""


def bilinear(mosaic: Tensor, cfa: str) -> Tensor:
    """Mean of the 2 or 4 nearest samples of each missing color: (B, 1, H, W) -> (B, 3, H, W).

    Linear, not clipped; measured samples pass unchanged. Outside the picture its mirror image about
    the edge pixels is used.
    """
    return _filter(mosaic, cfa, _BILINEAR)


def malvar2004(mosaic: Tensor, cfa: str) -> Tensor:
    """High-quality linear interpolation with 5x5 kernels: (B, 1, H, W) -> (B, 3, H, W).

    Linear, not clipped (edges overshoot); measured samples pass unchanged. Outside the picture its
    mirror image about the edge pixels is used.

    Reference: Malvar, He, Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned
    color images", ICASSP 2004.
    """
    return _filter(mosaic, cfa, _MALVAR)


def _filter(mosaic: Tensor, cfa: str, sites: dict[Site, list[Taps]]) -> Tensor:
    layout, planes = split(mosaic, cfa, HALO)
    inner = replace(layout, halo=0)
    return weave(inner, {s: [_weighted(planes, s, taps, inner.cells) for taps in sites[s]] for s in SITES})


def _weighted(planes: dict[Site, Tensor], site: Site, taps: Taps, cells: tuple[int, int]) -> Tensor:
    """Sum of weighted neighbors of a site, for the cells without their halo."""
    (first, weight), *others = [(_view(planes, site[0] + dy, site[1] + dx, cells), w) for dy, dx, w in taps]
    total = first * weight
    for view, w in others:
        total.add_(view, alpha=w)
    return total


def _view(planes: dict[Site, Tensor], y: int, x: int, cells: tuple[int, int]) -> Tensor:
    """The samples at `(y, x)` relative to each cell's red site."""
    (y, x), (rows, columns) = (y + HALO, x + HALO), cells
    return planes[y % 2, x % 2][..., y // 2 : y // 2 + rows, x // 2 : x // 2 + columns]
