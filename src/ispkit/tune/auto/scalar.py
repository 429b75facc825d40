"""What `auto` does when a trial gives one noisy number: a separable model plans, CMA-ES takes over where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.stats import qmc

from ispkit.core.param import Choice
from ispkit.tune.auto.scalar_basis import GRID
from ispkit.tune.auto.scalar_model import SeparableModel
from ispkit.tune.contracts import Outcome, Point, SearchSetup
from ispkit.tune.searchers.cma import CmaSearcher
from ispkit.tune.searchers.gp import GaussianProcess
from ispkit.tune.searchers.record import Matrix, Record, read_options

Array = NDArray[np.float64]
_HALF_WIDTHS = (0.005, 0.015, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5)
_FIRST = 0.2
_REACH = 0.3
"""how far from the center a draw from the model of all outcomes may put its minimum, at least"""
_ENOUGH = 0.9
"""part of the greatest gain of information with which a narrower box is good enough"""
_DRAWS = 16
_PROBES = 64
_JUDGED = 200
"""outcomes next to the center on which the two models are compared"""


class ScalarSearcher(Record):
    """Model-guided search on scores alone.

    1. A box round the start is filled. 2. A separable model with a rising link (`SeparableModel`) is learned from all
    outcomes; its minimum, coordinate by coordinate within a trust region, is the center and the recommendation.
    3. The next points fill a box round the center as wide as tells most about where the minimum is: the width with the
    least expected posterior variance of the differences between the center and minima drawn from the
    posterior (Bayesian A-optimal design). Some coordinates take drawn minima instead (Thompson sampling).
    4. Where a Gaussian process that couples the knobs predicts left-out scores significantly better, every other
    point comes from CMA-ES round the center, and the recommendation goes by that process.
    """

    def __init__(self, setup: SearchSetup) -> None:
        super().__init__(setup)
        read_options(setup, {})
        origin = 0.5 * (self.start + 0.5)  # the optimum is near the expert's setting, and anywhere in the cube
        self._wide, self._near = SeparableModel(origin), SeparableModel(origin)
        self._model = self._wide
        self._grid = _allowed(setup)
        self._free = np.array([isinstance(k, Choice) for k in setup.space.values()], dtype=bool)
        self._first = min(self.dim + 10, max(5, setup.budget // 3))
        self._center, self._width = self.start.copy(), _FIRST
        self._queue: list[Point] = []
        self._learned = 0
        self._coupled: GaussianProcess | None = None
        self._cma: CmaSearcher | None = None

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """The start, then points of the boxes."""
        turn = self.turn(pending)
        if turn == 0:
            return self.start.copy()
        if not self._queue:
            self._queue = list(self._propose(turn))
        if self._cma is not None and turn % 2:
            return self._cma.ask(pending)
        return self._queue.pop(0)

    def tell(self, outcome: Outcome) -> None:
        """Take note."""
        super().tell(outcome)
        if self._cma is not None:
            self._cma.tell(outcome)

    def best(self) -> Point:
        """The minimum of the model near its center; with few outcomes the best one observed."""
        points, scores = self._usable()
        if len(scores) < self._first or not self._learned:
            return super().best()
        self._update(points, scores)
        return self._recommended()

    def _usable(self) -> tuple[Matrix, Array]:
        points, scores = self.finished()
        if len(scores) < 3:
            return points, scores
        middle, low = float(np.median(scores)), float(scores.min())
        return points, np.minimum(scores, middle + 10.0 * (middle - low))  # a cliff must not swallow the scale

    def _propose(self, turn: int) -> Matrix:
        chance = self.chance(turn)
        points, scores = self._usable()
        if len(scores) < self._first or float(np.ptp(scores)) < 1e-12:
            count = max(self._first - len(scores), 5)
            return self._box(self.start, self._width, count, chance)
        if len(scores) >= 1.15 * self._learned:
            self._learn(points, scores, chance)
        else:
            self._update(points, scores)
        self._center = self._minimum(self._model.curves()[None], 1.5 * self._width)[0]
        count = max(10, self.dim // 2, self.told // 12)
        reach = 1.5 * self._width if self._model is self._near else max(_REACH, 1.5 * self._width)
        minima = self._minimum(self._model.draws(_DRAWS, chance), reach)
        self._width = self._informative(minima, count, chance)
        batch = self._box(self._center, self._width, count, chance)
        drawn = chance.random(batch.shape) < 0.3
        drawn[: count // 2] = False
        return np.where(drawn, minima[chance.integers(_DRAWS, size=count)], batch)

    def _learn(self, points: Matrix, scores: Array, chance: np.random.Generator) -> None:
        """Refit; a search that was resumed starts from the best that the model knows."""
        fresh, self._model = not self._learned, self._wide
        self._wide.learn(points, scores, chance, steps=40 if fresh else 12)
        if fresh and len(scores) > 2 * self._first:
            self._center = points[int(np.argmin(self._model.predict(points)))]
        self._learned = len(scores)
        local = self._locality(points)
        if len(local) < len(scores):
            self._near.learn(points[local], scores[local], chance)
            gain = self._near.left_out() - self._wide.left_out()[local]
            self._model = self._near if _significant(gain) else self._wide
        if len(scores) >= 2 * self._first:
            self._compare(points, scores)

    def _update(self, points: Matrix, scores: Array) -> None:
        """Condition the model in use on what is new."""
        local = self._locality(points) if self._model is self._near else slice(None)
        self._model.update(points[local], scores[local])

    def _locality(self, points: Matrix) -> NDArray[np.int64]:
        """The outcomes next to the center, from which a model is learned that may forget the rest."""
        count = max(len(points) // 3, 12 * self.dim)
        return np.argsort(((points - self._center) ** 2).sum(1), kind="stable")[:count]

    def _compare(self, points: Matrix, scores: Array) -> None:
        """Do the knobs act together? Left-out scores decide between the two models."""
        local = self._locality(points) if self._model is self._near else np.arange(len(points))
        order = np.argsort(((points[local] - self._center) ** 2).sum(1), kind="stable")[:_JUDGED]
        near = local[order]
        process = self._coupled or GaussianProcess(self.dim)
        try:
            process.fit(torch.from_numpy(points[near]), torch.from_numpy(scores[near]), steps=12)
            gain = process.left_out().numpy() - self._model.left_out()[order]
        except (RuntimeError, LinAlgError):  # torch's own LinAlgError is a RuntimeError
            return
        self._coupled = process
        if not _significant(gain):
            self._cma = None
        elif self._cma is None:
            best = self._recommended()
            sigma = min(max(self._width / 2.0, 0.02), 0.2)
            self._cma = CmaSearcher(replace(self.setup, start=best, options={"sigma": sigma}))

    def _recommended(self) -> Point:
        center: Point = self._minimum(self._model.curves()[None], 1.5 * self._width)[0]
        if self._cma is None or self._coupled is None:
            return center
        known = np.vstack([center, self._cma.best()])
        return np.array(known[int(self._coupled.mean(torch.from_numpy(known)).argmin())], dtype=np.float64)

    def _minimum(self, curves: np.ndarray, reach: float) -> Matrix:
        """Where curves (m, d, 257) are lowest within `reach` of the center, (m, d)."""
        near = np.abs(GRID - self._center[:, None]) <= reach
        near[np.arange(self.dim), np.rint(self._center * (len(GRID) - 1)).astype(np.int64)] = True
        near = np.where(self._free[:, None], self._grid, near)
        return np.asarray(GRID[np.where(near, curves, np.inf).argmin(2)])

    def _informative(self, minima: Matrix, count: int, chance: np.random.Generator) -> float:
        """The half width of the box whose outcomes would tell most about which minimum is the right one."""
        differences = self._model.features(minima) - self._model.features(self._center[None])
        floor = float(np.sqrt(np.mean((minima - self._center) ** 2)))
        widths = [w for w in _HALF_WIDTHS if max(self._width / 2.1, floor) <= w <= 1.6 * self._width]
        if len(widths) < 2:
            return widths[0] if widths else min(max(self._width, floor), 0.5)
        doubt = []
        for width in widths:
            features = self._model.features(self._box(self._center, width, _PROBES, chance))
            told = self._model.precision + self._model.information(features) * (count / _PROBES)
            doubt.append(_doubt(told, differences))
        gain = _doubt(self._model.precision, differences) - np.array(doubt)
        return next(w for w, g in zip(widths, gain, strict=True) if g >= _ENOUGH * gain.max())

    def _box(self, center: Point, width: float, count: int, chance: np.random.Generator) -> Matrix:
        """A Latin hypercube of the box round a center, (count, d); choices range over all their options."""
        low, high = np.clip(center - width, 0.0, 1.0), np.clip(center + width, 0.0, 1.0)
        low, high = np.where(self._free, 0.0, low), np.where(self._free, 1.0, high)
        design = qmc.LatinHypercube(self.dim, rng=chance).random(count)
        return np.asarray(low + (high - low) * design)


def _significant(gain: Array) -> bool:
    """Whether paired log densities are better on average, by two standard errors."""
    return bool(gain.mean() > 2.0 * gain.std() / np.sqrt(len(gain)))


def _doubt(precision: Matrix, differences: Matrix) -> float:
    """Mean variance of differences (m, D) of features under a precision (D, D) of the weights."""
    solved = cho_solve(cho_factor(precision, lower=True, check_finite=False), differences.T, check_finite=False)
    return float((differences.T * solved).sum(0).mean())


def _allowed(setup: SearchSetup) -> NDArray[np.bool_]:
    """Which grid points are worth being a minimum, (d, 257): of a choice the middles of its options."""
    allowed = np.ones((setup.space.dim, len(GRID)), dtype=bool)
    for row, knob in zip(allowed, setup.space.values(), strict=True):
        if isinstance(knob, Choice):
            middles = (np.arange(len(knob.options)) + 0.5) / len(knob.options)
            row[:] = False
            row[np.rint(middles * (len(GRID) - 1)).astype(np.int64)] = True
    return allowed
