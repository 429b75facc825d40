"""The training loop: phases one after another, interrupted anywhere, gone on with bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from ispkit.core.errors import IspkitError
from ispkit.train.checkpoint import Checkpoint, Position, load_checkpoint, save_checkpoint
from ispkit.train.config import Phase, Recipe
from ispkit.train.journal import Hooks, Journal, Progress
from ispkit.train.learnable import Model
from ispkit.train.learner import Learner
from ispkit.train.objective import Objective, evaluate
from ispkit.train.ranks import Ranks
from ispkit.train.recipe import identity
from ispkit.train.run_folder import TrainFolder
from ispkit.train.stream import SampleSet, Stream

_SAVE_S = 300.0
"""most seconds of work that a crash can cost"""


class DivergedError(IspkitError, ArithmeticError):
    """A loss or a weight is not a number any more; the message says what to change and what is kept."""


@dataclass(frozen=True)
class Sets:
    """What is learned from, and what is judged on."""

    train: SampleSet
    held_out: SampleSet | None = None


@dataclass(frozen=True)
class Sitting:
    """Where a training runs, by whom, and who watches."""

    room: TrainFolder
    ranks: Ranks = field(default_factory=Ranks)
    hooks: Hooks = field(default_factory=Hooks)


class Training:
    """A recipe under way in a folder: `run()` takes it to its end, or to where the caller stops it.

    What step n does depends on the recipe and on n alone (batches, learning rate, chance), so a training that is
    killed and run again ends with the same weights as one that is not, on the same machine with as many threads and
    processes. That holds for phases counted in steps or epochs; those in seconds end where time does.
    """

    def __init__(self, model: Model, recipe: Recipe, *, sets: Sets, sitting: Sitting) -> None:
        self.model, self.recipe, self.sets = model, recipe, sets
        self.room, self.ranks, self.hooks = sitting.room, sitting.ranks, sitting.hooks
        self.at = Position()
        self._of = identity(recipe)
        self._saved, self._saved_at = "", time.monotonic()
        self._losses: list[torch.Tensor] = []
        for phase in recipe.phases:  # what is wrong with the last one is told before the first begins
            with torch.random.fork_rng([]):
                Objective(model, phase)
            self._stream(phase)

    def run(self) -> None:
        """Train until the last phase is over; the model then holds its weights, in evaluation mode.

        Raises `DivergedError`, `FileError` (full disk, every checkpoint damaged, another recipe's folder),
        `KeyboardInterrupt` where the hooks say stop, after a checkpoint.
        """
        cuda = [self.ranks.device] if self.ranks.device.type == "cuda" else []
        self.model.to(self.ranks.device)
        with torch.random.fork_rng(cuda):
            states = self._resume()
            self._journal = Journal(self.room if self.ranks.first else None)
            try:
                while self.at.phase < len(self.recipe.phases):
                    self._phase(self.recipe.phases[self.at.phase], states)
                    states = {}
            finally:
                self._journal.close()
        self.model.eval()

    def _phase(self, phase: Phase, states: Mapping[str, Any]) -> None:
        torch.manual_seed(_seed(self.recipe.seed, self.at.phase))  # of the networks that only the loss has
        learner = Learner(self.model, phase, ranks=self.ranks, precision=self.recipe.precision)
        if "optimizer" in states:
            learner.load(states)
        batches = self._stream(phase).batches(self.at.step, workers=self.recipe.workers)
        clock = self._now() - self.at.seconds
        while (share := self._share(phase)) < 1 and not self.at.ended:
            rate, batch = phase.schedule.rate(share), next(batches)
            torch.manual_seed(_seed(self.recipe.seed, self.at.total, self.ranks.rank))
            self._losses.append(learner.step(batch, rate=rate, at=self.at.step))
            self.at.step, self.at.total = self.at.step + 1, self.at.total + 1
            stop = self._after(phase, learner, clock)
            if self.at.step % phase.evaluate_every == 0:
                self._evaluate(phase, learner)
            if stop or self._due():
                self._save(learner)
            if stop:
                raise KeyboardInterrupt
        if self.at.step % phase.evaluate_every:
            self._evaluate(phase, learner)
        self._check(phase, learner.finite())
        learner.leave()
        score = self.at.score if phase.patience is None else self.at.best_score
        facts = {"steps": self.at.step, "seconds": round(self.at.seconds, 3), learner.objective.measure: score}
        self._journal.note(self.at.total, phase=phase.name, done=True, **facts)
        self._losses.clear()
        self.at = Position(self.at.phase + 1, total=self.at.total)
        self._save(None)

    def _stream(self, phase: Phase) -> Stream:
        data, share = self.sets.train, self.ranks.share
        return Stream(data, seed=self.recipe.seed, batch=phase.batch, accumulate=phase.accumulate, share=share)

    def _after(self, phase: Phase, learner: Learner, clock: float) -> bool:
        """What follows each step: a NaN ends it, the log is written; whether somebody says stop."""
        logs = self.at.total % self.recipe.log_every == 0
        looks = logs or self.ranks.device.type == "cpu"  # on a GPU each look waits for it
        mine = looks and not bool(torch.isfinite(torch.stack(self._losses)).all())
        seconds = self._now() - clock
        bad, stop, self.at.seconds = self.ranks.largest([float(mine), float(self.hooks.stop()), seconds])
        self._check(phase, not bad)
        if looks:
            self._tell(phase, learner.objective.measure)
        if logs:
            self._note(phase, learner)
        return bool(stop)

    def _note(self, phase: Phase, learner: Learner) -> None:
        """The mean loss since the last note, of this process's share of the batches."""
        names = [f"{t.name} of {part}" for t, part in learner.objective.terms]
        told = dict(zip(names, torch.stack(self._losses).mean(0).tolist(), strict=True))
        self._losses.clear()
        rate = learner.optimizer.param_groups[0]["lr"]
        self._journal.note(self.at.total, phase=phase.name, loss=told, lr=rate, seconds=round(self.at.seconds, 3))

    def _evaluate(self, phase: Phase, learner: Learner) -> None:
        """The held-out score; without a better one for long the phase is over."""
        held_out = self.sets.held_out
        if held_out is None:
            return
        held_out.set_epoch(0)
        count = min(len(held_out), self.recipe.held_out_pictures or len(held_out))
        mine = range(self.ranks.rank, count, self.ranks.world)
        with learner.averaged():
            total, pictures = evaluate(learner.objective, (held_out[i] for i in mine), device=self.ranks.device)
            total, pictures = self.ranks.sums([total, pictures])
            self.at.score = score = total / pictures
            better = self.at.best_score is None or score > self.at.best_score
            if better and phase.patience is not None:
                learner.keep_best()
        self.at.stale = 0 if better else self.at.stale + 1
        self.at.best_score = score if better else self.at.best_score
        self.at.ended = phase.patience is not None and self.at.stale >= phase.patience
        told = {learner.objective.measure: score, "seconds": round(self.at.seconds, 3)}
        self._journal.note(self.at.total, phase=phase.name, **told)

    def _due(self) -> bool:
        """Whether a checkpoint is: after so many steps, or where steps are slow, after some minutes."""
        slow = time.monotonic() - self._saved_at > _SAVE_S
        return slow or self.at.total % self.recipe.save_every == 0

    def _now(self) -> float:
        return time.process_time() if self.recipe.clock == "cpu" else time.perf_counter()

    def _share(self, phase: Phase) -> float:
        """Of the phase that is over."""
        if phase.seconds is not None:
            return self.at.seconds / phase.seconds
        return self.at.step / steps_of(phase, len(self.sets.train))

    def _tell(self, phase: Phase, measure: str) -> None:
        share, number = self._share(phase), (self.at.phase + 1, len(self.recipe.phases))
        left = self.at.seconds * (1 - share) / share if share > 0 else math.nan
        loss = float(self._losses[-1].sum())
        score = None if self.at.score is None else (measure, self.at.score)
        self.hooks.progress(Progress(phase.name, number, self.at.step, share, loss, score, left))

    def _check(self, phase: Phase, good: bool) -> None:
        if good:
            return
        kept = f"the state before it is kept in {self._saved}" if self._saved else "no checkpoint had been written yet"
        where = ", and train into another folder" if self._saved else ""  # one without a checkpoint takes any recipe
        raise DivergedError(
            f"phase {phase.name!r}, step {self.at.step}: the loss is not a number any more; {kept}; "
            f"lower its learning_rate or set optimizer.clip{where}"
        )

    def _save(self, learner: Learner | None) -> None:
        """A checkpoint by the first process, of finite weights only."""
        if learner is not None:
            self._check(self.recipe.phases[self.at.phase], learner.finite())
        self._saved_at = time.monotonic()
        if self.ranks.first:
            states = {"weights": self.model.state_dict()} if learner is None else learner.states()
            position = Position(**asdict(self.at))
            path = save_checkpoint(self.room.checkpoints, Checkpoint(position, states), of=self._of)
            self._saved = f"checkpoints/{path.name}"

    def _resume(self) -> Mapping[str, Any]:
        found = load_checkpoint(self.room.checkpoints, of=self._of, warn=self.hooks.warn)
        self.ranks.wait()
        if found is not None:
            self.at = found.position
            self.model.load_state_dict(found.states["weights"])
        if self.ranks.first:
            self.room.rewind(self.at.total)
        if found is None:
            return {}
        self._saved = f"checkpoints/step-{self.at.total:08d}..."
        return found.states


def steps_of(phase: Phase, pictures: int) -> int:
    """The steps of a phase that is counted in steps or epochs."""
    if phase.steps is not None:
        return phase.steps
    return max(1, math.ceil((phase.epochs or 0) * pictures / phase.batch))


def _seed(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])
