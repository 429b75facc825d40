"""What the experiments on c71 share: scenes, the five KPIs relative to the frozen baseline, and their comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.charts.catalog import build
from ispkit.core.param import Value, Values
from ispkit.data.project_pictures import project_pictures
from ispkit.data.scenes import Scene
from ispkit.data.tuning_sets import Shooting, chart_scenes, from_pictures, read_pictures, split
from ispkit.isp.c71 import read_baseline
from ispkit.isp.pipeline import ISP
from ispkit.metrics.intervals import Interval, mean_interval
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.model import Sensor
from ispkit.tune.contracts import Problem
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.objectives.table3 import TOLERANCES, Table3, table3
from ispkit.tune.plan import Hooks, Plan
from ispkit.tune.problem import PictureProblem, as_picture
from ispkit.tune.result import Result
from ispkit.tune.study import tune

SENSOR, BLUR_PX = "sidd-google-pixel", 0.45
"""what the baseline was calibrated for: the phone's colors and noise, and the blur of a lens, which it leaves out"""
_SHARES = {"pixels": 0.4, "kpis": 0.6}  # of the budget
_GOAL = 0.8
KPIS = ("perceptual", "detail", "color", "zipper", "moire")


@dataclass(frozen=True, kw_only=True)
class C71Bench:
    """Settings of the experiments on c71."""

    pictures: tuple[str, ...] = ()
    """folders of finished pictures; none: the toolkit's own"""
    gains: tuple[float, ...] = (1.0, 16.0)
    crop: tuple[int, int] = (128, 128)
    budget: int = 300
    seed: int = 0
    method: str = "auto"
    sensor: str = SENSOR
    from_baseline: bool = False
    """begin at the frozen baseline, not at a random point: how much does it leave to be gained?"""
    options: Mapping[str, Any] = field(default_factory=dict)

    def camera(self) -> Sensor:
        """The sensor that takes the shots."""
        own = load_sensor(self.sensor)
        return replace(own, blur_px=BLUR_PX) if self.sensor == SENSOR else own

    @property
    def data(self) -> str:
        """What the pictures are, for a table."""
        where = " + ".join(Path(p).name for p in self.pictures) or "pictures made by the toolkit"
        return f"{where}: windows of {self.crop[0]}x{self.crop[1]}, half of the pictures held out; {self.sensor}"


def natural_scenes(bench: C71Bench, gain: float) -> tuple[list[Scene], list[Scene]]:
    """RAW injection: simulated shots to tune on and held out, split by picture; each side gets a color chart."""
    found: dict[str, Tensor] = {}
    for folder in bench.pictures:
        found |= read_pictures(folder)
    pictures = found or project_pictures(16, (256, 256), seed=bench.seed)
    sensor = bench.camera()
    shooting = Shooting((gain,), crop=bench.crop, seed=bench.seed)
    tuned, held = split(from_pictures(pictures, sensor, shooting), 0.5)
    chart = build("colorchecker", height=160, width=240)
    colors = [
        chart_scenes({f"colorchecker-{side}": chart}, sensor, Shooting((gain,), seed=bench.seed + 1 + side))
        for side in range(2)
    ]
    return [*tuned, *colors[0]], [*held, *colors[1]]


def baseline() -> dict[str, Value]:
    """The frozen expert setting of c71."""
    return {name: float(code) for name, code in read_baseline().values.items()}


