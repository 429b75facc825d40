"""How a study is run: the plan a user writes, and the doors through which a program takes part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ispkit.core.errors import ParamError
from ispkit.core.param import Values

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Guard:
    """No picture may get worse than the expert's by more than this."""

    worse_by: float
    relative: bool = True
    """a share of the expert's own score (0.02 = 2 %); False: in the units of the score"""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.worse_by) and self.worse_by >= 0):
            raise ParamError(f"guard: worse_by={self.worse_by} must be finite and not negative")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One study. Everything here is plain data and ends up in the run folder's study.yaml."""

    method: str = "auto"
    budget: float = 200.0
    """renders of the whole set that may be spent, re-measurements included"""
    seed: int = 0
    workers: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    """the method's own settings"""
    weights: Mapping[str, float] = field(default_factory=dict)
    """objective -> weight in the sum that is minimized; empty: the first objective alone"""
    pareto: bool | None = None
    """several objectives side by side; None: where the method is nsga2, there are several, and no weights"""
    enqueue: Sequence[Values] = ()
    """settings to measure first, after the expert's"""
    warm_start: Sequence[str] = ()
    """earlier run folders: their trials where the problem is the same, else their five best settings"""
    lock: Sequence[str] = ()
    """shell patterns of knobs held at the expert's value"""
    unlock: Sequence[str] = ()
    """patterns that free some of the locked knobs again"""
    guard: Guard | None = None
    prune: bool = False
    """stop a trial after some pictures where a Wilcoxon test says it is worse; methods then see scores only"""
    noisy: bool | None = None
    """whether the same setting gives different scores; None: the expert is rendered twice to find out"""
    leaders: int = 3
    """candidates that are measured again before one is declared, if the black box is noisy"""
    repeats: int = 3
    """how often, with the same noise seeds as the expert"""
    max_failures: int = 10
    """failed trials in a row after which the study gives up"""
    trial_timeout_s: float | None = None
    """a measurement that takes longer is killed with its worker (which is started even for workers=1)"""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """whatever describes the problem; kept in study.yaml"""

    def __post_init__(self) -> None:
        for name in ("workers", "leaders", "repeats", "max_failures"):
            if getattr(self, name) < 1:
                raise ParamError(f"plan: {name}={getattr(self, name)} must be at least 1")
        if not (math.isfinite(self.budget) and self.budget >= 1):
            raise ParamError(f"plan: budget={self.budget} must be at least 1 render of the set")
        if self.trial_timeout_s is not None and not self.trial_timeout_s > 0:
            raise ParamError(f"plan: trial_timeout_s={self.trial_timeout_s} must be positive")
        if self.pareto and self.weights:
            raise ParamError("plan: pareto keeps the objectives apart and weights add them up; choose one")

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "enqueue": [dict(v) for v in self.enqueue]}


@dataclass(frozen=True)
class Progress:
    """Where a study stands; given to `Hooks.on_progress` after every trial."""

    trial: int
    state: str
    """"complete", "failed", "pruned", "known" (not rendered again)"""
    score: float
    """of this trial; NaN if it failed"""
    best_score: float
    expert_score: float
    spent: float
    budget: float
    eta_s: float
    """seconds to the end of the budget, by the speed so far; NaN before there is one"""
    failures: int


@dataclass(frozen=True)
class Hooks:
    """Optuna's parts that a user brings, used as they are, and who is told of the progress."""

    storage: str | optuna.storages.BaseStorage | None = None
    """a URL or a storage; None: SQLite in the run folder"""
    study_name: str | None = None
    """in that storage; several machines that name the same one work on it together"""
    sampler: optuna.samplers.BaseSampler | None = None
    """instead of the plan's method"""
    pruner: optuna.pruners.BasePruner | None = None
    on_progress: Callable[[Progress], None] | None = None
