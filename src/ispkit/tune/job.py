"""A tuning job from its spec to its result: what acts, the search, what was found."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import yaml

from ispkit.core.errors import FileError, ParamError
from ispkit.tune.contracts import Problem
from ispkit.tune.engine import scoring_of
from ispkit.tune.lock import LockedProblem
from ispkit.tune.methods import method_of
from ispkit.tune.opening import read_study
from ispkit.tune.plan import Hooks, Plan
from ispkit.tune.probing import kept_map, probe_knobs, too_small
from ispkit.tune.problem import PictureProblem
from ispkit.tune.result import Result, write_result
from ispkit.tune.run_folder import RunFolder, working_in, write_json
from ispkit.tune.sampler import SearcherSampler
from ispkit.tune.sensitivity import Progress, Sensitivity, literal_pattern
from ispkit.tune.spec import TuneSpec, build, from_dict, to_dict
from ispkit.tune.study import ProblemSource, search_setup, tune

_NOT_PROBED = (
    "no knob was turned alone before the search: the study was begun with too small a budget to probe them; another "
    "folder with a larger one would"
)
_STUDIED = ("isp", "data", "held_out", "start", "objective", "constraints", "anchors", "register", "lock", "unlock")
"""fields of a spec that may not change within one folder"""


@dataclass(frozen=True)
class JobHooks:
    """Who is told how the job goes, and Optuna's parts that a user brings."""

    study: Hooks = field(default_factory=Hooks)
    on_probe: Progress | None = None
    on_sensitivity: Callable[[Sensitivity], None] | None = None


def run_job(
    spec: TuneSpec,
    folder: str | os.PathLike[str],
    *,
    probe: bool = True,
    warm_start: Sequence[str] = (),
    hooks: JobHooks | None = None,
) -> tuple[Result, PictureProblem]:
    """Tune what `spec` describes, in a folder that can be gone on with; the result, and the problem it was found on.

    With `probe` each knob is first turned alone (`sensitivity`), on as many pictures as a fifth of the budget pays for:
    knobs that change nothing are locked, and what it cost is taken off the budget. A folder that was begun with probes
    or without stays so. `warm_start` names earlier run folders. Raises what `build` and `tune` do, `ParamError` for a
    folder that holds another study; all that is wrong with the spec is found before the first render.
    """
    hooks = hooks or JobHooks()
    room = RunFolder(folder)
    _check_folder(room, spec)
    for earlier in warm_start:
        read_study(earlier)
    method_of(spec.method)
    problem, held = build(spec)
    plan = replace(spec.plan(), warm_start=tuple(warm_start))
    _check_plan(problem, plan, hooks.study)
    wanted = _to_probe(room, problem, probe=probe)
    source, held_source = _Source(spec, 0, problem), None if held is None else _Source(spec, 1, held)
    found = _probed(source, problem, plan, room, hooks) if wanted else None
    plan = plan if found is None else _after_probes(plan, found, problem)
    result = tune(source, folder, plan, held_out=held_source, hooks=hooks.study)
    _keep_fidelity(result, room)
    if found is not None:
        result = _with_probes(result, found, problem)
    elif too_small(room):
        result = replace(result, warnings=(_NOT_PROBED, *result.warnings))
    with working_in(room.path):
        write_result(result)
    return result, problem


def spec_of(folder: str | os.PathLike[str]) -> TuneSpec:
    """The job that a run folder was made by. Raises `FileError` for a folder that holds none."""
    room = RunFolder(folder)
    spec = _kept_spec(room)
    if not spec:
        raise FileError(f"{room.spec}: made by a program, not by `ispkit tune`; only the program can build its problem")
    return from_dict(spec)


class _Source:
    """A problem of a spec: here as it was built, in a worker process built there."""

    def __init__(self, spec: TuneSpec, which: int, made: PictureProblem | None) -> None:
        self._spec, self._which, self._made = spec, which, made

    def __call__(self) -> PictureProblem:
        made = self._made or build(self._spec)[self._which]
        assert made is not None  # a source is made of a problem that is there
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._spec, self._which, None)


def _kept_spec(room: RunFolder) -> dict[str, Any]:
    """As study.yaml holds it; empty for a study of a program. Raises `FileError`."""
    try:
        facts = yaml.safe_load(room.spec.read_text(encoding="utf-8"))
        return dict(facts["plan"]["spec"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise FileError(f"{room.spec}: cannot be read ({reason}); is {room.path} the folder of a study?") from error


def _check_folder(room: RunFolder, spec: TuneSpec) -> None:
    """Raise `ParamError` if the folder holds a study of something else, `FileError` if it is no folder."""
    if room.path.exists() and not room.path.is_dir():
        raise FileError(f"{room.path} is a file; name a folder for the study")
    if not room.spec.is_file():
        return
    old, new = _kept_spec(room), to_dict(spec)
    other = [name for name in _STUDIED if old.get(name) != new.get(name)]
    if old and other:
        raise ParamError(
            f"{room.path} holds a study with another {', '.join(other)}; take another folder "
            f"(--warm-start {room.path} begins with what that one found)"
        )


def _check_plan(problem: PictureProblem, plan: Plan, hooks: Hooks) -> None:
    """Raise `ParamError` for a wrong pattern, method or option of it, before anything is rendered."""
    locked = LockedProblem(problem, plan.lock, plan.unlock)
    scoring = scoring_of(locked, plan, hooks)
    if hooks.sampler is None:
        method_of(plan.method)(search_setup(locked, plan, scoring))


def _to_probe(room: RunFolder, problem: Problem, *, probe: bool) -> bool:
    """Knobs that are found dead are locked, so a study cannot begin to probe, or cease to, half way."""
    return kept_map(room, problem) is not None or (probe and not room.spec.is_file())


def _probed(
    source: ProblemSource, problem: PictureProblem, plan: Plan, room: RunFolder, hooks: JobHooks
) -> Sensitivity | None:
    """The sensitivity map of the folder, made if it is not there; None where the budget is too small for it."""
    found = kept_map(room, problem) or probe_knobs(source, problem, plan, room, hooks.on_probe)
    if found is not None and hooks.on_sensitivity is not None:
        hooks.on_sensitivity(found)
    return found


def _after_probes(plan: Plan, found: Sensitivity, problem: Problem) -> Plan:
    """Dead knobs locked, and the budget that is left."""
    dead = tuple(n for n in found.names("dead") if n in problem.space)
    left = plan.budget - found.megapixels / problem.megapixels
    return replace(plan, lock=(*plan.lock, *map(literal_pattern, dead)), budget=max(1.0, left))


def _with_probes(result: Result, found: Sensitivity, problem: Problem) -> Result:
    cost = found.megapixels / problem.megapixels
    notes = (*found.warnings(), *result.warnings)
    return replace(result, spent=result.spent + cost, budget=result.budget + cost, warnings=notes)


def _keep_fidelity(result: Result, room: RunFolder) -> None:
    """Write proxy.json, for the report, where the method learned one in this sitting."""
    sampler = None if result.study is None else result.study.sampler
    searcher = sampler.searcher if isinstance(sampler, SearcherSampler) else None
    fidelity = getattr(searcher, "fidelity", None)
    if fidelity is not None:
        write_json(room.path / "proxy.json", asdict(fidelity))
