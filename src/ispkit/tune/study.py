"""`tune`: one study from its plan to its result, in a folder that can be gone on with at any time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import optuna
from optuna.samplers import BaseSampler

from ispkit.core.errors import ParamError, nearest
from ispkit.tune.contracts import Problem, SearchSetup
from ispkit.tune.distributions import to_point
from ispkit.tune.engine import Engine, pruner_of, scoring_of
from ispkit.tune.finish import Verdict, bound_warnings, declare, held_out_or_warning, knob_changes, trial_counts
from ispkit.tune.lock import LockedProblem
from ispkit.tune.opening import open_study
from ispkit.tune.plan import Hooks, Plan
from ispkit.tune.records import Scoring
from ispkit.tune.result import HeldOut, Result, write_result
from ispkit.tune.run_folder import RunFolder, working_in
from ispkit.tune.sampler import OPTUNA_METHODS, SearcherSampler, method_named
from ispkit.tune.worker import built, executor

ProblemSource = Problem | Callable[[], Problem]
"""a problem, or what builds it; for several workers, or a time-out, either must be picklable"""


def tune(
    problem: ProblemSource,
    folder: str | os.PathLike[str],
    plan: Plan | None = None,
    *,
    held_out: ProblemSource | None = None,
    hooks: Hooks | None = None,
) -> Result:
    """Search for better settings than the expert's, and declare the best one that is sure.

    A second call with the same folder goes on where the first was stopped or killed: no finished trial is
    lost or made twice; with a larger budget it goes on further. The result is never worse than the expert's
    setting. Raises `ParamError` for a plan that does not fit the problem or a folder of another study,
    `FileError` where the folder cannot be worked in, and `BlackBoxError` after too many failures in a row.
    """
    plan, hooks = plan or Plan(), hooks or Hooks()
    made = built(problem)
    locked = LockedProblem(made, plan.lock, plan.unlock)
    with working_in(folder) as room, _quiet():
        study = _open(room, locked, plan, hooks)
        room.note(
            "started",
            method=plan.method,
            budget=plan.budget,
            workers=plan.workers,
            pid=os.getpid(),
            trials=len(study.get_trials(deepcopy=False)),
        )
        crew = executor(problem, made, room.store, plan)
        try:
            engine = Engine(study, locked, plan, crew=crew, room=room, hooks=hooks)
            engine.search()
            verdict = declare(engine)
        finally:
            crew.close()
        result = _result(engine, verdict, held_out)
        room.note("finished", best=verdict.best.trial, scores=dict(verdict.best.scores), spent=engine.budget.spent)
        result = replace(result, seconds=room.worked_s())
        write_result(result)
    return result


def _result(engine: Engine, verdict: Verdict, held_out: ProblemSource | None) -> Result:
    plan, problem, study = engine.plan, engine.problem, engine.study
    seen, remarks = _checked(engine, verdict, held_out)
    knobs = knob_changes(problem.inner.space, verdict.expert.values, verdict.best.values, locked=problem.locked)
    own = isinstance(study.sampler, SearcherSampler) or plan.method in OPTUNA_METHODS
    return Result(
        best=verdict.best,
        expert=verdict.expert,
        front=verdict.front,
        knobs=knobs,
        objectives=problem.objectives,
        pictures=problem.pictures,
        weights=dict(plan.weights),
        method=plan.method if own else type(study.sampler).__name__,
        seed=plan.seed,
        noisy=bool(engine.noisy),
        spent=engine.budget.spent,
        budget=plan.budget,
        trials=trial_counts(engine),
        warnings=(*verdict.warnings, *bound_warnings(knobs), *remarks),
        guard=verdict.guard,
        held_out=seen,
        stopped=engine.stopped,
        folder=engine.room.path,
        study=study,
    )


def _checked(
    engine: Engine, verdict: Verdict, held_out: ProblemSource | None
) -> tuple[HeldOut | None, tuple[str, ...]]:
    """The held-out check, by workers of its own where the plan has some."""
    if held_out is None:
        return None, ()
    made = built(held_out)
    crew = executor(held_out, made, engine.room.store, _limits_for(made, engine))
    try:
        return held_out_or_warning(made, crew, verdict, engine)
    finally:
        crew.close()


def _limits_for(held_out: Problem, engine: Engine) -> Plan:
    """The plan, with the time that one measurement may take as much longer as there is more to render."""
    limit, tuned = engine.plan.trial_timeout_s, engine.problem
    if limit is None:
        return engine.plan
    more = len(held_out.pictures) / len(tuned.pictures)
    if tuned.megapixels > 0:
        more = max(more, held_out.megapixels / tuned.megapixels)
    return replace(engine.plan, trial_timeout_s=limit * max(1.0, more))


def _open(room: RunFolder, problem: LockedProblem, plan: Plan, hooks: Hooks) -> optuna.Study:
    """The study with its sampler and pruner. Raises `ParamError`."""
    scoring = scoring_of(problem, plan, hooks)
    if hooks.sampler is None and plan.method not in OPTUNA_METHODS:
        if scoring.pareto:
            raise ParamError(f"method {plan.method!r} minimizes one objective; give weights, or take nsga2 or tpe")
        method_named(plan.method)  # a wrong name leaves no folder with half a study
    elif hooks.sampler is None and plan.options:
        raise ParamError(f"method {plan.method!r} has no option; {nearest(next(iter(plan.options)), [])}")
    room.describe({"version": 1, "plan": plan.to_dict(), "problem": _described(problem)})
    study = open_study(room, problem, plan, hooks, scoring)
    study.sampler = hooks.sampler or _sampler(room, problem, plan, scoring, len(study.get_trials(deepcopy=False)))
    study.pruner = pruner_of(plan, hooks)
    return study


def _sampler(room: RunFolder, problem: LockedProblem, plan: Plan, scoring: Scoring, trials: int) -> BaseSampler:
    if plan.method in OPTUNA_METHODS:  # a resumed study goes on with other random numbers, not the same again
        return OPTUNA_METHODS[plan.method]((plan.seed * 1_000_003 + trials) % 2**32, plan.budget)
    setup = search_setup(problem, plan, scoring)
    models = setup.problem is not None
    return SearcherSampler(method_named(plan.method), setup, store=room.store if models else None, models=models)


def search_setup(problem: LockedProblem, plan: Plan, scoring: Scoring) -> SearchSetup:
    """What the plan's method is told before the first render."""
    start = to_point(problem.space, problem.space.defaults())
    models = scoring.first_only and not plan.prune  # else what is minimized is more, or less, than the pictures tell
    return SearchSetup(problem.space, start, int(plan.budget), plan.seed, problem if models else None, plan.options)


def _described(problem: LockedProblem) -> dict[str, object]:
    return {
        "objectives": list(problem.objectives),
        "pictures": list(problem.pictures),
        "megapixels": problem.megapixels,
        "knobs": len(problem.inner.space),
        "locked": list(problem.locked),
    }


class _quiet:
    """Optuna reports every study on the terminal; here the caller does."""

    def __enter__(self) -> None:
        self._before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(max(self._before, optuna.logging.WARNING))

    def __exit__(self, *_: object) -> None:
        optuna.logging.set_verbosity(self._before)
