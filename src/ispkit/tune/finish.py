"""The end of a study: measure the leaders again, keep the guard, declare, check on held-out pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from ispkit.core.errors import BlackBoxError, ParamError
from ispkit.core.param import Choice
from ispkit.core.space import ParamSpace
from ispkit.metrics.intervals import mean_interval
from ispkit.tune.contracts import Problem
from ispkit.tune.distributions import Setting, legal, setting_key, to_point
from ispkit.tune.engine import Engine
from ispkit.tune.plan import Guard
from ispkit.tune.records import INTERRUPTED, PRUNED, SAME_AS, Record, Scoring, record_of, take
from ispkit.tune.result import Candidate, GuardVerdict, HeldOut, KnobChange, Result
from ispkit.tune.run_folder import RunFolder
from ispkit.tune.worker import Executor, Task, answers

_NEAR_END = 0.01
_FEW_STEPS = 3  # a register with so few positions is at an end nearly always
_RESAMPLES = 9999


@dataclass(frozen=True)
class Verdict:
    """Who won, and what has to be said about it."""

    best: Candidate
    expert: Candidate
    front: tuple[Candidate, ...]
    guard: GuardVerdict | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Repeats:
    """Expert and leaders as they were measured again, the best first, and what has to be said about it."""

    expert: Candidate
    leaders: list[Candidate]
    remark: str = ""
    expert_failed: bool = False
    """nothing can be compared with it then, so no leader is left"""


def declare(engine: Engine) -> Verdict:
    """The best setting that is sure: never worse than the expert's, and within the guard."""
    found = candidates(engine)
    expert, others = found[0], found[1:]
    warnings: list[str] = []
    order, guard, again = _ranked(others, engine.scoring), engine.plan.guard, None
    if engine.noisy:
        kept = [c for c in order if _keeps(c, expert, guard, engine.scoring)]
        count = min(engine.plan.leaders, max(1, int(engine.budget.reserve) - 1))  # one round at least, if it can be
        leaders = (kept + [c for c in order if c not in kept])[:count]
        again = _repeated(engine, expert, leaders)
        expert, order = again.expert, again.leaders
        warnings += [again.remark] if again.remark else []
    pool = [c for c in order if _beats(c, expert, engine.scoring)]
    front = _front([expert, *order], engine.scoring) if engine.scoring.pareto else ()
    if engine.scoring.pareto:
        pool = _by_balance([c for c in pool if c in front], expert, engine.scoring)
    inside = [c for c in pool if _keeps(c, expert, guard, engine.scoring)]
    best = inside[0] if inside else expert
    verdict = None
    if guard is not None:
        verdict = _verdict(guard, best, expert, pool, engine)
    if best is expert and not (again and again.expert_failed):
        warnings.append("no setting was found that is better than the expert's; the expert's is kept")
    return Verdict(best, expert, front or (best,), verdict, tuple(warnings))


def candidates(engine: Engine) -> list[Candidate]:
    """All settings that were measured on all pictures, each once, the expert's first. Raises `BlackBoxError`."""
    found: dict[str, Candidate] = {}
    for trial in engine.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        record = record_of(trial)
        if record is not None and not {PRUNED, SAME_AS} & set(trial.user_attrs):
            found.setdefault(engine.key(record.values), _candidate(trial.number, record))
    expert = found.pop(engine.key(engine.problem.space.defaults()), None)
    if expert is None:
        raise BlackBoxError("the expert's setting was never measured, so nothing can be compared with it")
    return [expert, *found.values()]


def knob_changes(space: ParamSpace, old: Setting, new: Setting, *, locked: Sequence[str] = ()) -> list[KnobChange]:
    """The table old / new / range of all knobs."""
    active = space.active(new)
    unit = to_point(space, new)
    rows = []
    for u, (name, knob) in zip(unit, space.items(), strict=True):
        changed = setting_key(space.select(name), {name: old[name]}) != setting_key(
            space.select(name), {name: new[name]}
        )
        numeric = None if isinstance(knob, Choice) else knob
        acts = bool(active[name])
        steps = numeric is not None and numeric.step is not None and (numeric.high - numeric.low) / numeric.step
        near = "low" if u <= _NEAR_END else "high" if u >= 1 - _NEAR_END else ""
        watched = numeric is not None and changed and acts and (steps is False or steps >= _FEW_STEPS)
        rows.append(
            KnobChange(
                name=name,
                old=old[name],
                new=new[name],
                low=numeric.low if numeric else None,
                high=numeric.high if numeric else None,
                options=() if numeric else knob.options,  # type: ignore[union-attr]
                unit=numeric.unit if numeric else "",
                changed=changed,
                active=acts,
                locked=name in locked,
                at_bound=near if watched else "",
            )
        )
    return rows


