"""Who measures: this process, or several spawned ones that die with it and are killed where they hang."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol

from ispkit.core.errors import BlackBoxError, IspkitError
from ispkit.isp.external.folders import remove_orphans
from ispkit.tune.artifacts import ArtifactStore
from ispkit.tune.contracts import Problem
from ispkit.tune.distributions import Setting
from ispkit.tune.plan import Plan
from ispkit.tune.records import Record, take

_WATCH_S = 0.2
_START_S = 600.0  # a problem may load large pictures, but not for ever

_LONGEST_S = 3600.0  # a system call takes no infinite time-out


@dataclass(frozen=True)
class Task:
    """One measurement to make."""

    job: int
    """the number it is answered by"""
    values: Setting
    pictures: tuple[int, ...] | None
    """None: all"""
    seed: int


@dataclass(frozen=True)
class Answer:
    """What came of it: a record, or the reason why there is none."""

    job: int
    record: Record | None
    reason: str = ""


class Executor(Protocol):
    """Makes measurements, some at once."""

    @property
    def free(self) -> int:
        """How many more tasks may be given now."""

    def submit(self, task: Task) -> None:
        """Start a task. Call only while one is free."""

    def wait(self) -> list[Answer]:
        """Block until one task or more are answered."""

    def close(self) -> None:
        """End all workers, also those at work."""


def executor(source: Problem | Callable[[], Problem], made: Problem, store: ArtifactStore, plan: Plan) -> Executor:
    """The plan's workers, which each build the problem from `source`, or this process with `made`."""
    if plan.workers > 1 or plan.trial_timeout_s is not None:
        return WorkerPool(source, store, workers=plan.workers, limit_s=plan.trial_timeout_s)
    return InProcess(made, store)


def built(problem: Problem | Callable[[], Problem]) -> Problem:
    """The problem itself, or what its factory makes."""
    return problem() if not hasattr(problem, "measure") and callable(problem) else problem  # type: ignore[return-value]


def answers(crew: Executor, tasks: Sequence[Task]) -> Iterator[Answer]:
    """Have all tasks measured, as many at a time as the crew can; answers as they come."""
    queue, waiting = list(tasks), len(tasks)
    while waiting:
        while queue and crew.free:
            crew.submit(queue.pop(0))
        for one in crew.wait():
            waiting -= 1
            yield one


def answer(problem: Problem, task: Task, store: ArtifactStore) -> Answer:
    """Measure; whatever the black box raises becomes the reason of a failed trial."""
    try:
        record = take(problem, task.values, pictures=task.pictures, seed=task.seed, store=store)
    except IspkitError as error:
        return Answer(task.job, None, str(error))
    except Exception as error:
        return Answer(task.job, None, f"{type(error).__name__}: {error}")
    return Answer(task.job, record)


