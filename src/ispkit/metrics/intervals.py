"""How sure a mean over pictures is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ispkit.core.errors import ParamError


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def mean_interval(values: Sequence[float], *, repeats: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """The mean of one number a picture, e.g. a paired difference, with its percentile bootstrap interval."""
    numbers = np.asarray(values, dtype=np.float64)
    if not 0 < level < 1 or repeats < 1 or not len(numbers):
        raise ParamError(f"{len(numbers)} values, level={level:g}, repeats={repeats}: nothing to draw from")
    drawn = np.random.default_rng(seed).integers(len(numbers), size=(repeats, len(numbers)))
    low, high = np.quantile(numbers[drawn].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(numbers.mean()), float(low), float(high), level)
