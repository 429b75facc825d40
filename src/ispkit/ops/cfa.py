"""Tensor maths on a color filter array named by its top-left 2x2, read row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_CHANNEL = {"R": 0, "G": 1, "B": 2}


def cfa_masks(size: Sequence[int], cfa: str, like: Tensor | None = None) -> Tensor:
    """One-hot masks (3, H, W): mask[c, y, x] is 1 where the filter at (y, x) has color c.

    >>> cfa_masks((2, 2), "RGGB")[1]
    tensor([[0., 1.],
            [1., 0.]])
    """
    like = torch.zeros(()) if like is None else like
    masks = torch.zeros(3, *size[-2:], device=like.device, dtype=like.dtype)
    for i, color in enumerate(cfa):
        masks[_CHANNEL[color], i // 2 :: 2, i % 2 :: 2] = 1
    return masks


def mosaic(rgb: Tensor, cfa: str) -> Tensor:
    """Sample RGB (B, 3, H, W) through the filter array -> (B, 1, H, W)."""
    return (rgb * cfa_masks(rgb.shape, cfa, rgb)).sum(dim=-3, keepdim=True)


def spread_sites(sites: Tensor, size: Sequence[int]) -> Tensor:
    """Values per 2x2 site (B, 4), row by row, laid over the picture -> (B, 1, H, W)."""
    height, width = size[-2:]
    tile = sites.reshape(-1, 1, 2, 2).repeat(1, 1, (height + 1) // 2, (width + 1) // 2)
    return tile[..., :height, :width]


def channel_sites(cfa: str, channels: Tensor) -> Tensor:
    """Values per color (B, 3) -> per 2x2 site (B, 4).

    >>> channel_sites("GRBG", torch.tensor([[2.0, 1.0, 1.5]]))
    tensor([[1.0000, 2.0000, 1.5000, 1.0000]])
    """
    return channels[:, [_CHANNEL[c] for c in cfa]]


def spread_channels(channels: Tensor, cfa: str, size: Sequence[int]) -> Tensor:
    """Values per color (B, 3) laid over a mosaic -> (B, 1, H, W)."""
    return spread_sites(channel_sites(cfa, channels), size)


def planes(mosaic: Tensor) -> Tensor:
    """A mosaic of even size as its four sites (B, 4, H/2, W/2), row by row."""
    return torch.nn.functional.pixel_unshuffle(mosaic, 2)


def from_planes(sites: Tensor) -> Tensor:
    """Inverse of `planes`."""
    return torch.nn.functional.pixel_shuffle(sites, 2)
