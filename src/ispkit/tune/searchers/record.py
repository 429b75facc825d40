"""What every method keeps: the outcomes it was told, its own settings, and chance that survives a resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Outcome, Point, SearchSetup

_SALT = 0x5EA4C4
"""keeps a method's chance apart from that of the problem, which may have the same seed"""
Matrix = NDArray[np.float64]
"""(n, d)"""


class Record:
    """The outcomes told so far, in order; the base of the searchers.

    Chance is drawn anew for each question from (seed, outcomes told, questions open), so that a searcher that is
    told a recorded study goes on as the one that made it would have.
    """

    def __init__(self, setup: SearchSetup) -> None:
        self.setup = setup
        self.start: Point = np.clip(np.asarray(setup.start, dtype=np.float64), 0.0, 1.0)
        self.dim = len(self.start)
        self._points: list[Point] = []
        self._scores: list[float] = []
        self._asked = 0

    def tell(self, outcome: Outcome) -> None:
        """Take note of a finished trial, or of a failed one, whose score is infinite."""
        self._points.append(np.clip(np.asarray(outcome.point, dtype=np.float64), 0.0, 1.0))
        self._scores.append(float(outcome.score) if np.isfinite(outcome.score) else np.inf)
        self._asked = 0

    def best(self) -> Point:
        """The point with the lowest score told, or the start."""
        if not np.isfinite(min(self._scores, default=np.inf)):
            return self.start.copy()
        return self._points[int(np.argmin(self._scores))].copy()

    @property
    def told(self) -> int:
        """How many outcomes, failed ones included."""
        return len(self._points)

    def finished(self) -> tuple[Matrix, NDArray[np.float64]]:
        """Points (n, d) and scores (n,) of the trials that did not fail."""
        scores = np.array(self._scores, dtype=np.float64)
        points = np.array(self._points, dtype=np.float64).reshape(-1, self.dim)
        keep = np.isfinite(scores)
        return points[keep], scores[keep]

    def turn(self, pending: Sequence[Point] = ()) -> int:
        """Number of the question to be asked now: outcomes told plus questions open; counts it as asked."""
        self._asked += 1
        return self.told + max(self._asked - 1, len(pending))

    def chance(self, *labels: int) -> np.random.Generator:
        """A generator that depends on the seed and the labels alone."""
        return np.random.default_rng([_SALT, len(labels), self.setup.seed, *labels])


def read_options(setup: SearchSetup, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The method's settings over their defaults. Raises `ParamError` for a name it does not have, or another kind."""
    for name, value in setup.options.items():
        if name not in defaults:
            known = nearest(name, defaults) if defaults else "this method has none"
            raise ParamError(f"no option {name!r} of the method; {known}")
        if not _like(value, defaults[name]):
            raise ParamError(f"option {name}={value!r} of the method should be {_KINDS[type(defaults[name])]}")
    return {**defaults, **setup.options}


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def _like(value: Any, default: Any) -> bool:
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(default) not in _KINDS or type(value) is type(default)


def legal(space: ParamSpace, point: Point | Tensor) -> Point:
    """Where a point is really measured: registers rounded, choices centered, orderings kept."""
    values = space.from_vector(torch.as_tensor(point, dtype=torch.float64))
    return np.asarray(space.to_vector(values).double().clamp(0, 1).numpy(), dtype=np.float64)
