"""Open a study or go on with one: its storage, what was left half done, and what is to be measured first."""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from ispkit.core.errors import FileError, ParamError
from ispkit.core.param import Values
from ispkit.tune.distributions import complete, distributions, legal, same_knobs, setting_key, to_params
from ispkit.tune.lock import LockedProblem
from ispkit.tune.plan import Hooks, Plan
from ispkit.tune.records import (
    ENQUEUED,
    EXPERT,
    INTERRUPTED,
    MEASUREMENT,
    ORIGIN,
    PRUNED,
    REASON,
    RUNNER,
    SAME_AS,
    TOKEN,
    WARM,
    Record,
    Scoring,
    record_of,
)
from ispkit.tune.run_folder import RunFolder

_STUDY = "ispkit"
_FACTS = "problem"
_WARM_SETTINGS = 5
_STRANGER = timedelta(minutes=10)  # a trial that names no runner after this long has lost it


def open_study(room: RunFolder, problem: LockedProblem, plan: Plan, hooks: Hooks, scoring: Scoring) -> optuna.Study:
    """The study of a run folder, ready to ask: nothing stale in it, the expert's setting first.

    Raises `ParamError` if the folder or the storage holds a study of another problem.
    """
    name = hooks.study_name or (_STUDY if hooks.storage is None else room.path.resolve().name)
    count = len(problem.objectives) if scoring.pareto else 1
    study = optuna.create_study(
        storage=_storage(room, hooks.storage),
        study_name=name,
        directions=["minimize"] * count,
        load_if_exists=True,
    )
    _check_same(study, _facts(problem, scoring))
    recover(study, problem, room, scoring, alone=hooks.storage is None)
    _first_trials(study, problem, plan)
    for folder in plan.warm_start:
        _warm_start(study, problem, RunFolder(folder), room, scoring)
    return study


def read_study(folder: str | os.PathLike[str]) -> optuna.Study:
    """The study of a run folder with its own database, to look at. Raises `FileError`."""
    room = RunFolder(folder)
    if not room.database.is_file():
        raise FileError(f"{room.database}: no such file; is {room.path} the folder of a study?")
    return optuna.load_study(study_name=_STUDY, storage=_sqlite(room.database))


def enqueue(study: optuna.Study, problem: LockedProblem, values: Values, *, origin: str, token: str) -> None:
    """Put a setting in the queue, once for each token however often it is called."""
    if any(t.user_attrs.get(TOKEN) == token for t in study.get_trials(deepcopy=False)):
        return
    params = to_params(problem.space, legal(problem.space, {n: values[n] for n in problem.space if n in values}))
    study.enqueue_trial(params, user_attrs={ORIGIN: origin, TOKEN: token})


