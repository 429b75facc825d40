"""The Poisson-Gaussian law of sensor noise: variance = S x + O, its scaling, and its estimate from one mosaic.

Signals are linear, black 0, white 1. References: Foi, Trimeche, Katkovnik, Egiazarian, "Practical
Poissonian-Gaussian noise modeling and fitting for single-image raw-data", 2008; DNG tag NoiseProfile.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.cfa import channel_sites, planes, spread_sites

BLOCK = 16
"""edge of the blocks in which noise is measured, in px of the mosaic; tiles must start at its multiples"""
SIGNAL_BINS = 24
VARIANCE_BINS = 80
_LOG10_LOW, _LOG10_HIGH = -9.0, -1.0
_QUANTILE = 0.05
_QUANTILE_OF_FLAT = 0.454
"""the _QUANTILE of a block's measured variance on a flat field, relative to the true variance (simulated)"""
_FEWEST = 6
"""blocks that a signal bin needs"""


def variance(signal: Tensor, profile: Tensor, *, cfa: str = "", noise_map: Tensor | None = None) -> Tensor:
    """Noise variance at each pixel: g S x + g^2 O, x clamped at 0.

    Args:
        signal: (B, 1, H, W) mosaic with its `cfa`, or (B, 3, H, W).
        profile: (B, 3, 2) S and O per R, G, B.
        cfa: the mosaic's pattern.
        noise_map: (B, 1, H, W) the gain g; None is 1.

    >>> variance(torch.full((1, 3, 1, 1), 0.5), torch.tensor([[[0.02, 0.01]]]).expand(1, 3, 2)).flatten()
    tensor([0.0200, 0.0200, 0.0200])
    """
    own = profile.to(signal)
    if cfa:
        shot, read = (spread_sites(channel_sites(cfa, own[..., i]), signal.shape) for i in (0, 1))
    else:
        shot, read = own[..., 0, None, None], own[..., 1, None, None]
    x = signal.clamp(min=0)
    return shot * x + read if noise_map is None else noise_map * (shot * x + noise_map * read)


def site_profile(profile: Tensor, cfa: str) -> Tensor:
    """S and O per color (B, 3, 2) -> per site of the top-left 2x2 (B, 4, 2)."""
    return torch.stack([channel_sites(cfa, profile[..., i]) for i in (0, 1)], dim=-1)


def noise_histogram(mosaic: Tensor) -> Tensor:
    """Counts of 16x16 blocks by signal and measured variance, (B, SIGNAL_BINS * VARIANCE_BINS).

    The variance is that of a Laplacian of each site's 8x8 samples, so slopes do not count as noise. `mosaic`
    (B, 1, H, W) is in the sensor's own units (no gains), so that one law holds for all sites. Counts of tiles
    that start at multiples of 16 add up to those of the whole picture; a partial block at the end is left out.
    """
    batch, _, height, width = mosaic.shape
    rows, columns = height // BLOCK, width // BLOCK
    counts = mosaic.new_zeros(batch, SIGNAL_BINS * VARIANCE_BINS)
    if not rows * columns:
        return counts
    sites = planes(mosaic.detach()[..., : rows * BLOCK, : columns * BLOCK])
    half = BLOCK // 2
    tiles = sites.reshape(batch, 4, rows, half, columns, half)
    rough = _second_difference(_second_difference(tiles, 3), 5)
    noise = rough.square().mean(dim=(3, 5)) / 36
    level = tiles.mean(dim=(3, 5))
    usable = (level > 0) & (tiles.amax(dim=(3, 5)) < 0.95) & (noise > 10**_LOG10_LOW)
    y = (level.clamp(0, 1).sqrt() * SIGNAL_BINS).long().clamp(max=SIGNAL_BINS - 1)
    scaled = (noise.clamp(min=10**_LOG10_LOW).log10() - _LOG10_LOW) / (_LOG10_HIGH - _LOG10_LOW)
    x = (scaled * VARIANCE_BINS).long().clamp(0, VARIANCE_BINS - 1)
    index = (y * VARIANCE_BINS + x).reshape(batch, -1)
    return counts.scatter_add(1, index, usable.reshape(batch, -1).to(counts))


def _second_difference(x: Tensor, dim: int) -> Tensor:
    size = x.shape[dim] - 2
    return x.narrow(dim, 0, size) - 2 * x.narrow(dim, 1, size) + x.narrow(dim, 2, size)


def fit_profile(histogram: Tensor) -> Tensor:
    """S and O, (B, 2), of the calmest blocks in each signal bin; zeros where too few blocks are usable.

    A weighted least-squares line with S, O >= 0 through a low quantile of each bin, which textured blocks hardly
    move; a picture without any flat part is still overestimated, and data that were denoised or compressed with
    loss before are underestimated.
    """
    counts = histogram.double().reshape(-1, SIGNAL_BINS, VARIANCE_BINS)
    total = counts.sum(-1)
    below = counts.cumsum(-1)
    reached = below >= _QUANTILE * total[..., None]
    bin_ = reached.to(torch.int8).argmax(-1, keepdim=True)
    before = (below - counts).gather(-1, bin_)
    inside = (_QUANTILE * total[..., None] - before) / counts.gather(-1, bin_).clamp(min=1)
    exponent = _LOG10_LOW + (bin_ + inside) * (_LOG10_HIGH - _LOG10_LOW) / VARIANCE_BINS
    noise = 10 ** exponent[..., 0] / _QUANTILE_OF_FLAT
    edges = torch.arange(SIGNAL_BINS, device=counts.device, dtype=counts.dtype)
    signal = ((edges + 0.5) / SIGNAL_BINS).square().expand_as(noise)
    weight = torch.where(total >= _FEWEST, total.clamp(max=500) / noise.square(), 0.0)
    return _line(signal, noise, weight).to(histogram.dtype)


def _line(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Slope and offset (B, 2), both >= 0, of the weighted least-squares line."""
    w, wx, wy = weight.sum(-1), (weight * x).sum(-1), (weight * y).sum(-1)
    wxx, wxy = (weight * x * x).sum(-1), (weight * x * y).sum(-1)
    tiny = 1e-300
    slope = (w * wxy - wx * wy) / (w * wxx - wx * wx).clamp(min=tiny)
    offset = (wy - slope * wx) / w.clamp(min=tiny)
    through_zero = wxy / wxx.clamp(min=tiny)
    slope, offset = torch.where(offset < 0, through_zero, slope), offset.clamp(min=0)
    level = wy / w.clamp(min=tiny)
    offset = torch.where(slope < 0, level, offset)
    return torch.stack([slope.clamp(min=0), offset], dim=-1)


def normalized_to_sensor(mosaic: Tensor, gains: Tensor, cfa: str, noise_map: Tensor | None) -> Tensor:
    """The mosaic before its white-balance gains (B, 3) and its per-pixel gain were applied."""
    total = spread_sites(channel_sites(cfa, gains.to(mosaic)), mosaic.shape)
    return mosaic / (total if noise_map is None else total * noise_map.to(mosaic))
