"""Open a study or go on with one: its storage, what was left half done, and what is to be measured first."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
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
from ispkit.tune.run_folder import RunFolder, read_json, write_json

_STUDY = "ispkit"
_FACTS = "problem"
_IDENTITY = "identity"
"""the fact that holds a problem's optional `identity`: name -> digest, or digest@maker"""
_WARM_SETTINGS = 5
_STRANGER = timedelta(minutes=10)  # a trial that names no runner after this long has lost it


def open_study(room: RunFolder, problem: LockedProblem, plan: Plan, hooks: Hooks, scoring: Scoring) -> optuna.Study:
    """The study of a run folder, ready to ask: nothing stale in it, the expert's setting first.

    Raises `ParamError` if the folder or the storage holds a study of another problem, `FileError` if the folder's
    database is damaged or its trials are in a storage that is not named.
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
    _note_storage(room, hooks.storage, name)
    recover(study, problem, room, scoring, alone=hooks.storage is None)
    _first_trials(study, problem, plan)
    for folder in plan.warm_start:
        _warm_start(study, problem, RunFolder(folder), room, scoring)
    return study


def read_study(folder: str | os.PathLike[str], *, storage: str | BaseStorage | None = None) -> optuna.Study:
    """The study of a run folder, to look at, from its own database or the storage it was made with.

    `storage` names that one where the folder does not keep its address. Raises `FileError`.
    """
    room = RunFolder(folder)
    if not room.storage.is_file():
        if not room.database.is_file():
            raise FileError(f"{room.database}: no such file; is {room.path} the folder of a study?")
        return _loaded(_sqlite(room.database), _STUDY, str(room.database))
    kept = read_json(room.storage)
    place = storage or kept["url"]
    if place is None:
        raise FileError(
            f"{room.path}: its trials are in the study {kept['study']!r} of a storage whose address is not kept here "
            f"({kept['why']}); name it: read_study(folder, storage=...)"
        )
    file = _sqlite_file(place) if isinstance(place, str) else None
    if file is not None and not file.is_file():  # Optuna would make it
        raise FileError(f"{file}: no such file; {room.storage} says that the trials are there")
    return _loaded(place, kept["study"], str(kept["url"] or "the storage given"))


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
        _IDENTITY: dict(getattr(problem.inner, "identity", {})),
    }


def _check_same(study: optuna.Study, facts: dict[str, Any]) -> None:
    known = study.user_attrs.get(_FACTS)
    if known is None:
        study.set_user_attr(_FACTS, facts)
        return
    remedy = "take another folder (warm_start carries its trials over)"
    other = [name for name in facts if name != _IDENTITY and known.get(name) != facts[name]]
    if other:
        raise ParamError(f"study {study.study_name!r} was made with other {', '.join(other)}; {remedy}")
    changed = _changed(known, facts)
    if changed and any(record_of(t) is not None for t in study.get_trials(deepcopy=False)):
        have = "have" if len(changed) > 1 or changed[0].endswith("s") else "has"
        names = " and ".join(f"the {name}" for name in changed)
        raise ParamError(f"{names} {have} changed since study {study.study_name!r} was made; {remedy}")
    made_before = known.get(_IDENTITY) is None and facts[_IDENTITY]  # before there were digests
    if changed or made_before:  # a black box that never gave a picture may be mended
        study.set_user_attr(_FACTS, {**known, _IDENTITY: facts[_IDENTITY]})


def _changed(known: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What both have a digest of, made with the same arithmetic, that differs."""
    old, new = known.get(_IDENTITY) or {}, facts.get(_IDENTITY) or {}
    pairs = {name: (old[name].partition("@"), new[name].partition("@")) for name in new if name in old}
    return [name for name, (a, b) in pairs.items() if a[0] != b[0] and a[2] == b[2]]


