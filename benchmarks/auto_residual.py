"""How many renders `auto` needs to reach what CMA-ES has after a thousand, on pictures and on KPI vectors.

    python benchmarks/auto_residual.py PROBLEM [--methods cma auto] [--seeds 5] [--renders 1000] [--out FILE]
    python benchmarks/auto_residual.py page [--out FILE]     # of all problems in FILE: docs/benchmarks/auto_residual.md

Problems (six crops to tune on, six of other pictures held out; Kodak pictures unprocessed to a noisy phone RAW):
  c71          the 32 registers at 16x gain, mean squared error to the clean pictures
  c71-nlpd     the same for L1 + 0.5 NLPD
  classical    the numeric knobs of the low-light pipeline on the same RAWs
  kpi          c71 by the five KPIs of Tseng et al. (2019), table 3, of every crop: a vector of thirty
  rawtherapee  the knobs that `ispkit bench rawtherapee` turns, nine windows of Kodak and McMaster in one RAW a side
Every run starts at a random point. CMA-ES has population 12. One JSON line a run is appended to FILE; runs that are
there already are not made again. The best point of every checkpoint is judged on the held-out crops, too.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from common import finish, table
from ispkit.bench.c71_parts import C71Bench
from ispkit.bench.rawtherapee import RawTherapeeBench, rawtherapee_problem
from ispkit.core.errors import BlackBoxError
from ispkit.core.param import Choice
from ispkit.core.space import ParamSpace
from ispkit.data.scenes import Scene
from ispkit.data.tuning_sets import Shooting, from_pictures, read_pictures
from ispkit.isp.catalog import open_isp
from ispkit.tune.contracts import Outcome, Point, SearchSetup
from ispkit.tune.methods import METHODS
from ispkit.tune.objectives.grammar import parse_objectives
from ispkit.tune.problem import PictureProblem

DATA = Path(__file__).parents[2] / "shared" / "data"
KODAK, PICTURES = DATA / "kodak24", (str(DATA / "kodak24"), str(DATA / "mcmaster18"))
CHECKPOINTS = (50, 100, 200, 400, 1000)
CROPS, SIDE = 6, 96
OPTIONS: Mapping[str, dict[str, Any]] = {"cma": {"popsize": 12, "recommend": "best"}}
Pair = tuple[PictureProblem, PictureProblem | None]


def crops(gain: float) -> tuple[list[Scene], list[Scene]]:
    """Scenes to tune on and held-out scenes, of different pictures."""
    shooting = Shooting(gains=(gain,), crop=(SIDE, SIDE), seed=1)
    scenes = from_pictures(read_pictures(KODAK), C71Bench().camera(), shooting)
    return scenes[:CROPS], scenes[CROPS : 2 * CROPS]


def on_crops(isp: str, objective: str) -> Pair:
    """An ISP on the noisy crops."""
    box = open_isp(isp)
    space = numeric(box.space) if isp == "low-light" else box.space
    first, second = (PictureProblem(box, s, parse_objectives(objective), space=space) for s in crops(16.0))
    return first, second


def numeric(space: ParamSpace) -> ParamSpace:
    """Without the choices, and the knobs that only act under one of them."""
    return space.select(*(n for n, k in space.items() if not isinstance(k, Choice) and k.when is None))


PROBLEMS: dict[str, Callable[[], Pair]] = {
    "c71": lambda: on_crops("c71", "mse"),
    "c71-nlpd": lambda: on_crops("c71", "l1+0.5*nlpd"),
    "classical": lambda: on_crops("low-light", "mse"),
    "kpi": lambda: on_crops("c71", "kpi:table3"),
    "rawtherapee": lambda: rawtherapee_problem(RawTherapeeBench(pictures=PICTURES, gain=16.0, objective="mse"), seed=1),
}


def outcome(problem: PictureProblem, asked: Point, *, pictures: bool = False) -> Outcome:
    """Measure a point as a study does; a failed trial scores infinity."""
    values = problem.space.from_vector(torch.as_tensor(asked))
    point = problem.space.to_vector(values).double().numpy()
    try:
        made = problem.measure(values)
    except BlackBoxError:
        return Outcome(point, float("inf"))
    score = made.scores[problem.objectives[0]]
    return Outcome(point, score, made.residual, (lambda: made.rendered) if pictures else None)


def run(pair: Pair, method: str, seed: int, renders: int, options: dict[str, Any]) -> dict[str, Any]:
    """One search from a random point: best score after every render, and held out at the checkpoints."""
    problem, held_out = pair
    start = np.random.default_rng([seed, 99]).random(problem.space.dim)
    searcher = METHODS[method](SearchSetup(problem.space, start, renders, seed, problem, options))
    trace: list[float] = []
    kept: dict[int, float] = {}
    best, method_s, begun = outcome(problem, start), 0.0, time.perf_counter()
    searcher.tell(best)
    while len(trace) < renders:
        trace.append(best.score)
        if len(trace) in CHECKPOINTS and held_out is not None:
            kept[len(trace)] = outcome(held_out, best.point).score
        tick = time.perf_counter()
        asked = searcher.ask()
        method_s += time.perf_counter() - tick
        found = outcome(problem, asked, pictures=method == "auto")
        tick = time.perf_counter()
        searcher.tell(found)
        method_s += time.perf_counter() - tick
        best = found if found.score < best.score else best
    seconds = time.perf_counter() - begun
    return {"trace": trace, "held_out": kept, "seconds": round(seconds, 1), "method_s": round(method_s, 1)}


def summary(lines: list[dict[str, Any]]) -> str:
    """Renders that each method needs to reach CMA-ES at its last render, and its scores, medians over seeds."""
    text = []
    for name in dict.fromkeys(line["problem"] for line in lines):
        mine = [line for line in lines if line["problem"] == name]
        goals = {line["seed"]: line["trace"][-1] for line in mine if line["method"] == "cma"}
        for label in dict.fromkeys(line["label"] for line in mine):
            rows = [line for line in mine if line["label"] == label]
            need = [_reached(line["trace"], goals[line["seed"]]) for line in rows if line["seed"] in goals]
            scores = {n: median(r["trace"][n - 1] for r in rows) for n in CHECKPOINTS if n <= len(rows[0]["trace"])}
            held = {n: median(r["held_out"][str(n)] for r in rows) for n in scores if str(n) in rows[0]["held_out"]}
            shown = " ".join(f"{n}:{v:.4g}" for n, v in scores.items())
            unseen = " ".join(f"{n}:{v:.4g}" for n, v in held.items())
            cost = f"{median(r['seconds'] for r in rows):.0f} s ({median(r['method_s'] for r in rows):.0f} s method)"
            text.append(f"{name} {label} seeds={len(rows)} needs {need} | {shown} | held out {unseen} | {cost}")
    return "\n".join(text)


def page(lines: list[dict[str, Any]], command: str) -> None:
    """Write what each method needed, seed by seed and in the median, and what that was worth on held-out crops."""
    goals = {(line["problem"], line["seed"]): line for line in lines if line["label"] == "cma"}
    runs = [_judged(line, goals[key]) for line in lines if (key := (line["problem"], line["seed"])) in goals]
    if not runs:
        raise SystemExit("no run of cma is in the file; make some first, such as: auto_residual.py c71")
    rows = []
    for same in dict.fromkeys(tuple(r[k] for k in _SAME) for r in runs):
        mine = [r for r in runs if tuple(r[k] for k in _SAME) == same]
        needs = [r["needs"] for r in mine]
        rows.append(
            {
                "problem": same[0],
                "method": same[1],
                "renders in all": same[2],
                "needed, by seed": ", ".join("never" if n is None else str(n) for n in needs),
                "needed, median": median(math.inf if n is None else n for n in needs),
                "held out, where it was reached": median(r["held_out_there"] for r in mine),
                "held out, at the end": median(r["held_out_last"] for r in mine),
                "seconds": median(r["seconds"] for r in mine),
                "of them the method's": median(r["method_s"] for r in mine),
            }
        )
    results = Path(__file__).parent / "results" / "auto_residual.json"
    finish("Renders that `auto` needs", results, {"runs": runs}, {"Medians": table(rows) + "\n\n" + _NOTE}, command)


_SAME = ("problem", "label", "renders")
"""what runs of one row share"""
_NOTE = (
    "Needed: renders until the tuning crops' score is what CMA-ES (population 12) has at its last one, from the same "
    "random start; every render of the set counts one. Held out: the score of other pictures' crops, lower is better, "
    f"where the goal was reached (at the next of {', '.join(map(str, CHECKPOINTS))} renders) and at the last of these."
)


def _judged(line: dict[str, Any], goal: dict[str, Any]) -> dict[str, Any]:
    """A run without its trace."""
    needs = _reached(line["trace"], goal["trace"][-1])
    held = {int(n): value for n, value in line["held_out"].items()}
    later = [n for n in held if needs is not None and n >= needs]
    kept = {name: line[name] for name in (*_SAME, "seed", "seconds", "method_s")}
    scores = {str(n): line["trace"][n - 1] for n in held}
    there = held[min(later)] if later else math.nan
    return {**kept, "needs": needs, "scores": scores, "held_out_there": there, "held_out_last": held[max(held)]}


def _reached(trace: list[float], goal: float) -> int | None:
    return next((i + 1 for i, score in enumerate(trace) if score <= goal), None)


def main() -> None:
    """Run what is missing, print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=[*PROBLEMS, "page"])
    parser.add_argument("--methods", nargs="+", default=["cma", "auto"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--renders", type=int, default=1000)
    parser.add_argument("--options", default="{}", help="JSON: settings of `auto`, to compare variants")
    parser.add_argument("--out", type=Path, default=Path("bench_out/auto_residual.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.is_file() else []
    done = {(line["problem"], line["label"], line["seed"], line["renders"]) for line in lines}
    if given.problem == "page":
        page(lines, shlex.join(["python", *sys.argv]))
        return
    pair = PROBLEMS[given.problem]()
    for seed in range(given.seeds):
        for method in given.methods:
            options = json.loads(given.options) if method == "auto" else OPTIONS.get(method, {})
            label = method + (given.options if method == "auto" and options else "")
            what = {"problem": given.problem, "method": method, "label": label, "seed": seed, "renders": given.renders}
            if (given.problem, label, seed, given.renders) in done:
                continue
            line = json.dumps(what | run(pair, method, seed, given.renders, options))
            lines.append(json.loads(line))
            given.out.parent.mkdir(parents=True, exist_ok=True)
            with given.out.open("a") as file:
                file.write(line + "\n")
            print(summary(lines[-1:]), flush=True)
    print(summary([line for line in lines if line["problem"] == given.problem]))


if __name__ == "__main__":
    main()
