"""How many bits of a stored sample carry the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEPTHS = (8, 10, 12, 14, 16)
_ALL_ONES = 65535
_HEADROOM_NATS = 0.8


@dataclass(frozen=True)
class Depth:
    """One reading of a sample's bits."""

    bits: int
    align: str
    """where they sit in a wider word: "lsb" or "msb\""""
    probability: float


@dataclass(frozen=True)
class Codes:
    """Which codes a mosaic uses."""

    largest: int
    """largest code, marks of defects apart"""
    empty_low_bits: int
    """low bits that are always 0"""
    outliers: int
    """samples above `largest` (marks of defects)"""


def codes(samples: NDArray[np.int32]) -> Codes:
    """Codes in use by a mosaic (H, W); isolated words of all ones are marks of defects, not codes."""
    largest, outliers = int(samples.max()), 0
    if largest == _ALL_ONES:
        pairs = np.minimum(samples[:, :-2], samples[:, 2:])
        if int(pairs.max()) < _ALL_ONES:  # a defect that no converter made; an isolated lower code is a hot pixel
            outliers = int((samples == _ALL_ONES).sum())
            largest = int(samples[samples < _ALL_ONES].max())
    used = int(np.bitwise_or.reduce(samples, axis=None))
    empty = (used & -used).bit_length() - 1 if used else 0
    return Codes(largest, empty, outliers)


def depths(found: Codes, stored_bits: int) -> list[Depth]:
    """Bit depths in order of plausibility, for samples stored in `stored_bits` (8, 16, or packed 10 to 14)."""
    if stored_bits != 16:
        return [Depth(stored_bits, "lsb", 1.0)]
    if found.empty_low_bits and found.largest >= 1 << 14:
        return _most_significant(found.empty_low_bits)
    needed = max(found.largest, 1).bit_length()
    possible = [b for b in DEPTHS if b >= max(needed, 9)]
    # a scale-free exposure reaches the top half of a range less often than it stays below any higher one
    weights = np.exp(-_HEADROOM_NATS * np.arange(len(possible)) * 2)
    saturated = found.largest >= (1 << possible[0]) * 0.98
    if saturated:
        weights[1:] *= 0.05
    return [Depth(b, "lsb", float(p)) for b, p in zip(possible, weights / weights.sum(), strict=True)]


def _most_significant(empty: int) -> list[Depth]:
    exact = 16 - empty
    ordered = [b for b in DEPTHS if b >= exact and b > 8] or [16]
    weights = 0.1 ** np.arange(len(ordered))
    depths = [Depth(b, "lsb" if b == 16 else "msb", float(p)) for b, p in zip(ordered, weights, strict=True)]
    return [Depth(d.bits, d.align, d.probability / float(weights.sum())) for d in depths]
