"""Shading of a picture of an even light: how much darker and how differently colored it is off the center."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.result import Curve, Kpi, Result
from ispkit.ops.color_spaces import rgb_to_xyz
from ispkit.ops.lab import xyz_to_lab

_CLIPPED = 0.99
_CUT = 0.005
_REACH = 0.8  # share of the way to the corner that patches must cover
_BLACK = "the flat picture is black in places: no shading"


@dataclass(frozen=True)
class Shading:
    """A flat picture by blocks, beside its center block."""

    luminance: Tensor
    """(N, N), Y of each block over that of the center"""
    delta_c: Tensor
    """(N, N), chroma in a*b* with the center block as white, every block scaled to its luminance"""
    warnings: tuple[str, ...] = ()

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Luminance of the corner blocks: top left, top right, bottom left, bottom right."""
        a, b, c, d = self.luminance[:: len(self.luminance) - 1, :: len(self.luminance) - 1].flatten().tolist()
        return a, b, c, d

    def as_result(self, region: str = "") -> Result:
        """Corner luminance, largest color shift, and the profile over the distance from the center."""
        corners = self.corners
        kpis = (
            Kpi("shading.corner", sum(corners) / 4, "", "one", region, "mean luminance of the corners over the center"),
            Kpi("shading.corner.worst", min(corners), "", "one", region, "luminance of the darkest corner over center"),
            Kpi("shading.color", float(self.delta_c.max()), "", "lower", region, "largest ΔC in a*b* to the center"),
        )
        radius, order = _radius(len(self.luminance)).flatten().sort()
        axes = ("distance from the center (1: corner)", "relative luminance")
        profile = self.luminance.flatten()[order].tolist()
        return Result(kpis, (Curve("Shading", region or "blocks", radius.tolist(), profile, *axes),), self.warnings)


@dataclass(frozen=True)
class PatchShading:
    """Shading from a few gray patches of a chart."""

    corner: float
    """luminance of the fit in the corner over that in the center"""
    residual: float
    """standard deviation of the patches about the fit, relative: uneven light, or shading that is not radial"""
    color: float
    """largest ΔC in a*b* to the innermost patches, which are the white"""
    warnings: tuple[str, ...] = ()

    def as_result(self, region: str = "") -> Result:
        """`shading.corner` and `shading.color`, as of a flat picture."""
        corner = Kpi("shading.corner", self.corner, "", "one", region, "radial fit of gray patches, corner over center")
        color = Kpi("shading.color", self.color, "", "lower", region, "largest ΔC in a*b* to the innermost patches")
        return Result((corner, color), warnings=self.warnings)


def shading(linear_flat: Tensor, *, blocks: int = 15) -> Shading:
    """Measure a picture of an even light, (3, H, W) linear sRGB; `blocks` is their odd number along a side.

    The picture is cut into `blocks` x `blocks` equal blocks whose means are compared with the center's, so a
    "corner" is the mean of a block there, not the last pixel. ΔC takes the center block as white: exposure does
    not change it, white balance hardly (below 6 % for gains of 1.6). It is a maximum, and noise of the block
    means only adds to it: use large pictures or fewer blocks. Raises `ShapeError` or `ParamError`.
    """
    if blocks < 3 or blocks % 2 == 0:
        raise ParamError(f"blocks={blocks} must be odd and 3 or more, so that one block is the center")
    if linear_flat.ndim != 3 or linear_flat.shape[0] != 3 or min(linear_flat.shape[1:]) < 2 * blocks:
        want = f"(3, H, W), at least {2 * blocks} pixels a side"
        raise ShapeError(f"shading reads {want}, got {tuple(linear_flat.shape)}")
    flat = linear_flat.detach().cpu().double()
    warnings = []
    cut = float((flat >= _CLIPPED).any(0).double().mean())
    if cut > _CUT:
        warnings.append(f"{100 * cut:.1f} % of the flat picture is clipped: shading reads too weak; expose less")
    means = torch.nn.functional.adaptive_avg_pool2d(flat, blocks).flatten(1).T
    luminance, delta_c = _beside(means, means[len(means) // 2])
    if bool(luminance.isnan().any()):
        warnings.append(_BLACK)
    return Shading(luminance.reshape(blocks, blocks), delta_c.reshape(blocks, blocks), tuple(warnings))


def patch_shading(linear_rgb: Tensor, places: Tensor) -> PatchShading:
    """Shading from the means of equal gray patches of a chart, (N, 3) linear sRGB, at `places` (N, 2).

    `places` are row and column of their middles, from (-1, -1) in the top left corner of the picture to (1, 1)
    in the bottom right one. The luminance is fitted by Y0 (1 + a r² + b r⁴), r = 1 in the corners, by least
    squares; the color is compared with the patches at the smallest radius. Raises `ShapeError`.
    """
    if linear_rgb.ndim != 2 or linear_rgb.shape[1] != 3 or places.shape != (len(linear_rgb), 2):
        shapes = f"{tuple(linear_rgb.shape)} and {tuple(places.shape)}"
        raise ShapeError(f"patch_shading reads means (N, 3) and places (N, 2), got {shapes}")
    means = linear_rgb.detach().cpu().double()
    radius2 = places.detach().cpu().double().square().sum(1) / 2
    center = means[radius2 <= radius2.min() + 0.01].mean(0)
    luminance, delta_c = _beside(means, center)
    if bool(luminance.isnan().any()):
        return PatchShading(math.nan, math.nan, math.nan, (_BLACK,))
    terms = torch.stack([torch.ones_like(radius2), radius2, radius2.square()], 1)
    if int(torch.linalg.matrix_rank(terms)) < 3:
        few = "the gray patches lie at fewer than three distances from the center: no shading"
        return PatchShading(math.nan, math.nan, float(delta_c.max()), (few,))
    fit = torch.linalg.lstsq(terms, luminance, driver="gelsd").solution
    warnings = []
    if float(radius2.max()) < _REACH**2:
        reach = f"{math.sqrt(float(radius2.max())):.2f} of the way"
        warnings.append(f"the gray patches reach only {reach} to the corner: shading there is extrapolated")
    spread = (luminance - terms @ fit).square().mean().sqrt()
    return PatchShading(float(fit.sum() / fit[0]), float(spread), float(delta_c.max()), tuple(warnings))


def _beside(means: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance over the center's and ΔC with the center as white, of (N, 3) linear sRGB; NaN where it is black."""
    xyz, white = means @ rgb_to_xyz("srgb").T, rgb_to_xyz("srgb") @ center
    if not bool((white > 0).all() and (xyz[:, 1] > 0).all()):
        nan = torch.full((len(means),), math.nan, dtype=torch.float64)
        return nan, nan
    luminance = xyz[:, 1] / white[1]
    return luminance, xyz_to_lab(xyz / luminance[:, None], white)[:, 1:].norm(dim=1)


def _radius(blocks: int) -> Tensor:
    """Distance of the block centers from the picture's, 1 in the picture's corner."""
    x = (2 * torch.arange(blocks, dtype=torch.float64) + 1) / blocks - 1
    return torch.hypot(x[:, None], x) / math.sqrt(2)
