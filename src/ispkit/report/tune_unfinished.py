"""What a study has found so far, from the trials in its folder: for studies that were interrupted or still run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import optuna
import yaml
from optuna.trial import TrialState

from ispkit.core.errors import FileError
from ispkit.report.tune_trials import TrialRow, non_dominated, read_trials
from ispkit.tune.distributions import Setting
from ispkit.tune.opening import read_study
from ispkit.tune.records import EXPERT, ORIGIN, PRUNED, SAME_AS, Scoring, record_of
from ispkit.tune.result import Candidate, KnobChange, Result, read_result
from ispkit.tune.run_folder import RunFolder, read_json
from ispkit.tune.sensitivity import Sensitivity

_TRIALS = ("complete", "pruned", "failed")
UNFINISHED = "not finished: leading settings were not measured again, and nothing was checked on held-out pictures"


def result_so_far(folder: str | os.PathLike[str]) -> Result:
    """The declared result of a run folder, or what its trials say where none, or no longer. Raises `FileError`."""
    room = RunFolder(folder)
    return read_result(room.path) if is_declared(room) else unfinished_result(room)


def is_declared(room: RunFolder) -> bool:
    """Whether a result was declared, and no trial was finished since."""
    if not room.result.is_file():
        return False
    last = [e["event"] for e in room.events("finished", *_TRIALS)][-1:]
    return last in ([], ["finished"])


def unfinished_result(room: RunFolder) -> Result:
    """The best trial so far beside the expert's. Raises `FileError` without the expert's trial."""
    study, plan = read_study(room.path), _plan(room)
    found = _measured(study)
    experts = [c for c, origin in found if origin == EXPERT]
    facts = study.user_attrs.get("problem")
    if facts is None or not experts:
        raise FileError(f"{room.path}: no trial is finished yet; run `ispkit tune` again to go on")
    scoring = Scoring(tuple(facts["objectives"]), facts["weights"], facts["pareto"])
    everyone = [c for c, _ in found]
    best = min(everyone, key=lambda c: (c.violation, scoring.score(c.scores)))
    rows = read_trials(room)
    front = non_dominated(rows, scoring.objectives) if scoring.pareto else set()
    probed, notes = _probes(room)
    return Result(
        best=best,
        expert=experts[0],
        front=tuple(c for c in everyone if c.trial in front) or (best,),
        knobs=[_change(k, experts[0].values, best.values, facts["locked"]) for k in facts["knobs"]],
        objectives=scoring.objectives,
        pictures=tuple(facts["pictures"]),
        weights=scoring.weights,
        method=str(plan["method"]),
        seed=int(plan["seed"]),
        noisy=False,
        spent=max((r.spent for r in rows), default=0.0) + probed,
        budget=float(plan["budget"]) + probed,
        trials=_counts(rows),
        warnings=(UNFINISHED, *notes),
        stopped=UNFINISHED,
        folder=room.path,
    )


def _probes(room: RunFolder) -> tuple[float, tuple[str, ...]]:
    """Renders of the set that the knobs' probes took, and what they showed."""
    size = yaml.safe_load(room.spec.read_text(encoding="utf-8"))["problem"]["megapixels"]
    if not room.sensitivity.is_file() or not size:
        return 0.0, ()
    found = Sensitivity.from_json(read_json(room.sensitivity))
    return found.megapixels / size, found.warnings()


def candidate_of(folder: str | os.PathLike[str], number: int) -> Candidate:
    """The setting of one finished trial. Raises `FileError` for a trial that was not measured."""
    found = {c.trial: c for c, _ in _measured(read_study(folder), copies=True)}
    if number not in found:
        last = max(found, default=-1)
        raise FileError(
            f"{folder}: trial {number} was not measured on all pictures (it failed, was pruned, or is not there); "
            f"trials are numbered up to {last}"
        )
    return found[number]


def _measured(study: optuna.Study, *, copies: bool = False) -> list[tuple[Candidate, str]]:
    """Settings measured on all pictures, and where they came from."""
    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        record, attrs = record_of(trial), trial.user_attrs
        if record is None or PRUNED in attrs or (SAME_AS in attrs and not copies):
            continue
        one = Candidate(
            trial.number, record.values, record.scores, record.per_picture, record.constraints, tuple(record.rendered)
        )
        found.append((one, str(attrs.get(ORIGIN, ""))))
    return found


def _plan(room: RunFolder) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load(room.spec.read_text(encoding="utf-8"))["plan"])
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise FileError(f"{room.spec}: cannot be read; is {room.path} the folder of a study?") from error


def _counts(rows: Sequence[TrialRow]) -> dict[str, int]:
    states = [r.state for r in rows]
    return {state: states.count(state) for state in ("complete", "known", "pruned", "failed")}


def _change(knob: Sequence[Any], old: Setting, new: Setting, locked: Sequence[str]) -> KnobChange:
    """A row of the table, of a knob as the study's database declares it."""
    name, numeric = str(knob[0]), not isinstance(knob[1], list)
    return KnobChange(
        name=name,
        old=old[name],
        new=new[name],
        low=float(knob[1]) if numeric else None,
        high=float(knob[2]) if numeric else None,
        options=() if numeric else tuple(knob[1]),
        unit="",
        changed=old[name] != new[name],
        active=True,
        locked=name in locked,
        at_bound="",
    )
