"""A rising curve between what the knobs add up to and the score that is seen: decibels, saturation, a funnel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]
_FLATTEST = 0.03
_PIECES = 7
_STIFFNESS = 0.02


@dataclass(frozen=True)
class Link:
    """Piecewise linear and rising; beyond its ends it goes on straight."""

    knots: Array
    slopes: Array
    """(knots - 1,)"""
    base: float
    """value at the first knot"""

    @classmethod
    def fit(cls, inner: Array, outer: Array) -> Link | None:
        """Least squares on (n,) pairs with a penalty on bends; None where `inner` hardly varies."""
        knots = np.unique(np.quantile(inner, np.linspace(0.0, 1.0, _PIECES + 1)))
        steps = np.diff(knots)
        if len(steps) < 2 or steps.min() < 1e-9:
            return None
        ramps = np.clip(inner[:, None] - knots[:-1], 0.0, steps)
        room = (steps[1:] + steps[:-1]) / 2.0 / (knots[-1] - knots[0])
        bends = np.diff(np.eye(len(steps)), axis=0) / np.sqrt(room)[:, None]
        stiff = np.sqrt(_STIFFNESS * len(inner) * np.var(inner))
        system = np.vstack([ramps - ramps.mean(0), stiff * bends])
        wanted = np.concatenate([outer - outer.mean(), np.zeros(len(bends))])
        above, _ = nnls(system, wanted - system @ np.full(len(steps), _FLATTEST))
        slopes = above + _FLATTEST
        return cls(knots, slopes, float(outer.mean() - ramps.mean(0) @ slopes))

    def normalized(self, inner: Array) -> tuple[Link, float]:
        """The same curve over `inner` times the factor that makes its mean slope there one; and that factor."""
        factor = float(np.mean(np.interp(inner, self._middles, self.slopes)))
        return Link(self.knots * factor, self.slopes / factor, self.base), factor

    def rescaled(self, ratio: float, shift: float) -> Self:
        """For scores of which a unit is now `ratio` old ones and zero is the old `shift`."""
        return replace(self, knots=self.knots / ratio, base=(self.base - shift) / ratio)

    def at(self, inner: Array) -> tuple[Array, Array]:
        """Values and slopes, the latter smoothed, at (n,)."""
        heights = self.base + np.concatenate([[0.0], np.cumsum(self.slopes * np.diff(self.knots))])
        before, after = np.minimum(inner - self.knots[0], 0.0), np.maximum(inner - self.knots[-1], 0.0)
        value = np.interp(inner, self.knots, heights) + before * self.slopes[0] + after * self.slopes[-1]
        slope = np.interp(inner, self._middles, self.slopes)
        return value, np.maximum(slope, _FLATTEST)

    @property
    def _middles(self) -> Array:
        return (self.knots[:-1] + self.knots[1:]) / 2.0
