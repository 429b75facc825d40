#!/usr/bin/env python3
"""What the study itself costs a trial: a black box that does nothing, 8 and 32 knobs, 1 and 2 workers.

Everything is on: SQLite in the run folder, one residual of 1000 numbers and one small picture kept a trial.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common import finish, table
from ispkit.core.param import Param
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Measurement
from ispkit.tune.plan import Hooks, Plan
from ispkit.tune.study import tune


@dataclass
class Empty:
    """Scores a setting by its distance from the middle, at once."""

    dim: int
    objectives = ("error",)
    pictures = ("one",)
    megapixels = 1.0

    @property
    def space(self) -> ParamSpace:
        return ParamSpace({f"k.k{i}": Param(default=0.1, low=0.0, high=1.0) for i in range(self.dim)})

    def measure(self, values, *, pictures=None, seed=0) -> Measurement:
        point = np.array([float(v) for v in values.values()], np.float32)
        residual = np.resize(point - 0.5, 1000).astype(np.float32)
        picture = np.resize((255 * point).astype(np.uint8), (16, 16, 3))
        error = float(np.square(point - 0.5).mean())
        return Measurement({"error": error}, {"error": [error]}, (0,), residual, {}, (picture,), 1, 1.0)


def overhead(dim: int, workers: int, trials: int) -> dict:
    """Milliseconds from one finished trial to the next, start-up left out."""
    times: list[tuple[float, float]] = []

    def tick(_) -> None:
        times.append((time.perf_counter(), time.process_time()))

    plan = Plan(method="random", budget=trials, workers=workers, noisy=False)
    with TemporaryDirectory() as folder:
        tune(Empty(dim), folder, plan, hooks=Hooks(on_progress=tick))
    skipped = 5 + 2 * workers
    wall, cpu = (np.diff([t[i] for t in times])[skipped:] * 1e3 for i in (0, 1))
    return {
        "knobs": dim,
        "workers": workers,
        "wall, median ms": float(np.median(wall)),
        "wall, mean ms": float(wall.mean()),
        "CPU of the study, mean ms": float(cpu.mean()),
        "trials": len(times),
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--trials", type=int, default=100)
    ask.add_argument("--write", action="store_true", help="keep the table in benchmarks/results and docs/benchmarks")
    args = ask.parse_args()
    rows = [overhead(dim, workers, args.trials) for dim in (8, 32) for workers in (1, 2)]
    print(table(rows))
    if args.write:
        command = "python benchmarks/study_overhead.py --write"
        results = Path(__file__).parent / "results" / "study_overhead.json"
        finish("Overhead of a study", results, {"rows": rows}, {"A trial": table(rows)}, command)


if __name__ == "__main__":
    main()
