"""A `Searcher` as an Optuna sampler: told every finished trial of a study, then asked for the next point."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ispkit.core.errors import FileError, ParamError
from ispkit.core.space import ParamSpace
from ispkit.tune.artifacts import ArtifactStore
from ispkit.tune.contracts import Method, Outcome, Point, Searcher, SearchSetup
from ispkit.tune.distributions import complete, distributions, from_point, to_params, to_point
from ispkit.tune.records import INTERRUPTED, Record, record_of

if TYPE_CHECKING:
    from optuna import Study

OPTUNA_METHODS: dict[str, Callable[[int, float], BaseSampler]] = {
    "tpe": lambda seed, budget: TPESampler(seed=seed),
    "nsga2": lambda seed, budget: NSGAIISampler(seed=seed, population_size=max(8, min(50, int(budget) // 10))),
}
"""methods that are Optuna's own samplers: name -> (seed, budget) -> sampler"""


def method_named(name: str) -> Method:
    """A method of `ispkit.tune.methods` by its name. Raises `ParamError`."""
    from ispkit.tune.methods import method_of  # it imports this file

    return method_of(name)


class SearcherSampler(BaseSampler):
    """Any `Searcher` as a sampler for studies with one objective.

    Its state is rebuilt from the study's trials by whoever asks next, so processes may come and go. Trials of
    `tune` bring residuals and pictures; for others the score alone is told. Trials that miss constraints
    are told a score worse than all before them (feasible first). No trial that has constraints comes with its
    residual, for a model of it would not know of them; `models=False` leaves out all residuals and pictures, where
    the score is not the first objective alone.
    """

    def __init__(
        self, method: Method, setup: SearchSetup, *, store: ArtifactStore | None = None, models: bool = True
    ) -> None:
        self._method, self.setup, self._store, self._models = method, setup, store, models
        self._searcher: Searcher | None = None
        self._told: set[int] = set()
        self._worst = -math.inf
        self._distributions = distributions(setup.space)
        self._fallback = RandomSampler(seed=setup.seed)
        self._lock = threading.Lock()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All knobs."""
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point as parameters. Raises `ParamError` for a study with several objectives."""
        if len(study.directions) > 1:
            raise ParamError(f"{self} minimizes one objective, the study has {len(study.directions)}; take nsga2")
        if set(trial.system_attrs.get("fixed_params", {})) >= set(search_space):
            return {}
        with self._lock:
            trials = study.get_trials(deepcopy=False)
            self._catch_up(study, trials)
            others = [t for t in trials if t.state is TrialState.RUNNING and t.number != trial.number]
            pending = [self._point(t) for t in others if t.params]
            point = self._searcher_now().ask(pending)
        return to_params(self.setup.space, from_point(self.setup.space, point))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is no knob of the space: at random."""
        return self._fallback.sample_independent(study, trial, param_name, param_distribution)

    def recommended(self, study: Study) -> Point:
        """The point that the searcher would take after all finished trials."""
        with self._lock:
            self._catch_up(study, study.get_trials(deepcopy=False))
            return self._searcher_now().best()

    def spend(self, budget: int) -> None:
        """Set the renders that the method may plan with, before it is first asked."""
        if self._searcher is None:
            self.setup = replace(self.setup, budget=max(1, budget))

    def __str__(self) -> str:
        return type(self).__name__

    @property
    def searcher(self) -> Searcher | None:
        """The method at work; None before the first question to it."""
        return self._searcher

    def _searcher_now(self) -> Searcher:
        if self._searcher is None:
            self._searcher = self._method(self.setup)
        return self._searcher

    def _catch_up(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        fresh = [t for t in trials if t.state.is_finished() and t.number not in self._told]
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        for trial in sorted(fresh, key=lambda t: (t.datetime_complete or t.datetime_start, t.number)):
            self._told.add(trial.number)
            if INTERRUPTED not in trial.user_attrs and (trial.params or record_of(trial)):
                self._searcher_now().tell(self._outcome(trial, sign))

    def _outcome(self, trial: FrozenTrial, sign: float) -> Outcome:
        point, record = self._point(trial), record_of(trial)
        if trial.state is TrialState.FAIL or trial.value is None or not math.isfinite(trial.value):
            return Outcome(point, math.inf)
        score = sign * trial.value
        violation = sum(max(0.0, c) for c in trial.constraints.values())
        if violation > 0:
            return Outcome(point, max(score, self._worst) + violation)
        self._worst = max(self._worst, score)
        if record is None or self._store is None:
            return Outcome(point, score)
        return self._with_artifacts(Outcome(point, score), record, constrained=bool(trial.constraints))

    def _with_artifacts(self, outcome: Outcome, record: Record, *, constrained: bool) -> Outcome:
        store, residual = self._store, None
        if store is None:
            return outcome
        if record.residual is not None and self._models and not constrained:
            try:
                residual = store.residual(record.residual)
            except FileError:
                if store.residual_path(record.residual).is_file():  # damaged; a missing one is another machine's
                    raise
        rendered = record.rendered if self._models else ()
        load = (lambda: store.pictures(rendered)) if rendered else None
        return Outcome(outcome.point, outcome.score, residual, load, constrained=constrained)

    def _point(self, trial: FrozenTrial) -> Point:
        record, space = record_of(trial), self.setup.space
        values: Mapping[str, Any] = trial.params if record is None else {n: record.values[n] for n in space}
        return to_point(space, complete(space, values))


class AutoSampler(SearcherSampler):
    """The method `auto` as a sampler for anybody's study, with or without residuals.

    >>> import optuna
    >>> from ispkit.core.param import Param
    >>> space = ParamSpace({"a.x": Param(default=0.5, low=0.0, high=1.0)})
    >>> study = optuna.create_study(sampler=AutoSampler(space))  # objectives call trial.suggest_float("a.x", 0, 1)
    """

    def __init__(
        self, space: ParamSpace, *, seed: int = 0, budget: int = 200, options: Mapping[str, Any] | None = None
    ) -> None:
        start = to_point(space, space.defaults())
        setup = SearchSetup(space, start, budget, seed, options=options or {})
        super().__init__(method_named("auto"), setup)
