"""A mosaic as its four color planes, mirrored about its edges, and the way back to a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError

Site = tuple[int, int]
Planes = dict[Site, Tensor]
RED, GREEN_R, GREEN_B, BLUE = (0, 0), (0, 1), (1, 0), (1, 1)
"""Sites of a 2x2 cell that starts at red; `GREEN_R` is the green beside red, `GREEN_B` the one below."""
SITES = (RED, GREEN_R, GREEN_B, BLUE)

ROW, COLUMN = -1, -2
"""Tensor dims along which one looks: within a row (left, right), within a column (up, down)."""

_RED_AT = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}


@dataclass(frozen=True)
class Layout:
    """Where a picture of `size` sits in padded planes whose first cell starts at a red site.

    The border rule of every method: the picture continues as its mirror image about the center of its
    edge pixels (d c b | a b c d), so every color stays on its own sites. `halo` is even.
    """

    size: tuple[int, int]
    red_at: tuple[int, int]
    halo: int

    @property
    def origin(self) -> tuple[int, int]:
        """Padded row and column of the picture's top-left pixel."""
        return self.halo + self.red_at[0], self.halo + self.red_at[1]

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of 2x2 cells, halo included."""
        (height, width), (top, left) = self.size, self.origin
        return (top + height + self.halo + 1) // 2, (left + width + self.halo + 1) // 2

    def inside(self, site: Site) -> tuple[slice, slice]:
        """The rows and columns of a site's plane that lie in the picture."""
        spans = []
        for axis in (0, 1):
            start = (self.origin[axis] - site[axis] + 1) // 2
            count = (self.size[axis] - (site[axis] - self.origin[axis]) % 2 + 1) // 2
            spans.append(slice(start, start + count))
        return spans[0], spans[1]

    def mirrored(self, plane: Tensor, site: Site) -> Tensor:
        """A site's plane with everything outside the picture replaced by the mirror image of the inside."""
        for axis in (0, 1):
            offset, length = self.origin[axis] - site[axis], self.size[axis]
            source = [(_reflect(2 * cell - offset, length) + offset) // 2 for cell in range(self.cells[axis])]
            plane = plane.index_select(axis - 2, torch.tensor(source, device=plane.device))
        return plane

    def zero_outside(self, plane: Tensor, site: Site) -> Tensor:
        """A site's plane with zeros outside the picture."""
        rows, columns = self.inside(site)
        height, width = self.cells
        margins = (columns.start, width - columns.stop, rows.start, height - rows.stop)
        return torch.nn.functional.pad(plane[..., rows, columns], margins)


def split(mosaic: Tensor, cfa: str, halo: int) -> tuple[Layout, Planes]:
    """Cut (B, 1, H, W) into padded planes (B, 1, h, w) by site. Raises `ShapeError`, `ParamError`.

    `halo` is the least number of mirrored pixels around the picture, an even number.
    """
    if mosaic.ndim != 4 or mosaic.shape[1] != 1 or min(mosaic.shape[-2:]) < 2:
        raise ShapeError(f"demosaic reads (B, 1, H, W) with H, W at least 2, got {tuple(mosaic.shape)}")
    if cfa not in _RED_AT:
        raise ParamError(f"cfa={cfa!r} is not a Bayer pattern; use one of {', '.join(_RED_AT)}")
    layout = Layout((int(mosaic.shape[-2]), int(mosaic.shape[-1])), _RED_AT[cfa], halo)
    padded = mosaic
    for axis in (0, 1):
        padded = _mirror_pad(padded, axis, layout)
    cells = torch.nn.functional.pixel_unshuffle(padded, 2)
    return layout, {site: cells[:, i : i + 1] for i, site in enumerate(SITES)}


def weave(layout: Layout, colors: Mapping[Site, Sequence[Tensor]]) -> Tensor:
    """Red, green and blue planes by site back to a picture (B, 3, H, W), halo removed."""
    like = colors[RED][0]
    out = like.new_empty(like.shape[0], 3, *layout.size)
    for site, planes in colors.items():
        rows, columns = layout.inside(site)
        y, x = ((site[i] - layout.origin[i]) % 2 for i in (0, 1))
        for channel, plane in enumerate(planes):
            out[:, channel, y::2, x::2] = plane[:, 0, rows, columns]
    return out


def shift(plane: Tensor, dim: int, cells: int) -> Tensor:
    """The plane read `cells` cells further along `dim`; wraps, so one cell of halo is spent each time."""
    return plane.roll(-cells, dim)


def beside(site: Site, dim: int) -> Site:
    """The site of the pixels next to `site` along `dim`."""
    return (site[0], 1 - site[1]) if dim == ROW else (1 - site[0], site[1])


def neighbors(planes: Planes, site: Site, dim: int) -> tuple[Tensor, Tensor]:
    """The pixels before and after a site along `dim`."""
    plane = planes[beside(site, dim)]
    return (plane, shift(plane, dim, 1)) if site[dim] else (shift(plane, dim, -1), plane)


def corners(planes: Planes, site: Site) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The pixels up left, up right, down left and down right of a site."""
    up, down = neighbors({beside(site, COLUMN): planes[1 - site[0], 1 - site[1]]}, site, COLUMN)
    return (*neighbors({beside(site, ROW): up}, site, ROW), *neighbors({beside(site, ROW): down}, site, ROW))


def _mirror_pad(picture: Tensor, axis: int, layout: Layout) -> Tensor:
    length, before = layout.size[axis], layout.origin[axis]
    after = 2 * layout.cells[axis] - before - length
    if max(before, after) < length:
        margins = (0, 0, before, after) if axis == 0 else (before, after, 0, 0)
        return torch.nn.functional.pad(picture, margins, mode="reflect")
    source = [_reflect(pixel, length) for pixel in range(-before, length + after)]
    return picture.index_select(axis - 2, torch.tensor(source, device=picture.device))


def _reflect(pixel: int, length: int) -> int:
    """Fold a coordinate into [0, length) by mirrors at 0 and length - 1."""
    last = length - 1
    return last - abs(pixel % (2 * last) - last)
