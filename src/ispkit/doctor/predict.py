"""How well a layout explains the bytes: the length of a code that uses its rows (minimum description length).

Every hypothesis (encoding, row stride) codes *the same* bytes: strips of pixels, each predicted from its
left neighbors and from the rows above that the hypothesis points at, by a linear predictor fitted to it.
The residual is counted as lossless JPEG counts it (a category by its entropy, then sign and mantissa),
so that bits per stored byte can be compared between encodings. Only the true layout finds the
neighbors. References: Rissanen, Modeling by shortest data description, Automatica 14 (1978); ITU-T T.81, annex H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ispkit.doctor.encodings import Bytes, Encoding

STRIP = 840  # whole groups of 1, 2, 3, 5 and 7 bytes
_LEFT = 4
_NEAR, _WIDE = (-2, 0, 2), (-2, -1, 0, 1, 2)
_ABOVE = ((1, _WIDE), (2, _WIDE), (3, _NEAR), (4, _WIDE), (6, _NEAR), (8, _NEAR))
"""rows and columns that predict a sample: at the true stride these include all that half and twice of it offer"""
ROWS_ABOVE = 8
_CATEGORIES = 18
_SLACK = 16
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Strips:
    """The bytes on which hypotheses are compared: positions in the file, sorted."""

    data: Bytes
    starts: NDArray[np.int64]

    @staticmethod
    def spread(data: Bytes, count: int, max_stride: int) -> Strips:
        """`count` strips over the whole file, one at random in each equal share of it."""
        low, high = ROWS_ABOVE * max_stride, len(data) - STRIP - _SLACK
        edges = np.linspace(low, max(high, low + 1), count + 1)
        places = edges[:-1] + np.random.default_rng(0).random(count) * np.diff(edges)
        return Strips(data, places.astype(np.int64))

    def rows(self, encoding: Encoding, shift: int = 0) -> NDArray[np.int32]:
        """Samples (strips, pixels), `shift` bytes away from the strips."""
        index = (self.starts + shift)[:, None] + np.arange(STRIP)[None]
        return encoding.decode(self.data[index])

    def aligned(self, encoding: Encoding) -> Strips:
        """The strips moved to where groups of the encoding start, found by the smoothest decoding."""
        size = encoding.group_bytes
        if size == 1:
            return self
        costs = np.stack([_roughness(Strips(self.data, self.starts + a).rows(encoding)) for a in range(size)])
        overall = int(costs.mean(axis=1).argmin())
        clear = costs[overall] - costs.min(axis=0) > 0.1  # rows need not start on whole groups of the file
        return Strips(self.data, self.starts + np.where(clear, costs.argmin(axis=0), overall))


def code_length(
    strips: Strips, encoding: Encoding, stride: int, offset: int | None = None, *, passes: int = 3
) -> Reals:
    """Bits per stored byte of each strip, (strips,), when rows lie `stride` bytes apart.

    With `offset`, the first row's place, groups of samples and odd rows are where the layout has them; without
    it `strips` are taken as `aligned`, and the better of two guesses tells the rows of one color from the other.
    `passes` of the fit: 1 is least squares, more come near the least absolute residual.
    """
    if offset is not None:
        inside = (strips.starts - offset) % stride
        strips = Strips(strips.data, strips.starts + -inside % encoding.group_bytes)
    rows = {k: strips.rows(encoding, -k * stride) for k in (0, *(k for k, _ in _ABOVE))}
    shift = _empty_bits(rows[0])
    rows = {k: r >> shift for k, r in rows.items()}
    target, taps = rows[0][:, _LEFT:-2], _taps(rows)
    # without an offset rows are counted from either end of the file: its header or its trailer is no whole row
    anchors = {0, len(strips.data) % stride} if offset is None else {offset}
    parities = [((strips.starts - anchor) // stride % 2)[:, None] for anchor in sorted(anchors)]
    columns = np.arange(target.shape[1])[None] % 2
    lengths = [_coded(target, taps, p * 2 + columns, passes) for p in parities]
    best = min(lengths, key=lambda bits: float(bits.mean()))
    return best * encoding.group_pixels / encoding.group_bytes


def _coded(target: NDArray[np.int32], taps: NDArray[np.float32], site: NDArray[np.int64], passes: int) -> Reals:
    """Bits per sample of each strip, with one predictor per site of the 2x2."""
    residual = np.empty(target.shape, np.int64)
    for s in range(4):
        chosen = site == s
        if chosen.any():
            residual[chosen] = np.rint(_residual(taps[chosen], target[chosen].astype(np.float32), passes))
    mean: Reals = _bits(residual, site).mean(axis=1)
    return mean


def _taps(rows: dict[int, NDArray[np.int32]]) -> NDArray[np.float32]:
    width = rows[0].shape[1]
    columns = [rows[0][:, _LEFT - k : width - 2 - k] for k in range(1, _LEFT + 1)]
    columns += [rows[k][:, _LEFT + d : width - 2 + d] for k, offsets in _ABOVE for d in offsets]
    return np.stack([*columns, np.ones_like(columns[0])], axis=-1).astype(np.float32)


def _residual(taps: NDArray[np.float32], target: NDArray[np.float32], passes: int) -> NDArray[np.float32]:
    """What the best linear predictor leaves; reweighted, so that its absolute value is least."""
    weight: NDArray[Any] = np.ones(len(target), np.float32)
    left = target
    for _ in range(passes):
        weighted = taps * weight[:, None]
        normal = (weighted.T @ taps).astype(np.float64)
        ridge = np.eye(len(normal)) * 1e-6 * max(np.trace(normal) / len(normal), 1.0)
        factors = np.linalg.solve(normal + ridge, (weighted.T @ target).astype(np.float64))
        left = target - taps @ factors.astype(np.float32)
        size = np.abs(left)
        weight = 1.0 / np.maximum(size, max(float(np.median(size)), 0.5))
    return left


def _bits(residual: NDArray[np.int64], site: NDArray[np.int64]) -> Reals:
    """Bits of every residual: its category by the entropy of its site, then sign and mantissa."""
    category = _category(residual)
    bits = category.astype(np.float64)
    for s in range(4):
        chosen = site == s
        counts = np.bincount(category[chosen], minlength=_CATEGORIES) + 0.1
        bits[chosen] -= np.log2(counts / counts.sum())[category[chosen]]
    return bits


def _roughness(samples: NDArray[np.int32]) -> Reals:
    """Bits per sample of the step to the next sample of the same color, (rows,)."""
    category = _category(samples[:, 2:].astype(np.int64) - samples[:, :-2])
    counts = np.bincount(category.ravel(), minlength=_CATEGORIES) + 0.5
    bits: Reals = (category - np.log2(counts / counts.sum())[category]).mean(axis=1)
    return bits


def _category(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.frexp(np.abs(values).astype(np.float64))[1].astype(np.int64)


def _empty_bits(samples: NDArray[np.int32]) -> int:
    """Low bits that no sample uses."""
    used = int(np.bitwise_or.reduce(samples, axis=None))
    return (used & -used).bit_length() - 1 if used else 0
