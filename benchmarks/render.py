"""File to 8-bit sRGB in memory: wall and CPU seconds per megapixel and peak memory, beside other programs.

    python benchmarks/render.py FILE.dng --json benchmarks/results/render.json

Every contestant runs in a process of its own on two cores with two threads. `cold` is its first picture
(compilation included, imports not), `warm` the median of the following ones. CPU seconds are those of
all threads and of child processes; idle OpenMP threads sleep. Peak memory is that of the whole process,
interpreter included. Writes the JSON and, beside the docs, a page with the same numbers (`--page`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common import environment

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT.parent / "shared/data/raw_gopro_hero7/gopro_hero7_GOPR9231.dng"
THREADS = 2
LIMITS = {f"{library}_NUM_THREADS": str(THREADS) for library in ("OMP", "MKL", "OPENBLAS", "HL")}
LIMITS["OMP_WAIT_POLICY"] = "passive"  # else idle threads spin, and their CPU time says nothing about the work


def main() -> None:
    args = arguments()
    if args.contestant:
        print(json.dumps(measure(args.contestant, args.file, args.runs)))
        return
    from render_contestants import CONTESTANTS, SCALING

    wanted = [n for n in (*CONTESTANTS, *SCALING) if args.only in n]
    result: dict[str, Any] = {**circumstances(args.file), "runs": args.runs, "contestants": {}}
    for name in wanted:
        result["contestants"][name] = row = in_own_process(name, args.file, args.runs)
        print(f"{name:40s} {summary(row)}", flush=True)
    if args.parts:
        result["parts"] = in_own_process("parts", args.file, args.runs)
    result["load_average_after"] = os.getloadavg()[0]
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
        args.page.write_text(page(result))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=FILE)
    parser.add_argument("--runs", type=int, default=5, help="warm pictures of each contestant")
    parser.add_argument("--only", default="", help="contestants whose name contains this")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/benchmarks/render.md")
    parser.add_argument("--no-parts", dest="parts", action="store_false", help="skip which part costs what")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    return parser.parse_args()


def in_own_process(name: str, path: Path, runs: int) -> dict[str, Any]:
    command = [sys.executable, __file__, str(path), "--contestant", name, "--runs", str(runs)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **LIMITS})
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, path: Path, runs: int) -> dict[str, Any]:
    """In the contestant's own process: one cold run, then warm ones."""
    from render_contestants import CONTESTANTS, FACTS, SCALING

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    if name == "parts":
        from render_parts import parts

        return parts(path, runs, spent)
    try:
        prepared = timed(lambda: {**CONTESTANTS, **SCALING}[name](path))
    except ModuleNotFoundError as error:
        return {"skipped": str(error)}
    work, before = prepared.pop("answer"), peak_mib()
    cold = timed(work)
    shape = getattr(cold.pop("answer"), "shape", None)
    warm = [spent(work) for _ in range(runs if cold["cpu_s"] < 8 else 1)]
    return {
        "prepare": prepared,
        "cold": cold,
        "warm": {k: statistics.median(w[k] for w in warm) for k in ("wall_s", "cpu_s")},
        "warm_best": {k: min(w[k] for w in warm) for k in ("wall_s", "cpu_s")},
        "peak_mib": peak_mib(),
        "peak_mib_before": before,
        "output_shape": list(shape) if shape is not None else None,
        **FACTS,
    }


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    answer = work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - cpu, "answer": answer}


def spent(work: Callable[[], Any]) -> dict[str, float]:
    """Time alone: a picture that is kept would make the next one pay for fresh memory."""
    seconds = timed(work)
    del seconds["answer"]
    return seconds


def cpu_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_mib() -> float:
    """Of this process, or of its largest child; Linux's VmHWM, as ru_maxrss may remember the parent's."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    try:
        line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
        return max(int(line.split()[1]) / 1024, children)
    except (OSError, StopIteration):
        return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, children)


def circumstances(path: Path) -> dict[str, Any]:
    made = environment()
    for name in ("halide", "colour-demosaicing"):
        made["libraries"][name] = version(name) if find_spec(name.replace("-", "_")) else "not installed"
    return {
        "file": path.name,
        "megapixels": 12.0,
        "environment": made,
        "threads": THREADS,
        "load_average_before": os.getloadavg()[0],
        "THP_MEM_ALLOC_ENABLE": os.environ.get("THP_MEM_ALLOC_ENABLE", "unset"),
    }


def summary(row: dict[str, Any]) -> str:
    if "warm" not in row:
        return str(row.get("skipped") or row.get("failed"))
    warm, cold = row["warm"], row["cold"]
    text = f"warm {warm['wall_s']:.3f} s wall {warm['cpu_s']:.3f} s CPU, cold {cold['cpu_s']:.2f} s CPU"
    return f"{text}, peak {row['peak_mib']:.0f} MiB"


def page(result: dict[str, Any]) -> str:
    from render_page import page_text

    return page_text(result)


if __name__ == "__main__":
    main()