def bound_warnings(knobs: Sequence[KnobChange]) -> list[str]:
    """Advice for knobs that the search pushed against the end of their range."""
    return [
        f"{k.name}={k.new:g} is at the {k.at_bound} end of [{k.low:g}, {k.high:g}]; "
        "widen the range if the device allows it, the best value may lie beyond"
        for k in knobs
        if k.at_bound
    ]


def check_held_out(
    problem: Problem, expert: Setting, best: Setting, *, crew: Executor, seeds: Sequence[int] = (0,)
) -> HeldOut:
    """Have both settings measured on the pictures of `problem`, once under each seed. Not part of the budget.

    Raises `BlackBoxError` with the first failure's reason.
    """
    both = [expert] if best == expert else [expert, best]
    known = [legal(problem.space, {n: v[n] for n in problem.space if n in v}) for v in both]
    tasks = [Task(i, known[i // len(seeds)], None, seeds[i % len(seeds)]) for i in range(len(known) * len(seeds))]
    found: dict[int, Record] = {}
    for answer in answers(crew, tasks):
        if answer.record is None:
            raise BlackBoxError(answer.reason)
        found[answer.job] = answer.record
    records = [found[i] for i in range(len(tasks))]
    old, new = _mean(-1, records[: len(seeds)]), _mean(-1, records[-len(seeds) :])
    gains = {n: np.subtract(new.per_picture[n], old.per_picture[n]).tolist() for n in problem.objectives}
    intervals = {n: mean_interval(g, repeats=_RESAMPLES, seed=seeds[0]) for n, g in gains.items()}
    return HeldOut(
        pictures=problem.pictures,
        expert=old,
        best=new,
        difference={n: new.scores[n] - old.scores[n] for n in gains},
        interval={n: (i.low, i.high) for n, i in intervals.items()},
    )


def roll_back(problem: Problem, result: Result, names: Sequence[str], *, seed: int = 0) -> Candidate:
    """Measure the result again with some knobs (shell patterns) back at the expert's value.

    Raises `ParamError` for a pattern that fits no knob, and what the problem raises.
    """
    back = problem.space.select(*names)
    unknown = [n for n in back if n not in result.expert.values]
    if unknown:
        raise ParamError(f"the result knows no {', '.join(unknown)}; it belongs to another problem")
    values = {**result.best.values, **{n: result.expert.values[n] for n in back}}
    store = RunFolder(result.folder).store if result.folder != type(result.folder)() else None
    return _candidate(-1, take(problem, legal(problem.space, values), pictures=None, seed=seed, store=store))


def trial_counts(engine: Engine) -> dict[str, int]:
    """How the trials of a study ended."""
    counts = dict.fromkeys(("complete", "known", "pruned", "failed", "interrupted"), 0)
    for trial in engine.study.get_trials(deepcopy=False):
        attrs = trial.user_attrs
        if not trial.state.is_finished():
            continue
        if trial.state is TrialState.FAIL:
            counts["interrupted" if INTERRUPTED in attrs else "failed"] += 1
        elif PRUNED in attrs:
            counts["pruned"] += 1
        else:
            counts["known" if SAME_AS in attrs else "complete"] += 1
    return counts


def held_out_or_warning(
    problem: Problem, crew: Executor, verdict: Verdict, engine: Engine
) -> tuple[HeldOut | None, tuple[str, ...]]:
    """The held-out check; a black box that fails there does not cost the result."""
    first = engine.plan.seed
    seeds = range(first, first + (engine.plan.repeats if engine.noisy else 1))
    try:
        seen = check_held_out(problem, verdict.expert.values, verdict.best.values, crew=crew, seeds=seeds)
    except BlackBoxError as error:
        return None, (f"the held-out check failed: {error}",)
    return seen, ()


def _candidate(number: int, record: Record) -> Candidate:
    return Candidate(
        number, record.values, record.scores, record.per_picture, record.constraints, tuple(record.rendered)
    )


def _mean(number: int, records: Sequence[Record]) -> Candidate:
    first = records[0]
    return Candidate(
        trial=number,
        values=first.values,
        scores={n: float(np.mean([r.scores[n] for r in records])) for n in first.scores},
        per_picture={n: np.mean([r.per_picture[n] for r in records], axis=0).tolist() for n in first.per_picture},
        constraints={n: float(np.mean([r.constraints[n] for r in records])) for n in first.constraints},
        rendered=tuple(first.rendered),
        repeats=len(records),
    )


def _repeated(engine: Engine, expert: Candidate, leaders: Sequence[Candidate]) -> _Repeats:
    """Expert and leaders by their repeats alone: the measurement that made them leaders flatters them."""
    everyone, wanted = [expert, *leaders], engine.plan.repeats
    seen: list[list[Record]] = [[] for _ in everyone]
    rounds = 0
    for repeat in range(1, wanted + 1):
        settings = [c.values for c in everyone]
        affordable = engine.budget.room(float(engine.missing(settings, repeat)), final=True)
        found = engine.remeasure(settings, repeat, purpose="leaders") if affordable else []
        lost = "" if found and found[0] is not None else _expert_lost(engine, expert)
        if lost:  # in this sitting, or in an earlier one and there is no budget to try again
            return _Repeats(expert, [], lost, expert_failed=True)
        if not affordable:
            break
        for mine, record in zip(seen, found, strict=True):
            mine.extend([record] if record is not None else [])
        rounds += 1
    remark = f"the budget allowed {rounds} of {wanted} repeats of the leading settings" if rounds < wanted else ""
    if not rounds:
        return _Repeats(expert, list(leaders), remark)
    means = [_mean(c.trial, r) for c, r in zip(everyone, seen, strict=True) if len(r) == rounds]
    return _Repeats(means[0], _ranked(means[1:], engine.scoring), remark)


def _expert_lost(engine: Engine, expert: Candidate) -> str:
    """What to say if the expert's setting failed under a seed of the repeats; nothing if it did not."""
    key = engine.key(expert.values)
    last = {e["seed"]: e for e in engine.room.events("remeasured") if e["key"] == key and e["purpose"] == "leaders"}
    failed = [e["reason"] for e in last.values() if not e["measurement"]]
    if not failed:
        return ""
    return (
        f"the expert's setting failed when it was measured again ({failed[-1]}), so no setting can be shown to be "
        f"better and the expert's is kept; see {engine.room.log}, mend the black box and start again with the same "
        "folder and a larger budget"
    )


def _ranked(found: Sequence[Candidate], scoring: Scoring) -> list[Candidate]:
    return sorted(found, key=lambda c: (c.violation, scoring.score(c.scores)))


def _beats(one: Candidate, expert: Candidate, scoring: Scoring) -> bool:
    """Feasible first; among equals the better score, or with several objectives none worse and one better."""
    if one.violation != expert.violation:
        return one.violation < expert.violation
    if not scoring.pareto:
        return scoring.score(one.scores) < scoring.score(expert.scores)
    return _dominates(one, expert, scoring)


def _dominates(one: Candidate, other: Candidate, scoring: Scoring) -> bool:
    gaps = [one.scores[n] - other.scores[n] for n in scoring.objectives]
    return all(g <= 0 for g in gaps) and any(g < 0 for g in gaps)


def _front(found: Sequence[Candidate], scoring: Scoring) -> tuple[Candidate, ...]:
    least = min(c.violation for c in found)
    feasible = [c for c in found if c.violation == least]
    return tuple(c for c in feasible if not any(_dominates(o, c, scoring) for o in feasible))


def _by_balance(front: Sequence[Candidate], expert: Candidate, scoring: Scoring) -> list[Candidate]:
    """By the mean gain over the expert, each objective in units of its largest gain on the front."""
    if not front:
        return []
    gains = np.array([[expert.scores[n] - c.scores[n] for n in scoring.objectives] for c in front])
    largest = gains.max(axis=0)
    shares = (gains / np.where(largest > 0, largest, 1.0)).mean(axis=1)
    return [front[i] for i in np.argsort(-shares, kind="stable")]


def _per_picture(one: Candidate, scoring: Scoring) -> NDArray[np.float64]:
    return scoring.per_picture(Record(one.values, one.scores, one.per_picture, ()))


def _allowed(expert: Candidate, guard: Guard, scoring: Scoring) -> NDArray[np.float64]:
    base = _per_picture(expert, scoring)
    slack = guard.worse_by * np.abs(base) if guard.relative else np.full_like(base, guard.worse_by)
    return np.asarray(base + slack + 1e-12 * np.abs(base))


def _keeps(one: Candidate, expert: Candidate, guard: Guard | None, scoring: Scoring) -> bool:
    return guard is None or bool((_per_picture(one, scoring) <= _allowed(expert, guard, scoring)).all())


def _verdict(
    guard: Guard, best: Candidate, expert: Candidate, pool: Sequence[Candidate], engine: Engine
) -> GuardVerdict:
    scoring = engine.scoring
    change = _per_picture(best, scoring) - _per_picture(expert, scoring)
    worst = int(change.argmax())
    free = pool[0] if pool else best
    ahead = pool[: pool.index(best)] if best in pool else pool
    return GuardVerdict(
        worse_by=guard.worse_by,
        relative=guard.relative,
        cost=scoring.score(best.scores) - scoring.score(free.scores),
        refused=len(ahead),
        worst_picture=engine.problem.pictures[worst],
        worst_change=float(change[worst]),
    )
