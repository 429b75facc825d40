"""Denoise a mosaic whose noise law is known: stabilize, shrink in a color-space wavelet frame, return.

The four sites of every 2x2 window are turned into their mean and three differences (an orthonormal Haar
step across colors, at all four phases of the array), each plane into undecimated Haar wavelets over
same-color neighbors, and every coefficient is weighted by its local signal-to-noise ratio. Everything is
a shift-invariant sum, so a moved or mirrored mosaic gives the moved or mirrored picture.

References: Makitalo and Foi 2013 (stabilisation); Coifman and Donoho 1995 (undecimated shrinkage); Cai 1999
(James-Stein gain from neighboring coefficients).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ispkit.ops import anscombe
from ispkit.ops.blur import pad_reflect
from ispkit.ops.cfa import spread_sites
from ispkit.ops.values import per_image

Number = float | Tensor

LEVELS = 4
"""wavelet scales; the coarsest averages 32 x 32 pixels of the mosaic"""
BLOCK = 256
"""edge of the blocks worked on at a time, in px; keeps the temporaries small"""
_BOX = 2


def _margin(level: int) -> int:
    """Pixels that `_shrink` from this level on takes away at each side."""
    return 0 if level == LEVELS else 2 * 2**level + max(_BOX, _margin(level + 1))


REACH = _margin(0) + 2
"""how far, in px, a pixel can change the result (one for the color step, one for splitting luma and chroma)"""


def denoise(
    mosaic: Tensor,
    sites: Tensor,
    *,
    luma: Number = 1.0,
    chroma: Number = 1.0,
    threshold: Number = 1.3,
    noise_map: Tensor | None = None,
) -> Tensor:
    """Return x + chroma r + (luma - chroma) sigma M(r / sigma), r the change that the full denoiser makes.

    M is a 3x3 binomial mean over the mosaic, which sees what the colors share; sigma is the noise's standard
    deviation, so that each color keeps its own share of noise.

    Args:
        mosaic: (B, 1, H, W), negatives kept.
        sites: (B, 4, 2) S and O of the four sites of the top-left 2x2: variance = S x + O.
        luma: strength on what all colors share, 0 to 1; scalar or (B,).
        chroma: strength on what differs between colors; scalar or (B,).
        threshold: local deviation, in units of the noise's, below which detail is taken for noise.
        noise_map: (B, 1, H, W) gain g: variance = g S x + g^2 O.
    """
    height, width = mosaic.shape[-2:]
    padded = pad_reflect(mosaic, REACH)
    gains = None if noise_map is None else pad_reflect(noise_map.to(mosaic), REACH)
    rows = []
    for top in range(0, height, BLOCK):
        row = []
        for left in range(0, width, BLOCK):
            window = (
                ...,
                slice(top, min(top + BLOCK, height) + 2 * REACH),
                slice(left, min(left + BLOCK, width) + 2 * REACH),
            )
            gain = None if gains is None else gains[window]
            row.append(_block(padded[window], sites, (luma, chroma, threshold), gain))
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)


def flat_variance_factor(luma: Number, chroma: Number, threshold: Number) -> Tensor:
    """Variance that `denoise` leaves of white noise on a flat field, relative to before; () or (B,).

    The frame's gain g on a noise coefficient depends on the threshold alone; the shares E[g] and E[g^2] were
    fitted to simulated flat fields (within 10 % for thresholds of 0.7 to 3). Detail keeps more of its noise than this.
    """
    c, t = torch.as_tensor(chroma), torch.as_tensor(threshold)
    split = torch.as_tensor(luma) - c
    once, twice = torch.exp(-1.39 * t * t) + 0.002, torch.exp(-t * t * (2.58 - 0.21 * t)) + 0.0019
    # strength c + split m(f), averaged over all frequencies f of the binomial mean m: E[m] = 1/4, E[m^2] = 9/64
    mean, square = c + split / 4, c.square() + c * split / 2 + split.square() * (9 / 64)
    return 1 - 2 * mean * (1 - once) + square * (1 - 2 * once + twice)


def _block(x: Tensor, sites: Tensor, knobs: tuple[Number, Number, Number], gain: Tensor | None) -> Tensor:
    """One block with a margin of REACH on all sides -> the block."""
    luma, chroma, threshold = knobs
    own = sites.to(x)
    shot, read = (spread_sites(own[..., i], x.shape) for i in (0, 1))
    y = x if gain is None else x / gain
    clean = _shrunk(anscombe.forward(y, shot, read), per_image(threshold, x).square())
    m = REACH - 1
    inner = (..., slice(m, -m), slice(m, -m))
    clean = anscombe.inverse_unbiased(clean, shot[inner], read[inner])
    change = (clean if gain is None else clean * gain[inner]) - x[inner]
    center = (..., slice(1, -1), slice(1, -1))
    out = x[inner][center] + per_image(chroma, x) * change[center]
    if luma is chroma or (not isinstance(luma, Tensor) and not isinstance(chroma, Tensor) and luma == chroma):
        return out
    sigma = (shot[inner] * clean.clamp(min=0) + read[inner] + 1e-12).sqrt() * (1 if gain is None else gain[inner])
    return out + (per_image(luma, x) - per_image(chroma, x)) * sigma[center] * _binomial(change / sigma)


def _binomial(x: Tensor) -> Tensor:
    x = 0.25 * (x[..., :-2] + x[..., 2:]) + 0.5 * x[..., 1:-1]
    return 0.25 * (x[..., :-2, :] + x[..., 2:, :]) + 0.5 * x[..., 1:-1, :]


def _shrunk(z: Tensor, energy: Tensor) -> Tensor:
    """The stabilized mosaic without noise, REACH - 1 pixels smaller at each side."""
    a, b, c, d = z[..., :-1, :-1], z[..., :-1, 1:], z[..., 1:, :-1], z[..., 1:, 1:]
    s, t, u, v = a + d, b + c, a - d, b - c
    # all four times 2 / sqrt(2), so that one threshold serves the scaled mean and the plain differences
    planes = torch.cat([(s + t) * math.sqrt(0.5), (s - t) * math.sqrt(0.5), u, v], dim=1)
    shrunk = _shrink(planes, energy, 0)
    s, t, u, v = (shrunk[:, i : i + 1] for i in range(4))
    s, t = (s + t) * math.sqrt(0.5), (s - t) * math.sqrt(0.5)
    a, d, b, c = s + u, s - u, t + v, t - v
    return 0.125 * (a[..., 1:, 1:] + b[..., 1:, :-1] + c[..., :-1, 1:] + d[..., :-1, :-1])


def _shrink(x: Tensor, energy: Tensor, level: int) -> Tensor:
    """Undecimated Haar from `level` on: split, weight, join; the result lost `_margin(level)` px a side."""
    if level == LEVELS:
        return x
    step = 2 * 2**level
    low, high = x[..., :-step, :] + x[..., step:, :], x[..., :-step, :] - x[..., step:, :]
    bands = [
        low[..., :-step] - low[..., step:],
        high[..., :-step] + high[..., step:],
        high[..., :-step] - high[..., step:],
    ]
    mean = _shrink(0.25 * (low[..., :-step] + low[..., step:]), energy, level + 1)
    m = max(_BOX, _margin(level + 1))
    noise = energy * (2 * 4 * 0.25**level)
    horizontal, vertical, diagonal = (_weighted(b, noise, m) for b in bands)
    mean = 4 * mean if m == _margin(level + 1) else 4 * _trim(mean, m - _margin(level + 1))
    low = _join(mean + horizontal, mean - horizontal, -1, step)
    high = _join(vertical + diagonal, vertical - diagonal, -1, step)
    return _join(low + high, low - high, -2, step) * (1 / 16)


def _weighted(band: Tensor, noise: Tensor, margin: int) -> Tensor:
    """The band times max(0, 1 - noise / local energy), the energy a mean over 3x3 same-color neighbors."""
    e = torch.addcmul(band.new_tensor(1e-12), band, band)
    e = e[..., :-4] + e[..., 2:-2] + e[..., 4:]
    e = _trim(e[..., :-4, :] + e[..., 2:-2, :] + e[..., 4:, :], margin - _BOX)
    return _trim(band, margin) * torch.addcdiv(band.new_tensor(1.0), noise, e, value=-9).clamp(min=0)


def _trim(x: Tensor, margin: int) -> Tensor:
    return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]


def _join(here: Tensor, there: Tensor, dim: int, step: int) -> Tensor:
    """Sum of what a coefficient gives to its own pixel and to the one `step` further on."""
    size = here.shape[dim] - step
    return here.narrow(dim, step, size) + there.narrow(dim, 0, size)
