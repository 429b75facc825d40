"""Whole-number arithmetic that the stages share: 14-bit codes in int32, shifts, small binomial filters."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.int32]
"""(H, W) codes: black 0, white `WHITE`; a little below 0 is kept, so that noise keeps its mean"""

WHITE = 16383
"""14 bits"""
FLOOR = -4096
"""lowest code that is kept"""
_SHOT, _READ = 839, 137424  # 256 x (S 16383, O 16383^2) for S = 2e-4, O = 2e-6: a phone's sensor at base gain
_NOISE = np.sqrt(_SHOT * (np.arange(1024) * 16 + 8.0) + _READ).astype(np.int32)
_NOISE_MAX = 2**18 - 1


def saturate(x: Plane) -> Plane:
    """Codes kept in [FLOOR, WHITE]."""
    return np.clip(x, FLOOR, WHITE)


def padded(x: Plane, radius: int) -> Plane:
    """Mirrored about the outermost pixels, which keeps the phase of a mosaic."""
    return np.asarray(cv2.copyMakeBorder(x, radius, radius, radius, radius, cv2.BORDER_REFLECT_101))


def tap(wide: Plane, radius: int, dy: int, dx: int) -> Plane:
    """The neighbors at (dy, dx) of a plane padded by `radius`: a view."""
    height, width = wide.shape[0] - 2 * radius, wide.shape[1] - 2 * radius
    return wide[radius + dy : radius + dy + height, radius + dx : radius + dx + width]


def binomial(x: Plane, step: int = 1) -> Plane:
    """[1 2 1] both ways with holes of `step`, rounded: x -> (sum + 8) >> 4."""
    wide = padded(x, step)
    rows = wide[2 * step :] + wide[: -2 * step]
    middle = wide[step:-step]
    rows += middle
    rows += middle
    both = rows[:, 2 * step :] + rows[:, : -2 * step]
    middle = rows[:, step:-step]
    both += middle
    both += middle
    both += 8
    both >>= 4
    return both


def doubling(code: int, fraction_bits: int) -> int:
    """256 x 2^(code / 2^fraction_bits), as a table of mantissas and a shift would give it.

    >>> doubling(48, 4)
    2048
    """
    step = 1 << fraction_bits
    mantissa = round(256 * 2 ** ((code % step) / step))
    return mantissa << (code >> fraction_bits)


def ramp(excess: Plane, slope: int) -> Plane:
    """A weight in [0, 256] that is 0 up to an excess of 0 and grows by 2^(slope / 16) / 65536 a code from there."""
    factor = doubling(slope, 4)
    limit = (256 << 24) // factor + 1  # the product never leaves 32 bits
    weight = np.clip(excess, 0, limit).astype(np.int64)
    weight *= factor
    weight >>= 24
    return np.minimum(weight, 256).astype(np.int32)


def noise_profile(level: Plane, offset: int = 0) -> Plane:
    """Standard deviation in 1/16 codes at each level, raised by 2^(offset / 32); saturates at 18 bits.

    A fixed table, sqrt(S x + O) with S = 2e-4, O = 2e-6, white 1: the black box knows nothing of the frame's own noise.
    """
    sigma: Plane = _NOISE[np.clip(level, 0, WHITE) >> 4]
    if not offset:
        return sigma
    raised: NDArray[np.int64] = (sigma.astype(np.int64) * doubling(offset, 5)) >> 8
    np.minimum(raised, _NOISE_MAX, out=raised)
    return raised.astype(np.int32)


def cored(x: Plane, threshold: Plane) -> Plane:
    """Moved towards 0 by `threshold`, not beyond it."""
    rest: Plane = x - np.clip(x, -threshold, threshold)
    return rest


def blend(a: Plane, b: Plane, weight: Plane) -> Plane:
    """Between a (weight 0) and b (weight 256), rounded down."""
    mixed = b - a
    mixed *= weight
    mixed >>= 8
    mixed += a
    return mixed
