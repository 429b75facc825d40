"""CMA-ES on the unit cube: registers are rounded by the space, foreign points are taken in."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt

import cmaes  # type: ignore[import-untyped]
import numpy as np

from ispkit.core.errors import ParamError
from ispkit.tune.contracts import Outcome, Point, SearchSetup
from ispkit.tune.searchers.record import Record, read_options


class CmaSearcher(Record):
    """CMA-ES (Hansen 2016; `cmaes` by Nomura and Shibata 2024) from the start.

    Options: `popsize` (4 + 3 ln d), `sigma` (first standard deviation, 0.2), `lr_adapt` (learning-rate adaptation for
    noise, Nomura 2023), `recommend` ("mean" of the distribution or "best" observed). A generation is the next `popsize`
    outcomes told, whoever asked for them; one that the distribution would hardly have drawn is pulled nearer
    (injection, Hansen 2011). A search that has converged starts again from its best with twice the population.
    """

    def __init__(self, setup: SearchSetup) -> None:
        super().__init__(setup)
        popsize = 4 + int(3 * log(max(self.dim, 1)))
        options = read_options(setup, {"popsize": popsize, "sigma": 0.2, "lr_adapt": False, "recommend": "mean"})
        if options["recommend"] not in {"mean", "best"}:
            raise ParamError(f"recommend={options['recommend']!r} of cma is neither 'mean' nor 'best'")
        self._options = options
        self._generation: list[tuple[Point, float]] = []
        self._engine = self._fresh(self.start, int(options["popsize"]))

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """A draw from the distribution, inside the cube."""
        turn = self.turn(pending)
        self._engine.reseed_rng(int(self.chance(turn).integers(2**31)))
        return _inside(self._engine.ask()[: self.dim])

    def tell(self, outcome: Outcome) -> None:
        """Fill the generation; a full one moves the distribution."""
        super().tell(outcome)
        self._generation.append((self._injected(self._points[-1]), self._scores[-1]))
        if len(self._generation) < self._engine.population_size:
            return
        scores = [s for _, s in self._generation if np.isfinite(s)]
        if scores:  # a generation of failures says nothing about where to go
            worst = max(scores) + 1.0
            self._engine.tell([(p, s if np.isfinite(s) else worst) for p, s in self._generation])
        self._generation = []
        if self._engine.should_stop():
            self._engine = self._fresh(super().best(), 2 * self._engine.population_size)

    def best(self) -> Point:
        """The mean of the distribution once it has moved, or the best point observed, as the option says."""
        if self._options["recommend"] == "best" or self._engine.generation == 0:
            return super().best()
        return _inside(self._engine.mean[: self.dim])

    def _fresh(self, mean: Point, popsize: int) -> cmaes.CMA:
        size = max(self.dim, 2)  # the library refuses one coordinate: a second one that acts on nothing
        return cmaes.CMA(
            mean=_padded(mean, size),
            sigma=float(self._options["sigma"]),
            bounds=np.tile([0.0, 1.0], (size, 1)),
            population_size=popsize,
            lr_adapt=bool(self._options["lr_adapt"]),
            seed=0,
        )

    def _injected(self, point: Point) -> Point:
        """The point, no further from the mean than the distribution's own draws are."""
        engine = self._engine
        away = _padded(point, engine.dim) - engine.mean
        axes, lengths = engine._eigen_decomposition()
        distance = float(np.linalg.norm((axes.T @ away) / lengths)) / engine._sigma
        limit = sqrt(engine.dim) + 2.0 * engine.dim / (engine.dim + 2.0)
        return np.asarray(engine.mean + away * min(1.0, limit / max(distance, 1e-12)))


def _inside(point: Point) -> Point:
    return np.clip(np.asarray(point, dtype=np.float64), 0.0, 1.0)


def _padded(point: Point, size: int) -> Point:
    return np.concatenate([point, np.full(size - len(point), 0.5)])
