"""Mean, spread and clipping of a chart's uniform regions, from a picture or straight from a mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.charts.chart import Region
from ispkit.core.errors import ShapeError
from ispkit.kpi.placement import Placement, check_picture
from ispkit.ops.cfa import cfa_masks
from ispkit.ops.demosaic.linear import bilinear

_CLIPPED = 0.99  # Imatest leaves out patches with a channel at 99 % of saturation or more
_OUTLIER = 5.0  # in robust standard deviations: dust and hot pixels, hardly any noise
_LEAST = 16  # pixels of one color that make a mean


@dataclass(frozen=True)
class Patches:
    """Statistics of N uniform regions; a color without enough pixels has NaN."""

    names: tuple[str, ...]
    mean: Tensor
    """(N, 3) float64, in the units of the input"""
    sigma: Tensor
    """(N, 3) standard deviation of a pixel inside the region"""
    clipped: Tensor
    """(N, 3) share of pixels at or above the clipping level"""
    count: Tensor
    """(N, 3) pixels that made the mean"""
    warnings: tuple[str, ...] = ()

    def usable(self, share: float = 0.01) -> Tensor:
        """(N,) whether each color has a mean and at most `share` of its pixels clipped."""
        return self.mean.isfinite().all(1) & (self.clipped <= share).all(1)


def picture_patches(
    picture: Tensor, placement: Placement, regions: Sequence[Region], *, inset: float = 0.2, clip: float = _CLIPPED
) -> Patches:
    """Statistics of regions in a picture (3, H, W) with 1 = white; `inset` shaves a share off each side.

    Values beyond 5 robust standard deviations of the median are left out of mean and sigma (dust, hot pixels).
    Warns of regions outside the picture or too small. Raises `ShapeError`.
    """
    size = check_picture(picture)
    return _patches(
        picture.detach().cpu(), torch.ones(3, *size, dtype=torch.bool), placement, regions, inset=inset, clip=clip
    )


def mosaic_patches(
    mosaic: Tensor,
    cfa: str,
    placement: Placement,
    regions: Sequence[Region],
    *,
    inset: float = 0.2,
    clip: float = _CLIPPED,
) -> Patches:
    """The same of a mosaic (H, W), each color from its own sites only: no demosaicing mixes or smooths them.

    Black is 0 and white 1; a `clip` may be lower where shading was corrected. Raises `ShapeError`.
    """
    if mosaic.ndim != 2 or not mosaic.is_floating_point():
        raise ShapeError(f"a mosaic is (H, W) of floats, got {tuple(mosaic.shape)} of {mosaic.dtype}")
    sites = cfa_masks(mosaic.shape, cfa) > 0
    return _patches(mosaic.detach().cpu()[None].expand(3, -1, -1), sites, placement, regions, inset=inset, clip=clip)


def mosaic_preview(mosaic: Tensor, cfa: str) -> Tensor:
    """A picture (3, H, W) of a mosaic (H, W), good enough to find a chart in: demosaiced, channels balanced."""
    if mosaic.ndim != 2:
        raise ShapeError(f"a mosaic is (H, W), got {tuple(mosaic.shape)}")
    picture = bilinear(mosaic.detach().cpu().float()[None, None].clamp(min=0), cfa)[0]
    white = torch.stack(
        [channel.flatten()[:: max(1, channel.numel() // 100_000)].quantile(0.99) for channel in picture]
    )
    return (picture / white.clamp(min=1e-6)[:, None, None]).clamp(max=1)


def _patches(
    planes: Tensor, sites: Tensor, placement: Placement, regions: Sequence[Region], *, inset: float, clip: float
) -> Patches:
    if tuple(planes.shape[-2:]) != placement.picture_size:
        raise ShapeError(
            f"the placement is for a picture of {placement.picture_size}, got {tuple(planes.shape[-2:])}; locate again"
        )
    rows = []
    for region in regions:
        top, left, height, width = placement.box(region, inset)
        window = (slice(top, top + height), slice(left, left + width))
        rows.append([_statistics(planes[c][window][sites[c][window]].double(), clip) for c in range(3)])
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3, 4)
    bad = [r.name for r, line in zip(regions, table[..., 0], strict=True) if line.isnan().any()]
    listed = f"{', '.join(bad[:4])}{' ...' if len(bad) > 4 else ''}"
    warnings = (f"outside the picture or smaller than {_LEAST} pixels of a color: {listed}",) if bad else ()
    mean, sigma, clipped, count = table.unbind(-1)
    return Patches(tuple(r.name for r in regions), mean, sigma, clipped, count, warnings)


def _statistics(values: Tensor, clip: float) -> tuple[float, float, float, float]:
    """Mean, standard deviation, clipped share and count of one color of one region."""
    if values.numel() < _LEAST:
        return float("nan"), float("nan"), float("nan"), float(values.numel())
    clipped = float((values >= clip).double().mean())
    median = values.median()
    spread = max(1.4826 * float((values - median).abs().median()), 0.5 * float(values.std()))
    kept = values[(values - median).abs() <= _OUTLIER * spread] if spread > 0 else values
    return float(kept.mean()), float(kept.std()), clipped, float(kept.numel())
