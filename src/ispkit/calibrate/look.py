"""What the pixels of one shot show at a glance: how bright, how even, how much is clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import ShapeError
from ispkit.core.frame import Frame

Pixels = NDArray[np.float32]
Reals = NDArray[np.float64]

_GRID = (16, 24)
_PILE = 0.005
_REACH = 5.0
_TWO_SIDED_95 = 1.96


@dataclass(frozen=True)
class Look:
    """Shares of the range from the black to the white level, unless said otherwise."""

    level: float
    """median above the file's black level"""
    bright: float
    """of the 99 % point of the brightest site"""
    spread: float
    """largest difference between parts of the picture"""
    roughness: float
    """what a smooth surface does not explain of the parts, relative to the level (95 % point)"""
    clipped: float
    """share of the pixels of the worst site that are clipped"""
    clip_dn: float
    """where they are: the white level, or lower where values pile up"""


def site_planes(frame: Frame) -> Pixels:
    """The four sites of a RAW frame of one picture as (4, H // 2, W // 2), row by row."""
    pixels: Pixels = frame.data[0, 0].numpy()
    height, width = (n // 2 * 2 for n in pixels.shape)
    if min(height, width) < 64:
        raise ShapeError(f"a calibration shot has at least 64x64 pixels, got {pixels.shape[0]}x{pixels.shape[1]}")
    whole = pixels[:height, :width]
    return np.stack([whole[y::2, x::2] for y in (0, 1) for x in (0, 1)])


def block_means(planes: Pixels, rows: int, columns: int) -> Reals:
    """Means of (C, H, W) over a grid of almost equal cells -> (C, rows, columns)."""
    y, x = (
        np.linspace(0, n, k + 1).round().astype(int) for n, k in zip(planes.shape[1:], (rows, columns), strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(planes, y[:-1], axis=1, dtype=np.float64), x[:-1], axis=2)
    means: Reals = sums / (np.diff(y)[:, None] * np.diff(x))
    return means


def look_at(frame: Frame) -> Look:
    """Judge a RAW frame of one picture."""
    planes = site_planes(frame)
    black = frame.meta.black_level[0].double().numpy()
    span = float(frame.meta.white_level.min()) - float(black.max())
    sample = planes[:, ::4, ::4].reshape(4, -1)
    blocks = block_means(planes, *_GRID) - black[:, None, None]
    clipped, top = _clipping(planes, float(frame.meta.white_level.min()))
    return Look(
        level=float(np.median(sample - black[:, None])) / span,
        bright=float((np.quantile(sample, 0.99, axis=1) - black).max()) / span,
        spread=float(np.ptp(blocks, axis=(1, 2)).max()) / span,
        roughness=max(_roughness(b, p) for b, p in zip(blocks, planes, strict=True)),
        clipped=clipped,
        clip_dn=top,
    )


def _clipping(planes: Pixels, white: float) -> tuple[float, float]:
    top = float(planes.max())
    pile = float((planes == top).mean(axis=(1, 2)).max())
    if top < white and (pile < _PILE or top < 0.5 * white):
        return 0.0, white
    limit = min(top, white)
    return float((planes >= limit).mean(axis=(1, 2)).max()), limit


def _roughness(blocks: Reals, plane: Pixels) -> float:
    """Residue of a quartic surface beyond the blocks' noise, 95 % point over the median."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in blocks.shape), indexing="ij")
    terms = np.stack([y.ravel() ** i * x.ravel() ** j for i in range(5) for j in range(5 - i)], axis=1)
    flat = blocks.ravel()
    fit = terms @ np.linalg.lstsq(terms, flat, rcond=None)[0]
    noise = 1.4826 / np.sqrt(2) * float(np.median(np.abs(np.diff(plane, axis=1)))) / np.sqrt(plane.size / blocks.size)
    residue = float(np.quantile(np.abs(flat - fit), 0.95))
    beyond = np.sqrt(max(residue**2 - (_TWO_SIDED_95 * noise) ** 2, 0.0))
    return float(beyond / max(abs(float(np.median(flat))), 1e-9))


def trimmed(values: NDArray[Any], *, step: float = 1.0) -> NDArray[Any]:
    """Values within 5 sigma of their mean, found by repetition.

    `step` is the distance of two codes. Trimming a Gaussian there changes its variance by 2e-5; unlike the median
    absolute deviation the rest has a standard deviation that rounding to codes does not make jump.
    """
    low, middle, high = np.quantile(values, (0.1587, 0.5, 0.8413))
    center, sigma = float(middle), max(float(high - low) / 2, 0.5 * step)
    for _ in range(3):
        kept = values[np.abs(values - center) <= _REACH * sigma + 0.5 * step]
        center, sigma = float(kept.mean(dtype=np.float64)), max(float(kept.std(dtype=np.float64)), 0.3 * step)
    return kept