def _same_problem(known: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> bool:
    if known is None:
        return False
    return all(known.get(n) == facts[n] for n in facts if n != _IDENTITY) and not _changed(known, facts)


def _first_trials(study: optuna.Study, problem: LockedProblem, plan: Plan) -> None:
    enqueue_expert(study, problem)
    for values in plan.enqueue:
        problem.inner.space.check(values)
        setting = problem.full(values)
        key = setting_key(problem.inner.space, setting)
        enqueue(study, problem, setting, origin=ENQUEUED, token=f"enqueue:{key}")


def _warm_start(study: optuna.Study, problem: LockedProblem, old: RunFolder, room: RunFolder, scoring: Scoring) -> None:
    earlier = read_study(old.path)
    same = _same_problem(earlier.user_attrs.get(_FACTS), study.user_attrs[_FACTS])
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
        if room.storage.is_file():
            kept = read_json(room.storage)
            where = kept["url"] or f"a storage whose address is not kept here ({kept['why']})"
            raise FileError(
                f"{room.path}: its trials are in the study {kept['study']!r} of {where}; name that storage again "
                "(--storage), or take another folder"
            )
        fresh = room.path / ".study.db.new"
        fresh.unlink(missing_ok=True)
        made = RDBStorage(f"sqlite:///{fresh}")
        made.remove_session()
        made.engine.dispose()
        os.replace(fresh, room.database)
    return _sqlite(room.database)


def _note_storage(room: RunFolder, given: str | BaseStorage | None, study: str) -> None:
    """Write storage.json where the trials are elsewhere; a password is never written."""
    url = given if isinstance(given, str) else getattr(given, "url", None)
    file = None if url is None else _sqlite_file(url)
    if given is None or isinstance(given, InMemoryStorage) or (file is None and _is_sqlite(url)):
        room.storage.unlink(missing_ok=True)  # in the folder itself, or nowhere
        return
    why = ""
    if url is None:
        why = f"it is a {type(given).__name__}"
    elif _has_password(url):
        url, why = None, "it has a password"
    elif file is not None:  # relative to a folder that need not be the reader's
        url = sqlalchemy.make_url(url).set(database=str(file.resolve())).render_as_string(hide_password=False)
    write_json(room.storage, {"study": study, "url": url, "why": why})


def _is_sqlite(url: str | None) -> bool:
    return url is not None and sqlalchemy.make_url(url).get_backend_name() == "sqlite"


def _sqlite_file(url: str) -> Path | None:
    """The file of an SQLite address; None for a server, a database in memory and a URI of SQLite's own."""
    name = sqlalchemy.make_url(url).database
    plain = name and name != ":memory:" and not name.startswith("file:")
    return Path(name) if name and plain and _is_sqlite(url) else None


def _has_password(url: str) -> bool:
    parts = sqlalchemy.make_url(url)
    secret = ("pass", "pwd", "secret", "token", "key")
    return bool(parts.password) or any(word in name.lower() for name in parts.query for word in secret)


def _loaded(storage: str | BaseStorage, name: str, place: str) -> optuna.Study:
    """Raise `FileError` where the study cannot be read."""
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        raise FileError(f"{place}: holds no study {name!r}") from error
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        raise FileError(f"{place}: cannot be read ({_short(error)})") from error


def _sqlite(path: Path) -> RDBStorage:
    """A database that readers do not block; a transaction survives the process, though perhaps not a power cut.

    Raises `FileError` where it is damaged or cannot be opened.
    """
    with _whole(path):
        if not path.stat().st_size:
            raise sqlite3.DatabaseError("file is empty")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})

    def relax(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    sqlalchemy.event.listen(storage.engine, "connect", relax)
    storage.remove_session()
    storage.engine.dispose()
    return storage


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What SQLite says of a file, as a `FileError`."""
    try:
        yield
    except (sqlite3.DatabaseError, sqlalchemy.exc.DatabaseError) as error:
        if isinstance(getattr(error, "orig", error), sqlite3.OperationalError):
            raise FileError(
                f"{path}: cannot be opened ({_short(error)}); is it in use, or not to be written?"
            ) from error
        raise FileError(
            f"{path}: damaged ({_short(error)}); put a copy of it back, or rescue what it holds with "
            f"`sqlite3 {path.name} .recover`, or begin in another folder; the scores so far are in log.jsonl"
        ) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split()).partition(" (Background")[0]