def recover(study: optuna.Study, problem: LockedProblem, room: RunFolder, scoring: Scoring, *, alone: bool) -> None:
    """Settle the trials that a killed process left running.

    What had been measured is told; the others are marked failed ("interrupted"), and their setting is
    enqueued once more. `alone`: nobody else works on this storage.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not (alone or _is_ours(trial, room.id)):
            continue
        record = record_of(trial)
        if record is not None:
            state = trial.user_attrs.get(PRUNED, TrialState.COMPLETE.name)
            if state == TrialState.PRUNED.name:
                study.tell(trial.number, state=TrialState.PRUNED)
            else:
                study.tell(trial.number, scoring.told(record))
            continue
        params = trial.system_attrs.get("fixed_params", trial.params)
        if set(params) >= set(problem.space):
            origin = trial.user_attrs.get(ORIGIN, "method")
            enqueue(study, problem, params, origin=origin, token=f"retry:{trial.number}")
        _mark(study, trial, REASON, "interrupted")
        _mark(study, trial, INTERRUPTED, True)
        study.tell(trial.number, state=TrialState.FAIL)
        room.note("interrupted", trial=trial.number)


def enqueue_expert(study: optuna.Study, problem: LockedProblem) -> None:
    """The expert's setting, unless it is measured or in the queue already; another machine's may never end."""
    trials = study.get_trials(deepcopy=False)
    there = (TrialState.COMPLETE, TrialState.WAITING)
    if not any(t.user_attrs.get(ORIGIN) == EXPERT and t.state in there for t in trials):
        enqueue(study, problem, problem.space.defaults(), origin=EXPERT, token=f"expert:{len(trials)}")


def _mark(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    # a stored trial that is not this process's own has no public handle to set attributes by
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def _is_ours(trial: FrozenTrial, folder: str) -> bool:
    runner = trial.user_attrs.get(RUNNER)
    if runner is None:
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > _STRANGER
    return bool(runner == folder)


def _facts(problem: LockedProblem, scoring: Scoring) -> dict[str, Any]:
    return {
        "knobs": same_knobs(problem.inner.space),
        "locked": list(problem.locked),
        "objectives": list(problem.objectives),
        "pictures": list(problem.pictures),
        "weights": dict(scoring.weights),
        "pareto": scoring.pareto,
    }


def _check_same(study: optuna.Study, facts: dict[str, Any]) -> None:
    known = study.user_attrs.get(_FACTS)
    if known is None:
        study.set_user_attr(_FACTS, facts)
        return
    other = [name for name in facts if known.get(name) != facts[name]]
    if other:
        raise ParamError(
            f"study {study.study_name!r} was made with other {', '.join(other)}; "
            "take another folder (warm_start carries its trials over)"
        )


def _first_trials(study: optuna.Study, problem: LockedProblem, plan: Plan) -> None:
    enqueue_expert(study, problem)
    for values in plan.enqueue:
        problem.inner.space.check(values)
        setting = problem.full(values)
        key = setting_key(problem.inner.space, setting)
        enqueue(study, problem, setting, origin=ENQUEUED, token=f"enqueue:{key}")


def _warm_start(study: optuna.Study, problem: LockedProblem, old: RunFolder, room: RunFolder, scoring: Scoring) -> None:
    earlier = read_study(old.path)
    same = earlier.user_attrs.get(_FACTS) == study.user_attrs[_FACTS]
    done = [
        t for t in earlier.get_trials(deepcopy=False) if t.state is TrialState.COMPLETE and PRUNED not in t.user_attrs
    ]
    if not same:
        done = sorted(done, key=lambda t: t.values[0])[:_WARM_SETTINGS]
    tokens = {t.user_attrs.get(TOKEN) for t in study.get_trials(deepcopy=False)}
    for trial in done:
        token, record = f"warm:{old.id}#{trial.number}", record_of(trial)
        if token in tokens or record is None or SAME_AS in trial.user_attrs:
            continue
        if same:
            _adopt(study, problem, trial, token=token, scoring=scoring)
            room.store.adopt(old.store, pictures=record.rendered, residual=record.residual)
        else:
            enqueue(study, problem, complete(problem.inner.space, record.values), origin=WARM, token=token)


def _adopt(study: optuna.Study, problem: LockedProblem, trial: FrozenTrial, *, token: str, scoring: Scoring) -> None:
    """Add an earlier study's trial as it is; it costs nothing here."""
    facts = {**trial.user_attrs[MEASUREMENT], "renders": 0, "megapixels": 0.0, "seconds": 0.0}
    record = Record.from_json(facts)
    steps = {} if scoring.pareto else dict(zip(record.pictures, scoring.per_picture(record).tolist(), strict=True))
    study.add_trial(
        create_trial(
            values=trial.values,
            params=to_params(problem.space, record.values),
            distributions=distributions(problem.space),
            user_attrs={ORIGIN: WARM, TOKEN: token, MEASUREMENT: facts},
            system_attrs={n: v for n, v in trial.system_attrs.items() if n.startswith("constraints")},
            intermediate_values=steps,  # what a Wilcoxon pruner compares with
        )
    )


def _storage(room: RunFolder, given: str | BaseStorage | None) -> str | BaseStorage:
    if given is not None:
        return given
    if not room.database.is_file():  # made under another name first: a half made database cannot be opened
        fresh = room.path / ".study.db.new"
        fresh.unlink(missing_ok=True)
        made = RDBStorage(f"sqlite:///{fresh}")
        made.remove_session()
        made.engine.dispose()
        os.replace(fresh, room.database)
    return _sqlite(room.database)


def _sqlite(path: Path) -> RDBStorage:
    """A database that readers do not block; a transaction survives the process, though perhaps not a power cut."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})

    def relax(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    sqlalchemy.event.listen(storage.engine, "connect", relax)
    storage.remove_session()
    storage.engine.dispose()
    return storage
