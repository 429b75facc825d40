"""A tuning job from its spec to its result: what acts, the search, what was found."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from ispkit.core.errors import ParamError
from ispkit.tune.contracts import Problem
from ispkit.tune.lock import LockedProblem
from ispkit.tune.plan import Hooks, Plan
from ispkit.tune.problem import PictureProblem
from ispkit.tune.result import Result, write_result
from ispkit.tune.run_folder import RunFolder, read_json, write_json
from ispkit.tune.sensitivity import Progress, Sensitivity, literal_pattern, sensitivity
from ispkit.tune.spec import TuneSpec, build
from ispkit.tune.study import tune

_PROBED_SHARE = 0.2  # of the budget that the probes may cost


@dataclass(frozen=True)
class JobHooks:
    """Who is told how the job goes, and Optuna's parts that a user brings."""

    study: Hooks = field(default_factory=Hooks)
    on_probe: Progress | None = None
    on_sensitivity: Callable[[Sensitivity], None] | None = None


def run_job(
    spec: TuneSpec, folder: str | os.PathLike[str], *, probe: bool = True, hooks: JobHooks | None = None
) -> tuple[Result, PictureProblem]:
    """Tune what `spec` describes, in a folder that can be gone on with; the result, and the problem it was found on.

    With `probe` each knob is first turned alone (`sensitivity`), on as many pictures as a fifth of the budget pays for:
    knobs that change nothing are locked, and what it cost is taken off the budget. Raises what `build` and `tune` do.
    """
    hooks = hooks or JobHooks()
    problem, held = build(spec)
    plan = spec.plan()
    LockedProblem(problem, plan.lock, plan.unlock)  # a wrong pattern is an error before anything is rendered
    found = _probed(problem, plan, RunFolder(folder), hooks) if probe else None
    if found is not None:
        dead = tuple(n for n in found.names("dead") if n in problem.space)
        left = plan.budget - found.megapixels / problem.megapixels
        plan = replace(plan, lock=(*plan.lock, *map(literal_pattern, dead)), budget=max(1.0, left))
    source = partial(tuned_problem, spec) if plan.workers > 1 or plan.trial_timeout_s is not None else problem
    result = tune(source, folder, plan, held_out=held, hooks=hooks.study)
    if found is not None:
        result = _with_probes(result, found, problem)
        write_result(result)
    return result, problem


def tuned_problem(spec: TuneSpec) -> PictureProblem:
    """The problem of a spec, as each worker process builds it."""
    return build(spec)[0]


def _probed(problem: PictureProblem, plan: Plan, room: RunFolder, hooks: JobHooks) -> Sensitivity | None:
    """The sensitivity map of the folder, made if it is not there; None where the budget is too small for it."""
    path = room.path / "sensitivity.json"
    if path.is_file():
        found = Sensitivity.from_json(read_json(path))
    else:
        pictures = _affordable(problem, plan.budget)
        if not pictures:
            return None
        room.path.mkdir(parents=True, exist_ok=True)
        locked = LockedProblem(problem, plan.lock, plan.unlock)
        found = sensitivity(locked, pictures=pictures, seed=plan.seed, progress=hooks.on_probe)
        write_json(path, found.to_json())
    if not set(found.names("acts", "inactive", "failed")) & set(problem.space):
        raise ParamError("no knob changes any picture; does the black box read the values it is given?")
    if hooks.on_sensitivity is not None:
        hooks.on_sensitivity(found)
    return found


def _affordable(problem: Problem, budget: float) -> tuple[int, ...]:
    """Pictures for the probes, spread over the set, so many that they cost at most their share of the budget."""
    probes = 1 + 2 * len(problem.space)
    count = len(problem.pictures)
    paid = min(count, math.floor(_PROBED_SHARE * budget * count / probes))
    return tuple(round((k + 0.5) * count / paid - 0.5) for k in range(paid))


def _with_probes(result: Result, found: Sensitivity, problem: Problem) -> Result:
    cost = found.megapixels / problem.megapixels
    notes = (*found.warnings(), *result.warnings)
    return replace(result, spent=result.spent + cost, budget=result.budget + cost, warnings=notes)
