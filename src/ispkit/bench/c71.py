"""Experiment d: c71 with RAW injection, from a random start, against the frozen baseline (Tseng 2019, Table 3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ispkit.bench.c71_parts import (
    C71Bench,
    Found,
    KpiChange,
    StagedSearch,
    baseline,
    compare,
    kpi_table,
    lower,
    natural_scenes,
    relative_gain,
)
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.core.param import Values
from ispkit.isp.c71 import C71
from ispkit.tune.plan import Hooks

_PAPER = {
    "1x": "perceptual .244 to .217, detail 14.9 to 13.0, color 10.5 to 10.2, zipper .111 to .096, moiré 2676 to 727",
    "16x": "perceptual .523 to .403, detail 19.6 to 18.8, color 12.5 to 12.4, zipper .227 to .200, moiré 2836 to 888",
}


@dataclass(frozen=True)
class _Start:
    """What the page says where the search begins here."""

    name: str
    title: str
    question: str
    note: str


_TOWARDS = "what each KPI of each tuning scene misses to 80 % of the baseline's"
_RANDOM_START = _Start(
    "c71",
    "c71 with RAW injection",
    "Do settings found from a random start beat those of a careful engineer on scenes that neither saw?",
    f"40 % of the budget go to the pixels alone, from the random start; the rest starts there and goes to {_TOWARDS}.",
)
_BASELINE_START = _Start(
    "c71-from-baseline",
    "c71 with RAW injection, from its baseline",
    "How much do the settings of a careful engineer leave to be gained?",
    f"The search begins at the frozen baseline and goes to {_TOWARDS}.",
)


@dataclass(frozen=True)
class GainResult:
    """What tuning at one gain gave on held-out scenes."""

    gain: float
    changes: list[KpiChange]
    tuned_on: list[KpiChange]
    """the same on the scenes that were tuned on"""
    share: float
    """`relative_gain`"""
    found: Found
    scenes: tuple[int, int]
    """tuned on, held out"""

    @property
    def all_better(self) -> bool:
        """Whether every KPI is lower than the baseline's."""
        return all(c.new < c.old for c in self.changes)


def run_c71(out: Path, bench: C71Bench, *, command: str, hooks: Callable[[str], Hooks] | None = None) -> Experiment:
    """Tune c71 at each gain and judge it where it was not tuned; run folders lie under `out`. Can be gone on with."""
    began = time.monotonic()
    begun_at = "-from-baseline" if bench.from_baseline else ""
    found = [at_gain(out / f"gain-{gain:g}{begun_at}", gain, bench, hooks) for gain in bench.gains]
    searched = sum(g.found.seconds for g in found)
    return _experiment(found, bench, command, max(searched, time.monotonic() - began))


def at_gain(folder: Path, gain: float, bench: C71Bench, hooks: Callable[[str], Hooks] | None = None) -> GainResult:
    """One gain: search on the tuning scenes, then both settings on those held out."""
    isp = C71()
    tuned, held = natural_scenes(bench, gain)
    search = StagedSearch(folder, bench, hooks)
    reference = kpi_table(isp, tuned, baseline())
    found = search.kpis(isp, tuned, search.pixels(isp, tuned))
    there = compare(reference, kpi_table(isp, tuned, found.values), seed=bench.seed)
    old, new = kpi_table(isp, held, baseline()), kpi_table(isp, held, found.values)
    changes = compare(old, new, seed=bench.seed)
    return GainResult(gain, changes, there, relative_gain(old, new), found, (len(tuned), len(held)))


def _experiment(found: list[GainResult], bench: C71Bench, command: str, seconds: float) -> Experiment:
    tables = [
        Table(
            f"Gain {g.gain:g}: {g.scenes[1]} held-out scenes",
            [{**c.row(), "where it was tuned": t.percent} for c, t in zip(g.changes, g.tuned_on, strict=True)],
            f"All five together {lower(g.share)} in the mean; "
            f"{g.found.spent:.0f} renders of {g.scenes[0]} scenes, {g.found.seconds:.0f} s, method {g.found.method}.",
        )
        for g in found
    ]
    claims = [
        Claim(
            f"all KPIs better than the frozen baseline at gain {g.gain:g}",
            ", ".join(f"{c.kpi} {100 * (c.new / c.old - 1):+.0f} %" for c in g.changes),
            g.all_better,
        )
        for g in found
    ]
    start = _BASELINE_START if bench.from_baseline else _RANDOM_START
    return Experiment(
        name=start.name,
        title=start.title,
        question=start.question,
        command=command,
        data=bench.data,
        seed=bench.seed,
        budget=f"{bench.budget} renders of the tuning set at each gain, all included",
        seconds=seconds,
        tables=tables,
        claims=claims,
        notes=(
            "KPIs: lower is better; NLPD stands for LPIPS, whose backbone is not shipped; the paper's own definitions "
            "are in a supplement that we have not read, so ratios may be compared and values may not.",
            start.note,
            *(f"The paper's chart at {gain} gain: {text}." for gain, text in _PAPER.items()),
        ),
        details={f"gain {g.gain:g}": facts(g) for g in found},
    )


def facts(found: GainResult) -> dict[str, Any]:
    """Everything of one gain, for JSON."""
    values: Values = found.found.values
    return {"relative_gain": found.share, "kpis": [c.row() for c in found.changes], "values": dict(values)}