def random_start(isp: ISP, seed: int) -> dict[str, Value]:
    """A setting drawn uniformly from the whole space, as the paper's searches start."""
    drawn = torch.rand(isp.space.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return isp.space.from_vector(drawn)


def kpi_table(isp: ISP, scenes: Sequence[Scene], values: Values) -> dict[str, list[float]]:
    """KPI -> one number a scene, of the 8-bit pictures that the ISP gives."""
    problem = PictureProblem(isp, scenes, Table3())
    everywhere = tuple(range(len(scenes)))
    rendered = problem.render(values, everywhere)
    found = [table3(as_picture(codes), scene) for codes, scene in zip(rendered, scenes, strict=True)]
    return {name: [f[name] for f in found] for name in KPIS}


def relative_kpis(scenes: Sequence[Scene], reference: Mapping[str, Sequence[float]]) -> Table3:
    """How far each KPI of each scene is from being a fifth lower than the baseline's, in units of the baseline's mean.

    A KPI that is good enough counts nothing, so that the search turns to those that are not.
    """
    scale = {name: (1 - _GOAL) * float(np.mean(values)) for name, values in reference.items()}
    goal = {s.name: {name: _GOAL * values[i] for name, values in reference.items()} for i, s in enumerate(scenes)}

    def missing(numbers: Mapping[str, float], scene: Scene) -> dict[str, float]:
        short = {name: max(value - goal[scene.name][name], 0.0) for name, value in numbers.items()}
        return {name: value / scale[name] * TOLERANCES[name] for name, value in short.items()}

    return Table3(name=f"kpi:table3, missing to {100 * _GOAL:.0f} % of the baseline", judged=missing)


@dataclass(frozen=True)
class Found:
    """Where a search in two stages ended."""

    values: Values
    spent: float
    """renders of the set, all stages"""
    seconds: float
    """of all sittings"""
    method: str


def search(problem: Problem, held: Problem | None, folder: Path, bench: C71Bench, hooks: Hooks | None = None) -> Result:
    """Tune with the method and the budget of the experiment; goes on where an earlier call was stopped."""
    return tune(problem, folder, _plan(bench, bench.budget), held_out=held, hooks=hooks)


@dataclass(frozen=True)
class StagedSearch:
    """A search from a random start: first the pixels, which tell a far start where to go, then the KPIs.

    The stages share the budget; from the baseline there are KPIs alone. Run folders lie under `folder`, and what is
    there is gone on with. A stage may see a `part` of the whole set: a render of it costs so much less of the budget.
    """

    folder: Path
    bench: C71Bench
    hooks: Callable[[str], Hooks] | None = None
    shares: Mapping[str, float] = field(default_factory=lambda: _SHARES)
    """of the budget, by stage"""

    def pixels(self, isp: ISP, scenes: Sequence[Scene], *, part: float = 1.0) -> Found:
        """The first stage; there is none from the baseline, whose pixels need no finding."""
        if self.bench.from_baseline:
            return Found(baseline(), 0.0, 0.0, self.bench.method)
        start = random_start(isp, self.bench.seed + 77)
        problem = PictureProblem(isp, scenes, REFERENCE["psnr"], space=isp.space.with_defaults(start))
        return self._stage("pixels", problem, Found(start, 0.0, 0.0, self.bench.method), part=part)

    def kpis(self, isp: ISP, scenes: Sequence[Scene], before: Found, *, part: float = 1.0) -> Found:
        """The second stage, towards less than the baseline's KPIs on these scenes; begins where the first ended."""
        reference = kpi_table(isp, scenes, baseline())
        space = isp.space.with_defaults(before.values)
        problem = PictureProblem(isp, scenes, relative_kpis(scenes, reference), space=space)
        return self._stage("kpis", problem, before, part=part)

    def colors(self, problem: PictureProblem, before: Found, *, unlock: Sequence[str], part: float) -> Found:
        """A last stage, in which only the knobs that fit `unlock` may turn."""
        return self._stage("colors", problem, before, part=part, unlock=unlock)

    def _stage(
        self, name: str, problem: PictureProblem, before: Found, *, part: float, unlock: Sequence[str] = ()
    ) -> Found:
        told = self.hooks(f"{self.folder.name}, {name}") if self.hooks is not None else None
        share = 1.0 if self.bench.from_baseline else self.shares[name]
        plan = _plan(self.bench, max(2.0, round(share * self.bench.budget / part)))
        plan = replace(plan, lock=("*",), unlock=tuple(unlock)) if unlock else plan
        result = tune(problem, self.folder / name, plan, hooks=told)
        spent, seconds = before.spent + part * result.spent, before.seconds + result.seconds
        return Found(dict(result.best.values), spent, seconds, result.method)


def _plan(bench: C71Bench, budget: float) -> Plan:
    return Plan(method=bench.method, budget=budget, seed=bench.seed, options=bench.options, noisy=False)


@dataclass(frozen=True)
class KpiChange:
    """One KPI of two settings on the same scenes."""

    kpi: str
    old: float
    new: float
    change: Interval
    """paired bootstrap of the mean difference"""

    @property
    def percent(self) -> str:
        """The relative change of the mean."""
        return f"{100 * (self.new / self.old - 1):+.1f} %"

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        return {
            "KPI": self.kpi,
            "baseline": self.old,
            "tuned": self.new,
            "change": self.percent,
            "95 % of the difference": f"[{self.change.low:+.3g}, {self.change.high:+.3g}]",
        }


def compare(old: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]], *, seed: int) -> list[KpiChange]:
    """KPI by KPI, over the same scenes."""
    changes = []
    for name in KPIS:
        differences = [b - a for a, b in zip(old[name], new[name], strict=True)]
        interval = mean_interval(differences, seed=seed)
        changes.append(KpiChange(name, float(np.mean(old[name])), float(np.mean(new[name])), interval))
    return changes


def relative_gain(old: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]]) -> float:
    """How much lower the five KPIs are in the mean, as a share of the old ones; one number for an experiment."""
    return float(np.mean([1 - np.mean(new[n]) / np.mean(old[n]) for n in KPIS]))


def lower(share: float) -> str:
    """A `relative_gain` in words."""
    return f"{abs(share):.1%} {'lower' if share > 0 else 'higher'}"
