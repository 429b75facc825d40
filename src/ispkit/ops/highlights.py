"""What to do where a sensor has clipped: cut all colors at one level, or guess what is missing.

Guesses look at the 3x3 neighborhood only: the mean of the two other colors there, each weighted by how far
it is from clipping ("opposed" colors). Reference for the chroma offset over the whole picture in cube-root
space: the inpaint-opposed method of the darktable 4.2 user manual.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.blur import pad_reflect
from ispkit.ops.cfa import cfa_masks, spread_channels
from ispkit.ops.values import per_image

BLOCK = 16
"""edge of the blocks in which unclipped pixels count as near to clipped ones; tiles start at its multiples"""
_RAMP = 0.05
"""a photosite loses its say over this last part of its range"""
_WHITE = 0.02
"""weight of plain white against the neighbors; decides only where nearly everything is clipped"""
_DIM = 0.2
"""pixels below this part of their clip level tell nothing about a highlight's color"""


def clip_level(gains: Tensor, threshold: float | Tensor) -> Tensor:
    """The brightest value that every color can reach, (B, 1, 1, 1): threshold x the smallest gain of (B, 3).

    >>> clip_level(torch.tensor([[2.0, 1.0, 1.5]]), 1.0).flatten()
    tensor([1.])
    """
    lowest = gains.amin(dim=-1).reshape(-1, 1, 1, 1)
    return lowest * per_image(threshold, lowest)


def clip(mosaic: Tensor, level: Tensor) -> Tensor:
    """min(x, level): a clipped neutral stays neutral instead of turning magenta."""
    return torch.minimum(mosaic, level.to(mosaic))


def site_levels(gains: Tensor, cfa: str, like: Tensor, noise_map: Tensor | None = None) -> Tensor:
    """Where each photosite clips after white-balance gains (B, 3) and the per-pixel gain -> (B, 1, H, W)."""
    levels = spread_channels(gains.to(like), cfa, like.shape)
    return levels if noise_map is None else levels * noise_map.to(like)


def blend(mosaic: Tensor, levels: Tensor, cfa: str) -> Tensor:
    """Raise clipped photosites to the mean of the other colors around: a highlight is taken for neutral."""
    return _raised(mosaic, levels, *_opposed(mosaic, levels, cfa))


def reconstruct(mosaic: Tensor, levels: Tensor, cfa: str, sums: Tensor) -> Tensor:
    """As `blend`, plus each color's usual distance from the others near highlights (`chroma_sums`)."""
    reference, known = _opposed(_root(mosaic), _root(levels), cfa, _trust(mosaic, levels))
    offset = sums[:, :3] / sums[:, 3:].clamp(min=1.0)
    reference = reference + known * spread_channels(offset.to(mosaic), cfa, mosaic.shape)
    return _raised(mosaic, levels, reference.clamp(min=0) ** 3, known)


def chroma_sums(mosaic: Tensor, levels: Tensor, cfa: str) -> Tensor:
    """Per color, the sum of (own - opposed) cube roots near highlights, and the count: (B, 6).

    Counted are unclipped photosites with unclipped neighbors inside 16x16 blocks that hold a clipped one.
    """
    height, width = (n // BLOCK * BLOCK for n in mosaic.shape[-2:])
    x, top = mosaic.detach()[..., :height, :width], levels.detach()[..., :height, :width]
    if not height * width:
        return mosaic.new_zeros(mosaic.shape[0], 6)
    trust = _trust(x, top)
    reference, known = _opposed(_root(x), _root(top), cfa, trust)
    clipped = torch.nn.functional.max_pool2d((trust < 0.5).to(x), BLOCK)
    near = clipped.repeat_interleave(BLOCK, -1).repeat_interleave(BLOCK, -2) > 0
    full = 1 / (1 + _WHITE)
    use = near & (trust == 1) & (known > full - 1e-4) & (x > _DIM * top) & _inside_blocks(x)
    shares = cfa_masks(x.shape, cfa, x) * use
    return torch.cat([(shares * (_root(x) - reference)).sum((-2, -1)), shares.sum((-2, -1))], dim=-1)


def _inside_blocks(like: Tensor) -> Tensor:
    """False on the border of each block, whose neighbors another tile may hold."""
    rows, columns = (torch.arange(n, device=like.device) % BLOCK for n in like.shape[-2:])
    inner = [(i > 0) & (i < BLOCK - 1) for i in (rows, columns)]
    return inner[0][:, None] & inner[1]


def _root(x: Tensor) -> Tensor:
    return x.clamp(min=1e-4) ** (1 / 3)


def _trust(x: Tensor, levels: Tensor) -> Tensor:
    """1 where a photosite is safely below its clip level, 0 where it has reached it."""
    return ((levels - x) / (_RAMP * levels)).clamp(0, 1)


def _opposed(x: Tensor, levels: Tensor, cfa: str, trust: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean of the other two colors in the 3x3 neighborhood, and how much of it is known (0 to 1)."""
    trust = _trust(x, levels) if trust is None else trust
    white = torch.nn.functional.max_pool2d(levels, 3, 1, 1)
    cross, corner = _neighbor_means(torch.cat([x * trust, trust], dim=1))
    green = cfa_masks(x.shape, cfa, x)[1]
    total, weight = (green * cross + (1 - green) * 0.5 * (cross + corner)).split_with_sizes([1, 1], dim=1)
    return (total + _WHITE * white) / (weight + _WHITE), weight / (weight + _WHITE)


def _neighbor_means(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the four side neighbors, and of the four corner neighbors."""
    p = pad_reflect(x, 1)
    beside = p[..., :, :-2] + p[..., :, 2:]
    cross = 0.25 * (beside[..., 1:-1, :] + p[..., :-2, 1:-1] + p[..., 2:, 1:-1])
    return cross, 0.25 * (beside[..., :-2, :] + beside[..., 2:, :])


def _raised(x: Tensor, levels: Tensor, reference: Tensor, known: Tensor) -> Tensor:
    """The photosite where it is trusted, else what the others say, but never less than it holds."""
    return x + (1 - _trust(x, levels)) * (reference - x).clamp(min=0)