class InProcess:
    """One task at a time, in this process."""

    def __init__(self, problem: Problem, store: ArtifactStore) -> None:
        self._problem, self._store = problem, store
        self._done: list[Answer] = []

    @property
    def free(self) -> int:
        """1 until a task is given."""
        return 0 if self._done else 1

    def submit(self, task: Task) -> None:
        """Measure at once."""
        self._done.append(answer(self._problem, task, self._store))

    def wait(self) -> list[Answer]:
        """What was measured."""
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Nothing to end."""


@dataclass
class _Slot:
    process: SpawnProcess
    pipe: Connection[object, object]
    ready: bool = False
    task: Task | None = None
    deadline: float = 0.0


class WorkerPool:
    """Processes that each build the problem and answer tasks; one that hangs or dies is replaced.

    A worker leads a session of its own, so that what it has forked ends with it; a `CommandISP`'s programs see to
    that themselves (`isp.external.process`). The problem, or its factory, must be picklable.
    """

    def __init__(
        self,
        problem: Problem | Callable[[], Problem],
        store: ArtifactStore,
        *,
        workers: int,
        limit_s: float | None = None,
    ) -> None:
        self._problem, self._store, self._limit_s = problem, store, limit_s
        self._workers = workers
        self._lost: list[Answer] = []
        self._slots = [self._started() for _ in range(workers)]

    @property
    def free(self) -> int:
        """Workers without a task."""
        return sum(slot.task is None for slot in self._slots)

    def submit(self, task: Task) -> None:
        """Give the task to a free worker, one that has been built rather than one still at it."""
        slot = max((s for s in self._slots if s.task is None), key=lambda s: s.ready)
        slot.task = task
        if slot.ready:
            self._send(slot)

    def wait(self) -> list[Answer]:
        """Answers of workers; failures for those that died or took too long."""
        while True:
            done, self._lost = self._lost, []
            soonest = min((s.deadline for s in self._slots if s.task is not None or not s.ready), default=0.0)
            handles = [s.pipe for s in self._slots]
            for pipe in wait(handles, timeout=0.0 if done else min(_LONGEST_S, max(0.0, soonest - time.monotonic()))):
                slot = next(s for s in self._slots if s.pipe is pipe)
                done += self._received(slot)
            for slot in list(self._slots):
                if slot.task is not None and slot.ready and time.monotonic() >= slot.deadline:
                    done.append(Answer(slot.task.job, None, f"TimeoutError: no answer within {self._limit_s:g} s"))
                    self._replace(slot)
                elif not slot.ready and time.monotonic() >= slot.deadline:
                    raise BlackBoxError(f"a worker did not build the problem within {_START_S:g} s")
            if done:
                return done

    def close(self) -> None:
        """Kill every worker with all it has started, and remove the folders that they leave behind."""
        for slot in self._slots:
            _kill(slot.process)
            slot.pipe.close()
        remove_orphans()

    def _started(self) -> _Slot:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self._workers)
        args = (there, self._problem, self._store, os.getpid(), threads)
        process = context.Process(target=_serve, args=args, name="ispkit-worker")
        process.start()
        there.close()
        return _Slot(process, here, deadline=time.monotonic() + _START_S)

    def _send(self, slot: _Slot) -> None:
        slot.deadline = time.monotonic() + (self._limit_s if self._limit_s is not None else math.inf)
        with contextlib.suppress(OSError):  # a dead worker is noticed when its answer is read
            slot.pipe.send(slot.task)

    def _received(self, slot: _Slot) -> Sequence[Answer]:
        try:
            message = slot.pipe.recv()
        except (EOFError, OSError):
            return self._died(slot)
        if isinstance(message, Answer):
            slot.task = None
            return [message]
        if message is not None:
            raise BlackBoxError(f"a worker cannot build the problem: {message}")
        slot.ready = True
        if slot.task is not None:
            self._send(slot)
        return []

    def _died(self, slot: _Slot) -> Sequence[Answer]:
        slot.process.join(5)
        code = slot.process.exitcode
        if not slot.ready:
            raise BlackBoxError(f"a worker died with exit code {code} before it had built the problem")
        lost = [] if slot.task is None else [Answer(slot.task.job, None, f"the worker died with exit code {code}")]
        self._replace(slot)
        return lost

    def _replace(self, slot: _Slot) -> None:
        _kill(slot.process)
        slot.pipe.close()
        self._slots[self._slots.index(slot)] = self._started()


def _kill(process: SpawnProcess) -> None:
    if process.pid is not None and sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join(5)


def _serve(
    pipe: Connection[object, object],
    problem: Problem | Callable[[], Problem],
    store: ArtifactStore,
    parent: int,
    threads: int,
) -> None:
    """A worker's life: build, say so, answer until the pipe is closed."""
    if sys.platform != "win32":
        os.setsid()  # a program that asks the terminal for a password fails rather than waits
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    try:
        made = built(problem)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        return
    pipe.send(None)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        if isinstance(task, Task):
            pipe.send(answer(made, task, store))


def _die_with(parent: int) -> None:
    """End this process group when the parent is gone, however it ended, and even while a measurement hangs."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    if sys.platform != "win32":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)
