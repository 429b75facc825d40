"""All runs of the test functions: two processes, one JSON line a finished run, resumed where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from ispkit.bench.functions import FUNCTIONS, VARIANTS, Reached, Task, Variant, run_task
from ispkit.core.errors import FileError, ParamError, nearest
from ispkit.io.atomic import write_bytes
from ispkit.tune.methods import METHODS

BUDGETS = (200, 500, 2000)
Progress = Callable[[int, int], None]
"""(runs done, runs in all)"""


@dataclass(frozen=True)
class Entrant:
    """A method with its settings."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    anytime: bool = True
    """one run of the largest budget gives the smaller ones too: the method does not plan by the budget"""
    up_to: int = 10**9
    """larger budgets are left out: the method would take hours"""


ENTRANTS: dict[str, Entrant] = {
    "auto": Entrant("auto"),
    "cma": Entrant("cma", {"popsize": 12}),
    "cma.3": Entrant("cma", {"popsize": 12, "sigma": 0.3}),
    "cma30": Entrant("cma", {"popsize": 30}),
    "cma-lr": Entrant("cma", {"popsize": 12, "lr_adapt": True}),
    "turbo": Entrant("turbo"),
    "tpe": Entrant("tpe", up_to=500),
    "powell": Entrant("powell"),
    "nelder-mead": Entrant("nelder-mead"),
    "random": Entrant("random"),
    "lhs": Entrant("lhs", anytime=False),
    "scalar-proxy": Entrant("scalar-proxy", anytime=False),
}


@dataclass(frozen=True)
class Run:
    """One finished run of a method."""

    entrant: str
    function: str
    variant: Variant
    seed: int
    budgets: tuple[int, ...]
    reached: tuple[Reached, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it the same run."""
        return (self.entrant, self.function, self.variant, self.seed, self.budgets)


def run_functions(
    out: Path,
    *,
    seeds: Sequence[int] = tuple(range(20)),
    budgets: Sequence[int] = BUDGETS,
    methods: Sequence[str] = tuple(ENTRANTS),
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Run]:
    """Run what is not yet in the file `out` (JSON lines) and add it there; gives all the runs asked for.

    Runs that are in the file are taken from it, so that an interrupted call can be made again. Raises `ParamError` for
    an unknown method and `FileError` for a file of something else.
    """
    wanted = planned(seeds, budgets, methods)
    done = {run.key: run for run in read_runs(out)}
    missing = [run for run in wanted if run.key not in done]
    total = len(wanted)
    if progress is not None:
        progress(total - len(missing), total)
    out.parent.mkdir(parents=True, exist_ok=True)
    _drop_cut_line(out)
    with _one_thread_each(), out.open("a", encoding="utf-8") as file:
        for count, run in enumerate(_finished(missing, workers), total - len(missing) + 1):
            file.write(json.dumps(asdict(run)) + "\n")
            file.flush()
            done[run.key] = run
            if progress is not None:
                progress(count, total)
    return [done[run.key] for run in wanted]


def planned(seeds: Sequence[int], budgets: Sequence[int], methods: Sequence[str]) -> list[Run]:
    """The runs to make, seed by seed, so that an interrupted file holds whole seeds."""
    runs = []
    for seed in seeds:
        for name in methods:
            entrant = _entrant(name)
            own = tuple(sorted(b for b in budgets if b <= entrant.up_to))
            groups = [own] if entrant.anytime else [(b,) for b in own]
            runs += [Run(name, f, v, seed, group) for group in groups if group for f in FUNCTIONS for v in VARIANTS]
    return runs


def read_runs(path: Path) -> list[Run]:
    """The runs in a file; none if it is not there. A last line cut short is left out. Raises `FileError`."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    runs = []
    for number, line in enumerate(lines, 1):
        try:
            facts = json.loads(line)
            reached = tuple(Reached(**r) for r in facts.pop("reached"))
            runs.append(Run(**{**facts, "budgets": tuple(facts["budgets"])}, reached=reached))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if number < len(lines):
                raise FileError(f"{path}, line {number}: not a run of the test functions ({error})") from error
    return runs


def one_run(run: Run) -> Run:
    """Make a planned run."""
    torch.set_num_threads(1)
    entrant = _entrant(run.entrant)
    task = Task(FUNCTIONS[run.function], run.variant, run.seed)
    reached = run_task(METHODS[entrant.method], task, run.budgets, options=entrant.options)
    return Run(run.entrant, run.function, run.variant, run.seed, run.budgets, tuple(reached))


def _finished(runs: Sequence[Run], workers: int) -> Iterator[Run]:
    if workers <= 1 or len(runs) <= 1:
        yield from map(one_run, runs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(one_run, run) for run in runs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _drop_cut_line(path: Path) -> None:
    """A last line without its end would swallow the next run."""
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        write_bytes(path, data[: data.rfind(b"\n") + 1])


def _entrant(name: str) -> Entrant:
    if name not in ENTRANTS:
        raise ParamError(f"no entrant {name!r}; {nearest(name, ENTRANTS)}")
    return ENTRANTS[name]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started here compute with one thread each."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
