"""The loop of a study: ask, measure, tell; what is known is not rendered again, what fails costs one trial."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, NopPruner, WilcoxonPruner
from optuna.trial import Trial, TrialState

from ispkit.core.errors import BlackBoxError, ParamError
from ispkit.tune.budget import Budget
from ispkit.tune.distributions import Setting, distributions, from_point, legal, setting_key
from ispkit.tune.lock import LockedProblem
from ispkit.tune.opening import enqueue, enqueue_expert
from ispkit.tune.plan import Hooks, Plan, Progress
from ispkit.tune.records import (
    EXPERT,
    INTERRUPTED,
    MEASUREMENT,
    ORIGIN,
    PRUNED,
    REASON,
    RECOMMENDED,
    RUNNER,
    SAME_AS,
    Record,
    Scoring,
    joined,
    record_of,
)
from ispkit.tune.run_folder import RunFolder
from ispkit.tune.sampler import SearcherSampler
from ispkit.tune.worker import Answer, Executor, Task, answers

_KNOWN_IN_A_ROW = 100
"""settings proposed again without a new one between them, after which the search has converged"""
_PAIRED_SEED = 1 << 30
_SAME_SCORE = 1e-6  # relative; a GPU's sums differ by this from run to run
_PROBED_FROM = 6.0  # renders of budget; with less, finding out about noise and acting on it costs too much


@dataclass
class _Job:
    trial: Trial
    values: Setting
    key: str
    origin: str | None
    waiting: list[tuple[int, ...] | None]
    """groups of pictures still to render; None: all"""
    parts: list[Record] = field(default_factory=list)


class Engine:
    """One sitting of a study. `search` spends the budget; `remeasure` is for whoever declares a winner."""

    def __init__(
        self, study: optuna.Study, problem: LockedProblem, plan: Plan, *, crew: Executor, room: RunFolder, hooks: Hooks
    ) -> None:
        self.study, self.problem, self.plan, self.room = study, problem, plan, room
        self.scoring = scoring_of(problem, plan, hooks)
        self.budget = Budget(plan.budget, problem.megapixels)
        self.noisy = plan.noisy
        self.stopped = ""
        """why the search ended before its budget"""
        self._crew, self._hooks = crew, hooks
        self._jobs: dict[int, _Job] = {}
        self._followers: dict[str, list[Trial]] = {}
        self._known: dict[str, tuple[int, Record]] = {}
        self._remeasured: dict[tuple[str, int], Record] = {}
        self._failed_in_a_row = self._known_in_a_row = self.failures = 0
        self._best = math.inf
        self._seen: set[int] = set()
        self._shared = hooks.storage is not None
        self._distributions = distributions(problem.space)
        self._in_steps = not isinstance(study.pruner, NopPruner) and not self.scoring.pareto
        self._read_past()

    def search(self) -> None:
        """Measure the expert, find out whether there is noise, then let the method spend the budget.

        Raises `BlackBoxError` after too many failures in a row; the study can be resumed.
        """
        while self.expert is None:
            self._round(one=True)
        self._probe_noise()
        while self._round():
            pass
        self.room.note("searched", spent=self.budget.spent, why=self.stopped or "the budget is spent")

    @property
    def expert(self) -> Record | None:
        """The measurement of the expert's setting in the search."""
        found = self._known.get(self.key(self.problem.space.defaults()))
        return None if found is None else found[1]

    def key(self, values: Any) -> str:
        """The name of a setting; knobs that do not act are left out."""
        return setting_key(self.problem.inner.space, self.problem.full(values))

    def remeasure(self, settings: Sequence[Setting], repeat: int, *, purpose: str) -> list[Record | None]:
        """Measure settings once more under the noise of this repeat, all under the same; None for a failure.

        What an earlier sitting measured is read from the log.
        """
        seed = _PAIRED_SEED + self.plan.seed * 1000 + repeat
        todo = {}
        for values in settings:
            if (self.key(values), seed) not in self._remeasured:
                todo[self.key(values)] = values
        keys = list(todo)
        for answer in answers(self._crew, [Task(i, todo[key], None, seed) for i, key in enumerate(keys)]):
            self._note_remeasured(keys[answer.job], seed, answer, purpose)
        return [self._remeasured.get((self.key(v), seed)) for v in settings]

    def missing(self, settings: Sequence[Setting], repeat: int) -> int:
        """How many renders `remeasure` would still cost."""
        seed = _PAIRED_SEED + self.plan.seed * 1000 + repeat
        return len({self.key(v) for v in settings if (self.key(v), seed) not in self._remeasured})

    def _see_others(self) -> float:
        """Take note of trials finished by earlier sittings or other machines; what they cost."""
        spent = 0.0
        for trial in self.study.get_trials(deepcopy=False):
            record = record_of(trial)
            if trial.number in self._seen or not trial.state.is_finished():
                continue
            self._seen.add(trial.number)
            if trial.state is TrialState.FAIL and not {INTERRUPTED, SAME_AS} & set(trial.user_attrs):
                spent, self.failures = spent + 1.0, self.failures + 1
            if record is None:
                continue
            spent += self._cost(record)
            if trial.state is TrialState.COMPLETE and PRUNED not in trial.user_attrs:
                self._remember(trial.number, record)
        return spent

    def _read_past(self) -> None:
        spent = self._see_others()
        for event in self.room.events("remeasured"):
            spent += event["cost"]
            if event.get("measurement"):
                self._remeasured[event["key"], event["seed"]] = Record.from_json(event["measurement"])
        self.budget.resume(spent)

    def _remember(self, number: int, record: Record) -> None:
        self._known.setdefault(self.key(record.values), (number, record))
        if record.violation == 0:
            self._best = min(self._best, self.scoring.score(record.scores))

    def _cost(self, record: Record) -> float:
        return self.budget.renders(record.megapixels, record.renders)

    def _probe_noise(self) -> None:
        expert = self.expert
        if expert is None:
            return
        if self.noisy is None and self.plan.budget >= _PROBED_FROM:
            again = self.remeasure([expert.values], 0, purpose="noise")[0]
            # a black box that fails under the same setting now and then is not one that always does the same
            self.noisy = again is None or not _same(expert, again)
        self.noisy = bool(self.noisy)
        if self.noisy:
            wanted = (self.plan.leaders + 1) * self.plan.repeats
            self.budget.reserve = min(wanted, max(2.0, self.plan.budget // 4))
        if isinstance(self.study.sampler, SearcherSampler):
            extra = sum(self._cost(r) for r in self._remeasured.values())
            self.study.sampler.spend(int(self.budget.total - self.budget.reserve - extra))

    def _round(self, *, one: bool = False) -> bool:
        """Start what may be started, then wait for an answer. False when there is nothing more to do."""
        while self._crew.free and not self.stopped and not (one and self._jobs) and self._may_start():
            if not self._start():
                break
        if not self._jobs:
            if one and self.expert is None and not self.budget.room():
                raise BlackBoxError(self._without_expert())
            return not self.stopped and self._may_start()
        for answer in self._crew.wait():
            self._take(answer)
        return True

    def _without_expert(self) -> str:
        """The budget is spent, perhaps before so many failures in a row that the study is given up."""
        failed = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        reasons = [t.user_attrs[REASON] for t in failed if REASON in t.user_attrs and INTERRUPTED not in t.user_attrs]
        last = f", the last failure: {reasons[-1]}" if reasons else ""
        return (
            f"the expert's setting was not measured within {self.plan.budget:g} renders{last}; "
            f"see {self.room.log}, mend the black box and start again with the same folder and a larger budget"
        )

    def _may_start(self) -> bool:
        if not self.budget.room():
            return False
        sampler = self.study.sampler
        if self.expert is not None and isinstance(sampler, SearcherSampler) and not self.budget.room(2.0):
            if self._jobs:
                return False
            self._recommend(sampler)
        return True

    def _recommend(self, sampler: SearcherSampler) -> None:
        """The last render is for the point that the method recommends, where that was not measured."""
        values = from_point(self.problem.space, sampler.recommended(self.study))
        key = self.key(values)
        if key not in self._known:
            enqueue(self.study, self.problem, values, origin=RECOMMENDED, token=f"recommended:{key}")

    def _start(self) -> bool:
        """Ask for a trial and begin it. False: better wait for an answer before the next."""
        trial = self.study.ask(self._distributions)
        if self._shared:
            trial.set_user_attr(RUNNER, self.room.id)
            self.budget.charge(self._see_others())
        values = self.problem.full(legal(self.problem.space, trial.params))
        job = _Job(trial, values, self.key(values), trial.user_attrs.get(ORIGIN), self._groups(trial.number))
        if not self.noisy and job.key in self._known:
            self._copy(trial, *self._known[job.key])
            return True
        if not self.noisy and any(j.key == job.key for j in self._jobs.values()):
            self._followers.setdefault(job.key, []).append(trial)
            return False
        self._known_in_a_row = 0
        self._jobs[trial.number] = job
        self.budget.running += 1
        self._submit(job)
        return True

    def _groups(self, number: int) -> list[tuple[int, ...] | None]:
        if not self._in_steps:
            return [None]
        order = np.arange(len(self.problem.pictures))
        if isinstance(self.study.pruner, WilcoxonPruner):  # another order each time, as its documentation says
            np.random.default_rng([self.plan.seed, number]).shuffle(order)
        return [(int(i),) for i in order]

    def _submit(self, job: _Job) -> None:
        seed = self.plan.seed * 1_000_003 + job.trial.number
        self._crew.submit(Task(job.trial.number, job.values, job.waiting.pop(0), seed))

    def _take(self, answer: Answer) -> None:
        job = self._jobs[answer.job]
        if answer.record is None:
            self._fail(job, answer.reason)
            return
        job.parts.append(answer.record)
        worse = self._in_steps and self._report(job)
        if job.waiting and not worse:
            self._submit(job)
            return
        self._complete(job, pruned=bool(worse and job.waiting))

    def _report(self, job: _Job) -> bool:
        """Tell the pruner; whether it wants the trial to end."""
        whole = joined(job.parts)
        if isinstance(self.study.pruner, WilcoxonPruner):
            newest = job.parts[-1]
            job.trial.report(float(self.scoring.per_picture(newest)[0]), int(newest.pictures[0]))
        else:
            job.trial.report(self.scoring.score(whole.scores), len(job.parts))
        # the expert is what all are compared with, on every picture
        return job.origin != EXPERT and bool(job.trial.should_prune())

    def _complete(self, job: _Job, *, pruned: bool) -> None:
        record, trial = joined(job.parts), job.trial
        for name, amount in record.constraints.items():
            trial.set_constraint(name, amount)
        state = TrialState.COMPLETE
        if pruned:
            # Optuna's advice for this pruner: give the mean so far, so that samplers learn from the trial
            state = TrialState.COMPLETE if isinstance(self.study.pruner, WilcoxonPruner) else TrialState.PRUNED
            trial.set_user_attr(PRUNED, state.name)
        trial.set_user_attr(MEASUREMENT, record.to_json())
        if state is TrialState.COMPLETE:
            self.study.tell(trial, self.scoring.told(record))
        else:
            self.study.tell(trial, state=state)
        self._end(job, self._cost(record))
        self._failed_in_a_row = 0
        if not pruned:
            self._remember(trial.number, record)
        self._tell_progress(trial.number, "pruned" if pruned else "complete", record)
        for follower in self._followers.pop(job.key, []):
            self._copy(follower, trial.number, record)

    def _fail(self, job: _Job, reason: str) -> None:
        self._end(job, 1.0)
        for trial in [job.trial, *self._followers.pop(job.key, [])]:
            trial.set_user_attr(REASON, reason)
            if trial is not job.trial:
                trial.set_user_attr(SAME_AS, job.trial.number)
            self.study.tell(trial, state=TrialState.FAIL)
            self._seen.add(trial.number)
            self.failures += trial is job.trial
            self.room.note("failed", trial=trial.number, reason=reason, values=job.values, spent=self.budget.spent)
            self._tell_progress(trial.number, "failed", None)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self.plan.max_failures:
            raise BlackBoxError(
                f"{self._failed_in_a_row} trials in a row failed, the last one: {reason}; "
                f"see {self.room.log}, mend the black box and start again with the same folder"
            )
        if job.origin == EXPERT:
            enqueue_expert(self.study, self.problem)

    def _end(self, job: _Job, cost: float) -> None:
        del self._jobs[job.trial.number]
        self._seen.add(job.trial.number)
        self.budget.running -= 1
        self.budget.charge(cost)

    def _copy(self, trial: Trial, number: int, record: Record) -> None:
        """A setting that was measured before: the same numbers at no cost."""
        for name, amount in record.constraints.items():
            trial.set_constraint(name, amount)
        if self._in_steps and isinstance(self.study.pruner, WilcoxonPruner):
            for picture, score in zip(record.pictures, self.scoring.per_picture(record), strict=True):
                trial.report(float(score), int(picture))
        free = {**record.to_json(), "renders": 0, "megapixels": 0.0, "seconds": 0.0}
        trial.set_user_attr(SAME_AS, number)
        trial.set_user_attr(MEASUREMENT, free)
        self.study.tell(trial, self.scoring.told(record))
        self._seen.add(trial.number)
        self._known_in_a_row += 1
        if self._known_in_a_row >= _KNOWN_IN_A_ROW:
            self.stopped = f"the last {_KNOWN_IN_A_ROW} settings proposed had all been measured before"
        self._tell_progress(trial.number, "known", record)

    def _note_remeasured(self, key: str, seed: int, answer: Answer, purpose: str) -> None:
        record = answer.record
        cost = 1.0 if record is None else self._cost(record)
        measured = None if record is None else record.to_json()
        facts = {"key": key, "seed": seed, "purpose": purpose, "cost": cost, "measurement": measured}
        self.room.note("remeasured", **facts, reason=answer.reason)
        self.budget.charge(cost)
        if record is not None:
            self._remeasured[key, seed] = record

    def _tell_progress(self, number: int, state: str, record: Record | None) -> None:
        score = math.nan if record is None else self.scoring.score(record.scores)
        if record is not None:
            self.room.note(state, trial=number, scores=dict(record.scores), spent=round(self.budget.spent, 6))
        if self._hooks.on_progress is None:
            return
        expert = self.expert
        base = math.nan if expert is None else self.scoring.score(expert.scores)
        budget = self.budget
        self._hooks.on_progress(
            Progress(number, state, score, self._best, base, budget.spent, budget.total, budget.eta_s(), self.failures)
        )


def scoring_of(problem: LockedProblem, plan: Plan, hooks: Hooks) -> Scoring:
    """What a study minimizes under this plan. Raises `ParamError` where that cannot be pruned."""
    several = len(problem.objectives) > 1
    asked = plan.pareto if plan.pareto is not None else plan.method == "nsga2" and hooks.sampler is None
    pareto = bool(asked and several and not plan.weights)
    if pareto and plan.prune:
        raise ParamError("prune: a trial is ended by one score, and a Pareto search has several; leave prune out")
    return Scoring(problem.objectives, plan.weights, pareto=pareto)


def pruner_of(plan: Plan, hooks: Hooks) -> BasePruner:
    """The user's pruner, or Wilcoxon's where the plan says so, or none."""
    if hooks.pruner is not None:
        return hooks.pruner
    if not plan.prune:
        return NopPruner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WilcoxonPruner()


def _same(a: Record, b: Record) -> bool:
    names = list(a.scores)
    first = np.concatenate([[a.scores[n], *a.per_picture[n]] for n in names])
    again = np.concatenate([[b.scores[n], *b.per_picture[n]] for n in names])
    return first.shape == again.shape and bool(np.allclose(first, again, rtol=_SAME_SCORE, atol=1e-12))
