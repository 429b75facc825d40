"""TuRBO-1 for noisy scores: Bayesian optimization inside one trust region (Eriksson et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import qmc

from ispkit.tune.contracts import Outcome, Point, SearchSetup
from ispkit.tune.searchers.gp import GaussianProcess
from ispkit.tune.searchers.record import Matrix, Record, read_options
from ispkit.tune.searchers.simple import sobol

_FIRST, _LARGEST, _SMALLEST = 0.8, 1.6, 2.0**-7
_SUCCESSES = 3


class TurboSearcher(Record):
    """TuRBO-1 with Thompson sampling; center and success go by the posterior mean, not by the luckiest score.

    Options: `batch` (points from one model, 10), `large_batch` from the 500th outcome on (50), `memory` (outcomes
    nearest to the center that the model sees, 400). The first region holds a Latin hypercube of 2 d points round the
    start; a region that has shrunk away is followed by one of random points.
    """

    def __init__(self, setup: SearchSetup) -> None:
        super().__init__(setup)
        options = read_options(setup, {"batch": 10, "large_batch": 50, "memory": 400})
        self._batch, self._large = int(options["batch"]), int(options["large_batch"])
        self._memory = int(options["memory"])
        self._region = 0
        self._centers: list[tuple[float, Point]] = []
        self._queue: list[Point] = []
        self._renew()

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """A point of the first design, or of the batch drawn from the model."""
        turn = self.turn(pending)
        if turn - self._first < len(self._design):
            return np.array(self._design[turn - self._first], dtype=np.float64)
        if not self._queue:
            self._queue = list(self._propose(turn))
        return self._queue.pop(0)

    def tell(self, outcome: Outcome) -> None:
        """After each batch the region moves, grows or shrinks."""
        super().tell(outcome)
        self._since += 1
        here = self.told - self._first
        if here >= len(self._design) and self._since >= self._size() and np.isfinite(self._scores[self._first :]).any():
            self._judge()

    def best(self) -> Point:
        """The outcome with the lowest posterior mean, of this region or of one before."""
        known = [*self._centers, self._center()] if self.told > self._first else self._centers
        return min(known, key=lambda c: c[0])[1].copy() if known else super().best()

    def _size(self) -> int:
        return self._large if self.told >= 500 else self._batch

    def _renew(self) -> None:
        """A new region: round the start the first time, anywhere afterwards."""
        self._region += 1
        self._first, self._since = self.told, 0
        self._length, self._wins, self._losses = _FIRST, 0, 0
        self._gp: GaussianProcess | None = None
        self._queue = []
        chance = self.chance(0, self._region)
        design = qmc.LatinHypercube(self.dim, rng=chance).random(2 * self.dim)
        if self._region == 1:
            design = np.vstack([self.start, np.clip(self.start + _FIRST * (design - 0.5), 0.0, 1.0)])
        self._design: Matrix = design

    def _here(self) -> tuple[Matrix, np.ndarray]:
        scores = np.array(self._scores[self._first :])
        points = np.array(self._points[self._first :]).reshape(-1, self.dim)
        keep = np.isfinite(scores)
        return points[keep], scores[keep]

    def _center(self) -> tuple[float, Point]:
        """(posterior mean, point) of the best outcome of this region."""
        points, scores = self._here()
        if not len(points):
            return np.inf, self.start
        if self._gp is None:
            i = int(np.argmin(scores))
            return float(np.median(scores)), points[i]  # not the luckiest score: no model speaks for it yet
        means = self._gp.mean(torch.from_numpy(points)).numpy()
        i = int(np.argmin(means))
        return float(means[i]), points[i]

    def _judge(self) -> None:
        """Fit the model to what came back; a point of the batch that it finds better than all before is a success."""
        recent, self._since, self._queue = self._since, 0, []
        self._fit()
        points, scores = self._here()
        if self._gp is None or not len(points):
            return
        means = self._gp.mean(torch.from_numpy(points)).numpy()
        old = float(means[:-recent].min(initial=np.inf))
        won = float(means[-recent:].min()) < old - 1e-3 * float(np.std(scores))
        self._wins, self._losses = (self._wins + 1, 0) if won else (0, self._losses + 1)
        patience = max(1, -(-max(4, self.dim) // self._size()))
        if self._wins >= _SUCCESSES:
            self._length, self._wins = min(2.0 * self._length, _LARGEST), 0
        elif self._losses >= patience:
            self._length, self._losses = self._length / 2.0, 0
        if self._length < _SMALLEST:
            self._centers.append(self._center())
            self._renew()

    def _fit(self) -> None:
        points, scores = self._here()
        if len(points) > self._memory:
            away = np.abs(points - self._center()[1]).max(1)
            near = np.argsort(away, kind="stable")[: self._memory]
            points, scores = points[near], scores[near]
        steps = 12 if self._gp is not None else 50
        self._gp = self._gp or GaussianProcess(self.dim)
        self._gp.fit(torch.from_numpy(points), torch.from_numpy(_clipped(scores)), steps=steps)

    def _propose(self, turn: int) -> Matrix:
        if self._gp is None:
            return self.chance(turn).random((self._size(), self.dim))
        chance, center = self.chance(turn), self._center()[1]
        lengths = self._gp.lengths.numpy()
        weights = lengths / lengths.mean()
        weights = weights / np.prod(weights) ** (1.0 / self.dim)
        low = np.clip(center - 0.5 * self._length * weights, 0.0, 1.0)
        high = np.clip(center + 0.5 * self._length * weights, 0.0, 1.0)
        cloud = low + (high - low) * sobol(self.dim, 9, chance)
        chosen = chance.random(cloud.shape) < min(1.0, 20.0 / self.dim)
        chosen[np.arange(len(cloud)), chance.integers(self.dim, size=len(cloud))] = True
        cloud = np.where(chosen, cloud, center)
        generator = torch.Generator().manual_seed(int(chance.integers(2**62)))
        draws = self._gp.sample(torch.from_numpy(cloud), self._size(), generator)
        return np.asarray(cloud[np.unique(draws.argmin(1).numpy())], dtype=np.float64)


def _clipped(scores: np.ndarray) -> np.ndarray:
    """Scores with far outliers above pulled in: a cliff must not swallow the scale."""
    middle = float(np.median(scores))
    return np.asarray(np.minimum(scores, middle + 10.0 * (middle - float(scores.min()) + 1e-12)))
