"""An Optuna sampler as a searcher, for harnesses without a stored study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState, create_trial

from ispkit.tune.contracts import Outcome, Point, SearchSetup
from ispkit.tune.searchers.record import Record


class OptunaSearcher(Record):
    """Asks a sampler for points of the unit cube; its study lives in memory."""

    def __init__(self, setup: SearchSetup, sampler: BaseSampler) -> None:
        super().__init__(setup)
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(sampler=sampler)
        optuna.logging.set_verbosity(level)
        self._cube = {str(i): FloatDistribution(0.0, 1.0) for i in range(self.dim)}
        self._open: list[tuple[optuna.Trial, Point]] = []

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """The sampler's next point; at the first question the start."""
        if self.turn(pending) == 0:
            return self.start.copy()
        trial = self._study.ask(dict(self._cube))
        point = np.array([trial.params[name] for name in self._cube], dtype=np.float64)
        self._open.append((trial, point))
        return point

    def tell(self, outcome: Outcome) -> None:
        """Finish the trial that asked for it, or add it as one from elsewhere."""
        super().tell(outcome)
        failed = not np.isfinite(outcome.score)
        for i, (trial, point) in enumerate(self._open):
            if np.abs(point - outcome.point).max(initial=0.0) < 1e-9:
                del self._open[i]
                if failed:
                    self._study.tell(trial, state=TrialState.FAIL)
                else:
                    self._study.tell(trial, float(outcome.score))
                return
        if failed:
            return
        params = {name: float(x) for name, x in zip(self._cube, self._points[-1], strict=True)}
        self._study.add_trial(create_trial(params=params, distributions=dict(self._cube), value=float(outcome.score)))
