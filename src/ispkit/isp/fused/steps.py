"""What a fused chain is made of: small frozen steps that know their numbers but no pixels.

`variant` is what the compiled code depends on, `arrays` what it is given at run time (float32). Two
chains with equal variants share one compiled kernel. Mosaic coordinates here start at a red site: the
picture's top-left pixel is (row, column) `red_at`, so one kernel serves all four patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from threading import RLock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import IspkitError

Array = NDArray[np.float32] | NDArray[np.float64]
Taps = tuple[tuple[int, int, float], ...]

CURVE_RANGE = (2.0**-30, 2.0**16)
"""light between these, of either sign, is told apart by a curve; beyond it is constant"""
TINY = 1e-6
"""what the torch stages divide by at least"""
CURVE_DROPPED_BITS = 14
"""of a float32's 23 bits of fraction; the 9 that stay give 512 points per octave"""


class DoesNotFitError(IspkitError, ValueError):
    """The fused renderer cannot run this chain; the message says which stage and why."""


@dataclass(frozen=True, eq=False)
class Step:
    """One part of a chain: frozen fields, of which arrays are given to the kernel at run time."""

    @property
    def arrays(self) -> list[Array]:
        """The numbers of this rendering, in the order that the kernel takes them."""
        return [value for f in fields(self) if isinstance(value := getattr(self, f.name), np.ndarray)]

    @property
    def variant(self) -> tuple[Hashable, ...]:
        """What the compiled code depends on: the kind of step, and its fields that are no arrays."""
        values = [getattr(self, f.name) for f in fields(self)]
        return (type(self).__name__, *(v for v in values if not isinstance(v, np.ndarray)))


@dataclass(frozen=True, eq=False)
class Sites(Step):
    """x scale + offset, per site of the 2x2 that starts at red."""

    factors: Array
    """(2, 4): scales, offsets"""


@dataclass(frozen=True, eq=False)
class GainGrid(Step):
    """Times a grid of gains, sampled at the picture's columns and interpolated between grid rows."""

    columns: Array
    """(2, V, W) for even and odd rows (counted from a red one)"""
    place: Array
    """(2, H): the grid row above each picture row, and the weight of the next one"""


@dataclass(frozen=True, eq=False)
class Radial(Step):
    """Times 1 + k1 r^2 + k2 r^4 + ... with r^2 = rows[y] + columns[x]."""

    rows: Array
    columns: Array
    coefficients: Array
    """(5,)"""


@dataclass(frozen=True, eq=False)
class Ceiling(Step):
    """min(x, level)."""

    level: Array
    """(1,)"""


@dataclass(frozen=True, eq=False)
class LinearDemosaic(Step):
    """Weighted neighbors (dy, dx, weight) per site and color; the picture is mirrored at its edges."""

    taps: tuple[tuple[Taps, Taps, Taps], ...]


@dataclass(frozen=True, eq=False)
class Matrix(Step):
    """A product with a 3x3 matrix on the colors."""

    matrix: Array


@dataclass(frozen=True, eq=False)
class Curve(Step):
    """One function of (1, 3, 1, N) for each color by itself, as the torch ops compute it.

    With `share` > 0 it is blended with x f(n) / n, n the largest color but at least `TINY`, which keeps
    the colors' ratios.
    """

    function: Callable[[Tensor], Tensor]
    share: float = 0.0

    @property
    def arrays(self) -> list[Array]:
        """The tabulated function; the share, and f(TINY) / TINY, where a curve may jump between two points."""
        dark = float(self.function(torch.full((1, 3, 1, 1), TINY))[0, 0]) / TINY
        return [in_pairs(tabulate(self.function)), np.array([self.share, dark], np.float32)]

    @property
    def variant(self) -> tuple[Hashable, ...]:
        """Whether ratios are kept: it costs another look-up."""
        return ("Curve", self.share > 0)


@dataclass(frozen=True, eq=False)
class Contrast(Step):
    """rgb (Y / pivot)^exponent, Y the luminance."""

    knobs: Array
    """(2,): exponent, 1 / pivot"""


@dataclass(frozen=True, eq=False)
class Vibrance(Step):
    """Y + saturation (1 + vibrance (1 - strength)) (rgb - Y), strength = (max - min) / max of the colors."""

    knobs: Array
    """(2,): saturation, vibrance"""


@dataclass(frozen=True, eq=False)
class Unsharp(Step):
    """Unsharp mask of the luminance by a separable blur."""

    weights: Array
    """(2 radius + 1,)"""
    knobs: Array
    """(3,): amount, threshold, halo limit"""
    radius: int


def tabulate(function: Callable[[Tensor], Tensor]) -> Array:
    """A function's values for light of `CURVE_RANGE`, spaced as float32 numbers are: (2, N), positive, negative.

    The upper bits of a float32 are the index, the dropped ones the place between two points; so steep
    curves are as exact in the dark as in the light (relative error below 1e-6 for powers). `function` maps
    (1, 3, 1, N) to the same shape, equal colors to equal colors.
    """
    first, last = curve_index_range()
    index = np.arange(first, last + 2, dtype=np.uint32)
    x = torch.from_numpy((index << CURVE_DROPPED_BITS).view(np.float32))
    both = torch.cat([x, -x]).expand(1, 3, 1, -1)
    return np.ascontiguousarray(function(both)[0, 0, 0].reshape(2, -1).numpy())


def in_pairs(table: Array) -> Array:
    """Each value and the step to the next one as two float32 in one word, which a kernel loads at once."""
    steps = np.diff(table, axis=1, append=table[:, -1:])
    return np.ascontiguousarray(np.stack([table, steps], axis=-1, dtype=np.float32)).view("<f8")[..., 0]


def curve_index_range() -> tuple[int, int]:
    """Upper bits of the smallest and the largest number of `CURVE_RANGE`."""
    low, high = (int(np.float32(v).view(np.uint32)) >> CURVE_DROPPED_BITS for v in CURVE_RANGE)
    return low, high


_thread_count = RLock()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """For tensors of a few thousand numbers, where waking and awaiting a team costs more than the work.

    The count belongs to the process: a lock keeps two renderings from restoring each other's value.
    """
    with _thread_count:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def merge(steps: Sequence[Step]) -> list[Step]:
    """The same chain with neighbors joined: products of matrices, functions of functions, affine of affine."""
    merged: list[Step] = []
    for step in steps:
        joined = _joined(merged[-1], step) if merged else None
        if joined is None:
            merged.append(step)
        else:
            merged[-1] = joined
    return merged


def _joined(first: Step, second: Step) -> Step | None:
    if isinstance(first, Matrix) and isinstance(second, Matrix):
        return Matrix(second.matrix @ first.matrix)
    if isinstance(first, Sites) and isinstance(second, Sites):
        (a, b), (c, d) = first.factors, second.factors
        return Sites(np.stack([a * c, b * c + d]))
    if isinstance(first, Curve) and isinstance(second, Curve) and first.share == second.share == 0:
        inner, outer = first.function, second.function
        return Curve(lambda x: outer(inner(x)))
    return None
