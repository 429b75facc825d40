"""`auto`: chooses by what the first finished trial tells, and hands over to the method that uses most of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ispkit.tune.auto.composed import ComposedSearcher, picture_loss_of
from ispkit.tune.auto.residual import ResidualOptions, ResidualSearcher
from ispkit.tune.contracts import Outcome, Point, Searcher, SearchSetup


class AutoSearcher:
    """Residuals: `ResidualSearcher`. A loss on pictures: `ComposedSearcher`. A score alone: `ScalarSearcher`.

    With constraints the score alone counts, for neither a residual nor a loss knows of them.

    The options are those of the method that is chosen. Until a trial has finished, the start is asked for, then points
    near it. Raises `ParamError` for an unknown option.
    """

    def __init__(self, setup: SearchSetup) -> None:
        ResidualOptions.of(setup.options)  # a wrong name is said before the first render
        self._setup = setup
        self._start = np.asarray(setup.start, dtype=np.float64)
        self._before: list[Outcome] = []
        self._chosen: Searcher | None = None

    @property
    def chosen(self) -> Searcher | None:
        """The method at work; None before the first finished trial."""
        return self._chosen

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """The next point of the chosen method."""
        if self._chosen is not None:
            return self._chosen.ask(pending)
        if not self._before and not len(pending):
            return self._start.copy()
        asked = len(self._before) + len(pending)
        noise = np.random.default_rng([self._setup.seed, asked]).normal(scale=0.1, size=self._start.shape)
        return np.clip(self._start + noise, 0.0, 1.0)

    def tell(self, outcome: Outcome) -> None:
        """Take note; the first finished trial decides on the method."""
        if self._chosen is not None:
            self._chosen.tell(outcome)
            return
        self._before.append(outcome)
        if math.isfinite(outcome.score):
            self._chosen = self._choose(outcome)
            for earlier in self._before:
                self._chosen.tell(earlier)

    def best(self) -> Point:
        """What the chosen method recommends; the start before there is one."""
        return self._start.copy() if self._chosen is None else self._chosen.best()

    def _choose(self, outcome: Outcome) -> Searcher:
        if outcome.residual is not None:
            return ResidualSearcher(self._setup)
        if outcome.rendered is not None and not outcome.constrained:
            loss = picture_loss_of(self._setup.problem, outcome.rendered())
            if loss is not None:
                return ComposedSearcher(self._setup, loss)
        from ispkit.tune.auto.scalar import ScalarSearcher  # heavy, and only where there is nothing else

        return ScalarSearcher(self._setup)
