"""The sensitivity map of a run folder: made by the study's own workers, every probe kept, gone on with after a kill."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ispkit.core.errors import ParamError
from ispkit.core.param import Values
from ispkit.tune.contracts import Measurement, Problem
from ispkit.tune.distributions import same_knobs, setting_key
from ispkit.tune.lock import LockedProblem
from ispkit.tune.plan import Plan
from ispkit.tune.records import Record
from ispkit.tune.run_folder import RunFolder, read_json, working_in, write_json
from ispkit.tune.sensitivity import Progress, Seen, Sensitivity, sensitivity
from ispkit.tune.study import ProblemSource
from ispkit.tune.worker import Executor, Task, answers, executor

_SHARE = 0.2  # of the budget that the probes may cost, those of dead knobs at other settings apart


def kept_map(room: RunFolder, problem: Problem) -> Sensitivity | None:
    """The map that the folder holds of this problem, if there is one. Raises `FileError`."""
    facts = read_json(room.sensitivity) if room.sensitivity.is_file() else {}
    return Sensitivity.from_json(facts) if facts.get("of") == _name(problem) else None


def too_small(room: RunFolder) -> bool:
    """Whether knobs were to be probed and the budget was too small for it when the study was begun."""
    begun = room.events("probing")
    return bool(begun) and not begun[-1]["pictures"]


def probe_knobs(
    source: ProblemSource, problem: Problem, plan: Plan, room: RunFolder, progress: Progress | None = None
) -> Sensitivity | None:
    """Turn each knob that the plan leaves free alone, and keep the map; None where the budget is too small for it.

    `source` is what workers build the problem from. A probe that hangs or crashes costs no more than a trial. Raises
    `BlackBoxError` if the defaults cannot be rendered, `ParamError` where no knob acts (a program that was mended is
    then probed anew), `FileError` where another study works in the folder.
    """
    locked = LockedProblem(problem, plan.lock, plan.unlock)
    with working_in(room.path):
        past = _Past.of(room, _name(problem))
        pictures = past.pictures or _affordable(locked, plan.budget)
        room.note("probing", of=_name(problem), pictures=pictures, pid=os.getpid())
        if not pictures:
            return None
        crew = executor(source, problem, room.store, plan)
        try:
            look = _Journalled(locked, crew, room, Task(0, {}, pictures, plan.seed), past.known)
            found = sensitivity(locked, seed=plan.seed, progress=progress, look=look)
        finally:
            crew.close()
        if not found.names("acts", "inactive", "failed"):
            room.note("unheard")
            raise ParamError("no knob changes any picture; does the black box read the values it is given?")
        found = replace(found, megapixels=found.megapixels + past.failed * past.each)
        write_json(room.sensitivity, {"of": _name(problem), **found.to_json()})
    return found


@dataclass(frozen=True)
class _Past:
    """What earlier sittings probed, and what they paid for probes that failed."""

    pictures: tuple[int, ...] = ()
    failed: int = 0
    each: float = 0.0
    """megapixels of a probe"""
    known: Mapping[str, Record] = field(default_factory=dict)

    @classmethod
    def of(cls, room: RunFolder, name: str) -> _Past:
        """From the log; nothing of another problem, nor of a program that read no value."""
        past, known, ours = cls(), dict[str, Record](), False
        for event in room.events("probing", "probed", "unheard"):
            if event["event"] == "unheard":
                past = cls()
                known.clear()
            elif event["event"] == "probing":
                ours = event["of"] == name
                past = replace(past, pictures=tuple(event["pictures"])) if ours else past
            elif ours and event["measurement"]:
                record = Record.from_json(event["measurement"])
                known[event["key"]] = record
                past = replace(past, each=record.megapixels)
            elif ours:
                past = replace(past, failed=past.failed + 1)
        return replace(past, known=known)


@dataclass(frozen=True)
class _Journalled:
    """Measures settings by a crew; what earlier sittings measured is not rendered again."""

    problem: LockedProblem
    crew: Executor
    room: RunFolder
    task: Task
    """what every probe is but for its number and its setting"""
    known: Mapping[str, Record]

    def __call__(self, settings: Sequence[Values]) -> Iterator[Seen]:
        full = [self.problem.full(values) for values in settings]
        keys = [self._key(values) for values in full]
        for number, key in enumerate(keys):
            if key in self.known:
                yield number, self._measurement(self.known[key])
        todo = [replace(self.task, job=k, values=full[k]) for k, key in enumerate(keys) if key not in self.known]
        for answer in answers(self.crew, todo):
            record = answer.record
            measured = None if record is None else record.to_json()
            self.room.note("probed", key=keys[answer.job], reason=answer.reason, measurement=measured)
            yield answer.job, answer.reason if record is None else self._measurement(record)

    def _key(self, values: Values) -> str:
        """Of everything that a probe's result depends on."""
        problem = self.problem
        about: Mapping[str, Any] = dict(getattr(problem.inner, "identity", {}))
        setting = setting_key(problem.inner.space, values)
        words = [setting, self.task.pictures, self.task.seed, problem.pictures, problem.objectives, about]
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()

    def _measurement(self, record: Record) -> Measurement:
        return Measurement(
            record.scores,
            record.per_picture,
            tuple(record.pictures),
            rendered=self.room.store.pictures(record.rendered),
            renders=record.renders,
            megapixels=record.megapixels,
            seconds=record.seconds,
        )


def _name(problem: Problem) -> str:
    """The same for the same knobs, objectives and pictures; on another machine, too."""
    words = [same_knobs(problem.space), problem.objectives, problem.pictures]
    return hashlib.sha256(json.dumps(words, sort_keys=True, default=str).encode()).hexdigest()


def _affordable(problem: Problem, budget: float) -> tuple[int, ...]:
    """Pictures for the probes, spread over the set, so many that they cost at most their share of the budget."""
    probes = 1 + 2 * len(problem.space)
    count = len(problem.pictures)
    paid = min(count, math.floor(_SHARE * budget * count / probes))
    return tuple(round((k + 0.5) * count / paid - 0.5) for k in range(paid))
