"""A burst of RAW frames as one of less noise: aligned by whole filter cells, then averaged without what moved.

After Hasinoff et al., "Burst photography for high dynamic range and low-light imaging on mobile cameras", SIGGRAPH Asia
2016: tiles, coarse to fine, on the mosaic itself; the merge here is a weighted mean in space instead of their Wiener
filter in frequency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import DomainError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.ops.blur import box_filter
from ispkit.ops.cfa import channel_sites, from_planes, planes, spread_sites
from ispkit.ops.levels import linearize
from ispkit.ops.pyramid import gaussian_pyramid

_TINY = 1e-12
_LEAST = 4  # pixels a side of a tile at the coarsest level
_CHI2_MEDIAN = 0.4549  # of a squared normal


@dataclass(frozen=True)
class BurstSettings:
    """How a burst is merged."""

    tile: int = 32
    """filter cells (2x2 pixels) a side of the tiles that move as one"""
    reach: int = 4
    """pixels that a tile is searched within at the coarsest level, one at the others"""
    levels: int = 3
    """halvings: shifts of up to about reach x 2^levels cells are found"""
    tolerance: float = 2.0
    """mean squared difference, in units of what noise makes, up to which a frame counts fully"""

    def __post_init__(self) -> None:
        if self.levels < 0 or self.reach < 1 or not self.tolerance > 0 or self.tile % (_LEAST << max(self.levels, 0)):
            law = f"tile a multiple of {_LEAST} x 2^levels, reach at least 1, tolerance positive"
            raise ParamError(f"{self}: {law}")


def merge_burst(frames: Sequence[Frame], settings: BurstSettings | None = None) -> Frame:
    """One RAW or MOSAIC frame from several of one scene; the first is the reference.

    Each of the others is shifted tile by tile by whole cells of the filter array (even numbers of pixels, so that
    colors stay in place) to where it agrees best with the reference, and counts at each pixel by how well it does:
    fully where the difference is noise, not where something moved. The noise profile of the result is that of the mean
    of all frames, true where all of them count. RAW stays RAW, not rounded.

    Frames are (1, 1, H, W) of one size, CFA, exposure and domain, sides even. Without a noise profile the noise is
    taken from the differences. Raises `ShapeError`, `DomainError`, `ParamError`.
    """
    how = settings or BurstSettings()
    _check(frames)
    first = frames[0]
    signal = planes(_light(first))
    total, weight = signal.clone(), torch.ones_like(signal[:, :1])
    for other in frames[1:]:
        light = planes(_light(other))
        moved = shifted(light, find_shifts(signal, light, how), how.tile)
        counts = _agreement(signal, moved, _variance(first, signal, moved), how.tolerance)
        total.addcmul_(counts, moved)
        weight += counts
    merged = from_planes(total / weight)
    if first.domain is Domain.RAW:
        black, white = (spread_sites(v, merged.shape) for v in (first.meta.black_level, first.meta.white_level))
        merged = torch.addcmul(black, merged, white - black)
    return first.with_data(merged, noise_profile=first.meta.noise_profile / len(frames))


def find_shifts(reference: Tensor, other: Tensor, settings: BurstSettings | None = None) -> Tensor:
    """Cells (dy, dx) to read `other` at, for each tile: sites (1, 4, h, w) of both -> (2, rows, columns) int64.

    Coarse to fine on the mean of the four sites, which has the least noise: each level looks around what the coarser
    one found for the least sum of absolute differences.
    """
    how = settings or BurstSettings()
    pyramids = [gaussian_pyramid(sites.mean(1, keepdim=True), how.levels) for sites in (reference, other)]
    rows, columns = (-(-int(n) // how.tile) for n in reference.shape[-2:])
    shifts = torch.zeros(2, rows, columns, dtype=torch.int64)
    for level in range(how.levels, -1, -1):
        coarsest = level == how.levels
        pair = (pyramids[0][level], pyramids[1][level])
        shifts = _searched(pair, shifts * (1 if coarsest else 2), how.tile >> level, how.reach if coarsest else 1)
    return shifts


def shifted(sites: Tensor, shifts: Tensor, tile: int) -> Tensor:
    """`sites` (1, C, h, w) read at each tile's own shift (2, rows, columns); beyond the border the edge is repeated."""
    height, width = (int(n) for n in sites.shape[-2:])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    dy, dx = (s.repeat_interleave(tile, 0).repeat_interleave(tile, 1)[:height, :width] for s in shifts)
    return sites[..., (y + dy).clamp(0, height - 1), (x + dx).clamp(0, width - 1)]


def _searched(pair: tuple[Tensor, Tensor], around: Tensor, tile: int, reach: int) -> Tensor:
    """The best shift of each tile within `reach` of `around`; of equal ones the nearest to it."""
    reference, other = pair
    steps = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    steps.sort(key=lambda s: s[0] ** 2 + s[1] ** 2)
    costs = []
    for step in steps:
        moved = shifted(other, around + torch.tensor(step)[:, None, None], tile)
        costs.append(_tile_means((reference - moved).abs(), tile, around.shape[-2:]))
    best = torch.stack(costs).argmin(0)
    return around + torch.tensor(steps)[best].permute(2, 0, 1)


def _tile_means(plane: Tensor, tile: int, grid: Sequence[int]) -> Tensor:
    """Means (rows, columns) over the tiles of (1, 1, h, w); the last ones may be smaller."""
    pad = (0, grid[1] * tile - plane.shape[-1], 0, grid[0] * tile - plane.shape[-2])
    total = F.avg_pool2d(F.pad(plane, pad), tile)
    part = F.avg_pool2d(F.pad(torch.ones_like(plane), pad), tile)
    return (total / part.clamp(min=_TINY))[0, 0]


def _agreement(signal: Tensor, moved: Tensor, variance: Tensor, tolerance: float) -> Tensor:
    """How much a frame counts at each cell, (1, 1, h, w) in [0, 1]."""
    ratio = ((signal - moved).square() / variance.clamp(min=_TINY)).mean(1, keepdim=True)
    return torch.exp(-(box_filter(ratio, 1) - tolerance).clamp(min=0))


def _variance(frame: Frame, signal: Tensor, moved: Tensor) -> Tensor:
    """Of the difference of two frames, (1, 4, h, w), by the noise profile, or by the picture's own differences."""
    profile = frame.meta.noise_profile
    if not bool(profile.any()):
        return (signal - moved).square().median() / _CHI2_MEDIAN * torch.ones_like(signal)
    shot, read = (channel_sites(frame.meta.cfa, profile[..., i])[..., None, None] for i in (0, 1))
    return 2 * torch.addcmul(read, shot, ((signal + moved) / 2).clamp(min=0))


def _light(frame: Frame) -> Tensor:
    if frame.domain is Domain.MOSAIC:
        return frame.data
    return linearize(frame.data, frame.meta.black_level, frame.meta.white_level)


def _check(frames: Sequence[Frame]) -> None:
    if not frames:
        raise ShapeError("a burst needs at least one frame")
    first = frames[0]
    for frame in frames:
        if frame.domain not in (Domain.RAW, Domain.MOSAIC) or frame.domain is not first.domain:
            raise DomainError(f"a burst is of raw or of mosaic frames, got {frame.domain.value}")
        if (
            frame.batch != 1
            or frame.size != first.size
            or frame.meta.cfa != first.meta.cfa
            or any(side % 2 for side in frame.size)
        ):
            told = f"{frame.batch} of {frame.size[0]}x{frame.size[1]} {frame.meta.cfa}"
            raise ShapeError(f"frames of a burst are single, of one even size and CFA; got {told}")
