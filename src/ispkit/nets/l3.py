"""L3, local linear learned: a table of linear filters, chosen by what the mosaic looks like around a pixel.

Jiang, Tian, Farrell, Wandell, "Learning the Image Processing Pipeline", IEEE Trans. Image Processing 26(10), 2017:
each pixel belongs to a class (its site in the CFA, the level of light around it, flat or textured), and each class has
one linear transform from the patch to the output's colors, fitted by ridge regression. The numbers of classes, the
size of the patch and the fallback for rare classes are choices of this file, and an affine term is added.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets.layers import at_least, expect
from ispkit.nets.picture_net import PictureNet
from ispkit.ops.blur import pad_reflect

_SITES = 4
_COLOR = (0, 1, 1, 2)  # of the sites R, G, G, B
_ENOUGH = 4  # pixels a coefficient; a class with fewer takes the transform of its whole site
_DARK = 1e-6


@dataclass(frozen=True)
class L3Shape:
    """Classes and patches of an `L3Net`. Raises `ParamError`."""

    levels: int = 32
    """classes of light, bounded by equal ratios between `darkest` and 1"""
    patch: int = 5
    """pixels of the mosaic a side, odd"""
    darkest: float = 1e-3
    texture: float = 0.1
    """mean difference of neighbors of one color over the mean, above which a patch is textured"""

    def __post_init__(self) -> None:
        at_least("L3Net", 2, levels=self.levels)
        at_least("L3Net", 3, patch=self.patch)
        if not self.patch % 2:
            raise ParamError(f"L3Net: patch={self.patch} must be odd (unit: px)")
        if not 0 < self.darkest < 1 or self.texture <= 0:
            raise ParamError(f"L3Net: darkest={self.darkest} must be in (0, 1) and texture={self.texture} above 0")


PRESETS = {"paper": L3Shape(), "small": L3Shape(levels=16)}


class L3Net(PictureNet):
    """Planes R, G, G, B (B, 4, H, W), black 0 and white 1 -> the pictures it was fitted to, (B, 3, 2H, 2W).

    `fit` solves for the tables; gradients reach them as well. Before, it is bilinear demosaicing. It needs memory of
    about 500 bytes a pixel: render large pictures in tiles.
    """

    inputs, scale = 4, 2

    def __init__(self, shape: L3Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or PRESETS["paper"]
        self.reach = shape.patch // 2
        self.halo = -(-self.reach // 2)
        self.classes = _SITES * shape.levels * 2
        self.table = nn.Parameter(_bilinear(shape.patch).repeat_interleave(2 * shape.levels, 0))
        bounds = shape.darkest ** torch.linspace(1, 0, shape.levels)[:-1]
        self.bounds: Tensor
        self.register_buffer("bounds", bounds)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; nothing is pooled. Raises `ShapeError`."""
        expect(self, x)
        patches, classes = self._seen(x)
        colors: Tensor = torch.einsum("bnp,bncp->bcn", patches, self.table[classes])
        return colors.reshape(len(x), 3, 2 * x.shape[-2], 2 * x.shape[-1])

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Tensor, Tensor]], *, ridge: float = 1e-5) -> L3Net:
        """Solve the tables for (planes (B, 4, H, W), picture (B, 3, 2H, 2W)), any number of batches; gives itself.

        Each class minimizes the mean square error plus `ridge` times the squared coefficients, the affine term free.
        Sums are kept in float64. Raises `ShapeError`; `ParamError` for no pairs or a ridge that is not positive.
        """
        if not ridge > 0:
            raise ParamError(f"ridge={ridge} must be above 0")
        size = self.table.shape[-1]
        squares = self.table.new_zeros(self.classes, size, size, dtype=torch.float64)
        products = self.table.new_zeros(self.classes, size, 3, dtype=torch.float64)
        for planes, picture in pairs:
            self._add(planes, picture, squares, products)
        if not squares.any():
            raise ParamError("L3Net.fit: there are no pairs to fit to")
        _share(squares, products)
        self.table.copy_(_solved(squares, products, ridge))
        return self

    def _add(self, planes: Tensor, picture: Tensor, squares: Tensor, products: Tensor) -> None:
        expect(self, planes)
        want = (len(planes), 3, 2 * planes.shape[-2], 2 * planes.shape[-1])
        if tuple(picture.shape) != want:
            raise ShapeError(f"picture {tuple(picture.shape)} must be {want}, as its planes")
        patches, classes = self._seen(planes)
        rows, targets = patches.flatten(0, 1).double(), picture.flatten(2).mT.flatten(0, 1).double()
        flat = classes.flatten()
        for index in set(flat.tolist()):
            mine = flat == index
            squares[index] += rows[mine].mT @ rows[mine]
            products[index] += rows[mine].mT @ targets[mine]

    def _seen(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (B, N, patch^2 + 1), the last entry 1, and the class of each (B, N), pixels row by row."""
        mosaic = F.pixel_shuffle(planes, 2)
        padded = pad_reflect(mosaic, self.reach)
        patches = F.unfold(padded, self.shape.patch).mT
        patches = torch.cat([patches, torch.ones_like(patches[..., :1])], -1)
        mean, texture = self._look(padded)
        level = torch.bucketize(mean, self.bounds.to(mean.dtype))
        height, width = mosaic.shape[-2:]
        rows, columns = (torch.arange(n, device=planes.device) % 2 for n in (height, width))
        site = 2 * rows[:, None] + columns
        classes = (site * self.shape.levels + level) * 2 + texture
        return patches, classes.flatten(1)

    def _look(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Mean light and whether it is textured (0 or 1), both (B, 1, H, W), of each patch."""
        size = self.shape.patch
        mean = F.avg_pool2d(padded, size, 1)
        down = F.avg_pool2d((padded[..., 2:, :] - padded[..., :-2, :]).abs(), (size - 2, size), 1)
        across = F.avg_pool2d((padded[..., 2:] - padded[..., :-2]).abs(), (size, size - 2), 1)
        return mean, (down + across > 2 * self.shape.texture * mean.clamp(min=_DARK)).long()


def _bilinear(patch: int) -> Tensor:
    """Per site (4, 3, patch^2 + 1): the mean of the nearest pixels of each color."""
    middle = patch // 2
    y, x = torch.meshgrid(torch.arange(patch) - middle, torch.arange(patch) - middle, indexing="ij")
    distance = (y.square() + x.square()).float()
    colors = torch.tensor(_COLOR)
    table = torch.zeros(_SITES, 3, patch * patch + 1)
    for site in range(_SITES):
        there = colors[2 * ((site // 2 + y) % 2) + (site % 2 + x) % 2]
        for color in range(3):
            near = torch.where(there == color, distance, torch.inf)
            nearest = (near == near.min()).float().flatten()
            table[site, color, :-1] = nearest / nearest.sum()
    return table


def _share(squares: Tensor, products: Tensor) -> None:
    """Give classes that have seen too little the sums of their whole site, in place."""
    size = squares.shape[-1]
    # the last entry of a patch is 1, so its square counts pixels
    rare = (squares[:, -1, -1] < _ENOUGH * size).reshape(_SITES, -1, 1, 1)
    for sums in (squares, products):
        by_site = sums.view(_SITES, -1, *sums.shape[1:])
        by_site.copy_(torch.where(rare, by_site.sum(1, keepdim=True), by_site))


def _solved(squares: Tensor, products: Tensor, ridge: float) -> Tensor:
    """The tables (classes, 3, P) of the normal equations."""
    count = squares[:, -1, -1].clamp(min=1)
    penalty = torch.full((squares.shape[-1],), ridge, dtype=squares.dtype, device=squares.device)
    penalty[-1] = ridge * 1e-6  # the affine term is all but free; not quite, for a mosaic of one value
    system = squares + torch.diag(penalty) * count[:, None, None]
    tables: Tensor = torch.linalg.solve(system, products)
    return tables.mT
