"""What the study keeps of a measurement: plain data for the database, pixels and residuals by digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from ispkit.core.errors import BlackBoxError, ParamError, nearest
from ispkit.tune.artifacts import ArtifactStore
from ispkit.tune.contracts import Measurement, Problem
from ispkit.tune.distributions import Setting

MEASUREMENT, ORIGIN, REASON = "measurement", "origin", "reason"
"""user attributes of a trial: a `Record`, where its setting came from, why it failed"""
SAME_AS, PRUNED, INTERRUPTED = "same_as", "pruned", "interrupted"
"""the trial whose measurement was copied; the state a trial was pruned to; a trial lost with its process"""
TOKEN, RUNNER = "token", "runner"
"""what is enqueued once although a study starts many times; the run folder whose process measures a trial"""
EXPERT, ENQUEUED, WARM, RECOMMENDED = "expert", "enqueued", "warm", "recommended"
"""origins; a trial without one was proposed by the method"""


@dataclass(frozen=True)
class Record:
    """One measurement as plain data."""

    values: Setting
    """all knobs, those held fixed too"""
    scores: Mapping[str, float]
    per_picture: Mapping[str, Sequence[float]]
    pictures: Sequence[int]
    constraints: Mapping[str, float] = field(default_factory=dict)
    residual: str | None = None
    """digest"""
    rendered: Sequence[str] = ()
    """digests"""
    renders: int = 0
    megapixels: float = 0.0
    seconds: float = 0.0
    seed: int = 0

    @property
    def violation(self) -> float:
        """How far all constraints are missed together; 0 = feasible."""
        return float(sum(max(0.0, c) for c in self.constraints.values()))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Record:
        """Inverse of `to_json`."""
        return cls(**facts)


@dataclass(frozen=True)
class Scoring:
    """Which number a single-objective method minimizes: the first objective, or a weighted sum."""

    objectives: tuple[str, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    pareto: bool = False
    """all objectives are told as they are"""

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if name not in self.objectives:
                raise ParamError(f"weights: no objective {name!r}; {nearest(name, self.objectives)}")
            if not (np.isfinite(weight) and weight >= 0):
                raise ParamError(f"weights: {name}={weight} must be finite and not negative")
        if self.weights and not any(self.weights.values()):
            raise ParamError("weights: all are 0; give at least one objective a weight")

    @property
    def first_only(self) -> bool:
        """Whether the score is the first objective's, so that its residual belongs to it."""
        return not self.pareto and {n for n, w in self.weights.items() if w} <= {self.objectives[0]}

    def score(self, scores: Mapping[str, float]) -> float:
        """The number to minimize."""
        if not self.weights:
            return float(scores[self.objectives[0]])
        return float(sum(w * scores[n] for n, w in self.weights.items()))

    def per_picture(self, record: Record) -> NDArray[np.float64]:
        """The same, one number a rendered picture."""
        columns = {n: np.asarray(record.per_picture[n], dtype=np.float64) for n in self.objectives}
        if not self.weights:
            return columns[self.objectives[0]]
        return np.asarray(sum(w * columns[n] for n, w in self.weights.items()), dtype=np.float64)

    def told(self, record: Record) -> list[float]:
        """What Optuna is told."""
        return [float(record.scores[n]) for n in self.objectives] if self.pareto else [self.score(record.scores)]


def take(
    problem: Problem, values: Setting, *, pictures: Sequence[int] | None, seed: int, store: ArtifactStore | None
) -> Record:
    """Measure once, check what came back, keep its artifacts. Raises `BlackBoxError`, and what the problem raises."""
    seen = problem.measure(values, pictures=pictures, seed=seed)
    _check(seen, problem.objectives)
    return Record(
        values=dict(values),
        scores={n: float(seen.scores[n]) for n in problem.objectives},
        per_picture={n: [float(x) for x in seen.per_picture[n]] for n in problem.objectives},
        pictures=list(seen.pictures),
        constraints={n: float(c) for n, c in seen.constraints.items()},
        residual=store.keep_residual(seen.residual) if store and seen.residual is not None else None,
        rendered=[store.keep_picture(p) for p in seen.rendered] if store else [],
        renders=seen.renders,
        megapixels=seen.megapixels,
        seconds=seen.seconds,
        seed=seed,
    )


def joined(parts: Sequence[Record]) -> Record:
    """One record of a setting that was measured a few pictures at a time; means are over all pictures.

    Constraints are averaged like scores; residuals are dropped, for their parts need not add up to the whole.
    """
    if len(parts) == 1:
        return parts[0]
    shares = np.array([len(p.pictures) for p in parts], dtype=np.float64)
    shares /= shares.sum()
    order = np.argsort([i for p in parts for i in p.pictures], kind="stable")

    def mean(of: Callable[[Record], Mapping[str, float]]) -> dict[str, float]:
        return {n: float(sum(s * of(p)[n] for s, p in zip(shares, parts, strict=True))) for n in of(parts[0])}

    def whole(groups: Sequence[Sequence[Any]]) -> list[Any]:
        every = [x for group in groups for x in group]
        return [every[i] for i in order] if len(every) == len(order) else every

    return Record(
        values=parts[0].values,
        scores=mean(lambda p: p.scores),
        per_picture={n: whole([p.per_picture[n] for p in parts]) for n in parts[0].per_picture},
        pictures=whole([p.pictures for p in parts]),
        constraints=mean(lambda p: p.constraints),
        rendered=whole([p.rendered for p in parts]),
        renders=sum(p.renders for p in parts),
        megapixels=sum(p.megapixels for p in parts),
        seconds=sum(p.seconds for p in parts),
        seed=parts[0].seed,
    )


def record_of(trial: FrozenTrial) -> Record | None:
    """What was kept of a trial, if it was measured by a study of ours."""
    facts = trial.user_attrs.get(MEASUREMENT)
    return None if facts is None else Record.from_json(facts)


def _check(seen: Measurement, objectives: Sequence[str]) -> None:
    for name in objectives:
        if name not in seen.scores or name not in seen.per_picture:
            raise BlackBoxError(f"the measurement has no score {name!r}; it has {', '.join(seen.scores) or 'none'}")
        if len(seen.per_picture[name]) != len(seen.pictures):
            raise BlackBoxError(
                f"{name}: {len(seen.per_picture[name])} scores came back for {len(seen.pictures)} pictures"
            )
        if not np.isfinite([seen.scores[name], *seen.per_picture[name]]).all():
            raise BlackBoxError(f"{name}: the score is not finite (mean {seen.scores[name]})")
    for name, amount in seen.constraints.items():
        if not np.isfinite(amount):
            raise BlackBoxError(f"constraint {name}: {amount} is not finite")
    if seen.residual is not None and not np.isfinite(seen.residual).all():
        raise BlackBoxError("the residual holds NaN or infinity")
    for picture in seen.rendered:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise BlackBoxError(f"a rendered picture is uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
